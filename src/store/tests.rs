//! What was acknowledged survives whenever the disk stops; what is past, superseded or forged does not stay.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::*;
use crate::{
    authority::{
        AGENT_USER, MemberList,
        sample::{Fleet, HOUR_MS, NOW, certificate, hlc, host_id, key, later},
    },
    identity::{HostId, Operator, Signed, verifications_here},
    replica::{
        Action, FACET_NODE, FacetHash, FacetRef, Head, Limits, NodeFacet, Order, Outcome, Output, Packed,
        ResultRecord, Roster, Table, Tables,
    },
    store::{Loaded, Memory, Row, StoreError, keys::facet_key},
    wire::{self, Bytes},
};

/// A disk that can refuse.
#[derive(Clone, Default)]
struct Disk {
    memory: Memory,
    refuses: Arc<AtomicBool>,
    /// Whether its files are bad, until it is begun anew.
    broken: Arc<AtomicBool>,
}

impl Disk {
    fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::SeqCst);
    }
    fn rows(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.memory.clone().load().unwrap().0
    }
}

impl Backend for Disk {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        self.memory.load()
    }
    fn write(&mut self, rows: Vec<Row>) -> Result<(), StoreError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(StoreError::Panicked);
        }
        if self.refuses.load(Ordering::SeqCst) {
            return Err(std::io::Error::from(std::io::ErrorKind::StorageFull).into());
        }
        self.memory.write(rows)
    }
    fn renew(&mut self) -> Result<PathBuf, StoreError> {
        let gone = self.rows().into_iter().map(|(key, _)| (key, None)).collect();
        self.memory.write(gone)?;
        self.broken.store(false, Ordering::SeqCst);
        Ok(PathBuf::from("store.damaged-7"))
    }
}

struct World {
    fleet: Fleet,
    ana: EntryId,
    first: Vec<Item>,
}

impl World {
    fn new() -> Self {
        let ana = key::<Operator>(1);
        let (fleet, ids) = Fleet::with(&[certificate("ana", &ana)]);
        let invitation = fleet.invite(&ana, ids[0], 1, &[], 9);
        let enrolled = fleet.enrol(&invitation, 1, 1, &[]);
        let first = vec![Item::bare(enrolled.certificate().bytes())];
        Self { ana: ids[0], first, fleet }
    }

    fn start(&self, disk: &Disk, now: Timestamp) -> Store {
        let replica = Replica::new(Authority::new(self.fleet.chain.clone()));
        Store::start(replica, disk.clone(), &self.first, None, now).unwrap()
    }

    fn order(&self, nonce: u8) -> (EntryId, Item) {
        let body = Order {
            nonce: [nonce; 16],
            certificate: self.ana,
            issued: NOW,
            expires: later(HOUR_MS),
            selector: "all".to_owned(),
            roster: Roster::Inline { hosts: vec![host_id(1)] },
            action: Action::Argv { argv: vec![Bytes::from(&b"true"[..])] },
            run_as: AGENT_USER.to_owned(),
            limits: Limits { timeout_ms: 1000, output_bytes_max: 1000 },
            keepers: Vec::new(),
            reason: None,
        };
        let signed = Signed::sign(self.fleet.id(), &key::<Operator>(1), body);
        (signed.id(), Item::bare(signed.bytes()))
    }

    /// An order for all of a list, signed like the others.
    fn order_of(&self, nonce: u8, list: &Arc<MemberList>) -> (EntryId, Item) {
        let (_, item) = self.order(nonce);
        let mut body = Signed::<Order>::verify(&item.entry.0, self.fleet.id()).unwrap().body().clone();
        body.roster = Roster::of(list.hosts(), || Ok(Arc::clone(list))).unwrap();
        let signed = Signed::sign(self.fleet.id(), &key::<Operator>(1), body);
        (signed.id(), Item::bare(signed.bytes()))
    }

    fn head(&self, sequence: u64) -> (EntryId, Item) {
        let facet = wire::encode(&NodeFacet { agent: sequence.to_string(), ..NodeFacet::default() });
        let bytes = u32::try_from(facet.len()).unwrap();
        let facets =
            vec![FacetRef { name: FACET_NODE.to_owned(), hash: FacetHash::of(&facet), bytes, at: None }];
        let body = Head { epoch: 0, sequence, previous: None, at: hlc(later(sequence)), facets, audit: None };
        let signed = Signed::sign(self.fleet.id(), &key(1), body);
        (signed.id(), Item { entry: Bytes::from(signed.bytes()), facets: vec![Packed::alone(&facet)] })
    }

    /// A result, signed by the host's executor or by somebody else.
    fn report(&self, order: EntryId, signer: u8, took_ms: u64) -> Report {
        let record = ResultRecord {
            order,
            host: host_id(1),
            outcome: Outcome::Exited { code: 0 },
            started: NOW,
            took_ms,
            stdout: Output::default(),
            stderr: Output::default(),
            left_behind: 0,
        };
        let signed = Signed::sign(self.fleet.id(), &key(signer), record);
        Report { order, host: host_id(1), record: Bytes::from(signed.bytes()), stdout: None, stderr: None }
    }
}

async fn soon(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("within a minute not: {what}");
}

#[tokio::test]
async fn whenever_the_disk_stops_what_was_acknowledged_is_there_again() {
    let world = World::new();
    for seed in 0..40_u64 {
        let disk = Disk::default();
        let store = world.start(&disk, NOW);
        let (mut acknowledged, mut written) = (BTreeSet::new(), BTreeSet::new());
        let (mut kept, mut newest) = (0, 0);
        for step in 0..20_u8 {
            let dice = blake3::hash(&[&seed.to_le_bytes()[..], &[step]].concat()).as_bytes()[0];
            match dice % 5 {
                0 => {
                    let (id, item) = world.order(step);
                    store.merge(None, vec![item], NOW);
                    written.insert(id);
                }
                1 => {
                    let (_, item) = world.head(u64::from(step) + 1);
                    store.merge(None, vec![item], NOW);
                }
                2 => {
                    let order = written.iter().next().copied();
                    store.keep(
                        order.map(|order| world.report(order, 1, u64::from(step))).into_iter().collect(),
                    );
                }
                // From here on nothing gets to the disk; a flush must not say that it did.
                3 if dice > 200 => disk.refuse(true),
                _ => {
                    let sequence = store.read(|replica| replica.head(&host_id(1)).map(|h| h.body().sequence));
                    let held: usize = written.iter().map(|order| store.kept(order).len()).sum();
                    if store.flushed().await.is_ok() {
                        acknowledged.clone_from(&written);
                        (kept, newest) = (held, sequence.unwrap_or(0));
                    } else {
                        assert!(disk.refuses.load(Ordering::SeqCst));
                    }
                }
            }
        }
        // The crash: nothing more is written.
        disk.refuse(true);
        let again = Disk { memory: disk.memory.clone(), ..Disk::default() };
        let again = world.start(&again, NOW);
        for order in &acknowledged {
            assert!(again.read(|replica| replica.holds(order)), "seed {seed}: {order} is lost");
        }
        let held: usize = acknowledged.iter().map(|order| again.kept(order).len()).sum();
        assert!(held >= kept, "seed {seed}: {held} of {kept} reports");
        let sequence = again.read(|replica| replica.head(&host_id(1)).map_or(0, |h| h.body().sequence));
        assert!(sequence >= newest, "seed {seed}: head {sequence}, was {newest}");
    }
}

#[tokio::test]
async fn a_disk_that_refuses_is_a_problem_and_heals_by_itself() {
    let world = World::new();
    let disk = Disk::default();
    let store = world.start(&disk, NOW);
    store.flushed().await.unwrap();
    disk.refuse(true);
    let (order, item) = world.order(1);
    store.merge(None, vec![item], NOW);
    let report = world.report(order, 1, 1);
    assert_eq!(store.keep(vec![report.clone()]).0.len(), 1);
    assert!(store.flushed().await.is_err());
    assert!(store.problems()[0].contains("cannot be written"), "{:?}", store.problems());
    // Offered again it is no news, but it is not on disk either, and nobody may say so.
    assert_eq!(store.keep(vec![report.clone()]).0, []);
    assert!(store.flushed().await.is_err());
    disk.refuse(false);
    // Nothing more is written: it tries again by itself.
    soon("the problem is gone", || store.problems().is_empty()).await;
    let again = world.start(&disk, NOW);
    assert!(again.read(|replica| replica.holds(&order)));
    assert_eq!(again.kept(&order), [report]);
}

#[tokio::test]
async fn superseded_and_past_rows_leave_the_disk_while_running_and_at_the_start() {
    let world = World::new();
    let disk = Disk::default();
    let store = world.start(&disk, NOW);
    let (order, item) = world.order(1);
    store.merge(None, vec![item], NOW);
    for sequence in 1..50 {
        let (_, item) = world.head(sequence);
        store.merge(None, vec![item], NOW);
    }
    store.keep(vec![world.report(order, 1, 1)]);
    store.flushed().await.unwrap();
    // The host's certificate, its head and that one's facet, the order, the report.
    assert_eq!(disk.rows().len(), 5);
    let past = later(3 * HOUR_MS);
    let other = Disk::default();
    other.memory.clone().write(disk.rows().into_iter().map(|(key, row)| (key, Some(row))).collect()).unwrap();
    store.sweep(past);
    store.flushed().await.unwrap();
    assert_eq!(disk.rows().len(), 3, "swept while it runs");
    assert_eq!(store.kept(&order), []);
    // The same, if it was away when the order came to its end.
    let store = world.start(&other, past);
    store.flushed().await.unwrap();
    assert_eq!(other.rows().len(), 3, "swept at the start");
    assert_eq!(store.kept_keys(), []);
}

#[tokio::test]
async fn facets_have_rows_while_heads_name_them_and_a_damaged_one_brings_its_head_again() {
    let world = World::new();
    let disk = Disk::default();
    let store = world.start(&disk, NOW);
    let columns = ["name", "version"].map(str::to_owned).to_vec();
    let list = |patched: usize| {
        let row = |at: usize| vec![format!("p{at}"), if at == patched { "2" } else { "1" }.to_owned()];
        let rows = (0..200).map(row).collect();
        Tables { tables: vec![Table { name: "t".to_owned(), columns: columns.clone(), rows }] }.canonical()
    };
    let (base, list) = (list(999), list(7));
    let hash = FacetHash::of(&list);
    let along =
        vec![Packed::against(&list, FacetHash::of(&base).half(), &base).unwrap(), Packed::alone(&base)];
    let bytes = u32::try_from(list.len()).unwrap();
    let facets = vec![FacetRef { name: "t".to_owned(), hash, bytes, at: None }];
    let body = Head { epoch: 0, sequence: 1, previous: None, at: hlc(later(1)), facets, audit: None };
    let signed = Signed::sign(world.fleet.id(), &key(1), body);
    let item = Item { entry: Bytes::from(signed.bytes()), facets: along };
    assert_eq!(store.merge(None, vec![item.clone()], NOW).0.len(), 1);
    store.flushed().await.unwrap();
    let facet_rows = || disk.rows().into_iter().filter(|(key, _)| key[0] == b'f').count();
    assert_eq!(facet_rows(), 2, "the facet and its base");
    let again = world.start(&disk, NOW);
    assert_eq!(again.problems(), Vec::<String>::new());
    assert_eq!(again.read(|replica| replica.facet(&host_id(1), "t")).unwrap().1, list);
    drop(again);
    // The base is not what its hash says: the difference cannot be read, and the head goes.
    let other = wire::encode(&Packed::alone(b"another facet"));
    disk.memory.clone().write(vec![(facet_key(&FacetHash::of(&base)), Some(other))]).unwrap();
    let again = world.start(&disk, NOW);
    assert!(again.problems()[0].contains("2 rows"), "{:?}", again.problems());
    assert!(again.read(|replica| replica.head(&host_id(1)).is_none() && !replica.holds(&signed.id())));
    again.flushed().await.unwrap();
    assert_eq!(facet_rows(), 0);
    assert_eq!(again.merge(None, vec![item], NOW).0.len(), 1, "it is fetched again");
    again.flushed().await.unwrap();
    assert_eq!(facet_rows(), 2);
    // The next head names neither.
    let (_, item) = world.head(2);
    again.merge(None, vec![item], NOW);
    again.flushed().await.unwrap();
    assert_eq!(facet_rows(), 1);
    let again = world.start(&disk, NOW);
    assert_eq!(again.problems(), Vec::<String>::new());
    assert_eq!(again.read(|replica| replica.node_facet(&host_id(1))).unwrap().agent, "2");
}

#[tokio::test]
async fn a_damaged_row_is_left_out_and_comes_again_and_reports_wait_for_their_order() {
    let world = World::new();
    let disk = Disk::default();
    let store = world.start(&disk, NOW);
    let (order, item) = world.order(1);
    store.merge(None, vec![item.clone()], NOW);
    store.keep(vec![world.report(order, 1, 1)]);
    store.flushed().await.unwrap();
    disk.memory.clone().write(vec![(id_key(&order), Some(b"not what was there".to_vec()))]).unwrap();
    let store = world.start(&disk, NOW);
    assert!(store.problems()[0].contains("1 rows"), "{:?}", store.problems());
    assert!(!store.read(|replica| replica.holds(&order)));
    store.sweep(NOW);
    let (new, refusal) = store.merge(None, vec![item], NOW);
    assert_eq!((new.len(), refusal), (1, None));
    store.flushed().await.unwrap();
    let again = world.start(&disk, NOW);
    assert_eq!(again.problems(), Vec::<String>::new());
    assert!(again.read(|replica| replica.holds(&order)));
    assert_eq!(again.kept(&order).len(), 1);
}

#[tokio::test]
async fn a_forged_report_that_is_quicker_gives_way_and_one_that_is_later_is_not_taken() {
    let world = World::new();
    let disk = Disk::default();
    let store = world.start(&disk, NOW);
    let (order, item) = world.order(1);
    store.merge(None, vec![item], NOW);
    for forged in 0..20 {
        store.keep(vec![world.report(order, 2, forged)]);
    }
    assert_eq!(store.kept(&order).len(), 1, "one, unverified");
    let genuine = world.report(order, 1, 7);
    assert_eq!(store.keep(vec![genuine.clone()]), (vec![genuine.clone()], vec![genuine.kept()]));
    assert_eq!(store.kept(&order), std::slice::from_ref(&genuine));
    let late = world.report(order, 2, 99);
    assert_eq!(store.keep(vec![late]), (vec![], vec![]), "only what is kept is acknowledged");
    assert_eq!(store.keep(vec![genuine.clone()]).1, [genuine.kept()]);
    store.flushed().await.unwrap();
    let reports = disk.rows().into_iter().filter(|(key, _)| key[0] == b'r').count();
    assert_eq!(reports, 1, "and what gave way is off the disk");
    // A host that signs many results of one order does not fill the store.
    for other in 100..120 {
        store.keep(vec![world.report(order, 1, other)]);
    }
    assert_eq!(store.kept(&order).len(), 4);
}

#[tokio::test]
async fn a_true_record_with_anothers_output_is_replaced_by_the_whole_report() {
    let world = World::new();
    let disk = Disk::default();
    let store = world.start(&disk, NOW);
    let (order, item) = world.order(1);
    store.merge(None, vec![item], NOW);
    let (stdout, stderr) = (Bytes::from(&b"hello"[..]), Bytes::default());
    let output = |bytes: &Bytes| {
        let length = bytes.0.len() as u64;
        Output { hash: *blake3::hash(&bytes.0).as_bytes(), kept: length, produced: length }
    };
    let record = ResultRecord {
        order,
        host: host_id(1),
        outcome: Outcome::Exited { code: 0 },
        started: NOW,
        took_ms: 1,
        stdout: output(&stdout),
        stderr: output(&stderr),
        left_behind: 0,
    };
    let record = Bytes::from(Signed::sign(world.fleet.id(), &key(1), record).bytes());
    let truth = Report { order, host: host_id(1), record, stdout: Some(stdout), stderr: Some(stderr) };
    let altered = Report { stdout: Some(Bytes::from(&b"jello"[..])), ..truth.clone() };
    let stripped = Report { stdout: None, stderr: None, ..truth.clone() };
    store.keep(vec![altered.clone()]);
    assert_eq!(store.keep(vec![truth.clone()]).0, std::slice::from_ref(&truth));
    assert_eq!(store.keep(vec![altered, stripped]).0, []);
    store.flushed().await.unwrap();
    assert_eq!(world.start(&disk, NOW).kept(&order), [truth]);
}

#[tokio::test]
async fn a_store_that_breaks_while_it_is_written_is_written_anew_from_what_is_held() {
    let world = World::new();
    let disk = Disk::default();
    let store = world.start(&disk, NOW);
    let (order, item) = world.order(1);
    let (_, head) = world.head(1);
    store.merge(None, vec![item, head], NOW);
    store.keep(vec![world.report(order, 1, 1)]);
    store.flushed().await.unwrap();
    let before = disk.rows();
    disk.broken.store(true, Ordering::SeqCst);
    let (second, item) = world.order(2);
    store.merge(None, vec![item], NOW);
    store.flushed().await.expect("on the new disk");
    assert!(store.problems()[0].contains("moved to store.damaged-7"), "{:?}", store.problems());
    let rows = disk.rows();
    assert!(before.iter().all(|row| rows.contains(row)), "as they were");
    let again = world.start(&disk, NOW);
    assert!(again.read(|replica| replica.holds(&order) && replica.holds(&second)));
    assert_eq!(again.read(|replica| replica.digest(NOW)), store.read(|replica| replica.digest(NOW)));
}

#[tokio::test]
async fn a_check_names_what_is_damaged_and_has_it_written_again() {
    let world = World::new();
    let disk = Disk::default();
    let store = world.start(&disk, NOW);
    let (order, item) = world.order(1);
    let (_, head) = world.head(1);
    store.merge(None, vec![item, head], NOW);
    store.keep(vec![world.report(order, 1, 1)]);
    let whole = store.check(NOW).await.unwrap();
    assert!(whole.is_whole() && whole.as_held == Some(true), "{whole:?}");
    let counts: Vec<_> = whole.kinds.iter().map(|(kind, (count, _))| (*kind, *count)).collect();
    assert_eq!(counts, [("entry", 2), ("facet", 1), ("head", 1), ("report", 1)]);
    let bytes: usize = disk.rows().iter().map(|(key, value)| key.len() + value.len()).sum();
    assert_eq!(whole.live_bytes(), bytes as u64);

    let rows = disk.rows();
    let facet = rows.iter().find(|(key, _)| key[0] == b'f').unwrap().clone();
    let head = rows.iter().find(|(key, _)| key[0] == b'h').unwrap().clone();
    let other = wire::encode(&Packed::alone(b"another facet"));
    let moved = [&b"h"[..], &[7; 32]].concat();
    let row = |key: &[u8], value: &[u8]| (key.to_vec(), Some(value.to_vec()));
    let entry = id_key(&order);
    for (key, value, says, held) in [
        (&entry[..], &b"no entry"[..], "", false),
        (&facet.0, &other, "does not unpack", false),
        (&facet.0, b"no facet", "cannot be decoded", false),
        (&moved, &head.1, "another's", true),
        (b"x", b"y", "no such kind", true),
    ] {
        disk.memory.clone().write(vec![row(key, value)]).unwrap();
        let found = store.check(NOW).await.unwrap();
        assert_eq!(found.damaged.len(), 1, "{found:?}");
        assert!(found.damaged[0].key == key && found.damaged[0].what.contains(says), "{found:?}");
        assert_eq!(found.as_held, Some(held), "{found:?}");
        // A head whose facet is bad is no head, but not damaged itself.
        assert_eq!(found.waiting.len(), usize::from(key[0] == b'f'), "{found:?}");
        let found = store.check(NOW).await.unwrap();
        assert!(found.is_whole() && found.as_held == Some(true), "{says}: {found:?}");
        let after = disk.rows();
        assert!(rows.iter().all(|row| after.contains(row)), "as it was: {says}");
        // The rows of the root chain may come on top; nobody needs them.
        assert!(after.iter().all(|row| rows.contains(row) || row.0[0] == b'e'), "nothing else: {says}");
    }
    // A row that is gone without a trace is missed, too.
    disk.memory.clone().write(vec![(head.0, None)]).unwrap();
    let found = store.check(NOW).await.unwrap();
    assert!(found.damaged.is_empty() && found.as_held == Some(false) && !found.is_whole(), "{found:?}");
    assert!(store.check(NOW).await.unwrap().is_whole());
}

#[tokio::test]
async fn what_was_verified_while_it_waited_is_merged_without_verifying_it_again() {
    let world = World::new();
    let store = world.start(&Disk::default(), NOW);
    let ((_, head), (_, mut forged)) = (world.head(1), world.head(2));
    let mut arrived = Arrived::from(head);
    arrived.check(store.read(Replica::fleet)).unwrap();
    let before = verifications_here();
    assert_eq!(store.merge_judged(Some(host_id(2)), vec![arrived], NOW).new.len(), 1);
    assert_eq!(verifications_here(), before, "not again");
    *forged.entry.0.last_mut().unwrap() ^= 1;
    let merging = store.merge_judged(Some(host_id(2)), vec![forged.into()], NOW);
    assert!(merging.forged && merging.new.is_empty(), "{merging:?}");
}

fn many(from: u32) -> Arc<MemberList> {
    let stranger = |number: u32| HostId(*blake3::hash(&number.to_be_bytes()).as_bytes());
    Arc::new(MemberList::of((from..from + 600).map(stranger).chain([host_id(1)])).unwrap())
}

fn lists_on(disk: &Disk) -> Vec<Vec<u8>> {
    let (rows, _) = disk.clone().load().unwrap();
    rows.into_iter().map(|(key, _)| key).filter(|key| crate::store::kind(key) == "list").collect()
}

#[tokio::test]
async fn a_restart_has_the_lists_of_live_orders_and_no_others() {
    let (world, disk) = (World::new(), Disk::default());
    let (list, other) = (many(0), many(5000));
    let store = world.start(&disk, NOW);
    let (order, item) = world.order_of(1, &list);
    store.merge(None, vec![item], NOW);
    assert!(store.read(|replica| replica.seats(&order).is_none()));
    let mut came = store.lists();
    assert!(store.keep_list((*list).clone()) && store.keep_list((*other).clone()));
    assert!(came.has_changed().unwrap(), "who waits for it hears of it");
    came.mark_unchanged();
    assert!(!store.keep_list((*list).clone()) && !came.has_changed().unwrap());
    store.flushed().await.unwrap();
    assert_eq!(lists_on(&disk).len(), 1);
    drop(store);

    let store = world.start(&disk, NOW);
    assert_eq!(store.problems(), Vec::<String>::new());
    assert_eq!(store.read(|replica| replica.seats(&order).map(|seats| seats.len())), Some(601));
    assert!(store.read(|replica| replica.list(&other.id()).is_none()));
    let checked = store.check(NOW).await.unwrap();
    assert!(checked.is_whole(), "{checked:?}");
    // Gone with the last order that names it.
    store.sweep(Timestamp(later(HOUR_MS).0 + 4 * HOUR_MS));
    store.flushed().await.unwrap();
    assert_eq!(lists_on(&disk), Vec::<Vec<u8>>::new());
}

#[tokio::test]
async fn a_list_whose_row_is_another_is_asked_for_again() {
    let (world, disk) = (World::new(), Disk::default());
    let (list, other) = (many(0), many(5000));
    let store = world.start(&disk, NOW);
    let (order, item) = world.order_of(1, &list);
    store.keep_list((*list).clone());
    store.merge(None, vec![item], NOW);
    store.flushed().await.unwrap();
    drop(store);
    let row = lists_on(&disk).remove(0);
    disk.clone().write(vec![(row, Some(other.bytes().0))]).unwrap();
    let store = world.start(&disk, NOW);
    assert!(store.problems().iter().any(|problem| problem.contains("1 rows")), "{:?}", store.problems());
    assert!(store.read(|replica| replica.seats(&order).is_none()));
    assert_eq!(store.read(|replica| replica.lacking_lists().collect::<Vec<_>>()), [list.id()]);
    store.flushed().await.unwrap();
    assert!(lists_on(&disk).is_empty());
    assert!(store.keep_list((*list).clone()));
    assert!(store.read(|replica| replica.seats(&order).is_some()));
}
