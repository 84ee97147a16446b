//! Facets come whole or not at all, whatever they are packed as; what no head needs is gone; hosts of few
//! images take few bytes.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::{
    authority::sample::{Fleet, certificate, hlc, key, later},
    identity::{Operator, Signed},
    replica::*,
    wire::{self, Bytes},
};

/// A package list: the rows whose number `version` maps to a version.
fn list(packages: impl Iterator<Item = (usize, u64)>) -> Vec<u8> {
    let rows = packages
        .map(|(package, version)| {
            vec![format!("package-{:08x}", dice(package) >> 32), format!("1.{version}-1"), "amd64".to_owned()]
        })
        .collect();
    let columns = ["name", "version", "arch"].map(str::to_owned).to_vec();
    Tables { tables: vec![Table { name: "deb_packages".to_owned(), columns, rows }] }.canonical()
}

/// Four lists of 300 packages, each some changes from the others.
fn lists() -> [Vec<u8>; 4] {
    [1, 2, 3, 4].map(|which| list((0..300).map(|at| (at, if at % 50 == which { 9 } else { dice(at) % 4 }))))
}

fn dice(of: usize) -> u64 {
    let hash = blake3::hash(&of.to_le_bytes());
    u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap())
}

fn against(canonical: &[u8], base: &[u8]) -> Packed {
    Packed::against(canonical, FacetHash::of(base).half(), base).unwrap()
}

fn refs(facets: &[&Vec<u8>]) -> Vec<FacetRef> {
    let named = facets.iter().enumerate().map(|(at, bytes)| FacetRef {
        name: format!("f{at:02}"),
        hash: FacetHash::of(bytes),
        bytes: u32::try_from(bytes.len()).unwrap(),
        at: None,
    });
    named.collect()
}

/// A fleet of three hosts, and their heads.
struct World {
    fleet: Fleet,
    replica: Replica,
}

impl World {
    fn new() -> Self {
        let ana = key::<Operator>(1);
        let (fleet, ids) = Fleet::with(&[certificate("ana", &ana)]);
        let invitation = fleet.invite(&ana, ids[0], 1, &[], 9);
        let mut replica = Replica::new(fleet.authority());
        for host in 1..=3 {
            let host = fleet.enrol(&invitation, 1, host, &[]);
            replica.merge(Entry::Host(Box::new(host)), &[]).unwrap();
        }
        Self { fleet, replica }
    }

    fn sign(&self, host: u8, sequence: u64, facets: Vec<FacetRef>) -> Signed<Head> {
        let body = Head { epoch: 0, sequence, previous: None, at: hlc(later(sequence)), facets, audit: None };
        Signed::sign(self.fleet.id(), &key(host), body)
    }

    fn item(&self, host: u8, sequence: u64, facets: &[&Vec<u8>], along: &[Packed]) -> Item {
        let head = self.sign(host, sequence, refs(facets));
        Item { entry: Bytes::from(head.bytes()), facets: along.to_vec() }
    }

    fn take(&mut self, item: &Item) -> Result<Merged, Refusal> {
        let merged = self.replica.merge(Entry::verify(&item.entry.0, self.fleet.id()).unwrap(), &item.facets);
        self.replica.facets.check(self.replica.heads.values().map(|kept| &kept.head));
        merged
    }

    fn says(
        &mut self,
        host: u8,
        sequence: u64,
        facets: &[&Vec<u8>],
        along: &[Packed],
    ) -> Result<Merged, Refusal> {
        let item = self.item(host, sequence, facets, along);
        self.take(&item)
    }
}

impl Facets {
    /// Counts everything again.
    pub(in crate::replica) fn check<'a>(&self, heads: impl Iterator<Item = &'a Signed<Head>>) {
        let (mut named, mut needed) =
            (BTreeMap::<FacetHash, usize>::new(), BTreeMap::<FacetHash, usize>::new());
        for facet in heads.flat_map(|head| &head.body().facets) {
            *named.entry(facet.hash).or_default() += 1;
        }
        for base in self.held.values().filter_map(|kept| kept.base) {
            *needed.entry(base).or_default() += 1;
        }
        let all: BTreeSet<_> = named.keys().chain(needed.keys()).copied().collect();
        assert_eq!(self.held.keys().copied().collect::<BTreeSet<_>>(), all, "held is what is needed");
        for (hash, kept) in &self.held {
            assert_eq!(kept.heads, named.get(hash).copied().unwrap_or(0), "heads");
            assert_eq!(kept.patches, needed.get(hash).copied().unwrap_or(0), "differences");
            assert_eq!(kept.packed.base(), kept.base.map(|base| base.half()));
            assert!(kept.base.is_none_or(|base| self.held[&base].base.is_none()), "a base of a base");
            let bytes = self.bytes(hash).unwrap();
            assert!(FacetHash::of(&bytes) == *hash && bytes.len() == kept.length);
        }
    }
}

#[test]
fn a_head_waits_for_its_facets_and_their_bases_and_says_which() {
    let mut world = World::new();
    let [a, b, c, _] = lists();
    let half = |bytes: &Vec<u8>| FacetHash::of(bytes).half();
    let sorted = |mut halves: Vec<FacetHalf>| {
        halves.sort_unstable();
        halves
    };
    let mut item = world.item(1, 1, &[&b, &c], &[]);
    assert_eq!(world.replica.missing_facets(&item).facets, sorted(vec![half(&b), half(&c)]));
    assert_eq!(world.take(&item), Err(Refusal::Gap));
    // What is a difference to something that is not here: that is what lacks.
    item.facets = vec![against(&b, &a)];
    assert_eq!(world.replica.missing_facets(&item).facets, sorted(vec![half(&a), half(&b), half(&c)]));
    item.facets.push(against(&c, &a));
    assert_eq!(world.replica.missing_facets(&item).facets, [half(&a)]);
    assert_eq!(world.take(&item), Err(Refusal::Gap));
    item.facets.push(Packed::alone(&a));
    assert_eq!(world.replica.missing_facets(&item).facets, []);
    assert_eq!(world.take(&item), Ok(Merged::New));
    assert_eq!(world.replica.facet(&host(1), "f00").unwrap().1, b);
    assert_eq!(world.replica.facet(&host(1), "f01").unwrap().1, c);
    assert!(world.replica.packed(&half(&a)).is_some(), "a base is there for who asks");
    // One that has all of it needs nothing with it.
    assert_eq!(world.says(2, 1, &[&c], &[]), Ok(Merged::New));
}

fn host(number: u8) -> crate::identity::HostId {
    crate::authority::sample::host_id(number)
}

#[test]
fn what_no_head_needs_any_more_is_dropped_with_its_base_and_named() {
    let mut world = World::new();
    let [a, b, c, d] = lists();
    let hash = |bytes: &Vec<u8>| FacetHash::of(bytes);
    world.says(1, 1, &[&a, &b], &[Packed::alone(&a), against(&b, &a)]).unwrap();
    world.says(2, 1, &[&b, &c], &[against(&c, &a)]).unwrap();
    let came: Vec<_> = world.replica.take_facet_changes().into_iter().map(|(hash, _)| hash).collect();
    assert_eq!(came.len(), 3);
    // Host 1 goes on: `a` is needed still, by two differences.
    world.says(1, 2, &[&d], &[Packed::alone(&d)]).unwrap();
    assert_eq!(world.replica.take_facet_changes().len(), 1, "only one came");
    assert!(world.replica.facet_bytes(&hash(&a)).is_some());
    world.says(2, 2, &[&c], &[]).unwrap();
    assert_eq!(world.replica.take_facet_changes(), [(hash(&b), None)]);
    world.says(2, 3, &[], &[]).unwrap();
    let gone: BTreeSet<_> =
        world.replica.take_facet_changes().into_iter().collect::<BTreeMap<_, _>>().into_keys().collect();
    assert_eq!(gone, BTreeSet::from([hash(&a), hash(&c)]), "the last difference takes its base with it");
    assert_eq!(world.replica.facets.held.len(), 1);
    // Of a head that is older, or refused, nothing is kept.
    assert_eq!(world.says(2, 1, &[&a], &[Packed::alone(&a)]), Ok(Merged::Known));
    assert_eq!(world.says(2, 9, &[&a, &b], &[Packed::alone(&a)]), Err(Refusal::Gap));
    assert_eq!(world.replica.take_facet_changes(), []);
}

#[test]
fn one_facet_in_two_packings_is_held_once_and_can_be_a_base_whichever_came_first() {
    let [a, b, c, d] = lists();
    for alone_first in [true, false] {
        for base_comes in [true, false] {
            let mut world = World::new();
            let packings = [Packed::alone(&b), against(&b, &a)];
            let (first, second) = if alone_first { (0, 1) } else { (1, 0) };
            world.says(1, 1, &[&b], &[Packed::alone(&a), packings[first].clone()]).unwrap();
            world.says(2, 1, &[&b], &[Packed::alone(&a), packings[second].clone()]).unwrap();
            assert_eq!(world.replica.facets.held.len(), if alone_first { 1 } else { 2 });
            // Host 3 holds `b` alone and packs against it; and something against `a`, which only `b` needs here.
            let mut along = vec![against(&c, &b)];
            if base_comes {
                along.push(Packed::alone(&b));
            }
            let mut facets = vec![&c];
            if !alone_first {
                along.push(against(&d, &a));
                facets.push(&d);
            }
            let item = world.item(3, 1, &facets, &along);
            assert_eq!(world.replica.missing_facets(&item).facets, []);
            assert_eq!(world.take(&item), Ok(Merged::New));
            assert_eq!(world.replica.packed(&FacetHash::of(&b).half()).unwrap().base(), None);
            assert_eq!(world.replica.facet(&host(3), "f00").unwrap().1, c);
            let changed = world.replica.take_facet_changes();
            assert!(changed.iter().any(|(hash, packed)| *hash == FacetHash::of(&b)
                && packed.as_ref().is_some_and(|packed| packed.base().is_none())));
        }
    }
}

#[test]
fn a_difference_to_a_difference_is_not_taken_nor_one_to_itself() {
    let mut world = World::new();
    let [a, b, c, _] = lists();
    let deep = [Packed::alone(&a), against(&b, &a), against(&c, &b)];
    assert_eq!(world.says(1, 1, &[&a, &b, &c], &deep), Err(Refusal::Gap));
    assert_eq!(world.says(1, 1, &[&b], &[against(&b, &b)]), Err(Refusal::Gap));
    assert_eq!(world.says(1, 1, &[&a, &b], &[against(&a, &b), against(&b, &a)]), Err(Refusal::Gap));
    assert!(world.replica.facets.held.is_empty() && world.replica.take_facet_changes().is_empty());
    // The same facets, one deep.
    let flat = [Packed::alone(&a), against(&b, &a), against(&c, &a)];
    assert_eq!(world.says(1, 1, &[&a, &b, &c], &flat), Ok(Merged::New));
}

#[test]
fn who_holds_a_facet_and_who_does_not_judge_a_false_length_alike() {
    let [a, b, ..] = lists();
    for held in [true, false] {
        for change in [1, -1_i64] {
            let mut world = World::new();
            if held {
                world.says(2, 1, &[&a, &b], &[Packed::alone(&a), Packed::alone(&b)]).unwrap();
            }
            for along in [vec![Packed::alone(&a)], vec![Packed::alone(&b), against(&a, &b)]] {
                let mut facets = refs(&[&a]);
                facets[0].bytes = u32::try_from(i64::from(facets[0].bytes) + change).unwrap();
                let head = world.sign(1, 1, facets);
                let item = Item { entry: Bytes::from(head.bytes()), facets: along };
                assert!(world.take(&item).is_err(), "{held} {change}");
                assert!(world.replica.head(&host(1)).is_none());
            }
        }
    }
}

#[test]
fn bombs_damage_and_floods_of_facets_are_not_taken() {
    let mut world = World::new();
    let [a, b, ..] = lists();
    let bomb = Packed::Zstd { bytes: Bytes(facet::compress(&vec![0; 64 * 1024 * 1024], 3).unwrap()) };
    let patch_bomb = {
        let frame = facet::difference(&a.repeat(2000), &a).unwrap();
        Packed::Patch { base: FacetHash::of(&a).half(), bytes: Bytes(frame) }
    };
    let long = Packed::Plain { bytes: Bytes(vec![7; PACKED_BYTES_MAX + 1]) };
    for evil in [bomb, patch_bomb, long, Packed::Zstd { bytes: Bytes(vec![1, 2, 3]) }] {
        assert_eq!(world.says(1, 1, &[&b], &[Packed::alone(&a), evil.clone()]), Err(Refusal::Gap));
        // Beside what is needed it does no harm.
        let item = world.item(2, 1, &[&b], &[evil, Packed::alone(&b)]);
        assert_eq!(world.replica.missing_facets(&item).facets, []);
    }
    // Of a flood, only so many are looked at.
    let flood: Vec<Packed> =
        (0..=ALONG_MAX).map(|at| Packed::Plain { bytes: Bytes(vec![at.to_le_bytes()[0]; 9]) }).collect();
    let flooded = world.item(1, 1, &[&a], &[flood, vec![Packed::alone(&a)]].concat());
    assert_eq!(world.replica.missing_facets(&flooded).facets, [FacetHash::of(&a).half()]);
    assert_eq!(world.take(&flooded), Err(Refusal::Gap));
    assert!(world.replica.facets.held.is_empty());
}

#[test]
fn a_head_over_its_limits_is_refused_and_nothing_is_asked_for_it() {
    let mut world = World::new();
    let many: Vec<Vec<u8>> = (0..33).map(|at| vec![at; 3]).collect();
    let many_refs = refs(&many.iter().collect::<Vec<_>>());
    let sized = |names: &[&str], bytes: usize| {
        let hash = |name: &str| FacetHash::of(name.as_bytes());
        let bytes = u32::try_from(bytes).unwrap();
        names
            .iter()
            .map(|name| FacetRef { name: (*name).to_owned(), hash: hash(name), bytes, at: None })
            .collect()
    };
    let over: [Vec<FacetRef>; 5] = [
        many_refs.clone(),
        sized(&["b", "a"], 9),
        sized(&["a"], FACET_BYTES_MAX + 1),
        sized(&[FACET_NODE], NODE_BYTES_MAX + 1),
        sized(&["a", "b", "c", "d", "e"], FACET_BYTES_MAX),
    ];
    for facets in over {
        let item = Item { entry: Bytes::from(world.sign(1, 1, facets).bytes()), facets: Vec::new() };
        assert_eq!(world.replica.missing_facets(&item).facets, []);
        assert!(matches!(world.take(&item), Err(Refusal::TooMany { .. })));
    }
    let most: Vec<Packed> = many.iter().map(|bytes| Packed::alone(bytes)).collect();
    let head = world.sign(1, 1, many_refs[..32].to_vec());
    assert_eq!(world.take(&Item { entry: Bytes::from(head.bytes()), facets: most }), Ok(Merged::New));
}

#[test]
fn what_rides_with_a_head_is_short_and_what_changed() {
    let mut world = World::new();
    let [a, b, ..] = lists();
    let (short, other) = (vec![1; 50], vec![2; 50]);
    let long: Vec<u8> = (0..1000).flat_map(|at: usize| dice(at).to_le_bytes()).collect();
    let along = [&short, &long, &a].map(|bytes| Packed::alone(bytes));
    world.says(1, 1, &[&short, &long], &along[..2]).unwrap();
    assert_eq!(world.replica.head_item(&host(1), None).unwrap().facets, along[..1]);
    world.says(1, 2, &[&short, &long, &other], &[Packed::alone(&other)]).unwrap();
    let rides = |has| world.replica.head_item(&host(1), has).unwrap().facets;
    assert_eq!(rides(Some((0, 1))), [Packed::alone(&other)]);
    assert_eq!(rides(Some((0, 0))).len(), 2);
    assert_eq!(rides(None).len(), 2);
    assert_eq!(world.replica.head_item(&host(3), None), None);
    // Who missed several heads gets what changed since its own, and only that.
    let third = vec![3; 50];
    world.says(1, 3, &[&short, &long, &third], &[Packed::alone(&third)]).unwrap();
    world.says(1, 4, &[&short, &long, &third], &[]).unwrap();
    let rides = |has| world.replica.head_item(&host(1), has).unwrap().facets;
    assert_eq!(rides(Some((0, 1))), [Packed::alone(&third)]);
    assert_eq!(rides(Some((0, 3))), []);
    world.says(1, 5, &[&other, &long, &third], &[Packed::alone(&other)]).unwrap();
    let rides = |has| world.replica.head_item(&host(1), has).unwrap().facets;
    assert_eq!(rides(Some((0, 2))), [Packed::alone(&other), Packed::alone(&third)]);
    // A difference to a base rides though its base does not.
    world.says(2, 1, &[&a, &b], &[Packed::alone(&a), against(&b, &a)]).unwrap();
    let item = world.replica.head_item(&host(2), None).unwrap();
    assert!(item.facets.iter().any(|packed| packed.base().is_some()));
}

#[test]
fn facets_come_back_from_disk_and_what_is_damaged_takes_its_head_along() {
    let [a, b, c, _] = lists();
    let mut world = World::new();
    world.says(1, 1, &[&b], &[Packed::alone(&a), against(&b, &a)]).unwrap();
    world.says(2, 1, &[&c], &[Packed::alone(&c)]).unwrap();
    let heads: Vec<Item> = world.replica.heads().map(|(_, head)| Item::bare(head.bytes())).collect();
    let rows: Vec<(FacetHash, Packed)> = world
        .replica
        .take_facet_changes()
        .into_iter()
        .filter_map(|(hash, packed)| packed.map(|packed| (hash, packed)))
        .collect();
    assert_eq!(rows.len(), 3);
    let restart = |rows: Vec<(FacetHash, Packed)>| {
        let mut world = World::new();
        let damaged = world.replica.restore_facets(rows);
        let taken: Vec<bool> = heads
            .iter()
            .map(|item| {
                let entry = Entry::verify(&item.entry.0, world.fleet.id()).unwrap();
                world.replica.merge(entry, &[]).is_ok()
            })
            .collect();
        world.replica.drop_unnamed_facets();
        world.replica.facets.check(world.replica.heads.values().map(|kept| &kept.head));
        (damaged.len(), taken.iter().filter(|taken| **taken).count(), world.replica.facets.held.len())
    };
    assert_eq!(restart(rows.clone()), (0, 2, 3));
    for (lost, expected) in [(&a, (1, 1, 1)), (&b, (0, 1, 1)), (&c, (0, 1, 2))] {
        let kept = rows.iter().filter(|(hash, _)| *hash != FacetHash::of(lost)).cloned().collect();
        assert_eq!(restart(kept), expected, "lost");
    }
    // What is not what its hash says is not taken, nor what is a difference to it.
    let swapped = rows.iter().map(|(hash, packed)| {
        (*hash, if *hash == FacetHash::of(&a) { Packed::alone(&c) } else { packed.clone() })
    });
    assert_eq!(restart(swapped.collect()), (2, 1, 1));
}

#[test]
fn who_only_looks_on_takes_heads_with_what_comes_of_their_facets() {
    let mut world = World::new();
    let [a, b, ..] = lists();
    let node = wire::encode(&NodeFacet { agent: "1.0".to_owned(), ..NodeFacet::default() });
    let mut named = refs(&[&a, &b]);
    named.extend(refs(&[&node]));
    named[2].name = FACET_NODE.to_owned();
    let along = [Packed::alone(&a), against(&b, &a), Packed::alone(&node)].to_vec();
    let head = world.sign(1, 1, named.clone());
    world.take(&Item { entry: Bytes::from(head.bytes()), facets: along }).unwrap();
    let mut looker = Replica::looking_on(world.fleet.authority());
    let items = world.replica.fleet_items(true);
    assert_eq!(items.iter().map(|item| item.facets.len()).sum::<usize>(), 1, "no more than the node's");
    for item in world.replica.fleet_items(true) {
        looker.merge(Entry::verify(&item.entry.0, world.fleet.id()).unwrap(), &item.facets).unwrap();
    }
    assert_eq!(looker.node_facet(&host(1)).unwrap().agent, "1.0");
    assert_eq!(looker.facet(&host(1), "f00"), None);
    // The same facet comes again, and its first head goes.
    let other = world.sign(2, 1, named[2..].to_vec());
    looker.merge(Entry::Head(other), &[]).unwrap();
    looker.merge(Entry::Head(world.sign(1, 2, Vec::new())), &[]).unwrap();
    assert!(looker.node_facet(&host(2)).is_some());
}

#[test]
fn hosts_of_few_images_take_few_bytes_each() {
    const IMAGES: usize = 10;
    const HOSTS: usize = 200;
    const PACKAGES: usize = 400;
    let mut facets = Facets::default();
    let (mut bytes, mut bases, mut plain) = (0, 0, 0);
    for host in 0..HOSTS {
        let image = host % IMAGES;
        // An image's packages, of all that there are, in its versions; two in a hundred are this host's own.
        let packages = (0..PACKAGES).map(|at| {
            let package = at * 8 + (dice(image * PACKAGES + at) % 8) as usize;
            let drifts = dice(1_000_000 + host * PACKAGES + at).is_multiple_of(50);
            (package, if drifts { 100 + dice(at + host) % 4 } else { dice(package + image * 31) % 20 })
        });
        let canonical = list(packages);
        let packed = choose_base(&canonical, &facets.near(&canonical));
        bytes += packed.weight();
        bases += usize::from(packed.base().is_none());
        if host == 0 {
            plain = packed.weight();
        }
        let wanted = refs(&[&canonical]);
        let opened = facets.open(&[packed], &wanted);
        facets.name(&wanted, opened).unwrap();
        assert_eq!(facets.bytes(&wanted[0].hash).unwrap(), canonical);
    }
    assert_eq!(bases, IMAGES, "each image has one base");
    assert!(plain > 2000, "alone one takes {plain}");
    assert!(bytes / HOSTS < 300, "{} bytes a host, {plain} alone", bytes / HOSTS);
}
