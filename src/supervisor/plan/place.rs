//! Where a job belongs: the values of the variables that its namespace's template may use, and whether a namespace of each
//! login would be a boundary at all.

use std::path::Path;

use super::accounts::group_names;
use crate::exit::ExitCode;
use crate::policy::config::{Config, Profile};
use crate::policy::identity::{self, Account, Properties, Refusal};
use crate::policy::names::{Login, UserName};
use crate::policy::namespace::{self, Variables};
use crate::supervisor::lookup::Record;
use crate::supervisor::{Failure, properties};

/// What is known of a job when its place is looked for.
pub(super) struct Asked<'a> {
    pub config: &'a Config,
    pub profile: &'a Profile,
    pub login: &'a Login,
    /// What the mapping gave,
    pub mapped: &'a UserName,
    /// and what the account database knows under that name.
    pub record: &'a Record,
    pub account: &'a Account,
    pub project: Option<&'a str>,
    pub team: Option<&'a str>,
}

/// The admin properties of the configuration, if it has some.
pub(super) fn admin_properties(config: &Config) -> Result<Option<Properties>, Failure> {
    config.users.properties.as_deref().map(|path: &Path| properties::load(path)).transpose()
}

impl Asked<'_> {
    /// The values, from the administrator and the account database alone.
    pub(super) fn variables(&self, properties: Option<&Properties>) -> Result<Variables, Failure> {
        let template = &self.profile.namespace.template;
        let users = &self.config.users;
        self.refuse_shared()?;
        let uses_team = namespace::uses(template, "team");
        let team_wanted = uses_team || self.team.is_some();
        let needed = properties.is_some() || namespace::uses(template, "group") || team_wanted;
        let groups = group_names(self.config, self.record, needed)?;
        let names = || groups.values().map(String::as_str);
        let team = match team_wanted {
            true => identity::choose_team(users.team.as_ref(), self.account, names(), self.team, uses_team)?,
            false => None,
        };
        Ok(Variables {
            login: self.login.clone(),
            user: self.account.name.clone(),
            group: groups.get(&self.record.gid).cloned(),
            team,
            project: self.project.map(String::from),
            properties: properties
                .map(|properties| properties.for_login(self.login, &names().collect::<Vec<_>>()))
                .transpose()?
                .unwrap_or_default(),
        })
    }

    /// A namespace of each login, where several logins have one account, is refused unless the profile says that it may be.
    fn refuse_shared(&self) -> Result<(), Failure> {
        let wanted = &self.profile.namespace;
        if wanted.accept_shared_account || !namespace::uses(&wanted.template, "login") {
            return Ok(());
        }
        // A database that takes another spelling for the same account: `Alice` and `alice` are two logins.
        let respelt = (self.account.name != *self.mapped).then(|| "the account database".to_owned());
        match respelt.or_else(|| identity::shared_by(&self.config.users, self.login, self.mapped)) {
            Some(rule) => Err(Refusal::SharedAccount { rule }.into()),
            None => Ok(()),
        }
    }
}

/// The account that a login maps to, as the database has it.
pub(super) fn record_of(
    names: &std::collections::BTreeMap<String, Record>,
    user: &UserName,
) -> Result<Record, Failure> {
    names.get(user.as_str()).cloned().ok_or_else(|| {
        Failure::new(
            ExitCode::UserRefused,
            format!("the login maps to UNIX account {user}, which does not exist"),
        )
    })
}
