//! The tools of a profile.

use super::{Check, Place};
use crate::policy::config::Profile;

/// Longest name of a tool or a class.
const MAX_NAME: usize = 128;
/// Files of Spark's `bin` that are no tools, why not, and what to write instead.
const REFUSED: [(&str, &str, &str); 7] = [
    ("spark-submit", "is one of `programs`", "list it there"),
    ("pyspark", "is one of `programs`", "list it there"),
    ("spark-shell", "is one of `programs`", "list it there"),
    ("spark-sql", "is one of `programs`", "list it there"),
    ("spark-class", "runs any class", "give a name of your own, and the class as `class`"),
    ("spark-connect-shell", "starts Spark Connect, which ignores the profile's cluster", "use spark-shell"),
    ("sparkR", "takes arguments of a shell's, which are not known here", "run an R file with spark-submit"),
];

pub(super) fn check(here: &Place, profile: &Profile) -> Check {
    let tools = here.then("tools");
    tools.count(profile.tools.len(), super::MAX_ENTRIES)?;
    for (index, tool) in profile.tools.iter().enumerate() {
        let (here, name) = (tools.then(index), tools.then(index).then("name"));
        let word = |text: &str, others: &str| {
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || others.as_bytes().contains(&byte);
            text.len() <= MAX_NAME
                && text.starts_with(|first: char| first.is_ascii_alphabetic())
                && text.bytes().all(legal)
        };
        let rule = "must be a file's name: a letter, then at most 127 of [A-Za-z0-9._-]";
        name.require(word(&tool.name, "._-"), rule, "name a file of Spark's bin, or give a `class`")?;
        if let Some((_, rule, advice)) = REFUSED.iter().find(|(refused, ..)| *refused == tool.name) {
            return name.refuse(*rule, advice);
        }
        let first = profile.tools.iter().position(|other| other.name == tool.name);
        name.require(first == Some(index), "is in the list already", "remove it")?;
        if let Some(class) = &tool.class {
            let of_class = here.then("class");
            of_class.require(word(class, "._$"), "must be a Java class's full name", "correct the name")?;
            let submits = class.starts_with("org.apache.spark.deploy.SparkSubmit");
            of_class.require(!submits, "is spark-submit's own", "list spark-submit in `programs`")?;
            let own = tool.arguments == crate::policy::config::Arguments::Own;
            let rule = "must be own for a class, which reads no options of spark-submit's";
            here.then("arguments").require(own, rule, "remove `arguments`")?;
        }
    }
    Ok(())
}
