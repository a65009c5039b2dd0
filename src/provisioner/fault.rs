//! What goes wrong, and the exit code that it means for the call.

use std::cell::RefCell;

use spark_submit_as::exit::ExitCode;
use spark_submit_as::protocol::Reply;
use zeroize::Zeroizing;

/// Longest message in bytes.
const MAX_MESSAGE: usize = 1024;
/// Most bytes of foreign text that are looked at for one message.
const MAX_TEXT: usize = 16 * 1024;
/// Secrets that are remembered, so that no message repeats one. The oldest goes first.
const MAX_HIDDEN: usize = 8;
/// Shortest run of token characters that is taken for a token after `Bearer`, and of a JWT's first letters on.
const SHORTEST: usize = 16;

/// A failure to be told. Its message holds no token and no text of the kubeconfig.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// The wrapper's exit code.
    pub code: ExitCode,
    /// Whether the request may have taken effect although it failed (an answer that was lost [54]).
    pub perhaps: bool,
    /// Whether an answer was longer than is taken; a smaller page may fit.
    pub too_long: bool,
    message: String,
}

impl Fault {
    /// A failure with its sentence; control characters are escaped and the length is bounded [48].
    pub fn new(code: ExitCode, message: impl AsRef<str>) -> Self {
        Self { code, perhaps: false, too_long: false, message: bounded(message.as_ref()) }
    }

    /// The same about a request that may have taken effect.
    pub fn perhaps(self) -> Self {
        Self { perhaps: true, ..self }
    }

    /// The same about an answer that was longer than is taken.
    pub fn too_long(self) -> Self {
        Self { too_long: true, ..self }
    }

    /// The same with what was tried in front.
    pub fn doing(self, what: &str) -> Self {
        Self { message: bounded(&format!("{what}: {}", self.message)), ..self }
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

thread_local! {
    static HIDDEN: RefCell<Vec<Zeroizing<String>>> = const { RefCell::new(Vec::new()) };
}

/// Remembers a secret that no message may hold: an API server, a proxy or a library may echo what it was sent [47].
pub fn hide(secret: &str) {
    if secret.len() < 8 {
        return; // as a word it would be found everywhere
    }
    HIDDEN.with_borrow_mut(|hidden| {
        if !hidden.iter().any(|known| known.as_str() == secret) {
            if hidden.len() >= MAX_HIDDEN {
                hidden.remove(0);
            }
            hidden.push(Zeroizing::new(secret.to_owned()));
        }
    });
}

/// Text that is safe to print: without tokens, in one line of printable ASCII, bounded [47, 48].
pub fn bounded(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut text = text.get(..end).unwrap_or_default().to_owned();
    HIDDEN.with_borrow(|hidden| {
        for secret in hidden {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), "[token]");
            }
        }
    });
    let mut out = String::new();
    for character in redacted(&text).chars() {
        if out.len() >= MAX_MESSAGE {
            out.truncate(MAX_MESSAGE);
            out.push_str("...");
            break;
        }
        // Bidirectional overrides and their like are no control characters to `is_control`, but change what is read.
        if character.is_ascii_graphic() || character == ' ' {
            out.push(character);
        } else {
            out.extend(character.escape_default());
        }
    }
    out
}

/// Takes anything away that looks like a token: a JWT's three parts begin with the letters of `{"`, and anything long
/// that follows `Bearer`.
fn redacted(text: &str) -> String {
    let token = |character: char| character.is_ascii_alphanumeric() || "-._~+/=".contains(character);
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(token) {
        let (before, from) = rest.split_at(start);
        let (run, after) = from.split_at(from.find(|character| !token(character)).unwrap_or(from.len()));
        out.push_str(before);
        let bearer = out.to_ascii_lowercase().ends_with("bearer ");
        match run.find("eyJ") {
            _ if bearer && run.len() >= SHORTEST => out.push_str("[token]"),
            Some(at) if run.len() - at >= SHORTEST => {
                out.push_str(run.get(..at).unwrap_or_default());
                out.push_str("[token]");
            }
            _ => out.push_str(run),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checklist_47_a_token_that_is_echoed_is_taken_away() {
        let token = format!("eyJ{}.eyJ{}.{}", "a".repeat(30), "b".repeat(30), "c".repeat(30));
        for (text, wanted) in [
            (format!("Bearer {token} is bad\n"), "Bearer [token] is bad\\n"),
            (format!("{{\"authorization\":\"bearer {token}\"}}"), "{\"authorization\":\"bearer [token]\"}"),
            (format!("x={token},"), "x=[token],"),
            // An opaque one: only the word before it tells.
            ("Authorization: Bearer ya29.AHES6ZRVmB7fkLtd1".to_owned(), "Authorization: Bearer [token]"),
            ("the bearer of this".to_owned(), "the bearer of this"),
            (
                "serviceaccounts \"ssa-job-aaaaaaaaaaaaaaaa\" is forbidden".to_owned(),
                "serviceaccounts \"ssa-job-aaaaaaaaaaaaaaaa\" is forbidden",
            ),
        ] {
            assert_eq!(bounded(&text), wanted);
        }
    }

    #[test]
    fn checklist_47_a_known_secret_is_taken_away_in_any_form_and_at_any_length() {
        hide("k8s-aws-v1.aHR0cHM6");
        assert_eq!(bounded("user k8s-aws-v1.aHR0cHM6 is unknown"), "user [token] is unknown");
        let long = format!("{}k8s-aws-v1.aHR0cHM6", " ".repeat(MAX_MESSAGE - 5));
        assert!(!bounded(&long).contains("k8s-aws"), "cut before it was found");
    }

    #[test]
    fn checklist_48_text_is_escaped_and_bounded() {
        assert_eq!(bounded("a\x1b[31m\u{202e}\u{e4}"), "a\\u{1b}[31m\\u{202e}\\u{e4}");
        assert_eq!(bounded(&"\u{202e}".repeat(1 << 20)).len(), MAX_MESSAGE + 3);
    }

    #[test]
    fn forgets_the_oldest_secret_only() {
        for number in 0..20 {
            hide(&format!("secret-number-{number:04}"));
        }
        assert!(bounded("secret-number-0019").contains("[token]"));
        assert!(!bounded("secret-number-0000").contains("[token]"));
    }
}
