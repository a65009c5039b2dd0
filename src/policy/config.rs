//! The configuration's shape: the types that the file is read into, that `config schema` prints, and that the
//! manual's section 5 page is made from. Reading is in [`parse`]; trust in the file is the supervisor's matter.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::spark::DriverPorts;

mod callers;
mod driver;
pub mod duration;
mod environment;
mod executors;
mod explain;
mod isolation;
mod namespaces;
mod parse;
mod place;
mod policies;
mod tool;
mod validate;
mod yaml;

#[cfg(test)]
mod tests;

pub use callers::{AccountEntry, CallerEntry, GroupEntry, Listed, MayRunAs, Own};
pub use driver::{Driver, Limits};
pub use executors::Executors;
pub use isolation::Isolation;
pub use namespaces::Namespaces;
pub(crate) use parse::Reader;
pub use parse::{ConfigError, MAX_TEXT, parse};
pub use policies::{
    AccessMode, Egress, ExecutorAccount, LimitRange, LimitRangeItem, LimitType, NamespacePolicy,
    NetworkPolicy, PodSecurity, ResourceQuota, Volume,
};
pub use tool::{Arguments, Runnable, Tool};

/// The whole file.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who may call: accounts by their names, or accounts and groups with rules of their own, of which any may allow a
    /// job. Root may only if it is named.
    pub callers: Vec<CallerEntry>,
    /// Account that talks to Kubernetes: a system account of its own (recommended), or a caller's.
    pub provisioner: String,
    /// Who may run jobs, and as which UNIX account.
    pub users: Users,
    /// The clusters, by name.
    pub clusters: BTreeMap<String, Cluster>,
    /// The kinds of job, by name.
    pub profiles: BTreeMap<String, Profile>,
    /// Policies that profiles name, or that name the namespaces they are for.
    #[serde(default)]
    pub namespace_policies: BTreeMap<String, NamespacePolicy>,
    /// The administrator's verbs for namespaces.
    #[serde(default)]
    pub namespaces: Namespaces,
    /// What `--stage` and `--request` may bring.
    #[serde(default)]
    pub staging: Staging,
    /// How long each phase may take.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// The records of jobs that have ended.
    #[serde(default)]
    pub records: Records,
    /// The lines that go to syslog when a job starts and ends, and when a call is refused.
    #[serde(default)]
    pub audit: Audit,
}

/// Who may run jobs.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Users {
    /// UNIX groups, one of which the end-user must be in.
    pub allowed_groups: Vec<String>,
    /// Smallest uid that may run jobs.
    #[serde(default = "default_min_uid")]
    pub min_uid: u32,
    /// UNIX accounts that never run jobs. Uid 0 never does, whatever its name.
    #[serde(default)]
    pub denied: Vec<String>,
    /// Rules from login to UNIX account. Those of the project come first; the first that matches wins.
    #[serde(default = "default_mapping")]
    pub mapping: Vec<MappingRule>,
    /// Root-owned YAML file with admin properties of logins and groups, or a directory of such files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub properties: Option<PathBuf>,
    /// Teams, for `${team}` and `run --team`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<Team>,
}

/// Where the teams of an account come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Team {
    /// Regular expression over the whole name of a UNIX group, with one pair of brackets around the team's name.
    pub from_groups: String,
}

/// One rule from login to UNIX account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum MappingRule {
    /// `identity`: the login is the account's name.
    Identity(IdentityRule),
    /// One login, letter for letter.
    Login(LoginRule),
    /// A regular expression over the whole login.
    Regex(RegexRule),
}

/// The word `identity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IdentityRule {
    /// The login is the account's name.
    Identity,
}

/// One login, letter for letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginRule {
    /// The login.
    pub login: String,
    /// Its UNIX account.
    pub user: String,
    /// Only for jobs of this project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
}

/// A regular expression over the whole login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegexRule {
    /// The expression (syntax of the Rust regex crate: linear time, no look-around, no back-references).
    pub regex: String,
    /// Its UNIX account, with `$1` and so on for what the groups matched.
    pub user: String,
    /// Only for jobs of this project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
}

/// A Kubernetes cluster.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// The provisioner's kubeconfig. Owned by root or the provisioner, closed to everybody else.
    pub kubeconfig: PathBuf,
    /// Its context; the file's current context when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// ClusterRole that a job's account is bound to in its namespace.
    #[serde(default = "default_driver_role")]
    pub driver_role: String,
    /// Run although the admission policy that fences the provisioner is missing.
    #[serde(default)]
    pub accept_missing_fence: bool,
    /// Namespaces where `reap` looks for overdue jobs when the provisioner may not look at all of them at once
    /// (team namespaces that an administrator prepared).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
}

/// A kind of job.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Name of the cluster.
    pub cluster: String,
    /// Spark's directory. Nobody but root may be able to change it.
    #[serde(default = "default_spark_home")]
    pub spark_home: PathBuf,
    /// Programs of its `bin` that may be run: spark-submit, pyspark, spark-shell, spark-sql.
    #[serde(default = "default_programs")]
    pub programs: Vec<Program>,
    /// Further programs of its `bin`, and classes for its spark-class, that may be run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Tool>,
    /// Where jobs run.
    pub namespace: Namespace,
    /// How jobs reach the cluster.
    #[serde(default)]
    pub credentials: Credentials,
    /// Spark's settings.
    #[serde(default)]
    pub spark: Spark,
    /// The job's environment.
    #[serde(default)]
    pub environment: Environment,
    /// What the driver may use of this host; anything when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<Driver>,
    /// A volume for each end-user, kept after the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<Volume>,
    /// What is done about a job whose executors do not run.
    #[serde(default)]
    pub executors: Executors,
}

/// A program of Spark's `bin` directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Program {
    /// spark-submit
    SparkSubmit,
    /// pyspark
    Pyspark,
    /// spark-shell
    SparkShell,
    /// spark-sql
    SparkSql,
}

impl Program {
    /// Its file name.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Program::SparkSubmit => "spark-submit",
            Program::Pyspark => "pyspark",
            Program::SparkShell => "spark-shell",
            Program::SparkSql => "spark-sql",
        }
    }
}

/// The namespace of a profile's jobs.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Namespace {
    /// Its name, with `${dssUserLogin}`, `${login}`, `${user}`, `${group}`, `${team}`, `${projectKey}`,
    /// `${adminProperty:X}`, and the filters `tolower`, `getornull` and `default`.
    pub template: String,
    /// Create it on demand.
    #[serde(default)]
    pub create: bool,
    /// Names of `namespace_policies` to apply, beside those whose `namespaces` matches.
    #[serde(default)]
    pub policies: Vec<String>,
    /// Give each login a namespace of its own although several logins have one UNIX account, and so one another's jobs.
    #[serde(default)]
    pub accept_shared_account: bool,
    /// Whether the admission policy must be in force that keeps a job's account to its own pods. When absent: required,
    /// unless the template names the person (`${dssUserLogin}`, `${login}` or `${user}`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
}

/// How a job's driver authenticates to the cluster.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// Where the credential comes from.
    #[serde(default)]
    pub mode: CredentialMode,
    /// Life of a token, such as `1h`; at least 10 minutes. Renewed at two thirds of what was granted.
    #[serde(default = "default_token_ttl", with = "duration")]
    #[schemars(with = "String", extend("format" = duration::FORMAT))]
    pub token_ttl: Duration,
}

/// Where a job's credential comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CredentialMode {
    /// A ServiceAccount made for this job.
    #[default]
    Dynamic,
}

/// Spark's settings.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spark {
    /// Settings that the job may change.
    #[serde(default)]
    pub defaults: BTreeMap<String, String>,
    /// Settings that come after the job's own.
    #[serde(default)]
    pub enforced: BTreeMap<String, String>,
    /// Root-owned pod template (YAML) that executor pods start from; the wrapper's own fields win.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executor_pod_template: Option<PathBuf>,
    /// Address that executors reach the driver at; this host's address towards the API server when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver_host: Option<String>,
    /// Ports of this host that drivers listen on: each job gets a block of three for itself. Any port when absent; where
    /// the namespace's policy isolates, 20000 to 24094.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver_ports: Option<PortRange>,
}

/// A range of TCP ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PortRange {
    /// The first, at least 1024.
    pub first: u16,
    /// The last.
    pub last: u16,
}

impl PortRange {
    /// Where the namespace's policy names the driver's ports and the profile does not: below the ports that Linux gives to
    /// outgoing connections (32768 and up) and Kubernetes to NodePorts (30000 and up).
    pub const DEFAULT: Self = Self { first: 20_000, last: 24_094 };

    /// How many drivers fit.
    #[must_use]
    pub fn blocks(self) -> u32 {
        (u32::from(self.last) + 1).saturating_sub(u32::from(self.first)) / u32::from(DriverPorts::COUNT)
    }

    /// The ports of one driver; none when the range has no such block.
    #[must_use]
    pub fn block(self, index: u32) -> Option<DriverPorts> {
        let count = DriverPorts::COUNT;
        let offset = u16::try_from(index).ok()?.checked_mul(count)?;
        let first = self.first.checked_add(offset)?;
        let last = first.checked_add(count - 1)?;
        (last <= self.last).then_some(DriverPorts { first, last })
    }
}

/// The job's environment, built from nothing.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Variables taken over from the caller.
    #[serde(default)]
    pub keep: Vec<String>,
    /// Variables set.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
}

/// Bounds on what the caller hands over.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Staging {
    /// Most files.
    pub max_files: u32,
    /// Most bytes of all files together.
    pub max_bytes: u64,
}

impl Default for Staging {
    fn default() -> Self {
        Self { max_files: 64, max_bytes: 1 << 30 }
    }
}

/// The records of jobs that have ended.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Records {
    /// How long they are kept for `list` and `status`; `reap` removes older ones.
    #[serde(with = "duration")]
    #[schemars(with = "String", extend("format" = duration::FORMAT))]
    pub keep: Duration,
}

impl Default for Records {
    fn default() -> Self {
        Self { keep: Duration::from_secs(7 * 86_400) }
    }
}

/// The audit lines.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// Refuse a job whose start cannot be logged. When false, that is told and the job runs.
    pub required: bool,
}

/// How long each phase may take.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// The account database's answer.
    #[serde(with = "duration")]
    #[schemars(with = "String", extend("format" = duration::FORMAT))]
    pub lookup: Duration,
    /// The caller's files, until they are open; and again until they are copied.
    #[serde(with = "duration")]
    #[schemars(with = "String", extend("format" = duration::FORMAT))]
    pub staging: Duration,
    /// The first connection to the API server, a login helper included.
    #[serde(with = "duration")]
    #[schemars(with = "String", extend("format" = duration::FORMAT))]
    pub connect: Duration,
    /// One request to the API server.
    #[serde(with = "duration")]
    #[schemars(with = "String", extend("format" = duration::FORMAT))]
    pub request: Duration,
    /// All of the set-up in the cluster.
    #[serde(with = "duration")]
    #[schemars(with = "String", extend("format" = duration::FORMAT))]
    pub provision: Duration,
    /// From TERM to KILL when the job is told to stop.
    #[serde(with = "duration")]
    #[schemars(with = "String", extend("format" = duration::FORMAT))]
    pub grace: Duration,
    /// All of the clean-up in the cluster.
    #[serde(with = "duration")]
    #[schemars(with = "String", extend("format" = duration::FORMAT))]
    pub teardown: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            lookup: seconds(10),
            staging: seconds(60),
            connect: seconds(15),
            request: seconds(10),
            provision: seconds(60),
            grace: seconds(20),
            teardown: seconds(60),
        }
    }
}

fn default_min_uid() -> u32 {
    1000
}
fn default_mapping() -> Vec<MappingRule> {
    vec![MappingRule::Identity(IdentityRule::Identity)]
}
fn default_driver_role() -> String {
    "spark-submit-as-driver".into()
}
fn default_spark_home() -> PathBuf {
    "/opt/spark".into()
}
fn default_programs() -> Vec<Program> {
    vec![Program::SparkSubmit]
}
fn default_token_ttl() -> Duration {
    Duration::from_secs(3600)
}

impl Default for Credentials {
    fn default() -> Self {
        Self { mode: CredentialMode::default(), token_ttl: default_token_ttl() }
    }
}
