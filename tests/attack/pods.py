"""Attempts that the job's role allows: pods of its own namespace. What stops them is the admission policy, and Pod
Security where the namespace has a level. [67, 68, 75]

Each pod differs from one that is allowed in one point, so that it is this point that is refused.
"""
from api import JOB, Attempt, changed

LABELS = "/metadata/labels/"
NOTES = "/metadata/annotations/"
FIRST = "/spec/containers/0/"
SECURITY = FIRST + "securityContext/"
LABEL = LABELS + JOB.replace("/", "~1")


def attempts(scene):
    for stop, changes in (
        ("nobody", allowed(scene)),
        ("policy", identity(scene)),
        ("policy", accounts(scene)),
        ("policy", foreign(scene)),
        ("policy", scheduling(scene)),
        ("policy", images(scene)),
        ("level", node(scene)),
        ("level", security(scene)),
        ("level", volumes(scene)),
    ):
        for name, change in changes:
            yield Attempt(name, stop, "POST", scene.pods, scene.pod(change))
    yield from beside(scene)
    yield from forms(scene)
    yield from deletes(scene)


def allowed(scene):
    """What Spark and its users do: a policy that refuses everything would pass all the rest."""
    own = {"secretKeyRef": {"name": scene.account, "key": "auth"}}
    yield "allowed: a pod as Spark makes them", {}
    yield "allowed: an empty directory", volume({"emptyDir": {"medium": "Memory"}})
    yield "allowed: its own labels as files", volume({"downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}})
    yield "allowed: the own job's secret in a variable", env({"name": "S", "valueFrom": own})
    yield "allowed: its address in a variable", env({"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}})
    yield "allowed: a plain variable", env({"name": "A", "value": "b"})
    listed = {"serviceAccountToken": {"path": "t", "expirationSeconds": 3600, "audience": "listed.example.org"}}
    yield "allowed: a projected token for a service that the namespace lists", projected(listed)


def identity(scene):
    """Whose pod it is: label, name, owner."""
    bob = scene.bob
    owner = {"apiVersion": "v1", "kind": "ServiceAccount", "name": f"ssa-job-{bob['job']}", "uid": bob["job_account_uid"]}
    owners, prefix = "/metadata/ownerReferences/", f"spark-{bob['job']}-exec-"
    yield "bob's label", {LABEL: bob["job"]}
    yield "no label", {LABEL: None}
    yield "an empty label", {LABEL: ""}
    yield "the label of no job", {LABEL: "aaaaaaaaaaaaaaaa"}
    yield "the label of a service of the team's", {LABELS + "app": "team-service"}
    yield "the label of a cloud's identity", {LABELS + "azure.workload.identity~1use": "true"}
    yield "an executor of bob's driver", {LABELS + "spark-app-selector": bob["job"], LABELS + "spark-exec-id": "1"}
    yield "the name of bob's next executor", {"/metadata/name": prefix + "2"}
    yield "a generated name like bob's", {"/metadata/name": None, "/metadata/generateName": prefix}
    yield "owned by bob's account", {owners + "0": owner}
    yield "owned by bob's account as well", {owners + "-": owner}
    other = {**owner, "name": bob["account"], "uid": bob["account_uid"]}
    yield "owned by an account of bob's", {owners + "0": other}
    pod = {"apiVersion": "v1", "kind": "Pod", "name": bob["pod"], "uid": bob["pod_uid"]}
    yield "owned by bob's pod", {owners + "0": pod}
    yield "owned by its account as a controller", {owners + "0/controller": True}
    yield "its account is not deleted before it", {owners + "0/blockOwnerDeletion": True}
    yield "a finalizer", {"/metadata/finalizers": ["example.org/never"]}
    yield "a finalizer of Kubernetes' own", {"/metadata/finalizers": ["foregroundDeletion"]}
    yield "a pod that outlives its deletion by a year", {"/spec/terminationGracePeriodSeconds": 31_536_000}


def accounts(scene):
    """Under which account, with which token. [75]"""
    name, mount = "/spec/serviceAccountName", "/spec/automountServiceAccountToken"
    bobs = f"ssa-job-{scene.bob['job']}"
    yield "the account of bob's job", {name: bobs}
    yield "the account of bob's job with its token", {name: bobs, mount: True}
    yield "an account of bob's", {name: scene.bob["account"]}
    yield "an account of bob's with its token", {name: scene.bob["account"], mount: True}
    yield "an account of bob's by the old field", {name: None, "/spec/serviceAccount": scene.bob["account"]}
    yield "the own job's account", {name: scene.account}
    yield "the own job's account with its token", {name: scene.account, mount: True}
    yield "the default account with its token", {name: "default", mount: True}
    yield "no account, and so the default one, with a token", {name: None, mount: None}
    yield "the executors' account with its token", {mount: True}
    yield "a token is mounted unless it says no", {name: "default", mount: None}
    token = {"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}}

    def audience(name):
        return {"serviceAccountToken": {**token["serviceAccountToken"], "audience": name}}

    yield "a projected token", projected(token)
    # The namespace lists this audience too, as an administrator might who did not look twice.
    yield "a projected token for the API server", projected(audience("https://kubernetes.default.svc"))
    yield "a projected token for a service that is not listed", projected(audience("vault.example.org"))
    yield "a projected token for two services, one of them listed", projected(audience("listed.example.org,vault.example.org"))
    yield "a projected token as the last of three", projected({"downwardAPI": {"items": []}}, {"downwardAPI": {}}, token)


def foreign(scene):
    """Secrets, ConfigMaps and claims that are not the job's."""
    bob = scene.bob
    key, config = {"name": bob["secret"], "key": "key"}, {"name": bob["configmap"], "key": "key"}
    yield "bob's secret as a volume", volume({"secret": {"secretName": bob["secret"]}})
    yield "the secret of bob's job as a volume", volume({"secret": {"secretName": f"ssa-job-{bob['job']}"}})
    yield "a volume of a secret that may be missing", volume({"secret": {"secretName": "not-there-yet", "optional": True}})
    yield "bob's secret in a variable", env({"name": "S", "valueFrom": {"secretKeyRef": key}})
    rpc = {"name": f"ssa-job-{bob['job']}", "key": "auth", "optional": True}
    yield "the RPC secret of bob's job in a variable", env({"name": "S", "valueFrom": {"secretKeyRef": rpc}})
    yield "bob's secret as all variables", {FIRST + "envFrom/-": {"secretRef": {"name": bob["secret"]}}}
    yield "bob's configmap in a variable", env({"name": "S", "valueFrom": {"configMapKeyRef": config}})
    yield "bob's configmap as all variables", {FIRST + "envFrom/-": {"configMapRef": {"name": bob["configmap"]}}}
    yield "bob's configmap as a volume", volume({"configMap": {"name": bob["configmap"]}})
    yield "bob's secret in a projected volume", projected({"secret": {"name": bob["secret"]}})
    yield "bob's configmap in a projected volume", projected({"configMap": {"name": bob["configmap"]}})
    bundle = {"signerName": "example.org/x", "path": "ca.pem", "optional": True}
    yield "a signer's bundle in a projected volume", projected({"clusterTrustBundle": bundle})
    certificate = {"signerName": "kubernetes.io/kube-apiserver-client-pod", "keyType": "ECDSAP256", "credentialBundlePath": "c"}
    yield "a certificate for the API server in a projected volume", projected({"podCertificate": certificate})
    yield "bob's secret to pull images with", {"/spec/imagePullSecrets/-": {"name": bob["secret"]}}
    yield "bob's claim", volume({"persistentVolumeClaim": {"claimName": bob["claim"]}})
    yield "bob's claim, read-only", volume({"persistentVolumeClaim": {"claimName": bob["claim"], "readOnly": True}})
    yield "bob's claim as a block device", {
        "/spec/volumes/-": {"name": "v", "persistentVolumeClaim": {"claimName": bob["claim"]}},
        FIRST + "volumeDevices/-": {"name": "v", "devicePath": "/dev/x"},
    }
    yield "an account's role in a cloud by annotation", {NOTES + "iam.amazonaws.com~1role": "admin"}
    yield "another network by annotation", {NOTES + "k8s.v1.cni.cncf.io~1networks": "kube-system/host"}
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    yield "an ephemeral volume", volume({"ephemeral": {"volumeClaimTemplate": {"spec": spec}}})
    yield "a CSI volume", volume({"csi": {"driver": "secrets-store.csi.k8s.io", "volumeAttributes": {"secretProviderClass": "bob"}}})
    yield "an image as a volume", volume({"image": {"reference": "localhost/pause:bench"}})
    yield "bob's device", {"/spec/resourceClaims/-": {"name": "d", "resourceClaimName": "bobs-device"}}


def scheduling(scene):
    """Where it runs, before whom, and past which taints."""
    bob = {"labelSelector": {"matchLabels": {JOB: scene.bob["job"]}}, "topologyKey": "kubernetes.io/hostname"}
    avoid = "/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution/-"
    yield "a node of its choice", {"/spec/nodeName": scene.node}
    yield "keeps bob's pods off its node", {avoid: bob}
    for name in ("system-node-critical", "system-cluster-critical"):
        yield f"priority class {name}", {"/spec/priorityClassName": name}
    yield "tolerates every taint", toleration({"operator": "Exists"})
    yield "tolerates every NoExecute taint", toleration({"operator": "Exists", "effect": "NoExecute"})
    yield "tolerates the control plane", toleration({"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"})
    yield "tolerates another team's nodes", toleration({"key": "team", "value": "b", "effect": "NoSchedule"})
    yield "another scheduler", {"/spec/schedulerName": "ssa-attack"}
    yield "another runtime class", {"/spec/runtimeClassName": scene.runtime_class}


def images(scene):
    """Other images than the namespace lists; the list is `image`, `example.org/team/*`."""
    plain = {"name": "second", "command": ["id"], "securityContext": scene.template["spec"]["containers"][0]["securityContext"]}
    for image in (
        "localhost/pause:bench",
        scene.image + "-evil",
        "evil.example.org/" + scene.image,
        scene.image.split(":")[0],
        scene.image.split(":")[0] + "@sha256:" + "0" * 64,
        "example.org/teamster/spark",
        "evil.example.org/example.org/team/spark",
    ):
        yield f"image {image}", {FIRST + "image": image}
    yield "another image in a second container", {"/spec/containers/-": {**plain, "image": "localhost/pause:bench"}}
    yield "another image in an init container", {"/spec/initContainers/-": {**plain, "image": "localhost/pause:bench"}}


def node(scene):
    """The node's files, network and processes."""
    yield "the node's root as a volume", volume({"hostPath": {"path": "/"}})
    yield "the kubelet's pods as a volume", volume({"hostPath": {"path": "/var/lib/kubelet/pods", "type": "Directory"}})
    yield "the container runtime's socket", volume({"hostPath": {"path": "/run/containerd/containerd.sock", "type": "Socket"}})
    yield "the node's network", {"/spec/hostNetwork": True}
    yield "the node's processes", {"/spec/hostPID": True}
    yield "the node's IPC", {"/spec/hostIPC": True}
    yield "a port of the node's", {FIRST + "ports/-": {"containerPort": 8080, "hostPort": 8080}}
    yield "a port of the node's loopback", {FIRST + "ports/-": {"containerPort": 8080, "hostPort": 8080, "hostIP": "127.0.0.1"}}
    probe = {"httpGet": {"host": "169.254.169.254", "port": 80, "path": "/"}}
    yield "a probe that the kubelet sends elsewhere", {FIRST + "livenessProbe": probe}
    yield "a TCP probe that the kubelet sends elsewhere", {FIRST + "readinessProbe": {"tcpSocket": {"host": "127.0.0.1", "port": 10250}}}
    yield "a hook that the kubelet sends elsewhere", {FIRST + "lifecycle/postStart": probe}


def security(scene):
    """Root, privileges, profiles."""
    context = "/spec/securityContext/"
    free = {SECURITY + "allowPrivilegeEscalation": True}
    yield "privileged", {**free, SECURITY + "privileged": True}
    yield "privilege escalation", free
    for capability in ("NET_RAW", "NET_ADMIN", "SYS_PTRACE", "ALL"):
        yield f"capability {capability}", {SECURITY + "capabilities/add": [capability]}
    yield "capability SYS_ADMIN", {**free, SECURITY + "capabilities/add": ["SYS_ADMIN"]}
    yield "an unmasked /proc", {SECURITY + "procMount": "Unmasked", "/spec/hostUsers": False}
    yield "root", {context + "runAsUser": 0, context + "runAsNonRoot": False}
    yield "root in its container", {SECURITY + "runAsUser": 0, SECURITY + "runAsNonRoot": False}
    yield "uid 0 where it says it is not root", {SECURITY + "runAsUser": 0}
    yield "no system call filter", {context + "seccompProfile": {"type": "Unconfined"}}
    yield "no system call filter in its container", {SECURITY + "seccompProfile": {"type": "Unconfined"}}
    yield "no AppArmor", {SECURITY + "appArmorProfile": {"type": "Unconfined"}}
    yield "no AppArmor by annotation", {NOTES + "container.apparmor.security.beta.kubernetes.io~1executor": "unconfined"}
    yield "another SELinux user", {SECURITY + "seLinuxOptions": {"user": "system_u", "role": "system_r", "type": "spc_t"}}
    yield "a kernel setting", {context + "sysctls": [{"name": "kernel.msgmax", "value": "1"}]}


def volumes(scene):
    """One volume of each other type that a pod can have."""
    secret = {"name": scene.bob["secret"]}
    for kind, source in {
        "nfs": {"server": "10.0.0.1", "path": "/"},
        "iscsi": {"targetPortal": "10.0.0.1", "iqn": "iqn.2001-04.com.example:x", "lun": 0},
        "glusterfs": {"endpoints": "x", "path": "x"},
        "rbd": {"monitors": ["10.0.0.1"], "image": "x", "secretRef": secret},
        "cephfs": {"monitors": ["10.0.0.1"], "secretRef": secret},
        "flexVolume": {"driver": "example.org/x", "secretRef": secret},
        "fc": {"targetWWNs": ["50060e801049cfd1"], "lun": 0},
        "azureFile": {"secretName": secret["name"], "shareName": "x"},
        "azureDisk": {"diskName": "x", "diskURI": "https://x.example.org/x"},
        "awsElasticBlockStore": {"volumeID": "x"},
        "gcePersistentDisk": {"pdName": "x"},
        "cinder": {"volumeID": "x", "secretRef": secret},
        "portworxVolume": {"volumeID": "x"},
        "quobyte": {"registry": "x:1", "volume": "x"},
        "scaleIO": {"gateway": "x", "system": "x", "secretRef": secret, "volumeName": "x"},
        "vsphereVolume": {"volumePath": "x"},
        "gitRepo": {"repository": "https://x.example.org/x"},
    }.items():
        yield f"a volume of type {kind}", volume({kind: source})


def beside(scene):
    """The same through other containers than Spark's, which a check of the first one misses."""
    good = scene.template["spec"]["containers"][0]["securityContext"]
    extra = {"name": "extra", "image": scene.image, "command": ["id"], "securityContext": good}
    secret = {"name": "S", "valueFrom": {"secretKeyRef": {"name": scene.bob["secret"], "key": "key"}}}
    bad = [
        ("policy", "bob's secret in a variable", {**extra, "env": [secret]}),
        ("policy", "bob's secret as all variables", {**extra, "envFrom": [{"secretRef": {"name": scene.bob["secret"]}}]}),
        ("level", "privileged", changed(extra, {"/securityContext/privileged": True, "/securityContext/allowPrivilegeEscalation": True})),
        ("level", "a capability", changed(extra, {"/securityContext/capabilities/add": ["NET_RAW"]})),
        ("level", "root", changed(extra, {"/securityContext/runAsUser": 0, "/securityContext/runAsNonRoot": False})),
        ("level", "a port of the node's", {**extra, "ports": [{"containerPort": 8081, "hostPort": 8081}]}),
    ]
    for where in ("containers", "initContainers"):
        yield Attempt(f"allowed: one more of {where}", "nobody", "POST", scene.pods, scene.pod({f"/spec/{where}/-": extra}))
        for stop, what, container in bad:
            yield Attempt(f"{where}: {what}", stop, "POST", scene.pods, scene.pod({f"/spec/{where}/-": container}))
    sidecar = {**bad[2][2], "restartPolicy": "Always"}
    yield Attempt("a privileged sidecar", "level", "POST", scene.pods, scene.pod({"/spec/initContainers/-": sidecar}))
    body = scene.pod({"/spec/ephemeralContainers/-": {"name": "e", "image": scene.image}})
    yield Attempt("a debug container from the start", "server", "POST", scene.pods, body)
    mirror = {NOTES + "kubernetes.io~1config.mirror": "x", "/spec/nodeName": scene.node, "/spec/serviceAccountName": None}
    yield Attempt("a mirror of a static pod", "policy", "POST", scene.pods, scene.pod(mirror))
    body = scene.pod({"/spec/serviceAccountName": "nobodys"})
    yield Attempt("an account that does not exist", "server", "POST", scene.pods, body)


def forms(scene):
    """The same request in other forms."""
    import json

    bobs = scene.pod({LABEL: scene.bob["job"]})
    yield Attempt("bob's label in a dry run", "policy", "POST", scene.pods + "?dryRun=All", bobs)
    yield Attempt("bob's label without validation of fields", "policy", "POST", scene.pods + "?fieldValidation=Ignore", bobs)
    yield Attempt("bob's label as YAML", "policy", "POST", scene.pods, json.dumps(bobs).encode(), kind="application/yaml")
    own, other = (f'"{JOB}": "{job}"' for job in (scene.job, scene.bob["job"]))
    twice = json.dumps(scene.pod()).replace(own, f"{own}, {other}").encode()
    yield Attempt("two labels, bob's last", "policy", "POST", scene.pods, twice)
    pods = {"apiVersion": "v1", "kind": "PodList", "items": [bobs]}
    yield Attempt("a list of pods", "server", "POST", scene.pods, pods)
    yield Attempt("a version that does not exist", "server", "POST", scene.pods.replace("/v1/", "/v2/"), bobs)


def deletes(scene):
    """Deletes of what is not the job's, each by itself and in collections. [68]"""
    bobs, team = f"{scene.pods}/{scene.bob['pod']}", f"{scene.pods}/team-service"
    idle = f"{scene.pods}/{scene.bob['idle_pod']}"
    now = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}
    selector = f"{scene.pods}?labelSelector=spark-submit-as%2Fjob%3D{scene.bob['job']}"

    def stopped(name, path, body=None):
        return Attempt(name, "policy", "DELETE", path, body)

    yield stopped("delete bob's executor", bobs)
    yield stopped("delete bob's other pod", idle)
    yield stopped("delete the team's pod", team)
    yield stopped("delete bob's executor at once", bobs, now)
    yield stopped("delete bob's executor, a grace in the address", bobs + "?gracePeriodSeconds=0")
    for policy in ("Orphan", "Foreground", "Background"):
        yield stopped(f"delete bob's executor, {policy}", bobs, {**now, "propagationPolicy": policy})
    yield stopped("delete bob's executor by its uid", bobs, {**now, "preconditions": {"uid": scene.bob["pod_uid"]}})
    yield stopped("delete bob's executor, dry run", bobs + "?dryRun=All")
    yield stopped("delete bob's pods by label", selector)
    yield stopped("delete bob's pods by label at once", selector, now)
    yield stopped("delete bob's pods by Spark's label", f"{scene.pods}?labelSelector=spark-app-selector%3D{scene.bob['job']}")
    yield stopped("delete bob's executor by a field", f"{scene.pods}?fieldSelector=metadata.name%3D{scene.bob['pod']}")
    yield stopped("delete all executors", f"{scene.pods}?labelSelector=spark-role%3Dexecutor")
    yield stopped("delete all but its own", f"{scene.pods}?labelSelector=spark-submit-as%2Fjob%21%3D{scene.job}")
    yield stopped("delete all pods", scene.pods)
    yield stopped("delete all pods at once", scene.pods, now)
    yield stopped("delete all pods, dry run", scene.pods + "?dryRun=All")
    own = f"{scene.pods}?labelSelector=spark-submit-as%2Fjob%3D{scene.job}"
    yield Attempt("allowed: delete its own pods by label", "nobody", "DELETE", own)


def open_reads(scene):
    """What stays possible, because RBAC knows no labels and admission sees no reads (SECURITY.md)."""
    yield Attempt("stays possible: list the namespace's pods", "nobody", "GET", scene.pods)
    yield Attempt("stays possible: get bob's pod", "nobody", "GET", f"{scene.pods}/{scene.bob['pod']}")
    yield Attempt("stays possible: watch the namespace's pods", "nobody", "GET", f"{scene.pods}?watch=1&timeoutSeconds=1")
    yield Attempt("stays possible: discovery", "nobody", "GET", "/apis")
    yield Attempt("stays possible: the API server's version", "nobody", "GET", "/version")


def volume(source):
    return {"/spec/volumes/-": {"name": "v", **source}, FIRST + "volumeMounts/-": {"name": "v", "mountPath": "/v"}}


def projected(*sources):
    return volume({"projected": {"sources": list(sources)}})


def env(variable):
    return {FIRST + "env/-": variable}


def toleration(value):
    return {"/spec/tolerations/-": value}
