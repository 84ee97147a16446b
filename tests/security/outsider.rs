//! Who is no member: without the fleet's pre-shared key, and with it.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use muster::{
    journal::HostHome,
    net::{self, Net, Protocol, Standing},
    services::replication::Sync,
    wire::Value,
};
use tokio::{runtime::Runtime, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    evil::{Raw, listens_at},
    fleet::{DEADLINE, Fleet, Reach},
    signer::fresh,
};

const WITHIN: Duration = Duration::from_secs(10);

macro_rules! protocols {
    ($($name:ident = $text:literal),*) => {
        $(enum $name {}
        impl Protocol for $name {
            const NAME: &'static str = $text;
            const MESSAGE_BYTES_MAX: usize = 1 << 20;
            const ADMITS: Standing = Standing::Stranger;
            type Request = Raw;
            type Reply = Raw;
        })*
    };
}
protocols!(Join = "/muster/join/1", Output = "/muster/output/1", Ping = "/muster/ping/1");

fn node(psk: [u8; 32], tasks: &mut JoinSet<()>, stop: &CancellationToken) -> Net {
    let (net, task) = net::start(net::Settings { seed: fresh(), psk, lan: false }).expect("a network");
    tasks.spawn(task.run(stop.clone()));
    net
}

#[test]
fn without_the_shield_a_port_says_nothing_and_with_it_a_stranger_may_only_ask_to_join() {
    let mut fleet = Fleet::found("acme");
    fleet.join("b", &[], Reach::Listens);
    fleet.all_see_all();
    let b = listens_at(&fleet, "b");
    let runtime = Runtime::new().unwrap();
    let _in_runtime = runtime.enter();
    let stop = CancellationToken::new();
    let _ends = stop.clone().drop_guard();
    let mut tasks = JoinSet::new();

    let zeros = vec![0; 65_536];
    for said in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x13/multistream/1.0.0\n", &zeros, b""] {
        let mut socket = TcpStream::connect(b).unwrap();
        let _cut = socket.write_all(said);
        let _done = socket.shutdown(std::net::Shutdown::Write);
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut answer = Vec::new();
        let _reset = socket.read_to_end(&mut answer);
        let readable = String::from_utf8_lossy(&answer).contains("multistream");
        assert!(!readable && answer.len() <= 128, "{} bytes for {} bytes", answer.len(), said.len());
    }

    let shield = HostHome::open(&fleet.state("b")).unwrap().member.shield;
    runtime.block_on(async {
        let foreign = node(fresh(), &mut tasks, &stop);
        assert!(foreign.dial_unknown(b, WITHIN).await.is_err(), "another shield connects");

        let stranger = node(shield, &mut tasks, &stop);
        let peer = stranger.dial_unknown(b, WITHIN).await.unwrap();
        assert!(stranger.open::<Sync>(peer, WITHIN).await.is_err(), "a stranger gets a sync stream");
        assert!(stranger.open::<Output>(peer, WITHIN).await.is_err(), "a stranger gets output");
        assert!(stranger.open::<Ping>(peer, WITHIN).await.is_err(), "a stranger gets a ping");
        for said in [
            Value::Array(vec![Value::from(0), Value::Bytes(fresh().to_vec())]),
            Value::Array(vec![Value::from(1), Value::Bytes(vec![7; 1000])]),
            Value::Array(vec![Value::from(9)]),
        ] {
            let mut join = stranger.open::<Join>(peer, WITHIN).await.expect("who may ask to join");
            join.send_request(&Raw(said), WITHIN).await.unwrap();
            // Told that it is refused, or hung up on; no entry of the fleet comes either way.
            while let Ok(Some(Raw(reply))) = join.recv_reply(DEADLINE).await {
                let kind = reply.as_array().and_then(|parts| parts.first()?.as_integer());
                assert_eq!(kind, Some(3.into()), "{reply:?}");
            }
        }

        // Sixteen at a time and no more; members are not of their number.
        let mut strangers = vec![stranger];
        for _ in 1..40 {
            let next = node(shield, &mut tasks, &stop);
            let _turned_away = next.dial_unknown(b, WITHIN).await;
            strangers.push(next);
        }
        let linked = || strangers.iter().filter(|net| !net.links().borrow().is_empty()).count();
        let start = std::time::Instant::now();
        while linked() > 16 {
            assert!(start.elapsed() < DEADLINE, "{} strangers are connected", linked());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        eprintln!("{} of {} strangers stayed", linked(), strangers.len());
        // A machine that would join meanwhile is turned away as well, and asks again.
        let token = fleet.invite("b", &["--address", &b.to_string()]);
        let waits = fleet.begin("d", &["join", &token, "--host-name", "d", "--no-listen"]);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(!fleet.hosts("a").contains_key("d"), "a seventeenth was let in");
        drop(strangers);
        stop.cancel();
        waits.finish().ends(0);
        fleet.join("c", &[], Reach::Listens);
        fleet.until("c is seen", |fleet| {
            let states = fleet.states("c");
            if states.len() == 4 { Ok(()) } else { Err(format!("{states:?}")) }
        });
        let ran = fleet.order("c", &["-H", "a,b,c"], &fleet.counted(&[])).ends(0);
        assert_eq!(ran.of_status("ok").len(), 3);
    });
    for host in ["a", "b"] {
        assert_eq!(fleet.counter(host, "mesh_starts"), 1, "{}", fleet.log(host));
    }
}
