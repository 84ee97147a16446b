use super::agent::{Fleet, NOW};
use crate::{
    authority::{Refusal, Verb},
    identity::{EntryId, HostId, Signed},
    replica::{Action, Limits, Order, Roster},
    services::run::{Foreseen, foresee, keepers},
    time::Timestamp,
};
use std::{collections::BTreeSet, time::Duration};

const HOSTS: &[(&str, &str)] =
    &[("web-1", "web"), ("web-2", "web"), ("db-1", "db"), ("far-1", "quiet"), ("cache", "cache")];

pub(super) fn order(fleet: &Fleet, change: impl FnOnce(&mut Order)) -> Signed<Order> {
    let mut hosts: Vec<HostId> = fleet.members.iter().map(|member| member.id).collect();
    hosts.sort();
    let mut body = Order {
        nonce: [0; 16],
        certificate: fleet.certificate,
        issued: NOW,
        expires: NOW.after(Duration::from_secs(60)),
        selector: "all".to_owned(),
        roster: Roster::Inline { hosts },
        action: Action::Argv { argv: vec![] },
        run_as: "root".to_owned(),
        limits: Limits { timeout_ms: 1, output_bytes_max: 1 },
        keepers: vec![],
        reason: None,
    };
    change(&mut body);
    Signed::sign(fleet.chain.fleet(), &fleet.operator, body)
}

#[test]
fn what_hosts_would_refuse_is_refused_before_it_is_sent() {
    let judge = |fleet: &Fleet, at: Timestamp| {
        let authority = fleet.replica.authority();
        let order = order(fleet, |_| {});
        let hosts = order.body().roster.named().to_vec();
        foresee(authority, order, &hosts, at)?.accepted(authority)
    };
    assert!(judge(&Fleet::of(HOSTS), NOW).is_ok());

    let scoped = Fleet::with(HOSTS, |certificate| certificate.scope = "tag.role = web".to_owned());
    let Foreseen { hosts, refusal, .. } = judge(&scoped, NOW).unwrap_err();
    assert_eq!(hosts, "cache,db-1,far-1");
    assert!(matches!(refusal, Refusal::OutOfScope { .. }));

    let as_user = Fleet::with(HOSTS, |certificate| certificate.run_as = vec!["deploy".to_owned()]);
    assert!(matches!(judge(&as_user, NOW).unwrap_err().refusal, Refusal::RunAsNotGranted { .. }));
    let capped = Fleet::with(HOSTS, |certificate| certificate.hosts_max = Some(2));
    assert_eq!(
        judge(&capped, NOW).unwrap_err().to_string(),
        "not permitted: 5 hosts, where the certificate of ana allows 2; it allows run, invite, tag, read on all as any \
         user, at most 2 hosts an order"
    );
    let verbless = Fleet::with(HOSTS, |certificate| certificate.verbs = vec![Verb::Tag]);
    assert!(matches!(judge(&verbless, NOW).unwrap_err().refusal, Refusal::VerbNotGranted { .. }));
    let expired =
        Fleet::with(HOSTS, |certificate| certificate.not_after = NOW.before(Duration::from_secs(1)));
    assert!(matches!(judge(&expired, NOW).unwrap_err().refusal, Refusal::CertificateExpired { .. }));
    let fleet = Fleet::of(HOSTS);
    let unknown = order(&fleet, |order| order.certificate = EntryId([9; 32]));
    let refusal = foresee(fleet.replica.authority(), unknown, &[], NOW).unwrap_err().refusal;
    assert_eq!(refusal, Refusal::UnknownCertificate);
}

#[test]
fn keepers_are_the_entry_host_and_listeners_that_the_nonce_picks() {
    let fleet = Fleet::of(HOSTS);
    let entry = fleet.member("far-1").id;
    let mut picked = BTreeSet::new();
    for nonce in 0..32 {
        let keepers = keepers(&fleet.replica, entry, &[nonce; 16]);
        assert_eq!((keepers.len(), keepers[0]), (4, entry));
        let different: BTreeSet<_> = keepers.iter().collect();
        assert_eq!(different.len(), 4, "each once");
        picked.extend(keepers);
    }
    assert_eq!(picked.len(), HOSTS.len(), "the burden is spread");
    let entry = fleet.member("web-1").id;
    let silent = fleet.member("far-1").id;
    assert!(!(0..32).any(|nonce| keepers(&fleet.replica, entry, &[nonce; 16]).contains(&silent)));
}
