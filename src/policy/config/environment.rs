//! Names of environment variables that a job may be given.

/// Steer the dynamic loader, the C library or a shell in every program that the job starts, or are made by the
/// wrapper itself from the account's record and the job's credential [26, 29].
const NEVER: &[&str] = &[
    "GCONV_PATH",
    "GETCONF_DIR",
    "GLIBC_TUNABLES",
    "HOSTALIASES",
    "LOCALDOMAIN",
    "LOCPATH",
    "NLSPATH",
    "RES_OPTIONS",
    "BASH_ENV",
    "BASHOPTS",
    "CDPATH",
    "ENV",
    "GLOBIGNORE",
    "IFS",
    "PS4",
    "SHELLOPTS",
    "KUBECONFIG",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "SPARK_HOME",
];
const NEVER_PREFIXES: &[&str] = &["LD_", "BASH_FUNC_", "KUBERNETES_"];

/// What the caller must not bring, although the administrator may set it: it steers an interpreter, Spark, or where
/// connections go. The list is sudo's (`env.c`, sudoers(5)) and Spark's.
const NOT_KEPT: &[&str] = &[
    "PATH",
    "CLASSPATH",
    "JAVA_HOME",
    "JAVA_OPTS",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "JDK_JAVAC_OPTIONS",
    "_JAVA_OPTIONS",
    "FPATH",
    "ZDOTDIR",
    "NULLCMD",
    "READNULLCMD",
    "TMPPREFIX",
    "TERMCAP",
    "TERMINFO",
    "TERMINFO_DIRS",
    "TERMPATH",
    "R_HOME",
    "R_LIBS",
    "R_PROFILE",
    "R_ENVIRON",
    "KRB5_CONFIG",
    "KRB5CCNAME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];
const NOT_KEPT_PREFIXES: &[&str] = &[
    "PYTHON", "PYSPARK_", "SPARK_", "HADOOP_", "YARN_", "HIVE_", "PERL", "RUBY", "NODE_", "SUDO_", "MALLOC_",
];

/// Whether a name is one: `[A-Za-z_][A-Za-z0-9_]*`, at most 128 bytes.
pub(crate) fn is_name(name: &str) -> bool {
    name.len() <= 128
        && name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn listed(name: &str, names: &[&str], prefixes: &[&str]) -> bool {
    names.contains(&name) || prefixes.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether the administrator may set it.
pub(crate) fn may_set(name: &str) -> bool {
    !listed(name, NEVER, NEVER_PREFIXES)
}

/// Whether it may be taken over from the caller. Proxies are known in small letters too.
pub(crate) fn may_keep(name: &str) -> bool {
    may_set(name)
        && !listed(name, NOT_KEPT, NOT_KEPT_PREFIXES)
        && !name.to_ascii_uppercase().ends_with("_PROXY")
}
