//! How soon a new host is known.

use std::time::Instant;

use crate::{
    figures::{Table, span},
    fleet::{Fleet, wait_for},
};

pub(crate) fn measure(fleet: &mut Fleet, table: &mut Table) {
    let size = fleet.hosts.len();
    let mut times = Vec::new();
    for number in 0..5 {
        let name = format!("new{number}");
        let start = Instant::now();
        fleet.join(&name, size + 1 + number);
        let joined = start.elapsed().as_secs_f64();
        // One after the other, each with a cold command line: an upper bound.
        for host in &fleet.hosts {
            wait_for("the new host to be listed", || {
                let listed = fleet.muster(&host.state, &["-q", "-o", "name", "host", "ls"]);
                listed.stdout.contains(&name).then_some(())
            });
        }
        times.push((joined, start.elapsed().as_secs_f64()));
        fleet.add(&name, size + 1 + number);
        fleet.settle();
    }
    let joins: Vec<f64> = times.iter().map(|(joined, _)| *joined).collect();
    let listed: Vec<f64> = times.iter().map(|(_, listed)| *listed).collect();
    table.row(&format!("`join` itself, {size} hosts"), &span(&joins), "", "Serf 0.02 s at its contact");
    let seen = format!("at most {}", span(&listed));
    table.row(
        &format!("from the start of `join` until listed by all {size}, asked one by one"),
        &seen,
        "1 s",
        "Serf 0.55 s",
    );
}
