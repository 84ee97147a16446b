//! Founds fleets of real agents on this machine and measures what an operator would feel: how long an
//! order takes until its last result, what it costs a host, what an idle agent costs, how soon a new host, a
//! new package, a death is known everywhere, and what two halves of a fleet tell each other when they meet
//! again.
//!
//! `cargo bench --bench fleet -- [--only WORD[:HOSTS],…] [--sizes 10,30,100] [--runs 7] [--idle 30]
//! [--stall 120] [--split 300] [--muster PATH]`; the words are `start run count hung idle join output10m
//! output100k live`, which share the fleets of `--sizes`, and `change killed stalls blackhole split`, which found their own. Times are in
//! seconds. All of it takes about a quarter of an hour.
//!
//! Every agent is two processes with its state on disk and listens on a port of the loopback; every figure
//! comes from the program as it ships, started cold. As root the fleet gets a network namespace of its own
//! (`unshare --net`), so that the loopback's counter holds its bytes and nothing else, and a control group
//! that only accounts, so that CPU seconds are exact. Without root the bytes are unavailable, CPU seconds
//! come from /proc, which rounds, and `blackhole` and `split`, which need namespaces, are left out.
//!
//! It judges nothing: the figure to reach and what others take stand beside what was measured. Where others
//! keep the cores busy, CPU seconds and counts say more than wall time, which cannot be less than CPU
//! seconds over cores. Asking all hosts of a fleet whether they know something takes cores too, from the
//! fleet: such times are upper bounds, and how long the asking alone takes stands beside them.
//!
//! Only the standard library, so that it also compiles by itself:
//! `rustc --edition 2024 -O tests/bench/fleet/main.rs -o target/fleet-bench`.

#![expect(
    clippy::unwrap_used,
    clippy::format_push_string,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    reason = "a program for developers: it says what it could not do, and ends"
)]

mod change;
mod figures;
mod fleet;
mod gone;
mod idle;
mod join;
mod options;
mod orders;
mod output;
mod packages;
mod process;
mod rooms;
mod split;
mod world;

use std::collections::BTreeSet;

use figures::Table;
use fleet::{Fleet, Plan};
use options::Options;

const JOIN_AT: usize = 30;
const HUNG_AT: usize = 10;
const IDLE_AT: usize = 30;
const OUTPUT_AT: usize = 10;
const CHANGE_AT: [usize; 2] = [20, 100];
const GONE_AT: [usize; 1] = [30];
const SPLIT_AT: [usize; 1] = [20];

fn main() {
    world::enter_namespace();
    let options = Options::read();
    let mut table = Table::default();
    println!("muster {}, {} cores, load {}", options.muster.display(), world::cores(), world::load());
    if options.wants("start") {
        orders::measure_program(&options, &mut table);
    }
    let shared: BTreeSet<usize> =
        SHARED.iter().flat_map(|(measure, at)| shared_sizes(&options, measure, *at)).collect();
    for size in shared {
        measure_shared(&options, size, &mut table);
    }
    for size in options.sizes_of("change", &CHANGE_AT) {
        change::measure(&options, size, &mut table);
    }
    for size in options.sizes_of("killed", &GONE_AT) {
        gone::measure_killed(&options, size, &mut table);
    }
    for size in options.sizes_of("stalls", &GONE_AT) {
        gone::measure_stalls(&options, size, &mut table);
    }
    for size in options.sizes_of("blackhole", &GONE_AT) {
        gone::measure_black_hole(&options, size, &mut table);
    }
    for size in options.sizes_of("split", &SPLIT_AT) {
        split::measure(&options, size, &mut table);
    }
    println!("\n{}", table.markdown());
}

/// Measures that share fleets, and the size at which each is taken if there is such a fleet; else all sizes.
const SHARED: [(&str, Option<usize>); 8] = [
    ("idle", Some(IDLE_AT)),
    ("run", None),
    ("count", None),
    ("hung", Some(HUNG_AT)),
    ("output10m", Some(OUTPUT_AT)),
    ("output100k", None),
    ("live", None),
    ("join", Some(JOIN_AT)),
];

/// The sizes at which a measure that shares fleets is taken.
fn shared_sizes(options: &Options, measure: &str, at: Option<usize>) -> Vec<usize> {
    match at {
        Some(at) if options.sizes.contains(&at) => options.sizes_of(measure, &[at]),
        _ => options.sizes_of(measure, &options.sizes),
    }
}

fn measure_shared(options: &Options, size: usize, table: &mut Table) {
    let here =
        SHARED.map(|(measure, at)| shared_sizes(options, measure, at).contains(&size).then_some(measure));
    let mut fleet = Fleet::found(options, Plan::plain(size));
    for measure in here.into_iter().flatten() {
        match measure {
            "idle" => idle::measure(&fleet, options, table),
            "run" => orders::measure(&fleet, options, table),
            "count" => orders::measure_counts(&fleet, table),
            "hung" => orders::measure_hung(&fleet, table),
            "output10m" => output::measure_long(&fleet, options, table),
            "output100k" => output::measure_each(&fleet, options, table),
            "live" => output::measure_live(&fleet, options, table),
            _ => join::measure(&mut fleet, table),
        }
    }
}
