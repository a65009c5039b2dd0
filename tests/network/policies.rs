//! The policy objects of an isolated namespace and of its jobs.

use serde_json::{Value, json};

/// What a job may reach beside its own pods, its driver and name servers.
pub struct Egress<'a> {
    pub cidr: &'a str,
    pub ports: &'a [u16],
}

/// Everything of a namespace is refused.
pub fn isolated(namespace: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "ssa-isolated", "namespace": namespace},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
    })
}

/// What one job needs: its own pods, its driver, name servers, and what an administrator names.
pub fn of_job(namespace: &str, job: &str, driver: &str, ports: (u16, u16), egress: &[Egress<'_>]) -> Value {
    let own = json!({"podSelector": {"matchLabels": {"spark-submit-as/job": job}}});
    let driver = json!({"ipBlock": {"cidr": format!("{driver}/32")}});
    let tcp = |ports: &[u16]| -> Value {
        ports.iter().map(|port| json!({"protocol": "TCP", "port": port})).collect()
    };
    let mut to = vec![
        json!({"to": [own]}),
        json!({"to": [driver], "ports": [{"protocol": "TCP", "port": ports.0, "endPort": ports.1}]}),
        json!({
            "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}],
            "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
        }),
    ];
    for named in egress {
        to.push(json!({"to": [{"ipBlock": {"cidr": named.cidr}}], "ports": tcp(named.ports)}));
    }
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": format!("ssa-job-{job}"), "namespace": namespace, "labels": {"spark-submit-as/job": job}},
        "spec": {
            "podSelector": {"matchLabels": {"spark-submit-as/job": job}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [own, driver]}],
            "egress": to,
        },
    })
}
