//! Configuration, admin properties, mapping rules, namespace templates, names and spans.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use regex::Regex;
use serde_json::{Value, json};
use spark_submit_as::policy::config::{self, Config, ConfigError, MAX_TEXT, MappingRule, duration};
use spark_submit_as::policy::identity::{Verdict, map_login, parse_properties};
use spark_submit_as::policy::names::{JobId, Login, NamespaceName, UserName, is_dns_label};
use spark_submit_as::policy::namespace::{NamespaceError, Variables, resolve, validate_template};

use super::harness::{Bound, bounded, plain};
use super::random::Random;
use super::yaml::{self, MARK};

/// The parser of YAML keeps an event of about 130 bytes for each node, and `[a,a,` has one for each two bytes; the list grows
/// by doubling. The constant: a text may stand for 200,000 nodes, its aliases followed, of about 300 bytes in a tree.
const YAML: Bound = Bound { factor: 256, constant: 64 << 20 };
/// An expression that is taken may have 1 MiB compiled, twice, and as much again while it is compiled and searched.
const MAPPING: Bound = Bound { factor: 256, constant: 16 << 20 };
const SMALL: Bound = Bound { factor: 64, constant: 64 << 10 };

const EXAMPLE: &[u8] = include_bytes!("../../examples/config.yaml");
/// Every key once.
const FULL: &[u8] = include_bytes!("full.yaml");

/// A text for one of the two readers of YAML.
fn text(random: &mut Random, good: fn(&mut Random) -> Value, corpus: &[&[u8]]) -> Vec<u8> {
    let text = match random.below(10) {
        0 if random.one_in(4) => yaml::bomb(random),
        1 if random.one_in(3) => {
            let key = random.word(&["callers", "logins", "x"]);
            let room = if random.one_in(20) { yaml::LARGEST } else { 6000 };
            [format!("{key}: [").into_bytes(), random.repeated(room), b"]\n".to_vec()].concat()
        }
        1 if random.one_in(20) => random.repeated(yaml::LARGEST + 1000),
        1 => random.repeated(3000),
        0 | 2 | 3 => random.pick(corpus).to_vec(),
        spoilt => {
            let mut value = good(random);
            if spoilt > 7 {
                yaml::disturb(random, &mut value);
            }
            yaml::written(random, &value)
        }
    };
    if random.one_in(60) {
        // Good, and around the largest size.
        let comment = vec![b'x'; yaml::LARGEST - 1000 + random.below(2000)];
        return [text, b"\n# ".to_vec(), comment, b"\n".to_vec()].concat();
    }
    if random.one_in(3) { random.spoil(&text, yaml::LARGEST + 1000) } else { text }
}

/// What every refusal keeps to, whatever it refuses.
fn refused(error: &ConfigError) {
    plain(&error.to_string(), 2048);
    assert!(!format!("{error} {error:?}").contains(MARK), "the text is repeated: {error}");
    assert!(!error.rule.is_empty(), "{error:?}");
}

/// A configuration.
pub fn configuration(random: &mut Random) -> bool {
    let text = text(random, yaml::config, &[EXAMPLE, FULL]);
    let config = match bounded(YAML, text.len(), || config::parse(&text)) {
        Ok(config) => config,
        Err(error) => {
            refused(&error);
            return false;
        }
    };
    assert!(text.len() <= MAX_TEXT);
    sound(&config);
    // What is printed means the same.
    let printed = serde_yaml::to_string(&config).unwrap();
    let again = config::parse(printed.as_bytes()).unwrap_or_else(|error| panic!("{error}: {printed}"));
    assert_eq!(serde_json::to_value(&again).unwrap(), serde_json::to_value(&config).unwrap());
    true
}

/// What later code takes for granted about a configuration that was taken.
fn sound(config: &Config) {
    assert!(!config.callers.is_empty() && config.provisioner != "root");
    for entry in &config.callers {
        UserName::new(entry.account().or(entry.group()).unwrap()).unwrap();
        assert!(entry.account().is_some() || entry.may_run_as().is_some(), "a group has a rule");
        for profile in entry.profiles().into_iter().flatten() {
            assert!(config.profiles.contains_key(profile));
        }
    }
    UserName::new(config.provisioner.as_str()).unwrap();
    assert!(!config.users.allowed_groups.is_empty());
    for profile in config.profiles.values() {
        assert!(config.clusters.contains_key(&profile.cluster));
        assert!(profile.spark_home.is_absolute());
        assert!(profile.namespace.policies.iter().all(|name| config.namespace_policies.contains_key(name)));
        assert!(profile.credentials.token_ttl >= Duration::from_secs(600));
        validate_template(&profile.namespace.template).unwrap();
    }
    for name in config.profiles.values().flat_map(|profile| &profile.environment.keep) {
        assert!(!name.starts_with("LD_") && !name.contains(['=', '\0', ' ']), "{name}");
    }
}

/// A file of admin properties.
pub fn properties(random: &mut Random) -> bool {
    let text = text(
        random,
        yaml::properties,
        &[b"logins: {alice: {k8sNS: team-a}}\ngroups: {data: {k8sNS: team-b}}\n"],
    );
    let properties = match bounded(YAML, text.len(), || parse_properties(&text)) {
        Ok(properties) => properties,
        Err(error) => {
            refused(&error);
            return false;
        }
    };
    let printed = serde_yaml::to_string(&properties).unwrap();
    assert_eq!(parse_properties(printed.as_bytes()).unwrap(), properties);
    for login in properties.logins.keys() {
        // The login's own values win, whatever its groups say.
        let Ok(all) = properties.for_login(&Login::new(login.as_str()).unwrap(), &["data", "ml"]) else {
            continue;
        };
        assert!(properties.logins[login].iter().all(|(key, value)| all.get(key) == Some(value)));
        assert!(all.values().all(|value| !value.is_empty() && !value.chars().any(char::is_control)));
    }
    true
}

/// Mapping rules and their regular expressions, through the configuration as in life.
pub fn mapping(random: &mut Random) -> bool {
    const PIECES: &[&str] = &[
        "(", ")", "[", "]", "|", "*", "+", "?", "{2}", "{0,9}", "{1000}", ".", "\\.", "^", "$", "\\A", "\\z",
        "\\b", "(?:", "(?i)", "(?-u)", "(?m)", "(?x)", "#", "a", "b", "alice", "@corp", "[^@]", "\\w",
        "\\pL", "\\d", "é", "\n", " ",
    ];
    let mut users = yaml::users(random);
    let own = random.pieces(PIECES, 10);
    if random.one_in(2) {
        let rule = json!({"regex": own, "user": random.word(&["$1", "alice", "x${1}", "$2"])});
        users["mapping"].as_array_mut().unwrap().insert(0, rule);
    }
    let profile = json!({"cluster": "main", "namespace": {"template": "ns-${login}"}});
    let whole = json!({
        "callers": ["dssuser"],
        "provisioner": "ssa-provisioner",
        "users": users,
        "clusters": {"main": {"kubeconfig": "/a"}},
        "profiles": {"p": profile},
    });
    let text = whole.to_string();
    let Ok(config) = bounded(MAPPING, text.len(), || config::parse(text.as_bytes())) else { return false };
    let rules = &config.users.mapping;
    for rule in rules {
        // By itself it is an expression, so that it cannot break out of the anchors.
        assert!(!matches!(rule, MappingRule::Regex(rule) if Regex::new(&rule.regex).is_err()), "{rule:?}");
    }
    for _ in 0..6 {
        let pieces =
            ["alice", "a", "b", "@corp.com", "@", ".", "Last", "+", "-", "0", "aaaaaaaaaaaaaaaaaaaa"];
        let Ok(login) = Login::new(random.pieces(&pieces, 14)) else { continue };
        let project = *random.pick(&[None, Some("MARKETING"), Some("OTHER")]);
        let mapped = match bounded(MAPPING, text.len(), || map_login(&config.users, &login, project)) {
            Ok(mapped) => mapped,
            Err(refusal) => {
                plain(&refusal.to_string(), 1024);
                // A rule that was taken is usable.
                assert!(!refusal.to_string().contains("not a usable rule"), "{refusal}");
                continue;
            }
        };
        UserName::new(mapped.user.as_str()).unwrap();
        assert_eq!(mapped.trace.len(), rules.len());
        let mut decided = mapped.trace.iter().filter(|rule| rule.verdict == Verdict::Matched);
        let rule = &rules[decided.next().unwrap().index];
        assert!(decided.next().is_none(), "two rules decided");
        match rule {
            MappingRule::Identity(_) => assert_eq!(mapped.user.as_str(), login.as_str()),
            MappingRule::Login(rule) => assert_eq!(login.as_str(), rule.login),
            MappingRule::Regex(rule) => {
                // All of the login matches.
                let whole = Regex::new(&format!(r"\A(?:{}\n?)\z", rule.regex)).unwrap();
                let at = whole.find(login.as_str()).map(|found| (found.start(), found.end()));
                let comment = rule.regex.contains("(?x)");
                assert!(comment || at == Some((0, login.as_str().len())), "{} for {login}", rule.regex);
            }
        }
    }
    true
}

/// A template of pieces, with or without faults.
fn template(random: &mut Random) -> String {
    const PIECES: &[&str] = &[
        "${dssUserLogin}",
        "${login}",
        "${user}",
        "${group}",
        "${projectKey}",
        "${adminProperty:k8sNS}",
        "-",
        "a",
        "ns-",
        "team",
        "0",
        "${login}",
        "${user}",
        "${team}",
        "${login|tolower}",
        "${team|default('ab')}",
        "${projectKey|getornull}",
        "${adminProperty:k8sNS|default:team-a|tolower}",
        "${team|tolower|default('a')}",
    ];
    match random.below(4) {
        0 => String::from_utf8_lossy(&random.spoil(b"dss-${login}-${adminProperty:k8sNS}", 300)).into_owned(),
        1 => random.pieces(
            &["$", "{", "}", "${", ":", "|", "?", "userProperty:x", "adminProperty:", "kube-", "A", "${x}"],
            4,
        ),
        _ => random.pieces(PIECES, 4),
    }
}

fn value(random: &mut Random) -> String {
    let pieces = [
        "a",
        "b",
        "-",
        ".",
        "_",
        "@",
        "A",
        "0",
        "kube-",
        "default",
        "ab-c",
        "f0",
        "00000000000000000000",
        "x",
    ];
    random.pieces(&pieces, 6)
}

fn variables(random: &mut Random) -> Option<Variables> {
    let text = |random: &mut Random| if random.one_in(3) { random.text(90) } else { value(random) };
    Some(Variables {
        login: Login::new(value(random)).ok()?,
        user: UserName::new(value(random)).ok()?,
        group: (!random.one_in(8)).then(|| value(random)),
        team: (!random.one_in(4)).then(|| value(random)),
        project: (!random.one_in(8)).then(|| value(random)),
        properties: if random.one_in(8) {
            BTreeMap::new()
        } else {
            BTreeMap::from([("k8sNS".into(), text(random))])
        },
    })
}

/// Values that a careless clean-up would take for the same ones.
fn neighbour(random: &mut Random, vars: &Variables, names: &BTreeMap<String, String>) -> Option<Variables> {
    let mut other = vars.clone();
    let near = |random: &mut Random, text: &str| match random.below(7) {
        0 => text.to_ascii_lowercase(),
        1 => text.replace(['.', '_', '@'], "-"),
        2 => format!("{text}-"),
        3 => text.trim_end_matches('-').to_owned(),
        4 => text.replace("--", "-"),
        // The name that somebody else got.
        5 => names.keys().nth(random.below(names.len())).cloned().unwrap_or_default(),
        _ => value(random),
    };
    match random.below(4) {
        0 => other.login = Login::new(near(random, vars.login.as_str())).ok()?,
        1 => other.user = UserName::new(near(random, vars.user.as_str())).ok()?,
        2 => {
            // A piece moves from the end of one value to the beginning of the next.
            let (head, tail) = vars.login.as_str().split_at(vars.login.as_str().len() / 2);
            let project = format!("{tail}{}", vars.project.clone().unwrap_or_default());
            (other.login, other.project) = (Login::new(head).ok()?, Some(project));
        }
        _ => {
            let old = vars.properties.get("k8sNS").cloned().unwrap_or_default();
            other.properties.insert("k8sNS".into(), near(random, &old));
        }
    }
    Some(other)
}

/// Namespace templates: what comes out is a label of nobody else's.
pub fn namespace(random: &mut Random) -> bool {
    let template = template(random);
    let valid = bounded(SMALL, template.len(), || validate_template(&template));
    if let Err(error) = &valid {
        plain(&error.to_string(), 512);
    }
    let Some(mut vars) = variables(random) else { return false };
    // Name to owner. An owner is the exact values of the template's variables.
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for _ in 0..8 {
        let resolved = match bounded(SMALL, template.len() + 512, || resolve(&template, &vars)) {
            Ok(resolved) => resolved,
            Err(error) => {
                plain(&error.to_string(), 1024);
                let by_values = [NamespaceError::Empty, NamespaceError::Reserved].contains(&error)
                    || matches!(error, NamespaceError::Missing { .. });
                assert!(valid.is_err() || by_values, "{template:?} was taken and then: {error}");
                break;
            }
        };
        assert!(valid.is_ok(), "{template:?} is no template and gave {}", resolved.name);
        let name = resolved.name.as_str();
        assert!(is_dns_label(name) && name != "default" && !name.starts_with("kube-"), "{name}");
        let owner: BTreeMap<String, Option<String>> = serde_json::from_str(&resolved.owner).unwrap();
        for (key, value) in owner {
            let exact = match key.as_str() {
                "login" => Some(vars.login.as_str()),
                "user" => Some(vars.user.as_str()),
                "group" => vars.group.as_deref(),
                "team" => vars.team.as_deref(),
                "projectKey" => vars.project.as_deref(),
                _ => vars.properties.get("k8sNS").map(String::as_str),
            };
            assert_eq!(exact.filter(|exact| !exact.is_empty()), value.as_deref(), "{key}");
        }
        let other =
            names.insert(name.to_owned(), resolved.owner.clone()).unwrap_or_else(|| resolved.owner.clone());
        assert_eq!(other, resolved.owner, "{template:?} gives two owners the name {name}");
        let Some(next) = neighbour(random, &vars, &names) else { break };
        vars = next;
    }
    let owners: BTreeSet<&String> = names.values().collect();
    assert_eq!(owners.len(), names.len(), "{template:?} gives one owner two names: {names:?}");
    !names.is_empty()
}

/// Names, against rules that are written down a second time.
pub fn names(random: &mut Random) -> bool {
    const PIECES: &[&str] = &[
        "a", "Z", "0", "9", "0x", "1f", "-", "_", ".", "..", "@", "+", "$", "/", "\0", "\n", "é", " ",
        "kube-", "root",
    ];
    const RANDOM_ID: &[&str] = &["abcdefgh", "234567", "zzzzzzzz", "22222222", "8", "A", "aaaaaaa", "a"];
    let text = match random.below(4) {
        0 => random.text(70),
        1 => "ab-9".repeat(random.below(70)),
        2 => random.pieces(RANDOM_ID, 3),
        _ => random.pieces(PIECES, 8),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let hex = |text: &str| {
        let rest = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
        rest.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    let only = |allowed: &str| {
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || allowed.as_bytes().contains(&byte))
    };
    let number = digits(&text) || hex(&text);
    let user = (1..=32).contains(&text.len()) && only("_.-") && !text.starts_with(['-', '.']) && !number;
    let login =
        (1..=256).contains(&text.len()) && only("@.+_-") && !text.starts_with(['-', '.', '+']) && !number;
    let lower = text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    let edges = !text.starts_with('-') && !text.ends_with('-');
    let namespace =
        (1..=63).contains(&text.len()) && lower && edges && text != "default" && !text.starts_with("kube-");
    let job = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'));

    let mut accepted = false;
    let mut check = |expected: bool, as_text: Result<String, String>, from_json: Option<String>| {
        match (expected, as_text) {
            (true, Ok(name)) => {
                accepted = true;
                assert!(
                    name == text && from_json.as_ref() == Some(&text),
                    "a name must stay as it is: {text:?}"
                );
            }
            (false, Err(message)) => {
                // The text itself is not repeated.
                plain(&message, 128);
                assert_eq!(from_json, None);
            }
            (_, other) => panic!("{text:?}: {other:?}"),
        }
    };
    let json = serde_json::to_string(&text).unwrap();
    macro_rules! check {
        ($name:ident, $expected:expr) => {{
            let result = bounded(SMALL, text.len(), || $name::new(text.as_str()));
            let result = result.map(|name| name.as_str().to_owned()).map_err(|error| error.to_string());
            let back =
                serde_json::from_str::<$name>(&json).ok().map(|name| serde_json::to_value(name).unwrap());
            check($expected, result, back.map(|value| value.as_str().unwrap().to_owned()));
        }};
    }
    check!(UserName, user);
    check!(Login, login);
    check!(NamespaceName, namespace);
    check!(JobId, job);
    if let Ok(bits) = <[u8; 10]>::try_from(random.bytes(10)) {
        let id = JobId::from_random(bits);
        assert_eq!(JobId::new(id.as_str()), Ok(id.clone()));
        let mut others = bits;
        others[random.below(10)] ^= 1 << random.below(8);
        assert_ne!(JobId::from_random(others), id, "each bit counts");
        assert!(is_dns_label(&id.object_name()) && is_dns_label(&id.pod_prefix()));
    }
    accepted
}

/// Spans of time.
pub fn spans(random: &mut Random) -> bool {
    // Around both ends in each unit.
    const EDGES: &[u64] = &[0, 1, 7, 8, 168, 169, 10_080, 10_081, 604_800, 604_801];
    const UNITS: &[&str] = &["s", "m", "h", "d", "", "S", " s", "ms", "é"];
    let text = match random.below(4) {
        0 => random.text(30),
        1 => format!("{}{}", random.next() >> random.below(64), random.pick(UNITS)),
        2 => format!("{}{}", random.pick(EDGES), random.pick(UNITS)),
        _ => random.pieces(&["1", "0", "9", "+", "-", "s", "m", "h", "d", ".", "_", "٣"], 12),
    };
    let span = bounded(SMALL, text.len(), || duration::read(&text));
    let seconds = 1 + random.next() % (7 * 86_400);
    let exact = Duration::from_secs(seconds);
    assert_eq!(duration::read(&duration::write(exact)), Some(exact));
    let Some(span) = span else { return false };
    assert!((1..=7 * 86_400).contains(&span.as_secs()) && span.subsec_nanos() == 0, "{text:?}");
    assert_eq!(duration::read(&duration::write(span)), Some(span));
    true
}
