//! What goes wrong, and the exit code that it means for the call.

use spark_submit_as::exit::ExitCode;
use spark_submit_as::protocol::Reply;

/// Longest message in bytes.
const MAX_MESSAGE: usize = 1024;

/// A failure to be told. Its message holds no token and no text of the kubeconfig.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// The wrapper's exit code.
    pub code: ExitCode,
    message: String,
}

impl Fault {
    /// A failure with its sentence; control characters are escaped and the length is bounded [48].
    pub fn new(code: ExitCode, message: impl AsRef<str>) -> Self {
        Self { code, message: bounded(message.as_ref()) }
    }

    /// A breach of the protocol.
    pub fn protocol(rule: &str) -> Self {
        Self::new(ExitCode::Provisioner, format!("protocol: {rule}"))
    }

    /// The reply that tells it.
    pub fn reply(&self, left: Vec<String>) -> Reply {
        Reply::Failed { code: self.code, message: self.message.clone(), left }
    }
}

/// Text that is safe to print.
pub fn bounded(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        if out.len() >= MAX_MESSAGE {
            out.push_str("...");
            break;
        }
        if character.is_control() { out.extend(character.escape_default()) } else { out.push(character) }
    }
    redacted(&out)
}

/// Takes anything away that looks like a token: an API server's error may echo a header [47].
fn redacted(text: &str) -> String {
    let token = |word: &str| word.len() > 40 && word.matches('.').count() >= 2 && word.starts_with("eyJ");
    text.split(' ').map(|word| if token(word) { "[token]" } else { word }).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn checklist_47_a_token_that_is_echoed_is_taken_away() {
        let token = format!("eyJ{}.{}.{}", "a".repeat(30), "b".repeat(30), "c".repeat(30));
        assert_eq!(super::bounded(&format!("Bearer {token} is bad\n")), "Bearer [token] is bad\\n");
    }
}
