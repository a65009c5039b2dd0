//! The network policy of a job in an isolated namespace.

use serde_json::{Value, json};
use spark_submit_as::exit::ExitCode;
use spark_submit_as::policy::network::{Addresses, JobNetwork, of_job};
use spark_submit_as::protocol::{ClusterAccess, Provision};
use std::net::{IpAddr, SocketAddr};

use crate::address;
use crate::fault::Fault;
use crate::objects;

/// networking.k8s.io/v1 NetworkPolicy of the job, owned by its account. `local` is this host's address towards the API
/// server, and `servers` are that one's.
pub async fn policy(
    wanted: &Provision,
    network: &JobNetwork,
    account_uid: &str,
    local: IpAddr,
    servers: &[SocketAddr],
    access: &ClusterAccess,
) -> Result<Value, Fault> {
    let driver = match &network.driver_host {
        None => vec![local],
        Some(host) => {
            let found = address::of_host(host, 0, access).await.map_err(|why| {
                let message = format!(
                    "the driver's address for the job's network policy is not known (spark.driver_host): {why}"
                );
                Fault::new(ExitCode::ClusterNamespace, message)
            })?;
            found.into_iter().map(|address| address.ip()).collect()
        }
    };
    let server: Vec<IpAddr> = servers.iter().map(SocketAddr::ip).collect();
    let egress = wanted.namespace.policies.network.as_ref().map(|network| network.egress.as_slice());
    let addresses = Addresses {
        driver: &driver,
        ports: network.ports,
        server: &server,
        egress: egress.unwrap_or_default(),
    };
    let spec = of_job(&wanted.job, &addresses)
        .map_err(|error| Fault::new(ExitCode::ClusterNamespace, error.to_string()))?;
    Ok(json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": objects::owned(&wanted.job, account_uid),
        "spec": spec,
    }))
}
