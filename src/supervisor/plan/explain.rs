//! `config explain`: what the configuration makes of a login, rule by rule, with the same decisions as a run. For root
//! itself, so it may tell what a caller is not told.

use serde_json::{Value, json};

use super::accounts::{account, accounts, known};
use super::namespace;
use super::place::{Asked, admin_properties, record_of};
use crate::cli::ExplainArgs;
use crate::exit::ExitCode;
use crate::policy::config::{Config, Profile};
use crate::policy::identity::{self, Account, Known, Properties, callers};
use crate::policy::names::{Login, UserName};
use crate::supervisor::Failure;
use crate::supervisor::lookup::Record;
use crate::supervisor::report::escaped;

/// What is known once the login has an account.
struct Person {
    login: Login,
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
    let rules: Vec<String> = trace.iter().map(ToString::to_string).collect();
    let mut value = json!({"login": login.as_str(), "project": args.project, "rules": rules});
    let person = match mapped {
        Err(refusal) => Err(refusal.to_string()),
        Ok(mapped) => find(config, login, mapped, &mut value)?,
    };
    match person {
        Err(problem) => value["refused"] = json!(problem),
        Ok(person) => about_account(config, args, &person, &mut value)?,
    }
    if args.json {
        return serde_json::to_string_pretty(&value).map_err(Failure::doing(ExitCode::Internal, "JSON"));
    }
    Ok(lines(&value))
}

/// The account; or the sentence that refuses it.
fn find(
    config: &Config,
    login: Login,
    mapped: UserName,
    value: &mut Value,
) -> Result<Result<Person, String>, Failure> {
    value["account"] = json!(mapped.as_str());
    let answer = accounts(config, &mapped)?;
    let record = match record_of(&answer.names, &mapped) {
        Ok(record) => record,
        Err(failure) => return Ok(Err(failure.message)),
    };
    let person = Person {
        account: account(&record)?,
        known: known(config, &answer),
        properties: admin_properties(config)?,
        login,
        mapped,
        record,
    };
    Ok(Ok(person))
}

fn about_account(
    config: &Config,
    args: &ExplainArgs,
    person: &Person,
    value: &mut Value,
) -> Result<(), Failure> {
    value["account"] = json!(person.account.name.as_str());
    value["uid"] = json!(person.account.uid);
    let checks = identity::target_checks(config, &person.account, &person.known);
    value["refused"] =
        json!(checks.iter().find_map(|(_, result)| result.as_ref().err()).map(ToString::to_string));
    value["checks"] = checks
        .iter()
        .map(|(what, result)| match result {
            Ok(rule) => json!({"check": what, "passes": true, "because": rule}),
            Err(refusal) => json!({"check": what, "passes": false, "because": refusal.to_string()}),
        })
        .collect();
    value["profiles"] = config
        .profiles
        .iter()
        .filter(|(name, _)| args.profile.as_ref().is_none_or(|wanted| wanted == *name))
        .map(|(name, profile)| about_profile(config, args, person, name, profile))
        .collect();
    Ok(())
}

/// The namespace that a profile gives, or why it gives none; who may run such a job.
fn about_profile(
    config: &Config,
    args: &ExplainArgs,
    person: &Person,
    name: &str,
    profile: &Profile,
) -> Value {
    let asked = Asked {
        config,
        profile,
        login: &person.login,
        mapped: &person.mapped,
        record: &person.record,
        account: &person.account,
        project: args.project.as_deref(),
        team: args.team.as_deref(),
    };
    let callers: Vec<String> = config
        .callers
        .iter()
        .enumerate()
        .filter(|(_, entry)| {
            entry.profiles().is_none_or(|profiles| profiles.iter().any(|one| one == name))
                && callers::explain(entry, profile, &person.account, &person.known.caller_groups)
        })
        .map(|(index, _)| format!("callers[{index}]"))
        .collect();
    let mut value = json!({
        "profile": name, "cluster": profile.cluster, "callers": callers, "template": profile.namespace.template,
    });
    match asked
        .variables(person.properties.as_ref())
        .and_then(|variables| namespace(config, profile, &variables))
    {
        Ok(namespace) => {
            value["namespace"] = json!(namespace.name.as_str());
            value["namespace_owner"] = json!(namespace.owner);
            value["namespace_create"] = json!(namespace.create);
            value["policies"] = json!(profile.namespace.policies);
        }
        Err(failure) => value["refused"] = json!(failure.message),
    }
    value
}

/// The same for people.
fn lines(value: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), String::from);
    let words = |value: &Value| {
        let all: Vec<String> = value.as_array().into_iter().flatten().map(text).collect();
        if all.is_empty() { "none".to_owned() } else { all.join(", ") }
    };
    let part = |value: &Value, key: &str| value.get(key).filter(|part| !part.is_null()).cloned();
    let mut lines = vec![format!("login        {}", text(&value["login"]))];
    lines.extend(part(value, "project").map(|project| format!("project      {}", text(&project))));
    let list = |key: &str| value.get(key).and_then(Value::as_array).into_iter().flatten();
    lines.extend(list("rules").map(|rule| format!("  {}", text(rule))));
    lines.extend(part(value, "account").map(|account| {
        let uid = part(value, "uid").map(|uid| format!(" (uid {uid})")).unwrap_or_default();
        format!("UNIX account {}{uid}", text(&account))
    }));
    lines.extend(list("checks").map(|check| {
        let mark = if check["passes"] == json!(true) { "ok  " } else { "FAIL" };
        format!("  {mark} {}: {}", text(&check["check"]), text(&check["because"]))
    }));
    lines.extend(part(value, "refused").map(|problem| format!("refused      {}", text(&problem))));
    for profile in list("profiles") {
        lines.push(format!(
            "profile      {} (cluster {})",
            text(&profile["profile"]),
            text(&profile["cluster"])
        ));
        lines.push(format!("  callers    {}", words(&profile["callers"])));
        match part(profile, "refused") {
            Some(problem) => lines.push(format!("  refused    {}", text(&problem))),
            None => {
                let create = profile["namespace_create"] == json!(true);
                let how = if create { "created when missing" } else { "must exist" };
                lines.push(format!(
                    "  namespace  {} ({how}), owner {}",
                    text(&profile["namespace"]),
                    text(&profile["namespace_owner"])
                ));
                lines.push(format!("  policies   {}", words(&profile["policies"])));
            }
        }
    }
    lines.iter().map(|line| escaped(line)).collect::<Vec<_>>().join("\n")
}
