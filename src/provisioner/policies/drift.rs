//! What differs between a namespace as it is and as its policies say. Nothing here asks the cluster.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use spark_submit_as::policy::network;
use spark_submit_as::policy::quantity::Quantity;
use spark_submit_as::policy::wanted::{ANNOTATIONS, POD_SECURITY_LABEL, Policies};
use spark_submit_as::protocol::{APPLIED_ANNOTATION, ISOLATED, LIMITS, QUOTA};

#[cfg(test)]
mod tests;

/// An object of a namespace's policies.
pub struct Part {
    /// Its word in [`APPLIED_ANNOTATION`].
    word: &'static str,
    api_version: &'static str,
    /// Its kind,
    pub kind: &'static str,
    /// resource
    pub resource: &'static str,
    /// and name.
    pub name: &'static str,
}

/// All of them.
pub static PARTS: [Part; 3] = [
    Part { word: "quota", api_version: "v1", kind: "ResourceQuota", resource: "resourcequotas", name: QUOTA },
    Part { word: "limits", api_version: "v1", kind: "LimitRange", resource: "limitranges", name: LIMITS },
    Part {
        word: "network",
        api_version: "networking.k8s.io/v1",
        kind: "NetworkPolicy",
        resource: "networkpolicies",
        name: ISOLATED,
    },
];

impl Part {
    /// The spec that policies want, if any.
    pub fn spec(&self, policies: &Policies) -> Option<Value> {
        match self.word {
            "quota" => policies.quota.clone(),
            "limits" => policies.limits.clone(),
            _ => policies.network.as_ref().map(|_| network::isolated()),
        }
    }

    /// Its API group.
    pub fn group(&self) -> &'static str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// Whether it is the quota.
    pub fn is_quota(&self) -> bool {
        self.word == "quota"
    }

    /// The object to apply.
    pub fn object(&self, spec: &Value) -> Value {
        json!({
            "apiVersion": self.api_version,
            "kind": self.kind,
            "metadata": {"name": self.name},
            "spec": spec,
        })
    }

    /// Whether a live object has this spec and is not on its way out. Fields that are not known here are not looked at; of
    /// those that are, what is there beside what is wanted counts as well.
    pub fn is_as(&self, spec: &Value, live: &Value) -> bool {
        let part = |name: &str| (spec.get(name), live.get("spec").and_then(|live| live.get(name)));
        let named = live.pointer("/metadata/name").and_then(Value::as_str) == Some(self.name);
        let dying = live.pointer("/metadata/deletionTimestamp").is_some();
        let same = match self.word {
            "quota" => {
                let (wanted, found) = part("hard");
                let scoped = ["scopes", "scopeSelector"].iter().any(|name| !is_nothing(part(name).1));
                same_amounts(wanted, found) && !scoped
            }
            "limits" => {
                let (wanted, found) = part("limits");
                let list =
                    |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
                let (wanted, found) = (list(wanted), list(found));
                wanted.len() == found.len()
                    && wanted.iter().zip(&found).all(|(one, other)| same_limits(one, other))
            }
            _ => ["podSelector", "policyTypes", "ingress", "egress"].iter().all(|name| {
                let (wanted, found) = part(name);
                wanted == found || (is_nothing(wanted) && is_nothing(found) && *name != "podSelector")
            }),
        };
        named && !dying && same
    }
}

/// Whether a quota's controller has taken up what the quota says.
pub fn is_enforced(quota: &Value) -> bool {
    same_amounts(quota.pointer("/spec/hard"), quota.pointer("/status/hard"))
}

fn is_nothing(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Array(list)) => list.is_empty(),
        Some(_) => false,
    }
}

fn same_limits(wanted: &Value, found: &Value) -> bool {
    let tables = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];
    wanted.get("type") == found.get("type")
        && tables.iter().all(|table| same_amounts(wanted.get(table), found.get(table)))
}

/// Whether two tables have the same keys with the same amounts. No table is an empty one.
fn same_amounts(one: Option<&Value>, other: Option<&Value>) -> bool {
    let none = Map::new();
    let table = |value: Option<&'_ Value>| value.and_then(Value::as_object).cloned();
    let (one, other) =
        (table(one).unwrap_or_else(|| none.clone()), table(other).unwrap_or_else(|| none.clone()));
    one.len() == other.len()
        && one.iter().all(|(key, value)| other.get(key).is_some_and(|other| Quantity::same(value, other)))
}

/// What [`APPLIED_ANNOTATION`] of an object says; none when it has none.
pub fn applied(object: &Value) -> Option<BTreeSet<String>> {
    let text = metadata(object, "annotations", APPLIED_ANNOTATION)?;
    Some(text.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect())
}

fn metadata<'a>(object: &'a Value, table: &str, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get(table)?.get(key)?.as_str()
}

/// Objects that policies had made and that none wants any more.
pub fn forsaken(namespace: &Value, policies: &Policies) -> Vec<&'static Part> {
    let applied = applied(namespace).unwrap_or_default();
    PARTS.iter().filter(|part| applied.contains(part.word) && part.spec(policies).is_none()).collect()
}

/// The annotations of a namespace with these policies, [`APPLIED_ANNOTATION`] included; none without policies.
pub fn annotations(policies: &Policies) -> BTreeMap<String, String> {
    let mut annotations = policies.annotations.clone();
    if !policies.is_empty() {
        let parts =
            PARTS.iter().filter(|part| part.spec(policies).is_some()).map(|part| part.word.to_owned());
        let labels = policies.labels.keys().map(|key| format!("label:{key}"));
        annotations.insert(APPLIED_ANNOTATION.to_owned(), parts.chain(labels).collect::<Vec<_>>().join(","));
    }
    annotations
}

/// Merge patch that makes a namespace's labels and annotations what policies say; none when they are. A namespace without
/// policies and without a mark of former ones is an administrator's own matter.
pub fn of_namespace(namespace: &Value, policies: &Policies) -> Option<Value> {
    let before = applied(namespace);
    if before.is_none() && policies.is_empty() {
        return None;
    }
    let mut labels = differing(namespace, "labels", &policies.labels);
    for key in before.iter().flatten().filter_map(|word| word.strip_prefix("label:")) {
        // Without its level a namespace would be open to privileged pods: it keeps the last one.
        if !policies.labels.contains_key(key)
            && key != POD_SECURITY_LABEL
            && metadata(namespace, "labels", key).is_some()
        {
            labels.insert(key.to_owned(), Value::Null);
        }
    }
    let wanted = annotations(policies);
    let mut annotations = differing(namespace, "annotations", &wanted);
    for key in ANNOTATIONS.into_iter().chain([APPLIED_ANNOTATION]) {
        if !wanted.contains_key(key) && metadata(namespace, "annotations", key).is_some() {
            annotations.insert(key.to_owned(), Value::Null);
        }
    }
    patch(labels, annotations)
}

/// What of a table of an object's metadata is not as wanted.
pub fn differing(object: &Value, table: &str, wanted: &BTreeMap<String, String>) -> Map<String, Value> {
    let differs = |(key, value): &(&String, &String)| metadata(object, table, key) != Some(value.as_str());
    wanted.iter().filter(differs).map(|(key, value)| (key.clone(), json!(value))).collect()
}

fn patch(labels: Map<String, Value>, annotations: Map<String, Value>) -> Option<Value> {
    let mut metadata = Map::new();
    for (name, table) in [("labels", labels), ("annotations", annotations)] {
        if !table.is_empty() {
            metadata.insert(name.to_owned(), Value::Object(table));
        }
    }
    if metadata.is_empty() { None } else { Some(json!({"metadata": metadata})) }
}
