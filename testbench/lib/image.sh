# Images, made from layers and handed to the node's containerd. Sourced by bench.

spark_image() { echo "localhost/spark:$1"; }

has_image() { [[ -n $(ctr images list -q "name==$1") ]]; }

import_pause() {
    tar -C "$CACHE/bin" --owner 0 --group 0 -cf "$CACHE/pause.tar" pause
    "$BENCH/image/oci.py" --name localhost/pause:bench --user 65535:65535 --entrypoint /pause "$CACHE/pause.tar" |
        ctr images import - >/dev/null
    rm "$CACHE/pause.tar"
}

# The layer below all Spark images: Java, Python, tini, and a user of number 185 as in Spark's
# own images (without a line in /etc/passwd, Hadoop's login fails).
build_base_layer() {
    local base=$CACHE/base.tar sources=/etc/apt/sources.list.d/debian.sources codename sum
    sum=$(declare -f build_base_layer | checksum)
    ! is_current "$base.stamp" "$sum" || return 0
    say "building the Java layer"
    [[ -e $sources ]] || sources=/etc/apt/sources.list
    codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
    # shellcheck disable=SC2016 # mmdebstrap's shell expands $1
    mmdebstrap --variant=minbase --include=openjdk-17-jre-headless,tini,python3 \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --customize-hook='chroot "$1" groupadd --gid 185 spark' \
        --customize-hook='chroot "$1" useradd --uid 185 --gid 185 --home-dir /opt/spark --no-create-home spark' \
        "$codename" "$base.partial.tar" "$sources" >"$CACHE/mmdebstrap.log" 2>&1 </dev/null 9>&- ||
        die "mmdebstrap failed; see $CACHE/mmdebstrap.log"
    mv "$base.partial.tar" "$base"
    echo "$sum" >"$base.stamp"
}

# import_image VERSION : three layers, the base, Spark, and what belongs to the bench.
import_image() {
    local version=$1 image work sum
    image=$(spark_image "$version")
    # What an image is made of besides the distribution.
    sum=$(cat "$BENCH"/{image,jobs}/* "$BENCH/lib/image.sh" | checksum)
    ! has_image "$image" || ! is_current "$CACHE/spark/$version/image.stamp" "$sum" || return 0
    build_base_layer
    say "importing $image"
    work=$(mktemp -d "$CACHE/image.XXXXXX")
    tar -C "$(spark_home "$version")" --owner 0 --group 0 --transform 's,^,opt/spark/,' \
        -cf "$work/spark.tar" bin jars python/lib examples/src/main/python
    mkdir -p "$work/root/opt/spark/work-dir"
    install -m 755 "$BENCH/image/entrypoint.sh" "$work/root/opt/entrypoint.sh"
    install -m 644 -Dt "$work/root/opt/spark/jobs" "$BENCH"/jobs/*.py "$(spark_jars "$version")"/*.jar
    tar -C "$work/root" --owner 0 --group 0 -cf "$work/bench.tar" opt/entrypoint.sh opt/spark/jobs
    tar -C "$work/root" --owner 185 --group 185 -rf "$work/bench.tar" opt/spark/work-dir
    "$BENCH/image/oci.py" --name "$image" --user 185 --workdir /opt/spark/work-dir \
        --env SPARK_HOME=/opt/spark --entrypoint /opt/entrypoint.sh \
        "$CACHE/base.tar" "$work/spark.tar" "$work/bench.tar" | ctr images import - >/dev/null
    rm -rf "$work"
    echo "$sum" >"$CACHE/spark/$version/image.stamp"
}
