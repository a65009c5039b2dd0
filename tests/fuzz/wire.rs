//! What comes from other processes: the provisioner's frames, the caller's request file and command line.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Cursor;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use clap::Parser;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use spark_submit_as::cli::{Cli, RunArgs, Verb};
use spark_submit_as::exit::ExitCode;
use spark_submit_as::policy::names::{JobId, NamespaceName};
use spark_submit_as::policy::network::JobNetwork;
use spark_submit_as::policy::token::Token;
use spark_submit_as::policy::wanted::Policies;
use spark_submit_as::protocol::namespaces::*;
use spark_submit_as::protocol::*;
use spark_submit_as::supervisor::{invocation, report};

use super::harness::{Bound, bounded, plain};
use super::random::Random;
use super::yaml::MARK;

/// A message whose kind is in a tag is kept as a tree until the tag is found: 32 bytes for each value, and a value may be two
/// bytes long. The tree is a list that grows by doubling.
const FRAME: Bound = Bound { factor: 64, constant: 4 << 10 };
/// Request files have no tag; an empty argument of three bytes becomes a `String` of 24, in a list that grows by doubling.
const REQUEST: Bound = Bound { factor: 64, constant: 4 << 10 };
/// clap makes its commands anew for each call.
const LINE: Bound = Bound { factor: 64, constant: 1 << 20 };

fn job(random: &mut Random) -> JobId {
    let mut bits = [0; 10];
    bits.fill_with(|| (random.next() >> 40) as u8);
    JobId::from_random(bits)
}

fn namespace(random: &mut Random) -> NamespaceName {
    NamespaceName::new(random.word(&["team-a", "dss-ns-alice", "a"])).unwrap()
}

fn token(random: &mut Random) -> WireToken {
    let text: String =
        (0..=random.below(900)).map(|_| *random.pick(&['a', 'Z', '0', '.', '-', '_', '~', '='])).collect();
    WireToken(Token::new(text).unwrap())
}

fn texts(random: &mut Random) -> Vec<String> {
    (0..random.below(4)).map(|_| random.text(60)).collect()
}

fn maybe(random: &mut Random) -> Option<String> {
    random.one_in(2).then(|| random.text(40))
}

fn map(random: &mut Random) -> BTreeMap<String, String> {
    (0..random.below(4)).map(|_| (random.text(20), random.text(60))).collect()
}

fn tear_down(random: &mut Random) -> TearDown {
    TearDown {
        job: job(random),
        namespace: namespace(random),
        account_uid: maybe(random),
        binding_uid: maybe(random),
        seconds: random.next(),
    }
}

fn wanted(random: &mut Random) -> NamespaceWanted {
    let create = random.one_in(2);
    let policies = Policies { labels: map(random), annotations: map(random), ..Policies::default() };
    let volumes = random.one_in(2);
    NamespaceWanted {
        name: namespace(random),
        create,
        owner: random.text(60),
        labels: map(random),
        policies,
        volumes,
    }
}

fn request(random: &mut Random) -> Request {
    match random.below(13) {
        0 => Request::Open(ClusterAccess {
            context: maybe(random),
            driver_role: random.text(40),
            accept_missing_fence: random.one_in(2),
            connect_timeout_seconds: random.next(),
            request_timeout_seconds: random.next(),
        }),
        1 => Request::Provision(Box::new(Provision {
            job: job(random),
            namespace: wanted(random),
            annotations: map(random),
            token_seconds: random.next(),
            auth_secret: random.one_in(2).then(|| token(random)),
            network: random.one_in(2).then(|| JobNetwork { driver_host: maybe(random), ports: Some((1, 2)) }),
            volume: None,
            quota_seconds: random.next(),
            isolation_required: random.one_in(2),
        })),
        2 => Request::Renew(Renew { made: tear_down(random), token_seconds: random.next() }),
        3 => Request::TearDown(tear_down(random)),
        4 => Request::ReapOverdue(ReapOverdue {
            namespaces: (0..random.below(4)).map(|_| namespace(random)).collect(),
            spared: (0..random.below(4)).map(|_| job(random)).collect(),
            dry_run: random.one_in(2),
            seconds: random.next(),
        }),
        5 => Request::Check(Check { namespace: wanted(random), isolation_required: random.one_in(2) }),
        6 => Request::ListNamespaces,
        7 => Request::LookInto(LookInto { name: namespace(random), contents: random.one_in(2) }),
        8 => Request::Adopt(Adopt {
            name: namespace(random),
            uid: random.text(60),
            resource_version: random.text(20),
            owner: random.text(60),
            dry_run: random.one_in(2),
        }),
        9 => Request::ApplyPolicies(ApplyPolicies {
            namespace: wanted(random),
            dry_run: random.one_in(2),
            seconds: random.next(),
        }),
        11 => Request::Explain(Explain { made: tear_down(random), token: token(random), pod: maybe(random) }),
        10 => Request::Failures,
        _ => Request::Prune(Prune {
            name: namespace(random),
            uid: random.text(60),
            resource_version: random.text(20),
            dry_run: random.one_in(2),
        }),
    }
}

fn seen(random: &mut Random) -> SeenNamespace {
    SeenNamespace {
        name: namespace(random),
        uid: random.text(60),
        resource_version: random.text(20),
        created: random.next().cast_signed(),
        terminating: random.one_in(2),
        managed: random.one_in(2),
        owner: maybe(random),
        pod_security: maybe(random),
    }
}

fn findings(random: &mut Random) -> Vec<Finding> {
    let finding = |_| Finding {
        trouble: *random.pick(&[Trouble::Quota, Trouble::PodSecurity, Trouble::Image, Trouble::Failed]),
        pods: (random.next() >> 32) as u32,
        text: random.text(90),
        lines: texts(random),
    };
    (0..3).map(finding).collect()
}

fn reply(random: &mut Random) -> Reply {
    let number = |random: &mut Random| u32::try_from(random.next() >> 32).unwrap();
    let time = |random: &mut Random| random.next().cast_signed();
    match random.below(17) {
        0 => Reply::Created {
            kind: *random.pick(&[
                Kind::Namespace,
                Kind::ExecutorAccount,
                Kind::Account,
                Kind::Binding,
                Kind::Secret,
            ]),
            name: random.text(60),
            uid: random.text(60),
        },
        1 => Reply::Provisioned {
            server: random.text(60),
            certificate_authority_data: random.text(900),
            tls_server_name: maybe(random),
            proxy_url: maybe(random),
            local_address: random.text(40),
            token: token(random),
            expires_at: time(random),
            granted_at: time(random),
            namespace_created: random.one_in(2),
            warnings: texts(random),
            mended: texts(random),
        },
        2 => Reply::Renewed { token: token(random), expires_at: time(random), granted_at: time(random) },
        3 => Reply::AccountGone,
        4 => Reply::Overdue(Overdue {
            job: job(random),
            namespace: namespace(random),
            host: maybe(random),
            overdue_seconds: random.next(),
            failures: texts(random),
        }),
        5 => Reply::OverdueDone { seen: number(random), failures: texts(random) },
        6 => Reply::TornDown {
            pods: number(random),
            failures: texts(random),
            answered: number(random) % 2 == 0,
        },
        7 => Reply::Checked {
            lines: (0..random.below(4))
                .map(|_| CheckLine { what: random.text(40), ok: random.one_in(2), message: random.text(60) })
                .collect(),
        },
        8 => Reply::Namespace(seen(random)),
        9 => Reply::NamespacesDone { date: time(random), server: random.text(60), problems: texts(random) },
        10 => Reply::Inside {
            namespace: seen(random),
            contents: (0..random.below(4))
                .map(|_| Contents { resource: random.text(20), count: random.next(), names: texts(random) })
                .collect(),
            problems: texts(random),
            server: random.text(60),
        },
        11 => Reply::Adopted,
        13 => Reply::PoliciesApplied { changed: texts(random) },
        12 => Reply::Pruned(*random.pick(&[
            Pruned::Deleted,
            Pruned::WouldDelete,
            Pruned::Changed,
            Pruned::Gone,
            Pruned::JobAccount,
            Pruned::JobPod,
        ])),
        14 => Reply::Explained(Explained {
            executors: *random.pick(&[Executors::Run, Executors::Begin, Executors::None, Executors::Unknown]),
            findings: findings(random),
        }),
        15 => Reply::Failures { findings: findings(random) },
        _ => {
            Reply::Failed { code: *random.pick(ExitCode::ALL), message: random.text(90), left: texts(random) }
        }
    }
}

/// A frame of a real message: it comes back as it was, alone and in company, and no part of it is taken for the whole.
fn round_trip<T: Serialize + DeserializeOwned>(random: &mut Random, message: &T) -> Vec<u8> {
    let mut stream = Vec::new();
    write_frame(&mut stream, message).unwrap();
    let frame = stream.clone();
    let rest = random.bytes(20);
    stream.extend_from_slice(&rest);
    let mut stream = Cursor::new(stream);
    let back: T =
        bounded(FRAME, frame.len(), || read_frame(&mut stream)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(serde_json::to_value(&back).unwrap(), serde_json::to_value(message).unwrap());
    assert_eq!(
        usize::try_from(stream.position()).unwrap(),
        frame.len(),
        "what follows belongs to the next frame"
    );
    let cut = random.below(frame.len());
    assert!(read_frame::<T>(&mut Cursor::new(&frame[..cut])).is_err(), "a frame that was cut at {cut}");
    frame
}

fn body<T: Serialize + DeserializeOwned>(body: &[u8]) -> bool {
    let message = match bounded(FRAME, body.len(), || decode::<T>(body)) {
        Ok(message) => message,
        Err(error) => {
            plain(&error.to_string(), 128);
            assert!(matches!(error, FrameError::Malformed), "{error}");
            return false;
        }
    };
    let again: T = decode(&encode(&message).unwrap()[4..]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(serde_json::to_value(&again).unwrap(), serde_json::to_value(&message).unwrap());
    true
}

/// Frames from either side.
pub fn frames(random: &mut Random) -> bool {
    // A length that is too large is refused before anything is set aside for the body.
    let prefix = (random.next() as u32).to_be_bytes();
    let length = u32::from_be_bytes(prefix) as usize;
    match announced(prefix) {
        Ok(taken) => assert!(taken == length && length <= MAX_FRAME),
        Err(error) => {
            assert!(matches!(error, FrameError::TooLong(told) if told == length) && length > MAX_FRAME);
            let nothing = Bound { factor: 0, constant: 0 };
            bounded(nothing, 4, || assert!(read_frame::<Reply>(&mut Cursor::new(prefix)).is_err()));
        }
    }
    let frame = if random.one_in(2) {
        let message = request(random);
        round_trip(random, &message)
    } else {
        let message = reply(random);
        round_trip(random, &message)
    };
    let tag = *random.pick(&[
        "created",
        "torn-down",
        "overdue-done",
        "checked",
        "open",
        "reap-overdue",
        "inside",
        "explained",
        "failures",
        "x",
    ]);
    let text = match random.below(6) {
        0 => frame[4..].to_vec(),
        1 => {
            // Much in little, of the right kind or of any.
            let room = if random.one_in(20) { MAX_FRAME } else { 4000 };
            let filling = String::from_utf8_lossy(&random.repeated(room)).into_owned();
            let key = *random.pick(&[
                "failures",
                "lines",
                "name",
                "pods",
                "made",
                "namespaces",
                "contents",
                "findings",
            ]);
            format!("{{\"{key}\":[{filling}],\"reply\":\"{tag}\",\"request\":\"{tag}\"}}").into_bytes()
        }
        _ => random.spoil(&frame[4..], MAX_FRAME),
    };
    let text = &text[..text.len().min(MAX_FRAME)];
    body::<Request>(text) | body::<Reply>(text)
}

fn run_args(random: &mut Random) -> RunArgs {
    RunArgs {
        user: random.one_in(2).then(|| "bob".into()),
        profile: random.one_in(2).then(|| "p".into()),
        project: random.one_in(4).then(|| "X".into()),
        team: random.one_in(4).then(|| "t".into()),
        program: random.one_in(4).then(|| random.word(&["pyspark", "spark-submit", "sh"])),
        stage: vec![],
        request: None,
        tags: vec![],
        id_file: None,
        dry_run: false,
        json: false,
        quiet: false,
        arguments: if random.one_in(4) { vec!["app.jar".into()] } else { vec![] },
    }
}

/// A request file, and what becomes of it beside a command line.
pub fn request_file(random: &mut Random) -> bool {
    let arguments: Vec<String> = (0..random.below(5)).map(|_| random.text(30)).collect();
    let mut request =
        json!({"user": random.text(10), "profile": "p", "conf": map(random), "arguments": arguments});
    if random.one_in(3) {
        request["project"] = "X".into();
        request["team"] = "t".into();
        request["stage"] = json!(["/a/b", "/c"]);
        request["program"] = random.word(&["pyspark", "spark-submit", "sh"]).into();
    }
    let good = request.clone();
    match random.below(8) {
        0 => request[random.word(&[MARK, "user ", "", "callers"])] = json!(1),
        1 => {
            request["conf"] =
                (0..4000 + random.below(200)).map(|n| (format!("k{n}"), Value::from("v"))).collect::<Value>()
        }
        2 => request[random.word(&["conf", "user", "stage", "arguments"])] = json!([MARK, 1, null, [MARK]]),
        _ => {}
    }
    let mut text = request.to_string().into_bytes();
    if random.one_in(3) {
        text = random.spoil(&text, 1 << 20);
    }
    let parsed = match bounded(REQUEST, text.len(), || invocation::parse_request(&text)) {
        Ok(parsed) => parsed,
        Err(failure) => {
            plain(&failure.message, 512);
            assert_eq!(failure.code, ExitCode::InputRefused);
            assert!(!failure.message.contains(MARK), "the text is repeated: {}", failure.message);
            assert_ne!(text, good.to_string().into_bytes(), "a good request is refused: {failure}");
            return false;
        }
    };
    assert!(parsed.conf.len() <= 4096);
    if text == good.to_string().into_bytes() {
        let conf: BTreeMap<String, String> = serde_json::from_value(good["conf"].clone()).unwrap();
        assert_eq!(parsed.conf, conf);
        assert_eq!(parsed.arguments, arguments);
    }
    let (given, args) = (parsed.arguments.clone(), run_args(random));
    match invocation::gather(&args, Some(parsed)) {
        Ok(invocation) => {
            // One of them gave the words, and no word was lost.
            let expected =
                if given.is_empty() { args.arguments } else { given.iter().map(Into::into).collect() };
            assert_eq!(invocation.arguments, expected);
        }
        Err(failure) => {
            plain(&failure.message, 512);
            assert_eq!(failure.code, ExitCode::Usage);
        }
    }
    true
}

/// The command line, with words that are no text.
pub fn command_line(random: &mut Random) -> bool {
    const WORDS: &[&[u8]] = &[
        b"run",
        b"check",
        b"config",
        b"namespace",
        b"adopt",
        b"prune",
        b"policies",
        b"apply",
        b"--kubeconfig=/x",
        b"--yes",
        b"--all",
        b"--owner={}",
        b"validate",
        b"show",
        b"schema",
        b"--user",
        b"--user=a",
        b"alice",
        b"--profile",
        b"p",
        b"--stage",
        b"--request",
        b"--config",
        b"--dry-run",
        b"--json",
        b"-q",
        b"-qq",
        b"--quiet=1",
        b"--",
        b"-",
        b"",
        b"--help",
        b"-V",
        b"help",
        b"--conf",
        b"\xff\xfe",
        b"--user=\xff",
        b"\x1b[31m",
        b"--\x1b[31m",
        b"-\xff",
        b"a\nb",
        b"--stage=/\xff",
        b"--us",
        b"=",
        b"--=",
        b"---",
        b"--user=--",
        b"-q=\xe2\x80\xae",
        b"@file",
        b"--program",
        b"--project=",
    ];
    let mut words: Vec<OsString> = vec!["spark-submit-as".into()];
    if random.one_in(2) {
        words.extend(["run", "--user", "alice"].map(OsString::from));
    }
    for _ in 0..random.below(8) {
        let word = match random.below(10) {
            0 => random.bytes(20),
            1 => random.pick(WORDS).repeat(random.below(4)),
            2 if random.one_in(50) => random.repeated(100_000),
            _ => random.pick(WORDS).to_vec(),
        };
        // A NUL cannot come through execve(2).
        words.push(OsString::from_vec(word.into_iter().filter(|byte| *byte != 0).collect()));
    }
    let size = words.iter().map(|word| word.len() + 1).sum();
    let cli = match bounded(LINE, size, || Cli::try_parse_from(&words)) {
        Ok(cli) => cli,
        Err(error) => {
            let told = error.render().to_string();
            let first = told.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
            plain(&report::escaped(first), 4096);
            return false;
        }
    };
    if let Verb::Run(run) = &cli.verb {
        // What follows the first `--` that is no option's value is Spark's, byte for byte [77].
        let count = run.arguments.len();
        assert_eq!(run.arguments, words[words.len() - count..]);
        assert!(count == 0 || words[words.len() - count - 1] == OsStr::new("--"));
        let paths: Vec<&PathBuf> = run.stage.iter().chain(&run.request).chain(&cli.config).collect();
        let came =
            |path: &PathBuf| words.iter().any(|word| word.as_bytes().ends_with(path.as_os_str().as_bytes()));
        assert!(paths.into_iter().all(came));
    }
    true
}

/// What is told to people, whatever is in it [48].
pub fn reports(random: &mut Random) -> bool {
    let text = if random.one_in(20) {
        String::from_utf8_lossy(&random.repeated(1 << 20)).into_owned()
    } else {
        random.text(300)
    };
    let small = Bound { factor: 4, constant: 64 << 10 };
    let told = bounded(small, text.len(), || report::escaped(&text));
    plain(&told, 2048 + 16);
    let taken = told == text;
    if !taken {
        // Quotes and backslashes stay; what is invisible does not.
        let shown = |c: char| matches!(c, '\'' | '"' | '\\') || c.escape_debug().eq([c]);
        let changed = !text.chars().all(shown) || told.ends_with("...");
        assert!(changed, "{text:?} became {told:?}");
    }
    taken
}
