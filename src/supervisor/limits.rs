//! Limits of the driver, so that one user's driver cannot starve the host: a control group for each job below the one that
//! the profile names, with limits of its own and of its user's (cgroups(7)).
//!
//! Where cgroup v2 has the controllers, the job's cgroup is made there ([`super::cgroup`]) and born with its limits; else the
//! job enters a cgroup of each controller's v1 hierarchy before it becomes the end-user. On a host with neither, what
//! setrlimit(2) can do is done, process by process, and what it cannot is told.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::resource::{Resource, rlim_t};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::Failure;
use super::cgroup::{self, name_of};
use super::rundir::DIRECTORY;
use crate::exit::ExitCode;
use crate::policy::config::{Driver, Limits};
use crate::policy::names::JobId;
use crate::sys::trusted::{self, Links};

/// Where hierarchies are mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// A period of the CPU controller, in microseconds (the kernel's default).
const PERIOD: u64 = 100_000;

/// Files of a cgroup, and the value for each.
type Files = &'static [(&'static str, fn(&Amounts) -> Option<String>)];

/// A controller, and where its limits are written in both versions.
struct Controller {
    name: &'static str,
    /// File, and the value for it; v2.
    now: Files,
    /// The same in v1.
    before: Files,
}

/// Limits in the kernel's units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Amounts {
    /// Bytes.
    memory: Option<u64>,
    /// Microseconds of CPU in [`PERIOD`].
    quota: Option<u64>,
    tasks: Option<u64>,
}

const CONTROLLERS: [Controller; 3] = [
    Controller {
        name: "memory",
        now: &[
            ("memory.max", |amounts| amounts.memory.map(|bytes| bytes.to_string())),
            // A limit that swap undoes would be none; and half a job is of no use to anybody.
            ("memory.swap.max", |amounts| amounts.memory.map(|_| "0".to_owned())),
            ("memory.oom.group", |amounts| amounts.memory.map(|_| "1".to_owned())),
        ],
        before: &[
            ("memory.limit_in_bytes", |amounts| amounts.memory.map(|bytes| bytes.to_string())),
            ("memory.memsw.limit_in_bytes", |amounts| amounts.memory.map(|bytes| bytes.to_string())),
        ],
    },
    Controller {
        name: "cpu",
        now: &[("cpu.max", |amounts| amounts.quota.map(|quota| format!("{quota} {PERIOD}")))],
        before: &[
            ("cpu.cfs_period_us", |amounts| amounts.quota.map(|_| PERIOD.to_string())),
            ("cpu.cfs_quota_us", |amounts| amounts.quota.map(|quota| quota.to_string())),
        ],
    },
    Controller {
        name: "pids",
        now: &[("pids.max", |amounts| amounts.tasks.map(|tasks| tasks.to_string()))],
        before: &[("pids.max", |amounts| amounts.tasks.map(|tasks| tasks.to_string()))],
    },
];

/// Files that a kernel may not have (no accounting of swap) and that are not missed.
const OPTIONAL: [&str; 3] = ["memory.memsw.limit_in_bytes", "memory.swap.max", "memory.oom.group"];

impl Amounts {
    fn of(limits: &Limits) -> Self {
        // The configuration's check has seen that they are amounts.
        let amount = |text: &Option<String>, unit: u128| {
            let amount: crate::policy::quantity::Quantity = text.as_ref()?.parse().ok()?;
            amount.times(unit)
        };
        Self {
            memory: amount(&limits.memory, 1),
            quota: amount(&limits.cpu, u128::from(PERIOD)).map(|quota| quota.max(1000)),
            tasks: limits.tasks.map(u64::from),
        }
    }

    fn asks(&self, controller: &str) -> bool {
        match controller {
            "memory" => self.memory.is_some(),
            "cpu" => self.quota.is_some(),
            _ => self.tasks.is_some(),
        }
    }
}

/// How a job will be limited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Planned {
    /// Its cgroup below the root of the v2 hierarchy, when that one limits it.
    pub cgroup: Option<String>,
    /// Its cgroups in v1 hierarchies, whole paths.
    pub groups: Vec<String>,
    job: Amounts,
    user: Amounts,
    /// Nothing but setrlimit(2).
    bare: bool,
    /// Where hierarchies are mounted, as the kernel told when this was planned; empty when nothing is limited.
    mounts: String,
}

/// What the job's child needs.
#[derive(Default)]
pub struct Entry {
    /// Files `cgroup.procs` of the cgroups that it enters.
    pub groups: Vec<OwnedFd>,
    /// Limits of each process: resource, soft, hard.
    pub limits: Vec<(Resource, rlim_t, rlim_t)>,
    /// What cannot be limited here.
    pub missing: Vec<&'static str>,
}

impl Planned {
    /// How this host can limit a job. Makes nothing.
    #[must_use]
    pub fn new(driver: &Driver, user: &str, job: &JobId) -> Self {
        let mut planned =
            Self { job: Amounts::of(&driver.job), user: Amounts::of(&driver.user), ..Self::default() };
        let wanted: Vec<&str> = CONTROLLERS
            .iter()
            .map(|controller| controller.name)
            .filter(|name| planned.job.asks(name) || planned.user.asks(name))
            .collect();
        if wanted.is_empty() {
            return planned;
        }
        let leaf = format!("{}/{}", driver.cgroup_of(user), name_of(job));
        planned.mounts = cgroup::read("/proc/self/mountinfo").unwrap_or_default();
        let mounts = &planned.mounts;
        if controllers_of_v2(mounts)
            .is_some_and(|has| wanted.iter().all(|name| has.iter().any(|h| h == name)))
        {
            planned.cgroup = Some(format!("/{leaf}"));
            return planned;
        }
        let points: Vec<&str> = wanted.iter().filter_map(|name| mount_of_v1(mounts, name)).collect();
        if points.len() == wanted.len() {
            planned.groups = points.iter().map(|point| format!("{point}/{leaf}")).collect();
        } else {
            planned.bare = true;
        }
        planned
    }

    /// Where the v2 hierarchy is mounted.
    fn point_of_v2(&self) -> &str {
        cgroup::mount_point(&self.mounts).unwrap_or(ROOT)
    }

    /// Whether there is a limit.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.cgroup.is_none() && self.groups.is_empty() && !self.bare
    }

    /// How, for people.
    #[must_use]
    pub fn means(&self) -> &'static str {
        match (&self.cgroup, self.bare) {
            (Some(_), _) => "cgroup v2",
            (None, false) => "cgroup v1",
            (None, true) => "setrlimit, for each process by itself",
        }
    }

    /// Makes the cgroups above the job's own in v2, with the user's limits; the job's own is [`cgroup::Cgroup`]'s matter, and
    /// gets its limits by [`Planned::limit`].
    ///
    /// # Errors
    /// [`ExitCode::ProcessSetup`] when the host does not take them.
    pub fn prepare(&self) -> Result<(), Failure> {
        let Some(leaf) = &self.cgroup else { return Ok(()) };
        let point = self.point_of_v2();
        let above = leaf.rsplit_once('/').map_or("", |(above, _)| above);
        let mut path = PathBuf::from(point);
        self.enable(&path)?;
        for part in above.split('/').filter(|part| !part.is_empty()) {
            make(&path, part)?;
            path.push(part);
            self.enable(&path)?;
        }
        write_all(&path, &self.user, |controller| controller.now)
    }

    /// Gives the controllers that are asked for to the cgroups below `path`.
    fn enable(&self, path: &Path) -> Result<(), Failure> {
        let asked = CONTROLLERS.iter().filter(|one| self.job.asks(one.name) || self.user.asks(one.name));
        let words: Vec<String> = asked.map(|controller| format!("+{}", controller.name)).collect();
        write(path, "cgroup.subtree_control", &words.join(" "))
    }

    /// Makes what the job is to enter, and sets its limits.
    ///
    /// # Errors
    /// [`ExitCode::ProcessSetup`] when the host does not take them.
    pub fn limit(&self) -> Result<Entry, Failure> {
        let mut entry = Entry::default();
        if let Some(path) = &self.cgroup {
            let point = self.point_of_v2();
            write_all(Path::new(&format!("{point}{path}")), &self.job, |controller| controller.now)?;
        }
        for leaf in &self.groups {
            let point = mounts_of_v1(&self.mounts).find(|(point, _)| within(leaf, point));
            let (point, options) = point.ok_or_else(|| refused(leaf, "its hierarchy is gone"))?;
            let only =
                |controller: &'static Controller| match options.split(',').any(|o| o == controller.name) {
                    true => controller.before,
                    false => &[],
                };
            let parts: Vec<&str> = leaf.get(point.len()..).unwrap_or_default().split('/').collect();
            let mut path = PathBuf::from(point);
            for (index, part) in parts.iter().enumerate().filter(|(_, part)| !part.is_empty()) {
                make(&path, part)?;
                path.push(part);
                if index + 2 == parts.len() {
                    write_all(&path, &self.user, only)?;
                }
            }
            write_all(&path, &self.job, only)?;
            entry.groups.push(open(&path, "cgroup.procs")?);
        }
        if self.bare {
            let limits = [(Resource::RLIMIT_DATA, self.job.memory), (Resource::RLIMIT_NPROC, self.job.tasks)];
            entry.limits =
                limits.into_iter().filter_map(|(what, limit)| Some((what, limit?, limit?))).collect();
            let missing =
                [("cpu", self.job.quota.is_some()), ("the user's", self.user != Amounts::default())];
            entry.missing = missing.into_iter().filter(|(_, asked)| *asked).map(|(name, _)| name).collect();
        }
        Ok(entry)
    }

    /// Whether the kernel killed something of the job's because it used more memory than it may.
    #[must_use]
    pub fn exceeded(&self) -> bool {
        let point = self.point_of_v2();
        let events = self.cgroup.iter().map(|path| format!("{point}{path}/memory.events"));
        let controls = self.groups.iter().map(|path| format!("{path}/memory.oom_control"));
        events.chain(controls).any(|file| {
            let text = cgroup::read(&file).unwrap_or_default();
            let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
            count.is_some_and(|count| count.trim() != "0")
        })
    }
}

/// Removes the v1 cgroups of a job, whose processes have ended.
///
/// # Errors
/// [`ExitCode::CleanupIncomplete`].
pub fn remove(job: &JobId, groups: &[String], deadline: Instant) -> Result<(), Failure> {
    for path in groups {
        // A record that says something else is not acted on.
        let Some(above) = path.strip_suffix(&name_of(job)).filter(|path| is_plain(path)) else { continue };
        let Ok(above) = trusted::open_directory(Path::new(above.trim_end_matches('/')), Links::Refuse) else {
            continue;
        };
        loop {
            match unlinkat(&above, name_of(job).as_str(), UnlinkatFlags::RemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => break,
                Err(error) if Instant::now() >= deadline => {
                    return Err(Failure::new(
                        ExitCode::CleanupIncomplete,
                        format!("the cgroup {path} has processes that do not end: {error}"),
                    ));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }
    Ok(())
}

fn is_plain(path: &str) -> bool {
    path.starts_with("/sys/fs/cgroup/") && path.split('/').all(|part| part != ".." && part != ".")
}

fn within(leaf: &str, point: &str) -> bool {
    leaf.strip_prefix(point).is_some_and(|rest| rest.starts_with('/'))
}

fn refused(what: impl std::fmt::Display, why: impl std::fmt::Display) -> Failure {
    Failure::new(
        ExitCode::ProcessSetup,
        format!("{what}: {why}; the driver's limits (configuration key driver of the profile) cannot be set"),
    )
}

/// Opens a cgroup, or makes it; nobody but root may change it.
fn make(above: &Path, name: &str) -> Result<(), Failure> {
    let failed = |error: Errno| refused(above.join(name).display(), error);
    let directory =
        trusted::open_directory(above, Links::Refuse).map_err(|error| refused(above.display(), error))?;
    match mkdirat(&directory, name, Mode::from_bits_truncate(0o755)) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(error) => return Err(failed(error)),
    }
    openat(&directory, name, DIRECTORY, Mode::empty()).map(drop).map_err(failed)
}

fn open(cgroup: &Path, file: &str) -> Result<OwnedFd, Failure> {
    let directory =
        trusted::open_directory(cgroup, Links::Refuse).map_err(|error| refused(cgroup.display(), error))?;
    let flags = OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(&directory, file, flags, Mode::empty())
        .map_err(|error| refused(cgroup.join(file).display(), error))
}

fn write(cgroup: &Path, file: &str, value: &str) -> Result<(), Failure> {
    let opened = open(cgroup, file)?;
    let written = std::fs::File::from(opened).write_all(value.as_bytes());
    written.map_err(|error| refused(cgroup.join(file).display(), error))
}

fn write_all(
    cgroup: &Path,
    amounts: &Amounts,
    files: impl Fn(&'static Controller) -> Files,
) -> Result<(), Failure> {
    for (file, value) in CONTROLLERS.iter().flat_map(files) {
        if let Some(value) = value(amounts)
            && (!OPTIONAL.contains(file) || cgroup.join(file).exists())
        {
            write(cgroup, file, &value)?;
        }
    }
    Ok(())
}

/// What the root of the v2 hierarchy can give to those below it.
fn controllers_of_v2(mounts: &str) -> Option<Vec<String>> {
    let point = cgroup::mount_point(mounts)?;
    let text = cgroup::read(&format!("{point}/cgroup.controllers"))?;
    Some(text.split_whitespace().map(str::to_owned).collect())
}

/// Mount points of v1 hierarchies, with their options.
fn mounts_of_v1(mounts: &str) -> impl Iterator<Item = (&str, &str)> {
    mounts.lines().filter_map(|line| {
        let (mount, source) = line.split_once(" - ")?;
        let mut fields = mount.split(' ');
        let (root, point) = (fields.nth(3)?, fields.next()?);
        let mut source = source.split(' ');
        let (kind, options) = (source.next()?, source.nth(1)?);
        (kind == "cgroup" && root == "/" && point.starts_with("/sys/fs/cgroup/")).then_some((point, options))
    })
}

fn mount_of_v1<'m>(mounts: &'m str, controller: &str) -> Option<&'m str> {
    mounts_of_v1(mounts)
        .find(|(_, options)| options.split(',').any(|option| option == controller))
        .map(|(point, _)| point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_both_versions_are_found() {
        let hybrid = "30 20 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      31 20 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      32 20 0:27 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw\n\
                      33 20 0:29 / /home/x/pids rw - cgroup cgroup rw,pids";
        assert_eq!(mount_of_v1(hybrid, "memory"), Some("/sys/fs/cgroup/memory"));
        assert_eq!(mount_of_v1(hybrid, "cpu"), Some("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(mount_of_v1(hybrid, "pids"), None);
    }

    #[test]
    fn amounts_are_in_the_kernels_units() {
        let limits = |memory: &str, cpu: &str| Limits {
            memory: Some(memory.into()),
            cpu: Some(cpu.into()),
            tasks: Some(7),
        };
        let amounts = Amounts::of(&limits("512Mi", "1500m"));
        assert_eq!(amounts, Amounts { memory: Some(512 << 20), quota: Some(150_000), tasks: Some(7) });
        assert_eq!(Amounts::of(&limits("1k", "1m")).quota, Some(1000), "the kernel's least");
    }

    #[test]
    fn a_record_cannot_name_a_foreign_cgroup_to_remove() {
        let job = JobId::new("aaaaaaaaaaaaaaaa").expect("job");
        let name = name_of(&job);
        for path in [
            "/sys/fs/cgroup/memory/system.slice".to_owned(),
            format!("/sys/fs/cgroup/memory/../../../tmp/{name}"),
            format!("/tmp/{name}"),
        ] {
            assert!(remove(&job, &[path], Instant::now()).is_ok());
        }
    }
}
