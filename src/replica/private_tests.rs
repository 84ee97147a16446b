use std::time::Duration;

use super::*;
use crate::{
    authority::sample::{self, NOW},
    identity::Payload as _,
    replica::Limits,
};

const FLEET: FleetId = FleetId([7; 32]);
const CANARY: &[u8] = b"canary-3f1c";

fn secret(host: &HostId) -> SealSecret {
    SealSecret::from_seed(blake3::hash(&host.0).as_bytes())
}

fn command() -> Command {
    let argv = [&b"echo"[..], CANARY].map(Bytes::from).to_vec();
    Command { salt: [5; 16], argv, shipped: SealSecret::from_seed(&[6; 32]) }
}

fn hosts(count: u8) -> Vec<HostId> {
    let mut hosts: Vec<HostId> = (1..=count).map(sample::host_id).collect();
    hosts.sort();
    hosts
}

fn open_order(hosts: &[HostId]) -> Order {
    let private = Private {
        hash: [0; 32],
        command: Bytes::default(),
        stanzas: Vec::new(),
        reader: SealSecret::from_seed(&[8; 32]).public(),
        stdin: None,
        script: None,
    };
    Order {
        nonce: [1; 16],
        certificate: EntryId([2; 32]),
        issued: NOW,
        expires: NOW.after(Duration::from_secs(60)),
        selector: "*".to_owned(),
        roster: Roster::Inline { hosts: hosts.to_vec() },
        action: Action::Private { private },
        run_as: "root".to_owned(),
        limits: Limits { timeout_ms: 1000, output_bytes_max: 1000 },
        keepers: Vec::new(),
        reason: None,
    }
}

fn drawing() -> impl FnMut() -> [u8; 32] {
    let mut drawn = 0_u64;
    move || {
        drawn += 1;
        *blake3::hash(&drawn.to_le_bytes()).as_bytes()
    }
}

fn sealed(hosts: &[HostId]) -> Order {
    let mut order = open_order(hosts);
    order.seal(&FLEET, &command(), |host| Some(secret(host).public()), drawing()).unwrap();
    order
}

fn private(order: &mut Order) -> &mut Private {
    let Action::Private { private } = &mut order.action else { panic!("it is private") };
    private
}

#[test]
fn each_host_of_the_roster_reads_the_command_and_nobody_else_does() {
    let all = hosts(5);
    let order = sealed(&all[..4]);
    let bytes = wire::encode(&order);
    assert!(!bytes.windows(CANARY.len()).any(|window| window == CANARY), "it is in the open");
    for host in &all[..4] {
        assert_eq!(order.unseal(&FLEET, host, &secret(host)), Ok(Some(command())));
        assert!(order.unseal(&FLEET, host, &secret(&all[4])).is_err(), "by another's key");
    }
    assert_eq!(order.unseal(&FLEET, &all[4], &secret(&all[4])), Err(PrivateError::NotHere));
    assert!(order.unseal(&FleetId([8; 32]), &all[0], &secret(&all[0])).is_err(), "in another fleet");
}

type Change = fn(&mut Order);

/// What somebody else with a good certificate could make of it: an order of his own around the same seals.
#[test]
fn a_seal_that_was_moved_under_another_header_does_not_open() {
    let all = hosts(3);
    let changes: [(&str, Change); 14] = [
        ("nonce", |order| order.nonce[0] ^= 1),
        ("certificate", |order| order.certificate.0[0] ^= 1),
        ("issued", |order| order.issued = order.issued.after(Duration::from_millis(1))),
        ("expires", |order| order.expires = order.expires.after(Duration::from_secs(1))),
        ("selector", |order| order.selector = "tag.role = db".to_owned()),
        ("roster shorter", |order| {
            order.roster = Roster::Inline { hosts: hosts(2) };
            private(order).stanzas.pop();
        }),
        ("roster longer", |order| {
            order.roster = Roster::Inline { hosts: hosts(4) };
            let more = private(order).stanzas[0].clone();
            private(order).stanzas.push(more);
        }),
        ("run as", |order| order.run_as = "www".to_owned()),
        ("time limit", |order| order.limits.timeout_ms += 1),
        ("output limit", |order| order.limits.output_bytes_max += 1),
        ("keepers", |order| order.keepers.push(sample::host_id(9))),
        ("reason", |order| order.reason = Some("good".to_owned())),
        ("reader", |order| private(order).reader = SealSecret::from_seed(&[66; 32]).public()),
        ("stdin", |order| private(order).stdin = Some(Blob::of(b"else"))),
    ];
    for (what, change) in changes {
        let mut order = sealed(&all);
        change(&mut order);
        let opened: Vec<_> = all.iter().map(|host| order.unseal(&FLEET, host, &secret(host))).collect();
        assert!(opened.iter().all(Result::is_err), "{what}: {opened:?}");
    }
}

#[test]
fn seals_of_two_hosts_that_were_swapped_open_for_neither() {
    let all = hosts(2);
    let mut order = sealed(&all);
    private(&mut order).stanzas.swap(0, 1);
    for host in &all {
        assert!(order.unseal(&FLEET, host, &secret(host)).is_err());
    }
    let mut order = sealed(&all);
    private(&mut order).stanzas.pop();
    for host in &all {
        assert_eq!(order.unseal(&FLEET, host, &secret(host)), Err(PrivateError::Hosts));
    }
}

/// Who signs can seal one thing and say the hash of another; the host runs neither.
#[test]
fn a_command_that_is_not_the_one_that_was_signed_for_is_refused() {
    let all = hosts(1);
    let mut order = open_order(&all);
    private(&mut order).hash = [9; 32];
    let header = header(&order, &FLEET);
    let key = SealSecret::from_seed(&[1; 32]);
    let plain = wire::encode(&command());
    let command = seal(key.public(), Seal::Command, &FLEET, &header, &plain, &[2; 32]).unwrap();
    let to = secret(&all[0]).public();
    let about = stanza(&header, &all[0]);
    let own = seal(to, Seal::Stanza, &FLEET, &about, key.seed(), &[3; 32]).unwrap();
    (private(&mut order).command, private(&mut order).stanzas) = (Bytes(command), vec![Bytes(own)]);
    assert_eq!(order.unseal(&FLEET, &all[0], &secret(&all[0])), Err(PrivateError::Other));
}

#[test]
fn the_hash_in_the_open_does_not_tell_what_it_is_of() {
    let other = Command { salt: [6; 16], ..command() };
    assert_ne!(command().hash(), other.hash(), "the same words have another hash each time");
}

#[test]
fn a_private_order_for_the_most_hosts_fits_and_for_one_more_is_refused() {
    let most: Vec<HostId> = (0..PRIVATE_HOSTS_MAX)
        .map(|number| HostId(*blake3::hash(&number.to_le_bytes()).as_bytes()))
        .collect();
    let order = sealed(&most);
    assert!(wire::encode(&order).len() < Order::BYTES_MAX / 4, "{}", wire::encode(&order).len());
    let more = [&most[..], &[HostId([1; 32])]].concat();
    for hosts in [&more[..], &[]] {
        let mut order = open_order(hosts);
        let sealed = order.seal(&FLEET, &command(), |host| Some(secret(host).public()), drawing());
        assert_eq!(sealed, Err(PrivateError::Hosts));
    }
}

#[test]
fn a_host_without_a_good_key_is_named_and_nothing_is_sealed() {
    let all = hosts(2);
    for key in [None, Some(SealPublic([0; 32]))] {
        let mut order = open_order(&all);
        let seal_of = |host: &HostId| if *host == all[1] { key } else { Some(secret(host).public()) };
        assert_eq!(order.seal(&FLEET, &command(), seal_of, drawing()), Err(PrivateError::NoKey(all[1])));
        assert!(private(&mut order).stanzas.is_empty());
    }
}

#[test]
fn output_opens_for_its_order_host_and_stream_alone() {
    let (order, host) = (EntryId([1; 32]), sample::host_id(1));
    let reader = SealSecret::from_seed(&[8; 32]);
    let sink = Sink { to: reader.public(), fleet: FLEET, order, host };
    let mut sealer = sink.sealer(false, &[4; 32]).unwrap();
    let sealed = [sealer.piece(CANARY), sealer.end(true)].concat();
    let open = |order: EntryId, host: HostId, stderr: bool, reader: &SealSecret| {
        output_opener(reader, FLEET, &order, &host, stderr).push(&sealed)
    };
    assert_eq!(open(order, host, false, &reader).unwrap(), CANARY);
    assert!(open(EntryId([2; 32]), host, false, &reader).is_err());
    assert!(open(order, sample::host_id(2), false, &reader).is_err());
    assert!(open(order, host, true, &reader).is_err());
    assert!(open(order, host, false, &secret(&host)).is_err(), "the host itself does not read it");
}

#[test]
fn what_is_shipped_opens_with_the_command_alone() {
    let sealed = command().seal_shipped(&FLEET, CANARY, &[4; 32]).unwrap();
    assert!(!sealed.windows(CANARY.len()).any(|window| window == CANARY));
    assert_eq!(command().open_shipped(&FLEET, &sealed).unwrap(), CANARY);
    let other = Command { shipped: SealSecret::from_seed(&[7; 32]), ..command() };
    assert!(other.open_shipped(&FLEET, &sealed).is_err());
}
