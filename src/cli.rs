//! The command line, once: clap parses with it, the manual and the completions are made from it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Runs Spark on Kubernetes as the end-user, with a credential made for one job
///
/// A data platform, a cron host or a notebook server calls this program through sudo. It decides from root-owned
/// configuration which UNIX account and which namespace a login stands for, creates a service account for this job
/// alone, and runs spark-submit as the end-user with a token that dies with the job.
#[derive(Debug, Parser)]
#[command(name = "spark-submit-as", version, max_term_width = 110, disable_help_subcommand = true)]
pub struct Cli {
    /// Read this configuration instead of the compiled-in one (for root itself; refused through sudo)
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a Spark program as an end-user
    Run(Box<RunArgs>),
    /// Run plain spark-submit arguments; user and profile come from the policy (for a drop-in `spark-submit`)
    Submit(SubmitArgs),
    /// List jobs
    List(ListArgs),
    /// Show all that is known about jobs
    Status(StatusArgs),
    /// End jobs as their owner would, and take back what they had
    Kill(KillArgs),
    /// Take back what dead jobs have left: on this host, and in the cluster whatever is overdue
    Reap(ReapArgs),
    /// Look whether this host and the cluster are ready to run jobs
    Check(CheckArgs),
    /// Look after namespaces, with an administrator's kubeconfig
    #[command(subcommand)]
    Namespace(NamespaceVerb),
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Change admin properties
    #[command(subcommand)]
    Properties(PropertiesVerb),
}

/// `run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The end-user's login on the platform
    #[arg(long, value_name = "LOGIN")]
    pub user: Option<String>,

    /// The kind of job, from the configuration's `profiles`
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,

    /// Key of the platform's project, for mapping rules and `${projectKey}`
    #[arg(long, value_name = "KEY")]
    pub project: Option<String>,

    /// The team that the job belongs to, of those that its account is a member of; needed only with several
    #[arg(long, value_name = "NAME")]
    pub team: Option<String>,

    /// Program of Spark's bin directory, one of the profile's `programs` or `tools` [default: spark-submit]
    #[arg(long, value_name = "NAME")]
    pub program: Option<String>,

    /// Hand over a file that only the caller can read (repeatable). A Spark argument that is this path becomes the
    /// copy's path; the job starts in the directory that holds the copies
    #[arg(long, value_name = "PATH")]
    pub stage: Vec<PathBuf>,

    /// Take user, profile, project, team, program, conf, stage, tags and arguments from a JSON file that the caller can read,
    /// so that none of them appears on a command line
    #[arg(long, value_name = "FILE")]
    pub request: Option<PathBuf>,

    /// Note a word about this job, to find it by (repeatable)
    #[arg(long = "tag", value_name = "KEY=VALUE")]
    pub tags: Vec<String>,

    /// Write the job's id into this file, as the caller, before the job is started
    #[arg(long, value_name = "FILE")]
    pub id_file: Option<PathBuf>,

    /// Print the whole decision and create nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Print the decision of --dry-run as JSON
    #[arg(long, requires = "dry_run")]
    pub json: bool,

    /// Print errors and warnings only
    #[arg(long, short)]
    pub quiet: bool,

    /// Arguments for the Spark program
    #[arg(last = true, value_name = "SPARK ARGUMENTS")]
    pub arguments: Vec<OsString>,
}

/// `submit`.
#[derive(Args, Debug)]
pub struct SubmitArgs {
    /// The kind of job [default: the first of the caller's `profiles`, or the only one that there is]
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,

    /// Program of Spark's bin directory, one of the profile's `programs` [default: spark-submit]
    #[arg(long, value_name = "NAME")]
    pub program: Option<String>,

    /// Arguments of spark-submit. `--proxy-user LOGIN` says who the job runs as, instead of the caller; `--master k8s://…`
    /// must name the profile's cluster
    #[arg(last = true, value_name = "SPARK ARGUMENTS")]
    pub arguments: Vec<OsString>,
}

/// Which jobs.
#[derive(Args, Debug)]
pub struct Selection {
    /// Jobs by id
    #[arg(value_name = "JOB")]
    pub jobs: Vec<String>,

    /// Jobs with this tag (repeatable: those that have all of them)
    #[arg(long = "tag", value_name = "KEY=VALUE")]
    pub tags: Vec<String>,
}

/// `list`.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// Jobs with this tag (repeatable: those that have all of them)
    #[arg(long = "tag", value_name = "KEY=VALUE")]
    pub tags: Vec<String>,

    /// Also jobs that have ended, as long as their records are kept
    #[arg(long)]
    pub all: bool,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `status`.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// Which
    #[command(flatten)]
    pub selection: Selection,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `kill`.
#[derive(Args, Debug)]
pub struct KillArgs {
    /// Which
    #[command(flatten)]
    pub selection: Selection,

    /// Print errors and warnings only
    #[arg(long, short)]
    pub quiet: bool,
}

/// `reap`.
#[derive(Args, Debug)]
pub struct ReapArgs {
    /// Tell what would be taken back, and take nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Print JSON
    #[arg(long)]
    pub json: bool,

    /// Print only what stays or was set aside
    #[arg(long, short, conflicts_with = "json")]
    pub quiet: bool,
}

/// `check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Only this profile
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,

    /// Also decide as a run for this login would
    #[arg(long, value_name = "LOGIN")]
    pub user: Option<String>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// With whose rights, and in which cluster, `namespace …` works.
#[derive(Args, Debug)]
pub struct Administrator {
    /// Kubeconfig of an administrator of the cluster (absolute path; of root's, closed to others): the provisioner may
    /// neither list, adopt nor delete namespaces
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: PathBuf,

    /// Context of that kubeconfig [default: its current context]
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,

    /// Cluster of the configuration that it leads to [default: the only one]
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
}

/// `namespace …`.
#[derive(Debug, Subcommand)]
pub enum NamespaceVerb {
    /// List managed namespaces: whose they are, and whether that user still exists
    List(NamespaceListArgs),
    /// Give a namespace that exists to a user or a team
    Adopt(AdoptArgs),
    /// Namespaces' policies
    #[command(subcommand)]
    Policies(PoliciesVerb),
    /// Delete namespaces of users that have been gone for long
    Prune(PruneArgs),
}

/// `namespace list`.
#[derive(Args, Debug)]
pub struct NamespaceListArgs {
    /// Whose rights
    #[command(flatten)]
    pub administrator: Administrator,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `namespace adopt`.
#[derive(Args, Debug)]
pub struct AdoptArgs {
    /// The namespace
    #[arg(value_name = "NAMESPACE")]
    pub namespace: String,

    /// Whose rights
    #[command(flatten)]
    pub administrator: Administrator,

    /// Profile whose jobs are to use it
    #[arg(long, value_name = "NAME")]
    pub profile: String,

    /// It becomes the namespace that a run for this login would use
    #[arg(long, value_name = "LOGIN", required_unless_present = "owner", conflicts_with = "owner")]
    pub user: Option<String>,

    /// Project of that run
    #[arg(long, value_name = "KEY", requires = "user")]
    pub project: Option<String>,

    /// Team of that run
    #[arg(long, value_name = "NAME", requires = "user")]
    pub team: Option<String>,

    /// The owner itself, as `run --dry-run` prints it
    #[arg(long, value_name = "JSON")]
    pub owner: Option<String>,

    /// Show what is in it and what would be done
    #[arg(long)]
    pub dry_run: bool,

    /// What is in it was looked at, and may be used by this owner's jobs
    #[arg(long)]
    pub yes: bool,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `namespace policies …`.
#[derive(Debug, Subcommand)]
pub enum PoliciesVerb {
    /// Bring the configuration's policies into managed namespaces now, and not with the next run
    Apply(PoliciesApplyArgs),
}

/// `namespace policies apply`.
#[derive(Args, Debug)]
pub struct PoliciesApplyArgs {
    /// Which
    #[arg(value_name = "NAMESPACE", required_unless_present = "all")]
    pub namespaces: Vec<String>,

    /// Whose rights
    #[command(flatten)]
    pub administrator: Administrator,

    /// All managed namespaces that a profile's template gives
    #[arg(long, conflicts_with = "namespaces")]
    pub all: bool,

    /// Tell what differs, and change nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `namespace prune`.
#[derive(Args, Debug)]
pub struct PruneArgs {
    /// Whose rights
    #[command(flatten)]
    pub administrator: Administrator,

    /// Tell what would be deleted; take note of nothing
    #[arg(long, required_unless_present = "yes", conflicts_with = "yes")]
    pub dry_run: bool,

    /// Delete
    #[arg(long)]
    pub yes: bool,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `config …`.
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Print the configuration as it is understood, defaults included
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Look whether a configuration would be accepted
    Validate {
        /// The file [default: the configuration in force]
        file: Option<PathBuf>,
    },
    /// Print the configuration's JSON Schema
    Schema,
    /// Print what the configuration makes of a login, rule by rule: account, callers, namespaces
    Explain(ExplainArgs),
}

/// `config explain`.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// The login
    #[arg(long, value_name = "LOGIN")]
    pub user: String,

    /// As a job of this project
    #[arg(long, value_name = "KEY")]
    pub project: Option<String>,

    /// As a job of this team
    #[arg(long, value_name = "NAME")]
    pub team: Option<String>,

    /// Only this profile
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `properties …`.
#[derive(Debug, Subcommand)]
pub enum PropertiesVerb {
    /// Set an admin property of a login or a group
    Set(SetArgs),
    /// Take an admin property of a login or a group away
    Unset(UnsetArgs),
}

/// Whose property.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct SubjectArgs {
    /// Of this login
    #[arg(long, value_name = "LOGIN")]
    pub login: Option<String>,

    /// Of the members of this UNIX group
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
}

/// `properties set`.
#[derive(Args, Debug)]
pub struct SetArgs {
    /// Whose
    #[command(flatten)]
    pub subject: SubjectArgs,

    /// The property
    #[arg(value_name = "KEY")]
    pub key: String,

    /// Its value
    #[arg(value_name = "VALUE")]
    pub value: String,
}

/// `properties unset`.
#[derive(Args, Debug)]
pub struct UnsetArgs {
    /// Whose
    #[command(flatten)]
    pub subject: SubjectArgs,

    /// The property
    #[arg(value_name = "KEY")]
    pub key: String,
}
