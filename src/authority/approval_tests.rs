//! Who may approve, whose word counts, and that nothing but the set decides it.

use super::*;
use crate::{
    authority::{
        AGENT_USER, ANY, Ask, Cut, Lift, Meant, RootChange, Whom,
        sample::{Fleet, HOUR_MS, NOW, certificate, host_id, key, later, pairs},
    },
    identity::{Cosigned, HostId, SecretKey},
};

/// A request as the layers above make them.
#[derive(Clone, Debug)]
struct Order {
    certificate: EntryId,
    run_as: String,
    roster: Vec<HostId>,
    expires: Timestamp,
}
wire_record!(Order closed { certificate, run_as, roster, expires });
impl Payload for Order {
    const KIND: Kind = Kind::Order;
    const BYTES_MAX: usize = 16 * 1024;
    type Signer = Operator;
}
impl Asks for Order {
    fn ask(&self) -> Ask<'_> {
        Ask {
            certificate: self.certificate,
            verb: Verb::Run,
            selector: "all",
            roster: Meant::Named(&self.roster),
            run_as: Some(&self.run_as),
            issued: NOW,
            expires: self.expires,
        }
    }
}

const BO: usize = 0;
const ANA: usize = 1;
const CEM: usize = 2;

/// A fleet whose operators are bo, who needs approvals, ana and cem, who may do everything, and whoever `more` adds;
/// the key of the one at place n is number n + 1. Its host 1 is tagged `role = web`.
struct Table {
    fleet: Fleet,
    ids: Vec<EntryId>,
    authority: Authority,
    admitted: Admitted<Order>,
}

fn operator(place: usize) -> SecretKey<Operator> {
    key(u8::try_from(place + 1).unwrap())
}

impl Table {
    fn new(needed: u8, more: &[(&str, u8)], change: impl Fn(usize, &mut Certificate)) -> Self {
        let mut all = vec![certificate("bo", &operator(BO)), certificate("ana", &operator(ANA))];
        all.push(certificate("cem", &operator(CEM)));
        all.extend(more.iter().map(|(person, number)| certificate(person, &key(*number))));
        all[BO].approvals = needed;
        all.iter_mut().enumerate().for_each(|(place, certificate)| change(place, certificate));
        let (fleet, ids) = Fleet::with(&all);
        let mut authority = fleet.authority();
        let tags = [("role", "web")];
        let invitation = fleet.invite(&operator(CEM), ids[CEM], 1, &tags, 9);
        authority.absorb_host(fleet.enrol(&invitation, 1, 1, &tags)).unwrap();
        let order = Order {
            certificate: ids[BO],
            run_as: "root".to_owned(),
            roster: vec![host_id(1)],
            expires: later(HOUR_MS),
        };
        let signed = Signed::sign(fleet.id(), &operator(BO), order);
        let admitted = authority.admit(signed).unwrap();
        Self { fleet, ids, authority, admitted }
    }

    fn signed(&self, by: &SecretKey<Operator>, change: impl FnOnce(&mut Approval)) -> Signed<Approval> {
        let mut body = Approval {
            certificate: self.ids[ANA],
            order: self.admitted.signed().id(),
            given: true,
            at: later(1),
            expires: later(HOUR_MS),
            reason: String::new(),
        };
        change(&mut body);
        Signed::sign(self.fleet.id(), by, body)
    }

    /// What the one at `place` gives.
    fn given(&self, place: usize, number: u8) -> Signed<Approval> {
        self.signed(&key(number), |body| body.certificate = self.ids[place])
    }

    fn judge(&self, approvals: &[&Signed<Approval>], now: Timestamp) -> Result<Vec<String>, Refusal> {
        let approvals: Vec<_> = approvals.iter().map(|approval| (*approval).clone()).collect();
        let host = self.authority.host(&host_id(1)).unwrap();
        self.authority.judge(&self.admitted, host_id(1), None, host, &approvals, now)
    }

    fn counts(&self, approval: &Signed<Approval>, now: Timestamp) -> bool {
        self.judge(&[approval], now).is_ok()
    }

    fn waits(&self, approvals: &[&Signed<Approval>], given: usize, needed: u8) {
        let person = "bo".to_owned();
        assert_eq!(self.judge(approvals, later(2)), Err(Refusal::NeedsApproval { person, given, needed }));
    }
}

#[test]
fn an_order_runs_once_enough_others_approve_it_and_says_who() {
    let table = Table::new(2, &[], |_, _| {});
    let (ana, cem) = (table.given(ANA, 2), table.given(CEM, 3));
    table.waits(&[], 0, 2);
    table.waits(&[&ana], 1, 2);
    table.waits(&[&ana, &ana, &ana], 1, 2);
    assert_eq!(table.judge(&[&ana, &cem], later(2)), Ok(vec!["ana".to_owned(), "cem".to_owned()]));
    assert_eq!(table.authority.approvals_needed(&table.admitted), 2);
    let host = table.authority.host(&host_id(1)).unwrap();
    let may: Vec<&str> = table.authority.approvers(&table.admitted, host, later(2)).into_iter().collect();
    assert_eq!(may, ["ana", "cem"]);
}

#[test]
fn an_order_that_needs_no_approval_waits_for_none_and_no_refusal_stops_it() {
    let table = Table::new(0, &[], |_, _| {});
    let refused = table.signed(&operator(ANA), |body| body.given = false);
    assert_eq!(table.judge(&[], later(2)), Ok(Vec::new()));
    assert_eq!(table.judge(&[&refused], later(2)), Ok(Vec::new()));
}

#[test]
fn two_keys_of_one_person_count_once() {
    let table = Table::new(2, &[("ana", 4)], |_, _| {});
    table.waits(&[&table.given(ANA, 2), &table.given(3, 4)], 1, 2);
    assert!(table.judge(&[&table.given(3, 4), &table.given(CEM, 3)], later(2)).is_ok());
}

#[test]
fn two_names_for_one_key_are_one_person() {
    // Ana's second key is also dee's, and dee's second is eve's.
    let more = [("ana", 4), ("dee", 4), ("dee", 5), ("eve", 5)];
    let table = Table::new(2, &more, |_, _| {});
    table.waits(&[&table.given(ANA, 2), &table.given(6, 5)], 1, 2);
    table.waits(&[&table.given(ANA, 2), &table.given(4, 4), &table.given(5, 5), &table.given(6, 5)], 1, 2);
}

#[test]
fn who_asks_never_counts_with_whatever_key_certificate_or_name() {
    // A second key, a second certificate of the same key, and another name for it.
    let table = Table::new(1, &[("bo", 4), ("bo", 1), ("bob", 1), ("bob", 5)], |_, _| {});
    for (place, number) in [(BO, 1), (3, 4), (4, 1), (5, 1), (6, 5)] {
        table.waits(&[&table.given(place, number)], 0, 1);
    }
    assert!(table.counts(&table.given(ANA, 2), later(2)));
}

#[test]
fn whom_who_asks_passed_a_certificate_on_to_does_not_count() {
    let mut table = Table::new(1, &[("bo", 4)], |_, _| {});
    let mut puppet = certificate("puppet", &key(5));
    puppet.verbs = vec![Verb::Approve];
    let own = table.fleet.grant(&key(4), table.ids[3], puppet.clone());
    let anas = table.fleet.grant(&operator(ANA), table.ids[ANA], puppet);
    table.authority.absorb_grant(own.clone()).unwrap();
    table.authority.absorb_grant(anas.clone()).unwrap();
    let by = |id| table.signed(&key(5), |body| body.certificate = id);
    table.waits(&[&by(own.id())], 0, 1);
    assert!(table.counts(&by(anas.id()), later(2)));
}

type Said = fn(&mut Approval);
type Held = fn(&mut Certificate);

#[test]
fn an_approval_is_for_exactly_what_was_signed() {
    let table = Table::new(1, &[], |_, _| {});
    let cases: [(&str, Said); 4] = [
        ("another order", |body| body.order = EntryId([7; 32])),
        ("another expiry", |body| body.expires = later(HOUR_MS + 1)),
        ("another's certificate", |body| body.certificate = EntryId([7; 32])),
        ("after the end", |body| body.at = later(HOUR_MS + 1)),
    ];
    for (what, change) in cases {
        assert!(!table.counts(&table.signed(&operator(ANA), change), later(2)), "{what}");
    }
    // Signed by one, under the certificate of another.
    table.waits(&[&table.given(ANA, 3)], 0, 1);
}

#[test]
fn only_whose_certificate_covers_it_on_this_host_approves() {
    let cases: [(&str, Held, bool); 10] = [
        ("everything", |_| {}, true),
        ("the same verb alone", |c| c.verbs = vec![Verb::Run], true),
        ("approving alone", |c| (c.verbs, c.run_as) = (vec![Verb::Approve], Vec::new()), true),
        ("another verb", |c| c.verbs = vec![Verb::Session, Verb::Suspend, Verb::Grant], false),
        (
            "the same verb as another user",
            |c| {
                (c.verbs, c.run_as) = (vec![Verb::Run], vec![AGENT_USER.into()]);
            },
            false,
        ),
        ("these tags", |c| c.scope = "tag.role = web".into(), true),
        ("other tags", |c| c.scope = "tag.role = db".into(), false),
        ("needs approvals for what it asks itself", |c| c.approvals = 3, true),
        ("too few hosts", |c| c.hosts_max = Some(0), false),
        ("enough hosts", |c| c.hosts_max = Some(1), true),
    ];
    for (what, change, counts) in cases {
        let table = Table::new(1, &[], |place, certificate| {
            if place == ANA {
                change(certificate);
            }
        });
        assert_eq!(table.counts(&table.given(ANA, 2), later(2)), counts, "{what}");
    }
}

#[test]
fn an_approval_is_void_once_its_signer_or_the_order_is_past() {
    let table = Table::new(1, &[], |place, certificate| {
        if place == CEM {
            certificate.not_after = later(10);
        }
    });
    let cem = table.given(CEM, 3);
    assert!(table.counts(&cem, later(10)));
    assert!(!table.counts(&cem, later(11)), "by an expired person");
    let ana = table.given(ANA, 2);
    assert!(table.counts(&ana, later(HOUR_MS)));
    assert_eq!(table.judge(&[&ana], later(HOUR_MS + 1)), Err(Refusal::Expired { at: later(HOUR_MS) }));
    // Of a time that is not yet, as far as clocks may differ.
    let ahead = table.signed(&operator(ANA), |body| body.at = later(HOUR_MS / 2));
    assert!(!table.counts(&ahead, later(2)));
    assert!(table.counts(&ahead, later(HOUR_MS / 2)));
}

#[test]
fn an_approval_is_void_from_when_its_signer_is_suspended_and_stays_so_after_a_lift() {
    let mut table = Table::new(1, &[], |_, _| {});
    let before = table.given(ANA, 2);
    assert!(table.counts(&before, later(2)));
    let whom = Whom::Person { name: "ana".to_owned() };
    let suspension = table.fleet.suspend(&operator(CEM), table.ids[CEM], whom, Cut::default());
    table.authority.absorb_suspension(suspension.clone()).unwrap();
    table.waits(&[&before], 0, 1);
    let lift = Lift { stops: vec![suspension.id()], at: later(5), reason: String::new() };
    let next = table.fleet.chain.next(RootChange::Lift(lift));
    let lift = Cosigned::sign(table.fleet.id(), &[&table.fleet.root], next);
    table.authority.absorb_root(lift.bytes()).unwrap();
    assert!(!table.counts(&before, later(7)), "it may have waited somewhere");
    let anew = table.signed(&operator(ANA), |body| body.at = later(6));
    assert!(table.counts(&anew, later(7)));
}

#[test]
fn one_refusal_by_somebody_who_may_approve_stands_against_all() {
    let table = Table::new(1, &[("dee", 4)], |place, certificate| {
        if place == 3 {
            certificate.scope = "tag.role = db".into();
        }
    });
    let refuse = |place: usize, number: u8, why: &str| {
        table.signed(&key(number), |body| {
            (body.certificate, body.given, body.reason) = (table.ids[place], false, why.to_owned());
        })
    };
    let (ana, no) = (table.given(ANA, 2), refuse(CEM, 3, "not on a Friday"));
    let refusal = Err(Refusal::NotApproved { by: "cem".into(), reason: "not on a Friday".into() });
    assert_eq!(table.judge(&[&ana, &no], later(2)), refusal);
    assert_eq!(table.judge(&[&no, &ana], later(2)), refusal);
    // Her own, whichever came first.
    assert!(table.judge(&[&ana, &refuse(ANA, 2, "")], later(2)).is_err());
    // Who may not approve here, or asks, refuses nothing.
    assert!(table.judge(&[&ana, &refuse(3, 4, ""), &refuse(BO, 1, "")], later(2)).is_ok());
}

#[test]
fn every_order_of_delivery_gives_the_same_verdict() {
    let table = Table::new(2, &[("dee", 4), ("ana", 5)], |_, _| {});
    let all = [
        table.given(ANA, 2),
        table.given(CEM, 3),
        table.given(3, 4),
        table.given(4, 5),
        table.signed(&key(4), |body| (body.certificate, body.given) = (table.ids[3], false)),
    ];
    // Every subset, in every rotation and its reverse.
    for subset in 0..1_u32 << all.len() {
        let chosen: Vec<_> =
            all.iter().enumerate().filter(|(at, _)| subset >> at & 1 == 1).map(|(_, one)| one).collect();
        let verdict = table.judge(&chosen, later(2));
        for at in 0..chosen.len() {
            let mut other = chosen.clone();
            other.rotate_left(at);
            assert_eq!(table.judge(&other, later(2)), verdict);
            other.reverse();
            assert_eq!(table.judge(&other, later(2)), verdict);
        }
    }
}

#[test]
fn what_is_kept_is_by_who_has_a_say_and_bounded() {
    let table = Table::new(1, &[("dee", 4)], |place, certificate| {
        if place == 3 {
            certificate.verbs = vec![Verb::Tag, Verb::Suspend];
            certificate.tags = pairs(&[(ANY, ANY)]);
        }
    });
    let keeps = |approval: &Signed<Approval>| table.authority.keeps_approval(approval);
    assert_eq!(keeps(&table.given(ANA, 2)), Ok(()));
    assert_eq!(keeps(&table.given(BO, 1)), Ok(()), "without effect");
    assert!(matches!(keeps(&table.given(3, 4)), Err(Refusal::VerbNotGranted { .. })));
    assert_eq!(keeps(&table.given(ANA, 3)), Err(Refusal::NotTheHolder));
    let long = table.signed(&operator(ANA), |body| body.reason = "x".repeat(REASON_BYTES_MAX + 1));
    assert!(matches!(keeps(&long), Err(Refusal::Malformed(_))));
    let ever = table.signed(&operator(ANA), |body| body.expires = later(40 * 24 * HOUR_MS));
    assert_eq!(keeps(&ever), Err(Refusal::ValidTooLong));
    let ended = table.signed(&operator(ANA), |body| body.expires = body.at);
    assert_eq!(keeps(&ended), Err(Refusal::ValidTooLong));
}
