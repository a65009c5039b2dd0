//! The messages between supervisor and provisioner: frames of JSON over a stream socketpair.
//!
//! A frame is a length (u32, big endian, at most [`MAX_FRAME`]) and that many bytes of JSON. The supervisor
//! does not trust the other side: it knows which [`Reply`] may come in which state, bounds its size here, and
//! checks every field before use (checklist [100]). The provisioner keeps no state that a second provisioner
//! could not be given: [`TearDown`] carries everything, so that a dead provisioner can be replaced.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::exit::ExitCode;
use crate::policy::config::{Cluster, Timeouts};
use crate::policy::names::{JobId, NamespaceName};
use crate::policy::network::JobNetwork;
use crate::policy::token::Token;
use crate::policy::volume::Claim;
use crate::policy::wanted::Policies;

pub mod namespaces;

use namespaces::{Adopt, ApplyPolicies, Contents, LookInto, Prune, Pruned, SeenNamespace};

mod executors;

pub use executors::{Executors, Explain, Explained, Finding, MAX_FINDINGS, MAX_LINE, MAX_LINES, Trouble};

/// Largest frame in bytes. A certificate bundle is the largest thing carried.
pub const MAX_FRAME: usize = 256 * 1024;
/// Descriptor of the socket in the provisioner.
pub const SOCKET_FD: i32 = 3;
/// Descriptor of the cluster's kubeconfig in the provisioner, opened by root.
pub const KUBECONFIG_FD: i32 = 4;

/// Label on everything made for a job, its value the job's id.
pub const JOB_LABEL: &str = "spark-submit-as/job";
/// Label on every namespace that the provisioner may write in; the fence looks at it.
pub const MANAGED_LABEL: &str = "spark-submit-as/managed";
/// Annotation on a managed namespace: canonical JSON of the template's variables and their exact values.
pub const OWNER_ANNOTATION: &str = "spark-submit-as/owner";
/// Annotation on a job's account: the host whose wrapper made it.
pub const HOST_ANNOTATION: &str = "spark-submit-as/host";
/// Annotation on a job's account: when it is overdue, as RFC 3339 in UTC by the API server's clock. Any host may remove it
/// then: its last token ended [`EXPIRY_MARGIN`] before.
pub const EXPIRY_ANNOTATION: &str = "spark-submit-as/expires-at";
/// Seconds between the end of a job's token and the time at which its account is overdue.
pub const EXPIRY_MARGIN: u64 = 120;
/// Annotation on a managed namespace and on the executors' account: what policies put there, so that it is taken away when
/// none says it any more. The words `quota`, `limits` and `network` are objects, `label:KEY`, `annotation:KEY` and
/// `secret:NAME` what they name.
pub const APPLIED_ANNOTATION: &str = "spark-submit-as/applied";
/// The ResourceQuota of a namespace's policies,
pub const QUOTA: &str = "ssa-quota";
/// the LimitRange,
pub const LIMITS: &str = "ssa-limits";
/// and the NetworkPolicy that nothing passes.
pub const ISOLATED: &str = "ssa-isolated";
/// Who is named in `managedFields` for what policies say.
pub const FIELD_MANAGER: &str = "spark-submit-as";
/// Account of every executor pod: no rights, no token.
pub const EXECUTOR_ACCOUNT: &str = "ssa-executor";
/// Key of the RPC secret inside the job's Secret.
pub const AUTH_SECRET_KEY: &str = "auth";

/// A token on the socketpair, the only place where one is serialized.
pub struct WireToken(pub Token);

impl Serialize for WireToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

impl<'de> Deserialize<'de> for WireToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Token::new(String::deserialize(deserializer)?)
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("not a token"))
    }
}

/// Which cluster, as the configuration names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterAccess {
    /// Context of the kubeconfig at [`KUBECONFIG_FD`]; its current context when absent.
    pub context: Option<String>,
    /// ClusterRole that a job's account is bound to.
    pub driver_role: String,
    /// Run although the fence is missing.
    pub accept_missing_fence: bool,
    /// Seconds for the first connection, a login helper included.
    pub connect_timeout_seconds: u64,
    /// Seconds for one request.
    pub request_timeout_seconds: u64,
}

impl ClusterAccess {
    /// From the configuration.
    #[must_use]
    pub fn of(cluster: &Cluster, timeouts: &Timeouts) -> Self {
        Self {
            context: cluster.context.clone(),
            driver_role: cluster.driver_role.clone(),
            accept_missing_fence: cluster.accept_missing_fence,
            connect_timeout_seconds: timeouts.connect.as_secs(),
            request_timeout_seconds: timeouts.request.as_secs(),
        }
    }
}

/// The namespace of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceWanted {
    /// Its name.
    pub name: NamespaceName,
    /// Create it when it does not exist.
    pub create: bool,
    /// Exact value that [`OWNER_ANNOTATION`] must have.
    pub owner: String,
    /// Labels for a namespace that is created, [`MANAGED_LABEL`] included.
    pub labels: BTreeMap<String, String>,
    /// What is kept there because of policies.
    #[serde(default)]
    pub policies: Policies,
    /// Whether users have volumes there.
    #[serde(default)]
    pub volumes: bool,
}

/// Make what a job needs.
#[derive(Serialize, Deserialize)]
pub struct Provision {
    /// The job.
    pub job: JobId,
    /// Its namespace.
    pub namespace: NamespaceWanted,
    /// Annotations for the job's account, for people and for later hosts (login, user, host).
    pub annotations: BTreeMap<String, String>,
    /// Life of the token asked for, in seconds (the API server takes no less than 600).
    pub token_seconds: u64,
    /// Spark's RPC secret, put into a Secret that executors read.
    pub auth_secret: Option<WireToken>,
    /// Where its executors find the driver, when the namespace's network is isolated.
    #[serde(default)]
    pub network: Option<JobNetwork>,
    /// The user's volume.
    #[serde(default)]
    pub volume: Option<Claim>,
    /// Seconds that a new quota may take until it is enforced.
    #[serde(default)]
    pub quota_seconds: u64,
    /// Whether the job is refused when the isolation policy is not in force for its account.
    #[serde(default)]
    pub isolation_required: bool,
}

/// Take back what a job had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TearDown {
    /// The job.
    pub job: JobId,
    /// Its namespace.
    pub namespace: NamespaceName,
    /// Uid of the job's ServiceAccount where known: a delete then has it as precondition [86].
    pub account_uid: Option<String>,
    /// Uid of the RoleBinding where known.
    pub binding_uid: Option<String>,
    /// Seconds for all of it.
    pub seconds: u64,
}

/// Grant a job another token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renew {
    /// What the job has, so that a provisioner that did not make it can take it back as well.
    pub made: TearDown,
    /// Life asked for, in seconds.
    pub token_seconds: u64,
}

/// Remove the accounts of jobs that are overdue by the API server's clock, whichever host made them, and what they own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReapOverdue {
    /// Where to look when the provisioner may not look at all namespaces at once.
    pub namespaces: Vec<NamespaceName>,
    /// Jobs that live on this host: left alone even when they are overdue, their wrapper is about to renew them.
    pub spared: Vec<JobId>,
    /// Tell only.
    pub dry_run: bool,
    /// Seconds for all of it.
    pub seconds: u64,
}

/// Look at what a run would need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The namespace of such a run.
    pub namespace: NamespaceWanted,
    /// As in [`Provision`].
    pub isolation_required: bool,
}

/// One overdue job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overdue {
    /// The job.
    pub job: JobId,
    /// Its namespace.
    pub namespace: NamespaceName,
    /// The host that its account names.
    pub host: Option<String>,
    /// Seconds since it was overdue.
    pub overdue_seconds: u64,
    /// What could not be removed, and why. Empty: nothing is left (or nothing was tried, in a dry run).
    pub failures: Vec<String>,
}

/// What the supervisor asks. One at a time; the answer to one comes before the next is sent.
#[derive(Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// First message: which cluster.
    Open(ClusterAccess),
    /// Answered by [`Reply::Created`] for each object, then [`Reply::Provisioned`] or [`Reply::Failed`].
    Provision(Box<Provision>),
    /// A later expiry and a fresh token: [`Reply::Renewed`], [`Reply::AccountGone`] or [`Reply::Failed`].
    Renew(Renew),
    /// Answered by [`Reply::TornDown`]; what failed is listed in it.
    TearDown(TearDown),
    /// Answered by [`Reply::Overdue`] for each overdue job, then [`Reply::OverdueDone`] or [`Reply::Failed`].
    ReapOverdue(ReapOverdue),
    /// May the provisioner do what it must, in this namespace? [`Reply::Checked`] or [`Reply::Failed`].
    Check(Check),
    /// Managed namespaces: [`Reply::Namespace`] for each, then [`Reply::NamespacesDone`] or [`Reply::Failed`].
    ListNamespaces,
    /// [`Reply::Inside`] or [`Reply::Failed`].
    LookInto(LookInto),
    /// [`Reply::Adopted`] or [`Reply::Failed`].
    Adopt(Adopt),
    /// [`Reply::PoliciesApplied`], perhaps [`Reply::Created`] before it, or [`Reply::Failed`].
    ApplyPolicies(ApplyPolicies),
    /// [`Reply::Pruned`] or [`Reply::Failed`].
    Prune(Prune),
    /// Why does no executor of a job run? [`Reply::Explained`] or [`Reply::Failed`].
    Explain(Explain),
    /// Which executors have failed? Asked at the end of a job. [`Reply::Failures`].
    Failures,
}

/// The kinds of object that the provisioner makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// v1 Namespace (stays after the job).
    Namespace,
    /// v1 ServiceAccount of the executors (stays after the job).
    ExecutorAccount,
    /// v1 ServiceAccount of the job.
    Account,
    /// rbac.authorization.k8s.io/v1 RoleBinding of the job.
    Binding,
    /// v1 Secret of the job, owned by its account.
    Secret,
}

/// One line of `check`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckLine {
    /// What was looked at.
    pub what: String,
    /// Whether it is as it must be.
    pub ok: bool,
    /// What was found, and what to do about it when it is not ok.
    pub message: String,
}

/// What the provisioner answers.
#[derive(Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// An object now exists. Sent before the next one is asked for.
    Created {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
    /// Everything exists.
    Provisioned {
        /// `https://host:port` of the API server.
        server: String,
        /// Base64 of the PEM of the cluster's certificate authority, as a kubeconfig has it.
        certificate_authority_data: String,
        /// TLS server name when it differs from the server's host.
        tls_server_name: Option<String>,
        /// https proxy that the kubeconfig names.
        proxy_url: Option<String>,
        /// This host's address on the way to the API server, for `spark.driver.host`.
        local_address: String,
        /// The job's token.
        token: WireToken,
        /// When it ends by the API server's clock, and
        expires_at: i64,
        /// the API server's clock when it was granted, both in seconds since 1970.
        granted_at: i64,
        /// Whether the namespace was made by this request.
        namespace_created: bool,
        /// Things that the administrator accepted and should not forget (no fence).
        warnings: Vec<String>,
        /// What was changed so that the namespace is as its policies say.
        #[serde(default)]
        mended: Vec<String>,
    },
    /// A fresh token.
    Renewed {
        /// The token.
        token: WireToken,
        /// As in [`Reply::Provisioned`].
        expires_at: i64,
        /// As in [`Reply::Provisioned`].
        granted_at: i64,
    },
    /// The job's account is not there any more, so that no token will ever be granted again.
    AccountGone,
    /// An overdue job was dealt with. Sent as it happens.
    Overdue(Overdue),
    /// All namespaces were looked at.
    OverdueDone {
        /// Accounts of jobs that were seen.
        seen: u32,
        /// Why some could not be looked at.
        failures: Vec<String>,
    },
    /// Tear-down has ended.
    TornDown {
        /// Pods that the sweeps deleted.
        pods: u32,
        /// Every failure, not just the first [85]. Empty: nothing is left.
        failures: Vec<String>,
        /// Whether the API server answered at all; when it did not, there is no use in asking for the next job.
        answered: bool,
    },
    /// Answer to [`Request::Check`].
    Checked {
        /// In the order they were made.
        lines: Vec<CheckLine>,
    },
    /// A managed namespace. Sent page by page.
    Namespace(SeenNamespace),
    /// All managed namespaces were told.
    NamespacesDone {
        /// The API server's clock, in seconds since 1970.
        date: i64,
        /// `https://host:port` of the API server.
        server: String,
        /// What is wrong in the cluster, and why some could not be told.
        problems: Vec<String>,
    },
    /// Answer to [`Request::LookInto`].
    Inside {
        /// The namespace.
        namespace: SeenNamespace,
        /// What is in it, where that was asked for, kinds without objects left out.
        contents: Vec<Contents>,
        /// Kinds that could not be looked at, and why.
        problems: Vec<String>,
        /// `https://host:port` of the API server.
        server: String,
    },
    /// The namespace is a managed one now.
    Adopted,
    /// Answer to [`Request::ApplyPolicies`].
    PoliciesApplied {
        /// What was changed, in words; nothing when nothing had to be.
        changed: Vec<String>,
    },
    /// Answer to [`Request::Prune`].
    Pruned(Pruned),
    /// Answer to [`Request::Explain`].
    Explained(Explained),
    /// Answer to [`Request::Failures`].
    Failures {
        /// The latest last.
        findings: Vec<Finding>,
    },
    /// The request failed; what it had made is removed already unless `left` says otherwise.
    Failed {
        /// One of the cluster's codes (214..=220, 230).
        code: ExitCode,
        /// What, which rule, what to do. No token, no source text of the kubeconfig.
        message: String,
        /// What could not be removed again.
        left: Vec<String>,
    },
}

/// A frame that cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The stream failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The other side closed between two frames.
    #[error("the other side closed the connection")]
    Closed,
    /// Longer than [`MAX_FRAME`].
    #[error("a frame of {0} bytes is longer than {MAX_FRAME}")]
    TooLong(usize),
    /// Not a message. The text is not quoted: it may hold a token.
    #[error("a frame is not a message of this protocol")]
    Malformed,
}

/// One frame of `message`, length included.
///
/// # Errors
/// [`FrameError::TooLong`] when it does not fit, [`FrameError::Malformed`] when it cannot be written as JSON.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let body = serde_json::to_vec(message).map_err(|_| FrameError::Malformed)?;
    if body.len() > MAX_FRAME {
        return Err(FrameError::TooLong(body.len()));
    }
    let length = u32::try_from(body.len()).map_err(|_| FrameError::TooLong(body.len()))?;
    let mut frame = Vec::with_capacity(body.len() + 4);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&body);
    Ok(frame)
}

/// The length that a frame's first four bytes announce.
///
/// # Errors
/// [`FrameError::TooLong`] above [`MAX_FRAME`].
pub fn announced(prefix: [u8; 4]) -> Result<usize, FrameError> {
    let length = u32::from_be_bytes(prefix) as usize;
    if length > MAX_FRAME { Err(FrameError::TooLong(length)) } else { Ok(length) }
}

/// The message in a frame's body.
///
/// # Errors
/// [`FrameError::Malformed`].
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    serde_json::from_slice(body).map_err(|_| FrameError::Malformed)
}

/// Writes one frame to a blocking stream.
///
/// # Errors
/// As [`encode`], and the stream's own.
pub fn write_frame<T: Serialize>(stream: &mut impl Write, message: &T) -> Result<(), FrameError> {
    stream.write_all(&encode(message)?)?;
    Ok(())
}

/// Reads one frame from a blocking stream.
///
/// # Errors
/// [`FrameError::Closed`] at end-of-file before a frame, else as [`announced`] and [`decode`].
pub fn read_frame<T: DeserializeOwned>(stream: &mut impl Read) -> Result<T, FrameError> {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => FrameError::Closed,
        _ => FrameError::Io(error),
    })?;
    let mut body = vec![0; announced(prefix)?];
    stream.read_exact(&mut body)?;
    decode(&body)
}
