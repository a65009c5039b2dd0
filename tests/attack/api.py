"""The cluster as a thief sees it: the standard library and the job's own kubeconfig, nothing else."""
import base64
import copy
import json
import os
import ssl
import time
import urllib.error
import urllib.request

POLICY = "ValidatingAdmissionPolicy 'spark-submit-as-isolation'"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
JOB = "spark-submit-as/job"


class Answer:
    """Status and body of an answer; status 0 when there was none."""

    def __init__(self, status, body):
        self.status = status
        try:
            self.body = json.loads(body)
        except ValueError:
            self.body = {"message": body.decode(errors="replace")[:400]}
        if not isinstance(self.body, dict):
            self.body = {"message": str(self.body)[:400]}

    @property
    def message(self):
        return self.body.get("message", "") if self.status >= 300 or self.status == 0 else ""


class Cluster:
    """A client with the token that the kubeconfig has now: it is replaced while a job runs."""

    def __init__(self, path=None):
        self.path = path or os.environ["KUBECONFIG"]
        self.namespace = self.kubeconfig()["contexts"][0]["context"]["namespace"]

    def kubeconfig(self):
        with open(self.path) as file:
            return json.load(file)

    def ask(self, method, path, body=None, kind="application/json", headers=(), token=True):
        config = self.kubeconfig()
        cluster = config["clusters"][0]["cluster"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(cluster["server"] + path, data, method=method)
        request.add_header("Content-Type", kind)
        request.add_header("Accept", "application/json")
        if token:
            bearer = config["users"][0]["user"]["token"] if token is True else token
            request.add_header("Authorization", "Bearer " + bearer)
        for name, value in headers:
            request.add_header(name, value)
        context = ssl.create_default_context(cadata=authority)
        try:
            with urllib.request.urlopen(request, timeout=30, context=context) as answer:
                return Answer(answer.status, answer.read(4_000_000))
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read(100_000))
        except OSError as error:
            return Answer(0, json.dumps({"message": str(error)}).encode())

    def may(self, verb, resource, subresource=""):
        attributes = {"namespace": self.namespace, "verb": verb, "resource": resource, "subresource": subresource}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = self.ask("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
        return answer.body["status"]["allowed"]


def refused_by(status, message):
    """Who refused, from the API server's own words; "nobody" when the request was let through."""
    if 200 <= status < 300:
        return "nobody"
    if status == 401:
        return "login"
    if POLICY in message:
        return "policy"
    if "violates PodSecurity" in message:
        return "level"
    if status == 403 and " cannot " in message:
        return "rights"
    # Authorization and admission have passed: what is missing is a protocol, a listener or an unscheduled pod.
    if any(words in message for words in ("pgrade", "error trying to reach service", "already assigned to node")):
        return "nobody"
    return "server" if 400 <= status < 500 else "error"


class Attempt:
    """A request and who has to refuse it:

    rights  the API server, because the job's role does not say so (RBAC)
    policy  the admission policy, and nobody else
    level   Pod Security where the namespace has a level, the admission policy where it has none
    login   the API server does not know the caller (401)
    server  another rule of the API server's own
    host    the operating system
    nobody  it is allowed: what a job needs, or what SECURITY.md says stays possible
    """

    def __init__(self, name, stop, method, path, body=None, kind="application/json", headers=(), token=True):
        self.name, self.stop, self.method, self.path = name, stop, method, path
        self.body, self.kind, self.headers, self.token = body, kind, headers, token

    def make(self, cluster, dry):
        path, body = self.path, self.body
        # What opens a connection into a pod knows no dry run.
        connects = any(part in path for part in ("/exec?", "/attach?", "/portforward?", "/proxy/"))
        if dry and self.method != "GET" and "dryRun=" not in path and not connects:
            if isinstance(body, dict) and body.get("kind") == "DeleteOptions":
                # Where these are in the body, those in the address are not looked at.
                body = {**body, "dryRun": ["All"]}
            else:
                path += ("&" if "?" in path else "?") + "dryRun=All"
        answer = cluster.ask(self.method, path, body, self.kind, self.headers, self.token)
        by = refused_by(answer.status, answer.message)
        report(self.name, self.stop, f"{self.method} {path}", answer.status, by, answer.message)
        return answer


def report(name, stop, request, status, by, message):
    """One line for one attempt."""
    row = {"name": name, "stop": stop, "request": request, "status": status, "by": by, "message": message[:600]}
    print("ATTEMPT " + json.dumps(row), flush=True)


def changed(value, changes):
    """A copy with changes: JSON pointers to values; "/-" at the end appends, None removes."""
    value = copy.deepcopy(value)
    for pointer, new in changes.items():
        *parents, last = [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
        place = value
        for step, following in zip(parents, [*parents[1:], last]):
            if isinstance(place, list):
                place = place[int(step)]
            else:
                place = place.setdefault(step, [] if following == "-" else {})
        if isinstance(place, list):
            if last == "-":
                place.append(new)
            else:
                place[int(last)] = new
        elif new is None:
            place.pop(last, None)
        else:
            place[last] = new
    return value


class Scene:
    """What the attacker knows: own job, and everything of bob's that a list of pods or a guess tells."""

    def __init__(self, path):
        with open(path) as file:
            self.__dict__.update(json.load(file))
        self.cluster = Cluster()
        directory = os.path.dirname(os.environ["KUBECONFIG"])
        with open(os.path.join(directory, "executor-pod.json")) as file:
            self.template = json.load(file)
        self.job = self.template["metadata"]["labels"][JOB]
        self.account = f"ssa-job-{self.job}"
        self.core = f"/api/v1/namespaces/{self.namespace}"
        self.pods = self.core + "/pods"
        self.count = 900

    def pod(self, changes=None):
        """A pod as the job may make it, and as Spark makes executors, with changes."""
        self.count += 1
        pod = changed(
            self.template,
            {
                "/metadata/name": f"spark-{self.job}-exec-{self.count}",
                "/metadata/labels/spark-app-selector": self.job,
                "/metadata/labels/spark-role": "executor",
                "/metadata/labels/spark-exec-id": str(self.count),
                "/spec/restartPolicy": "Never",
                "/spec/containers/0/image": self.image,
                "/spec/containers/0/imagePullPolicy": "IfNotPresent",
                "/spec/containers/0/command": ["sh", "-c", "trap 'exit 0' TERM; sleep 600 & wait"],
            },
        )
        return changed(pod, changes or {})

    def settle(self):
        """Waits until namespace and policy are what this run is about: the API server learns of a change later."""
        wanted = {"shipped": ("policy", "level"), "bare": ("policy", "policy"), "hole": ("nobody", "nobody")}[self.mode]
        probes = (
            self.pod({f"/metadata/labels/{JOB.replace('/', '~1')}": self.bob["job"]}),
            self.pod({"/spec/hostPID": True}),
        )
        deadline = time.time() + 60
        while time.time() < deadline:
            seen = []
            for body in probes:
                answer = self.cluster.ask("POST", self.pods + "?dryRun=All", body)
                seen.append(refused_by(answer.status, answer.message))
            if tuple(seen) == wanted:
                return
            time.sleep(0.2)
        raise SystemExit(f"the namespace never became {self.mode!r}: probes were stopped by {seen}, not by {wanted}")
