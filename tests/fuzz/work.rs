//! One target, in a process of its own: what it cannot survive, its parent sees.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::chance::Chance;
use crate::mutate::{minimised, mutated};
use crate::target::{Said, Target};

/// How much an input may cost of the processor. Far above what any costs, and far below what would be noticed.
const INPUT_COST_MAX: Duration = Duration::from_millis(500);
/// How much memory a whole run may take on top of what it starts with: what a target asks for because an input
/// says so must fit in it, beside the inputs that are kept.
const MEMORY_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// That of the threads in which the product reads the same bytes.
const STACK_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// Of inputs that were read, and as much again of those that were refused.
const KEPT_MAX: usize = 2048;
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;
const MINIMISE_FOR: Duration = Duration::from_secs(20);

/// What a run came to.
#[derive(Debug, Default)]
pub(crate) struct Ran {
    pub(crate) inputs: u64,
    /// How many of them were read, and not refused.
    pub(crate) read: u64,
    pub(crate) kept: usize,
    /// What was kept of inputs that were read, and of those that were refused.
    pub(crate) inputs_kept: Vec<Vec<u8>>,
    pub(crate) slowest: Duration,
    pub(crate) took: Duration,
    /// The input that does not hold, and what did not.
    pub(crate) found: Option<(Vec<u8>, String)>,
}

/// What costs more than this is read twice more, and the least counts: what the machine did meanwhile is not its cost.
const AGAIN_FROM: Duration = Duration::from_millis(2);

/// How long a run goes on: until both are reached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Least {
    pub(crate) time: Duration,
    pub(crate) inputs: u64,
}

/// Where an input stands before it is read, for whoever outlives this process.
pub(crate) struct Note(File);

impl Note {
    pub(crate) fn new(file: File) -> Self {
        Self(file)
    }

    fn write(&self, input: &[u8]) {
        let mut bytes = u32::try_from(input.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
        bytes.extend_from_slice(input);
        self.0.write_all_at(&bytes, 0).expect("the note is written");
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<&[u8]> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        rest.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)
    }
}

thread_local! {
    static PANICKED: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Lets no input take more memory or stack than the bounds; and panics are kept, not printed.
pub(crate) fn confine() {
    let status = std::fs::read_to_string("/proc/self/status").expect("the state of this process");
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")?.strip_suffix("kB"));
    let kilobytes: u64 = size.and_then(|size| size.trim().parse().ok()).expect("the size of this process");
    limit(Resource::As, kilobytes * 1024 + MEMORY_BYTES_MAX);
    limit(Resource::Stack, STACK_BYTES_MAX);
    limit(Resource::Core, 0);
    std::panic::set_hook(Box::new(|info| PANICKED.with_borrow_mut(|said| *said = format!("panic: {info}"))));
}

fn limit(resource: Resource, most: u64) {
    let maximum = getrlimit(resource).maximum;
    setrlimit(resource, Rlimit { current: Some(most), maximum }).expect("a limit");
}

/// Reads one input; an error is what did not hold.
pub(crate) fn checked(target: &dyn Target, input: &[u8]) -> Result<(Said, Duration), String> {
    let before = used();
    let said = catch_unwind(AssertUnwindSafe(|| target.check(input)))
        .unwrap_or_else(|_| Err(PANICKED.with_borrow(Clone::clone)))?;
    let cost = used().saturating_sub(before);
    if cost > INPUT_COST_MAX {
        return Err(format!("it took {} ms of the processor", cost.as_millis()));
    }
    Ok((said, cost))
}

/// What this thread has had of the processor: other work of the machine does not count.
fn used() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(now).unwrap_or_default()
}

/// The inputs that said something new.
#[derive(Default)]
struct Kept {
    inputs: Vec<Vec<u8>>,
    bytes: usize,
    said: HashSet<u64>,
}

impl Kept {
    /// Keeps an input that said what none did; once there is no room, in the place of another.
    fn offer(&mut self, chance: &mut Chance, input: Vec<u8>, said: u64) {
        if self.said.len() >= 64 * KEPT_MAX || !self.said.insert(said) {
            return;
        }
        self.bytes += input.len();
        if self.inputs.len() < KEPT_MAX {
            self.inputs.push(input);
        } else {
            let place = chance.below(self.inputs.len());
            self.bytes -= std::mem::replace(&mut self.inputs[place], input).len();
        }
        while self.bytes > KEPT_BYTES_MAX {
            let place = chance.below(self.inputs.len());
            self.bytes -= self.inputs.swap_remove(place).len();
        }
    }

    fn one(&self, chance: &mut Chance) -> Option<&[u8]> {
        self.inputs.get(chance.below(self.inputs.len())).map(Vec::as_slice)
    }
}

/// Those that were read and those that were refused: of either kind something is changed.
#[derive(Default)]
struct Pools {
    read: Kept,
    refused: Kept,
}

impl Pools {
    fn one(&self, chance: &mut Chance) -> &[u8] {
        let (first, second) =
            if chance.once_in(3) { (&self.refused, &self.read) } else { (&self.read, &self.refused) };
        first.one(chance).or_else(|| second.one(chance)).unwrap_or_default()
    }
}

/// Reads the corpus, and then what is made of it, for as long as was asked.
pub(crate) fn run(target: &dyn Target, corpus: Vec<Vec<u8>>, seed: u64, least: Least, note: &Note) -> Ran {
    let (start, mut ran, mut chance) = (Instant::now(), Ran::default(), Chance(seed));
    let mut kept = Pools::default();
    let mut waiting: Vec<Vec<u8>> = corpus.into_iter().chain(target.seeds()).rev().collect();
    let words = target.words();
    while !waiting.is_empty() || start.elapsed() < least.time || ran.inputs < least.inputs {
        let input = match waiting.pop() {
            Some(input) => input,
            None => next(target, &mut chance, &kept, words),
        };
        note.write(&input);
        ran.inputs += 1;
        match checked(target, &input) {
            Ok((said, cost)) => {
                if cost > ran.slowest {
                    ran.slowest = ran.slowest.max(cheapest(target, &input, cost));
                }
                ran.read += u64::from(said.read);
                let pool = if said.read { &mut kept.read } else { &mut kept.refused };
                pool.offer(&mut chance, input, said.answer);
            }
            Err(why) => {
                ran.found = Some(smallest(target, &input, why));
                break;
            }
        }
    }
    ran.kept = kept.read.inputs.len() + kept.refused.inputs.len();
    ran.took = start.elapsed();
    ran.inputs_kept = [kept.read.inputs, kept.refused.inputs].concat();
    ran
}

/// What an input costs: the least of a few times.
fn cheapest(target: &dyn Target, input: &[u8], cost: Duration) -> Duration {
    let again = if cost > AGAIN_FROM { 2 } else { 0 };
    let costs = (0..again).filter_map(|_| checked(target, input).ok().map(|(_, cost)| cost));
    costs.fold(cost, Duration::min)
}

/// Most of what is made up is read as it is; the rest is a change of that, or of what was kept.
fn next(target: &dyn Target, chance: &mut Chance, kept: &Pools, words: &[&[u8]]) -> Vec<u8> {
    let made = if chance.once_in(3) { None } else { target.made(chance) };
    if let Some(made) = &made
        && !chance.once_in(3)
    {
        return made.clone();
    }
    let (first, other) = (kept.one(chance), kept.one(chance));
    let first = made.as_deref().unwrap_or(first);
    match target.changed(chance, first, other) {
        Some(changed) if changed.len() <= target.bytes_max() => changed,
        _ => mutated(chance, first, other, words, target.bytes_max()),
    }
}

/// Minimises what does not hold, as long as something does not.
fn smallest(target: &dyn Target, input: &[u8], why: String) -> (Vec<u8>, String) {
    let start = Instant::now();
    let mut last = why;
    let small = minimised(input, |less| match checked(target, less) {
        Err(why) if start.elapsed() < MINIMISE_FOR => {
            last = why;
            true
        }
        _ => false,
    });
    (small, last)
}
