"""Attempts that the job's role refuses: it names pods of one namespace and six verbs. [66]"""
from api import APPLY, JSON_PATCH, MERGE, STRATEGIC, Attempt

RBAC = "/apis/rbac.authorization.k8s.io/v1"


def named(version, kind, name="ssa-attack", **fields):
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **fields}


def attempts(scene):
    for part in (secrets, tokens, escalation, elsewhere, cluster_wide, beside_pods, subresources, updates, workloads, who):
        yield from part(scene)


def rights(name, method, path, body=None, **more):
    return Attempt(name, "rights", method, path, body, **more)


def secrets(scene):
    core, bob = scene.core, scene.bob
    yield rights("list secrets", "GET", f"{core}/secrets")
    yield rights("list secrets by the name of bob's", "GET", f"{core}/secrets?fieldSelector=metadata.name%3D{bob['secret']}")
    yield rights("watch secrets", "GET", f"{core}/secrets?watch=1&timeoutSeconds=1")
    yield rights("watch secrets by the old path", "GET", f"/api/v1/watch/namespaces/{scene.namespace}/secrets?timeoutSeconds=1")
    yield rights("get bob's secret", "GET", f"{core}/secrets/{bob['secret']}")
    yield rights("get the secret of bob's job", "GET", f"{core}/secrets/ssa-job-{bob['job']}")
    yield rights("get the secret of the own job", "GET", f"{core}/secrets/{scene.account}")
    yield rights("list all secrets", "GET", "/api/v1/secrets")
    token = named("v1", "Secret", type="kubernetes.io/service-account-token")
    token["metadata"]["annotations"] = {"kubernetes.io/service-account.name": bob["account"]}
    yield rights("a secret that the cluster fills with a token of bob's", "POST", f"{core}/secrets", token)
    yield rights("change bob's secret", "PATCH", f"{core}/secrets/{bob['secret']}", {"stringData": {"key": "x"}}, kind=MERGE)
    yield rights("delete bob's secret", "DELETE", f"{core}/secrets/{bob['secret']}")
    yield rights("delete all secrets", "DELETE", f"{core}/secrets")
    yield rights("list configmaps", "GET", f"{core}/configmaps")
    yield rights("get bob's configmap", "GET", f"{core}/configmaps/{bob['configmap']}")
    yield rights("create a configmap", "POST", f"{core}/configmaps", named("v1", "ConfigMap", data={"a": "b"}))
    yield rights("delete bob's configmap", "DELETE", f"{core}/configmaps/{bob['configmap']}")


def tokens(scene):
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 86400}}
    accounts = {
        "the own account": scene.account,
        "the account of bob's job": f"ssa-job-{scene.bob['job']}",
        "an account of bob's": scene.bob["account"],
        "the executors' account": "ssa-executor",
        "the default account": "default",
    }
    for whose, account in accounts.items():
        yield rights(f"a token of {whose}", "POST", f"{scene.core}/serviceaccounts/{account}/token", request)
    yield rights("a token of kube-system's", "POST", "/api/v1/namespaces/kube-system/serviceaccounts/default/token", request)
    yield rights(
        "a token of the provisioner",
        "POST",
        "/api/v1/namespaces/spark-submit-as/serviceaccounts/provisioner/token",
        request,
    )
    accounts = f"{scene.core}/serviceaccounts"
    yield rights("list service accounts", "GET", accounts)
    yield rights("create a service account", "POST", accounts, named("v1", "ServiceAccount"))
    yield rights("delete the account of bob's job", "DELETE", f"{accounts}/ssa-job-{scene.bob['job']}")
    expiry = {"metadata": {"annotations": {"spark-submit-as/expires-at": "2099-01-01T00:00:00Z"}}}
    yield rights("live longer than its tokens", "PATCH", f"{accounts}/{scene.account}", expiry, kind=MERGE)
    pull = {"imagePullSecrets": [{"name": scene.bob["secret"]}]}
    yield rights("give the executors' account a secret", "PATCH", f"{accounts}/ssa-executor", pull, kind=MERGE)


def escalation(scene):
    own = {"kind": "ServiceAccount", "name": scene.account, "namespace": scene.namespace}
    everything = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    space = f"{RBAC}/namespaces/{scene.namespace}"

    def binding(kind, role):
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
        return named("rbac.authorization.k8s.io/v1", kind, roleRef=ref, subjects=[own])

    role = named("rbac.authorization.k8s.io/v1", "Role", rules=everything)
    yield rights("create a role", "POST", f"{space}/roles", role)
    yield rights("create a cluster role", "POST", f"{RBAC}/clusterroles", {**role, "kind": "ClusterRole"})
    for name in ("cluster-admin", "edit", "spark-submit-as-driver"):
        yield rights(f"bind itself to {name}", "POST", f"{space}/rolebindings", binding("RoleBinding", name))
    yield rights("bind itself everywhere", "POST", f"{RBAC}/clusterrolebindings", binding("ClusterRoleBinding", "cluster-admin"))
    yield rights("widen the drivers' role", "PATCH", f"{RBAC}/clusterroles/spark-submit-as-driver", {"rules": everything}, kind=MERGE)
    own_binding = f"{space}/rolebindings/{scene.account}"
    yield rights("change the own binding", "PATCH", own_binding, {"roleRef": {"name": "cluster-admin"}}, kind=MERGE)
    yield rights("delete bob's binding", "DELETE", f"{space}/rolebindings/ssa-job-{scene.bob['job']}")
    yield rights("list bindings", "GET", f"{space}/rolebindings")
    for review, spec in (
        ("authentication.k8s.io/v1/tokenreviews", {"token": "x"}),
        ("authorization.k8s.io/v1/subjectaccessreviews", {"user": "bob", "resourceAttributes": {"verb": "get", "resource": "pods"}}),
    ):
        kind = "TokenReview" if "token" in review else "SubjectAccessReview"
        version = review.rsplit("/", 1)[0]
        yield rights(f"a {kind}", "POST", f"/apis/{review}", {"apiVersion": version, "kind": kind, "spec": spec})
    local = f"/apis/authorization.k8s.io/v1/namespaces/{scene.namespace}/localsubjectaccessreviews"
    spec = {"user": "bob", "resourceAttributes": {"namespace": scene.namespace, "verb": "get", "resource": "pods"}}
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "LocalSubjectAccessReview", "spec": spec}
    yield rights("a LocalSubjectAccessReview", "POST", local, body)
    signing = {"request": "eA==", "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]}
    body = named("certificates.k8s.io/v1", "CertificateSigningRequest", spec=signing)
    yield rights("ask for a client certificate", "POST", "/apis/certificates.k8s.io/v1/certificatesigningrequests", body)


def elsewhere(scene):
    for namespace in ("default", "kube-system", "spark-submit-as", scene.other_namespace):
        pods = f"/api/v1/namespaces/{namespace}/pods"
        yield rights(f"list pods of {namespace}", "GET", pods)
        pod = scene.pod()
        pod["metadata"]["namespace"] = namespace
        yield rights(f"create a pod in {namespace}", "POST", pods, pod)
    yield rights("delete all pods of kube-system", "DELETE", "/api/v1/namespaces/kube-system/pods")
    yield rights("list the pods of all namespaces", "GET", "/api/v1/pods")
    yield rights("watch the pods of all namespaces", "GET", "/api/v1/pods?watch=1&timeoutSeconds=1")
    yield rights("list all pods by the old path", "GET", "/api/v1/watch/pods?timeoutSeconds=1")
    foreign = scene.pod()
    foreign["metadata"]["namespace"] = "kube-system"
    yield Attempt("a body of another namespace", "server", "POST", scene.pods, foreign)
    yield Attempt("a path with dots", "rights", "GET", f"{scene.core}/pods/../../kube-system/secrets")
    yield Attempt("a path with escaped dots", "rights", "GET", f"{scene.pods}/..%2f..%2fkube-system%2fsecrets")


def cluster_wide(scene):
    node = scene.node
    yield rights("list nodes", "GET", "/api/v1/nodes")
    yield rights("get a node", "GET", f"/api/v1/nodes/{node}")
    for path in ("pods", "configz", "logs/", "run/x/y/z", "metrics"):
        yield rights(f"the kubelet's {path} through nodes/proxy", "GET", f"/api/v1/nodes/{node}/proxy/{path}")
    yield rights("a command through nodes/proxy", "POST", f"/api/v1/nodes/{node}/proxy/run/kube-system/x/y?cmd=id")
    yield rights("list namespaces", "GET", "/api/v1/namespaces")
    space = f"/api/v1/namespaces/{scene.namespace}"
    yield rights("get its namespace", "GET", space)
    weaker = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}
    yield rights("weaken pod security", "PATCH", space, weaker, kind=MERGE)
    lists = {"metadata": {"annotations": {"spark-submit-as/images": "*", "spark-submit-as/tolerations": "*"}}}
    yield rights("widen the namespace's lists", "PATCH", space, lists, kind=MERGE)
    unmanaged = [{"op": "remove", "path": "/metadata/labels/spark-submit-as~1managed"}]
    yield rights("take the namespace's label", "PATCH", space, unmanaged, kind=JSON_PATCH)
    yield rights("weaken pod security through /status", "PATCH", f"{space}/status", weaker, kind=MERGE)
    yield rights("finalize the namespace", "PUT", f"{space}/finalize", named("v1", "Namespace", scene.namespace))
    yield rights("delete the namespace", "DELETE", space)
    yield rights("create a namespace", "POST", "/api/v1/namespaces", named("v1", "Namespace"))
    yield rights("list volumes of the cluster", "GET", "/api/v1/persistentvolumes")
    spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/"}}
    yield rights("a volume on the node's root", "POST", "/api/v1/persistentvolumes", named("v1", "PersistentVolume", spec=spec))
    admission = "/apis/admissionregistration.k8s.io/v1"
    for name in ("spark-submit-as-isolation", "spark-submit-as-fence"):
        for resource in ("validatingadmissionpolicies", "validatingadmissionpolicybindings"):
            yield rights(f"delete {name} ({resource})", "DELETE", f"{admission}/{resource}/{name}")
    audit_only = {"spec": {"validationActions": ["Audit"]}}
    path = f"{admission}/validatingadmissionpolicybindings/spark-submit-as-isolation"
    yield rights("let the policy only look", "PATCH", path, audit_only, kind=MERGE)
    for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"):
        body = named("admissionregistration.k8s.io/v1", kind)
        yield rights(f"a {kind}", "POST", f"{admission}/{kind.lower()}s", body)
    body = named("scheduling.k8s.io/v1", "PriorityClass", value=1000000)
    yield rights("a priority class", "POST", "/apis/scheduling.k8s.io/v1/priorityclasses", body)
    body = named("node.k8s.io/v1", "RuntimeClass", handler="runc")
    yield rights("a runtime class", "POST", "/apis/node.k8s.io/v1/runtimeclasses", body)
    for path in ("/metrics", "/logs/", "/debug/pprof/", "/configz", "/debug/api_priority_and_fairness/dump_requests"):
        yield rights(f"the API server's {path}", "GET", path)


def beside_pods(scene):
    core, networking = scene.core, f"/apis/networking.k8s.io/v1/namespaces/{scene.namespace}"
    yield rights("list events", "GET", f"{core}/events")
    event = named("v1", "Event", involvedObject={"kind": "Pod", "name": scene.bob["pod"], "namespace": scene.namespace})
    yield rights("forge an event about bob's pod", "POST", f"{core}/events", event)
    yield rights("list claims", "GET", f"{core}/persistentvolumeclaims")
    yield rights("delete bob's claim", "DELETE", f"{core}/persistentvolumeclaims/{scene.bob['claim']}")
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    yield rights("create a claim", "POST", f"{core}/persistentvolumeclaims", named("v1", "PersistentVolumeClaim", spec=spec))
    service = named("v1", "Service", spec={"selector": {"app": "team-service"}, "ports": [{"port": 80}]})
    yield rights("create a service", "POST", f"{core}/services", service)
    endpoints = named("v1", "Endpoints", "team-service", subsets=[{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}])
    yield rights("take a service's endpoints", "PUT", f"{core}/endpoints/team-service", endpoints)
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{scene.namespace}/endpointslices"
    part = named("discovery.k8s.io/v1", "EndpointSlice", addressType="IPv4", endpoints=[{"addresses": ["10.0.0.1"]}])
    yield rights("add to a service's endpoints", "POST", slices, part)
    yield rights("delete the network policies", "DELETE", f"{networking}/networkpolicies")
    policy = named("networking.k8s.io/v1", "NetworkPolicy", spec={"podSelector": {}, "ingress": [{}]})
    yield rights("open the network", "POST", f"{networking}/networkpolicies", policy)
    yield rights("delete the quota", "DELETE", f"{core}/resourcequotas/ssa-quota")
    yield rights("raise the quota", "PATCH", f"{core}/resourcequotas/ssa-quota", {"spec": {"hard": {"pods": "1000"}}}, kind=MERGE)
    yield rights("delete the limits", "DELETE", f"{core}/limitranges/ssa-limits")
    lease = f"/apis/coordination.k8s.io/v1/namespaces/{scene.namespace}/leases"
    yield rights("create a lease", "POST", lease, named("coordination.k8s.io/v1", "Lease", spec={}))
    disruption = f"/apis/policy/v1/namespaces/{scene.namespace}/poddisruptionbudgets"
    yield rights("a disruption budget", "POST", disruption, named("policy/v1", "PodDisruptionBudget", spec={"minAvailable": 1}))
    yield rights("a service through its proxy", "GET", f"{core}/services/team-service/proxy/")


def subresources(scene):
    for whose, pod in (("bob's", scene.bob["pod"]), ("the team's", "team-service")):
        path = f"{scene.pods}/{pod}"
        yield rights(f"exec in {whose} pod", "POST", f"{path}/exec?command=id&stdout=1")
        yield rights(f"exec in {whose} pod by GET", "GET", f"{path}/exec?command=id&stdout=1")
        yield rights(f"attach to {whose} pod", "POST", f"{path}/attach?stdin=1")
        yield rights(f"forward a port to {whose} pod", "POST", f"{path}/portforward?ports=7079")
        yield rights(f"the log of {whose} pod", "GET", f"{path}/log")
        yield rights(f"HTTP to {whose} pod", "GET", f"{path}/proxy/")
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
        yield rights(f"evict {whose} pod", "POST", f"{path}/eviction", eviction)
    path = f"{scene.pods}/{scene.bob['pod']}"
    debug = {"spec": {"ephemeralContainers": [{"name": "spy", "image": scene.image, "command": ["id"]}]}}
    yield rights("a debug container in bob's pod", "PATCH", f"{path}/ephemeralcontainers", debug, kind=STRATEGIC)
    binding = named("v1", "Binding", scene.bob["pod"], target={"apiVersion": "v1", "kind": "Node", "name": scene.node})
    yield rights("bind bob's pod to a node", "POST", f"{path}/binding", binding)
    yield rights("bind a pod by the old path", "POST", f"{scene.core}/bindings", binding)
    yield rights("bob's pod has failed", "PATCH", f"{path}/status", {"status": {"phase": "Failed"}}, kind=MERGE)
    smaller = {"spec": {"containers": [{"name": "executor", "resources": {"requests": {"cpu": "1m"}}}]}}
    yield rights("resize bob's pod", "PATCH", f"{path}/resize", smaller, kind=STRATEGIC)


def updates(scene):
    """[68]: the role has no update; the policy's own word on updates is in wide.py."""
    bobs, own = f"{scene.pods}/{scene.bob['pod']}", f"{scene.pods}/{scene.own_pod}"
    label = {"metadata": {"labels": {"spark-submit-as/job": scene.bob["job"]}}}
    yield rights("relabel an own pod, merge patch", "PATCH", own, label, kind=MERGE)
    yield rights("relabel an own pod, strategic merge patch", "PATCH", own, label, kind=STRATEGIC)
    replace = [{"op": "replace", "path": "/metadata/labels/spark-submit-as~1job", "value": scene.bob["job"]}]
    yield rights("relabel an own pod, JSON patch", "PATCH", own, replace, kind=JSON_PATCH)
    applied = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": scene.own_pod, **label["metadata"]}}
    yield rights("relabel an own pod, apply", "PATCH", f"{own}?fieldManager=x&force=true", applied, kind=APPLY)
    whole = scene.pod()
    whole["metadata"]["name"] = scene.own_pod
    whole["metadata"]["labels"]["spark-submit-as/job"] = scene.bob["job"]
    yield rights("relabel an own pod, replace", "PUT", own, whole)
    stolen = {"metadata": {"labels": {"spark-submit-as/job": scene.job}}}
    yield rights("relabel bob's pod as its own", "PATCH", bobs, stolen, kind=MERGE)
    yield rights("remove bob's label", "PATCH", bobs, {"metadata": {"labels": {"spark-submit-as/job": None}}}, kind=MERGE)
    image = {"spec": {"containers": [{"name": "executor", "image": "localhost/pause:bench"}]}}
    yield rights("another image into bob's pod", "PATCH", bobs, image, kind=STRATEGIC)
    yield rights("a pod by apply", "PATCH", f"{scene.pods}/x?fieldManager=x", applied, kind=APPLY)


def workloads(scene):
    """Other kinds that make pods: under the names of controllers, whom the policy does not look at."""
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {**scene.pod()["spec"], "serviceAccountName": scene.bob["account"]}}
    always = {**template, "spec": {**template["spec"], "restartPolicy": "Always"}}
    selector = {"matchLabels": {"a": "b"}}
    kinds = [
        ("apps/v1", "Deployment", {"selector": selector, "template": always}),
        ("apps/v1", "ReplicaSet", {"selector": selector, "template": always}),
        ("apps/v1", "StatefulSet", {"selector": selector, "serviceName": "x", "template": always}),
        ("apps/v1", "DaemonSet", {"selector": selector, "template": always}),
        ("batch/v1", "Job", {"template": template}),
        ("batch/v1", "CronJob", {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": template}}}),
        ("v1", "ReplicationController", {"selector": {"a": "b"}, "template": always}),
        ("v1", "PodTemplate", None),
    ]
    for version, kind, spec in kinds:
        body = named(version, kind, **({"spec": spec} if spec else {"template": template}))
        group = "/api/v1" if version == "v1" else f"/apis/{version}"
        yield rights(f"a {kind}", "POST", f"{group}/namespaces/{scene.namespace}/{kind.lower()}s", body)
    # Groups that once served the same resources.
    for group in ("extensions/v1beta1", "apps/v1beta1"):
        path = f"/apis/{group}/namespaces/{scene.namespace}/deployments"
        yield rights(f"a Deployment of {group}", "POST", path, named(group, "Deployment"))


def who(scene):
    """Somebody else's name, or none."""
    for whose in (
        "system:admin",
        f"system:serviceaccount:{scene.namespace}:ssa-job-{scene.bob['job']}",
        f"system:serviceaccount:{scene.namespace}:{scene.bob['account']}",
        "system:serviceaccount:spark-submit-as:provisioner",
        "spark-submit-as-provisioner",
    ):
        yield rights(f"impersonate {whose}", "GET", f"{scene.core}/secrets", headers=[("Impersonate-User", whose)])
    own = f"system:serviceaccount:{scene.namespace}:{scene.account}"
    masters = [("Impersonate-User", own), ("Impersonate-Group", "system:masters")]
    yield rights("impersonate a group", "GET", f"{scene.core}/secrets", headers=masters)
    extra = [("Impersonate-User", own), ("Impersonate-Extra-Scopes", "x")]
    yield rights("impersonate with an extra", "GET", f"{scene.core}/secrets", headers=extra)
    uid = [("Impersonate-User", own), ("Impersonate-Uid", "x")]
    yield rights("impersonate with a uid", "GET", f"{scene.core}/secrets", headers=uid)
    front = [("X-Remote-User", "system:admin"), ("X-Remote-Group", "system:masters")]
    yield rights("the headers of an authenticating proxy", "GET", f"{scene.core}/secrets", headers=front)
    yield Attempt("no token", "rights", "GET", scene.pods, token=False)
    token = scene.cluster.kubeconfig()["users"][0]["user"]["token"]
    head, body, signature = token.split(".")
    yield Attempt("a token whose signature is changed", "login", "GET", scene.pods, token=f"{head}.{body}.{signature[::-1]}")
    yield Attempt("a token whose claims are changed", "login", "GET", scene.pods, token=f"{head}.{forged(scene, body)}.{signature}")
    yield Attempt("a token without a signature", "login", "GET", scene.pods, token=unsigned(scene, body))


def forged(scene, body):
    import base64

    claims = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)).decode()
    claims = claims.replace(scene.job, scene.bob["job"])
    return base64.urlsafe_b64encode(claims.encode()).decode().rstrip("=")


def unsigned(scene, body):
    import base64

    head = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    return f"{head}.{forged(scene, body)}."
