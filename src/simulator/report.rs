//! What was counted.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::{self, Write as _},
};

use crate::sync::Message;

/// What a message is called in counts. The one place that knows the kinds.
pub fn name_of(message: &Message) -> &'static str {
    match message {
        Message::Hello { .. } => "hello",
        Message::Tips { .. } => "tips",
        Message::Items { .. } => "items",
        Message::Ping { .. } => "ping",
        Message::Pong { .. } => "pong",
        Message::Reports { .. } => "reports",
        Message::Settled { .. } => "settled",
        Message::Running { .. } => "running",
        Message::Told { .. } => "told",
        Message::Want { .. } => "want",
        Message::Facets { .. } => "facets",
        Message::Notes { .. } => "notes",
        Message::Combined { .. } => "combined",
        Message::WantList { .. } => "want list",
        Message::List { .. } => "list",
    }
}

/// Messages and their bytes, the frame's header with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many.
    pub messages: u64,
    /// How long together.
    pub bytes: u64,
}

impl Traffic {
    fn add(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes as u64;
    }
}

/// What one host did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// What it sent, by kind.
    pub sent: BTreeMap<&'static str, Traffic>,
    /// What came to it, by kind.
    pub received: BTreeMap<&'static str, Traffic>,
    /// Bytes of entries and facets among it.
    pub payload: u64,
    /// Signatures that it checked, of entries from neighbours that were judged: then, or while they waited.
    pub verifications: u64,
    /// Entries from neighbours that were new.
    pub merged: u64,
    /// Verified, and then known, older than what is held, or without what they follow.
    pub in_vain: u64,
    /// Of those: cancellations of an order that somebody else cancelled as well.
    pub second_best: u64,
    /// Of those: what came before what it follows.
    pub early: u64,
    /// The last of them, in words.
    pub why_in_vain: VecDeque<String>,
    /// Among those that were new: what had been here before, and was lost in a crash.
    pub back: u64,
    /// Entries that were merged here and that a crash took before they were on disk.
    pub lost: u64,
    /// Verified although they had been verified and were new since it was started.
    pub again: u64,
    /// Times that it was started.
    pub starts: u64,
}

impl Counts {
    pub(super) fn sent(&mut self, kind: &'static str, bytes: usize) {
        self.sent.entry(kind).or_default().add(bytes);
    }

    pub(super) fn received(&mut self, kind: &'static str, bytes: usize) {
        self.received.entry(kind).or_default().add(bytes);
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.payload += other.payload;
        self.verifications += other.verifications;
        self.merged += other.merged;
        self.in_vain += other.in_vain;
        self.why_in_vain.extend(other.why_in_vain.iter().cloned());
        self.second_best += other.second_best;
        self.early += other.early;
        self.back += other.back;
        self.lost += other.lost;
        self.again += other.again;
        self.starts += other.starts;
        for (to, from) in [(&mut self.sent, &other.sent), (&mut self.received, &other.received)] {
            for (kind, traffic) in from {
                let sum = to.entry(kind).or_default();
                sum.messages += traffic.messages;
                sum.bytes += traffic.bytes;
            }
        }
    }

    /// Bytes received of these kinds; of all if none is named.
    pub fn bytes_received(&self, kinds: &[&str]) -> u64 {
        let named = |kind: &str| kinds.is_empty() || kinds.contains(&kind);
        self.received.iter().filter(|(kind, _)| named(kind)).map(|(_, traffic)| traffic.bytes).sum()
    }
}

/// What all hosts did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// By host.
    pub hosts: Vec<Counts>,
    /// Faults that struck, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Who shunned whom, and how often.
    pub shunned: BTreeMap<(usize, usize), u64>,
    /// Why links were closed.
    pub closed: BTreeMap<&'static str, u64>,
    /// How much time passed, in milliseconds.
    pub passed_ms: u64,
    /// Links at the end.
    pub links: usize,
}

impl Report {
    /// What was sent by all, by kind.
    pub fn sent(&self) -> BTreeMap<&'static str, Traffic> {
        let mut all: BTreeMap<&'static str, Traffic> = BTreeMap::new();
        for (kind, traffic) in self.hosts.iter().flat_map(|host| &host.sent) {
            let sum = all.entry(kind).or_default();
            sum.messages += traffic.messages;
            sum.bytes += traffic.bytes;
        }
        all
    }

    /// Bytes that all sent.
    pub fn bytes(&self) -> u64 {
        self.sent().values().map(|traffic| traffic.bytes).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = self.hosts.len().max(1) as u64;
        let seconds = self.passed_ms / 1000;
        writeln!(f, "{} hosts, {} links, {seconds} s", self.hosts.len(), self.links)?;
        writeln!(f, "{:<12}{:>12}{:>14}{:>14}", "kind", "messages", "bytes", "bytes a host")?;
        for (kind, traffic) in self.sent() {
            let a_host = traffic.bytes / hosts;
            writeln!(f, "{kind:<12}{:>12}{:>14}{a_host:>14}", traffic.messages, traffic.bytes)?;
        }
        let sum = |of: fn(&Counts) -> u64| self.hosts.iter().map(of).sum::<u64>();
        writeln!(
            f,
            "verified {}, new {}, in vain {}",
            sum(|h| h.verifications),
            sum(|h| h.merged),
            sum(|h| h.in_vain)
        )?;
        let mut faults = String::new();
        for (kind, count) in &self.faults {
            write!(faults, " {kind} {count}")?;
        }
        write!(f, "faults:{faults}")
    }
}
