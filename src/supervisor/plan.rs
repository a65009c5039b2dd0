//! The decision, whole, before anything is made: who, as whom, where, with which program and arguments. Everything that
//! can be refused without the cluster is refused here.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::invocation::Invocation;
use super::limits::Planned;
use super::lookup::{self, Question, Record};
use super::proc::JOB_VARIABLE;
use super::startup::{CallerUid, Given};
use super::{Failure, load};
use crate::exit::ExitCode;
use crate::job::{EndUser, Scratch};
use crate::policy::config::{Config, PodSecurity, PortRange, Profile, Staging, Timeouts};
use crate::policy::identity::{self, Authority, Caller, RuleTrace};
use crate::policy::names::{JobId, Login, UserName};
use crate::policy::namespace::{self, Variables};
use crate::policy::network::JobNetwork;
use crate::policy::token::Token;
use crate::policy::volume::{self, Claim};
use crate::policy::wanted;
use crate::protocol::{ClusterAccess, HOST_ANNOTATION, MANAGED_LABEL, NamespaceWanted, Provision, WireToken};
use crate::spark::{self, DriverPorts};
use crate::sys::process;
use crate::sys::trusted;

mod accounts;
mod executors;
mod explain;
mod place;
mod spark_files;

use accounts::{account, accounts, caller_groups, gids, known};
pub use explain::explain;
use place::{Asked, admin_properties, record_of};
pub use spark_files::look_at_spark;
use spark_files::spark_directory;

/// Name of the executor pod template in the run directory.
const POD_TEMPLATE: &str = "executor-pod.json";
/// Name of the RPC secret's file there.
const AUTH_SECRET: &str = "auth-secret";
/// Name of the properties file there.
const PROPERTIES: &str = "spark.properties";
/// Search path of the job when the profile sets none.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Everything that a run needs to know.
pub struct Plan {
    /// The job.
    pub job: JobId,
    /// The login that was given.
    pub login: Login,
    /// The account that called,
    pub caller: String,
    /// and its uid.
    pub caller_uid: u32,
    /// The caller's words about the job.
    pub tags: BTreeMap<String, String>,
    /// The end-user's account.
    pub user_name: UserName,
    /// Its ids.
    pub user: EndUser,
    shell: PathBuf,
    /// Each mapping rule, and why it did or did not match.
    pub trace: Vec<RuleTrace>,
    /// The rule that allowed the account.
    pub allowed_by: String,
    /// The entry of `callers` that let the caller run jobs as it.
    pub called_by: String,
    /// The profile's name.
    pub profile_name: String,
    profile: Profile,
    /// The project.
    pub project: Option<String>,
    /// The namespace.
    pub namespace: NamespaceWanted,
    /// The user's volume there.
    pub claim: Option<Claim>,
    /// The cluster.
    pub cluster: ClusterAccess,
    /// The provisioner's account.
    pub provisioner: Record,
    kubeconfig: PathBuf,
    /// The program's name, for people.
    pub program_name: String,
    class: Option<String>,
    /// The Spark program.
    pub program: PathBuf,
    arguments: spark::Parsed,
    properties: Vec<u8>,
    pod_template: Option<Vec<u8>>,
    auth_secret: String,
    /// The cluster's address as plain arguments named it.
    pub master: Option<String>,
    /// Where the driver's ports are taken from; any port when absent.
    pub driver_ports: Option<PortRange>,
    /// Files to hand over, as the caller named them.
    pub stage: Vec<PathBuf>,
    /// Bounds on them.
    pub staging: Staging,
    /// How long each phase may take.
    pub timeouts: Timeouts,
    /// A job whose start cannot be logged is refused.
    pub audit_required: bool,
}

/// The caller as the account database knows it, and the entries of `callers` that name it.
///
/// # Errors
/// [`ExitCode::CallerRefused`] for a uid that it does not know, and for one that is not named in `callers`.
pub fn authorize_caller(config: &Config, caller: CallerUid) -> Result<(Record, Authority), Failure> {
    let uid = match caller {
        CallerUid::Root => 0,
        CallerUid::Account(uid) => uid,
    };
    let groups = caller_groups(config).into_iter().collect();
    let question = Question { uids: vec![uid], groups, ..Question::default() };
    let mut answer = lookup::ask(&question, config.timeouts.lookup)?;
    let unknown = || Failure::new(ExitCode::CallerRefused, "the calling uid belongs to no account");
    let record = answer.uids.remove(&uid).ok_or_else(unknown)?;
    let who = match caller {
        CallerUid::Root => Caller::Root,
        CallerUid::Account(uid) => Caller::Account {
            name: UserName::new(record.name.clone()).map_err(Failure::of(ExitCode::CallerRefused))?,
            uid,
            groups: record.groups.iter().copied().chain([record.gid]).collect(),
        },
    };
    let authority = identity::authorize_caller(config, &who, &gids(caller_groups(config), &answer))?;
    Ok((record, authority))
}

/// Decides.
///
/// # Errors
/// The refusal, with its rule.
pub fn decide(
    config: &Config,
    caller: &Record,
    authority: Authority,
    wanted: Invocation,
) -> Result<Plan, Failure> {
    let login = Login::new(wanted.user).map_err(Failure::of(ExitCode::UserRefused))?;
    let authority = authority.for_profile(config, &wanted.profile)?;
    let profile = config.profiles.get(&wanted.profile).ok_or_else(|| {
        Failure::new(
            ExitCode::ProfileRefused,
            "no such profile; the configuration's `profiles` names those that exist",
        )
    })?;
    let runnable = profile.runnable(&wanted.program).ok_or_else(|| {
        let name = spark::escaped(wanted.program.as_bytes());
        Failure::new(
            ExitCode::ProfileRefused,
            format!("{name} is not among this profile's `programs` and `tools`"),
        )
    })?;
    let cluster = config.clusters.get(&profile.cluster).ok_or_else(|| {
        Failure::new(ExitCode::ConfigInvalid, "the profile's cluster is not among `clusters`")
    })?;
    let mapped = identity::map_login(&config.users, &login, wanted.project.as_deref())?;
    let properties = admin_properties(config)?;
    let accounts = accounts(config, &mapped.user)?;
    let known = known(config, &accounts);
    // The caller's own rule first: what else there is to say about an account is not for a caller that may not use it.
    let record = record_of(&accounts.names, &mapped.user);
    let target = record.as_ref().ok().map(account).transpose()?;
    let called_by = authority.over(config, caller.uid, profile, target.as_ref(), &known.caller_groups)?;
    let record = record?;
    let account = account(&record)?;
    let allowed_by = identity::authorize_target(config, &account, &known)?;
    let provisioner = accounts.names.get(&config.provisioner).cloned().ok_or_else(|| {
        Failure::new(
            ExitCode::ConfigInvalid,
            "`provisioner` names an account that does not exist (useradd --system)",
        )
    })?;
    if provisioner.uid == 0 {
        return Err(Failure::new(
            ExitCode::ConfigInvalid,
            "`provisioner` has uid 0; give it an account of its own",
        ));
    }

    let asked = Asked {
        config,
        profile,
        login: &login,
        mapped: &mapped.user,
        record: &record,
        account: &account,
        project: wanted.project.as_deref(),
        team: wanted.team.as_deref(),
    };
    let variables = asked.variables(properties.as_ref())?;
    let namespace = namespace(config, profile, &variables)?;
    let claim = profile.volume.as_ref().map(|volume| volume::claim(volume, &variables));
    let claim = claim.transpose().map_err(|error| Failure::new(error.code(), error.to_string()))?;

    let argument = |error: spark::ArgumentError| Failure::new(error.code(), error.to_string());
    let (program, defaults, version) = spark_directory(profile, runnable.file)?;
    let arguments = match runnable.grammar {
        Some(grammar) => spark::parse(grammar, &wanted.arguments, version),
        None if wanted.conf.is_empty() => spark::Parsed::own(&wanted.arguments),
        None => Err(spark::ArgumentError::NoSettings),
    };
    let arguments = arguments.map_err(argument)?;
    spark::check_arguments(&arguments, &namespace.name).map_err(argument)?;
    // The network policy of a job names its driver's ports, so that executors reach nothing else of this host.
    let isolated = namespace.policies.network.is_some();
    let driver_ports = profile.spark.driver_ports.or(isolated.then_some(PortRange::DEFAULT));
    if driver_ports.is_some() {
        spark::check_ports(&arguments, &wanted.conf).map_err(argument)?;
    }
    spark::keys::check_map(&wanted.conf, spark::Origin::Request, Some(&namespace.name)).map_err(argument)?;
    let pod_template = match &profile.spark.executor_pod_template {
        Some(path) => Some(load::bytes(path)?),
        None => None,
    };
    // By itself first: what is wrong with it is the administrator's matter, not the caller's.
    spark::merge(defaults.as_deref(), &BTreeMap::new(), &BTreeMap::new())
        .map_err(Failure::of(ExitCode::ConfigInvalid))?;
    let properties = spark::merge(defaults.as_deref(), &profile.spark.defaults, &wanted.conf)
        .map_err(|error| Failure::new(error.code(), error.to_string()))?;
    distinct_names(&wanted.stage, config.staging.max_files)?;
    let random = process::random::<10>().map_err(Failure::doing(ExitCode::Internal, "getrandom"))?;
    let plan = Plan {
        job: JobId::from_random(random),
        login,
        caller: caller.name.clone(),
        caller_uid: caller.uid,
        tags: wanted.tags,
        user_name: account.name,
        user: EndUser { uid: record.uid, gid: record.gid, groups: record.groups, home: record.home },
        shell: record.shell,
        trace: mapped.trace,
        allowed_by,
        called_by,
        profile_name: wanted.profile,
        profile: profile.clone(),
        project: wanted.project,
        namespace,
        claim,
        cluster: ClusterAccess::of(cluster, &config.timeouts),
        provisioner,
        kubeconfig: cluster.kubeconfig.clone(),
        class: runnable.class.map(String::from),
        program_name: wanted.program,
        program,
        arguments,
        properties,
        pod_template,
        auth_secret: secret()?,
        master: wanted.master,
        driver_ports,
        stage: wanted.stage,
        staging: config.staging.clone(),
        timeouts: config.timeouts.clone(),
        audit_required: config.audit.required,
    };
    // What only the set-up could find wrong is looked at before anything exists: the template and the credential.
    plan.files("00000000-0000-0000-0000-000000000000")?;
    plan.open_kubeconfig()?;
    Ok(plan)
}

fn namespace(config: &Config, profile: &Profile, variables: &Variables) -> Result<NamespaceWanted, Failure> {
    let resolved = namespace::resolve(&profile.namespace.template, variables)
        .map_err(|error| Failure::new(error.code(), error.to_string()))?;
    let policies = wanted::policies(config, &profile.namespace.policies, &resolved.name, &resolved.owner)
        .map_err(|error| Failure::new(error.code(), error.to_string()))?;
    Ok(NamespaceWanted {
        name: resolved.name,
        create: profile.namespace.create,
        owner: resolved.owner,
        labels: first_labels(),
        policies,
        volumes: profile.volume.is_some(),
    })
}

/// Labels of a namespace that is created, where no policy says others. One that is made without a level lets its jobs have
/// privileged pods, and through them the node.
#[must_use]
pub fn first_labels() -> BTreeMap<String, String> {
    let level = PodSecurity::Restricted.level();
    [(MANAGED_LABEL, "true"), (wanted::POD_SECURITY_LABEL, level)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

fn distinct_names(stage: &[PathBuf], max_files: u32) -> Result<(), Failure> {
    let refused = |message: String| Err(Failure::new(ExitCode::InputRefused, message));
    if stage.len() > usize::try_from(max_files).unwrap_or(usize::MAX) {
        return refused(format!(
            "more than {max_files} files are staged (configuration key staging.max_files)"
        ));
    }
    let mut names = BTreeSet::new();
    for path in stage {
        match path.file_name() {
            Some(name) if names.insert(name) => {}
            Some(_) => return refused("two staged files have the same name; rename one of them".into()),
            None => return refused("--stage must name a file".into()),
        }
    }
    Ok(())
}

/// 256 random bits in hexadecimal.
fn secret() -> Result<String, Failure> {
    let bytes = process::random::<32>().map_err(Failure::doing(ExitCode::Internal, "getrandom"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// This host's name.
#[must_use]
pub fn host_name() -> String {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default()
}

impl Plan {
    /// The cluster, as the configuration calls it.
    #[must_use]
    pub fn cluster_name(&self) -> &str {
        &self.profile.cluster
    }

    /// The rules that led to the account: how the login was mapped, why the account may run jobs, and why this caller may
    /// have it run one.
    #[must_use]
    pub fn rule(&self) -> String {
        let matched = self.trace.iter().find(|rule| rule.verdict == identity::Verdict::Matched);
        let matched = matched.map(ToString::to_string).unwrap_or_default();
        format!("{matched}; {}; {}", self.allowed_by, self.called_by)
    }

    /// How this host limits the driver.
    #[must_use]
    pub fn limits(&self) -> Planned {
        let new = |driver| Planned::new(driver, self.user_name.as_str(), &self.job);
        self.profile.driver.as_ref().map(new).unwrap_or_default()
    }

    /// What is told when the kernel has ended a process of the job's for its memory.
    #[must_use]
    pub fn memory_exceeded(&self) -> String {
        let driver = self.profile.driver.clone().unwrap_or_default();
        let name = |key: &str, limit: Option<String>| limit.map(|limit| format!("{key} is {limit}"));
        let limits =
            [name("driver.job.memory", driver.job.memory), name("driver.user.memory", driver.user.memory)];
        format!(
            "the driver, or what it started, was killed because it used more memory than it may ({} in profile {}); \
             ask for less (--driver-memory) or have the limit raised",
            limits.into_iter().flatten().collect::<Vec<_>>().join(", "),
            self.profile_name
        )
    }

    /// Opens the cluster's kubeconfig, which nobody but root and the provisioner may read [10].
    ///
    /// # Errors
    /// [`ExitCode::ClusterCredential`].
    pub fn open_kubeconfig(&self) -> Result<OwnedFd, Failure> {
        trusted::open_credential(&self.kubeconfig, self.provisioner.uid, self.provisioner.gid)
            .map_err(Failure::of(ExitCode::ClusterCredential))
    }

    /// Life of a token, in seconds.
    #[must_use]
    pub fn token_seconds(&self) -> u64 {
        self.profile.credentials.token_ttl.as_secs()
    }

    /// Whether the run is refused without the isolation policy.
    #[must_use]
    pub fn isolation_required(&self) -> bool {
        self.profile.namespace.isolation_required()
    }

    /// What the provisioner is asked for, for a driver with these ports.
    ///
    /// # Errors
    /// [`ExitCode::Internal`].
    pub fn provision(&self, ports: Option<DriverPorts>) -> Result<Provision, Failure> {
        let annotations = BTreeMap::from([
            ("spark-submit-as/login".to_owned(), self.login.to_string()),
            ("spark-submit-as/user".to_owned(), self.user_name.to_string()),
            ("spark-submit-as/caller".to_owned(), self.caller.clone()),
            (HOST_ANNOTATION.to_owned(), host_name()),
        ]);
        let secret = Token::new(self.auth_secret.clone())
            .ok_or_else(|| Failure::new(ExitCode::Internal, "no secret could be made"))?;
        Ok(Provision {
            job: self.job.clone(),
            namespace: self.namespace.clone(),
            annotations,
            token_seconds: self.token_seconds(),
            auth_secret: Some(WireToken(secret)),
            network: self.network(ports),
            volume: self.claim.clone(),
            quota_seconds: self.timeouts.provision.as_secs() * 3 / 4,
            isolation_required: self.isolation_required(),
        })
    }

    /// The user's volume in executors.
    fn mount(&self) -> Option<spark::Mount<'_>> {
        let volume = self.profile.volume.as_ref()?;
        Some(spark::Mount { claim: &self.claim.as_ref()?.name, path: volume.mount_path.to_str()? })
    }

    /// Where executors find the driver, where their network is isolated.
    fn network(&self, ports: Option<DriverPorts>) -> Option<JobNetwork> {
        let driver_host = self.profile.spark.driver_host.clone();
        let ports = ports.map(|ports| (ports.first, ports.last));
        self.namespace.policies.network.as_ref().map(|_| JobNetwork { driver_host, ports })
    }

    /// The files of the run directory, but the kubeconfig; `account_uid` is that of the job's ServiceAccount.
    ///
    /// # Errors
    /// [`ExitCode::ConfigInvalid`] when the administrator's pod template cannot be used.
    pub fn files(&self, account_uid: &str) -> Result<Vec<(&'static str, Vec<u8>)>, Failure> {
        let template = self.executor_template(account_uid)?;
        let mut files =
            vec![(POD_TEMPLATE, template.into_bytes()), (AUTH_SECRET, self.auth_secret.clone().into_bytes())];
        files.push((PROPERTIES, self.properties.clone()));
        Ok(files)
    }

    fn executor_template(&self, account_uid: &str) -> Result<String, Failure> {
        spark::executor_pod_template(
            &self.job,
            &self.job.object_name(),
            account_uid,
            self.pod_template.as_deref(),
            self.mount(),
        )
        .map_err(Failure::doing(ExitCode::ConfigInvalid, "executor_pod_template"))
    }

    /// The job's command line, argv\[0\] included.
    ///
    /// # Errors
    /// [`ExitCode::ArgumentRefused`].
    pub fn command(
        &self,
        server: &str,
        local_address: &str,
        driver_ports: Option<DriverPorts>,
        path_of: impl Fn(&str) -> PathBuf,
        scratch: Option<&Scratch>,
    ) -> Result<Vec<OsString>, Failure> {
        let facts = spark::JobFacts {
            job: self.job.clone(),
            namespace: self.namespace.name.clone(),
            server: server.to_owned(),
            driver_host: self.profile.spark.driver_host.clone().unwrap_or_else(|| local_address.to_owned()),
            driver_ports,
            pod_template: path_of(POD_TEMPLATE),
            auth_secret_file: Some(path_of(AUTH_SECRET)),
            properties_file: Some(path_of(PROPERTIES)),
        };
        let staged: Vec<(OsString, OsString)> = scratch
            .iter()
            .flat_map(|scratch| {
                self.stage.iter().filter_map(|path| {
                    Some((
                        path.clone().into_os_string(),
                        scratch.path.join(path.file_name()?).into_os_string(),
                    ))
                })
            })
            .collect();
        let arguments = self.arguments.substitute(&staged);
        let mut command = vec![self.program.clone().into_os_string()];
        command.extend(self.class.as_ref().map(OsString::from));
        command.extend(spark::command_line(&arguments, &facts, &self.profile.spark));
        Ok(command)
    }

    /// The job's environment, from nothing [26], [29].
    #[must_use]
    pub fn environment(&self, given: &Given, kubeconfig: &Path) -> Vec<(OsString, OsString)> {
        let mut environment: BTreeMap<OsString, OsString> = BTreeMap::new();
        environment.insert("PATH".into(), PATH.into());
        for name in &self.profile.environment.keep {
            if let Some(value) = given.variable(name) {
                environment.insert(name.into(), value.clone());
            }
        }
        for (name, value) in &self.profile.environment.set {
            environment.insert(name.into(), value.into());
        }
        let user = OsString::from(self.user_name.as_str());
        environment.insert("HOME".into(), self.user.home.clone().into());
        environment.insert("USER".into(), user.clone());
        environment.insert("LOGNAME".into(), user);
        environment.insert("SHELL".into(), self.shell.clone().into());
        environment.insert("SPARK_HOME".into(), self.profile.spark_home.clone().into());
        environment.insert("KUBECONFIG".into(), kubeconfig.into());
        environment.insert(JOB_VARIABLE.into(), self.job.as_str().into());
        environment.into_iter().collect()
    }

    /// The Spark arguments as they may be shown.
    #[must_use]
    pub fn shown_arguments(&self) -> Vec<String> {
        let address = "https://API-SERVER";
        let ports = self.driver_ports.and_then(|range| range.block(0));
        self.command(address, "DRIVER-HOST", ports, |name| PathBuf::from("RUN-DIRECTORY").join(name), None)
            .map(|words| spark::redacted(&words))
            .unwrap_or_default()
    }
}
