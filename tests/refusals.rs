//! Sections A and B of the security checklist: who may call, as whom, and what root trusts. Each refusal is seen with its
//! exit code and message, and neither the API server nor spark-submit was touched. Needs the test bed (`make test`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use support::*;

/// A configuration of its own in a directory that only root can change, and a canary instead of Spark.
struct Place {
    directory: tempfile::TempDir,
    configuration: Value,
    /// Stands where the API server would be: a refused call must not even connect.
    server: std::net::TcpListener,
}

impl Place {
    fn new() -> Self {
        let directory = trusted_directory();
        let canary = directory.path().join("touched");
        let spark = script_spark(directory.path(), &format!("touch {}", canary.display()));
        let mut configuration = configuration();
        configuration["callers"] = json!(["root", "dssuser"]);
        configuration["profiles"]["per-user"]["spark_home"] = json!(spark.to_str().unwrap());
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        server.set_nonblocking(true).unwrap();
        let mut place = Self { directory, configuration, server };
        let address = format!("https://{}", place.server.local_addr().unwrap());
        let path = kubeconfig(&place, |value| value["clusters"][0]["cluster"]["server"] = json!(address));
        place.configuration["clusters"]["main"]["kubeconfig"] = json!(path.to_str().unwrap());
        place
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("config.yaml")
    }

    fn write(&self) -> PathBuf {
        write_configuration(self.directory.path(), &self.configuration)
    }

    /// The end of `run` for a login by root itself; nothing may have been touched.
    fn run(&self, config: &Path, login: &str) -> Ended {
        self.call(&[
            "--config",
            config.to_str().unwrap(),
            "run",
            "--user",
            login,
            "--profile",
            "per-user",
            "--",
            "x.py",
        ])
    }

    fn call(&self, arguments: &[&str]) -> Ended {
        self.untouched(|| ended(&mut as_root(arguments)))
    }

    fn untouched(&self, call: impl FnOnce() -> Ended) -> Ended {
        let mark = self.directory.path().file_name().unwrap().to_str().unwrap().to_owned();
        let ended = call();
        assert_ne!(ended.status.code(), Some(0), "{ended:?}");
        assert!(
            !self.directory.path().join("touched").exists(),
            "{mark}: spark-submit was touched: {ended:?}"
        );
        assert!(self.server.accept().is_err(), "the API server was touched: {ended:?}");
        ended
    }

    /// Writes the configuration, runs as alice, and sees the refusal.
    fn refuses(&self, code: i32, message: &str) {
        let config = self.write();
        self.run(&config, "alice").refused(code, message);
    }

    fn refuses_text(&self, text: impl AsRef<[u8]>, code: i32, message: &str) {
        fs::write(self.path(), text).unwrap();
        self.run(&self.path(), "alice").refused(code, message);
    }
}

/// Tests that change the account database take turns: useradd and these tests rewrite the same files.
static ACCOUNTS: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ACCOUNTS.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

// A. Installation and configuration

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_01_configuration_of_another_owner_is_refused() {
    let place = Place::new();
    let config = place.write();
    std::os::unix::fs::chown(&config, Some(ids("dssuser").0), None).unwrap();
    place.run(&config, "alice").refused(203, "owned by uid");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_02_configuration_that_others_may_write_is_refused() {
    let place = Place::new();
    let config = place.write();
    for bits in [0o664, 0o646, 0o666] {
        mode(&config, bits);
        place.run(&config, "alice").refused(203, "lets others than root write");
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_03_a_parent_that_others_may_change_is_refused() {
    let place = Place::new();
    let below = place.directory.path().join("below");
    fs::create_dir(&below).unwrap();
    let config = write_configuration(&below, &place.configuration);
    for (path, bits) in [(below.as_path(), 0o775), (below.as_path(), 0o1777), (place.directory.path(), 0o757)]
    {
        mode(path, bits);
        place.run(&config, "alice").refused(203, "lets others than root write");
        mode(path, 0o755);
    }
    std::os::unix::fs::chown(place.directory.path(), Some(ids("dssuser").0), None).unwrap();
    place.run(&config, "alice").refused(203, "owned by uid");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_03_the_sticky_bit_excuses_nothing() {
    let place = Place::new();
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    mode(directory.path(), 0o755);
    let config = write_configuration(directory.path(), &place.configuration);
    place.run(&config, "alice").refused(203, "/tmp: mode 1777");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_04_symbolic_links_are_refused() {
    let place = Place::new();
    let config = place.write();
    let link = place.directory.path().join("link.yaml");
    symlink(&config, &link).unwrap();
    place.run(&link, "alice").refused(203, "symbolic link");
    let directory = place.directory.path().with_extension("link");
    symlink(place.directory.path(), &directory).unwrap();
    place.run(&directory.join("config.yaml"), "alice").refused(203, "symbolic link");
    fs::remove_file(directory).unwrap();
    place.run(&place.directory.path().join("../x/config.yaml"), "alice").refused(203, "absolute path");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_05_a_configuration_that_is_swapped_is_never_used() {
    // dssuser's file is moved in and out of the place as fast as possible; it would make every login mallory.
    let place = Place::new();
    let good = place.write();
    let mut bad = place.configuration.clone();
    bad["users"]["allowed_groups"] = json!(["mallory"]);
    bad["users"]["mapping"] = json!([{"regex": ".*", "user": "mallory"}]);
    let foreign = place.directory.path().join("foreign.yaml");
    fs::write(&foreign, bad.to_string()).unwrap();
    std::os::unix::fs::chown(&foreign, Some(ids("dssuser").0), None).unwrap();
    let kept = place.directory.path().join("kept.yaml");
    fs::copy(&good, &kept).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let temporary = place.directory.path().join("next.yaml");
            let mut even = true;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = fs::hard_link(if even { &foreign } else { &kept }, &temporary);
                let _ = fs::rename(&temporary, &good);
                even = !even;
            }
        });
        for _ in 0..100 {
            let config = good.to_str().unwrap();
            let arguments = [
                "--config",
                config,
                "run",
                "--dry-run",
                "--user",
                "alice",
                "--profile",
                "per-user",
                "--",
                "x.py",
            ];
            let ended = ended(&mut as_root(&arguments));
            assert!(!ended.stdout.contains("mallory"), "{ended:?}");
            assert!([Some(0), Some(203)].contains(&ended.status.code()), "{ended:?}");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_06_no_caller_names_another_configuration() {
    let place = Place::new();
    let config = place.write();
    place.untouched(|| {
        let path = config.to_str().unwrap();
        let call = ["--config", path, "run", "--user", "alice", "--profile", "per-user", "--", "x.py"];
        let ended = ended(&mut as_platform(&call));
        ended.refused(205, "--config is for root itself");
        ended
    });
    // Variables that a program might look at change nothing.
    let mut command = Command::new(program());
    command.args(["run", "--dry-run", "--user", "alice", "--profile", "per-user", "--", "x.py"]);
    for name in ["SSA_CONFIG", "SPARK_SUBMIT_AS_CONFIG", "CONFIG", "XDG_CONFIG_HOME", "HOME"] {
        command.env(name, &config);
    }
    ended(command.env("SUDO_UID", ids("dssuser").0.to_string())).code_is_ok();
}

trait CodeIsOk {
    fn code_is_ok(&self);
}
impl CodeIsOk for Ended {
    fn code_is_ok(&self) {
        assert_eq!(self.status.code(), Some(0), "{self:?}");
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_07_text_that_is_no_configuration_is_refused() {
    let place = Place::new();
    let good = fs::read_to_string(place.write()).unwrap();
    place.refuses_text("", 204, "is empty");
    place.refuses_text([0xff, 0xfe, 0x00], 204, "UTF-8");
    place.refuses_text(good.replacen("\"users\"", "\"userz\"", 1), 204, "line");
    place.refuses_text(good.replacen("\"users\"", "\"callers\": [], \"users\"", 1), 204, "line");
    place.refuses_text(good.replacen("[\n", "\"x\"", 1), 204, "line");
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
                d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d]\n";
    place.refuses_text(bomb, 204, "");
    // A gigabyte, sparse: refused by its size, without being read into memory.
    let file = fs::File::create(place.path()).unwrap();
    file.set_len(1 << 30).unwrap();
    place.run(&place.path(), "alice").refused(204, "larger than");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_08_min_uid_that_is_no_uid_is_refused() {
    for bad in [json!("many"), json!(-1), json!(4_294_967_296_u64), json!(1.5), json!("1000"), json!(null)] {
        let mut place = Place::new();
        place.configuration["users"]["min_uid"] = bad;
        place.refuses(204, "min_uid");
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_09_no_source_text_is_printed() {
    let place = Place::new();
    for text in [
        "root:$6$verysecret$hash:19000:0:99999:7:::\n",
        "password: verysecret\n",
        "- verysecret\n",
        "\"verysecret",
    ] {
        fs::write(place.path(), text).unwrap();
        let ended = place.run(&place.path(), "alice");
        assert_eq!(ended.status.code(), Some(204), "{ended:?}");
        assert!(!ended.stderr.contains("verysecret"), "{ended:?}");
        assert!(!ended.stderr.contains("$6$"), "{ended:?}");
    }
}

fn kubeconfig(place: &Place, change: impl FnOnce(&mut Value)) -> PathBuf {
    let original = Path::new(&bed("SSA_BED_CONFIG")).with_file_name("main.kubeconfig");
    let mut value: Value = serde_json::from_slice(&fs::read(original).unwrap()).unwrap();
    change(&mut value);
    let path = place.directory.path().join("kubeconfig");
    fs::write(&path, value.to_string()).unwrap();
    mode(&path, 0o600);
    path
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_10_a_cluster_credential_that_others_can_read_is_refused() {
    let mut place = Place::new();
    let path = kubeconfig(&place, |_| {});
    place.configuration["clusters"]["main"]["kubeconfig"] = json!(path.to_str().unwrap());
    for (bits, message) in [
        (0o644, "lets others read"),
        (0o604, "lets others read"),
        (0o640, "lets others read"),
        (0o620, "write"),
    ] {
        mode(&path, bits);
        place.refuses(215, message);
    }
    mode(&path, 0o600);
    std::os::unix::fs::chown(&path, Some(ids("dssuser").0), None).unwrap();
    place.refuses(215, "owned by uid");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_11_a_cluster_credential_with_a_dangerous_field_is_refused() {
    let canary = "/var/tmp/ssa-canary-of-an-exec-plugin";
    let _ = fs::remove_file(canary);
    type Change = fn(&mut Value);
    let cases: [(&str, Change); 10] = [
        ("http", |v| v["clusters"][0]["cluster"]["server"] = json!("http://10.231.0.1:6443")),
        ("insecure-skip-tls-verify", |v| {
            v["clusters"][0]["cluster"]["insecure-skip-tls-verify"] = json!(true)
        }),
        ("as", |v| v["users"][0]["user"]["as"] = json!("system:admin")),
        ("as-groups", |v| v["users"][0]["user"]["as-groups"] = json!(["system:masters"])),
        ("auth-provider", |v| v["users"][0]["user"]["auth-provider"] = json!({"name": "gcp"})),
        ("proxy-url http", |v| v["clusters"][0]["cluster"]["proxy-url"] = json!("http://127.0.0.1:1")),
        ("proxy-url socks", |v| v["clusters"][0]["cluster"]["proxy-url"] = json!("socks5://127.0.0.1:1")),
        ("relative exec", |v| {
            v["users"][0]["user"] = json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1",
                "command": "touch", "args": ["/var/tmp/ssa-canary-of-an-exec-plugin"], "interactiveMode": "Never"}});
        }),
        ("exec that others can change", |v| {
            v["users"][0]["user"] = json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1",
                "command": "/tmp/ssa-plugin", "interactiveMode": "Never"}});
        }),
        ("no such context", |v| v["contexts"][0]["name"] = json!("other")),
    ];
    for (name, change) in cases {
        let mut place = Place::new();
        let path = kubeconfig(&place, change);
        place.configuration["clusters"]["main"]["kubeconfig"] = json!(path.to_str().unwrap());
        let config = place.write();
        let ended = place.run(&config, "alice");
        assert_eq!(ended.status.code(), Some(215), "{name}: {ended:?}");
        assert!(!Path::new(canary).exists(), "{name}: the plugin was run");
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_13_spark_that_others_can_change_is_refused() {
    let place = Place::new();
    let config = place.write();
    let spark = place.directory.path().join("spark");
    for part in ["", "bin", "jars", "bin/spark-submit", "bin/spark-class"] {
        let path = spark.join(part);
        mode(&path, 0o775);
        place.run(&config, "alice").refused(210, "lets others than root write");
        mode(&path, 0o755);
        std::os::unix::fs::chown(&path, Some(ids("alice").0), None).unwrap();
        place.run(&config, "alice").refused(210, "owned by uid");
        std::os::unix::fs::chown(&path, Some(0), None).unwrap();
    }
    fs::remove_file(spark.join("bin/spark-submit")).unwrap();
    symlink("/tmp/spark-submit", spark.join("bin/spark-submit")).unwrap();
    place.run(&config, "alice").refused(210, "/tmp: mode 1777");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_14_installed_setuid_is_refused() {
    let place = Place::new();
    let copy = place.directory.path().join("setuid");
    fs::copy(program(), &copy).unwrap();
    mode(&copy, 0o4755);
    let ended = shell_as("alice", &format!("{} run --user alice --profile per-user -- x.py", copy.display()));
    ended.refused(201, "setuid");
}

// B. Caller and target user

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_15_without_root_or_under_no_new_privs_it_refuses() {
    let call = format!("{} run --user alice --profile per-user -- x.py", program().display());
    shell_as("dssuser", &call).refused(201, "through sudo");
    ended(Command::new("setpriv").args(["--no-new-privs", "sh", "-c", &call])).refused(201, "no_new_privs");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_16_sudo_variables_never_widen_rights() {
    let mut place = Place::new();
    place.configuration["callers"] = json!(["dssuser"]);
    let config = place.write();
    // Root itself is not a caller here, and SUDO_USER of a caller does not make it one.
    place.run(&config, "alice").refused(205, "root");
    let call = |uid: &str| {
        let mut command = Command::new(program());
        command.args(["run", "--user", "alice", "--profile", "per-user", "--", "x.py"]);
        place.untouched(|| ended(command.env("SUDO_UID", uid).env("SUDO_USER", "dssuser")))
    };
    call(&ids("mallory").0.to_string()).refused(205, "mallory");
    for strange in ["-1", "4294967295", "", "0x0", "+5", "1000 ", "99999999999"] {
        call(strange).refused(205, "SUDO_UID");
    }
    call("0").refused(205, "root");
    call("4000000000").refused(205, "no account");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_17_an_account_that_is_no_caller_is_refused() {
    let sudoers = "/etc/sudoers.d/spark-submit-as-test-mallory";
    fs::write(sudoers, format!("mallory ALL=(root) NOPASSWD: {}\n", program().display())).unwrap();
    mode(Path::new(sudoers), 0o440);
    let place = Place::new();
    let call = ["run", "--user", "alice", "--profile", "per-user", "--", "x.py"];
    let ended = place.untouched(|| ended(&mut as_account("mallory", &call)));
    fs::remove_file(sudoers).unwrap();
    ended.refused(205, "mallory");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_18_uid_0_is_refused_under_any_name() {
    let _alone = alone();
    let mut place = Place::new();
    place.configuration["users"]["allowed_groups"] = json!(["root", "spark-users"]);
    place.configuration["users"]["min_uid"] = json!(1);
    let config = place.write();
    place.run(&config, "root").refused(206, "uid 0");
    let alias = "rootalias";
    Command::new("useradd")
        .args(["-o", "-u", "0", "-g", "0", "-M", "-s", "/bin/bash", alias])
        .status()
        .unwrap();
    let ended = place.run(&config, alias);
    // userdel refuses a uid that is in use (root's), so the line is taken out by hand.
    for file in ["/etc/passwd", "/etc/shadow"] {
        let text = fs::read_to_string(file).unwrap();
        let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with("rootalias:")).collect();
        fs::write(file, kept.join("\n") + "\n").unwrap();
    }
    ended.refused(206, "uid 0");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_19_20_what_is_no_login_is_refused_before_any_lookup() {
    let place = Place::new();
    let config = place.write();
    let long = "x".repeat(257);
    let names = [
        "-1",
        "4294967295",
        "#0",
        "+0",
        "0x0",
        "0",
        "",
        "1000",
        "a/b",
        "..",
        ".",
        "a\nb",
        "a:b",
        "$HOME",
        "`id`",
        "%n",
        "-rf",
        "a b",
        "é",
        "a\u{202e}b",
        "a\tb",
        "~",
        "a;b",
        "a*",
        &long,
    ];
    for name in names {
        let option = format!("--user={name}");
        let ended = place.call(&[
            "--config",
            config.to_str().unwrap(),
            "run",
            &option,
            "--profile",
            "per-user",
            "--",
            "x.py",
        ]);
        assert!([Some(206), Some(200)].contains(&ended.status.code()), "{name:?}: {ended:?}");
        assert!(!ended.stderr.contains("panicked"), "{name:?}: {ended:?}");
    }
    // A login that is legal and no UNIX name needs a rule.
    place.run(&config, "First.Last@corp.example").refused(206, "UNIX account name");
    place.run(&config, &"x".repeat(33)).refused(206, "1 to 32 bytes");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_21_accounts_that_must_not_run_jobs_are_refused() {
    let _alone = alone();
    let place = Place::new();
    let config = place.write();
    place.run(&config, "daemon").refused(206, "min_uid");
    place.run(&config, "nobody").refused(206, "denied");
    place.run(&config, "mallory").refused(206, "allowed_groups");
    place.run(&config, "nosuchaccount").refused(206, "does not exist");
    place.run(&config, "dssuser").refused(206, "platform");
    let name = "ssa-closed";
    let add = |arguments: &[&str]| {
        let _ = Command::new("userdel").arg(name).output();
        assert!(Command::new("useradd").args(arguments).arg(name).status().unwrap().success());
        let ended = place.run(&config, name);
        Command::new("userdel").arg(name).output().unwrap();
        ended
    };
    add(&["-M", "-G", "spark-users", "-s", "/usr/sbin/nologin"]).refused(206, "shell");
    add(&["-M", "-G", "spark-users", "-s", "/bin/false"]).refused(206, "shell");
    add(&["-M", "-G", "spark-users", "-s", "/bin/sh", "-e", "2001-01-01"]).refused(206, "expired");
    add(&["-M", "-G", "spark-users", "-s", "/bin/sh", "-p", "!$6$salt$hash"]).refused(206, "locked");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_22_23_an_account_database_that_hangs_is_given_up() {
    // In a mount namespace of its own, the name service switch asks a module that never answers.
    let mut place = Place::new();
    place.configuration["timeouts"] = json!({"lookup": "1s"});
    let config = place.write();
    let source = place.directory.path().join("hang.c");
    fs::write(
        &source,
        "#include <unistd.h>\n#define HANG(f) int f(void) { for (;;) pause(); }\n\
         HANG(_nss_hang_getpwnam_r) HANG(_nss_hang_getpwuid_r) HANG(_nss_hang_initgroups_dyn)\n",
    )
    .unwrap();
    let module = place.directory.path().join("libnss_hang.so.2");
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-w", "-o"]).args([&module, &source]).status().unwrap();
    assert!(built.success());
    let switch = place.directory.path().join("nsswitch.conf");
    fs::write(&switch, "passwd: hang\ngroup: files\nshadow: files\n").unwrap();
    let script = format!(
        "d=$(dirname $(ldd {program} | awk '/libc.so/ {{print $3}}')); cp -a $d/libnss_files* {directory} 2>/dev/null; \
         mount --bind {} /etc/nsswitch.conf && mkdir -p {directory}/upper {directory}/work && \
         mount -t tmpfs none {directory}/upper && mkdir {directory}/upper/u {directory}/upper/w && cp {} {directory}/upper/u/ && \
         mount -t overlay overlay -o lowerdir=$d,upperdir={directory}/upper/u,workdir={directory}/upper/w $d && \
         exec {program} --config {} run --user alice --profile per-user -- x.py",
        switch.display(),
        module.display(),
        config.display(),
        program = program().display(),
        directory = place.directory.path().display(),
    );
    let ended = place.untouched(|| {
        ended(Command::new("unshare").args(["-m", "sh", "-c", &script]).env_remove("SUDO_UID"))
    });
    ended.refused(212, "did not answer in time");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_24_group_zero_is_never_added() {
    let _alone = alone();
    // The crate `users` 0.11 added gid 0 to every list (CVE-2025-5791); accounts in 0, 1, 70 and 2000 groups.
    let place = Place::new();
    let mut configuration = configuration();
    configuration["callers"] = json!(["root"]);
    let out = place.directory.path().join("groups");
    fs::write(&out, "").unwrap();
    mode(&out, 0o666);
    let spark =
        script_spark(place.directory.path(), &format!("grep ^Groups: /proc/self/status > {}", out.display()));
    configuration["profiles"]["per-user"]["spark_home"] = json!(spark.to_str().unwrap());
    configuration["users"]["allowed_groups"] = json!(["ssa-many", "spark-users"]);
    let config = write_configuration(place.directory.path(), &configuration);
    let name = "ssa-many";
    let saved = fs::read_to_string("/etc/group").unwrap();
    for extra in [0, 1, 70, 2000] {
        let _ = Command::new("userdel").arg(name).output();
        assert!(
            Command::new("useradd").args(["-M", "-U", "-s", "/bin/sh", name]).status().unwrap().success()
        );
        let with_user = fs::read_to_string("/etc/group").unwrap();
        let groups: String = (0..extra).map(|i| format!("ssa-g{i}:x:{}:{name}\n", 70_000 + i)).collect();
        fs::write("/etc/group", format!("{with_user}{groups}")).unwrap();
        let path = config.to_str().unwrap();
        let call = ["--config", path, "run", "--user", name, "--profile", "per-user", "--", "x.py"];
        let ended = ended(&mut as_root(&call));
        let expected = Command::new("id").args(["-G", name]).output().unwrap().stdout;
        fs::write("/etc/group", with_user).unwrap();
        let _ = Command::new("userdel").arg(name).output();
        assert_eq!(ended.code(), 0, "{ended:?}");
        let numbers = |text: &str| -> std::collections::BTreeSet<u32> {
            text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
        };
        let found = numbers(&fs::read_to_string(&out).unwrap());
        assert_eq!(found, numbers(&String::from_utf8_lossy(&expected)), "{extra} groups");
        assert!(!found.contains(&0));
        assert_nothing_left(&ended.job());
    }
    fs::write("/etc/group", saved).unwrap();
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_25_a_refusal_lists_no_other_teams() {
    let place = Place::new();
    let config = place.write();
    let ended = place.call(&[
        "--config",
        config.to_str().unwrap(),
        "run",
        "--user",
        "alice",
        "--profile",
        "nosuch",
        "--",
        "x.py",
    ]);
    ended.refused(207, "no such profile");
    assert!(!ended.stderr.contains("per-team"), "{ended:?}");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_40_no_arguments_at_all_is_refused() {
    // execve(2) with an empty argv; Linux since 5.18 puts an empty string there, older ones nothing (CVE-2021-4034).
    let script = format!(
        "import ctypes; libc = ctypes.CDLL(None); empty = (ctypes.c_char_p * 1)(None); \
         libc.execve(b'{}', empty, empty)",
        program().display()
    );
    ended(Command::new("/usr/bin/python3").args(["-c", &script])).refused(200, "");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn what_root_may_do_and_callers_may_not() {
    for verb in
        [&["check"][..], &["config", "show"], &["config", "validate"], &["config", "validate", "/etc/shadow"]]
    {
        let ended = ended(&mut as_platform(verb));
        ended.refused(205, "root itself");
        assert!(!ended.stderr.contains("root:"), "{ended:?}");
    }
    ended(&mut as_root(&["config", "validate"])).code_is_ok();
    ended(&mut as_root(&["config", "show", "--json"])).code_is_ok();
    ended(&mut as_platform(&["config", "schema"])).code_is_ok();
}
