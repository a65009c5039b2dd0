//! Policies of namespaces on a real API server: made with the namespace, looked at on every run, mended where they differ, and
//! taken away when no policy asks for them any more. Needs the test bed (`make test`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[allow(dead_code)] // a part of it is for the thefts alone
#[path = "credentials/cluster.rs"]
mod cluster;
mod support;

#[path = "policies/volume.rs"]
mod volume;

use std::collections::BTreeMap;

use cluster::{Job, Place, TestNamespace, unique};
use serde_json::{Value, json};
use support::*;

const SLEEP: &str = "exec sleep 600";

/// A configuration whose one profile makes a namespace of the test's own, and the namespace, which goes with it.
struct Policed {
    place: Place,
    login: String,
    namespace: String,
}

impl Policed {
    fn new(script: &str, policies: &Value) -> Self {
        let mut place = Place::with_template(script, "ssa-pol-${login}");
        let names: Vec<&String> = policies.as_object().unwrap().keys().collect();
        place.configuration["profiles"]["per-user"]["namespace"]["policies"] = json!(names);
        place.configuration["namespace_policies"] = policies.clone();
        // It names another policy of the configuration.
        place.configuration["profiles"].as_object_mut().unwrap().retain(|name, _| name == "per-user");
        let login = unique("p");
        let namespace = format!("ssa-pol-{login}");
        Self { place, login, namespace }
    }

    fn set(&mut self, policies: &Value) {
        self.place.configuration["namespace_policies"] = policies.clone();
        let names: Vec<&String> = policies.as_object().unwrap().keys().collect();
        self.place.configuration["profiles"]["per-user"]["namespace"]["policies"] = json!(names);
    }

    /// A job that ends at once.
    fn run(&self) -> Ended {
        let ended = ended(&mut self.place.run(&self.login));
        assert_eq!(ended.code(), 0, "{ended:?}");
        ended
    }

    fn get(&self, what: &[&str]) -> Value {
        let words = [&["get"], what, &["-n", &self.namespace, "-o", "json"]].concat();
        serde_json::from_str(&kubectl(&words)).unwrap()
    }

    fn there(&self, what: &[&str]) -> bool {
        kubectl_try(&[&["get"], what, &["-n", &self.namespace]].concat()).status.success()
    }

    fn metadata(&self) -> (Value, Value) {
        let found = self.get(&["namespace", &self.namespace]);
        (found["metadata"]["labels"].clone(), found["metadata"]["annotations"].clone())
    }

    /// Everything that policies say, as it is.
    fn state(&self) -> BTreeMap<&'static str, Value> {
        let (labels, annotations) = self.metadata();
        let account = self.get(&["serviceaccount", "ssa-executor"]);
        [
            ("labels", labels),
            ("annotations", annotations),
            ("quota", self.get(&["resourcequota", "ssa-quota"])["spec"].clone()),
            ("limits", self.get(&["limitrange", "ssa-limits"])["spec"].clone()),
            ("network", self.get(&["networkpolicy", "ssa-isolated"])["spec"].clone()),
            ("account", account["metadata"]["annotations"].clone()),
            ("pull secrets", account["imagePullSecrets"].clone()),
        ]
        .into()
    }

    /// Requests about this namespace since an offset in the audit log, as `verb resource`, without the controllers' own.
    fn requests_since(&self, offset: u64) -> Vec<String> {
        let user = "system:serviceaccount:spark-submit-as:provisioner";
        let ours = |line: &Value| {
            let object = &line["objectRef"];
            let here =
                [&object["namespace"], &object["name"]].iter().any(|name| **name == self.namespace.as_str());
            here && line["stage"] == "ResponseComplete" && line["user"]["username"] == user
        };
        let named = |line: &Value| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let sub =
                line["objectRef"]["subresource"].as_str().map(|sub| format!("/{sub}")).unwrap_or_default();
            format!("{} {}{sub}", text(&line["verb"]), text(&line["objectRef"]["resource"]))
        };
        audit_since(offset).iter().filter(|line| ours(line)).map(named).collect()
    }
}

impl Drop for Policed {
    fn drop(&mut self) {
        let _ = kubectl_try(&["delete", "namespace", &self.namespace, "--wait=false", "--ignore-not-found"]);
    }
}

fn all_parts() -> Value {
    json!({
        "base": {
            "pod_security": "baseline",
            "labels": {"example.org/cost": "17"},
            "resource_quota": {"hard": {"pods": 10, "requests.cpu": "4000m", "requests.memory": "8192Mi"}},
            "limit_range": {"limits": [{
                "type": "Container", "default": {"cpu": "1"}, "max": {"cpu": "2", "memory": "1024Mi"}, "min": {"memory": "64Mi"},
            }]},
            "network_policy": "isolated",
            "egress": [{"name": "hdfs", "cidr": "10.20.0.0/16", "ports": [8020]}, {"name": "all", "cidr": "0.0.0.0/0"}],
            "images": ["registry.example.org/spark:*", "localhost/spark:4.1.4"],
            "token_audiences": ["sts.example.org"],
            "priority_classes": ["batch"],
            "tolerations": ["example.org/spot"],
            "executor_account": {
                "annotations": {"cloud.example.org/role": "spark-${dssUserLogin}"}, "image_pull_secrets": ["registry"],
            },
        },
    })
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_namespace_is_made_with_its_policies() {
    let policed = Policed::new("exit 0", &all_parts());
    let ended = policed.run();
    for text in
        ["ResourceQuota ssa-quota made", "LimitRange ssa-limits made", "NetworkPolicy ssa-isolated made"]
    {
        assert!(ended.stderr.contains(text), "{ended:?}");
    }
    let (labels, annotations) = policed.metadata();
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "baseline");
    assert_eq!(labels["example.org/cost"], "17");
    assert_eq!(annotations["spark-submit-as/images"], "registry.example.org/spark:*,localhost/spark:4.1.4");
    assert_eq!(annotations["spark-submit-as/token-audiences"], "sts.example.org");
    assert_eq!(annotations["spark-submit-as/priority-classes"], "batch");
    assert_eq!(annotations["spark-submit-as/tolerations"], "example.org/spot");
    assert_eq!(annotations["spark-submit-as/image-pull-secrets"], "registry");
    let applied = annotations["spark-submit-as/applied"].as_str().unwrap();
    for word in ["quota", "limits", "network", "label:example.org/cost"] {
        assert!(applied.split(',').any(|one| one == word), "{applied}");
    }
    let state = policed.state();
    let hard = json!({"pods": "10", "requests.cpu": "4", "requests.memory": "8Gi"});
    assert_eq!(state["quota"]["hard"], hard);
    let limits = &state["limits"]["limits"][0];
    assert_eq!(limits["max"], json!({"cpu": "2", "memory": "1Gi"}));
    assert_eq!(limits["default"], json!({"cpu": "1", "memory": "1Gi"}), "completed from the maximum");
    assert_eq!(state["network"], json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}));
    assert_eq!(state["account"]["cloud.example.org/role"], format!("spark-{}", policed.login));
    assert_eq!(state["pull secrets"], json!([{"name": "registry"}]));
    // A second run finds that it is all as it was asked for, the API server's own completions included.
    assert!(!policed.run().stderr.contains("namespace policies"));
}

/// A change by hand: what it is, and how it is done.
type Drift<'a> = (&'static str, Box<dyn Fn() + 'a>);

#[test]
#[ignore = "needs the test bed: make test"]
fn acceptance_4_what_was_changed_by_hand_is_back_after_the_next_run() {
    let policed = Policed::new("exit 0", &all_parts());
    policed.run();
    let wanted = policed.state();
    let namespace = policed.namespace.clone();
    let merge = |kind: &str, name: &str, patch: Value| {
        kubectl(&["patch", kind, name, "-n", &namespace, "--type=merge", "-p", &patch.to_string()]);
    };
    let delete = |kind: &str, name: &str| {
        kubectl(&["delete", kind, name, "-n", &namespace]);
    };
    let quota = |change: Value| merge("resourcequota", "ssa-quota", json!({"spec": {"hard": change}}));
    let own = |metadata: Value| merge("namespace", &namespace, json!({"metadata": metadata}));
    let scoped = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "ssa-quota", "namespace": namespace},
        "spec": {"hard": {"pods": "10"}, "scopes": ["Terminating"]},
    });
    let open = json!({"spec": {"ingress": [{}]}});
    let drifts: Vec<Drift<'_>> = vec![
        ("a quota that is raised", Box::new(|| quota(json!({"pods": "1000"})))),
        ("a quota with something less", Box::new(|| quota(json!({"requests.cpu": null})))),
        ("a quota with something more", Box::new(|| quota(json!({"secrets": "0"})))),
        ("a quota that is gone", Box::new(|| delete("resourcequota", "ssa-quota"))),
        (
            "a quota that counts nothing",
            Box::new(|| {
                delete("resourcequota", "ssa-quota");
                apply(&scoped.to_string());
            }),
        ),
        ("a label that is changed", Box::new(|| own(json!({"labels": {"example.org/cost": "0"}})))),
        ("a label that is gone", Box::new(|| own(json!({"labels": {"example.org/cost": null}})))),
        (
            "another pod security",
            Box::new(|| own(json!({"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}))),
        ),
        (
            "no pod security",
            Box::new(|| own(json!({"labels": {"pod-security.kubernetes.io/enforce": null}}))),
        ),
        ("more images", Box::new(|| own(json!({"annotations": {"spark-submit-as/images": "*"}})))),
        ("no images", Box::new(|| own(json!({"annotations": {"spark-submit-as/images": null}})))),
        (
            "a limit range that is raised",
            Box::new(|| {
                let limits = json!([{"type": "Container", "max": {"cpu": "64"}}]);
                merge("limitrange", "ssa-limits", json!({"spec": {"limits": limits}}));
            }),
        ),
        ("a limit range that is gone", Box::new(|| delete("limitrange", "ssa-limits"))),
        ("a network that is open", Box::new(|| merge("networkpolicy", "ssa-isolated", open.clone()))),
        (
            "a network that is about other pods",
            Box::new(|| {
                let selector = json!({"spec": {"podSelector": {"matchLabels": {"a": "b"}}}});
                merge("networkpolicy", "ssa-isolated", selector);
            }),
        ),
        ("a network policy that is gone", Box::new(|| delete("networkpolicy", "ssa-isolated"))),
        (
            "another role",
            Box::new(|| {
                let role = json!({"metadata": {"annotations": {"cloud.example.org/role": "admin"}}});
                merge("serviceaccount", "ssa-executor", role);
            }),
        ),
        (
            "no pull secrets",
            Box::new(|| merge("serviceaccount", "ssa-executor", json!({"imagePullSecrets": null}))),
        ),
    ];
    for (what, drift) in &drifts {
        drift();
        let ended = policed.run();
        assert_eq!(policed.state(), wanted, "{what}");
        assert!(ended.stderr.contains("namespace policies: "), "{what}: {ended:?}");
    }
    assert!(!policed.run().stderr.contains("namespace policies: "), "said although nothing was to be mended");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn acceptance_4_an_unchanged_namespace_costs_three_reads_and_no_write() {
    let with = Policed::new("exit 0", &all_parts());
    let without = Policed::new("exit 0", &json!({}));
    let asked = |policed: &Policed| {
        policed.run();
        let offset = audit_length();
        policed.run();
        let mut requests = policed.requests_since(offset);
        requests.sort();
        assert!(requests.len() >= 8, "{requests:?}");
        requests
    };
    let (mut more, base) = (asked(&with), asked(&without));
    for request in &base {
        let at = more.iter().position(|other| other == request);
        more.remove(at.unwrap_or_else(|| panic!("{request} is missing with policies: {more:?}")));
    }
    println!("without policies: {base:?}\nmore with policies: {more:?}");
    // The last one is the job's own network policy, which is new with each job as its account is.
    let own = "create networkpolicies";
    assert_eq!(more, [own, "get limitranges", "get networkpolicies", "get resourcequotas"]);
    assert!(
        base.iter().all(|request| !request.contains("quota") && !request.starts_with("patch namespaces"))
    );
}

#[test]
#[ignore = "needs the test bed: make test"]
fn what_the_configuration_says_now_is_applied_and_what_it_says_no_more_is_removed() {
    let mut policed = Policed::new("exit 0", &all_parts());
    policed.run();
    let mut other = all_parts();
    other["base"]["resource_quota"]["hard"] = json!({"pods": "20"});
    other["base"]["limit_range"]["limits"][0] = json!({"type": "Pod", "max": {"cpu": "3"}});
    other["base"]["labels"] = json!({"example.org/team": "a"});
    other["base"]["images"] = json!(["localhost/spark:4.1.4"]);
    other["base"]["executor_account"] = json!({"annotations": {"cloud.example.org/other": "x"}});
    policed.set(&other);
    policed.run();
    let state = policed.state();
    assert_eq!(state["quota"]["hard"], json!({"pods": "20"}));
    assert_eq!(state["limits"]["limits"], json!([{"type": "Pod", "max": {"cpu": "3"}}]));
    assert_eq!(state["labels"]["example.org/team"], "a");
    assert_eq!(state["labels"].get("example.org/cost"), None);
    assert_eq!(state["annotations"]["spark-submit-as/images"], "localhost/spark:4.1.4");
    assert_eq!(state["annotations"].get("spark-submit-as/image-pull-secrets"), None);
    assert_eq!(state["account"]["cloud.example.org/other"], "x");
    assert_eq!(state["account"].get("cloud.example.org/role"), None);
    assert_eq!(state["pull secrets"], Value::Null);

    // What an administrator has there beside it stays.
    kubectl(&["create", "quota", "theirs", "--hard=pods=50", "-n", &policed.namespace]);
    kubectl(&["label", "namespace", &policed.namespace, "example.org/theirs=1"]);
    policed.set(&json!({}));
    let ended = policed.run();
    assert!(ended.stderr.contains("removed: no policy asks for it"), "{ended:?}");
    for what in
        [["resourcequota", "ssa-quota"], ["limitrange", "ssa-limits"], ["networkpolicy", "ssa-isolated"]]
    {
        assert!(!policed.there(&what), "{what:?} is left");
    }
    assert!(policed.there(&["resourcequota", "theirs"]));
    let (labels, annotations) = policed.metadata();
    assert_eq!(labels.get("example.org/team"), None);
    assert_eq!(labels["example.org/theirs"], "1");
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "baseline", "its pods would be privileged");
    let own: Vec<&String> =
        annotations.as_object().unwrap().keys().filter(|key| key.starts_with("spark-submit-as/")).collect();
    assert_eq!(own, ["spark-submit-as/owner"]);
    assert_eq!(policed.get(&["serviceaccount", "ssa-executor"])["metadata"].get("annotations"), None);
    assert!(!policed.run().stderr.contains("namespace policies"));
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_namespace_without_policies_is_its_administrators_own_matter() {
    let policed = Policed::new("exit 0", &json!({}));
    policed.run();
    kubectl(&["create", "quota", "ssa-quota", "--hard=pods=50", "-n", &policed.namespace]);
    kubectl(&["annotate", "namespace", &policed.namespace, "spark-submit-as/images=localhost/*"]);
    let before = policed.metadata();
    let offset = audit_length();
    policed.run();
    assert_eq!(policed.metadata(), before);
    assert!(policed.there(&["resourcequota", "ssa-quota"]));
    let requests = policed.requests_since(offset);
    assert!(
        requests.iter().all(|request| !request.contains("quota") && !request.starts_with("patch")),
        "{requests:?}"
    );
}

#[test]
#[ignore = "needs the test bed: make test"]
fn no_token_is_asked_for_before_a_new_quota_is_enforced() {
    let policed = Policed::new("exit 0", &json!({"q": {"resource_quota": {"hard": {"pods": 3}}}}));
    let offset = audit_length();
    policed.run();
    let lines = audit_since(offset);
    let time = |what: &str, wanted: &dyn Fn(&Value) -> bool| {
        let of_ours =
            |line: &&Value| line["objectRef"]["namespace"] == policed.namespace.as_str() && wanted(line);
        let line = lines.iter().find(of_ours).unwrap_or_else(|| panic!("no {what}"));
        line["stageTimestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap()
    };
    let done = |line: &Value| line["stage"] == "ResponseComplete" && line["responseStatus"]["code"] == 200;
    let enforced = time("word of the quota's controller", &|line| {
        let object = &line["objectRef"];
        object["resource"] == "resourcequotas" && object["subresource"] == "status" && done(line)
    });
    let asked = lines.iter().find(|line| {
        let object = &line["objectRef"];
        object["namespace"] == policed.namespace.as_str() && object["subresource"] == "token"
    });
    let asked = asked.expect("a token")["requestReceivedTimestamp"]
        .as_str()
        .unwrap()
        .parse::<jiff::Timestamp>()
        .unwrap();
    assert!(enforced <= asked, "{enforced} is after {asked}");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_policy_applies_to_the_namespaces_that_its_pattern_matches() {
    let mut policed = Policed::new("exit 0", &json!({}));
    let quota = |pattern: &str| json!({"namespaces": pattern, "resource_quota": {"hard": {"pods": 3}}});
    policed.place.configuration["namespace_policies"] = json!({
        "all": quota("ssa-pol-.*"), "others": quota("pol"), "also": {"namespaces": "ssa-.*", "labels": {"example.org/a": "b"}},
    });
    policed.run();
    assert!(policed.there(&["resourcequota", "ssa-quota"]));
    assert_eq!(policed.metadata().0["example.org/a"], "b");

    // Two that give one part: refused before anything is asked for.
    policed.place.configuration["namespace_policies"]["others"] = quota(".*");
    let offset = audit_length();
    let ended = ended(&mut policed.place.run(&policed.login));
    ended.refused(204, "the namespace policies all and others both give `resource_quota`");
    assert_eq!(policed.requests_since(offset), Vec::<String>::new());
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_jobs_network_policy_is_there_before_its_token_and_goes_with_its_account() {
    let policed = Policed::new(SLEEP, &all_parts());
    let offset = audit_length();
    let job = Job::started(&mut policed.place.run(&policed.login));
    let account = policed.get(&["serviceaccount", &job.account()]);
    let policy = policed.get(&["networkpolicy", &job.account()]);
    assert_eq!(policy["metadata"]["ownerReferences"][0]["uid"], account["metadata"]["uid"]);
    assert_eq!(policy["metadata"]["labels"]["spark-submit-as/job"], job.id.as_str());
    let spec = &policy["spec"];
    let own = json!({"matchLabels": {"spark-submit-as/job": job.id}});
    assert_eq!(spec["podSelector"], own);
    assert_eq!(spec["policyTypes"], json!(["Ingress", "Egress"]));
    let driver = json!({"ipBlock": {"cidr": format!("{}/32", bed("BENCH_DRIVER_HOST"))}});
    assert_eq!(spec["ingress"], json!([{"from": [{"podSelector": own}, driver]}]));
    assert_eq!(spec["egress"][0], json!({"to": [{"podSelector": own}]}));
    assert_eq!(spec["egress"][1]["to"], json!([driver]));
    // This driver's three ports, and no other program's of this host.
    let ports = &spec["egress"][1]["ports"][0];
    let (first, last) = (ports["port"].as_u64().unwrap(), ports["endPort"].as_u64().unwrap());
    assert!((20_000..=24_094).contains(&first) && last == first + 2, "{ports}");
    let dns = &spec["egress"][2];
    assert_eq!(
        dns["to"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"],
        "kube-system"
    );
    assert_eq!(dns["ports"], json!([{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]));
    let hdfs =
        json!({"to": [{"ipBlock": {"cidr": "10.20.0.0/16"}}], "ports": [{"protocol": "TCP", "port": 8020}]});
    assert_eq!(spec["egress"][3], hdfs);
    // What no policy opens, and the API server as the provisioner reaches it.
    let server = bed("BENCH_SERVER");
    let server = server.trim_start_matches("https://").split(':').next().unwrap();
    let except = json!(["169.254.0.0/16", "100.100.100.200/32", format!("{server}/32")]);
    assert_eq!(spec["egress"][4]["to"], json!([{"ipBlock": {"cidr": "0.0.0.0/0", "except": except}}]));
    let requests = policed.requests_since(offset);
    let at = |what: &str| {
        requests.iter().position(|request| request == what).unwrap_or_else(|| panic!("{requests:?}"))
    };
    assert!(at("create networkpolicies") < at("create serviceaccounts/token"));

    let name = job.account();
    job.stop();
    until("the network policy goes with the account", || !policed.there(&["networkpolicy", &name]));
    assert!(policed.there(&["networkpolicy", "ssa-isolated"]));
}

#[test]
#[ignore = "needs the test bed: make test"]
fn an_egress_that_is_the_api_server_is_refused_and_nothing_is_left() {
    let server = bed("BENCH_SERVER");
    let server = server.trim_start_matches("https://").split(':').next().unwrap().to_owned();
    let egress = json!([{"name": "api", "cidr": format!("{server}/32")}]);
    let policed = Policed::new("exit 0", &json!({"n": {"network_policy": "isolated", "egress": egress}}));
    let ended = ended(&mut policed.place.run(&policed.login));
    ended.refused(218, "the egress api of the namespace's policy lies in what no policy opens");
    assert_nothing_left(&ended.job());
}

#[test]
#[ignore = "needs the test bed: make test"]
fn check_asks_for_the_rights_that_policies_need() {
    let policed = Policed::new("exit 0", &all_parts());
    let told = |policed: &Policed| ended(&mut policed.place.call(&["check", "--profile", "per-user"]));
    let with = told(&policed);
    for right in [
        "patch namespaces",
        "get resourcequotas",
        "patch limitranges",
        "create networkpolicies",
        "delete networkpolicies",
    ] {
        let line = with.stdout.lines().find(|line| line.contains(&format!(", right to {right}")));
        assert!(
            line.is_some_and(|line| line.starts_with("ok ") && line.ends_with(": granted")),
            "{right}: {with:?}"
        );
    }
    let without = told(&Policed::new("exit 0", &json!({})));
    assert!(!without.stdout.contains("resourcequotas"), "{without:?}");
    assert!(!with.stdout.contains("persistentvolumeclaims"), "{with:?}");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_run_with_dry_run_says_which_policies_apply() {
    let policed = Policed::new("exit 0", &all_parts());
    let words = ["run", "--dry-run", "--user", &policed.login, "--profile", "per-user", "--", "job.py"];
    let told = ended(&mut policed.place.call(&words));
    assert_eq!(told.code(), 0, "{told:?}");
    for text in ["ssa-quota", "ssa-limits", "ssa-isolated", "example.org/cost"] {
        assert!(told.stdout.contains(text), "{text}: {told:?}");
    }
    assert!(!kubectl_try(&["get", "namespace", &policed.namespace]).status.success());
}

/// A namespace that an administrator prepared has its own level of pod security when no policy says another.
#[test]
#[ignore = "needs the test bed: make test"]
fn a_prepared_namespace_keeps_its_level_when_no_policy_gives_one() {
    let mut policed = Policed::new("exit 0", &json!({"q": {"labels": {"example.org/a": "b"}}}));
    policed.place.configuration["profiles"]["per-user"]["namespace"]["create"] = json!(false);
    let labels =
        json!({"spark-submit-as/managed": "true", "pod-security.kubernetes.io/enforce": "privileged"});
    let owner = json!({"spark-submit-as/owner": format!("{{\"login\":\"{}\"}}", policed.login)});
    let _namespace = TestNamespace::named(&policed.namespace, labels, owner);
    policed.run();
    assert_eq!(policed.metadata().0["pod-security.kubernetes.io/enforce"], "privileged");
    assert_eq!(policed.metadata().0["example.org/a"], "b");
}
