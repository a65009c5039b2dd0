//! The option grammar: what Spark takes for an option, a value, the application.

use super::*;
use crate::spark::options::OPTIONS;
use crate::spark::words::{MAX_BYTES, MAX_WORD, MAX_WORDS};

#[test]
fn the_table_is_sorted_and_without_doubles() {
    let names = |takes_value: bool| {
        OPTIONS.iter().filter(|o| o.takes_value == takes_value).map(|o| o.name).collect::<Vec<_>>()
    };
    for list in [names(true), names(false)] {
        assert!(list.windows(2).all(|pair| pair[0] < pair[1]), "{list:?}");
    }
    assert_eq!(OPTIONS.len(), 37);
}

#[test]
fn options_end_at_the_application() {
    // Words, index of the application.
    let rows: &[(&[&str], Option<usize>)] = &[
        (&["app.py"], Some(0)),
        (&["app.py", "--master", "x"], Some(0)),
        (&["--class", "A", "app.jar", "1000"], Some(2)),
        (&["--class=A", "app.jar", "1000"], Some(1)),
        (&["-c", "a=b", "app.jar"], Some(2)),
        (&["--conf=a=b=c", "app.jar"], Some(1)),
        (&["--verbose", "-v", "app.jar"], Some(2)),
        (&["--verbose=yes", "app.jar"], Some(1)),
        (&["--name", "--class", "app.jar"], Some(2)),
        (&["--name", "app.py", "app.py"], Some(2)),
        (&["--name", "", "app.py"], Some(2)),
        (&["--name=a b=c", "app.py"], Some(1)),
        (&["--files", "-", "app.py", "--"], Some(2)),
        (&["--load-spark-defaults", "app.py"], Some(1)),
        (&["--driver-default-class-path", "x", "app.py"], Some(2)),
        (&["-v", "pyspark-shell"], Some(1)),
        (&["--help"], None),
        (&["-h"], None),
        (&["--version"], None),
        (&["--usage-error"], None),
    ];
    for (list, primary) in rows {
        let parsed = submit(list);
        assert_eq!(parsed.primary_index(), *primary, "{list:?}");
        assert_eq!(parsed.is_informational(), primary.is_none(), "{list:?}");
        assert_eq!(parsed.words(), words(list));
    }
}

#[test]
fn values_are_taken_verbatim() {
    let parsed = submit(&["--conf", "a=", "-c", "--x==y", "--conf=k= v\t", "--name= n", "--jars", "--", "x"]);
    let values: Vec<_> = parsed.options().iter().map(|o| parsed.value(o).unwrap()).collect();
    assert_eq!(values, [&b"a="[..], b"--x==y", b"k= v\t", b" n", b"--"]);
    let spellings: Vec<_> = parsed.options().iter().map(|o| parsed.spelling(o)).collect();
    assert_eq!(spellings, ["--conf", "-c", "--conf=", "--name=", "--jars"]);
    let settings: Vec<_> = parsed.settings().map(|(_, key, value)| (key, value)).collect();
    assert_eq!(settings, [(&b"a"[..], &b""[..]), (b"--x", b"=y"), (b"k", b" v\t")]);
}

#[test]
fn what_spark_would_refuse_is_refused_by_name() {
    // Words, what the message names.
    let rows: &[(&[&str], &str)] = &[
        (&[], "no application"),
        (&["--verbose"], "no application"),
        (&["--name", "x"], "no application"),
        (&["--name"], "--name needs a value"),
        (&["--verbose", "-c"], "-c needs a value"),
        (&["--conf", "novalue", "app.py"], "--conf needs key=value"),
        (&["--conf=novalue", "app.py"], "--conf= needs key=value"),
        (&["-c", "", "app.py"], "-c needs key=value"),
        (&["-c=a=b", "app.py"], "-c=a=b is not an option"),
        (&["--", "app.py"], "-- is not an option"),
        (&["-", "app.py"], "- is not an option"),
        (&["--name=", "app.py"], "--name= is not an option"),
        (&["--name=a\nb", "app.py"], "--name=a\\nb is not an option"),
        (&["--name=a\rb", "app.py"], "is not an option"),
        (&["--name=a\u{2028}b", "app.py"], "is not an option"),
        (&["--Conf", "a=b", "app.py"], "--Conf is not an option"),
        (&["--con", "a=b", "app.py"], "--con is not an option"),
        (&[" --conf", "a=b"], "ok"),
        (&["--conf ", "a=b", "app.py"], "--conf  is not an option"),
        (&["--con\rf", "a=b", "app.py"], "is not an option"),
        (&["--=x", "app.py"], "--=x is not an option"),
        (&["--nonsense=x", "app.py"], "--nonsense=x is not an option"),
        (&["pyspark-shell-main"], "pyspark-shell-main is refused as the application"),
        (&["--verbose", "sparkr-shell-main"], "sparkr-shell-main is refused"),
        (&["run-example", "SparkPi"], "run-example is refused"),
        // A word that becomes an option once bin/spark-class has removed its carriage return.
        (&["\r--conf", "spark.master=local"], "\\r--conf is refused"),
    ];
    for (list, message) in rows {
        match parse(Program::SparkSubmit, &words(list), NEWEST) {
            Ok(_) => assert_eq!(*message, "ok", "{list:?}"),
            Err(error) => assert!(error.to_string().contains(message), "{list:?}: {error}"),
        }
    }
}

#[test]
fn each_release_has_its_options() {
    let version = |text| SparkVersion::parse(text).unwrap();
    let rows: &[(&str, &str, bool)] = &[
        ("3.4.4", "--remote", true),
        ("3.4.4", "--load-spark-defaults", false),
        ("3.5.9", "--load-spark-defaults", false),
        ("4.0.5", "--load-spark-defaults", true),
        ("3.5.9", "--driver-default-class-path", false),
        ("4.0.0-preview2", "--driver-default-class-path", true),
        ("4.1.4", "--extra-properties-file", false),
        ("4.2.1", "--extra-properties-file", true),
        ("4.3.0", "--extra-properties-file", true),
        ("5.0", "--extra-properties-file", true),
    ];
    for (release, option, known) in rows {
        let list = words(&[option, "x", "app.py"]);
        let result = parse(Program::SparkSubmit, &list, Some(version(release)));
        assert_eq!(result.is_ok(), *known, "{release} {option}");
        if let Err(error) = result {
            assert!(error.to_string().starts_with(option), "{error}");
        }
    }
    // A release that is not known: an application is safe (the release refuses the option), a shell is not.
    let list = words(&["--driver-default-class-path", "--conf", "app.py"]);
    assert!(parse(Program::SparkSubmit, &list, None).is_ok());
    assert!(matches!(parse(Program::SparkSql, &list, None), Err(ArgumentError::OptionTooNew { .. })));
    assert_eq!(SparkVersion::parse("four"), None);
}

#[test]
fn shells_mix_options_with_their_own_words() {
    let sql = words(&["-e", "select 1", "--conf", "a=b", "-S", "--name", "n"]);
    let parsed = parse(Program::SparkSql, &sql, NEWEST).unwrap();
    assert_eq!(parsed.primary_index(), None);
    assert_eq!(parsed.insertion_point(), 7);
    assert_eq!(parsed.options().len(), 2);
    // A shell without any word is a session.
    for program in [Program::Pyspark, Program::SparkShell, Program::SparkSql] {
        assert!(parse(program, &[], NEWEST).is_ok());
    }
    // The same happens to spark-submit once a shell's class is named.
    for class in ["org.apache.spark.repl.Main", "org.apache.spark.sql.hive.thriftserver.HiveThriftServer2"] {
        let parsed = submit(&["--class", class, "x", "--conf", "a=b"]);
        assert_eq!((parsed.primary_index(), parsed.options().len()), (None, 2), "{class}");
        assert_eq!(submit(&["x", "--class", class, "--conf", "a=b"]).options().len(), 0);
    }
    // pyspark runs no application.
    for (word, message) in [("app.py", "runs no application"), ("--x", "--x is not an option of pyspark")] {
        let error = parse(Program::Pyspark, &words(&["--name", "n", word]), NEWEST).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
    assert!(matches!(
        parse(Program::SparkSql, &words(&["-e", "x", "--name"]), NEWEST),
        Err(ArgumentError::MissingValue { .. })
    ));
}

#[test]
fn sizes_are_bounded() {
    let many = vec![OsString::from("x"); MAX_WORDS + 1];
    assert!(matches!(parse(Program::SparkSubmit, &many, NEWEST), Err(ArgumentError::TooMany { .. })));
    assert!(parse(Program::SparkSubmit, &many[1..], NEWEST).is_ok());
    let long = |length| vec![OsString::from("x".repeat(length))];
    assert!(parse(Program::SparkSubmit, &long(MAX_WORD), NEWEST).is_ok());
    let error = parse(Program::SparkSubmit, &long(MAX_WORD + 1), NEWEST).unwrap_err();
    assert!(matches!(error, ArgumentError::TooLong { position: 1, .. }));
    let much = vec![OsString::from("x".repeat(MAX_WORD)); MAX_BYTES / MAX_WORD];
    assert!(parse(Program::SparkSubmit, &much, NEWEST).is_ok());
    let too_much = vec![OsString::from("x".repeat(MAX_WORD)); MAX_BYTES / MAX_WORD + 1];
    assert!(matches!(parse(Program::SparkSubmit, &too_much, NEWEST), Err(ArgumentError::TooMuch { .. })));
    assert!(matches!(
        parse(Program::SparkSubmit, &[bytes(b"a"), bytes(b"b\0c")], NEWEST),
        Err(ArgumentError::Nul { position: 2 })
    ));
}

#[test]
fn random_words_never_panic_and_enforced_settings_stay_last() {
    const PIECES: &[&[u8]] = &[
        b"--conf",
        b"-c",
        b"--conf=",
        b"=",
        b"--name",
        b"--class",
        b"org.apache.spark.repl.Main",
        b"--master",
        b"spark.kubernetes.namespace",
        b"spark.files=",
        b"/a,/b#c",
        b"--",
        b"-",
        b"",
        b" ",
        b"\r",
        b"\n",
        b"\xff",
        b"\xc3",
        b"--jars",
        b"--jars=",
        b"app.py",
        b"--help",
        b"password=",
        b"://u:p@h",
        b"-D",
        b"\\",
        b"\"",
        b"--driver-java-options",
        b"spark.driver.extraJavaOptions=",
        b"k=v",
        b"--verbose",
        b"--archives=",
        b"--properties-file",
        b"pyspark-shell-main",
        b"--deploy-mode",
        b"client",
        b"token",
        b"\xe2\x80\xa8",
    ];
    let programs = [Program::SparkSubmit, Program::Pyspark, Program::SparkShell, Program::SparkSql];
    let versions = [None, NEWEST, SparkVersion::parse("3.4")];
    let staged = [(OsString::from("/a"), OsString::from("/staged/a"))];
    let mut random = Random(0x5eed);
    let mut accepted = 0;
    for _ in 0..10_000 {
        let mut list = Vec::new();
        for _ in 0..random.below(8) {
            let word: Vec<&[u8]> =
                (0..=random.below(2)).map(|_| PIECES[random.below(PIECES.len())]).collect();
            list.push(bytes(&word.concat()));
        }
        assert!(redacted(&list).len() <= list.len());
        let Ok(parsed) = parse(programs[random.below(4)], &list, versions[random.below(3)]) else { continue };
        if check_arguments(&parsed, &namespace()).is_err() {
            continue;
        }
        accepted += 1;
        let parsed = parsed.substitute(&staged);
        let line = line(&parsed);
        // Read again, our line is what we meant: ours last, nothing swallowed, the application in its place.
        let again = parse(parsed.program(), &line, NEWEST).unwrap();
        let last = |key: &[u8]| again.settings().filter(|(_, k, _)| *k == key).map(|(_, _, v)| v).last();
        assert_eq!(last(b"spark.kubernetes.namespace"), Some(&b"team-a"[..]), "{line:?}");
        assert_eq!(last(b"spark.app.id"), Some(&b"abcdefghijklmnop"[..]), "{line:?}");
        let master = again.options().iter().rfind(|o| o.spec.name == "--master").unwrap();
        assert_eq!(again.value(master), Some(&b"k8s://https://192.0.2.1:6443"[..]));
        let rest = |parsed: &Parsed| parsed.words()[parsed.insertion_point()..].to_vec();
        assert_eq!(rest(&again), rest(&parsed), "{line:?}");
    }
    assert!(accepted > 500, "{accepted}");
}
