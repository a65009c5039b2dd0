//! What a plain spark-submit command line says that the policy decides here: taken out of the words, so that it can be
//! checked instead of being passed on.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use super::error::ArgumentError;
use super::redact::escaped;
use super::words::{Opt, Parsed};

/// A plain command line.
#[derive(Debug, PartialEq, Eq)]
pub struct Plain {
    /// The login of `--proxy-user`.
    pub proxy_user: Option<String>,
    /// The address of `--master k8s://…`, without `k8s://`.
    pub master: Option<String>,
    /// All other words.
    pub words: Vec<OsString>,
}

/// Takes `--proxy-user` and `--master` out of the words. Of an option that is given twice the last one counts, as for Spark.
///
/// # Errors
/// [`ArgumentError::Option`] for a master that is no Kubernetes, and for values that are no text.
pub fn plain(parsed: &Parsed) -> Result<Plain, ArgumentError> {
    let (mut proxy_user, mut master) = (None, None);
    let mut words: Vec<Option<&OsString>> = parsed.words().iter().map(Some).collect();
    for option in parsed.options() {
        let refused =
            |rule, advice| Err(ArgumentError::Option { option: parsed.spelling(option), rule, advice });
        let value = std::str::from_utf8(parsed.value(option).unwrap_or_default());
        match (option.spec.name, value) {
            ("--proxy-user", Ok(login)) => proxy_user = Some(login.to_owned()),
            ("--master", Ok(url)) => match url.strip_prefix("k8s://") {
                Some(address) => master = Some(address.to_owned()),
                None => {
                    return refused(
                        "jobs run on the Kubernetes cluster of the profile",
                        "leave it out, or say k8s:// and the cluster's address",
                    );
                }
            },
            ("--proxy-user" | "--master", Err(_)) => return refused("its value is no text", "correct it"),
            _ => continue,
        }
        for index in places(parsed, option) {
            if let Some(word) = words.get_mut(index) {
                *word = None;
            }
        }
    }
    Ok(Plain { proxy_user, master, words: words.into_iter().flatten().cloned().collect() })
}

/// The words of an option: one, or two when its value stands by itself.
fn places(parsed: &Parsed, option: &Opt) -> std::ops::Range<usize> {
    let joined = parsed.words().get(option.at).is_some_and(|word| word.as_bytes().contains(&b'='));
    option.at..option.at + if joined { 1 } else { 2 }
}

/// Whether `--master` names this API server: `https` unless it says otherwise, port 443 unless it has one
/// (`Utils.checkAndGetK8sMasterUrl`).
///
/// # Errors
/// [`ArgumentError::Option`].
pub fn same_master(asked: &str, server: &str) -> Result<(), ArgumentError> {
    let whole = |url: &str| {
        let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
        let rest = rest.trim_end_matches('/');
        let has_port =
            rest.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
        format!("{scheme}://{rest}{}", if has_port { "" } else { ":443" }).to_ascii_lowercase()
    };
    if whole(asked) == whole(server) {
        return Ok(());
    }
    Err(ArgumentError::Option {
        option: format!("--master k8s://{}", escaped(asked.as_bytes())),
        rule: "it names another API server than the profile's cluster",
        advice: "leave it out, or choose the profile of that cluster",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::config::Program;

    fn of(words: &[&str]) -> Result<Plain, ArgumentError> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        plain(&super::super::parse(Program::SparkSubmit, &words, None).expect("words"))
    }

    #[test]
    fn proxy_user_and_master_are_taken_out_in_every_spelling_and_nothing_else() {
        let plain = of(&[
            "--master=k8s://https://a:6443",
            "--proxy-user",
            "bob",
            "--conf",
            "spark.x=--master",
            "--proxy-user=alice",
            "app.py",
            "--master",
            "yarn",
        ])
        .expect("plain");
        assert_eq!(plain.proxy_user.as_deref(), Some("alice"));
        assert_eq!(plain.master.as_deref(), Some("https://a:6443"));
        assert_eq!(plain.words, ["--conf", "spark.x=--master", "app.py", "--master", "yarn"]);
        for master in ["yarn", "local[2]", "spark://a:7077", ""] {
            assert!(
                matches!(of(&["--master", master, "app.py"]), Err(ArgumentError::Option { .. })),
                "{master}"
            );
        }
    }

    #[test]
    fn a_master_is_compared_with_its_defaults() {
        let server = "https://10.0.0.1:6443";
        for same in ["https://10.0.0.1:6443", "10.0.0.1:6443", "https://10.0.0.1:6443/"] {
            assert!(same_master(same, server).is_ok(), "{same}");
        }
        for other in [
            "https://10.0.0.1",
            "http://10.0.0.1:6443",
            "https://10.0.0.1:6444",
            "",
            "https://x@10.0.0.1:6443",
        ] {
            assert!(same_master(other, server).is_err(), "{other}");
        }
        assert!(same_master("https://API.example", "https://api.example:443").is_ok());
        assert!(same_master("https://[fd00::1]:6443", "https://[fd00::1]:6443").is_ok());
    }
}
