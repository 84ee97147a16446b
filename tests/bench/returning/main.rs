//! How the results of one order come home to the one host where it was given, in virtual time: bytes, messages,
//! times, and what it would be one by one.
//!
//! `cargo bench --no-default-features --bench returning -- [--hosts 10000] [--links 8] [--link-ms 50] [--die 10]
//! [--seed 1]`; `--die` is of a thousand. Each is played twice: neighbours hear of a death at once, or not until
//! they look for it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a program for developers: it says what it could not do, and ends"
)]

use muster::simulator::{Returning, home};

/// What is allowed at the operator's host, in bytes of summaries, up to ten thousand hosts.
const SUMMARY_BYTES_MAX: u64 = 50_000;

fn main() {
    let mut asked = Returning { hosts: 10_000, links: 8, link_ms: 50, die: 10, heard: true, seed: 1 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|text| text.parse::<usize>().ok()).expect("a number");
        match word.as_str() {
            "--hosts" => asked.hosts = number(),
            "--links" => asked.links = number(),
            "--link-ms" => asked.link_ms = number() as u64,
            "--die" => asked.die = number(),
            "--seed" => asked.seed = number() as u64,
            // Cargo adds it.
            "--bench" => {}
            other => panic!("{other}? see the first lines of tests/bench/returning/main.rs"),
        }
    }
    for heard in [true, false] {
        let home = home(Returning { heard, ..asked }).unwrap();
        println!("{}:\n{home}", if heard { "deaths are heard of" } else { "deaths are silent" });
        for (what, holds) in [
            ("all signatures are good", home.wrong == 0),
            ("all that live are home", home.home + home.died == home.hosts && home.unsettled == 0),
            ("no more streams than links", home.streams <= asked.links),
            ("64 B of signatures a host", home.signature_bytes <= 64 * asked.hosts as u64),
            ("50 KB of summaries", home.summary_bytes <= SUMMARY_BYTES_MAX),
            ("95 % in the first 4 s", home.in_four_seconds * 100 >= home.hosts * 95),
        ] {
            println!("{} {what}", if holds { "holds:" } else { "DOES NOT HOLD:" });
        }
    }
}
