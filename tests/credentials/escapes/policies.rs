//! Ways out through what the provisioner may do for the sake of policies and volumes.

use serde_json::{Value, json};

use super::{Arena, JOB, OF_A_JOB, RBAC, Stop, Table, binding, subject, with};

const OWNER: &str = "spark-submit-as/owner";
const ROLE: &str = "ssa-job-aaaaaaaaaaaaaaaa-volume";

fn named(version: &str, kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn quota(name: &str) -> Value {
    named("v1", "ResourceQuota", name, json!({"hard": {"pods": "100"}}))
}

fn limits(name: &str) -> Value {
    named("v1", "LimitRange", name, json!({"limits": [{"type": "Container", "max": {"cpu": "8"}}]}))
}

fn network(name: &str, spec: Value) -> Value {
    named("networking.k8s.io/v1", "NetworkPolicy", name, spec)
}

fn closed() -> Value {
    json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})
}

fn of_the_job() -> Value {
    json!({"podSelector": {"matchLabels": {JOB: "aaaaaaaaaaaaaaaa"}}, "policyTypes": ["Ingress", "Egress"]})
}

fn claim(name: &str) -> Value {
    let spec = json!({
        "accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "ssa-test-none",
    });
    let claim = named("v1", "PersistentVolumeClaim", name, spec);
    with(claim, "/metadata/annotations", json!({OWNER: "{\"user\":\"alice\"}"}))
}

fn role(name: &str, rules: &Value) -> Value {
    json!({"apiVersion": format!("{RBAC}/v1"), "kind": "Role", "metadata": {"name": name}, "rules": rules})
}

fn executors() -> Value {
    json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "automountServiceAccountToken": false,
        "metadata": {"name": "ssa-executor", "annotations": {
            "kubernetes.io/enforce-mountable-secrets": "true", "cloud.example.org/role": "r",
        }},
    })
}

/// What is attacked, in each namespace.
pub fn objects(namespace: &str) -> Vec<Value> {
    let use_rule = json!([{"apiGroups": [""], "resources": ["persistentvolumeclaims"],
        "resourceNames": ["ssa-volume-alice"], "verbs": ["use"]}]);
    [
        quota("ssa-quota"),
        quota("other"),
        limits("ssa-limits"),
        limits("other"),
        network("ssa-isolated", closed()),
        network("other", closed()),
        network(OF_A_JOB, of_the_job()),
        claim("ssa-volume-alice"),
        role(ROLE, &use_rule),
        role("other", &json!([])),
        executors(),
    ]
    .map(|object| with(object, "/metadata/namespace", json!(namespace)))
    .into()
}

impl Arena {
    pub(super) fn of_policies(&self, table: &mut Table) {
        self.kept_namespaces(table);
        self.executors(table);
        self.quotas(table);
        self.networks(table);
        self.volumes(table);
    }

    fn kept_namespaces(&self, table: &mut Table) {
        let own = format!("/api/v1/namespaces/{}", self.managed);
        let label = |key: &str, value: Value| json!({"metadata": {"labels": {key: value}}});
        let annotation = |key: &str, value: Value| json!({"metadata": {"annotations": {key: value}}});
        for (what, change) in [
            ("unmanaged", label("spark-submit-as/managed", json!("false"))),
            ("not managed at all", label("spark-submit-as/managed", Value::Null)),
            ("without labels", json!({"metadata": {"labels": null}})),
            ("a label of its own prefix", label("spark-submit-as/x", json!("y"))),
            ("a label of the API server's", label("kubernetes.io/x", json!("y"))),
            ("privileged pods", label("pod-security.kubernetes.io/enforce", json!("privileged"))),
            ("a level that is none", label("pod-security.kubernetes.io/enforce", json!(""))),
            (
                "an old version of its level",
                label("pod-security.kubernetes.io/enforce-version", json!("v1.0")),
            ),
            ("a quieter audit", label("pod-security.kubernetes.io/audit", json!("privileged"))),
            ("no owner", annotation(OWNER, Value::Null)),
            ("another owner", annotation(OWNER, json!("{\"login\":\"bob\"}"))),
            ("no annotations", json!({"metadata": {"annotations": null}})),
            ("another annotation", annotation("example.org/x", json!("y"))),
            ("another annotation of its own prefix", annotation("spark-submit-as/x", json!("y"))),
            (
                "a node for all its pods",
                annotation("scheduler.alpha.kubernetes.io/node-selector", json!("x=y")),
            ),
            (
                "default tolerations",
                annotation("scheduler.alpha.kubernetes.io/defaultTolerations", json!("[]")),
            ),
            ("a finalizer", json!({"metadata": {"finalizers": ["example.org/evil"]}})),
            (
                "an owner reference",
                json!({"metadata": {"ownerReferences": [
                    {"apiVersion": "v1", "kind": "Namespace", "name": "default", "uid": "00000000-0000"},
                ]}}),
            ),
        ] {
            // A level that is none is refused by Pod Security itself where nobody fences.
            let stop = if what == "a level that is none" { Stop::Server } else { Stop::Fence };
            table.patch(stop, &format!("give a namespace {what}"), &own, change.clone());
            // A change that is allowed beside it does not carry it through.
            let mut both = change;
            if both["metadata"]["annotations"].is_object() || both["metadata"].get("annotations").is_none() {
                both["metadata"]["annotations"]["spark-submit-as/images"] = json!("a");
                table.patch(stop, &format!("give a namespace images and {what}"), &own, both);
            }
        }
        let images = json!({"metadata": {"annotations": {"spark-submit-as/images": "*"}}});
        for name in ["kube-system", "default", "spark-submit-as", &self.unmanaged] {
            let path = format!("/api/v1/namespaces/{name}");
            table.patch(Stop::Fence, &format!("give {name} images"), &path, images.clone());
            let level = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}});
            table.patch(Stop::Fence, &format!("give {name} a level"), &path, level);
        }
        table.patch(Stop::Both, "images through /status", &format!("{own}/status"), images);
        let evil = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": "ssa-test-evil", "labels": {"spark-submit-as/managed": "true"}}});
        table.apply(
            Stop::Fence,
            "apply a namespace without an owner",
            "/api/v1/namespaces/ssa-test-evil",
            evil,
        );
    }

    fn executors(&self, table: &mut Table) {
        let at = |namespace: &str| format!("/api/v1/namespaces/{namespace}/serviceaccounts/ssa-executor");
        let own = at(&self.managed);
        for (what, change) in [
            ("a mounted token", json!({"automountServiceAccountToken": true})),
            ("no word on its token", json!({"automountServiceAccountToken": null})),
            ("secrets", json!({"secrets": [{"name": "other"}]})),
            ("a label", json!({"metadata": {"labels": {"x": "y"}}})),
            ("a job's label", json!({"metadata": {"labels": {JOB: "aaaaaaaaaaaaaaaa"}}})),
            (
                "an expiry",
                json!({"metadata": {"annotations": {"spark-submit-as/expires-at": "2031-01-01T00:00:00Z"}}}),
            ),
            ("an owner", json!({"metadata": {"annotations": {OWNER: "{}"}}})),
            (
                "every Secret to mount",
                json!({"metadata": {"annotations": {"kubernetes.io/enforce-mountable-secrets": null}}}),
            ),
            ("a finalizer", json!({"metadata": {"finalizers": ["example.org/evil"]}})),
        ] {
            table.patch(Stop::Fence, &format!("give the executors' account {what}"), &own, change.clone());
            let mut both = change;
            both["imagePullSecrets"] = json!([{"name": "registry"}]);
            table.patch(
                Stop::Fence,
                &format!("give the executors' account pull secrets and {what}"),
                &own,
                both,
            );
        }
        let role = json!({"metadata": {"annotations": {"cloud.example.org/role": "admin"}}});
        table.patch(Stop::Fence, "a cloud role outside", &at(&self.unmanaged), role.clone());
        for name in ["default", "other", "ssa-job-victim", OF_A_JOB] {
            let path = own.replace("ssa-executor", name);
            table.patch(Stop::Fence, &format!("give {name} a cloud role"), &path, role.clone());
        }
        table.delete(Stop::Fence, "delete the executors' account", &own);
        let token = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
        table.post(Stop::Fence, "token of the executors' account", &format!("{own}/token"), token);
    }

    fn quotas(&self, table: &mut Table) {
        for (resource, own, object) in [
            ("resourcequotas", "ssa-quota", quota as fn(&str) -> Value),
            ("limitranges", "ssa-limits", limits),
        ] {
            let at = |namespace: &str| format!("/api/v1/namespaces/{namespace}/{resource}");
            let path = at(&self.managed);
            for name in ["evil", "ssa-job-evil", &*format!("{own}-2"), "ssa-isolated"] {
                table.post(Stop::Fence, &format!("{resource} {name}"), &path, object(name));
            }
            table.apply(
                Stop::Fence,
                &format!("apply a foreign one of {resource}"),
                &format!("{path}/evil"),
                object("evil"),
            );
            table.apply(
                Stop::Fence,
                &format!("change a foreign one of {resource}"),
                &format!("{path}/other"),
                object("other"),
            );
            table.delete(
                Stop::Fence,
                &format!("delete a foreign one of {resource}"),
                &format!("{path}/other"),
            );
            table.delete(Stop::Both, &format!("delete all {resource}"), &path);
            for namespace in ["kube-system", "default", "spark-submit-as"] {
                table.post(Stop::Fence, &format!("{resource} in {namespace}"), &at(namespace), object(own));
            }
            let outside = format!("{}/{own}", at(&self.unmanaged));
            table.apply(
                Stop::Fence,
                &format!("change {resource} of an unmanaged namespace"),
                &outside,
                object(own),
            );
            table.delete(Stop::Fence, &format!("delete {resource} of an unmanaged namespace"), &outside);
            table.put(Stop::Rights, &format!("replace {resource}"), &format!("{path}/{own}"), object(own));
        }
        let status = format!("/api/v1/namespaces/{}/resourcequotas/ssa-quota/status", self.managed);
        let used = json!({"status": {"used": {"pods": "0"}}});
        table.patch(Stop::Both, "reset what a quota has counted", &status, used);
    }

    fn networks(&self, table: &mut Table) {
        let at =
            |namespace: &str| format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies");
        let path = at(&self.managed);
        let every = json!([{}]);
        for name in [
            "evil",
            "ssa-isolated-2",
            "ssa-job-evil",
            "ssa-job-AAAAAAAAAAAAAAAA",
            "ssa-job-aaaaaaaaaaaaaaaaa",
        ] {
            // A legal name must be in lower case, whoever asks.
            let stop = if name.contains('A') { Stop::Server } else { Stop::Fence };
            table.post(stop, &format!("network policy {name}"), &path, network(name, closed()));
        }
        let isolated = format!("{path}/ssa-isolated");
        for (what, spec) in [
            ("every ingress", with(closed(), "/ingress", every.clone())),
            ("every egress", with(closed(), "/egress", every.clone())),
            ("one way only", json!({"podSelector": {}, "policyTypes": ["Ingress"]})),
            ("other pods", with(of_the_job(), "/policyTypes", json!(["Ingress", "Egress"]))),
        ] {
            table.apply(
                Stop::Fence,
                &format!("isolation with {what}"),
                &isolated,
                network("ssa-isolated", spec),
            );
        }
        let job = "ssa-job-bbbbbbbbbbbbbbbb";
        for (what, spec) in [
            ("all pods", with(closed(), "/egress", every.clone())),
            ("another job's pods", with(of_the_job(), "/egress", every.clone())),
            (
                "pods by an expression",
                json!({"podSelector": {"matchExpressions": [{"key": JOB, "operator": "Exists"}]}, "egress": every}),
            ),
            (
                "its pods and an expression",
                json!({"podSelector": {"matchLabels": {JOB: "bbbbbbbbbbbbbbbb"},
                    "matchExpressions": [{"key": JOB, "operator": "Exists"}]}, "egress": every}),
            ),
            (
                "its pods by two labels",
                json!({"podSelector": {"matchLabels": {JOB: "bbbbbbbbbbbbbbbb", "a": "b"}}}),
            ),
        ] {
            table.post(
                Stop::Fence,
                &format!("a job's network policy about {what}"),
                &path,
                network(job, spec),
            );
        }
        let own = format!("{path}/{OF_A_JOB}");
        let wider = with(of_the_job(), "/egress", every);
        table.apply(Stop::Fence, "widen a job's network policy", &own, network(OF_A_JOB, wider));
        table.apply(
            Stop::Fence,
            "change a foreign network policy",
            &format!("{path}/other"),
            network("other", closed()),
        );
        table.delete(Stop::Fence, "delete a foreign network policy", &format!("{path}/other"));
        table.delete(Stop::Both, "delete all network policies", &path);
        for namespace in ["kube-system", "default", "spark-submit-as"] {
            let body = network("ssa-isolated", closed());
            table.post(Stop::Fence, &format!("network policy in {namespace}"), &at(namespace), body);
        }
        let outside = format!("{}/ssa-isolated", at(&self.unmanaged));
        table.delete(Stop::Fence, "delete the isolation of an unmanaged namespace", &outside);
    }

    fn volumes(&self, table: &mut Table) {
        let at = |namespace: &str| format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims");
        let path = at(&self.managed);
        let fresh = || claim("ssa-volume-evil");
        let source = json!({"kind": "PersistentVolumeClaim", "name": "ssa-volume-alice"});
        for (what, body) in [
            ("that is no user's", claim("evil")),
            ("without an owner", with(fresh(), "/metadata/annotations", json!({}))),
            ("for a certain volume", with(fresh(), "/spec/volumeName", json!("somebodys"))),
            ("for a labelled volume", with(fresh(), "/spec/selector", json!({"matchLabels": {"a": "b"}}))),
            ("that copies another", with(fresh(), "/spec/dataSource", source.clone())),
            ("that copies another by reference", with(fresh(), "/spec/dataSourceRef", source)),
        ] {
            table.post(Stop::Fence, &format!("claim {what}"), &path, body);
        }
        let own = format!("{path}/ssa-volume-alice");
        table.delete(Stop::Both, "delete a claim", &own);
        table.patch(
            Stop::Both,
            "change a claim's owner",
            &own,
            json!({"metadata": {"annotations": {OWNER: "{}"}}}),
        );
        table.delete(Stop::Both, "delete all claims", &path);
        for namespace in ["kube-system", "default", "spark-submit-as", &self.unmanaged] {
            table.post(Stop::Fence, &format!("claim in {namespace}"), &at(namespace), fresh());
        }

        let at =
            |resource: &str, namespace: &str| format!("/apis/{RBAC}/v1/namespaces/{namespace}/{resource}");
        let roles = at("roles", &self.managed);
        let rule = json!({"apiGroups": [""], "resources": ["persistentvolumeclaims"],
            "resourceNames": ["ssa-volume-alice"], "verbs": ["use"]});
        let new = "ssa-job-bbbbbbbbbbbbbbbb-volume";
        // With every right that the provisioner has itself, RBAC lets it make these.
        for (what, rules) in [
            ("nothing", json!([])),
            (
                "two claims",
                json!([with(rule.clone(), "/resourceNames", json!(["ssa-volume-alice", "ssa-volume-bob"]))]),
            ),
            ("two rules", json!([rule, rule])),
            ("all claims", json!([with(rule.clone(), "/resourceNames", json!([]))])),
            ("another's claim", json!([with(rule.clone(), "/resourceNames", json!(["database"]))])),
            ("more verbs", json!([with(rule.clone(), "/verbs", json!(["use", "get"]))])),
            (
                "to create tokens",
                json!([{"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]}]),
            ),
            (
                "to change accounts",
                json!([{"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["patch"]}]),
            ),
            (
                "to create secrets",
                json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}]),
            ),
            (
                "to create bindings",
                json!([{"apiGroups": [RBAC], "resources": ["rolebindings"], "verbs": ["create"]}]),
            ),
            (
                "to change network policies",
                json!([{"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": ["patch"]}]),
            ),
        ] {
            table.post(Stop::Fence, &format!("role for {what}"), &roles, role(new, &rules));
        }
        for (what, rules) in [
            ("everything", json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}])),
            ("pods", json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]}])),
            ("claims altogether", json!([with(rule.clone(), "/verbs", json!(["*"]))])),
        ] {
            table.post(Stop::Both, &format!("role for {what}"), &roles, role(new, &rules));
        }
        let right = json!([rule]);
        for name in ["evil", "ssa-job-evil-volume", OF_A_JOB, "ssa-job-bbbbbbbbbbbbbbbb-volume-2"] {
            table.post(Stop::Fence, &format!("role {name}"), &roles, role(name, &right));
        }
        for namespace in ["kube-system", "default", &self.unmanaged] {
            table.post(
                Stop::Fence,
                &format!("role in {namespace}"),
                &at("roles", namespace),
                role(new, &right),
            );
        }
        table.delete(Stop::Fence, "delete a foreign role", &format!("{roles}/other"));
        table.delete(
            Stop::Fence,
            "delete the role with the drivers' name",
            &format!("{roles}/spark-submit-as-driver"),
        );
        table.patch(Stop::Both, "change a role", &format!("{roles}/{ROLE}"), json!({"rules": right}));
        table.delete(Stop::Both, "delete all roles", &roles);

        let bindings = at("rolebindings", &self.managed);
        let bound = |name: &str, to: &str, subjects: &Value| {
            let reference = json!({"apiGroup": RBAC, "kind": "Role", "name": to});
            with(binding(name, "x", subjects), "/roleRef", reference)
        };
        let own = subject(OF_A_JOB, &self.managed);
        for (what, body) in [
            ("to another account", bound(ROLE, ROLE, &subject("ssa-job-victim", &self.managed))),
            ("to the executors", bound(ROLE, ROLE, &subject("ssa-executor", &self.managed))),
            ("to an account elsewhere", bound(ROLE, ROLE, &subject(OF_A_JOB, &self.unmanaged))),
            ("to nobody", bound(ROLE, ROLE, &json!([]))),
            ("to a user", bound(ROLE, ROLE, &json!([{"apiGroup": RBAC, "kind": "User", "name": "mallory"}]))),
            ("under another name", bound("ssa-job-bbbbbbbbbbbbbbbb-volume", ROLE, &own)),
            ("as another role", bound(ROLE, "other", &own)),
        ] {
            table.post(Stop::Fence, &format!("bind the use of a volume {what}"), &bindings, body);
        }
    }
}
