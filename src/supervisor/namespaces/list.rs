//! `namespace list`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Office, listed, users};
use crate::cli::NamespaceListArgs;
use crate::exit::ExitCode;
use crate::policy::config::Config;
use crate::policy::owner::Owner;
use crate::policy::wanted;
use crate::protocol::namespaces::SeenNamespace;
use crate::supervisor::events::Events;
use crate::supervisor::lookup::Existence;
use crate::supervisor::report::{Report, escaped};
use crate::supervisor::{Failure, Outcome, verbs};

/// Lists.
///
/// # Errors
/// What a cluster and its kubeconfig can meet.
pub(super) fn list(config: &Config, args: &NamespaceListArgs) -> Result<Outcome, Failure> {
    let office = Office::new(config, &args.administrator)?;
    let mut events = Events::new()?;
    let listed = listed(&mut office.session(), &mut events)?;
    let owners: Vec<Option<Owner>> = listed
        .namespaces
        .iter()
        .map(|namespace| namespace.owner.as_deref().and_then(|text| Owner::parse(text).ok()))
        .collect();
    let persons: BTreeSet<_> = owners.iter().flatten().filter_map(Owner::person).collect();
    let (known, failure) = match users::existing(config, persons) {
        Ok(known) => (known, None),
        // Whose it is can be told all the same.
        Err(failure) => (Default::default(), Some(failure)),
    };
    let rows: Vec<Value> = listed
        .namespaces
        .iter()
        .zip(&owners)
        .map(|(namespace, owner)| {
            let person = owner.as_ref().and_then(Owner::person);
            let exists = person.map(|person| known.get(&person).copied().unwrap_or(Existence::Unknown));
            row(&office, listed.date, namespace, owner.as_ref(), exists)
        })
        .collect();
    let report = Report { quiet: false };
    for problem in listed.problems.iter().chain(failure.as_ref().map(|failure| &failure.message)) {
        report.warn(problem);
    }
    let whole = json!({"cluster": office.name, "server": escaped(&listed.server), "namespaces": rows});
    if args.json {
        let text = serde_json::to_string_pretty(&whole);
        return verbs::print(&text.map_err(Failure::doing(ExitCode::Internal, "JSON"))?);
    }
    verbs::print(&table(&whole))
}

/// One namespace. A user of which nothing is known is `null`, as is one where no user decides.
fn row(
    office: &Office<'_>,
    date: i64,
    namespace: &SeenNamespace,
    owner: Option<&Owner>,
    exists: Option<Existence>,
) -> Value {
    let profiles: Vec<_> =
        owner.map(|owner| office.profiles(owner, &namespace.name).collect()).unwrap_or_default();
    let policies: BTreeSet<&str> = profiles
        .iter()
        // A pattern that cannot be used was refused with the configuration.
        .filter_map(|(_, profile)| {
            wanted::applying(office.config, &profile.namespace.policies, &namespace.name).ok()
        })
        .flat_map(BTreeMap::into_keys)
        .collect();
    let user = match exists {
        None => "none",
        Some(Existence::Yes) => "known",
        Some(Existence::No) => "missing",
        Some(Existence::Unknown) => "unknown",
    };
    json!({
        "namespace": namespace.name.as_str(),
        "owner": namespace.owner.as_deref().map(escaped),
        "profiles": profiles.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        "policies": policies,
        "pod_security": namespace.pod_security.as_deref().map(escaped),
        "age_seconds": date.saturating_sub(namespace.created).max(0),
        "terminating": namespace.terminating,
        "user": user,
    })
}

/// The same for people.
fn table(whole: &Value) -> String {
    const HEAD: [&str; 6] = ["NAMESPACE", "OWNER", "USER", "PROFILES", "POLICIES", "AGE"];
    let text = |row: &Value, key: &str| match row.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(all)) if !all.is_empty() => {
            all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
        }
        _ => "-".to_owned(),
    };
    let mut lines = vec![HEAD.map(str::to_owned)];
    for row in whole.get("namespaces").and_then(Value::as_array).into_iter().flatten() {
        let age = row.get("age_seconds").and_then(Value::as_i64).unwrap_or_default();
        let age = if age >= 86_400 { format!("{}d", age / 86_400) } else { format!("{}h", age / 3600) };
        let [name, owner, user, profiles, policies] =
            ["namespace", "owner", "user", "profiles", "policies"].map(|key| text(row, key));
        lines.push([name, owner, user, profiles, policies, age]);
    }
    let widths: Vec<usize> = (0..HEAD.len())
        .map(|column| lines.iter().filter_map(|line| line.get(column)).map(String::len).max().unwrap_or(0))
        .collect();
    let padded = |line: &[String; 6]| {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(padded).collect::<Vec<_>>().join("\n")
}
