//! The agent's end of a conversation with an operator whose machine is no host: the same one as on the socket, on a
//! stream of the network.
//!
//! Decides what a card's holder may ask ([`allowed`]: a list that is closed, so that what is asked for the first time
//! tomorrow is refused until somebody puts it there), how much, and for how long: the card is judged again before
//! every request and every second, and with it ends every stream. A holder gets what the group of the socket gets,
//! and nothing more: no host is made, changed or listed by it, and nothing is passed on for it but signed objects.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{
    Caller, Cards, Handler, MESSAGE_BYTES_MAX, Reply, Request,
    server::{Doorkeeper, converse},
};
use crate::net::{Net, NetError, PeerKey, Protocol, Standing};

/// Streams of all cards together.
const STREAMS_MAX: usize = 128;
/// Streams of one card: a job that is watched has one for each wave that is followed, and some for output.
const STREAMS_A_CARD_MAX: usize = 24;
/// How often a card is judged again while its stream lives.
const JUDGED_EVERY: Duration = Duration::from_secs(1);
/// How long going over from a stream's opening to its bytes may take.
const WITHIN: Duration = Duration::from_secs(10);
/// What one card may ask at once, in [`cost`], and a second.
const COST_BURST: u64 = 32 * 1024 * 1024;
const COST_A_SECOND: u64 = 4 * 1024 * 1024;
/// What any request costs besides its bytes: 64 a second for ever, 512 at once.
const COST_LEAST: u64 = 64 * 1024;

/// The conversation.
#[derive(Debug)]
pub enum Remote {}
impl Protocol for Remote {
    const NAME: &'static str = "/muster/control/1";
    const MESSAGE_BYTES_MAX: usize = MESSAGE_BYTES_MAX;
    const ADMITS: Standing = Standing::Card;
    type Request = Request;
    type Reply = Reply;
}

/// Whether a card's holder may ask this. What is not named here may not be asked.
fn allowed(request: &Request, invites: bool) -> Result<(), String> {
    let named = match request {
        Request::Invite {} if !invites => {
            return Err("the card's certificate does not allow to invite".to_owned());
        }
        Request::Hello { .. }
        | Request::Status {}
        | Request::Fleet { .. }
        | Request::Waited {}
        | Request::Hosts {}
        | Request::Peers {}
        | Request::Submit { .. }
        | Request::Orders {}
        | Request::Watch { .. }
        | Request::Output { .. }
        | Request::Ping { .. }
        | Request::Invite {}
        | Request::Explain { .. }
        | Request::InventorySearch { .. }
        | Request::InventoryShow { .. }
        | Request::InventoryTypes {}
        | Request::Ship { .. }
        | Request::Live { .. }
        | Request::HostLines {}
        | Request::Words { .. }
        | Request::Health {} => true,
        _ => false,
    };
    if named { Ok(()) } else { Err("this may only be asked on the host itself".to_owned()) }
}

/// What a request of so many bytes costs.
fn cost(bytes: usize) -> u64 {
    COST_LEAST.saturating_add(bytes as u64)
}

/// What one card has left to ask, and its streams.
#[derive(Debug)]
struct Account {
    streams: Arc<Semaphore>,
    /// Until when what was asked is paid for; not long before now.
    paid: Mutex<Instant>,
}

impl Account {
    fn new(now: Instant) -> Self {
        let paid = now.checked_sub(saved_max()).unwrap_or(now);
        Self { streams: Arc::new(Semaphore::new(STREAMS_A_CARD_MAX)), paid: Mutex::new(paid) }
    }

    /// When a request of this cost may be answered.
    fn charge(&self, cost: u64, now: Instant) -> Instant {
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(saved_max()).unwrap_or(now);
        let took = Duration::from_micros(cost.saturating_mul(1_000_000) / COST_A_SECOND);
        *paid = (*paid).max(earliest) + took;
        *paid
    }
}

/// How long a card may save up.
fn saved_max() -> Duration {
    Duration::from_secs(COST_BURST / COST_A_SECOND)
}

/// Those who have streams.
type Accounts = Arc<Mutex<HashMap<PeerKey, Arc<Account>>>>;

fn lock(accounts: &Accounts) -> MutexGuard<'_, HashMap<PeerKey, Arc<Account>>> {
    accounts.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What stands between one card's holder and the answers.
struct Door {
    cards: Cards,
    peer: PeerKey,
    account: Arc<Account>,
}

impl Doorkeeper for Door {
    async fn admit(&self, request: &Request, bytes: usize) -> Result<(), String> {
        let holder = self.cards.holder(self.peer)?;
        allowed(request, holder.invites)?;
        sleep_until(self.account.charge(cost(bytes), Instant::now())).await;
        Ok(())
    }
}

/// Serves those whose cards were found good, until `stop`.
///
/// # Errors
/// When the protocol is served already.
pub async fn serve_remote<H: Handler>(
    net: Net,
    cards: Cards,
    handler: Arc<H>,
    stop: CancellationToken,
) -> Result<(), NetError> {
    let mut incoming = net.accept::<Remote>(STREAMS_MAX)?;
    let accounts = Accounts::default();
    let mut streams = JoinSet::new();
    loop {
        let arrival = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            arrival = incoming.next() => arrival,
        };
        while streams.try_join_next().is_some() {}
        let Some(arrival) = arrival else { return Ok(()) };
        let peer = arrival.peer;
        let account = {
            let mut accounts = lock(&accounts);
            // Who has no stream may begin anew, after the time that it takes to save up.
            accounts.retain(|_, account| {
                account.streams.available_permits() < STREAMS_A_CARD_MAX
                    || account.charge(0, Instant::now()) + saved_max() > Instant::now()
            });
            Arc::clone(accounts.entry(peer).or_insert_with(|| Arc::new(Account::new(Instant::now()))))
        };
        // Above the bound it finds the stream closed.
        let Ok(slot) = Arc::clone(&account.streams).try_acquire_owned() else {
            debug!(%peer, "a card's holder has too many streams");
            continue;
        };
        let door = Door { cards: cards.clone(), peer, account };
        let (handler, stop) = (Arc::clone(&handler), stop.clone());
        streams.spawn(async move {
            let lasts = lasts(&door.cards, peer);
            tokio::select! {
                () = stop.cancelled() => {}
                why = lasts => debug!(%peer, why, "a card is good no longer, stream ended"),
                ended = answering(arrival.channel, slot, &door, &*handler) => {
                    if let Err(error) = ended {
                        debug!(%peer, %error, "control stream ended");
                    }
                }
            }
        });
    }
}

/// Completes when a card is good no longer, and says why.
async fn lasts(cards: &Cards, peer: PeerKey) -> String {
    loop {
        if let Err(why) = cards.holder(peer) {
            return why;
        }
        sleep(JUDGED_EVERY).await;
    }
}

async fn answering<H: Handler>(
    channel: crate::net::Channel<Remote>,
    slot: OwnedSemaphorePermit,
    door: &Door,
    handler: &H,
) -> io::Result<()> {
    let holder = door.cards.holder(door.peer).map_err(io::Error::other)?;
    let stream = channel.into_io(WITHIN).await.map_err(io::Error::other)?;
    let ended = converse(stream, Caller::Card { invites: holder.invites }, handler, door).await;
    drop(slot);
    ended
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{identity::HostId, wire::Bytes};

    #[test]
    fn what_is_the_hosts_own_is_not_asked_from_outside() {
        let host = HostId([1; 32]);
        for request in [Request::Leave {}, Request::StoreCheck {}] {
            assert!(allowed(&request, true).is_err(), "{request:?}");
        }
        let order = crate::identity::EntryId([2; 32]);
        let read = Bytes::default();
        for request in [
            Request::Fleet { heads: true },
            Request::Submit { items: Vec::new() },
            Request::Watch { order, follow: true },
            Request::Live { read, order },
            Request::Ping { host },
        ] {
            assert_eq!(allowed(&request, false), Ok(()), "{request:?}");
        }
        assert_eq!(allowed(&Request::Invite {}, true), Ok(()));
        assert!(allowed(&Request::Invite {}, false).is_err(), "addresses and shield are for who may invite");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_slowed_to_what_a_card_may_ask_and_a_few_requests_are_not() {
        let now = Instant::now() + saved_max();
        let account = Account::new(now);
        let at_once = (0..10_000).take_while(|_| account.charge(cost(0), now) <= now).count();
        assert!((400..=512).contains(&at_once), "{at_once} at once");
        for _ in 0..64 {
            account.charge(cost(0), now);
        }
        let waits = account.charge(cost(0), now) - now;
        assert!((Duration::from_millis(900)..Duration::from_millis(1200)).contains(&waits), "{waits:?}");
        // Bytes count as well: a mebibyte is a quarter of a second.
        let before = account.charge(0, now);
        let waits = account.charge(cost(1024 * 1024), now) - before;
        assert!(waits > Duration::from_millis(250), "{waits:?}");
        // And time gives it back, but no more than it may save.
        let later = now + Duration::from_secs(3600);
        let again = (0..10_000).take_while(|_| account.charge(cost(0), later) <= later).count();
        assert!(again <= 512, "{again}");
    }
}
