//! `config explain`, mapping as a platform's logins have it, and accounts that are in no file.

use serde_json::json;

use super::*;

fn mapped() -> Place {
    Place::new(&["alice"], EVERYBODY, |configuration, _| {
        configuration["callers"] = json!([
            {"account": "dssuser", "may_run_as": {"groups": ["spark-users"]}, "profiles": ["per-user"]},
            {"group": "spark-users", "may_run_as": "self"},
            {"account": "root", "may_run_as": {"users": ["bob"]}},
        ]);
        configuration["users"]["mapping"] = json!([
            {"login": "First.Last@corp.com", "user": "alice"},
            {"regex": "([^@]+)@corp\\.com", "user": "bob", "project": "SALES"},
            {"regex": "([^@+]+)(?:\\+[^@]*)?@corp\\.com", "user": "$1"},
            "identity",
        ]);
        configuration["profiles"]["by-account"] = configuration["profiles"]["per-user"].clone();
        configuration["profiles"]["by-account"]["namespace"] =
            json!({"template": "ssa-by-${user}-${projectKey|default('none')}", "policies": ["small"]});
        configuration["namespace_policies"]["by-name"] =
            json!({"namespaces": "ssa-by-.*", "labels": {"corp.com/by": "name"}});
    })
}

#[test]
#[ignore = "needs the test bed: make test"]
fn explain_shows_each_rule_and_what_comes_of_it() {
    let mut place = mapped();
    let server = place.watched();
    let sales = place.explained(&["--user", "First.Last@corp.com", "--project", "SALES"]);
    assert_eq!(
        sales["rules"],
        json!([
            "users.mapping[1] (regex): matches",
            "users.mapping[0] (login): was not reached",
            "users.mapping[2] (regex): was not reached",
            "users.mapping[3] (identity): was not reached",
        ])
    );
    assert_eq!(sales["account"], "bob");
    let plain = place.explained(&["--user", "First.Last@corp.com"]);
    assert_eq!(
        plain["rules"][0],
        "users.mapping[1] (regex): is for a project that this job does not belong to"
    );
    assert_eq!(plain["rules"][1], "users.mapping[0] (login): matches");
    assert_eq!(
        (plain["account"].as_str(), plain["uid"].as_u64()),
        (Some("alice"), Some(ids("alice").0.into()))
    );
    let checks = plain["checks"].as_array().unwrap();
    assert!(checks.len() >= 9 && checks.iter().all(|check| check["passes"] == true), "{plain}");
    let profile = |value: &Value, name: &str| {
        let all = value["profiles"].as_array().unwrap();
        all.iter().find(|profile| profile["profile"] == name).cloned().unwrap_or_else(|| panic!("{value}"))
    };
    // What a run would be refused for is told with its rule, and not in the way of the rest.
    let per_user = profile(&plain, "per-user");
    assert!(per_user["refused"].as_str().unwrap().contains("accept_shared_account"), "{per_user}");
    assert_eq!(per_user["callers"], json!(["callers[0]", "callers[1]"]));
    let by_account = profile(&plain, "by-account");
    assert_eq!(by_account["callers"], json!([]), "a project that the end-user would choose itself");
    assert!(by_account["namespace"].as_str().unwrap().starts_with("ssa-by-alice-none-"), "{by_account}");
    assert_eq!(by_account["namespace_owner"], r#"{"projectKey":null,"user":"alice"}"#);
    assert_eq!(
        by_account["policies"],
        json!(["by-name", "small"]),
        "by its own word, and by the namespace's name"
    );
    // A run says the same.
    place.configure(|configuration| configuration["callers"] = json!(["dssuser"]));
    let decision = place.decided("dssuser", &["--user", "First.Last@corp.com", "--profile", "by-account"]);
    for key in ["namespace", "namespace_owner", "rules"] {
        let told = if key == "rules" { &plain[key] } else { &by_account[key] };
        assert_eq!(&decision[key], told, "{key}");
    }
    // One profile only, and for people.
    let one = place.explained(&["--user", "alice", "--profile", "per-team"]);
    assert_eq!(one["profiles"].as_array().unwrap().len(), 1);
    place
        .said("root", &["config", "explain", "--user", "alice", "--profile", "nosuch"])
        .refused(207, "no such profile");
    let text = place.said("root", &["config", "explain", "--user", "mallory"]);
    assert_eq!(text.code(), 0, "{text:?}");
    for line in
        ["UNIX account mallory (uid ", "FAIL allowed group: account mallory is in no group", "refused"]
    {
        assert!(text.stdout.contains(line), "no {line:?} in {text:?}");
    }
    // Logins that come to nothing.
    let nothing = place.explained(&["--user", "@"]);
    assert!(nothing["refused"].as_str().unwrap().contains("users.mapping[3]"), "{nothing}");
    assert_eq!(nothing["rules"].as_array().unwrap().len(), 4);
    assert!(place.explained(&["--user", "nosuch"])["refused"].as_str().unwrap().contains("does not exist"));
    place.said("root", &["config", "explain", "--user", "a b"]).refused(206, "login");
    assert!(server.accept().is_err(), "the API server was asked");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn logins_as_platforms_have_them_run_as_the_account_that_the_rules_say() {
    let mut place = mapped();
    place.configure(|configuration| {
        configuration["callers"] = json!(["dssuser", "root"]);
        configuration["profiles"]["by-account"]["namespace"]["template"] =
            json!(format!("{}-${{user}}", place_prefix(configuration)));
    });
    let out = place.host.directory.path().join("who");
    fs::write(&out, "").unwrap();
    fs::set_permissions(&out, fs::Permissions::from_mode(0o666)).unwrap();
    place.host.script(&format!("id -un > {}", out.display()));
    place.configure(|configuration| {
        configuration["profiles"]["by-account"]["spark_home"] =
            configuration["profiles"]["per-user"]["spark_home"].clone();
    });
    // The only namespace that is prepared is alice's.
    for login in ["First.Last@corp.com", "alice+spark@corp.com", "alice@corp.com", "alice"] {
        fs::write(&out, "").unwrap();
        let ended = place.said("dssuser", &["run", "--user", login, "--profile", "by-account", "--", "x.py"]);
        assert_eq!(ended.code(), 218, "{login}: the namespace is prepared for another owner: {ended:?}");
    }
    let namespace = place.host.namespace("alice");
    kubectl(&[
        "annotate",
        "namespace",
        &namespace,
        "--overwrite",
        "spark-submit-as/owner={\"user\":\"alice\"}",
    ]);
    for login in ["First.Last@corp.com", "alice+spark@corp.com", "alice@corp.com", "alice"] {
        fs::write(&out, "").unwrap();
        let ended = place.said("dssuser", &["run", "--user", login, "--profile", "by-account", "--", "x.py"]);
        assert_eq!(ended.code(), 0, "{login}: {ended:?}");
        assert_eq!(fs::read_to_string(&out).unwrap(), "alice\n", "{login}");
    }
    for login in ["ALICE", "Alice@corp.com", "alice@CORP.com", "al ice", "alice@corp.com ", "ali+ce"] {
        let ended = place.said("dssuser", &["run", "--user", login, "--profile", "by-account", "--", "x.py"]);
        assert_eq!(ended.status.code(), Some(206), "{login}: {ended:?}");
    }
}

/// The prefix of the host's namespaces, from its configuration.
fn place_prefix(configuration: &Value) -> String {
    let template = configuration["profiles"]["per-user"]["namespace"]["template"].as_str().unwrap();
    template.strip_suffix("-${dssUserLogin}").unwrap().to_owned()
}

/// A module for the name service switch that knows one account, spelt as it likes, in 70 groups and no file.
const MODULE: &str = r#"
#include <errno.h>
#include <grp.h>
#include <nss.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
enum { UID = 61234, FIRST = 71000, COUNT = 70 };
static enum nss_status fill(struct passwd *p, char *b, size_t n, int *e) {
  const char *text[] = {"ssanss", "x", "", "/", "/bin/sh"};
  char **field[] = {&p->pw_name, &p->pw_passwd, &p->pw_gecos, &p->pw_dir, &p->pw_shell};
  for (int i = 0; i < 5; i++) {
    size_t m = strlen(text[i]) + 1;
    if (m > n) { *e = ERANGE; return NSS_STATUS_TRYAGAIN; }
    memcpy(b, text[i], m); *field[i] = b; b += m; n -= m;
  }
  p->pw_uid = UID; p->pw_gid = FIRST;
  return NSS_STATUS_SUCCESS;
}
enum nss_status _nss_ssatest_getpwnam_r(const char *name, struct passwd *p, char *b, size_t n, int *e) {
  return strcasecmp(name, "ssanss") ? NSS_STATUS_NOTFOUND : fill(p, b, n, e);
}
enum nss_status _nss_ssatest_getpwuid_r(uid_t uid, struct passwd *p, char *b, size_t n, int *e) {
  return uid != UID ? NSS_STATUS_NOTFOUND : fill(p, b, n, e);
}
static enum nss_status group(gid_t gid, struct group *g, char *b, size_t n, int *e) {
  if (n < 64 + sizeof(char *)) { *e = ERANGE; return NSS_STATUS_TRYAGAIN; }
  g->gr_mem = (char **)b; *g->gr_mem = NULL; b += sizeof(char *);
  g->gr_name = b; b += sprintf(b, "ssanss-team-%d", (int)gid - FIRST) + 1;
  g->gr_passwd = strcpy(b, "x"); g->gr_gid = gid;
  return NSS_STATUS_SUCCESS;
}
enum nss_status _nss_ssatest_getgrgid_r(gid_t gid, struct group *g, char *b, size_t n, int *e) {
  return gid < FIRST || gid >= FIRST + COUNT ? NSS_STATUS_NOTFOUND : group(gid, g, b, n, e);
}
enum nss_status _nss_ssatest_getgrnam_r(const char *name, struct group *g, char *b, size_t n, int *e) {
  int i;
  return sscanf(name, "ssanss-team-%d", &i) != 1 || i < 0 || i >= COUNT ? NSS_STATUS_NOTFOUND : group(FIRST + i, g, b, n, e);
}
enum nss_status _nss_ssatest_initgroups_dyn(const char *name, gid_t skip, long *start, long *size, gid_t **list, long limit, int *e) {
  if (strcasecmp(name, "ssanss")) return NSS_STATUS_NOTFOUND;
  for (int i = 0; i < COUNT; i++) {
    if ((gid_t)(FIRST + i) == skip) continue;
    if (*start == *size) {
      gid_t *more = realloc(*list, 2 * *size * sizeof(gid_t));
      if (!more) { *e = ENOMEM; return NSS_STATUS_TRYAGAIN; }
      *list = more; *size *= 2;
    }
    (*list)[(*start)++] = FIRST + i;
  }
  return NSS_STATUS_SUCCESS;
}
"#;

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_22_24_an_account_of_a_directory_service_runs_in_all_its_groups() {
    let mut place = Place::new(&["ssanss"], EVERYBODY, |configuration, _| {
        configuration["callers"] = json!(["dssuser", "root"]);
        configuration["users"]["allowed_groups"] = json!(["ssanss-team-69"]);
        configuration["users"]["team"] = json!({"from_groups": "ssanss-team-(.*)"});
        configuration["profiles"]["by-account"] = configuration["profiles"]["per-user"].clone();
        configuration["profiles"]["by-account"]["namespace"] = json!({"template": "ssa-by-${user}"});
    });
    // The module is where the C library looks, on this host alone.
    let directory = place.host.directory.path().to_owned();
    let source = directory.join("module.c");
    let module = directory.join("libnss_ssatest.so.2");
    fs::write(&source, MODULE).unwrap();
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&module, &source]).output().unwrap();
    assert!(built.status.success(), "{built:?}");
    let switch = directory.join("nsswitch.conf");
    fs::write(&switch, "passwd: files ssatest\ngroup: files ssatest\nshadow: files\n").unwrap();
    let script = format!(
        "set -e; d=$(dirname $(ldd {program} | awk '/libc.so/ {{print $3}}')); mount --bind {switch} /etc/nsswitch.conf; \
         mkdir {directory}/over; mount -t tmpfs none {directory}/over; mkdir {directory}/over/u {directory}/over/w; \
         cp {module} {directory}/over/u/; \
         mount -t overlay overlay -o lowerdir=$d,upperdir={directory}/over/u,workdir={directory}/over/w $d",
        program = place.host.bed.program.display(),
        switch = switch.display(),
        module = module.display(),
        directory = directory.display(),
    );
    let mounted = ended(&mut place.host.on(&["sh", "-c", &script]));
    assert_eq!(mounted.code(), 0, "{mounted:?}");

    let told = place.explained(&["--user", "ssanss", "--profile", "per-user"]);
    assert_eq!((told["uid"].as_u64(), &told["refused"]), (Some(61_234), &Value::Null), "{told}");
    let out = directory.join("groups");
    fs::write(&out, "").unwrap();
    fs::set_permissions(&out, fs::Permissions::from_mode(0o666)).unwrap();
    place.host.script(&format!(
        "grep ^Groups: /proc/self/status > {}; echo $USER >> {}",
        out.display(),
        out.display()
    ));
    let run = ["run", "--user", "ssanss", "--profile", "per-user", "--team", "42", "--", "x.py"];
    let ended = place.said("dssuser", &run);
    assert_eq!(ended.code(), 0, "{ended:?}");
    let text = fs::read_to_string(&out).unwrap();
    let gids: Vec<u32> =
        text.lines().next().unwrap().split_whitespace().filter_map(|gid| gid.parse().ok()).collect();
    assert_eq!(gids, (71_000..71_070).collect::<Vec<u32>>());

    // The service takes any spelling for one account. It is one account: one name, one namespace of it, and a namespace of
    // each spelling is refused.
    let other = place.decided("dssuser", &["--user", "SsaNss", "--profile", "by-account"]);
    assert_eq!(
        (other["user"].as_str(), other["namespace"].as_str()),
        (Some("ssanss"), Some("ssa-by-ssanss"))
    );
    place.dry("dssuser", &["--user", "SsaNss", "--profile", "per-user"]).refused(208, "the account database");
}
