//! Admin properties: a directory of files, and the verbs that change them.

use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;

use serde_json::json;

use super::*;

struct Files {
    place: Place,
    path: PathBuf,
}

impl Files {
    /// `text` of the one file, or a directory when there is none.
    fn new(text: Option<&str>) -> Self {
        let mut path = PathBuf::new();
        let place = Place::new(&["alice"], EVERYBODY, |configuration, directory| {
            configuration["callers"] = json!(["dssuser", "root"]);
            path = directory.join(if text.is_some() { "properties.yaml" } else { "properties.d" });
            match text {
                Some(text) => fs::write(&path, text).unwrap(),
                None => fs::create_dir(&path).unwrap(),
            }
            configuration["users"]["properties"] = json!(path);
            let mut profile = configuration["profiles"]["per-user"].clone();
            profile["namespace"] = json!({"template": "${adminProperty:ns}"});
            configuration["profiles"]["by-property"] = profile;
        });
        Self { place, path }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.path.join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        file
    }

    fn properties(&self, words: &[&str]) -> Ended {
        self.place.said("root", &[&["properties"], words].concat())
    }

    /// Alice's namespace by her property, as a caller's run has it.
    fn namespace(&self) -> String {
        let decision = self.place.decided("dssuser", &["--user", "alice", "--profile", "by-property"]);
        decision["namespace"].as_str().unwrap().to_owned()
    }

    fn refuses(&self, code: i32, message: &str) -> Ended {
        let ended = self.place.dry("dssuser", &["--user", "alice", "--profile", "by-property"]);
        ended.refused(code, message);
        ended
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn files_of_a_directory_count_together_and_each_is_trusted_as_the_configuration_is() {
    let mut files = Files::new(None);
    let server = files.place.watched();
    files.refuses(208, "adminProperty:ns, which has no value");
    files.write("10-teams.yaml", "groups:\n  spark-users: {ns: team-a}\n");
    assert_eq!(files.namespace(), "team-a");
    files.write("20-people.yaml", "logins:\n  alice: {ns: own-a, zone: x}\n");
    assert_eq!(files.namespace(), "own-a", "the login's own wins");
    let third = files.write("30-more.yaml", "logins:\n  alice: {ns: own-a}\n  bob: {ns: b}\n");
    assert_eq!(files.namespace(), "own-a", "said twice is said once");
    // Not the same: neither wins, and whose it is stays untold.
    fs::write(&third, "logins:\n  bob: {ns: b}\n  alice:\n    ns: own-b\n").unwrap();
    let ended = files.refuses(204, "line 4: the property ns has another value in");
    assert!(ended.stderr.contains("20-people.yaml") && ended.stderr.contains("30-more.yaml"), "{ended:?}");
    assert!(!ended.stderr.contains("own-") && !ended.stderr.contains("alice"), "{ended:?}");
    fs::remove_file(third).unwrap();
    // Files that are nobody's, and names that are a mistake.
    for name in [".10.yaml.swp", ".40.yaml.new", "10-teams.yaml~"] {
        files.write(name, "logins: {alice: {ns: other}}\n");
    }
    assert_eq!(files.namespace(), "own-a");
    for name in ["40-more.yml", "README", "x.yaml.bak"] {
        let file = files.write(name, "logins: {}\n");
        files.refuses(204, "a file that is not *.yaml");
        fs::remove_file(file).unwrap();
    }
    // Each file and the directory are root's alone.
    let file = files.write("50.yaml", "logins: {}\n");
    for bits in [0o664, 0o646] {
        fs::set_permissions(&file, fs::Permissions::from_mode(bits)).unwrap();
        files.refuses(203, "lets others than root write");
    }
    std::os::unix::fs::chown(&file, Some(ids("dssuser").0), None).unwrap();
    files.refuses(203, "owned by uid");
    fs::remove_file(&file).unwrap();
    symlink(files.path.join("20-people.yaml"), &file).unwrap();
    files.refuses(203, "symbolic link");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    files.refuses(203, "not a regular file");
    fs::remove_dir(&file).unwrap();
    fs::set_permissions(&files.path, fs::Permissions::from_mode(0o775)).unwrap();
    files.refuses(203, "lets others than root write");
    fs::set_permissions(&files.path, fs::Permissions::from_mode(0o755)).unwrap();
    // Bounds.
    for number in 0..257 {
        files.write(&format!("many-{number}.yaml"), "logins: {}\n");
    }
    files.refuses(204, "more than 256 files");
    for number in 0..257 {
        fs::remove_file(files.path.join(format!("many-{number}.yaml"))).unwrap();
    }
    for number in 0..5 {
        files.write(&format!("big-{number}.yaml"), &format!("#{}\nlogins: {{}}\n", "x".repeat(1_000_000)));
    }
    files.refuses(204, "4 MiB together");
    assert!(server.accept().is_err(), "the API server was asked");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn properties_are_set_and_taken_out_in_a_file_of_their_own() {
    let files = Files::new(None);
    files.write("10-teams.yaml", "groups: {spark-users: {ns: team-a}}\nlogins: {bob: {ns: b}}\n");
    let set = |words: &[&str]| files.properties(&[&["set"], words].concat());
    assert_eq!(set(&["--login", "alice", "ns", "own-a"]).code(), 0);
    assert_eq!(files.namespace(), "own-a");
    let own = files.path.join("50-set.yaml");
    let metadata = fs::metadata(&own).unwrap();
    assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (0, 0, 0o644));
    let before = fs::read_to_string(&own).unwrap();
    // The same again changes nothing, not even the file.
    let inode = metadata.ino();
    assert_eq!(set(&["--login", "alice", "ns", "own-a"]).code(), 0);
    assert_eq!(fs::metadata(&own).unwrap().ino(), inode);
    // Refused, and then nothing is changed.
    set(&["--login", "bob", "ns", "c"]).refused(204, "another value in");
    files.properties(&["unset", "--login", "bob", "ns"]).refused(204, "10-teams.yaml: says it too");
    for words in [
        &["--login", "a b", "ns", "x"][..],
        &["--group", "a@b", "ns", "x"],
        &["--login", "alice", "n s", "x"],
        &["--login", "alice", "ns", ""],
        &["--login", "alice", "ns", "a\nb"],
        &["--login", "alice", "--group", "spark-users", "ns", "x"],
        &["ns", "x"],
    ] {
        set(words).refused(200, "");
    }
    set(&["--login", "alice", "ns", &"x".repeat(257)]).refused(200, "1 to 256 bytes");
    assert_eq!(fs::read_to_string(&own).unwrap(), before);
    // Mode and group stay, and so does what else is in the file.
    fs::set_permissions(&own, fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(&own, None, Some(ids("dssuser").1)).unwrap();
    assert_eq!(set(&["--group", "spark-users", "zone", "z: {[#\"'"]).code(), 0);
    let metadata = fs::metadata(&own).unwrap();
    assert_eq!((metadata.gid(), metadata.mode() & 0o7777), (ids("dssuser").1, 0o640));
    assert_ne!(metadata.ino(), inode, "replaced, not changed in place");
    assert_eq!(files.namespace(), "own-a");
    let says: Value = serde_yaml::from_str(&fs::read_to_string(&own).unwrap()).unwrap();
    assert_eq!(says["groups"]["spark-users"]["zone"], "z: {[#\"'");
    assert_eq!(files.properties(&["unset", "--login", "alice", "ns"]).code(), 0);
    assert_eq!(files.namespace(), "team-a");
    assert_eq!(files.properties(&["unset", "--login", "alice", "ns"]).code(), 0, "is gone already");
    // What a killed call left is in nobody's way.
    fs::write(files.path.join(".50-set.yaml.new"), "half of it").unwrap();
    assert_eq!(set(&["--login", "alice", "ns", "own-c"]).code(), 0);
    assert_eq!(files.namespace(), "own-c");
    assert_eq!(fs::read_dir(&files.path).unwrap().count(), 2);
    // Not a file of root's alone: it is not touched.
    fs::set_permissions(&own, fs::Permissions::from_mode(0o666)).unwrap();
    let before = fs::read_to_string(&own).unwrap();
    set(&["--login", "alice", "ns", "own-d"]).refused(203, "lets others than root write");
    assert_eq!(fs::read_to_string(&own).unwrap(), before);
}

#[test]
#[ignore = "needs the test bed: make test"]
fn the_one_file_of_properties_is_replaced_too() {
    let files = Files::new(Some("# a word of the administrator's\nlogins:\n  alice: {ns: own-a, zone: z}\n"));
    assert_eq!(files.properties(&["set", "--login", "alice", "ns", "own-b"]).code(), 0);
    assert_eq!(files.namespace(), "own-b");
    let says: Value = serde_yaml::from_str(&fs::read_to_string(&files.path).unwrap()).unwrap();
    assert_eq!(says["logins"], json!({"alice": {"ns": "own-b", "zone": "z"}}));
    let broken = "logins: [\n";
    fs::write(&files.path, broken).unwrap();
    files.properties(&["set", "--login", "alice", "ns", "x"]).refused(204, "");
    assert_eq!(fs::read_to_string(&files.path).unwrap(), broken, "what is not understood is not replaced");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn sets_at_the_same_time_all_count_and_a_reader_sees_whole_files() {
    let files = Files::new(None);
    assert_eq!(files.properties(&["set", "--login", "alice", "ns", "own-a"]).code(), 0);
    let mut setters: Vec<_> = (0..24)
        .map(|n| {
            let (login, value) = (format!("user-{n}"), format!("ns-{n}"));
            let words = ["properties", "set", "--login", &login, "ns", &value];
            files.place.call("root", &words).stdout(std::process::Stdio::null()).spawn().unwrap()
        })
        .collect();
    while setters.iter_mut().any(|setter| setter.try_wait().unwrap().is_none()) {
        assert_eq!(files.namespace(), "own-a");
    }
    for mut setter in setters {
        assert!(setter.wait().unwrap().success());
    }
    let says: Value =
        serde_yaml::from_str(&fs::read_to_string(files.path.join("50-set.yaml")).unwrap()).unwrap();
    assert_eq!(says["logins"].as_object().unwrap().len(), 25);
    for n in 0..24 {
        assert_eq!(says["logins"][format!("user-{n}")]["ns"], format!("ns-{n}"));
    }
}
