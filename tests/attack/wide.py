"""The same job when an administrator's role is wider than the shipped one: what is left is the policy alone. [68]

The test binds the job's account to a role with update and patch on pods and with every subresource of theirs.
"""
from api import APPLY, JSON_PATCH, MERGE, STRATEGIC, Attempt, changed

KEY = "spark-submit-as~1job"


def attempts(scene, own_pod):
    yield from relabelling(scene, own_pod)
    yield from of_own(scene, own_pod["metadata"]["name"])
    yield from of_others(scene)
    yield from subresources(scene)


def stopped(name, method, path, body=None, **more):
    return Attempt(name, "policy", method, path, body, **more)


def labels(**labels):
    return {"metadata": {"labels": labels}}


def relabelling(scene, own_pod):
    name = own_pod["metadata"]["name"]
    # Without a version a replace is unconditional.
    own_pod = changed(own_pod, {"/metadata/resourceVersion": None})
    path, key, bob = f"{scene.pods}/{name}", "spark-submit-as/job", scene.bob["job"]
    yield Attempt("allowed: a label of Spark's on its own pod", "nobody", "PATCH", path, labels(**{"spark-exec-inactive": "true"}), kind=MERGE)
    yield stopped("wide: bob's label on its own pod, merge patch", "PATCH", path, labels(**{key: bob}), kind=MERGE)
    yield stopped("wide: bob's label on its own pod, strategic patch", "PATCH", path, labels(**{key: bob}), kind=STRATEGIC)
    patch = [{"op": "replace", "path": f"/metadata/labels/{KEY}", "value": bob}]
    yield stopped("wide: bob's label on its own pod, JSON patch", "PATCH", path, patch, kind=JSON_PATCH)
    patch = [{"op": "test", "path": f"/metadata/labels/{KEY}", "value": scene.job}, {"op": "remove", "path": f"/metadata/labels/{KEY}"}]
    yield stopped("wide: its label removed, JSON patch", "PATCH", path, patch, kind=JSON_PATCH)
    applied = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {key: bob}}}
    yield stopped("wide: bob's label on its own pod, apply", "PATCH", f"{path}?fieldManager=x&force=true", applied, kind=APPLY)
    yield stopped("wide: bob's label on its own pod, dry run", "PATCH", f"{path}?dryRun=All", labels(**{key: bob}), kind=MERGE)
    whole = changed(own_pod, {f"/metadata/labels/{KEY}": bob})
    yield stopped("wide: bob's label on its own pod, replace", "PUT", path, whole)
    whole = changed(own_pod, {f"/metadata/labels/{KEY}": None})
    yield stopped("wide: its label removed, replace", "PUT", path, whole)
    new = changed(scene.pod(), {f"/metadata/labels/{KEY}": bob})
    applied = f"{scene.pods}/{new['metadata']['name']}?fieldManager=x&force=true"
    yield stopped("wide: a new pod with bob's label by apply", "PATCH", applied, new, kind=APPLY)


def of_own(scene, name):
    path = f"{scene.pods}/{name}"
    owner = {"apiVersion": "v1", "kind": "ServiceAccount", "name": f"ssa-job-{scene.bob['job']}", "uid": scene.bob["job_account_uid"]}
    yield stopped("wide: its label removed", "PATCH", path, labels(**{"spark-submit-as/job": None}), kind=MERGE)
    yield stopped("wide: its label emptied", "PATCH", path, labels(**{"spark-submit-as/job": ""}), kind=MERGE)
    yield stopped("wide: into a service of the team's", "PATCH", path, labels(app="team-service"), kind=MERGE)
    yield stopped("wide: into bob's driver's executors", "PATCH", path, labels(**{"spark-app-selector": scene.bob["job"]}), kind=MERGE)
    yield stopped("wide: owned by bob's account", "PATCH", path, {"metadata": {"ownerReferences": [owner]}}, kind=MERGE)
    yield stopped("wide: owned by bob's account as well", "PATCH", path, {"metadata": {"ownerReferences": [owner]}}, kind=STRATEGIC)
    yield stopped("wide: a finalizer", "PATCH", path, {"metadata": {"finalizers": ["example.org/never"]}}, kind=MERGE)
    image = {"spec": {"containers": [{"name": "executor", "image": "localhost/pause:bench"}]}}
    yield stopped("wide: another image", "PATCH", path, image, kind=STRATEGIC)
    toleration = [{"op": "add", "path": "/spec/tolerations/-", "value": {"operator": "Exists"}}]
    yield stopped("wide: tolerates every taint", "PATCH", path, toleration, kind=JSON_PATCH)


def of_others(scene):
    note = {"metadata": {"annotations": {"a": "b"}}}
    for whose, name in (("bob's executor", scene.bob["pod"]), ("bob's other pod", scene.bob["idle_pod"]), ("the team's pod", "team-service")):
        path = f"{scene.pods}/{name}"
        yield stopped(f"wide: annotate {whose}", "PATCH", path, note, kind=MERGE)
        yield stopped(f"wide: its own label on {whose}", "PATCH", path, labels(**{"spark-submit-as/job": scene.job}), kind=MERGE)
        patch = [{"op": "add", "path": f"/metadata/labels/{KEY}", "value": scene.job}]
        yield stopped(f"wide: its own label on {whose}, JSON patch", "PATCH", path, patch, kind=JSON_PATCH)
        yield stopped(f"wide: a finalizer on {whose}", "PATCH", path, {"metadata": {"finalizers": ["example.org/never"]}}, kind=MERGE)
        yield stopped(f"wide: {whose} without an owner", "PATCH", path, {"metadata": {"ownerReferences": [], "annotations": {"c": "d"}}}, kind=MERGE)
        yield stopped(f"wide: {whose} ends in a second", "PATCH", path, {"spec": {"activeDeadlineSeconds": 1}}, kind=MERGE)
    path = f"{scene.pods}/{scene.bob['pod']}"
    image = {"spec": {"containers": [{"name": "executor", "image": "localhost/pause:bench"}]}}
    yield stopped("wide: another image into bob's executor", "PATCH", path, image, kind=STRATEGIC)
    yield stopped("wide: bob's label removed", "PATCH", path, labels(**{"spark-submit-as/job": None}), kind=MERGE)


def subresources(scene):
    path, name = f"{scene.pods}/{scene.bob['pod']}", scene.bob["pod"]
    spy = {"name": "spy", "image": scene.image, "command": ["id"], "securityContext": scene.template["spec"]["containers"][0]["securityContext"]}
    debug = {"spec": {"ephemeralContainers": [spy]}}
    yield stopped("wide: a debug container in bob's executor", "PATCH", f"{path}/ephemeralcontainers", debug, kind=STRATEGIC)
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    yield stopped("wide: evict bob's executor", "POST", f"{path}/eviction", eviction)
    yield stopped("wide: bob's executor has failed", "PATCH", f"{path}/status", {"status": {"reason": "x"}}, kind=MERGE)
    smaller = {"spec": {"containers": [{"name": "executor", "resources": {"requests": {"cpu": "99m"}}}]}}
    yield stopped("wide: resize bob's executor", "PATCH", f"{path}/resize", smaller, kind=STRATEGIC)
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": scene.bob["idle_pod"]}}
    binding["target"] = {"apiVersion": "v1", "kind": "Node", "name": scene.node}
    yield stopped("wide: bind bob's other pod to a node", "POST", f"{scene.pods}/{scene.bob['idle_pod']}/binding", binding)
    yield stopped("wide: exec in bob's executor", "POST", f"{path}/exec?command=id&stdout=1")
    yield stopped("wide: exec in bob's executor by GET", "GET", f"{path}/exec?command=id&stdout=1")
    yield stopped("wide: attach to bob's executor", "POST", f"{path}/attach?stdout=1")
    yield stopped("wide: HTTP to bob's executor", "GET", f"{path}/proxy/")
    yield stopped("wide: forward a port to bob's executor", "POST", f"{path}/portforward?ports=7079")
