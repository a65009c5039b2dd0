# What enforces NetworkPolicy objects. Sourced by bench.

NETPOLICY_TABLE=bench-netpolicy # as in netpolicy/nftables.go

build_netpolicy() {
    local source=$BENCH/netpolicy sum
    sum=$(cat "$source"/{go.mod,go.sum,main.go,compile.go,rules.go,nftables.go} | checksum)
    ! is_current "$CACHE/bin/netpolicy.stamp" "$sum" || return 0
    command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
    command -v go >/dev/null || die "Go is needed to build the NetworkPolicy controller"
    say "building the NetworkPolicy controller"
    mkdir -p "$CACHE/bin"
    (cd "$source" && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$CACHE/bin/netpolicy.new" . 9>&-) ||
        die "the build failed"
    mv "$CACHE/bin/netpolicy.new" "$CACHE/bin/netpolicy"
    echo "$sum" >"$CACHE/bin/netpolicy.stamp"
}

start_netpolicy() {
    start netpolicy "$CACHE/bin/netpolicy" --kubeconfig "$ADMIN" --bridge "$BRIDGE" --address "$BRIDGE_ADDRESS" \
        --pods "$POD_SUBNET"
}

wait_for_netpolicy() { wait_for "the NetworkPolicy controller's table" 30 nft list table inet "$NETPOLICY_TABLE"; }

remove_netpolicy() { nft delete table inet "$NETPOLICY_TABLE" 2>/dev/null || true; }
