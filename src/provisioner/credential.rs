//! The cluster credential: one kubeconfig, read from a descriptor, with everything dangerous refused [11].
//!
//! No source text of it is ever printed [9], and nothing but it is looked at: the client is made field by field, because
//! kube's own loader takes proxies from the environment [27] and the system's certificate authorities where none is named.

use std::collections::BTreeMap;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use kube::config::{AuthInfo, Cluster, Kubeconfig};
use kube::{Client, Config};
use spark_submit_as::exit::ExitCode;
use spark_submit_as::policy::token::Token;
use spark_submit_as::protocol::{ClusterAccess, KUBECONFIG_FD};
use spark_submit_as::sys::inherited;
use zeroize::Zeroizing;

use crate::api::{Api, Timeouts};
use crate::fault::{Fault, hide};
use crate::files;
use crate::login::Login;

/// Largest kubeconfig in bytes.
const MAX_KUBECONFIG: u64 = 1 << 20;
/// A token file is read again after this time; whoever rotates it leaves the old one valid for longer.
const REREAD: Duration = Duration::from_secs(30);

/// A kubeconfig that was found fit to be used.
pub struct Credential {
    /// Address of the API server.
    pub server: String,
    /// Base64 of the PEM of the certificate authority: its certificates and nothing else that the file may hold.
    pub certificate_authority_data: String,
    /// `tls-server-name`.
    pub tls_server_name: Option<String>,
    /// `proxy-url`.
    pub proxy_url: Option<String>,
    roots: Vec<Vec<u8>>,
    source: Source,
}

/// Where the credential itself comes from.
enum Source {
    Token(Zeroizing<String>),
    TokenFile(PathBuf),
    Certificate(Place, Place),
    Login(Box<Login>),
}

/// Bytes in the kubeconfig, or a file that it names.
enum Place {
    Data(Zeroizing<Vec<u8>>),
    File(PathBuf),
}

impl Place {
    fn bytes(&self) -> Result<Zeroizing<Vec<u8>>, Fault> {
        match self {
            Self::Data(bytes) => Ok(bytes.clone()),
            Self::File(path) => read(path),
        }
    }
}

/// What the API server is shown.
pub enum Identity {
    /// A bearer token.
    Token(Zeroizing<String>),
    /// Client certificate and key in PEM.
    Certificate(Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>),
}

/// The refusal of a kubeconfig by a rule.
pub fn refused(rule: &str) -> Fault {
    Fault::new(ExitCode::ClusterCredential, format!("the cluster's kubeconfig {rule}"))
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Fault> {
    files::read(path).map_err(|error| refused(&format!("names a file that is not used: {error}")))
}

impl Credential {
    /// Reads the kubeconfig that the supervisor left at its number.
    pub fn inherited(access: &ClusterAccess) -> Result<Self, Fault> {
        let fd = inherited::take(KUBECONFIG_FD).map_err(|_| refused("was not handed over"))?;
        // The descriptor's offset is shared with whoever opened it; a provisioner that follows another starts anew.
        let mut file = std::fs::File::from(fd);
        file.rewind().map_err(|_| refused("cannot be read"))?;
        let mut text = Zeroizing::new(String::new());
        file.take(MAX_KUBECONFIG + 1).read_to_string(&mut text).map_err(|_| refused("is not UTF-8 text"))?;
        if text.len() as u64 > MAX_KUBECONFIG {
            return Err(refused("has more than 1 MiB"));
        }
        Self::parse(&text, access.context.as_deref())
    }

    /// Checks a kubeconfig's text.
    pub fn parse(text: &str, context: Option<&str>) -> Result<Self, Fault> {
        let kubeconfig: Kubeconfig = serde_yaml::from_str(text).map_err(|error| {
            let line = error.location().map_or(0, |location| location.line());
            refused(&format!("is not a kubeconfig (line {line})"))
        })?;
        let name = context.map(str::to_owned).or(kubeconfig.current_context);
        let name = name.ok_or_else(|| refused("has no current-context; name one in `clusters`"))?;
        let context = kubeconfig.contexts.into_iter().find(|context| context.name == name);
        let context = context.and_then(|named| named.context);
        let context = context.ok_or_else(|| refused("has no such context as `clusters` names"))?;
        let cluster = kubeconfig.clusters.into_iter().find(|cluster| cluster.name == context.cluster);
        let cluster = cluster.and_then(|named| named.cluster);
        let cluster = cluster.ok_or_else(|| refused("has no cluster of the name that the context gives"))?;
        let user = context.user.ok_or_else(|| refused("has a context without a user"))?;
        let auth = kubeconfig.auth_infos.into_iter().find(|auth| auth.name == user);
        let auth = auth.and_then(|named| named.auth_info);
        let auth = auth.ok_or_else(|| refused("has no user of the name that the context gives"))?;
        let server = check_cluster(&cluster)?;
        check_user(&auth)?;
        let (roots, certificate_authority_data) = certificate_authority(&cluster)?;
        let source = source(auth, &cluster, &certificate_authority_data)?;
        Ok(Self {
            server,
            certificate_authority_data,
            tls_server_name: cluster.tls_server_name,
            proxy_url: cluster.proxy_url,
            roots,
            source,
        })
    }

    /// A client, with a credential of the login helper where there is one.
    pub async fn client(&self, access: &ClusterAccess) -> Result<Api, Fault> {
        let connect = Duration::from_secs(access.connect_timeout_seconds);
        let (identity, until) = match &self.source {
            Source::Token(token) => (Identity::Token(token.clone()), None),
            Source::TokenFile(path) => {
                let text = String::from_utf8(read(path)?.to_vec())
                    .map_err(|_| refused("names a token file that holds no token"))?;
                let token = Zeroizing::new(Zeroizing::new(text).trim().to_owned());
                (Identity::Token(token), Some(Instant::now() + REREAD))
            }
            Source::Certificate(certificate, key) => {
                (Identity::Certificate(certificate.bytes()?, key.bytes()?), None)
            }
            Source::Login(login) => login.ask(connect).await?,
        };
        let mut config = self.config(access)?;
        match identity {
            Identity::Token(token) => {
                hide(&token);
                config.auth_info.token = Some(token.as_str().into());
            }
            Identity::Certificate(certificate, key) => {
                config.auth_info.client_certificate_data = Some(BASE64.encode(certificate.as_slice()));
                config.auth_info.client_key_data = Some(BASE64.encode(key.as_slice()).into());
            }
        }
        Self::api(config, access, until)
    }

    /// A client with the credential of a job and nothing of the provisioner's own.
    pub fn client_of_job(&self, access: &ClusterAccess, token: &Token) -> Result<Api, Fault> {
        hide(token.expose());
        let mut config = self.config(access)?;
        config.auth_info.token = Some(token.expose().into());
        Self::api(config, access, None)
    }

    fn api(config: Config, access: &ClusterAccess, until: Option<Instant>) -> Result<Api, Fault> {
        let timeouts = Timeouts {
            connect: Duration::from_secs(access.connect_timeout_seconds),
            request: Duration::from_secs(access.request_timeout_seconds),
        };
        Ok(Api::new(Client::try_from(config).map_err(|_| unusable())?, timeouts, until))
    }

    /// How the API server is reached, without a credential.
    pub fn config(&self, access: &ClusterAccess) -> Result<Config, Fault> {
        let mut config = Config::new(self.server.parse().map_err(|_| unusable())?);
        config.root_cert = Some(self.roots.clone());
        config.tls_server_name.clone_from(&self.tls_server_name);
        config.proxy_url = self.proxy_url.as_deref().map(str::parse).transpose().map_err(|_| unusable())?;
        let request = Duration::from_secs(access.request_timeout_seconds);
        config.connect_timeout = Some(Duration::from_secs(access.connect_timeout_seconds));
        config.read_timeout = Some(request);
        config.write_timeout = Some(request);
        config.reset_reader_on_write = true;
        config.default_retry = false;
        let agent = concat!("spark-submit-as/", env!("CARGO_PKG_VERSION"));
        config.headers.push((http::header::USER_AGENT, http::HeaderValue::from_static(agent)));
        Ok(config)
    }
}

/// kube's own error may quote what it read.
fn unusable() -> Fault {
    refused("cannot be used: an address, certificate, key or token in it is not valid")
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
    // Both go into the job's kubeconfig, which the end-user reads.
    for url in [Some(&server), cluster.proxy_url.as_ref()].into_iter().flatten() {
        let authority = url.trim_start_matches("https://").split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(refused("has a password in an address; the end-user would get it"));
        }
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
    known_keys(&auth.other)
}

/// An unknown key may be a misspelt one that was meant to protect; kubectl ignores it, this program does not.
pub fn known_keys<T>(other: &BTreeMap<String, T>) -> Result<(), Fault> {
    if other.is_empty() { Ok(()) } else { Err(refused("has a key that is not known in this place")) }
}

fn absolute(path: String) -> Result<PathBuf, Fault> {
    let path = PathBuf::from(path);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(refused("names a file by a relative path; use an absolute one, or the -data form"))
    }
}

fn decoded(text: &str) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let text: Zeroizing<String> = Zeroizing::new(text.split_ascii_whitespace().collect());
    let bytes = BASE64.decode(text.as_bytes()).map_err(|_| refused("has -data that is not base64"))?;
    Ok(Zeroizing::new(bytes))
}

/// The one source that a user names; with two, which of them is used would be a matter of the client.
fn source(auth: AuthInfo, cluster: &Cluster, authority: &str) -> Result<Source, Fault> {
    use secrecy::ExposeSecret;
    let place = |data: Option<&str>, file: Option<String>| match (data, file) {
        (Some(data), None) => decoded(data).map(|bytes| Some(Place::Data(bytes))),
        (None, Some(file)) => absolute(file).map(|path| Some(Place::File(path))),
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(refused("gives a certificate or key both as a file and as data")),
    };
    let key_data = auth.client_key_data.as_ref().map(ExposeSecret::expose_secret);
    let certificate = place(auth.client_certificate_data.as_deref(), auth.client_certificate)?;
    let key = place(key_data, auth.client_key)?;
    let token = auth.token.as_ref().map(|token| Zeroizing::new(token.expose_secret().to_owned()));
    let mut sources = Vec::new();
    match (certificate, key) {
        (Some(certificate), Some(key)) => sources.push(Source::Certificate(certificate, key)),
        (None, None) => {}
        _ => {
            return Err(refused(
                "has a client certificate without its key, or a key without its certificate",
            ));
        }
    }
    sources.extend(token.map(Source::Token));
    if let Some(file) = auth.token_file {
        sources.push(Source::TokenFile(absolute(file)?));
    }
    if let Some(exec) = auth.exec {
        sources.push(Source::Login(Box::new(Login::checked(exec, cluster, authority)?)));
    }
    match (sources.pop(), sources.is_empty()) {
        (Some(source), true) => Ok(source),
        (None, _) => Err(refused("gives no credential: certificate with key, token, tokenFile or exec")),
        (Some(_), false) => Err(refused("gives more than one credential; keep one")),
    }
}

/// The certificate authority as the TLS stack takes it, and as a kubeconfig does.
fn certificate_authority(cluster: &Cluster) -> Result<(Vec<Vec<u8>>, String), Fault> {
    let text = match (&cluster.certificate_authority_data, &cluster.certificate_authority) {
        (Some(data), None) => decoded(data)?,
        (None, Some(path)) => read(&absolute(path.clone())?)?,
        (Some(_), Some(_)) => {
            return Err(refused("gives the certificate authority both as a file and as data"));
        }
        // [64]
        (None, None) => {
            return Err(refused(
                "names no certificate authority; the system's own would let too many in. For a public one set                  certificate-authority to its file, such as /etc/ssl/certs/ISRG_Root_X1.pem",
            ));
        }
    };
    let roots = certificates(&text);
    if roots.is_empty() {
        return Err(refused("names a certificate authority that holds no certificate"));
    }
    let mut pem = String::new();
    for root in &roots {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in BASE64.encode(root).as_bytes().chunks(64) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    Ok((roots, BASE64.encode(pem)))
}

/// The certificates in a PEM text (RFC 7468); what else is in it is left out.
fn certificates(text: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(text);
    let mut found = Vec::new();
    let mut body: Option<String> = None;
    for line in text.lines().map(str::trim) {
        match (line, &mut body) {
            ("-----BEGIN CERTIFICATE-----", _) => body = Some(String::new()),
            ("-----END CERTIFICATE-----", Some(_)) => {
                found.extend(body.take().and_then(|body| BASE64.decode(body).ok()));
            }
            (line, Some(body)) => body.push_str(line),
            (_, None) => {}
        }
    }
    found
}

#[cfg(test)]
pub use tests::example;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const PEM: &str = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n\
                       text\n-----BEGIN CERTIFICATE-----\nQUJD\nREVG\n-----END CERTIFICATE-----\n";

    /// A kubeconfig that is taken.
    pub fn example() -> String {
        kubeconfig(|_| {})
    }

    fn kubeconfig(change: impl FnOnce(&mut Value)) -> String {
        let mut value = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "k", "cluster": {
                "server": "https://127.0.0.1:6443", "certificate-authority-data": BASE64.encode(PEM)}}],
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "users": [{"name": "u", "user": {"token": "verysecret"}}],
        });
        change(&mut value);
        value.to_string()
    }

    fn exec(change: impl FnOnce(&mut Value)) -> Value {
        let mut value = json!({"exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/true", "interactiveMode": "Never"}});
        change(&mut value["exec"]);
        value
    }

    fn rule(result: Result<Credential, Fault>, case: &str) -> String {
        let fault = result.err().unwrap_or_else(|| panic!("{case} was accepted"));
        assert_eq!(fault.code, ExitCode::ClusterCredential, "{case}");
        let text = fault.to_string();
        assert!(!text.contains("verysecret"), "{case}: {text}");
        text
    }

    #[test]
    fn checklist_11_dangerous_fields_are_refused() {
        type Change = fn(&mut Value);
        let changes: [(Change, &str); 27] = [
            (|v| v["clusters"][0]["cluster"]["server"] = json!("http://127.0.0.1:6443"), "not https"),
            (|v| v["clusters"][0]["cluster"]["server"] = json!("HTTPS://127.0.0.1:6443"), "not https"),
            (|v| v["clusters"][0]["cluster"]["server"] = json!("https://a:b@127.0.0.1:6443"), "password"),
            (|v| v["clusters"][0]["cluster"]["insecure-skip-tls-verify"] = json!(true), "insecure"),
            (|v| v["clusters"][0]["cluster"]["insecure-skip-tls-verify"] = json!("true"), "line"),
            (|v| v["clusters"][0]["cluster"]["certificate-authority-data"] = json!(null), "system's own"),
            (|v| v["clusters"][0]["cluster"]["certificate-authority-data"] = json!("QUJD"), "no certificate"),
            (|v| v["clusters"][0]["cluster"]["certificate-authority-data"] = json!("%"), "base64"),
            (
                |v| {
                    v["clusters"][0]["cluster"] =
                        json!({"server": "https://h", "certificate-authority": "ca.pem"})
                },
                "relative",
            ),
            (|v| v["clusters"][0]["cluster"]["proxy-url"] = json!("http://127.0.0.1:1"), "proxy-url"),
            (|v| v["clusters"][0]["cluster"]["proxy-url"] = json!("socks5://127.0.0.1:1"), "proxy-url"),
            (|v| v["clusters"][0]["cluster"]["proxy-url"] = json!("https://a:b@127.0.0.1:1"), "password"),
            (|v| v["users"][0]["user"]["as"] = json!("system:admin"), "impersonates"),
            (|v| v["users"][0]["user"]["as-uid"] = json!("0"), "impersonates"),
            (|v| v["users"][0]["user"]["as-groups"] = json!(["system:masters"]), "impersonates"),
            (|v| v["users"][0]["user"]["as-user-extra"] = json!({"a": ["b"]}), "impersonates"),
            (|v| v["users"][0]["user"]["auth-provider"] = json!({"name": "gcp"}), "auth-provider"),
            (|v| v["users"][0]["user"] = json!({"username": "a", "password": "verysecret"}), "password"),
            (|v| v["users"][0]["user"] = json!({}), "no credential"),
            (|v| v["users"][0]["user"]["tokenFile"] = json!("/etc/token"), "more than one"),
            (|v| v["users"][0]["user"] = json!({"tokenFile": "token"}), "relative"),
            (
                |v| v["users"][0]["user"] = json!({"client-certificate": "a.pem", "client-key": "/k.pem"}),
                "relative",
            ),
            (|v| v["users"][0]["user"] = json!({"client-certificate": "/a.pem"}), "without its key"),
            (|v| v["users"][0]["user"]["tokn"] = json!("x"), "not known"),
            (|v| v["users"][0]["user"] = exec(|e| e["command"] = json!("touch")), "relative"),
            (|v| v["users"][0]["user"] = exec(|e| e["interactiveMode"] = json!("Always")), "terminal"),
            (
                |v| {
                    v["users"][0]["user"] =
                        exec(|e| e["apiVersion"] = json!("client.authentication.k8s.io/v2"))
                },
                "apiVersion",
            ),
        ];
        assert!(Credential::parse(&example(), None).is_ok());
        assert!(Credential::parse(&kubeconfig(|v| v["users"][0]["user"] = exec(|_| {})), None).is_ok());
        rule(Credential::parse(&example(), Some("other")), "another context");
        for (index, (change, wanted)) in changes.into_iter().enumerate() {
            let text = rule(Credential::parse(&kubeconfig(change), None), &format!("case {index}"));
            assert!(text.contains(wanted), "case {index}: {text}");
        }
        // A helper in a directory that others can write.
        let directory = tempfile::tempdir().unwrap();
        let helper = directory.path().join("helper");
        std::fs::copy("/bin/true", &helper).unwrap();
        let text = kubeconfig(|v| v["users"][0]["user"] = exec(|e| e["command"] = json!(helper)));
        assert!(rule(Credential::parse(&text, None), "helper").contains("cannot be trusted"));
    }

    #[test]
    fn checklist_9_no_source_text_of_a_kubeconfig_is_printed() {
        for text in ["verysecret", "- verysecret", "clusters: verysecret", "\"verysecret", "a: [verysecret"] {
            rule(Credential::parse(text, None), text);
        }
    }

    #[test]
    fn only_the_certificates_of_the_authority_go_on() {
        let credential = Credential::parse(&example(), None).unwrap();
        let passed_on = BASE64.decode(credential.certificate_authority_data).unwrap();
        let wanted = "-----BEGIN CERTIFICATE-----\nQUJDREVG\n-----END CERTIFICATE-----\n";
        assert_eq!(String::from_utf8(passed_on).unwrap(), wanted);
        assert_eq!(credential.roots, vec![b"ABCDEF".to_vec()]);
    }

    #[test]
    fn an_alias_bomb_is_refused_quickly() {
        let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
        for level in 1..12 {
            let before = format!("*a{}", level - 1);
            text.push_str(&format!("a{level}: &a{level} [{}]\n", vec![before; 9].join(",")));
        }
        let begin = Instant::now();
        rule(Credential::parse(&text, None), "bomb");
        assert!(begin.elapsed() < Duration::from_secs(2));
    }
}
