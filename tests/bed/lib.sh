# The test bed: this project installed for real beside nothing of the host's own, on a real cluster.
# Sourced by the scripts in this directory.
#
# Everything has a name of its own (prefix, configuration, run directory, accounts), so that a host that also has a
# real installation keeps it.

set -euo pipefail
BED_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BED_PREFIX=/opt/spark-submit-as-testbed
BED_ETC=$BED_PREFIX/etc
BED_CONFIG=$BED_ETC/spark-submit-as/config.yaml
BED_RUN=/run/spark-submit-as-testbed
BED_STATE=/var/lib/spark-submit-as-testbed
BED_LOG=$BED_RUN-log
# A second installation, of a build that kills processes where a test says so (feature fault-points).
FAULTS_PREFIX=/opt/spark-submit-as-faults
FAULTS_ETC=$FAULTS_PREFIX/etc
FAULTS_CONFIG=$FAULTS_ETC/spark-submit-as/config.yaml
FAULTS_RUN=/run/spark-submit-as-faults
FAULTS_STATE=/var/lib/spark-submit-as-faults
FAULTS_SUDOERS=/etc/sudoers.d/spark-submit-as-faults
BED_MARK='spark-submit-as test bed'
BED_TEAMS='ssa-team-red ssa-team-blue ssa-team-green'
BED_SPARK=${BED_SPARK:-4.1.4}
BED_SUDOERS=/etc/sudoers.d/spark-submit-as-testbed
PATH=$PATH:/usr/sbin:/sbin

say() { printf 'test bed: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

[ "$(id -u)" = 0 ] || die "must run as root: it makes accounts, a cluster node and a sudoers file"

# account NAME GROUPS... : an account that belongs to the test bed. One that was there before is never touched.
account() {
  local name=$1 groups=$2 shell=$3 system=$4
  if getent passwd "$name" > /dev/null; then
    getent passwd "$name" | cut -d: -f5 | grep -qF "$BED_MARK" ||
      die "account $name exists and is not the test bed's; run on a machine without it"
    return
  fi
  # shellcheck disable=SC2086
  useradd $system --create-home --comment "$BED_MARK" --shell "$shell" ${groups:+--groups "$groups"} "$name"
  chmod 0700 "$(getent passwd "$name" | cut -d: -f6)"
}

accounts() {
  local group
  for group in spark-users $BED_TEAMS; do
    getent group "$group" > /dev/null || groupadd "$group"
  done
  account dssuser '' /bin/bash ''
  account alice spark-users /bin/bash ''
  account bob spark-users /bin/bash ''
  account mallory '' /bin/bash ''
  account ssa-provisioner '' /usr/sbin/nologin --system
  # Two whose names clean up to one, and who share one team.
  account ssa.twin spark-users,ssa-team-red,ssa-team-blue /bin/bash ''
  account ssa-twin spark-users,ssa-team-red /bin/bash ''
}

kubectl() { "$BED_TOP/testbench/bench" kubectl "$@"; }

# A kubeconfig for the provisioner's service account, readable by root alone: the supervisor hands it over.
provisioner_kubeconfig() {
  local token server ca
  token=$(kubectl -n spark-submit-as create token provisioner --duration=24h)
  server=$(kubectl config view --raw --minify -o 'jsonpath={.clusters[0].cluster.server}')
  ca=$(kubectl config view --raw --minify -o 'jsonpath={.clusters[0].cluster.certificate-authority-data}')
  [ -n "$ca" ] || ca=$(base64 -w0 "$(kubectl config view --raw --minify -o 'jsonpath={.clusters[0].cluster.certificate-authority}')")
  umask 077
  cat > "$BED_ETC/spark-submit-as/main.kubeconfig" <<KUBECONFIG
{"apiVersion": "v1", "kind": "Config", "current-context": "main",
 "clusters": [{"name": "main", "cluster": {"server": "$server", "certificate-authority-data": "$ca"}}],
 "contexts": [{"name": "main", "context": {"cluster": "main", "user": "provisioner"}}],
 "users": [{"name": "provisioner", "user": {"token": "$token"}}]}
KUBECONFIG
}

configuration() {
  umask 022
  cat > "$BED_CONFIG" <<CONFIG
callers: [dssuser]
provisioner: ssa-provisioner
users:
  allowed_groups: [spark-users]
  denied: [nobody]
  properties: $BED_ETC/spark-submit-as/properties.yaml
clusters:
  main: {kubeconfig: $BED_ETC/spark-submit-as/main.kubeconfig, context: main}
profiles:
$(for version in $BED_VERSIONS; do profile "$version"; done)
  per-team:
    cluster: main
    spark_home: $(spark_home "$BED_SPARK")
    namespace: {template: "\${adminProperty:k8sNS}"}
    spark: {defaults: {spark.kubernetes.container.image: "$(spark_image "$BED_SPARK")"}}
    environment: {set: {PYSPARK_PYTHON: /usr/bin/python3}}
  attack:
    cluster: main
    spark_home: $(spark_home "$BED_SPARK")
    namespace: {template: "\${adminProperty:attackNS}", policies: [attack]}
    credentials: {token_ttl: 10m}
    spark:
      defaults:
        spark.kubernetes.container.image: "$(spark_image "$BED_SPARK")"
        spark.executor.instances: "1"
        spark.executor.memory: 512m
        spark.kubernetes.executor.request.cores: 100m
    environment: {set: {PYSPARK_PYTHON: /usr/bin/python3}}
  # bin/pyspark expects the Python package inside of Spark's directory; in the bench's it is that directory. Where Python's
  # threads are pinned to Java's, Ctrl-C breaks pyspark's connection and the Spark job goes on, here as anywhere.
  shells:
    cluster: main
    spark_home: $(spark_home "$BED_SPARK")
    programs: [spark-submit, pyspark, spark-shell, spark-sql]
    tools: [{name: beeline}]
    namespace: {template: "dss-sh-\${dssUserLogin}", create: true, policies: [small]}
    spark:
      defaults:
        spark.kubernetes.container.image: "$(spark_image "$BED_SPARK")"
        spark.executor.instances: "1"
        spark.executor.memory: 512m
        spark.kubernetes.executor.request.cores: 50m
    environment:
      set:
        PYSPARK_PYTHON: /usr/bin/python3
        PYSPARK_PIN_THREAD: "false"
        PYTHONPATH: $(dirname "$(spark_home "$BED_SPARK")")
namespace_policies:
  small: {pod_security: restricted}
  attack: {pod_security: restricted, network_policy: isolated}
CONFIG
  cat > "$BED_ETC/spark-submit-as/properties.yaml" <<PROPERTIES
logins:
  alice: {k8sNS: team-a, attackNS: ssa-attack}
  bob: {k8sNS: team-a, attackNS: ssa-attack}
PROPERTIES
}

profile() {
  local name=per-user
  [ "$1" = "$BED_SPARK" ] || name=per-user-${1//./-}
  cat <<PROFILE
  $name:
    cluster: main
    spark_home: $(spark_home "$1")
    programs: [spark-submit, pyspark, spark-shell, spark-sql]
    namespace: {template: "dss-ns-\${dssUserLogin}", create: true, policies: [small]}
    credentials: {mode: dynamic, token_ttl: 10m}
    spark:
      defaults:
        spark.kubernetes.container.image: "$(spark_image "$1")"
        spark.executor.instances: "1"
        spark.executor.memory: 512m
        spark.kubernetes.executor.request.cores: 100m
    environment: {keep: [LANG, TZ], set: {PYSPARK_PYTHON: /usr/bin/python3}}
PROFILE
}

# need COMMAND=PACKAGE... : installs what is missing, from Debian.
need() {
  local pair missing=()
  for pair in "$@"; do
    command -v "${pair%%=*}" > /dev/null || missing+=("${pair#*=}")
  done
  [ ${#missing[@]} = 0 ] && return
  say "installing ${missing[*]}"
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
}

bench_value() { "$BED_TOP/testbench/bench" env | sed -n "s/^$1_${2//./_}=//p"; }
spark_home() { bench_value BENCH_SPARK_HOME "$1"; }
spark_image() { bench_value BENCH_IMAGE "$1"; }

bed_up() {
  BED_VERSIONS=${BED_VERSIONS:-$BED_SPARK}
  # shellcheck disable=SC2086
  "$BED_TOP/testbench/bench" up $BED_VERSIONS >&2
  need sudo=sudo curl=curl keyctl=keyutils script=bsdutils cc=gcc nm=binutils
  accounts
  say "building and installing into $BED_PREFIX"
  make -s -C "$BED_TOP" install PREFIX=$BED_PREFIX SYSCONFDIR=$BED_ETC RUNDIR=$BED_RUN STATEDIR=$BED_STATE \
    LOGSOCKET=$BED_LOG >&2
  # The tests' sudoers file is the shipped one, with the test bed's path.
  install -m 0440 "$BED_ETC/sudoers.d/spark-submit-as" "$BED_SUDOERS"
  visudo -cqf "$BED_SUDOERS" || die "the sudoers file is refused by visudo"
  local manifest
  for manifest in driver-role provisioner fence isolation team-namespace; do
    kubectl apply -f "$BED_TOP/packaging/kubernetes/$manifest.yaml" > /dev/null
  done
  provisioner_kubeconfig
  configuration
  faults_up
  say "ready"
}

# The second installation: the same configuration with other namespaces, and its own directories.
faults_up() {
  say "building and installing into $FAULTS_PREFIX"
  SSA_CONFIG=$FAULTS_CONFIG SSA_PROVISIONER=$FAULTS_PREFIX/libexec/spark-submit-as-provisioner \
  SSA_RUN_DIR=$FAULTS_RUN SSA_STATE_DIR=$FAULTS_STATE SSA_LOG_SOCKET=$FAULTS_RUN-log \
    cargo build -q --locked --manifest-path "$BED_TOP/Cargo.toml" --features fault-points >&2
  install -D -m 0755 "$BED_TOP/target/debug/spark-submit-as" "$FAULTS_PREFIX/bin/spark-submit-as"
  install -D -m 0755 "$BED_TOP/target/debug/spark-submit-as-provisioner" \
    "$FAULTS_PREFIX/libexec/spark-submit-as-provisioner"
  install -d -m 0755 "$FAULTS_ETC/spark-submit-as" "$FAULTS_RUN"
  sed "s#/usr/local/bin/spark-submit-as#$FAULTS_PREFIX/bin/spark-submit-as#; s#SPARK_SUBMIT_AS#&_FAULTS#" \
    "$BED_TOP/sudoers.d/spark-submit-as" |
    install -m 0440 /dev/stdin "$FAULTS_SUDOERS"
  visudo -cqf "$FAULTS_SUDOERS" || die "the sudoers file is refused by visudo"
  umask 022
  sed -e "s#dss-ns-#ssa-faults-#; s#^callers:.*#callers: [dssuser, root]#" "$BED_CONFIG" > "$FAULTS_CONFIG"
  cat >> "$FAULTS_CONFIG" <<CONFIG
timeouts: {grace: 2s}
CONFIG
}

bed_env() {
  cat <<ENV
export SSA_BED=1
export SSA_BIN=$BED_PREFIX/bin/spark-submit-as
export SSA_BED_PREFIX=$BED_PREFIX
export SSA_BED_CONFIG=$BED_CONFIG
export SSA_BED_RUN=$BED_RUN
export SSA_BED_STATE=$BED_STATE
export SSA_BED_LOG=$BED_LOG
export SSA_FAULTS_BIN=$FAULTS_PREFIX/bin/spark-submit-as
export SSA_FAULTS_CONFIG=$FAULTS_CONFIG
export SSA_FAULTS_RUN=$FAULTS_RUN
export SSA_FAULTS_STATE=$FAULTS_STATE
export SSA_BED_VERSIONS="$BED_VERSIONS"
export SSA_BED_KUBECTL="$BED_TOP/testbench/bench kubectl"
export SSA_BED_SPARK=$BED_SPARK
export SSA_BED_SPARK_HOME=$(spark_home "$BED_SPARK")
export SSA_BED_JARS=$(bench_value BENCH_JARS "$BED_SPARK")
export SSA_BED_IMAGE=$(spark_image "$BED_SPARK")
ENV
  "$BED_TOP/testbench/bench" env | sed -n 's/^\(BENCH_AUDIT_LOG\|BENCH_SERVER\|BENCH_DRIVER_HOST\|BENCH_KUBECONFIG\)=/export &/p'
}
