//! The world around a fleet: a network namespace that holds its bytes and nothing else.

use std::{env, fs, os::unix::process::CommandExt as _, process::Command};

/// Set when this program is in a network namespace of its own.
pub(crate) const INSIDE: &str = "MUSTER_BENCH_INSIDE";

/// As root, starts this program again in a network namespace that has a loopback and nothing else.
pub(crate) fn enter_namespace() {
    if env::var_os(INSIDE).is_some() || !is_root() {
        return;
    }
    let script = "ip link set lo up && exec \"$0\" \"$@\"";
    let possible = Command::new("unshare").args(["--net", "sh", "-c", "ip link set lo up"]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        eprintln!("no network namespace: bytes are unavailable");
        return;
    }
    let error = Command::new("unshare")
        .args(["--net", "sh", "-c", script])
        .arg(env::current_exe().unwrap())
        .args(env::args_os().skip(1))
        .env(INSIDE, "1")
        .exec();
    panic!("unshare: {error}");
}

pub(crate) fn is_root() -> bool {
    fs::read_to_string("/proc/self/status").unwrap().lines().any(|line| line.starts_with("Uid:\t0\t"))
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}

pub(crate) fn load() -> String {
    fs::read_to_string("/proc/loadavg").unwrap().split(' ').next().unwrap_or_default().to_owned()
}

/// Bytes sent on the loopback so far, if it is ours alone.
pub(crate) fn loopback_bytes() -> Option<u64> {
    env::var_os(INSIDE)?;
    let counters = fs::read_to_string("/proc/net/dev").ok()?;
    let line = counters.lines().find_map(|line| line.trim().strip_prefix("lo:"))?;
    line.split_whitespace().nth(8)?.parse().ok()
}
