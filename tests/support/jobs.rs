//! What stands in for Spark in tests of life and death: shell scripts that do to the cluster and to the host what a
//! driver and its user's code can do.

/// Makes one pod as Spark makes executors: from the job's template, with the job's own token.
pub const MAKE_POD: &str = r#"
field() { tr -d '\n' < "$KUBECONFIG" | sed "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/"; }
make_pod() {
  tr -d '\n' < "${KUBECONFIG%/*}/executor-pod.json" |
    sed 's/"metadata": *{/"metadata":{"name":"spark-'"$SPARK_SUBMIT_AS_JOB-exec-$(date +%s%N)"'",/
         s/"name": *"executor"/"name":"executor","image":"localhost\/pause:bench","imagePullPolicy":"Never"/' |
    curl -sk --max-time 20 -o /dev/null -w 'pod %{http_code}\n' -H "Authorization: Bearer $(field token)" \
      -H 'Content-Type: application/json' --data-binary @- "$(field server)/api/v1/namespaces/$(field namespace)/pods"
}
"#;

/// Leaves two processes that hide: both have a session of their own and no parent of the job's, one ignores TERM.
pub const HIDE: &str = r#"
hide() { (setsid sh -c 'trap "" TERM HUP INT; while :; do sleep 600; done' < /dev/null > /dev/null 2>&1 &); }
"#;

/// Leaves a process that knows nothing of the job: not even its environment names it.
pub const HIDE_WITHOUT_ENVIRONMENT: &str = r#"
hide_well() { (exec env -i setsid sleep 601 < /dev/null > /dev/null 2>&1 &); }
"#;

/// A script of those functions and `body`.
pub fn script(body: &str) -> String {
    format!("{MAKE_POD}{HIDE}{HIDE_WITHOUT_ENVIRONMENT}{body}")
}
