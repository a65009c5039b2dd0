//! What a company's cluster has around it: a private registry that executors' images come from, and a webhook that gives
//! pods a token for a cloud. Needs the test bed (`make test`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "network/jobs.rs"]
mod jobs;
#[path = "network/lab.rs"]
mod lab;
mod support;

use std::collections::BTreeMap;
use std::process::Command;

use jobs::Team;
use serde_json::{Value, json};
use support::*;

/// The Secret of the registry's password.
const SECRET: &str = "registry-password";
/// What the webhook mounts; see testbench/services/webhook.go.
const TOKEN: &str = "/var/run/secrets/cloud/token";

/// Says whether the token that the webhook mounts into executors is there, and for whom it is.
const TOKEN_JOB: &str = r#"
import base64, json, sys
from pyspark.sql import SparkSession
path = sys.argv[1]
spark = SparkSession.builder.appName("token").getOrCreate()
def audience(_):
    body = open(path).read().split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    return claims["aud"], claims["sub"]
print("token", json.dumps(spark.sparkContext.parallelize([0], 1).map(audience).first()), flush=True)
spark.stop()
"#;

/// Starts a service of the test bench; what it says of itself.
fn service(name: &str) -> BTreeMap<String, String> {
    let bench = bed("SSA_BED_KUBECTL").trim_end_matches(" kubectl").to_owned();
    let ended = ended(Command::new(bench).arg(name));
    assert_eq!(ended.code(), 0, "{ended:?}");
    ended.stdout.lines().filter_map(|line| line.split_once('=')).map(|(a, b)| (a.into(), b.into())).collect()
}

/// Waiting reasons and messages of a job's containers.
fn waiting(team: &Team, job: &str) -> String {
    let selector = format!("spark-submit-as/job={job}");
    let path = "jsonpath={.items[*].status.containerStatuses[*].state.waiting}";
    kubectl(&["get", "pods", "-n", &team.namespace.0, "-l", &selector, "-o", path])
}

/// The job may have one more pod like its executor, but not one that mounts the Secret or hands it on as a variable.
fn no_pod_mounts_it(team: &Team, job: &str) {
    let selector = format!("spark-submit-as/job={job}");
    let text = kubectl(&["get", "pods", "-n", &team.namespace.0, "-l", &selector, "-o", "json"]);
    let list: Value = serde_json::from_str(&text).unwrap();
    let mut pod = list["items"][0].clone();
    pod["metadata"] = json!({
        "name": format!("spark-{job}-exec-77"), "namespace": team.namespace.0,
        "labels": pod["metadata"]["labels"], "annotations": pod["metadata"]["annotations"],
        "ownerReferences": pod["metadata"]["ownerReferences"],
    });
    pod.as_object_mut().unwrap().remove("status");
    pod["spec"].as_object_mut().unwrap().remove("nodeName");
    let kubeconfig = format!("{}/{job}/kubeconfig", bed("SSA_BED_RUN"));
    let tried = |pod: &Value| {
        let file = temporary_file("pod.json", &pod.to_string());
        let path = file.path.to_str().unwrap();
        kubectl_try(&[
            "--kubeconfig",
            &kubeconfig,
            "create",
            "--dry-run=server",
            "--validate=false",
            "-f",
            path,
        ])
    };
    let plain = tried(&pod);
    assert_eq!(plain.code(), 0, "{plain:?}");
    let mut mounting = pod.clone();
    let volume = json!({"name": "secret", "secret": {"secretName": SECRET}});
    mounting["spec"]["volumes"].as_array_mut().unwrap().push(volume);
    let mut naming = pod.clone();
    let reference = json!({"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": SECRET, "key": ".dockerconfigjson"}}});
    naming["spec"]["containers"][0]["env"].as_array_mut().unwrap().push(reference);
    for pod in [mounting, naming] {
        let refused = tried(&pod);
        assert_ne!(refused.code(), 0, "{refused:?}");
        assert!(refused.stderr.contains("spark-submit-as-isolation"), "{refused:?}");
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_job_pulls_from_a_private_registry_in_a_fresh_namespace() {
    let registry = service("registry");
    let image = format!("{}/team/spark:{}", registry["BENCH_REGISTRY"], bed("SSA_BED_SPARK"));
    let policy = json!({
        "pod_security": "restricted",
        "images": [format!("{}/team/*", registry["BENCH_REGISTRY"])],
        "executor_account": {
            "annotations": {"cloud.example.com/role": "spark-${adminProperty:k8sNS}"},
            "image_pull_secrets": [SECRET],
        },
    });
    let team = Team::new("netpol-registry", policy);
    let conf = [
        "--conf".to_owned(),
        format!("spark.kubernetes.container.image={image}"),
        "--conf".to_owned(),
        // The node must ask each time, whether it has the image or not.
        "spark.kubernetes.container.image.pullPolicy=Always".to_owned(),
    ];
    let conf: Vec<&str> = conf.iter().map(String::as_str).collect();
    let pi = "from pyspark.sql import SparkSession\nspark = SparkSession.builder.getOrCreate()\n\
              print('sum', spark.sparkContext.parallelize(range(100), 4).sum(), flush=True)\nspark.stop()\n";
    let mut running = start(&mut team.run("alice", &conf, pi, &[]));
    let (job, _) = running.job();
    // The namespace is new and has no such Secret: the registry refuses.
    until("the registry refuses", || waiting(&team, &job).contains("401 Unauthorized"));
    let account = kubectl(&["get", "serviceaccount", "ssa-executor", "-n", &team.namespace.0, "-o", "json"]);
    let account: Value = serde_json::from_str(&account).unwrap();
    assert_eq!(
        account["metadata"]["annotations"]["cloud.example.com/role"],
        format!("spark-{}", team.namespace.0),
        "{account}"
    );
    assert_eq!(account["imagePullSecrets"], json!([{"name": SECRET}]), "{account}");

    no_pod_mounts_it(&team, &job);

    // With it, the same job goes on.
    let words = [
        ("server", &registry["BENCH_REGISTRY"]),
        ("username", &registry["BENCH_REGISTRY_USER"]),
        ("password", &registry["BENCH_REGISTRY_PASSWORD"]),
    ];
    let words: Vec<String> = words.iter().map(|(name, value)| format!("--docker-{name}={value}")).collect();
    let mut create = vec!["create", "secret", "docker-registry", SECRET, "-n", &team.namespace.0];
    create.extend(words.iter().map(String::as_str));
    kubectl(&create);
    let ended = running.end();
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert!(ended.stdout.contains("sum 4950"), "{ended:?}");
    assert_nothing_left(&job);
}

/// A webhook's registration that goes when it is dropped.
struct Injecting(String);

impl Injecting {
    /// Pods of jobs in this namespace get a token for `audience`.
    fn new(namespace: &str, audience: &str) -> Self {
        let webhook = service("webhook");
        let name = format!("ssa-test-{namespace}");
        // Audiences have slashes.
        let hex: String = audience.bytes().map(|byte| format!("{byte:02x}")).collect();
        apply(
            &json!({
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
                "metadata": {"name": name},
                "webhooks": [{
                    "name": "token.bench.test", "sideEffects": "None", "admissionReviewVersions": ["v1"],
                    "clientConfig": {
                        "url": format!("{}/inject/{hex}", webhook["BENCH_WEBHOOK"]),
                        "caBundle": webhook["BENCH_WEBHOOK_CA"],
                    },
                    "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                    "objectSelector": {"matchExpressions": [{"key": "spark-submit-as/job", "operator": "Exists"}]},
                }],
            })
            .to_string(),
        );
        Self(name)
    }
}

impl Drop for Injecting {
    fn drop(&mut self) {
        kubectl_try(&["delete", "mutatingwebhookconfiguration", &self.0]);
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn an_injected_token_passes_for_a_listed_audience_and_is_refused_for_another() {
    let team = Team::new(
        "netpol-token",
        json!({"pod_security": "restricted", "token_audiences": ["sts.example.com", "vault.example.com"]}),
    );
    let namespace = &team.namespace.0;
    {
        let _webhook = Injecting::new(namespace, "sts.example.com");
        let ended = ended(&mut team.run("alice", &[], TOKEN_JOB, &[TOKEN]));
        assert_eq!(ended.code(), 0, "{ended:?}");
        let subject = format!("system:serviceaccount:{namespace}:ssa-executor");
        let said = format!("token {}", json!([["sts.example.com"], subject]).to_string().replace(',', ", "));
        assert!(ended.stdout.contains(&said), "{said} is not in {ended:?}");
        assert_nothing_left(&ended.job());
    }
    // Another company's, one that looks like it, and the API server's own.
    for audience in ["sts.example.org", "sts.example.com.", "https://kubernetes.default.svc"] {
        let _webhook = Injecting::new(namespace, audience);
        let mut running = start(&mut team.run("alice", &[], TOKEN_JOB, &[TOKEN]));
        let (job, _) = running.job();
        let refusal = running.line("spark-submit-as-isolation");
        assert!(refusal.contains("denied"), "{refusal}");
        let selector = format!("spark-submit-as/job={job}");
        assert_eq!(kubectl(&["get", "pods", "-n", namespace, "-l", &selector, "-o", "name"]), "");
        let pid = running.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        running.end();
        assert_nothing_left(&job);
    }
}
