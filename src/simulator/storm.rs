//! One run: work and faults, then calm; and what must hold afterwards.

use std::{collections::BTreeSet, fmt};

use super::{
    dice::Dice,
    facets::{Packages, Published},
    fleet::Fleet,
    host::Host,
    liar::lie,
    network::Network,
    report::Report,
};
use crate::{
    identity::{EntryId, Signed, peek},
    replica::{Cancellation, Item, Order, Place, Replica, Sections, TipForm, first_hour},
    sync::{Seen, Tables},
    time::Timestamp,
};

/// How long everything may take to be the same everywhere once nothing is wrong any more, in seconds.
const HEALED_WITHIN: u64 = 300;
/// How long results may take to come home after that, in seconds.
const HOME_WITHIN: u64 = 1_200;
/// How long two that lack nothing may still compare, in seconds.
const QUIET_AFTER: u64 = 4_000;
/// How long a host is off before all know it, in milliseconds.
const OFF_FOR: u64 = 60_000;
/// Most bytes that an idle stream carries in ten seconds, both ways together.
pub const IDLE_BYTES_MAX: u64 = 100;

/// Packages of a host. Their list is longer than what rides along with a head.
const PACKAGES: usize = 40;

/// How far off a clock is that is years off.
const YEARS_MS: i64 = 3 * 365 * 24 * 3_600_000;

/// Which faults may strike. Each seed leaves some out, so that others are not hidden by them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each kind of fault is on or off by itself")]
pub struct Faults {
    /// Links break.
    pub breaks: bool,
    /// Links stand still for a while.
    pub stalls: bool,
    /// The network falls into islands.
    pub islands: bool,
    /// Between two hosts nothing arrives any more.
    pub holes: bool,
    /// Hosts are killed.
    pub crashes: bool,
    /// Hosts lose their power: their neighbours hear nothing.
    pub power: bool,
    /// The disk is slow: seconds of writes are lost with a crash.
    pub slow_disk: bool,
    /// Clocks differ by minutes.
    pub clocks: bool,
    /// One host's clock is years off.
    pub years: bool,
    /// Some hosts have no address.
    pub dials_only: bool,
    /// Some hosts become members in the middle.
    pub late: bool,
    /// One member lies.
    pub liar: bool,
}

impl Faults {
    /// What chance makes of it: each kind in one of two runs.
    pub fn of(dice: &mut Dice) -> Self {
        let mut on = || dice.one_in(2);
        Self {
            breaks: on(),
            stalls: on(),
            islands: on(),
            holes: on(),
            crashes: on(),
            power: on(),
            slow_disk: on(),
            clocks: on(),
            years: on(),
            dials_only: on(),
            late: on(),
            liar: on(),
        }
    }
}

/// What did not hold.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which run.
    pub seed: u64,
    /// In words.
    pub what: String,
    /// Its faults.
    pub faults: Faults,
    /// What was counted.
    pub report: Report,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seed, next) = (self.seed, self.seed.saturating_add(1));
        writeln!(f, "seed {seed}: {}", self.what)?;
        writeln!(
            f,
            "repeat: MUSTER_SEEDS={seed}..{next} cargo test --lib simulator::tests::after_any_storm"
        )?;
        writeln!(f, "{:?}", self.faults)?;
        write!(f, "{}", self.report)
    }
}

/// A run in its course.
struct Storm {
    net: Network,
    dice: Dice,
    faults: Faults,
    orders: Vec<(Signed<Order>, usize, Vec<usize>)>,
    published: Vec<u64>,
    packages: Vec<Packages>,
    members: usize,
    /// What the liar published first.
    old: Option<Item>,
}

/// Runs one seed with the faults that it chooses.
///
/// # Errors
/// [`Failure`] says what did not hold.
pub fn storm(seed: u64) -> Result<Report, Box<Failure>> {
    let faults = Faults::of(&mut Dice::new(seed ^ 0xfa_17));
    storm_of(seed, faults).map(|net| net.report())
}

/// Runs one seed with these faults; returns the network as it is at the end.
///
/// # Errors
/// [`Failure`] says what did not hold.
pub fn storm_of(seed: u64, faults: Faults) -> Result<Network, Box<Failure>> {
    let mut storm = Storm::new(seed, faults);
    let held = storm.rage().and_then(|()| storm.calm());
    match held {
        Ok(()) => Ok(storm.net),
        Err(what) => Err(Box::new(Failure { seed, what, faults, report: storm.net.report() })),
    }
}

impl Storm {
    fn new(seed: u64, faults: Faults) -> Self {
        let mut dice = Dice::new(seed ^ 0xabcd);
        let hosts = 4 + dice.below(7);
        let late = if faults.late { 1 + dice.below(2) } else { 0 };
        // Founding cannot fail: its parts are always the same.
        let fleet = Fleet::found(hosts + late);
        let mut net = Network::new(fleet, hosts, seed);
        net.weather.jitter_ms = [5, 80, 400].get(dice.below(3)).copied().unwrap_or(80);
        net.weather.lag_ms = if faults.slow_disk { 4_000 } else { 200 };
        for at in 0..hosts + late {
            let host = net.host_mut(at);
            host.dials_only = faults.dials_only && at > 1 && dice.one_in(3);
            if faults.clocks {
                host.skew_ms = i64::try_from(dice.below(1_200_000)).unwrap_or(0) - 600_000;
            }
        }
        if faults.years {
            let ahead = dice.one_in(2);
            net.host_mut(1).skew_ms = if ahead { YEARS_MS } else { -YEARS_MS };
        }
        net.host_mut(hosts - 1).lies = faults.liar;
        for at in 0..hosts {
            net.start(at);
        }
        let packages = (0..hosts + late).map(|at| Packages::of_image(at as u64 % 2, PACKAGES)).collect();
        Self {
            net,
            dice,
            faults,
            packages,
            orders: Vec::new(),
            published: vec![0; hosts + late],
            members: hosts,
            old: None,
        }
    }

    fn up(&mut self) -> Option<usize> {
        let up: Vec<usize> = (0..self.members).filter(|at| self.net.host(*at).is_up()).collect();
        self.dice.pick(&up).copied()
    }

    /// A host publishes what it now is.
    fn publish(&mut self, at: usize) {
        let Some(count) = self.published.get_mut(at) else { return };
        *count += 1;
        let host = self.net.host(at);
        let mut published = Published::node(at, *count, !host.dials_only);
        if let Some(packages) = self.packages.get_mut(at) {
            packages.upgrade(&mut self.dice);
            published = published.with("deb", &packages.canonical(), host.replica());
        }
        self.net.publish(at, &published);
    }

    fn work(&mut self, second: u64) {
        let Some(at) = self.up() else { return };
        let now = self.net.now();
        match self.dice.below(6) {
            0..=2 => self.publish(at),
            3 => {
                let of = self.dice.below(self.members);
                let value = format!("{second}");
                self.net.fleet.tag(at, of, "role", &value, now);
                self.net.submit_ops(at);
            }
            4 => {
                let roster: Vec<usize> = (0..self.members).filter(|_| !self.dice.one_in(3)).collect();
                let keepers = [at, (at + 1) % self.members, (at + 2) % self.members];
                let order = self.net.fleet.order(&roster, &keepers, now);
                if self.net.submit_order(at, &order) {
                    self.orders.push((order, at, roster));
                }
            }
            _ => {
                if let Some((order, ..)) = self.dice.pick(&self.orders).cloned()
                    && self.net.host(at).replica().order(&order.id()).is_some()
                {
                    let cancellation = self.net.fleet.cancellation(&order, now);
                    self.net.submit(at, Item::bare(cancellation.bytes()));
                }
            }
        }
    }

    fn strike(&mut self) {
        let Some(at) = self.up() else { return };
        let links: Vec<(usize, usize)> = self.net.links().into_iter().collect();
        let link = self.dice.pick(&links).copied();
        let faults = self.faults;
        match (self.dice.below(8), link) {
            (0, Some((a, b))) if faults.breaks => {
                self.net.struck("break");
                self.net.cut(a, b);
            }
            (1, Some((a, b))) if faults.stalls => {
                self.net.struck("stall");
                let ms = 1_000 + self.dice.roll() % 20_000;
                self.net.stall(a, b, ms);
            }
            (2, _) if faults.islands => {
                self.net.struck("islands");
                let count = self.net.hosts().len();
                let islands = (0..count).map(|_| self.dice.below(2)).collect();
                self.net.weather.islands = islands;
                self.net.weather_changed();
            }
            (3, _) if faults.holes => {
                self.net.struck("hole");
                let other = self.dice.below(self.members);
                self.net.weather.holes.insert((at.min(other), at.max(other)));
            }
            (4, _) if faults.crashes => {
                self.net.struck("crash");
                self.net.crash(at, false);
            }
            (5, _) if faults.power => {
                self.net.struck("power");
                self.net.crash(at, true);
            }
            (6, _) => self.mend(),
            (7, _) => {
                let down: Vec<usize> = (0..self.members).filter(|at| !self.net.host(*at).is_up()).collect();
                if let Some(at) = self.dice.pick(&down).copied() {
                    self.net.start(at);
                    self.publish(at);
                }
            }
            _ => {}
        }
    }

    fn mend(&mut self) {
        let count = self.net.hosts().len();
        self.net.weather.islands = vec![0; count];
        self.net.weather.holes.clear();
        self.net.weather_changed();
    }

    /// A host becomes a member: somebody there takes its certificate, and it begins with what that one holds
    /// of the fleet.
    fn admit(&mut self) {
        let at = self.members;
        if at >= self.net.hosts().len() {
            return;
        }
        // A liar is shunned for longer than the others may take to hold the same, and nobody hears from it whom it
        // was given.
        let takes = |at: &usize| self.net.host(*at).is_up() && !self.net.host(*at).lies;
        let honest = (0..self.members).find(takes);
        let Some(sponsor) = self.up().filter(|at| !self.net.host(*at).lies).or(honest) else { return };
        if let Some(certificate) = self.net.fleet.certificate(at)
            && self.net.submit(sponsor, certificate)
        {
            self.net.struck("late");
            // A joiner is told that it was admitted when that is on disk: it may be known to nobody else yet.
            self.net.settle(sponsor);
            let told = self.net.host(sponsor).replica().fleet_items(false);
            self.net.install(at, &told);
            self.net.start(at);
            self.members += 1;
            self.publish(at);
        }
    }

    fn lie(&mut self) {
        let Some(at) = (0..self.members).find(|at| self.net.host(*at).lies) else { return };
        if self.old.is_none() {
            self.old = self.net.host(at).replica().head_item(&self.net.fleet.id(at), None);
        }
        if self.net.host(at).is_up() && self.dice.one_in(3) {
            lie(&mut self.net, at, &mut self.dice, self.old.as_ref());
        }
    }

    /// Work under faults.
    fn rage(&mut self) -> Result<(), String> {
        let seconds = 60 + self.dice.below(60);
        for second in 0..seconds as u64 {
            if self.dice.one_in(2) {
                self.work(second);
            }
            if second > 5 && self.dice.one_in(2) {
                self.strike();
            }
            self.lie();
            if second > 20 && self.dice.one_in(10) {
                self.admit();
            }
            self.net.run(1000);
            if let Some(violation) = self.net.violations().first() {
                return Err(violation.clone());
            }
            self.bounded()?;
        }
        Ok(())
    }

    /// Nothing is wrong any more: what must come of it.
    fn calm(&mut self) -> Result<(), String> {
        self.mend();
        while self.members < self.net.hosts().len() {
            for at in 0..self.members {
                self.net.start(at);
            }
            self.admit();
        }
        for at in 0..self.members {
            self.net.start(at);
        }
        // What was handed over last is acknowledged, or was lost with its host.
        self.net.run(5_000);
        self.healed()?;
        self.home()?;
        self.bounded()?;
        self.verified_once()?;
        self.quiet()?;
        self.shown()?;
        match self.net.violations().first() {
            Some(violation) => Err(violation.clone()),
            None => Ok(()),
        }
    }

    fn healed(&mut self) -> Result<(), String> {
        let healed = self.net.until(HEALED_WITHIN, |net| lacking(net).is_none());
        if healed {
            return Ok(());
        }
        let lacks = lacking(&self.net).unwrap_or_default();
        Err(format!("replicas differ {HEALED_WITHIN} s after all was healed: {lacks}"))
    }

    /// What is gone was acknowledged to nobody and went with a host that crashed; returns how many those are.
    fn gone(&mut self) -> Result<usize, String> {
        let net = &self.net;
        let held = |order: &EntryId| net.host(0).replica().order(order).is_some();
        let (held, gone): (Vec<_>, Vec<_>) = self.orders.drain(..).partition(|(order, ..)| held(&order.id()));
        self.orders = held;
        for (order, first, _) in &gone {
            let id = order.id();
            if net.acknowledged().contains_key(&id) && !net.host(*first).lies {
                return Err(format!("the order {id}, which {first} acknowledged, is gone"));
            }
            // Who is shunned tells nobody what it was given.
            if !net.crashed(*first) && !net.host(*first).lies {
                return Err(format!("the order {id} is gone, and {first}, which took it, never crashed"));
            }
            if let Some(at) = (0..self.members)
                .find(|at| !net.host(*at).lies && net.host(*at).replica().order(&id).is_some())
            {
                return Err(format!("the order {id} is on {at} alone"));
            }
        }
        Ok(gone.len())
    }

    fn home(&mut self) -> Result<(), String> {
        for _ in 0..self.gone()? {
            self.net.struck("order lost with its host");
        }
        // Nor does anybody wait for a liar, or for who takes every order to be long past.
        let net = &self.net;
        let waits = |host: &usize| !net.host(*host).lies && net.host(*host).skew_ms.abs() < YEARS_MS;
        for (_, _, roster) in &mut self.orders {
            roster.retain(waits);
        }
        self.orders.retain(|(_, first, _)| waits(first));
        let away = |net: &Network, orders: &[(Signed<Order>, usize, Vec<usize>)]| {
            let mut away = Vec::new();
            for (order, first, roster) in orders {
                let id = order.id();
                let home = |host: &usize| {
                    net.host(*first).keeps(id, net.fleet.id(*host)) && net.host(*host).is_settled(&id)
                };
                away.extend(roster.iter().filter(|host| !home(host)).map(|host| (id, *first, *host)));
            }
            away
        };
        let orders = &self.orders;
        self.net.until(HOME_WITHIN, |net| away(net, orders).is_empty());
        match away(&self.net, orders).first() {
            None => Ok(()),
            Some((order, first, host)) => {
                let id = self.net.fleet.id(*host);
                let keep = |at: &usize| self.net.host(*at).keeps(*order, id);
                let keepers: Vec<usize> = (0..self.members).filter(keep).collect();
                let settled = self.net.host(*host).is_settled(order);
                Err(format!(
                    "the result of {host} on {order} did not come to {first}: {keepers:?} keep it, settled: {settled}"
                ))
            }
        }
    }

    /// No table has more rows than it may, whatever was said; and no honest host is named as a liar.
    fn bounded(&self) -> Result<(), String> {
        let members = self.net.hosts().len();
        for (at, host) in self.net.hosts().iter().enumerate().filter(|(_, host)| !host.lies) {
            let most = Tables::most(members, members);
            if let Some((table, rows)) = host.machine().tables().beyond(&most) {
                return Err(format!("{at} has {rows} rows in its table of {table}"));
            }
            for (named, why, _) in host.machine().misbehaved() {
                let honest = |of: usize| !self.net.host(of).lies;
                if let Some(of) = self.net.fleet.number(&named).filter(|of| honest(*of)) {
                    return Err(format!("{at} names {of}, which is honest: {why}"));
                }
            }
        }
        Ok(())
    }

    /// No signature was checked without need: each of a new entry, and again only of what a crash took.
    fn verified_once(&self) -> Result<(), String> {
        for (at, counts) in self.net.totals_by_host().iter().enumerate() {
            if self.net.host(at).lies {
                continue;
            }
            if counts.back > counts.lost {
                let (back, lost) = (counts.back, counts.lost);
                return Err(format!("{at} merged {back} entries again where crashes took {lost}"));
            }
            // A liar's entries are verified before they are refused; and who is years ahead refuses orders.
            let may_refuse = self.faults.liar || self.faults.years;
            let excused = counts.second_best + counts.early;
            if !may_refuse && counts.verifications > counts.merged + excused {
                return Err(format!(
                    "{at} verified {} entries, of which {} were new and {excused} could not be known not to be: {:?}",
                    counts.verifications, counts.merged, counts.why_in_vain
                ));
            }
            // What is early is asked for again: now and then, where links or hosts went, and not more.
            if counts.early > 8 + counts.merged / 4 {
                return Err(format!("{at} verified {} entries before what they follow", counts.early));
            }
        }
        Ok(())
    }

    /// Who is up is shown as unreachable by nobody, and who went off a minute ago by everybody; a liar, whom all
    /// shun, is watched by nobody.
    fn shown(&mut self) -> Result<(), String> {
        let honest: Vec<usize> = (0..self.members).filter(|at| !self.net.host(*at).lies).collect();
        let Some(off) = self.dice.pick(&honest).copied() else { return Ok(()) };
        let silent = self.dice.one_in(2);
        self.net.crash(off, silent);
        self.net.run(OFF_FOR);
        for at in honest.iter().copied().filter(|at| *at != off) {
            for of in honest.iter().copied().filter(|of| *of != at) {
                let (host, up) = (self.net.host(at), of != off);
                let seen = host.machine().presence(&self.net.fleet.id(of), host.clock(self.net.now()));
                if matches!(seen, Seen::Unreachable { .. }) == up {
                    return Err(format!("{at} shows {of} as {seen:?}, and whether that is up: {up}"));
                }
            }
        }
        Ok(())
    }

    /// Nothing but pings, and few of those. A liar is switched off before: others owe it nothing.
    fn quiet(&mut self) -> Result<(), String> {
        for at in (0..self.members).filter(|at| self.net.host(*at).lies).collect::<Vec<_>>() {
            self.net.crash(at, false);
        }
        self.net.run(QUIET_AFTER * 1000);
        self.net.still = true;
        self.net.run(60_000);
        self.net.forget_counts();
        self.net.run(100_000);
        self.net.still = false;
        let report = self.net.report();
        for (kind, traffic) in report.sent() {
            // Results of a liar's orders are offered to it for two hours.
            let owed = self.faults.liar && matches!(kind, "reports");
            if !matches!(kind, "ping" | "pong") && !owed {
                return Err(format!("{} messages {kind} in 100 s without any change", traffic.messages));
            }
        }
        let bound = report.links as u64 * 10 * IDLE_BYTES_MAX;
        if report.bytes() > bound && !self.faults.liar {
            return Err(format!("{} bytes on {} idle links in 100 s", report.bytes(), report.links));
        }
        Ok(())
    }
}

/// The first thing that is not on all hosts that were ever started and do not lie, in words.
pub fn lacking(net: &Network) -> Option<String> {
    // The latest clock of all: who swept more compares with what the others would still hold then. By a clock that
    // is years ahead no order counts any more, so those with a better one compare among themselves too: an order
    // that is still on its way to some of them is not everywhere.
    let now = latest(net, |_| true);
    let sane = |host: &Host| host.skew_ms < YEARS_MS;
    for (now, of_all) in [(now, true), (latest(net, sane), false)] {
        let counts = |host: &&Host| !host.lies && host.life > 0 && (of_all || sane(host));
        let root = |host: &Host| host.replica().roots(first_hour(now)).root();
        let roots: BTreeSet<_> = net.hosts().iter().filter(counts).map(root).collect();
        if roots.len() > 1 {
            return Some(format!("{} different roots; {}", roots.len(), differences(net, now)));
        }
    }
    for (id, (at, place)) in net.acknowledged() {
        if !net.host(*at).lies && !stands(net, id, place, now) {
            return Some(format!("{id}, which {at} acknowledged, is nowhere"));
        }
    }
    None
}

fn latest(net: &Network, of: impl Fn(&Host) -> bool) -> Timestamp {
    net.hosts().iter().filter(|host| of(host)).map(|host| host.clock(net.now())).max().unwrap_or_default()
}

fn stands(net: &Network, id: &EntryId, place: &Place, now: Timestamp) -> bool {
    let replica = net.host(0).replica();
    if let Place::Head { host, epoch, sequence } = place {
        return replica.head(host).is_some_and(|head| {
            let held = (head.body().epoch, head.body().sequence);
            held > (*epoch, *sequence) || (held == (*epoch, *sequence) && head.id() == *id)
        });
    }
    if replica.holds(id) {
        return true;
    }
    let item = net.submitted().iter().find(|item| peek(&item.entry.0).is_ok_and(|header| header.id == *id));
    let Some(item) = item else { return false };
    if let Ok(cancellation) = Signed::<Cancellation>::own(&item.entry.0) {
        // Of two cancellations of this order the lower id stands.
        return Replica::is_past(Some(cancellation.expires), now)
            || replica.cancellation(&cancellation.order).is_some_and(|held| held.id() < *id);
    }
    Signed::<Order>::own(&item.entry.0).is_ok_and(|order| Replica::is_past(Some(order.expires), now))
}

fn differences(net: &Network, now: Timestamp) -> String {
    let mut words = Vec::new();
    for (a, host) in net.hosts().iter().enumerate() {
        let tip = host.replica().tip(&Sections::ALL, TipForm::Full, now);
        for (b, other) in net.hosts().iter().enumerate() {
            let lacks = other.replica().lacking(&tip, now).len();
            if lacks > 0 {
                words.push(format!("{a} lacks {lacks} of {b}"));
            }
        }
    }
    words.join(", ")
}
