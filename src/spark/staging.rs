//! The caller's paths replaced by the copies that the job can read.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use super::words::{Parsed, split_at_equals};

/// Options with a comma list of files (`SparkSubmitArguments.handle`), and
const LIST_OPTIONS: &[&str] = &["--jars", "--files", "--py-files", "--archives"];
/// the settings behind them (`org.apache.spark.internal.config`: JARS, FILES, SUBMIT_PYTHON_FILES, ARCHIVES).
const LIST_KEYS: &[&[u8]] = &[b"spark.jars", b"spark.files", b"spark.submit.pyFiles", b"spark.archives"];

/// See [`Parsed::substitute`].
pub(super) fn substitute(parsed: &Parsed, staged: &[(OsString, OsString)]) -> Parsed {
    parsed.map_words(|index, word| {
        let word = word.as_bytes();
        if let Some(copy) = copy_of(staged, word) {
            return Some(copy.to_vec());
        }
        let (option, from) = parsed.value_in_word(index)?;
        let value = word.get(from..)?;
        if let Some(copy) = copy_of(staged, value) {
            return Some([word.get(..from)?, copy].concat());
        }
        let (list, before) = match option.spec.name {
            name if LIST_OPTIONS.contains(&name) => (value, from),
            "--conf" => {
                let (key, list) = split_at_equals(value).filter(|(key, _)| LIST_KEYS.contains(key))?;
                (list, from + key.len() + 1)
            }
            _ => return None,
        };
        Some([word.get(..before)?, &in_list(list, staged)].concat())
    })
}

fn copy_of<'s>(staged: &'s [(OsString, OsString)], path: &[u8]) -> Option<&'s [u8]> {
    staged.iter().find(|(from, _)| from.as_bytes() == path).map(|(_, to)| to.as_bytes())
}

/// Each element of a comma list; what follows a `#` is the name in the executor's directory and stays.
fn in_list(list: &[u8], staged: &[(OsString, OsString)]) -> Vec<u8> {
    let new = |element: &[u8]| -> Vec<u8> {
        if let Some(copy) = copy_of(staged, element) {
            return copy.to_vec();
        }
        let at = element.iter().position(|byte| *byte == b'#').unwrap_or(element.len());
        let (path, name) = element.split_at_checked(at).unwrap_or((element, b""));
        [copy_of(staged, path).unwrap_or(path), name].concat()
    };
    list.split(|byte| *byte == b',').map(new).collect::<Vec<_>>().join(&b","[..])
}
