//! A host on which a test has the configuration at its own path, and sudo's rules.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::*;
use crate::world::admin::Admin;
use crate::world::{Bed, Host};

/// A host whose configuration, at the path that is compiled in, and sudoers directory are the test's own.
pub struct Place {
    pub host: Host,
    pub admin: Admin,
}

impl Place {
    /// `sudoers` are lines with `PROGRAM` for the program; `logins` have prepared namespaces.
    pub fn new(logins: &[&str], sudoers: &str, change: impl FnOnce(&mut Value, &Path)) -> Self {
        let admin = Admin::new();
        let mut host = Host::new(Bed::shipped(), &admin, logins);
        let directory = host.directory.path().to_owned();
        change(&mut host.configuration, &directory);
        host.configure();
        let drop_in = directory.join("sudoers.d");
        fs::create_dir(&drop_in).unwrap();
        let place = Self { host, admin };
        place.sudoers(sudoers);
        let own = directory.join("config.yaml");
        for (own, path) in
            [(own.as_path(), place.host.bed.config.as_path()), (&drop_in, Path::new("/etc/sudoers.d"))]
        {
            let words = [Path::new("mount"), Path::new("--bind"), own, path];
            assert!(place.host.on(&words).status().unwrap().success(), "{words:?}");
        }
        place
    }

    /// The one sudoers file from now on.
    pub fn sudoers(&self, text: &str) {
        let path = self.host.directory.path().join("sudoers.d/test");
        let _ = fs::remove_file(&path);
        fs::write(&path, text.replace("PROGRAM", self.host.bed.program.to_str().unwrap())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).unwrap();
    }

    /// The configuration from now on.
    pub fn configure(&mut self, change: impl FnOnce(&mut Value)) {
        change(&mut self.host.configuration);
        self.host.configure();
    }

    /// A call by an account through its own sudo; by root itself without one.
    pub fn call(&self, account: &str, words: &[&str]) -> Command {
        let program = self.host.bed.program.to_str().unwrap();
        let mut all = match account {
            "root" => vec![program],
            account => vec!["sudo", "-u", account, "sudo", "-n", program],
        };
        all.extend(words);
        self.host.on(&all)
    }

    pub fn said(&self, account: &str, words: &[&str]) -> Ended {
        ended(&mut self.call(account, words))
    }

    /// The decision about a run.
    pub fn dry(&self, account: &str, words: &[&str]) -> Ended {
        self.said(account, &[&["run", "--dry-run", "--json"], words, &["--", "x.py"]].concat())
    }

    /// A decision that is for it.
    pub fn decided(&self, account: &str, words: &[&str]) -> Value {
        let ended = self.dry(account, words);
        assert_eq!(ended.code(), 0, "{words:?}: {ended:?}");
        serde_json::from_str(&ended.stdout).unwrap()
    }

    /// `config explain`, by root itself.
    pub fn explained(&self, words: &[&str]) -> Value {
        let ended = self.said("root", &[&["config", "explain", "--json"], words].concat());
        assert_eq!(ended.code(), 0, "{words:?}: {ended:?}");
        serde_json::from_str(&ended.stdout).unwrap()
    }

    /// Puts somebody who only waits where the API server would be: whoever connects is seen.
    pub fn watched(&mut self) -> TcpListener {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        self.host.connect(&format!("https://{}", listener.local_addr().unwrap()));
        listener
    }
}
