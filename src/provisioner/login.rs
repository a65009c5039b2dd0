//! Login helpers (exec plugins of a kubeconfig): run here and not by the kube crate, by an absolute path that only root can
//! change, as this account, with a cleared environment, bounded in time and output [11].

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use kube::config::{Cluster, ExecConfig, ExecInteractiveMode};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::Deserialize;
use serde_json::{Value, json};
use spark_submit_as::exit::ExitCode;
use spark_submit_as::sys::trusted::{self, Links};
use tokio::io::AsyncReadExt;
use zeroize::Zeroizing;

use crate::credential::{Identity, known_keys, refused};
use crate::fault::{Fault, hide};

/// Largest answer of a login helper in bytes.
const MAX_ANSWER: usize = 256 << 10;
/// A credential is asked for again this long before it ends.
const MARGIN: Duration = Duration::from_secs(60);
/// A credential without an end is asked for again after this time.
const NO_END: Duration = Duration::from_secs(300);
/// The versions of ExecCredential that are in use.
const VERSIONS: [&str; 2] = ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"];
/// The cluster's extension that is passed on to a helper (client-go, `ExecCluster.Config`).
const EXTENSION: &str = "client.authentication.k8s.io/exec";

/// A helper that was found fit to be run.
pub struct Login {
    command: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    version: String,
    info: String,
}

/// `client.authentication.k8s.io` ExecCredential, as a helper prints it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecCredential {
    kind: String,
    api_version: String,
    status: ExecStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecStatus {
    expiration_timestamp: Option<jiff::Timestamp>,
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

fn failed(what: &str) -> Fault {
    Fault::new(ExitCode::ClusterCredential, format!("the login helper (exec) {what}"))
}

impl Login {
    /// Checks a kubeconfig's `exec`. `authority` is the base64 of the certificate authority's PEM.
    pub fn checked(exec: ExecConfig, cluster: &Cluster, authority: &str) -> Result<Self, Fault> {
        let command = exec.command.unwrap_or_default();
        if !Path::new(&command).is_absolute() {
            return Err(refused("names a login helper (exec) by a relative path; use an absolute one"));
        }
        // Nobody but root can change it, so its path may be used after the look.
        trusted::open_file(Path::new(&command), Links::FollowRoots).map_err(|error| {
            refused(&format!("names a login helper (exec) that cannot be trusted: {error}"))
        })?;
        let version = exec.api_version.unwrap_or_default();
        if !VERSIONS.contains(&version.as_str()) {
            return Err(refused(
                "has an exec apiVersion other than client.authentication.k8s.io/v1 and v1beta1",
            ));
        }
        if matches!(exec.interactive_mode, Some(ExecInteractiveMode::Always)) {
            return Err(refused("has a login helper that wants a terminal (interactiveMode: Always)"));
        }
        known_keys(&exec.other)?;
        let mut environment = Vec::new();
        for variable in exec.env.into_iter().flatten() {
            match (variable.get("name"), variable.get("value")) {
                (Some(name), Some(value)) => environment.push((name.clone(), value.clone())),
                _ => return Err(refused("has an exec env entry without name and value")),
            }
        }
        let mut spec = json!({"interactive": false});
        if exec.provide_cluster_info
            && let Some(spec) = spec.as_object_mut()
        {
            spec.insert("cluster".into(), cluster_info(cluster, authority));
        }
        let info = json!({"apiVersion": version, "kind": "ExecCredential", "spec": spec}).to_string();
        Ok(Self { command, arguments: exec.args.unwrap_or_default(), environment, version, info })
    }

    /// Runs it. Its credential, and until when it may be used.
    ///
    /// What it prints on stderr is not shown: it may hold secrets, and the platform account would read them.
    pub async fn ask(&self, timeout: Duration) -> Result<(Identity, Option<Instant>), Fault> {
        let mut command = tokio::process::Command::new(&self.command);
        command.args(&self.arguments).env_clear();
        // The supervisor made these from nothing; most helpers keep a cache below HOME and start others by PATH.
        for name in ["PATH", "HOME", "LANG"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env("KUBERNETES_EXEC_INFO", &self.info);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.current_dir("/").process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| failed(&format!("cannot be started: {error}")))?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let mut text = Zeroizing::new(Vec::with_capacity(4096));
        let answered = async {
            if let Some(out) = child.stdout.take() {
                out.take(MAX_ANSWER as u64 + 1).read_to_end(&mut text).await?;
            }
            if text.len() > MAX_ANSWER { Ok(None) } else { child.wait().await.map(Some) }
        };
        let result = tokio::time::timeout(timeout, answered).await;
        let ended = match result {
            Ok(Ok(Some(status))) => Ok(status),
            Ok(Ok(None)) => Err(failed("printed more than 256 KiB")),
            Ok(Err(error)) => Err(failed(&format!("failed: {error}"))),
            Err(_) => Err(failed("did not answer in time (configuration key timeouts.connect)")),
        };
        if ended.is_err()
            && let Some(group) = group
        {
            // It has not been waited for, so the number is still its own; what it started goes with it.
            let _ = killpg(group, Signal::SIGKILL);
        }
        let status = ended?;
        if !status.success() {
            return Err(failed(&format!("failed ({status}); run it by hand as the provisioner's account")));
        }
        self.understood(&text)
    }

    fn understood(&self, text: &[u8]) -> Result<(Identity, Option<Instant>), Fault> {
        let answer: ExecCredential =
            serde_json::from_slice(text).map_err(|_| failed("printed no ExecCredential"))?;
        if answer.kind != "ExecCredential" || answer.api_version != self.version {
            return Err(failed("printed another kind or apiVersion than it was asked for"));
        }
        let answer = answer.status;
        let identity = match (answer.token, answer.client_certificate_data, answer.client_key_data) {
            (Some(token), None, None) if !token.is_empty() => {
                hide(&token);
                Identity::Token(Zeroizing::new(token))
            }
            (None, Some(certificate), Some(key)) => {
                Identity::Certificate(Zeroizing::new(certificate.into()), Zeroizing::new(key.into()))
            }
            _ => return Err(failed("gave neither a token nor a certificate with its key")),
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let life = match answer.expiration_timestamp {
            None => NO_END,
            Some(end) => {
                let end = Duration::from_secs(u64::try_from(end.as_second()).unwrap_or(0));
                end.saturating_sub(now).saturating_sub(MARGIN)
            }
        };
        Ok((identity, Some(Instant::now() + life)))
    }
}

fn cluster_info(cluster: &Cluster, authority: &str) -> Value {
    let extension = cluster.extensions.iter().flatten().find(|extension| extension.name == EXTENSION);
    json!({
        "server": cluster.server,
        "tls-server-name": cluster.tls_server_name,
        "proxy-url": cluster.proxy_url,
        "certificate-authority-data": authority,
        "config": extension.map(|extension| &extension.extension),
    })
}
