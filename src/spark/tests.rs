//! Section F of the security checklist, as far as it is pure.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::*;
use crate::policy::config::{Program, Spark};
use crate::policy::names::{JobId, NamespaceName};

fn words(text: &[&str]) -> Vec<OsString> {
    text.iter().map(OsString::from).collect()
}

fn submit(text: &[&str]) -> Result<Parsed, ArgumentError> {
    parse(Program::SparkSubmit, &words(text))
}

fn facts() -> JobFacts {
    JobFacts {
        job: JobId::from_random([7; 10]),
        namespace: NamespaceName::new("dss-ns-alice").expect("name"),
        server: "https://10.0.0.1:6443".into(),
        driver_host: "10.0.0.2".into(),
        pod_template: "/run/x/pod.json".into(),
        auth_secret_file: Some("/run/x/secret".into()),
        properties_file: Some("/run/x/spark.properties".into()),
    }
}

/// Each spelling of one setting.
fn spellings(key: &str, value: &str) -> Vec<Vec<String>> {
    let setting = format!("{key}={value}");
    vec![
        vec!["--conf".into(), setting.clone()],
        vec!["-c".into(), setting.clone()],
        vec![format!("--conf={setting}")],
        vec!["--conf".into(), "spark.x=y".into(), "--conf".into(), setting.clone()],
        vec!["--name".into(), "--conf".into(), "-c".into(), setting],
    ]
}

#[test]
fn checklist_70_71_72_the_wrappers_settings_are_refused_in_every_spelling() {
    let keys = [
        "spark.kubernetes.namespace",
        "spark.master",
        "spark.kubernetes.context",
        "spark.kubernetes.authenticate.oauthToken",
        "spark.kubernetes.authenticate.oauthTokenFile",
        "spark.kubernetes.authenticate.caCertFile",
        "spark.kubernetes.authenticate.clientKeyFile",
        "spark.kubernetes.authenticate.clientCertFile",
        "spark.kubernetes.authenticate.submission.oauthToken",
        "spark.kubernetes.authenticate.driver.serviceAccountName",
        "spark.kubernetes.authenticate.driver.mounted.oauthTokenFile",
        "spark.kubernetes.authenticate.executor.serviceAccountName",
        "spark.kubernetes.authenticate.serviceAccountName",
        "spark.kubernetes.driver.master",
        "spark.kubernetes.submitInDriver",
        "spark.kubernetes.driver.pod.name",
        "spark.kubernetes.driver.podTemplateFile",
        "spark.kubernetes.executor.podTemplateFile",
        "spark.kubernetes.executor.podTemplateContainerName",
        "spark.kubernetes.executor.podNamePrefix",
        "spark.kubernetes.executor.label.spark-submit-as/job",
        "spark.app.id",
        "spark.remote",
        "spark.connect.grpc.binding.port",
        "spark.authenticate.secret",
        "spark.authenticate.secret.file",
        "spark.driver.host",
        "spark.kubernetes.executor.secretKeyRef._SPARK_AUTH_SECRET",
    ];
    for key in keys {
        for mut spelling in spellings(key, "x") {
            spelling.push("app.py".into());
            let spelling: Vec<&str> = spelling.iter().map(String::as_str).collect();
            let error = submit(&spelling).expect_err(&spelling.join(" "));
            assert!(error.to_string().contains(key), "{error}");
        }
        assert!(check_key(key, Origin::Request).is_err(), "{key}");
    }
    let weaker = [
        ("spark.submit.deployMode", "cluster", "client"),
        ("spark.kubernetes.trust.certificates", "true", "false"),
        ("spark.authenticate", "false", "true"),
        ("spark.network.crypto.enabled", "false", "true"),
        ("spark.network.crypto.saslFallback", "true", "false"),
        ("spark.network.crypto.authEngineVersion", "1", "2"),
        ("spark.io.encryption.enabled", "false", "true"),
        ("spark.kubernetes.executor.useDriverPodIP", "true", "false"),
        ("spark.kubernetes.executor.disableConfigMap", "false", "true"),
        ("spark.api.mode", "connect", "classic"),
    ];
    for (key, bad, good) in weaker {
        for spelling in spellings(key, bad) {
            let mut spelling: Vec<&str> = spelling.iter().map(String::as_str).collect();
            spelling.push("app.py");
            assert!(submit(&spelling).is_err(), "{spelling:?}");
        }
        assert!(submit(&["--conf", &format!("{key}={good}"), "app.py"]).is_ok(), "{key}={good}");
    }
}

#[test]
fn checklist_70_to_74_options_that_are_refused() {
    let refused: &[&[&str]] = &[
        &["--master", "local", "a.py"],
        &["--master=k8s://https://x", "a.py"],
        &["--deploy-mode", "cluster", "a.py"],
        &["--deploy-mode=cluster", "a.py"],
        &["--deploy-mode", "Client", "a.py"],
        &["--proxy-user", "bob", "a.py"],
        &["--proxy-user=bob", "a.py"],
        &["--kill", "ns:pod"],
        &["--status", "ns:pod"],
        &["--remote", "sc://x", "a.py"],
        &["--supervise", "a.py"],
        &["--properties-file", "x", "a.py"],
        &["--properties-file=x", "a.py"],
        &["--extra-properties-file", "x", "a.py"],
        &["--conf", "a.py"],
        &["--conf", "spark.x", "a.py"],
        &["--conf"],
        &["--class"],
        &["--conf", " spark.kubernetes.namespace=x", "a.py"],
        &["--conf", "spark.kubernetes.namespace =x", "a.py"],
        &["--conf", "=x", "a.py"],
        &["--driver-java-options", "-Dspark.master=local", "a.py"],
        &["--driver-java-options=-Dkubernetes.master=x", "a.py"],
        &["--conf", "spark.driver.extraJavaOptions=-Xmx1g -Dspark.kubernetes.namespace=x", "a.py"],
        &["--conf", "spark.driver.defaultJavaOptions=-Dkubeconfig=/x", "a.py"],
        &["pyspark-shell-main"],
        &["sparkr-shell-main"],
        &["run-example", "SparkPi"],
        &["pyspark-shell"],
        &["--", "a.py"],
        &["-x", "a.py"],
        &["--nosuch", "a.py"],
        &["--nosuch=1", "a.py"],
        &["-c=spark.x=y", "a.py"],
        &["--conf=", "a.py"],
        &["--class=a\nb", "a.py"],
        &["a.py", "x\ry"],
        &[],
        &["--verbose"],
    ];
    for case in refused {
        assert!(submit(case).is_err(), "{case:?}");
    }
    let accepted: &[&[&str]] = &[
        &["a.py"],
        &["--deploy-mode", "client", "a.py"],
        &["--class", "org.X", "local:///a.jar", "--master", "local"],
        &["--name", "--master", "a.py"],
        &["--conf", "spark.x=a=b=c", "a.py"],
        &["--conf=spark.x=y", "-c", "spark.z=", "--verbose", "a.py", "--conf", "spark.master=x"],
        &["--packages", "g:a:v", "--repositories", "r", "--exclude-packages", "g:b", "a.jar"],
        &[
            "--num-executors",
            "2",
            "--executor-cores=1",
            "--executor-memory",
            "1g",
            "--driver-memory",
            "1g",
            "a.py",
        ],
        &["--py-files", "a.zip,b.py", "--files", "c", "--archives", "d.zip#e", "--jars", "f.jar", "a.py"],
        &["--keytab", "k", "--principal", "p", "--queue", "q", "a.py"],
        &["--load-spark-defaults", "--driver-default-class-path", "x", "a.py"],
        &["--driver-java-options", "-Xss4m -Dmy.key=1", "a.py"],
        &["--version"],
        &["--help"],
        &["a.py", "", "-x", "--", "a b", "$(id)", "\"", "'", "\n"],
    ];
    for case in accepted {
        assert!(submit(case).is_ok(), "{case:?}: {:?}", submit(case));
    }
}

#[test]
fn shells_take_options_and_spark_sql_its_own() {
    assert!(parse(Program::Pyspark, &words(&["--conf", "spark.x=y"])).is_ok());
    assert!(parse(Program::Pyspark, &words(&["a.py"])).is_err());
    assert!(parse(Program::SparkShell, &[]).is_ok());
    assert!(parse(Program::SparkSql, &words(&["--name", "n", "-e", "select 1", "-S"])).is_ok());
    assert!(parse(Program::SparkSql, &words(&["--hiveconf", "spark.master=local"])).is_err());
    assert!(parse(Program::SparkSql, &words(&["-e"])).is_err());
    assert!(parse(Program::SparkSql, &words(&["--nosuch"])).is_err());
}

fn settings(command: &[OsString]) -> Vec<(String, String)> {
    let pairs = command.windows(2).filter(|pair| pair[0] == "--conf");
    pairs
        .filter_map(|pair| pair[1].to_str()?.split_once('='))
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}

#[test]
fn what_is_enforced_comes_after_the_users_words_and_before_the_application() {
    let parsed = submit(&["--conf", "spark.x=user", "--name", "n", "app.py", "--conf", "spark.x=argument"])
        .expect("ok");
    let mut profile = Spark::default();
    profile.enforced.insert("spark.x".into(), "profile".into());
    let command = command_line(Program::SparkSubmit, &parsed, &facts(), &profile);
    let at = command.iter().position(|word| word == "app.py").expect("application");
    assert_eq!(command[at + 1..], words(&["--conf", "spark.x=argument"]));
    let master = command.iter().rposition(|word| word == "--master").expect("master");
    assert!(master < at && command[master + 1] == "k8s://https://10.0.0.1:6443");
    let settings = settings(&command[..at]);
    let last = |key: &str| settings.iter().rev().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
    assert_eq!(last("spark.x"), Some("profile"));
    assert_eq!(last("spark.kubernetes.namespace"), Some("dss-ns-alice"));
    assert_eq!(last("spark.kubernetes.executor.useDriverPodIP"), Some("false"));
    assert_eq!(last("spark.ui.enabled"), Some("false"));
    assert_eq!(command[..2], words(&["--properties-file", "/run/x/spark.properties"]));
    // No secret is on the command line, only the path of its file.
    assert_eq!(last("spark.authenticate.secret.driver.file"), Some("/run/x/secret"));
}

#[test]
fn every_enforced_setting_is_refused_from_the_user_unless_it_is_the_same() {
    for (key, value) in command::enforced(&facts()) {
        let other = format!("{key}=something-else");
        assert!(submit(&["--conf", &other, "a.py"]).is_err(), "{other}");
        let key_is_ours = check_key(&key, Origin::User).is_err();
        let same = format!("{key}={}", value.to_string_lossy());
        assert!(key_is_ours || submit(&["--conf", &same, "a.py"]).is_ok(), "{same}");
    }
}

#[test]
fn checklist_77_words_arrive_byte_for_byte() {
    let strange: Vec<OsString> = [
        b"\xff\xfe".to_vec(),
        b"a b".to_vec(),
        b"$(id)".to_vec(),
        b"'\"\\".to_vec(),
        b"\n".to_vec(),
        Vec::new(),
    ]
    .into_iter()
    .map(OsString::from_vec)
    .collect();
    let mut given = words(&["--name"]);
    given.push(OsString::from_vec(b"\xff name".to_vec()));
    given.push("app.py".into());
    given.extend(strange.iter().cloned());
    let parsed = parse(Program::SparkSubmit, &given).expect("accepted");
    let command = command_line(Program::SparkSubmit, &parsed, &facts(), &Spark::default());
    assert!(command.ends_with(&strange));
    assert!(command.contains(&OsString::from_vec(b"\xff name".to_vec())));
}

#[test]
fn staged_paths_become_those_of_the_copies() {
    let staged =
        [(OsString::from("/h/job.py"), OsString::from("/s/job.py")), ("/h/d.zip".into(), "/s/d.zip".into())];
    let parsed = submit(&[
        "--py-files",
        "/h/job.py,/x,/h/d.zip",
        "--archives=/h/d.zip#data",
        "--conf",
        "spark.files=/h/job.py,/y",
        "--name",
        "/h/job.pyc",
        "/h/job.py",
        "file:///h/d.zip",
        "/h/job.py#x",
        "/h/job.pyx",
    ])
    .expect("accepted");
    let after = substitute(&parsed, &staged);
    let command = command_line(Program::SparkSubmit, &after, &facts(), &Spark::default());
    for word in
        ["/s/job.py,/x,/s/d.zip", "--archives=/s/d.zip#data", "spark.files=/s/job.py,/y", "/h/job.pyc"]
    {
        assert!(command.iter().any(|found| found == word), "{word} in {command:?}");
    }
    assert!(command.ends_with(&words(&["/s/job.py", "/s/d.zip", "/s/job.py#x", "/h/job.pyx"])));
}

#[test]
fn bounds_of_the_command_line() {
    assert!(parse(Program::SparkSubmit, &vec![OsString::from("a"); 4097]).is_err());
    assert!(parse(Program::SparkSubmit, &[OsString::from("a".repeat(128 * 1024))]).is_err());
    assert!(parse(Program::SparkSubmit, &vec![OsString::from("a".repeat(100 * 1024)); 11]).is_err());
    assert!(parse(Program::SparkSubmit, &[OsStr::from_bytes(b"a\0b").to_owned()]).is_err());
}

#[test]
fn checklist_102_no_words_make_it_panic() {
    // A linear congruential generator (Knuth's MMIX constants): the same words in every run.
    let mut state = 42_u64;
    let mut next = move |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap_or(0) % bound
    };
    let parts: &[&[u8]] = &[
        b"--",
        b"-",
        b"c",
        b"conf",
        b"--conf",
        b"=",
        b"spark.",
        b"master",
        b"\xff",
        b"\n",
        b" ",
        b",",
        b"#",
        b"--name",
        b"app.py",
        b"--archives",
        b"spark.kubernetes.namespace",
        b"secret",
        b"--password",
        b"file://",
    ];
    for _ in 0..20_000 {
        let line: Vec<OsString> = (0..next(6))
            .map(|_| {
                OsString::from_vec((0..next(4)).flat_map(|_| parts[next(parts.len())].to_vec()).collect())
            })
            .collect();
        for program in [Program::SparkSubmit, Program::SparkSql, Program::Pyspark] {
            if let Ok(parsed) = parse(program, &line) {
                let parsed = substitute(&parsed, &[("app.py".into(), "/s/app.py".into())]);
                let command = command_line(program, &parsed, &facts(), &Spark::default());
                assert!(command.iter().any(|word| word == "--master"));
            }
        }
        let _ = redacted(&line);
    }
}
