//! YAML without types: what is refused whatever the schema says, and where a key is in the text.
//!
//! Both are visitors that run over the parser's events and keep nothing, because the parser bounds neither memory
//! nor time: with an anchor of n nodes and m aliases it hands out n × m nodes, and its limit on repetition counts
//! jumps, not nodes.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::policy::names::is_word;

/// Deepest nesting. The configuration's own is 5.
const MAX_DEPTH: usize = 16;
/// Most nodes, aliases followed.
const MAX_NODES: usize = 200_000;
/// Most bytes in scalars, aliases followed.
const MAX_BYTES: usize = 2 << 20;

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

/// What is wrong with a text, whatever it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    Syntax,
    Empty,
    Documents,
    Duplicate,
    Key,
    Tag,
    Depth,
    Size,
}

impl Problem {
    pub(crate) fn rule(self) -> &'static str {
        match self {
            Problem::Syntax => "this is not YAML",
            Problem::Empty => "the file is empty",
            Problem::Documents => "the file holds more than one YAML document",
            Problem::Duplicate => "the same key is there twice",
            Problem::Key => "a key must be a word, not a list, a mapping or nothing",
            Problem::Tag => "tags (`!name`) are not used here",
            Problem::Depth => "lists and mappings are nested too deeply",
            Problem::Size => "there is too much in it once its aliases are followed",
        }
    }

    pub(crate) fn advice(self) -> &'static str {
        match self {
            Problem::Syntax => {
                "look for a missing quote, bracket or colon, or a tab, at or before this place"
            }
            Problem::Empty => "see spark-submit-as.yaml(5) for what it must hold",
            Problem::Documents => "keep one and remove the `---` between them",
            Problem::Duplicate => "keep one of them",
            Problem::Key => "quote it or correct the indentation",
            Problem::Tag => "remove it, or quote a value that starts with `!`",
            Problem::Depth | Problem::Size => "compare it with spark-submit-as.yaml(5)",
        }
    }
}

/// A problem and where it is; 0 for an unknown line or column.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) problem: Problem,
    pub(crate) path: Vec<Segment>,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// Refuses what no file of ours holds. Says whether the text has a value that is null.
pub(crate) fn check(text: &str) -> Result<bool, Fault> {
    let state = RefCell::new(State::default());
    let fault = |problem, at: Option<(usize, usize)>| {
        let (line, column) = at.unwrap_or_default();
        Err(Fault { problem, path: state.borrow().path.clone(), line, column })
    };
    let mut documents = serde_yaml::Deserializer::from_str(text);
    let Some(first) = documents.next() else { return fault(Problem::Empty, None) };
    if let Err(error) = (Walk { state: &state, depth: 0 }).deserialize(first) {
        let problem = state.borrow().problem.unwrap_or(Problem::Syntax);
        let at = error.location().map(|at| (at.line(), at.column()));
        return fault(problem, at.filter(|_| problem != Problem::Empty));
    }
    if documents.next().is_some() { fault(Problem::Documents, None) } else { Ok(state.borrow().nulls) }
}

/// What [`check`] has seen. The path stays where the walk stopped.
#[derive(Default)]
struct State {
    path: Vec<Segment>,
    problem: Option<Problem>,
    nodes: usize,
    bytes: usize,
    nulls: bool,
}

#[derive(Clone, Copy)]
struct Walk<'s> {
    state: &'s RefCell<State>,
    depth: usize,
}

impl Walk<'_> {
    /// Notes the problem and gives the error that makes the parser tell the place.
    fn stop<T, E: Error>(self, problem: Problem) -> Result<T, E> {
        self.state.borrow_mut().problem = Some(problem);
        Err(E::custom("stop"))
    }

    fn spend<E: Error>(self, bytes: usize) -> Result<(), E> {
        let mut state = self.state.borrow_mut();
        state.nodes += 1;
        state.bytes = state.bytes.saturating_add(bytes);
        let over = state.nodes > MAX_NODES || state.bytes > MAX_BYTES;
        drop(state);
        if over { self.stop(Problem::Size) } else { Ok(()) }
    }

    fn scalar<E: Error>(self, bytes: usize) -> Result<(), E> {
        self.spend(bytes)
    }

    fn deeper<E: Error>(self) -> Result<Self, E> {
        self.spend(0)?;
        if self.depth >= MAX_DEPTH {
            self.stop(Problem::Depth)
        } else {
            Ok(Self { depth: self.depth + 1, ..self })
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.scalar(5)
    }
    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.scalar(20)
    }
    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.scalar(20)
    }
    fn visit_i128<E: Error>(self, _: i128) -> Result<(), E> {
        self.scalar(40)
    }
    fn visit_u128<E: Error>(self, _: u128) -> Result<(), E> {
        self.scalar(40)
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.scalar(20)
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.scalar(text.len())
    }
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        if self.depth == 0 {
            return self.stop(Problem::Empty);
        }
        self.state.borrow_mut().nulls = true;
        self.scalar(1)
    }
    fn visit_none<E: Error>(self) -> Result<(), E> {
        self.visit_unit()
    }
    fn visit_enum<A: serde::de::EnumAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        self.stop(Problem::Tag)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        let mut index = 0_usize;
        loop {
            self.state.borrow_mut().path.push(index.into());
            let more = items.next_element_seed(inner)?.is_some();
            self.state.borrow_mut().path.pop();
            if !more {
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        let mut seen = BTreeSet::new();
        while let Some(key) = entries.next_key_seed(KeyOf { walk: inner, seen: &seen })? {
            seen.insert(key);
            entries.next_value_seed(inner)?;
            self.state.borrow_mut().path.pop();
        }
        Ok(())
    }
}

/// A mapping's key as the typed pass will see it: as text, so that `1` and `"1"` are the same key.
struct KeyOf<'s, 'k> {
    walk: Walk<'s>,
    seen: &'k BTreeSet<String>,
}

impl<'de> DeserializeSeed<'de> for KeyOf<'_, '_> {
    type Value = String;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        let state = self.walk.state;
        // Should the parser refuse the key without asking the visitor, this is why.
        state.borrow_mut().problem = Some(Problem::Key);
        let key = deserializer.deserialize_str(self)?;
        state.borrow_mut().problem = None;
        Ok(key)
    }
}

impl<'de> Visitor<'de> for KeyOf<'_, '_> {
    type Value = String;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E: Error>(self, key: &str) -> Result<String, E> {
        self.walk.spend(key.len())?;
        self.walk.state.borrow_mut().path.push(key.into());
        if self.seen.contains(key) { self.walk.stop(Problem::Duplicate) } else { Ok(key.to_owned()) }
    }
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
