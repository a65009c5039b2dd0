//! YAML without types: what is refused whatever the schema says.
//!
//! It is a visitor that runs over the parser's events and keeps nothing, because the parser bounds neither memory nor
//! time: with an anchor of n nodes and m aliases it hands out n × m nodes, and its limit on repetition counts
//! jumps, not nodes.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::place::Segment;

/// Deepest nesting. The configuration's own is 5.
const MAX_DEPTH: usize = 16;
/// Most nodes, aliases followed.
const MAX_NODES: usize = 200_000;
/// Most bytes in scalars, aliases followed.
const MAX_BYTES: usize = 2 << 20;

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
            Problem::Size => "there is too much in the file, its aliases followed",
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

/// Refuses what no file of ours holds. Says whether the text has a value that serde may take for what it is not: null for
/// a word, and a list in a list for a mapping, where a value has several forms.
pub(crate) fn check(text: &str) -> Result<bool, Fault> {
    let state = RefCell::new(State::default());
    let fault = |problem, at: Option<(usize, usize)>| {
        let (line, column) = at.unwrap_or_default();
        Err(Fault { problem, path: state.borrow().path.clone(), line, column })
    };
    if let Some(line) = brackets_too_deep(text) {
        return fault(Problem::Depth, Some((line, 0)));
    }
    let mut documents = serde_yaml::Deserializer::from_str(text);
    let Some(first) = documents.next() else { return fault(Problem::Empty, None) };
    if let Err(error) = (Walk { state: &state, depth: 0 }).deserialize(first) {
        let at = error.location().map(|at| (at.line(), at.column()));
        // Without a problem of ours the parser stopped by itself: at a place when it is the syntax, and without one
        // when its own limit on repetition was met first.
        let own = if at.is_some() { Problem::Syntax } else { Problem::Size };
        let problem = state.borrow().problem.unwrap_or(own);
        if problem == Problem::Syntax {
            // The last key that could be read, which may be far away.
            state.borrow_mut().path.clear();
        }
        return fault(problem, at.filter(|_| problem != Problem::Empty));
    }
    if documents.next().is_some() { fault(Problem::Documents, None) } else { Ok(state.borrow().doubtful) }
}

/// The line where brackets are nested deeper than any file of ours, quoted text and comments left out.
///
/// Needed before the parser runs: for each token it goes through all open brackets, so that 1 MiB of `[` keeps it
/// busy for half a minute. This is a rough reading of YAML that errs towards letting a text pass.
fn brackets_too_deep(text: &str) -> Option<usize> {
    let (mut line, mut depth, mut quote, mut comment, mut before) = (1_usize, 0_usize, None, false, b' ');
    for byte in text.bytes() {
        let starts = before.is_ascii_whitespace() || b"[{,:".contains(&before);
        match byte {
            b'\n' => (line, comment) = (line + 1, false),
            _ if comment => {}
            _ if quote == Some(byte) && before != b'\\' => quote = None,
            _ if quote.is_some() => {}
            b'"' | b'\'' if starts => quote = Some(byte),
            b'#' if starts => comment = true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > 4 * MAX_DEPTH {
            return Some(line);
        }
        before = byte;
    }
    None
}

/// What [`check`] has seen. The path stays where the walk stopped.
#[derive(Default)]
struct State {
    path: Vec<Segment>,
    problem: Option<Problem>,
    nodes: usize,
    bytes: usize,
    doubtful: bool,
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
        self.state.borrow_mut().doubtful = true;
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
        if matches!(self.state.borrow().path.last(), Some(Segment::Index(_))) {
            self.state.borrow_mut().doubtful = true;
        }
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
