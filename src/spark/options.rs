//! The table of spark-submit's options, with the release that has each first.

/// A release line of Spark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SparkVersion {
    /// 4 in 4.1.
    pub major: u16,
    /// 1 in 4.1.
    pub minor: u16,
}

impl SparkVersion {
    /// Reads `4.1.4`, `4.1` or `4.1.0-SNAPSHOT`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(['.', '-']);
        Some(Self { major: parts.next()?.parse().ok()?, minor: parts.next()?.parse().ok()? })
    }
}

impl std::fmt::Display for SparkVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// An option of spark-submit.
#[derive(Debug, PartialEq, Eq)]
pub struct Spec {
    /// Its long name.
    pub name: &'static str,
    /// Its short name.
    pub short: Option<&'static str>,
    /// Whether a value follows.
    pub takes_value: bool,
    /// First release that has it; absent: all supported ones (3.4 and later).
    pub since: Option<SparkVersion>,
}

const fn value(name: &'static str) -> Spec {
    Spec { name, short: None, takes_value: true, since: None }
}
const fn flag(name: &'static str) -> Spec {
    Spec { name, short: None, takes_value: false, since: None }
}
const fn short(name: &'static str, spec: Spec) -> Spec {
    Spec { short: Some(name), ..spec }
}
const fn since(major: u16, minor: u16, spec: Spec) -> Spec {
    Spec { since: Some(SparkVersion { major, minor }), ..spec }
}

/// Every option (`SparkSubmitOptionParser.opts` and `.switches`, 3.4.4 to 4.3.0).
pub const OPTIONS: &[Spec] = &[
    value("--archives"),
    value("--class"),
    short("-c", value("--conf")),
    value("--deploy-mode"),
    value("--driver-class-path"),
    value("--driver-cores"),
    since(4, 0, value("--driver-default-class-path")),
    value("--driver-java-options"),
    value("--driver-library-path"),
    value("--driver-memory"),
    value("--exclude-packages"),
    value("--executor-cores"),
    value("--executor-memory"),
    since(4, 2, value("--extra-properties-file")),
    value("--files"),
    value("--jars"),
    value("--keytab"),
    value("--kill"),
    value("--master"),
    value("--name"),
    value("--num-executors"),
    value("--packages"),
    value("--principal"),
    value("--properties-file"),
    value("--proxy-user"),
    value("--py-files"),
    value("--queue"),
    value("--remote"),
    value("--repositories"),
    value("--status"),
    value("--total-executor-cores"),
    short("-h", flag("--help")),
    since(4, 0, flag("--load-spark-defaults")),
    flag("--supervise"),
    flag("--usage-error"),
    short("-v", flag("--verbose")),
    flag("--version"),
];

/// The option of exactly this spelling; Spark knows no abbreviations.
pub(super) fn find(name: &[u8]) -> Option<&'static Spec> {
    OPTIONS
        .iter()
        .find(|spec| spec.name.as_bytes() == name || spec.short.is_some_and(|s| s.as_bytes() == name))
}
