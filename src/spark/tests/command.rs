//! The command line: order, bytes, staged paths, and what of it may be shown.

use super::*;
use crate::spark::command::enforced;

fn at(line: &[OsString], word: &str) -> usize {
    line.iter().position(|w| w == word).unwrap_or_else(|| panic!("{word} in {line:?}"))
}

#[test]
fn the_order_is_file_user_profile_wrapper_application() {
    let spark = config::Spark {
        enforced: [("spark.executor.memory", "2g"), ("spark.network.crypto.authEngineVersion", "3")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        ..config::Spark::default()
    };
    let parsed = submit(&["--name", "n", "--conf", "a=b", "app.py", "--conf", "x"]);
    let line = command_line(&parsed, &facts(), &spark);
    assert_eq!(
        line[..6],
        words(&["--properties-file", "/run/x/job.properties", "--name", "n", "--conf", "a=b"])
    );
    assert_eq!(line[6..10], words(&["--conf", "spark.executor.memory=2g", "--executor-memory", "2g"]));
    assert_eq!(line[line.len() - 3..], words(&["app.py", "--conf", "x"]));
    assert_eq!(
        line[line.len() - 7..line.len() - 3],
        words(&["--master", "k8s://https://192.0.2.1:6443", "--deploy-mode", "client"])
    );
    assert!(at(&line, "spark.executor.memory=2g") < at(&line, "spark.kubernetes.namespace=team-a"));
    // The profile's stronger value is not followed by our weaker one.
    at(&line, "spark.network.crypto.authEngineVersion=3");
    assert!(!line.contains(&"spark.network.crypto.authEngineVersion=2".into()));
}

#[test]
fn every_enforced_setting_is_there() {
    let line = line(&submit(&["app.py"]));
    for setting in [
        "spark.kubernetes.namespace=team-a",
        "spark.app.id=abcdefghijklmnop",
        "spark.kubernetes.executor.podNamePrefix=spark-abcdefghijklmnop",
        "spark.kubernetes.executor.label.spark-submit-as/job=abcdefghijklmnop",
        "spark.kubernetes.authenticate.executor.serviceAccountName=ssa-executor",
        "spark.kubernetes.executor.podTemplateFile=/run/x/template.json",
        "spark.kubernetes.executor.podTemplateContainerName=executor",
        "spark.kubernetes.trust.certificates=false",
        "spark.driver.host=192.0.2.7",
        "spark.kubernetes.executor.useDriverPodIP=false",
        "spark.kubernetes.executor.disableConfigMap=true",
        "spark.kubernetes.driver.service.deleteOnTermination=false",
        "spark.kubernetes.driver.ownPersistentVolumeClaim=false",
        "spark.authenticate=true",
        "spark.network.crypto.enabled=true",
        "spark.network.crypto.saslFallback=false",
        "spark.network.crypto.authEngineVersion=2",
        "spark.io.encryption.enabled=true",
        "spark.authenticate.secret.driver.file=/run/x/auth",
        "spark.authenticate.secret.executor.file=/dev/null",
        "spark.kubernetes.executor.secretKeyRef._SPARK_AUTH_SECRET=ssa-job-abcdefghijklmnop:auth",
    ] {
        assert_eq!(line[at(&line, setting) - 1], "--conf");
    }
    let facts = JobFacts { auth_secret_file: None, properties_file: None, ..facts() };
    assert!(enforced(&facts).iter().all(|(key, _)| !key.contains("ecret")));
    // Without a properties file the defaults come before the user's words.
    let line =
        command_line(&submit(&["-c", "spark.ui.enabled=true", "x"]), &facts, &config::Spark::default());
    let first =
        ["--conf", "spark.ui.enabled=false", "--conf", "spark.ui.port=0", "-c", "spark.ui.enabled=true"];
    assert_eq!(line[..6], words(&first));
}

#[test]
fn shells_get_their_settings_at_the_very_end() {
    let list = words(&["-e", "select 1", "--name", "n"]);
    let line = line(&accept(Program::SparkSql, &list).unwrap());
    assert_eq!(line[2..6], list);
    assert_eq!(line[line.len() - 2..], words(&["--deploy-mode", "client"]));
}

#[test]
fn a_tool_with_arguments_of_its_own_gets_these_and_no_others() {
    let list = [words(&["-u", "x", "--conf", "spark.master=local", "--kill"]), vec![bytes(b"\xff")]].concat();
    let parsed = Parsed::own(&list).unwrap();
    check_arguments(&parsed, &namespace()).unwrap();
    assert_eq!(line(&parsed), list);
    let staged = parsed.substitute(&[("x".into(), "/copy".into())]);
    assert_eq!(line(&staged)[1], OsString::from("/copy"));
    assert!(Parsed::own(&[bytes(b"a\0b")]).is_err());
}

#[test]
fn checklist_77_words_arrive_byte_for_byte() {
    let odd: Vec<Vec<u8>> = vec![
        b"--name".to_vec(),
        b"two words 'and' \"quotes\"".to_vec(),
        b"--conf".to_vec(),
        b"spark.x=$(id);`id`|&\n*?~ \xff\xfe\x80".to_vec(),
        b"--files=/tmp/\xe9t\xe9".to_vec(),
        b"--class=\xc3\x28".to_vec(),
        b"app\xff.py".to_vec(),
        b"".to_vec(),
        b"\r\n\t".to_vec(),
        b"--conf".to_vec(),
        (1..=255).collect(),
    ];
    let odd: Vec<OsString> = odd.iter().map(|word| bytes(word)).collect();
    let parsed = accept(Program::SparkSubmit, &odd).unwrap();
    let line = line(&parsed);
    assert_eq!(line[2..8], odd[..6]);
    assert_eq!(line[line.len() - 5..], odd[6..]);
}

#[test]
fn staged_paths_are_replaced_where_they_are_files() {
    let staged: Vec<(OsString, OsString)> = [
        (b"/in/job.py".to_vec(), b"/s/0/job.py".to_vec()),
        (b"/in/a".to_vec(), b"/s/1/a".to_vec()),
        (b"/in/\xff,x".to_vec(), b"/s/2/x".to_vec()),
    ]
    .map(|(from, to)| (bytes(&from), bytes(&to)))
    .into();
    let rows: &[(&[u8], &[u8])] = &[
        (b"--files", b"--files"),
        (b"/in/a,/in/b,/in/a#n,hdfs:/in/a", b"/s/1/a,/in/b,/s/1/a#n,hdfs:/in/a"),
        (b"--jars=/in/b,/in/a", b"--jars=/in/b,/s/1/a"),
        (b"--archives=/in/a#env", b"--archives=/s/1/a#env"),
        (b"--py-files", b"--py-files"),
        (b"/in/a", b"/s/1/a"),
        (b"--jars=/in/\xff,x", b"--jars=/s/2/x"),
        (b"--conf", b"--conf"),
        (b"spark.files=/in/a,/in/a", b"spark.files=/s/1/a,/s/1/a"),
        (b"--conf=spark.submit.pyFiles=/in/a", b"--conf=spark.submit.pyFiles=/s/1/a"),
        (b"-c", b"-c"),
        (b"spark.archives=x,/in/a#y", b"spark.archives=x,/s/1/a#y"),
        (b"--conf=spark.jars=/in/a", b"--conf=spark.jars=/s/1/a"),
        (b"--conf=spark.other=/in/a", b"--conf=spark.other=/in/a"),
        (b"--name=x,/in/a", b"--name=x,/in/a"),
        (b"/in/job.py", b"/s/0/job.py"),
        (b"/in/a", b"/s/1/a"),
        (b"x/in/a", b"x/in/a"),
        (b"/in/a,/in/a", b"/in/a,/in/a"),
        (b"--files=/in/a", b"--files=/in/a"),
    ];
    let before: Vec<OsString> = rows.iter().map(|(word, _)| bytes(word)).collect();
    let after: Vec<OsString> = rows.iter().map(|(_, word)| bytes(word)).collect();
    let parsed = accept(Program::SparkSubmit, &before).unwrap().substitute(&staged);
    assert_eq!(parsed.words(), after);
    assert_eq!(parsed.primary_index(), Some(15));
}

#[test]
fn secrets_are_not_shown() {
    let rows: &[(&[u8], &str)] = &[
        (b"--conf", "--conf"),
        (b"spark.ssl.keyPassword=hunter2", "spark.ssl.keyPassword=*********(redacted)"),
        (
            b"--conf=spark.hadoop.fs.s3a.access.key=AK",
            "--conf=spark.hadoop.fs.s3a.access.key=*********(redacted)",
        ),
        (b"-Dapi-key=x", "-Dapi-key=*********(redacted)"),
        (b"spark.x=-Ddb.passwd=x -Dy=z", "spark.x=-Ddb.passwd=*********(redacted)"),
        (b"{\"token\": \"x\"}", "{\"token\"*********(redacted)"),
        (b"--db-password", "--db-password"),
        (b"hunter2", "*********(redacted)"),
        // An option that a careless line takes for the value of the one before is an option all the same.
        (b"--password", "--password"),
        (b"--token", "*********(redacted)"),
        (b"hunter3", "*********(redacted)"),
        (b"shown again", "shown again"),
        (b"jdbc:x://bob:pw@db/x", "jdbc:x://bob:*********(redacted)"),
        (b"s3://bucket/tokens/part-0", "s3://bucket/tokens/part-0"),
        (b"org.example.TokenCount", "org.example.TokenCount"),
        (b"https://host:8080/x?y=1", "https://host:8080/x?y=1"),
        (b"a\x1b[31m\nb\xff\\", "a\\u{1b}[31m\\nb\\xff\\\\"),
        ("é \u{202e}".as_bytes(), "é \\u{202e}"),
    ];
    let line: Vec<OsString> = rows.iter().map(|(word, _)| bytes(word)).collect();
    let shown: Vec<&str> = rows.iter().map(|(_, shown)| *shown).collect();
    assert_eq!(redacted(&line), shown);
}

#[test]
fn what_is_shown_is_bounded() {
    let one = redacted(&[OsString::from("x".repeat(5000))]);
    assert!(one[0].len() < 1100 && one[0].ends_with("(3976 more bytes)"));
    let all = redacted(&vec![OsString::from("y".repeat(1000)); 4000]);
    assert!(all.iter().map(String::len).sum::<usize>() < 70_000);
    assert!(all.last().unwrap().ends_with("more words)"));
    // Many names of secrets in a long word take no time.
    assert_eq!(redacted(&vec![OsString::from("token/".repeat(20_000)); 50]).len(), 50);
}
