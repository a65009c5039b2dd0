//! Tests of the room as a whole; the numbers are the security checklist's.

mod command;
mod executor_pod;
mod files;
mod grammar;
mod refusals;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::*;
use crate::policy::config::{self, Program};
use crate::policy::names::{JobId, NamespaceName};

/// Spark 4.3, which knows every option.
const NEWEST: Option<SparkVersion> = Some(SparkVersion { major: 4, minor: 3 });

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(Into::into).collect()
}

fn bytes(word: &[u8]) -> OsString {
    OsString::from_vec(word.to_vec())
}

fn namespace() -> NamespaceName {
    NamespaceName::new("team-a").unwrap()
}

fn submit(list: &[&str]) -> Parsed {
    parse(Program::SparkSubmit, &words(list), NEWEST).unwrap()
}

/// Grammar and rules, as a run applies them.
fn accept(program: Program, list: &[OsString]) -> Result<Parsed, ArgumentError> {
    let parsed = parse(program, list, NEWEST)?;
    check_arguments(&parsed, &namespace())?;
    Ok(parsed)
}

fn facts() -> JobFacts {
    JobFacts {
        job: JobId::new("abcdefghijklmnop").unwrap(),
        namespace: namespace(),
        server: "https://192.0.2.1:6443".into(),
        driver_host: "192.0.2.7".into(),
        driver_ports: None,
        pod_template: PathBuf::from("/run/x/template.json"),
        auth_secret_file: Some(PathBuf::from("/run/x/auth")),
        properties_file: Some(PathBuf::from("/run/x/job.properties")),
    }
}

fn line(parsed: &Parsed) -> Vec<OsString> {
    command_line(parsed, &facts(), &config::Spark::default())
}

/// A small deterministic generator (xorshift64*), so that a failure repeats.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % limit
    }
}
