//! A secret that cannot be printed.

use zeroize::Zeroizing;

/// A bearer token or another secret. No `Debug`, no `Display`, no `Serialize`; wiped when dropped.
/// It leaves memory through [`Token::expose`] alone (and `protocol::WireToken`, between our two processes).
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// Longest token that is taken, in bytes. A service account token has about 1 KiB.
    pub const MAX: usize = 16 * 1024;

    /// Takes a token over when it is a legal HTTP header value of bounded size (RFC 6750 `b64token`).
    #[must_use]
    pub fn new(text: String) -> Option<Self> {
        let text = Zeroizing::new(text);
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        (!text.is_empty() && text.len() <= Self::MAX && text.bytes().all(legal)).then_some(Self(text))
    }

    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}
