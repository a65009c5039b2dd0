//! What a configuration must make sense of beyond its shape.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};
use std::time::Duration;

use super::parse::Finding;
use super::place::Segment;
use super::{
    Cluster, Config, Driver, Environment, Limits, MappingRule, Namespaces, Profile, Spark, Users, environment,
};
use crate::policy::identity::{check_expression, check_pattern};
use crate::policy::names::{Login, NamespaceName, UserName, is_project_key, is_word};
use crate::policy::namespace::validate_template;
use crate::policy::quantity::Quantity;
use crate::spark::ports;

mod callers;
mod labels;
mod policies;
mod tools;

/// Most entries of any list or table that somebody writes by hand.
const MAX_ENTRIES: usize = 256;
/// Most entries of a table of Spark keys or environment variables.
const MAX_SETTINGS: usize = 1024;
/// Longest value of a Spark key or a variable: half of what execve(2) takes for one string (128 KiB).
const MAX_VALUE: usize = 64 * 1024;
const MAX_SPARK_KEY: usize = 256;
/// Shortest life of a token that the API server grants (TokenRequest).
const MIN_TOKEN_TTL: Duration = Duration::from_secs(600);
/// A message over a socket carries at most 253 descriptors (SCM_MAX_FD), so this is four of them.
const MAX_FILES: u32 = 1012;

type Check = Result<(), Finding>;

/// A place in the tree.
#[derive(Clone)]
struct Place(Vec<Segment>);

impl Place {
    fn top(key: &str) -> Self {
        Self(vec![key.into()])
    }

    fn then(&self, segment: impl Into<Segment>) -> Self {
        let mut path = self.0.clone();
        path.push(segment.into());
        Self(path)
    }

    fn refuse(&self, rule: impl Into<String>, advice: &str) -> Check {
        Err(Finding { path: self.0.clone(), rule: rule.into(), advice: advice.into() })
    }

    fn require(&self, holds: bool, rule: &str, advice: &str) -> Check {
        if holds { Ok(()) } else { self.refuse(rule, advice) }
    }

    fn user_name(&self, name: &str) -> Check {
        UserName::new(name)
            .map_or_else(|error| self.refuse(error.to_string(), "correct the name"), |_| Ok(()))
    }

    fn count(&self, count: usize, most: usize) -> Check {
        self.require(count <= most, &format!("has more than {most} entries"), "remove some")
    }

    /// A list that must have an entry, each of them once.
    fn names(&self, names: &[String], may_be_empty: bool) -> Check {
        self.require(may_be_empty || !names.is_empty(), "must not be empty", "name at least one")?;
        self.count(names.len(), MAX_ENTRIES)?;
        let mut seen = BTreeSet::new();
        names.iter().enumerate().try_for_each(|(index, name)| {
            self.then(index).require(seen.insert(name), "is in the list already", "remove it")
        })
    }

    /// The keys of a table of clusters, profiles or policies.
    fn table<T>(&self, table: &BTreeMap<String, T>, may_be_empty: bool) -> Check {
        self.require(may_be_empty || !table.is_empty(), "must not be empty", "add at least one")?;
        self.count(table.len(), MAX_ENTRIES)?;
        table.keys().try_for_each(|name| {
            let rule = "a name must be 1 to 63 of [A-Za-z0-9._-]";
            self.then(name.as_str()).require(is_word(name, 63), rule, "rename it")
        })
    }

    /// An absolute path without `.`, `..`, `//` or a `/` at the end, so that its text is its meaning.
    fn path(&self, path: &Path) -> Check {
        let text = path.to_str().unwrap_or_default();
        let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        let parts = text.strip_prefix('/').unwrap_or_default().split('/');
        let clean = text.starts_with('/')
            && text.len() < 4096
            && plain
            && !text.chars().any(char::is_control)
            && parts.into_iter().all(|part| !part.is_empty() && part != "." && part.len() <= 255);
        self.require(
            clean,
            "must be an absolute path without `.`, `..`, `//` or a `/` at its end",
            "write it out",
        )
    }
}

/// Checks a whole configuration and finds the first thing that is wrong, in the order of the file's manual.
pub(super) fn validate(config: &Config) -> Check {
    callers::check(config)?;
    let provisioner = Place::top("provisioner");
    provisioner.user_name(&config.provisioner)?;
    let not_root = "must not be root: what talks to Kubernetes is no code of root's";
    provisioner.require(config.provisioner != "root", not_root, "name a system account of its own")?;
    users(&config.users)?;
    let clusters = Place::top("clusters");
    clusters.table(&config.clusters, false)?;
    config.clusters.iter().try_for_each(|(name, value)| cluster(&clusters.then(name.as_str()), value))?;
    let here = Place::top("namespace_policies");
    here.table(&config.namespace_policies, true)?;
    config
        .namespace_policies
        .iter()
        .try_for_each(|(name, value)| policies::policy(&here.then(name.as_str()), value))?;
    let profiles = Place::top("profiles");
    profiles.table(&config.profiles, false)?;
    config
        .profiles
        .iter()
        .try_for_each(|(name, value)| profile(&profiles.then(name.as_str()), value, config))?;
    namespaces(&Place::top("namespaces"), &config.namespaces)?;
    let files = Place::top("staging").then("max_files");
    files.require(config.staging.max_files <= MAX_FILES, "must be at most 1012", "stage an archive instead")
}

fn namespaces(here: &Place, namespaces: &Namespaces) -> Check {
    let days = (1..=3650).contains(&namespaces.prune_after_days);
    here.then("prune_after_days").require(days, "must be 1 to 3650", "30 is a good value")?;
    let account = here.then("account");
    namespaces.account.iter().try_for_each(|name| {
        account.user_name(name)?;
        let not_root = "must not be root: what talks to Kubernetes is no code of root's";
        account.require(name != "root", not_root, "name a system account of its own")
    })
}

fn users(users: &Users) -> Check {
    let here = Place::top("users");
    for (key, names, may_be_empty) in
        [("allowed_groups", &users.allowed_groups, false), ("denied", &users.denied, true)]
    {
        let list = here.then(key);
        list.names(names, may_be_empty)?;
        names.iter().enumerate().try_for_each(|(index, name)| list.then(index).user_name(name))?;
    }
    let min_uid = here.then("min_uid");
    min_uid.require(
        users.min_uid >= 1,
        "must be at least 1: uid 0 never runs jobs",
        "1000 is Debian's first user",
    )?;
    let mapping = here.then("mapping");
    mapping.require(
        !users.mapping.is_empty(),
        "must not be empty: no login would be mapped",
        "add `identity`",
    )?;
    mapping.count(users.mapping.len(), MAX_ENTRIES)?;
    users.mapping.iter().enumerate().try_for_each(|(index, value)| rule(&mapping.then(index), value))?;
    users.properties.iter().try_for_each(|path| here.then("properties").path(path))?;
    users.team.iter().try_for_each(|team| {
        let expression = here.then("team").then("from_groups");
        check_expression(&team.from_groups).or_else(|problem| expression.refuse(problem, "correct it"))
    })
}

fn rule(here: &Place, rule: &MappingRule) -> Check {
    let project = match rule {
        MappingRule::Identity(_) => None,
        MappingRule::Login(rule) => {
            let login = Login::new(rule.login.as_str());
            login.map_or_else(
                |error| here.then("login").refuse(error.to_string(), "correct the login"),
                |_| Ok(()),
            )?;
            let user = here.then("user");
            user.user_name(&rule.user)?;
            user.require(
                rule.user != "root",
                "maps to root, which never runs jobs",
                "name a person's account",
            )?;
            rule.project.as_ref()
        }
        MappingRule::Regex(rule) => {
            if let Err((key, problem)) = check_pattern(rule) {
                return here.then(key).refuse(problem, "correct it");
            }
            rule.project.as_ref()
        }
    };
    let legal = project.is_none_or(|project| is_project_key(project));
    here.then("project").require(
        legal,
        "a project's key must be 1 to 100 of [A-Za-z0-9_.-]",
        "correct the key",
    )
}

fn cluster(here: &Place, cluster: &Cluster) -> Check {
    here.then("kubeconfig").path(&cluster.kubeconfig)?;
    let context = cluster
        .context
        .as_ref()
        .is_none_or(|name| !name.is_empty() && name.len() <= 253 && !name.chars().any(char::is_control));
    here.then("context").require(
        context,
        "must be 1 to 253 characters, none of them a control character",
        "",
    )?;
    let namespaces = here.then("namespaces");
    namespaces.names(&cluster.namespaces, true)?;
    cluster.namespaces.iter().enumerate().try_for_each(|(index, name)| {
        NamespaceName::new(name.as_str()).map_or_else(
            |error| namespaces.then(index).refuse(error.to_string(), "correct the name"),
            |_| Ok(()),
        )
    })?;
    let role = here.then("driver_role");
    let name = cluster.driver_role.as_str();
    // What RBAC allows in a name and what people use: no `/` or `%`, which would change the request's path.
    let legal = !name.is_empty()
        && name.len() <= 253
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b))
        && name.bytes().any(|b| b.is_ascii_alphanumeric());
    role.require(legal, "must be a ClusterRole's name: 1 to 253 of [A-Za-z0-9._:-]", "correct the name")?;
    // Each of these lets a driver mint tokens or read Secrets of its neighbours in the namespace.
    let broad = ["cluster-admin", "admin", "edit"].contains(&name) || name.starts_with("system:");
    role.require(
        !broad,
        "is a role of Kubernetes' own that gives a driver more than it needs",
        "use the role that ships with this program",
    )
}

fn profile(here: &Place, profile: &Profile, config: &Config) -> Check {
    let cluster = config.clusters.contains_key(&profile.cluster);
    let rule = "names no cluster of `clusters`";
    here.then("cluster").require(cluster, rule, "add it there or correct the name")?;
    here.then("spark_home").path(&profile.spark_home)?;
    let programs = here.then("programs");
    programs.require(
        !profile.programs.is_empty(),
        "must not be empty",
        "name at least one, such as spark-submit",
    )?;
    let mut seen = BTreeSet::new();
    for (index, program) in profile.programs.iter().enumerate() {
        programs.then(index).require(
            seen.insert(program.file_name()),
            "is in the list already",
            "remove it",
        )?;
    }
    tools::check(here, profile)?;
    let namespace = here.then("namespace");
    if let Err(error) = validate_template(&profile.namespace.template) {
        return namespace.then("template").refuse(error.to_string(), "");
    }
    let named = namespace.then("policies");
    named.names(&profile.namespace.policies, true)?;
    for (index, name) in profile.namespace.policies.iter().enumerate() {
        let exists = config.namespace_policies.contains_key(name);
        let rule = "names no policy of `namespace_policies`";
        named.then(index).require(exists, rule, "add it there or correct the name")?;
    }
    policies::profile(here, profile, config)?;
    let ttl = here.then("credentials").then("token_ttl");
    let long_enough = profile.credentials.token_ttl >= MIN_TOKEN_TTL;
    ttl.require(
        long_enough,
        "must be at least 10m: the API server grants no shorter token",
        "1h is a good value",
    )?;
    spark(&here.then("spark"), &profile.spark)?;
    let later = profile.executors.end_after.is_none_or(|end| end > profile.executors.warn_after);
    let rule = "must be longer than warn_after: a job is told why before it is ended";
    here.then("executors").then("end_after").require(later, rule, "10m is a good value")?;
    variables(&here.then("environment"), &profile.environment)?;
    profile.driver.iter().try_for_each(|value| driver(&here.then("driver"), value))
}

fn driver(here: &Place, driver: &Driver) -> Check {
    let cgroup = here.then("cgroup");
    let parts: Vec<&str> = driver.cgroup.split('/').collect();
    let plain = |part: &&str| is_word(part, 63) && !part.starts_with('.') && !part.starts_with("cgroup.");
    let legal = parts.len() <= 8 && parts.iter().all(|part| *part == "${user}" || plain(part));
    let rule = "must be 1 to 8 names of [A-Za-z0-9._-] with `/` between them, one of which may be ${user}";
    cgroup.require(legal, rule, "correct it")?;
    let of_user = driver.user == Limits::default() || parts.last() == Some(&"${user}");
    cgroup.require(of_user, "must end in ${user} where the user has limits", "let it end so")?;
    for (key, limits) in [("job", &driver.job), ("user", &driver.user)] {
        let place = here.then(key);
        for (name, text) in [("memory", &limits.memory), ("cpu", &limits.cpu)] {
            let amount = text
                .as_ref()
                .is_none_or(|text| text.parse().is_ok_and(|amount: Quantity| amount > Quantity::ZERO));
            place.then(name).require(
                amount,
                "must be a quantity above nothing, such as 4Gi, 2 or 500m",
                "correct it",
            )?;
        }
        let tasks = limits.tasks.is_none_or(|tasks| tasks >= 64);
        place.then("tasks").require(tasks, "must be at least 64: a JVM has that many threads", "raise it")?;
    }
    Ok(())
}

fn spark(here: &Place, spark: &Spark) -> Check {
    for (key, settings) in [("defaults", &spark.defaults), ("enforced", &spark.enforced)] {
        let table = here.then(key);
        table.count(settings.len(), MAX_SETTINGS)?;
        for (name, value) in settings {
            let setting = table.then(name.as_str());
            let legal = name.starts_with("spark.")
                && name.len() > "spark.".len()
                && name.len() <= MAX_SPARK_KEY
                && name.bytes().all(|b| b.is_ascii_graphic() && b != b'=');
            let rule =
                "a Spark key must begin with `spark.`, without space or `=`, and have at most 256 bytes";
            setting.require(legal, rule, "correct the key")?;
            argument(&setting, value)?;
        }
    }
    spark.executor_pod_template.iter().try_for_each(|path| here.then("executor_pod_template").path(path))?;
    let host = spark.driver_host.as_ref().is_none_or(|host| is_host(host));
    let advice = "correct it, or leave it out for this host's address towards the API server";
    here.then("driver_host").require(host, "must be a host's name or an IP address", advice)?;
    let Some(range) = spark.driver_ports else { return Ok(()) };
    let place = here.then("driver_ports");
    let fits = range.first >= 1024 && range.blocks() >= 1;
    place.require(fits, "must be a range of at least three ports, none below 1024", "widen it")?;
    for (key, settings) in [("defaults", &spark.defaults), ("enforced", &spark.enforced)] {
        for name in ports::KEYS.iter().filter(|name| settings.contains_key(**name)) {
            let rule = "is set for each job from `driver_ports`";
            here.then(key).then(*name).refuse(rule, "leave one of the two out")?;
        }
    }
    Ok(())
}

/// A value that goes into an argument or a variable of the job.
fn argument(here: &Place, value: &str) -> Check {
    let fits = value.len() <= MAX_VALUE && !value.contains('\0');
    here.require(fits, "the value must have at most 64 KiB and no NUL character", "shorten it")
}

fn is_host(text: &str) -> bool {
    let label = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    text.parse::<std::net::IpAddr>().is_ok() || (text.len() <= 253 && text.split('.').all(label))
}

fn variables(here: &Place, variables: &Environment) -> Check {
    const NAME: &str = "a variable's name must be [A-Za-z_][A-Za-z0-9_]*, at most 128 bytes";
    const NEVER: &str = "steers the loader or a shell, or is set by this program itself";
    let keep = here.then("keep");
    keep.names(&variables.keep, true)?;
    for (index, name) in variables.keep.iter().enumerate() {
        let entry = keep.then(index);
        entry.require(environment::is_name(name), NAME, "correct the name")?;
        entry.require(environment::may_set(name), NEVER, "remove it")?;
        let rule = "steers an interpreter, Spark or where connections go, so the caller must not bring it";
        entry.require(
            environment::may_keep(name),
            rule,
            "give it a value of yours under `set`, or remove it",
        )?;
    }
    let set = here.then("set");
    set.count(variables.set.len(), MAX_SETTINGS)?;
    for (name, value) in &variables.set {
        let entry = set.then(name.as_str());
        entry.require(environment::is_name(name), NAME, "correct the name")?;
        entry.require(environment::may_set(name), NEVER, "remove it")?;
        let both = variables.keep.contains(name);
        entry.require(!both, "is under `keep` as well", "decide where its value comes from")?;
        argument(&entry, value)?;
    }
    Ok(())
}
