//! Real jobs of several users in one namespace, whose drivers let executors talk.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::lab::{CLIENT, Namespace, PORT, SERVER, lead_outside};
use crate::support::*;

/// An executor that answers at a port until its job is ended: arguments are the server's text, a name and a port.
const ANSWERING: &str = r#"
import subprocess, sys
from pyspark.sql import SparkSession
server, name, port = sys.argv[1:]
spark = SparkSession.builder.appName("answering").getOrCreate()
spark.sparkContext.parallelize([0], 1).foreach(lambda _: subprocess.run(["python3", "-c", server, name, port]))
"#;

/// An executor that asks: arguments are the client's text and a file, whose content are the targets once it is there.
const ASKING: &str = r#"
import os, subprocess, sys, time
from pyspark.sql import SparkSession
client, path = sys.argv[1:]
spark = SparkSession.builder.appName("asking").getOrCreate()
deadline = time.time() + 100
while not os.path.exists(path) and time.time() < deadline:
    time.sleep(0.1)
targets = open(path).read()
ask = lambda _: subprocess.run(["python3", "-c", client, targets], capture_output=True, text=True).stdout
print("answers", spark.sparkContext.parallelize([0], 1).map(ask).first().strip(), flush=True)
spark.stop()
"#;

/// An installation's configuration for one namespace that alice and bob share.
pub struct Team {
    pub directory: tempfile::TempDir,
    config: PathBuf,
    /// The namespace; a job makes it.
    pub namespace: Namespace,
}

impl Team {
    /// With `policy` as the namespace's policy.
    pub fn new(prefix: &str, policy: Value) -> Self {
        let directory = trusted_directory();
        let namespace = Namespace::unmade(prefix);
        let properties = directory.path().join("properties.yaml");
        let own = json!({"k8sNS": namespace.0});
        fs::write(&properties, json!({"logins": {"alice": own, "bob": own}}).to_string()).expect("write");
        fs::set_permissions(&properties, fs::Permissions::from_mode(0o644)).expect("chmod");
        let mut all = configuration();
        all["callers"] = json!(["root"]);
        all["timeouts"] = json!({"grace": "2s"});
        all["users"]["properties"] = json!(properties);
        all["namespace_policies"] = json!({"team": policy});
        let mut profile = all["profiles"]["per-user"].clone();
        profile["namespace"] = json!({"template": "${adminProperty:k8sNS}", "create": true, "policies": ["team"], "isolation": "optional"});
        profile["spark"]["driver_ports"] = json!({"first": 17100, "last": 17129});
        all["profiles"] = json!({"team": profile});
        let config = write_configuration(directory.path(), &all);
        Self { directory, config, namespace }
    }

    /// A run of a Python job; more words for spark-submit before it.
    pub fn run(&self, user: &str, spark: &[&str], job: &str, arguments: &[&str]) -> Command {
        let path = self.directory.path().join(format!("{user}.py"));
        fs::write(&path, job).expect("write");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("chmod");
        let mut words = vec![
            "--config",
            self.config.to_str().expect("path"),
            "run",
            "--user",
            user,
            "--profile",
            "team",
            "--",
        ];
        words.extend(spark);
        words.push(path.to_str().expect("path"));
        words.extend(arguments);
        as_root(&words)
    }

    /// A field of a job's only executor, once it runs.
    pub fn executor(&self, job: &str, field: &str) -> String {
        let selector = format!("spark-submit-as/job={job}");
        let get = |field: &str| {
            let path = format!("jsonpath={{.items[0]{field}}}");
            kubectl_try(&["get", "pods", "-n", &self.namespace.0, "-l", &selector, "-o", &path]).stdout
        };
        until("an executor runs", || get(".status.phase") == "Running");
        get(field)
    }

    /// The port at which a job's executors find its driver.
    pub fn driver_port(&self, job: &str) -> u16 {
        let url = self.executor(job, ".spec.containers[0].env[?(@.name==\"SPARK_DRIVER_URL\")].value");
        url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("port")
    }

    /// Starts bob's job. Its executor answers with `bob`; the address.
    pub fn bob_answers(&self) -> (Running, String, String) {
        let port = PORT.to_string();
        let mut running = start(&mut self.run("bob", &[], ANSWERING, &[SERVER, "bob", &port]));
        let (job, _) = running.job();
        let address = self.executor(&job, ".status.podIP");
        until("bob's executor answers this machine", || {
            let mut text = String::new();
            let socket = (address.parse::<std::net::IpAddr>().expect("address"), PORT).into();
            TcpStream::connect_timeout(&socket, Duration::from_secs(2))
                .is_ok_and(|mut stream| stream.read_to_string(&mut text).is_ok() && text == "bob")
        });
        (running, job, address)
    }

    /// Who answers alice's executor. `targets` are made once her job is known.
    pub fn alice_asks(&self, targets: impl Fn(&str) -> Value) -> Vec<Option<String>> {
        let file = self.directory.path().join("targets");
        let path = file.to_str().expect("path");
        let mut running = start(&mut self.run("alice", &[], ASKING, &[CLIENT, path]));
        let (job, _) = running.job();
        lead_outside(&self.executor(&job, ".metadata.uid"));
        let whole = self.directory.path().join("targets.new");
        fs::write(&whole, targets(&job).to_string()).expect("write");
        fs::rename(&whole, &file).expect("rename");
        let ended = running.end();
        fs::remove_file(&file).expect("remove");
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        assert_nothing_left(&job);
        let line = ended.stdout.lines().find_map(|line| line.strip_prefix("answers "));
        serde_json::from_str(line.unwrap_or_else(|| panic!("no answers in {ended:?}"))).expect("JSON")
    }
}
