use super::*;

fn name(text: &str) -> NamespaceName {
    NamespaceName::new(text).unwrap()
}

#[test]
fn only_what_a_run_writes_is_an_owner() {
    for text in [
        "{}",
        r#"{"login":"alice"}"#,
        r#"{"login":"First.Last@corp.com","user":"alice"}"#,
        r#"{"adminProperty:k8sNS":"team-a","group":"sales","projectKey":"CHURN"}"#,
        r#"{"login":"alice","projectKey":null}"#,
        r#"{"team":"a"}"#,
    ] {
        let owner = Owner::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(owner.as_str(), text);
    }
    for (text, wanted) in [
        ("", OwnerError::Form),
        ("alice", OwnerError::Form),
        ("[]", OwnerError::Form),
        ("null", OwnerError::Form),
        (r#"{"login": "alice"}"#, OwnerError::Form),
        (r#"{"user":"alice","login":"alice"}"#, OwnerError::Form),
        (r#"{"login":"bob","login":"alice"}"#, OwnerError::Form),
        (r#"{"login":"\u0061lice"}"#, OwnerError::Form),
        (r#"{"login":1}"#, OwnerError::Form),
        (r#"{"login":["alice"]}"#, OwnerError::Form),
        (r#"{"login":"alice"} "#, OwnerError::Form),
        (r#"{"dssUserLogin":"alice"}"#, OwnerError::Unknown),
        (r#"{"userProperty:x":"alice"}"#, OwnerError::Unknown),
        (r#"{"adminProperty:":"alice"}"#, OwnerError::Unknown),
        (r#"{"login":""}"#, OwnerError::Value("a login")),
        (r#"{"login":"a b"}"#, OwnerError::Value("a login")),
        (r#"{"user":"0"}"#, OwnerError::Value("an account")),
        (r#"{"group":""}"#, OwnerError::Value("a variable")),
        (r#"{"projectKey":"a b"}"#, OwnerError::Value("a project's key")),
    ] {
        assert_eq!(Owner::parse(text), Err(wanted), "{text}");
    }
    let long = format!(r#"{{"group":"{}"}}"#, "x".repeat(MAX_OWNER));
    assert_eq!(Owner::parse(&long), Err(OwnerError::Length));
}

#[test]
fn a_template_gives_a_namespace_only_with_the_owner_s_own_variables() {
    for (template, text, namespace, wanted) in [
        ("dss-ns-${dssUserLogin}", r#"{"login":"alice"}"#, "dss-ns-alice", true),
        ("dss-ns-${login}", r#"{"login":"alice"}"#, "dss-ns-bob", false),
        // Another variable with the same value, and one that was not recorded.
        ("dss-ns-${login}", r#"{"user":"alice"}"#, "dss-ns-alice", false),
        ("dss-ns-${login}", "{}", "dss-ns-x", false),
        ("dss-ns-${login}", r#"{"login":"x","user":"alice"}"#, "dss-ns-x", false),
        ("dss-ns-${user}", r#"{"user":"alice"}"#, "dss-ns-alice", true),
        ("${adminProperty:k8sNS}", r#"{"adminProperty:k8sNS":"team-a"}"#, "team-a", true),
        ("${adminProperty:other}", r#"{"adminProperty:k8sNS":"team-a"}"#, "team-a", false),
        ("p-${projectKey}", r#"{"projectKey":"churn"}"#, "p-churn", true),
        ("g-${group}", r#"{"group":"sales"}"#, "g-sales", true),
        ("t-${team}", r#"{"team":"a"}"#, "t-a", true),
        ("t-${team}", r#"{"team":"b"}"#, "t-a", false),
        ("p-${projectKey|default('none')}", r#"{"projectKey":null}"#, "p-none", true),
        ("p-${projectKey|default('none')}", r#"{"projectKey":"churn"}"#, "p-none", false),
        ("p-${projectKey|default('none')}", "{}", "p-none", false),
        ("p-${projectKey}", r#"{"projectKey":null}"#, "p-none", false),
        ("ns-${login|tolower}", r#"{"login":"alice"}"#, "ns-alice", true),
        ("ns-${login|tolower}", r#"{"login":"Alice"}"#, "ns-alice", false),
        ("shared", "{}", "shared", true),
        ("shared", "{}", "other", false),
        ("dss-ns-${login}", r#"{"login":"Alice"}"#, "dss-ns-alice", false),
    ] {
        let owner = Owner::parse(text).unwrap();
        assert_eq!(owner.gives(template, &name(namespace)), wanted, "{template} {text} {namespace}");
    }
    let owner = Owner::parse(r#"{"login":"Alice@corp"}"#).unwrap();
    let hashed = resolve("ns-${login}", &owner.variables().unwrap()).unwrap();
    assert!(owner.gives("ns-${login}", &hashed.name));
    assert!(!owner.gives("ns-${dssUserLogin}", &hashed.name), "the hash is over the template as well");
}

#[test]
fn a_namespace_is_one_persons_when_nothing_else_decides() {
    for (text, person, only) in [
        (r#"{"login":"alice"}"#, true, true),
        (r#"{"user":"alice"}"#, true, true),
        (r#"{"login":"a@b","user":"alice"}"#, true, true),
        (r#"{"login":"alice","projectKey":"X"}"#, true, false),
        (r#"{"group":"sales","user":"alice"}"#, true, false),
        (r#"{"login":"alice","projectKey":null}"#, true, false),
        (r#"{"login":null}"#, false, false),
        (r#"{"team":"a"}"#, false, false),
        (r#"{"adminProperty:k8sNS":"team-a"}"#, false, false),
        (r#"{"group":"sales"}"#, false, false),
        ("{}", false, false),
    ] {
        let owner = Owner::parse(text).unwrap();
        assert_eq!((owner.person().is_some(), owner.only_person().is_some()), (person, only), "{text}");
    }
}
