//! A member that sends bad signatures as fast as it can: what that costs a host, and everybody else.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use muster::{
    net::PeerKey,
    replica::Item,
    services::replication::Sync,
    sync::{Message, Part, SYNC_VERSION},
};
use tokio::runtime::Runtime;

use crate::{
    evil::{Evil, hello, listens_at},
    member::three,
    signer::{Signer, result, submit},
};

/// How long it goes on.
const FOR: Duration = Duration::from_secs(10);
/// How many it has ready to send every second.
const A_SECOND: usize = 10_000;
/// In one message.
const AT_ONCE: usize = 500;
/// Members that do so at once, so that one that is shunned is not all.
const MEMBERS: usize = 4;
/// The most that an honest order may take.
const ORDER_WITHIN: Duration = Duration::from_secs(2);

/// Seconds of processor time that a process has used.
fn used(pid: u64) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after = text.rsplit(')').next().unwrap_or_default();
    let field = |at: usize| after.split_whitespace().nth(at).and_then(|word| word.parse::<f64>().ok());
    (field(11).unwrap_or(0.0) + field(12).unwrap_or(0.0)) / 100.0
}

/// Sends without a pause, as often as it is let in; how many entries went out, and on how many streams.
async fn flood(evil: &Evil, at: PeerKey, items: &[Item], stop: &AtomicBool, sent: &AtomicUsize) -> usize {
    let mut streams = 0;
    while !stop.load(Ordering::Relaxed) {
        let Ok(channel) = evil.net.open::<Sync>(at, Duration::from_secs(2)).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        streams += 1;
        let (mut sender, _receiver) = channel.split_opener();
        let within = Duration::from_secs(2);
        if sender.send(&hello(SYNC_VERSION), within).await.is_err() {
            continue;
        }
        for batch in items.chunks(AT_ONCE).cycle() {
            let began = Instant::now();
            let message = Message::Items { items: batch.to_vec(), part: Part::Pushed };
            if stop.load(Ordering::Relaxed) || sender.send(&message, within).await.is_err() {
                break;
            }
            sent.fetch_add(batch.len(), Ordering::Relaxed);
            let pause =
                Duration::from_secs(1) * u32::try_from(AT_ONCE).unwrap() / u32::try_from(A_SECOND).unwrap();
            tokio::time::sleep(pause.saturating_sub(began.elapsed())).await;
        }
    }
    streams
}

#[test]
fn ten_thousand_bad_signatures_a_second_cost_half_a_core_at_most_and_orders_run_in_time() {
    let (mut fleet, hosts) = three();
    let runtime = Runtime::new().unwrap();
    let signer = Signer::of(&fleet);
    let _in_runtime = runtime.enter();
    let order = signer.order(&hosts, &fleet.counted(&[]));
    let good = signer.sign(order);
    // Well formed in all but the signature, each another one: what is known by its hash is not looked at again.
    let items: Vec<Item> = (0..A_SECOND)
        .map(|number| {
            let mut bytes = good.bytes().to_vec();
            let at = bytes.len() - 64;
            for (place, byte) in number.to_le_bytes().iter().enumerate() {
                bytes[at + place] ^= byte;
            }
            bytes[at + 40] ^= 1;
            Item::bare(&bytes)
        })
        .collect();
    let status = fleet.status("b");
    let pids = ["mesh_pid", "executor_pid"].map(|field| status[field].as_u64().expect("a pid"));
    let cost = || pids.iter().map(|pid| used(*pid)).sum::<f64>();
    let evils: Vec<Evil> =
        (0..MEMBERS).map(|number| Evil::join(&mut fleet, &format!("evil{number}"))).collect();
    let address = listens_at(&fleet, "b");
    runtime.block_on(async {
        let honest = async |slowest: &mut Duration| {
            let began = Instant::now();
            let order = signer.sign(signer.order(&hosts, &fleet.counted(&[])));
            submit(&fleet, "a", &[order.bytes()]).await.expect("an honest order is taken");
            for host in &hosts {
                assert!(result(&fleet, "a", order.id(), *host).await.record().outcome.ok());
            }
            *slowest = (*slowest).max(began.elapsed());
        };
        // What honest orders cost by themselves, at the same pace.
        let mut quiet = Duration::ZERO;
        let (before, began) = (cost(), Instant::now());
        let mut orders = 0_u32;
        while began.elapsed() < FOR / 2 {
            honest(&mut quiet).await;
            orders += 1;
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        let alone = (cost() - before) / began.elapsed().as_secs_f64();

        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let floods: Vec<_> = evils
            .into_iter()
            .map(|evil| {
                let (stop, sent, items) = (Arc::clone(&stop), Arc::clone(&sent), items.clone());
                tokio::spawn(async move {
                    let peer = loop {
                        match evil.net.dial_unknown(address, Duration::from_secs(5)).await {
                            Ok(peer) => break peer,
                            Err(_) if stop.load(Ordering::Relaxed) => return 0,
                            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                        }
                    };
                    flood(&evil, peer, &items, &stop, &sent).await
                })
            })
            .collect();
        let (before, began, mut slowest) = (cost(), Instant::now(), Duration::ZERO);
        while began.elapsed() < FOR {
            honest(&mut slowest).await;
            orders += 1;
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        let flooded = (cost() - before) / began.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        let mut streams = 0;
        for flood in floods {
            streams += flood.await.expect("it floods");
        }
        let sent = sent.load(Ordering::Relaxed);
        eprintln!(
            "{MEMBERS} members: {sent} bad signatures on {streams} streams in {FOR:?}; of a core {flooded:.2}, and \
             {alone:.2} before; {orders} orders, the slowest {slowest:.2?}, and {quiet:.2?} before"
        );
        assert!(streams > 0, "nobody was let in");
        assert!(flooded - alone < 0.5, "{flooded:.2} of a core, and {alone:.2} without");
        assert!(slowest < ORDER_WITHIN.max(quiet * 2), "an order took {slowest:?}, and {quiet:?} without");
    });
}
