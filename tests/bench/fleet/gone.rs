//! A host that is gone, and hosts that only stutter: what all others list.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    figures::{Table, most, span},
    fleet::{Fleet, Host, Plan, text},
    options::Options,
    process::signal,
    rooms::Rooms,
};

const LS: [&str; 4] = ["-o", "jsonl", "host", "ls"];
const UNREACHABLE: &str = "unreachable";
/// Runs of a measure that takes long.
const RUNS_MAX: usize = 5;
/// Stopped so long of every second.
const STOPPED: Duration = Duration::from_millis(950);
const SECOND: Duration = Duration::from_secs(1);

/// The state of a host by the lines of `host ls`.
fn state(listed: &str, name: &str) -> Option<String> {
    listed.lines().find(|line| text(line, "name") == name).map(|line| text(line, "state"))
}

fn is_gone(listed: &str, name: &str) -> bool {
    state(listed, name).is_some_and(|state| state == UNREACHABLE)
}

fn is_back(listed: &str, name: &str) -> bool {
    state(listed, name).is_some_and(|state| state != UNREACHABLE)
}

/// Both processes killed.
pub(crate) fn measure_killed(options: &Options, size: usize, table: &mut Table) {
    let mut fleet = Fleet::found(options, Plan::plain(size));
    let (mut gone, mut back) = (Vec::new(), Vec::new());
    for run in 0..options.runs.min(RUNS_MAX) {
        let at = (run * 7_919 + 5) % size;
        let name = fleet.hosts[at].name.clone();
        let start = Instant::now();
        signal("KILL", &fleet.hosts[at].pids());
        gone.push(until(&fleet, at, start, |listed| is_gone(listed, &name)));
        let start = Instant::now();
        fleet.revive(at);
        back.push(until(&fleet, at, start, |listed| is_back(listed, &name)));
        fleet.settle();
    }
    let what = format!("kill -9 of one of {size} hosts, until all others list it unreachable, asked in turn");
    table.row(&what, &format!("at most {}", span(&gone)), "2 s", "Serf 8 s");
    let what = format!("started again, until none of {} lists it so, likewise", size - 1);
    table.row(&what, &format!("at most {}", span(&back)), "", "");
}

/// All that is sent to it, and all that it sends, vanishes.
pub(crate) fn measure_black_hole(options: &Options, size: usize, table: &mut Table) {
    let what =
        format!("one of {size} hosts in a black hole, until all others list it unreachable, asked in turn");
    let Some(rooms) = Rooms::open(size) else {
        table.row(&what, "unavailable (needs root)", "15 s", "");
        return;
    };
    let fleet = Fleet::found(options, Plan::plain(size).in_rooms(rooms, size - 1));
    let (mut gone, mut back) = (Vec::new(), Vec::new());
    let name = &fleet.hosts[size - 1].name;
    for _ in 0..options.runs.min(RUNS_MAX) {
        let start = Instant::now();
        Rooms::cut();
        gone.push(until(&fleet, size - 1, start, |listed| is_gone(listed, name)));
        let start = Instant::now();
        Rooms::heal();
        back.push(until(&fleet, size - 1, start, |listed| is_back(listed, name)));
        fleet.settle();
    }
    table.row(&what, &format!("at most {}", span(&gone)), "15 s", "Serf 8 s");
    let what = format!("out of it again, until none of {} lists it so, likewise", size - 1);
    table.row(&what, &format!("at most {}", span(&back)), "", "");
}

/// How long after `start` the last of all hosts but one lists what is `good`.
fn until(fleet: &Fleet, but: usize, start: Instant, good: impl Fn(&str) -> bool + Sync) -> f64 {
    let others: Vec<&Host> =
        fleet.hosts.iter().enumerate().filter(|(at, _)| *at != but).map(|(_, host)| host).collect();
    most(&fleet.until_all(&others, start, &LS, good))
}

/// A fifth of the hosts stopped most of the time, all at once: the hard case, since they accuse each other too.
pub(crate) fn measure_stalls(options: &Options, size: usize, table: &mut Table) {
    let fleet = Fleet::found(options, Plan::plain(size));
    let stalled: Vec<u32> = fleet.hosts.iter().step_by(5).flat_map(Host::pids).collect();
    let watching: Vec<&Host> =
        fleet.hosts.iter().enumerate().filter(|(at, _)| at % 5 != 0).map(|(_, host)| host).collect();
    let over = AtomicBool::new(false);
    let (mut looks, mut wrong) = (0_usize, BTreeMap::<String, usize>::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let second = Instant::now();
                signal("STOP", &stalled);
                sleep(STOPPED);
                signal("CONT", &stalled);
                sleep(SECOND.saturating_sub(second.elapsed()));
            }
        });
        let start = Instant::now();
        while start.elapsed() < options.stall {
            for host in &watching {
                let Some(listed) = fleet.ask(host, &LS) else { continue };
                let listed_all = fleet.hosts.iter().all(|host| state(&listed, &host.name).is_some());
                assert!(listed_all, "a list that lacks hosts: {listed}");
                looks += 1;
                for line in listed.lines().filter(|line| text(line, "state") == UNREACHABLE) {
                    *wrong.entry(text(line, "name")).or_default() += 1;
                }
                sleep(Duration::from_millis(20));
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    signal("CONT", &stalled);
    let listed: usize = wrong.values().sum();
    let (hosts, seconds) = (fleet.hosts.iter().step_by(5).count(), options.stall.as_secs());
    let what =
        format!("{hosts} of {size} hosts stopped 950 ms of every second for {seconds} s: listed unreachable");
    let seen = format!("{} hosts, {listed} times in {looks} lists of the others", wrong.len());
    table.row(&what, &seen, "nobody", "");
}
