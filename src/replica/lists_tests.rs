use super::*;
use crate::{
    authority::sample::{self, NOW, host_id, key, later},
    identity::{HostId, Operator, Signed},
    replica::{Action, Entry, Limits, Roster},
    time::Timestamp,
};

fn host(number: u32) -> HostId {
    HostId(*blake3::hash(&number.to_be_bytes()).as_bytes())
}

fn list(from: u32) -> Arc<MemberList> {
    Arc::new(MemberList::of((from..from + 600).map(host)).unwrap())
}

struct World {
    fleet: sample::Fleet,
    under: EntryId,
    replica: Replica,
}

impl World {
    fn new() -> Self {
        let ana = key::<Operator>(1);
        let (fleet, under) = sample::Fleet::with(&[sample::certificate("ana", &ana)]);
        let replica = Replica::new(fleet.authority());
        Self { fleet, under: under[0], replica }
    }

    fn order(&self, nonce: u8, list: &Arc<MemberList>, expires: Timestamp) -> Signed<Order> {
        let hosts: Vec<HostId> = list.hosts().iter().skip(1).copied().collect();
        let body = Order {
            nonce: [nonce; 16],
            certificate: self.under,
            issued: NOW,
            expires,
            selector: "all".to_owned(),
            roster: Roster::of(&hosts, || Ok(Arc::clone(list))).unwrap(),
            action: Action::Argv { argv: Vec::new() },
            run_as: "@agent".to_owned(),
            limits: Limits { timeout_ms: 1, output_bytes_max: 1 },
            keepers: Vec::new(),
            reason: None,
        };
        Signed::sign(self.fleet.id(), &key::<Operator>(1), body)
    }

    fn take(&mut self, order: &Signed<Order>) {
        self.replica.merge(Entry::Order(order.clone()), &[]).unwrap();
    }
}

#[test]
fn an_order_is_taken_without_its_list_and_has_seats_once_that_is_here() {
    let mut world = World::new();
    let list = list(0);
    let order = world.order(1, &list, later(1000));
    world.take(&order);
    assert!(world.replica.seats(&order.id()).is_none());
    assert_eq!(world.replica.lacking_lists().collect::<Vec<_>>(), [list.id()]);
    assert_eq!(world.replica.orders_of_list(list.id()).collect::<Vec<_>>(), [order.id()]);
    let version = world.replica.version();
    assert!(world.replica.keep_list(Arc::clone(&list)));
    assert!(!world.replica.keep_list(Arc::clone(&list)), "once");
    assert!(world.replica.version() > version);
    assert_eq!(world.replica.lacking_lists().count(), 0);

    let seats = world.replica.seats(&order.id()).unwrap();
    assert_eq!(seats.len(), 599);
    assert!(!seats.contains(&list.hosts()[0]) && !seats.contains(&host(9999)));
    for (index, host) in (0_u32..).zip(list.hosts().iter().skip(1)) {
        assert_eq!((seats.index_of(host), seats.host(index)), (Some(index), Some(*host)));
    }
    assert_eq!(seats.host(599), None);
    assert_eq!(seats.to_vec(), list.hosts()[1..]);
}

#[test]
fn a_list_of_the_same_name_and_another_length_is_not_looked_at() {
    let mut world = World::new();
    let list = list(0);
    world.replica.keep_list(Arc::clone(&list));
    let mut body = world.order(1, &list, later(1000)).body().clone();
    body.roster = Roster::Bitmap { list: list.id(), members: 700, bits: crate::wire::Bytes(vec![0xff; 88]) };
    if let Roster::Bitmap { bits, .. } = &mut body.roster {
        bits.0[87] = 0x0f;
    }
    let order = Signed::sign(world.fleet.id(), &key::<Operator>(1), body);
    world.take(&order);
    assert!(world.replica.seats(&order.id()).is_none());
}

#[test]
fn the_list_of_the_members_is_here_without_asking_and_follows_them() {
    let mut world = World::new();
    assert_eq!(world.replica.own_list(), Err(ListError::Length(0)));
    let ana = key::<Operator>(1);
    let invitation = world.fleet.invite(&ana, world.under, 9, &[], 9);
    for number in [1, 2] {
        let enrolled = world.fleet.enrol(&invitation, 9, number, &[]);
        world.replica.merge(Entry::Host(Box::new(enrolled)), &[]).unwrap();
    }
    let own = world.replica.own_list().unwrap();
    let mut ids = vec![host_id(1), host_id(2)];
    ids.sort_unstable();
    assert_eq!(own.hosts(), ids);
    assert!(Arc::ptr_eq(&own, &world.replica.own_list().unwrap()), "made once");
    let departure = Entry::Departure(world.fleet.departure(1, NOW));
    world.replica.merge(departure, &[]).unwrap();
    assert_eq!(world.replica.own_list().unwrap().hosts(), [host_id(2)]);
}

#[test]
fn lists_that_live_orders_name_stay_as_long_as_those_and_there_is_a_bound() {
    let mut world = World::new();
    let named = list(0);
    let order = world.order(1, &named, later(1000));
    world.take(&order);
    world.replica.keep_list(Arc::clone(&named));
    for number in 1..200 {
        assert!(world.replica.keep_list(list(number * 1000)));
    }
    assert!(world.replica.seats(&order.id()).is_some());
    assert_eq!(world.replica.recent_lists().count(), RECENT_MAX);
    assert_eq!(world.replica.lists.held.len(), RECENT_MAX + 1);

    for number in 0..=u8::try_from(LISTS_MAX).unwrap() {
        let list = list(1_000_000 + u32::from(number) * 1000);
        let order = world.order(10 + number, &list, later(1000));
        world.take(&order);
        world.replica.keep_list(list);
    }
    assert_eq!(world.replica.lists.held.len(), LISTS_MAX);
    assert!(world.replica.seats(&order.id()).is_some(), "what is named is not pushed out");
    assert_eq!(world.replica.lacking_lists().count(), 0, "for what there is no room nobody asks");
    assert!(!world.replica.keep_list(list(0xfff_0000)));

    let past = Timestamp(later(1000).0 + 4 * sample::HOUR_MS);
    assert_eq!(world.replica.sweep(past).len(), LISTS_MAX + 2);
    assert_eq!(world.replica.lists.held.len(), RECENT_MAX);
    assert!(world.replica.lists.named.is_empty());
}

#[test]
fn what_belongs_on_disk_is_told_once_and_taken_back_when_no_order_names_it() {
    let mut world = World::new();
    let (named, other) = (list(0), list(5000));
    world.replica.keep_list(Arc::clone(&named));
    world.replica.keep_list(Arc::clone(&other));
    assert!(world.replica.take_list_changes().is_empty());
    let order = world.order(1, &named, later(1000));
    world.take(&order);
    assert_eq!(world.replica.take_list_changes(), [(named.id(), Some(Arc::clone(&named)))]);
    assert!(world.replica.take_list_changes().is_empty());

    let mut restarted = World::new();
    restarted.take(&order);
    assert!(restarted.replica.seats(&order.id()).is_none());
    let unused = restarted.replica.restore_lists(vec![(*named).clone(), (*other).clone()]);
    assert_eq!(unused, [other.id()]);
    assert!(restarted.replica.seats(&order.id()).is_some());
    assert!(restarted.replica.take_list_changes().is_empty(), "they are there already");

    let past = Timestamp(later(1000).0 + 4 * sample::HOUR_MS);
    world.replica.sweep(past);
    assert_eq!(world.replica.take_list_changes(), [(named.id(), None)]);
}
