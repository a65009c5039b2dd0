//! Admin properties: what the administrator says about logins and groups, such as a team's namespace.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Refusal;
use crate::policy::config::{ConfigError, Reader};
use crate::policy::names::{Login, UserName, is_property_name};

/// Longest value in bytes.
const MAX_VALUE: usize = 256;

type Table = BTreeMap<String, BTreeMap<String, String>>;

/// Whose property it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A login's.
    Login(Login),
    /// A UNIX group's: of all its members.
    Group(UserName),
}

/// A file that `users.properties` names, or all files of the directory that it names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Properties {
    /// Properties of one login. They win over those of groups.
    #[serde(default)]
    pub logins: Table,
    /// Properties of the members of a UNIX group.
    #[serde(default)]
    pub groups: Table,
}

/// Reads a file of admin properties. Bounds and errors are those of the configuration.
///
/// # Errors
/// [`ConfigError`], which never quotes the text.
pub fn parse_properties(text: &[u8]) -> Result<Properties, ConfigError> {
    let reader = Reader::new(text)?;
    let properties: Properties = reader.typed()?;
    for (section, table) in [("logins", &properties.logins), ("groups", &properties.groups)] {
        for (name, values) in table {
            let here = || vec![section.into(), name.as_str().into()];
            let legal = match section {
                "logins" => Login::new(name.as_str()).map(drop),
                _ => UserName::new(name.as_str()).map(drop),
            };
            legal.map_err(|error| reader.fault(here(), error.rule, "correct the name"))?;
            for (key, value) in values {
                let mut path = here();
                path.push(key.as_str().into());
                check_property(key, value).map_err(|(rule, advice)| reader.fault(path, rule, advice))?;
            }
        }
    }
    Ok(properties)
}

/// Checks a property's name and value.
///
/// # Errors
/// The rule that is broken, and what to do.
pub fn check_property(key: &str, value: &str) -> Result<(), (&'static str, &'static str)> {
    if !is_property_name(key) {
        return Err(("a property's name must be 1 to 64 of [A-Za-z0-9_.-]", "rename it"));
    }
    if value.is_empty() || value.len() > MAX_VALUE || value.chars().any(char::is_control) {
        return Err(("a value must be 1 to 256 bytes without control characters", "correct the value"));
    }
    Ok(())
}

/// Why files of admin properties do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// One of them is no such file.
    #[error("{file}: {error}")]
    File {
        /// Which.
        file: String,
        /// Why.
        error: ConfigError,
    },
    /// Two of them say different things. Whose property it is stays untold: a caller may read this.
    #[error(
        "{file}: line {line}: the property {key} has another value in {other}; take it out of one of the two files"
    )]
    Conflict {
        /// The later file,
        file: String,
        /// and the line there.
        line: usize,
        /// The property.
        key: String,
        /// The earlier file.
        other: String,
    },
}

/// Reads files of admin properties as one. What two of them say about one login or group and one key must be the same.
///
/// # Errors
/// [`MergeError`], which quotes neither text nor values.
pub fn merge_properties(files: &[(String, Vec<u8>)]) -> Result<Properties, MergeError> {
    let mut all = Properties::default();
    let mut from: BTreeMap<(&str, String, String), &str> = BTreeMap::new();
    for (file, text) in files {
        let failed = |error| MergeError::File { file: file.clone(), error };
        let properties = parse_properties(text).map_err(failed)?;
        for (section, table) in [("logins", properties.logins), ("groups", properties.groups)] {
            let known = if section == "logins" { &mut all.logins } else { &mut all.groups };
            for (name, values) in table {
                for (key, value) in values {
                    let place = (section, name.clone(), key.clone());
                    let before = known.get(&name).and_then(|values| values.get(&key));
                    if before.is_some_and(|before| *before != value) {
                        let other = from.get(&place).copied().unwrap_or_default().to_owned();
                        let path = vec![section.into(), name.as_str().into(), key.as_str().into()];
                        let line =
                            Reader::new(text).map(|reader| reader.fault(path, "", "").line).unwrap_or(0);
                        return Err(MergeError::Conflict { file: file.clone(), line, key, other });
                    }
                    from.entry(place).or_insert(file);
                    known.entry(name.clone()).or_default().insert(key, value);
                }
            }
        }
    }
    Ok(all)
}

impl Properties {
    fn table(&mut self, subject: &Subject) -> (&mut Table, String) {
        match subject {
            Subject::Login(login) => (&mut self.logins, login.to_string()),
            Subject::Group(group) => (&mut self.groups, group.to_string()),
        }
    }

    /// The same with one value set, or taken out.
    #[must_use]
    pub fn with(mut self, subject: &Subject, key: &str, value: Option<&str>) -> Self {
        let (table, name) = self.table(subject);
        match value {
            Some(value) => drop(table.entry(name).or_default().insert(key.to_owned(), value.to_owned())),
            None => {
                if let Some(values) = table.get_mut(&name) {
                    values.remove(key);
                }
                table.retain(|_, values| !values.is_empty());
            }
        }
        self
    }

    /// One value.
    #[must_use]
    pub fn value(&self, subject: &Subject, key: &str) -> Option<&str> {
        let values = match subject {
            Subject::Login(login) => self.logins.get(login.as_str()),
            Subject::Group(group) => self.groups.get(group.as_str()),
        };
        values?.get(key).map(String::as_str)
    }

    /// The properties of a login that is in these UNIX groups. The login's own value wins; a value of groups must
    /// be the same in all of them that have one.
    ///
    /// # Errors
    /// [`Refusal::AmbiguousProperty`], which names neither the groups nor the values [25].
    pub fn for_login(&self, login: &Login, groups: &[&str]) -> Result<BTreeMap<String, String>, Refusal> {
        let own = self.logins.get(login.as_str());
        let mut all: BTreeMap<String, String> = own.cloned().unwrap_or_default();
        for (key, value) in groups.iter().filter_map(|group| self.groups.get(*group)).flatten() {
            if own.is_some_and(|own| own.contains_key(key)) {
                continue;
            }
            match all.get(key) {
                Some(other) if other != value => {
                    return Err(Refusal::AmbiguousProperty { key: key.clone() });
                }
                Some(_) => {}
                None => drop(all.insert(key.clone(), value.clone())),
            }
        }
        Ok(all)
    }
}
