# Names, places and helpers that all parts of the bench share. Sourced by bench.

CACHE=${BENCH_CACHE:-/var/cache/spark-submit-as-bench}
RUN=/run/spark-submit-as-bench

BRIDGE=ssabench0
BRIDGE_ADDRESS=10.231.0.1
POD_SUBNET=10.231.0.0/22 # room for 250 pods
SERVICE_SUBNET=10.96.0.0/16
SERVER=https://$BRIDGE_ADDRESS:6443
NODE=bench

# Daemons get this environment and nothing of the caller's.
CLEAN_ENV=(env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root)

say() { echo "bench: $*" >&2; }
die() { say "$*"; exit 1; }

# wait_for WHAT SECONDS COMMAND... : polls until COMMAND succeeds.
wait_for() {
    local what=$1 end=$((SECONDS + $2))
    shift 2
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || die "gave up waiting for $what; see $RUN/log"
        sleep 0.2
    done
}

# One bench command at a time. The daemons must not inherit the lock: see start().
lock() {
    mkdir -p "$CACHE"
    exec 9>"$CACHE/lock"
    flock -n 9 || { say "waiting for another bench command"; flock 9; }
}

# A product in the cache is current while its stamp holds the checksum of what it was made from.
# Contents, not times: a fresh clone has the same contents.
checksum() { sha256sum | cut -c1-64; }
is_current() { [[ -e $1 && $(<"$1") == "$2" ]]; }

# Fails when a folder on the way to $1 could be changed by someone else than root:
# what is run from there is run by root and by other users.
require_trusted_path() {
    local path=$1
    while :; do
        [[ $(stat -c %u "$path") == 0 && ! -L $path && -z $(find "$path" -maxdepth 0 -perm /022) ]] ||
            die "$path must be a folder of root's that nobody else may write"
        [[ $path != / ]] || break
        path=$(dirname "$path")
    done
}

# require_packages PACKAGE... : installs what is missing.
require_packages() {
    local package missing=()
    for package in "$@"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    say "installing ${missing[*]}"
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } \
        >"$CACHE/apt.log" 2>&1 </dev/null 9>&- || die "apt-get failed; see $CACHE/apt.log"
}

# --- processes: known by pid and start time, never by name ---

# Field 22 of /proc/PID/stat, counted after the name, which may hold anything (proc(5)).
start_time() {
    local stat
    { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
    stat=${stat##*) }
    # shellcheck disable=SC2086 # into words
    set -- $stat
    [[ $1 != Z ]] && echo "${20}"
}

# start NAME COMMAND... : runs a daemon with a session, a log and a record of its own.
start() {
    local name=$1
    shift
    setsid "${CLEAN_ENV[@]}" "$@" >>"$RUN/log/$name.log" 2>&1 </dev/null 9>&- &
    echo "$! $(start_time $!)" >"$RUN/pids/$name"
    disown
}

# Prints the pid of daemon NAME if it is still the process that was started.
pid_of() {
    local pid started
    { read -r pid started <"$RUN/pids/$1"; } 2>/dev/null || return 1
    [[ $started && $(start_time "$pid") == "$started" ]] && echo "$pid"
}

# stop SIGNAL NAME... : signals all at once, waits, and insists after 8 seconds.
stop() {
    local signal=$1 name pid end=$((SECONDS + 8))
    shift
    for name in "$@"; do
        ! pid=$(pid_of "$name") || kill "-$signal" "$pid" 2>/dev/null || true
    done
    for name in "$@"; do
        while pid=$(pid_of "$name"); do
            ((SECONDS < end)) || kill -KILL "$pid" 2>/dev/null || true
            sleep 0.05
        done
        rm -f "$RUN/pids/$name"
    done
}
