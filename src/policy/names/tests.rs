//! What each kind of name takes and refuses [19, 20].

use super::*;

#[test]
fn names_that_are_none_are_refused() {
    let long = "a".repeat(33);
    let users = [
        "",
        "-1",
        "-a",
        ".",
        "..",
        "#0",
        "+0",
        "0",
        "0x0",
        "0X1f",
        "4294967295",
        "a/b",
        "../a",
        "a\0",
        "a\n",
        "a:b",
        "a$",
        "$a",
        "a`b",
        "a%b",
        "a b",
        " a",
        "ä",
        "аlice",
        "a\u{1b}[2J",
        "a@b",
        "a+b",
        "a\\b",
        "a'b",
        "a;b",
        "*",
        "~a",
        &long,
    ];
    for name in users {
        assert!(UserName::new(name).is_err(), "{name:?}");
    }
    for name in ["a", "alice", "A1", "_apt", "first.last", "www-data", &long[..32], "1a", "0xg"] {
        assert!(UserName::new(name).is_ok(), "{name:?}");
    }
    let long = "a".repeat(257);
    for name in ["", "-a", "a b", "a\n", "a/b", "a:b", "ä@b", "1000", "0x1", "a\0", "a$b", "%n", "a{b", &long]
    {
        assert!(Login::new(name).is_err(), "{name:?}");
    }
    for name in ["First.Last@corp.com", "a+b@c", "ALICE", "@", "_", &long[..256]] {
        assert!(Login::new(name).is_ok(), "{name:?}");
    }
    let long = "a".repeat(64);
    for name in
        ["", "-a", "a-", "a.b", "A", "a_b", "default", "kube-system", "kube-x", "../a", "ä", "a\n", &long]
    {
        assert!(NamespaceName::new(name).is_err(), "{name:?}");
    }
    for name in ["a", "0", "a-b", "default-a", "kube", "kubeflow", &long[..63]] {
        assert!(NamespaceName::new(name).is_ok(), "{name:?}");
    }
    for name in [
        "",
        "aaaaaaaaaaaaaaa",
        "aaaaaaaaaaaaaaaaa",
        "aaaaaaaaaaaaaaa1",
        "AAAAAAAAAAAAAAAA",
        "../aaaaaaaaaaaaa",
    ] {
        assert!(JobId::new(name).is_err(), "{name:?}");
    }
    assert_eq!(JobId::from_random([0xff; 10]).as_str(), "7777777777777777");
    assert_eq!(JobId::from_random([0, 0, 0, 0, 0, 0, 0, 0, 0, 1]).as_str(), "aaaaaaaaaaaaaaab");
    for bits in 0..=255 {
        assert!(JobId::new(JobId::from_random([bits; 10]).as_str()).is_ok());
    }
}
