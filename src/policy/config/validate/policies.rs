//! What a namespace policy and a volume must make sense of.

use std::collections::{BTreeMap, BTreeSet};

use super::{Check, Place, labels};
use crate::policy::cidr::{Cidr, NEVER};
use crate::policy::config::{
    Config, Egress, ExecutorAccount, LimitRangeItem, LimitType, NamespacePolicy, Profile, ResourceQuota,
    Volume,
};
use crate::policy::identity::whole_match;
use crate::policy::names::is_word;
use crate::policy::quantity::Quantity;
use crate::policy::wanted::{anywhere, check_value, variables_of};

/// Most labels of a policy.
const MAX_LABELS: usize = 256;
/// Most entries of any other list of a policy.
const MAX_LISTED: usize = 64;
/// Longest entry of such a list.
const MAX_ENTRY: usize = 512;
/// Longest annotation of the executors' account.
const MAX_ANNOTATION: usize = 1024;
/// Directories of a container that are no place for a volume.
const SYSTEM: [&str; 12] =
    ["/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr", "/var/run"];
/// What a quota can count, beside extended resources and `count/RESOURCE` (`standardQuotaResources`).
const COUNTED: [&str; 18] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "services",
    "services.nodeports",
    "services.loadbalancers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "replicationcontrollers",
];
const QUANTITY: &str = "write 10, 500m, 1.5 or 4Gi";

pub(super) fn policy(here: &Place, policy: &NamespacePolicy) -> Check {
    if let Some(Err(problem)) = policy.namespaces.as_ref().map(|pattern| whole_match(pattern, "")) {
        return here.then("namespaces").refuse(problem, "correct the expression");
    }
    let table = here.then("labels");
    table.count(policy.labels.len(), MAX_LABELS)?;
    for (key, value) in &policy.labels {
        if let Err((rule, advice)) = labels::check(key, value) {
            return table.then(key.as_str()).refuse(rule, advice);
        }
    }
    policy.resource_quota.iter().try_for_each(|value| quota(&here.then("resource_quota"), value))?;
    if let Some(range) = &policy.limit_range {
        let list = here.then("limit_range").then("limits");
        list.require(!range.limits.is_empty(), "must not be empty", "add an entry, or remove `limit_range`")?;
        let mut seen = BTreeSet::new();
        for (index, item) in range.limits.iter().enumerate() {
            let entry = list.then(index);
            entry.then("type").require(seen.insert(item.kind), "is in the list already", "make them one")?;
            limits(&entry, item)?;
        }
    }
    egress(&here.then("egress"), policy)?;
    listed(&here.then("images"), &policy.images, image)?;
    listed(&here.then("token_audiences"), &policy.token_audiences, |_| Ok(()))?;
    listed(&here.then("priority_classes"), &policy.priority_classes, |name| match name {
        _ if name.starts_with("system-") => {
            Err(("is one of the cluster's own, which take other pods' place", "remove it"))
        }
        _ if labels::is_subdomain(name) => Ok(()),
        _ => Err(("is no PriorityClass's name", "correct the name")),
    })?;
    listed(&here.then("tolerations"), &policy.tolerations, |key| {
        labels::is_key(key)
            .then_some(())
            .ok_or(("is no taint's key", "write the key alone, without value and effect"))
    })?;
    policy.executor_account.iter().try_for_each(|value| account(&here.then("executor_account"), value))
}

/// A table from resources to quantities.
fn amounts(here: &Place, table: &BTreeMap<String, String>) -> Check {
    here.count(table.len(), MAX_LISTED)?;
    for (resource, amount) in table {
        let entry = here.then(resource.as_str());
        let legal = resource.len() <= 317 && labels::is_key(resource);
        entry.require(legal, "is no resource's name", "such as cpu, memory or requests.storage")?;
        let Ok(amount) = amount.parse::<Quantity>() else {
            return entry.refuse("must be a quantity: a number that is not negative", QUANTITY);
        };
        let counted = matches!(
            resource.as_str(),
            "pods" | "services" | "secrets" | "configmaps" | "persistentvolumeclaims"
        ) || resource.starts_with("count/");
        entry.require(!counted || amount.is_whole(), "must be a whole number", "such as 10")?;
    }
    Ok(())
}

fn quota(here: &Place, quota: &ResourceQuota) -> Check {
    let hard = here.then("hard");
    hard.require(!quota.hard.is_empty(), "must not be empty", "add a resource, or remove `resource_quota`")?;
    amounts(&hard, &quota.hard)?;
    quota.hard.keys().try_for_each(|resource| {
        let known = resource.contains('/')
            || COUNTED.contains(&resource.as_str())
            || resource.starts_with("hugepages-")
            || resource.starts_with("requests.hugepages-");
        let rule = "is nothing that a quota counts";
        hard.then(resource.as_str()).require(
            known,
            rule,
            "such as pods, requests.cpu, limits.memory or count/jobs.batch",
        )
    })
}

fn limits(here: &Place, item: &LimitRangeItem) -> Check {
    let tables = [
        ("max", &item.max),
        ("min", &item.min),
        ("default", &item.default),
        ("defaultRequest", &item.default_request),
        ("maxLimitRequestRatio", &item.max_limit_request_ratio),
    ];
    tables.iter().try_for_each(|(key, table)| amounts(&here.then(*key), table))?;
    let empty = tables.iter().all(|(_, table)| table.is_empty());
    here.require(
        !empty,
        "says nothing",
        "add `max`, `min`, `default`, `defaultRequest` or `maxLimitRequestRatio`",
    )?;
    if item.kind != LimitType::Container {
        for (key, table) in [("default", &item.default), ("defaultRequest", &item.default_request)] {
            here.then(key).require(
                table.is_empty(),
                "is for containers only",
                "move it to the type Container",
            )?;
        }
    }
    let at = |table: &BTreeMap<String, String>, key: &str| {
        table.get(key).and_then(|text| text.parse::<Quantity>().ok())
    };
    for (lower, upper) in [
        (("min", &item.min), ("max", &item.max)),
        (("min", &item.min), ("default", &item.default)),
        (("min", &item.min), ("defaultRequest", &item.default_request)),
        (("defaultRequest", &item.default_request), ("default", &item.default)),
        (("defaultRequest", &item.default_request), ("max", &item.max)),
        (("default", &item.default), ("max", &item.max)),
    ] {
        for (resource, amount) in lower.1.iter() {
            let (low, high) = (amount.parse::<Quantity>().ok(), at(upper.1, resource));
            if let (Some(low), Some(high)) = (low, high)
                && low > high
            {
                let rule = format!("is more than `{}`", upper.0);
                return here.then(lower.0).then(resource.as_str()).refuse(rule, "correct one of them");
            }
        }
    }
    Ok(())
}

fn egress(here: &Place, policy: &NamespacePolicy) -> Check {
    let alone = policy.egress.is_empty() || policy.network_policy.is_some();
    here.require(
        alone,
        "opens nothing without `network_policy: isolated` in the same policy",
        "add that, or remove it",
    )?;
    here.count(policy.egress.len(), MAX_LISTED)?;
    let mut seen = BTreeSet::new();
    for (index, rule) in policy.egress.iter().enumerate() {
        let Egress { name, cidr, ports } = rule;
        let entry = here.then(index);
        entry.then("name").require(
            is_word(name, 63),
            "must be 1 to 63 of [A-Za-z0-9._-]",
            "correct the name",
        )?;
        entry.then("name").require(seen.insert(name), "is in the list already", "give each its own name")?;
        let network = entry.then("cidr");
        let Ok(parsed) = cidr.parse::<Cidr>() else {
            return network.refuse(
                "must be a network without bits beyond its length",
                "such as 10.20.0.0/16, or 10.20.0.7/32 for one address",
            );
        };
        let rule = "lies in link-local or metadata addresses, which no policy opens: a node's own credentials are there";
        network.require(parsed.excepting(&NEVER).is_some(), rule, "remove it")?;
        let list = entry.then("ports");
        list.count(ports.len(), MAX_LISTED)?;
        for (index, port) in ports.iter().enumerate() {
            list.then(index).require(
                (1..=65535).contains(port),
                "must be a port from 1 to 65535",
                "correct it",
            )?;
        }
    }
    Ok(())
}

/// A list that becomes an annotation with commas.
fn listed(
    here: &Place,
    list: &[String],
    check: impl Fn(&str) -> Result<(), (&'static str, &'static str)>,
) -> Check {
    here.count(list.len(), MAX_LISTED)?;
    here.names(list, true)?;
    for (index, entry) in list.iter().enumerate() {
        let place = here.then(index);
        let legal = !entry.is_empty()
            && entry.len() <= MAX_ENTRY
            && entry.bytes().all(|b| b.is_ascii_graphic() && b != b',');
        let rule = "must be 1 to 512 printable ASCII characters without space and comma";
        place.require(legal, rule, "one entry for each")?;
        if let Err((rule, advice)) = check(entry) {
            return place.refuse(rule, advice);
        }
    }
    Ok(())
}

fn image(entry: &str) -> Result<(), (&'static str, &'static str)> {
    let prefix = entry.strip_suffix('*');
    if prefix.unwrap_or(entry).contains('*') {
        return Err(("may have a `*` at its end only", "list the images one by one, or a prefix"));
    }
    // `registry.corp.com*` is also the beginning of `registry.corp.com.example.org/`.
    if prefix.is_some_and(|prefix| !prefix.contains('/')) {
        return Err((
            "is a prefix that does not reach past the registry's name",
            "write REGISTRY/* at least",
        ));
    }
    Ok(())
}

fn account(here: &Place, account: &ExecutorAccount) -> Check {
    let table = here.then("annotations");
    table.count(account.annotations.len(), MAX_LISTED)?;
    for (key, value) in &account.annotations {
        let entry = table.then(key.as_str());
        entry.require(labels::is_key(key), "is no annotation's key", "[PREFIX/]NAME, as a label's key")?;
        let own = key.starts_with("spark-submit-as/");
        entry.require(!own, "the prefix spark-submit-as/ is this program's own", "rename it")?;
        let legal = value.len() <= MAX_ANNOTATION && !value.chars().any(char::is_control);
        entry.require(legal, "must have at most 1024 bytes and no control character", "shorten it")?;
        if let Err(error) = check_value(value) {
            return entry.refuse(error.to_string(), "");
        }
    }
    listed(&here.then("image_pull_secrets"), &account.image_pull_secrets, |name| match name {
        _ if name.starts_with("ssa-") => {
            Err(("names beginning with ssa- are this program's own", "rename the Secret"))
        }
        _ if labels::is_subdomain(name) => Ok(()),
        _ => Err(("is no Secret's name", "correct the name")),
    })
}

/// What a profile's policies are together, and its volume.
pub(super) fn profile(here: &Place, profile: &Profile, config: &Config) -> Check {
    let list = here.then("namespace").then("policies");
    let policies = match anywhere(config, &profile.namespace.policies) {
        Ok(policies) => policies,
        Err(error) => return list.refuse(error.to_string(), ""),
    };
    let known = variables_of(&profile.namespace.template).unwrap_or_default();
    for value in policies.account_annotations.values() {
        let foreign = variables_of(value).unwrap_or_default().into_iter().find(|used| !known.contains(used));
        if let Some(foreign) = foreign {
            let rule = format!(
                "names a policy whose executor_account uses ${{{foreign}}}, which the template does not: jobs of different \
                 users would change the account for each other"
            );
            return list.refuse(rule, "use variables of the template, or another policy");
        }
    }
    // The policies of the last run are what a namespace has, so two profiles would take turns.
    let template = |profile: &Profile| profile.namespace.template.replace("${dssUserLogin}", "${login}");
    let names = |profile: &Profile| profile.namespace.policies.iter().cloned().collect::<BTreeSet<String>>();
    let other = config.profiles.values().find(|other| {
        other.cluster == profile.cluster
            && template(other) == template(profile)
            && names(other) != names(profile)
    });
    list.require(
        other.is_none(),
        "differs from that of another profile with the same namespaces: they would undo each other's work",
        "name the same policies in both, or give `namespaces` in the policies",
    )?;
    profile.volume.iter().try_for_each(|value| volume(&here.then("volume"), value))
}

fn volume(here: &Place, volume: &Volume) -> Check {
    let positive = volume.size.parse::<Quantity>().is_ok_and(|size| size > Quantity::ZERO);
    here.then("size").require(positive, "must be a quantity that is more than 0", "such as 10Gi")?;
    let class = volume.class.as_deref().is_none_or(labels::is_subdomain);
    here.then("class").require(class, "is no StorageClass's name", "correct the name, or leave it out")?;
    let path = here.then("mount_path");
    path.path(&volume.mount_path)?;
    let text = volume.mount_path.to_str().unwrap_or_default();
    let below = |system: &&str| {
        text.strip_prefix(*system).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let legal = text != "/" && !text.contains(':') && !SYSTEM.iter().any(below);
    path.require(
        legal,
        "must be a directory that the image itself does not need",
        "such as /home/spark or /data",
    )
}
