//! The cluster credential: one kubeconfig, read from a descriptor, with everything dangerous refused [11].
//!
//! No source text of it is ever printed [9]. Login helpers (exec plugins) are run here and not by the kube crate: by an
//! absolute path that only root can change, with a cleared environment, bounded in time and output.

use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use kube::config::{AuthInfo, Cluster, ExecConfig, ExecInteractiveMode, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde::Deserialize;
use serde_json::json;
use spark_submit_as::exit::ExitCode;
use spark_submit_as::protocol::{ClusterAccess, KUBECONFIG_FD};
use spark_submit_as::sys::inherited;
use spark_submit_as::sys::trusted::{self, Links};
use tokio::io::AsyncReadExt;

use crate::api::{Api, local_clock};
use crate::fault::Fault;

/// Largest kubeconfig in bytes.
const MAX_KUBECONFIG: u64 = 1 << 20;
/// Largest answer of a login helper in bytes.
const MAX_CREDENTIAL: u64 = 256 << 10;
/// A helper's credential is asked for again this long before it ends.
const MARGIN: Duration = Duration::from_secs(60);

/// A kubeconfig that was found fit to be used.
pub struct Credential {
    kubeconfig: Kubeconfig,
    user: String,
    /// Address of the API server.
    pub server: String,
    /// Base64 of the PEM of the certificate authority.
    pub certificate_authority_data: String,
    /// `tls-server-name`.
    pub tls_server_name: Option<String>,
    /// `proxy-url`.
    pub proxy_url: Option<String>,
    exec: Option<ExecConfig>,
}

fn refused(rule: &str) -> Fault {
    Fault::new(ExitCode::ClusterCredential, format!("the cluster's kubeconfig {rule}"))
}

impl Credential {
    /// Reads the kubeconfig that the supervisor left at its number.
    pub fn inherited(access: &ClusterAccess) -> Result<Self, Fault> {
        let fd = inherited::take(KUBECONFIG_FD).map_err(|_| refused("was not handed over"))?;
        let mut text = String::new();
        // The descriptor's offset is shared with whoever opened it; a provisioner that follows another starts anew.
        let mut file = std::fs::File::from(fd);
        std::io::Seek::rewind(&mut file).map_err(|_| refused("cannot be read"))?;
        file.take(MAX_KUBECONFIG + 1).read_to_string(&mut text).map_err(|_| refused("is not UTF-8 text"))?;
        if text.len() as u64 > MAX_KUBECONFIG {
            return Err(refused("has more than 1 MiB"));
        }
        Self::parse(&text, access.context.as_deref())
    }

    /// Checks a kubeconfig's text.
    pub fn parse(text: &str, context: Option<&str>) -> Result<Self, Fault> {
        let mut kubeconfig: Kubeconfig = serde_yaml::from_str(text).map_err(|error| {
            let line = error.location().map_or(0, |location| location.line());
            refused(&format!("is not a kubeconfig (line {line})"))
        })?;
        let name = context.map(str::to_owned).or_else(|| kubeconfig.current_context.clone());
        let name = name.ok_or_else(|| refused("has no current-context; name one in `clusters`"))?;
        let context = kubeconfig.contexts.iter().find(|context| context.name == name);
        let context = context.and_then(|named| named.context.clone());
        let context = context.ok_or_else(|| refused("has no such context as `clusters` names"))?;
        let cluster = kubeconfig.clusters.iter().find(|cluster| cluster.name == context.cluster);
        let cluster = cluster.and_then(|named| named.cluster.clone());
        let cluster = cluster.ok_or_else(|| refused("has no cluster of the name that the context gives"))?;
        let user = context.user.clone().ok_or_else(|| refused("has a context without a user"))?;
        let auth = kubeconfig.auth_infos.iter_mut().find(|auth| auth.name == user);
        let auth = auth.and_then(|named| named.auth_info.as_mut());
        let auth = auth.ok_or_else(|| refused("has no user of the name that the context gives"))?;
        let server = check_cluster(&cluster)?;
        check_user(auth)?;
        let exec = auth.exec.take();
        if let Some(exec) = &exec {
            check_exec(exec)?;
        }
        kubeconfig.current_context = Some(name);
        Ok(Self {
            certificate_authority_data: certificate_authority(&cluster)?,
            server,
            tls_server_name: cluster.tls_server_name,
            proxy_url: cluster.proxy_url,
            kubeconfig,
            user,
            exec,
        })
    }

    /// A client, with a credential of the login helper where there is one.
    pub async fn client(&self, access: &ClusterAccess) -> Result<Api, Fault> {
        let mut kubeconfig = self.kubeconfig.clone();
        let mut until = None;
        if let Some(exec) = &self.exec {
            let (auth, ends) = log_in(exec, Duration::from_secs(access.connect_timeout_seconds)).await?;
            let named = kubeconfig.auth_infos.iter_mut().find(|named| named.name == self.user);
            if let Some(named) = named {
                named.auth_info = Some(auth);
            }
            until = ends;
        }
        // kube's own error may quote what it read.
        let unusable =
            || refused("cannot be used: a certificate, key or token in it is not readable or not valid");
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .map_err(|_| unusable())?;
        let request = Duration::from_secs(access.request_timeout_seconds);
        config.connect_timeout = Some(Duration::from_secs(access.connect_timeout_seconds));
        config.read_timeout = Some(request);
        config.write_timeout = Some(request);
        config.reset_reader_on_write = true;
        config.default_retry = false;
        let agent = concat!("spark-submit-as/", env!("CARGO_PKG_VERSION"));
        config.headers.push((http::header::USER_AGENT, http::HeaderValue::from_static(agent)));
        let client = Client::try_from(config).map_err(|_| unusable())?;
        Ok(Api::new(client, request, until))
    }
}

fn check_cluster(cluster: &Cluster) -> Result<String, Fault> {
    let server = cluster.server.clone().ok_or_else(|| refused("has a cluster without a server"))?;
    if !server.starts_with("https://") {
        return Err(refused("has a server that is not https: a token would be sent in clear"));
    }
    if cluster.insecure_skip_tls_verify == Some(true) {
        return Err(refused("sets insecure-skip-tls-verify; name the certificate authority instead"));
    }
    if cluster.proxy_url.as_deref().is_some_and(|url| !url.starts_with("https://")) {
        return Err(refused("has a proxy-url that is not https"));
    }
    known_keys(&cluster.other)?;
    Ok(server)
}

fn check_user(auth: &AuthInfo) -> Result<(), Fault> {
    let impersonates = auth.impersonate.is_some()
        || auth.impersonate_uid.is_some()
        || auth.impersonate_groups.is_some()
        || auth.impersonate_user_extra.is_some();
    if impersonates {
        return Err(refused("impersonates (as, as-groups, …); use a credential of the provisioner's own"));
    }
    if auth.auth_provider.is_some() {
        return Err(refused("uses auth-provider, which Kubernetes removed; use exec"));
    }
    if auth.username.is_some() || auth.password.is_some() {
        return Err(refused("uses a password; use a certificate, a token or exec"));
    }
    for path in [&auth.token_file, &auth.client_certificate, &auth.client_key].into_iter().flatten() {
        absolute(path)?;
    }
    known_keys(&auth.other)
}

/// An unknown key may be a misspelt one that was meant to protect; kubectl ignores it, this program does not.
fn known_keys<T>(other: &std::collections::BTreeMap<String, T>) -> Result<(), Fault> {
    if other.is_empty() { Ok(()) } else { Err(refused("has a key that is not known in this place")) }
}

fn absolute(path: &str) -> Result<(), Fault> {
    if Path::new(path).is_absolute() {
        Ok(())
    } else {
        Err(refused("names a file by a relative path; use an absolute one, or the -data form"))
    }
}

fn check_exec(exec: &ExecConfig) -> Result<(), Fault> {
    let command = exec.command.as_deref().unwrap_or_default();
    if !Path::new(command).is_absolute() {
        return Err(refused("names a login helper (exec) by a relative path; use an absolute one"));
    }
    trusted::open_file(Path::new(command), Links::FollowRoots)
        .map_err(|error| refused(&format!("names a login helper (exec) that cannot be trusted: {error}")))?;
    if !matches!(
        exec.api_version.as_deref(),
        Some("client.authentication.k8s.io/v1" | "client.authentication.k8s.io/v1beta1")
    ) {
        return Err(refused("has an exec apiVersion other than client.authentication.k8s.io/v1 and v1beta1"));
    }
    if matches!(exec.interactive_mode, Some(ExecInteractiveMode::Always)) {
        return Err(refused("has a login helper that wants a terminal (interactiveMode: Always)"));
    }
    Ok(())
}

fn certificate_authority(cluster: &Cluster) -> Result<String, Fault> {
    use base64::Engine;
    if let Some(data) = &cluster.certificate_authority_data {
        return Ok(data.clone());
    }
    let Some(path) = &cluster.certificate_authority else {
        return Err(refused("names no certificate authority; the system's own would let too many in"));
    };
    absolute(path)?;
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_CREDENTIAL).read_to_end(&mut bytes))
        .map_err(|error| refused(&format!("names a certificate authority that cannot be read: {error}")))?;
    Ok(base64::engine::general_purpose::STANDARD.encode(bytes))
}

/// `client.authentication.k8s.io` ExecCredential, as a helper prints it.
#[derive(Deserialize)]
struct ExecCredential {
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

async fn log_in(exec: &ExecConfig, timeout: Duration) -> Result<(AuthInfo, Option<Instant>), Fault> {
    let failed =
        |what: &str| Fault::new(ExitCode::ClusterCredential, format!("the login helper (exec) {what}"));
    let info = json!({
        "apiVersion": exec.api_version, "kind": "ExecCredential", "spec": {"interactive": false},
    });
    let mut command = tokio::process::Command::new(exec.command.as_deref().unwrap_or_default());
    command.args(exec.args.iter().flatten()).env_clear();
    for name in ["PATH", "HOME", "LANG"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    for variable in exec.env.iter().flatten() {
        if let (Some(name), Some(value)) = (variable.get("name"), variable.get("value")) {
            command.env(name, value);
        }
    }
    command.env("KUBERNETES_EXEC_INFO", info.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| failed(&format!("cannot be started: {error}")))?;
    let mut text = Vec::new();
    let answered = async {
        if let Some(out) = child.stdout.take() {
            out.take(MAX_CREDENTIAL + 1).read_to_end(&mut text).await?;
        }
        child.wait().await
    };
    let status = tokio::time::timeout(timeout, answered)
        .await
        .map_err(|_| failed("did not answer in time (configuration key timeouts.connect)"))?
        .map_err(|error| failed(&format!("failed: {error}")))?;
    if !status.success() {
        return Err(failed(&format!("failed ({status}); run it by hand as the provisioner's account")));
    }
    if text.len() as u64 > MAX_CREDENTIAL {
        return Err(failed("printed more than 256 KiB"));
    }
    let answer: ExecCredential =
        serde_json::from_slice(&text).map_err(|_| failed("printed no ExecCredential"))?;
    let answer = answer.status;
    let auth = match (answer.token, answer.client_certificate_data, answer.client_key_data) {
        (Some(token), None, None) => json!({"token": token}),
        (None, Some(certificate), Some(key)) => {
            use base64::Engine;
            let base64 = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
            json!({"client-certificate-data": base64(certificate), "client-key-data": base64(key)})
        }
        _ => return Err(failed("gave neither a token nor a certificate with its key")),
    };
    let auth = serde_json::from_value(auth).map_err(|_| failed("gave a credential of an unknown form"))?;
    let until = answer.expiration_timestamp.map(|ends| {
        let seconds = u64::try_from(ends.as_second() - local_clock()).unwrap_or(0);
        Instant::now() + Duration::from_secs(seconds).saturating_sub(MARGIN)
    });
    Ok((auth, until))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn kubeconfig(change: impl FnOnce(&mut Value)) -> String {
        let mut value = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "k", "cluster": {
                "server": "https://127.0.0.1:6443", "certificate-authority-data": "QUJD"}}],
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "users": [{"name": "u", "user": {"token": "verysecret"}}],
        });
        change(&mut value);
        value.to_string()
    }

    #[test]
    fn checklist_11_dangerous_fields_are_refused() {
        assert!(Credential::parse(&kubeconfig(|_| {}), None).is_ok());
        assert!(Credential::parse(&kubeconfig(|_| {}), Some("other")).is_err());
        type Change = fn(&mut Value);
        let changes: [Change; 16] = [
            |v| v["clusters"][0]["cluster"]["server"] = json!("http://127.0.0.1:6443"),
            |v| v["clusters"][0]["cluster"]["insecure-skip-tls-verify"] = json!(true),
            |v| v["clusters"][0]["cluster"]["certificate-authority-data"] = json!(null),
            |v| v["clusters"][0]["cluster"]["proxy-url"] = json!("http://127.0.0.1:1"),
            |v| v["clusters"][0]["cluster"]["proxy-url"] = json!("socks5://127.0.0.1:1"),
            |v| v["users"][0]["user"]["as"] = json!("system:admin"),
            |v| v["users"][0]["user"]["as-uid"] = json!("0"),
            |v| v["users"][0]["user"]["as-groups"] = json!(["system:masters"]),
            |v| v["users"][0]["user"]["as-user-extra"] = json!({"a": ["b"]}),
            |v| v["users"][0]["user"]["auth-provider"] = json!({"name": "gcp"}),
            |v| v["users"][0]["user"] = json!({"username": "a", "password": "b"}),
            |v| v["users"][0]["user"] = json!({"tokenFile": "token"}),
            |v| v["users"][0]["user"] = json!({"client-certificate": "a.pem", "client-key": "/k.pem"}),
            |v| v["users"][0]["user"]["tokn"] = json!("x"),
            |v| {
                v["users"][0]["user"] = json!({"exec": {
                    "apiVersion": "client.authentication.k8s.io/v1", "command": "touch", "interactiveMode": "Never"}});
            },
            |v| {
                v["users"][0]["user"] = json!({"exec": {
                    "apiVersion": "client.authentication.k8s.io/v1", "command": "/tmp/x", "interactiveMode": "Never"}});
            },
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let result = Credential::parse(&kubeconfig(change), None);
            let fault = result.err().unwrap_or_else(|| panic!("case {index} was accepted"));
            assert_eq!(fault.code, ExitCode::ClusterCredential, "case {index}");
            assert!(!fault.to_string().contains("verysecret"), "case {index}");
        }
    }

    #[test]
    fn checklist_9_no_source_text_of_a_kubeconfig_is_printed() {
        for text in ["verysecret", "- verysecret", "clusters: verysecret", "\"verysecret", "a: [verysecret"] {
            let fault = Credential::parse(text, None).err().expect("refused");
            assert!(!fault.to_string().contains("verysecret"), "{fault}");
        }
    }
}
