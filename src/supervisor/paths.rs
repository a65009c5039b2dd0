//! Paths that are compiled in. A build may set others (`make PREFIX=… SYSCONFDIR=…`); no caller can.

use std::path::Path;

const fn or(set: Option<&'static str>, default: &'static str) -> &'static str {
    match set {
        Some(path) => path,
        None => default,
    }
}

/// The configuration.
#[must_use]
pub fn config() -> &'static Path {
    Path::new(or(option_env!("SSA_CONFIG"), "/etc/spark-submit-as/config.yaml"))
}

/// The provisioner.
#[must_use]
pub fn provisioner() -> &'static Path {
    Path::new(or(option_env!("SSA_PROVISIONER"), "/usr/local/libexec/spark-submit-as-provisioner"))
}

/// Credentials and settings of running jobs: root's, on a file system that a reboot empties.
#[must_use]
pub fn run_directory() -> &'static Path {
    Path::new(or(option_env!("SSA_RUN_DIR"), "/run/spark-submit-as"))
}

/// The journal, and scratch directories of running jobs, on a disk.
#[must_use]
pub fn state_directory() -> &'static Path {
    Path::new(or(option_env!("SSA_STATE_DIR"), "/var/lib/spark-submit-as"))
}

/// Where syslog or journald listens (syslog(3)).
#[must_use]
pub fn log_socket() -> &'static Path {
    Path::new(or(option_env!("SSA_LOG_SOCKET"), "/dev/log"))
}
