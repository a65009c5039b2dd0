//! `--id-file`: written as the caller, before anything exists in the cluster, and nowhere else than the caller may write.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

/// A directory of `account`'s.
fn directory_of(account: &str, mode: u32) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let owned = Command::new("chown").arg(account).arg(directory.path()).status().unwrap();
    assert!(owned.success());
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
    directory
}

fn run_with(host: &Host, path: &Path) -> Ended {
    ended(&mut run(host, PLATFORM, &["--id-file", path.to_str().unwrap()]))
}

#[test]
#[ignore = "needs the test bed: make test"]
fn the_id_is_told_before_anything_exists_in_the_cluster() {
    let (mut host, ..) = place("exit 0");
    let own = directory_of(PLATFORM, 0o700);
    let file = own.path().join("id");
    // The cluster is away, so nothing can exist.
    host.configuration["timeouts"] =
        json!({"connect": "2s", "request": "2s", "provision": "5s", "teardown": "2s"});
    host.connect("https://127.0.0.1:1");
    let end = run_with(&host, &file);
    assert_eq!(end.code(), 216, "{end:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{}\n", end.job()));
    let data = fs::metadata(&file).unwrap();
    assert_eq!(data.uid(), ids_of(PLATFORM).0, "the file is the caller's");
    // With that id the platform can ask.
    let record = status(&host, PLATFORM, &end.job());
    assert_eq!(record["exit"]["refused"]["code"], 216, "{record}");
}

fn ids_of(account: &str) -> (u32, u32) {
    crate::support::ids(account)
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_44_an_id_file_is_written_with_the_callers_rights_alone() {
    let (host, admin, before) = place("exit 0");
    let canary = host.directory.path().join("canary");
    fs::write(&canary, "as it was").unwrap();
    let victim = private_file("alice", "victim", "as it was");
    let own = directory_of(PLATFORM, 0o700);
    let shared = directory_of("alice", 0o1777);
    let closed = directory_of("alice", 0o755);
    for (name, target) in [("to-root", canary.as_path()), ("to-alice", victim.0.as_path())] {
        // The link is the caller's own, then somebody else's: who follows it is the caller in any case.
        let link = own.path().join(name);
        symlink(target, &link).unwrap();
        let words = ["-h", PLATFORM, link.to_str().unwrap()];
        assert!(Command::new("chown").args(words).status().unwrap().success());
        let planted = shared.path().join(name);
        symlink(target, &planted).unwrap();
        let words = ["-h", "alice", planted.to_str().unwrap()];
        assert!(Command::new("chown").args(words).status().unwrap().success());
        for path in [&link, &planted] {
            let end = run_with(&host, path);
            assert_eq!(fs::read_to_string(target).unwrap(), "as it was", "{path:?}: {end:?}");
            // A link in a directory of the caller's may be replaced, as the caller could do itself; followed it is not.
            if end.code() == 0 {
                assert_eq!(path, &link, "somebody else's link in a shared directory was replaced: {end:?}");
                let data = fs::symlink_metadata(path).unwrap();
                assert!(data.is_file() && data.uid() == ids_of(PLATFORM).0, "{path:?}: {data:?}");
                assert_eq!(fs::read_to_string(path).unwrap(), format!("{}\n", end.job()));
            } else {
                assert!((200..=229).contains(&end.code()), "{path:?}: {end:?}");
            }
        }
    }
    let root_only = host.directory.path().join("new");
    let absent = own.path().join("absent/id");
    for path in [
        &root_only,
        &closed.path().join("id"),
        &absent,
        &PathBuf::from("/proc/self/comm"),
        &own.path().to_owned(),
    ] {
        let end = run_with(&host, path);
        assert!((200..=229).contains(&end.code()), "{path:?}: {end:?}");
        assert!(!end.stderr.contains("panicked"), "{end:?}");
    }
    assert!(!root_only.exists());
    // A FIFO that nobody reads must not hold the call; it is the caller's own, so it may be replaced.
    let fifo = own.path().join("fifo");
    assert!(shell_as(PLATFORM, &format!("mkfifo {}", fifo.display())).status.success());
    let end = run_with(&host, &fifo);
    assert!(end.code() == 0 || (200..=229).contains(&end.code()), "{end:?}");
    assert_eq!(end.code() == 0, fs::metadata(&fifo).unwrap().is_file(), "{end:?}");
    // Refused before anything was made.
    World::assert_same(&before, &host, &admin, "id files that were refused");
    assert!(host.recorded().iter().all(|job| objects_of(job).is_empty()));
}

#[test]
#[ignore = "needs the test bed: make test"]
fn an_id_file_that_exists_is_whole_or_as_it_was() {
    let (host, ..) = place("exit 0");
    let own = directory_of(PLATFORM, 0o700);
    let file = own.path().join("id");
    let old = "a thesis\n".repeat(10);
    let script = format!("printf '%s' '{old}' > {}", file.display());
    assert!(shell_as(PLATFORM, &script).status.success());
    let end = run_with(&host, &file);
    let now = fs::read_to_string(&file).unwrap();
    match end.code() {
        0 => assert_eq!(now, format!("{}\n", end.job()), "an old text shows behind the id"),
        code => {
            assert!((200..=229).contains(&code), "{end:?}");
            assert_eq!(now, old, "refused and written all the same");
        }
    }
}
