//! Runs a property for its share of the time, and says how to repeat an input that breaks it.

use std::cell::RefCell;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use super::memory;
use super::random::Random;

/// Seconds for all parsers together, when `SSA_FUZZ_SECONDS` does not say.
const SECONDS: u64 = 20;
/// Inputs that every parser gets however slow the machine is.
const LEAST: u64 = 100;
/// Seconds of processor time that one input may take. A watchdog and no measure: unoptimised code on a busy
/// machine stays far below it, and what needs more has work without a bound.
const LONGEST: Duration = Duration::from_secs(20);
/// The seed of a run that names none and lasts no longer than usual: the same inputs each time.
const SEED: u64 = 0x5eed_0102;

/// What a parser may hold at its peak: a multiple of its input and a constant [102].
#[derive(Clone, Copy)]
pub struct Bound {
    /// Bytes for each byte of input.
    pub factor: usize,
    /// Bytes whatever the input.
    pub constant: usize,
}

/// What was seen of a parser.
#[derive(Default)]
struct Seen {
    inputs: u64,
    accepted: u64,
    largest: usize,
    peak: usize,
    peak_input: usize,
    slowest: Duration,
}

thread_local! {
    static SEEN: RefCell<Seen> = RefCell::default();
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let digits = text.trim_start_matches("0x");
    let radix = if digits.len() < text.len() { 16 } else { 10 };
    Some(u64::from_str_radix(digits, radix).unwrap_or_else(|_| panic!("{name} is not a number: {text:?}")))
}

fn seed() -> u64 {
    static RUN: OnceLock<u64> = OnceLock::new();
    *RUN.get_or_init(|| {
        number("SSA_FUZZ_SEED").unwrap_or_else(|| match number("SSA_FUZZ_SECONDS") {
            // A longer run is for finding what the usual inputs do not.
            Some(_) => {
                clock_gettime(ClockId::CLOCK_REALTIME).map_or(SEED, |now| now.tv_nsec().unsigned_abs())
            }
            None => SEED,
        })
    })
}

fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// Says which input it was when a property does not hold.
struct Blame {
    name: &'static str,
    seed: u64,
    input: u64,
}

impl Drop for Blame {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { name, seed, input } = self;
            println!("{name}: broken by input {input} of seed {seed:#x}; to repeat it alone:");
            println!(
                "SSA_FUZZ_SEED={seed:#x} SSA_FUZZ_INPUT={input} cargo test --test fuzz checklist_102_{name}"
            );
        }
    }
}

/// Gives one input after another to `property`, which says whether the parser took it. `share` is in percent of the
/// time of all.
pub fn explore(name: &'static str, share: u64, mut property: impl FnMut(&mut Random) -> bool) {
    let seed = seed();
    let total = number("SSA_FUZZ_SECONDS").unwrap_or(SECONDS);
    let end = Instant::now() + Duration::from_millis(total * share * 10);
    let only = number("SSA_FUZZ_INPUT");
    SEEN.take();
    for input in only.unwrap_or(0).. {
        let blame = Blame { name, seed, input };
        memory::note(name, seed, input);
        let accepted = property(&mut Random::new(seed, name, input));
        drop(blame);
        SEEN.with_borrow_mut(|seen| {
            seen.inputs += 1;
            seen.accepted += u64::from(accepted);
        });
        if only.is_some() || (input + 1 >= LEAST && Instant::now() >= end) {
            break;
        }
    }
    let seen = SEEN.take();
    println!(
        "{name}: {} inputs of seed {seed:#x}, {} taken, {} refused; largest {} bytes, slowest {:?}, \
         peak {} bytes for an input of {}",
        seen.inputs,
        seen.accepted,
        seen.inputs - seen.accepted,
        seen.largest,
        seen.slowest,
        seen.peak,
        seen.peak_input
    );
    if only.is_none() {
        // A generator that never meets one of the two sides proves nothing about it.
        assert!(seen.accepted > 0, "{name}: no input was taken");
        assert!(seen.accepted < seen.inputs, "{name}: no input was refused");
    }
}

/// Runs a parser on an input of `size` bytes, within the bounds on memory and on processor time.
pub fn bounded<T>(bound: Bound, size: usize, parser: impl FnOnce() -> T) -> T {
    let start = processor_time();
    let (peak, result) = memory::peak_of(parser);
    let took = processor_time().saturating_sub(start);
    SEEN.with_borrow_mut(|seen| {
        seen.largest = seen.largest.max(size);
        seen.slowest = seen.slowest.max(took);
        if peak > seen.peak {
            (seen.peak, seen.peak_input) = (peak, size);
        }
    });
    let most = bound.factor * size + bound.constant;
    assert!(peak <= most, "{peak} bytes were held for an input of {size}; at most {most} may be");
    assert!(took <= LONGEST, "an input of {size} bytes took {took:?}");
    result
}

/// Asserts that a line is fit for a terminal and a log [48].
pub fn plain(line: &str, longest: usize) {
    assert!(line.len() <= longest, "{} bytes in a line that may have {longest}", line.len());
    assert!(!line.chars().any(char::is_control), "a control character in {line:?}");
}
