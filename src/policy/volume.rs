//! A user's volume: the claim that all jobs of one UNIX account share in a namespace.

use serde::{Deserialize, Serialize};

use crate::policy::config::Volume;
use crate::policy::namespace::{NamespaceError, Variables, resolve};

/// What the name of a claim is made from. As a namespace's name it is injective, and a legal name whatever the account's.
const TEMPLATE: &str = "ssa-volume-${user}";

/// A user's claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Its name.
    pub name: String,
    /// Whose it is: what the owner annotation must hold.
    pub owner: String,
    /// Size of one that is made.
    pub size: String,
    /// StorageClass of one that is made.
    pub class: Option<String>,
    /// Access mode of one that is made.
    pub access_mode: String,
}

/// The claim of a job's user.
///
/// # Errors
/// [`NamespaceError`]; none is known for an account's name.
pub fn claim(volume: &Volume, variables: &Variables) -> Result<Claim, NamespaceError> {
    let resolved = resolve(TEMPLATE, variables)?;
    Ok(Claim {
        name: resolved.name.as_str().to_owned(),
        owner: resolved.owner,
        size: volume.size.clone(),
        class: volume.class.clone(),
        access_mode: volume.access_mode.name().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::PathBuf;

    use super::*;
    use crate::policy::config::AccessMode;
    use crate::policy::names::{Login, UserName};

    fn name(user: &str) -> String {
        let volume = Volume {
            size: "1Gi".into(),
            class: None,
            mount_path: PathBuf::from("/data"),
            access_mode: AccessMode::default(),
        };
        let variables = Variables {
            login: Login::new("somebody").unwrap(),
            user: UserName::new(user).unwrap(),
            team: None,
            group: None,
            project: None,
            properties: BTreeMap::new(),
        };
        let claim = claim(&volume, &variables).unwrap();
        assert_eq!(claim.owner, format!("{{\"user\":\"{user}\"}}"));
        claim.name
    }

    #[test]
    fn two_accounts_never_share_a_claim() {
        let users = [
            "alice",
            "Alice",
            "a.lice",
            "a-lice",
            "a_lice",
            "alice-",
            "alice.",
            "ALICE",
            "aLice",
            "abcdefghijklmnopqrstuvwxyz012345",
            "abcdefghijklmnopqrstuvwxyz01234",
        ];
        let mut names: BTreeSet<String> = users.into_iter().map(name).collect();
        assert_eq!(names.len(), users.len(), "{names:?}");
        assert!(names.contains("ssa-volume-alice"));
        assert!(names.iter().all(|name| name.starts_with("ssa-volume-") && name.len() <= 63), "{names:?}");
        // An account whose name looks like the hashed name of another.
        let hashed = name("Al");
        let lookalike = hashed.trim_start_matches("ssa-volume-").to_owned();
        if lookalike.len() <= 32 {
            names.insert(hashed.clone());
            assert!(names.insert(name(&lookalike)), "{hashed}");
        }
    }
}
