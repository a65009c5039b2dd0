#!/bin/sh
# Entrypoint of the Spark image, for the two roles that Spark's Kubernetes
# scheduler starts. The variables are set by Spark's BasicExecutorFeatureStep,
# BasicDriverFeatureStep and DriverCommandFeatureStep.
set -eu

SPARK_HOME=/opt/spark
export SPARK_HOME

role=${1:-}
[ $# -eq 0 ] || shift

case $role in
executor)
    # Spark numbers the JVM options from 0; each is one word, spaces included.
    set --
    n=0
    while eval "[ -n \"\${SPARK_JAVA_OPT_$n+set}\" ]"; do
        eval "set -- \"\$@\" \"\$SPARK_JAVA_OPT_$n\""
        n=$((n + 1))
    done
    # The configuration directory comes first: its files shall win over a jar's.
    # tini reaps what Python workers leave and passes the kubelet's TERM on.
    exec tini -s -- java "$@" \
        "-Xms$SPARK_EXECUTOR_MEMORY" "-Xmx$SPARK_EXECUTOR_MEMORY" \
        -cp "${SPARK_CONF_DIR:+$SPARK_CONF_DIR:}${SPARK_CLASSPATH:-}:$SPARK_HOME/jars/*${HADOOP_CONF_DIR:+:$HADOOP_CONF_DIR}" \
        org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend \
        --driver-url "$SPARK_DRIVER_URL" \
        --executor-id "$SPARK_EXECUTOR_ID" \
        --cores "$SPARK_EXECUTOR_CORES" \
        --app-id "$SPARK_APPLICATION_ID" \
        --hostname "$SPARK_EXECUTOR_POD_IP" \
        --resourceProfileId "$SPARK_RESOURCE_PROFILE_ID" \
        --podName "$SPARK_EXECUTOR_POD_NAME"
    ;;
driver)
    exec tini -s -- "$SPARK_HOME/bin/spark-submit" \
        --conf "spark.driver.bindAddress=$SPARK_DRIVER_BIND_ADDRESS" \
        --deploy-mode client "$@"
    ;;
*)
    echo "entrypoint: expected 'executor' or 'driver', got '$role'" >&2
    exit 64
    ;;
esac
