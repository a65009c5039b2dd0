//! The pod that stands for an executor's.

use std::collections::BTreeMap;
use std::ffi::OsString;

use serde_json::{Value, json};

use crate::policy::config::Program;
use crate::policy::names::JobId;
use crate::spark::executor_pod::{Settings, executor_pod, settings};
use crate::spark::{executor_pod_template, parse};

fn table(entries: &[(&str, &str)]) -> Settings {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn pod(entries: &[(&str, &str)]) -> Value {
    let job = JobId::new("aaaaaaaaaaaaaaaa").expect("id");
    let template =
        executor_pod_template(&job, "ssa-job-aaaaaaaaaaaaaaaa", "uid", None, None).expect("template");
    executor_pod(&job, &template, &table(entries)).expect("pod")
}

#[test]
fn the_strongest_setting_counts_as_it_does_for_spark() {
    let words = ["--conf", "spark.a=line", "--conf", "spark.executor.memory=1g", "--executor-memory", "2g"];
    let words: Vec<OsString> =
        words.iter().chain(&["-c", "spark.b=line", "x.py"]).map(OsString::from).collect();
    let parsed = parse(Program::SparkSubmit, &words, None).expect("words");
    let file = b"spark.a=file\nspark.c file\nspark.executor.cores=1\n";
    let found = settings(file, &parsed, &table(&[("spark.b", "enforced"), ("spark.executor.cores", "4")]));
    let wanted = [
        ("spark.a", "line"),
        ("spark.b", "enforced"),
        ("spark.c", "file"),
        ("spark.executor.cores", "4"),
        ("spark.executor.memory", "2g"),
    ];
    assert_eq!(found, table(&wanted));
}

#[test]
fn memory_is_what_spark_asks_for() {
    for (entries, wanted) in [
        (&[][..], Some("1408Mi")),
        (&[("spark.executor.memory", "512m")], Some("896Mi")),
        (&[("spark.executor.memory", "8g")], Some("9011Mi")),
        (&[("spark.executor.memory", "2048"), ("spark.executor.memoryOverhead", "1m")], Some("2049Mi")),
        (
            &[("spark.executor.memory", "10G"), ("spark.kubernetes.memoryOverheadFactor", "0.4")],
            Some("14336Mi"),
        ),
        (&[("spark.executor.memory", "1t"), ("spark.executor.memoryOverheadFactor", "0")], Some("1048960Mi")),
        (&[("spark.executor.pyspark.memory", "1g")], Some("2432Mi")),
        (
            &[("spark.memory.offHeap.enabled", "True"), ("spark.memory.offHeap.size", "1073741824")],
            Some("2432Mi"),
        ),
        // Spark itself ends with such a one.
        (&[("spark.executor.memory", "lots")], None),
        (&[("spark.executor.memory", "99999999999999p")], None),
    ] {
        let pod = pod(entries);
        let resources = &pod["spec"]["containers"][0]["resources"];
        assert_eq!(resources["requests"]["memory"].as_str(), wanted, "{entries:?}");
        assert_eq!(resources["limits"]["memory"].as_str(), wanted, "{entries:?}");
    }
}

#[test]
fn the_pod_is_judged_as_the_jobs_own() {
    let pod = pod(&[
        ("spark.kubernetes.container.image", "registry/spark:1"),
        ("spark.kubernetes.executor.request.cores", "100m"),
        ("spark.executor.cores", "2"),
        ("spark.kubernetes.executor.limit.cores", "3"),
        ("spark.executor.resource.gpu.amount", "1"),
        ("spark.executor.resource.gpu.vendor", "nvidia.com"),
        ("spark.kubernetes.executor.label.team", "a"),
        ("spark.kubernetes.executor.label.spark-role", "driver"),
        ("spark.kubernetes.executor.annotation.x", "y"),
        ("spark.executorEnv.A", "b"),
        ("spark.kubernetes.executor.secretKeyRef.OTHER", "foreign:key"),
        ("spark.kubernetes.executor.secrets.foreign", "/etc/secrets"),
        ("spark.kubernetes.executor.volumes.hostPath.etc.mount.path", "/host"),
        ("spark.kubernetes.executor.volumes.hostPath.etc.options.path", "/etc"),
        ("spark.kubernetes.executor.volumes.persistentVolumeClaim.data.mount.path", "/data"),
        ("spark.kubernetes.executor.volumes.persistentVolumeClaim.data.options.claimName", "mine"),
    ]);
    assert_eq!(pod["metadata"]["name"], "spark-aaaaaaaaaaaaaaaa-exec-0");
    let labels: BTreeMap<String, String> =
        serde_json::from_value(pod["metadata"]["labels"].clone()).expect("labels");
    let wanted = [
        ("spark-app-selector", "aaaaaaaaaaaaaaaa"),
        ("spark-exec-id", "0"),
        ("spark-exec-resourceprofile-id", "0"),
        ("spark-role", "executor"),
        ("spark-submit-as/job", "aaaaaaaaaaaaaaaa"),
        ("team", "a"),
    ];
    assert_eq!(labels, table(&wanted));
    assert_eq!(pod["metadata"]["annotations"], json!({"x": "y"}));
    assert_eq!(pod["metadata"]["ownerReferences"][0]["uid"], "uid");
    let spec = &pod["spec"];
    assert_eq!(spec["serviceAccountName"], "ssa-executor");
    assert_eq!(spec["restartPolicy"], "Never");
    let sources: Vec<&Value> = spec["volumes"].as_array().expect("volumes").iter().collect();
    for wanted in [
        json!({"name": "etc", "hostPath": {"path": "/etc"}}),
        json!({"name": "data", "persistentVolumeClaim": {"claimName": "mine"}}),
        json!({"name": "foreign-volume", "secret": {"secretName": "foreign"}}),
    ] {
        assert!(sources.contains(&&wanted), "{wanted} in {spec}");
    }
    let container = &spec["containers"][0];
    assert_eq!(container["image"], "registry/spark:1");
    assert_eq!(container["terminationMessagePolicy"], "FallbackToLogsOnError");
    assert_eq!(container["securityContext"]["runAsNonRoot"], true);
    assert_eq!(container["resources"]["requests"]["cpu"], "100m");
    assert_eq!(container["resources"]["limits"]["cpu"], "3");
    assert_eq!(container["resources"]["limits"]["nvidia.com/gpu"], "1");
    let variables = container["env"].as_array().expect("env");
    let own = json!({"secretKeyRef": {"name": "ssa-job-aaaaaaaaaaaaaaaa", "key": "auth"}});
    assert!(variables.contains(&json!({"name": "_SPARK_AUTH_SECRET", "valueFrom": own})));
    assert!(variables.contains(&json!({"name": "A", "value": "b"})));
    let foreign = json!({"secretKeyRef": {"name": "foreign", "key": "key"}});
    assert!(variables.contains(&json!({"name": "OTHER", "valueFrom": foreign})));
}
