//! spark-submit's side of a run: what its words mean, which of them are refused, and what we add.
//!
//! Pure: nothing here opens a file, starts a process or talks to the cluster. The checks help people and keep
//! honest jobs on their path; they are **not** the boundary. A job's own code can set any key
//! (`SparkConf.set` beats the command line), so what confines it is its token's role, admission, and the
//! namespace (checklist 76).
//!
//! The order in which settings win, weakest first:
//!
//! | where | what |
//! |---|---|
//! | built-in defaults ([`command::DEFAULTS`]) | properties file |
//! | administrator's `spark-defaults.conf` | properties file, copied as it is |
//! | profile's `spark.defaults` | properties file |
//! | platform's `conf` (a request file) | properties file, never on a command line |
//! | user's `--conf`s and flags | command line, as they came |
//! | profile's `spark.enforced` | command line, after the user's |
//! | the wrapper's own ([`keys::ENFORCED`]) | command line, last, with flags where a flag exists |

pub mod command;
pub mod error;
pub mod executor_pod;
pub mod java;
pub mod keys;
pub mod options;
pub mod plain;
pub mod ports;
pub mod properties;
pub mod redact;
mod staging;
pub mod template;
pub mod words;

pub use command::{JobFacts, command_line};
pub use error::ArgumentError;
pub use keys::{Origin, check_arguments, check_key, check_pair, check_profile};
pub use options::SparkVersion;
pub use plain::{Plain, plain, same_master};
pub use ports::{DriverPorts, check_ports};
pub use properties::{PropertiesError, merge};
pub use redact::{escaped, redacted};
pub use template::{Mount, TemplateError, executor_pod_template};
pub use words::{Parsed, parse};

#[cfg(test)]
mod tests;
