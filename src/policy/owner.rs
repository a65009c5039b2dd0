//! A namespace's owner annotation, read back: the template's variables and their values.
//!
//! Runs write it and compare it letter for letter; only the administrator's verbs take it apart.

use std::collections::BTreeMap;

use crate::policy::names::{Login, NamespaceName, UserName, is_project_key, is_property_name};
use crate::policy::namespace::{Variables, resolve};

#[cfg(test)]
mod tests;

/// Longest annotation that is read, in bytes. A run writes a login of 256 bytes and a few properties at most.
pub const MAX_OWNER: usize = 4096;

/// Why a text is no owner. It is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OwnerError {
    /// Longer than [`MAX_OWNER`].
    #[error("the owner has more than {MAX_OWNER} bytes")]
    Length,
    /// Not what a run would write.
    #[error(
        "the owner must be JSON as a run writes it: an object of texts (null for a missing one), sorted by name and without blanks, such as {{\"login\":\"alice\"}} (`run --dry-run` prints it)"
    )]
    Form,
    /// A name that no template uses.
    #[error(
        "the owner names something that is no variable of a template: known are login, user, group, projectKey, team and adminProperty:NAME"
    )]
    Unknown,
    /// A value that no run would have.
    #[error("the owner has a value that {0} cannot have")]
    Value(&'static str),
}

/// The variables of a template and their exact values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    text: String,
    /// None: a variable that had no value, and a filter that stood for it.
    values: BTreeMap<String, Option<String>>,
}

/// The person that a namespace is for. At least one of the two is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Person {
    /// Of `${login}`.
    pub login: Option<Login>,
    /// Of `${user}`.
    pub user: Option<UserName>,
}

impl Owner {
    /// Reads an annotation.
    ///
    /// # Errors
    /// [`OwnerError`].
    pub fn parse(text: &str) -> Result<Self, OwnerError> {
        if text.len() > MAX_OWNER {
            return Err(OwnerError::Length);
        }
        let values: BTreeMap<String, Option<String>> =
            serde_json::from_str(text).map_err(|_| OwnerError::Form)?;
        // Runs compare texts, so another spelling of the same object is another owner.
        if serde_json::to_string(&values).ok().as_deref() != Some(text) {
            return Err(OwnerError::Form);
        }
        for (key, value) in &values {
            let value = value.as_deref().unwrap_or("x");
            match key.as_str() {
                "login" => Login::new(value).map(drop).map_err(|_| OwnerError::Value("a login"))?,
                "user" => {
                    UserName::new(value).map(drop).map_err(|_| OwnerError::Value("an account"))?;
                }
                "projectKey" if !is_project_key(value) => return Err(OwnerError::Value("a project's key")),
                "projectKey" | "group" | "team" => {}
                key if key.strip_prefix("adminProperty:").is_some_and(is_property_name) => {}
                _ => return Err(OwnerError::Unknown),
            }
            if value.is_empty() {
                return Err(OwnerError::Value("a variable"));
            }
        }
        Ok(Self { text: text.to_owned(), values })
    }

    /// The annotation.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The variables.
    #[must_use]
    pub fn values(&self) -> &BTreeMap<String, Option<String>> {
        &self.values
    }

    fn value(&self, key: &str) -> Option<String> {
        self.values.get(key).cloned().flatten()
    }

    /// The person, when login or account are among the variables.
    #[must_use]
    pub fn person(&self) -> Option<Person> {
        let login = self.value("login").and_then(|text| Login::new(text).ok());
        let user = self.value("user").and_then(|text| UserName::new(text).ok());
        (login.is_some() || user.is_some()).then_some(Person { login, user })
    }

    /// The person, when nothing but that decides: then the namespace is this person's alone.
    #[must_use]
    pub fn only_person(&self) -> Option<Person> {
        let only = self.values.keys().all(|key| key == "login" || key == "user");
        self.person().filter(|_| only)
    }

    /// Whether a template gives `name` for this owner, and for this owner alone.
    #[must_use]
    pub fn gives(&self, template: &str, name: &NamespaceName) -> bool {
        let Some(variables) = self.variables() else { return false };
        resolve(template, &variables)
            .is_ok_and(|resolved| resolved.name == *name && resolved.owner == self.text)
    }

    /// The values as a template takes them. What the annotation does not have is there as well and must not be used: a
    /// template that does use it gives another owner.
    #[must_use]
    fn variables(&self) -> Option<Variables> {
        let person = self.person();
        let login = person.as_ref().and_then(|person| person.login.clone());
        let user = person.and_then(|person| person.user);
        let properties = self.values.iter().filter_map(|(key, value)| {
            Some((key.strip_prefix("adminProperty:")?.to_owned(), value.clone()?))
        });
        Some(Variables {
            login: login.or_else(|| Login::new("x").ok())?,
            user: user.or_else(|| UserName::new("x").ok())?,
            group: self.value("group"),
            team: self.value("team"),
            project: self.value("projectKey"),
            properties: properties.collect(),
        })
    }
}
