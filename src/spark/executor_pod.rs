//! The pod that Spark would make for an executor, as far as the settings tell: what quota, limits and admission judge.
//!
//! It is only ever tried (`dryRun=All`), never made. Settings that the job's own code makes at run time are not known
//! here, so a real pod may ask for more. Spark's side: `BasicExecutorFeatureStep`, `KubernetesVolumeUtils`,
//! `MountSecretsFeatureStep`, `EnvSecretsFeatureStep`, `LocalDirsFeatureStep` (3.4 to 4.3).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::command::FLAGS;
use super::properties::entries;
use super::words::Parsed;
use crate::policy::names::JobId;
use crate::protocol::{AUTH_SECRET_KEY, JOB_LABEL};

/// Settings by key, as they are in force.
pub type Settings = BTreeMap<String, String>;

/// `spark.executor.memory` when it is not set, in MiB,
const MEMORY: u64 = 1024;
/// the least that is added to it (`spark.executor.minMemoryOverhead`),
const OVERHEAD: u64 = 384;
/// and its part that is (`spark.kubernetes.memoryOverheadFactor`; 0.4 is cluster mode's for Python).
const FACTOR: f64 = 0.1;
/// What the container's image is called when nobody has named one.
const NO_IMAGE: &str = "image-not-known.invalid/spark";

/// The settings in force, weakest first: the properties file, `--conf`, options of their own, the profile's enforced ones.
#[must_use]
pub fn settings(properties: &[u8], parsed: &Parsed, enforced: &Settings) -> Settings {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut settings: Settings =
        entries(properties).iter().map(|(key, value)| (text(key), text(value))).collect();
    settings.extend(parsed.settings().map(|(_, key, value)| (text(key), text(value))));
    for option in parsed.options() {
        let key = FLAGS.iter().find(|(_, flag)| *flag == option.spec.name).map(|(key, _)| *key);
        if let (Some(key), Some(value)) = (key, parsed.value(option)) {
            settings.insert(key.to_owned(), text(value));
        }
    }
    settings.extend(enforced.clone());
    settings
}

/// The pod. `template` is the job's own ([`super::executor_pod_template`]).
#[must_use]
pub fn executor_pod(job: &JobId, template: &str, settings: &Settings) -> Option<Value> {
    let mut pod: Value = serde_json::from_str(template).ok()?;
    let metadata = pod.get_mut("metadata")?.as_object_mut()?;
    metadata.insert("name".into(), format!("{}-exec-0", job.pod_prefix()).into());
    let labels = metadata.entry("labels").or_insert_with(|| json!({})).as_object_mut()?;
    labels.extend(prefixed(settings, "spark.kubernetes.executor.label."));
    for (key, value) in [
        (JOB_LABEL, job.as_str()),
        ("spark-app-selector", job.as_str()),
        ("spark-role", "executor"),
        ("spark-exec-id", "0"),
        ("spark-exec-resourceprofile-id", "0"),
    ] {
        labels.insert(key.to_owned(), value.into());
    }
    let annotations = prefixed(settings, "spark.kubernetes.executor.annotation.");
    if !annotations.is_empty() {
        metadata.entry("annotations").or_insert_with(|| json!({})).as_object_mut()?.extend(annotations);
    }

    let spec = pod.get_mut("spec")?.as_object_mut()?;
    spec.insert("restartPolicy".into(), "Never".into());
    if let Some(secrets) = settings.get("spark.kubernetes.container.image.pullSecrets") {
        let names = secrets.split(',').map(str::trim).filter(|name| !name.is_empty());
        spec.insert("imagePullSecrets".into(), names.map(|name| json!({"name": name})).collect());
    }
    let (volumes, mounts) = volumes(settings);
    append(spec, "volumes", volumes)?;
    let executor = spec.get_mut("containers")?.as_array_mut()?.first_mut()?.as_object_mut()?;
    append(executor, "volumeMounts", mounts)?;
    append(executor, "env", environment(job, settings))?;
    let image = ["spark.kubernetes.executor.container.image", "spark.kubernetes.container.image"];
    let image = image.iter().find_map(|key| settings.get(*key));
    match image {
        Some(image) => executor.insert("image".into(), image.as_str().into()),
        None => executor.entry("image").or_insert_with(|| NO_IMAGE.into()).as_str().map(Value::from),
    };
    if let Some(policy) = settings.get("spark.kubernetes.container.image.pullPolicy") {
        executor.insert("imagePullPolicy".into(), policy.as_str().into());
    }
    executor.insert("args".into(), json!(["executor"]));
    let resources = executor.entry("resources").or_insert_with(|| json!({})).as_object_mut()?;
    for (kind, amounts) in resource_amounts(settings) {
        resources.entry(kind).or_insert_with(|| json!({})).as_object_mut()?.extend(amounts);
    }
    Some(pod)
}

/// Settings whose key has something behind `prefix`.
fn prefixed(settings: &Settings, prefix: &str) -> Map<String, Value> {
    let entry = |(key, value): (&String, &String)| {
        let rest = key.strip_prefix(prefix).filter(|rest| !rest.is_empty())?;
        Some((rest.to_owned(), Value::from(value.as_str())))
    };
    settings.iter().filter_map(entry).collect()
}

fn append(parent: &mut Map<String, Value>, name: &str, more: Vec<Value>) -> Option<()> {
    if !more.is_empty() {
        parent.entry(name).or_insert_with(|| json!([])).as_array_mut()?.extend(more);
    }
    Some(())
}

fn environment(job: &JobId, settings: &Settings) -> Vec<Value> {
    let mut variables: Vec<Value> = prefixed(settings, "spark.executorEnv.")
        .into_iter()
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    let own = ("_SPARK_AUTH_SECRET".to_owned(), format!("{}:{AUTH_SECRET_KEY}", job.object_name()).into());
    let mut secrets = prefixed(settings, "spark.kubernetes.executor.secretKeyRef.");
    secrets.extend([own]);
    for (variable, value) in &secrets {
        if let Some((name, key)) = value.as_str().and_then(|value| value.split_once(':')) {
            let reference = json!({"secretKeyRef": {"name": name, "key": key}});
            variables.push(json!({"name": variable, "valueFrom": reference}));
        }
    }
    variables
}

/// Volumes and their mounts: Spark's own scratch directory, and what the settings ask for.
fn volumes(settings: &Settings) -> (Vec<Value>, Vec<Value>) {
    const SCRATCH: &str = "spark-local-dir-1";
    let mut volumes = vec![json!({"name": SCRATCH, "emptyDir": {}})];
    let mut mounts = vec![json!({"name": SCRATCH, "mountPath": "/var/data/spark-0"})];
    for (secret, path) in prefixed(settings, "spark.kubernetes.executor.secrets.") {
        let name = format!("{secret}-volume");
        volumes.push(json!({"name": name, "secret": {"secretName": secret}}));
        mounts.push(json!({"name": name, "mountPath": path}));
    }
    // spark.kubernetes.executor.volumes.TYPE.NAME.mount.path and .options.KEY
    for (rest, path) in prefixed(settings, "spark.kubernetes.executor.volumes.") {
        let Some(kind_and_name) = rest.strip_suffix(".mount.path") else { continue };
        let Some((kind, name)) = kind_and_name.split_once('.') else { continue };
        let options = format!("spark.kubernetes.executor.volumes.{kind}.{name}.options.");
        let mut options = prefixed(settings, &options);
        let source = match kind {
            "hostPath" => {
                options.retain(|key, _| key == "path" || key == "type");
                Value::Object(options)
            }
            "nfs" => {
                options.retain(|key, _| key == "path" || key == "server");
                Value::Object(options)
            }
            "emptyDir" => {
                options.retain(|key, _| key == "medium" || key == "sizeLimit");
                Value::Object(options)
            }
            // A claim made on demand has another name with each executor.
            "persistentVolumeClaim" => json!({"claimName": options.get("claimName")}),
            _ => continue,
        };
        volumes.push(json!({"name": name, kind: source}));
        mounts.push(json!({"name": name, "mountPath": path}));
    }
    (volumes, mounts)
}

/// Requests and limits of the executor's container.
fn resource_amounts(settings: &Settings) -> [(&'static str, Map<String, Value>); 2] {
    let get = |key: &str| settings.get(key).map(String::as_str);
    let (mut requests, mut limits) = (Map::new(), Map::new());
    if let Some(mebibytes) = memory(settings) {
        let amount = Value::from(format!("{mebibytes}Mi"));
        requests.insert("memory".into(), amount.clone());
        limits.insert("memory".into(), amount);
    }
    let cores = get("spark.kubernetes.executor.request.cores").or(get("spark.executor.cores"));
    requests.insert("cpu".into(), cores.unwrap_or("1").into());
    if let Some(cores) = get("spark.kubernetes.executor.limit.cores") {
        limits.insert("cpu".into(), cores.into());
    }
    // spark.executor.resource.gpu.amount and .vendor
    for (rest, amount) in prefixed(settings, "spark.executor.resource.") {
        let Some(name) = rest.strip_suffix(".amount") else { continue };
        if let Some(vendor) = get(&format!("spark.executor.resource.{name}.vendor")) {
            limits.insert(format!("{vendor}/{name}"), amount);
        }
    }
    [("requests", requests), ("limits", limits)]
}

/// What an executor's container asks for, in MiB. None when a setting is not what Spark takes.
fn memory(settings: &Settings) -> Option<u64> {
    let amount = |key: &str| settings.get(key).map(|text| mebibytes(text, 1 << 20));
    let own = amount("spark.executor.memory").unwrap_or(Some(MEMORY))?;
    let overhead = match amount("spark.executor.memoryOverhead") {
        Some(overhead) => overhead?,
        None => {
            let keys = ["spark.executor.memoryOverheadFactor", "spark.kubernetes.memoryOverheadFactor"];
            let factor = keys.iter().find_map(|key| settings.get(*key));
            let factor = factor.map_or(Some(FACTOR), |text| text.trim().parse::<f64>().ok())?;
            let least = amount("spark.executor.minMemoryOverhead").unwrap_or(Some(OVERHEAD))?;
            #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let part = (own as f64 * factor) as u64;
            part.max(least)
        }
    };
    let python = amount("spark.executor.pyspark.memory").unwrap_or(Some(0))?;
    let off_heap = match settings.get("spark.memory.offHeap.enabled") {
        Some(enabled) if enabled.eq_ignore_ascii_case("true") => {
            settings.get("spark.memory.offHeap.size").map_or(Some(0), |text| mebibytes(text, 1))?
        }
        _ => 0,
    };
    own.checked_add(overhead)?.checked_add(python)?.checked_add(off_heap)
}

/// A size such as `512m` (`JavaUtils.byteStringAs`) in MiB; `unit` is that of a bare number, in bytes.
fn mebibytes(text: &str, unit: u64) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(digits)?;
    let unit = match suffix {
        "" => unit,
        "b" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => 1 << 20,
        "g" | "gb" => 1 << 30,
        "t" | "tb" => 1 << 40,
        "p" | "pb" => 1 << 50,
        _ => return None,
    };
    Some(number.parse::<u64>().ok()?.checked_mul(unit)? >> 20)
}
