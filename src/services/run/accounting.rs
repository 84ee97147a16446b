//! Every host of a roster in exactly one column, whatever arrives in whatever order.

use std::{collections::BTreeMap, time::Duration};

use super::{Claim, ExitMode, Verified, sealing::Opening};
use crate::{
    identity::HostId,
    replica::{Outcome, Report},
    terminal::Mark,
};

/// The exit code of a job that its error budget stopped.
const STOPPED: u8 = 8;

/// Where a host stands. The order is that of the summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// It ran and said that it succeeded.
    Ok,
    /// It ran and did not, or what was said of it is not proven.
    Failed,
    /// It ran longer than it may.
    TimedOut,
    /// It was cancelled.
    Cancelled,
    /// The host cannot say what came of it.
    Indeterminate,
    /// The host refused.
    Refused,
    /// It could not be started, or nobody asked the host to.
    NotStarted,
    /// The host works on it.
    Running,
    /// The host has not answered.
    Silent,
}

impl Status {
    /// Every status, in order.
    pub const ALL: [Self; 9] = [
        Self::Ok,
        Self::Failed,
        Self::TimedOut,
        Self::Cancelled,
        Self::Indeterminate,
        Self::Refused,
        Self::NotStarted,
        Self::Running,
        Self::Silent,
    ];

    /// The word in JSON and in columns; scripts compare it.
    pub const fn key(self) -> &'static str {
        match self {
            Self::TimedOut => "timed_out",
            Self::NotStarted => "not_started",
            other => other.word(),
        }
    }

    /// The word in sentences.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::TimedOut => "timed out",
            Self::Cancelled => "cancelled",
            Self::Indeterminate => "indeterminate",
            Self::Refused => "refused",
            Self::NotStarted => "not started",
            Self::Running => "running",
            Self::Silent => "silent",
        }
    }

    /// At a glance.
    pub const fn mark(self) -> Mark {
        match self {
            Self::Ok => Mark::Good,
            Self::Indeterminate | Self::Running | Self::Silent => Mark::Unknown,
            Self::Failed | Self::TimedOut | Self::Cancelled | Self::Refused | Self::NotStarted => Mark::Bad,
        }
    }

    fn of(outcome: &Outcome) -> Self {
        match outcome {
            outcome if outcome.ok() => Self::Ok,
            Outcome::Exited { .. } | Outcome::Signaled { .. } => Self::Failed,
            Outcome::TimedOut {} => Self::TimedOut,
            Outcome::Cancelled {} => Self::Cancelled,
            Outcome::Indeterminate { .. } => Self::Indeterminate,
            Outcome::Refused { .. } => Self::Refused,
            Outcome::NotStarted { .. } => Self::NotStarted,
        }
    }
}

/// Why no order was signed for a host of the roster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// The waves before its own are still under way.
    Later,
    /// The job is paused.
    Paused,
    /// More hosts failed than may.
    Budget,
    /// The command line that signs the waves left, or is gone.
    Left,
    /// The job was cancelled before its wave.
    Cancelled,
    /// Its wave could not be signed or handed over.
    Broken,
}

impl Withheld {
    /// Why, in words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Later => "not started: its wave has not begun",
            Self::Paused => "not started: the job is paused",
            Self::Budget => "not started (budget): too many failed before its wave",
            Self::Left => "not started: the command line that orders the waves left before its own",
            Self::Cancelled => "not started: cancelled before its wave",
            Self::Broken => "not started: its wave could not be handed over",
        }
    }
}

/// What is known of one host.
#[derive(Clone, Debug, Default)]
pub struct Seat {
    settled: Option<Verified>,
    conflict: bool,
    claim: Option<Claim>,
    spoilt: bool,
    asked_at: Duration,
    running_since: Option<Duration>,
    withheld: Option<Withheld>,
}

impl Seat {
    /// Where the host stands.
    pub fn status(&self) -> Status {
        match (&self.settled, self.claim) {
            (Some(_), _) if self.spoilt => Status::Failed,
            (Some(verified), _) => Status::of(&verified.record().outcome),
            (None, Some(_)) => Status::Failed,
            (None, None) if self.withheld.is_some() => Status::NotStarted,
            (None, None) if self.running_since.is_some() => Status::Running,
            (None, None) => Status::Silent,
        }
    }
    /// The first result that was verified.
    pub fn verified(&self) -> Option<&Verified> {
        self.settled.as_ref()
    }
    /// Whether a second, different result was verified: two runs, or two hosts with one key.
    pub fn conflict(&self) -> bool {
        self.conflict
    }
    /// Why a result that was received proves nothing.
    pub fn claim(&self) -> Option<Claim> {
        self.claim
    }
    /// Why nobody ordered it there; none where somebody did.
    pub fn withheld(&self) -> Option<Withheld> {
        self.withheld.filter(|_| self.settled.is_none() && self.claim.is_none())
    }
    /// Whether fetched output turned out not to be what was signed.
    pub fn spoilt(&self) -> bool {
        self.spoilt
    }

    /// The code that ssh would give for it, or 6 and 7 where there is no such code.
    fn remote_code(&self) -> u8 {
        let not_zero = |code: i32| u8::try_from(code).unwrap_or(255);
        if self.spoilt || self.conflict {
            return 6;
        }
        match self.settled.as_ref().map(|verified| &verified.record().outcome) {
            Some(Outcome::Exited { code }) => not_zero(*code),
            Some(Outcome::Signaled { signal }) => not_zero(128_i32.saturating_add(*signal)).max(128),
            Some(Outcome::NotStarted { code, .. }) => not_zero(*code).max(1),
            Some(_) => 6,
            None if self.claim.is_some() || self.withheld.is_some() => 6,
            None => 7,
        }
    }
}

/// What a report changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The host's result is known now.
    Settled,
    /// It was known.
    Known,
    /// Another one was known.
    Conflict,
    /// It proves nothing.
    Claimed,
    /// The host is not in the roster.
    Stray,
}

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For hosts that say nothing, from when they were asked.
    pub silent: Duration,
    /// For hosts that said that they work on it, from then.
    pub running: Duration,
}

/// How many hosts stand where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<Status, usize>);

impl Counts {
    /// How many stand there.
    pub fn of(&self, status: Status) -> usize {
        self.0.get(&status).copied().unwrap_or(0)
    }
    /// How many there are.
    pub fn total(&self) -> usize {
        self.0.values().sum()
    }
    /// Everything but success and not knowing: what exit code 6 stands for.
    pub fn unsuccessful(&self) -> usize {
        self.total() - self.of(Status::Ok) - self.of(Status::Running) - self.of(Status::Silent)
    }
    /// The columns that are not empty.
    pub fn columns(&self) -> impl Iterator<Item = (Status, usize)> {
        self.0.iter().map(|(status, count)| (*status, *count))
    }
}

/// The accounting of one order.
#[derive(Clone, Debug)]
pub struct Tally {
    seats: BTreeMap<HostId, Seat>,
    strays: usize,
    opening: Opening,
}

impl Tally {
    /// Nobody has answered.
    pub fn new(roster: &[HostId]) -> Self {
        Self {
            seats: roster.iter().map(|host| (*host, Seat::default())).collect(),
            strays: 0,
            opening: Opening::Plain,
        }
    }

    /// Takes how the output of what comes from now on is read.
    pub(super) fn read_by(&mut self, opening: Opening) {
        self.opening = opening;
    }

    /// Takes what came of the order on `host`. The first verified result stands; one that proves
    /// nothing never replaces it, and is replaced by it.
    pub fn report(&mut self, host: HostId, result: Result<Verified, Claim>) -> Taken {
        let Some(seat) = self.seats.get_mut(&host) else {
            self.strays += 1;
            return Taken::Stray;
        };
        match (result.and_then(|verified| verified.opened(&self.opening)), &seat.settled) {
            (Err(claim), _) => {
                seat.claim = Some(claim);
                Taken::Claimed
            }
            (Ok(verified), None) => {
                seat.settled = Some(verified);
                Taken::Settled
            }
            (Ok(verified), Some(held)) if verified.id() == held.id() => Taken::Known,
            (Ok(_), Some(_)) => {
                seat.conflict = true;
                Taken::Conflict
            }
        }
    }

    /// Takes that `host` says it works on the order, `elapsed` after the start.
    pub fn running(&mut self, host: HostId, elapsed: Duration) {
        if let Some(seat) = self.seats.get_mut(&host) {
            seat.running_since.get_or_insert(elapsed);
        }
    }

    /// Takes that no order was signed for these hosts.
    pub fn withhold(&mut self, hosts: &[HostId], why: Withheld) {
        for host in hosts {
            if let Some(seat) = self.seats.get_mut(host) {
                seat.withheld = Some(why);
            }
        }
    }

    /// Takes that these hosts were asked, `elapsed` after the start.
    pub fn ask(&mut self, hosts: &[HostId], elapsed: Duration) {
        for host in hosts {
            if let Some(seat) = self.seats.get_mut(host) {
                (seat.withheld, seat.asked_at) = (None, elapsed);
            }
        }
    }

    /// Takes that output fetched from `host` is not what its executor signed.
    pub fn spoil(&mut self, host: HostId) {
        if let Some(seat) = self.seats.get_mut(&host) {
            seat.spoilt = true;
        }
    }

    /// Until when, from the start, some host is worth waiting for. None: not any longer.
    pub fn wait_until(&self, elapsed: Duration, patience: Patience) -> Option<Duration> {
        self.seats
            .values()
            .filter(|seat| seat.settled.is_none() && seat.withheld.is_none())
            .map(|seat| match seat.running_since {
                Some(since) => since.saturating_add(patience.running),
                None => seat.asked_at.saturating_add(patience.silent),
            })
            .max()
            .filter(|until| *until > elapsed)
    }

    /// Every host, in order of ids.
    pub fn seats(&self) -> impl Iterator<Item = (HostId, &Seat)> {
        self.seats.iter().map(|(host, seat)| (*host, seat))
    }

    /// One host.
    pub fn seat(&self, host: &HostId) -> Option<&Seat> {
        self.seats.get(host)
    }

    /// Reports of hosts outside the roster.
    pub fn strays(&self) -> usize {
        self.strays
    }

    /// The verified results, to be kept.
    pub fn reports(&self) -> Vec<Report> {
        self.seats.values().filter_map(|seat| Some(seat.settled.as_ref()?.report().clone())).collect()
    }

    /// How many hosts stand where.
    pub fn counts(&self) -> Counts {
        let mut counts = BTreeMap::new();
        for seat in self.seats.values() {
            *counts.entry(seat.status()).or_default() += 1;
        }
        Counts(counts)
    }

    /// How many hosts count against the budget: those that were asked and did not succeed, and those that were
    /// up when they were asked and then gave no answer. Who was away is silent, which is no failure; but what
    /// takes a host off the network must not go on to the next.
    pub fn errors(&self, was_up: impl Fn(&HostId) -> bool) -> usize {
        let counts = |(host, seat): &(&HostId, &Seat)| match seat.status() {
            Status::Ok => seat.conflict,
            Status::NotStarted => seat.withheld().is_none(),
            Status::Running | Status::Silent => was_up(host),
            _ => true,
        };
        self.seats.iter().filter(counts).count()
    }

    /// The exit code.
    pub fn code(&self, mode: ExitMode) -> u8 {
        let counts = self.counts();
        let conflict = self.seats.values().any(Seat::conflict);
        if self.seats.values().any(|seat| seat.withheld() == Some(Withheld::Budget)) {
            return STOPPED;
        }
        let summary = if counts.unsuccessful() > 0 || conflict {
            6
        } else if counts.of(Status::Ok) == counts.total() {
            0
        } else {
            7
        };
        match mode {
            ExitMode::Summary => summary,
            ExitMode::Max | ExitMode::Remote => {
                self.seats.values().map(Seat::remote_code).max().unwrap_or(summary)
            }
        }
    }
}
