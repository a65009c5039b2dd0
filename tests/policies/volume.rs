//! A user's volume: made once, kept, shared by the user's jobs and by nobody else's.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cluster::{Job, TestObject, unique};
use crate::support::*;
use crate::{Policed, SLEEP};

/// A class whose one volume is a directory of the node's, which is this machine.
struct Storage {
    class: String,
    directory: PathBuf,
    _volume: TestObject,
}

impl Storage {
    fn new() -> Self {
        let class = unique("ssa-test-class");
        let directory = PathBuf::from("/var/tmp").join(&class);
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
        let volume = TestObject::applied(&json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": class},
            "spec": {
                "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany"], "storageClassName": class,
                "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": directory},
            },
        }));
        Self { class, directory, _volume: volume }
    }

    fn policed(&self, script: &str) -> Policed {
        let mut policed = Policed::new(script, &json!({}));
        policed.place.configuration["profiles"]["per-user"]["volume"] =
            json!({"size": "1Gi", "class": self.class, "mount_path": "/data"});
        policed
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_users_jobs_share_one_claim_that_stays_and_each_may_use_no_other() {
    let storage = Storage::new();
    let mut policed = storage.policed(SLEEP);
    // Bob in the same namespace, as in a team's.
    policed.place.configuration["profiles"]["per-user"]["namespace"]["template"] = json!(policed.namespace);
    policed.place.configuration["users"]["mapping"] = json!(["identity"]);
    let alice = [0, 1].map(|_| Job::started(&mut policed.place.run("alice")));
    let bob = Job::started(&mut policed.place.run("bob"));
    let namespace = policed.namespace.clone();
    let claim = |name: &str| policed.get(&["persistentvolumeclaim", name]);
    let uid = claim("ssa-volume-alice")["metadata"]["uid"].clone();
    assert_eq!(
        claim("ssa-volume-alice")["metadata"]["annotations"]["spark-submit-as/owner"],
        "{\"user\":\"alice\"}"
    );
    assert_eq!(claim("ssa-volume-alice")["spec"]["accessModes"], json!(["ReadWriteMany"]));
    assert_eq!(
        claim("ssa-volume-bob")["metadata"]["annotations"]["spark-submit-as/owner"],
        "{\"user\":\"bob\"}"
    );
    let may = |job: &Job, verb: &str, claim: &str| {
        let account = format!("--as=system:serviceaccount:{namespace}:{}", job.account());
        let what = format!("persistentvolumeclaims/{claim}");
        kubectl_try(&["auth", "can-i", verb, &what, &account, "-n", &namespace]).stdout.trim() == "yes"
    };
    for job in &alice {
        assert!(may(job, "use", "ssa-volume-alice") && !may(job, "use", "ssa-volume-bob"), "{}", job.id);
        assert!(!may(job, "get", "ssa-volume-alice") && !may(job, "delete", "ssa-volume-alice"));
    }
    assert!(may(&bob, "use", "ssa-volume-bob") && !may(&bob, "use", "ssa-volume-alice"));
    // The driver's own executors get it from their template.
    let template = Path::new(&bed("SSA_BED_RUN")).join(&bob.id).join("executor-pod.json");
    let template: serde_json::Value = serde_json::from_str(&fs::read_to_string(template).unwrap()).unwrap();
    let volume = json!({"name": "ssa-volume", "persistentVolumeClaim": {"claimName": "ssa-volume-bob"}});
    assert_eq!(template["spec"]["volumes"], json!([volume]));
    let mount = json!([{"name": "ssa-volume", "mountPath": "/data"}]);
    assert_eq!(template["spec"]["containers"][0]["volumeMounts"], mount);

    let names: Vec<String> =
        alice.iter().chain([&bob]).map(|job| format!("{}-volume", job.account())).collect();
    let jobs: Vec<String> = alice.into_iter().chain([bob]).map(|job| job.stop().job()).collect();
    for name in names {
        for kind in ["role", "rolebinding"] {
            until("the right goes with the account", || !policed.there(&[kind, &name]));
        }
    }
    until("nothing else is left", || jobs.iter().all(|job| objects_of(job).is_empty()));
    assert_eq!(claim("ssa-volume-alice")["metadata"]["uid"], uid, "the claim stays");
    Job::started(&mut policed.place.run("alice")).stop();
    assert_eq!(claim("ssa-volume-alice")["metadata"]["uid"], uid, "and is used again");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_claim_of_somebody_elses_is_refused() {
    let storage = Storage::new();
    let policed = storage.policed("exit 0");
    policed.run();
    let name = "ssa-volume-alice";
    let owner = "spark-submit-as/owner={\"user\":\"bob\"}";
    kubectl(&["annotate", "pvc", name, "-n", &policed.namespace, "--overwrite", owner]);
    let ended = ended(&mut policed.place.run(&policed.login));
    ended.refused(218, "is not this user's");
    assert!(!ended.stderr.contains("bob"), "{ended:?}");
    until("nothing is left", || objects_of(&ended.job()).is_empty());
}

/// Writes on an executor, or reads there what another job has written.
const JOB: &str = r#"
import sys
from pyspark.sql import SparkSession
spark = SparkSession.builder.appName("volume").getOrCreate()
def work(_):
    if sys.argv[1] == "write":
        with open("/data/word", "w") as file:
            file.write("kept")
        return "written"
    return open("/data/word").read()
print("answer", spark.sparkContext.parallelize([0], 1).map(work).collect()[0], flush=True)
spark.stop()
"#;

#[test]
#[ignore = "needs the test bed: make test"]
fn what_an_executor_writes_on_the_volume_is_there_for_the_users_next_job() {
    let storage = Storage::new();
    let mut policed = storage.policed("");
    policed.place.configuration["profiles"]["per-user"]["spark_home"] = json!(bed("SSA_BED_SPARK_HOME"));
    // The claim counts in the quota.
    policed.set(&json!({"q": {"resource_quota": {"hard": {"requests.storage": "1Gi"}}}}));
    let job = temporary_file(
        "volume.py",
        &JOB.replace("sys.argv[1]", "WORD").replace("import sys\n", "import sys\nWORD = sys.argv[1]\n"),
    );
    for (word, answer) in [("write", "answer written"), ("read", "answer kept")] {
        let path = job.path.to_str().unwrap();
        let words =
            ["run", "--user", &policed.login, "--profile", "per-user", "--stage", path, "--", path, word];
        let ended = ended(&mut policed.place.call(&words));
        assert_eq!(ended.code(), 0, "{ended:?}");
        assert!(ended.stdout.contains(answer), "{ended:?}");
    }
    assert_eq!(fs::read_to_string(storage.directory.join("word")).unwrap(), "kept");
    let quota = policed.get(&["resourcequota", "ssa-quota"]);
    assert_eq!(quota["status"]["used"]["requests.storage"], "1Gi");
}
