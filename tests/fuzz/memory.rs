//! A global allocator that counts, for each thread by itself, what it holds and the most that it ever held.
//!
//! It also refuses to go on beyond a limit: a parser that asks for all of the host's memory then ends this process with
//! a line that says which input did it, instead of taking the machine down.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write;

/// Most bytes that a thread of this binary may hold. Far above every bound that a test asserts.
const HARD_LIMIT: usize = 1 << 30;

/// The allocator.
pub struct Counting;

// Const-initialised and without a destructor, so that reading them never allocates.
thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
    static NOTE: Cell<(&'static str, u64, u64)> = const { Cell::new(("", 0, 0)) };
}

/// Says what the thread is doing, for the line that tells of the hard limit.
pub fn note(parser: &'static str, seed: u64, input: u64) {
    NOTE.set((parser, seed, input));
}

/// Bytes that `work` held at its peak beyond what the thread held before, and what `work` gave.
pub fn peak_of<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = HELD.get();
    PEAK.set(before);
    let result = work();
    (PEAK.get().saturating_sub(before), result)
}

/// False when the thread would hold too much.
fn grow(by: usize) -> bool {
    // A thread frees what another one allocated now and then; wrapping keeps the difference right.
    let held = HELD.get().wrapping_add(by);
    let sane = held <= isize::MAX as usize;
    if sane && held > HARD_LIMIT {
        let (parser, seed, input) = NOTE.get();
        let mut line = [0; 200];
        let mut rest = &mut line[..];
        let _ =
            writeln!(rest, "{parser}: input {input} of seed {seed:#x} asks for more than {HARD_LIMIT} bytes");
        let left = rest.len();
        let _ = nix::unistd::write(std::io::stderr(), &line[..line.len() - left]);
        return false;
    }
    HELD.set(held);
    if sane && held > PEAK.get() {
        PEAK.set(held);
    }
    true
}

fn shrink(by: usize) {
    HELD.set(HELD.get().wrapping_sub(by));
}

// SAFETY: every request goes to the system's allocator unchanged, or is refused with a null pointer, as the trait allows.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's layout, unchanged.
        if grow(layout.size()) { unsafe { System.alloc(layout) } } else { std::ptr::null_mut() }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's layout, unchanged.
        if grow(layout.size()) { unsafe { System.alloc_zeroed(layout) } } else { std::ptr::null_mut() }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        shrink(layout.size());
        // SAFETY: a block of the system's allocator with the layout that it was made with.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !grow(size) {
            return std::ptr::null_mut();
        }
        shrink(layout.size());
        // SAFETY: a block of the system's allocator with the layout that it was made with, and the caller's size.
        unsafe { System.realloc(block, layout, size) }
    }
}
