//! Reads what strangers and people may write, for as long as asked: bytes made by rules and by mutation of a
//! corpus, with properties that must hold of each.
//!
//! `cargo test --test fuzz -- [--seconds N] [--inputs N] [--seed N] [--jobs N] [--keep] [--once FILE] [TARGET…]`
//!
//! Each target runs in a process of its own, whose memory and stack are bounded, so that an abort and an overflow
//! are found as well as a panic. What does not hold is minimised, written to `tests/fuzz/found/TARGET/`, and the
//! run ends with 1; `--once` reads such a file again. A finding that was mended goes into the corpus. `--inputs` goes
//! on until so many were read, however long that takes; `--keep` writes what was kept of a run into the corpus.
//!
//! It is guided by what the reader answers (an input with a new answer is kept and changed further), and blind to
//! which code ran: an hour without a finding does not say that all code was reached. Why: what sees the code that
//! runs (libFuzzer, also under `bolero`, and AFL) needs the whole crate built once more with instrumentation, a C++
//! compiler, and for `cargo fuzz` a nightly toolchain; `bolero` without that is as blind and knows no properties
//! that this does not. This runs in every `cargo test` on the stable toolchain, with nothing to install.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program for developers: it says what it could not do, and ends"
)]

mod chance;
mod mutate;
mod cbor;
mod files;
mod target;
mod selector;
mod records;
mod texts;
mod work;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use target::Target;
use work::Note;

/// How much longer than asked a worker may take: the last input, and to minimise what it found.
const GRACE: Duration = Duration::from_secs(60);
/// How many characters of a finding are shown.
const SHOWN_MAX: usize = 400;

#[derive(Debug, Default)]
struct Asked {
    seconds: Option<u64>,
    inputs: Option<u64>,
    keep: bool,
    seed: Option<u64>,
    jobs: Option<usize>,
    once: Option<PathBuf>,
    /// Where a worker notes what it reads; who has it is one.
    note: Option<PathBuf>,
    targets: Vec<String>,
}

impl Asked {
    fn read(words: impl Iterator<Item = String>) -> Self {
        let (mut asked, mut words) = (Self::default(), words);
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| panic!("{word} needs a value"));
            match word.as_str() {
                "--seconds" => asked.seconds = Some(value().parse().expect("--seconds N")),
                "--inputs" => asked.inputs = Some(value().parse().expect("--inputs N")),
                "--keep" => asked.keep = true,
                "--seed" => asked.seed = Some(value().parse().expect("--seed N")),
                "--jobs" => asked.jobs = Some(value().parse().expect("--jobs N")),
                "--once" => asked.once = Some(value().into()),
                "--note" => asked.note = Some(value().into()),
                // What `cargo test` hands to every test program.
                "--quiet" | "-q" | "--nocapture" | "--exact" | "--ignored" | "--include-ignored" => {}
                "--test-threads" | "--skip" => drop(value()),
                flag if flag.starts_with('-') => panic!("{flag}? see the first lines of tests/fuzz/main.rs"),
                _ => asked.targets.push(word),
            }
        }
        asked
    }

    fn takes(&self, target: &dyn Target) -> bool {
        self.targets.is_empty() || self.targets.iter().any(|name| target.name() == name)
    }
}

fn folder(kind: &str, target: &dyn Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(kind).join(target.name())
}

fn main() -> ExitCode {
    let asked = Asked::read(std::env::args().skip(1));
    let targets: Vec<Box<dyn Target>> =
        target::all().into_iter().filter(|target| asked.takes(target.as_ref())).collect();
    if let Some(note) = &asked.note {
        let [target] = &targets[..] else { panic!("a worker has one target") };
        return worker(target.as_ref(), &asked, note);
    }
    if let Some(file) = &asked.once {
        let bytes = fs::read(file).expect("the input is read");
        let mut sound = true;
        for target in &targets {
            let said = target.check(&bytes);
            println!("{}: {said:?}", target.name());
            sound &= said.is_ok();
        }
        return if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if supervise(&asked, targets) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The process of one target.
fn worker(target: &dyn Target, asked: &Asked, note: &Path) -> ExitCode {
    work::confine();
    if let Some(file) = &asked.once {
        let bytes = fs::read(file).expect("the input is read");
        return if work::checked(target, &bytes).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let note = Note::new(File::create(note).expect("the note is made"));
    let corpus =
        [target::corpus(&folder("corpus", target)), target::corpus(&folder("found", target))].concat();
    let (seed, seconds) = (asked.seed.unwrap_or(0), asked.seconds.unwrap_or(target.seconds()));
    let least = work::Least { time: Duration::from_secs(seconds), inputs: asked.inputs.unwrap_or(0) };
    let mut ran = work::run(target, corpus, seed, least, &note);
    if asked.keep && ran.found.is_none() {
        target::keep(&folder("corpus", target), std::mem::take(&mut ran.inputs_kept));
    }
    let rate = u128::from(ran.inputs) * 1000 / ran.took.as_millis().max(1);
    println!(
        "{}: {} inputs in {:.1} s, {rate} a second; {} read; {} kept; the slowest took {:.1} ms; seed {seed}",
        target.name(),
        ran.inputs,
        ran.took.as_secs_f64(),
        ran.read,
        ran.kept,
        ran.slowest.as_secs_f64() * 1e3,
    );
    let Some((input, why)) = ran.found else { return ExitCode::SUCCESS };
    report(target, &input, &why);
    ExitCode::FAILURE
}

/// Tells of a finding, and writes it down.
fn report(target: &dyn Target, input: &[u8], why: &str) {
    let folder = folder("found", target);
    fs::create_dir_all(&folder).expect("a folder for what was found");
    let file = folder.join(format!("{:016x}", chance::digest(&[input])));
    fs::write(&file, input).expect("what was found is written");
    let shown: String = String::from_utf8_lossy(input).chars().take(SHOWN_MAX).collect();
    println!("{}: FOUND {why}\n  input of {} bytes: {shown:?}", target.name(), input.len());
    println!("  again: cargo test --test fuzz -- {} --once {}", target.name(), file.display());
}

/// A worker that runs, and where it notes its inputs.
struct Running {
    target: Box<dyn Target>,
    child: Child,
    until: Instant,
}

/// Runs all targets, a few at a time. Whether all held.
fn supervise(asked: &Asked, targets: Vec<Box<dyn Target>>) -> bool {
    let seed = asked.seed.unwrap_or_else(|| u64::from(std::process::id()) ^ since_epoch());
    let jobs = asked.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let room = tempfile::tempdir().expect("a folder for notes");
    let (mut waiting, mut running, mut sound) = (targets.into_iter(), Vec::<Running>::new(), true);
    loop {
        while running.len() < jobs.max(1) {
            let Some(target) = waiting.next() else { break };
            let seconds = asked.seconds.unwrap_or(target.seconds());
            let child = command(target.as_ref(), room.path())
                .args(["--seed", &seed.to_string(), "--seconds", &seconds.to_string()])
                .args(["--inputs", &asked.inputs.unwrap_or(0).to_string()])
                .args(asked.keep.then_some("--keep"))
                .spawn()
                .expect("a worker starts");
            // Two hundred a second at the least, where a number is asked for.
            let most = seconds.max(asked.inputs.unwrap_or(0) / 200);
            let until = Instant::now() + Duration::from_secs(most) + GRACE;
            running.push(Running { target, child, until });
        }
        if running.is_empty() {
            return sound;
        }
        let mut going = Vec::new();
        for mut one in running {
            match one.child.try_wait().expect("a worker is waited for") {
                Some(status) => sound &= ended(&one, status.code(), room.path()),
                None if Instant::now() > one.until => {
                    one.child.kill().expect("a worker is ended");
                    one.child.wait().expect("a worker is waited for");
                    println!("{}: an input does not end", one.target.name());
                    sound &= ended(&one, None, room.path());
                }
                None => going.push(one),
            }
        }
        running = going;
        // A worker cannot be waited for together with others; it is asked again.
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn command(target: &dyn Target, room: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args([target.name(), "--note"]).arg(room.join(target.name())).stdin(Stdio::null());
    command
}

/// Whether a worker ended well. What it died of is in its note.
fn ended(one: &Running, code: Option<i32>, room: &Path) -> bool {
    match code {
        Some(0) => return true,
        Some(1) => return false,
        _ => {}
    }
    let note = fs::read(room.join(one.target.name())).unwrap_or_default();
    let Some(input) = Note::read(&note) else {
        println!("{}: the worker died before its first input", one.target.name());
        return false;
    };
    let (file, start) = (room.join("less"), Instant::now());
    let small = mutate::minimised(input, |less| {
        fs::write(&file, less).expect("an input is written");
        start.elapsed() < GRACE && dies(one.target.as_ref(), &file, room)
    });
    report(one.target.as_ref(), &small, "the process did not survive it: memory, stack or an abort");
    false
}

fn dies(target: &dyn Target, file: &Path, room: &Path) -> bool {
    let mut child =
        command(target, room).arg("--once").arg(file).stderr(Stdio::null()).spawn().expect("a worker starts");
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        match child.try_wait().expect("a worker is waited for") {
            Some(status) => return status.code().is_none(),
            None if Instant::now() > until => {
                child.kill().expect("a worker is ended");
                child.wait().expect("a worker is waited for");
                return true;
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn since_epoch() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos() & u128::from(u64::MAX)).unwrap_or_default()
}
