//! What the tests of this room share.

/// A pseudo-random generator that gives the same numbers in every run (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below a bound.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % bound.max(1)
    }

    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// Bytes with a few changes: overwritten, inserted, removed, repeated or cut off.
pub(crate) fn mutate(random: &mut Random, bytes: &[u8]) -> Vec<u8> {
    const SPICE: &[u8] = b"\0\n\t :-[]{},'\"&*!|>%@#?~$/.\xff\xc3\x1b09aZ";
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(6) {
            0 if !bytes.is_empty() => bytes[at] = *random.pick(SPICE),
            1 => bytes.insert(at, *random.pick(SPICE)),
            2 if !bytes.is_empty() => drop(bytes.remove(at)),
            3 => bytes.truncate(at),
            4 => {
                let end = (at + random.below(40)).min(bytes.len());
                let part = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, part);
            }
            _ if !bytes.is_empty() => bytes[at] = (random.next() & 0xff) as u8,
            _ => {}
        }
    }
    bytes
}
