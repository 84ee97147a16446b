//! What came of an order, in words.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    identity::HostId,
    replica::{Outcome, Output, Replica},
    services::run::{Counts, Status},
    terminal::{
        escape,
        time::{rfc3339, size},
    },
    time::Timestamp,
    wire::Bytes,
};

/// Longest reason of a host that is shown on its line, in columns.
const WHY_COLUMNS_MAX: usize = 200;

/// How a command ended.
pub(super) fn outcome(outcome: &Outcome) -> String {
    let because =
        |words: &str, why: &str| format!("{words}: {}", escape::clamp(&escape::cell(why), WHY_COLUMNS_MAX));
    match outcome {
        Outcome::Exited { code } => format!("exit {code}"),
        Outcome::Signaled { signal } => format!("killed by signal {signal}"),
        Outcome::TimedOut {} => "timed out".to_owned(),
        Outcome::Cancelled {} => "cancelled".to_owned(),
        Outcome::Indeterminate { why } => because("indeterminate", why),
        Outcome::Refused { why } => because("refused", why),
        Outcome::NotStarted { why, .. } => because("not started", why),
    }
}

/// `12 hosts`.
pub(in crate::services::run) fn counted(hosts: usize) -> String {
    format!("{hosts} host{}", if hosts == 1 { "" } else { "s" })
}

/// The sum of all hosts: `10 ok (1 differs) · 1 refused · 1 silent`.
pub(in crate::services::run) fn summary(counts: &Counts, differing: usize) -> String {
    let column = |(status, count): (Status, usize)| match (status, differing) {
        (Status::Ok, 0) => format!("{count} ok"),
        (Status::Ok, 1) => format!("{count} ok (1 differs)"),
        (Status::Ok, many) => format!("{count} ok ({many} differ)"),
        (status, _) => format!("{count} {}", status.word()),
    };
    counts.columns().map(column).collect::<Vec<_>>().join(" · ")
}

/// What to do next about a job, by where its hosts stand.
pub(in crate::services::run) fn next_step(counts: &Counts, job: &str) -> String {
    if counts.of(Status::Ok) == counts.total() {
        return format!("muster job show {job}");
    }
    let open = counts.of(Status::Running) + counts.of(Status::Silent) > 0;
    format!("muster job {} {job} · muster job rerun {job} --failed", if open { "watch" } else { "show" })
}

/// The time of day in UTC where that is clear, else the whole time.
pub(in crate::services::run) fn clock_time(at: Timestamp, now: Timestamp) -> String {
    let text = rfc3339(at);
    match text.get(11..16) {
        Some(time) if at.since(now) < Duration::from_secs(20 * 3600) => format!("{time} UTC"),
        _ => text,
    }
}

/// The command as a shell would take it.
pub(in crate::services::run) fn command(argv: &[Bytes]) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=,+@%^".contains(c);
    let word = |arg: &Bytes| {
        let text = String::from_utf8_lossy(&arg.0).into_owned();
        if !text.is_empty() && text.chars().all(plain) {
            text
        } else {
            format!("'{}'", text.replace('\'', "'\\''"))
        }
    };
    argv.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// Where output was cut, if it was.
pub(super) fn cut(output: Output) -> Option<String> {
    (output.produced > output.kept)
        .then(|| format!("cut at {} of {}", size(output.kept), size(output.produced)))
}

/// What hosts are called: their names, and a part of their ids too where two have one name.
pub(super) fn labels(hosts: &[HostId], replica: &Replica) -> BTreeMap<HostId, String> {
    let name = |host: &HostId| replica.authority().host(host).map(|host| escape::line(host.name()));
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for name in hosts.iter().filter_map(name) {
        *times.entry(name).or_default() += 1;
    }
    let label = |host: &HostId| match name(host) {
        Some(name) if times.get(&name) == Some(&1) => name,
        Some(name) => format!("{name}({})", host.short()),
        None => host.short(),
    };
    hosts.iter().map(|host| (*host, label(host))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_reads_back_in_a_shell() {
        let argv = ["sh", "-c", "echo 'a  b' | wc", ""].map(|arg| arg.as_bytes().into()).to_vec();
        assert_eq!(command(&argv), "sh -c 'echo '\\''a  b'\\'' | wc' ''");
    }
}
