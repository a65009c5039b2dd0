//! This host's own address.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use spark_submit_as::exit::ExitCode;
use spark_submit_as::protocol::ClusterAccess;

use crate::fault::Fault;

/// This host's address on the way to the API server: connect(2) on a datagram socket chooses one and sends nothing.
pub async fn towards(server: &str, access: &ClusterAccess) -> Result<String, Fault> {
    let failed = |why: &str| {
        let message = format!("no address of this host leads to the API server: {why}");
        Fault::new(ExitCode::ClusterUnreachable, message)
    };
    let authority: http::Uri = server.parse().map_err(|_| failed("its own is not an address"))?;
    let port = authority.port_u16().unwrap_or(443);
    let host = authority.host().unwrap_or_default().trim_matches(['[', ']']);
    let found: Vec<SocketAddr> = match host.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => {
            let wait = Duration::from_secs(access.connect_timeout_seconds);
            let found = tokio::time::timeout(wait, tokio::net::lookup_host((host, port))).await;
            found
                .map_err(|_| failed("its name is not resolved in time"))?
                .map_err(|error| failed(&error.to_string()))?
                .collect()
        }
    };
    let local = found.into_iter().find_map(|target| local(target).ok());
    local.map(|address| address.to_string()).ok_or_else(|| failed("there is no route"))
}

fn local(target: SocketAddr) -> std::io::Result<IpAddr> {
    let socket = UdpSocket::bind(if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.connect(target)?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_way_to_this_host_is_its_loopback() {
        assert_eq!(super::local("127.0.0.1:6443".parse().unwrap()).unwrap().to_string(), "127.0.0.1");
    }
}
