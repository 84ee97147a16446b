//! Nodes on loopback, each with its own key; every wait has a generous deadline.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Channel, ChannelError, Incoming, Link, Net, NetError, PeerKey, Protocol, Settings, Standing, start,
    streams, swarm, task,
};
use crate::{wire::Bytes, wire_record};

const LONG: Duration = Duration::from_secs(60);
const PSK: [u8; 32] = [9; 32];

#[derive(Debug, PartialEq)]
struct Note {
    number: u32,
    body: Bytes,
}
wire_record!(Note { number, body });

fn note(number: u32) -> Note {
    Note { number, body: Bytes(number.to_be_bytes().to_vec()) }
}

macro_rules! protocol {
    ($name:ident, $path:literal, $admits:ident) => {
        #[derive(Debug)]
        struct $name;
        impl Protocol for $name {
            const NAME: &'static str = $path;
            const MESSAGE_BYTES_MAX: usize = 128 * 1024;
            const ADMITS: Standing = Standing::$admits;
            type Request = Note;
            type Reply = Note;
        }
    };
}
protocol!(Inner, "/muster/test-inner/1", Member);
protocol!(Work, "/muster/test-work/1", Card);
protocol!(Join, "/muster/test-join/1", Stranger);

struct Node {
    net: Net,
    addr: SocketAddr,
    tasks: JoinSet<()>,
    stop: DropGuard,
}

fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

async fn node_with(seed: u8, psk: [u8; 32]) -> Node {
    let (net, task) = start(Settings { seed: [seed; 32], psk, lan: false }).unwrap();
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(task.run(stop.clone()));
    let addr = net.listen(loopback()).await.unwrap();
    Node { net, addr, tasks, stop: stop.drop_guard() }
}

async fn node(seed: u8) -> Node {
    node_with(seed, PSK).await
}

impl Node {
    fn key(&self) -> PeerKey {
        self.net.me()
    }

    fn knows(&self, others: &[&Node]) {
        self.net.set_members(others.iter().map(|other| other.key()).collect());
    }

    async fn dial(&self, other: &Node) {
        self.net.dial(other.key(), vec![other.addr], LONG).await.unwrap();
        self.until(other, "linked", |link| link.is_some()).await;
        other.until(self, "linked", |link| link.is_some()).await;
    }

    async fn until(&self, other: &Node, what: &str, wanted: impl Fn(Option<&Link>) -> bool) {
        let mut links = self.net.links();
        let seen = timeout(LONG, links.wait_for(|links| wanted(links.get(&other.key())))).await;
        seen.unwrap_or_else(|_| panic!("{} never {what} to {}", self.key(), other.key())).unwrap();
    }

    fn link(&self, other: &Node) -> Link {
        self.net.links().borrow()[&other.key()]
    }

    /// Answers every note with the same.
    fn echo<P: Protocol<Request = Note, Reply = Note>>(&mut self, slots: usize) {
        let mut incoming: Incoming<P> = self.net.accept(slots).unwrap();
        self.tasks.spawn(async move {
            let mut calls = JoinSet::new();
            while let Some(mut arrival) = incoming.next().await {
                calls.spawn(async move {
                    while let Ok(Some(note)) = arrival.channel.recv_request(LONG).await {
                        if arrival.channel.send_reply(&note, LONG).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
    }

    async fn ask<P: Protocol<Request = Note, Reply = Note>>(&self, other: &Node, number: u32) {
        let mut channel: Channel<P> = self.net.open(other.key(), LONG).await.unwrap();
        channel.send_request(&note(number), LONG).await.unwrap();
        assert_eq!(channel.recv_reply(LONG).await.unwrap(), Some(note(number)));
    }
}

async fn members() -> (Node, Node) {
    let (a, b) = (node(1).await, node(2).await);
    a.knows(&[&b]);
    b.knows(&[&a]);
    (a, b)
}

#[tokio::test]
async fn messages_cross_both_ways_over_one_link() {
    let (mut a, mut b) = members().await;
    a.echo::<Inner>(4);
    b.echo::<Inner>(4);
    a.dial(&b).await;
    a.ask::<Inner>(&b, 1).await;
    b.ask::<Inner>(&a, 2).await;
    assert!(a.link(&b).dialled_by_us && !b.link(&a).dialled_by_us);
    assert_eq!(a.link(&b).remote, b.addr);
    assert_eq!(a.net.local_addrs().into_iter().collect::<Vec<_>>(), [a.addr]);
    a.net.dial(b.key(), vec![], LONG).await.expect("a link is there already");
}

#[tokio::test]
async fn a_batch_arrives_in_order_and_a_closed_end_is_seen() {
    let (a, b) = members().await;
    let mut incoming = b.net.accept::<Inner>(1).unwrap();
    a.dial(&b).await;
    let channel = a.net.open::<Inner>(b.key(), LONG).await.unwrap();
    let (mut sender, mut receiver) = channel.split_opener();
    let notes: Vec<_> = (0..5000).map(note).collect();
    sender.send_all(&notes, LONG).await.unwrap();
    sender.close(LONG).await.unwrap();
    let mut channel = incoming.next().await.unwrap().channel;
    for number in 0..5000 {
        assert_eq!(channel.recv_request(LONG).await.unwrap(), Some(note(number)));
    }
    assert_eq!(channel.recv_request(LONG).await.unwrap(), None);
    channel.send_reply(&note(7), LONG).await.unwrap();
    assert_eq!(receiver.recv(LONG).await.unwrap(), Some(note(7)), "the other way is still open");
}

#[tokio::test]
async fn a_channel_goes_over_to_plain_bytes_after_a_message() {
    let (a, b) = members().await;
    let mut incoming = b.net.accept::<Inner>(1).unwrap();
    a.dial(&b).await;
    let mut channel = a.net.open::<Inner>(b.key(), LONG).await.unwrap();
    channel.send_request(&note(1), LONG).await.unwrap();
    let mut io = channel.into_io(LONG).await.unwrap();
    io.write_all(b"plain bytes").await.unwrap();
    io.shutdown().await.unwrap();
    let mut channel = incoming.next().await.unwrap().channel;
    assert_eq!(channel.recv_request(LONG).await.unwrap(), Some(note(1)));
    let mut bytes = Vec::new();
    channel.into_io(LONG).await.unwrap().read_to_end(&mut bytes).await.unwrap();
    assert_eq!(bytes, b"plain bytes");
}

#[tokio::test]
async fn a_receive_that_was_dropped_loses_nothing() {
    let (ours, mut theirs) = tokio::io::duplex(1024);
    let mut channel = Channel::<Inner>::over(ours);
    let framed = crate::wire::frame(&crate::wire::encode(&note(5)), 1024).unwrap();
    for byte in framed {
        let early = channel.recv_request(Duration::ZERO).await;
        assert!(matches!(early, Err(ChannelError::TimedOut { .. })), "{early:?}");
        theirs.write_all(&[byte]).await.unwrap();
    }
    assert_eq!(channel.recv_request(LONG).await.unwrap(), Some(note(5)));
    theirs.write_all(&[0, 0]).await.unwrap();
    drop(theirs);
    let cut = channel.recv_request(LONG).await;
    assert!(matches!(cut, Err(ChannelError::Cut { .. })), "{cut:?}");
}

#[tokio::test]
async fn a_send_that_was_dropped_half_way_leaves_whole_messages() {
    let (ours, theirs) = tokio::io::duplex(8);
    let (mut sender, _receiver) = Channel::<Inner>::over(ours).split_opener();
    let stuck = sender.send(&note(1), Duration::ZERO).await;
    assert!(matches!(stuck, Err(ChannelError::TimedOut { .. })), "{stuck:?}");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { sender.send(&note(2), LONG).await.unwrap() });
    let mut channel = Channel::<Inner>::over(theirs);
    assert_eq!(channel.recv_request(LONG).await.unwrap(), Some(note(1)));
    assert_eq!(channel.recv_request(LONG).await.unwrap(), Some(note(2)));
}

#[tokio::test]
async fn an_over_long_frame_ends_the_channel_from_its_header_alone() {
    let (a, b) = members().await;
    let mut incoming = b.net.accept::<Inner>(1).unwrap();
    a.dial(&b).await;
    let channel = a.net.open::<Inner>(b.key(), LONG).await.unwrap();
    let mut io = channel.into_io(LONG).await.unwrap();
    io.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
    io.flush().await.unwrap();
    let mut channel = incoming.next().await.unwrap().channel;
    // The body never comes: only the header can have told.
    for _ in 0..2 {
        match channel.recv_request(LONG).await {
            Err(ChannelError::TooLong { protocol, source }) => {
                assert_eq!((protocol, source.bytes), (Inner::NAME, u32::MAX as usize));
            }
            other => panic!("{other:?}"),
        }
    }
    let long = Note { number: 0, body: Bytes(vec![0; Inner::MESSAGE_BYTES_MAX]) };
    let refused = channel.send_reply(&long, LONG).await;
    assert!(matches!(refused, Err(ChannelError::TooLong { .. })), "{refused:?}");
}

#[tokio::test]
async fn another_pre_shared_key_never_connects_and_disturbs_nobody() {
    let (mut a, mut b) = members().await;
    b.echo::<Inner>(4);
    a.echo::<Join>(4);
    a.dial(&b).await;
    let foreign = node_with(3, [8; 32]).await;
    let (known, unknown) =
        tokio::join!(foreign.net.dial(b.key(), vec![b.addr], LONG), foreign.net.dial_unknown(a.addr, LONG));
    assert!(matches!(known, Err(NetError::Dial { .. })), "{known:?}");
    assert!(matches!(unknown, Err(NetError::Dial { .. })), "{unknown:?}");
    a.ask::<Inner>(&b, 1).await;
    assert_eq!(b.net.links().borrow().len(), 1);
}

#[tokio::test]
async fn each_standing_opens_its_own_protocols_and_no_byte_of_others_is_read() {
    let (a, mut b) = (node(1).await, node(2).await);
    let mut inner = b.net.accept::<Inner>(4).unwrap();
    b.echo::<Work>(4);
    b.echo::<Join>(4);
    assert_eq!(a.net.dial_unknown(b.addr, LONG).await.unwrap(), b.key());
    b.until(&a, "linked", |link| link.is_some()).await;

    a.ask::<Join>(&b, 1).await;
    let refused = a.net.open::<Work>(b.key(), LONG).await.unwrap_err();
    assert!(matches!(refused, NetError::NotOffered { .. }), "{refused:?}");
    assert!(b.net.admit_card(a.key(), Instant::now() + LONG));
    a.ask::<Work>(&b, 2).await;
    let refused = a.net.open::<Inner>(b.key(), LONG).await.unwrap_err();
    assert!(matches!(refused, NetError::NotOffered { .. }), "{refused:?}");
    assert!(inner.arrivals_are_empty(), "a refused stream reached its service");

    b.knows(&[&a]);
    let mut channel = a.net.open::<Inner>(b.key(), LONG).await.unwrap();
    channel.send_request(&note(3), LONG).await.unwrap();
    let mut arrival = inner.next().await.unwrap();
    assert_eq!((arrival.peer, arrival.standing), (a.key(), Standing::Member));
    assert_eq!(arrival.channel.recv_request(LONG).await.unwrap(), Some(note(3)));
    assert_eq!(b.net.standing(a.key()), Standing::Member);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_that_dial_each_other_at_once_keep_one_link_and_the_same() {
    for round in 0..20 {
        let (mut a, mut b) = members().await;
        a.echo::<Inner>(4);
        b.echo::<Inner>(4);
        let (there, back) =
            tokio::join!(a.net.dial(b.key(), vec![b.addr], LONG), b.net.dial(a.key(), vec![a.addr], LONG));
        there.unwrap();
        back.unwrap();
        // Both dials may have come through; then the one by the smaller key stays. If one end saw the
        // other's link before it dialled, there was only ever that one.
        let agreed = async {
            let (mut at_a, mut at_b) = (a.net.links(), b.net.links());
            loop {
                let ours = at_a.borrow_and_update().get(&b.key()).copied();
                let theirs = at_b.borrow_and_update().get(&a.key()).copied();
                if let (Some(ours), Some(theirs)) = (ours, theirs)
                    && ours.dialled_by_us != theirs.dialled_by_us
                    && a.net.connections().await == 1
                    && b.net.connections().await == 1
                {
                    break;
                }
                let _either = timeout(Duration::from_millis(20), async {
                    tokio::select! { _ = at_a.changed() => {}, _ = at_b.changed() => {} }
                })
                .await;
            }
        };
        timeout(LONG, agreed).await.unwrap_or_else(|_| panic!("round {round}: two ends, two links"));
        a.ask::<Inner>(&b, round).await;
        b.ask::<Inner>(&a, round).await;
    }
}

#[tokio::test]
async fn of_two_dials_by_one_end_the_newer_is_kept() {
    let (mut a, mut b) = members().await;
    a.echo::<Inner>(4);
    b.echo::<Inner>(4);
    a.dial(&b).await;
    let (before, there) = (a.link(&b).serial, b.link(&a).serial);
    assert_eq!(a.net.dial_unknown(b.addr, LONG).await.unwrap(), b.key());
    a.until(&b, "relinked", |link| link.is_some_and(|link| link.serial > before)).await;
    b.until(&a, "relinked", |link| link.is_some_and(|link| link.serial > there)).await;
    let alone = async {
        while a.net.connections().await + b.net.connections().await != 2 {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, alone).await.expect("the older connection stays");
    a.ask::<Inner>(&b, 1).await;
    b.ask::<Inner>(&a, 2).await;
}

#[tokio::test]
async fn a_peer_that_is_no_member_any_more_is_disconnected() {
    let (a, b) = members().await;
    let mut incoming = b.net.accept::<Inner>(4).unwrap();
    a.dial(&b).await;
    let mut channel = a.net.open::<Inner>(b.key(), LONG).await.unwrap();
    channel.send_request(&note(1), LONG).await.unwrap();
    let mut arrival = incoming.next().await.unwrap();
    assert_eq!(arrival.channel.recv_request(LONG).await.unwrap(), Some(note(1)));
    b.knows(&[]);
    a.until(&b, "cut", |link| link.is_none()).await;
    b.until(&a, "cut", |link| link.is_none()).await;
    assert!(!matches!(channel.recv_reply(LONG).await, Ok(Some(_))));
    assert!(!matches!(arrival.channel.recv_request(LONG).await, Ok(Some(_))));
}

#[tokio::test]
async fn a_card_that_ran_out_and_a_stranger_that_stays_one_are_disconnected() {
    let (a, b, c) = (node(1).await, node(2).await, node(3).await);
    a.dial(&c).await;
    assert!(c.net.admit_card(b.key(), Instant::now() + task::STRANGER_STAY / 2));
    b.dial(&c).await;
    tokio::time::pause();
    tokio::time::advance(task::STRANGER_STAY / 2 + Duration::from_secs(1)).await;
    tokio::time::resume();
    b.until(&c, "cut", |link| link.is_none()).await;
    assert!(a.net.links().borrow().contains_key(&c.key()), "the stranger's time is not over");
    tokio::time::pause();
    tokio::time::advance(task::STRANGER_STAY / 2).await;
    tokio::time::resume();
    a.until(&c, "cut", |link| link.is_none()).await;
    assert!(c.net.links().borrow().is_empty());
}

#[tokio::test]
async fn strangers_are_few_and_members_still_get_in() {
    let (mut a, b) = members().await;
    a.echo::<Inner>(4);
    let mut strangers = Vec::new();
    for seed in 0..streams::STRANGERS_MAX {
        let stranger = node(100 + u8::try_from(seed).unwrap()).await;
        stranger.dial(&a).await;
        strangers.push(stranger);
    }
    let late = node(99).await;
    // Its own end is up before the other has turned it away.
    let _either = late.net.dial(a.key(), vec![a.addr], LONG).await;
    late.until(&a, "turned away", |link| link.is_none()).await;
    assert!(!a.net.links().borrow().contains_key(&late.key()));
    b.dial(&a).await;
    b.ask::<Inner>(&a, 1).await;
    assert_eq!(a.net.links().borrow().len(), streams::STRANGERS_MAX + 1);
}

#[tokio::test]
async fn a_slow_service_loses_only_what_is_over_its_slots() {
    let (a, b) = members().await;
    let mut incoming = b.net.accept::<Inner>(8).unwrap();
    a.dial(&b).await;
    let mut channels = Vec::new();
    for number in 0..8 {
        let mut channel = a.net.open::<Inner>(b.key(), LONG).await.unwrap();
        channel.send_request(&note(number), LONG).await.unwrap();
        channels.push(channel);
    }
    let mut over = a.net.open::<Inner>(b.key(), LONG).await.unwrap();
    assert!(!matches!(over.recv_reply(LONG).await, Ok(Some(_))));
    assert_eq!(b.net.counts().busy, 1);
    // Only now does the service look: all that found a slot are there, in order.
    for number in 0..8 {
        let mut arrival = incoming.next().await.unwrap();
        assert_eq!(arrival.channel.recv_request(LONG).await.unwrap(), Some(note(number)));
        let (half, other) = arrival.channel.split_acceptor();
        drop(half);
        drop(other);
    }
    for number in 8..16 {
        let mut channel = a.net.open::<Inner>(b.key(), LONG).await.unwrap();
        channel.send_request(&note(number), LONG).await.unwrap();
        let mut arrival = incoming.next().await.expect("the slots are free again");
        assert_eq!(arrival.channel.recv_request(LONG).await.unwrap(), Some(note(number)));
    }
    assert_eq!(b.net.counts().busy, 1);
    assert!(matches!(b.net.accept::<Inner>(1), Err(NetError::Taken(_))));
    drop(incoming);
    let gone = a.net.open::<Inner>(b.key(), LONG).await.unwrap_err();
    assert!(matches!(gone, NetError::NotOffered { .. }), "{gone:?}");
    b.net.accept::<Inner>(1).expect("the name is free again");
}

/// Yamux lost a wake-up when reader and writer were different tasks (rust-yamux 232).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_mebibytes_cross_each_way_at_once_between_split_halves() {
    const PIECES: u32 = 256;
    fn piece(number: u32) -> Note {
        Note { number, body: Bytes(vec![number.to_be_bytes()[3]; 64 * 1024]) }
    }
    let (a, b) = members().await;
    let mut incoming = b.net.accept::<Inner>(1).unwrap();
    a.dial(&b).await;
    let channel = a.net.open::<Inner>(b.key(), LONG).await.unwrap();
    let arrived = incoming.next().await.unwrap().channel;
    let mut tasks = JoinSet::new();
    for (mut sender, mut receiver) in [channel.split_opener(), arrived.split_acceptor()] {
        tasks.spawn(async move {
            for number in 0..PIECES {
                sender.send(&piece(number), LONG).await.unwrap();
            }
            sender.close(LONG).await.unwrap();
        });
        tasks.spawn(async move {
            for number in 0..PIECES {
                assert_eq!(receiver.recv(LONG).await.unwrap(), Some(piece(number)));
            }
            assert_eq!(receiver.recv(LONG).await.unwrap(), None);
        });
    }
    let all = async {
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    };
    timeout(Duration::from_secs(300), all).await.expect("stuck");
}

#[tokio::test]
async fn a_dead_address_says_why_and_a_silent_one_in_time() {
    let a = node(1).await;
    let b = node(2).await;
    let dead = {
        let listener = std::net::TcpListener::bind(loopback()).unwrap();
        listener.local_addr().unwrap()
    };
    let refused = a.net.dial(b.key(), vec![dead], LONG).await.unwrap_err();
    let NetError::Dial { peer, reasons } = &refused else { panic!("{refused:?}") };
    assert_eq!((peer, reasons.len(), reasons[0].0), (&Some(b.key()), 1, dead));
    assert!(reasons[0].1.contains("refused"), "{refused}");

    // Its system takes connections, nobody answers them.
    let silent = std::net::TcpListener::bind(loopback()).unwrap();
    let at = silent.local_addr().unwrap();
    let short = Duration::from_millis(200);
    for _ in 0..3 {
        let began = Instant::now();
        let refused = a.net.dial(b.key(), vec![at], short).await.unwrap_err();
        assert!(began.elapsed() < swarm::HANDSHAKE, "{:?}", began.elapsed());
        assert!(refused.to_string().contains("no answer within 0.2 s"), "{refused}");
    }
    // The dial that was given up does not stand in the way of the right address.
    a.net.dial(b.key(), vec![b.addr], LONG).await.unwrap();
}

#[tokio::test]
async fn an_address_where_another_host_answers_does_not_hide_the_right_one() {
    let (a, b, c) = (node(1).await, node(2).await, node(3).await);
    let refused = a.net.dial(b.key(), vec![c.addr], LONG).await.unwrap_err();
    assert!(refused.to_string().contains("another host answers there"), "{refused}");
    for _ in 0..10 {
        a.net.dial(b.key(), vec![c.addr, b.addr], LONG).await.unwrap();
        a.net.disconnect(b.key()).await.unwrap();
        a.until(&b, "cut", |link| link.is_none()).await;
        b.until(&a, "cut", |link| link.is_none()).await;
    }
}

#[tokio::test]
async fn nobody_dials_itself() {
    let a = node(1).await;
    let b = node(2).await;
    assert!(matches!(a.net.dial(a.key(), vec![b.addr], LONG).await, Err(NetError::Myself)));
    let own = a.net.dial(b.key(), vec![a.addr], LONG).await.unwrap_err();
    assert!(matches!(&own, NetError::Dial { reasons, .. } if reasons.is_empty()), "{own:?}");
    let none = PeerKey([0xff; 32]);
    assert!(a.net.dial(none, vec![b.addr], LONG).await.is_err());
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let a = node(1).await;
    let b = node(2).await;
    let refused = b.net.listen(a.addr).await.unwrap_err();
    assert_eq!(refused.to_string(), format!("cannot listen on {}", a.addr));
    let NetError::Listen { source, .. } = refused else { panic!() };
    assert_eq!(source.kind(), std::io::ErrorKind::AddrInUse);
    let every = b.net.listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))).await.unwrap();
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, every.port()));
    assert_eq!(a.net.dial_unknown(local, LONG).await.unwrap(), b.key());
}

#[tokio::test]
async fn garbage_on_the_port_does_not_disturb_a_link() {
    let (a, mut b) = members().await;
    b.echo::<Inner>(4);
    a.dial(&b).await;
    let serial = a.link(&b).serial;
    for seed in 0..8_u8 {
        let mut socket = TcpStream::connect(b.addr).await.unwrap();
        let garbage: Vec<u8> = (0..4096_u32).map(|n| (n * 31).to_be_bytes()[3] ^ seed).collect();
        let _cut = socket.write_all(&garbage).await;
        a.ask::<Inner>(&b, u32::from(seed)).await;
    }
    assert_eq!(a.link(&b).serial, serial);
}

#[tokio::test]
async fn a_flood_of_half_open_connections_leaves_members_served() {
    let (a, mut b) = members().await;
    b.echo::<Inner>(4);
    a.dial(&b).await;
    let serial = a.link(&b).serial;
    let mut flood = Vec::new();
    for _ in 0..300 {
        flood.push(TcpStream::connect(b.addr).await.unwrap());
    }
    for number in 0..20 {
        a.ask::<Inner>(&b, number).await;
    }
    assert_eq!(a.link(&b).serial, serial);
    // A member that was away gets in while the flood's sockets are still open, once those that were
    // half-open have had their time.
    a.net.disconnect(b.key()).await.unwrap();
    a.until(&b, "cut", |link| link.is_none()).await;
    let again = async {
        while a.net.dial(b.key(), vec![b.addr], LONG).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LONG, again).await.expect("never got in again");
    a.ask::<Inner>(&b, 20).await;
    assert_eq!(flood.len(), 300);
}

#[tokio::test]
async fn everything_ends_when_the_task_does() {
    let (a, mut b) = members().await;
    let mut incoming = a.net.accept::<Inner>(1).unwrap();
    b.echo::<Inner>(1);
    a.dial(&b).await;
    let Node { net, mut tasks, stop, .. } = a;
    drop(stop);
    timeout(LONG, tasks.join_next()).await.unwrap();
    assert!(incoming.next().await.is_none());
    assert!(net.links().borrow().is_empty());
    assert!(net.open::<Inner>(b.key(), LONG).await.is_err());
    assert!(matches!(net.listen(loopback()).await, Err(NetError::Stopped)));
    assert!(matches!(net.accept::<Join>(1), Err(NetError::Stopped)));
    timeout(LONG, b.net.links().wait_for(std::collections::BTreeMap::is_empty)).await.unwrap().unwrap();
}
