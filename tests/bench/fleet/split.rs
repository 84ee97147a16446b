//! Two halves of a fleet that cannot reach each other while packages change in both, and meet again.

use std::{
    thread::sleep,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    figures::{Table, least, most},
    fleet::{Fleet, Host, PAYLOAD, Plan, RECEIVED, UPKEEP, names_link, root, wait_for},
    options::Options,
    rooms::Rooms,
};

pub(crate) fn measure(options: &Options, size: usize, table: &mut Table) {
    let what =
        |what: &str| format!("{size} hosts, split in half for {} s, healed: {what}", options.split.as_secs());
    let Some(rooms) = Rooms::open(size) else {
        table.row(&what("equal"), "unavailable (needs root)", "10 s", "");
        return;
    };
    let fleet = Fleet::found(options, Plan::plain(size).with_packages().in_rooms(rooms, size / 2));
    let all: Vec<&Host> = fleet.hosts.iter().collect();
    let (near, far) = all.split_at(size / 2);
    let crosses = |host: &Host, status: &str| {
        let others = if host.room == Some(0) { far } else { near };
        others.iter().any(|other| names_link(status, &other.name))
    };

    Rooms::cut();
    let (start, mut changes, mut dice) = (Instant::now(), 0_usize, Dice::new());
    while start.elapsed() < options.split {
        let second = Instant::now();
        for half in [near, far] {
            let host = half[dice.below(half.len())];
            host.packages.as_ref().unwrap().install(&format!("split-{changes}"), "1.0-1");
            changes += 1;
        }
        sleep(Duration::from_secs(1).saturating_sub(second.elapsed()));
    }
    fleet.calm();
    assert_ne!(fleet.same(near), fleet.same(far), "a split that nobody noticed");
    for host in &all {
        wait_for("links to the other half to be given up", || {
            fleet.status(host).is_some_and(|status| !crosses(host, &status)).then_some(())
        });
    }

    let counted = || fleet.counters(&all, [RECEIVED, PAYLOAD, UPKEEP]);
    let before = (counted(), fleet.rooms().crossed());
    let healed = Instant::now();
    Rooms::heal();
    let mut met = None;
    let equal = wait_for("both halves to be the same", || {
        let mut roots = Vec::new();
        for host in &all {
            let status = fleet.status(host)?;
            if met.is_none() && crosses(host, &status) {
                met = Some(healed.elapsed().as_secs_f64());
            }
            roots.push(root(&status));
        }
        roots.iter().all(|root| !root.is_empty() && *root == roots[0]).then(|| healed.elapsed().as_secs_f64())
    });
    // What was still on its way counts too.
    sleep(Duration::from_secs(1));
    let crossed = fleet.rooms().crossed() - before.1;
    let met = met.unwrap_or(equal);
    table.row(
        &what("from the first link until all roots are equal"),
        &format!("{:.2} s", equal - met),
        "10 s",
        "",
    );
    table.row(&what("until the first link"), &format!("{met:.2} s"), "", "");

    let after = counted();
    let more = |which: usize| -> Vec<f64> {
        before.0.iter().zip(&after).map(|(before, after)| after[which] - before[which]).collect()
    };
    let (received, payload) = (more(0), more(1));
    if payload.len() < size {
        table.row(&what("bytes"), "unavailable (no counters)", "1.1 of the payload", "");
        return;
    }
    // Whoever got each entry and facet of the other half once, got the least.
    let needed = [&payload[..size / 2], &payload[size / 2..]].map(least);
    let payload_all = needed[0] * near.len() as f64 + needed[1] * far.len() as f64;
    let (received_all, upkeep_all) = (received.iter().sum::<f64>(), more(2).iter().sum::<f64>());
    let seen = format!(
        "{:.2} ({received_all:.0} B, entries and facets {:.0} of them, of {payload_all:.0} B; a host at most {:.0})",
        received_all / payload_all,
        payload.iter().sum::<f64>(),
        most(&received)
    );
    let without = (received_all - upkeep_all) / payload_all;
    let what_without = what("the same without greetings, pings and words about who is up");
    table.row(&what_without, &format!("{without:.2}"), "1.1", "each entry once: 1");
    table.row(&what("sync bytes received by all over what all lacked"), &seen, "1.1", "each entry once: 1");
    let across = needed[0] + needed[1];
    let seen = format!("{:.2} ({crossed} of {across:.0} B)", crossed as f64 / across);
    table.row(&what("bytes on the wire between the halves over what each lacked"), &seen, "", "");
    table.row(&what("packages installed in between"), &changes.to_string(), "", "");
}

/// Which host is next does not matter; that it is not always the same does.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Self(now.subsec_nanos().into())
    }

    fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}
