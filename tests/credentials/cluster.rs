//! Credentials used by hand, and identities and namespaces that go when they are dropped.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine;
use serde_json::{Value, json};

use crate::support::*;

/// A name that nothing else has.
pub fn unique(prefix: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let seconds = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    format!(
        "{prefix}-{:x}-{:x}-{}",
        seconds & 0xff_ffff,
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

/// A caller of the API server that is nobody's program: curl and what a thief holds.
pub struct Thief {
    arguments: Vec<String>,
    _files: Vec<TemporaryFile>,
}

/// What the API server said.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    pub fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }

    /// Refused by the fence, not by missing rights.
    pub fn fenced(&self) -> bool {
        [403, 422].contains(&self.status)
            && self.message().contains("ValidatingAdmissionPolicy 'spark-submit-as-fence")
    }

    /// Refused for missing rights (RBAC's own words, its escalation check included).
    pub fn no_rights(&self) -> bool {
        let words = [" cannot ", "attempting to grant RBAC permissions"];
        self.status == 403 && words.iter().any(|words| self.message().contains(words))
    }

    pub fn success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl Thief {
    /// Somebody with a token.
    pub fn with(token: &str) -> Self {
        Self { arguments: vec!["-H".into(), format!("Authorization: Bearer {token}")], _files: Vec::new() }
    }

    /// A name that a fence knows, with every right that RBAC can give: what holds it is the fence alone.
    pub fn administrator_called(name: &str) -> Self {
        let config = kubectl(&["config", "view", "--raw", "--minify", "-o", "json"]);
        let config: Value = serde_json::from_str(&config).unwrap();
        let mut arguments = Vec::new();
        let mut files = Vec::new();
        let user = &config["users"][0]["user"];
        for (option, key) in [("--cert", "client-certificate-data"), ("--key", "client-key-data")] {
            let data = user[key].as_str().expect("the cluster's administrator has a client certificate");
            let text = base64::engine::general_purpose::STANDARD.decode(data).unwrap();
            let file = temporary_file("credential.pem", &String::from_utf8(text).unwrap());
            arguments.extend([option.to_owned(), file.path.to_str().unwrap().to_owned()]);
            files.push(file);
        }
        for header in [format!("Impersonate-User: {name}"), "Impersonate-Group: system:masters".to_owned()] {
            arguments.extend(["-H".to_owned(), header]);
        }
        Self { arguments, _files: files }
    }

    /// The same with another header.
    pub fn saying(mut self, header: &str) -> Self {
        self.arguments.extend(["-H".to_owned(), header.to_owned()]);
        self
    }

    pub fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        let (method, kind) = match method {
            "PATCH" => ("PATCH", "application/merge-patch+json"),
            "APPLY" => ("PATCH", "application/apply-patch+yaml"),
            "MERGE" => ("PATCH", "application/strategic-merge-patch+json"),
            _ => (method, "application/json"),
        };
        let mut curl = Command::new("curl")
            .args(["-sk", "--max-time", "20", "-w", "\n%{http_code}", "-X", method, "-H"])
            .arg(format!("Content-Type: {kind}"))
            .args(["-H", "Expect:"])
            .args(&self.arguments)
            .args(if body.is_null() { &[][..] } else { &["--data-binary", "@-"][..] })
            .arg(format!("{}{path}", bed("BENCH_SERVER")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("curl");
        let mut stdin = curl.stdin.take().unwrap();
        // An answer may come before the body was read; curl then has gone.
        let _ = stdin.write_all(body.to_string().as_bytes());
        drop(stdin);
        let output = curl.wait_with_output().expect("curl");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap();
        Answer { status: status.parse().unwrap(), body: serde_json::from_str(body).unwrap_or_default() }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &Value::Null)
    }

    /// SelfSubjectAccessReview.
    pub fn may(&self, namespace: &str, verb: &str, resource: &str) -> bool {
        let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
        // `resource/subresource.group`
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {
                "namespace": namespace, "verb": verb, "group": group, "resource": resource, "subresource": subresource,
            }},
        });
        let answer = self.ask("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review);
        answer.body["status"]["allowed"].as_bool().unwrap_or_else(|| panic!("{answer:?}"))
    }

    /// SelfSubjectRulesReview: every rule in a namespace, as `verb resource.group [names]`.
    pub fn rules(&self, namespace: &str) -> BTreeSet<String> {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
            "spec": {"namespace": namespace},
        });
        let answer = self.ask("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", &review);
        let mut rules = BTreeSet::new();
        let words = |value: &Value| -> Vec<String> {
            value.as_array().into_iter().flatten().map(|word| word.as_str().unwrap().to_owned()).collect()
        };
        for rule in answer.body["status"]["resourceRules"].as_array().unwrap_or_else(|| panic!("{answer:?}"))
        {
            for verb in words(&rule["verbs"]) {
                for resource in words(&rule["resources"]) {
                    for group in words(&rule["apiGroups"]) {
                        let dot = if group.is_empty() { "" } else { "." };
                        let names = words(&rule["resourceNames"]).join(",");
                        rules.insert(format!("{verb} {resource}{dot}{group} {names}").trim().to_owned());
                    }
                }
            }
        }
        rules
    }
}

/// What a SelfSubjectRulesReview tells of every authenticated account.
pub fn everybodys_rules() -> BTreeSet<String> {
    [
        "create selfsubjectaccessreviews.authorization.k8s.io",
        "create selfsubjectreviews.authentication.k8s.io",
        "create selfsubjectrulesreviews.authorization.k8s.io",
    ]
    .map(String::from)
    .into()
}

/// The installed provisioner's token, as somebody who has stolen its kubeconfig reads it.
pub fn stolen_token() -> String {
    let path = Path::new(&bed("SSA_BED_CONFIG")).with_file_name("main.kubeconfig");
    let value: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    value["users"][0]["user"]["token"].as_str().unwrap().to_owned()
}

/// A namespace of a test's own.
pub struct TestNamespace(pub String);

impl TestNamespace {
    pub fn named(name: &str, labels: Value, annotations: Value) -> Self {
        let metadata = json!({"name": name, "labels": labels, "annotations": annotations});
        apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}).to_string());
        Self(name.to_owned())
    }

    pub fn managed(prefix: &str) -> Self {
        let owner = json!({"spark-submit-as/owner": "{}"});
        Self::named(&unique(prefix), json!({"spark-submit-as/managed": "true"}), owner)
    }

    pub fn unmanaged(prefix: &str) -> Self {
        Self::named(&unique(prefix), json!({}), json!({}))
    }
}

impl Drop for TestNamespace {
    fn drop(&mut self) {
        let _ = kubectl_try(&["delete", "namespace", &self.0, "--wait=false", "--ignore-not-found"]);
    }
}

/// An object that goes when it is dropped.
pub struct TestObject(Vec<String>);

impl TestObject {
    pub fn applied(manifest: &Value) -> Self {
        apply(&manifest.to_string());
        let metadata = &manifest["metadata"];
        let mut words = vec![
            manifest["kind"].as_str().unwrap().to_owned(),
            metadata["name"].as_str().unwrap().to_owned(),
        ];
        if let Some(namespace) = metadata["namespace"].as_str() {
            words.extend(["-n".to_owned(), namespace.to_owned()]);
        }
        Self(words)
    }
}

impl Drop for TestObject {
    fn drop(&mut self) {
        let mut words = vec!["delete", "--ignore-not-found", "--wait=false"];
        words.extend(self.0.iter().map(String::as_str));
        let _ = kubectl_try(&words);
    }
}

/// A provisioner that is not the installed one: an account in a namespace of its own that no fence names.
pub struct Identity {
    pub token: String,
    pub namespace: String,
    guards: Vec<TestObject>,
    _namespace: TestNamespace,
}

impl Identity {
    /// Without any right.
    pub fn without_rights() -> Self {
        let namespace = TestNamespace::unmanaged("ssa-test-id");
        let name = namespace.0.clone();
        kubectl(&["create", "serviceaccount", "provisioner", "-n", &name]);
        let token = kubectl(&["create", "token", "provisioner", "-n", &name]).trim().to_owned();
        Self { token, namespace: name, guards: Vec::new(), _namespace: namespace }
    }

    /// With a ClusterRole everywhere, as the ClusterRoleBinding of provisioner.yaml gives it.
    pub fn unfenced(role: &str) -> Self {
        let mut identity = Self::without_rights();
        let subjects =
            json!([{"kind": "ServiceAccount", "name": "provisioner", "namespace": identity.namespace}]);
        identity.guards.push(TestObject::applied(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": identity.namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": subjects,
        })));
        identity
    }

    /// With the shipped role and a copy of the tree's own fence that names it, and its namespace's name as a user.
    pub fn fenced() -> Self {
        let mut identity = Self::unfenced("spark-submit-as-provisioner");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/kubernetes/fence.yaml");
        let text = fs::read_to_string(source).unwrap();
        let shipped =
            r#"["system:serviceaccount:spark-submit-as:provisioner", "spark-submit-as-provisioner"]"#;
        assert!(text.contains(shipped), "the fence names other users");
        let name = &identity.namespace;
        let own = format!(r#"["system:serviceaccount:{name}:provisioner", "{name}"]"#);
        let text = text
            .replace(shipped, &own)
            .replace("spark-submit-as-fence", &format!("spark-submit-as-fence-{name}"));
        for document in text.split("\n---\n") {
            let object: Value = serde_yaml::from_str(document).unwrap();
            identity.guards.push(TestObject::applied(&object));
        }
        let account =
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "ssa-job-probe"}});
        let path = "/api/v1/namespaces/kube-system/serviceaccounts?dryRun=All";
        let thief = identity.thief();
        until("the fence stands", || thief.ask("POST", path, &account).fenced());
        identity
    }

    pub fn thief(&self) -> Thief {
        Thief::with(&self.token)
    }

    /// Its requests in the audit log since `offset`.
    pub fn requests_since(&self, offset: u64) -> Vec<Value> {
        let user = format!("system:serviceaccount:{}:provisioner", self.namespace);
        audit_since(offset).into_iter().filter(|line| line["user"]["username"] == user.as_str()).collect()
    }

    /// The installed kubeconfig with this identity's token, readable by root alone.
    pub fn kubeconfig(&self, directory: &Path) -> PathBuf {
        use std::os::unix::fs::OpenOptionsExt;
        let installed = Path::new(&bed("SSA_BED_CONFIG")).with_file_name("main.kubeconfig");
        let mut value: Value = serde_json::from_str(&fs::read_to_string(installed).unwrap()).unwrap();
        value["users"][0]["user"]["token"] = json!(self.token);
        let path = directory.join("own.kubeconfig");
        let mut file =
            fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&path).unwrap();
        file.write_all(value.to_string().as_bytes()).unwrap();
        path
    }
}

/// A script in Spark's place and a configuration of a test's own, for root.
pub struct Place {
    pub directory: tempfile::TempDir,
    pub configuration: Value,
}

impl Place {
    pub fn new(script: &str) -> Self {
        let directory = trusted_directory();
        let mut configuration = configuration();
        configuration["callers"] = json!(["root"]);
        let spark = script_spark(directory.path(), script);
        for profile in ["per-user", "per-team"] {
            configuration["profiles"][profile]["spark_home"] = json!(spark.to_str().unwrap());
        }
        Self { directory, configuration }
    }

    /// Every job's namespace is what `template` says, and every login that is no account's name is alice's.
    pub fn with_template(script: &str, template: &str) -> Self {
        let mut place = Self::new(script);
        place.configuration["profiles"]["per-user"]["namespace"]["template"] = json!(template);
        place.configuration["profiles"]["per-user"]["namespace"]["accept_shared_account"] = json!(true);
        place.configuration["users"]["mapping"] = json!([{"regex": "[A-Za-z0-9@.+_-]+", "user": "alice"}]);
        place
    }

    pub fn with_identity(mut self, identity: &Identity) -> Self {
        let path = identity.kubeconfig(self.directory.path());
        self.configuration["clusters"]["main"]["kubeconfig"] = json!(path.to_str().unwrap());
        self
    }

    pub fn accepting_missing_fence(mut self) -> Self {
        self.configuration["clusters"]["main"]["accept_missing_fence"] = json!(true);
        self
    }

    /// A call by root with this configuration.
    pub fn call(&self, words: &[&str]) -> Command {
        // A file for each call: calls of one place may run at the same time.
        let directory = self.directory.path().join(unique("call"));
        fs::create_dir(&directory).unwrap();
        let path = write_configuration(&directory, &self.configuration);
        as_root(&[&["--config", path.to_str().unwrap()], words].concat())
    }

    pub fn run(&self, login: &str) -> Command {
        self.run_profile(login, "per-user")
    }

    pub fn run_profile(&self, login: &str, profile: &str) -> Command {
        self.call(&["run", "--user", login, "--profile", profile, "--", "job.py"])
    }
}

/// A running job that is told to stop when a test fails.
pub struct Job {
    pub id: String,
    running: Option<Running>,
}

impl Job {
    pub fn started(command: &mut Command) -> Self {
        let mut running = start(command);
        let (id, _) = running.job();
        Self { id, running: Some(running) }
    }

    /// The token in its run directory.
    pub fn token(&self) -> String {
        let path = Path::new(&bed("SSA_BED_RUN")).join(&self.id).join("kubeconfig");
        let value: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        value["users"][0]["user"]["token"].as_str().unwrap().to_owned()
    }

    /// Its account.
    pub fn account(&self) -> String {
        format!("ssa-job-{}", self.id)
    }

    /// Tells the wrapper to stop and sees its end.
    pub fn stop(mut self) -> Ended {
        let running = self.running.take().unwrap();
        terminate(running.child.id());
        running.end()
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            terminate(running.child.id());
            running.end();
        }
    }
}

fn terminate(pid: u32) {
    let _ = Command::new("kill").arg(pid.to_string()).status();
}
