//! Every parser that runs as root, on inputs that somebody made to break it [102].
//!
//! Inputs are made from each parser's grammar and then spoilt, byte by byte or in bulk. The properties: no panic; memory at
//! its peak within a multiple of the input's size, which a counting allocator measures; what is printed reads back the same;
//! and for each parser what the code behind it relies on. A watchdog ends an input whose work has no bound.
//!
//! `SSA_FUZZ_SECONDS` says how long all parsers together may take (20), `SSA_FUZZ_SEED` which inputs are made; a failure
//! prints how to repeat its input alone. A soak: `SSA_FUZZ_SECONDS=600 cargo test --test fuzz -- --nocapture`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "fuzz/harness.rs"]
mod harness;
#[path = "fuzz/java.rs"]
mod java;
#[path = "fuzz/memory.rs"]
mod memory;
#[path = "fuzz/policy.rs"]
mod policy;
#[path = "fuzz/random.rs"]
mod random;
#[path = "fuzz/records.rs"]
mod records;
#[path = "fuzz/spark.rs"]
mod spark;
#[path = "fuzz/wire.rs"]
mod wire;
#[path = "fuzz/yaml.rs"]
mod yaml;

use harness::explore;

#[global_allocator]
static MEMORY: memory::Counting = memory::Counting;

#[test]
fn checklist_102_configuration() {
    explore("configuration", 12, policy::configuration);
}

#[test]
fn checklist_102_properties() {
    explore("properties", 8, policy::properties);
}

#[test]
fn checklist_102_mapping() {
    explore("mapping", 10, policy::mapping);
}

#[test]
fn checklist_102_namespace() {
    explore("namespace", 6, policy::namespace);
}

#[test]
fn checklist_102_names() {
    explore("names", 3, policy::names);
}

#[test]
fn checklist_102_spans() {
    explore("spans", 1, policy::spans);
}

#[test]
fn checklist_102_frames() {
    explore("frames", 8, wire::frames);
}

#[test]
fn checklist_102_request_file() {
    explore("request_file", 6, wire::request_file);
}

#[test]
fn checklist_102_command_line() {
    explore("command_line", 5, wire::command_line);
}

#[test]
fn checklist_102_reports() {
    explore("reports", 2, wire::reports);
}

#[test]
fn checklist_102_arguments() {
    explore("arguments", 10, spark::arguments);
}

#[test]
fn checklist_102_properties_file() {
    explore("properties_file", 6, spark::properties_file);
}

#[test]
fn checklist_102_pod_template() {
    explore("pod_template", 6, spark::pod_template);
}

#[test]
fn checklist_102_redaction() {
    explore("redaction", 6, spark::redaction);
}

#[test]
fn checklist_102_keys() {
    explore("keys", 2, spark::keys);
}

#[test]
fn checklist_102_journal() {
    explore("journal", 6, records::journal);
}

#[test]
fn checklist_102_absences() {
    explore("absences", 2, records::absences);
}

#[test]
fn checklist_102_owner() {
    explore("owner", 2, records::owner);
}

#[test]
fn checklist_102_stat() {
    explore("stat", 1, records::stat);
}

#[test]
fn checklist_102_tags() {
    explore("tags", 1, records::tag_words);
}
