//! Java's properties files, a second time: written from the documentation of `java.util.Properties.load(Reader)`, one
//! character at a time, so that it shares no code and no idea with the reader that it is compared with.

/// Keys and values in their order; none where Java throws because of a malformed `\uXXXX`.
pub fn load(text: &[u8]) -> Option<Vec<(String, String)>> {
    // Spark reads as UTF-8, where a malformed byte becomes U+FFFD.
    let text: Vec<char> = String::from_utf8_lossy(text).chars().collect();
    let mut entries = Vec::new();
    for line in logical_lines(&text) {
        entries.push(entry(&line)?);
    }
    Some(entries)
}

/// Natural lines put together where they end in an odd number of backslashes; comments and blank lines left out.
fn logical_lines(text: &[char]) -> Vec<Vec<char>> {
    let mut lines = Vec::new();
    let mut line: Vec<char> = Vec::new();
    // At the beginning of a natural line, blanks are skipped; `joined`: it continues another one.
    let (mut beginning, mut joined, mut odd) = (true, false, false);
    let mut at = 0;
    while let Some(&c) = text.get(at) {
        at += 1;
        let ends = c == '\n' || c == '\r';
        if beginning {
            if matches!(c, ' ' | '\t' | '\u{c}') || (ends && !joined) {
                continue;
            }
            (beginning, joined) = (false, false);
            if line.is_empty() && (c == '#' || c == '!') {
                while text.get(at).is_some_and(|c| *c != '\n' && *c != '\r') {
                    at += 1;
                }
                beginning = true;
                continue;
            }
        }
        if !ends {
            line.push(c);
            odd = c == '\\' && !odd;
        } else if line.is_empty() {
            beginning = true;
        } else if odd {
            line.pop();
            (beginning, joined, odd) = (true, true, false);
            if c == '\r' && text.get(at) == Some(&'\n') {
                at += 1;
            }
        } else {
            lines.push(std::mem::take(&mut line));
            beginning = true;
        }
    }
    if odd {
        line.pop();
        // A line of one backslash at the end of the file is still a line.
        lines.push(line);
    } else if !line.is_empty() {
        lines.push(line);
    }
    lines
}

fn entry(line: &[char]) -> Option<(String, String)> {
    let blank = |c: char| matches!(c, ' ' | '\t' | '\u{c}');
    let mut end = 0;
    let mut separated = false;
    let mut odd = false;
    while let Some(&c) = line.get(end) {
        if !odd && (c == '=' || c == ':' || blank(c)) {
            separated = c == '=' || c == ':';
            break;
        }
        odd = c == '\\' && !odd;
        end += 1;
    }
    let mut start = (end + 1).min(line.len());
    while let Some(&c) = line.get(start) {
        if !blank(c) {
            if separated || (c != '=' && c != ':') {
                break;
            }
            separated = true;
        }
        start += 1;
    }
    Some((plain(&line[..end])?, plain(&line[start..])?))
}

fn plain(text: &[char]) -> Option<String> {
    // In UTF-16 as Java counts: two escapes may be the halves of one character.
    let mut units: Vec<u16> = Vec::new();
    let mut chars = text.iter().copied();
    while let Some(c) = chars.next() {
        let c = match (c, if c == '\\' { chars.next() } else { Some(c) }) {
            ('\\', Some('u')) => {
                let mut unit = 0_u16;
                for _ in 0..4 {
                    unit = (unit << 4) | u16::try_from(chars.next()?.to_digit(16)?).ok()?;
                }
                units.push(unit);
                continue;
            }
            ('\\', Some('t')) => '\t',
            ('\\', Some('n')) => '\n',
            ('\\', Some('r')) => '\r',
            ('\\', Some('f')) => '\u{c}',
            (_, Some(other)) => other,
            (_, None) => continue,
        };
        units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
    }
    Some(String::from_utf16_lossy(&units))
}
