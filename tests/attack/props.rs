//! What a scene is made of: things worth an attack, rights and policies for a while, and directories of accounts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{NAMESPACE, OTHER, RUNTIME_CLASS};
use crate::support::*;

const BINDING: &str = "validatingadmissionpolicybinding/spark-submit-as-isolation";
/// The programs of the attack, beside each other in a directory of whoever runs one.
const PROGRAMS: [(&str, &str); 8] = [
    ("api.py", include_str!("api.py")),
    ("reach.py", include_str!("reach.py")),
    ("pods.py", include_str!("pods.py")),
    ("wide.py", include_str!("wide.py")),
    ("driver.py", include_str!("driver.py")),
    ("smuggle.py", include_str!("smuggle.py")),
    ("executor.py", include_str!("executor.py")),
    ("bob.py", include_str!("bob.py")),
];

pub fn idle_spec() -> Value {
    json!({
        "serviceAccountName": "ssa-executor", "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{
            "name": "idle", "image": "localhost/pause:bench", "imagePullPolicy": "Never",
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        }],
    })
}

/// What is worth an attack: bob's, the team's, and what the attempts name.
pub fn things() -> Vec<Value> {
    let named = |version: &str, kind: &str, name: &str, fields: Value| {
        let mut object =
            json!({"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}});
        object.as_object_mut().expect("object").extend(fields.as_object().expect("fields").clone());
        object
    };
    let mut team = named("v1", "Pod", "team-service", json!({"spec": idle_spec()}));
    team["metadata"]["labels"] = json!({"app": "team-service"});
    let mut class = named("node.k8s.io/v1", "RuntimeClass", RUNTIME_CLASS, json!({"handler": "runc"}));
    class["metadata"].as_object_mut().expect("object").remove("namespace");
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OTHER}}),
        class,
        named("v1", "Secret", "bobs-secret", json!({"stringData": {"key": "only-for-bob"}})),
        named("v1", "ConfigMap", "bobs-configmap", json!({"data": {"key": "only-for-bob"}})),
        named("v1", "ServiceAccount", "bobs-account", json!({})),
        // More than a job may: what makes another account worth taking.
        named(
            "rbac.authorization.k8s.io/v1",
            "RoleBinding",
            "bobs-account",
            json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
                   "subjects": [{"kind": "ServiceAccount", "name": "bobs-account", "namespace": NAMESPACE}]}),
        ),
        named(
            "v1",
            "PersistentVolumeClaim",
            "ssa-volume-bob",
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
        ),
        named(
            "v1",
            "Service",
            "team-service",
            json!({"spec": {"selector": {"app": "team-service"}, "ports": [{"port": 80}]}}),
        ),
        team,
    ]
}

/// Takes away what a scene made; it may have been left by one that was killed.
pub fn remove() {
    for namespace in [NAMESPACE, OTHER] {
        let pods = kubectl_try(&["get", "pods", "-n", namespace, "-o", "name"]).stdout;
        for pod in pods.lines() {
            let patch = r#"{"metadata": {"finalizers": null}}"#;
            kubectl_try(&["patch", pod, "-n", namespace, "--type=merge", "-p", patch]);
        }
        kubectl(&["delete", "namespace", namespace, "--ignore-not-found", "--timeout=120s"]);
    }
    kubectl(&["delete", "runtimeclass", RUNTIME_CLASS, "--ignore-not-found"]);
}

/// A role for one job that is wider than the shipped one, as an administrator may have made it.
pub struct Wide(String);

impl Wide {
    pub fn new(job: &str) -> Self {
        let metadata = json!({"name": format!("wide-{job}"), "namespace": NAMESPACE});
        let parts = [
            "attach",
            "binding",
            "ephemeralcontainers",
            "eviction",
            "exec",
            "log",
            "portforward",
            "proxy",
            "resize",
            "status",
        ];
        let mut resources = vec!["pods".to_owned()];
        resources.extend(parts.map(|part| format!("pods/{part}")));
        let rules = json!([{"apiGroups": [""], "resources": resources, "verbs": ["*"]}]);
        let version = "rbac.authorization.k8s.io/v1";
        let role = json!({"apiVersion": version, "kind": "Role", "metadata": metadata, "rules": rules});
        let binding = json!({
            "apiVersion": version, "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": metadata["name"]},
            "subjects": [{"kind": "ServiceAccount", "name": format!("ssa-job-{job}"), "namespace": NAMESPACE}],
        });
        apply(&format!("{role}\n---\n{binding}"));
        Self(format!("wide-{job}"))
    }
}

impl Drop for Wide {
    fn drop(&mut self) {
        kubectl_try(&["delete", "role,rolebinding", &self.0, "-n", NAMESPACE]);
    }
}

/// The policy is not in force in the namespace while this lives; everywhere else it is.
pub struct Exception(Value);

impl Exception {
    pub fn new() -> Self {
        let whole = Self::none();
        let mut spec = whole.clone();
        let list = &mut spec["matchResources"]["namespaceSelector"]["matchExpressions"];
        match list.as_array_mut() {
            Some(list) => list.push(exception()),
            None => *list = json!([exception()]),
        }
        replace_spec(&spec);
        Self(whole)
    }

    /// Takes away one that a killed test has left; the binding's specification without any.
    pub fn none() -> Value {
        let binding: Value = serde_json::from_str(&kubectl(&["get", BINDING, "-o", "json"])).expect("JSON");
        let mut spec = binding["spec"].clone();
        let place = "/matchResources/namespaceSelector/matchExpressions";
        if let Some(list) = spec.pointer_mut(place).and_then(Value::as_array_mut) {
            list.retain(|expression| *expression != exception());
        }
        if spec != binding["spec"] {
            replace_spec(&spec);
        }
        spec
    }
}

fn exception() -> Value {
    json!({"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": [NAMESPACE]})
}

impl Drop for Exception {
    fn drop(&mut self) {
        replace_spec(&self.0);
        // The API server learns of it a moment later, and a run before that would be refused.
        let job = format!("--as=system:serviceaccount:{NAMESPACE}:ssa-job-aaaaaaaaaaaaaaaa");
        let probe = [
            &job,
            "--as-group=system:masters",
            "create",
            "configmap",
            "x",
            "--dry-run=server",
            "-n",
            NAMESPACE,
        ];
        let begin = Instant::now();
        while !kubectl_try(&probe).stderr.contains("spark-submit-as-isolation") && begin.elapsed() < PATIENCE
        {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn replace_spec(spec: &Value) {
    let patch = json!([{"op": "replace", "path": "/spec", "value": spec}]).to_string();
    kubectl(&["patch", BINDING, "--type=json", "-p", &patch]);
}

/// Spark's log into a file, where the program reads what the API server said.
pub fn logging(file: &Path) -> String {
    format!(
        "rootLogger.level = warn\nrootLogger.appenderRef.file.ref = file\nappender.file.type = File\n\
         appender.file.name = file\nappender.file.fileName = {}\nappender.file.layout.type = PatternLayout\n\
         appender.file.layout.pattern = %p %c{{1}}: %m%n%ex\n",
        file.display()
    )
}

/// A directory of an account's own with the programs in it.
pub struct Workshop {
    account: String,
    directory: PathBuf,
}

impl Workshop {
    pub fn new(account: &str) -> Self {
        let made = shell_as(account, "umask 077; mktemp -d ~/attack.XXXXXX");
        let directory = PathBuf::from(made.stdout.trim());
        assert!(directory.is_absolute(), "{made:?}");
        let workshop = Self { account: account.to_owned(), directory };
        for (name, text) in PROGRAMS {
            workshop.file(name, text);
        }
        workshop
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Writes a file as the account.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        use std::io::Write;
        let path = self.path(name);
        let mut writer = Command::new("sudo")
            .args(["-u", &self.account, "sh", "-c", "umask 077; cat > \"$1\"", "sh"])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .expect("sudo");
        writer.stdin.take().expect("stdin").write_all(text.as_bytes()).expect("write");
        assert!(writer.wait().expect("wait").success());
        path
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}
