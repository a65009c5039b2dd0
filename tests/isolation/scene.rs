//! Two namespaces with hand-made accounts of jobs, whose rights are as wide as RBAC can give: what holds them is the
//! isolation policy alone.

use serde_json::{Value, json};

use crate::cluster::{TestNamespace, TestObject, Thief, unique};
use crate::support::*;

/// The job that attacks,
pub const JOB: &str = "aaaabbbbccccdddd";
/// and another one in the same namespace.
pub const OTHER: &str = "eeeeffffgggghhhh";

/// A namespace that two jobs share.
pub struct Shared {
    pub name: String,
    /// The account of [`JOB`].
    pub thief: Thief,
    _namespace: TestNamespace,
}

/// Everything that the tables need.
pub struct Scene {
    /// Its namespace allows something of each kind.
    pub listed: Shared,
    /// Nothing is in the annotations of this one's.
    pub bare: Shared,
    /// Priority classes, the first of which is listed; a runtime class.
    pub classes: [String; 3],
    _guards: Vec<TestObject>,
}

impl Shared {
    fn new(prefix: &str, lists: &Value, role: &str) -> (Self, TestObject) {
        let name = unique(prefix);
        let namespace =
            TestNamespace::named(&name, json!({"spark-submit-as/managed": "true"}), lists.clone());
        let account = |account: &str| {
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "automountServiceAccountToken": false,
                   "metadata": {"name": account, "namespace": name}})
        };
        let (own, other) = (format!("ssa-job-{JOB}"), format!("ssa-job-{OTHER}"));
        let rbac = "rbac.authorization.k8s.io";
        let subjects = json!([{"kind": "ServiceAccount", "name": own, "namespace": name}]);
        let metadata = json!({"name": "volume", "namespace": name});
        let items = json!([
            account("ssa-executor"), account(&own), account(&other),
            {"apiVersion": format!("{rbac}/v1"), "kind": "Role", "metadata": metadata,
             "rules": [{"apiGroups": [""], "resources": ["persistentvolumeclaims"],
                        "resourceNames": ["ssa-volume-mine", "ssa-volume-too"], "verbs": ["use"]}]},
            {"apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding", "metadata": metadata,
             "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "volume"}, "subjects": subjects},
        ]);
        apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string());
        let binding = TestObject::applied(&json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": role}, "subjects": subjects,
        }));
        let token = kubectl(&["create", "token", &own, "-n", &name]).trim().to_owned();
        (Self { thief: Thief::with(&token), name, _namespace: namespace }, binding)
    }

    /// Path of its pods.
    pub fn pods(&self) -> String {
        format!("/api/v1/namespaces/{}/pods", self.name)
    }
}

impl Scene {
    pub fn new() -> Self {
        let role = unique("ssa-iso-wide");
        // Every verb but `use`, which is what the policy asks about volume claims.
        let wide = TestObject::applied(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": role},
            "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": [
                "create", "get", "list", "watch", "update", "patch", "delete", "deletecollection", "bind", "escalate"]}],
        }));
        let classes = [unique("ssa-iso-p"), unique("ssa-iso-q"), unique("ssa-iso-r")];
        let priority = |name: &str| {
            TestObject::applied(&json!({
                "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": 7}))
        };
        let runtime = TestObject::applied(&json!({
            "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": classes[2]}, "handler": "runc"}));
        let lists = json!({
            "spark-submit-as/owner": "{}",
            "spark-submit-as/images": "localhost/spark:4.1.4,registry.test/team/*, registry.test/one@sha256:0a",
            "spark-submit-as/token-audiences": "sts.example.com, vault,https://kubernetes.default.svc",
            "spark-submit-as/priority-classes": classes[0],
            "spark-submit-as/tolerations": "example.com/spark",
            "spark-submit-as/image-pull-secrets": "pull",
            "spark-submit-as/pod-labels": "team, azure.workload.identity/use=true",
            "spark-submit-as/pod-annotations": "prometheus.io/scrape,example.com/role=reader",
        });
        let (listed, first) = Shared::new("ssa-iso-l", &lists, &role);
        let (bare, second) = Shared::new("ssa-iso-b", &json!({"spark-submit-as/owner": "{}"}), &role);
        let guards = vec![wide, priority(&classes[0]), priority(&classes[1]), runtime, first, second];
        let scene = Self { listed, bare, classes, _guards: guards };
        for shared in [&scene.listed, &scene.bare] {
            let path = format!("{}?dryRun=All", shared.pods());
            let mut foreign = executor();
            foreign["metadata"]["labels"]["spark-submit-as/job"] = json!(OTHER);
            until("the rights and the policy are in force", || {
                isolated(&shared.thief.ask("POST", &path, &foreign))
            });
        }
        scene
    }
}

/// Refused by the isolation policy.
pub fn isolated(answer: &crate::cluster::Answer) -> bool {
    [403, 422].contains(&answer.status)
        && answer.message().contains("ValidatingAdmissionPolicy 'spark-submit-as-isolation' with binding")
}

/// An executor as Spark 4.1.4 makes it from the wrapper's template (most Java options left out).
pub fn executor() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("spark-{JOB}-exec-1"),
            "labels": {
                "spark-app-name": "pi-py", "spark-app-selector": JOB, "spark-exec-id": "1",
                "spark-exec-resourceprofile-id": "0", "spark-role": "executor", "spark-submit-as/job": JOB,
                "spark-version": "4.1.4",
            },
            "ownerReferences": [{"apiVersion": "v1", "kind": "ServiceAccount", "name": format!("ssa-job-{JOB}"),
                                 "uid": "558126f2-3d53-4111-8838-c60dcb8cc233"}],
        },
        "spec": {
            "automountServiceAccountToken": false, "serviceAccountName": "ssa-executor", "serviceAccount": "ssa-executor",
            "hostname": format!("spark-{JOB}-exec-1"), "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "executor", "image": "localhost/spark:4.1.4", "imagePullPolicy": "IfNotPresent",
                "args": ["executor"],
                "env": [
                    {"name": "SPARK_USER", "value": "alice"},
                    {"name": "SPARK_DRIVER_URL", "value": "spark://CoarseGrainedScheduler@10.231.0.1:34067"},
                    {"name": "SPARK_JAVA_OPT_0", "value": "-Dspark.authenticate=true"},
                    {"name": "SPARK_EXECUTOR_POD_IP",
                     "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}},
                    {"name": "_SPARK_AUTH_SECRET",
                     "valueFrom": {"secretKeyRef": {"key": "auth", "name": format!("ssa-job-{JOB}")}}},
                ],
                "ports": [{"containerPort": 7079, "name": "blockmanager", "protocol": "TCP"}],
                "resources": {"limits": {"memory": "896Mi"}, "requests": {"cpu": "100m", "memory": "896Mi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "volumeMounts": [{"mountPath": "/var/data/spark", "name": "spark-local-dir-1"}],
            }],
            "volumes": [{"emptyDir": {}, "name": "spark-local-dir-1"}],
        },
    })
}
