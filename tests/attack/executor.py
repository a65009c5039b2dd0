"""A task on alice's executor tries to get out of its pod; the driver reports what it says.

Arguments: a scene (JSON).
"""
import sys

from pyspark.sql import SparkSession

from api import Scene, report


def escape(scene):
    """Runs in the executor's pod: a list of (name, who has to refuse it, request, status, who did, message)."""
    import concurrent.futures
    import ctypes
    import json
    import os
    import socket
    import ssl
    import urllib.error
    import urllib.request

    rows = []

    def row(name, stop, request, by, message="", status=0):
        rows.append((name, stop, request, status, by, str(message)[:400]))

    # What lies in the pod.
    for root in ("/var/run/secrets", "/run/secrets", "/etc/kubernetes", "/var/lib/kubelet"):
        found = [os.path.join(place, file) for place, _, files in os.walk(root) for file in files]
        row(f"files below {root}", "host", f"find {root}", "nobody" if found else "host", found or "nothing there")
    tokens = []
    for root in ("/etc", "/home", "/mnt", "/opt/spark/work-dir", "/run", "/srv", "/tmp", "/var"):
        for place, _, files in os.walk(root):
            for file in files:
                try:
                    with open(os.path.join(place, file), "rb") as content:
                        head = content.read(65536)
                except OSError:
                    continue
                # A JSON Web Token starts so, and a kubeconfig has a user with one.
                if b"eyJhbGciOi" in head or b"client-key-data" in head:
                    tokens.append(os.path.join(place, file))
    row("a token in any file", "host", "grep eyJhbGciOi", "nobody" if tokens else "host", tokens or "none")
    values = "\0".join(os.environ.values())
    row("bob's secret in the environment", "host", "env", "nobody" if "only-for-bob" in values else "host")
    row("a token in the environment", "host", "env", "nobody" if "eyJhbGciOi" in values else "host")
    words = ("SECRET", "TOKEN", "PASSWORD", "KUBECONFIG", "CREDENTIAL")
    names = sorted(name for name in os.environ if any(word in name.upper() for word in words))
    # Its job's RPC secret, and what PySpark makes up for its own workers.
    own = ("_SPARK_AUTH_SECRET", "PYTHON_WORKER_FACTORY_SECRET")
    foreign = [name for name in names if name not in own]
    row("secrets in the environment beside its job's own", "host", "env", "nobody" if foreign else "host", foreign or names)

    # The kernel.
    with open("/proc/self/status") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    capabilities = {key: status[key] for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    held = any(int(value, 16) for value in capabilities.values())
    row("a capability", "host", "/proc/self/status", "nobody" if held else "host", capabilities)
    row("privileges by exec", "host", "/proc/self/status", "host" if status["NoNewPrivs"] == "1" else "nobody")
    row("no filter of system calls", "host", "/proc/self/status", "host" if status["Seccomp"] == "2" else "nobody")
    row("to be root already", "host", "id", "nobody" if os.getuid() == 0 else "host", os.getuid())
    libc = ctypes.CDLL(None, use_errno=True)

    def call(name, request, *arguments):
        failed = getattr(libc, request)(*arguments) != 0
        row(name, "host", request, "host" if failed else "nobody", os.strerror(ctypes.get_errno()) if failed else "")

    call("to become root", "setuid", 0)
    call("to mount", "mount", b"none", b"/mnt", b"tmpfs", 0, None)
    call("to leave its root directory", "chroot", b"/tmp")
    call("a name space of users", "unshare", 0x10000000)
    call("another host name", "sethostname", b"x", 1)
    for name, request in (
        ("a device of the node's", lambda: os.mknod("/tmp/disk", 0o60600, os.makedev(254, 0))),
        ("a setting of the node's kernel", lambda: open("/proc/sys/kernel/core_pattern", "w")),
        ("the node's memory", lambda: open("/dev/mem", "rb")),
        ("a raw socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)),
        ("a packet socket", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)),
    ):
        try:
            request()
            row(name, "host", "open", "nobody")
        except OSError as error:
            row(name, "host", "open", "host", error)

    # The API server, which it may reach where the network lets it, without a token.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def ask(url, method="GET", body=None, headers=None):
        request = urllib.request.Request(url, body, headers or {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=5, context=context) as answer:
                return answer.status, answer.read(2000).decode(errors="replace")
        except urllib.error.HTTPError as error:
            return error.code, error.read(2000).decode(errors="replace")
        except OSError as error:
            return 0, str(error)

    later = []  # Each waits where the network lets nothing through, so they wait together.

    def anonymous(name, url, method="GET", body=None, headers=None):
        def attempt():
            status, text = ask(url, method, body, headers)
            by = {0: "network", 401: "anonymous", 403: "anonymous"}.get(status, "nobody" if status < 400 else "server")
            row(name, "network" if scene["isolated"] else "anonymous", f"{method} {url}", by, text, status)

        later.append(attempt)

    def closed(name, host, port):
        def attempt():
            try:
                socket.create_connection((host, port), timeout=5).close()
                row(name, "network", f"connect to {host}:{port}", "nobody")
            except OSError as error:
                row(name, "network", f"connect to {host}:{port}", "network", error)

        later.append(attempt)

    pod = json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"containers": [{"name": "c", "image": "x"}]}})
    space, kind = f"/api/v1/namespaces/{scene['namespace']}", {"Content-Type": "application/json"}
    for server in (scene["server"], "https://10.96.0.1"):
        for path in (f"{space}/pods", f"{space}/secrets", f"{space}/secrets/{scene['bob']['secret']}", "/api/v1/nodes", "/metrics"):
            anonymous(f"without a token: {path} of {server}", server + path)
        anonymous(f"without a token: a pod at {server}", f"{server}{space}/pods", "POST", pod.encode(), kind)
        token = f"{server}{space}/serviceaccounts/ssa-executor/token"
        request = json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}})
        anonymous(f"without a token: a token at {server}", token, "POST", request.encode(), kind)
        headers = {"Impersonate-User": "system:admin"}
        anonymous(f"without a token: as system:admin at {server}", f"{server}{space}/secrets", headers=headers)
    kubelet = f"https://{scene['driver_host']}:10250"
    for path in ("/pods", "/configz", "/logs/", "/metrics"):
        anonymous(f"the kubelet's {path}", kubelet + path)
    anonymous("a command by the kubelet", f"{kubelet}/run/{scene['namespace']}/{scene['bob']['pod']}/executor?cmd=id", "POST", b"")
    # Closed whatever the network allows.
    ports = {"the kubelet's read-only port": 10255, "etcd": 2379, "the controller manager": 10257, "the scheduler": 10259}
    for name, port in ports.items():
        closed(name, scene["driver_host"], port)

    # Flows that network policies cut; tests/network.rs shows each of them to work without.
    if scene["isolated"]:
        closed("network: bob's executor", scene["bob"]["pod_ip"], 7079)
        closed("network: bob's driver", scene["driver_host"], scene["bob"]["port"])
        closed("network: the metadata address", "169.254.169.254", 80)

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda attempt: attempt(), later))
    return rows


def main():
    scene = Scene(sys.argv[1])
    scene.settle()
    known = {key: getattr(scene, key) for key in ("namespace", "isolated", "server", "driver_host", "bob")}
    spark = SparkSession.builder.appName("alice").getOrCreate()
    # An exception in a task is the driver's, so nothing of this is silently left out.
    rows = spark.sparkContext.parallelize([known], 1).flatMap(escape).collect()
    spark.stop()
    for values in rows:
        report(*values)
    print(f"DONE {len(rows)}", flush=True)


main()
