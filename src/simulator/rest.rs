//! A fleet at rest, and what one change costs it.
//!
//! Large fleets begin with everything known everywhere and with links as routing would have them: the
//! successor and a few at random. How they come to that is what storms show; here bytes are counted.

use std::{collections::BTreeMap, fmt};

use super::{
    dice::Dice,
    facets::{Packages, Published},
    fleet::Fleet,
    network::Network,
};
use crate::replica::Packed;

/// Links that each host dials besides the one to its successor.
const DIALLED: usize = 3;
/// Packages of a host.
const PACKAGES: usize = 400;
/// Images that the hosts are of.
const IMAGES: usize = 10;
/// Changes that are counted.
const CHANGES: usize = 5;
/// How long a change may take to be everywhere, in milliseconds.
const SPREAD_WITHIN_MS: u64 = 30_000;

/// What was counted.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Hosts.
    pub hosts: usize,
    /// Streams between them.
    pub links: usize,
    /// Bytes on an idle stream in ten seconds, both ways, with frame headers.
    pub idle_bytes: f64,
    /// Length of what a change is: its head and its changed facets, as they travel.
    pub change_bytes: f64,
    /// Bytes that a host received for a change, pings aside, on average over all hosts.
    pub received_bytes: f64,
    /// The same by kind of message.
    pub by_kind: BTreeMap<&'static str, f64>,
    /// Signatures that a host checked for a change.
    pub verifications: f64,
    /// How long until the last host had it, in milliseconds; of the slowest change.
    pub spread_ms: u64,
}

impl Figures {
    /// Bytes received a host and change, over what the change is long.
    pub fn ratio(&self) -> f64 {
        self.received_bytes / self.change_bytes
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>5} hosts {:>5} streams: idle {:.1} B a stream in 10 s; a change of {:.0} B: {:.0} B received a \
             host ({:.2}), {:.2} verified, everywhere after {} ms",
            self.hosts,
            self.links,
            self.idle_bytes,
            self.change_bytes,
            self.received_bytes,
            self.ratio(),
            self.verifications,
            self.spread_ms
        )?;
        for (kind, bytes) in &self.by_kind {
            write!(f, ", {kind} {bytes:.0}")?;
        }
        Ok(())
    }
}

/// So many hosts, up and linked, of which each has the heads of all.
fn at_rest(hosts: usize, seed: u64) -> (Network, Vec<Packages>) {
    let mut dice = Dice::new(seed);
    let packages: Vec<Packages> =
        (0..hosts).map(|at| Packages::of_image((at % IMAGES) as u64, PACKAGES)).collect();
    let mut net = Network::new(Fleet::found(hosts), hosts, seed);
    net.furnish(|at, replica| {
        let canonical = packages.get(at).map(Packages::canonical).unwrap_or_default();
        Published::node(at, 1, true).with_machine(at).with("deb", &canonical, replica)
    });
    net.still = true;
    for at in 0..hosts {
        net.start(at);
    }
    for at in 0..hosts {
        net.link(at, (at + 1) % hosts);
        for _ in 0..DIALLED {
            net.link(at, dice.below(hosts));
        }
    }
    (net, packages)
}

/// Counts what a fleet of so many hosts costs, idle and changing.
///
/// # Errors
/// When a change did not come to all, in words.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub fn figures(hosts: usize, seed: u64) -> Result<Figures, String> {
    let (mut net, mut packages) = at_rest(hosts, seed);
    net.run(15_000);
    net.forget_counts();
    net.run(100_000);
    let idle = net.report();
    let mut figures = Figures { hosts, links: idle.links, ..Figures::default() };
    figures.idle_bytes = idle.bytes() as f64 / 10.0 / idle.links.max(1) as f64;
    let mut dice = Dice::new(seed ^ 7);
    for change in 0..CHANGES {
        let at = dice.below(hosts);
        let Some(mine) = packages.get_mut(at) else { continue };
        mine.upgrade(&mut dice);
        let node = Published::node(at, 1, true).with_machine(at);
        let unchanged: usize = node.packed().iter().map(Packed::weight).sum();
        let published = node.with("deb", &mine.canonical(), net.host(at).replica());
        let facets: usize = published.packed().iter().map(Packed::weight).sum();
        net.forget_counts();
        let Some(id) = net.publish(at, &published) else { return Err(format!("{at} does not publish")) };
        let entry = net.host(at).replica().head(&net.fleet.id(at)).map_or(0, |head| head.bytes().len());
        let mut took = 0;
        while net.hosts().iter().any(|host| !host.replica().holds(&id)) {
            if took > SPREAD_WITHIN_MS {
                return Err(format!("change {change} is not everywhere after {took} ms"));
            }
            net.run(10);
            took += 10;
        }
        net.run(10_000);
        let report = net.report();
        let upkeep: u64 = report.hosts.iter().map(|host| host.bytes_received(&["ping", "pong"])).sum();
        let all: u64 = report.hosts.iter().map(|host| host.bytes_received(&[])).sum();
        let verified: u64 = report.hosts.iter().map(|host| host.verifications).sum();
        let a_host = (hosts * CHANGES).max(1) as f64;
        figures.change_bytes += (entry + facets - unchanged) as f64 / CHANGES as f64;
        figures.received_bytes += (all - upkeep) as f64 / a_host;
        for (kind, traffic) in report.sent().iter().filter(|(kind, _)| !matches!(**kind, "ping" | "pong")) {
            *figures.by_kind.entry(kind).or_default() += traffic.bytes as f64 / a_host;
        }
        figures.verifications += verified as f64 / a_host;
        figures.spread_ms = figures.spread_ms.max(took);
    }
    Ok(figures)
}
