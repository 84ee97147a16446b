//! How long output takes to be here, whole: much of one host, some of each of many, and as it is written.

use crate::{
    figures::{Table, median, span},
    fleet::{Fleet, Ran},
    options::Options,
};

const LONG: usize = 10 << 20;
const EACH: usize = 100 * 1024;

pub(crate) fn measure_long(fleet: &Fleet, options: &Options, table: &mut Table) {
    let (size, host) = (fleet.hosts.len(), &fleet.hosts[fleet.hosts.len() / 2].name);
    let script = format!("yes 0123456789abcdef | head -c {LONG}");
    let mut walls = Vec::new();
    for _ in 0..=options.runs {
        fleet.calm();
        let ran = fleet.muster(&fleet.hosts[0].state, &["run", "-H", host, "--", "sh", "-c", &script]);
        let ran = ran.good("10 MiB");
        assert_eq!(ran.stdout.len(), LONG, "it is not whole");
        walls.push(ran.wall);
    }
    // The first one may have to link the two hosts.
    let what = format!("10 MiB of output of one of {size} hosts, whole");
    table.row(&what, &span(&walls[1..]), "under 0.8 s", "pdsh 1.27, clush 3.4 s");
}

pub(crate) fn measure_each(fleet: &Fleet, options: &Options, table: &mut Table) {
    let size = fleet.hosts.len();
    // Another one of each host, and the same of all.
    for (kind, line) in [("another", "$$-$MUSTER_JOB-0123456789"), ("the same", "0123456789abcdef")] {
        let script = format!("yes \"{line}\" | head -c {EACH}");
        let mut walls = Vec::new();
        for _ in 0..options.runs {
            fleet.calm();
            let words = ["run", "--all", "--yes", "--view", "raw", "--", "sh", "-c", &script];
            let ran = fleet.muster(&fleet.hosts[0].state, &words).good("100 KiB of each");
            assert_eq!(ran.stdout.len(), size * EACH, "it is not whole");
            walls.push(ran.wall);
        }
        let goal = if size == 100 { "under 2 s" } else { "" };
        let peers = if size == 100 { "clush over open connections 3.8, pdsh 7.9 s" } else { "" };
        let what = format!("100 KiB of output, {kind} of each of {size} hosts, whole");
        table.row(&what, &span(&walls), goal, peers);
    }
}

pub(crate) fn measure_live(fleet: &Fleet, options: &Options, table: &mut Table) {
    let size = fleet.hosts.len();
    let slow = "seq 50; sleep 0.6; seq 51 100; sleep 0.4";
    for (kind, script) in [("within a second", slow), ("at once", "seq 100")] {
        let run = |words: &[&str]| -> Ran {
            fleet.calm();
            let line = [&["run", "--all", "--yes"], words, &["--", "sh", "-c", script]].concat();
            fleet.muster(&fleet.hosts[0].state, &line).good("100 lines")
        };
        let (mut live, mut quiet, mut ratios, mut early) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..options.runs {
            let (shown, hidden) = (run(&["-o", "jsonl"]), run(&["--view", "quiet"]));
            let chunks = shown.stdout.lines().filter(|line| line.contains("\"event\":\"chunk\""));
            let chunks: Vec<&str> = chunks.collect();
            // Every line of every host, once.
            let lines: usize = chunks.iter().map(|chunk| chunk.matches("\\n").count()).sum();
            assert_eq!(lines, 100 * size, "lines of {size} hosts");
            // A host with two pieces or more had one before its result.
            early.push(chunks.len().saturating_sub(size) as f64);
            ratios.push(shown.wall / hidden.wall);
            live.push(shown.wall);
            quiet.push(hidden.wall);
        }
        let seen = format!(
            "{} against {}: {:.2} times; {:.0} pieces before the last",
            span(&live),
            span(&quiet),
            median(&ratios),
            median(&early)
        );
        let what = format!("100 lines {kind} of each of {size} hosts, live against quiet");
        table.row(&what, &seen, "at most 1.3 times", "");
    }
}
