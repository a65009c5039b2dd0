//! `namespace prune`: what it keeps, and what it deletes at last.

use std::path::PathBuf;

use serde_json::Value;

use super::*;
use crate::support::proxy::Proxy;
use crate::world::dead::{account, numbered, pod};
use crate::world::identity;

const DAY: i64 = 86_400;

impl Place {
    fn memory(&self) -> PathBuf {
        self.host.state().join("missing-users.json")
    }

    fn remembered(&self) -> Value {
        serde_json::from_slice(&fs::read(self.memory()).unwrap()).unwrap()
    }

    /// Lets a user have been missing since so many seconds ago.
    fn backdate(&self, login: &str, seconds: i64) {
        let (mut memory, name) = (self.remembered(), self.namespace(login));
        let absences = memory["clusters"]["main"].as_object_mut().unwrap().values_mut();
        let absence = absences.into_iter().find(|absence| absence["namespace"] == name);
        absence.unwrap_or_else(|| panic!("{login} is not remembered"))["first"] = json!(now() - seconds);
        private(&self.memory(), &memory);
    }

    /// A first look, which finds a user missing, long ago.
    fn missing_for_long(&self, logins: &[&str]) {
        self.prune();
        logins.iter().for_each(|login| self.backdate(login, 40 * DAY));
    }

    fn prune(&self) -> Value {
        self.told(&["prune", "--yes"])
    }

    /// What became of a login's namespace, and why.
    fn outcome(&self, told: &Value, login: &str) -> (String, String) {
        let row = row(told, &self.namespace(login));
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        (text("outcome"), text("why"))
    }

    fn is_there(&self, login: &str) -> bool {
        let (status, found) = self.admin.ask(Method::GET, &self.path(login), Value::Null);
        status == 200 && found["metadata"]["deletionTimestamp"].is_null()
    }

    /// The account database of this host alone: the machine's without some accounts, and with others.
    fn accounts(&self, without: &[&str], with: &[&str]) {
        let text = fs::read_to_string("/etc/passwd").unwrap();
        let mut lines: Vec<String> = text
            .lines()
            .filter(|line| !without.iter().any(|name| line.starts_with(&format!("{name}:"))))
            .map(str::to_owned)
            .collect();
        lines.extend(with.iter().map(|name| format!("{name}:x:4000:4000::/:/bin/sh")));
        let file = self.host.directory.path().join("passwd");
        fs::write(&file, lines.join("\n") + "\n").unwrap();
        self.sh(&format!(
            "umount /etc/passwd 2>/dev/null || true; mount --bind {} /etc/passwd",
            file.display()
        ));
    }
}

/// The cluster's clock is this machine's.
fn now() -> i64 {
    let time = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    i64::try_from(time).unwrap()
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_namespace_is_deleted_when_its_user_was_missing_for_the_configured_days() {
    let mut place = Place::new(&["alice", "ssa-gone"]);
    place.host.configuration["namespaces"] = json!({"prune_after_days": 2});
    place.host.configure();
    // Looking remembers nothing.
    let told = place.told(&["prune", "--dry-run"]);
    assert_eq!(place.outcome(&told, "ssa-gone").1, "its user has been missing for 0 of 2 days");
    assert!(!place.memory().exists());
    let told = place.prune();
    assert_eq!(place.outcome(&told, "alice"), ("kept".into(), "its user exists".into()));
    let kept = ("kept".to_owned(), "its user has been missing for 0 of 2 days".to_owned());
    assert_eq!(place.outcome(&told, "ssa-gone"), kept);
    assert_eq!(fs::metadata(place.memory()).unwrap().permissions().mode() & 0o7777, 0o600);
    // A second look right after it changes nothing.
    assert_eq!(place.outcome(&place.prune(), "ssa-gone"), kept);

    place.backdate("ssa-gone", 2 * DAY - 60);
    let told = place.prune();
    assert_eq!(place.outcome(&told, "ssa-gone").1, "its user has been missing for 1 of 2 days");
    place.backdate("ssa-gone", 2 * DAY + 60);
    let told = place.told(&["prune", "--dry-run"]);
    assert_eq!(place.outcome(&told, "ssa-gone").0, "would delete");
    assert!(place.is_there("ssa-gone"));
    let told = place.prune();
    assert_eq!(place.outcome(&told, "ssa-gone").0, "deleted");
    assert!(!place.is_there("ssa-gone"));
    assert!(place.is_there("alice"));
    assert_eq!(place.remembered()["clusters"]["main"], Value::Null, "{}", place.remembered());
    until("the namespace is gone", || !place.admin.exists(&place.path("ssa-gone")));
    place.prune();
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_user_who_is_back_is_counted_anew() {
    let place = Place::new(&["alice", "ssa-back", "ssa-gone"]);
    place.missing_for_long(&["ssa-back", "ssa-gone"]);
    // The account is made, and only looked at once, before it goes again.
    place.accounts(&[], &["ssa-back"]);
    let told = place.told(&["prune", "--dry-run"]);
    assert_eq!(place.outcome(&told, "ssa-back").1, "its user exists");
    let told = place.prune();
    assert_eq!(place.outcome(&told, "ssa-back").1, "its user exists");
    assert_eq!(place.outcome(&told, "ssa-gone").0, "deleted");
    place.accounts(&[], &[]);
    let told = place.prune();
    assert_eq!(place.outcome(&told, "ssa-back").1, "its user has been missing for 0 of 30 days");
    assert!(place.is_there("ssa-back"));
}

#[test]
#[ignore = "needs the test bed: make test"]
fn prune_keeps_everything_that_is_not_a_gone_users_alone() {
    let mut place = Place::new(&["alice", "ssa-gone", "ssa-pod", "ssa-account", "ssa-record", "ssa-mapped"]);
    // A login that only a project's rule still maps to an account that exists.
    place.host.configuration["users"]["mapping"] =
        json!([{"login": "ssa-mapped", "user": "bob", "project": "OLD"}, "identity"]);
    let names: Vec<(&str, Value)> = vec![
        ("team", json!({"adminProperty:k8sNS": place.namespace("team")})),
        ("shared", json!({})),
        ("group", json!({"group": "ssa-gone"})),
        ("project", json!({"login": "ssa-gone", "projectKey": "X"})),
        // A name that no template of this configuration gives: of another host's, with another account database.
        ("other", json!({"login": "ssa-elsewhere"})),
        ("user", json!({"user": "user"})),
        ("spelt", json!("not an owner")),
    ];
    for (name, owner) in &names {
        place.admin.namespace(&place.namespace(name), owner);
    }
    place.host.configuration["profiles"]["shared"] = place.host.configuration["profiles"]["per-user"].clone();
    place.host.configuration["profiles"]["shared"]["namespace"]["template"] =
        json!(place.namespace("shared"));
    place.host.configuration["profiles"]["project"] =
        place.host.configuration["profiles"]["per-user"].clone();
    place.host.configuration["profiles"]["project"]["namespace"]["template"] =
        json!("${projectKey}-${login}");
    place.host.configure();
    // One without an owner, one that is not managed.
    let patch = |labels: Value, annotations: Value| json!({"metadata": {"labels": labels, "annotations": annotations}});
    place.admin.namespace(&place.namespace("nobody"), &json!({}));
    let unowned = patch(json!({}), json!({"spark-submit-as/owner": null}));
    place.admin.done(Method::PATCH, &place.path("nobody"), unowned);
    place.admin.namespace(&place.namespace("ssa-unmanaged"), &json!({"login": "ssa-unmanaged"}));
    let unmanaged = patch(json!({"spark-submit-as/managed": null}), json!({}));
    place.admin.done(Method::PATCH, &place.path("ssa-unmanaged"), unmanaged);

    // What a job on another host has there, and what this host has on record.
    let pods = format!("{}/pods", place.path("ssa-pod"));
    place.admin.done(Method::POST, &pods, pod("p", &json!({"spark-submit-as/job": numbered(1)})));
    let accounts = format!("{}/serviceaccounts", place.path("ssa-account"));
    place.admin.done(Method::POST, &accounts, account(&numbered(2), "host-b", "2099-01-01T00:00:00Z"));
    let job = ended(&mut place.host.job("alice"));
    assert_eq!(job.code(), 0, "{job:?}");
    let text = place.host.record(&job.job()).to_string();
    let text = text
        .replace(&place.namespace("alice"), &place.namespace("ssa-record"))
        .replace(&job.job(), &numbered(3));
    crate::world::dead::put_record(&place.host, &numbered(3), text.as_bytes());

    let old = ["ssa-gone", "ssa-pod", "ssa-account", "ssa-record"];
    place.missing_for_long(&old);
    let told = place.prune();
    for (login, why) in [
        ("alice", "its user exists"),
        ("ssa-mapped", "its user exists"),
        ("ssa-pod", "a job's pod is in it"),
        ("ssa-account", "a job's account is in it"),
        ("ssa-record", "a job in it is on record on this host"),
        ("team", "it is not one person's"),
        ("shared", "it is not one person's"),
        ("group", "it is not one person's"),
        ("project", "it is not one person's"),
        ("other", "no profile of this configuration gives this name for its owner"),
        ("user", "no profile of this configuration gives this name for its owner"),
        ("spelt", "its owner is none that a run would write"),
        ("nobody", "it has no owner"),
    ] {
        assert_eq!(place.outcome(&told, login), ("kept".to_owned(), why.to_owned()), "{login}");
        assert!(place.is_there(login), "{login}");
    }
    assert!(place.is_there("ssa-unmanaged"));
    // Had nothing been deleted at all, the test would have seen nothing.
    assert_eq!(place.outcome(&told, "ssa-gone").0, "deleted");
    assert!(!place.is_there("ssa-gone"));

    // The same namespaces, when nothing of a job is left.
    place.admin.done(Method::DELETE, &format!("{accounts}/ssa-job-{}", numbered(2)), Value::Null);
    fs::remove_dir_all(place.host.jobs().join(numbered(3))).unwrap();
    let told = place.prune();
    assert_eq!(place.outcome(&told, "ssa-account").0, "deleted");
    assert_eq!(place.outcome(&told, "ssa-record").0, "deleted");
    assert_eq!(place.outcome(&told, "ssa-pod").1, "a job's pod is in it");

    // A record that cannot be read may be of any namespace.
    crate::world::dead::put_record(&place.host, &numbered(4), b"{}");
    place.call(&["prune", "--yes"]).refused(228, "nothing was deleted");
    assert!(place.is_there("ssa-pod"));
}

#[test]
#[ignore = "needs the test bed: make test"]
fn nothing_is_deleted_or_counted_when_the_account_database_cannot_be_believed() {
    let place = Place::new(&["alice", "bob", "ssa-gone"]);
    place.missing_for_long(&["ssa-gone"]);
    let remembered = place.remembered();
    let refused = |message: &str| {
        for words in [["prune", "--yes"], ["prune", "--dry-run"]] {
            let ended = place.call(&words);
            ended.refused(212, message);
            assert!(ended.stderr.contains("nothing was deleted and nothing was counted"), "{ended:?}");
        }
        assert!(["alice", "bob", "ssa-gone"].iter().all(|login| place.is_there(login)), "{message}");
        assert_eq!(place.remembered(), remembered, "{message}");
    };
    // A directory that is down, and says so: files are asked first, so it is asked for those who are not in them.
    let directory = place.host.directory.path().to_owned();
    let source = directory.join("fail.c");
    fs::write(
        &source,
        "#include <errno.h>\n\
         #define FAIL(f) int f(const char *n, void *r, char *b, unsigned long l, int *e) { *e = ANSWER; return STATUS; }\n\
         FAIL(_nss_fail_getpwnam_r)\n",
    )
    .unwrap();
    place.sh(&format!(
        "d=$(dirname $(ldd {} | awk '/libc.so/ {{print $3}}')); mkdir {t}/over; mount -t tmpfs none {t}/over; \
         mkdir {t}/over/u {t}/over/w; printf 'passwd: files fail\ngroup: files\nshadow: files\n' > {t}/nsswitch.conf; \
         mount -t overlay overlay -o lowerdir=$d,upperdir={t}/over/u,workdir={t}/over/w $d; echo $d > {t}/libraries",
        program().display(),
        t = directory.display(),
    ));
    let libraries = fs::read_to_string(directory.join("libraries")).unwrap();
    // NSS_STATUS_UNAVAIL and NSS_STATUS_TRYAGAIN, with what a closed socket, a refused one and a slow server leave.
    for (status, errno) in [(-1, "ECONNREFUSED"), (-1, "EIO"), (-1, "ENOENT"), (-2, "EAGAIN")] {
        let module = directory.join("libnss_fail.so.2");
        let built = std::process::Command::new("cc")
            .args([
                "-shared",
                "-fPIC",
                "-w",
                &format!("-DSTATUS=({status})"),
                &format!("-DANSWER={errno}"),
                "-o",
            ])
            .args([&module, &source])
            .status();
        assert!(built.unwrap().success());
        place.sh(&format!(
            "cp {} {}; mount --bind {t}/nsswitch.conf /etc/nsswitch.conf",
            module.display(),
            libraries.trim(),
            t = directory.display()
        ));
        refused("the account database answered with an error");
        place.sh("umount /etc/nsswitch.conf");
    }
    // One that does not answer in time has a test of its own for every verb ([22], [23]).

    // A directory that is down, and says that there is nobody.
    place.accounts(&["alice", "bob"], &[]);
    refused("all users of all namespaces are missing");
    place.accounts(&[], &[]);
    let groups = directory.join("group");
    let text = fs::read_to_string("/etc/group").unwrap();
    let without: Vec<&str> = text.lines().filter(|line| !line.starts_with("spark-users:")).collect();
    fs::write(&groups, without.join("\n") + "\n").unwrap();
    place.sh(&format!("mount --bind {} /etc/group", groups.display()));
    refused("does not know a group of `users.allowed_groups`");
    place.sh("umount /etc/group");

    // The same place, when it answers.
    assert_eq!(place.outcome(&place.prune(), "ssa-gone").0, "deleted");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn what_is_remembered_is_not_trusted_more_than_it_deserves() {
    let place = Place::new(&["alice", "ssa-gone"]);
    place.missing_for_long(&["ssa-gone"]);
    let good = place.remembered();
    let counted_anew = |what: &str| {
        let ended = place.call(&["prune", "--yes", "--json"]);
        assert_eq!(ended.code(), 0, "{ended:?}");
        assert!(ended.stderr.contains("every count starts anew"), "{what}: {ended:?}");
        let told = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(
            place.outcome(&told, "ssa-gone").1,
            "its user has been missing for 0 of 30 days",
            "{what}"
        );
        assert!(place.is_there("ssa-gone"), "{what}");
    };
    fs::write(place.memory(), &good.to_string()[..50]).unwrap();
    counted_anew("cut");
    let aside = fs::read_dir(place.host.state().join("quarantine")).unwrap().count();
    assert_eq!(aside, 1);
    private(&place.memory(), &good);
    fs::set_permissions(place.memory(), fs::Permissions::from_mode(0o666)).unwrap();
    counted_anew("others may write it");
    private(&place.memory(), &good);
    let alice = nix::unistd::User::from_name("alice").unwrap().unwrap();
    std::os::unix::fs::chown(place.memory(), Some(alice.uid.as_raw()), None).unwrap();
    counted_anew("somebody else's");
    fs::remove_file(place.memory()).unwrap();
    let elsewhere = place.host.directory.path().join("elsewhere");
    private(&elsewhere, &good);
    std::os::unix::fs::symlink(&elsewhere, place.memory()).unwrap();
    counted_anew("a link");
    // Another namespace of that name is another one.
    let mut other = good.clone();
    let absences = other["clusters"]["main"].as_object_mut().unwrap();
    let absence = absences.values().next().unwrap().clone();
    *absences = serde_json::Map::from_iter([("00000000-0000-0000-0000-000000000000".to_owned(), absence)]);
    private(&place.memory(), &other);
    assert_eq!(place.outcome(&place.prune(), "ssa-gone").1, "its user has been missing for 0 of 30 days");
    // One of a later version is left for that version.
    let mut newer = good.clone();
    newer["version"] = json!(2);
    private(&place.memory(), &newer);
    place.call(&["prune", "--yes"]).refused(228, "is of version 2");
    assert_eq!(place.remembered(), newer);
    // Two prunes at once would forget what the other one saw.
    private(&place.memory(), &good);
    let lock = place.host.state().join(".missing-users.lock");
    let lock = nix::fcntl::Flock::lock(fs::File::open(lock).unwrap(), nix::fcntl::FlockArg::LockExclusive);
    let lock = lock.map_err(|(_, error)| error).unwrap();
    place.call(&["prune", "--yes"]).refused(228, "another `namespace prune` is at work");
    drop(lock);
    assert_eq!(place.outcome(&place.prune(), "ssa-gone").0, "deleted");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_namespace_that_changes_after_the_look_is_kept() {
    let place = Place::new(&["alice", "ssa-gone"]);
    place.missing_for_long(&["ssa-gone"]);
    let name = place.namespace("ssa-gone");
    let through = place.host.directory.path().join("through.kubeconfig");
    // The token means nothing: the proxy comes with the administrator's certificate.
    let proxy = Proxy::start(&place.kubeconfig, "127.0.0.1", &[]);
    proxy.kubeconfig(&through, &json!({"token": identity::make(&place.admin, &place.namespace("id2"))}));
    proxy.rule(
        json!({"method": "DELETE", "path": format!("/namespaces/{name}$"), "fault": "late", "seconds": 3}),
    );
    let words = ["namespace", "prune", "--yes", "--json", "--kubeconfig", through.to_str().unwrap()];
    let running = start(&mut place.host.call(&words));
    until("the deletion is on its way", || proxy.log(0).iter().any(|request| request.method == "DELETE"));
    let given_away = json!({"metadata": {"annotations": {"spark-submit-as/owner": "{\"login\":\"alice\"}"}}});
    place.admin.done(Method::PATCH, &place.path("ssa-gone"), given_away);
    let ended = running.end();
    assert_eq!(ended.code(), 0, "{ended:?}");
    let told = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(place.outcome(&told, "ssa-gone"), ("kept".into(), "it was changed meanwhile".into()));
    assert!(place.is_there("ssa-gone"));

    // An answer that is lost is looked after: the deletion was served.
    let back = json!({"metadata": {"annotations": {"spark-submit-as/owner": "{\"login\":\"ssa-gone\"}"}}});
    place.admin.done(Method::PATCH, &place.path("ssa-gone"), back);
    proxy.reset();
    let rule = json!({"method": "DELETE", "path": format!("/namespaces/{name}$"), "fault": "reset-after"});
    proxy.rule(rule);
    let ended = crate::support::ended(&mut place.host.call(&words));
    let told = serde_json::from_str(&ended.stdout).unwrap();
    let (outcome, why) = place.outcome(&told, "ssa-gone");
    assert!(outcome == "deleted" || why == "it is gone already", "{ended:?}");
    assert!(!place.is_there("ssa-gone"));
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_kubeconfig_that_leads_to_another_cluster_deletes_nothing() {
    let mut place = Place::new(&["alice", "ssa-gone"]);
    place.missing_for_long(&["ssa-gone"]);
    // To the cluster's own kubeconfig, a namespace of that name is another one: here another cluster stands in for its
    // own, with the same names.
    let name = place.namespace("ssa-gone");
    let proxy = Proxy::start(&place.kubeconfig, "127.0.0.1", &[]);
    let own = place.host.directory.path().join("own.kubeconfig");
    proxy.kubeconfig(&own, &json!({"token": identity::make(&place.admin, &place.namespace("id2"))}));
    let body = json!({"kind": "Namespace", "metadata": {"name": name, "uid": "another", "resourceVersion": "1",
                      "creationTimestamp": "2026-01-01T00:00:00Z"}});
    proxy.rule(
        json!({"method": "GET", "path": format!("/namespaces/{name}$"), "fault": "status", "code": 200,
                      "body": body.to_string(), "always": true}),
    );
    place.host.configuration["clusters"]["main"]["kubeconfig"] = json!(own.to_str().unwrap());
    place.host.configure();
    place.call(&["prune", "--yes"]).refused(200, "does --kubeconfig lead to another cluster?");
    assert!(place.is_there("ssa-gone"));
}
