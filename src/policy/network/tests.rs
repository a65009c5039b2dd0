//! A job's network policy, piece by piece.

use super::*;

fn spec(
    driver: &[&str],
    ports: Option<(u16, u16)>,
    server: &str,
    egress: &[(&str, &[u32])],
) -> Result<Value, String> {
    let job = JobId::new("aaaaaaaaaaaaaaaa").unwrap();
    let driver: Vec<IpAddr> = driver.iter().map(|text| text.parse().unwrap()).collect();
    let server = [server.parse().unwrap()];
    let egress: Vec<Egress> = egress
        .iter()
        .map(|(cidr, ports)| Egress { name: "named".into(), cidr: (*cidr).into(), ports: ports.to_vec() })
        .collect();
    let addresses = Addresses { driver: &driver, ports, server: &server, egress: &egress };
    of_job(&job, &addresses).map_err(|error| error.to_string())
}

#[test]
fn a_job_reaches_itself_its_driver_and_dns() {
    let found = spec(&["10.0.0.5", "fd00::5"], Some((20000, 24095)), "10.0.0.1", &[]).unwrap();
    let own = json!({"matchLabels": {"spark-submit-as/job": "aaaaaaaaaaaaaaaa"}});
    let driver = json!([{"ipBlock": {"cidr": "10.0.0.5/32"}}, {"ipBlock": {"cidr": "fd00::5/128"}}]);
    let kube_system =
        json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}});
    let wanted = json!({
        "podSelector": own,
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": own}, driver[0], driver[1]]}],
        "egress": [
            {"to": [{"podSelector": own}]},
            {"to": driver, "ports": [{"protocol": "TCP", "port": 20000, "endPort": 24095}]},
            {"to": [kube_system], "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]},
        ],
    });
    assert_eq!(found, wanted);
    assert_eq!(spec(&["10.0.0.5"], None, "10.0.0.1", &[]).unwrap()["egress"][1].get("ports"), None);
}

#[test]
fn what_is_named_is_open_but_for_what_never_is() {
    let block = |cidr: &str, server: &str| {
        spec(&["10.0.0.5"], None, server, &[(cidr, &[443])]).map(|found| found["egress"][3].clone())
    };
    let ports = json!([{"protocol": "TCP", "port": 443}]);
    assert_eq!(
        block("10.1.0.0/16", "10.0.0.1").unwrap(),
        json!({"to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}], "ports": ports})
    );
    let wide = block("0.0.0.0/0", "10.0.0.1").unwrap();
    assert_eq!(
        wide["to"][0]["ipBlock"]["except"],
        json!(["169.254.0.0/16", "100.100.100.200/32", "10.0.0.1/32"])
    );
    let wide = block("::/0", "fd00::1").unwrap();
    let except = json!(["fe80::/10", "fd00:ec2::254/128", "fd20:ce::254/128", "fd00::1/128"]);
    assert_eq!(wide["to"][0]["ipBlock"]["except"], except);
    for (cidr, server) in
        [("10.0.0.1/32", "10.0.0.1"), ("169.254.169.254/32", "10.0.0.1"), ("fe80::/64", "10.0.0.1")]
    {
        assert!(block(cidr, server).unwrap_err().contains("the egress named"), "{cidr}");
    }
    // Without ports: all of them.
    let all = spec(&["10.0.0.5"], None, "10.0.0.1", &[("10.1.0.0/16", &[])]).unwrap();
    assert_eq!(all["egress"][3], json!({"to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}]}));
}
