//! Configurations and properties files: good ones made from the grammar, and ways to spoil them.

use serde_json::{Map, Value, json};

use super::random::Random;

/// A text that stands in a place where a value belongs. It is no legal name, so that no error may repeat it [9].
pub const MARK: &str = "zQ!m~rk";
/// Largest file that the parsers take.
pub const LARGEST: usize = 1 << 20;

const LOGINS: &[&str] =
    &["alice", "ceo@corp.com", "First.Last@corp.com", "a_b", "a-b", "A.B", "x+y", "0x1g", "root"];
const USERS: &[&str] = &["alice", "bob", "svc-etl", "a.b", "root", "nobody", "x$", "0", "-x"];
const PATHS: &[&str] =
    &["/etc/spark-submit-as/main.kubeconfig", "/opt/spark", "/a/b.yaml", "/a/../b", "x", "/", "/a//b"];
const SPANS: &[&str] =
    &["1s", "30s", "10m", "1h", "7d", "599s", "8d", "0s", "01s", "1", "h", "99999999999999999999h"];
const TEMPLATES: &[&str] = &[
    "dss-ns-${dssUserLogin}",
    "${adminProperty:k8sNS}",
    "${login}-${projectKey}",
    "team-a",
    "ns-${user}",
    "${group}",
    "kube-${user}",
    "default",
    "${userProperty:x}",
    "${login|lower}",
    "${team|default('x')}",
    "${login|tolower}-${team|getornull}",
    "A-${user}",
    "${",
    "",
];
const EXPRESSIONS: &[&str] = &[
    "([^@]+)@corp\\.com",
    "(.*)",
    "([a-z]+)[.]([a-z]+)@.*",
    "a)|(?:b",
    "(?i)ALICE",
    "^alice$",
    "(?m)^a$",
    "a|b",
    "((((a))))",
    "(\\w{100}){100}",
    "(a+)+b",
    "[",
    "(?P<x>a)",
    "\\pL+",
    "(?x) a # b",
    "",
    "(?:a{0,50}){0,50}",
];
const RESULTS: &[&str] =
    &["$1", "${1}", "$2", "x-$1", "$9", "$$", "root", "alice", "$", "${1}0", "$1$1", "u-${1"];
const KEYS: &[&str] = &[
    "spark.executor.instances",
    "spark.kubernetes.container.image",
    "spark.master",
    "spark.kubernetes.namespace",
    "spark.authenticate",
    "spark.network.crypto.authEngineVersion",
    "spark.submit.deployMode",
    "spark.x",
    "x",
    "spark.kubernetes.authenticate.oauthToken",
];
const VARIABLES: &[&str] = &["LANG", "TZ", "PATH", "LD_PRELOAD", "A", "a b", "SPARK_HOME", "BASH_ENV", ""];

fn strings(random: &mut Random, words: &[&str], most: usize) -> Value {
    (0..random.below(most + 1)).map(|_| Value::from(random.word(words))).collect()
}

fn table(random: &mut Random, keys: &[&str], values: &[&str], most: usize) -> Value {
    let entry = |random: &mut Random| (random.word(keys), random.word(values).into());
    Value::Object((0..random.below(most + 1)).map(|_| entry(random)).collect())
}

fn rule(random: &mut Random) -> Value {
    let mut rule = match random.below(3) {
        0 => return "identity".into(),
        1 => json!({"login": random.word(&LOGINS[..8]), "user": random.word(&USERS[..4])}),
        _ if random.one_in(2) => {
            json!({"regex": random.word(&EXPRESSIONS[..3]), "user": random.word(&RESULTS[..2])})
        }
        _ => json!({"regex": random.word(EXPRESSIONS), "user": random.word(RESULTS)}),
    };
    if random.one_in(3) {
        rule["project"] = "MARKETING".into();
    }
    rule
}

/// The table of `users`, with rules that are good more often than not.
pub fn users(random: &mut Random) -> Value {
    let rules: Vec<Value> = (0..random.below(6)).map(|_| rule(random)).collect();
    let mut users = json!({"allowed_groups": ["spark-users"], "min_uid": 1000, "mapping": rules});
    if random.one_in(4) {
        users["denied"] = strings(random, &USERS[..4], 3);
        users["properties"] = random.word(PATHS).into();
    }
    if random.one_in(5) {
        let expression = random.word(&["^team-(.*)$", "t-([a-z]+)", "(a)|(b)", "x", "(?:a|b)-(.*)", "("]);
        users["team"] = json!({"from_groups": expression});
    }
    users
}

/// Entries of `callers` with rules of their own, good more often than not.
fn callers(random: &mut Random) -> Value {
    let rule = |random: &mut Random| match random.below(6) {
        0 | 1 => json!("self"),
        2 => json!({"users": strings(random, &USERS[..4], 2), "groups": ["spark-users"]}),
        3 => json!({"groups": ["data"]}),
        4 => json!({"users": ["svc-etl"]}),
        _ => random.pick(&[json!({}), json!("all"), json!([]), json!({"hosts": []})]).clone(),
    };
    let entry = |random: &mut Random| {
        let mut entry = match random.below(5) {
            0 => return random.word(USERS).into(),
            1 | 2 => json!({"account": random.word(&USERS[..4])}),
            _ => json!({"group": "data"}),
        };
        if entry.get("group").is_some() || random.one_in(2) {
            entry["may_run_as"] = rule(random);
        }
        if random.one_in(3) {
            entry["profiles"] = random.pick(&[json!(["p0"]), json!(["p9"]), json!([])]).clone();
        }
        entry
    };
    (0..=random.below(3)).map(|_| entry(random)).collect()
}

fn profile(random: &mut Random) -> Value {
    let good = |random: &mut Random, words: &[&str], count: usize| {
        if random.one_in(4) { random.word(words) } else { random.word(&words[..count]) }
    };
    let mut profile = json!({
        "cluster": "main",
        "namespace": {"template": good(random, TEMPLATES, 6), "create": random.one_in(2)},
    });
    if random.one_in(2) {
        profile["credentials"] = json!({"mode": "dynamic", "token_ttl": good(random, &SPANS[2..], 3)});
        profile["programs"] = json!(["spark-submit", "pyspark"]);
        profile["namespace"]["policies"] = json!(["small"]);
    }
    if random.one_in(2) {
        let defaults = table(random, &KEYS[..2], &["2", "true", "x", "a: b"], 3);
        profile["spark"] = json!({"defaults": defaults, "driver_host": "10.0.0.1"});
        profile["environment"] = json!({"keep": ["LANG"], "set": {"A": "b"}});
    }
    if random.one_in(8) {
        profile["spark"] = json!({"enforced": table(random, KEYS, &["2", "client", "true"], 3)});
        profile["environment"] = json!({"keep": strings(random, VARIABLES, 3)});
    }
    profile
}

/// A configuration as data, good more often than not.
pub fn config(random: &mut Random) -> Value {
    let profiles: Map<String, Value> =
        (0..=random.below(3)).map(|n| (format!("p{n}"), profile(random))).collect();
    let mut config = json!({
        "callers": ["dssuser"],
        "provisioner": "ssa-provisioner",
        "users": users(random),
        "clusters": {"main": {"kubeconfig": random.word(&PATHS[..3])}},
        "profiles": profiles,
        "namespace_policies": {"small": {"pod_security": "restricted", "labels": {"a.b/c": "17"}}},
    });
    if random.one_in(10) {
        config["provisioner"] = random.word(&["root", "dssuser", "-x"]).into();
    }
    if random.one_in(20) {
        config["callers"] = strings(random, USERS, 3);
    }
    if random.one_in(3) {
        config["callers"] = callers(random);
    }
    if random.one_in(2) {
        config["timeouts"] = json!({"grace": random.word(&SPANS[..5]), "lookup": random.word(&SPANS[..3])});
        config["staging"] = json!({"max_files": random.below(2000), "max_bytes": random.next()});
    }
    config
}

/// Admin properties as data.
pub fn properties(random: &mut Random) -> Value {
    let mut side = |names: &[&str]| -> Value {
        let entry = |random: &mut Random| {
            (
                random.word(names),
                table(random, &["k8sNS", "cost", "a.b", "x y"], &["team-a", "17", "é", "", "\u{1b}"], 2),
            )
        };
        Value::Object((0..random.below(4)).map(|_| entry(random)).collect())
    };
    json!({"logins": side(&LOGINS[..7]), "groups": side(&["data", "ml", "a@b"])})
}

/// Exchanges one value of the tree, or removes it, or gives it company.
pub fn disturb(random: &mut Random, value: &mut Value) {
    let deeper = !random.one_in(3);
    match value {
        Value::Object(map) if deeper && !map.is_empty() => {
            let key = map.keys().nth(random.below(map.len())).cloned().unwrap();
            match random.below(8) {
                0 => drop(map.remove(&key)),
                1 => {
                    let twin = map[&key].clone();
                    map.insert(random.word(&[MARK, "unknown", "a b", "", "login", "1"]), twin);
                }
                _ => disturb(random, map.get_mut(&key).unwrap()),
            }
        }
        Value::Array(list) if deeper && !list.is_empty() => {
            let at = random.below(list.len());
            if random.one_in(6) {
                let twin = list[at].clone();
                list.insert(at, twin);
            } else {
                disturb(random, &mut list[at]);
            }
        }
        other => {
            *other = match random.below(10) {
                0 => Value::Null,
                1 => json!(-1),
                2 => json!(u64::MAX),
                3 => json!(1.5e300),
                4 => json!([MARK]),
                5 => json!({MARK: MARK}),
                6 => json!([[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]),
                7 => Value::from(random.text(40)),
                8 => Value::from("x".repeat(random.below(70_000))),
                _ => MARK.into(),
            };
        }
    }
}

/// Data as text, in one of YAML's two styles.
pub fn written(random: &mut Random, value: &Value) -> Vec<u8> {
    if random.one_in(2) {
        value.to_string().into_bytes()
    } else {
        serde_yaml::to_string(value).unwrap().into_bytes()
    }
}

/// Aliases that stand for far more than the text holds: level upon level, or one node many times.
pub fn bomb(random: &mut Random) -> Vec<u8> {
    let place = random.word(&["x", "callers", "logins", "spec", "metadata", "apiVersion"]);
    let head = if random.one_in(2) { "apiVersion: v1\nkind: Pod\n" } else { "" };
    if random.one_in(2) {
        let (levels, width) = (2 + random.below(10), 2 + random.below(12));
        let mut text = format!("{head}a0: &a0 [{}]\n", vec!["x"; width].join(","));
        for level in 1..levels {
            let below = vec![format!("*a{}", level - 1); width].join(",");
            text.push_str(&format!("a{level}: &a{level} [{below}]\n"));
        }
        return format!("{text}{place}: *a{}\n", levels - 1).into_bytes();
    }
    let long = "x".repeat(random.below(20_000));
    let node = if random.one_in(2) { long } else { format!("[{}]", "x,".repeat(random.below(5000))) };
    format!("{head}a: &a {node}\n{place}: [{}]\n", "*a,".repeat(random.below(20_000))).into_bytes()
}
