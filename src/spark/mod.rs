//! (stub until the spark room lands)
use crate::exit::ExitCode;
use crate::policy::config::{Program, Spark};
use crate::policy::names::{JobId, NamespaceName};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ArgumentError(String);
impl ArgumentError { pub fn code(&self) -> ExitCode { ExitCode::ArgumentRefused } }
#[derive(Clone, Debug)]
pub struct Parsed { words: Vec<OsString>, primary: usize }
pub enum Origin { Request }
pub struct JobFacts { pub job: JobId, pub namespace: NamespaceName, pub server: String, pub driver_host: String, pub pod_template: PathBuf, pub auth_secret_file: Option<PathBuf>, pub properties_file: Option<PathBuf> }
pub fn parse(_: Program, words: &[OsString]) -> Result<Parsed, ArgumentError> {
    let mut i = 0;
    while words.get(i).is_some_and(|w| w.to_string_lossy().starts_with("--")) { i += 2; }
    Ok(Parsed { words: words.to_vec(), primary: i.min(words.len()) })
}
pub fn check_key(_: &str, _: Origin) -> Result<(), ArgumentError> { Ok(()) }
pub fn merge_properties(d: Option<&[u8]>, a: &BTreeMap<String,String>, b: &BTreeMap<String,String>) -> Result<Option<Vec<u8>>, ArgumentError> {
    let mut out = d.unwrap_or_default().to_vec();
    for (k, v) in a.iter().chain(b) { out.extend(format!("{k}={v}\n").bytes()); }
    Ok(Some(out))
}
pub fn executor_pod_template(job: &JobId, uid: &str, _: Option<&[u8]>) -> Result<String, ArgumentError> {
    Ok(serde_json::json!({"apiVersion":"v1","kind":"Pod","metadata":{"labels":{"spark-submit-as/job":job.as_str()},"ownerReferences":[{"apiVersion":"v1","kind":"ServiceAccount","name":job.object_name(),"uid":uid}]},
    "spec":{"serviceAccountName":"ssa-executor","automountServiceAccountToken":false,"securityContext":{"runAsNonRoot":true,"seccompProfile":{"type":"RuntimeDefault"}},
    "containers":[{"name":"executor","image":"x","securityContext":{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]}}}]}}).to_string())
}
pub fn substitute(p: &Parsed, staged: &[(OsString, OsString)]) -> Parsed {
    Parsed { words: p.words.iter().map(|w| staged.iter().find(|(a, _)| a == w).map_or(w.clone(), |(_, b)| b.clone())).collect(), primary: p.primary }
}
pub fn command_line(_: Program, p: &Parsed, f: &JobFacts, _: &Spark) -> Vec<OsString> {
    let mut out: Vec<OsString> = vec![];
    if let Some(file) = &f.properties_file { out.push("--properties-file".into()); out.push(file.into()); }
    out.extend(p.words.iter().take(p.primary).cloned());
    out.push("--master".into()); out.push(format!("k8s://{}", f.server).into());
    let j = f.job.as_str();
    for c in [format!("spark.kubernetes.namespace={}", f.namespace), format!("spark.app.id={j}"), format!("spark.kubernetes.executor.podNamePrefix={}", f.job.pod_prefix()),
      format!("spark.kubernetes.executor.label.spark-submit-as/job={j}"), "spark.kubernetes.authenticate.executor.serviceAccountName=ssa-executor".into(),
      format!("spark.kubernetes.executor.podTemplateFile={}", f.pod_template.display()), "spark.kubernetes.executor.useDriverPodIP=false".into(),
      "spark.kubernetes.executor.disableConfigMap=true".into(), "spark.kubernetes.driver.service.deleteOnTermination=false".into(), "spark.kubernetes.driver.ownPersistentVolumeClaim=false".into(),
      "spark.authenticate=true".into(), "spark.network.crypto.enabled=true".into(), format!("spark.authenticate.secret.driver.file={}", f.auth_secret_file.clone().unwrap_or_default().display()),
      "spark.authenticate.secret.executor.file=/dev/null".into(), format!("spark.kubernetes.executor.secretKeyRef._SPARK_AUTH_SECRET={}:auth", f.job.object_name()),
      format!("spark.driver.host={}", f.driver_host), "spark.ui.enabled=false".into()] { out.push("--conf".into()); out.push(c.into()); }
    out.extend(p.words.iter().skip(p.primary).cloned());
    out
}
pub fn redacted(w: &[OsString]) -> Vec<String> { w.iter().map(|w| w.to_string_lossy().into_owned()).collect() }
