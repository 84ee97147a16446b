//! Golden bytes: every kind of signed object, made from the development keys in `keys/`. What stands in
//! the `.hex` files must decode for ever; where the code makes other bytes, it is the code that is wrong.
//!
//! A file has a comment per field and hex between; `MUSTER_BLESS=1 cargo test --test wire` writes files
//! that are not there yet (delete one to have it written anew).

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail like the test"
)]

mod file;
mod objects;
mod ssh;

use file::{Names, leaf, list, record};
use muster::{
    authority::{
        Admission, Approval, Authority, Certificate, ChainError, Departure, Enrolled, Enrolment, Genesis,
        Grant, Halt, HostCertificate, HostKeys, Invitation, ListPlace, Listing, OfflineRequest, Op, Recovery,
        RootChain, RootChange, RootUpdate, Suspension, TagChange, Whom, stands,
    },
    identity::{
        Cosigned, FleetId, HostId, JoinToken, KeyError, Kind, Payload, PublicKey, Root, SecretKey, Signed,
        TokenError, is_development_key, peek,
    },
    replica::{
        Action, Blob, Cancellation, Card, Entry, EntryError, Equivocation, FacetRef, Head, Limits, NodeFacet,
        Order, Outcome, Output, ReadRequest, Receipt, Replica, Report, ResultRecord, Roster,
    },
    sync::{Message, pack, pack_places, unpack, unpack_places},
    time::{Hlc, Timestamp},
    wire::{self, Bytes, Value, Wire, WireError},
};
use objects::{fleet, names};
use std::{fmt::Debug, marker::PhantomData};

/// The body of a `T` as someone else wrote it.
struct Raw<T>(Value, PhantomData<T>);

impl<T> Wire for Raw<T> {
    fn to_value(&self) -> Value {
        self.0.clone()
    }
    fn from_value(value: Value, _: &'static str) -> Result<Self, WireError> {
        Ok(Self(value, PhantomData))
    }
}

impl<T: Payload> Payload for Raw<T> {
    const KIND: Kind = T::KIND;
    const BYTES_MAX: usize = T::BYTES_MAX;
    type Signer = T::Signer;
}

fn with_one_more_field(value: &Value) -> Value {
    let mut items = value.as_array().unwrap().clone();
    items.push(Value::from("from a newer version"));
    Value::Array(items)
}

/// The kinds that these bytes verify as.
fn taken_as(bytes: &[u8]) -> Vec<Kind> {
    fn one<T: Payload>(bytes: &[u8], taken: &mut Vec<Kind>) {
        if Signed::<T>::verify(bytes, fleet()).is_ok() {
            taken.push(T::KIND);
        }
    }
    let mut taken = Vec::new();
    for fleet in [fleet(), FleetId([0; 32])] {
        if Cosigned::<RootUpdate>::verify(bytes, fleet).is_ok() {
            taken.push(Kind::Root);
        }
    }
    one::<Op>(bytes, &mut taken);
    one::<Invitation>(bytes, &mut taken);
    one::<Enrolment>(bytes, &mut taken);
    one::<HostCertificate>(bytes, &mut taken);
    one::<Head>(bytes, &mut taken);
    one::<Order>(bytes, &mut taken);
    one::<Cancellation>(bytes, &mut taken);
    one::<ResultRecord>(bytes, &mut taken);
    one::<Card>(bytes, &mut taken);
    one::<ReadRequest>(bytes, &mut taken);
    one::<Departure>(bytes, &mut taken);
    one::<Receipt>(bytes, &mut taken);
    one::<Suspension>(bytes, &mut taken);
    one::<Halt>(bytes, &mut taken);
    one::<Grant>(bytes, &mut taken);
    one::<Approval>(bytes, &mut taken);
    one::<Admission>(bytes, &mut taken);
    one::<OfflineRequest>(bytes, &mut taken);
    taken
}

/// What must hold of any signed object's bytes.
fn hardened(name: &str, kind: Kind, bytes: &[u8], fleet: FleetId) {
    assert_eq!(taken_as(bytes), [kind], "{name} is of one kind alone");
    for at in 0..bytes.len() {
        assert!(taken_as(&bytes[..at]).is_empty(), "{name} cut at {at}");
        assert!(peek(&bytes[..at]).is_err(), "{name} cut at {at}");
        for bit in 0..8 {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 1 << bit;
            assert!(taken_as(&flipped).is_empty(), "{name}: bit {bit} of byte {at}");
        }
    }
    let mut longer = bytes.to_vec();
    longer.push(0xf6);
    assert!(taken_as(&longer).is_empty(), "{name}: a byte more");
    assert_eq!(peek(bytes).unwrap().kind, kind as u16);
    match Entry::verify(bytes, fleet) {
        Ok(entry) => assert_eq!((entry.bytes(), entry.id()), (bytes, peek(bytes).unwrap().id)),
        Err(error) => {
            assert_eq!(error, EntryError::NotAnEntry(kind as u16), "{name}");
            let kept = matches!(
                kind,
                Kind::Enrolment | Kind::Result | Kind::Card | Kind::Read | Kind::Receipt | Kind::Request
            );
            assert!(kept, "{name}");
        }
    }
}

/// Whether a newer version's field behind the known ones is passed over or makes the object worthless.
#[derive(Clone, Copy, PartialEq)]
enum Ends {
    Open,
    Closed,
}

fn golden<T: Payload + Clone + PartialEq + Debug>(
    name: &str,
    key: &SecretKey<T::Signer>,
    body: &T,
    ends: Ends,
    body_names: Names,
) -> Vec<u8> {
    let made = Signed::sign(fleet(), key, body.clone());
    let bytes = file::golden(name, made.bytes(), &names(body_names));
    assert_eq!(made.bytes(), bytes, "{name}");
    let read = Signed::<T>::verify(&bytes, fleet()).unwrap();
    assert_eq!((read.body(), read.id(), read.signer()), (body, made.id(), key.public()), "{name}");
    assert_eq!(read.bytes(), bytes, "{name}");
    hardened(name, T::KIND, &bytes, fleet());
    let strange = FleetId([0xee; 32]);
    assert!(Signed::<T>::verify(&bytes, strange).is_err(), "{name} is for one fleet alone");

    let newer = Signed::sign(fleet(), key, Raw::<T>(with_one_more_field(&body.to_value()), PhantomData));
    assert_ne!(newer.id(), made.id());
    let read = Signed::<T>::verify(newer.bytes(), fleet());
    match (ends, read) {
        (Ends::Open, Ok(read)) => {
            assert_eq!(read.body(), body, "{name}");
            assert_eq!((read.bytes(), read.id()), (newer.bytes(), newer.id()), "{name}: relayed as received");
        }
        (Ends::Closed, Err(error)) => {
            assert!(error.to_string().ends_with("fields that this version does not know"), "{name}: {error}");
        }
        (Ends::Open, Err(error)) => panic!("{name} refuses a newer field: {error}"),
        (Ends::Closed, Ok(_)) => panic!("{name} passes over a field that it does not know"),
    }
    bytes
}

#[test]
fn op_tag() {
    golden("op-tag", &objects::operator(), &objects::op(), Ends::Open, objects::op_names());
}

#[test]
fn op_group() {
    let set = objects::op_group(Some("tag.env = prod"));
    golden("op-group", &objects::operator(), &set, Ends::Open, objects::op_group_names());
    let removed = objects::op_group(None);
    golden("op-group-removed", &objects::operator(), &removed, Ends::Open, objects::op_group_names());
}

#[test]
fn invitation() {
    golden(
        "invitation",
        &objects::operator(),
        &objects::invitation(),
        Ends::Closed,
        objects::invitation_names(),
    );
}

#[test]
fn enrolment() {
    golden("enrolment", &objects::token(), &objects::enrolment(), Ends::Closed, objects::enrolment_names());
}

#[test]
fn host_certificate() {
    let bytes = golden(
        "host-certificate",
        &objects::stream(),
        &objects::host_certificate(),
        Ends::Closed,
        objects::host_certificate_names(),
    );
    let enrolled = Enrolled::verify(&bytes, fleet()).unwrap();
    assert_eq!(enrolled.enrolment(), &objects::enrolment());
    assert_eq!(enrolled.invitation().body(), &objects::invitation());
}

#[test]
fn a_head_from_before_its_facets_had_times_is_still_read() {
    let bytes = file::unhex(include_str!("head-without-times.hex"));
    let read = Signed::<Head>::verify(&bytes, fleet()).unwrap();
    assert_eq!(read.bytes(), bytes);
    assert_eq!(read.body().facets[0].at, None);
    assert_eq!((read.body().epoch, read.body().sequence), (1, 2));
    hardened("head-without-times", Kind::Head, &bytes, fleet());
}

#[test]
fn head_and_node_facet() {
    golden("head", &objects::stream(), &objects::head(), Ends::Open, objects::head_names());
    let facet = wire::encode(&objects::node_facet());
    let names = record("facet", [leaf("agent"), leaf("os"), list("addresses", leaf("address"))]);
    assert_eq!(file::golden("node-facet", &facet, &names), facet);
    assert_eq!(wire::decode::<NodeFacet>(&facet, 4096).unwrap(), objects::node_facet());
    for at in 0..facet.len() {
        assert!(wire::decode::<NodeFacet>(&facet[..at], 4096).is_err(), "cut at {at}");
    }
}

#[test]
fn order() {
    golden("order", &objects::operator(), &objects::order(), Ends::Closed, objects::order_names());
}

#[test]
fn order_with_what_is_shipped() {
    let (order, names) = (objects::shipped_order(), objects::shipped_order_names());
    golden("order-shipped", &objects::operator(), &order, Ends::Closed, names);
    // What is left out is said to be, and an order for a program alone has the bytes that it always had.
    let bare = Action::Shipped { argv: Vec::new(), stdin: None, script: None };
    assert_eq!(wire::encode(&bare), b"\x84\x01\x80\xf6\xf6");
    assert_eq!(wire::encode(&Action::Argv { argv: Vec::new() }), b"\x82\x00\x80");
}

#[test]
fn private_order() {
    let (order, names) = (objects::private_order(), objects::private_order_names());
    golden("order-private", &objects::operator(), &order, Ends::Closed, names);
    let Roster::Inline { hosts } = &order.roster else { panic!("it names its hosts") };
    for host in hosts {
        let command = order.unseal(&fleet(), host, &objects::private_key()).unwrap().unwrap();
        assert_eq!(command.argv[1].0, b"secret");
    }
}

#[test]
fn order_for_some_of_a_list() {
    let order = objects::marked_order();
    golden("order-bitmap", &objects::operator(), &order, Ends::Closed, objects::marked_order_names());
    let list = objects::list_of(0..600);
    assert_eq!(order.roster.list(), Some(list.id()));
    assert_eq!(order.roster.count(), 595);
    let Roster::Bitmap { members, bits, .. } = order.roster else { panic!("it marks hosts of a list") };
    assert_eq!((members, bits.0.len(), bits.0[0], bits.0[74]), (600, 75, 0b1110_0000, 0xff));
}

#[test]
fn the_name_of_a_list_and_what_proves_a_place_in_it() {
    let list = objects::list_of(0..5);
    let place = list.place(&list.hosts()[2]).unwrap();
    let bytes = wire::encode(&place);
    let names = record("place", [leaf("index"), file::list("path", leaf("hash"))]);
    assert_eq!(file::golden("list-place", &bytes, &names), bytes);
    let read: ListPlace = wire::decode(&bytes, 4096).unwrap();
    assert_eq!(read, place);
    assert!(stands(&list.id(), 5, &list.hosts()[2], &read));
}

#[test]
fn a_question_for_a_list_and_its_answers() {
    fn golden(name: &str, message: &Message, names: &Names) {
        let bytes = wire::encode(message);
        assert_eq!(file::golden(name, &bytes, names), bytes, "{name}");
        assert_eq!(wire::decode::<Message>(&bytes, 4096).as_ref(), Ok(message), "{name}");
        for at in 0..bytes.len() {
            assert!(wire::decode::<Message>(&bytes[..at], 4096).is_err(), "{name} cut at {at}");
        }
    }
    let (old, new) = (objects::list_of(0..40), objects::list_of(3..42));
    let (id, have) = (new.id(), vec![old.id()]);
    let names = record("message", [leaf("want list"), leaf("list"), list("has", leaf("list"))]);
    golden("sync-want-list", &Message::WantList { list: id, have }, &names);
    let answer = |form| record("message", [leaf("list"), leaf("list"), form]);
    let names = answer(record("listing", [leaf("absent")]));
    golden("sync-list-absent", &Message::List { list: id, listing: Listing::Absent {} }, &names);
    let names = answer(record("listing", [leaf("whole"), leaf("hosts")]));
    let whole = objects::list_of(0..2);
    golden("sync-list-whole", &Message::List { list: whole.id(), listing: whole.listing(None) }, &names);
    let removed = list("removed", leaf("place"));
    let names = answer(record("listing", [leaf("changed"), leaf("base"), removed, leaf("added")]));
    golden("sync-list-changed", &Message::List { list: id, listing: new.listing(Some(&old)) }, &names);
}

#[test]
fn cancellation() {
    golden(
        "cancellation",
        &objects::operator(),
        &objects::cancellation(),
        Ends::Open,
        record("body", [leaf("order"), leaf("at, in ms"), leaf("expires, in ms")]),
    );
}

#[test]
fn approval() {
    let fields = ["certificate", "order", "given, else refused", "at, in ms", "expires, in ms", "reason"];
    let (body, names) = (objects::approval(), record("body", fields.map(leaf)));
    golden("approval", &objects::operator(), &body, Ends::Closed, names);
}

#[test]
fn result() {
    golden("result", &objects::executor(), &objects::result(), Ends::Open, objects::result_names());
}

#[test]
fn every_outcome() {
    let outcomes = objects::outcomes();
    let bytes = wire::encode(&outcomes);
    let names = list("outcomes", list("outcome: its number and what belongs to it", leaf("part")));
    assert_eq!(file::golden("outcomes", &bytes, &names), bytes);
    assert_eq!(wire::decode::<Vec<Outcome>>(&bytes, 4096).unwrap(), outcomes);
}

#[test]
fn card() {
    golden(
        "card",
        &objects::operator(),
        &objects::card(),
        Ends::Closed,
        record(
            "body",
            [leaf("certificate"), leaf("transport key"), leaf("issued, in ms"), leaf("expires, in ms")],
        ),
    );
}

#[test]
fn read_request() {
    golden(
        "read-request",
        &objects::operator(),
        &objects::read_request(),
        Ends::Closed,
        record("body", [leaf("certificate"), leaf("order"), leaf("issued, in ms"), leaf("expires, in ms")]),
    );
}

#[test]
fn receipt() {
    golden(
        "receipt",
        &objects::stream(),
        &objects::receipt(),
        Ends::Open,
        record(
            "body",
            [list("kept", record("report", [leaf("order"), leaf("host"), leaf("record's hash")]))],
        ),
    );
}

#[test]
fn admission() {
    let names = objects::admission_names();
    golden("admission", &objects::operator(), &objects::admission(), Ends::Closed, names);
}

#[test]
fn offline_request() {
    let names = objects::offline_request_names();
    // A file says no fleet, since the host knows of none; its bytes are the same otherwise.
    golden("offline-request", &objects::stream(), &objects::offline_request(), Ends::Closed, names);
}

#[test]
fn op_about_a_host() {
    let (rename, retire) = (objects::op_rename(), objects::op_retire());
    let names = |last: &[&'static str]| objects::op_names_with(last);
    golden("op-rename", &objects::operator(), &rename, Ends::Open, names(&["tag", "host", "name"]));
    golden("op-retire", &objects::operator(), &retire, Ends::Open, names(&["tag", "host"]));
}

#[test]
fn equivocation() {
    let sign = |at| Signed::sign(fleet(), &objects::stream(), Head { at, ..objects::head() });
    let (one, other) = (sign(Hlc(1)), sign(Hlc(2)));
    let proof = Equivocation::of(fleet(), &one, &other).unwrap();
    let body = record("body", [leaf("head with the lower id"), leaf("head with the higher id")]);
    let bytes = file::golden("equivocation", proof.bytes(), &names(body));
    assert_eq!(proof.bytes(), bytes);
    let read = Equivocation::verify(&bytes, fleet()).unwrap();
    assert_eq!((read.id(), read.host(), read.bytes()), (proof.id(), proof.host(), &bytes[..]));
    assert!(matches!(Entry::verify(&bytes, fleet()), Ok(Entry::Equivocation(_))));
    assert!(taken_as(&bytes).is_empty(), "it is no signed object");
    assert!(Equivocation::verify(&bytes, FleetId([0xee; 32])).is_err());
    for at in 0..bytes.len() {
        assert!(Equivocation::verify(&bytes[..at], fleet()).is_err(), "cut at {at}");
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        assert!(Equivocation::verify(&flipped, fleet()).is_err(), "byte {at}");
    }
}

#[test]
fn departure() {
    golden(
        "departure",
        &objects::stream(),
        &objects::departure(),
        Ends::Open,
        record("body", [leaf("at, in ms")]),
    );
}

#[test]
fn suspension() {
    let names = objects::suspension_names();
    golden("suspension", &objects::operator(), &objects::suspension(), Ends::Closed, names);
}

#[test]
fn halt() {
    let names = record("body", [leaf("certificate"), leaf("selector"), leaf("at, in ms"), leaf("reason")]);
    golden("halt", &objects::operator(), &objects::halt(), Ends::Closed, names);
}

#[test]
fn grant() {
    let names = record(
        "body",
        [leaf("certificate"), leaf("at, in ms"), objects::certificate_names("grant", leaf("operator key"))],
    );
    golden("grant", &objects::operator(), &objects::grant(), Ends::Closed, names);
}

#[test]
fn every_whom() {
    let bytes: Vec<u8> = objects::every_whom().iter().flat_map(wire::encode).collect();
    let about = objects::every_whom().map(|whom| format!("{whom:?}"));
    assert_eq!(file::golden_text("whom", &bytes, &about), bytes);
    for whom in objects::every_whom() {
        assert_eq!(wire::decode::<Whom>(&wire::encode(&whom), 1000).unwrap(), whom);
    }
}

// ---- what neighbours say of results

/// Signed bytes travel in parts here, and are made again out of these: where the parts change their meaning, no
/// signature would match.
#[test]
#[cfg_attr(not(debug_assertions), ignore = "its fleet may exist in development builds alone")]
fn combined_results_and_what_comes_out_of_them() {
    let names = record(
        "message",
        [
            leaf("combined"),
            leaf("order"),
            list(
                "rows",
                record(
                    "row",
                    [
                        file::inside(
                            "said by all",
                            record(
                                "fields",
                                [
                                    list("outcome", leaf("part")),
                                    leaf("stdout, which follows from the output"),
                                    leaf("stderr, likewise"),
                                    leaf("left behind"),
                                ],
                            ),
                        ),
                        leaf("standard output"),
                        leaf("standard error"),
                        leaf("started, in ms: the middle"),
                        leaf("took, in ms: the middle"),
                        leaf(
                            "columns: places passed over, started, took (each: 5 bits of order, then codes)",
                        ),
                        leaf("signatures, in order of places"),
                    ],
                ),
            ),
            leaf("places of those who work on it: how many, then a column"),
        ],
    );
    let signed = Signed::sign(fleet(), &objects::executor(), objects::result());
    let (stdout, stderr) = (Some(Bytes(b"Linux\n".to_vec())), Some(Bytes::default()));
    let (order, host, record) =
        (objects::result().order, objects::result().host, Bytes::from(signed.bytes()));
    let report = Report { order, host, record, stdout, stderr };
    // A roster in which the host stands in the middle.
    let hosts = vec![HostId([0; 32]), host, HostId([0xfe; 32]), HostId([0xff; 32])];
    let asked = Order { roster: Roster::Inline { hosts }, ..objects::order() };
    let [one, two, three] = objects::roots();
    let genesis = Cosigned::sign(FleetId([0; 32]), &[&one, &two], objects::genesis_update());
    let mut chain = RootChain::open(genesis.bytes(), fleet()).unwrap();
    chain.absorb(Cosigned::sign(fleet(), &[&one, &three], objects::certify_update()).bytes()).unwrap();
    let mut replica = Replica::new(Authority::new(chain));
    let certificate = Signed::sign(fleet(), &objects::stream(), objects::host_certificate());
    replica.merge(Entry::verify(certificate.bytes(), fleet()).unwrap(), &[]).unwrap();
    let seats = replica.seats_of(&asked).unwrap();
    let (rows, plain) = pack(order, std::slice::from_ref(&report), &seats, &replica);
    assert_eq!((rows.len(), plain.len()), (1, 0));
    let bytes = wire::encode(&Message::Combined { order, rows, working: Some(pack_places([0, 2, 3])) });
    let held = file::golden("combined", &bytes, &names);
    assert_eq!(held, bytes);
    let read = wire::decode::<Message>(&held, 4096).unwrap();
    let Message::Combined { rows, working: Some(working), .. } = read else { panic!("{read:?}") };
    assert_eq!(unpack(order, &rows, &seats, &replica).unwrap(), [report]);
    let working = unpack_places(&working, &seats).unwrap();
    assert_eq!(working, [HostId([0; 32]), HostId([0xfe; 32]), HostId([0xff; 32])]);
    for at in 0..held.len() {
        assert!(wire::decode::<Message>(&held[..at], 4096).is_err(), "cut at {at}");
    }
}

// ---- the root chain

#[test]
fn root_genesis() {
    let [one, two, _] = objects::roots();
    let body = objects::genesis_update();
    let made = Cosigned::sign(FleetId([0; 32]), &[&one, &two], body.clone());
    let bytes = file::golden("root-genesis", made.bytes(), &names(objects::genesis_names()));
    assert_eq!(made.bytes(), bytes);
    assert_eq!(FleetId(made.id().0), fleet(), "a fleet's id is its genesis' id");
    let read = Cosigned::<RootUpdate>::verify(&bytes, FleetId([0; 32])).unwrap();
    assert_eq!((read.body(), read.id(), read.signers().len()), (&body, made.id(), 2));
    hardened_root("root-genesis", &bytes);
    // The keys are the development ones, so this fleet may exist in development builds alone.
    let opened = RootChain::open(&bytes, fleet());
    if cfg!(debug_assertions) {
        assert_eq!(opened.unwrap().genesis(), &objects::genesis());
    } else {
        assert!(matches!(opened, Err(ChainError::BadGenesis(_))));
    }
}

#[test]
fn root_certify() {
    let [one, _, three] = objects::roots();
    let body = objects::certify_update();
    let made = Cosigned::sign(fleet(), &[&three, &one], body.clone());
    let bytes = file::golden("root-certify", made.bytes(), &names(objects::certify_names()));
    assert_eq!(made.bytes(), bytes);
    let read = Cosigned::<RootUpdate>::verify(&bytes, fleet()).unwrap();
    assert_eq!((read.body(), read.id(), read.signers().len()), (&body, made.id(), 2));
    hardened_root("root-certify", &bytes);
    hardened("root-certify", Kind::Root, &bytes, fleet());

    let more = Raw::<RootUpdate>(with_one_more_field(&body.to_value()), PhantomData);
    let newer = Cosigned::sign(fleet(), &[&one, &three], more);
    let refused = Cosigned::<RootUpdate>::verify(newer.bytes(), fleet()).unwrap_err();
    assert_eq!(refused.to_string(), "RootUpdate has fields that this version does not know");
}

#[test]
fn root_changes() {
    let [one, two, three] = objects::roots();
    for (name, change, change_names) in objects::changes() {
        let body = RootUpdate { change, ..objects::certify_update() };
        let made = Cosigned::sign(fleet(), &[&three, &one, &two], body.clone());
        let bytes = file::golden(name, made.bytes(), &names(objects::update_names(change_names)));
        assert_eq!(made.bytes(), bytes, "{name}");
        let read = Cosigned::<RootUpdate>::verify(&bytes, fleet()).unwrap();
        assert_eq!((read.body(), read.id(), read.signers().len()), (&body, made.id(), 3), "{name}");
        hardened_root(name, &bytes);
        // What a newer version would say with it is none of this version's changes.
        let Value::Array(mut parts) = body.change.to_value() else { panic!("{name} is no choice") };
        parts.push(Value::from("from a newer version"));
        let update =
            Value::Array(vec![body.sequence.to_value(), body.parent.to_value(), Value::Array(parts)]);
        let newer = Cosigned::sign(fleet(), &[&one], Raw::<RootUpdate>(update, PhantomData));
        let read = Cosigned::<RootUpdate>::verify(newer.bytes(), fleet()).unwrap();
        assert!(matches!(read.body().change, RootChange::Unknown { .. }), "{name}");
    }
}

fn hardened_root(name: &str, bytes: &[u8]) {
    assert_eq!(taken_as(bytes), [Kind::Root], "{name}");
    for at in 0..bytes.len() {
        assert!(taken_as(&bytes[..at]).is_empty(), "{name} cut at {at}");
        for bit in 0..8 {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 1 << bit;
            assert!(taken_as(&flipped).is_empty(), "{name}: bit {bit} of byte {at}");
        }
    }
}

// ---- the token

#[test]
fn join_token() {
    let token = objects::join_token();
    let text = token.to_text();
    let fields = [
        ("version", "01".to_owned()),
        ("fleet", file::hex(&token.fleet.0)),
        ("shield", file::hex(&token.shield)),
        ("token key (private)", file::hex(&*token.key.seed())),
        ("expires, in s", file::hex(&u32::try_from(token.expires.0 / 1000).unwrap().to_be_bytes())),
        ("address: family, bytes, port", "04c0000207".to_owned() + "1f0a"),
        ("address: family, bytes, port", "0620010db8000000000000000000000001".to_owned() + "1f0a"),
    ];
    let data: String = fields.iter().map(|(_, hex)| hex.as_str()).collect();
    let mut about = vec![format!("text: {text}"), "data, before bech32m with the prefix mst:".to_owned()];
    about.extend(fields.iter().map(|(name, hex)| format!("  {name}: {hex}")));
    assert_eq!(file::golden_text("join-token", text.as_bytes(), &about), text.as_bytes());
    let prefix = bech32::Hrp::parse("mst").unwrap();
    assert_eq!(bech32::encode::<bech32::Bech32m>(prefix, &file::unhex(&data)).unwrap(), text);

    let read = JoinToken::from_text(&text).unwrap();
    assert_eq!((read.fleet, read.shield, read.expires), (token.fleet, token.shield, token.expires));
    assert_eq!((read.key.public(), read.addresses), (token.key.public(), token.addresses));
    for (at, was) in text.char_indices() {
        assert!(JoinToken::from_text(&text[..at]).is_err(), "cut at {at}");
        for is in "qpzry9x8gf2tvdw0s3jn54khce6mua7l1".chars().filter(|is| *is != was) {
            let mut typo = text.clone();
            typo.replace_range(at..=at, &is.to_string());
            assert!(JoinToken::from_text(&typo).is_err(), "{is} for {was} at {at}");
        }
    }
    // The checksum of plain bech32 is another one.
    let plain = bech32::encode::<bech32::Bech32>(prefix, &file::unhex(&data)).unwrap();
    assert_eq!(JoinToken::from_text(&plain).unwrap_err(), TokenError::Damaged);
}

// ---- parts

#[test]
fn parts_end_as_they_should() {
    fn ends<T: Wire + PartialEq + Debug>(value: &T) -> Ends {
        match T::from_value(with_one_more_field(&value.to_value()), "part") {
            Ok(read) => {
                assert_eq!(&read, value);
                Ends::Open
            }
            Err(WireError::UnknownField(_)) => Ends::Closed,
            Err(error) => panic!("{error}"),
        }
    }
    let enrolment = objects::enrolment();
    let open = [
        ends::<HostKeys>(&enrolment.keys),
        ends::<FacetRef>(&objects::head().facets[0]),
        ends::<NodeFacet>(&objects::node_facet()),
        ends::<Output>(&objects::result().stdout),
        ends::<Outcome>(&objects::result().outcome),
    ];
    assert!(open.iter().all(|ends| *ends == Ends::Open));
    let order = objects::order();
    let closed = [
        ends::<Genesis>(&Genesis {
            recovery: Some(Recovery { keys: [0x12; 32], delay_ms: 1 }),
            ..objects::genesis()
        }),
        ends::<Certificate>(&objects::certificate()),
        ends::<TagChange>(&TagChange { key: "k".into(), value: None }),
        ends::<Roster>(&order.roster),
        ends::<Roster>(&objects::marked_order().roster),
        ends::<Action>(&order.action),
        ends::<Action>(&objects::shipped_order().action),
        ends::<Blob>(&Blob::of(b"")),
        ends::<Limits>(&order.limits),
    ];
    assert!(closed.iter().all(|ends| *ends == Ends::Closed));
    // These stop a stream's or the chain's meaning instead of making it unreadable.
    let change = RootChange::Certify(objects::certificate()).to_value();
    let read = RootChange::from_value(with_one_more_field(&change), "change").unwrap();
    assert_eq!(read, RootChange::Unknown { tag: 1 });
}

#[test]
fn the_development_keys_are_those_in_the_folder_and_no_release_takes_them() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/keys");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(key) = name.strip_prefix("dev-").and_then(|name| name.strip_suffix(".hex")) else {
            continue;
        };
        let public = objects::development::<Root>(key).public().bytes();
        assert!(is_development_key(&public), "{name}");
        let expected = if cfg!(debug_assertions) { None } else { Some(KeyError::Development) };
        assert_eq!(PublicKey::<Root>::import(public).err(), expected, "{name}");
        count += 1;
    }
    assert_eq!(count, 8);
    assert!(!is_development_key(&SecretKey::<Root>::from_seed(&[1; 32]).public().bytes()));
    assert!(Timestamp(0) < objects::NOW);
}
