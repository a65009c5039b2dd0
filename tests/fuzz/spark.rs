//! Spark's side: words, command line, properties file, pod template, and what is shown of them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use serde_json::{Value, json};
use spark_submit_as::policy::config::{Program, Spark};
use spark_submit_as::policy::names::{JobId, NamespaceName};
use spark_submit_as::protocol::{EXECUTOR_ACCOUNT, JOB_LABEL};
use spark_submit_as::spark::command::{DEFAULTS, FLAGS, enforced};
use spark_submit_as::spark::keys::{ENFORCED, EXECUTOR_CONTAINER, REFUSED};
use spark_submit_as::spark::options::OPTIONS;
use spark_submit_as::spark::*;

use super::harness::{Bound, bounded, plain};
use super::java;
use super::random::Random;
use super::yaml;

/// Words are copied once and options noted; an option of three bytes costs 64.
const WORDS: Bound = Bound { factor: 64, constant: 64 << 10 };
/// A properties file is copied and read; a key of one byte costs two lists.
const FILE: Bound = Bound { factor: 64, constant: 64 << 10 };
/// As for the configuration.
const TEMPLATE: Bound = Bound { factor: 256, constant: 64 << 20 };
/// A byte that is no text is shown as four; what is shown is bounded.
const SHOWN: Bound = Bound { factor: 8, constant: 256 << 10 };

const PIECES: &[&[u8]] = &[
    b"--",
    b"-",
    b"",
    b" ",
    b"=",
    b"\r",
    b"\n",
    b"\xff",
    b"\xc3",
    b"\xe2\x80\xa8",
    b"-D",
    b"\\",
    b"\"",
    b"'",
    b"k=v",
    b"app.py",
    b"/a,/b#c",
    b"client",
    b"cluster",
    b"org.apache.spark.repl.Main",
    b"pyspark-shell-main",
    b"spark.files=",
    b"spark.driver.extraJavaOptions=",
    b"-Dspark.master=x",
    b"-Dkubeconfig=x",
    b"--conf=",
    b"spark.",
    b"kubernetes.",
    b"$(id)",
    b"`id`",
    b";",
    b"%n",
    b"\x1b[2J",
    b"a",
];

const OTHER_KEYS: &[&str] = &["spark.executor.memory", "spark.x", "x", "spark.sql.shuffle.partitions"];

fn key(random: &mut Random) -> &'static str {
    match random.below(4) {
        0 => random.pick(REFUSED).key,
        1 => random.pick(FLAGS).0,
        2 => random.pick(ENFORCED).key,
        _ => OTHER_KEYS[random.below(OTHER_KEYS.len())],
    }
}

fn word(random: &mut Random) -> Vec<u8> {
    let some = |random: &mut Random| -> Vec<u8> {
        (0..=random.below(2)).flat_map(|_| random.pick(PIECES).to_vec()).collect()
    };
    let option = random.pick(OPTIONS);
    let name = if random.one_in(3) { option.short.unwrap_or(option.name) } else { option.name };
    match random.below(9) {
        0 => [name.as_bytes(), b"=", &some(random)].concat(),
        1 | 2 => name.as_bytes().to_vec(),
        3 => [b"--conf=", key(random).as_bytes(), b"=", &some(random)].concat(),
        4 => [key(random).as_bytes(), b"=", &some(random)].concat(),
        5 => random.bytes(12),
        6 if random.one_in(100) => random.repeated(200_000),
        _ => some(random),
    }
}

fn words(random: &mut Random) -> Vec<OsString> {
    let many = if random.one_in(300) { 5000 } else { 9 };
    let mut list = Vec::new();
    for _ in 0..random.below(many) {
        match random.below(5) {
            // Whole settings, so that much is taken.
            0 => list.extend([b"--conf".to_vec(), [key(random).as_bytes(), b"=x"].concat()]),
            1 => list.extend([b"--name".to_vec(), random.pick(PIECES).to_vec()]),
            _ => list.push(word(random)),
        }
    }
    if random.one_in(3) {
        list.push(b"local:///app.jar".to_vec());
        list.push(word(random));
    }
    list.into_iter().map(OsString::from_vec).collect()
}

fn facts(random: &mut Random) -> JobFacts {
    let secret = random.one_in(2);
    JobFacts {
        job: JobId::new("abcdefghijklmnop").unwrap(),
        namespace: NamespaceName::new("team-a").unwrap(),
        server: "https://192.0.2.1:6443".into(),
        driver_host: "192.0.2.7".into(),
        driver_ports: None,
        pod_template: PathBuf::from("/run/x/template.json"),
        auth_secret_file: secret.then(|| PathBuf::from("/run/x/auth")),
        properties_file: random.one_in(2).then(|| PathBuf::from("/run/x/job.properties")),
    }
}

/// Settings of a profile that the configuration's parser would take.
fn profile(random: &mut Random) -> Spark {
    let mut spark = Spark::default();
    for _ in 0..random.below(4) {
        spark.enforced.insert(key(random).into(), random.word(&["x", "true", "3", "a b", "-v"]));
        if check_profile(&spark).is_err() {
            spark.enforced.pop_last();
        }
    }
    if check_profile(&spark).is_err() { Spark::default() } else { spark }
}

/// Spark's words: what is taken reaches Spark as it came, and what is enforced comes after it [70], [71], [77].
pub fn arguments(random: &mut Random) -> bool {
    let programs = [
        Program::SparkSubmit,
        Program::SparkSubmit,
        Program::Pyspark,
        Program::SparkShell,
        Program::SparkSql,
    ];
    let newest = SparkVersion::parse("4.3.0");
    let version = *random.pick(&[newest, newest, SparkVersion::parse("3.4"), None]);
    let program = *random.pick(&programs);
    let list = words(random);
    let size = list.iter().map(|word| word.len() + 1).sum();
    let facts = facts(random);
    let parsed = bounded(WORDS, size, || parse(program, &list, version));
    let parsed = parsed.and_then(|parsed| {
        bounded(WORDS, size, || check_arguments(&parsed, &facts.namespace)).map(|()| parsed)
    });
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            plain(&error.to_string(), 8192);
            return false;
        }
    };
    assert_eq!(parsed.words(), list);
    let spark = profile(random);
    let line = bounded(WORDS, size + 8192, || command_line(&parsed, &facts, &spark));
    // Read as the newest Spark reads it. A shell of an older one may take fewer words for options; then ours are still last.
    let again = parse(program, &line, newest).unwrap_or_else(|error| panic!("{error}: {line:?}"));
    if version == newest {
        assert_eq!(
            again.primary_index().map(|at| &again.words()[at..]),
            parsed.primary_index().map(|at| &list[at..])
        );
    }
    // The user's words stand together and in their order, up to the application and from there on.
    let (options, application) = list.split_at(parsed.insertion_point());
    assert!(line.ends_with(application));
    assert!(options.is_empty() || line.windows(options.len()).any(|words| words == options));
    let last = |key: &str| {
        again.settings().filter(|(_, k, _)| *k == key.as_bytes()).map(|(_, _, value)| value).last()
    };
    for (key, value) in enforced(&facts) {
        let stronger = spark.enforced.get(key).map(|value| value.as_bytes());
        let found = last(key);
        assert!(found == Some(value.as_bytes()) || (found.is_some() && found == stronger), "{key}: {line:?}");
    }
    for (key, value) in &spark.enforced {
        assert_eq!(last(key), Some(value.as_bytes()), "{key}: {line:?}");
    }
    for (name, value) in [("--master", "k8s://https://192.0.2.1:6443"), ("--deploy-mode", "client")] {
        let option = again.options().iter().rfind(|option| option.spec.name == name).unwrap();
        assert_eq!(again.value(option), Some(value.as_bytes()), "{line:?}");
    }
    if let Some(file) = &facts.properties_file {
        let given = again.options().iter().filter(|option| option.spec.name.ends_with("properties-file"));
        let given: Vec<_> = given.filter_map(|option| again.value(option)).collect();
        assert_eq!(given, [file.as_os_str().as_bytes()], "one properties file, and ours");
    }
    // Only files are exchanged for their copies, and never an option or a key.
    let staged = [("/a".into(), "/staged/a".into()), ("/b".into(), "/staged/b".into())];
    let copied = parsed.substitute(&staged);
    assert_eq!(copied.words().len(), list.len());
    let names = |parsed: &Parsed| {
        parsed.options().iter().map(|option| (option.spec.name, option.at)).collect::<Vec<_>>()
    };
    assert_eq!(names(&copied), names(&parsed));
    true
}

fn settings(random: &mut Random, most: usize) -> BTreeMap<String, String> {
    let entry = |random: &mut Random| {
        let key =
            if random.one_in(3) { format!("spark.{}", random.text(12)) } else { key(random).to_owned() };
        (key, if random.one_in(3) { String::new() } else { random.text(40) })
    };
    (0..random.below(most + 1)).map(|_| entry(random)).collect()
}

/// The text of a `spark-defaults.conf` in Java's syntax, with what makes it hard to read.
fn defaults_file(random: &mut Random) -> Vec<u8> {
    const ODDS: &[&str] = &[
        "\\\n", "\\\r\n", "\\\r", "\\", "\\\\", "\n", "\r", "\n\n", " ", "\t", "\u{c}", "=", ":", "#", "!",
        "\\=", "\\ ", "\\:", "\\#", "\\u0073", "\\u003d", "\\u000a", "\\s", "é", "\u{2028}", "x", "spark.",
        "spark.x", " = ", "client", "k8s://x",
    ];
    let mut text = String::new();
    for _ in 0..random.below(7) {
        match random.below(3) {
            0 => {
                // A key that matters, with a break, an escape or another odd thing somewhere in it.
                let key = key(random);
                let (head, tail) = key.split_at(random.below(key.len()));
                let odd = if random.one_in(2) { random.word(ODDS) } else { String::new() };
                text.push_str(&format!(
                    "{head}{odd}{tail}{}client",
                    random.pick(&["=", " ", ":", " = ", "\t", "=\\\n  "])
                ));
            }
            1 => text.push_str(&random.text(20)),
            _ => {}
        }
        text.push_str(&random.pieces(ODDS, 4));
        if random.one_in(2) {
            text.push('\n');
        }
    }
    if random.one_in(4) { random.spoil(text.as_bytes(), MOST_DEFAULTS) } else { text.into_bytes() }
}

const MOST_DEFAULTS: usize = 1 << 20;

/// The properties file: read as Java reads it, it says what was meant, and nothing refused got in.
pub fn properties_file(random: &mut Random) -> bool {
    let text = random.one_in(2).then(|| defaults_file(random));
    let (defaults, conf) = (settings(random, 4), settings(random, 4));
    let size = text.as_ref().map_or(0, Vec::len);
    let given: usize = defaults.iter().chain(&conf).map(|(key, value)| key.len() + value.len()).sum();
    let file = match bounded(FILE, size + given, || merge(text.as_deref(), &defaults, &conf)) {
        Ok(file) => file,
        Err(error) => {
            plain(&error.to_string(), 4096);
            return false;
        }
    };
    assert!(file.len() <= spark_submit_as::spark::properties::MAX_BYTES);
    // Where Java finds a malformed escape, Spark does not start.
    let Some(theirs) = java::load(text.as_deref().unwrap_or_default()) else { return true };
    for (key, value) in theirs.iter().filter(|(key, _)| key.starts_with("spark.")) {
        let taken = check_pair(key, value.trim(), Origin::SparkDefaults, None);
        assert!(taken.is_ok(), "{taken:?} got in as {key:?}={value:?}");
    }
    let all = java::load(&file).expect("what was taken has no malformed escape, and ours have none");
    let mut found: BTreeMap<&str, &str> =
        all.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let mut meant: BTreeMap<&str, &str> = DEFAULTS.iter().copied().collect();
    meant.extend(theirs.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    meant.extend(defaults.iter().chain(&conf).map(|(key, value)| (key.as_str(), value.as_str())));
    // An empty key is nobody's, and comes and goes with a backslash at the file's very end.
    found.remove("");
    meant.remove("");
    assert_eq!(found, meant, "{:?}", String::from_utf8_lossy(&file));
    true
}

fn pod(random: &mut Random) -> Value {
    let context = |random: &mut Random| {
        json!({"runAsUser": random.below(3), "privileged": true, "procMount": "Unmasked", "allowPrivilegeEscalation": true,
            "capabilities": {"add": ["SYS_ADMIN"]}, "appArmorProfile": {"type": "Unconfined"}, "runAsNonRoot": false})
    };
    let mut containers = vec![json!({"name": "side", "image": "x"})];
    let mut own = json!({"name": EXECUTOR_CONTAINER, "resources": {"limits": {"cpu": "1"}}});
    if random.one_in(2) {
        own["securityContext"] = context(random);
    }
    containers.insert(random.below(2), own);
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "x", "namespace": "kube-system", "labels": {"spark-submit-as/job": "other", "a": "b"},
            "ownerReferences": [{"uid": "x"}], "finalizers": ["x"]},
        "spec": {"containers": containers, "serviceAccountName": "admin", "serviceAccount": "admin",
            "automountServiceAccountToken": true, "nodeSelector": {"a": "b"}},
    });
    if random.one_in(4) {
        pod["spec"]["securityContext"] = context(random);
    }
    if random.one_in(6) {
        pod["spec"].as_object_mut().unwrap().remove("containers");
        pod.as_object_mut().unwrap().remove("metadata");
    }
    pod
}

/// The executors' pod template: whatever the administrator's says, the wrapper's own fields are as they must be [75].
pub fn pod_template(random: &mut Random) -> bool {
    let mut tree = pod(random);
    if random.one_in(2) {
        yaml::disturb(random, &mut tree);
    }
    let mut text = match random.below(40) {
        0 => yaml::bomb(random),
        1 => random.repeated(template::MAX_BYTES + 100),
        _ => yaml::written(random, &tree),
    };
    if random.one_in(3) {
        text = random.spoil(&text, template::MAX_BYTES + 100);
    }
    let job = JobId::new("abcdefghijklmnop").unwrap();
    let made = bounded(TEMPLATE, text.len(), || {
        executor_pod_template(&job, "ssa-job-x", "uid-1", Some(&text), None)
    });
    let made = match made {
        Ok(made) => made,
        Err(error) => {
            plain(&error.to_string(), 512);
            assert!(!error.to_string().contains(yaml::MARK), "the text is repeated: {error}");
            return false;
        }
    };
    let pod: Value = serde_json::from_str(&made).unwrap();
    let owner = json!([{"apiVersion": "v1", "kind": "ServiceAccount", "name": "ssa-job-x", "uid": "uid-1"}]);
    assert_eq!(pod["metadata"]["ownerReferences"], owner);
    assert_eq!(pod["metadata"]["labels"][JOB_LABEL], job.as_str());
    for gone in ["namespace", "name", "finalizers", "uid"] {
        assert_eq!(pod["metadata"].get(gone), None, "{gone}");
    }
    let spec = &pod["spec"];
    assert_eq!((&spec["serviceAccountName"], spec.get("serviceAccount")), (&json!(EXECUTOR_ACCOUNT), None));
    assert_eq!(spec["automountServiceAccountToken"], false);
    let executor = &spec["containers"][0];
    assert_eq!(executor["name"], EXECUTOR_CONTAINER);
    for context in [&spec["securityContext"], &executor["securityContext"]] {
        assert_eq!(context["runAsNonRoot"], true);
        assert_ne!(context.get("runAsUser"), Some(&json!(0)));
        assert_eq!(context["seccompProfile"], json!({"type": "RuntimeDefault"}));
    }
    let context = &executor["securityContext"];
    assert_eq!((context.get("privileged"), context.get("procMount")), (None, None));
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
    true
}

const SECRET: &str = "hunter2";

/// A word or two that hold a secret, as users write them.
fn secret(random: &mut Random) -> Vec<Vec<u8>> {
    const NAMES: &[&str] = &[
        "spark.hadoop.fs.s3a.secret.key",
        "password",
        "DB_PASSWORD",
        "fs.azure.account.key.x",
        "apiKey",
        "api_key",
        "access-key",
        "X-Token",
        "tokenFile",
        "oauth2.credential",
        "keystore.passphrase",
        "pwd",
        "private.key",
        "spark.ssl.keyPassword",
    ];
    let name = random.word(NAMES);
    let name = match random.below(3) {
        0 => name.to_ascii_uppercase(),
        1 => name.to_ascii_lowercase(),
        _ => name,
    };
    let before = random.word(&["", "x", "a=b;", "jdbc:x://h/d?user=u&", "tokens-of ", "é", "secret@", "-D"]);
    let text = match random.below(10) {
        0 => return vec![format!("--{}", name.to_ascii_lowercase()).into_bytes(), SECRET.into()],
        1 => return vec![b"--conf".to_vec(), format!("{name}={SECRET}").into_bytes()],
        2 => format!("--conf={name}={SECRET}"),
        3 => format!("{before}{name}:{SECRET}"),
        4 => format!("{{\"{name}\":\"{SECRET}\"}}"),
        5 => format!("{before}{name} = {SECRET}"),
        6 => format!("{}://user:{SECRET}@host/path", random.word(&["https", "jdbc:postgresql", "s3a"])),
        7 => format!("{before}{name}='{SECRET}'"),
        8 => format!("https://user:{SECRET}@host/?{name}=x"),
        _ => format!("{before}{name}={SECRET}"),
    };
    let mut bytes = text.into_bytes();
    if random.one_in(4) {
        bytes.splice(0..0, random.pick(&[&b"\xff"[..], b"\n", b"a b ", b"\x1b["]).iter().copied());
    }
    vec![bytes]
}

/// What is shown of a command line: no secret, no control character, and not too much of it [46], [48], [49].
pub fn redaction(random: &mut Random) -> bool {
    let mut list: Vec<Vec<u8>> = Vec::new();
    for _ in 0..random.below(5) {
        let word = if random.one_in(30) { random.repeated(3000) } else { random.text(30).into_bytes() };
        // An option that promises a secret takes the next word for it; another option right behind it is not that case.
        let names_secret = word.starts_with(b"-");
        list.push(if names_secret { b"x".to_vec() } else { word });
    }
    let told = list.len();
    let at = random.below(list.len() + 1);
    let planted = !random.one_in(3);
    if planted {
        list.splice(at..at, secret(random));
    }
    if random.one_in(200) {
        list.extend(std::iter::repeat_n(b"x".repeat(random.below(2000)), random.below(3000)));
    }
    let words: Vec<OsString> = list.into_iter().map(OsString::from_vec).collect();
    let size: usize = words.iter().map(|word| word.len() + 1).sum();
    let shown = bounded(SHOWN, size, || redacted(&words));
    assert!(shown.len() <= words.len() && (!planted || told < words.len()));
    for word in &shown {
        plain(word, 4 * 1024 + 64);
        assert!(!word.contains(SECRET), "{words:?} is shown as {shown:?}");
    }
    assert!(shown.iter().map(String::len).sum::<usize>() <= 64 * 1024 + 8 * 1024);
    for word in &words {
        plain(&bounded(SHOWN, word.len(), || escaped(word.as_bytes())), 16 * 1024);
    }
    // Taken: all of it may be read by anybody.
    shown.iter().map(OsString::from).eq(words)
}

/// The small readers beside the grammar: versions, Java options, single keys.
pub fn keys(random: &mut Random) -> bool {
    let text = random.pieces(&["4", ".", "3", "-SNAPSHOT", "0", "65536", "-", "+1", "x", "٣"], 6);
    if let Some(version) = bounded(WORDS, text.len(), || SparkVersion::parse(&text)) {
        assert_eq!(SparkVersion::parse(&version.to_string()), Some(version));
    }
    let namespace = NamespaceName::new("team-a").unwrap();
    let key = key(random);
    let key = if key.ends_with('*') || random.one_in(2) {
        format!("{key}{}", random.text(8))
    } else {
        key.to_owned()
    };
    let value = random.word(&["x", "true", "TRUE", "client", "classic", "2", "3", "team-a", "\u{1b}"]);
    let origins = [
        Origin::CommandLine,
        Origin::Request,
        Origin::ProfileDefault,
        Origin::ProfileEnforced,
        Origin::SparkDefaults,
    ];
    let mut taken = true;
    for origin in origins {
        if let Err(error) =
            check_key(&key, origin).and_then(|()| check_pair(&key, &value, origin, Some(&namespace)))
        {
            plain(&error.to_string(), 8192);
            taken = false;
        }
    }
    // Whatever hides it, a system property of Java is a setting.
    let quote = random.word(&["", "\"", "'", "\\"]);
    let options = format!("-Xmx1g {quote}-D{quote}{key}={value}{quote} -Dx=y");
    let as_option = bounded(WORDS, options.len(), || {
        spark_submit_as::spark::java::check(options.as_bytes(), "x", &namespace)
    });
    let as_setting = check_pair(&key, &value, Origin::CommandLine, Some(&namespace));
    let whole = key.starts_with("spark.")
        && !key.contains(|c: char| c.is_ascii_whitespace() || "\"'\\=\r".contains(c));
    if whole && as_setting.is_err() {
        assert!(as_option.is_err(), "{options:?}");
    }
    taken
}
