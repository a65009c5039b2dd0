//! The two files: properties and pod template.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn properties_are_escaped_as_java_reads_them() {
    let rows: &[(&str, &str, &str)] = &[
        ("spark.a", "b", "spark.a=b"),
        ("spark.a b", " x ", "spark.a\\ b=\\ x\\ "),
        ("#k", "!v", "\\#k=\\!v"),
        ("a=b:c", "d=e:f", "a\\=b\\:c=d\\=e\\:f"),
        ("k", "a\\b", "k=a\\\\b"),
        ("k", "1\n2\r3\t4", "k=1\\n2\\r3\\t4"),
        ("k", "é😀\u{0}\u{7f}", "k=\\u00e9\\ud83d\\ude00\\u0000\\u007f"),
        ("k", "", "k="),
    ];
    for (key, value, expected) in rows {
        let file = merge(None, &map(&[(key, value)]), &map(&[])).unwrap();
        assert_eq!(
            String::from_utf8(file).unwrap(),
            format!("spark.ui.enabled=false\nspark.ui.port=0\n{expected}\n")
        );
    }
}

#[test]
fn properties_come_in_the_order_of_their_weight() {
    let file = merge(
        Some(b"# site\nspark.ui.enabled true\nspark.last \\"),
        &map(&[("spark.x", "profile"), ("spark.y", "profile")]),
        &map(&[("spark.x", "platform")]),
    )
    .unwrap();
    let expected = "spark.ui.enabled=false\nspark.ui.port=0\n# site\nspark.ui.enabled true\nspark.last \\\n\n\
                    spark.x=profile\nspark.y=profile\nspark.x=platform\n";
    assert_eq!(String::from_utf8(file).unwrap(), expected);
}

#[test]
fn spark_defaults_may_name_another_master_but_no_other_credential() {
    let try_text = |text: &[u8]| merge(Some(text), &map(&[]), &map(&[]));
    for text in [
        &b"spark.master yarn\r\nspark.submit.deployMode=cluster\nspark.kubernetes.namespace=x"[..],
        b"spark.kubernetes.authenticate.driver.serviceAccountName spark",
        b"#spark.kubernetes.context=x\n  ! spark.kubernetes.context=x\n\n",
        b"spark.a=x\\\n  spark.kubernetes.context=x",
        b"spark.a=x\\\r\n  spark.kubernetes.context=x",
        b"spark.api.mode : classic ",
        b"blank\\ key=x",
        b"\\",
        b"",
    ] {
        assert!(try_text(text).is_ok(), "{}", String::from_utf8_lossy(text));
    }
    for text in [
        &b"a=b\n spark.kubernetes.context: x"[..],
        b"spark.kubernetes.context",
        b"spark.kubernetes.con\\\n   text x",
        b"spark.kubernetes.con\\\r\n   text x",
        b"spark.kubernetes\\u002econtext x",
        b"s\\park.kubernetes.context x",
        b"x=y\\\\\nspark.kubernetes.context=x",
        b"# comment \\\nspark.kubernetes.context=x",
        b"\r\rspark.kubernetes.authenticate.oauthTokenFile /x",
        b"spark.api.mode connect",
        b"spark.remote=sc://x\\",
    ] {
        let error = try_text(text).unwrap_err().to_string();
        assert!(error.contains("in spark-defaults.conf"), "{}: {error}", String::from_utf8_lossy(text));
    }
}

#[test]
fn properties_are_bounded() {
    let big = "x".repeat(600_000);
    assert!(merge(None, &map(&[("a", &big)]), &map(&[])).is_ok());
    assert_eq!(merge(None, &map(&[("a", &big)]), &map(&[("b", &big)])), Err(PropertiesError::TooLong));
    assert_eq!(merge(Some(&vec![b'#'; 1 << 20]), &map(&[]), &map(&[])), Err(PropertiesError::TooLong));
}

fn template(admin: Option<&str>) -> Result<Value, TemplateError> {
    let text = executor_pod_template(&facts().job, "ssa-job-x", "uid-1", admin.map(str::as_bytes), None)?;
    Ok(serde_json::from_str(&text).unwrap())
}

#[test]
fn template_of_our_own() {
    assert_eq!(
        template(None).unwrap(),
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "labels": {"spark-submit-as/job": "abcdefghijklmnop"},
                "ownerReferences":
                    [{"apiVersion": "v1", "kind": "ServiceAccount", "name": "ssa-job-x", "uid": "uid-1"}],
            },
            "spec": {
                "serviceAccountName": "ssa-executor",
                "automountServiceAccountToken": false,
                "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{
                    "name": "executor",
                    "securityContext": {
                        "runAsNonRoot": true,
                        "seccompProfile": {"type": "RuntimeDefault"},
                        "allowPrivilegeEscalation": false,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                }],
            },
        })
    );
}

#[test]
fn checklist_75_our_fields_win_in_the_administrators_template() {
    let pod = template(Some(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: x\n  namespace: kube-system\n  finalizers: [a/b]\n  \
         labels: {team: a, spark-submit-as/job: other}\n  ownerReferences: [{kind: Node}]\nspec:\n  \
         nodeSelector: {pool: spark}\n  serviceAccountName: admin\n  serviceAccount: admin\n  \
         automountServiceAccountToken: true\n  securityContext: {runAsUser: 185, runAsNonRoot: false}\n  \
         containers:\n  - name: proxy\n    image: p\n  - name: executor\n    resources: {limits: {cpu: 1}}\n    \
         securityContext: {privileged: true, capabilities: {add: [SYS_ADMIN]}, runAsNonRoot: false}\n",
    ))
    .unwrap();
    assert_eq!(
        pod["metadata"],
        json!({
            "labels": {"team": "a", "spark-submit-as/job": "abcdefghijklmnop"},
            "ownerReferences":
                [{"apiVersion": "v1", "kind": "ServiceAccount", "name": "ssa-job-x", "uid": "uid-1"}],
        })
    );
    let spec = &pod["spec"];
    assert_eq!(spec["nodeSelector"]["pool"], "spark");
    assert_eq!(spec["serviceAccountName"], "ssa-executor");
    assert_eq!(spec["serviceAccount"], Value::Null);
    assert_eq!(spec["automountServiceAccountToken"], false);
    assert_eq!(spec["securityContext"]["runAsUser"], 185);
    assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
    let executor = &spec["containers"][0];
    assert_eq!(executor["name"], "executor");
    assert_eq!(executor["resources"]["limits"]["cpu"], 1);
    let security = executor["securityContext"].as_object().unwrap();
    assert_eq!(security.get("privileged"), None);
    assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}));
    assert_eq!(security["runAsNonRoot"], true);
    assert_eq!(spec["containers"][1], json!({"name": "proxy", "image": "p"}));
    // Without one of that name it is the first.
    let pod =
        template(Some("{apiVersion: v1, kind: Pod, spec: {containers: [{name: a}, {name: b}]}}")).unwrap();
    assert_eq!(pod["spec"]["containers"][0]["name"], "executor");
    assert_eq!(pod["spec"]["containers"][1]["name"], "b");
}

#[test]
fn templates_that_are_none_are_refused_without_their_text() {
    let pod = |rest: &str| format!("apiVersion: v1\nkind: Pod\n{rest}");
    let deep = format!("x: {}{}", "[".repeat(64), "]".repeat(64));
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n\
                c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n";
    let rows: &[(String, &str)] = &[
        (String::new(), "empty"),
        ("root:$6$hash:19000:0:99999:7:::\n: [".into(), "not YAML"),
        ("apiVersion: v1\nkind: PodTemplate\n".into(), "not a Pod"),
        ("apiVersion: apps/v1\nkind: Pod\n".into(), "not a Pod"),
        (pod("---\nkind: Pod\n"), "more than one YAML document"),
        (pod("kind: Pod\n"), "twice"),
        (pod("spec: []\n"), "spec of the executor pod template"),
        (pod("metadata: 3\n"), "metadata of the"),
        (pod("metadata: {labels: [a]}\n"), "metadata.labels"),
        (pod("spec: {containers: {}}\n"), "spec.containers"),
        (pod("spec: {containers: [a]}\n"), "spec.containers"),
        (pod("spec: {securityContext: {runAsUser: 0}}\n"), "spec.securityContext.runAsUser"),
        (pod("spec: {containers: [{securityContext: {runAsUser: 0}}]}\n"), "runAsUser"),
        (pod(&deep), "too deeply"),
        (pod(bomb), "too large"),
        (pod(&format!("x: {}\n", "y".repeat(300_000))), "too large"),
        // 128 KiB that would stand for some gigabytes.
        (pod(&format!("a: &a [{}]\nb: [{}]\n", "x,".repeat(30_000), "*a,".repeat(20_000))), "aliases"),
        (pod(&format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), "*a,".repeat(30_000))), "aliases"),
    ];
    for (text, message) in rows {
        let error = template(Some(text)).unwrap_err().to_string();
        assert!(error.contains(message), "{text:.60}: {error}");
        assert!(!error.contains("hash"), "{error}");
    }
    // What is null or empty counts as missing.
    template(Some(&pod("metadata:\nspec:\n"))).unwrap();
    template(Some(&pod("spec: {containers: []}\n"))).unwrap();
}
