//! What an agent costs that has nothing to do.

use std::{thread::sleep, time::Instant};

use crate::{
    figures::{Table, least, median, most},
    fleet::{Fleet, Host, RECEIVED, number},
    options::Options,
    process::{memory, thread_seconds, wakeups},
    world::loopback_bytes,
};

pub(crate) fn measure(fleet: &Fleet, options: &Options, table: &mut Table) {
    let size = fleet.hosts.len();
    let links: Vec<u64> =
        fleet.hosts.iter().map(|host| number(&fleet.status(host).unwrap(), "links")).collect();
    fleet.calm();
    let all: Vec<u32> = fleet.hosts.iter().flat_map(Host::pids).collect();
    let busy = |pids: &[u32]| pids.iter().copied().map(thread_seconds).sum::<f64>();
    let woken = |pids: &[u32]| pids.iter().copied().map(wakeups).sum::<u64>();
    let each = |look: &dyn Fn(&[u32]) -> f64| -> Vec<f64> {
        fleet.hosts.iter().map(|host| look(&host.pids())).collect()
    };
    let hosts: Vec<&Host> = fleet.hosts.iter().collect();
    let (received, counting) = (fleet.counters(&hosts, [RECEIVED]), Instant::now());
    let (cpu, bytes, wakes, start) =
        (each(&|pids| busy(pids)), loopback_bytes(), woken(&all), Instant::now());
    sleep(options.idle);
    let seconds = start.elapsed().as_secs_f64();
    let sent =
        bytes.zip(loopback_bytes()).map(|(before, after)| (after - before) as f64 / seconds / size as f64);
    let wakes = (woken(&all) - wakes) as f64 / seconds / size as f64;
    let cpu: Vec<f64> = each(&|pids| busy(pids))
        .iter()
        .zip(&cpu)
        .map(|(after, before)| 100.0 * (after - before) / seconds)
        .collect();
    // Asked last, since answering takes CPU.
    let (counted, streams) =
        (fleet.counters(&hosts, [RECEIVED]), links.iter().map(|links| *links as f64).sum::<f64>() / 2.0);
    let talked = counting.elapsed().as_secs_f64() * streams / 10.0;
    let received = counted.iter().flatten().sum::<f64>() - received.iter().flatten().sum::<f64>();
    let pss = each(&|pids| pids.iter().map(|pid| memory(*pid, "Pss")).sum::<u64>() as f64 / 1024.0);
    let own = each(&|pids| {
        let private = |pid: &u32| memory(*pid, "Private_Dirty") + memory(*pid, "Private_Clean");
        pids.iter().map(private).sum::<u64>() as f64 / 1024.0
    });
    let rss = each(&|pids| pids.iter().map(|pid| memory(*pid, "Rss")).sum::<u64>() as f64 / 1024.0);
    let by_process = |at: usize| -> f64 {
        median(&each(&|pids| pids.get(at).map_or(0.0, |pid| memory(*pid, "Pss") as f64 / 1024.0)))
    };
    let links: Vec<f64> = links.iter().map(|links| *links as f64).collect();
    let name = |what: &str| format!("idle, {size} hosts, {:.0} links (median): {what}", median(&links));
    let seen = format!(
        "{:.1} MiB ({:.1}-{:.1}); executor {:.1}, mesh {:.1}",
        median(&pss),
        least(&pss),
        most(&pss),
        by_process(0),
        by_process(1)
    );
    table.row(&name("PSS of both processes"), &seen, "18 MiB", "Serf 7.0, MCollective 19, Salt 72");
    table.row(
        &name("RSS, private"),
        &format!("{:.1}, {:.1} MiB", median(&rss), median(&own)),
        "",
        "Serf 15 RSS",
    );
    let seen = format!("{:.3} % ({:.3}-{:.3})", median(&cpu), least(&cpu), most(&cpu));
    table.row(&name("CPU of a core"), &seen, "0.2 %", "Serf 0.21-0.34, Salt 0.5-0.7");
    table.row(&name("wake-ups a second"), &format!("{wakes:.1}"), "", "");
    let seen = sent.map_or_else(|| "unavailable (needs root)".to_owned(), |sent| format!("{sent:.0} B/s"));
    table.row(&name("sent by a host"), &seen, "200 B/s", "Serf 275-363, Salt 36");
    let seen = if counted.is_empty() {
        "unavailable (no counters)".to_owned()
    } else {
        format!("{:.0} B", received / talked)
    };
    table.row(&name("a neighbour stream in 10 s, both directions, frames"), &seen, "100 B", "");
}
