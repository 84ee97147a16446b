//! What an order costs: time until the last result, CPU, bytes, verifications, syncs; and one host that hangs.

use std::{
    collections::BTreeMap,
    fs,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    figures::{Table, least, median, most, ms, span},
    fleet::{Fleet, Host, number},
    options::Options,
    process::signal,
    world::loopback_bytes,
};

/// What is to be reached and what others take (measured on a 2-core machine under changing load).
const FANOUT: [(usize, &str, &str); 3] = [
    (10, "0.15 s", "Serf 0.26-0.33, clush 0.26, ssh 0.77"),
    (30, "0.3 s", "Serf 0.37-0.59, clush 0.34, ssh 2.3"),
    (100, "0.6 s", "Serf 0.55-0.75, clush 0.85, ssh 7.3"),
];

pub(crate) fn measure_program(options: &Options, table: &mut Table) {
    let mut walls = Vec::new();
    for _ in 0..41 {
        let start = Instant::now();
        let output = Command::new(&options.muster).arg("--help").output().unwrap();
        walls.push(start.elapsed().as_secs_f64());
        assert!(output.status.success());
    }
    table.row("`muster --help`", &span(&walls), "under 0.02 s", "");
    let bytes = fs::metadata(&options.muster).unwrap().len();
    table.row(
        "binary, as built",
        &format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        "20 MiB stripped",
        "Serf 8.5 MB",
    );
}

pub(crate) fn measure(fleet: &Fleet, options: &Options, table: &mut Table) {
    let size = fleet.hosts.len();
    fleet.run_true().good("the first order");
    let (mut walls, mut cpus, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.runs {
        fleet.calm();
        let sent = loopback_bytes();
        let ran = fleet.run_true().good("an order");
        walls.push(ran.wall);
        // What follows an order (acknowledgements, writing in groups) belongs to it.
        let spent = fleet.spent();
        sleep(Duration::from_millis(500));
        cpus.push((ran.cpu + fleet.spent() - spent) / size as f64);
        bytes.extend(sent.zip(loopback_bytes()).map(|(before, after)| (after - before) as f64 / size as f64));
    }
    let (goal, peers) =
        FANOUT.iter().find(|(n, ..)| *n == size).map_or(("", ""), |(_, goal, peers)| (*goal, *peers));
    table.row(&format!("`run --all --yes -- true`, {size} hosts"), &span(&walls), goal, peers);
    let peers = "Serf 8-30 ms, clush 15, ssh 140";
    table.row(&format!("CPU a host and order, all processes, {size} hosts"), &ms(&cpus), "10 ms", peers);
    if !bytes.is_empty() {
        table.row(
            &format!("bytes sent a host and order, {size} hosts"),
            &format!("{:.0} B", median(&bytes)),
            "",
            "",
        );
    }
    let mut dry = Vec::new();
    for _ in 0..options.runs {
        let words = ["run", "--all", "--yes", "--dry-run", "--", "true"];
        dry.push(fleet.muster(&fleet.hosts[0].state, &words).good("a dry run").wall);
    }
    table.row(&format!("the same with `--dry-run`, {size} hosts"), &span(&dry), "", "");
}

pub(crate) fn measure_counts(fleet: &Fleet, table: &mut Table) {
    const COUNTERS: [&str; 4] = [
        "order_verifications_mesh",
        "order_verifications_executor",
        "result_verifications_mesh",
        "result_verifications_executor",
    ];
    let size = fleet.hosts.len();
    let counters = || -> Vec<Vec<u64>> {
        let one = |host| COUNTERS.map(|name| number(&fleet.status(host).unwrap(), name)).to_vec();
        fleet.hosts.iter().map(one).collect()
    };
    let before = counters();
    fleet.run_true().good("a counted order");
    fleet.calm();
    let after = counters();
    for (place, name) in COUNTERS.iter().enumerate() {
        let counts = before.iter().zip(&after).map(|(before, after)| after[place] - before[place]);
        let counts: Vec<f64> = counts.map(|count| count as f64).collect();
        let goal = if name.starts_with("order") { "1" } else { "0" };
        let seen = format!("{} to {}", least(&counts), most(&counts));
        table.row(&format!("{name} an order, {size} hosts"), &seen, goal, "");
    }
    // The host in the middle of the list keeps no results unless the order's hash says so; the first does.
    for (which, host) in [("entry host", &fleet.hosts[0]), ("another host", &fleet.hosts[size / 2])] {
        let syncs = syncs(fleet, host);
        let seen = syncs.map_or_else(
            || "unavailable (strace)".to_owned(),
            |syncs| {
                syncs.iter().map(|(what, count)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
            },
        );
        table.row(&format!("syncs an order, {which}, {size} hosts"), &seen, "executor: 2 fdatasync", "");
    }
}

/// What one agent syncs during one order, by process and call.
pub(crate) fn syncs(fleet: &Fleet, host: &Host) -> Option<BTreeMap<String, usize>> {
    let pids = host.pids();
    let trace = fleet.dir.join("strace");
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-q", "-o"])
        .arg(&trace)
        .args(["-e", "trace=fdatasync,fsync,sync_file_range,msync,syncfs"]);
    for pid in &pids {
        strace.args(["-p", &pid.to_string()]);
    }
    let mut strace = strace.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
    let traced = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() != "0"))
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while !pids.iter().all(traced) {
        if Instant::now() > deadline || strace.try_wait().ok()?.is_some() {
            let _ = strace.kill();
            let _ = strace.wait();
            return None;
        }
        sleep(Duration::from_millis(20));
    }
    fleet.run_true().good("a traced order");
    sleep(Duration::from_secs(1));
    signal("INT", &[strace.id()]);
    let _ = strace.wait();
    let executor = pids[0].to_string();
    let mut counts = BTreeMap::new();
    for line in fs::read_to_string(&trace).ok()?.lines() {
        let (pid, call) = line.split_once(char::is_whitespace)?;
        let Some((call, _)) = call.trim().split_once('(') else { continue };
        let process = if pid == executor { "executor" } else { "mesh" };
        *counts.entry(format!("{call} ({process})")).or_insert(0) += 1;
    }
    Some(counts)
}

pub(crate) fn measure_hung(fleet: &Fleet, table: &mut Table) {
    let size = fleet.hosts.len();
    let host = fleet.hosts.last().unwrap();
    let pids = host.pids();
    signal("STOP", &pids);
    let ran = fleet.run_true();
    signal("CONT", &pids);
    let named = if ran.stdout.contains(&host.name) || ran.stderr.contains(&host.name) {
        "named"
    } else {
        "NOT NAMED"
    };
    let seen = format!("{:.2} s, {named}, exit {}", ran.wall, ran.code());
    let peers = "Serf 1.0 s, exit 0, not named; pdsh 10 s, clush 15 s, exit 0; Salt 15.7 s, exit 1";
    table.row(&format!("one of {size} hosts stopped"), &seen, "under 6 s, named, exit 7", peers);
    fleet.calm();
}
