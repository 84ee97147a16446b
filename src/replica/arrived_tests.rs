use super::*;
use crate::{
    authority::sample::{Fleet, NOW, hlc, key},
    identity::{FleetId, Signed, verifications_here},
    replica::Head,
};

fn head(of: &Fleet, sequence: u64) -> Item {
    let body = Head { epoch: 0, sequence, previous: None, at: hlc(NOW), facets: Vec::new(), audit: None };
    Item::bare(Signed::sign(of.id(), &key(1), body).bytes())
}

#[test]
fn it_is_verified_once_and_its_copies_with_it_and_nothing_else() {
    let fleet = Fleet::with(&[]).0;
    let item = head(&fleet, 1);
    let before = verifications_here();
    let mut one = Arrived::from(item.clone());
    one.check(fleet.id()).unwrap();
    one.check(fleet.id()).unwrap();
    let mut copy = Arrived::from(item.clone());
    copy.check_as(&one);
    for arrived in [one.clone(), copy] {
        assert_eq!(arrived.verify(fleet.id()).unwrap().0.bytes(), &item.entry.0[..]);
    }
    assert_eq!(verifications_here() - before, 1);
    // One other byte, in the signature or before it, is another entry.
    for at in 0..item.entry.0.len() {
        let mut altered = item.clone();
        altered.entry.0[at] ^= 1;
        let mut altered = Arrived::from(altered);
        altered.check_as(&one);
        assert!(!altered.is_checked() && altered.verify(fleet.id()).is_err(), "byte {at}");
    }
}

#[test]
fn what_was_checked_for_one_fleet_is_none_of_anothers() {
    let fleet = Fleet::with(&[]).0;
    let mut arrived = Arrived::from(head(&fleet, 1));
    arrived.check(fleet.id()).unwrap();
    let other = FleetId([9; 32]);
    assert!(arrived.clone().verify(other).is_err());
    assert!(arrived.check(other).is_err() && !arrived.is_checked());
}
