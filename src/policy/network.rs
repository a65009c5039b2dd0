//! The specs of NetworkPolicies: one for a namespace that nothing passes, and one for each job that opens what it needs.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::policy::cidr::{Cidr, NEVER};
use crate::policy::config::Egress;
use crate::policy::names::JobId;
use crate::protocol::JOB_LABEL;

#[cfg(test)]
mod tests;

/// Where a job's executors find their driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobNetwork {
    /// The driver's address or name as the profile says it; this host's address towards the API server when absent.
    pub driver_host: Option<String>,
    /// First and last of the driver's ports; any port of the driver's address when absent.
    pub ports: Option<(u16, u16)>,
}

/// The addresses of a job's network.
pub struct Addresses<'a> {
    /// The driver's.
    pub driver: &'a [IpAddr],
    /// First and last of its ports.
    pub ports: Option<(u16, u16)>,
    /// The API server's.
    pub server: &'a [IpAddr],
    /// What may be reached beside the job itself.
    pub egress: &'a [Egress],
}

/// An egress that would open nothing but what none may open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the egress {0} of the namespace's policy lies in what no policy opens (link-local and metadata addresses, the API \
     server); remove it"
)]
pub struct NeverOpened(pub String);

/// NetworkPolicySpec of a namespace: no pod is reached and none reaches anything but by a policy of its job. The lists are
/// there although they are empty: server-side apply takes away what somebody put into them only when they are said.
#[must_use]
pub fn isolated() -> Value {
    json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [], "egress": []})
}

/// NetworkPolicySpec of a job: its pods reach each other, their driver, DNS and what is named; they are reached by each other
/// and by their driver.
///
/// # Errors
/// [`NeverOpened`].
pub fn of_job(job: &JobId, addresses: &Addresses<'_>) -> Result<Value, NeverOpened> {
    let own = json!({"matchLabels": {JOB_LABEL: job.as_str()}});
    let driver: Vec<Value> = addresses
        .driver
        .iter()
        .map(|address| json!({"ipBlock": {"cidr": Cidr::of(*address).to_string()}}))
        .collect();
    let mut to_driver = json!({"to": driver});
    if let (Some((first, last)), Some(rule)) = (addresses.ports, to_driver.as_object_mut()) {
        rule.insert("ports".into(), json!([{"protocol": "TCP", "port": first, "endPort": last}]));
    }
    let dns = json!({
        "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}],
        "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
    });
    let mut egress = vec![json!({"to": [{"podSelector": own}]}), to_driver, dns];
    let mut excepted = NEVER.to_vec();
    excepted.extend(addresses.server.iter().map(|address| Cidr::of(*address)));
    for rule in addresses.egress {
        egress.push(named(rule, &excepted).ok_or_else(|| NeverOpened(rule.name.clone()))?);
    }
    let mut from = vec![json!({"podSelector": own})];
    from.extend(driver);
    Ok(json!({
        "podSelector": own,
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": from}],
        "egress": egress,
    }))
}

fn named(rule: &Egress, excepted: &[Cidr]) -> Option<Value> {
    let except = rule.cidr.parse::<Cidr>().ok()?.excepting(excepted)?;
    let mut block = json!({"cidr": rule.cidr});
    if let (false, Some(block)) = (except.is_empty(), block.as_object_mut()) {
        block.insert("except".into(), except.iter().map(ToString::to_string).collect());
    }
    let mut egress = json!({"to": [{"ipBlock": block}]});
    if let (false, Some(egress)) = (rule.ports.is_empty(), egress.as_object_mut()) {
        let port = |port: &u32| json!({"protocol": "TCP", "port": port});
        egress.insert("ports".into(), rule.ports.iter().map(port).collect());
    }
    Some(egress)
}
