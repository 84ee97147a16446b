//! What counts as wrong, and the way out of it.

use std::time::Duration;

use super::{Found, Mode, Online, TimeService, found::Looked};
use crate::{control::StoreCheck, terminal::time};

/// A clock that is off by more than this breaks things: orders expire early or late.
const CLOCK_BAD: Duration = Duration::from_secs(30);
/// More than this is worth a look.
const CLOCK_ODD: Duration = Duration::from_secs(2);
/// With less than this a host soon cannot write what it must.
const ROOM_BAD: u64 = 64 << 20;
/// Less than this is worth a look.
const ROOM_ODD: u64 = 512 << 20;
/// Files that must still be possible.
const FILES_BAD: u64 = 1000;
/// A journal of this size is refused claims until it is shorter.
const JOURNAL_BAD: u64 = 128 << 20;
/// Hosts that a line names.
const NAMED_MAX: usize = 5;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Wrong.
    Bad,
    /// Not wrong yet, or only perhaps.
    Odd,
    /// Could not be looked at.
    Unknown,
}

impl Verdict {
    /// Its word in every format.
    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Odd => "odd",
            Self::Unknown => "unknown",
        }
    }
}

/// One thing that was checked. Texts may hold what hosts chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What: `clock`, `links`, `store`, and so on. A name may come several times.
    pub name: &'static str,
    /// How it ended.
    pub verdict: Verdict,
    /// What was found.
    pub what: String,
    /// What to do about it; always there for what is bad.
    pub fix: Option<String>,
}

impl Check {
    /// As it should be.
    pub fn good(name: &'static str, what: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Good, what: what.into(), fix: None }
    }
    /// Wrong, with the way out.
    pub fn bad(name: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Bad, what: what.into(), fix: Some(fix.into()) }
    }
    /// Not wrong yet.
    pub fn odd(name: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Odd, what: what.into(), fix: Some(fix.into()) }
    }
    /// Could not be looked at.
    pub fn unknown(name: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Unknown, what: what.into(), fix: Some(fix.into()) }
    }
}

/// Judges what was found here and, where an agent answered, what it says. `ours` is this command line's
/// version; `store` is what a check of the store came to, or why there is none.
pub fn checks(
    found: &Found,
    online: Option<&Online>,
    store: &Result<StoreCheck, String>,
    ours: &str,
) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(online) = online {
        checks.extend(versions(online, ours));
    }
    checks.push(clock(found));
    if let Some(online) = online {
        checks.extend(clocks(online));
        checks.extend(reach(online));
    }
    checks.extend(room(found));
    checks.push(store_check(store, found, online));
    checks.extend(journal(found));
    checks.extend(permissions(found));
    if let Some(online) = online {
        checks.push(sandbox(online));
        let problems = online.status.problems.iter();
        checks.extend(problems.map(|problem| Check::odd("problem", problem, "more about it: muster status")));
    }
    checks
}

fn versions(online: &Online, ours: &str) -> Vec<Check> {
    let theirs = &online.agent;
    let agent = if theirs == ours {
        Check::good("version", format!("agent and command line are {ours}"))
    } else {
        let fix = "restart the agent after an update, with the same program: muster agent";
        Check::odd("version", format!("the agent is {theirs}, this command line {ours}"), fix)
    };
    let counts = &online.health.versions;
    let said: u64 = counts.iter().map(|(_, hosts)| hosts).sum();
    let listed = counts.iter().map(|(version, hosts)| format!("{version} on {}", hosts_counted(*hosts)));
    let listed = listed.take(NAMED_MAX).collect::<Vec<_>>().join(", ");
    let members = match counts.len() {
        0 => return vec![agent],
        1 => Check::good("versions", format!("the same on all {said} members that say: {listed}")),
        _ => Check::odd("versions", format!("not all run the same: {listed}"), "which: muster host ls"),
    };
    vec![agent, members]
}

fn hosts_counted(count: u64) -> String {
    if count == 1 { "1 host".to_owned() } else { format!("{count} hosts") }
}

fn clock(found: &Found) -> Check {
    match found.time {
        Some(TimeService::Synchronised(service)) => {
            Check::good("clock", format!("kept right by {service}, which says so"))
        }
        Some(TimeService::Running(service, fix)) => {
            Check::unknown("clock", format!("{service} runs; whether the clock is right it says itself"), fix)
        }
        None => {
            Check::odd("clock", "no time service is known to keep it right", "see what keeps it: timedatectl")
        }
    }
}

fn clocks(online: &Online) -> Vec<Check> {
    let rows = &online.health.clocks;
    let off = |row: &&crate::control::ClockRow| Duration::from_millis(row.by_ms.saturating_sub(row.error_ms));
    let mut checks = Vec::new();
    for row in rows.iter().filter(|row| off(row) > CLOCK_ODD) {
        let way = if row.ahead { "ahead of" } else { "behind" };
        let by = time::duration(Duration::from_secs(Duration::from_millis(row.by_ms).as_secs()));
        let what = format!("the clock of {} is {by} {way} this one", row.name);
        let fix = "set whichever is wrong, and see what keeps it: timedatectl";
        checks.push(if off(&row) > CLOCK_BAD {
            Check::bad("clocks", what, fix)
        } else {
            Check::odd("clocks", what, fix)
        });
    }
    if checks.is_empty() {
        let worst = rows.iter().map(|row| row.by_ms.saturating_add(row.error_ms)).max();
        checks.extend(worst.map(|worst| {
            let within = time::took(Duration::from_millis(worst));
            Check::good("clocks", format!("{} linked hosts agree within {within}", rows.len()))
        }));
    }
    checks
}

fn reach(online: &Online) -> Vec<Check> {
    let status = &online.status;
    let others = status.members.saturating_sub(1);
    let links = match (others, status.links) {
        (0, _) => Check::good("links", "this is the only member"),
        (others, 0) => Check::bad(
            "links",
            format!("to none of {others} other members"),
            "are they up, and does a firewall let their port through? where they listen: muster host ls -o wide",
        ),
        (others, links) => Check::good("links", format!("{links}, to {others} other members")),
    };
    let mut checks = vec![links];
    if let Some((_, away)) = status.presence.filter(|(_, away)| *away > 0) {
        let names = online.away.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
        let more = (away as usize).saturating_sub(NAMED_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        checks.push(Check::odd(
            "members",
            format!("{away} of {} cannot be reached: {names}{more}", status.members),
            "since when, and who says so: muster host ls",
        ));
    }
    let listen = status.listen.join(" ");
    checks.push(match (status.listen.is_empty(), online.health.dialled_in) {
        (true, _) => Check::good("listen", "nowhere: it only dials out"),
        (false, 0) if others == 0 => Check::good("listen", format!("at {listen}")),
        (false, 0) => Check::unknown(
            "listen",
            format!("at {listen}, but none of its links was dialled from outside"),
            format!("try it from another host: muster host ping {}", online.name),
        ),
        (false, count) => {
            Check::good("listen", format!("at {listen}, where {} dialled it", hosts_counted(count)))
        }
    });
    checks.extend(online.lan.map(|lan| {
        let what =
            if lan { "members are looked for by mDNS" } else { "off: members are not looked for by mDNS" };
        Check::good("lan", what)
    }));
    checks
}

fn room(found: &Found) -> Option<Check> {
    let room = found.room?;
    let at = found.state.display();
    let what = format!("{} of {} are free", time::size(room.free), time::size(room.all));
    let fix = format!("see what takes it: df -h {at}");
    Some(match room.files {
        _ if room.free < ROOM_BAD => Check::bad("disk", what, fix),
        Some(files) if files < FILES_BAD => {
            Check::bad("disk", format!("only {files} more files can be made"), format!("df -i {at}"))
        }
        _ if room.free < ROOM_ODD => Check::odd("disk", what, fix),
        _ => Check::good("disk", what),
    })
}

fn store_check(store: &Result<StoreCheck, String>, found: &Found, online: Option<&Online>) -> Check {
    let rows = |check: &StoreCheck| check.kinds.iter().map(|kind| kind.rows).sum::<u64>();
    match store {
        Ok(check) if check.whole => {
            Check::good("store", format!("whole, {} rows in {}", rows(check), time::size(check.disk_bytes)))
        }
        Ok(check) => {
            let damaged: u64 = check.kinds.iter().map(|kind| kind.damaged).sum();
            let what = check.unread.clone().unwrap_or_else(|| match check.as_held {
                Some(false) if damaged == 0 => "what is on disk is not what the agent holds".to_owned(),
                _ => format!("{damaged} of {} rows are damaged", rows(check)),
            });
            Check::bad("store", what, "what, and what becomes of it: muster store check")
        }
        Err(why) if online.is_none() && !found.there => Check::unknown("store", why, "muster init NAME"),
        Err(why) => Check::unknown("store", why, "look again: muster store check"),
    }
}

fn journal(found: &Found) -> Option<Check> {
    Some(match found.journal.as_ref()? {
        Ok(bytes) if *bytes >= JOURNAL_BAD => Check::bad(
            "journal",
            format!("{} long: no order is taken on until it is shorter", time::size(*bytes)),
            "orders that expired fall out of it when the agent starts: muster agent",
        ),
        Ok(bytes) => Check::good("journal", format!("readable, {}", time::size(*bytes))),
        Err(why) => Check::unknown("journal", why.as_str(), "look as its owner: sudo muster doctor"),
    })
}

fn permissions(found: &Found) -> Vec<Check> {
    let mut checks = Vec::new();
    let owner = found.looked.iter().find(|looked| looked.path == found.state).and_then(|looked| looked.about);
    let hidden = |looked: &&Looked| looked.about.is_none();
    for Looked { path, mode, about } in &found.looked {
        let Some((bits, uid)) = *about else { continue };
        let at = path.display();
        if bits & mode.forbidden() != 0 {
            let what = match mode {
                Mode::Key => "a key that others can read",
                Mode::Socket => "a socket that everybody can use",
                Mode::Passage | Mode::Private => "open to others",
            };
            let fix = format!("chmod {} {at}", mode.right());
            checks.push(Check::bad("permissions", format!("{at} is {what} (mode {bits:04o})"), fix));
        }
        let ours = path.starts_with(&found.state) && !path.starts_with(found.state.join("mesh"));
        if ours && *mode != Mode::Socket && owner.is_some_and(|(_, owner)| owner != uid) {
            let (what, fix) = (format!("{at} belongs to another user (uid {uid})"), format!("ls -l {at}"));
            checks.push(Check::bad("permissions", what, fix));
        }
    }
    let unseen = found.looked.iter().filter(hidden).count();
    if unseen > 0 {
        let what = format!("{unseen} files may not be looked at by this user");
        checks.push(Check::unknown("permissions", what, "look as their owner: sudo muster doctor"));
    }
    if checks.is_empty() && !found.looked.is_empty() {
        let what = format!("{} files and directories are for whom they should be", found.looked.len());
        checks.push(Check::good("permissions", what));
    }
    checks
}

fn sandbox(online: &Online) -> Check {
    const FIX: &str = "the rest of the sandbox holds; a newer kernel with Landlock adds to it: cat /sys/kernel/security/lsm";
    let how = &online.status.confinement;
    if how.is_empty() {
        Check::bad("sandbox", "the agent does not say that it is confined", "muster status -o json")
    } else if how.contains("no Landlock") || how.contains("in part") {
        Check::odd("sandbox", how, FIX)
    } else {
        Check::good("sandbox", how)
    }
}
