# The cluster: one control plane and one node, started as plain processes. Sourced by bench.

DAEMONS=(etcd kube-apiserver kube-controller-manager kube-scheduler containerd kubelet kube-proxy netpolicy)
PKI=$RUN/pki
ADMIN=$RUN/admin.kubeconfig
AUDIT_LOG=$RUN/log/audit.log

# Every pod's processes are below this cgroup, so that `down` finds them without asking anyone.
CGROUP=spark-submit-as-bench

# Places that containerd and the kubelet have built in. They see folders of $RUN there instead,
# in a mount namespace of their own: a containerd or kubelet of the host's is not disturbed,
# and all mounts are gone with the last process that is in it (mount_namespaces(7)).
BUILT_IN_SOURCE=$RUN/private/built-in
BUILT_IN=(/run/containerd /var/lib/cni /var/lib/kubelet /var/log/containers)

node() { "$CACHE/bin/node" "$@"; }
kubectl() { node kubectl --kubeconfig "$ADMIN" "$@"; }
ctr() { command ctr --address "$RUN/containerd.sock" --namespace k8s.io "$@"; }

# --- build ---

build_node() {
    local source=$BENCH/node sum version major minor flags
    sum=$(cat "$source"/{go.mod,go.sum,main.go,pause/pause.c} | checksum)
    ! is_current "$CACHE/bin/stamp" "$sum" || return 0
    # go.mod says which Kubernetes this is; without these flags its API reports no version.
    version=$(sed -n 's/^\tk8s.io\/kubernetes //p' "$source/go.mod")
    IFS=.v read -r _ major minor _ <<<"$version"
    flags=$(printf -- '-X k8s.io/component-base/version.%s ' \
        "gitVersion=$version" "gitMajor=$major" "gitMinor=$minor")
    command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
    command -v go >/dev/null || die "Go is needed to build Kubernetes $version"
    say "building Kubernetes $version (minutes the first time)"
    mkdir -p "$CACHE/bin"
    (cd "$source" && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w $flags" -o "$CACHE/bin/node.new" . 9>&-) ||
        die "the build failed"
    mv "$CACHE/bin/node.new" "$CACHE/bin/node" # a running program cannot be overwritten
    gcc -static -Os -s -o "$CACHE/bin/pause" "$source/pause/pause.c"
    echo "$sum" >"$CACHE/bin/stamp"
}

# --- identities ---

# certificate NAME SUBJECT [SUBJECT-ALT-NAMES] : a key and a certificate signed by the cluster's CA.
certificate() {
    local name=$PKI/$1 san=${3:-}
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
        -keyout "$name.key" -out "$name.csr" -subj "$2" 2>/dev/null
    openssl x509 -req -in "$name.csr" -CA "$PKI/ca.crt" -CAkey "$PKI/ca.key" -days 30 -out "$name.crt" \
        -extfile <(echo "extendedKeyUsage=serverAuth,clientAuth"
            [[ -z $san ]] || echo "subjectAltName=$san") 2>/dev/null
}

# kubeconfig NAME FILE : for the certificate NAME, everything inline.
kubeconfig() {
    cat >"$2" <<YAML
apiVersion: v1
kind: Config
current-context: bench
contexts: [{name: bench, context: {cluster: bench, user: $1}}]
clusters:
- name: bench
  cluster:
    server: $SERVER
    certificate-authority-data: $(base64 -w0 "$PKI/ca.crt")
users:
- name: $1
  user:
    client-certificate-data: $(base64 -w0 "$PKI/$1.crt")
    client-key-data: $(base64 -w0 "$PKI/$1.key")
YAML
}

make_identities() {
    local component
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=bench-ca \
        -keyout "$PKI/ca.key" -out "$PKI/ca.crt" 2>/dev/null
    openssl ecparam -name prime256v1 -genkey -noout -out "$PKI/service-account.key"
    openssl ec -in "$PKI/service-account.key" -pubout -out "$PKI/service-account.pub" 2>/dev/null
    # 10.96.0.1 is the first address of the service range: the API server's own service.
    certificate apiserver /CN=kube-apiserver \
        "IP:$BRIDGE_ADDRESS,IP:127.0.0.1,IP:10.96.0.1,DNS:kubernetes,DNS:kubernetes.default.svc"
    certificate apiserver-kubelet /O=system:masters/CN=kube-apiserver-kubelet
    certificate kubelet-server "/CN=$NODE" "IP:$BRIDGE_ADDRESS,DNS:$NODE"
    certificate admin /O=system:masters/CN=bench-admin
    certificate kubelet "/O=system:nodes/CN=system:node:$NODE"
    for component in kube-controller-manager kube-scheduler kube-proxy; do
        certificate "$component" "/CN=system:$component"
        kubeconfig "$component" "$PKI/$component.kubeconfig"
    done
    kubeconfig kubelet "$PKI/kubelet.kubeconfig"
    kubeconfig admin "$ADMIN"
}

# --- network ---

# set_sysctl FILE VALUE : remembers the first value for `down`.
set_sysctl() {
    local saved=$RUN/sysctl/${1//\//_}
    [[ -e $saved ]] || echo "$1 $(<"/proc/sys/$1")" >"$saved"
    echo "$2" >"/proc/sys/$1"
}

make_network() {
    [[ ! -e /sys/class/net/$BRIDGE ]] || die "an interface $BRIDGE exists and is not this bench's"
    ! nft list table ip kube-proxy >/dev/null 2>&1 || die "another kube-proxy works on this machine"
    [[ -d /proc/sys/net/bridge ]] || modprobe br_netfilter
    set_sysctl net/ipv4/ip_forward 1
    # A pod that answers another pod's call to a service does so on the bridge. Unless that
    # passes through netfilter too, the answer keeps the pod's address and is thrown away.
    set_sysctl net/bridge/bridge-nf-call-iptables 1
    set_sysctl net/bridge/bridge-nf-call-ip6tables 1 # NetworkPolicy: else pods' IPv6 goes round every rule
    # What the kubelet sets by itself (its setupKernelTunables), so that `down` can undo it.
    set_sysctl vm/overcommit_memory 1
    set_sysctl vm/panic_on_oom 0
    set_sysctl kernel/panic 10
    set_sysctl kernel/panic_on_oops 1
    set_sysctl kernel/keys/root_maxkeys 1000000
    set_sysctl kernel/keys/root_maxbytes 25000000
    ip link add "$BRIDGE" type bridge
    touch "$RUN/made-bridge"
    ip address add "$BRIDGE_ADDRESS/${POD_SUBNET#*/}" dev "$BRIDGE"
    ip link set "$BRIDGE" up
    # Only the bridge and the services are routed: no pod's traffic leaves the machine.
    # Without portmap, which would leave iptables chains behind; nothing here has a hostPort.
    cat >"$RUN/cni/bench.conflist" <<JSON
{"cniVersion": "1.0.0", "name": "bench", "plugins": [{
  "type": "bridge", "bridge": "$BRIDGE", "isGateway": true, "hairpinMode": true,
  "ipam": {"type": "host-local", "dataDir": "$RUN/ipam",
           "ranges": [[{"subnet": "$POD_SUBNET"}]], "routes": [{"dst": "$SERVICE_SUBNET"}]}}]}
JSON
}

# --- control plane ---

start_control_plane() {
    # On sockets in a folder of root's, as etcd is given no certificates: whoever
    # reaches it is the cluster's admin. The advertised addresses must be host and port, but nobody asks for them.
    start etcd "$CACHE/bin/node" etcd --name bench --data-dir "$RUN/private/etcd" --unsafe-no-fsync --log-level warn \
        --listen-client-urls "unix://$RUN/private/etcd.sock" --advertise-client-urls http://127.0.0.1:2379 \
        --listen-peer-urls "unix://$RUN/private/peer.sock" \
        --initial-advertise-peer-urls http://127.0.0.1:2380 --initial-cluster bench=http://127.0.0.1:2380

    cat >"$RUN/audit-policy.yaml" <<'YAML'
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
YAML
    # The audit log is written before the answer is sent (mode blocking, the default), so a
    # test can read it at once. Two files of 100 MB at most.
    start kube-apiserver "$CACHE/bin/node" kube-apiserver \
        --etcd-servers "unix://$RUN/private/etcd.sock" \
        --bind-address "$BRIDGE_ADDRESS" --advertise-address "$BRIDGE_ADDRESS" --secure-port 6443 \
        --tls-cert-file "$PKI/apiserver.crt" --tls-private-key-file "$PKI/apiserver.key" \
        --client-ca-file "$PKI/ca.crt" \
        --service-account-issuer https://kubernetes.default.svc \
        --service-account-key-file "$PKI/service-account.pub" \
        --service-account-signing-key-file "$PKI/service-account.key" \
        --service-cluster-ip-range "$SERVICE_SUBNET" \
        --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction --allow-privileged \
        --kubelet-client-certificate "$PKI/apiserver-kubelet.crt" --kubelet-client-key "$PKI/apiserver-kubelet.key" \
        --kubelet-certificate-authority "$PKI/ca.crt" --kubelet-preferred-address-types InternalIP \
        --audit-policy-file "$RUN/audit-policy.yaml" --audit-log-path "$AUDIT_LOG" \
        --audit-log-maxsize 100 --audit-log-maxbackup 1

    # Both try again until the API server answers.
    start kube-controller-manager "$CACHE/bin/node" kube-controller-manager --bind-address 127.0.0.1 \
        --kubeconfig "$PKI/kube-controller-manager.kubeconfig" --leader-elect=false --use-service-account-credentials \
        --root-ca-file "$PKI/ca.crt" --service-account-private-key-file "$PKI/service-account.key" \
        --cluster-signing-cert-file "$PKI/ca.crt" --cluster-signing-key-file "$PKI/ca.key" \
        --flex-volume-plugin-dir "$RUN/private/plugins"
    start kube-scheduler "$CACHE/bin/node" kube-scheduler --bind-address 127.0.0.1 \
        --kubeconfig "$PKI/kube-scheduler.kubeconfig" --leader-elect=false
}

# --- node ---

# Images and layers are kept in the cache, so that they are imported once only.
start_containerd() {
    local place
    cat >"$RUN/containerd.toml" <<TOML
version = 2
root = "$CACHE/containerd"
state = "$RUN/containerd"
# opt would make /opt/containerd; the others need tools or file systems that are not here.
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "$RUN/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:bench"
  netns_mounts_under_state_dir = true
  # Without CAP_SYS_RESOURCE (a bench in a container or a small VM) the kernel refuses the
  # negative oom_score_adj of a sandbox, and no pod starts.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$RUN/cni"
TOML
    for place in "${BUILT_IN[@]}"; do
        mkdir -p "$place" "$BUILT_IN_SOURCE$place"
    done
    # shellcheck disable=SC2016 # the inner shell expands these
    start containerd unshare --mount --propagation private sh -euc '
        base=$1 config=$2; shift 2
        for place; do mount --bind "$base$place" "$place"; done
        exec containerd --config "$config" --log-level warn' \
        sh "$BUILT_IN_SOURCE" "$RUN/containerd.toml" "${BUILT_IN[@]}"
    wait_for containerd 20 ctr version
    # Left by a machine that was switched off; their processes are gone.
    remove_containers
    has_image localhost/pause:bench || import_pause
}

start_kubelet() {
    local controller
    for controller in /sys/fs/cgroup /sys/fs/cgroup/*/; do
        # On cgroup v1 each controller is a mount; on v2 there is one for all.
        [[ ! -e $controller/cgroup.procs ]] || mkdir -p "$controller/$CGROUP"
    done
    cat >"$RUN/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $BRIDGE_ADDRESS
readOnlyPort: 0
healthzPort: 0
tlsCertFile: $PKI/kubelet-server.crt
tlsPrivateKeyFile: $PKI/kubelet-server.key
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $PKI/ca.crt}}
authorization: {mode: Webhook}
containerRuntimeEndpoint: unix://$RUN/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP
failCgroupV1: false
failSwapOn: false
localStorageCapacityIsolation: false
maxPods: 250
podLogsDir: $RUN/log/pods
volumePluginDir: $RUN/private/plugins
# kube-proxy works with nftables; iptables chains would only be left behind.
makeIPTablesUtilChains: false
# There is no name server; without this, pods would wait for the host's, out of their reach.
resolvConf: ""
# A nearly full disk is no reason to end a test's pods or to throw the images away.
evictionHard: {memory.available: 50Mi, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 100
YAML
    start kubelet nsenter "--mount=/proc/$(pid_of containerd)/ns/mnt" "$CACHE/bin/node" kubelet \
        --config "$RUN/kubelet.yaml" --kubeconfig "$PKI/kubelet.kubeconfig" --root-dir "$RUN/kubelet" \
        --hostname-override "$NODE" --node-ip "$BRIDGE_ADDRESS"
}

start_kube_proxy() {
    # The limits of conntrack are the host's business: 0 leaves them alone.
    cat >"$RUN/kube-proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: $PKI/kube-proxy.kubeconfig}
hostnameOverride: $NODE
clusterCIDR: $POD_SUBNET
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
YAML
    start kube-proxy "$CACHE/bin/node" kube-proxy --config "$RUN/kube-proxy.yaml"
}

# --- whole ---

cluster_is_up() {
    local daemon
    for daemon in "${DAEMONS[@]}"; do
        pid_of "$daemon" >/dev/null || return 1
    done
}

start_cluster() {
    mkdir -p "$RUN"/{log,pids,sysctl,cni,containerd}
    (umask 077 && mkdir -p "$PKI" "$BUILT_IN_SOURCE")
    say "starting the control plane"
    make_network
    (umask 077 && make_identities)
    start_control_plane
    say "starting the node"
    start_containerd
    wait_for "the API server" 60 kubectl get --raw /readyz
    start_kubelet
    start_kube_proxy
    start_netpolicy
}

wait_for_cluster() {
    wait_for "the node" 60 kubectl get node "$NODE"
    kubectl wait --for=condition=Ready --timeout=60s "node/$NODE" >/dev/null || die "the node is not Ready; see $RUN/log"
    wait_for "the default service account" 30 kubectl -n default get serviceaccount default
    wait_for "the service rules" 30 nft list table ip kube-proxy
    wait_for_netpolicy
}

remove_containers() {
    local container
    for container in $(ctr containers list -q); do
        ctr tasks delete --force "$container" >/dev/null 2>&1 || true
        ctr containers delete "$container" >/dev/null 2>&1 || true
    done
}

# Ends the processes of all pods, whatever containerd knows about them.
empty_cgroup() {
    local group
    for group in /sys/fs/cgroup/{,*/}"$CGROUP"; do
        [[ -d $group ]] || continue
        # shellcheck disable=SC2038 # what is piped are numbers
        find "$group" -name cgroup.procs -exec cat {} + 2>/dev/null | xargs -r kill -KILL 2>/dev/null || true
        # The kernel lets go of a process a moment after its end.
        wait_for "$group to be empty" 10 remove_group "$group"
    done
}
remove_group() { find "$1" -depth -type d -exec rmdir {} + ; [[ ! -d $1 ]]; }

# Shims outlive containerd. They are known by their mounts: nobody else is in that mount
# namespace. (mountinfo names a path inside its file system, and /run may be one: proc(5).)
end_shims() {
    local pid
    while IFS=/ read -r _ _ pid _; do
        kill -KILL "$pid" 2>/dev/null || true
    done < <(grep -ls "${BUILT_IN_SOURCE#/run}/" /proc/[0-9]*/mountinfo)
}

stop_cluster() {
    local file value
    # Their data ends with them, so they need no time to finish. The kubelet must not see the
    # containers go: it would start them again.
    stop KILL "${SERVICES[@]}" netpolicy kubelet kube-proxy kube-scheduler kube-controller-manager kube-apiserver etcd
    ! pid_of containerd >/dev/null || remove_containers
    stop TERM containerd
    end_shims
    empty_cgroup
    # A veth goes with its pod's network namespace, and that with the mount namespace.
    [[ ! -e $RUN/made-bridge ]] || ip link delete "$BRIDGE" 2>/dev/null || true
    for file in ip ip6; do
        [[ ! -e $RUN/made-bridge ]] || nft delete table "$file" kube-proxy 2>/dev/null || true
    done
    [[ ! -e $RUN/made-bridge ]] || remove_netpolicy
    for file in "$RUN"/sysctl/*; do
        [[ -e $file ]] || continue
        read -r file value <"$file"
        echo "$value" >"/proc/sys/$file"
    done
    for file in "${BUILT_IN[@]}"; do
        rmdir --ignore-fail-on-non-empty "$file" 2>/dev/null || true
    done
    rm -rf "$RUN"
}
