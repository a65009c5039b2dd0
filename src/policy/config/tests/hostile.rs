//! Files that are not a configuration at all: nothing of them is printed, and they cost little.

use std::time::Instant;

use super::*;
use crate::policy::identity::parse_properties;
use crate::policy::testing::{Random, mutate};

/// Both readers' messages.
fn messages(text: &[u8]) -> Vec<String> {
    let errors = [parse(text).err(), parse_properties(text).err()];
    errors.into_iter().flatten().flat_map(|error| [format!("{error}"), format!("{error:?}")]).collect()
}

#[test]
fn no_part_of_another_file_is_printed() {
    let files = [
        "root:$6$SECRET$SECRET:19000:0:99999:7:::\nSECRET:!:19000::::::\n",
        "SECRET",
        "- SECRET\n- {a: SECRET}\n",
        "user: SECRET\npassword: SECRET\n",
        "SECRET: 1\n",
        "SECRET: 1\nSECRET: 2\n",
        "\"SECRET-1\": {SECRET2: [SECRET3, SECRET3: SECRET]}\n",
        "callers: SECRET\n",
        "callers: {SECRET: SECRET}\n",
        "callers: [SECRET!]\nprovisioner: x\nusers: {allowed_groups: [x]}\nclusters: {}\nprofiles: {}\n",
        "users: {mapping: [SECRET]}\n",
        "users: {mapping: [{SECRET: SECRET}]}\n",
        "users: {min_uid: SECRET}\n",
        "timeouts: {grace: SECRET}\n",
        "clusters: {a: {kubeconfig: [SECRET]}}\n",
        "profiles: {a: {programs: [SECRET]}}\n",
        "!SECRET\na: b\n",
        "a: !SECRET b\n",
        "a: *SECRET\n",
        "a: &SECRET b\nb: &SECRET [*SECRET\n",
        "%SECRET\n---\na\n",
        "{SECRET: \"\\q\"}",
        "a: 'SECRET\n",
        "a: |\n  SECRET\n b: SECRET\n",
        "\tSECRET",
        "@SECRET",
        "logins: {SECRET!: {a: b}}\n",
        "logins: {alice: {SECRET!: b}}\n",
        "logins: {alice: {a: \"SECRET\\n\"}}\n",
        "logins: SECRET\n",
        "apiVersion: v1\nusers:\n- name: SECRET\n  user: {token: SECRET}\n",
        "-----BEGIN SECRET KEY-----\nSECRET\n",
    ];
    for file in files {
        for message in messages(file.as_bytes()) {
            assert!(!message.contains("SECRET"), "{file:?}: {message}");
        }
    }
    for (from, to) in [
        ("main.kubeconfig", "../SECRET"),
        ("cluster: main\n    namespace", "cluster: SECRET\n    namespace"),
        ("$1", "$9SECRET"),
        ("([^@]+)@corp", "SECRET([^@]+@corp"),
        ("dss-ns-${dssUserLogin}", "${SECRET}"),
        ("dss-ns-${dssUserLogin}", "SECRET"),
        ("policies: [small]", "policies: [SECRET]"),
        ("10.0.0.1", "SECRET SECRET"),
        ("[LANG, TZ]", "[LD_SECRET]"),
        ("registry.corp.com", "SECRET\\0"),
        ("\"17\"", "\"-SECRET\""),
        ("ssa-provisioner", "SECRET SECRET"),
    ] {
        let error = parse(spoiled(from, to).as_bytes()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("SECRET"), "{to:?}: {error}");
    }
}

#[test]
fn what_is_no_single_yaml_document_is_refused() {
    let rows: &[(&[u8], &str)] = &[
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"# a comment\n", "empty"),
        (b"---\n", "empty"),
        (b"~", "empty"),
        (b"null\n", "empty"),
        (b"--- {}\n--- {}\n", "more than one"),
        (b"a\xffb", "UTF-8"),
        (b"\xff\xfea\0:\0", "UTF-8"),
        (b"a: \0", "not YAML"),
        (b"[]", "must be a mapping"),
        (b"true", "must be a mapping"),
        (b"!!binary aGk=", ""),
        (b"? ? a", ""),
    ];
    for (text, rule) in rows {
        let error = parse(text).unwrap_err();
        assert!(error.to_string().contains(rule), "{text:?}: {error}");
    }
    let error = parse(b"callers: [a]\nb\xc3\x28").unwrap_err();
    assert_eq!(error.to_string(), "line 2: the file is not UTF-8 text; save it as UTF-8");
}

#[test]
fn a_null_is_not_overlooked_beside_a_number_that_no_type_holds() {
    let text = spoiled("spark.executor.instances: 2", &format!("spark.x: {}", "9".repeat(30)));
    assert!(parse(text.as_bytes()).is_ok_and(|config| config.profiles["per-user"].spark.defaults.len() == 2));
    assert!(parse(text.replace("pod_security: restricted", "pod_security: ~").as_bytes()).is_err());
    assert!(parse(text.replace("callers: [dssuser, root]", "callers:").as_bytes()).is_err());
}

/// Seconds of CPU that this thread has used.
fn used() -> i64 {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().tv_sec()
}

#[test]
fn size_depth_and_aliases_cost_little() {
    let mebibyte = 1 << 20;
    let billion = (1..=9).fold("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, n| {
        format!("{text}a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(","))
    });
    let one = |anchored: &str, alias: &str, n: usize| format!("a: &a {anchored}\nb: [{}]\n", alias.repeat(n));
    let rows: Vec<(&str, String, &str)> = vec![
        ("too long", " ".repeat(mebibyte + 1), "longer than 1 MiB"),
        ("billion laughs", billion, "aliases"),
        ("many nodes often", one(&format!("[{}]", "x,".repeat(200_000)), "*a,", 100_000), "aliases"),
        ("a long text often", one(&"x".repeat(500_000), "*a,", 100_000), "aliases"),
        (
            "in the right place",
            one("", "", 0).replace(
                "a: &a ",
                &format!("callers: [&a {},{}]", "x".repeat(500_000), "*a,".repeat(100_000)),
            ),
            "aliases",
        ),
        ("an alias of itself", "callers: &a [*a]\n".into(), ""),
        ("lists in lists", "[".repeat(mebibyte), ""),
        ("closed lists in lists", format!("{}{}", "[".repeat(1000), "]".repeat(1000)), "nested too deeply"),
        ("mappings in mappings", "{a: ".repeat(50_000), ""),
        ("indents", (0..1000).map(|n| format!("{}a:\n", " ".repeat(n))).collect(), "nested too deeply"),
        ("dashes", "- ".repeat(mebibyte / 2), ""),
        ("question marks", "? ".repeat(mebibyte / 2), ""),
        (
            "many keys",
            (0..100_000).map(|n| format!("k{n}: 1\n")).collect::<String>().chars().take(mebibyte).collect(),
            "too much",
        ),
        ("many items", format!("callers: [{}]", "a,".repeat(mebibyte / 2 - 10)), ""),
        ("a long key", format!("{}: 1", "k".repeat(100_000)), ""),
        ("quotes", "\"".repeat(mebibyte), ""),
        ("tags", "!".repeat(mebibyte), ""),
        ("anchors", "&a ".repeat(mebibyte / 3), ""),
    ];
    for (name, text, rule) in rows {
        let start = used();
        let error = parse(text.as_bytes()).unwrap_err();
        assert!(error.to_string().contains(rule), "{name}: {error}");
        // Of this thread's own CPU time, which a busy machine does not change. Generous, since the build is unoptimised.
        assert!(used() - start < 5, "{name} took {} s", used() - start);
    }
}

#[test]
fn spoiled_bytes_never_panic() {
    let mut random = Random::new(102);
    let properties = "logins: {alice: {k8sNS: team-a}}\ngroups: {data: {k8sNS: team-b}}\n";
    let start = Instant::now();
    for round in 0..4000 {
        let good = if round % 2 == 0 { GOOD } else { properties };
        let bytes = mutate(&mut random, good.as_bytes());
        for message in messages(&bytes) {
            assert!(message.len() < 2000 && !message.contains('\u{1b}'), "{message}");
        }
        if start.elapsed().as_millis() > 900 {
            break;
        }
    }
}
