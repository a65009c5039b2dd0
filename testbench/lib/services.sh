# What a cluster has around it, for tests that want it: a private registry, a webhook. Sourced by bench.

SERVICES=(registry webhook) # started when they are asked for
REGISTRY=127.0.0.1:5031     # loopback, because containerd speaks plain HTTP there and nowhere else
WEBHOOK=127.0.0.1:5032

build_services() {
    local source=$BENCH/services sum
    sum=$(cat "$source"/{go.mod,*.go} | checksum)
    ! is_current "$CACHE/bin/services.stamp" "$sum" || return 0
    command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
    command -v go >/dev/null || die "Go is needed to build the services"
    say "building registry and webhook"
    mkdir -p "$CACHE/bin"
    (cd "$source" && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$CACHE/bin/services.new" . 9>&- >&2) ||
        die "the build failed"
    mv "$CACHE/bin/services.new" "$CACHE/bin/services"
    echo "$sum" >"$CACHE/bin/services.stamp"
}

require_cluster() {
    ! own_cluster || die "that belongs to the bench's own cluster, and SSA_TEST_KUBECONFIG is set"
    [[ $EUID == 0 ]] || die "must be root"
    cluster_is_up || die "the cluster is down"
}

# Serves the images that the node has, below every repository's name: REGISTRY/ANY/NAME:VERSION.
start_registry() {
    local version digest user password images=() credentials=$RUN/private/registry-credentials
    require_cluster
    lock
    if ! pid_of registry >/dev/null; then
        build_services
        [[ -e $credentials ]] || (umask 077 && echo "bench:$(openssl rand -hex 16)" >"$credentials")
        while read -r version digest; do
            images+=(--image "$version=$digest")
        done < <(ctr images list | sed -n 's/^localhost\/spark:\([^ ]*\) .* \(sha256:[0-9a-f]*\) .*/\1 \2/p')
        start registry "$CACHE/bin/services" registry --listen "$REGISTRY" --credentials "$credentials" \
            --blobs "$CACHE/containerd/io.containerd.content.v1.content/blobs/sha256" "${images[@]}"
        wait_for "the registry" 10 listens "$REGISTRY"
    fi
    IFS=: read -r user password <"$credentials"
    printf '%s=%q\n' BENCH_REGISTRY "$REGISTRY" BENCH_REGISTRY_USER "$user" BENCH_REGISTRY_PASSWORD "$password"
}

# Gives pods a token: a MutatingWebhookConfiguration of a test's own names https://WEBHOOK/inject/ and the
# audience in hexadecimal digits.
start_webhook() {
    require_cluster
    lock
    if ! pid_of webhook >/dev/null; then
        build_services
        (umask 077 && certificate webhook /CN=bench-webhook "IP:${WEBHOOK%:*}")
        start webhook "$CACHE/bin/services" webhook --listen "$WEBHOOK" \
            --certificate "$PKI/webhook.crt" --key "$PKI/webhook.key"
        wait_for "the webhook" 10 listens "$WEBHOOK"
    fi
    printf '%s=%q\n' BENCH_WEBHOOK "https://$WEBHOOK" BENCH_WEBHOOK_CA "$(base64 -w0 "$PKI/ca.crt")"
}

listens() { (: <"/dev/tcp/${1%:*}/${1#*:}"); }
