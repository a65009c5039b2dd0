//! Spark's own files: nobody but root may be able to change what runs before the end-user's code does [13].

use std::path::{Path, PathBuf};

use crate::exit::ExitCode;
use crate::policy::config::Profile;
use crate::spark;
use crate::supervisor::Failure;
use crate::sys::trusted::{self, Links};

/// Parts of Spark's directory that the program reads before any code of the end-user's runs [13].
const SPARK_PARTS: [&str; 5] =
    ["bin", "bin/spark-submit", "bin/spark-class", "bin/load-spark-env.sh", "jars"];

/// Looks at a profile's Spark directory, as a run does.
///
/// # Errors
/// [`ExitCode::ProgramRefused`].
pub fn look_at_spark(profile: &Profile) -> Result<(), Failure> {
    profile.runnables().try_for_each(|runnable| spark_directory(profile, runnable.file).map(|_| ()))
}

/// The program, spark-defaults.conf's text, and Spark's version.
pub(super) type SparkFiles = (PathBuf, Option<Vec<u8>>, Option<spark::SparkVersion>);

/// Looks at Spark's directory, and reads its spark-defaults.conf.
pub(super) fn spark_directory(profile: &Profile, file: &str) -> Result<SparkFiles, Failure> {
    let refused = |error: trusted::TrustError| {
        Failure::new(ExitCode::ProgramRefused, format!("{error} (configuration key spark_home)"))
    };
    let home = &profile.spark_home;
    trusted::open_directory(home, Links::FollowRoots).map_err(refused)?;
    for part in SPARK_PARTS {
        let path = home.join(part);
        if part.contains('/') {
            trusted::open_file(&path, Links::FollowRoots).map_err(refused)?;
        } else {
            trusted::open_directory(&path, Links::FollowRoots).map_err(refused)?;
        }
    }
    let file = home.join("bin").join(file);
    trusted::open_file(&file, Links::FollowRoots).map_err(refused)?;
    let directory = match profile.environment.set.get("SPARK_CONF_DIR") {
        Some(directory) => PathBuf::from(directory),
        None => home.join("conf"),
    };
    let defaults = directory.join("spark-defaults.conf");
    let text = match trusted::open_file(&defaults, Links::FollowRoots) {
        Ok(fd) => Some(trusted::read(fd, &defaults, 1 << 20).map_err(refused)?),
        Err(trusted::TrustError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(refused(error)),
    };
    Ok((file, text, version(&home.join("jars"))))
}

/// From the name of Spark's core jar, `spark-core_2.13-4.1.4.jar`.
fn version(jars: &Path) -> Option<spark::SparkVersion> {
    let names =
        std::fs::read_dir(jars).ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter_map(|name| {
            Some(name.strip_prefix("spark-core_")?.strip_suffix(".jar")?.split_once('-')?.1.to_owned())
        })
        .find_map(|version| spark::SparkVersion::parse(&version))
}
