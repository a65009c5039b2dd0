//! The table of verbs, the forms of `callers`, and the shipped sudoers files.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::json;
use spark_submit_as::supervisor::who::{TABLE, Who};

use super::*;

/// Words for a verb that is allowed.
fn words(verb: &str) -> Vec<&str> {
    let rest: &[&str] = match verb {
        "run" => &["--dry-run", "--user", "alice", "--profile", "per-user", "--", "x.py"],
        "kill" => &["aaaaaaaaaaaaaaaa"],
        "reap" => &["--dry-run"],
        "namespace list" => &["--kubeconfig", "/x"],
        "namespace adopt" => &["n", "--kubeconfig", "/x", "--profile", "p", "--user", "alice"],
        "namespace policies apply" => &["--kubeconfig", "/x", "--all"],
        "namespace prune" => &["--kubeconfig", "/x", "--dry-run"],
        "config explain" => &["--user", "alice"],
        "properties set" => &["--login", "zed", "key", "value"],
        "properties unset" => &["--login", "zed", "key"],
        _ => &[],
    };
    verb.split(' ').chain(rest.iter().copied()).collect()
}

#[test]
#[ignore = "needs the test bed: make test"]
fn each_verb_is_for_those_whom_the_table_names() {
    let place = Place::new(&["alice"], EVERYBODY, |configuration, directory| {
        configuration["callers"] = json!(["dssuser", "root", {"group": "spark-users", "may_run_as": "self"}]);
        let properties = directory.join("properties.yaml");
        fs::write(&properties, "logins: {}\n").unwrap();
        configuration["users"]["properties"] = json!(properties);
    });
    let mut seen = 0;
    for (verb, who) in TABLE {
        for account in ["dssuser", "alice", "mallory", "root"] {
            let allowed = match who {
                Who::Anybody => true,
                Who::Root => account == "root",
                Who::Callers => account != "mallory",
            };
            let ended = place.said(account, &words(verb));
            let refused = ended.status.code() == Some(205);
            assert_eq!(!refused, allowed, "{verb} by {account}: {ended:?}");
            if *who == Who::Root && !allowed {
                ended.refused(205, "this verb is for root itself");
                assert_eq!(ended.stdout, "", "{verb} by {account}");
            }
            seen += 1;
        }
    }
    assert_eq!(seen, TABLE.len() * 4);
    // Without sudo nobody gets that far, and no set-uid program is there.
    let call = format!("{} list", place.host.bed.program.display());
    ended(&mut place.host.on(&["sudo", "-u", "dssuser", "sh", "-c", &call])).refused(201, "through sudo");
}

/// A shipped file, for the test bed's program.
fn shipped(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("sudoers.d").join(name);
    fs::read_to_string(path).unwrap().replace("/usr/local/bin/spark-submit-as", "PROGRAM")
}

#[test]
#[ignore = "needs the test bed: make test"]
fn each_shipped_sudoers_file_is_one_and_lets_in_whom_it_names() {
    let place = Place::new(&["alice"], "", |configuration, _| {
        configuration["callers"] = json!([
            {"account": "dssuser", "may_run_as": {"groups": ["spark-users"]}},
            {"account": "mallory", "may_run_as": {"users": ["bob"]}},
            {"group": "spark-users", "may_run_as": "self"},
        ]);
    });
    let shipped_files: BTreeSet<String> =
        fs::read_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("sudoers.d"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
    // The file, an account that it names, a login for that account, and one that it does not name.
    let rows = [
        ("spark-submit-as", "dssuser", "alice", "mallory"),
        ("spark-submit-as-accounts", "mallory", "bob", "alice"),
        ("spark-submit-as-group", "alice", "alice", "dssuser"),
    ];
    assert_eq!(shipped_files, rows.iter().map(|(file, ..)| (*file).to_owned()).collect());
    for (file, account, login, other) in rows {
        place.sudoers(&shipped(file).replace("airflow", "mallory"));
        let path = place.host.directory.path().join("sudoers.d/test");
        let checked = ended(Command::new("visudo").arg("-cf").arg(&path));
        assert_eq!(checked.code(), 0, "{file}: {checked:?}");
        let decision = place.decided(account, &["--user", login, "--profile", "per-user"]);
        assert_eq!((decision["user"].as_str(), decision["caller"].as_str()), (Some(login), Some(account)));
        // sudo itself keeps the others out, and other programs.
        let refused = place.dry(other, &["--user", login, "--profile", "per-user"]);
        assert_eq!(refused.code(), 1, "{file}: {refused:?}");
        assert!(refused.stderr.contains("password is required"), "{file}: {refused:?}");
        let id = ended(&mut place.host.on(&["sudo", "-u", account, "sudo", "-n", "/usr/bin/id"]));
        assert_eq!(id.code(), 1, "{file}: {id:?}");
        // Nor may a variable be handed through.
        let with = format!("{}", place.host.bed.program.display());
        let set = ended(&mut place.host.on(&["sudo", "-u", account, "sudo", "-n", "X=1", &with, "list"]));
        assert_eq!(set.code(), 1, "{file}: {set:?}");
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_callers_own_rule_narrows_what_users_allows() {
    let mut place = Place::new(&["alice"], EVERYBODY, |configuration, _| {
        configuration["users"]["denied"] = json!(["bob"]);
        configuration["callers"] = json!([
            {"account": "dssuser", "may_run_as": {"groups": ["spark-users"]}, "profiles": ["per-user"]},
            {"account": "mallory", "may_run_as": {"users": ["ssa-twin", "dssuser", "bob"]}},
            {"group": "spark-users", "may_run_as": "self"},
            {"account": "mallory", "may_run_as": {"users": ["alice"]}, "profiles": ["per-team"]},
            {"group": "ssa-team-blue", "may_run_as": {"users": ["alice"]}},
        ]);
        let mut project = configuration["profiles"]["per-user"].clone();
        project["namespace"] = json!({"template": "ssa-project-${projectKey|getornull}"});
        configuration["profiles"]["per-project"] = project;
    });
    let server = place.watched();
    // Caller, login, profile; the entry that lets it, or code and words of the refusal.
    type Row = (&'static str, &'static str, &'static str, Result<&'static str, (i32, &'static str)>);
    let rows: &[Row] = &[
        ("dssuser", "alice", "per-user", Ok("callers[0]")),
        ("dssuser", "alice", "per-team", Err((207, "`callers[0]` lets this caller use other profiles"))),
        ("dssuser", "alice", "nosuch", Err((207, "`callers[0]` lets this caller use other profiles"))),
        ("dssuser", "mallory", "per-user", Err((205, "`callers[0]` does not let"))),
        ("dssuser", "nosuchaccount", "per-user", Err((205, "`callers[0]` does not let"))),
        // What `users` says holds all the same.
        ("dssuser", "bob", "per-user", Err((206, "users.denied"))),
        ("mallory", "bob", "per-user", Err((206, "users.denied"))),
        ("mallory", "dssuser", "per-user", Err((206, "belongs to the platform"))),
        ("mallory", "ssa-twin", "per-user", Ok("callers[1]")),
        // Entries of one name: any that allows account and profile at once.
        ("mallory", "alice", "per-user", Err((205, "`callers[1]` does not let"))),
        ("mallory", "alice", "per-team", Ok("callers[3]")),
        ("mallory", "mallory", "per-user", Err((205, "`callers[1]` does not let"))),
        ("mallory", "nosuchaccount", "per-team", Err((205, "`callers[1]`, `callers[3]` does not let"))),
        // Themselves, and nobody else.
        ("alice", "alice", "per-user", Ok("callers[2]")),
        ("alice", "ssa-twin", "per-user", Err((205, "`callers[2]` does not let"))),
        ("alice", "nosuchaccount", "per-user", Err((205, "`callers[2]` does not let"))),
        ("alice", "root", "per-user", Err((205, "`callers[2]` does not let"))),
        ("ssa-twin", "ssa-twin", "per-user", Ok("callers[2]")),
        // The project would be the end-user's own word.
        ("alice", "alice", "per-project", Err((207, "chosen by the project"))),
        // A member of a group that has power over others is a platform's account, also for itself.
        ("ssa.twin", "alice", "per-user", Ok("callers[4]")),
        ("ssa.twin", "ssa.twin", "per-user", Err((206, "belongs to the platform"))),
        ("dssuser", "ssa.twin", "per-user", Err((206, "belongs to the platform"))),
        // Root is a caller by its name only, whatever groups it is in.
        ("root", "alice", "per-user", Err((205, "`callers` does not name root"))),
    ];
    for (caller, login, profile, expected) in rows {
        let words = ["--user", login, "--profile", profile];
        match expected {
            Ok(entry) => {
                let decision = place.decided(caller, &words);
                assert_eq!(decision["called_by"], *entry, "{caller} for {login}: {decision}");
                assert_eq!(decision["user"], *login);
            }
            Err((code, message)) => {
                let ended = place.said(caller, &[&["run"], &words[..], &["--", "x.py"]].concat());
                assert_eq!(ended.status.code(), Some(*code), "{caller} for {login}: {ended:?}");
                assert!(ended.stderr.contains(message), "{caller} for {login}: {ended:?}");
                // Of names, only the login's own account is told, and not to a caller that may not use it.
                for name in ["dssuser", "mallory", "alice", "ssa-team-blue"] {
                    let own = name == *login && *code == 206;
                    assert!(own || !ended.stderr.contains(name), "{name} in {ended:?}");
                }
            }
        }
    }
    assert!(server.accept().is_err(), "the API server was asked");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn an_end_user_runs_and_sees_its_own_jobs_and_no_others() {
    let mut place = Place::new(&["alice", "bob"], EVERYBODY, |configuration, _| {
        configuration["callers"] = json!(["dssuser", {"group": "spark-users", "may_run_as": "self"}]);
    });
    place.host.script("id -un > $HOME/ssa-identity-own; exec sleep 600");
    let run = |caller: &str, login: &str| {
        start(&mut place.call(caller, &["run", "--user", login, "--profile", "per-user", "--", "x.py"]))
    };
    let (mut own, mut platforms, mut bobs) =
        (run("alice", "alice"), run("dssuser", "alice"), run("bob", "bob"));
    let [(own_job, driver), (platform_job, _), (bob_job, _)] =
        [&mut own, &mut platforms, &mut bobs].map(Running::job);
    assert_eq!(status_field(driver, "Uid").split(' ').next().unwrap(), ids("alice").0.to_string());
    let listed = |account: &str| -> BTreeSet<String> {
        let ended = place.said(account, &["list", "--json"]);
        let jobs: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
        jobs.as_array().unwrap().iter().map(|job| job["job"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(
        listed("alice"),
        BTreeSet::from([own_job.clone()]),
        "not the platform's, though it runs as alice"
    );
    assert_eq!(listed("bob"), BTreeSet::from([bob_job.clone()]));
    assert_eq!(listed("dssuser"), BTreeSet::from([platform_job.clone()]));
    for (account, job) in
        [("bob", &own_job), ("alice", &bob_job), ("alice", &platform_job), ("dssuser", &own_job)]
    {
        for verb in ["kill", "status"] {
            place.said(account, &[verb, job]).refused(227, "no such job");
        }
    }
    for (account, job) in [("alice", &own_job), ("bob", &bob_job), ("dssuser", &platform_job)] {
        let killed = place.said(account, &["kill", job]);
        assert_eq!(killed.code(), 0, "{killed:?}");
    }
    for running in [own, platforms, bobs] {
        running.end();
    }
    for account in ["alice", "bob"] {
        shell_as(account, "rm -f ~/ssa-identity-own");
    }
    let left = place.said("root", &["list"]);
    assert_eq!(left.stdout, "", "{left:?}");
}
