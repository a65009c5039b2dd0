"""Alice's code sets in Spark, at run time, what the wrapper refuses on the command line. [75, 76]

Arguments: a scene (JSON). Spark makes the request, and its log tells what the API server said.
"""
import json
import os
import re
import sys
import time

from pyspark import SparkConf, SparkContext

from api import JOB, Scene, changed, refused_by, report

EXECUTOR = "spark.kubernetes.executor."


def settings(scene):
    """Name, who has to refuse it, settings, pod template."""
    bob, spark = scene.bob, "spark.kubernetes."
    host = f"{EXECUTOR}volumes.hostPath.v."
    claim = f"{EXECUTOR}volumes.persistentVolumeClaim.v."
    account = spark + "authenticate.executor.serviceAccountName"
    yield "Spark: bob's label", "policy", {f"{EXECUTOR}label.{JOB}": bob["job"]}, None
    yield "Spark: bob's account", "policy", {account: bob["account"]}, None
    yield "Spark: the own job's account", "policy", {account: scene.account}, None
    yield "Spark: bob's secret as a volume", "policy", {f"{EXECUTOR}secrets.{bob['secret']}": "/stolen"}, None
    yield "Spark: bob's secret in a variable", "policy", {f"{EXECUTOR}secretKeyRef.STOLEN": f"{bob['secret']}:key"}, None
    claims = {claim + "mount.path": "/v", claim + "options.claimName": bob["claim"]}
    yield "Spark: bob's claim", "policy", claims, None
    yield "Spark: names like those of bob's executors", "policy", {EXECUTOR + "podNamePrefix": f"spark-{bob['job']}"}, None
    yield "Spark: bob's secret to pull images with", "policy", {spark + "container.image.pullSecrets": bob["secret"]}, None
    yield "Spark: another image", "policy", {spark + "container.image": "localhost/pause:bench"}, None
    yield "Spark: an application of bob's id", "policy", {"spark.app.id": bob["job"]}, None
    volumes = {host + "mount.path": "/v", host + "options.path": "/"}
    yield "Spark: the node's root as a volume", "level", volumes, None
    template = scene.template
    yield "Spark: a template with bob's account", "policy", {account: bob["account"]}, changed(
        template, {"/spec/serviceAccountName": bob["account"], "/spec/automountServiceAccountToken": True}
    )
    yield "Spark: a template with a token", "policy", {}, changed(template, {"/spec/automountServiceAccountToken": True})
    yield "Spark: a template with a finalizer", "policy", {}, changed(template, {"/metadata/finalizers": ["example.org/never"]})
    yield "Spark: a template owned by bob's account", "policy", {}, changed(
        template,
        {"/metadata/ownerReferences/0/name": f"ssa-job-{bob['job']}", "/metadata/ownerReferences/0/uid": bob["job_account_uid"]},
    )
    yield "Spark: a template with the node's network", "level", {}, changed(template, {"/spec/hostNetwork": True})
    yield "Spark: a template without any of it", "level", {}, {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "executor"}]}}
    yield "Spark: another namespace", "rights", {spark + "namespace": "kube-system"}, None
    yield "Spark: its configuration as a configmap", "rights", {EXECUTOR + "disableConfigMap": "false"}, None
    # It wants a driver pod to own the set; the end of the application before it has removed any that was there.
    stateful = {spark + "allocation.pods.allocator": "statefulset", spark + "driver.pod.name": made(scene)}
    yield "Spark: executors by a StatefulSet", "rights", stateful, None


def main():
    scene = Scene(sys.argv[1])
    scene.settle()
    tried = 0
    for name, stop, changes, template in settings(scene):
        if template is not None:
            path = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"template-{tried}.json")
            with open(path, "w") as file:
                json.dump(template, file)
            changes = {**changes, EXECUTOR + "podTemplateFile": path}
        message = attempt(scene, changes)
        status = 403 if "forbidden" in message else 0
        by = refused_by(status, message) if status or not message else "error"
        report(name, stop, json.dumps(changes), status, "nobody" if not message else by, message)
        tried += 1
    print(f"DONE {tried}", flush=True)


def made(scene):
    """The name of a pod of the job's own, which is allowed."""
    answer = scene.cluster.ask("POST", scene.pods, scene.pod())
    if answer.status != 201:
        raise SystemExit(f"a pod as Spark makes them: {answer.status} {answer.message}")
    return answer.body["metadata"]["name"]


def attempt(scene, changes):
    """The first refusal of the API server's after Spark was started with these settings; nothing when there was none."""
    start = os.path.getsize(scene.log) if os.path.exists(scene.log) else 0
    conf = SparkConf()
    # Spark asks for an executor again and again, and ends the program at some number of failures.
    # Its start does not wait for one.
    patient = {"spark.executor.maxNumFailures": "100000", "spark.scheduler.maxRegisteredResourcesWaitingTime": "0s"}
    for key, value in {**patient, **changes}.items():
        conf.set(key, value)
    context, text = None, ""
    try:
        context = SparkContext(conf=conf)
    except Exception as error:  # noqa: BLE001 - whatever Py4J makes of the refusal
        text = str(error)
    try:
        deadline = time.time() + 60
        while time.time() < deadline:
            said = refusal(text) or refusal(logged(scene.log, start))
            if said:
                return said
            if context is None:
                return f"Spark did not start: {text}"
            if executors(context):
                return ""
            time.sleep(0.2)
        return "neither an executor nor a refusal"
    finally:
        if context is not None:
            context.stop()


def logged(path, start):
    if not os.path.exists(path):
        return ""
    with open(path, errors="replace") as file:
        file.seek(start)
        return file.read()


def refusal(text):
    """What the API server said, in an exception of its client."""
    found = re.search(r"Message: ([^\n]*forbidden[^\n]*)", text)
    return found.group(1) if found else ""


def executors(context):
    return len(context._jsc.sc().statusTracker().getExecutorInfos()) > 1


main()
