# The proxy that fails on demand. Sourced by bench.

build_faultproxy() {
    local source=$BENCH/faultproxy sum
    sum=$(cat "$source"/{go.mod,*.go} | checksum)
    # Named by what it was made from, so that a build does not replace the program of a test that runs.
    FAULTPROXY=$CACHE/bin/faultproxy-${sum:0:12}
    [[ ! -x $FAULTPROXY ]] || return 0
    lock
    require_trusted_path "$CACHE"
    command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
    command -v go >/dev/null || die "Go is needed to build the fault proxy"
    mkdir -p "$CACHE/bin"
    rm -f "$CACHE"/bin/faultproxy-*
    (cd "$source" && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$FAULTPROXY.new" . 9>&- >&2) ||
        die "the build failed"
    mv "$FAULTPROXY.new" "$FAULTPROXY"
}
