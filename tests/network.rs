//! Isolation on the network: what an executor reaches, by real traffic between real pods. Every flow that is refused is
//! first shown to work without the policies. Needs the test bed (`make test`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "network/jobs.rs"]
mod jobs;
#[path = "network/lab.rs"]
mod lab;
#[path = "network/policies.rs"]
mod policies;
mod support;

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use jobs::Team;
use lab::*;
use serde_json::{Value, json};
use support::*;

/// A flow: what it is, from which pod, kind, host, port, who answers, and whether the policies allow it.
struct Flow<'a> {
    what: &'a str,
    from: &'a Pod,
    target: (&'a str, &'a str, u16),
    answer: &'a str,
    allowed: bool,
}

/// Which flows work: what and who answered.
fn working(flows: &[Flow<'_>]) -> Vec<(String, Option<String>)> {
    let mut names: Vec<&str> = flows.iter().map(|flow| flow.from.name.as_str()).collect();
    names.dedup();
    std::thread::scope(|scope| {
        let mut asked = Vec::new();
        for name in names {
            let own: Vec<&Flow<'_>> = flows.iter().filter(|flow| flow.from.name == name).collect();
            asked.push(scope.spawn(move || {
                let targets: Vec<_> = own.iter().map(|flow| flow.target).collect();
                let what = own.iter().map(|flow| format!("{name} to {}", flow.what));
                what.zip(own[0].from.asks(&targets)).collect::<Vec<_>>()
            }));
        }
        asked.into_iter().flat_map(|thread| thread.join().expect("kubectl exec")).collect()
    })
}

/// What [`working`] should say, without the policies or with them.
fn expected(flows: &[Flow<'_>], policies: bool) -> Vec<(String, Option<String>)> {
    let one = |flow: &Flow<'_>| {
        let answer = (flow.allowed || !policies).then(|| flow.answer.to_owned());
        (format!("{} to {}", flow.from.name, flow.what), answer)
    };
    flows.iter().map(one).collect()
}

/// Waits until exactly the expected flows work.
fn settle(flows: &[Flow<'_>], policies: bool) {
    let deadline = Instant::now() + PATIENCE;
    let wanted = expected(flows, policies);
    loop {
        let found = working(flows);
        let differing: Vec<_> = found.iter().zip(&wanted).filter(|(found, wanted)| found != wanted).collect();
        if differing.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "policies: {policies}; found and wanted: {differing:#?}");
    }
}

fn job(id: &str) -> Value {
    json!({"spark-submit-as/job": id})
}

/// A name server's stand-in: a pod and a service in kube-system.
struct NameServer {
    pod: Pod,
    service: String,
}

impl NameServer {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ssa-test-dns-{:x}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let pod =
            Pod::start("kube-system", &[(&name, json!({"app": name}))], &["53", "53/udp", "80"]).remove(0);
        apply(
            &json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "kube-system"},
                "spec": {"selector": {"app": name}, "ports": [
                    {"name": "dns", "port": 53, "protocol": "UDP"},
                    {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
                ]},
            })
            .to_string(),
        );
        let path = "jsonpath={.spec.clusterIP}";
        let service = kubectl(&["get", "service", "-n", "kube-system", &name, "-o", path]);
        Self { pod, service }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        let name = &self.pod.name;
        kubectl_try(&["delete", "pod,service", "-n", "kube-system", name, "--wait=false"]);
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn executors_reach_their_own_job_and_nothing_else_once_the_namespace_is_isolated() {
    let outside = Outside::new(&["80", "8020"]);
    let team = Namespace::new("netpol-team");
    let other = Namespace::new("netpol-other");
    let [one, two] = ["aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"];
    let ports = [PORT.to_string()];
    let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
    let pods = Pod::start(
        &team.0,
        &[("a-1", job(one)), ("a-2", job(one)), ("b-1", job(two)), ("b-2", job(two)), ("none", json!({}))],
        &ports,
    );
    let [a1, a2, b1, b2, none] = [0, 1, 2, 3, 4].map(|index| &pods[index]);
    // It carries the job's label, in another namespace.
    let foreign = &Pod::start(&other.0, &[("foreign", job(one))], &ports)[0];
    let dns = NameServer::new();
    for pod in pods.iter().chain([foreign]) {
        pod.lead_outside();
    }

    let host = bed("BENCH_DRIVER_HOST");
    let drivers = [17080, 17081, 17082];
    for (port, name) in drivers.into_iter().zip(["driver a", "blocks a", "driver b"]) {
        answer_at(port, name);
    }
    let link_local = b1.link_local();
    let own_link_local = a2.link_local();
    let flow = |what, from, target, answer, allowed| Flow { what, from, target, answer, allowed };
    let flows = [
        // Allowed, both ways.
        flow("a-2, same job", a1, ("tcp", &a2.address, PORT), "a-2", true),
        flow("its driver", a1, ("tcp", &host, drivers[0]), "driver a", true),
        flow("its driver's blocks", a1, ("tcp", &host, drivers[1]), "blocks a", true),
        flow("the name server", a1, ("udp", &dns.pod.address, 53), &dns.pod.name, true),
        flow("the name server's service", a1, ("udp", &dns.service, 53), &dns.pod.name, true),
        flow("the name server's service by TCP", a1, ("tcp", &dns.service, 53), &dns.pod.name, true),
        flow("a named address", a1, ("tcp", EXTERNAL, 8020), "outside", true),
        // Refused.
        flow("b-1, another job", a1, ("tcp", &b1.address, PORT), "b-1", false),
        flow("a pod of no job", a1, ("tcp", &none.address, PORT), "none", false),
        flow("b-1 by its link-local address", a1, ("tcp", &link_local, PORT), "b-1", false),
        flow("another job's driver", a1, ("tcp", &host, drivers[2]), "driver b", false),
        flow("the API server's service", a1, ("tcp", "10.96.0.1", 443), "connected", false),
        flow("the API server", a1, ("tcp", &host, 6443), "connected", false),
        flow("the kubelet", a1, ("tcp", &host, 10250), "connected", false),
        flow("the metadata address", a1, ("tcp", METADATA, 80), "outside", false),
        flow("a pod of another namespace", a1, ("tcp", &foreign.address, PORT), "foreign", false),
        flow("another port of the name server", a1, ("tcp", &dns.pod.address, 80), &dns.pod.name, false),
        flow("the world", a1, ("tcp", EXTERNAL, 80), "outside", false),
        // The other way, and the other job.
        flow("a-1, same job", a2, ("tcp", &a1.address, PORT), "a-1", true),
        flow("b-1, another job", a2, ("tcp", &b1.address, PORT), "b-1", false),
        flow("a-1, another job", b1, ("tcp", &a1.address, PORT), "a-1", false),
        flow("a-2 by its link-local address", b1, ("tcp", &own_link_local, PORT), "a-2", false),
        flow("b-2, same job", b1, ("tcp", &b2.address, PORT), "b-2", true),
        flow("its driver", b1, ("tcp", &host, drivers[2]), "driver b", true),
        flow("another job's driver", b1, ("tcp", &host, drivers[0]), "driver a", false),
        // A pod that no job's policy selects, and one that no policy selects.
        flow("a-1", none, ("tcp", &a1.address, PORT), "a-1", false),
        flow("a driver", none, ("tcp", &host, drivers[0]), "driver a", false),
        flow("the name server", none, ("udp", &dns.pod.address, 53), &dns.pod.name, false),
        flow("the metadata address", none, ("tcp", METADATA, 80), "outside", false),
        flow("a-1", foreign, ("tcp", &a1.address, PORT), "a-1", false),
        flow("the API server's service", foreign, ("tcp", "10.96.0.1", 443), "connected", true),
        flow("the metadata address", foreign, ("tcp", METADATA, 80), "outside", true),
    ];
    // Where any policy is in force the bench drops what pods send by IPv6, and the attack suite's namespace has kept its own.
    kubectl(&["delete", "networkpolicy", "ssa-isolated", "-n", "ssa-attack", "--ignore-not-found"]);
    settle(&flows, false);

    let named = [policies::Egress { cidr: "203.0.113.2/32", ports: &[8020] }];
    let objects = [
        policies::isolated(&team.0),
        policies::of_job(&team.0, one, &host, (drivers[0], drivers[1]), &named),
        policies::of_job(&team.0, two, &host, (drivers[2], drivers[2]), &[]),
    ];
    apply(&json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string());
    settle(&flows, true);
    // From the driver to its executors, by a client at this machine's address.
    for (pod, allowed) in [(a1, true), (b1, true), (none, false)] {
        let bind = format!(
            "import socket; s = socket.create_connection(('{}', {PORT}), 3, ('{host}', 0)); print(s.recv(9))",
            pod.address
        );
        let asked = ended(Command::new("/usr/bin/python3").args(["-c", &bind]));
        assert_eq!(asked.status.success(), allowed, "driver to {}: {asked:?}", pod.name);
    }
    // Nothing of it depends on the order: everything works again without them.
    kubectl(&["delete", "networkpolicy", "--all", "-n", &team.0]);
    settle(&flows, false);
    drop(outside);
}

/// What alice's executor reaches beside bob's job in one namespace: name, kind, host, port, who answers, and whether an
/// isolated namespace allows it.
fn alice_reaches(policy: Value, isolated: bool) {
    let team = Team::new(if isolated { "netpol-isolated" } else { "netpol-open" }, policy);
    let _outside = Outside::new(&["80", "8020"]);
    let other = Namespace::new("netpol-foreign");
    let foreign = Pod::start(&other.0, &[("foreign", json!({}))], &[&PORT.to_string()]).remove(0);
    let dns = NameServer::new();
    let (bob, bobs_job, bobs_address) = team.bob_answers();
    let host = bed("BENCH_DRIVER_HOST");
    let flows = |own: u16, bobs: u16| {
        [
            ("its driver", "tcp", host.clone(), own, "connected", true),
            ("the name server's service", "udp", dns.service.clone(), 53, dns.pod.name.as_str(), true),
            ("a named address", "tcp", EXTERNAL.to_owned(), 8020, "outside", true),
            ("another job's executor", "tcp", bobs_address.clone(), PORT, "bob", false),
            ("another job's driver", "tcp", host.clone(), bobs, "connected", false),
            ("the API server's service", "tcp", "10.96.0.1".to_owned(), 443, "connected", false),
            ("the API server", "tcp", host.clone(), 6443, "connected", false),
            ("the kubelet", "tcp", host.clone(), 10250, "connected", false),
            ("the metadata address", "tcp", METADATA.to_owned(), 80, "outside", false),
            ("a pod of another namespace", "tcp", foreign.address.clone(), PORT, "foreign", false),
            ("the world", "tcp", EXTERNAL.to_owned(), 80, "outside", false),
        ]
    };
    let bobs_port = team.driver_port(&bobs_job);
    let found = team.alice_asks(|job| {
        let all = flows(team.driver_port(job), bobs_port);
        all.iter().map(|(_, kind, address, port, ..)| json!([kind, address, port])).collect()
    });
    let all = flows(0, bobs_port);
    let named: Vec<_> = all.iter().map(|flow| flow.0).zip(&found).collect();
    let wanted: Vec<_> = all
        .iter()
        .map(|(what, .., answer, allowed)| (*what, (*allowed || !isolated).then(|| (*answer).to_owned())))
        .collect();
    let named: Vec<_> = named.into_iter().map(|(what, answer)| (what, answer.clone())).collect();
    assert_eq!(named, wanted, "isolated: {isolated}");

    let pid = bob.child.id().to_string();
    assert!(Command::new("kill").arg(pid).status().unwrap().success());
    bob.end();
    assert_nothing_left(&bobs_job);
    if isolated {
        // What belongs to jobs goes with them, what belongs to the namespace stays.
        let left = || kubectl(&["get", "networkpolicies", "-n", &team.namespace.0, "-o", "name"]);
        until("the jobs' policies are gone", || {
            left().trim() == "networkpolicy.networking.k8s.io/ssa-isolated"
        });
    }
}

fn isolated() -> Value {
    json!({
        "pod_security": "restricted", "network_policy": "isolated",
        "egress": [{"name": "store", "cidr": "203.0.113.2/32", "ports": [8020]}],
    })
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_jobs_executor_reaches_everything_without_a_network_policy_and_its_own_job_alone_with_one() {
    alice_reaches(json!({"pod_security": "restricted"}), false);
    alice_reaches(isolated(), true);
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_job_shuffles_between_two_executors_of_an_isolated_namespace() {
    let team = Team::new("netpol-shuffle", isolated());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("testbench/jobs/shuffle.py");
    let job = std::fs::read_to_string(source).unwrap();
    let ended = ended(&mut team.run("bob", &["--conf", "spark.executor.instances=2"], &job, &[]));
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert!(ended.stdout.contains("executors 2"), "{ended:?}");
    assert_nothing_left(&ended.job());
}

/// The enforcer itself: its verdicts are compared with another program's on random policies, and what gets through the
/// kernel with its verdicts.
#[test]
#[ignore = "needs the test bed: make test"]
fn the_test_benchs_network_policies_are_enforced_as_an_independent_evaluator_reads_them() {
    let path = format!("{}:/usr/local/go/bin", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("go");
    command
        .args(["test", "-trimpath", "-count=1", "-v", "./..."])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("testbench/netpolicy"))
        .env("CGO_ENABLED", "0")
        .env("PATH", path);
    let ended = ended(&mut command);
    assert!(ended.status.success(), "{}{}", ended.stdout, ended.stderr);
    for test in ["TestVerdictsAreThoseOfCyclonus", "TestPacketsGetWhereTheRulesAllow"] {
        assert!(ended.stdout.contains(&format!("--- PASS: {test}")), "{test} did not run: {}", ended.stdout);
    }
}
