//! Addresses: this host's own, and those of a server's name.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use spark_submit_as::exit::ExitCode;
use spark_submit_as::protocol::ClusterAccess;

use crate::fault::Fault;

/// Most addresses of a name that are taken.
const MAX_ADDRESSES: usize = 16;

/// Addresses of the host in a server's `https://` address.
pub async fn of_server(server: &str, access: &ClusterAccess) -> Result<Vec<SocketAddr>, Fault> {
    let authority: http::Uri = server.parse().map_err(|_| failed("its own is not an address"))?;
    let port = authority.port_u16().unwrap_or(443);
    of_host(authority.host().unwrap_or_default(), port, access).await.map_err(|why| failed(&why))
}

/// Addresses of a host by its name or address.
pub async fn of_host(host: &str, port: u16, access: &ClusterAccess) -> Result<Vec<SocketAddr>, String> {
    let host = host.trim_matches(['[', ']']);
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let wait = Duration::from_secs(access.connect_timeout_seconds);
    let found = tokio::time::timeout(wait, tokio::net::lookup_host((host, port))).await;
    let found = found.map_err(|_| "its name is not resolved in time".to_owned())?;
    Ok(found.map_err(|error| error.to_string())?.take(MAX_ADDRESSES).collect())
}

fn failed(why: &str) -> Fault {
    let message = format!("no address of this host leads to the API server: {why}");
    Fault::new(ExitCode::ClusterUnreachable, message)
}

/// This host's address on the way to one of the API server's: connect(2) on a datagram socket chooses one and sends nothing.
pub fn towards(servers: &[SocketAddr]) -> Result<IpAddr, Fault> {
    servers.iter().find_map(|target| local(*target).ok()).ok_or_else(|| failed("there is no route"))
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
