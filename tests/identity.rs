//! Who may call which verb and run jobs as whom, teams, admin properties, shared accounts and several clusters: through real
//! sudo, on a host of each test's own. Needs the test bed (`make test`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "identity/accounts.rs"]
mod accounts;
#[path = "identity/callers.rs"]
mod callers;
#[path = "identity/namespaces.rs"]
mod namespaces;
#[path = "support/place.rs"]
mod place;
#[path = "identity/properties.rs"]
mod properties;
mod support;
#[path = "support/world.rs"]
mod world;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use place::Place;
use serde_json::Value;
use support::*;

/// Everybody who calls in these tests is let through by sudo, so that what refuses is this program.
const EVERYBODY: &str = "Defaults!PROGRAM env_reset, !requiretty, !use_pty\n\
    dssuser, mallory, alice, bob, ssa-twin, ssa.twin ALL=(root) NOPASSWD: NOSETENV: PROGRAM\n";
