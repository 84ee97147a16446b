//! Hosts, links and time on one thread.
//!
//! Links are streams, as TCP makes them: in order, and whole while they last. So nothing is lost by itself: a
//! link breaks, or stalls, or leads into a black hole where what is sent waits and neither end hears of it
//! until it gives up. Time is a queue of what comes next; nothing happens between two of its entries.
#![expect(clippy::indexing_slicing, reason = "hosts are numbered by the network itself, and none goes away")]

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque},
    sync::Arc,
};

use super::{
    dice::Dice,
    facets::Published,
    fleet::{Fleet, START},
    host::{Host, Stream},
    report::{Counts, Report, name_of},
    shared::Shared,
    verifier::Verifier,
};
use crate::{
    authority::{MemberList, Refusal},
    identity::{EntryId, HostId, Signed, peek},
    replica::{Arrived, Entry, Item, Merged, Order, Place, RECEIPT_REPORTS_MAX, Replica},
    routing::{Candidate, Neighbours},
    sync::{Effect, Event, MESSAGE_BYTES_MAX, Machine, Message, in_messages},
    time::Timestamp,
    wire::{self, FRAME_HEADER_BYTES},
};

/// A stream that lasted so long proves that two hosts get on; the driver's figure.
const CALM_MS: u64 = 10_000;
/// How long who misbehaved is shunned; the driver's figure.
const SHUNNED_FOR_MS: u64 = 600_000;
/// How often what has expired is swept out; the driver's figure.
const SWEEP_EVERY_S: u64 = 600;
/// A link too many is given up only after so long without traffic; the driver's figure.
const QUIET_MS: u64 = 3_000;
/// A dial that nobody answers ends after so long.
const DIAL_WITHIN_MS: u64 = 10_000;
/// What was verified in vain, and is told when it should not have been.
const WHY_MAX: usize = 8;
/// One message of so many is encoded, decoded and compared.
const READ_BACK_EVERY: u64 = 8;

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Deliver(u64),
    Tick { host: usize, life: u64 },
    Flush { host: usize, life: u64 },
    Woken { host: usize, life: u64 },
    Dialled { from: usize, to: usize, life: u64 },
}

#[derive(Debug)]
enum Parcel {
    Message { message: Box<Message>, bytes: usize },
    End,
}

/// One way of a stream.
#[derive(Debug)]
struct Pipe {
    from: usize,
    to: usize,
    serial: u64,
    queue: VecDeque<(u64, Parcel)>,
    last: u64,
    armed: bool,
    stalled_until: u64,
}

/// What the network is like now.
#[derive(Clone, Debug)]
pub struct Weather {
    /// Least delay of a message, in milliseconds.
    pub delay_ms: u64,
    /// What chance adds at most.
    pub jitter_ms: u64,
    /// Which island each host is on.
    pub islands: Vec<usize>,
    /// Pairs between which nothing arrives.
    pub holes: BTreeSet<(usize, usize)>,
    /// How long what is written takes to the disk at most.
    pub lag_ms: u64,
}

/// The whole.
#[derive(Debug)]
pub struct Network {
    /// Keys and entries.
    pub fleet: Fleet,
    hosts: Vec<Host>,
    pipes: BTreeMap<u64, Pipe>,
    due: BinaryHeap<Reverse<(u64, u64, Due)>>,
    count: u64,
    now: u64,
    dice: Dice,
    verifier: Verifier,
    shared: Shared,
    /// What the network is like.
    pub weather: Weather,
    /// Whether routing is asleep: no link is made or given up.
    pub still: bool,
    /// How much time lies between two ticks of a host, in milliseconds.
    pub tick_ms: u64,
    report: Report,
    before: Vec<Counts>,
    /// What each host acknowledged to who handed it over.
    acknowledged: BTreeMap<EntryId, (usize, Place)>,
    /// All that was handed over anywhere.
    submitted: Vec<Item>,
    /// What must never happen, and did.
    violations: Vec<String>,
    trace: u64,
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

impl Network {
    /// All of the fleet's hosts, down, without links; the first `members` belong to it.
    pub fn new(fleet: Fleet, members: usize, seed: u64) -> Self {
        let replica = Arc::new(fleet.replica(members));
        let host = |at: usize| {
            let me = fleet.id(at);
            Host::new(me, Machine::new(me, [0; 8]), Arc::clone(&replica), START)
        };
        let count = fleet.len();
        Self {
            hosts: (0..count).map(host).collect(),
            pipes: BTreeMap::new(),
            due: BinaryHeap::new(),
            count: 0,
            now: 0,
            dice: Dice::new(seed),
            verifier: Verifier::new(fleet.fleet()),
            shared: Shared::default(),
            weather: Weather {
                delay_ms: 1,
                jitter_ms: 80,
                islands: vec![0; count],
                holes: BTreeSet::new(),
                lag_ms: 200,
            },
            still: false,
            tick_ms: 1000,
            report: Report { hosts: vec![Counts::default(); count], ..Report::default() },
            before: vec![Counts::default(); count],
            acknowledged: BTreeMap::new(),
            submitted: Vec::new(),
            violations: Vec::new(),
            trace: 0,
            fleet,
        }
    }

    /// A host.
    pub fn host(&self, at: usize) -> &Host {
        &self.hosts[at]
    }

    /// All hosts.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Takes a host's address away, before it is started: it can only dial.
    pub fn only_dials(&mut self, at: usize) {
        self.hosts[at].dials_only = true;
    }

    /// Sets a host's clock, so many milliseconds from the right time.
    pub fn set_clock(&mut self, at: usize, off_ms: i64) {
        self.hosts[at].skew_ms = off_ms;
    }

    /// A host's clock.
    pub fn clock(&self, at: usize) -> Timestamp {
        self.hosts[at].clock(self.now())
    }

    /// A host, to change what it is before it is started.
    pub(super) fn host_mut(&mut self, at: usize) -> &mut Host {
        &mut self.hosts[at]
    }

    /// The right time.
    pub fn now(&self) -> Timestamp {
        Timestamp(START.0 + self.now)
    }

    /// What acknowledged entries there are, where each was handed over, and its place.
    pub fn acknowledged(&self) -> &BTreeMap<EntryId, (usize, Place)> {
        &self.acknowledged
    }

    /// All that was handed over at any host, in that order.
    pub fn submitted(&self) -> &[Item] {
        &self.submitted
    }

    /// What must never happen, and did.
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// A hash of all that was said, by whom, to whom and when: two runs of one seed have the same.
    pub fn trace(&self) -> u64 {
        self.trace
    }

    /// Counts a fault.
    pub(super) fn struck(&mut self, kind: &'static str) {
        *self.report.faults.entry(kind).or_default() += 1;
    }

    /// What was counted so far.
    pub fn report(&self) -> Report {
        let links = self.links().len();
        Report { passed_ms: self.now, links, ..self.report.clone() }
    }

    /// What all hosts did from the beginning, whatever was forgotten in between.
    pub fn totals(&self) -> Counts {
        let mut totals = Counts::default();
        for host in &self.totals_by_host() {
            totals.add(host);
        }
        totals
    }

    /// What each did.
    pub fn totals_by_host(&self) -> Vec<Counts> {
        let sum = |(before, since): (&Counts, &Counts)| {
            let mut sum = before.clone();
            sum.add(since);
            sum
        };
        self.before.iter().zip(&self.report.hosts).map(sum).collect()
    }

    /// Whether a host ever crashed.
    pub fn crashed(&self, at: usize) -> bool {
        self.hosts[at].crashes > 0
    }

    /// Begins to count anew.
    pub fn forget_counts(&mut self) {
        self.before = self.totals_by_host();
        let faults = std::mem::take(&mut self.report.faults);
        self.report =
            Report { hosts: vec![Counts::default(); self.hosts.len()], faults, ..Report::default() };
    }

    /// All pairs of which one end at least has a stream.
    pub fn links(&self) -> BTreeSet<(usize, usize)> {
        let ends = |(at, host): (usize, &Host)| -> Vec<(usize, usize)> {
            host.streams.keys().map(|peer| pair(at, *peer)).collect()
        };
        self.hosts.iter().enumerate().flat_map(ends).collect()
    }

    fn open(&self, a: usize, b: usize) -> bool {
        self.weather.islands[a] == self.weather.islands[b] && !self.weather.holes.contains(&pair(a, b))
    }

    fn schedule(&mut self, at: u64, due: Due) {
        self.count += 1;
        self.due.push(Reverse((at.max(self.now), self.count, due)));
    }

    fn delay(&mut self) -> u64 {
        self.weather.delay_ms + self.dice.roll() % (self.weather.jitter_ms + 1)
    }

    // ---- hosts

    /// Starts a host with what is on its disk.
    pub fn start(&mut self, at: usize) {
        if self.hosts[at].up {
            return;
        }
        let me = self.fleet.id(at);
        let right = self.now();
        let phase = self.dice.roll() % 1000;
        let machine = Machine::new(me, self.dice.roll().to_le_bytes());
        let host = &mut self.hosts[at];
        if host.life > 0 {
            let mut replica = (*host.base).clone();
            host.disk.load(&mut replica);
            host.replica = Arc::new(replica);
        }
        let now = host.clock(right);
        host.machine = machine;
        host.routing = Neighbours::new(me, now);
        host.kept = host.disk.reports().map(|report| ((report.order, report.host), report.clone())).collect();
        host.up = true;
        host.life += 1;
        let life = host.life;
        let owed = host.owed();
        let unsettled: Vec<_> = host.unsettled.values().cloned().collect();
        self.report.hosts[at].starts += 1;
        self.schedule(self.now + phase, Due::Tick { host: at, life });
        self.write_soon(at, true);
        self.handle(at, Event::Owed(owed));
        if !unsettled.is_empty() {
            self.handle(at, Event::Results(unsettled));
        }
    }

    /// Ends a host at once. What was not on its disk yet is lost; with `silent` its neighbours hear nothing,
    /// as when the power goes.
    pub fn crash(&mut self, at: usize, silent: bool) {
        if !self.hosts[at].up {
            return;
        }
        let written = self.dice.below(self.hosts[at].disk.waiting() + 1);
        self.flush(at, written, false);
        let host = &mut self.hosts[at];
        self.report.hosts[at].lost += host.disk.lose();
        host.up = false;
        host.crashes += 1;
        host.taken.clear();
        host.shunned.clear();
        host.candidates = None;
        host.seen_running.clear();
        for (peer, stream) in std::mem::take(&mut host.streams) {
            self.part(at, peer, stream.serial, silent);
        }
    }

    /// The end at `at` is gone: nothing comes to it any more, and the other hears of it unless `silent`.
    fn part(&mut self, at: usize, peer: usize, serial: u64, silent: bool) {
        self.pipes.remove(&pipe_id(serial, peer > at));
        if silent {
            self.pipes.remove(&pipe_id(serial, at > peer));
        } else {
            self.put(at, peer, serial, Parcel::End);
        }
    }

    /// Breaks a link: both ends hear of it at once.
    pub fn cut(&mut self, a: usize, b: usize) {
        for (at, peer) in [(a, b), (b, a)] {
            if let Some(stream) = self.hosts[at].streams.remove(&peer) {
                self.pipes.remove(&pipe_id(stream.serial, at > peer));
                self.pipes.remove(&pipe_id(stream.serial, peer > at));
                self.lost(at);
                self.handle(at, Event::Broken(self.fleet.id(peer)));
            }
        }
    }

    /// For so long nothing moves on a link, either way; then all of it does.
    pub fn stall(&mut self, a: usize, b: usize, ms: u64) {
        let until = self.now + ms;
        for pipe in self.pipes.values_mut().filter(|pipe| pair(pipe.from, pipe.to) == pair(a, b)) {
            pipe.stalled_until = until;
        }
    }

    fn lost(&mut self, at: usize) {
        let right = self.now();
        let host = &mut self.hosts[at];
        let now = host.clock(right);
        host.routing.lost(now);
    }

    /// Wakes what waited, after the weather changed.
    pub fn weather_changed(&mut self) {
        let idle: Vec<u64> =
            self.pipes.iter().filter(|(_, p)| !p.armed && !p.queue.is_empty()).map(|(id, _)| *id).collect();
        for id in idle {
            let delay = self.delay();
            if let Some(pipe) = self.pipes.get_mut(&id) {
                pipe.armed = true;
            }
            self.schedule(self.now + delay, Due::Deliver(id));
        }
    }

    /// What a host is told when it joins, before it is started for the first time.
    pub fn install(&mut self, at: usize, told: &[Item]) {
        let mut replica = self.fleet.bare_replica();
        for item in told {
            if let Some(entry) = self.verifier.verify(item) {
                // In the order in which they can be applied.
                let _merged = replica.merge(entry, &item.facets);
            }
        }
        let host = &mut self.hosts[at];
        host.base = Arc::new(replica);
        host.replica = Arc::clone(&host.base);
    }

    /// Gives all hosts, before they are started, the heads of all. Replicas are shared from here on.
    pub(super) fn furnish(&mut self, published: impl Fn(usize, &Replica) -> Published) {
        let mut replica = self.fleet.replica(self.hosts.len());
        for (at, host) in self.hosts.iter_mut().enumerate() {
            host.place = (0, 1);
            let published = published(at, &replica);
            let item = self.fleet.head(at, host.place, None, START, &published);
            if let Some((entry, item)) = item.and_then(|item| Some((self.verifier.verify(&item)?, item))) {
                // What is not taken is missing when the fleet is looked at.
                let _merged = replica.merge(entry, &item.facets);
            }
        }
        replica.take_facet_changes();
        let replica = Arc::new(replica);
        for host in &mut self.hosts {
            host.base = Arc::clone(&replica);
            host.replica = Arc::clone(&replica);
        }
        self.shared.on = true;
    }

    // ---- links

    /// Makes a link, as a dial would.
    pub fn link(&mut self, from: usize, to: usize) {
        self.connect(from, to);
    }

    fn dial(&mut self, from: usize, to: usize) {
        let answers = self.open(from, to);
        let within = if answers { 2 * self.delay() } else { DIAL_WITHIN_MS };
        let life = self.hosts[from].life;
        self.schedule(self.now + within, Due::Dialled { from, to, life });
    }

    /// Whether a host knows another as a member and does not shun it.
    fn welcomes(&self, at: usize, other: usize) -> bool {
        let (host, id) = (&self.hosts[at], self.fleet.id(other));
        host.up
            && !host.shunned.contains_key(&other)
            && host
                .replica
                .authority()
                .host(&id)
                .is_some_and(|member| member.standing() == crate::authority::Standing::Member)
    }

    fn connect(&mut self, from: usize, to: usize) -> bool {
        let may = from != to
            && self.open(from, to)
            && !self.hosts[to].dials_only
            && self.welcomes(to, from)
            && self.welcomes(from, to);
        if !may || self.hosts[from].streams.contains_key(&to) {
            return may;
        }
        // An older stream of which only the other end knows ends with the new one.
        if let Some(old) = self.hosts[to].streams.remove(&from) {
            self.pipes.remove(&pipe_id(old.serial, from > to));
            self.pipes.remove(&pipe_id(old.serial, to > from));
            self.handle(to, Event::Down(self.fleet.id(from)));
        }
        self.count += 1;
        let serial = self.count;
        for (at, peer, dialled) in [(from, to, true), (to, from, false)] {
            let pipe = Pipe {
                from: at,
                to: peer,
                serial,
                queue: VecDeque::new(),
                last: 0,
                armed: false,
                stalled_until: 0,
            };
            self.pipes.insert(pipe_id(serial, at > peer), pipe);
            let stream = Stream { serial, dialled, since: self.now, proved: false };
            self.hosts[at].streams.insert(peer, stream);
        }
        self.handle(from, Event::Up(self.fleet.id(to)));
        self.handle(to, Event::Up(self.fleet.id(from)));
        true
    }

    fn put(&mut self, from: usize, to: usize, serial: u64, parcel: Parcel) {
        let delay = self.delay();
        let id = pipe_id(serial, from > to);
        let Some(pipe) = self.pipes.get_mut(&id) else { return };
        let due = pipe.last.max(self.now + delay);
        pipe.last = due;
        pipe.queue.push_back((due, parcel));
        if !pipe.armed {
            pipe.armed = true;
            self.schedule(due, Due::Deliver(id));
        }
    }

    /// Says something, as the machine of `from` would.
    pub(super) fn send(&mut self, from: usize, to: usize, message: Message) {
        let Some(stream) = self.hosts[from].streams.get(&to).copied() else { return };
        let encoded = wire::encode(&message);
        let (kind, bytes) = (name_of(&message), encoded.len() + FRAME_HEADER_BYTES);
        if encoded.len() > MESSAGE_BYTES_MAX {
            self.violations.push(format!("a message {kind} of {bytes} bytes"));
        }
        self.count += 1;
        if self.count.is_multiple_of(READ_BACK_EVERY)
            && wire::decode::<Message>(&encoded, MESSAGE_BYTES_MAX).as_ref() != Ok(&message)
        {
            self.violations.push(format!("a message {kind} does not come back as it was: {message:?}"));
        }
        for word in [self.now, from as u64, to as u64, bytes as u64] {
            self.trace = (self.trace ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        }
        let head = encoded.chunks_exact(8).filter_map(|chunk| chunk.first_chunk::<8>());
        for chunk in head {
            self.trace = (self.trace ^ u64::from_le_bytes(*chunk)).wrapping_mul(0x0100_0000_01b3);
        }
        self.report.hosts[from].sent(kind, bytes);
        if !matches!(kind, "hello" | "ping" | "pong") {
            self.hosts[from].busy = self.now;
        }
        self.put(from, to, stream.serial, Parcel::Message { message: Box::new(message), bytes });
    }

    // ---- what happens

    /// Lets so much time pass.
    pub fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        while let Some(Reverse((at, _, due))) = self.due.peek().copied() {
            if at > end {
                break;
            }
            self.due.pop();
            self.now = self.now.max(at);
            self.happen(due);
        }
        self.now = end;
    }

    /// Lets time pass until it holds, at most so long; looked at every second.
    pub fn until(&mut self, seconds: u64, mut holds: impl FnMut(&mut Self) -> bool) -> bool {
        for _ in 0..seconds {
            if holds(self) {
                return true;
            }
            self.run(1000);
        }
        holds(self)
    }

    /// So much time passes in which nothing happens anywhere, as if all machines slept.
    pub fn leap(&mut self, ms: u64) {
        self.now += ms;
    }

    fn lives(&self, host: usize, life: u64) -> bool {
        self.hosts.get(host).is_some_and(|host| host.up && host.life == life)
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Deliver(id) => self.deliver(id),
            Due::Tick { host, life } if self.lives(host, life) => {
                self.schedule(self.now + self.tick_ms, due);
                self.tick(host);
            }
            Due::Flush { host, life } if self.lives(host, life) => {
                self.settle(host);
            }
            Due::Woken { host, life } if self.lives(host, life) => self.handle(host, Event::Woken),
            Due::Dialled { from, to, life } if self.lives(from, life) => {
                let reached = self.connect(from, to);
                let right = self.now();
                let now = self.hosts[from].clock(right);
                let id = self.fleet.id(to);
                let Self { hosts, dice, .. } = self;
                hosts[from].routing.dialled(id, reached, now, &mut || dice.roll());
            }
            Due::Tick { .. } | Due::Woken { .. } | Due::Flush { .. } | Due::Dialled { .. } => {}
        }
    }

    fn deliver(&mut self, id: u64) {
        let Some(pipe) = self.pipes.get(&id) else { return };
        let (from, to, serial, stalled) = (pipe.from, pipe.to, pipe.serial, pipe.stalled_until);
        let open = self.open(from, to);
        let Some(pipe) = self.pipes.get_mut(&id) else { return };
        if stalled > self.now {
            self.schedule(stalled, Due::Deliver(id));
            return;
        }
        if !open {
            // Waits for better weather.
            pipe.armed = false;
            return;
        }
        let Some((_, parcel)) = pipe.queue.pop_front() else {
            pipe.armed = false;
            return;
        };
        let next = pipe.queue.front().map(|(due, _)| *due);
        pipe.armed = next.is_some();
        if let Some(next) = next {
            self.schedule(next, Due::Deliver(id));
        }
        let host = &mut self.hosts[to];
        let current = host.streams.get(&from).is_some_and(|stream| stream.serial == serial);
        if !host.up || !current {
            // Nobody is there any more: the other end learns it when it sends, as a reset would tell.
            self.pipes.remove(&id);
            self.pipes.remove(&pipe_id(serial, to > from));
            let knows = self.hosts[from].streams.get(&to).is_some_and(|stream| stream.serial == serial);
            if knows {
                self.hosts[from].streams.remove(&to);
                self.lost(from);
                self.handle(from, Event::Broken(self.fleet.id(to)));
            }
            return;
        }
        match parcel {
            Parcel::End => {
                let stream = host.streams.remove(&from);
                self.pipes.remove(&id);
                self.pipes.remove(&pipe_id(serial, to > from));
                if stream.is_some_and(|stream| !stream.proved) {
                    let right = self.now();
                    let id = self.fleet.id(from);
                    let Self { hosts, dice, .. } = self;
                    let now = hosts[to].clock(right);
                    hosts[to].routing.dialled(id, false, now, &mut || dice.roll());
                }
                self.lost(to);
                self.handle(to, Event::Broken(self.fleet.id(from)));
            }
            Parcel::Message { message, bytes } => {
                let counts = &mut self.report.hosts[to];
                counts.received(name_of(&message), bytes);
                counts.payload += message.payload() as u64;
                self.handle(to, Event::Message(self.fleet.id(from), *message));
            }
        }
    }

    fn tick(&mut self, at: usize) {
        let right = self.now();
        let (now_ms, me) = (self.now, self.fleet.id(at));
        let host = &mut self.hosts[at];
        let now = host.clock(right);
        let mut proved = Vec::new();
        for (peer, stream) in &mut host.streams {
            if !stream.proved && now_ms.saturating_sub(stream.since) > CALM_MS {
                stream.proved = true;
                proved.push(*peer);
            }
        }
        host.shunned.retain(|_, until| *until > now_ms);
        for peer in proved {
            let id = self.fleet.id(peer);
            self.hosts[at].routing.proved(&id);
        }
        self.handle(at, Event::Tick);
        if (self.now / 1000).is_multiple_of(SWEEP_EVERY_S) {
            let host = &mut self.hosts[at];
            // Most often there is nothing, and a shared replica stays shared.
            if host.replica.orders().any(|order| Replica::is_past(Some(order.body().expires), now)) {
                Arc::make_mut(&mut host.replica).sweep(now);
            }
        }
        if !self.still {
            self.route(at, me, now);
        }
    }

    fn route(&mut self, at: usize, me: HostId, now: Timestamp) {
        self.look_for_candidates(at, me);
        let mut linked = BTreeMap::new();
        for (peer, stream) in &self.hosts[at].streams {
            linked.insert(self.fleet.id(*peer), stream.dialled);
        }
        let Self { hosts, dice, .. } = self;
        let host = &mut hosts[at];
        let members = host.candidates.as_ref().map_or(&[][..], |(_, members)| members.as_slice());
        let plan = host.routing.step(members, &linked, now, &mut || dice.roll());
        let quiet = self.now.saturating_sub(host.busy) >= QUIET_MS;
        for peer in plan.dial {
            if let Some(to) = self.fleet.number(&peer) {
                self.dial(at, to);
            }
        }
        for peer in plan.drop.into_iter().filter(|_| quiet) {
            if let Some(to) = self.fleet.number(&peer) {
                self.handle(at, Event::GivesUp(peer));
                self.close(at, to);
                self.handle(at, Event::Down(peer));
            }
        }
    }

    fn look_for_candidates(&mut self, at: usize, me: HostId) {
        let version = self.hosts[at].replica.authority_version();
        if self.hosts[at].candidates.as_ref().is_some_and(|(seen, _)| *seen == version) {
            return;
        }
        let candidate = |id: HostId| {
            let host = self.fleet.number(&id).and_then(|number| self.hosts.get(number));
            Candidate { host: id, reachable: host.is_some_and(|host| !host.dials_only) }
        };
        let members = self.hosts[at].replica.authority().members();
        let members = members.map(crate::authority::Host::id).filter(|id| *id != me).map(candidate).collect();
        self.hosts[at].candidates = Some((version, members));
    }

    /// Ends a stream at this end; the other hears of it in its turn.
    fn close(&mut self, at: usize, peer: usize) {
        if let Some(stream) = self.hosts[at].streams.remove(&peer) {
            self.part(at, peer, stream.serial, false);
        }
    }

    /// Writes all that waits now, as a host does before it says that something is done.
    pub(super) fn settle(&mut self, at: usize) {
        let all = self.hosts[at].disk.waiting();
        self.flush(at, all, true);
    }

    fn flush(&mut self, at: usize, count: usize, heard: bool) {
        let flushed = self.hosts[at].disk.flush(count);
        if !heard {
            return;
        }
        for (entry, place) in flushed.acknowledged {
            self.acknowledged.insert(entry, (at, place));
        }
        for kept in flushed.kept.chunks(RECEIPT_REPORTS_MAX) {
            if let Some(receipt) = self.fleet.receipt(at, kept) {
                self.handle(at, Event::Kept(receipt));
            }
        }
    }

    fn write_soon(&mut self, at: usize, was_idle: bool) {
        if was_idle && !self.hosts[at].disk.is_idle() {
            let lag = self.dice.roll() % (self.weather.lag_ms + 1);
            let life = self.hosts[at].life;
            self.schedule(self.now + lag, Due::Flush { host: at, life });
        }
    }

    /// Hands something over at a host. Whether it was taken.
    pub fn submit(&mut self, at: usize, item: Item) -> bool {
        if !self.hosts[at].up {
            return false;
        }
        let Some(entry) = self.verifier.verify(&item) else { return false };
        self.submitted.push(item.clone());
        let mut events = VecDeque::new();
        // The command line hands over the list with the order.
        if let Entry::Order(order) = &entry
            && order.body().roster.list().is_some()
            && let Ok(list) = self.fleet.list()
        {
            Arc::make_mut(&mut self.hosts[at].replica).keep_list(list);
        }
        let was_idle = self.hosts[at].disk.is_idle();
        self.merge(at, None, vec![item.into()], &mut events);
        let taken = self.hosts[at].replica.holds(&entry.id());
        if taken {
            self.hosts[at].disk.acknowledge(entry.id(), entry.place());
        }
        self.write_soon(at, was_idle);
        self.work(at, events);
        taken
    }

    /// Takes the next place of a host's heads.
    pub(super) fn next_place(&mut self, at: usize) -> (u32, u64) {
        let host = &mut self.hosts[at];
        host.place.1 += 1;
        host.place
    }

    /// A host publishes its next head.
    pub fn publish(&mut self, at: usize, published: &Published) -> Option<EntryId> {
        let right = self.now();
        let host = &mut self.hosts[at];
        if !host.up {
            return None;
        }
        let now = host.clock(right);
        let previous = host.replica.head(&self.fleet.id(at)).map(Signed::id);
        let place = self.next_place(at);
        let item = self.fleet.head(at, place, previous, now, published)?;
        let id = peek(&item.entry.0).ok()?.id;
        self.submit(at, item).then_some(id)
    }

    /// The operator's command line hands over at `at` what it signed and that host does not hold.
    pub fn submit_ops(&mut self, at: usize) {
        let ops: Vec<Item> = self
            .fleet
            .ops_of(at)
            .iter()
            .filter(|op| !self.hosts[at].replica.holds(&op.id()))
            .map(|op| Item::bare(op.bytes()))
            .collect();
        for op in ops {
            self.submit(at, op);
        }
    }

    /// The operator's command line hands over an order.
    pub fn submit_order(&mut self, at: usize, order: &Signed<Order>) -> bool {
        self.submit(at, Item::bare(order.bytes()))
    }

    fn merge(&mut self, at: usize, from: Option<usize>, items: Vec<Arrived>, events: &mut VecDeque<Event>) {
        let right = self.now();
        let mut new = Vec::new();
        let mut forged = false;
        for arrived in items {
            let Ok(header) = peek(&arrived.item().entry.0) else { continue };
            let host = &mut self.hosts[at];
            if host.replica.holds(&header.id) {
                continue;
            }
            let counts = &mut self.report.hosts[at];
            if from.is_some() {
                counts.verifications += 1;
                if host.taken.contains(&header.id) {
                    counts.again += 1;
                }
            }
            let Some((entry, item)) = self.verifier.judge(arrived) else {
                forged = true;
                break;
            };
            let merged = if Replica::is_past(entry.expires(), host.clock(right)) {
                None
            } else {
                Some(self.shared.merge(&mut host.replica, &entry, &item))
            };
            if matches!(merged, Some(Ok(Merged::New | Merged::Forked))) {
                if from.is_some() {
                    counts.merged += 1;
                    host.taken.insert(header.id);
                    counts.back += u64::from(!host.ever.insert(header.id));
                }
                if !self.shared.on {
                    let facets = Arc::make_mut(&mut host.replica).take_facet_changes();
                    host.disk.put(&entry, facets);
                }
                new.push((header.id, item));
            } else if from.is_some() {
                counts.in_vain += 1;
                // Two cancelled one order at once: the lower id stands, and only a signature tells that both may.
                let second_best =
                    matches!((&merged, &entry), (Some(Ok(Merged::Known)), Entry::Cancellation(_)));
                // Pushed on while what it follows is still being fetched.
                let early = matches!(merged, Some(Err(Refusal::Gap)));
                counts.second_best += u64::from(second_best);
                counts.early += u64::from(early);
                let why = match merged {
                    None => "past".to_owned(),
                    Some(merged) => format!("{merged:?}"),
                };
                let second = self.now / 1000;
                counts
                    .why_in_vain
                    .push_back(format!("rank {} at {second} s from {from:?}: {why}", entry.rank()));
                if counts.why_in_vain.len() > WHY_MAX {
                    counts.why_in_vain.pop_front();
                }
            }
        }
        if let Some(peer) = from.filter(|_| forged) {
            self.shun(at, peer, "it sent a forged entry", events);
        }
        if new.is_empty() {
            return;
        }
        let ids: Vec<EntryId> = new.iter().map(|(id, _)| *id).collect();
        events.push_back(Event::Merged { from: from.map(|from| self.fleet.id(from)), items: new });
        for order in ids {
            self.execute(at, order, events);
        }
    }

    /// What the executor does with an order for its host: the work is nothing, the result is there at once.
    fn execute(&mut self, at: usize, order: EntryId, events: &mut VecDeque<Event>) {
        let me = self.fleet.id(at);
        let host = &self.hosts[at];
        let mine = host.replica.seats(&order).is_some_and(|seats| seats.contains(&me));
        if !mine || host.settled.contains(&order) || host.unsettled.contains_key(&order) {
            return;
        }
        let now = host.clock(self.now());
        let Some(report) = self.fleet.report(order, at, now) else { return };
        self.hosts[at].unsettled.insert(order, report.clone());
        events.push_back(Event::Working(order));
        events.push_back(Event::Results(vec![report]));
    }

    /// A list came that orders waited for.
    fn keep_list(&mut self, at: usize, list: MemberList, events: &mut VecDeque<Event>) {
        let (id, replica) = (list.id(), Arc::make_mut(&mut self.hosts[at].replica));
        replica.keep_list(Arc::new(list));
        let orders: Vec<EntryId> = replica.orders_of_list(id).collect();
        for order in orders {
            self.execute(at, order, events);
        }
    }

    fn shun(&mut self, at: usize, peer: usize, why: &str, events: &mut VecDeque<Event>) {
        if !self.hosts[peer].lies && !self.hosts[at].lies {
            self.violations.push(format!("{at} shuns {peer}, which is honest: {why}"));
        }
        *self.report.shunned.entry((at, peer)).or_default() += 1;
        self.hosts[at].shunned.insert(peer, self.now + SHUNNED_FOR_MS);
        self.close(at, peer);
        events.push_back(Event::Down(self.fleet.id(peer)));
    }

    fn handle(&mut self, at: usize, event: Event) {
        self.work(at, VecDeque::from([event]));
    }

    fn work(&mut self, at: usize, mut events: VecDeque<Event>) {
        let right = self.now();
        while let Some(event) = events.pop_front() {
            let host = &mut self.hosts[at];
            if !host.up {
                return;
            }
            let now = host.clock(right);
            let effects = host.machine.handle(event, now, &host.replica);
            for effect in effects {
                self.perform(at, effect, &mut events);
            }
        }
    }

    fn perform(&mut self, at: usize, effect: Effect, events: &mut VecDeque<Event>) {
        match effect {
            Effect::Send(peer, message) => {
                if let Some(to) = self.fleet.number(&peer) {
                    self.send(at, to, message);
                }
            }
            Effect::Merge(peer, items) => {
                let was_idle = self.hosts[at].disk.is_idle();
                let from = self.fleet.number(&peer);
                self.merge(at, from, items, events);
                self.write_soon(at, was_idle);
            }
            Effect::Shun(peer, why) => {
                if let Some(peer) = self.fleet.number(&peer) {
                    self.shun(at, peer, why, events);
                }
            }
            Effect::Close(peer, why) => {
                if let Some(to) = self.fleet.number(&peer) {
                    *self.report.closed.entry(why).or_default() += 1;
                    self.lost(at);
                    self.close(at, to);
                    events.push_back(Event::Down(peer));
                }
            }
            Effect::Keep(reports) => {
                let was_idle = self.hosts[at].disk.is_idle();
                let host = &mut self.hosts[at];
                for report in reports {
                    host.kept.insert((report.order, report.host), report.clone());
                    host.disk.keep(report);
                }
                self.write_soon(at, was_idle);
            }
            Effect::Settle(order) => {
                self.hosts[at].unsettled.remove(&order);
                self.hosts[at].settled.insert(order);
            }
            Effect::Running(order, hosts) => {
                self.hosts[at].seen_running.extend(hosts.into_iter().map(|host| (order, host)));
            }
            Effect::Reach(keeper) => {
                if let Some(to) = self.fleet.number(&keeper)
                    && !self.hosts[to].dials_only
                    && !self.hosts[at].streams.contains_key(&to)
                {
                    self.dial(at, to);
                }
            }
            Effect::Wake(within) => {
                let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
                let life = self.hosts[at].life;
                self.schedule(self.now + within, Due::Woken { host: at, life });
            }
            Effect::KeepList(list) => self.keep_list(at, list, events),
            Effect::Pass(peer, kept) => {
                let Some(to) = self.fleet.number(&peer) else { return };
                let host = &self.hosts[at];
                let reports: Vec<_> = kept.iter().filter_map(|key| host.kept.get(key).cloned()).collect();
                for message in in_messages(reports, &host.replica) {
                    self.send(at, to, message);
                }
            }
        }
    }
}

fn pipe_id(serial: u64, downwards: bool) -> u64 {
    serial * 2 + u64::from(downwards)
}
