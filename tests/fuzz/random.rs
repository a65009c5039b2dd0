//! Pseudo-random choices that a seed repeats, and ways to spoil a good text.

/// A pseudo-random generator (xorshift64*), the same numbers for the same seed.
pub struct Random(u64);

/// What parsers give a meaning, and what they often forget.
const SPICE: &[&[u8]] = &[
    b"\0",
    b"\n",
    b"\r",
    b"\r\n",
    b"\t",
    b" ",
    b":",
    b": ",
    b"- ",
    b"[",
    b"]",
    b"{",
    b"}",
    b",",
    b"'",
    b"\"",
    b"&a ",
    b"*a",
    b"!",
    b"!!binary ",
    b"|\n",
    b">\n",
    b"%",
    b"---\n",
    b"...\n",
    b"#",
    b"? ",
    b"~",
    b"null",
    b"$",
    b"${",
    b"}",
    b"/",
    b"..",
    b"../",
    b".",
    b"=",
    b"--",
    b"-",
    b"+",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"\x1b[2J",
    b"\x7f",
    b"\xff",
    b"\xc3",
    b"\xc3\xa9",
    b"\xe2\x80\xa8",
    b"\xe2\x80\xae",
    b"\xf0\x9f\x98\x80",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"0",
    b"-1",
    b"4294967295",
    b"4294967296",
    b"18446744073709551616",
    b"1e999",
    b".nan",
    b"0x1f",
    b"9999999999999999999999999999999999999999",
    b"true",
    b"root",
    b"default",
    b"kube-system",
    b"%n%s",
];

impl Random {
    /// The generator of one input of one run.
    pub fn new(seed: u64, name: &str, input: u64) -> Self {
        // FNV-1a, so that two parsers do not walk through the same numbers.
        let name = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        // splitmix64's finish: neighbouring inputs must not resemble each other.
        let mut state = seed ^ name ^ input.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((state ^ (state >> 31)) | 1)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below a bound.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % bound.max(1)
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// One of several texts.
    pub fn word(&mut self, words: &[&str]) -> String {
        (*self.pick(words)).to_owned()
    }

    /// Up to `most` pieces in a row.
    pub fn pieces(&mut self, pieces: &[&str], most: usize) -> String {
        (0..self.below(most + 1)).map(|_| *self.pick(pieces)).collect()
    }

    fn spice(&mut self) -> &'static [u8] {
        SPICE[self.below(SPICE.len())]
    }

    /// Bytes without any order.
    pub fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| (self.next() >> 40) as u8).collect()
    }

    /// A text of any characters, spice among them.
    pub fn text(&mut self, most: usize) -> String {
        let mut bytes = Vec::new();
        for _ in 0..self.below(most + 1) {
            match self.below(6) {
                0 => bytes.extend_from_slice(self.spice()),
                1 => bytes.push((self.next() >> 40) as u8),
                _ => bytes.push(*self.pick(b"abcdefghijklmnopqrstuvwxyzABCXYZ0123456789-_.@+")),
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// `bytes` with a few changes, at most `longest` of them. Once in a while a large one.
    pub fn spoil(&mut self, bytes: &[u8], longest: usize) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(40)).min(bytes.len());
            match self.below(12) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 => drop(bytes.splice(at..at, self.spice().iter().copied())),
                2 => drop(bytes.splice(at..end, self.spice().iter().copied())),
                3 => drop(bytes.drain(at..end)),
                4 if self.one_in(4) => bytes.truncate(at),
                5 => {
                    let part = bytes[at..end].to_vec();
                    let to = self.below(bytes.len() + 1);
                    drop(bytes.splice(to..to, part));
                }
                6 => {
                    // A whole line twice.
                    let from = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                    let to = bytes[at..]
                        .iter()
                        .position(|byte| *byte == b'\n')
                        .map_or(bytes.len(), |n| at + n + 1);
                    let line = bytes[from..to].to_vec();
                    drop(bytes.splice(to..to, line));
                }
                7 => {
                    let junk = self.bytes(8);
                    drop(bytes.splice(at..at, junk));
                }
                8 if self.one_in(8) => {
                    let deep = self.repeated(1 << 12);
                    drop(bytes.splice(at..at, deep));
                }
                9 if self.one_in(400) => {
                    let room = longest.saturating_sub(bytes.len());
                    let huge = self.repeated(room);
                    drop(bytes.splice(at..at, huge));
                }
                _ if at < bytes.len() => bytes[at] = (self.next() >> 40) as u8,
                _ => {}
            }
        }
        bytes.truncate(longest);
        bytes
    }

    /// One thing again and again: deep nesting, long lines, huge numbers, many items.
    pub fn repeated(&mut self, most: usize) -> Vec<u8> {
        const UNITS: &[&[u8]] = &[
            b"[",
            b"{",
            b"{a: ",
            b"- ",
            b"? ",
            b"[[],",
            b"a,",
            b"\"\",",
            b"{},",
            b"~,",
            b"x",
            b"9",
            b"\"",
            b"'",
            b" ",
            b"\n",
            b"\\",
            b"\\\n",
            b"!",
            b"&a ",
            b"*a ",
            b"*a,",
            b"a: b\n",
            b"\t",
            b"\0",
            b"\xff",
            b"#\n",
            b"${user}",
            b"$1",
            b"(?:a",
            b"(",
            b"|",
            b"--conf\0",
            b"\xe2\x80\xa8",
            b"{\"a\":",
            b"[0,",
            b"\"\":0,",
        ];
        let unit = *self.pick(UNITS);
        let count = self.below(most / unit.len() + 1);
        unit.repeat(count)
    }
}
