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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A helper that is a shell script; /bin/sh stands for it, since only root's files are run.
    fn login(script: &str) -> Login {
        let exec: ExecConfig = serde_json::from_value(json!({
            "apiVersion": VERSIONS[0], "command": "/bin/sh", "args": ["-c", script], "interactiveMode": "Never",
            "env": [{"name": "GIVEN", "value": "yes"}], "provideClusterInfo": true,
        }))
        .unwrap();
        let cluster: Cluster = serde_json::from_value(json!({"server": "https://host:6443"})).unwrap();
        Login::checked(exec, &cluster, "QUJD").unwrap()
    }

    fn ask(script: &str, timeout: Duration) -> Result<(String, Duration), Fault> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (identity, until) = runtime.block_on(login(script).ask(timeout))?;
        let life = until.expect("an end").saturating_duration_since(Instant::now());
        match identity {
            Identity::Token(token) => Ok((token.as_str().to_owned(), life)),
            Identity::Certificate(certificate, key) => {
                Ok((format!("{}/{}", certificate.len(), key.len()), life))
            }
        }
    }

    fn print(status: &str) -> String {
        format!(
            "echo '{{\"apiVersion\":\"{}\",\"kind\":\"ExecCredential\",\"status\":{status}}}'",
            VERSIONS[0]
        )
    }

    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn a_helper_gives_a_token_or_a_certificate() {
        let (token, life) = ask(&print(r#"{"token":"abc"}"#), LONG).unwrap();
        assert_eq!((token.as_str(), life.as_secs() / 10), ("abc", 29));
        let ended = r#"{"token":"abc","expirationTimestamp":"2001-01-01T00:00:00Z"}"#;
        assert_eq!(ask(&print(ended), LONG).unwrap().1, Duration::ZERO);
        let pair = r#"{"clientCertificateData":"cert","clientKeyData":"key"}"#;
        assert_eq!(ask(&print(pair), LONG).unwrap().0, "4/3");
    }

    #[test]
    fn checklist_11_a_helper_gets_nothing_but_what_it_is_given() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("environment");
        let script = format!("env > {}; {}", file.display(), print(r#"{"token":"abc"}"#));
        ask(&script, LONG).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let allowed = [
            "PATH=",
            "HOME=",
            "LANG=",
            "GIVEN=yes",
            "KUBERNETES_EXEC_INFO=",
            "PWD=",
            "OLDPWD=",
            "SHLVL=",
            "_=",
        ];
        assert!(text.lines().all(|line| allowed.iter().any(|start| line.starts_with(start))), "{text}");
        assert!(
            text.contains(r#""interactive":false"#) && text.contains(r#""server":"https://host:6443""#),
            "{text}"
        );
    }

    #[test]
    fn checklist_47_a_helper_that_fails_is_told_without_its_words() {
        for (script, wanted) in [
            ("echo verysecret >&2; exit 3".to_owned(), "exit status: 3"),
            ("echo verysecret".to_owned(), "no ExecCredential"),
            (print("{}"), "neither"),
            (print(r#"{"token":""}"#), "neither"),
            (print(r#"{"token":"verysecret"}"#).replace("/v1\"", "/v1beta1\""), "another kind"),
            ("head -c 300000 /dev/zero".to_owned(), "256 KiB"),
            ("cat /dev/zero".to_owned(), "256 KiB"),
        ] {
            let fault = ask(&script, LONG).err().unwrap_or_else(|| panic!("{script} was taken"));
            let text = fault.to_string();
            assert!(text.contains(wanted) && !text.contains("verysecret"), "{script}: {text}");
        }
    }

    #[test]
    fn checklist_52_a_helper_that_hangs_is_killed_with_what_it_started() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let file = directory.path().join("alive");
        let script = format!("(while :; do date +%N > {}; sleep 0.05; done) & wait", file.display());
        let begin = Instant::now();
        let fault = ask(&script, Duration::from_millis(500)).err().expect("killed");
        assert!(fault.to_string().contains("in time"), "{fault}");
        assert!(begin.elapsed() < Duration::from_secs(3));
        std::thread::sleep(Duration::from_millis(300));
        let before = std::fs::read_to_string(&file).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), before, "its child lives on");
    }
}
