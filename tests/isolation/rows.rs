//! The table: an executor changed in one field, and what the policy must say to it.

use serde_json::{Value, json};

use super::scene::{JOB, OTHER, Scene, executor};

/// One pod.
pub struct Row {
    pub what: String,
    pub pod: Value,
    /// Whether it is tried where nothing is listed.
    pub bare: bool,
    /// Words of the refusal; none when it is allowed.
    pub refused: Option<&'static str>,
}

struct Table {
    rows: Vec<Row>,
    bare: bool,
}

/// Puts a value at a JSON pointer, making what is missing on the way; `-` is the end of a list, null takes away.
pub fn put(object: &mut Value, pointer: &str, value: Value) {
    let mut at = object;
    let parts: Vec<String> =
        pointer.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~")).collect();
    let (last, way) = parts.split_last().unwrap();
    for (index, part) in way.iter().enumerate() {
        let next = parts.get(index + 1).unwrap();
        at = match at {
            Value::Array(list) => list.get_mut(part.parse::<usize>().unwrap()).unwrap(),
            Value::Object(map) => map.entry(part.clone()).or_insert_with(|| match next.as_str() {
                "-" => json!([]),
                _ => json!({}),
            }),
            _ => panic!("{pointer}"),
        };
    }
    match at {
        Value::Array(list) if last == "-" => list.push(value),
        Value::Array(list) => list[last.parse::<usize>().unwrap()] = value,
        Value::Object(map) if value.is_null() => drop(map.remove(last)),
        Value::Object(map) => drop(map.insert(last.clone(), value)),
        _ => panic!("{pointer}"),
    }
}

impl Table {
    fn add(&mut self, pointer: &str, value: Value, refused: Option<&'static str>) {
        let what = format!("{pointer} = {value}{}", if self.bare { " (nothing listed)" } else { "" });
        let mut pod = executor();
        put(&mut pod, pointer, value);
        self.rows.push(Row { what, pod, bare: self.bare, refused });
    }

    fn allowed(&mut self, pointer: &str, value: Value) {
        self.add(pointer, value, None);
    }

    fn refused(&mut self, pointer: &str, value: Value, words: &'static str) {
        self.add(pointer, value, Some(words));
    }

    /// The last row with another change.
    fn and(&mut self, pointer: &str, value: Value) {
        let row = self.rows.last_mut().unwrap();
        row.what += &format!(", {pointer} = {value}");
        put(&mut row.pod, pointer, value);
    }
}

/// Every row.
pub fn table(scene: &Scene) -> Vec<Row> {
    let mut table = Table { rows: Vec::new(), bare: false };
    let t = &mut table;
    t.allowed("/spec/restartPolicy", json!("Never"));
    metadata(t);
    whole_pod(t, scene);
    volumes(t);
    containers(t);
    other_containers(t);
    rights(t);
    t.bare = true;
    nothing_listed(t, scene);
    table.rows
}

fn metadata(t: &mut Table) {
    let label = |key: &str| format!("/metadata/labels/{}", key.replace('/', "~1"));
    let job = label("spark-submit-as/job");
    let annotation = |key: &str| format!("/metadata/annotations/{}", key.replace('/', "~1"));
    let words = "carry its own id";
    t.refused(&job, json!(OTHER), words);
    t.refused(&job, Value::Null, words);
    t.refused(&job, json!(""), words);
    t.refused(&job, json!(JOB.to_uppercase()), words);
    t.allowed(&label("spark-exec-inactive"), json!("true"));
    t.allowed(&label("team"), json!("anything"));
    t.allowed(&label("azure.workload.identity/use"), json!("true"));
    let words = "only Spark's labels";
    t.refused(&label("azure.workload.identity/use"), json!("false"), words);
    t.refused(&label("app"), json!("database"), words);
    t.refused(&label("spark-submit-as/owner"), json!("x"), words);
    t.refused(&label("spark"), json!("x"), words);
    let words = "executors of its own application";
    t.refused(&label("spark-app-selector"), json!(OTHER), words);
    t.refused(&label("spark-role"), json!("driver"), words);
    let words = "names of a job's pods";
    t.refused("/metadata/name", json!(format!("spark-{OTHER}-exec-1")), words);
    t.refused("/metadata/name", json!("exec-1"), words);
    t.refused("/metadata/name", json!(format!("spark-{JOB}x")), words);
    t.allowed("/metadata/name", json!(format!("spark-{JOB}-exec-99999")));
    t.refused("/metadata/generateName", json!(format!("spark-{JOB}-exec-")), "metadata has only");
    t.and("/metadata/name", Value::Null);
    t.allowed(&annotation("prometheus.io/scrape"), json!("true"));
    t.allowed(&annotation("example.com/role"), json!("reader"));
    t.allowed(&annotation("kubernetes.io/limit-ranger"), json!("LimitRanger plugin set: cpu"));
    let words = "only annotations of";
    t.refused(&annotation("example.com/role"), json!("writer"), words);
    t.refused(&annotation("iam.amazonaws.com/role"), json!("admin"), words);
    t.refused(&annotation("k8s.v1.cni.cncf.io/networks"), json!("other"), words);
    t.refused(&annotation("spark-submit-as/images"), json!("*"), words);
    let owner = "/metadata/ownerReferences";
    let words = "owned by its job's account alone";
    t.allowed(owner, Value::Null);
    t.refused(&format!("{owner}/0/name"), json!(format!("ssa-job-{OTHER}")), words);
    t.refused(&format!("{owner}/0/name"), json!("ssa-executor"), words);
    t.refused(&format!("{owner}/0/kind"), json!("Pod"), words);
    t.refused(&format!("{owner}/0/apiVersion"), json!("example.com/v1"), words);
    t.refused(&format!("{owner}/0/controller"), json!(true), words);
    t.refused(&format!("{owner}/0/blockOwnerDeletion"), json!(true), words);
    let second = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "u"});
    t.refused(&format!("{owner}/-"), second, words);
    t.refused("/metadata/finalizers", json!(["example.com/stay"]), "no finalizer");
}

fn whole_pod(t: &mut Table, scene: &Scene) {
    let host = "no namespace of its host's";
    t.refused("/spec/hostNetwork", json!(true), host);
    t.refused("/spec/hostPID", json!(true), host);
    t.refused("/spec/hostIPC", json!(true), host);
    t.refused("/spec/hostUsers", json!(true), host);
    t.allowed("/spec/hostUsers", json!(false));
    t.allowed("/spec/shareProcessNamespace", json!(true));
    let words = "under the account ssa-executor";
    for account in ["default".to_owned(), format!("ssa-job-{JOB}"), format!("ssa-job-{OTHER}")] {
        t.refused("/spec/serviceAccountName", json!(account), words);
        t.and("/spec/serviceAccount", json!(account));
    }
    t.refused("/spec/automountServiceAccountToken", json!(true), words);
    t.refused("/spec/automountServiceAccountToken", Value::Null, words);
    let words = "field that jobs may not use";
    t.refused("/spec/nodeName", json!("bench"), words);
    t.refused("/spec/runtimeClassName", json!(scene.classes[2]), words);
    t.refused("/spec/schedulingGates", json!([{"name": "example.com/wait"}]), words);
    t.refused("/spec/setHostnameAsFQDN", json!(true), words);
    t.refused("/spec/subdomain", json!("bobs-service"), words);
    t.refused("/spec/readinessGates", json!([{"conditionType": "example.com/x"}]), words);
    t.refused("/spec/resourceClaims", json!([{"name": "gpu", "resourceClaimName": "bobs"}]), words);
    let words = "default scheduler and Linux";
    t.refused("/spec/schedulerName", json!("own"), words);
    t.refused("/spec/terminationGracePeriodSeconds", json!(301), words);
    t.allowed("/spec/terminationGracePeriodSeconds", json!(60));
    t.allowed("/spec/os", json!({"name": "linux"}));
    t.allowed("/spec/restartPolicy", json!("OnFailure"));
    t.allowed("/spec/activeDeadlineSeconds", json!(60));
    t.allowed("/spec/nodeSelector", json!({"disk": "fast"}));
    t.allowed("/spec/dnsConfig", json!({"options": [{"name": "ndots", "value": "1"}]}));
    t.allowed("/spec/hostAliases", json!([{"ip": "10.0.0.1", "hostnames": ["namenode"]}]));
    let spread = json!([{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}]);
    t.allowed("/spec/topologySpreadConstraints", spread);

    let node = json!({"nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "Exists"}]}]});
    t.allowed("/spec/affinity/nodeAffinity", json!({"requiredDuringSchedulingIgnoredDuringExecution": node}));
    let term = json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": {}, "namespaceSelector": {}});
    let preferred =
        json!({"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": term}]});
    let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]});
    for kind in ["podAffinity", "podAntiAffinity"] {
        t.allowed(&format!("/spec/affinity/{kind}"), preferred.clone());
        t.refused(&format!("/spec/affinity/{kind}"), required.clone(), "preferred, never required");
    }

    let words = "only tolerations of";
    let key = |key: &str, effect: &str| json!([{"key": key, "operator": "Exists", "effect": effect}]);
    t.allowed("/spec/tolerations", key("example.com/spark", "NoSchedule"));
    t.allowed("/spec/tolerations", key("node.kubernetes.io/not-ready", "NoExecute"));
    t.refused("/spec/tolerations", key("node.kubernetes.io/not-ready", "NoSchedule"), words);
    t.refused("/spec/tolerations", key("node-role.kubernetes.io/control-plane", "NoSchedule"), words);
    t.refused("/spec/tolerations", json!([{"operator": "Exists"}]), words);
    t.refused("/spec/tolerations", json!([{"operator": "Exists", "effect": "NoExecute"}]), words);
    let words = "only a priority class of";
    t.allowed("/spec/priorityClassName", json!(scene.classes[0]));
    t.refused("/spec/priorityClassName", json!(scene.classes[1]), words);
    t.refused("/spec/priorityClassName", json!("system-node-critical"), words);
    t.allowed("/spec/imagePullSecrets", json!([{"name": "pull"}]));
    t.refused("/spec/imagePullSecrets", json!([{"name": "pull"}, {"name": "other"}]), "pulls images only");
}

fn volumes(t: &mut Table) {
    let volume = "/spec/volumes/-";
    let named = |source: &str, value: Value| json!({"name": "v", source: value});
    t.allowed(volume, named("emptyDir", json!({"medium": "Memory", "sizeLimit": "1Mi"})));
    t.allowed(volume, json!({"name": "v"}));
    let field = json!({"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]});
    t.allowed(volume, named("downwardAPI", field.clone()));
    let own = format!("ssa-job-{JOB}");
    let words = "volumes are emptyDir";
    for (source, value) in [
        ("hostPath", json!({"path": "/"})),
        ("secret", json!({"secretName": own})),
        ("secret", json!({"secretName": format!("ssa-job-{OTHER}")})),
        ("configMap", json!({"name": "kube-root-ca.crt"})),
        ("csi", json!({"driver": "secrets-store.csi.k8s.io"})),
        ("nfs", json!({"server": "10.0.0.1", "path": "/"})),
        ("iscsi", json!({"targetPortal": "10.0.0.1", "iqn": "iqn.2001-04.com.example:x", "lun": 0})),
        ("image", json!({"reference": "localhost/spark:4.1.4"})),
        (
            "ephemeral",
            json!({"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"],
                                                    "resources": {"requests": {"storage": "1Mi"}}}}}),
        ),
    ] {
        t.refused(volume, named(source, value), words);
    }
    let projected = |source: Value| named("projected", json!({"sources": [source]}));
    let token =
        |audience: &str| projected(json!({"serviceAccountToken": {"path": "t", "audience": audience}}));
    t.allowed(volume, token("sts.example.com"));
    t.allowed(volume, token("vault"));
    t.allowed(volume, projected(json!({"downwardAPI": field})));
    let words = "never the API server's";
    t.refused(volume, projected(json!({"serviceAccountToken": {"path": "t"}})), words);
    t.refused(volume, token(""), words);
    t.refused(volume, token("unlisted"), words);
    // Listed by mistake.
    t.refused(volume, token("https://kubernetes.default.svc"), words);
    let words = "serviceAccountToken and downwardAPI alone";
    t.refused(volume, projected(json!({"secret": {"name": own}})), words);
    t.refused(volume, projected(json!({"configMap": {"name": "kube-root-ca.crt"}})), words);
    let mut both = token("vault");
    both["projected"]["sources"].as_array_mut().unwrap().push(json!({"secret": {"name": own}}));
    t.refused(volume, both, words);
    let claim = |name: &str| json!({"name": name, "persistentVolumeClaim": {"claimName": name}});
    t.allowed(volume, claim("ssa-volume-mine"));
    t.allowed(volume, claim("ssa-volume-mine"));
    t.and(volume, claim("ssa-volume-too"));
    let words = "has the verb use";
    t.refused(volume, claim("ssa-volume-other"), words);
    t.refused(volume, claim("ssa-volume-mine"), words);
    t.and(volume, claim("ssa-volume-other"));
    t.refused(volume, claim("ssa-volume-mine"), "at most two");
    t.and(volume, claim("ssa-volume-too"));
    t.and(volume, claim("three"));
}

fn containers(t: &mut Table) {
    let first = |field: &str| format!("/spec/containers/0/{field}");
    let env = first("env/-");
    let from = |source: &str, value: Value| json!({"name": "X", "valueFrom": {source: value}});
    t.allowed(&env, from("fieldRef", json!({"fieldPath": "spec.nodeName"})));
    t.allowed(&env, from("resourceFieldRef", json!({"resource": "limits.memory"})));
    t.allowed(&env, from("secretKeyRef", json!({"name": format!("ssa-job-{JOB}"), "key": "auth"})));
    let words = "job's own Secret alone";
    for secret in [format!("ssa-job-{OTHER}"), "pull".into(), format!("ssa-job-{JOB}-x")] {
        t.refused(&env, from("secretKeyRef", json!({"name": secret, "key": "auth"})), words);
    }
    let words = "fieldRef, resourceFieldRef and secretKeyRef";
    t.refused(&env, from("configMapKeyRef", json!({"name": "kube-root-ca.crt", "key": "ca.crt"})), words);
    for source in ["secretRef", "configMapRef"] {
        t.refused(&first("envFrom"), json!([{source: {"name": format!("ssa-job-{JOB}")}}]), words);
    }
    t.allowed(&first("image"), json!("registry.test/team/spark:1"));
    t.allowed(&first("image"), json!("registry.test/one@sha256:0a"));
    let words = "images are those";
    for image in [
        "localhost/spark:4.1.5",
        "localhost/spark",
        "registry.test/teams/spark:1",
        "registry.test/one@sha256:0b",
        "evil/registry.test/team/x",
    ] {
        t.refused(&first("image"), json!(image), words);
    }
    t.refused(&first("ports/0/hostPort"), json!(7079), "no port of its host's");
    t.refused(&first("volumeMounts/0/mountPropagation"), json!("HostToContainer"), "not propagated");
    t.refused(
        &first("volumeDevices"),
        json!([{"name": "c", "devicePath": "/dev/x"}]),
        "field that jobs may not use",
    );
    t.and("/spec/volumes/-", json!({"name": "c", "persistentVolumeClaim": {"claimName": "ssa-volume-mine"}}));
    let limits = json!({"limits": {"memory": "1Gi", "example.com/gpu": "1"}, "requests": {"ephemeral-storage": "1Gi"}});
    t.allowed(&first("resources"), limits);

    t.allowed(&first("livenessProbe"), json!({"httpGet": {"port": 8080, "path": "/"}}));
    t.allowed(&first("readinessProbe"), json!({"exec": {"command": ["true"]}}));
    t.allowed(&first("lifecycle"), json!({"preStop": {"exec": {"command": ["/opt/decom.sh"]}}}));
    t.allowed(&first("lifecycle"), json!({"preStop": {"sleep": {"seconds": 1}}}));
    let words = "probes ask the pod itself";
    let elsewhere = json!({"host": "169.254.169.254", "port": 80});
    t.refused(&first("livenessProbe"), json!({"httpGet": elsewhere}), words);
    t.refused(&first("readinessProbe"), json!({"httpGet": elsewhere}), words);
    t.refused(&first("startupProbe"), json!({"tcpSocket": elsewhere}), words);
    t.refused(&first("lifecycle"), json!({"postStart": {"httpGet": elsewhere}}), words);
    t.refused(&first("lifecycle"), json!({"preStop": {"httpGet": {"port": 80}}}), words);
}

/// What holds the executor's container holds the others.
fn other_containers(t: &mut Table) {
    let plain = |name: &str| json!({"name": name, "image": "localhost/spark:4.1.4", "securityContext": {"allowPrivilegeEscalation": false}});
    for (list, name) in [("/spec/initContainers", "first"), ("/spec/containers", "beside")] {
        let at = format!("{list}/-");
        t.allowed(&at, plain(name));
        for (pointer, value, words) in [
            ("/securityContext/privileged", json!(true), "not privileged"),
            ("/securityContext/allowPrivilegeEscalation", Value::Null, "not privileged"),
            ("/securityContext", Value::Null, "security context"),
            ("/securityContext/runAsUser", json!(0), "not run as root"),
            ("/image", json!("localhost/evil"), "images are those"),
            ("/envFrom", json!([{"secretRef": {"name": "x"}}]), "secretKeyRef alone"),
            (
                "/env",
                json!([{"name": "X", "valueFrom": {"secretKeyRef": {"name": format!("ssa-job-{OTHER}"), "key": "auth"}}}]),
                "own Secret alone",
            ),
            ("/ports", json!([{"containerPort": 80, "hostPort": 80}]), "no port of its host's"),
        ] {
            let mut container = plain(name);
            if pointer.ends_with("privileged") {
                // Kubernetes itself refuses false beside it.
                put(&mut container, "/securityContext/allowPrivilegeEscalation", json!(true));
            }
            put(&mut container, pointer, value);
            t.refused(&at, container, words);
        }
    }
    let mut sidecar = plain("sidecar");
    sidecar["restartPolicy"] = json!("Always");
    t.allowed("/spec/initContainers/-", sidecar);
}

fn rights(t: &mut Table) {
    let of_pod = |field: &str| format!("/spec/securityContext/{field}");
    let of_container = |field: &str| format!("/spec/containers/0/securityContext/{field}");
    let words = "not privileged";
    t.refused(&of_container("privileged"), json!(true), words);
    t.and(&of_container("allowPrivilegeEscalation"), json!(true));
    t.refused(&of_container("allowPrivilegeEscalation"), json!(true), words);
    t.refused(&of_container("allowPrivilegeEscalation"), Value::Null, words);
    t.refused(&of_container("capabilities/add"), json!(["NET_ADMIN"]), words);
    t.refused(&of_container("capabilities/add"), json!(["NET_BIND_SERVICE"]), words);
    t.refused(&of_container("procMount"), json!("Unmasked"), words);
    t.and("/spec/hostUsers", json!(false));
    let words = "not run as root";
    t.refused(&of_container("runAsUser"), json!(0), words);
    t.refused(&of_pod("runAsUser"), json!(0), words);
    t.refused(&of_container("runAsNonRoot"), json!(false), words);
    t.refused(&of_pod("runAsNonRoot"), json!(false), words);
    t.refused(&of_pod("runAsNonRoot"), Value::Null, words);
    t.allowed(&of_pod("runAsUser"), json!(185));
    t.allowed(&of_pod("fsGroup"), json!(185));
    t.allowed(&of_container("readOnlyRootFilesystem"), json!(true));
    let words = "nothing is Unconfined";
    let kind = |kind: &str| json!({"type": kind});
    t.refused(&of_pod("seccompProfile"), kind("Unconfined"), words);
    t.refused(&of_pod("seccompProfile"), Value::Null, words);
    t.refused(&of_container("seccompProfile"), kind("Unconfined"), words);
    t.allowed(
        &of_container("seccompProfile"),
        json!({"type": "Localhost", "localhostProfile": "spark.json"}),
    );
    t.refused(&of_pod("appArmorProfile"), kind("Unconfined"), words);
    t.refused(&of_container("appArmorProfile"), kind("Unconfined"), words);
    t.allowed(&of_container("appArmorProfile"), kind("RuntimeDefault"));
    let words = "security context has a field";
    let options = json!({"type": "spc_t"});
    t.refused(&of_pod("seLinuxOptions"), options.clone(), words);
    t.refused(&of_container("seLinuxOptions"), options, words);
    t.refused(&of_pod("sysctls"), json!([{"name": "net.ipv4.tcp_syncookies", "value": "0"}]), words);
    t.refused(&of_pod("windowsOptions"), json!({"runAsUserName": "Administrator"}), words);
    t.refused(&of_container("windowsOptions"), json!({"hostProcess": false}), words);
}

fn nothing_listed(t: &mut Table, scene: &Scene) {
    t.allowed("/spec/containers/0/image", json!("anywhere.example.com/any:thing"));
    t.refused("/metadata/labels/team", json!("x"), "only Spark's labels");
    t.refused("/metadata/annotations", json!({"prometheus.io/scrape": "true"}), "only annotations of");
    let toleration = json!([{"key": "example.com/spark", "operator": "Exists"}]);
    t.refused("/spec/tolerations", toleration, "only tolerations of");
    t.refused("/spec/priorityClassName", json!(scene.classes[0]), "only a priority class of");
    t.refused("/spec/imagePullSecrets", json!([{"name": "pull"}]), "pulls images only");
    let token = json!({"serviceAccountToken": {"path": "t", "audience": "vault"}});
    let volume = json!({"name": "v", "projected": {"sources": [token]}});
    t.refused("/spec/volumes/-", volume, "never the API server's");
}
