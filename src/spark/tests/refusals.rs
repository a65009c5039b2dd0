//! Keys and options that are refused, in every spelling.

use std::collections::BTreeMap;

use super::*;
use crate::spark::keys::{ENFORCED, REFUSED};

/// The four ways to give a setting.
fn spellings(setting: &str) -> Vec<Vec<OsString>> {
    vec![
        words(&["--conf", setting, "app.py"]),
        words(&["-c", setting, "app.py"]),
        words(&[&format!("--conf={setting}"), "app.py"]),
        words(&["--name", "n", "--conf", "a=b", "--verbose", "--conf", setting, "app.py"]),
    ]
}

fn refused_key(setting: &str, key: &str) {
    for list in spellings(setting) {
        match accept(Program::SparkSubmit, &list) {
            Err(error @ ArgumentError::Key { .. }) => {
                let message = error.to_string();
                assert!(message.contains(key), "{list:?}: {message}");
                assert!(message.contains("given with -"), "{message}");
            }
            other => panic!("{list:?}: {other:?}"),
        }
    }
    for program in [Program::Pyspark, Program::SparkShell, Program::SparkSql] {
        assert!(accept(program, &words(&["--conf", setting])).is_err(), "{program:?} {setting}");
    }
    assert!(accept(Program::SparkSql, &words(&["-e", "select 1", "--conf", setting])).is_err());
}

fn accepted(setting: &str) {
    for list in spellings(setting) {
        accept(Program::SparkSubmit, &list).unwrap();
    }
}

#[test]
fn checklist_70_namespace_in_every_spelling() {
    for value in ["other", "", "kube-system", "team-a ", "TEAM-A"] {
        refused_key(&format!("spark.kubernetes.namespace={value}"), "spark.kubernetes.namespace");
    }
    accepted("spark.kubernetes.namespace=team-a");
    // Blanks and control characters, of which bin/spark-class removes one kind.
    for key in [" spark.kubernetes.namespace", "spark.kubernetes.namespace ", "\tspark.kubernetes.namespace"]
    {
        refused_key(&format!("{key}=other"), "must not hold blanks");
    }
    // With a line end in it, --conf= is no option at all (java.util.regex's `.`).
    let smuggled = words(&["--conf", "spark.kubernetes.name\rspace=other", "app.py"]);
    let error = accept(Program::SparkSubmit, &smuggled).unwrap_err().to_string();
    assert!(error.starts_with("spark.kubernetes.name\\rspace (given with --conf)"), "{error}");
    assert!(
        accept(Program::SparkSubmit, &words(&["--conf=spark.kubernetes.namespace=x\n", "app.py"])).is_err()
    );
    // Repeated: the last one counts for Spark, every one for us.
    let twice = ["spark.kubernetes.namespace=other", "spark.kubernetes.namespace=team-a"];
    let list = words(&["-c", twice[0], "--conf", twice[1], "app.py"]);
    assert!(accept(Program::SparkSubmit, &list).is_err());
    // A properties file, whose content nobody has read.
    for option in ["--properties-file", "--extra-properties-file"] {
        for list in [words(&[option, "/x", "app.py"]), words(&[&format!("{option}=/x"), "app.py"])] {
            let error = accept(Program::SparkSubmit, &list).unwrap_err().to_string();
            assert!(error.starts_with(option), "{error}");
        }
    }
    // Behind the application it is the application's own word, unless the class makes it Spark's again.
    let behind = ["app.py", "--conf", "spark.kubernetes.namespace=other"];
    accept(Program::SparkSubmit, &words(&behind)).unwrap();
    let mixed = [&["--class", "org.apache.spark.repl.Main"], &behind[..]].concat();
    assert!(accept(Program::SparkSubmit, &words(&mixed)).is_err());
}

#[test]
fn checklist_71_master_context_accounts_and_credentials() {
    for setting in [
        "spark.master=local[*]",
        "spark.master=k8s://https://elsewhere:6443",
        "spark.kubernetes.context=admin",
        "spark.kubernetes.driver.master=https://elsewhere",
        "spark.kubernetes.submitInDriver=true",
        "spark.kubernetes.authenticate.oauthToken=x",
        "spark.kubernetes.authenticate.oauthTokenFile=/x",
        "spark.kubernetes.authenticate.caCertFile=/x",
        "spark.kubernetes.authenticate.clientKeyFile=/x",
        "spark.kubernetes.authenticate.clientCertFile=/x",
        "spark.kubernetes.authenticate.submission.oauthToken=x",
        "spark.kubernetes.authenticate.submission.clientKeyFile=/x",
        "spark.kubernetes.authenticate.driver.oauthToken=x",
        "spark.kubernetes.authenticate.driver.mounted.oauthTokenFile=/x",
        "spark.kubernetes.authenticate.driver.mounted.caCertFile=/x",
        "spark.kubernetes.authenticate.driver.serviceAccountName=admin",
        "spark.kubernetes.authenticate.executor.serviceAccountName=admin",
        "spark.kubernetes.authenticate.executor.serviceAccountName=",
        "spark.kubernetes.authenticate.serviceAccountName=admin",
        "spark.kubernetes.trust.certificates=true",
        "spark.kubernetes.driver.pod.name=x",
        "spark.remote=sc://elsewhere",
        "spark.api.mode=connect",
        "spark.authenticate.secret=x",
        "spark.authenticate.secret.file=/x",
        "spark.authenticate.secret.driver.file=/x",
        "spark.authenticate.secret.executor.file=/x",
        "spark.executorEnv._SPARK_AUTH_SECRET=x",
        "spark.kubernetes.executor.secretKeyRef._SPARK_AUTH_SECRET=other:auth",
        "spark.app.id=other",
        "spark.kubernetes.executor.podNamePrefix=other",
        "spark.kubernetes.executor.label.spark-submit-as/job=other",
        "spark.kubernetes.executor.label.spark-submit-as/managed=true",
        "spark.driver.host=elsewhere",
        "spark.authenticate=false",
        "spark.network.crypto.enabled=False",
        "spark.network.crypto.saslFallback=true",
        "spark.network.crypto.authEngineVersion=1",
        "spark.network.crypto.authEngineVersion=3",
        "spark.io.encryption.enabled=false",
        "spark.kubernetes.executor.disableConfigMap=false",
        "spark.kubernetes.executor.useDriverPodIP=true",
    ] {
        refused_key(setting, setting.split('=').next().unwrap());
    }
    for setting in [
        "spark.executor.instances=2",
        "spark.kubernetes.container.image=registry/x@sha256:0",
        "spark.kubernetes.executor.label.team=a",
        "spark.kubernetes.authenticatE.x=case matters to Spark",
        "spark.kubernetes.trust.certificates=FALSE",
        "spark.kubernetes.authenticate.executor.serviceAccountName=ssa-executor",
        "spark.api.mode=classic",
        "spark.kubernetes.submitInDriver=false",
        "spark.authenticate=true",
        "spark.network.crypto.authEngineVersion=2",
        "spark.network.crypto.cipher=AES/GCM/NoPadding",
        "spark.ui.enabled=true",
        "spark.driver.bindAddress=0.0.0.0",
        "spark.driver.port=7078",
        "not.spark=x",
    ] {
        accepted(setting);
    }
    let options: &[&[&str]] = &[
        &["--master", "k8s://https://elsewhere"],
        &["--master=local"],
        &["--master", "k8s"],
        &["--remote", "sc://elsewhere"],
        &["--remote=sc://elsewhere"],
        &["--kill", "x"],
        &["--status=x"],
        &["--supervise"],
        &["--supervise=no"],
        &["--class", "org.apache.spark.sql.connect.service.SparkConnectServer"],
        &["--class=org.apache.spark.sql.application.ConnectRepl"],
    ];
    for option in options {
        let list = words(&[option, &["app.py"][..]].concat());
        let error = accept(Program::SparkSubmit, &list).unwrap_err();
        assert!(matches!(error, ArgumentError::Option { .. }), "{option:?}: {error}");
        assert_eq!(error.code(), crate::exit::ExitCode::ArgumentRefused);
    }
}

#[test]
fn checklist_71_nor_through_java_options() {
    for options in [
        "-Dspark.kubernetes.context=admin",
        "-Xss4m -Dspark.master=local",
        "-D\"spark.kubernetes.context\"=admin",
        "-Dspark.kuber\\netes.context=admin",
        "'-Dspark.kubernetes.namespace=other'",
        "-Dkubeconfig=/x",
        "-Dkubernetes.auth.token=x",
        "\"-D\"kubernetes.master=x",
    ] {
        let rows = [
            words(&["--driver-java-options", options, "app.py"]),
            words(&[&format!("--driver-java-options={options}"), "app.py"]),
            words(&["--conf", &format!("spark.driver.extraJavaOptions={options}"), "app.py"]),
            words(&["-c", &format!("spark.driver.defaultJavaOptions={options}"), "app.py"]),
        ];
        for list in rows {
            let error = accept(Program::SparkSubmit, &list).unwrap_err();
            assert!(error.to_string().contains("as -D in"), "{list:?}: {error}");
        }
    }
    for options in
        ["-Dspark.kubernetes.namespace=team-a -Xmx1g", "-Dmy.kubernetes=x", "-XX:+UseG1GC", "-D", ""]
    {
        accept(Program::SparkSubmit, &words(&["--driver-java-options", options, "app.py"])).unwrap();
    }
}

#[test]
fn checklist_72_cluster_mode() {
    for mode in ["cluster", "Client", "", "clu\rster", " client"] {
        refused_key(&format!("spark.submit.deployMode={mode}").replace('\r', "_"), "spark.submit.deployMode");
        let list = words(&["--deploy-mode", mode, "app.py"]);
        assert!(accept(Program::SparkSubmit, &list).is_err(), "{mode:?}");
    }
    accepted("spark.submit.deployMode=client");
    accept(Program::SparkSubmit, &words(&["--deploy-mode", "client", "app.py"])).unwrap();
    accept(Program::SparkSubmit, &words(&["--deploy-mode=client", "app.py"])).unwrap();
    assert!(accept(Program::SparkSubmit, &words(&["--deploy-mode=cluster", "app.py"])).is_err());
}

#[test]
fn checklist_73_proxy_user() {
    for list in [["--proxy-user", "root", "app.py"], ["--verbose", "--proxy-user=root", "app.py"]] {
        let error = accept(Program::SparkSubmit, &words(&list)).unwrap_err().to_string();
        assert!(error.starts_with("--proxy-user"), "{error}");
        assert!(!error.contains("root"), "no value in a message: {error}");
    }
}

#[test]
fn checklist_74_files_are_names_to_us_and_opened_by_the_job() {
    let list = words(&["--files", "/etc/shadow", "--jars=/root/x.jar", "--keytab", "/root/k", "app.py"]);
    let parsed = accept(Program::SparkSubmit, &list).unwrap();
    assert_eq!(parsed.words(), list);
    assert!(line(&parsed).windows(2).any(|pair| pair == words(&["--files", "/etc/shadow"])));
}

#[test]
fn checklist_75_pod_templates() {
    for key in [
        "spark.kubernetes.executor.podTemplateFile",
        "spark.kubernetes.executor.podTemplateContainerName",
        "spark.kubernetes.driver.podTemplateFile",
        "spark.kubernetes.driver.podTemplateContainerName",
    ] {
        refused_key(&format!("{key}=x"), key);
    }
}

#[test]
fn checklist_76_every_rule_is_tried_and_the_tables_do_not_overlap() {
    for refused in REFUSED {
        let key = match refused.key.strip_suffix('*').unwrap_or(refused.key) {
            start if start.ends_with(['.', '/']) => format!("{start}anything"),
            key => key.to_owned(),
        };
        let message = check_key(&key, Origin::Request).unwrap_err().to_string();
        assert!(message.starts_with(&format!("{key} (in the request's conf) is refused: ")), "{message}");
        assert!(check_key(&key, Origin::ProfileEnforced).is_err());
        assert_eq!(check_key(&key, Origin::SparkDefaults).is_ok(), refused.beaten, "{key}");
        assert!(ENFORCED.iter().all(|enforced| enforced.key != refused.key));
    }
    for enforced in ENFORCED {
        for origin in [Origin::CommandLine, Origin::Request, Origin::ProfileDefault, Origin::ProfileEnforced]
        {
            assert!(check_key(enforced.key, origin).is_err(), "{}", enforced.key);
        }
        assert!(check_key(enforced.key, Origin::SparkDefaults).is_ok());
    }
    let label = format!("spark.kubernetes.executor.label.{}", crate::protocol::JOB_LABEL);
    assert!(ENFORCED.iter().any(|enforced| enforced.key == label));
}

#[test]
fn profiles_may_strengthen_and_not_redirect() {
    let spark = |defaults: &[(&str, &str)], enforced: &[(&str, &str)]| config::Spark {
        defaults: defaults.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        enforced: enforced.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        ..config::Spark::default()
    };
    let engine = "spark.network.crypto.authEngineVersion";
    check_profile(&spark(&[("spark.ui.enabled", "true")], &[(engine, "3"), ("spark.authenticate", "true")]))
        .unwrap();
    for (key, value) in [
        (engine, "1"),
        ("spark.master", "local"),
        ("spark.kubernetes.namespace", "x"),
        ("spark.authenticate", "no"),
    ] {
        for (defaults, enforced) in [(&[(key, value)][..], &[][..]), (&[], &[(key, value)])] {
            assert!(check_profile(&spark(defaults, enforced)).is_err(), "{key}");
        }
    }
    let map = BTreeMap::from([("spark.driver.extraJavaOptions".to_owned(), "-Dkubeconfig=/x".to_owned())]);
    assert!(keys::check_map(&map, Origin::Request, Some(&namespace())).is_err());
}

#[test]
fn messages_are_escaped_and_bounded() {
    let key = format!("spark.\u{1b}[31m{}", "x".repeat(10_000));
    let error = accept(Program::SparkSubmit, &words(&["--conf", &format!("{key}=hidden"), "app.py"]))
        .unwrap_err()
        .to_string();
    assert!(error.len() < 3000 && !error.contains('\u{1b}') && !error.contains("hidden"), "{error}");
}
