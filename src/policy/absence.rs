//! Since when the users of namespaces have been missing: what `namespace prune` remembers from one call to the next.
//!
//! A look that finds a user missing is worth little by itself, since directories fail in many ways. So the first of them
//! only starts the count, and any look that finds the user, or another namespace (by uid) or owner, starts it anew.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::policy::names::NamespaceName;

#[cfg(test)]
mod tests;

/// What this program writes.
const VERSION: u32 = 1;
/// Largest text in bytes: [`MAX_ENTRIES`] of them fit.
pub const MAX_TEXT: usize = 8 << 20;
/// Most namespaces that are remembered.
const MAX_ENTRIES: usize = 10_000;
/// Seconds in a day.
const DAY: i64 = 86_400;

/// Why a text is no such memory. It is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AbsenceError {
    /// More than [`MAX_TEXT`].
    #[error("has more than {MAX_TEXT} bytes")]
    TooLarge,
    /// Of another version of this program.
    #[error("is of version {0}, and this program knows {VERSION}")]
    Version(u32),
    /// Something else.
    #[error("is not what this program wrote")]
    Form,
}

/// One namespace whose user is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Absence {
    /// Its name, for people.
    pub namespace: NamespaceName,
    /// Its owner annotation.
    pub owner: String,
    /// The first look that found the user missing, and
    pub first: i64,
    /// the last one, both in seconds since 1970 by the API server's clock.
    pub last: i64,
}

/// A namespace as it was seen now.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    /// Its uid.
    pub uid: &'a str,
    /// Its name.
    pub namespace: &'a NamespaceName,
    /// Its owner annotation.
    pub owner: &'a str,
}

/// Namespaces whose users are missing, by cluster and uid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Absences {
    version: u32,
    clusters: BTreeMap<String, BTreeMap<String, Absence>>,
}

impl Default for Absences {
    fn default() -> Self {
        Self { version: VERSION, clusters: BTreeMap::new() }
    }
}

impl Absences {
    /// Reads what [`Absences::text`] wrote.
    ///
    /// # Errors
    /// [`AbsenceError`].
    pub fn parse(text: &[u8]) -> Result<Self, AbsenceError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        if text.len() > MAX_TEXT {
            return Err(AbsenceError::TooLarge);
        }
        let Versioned { version } = serde_json::from_slice(text).map_err(|_| AbsenceError::Form)?;
        if version != VERSION {
            return Err(AbsenceError::Version(version));
        }
        serde_json::from_slice(text).map_err(|_| AbsenceError::Form)
    }

    /// As it is kept.
    ///
    /// # Errors
    /// [`AbsenceError::TooLarge`].
    pub fn text(&self) -> Result<Vec<u8>, AbsenceError> {
        let text = serde_json::to_vec(self).map_err(|_| AbsenceError::Form)?;
        if text.len() > MAX_TEXT { Err(AbsenceError::TooLarge) } else { Ok(text) }
    }

    /// The owners of all that is remembered. Whether they are back must be known before [`Absences::observe`].
    pub fn owners(&self) -> impl Iterator<Item = &str> {
        self.clusters.values().flat_map(BTreeMap::values).map(|absence| absence.owner.as_str())
    }

    /// Takes note of a look at one cluster: `missing` are the namespaces whose user is missing, `back` the owners that
    /// are there, `clusters` the names that the configuration knows.
    pub fn observe<'a>(
        &mut self,
        cluster: &str,
        now: i64,
        missing: impl IntoIterator<Item = Seen<'a>>,
        back: &BTreeSet<String>,
        clusters: impl Fn(&str) -> bool,
    ) {
        let old = self.clusters.remove(cluster).unwrap_or_default();
        self.clusters.retain(|name, absences| {
            absences.retain(|_, absence| !back.contains(&absence.owner));
            clusters(name) && !absences.is_empty()
        });
        let room = MAX_ENTRIES.saturating_sub(self.clusters.values().map(BTreeMap::len).sum());
        let fresh: BTreeMap<String, Absence> = missing
            .into_iter()
            .take(room)
            .map(|seen| {
                let since = old.get(seen.uid).filter(|known| {
                    // A clock that went back, and a namespace that was given to somebody else, prove nothing.
                    known.owner == seen.owner && known.last <= now
                });
                let first = since.map_or(now, |known| known.first.min(known.last));
                let absence = Absence {
                    namespace: seen.namespace.clone(),
                    owner: seen.owner.to_owned(),
                    first,
                    last: now,
                };
                (seen.uid.to_owned(), absence)
            })
            .collect();
        if !fresh.is_empty() {
            self.clusters.insert(cluster.to_owned(), fresh);
        }
    }

    /// Whole days for which the user of a namespace has been missing; none when that is not remembered.
    #[must_use]
    pub fn days(&self, cluster: &str, uid: &str) -> Option<i64> {
        let absence = self.clusters.get(cluster)?.get(uid)?;
        Some(absence.last.saturating_sub(absence.first) / DAY)
    }

    /// Forgets a namespace.
    pub fn forget(&mut self, cluster: &str, uid: &str) {
        if let Some(absences) = self.clusters.get_mut(cluster) {
            absences.remove(uid);
        }
        self.clusters.retain(|_, absences| !absences.is_empty());
    }
}
