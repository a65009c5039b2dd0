//! The administrator's verbs for namespaces: what they do, what they refuse, and that the provisioner's own identity can
//! do none of it. Each test has a host of its own, an account database included. Needs the test bed (`make test`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "namespaces/adopting.rs"]
mod adopting;
#[path = "namespaces/policies.rs"]
mod policies;
#[path = "namespaces/pruning.rs"]
mod pruning;
mod support;
#[path = "support/world.rs"]
mod world;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use http::Method;
use serde_json::{Value, json};
use support::*;
use world::admin::Admin;
use world::gate::{Door, Gate};
use world::{Bed, Host};

/// A host with an administrator.
struct Place {
    host: Host,
    admin: Admin,
    /// The administrator's kubeconfig.
    kubeconfig: PathBuf,
}

/// A file of root's that nobody else can read.
fn private(path: &Path, content: &Value) {
    fs::write(path, content.to_string()).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

impl Place {
    /// With a namespace for each login, whoever that is.
    fn new(logins: &[&str]) -> Self {
        let admin = Admin::new();
        let mut host = Host::new(Bed::shipped(), &admin, logins);
        host.configuration["profiles"]["per-user"]["namespace"]["policies"] = json!([]);
        // Other profiles of the test bed have namespaces that other tests leave, of accounts that are gone.
        let profiles = host.configuration["profiles"].as_object_mut().unwrap();
        profiles.retain(|name, _| ["per-user", "per-team"].contains(&name.as_str()));
        host.configure();
        let kubeconfig = host.directory.path().join("admin.kubeconfig");
        let text = kubectl(&["config", "view", "--raw", "--flatten", "--minify", "-o", "json"]);
        private(&kubeconfig, &serde_json::from_str(&text).unwrap());
        Self { host, admin, kubeconfig }
    }

    fn namespace(&self, login: &str) -> String {
        self.host.namespace(login)
    }

    fn path(&self, login: &str) -> String {
        format!("/api/v1/namespaces/{}", self.namespace(login))
    }

    /// A namespace verb with the administrator's kubeconfig.
    fn call(&self, words: &[&str]) -> Ended {
        self.call_with(&self.kubeconfig, words)
    }

    fn call_with(&self, kubeconfig: &Path, words: &[&str]) -> Ended {
        let kubeconfig = ["--kubeconfig", kubeconfig.to_str().unwrap()];
        ended(&mut self.host.call(&[&["namespace"], words, &kubeconfig].concat()))
    }

    /// The same, and what it printed.
    fn told(&self, words: &[&str]) -> Value {
        let ended = self.call(&[words, &["--json"]].concat());
        assert_eq!(ended.code(), 0, "{ended:?}");
        serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("not JSON: {ended:?}"))
    }

    /// A namespace as it is in the cluster, without what the cluster itself keeps about it.
    fn metadata(&self, login: &str) -> Value {
        let mut metadata = self.admin.get(&self.path(login))["metadata"].clone();
        metadata["managedFields"] = Value::Null;
        metadata
    }

    /// A namespace that an administrator has made without this program.
    fn foreign(&self, login: &str) {
        self.admin.namespace(&self.namespace(login), &json!({}));
        let patch = json!({"metadata": {
            "labels": {"spark-submit-as/managed": null}, "annotations": {"spark-submit-as/owner": null}}});
        self.admin.done(Method::PATCH, &self.path(login), patch);
    }

    /// A shell script as root on this host alone.
    fn sh(&self, script: &str) {
        let ended = ended(&mut self.host.on(&["sh", "-ec", script]));
        assert_eq!(ended.code(), 0, "{ended:?}");
    }
}

/// The row of a namespace in what `list` or `prune` printed.
fn row<'a>(told: &'a Value, namespace: &str) -> &'a Value {
    let rows = told["namespaces"].as_array().unwrap_or_else(|| panic!("no namespaces in {told}"));
    rows.iter()
        .find(|row| row["namespace"] == namespace)
        .unwrap_or_else(|| panic!("no {namespace} in {told}"))
}

#[test]
#[ignore = "needs the test bed: make test"]
fn list_tells_whose_namespaces_are_and_who_is_gone() {
    let mut place = Place::new(&["alice", "ssa-gone"]);
    let team = place.namespace("team");
    place.admin.namespace(&team, &json!({"adminProperty:k8sNS": team}));
    // Someone else's software uses this label too, or somebody has written an owner by hand.
    place.admin.namespace(&place.namespace("odd"), &json!("alice"));
    place.host.configuration["namespace_policies"]["small"] = json!({"pod_security": "restricted"});
    place.host.configuration["profiles"]["per-user"]["namespace"]["policies"] = json!(["small"]);
    place.host.configure();

    let told = place.told(&["list"]);
    assert_eq!(told["cluster"], "main");
    assert_eq!(told["server"], bed("BENCH_SERVER"));
    let alice = row(&told, &place.namespace("alice"));
    assert_eq!(alice["owner"], r#"{"login":"alice"}"#);
    assert_eq!(alice["profiles"], json!(["per-user"]));
    assert_eq!(alice["policies"], json!(["small"]));
    assert_eq!(alice["user"], "known");
    assert_eq!(alice["terminating"], false);
    assert!(alice["age_seconds"].as_i64().is_some_and(|age| (0..3600).contains(&age)), "{alice}");
    assert_eq!(row(&told, &place.namespace("ssa-gone"))["user"], "missing");
    let team = row(&told, &team);
    assert_eq!((&team["profiles"], &team["user"]), (&json!(["per-team"]), &json!("none")));
    let odd = row(&told, &place.namespace("odd"));
    assert_eq!((&odd["profiles"], &odd["user"]), (&json!([]), &json!("none")));
    // What is not managed is not told.
    place.foreign("bob");
    let told = place.told(&["list"]);
    let names = told["namespaces"].as_array().unwrap().iter().map(|row| row["namespace"].clone());
    assert!(!names.collect::<Vec<_>>().contains(&json!(place.namespace("bob"))));

    let ended = place.call(&["list"]);
    let line = ended.stdout.lines().find(|line| line.starts_with(&place.namespace("ssa-gone"))).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[1..], [r#"{"login":"ssa-gone"}"#, "missing", "per-user", "small", "0h"]);

    // Two clusters: which one is meant has to be said.
    place.host.configuration["clusters"]["other"] = place.host.configuration["clusters"]["main"].clone();
    place.host.configure();
    place.call(&["list"]).refused(200, "several clusters; say which");
    place.call(&["list", "--cluster", "nowhere"]).refused(200, "no cluster of the configuration");
    let told = place.told(&["list", "--cluster", "other"]);
    assert_eq!(row(&told, &place.namespace("alice"))["profiles"], json!([]), "no profile of that cluster");
}

/// Every verb, in a form that would change something.
fn verbs(place: &Place) -> Vec<Vec<String>> {
    let [alice, bob] = ["alice", "bob"].map(|login| place.namespace(login));
    [
        vec!["list"],
        vec!["adopt", &bob, "--profile", "per-user", "--user", "bob", "--yes"],
        vec!["policies", "apply", &alice],
        vec!["policies", "apply", "--all"],
        vec!["prune", "--yes"],
    ]
    .into_iter()
    .map(|words| words.into_iter().map(str::to_owned).collect())
    .collect()
}

#[test]
#[ignore = "needs the test bed: make test"]
fn the_provisioner_s_own_kubeconfig_can_do_none_of_it() {
    let mut place = Place::new(&["alice", "ssa-gone"]);
    place.foreign("bob");
    // The identity that is shipped, with rights in all namespaces, and the one of a prepared namespace.
    let shipped = configuration()["clusters"]["main"]["kubeconfig"].as_str().unwrap().to_owned();
    let prepared = place.host.configuration["clusters"]["main"]["kubeconfig"].as_str().unwrap().to_owned();
    let all = ["alice", "bob", "ssa-gone"];
    let before: Vec<Value> = all.iter().map(|login| place.metadata(login)).collect();
    for kubeconfig in [&shipped, &prepared] {
        for words in verbs(&place) {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let ended = place.call_with(Path::new(kubeconfig), &words);
            ended.refused(217, "--kubeconfig must be an administrator's");
            assert!(ended.stderr.contains("forbidden"), "{ended:?}");
        }
    }
    // Nor where it is asked for one thing alone, beyond what a run asks for. The fence knows the shipped identity by name.
    let name = place.namespace("bob");
    for words in [
        ["label", "namespace", &name, "spark-submit-as/managed=true"].as_slice(),
        &["annotate", "namespace", &name, "spark-submit-as/owner={\"login\":\"bob\"}"],
        &["annotate", "--overwrite", "namespace", &place.namespace("alice"), "spark-submit-as/owner={}"],
        &["label", "--overwrite", "namespace", &place.namespace("alice"), "spark-submit-as/managed-"],
        &["delete", "namespace", &place.namespace("ssa-gone")],
        &["get", "namespaces"],
    ] {
        let ended = kubectl_try(&[&["--kubeconfig", shipped.as_str()], words].concat());
        let refused = ["orbidden", "denied request"].iter().any(|word| ended.stderr.contains(word));
        assert!(!ended.status.success() && refused, "{words:?}: {ended:?}");
    }
    let after: Vec<Value> = all.iter().map(|login| place.metadata(login)).collect();
    assert_eq!(before, after);
    // Those that are refused by the cluster are not refused for another reason: the administrator's pass.
    place.host.configuration["namespaces"] = json!({"prune_after_days": 1});
    place.host.configure();
    assert_eq!(place.told(&["list"])["cluster"], "main");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn the_administrator_s_kubeconfig_is_checked_as_the_provisioner_s_is() {
    let mut place = Place::new(&["alice"]);
    let text = fs::read_to_string(&place.kubeconfig).unwrap();
    let directory = place.host.directory.path().to_owned();
    let path = directory.join("tried.kubeconfig");
    let list = |place: &Place, path: &Path| place.call_with(path, &["list"]);
    private(&path, &serde_json::from_str(&text).unwrap());
    assert_eq!(list(&place, &path).code(), 0);

    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    list(&place, &path).refused(215, "lets others read a credential");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let link = directory.join("link.kubeconfig");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    list(&place, &link).refused(215, "is a symbolic link");
    list(&place, Path::new("tried.kubeconfig")).refused(215, "must be an absolute path");
    list(&place, &directory.join("missing")).refused(215, "No such file");
    let open = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o777)).tempdir().unwrap();
    fs::copy(&path, open.path().join("k")).unwrap();
    list(&place, &open.path().join("k")).refused(215, "lets others than root write");
    let mallory = nix::unistd::User::from_name("mallory").unwrap().unwrap();
    std::os::unix::fs::chown(&path, Some(mallory.uid.as_raw()), None).unwrap();
    list(&place, &path).refused(215, "must be owned by root");
    // An account of its own for the administrator's credential may own it, and only that one.
    place.host.configuration["namespaces"] = json!({"account": "mallory"});
    place.host.configure();
    assert_eq!(list(&place, &path).code(), 0);
    std::os::unix::fs::chown(&path, Some(0), None).unwrap();
    for (change, message) in [
        (json!(["server", "http://127.0.0.1:1"]), "is not https"),
        (json!(["insecure-skip-tls-verify", true]), "insecure-skip-tls-verify"),
    ] {
        let mut kubeconfig: Value = serde_json::from_str(&text).unwrap();
        kubeconfig["clusters"][0]["cluster"][change[0].as_str().unwrap()] = change[1].clone();
        private(&path, &kubeconfig);
        list(&place, &path).refused(215, message);
    }
    let ended = place.call(&["list", "--context", "nowhere"]);
    ended.refused(215, "has no such context");

    // The platform must not find the credential in a process of its own.
    for (key, value) in [("namespaces", json!({"account": "dssuser"})), ("provisioner", json!("dssuser"))] {
        let mut place = Place::new(&[]);
        place.host.configuration[key] = value;
        place.host.configure();
        place.call(&["list"]).refused(204, "is a caller's account");
        if key == "provisioner" {
            place.host.configuration["namespaces"] = json!({"account": "ssa-provisioner"});
            place.host.configure();
            assert_eq!(place.call(&["list"]).code(), 0);
        }
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn the_administrator_s_credential_is_in_a_process_of_the_account_that_is_named() {
    // A login helper of the kubeconfig says whose process it belongs to.
    let mut place = Place::new(&[]);
    let text = fs::read_to_string(&place.kubeconfig).unwrap();
    let mut kubeconfig: Value = serde_json::from_str(&text).unwrap();
    let directory = place.host.directory.path().to_owned();
    let (helper, out) = (directory.join("helper"), tempfile::NamedTempFile::new().unwrap());
    fs::set_permissions(out.path(), fs::Permissions::from_mode(0o666)).unwrap();
    fs::write(&helper, format!("#!/bin/sh\nid -un > {}\nexit 1\n", out.path().display())).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    kubeconfig["users"][0]["user"] = json!({"exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": helper.to_str().unwrap(),
        "interactiveMode": "Never"}});
    private(&place.kubeconfig, &kubeconfig);
    for (configured, account) in [(json!({}), "ssa-provisioner"), (json!({"account": "mallory"}), "mallory")]
    {
        place.host.configuration["namespaces"] = configured;
        place.host.configure();
        assert_eq!(place.call(&["list"]).code(), 215);
        assert_eq!(fs::read_to_string(out.path()).unwrap().trim(), account);
    }
    // Other processes of that account can neither read its memory nor take its descriptors, from exec on: `make install`
    // lets nobody but root read the program.
    let program = Path::new(&bed("SSA_BED_PREFIX")).join("libexec/spark-submit-as-provisioner");
    assert_eq!(fs::metadata(program).unwrap().permissions().mode() & 0o777, 0o711);
    let mut kubeconfig: Value = serde_json::from_str(&text).unwrap();
    let gate = Gate::new(Door::Held);
    kubeconfig["clusters"][0]["cluster"]["server"] = json!(gate.server());
    kubeconfig["clusters"][0]["cluster"]["tls-server-name"] =
        json!(bed("BENCH_SERVER").trim_start_matches("https://").split(':').next().unwrap());
    private(&place.kubeconfig, &kubeconfig);
    let running = start(&mut place.host.call(&[
        "namespace",
        "list",
        "--kubeconfig",
        place.kubeconfig.to_str().unwrap(),
    ]));
    let holder = || {
        let name = |pid: &i32| fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        place.host.processes().into_iter().find(|pid| name(pid).to_string_lossy().ends_with("-provisioner"))
    };
    until("the credential is in a process", || holder().is_some());
    let pid = holder().unwrap();
    let (uid, _) = ids("mallory");
    assert_eq!(status_field(pid, "Uid"), [uid.to_string().as_str(); 4].join(" "));
    let bare = format!("grep -c . /proc/{pid}/status");
    assert!(shell_as("mallory", &bare).status.success());
    for path in ["environ", "mem", "maps", "fd/4", "root/etc/passwd"] {
        let tried = shell_as("mallory", &format!("head -c 1 /proc/{pid}/{path}"));
        assert!(!tried.status.success(), "{path}: {tried:?}");
    }
    gate.set(Door::Open);
    assert_eq!(running.end().code(), 0);
}

#[test]
#[ignore = "needs the test bed: make test"]
fn namespace_verbs_are_roots_own() {
    for words in [
        ["namespace", "list", "--kubeconfig", "/x"].as_slice(),
        &[
            "namespace",
            "adopt",
            "n",
            "--profile",
            "per-user",
            "--user",
            "alice",
            "--yes",
            "--kubeconfig",
            "/x",
        ],
        &["namespace", "policies", "apply", "--all", "--kubeconfig", "/x"],
        &["namespace", "prune", "--yes", "--kubeconfig", "/x"],
    ] {
        ended(&mut as_platform(words)).refused(205, "this verb is for root itself");
    }
    // Without a kubeconfig, or without a word that it is meant, nothing is begun.
    for words in [
        ["namespace", "list"].as_slice(),
        &["namespace", "prune", "--kubeconfig", "/x"],
        &["namespace", "prune", "--yes", "--dry-run", "--kubeconfig", "/x"],
        &["namespace", "policies", "apply", "--kubeconfig", "/x"],
        &["namespace", "adopt", "n", "--profile", "p", "--kubeconfig", "/x"],
        &["namespace", "adopt", "n", "--profile", "p", "--user", "a", "--owner", "{}", "--kubeconfig", "/x"],
    ] {
        ended(&mut as_root(words)).refused(200, "");
    }
}
