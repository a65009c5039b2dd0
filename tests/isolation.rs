//! The isolation policy on a real API server: what a job's account may write in a namespace that others share, and what a
//! run does when the policy is not there. Needs the test bed (`make test`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[allow(dead_code)]
#[path = "credentials/cluster.rs"]
mod cluster;
#[path = "isolation/rows.rs"]
mod rows;
#[path = "isolation/scene.rs"]
mod scene;
mod support;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cluster::*;
use scene::*;
use serde_json::{Value, json};
use support::*;

/// Held by the tests that change the binding, and by those that need it as it ships.
fn binding_lock() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_67_75_a_pod_is_allowed_or_refused_field_by_field() {
    let scene = Scene::new();
    // Nothing but the policy stands between a row and the cluster: an administrator may create each of these pods.
    let administrator = Thief::administrator_called("ssa-test-administrator");
    let rows = rows::table(&scene);
    let mut wrong = Vec::new();
    for row in &rows {
        let shared = if row.bare { &scene.bare } else { &scene.listed };
        let path = format!("{}?dryRun=All", shared.pods());
        let answer = shared.thief.ask("POST", &path, &row.pod);
        let right = match row.refused {
            None => answer.success(),
            Some(words) => isolated(&answer) && answer.message().contains(words),
        };
        if !right {
            wrong.push(format!("{}, {:?}: {} {}", row.what, row.refused, answer.status, answer.message()));
        }
        let open = administrator.ask("POST", &path, &row.pod);
        if !open.success() {
            wrong.push(format!("{}, without the policy: {} {}", row.what, open.status, open.message()));
        }
    }
    let refused = rows.iter().filter(|row| row.refused.is_some()).count();
    println!("{} pods allowed, {refused} refused", rows.len() - refused);
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    assert!(refused >= 80 && rows.len() - refused >= 40);
}

/// A pod that no node ever gets, made by the administrator.
fn standing(shared: &Shared, name: &str, job: Option<&str>) {
    let mut pod = executor();
    pod["metadata"] = json!({"name": name, "namespace": shared.name, "labels": {"spark-role": "executor"}});
    if let Some(job) = job {
        pod["metadata"]["labels"]["spark-submit-as/job"] = json!(job);
    }
    pod["spec"]["schedulingGates"] = json!([{"name": "example.com/never"}]);
    apply(&pod.to_string());
}

fn names_in(shared: &Shared) -> Vec<String> {
    let text = kubectl(&["get", "pods", "-n", &shared.name, "-o", "name"]);
    text.lines().map(String::from).collect()
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_68_a_job_changes_and_deletes_only_its_own_pods() {
    let scene = Scene::new();
    let shared = &scene.listed;
    let (own, bobs, plain) = ("own", "bobs", "plain");
    standing(shared, own, Some(JOB));
    standing(shared, bobs, Some(OTHER));
    standing(shared, plain, None);
    let before = names_in(shared);
    let pod = |name: &str| format!("{}/{name}?dryRun=All", shared.pods());
    let label = |key: &str, value: Value| json!({"metadata": {"labels": {key: value}}});
    let job = "spark-submit-as/job";
    let not_own = "only pods with its own label";
    let reference =
        json!([{"apiVersion": "v1", "kind": "ServiceAccount", "name": format!("ssa-job-{JOB}"), "uid": "u"}]);
    let spec = |spec: Value| json!({"spec": spec});
    let container = json!([{"name": "executor", "image": "registry.test/team/other"}]);
    let toleration = json!([{"key": "example.com/spark", "operator": "Exists"}]);
    let changes = "changes nothing of a pod";
    let table: Vec<(&str, &str, Value, Option<&str>)> = vec![
        ("PATCH", own, label("spark-exec-inactive", json!("true")), None),
        ("PATCH", own, label("team", json!("x")), None),
        ("PATCH", own, label(job, json!(JOB)), None),
        ("PATCH", own, json!({"metadata": {"annotations": {"prometheus.io/scrape": "true"}}}), None),
        ("PATCH", own, label(job, json!(OTHER)), Some("carry its own id")),
        ("PATCH", own, label(job, Value::Null), Some("carry its own id")),
        ("PATCH", own, label("app", json!("x")), Some("only Spark's labels")),
        ("PATCH", own, label("spark-role", json!("driver")), Some("own application")),
        ("PATCH", own, label("spark-app-selector", json!(OTHER)), Some("own application")),
        ("PATCH", own, json!({"metadata": {"annotations": {"x": "y"}}}), Some("only annotations of")),
        ("PATCH", own, json!({"metadata": {"finalizers": ["example.com/stay"]}}), Some("no finalizer")),
        ("PATCH", own, json!({"metadata": {"ownerReferences": reference}}), Some(changes)),
        // The gate holds it from the nodes; without it the pod would run.
        ("PATCH", own, spec(json!({"schedulingGates": null})), Some(changes)),
        ("PATCH", own, spec(json!({"activeDeadlineSeconds": 5})), Some(changes)),
        ("PATCH", own, spec(json!({"tolerations": toleration})), Some(changes)),
        ("MERGE", own, spec(json!({"containers": container})), Some(changes)),
        ("PATCH", bobs, label("spark-exec-inactive", json!("true")), Some(not_own)),
        ("PATCH", bobs, label(job, json!(JOB)), Some(not_own)),
        ("PATCH", bobs, label(job, Value::Null), Some(not_own)),
        ("PATCH", plain, label(job, json!(JOB)), Some(not_own)),
        ("PATCH", plain, label("team", json!("x")), Some(not_own)),
        ("DELETE", own, Value::Null, None),
        ("DELETE", bobs, Value::Null, Some(not_own)),
        ("DELETE", plain, Value::Null, Some(not_own)),
    ];
    let administrator = Thief::administrator_called("ssa-test-administrator");
    let mut wrong = Vec::new();
    for (method, name, body, refused) in &table {
        // MERGE, a strategic merge patch, knows containers by name.
        let ask = |thief: &Thief| thief.ask(method, &pod(name), body);
        let answer = ask(&shared.thief);
        let right = match refused {
            None => answer.success(),
            Some(words) => isolated(&answer) && answer.message().contains(words),
        };
        if !right {
            wrong.push(format!(
                "{method} {name} {body}, {refused:?}: {} {}",
                answer.status,
                answer.message()
            ));
        }
        let open = ask(&administrator);
        if !open.success() {
            wrong.push(format!(
                "{method} {name} {body}, without the policy: {} {}",
                open.status,
                open.message()
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), table.len(), wrong.join("\n"));
    assert_eq!(names_in(shared), before, "a dry run has deleted something");

    // deletecollection comes object by object, and these are for real.
    let selected = |job: &str| format!("{}?labelSelector=spark-submit-as%2Fjob%3D{job}", shared.pods());
    for path in [selected(OTHER), format!("{}?labelSelector=%21spark-submit-as%2Fjob", shared.pods())] {
        let answer = shared.thief.ask("DELETE", &path, &Value::Null);
        assert!(isolated(&answer) && answer.message().contains(not_own), "{path}: {answer:?}");
    }
    assert_eq!(names_in(shared), before);
    let answer = shared.thief.ask("DELETE", &shared.pods(), &Value::Null);
    assert!(isolated(&answer) && answer.message().contains(not_own), "{answer:?}");
    let left = names_in(shared);
    assert!(left.contains(&format!("pod/{bobs}")) && left.contains(&format!("pod/{plain}")), "{left:?}");
    let answer = shared.thief.ask("DELETE", &selected(JOB), &json!({"gracePeriodSeconds": 0}));
    assert!(answer.success(), "{answer:?}");
    until("its own pod is gone", || names_in(shared) == [format!("pod/{bobs}"), format!("pod/{plain}")]);
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_67_68_a_jobs_account_writes_no_other_resource_and_no_subresource() {
    let scene = Scene::new();
    let (shared, elsewhere) = (&scene.listed, &scene.bare);
    standing(shared, "own", Some(JOB));
    let core = format!("/api/v1/namespaces/{}", shared.name);
    let group = |group: &str, resource: &str| format!("/apis/{group}/namespaces/{}/{resource}", shared.name);
    let object =
        |version: &str, kind: &str| json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}});
    let with = |mut object: Value, key: &str, value: Value| {
        object[key] = value;
        object
    };
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {
        "containers": [{"name": "c", "image": "x"}], "restartPolicy": "Never"}});
    let job = with(object("batch/v1", "Job"), "spec", json!({"template": template}));
    let mut running = template.clone();
    running["spec"]["restartPolicy"] = json!("Always");
    let deployment = json!({"selector": {"matchLabels": {"a": "b"}}, "template": running});
    let deployment = with(object("apps/v1", "Deployment"), "spec", deployment);
    let claim = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}});
    let claim = with(object("v1", "PersistentVolumeClaim"), "spec", claim);
    let service = with(object("v1", "Service"), "spec", json!({"ports": [{"port": 80}]}));
    let network = with(object("networking.k8s.io/v1", "NetworkPolicy"), "spec", json!({"podSelector": {}}));
    let rbac = "rbac.authorization.k8s.io";
    let role = json!({"apiGroup": rbac, "kind": "ClusterRole", "name": "cluster-admin"});
    let binding = |kind: &str| with(object(&format!("{rbac}/v1"), kind), "roleRef", role.clone());
    let token = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let bound = json!({"target": {"apiVersion": "v1", "kind": "Node", "name": "bench"}});
    let bound = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "own"}, "target": bound["target"]});
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "own"}});
    let debug = json!({"spec": {"ephemeralContainers": [{"name": "d", "image": "x"}]}});
    let size =
        json!({"spec": {"containers": [{"name": "executor", "resources": {"requests": {"cpu": "50m"}}}]}});
    let status = json!({"status": {"message": "x"}});
    let pod = format!("{core}/pods/own");
    let account = format!("{core}/serviceaccounts");
    let dry = "?dryRun=All";
    let reviews = "/apis/authorization.k8s.io/v1";
    let review = |kind: &str, spec: Value| with(object("authorization.k8s.io/v1", kind), "spec", spec);
    let access = json!({"nonResourceAttributes": {"verb": "get", "path": "/"}});
    let other = "pods and nothing else";
    let place = "only in its own namespace";
    let table: Vec<(&str, String, Value, &str)> = vec![
        ("POST", format!("{core}/configmaps{dry}"), object("v1", "ConfigMap"), other),
        ("POST", format!("{core}/secrets{dry}"), object("v1", "Secret"), other),
        ("DELETE", format!("{core}/configmaps/kube-root-ca.crt{dry}"), Value::Null, other),
        ("PATCH", format!("{core}/configmaps/kube-root-ca.crt{dry}"), json!({"data": {"a": "b"}}), other),
        ("POST", format!("{account}{dry}"), object("v1", "ServiceAccount"), other),
        (
            "PATCH",
            format!("{account}/ssa-executor{dry}"),
            json!({"automountServiceAccountToken": true}),
            other,
        ),
        ("DELETE", format!("{account}/ssa-job-{OTHER}{dry}"), Value::Null, other),
        ("DELETE", format!("{account}{dry}"), Value::Null, other),
        ("POST", format!("{account}/ssa-job-{JOB}/token{dry}"), token.clone(), other),
        ("POST", format!("{account}/ssa-job-{OTHER}/token{dry}"), token.clone(), other),
        ("POST", format!("{account}/default/token{dry}"), token, other),
        (
            "POST",
            format!("{}{dry}", group("rbac.authorization.k8s.io/v1", "rolebindings")),
            binding("RoleBinding"),
            other,
        ),
        ("POST", format!("/apis/{rbac}/v1/clusterrolebindings{dry}"), binding("ClusterRoleBinding"), other),
        ("POST", format!("{}{dry}", group("apps/v1", "deployments")), deployment, other),
        ("POST", format!("{}{dry}", group("batch/v1", "jobs")), job, other),
        ("POST", format!("{core}/persistentvolumeclaims{dry}"), claim, other),
        ("POST", format!("{core}/services{dry}"), service, other),
        ("POST", format!("{}{dry}", group("networking.k8s.io/v1", "networkpolicies")), network, other),
        (
            "PATCH",
            format!("{core}{dry}"),
            json!({"metadata": {"annotations": {"spark-submit-as/images": "*"}}}),
            other,
        ),
        ("POST", format!("/api/v1/namespaces{dry}"), object("v1", "Namespace"), other),
        ("POST", format!("{pod}/exec?command=id&stdout=true"), Value::Null, other),
        ("POST", format!("{pod}/attach?stdout=true"), Value::Null, other),
        ("POST", format!("{pod}/portforward"), Value::Null, other),
        ("GET", format!("{pod}/proxy/"), Value::Null, other),
        ("POST", format!("{pod}/eviction{dry}"), eviction, other),
        ("POST", format!("{pod}/binding{dry}"), bound.clone(), other),
        ("POST", format!("{core}/bindings{dry}"), bound, other),
        ("MERGE", format!("{pod}/ephemeralcontainers{dry}"), debug, other),
        ("MERGE", format!("{pod}/resize{dry}"), size, other),
        ("PATCH", format!("{pod}/status{dry}"), status, other),
        ("POST", format!("{}{dry}", elsewhere.pods()), executor(), place),
        ("POST", format!("/api/v1/namespaces/default/pods{dry}"), executor(), ""),
        ("DELETE", format!("{}{dry}", elsewhere.pods()), Value::Null, place),
        (
            "POST",
            format!("{reviews}/selfsubjectaccessreviews"),
            review("SelfSubjectAccessReview", access),
            "allowed",
        ),
        (
            "POST",
            format!("{reviews}/selfsubjectrulesreviews"),
            review("SelfSubjectRulesReview", json!({"namespace": shared.name})),
            "allowed",
        ),
        (
            "POST",
            "/apis/authentication.k8s.io/v1/selfsubjectreviews".into(),
            json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}),
            "allowed",
        ),
    ];
    standing(elsewhere, "theirs", Some(JOB));
    let mut wrong = Vec::new();
    for (method, path, body, expected) in &table {
        let mut body = body.clone();
        if expected == &"allowed" {
            // A review has no name.
            body.as_object_mut().unwrap().remove("metadata");
        }
        let answer = shared.thief.ask(method, path, &body);
        let right = match *expected {
            "allowed" => answer.success(),
            // The namespace has no account ssa-executor: whoever refuses first, it is refused.
            "" => answer.status == 403 || isolated(&answer),
            words => isolated(&answer) && answer.message().contains(words),
        };
        if !right {
            wrong.push(format!("{method} {path}, {expected:?}: {} {}", answer.status, answer.message()));
        }
    }
    println!("{} requests", table.len());
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), table.len(), wrong.join("\n"));
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_67_an_account_that_is_no_jobs_is_held_as_well() {
    let scene = Scene::new();
    let name = &scene.bare.name;
    // The prefix is what the fence keeps for jobs; what follows it must be a job's id.
    kubectl(&["create", "serviceaccount", "ssa-job-x", "-n", name]);
    let binding = ["create", "rolebinding", "x", "--clusterrole=spark-submit-as-driver"];
    kubectl(&[&binding[..], &[&format!("--serviceaccount={name}:ssa-job-x"), "-n", name]].concat());
    let thief = Thief::with(kubectl(&["create", "token", "ssa-job-x", "-n", name]).trim());
    let path = format!("{}?dryRun=All", scene.bare.pods());
    until("it has its rights", || !thief.ask("POST", &path, &executor()).no_rights());
    let answer = thief.ask("POST", &path, &executor());
    assert!(isolated(&answer) && answer.message().contains("not that of a job"), "{answer:?}");
    // Others are none of the policy's business: an administrator's pods have any form.
    let mut pod = executor();
    pod["metadata"]["labels"] = json!({"app": "database"});
    let answer = Thief::administrator_called("system:serviceaccount:x:ssa-executor").ask("POST", &path, &pod);
    assert!(answer.success(), "{answer:?}");
}

/// Puts the shipped binding back.
struct ShippedBinding;

fn shipped_binding() -> Value {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/kubernetes/isolation.yaml");
    let text = std::fs::read_to_string(source).unwrap();
    serde_yaml::from_str(text.split("\n---\n").nth(1).unwrap()).unwrap()
}

impl ShippedBinding {
    /// A binding that leaves something out.
    fn but(match_resources: &Value) -> Self {
        let mut binding = shipped_binding();
        binding["spec"]["matchResources"] = match_resources.clone();
        apply(&binding.to_string());
        Self
    }
}

impl Drop for ShippedBinding {
    fn drop(&mut self) {
        apply(&shipped_binding().to_string());
    }
}

fn owner(login: &str) -> Value {
    json!({"spark-submit-as/owner": json!({"login": login}).to_string()})
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_69_a_run_without_the_policy_is_refused_and_everything_is_taken_back() {
    let _lock = binding_lock();
    let mut place = Place::with_template("exit 3", "ssa-iso-r-${login}");
    let login = unique("x");
    // The label leaves this namespace out, and no other test's.
    let key = unique("ssa-test-unisolated");
    let labels = json!({
        "spark-submit-as/managed": "true", "pod-security.kubernetes.io/enforce": "restricted", &key: "true"});
    let namespace = TestNamespace::named(&format!("ssa-iso-r-{login}"), labels, owner(&login));
    let objects = || {
        let text =
            kubectl(&["get", "serviceaccounts,rolebindings,secrets,pods", "-n", &namespace.0, "-o", "name"]);
        text.lines().filter(|line| line.contains("/ssa-job-")).map(String::from).collect::<Vec<_>>()
    };
    let set = |place: &mut Place, value: Value| {
        place.configuration["profiles"]["per-user"]["namespace"]["isolation"] = value;
    };

    // With it, in a restricted namespace: one request of the job's own before Spark begins.
    set(&mut place, json!("required"));
    let offset = audit_length();
    let with = ended(&mut place.run(&login));
    assert_eq!(with.code(), 3, "{with:?}");
    let user = format!("system:serviceaccount:{}:ssa-job-{}", namespace.0, with.job());
    let asked = audit_since(offset).into_iter().filter(|line| line["user"]["username"] == user.as_str());
    let asked: Vec<String> = asked.map(|line| line["requestURI"].as_str().unwrap().to_owned()).collect();
    assert_eq!(asked, [format!("/api/v1/namespaces/{}/pods?dryRun=All", namespace.0)]);

    // What refuses the probe before the policy sees it does not end the run, and is told.
    let limits = TestObject::applied(&json!({
        "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "least", "namespace": namespace.0},
        "spec": {"limits": [{"type": "Pod", "min": {"memory": "1Mi"}}]}}));
    let mut limited = ended(&mut place.run(&login));
    until("the limits are known", || {
        limited = ended(&mut place.run(&login));
        limited.stderr.contains("cannot be told")
    });
    assert_eq!(limited.code(), 3, "{limited:?}");
    assert!(limited.stderr.contains("the isolation policy is in force"), "{limited:?}");
    drop(limits);

    let selector =
        json!({"namespaceSelector": {"matchExpressions": [{"key": key, "operator": "DoesNotExist"}]}});
    let without = ShippedBinding::but(&selector);
    let mut refused = ended(&mut place.run(&login));
    until("the binding leaves the namespace out", || {
        refused = ended(&mut place.run(&login));
        refused.code() != 3
    });
    refused.refused(230, "isolation.yaml");
    assert_eq!(objects(), Vec::<String>::new());
    assert_nothing_left(&refused.job());
    // A job that does not need it runs, and nobody asks.
    set(&mut place, json!("optional"));
    assert_eq!(ended(&mut place.run(&login)).code(), 3);
    // By default what a person's login names is optional; what may be shared is not.
    set(&mut place, Value::Null);
    place.configuration["profiles"]["per-user"]["namespace"].as_object_mut().unwrap().remove("isolation");
    assert_eq!(ended(&mut place.run(&login)).code(), 3);
    drop(without);
    set(&mut place, json!("required"));
    until("the binding is whole again", || ended(&mut place.run(&login)).code() == 3);
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_69_check_sees_whether_the_policy_is_in_force() {
    let _lock = binding_lock();
    let mut place = Place::with_template("exit 0", "ssa-iso-c-${login}");
    let login = unique("x");
    let key = unique("ssa-test-unisolated");
    place.configuration["namespace_policies"]["small"]["labels"] = json!({&key: "true"});
    let line = |place: &Place| {
        let check = ended(&mut place.call(&["check", "--profile", "per-user", "--user", &login]));
        let line = check.stdout.lines().find(|line| line.contains(", isolation:")).map(String::from);
        line.unwrap_or_else(|| panic!("{check:?}"))
    };
    let require = |place: &mut Place, word: &str| {
        place.configuration["profiles"]["per-user"]["namespace"]["isolation"] = json!(word);
    };
    let in_force = |text: &str| text.starts_with("ok") && text.contains("in force; each run");
    let selector =
        json!({"namespaceSelector": {"matchExpressions": [{"key": key, "operator": "DoesNotExist"}]}});
    let mut namespace = None;
    // A namespace that is not there yet, and one that is.
    for there in [false, true] {
        if there {
            let labels = json!({"spark-submit-as/managed": "true", &key: "true"});
            namespace = Some(TestNamespace::named(&format!("ssa-iso-c-{login}"), labels, owner(&login)));
        }
        require(&mut place, "required");
        until("the policy is in force", || in_force(&line(&place)));
        let without = ShippedBinding::but(&selector);
        until("the policy refuses the canary no more", || !in_force(&line(&place)));
        let text = line(&place);
        assert!(text.starts_with("FAIL") && text.contains("isolation.yaml"), "{text}");
        require(&mut place, "optional");
        let text = line(&place);
        assert!(
            text.starts_with("ok") && text.contains("not in force") && text.contains("optional"),
            "{text}"
        );
        drop(without);
        until("the policy refuses the canary again", || in_force(&line(&place)));
    }
    let made = kubectl(&["get", "serviceaccounts", "-n", &namespace.unwrap().0, "-o", "name"]);
    assert!(!made.contains("ssa-job"), "check has made {made}");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_76_real_jobs_of_every_spark_pass_the_policy_and_their_code_does_not() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("testbench/jobs/shuffle.py");
    let job = private_file("dssuser", "shuffle.py", &std::fs::read_to_string(source).unwrap());
    let path = job.0.to_str().unwrap();
    let spark = bed("SSA_BED_SPARK");
    for version in bed("SSA_BED_VERSIONS").split(' ') {
        let profile = match version == spark {
            true => "per-user".to_owned(),
            false => format!("per-user-{}", version.replace('.', "-")),
        };
        let offset = audit_length();
        let run = |settings: &[&str]| {
            let words = ["run", "--user", "alice", "--profile", &profile, "--stage", path, "--"];
            ended(&mut as_platform(&[&words[..], settings, &[path]].concat()))
        };
        let ended = run(&["--conf", "spark.executor.instances=2"]);
        assert_eq!(ended.code(), 0, "{version}: {ended:?}");
        assert!(ended.stdout.contains("executors 2"), "{version}: {ended:?}");
        let id = ended.job();
        let own = format!("system:serviceaccount:dss-ns-alice:ssa-job-{id}");
        let lines: Vec<Value> =
            audit_since(offset).into_iter().filter(|line| line["user"]["username"] == own.as_str()).collect();
        let made =
            lines.iter().filter(|line| line["verb"] == "create" && line["objectRef"]["resource"] == "pods");
        assert!(made.count() >= 2, "{version}: the audit log has not seen its pods");
        let refused = |line: &&Value| {
            line["responseStatus"]["code"]
                .as_u64()
                .is_some_and(|code| code >= 400 && code != 404 && code != 409)
        };
        let refused: Vec<&Value> = lines.iter().filter(refused).collect();
        assert!(refused.is_empty(), "{version}: {refused:#?}");
        assert_nothing_left(&id);
    }
    // The same job with code that asks for more than its arguments may: the pods are refused, not only the arguments.
    let own = "from pyspark import SparkConf, SparkContext\nimport time\n\
        c = SparkConf().set('spark.kubernetes.executor.label.app', 'database')\n\
        sc = SparkContext(conf=c)\ntime.sleep(20)\n";
    let job = private_file("dssuser", "label.py", own);
    let path = job.0.to_str().unwrap();
    let offset = audit_length();
    let words = ["run", "--user", "alice", "--profile", "per-user", "--stage", path, "--", path];
    let id = ended(&mut as_platform(&words)).job();
    let user = format!("system:serviceaccount:dss-ns-alice:ssa-job-{id}");
    let refused = audit_since(offset).into_iter().filter(|line| {
        line["user"]["username"] == user.as_str()
            && line["responseStatus"]["message"].as_str().unwrap_or_default().contains("only Spark's labels")
    });
    assert!(refused.count() > 0, "the label was not refused");
    assert_nothing_left(&id);
}
