//! Whether the isolation policy (packaging/kubernetes/isolation.yaml) is in force: by what it does, as with the fence.
//!
//! A run asks as its job: with the token that was just granted, one pod with `dryRun=All` that RBAC and Pod Security allow
//! and the policy must refuse [69]. `check` has no job, and a throw-away account would be a write of a verb that makes
//! nothing; so the policy also refuses one name that nobody needs, whoever asks.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use spark_submit_as::exit::ExitCode;
use spark_submit_as::policy::names::JobId;
use spark_submit_as::protocol::{EXECUTOR_ACCOUNT, JOB_LABEL, NamespaceWanted};

use crate::api::{Answer, Api};
use crate::fault::{Fault, bounded};
use crate::objects;

/// The policy's name, which its refusals carry.
const POLICY: &str = "'spark-submit-as-isolation'";
/// What the refusal of the probe is about: the namespace's annotation that does not name the audience.
const RULE: &str = "spark-submit-as/token-audiences";
/// Name of the account, and of the namespace, that the policy refuses whoever asks.
const CANARY: &str = "ssa-job-isolation-probe";
/// Most audiences of an API server that are asked about.
const MAX_AUDIENCES: usize = 8;
/// Looks at a new role binding until the authorizer knows it: it watches, and is some milliseconds behind.
const TRIES: u32 = 8;
/// What is told when it is not there.
pub const MISSING: &str = "the isolation policy is not in force; apply packaging/kubernetes/isolation.yaml";

/// Whether the policy refuses the canary, an account that is not made (`dryRun=All`); asked with the provisioner's own
/// credential. In a namespace that is not there yet it is the namespace. None when neither can be asked.
///
/// # Errors
/// What a request can meet.
pub async fn canary(api: &Api, wanted: &NamespaceWanted) -> Result<Option<bool>, Fault> {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": CANARY}});
    let path = objects::collection("serviceaccounts", wanted.name.as_str());
    let mut answer = api.post(&format!("{path}?dryRun=All"), &account).await?;
    if answer.status == StatusCode::NOT_FOUND {
        if !wanted.create {
            return Ok(None);
        }
        let mut namespace = objects::namespace(wanted);
        if let Some(name) = namespace.pointer_mut("/metadata/name") {
            *name = CANARY.into();
        }
        answer = api.post("/api/v1/namespaces?dryRun=All", &namespace).await?;
    }
    if refused(&answer) {
        return Ok(Some(true));
    }
    answer.success("probe the isolation policy").map(|_| Some(false))
}

/// Sees that the policy holds this job. `api` has the job's own credential; `audiences` are the API server's own.
///
/// The pod is an executor in all but one thing: it asks for a token that the API server itself would take. So the probe also
/// finds a namespace whose list of audiences names the API server's, which no policy can know.
///
/// A LimitRange or another plug-in may refuse the pod before the policy sees it. Then the canary answers for the policy, with
/// the provisioner's `own` credential, and a warning says what stays open.
///
/// # Errors
/// [`ExitCode::IsolationMissing`] when such a pod would be allowed; [`ExitCode::ClusterRefused`] when every executor would
/// be refused; what a request can meet.
pub async fn in_force(
    api: &Api,
    own: &Api,
    wanted: &NamespaceWanted,
    job: &JobId,
    audiences: &[String],
) -> Result<Option<String>, Fault> {
    let path = format!("{}?dryRun=All", objects::collection("pods", wanted.name.as_str()));
    // An API server that does not tell its audiences puts them where none is named.
    let unnamed = [String::new()];
    let audiences = if audiences.is_empty() { &unnamed } else { audiences };
    if audiences.len() > MAX_AUDIENCES {
        let rule = format!("the API server has more than {MAX_AUDIENCES} audiences of its own");
        return Err(Fault::new(ExitCode::ClusterRefused, rule));
    }
    for audience in audiences {
        let answer = ask(api, &path, &probe(job, audience)).await?;
        let message = answer.message();
        if answer.status.is_success() {
            return Err(Fault::new(
                ExitCode::IsolationMissing,
                format!(
                    "{MISSING}. (A pod with a token for the API server would be allowed. If the policy is there: was it \
                     applied a moment ago, does its binding leave out this namespace, or does the namespace's annotation \
                     {RULE} name the API server's own audience {audience:?}?)"
                ),
            ));
        }
        if !refused(&answer) {
            let status = answer.status.as_u16();
            let otherwise =
                format!("the probe, a pod of this job, is refused otherwise ({status}: {message})");
            if canary(own, wanted).await? == Some(true) {
                let open =
                    "the isolation policy is in force, but whether it refuses tokens for the API server";
                return Ok(Some(bounded(&format!("{open} cannot be told: {otherwise}"))));
            }
            return Err(Fault::new(ExitCode::IsolationMissing, format!("{MISSING}. ({otherwise})")));
        }
        if !message.contains(RULE) {
            // Every executor would be refused for it, and Spark would wait for ever.
            let rule =
                format!("the isolation policy refuses what every executor has in this cluster: {message}");
            return Err(Fault::new(ExitCode::ClusterRefused, rule));
        }
    }
    Ok(None)
}

/// Asks until the API server knows token and binding, which it made itself a moment ago.
async fn ask(api: &Api, path: &str, pod: &Value) -> Result<Answer, Fault> {
    let mut pause = Duration::from_millis(20);
    for _ in 1..TRIES {
        let answer = api.post(path, pod).await?;
        let unknown = answer.status == StatusCode::UNAUTHORIZED
            || (answer.status == StatusCode::FORBIDDEN
                && answer.message().contains(" cannot create resource "));
        if !unknown {
            return Ok(answer);
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    api.post(path, pod).await
}

fn refused(answer: &Answer) -> bool {
    [StatusCode::FORBIDDEN, StatusCode::UNPROCESSABLE_ENTITY].contains(&answer.status)
        && answer.message().contains("ValidatingAdmissionPolicy")
        && answer.message().contains(POLICY)
}

/// An executor that passes Pod Security `restricted`, but for one volume.
fn probe(job: &JobId, audience: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": format!("spark-{job}-isolation-probe"), "labels": {JOB_LABEL: job.as_str()}},
        "spec": {
            "serviceAccountName": EXECUTOR_ACCOUNT,
            "automountServiceAccountToken": false,
            "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "probe",
                "image": "spark-submit-as/isolation-probe",
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
            "volumes": [{
                "name": "token",
                "projected": {"sources": [{"serviceAccountToken": {"path": "token", "audience": audience}}]},
            }],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standin::{JOB, in_time, namespace, session};

    fn refusal(rule: &str) -> (u16, Value) {
        let message = format!(
            "pods \"x\" is forbidden: ValidatingAdmissionPolicy 'spark-submit-as-isolation' with binding \
             'spark-submit-as-isolation' denied request: {rule}"
        );
        (422, json!({"kind": "Status", "message": message}))
    }

    type Outcome = Result<Option<String>, (ExitCode, String)>;

    /// What comes of it when the API server answers so, and how many pods it was asked for.
    fn asked(audiences: &[&str], answers: &[(u16, Value)], canary: Option<(u16, Value)>) -> (Outcome, usize) {
        let audiences: Vec<String> = audiences.iter().map(|audience| (*audience).to_owned()).collect();
        in_time(async {
            let (session, cluster, _supervisor) = session(&[]).await;
            cluster.borrow_mut().answers = answers.to_vec();
            cluster.borrow_mut().canary = canary;
            let api = session.api.as_ref().unwrap();
            let wanted = serde_json::from_value(namespace()).unwrap();
            let job = JobId::new(JOB).unwrap();
            let result = in_force(api, api, &wanted, &job, &audiences).await;
            let cluster = cluster.borrow();
            let probe = "POST /api/v1/namespaces/team/pods?dryRun=All";
            let probes = cluster.asked.iter().filter(|(line, _)| line == probe).count();
            assert!(cluster.asked.iter().all(|(line, _)| line.ends_with("?dryRun=All")), "nothing is made");
            (result.map_err(|fault| (fault.code, fault.to_string())), probes)
        })
    }

    #[test]
    fn checklist_69_a_pod_that_only_the_policy_refuses_tells_whether_it_is_in_force() {
        let held = || {
            refusal("a projected token has an audience of the namespace's spark-submit-as/token-audiences")
        };
        let unknown =
            || (403, json!({"kind": "Status", "message": "User \"x\" cannot create resource \"pods\""}));
        assert_eq!(asked(&["api"], &[held()], None), (Ok(None), 1), "one request");
        // Each of its audiences; none that is told; a binding that is not known yet.
        assert_eq!(asked(&["api", "sts"], &[held(), held()], None), (Ok(None), 2));
        assert_eq!(asked(&[], &[held()], None), (Ok(None), 1));
        assert_eq!(asked(&["api"], &[unknown(), unknown(), held()], None), (Ok(None), 3));

        let allowed = || (201, json!({"kind": "Pod"}));
        let (code, message) = asked(&["api"], &[allowed()], None).0.unwrap_err();
        assert_eq!(code, ExitCode::IsolationMissing);
        assert!(message.contains("isolation.yaml"), "{message}");
        let (code, message) = asked(&["api", "sts"], &[held(), allowed()], None).0.unwrap_err();
        assert_eq!(code, ExitCode::IsolationMissing);
        assert!(message.contains("\"sts\""), "{message}");
        let (code, message) =
            asked(&["api"], &[refusal("a pod has only a priority class")], None).0.unwrap_err();
        assert_eq!(code, ExitCode::ClusterRefused);
        assert!(message.contains("what every executor has"), "{message}");
    }

    #[test]
    fn checklist_69_a_probe_that_something_else_refuses_proves_nothing() {
        let other = |text: &str| (403, json!({"kind": "Status", "message": text}));
        let limits = || other("pods \"x\" is forbidden: minimum memory usage per Pod is 1Gi");
        let foreign = || other("ValidatingAdmissionPolicy 'other' with binding 'other' denied request");
        for answer in [limits(), foreign()] {
            let (code, _) = asked(&["api"], std::slice::from_ref(&answer), None).0.unwrap_err();
            assert_eq!(code, ExitCode::IsolationMissing);
            let warning = asked(&["api"], &[answer], Some(refusal("canary"))).0.unwrap().unwrap();
            assert!(warning.contains("cannot be told"), "{warning}");
        }
        // A job without rights: it is asked a few times, and that is not the policy's refusal either.
        let never = other("User \"x\" cannot create resource \"pods\"");
        let (result, probes) = asked(&["api"], &vec![never; 20], None);
        assert_eq!(result.unwrap_err().0, ExitCode::IsolationMissing);
        assert_eq!(probes, TRIES as usize);
    }
}
