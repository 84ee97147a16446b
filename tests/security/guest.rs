//! Whoever holds the shield and comes with a card, or with something that is to pass for one.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use muster::{
    control::{
        CERTIFICATE_OF_KEY, CONTROL_VERSION, CardReply, CardRequest, Remote, Reply, Request, ShowCard,
    },
    identity::{FleetId, Operator, PublicKey, SecretKey, Signed},
    journal::HostHome,
    net::{self, Channel, Net, PeerKey},
    replica::{Card, Item},
    services::replication::Sync,
    time::Timestamp,
    wire::Bytes,
};
use tokio::{runtime::Runtime, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    evil::listens_at,
    fleet::{DEADLINE, Fleet, Reach},
    signer::{Signer, fresh, host_id, now, submit},
};

const WITHIN: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3600);

/// A machine that is no host, linked to one.
struct Guest {
    net: Net,
    peer: PeerKey,
    tasks: JoinSet<()>,
    _ends: tokio_util::sync::DropGuard,
}

impl Guest {
    async fn at(shield: [u8; 32], address: SocketAddr) -> Self {
        let (net, task) = net::start(net::Settings { seed: fresh(), psk: shield, lan: false }).unwrap();
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(task.run(stop.clone()));
        let peer = net.dial_unknown(address, WITHIN).await.unwrap();
        Self { net, peer, tasks, _ends: stop.drop_guard() }
    }

    fn card(&self, from: Timestamp, valid: Duration) -> Card {
        Card {
            certificate: CERTIFICATE_OF_KEY,
            transport: PublicKey::from_bytes(self.net.me().0),
            issued: from,
            expires: from.after(valid),
        }
    }

    async fn shows(&self, card: &[u8]) -> Result<(), String> {
        let mut channel = self.net.open::<ShowCard>(self.peer, WITHIN).await.map_err(|e| e.to_string())?;
        channel
            .send_request(&CardRequest { card: Bytes::from(card) }, WITHIN)
            .await
            .map_err(|e| e.to_string())?;
        match channel.recv_reply(WITHIN).await.map_err(|e| e.to_string())? {
            Some(CardReply::Admitted { .. }) => Ok(()),
            Some(CardReply::Refused { why }) => Err(why),
            None => Err("hung up".to_owned()),
        }
    }

    async fn signs(&self, fleet: FleetId, key: &SecretKey<Operator>, card: Card) -> Result<(), String> {
        self.shows(Signed::sign(fleet, key, card).bytes()).await
    }

    async fn talk(&self) -> Result<Channel<Remote>, String> {
        let mut channel = self.net.open::<Remote>(self.peer, WITHIN).await.map_err(|e| e.to_string())?;
        let hello = Request::Hello { version: CONTROL_VERSION };
        channel.send_request(&hello, WITHIN).await.map_err(|e| e.to_string())?;
        match channel.recv_reply(WITHIN).await.map_err(|e| e.to_string())? {
            Some(Reply::Hello { .. }) => Ok(channel),
            other => Err(format!("{other:?}")),
        }
    }
}

async fn asked(channel: &mut Channel<Remote>, request: Request) -> Reply {
    channel.send_request(&request, WITHIN).await.unwrap();
    channel.recv_reply(DEADLINE).await.unwrap().expect("an answer")
}

fn refused(reply: &Reply) -> bool {
    matches!(reply, Reply::Error { refused: true, .. })
}

/// Until the stream is over.
async fn ends(channel: &mut Channel<Remote>) {
    let start = Instant::now();
    while let Ok(Some(_)) = channel.recv_reply(DEADLINE).await {
        assert!(start.elapsed() < DEADLINE, "the stream goes on");
    }
    assert!(start.elapsed() < DEADLINE, "the stream goes on");
}

fn two() -> (Fleet, [u8; 32], SocketAddr) {
    let mut fleet = Fleet::found("acme");
    fleet.join("b", &[], Reach::Listens);
    fleet.all_see_all();
    let shield = HostHome::open(&fleet.state("b")).unwrap().member.shield;
    let b = listens_at(&fleet, "b");
    (fleet, shield, b)
}

#[test]
fn without_a_good_card_nothing_is_answered_and_with_one_only_what_is_listed() {
    let (fleet, shield, b) = two();
    let signer = Signer::of(&fleet);
    Runtime::new().unwrap().block_on(async {
        let guest = Guest::at(shield, b).await;
        assert!(guest.talk().await.is_err(), "no card was shown");
        let card = || guest.card(now(), HOUR);
        let stranger = SecretKey::<Operator>::from_seed(&fresh());
        let other = FleetId(fresh());
        let wrong = [
            ("a key without a certificate", guest.signs(signer.fleet, &stranger, card()).await),
            ("another fleet's", guest.signs(other, &signer.key, card()).await),
            (
                "one that ran out",
                guest.signs(signer.fleet, &signer.key, guest.card(now().before(HOUR), HOUR)).await,
            ),
            (
                "one for longer than may be",
                guest.signs(signer.fleet, &signer.key, guest.card(now(), HOUR * 9)).await,
            ),
            (
                "one from the future",
                guest.signs(signer.fleet, &signer.key, guest.card(now().after(HOUR * 2), HOUR)).await,
            ),
            ("noise", guest.shows(&fresh()).await),
            ("another's", {
                let transport = PublicKey::from_bytes(fresh());
                guest.signs(signer.fleet, &signer.key, Card { transport, ..card() }).await
            }),
        ];
        for (what, shown) in wrong {
            assert!(shown.is_err(), "{what} opens the gate");
            assert!(guest.talk().await.is_err(), "{what} is answered");
        }

        guest.signs(signer.fleet, &signer.key, card()).await.unwrap();
        let mut channel = guest.talk().await.unwrap();
        assert!(guest.net.open::<Sync>(guest.peer, WITHIN).await.is_err(), "a card gets a sync stream");
        assert!(refused(&asked(&mut channel, Request::Leave {}).await), "it takes a host out of its fleet");
        assert!(refused(&asked(&mut channel, Request::StoreCheck {}).await), "it works the host's disk");
        assert!(
            matches!(asked(&mut channel, Request::Hosts {}).await, Reply::Hosts { hosts } if hosts.len() == 2)
        );
        // What nobody signed, or not with a right, is refused as it is from anybody.
        let forged = Signed::sign(signer.fleet, &stranger, signer.order(&[host_id(&fleet, "b")], &["true"]));
        let items = vec![Item::bare(forged.bytes())];
        assert!(matches!(asked(&mut channel, Request::Submit { items }).await, Reply::Error { .. }));
        // It is nobody's host: neither listed nor among the links that carry entries.
        for host in ["a", "b"] {
            assert_eq!(fleet.states(host).len(), 2);
            let status = fleet.status(host);
            assert_eq!(status["links"], 1, "{status}");
            assert_eq!(status["peers"].as_array().map(Vec::len), Some(1), "{status}");
        }
        drop(guest.tasks);
    });
    for host in ["a", "b"] {
        assert_eq!(fleet.counter(host, "mesh_starts"), 1, "{}", fleet.log(host));
    }
}

#[test]
fn a_stream_ends_with_its_card_and_with_the_certificate_under_it() {
    let (fleet, shield, b) = two();
    let signer = Signer::of(&fleet);
    Runtime::new().unwrap().block_on(async {
        let order = signer.certificate;
        let brief = Guest::at(shield, b).await;
        brief.signs(signer.fleet, &signer.key, brief.card(now(), Duration::from_secs(3))).await.unwrap();
        let mut channel = brief.talk().await.unwrap();
        channel.send_request(&Request::Watch { order, follow: true }, WITHIN).await.unwrap();
        ends(&mut channel).await;
        assert!(brief.talk().await.is_err(), "a card that ran out is answered");

        let until = now().after(Duration::from_secs(4));
        let (second, update) = signer.certify(&fleet, "b", |certificate| certificate.not_after = until).await;
        submit(&fleet, "b", &[&update.0]).await.unwrap();
        let guest = Guest::at(shield, b).await;
        guest.signs(signer.fleet, &second.key, guest.card(now(), HOUR)).await.unwrap();
        let mut channel = guest.talk().await.unwrap();
        assert!(
            refused(&asked(&mut channel, Request::Invite {}).await),
            "whoever may not invite learns addresses"
        );
        channel.send_request(&Request::Watch { order, follow: true }, WITHIN).await.unwrap();
        ends(&mut channel).await;
        assert!(now() >= until, "it ended before its time");
    });
}

#[test]
fn a_flood_of_requests_and_streams_leaves_the_others_what_they_need() {
    let (fleet, shield, b) = two();
    let signer = Signer::of(&fleet);
    Runtime::new().unwrap().block_on(async {
        let guest = Guest::at(shield, b).await;
        guest.signs(signer.fleet, &signer.key, guest.card(now(), HOUR)).await.unwrap();
        let mut channels = Vec::new();
        let mut turned_away = 0;
        for _ in 0..64 {
            match guest.talk().await {
                Ok(channel) => channels.push(channel),
                Err(_) => turned_away += 1,
            }
        }
        assert!(channels.len() <= 24 && turned_away >= 40, "{} streams of one card", channels.len());
        let start = Instant::now();
        let mut asking = JoinSet::new();
        for mut channel in channels {
            asking.spawn(async move {
                for _ in 0..60 {
                    channel.send_request(&Request::Status {}, WITHIN).await.unwrap();
                    let _slowed = channel.recv_reply(DEADLINE).await;
                }
            });
        }
        // Beside it the host is asked, and works.
        let others = Instant::now();
        let status = fleet.status("b");
        assert!(status["members"].is_number(), "{status}");
        assert!(others.elapsed() < Duration::from_secs(5), "{:?}", others.elapsed());
        while asking.join_next().await.is_some() {}
        let took = start.elapsed();
        eprintln!("1,440 requests of one card took {took:?}");
        assert!(took > Duration::from_secs(8), "1,440 requests in {took:?}");
    });
    fleet.order("a", &["--all"], &fleet.counted(&[])).ends(0);
    assert_eq!(fleet.counter("b", "mesh_starts"), 1, "{}", fleet.log("b"));
}
