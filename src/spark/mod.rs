//! spark-submit's command line, as pure data: what the user may say, what the wrapper says after it.
//!
//! Arguments are checked to help and to explain. They are not the boundary: code of the job can set any key at run time,
//! and is held by RBAC, admission and the token's reach.

pub mod command;
pub mod error;
pub mod keys;
pub mod options;
pub mod properties;
pub mod redact;
pub mod template;

pub use command::{JobFacts, command_line, substitute};
pub use error::ArgumentError;
pub use keys::{Origin, check_key, check_setting};
pub use options::{Parsed, parse};
pub use properties::merge as merge_properties;
pub use redact::redacted;
pub use template::executor_pod_template;

#[cfg(test)]
mod tests;
