//! What a member that turned can say to its neighbours, and what comes of it: nothing starts that no
//! operator signed for this host, whoever forges is shunned, and everybody else goes on.

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use muster::{
    authority::{
        Departure, Enrolment, HostCertificate, HostKeys, Invitation, ListId, Op, OpAction, RootChange,
        RootUpdate, TagChange, Verb,
    },
    identity::{
        Cosigned, EntryId, HostId, JoinToken, Operator, Payload, Root, SealPublic, SecretKey, Signed, Stream,
        Token, WriterId, peek,
    },
    replica::{Action, Head, Item, Order, Outcome, Output, Receipt, Report, ResultRecord, Roster, Tip},
    services::{replication::Sync, run::verify},
    sync::{Message, Part, SYNC_VERSION},
    time::Hlc,
    wire::{self, Bytes, Value, Wire},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    runtime::Runtime,
};

use crate::{
    evil::{Evil, Line, enclosed, envelope, signed_part},
    fleet::{DEADLINE, Fleet, Reach, text},
    signer::{Signer, fresh, host_id, now, replica, reports, result, submit},
};

/// `a`, `b` tagged `role=web` and `c` tagged `role=db`, all honest.
pub(crate) fn three() -> (Fleet, Vec<HostId>) {
    let mut fleet = Fleet::found("acme");
    fleet.join("b", &["role=web"], Reach::Fixed);
    fleet.join("c", &["role=db"], Reach::Listens);
    fleet.all_see_all();
    let hosts = ["a", "b", "c"].map(|name| host_id(&fleet, name)).to_vec();
    (fleet, hosts)
}

/// Runs a true order everywhere and waits for its results: all that was said before it was dealt with.
async fn an_honest_order_runs(fleet: &Fleet, signer: &Signer, hosts: &[HostId]) -> EntryId {
    let order = signer.sign(signer.order(hosts, &fleet.counted(&[])));
    submit(fleet, "a", &[order.bytes()]).await.expect("an honest order is taken");
    for host in hosts {
        let verified = result(fleet, "a", order.id(), *host).await;
        assert!(verified.record().outcome.ok(), "{:?}", verified.record());
    }
    order.id()
}

/// The spawns of this fleet are exactly these: job and host.
#[track_caller]
pub(crate) fn spawned_exactly(fleet: &Fleet, expected: &[(EntryId, &[&str])]) {
    let mut expected: Vec<(String, String)> = expected
        .iter()
        .flat_map(|(job, hosts)| hosts.iter().map(|host| (job.to_string(), (*host).to_owned())))
        .collect();
    let mut spawned = fleet.all_spawns();
    expected.sort();
    spawned.sort();
    assert_eq!(spawned, expected);
}

/// No process of an honest agent was started anew.
#[track_caller]
fn nobody_crashed(fleet: &Fleet, names: &[&str]) {
    for name in names {
        assert_eq!(fleet.counter(name, "mesh_starts"), 1, "{}", fleet.log(name));
    }
}

/// Until every one of `at` holds the entry.
async fn all_hold(fleet: &Fleet, at: &[&str], certificate: EntryId) {
    for name in at {
        let start = Instant::now();
        while !replica(fleet, name).await.authority().chain().holds(&certificate) {
            assert!(start.elapsed() < DEADLINE, "{name} never learns of the certificate");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[test]
fn orders_without_an_operators_signature_start_nothing_anywhere() {
    let (mut fleet, hosts) = three();
    let runtime = Runtime::new().unwrap();
    let signer = Signer::of(&fleet);
    let _in_runtime = runtime.enter();
    let token = JoinToken::from_text(&fleet.invite("a", &[])).unwrap();
    let evil = Evil::join(&mut fleet, "evil");
    runtime.block_on(async {
        let seeds = [
            ("its own stream key", *evil.stream.seed()),
            ("its own executor key", *evil.executor.seed()),
            ("a key that nobody knows", fresh()),
            ("a token's key", *token.key.seed()),
            ("the root key", *signer.root.seed()),
        ];
        for at in ["a", "b", "c"] {
            let mut line = evil.link(&fleet, at).await;
            for (what, seed) in &seeds {
                let key = SecretKey::<Operator>::from_seed(seed);
                let mut order = signer.order(&hosts, &fleet.counted(&[]));
                let first = Signed::sign(signer.fleet, &key, order.clone());
                // Under a certificate that it makes up: the order's own id, and a random one.
                order.certificate = first.id();
                let second = Signed::sign(signer.fleet, &key, order.clone());
                order.certificate = EntryId(fresh());
                let third = Signed::sign(signer.fleet, &key, order);
                // The same as another kind of object, of a kind that exists and of one that does not.
                let body = signer.order(&hosts, &fleet.counted(&[])).to_value();
                let (as_result, as_nothing) =
                    (envelope(signer.fleet, seed, 9, body.clone()), envelope(signer.fleet, seed, 4711, body));
                for entry in [first.bytes(), second.bytes(), third.bytes(), &as_result, &as_nothing] {
                    assert!(line.send(&[entry]).await, "{at} hung up on {what}");
                }
            }
            line.dealt_with().await;
        }
        let honest = an_honest_order_runs(&fleet, &signer, &hosts).await;
        spawned_exactly(&fleet, &[(honest, &["a", "b", "c"])]);
    });
    nobody_crashed(&fleet, &["a", "b", "c"]);
}

#[test]
fn whoever_alters_a_signed_order_in_any_field_is_shunned_and_starts_nothing() {
    let (mut fleet, hosts) = three();
    let runtime = Runtime::new().unwrap();
    let signer = Signer::of(&fleet);
    let _in_runtime = runtime.enter();
    // For two of three hosts, so that an altered roster could add one.
    let real = signer.order(&hosts[..2], &fleet.counted(&[]));
    let signed = signer.sign(real.clone());
    let envelope_of = |order: &Order| {
        let key = signer.key.public().bytes();
        let body = signed_part(signer.fleet, &key, 7, order.to_value());
        // The signature is the last 64 bytes of the envelope.
        let signature: [u8; 64] = signed.bytes()[signed.bytes().len() - 64..].try_into().unwrap();
        enclosed(body, &key, &signature)
    };
    assert_eq!(envelope_of(&real), signed.bytes(), "the maker of altered copies makes the true one too");
    let altered = |alter: &dyn Fn(&mut Order)| {
        let mut order = real.clone();
        alter(&mut order);
        envelope_of(&order)
    };
    let mut everybody = hosts.clone();
    everybody.sort_unstable();
    let mut copies = vec![
        ("nonce", altered(&|order| order.nonce[0] ^= 1)),
        ("certificate", altered(&|order| order.certificate.0[0] ^= 1)),
        ("issued", altered(&|order| order.issued = order.issued.after(Duration::from_secs(1)))),
        ("expires", altered(&|order| order.expires = order.expires.after(Duration::from_secs(86_400)))),
        ("selector", altered(&|order| order.selector = "tag.role = db".to_owned())),
        ("roster", altered(&|order| order.roster = Roster::Inline { hosts: everybody.clone() })),
        (
            "argv",
            altered(&|order| {
                let Action::Argv { argv } = &mut order.action else { panic!("{order:?}") };
                argv.push(Bytes::from(&b"more"[..]));
            }),
        ),
        ("run_as", altered(&|order| order.run_as = "root".to_owned())),
        ("limits", altered(&|order| order.limits.timeout_ms += 1)),
        ("keepers", altered(&|order| order.keepers.clear())),
        ("reason", altered(&|order| order.reason = Some("it said so".to_owned()))),
    ];
    let mut signature = signed.bytes().to_vec();
    *signature.last_mut().unwrap() ^= 1;
    copies.push(("signature", signature));
    // Whole, and signed by the operator, for another fleet.
    let elsewhere = Signed::sign(muster::identity::FleetId(fresh()), &signer.key, real.clone());
    copies.push(("fleet", elsewhere.bytes().to_vec()));

    let mut evils = Vec::new();
    runtime.block_on(async {
        for (number, (what, copy)) in copies.iter().enumerate() {
            let at = ["a", "b", "c"][number % 3];
            if number % 3 == 0 {
                evils.push(Evil::join(&mut fleet, &format!("evil{number}")));
            }
            let evil = evils.last().unwrap();
            let mut line = evil.link(&fleet, at).await;
            let _hung_up_already = line.send(&[copy]).await;
            line.until_over(&format!("a copy with another {what} was sent to {at}")).await;
            // As a stranger it is not let in again.
            let peer = evil.reach(&fleet, at).await;
            let refused = evil.net.open::<Sync>(peer, Duration::from_secs(10)).await;
            assert!(refused.is_err(), "{at} takes the forger of another {what} back");
        }
        // The true one runs where it says, once, although its forgeries came first.
        submit(&fleet, "a", &[signed.bytes()]).await.unwrap();
        for host in &hosts[..2] {
            assert!(result(&fleet, "a", signed.id(), *host).await.record().outcome.ok());
        }
        let honest = an_honest_order_runs(&fleet, &signer, &hosts).await;
        spawned_exactly(&fleet, &[(signed.id(), &["a", "b"]), (honest, &["a", "b", "c"])]);
    });
    nobody_crashed(&fleet, &["a", "b", "c"]);
}

#[test]
fn a_true_order_sent_a_thousand_times_runs_once_even_when_the_host_lost_its_store() {
    let (mut fleet, hosts) = three();
    let runtime = Runtime::new().unwrap();
    let signer = Signer::of(&fleet);
    let _in_runtime = runtime.enter();
    let evil = Evil::join(&mut fleet, "evil");
    let b = hosts[1];
    // For `b` alone, and said to all.
    let order = signer.sign(signer.order(&[b], &fleet.counted(&[])));
    let again = |line: Line| async {
        let mut line = line;
        let entries = vec![order.bytes(); 100];
        for _ in 0..10 {
            assert!(line.send(&entries).await);
        }
        line.dealt_with().await;
    };
    runtime.block_on(async {
        for at in ["c", "b", "a"] {
            again(evil.link(&fleet, at).await).await;
        }
        let verified = result(&fleet, "a", order.id(), b).await;
        assert!(verified.record().outcome.ok());
    });
    spawned_exactly(&fleet, &[(order.id(), &["b"])]);
    nobody_crashed(&fleet, &["a", "b", "c"]);

    fleet.restart("b");
    runtime.block_on(async { again(evil.link(&fleet, "b").await).await });
    fleet.kill9("b", crate::fleet::Process::Mesh);
    fleet.until("a new mesh process answers", |fleet| {
        let output = fleet.muster("b", &["status", "-o", "json"]);
        if output.code == 0 { Ok(()) } else { Err(output.stderr) }
    });
    runtime.block_on(async { again(evil.link(&fleet, "b").await).await });
    assert_eq!(fleet.stop("b"), 0);
    fs::remove_dir_all(fleet.state("b").join("mesh/store")).expect("its store");
    fleet.start("b");
    runtime.block_on(async {
        again(evil.link(&fleet, "b").await).await;
        let honest = an_honest_order_runs(&fleet, &signer, &hosts).await;
        spawned_exactly(&fleet, &[(order.id(), &["b"]), (honest, &["a", "b", "c"])]);
    });
}

#[test]
fn expired_early_and_out_of_scope_orders_start_nothing_and_are_refused_by_signature() {
    let (mut fleet, hosts) = three();
    let (a, b, c) = (hosts[0], hosts[1], hosts[2]);
    let runtime = Runtime::new().unwrap();
    let signer = Signer::of(&fleet);
    let _in_runtime = runtime.enter();
    let evil = Evil::join(&mut fleet, "evil");
    let argv = fleet.counted(&[]);
    runtime.block_on(async {
        let (narrow, update) = signer
            .certify(&fleet, "a", |certificate| {
                certificate.scope = "tag.role = web".to_owned();
                certificate.run_as = vec!["nobody".to_owned(), "@agent".to_owned()];
                certificate.hosts_max = Some(2);
            })
            .await;
        submit(&fleet, "a", &[&update.0]).await.unwrap();
        all_hold(&fleet, &["a", "b", "c"], narrow.certificate).await;
        let minutes = |count: u64| Duration::from_secs(60 * count);
        let with = |signer: &Signer, hosts: &[HostId], alter: &dyn Fn(&mut Order)| {
            let mut order = signer.order(hosts, &argv);
            alter(&mut order);
            signer.sign(order)
        };
        // Refused with a signed reason by the host that it names.
        let refused = [
            (
                "expired",
                b,
                with(&narrow, &[b], &|order| {
                    (order.issued, order.expires) = (now().before(minutes(10)), now().before(minutes(2)));
                }),
            ),
            (
                "in the future",
                b,
                with(&signer, &[b], &|order| {
                    (order.issued, order.expires) = (now().after(minutes(60)), now().after(minutes(120)));
                }),
            ),
            ("does not cover this host", c, with(&narrow, &[c], &|_| {})),
            (
                "tags do not match",
                c,
                with(&signer, &[c], &|order| order.selector = "tag.role = web".to_owned()),
            ),
            ("no user nosuchuser", b, with(&signer, &[b], &|order| order.run_as = "nosuchuser".to_owned())),
        ];
        // Not passed on by anybody.
        let dropped = [
            (
                "a user outside of the certificate",
                with(&narrow, &[b], &|order| order.run_as = "root".to_owned()),
            ),
            ("more hosts than the certificate", with(&narrow, &[a, b, c], &|_| {})),
            (
                "valid for too long",
                with(&signer, &[b], &|order| order.expires = now().after(minutes(60 * 24 * 31))),
            ),
            ("ends before it begins", with(&signer, &[b], &|order| order.expires = order.issued)),
            (
                "expired long ago",
                with(&narrow, &[b], &|order| {
                    (order.issued, order.expires) = (now().before(minutes(250)), now().before(minutes(150)));
                }),
            ),
            (
                "a roster out of order",
                with(&signer, &[b, c], &|order| {
                    let Roster::Inline { hosts } = &mut order.roster else { unreachable!() };
                    hosts.reverse();
                }),
            ),
            (
                "a roster that marks so few hosts of a list that it must name them",
                with(&signer, &[b], &|order| {
                    let (list, bits) = (ListId([7; 32]), Bytes(vec![0xff]));
                    order.roster = Roster::Bitmap { list, members: 8, bits };
                }),
            ),
            (
                "a selector that cannot be read",
                with(&signer, &[b], &|order| order.selector = "tag.(".to_owned()),
            ),
        ];
        for at in ["a", "b", "c"] {
            let mut line = evil.link(&fleet, at).await;
            for entry in refused.iter().map(|(.., order)| order).chain(dropped.iter().map(|(_, order)| order))
            {
                assert!(line.send(&[entry.bytes()]).await);
            }
            line.dealt_with().await;
        }
        for (why, host, order) in &refused {
            let verified = result(&fleet, "a", order.id(), *host).await;
            let Outcome::Refused { why: said } = &verified.record().outcome else {
                panic!("{why}: {:?}", verified.record())
            };
            assert!(said.contains(why), "{why:?}: {said:?}");
        }
        for (what, order) in &dropped {
            for at in ["a", "b", "c"] {
                assert!(
                    replica(&fleet, at).await.order(&order.id()).is_none(),
                    "{at} holds an order with {what}"
                );
            }
            let told = submit(&fleet, "a", &[order.bytes()]).await;
            assert!(told.is_err() || *what == "expired long ago", "{what}: {told:?}");
        }
        // What the narrow certificate does allow.
        let allowed = narrow.sign(narrow.order(&[b], &argv));
        submit(&fleet, "a", &[allowed.bytes()]).await.unwrap();
        assert!(result(&fleet, "a", allowed.id(), b).await.record().outcome.ok());
        // An order that leaked: it runs where it says, whoever brings it, and nowhere else.
        let leaked = signer.sign(signer.order(&[c], &argv));
        let mut line = evil.link(&fleet, "b").await;
        assert!(line.send(&[leaked.bytes()]).await);
        assert!(result(&fleet, "a", leaked.id(), c).await.record().outcome.ok());
        // A certificate without the verb.
        let (reader, update) =
            signer.certify(&fleet, "a", |certificate| certificate.verbs = vec![Verb::Read]).await;
        submit(&fleet, "a", &[&update.0]).await.unwrap();
        all_hold(&fleet, &["a", "b", "c"], reader.certificate).await;
        let without = reader.sign(reader.order(&hosts, &argv));
        assert!(line.send(&[without.bytes()]).await);
        line.dealt_with().await;
        let told = submit(&fleet, "a", &[without.bytes()]).await.unwrap_err();
        assert!(told.contains("does not allow run"), "{told}");
        let honest = an_honest_order_runs(&fleet, &signer, &hosts).await;
        let expected: [(EntryId, &[&str]); 3] =
            [(allowed.id(), &["b"]), (leaked.id(), &["c"]), (honest, &["a", "b", "c"])];
        spawned_exactly(&fleet, &expected);
    });
    nobody_crashed(&fleet, &["a", "b", "c"]);
}

#[test]
fn a_member_can_neither_tag_nor_invite_nor_govern_nor_speak_for_another_host() {
    let (mut fleet, hosts) = three();
    let b = hosts[1];
    let runtime = Runtime::new().unwrap();
    let signer = Signer::of(&fleet);
    let _in_runtime = runtime.enter();
    let token = JoinToken::from_text(&fleet.invite("a", &[])).unwrap();
    let evil = Evil::join(&mut fleet, "evil");
    fleet.until("all know the fourth member", |fleet| {
        ["a", "b", "c"].iter().all(|at| fleet.hosts(at).len() == 4).then_some(()).ok_or_else(String::new)
    });
    let before: Vec<_> =
        ["a", "b", "c"].iter().map(|at| (fleet.tags(at, "b"), fleet.tags(at, "c"))).collect();
    runtime.block_on(async {
        let (tagger, update) = signer
            .certify(&fleet, "a", |certificate| {
                certificate.verbs = vec![Verb::Tag, Verb::Invite];
                certificate.scope = "tag.role = web".to_owned();
                certificate.tags = vec![("role".to_owned(), "web".to_owned())];
            })
            .await;
        submit(&fleet, "a", &[&update.0]).await.unwrap();
        all_hold(&fleet, &["a", "b", "c"], tagger.certificate).await;
        let as_operator = SecretKey::<Operator>::from_seed(&evil.stream.seed());
        let tag = |by: &SecretKey<Operator>, certificate, host, key: &str, value: &str| {
            let change = TagChange { key: key.to_owned(), value: Some(value.to_owned()) };
            Signed::sign(
                signer.fleet,
                by,
                Op {
                    writer: WriterId(fresh()[..16].try_into().unwrap()),
                    sequence: 0,
                    previous: None,
                    at: Hlc::default().next(now()),
                    certificate,
                    supersedes: Vec::new(),
                    action: OpAction::Tag { host, changes: vec![change] },
                },
            )
        };
        let invite =
            |by: &SecretKey<Operator>, certificate, key: &SecretKey<Token>, tags: &[(&str, &str)]| {
                Signed::sign(
                    signer.fleet,
                    by,
                    Invitation {
                        approve: false,
                        certificate,
                        token: key.public(),
                        tags: tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
                        uses: 9,
                        issued: now(),
                        expires: now().after(Duration::from_secs(3600)),
                    },
                )
            };
        let enrol = |invitation: &Signed<Invitation>, by: &SecretKey<Token>, tags: &[(&str, &str)]| {
            let stream = SecretKey::<Stream>::from_seed(&fresh());
            let keys = HostKeys {
                stream: stream.public(),
                transport: SecretKey::from_seed(&fresh()).public(),
                executor: SecretKey::from_seed(&fresh()).public(),
                seal: SealPublic(fresh()),
            };
            let enrolment = Enrolment {
                name: "ghost".to_owned(),
                tags: tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
                keys,
                at: now(),
            };
            let enrolment = Signed::sign(signer.fleet, by, enrolment);
            Signed::sign(
                signer.fleet,
                &stream,
                HostCertificate {
                    invitation: Bytes::from(invitation.bytes()),
                    enrolment: Bytes::from(enrolment.bytes()),
                },
            )
        };
        let own_token = SecretKey::<Token>::from_seed(&fresh());
        let self_signed = invite(&as_operator, signer.certificate, &own_token, &[("role", "web")]);
        let too_wide = invite(&tagger.key, tagger.certificate, &own_token, &[("role", "db")]);
        let at = Hlc::default().next(now().after(Duration::from_secs(3600)));
        let stranger = SecretKey::<Stream>::from_seed(&fresh());
        let head =
            Head { epoch: u32::MAX, sequence: u64::MAX, previous: None, at, facets: Vec::new(), audit: None };
        let update = RootUpdate {
            sequence: 2,
            parent: Some(signer.certificate),
            change: RootChange::Unknown { tag: 77 },
        };
        // The invitation that stands for a real token, redeemed with a tag that it does not allow.
        let real = replica(&fleet, "a").await.invitation_of(&token.key.public()).cloned();
        let mut entries: Vec<(&str, Vec<u8>)> = vec![
            ("a tag by a host key", tag(&as_operator, signer.certificate, b, "role", "db").bytes().to_vec()),
            (
                "a tag that may not be given",
                tag(&tagger.key, tagger.certificate, b, "role", "db").bytes().to_vec(),
            ),
            ("an invitation of its own", self_signed.bytes().to_vec()),
            ("a host by it", enrol(&self_signed, &own_token, &[("role", "web")]).bytes().to_vec()),
            ("an invitation too wide", too_wide.bytes().to_vec()),
            ("a host by that", enrol(&too_wide, &own_token, &[("role", "db")]).bytes().to_vec()),
            (
                "a root update by itself",
                Cosigned::sign(signer.fleet, &[&SecretKey::<Root>::from_seed(&evil.stream.seed())], update)
                    .bytes()
                    .to_vec(),
            ),
            (
                "a departure by a key of no host",
                Signed::sign(signer.fleet, &stranger, Departure { at: now() }).bytes().to_vec(),
            ),
            ("a head by a key of no host", Signed::sign(signer.fleet, &stranger, head).bytes().to_vec()),
        ];
        if let Some(real) = &real {
            entries.push((
                "a tag beyond the token",
                enrol(real, &token.key, &[("role", "root")]).bytes().to_vec(),
            ));
        }
        for at in ["a", "b", "c"] {
            let mut line = evil.link(&fleet, at).await;
            for (what, entry) in &entries {
                assert!(line.send(&[entry]).await, "{at} hung up on {what}");
            }
            line.dealt_with().await;
            let replica = replica(&fleet, at).await;
            for (what, entry) in &entries {
                assert!(!replica.holds(&peek(entry).unwrap().id), "{at} holds {what}");
            }
        }
        an_honest_order_runs(&fleet, &signer, &hosts).await;
    });
    for (at, tags) in ["a", "b", "c"].iter().zip(before) {
        assert_eq!((fleet.tags(at, "b"), fleet.tags(at, "c")), tags, "{at}");
        let names: BTreeSet<String> = fleet.hosts(at).into_keys().collect();
        assert_eq!(names, ["a", "b", "c", "evil"].map(str::to_owned).into(), "{at}");
        assert!(fleet.states(at).values().all(|state| state != "left"), "{at}");
    }
    nobody_crashed(&fleet, &["a", "b", "c"]);
}

#[test]
fn a_departure_takes_out_its_signer_and_nobody_else() {
    // A departure names nobody: it is about its signer alone. So one that an evil member signs is its own,
    // and takes nobody else out.
    let (mut fleet, hosts) = three();
    let runtime = Runtime::new().unwrap();
    let signer = Signer::of(&fleet);
    let _in_runtime = runtime.enter();
    let evil = Evil::join(&mut fleet, "evil");
    runtime.block_on(async {
        let mut line = evil.link(&fleet, "b").await;
        let departure = Signed::sign(signer.fleet, &evil.stream, Departure { at: now() });
        let _cut_at_once = line.send(&[departure.bytes()]).await;
        line.until_over("it said that it left").await;
        an_honest_order_runs(&fleet, &signer, &hosts).await;
    });
    for at in ["a", "b", "c"] {
        fleet.until("its own departure is known", |fleet| {
            let states = fleet.states(at);
            (states["evil"] == "left").then_some(()).ok_or(format!("{states:?}"))
        });
        let states = fleet.states(at);
        assert!(["a", "b", "c"].iter().all(|name| states[*name] != "left"), "{states:?}");
    }
}

fn forged(
    order: EntryId,
    fleet: muster::identity::FleetId,
    host: HostId,
    by: &SecretKey<muster::identity::Executor>,
    took_ms: u64,
) -> Report {
    let nothing = Output { hash: *blake3::hash(b"").as_bytes(), kept: 0, produced: 0 };
    let record = ResultRecord {
        order,
        host,
        outcome: Outcome::Exited { code: 0 },
        started: now(),
        took_ms,
        stdout: nothing,
        stderr: nothing,
        left_behind: 0,
    };
    let record = Signed::sign(fleet, by, record);
    Report {
        order,
        host,
        record: Bytes::from(record.bytes()),
        stdout: Some(Bytes::default()),
        stderr: Some(Bytes::default()),
    }
}

#[test]
fn a_forged_success_for_another_host_is_only_claimed_and_does_not_replace_the_true_result() {
    let (mut fleet, hosts) = three();
    let c = hosts[2];
    let runtime = Runtime::new().unwrap();
    let signer = Signer::of(&fleet);
    let _in_runtime = runtime.enter();
    let evil = Evil::join(&mut fleet, "evil");
    assert_eq!(fleet.stop("c"), 0);
    let run = runtime.block_on(async {
        let mut line = evil.link(&fleet, "a").await;
        line.dealt_with().await;
        let run = fleet.begin_order("a", &["-l", "role=db", "--timeout", "5s"], &fleet.counted(&[]));
        let orders = |messages: &[Message]| -> Vec<EntryId> {
            let items = messages.iter().filter_map(|message| match message {
                Message::Items { items, .. } => Some(items),
                _ => None,
            });
            let headers = items.flatten().filter_map(|item| peek(&item.entry.0).ok());
            headers.filter(|header| header.kind == Order::KIND as u16).map(|header| header.id).collect()
        };
        line.until("the order is pushed to it", |messages| !orders(messages).is_empty()).await;
        let order = orders(&line.heard())[0];
        // As many as a keeper could ever hold, and some more; and a receipt, that it is kept, by itself.
        let reports = (0..50).map(|ms| forged(order, signer.fleet, c, &evil.executor, ms)).collect();
        assert!(line.say(Message::Reports { reports }).await);
        let kept = forged(order, signer.fleet, c, &evil.executor, 0).kept();
        let receipt = Signed::sign(signer.fleet, &evil.stream, Receipt { kept: vec![kept] });
        assert!(line.say(Message::Settled { receipt: Bytes::from(receipt.bytes()) }).await);
        assert!(line.say(Message::Running { order, hosts: vec![c] }).await);
        line.dealt_with().await;
        Fleet::ran(run)
    });
    assert!(run.output.code != 0, "{run:#?}");
    assert_ne!(run.status("c"), "ok", "{run:#?}");
    assert_eq!(run.summary["counts"]["ok"].as_u64().unwrap_or(0), 0, "{run:#?}");
    eprintln!("forged success: exit {}, {} ({})", run.output.code, run.status("c"), run.why("c"));
    // The host comes back, runs it, and its result stands.
    fleet.start("c");
    fleet.until("the true result is known", |fleet| {
        let shown = fleet.job("a", &run.job);
        (text(&shown["c"]["status"]) == "ok").then_some(()).ok_or(format!("{shown:?}"))
    });
    assert_eq!(fleet.spawns(&run.job), [("c".to_owned(), 1)].into());
    runtime.block_on(async {
        let authority = replica(&fleet, "a").await.authority().clone();
        let jobs: Vec<Report> = {
            let id = fleet_order_id(&fleet, &run.job).await;
            reports(&fleet, "a", id).await.unwrap()
        };
        assert!(
            !jobs.is_empty() && jobs.iter().all(|report| verify(report, report.order, &authority).is_ok())
        );
    });
    nobody_crashed(&fleet, &["a", "b"]);
}

/// The id of the order that a job is, from what the agent holds.
async fn fleet_order_id(fleet: &Fleet, job: &str) -> EntryId {
    let mut client = muster::control::Client::connect(&fleet.socket("a")).await.unwrap();
    client.send(&muster::control::Request::Orders {}).await.unwrap();
    loop {
        let muster::control::Reply::Items { items, more } = client.reply_within(DEADLINE).await.unwrap()
        else {
            panic!("not what was asked")
        };
        for item in items {
            let id = peek(&item.entry.0).unwrap().id;
            if id.to_string() == job || id.to_string().starts_with(job) {
                return id;
            }
        }
        assert!(more, "no order {job}");
    }
}

#[test]
fn frames_that_are_no_messages_end_the_stream_and_nothing_else() {
    let (mut fleet, hosts) = three();
    let runtime = Runtime::new().unwrap();
    let signer = Signer::of(&fleet);
    let _in_runtime = runtime.enter();
    let evil = Evil::join(&mut fleet, "evil");
    let framed = |body: &[u8]| [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat();
    let nested = |depth: usize| [vec![0x81; depth], vec![0x01]].concat();
    let hello = wire::encode(&crate::evil::hello(SYNC_VERSION));
    let late = wire::encode(&crate::evil::hello(77));
    let no_entry = wire::encode(&Message::Items { items: vec![Item::bare(b"no entry")], part: Part::Pushed });
    let huge_array = [&[0x9b][..], &u64::MAX.to_be_bytes()].concat();
    let mut garbage = vec![0_u8; 300_000];
    let mut state = 88_172_645_463_325_252_u64;
    for byte in &mut garbage {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = state.to_le_bytes()[0];
    }
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a frame of 4 GiB is announced", vec![0xff; 4]),
        ("a frame one byte too long is announced", (1024 * 1024 + 1_u32).to_be_bytes().to_vec()),
        ("garbage", garbage.clone()),
        ("a frame of garbage", framed(&garbage)),
        ("an empty frame", framed(&[])),
        ("arrays, 17 deep", framed(&nested(17))),
        ("arrays, a million deep", framed(&nested(1_000_000))),
        ("an array of 2^64 items", framed(&huge_array)),
        ("an unknown message", framed(&wire::encode(&crate::evil::Raw(Value::Array(vec![Value::from(99)]))))),
        ("no hello first", framed(&no_entry)),
        ("another version", framed(&late)),
        ("what is no entry", [framed(&hello), framed(&no_entry)].concat()),
        ("a float", framed(&[0x82, 0x03, 0xf9, 0x3c, 0x00])),
        ("half a frame, then the end", framed(&hello)[..9].to_vec()),
    ];
    runtime.block_on(async {
        for at in ["a", "b"] {
            for (what, bytes) in &cases {
                let (mut reads, mut writes) = tokio::io::split(evil.bytes(&fleet, at).await);
                let write = async {
                    let written = writes.write_all(bytes).await;
                    let flushed = if written.is_ok() { writes.flush().await } else { Ok(()) };
                    let _gone = flushed.and(writes.shutdown().await);
                    // Whoever no longer reads need not take the rest.
                    std::future::pending::<()>().await;
                };
                let mut rest = Vec::new();
                let ended = tokio::select! {
                    () = write => unreachable!(),
                    ended = tokio::time::timeout(DEADLINE, reads.read_to_end(&mut rest)) => ended,
                };
                assert!(ended.is_ok(), "{at} keeps a stream with {what}");
            }
        }
        let honest = an_honest_order_runs(&fleet, &signer, &hosts).await;
        spawned_exactly(&fleet, &[(honest, &["a", "b", "c"])]);
    });
    nobody_crashed(&fleet, &["a", "b", "c"]);
}

/// Resident memory of a process, in KiB.
pub(crate) fn resident(pid: u64) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap_or(0)
}

/// What a flood is made of.
#[derive(Clone, Copy, Debug)]
enum Flood {
    /// Entries that everybody holds.
    Known,
    /// Its own new heads, without end.
    Heads,
    /// Hosts that it invited itself.
    Ghosts,
    /// Ids of nothing, which no one could verify.
    Kinds,
    /// Questions for everything.
    Tips,
}

#[test]
fn a_flood_neither_fills_a_host_nor_keeps_orders_from_running() {
    const ENTRIES: usize = 4000;
    const FLOODED_FOR: Duration = Duration::from_secs(3);
    const ROOM_KIB: u64 = 160 * 1024;
    let (mut fleet, hosts) = three();
    let runtime = Runtime::new().unwrap();
    let signer = Signer::of(&fleet);
    let _in_runtime = runtime.enter();
    let mesh = fleet.status("b")["mesh_pid"].as_u64().expect("a mesh process");
    let before = resident(mesh);
    for (number, flood) in
        [Flood::Known, Flood::Heads, Flood::Kinds, Flood::Tips, Flood::Ghosts].into_iter().enumerate()
    {
        let evil = Evil::join(&mut fleet, &format!("evil{number}"));
        runtime.block_on(async {
            let held = replica(&fleet, "b").await.all();
            let known = held.iter().cycle().take(ENTRIES).map(|item| item.entry.0.clone());
            let at = Hlc::default().next(now());
            let token = SecretKey::<Token>::from_seed(&fresh());
            let as_operator = SecretKey::<Operator>::from_seed(&evil.stream.seed());
            let entries: Vec<Vec<u8>> = match flood {
                Flood::Known | Flood::Tips => known.collect(),
                Flood::Heads => (0..ENTRIES as u64)
                    .map(|sequence| Head { epoch: 1, sequence, previous: None, at, facets: Vec::new(), audit: None })
                    .map(|head| Signed::sign(signer.fleet, &evil.stream, head).bytes().to_vec())
                    .collect(),
                Flood::Kinds => (0..ENTRIES as u64)
                    .map(|kind| {
                        envelope(signer.fleet, &evil.stream.seed(), 100 + kind % 60_000, Value::from(kind))
                    })
                    .collect(),
                Flood::Ghosts => (0..ENTRIES as u64)
                    .map(|uses| {
                        Signed::sign(
                            signer.fleet,
                            &as_operator,
                            Invitation {
                                approve: false,
                                certificate: signer.certificate,
                                token: token.public(),
                                tags: Vec::new(),
                                uses: u32::try_from(uses).unwrap(),
                                issued: now(),
                                expires: now().after(Duration::from_secs(60)),
                            },
                        )
                        .bytes()
                        .to_vec()
                    })
                    .collect(),
            };
            // As many as fit into one message.
            let fits = entries.iter().scan(0, |bytes, entry| {
                *bytes += entry.len() + 16;
                (*bytes < 900_000).then(|| Item::bare(entry))
            });
            let items: Vec<Item> = fits.collect();
            let mut line = evil.link(&fleet, "b").await;
            let sent = Arc::new(AtomicUsize::new(0));
            let counts = Arc::clone(&sent);
            let mut flooding = tokio::spawn(async move {
                loop {
                    let (message, count) = match flood {
                        Flood::Tips => (Message::Tips { tip: Tip::nothing() }, 1),
                        _ => (Message::Items { items: items.clone(), part: Part::Pushed }, items.len()),
                    };
                    if !line.say(message).await || line.over() {
                        return;
                    }
                    counts.fetch_add(count, Ordering::Relaxed);
                }
            });
            let start = Instant::now();
            let (mut slowest, mut most, mut orders) = (Duration::ZERO, 0, 0);
            while start.elapsed() < FLOODED_FOR {
                let began = Instant::now();
                an_honest_order_runs(&fleet, &signer, &hosts).await;
                slowest = slowest.max(began.elapsed());
                most = most.max(resident(mesh));
                orders += 1;
            }
            let (taken, took) = (sent.load(Ordering::Relaxed), start.elapsed());
            let cut = tokio::time::timeout(DEADLINE, &mut flooding).await.is_ok();
            flooding.abort();
            eprintln!(
                "{flood:?}: {taken} in {took:.1?}{}; {orders} orders, the slowest {slowest:.1?}; {before} to {most} KiB",
                if cut { ", then cut off" } else { "" },
            );
            assert!(taken > 0 || cut, "{flood:?} is no flood");
            assert!(slowest < Duration::from_secs(10), "{flood:?}: an order took {slowest:?}");
            assert!(most < before + ROOM_KIB, "{flood:?}: {most} KiB");
            assert!(cut, "{flood:?} is not cut off");
        });
    }
    nobody_crashed(&fleet, &["a", "b", "c"]);
}
