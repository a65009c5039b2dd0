//! The ports of drivers: many at once on one host, each with ports of its own. Needs the test bed (`make test`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;
#[path = "support/world.rs"]
mod world;

use std::collections::BTreeSet;
use std::net::TcpListener;

use serde_json::json;
use support::*;
use world::admin::Admin;
use world::{Bed, Host, kill};

/// The first of so many ports that nobody listens on now.
fn free_range(count: u16) -> u16 {
    (21_000..30_000)
        .step_by(usize::from(count))
        .find(|first| (*first..first + count).all(|port| TcpListener::bind(("0.0.0.0", port)).is_ok()))
        .expect("free ports")
}

fn host(first: u16, count: u16) -> Host {
    let admin = Admin::new();
    let mut host = Host::new(Bed::shipped(), &admin, &["alice"]);
    host.configuration["profiles"]["per-user"]["spark"]["driver_ports"] =
        json!({"first": first, "last": first + count - 1});
    // What Spark was told goes to standard error, then it stays.
    host.script("for word; do case $word in spark.*port*) echo \"told $word\" >&2;; esac; done; sleep 600");
    host
}

/// What a driver was told: its port, its block manager's, and how often it may try the next one.
fn told(running: &mut Running) -> [u16; 3] {
    ["spark.driver.port", "spark.driver.blockManager.port", "spark.port.maxRetries"].map(|key| {
        let line = running.line(&format!("told {key}="));
        line.rsplit('=').next().unwrap().parse().unwrap()
    })
}

fn stop(running: Running) {
    kill("TERM", i32::try_from(running.child.id()).unwrap());
    running.end();
}

#[test]
#[ignore = "needs the test bed: make test"]
fn twenty_drivers_at_once_have_ports_of_their_own_in_a_range_of_sixty() {
    let first = free_range(60);
    let host = host(first, 60);
    let mut all: Vec<Running> = (0..20).map(|_| start(&mut host.job("alice"))).collect();
    let mut seen = BTreeSet::new();
    for running in &mut all {
        let [driver, block_manager, retries] = told(running);
        assert_eq!((block_manager, retries), (driver + 1, 1));
        for port in driver..=driver + 2 {
            assert!((first..first + 60).contains(&port) && seen.insert(port), "{port} of {seen:?}");
        }
    }
    ended(&mut host.job("alice")).refused(233, "driver_ports");
    // A job that ends gives its ports to the next, however it ends.
    let mut one = all.pop().unwrap();
    let wrapper = i32::try_from(one.child.id()).unwrap();
    kill("KILL", wrapper);
    one.child.wait().unwrap();
    let mut next = start(&mut host.job("alice"));
    assert!((first..first + 60).contains(&told(&mut next)[0]));
    stop(next);
    for running in all {
        stop(running);
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_port_that_another_program_listens_on_is_passed_over() {
    let first = free_range(6);
    let host = host(first, 6);
    for port in [first, first + 1, first + 2] {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let mut running = start(&mut host.job("alice"));
        assert_eq!(told(&mut running)[0], first + 3);
        stop(running);
        drop(listener);
    }
    let _both = [first + 1, first + 5].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
    ended(&mut host.job("alice")).refused(233, &format!("{first}-{}", first + 5));
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_job_does_not_choose_its_ports_where_the_profile_does() {
    let mut host = host(free_range(6), 6);
    for key in ["spark.driver.port=1", "spark.driver.blockManager.port=1", "spark.port.maxRetries=100"] {
        let words = ["run", "--user", "alice", "--profile", "per-user", "--", "--conf", key, "job.py"];
        ended(&mut host.call(&words)).refused(209, "ports of its own");
    }
    let spark = &mut host.configuration["profiles"]["per-user"]["spark"];
    spark["enforced"] = json!({"spark.driver.port": "7078"});
    host.configure();
    ended(&mut host.call(&["config", "validate"])).refused(204, "driver_ports");
    let spark = &mut host.configuration["profiles"]["per-user"]["spark"];
    spark["enforced"] = json!({});
    spark["driver_ports"] = json!({"first": 1000, "last": 2000});
    host.configure();
    ended(&mut host.call(&["config", "validate"])).refused(204, "1024");
}
