//! A provisioner's identity of a test's own, with rights in the test's own namespaces and nowhere else: whatever a `reap`
//! of a test finds or takes, it is never another test's. These are the rights of a team's namespace as shipped.

use std::fs;
use std::path::{Path, PathBuf};

use http::Method;
use serde_json::{Value, json};

use super::admin::{Admin, path};
use crate::support::*;

/// Makes the account in a namespace of its own; its token.
pub fn make(admin: &Admin, home: &str) -> String {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": home}});
    admin.done(Method::POST, "/api/v1/namespaces", namespace);
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "provisioner"},
                         "automountServiceAccountToken": false});
    admin.done(Method::POST, &path("serviceaccounts", home, ""), account);
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                         "spec": {"expirationSeconds": 86400}});
    let path = path("serviceaccounts", home, "provisioner/token");
    let answer = admin.done(Method::POST, &path, request);
    answer["status"]["token"].as_str().expect("token").to_owned()
}

/// Prepares a namespace as an administrator does for a team, and lets the account in.
pub fn admit(admin: &Admin, home: &str, namespace: &str, owner: &Value) {
    admin.namespace(namespace, owner);
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
                      "metadata": {"name": "spark-submit-as-provisioner"}, "rules": rules(namespace)});
    let roles = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles");
    admin.done(Method::POST, &roles, role);
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "spark-submit-as-provisioner"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "spark-submit-as-provisioner"},
        "subjects": [{"kind": "ServiceAccount", "name": "provisioner", "namespace": home}],
    });
    admin.done(Method::POST, &path("rolebindings", namespace, ""), binding);
}

/// The rules of the shipped Role, for another namespace.
fn rules(namespace: &str) -> Value {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/kubernetes/team-namespace.yaml");
    let manifest = fs::read_to_string(source).expect("manifest").replace("team-a", namespace);
    let documents = manifest.split("\n---\n").map(|text| serde_yaml::from_str::<Value>(text).expect("YAML"));
    let role = documents.into_iter().find(|document| document["kind"] == "Role").expect("a Role");
    role["rules"].clone()
}

/// A kubeconfig of root's with the account's token, for a server.
pub fn kubeconfig(directory: &Path, name: &str, server: &str, token: &str) -> PathBuf {
    let shipped = Path::new(&bed("SSA_BED_CONFIG")).with_file_name("main.kubeconfig");
    let mut kubeconfig: Value =
        serde_json::from_slice(&fs::read(shipped).expect("kubeconfig")).expect("JSON");
    kubeconfig["clusters"][0]["cluster"]["server"] = json!(server);
    kubeconfig["users"][0]["user"] = json!({"token": token});
    let path = directory.join(name);
    fs::write(&path, kubeconfig.to_string()).expect("write");
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("chmod");
    path
}
