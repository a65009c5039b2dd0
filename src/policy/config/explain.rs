//! Says in our words why a YAML value does not fit a type, by comparing it with the type's JSON schema.
//!
//! serde's own messages quote the text ("invalid type: string \"…\""), so they are never shown [9]. The schema is
//! made from the same types, and only when something is wrong already.

use serde_json::Value as Json;
use serde_yaml::{Mapping, Value};

use super::duration;
use super::parse::Finding;
use super::place::Segment;

/// The first difference between a value and a schema; none when the schema knows of none.
pub(crate) fn explain(schema: &schemars::Schema, value: &Value) -> Option<Finding> {
    let root = schema.as_value();
    let mut walk = Walk { root, path: Vec::new() };
    walk.node(root, value, false).err()
}

type Fit = Result<(), Finding>;

struct Walk<'s> {
    root: &'s Json,
    path: Vec<Segment>,
}

impl<'s> Walk<'s> {
    fn finding(&self, rule: impl Into<String>, advice: impl Into<String>) -> Fit {
        Err(Finding { path: self.path.clone(), rule: rule.into(), advice: advice.into() })
    }

    fn at(&mut self, segment: Segment, schema: &'s Json, value: &Value, buffered: bool) -> Fit {
        self.path.push(segment);
        let fit = self.node(schema, value, buffered);
        self.path.pop();
        fit
    }

    /// `buffered`: below an untagged enum, where serde keeps a number a number; elsewhere a string may be written
    /// without quotes, and is taken letter for letter (`spark.executor.instances: 2`).
    fn node(&mut self, schema: &'s Json, value: &Value, buffered: bool) -> Fit {
        if let Some(reference) = schema.get("$ref").and_then(Json::as_str) {
            let target = reference.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
            return target.map_or(Ok(()), |target| self.node(target, value, buffered));
        }
        if let Some(words) = words(schema) {
            return match value {
                Value::String(text) if words.contains(&text.as_str()) => Ok(()),
                _ => self.finding(format!("must be one of: {}", words.join(", ")), "choose one"),
            };
        }
        if let Some(forms) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Json::as_array) {
            return self.any_of(forms, value, buffered);
        }
        let types: Vec<&str> = match schema.get("type") {
            Some(Json::String(one)) => vec![one],
            Some(Json::Array(many)) => many.iter().filter_map(Json::as_str).collect(),
            _ => return Ok(()),
        };
        match value {
            Value::Null if types.contains(&"null") => Ok(()),
            Value::Mapping(map) if types.contains(&"object") => self.object(schema, map, buffered),
            Value::Sequence(items) if types.contains(&"array") => {
                let Some(item) = schema.get("items") else { return Ok(()) };
                let mut each = items.iter().enumerate();
                each.try_for_each(|(index, value)| self.at(index.into(), item, value, buffered))
            }
            Value::Bool(_) if types.contains(&"boolean") => Ok(()),
            Value::Number(number) if types.contains(&"integer") => {
                let most = if schema.get("format").and_then(Json::as_str) == Some("uint32") {
                    u64::from(u32::MAX)
                } else {
                    u64::MAX
                };
                match number.as_u64() {
                    Some(n) if n <= most => Ok(()),
                    _ => self.finding(format!("must be a whole number from 0 to {most}"), "correct it"),
                }
            }
            Value::String(_) | Value::Bool(_) | Value::Number(_) if types.contains(&"string") => {
                self.string(schema, value, buffered)
            }
            _ => {
                self.finding(format!("must be {}", in_words(&types)), "correct the value or the indentation")
            }
        }
    }

    fn string(&self, schema: &Json, value: &Value, buffered: bool) -> Fit {
        let span = schema.get("format").and_then(Json::as_str) == Some(duration::FORMAT);
        match value {
            Value::String(text) if span && duration::read(text).is_none() => {
                self.finding(duration::RULE, "write 30s, 10m, 1h or 1d")
            }
            Value::String(_) => Ok(()),
            _ if span => self.finding(duration::RULE, "add the unit: 30s, 10m, 1h or 1d"),
            _ if buffered => self.finding("must be text", "put it in quotes"),
            _ => Ok(()),
        }
    }

    fn object(&mut self, schema: &'s Json, map: &Mapping, buffered: bool) -> Fit {
        let properties = schema.get("properties").and_then(Json::as_object);
        let others = schema.get("additionalProperties");
        for (key, value) in map {
            let Some(key) = key.as_str() else {
                // A number or a truth value as the name of a cluster or a Spark key; its rule is checked later.
                continue;
            };
            if let Some(known) = properties.and_then(|known| known.get(key)) {
                self.at(key.into(), known, value, buffered)?;
            } else if others == Some(&Json::Bool(false)) {
                let mut allowed: Vec<&str> =
                    properties.into_iter().flat_map(|known| known.keys()).map(String::as_str).collect();
                allowed.sort_unstable();
                let advice = format!("allowed here are: {}", allowed.join(", "));
                self.path.push(Segment::Foreign(key.to_owned()));
                let finding = self.finding("unknown key", advice);
                self.path.pop();
                return finding;
            } else if let Some(other) = others {
                self.at(key.into(), other, value, buffered)?;
            }
        }
        let required = schema.get("required").and_then(Json::as_array).into_iter().flatten();
        let missing = required.filter_map(Json::as_str).find(|key| !map.contains_key(*key));
        missing.map_or(Ok(()), |key| self.finding(format!("the key `{key}` is missing"), "add it"))
    }

    /// Several forms: when none fits, the one that resembles the value most says why.
    fn any_of(&mut self, forms: &'s [Json], value: &Value, buffered: bool) -> Fit {
        // What may be absent has null beside its one form, and is read like any other.
        let null = Json::from("null");
        let forms_of_it: Vec<&Json> = forms.iter().filter(|form| form.get("type") != Some(&null)).collect();
        if let ([form], false) = (forms_of_it.as_slice(), value.is_null()) {
            return self.node(form, value, buffered);
        }
        let mut nearest: Option<(usize, Finding)> = None;
        for form in forms {
            match self.node(form, value, true) {
                Ok(()) => return Ok(()),
                Err(finding) => {
                    let likeness = self.likeness(form, value);
                    if nearest.as_ref().is_none_or(|(best, _)| likeness > *best) {
                        nearest = Some((likeness, finding));
                    }
                }
            }
        }
        match nearest {
            Some((likeness, finding)) if likeness > 0 || forms.len() < 3 => Err(finding),
            _ => self.finding("has none of the forms that are known here", "see spark-submit-as.yaml(5)"),
        }
    }

    /// How many of a form's keys a mapping has; 1 for a word where words are expected.
    fn likeness(&self, form: &'s Json, value: &Value) -> usize {
        let target = form.get("$ref").and_then(Json::as_str).and_then(|r| r.strip_prefix('#'));
        let form = target.and_then(|pointer| self.root.pointer(pointer)).unwrap_or(form);
        match (value, form.get("properties").and_then(Json::as_object)) {
            (Value::Mapping(map), Some(known)) => {
                known.keys().filter(|key| map.contains_key(key.as_str())).count()
            }
            (Value::Mapping(_) | Value::Sequence(_) | Value::Null, None) | (_, Some(_)) => 0,
            (_, None) => 1,
        }
    }
}

/// The words of a schema that consists of words: `enum`, `const`, or a `oneOf` of such.
fn words(schema: &Json) -> Option<Vec<&str>> {
    if let Some(word) = schema.get("const") {
        return word.as_str().map(|word| vec![word]);
    }
    if let Some(words) = schema.get("enum").and_then(Json::as_array) {
        return words.iter().map(Json::as_str).collect();
    }
    let forms = schema.get("oneOf").and_then(Json::as_array)?;
    let lists: Option<Vec<_>> = forms.iter().map(words).collect();
    lists.map(|lists| lists.into_iter().flatten().collect())
}

fn in_words(types: &[&str]) -> String {
    let word = |name: &&str| match *name {
        "object" => "a mapping (key: value)",
        "array" => "a list",
        "integer" => "a whole number",
        "boolean" => "true or false",
        "string" => "text",
        _ => "nothing",
    };
    types.iter().filter(|name| **name != "null").map(word).collect::<Vec<_>>().join(" or ")
}
