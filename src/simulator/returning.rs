//! One order for many hosts, and how its results come home to the one host where it was given.
//!
//! Too many hosts for the whole machine (each would know each), so a host here is the shipping
//! [`crate::sync::Returns`] alone, on one replica that all share; the push of the order to all neighbours, links of
//! one length, ticks, dials and the keeper's disk are played, the work itself takes no time. Every signature is
//! verified where the order was given. Hosts die between receiving the order, and passing it on, and their
//! answer, and take with them what they had gathered: their neighbours hear of it at once (a process that ended)
//! or not before they look for it (power that went).
#![expect(clippy::indexing_slicing, reason = "hosts are numbered from 0, and none goes away")]

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap},
    fmt,
};

use super::{
    dice::Dice,
    fleet::{Fleet, START},
    report::{Traffic, name_of},
};
use crate::{
    identity::{EntryId, HostId, Signed},
    replica::{Entry, Kept, Outcome, Output, RECEIPT_REPORTS_MAX, Replica, Report, ResultRecord},
    sync::{Message, Returned, Returns, in_messages},
    time::Timestamp,
    wire::{self, Bytes, FRAME_HEADER_BYTES},
};

/// Links that each host dials besides the one to its successor: eight in all, both ways.
const DIALLED: usize = 3;
/// How long a keeper's disk takes, and gathers receipts meanwhile, in milliseconds.
const DISK_MS: u64 = 50;
/// How long a dial takes in lengths of a link.
const DIAL_LINKS: u64 = 2;
/// When neighbours give up on one that is silent, in milliseconds; the machine's figure.
const SILENT_MS: u64 = 25_000;
/// Clocks are apart by so much at most, in milliseconds.
const SKEW_MS: u64 = 500;
/// When it is over at the latest, in milliseconds.
const OVER_MS: u64 = 400_000;
const TICK_MS: u64 = 1_000;

/// What is played.
#[derive(Clone, Copy, Debug)]
pub struct Returning {
    /// Hosts of the fleet, all in the roster.
    pub hosts: usize,
    /// Links of the host where the order is given.
    pub links: usize,
    /// How long a message takes from one to the next, in milliseconds.
    pub link_ms: u64,
    /// Of a thousand hosts so many die between receipt and answer.
    pub die: usize,
    /// Whether neighbours hear at once of one that died.
    pub heard: bool,
    /// Of what all else follows.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Home {
    /// Hosts of the roster.
    pub hosts: usize,
    /// Those that died.
    pub died: usize,
    /// Results of these came home and were verified.
    pub home: usize,
    /// Of hosts that live, results that no keeper had at the end.
    pub unsettled: usize,
    /// Bad signatures, or results that differ from those that were made.
    pub wrong: usize,
    /// Who sent results to the host where the order was given.
    pub streams: usize,
    /// How many hops the order took, on average and at most.
    pub depth: (f64, usize),
    /// What came to the host where the order was given, by kind of message.
    pub received: BTreeMap<&'static str, Traffic>,
    /// Bytes of signatures among its results.
    pub signature_bytes: u64,
    /// All other bytes of results and words about who works.
    pub summary_bytes: u64,
    /// What one message for each result, and for each word, would have been there, in messages and bytes.
    pub alone: Traffic,
    /// What went over all links, by kind.
    pub sent: BTreeMap<&'static str, Traffic>,
    /// When so many of a hundred of the roster were home, in milliseconds after the order was given.
    pub at_ms: BTreeMap<u8, u64>,
    /// When the last came, in milliseconds.
    pub last_ms: u64,
    /// How many were home after four seconds.
    pub in_four_seconds: usize,
    /// Results that were offered again because no receipt had come.
    pub retries: usize,
    /// Dials to keepers, and to the host where the order was given among them.
    pub dials: (usize, usize),
}

impl fmt::Display for Home {
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |count: usize| count as f64 * 100.0 / self.hosts.max(1) as f64;
        writeln!(
            f,
            "{} hosts, depth {:.1} on average and {} at most; {} died, {} home and verified, {} wrong, {} of the \
             living unsettled",
            self.hosts, self.depth.0, self.depth.1, self.died, self.home, self.wrong, self.unsettled
        )?;
        let results = |kind: &&str| matches!(*kind, "combined" | "reports" | "running");
        let messages: u64 =
            self.received.iter().filter(|(kind, _)| results(kind)).map(|(_, traffic)| traffic.messages).sum();
        writeln!(
            f,
            "at the operator's host: {} streams, {messages} messages, {} B of summaries and {} B of signatures ({:.1} B \
             a result); one by one: {} messages, {} B",
            self.streams,
            self.summary_bytes,
            self.signature_bytes,
            self.signature_bytes as f64 / self.home.max(1) as f64,
            self.alone.messages,
            self.alone.bytes
        )?;
        write!(f, "home:")?;
        for (share, ms) in &self.at_ms {
            write!(f, " {share} % after {ms} ms,")?;
        }
        writeln!(
            f,
            " {:.2} % in the first 4 s, the last after {} ms; {} offered again, {} dials, {} of them to the \
             operator's host",
            share(self.in_four_seconds),
            self.last_ms,
            self.retries,
            self.dials.0,
            self.dials.1
        )?;
        write!(f, "on all links:")?;
        for (kind, traffic) in &self.sent {
            write!(f, " {kind} {} of {} B,", traffic.messages, traffic.bytes)?;
        }
        Ok(())
    }
}

/// What comes next.
#[derive(Debug)]
enum Due {
    Order { from: usize, to: usize },
    Message { from: usize, to: usize, message: Box<Message> },
    Broken { at: usize, peer: usize },
    Dialled { from: usize, to: usize },
    Woken(usize),
    Tick(usize),
    Kept(usize),
}

#[derive(Debug)]
struct Host {
    returns: Returns,
    links: BTreeSet<usize>,
    linked: Vec<HostId>,
    has_order: bool,
    lives: bool,
    settled: bool,
    report: Option<Report>,
    kept: HashMap<HostId, Report>,
    unsaid: Vec<Kept>,
}

struct Play {
    fleet: Fleet,
    replica: Replica,
    order: EntryId,
    asked: Returning,
    hosts: Vec<Host>,
    due: BinaryHeap<Reverse<(u64, u64, usize)>>,
    what: Vec<Option<Due>>,
    now: u64,
    dice: Dice,
    dying: BTreeSet<usize>,
    depth: Vec<usize>,
    came: BTreeMap<usize, u64>,
    sources: BTreeSet<usize>,
    figures: Home,
}

/// Plays it.
///
/// # Errors
/// When the order is not taken, in words.
pub fn home(asked: Returning) -> Result<Home, String> {
    let mut play = Play::new(asked)?;
    play.give();
    play.run();
    Ok(play.result())
}

impl Play {
    fn new(asked: Returning) -> Result<Self, String> {
        let count = asked.hosts;
        let mut fleet = Fleet::found(count);
        let mut dice = Dice::new(asked.seed);
        let mut replica = fleet.replica(count);
        let roster: Vec<usize> = (0..count).collect();
        let keepers: Vec<usize> = [0].into_iter().chain((0..3).map(|_| 1 + dice.below(count - 1))).collect();
        let signed = fleet.order(&roster, &keepers, START);
        let order = signed.id();
        let entry = Entry::verify(signed.bytes(), fleet.fleet()).map_err(|error| error.to_string())?;
        replica.merge(entry, &[]).map_err(|refusal| refusal.to_string())?;
        let host = |at: usize| Host {
            returns: Returns::new(fleet.id(at)),
            links: BTreeSet::new(),
            linked: Vec::new(),
            has_order: false,
            lives: true,
            settled: false,
            report: None,
            kept: HashMap::new(),
            unsaid: Vec::new(),
        };
        let mut dying = BTreeSet::new();
        while dying.len() < count * asked.die / 1000 {
            dying.insert(1 + dice.below(count - 1));
        }
        let mut play = Self {
            hosts: (0..count).map(host).collect(),
            fleet,
            replica,
            order,
            asked,
            due: BinaryHeap::new(),
            what: Vec::new(),
            now: 0,
            dice,
            dying,
            depth: vec![0; count],
            came: BTreeMap::new(),
            sources: BTreeSet::new(),
            figures: Home { hosts: count, ..Home::default() },
        };
        play.connect();
        Ok(play)
    }

    /// Links as routing would have them: the successor and a few at random; the first host has as many as asked.
    fn connect(&mut self) {
        let count = self.hosts.len();
        for at in 0..count {
            self.join(at, (at + 1) % count);
            for _ in 0..DIALLED {
                let other = self.dice.below(count);
                self.join(at, other);
            }
        }
        while self.hosts[0].links.len() > self.asked.links {
            let Some(last) = self.hosts[0].links.pop_last() else { break };
            self.hosts[last].links.remove(&0);
        }
        while self.hosts[0].links.len() < self.asked.links.min(count - 1) {
            let other = self.dice.below(count);
            self.join(0, other);
        }
        for at in 0..count {
            self.look(at);
            let phase = self.dice.below(usize::try_from(TICK_MS).unwrap_or(1)) as u64;
            self.schedule(phase, Due::Tick(at));
        }
    }

    fn join(&mut self, a: usize, b: usize) {
        if a != b {
            self.hosts[a].links.insert(b);
            self.hosts[b].links.insert(a);
        }
    }

    fn look(&mut self, at: usize) {
        let mut linked: Vec<HostId> = self.hosts[at].links.iter().map(|peer| self.fleet.id(*peer)).collect();
        linked.sort_unstable();
        self.hosts[at].linked = linked;
    }

    fn schedule(&mut self, after: u64, due: Due) {
        let number = self.what.len();
        self.what.push(Some(due));
        self.due.push(Reverse((self.now + after, number as u64, number)));
    }

    fn time(&self) -> Timestamp {
        Timestamp(START.0 + self.now)
    }

    fn number(&self, host: &HostId) -> usize {
        self.fleet.number(host).unwrap_or(0)
    }

    fn give(&mut self) {
        self.receive(None, 0);
    }

    fn run(&mut self) {
        while let Some(Reverse((at, _, number))) = self.due.pop() {
            if at > OVER_MS || self.is_over() {
                return;
            }
            self.now = at;
            if let Some(due) = self.what[number].take() {
                self.happen(due);
            }
        }
    }

    /// Whether all that will come has come, and those that live know it.
    fn is_over(&self) -> bool {
        self.came.len() + self.dying.len() >= self.hosts.len()
            && self.figures.unsettled == 0
            && self.hosts.iter().all(|host| !host.lives || host.settled)
    }

    fn happen(&mut self, due: Due) {
        let now = self.time();
        match due {
            Due::Order { from, to } => {
                if self.hosts[to].lives {
                    self.receive(Some(from), to);
                }
            }
            Due::Message { from, to, message } => {
                // What was on its way to a host that is gone is gone; what it sent before arrives.
                if self.hosts[to].lives {
                    self.hear(from, to, *message);
                }
            }
            Due::Broken { at, peer } => {
                if self.hosts[at].lives && self.hosts[at].links.remove(&peer) {
                    self.look(at);
                    let peer = self.fleet.id(peer);
                    let Host { returns, linked, .. } = &mut self.hosts[at];
                    let returned = returns.unlinked(peer, now, &self.replica, linked);
                    self.perform(at, returned);
                }
            }
            Due::Dialled { from, to } => {
                if self.hosts[from].lives && self.hosts[to].lives {
                    self.join(from, to);
                    for (at, peer) in [(from, to), (to, from)] {
                        self.look(at);
                        let peer = self.fleet.id(peer);
                        let returned = self.hosts[at].returns.linked(peer, now, &self.replica);
                        self.perform(at, returned);
                    }
                }
            }
            Due::Woken(at) => {
                if self.hosts[at].lives {
                    let returned = self.hosts[at].returns.woken(now, &self.replica);
                    self.perform(at, returned);
                }
            }
            Due::Tick(at) => {
                if self.hosts[at].lives {
                    let Host { returns, linked, .. } = &mut self.hosts[at];
                    let before = returns.offered_again();
                    let returned = returns.tick(now, &self.replica, linked);
                    self.figures.retries += returns.offered_again() - before;
                    self.perform(at, returned);
                    self.schedule(TICK_MS, Due::Tick(at));
                }
            }
            Due::Kept(at) => {
                let unsaid = std::mem::take(&mut self.hosts[at].unsaid);
                for kept in unsaid.chunks(RECEIPT_REPORTS_MAX) {
                    if let Some(receipt) = self.fleet.receipt(at, kept) {
                        let returned = self.hosts[at].returns.kept(&receipt, &self.replica);
                        self.perform(at, returned);
                    }
                }
            }
        }
    }

    /// The order comes: it is passed on to all who did not send it, and done at once.
    fn receive(&mut self, from: Option<usize>, at: usize) {
        let now = self.time();
        if let Some(from) = from {
            let peer = self.fleet.id(from);
            if self.hosts[at].has_order {
                self.hosts[at].returns.comes_again(self.order, peer);
                return;
            }
            self.hosts[at].returns.came(self.order, peer);
            self.depth[at] = self.depth[from] + 1;
        }
        self.hosts[at].has_order = true;
        let peers: Vec<usize> =
            self.hosts[at].links.iter().copied().filter(|peer| Some(*peer) != from).collect();
        for to in peers {
            self.schedule(self.asked.link_ms, Due::Order { from: at, to });
        }
        if self.dying.contains(&at) {
            self.die(at);
            return;
        }
        let Some(report) = self.report(at) else { return };
        self.hosts[at].report = Some(report.clone());
        let me = self.fleet.id(at);
        let Host { returns, linked, .. } = &mut self.hosts[at];
        let mut returned = returns.running(None, self.order, vec![me], now, &self.replica, linked);
        returned.extend(returns.own(vec![report], now, &self.replica, linked));
        self.perform(at, returned);
    }

    /// Almost all say the same; a few fail, each in one of some ways.
    fn report(&mut self, at: usize) -> Option<Report> {
        let skew = self.dice.roll() % (2 * SKEW_MS);
        let (code, printed) = match self.dice.below(200) {
            0 => (1, "no such file\n".to_owned()),
            1 => (1, "disk full\n".to_owned()),
            2 => (0, format!("done, {} left\n", self.dice.below(3))),
            _ => (0, "done\n".to_owned()),
        };
        let length = printed.len() as u64;
        let record = ResultRecord {
            order: self.order,
            host: self.fleet.id(at),
            outcome: Outcome::Exited { code },
            started: Timestamp(START.0 + self.now + skew),
            took_ms: 1 + self.dice.roll() % 8,
            stdout: Output {
                hash: *blake3::hash(printed.as_bytes()).as_bytes(),
                kept: length,
                produced: length,
            },
            stderr: Output { hash: *blake3::hash(b"").as_bytes(), kept: 0, produced: 0 },
            left_behind: 0,
        };
        let (order, host) = (record.order, record.host);
        let signed = self.fleet.result(at, record)?;
        let stdout = Some(Bytes::from(printed.as_bytes()));
        Some(Report {
            order,
            host,
            record: Bytes::from(signed.bytes()),
            stdout,
            stderr: Some(Bytes::default()),
        })
    }

    fn die(&mut self, at: usize) {
        self.hosts[at].lives = false;
        self.figures.died += 1;
        let after = if self.asked.heard { self.asked.link_ms } else { SILENT_MS };
        let peers: Vec<usize> = self.hosts[at].links.iter().copied().collect();
        for peer in peers {
            self.schedule(after, Due::Broken { at: peer, peer: at });
        }
    }

    fn hear(&mut self, from: usize, to: usize, message: Message) {
        let (now, peer) = (self.time(), self.fleet.id(from));
        if to == 0 {
            self.count(from, &message);
        }
        let Host { returns, linked, .. } = &mut self.hosts[to];
        let returned = match message {
            Message::Reports { reports } => returns.reports(peer, reports, now, &self.replica, linked),
            Message::Combined { order, rows, working } => {
                let Ok((reports, hosts)) = returns.combined(order, &rows, working.as_ref(), &self.replica)
                else {
                    self.figures.wrong += 1;
                    return;
                };
                let mut returned = returns.reports(peer, reports, now, &self.replica, linked);
                returned.extend(returns.running(Some(peer), order, hosts, now, &self.replica, linked));
                returned
            }
            Message::Running { order, hosts } => {
                returns.running(Some(peer), order, hosts, now, &self.replica, linked)
            }
            Message::Settled { receipt } => {
                returns.settled(peer, &receipt.0, &self.replica).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        self.perform(to, returned);
    }

    /// What comes to where the order was given.
    fn count(&mut self, from: usize, message: &Message) {
        let bytes = (wire::encode(message).len() + FRAME_HEADER_BYTES) as u64;
        let sum = self.figures.received.entry(name_of(message)).or_default();
        (sum.messages, sum.bytes) = (sum.messages + 1, sum.bytes + bytes);
        let signatures = match message {
            Message::Combined { rows, .. } => rows.iter().map(|row| row.signature_bytes() as u64).sum(),
            Message::Reports { reports } => reports.len() as u64 * 64,
            Message::Running { .. } => 0,
            _ => return,
        };
        self.sources.insert(from);
        self.figures.signature_bytes += signatures;
        self.figures.summary_bytes += bytes - signatures;
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        let bytes = (wire::encode(&message).len() + FRAME_HEADER_BYTES) as u64;
        let sum = self.figures.sent.entry(name_of(&message)).or_default();
        (sum.messages, sum.bytes) = (sum.messages + 1, sum.bytes + bytes);
        self.schedule(self.asked.link_ms, Due::Message { from, to, message: Box::new(message) });
    }

    fn perform(&mut self, at: usize, returned: Vec<Returned>) {
        for one in returned {
            match one {
                Returned::Send(peer, message) => {
                    let to = self.number(&peer);
                    if self.hosts[at].links.contains(&to) {
                        self.send(at, to, message);
                    }
                }
                Returned::Keep(reports) => self.keep(at, reports),
                Returned::Settle(_) => self.hosts[at].settled = true,
                Returned::Running(..) => {}
                Returned::Reach(keeper) => {
                    let to = self.number(&keeper);
                    if !self.hosts[at].links.contains(&to) {
                        self.figures.dials.0 += 1;
                        self.figures.dials.1 += usize::from(to == 0);
                        self.schedule(DIAL_LINKS * self.asked.link_ms, Due::Dialled { from: at, to });
                    }
                }
                Returned::Pass(peer, kept) => {
                    let to = self.number(&peer);
                    let reports = kept.iter().filter_map(|(_, host)| self.hosts[at].kept.get(host).cloned());
                    for message in in_messages(reports.collect(), &self.replica) {
                        self.send(at, to, message);
                    }
                }
                Returned::Wake(within) => {
                    self.schedule(u64::try_from(within.as_millis()).unwrap_or(0), Due::Woken(at));
                }
            }
        }
    }

    fn keep(&mut self, at: usize, reports: Vec<Report>) {
        for report in reports {
            let number = self.number(&report.host);
            if at == 0 && !self.came.contains_key(&number) {
                self.check(number, &report);
            }
            if self.hosts[at].unsaid.is_empty() {
                self.schedule(DISK_MS, Due::Kept(at));
            }
            self.hosts[at].unsaid.push(report.kept());
            self.hosts[at].kept.insert(report.host, report);
        }
    }

    /// What the command line does with each.
    fn check(&mut self, number: usize, report: &Report) {
        let verified = Signed::<ResultRecord>::verify(&report.record.0, self.fleet.fleet());
        let good = verified.is_ok_and(|record| Some(record.signer()) == self.fleet.executor(number));
        if !good || self.hosts[number].report.as_ref() != Some(report) {
            self.figures.wrong += 1;
            return;
        }
        self.came.insert(number, self.now);
        for message in [
            Message::Reports { reports: vec![report.clone()] },
            Message::Running { order: report.order, hosts: vec![report.host] },
        ] {
            self.figures.alone.messages += 1;
            self.figures.alone.bytes += (wire::encode(&message).len() + FRAME_HEADER_BYTES) as u64;
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn result(mut self) -> Home {
        let mut times: Vec<u64> = self.came.values().copied().collect();
        times.sort_unstable();
        let count = self.hosts.len();
        for share in [50, 95] {
            if let Some(at) = times.get((count * usize::from(share)).div_ceil(100).saturating_sub(1)) {
                self.figures.at_ms.insert(share, *at);
            }
        }
        self.figures.last_ms = times.last().copied().unwrap_or(0);
        self.figures.in_four_seconds = times.iter().filter(|at| **at <= 4_000).count();
        self.figures.home = times.len();
        self.figures.streams = self.sources.len();
        self.figures.unsettled = self.hosts.iter().filter(|host| host.lives && !host.settled).count();
        let sum: usize = self.depth.iter().sum();
        self.figures.depth =
            (sum as f64 / count.max(1) as f64, self.depth.iter().copied().max().unwrap_or(0));
        self.figures
    }
}
