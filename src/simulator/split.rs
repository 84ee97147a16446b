//! Two halves of a fleet that cannot reach each other while packages change in both, and meet again: what that
//! costs, byte for byte, over what each host lacked.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use super::{
    dice::Dice,
    facets::{Packages, Published},
    fleet::Fleet,
    network::Network,
};
use crate::replica::{Packed, Replica, Table, Tables, first_hour};

/// Packages of a host.
const PACKAGES: usize = 400;
/// Images that the hosts are of.
const IMAGES: usize = 2;
/// How long hosts may take to find all their links again, in seconds.
const FOUND_WITHIN: u64 = 120;
/// How long all may take to be the same, in milliseconds.
const EQUAL_WITHIN_MS: u64 = 120_000;
/// The tables of a host besides its packages, as it looks at them: how many rows and columns.
const TABLES: [(&str, usize, usize); 3] = [("network", 4, 3), ("storage", 6, 5), ("system", 1, 8)];

/// What was counted, over all hosts.
#[derive(Clone, Debug, Default)]
pub struct Split {
    /// Hosts.
    pub hosts: usize,
    /// From the first link between the halves until all held the same, in milliseconds.
    pub equal_ms: u64,
    /// Links between the halves then.
    pub crossing: usize,
    /// Entries and facets that the hosts lacked, as they travel, in bytes.
    pub lacked: u64,
    /// What they received meanwhile, but for what follows.
    pub received: u64,
    /// Who is up, and whether all hold the same: notes, pings and pongs. That hosts are back costs this, whether
    /// they lack anything or not.
    pub watching: u64,
    /// By kind of message, and how many of each.
    pub by_kind: BTreeMap<&'static str, (u64, u64)>,
    /// Entries and facets among it.
    pub payload: u64,
}

impl Split {
    /// Bytes received over bytes lacked, what watching costs aside.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub fn ratio(&self) -> f64 {
        self.received as f64 / self.lacked.max(1) as f64
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} hosts, {} links between the halves, equal after {} ms: {} B received, {} of them entries and \
             facets, of {} B lacked ({:.3})",
            self.hosts,
            self.crossing,
            self.equal_ms,
            self.received,
            self.payload,
            self.lacked,
            self.ratio()
        )?;
        write!(f, ", and {} B to watch each other", self.watching)?;
        for (kind, (messages, bytes)) in &self.by_kind {
            write!(f, ", {kind} {bytes} in {messages}")?;
        }
        Ok(())
    }
}

/// What a host says of itself that never changes here.
fn machine(host: usize) -> Published {
    let mut published = Published::node(host, 1, true);
    for (name, rows, columns) in TABLES {
        let cell = |row: usize, column: usize| format!("{name}-{host}-{row}-{column}");
        let table = Table {
            name: name.to_owned(),
            columns: (0..columns).map(|column| format!("column_{column}")).collect(),
            rows: (0..rows).map(|row| (0..columns).map(|column| cell(row, column)).collect()).collect(),
        };
        let canonical = Tables { tables: vec![table] }.canonical();
        published.add(name, &canonical, Packed::alone(&canonical));
    }
    published
}

/// How long what `before` lacks of what `after` holds is, as it travels.
fn lacked(before: &Replica, after: &Replica) -> u64 {
    let mut facets = BTreeMap::new();
    let mut bytes = 0;
    for (_, head) in after.heads().filter(|(_, head)| !before.holds(&head.id())) {
        bytes += head.bytes().len();
        for facet in &head.body().facets {
            let mut half = Some(facet.hash.half());
            // A facet, then what it is a difference to.
            while let Some(wanted) = half.filter(|half| before.packed(half).is_none()) {
                let Some(packed) = after.packed(&wanted) else { break };
                facets.insert(wanted, packed.weight());
                half = packed.base();
            }
        }
    }
    (bytes + facets.values().sum::<usize>()) as u64
}

/// Splits so many hosts in half for so long, with a change on some host every second, and heals it.
///
/// # Errors
/// When the halves do not become the same, in words.
pub fn split(hosts: usize, seconds: u64, jitter_ms: u64, seed: u64) -> Result<Split, String> {
    let mut dice = Dice::new(seed);
    let mut packages: Vec<Packages> =
        (0..hosts).map(|at| Packages::of_image((at % IMAGES) as u64, PACKAGES)).collect();
    let mut net = Network::new(Fleet::found(hosts), hosts, seed);
    net.weather.jitter_ms = jitter_ms;
    net.furnish(|at, replica| {
        let canonical = packages.get(at).map(Packages::canonical).unwrap_or_default();
        machine(at).with("deb", &canonical, replica)
    });
    for at in 0..hosts {
        net.start(at);
    }
    net.run(FOUND_WITHIN * 1000);
    net.weather.islands = (0..hosts).map(|at| usize::from(at >= hosts / 2)).collect();
    for _ in 0..seconds {
        let at = dice.below(hosts);
        let Some(mine) = packages.get_mut(at) else { continue };
        mine.upgrade(&mut dice);
        let published = machine(at).with("deb", &mine.canonical(), net.host(at).replica());
        net.publish(at, &published);
        net.run(1000);
    }
    let crossing = |net: &Network| {
        let crosses = |(a, b): &&(usize, usize)| (*a < hosts / 2) != (*b < hosts / 2);
        net.links().iter().filter(crosses).count()
    };
    if !net.until(FOUND_WITHIN, |net| crossing(net) == 0) {
        return Err("links between the halves are not given up".to_owned());
    }
    let roots = |net: &Network| -> BTreeSet<[u8; 16]> {
        let hour = first_hour(net.now());
        net.hosts().iter().map(|host| host.replica().roots(hour).root()).collect()
    };
    if roots(&net).len() != 2 {
        return Err(format!("{} different roots in two halves", roots(&net).len()));
    }
    let before: Vec<Arc<Replica>> = net.hosts().iter().map(|host| Arc::clone(&host.replica)).collect();

    net.weather.islands = vec![0; hosts];
    net.weather_changed();
    while crossing(&net) == 0 {
        net.forget_counts();
        net.run(1);
    }
    let mut took = 0;
    while roots(&net).len() > 1 {
        if took > EQUAL_WITHIN_MS {
            return Err(format!("{} different roots after {took} ms", roots(&net).len()));
        }
        net.run(10);
        took += 10;
    }
    let crossing = crossing(&net);
    // What is on its way counts too.
    net.run(1_000);
    let report = net.report();
    let mut split = Split { hosts, equal_ms: took, crossing, ..Split::default() };
    for (at, before) in before.iter().enumerate() {
        split.lacked += lacked(before, net.host(at).replica());
    }
    for host in &report.hosts {
        split.payload += host.payload;
        for (kind, traffic) in &host.received {
            let sum = split.by_kind.entry(kind).or_default();
            *sum = (sum.0 + traffic.messages, sum.1 + traffic.bytes);
            let watches = matches!(*kind, "notes" | "ping" | "pong");
            let counted = if watches { &mut split.watching } else { &mut split.received };
            *counted += traffic.bytes;
        }
    }
    Ok(split)
}
