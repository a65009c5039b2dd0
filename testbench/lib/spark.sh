# Spark distributions and example jobs. Sourced by bench.

spark_home() { echo "$CACHE/spark/$1/pyspark"; }
spark_jars() { echo "$CACHE/spark/$1/jobs"; }
# The versions whose distribution is there.
spark_versions() { find "$CACHE/spark" -mindepth 1 -maxdepth 1 -type d -regex '.*/[0-9.]+' -printf '%f\n' 2>/dev/null | sort -V; }

# The package pyspark is the whole distribution: bin, jars, Python and examples.
install_distribution() {
    local version=$1 target=$CACHE/spark/$1
    [[ ! -d $target ]] || return 0
    say "installing Spark $version"
    rm -rf "$target.partial"
    mkdir -p "$target.partial"
    # Debian's Python, because the drivers and the image's executors must run the same one.
    /usr/bin/python3 -m pip install --quiet --no-deps --no-cache-dir --root-user-action ignore --no-compile \
        --target "$target.partial" "pyspark==$version" >"$CACHE/pip.log" 2>&1 </dev/null 9>&- ||
        die "pip failed; see $CACHE/pip.log"
    chown -R root:root "$target.partial"
    chmod -R u=rwX,go=rX "$target.partial"
    mv "$target.partial" "$target"
    require_trusted_path "$(spark_home "$version")"
}

# The distribution has no example jar.
compile_jobs() {
    local version=$1 jars sum work
    jars=$(spark_jars "$version")
    sum=$(cat "$BENCH"/jobs/*.java | checksum)
    ! is_current "$jars/stamp" "$sum" || return 0
    say "compiling the jobs for Spark $version"
    work=$(mktemp -d)
    javac -nowarn -cp "$(spark_home "$version")/jars/*" -d "$work" "$BENCH"/jobs/*.java
    rm -rf "$jars"
    mkdir -p "$jars"
    jar --create --file "$jars/spark-pi.jar" --main-class SparkPi -C "$work" SparkPi.class
    jar --create --file "$jars/shuffle.jar" --main-class ShuffleJob -C "$work" ShuffleJob.class
    rm -rf "$work"
    echo "$sum" >"$jars/stamp"
}

# An image needs a running node to be imported to, or waits for the next `up`.
prepare_spark() {
    local version
    for version; do
        [[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || die "'$version' is no Spark version"
        install_distribution "$version"
        compile_jobs "$version"
        own_cluster || ! cluster_is_up || import_image "$version"
    done
}
