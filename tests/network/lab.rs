//! Pods that answer and ask, and a host outside of the cluster: what the traffic tests connect.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::support::*;

pub const SERVER: &str = include_str!("server.py");
pub const CLIENT: &str = include_str!("client.py");
/// The port at which every pod answers.
pub const PORT: u16 = 7079;
/// The address of clouds' metadata services.
pub const METADATA: &str = "169.254.169.254";
/// An address that is nobody's (RFC 5737).
pub const EXTERNAL: &str = "203.0.113.2";
/// The device of the pods and the way out of them.
const BRIDGE: &str = "ssabench0";
const LINK: &str = "ssatest0";
const TABLE: &str = "10231";

/// A namespace that goes when it is dropped.
pub struct Namespace(pub String);

impl Namespace {
    pub fn new(prefix: &str) -> Self {
        let namespace = Self::unmade(prefix);
        kubectl(&["create", "namespace", &namespace.0]);
        namespace
    }

    /// One that somebody else will make.
    pub fn unmade(prefix: &str) -> Self {
        let seconds = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("clock").as_secs();
        let name = format!("{prefix}-{:x}-{:x}", seconds & 0xff_ffff, std::process::id());
        Self(name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        kubectl_try(&["delete", "namespace", &self.0, "--wait=false"]);
    }
}

/// A pod that answers with its name.
#[derive(Clone, Debug)]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    pub address: String,
}

impl Pod {
    /// Starts several at once: names and labels.
    pub fn start(namespace: &str, pods: &[(&str, Value)], ports: &[&str]) -> Vec<Self> {
        let mut list = Vec::new();
        for (name, labels) in pods {
            let words: Vec<&str> =
                ["python3", "-c", SERVER, name].into_iter().chain(ports.iter().copied()).collect();
            list.push(json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "namespace": namespace, "labels": labels},
                "spec": {
                    "automountServiceAccountToken": false, "enableServiceLinks": false, "terminationGracePeriodSeconds": 0,
                    // A name server's port is a low one.
                    "securityContext": {"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]},
                    "containers": [{"name": "c", "image": bed("SSA_BED_IMAGE"), "command": words}],
                },
            }));
        }
        apply(&json!({"apiVersion": "v1", "kind": "List", "items": list}).to_string());
        let started = |name: &str| {
            let mut address = String::new();
            until("the pod answers", || {
                let log = kubectl_try(&["logs", "-n", namespace, name]);
                let path = "jsonpath={.status.podIP}";
                address = kubectl(&["get", "pod", "-n", namespace, name, "-o", path]);
                log.stdout.contains("ready") && !address.is_empty()
            });
            Self { namespace: namespace.to_owned(), name: name.to_owned(), address }
        };
        pods.iter().map(|(name, _)| started(name)).collect()
    }

    /// Who answers at targets: kind, host, port.
    pub fn asks(&self, targets: &[(&str, &str, u16)]) -> Vec<Option<String>> {
        let targets = json!(targets).to_string();
        let words = ["exec", "-n", &self.namespace, &self.name, "--", "python3", "-c", CLIENT, &targets];
        serde_json::from_str(&kubectl(&words)).expect("answers")
    }

    /// Its IPv6 address, which every interface has, for those at the same link.
    pub fn link_local(&self) -> String {
        let table = kubectl(&["exec", "-n", &self.namespace, &self.name, "--", "cat", "/proc/net/if_inet6"]);
        let line = table.lines().find(|line| line.starts_with("fe80")).expect("a link-local address");
        let digits = line.split(' ').next().expect("address").as_bytes();
        let groups: Vec<&str> =
            digits.chunks(4).map(|four| std::str::from_utf8(four).expect("hex")).collect();
        format!("{}%eth0", groups.join(":"))
    }

    /// Gives the pod a way to the host outside, which pods of the test bench do not have.
    pub fn lead_outside(&self) {
        let path = "jsonpath={.metadata.uid}";
        lead_outside(&kubectl(&["get", "pod", "-n", &self.namespace, &self.name, "-o", path]));
    }
}

/// Gives the pod of this uid a way to the host outside.
pub fn lead_outside(uid: &str) {
    let own = |pid: &i32| {
        std::fs::read_to_string(format!("/proc/{pid}/cgroup"))
            .unwrap_or_default()
            .contains(&format!("pod{uid}/"))
    };
    let entries = std::fs::read_dir("/proc").expect("/proc");
    let mut pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let pid = pids.find(own).expect("a process of the pod").to_string();
    for address in [METADATA, EXTERNAL] {
        ip_in(&pid, &["route", "replace", address, "via", &bed("BENCH_DRIVER_HOST")]);
    }
}

/// What answers at a port of this machine's address, as drivers do.
pub fn answer_at(port: u16, name: &'static str) {
    let listener = TcpListener::bind((bed("BENCH_DRIVER_HOST"), port)).expect("port");
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let _ = client.write_all(name.as_bytes());
        }
    });
}

/// A host with the metadata address and an external one, which answers at some ports with `outside`. Only what comes from
/// the pods' bridge is led there, so that this machine's own way to such addresses stays.
pub struct Outside {
    host: Child,
    _alone: MutexGuard<'static, ()>,
}

impl Outside {
    pub fn new(ports: &[&str]) -> Self {
        static ONE: Mutex<()> = Mutex::new(());
        let alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut host = Command::new("unshare")
            .args(["--net", "python3", "-c", SERVER, "--until-eof", "outside"])
            .args(ports)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut line = String::new();
        BufReader::new(host.stdout.take().expect("stdout")).read_line(&mut line).expect("line");
        assert_eq!(line, "ready\n");
        let pid = host.id().to_string();
        ip(&["link", "add", LINK, "type", "veth", "peer", "name", "eth0", "netns", &pid]);
        ip(&["address", "add", "203.0.113.1/24", "dev", LINK]);
        ip(&["link", "set", LINK, "up"]);
        // Loose: its answers come from an address that is reached elsewhere (ip-sysctl).
        std::fs::write(format!("/proc/sys/net/ipv4/conf/{LINK}/rp_filter"), "2").expect("rp_filter");
        ip_in(&pid, &["link", "set", "lo", "up"]);
        ip_in(&pid, &["address", "add", &format!("{METADATA}/32"), "dev", "lo"]);
        ip_in(&pid, &["address", "add", &format!("{EXTERNAL}/24"), "dev", "eth0"]);
        ip_in(&pid, &["link", "set", "eth0", "up"]);
        ip_in(&pid, &["route", "add", "default", "via", "203.0.113.1"]);
        ip(&["route", "replace", METADATA, "via", EXTERNAL, "table", TABLE]);
        // Left by a test that was killed.
        let rule = ["iif", BRIDGE, "lookup", TABLE];
        while Command::new("ip").args(["rule", "del"]).args(rule).output().expect("ip").status.success() {}
        ip(&[&["rule", "add"], &rule[..]].concat());
        Self { host, _alone: alone }
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        // With the process goes its network, and with that the link and the way to it.
        let _ = self.host.kill();
        let _ = self.host.wait();
        ip(&["rule", "del", "iif", BRIDGE, "lookup", TABLE]);
    }
}

fn ip(words: &[&str]) {
    let output = Command::new("ip").args(words).output().expect("ip");
    assert!(output.status.success(), "ip {words:?}: {output:?}");
}

fn ip_in(pid: &str, words: &[&str]) {
    let mut command = Command::new("nsenter");
    let output = command.args(["-t", pid, "-n", "ip"]).args(words).output().expect("nsenter");
    assert!(output.status.success(), "in {pid}: ip {words:?}: {output:?}");
}
