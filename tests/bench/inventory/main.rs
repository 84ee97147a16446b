//! What the inventory costs, measured on lists of packages as they are: how long a package database takes to
//! read, how many bytes a host's list takes among a thousand, how long a search takes, and how much memory an
//! agent that knows a thousand hosts.
//!
//! `cargo bench --bench inventory -- [--hosts 1000] [--versions 2] [--fresh yes|no] [--runs 15]
//! [--only parse,agent]`; `--fresh no`: no host publishes an image as it was installed, so that even what others
//! are told as differences to has drifted.
//!
//! Packages, versions and dependencies are those that apt knows on this machine; without them (`apt-get update`)
//! there are no figures. The agent is the program as it ships: it takes a thousand members' signed entries on its
//! socket, as it would take an operator's, verifies and keeps them, and is then asked. What a simpler scheme would
//! take stands beside each figure, measured in the same run. Making a thousand hosts takes minutes: each list is
//! packed against eight others at the highest level, as each host does for itself.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    clippy::format_push_string,
    clippy::disallowed_methods,
    reason = "a program for developers: it says what it could not do, and ends"
)]

mod agent;
#[path = "../fleet/figures.rs"]
mod figures;
mod images;
mod members;
mod packed;
mod parse;
mod search;

use figures::Table;
use images::{Dice, Universe};

struct Options {
    hosts: usize,
    versions: usize,
    fresh: bool,
    runs: usize,
    only: Vec<String>,
}

impl Options {
    fn read() -> Self {
        let mut options = Self { hosts: 1_000, versions: 2, fresh: true, runs: 15, only: Vec::new() };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| panic!("{word} needs a value"));
            match word.as_str() {
                "--hosts" => options.hosts = value().parse().unwrap(),
                "--versions" => options.versions = value().parse().unwrap(),
                "--fresh" => options.fresh = value() == "yes",
                "--runs" => options.runs = value().parse().unwrap(),
                "--only" => options.only = value().split(',').map(str::to_owned).collect(),
                // Cargo adds it.
                "--bench" => {}
                other => panic!("{other}? see the first lines of tests/bench/inventory/main.rs"),
            }
        }
        options
    }

    fn wants(&self, measure: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == measure)
    }
}

fn main() {
    let options = Options::read();
    let Some(universe) = Universe::read() else {
        println!("apt knows no packages here: apt-get update");
        return;
    };
    let (mut table, mut dice) = (Table::default(), Dice(12));
    println!("{} packages known to apt", universe.len());
    if options.wants("parse") {
        parse::measure(&options, &universe, &mut dice, &mut table);
    }
    if options.wants("agent") {
        agent::measure(&options, &universe, &mut dice, &mut table);
    }
    println!("\n{}", table.markdown());
}
