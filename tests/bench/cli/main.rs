//! What a command line costs where the fleet is large: how long a list, a list of hosts that were verified, a status
//! and a finished word take, from the start of the program to its end.
//!
//! `cargo bench --bench cli -- [--hosts 10000] [--runs 7]`
//!
//! The hosts are signed entries of a fleet that is made here, each with two tags from its invitation and a
//! head. A thread of this program answers on a socket what an agent would, so that what is measured is the command
//! line and the socket; no agent runs.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program for developers: it says what it could not do, and ends"
)]

mod agent;

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// The median time of some runs, and how much was written by the last.
fn measured(runs: usize, dir: &Path, args: &[&str], before: impl Fn()) -> (Duration, usize) {
    let (mut times, mut bytes) = (Vec::new(), 0);
    for _ in 0..runs {
        before();
        let began = Instant::now();
        let output = Command::new(env!("CARGO_BIN_EXE_muster"))
            .args(args)
            .env_clear()
            .env("HOME", dir)
            .env("MUSTER_SOCKET", dir.join("agent.sock"))
            .env("MUSTER_OPERATORS", dir.join("operators"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        times.push(began.elapsed());
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        bytes = output.stdout.len();
    }
    times.sort();
    (times[times.len() / 2], bytes)
}

fn main() {
    let (mut hosts, mut runs) = (10_000, 7);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || {
            words.next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{word} needs a number"))
        };
        match word.as_str() {
            "--hosts" => hosts = value(),
            "--runs" => runs = value(),
            // Cargo adds it.
            "--bench" => {}
            other => panic!("what is {other}?"),
        }
    }
    let dir = std::env::temp_dir().join(format!("muster-bench-cli-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let made = Instant::now();
    let agent = agent::Agent::start(&dir, hosts);
    println!("{hosts} hosts made in {:.1} s; median of {runs} runs", made.elapsed().as_secs_f64());
    let verified = dir.join("operators/bench/verified");
    let forget = || drop(std::fs::remove_file(&verified));
    let keep = || {};
    let all = ["hosts", "-t", "tag.role = web", "-o", "name"];
    for (what, args, before) in [
        ("version", &["version"][..], &keep as &dyn Fn()),
        ("host ls", &["hosts"], &keep),
        ("host ls -o json", &["hosts", "-o", "json"], &keep),
        ("all selected, verified cold", &all, &forget),
        ("all selected, verified before", &all, &keep),
        ("status", &["status", "-o", "json"], &keep),
        ("a host's name finished", &["__complete", "bash", "--", "muster", "host", "show", "m0001"], &keep),
        ("every name finished", &["__complete", "bash", "--", "muster", "host", "show", ""], &keep),
    ] {
        let (took, bytes) = measured(runs, &dir, args, before);
        println!("{what:<32} {:>8.1} ms  {bytes:>9} B", took.as_secs_f64() * 1000.0);
    }
    println!(
        "{:<32} {:>11}    {:>9} B",
        "what was noted as verified",
        "",
        std::fs::metadata(&verified).map_or(0, |about| about.len())
    );
    drop(agent);
    let _best_effort = std::fs::remove_dir_all(&dir);
}
