//! The job's kubeconfig: one context, the token inline, because that is what survives a rotation in every Spark
//! (fabric8 `Config.refresh`, `tokenFile` is never read). JSON is YAML, and needs no quoting rules of our own.

use std::net::IpAddr;

use serde_json::json;

use crate::exit::ExitCode;
use crate::policy::names::NamespaceName;
use crate::policy::token::Token;
use crate::supervisor::Failure;

/// Its file name in the run directory.
pub const KUBECONFIG: &str = "kubeconfig";
/// One name for cluster, user and context; it never changes, or fabric8 6 would stop to refresh.
const NAME: &str = "spark-submit-as";

/// How the job reaches the API server, as the provisioner told and as root has checked the form of it.
pub struct Access {
    server: String,
    certificate_authority_data: String,
    tls_server_name: Option<String>,
    proxy_url: Option<String>,
    driver_host: String,
    namespace: NamespaceName,
}

impl Access {
    /// Checks the form of everything that the provisioner told.
    ///
    /// # Errors
    /// [`ExitCode::Provisioner`].
    pub fn checked(
        server: String,
        certificate_authority_data: String,
        tls_server_name: Option<String>,
        proxy_url: Option<String>,
        local_address: &str,
        namespace: NamespaceName,
    ) -> Result<Self, Failure> {
        let refused =
            |what: &str| Err(Failure::new(ExitCode::Provisioner, format!("the provisioner told {what}")));
        if !is_https_url(&server) || proxy_url.as_deref().is_some_and(|url| !is_https_url(url)) {
            return refused("an address that is not https");
        }
        let base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
        if certificate_authority_data.is_empty() || !certificate_authority_data.bytes().all(base64) {
            return refused("no certificate authority");
        }
        if tls_server_name.as_deref().is_some_and(|name| name.len() > 253 || !name.bytes().all(is_host_byte))
        {
            return refused("a TLS server name that is none");
        }
        let Ok(address) = local_address.parse::<IpAddr>() else { return refused("an address that is none") };
        let driver_host = match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        Ok(Self { server, certificate_authority_data, tls_server_name, proxy_url, driver_host, namespace })
    }

    /// The API server's address.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// This host's address towards the API server.
    #[must_use]
    pub fn driver_host(&self) -> &str {
        &self.driver_host
    }

    /// The kubeconfig with this token.
    #[must_use]
    pub fn kubeconfig(&self, token: &Token) -> String {
        let mut cluster = json!({
            "server": self.server,
            "certificate-authority-data": self.certificate_authority_data,
        });
        for (key, value) in [("tls-server-name", &self.tls_server_name), ("proxy-url", &self.proxy_url)] {
            if let (Some(value), Some(cluster)) = (value, cluster.as_object_mut()) {
                cluster.insert(key.into(), json!(value));
            }
        }
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": NAME,
            "clusters": [{"name": NAME, "cluster": cluster}],
            "contexts": [{
                "name": NAME,
                "context": {"cluster": NAME, "user": NAME, "namespace": self.namespace.as_str()},
            }],
            "users": [{"name": NAME, "user": {"token": token.expose()}}],
        })
        .to_string()
    }
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.".contains(&byte)
}

/// `https://` and characters that an address, a port and a path may have.
fn is_https_url(url: &str) -> bool {
    url.len() <= 1024
        && url.strip_prefix("https://").is_some_and(|rest| {
            !rest.is_empty() && rest.bytes().all(|byte| is_host_byte(byte) || b":/[]_~%@".contains(&byte))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(server: &str) -> Result<Access, Failure> {
        let namespace = NamespaceName::new("team").expect("name");
        Access::checked(server.into(), "QUJD".into(), None, None, "10.0.0.1", namespace)
    }

    #[test]
    fn checklist_100_addresses_from_the_provisioner_are_checked() {
        assert!(access("https://10.0.0.1:6443").is_ok());
        assert!(access("https://[fd00::1]:6443").is_ok());
        for bad in ["http://10.0.0.1", "https://", "https://a b", "https://a\"", "", "file:///etc"] {
            assert!(access(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_kubeconfig_has_one_context_and_an_inline_token() {
        let token = Token::new("abc.def".into()).expect("token");
        let text = access("https://10.0.0.1:6443").map(|access| access.kubeconfig(&token)).expect("access");
        let value: serde_json::Value = serde_json::from_str(&text).expect("json");
        assert_eq!(value["users"][0]["user"]["token"], "abc.def");
        assert_eq!(value["contexts"].as_array().map(Vec::len), Some(1));
        assert_eq!(value["contexts"][0]["context"]["namespace"], "team");
    }
}
