//! What a job's token and the provisioner's credential are worth in the hands of a thief, on a real API server; namespaces
//! that are somebody else's; many jobs at once. Needs the test bed (`make test`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "credentials/cluster.rs"]
mod cluster;
#[path = "credentials/escapes.rs"]
mod escapes;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use cluster::*;
use escapes::{Arena, Escape, Stop};
use serde_json::{Value, json};
use support::*;

/// Long enough for a test, and ended by the wrapper.
const SLEEP: &str = "exec sleep 600";

/// Verbs × resources: the verbs of `resource` that a job must not have in its own namespace.
const VERBS: [&str; 8] = ["create", "get", "list", "watch", "update", "patch", "delete", "deletecollection"];
const RESOURCES: [&str; 23] = [
    "secrets",
    "serviceaccounts",
    "serviceaccounts/token",
    "rolebindings.rbac.authorization.k8s.io",
    "roles.rbac.authorization.k8s.io",
    "configmaps",
    "services",
    "pods/exec",
    "pods/attach",
    "pods/log",
    "pods/portforward",
    "pods/eviction",
    "pods/ephemeralcontainers",
    "pods/status",
    "events",
    "persistentvolumeclaims",
    "deployments.apps",
    "statefulsets.apps",
    "jobs.batch",
    "networkpolicies.networking.k8s.io",
    "resourcequotas",
    "limitranges",
    "leases.coordination.k8s.io",
];
const CLUSTER_RESOURCES: [&str; 12] = [
    "nodes",
    "nodes/proxy",
    "namespaces",
    "persistentvolumes",
    "clusterroles.rbac.authorization.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io",
    "certificatesigningrequests.certificates.k8s.io",
    "validatingadmissionpolicies.admissionregistration.k8s.io",
    "validatingadmissionpolicybindings.admissionregistration.k8s.io",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "customresourcedefinitions.apiextensions.k8s.io",
    "storageclasses.storage.k8s.io",
];
const DRIVER_VERBS: [&str; 6] = ["create", "delete", "deletecollection", "get", "list", "watch"];

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_66_a_jobs_token_is_worth_pods_of_its_namespace_and_nothing_else() {
    let place = Place::new(SLEEP);
    let job = Job::started(&mut place.run("alice"));
    let thief = Thief::with(&job.token());
    let own = "dss-ns-alice";
    let mut asked = 0;
    let mut expect = |namespace: &str, verb: &str, resource: &str, allowed: bool| {
        asked += 1;
        assert_eq!(thief.may(namespace, verb, resource), allowed, "{verb} {resource} in {namespace:?}");
    };
    for verb in VERBS {
        expect(own, verb, "pods", DRIVER_VERBS.contains(&verb));
        for namespace in ["default", "kube-system", "team-a", "spark-submit-as", ""] {
            expect(namespace, verb, "pods", false);
        }
        for resource in RESOURCES {
            expect(own, verb, resource, false);
        }
        for namespace in ["default", "kube-system", "team-a"] {
            for resource in ["secrets", "serviceaccounts/token", "rolebindings.rbac.authorization.k8s.io"] {
                expect(namespace, verb, resource, false);
            }
        }
        for resource in CLUSTER_RESOURCES {
            expect("", verb, resource, false);
        }
    }
    for what in ["users", "groups", "serviceaccounts", "uids.authentication.k8s.io"] {
        expect(own, "impersonate", what, false);
    }
    expect(own, "bind", "clusterroles.rbac.authorization.k8s.io", false);
    expect(own, "escalate", "roles.rbac.authorization.k8s.io", false);

    // The whole list of its rules, so that nothing is missing in the table above.
    let mut rules = everybodys_rules();
    rules.extend(DRIVER_VERBS.map(|verb| format!("{verb} pods")));
    assert_eq!(thief.rules(own), rules);
    for namespace in ["default", "kube-system", "team-a"] {
        assert_eq!(thief.rules(namespace), everybodys_rules());
    }

    // Real requests, not what the API server says about them.
    let pods = |namespace: &str| format!("/api/v1/namespaces/{namespace}/pods");
    assert_eq!(thief.get(&pods(own)).status, 200);
    let name = job.account();
    let token = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let object = |version: &str, kind: &str| json!({"apiVersion": version, "kind": kind, "metadata": {"name": "ssa-test-evil"}, "rules": []});
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "ssa-test-evil"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "spark-submit-as-driver"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": own}],
    });
    let core = format!("/api/v1/namespaces/{own}");
    let rbac = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{own}");
    let refused = [
        ("GET", format!("{core}/secrets"), Value::Null),
        ("GET", format!("{core}/secrets/{name}"), Value::Null),
        ("POST", format!("{core}/secrets"), object("v1", "Secret")),
        ("POST", format!("{core}/serviceaccounts"), object("v1", "ServiceAccount")),
        ("POST", format!("{core}/serviceaccounts/{name}/token"), token.clone()),
        ("POST", format!("{core}/serviceaccounts/default/token"), token.clone()),
        ("POST", "/api/v1/namespaces/kube-system/serviceaccounts/default/token".into(), token),
        ("POST", format!("{rbac}/rolebindings"), binding),
        ("POST", format!("{rbac}/roles"), object("rbac.authorization.k8s.io/v1", "Role")),
        ("POST", format!("{core}/configmaps"), object("v1", "ConfigMap")),
        ("DELETE", format!("{rbac}/rolebindings/{name}"), Value::Null),
        ("DELETE", format!("{core}/serviceaccounts/{name}"), Value::Null),
        (
            "PATCH",
            core.clone(),
            json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}),
        ),
        ("GET", pods("default"), Value::Null),
        ("GET", pods("kube-system"), Value::Null),
        ("GET", pods("team-a"), Value::Null),
        ("GET", "/api/v1/pods".into(), Value::Null),
        ("GET", "/api/v1/nodes".into(), Value::Null),
        ("GET", "/api/v1/namespaces".into(), Value::Null),
        ("GET", format!("{core}/events"), Value::Null),
    ];
    for (method, path, body) in &refused {
        let answer = thief.ask(method, path, body);
        assert!(answer.no_rights(), "{method} {path}: {answer:?}");
    }
    let other = Thief::with(&job.token()).saying("Impersonate-User: system:admin");
    assert_eq!(other.get(&pods(own)).status, 403);
    println!("{asked} reviews, {} real requests", refused.len() + 2);
    assert_nothing_left(&job.stop().job());
}

#[test]
#[ignore = "needs the test bed: make test"]
fn acceptance_4_the_stolen_credential_of_the_provisioner_is_worth_nothing_outside_managed_namespaces() {
    let arena = Arena::new();
    let unfenced = Identity::unfenced("spark-submit-as-provisioner");
    let stolen = Thief::with(&stolen_token());
    // The tree's fence, whatever is installed: around an identity of the test's own.
    let fenced = Identity::fenced();
    let administrator = Thief::administrator_called(&fenced.namespace);
    let before = arena.state();
    let table = arena.escapes();
    let mut wrong = Vec::new();
    for row in &table {
        let mut see = |who: &str, thief: &Thief, right: fn(&cluster::Answer) -> bool| {
            let answer = thief.ask(row.method, &row.path, &row.body);
            if !right(&answer) {
                let Escape { what, method, path, stop, .. } = row;
                wrong.push(format!(
                    "{what} ({method} {path}, {stop:?}), {who}: {} {}",
                    answer.status,
                    answer.message()
                ));
            }
        };
        match row.stop {
            Stop::Fence => {
                see("stolen", &stolen, Answer::fenced);
                see("fenced", &fenced.thief(), Answer::fenced);
                see("fence alone", &administrator, Answer::fenced);
                // The same row without the fence is open, so that the suite would see a hole.
                see("without the fence", &unfenced.thief(), |answer| answer.success());
            }
            Stop::Both => {
                see("stolen", &stolen, Answer::no_rights);
                see("fence alone", &administrator, Answer::fenced);
            }
            Stop::Rights => see("stolen", &stolen, Answer::no_rights),
            Stop::Server => see("stolen", &stolen, |answer| (400..500).contains(&answer.status)),
        }
    }
    println!("{} ways out", table.len());
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), table.len(), wrong.join("\n"));
    assert!(table.len() >= 200);
    assert_eq!(arena.state(), before, "something was changed");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn acceptance_4_the_stolen_credential_impersonates_nobody() {
    for header in [
        "Impersonate-User: system:admin",
        "Impersonate-User: system:serviceaccount:kube-system:clusterrole-aggregation-controller",
        "Impersonate-User: spark-submit-as-provisioner",
    ] {
        let thief = Thief::with(&stolen_token()).saying(header);
        let answer = thief.get("/api/v1/namespaces/default");
        assert!(answer.no_rights() && answer.message().contains("impersonate"), "{header}: {answer:?}");
    }
    let group = Thief::with(&stolen_token())
        .saying("Impersonate-User: x")
        .saying("Impersonate-Group: system:masters");
    assert_eq!(group.get("/api/v1/secrets").status, 403);
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_65_the_provisioners_rules_are_the_manifests_and_normal_work_passes() {
    works_within_the_fence(&Thief::with(&stolen_token()));
    works_within_the_fence(&Identity::fenced().thief());
}

/// Of a server-side apply.
const APPLY: &str = "?fieldManager=spark-submit-as&force=true";

fn works_within_the_fence(provisioner: &Thief) {
    let mut rules = everybodys_rules();
    let listed = [
        "get namespaces",
        "create namespaces",
        "patch namespaces",
        "get resourcequotas",
        "create resourcequotas",
        "patch resourcequotas",
        "delete resourcequotas",
        "get limitranges",
        "create limitranges",
        "patch limitranges",
        "delete limitranges",
        "get networkpolicies.networking.k8s.io",
        "create networkpolicies.networking.k8s.io",
        "patch networkpolicies.networking.k8s.io",
        "delete networkpolicies.networking.k8s.io",
        "get persistentvolumeclaims",
        "create persistentvolumeclaims",
        "use persistentvolumeclaims",
        "create roles.rbac.authorization.k8s.io",
        "delete roles.rbac.authorization.k8s.io",
        "get serviceaccounts",
        "list serviceaccounts",
        "create serviceaccounts",
        "patch serviceaccounts",
        "delete serviceaccounts",
        "create serviceaccounts/token",
        "create secrets",
        "delete secrets",
        "deletecollection pods",
        "get rolebindings.rbac.authorization.k8s.io",
        "create rolebindings.rbac.authorization.k8s.io",
        "delete rolebindings.rbac.authorization.k8s.io",
        "bind clusterroles.rbac.authorization.k8s.io spark-submit-as-driver",
    ];
    rules.extend(listed.map(String::from));
    assert_eq!(
        provisioner.rules("kube-system"),
        rules,
        "no escalate, no cluster-admin, nothing read of pods and secrets"
    );

    // The whole work of a job by hand.
    let namespace = unique("ssa-test-work");
    let labels =
        json!({"spark-submit-as/managed": "true", "pod-security.kubernetes.io/enforce": "restricted"});
    let owner = json!({"spark-submit-as/owner": "{\"login\":\"nobody\"}"});
    let core = format!("/api/v1/namespaces/{namespace}");
    let bindings = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings");
    let metadata =
        json!({"name": "ssa-job-aaaaaaaaaaaaaaaa", "labels": {"spark-submit-as/job": "aaaaaaaaaaaaaaaa"}});
    let new = |kind: &str, metadata: &Value| json!({"apiVersion": "v1", "kind": kind, "metadata": metadata});
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "spark-submit-as-driver"},
        "subjects": [{"kind": "ServiceAccount", "name": "ssa-job-aaaaaaaaaaaaaaaa", "namespace": namespace}],
    });
    let token = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}});
    let expiry = |text: &str| json!({"metadata": {"annotations": {"spark-submit-as/expires-at": text}}});
    let account = format!("{core}/serviceaccounts/ssa-job-aaaaaaaaaaaaaaaa");
    let networks = format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies");
    let quota = |pods: &str| json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "ssa-quota"}, "spec": {"hard": {"pods": pods}}});
    let limits = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "ssa-limits"},
        "spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}}]}});
    let network = |name: &str, spec: Value| {
        let metadata = json!({"name": name});
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec})
    };
    let both = json!(["Ingress", "Egress"]);
    let isolated = network("ssa-isolated", json!({"podSelector": {}, "policyTypes": both}));
    let selector = json!({"matchLabels": {"spark-submit-as/job": "aaaaaaaaaaaaaaaa"}});
    let of_the_job =
        network("ssa-job-aaaaaaaaaaaaaaaa", json!({"podSelector": selector, "policyTypes": both}));
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "ssa-volume-alice", "annotations": {"spark-submit-as/owner": "{}"}},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "none"}});
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "ssa-job-aaaaaaaaaaaaaaaa-volume"},
        "rules": [{"apiGroups": [""], "resources": ["persistentvolumeclaims"], "resourceNames": ["ssa-volume-alice"],
            "verbs": ["use"]}]});
    let use_binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "ssa-job-aaaaaaaaaaaaaaaa-volume"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "ssa-job-aaaaaaaaaaaaaaaa-volume"},
        "subjects": [{"kind": "ServiceAccount", "name": "ssa-job-aaaaaaaaaaaaaaaa", "namespace": namespace}]});
    let _guard = ForgottenNamespace(namespace.clone());
    let own = json!({"name": namespace, "labels": labels, "annotations": owner});
    for (method, path, body) in [
        ("POST", "/api/v1/namespaces".to_owned(), new("Namespace", &own)),
        ("GET", core.clone(), Value::Null),
        ("POST", format!("{core}/serviceaccounts"), new("ServiceAccount", &json!({"name": "ssa-executor"}))),
        ("GET", format!("{core}/serviceaccounts/ssa-executor"), Value::Null),
        ("POST", format!("{core}/serviceaccounts"), new("ServiceAccount", &metadata)),
        ("POST", bindings.clone(), binding),
        // The only change that the fence allows: also of an account that had no annotation.
        ("PATCH", account.clone(), expiry("2030-01-01T00:00:00Z")),
        ("PATCH", account.clone(), expiry("2031-12-31T23:59:59Z")),
        ("PATCH", account, expiry("2031-12-31T23:59:59Z")),
        (
            "GET",
            "/api/v1/serviceaccounts?labelSelector=spark-submit-as%2Fjob&limit=1".to_owned(),
            Value::Null,
        ),
        ("POST", format!("{core}/secrets"), new("Secret", &metadata)),
        ("POST", format!("{core}/serviceaccounts/ssa-job-aaaaaaaaaaaaaaaa/token"), token),
        (
            "DELETE",
            format!("{core}/pods?labelSelector=spark-submit-as%2Fjob%3Daaaaaaaaaaaaaaaa"),
            Value::Null,
        ),
        // What policies ask for, and a user's volume.
        (
            "PATCH",
            core.clone(),
            json!({"metadata": {
                "labels": {"example.org/cost": "17", "pod-security.kubernetes.io/enforce": "baseline"},
                "annotations": {"spark-submit-as/applied": "quota", "spark-submit-as/images": "a"},
            }}),
        ),
        (
            "PATCH",
            core.clone(),
            json!({"metadata": {
                "labels": {"example.org/cost": null, "pod-security.kubernetes.io/enforce": "restricted"},
                "annotations": {"spark-submit-as/applied": "", "spark-submit-as/images": null},
            }}),
        ),
        (
            "PATCH",
            format!("{core}/serviceaccounts/ssa-executor"),
            json!({
                "metadata": {"annotations": {"cloud.example.org/role": "r", "spark-submit-as/applied": "x"}},
                "imagePullSecrets": [{"name": "registry"}],
            }),
        ),
        (
            "PATCH",
            format!("{core}/serviceaccounts/ssa-executor"),
            json!({
                "metadata": {"annotations": {"cloud.example.org/role": null, "spark-submit-as/applied": null}},
                "imagePullSecrets": null,
            }),
        ),
        ("APPLY", format!("{core}/resourcequotas/ssa-quota{APPLY}"), quota("4")),
        ("APPLY", format!("{core}/resourcequotas/ssa-quota{APPLY}"), quota("5")),
        ("GET", format!("{core}/resourcequotas/ssa-quota"), Value::Null),
        ("DELETE", format!("{core}/resourcequotas/ssa-quota"), Value::Null),
        ("APPLY", format!("{core}/limitranges/ssa-limits{APPLY}"), limits),
        ("DELETE", format!("{core}/limitranges/ssa-limits"), Value::Null),
        ("APPLY", format!("{networks}/ssa-isolated{APPLY}"), isolated),
        ("DELETE", format!("{networks}/ssa-isolated"), Value::Null),
        ("POST", networks.clone(), of_the_job),
        ("DELETE", format!("{networks}/ssa-job-aaaaaaaaaaaaaaaa"), Value::Null),
        ("POST", format!("{core}/persistentvolumeclaims"), claim),
        ("GET", format!("{core}/persistentvolumeclaims/ssa-volume-alice"), Value::Null),
        ("POST", bindings.replace("rolebindings", "roles"), role),
        ("POST", bindings.clone(), use_binding),
        ("DELETE", format!("{bindings}/ssa-job-aaaaaaaaaaaaaaaa-volume"), Value::Null),
        (
            "DELETE",
            format!("{}/ssa-job-aaaaaaaaaaaaaaaa-volume", bindings.replace("rolebindings", "roles")),
            Value::Null,
        ),
        ("DELETE", format!("{bindings}/ssa-job-aaaaaaaaaaaaaaaa"), Value::Null),
        ("DELETE", format!("{core}/secrets/ssa-job-aaaaaaaaaaaaaaaa"), Value::Null),
        ("DELETE", format!("{core}/serviceaccounts/ssa-job-aaaaaaaaaaaaaaaa"), Value::Null),
    ] {
        let answer = provisioner.ask(method, &path, &body);
        assert!(answer.success(), "{method} {path}: {answer:?}");
    }
}

/// A namespace that somebody else makes.
struct ForgottenNamespace(String);

impl Drop for ForgottenNamespace {
    fn drop(&mut self) {
        let _ = kubectl_try(&["delete", "namespace", &self.0, "--wait=false", "--ignore-not-found"]);
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_run_without_the_fence_is_refused_unless_that_is_accepted_and_check_says_so() {
    let identity = Identity::unfenced("spark-submit-as-provisioner");
    let place = Place::with_template("exit 0", "ssa-test-${login}").with_identity(&identity);
    let login = unique("f");
    let _guard = ForgottenNamespace(format!("ssa-test-{login}"));
    ended(&mut place.run(&login)).refused(219, "the fence is missing");
    assert!(
        !kubectl_try(&["get", "namespace", &format!("ssa-test-{login}")]).status.success(),
        "made before the probe"
    );

    let check = ended(&mut place.call(&["check", "--profile", "per-user"]));
    assert_eq!(check.code(), 225, "{check:?}");
    for line in ["fence, tokens:", "fence, namespaces:", "fence, pod security:"] {
        let failed = check.stdout.lines().any(|text| text.starts_with("FAIL") && text.contains(line));
        assert!(failed, "no failed {line:?} in {check:?}");
    }
    assert!(check.stdout.contains("could make itself cluster-admin"), "{check:?}");

    let place = place.accepting_missing_fence();
    let ended = ended(&mut place.run(&login));
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert!(ended.stderr.contains("the fence is missing"), "no warning in {ended:?}");
    assert_nothing_left(&ended.job());
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_namespace_is_made_within_the_trees_fence_and_only_with_pod_security() {
    let identity = Identity::fenced();
    let mut place = Place::with_template("exit 0", "ssa-test-${login}").with_identity(&identity);
    let login = unique("p");
    let namespace = format!("ssa-test-{login}");
    let _guard = ForgottenNamespace(namespace.clone());
    place.configuration["namespace_policies"]["small"]["pod_security"] = json!("privileged");
    ended(&mut place.run(&login)).refused(217, "only with pod security");
    assert!(!kubectl_try(&["get", "namespace", &namespace]).status.success());
    // Without any policy the level is restricted.
    place.configuration["profiles"]["per-user"]["namespace"]["policies"] = json!([]);
    let ended = ended(&mut place.run(&login));
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert_nothing_left(&ended.job());
}

#[test]
#[ignore = "needs the test bed: make test"]
fn check_passes_with_the_shipped_manifests() {
    let check = ended(&mut as_root(&["check", "--profile", "per-user", "--json"]));
    let lines: Vec<Value> = serde_json::from_str(&check.stdout).unwrap_or_else(|_| panic!("{check:?}"));
    let failed: Vec<&Value> = lines.iter().filter(|line| line["ok"] != true).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(check.code(), 0, "{check:?}");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_team_namespace_needs_no_right_outside_of_it() {
    let identity = Identity::without_rights();
    let team = unique("ssa-test-team");
    let _guard = ForgottenNamespace(team.clone());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/kubernetes/team-namespace.yaml");
    let manifest = fs::read_to_string(source).unwrap();
    let subject = "name: provisioner\n  namespace: spark-submit-as\n";
    assert!(manifest.contains(subject), "the manifest's subject is another one");
    let own = format!("name: provisioner\n  namespace: {}\n", identity.namespace);
    apply(&manifest.replace(subject, &own).replace("team-a", &team));

    let mut place = Place::new("exit 0").with_identity(&identity);
    let properties = place.directory.path().join("properties.yaml");
    fs::write(&properties, json!({"logins": {"alice": {"k8sNS": team}}}).to_string()).unwrap();
    place.configuration["users"]["properties"] = json!(properties.to_str().unwrap());
    let offset = audit_length();
    let ended = ended(&mut place.run_profile("alice", "per-team"));
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert!(!ended.stderr.contains("fence is missing"), "{ended:?}");
    assert_nothing_left(&ended.job());

    let requests = identity.requests_since(offset);
    let mut outside = Vec::new();
    for request in &requests {
        let object = &request["objectRef"];
        if object["namespace"] == team.as_str() {
            continue;
        }
        let resource = object["resource"].as_str().unwrap_or_default();
        // The probe of the fence is refused by RBAC here.
        let probe = object["namespace"] == "kube-system"
            && request["requestURI"].as_str().unwrap().ends_with("/serviceaccounts/default/token")
            && request["responseStatus"]["code"] == 403;
        if resource != "selfsubjectaccessreviews" && !probe {
            outside.push(format!("{} {}", request["verb"], request["requestURI"]));
        }
    }
    assert!(outside.is_empty(), "{outside:#?}");
    println!("{} requests, all but the fence's probe in the team's namespace", requests.len());
    let thief = identity.thief();
    assert_eq!(thief.rules("kube-system"), everybodys_rules());
    assert_eq!(thief.rules("dss-ns-alice"), everybodys_rules());
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_56_a_missing_right_is_named_and_what_was_made_is_taken_back() {
    let identity = Identity::without_rights();
    let role = identity.namespace.clone();
    let shipped = kubectl(&["get", "clusterrole", "spark-submit-as-provisioner", "-o", "json"]);
    let shipped: Value = serde_json::from_str(&shipped).unwrap();
    let with_rules = |rules: Value| {
        TestObject::applied(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": role},
            "rules": rules,
        }))
    };
    let _role = with_rules(shipped["rules"].clone());
    let _binding = TestObject::applied(&json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": role},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": "provisioner", "namespace": identity.namespace}],
    }));
    let thief = identity.thief();
    let place = Place::with_template("exit 0", "ssa-test-${login}")
        .with_identity(&identity)
        .accepting_missing_fence();
    let login = unique("r");
    let namespace = format!("ssa-test-{login}");
    let _guard = ForgottenNamespace(namespace.clone());
    let steps = [
        ("create", "namespaces"),
        ("get", "namespaces"),
        ("create", "serviceaccounts"),
        ("create", "rolebindings"),
        ("bind", "clusterroles"),
        ("create", "secrets"),
        ("create", "serviceaccounts/token"),
    ];
    for (verb, resource) in steps {
        let mut rules = shipped["rules"].clone();
        for rule in rules.as_array_mut().unwrap() {
            if rule["resources"] == json!([resource]) {
                rule["verbs"].as_array_mut().unwrap().retain(|word| word != verb);
                if rule["verbs"] == json!([]) {
                    rule["verbs"] = json!(["none"]);
                }
            }
        }
        std::mem::forget(with_rules(rules));
        let missing = match resource {
            "rolebindings" | "clusterroles" => format!("{resource}.rbac.authorization.k8s.io"),
            _ => resource.to_owned(),
        };
        if verb != "bind" {
            until("the role is changed", || !thief.may(&namespace, verb, &missing));
        }
        let ended = ended(&mut place.run(&login));
        // What cannot even be looked at is told as the namespace's matter.
        ended.refused(if (verb, resource) == ("get", "namespaces") { 218 } else { 217 }, verb);
        let named = if verb == "bind" { "bind on the drivers' role" } else { resource };
        assert!(ended.stderr.contains(named), "{named}: {ended:?}");
        assert!(ended.stderr.contains("403") || (verb, resource) == ("get", "namespaces"), "{ended:?}");
        let left = kubectl(&["get", "serviceaccounts,rolebindings,secrets", "-n", &namespace, "-o", "name"]);
        assert!(!left.contains("ssa-job-"), "without {verb} {resource}: {left}");
        std::mem::forget(with_rules(shipped["rules"].clone()));
        until("the role is whole", || verb == "bind" || thief.may(&namespace, verb, &missing));
    }
    let ended = ended(&mut place.run(&login));
    assert_eq!(ended.code(), 0, "{ended:?}");
}

/// Objects of the wrapper's in a namespace.
fn made_in(namespace: &str) -> Vec<String> {
    let all = kubectl(&["get", "serviceaccounts,rolebindings,secrets,pods", "-n", namespace, "-o", "name"]);
    all.lines().filter(|name| name.contains("/ssa-")).map(String::from).collect()
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_59_61_a_namespace_that_is_not_the_jobs_is_refused() {
    let place = Place::with_template("exit 0", "ssa-test-${login}");
    let managed = json!({"spark-submit-as/managed": "true"});
    for (what, labels, owner, message) in [
        ("no owner", managed.clone(), None, "has no owner"),
        ("no label", json!({}), Some("own"), "is not managed"),
        ("another label", json!({"spark-submit-as/managed": "no"}), Some("own"), "is not managed"),
        ("another's", managed.clone(), Some("bob"), "belongs to somebody else"),
        ("nobody's", managed.clone(), Some(""), "belongs to somebody else"),
    ] {
        let login = unique("n");
        let annotations = match owner {
            None => json!({}),
            Some("own") => owned_by(&login),
            Some(other) => owned_by(other),
        };
        let namespace = TestNamespace::named(&format!("ssa-test-{login}"), labels, annotations);
        ended(&mut place.run(&login)).refused(218, message);
        assert_eq!(made_in(&namespace.0), Vec::<String>::new(), "{what}");
    }
    // The refusal is the namespace's and not something else's: with the right owner it runs.
    let login = unique("n");
    let _namespace = TestNamespace::named(&format!("ssa-test-{login}"), managed.clone(), owned_by(&login));
    assert_eq!(ended(&mut place.run(&login)).code(), 0);

    // Terminating: a finalizer of nobody's keeps it.
    let login = unique("n");
    let namespace = TestNamespace::named(&format!("ssa-test-{login}"), managed, owned_by(&login));
    kubectl(&[
        "patch",
        "namespace",
        &namespace.0,
        "--type=merge",
        "-p",
        r#"{"metadata":{"finalizers":["example.org/test"]}}"#,
    ]);
    kubectl(&["delete", "namespace", &namespace.0, "--wait=false"]);
    let result = ended(&mut place.run(&login));
    let left = made_in(&namespace.0);
    kubectl(&[
        "patch",
        "namespace",
        &namespace.0,
        "--type=merge",
        "-p",
        r#"{"metadata":{"finalizers":null}}"#,
    ]);
    result.refused(218, "is being deleted");
    assert_eq!(left, Vec::<String>::new());
}

fn owned_by(login: &str) -> Value {
    json!({"spark-submit-as/owner": json!({"login": login}).to_string()})
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_59_a_namespace_that_is_missing_is_not_made_unless_the_profile_says_so() {
    let mut place = Place::with_template("exit 0", "ssa-test-${login}");
    place.configuration["profiles"]["per-user"]["namespace"]["create"] = json!(false);
    let login = unique("m");
    ended(&mut place.run(&login)).refused(218, "does not exist");
    assert!(!kubectl_try(&["get", "namespace", &format!("ssa-test-{login}")]).status.success());
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_55_an_executors_account_with_a_token_is_not_adopted() {
    let place = Place::with_template("exit 0", "ssa-test-${login}");
    let login = unique("e");
    let labels = json!({"spark-submit-as/managed": "true"});
    let namespace = TestNamespace::named(&format!("ssa-test-{login}"), labels, owned_by(&login));
    kubectl(&["create", "serviceaccount", "ssa-executor", "-n", &namespace.0]);
    ended(&mut place.run(&login)).refused(218, "would get a token");
    assert_eq!(made_in(&namespace.0), ["serviceaccount/ssa-executor"]);
}

fn namespace_of(place: &Place, login: &str) -> Ended {
    ended(&mut place.call(&[
        "run",
        "--dry-run",
        "--json",
        "--user",
        login,
        "--profile",
        "per-user",
        "--",
        "x.py",
    ]))
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_60_61_62_logins_never_share_a_namespace_or_get_the_clusters() {
    let mut place = Place::with_template("exit 0", "dss-ns-${dssUserLogin}");
    let long = "a".repeat(80);
    let longer = "a".repeat(81);
    let logins = ["a.b", "a-b", "a_b", "A-b", "a@b", "a+b", "a-b-", "A.B", &long, &longer];
    let mut seen = BTreeSet::new();
    for login in logins {
        let ended = namespace_of(&place, login);
        assert_eq!(ended.code(), 0, "{login}: {ended:?}");
        let decision: Value = serde_json::from_str(&ended.stdout).unwrap();
        let name = decision["namespace"].as_str().unwrap().to_owned();
        assert!(name.len() <= 63 && !name.bytes().any(|b| b.is_ascii_uppercase()), "{name}");
        let owner: Value = serde_json::from_str(decision["namespace_owner"].as_str().unwrap()).unwrap();
        assert_eq!(owner, json!({"login": login}));
        assert!(seen.insert(name.clone()), "{name} is a second login's");
    }
    place.configuration["profiles"]["per-user"]["namespace"]["template"] = json!("${login}");
    for login in ["default", "kube-system", "kube-public", "kube-x"] {
        namespace_of(&place, login).refused(208, "belongs to the cluster");
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_96_ten_jobs_of_one_user_do_not_touch_each_other() {
    let place = Place::new(SLEEP);
    let jobs: Vec<Job> = std::thread::scope(|scope| {
        let started: Vec<_> =
            (0..10).map(|_| scope.spawn(|| Job::started(&mut place.run("alice")))).collect();
        started.into_iter().map(|job| job.join().unwrap()).collect()
    });
    let accounts: BTreeSet<String> = jobs.iter().map(Job::account).collect();
    assert_eq!(accounts.len(), 10);
    let mut others: Vec<(String, String, Vec<String>)> = Vec::new();
    let mut jobs = jobs.into_iter();
    let first = jobs.next().unwrap();
    let rest: Vec<Job> = jobs.collect();
    for job in &rest {
        let objects = objects_of(&job.id);
        assert!(objects.len() >= 2, "account and binding: {objects:?}");
        others.push((job.id.clone(), job.token(), objects));
    }
    assert_nothing_left(&first.stop().job());
    for (id, token, objects) in &others {
        assert_eq!(&objects_of(id), objects);
        assert_eq!(Thief::with(token).get("/api/v1/namespaces/dss-ns-alice/pods").status, 200);
        assert_eq!(processes_with(&format!("SPARK_SUBMIT_AS_JOB={id}")).len(), 1);
    }
    std::thread::scope(|scope| {
        for job in rest {
            scope.spawn(|| assert_nothing_left(&job.stop().job()));
        }
    });
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_96_ten_first_jobs_at_once_make_one_namespace() {
    let place = Place::with_template("exit 7", "ssa-test-${login}");
    let login = unique("t");
    let namespace = format!("ssa-test-{login}");
    let _guard = ForgottenNamespace(namespace.clone());
    let ended: Vec<Ended> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..10).map(|_| scope.spawn(|| ended(&mut place.run(&login)))).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    for ended in &ended {
        assert_eq!(ended.code(), 7, "{ended:?}");
        assert_nothing_left(&ended.job());
    }
    let form = "jsonpath={range .items[*]}{.metadata.annotations.spark-submit-as/owner}{\"\\n\"}{end}";
    let owners = kubectl(&["get", "namespaces", "-o", form]);
    let own = json!({"login": login}).to_string();
    assert_eq!(owners.lines().filter(|owner| *owner == own).count(), 1);
    assert_eq!(made_in(&namespace), ["serviceaccount/ssa-executor"]);
}
