//! The walk over a pack's delta trees, on all cores: every entry is inflated once, every object
//! shown once, bases before their deltas.
//!
//! Each thread goes depth first, so that what is held is the bases on its way. One that has nothing
//! left to do is given the oldest half of another's work, or takes the next tree.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use parking_lot::{Condvar, Mutex};

use super::bases::Entry;
use super::content::{Content, Contents};
use super::resolve::PackObject;
use crate::error::{Result, StoreError};
use crate::object::ObjectKind;

/// Objects that a thread finds before it hands them over.
const HANDED_COUNT: usize = 256;
/// Longest buffer that a thread keeps for its next object, in bytes.
const KEPT_LEN: usize = 4 << 20;

/// What is done with an object: its position, its kind, its content.
pub(super) type Inspect<'a> = dyn Fn(u32, ObjectKind, &[u8]) -> Result<PackObject> + Sync + 'a;

/// Shows every object that can be reached to `inspect`, and returns what it says of each. Entries
/// whose deltas form a cycle are never reached.
pub(super) fn traverse(
    contents: &Contents<'_>,
    entries: &[Entry],
    inspect: &Inspect<'_>,
) -> Result<Vec<Option<PackObject>>> {
    let thread_count = thread::available_parallelism().map_or(1, usize::from);
    let walk = Walk {
        contents,
        inspect,
        children: Children::of(entries),
        pile: Pile::new(entries, thread_count.min(entries.len()).max(1)),
        found: Mutex::new(vec![None; entries.len()]),
        failure: Mutex::new(None),
    };
    thread::scope(|scope| {
        for _ in 1..walk.pile.thread_count {
            scope.spawn(|| walk.run());
        }
        walk.run();
    });
    match walk.failure.into_inner() {
        Some(error) => Err(error),
        None => Ok(walk.found.into_inner()),
    }
}

struct Walk<'a> {
    contents: &'a Contents<'a>,
    inspect: &'a Inspect<'a>,
    children: Children,
    pile: Pile<'a>,
    found: Mutex<Vec<Option<PackObject>>>,
    failure: Mutex<Option<StoreError>>,
}

/// Deltas of each entry.
struct Children {
    /// Where those of each entry begin in `positions`; one more for the end.
    starts: Vec<u32>,
    positions: Vec<u32>,
}

struct Work {
    position: u32,
    base: Option<Arc<Content>>,
}

/// What one thread holds.
#[derive(Default)]
struct Hands {
    work: VecDeque<Work>,
    found: Vec<(u32, PackObject)>,
    /// Buffers for the next object.
    delta: Vec<u8>,
    spare: Vec<u8>,
}

impl Walk<'_> {
    fn run(&self) {
        let _guard = StopOnPanic(&self.pile);
        let mut hands = Hands::default();
        while let Some(work) = hands.work.pop_back().or_else(|| self.pile.take()) {
            if self.pile.is_stopped() {
                return;
            }
            if let Err(error) = self.step(work, &mut hands) {
                self.failure.lock().get_or_insert(error);
                self.pile.stop();
                return;
            }
            if hands.found.len() >= HANDED_COUNT {
                self.hand_over(&mut hands.found);
            }
            self.pile.share(&mut hands.work);
        }
        self.hand_over(&mut hands.found);
    }

    fn step(&self, Work { position, base }: Work, hands: &mut Hands) -> Result<()> {
        let children = self.children.of_entry(position);
        // A base is held for a while: in a buffer of its own length.
        let is_base = !children.is_empty();
        let spare = if is_base { Vec::new() } else { std::mem::take(&mut hands.spare) };
        let content = self.contents.read(position, base.as_deref(), &mut hands.delta, spare)?;
        let object = (self.inspect)(position, content.kind, &content.data)?;
        hands.found.push((position, object));
        if is_base {
            let base = Arc::new(content);
            let child = |&position| Work { position, base: Some(base.clone()) };
            hands.work.extend(children.iter().rev().map(child));
        } else {
            hands.keep(content);
        }
        if let Some(base) = base.and_then(Arc::into_inner) {
            hands.keep(base);
        }
        if hands.delta.capacity() > KEPT_LEN {
            hands.delta = Vec::new();
        }
        Ok(())
    }

    fn hand_over(&self, found: &mut Vec<(u32, PackObject)>) {
        let mut all = self.found.lock();
        for (position, object) in found.drain(..) {
            all[position as usize] = Some(object);
        }
    }
}

impl Hands {
    /// Keeps the longer one of two buffers for the next object.
    fn keep(&mut self, content: Content) {
        let capacity = content.data.capacity();
        if capacity <= KEPT_LEN && capacity > self.spare.capacity() {
            self.spare = content.data;
        }
    }
}

impl Children {
    fn of(entries: &[Entry]) -> Self {
        let mut starts = vec![0u32; entries.len() + 1];
        for base in entries.iter().filter_map(|entry| entry.base) {
            starts[base as usize + 1] += 1;
        }
        let mut count = 0;
        for start in &mut starts {
            count += *start;
            *start = count;
        }
        let mut next = starts.clone();
        let mut positions = vec![0; count as usize];
        for (entry, position) in entries.iter().zip(0u32..) {
            if let Some(base) = entry.base {
                let slot = &mut next[base as usize];
                positions[*slot as usize] = position;
                *slot += 1;
            }
        }
        Self { starts, positions }
    }

    fn of_entry(&self, position: u32) -> &[u32] {
        let position = position as usize;
        &self.positions[self.starts[position] as usize..self.starts[position + 1] as usize]
    }
}

/// Work that any thread may take.
struct Pile<'a> {
    thread_count: usize,
    state: Mutex<PileState<'a>>,
    filled: Condvar,
    /// Threads that have nothing to do.
    waiting_count: AtomicUsize,
    stopped: AtomicBool,
}

struct PileState<'a> {
    work: Vec<Work>,
    /// Entries of which those that are whole are the trees' roots.
    roots: std::iter::Zip<std::slice::Iter<'a, Entry>, std::ops::RangeFrom<u32>>,
}

impl<'a> Pile<'a> {
    fn new(entries: &'a [Entry], thread_count: usize) -> Self {
        Self {
            thread_count,
            state: Mutex::new(PileState { work: Vec::new(), roots: entries.iter().zip(0..) }),
            filled: Condvar::new(),
            waiting_count: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        }
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn stop(&self) {
        let _state = self.state.lock();
        self.stopped.store(true, Ordering::Relaxed);
        self.filled.notify_all();
    }

    /// Waits for work. `None` when there will be no more: every thread is waiting.
    fn take(&self) -> Option<Work> {
        let mut state = self.state.lock();
        loop {
            if self.is_stopped() {
                return None;
            }
            if let Some(work) = state.work.pop() {
                return Some(work);
            }
            if let Some((_, position)) = state.roots.find(|(entry, _)| entry.base.is_none()) {
                return Some(Work { position, base: None });
            }
            if self.waiting_count.fetch_add(1, Ordering::Relaxed) + 1 == self.thread_count {
                self.stopped.store(true, Ordering::Relaxed);
                self.filled.notify_all();
                return None;
            }
            self.filled.wait(&mut state);
            self.waiting_count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Gives away the older half of a thread's work when another one waits.
    fn share(&self, work: &mut VecDeque<Work>) {
        if work.len() < 2 || self.waiting_count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut state = self.state.lock();
        state.work.extend(work.drain(..work.len() / 2));
        self.filled.notify_all();
    }
}

/// Lets the other threads end when one of them panics: they would wait for its work forever.
struct StopOnPanic<'a, 'b>(&'a Pile<'b>);

impl Drop for StopOnPanic<'_, '_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.stop();
        }
    }
}
