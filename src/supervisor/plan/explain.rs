//! `config explain`: what the configuration makes of a login, rule by rule, with the same decisions as a run. For root
//! itself, so it may tell what a caller is not told.

use serde::Serialize;

use super::accounts::{account, accounts, known};
use super::namespace;
use super::place::{Asked, admin_properties, record_of};
use crate::cli::ExplainArgs;
use crate::exit::ExitCode;
use crate::policy::config::{Config, Profile};
use crate::policy::identity::{self, Account, Known, Properties, callers};
use crate::policy::names::{Login, UserName};
use crate::policy::wanted;
use crate::supervisor::Failure;
use crate::supervisor::lookup::Record;
use crate::supervisor::report::escaped;

/// What is told. `refused` is the sentence that a run would end with.
#[derive(Serialize)]
struct Told<'a> {
    login: &'a str,
    project: Option<&'a str>,
    rules: Vec<String>,
    account: Option<String>,
    uid: Option<u32>,
    checks: Vec<Check>,
    refused: Option<String>,
    profiles: Vec<Place<'a>>,
}

/// A check of the account.
#[derive(Serialize)]
struct Check {
    check: &'static str,
    passes: bool,
    because: String,
}

/// What a profile gives.
#[derive(Serialize)]
struct Place<'a> {
    profile: &'a str,
    cluster: &'a str,
    template: &'a str,
    /// Entries of `callers` that let somebody run such a job.
    callers: Vec<String>,
    namespace: Option<String>,
    namespace_owner: Option<String>,
    namespace_create: bool,
    /// Those that the profile names, and those that name the namespace.
    policies: Vec<&'a str>,
    refused: Option<String>,
}

/// What is known once the login has an account.
struct Person<'a> {
    login: &'a Login,
    mapped: UserName,
    record: Record,
    account: Account,
    known: Known,
    properties: Option<Properties>,
}

/// Tells. What refuses is a part of the answer, so it is no failure.
///
/// # Errors
/// [`ExitCode::UserRefused`] for what is no login, [`ExitCode::ProfileRefused`] for a profile that does not exist,
/// [`ExitCode::LookupFailed`].
pub fn explain(config: &Config, args: &ExplainArgs) -> Result<String, Failure> {
    let login = Login::new(args.user.as_str()).map_err(Failure::of(ExitCode::UserRefused))?;
    if args.profile.as_ref().is_some_and(|wanted| !config.profiles.contains_key(wanted)) {
        return Err(Failure::new(ExitCode::ProfileRefused, "no such profile; `config show` lists them"));
    }
    let (trace, mapped) = identity::explain_login(&config.users, &login, args.project.as_deref())?;
    let mut told = Told {
        login: login.as_str(),
        project: args.project.as_deref(),
        rules: trace.iter().map(ToString::to_string).collect(),
        account: None,
        uid: None,
        checks: Vec::new(),
        refused: None,
        profiles: Vec::new(),
    };
    match mapped {
        Err(refusal) => told.refused = Some(refusal.to_string()),
        Ok(mapped) => about_account(config, args, &login, mapped, &mut told)?,
    }
    if args.json {
        return serde_json::to_string_pretty(&told).map_err(Failure::doing(ExitCode::Internal, "JSON"));
    }
    Ok(lines(&told))
}

fn about_account<'a>(
    config: &'a Config,
    args: &ExplainArgs,
    login: &Login,
    mapped: UserName,
    told: &mut Told<'a>,
) -> Result<(), Failure> {
    told.account = Some(mapped.to_string());
    let answer = accounts(config, &mapped)?;
    let record = match record_of(&answer.names, &mapped) {
        Ok(record) => record,
        Err(failure) => {
            told.refused = Some(failure.message);
            return Ok(());
        }
    };
    let person = Person {
        account: account(&record)?,
        known: known(config, &answer),
        properties: admin_properties(config)?,
        login,
        mapped,
        record,
    };
    told.account = Some(person.account.name.to_string());
    told.uid = Some(person.account.uid);
    for (check, result) in identity::target_checks(config, &person.account, &person.known) {
        let passes = result.is_ok();
        let because = result.unwrap_or_else(|refusal| refusal.to_string());
        if !passes && told.refused.is_none() {
            told.refused = Some(because.clone());
        }
        told.checks.push(Check { check, passes, because });
    }
    let profiles = config.profiles.iter();
    told.profiles = profiles
        .filter(|(name, _)| args.profile.as_ref().is_none_or(|wanted| wanted == *name))
        .map(|(name, profile)| about_profile(config, args, &person, name, profile))
        .collect();
    Ok(())
}

/// The namespace that a profile gives, or why it gives none; who may run such a job.
fn about_profile<'a>(
    config: &'a Config,
    args: &ExplainArgs,
    person: &Person<'_>,
    name: &'a str,
    profile: &'a Profile,
) -> Place<'a> {
    let asked = Asked {
        config,
        profile,
        login: person.login,
        mapped: &person.mapped,
        record: &person.record,
        account: &person.account,
        project: args.project.as_deref(),
        team: args.team.as_deref(),
    };
    let gids = &person.known.caller_groups;
    let lets = config.callers.iter().enumerate().filter(|(_, entry)| {
        entry.profiles().is_none_or(|profiles| profiles.iter().any(|one| one == name))
            && callers::explain(entry, profile, &person.account, gids)
    });
    let mut place = Place {
        profile: name,
        cluster: &profile.cluster,
        template: &profile.namespace.template,
        callers: lets.map(|(index, _)| format!("callers[{index}]")).collect(),
        namespace: None,
        namespace_owner: None,
        namespace_create: profile.namespace.create,
        policies: Vec::new(),
        refused: None,
    };
    let variables = asked.variables(person.properties.as_ref());
    match variables.and_then(|variables| namespace(config, profile, &variables)) {
        Ok(namespace) => {
            // That they can be applied is known by now.
            let applying = wanted::applying(config, &profile.namespace.policies, &namespace.name);
            place.policies = applying.unwrap_or_default().into_keys().collect();
            place.namespace = Some(namespace.name.to_string());
            place.namespace_owner = Some(namespace.owner);
        }
        Err(failure) => place.refused = Some(failure.message),
    }
    place
}

fn words<S: AsRef<str>>(all: &[S]) -> String {
    let all: Vec<&str> = all.iter().map(AsRef::as_ref).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

/// The same for people.
fn lines(told: &Told<'_>) -> String {
    let mut lines = vec![format!("login        {}", told.login)];
    lines.extend(told.project.map(|project| format!("project      {project}")));
    lines.extend(told.rules.iter().map(|rule| format!("  {rule}")));
    lines.extend(told.account.as_ref().map(|account| {
        let uid = told.uid.map(|uid| format!(" (uid {uid})")).unwrap_or_default();
        format!("UNIX account {account}{uid}")
    }));
    lines.extend(told.checks.iter().map(|check| {
        let mark = if check.passes { "ok  " } else { "FAIL" };
        format!("  {mark} {}: {}", check.check, check.because)
    }));
    lines.extend(told.refused.as_ref().map(|problem| format!("refused      {problem}")));
    for place in &told.profiles {
        lines.push(format!("profile      {} (cluster {})", place.profile, place.cluster));
        lines.push(format!("  callers    {}", words(&place.callers)));
        lines.extend(place.refused.as_ref().map(|problem| format!("  refused    {problem}")));
        if let (Some(namespace), Some(owner)) = (&place.namespace, &place.namespace_owner) {
            let how = if place.namespace_create { "created when missing" } else { "must exist" };
            lines.push(format!("  namespace  {namespace} ({how}), owner {owner}"));
            lines.push(format!("  policies   {}", words(&place.policies)));
        }
    }
    lines.iter().map(|line| escaped(line)).collect::<Vec<_>>().join("\n")
}
