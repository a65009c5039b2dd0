//! The wrapper's own exit codes: one number per refusal or failure, in one table.
//!
//! They lie in 200..=249: above every `128 + signal` (Linux has 64 signals) and above the codes that Spark
//! uses itself (0, 1, 11, 101, 129, 130, 143, 255). A job may still end with the same number, so
//! the last line on standard error names the code of a refusal. The man page's table is made from [`ExitCode::ALL`].

use serde::{Deserialize, Serialize};

macro_rules! exit_codes {
    ($( $variant:ident = $number:literal, $name:literal, $meaning:literal; )+) => {
        /// Why the wrapper itself ended a call.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        #[repr(u8)]
        pub enum ExitCode { $( #[doc = $meaning] $variant = $number, )+ }

        impl ExitCode {
            /// Every code, in the order of its number.
            pub const ALL: &[ExitCode] = &[ $( ExitCode::$variant, )+ ];

            /// The short name that messages carry in brackets.
            #[must_use]
            pub fn name(self) -> &'static str { match self { $( ExitCode::$variant => $name, )+ } }

            /// One sentence for the manual.
            #[must_use]
            pub fn meaning(self) -> &'static str { match self { $( ExitCode::$variant => $meaning, )+ } }
        }
    };
}

exit_codes! {
    Usage = 200, "usage", "The command line is not understood.";
    NotRoot = 201, "not-root", "Not started with root's rights (through sudo), or under no_new_privs, or installed setuid.";
    Platform = 202, "platform", "The kernel or the C library is older than the supported floor (`check` looks at sudo).";
    ConfigUntrusted = 203, "config-untrusted", "The configuration or a parent directory can be changed by somebody other than root, or is a symbolic link.";
    ConfigInvalid = 204, "config-invalid", "The configuration cannot be read or breaks a rule.";
    CallerRefused = 205, "caller-refused", "The calling account may not use this verb or act for this login.";
    UserRefused = 206, "user-refused", "The login maps to no UNIX account, or to one that must not run jobs.";
    ProfileRefused = 207, "profile-refused", "The profile does not exist or may not be used here.";
    NamespaceRefused = 208, "namespace-refused", "The namespace template gives no name that may be used.";
    ArgumentRefused = 209, "argument-refused", "A Spark argument is refused.";
    ProgramRefused = 210, "program-refused", "The Spark program or its directory is missing, or can be changed by somebody other than root.";
    InputRefused = 211, "input-refused", "A file named by --stage or --request cannot be taken from the caller, or that of --id-file not written as the caller.";
    LookupFailed = 212, "lookup-failed", "The account database did not answer in time, or answered with an error.";
    RunDirectory = 213, "run-directory", "The run directory cannot be made or is not safe.";
    Provisioner = 214, "provisioner", "The provisioner could not be started, died, or broke the protocol.";
    ClusterCredential = 215, "cluster-credential", "The provisioner's kubeconfig is not safe, cannot be used, or its login helper failed.";
    ClusterUnreachable = 216, "cluster-unreachable", "The API server did not answer in time, or its certificate is not the expected one.";
    ClusterRefused = 217, "cluster-refused", "The API server refused a request or gave an answer that cannot be used.";
    ClusterNamespace = 218, "cluster-namespace", "The namespace does not exist, is being deleted, or belongs to somebody else.";
    FenceMissing = 219, "fence-missing", "The admission policy that fences the provisioner is missing.";
    TokenRefused = 220, "token-refused", "The cluster granted no usable token.";
    ProcessSetup = 221, "process-setup", "The job's process could not be prepared or could not become the end-user.";
    ExecFailed = 222, "exec-failed", "The Spark program could not be executed.";
    Interrupted = 223, "interrupted", "The calling process was gone before the job began.";
    CleanupIncomplete = 224, "cleanup-incomplete", "Something is left in the cluster or on this host, and there was no job whose own end could be reported; of `reap` also: a record was set aside.";
    CheckFailed = 225, "check-failed", "At least one check failed.";
    Internal = 226, "internal", "A fault of this program, or of the system below it.";
    NoSuchJob = 227, "no-such-job", "There is no such job among those that the caller may see.";
    Journal = 228, "journal", "The job's record cannot be written or read; nothing was made without one.";
    Audit = 229, "audit", "The audit line could not be written, and the configuration requires it.";
    IsolationMissing = 230, "isolation-missing", "The admission policy that keeps a job's account to its own pods is missing, and the profile requires it.";
    NoPort = 233, "no-port", "Every port of the range for drivers is taken.";
    NoExecutors = 231, "no-executors", "The job was ended because no executor of it ran in the profile's time (executors.end_after).";
}

impl ExitCode {
    /// The process's exit status.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_unique_and_clear_of_signals_and_spark() {
        let numbers: Vec<u8> = ExitCode::ALL.iter().map(|code| code.number()).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(numbers.iter().all(|number| (200..=249).contains(number)));
    }
}
