//! Every step between "nothing exists" and "nothing is left", by name.
//!
//! Whatever process dies at whichever step, one `reap` finds and removes what is left; the crash matrix kills each of
//! them at each step (tests/crash.rs). A build with the feature `fault-points` does that killing here; in a release build
//! [`reached`] is empty.

use nix::unistd::Pid;

macro_rules! steps {
    ($( $variant:ident = $name:literal, $meaning:literal; )+) => {
        /// What has just been done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Step { $( #[doc = $meaning] $variant, )+ }

        impl Step {
            /// Every step, in the order of a job's life.
            pub const ALL: &[Step] = &[ $( Step::$variant, )+ ];

            /// Its name.
            #[must_use]
            pub fn name(self) -> &'static str { match self { $( Step::$variant => $name, )+ } }
        }
    };
}

steps! {
    ProvisionerStarted = "provisioner-started", "The provisioner runs.";
    RecordDirectory = "record-directory", "The record has a directory and no text.";
    RecordHalf = "record-half", "The record's text is on the disk under another name.";
    Recorded = "recorded", "The record is on the disk.";
    IdTold = "id-told", "The caller has the job's id, where it asked for it.";
    RunDirectory = "run-directory", "The run directory exists.";
    ProvisionAsked = "provision-asked", "It was asked for everything.";
    ObjectMade = "object-made", "The first object of this job's exists.";
    BindingMade = "binding-made", "Its RoleBinding exists.";
    UidsRecorded = "uids-recorded", "The objects' uids are on record.";
    SecretMade = "secret-made", "Its Secret exists.";
    Provisioned = "provisioned", "All objects exist, and a token.";
    CredentialWritten = "credential-written", "The kubeconfig is in the run directory.";
    FilesWritten = "files-written", "All files are in the run directory.";
    ScratchMade = "scratch-made", "The scratch directory exists, where files were handed over.";
    CgroupMade = "cgroup-made", "The job's cgroup was asked for.";
    Forked = "forked", "The job's process exists.";
    Started = "started", "It has become the Spark program.";
    RunningRecorded = "running-recorded", "That is on record.";
    JobEnded = "job-ended", "The job has ended, or will not be started.";
    EndRecorded = "end-recorded", "Its end is on record.";
    ProcessesEnded = "processes-ended", "No process of the job's is left.";
    TearDownAsked = "tear-down-asked", "The provisioner was asked to take everything back.";
    TornDown = "torn-down", "Nothing is left in the cluster.";
    ProvisionerEnded = "provisioner-ended", "The provisioner has ended.";
    ScratchRemoved = "scratch-removed", "The scratch directory is gone.";
    RunDirectoryRemoved = "run-directory-removed", "The run directory is gone.";
    Closed = "closed", "The record says that nothing is left.";
}

/// Processes that a fault can hit, beside the supervisor and its caller.
#[derive(Clone, Copy, Debug, Default)]
pub struct Victims {
    /// The provisioner.
    pub provisioner: Option<Pid>,
    /// The job's own process.
    pub job: Option<Pid>,
}

/// A step was done.
#[cfg(not(feature = "fault-points"))]
#[inline]
pub fn reached(_step: Step, _victims: Victims) {}

/// Whether a test wants this to go wrong.
#[cfg(not(feature = "fault-points"))]
#[inline]
#[must_use]
pub fn wanted(_fault: &str) -> bool {
    false
}

/// Whether a test has put a file of this name into the run directory.
#[cfg(feature = "fault-points")]
#[must_use]
pub fn wanted(fault: &str) -> bool {
    super::paths::run_directory().join(fault).exists()
}

/// Kills whom the file `fault-point` in the run directory names (`STEP VICTIM`), once.
#[cfg(feature = "fault-points")]
pub fn reached(step: Step, victims: Victims) {
    use nix::sys::signal::{Signal, kill};
    let file = super::paths::run_directory().join("fault-point");
    let Ok(text) = std::fs::read_to_string(&file) else { return };
    let Some((name, victim)) = text.trim().split_once(' ') else { return };
    if name != step.name() || std::fs::remove_file(&file).is_err() {
        return;
    }
    let pid = match victim {
        "supervisor" => Some(nix::unistd::getpid()),
        "sudo" => Some(nix::unistd::getppid()),
        "provisioner" => victims.provisioner,
        "job" => victims.job,
        _ => None,
    };
    if let Some(pid) = pid {
        let _ = kill(pid, Signal::SIGKILL);
        // So that the death is there before the next step is.
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
