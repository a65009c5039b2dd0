//! Places in a YAML text: the path that people read, and the line where it is.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::policy::names::is_word;

/// A step from a value into a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// Into a mapping.
    Key(String),
    /// Into a mapping that has no such key, so that its name may be anything.
    Foreign(String),
    /// Into a sequence.
    Index(usize),
}

impl From<&str> for Segment {
    fn from(key: &str) -> Self {
        Segment::Key(key.to_owned())
    }
}

impl From<usize> for Segment {
    fn from(index: usize) -> Self {
        Segment::Index(index)
    }
}

/// A path for people. A key that is no legal name anywhere is shown as `?`.
pub(crate) fn shown(path: &[Segment]) -> String {
    show(path, |key| is_word(key, 128))
}

/// The same before the text is known to have the schema's shape: then a key may be anybody's secret, so only
/// what could be a key of ours is shown.
pub(crate) fn strictly_shown(path: &[Segment]) -> String {
    show(path, |_| false)
}

/// Whether a key looks like the schema's own: 1 to 40 of `[a-z_]`.
pub(crate) fn could_be_ours(key: &str) -> bool {
    (1..=40).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

fn show(path: &[Segment], may_show: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Index(index) => text.push_str(&format!("[{index}]")),
            Segment::Key(key) | Segment::Foreign(key) => {
                if !text.is_empty() {
                    text.push('.');
                }
                let plain = could_be_ours(key) || (matches!(segment, Segment::Key(_)) && may_show(key));
                text.push_str(if plain { key } else { "?" });
            }
        }
    }
    text
}

/// Line and column of a path, or of the nearest part of it that exists; 0 and 0 when nothing does.
///
/// It walks to the place and stops there with an error, since the parser tells places in errors only. To be used on
/// a text that [`check`] has passed.
pub(crate) fn locate(text: &str, path: &[Segment]) -> (usize, usize) {
    let place = |path: &[Segment]| {
        let error = Seek { path }.deserialize(serde_yaml::Deserializer::from_str(text)).err()?;
        error.location().map(|at| (at.line(), at.column()))
    };
    (0..=path.len()).rev().find_map(|length| place(path.get(..length)?)).unwrap_or_default()
}

/// Walks down a path; fails where it ends, and succeeds when it does not exist.
#[derive(Clone, Copy)]
struct Seek<'p> {
    path: &'p [Segment],
}

/// A key, which fails when it is the path's last.
struct SeekKey<'p> {
    target: &'p str,
    last: bool,
}

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> DeserializeSeed<'de> for SeekKey<'_> {
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for SeekKey<'_> {
    type Value = bool;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        if key != self.target {
            Ok(false)
        } else if self.last {
            Err(E::custom("here"))
        } else {
            Ok(true)
        }
    }
}

// A visitor's other methods fail by themselves, and with that tell the place: right for a scalar at the path's end,
// and for one that has no parts it is the nearest place there is.
impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value with parts")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Some((first, rest)) = self.path.split_first() else { return Err(A::Error::custom("here")) };
        let mut index = 0_usize;
        loop {
            let found = if *first == Segment::Index(index) {
                items.next_element_seed(Seek { path: rest })?.is_some()
            } else {
                items.next_element::<serde::de::IgnoredAny>()?.is_some()
            };
            if !found {
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Some((first, rest)) = self.path.split_first() else { return Err(A::Error::custom("here")) };
        let target = match first {
            Segment::Key(key) | Segment::Foreign(key) => key.as_str(),
            Segment::Index(_) => return Ok(()),
        };
        while let Some(found) = entries.next_key_seed(SeekKey { target, last: rest.is_empty() })? {
            if found {
                entries.next_value_seed(Seek { path: rest })?;
            } else {
                entries.next_value::<serde::de::IgnoredAny>()?;
            }
        }
        Ok(())
    }
}
