//! The objects whose bytes are golden, and what their fields are called.

use crate::file::{Names, inside, leaf, list, record};
use muster::{
    authority::{
        AGENT_USER, ANY, Admission, Approval, Certificate, Checkpoint, Cut, Denial, Departure, Enrolment,
        Genesis, Grant, Halt, HostCertificate, HostKeys, Invitation, Lift, MemberList, OfflineRequest, Op,
        OpAction, Recover, Revocation, RootChange, RootUpdate, Roots, Suspension, TagChange, Verb, Whom,
        half,
    },
    identity::{
        Cosigned, EntryId, Executor, FleetId, HostId, JoinToken, Operator, Purpose, Root, SealPublic,
        SealSecret, SecretKey, Signed, Stream, StreamId, Token, Transport, WriterId,
    },
    replica::{
        Action, AuditHead, Blob, Cancellation, Card, Command, FACET_NODE, FacetHash, FacetRef, Head, Kept,
        Limits, NodeFacet, Order, Outcome, Output, Private, ReadRequest, Receipt, ResultRecord, Roster,
    },
    time::{Hlc, Timestamp},
    wire::{self, Bytes},
};
use std::sync::{Arc, OnceLock};

pub(crate) const NOW: Timestamp = Timestamp(1_800_000_000_000);

/// The development key of this name, from `keys/`.
pub(crate) fn development<P: Purpose>(name: &str) -> SecretKey<P> {
    let path = format!("{}/keys/dev-{name}.hex", env!("CARGO_MANIFEST_DIR"));
    let seed = crate::file::unhex(&std::fs::read_to_string(path).unwrap());
    SecretKey::from_seed(&seed.try_into().unwrap())
}

pub(crate) fn roots() -> [SecretKey<Root>; 3] {
    ["root-1", "root-2", "root-3"].map(development)
}
pub(crate) fn operator() -> SecretKey<Operator> {
    development("operator")
}
pub(crate) fn token() -> SecretKey<Token> {
    development("token")
}
pub(crate) fn stream() -> SecretKey<Stream> {
    development("stream")
}
pub(crate) fn executor() -> SecretKey<Executor> {
    development("executor")
}

fn host() -> HostId {
    HostId::of(&stream().public())
}
fn after(ms: u64) -> Timestamp {
    Timestamp(NOW.0 + ms)
}
fn pairs(tags: &[(&str, &str)]) -> Vec<(String, String)> {
    tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

// ---- the envelope

pub(crate) fn names(body: Names) -> Names {
    names_with(body, leaf("signature, ed25519"))
}

pub(crate) fn names_with(body: Names, proof: Names) -> Names {
    record(
        "envelope",
        [
            inside(
                "signed",
                record(
                    "signed",
                    [leaf("context"), leaf("type"), leaf("version"), leaf("fleet"), leaf("signer"), body],
                ),
            ),
            list("signatures", record("signature", [leaf("kind"), leaf("key"), proof])),
        ],
    )
}

fn tag_names(name: &'static str) -> Names {
    list(name, record("tag", [leaf("key"), leaf("value")]))
}

// ---- root chain

pub(crate) fn genesis() -> Genesis {
    let mut keys: Vec<_> = roots().iter().map(SecretKey::public).collect();
    keys.sort_unstable();
    Genesis {
        name: "acme".to_owned(),
        roots: keys,
        threshold: 2,
        founded: NOW,
        nonce: [0x11; 16],
        recovery: None,
    }
}

pub(crate) fn genesis_update() -> RootUpdate {
    RootUpdate { sequence: 0, parent: None, change: RootChange::Found(genesis()) }
}

/// The fleet of all objects here.
pub(crate) fn fleet() -> FleetId {
    static FLEET: OnceLock<FleetId> = OnceLock::new();
    *FLEET.get_or_init(|| {
        let [one, two, _] = roots();
        FleetId(Cosigned::sign(FleetId([0; 32]), &[&one, &two], genesis_update()).id().0)
    })
}

pub(crate) fn certificate() -> Certificate {
    Certificate {
        person: "ana".to_owned(),
        key: operator().public().into(),
        // Those that there were when its bytes were written.
        verbs: vec![
            Verb::Run,
            Verb::Session,
            Verb::Invite,
            Verb::Tag,
            Verb::Grant,
            Verb::Suspend,
            Verb::Read,
        ],
        scope: "tag.role in [web, db]".to_owned(),
        tags: pairs(&[("role", "web"), ("env", ANY)]),
        run_as: vec![AGENT_USER.to_owned(), "www-data".to_owned()],
        hosts_max: Some(100),
        not_before: NOW,
        not_after: after(30 * 86_400_000),
        approvals: 0,
    }
}

pub(crate) fn certify_update() -> RootUpdate {
    RootUpdate { sequence: 1, parent: Some(EntryId(fleet().0)), change: RootChange::Certify(certificate()) }
}

fn certificate_id() -> EntryId {
    let [one, _, three] = roots();
    Cosigned::sign(fleet(), &[&one, &three], certify_update()).id()
}

pub(crate) fn update_names(change: Names) -> Names {
    record("update", [leaf("sequence"), leaf("parent"), change])
}

pub(crate) fn genesis_names() -> Names {
    update_names(record(
        "change",
        [
            leaf("found"),
            record(
                "genesis",
                [
                    leaf("name"),
                    list("roots", leaf("root key")),
                    leaf("threshold"),
                    leaf("founded, in ms"),
                    leaf("nonce"),
                ],
            ),
        ],
    ))
}

pub(crate) fn certify_names() -> Names {
    certify_names_of(leaf("operator key"))
}

pub(crate) fn certify_names_of(key: Names) -> Names {
    update_names(record("change", [leaf("certify"), certificate_names("certificate", key)]))
}

pub(crate) fn certificate_names(name: &'static str, key: Names) -> Names {
    record(
        name,
        [
            leaf("person"),
            key,
            list("verbs", leaf("verb")),
            leaf("scope"),
            tag_names("tags"),
            list("run as", leaf("user")),
            leaf("most hosts"),
            leaf("not before, in ms"),
            leaf("not after, in ms"),
            leaf("approvals"),
        ],
    )
}

// ---- what takes away, and what is passed on

pub(crate) fn every_whom() -> [Whom; 5] {
    [
        Whom::Person { name: "ana".to_owned() },
        Whom::Key { key: operator().public() },
        Whom::Certificate { id: certificate_id() },
        Whom::Host { id: host() },
        Whom::Token { id: order_id() },
    ]
}

fn cut() -> Cut {
    let stream = StreamId::of_operator(&operator().public(), WriterId([0x11; 16]));
    Cut { streams: vec![(stream, 7)], alone: vec![half(&order_id())] }
}

fn cut_names() -> Names {
    record(
        "cut",
        [
            list("streams", record("stream", [leaf("stream"), leaf("last")])),
            list("alone", leaf("half of an id")),
        ],
    )
}

fn whom_names() -> Names {
    record("whom", [leaf("tag"), leaf("who")])
}

pub(crate) fn suspension() -> Suspension {
    Suspension {
        certificate: certificate_id(),
        whom: Whom::Person { name: "bo".to_owned() },
        at: NOW,
        effective: Timestamp(NOW.0 - 3_600_000),
        cut: cut(),
        reason: "a stolen laptop".to_owned(),
    }
}

pub(crate) fn suspension_names() -> Names {
    record(
        "body",
        [
            leaf("certificate"),
            whom_names(),
            leaf("at, in ms"),
            leaf("effective, in ms"),
            cut_names(),
            leaf("reason"),
        ],
    )
}

pub(crate) fn halt() -> Halt {
    Halt {
        certificate: certificate_id(),
        selector: "tag.role = web".to_owned(),
        at: NOW,
        reason: "smoke".to_owned(),
    }
}

pub(crate) fn grant() -> Grant {
    let grant = Certificate { person: "cem".to_owned(), verbs: vec![Verb::Run], ..certificate() };
    Grant { certificate: certificate_id(), at: NOW, grant }
}

pub(crate) fn changes() -> [(&'static str, RootChange, Names); 6] {
    let mut keys: Vec<_> = roots().iter().map(SecretKey::public).collect();
    keys.sort_unstable();
    let change = |kind, body: Names| record("change", [leaf(kind), body]);
    [
        (
            "root-roots",
            RootChange::Roots(Roots { keys, threshold: 2 }),
            change("roots", record("roots", [list("keys", leaf("root key")), leaf("threshold")])),
        ),
        (
            "root-revoke",
            RootChange::Revoke(Revocation {
                whom: Whom::Key { key: operator().public() },
                cut: cut(),
                reason: "left".to_owned(),
            }),
            change("revoke", record("revocation", [whom_names(), cut_names(), leaf("reason")])),
        ),
        (
            "root-lift",
            RootChange::Lift(Lift { stops: vec![order_id()], at: NOW, reason: "found it".to_owned() }),
            change("lift", record("lift", [list("stops", leaf("id")), leaf("at, in ms"), leaf("reason")])),
        ),
        (
            "root-recover",
            RootChange::Recover(Recover {
                by: Roots { keys: vec![roots()[0].public()], threshold: 1 },
                roots: Roots { keys: vec![roots()[0].public()], threshold: 1 },
                at: NOW,
                reason: "fire".to_owned(),
            }),
            change(
                "recover",
                record(
                    "recover",
                    [
                        record("by", [list("keys", leaf("root key")), leaf("threshold")]),
                        record("roots", [list("keys", leaf("root key")), leaf("threshold")]),
                        leaf("at, in ms"),
                        leaf("reason"),
                    ],
                ),
            ),
        ),
        (
            "root-deny",
            RootChange::Deny(Denial { recovery: order_id(), reason: "stolen".to_owned() }),
            change("deny", record("denial", [leaf("id"), leaf("reason")])),
        ),
        (
            "root-checkpoint",
            RootChange::Checkpoint(Checkpoint { at: NOW, stands: vec![[0x44; 16]] }),
            change(
                "checkpoint",
                record("checkpoint", [leaf("at, in ms"), list("stands", leaf("half an id"))]),
            ),
        ),
    ]
}

// ---- operators

pub(crate) fn op() -> Op {
    Op {
        writer: WriterId([0x22; 16]),
        sequence: 1,
        previous: Some(EntryId([0x33; 32])),
        at: Hlc((NOW.0 << 16) | 1),
        certificate: certificate_id(),
        supersedes: vec![EntryId([0x44; 32])],
        action: OpAction::Tag {
            host: host(),
            changes: vec![
                TagChange { key: "role".to_owned(), value: Some("web".to_owned()) },
                TagChange { key: "env".to_owned(), value: None },
            ],
        },
    }
}

pub(crate) fn op_names() -> Names {
    record(
        "op",
        [
            leaf("writer"),
            leaf("sequence"),
            leaf("previous"),
            leaf("at, hybrid clock"),
            leaf("certificate"),
            list("supersedes", leaf("op")),
            record("action", [leaf("tag"), leaf("host"), tag_names("changes")]),
        ],
    )
}

/// The same stream, one op on.
pub(crate) fn op_group(selector: Option<&str>) -> Op {
    Op {
        sequence: 2,
        action: OpAction::Group { name: "prod".to_owned(), selector: selector.map(str::to_owned) },
        ..op()
    }
}

pub(crate) fn op_group_names() -> Names {
    record(
        "op",
        [
            leaf("writer"),
            leaf("sequence"),
            leaf("previous"),
            leaf("at, hybrid clock"),
            leaf("certificate"),
            list("supersedes", leaf("op")),
            record("action", [leaf("tag"), leaf("name"), leaf("selector")]),
        ],
    )
}

/// The same stream, two and three on.
pub(crate) fn op_rename() -> Op {
    Op { sequence: 3, action: OpAction::Rename { host: host(), name: "web-9".to_owned() }, ..op() }
}

pub(crate) fn op_retire() -> Op {
    Op { sequence: 4, action: OpAction::Retire { host: host() }, ..op() }
}

pub(crate) fn op_names_with(action: &[&'static str]) -> Names {
    record(
        "op",
        [
            leaf("writer"),
            leaf("sequence"),
            leaf("previous"),
            leaf("at, hybrid clock"),
            leaf("certificate"),
            list("supersedes", leaf("op")),
            record("action", action.iter().map(|name| leaf(name)).collect::<Vec<_>>()),
        ],
    )
}

pub(crate) fn admission() -> Admission {
    let keys = enrolment().keys.digest();
    let invitation = EntryId([0x66; 32]);
    Admission {
        certificate: certificate_id(),
        host: host(),
        invitation,
        keys,
        admitted: true,
        at: after(60_000),
    }
}

pub(crate) fn admission_names() -> Names {
    let fields = ["certificate", "host", "invitation", "keys, in one hash", "admitted", "at, in ms"];
    record("admission", fields.map(leaf))
}

pub(crate) fn invitation() -> Invitation {
    Invitation {
        approve: false,
        certificate: certificate_id(),
        token: token().public(),
        tags: pairs(&[("role", "web")]),
        uses: 1,
        issued: NOW,
        expires: after(30 * 60_000),
    }
}

pub(crate) fn invitation_names() -> Names {
    record(
        "invitation",
        [
            leaf("certificate"),
            leaf("token key"),
            tag_names("tags"),
            leaf("uses"),
            leaf("approved one by one"),
            leaf("issued, in ms"),
            leaf("expires, in ms"),
        ],
    )
}

pub(crate) fn order() -> Order {
    Order {
        nonce: [0x55; 16],
        certificate: certificate_id(),
        issued: NOW,
        expires: after(3_600_000),
        selector: "tag.role = web".to_owned(),
        roster: Roster::Inline { hosts: vec![host()] },
        action: Action::Argv { argv: [&b"uname"[..], b"-a"].map(Bytes::from).to_vec() },
        run_as: AGENT_USER.to_owned(),
        limits: Limits { timeout_ms: 60_000, output_bytes_max: 1 << 20 },
        keepers: vec![host()],
        reason: Some("look".to_owned()),
    }
}

/// The same with what is shipped beside it.
pub(crate) fn shipped_order() -> Order {
    let argv = [&b"setup.sh"[..], b"-v"].map(Bytes::from).to_vec();
    let (stdin, script) = (Blob::of(b"read\n"), Blob::of(b"#!/bin/sh\n"));
    Order { action: Action::Shipped { argv, stdin: Some(stdin), script: Some(script) }, ..order() }
}

/// The same in a seal for its host: drawn from a counter, so that it is the same each time.
pub(crate) fn private_order() -> Order {
    let secret = |number: u8| SealSecret::from_seed(&[number; 32]);
    let argv = [&b"echo"[..], b"secret"].map(Bytes::from).to_vec();
    let command = Command { salt: [0x5a; 16], argv, shipped: secret(0x62) };
    let private = Private {
        hash: [0; 32],
        command: Bytes::default(),
        stanzas: Vec::new(),
        reader: secret(0x61).public(),
        stdin: Some(Blob::of(b"sealed")),
        script: None,
    };
    let mut order = Order { action: Action::Private { private }, ..order() };
    let mut drawn = 0_u8;
    let draw = || {
        drawn += 1;
        [drawn; 32]
    };
    order.seal(&fleet(), &command, |_| Some(secret(0x60).public()), draw).unwrap();
    order
}

/// What opens it.
pub(crate) fn private_key() -> SealSecret {
    SealSecret::from_seed(&[0x60; 32])
}

pub(crate) fn private_order_names() -> Names {
    let blob = |name| record(name, [leaf("hash"), leaf("length, in bytes")]);
    let private = record(
        "private",
        [
            leaf("hash of the command"),
            leaf("sealed command"),
            list("seals, in order of the roster", leaf("key to it, sealed")),
            leaf("key that output is sealed to"),
            blob("standard input"),
            leaf("script"),
        ],
    );
    order_names_with(inline_names(), record("action", [leaf("private"), private]))
}

/// A list of so many hosts, whose ids are numbers.
pub(crate) fn list_of(numbers: std::ops::Range<u32>) -> Arc<MemberList> {
    let id = |number: u32| HostId(std::array::from_fn(|at| number.to_be_bytes()[at % 4]));
    Arc::new(MemberList::of(numbers.map(id)).unwrap())
}

/// The same for some of a list.
pub(crate) fn marked_order() -> Order {
    let list = list_of(0..600);
    let hosts: Vec<HostId> = list.hosts().iter().skip(5).copied().collect();
    Order { roster: Roster::of(&hosts, || Ok(list)).unwrap(), ..order() }
}

fn order_id() -> EntryId {
    Signed::sign(fleet(), &operator(), order()).id()
}

pub(crate) fn order_names() -> Names {
    order_names_with(inline_names(), record("action", [leaf("argv"), list("arguments", leaf("argument"))]))
}

fn inline_names() -> Names {
    record("roster", [leaf("inline"), list("hosts", leaf("host"))])
}

pub(crate) fn marked_order_names() -> Names {
    let roster = record("roster", [leaf("bitmap"), leaf("list"), leaf("members"), leaf("bits")]);
    order_names_with(roster, record("action", [leaf("argv"), list("arguments", leaf("argument"))]))
}

pub(crate) fn shipped_order_names() -> Names {
    let blob = |name| record(name, [leaf("hash"), leaf("length, in bytes")]);
    let argv = list("arguments", leaf("argument"));
    order_names_with(
        inline_names(),
        record("action", [leaf("shipped"), argv, blob("standard input"), blob("script")]),
    )
}

fn order_names_with(roster: Names, action: Names) -> Names {
    record(
        "order",
        [
            leaf("nonce"),
            leaf("certificate"),
            leaf("issued, in ms"),
            leaf("expires, in ms"),
            leaf("selector"),
            roster,
            action,
            leaf("run as"),
            record("limits", [leaf("timeout, in ms"), leaf("most output, in bytes")]),
            list("keepers", leaf("host")),
            leaf("reason"),
        ],
    )
}

pub(crate) fn cancellation() -> Cancellation {
    Cancellation { order: order_id(), at: after(1000), expires: order().expires }
}

pub(crate) fn approval() -> Approval {
    Approval {
        certificate: certificate_id(),
        order: order_id(),
        given: true,
        at: after(1000),
        expires: order().expires,
        reason: "seen".to_owned(),
    }
}

pub(crate) fn card() -> Card {
    Card {
        certificate: certificate_id(),
        transport: development::<Transport>("transport").public(),
        issued: NOW,
        expires: after(8 * 3_600_000),
    }
}

pub(crate) fn read_request() -> ReadRequest {
    ReadRequest { certificate: certificate_id(), order: order_id(), issued: NOW, expires: after(60_000) }
}

// ---- hosts

pub(crate) fn enrolment() -> Enrolment {
    Enrolment {
        name: "web-1".to_owned(),
        tags: pairs(&[("role", "web")]),
        keys: HostKeys {
            stream: stream().public(),
            transport: development("transport").public(),
            executor: executor().public(),
            seal: SealPublic([0x66; 32]),
        },
        at: after(5000),
    }
}

pub(crate) fn offline_request() -> OfflineRequest {
    OfflineRequest { name: "web-9".to_owned(), keys: enrolment().keys, at: NOW }
}

pub(crate) fn offline_request_names() -> Names {
    let keys = record("keys", [leaf("stream"), leaf("transport"), leaf("executor"), leaf("seal, X25519")]);
    record("offline request", [leaf("name"), keys, leaf("at, in ms")])
}

pub(crate) fn enrolment_names() -> Names {
    record(
        "enrolment",
        [
            leaf("name"),
            tag_names("tags"),
            record("keys", [leaf("stream"), leaf("transport"), leaf("executor"), leaf("seal, X25519")]),
            leaf("at, in ms"),
        ],
    )
}

pub(crate) fn host_certificate() -> HostCertificate {
    HostCertificate {
        invitation: Bytes::from(Signed::sign(fleet(), &operator(), invitation()).bytes()),
        enrolment: Bytes::from(Signed::sign(fleet(), &token(), enrolment()).bytes()),
    }
}

pub(crate) fn host_certificate_names() -> Names {
    record(
        "host certificate",
        [inside("invitation", names(invitation_names())), inside("enrolment", names(enrolment_names()))],
    )
}

pub(crate) fn receipt() -> Receipt {
    Receipt { kept: vec![Kept { order: EntryId([7; 32]), host: HostId([8; 32]), record: [9; 32] }] }
}

pub(crate) fn departure() -> Departure {
    Departure { at: after(86_400_000) }
}

pub(crate) fn node_facet() -> NodeFacet {
    NodeFacet {
        agent: "0.1.0".to_owned(),
        os: "Debian GNU/Linux 13 (trixie)".to_owned(),
        addresses: vec!["192.0.2.7:7946".to_owned(), "[2001:db8::1]:7946".to_owned()],
    }
}

pub(crate) fn head() -> Head {
    let facet = wire::encode(&node_facet());
    Head {
        epoch: 1,
        sequence: 2,
        previous: Some(EntryId([0x77; 32])),
        at: Hlc(after(6000).0 << 16),
        facets: vec![FacetRef {
            name: FACET_NODE.to_owned(),
            hash: FacetHash::of(&facet),
            bytes: u32::try_from(facet.len()).unwrap(),
            at: Some(after(5000)),
        }],
        audit: Some(AuditHead { sequence: 41, id: EntryId([0x78; 32]) }),
    }
}

pub(crate) fn head_names() -> Names {
    record(
        "head",
        [
            leaf("epoch"),
            leaf("sequence"),
            leaf("previous"),
            leaf("at, hybrid clock"),
            list(
                "facets",
                record(
                    "facet",
                    [leaf("name"), leaf("hash, BLAKE3"), leaf("length, in bytes"), leaf("since when")],
                ),
            ),
            record("audit chain", [leaf("number of its last record"), leaf("its id")]),
        ],
    )
}

pub(crate) fn result() -> ResultRecord {
    ResultRecord {
        order: order_id(),
        host: host(),
        outcome: Outcome::Exited { code: 0 },
        started: after(20),
        took_ms: 3,
        stdout: Output { hash: *blake3::hash(b"Linux\n").as_bytes(), kept: 6, produced: 6 },
        stderr: Output { hash: *blake3::hash(b"").as_bytes(), kept: 0, produced: 0 },
        left_behind: 0,
    }
}

pub(crate) fn result_names() -> Names {
    let output =
        |name| record(name, [leaf("hash, BLAKE3"), leaf("kept, in bytes"), leaf("produced, in bytes")]);
    record(
        "result",
        [
            leaf("order"),
            leaf("host"),
            record("outcome", [leaf("exited"), leaf("code")]),
            leaf("started, in ms"),
            leaf("took, in ms"),
            output("stdout"),
            output("stderr"),
            leaf("left behind"),
        ],
    )
}

pub(crate) fn outcomes() -> Vec<Outcome> {
    let why = || "because".to_owned();
    vec![
        Outcome::Exited { code: -1 },
        Outcome::Signaled { signal: 9 },
        Outcome::TimedOut {},
        Outcome::Cancelled {},
        Outcome::Indeterminate { why: why() },
        Outcome::Refused { why: why() },
        Outcome::NotStarted { code: 127, why: why() },
    ]
}

// ---- the token

pub(crate) fn join_token() -> JoinToken {
    JoinToken {
        fleet: fleet(),
        shield: [0x88; 32],
        key: token(),
        expires: after(30 * 60_000),
        addresses: vec!["192.0.2.7:7946".parse().unwrap(), "[2001:db8::1]:7946".parse().unwrap()],
    }
}
