//! A package installed on one host: how soon every host finds it, and what telling it costs.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    figures::{Table, least, median, most, span},
    fleet::{Fleet, Host, PAYLOAD, Plan, RECEIVED, UPKEEP},
    options::Options,
};

const WITHIN: [(usize, &str); 2] = [(20, "1 s"), (100, "2 s")];
const PEERS: &str = "Serf's tag change, 512 B, unsigned: 0.73 s";

pub(crate) fn measure(options: &Options, size: usize, table: &mut Table) {
    let fleet = Fleet::found(options, Plan::plain(size).with_packages());
    let hosts: Vec<&Host> = fleet.hosts.iter().collect();
    let (mut all, mut half, mut asking) = (vec![], vec![], vec![]);
    let (mut sizes, mut ratios, mut repeats, mut idles) = (vec![], vec![], vec![], vec![]);
    for run in 0..options.runs {
        let (name, changed) = (format!("muster-bench-{run}"), hosts[(run * 7_919 + 3) % size]);
        fleet.calm();
        let counted = || fleet.counters(&hosts, [RECEIVED, PAYLOAD, UPKEEP]);
        let before = counted();
        let search = format!("deb.{name} = 1.0-1");
        let words = ["-o", "name", "inventory", "search", &search];
        let named = |answer: &str| answer.lines().any(|line| line.trim() == changed.name);
        let start = Instant::now();
        changed.packages.as_ref().unwrap().install(&name, "1.0-1");
        let times = fleet.until_all(&hosts, start, &words, named);
        all.push(most(&times));
        half.push(median(&times));
        // The same questions when all know the answer: what asking alone takes.
        asking.push(most(&fleet.until_all(&hosts, Instant::now(), &words, named)));
        sleep(Duration::from_secs(1));
        let after = counted();
        let more = |which: usize| -> Vec<f64> {
            before.iter().zip(&after).map(|(before, after)| after[which] - before[which]).collect()
        };
        let (received, payload) = (more(0), more(1));
        // What neighbours say anyhow.
        let anyhow = more(2).iter().sum::<f64>();
        // The host that changed received nothing of it; each other one needed it at least once.
        let entry = payload.iter().copied().filter(|bytes| *bytes > 0.0).fold(f64::INFINITY, f64::min);
        if entry.is_finite() {
            sizes.push(entry);
            repeats.push(payload.iter().sum::<f64>() / (size - 1) as f64 / entry);
            ratios.push((received.iter().sum::<f64>() - anyhow) / (size - 1) as f64 / entry);
            idles.push(anyhow / (size - 1) as f64 / entry);
        }
    }
    let within = WITHIN.iter().find(|(hosts, _)| *hosts == size).map_or("", |(_, within)| *within);
    let what = format!("a package more on one of {size} hosts, until `inventory search` finds it");
    table.row(&format!("{what} on all, asked in turn"), &format!("at most {}", span(&all)), within, PEERS);
    table.row(&format!("{what} on half of them, likewise"), &format!("at most {}", span(&half)), "", "");
    table.row(&format!("asking {size} hosts, when all know"), &span(&asking), "", "");
    let seen = if ratios.is_empty() {
        "unavailable (no counters)".to_owned()
    } else {
        format!(
            "{:.2} ({:.2}-{:.2}), entries and facets alone {:.2}, of {:.0} B; without {:.2} of idle talk",
            median(&ratios),
            least(&ratios),
            most(&ratios),
            median(&repeats),
            median(&sizes),
            median(&idles)
        )
    };
    let what = format!("sync bytes received a host and change over the entry's size, {size} hosts");
    table.row(&what, &seen, "1.3", "the entry itself: 1");
}
