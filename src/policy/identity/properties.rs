//! Admin properties: what the administrator says about logins and groups, such as a team's namespace.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Refusal;
use crate::policy::config::{ConfigError, Reader};
use crate::policy::names::{Login, UserName, is_property_name};

/// Longest value in bytes.
const MAX_VALUE: usize = 256;

type Table = BTreeMap<String, BTreeMap<String, String>>;

/// The file that `users.properties` names.
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
                if !is_property_name(key) {
                    let rule = "a property's name must be 1 to 64 of [A-Za-z0-9_.-]";
                    return Err(reader.fault(path, rule, "rename it"));
                }
                if value.is_empty() || value.len() > MAX_VALUE || value.chars().any(char::is_control) {
                    let rule = "a value must be 1 to 256 bytes without control characters";
                    return Err(reader.fault(path, rule, "correct the value"));
                }
            }
        }
    }
    Ok(properties)
}

impl Properties {
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
