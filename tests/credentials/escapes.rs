//! The ways out that a thief of the provisioner's credential would try, and what must stop each.

use serde_json::{Value, json};

use super::cluster::{TestNamespace, TestObject, unique};
use crate::support::*;

#[path = "escapes/policies.rs"]
mod policies;

/// What must refuse it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The fence alone: RBAC would allow it.
    Fence,
    /// RBAC, and the fence if RBAC gave everything.
    Both,
    /// RBAC; admission does not see it (reads), or may not (its own policies).
    Rights,
    /// The API server's own rules, whoever asks.
    Server,
}

/// One way out.
pub struct Escape {
    pub what: String,
    pub method: &'static str,
    pub path: String,
    pub body: Value,
    pub stop: Stop,
}

/// Where the thief tries: a managed and an unmanaged namespace with something to attack in each.
pub struct Arena {
    pub managed: String,
    pub unmanaged: String,
    pub in_system: String,
    _guards: (TestObject, TestNamespace, TestNamespace),
}

const EXPIRY: &str = "spark-submit-as/expires-at";
const JOB: &str = "spark-submit-as/job";
const OF_A_JOB: &str = "ssa-job-aaaaaaaaaaaaaaaa";
const RBAC: &str = "rbac.authorization.k8s.io";

/// A pod that no node ever gets.
fn pod(name: &str, namespace: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "schedulingGates": [{"name": "example.org/never"}],
            "containers": [{"name": "c", "image": "localhost/none"}],
        },
    })
}

fn account(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
}

/// The account of a job, as the provisioner makes it.
fn of_a_job(namespace: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "automountServiceAccountToken": false,
        "metadata": {
            "name": OF_A_JOB, "namespace": namespace, "labels": {JOB: "aaaaaaaaaaaaaaaa"},
            "annotations": {"spark-submit-as/login": "alice", EXPIRY: "2030-01-01T00:00:00Z"},
        },
    })
}

fn secret(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}})
}

fn binding(name: &str, role: &str, subjects: &Value) -> Value {
    json!({
        "apiVersion": format!("{RBAC}/v1"), "kind": "RoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role}, "subjects": subjects,
    })
}

fn subject(name: &str, namespace: &str) -> Value {
    json!([{"kind": "ServiceAccount", "name": name, "namespace": namespace}])
}

fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap()[key] = value;
    object
}

fn token_request() -> Value {
    json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}})
}

impl Arena {
    pub fn new() -> Self {
        let managed = TestNamespace::managed("ssa-test-m");
        let unmanaged = TestNamespace::unmanaged("ssa-test-u");
        let in_system = unique("ssa-test-pod");
        let label = json!({"spark-submit-as/job": "aaaaaaaaaaaaaaaa"});
        let system_pod = TestObject::applied(&pod(&in_system, "kube-system", &label));
        for namespace in [&managed.0, &unmanaged.0] {
            until("the namespace has its default account", || {
                kubectl_try(&["get", "serviceaccount", "default", "-n", namespace]).status.success()
            });
            let mut items = vec![
                pod("of-a-job", namespace, &label),
                pod("plain", namespace, &json!({"app": "database"})),
                // A Role that has the drivers' role's name and no rule, so that RBAC lets anybody bind it.
                json!({"apiVersion": format!("{RBAC}/v1"), "kind": "Role", "rules": [],
                       "metadata": {"name": "spark-submit-as-driver", "namespace": namespace}}),
            ];
            // A job's account as the provisioner makes it, so that its expiry may be moved.
            items.push(of_a_job(namespace));
            items.extend(policies::objects(namespace));
            for name in ["ssa-job-victim", "other"] {
                let objects = [
                    account(name),
                    secret(name),
                    binding(name, "spark-submit-as-driver", &subject(name, namespace)),
                ];
                items.extend(objects.map(|object| with(object, "/metadata/namespace", json!(namespace))));
            }
            apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string());
        }
        let names = (managed.0.clone(), unmanaged.0.clone());
        Self { managed: names.0, unmanaged: names.1, in_system, _guards: (system_pod, managed, unmanaged) }
    }

    /// Everything that must be as it was after the attacks.
    pub fn state(&self) -> String {
        let kinds = "pods,serviceaccounts,secrets,rolebindings,roles,configmaps,resourcequotas,limitranges,networkpolicies,persistentvolumeclaims";
        let of = |namespace: &str| {
            // The pod of kube-system is looked at alone: other objects there change by themselves.
            let form = "jsonpath={range .items[*]}{.kind} {.metadata.name} {.metadata.uid} {.metadata.labels}{\"\\n\"}{end}";
            kubectl(&["get", kinds, "-n", namespace, "-o", form])
        };
        let namespaces = "jsonpath={range .items[*]}{.metadata.name} {.metadata.labels} {.metadata.annotations}{\"\\n\"}{end}";
        let three = kubectl(&["get", "namespaces", "-o", namespaces])
            .lines()
            .filter(|line| {
                [&*self.managed, &*self.unmanaged, "kube-system"].iter().any(|name| line.starts_with(name))
            })
            .collect::<Vec<_>>()
            .join("\n");
        let pod = kubectl(&["get", "pod", &self.in_system, "-n", "kube-system", "-o", "name"]);
        [of(&self.managed), of(&self.unmanaged), three, pod].join("\n")
    }

    /// The table.
    pub fn escapes(&self) -> Vec<Escape> {
        let mut table = Table(Vec::new());
        self.tokens(&mut table);
        self.accounts(&mut table);
        self.secrets(&mut table);
        self.bindings(&mut table);
        self.namespaces(&mut table);
        self.pods(&mut table);
        self.reads(&mut table);
        self.others_in_managed(&mut table);
        self.of_policies(&mut table);
        cluster_wide(&mut table);
        table.0
    }

    fn tokens(&self, table: &mut Table) {
        for (namespace, name) in [
            ("kube-system", "clusterrole-aggregation-controller"),
            ("kube-system", "namespace-controller"),
            ("kube-system", "default"),
            ("default", "default"),
            ("spark-submit-as", "provisioner"),
            (&*self.unmanaged, "default"),
            (&*self.unmanaged, "ssa-job-victim"),
            (&*self.managed, "default"),
            (&*self.managed, "other"),
        ] {
            let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
            table.post(Stop::Fence, &format!("token of {namespace}/{name}"), &path, token_request());
        }
        // A token that is bound to something that is not the job's.
        let path = format!("/api/v1/namespaces/{}/serviceaccounts/ssa-job-victim/token", self.managed);
        for (kind, name) in [("Pod", "plain"), ("Secret", "absent")] {
            let reference = json!({"apiVersion": "v1", "kind": kind, "name": name});
            let body = with(token_request(), "/spec/boundObjectRef", reference);
            table.post(Stop::Server, &format!("token bound to a foreign {kind}"), &path, body);
        }
        let node = kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]);
        let reference = json!({"apiVersion": "v1", "kind": "Node", "name": node});
        let body = with(token_request(), "/spec/boundObjectRef", reference);
        table.post(Stop::Fence, "token bound to a node", &path, body);
        let upper = path.replace("ssa-job-victim", "SSA-JOB-victim");
        table.post(Stop::Server, "token of an account in other case", &upper, token_request());
    }

    fn accounts(&self, table: &mut Table) {
        for namespace in ["kube-system", "default", "spark-submit-as", &self.unmanaged] {
            let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
            table.post(Stop::Fence, &format!("account in {namespace}"), &path, account("ssa-job-evil"));
        }
        let path = format!("/api/v1/namespaces/{}/serviceaccounts", self.managed);
        table.post(Stop::Fence, "account that is no job's", &path, account("evil"));
        table.post(Stop::Fence, "account with the prefix elsewhere", &path, account("evil-ssa-job-a"));
        table.post(Stop::Server, "account in other case", &path, account("SSA-JOB-evil"));
        let generated =
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"generateName": "evil-"}});
        table.post(Stop::Fence, "account with a generated name", &path, generated);
        for (namespace, name) in
            [(&self.managed, "other"), (&self.managed, "default"), (&self.unmanaged, "ssa-job-victim")]
        {
            let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}");
            table.delete(Stop::Fence, &format!("delete account {name}"), &path);
        }
        let victim = format!("{path}/ssa-job-victim");
        table.put(Stop::Both, "replace an account", &victim, account("ssa-job-victim"));
        self.changes_of_accounts(table);
        table.delete(Stop::Both, "delete all accounts", &path);
        table.delete(
            Stop::Both,
            "delete all accounts of kube-system",
            "/api/v1/namespaces/kube-system/serviceaccounts",
        );
    }

    /// What a right to patch accounts must not be good for: only the expiry of a job's account may be moved.
    fn changes_of_accounts(&self, table: &mut Table) {
        let at = |namespace: &str| format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        let own = format!("{}/{OF_A_JOB}", at(&self.managed));
        let expiry = json!({"annotations": {EXPIRY: "2031-01-01T00:00:00Z"}});
        let moved = json!({"metadata": expiry});
        let owner =
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "name": "other", "uid": "00000000-0000"});
        for (what, metadata) in [
            ("a label", json!({"labels": {"x": "y"}})),
            ("the job's label", json!({"labels": {JOB: "bbbbbbbbbbbbbbbb"}})),
            ("no job's label", json!({"labels": {JOB: null}})),
            ("no labels", json!({"labels": null})),
            ("another annotation", json!({"annotations": {"x": "y"}})),
            ("a job's other annotation", json!({"annotations": {"spark-submit-as/login": "root"}})),
            ("an annotation less", json!({"annotations": {"spark-submit-as/login": null}})),
            (
                "the annotation of a mountable secret",
                json!({"annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}}),
            ),
            ("no expiry", json!({"annotations": {EXPIRY: null}})),
            ("no annotations", json!({"annotations": null})),
            ("an expiry that is no time", json!({"annotations": {EXPIRY: "never"}})),
            (
                "an expiry with something after it",
                json!({"annotations": {EXPIRY: "2031-01-01T00:00:00Z\nx"}}),
            ),
            ("an owner", json!({"ownerReferences": [owner]})),
            ("a finalizer", json!({"finalizers": ["example.org/evil"]})),
            ("a name to generate from", json!({"generateName": "evil-"})),
        ] {
            let mut both = json!({"metadata": metadata});
            table.patch(Stop::Fence, &format!("give an account {what}"), &own, both.clone());
            // A change that is allowed beside it does not carry it through.
            if metadata.pointer("/annotations").is_none() {
                both["metadata"]["annotations"] = expiry["annotations"].clone();
                table.patch(Stop::Fence, &format!("give an account an expiry and {what}"), &own, both);
            }
        }
        for (what, mut change) in [
            ("secrets", json!({"secrets": [{"name": "other"}]})),
            ("imagePullSecrets", json!({"imagePullSecrets": [{"name": "other"}]})),
            ("a mounted token", json!({"automountServiceAccountToken": true})),
            ("no word on its token", json!({"automountServiceAccountToken": null})),
        ] {
            table.patch(Stop::Fence, &format!("give an account {what}"), &own, change.clone());
            change["metadata"] = expiry.clone();
            table.patch(Stop::Fence, &format!("give an account an expiry and {what}"), &own, change);
        }
        let victim = format!("{}/ssa-job-victim", at(&self.managed));
        table.patch(Stop::Fence, "give an account of no job an expiry", &victim, moved.clone());
        let label = json!({"metadata": {"labels": {JOB: "victim"}, "annotations": expiry["annotations"]}});
        table.patch(Stop::Fence, "make an account a job's", &victim, label);
        for (namespace, name) in [
            (&*self.managed, "default"),
            (&*self.managed, "other"),
            (&*self.unmanaged, OF_A_JOB),
            (&*self.unmanaged, "default"),
            ("kube-system", "default"),
            ("default", "default"),
            ("spark-submit-as", "provisioner"),
        ] {
            let path = format!("{}/{name}", at(namespace));
            table.patch(Stop::Fence, &format!("give {namespace}/{name} an expiry"), &path, moved.clone());
            let pull = json!({"imagePullSecrets": [{"name": "evil"}]});
            table.patch(Stop::Fence, &format!("give {namespace}/{name} imagePullSecrets"), &path, pull);
        }
        let whole = with(of_a_job(&self.managed), "/metadata/annotations", expiry["annotations"].clone());
        table.put(Stop::Both, "replace an account by itself", &own, whole);
        // An apply of what is not there creates it, and one of what is there takes its fields over.
        let evil = format!("{}/evil", at(&self.managed));
        table.apply(Stop::Fence, "apply an account that is no job's", &evil, account("evil"));
        let mut secrets = account(OF_A_JOB);
        secrets["secrets"] = json!([{"name": "other"}]);
        table.apply(Stop::Fence, "apply secrets to an account", &own, secrets);
        for sub in ["token", "status", "scale"] {
            table.patch(
                Stop::Rights,
                &format!("patch {sub} of an account"),
                &format!("{own}/{sub}"),
                moved.clone(),
            );
        }
    }

    fn secrets(&self, table: &mut Table) {
        for namespace in ["kube-system", "default", &self.unmanaged] {
            let path = format!("/api/v1/namespaces/{namespace}/secrets");
            table.post(Stop::Fence, &format!("secret in {namespace}"), &path, secret("ssa-job-evil"));
        }
        let path = format!("/api/v1/namespaces/{}/secrets", self.managed);
        table.post(Stop::Fence, "secret that is no job's", &path, secret("evil"));
        let generated = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"generateName": "evil-"}});
        table.post(Stop::Fence, "secret with a generated name", &path, generated);
        let typed = |kind: &str| with(secret("ssa-job-evil"), "/type", json!(kind));
        for account in ["default", "other", "ssa-job-victim"] {
            let annotation = json!({"kubernetes.io/service-account.name": account});
            let body =
                with(typed("kubernetes.io/service-account-token"), "/metadata/annotations", annotation);
            table.post(Stop::Fence, &format!("token of {account} through a secret"), &path, body);
        }
        let basic = with(typed("kubernetes.io/basic-auth"), "/stringData", json!({"username": "x"}));
        table.post(Stop::Fence, "secret of another type", &path, basic);
        table.post(Stop::Fence, "bootstrap token", &path, typed("bootstrap.kubernetes.io/token"));
        table.delete(Stop::Fence, "delete a foreign secret", &format!("{path}/other"));
        let unmanaged = format!("/api/v1/namespaces/{}/secrets/ssa-job-victim", self.unmanaged);
        table.delete(Stop::Fence, "delete a secret of an unmanaged namespace", &unmanaged);
        let victim = format!("{path}/ssa-job-victim");
        table.put(Stop::Both, "replace a secret", &victim, secret("ssa-job-victim"));
        table.patch(Stop::Both, "patch a secret", &victim, json!({"stringData": {"auth": "mine"}}));
        table.delete(Stop::Both, "delete all secrets", &path);
    }

    fn bindings(&self, table: &mut Table) {
        let at = |namespace: &str| format!("/apis/{RBAC}/v1/namespaces/{namespace}/rolebindings");
        let path = at(&self.managed);
        let own = subject("ssa-job-victim", &self.managed);
        for role in ["cluster-admin", "admin", "edit", "view", "spark-submit-as-provisioner"] {
            let stop = if role == "spark-submit-as-provisioner" { Stop::Fence } else { Stop::Both };
            table.post(stop, &format!("bind {role}"), &path, binding("ssa-job-evil", role, &own));
        }
        let driver = |subjects: Value| binding("ssa-job-evil", "spark-submit-as-driver", &subjects);
        let named = |kind: &str, name: &str| json!([{"apiGroup": RBAC, "kind": kind, "name": name}]);
        for (what, subjects) in [
            ("a user", named("User", "mallory")),
            (
                "a user that is an account",
                named("User", &format!("system:serviceaccount:{}:ssa-job-victim", self.managed)),
            ),
            ("a group", named("Group", "system:authenticated")),
            ("an account of another namespace", subject("ssa-job-victim", &self.unmanaged)),
            ("an account that is no job's", subject("default", &self.managed)),
            ("the executors' account", subject("ssa-executor", &self.managed)),
            ("the provisioner", subject("provisioner", "spark-submit-as")),
            ("nobody", json!([])),
            ("two accounts, one of them foreign", {
                let mut two = own.clone();
                two.as_array_mut()
                    .unwrap()
                    .extend(subject("ssa-job-a", "default").as_array().unwrap().clone());
                two
            }),
        ] {
            table.post(Stop::Fence, &format!("bind the drivers' role to {what}"), &path, driver(subjects));
        }
        let role = json!({"apiGroup": RBAC, "kind": "Role", "name": "spark-submit-as-driver"});
        table.post(
            Stop::Fence,
            "bind a Role of the same name",
            &path,
            with(driver(own.clone()), "/roleRef", role),
        );
        let other_name = binding("evil", "spark-submit-as-driver", &own);
        table.post(Stop::Fence, "binding that is no job's", &path, other_name.clone());
        let generated = with(other_name, "/metadata", json!({"generateName": "evil-"}));
        table.post(Stop::Fence, "binding with a generated name", &path, generated);
        for namespace in ["kube-system", "default", "spark-submit-as", &self.unmanaged] {
            let body = driver(subject("ssa-job-evil", namespace));
            table.post(Stop::Fence, &format!("bind the drivers' role in {namespace}"), &at(namespace), body);
        }
        table.delete(Stop::Fence, "delete a foreign binding", &format!("{path}/other"));
        let unmanaged = format!("{}/ssa-job-victim", at(&self.unmanaged));
        table.delete(Stop::Fence, "delete a binding of an unmanaged namespace", &unmanaged);
        // A PUT of an absent binding creates it.
        let evil = format!("{path}/ssa-job-evil");
        table.put(
            Stop::Both,
            "create a binding by replacing",
            &evil,
            binding("ssa-job-evil", "cluster-admin", &own),
        );
        let victim = format!("{path}/ssa-job-victim");
        let wider = json!({"subjects": named("Group", "system:authenticated")});
        table.patch(Stop::Both, "patch a binding", &victim, wider);
        table.delete(Stop::Both, "delete all bindings", &path);
    }

    fn namespaces(&self, table: &mut Table) {
        let new = |metadata: Value| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        let managed =
            json!({"spark-submit-as/managed": "true", "pod-security.kubernetes.io/enforce": "restricted"});
        let owner = json!({"spark-submit-as/owner": "{}"});
        let all = "/api/v1/namespaces";
        for (what, metadata) in [
            ("without label", json!({"name": "ssa-test-evil", "annotations": owner})),
            (
                "with another value",
                json!({"name": "ssa-test-evil", "annotations": owner,
                                          "labels": {"spark-submit-as/managed": "false"}}),
            ),
            ("without owner", json!({"name": "ssa-test-evil", "labels": managed})),
            (
                "without pod security",
                json!({"name": "ssa-test-evil", "annotations": owner,
                                            "labels": {"spark-submit-as/managed": "true"}}),
            ),
            (
                "whose pods may be privileged",
                json!({"name": "ssa-test-evil", "annotations": owner,
                "labels": {"spark-submit-as/managed": "true", "pod-security.kubernetes.io/enforce": "privileged"}}),
            ),
            ("of the cluster's names", json!({"name": "kube-evil", "labels": managed, "annotations": owner})),
            ("with a generated name", json!({"generateName": "ssa-test-evil-"})),
            (
                "with a generated name of the cluster's",
                json!({"generateName": "kube-", "labels": managed, "annotations": owner}),
            ),
        ] {
            table.post(Stop::Fence, &format!("namespace {what}"), all, new(metadata));
        }
        let take_over = json!({"metadata": {"labels": {"spark-submit-as/managed": "true"}}});
        for name in ["kube-system", "default", "spark-submit-as", &self.unmanaged] {
            table.patch(Stop::Fence, &format!("label {name}"), &format!("{all}/{name}"), take_over.clone());
        }
        let own = format!("{all}/{}", self.managed);
        let unmanaged = format!("{all}/{}", self.unmanaged);
        let labels = |value: Value| json!({"metadata": {"labels": value}});
        let annotation =
            json!({"metadata": {"annotations": {"spark-submit-as/owner": "{\"login\":\"bob\"}"}}});
        let unlabel = labels(json!({"spark-submit-as/managed": null}));
        table.patch(Stop::Fence, "remove the label", &own, unlabel);
        let weaker = labels(json!({"pod-security.kubernetes.io/enforce": "privileged"}));
        table.patch(Stop::Fence, "weaken pod security", &own, weaker);
        table.patch(Stop::Fence, "change the owner", &own, annotation.clone());
        table.patch(Stop::Fence, "give a foreign namespace an owner", &unmanaged, annotation);
        table.patch(Stop::Both, "label through /status", &format!("{unmanaged}/status"), take_over);
        let whole = new(json!({"name": self.unmanaged, "labels": managed, "annotations": owner}));
        table.put(Stop::Both, "replace a namespace", &unmanaged, whole.clone());
        let finalized = with(whole.clone(), "/spec", json!({"finalizers": ["kubernetes"]}));
        table.put(Stop::Both, "label through /finalize", &format!("{unmanaged}/finalize"), finalized);
        table.put(Stop::Both, "replace /status", &format!("{unmanaged}/status"), whole);
        table.delete(Stop::Both, "delete the own namespace", &own);
        table.delete(Stop::Both, "delete a foreign namespace", &unmanaged);
    }

    fn pods(&self, table: &mut Table) {
        let at = |namespace: &str| format!("/api/v1/namespaces/{namespace}/pods");
        for namespace in ["kube-system", "default", &self.managed] {
            let body = pod("ssa-job-evil", namespace, &json!({"spark-submit-as/job": "aaaaaaaaaaaaaaaa"}));
            table.post(Stop::Both, &format!("pod in {namespace}"), &at(namespace), body);
        }
        let plain = format!("{}/plain", at(&self.managed));
        let of_a_job = format!("{}/of-a-job", at(&self.managed));
        table.delete(Stop::Both, "delete a foreign pod", &plain);
        table.delete(
            Stop::Both,
            "delete a pod of kube-system",
            &format!("{}/{}", at("kube-system"), self.in_system),
        );
        table.delete(Stop::Fence, "delete all pods of kube-system", &at("kube-system"));
        table.delete(Stop::Fence, "delete all pods of an unmanaged namespace", &at(&self.unmanaged));
        table.delete(Stop::Fence, "delete all pods, also those of no job", &at(&self.managed));
        let query = format!("{}?fieldSelector=metadata.name%3Dplain", at(&self.managed));
        table.delete(Stop::Fence, "delete a pod of no job by a field selector", &query);
        for sub in ["exec?command=id", "attach?stdin=true", "portforward?ports=80", "proxy/"] {
            let path = format!("{of_a_job}/{sub}");
            table.push(Stop::Both, &format!("pod {sub}"), "POST", &path, Value::Null);
        }
        let label = json!({"metadata": {"labels": {"spark-submit-as/job": "aaaaaaaaaaaaaaaa"}}});
        table.patch(Stop::Both, "label a foreign pod as a job's", &plain, label);
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "plain"}});
        table.post(Stop::Both, "evict a pod", &format!("{plain}/eviction"), eviction);
        let debug = json!({"spec": {"ephemeralContainers": [{"name": "e", "image": "localhost/none"}]}});
        table.patch(Stop::Both, "debug a pod", &format!("{of_a_job}/ephemeralcontainers"), debug);
    }

    fn reads(&self, table: &mut Table) {
        let managed = format!("/api/v1/namespaces/{}", self.managed);
        for path in [
            format!("{managed}/secrets"),
            format!("{managed}/secrets/ssa-job-victim"),
            format!("{managed}/pods"),
            format!("{managed}/pods?watch=true"),
            format!("{managed}/pods/of-a-job"),
            format!("{managed}/pods/of-a-job/log"),
            format!("{managed}/configmaps"),
            format!("{managed}/events"),
            format!("{managed}/serviceaccounts?watch=true"),
            format!("/apis/{RBAC}/v1/namespaces/{}/rolebindings", self.managed),
            format!("{managed}/resourcequotas"),
            format!("{managed}/limitranges?watch=true"),
            format!("{managed}/persistentvolumeclaims"),
            format!("/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies", self.managed),
            format!("/apis/{RBAC}/v1/namespaces/{}/roles", self.managed),
            format!("/apis/{RBAC}/v1/namespaces/{}/roles/spark-submit-as-driver", self.managed),
            "/api/v1/persistentvolumes".into(),
            "/api/v1/namespaces/kube-system/secrets".into(),
            "/api/v1/namespaces/kube-system/pods".into(),
            "/api/v1/namespaces/kube-system/configmaps".into(),
            "/api/v1/namespaces".into(),
            "/api/v1/secrets".into(),
            "/api/v1/pods".into(),
            "/api/v1/events".into(),
            "/api/v1/nodes".into(),
            format!("/apis/{RBAC}/v1/clusterroles"),
            "/logs/".into(),
            "/metrics".into(),
            "/debug/pprof/".into(),
        ] {
            table.push(Stop::Rights, &format!("read {path}"), "GET", &path, Value::Null);
        }
    }

    fn others_in_managed(&self, table: &mut Table) {
        let named = |version: &str, kind: &str, spec: Value| {
            let metadata = json!({"name": "ssa-job-evil"});
            json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec})
        };
        let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {
            "restartPolicy": "Never", "containers": [{"name": "c", "image": "localhost/none"}]}});
        let labels = json!({"matchLabels": {"a": "b"}});
        let running = with(template.clone(), "/spec/restartPolicy", json!("Always"));
        for (group, resource, body) in [
            ("api/v1", "configmaps", named("v1", "ConfigMap", Value::Null)),
            ("api/v1", "services", named("v1", "Service", json!({"ports": [{"port": 80}]}))),
            ("api/v1", "resourcequotas", named("v1", "ResourceQuota", json!({"hard": {"pods": "0"}}))),
            ("api/v1", "limitranges", named("v1", "LimitRange", json!({"limits": []}))),
            ("apis/batch/v1", "jobs", named("batch/v1", "Job", json!({"template": template}))),
            (
                "apis/apps/v1",
                "deployments",
                named("apps/v1", "Deployment", json!({"selector": labels, "template": running})),
            ),
            (
                "apis/networking.k8s.io/v1",
                "networkpolicies",
                named("networking.k8s.io/v1", "NetworkPolicy", json!({"podSelector": {}})),
            ),
            ("apis/coordination.k8s.io/v1", "leases", named("coordination.k8s.io/v1", "Lease", json!({}))),
            (
                "apis/rbac.authorization.k8s.io/v1",
                "roles",
                json!({"apiVersion": format!("{RBAC}/v1"), "kind": "Role", "metadata": {"name": "ssa-job-evil"},
                    "rules": []}),
            ),
        ] {
            let path = format!("/{group}/namespaces/{}/{resource}", self.managed);
            // Of these kinds it may make those of its own names.
            let own = ["resourcequotas", "limitranges", "networkpolicies", "roles"].contains(&resource);
            let stop = if own { Stop::Fence } else { Stop::Both };
            table.post(stop, &format!("create {resource}"), &path, body);
        }
    }
}

fn cluster_wide(table: &mut Table) {
    let rbac = format!("/apis/{RBAC}/v1");
    let rule = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
    let role = json!({"apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRole", "metadata": {"name": "ssa-job-evil"},
                      "rules": rule});
    table.post(Stop::Both, "create a ClusterRole", &format!("{rbac}/clusterroles"), role);
    for name in ["spark-submit-as-provisioner", "spark-submit-as-driver"] {
        let path = format!("{rbac}/clusterroles/{name}");
        table.patch(Stop::Both, &format!("widen {name}"), &path, json!({"rules": rule}));
    }
    let mut all = binding("ssa-job-evil", "cluster-admin", &subject("provisioner", "spark-submit-as"));
    all["kind"] = json!("ClusterRoleBinding");
    table.post(Stop::Both, "create a ClusterRoleBinding", &format!("{rbac}/clusterrolebindings"), all);
    let request = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {"name": "ssa-job-evil"},
        "spec": {"request": "eA==", "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]}});
    // Its request is no certificate request: without rights it is refused before anybody looks.
    table.post(
        Stop::Rights,
        "ask for a certificate",
        "/apis/certificates.k8s.io/v1/certificatesigningrequests",
        request,
    );
    let admission = "/apis/admissionregistration.k8s.io/v1";
    for resource in ["validatingadmissionpolicies", "validatingadmissionpolicybindings"] {
        let path = format!("{admission}/{resource}/spark-submit-as-fence");
        table.delete(Stop::Rights, &format!("delete the fence ({resource})"), &path);
        table.patch(Stop::Rights, &format!("change the fence ({resource})"), &path, json!({"spec": {}}));
    }
    for kind in ["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"] {
        let body = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": "ssa-evil"}});
        let path = format!("{admission}/{}s", kind.to_lowercase());
        table.post(Stop::Rights, &format!("create a {kind}"), &path, body);
    }
    let review =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": "x"}});
    table.post(Stop::Rights, "review a token", "/apis/authentication.k8s.io/v1/tokenreviews", review);
    let access = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": "alice", "resourceAttributes": {"verb": "get", "resource": "pods"}}});
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    table.post(Stop::Rights, "review another's access", path, access);
    let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "ssa-evil"},
        "value": 1});
    table.post(Stop::Both, "create a PriorityClass", "/apis/scheduling.k8s.io/v1/priorityclasses", class);
}

/// Rows. Every write is a dry run: authorization and admission decide on it as on a real one, and a hole harms nobody.
struct Table(Vec<Escape>);

impl Table {
    fn push(&mut self, stop: Stop, what: &str, method: &'static str, path: &str, body: Value) {
        self.0.push(Escape { what: what.to_owned(), method, path: path.to_owned(), body, stop });
    }

    fn write(&mut self, stop: Stop, what: &str, method: &'static str, path: &str, body: Value) {
        let separator = if path.contains('?') { '&' } else { '?' };
        self.push(stop, what, method, &format!("{path}{separator}dryRun=All"), body);
    }

    fn post(&mut self, stop: Stop, what: &str, path: &str, body: Value) {
        self.write(stop, what, "POST", path, body);
    }

    fn put(&mut self, stop: Stop, what: &str, path: &str, body: Value) {
        self.write(stop, what, "PUT", path, body);
    }

    fn patch(&mut self, stop: Stop, what: &str, path: &str, body: Value) {
        self.write(stop, what, "PATCH", path, body);
    }

    /// A server-side apply.
    fn apply(&mut self, stop: Stop, what: &str, path: &str, body: Value) {
        self.write(stop, what, "APPLY", &format!("{path}?fieldManager=thief&force=true"), body);
    }

    fn delete(&mut self, stop: Stop, what: &str, path: &str) {
        self.write(stop, what, "DELETE", path, Value::Null);
    }
}
