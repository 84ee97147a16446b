//! How a command line that is no host proves itself: it shows a card, the operator's signature over the
//! transport key that Noise has just proven, and passes the gate for as long as the card lasts.
//!
//! Always holds: a card is judged by the authority as it is *now*, each time that it matters ([`Cards::holder`]):
//! who lost the certificate loses the gate, whatever the card says. What a holder may ask is not decided here.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{
    authority::{Authority, Certificate, Verb, Want},
    identity::{EntryId, Operator, PublicKey, Signed},
    journal::NO_CERTIFICATE,
    net::{Net, NetError, PeerKey, Protocol, Standing},
    replica::{CARD_VALID_MAX, Card},
    store::Store,
    time::{SKEW_MAX, Timestamp},
    wire::Bytes,
    wire_choice, wire_record,
};

/// Cards looked at at a time.
const CARDS_MAX: usize = 16;
/// Cards of one key that are held at a time: command lines of one person at work.
const CARDS_A_KEY_MAX: usize = 256;
/// Stands in a card for the certificate, where its holder does not know yet which it is: the one of its key.
pub const CERTIFICATE_OF_KEY: EntryId = NO_CERTIFICATE;
/// How long one message may take.
const WITHIN: Duration = Duration::from_secs(10);

/// Shows a card.
#[derive(Clone, Debug)]
pub struct CardRequest {
    /// The signed [`Card`].
    pub card: Bytes,
}
wire_record!(CardRequest { card });

/// What comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CardReply {
    /// The gate is open until then.
    Admitted {
        /// Until when.
        until: Timestamp,
    },
    /// It is not, and why.
    Refused {
        /// In words.
        why: String,
    },
}
wire_choice!(CardReply { 0 = Admitted { until }, 1 = Refused { why } });

/// Showing a card.
#[derive(Debug)]
pub enum ShowCard {}
impl Protocol for ShowCard {
    const NAME: &'static str = "/muster/card/1";
    const MESSAGE_BYTES_MAX: usize = 4096;
    const ADMITS: Standing = Standing::Stranger;
    type Request = CardRequest;
    type Reply = CardReply;
}

/// Whose card was found good, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Until when.
    pub until: Timestamp,
    /// Whether the certificate allows to invite.
    pub invites: bool,
}

/// The cards that were shown and are still good.
#[derive(Clone)]
pub struct Cards {
    net: Net,
    store: Store,
    clock: fn() -> Timestamp,
    held: Arc<Mutex<HashMap<PeerKey, Signed<Card>>>>,
}

impl fmt::Debug for Cards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cards").field("held", &self.lock().len()).finish_non_exhaustive()
    }
}

impl Cards {
    /// None yet.
    pub fn new(net: Net, store: Store, clock: fn() -> Timestamp) -> Self {
        Self { net, store, clock, held: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PeerKey, Signed<Card>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at cards until `stop`.
    ///
    /// # Errors
    /// When the protocol is served already.
    pub async fn serve(self, stop: CancellationToken) -> Result<(), NetError> {
        let mut incoming = self.net.accept::<ShowCard>(CARDS_MAX)?;
        let mut cards = JoinSet::new();
        loop {
            let arrival = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                arrival = incoming.next() => arrival,
            };
            while cards.try_join_next().is_some() {}
            let Some(mut arrival) = arrival else { return Ok(()) };
            let looking = self.clone();
            cards.spawn(async move {
                let Ok(Some(request)) = arrival.channel.recv_request(WITHIN).await else { return };
                let reply = match looking.show(&request.card, arrival.peer) {
                    Ok(until) => CardReply::Admitted { until },
                    Err(why) => CardReply::Refused { why },
                };
                if let Err(error) = arrival.channel.send_reply(&reply, WITHIN).await {
                    debug!(%error, "an answer to a card was not taken");
                }
            });
        }
    }

    /// Judges a card, and opens the gate for its holder until the time that is returned.
    fn show(&self, card: &Bytes, peer: PeerKey) -> Result<Timestamp, String> {
        let now = (self.clock)();
        let (card, holder) = self.store.read(|replica| {
            let authority = replica.authority();
            let card =
                Signed::<Card>::verify(&card.0, authority.fleet()).map_err(|error| error.to_string())?;
            let holder = judge(authority, &card, peer, now)?;
            Ok::<_, String>((card, holder))
        })?;
        let links = self.net.links().borrow().clone();
        let mut held = self.lock();
        // A command line that is gone needs no card any more.
        let gone: Vec<PeerKey> =
            held.keys().copied().filter(|other| *other != peer && !links.contains_key(other)).collect();
        for other in gone {
            held.remove(&other);
            self.net.dismiss_card(other);
        }
        let same = held.iter().filter(|(other, held)| **other != peer && held.signer() == card.signer());
        let until = Instant::now() + holder.until.since(now);
        if same.count() >= CARDS_A_KEY_MAX || !self.net.admit_card(peer, until) {
            return Err("this host has no room for another card".to_owned());
        }
        held.insert(peer, card);
        Ok(holder.until)
    }

    /// What holds for the holder of a card now. Where that is nothing any more, the gate is closed, and the
    /// link ends.
    ///
    /// # Errors
    /// In words, why nothing does.
    pub fn holder(&self, peer: PeerKey) -> Result<Holder, String> {
        let Some(card) = self.lock().get(&peer).cloned() else {
            return Err("no card was shown".to_owned());
        };
        let now = (self.clock)();
        let judged = self.store.read(|replica| judge(replica.authority(), &card, peer, now));
        if judged.is_err() {
            self.lock().remove(&peer);
            self.net.dismiss_card(peer);
        }
        judged
    }
}

/// The certificate that a card is under.
fn certificate(
    authority: &Authority,
    id: EntryId,
    key: PublicKey<Operator>,
    now: Timestamp,
) -> Result<&Certificate, String> {
    if id != CERTIFICATE_OF_KEY {
        return authority.certificate_of(&id, key).map_err(|refusal| refusal.to_string());
    }
    let id = authority.suited(key, &Want::of(Verb::Invite, now));
    let id = id.ok_or_else(|| "the card's key has no certificate in this fleet".to_owned())?;
    authority.certificate_of(&id, key).map_err(|refusal| refusal.to_string())
}

/// What the card allows `peer`, and until when.
fn judge(
    authority: &Authority,
    card: &Signed<Card>,
    peer: PeerKey,
    now: Timestamp,
) -> Result<Holder, String> {
    let body = card.body();
    let certificate = certificate(authority, body.certificate, card.signer(), now)?;
    if body.transport.bytes() != peer.0 {
        return Err("the card is for another transport key".to_owned());
    }
    if body.expires.since(body.issued) > CARD_VALID_MAX {
        return Err("the card is valid for longer than 8 hours".to_owned());
    }
    if body.issued.before(SKEW_MAX) > now {
        return Err("the card was issued in the future by this host's clock".to_owned());
    }
    let until = body.expires.min(certificate.not_after);
    if until <= now || !certificate.valid_at(body.issued) {
        return Err("the card, or its certificate, has expired".to_owned());
    }
    Ok(Holder { until, invites: certificate.allows(Verb::Invite) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        control::testing::{NOW, TestFleet},
        identity::{FleetId, SecretKey, Transport},
    };

    const PEER: PeerKey = PeerKey([9; 32]);
    const HOUR: Duration = Duration::from_secs(3600);

    fn body(fleet: &TestFleet) -> Card {
        Card {
            certificate: fleet.certificate,
            transport: PublicKey::<Transport>::from_bytes(PEER.0),
            issued: NOW,
            expires: NOW.after(HOUR),
        }
    }

    fn judge_bytes(fleet: &TestFleet, bytes: &[u8], at: Timestamp) -> Result<Timestamp, String> {
        let authority = fleet.replica.authority();
        let card = Signed::<Card>::verify(bytes, authority.fleet()).map_err(|error| error.to_string())?;
        judge(authority, &card, PEER, at).map(|holder| holder.until)
    }

    fn judged(fleet: &TestFleet, body: Card, at: Timestamp) -> Result<Timestamp, String> {
        let card = Signed::sign(fleet.chain.fleet(), &fleet.operator, body);
        judge_bytes(fleet, card.bytes(), at)
    }

    #[test]
    fn a_card_opens_the_gate_for_its_own_key_and_no_longer_than_it_says() {
        let fleet = TestFleet::acme();
        assert_eq!(judged(&fleet, body(&fleet), NOW), Ok(NOW.after(HOUR)));
        let refused = |body: Card, at: Timestamp, why: &str| {
            let error = judged(&fleet, body, at).unwrap_err();
            assert!(error.contains(why), "{error}");
        };
        let other = PublicKey::from_bytes([8; 32]);
        refused(Card { transport: other, ..body(&fleet) }, NOW, "another transport key");
        refused(body(&fleet), NOW.after(HOUR), "expired");
        refused(Card { expires: NOW.after(HOUR * 9), ..body(&fleet) }, NOW, "longer than 8 hours");
        refused(Card { issued: NOW.after(HOUR), ..body(&fleet) }, NOW, "in the future");
        let unknown = EntryId([1; 32]);
        refused(Card { certificate: unknown, ..body(&fleet) }, NOW, "not known");
    }

    #[test]
    fn a_card_that_names_no_certificate_stands_under_that_of_its_key() {
        let fleet = TestFleet::acme();
        let unnamed = Card { certificate: CERTIFICATE_OF_KEY, ..body(&fleet) };
        assert_eq!(judged(&fleet, unnamed.clone(), NOW), Ok(NOW.after(HOUR)));
        let stranger = SecretKey::<Operator>::from_seed(&[99; 32]);
        let forged = Signed::sign(fleet.chain.fleet(), &stranger, unnamed);
        assert!(judge_bytes(&fleet, forged.bytes(), NOW).unwrap_err().contains("no certificate"));
    }

    #[test]
    fn who_may_not_invite_is_told_apart() {
        let may = |fleet: &TestFleet| {
            let card = Signed::sign(fleet.chain.fleet(), &fleet.operator, body(fleet));
            judge(fleet.replica.authority(), &card, PEER, NOW).map(|holder| holder.invites)
        };
        assert_eq!(may(&TestFleet::acme()), Ok(true));
        let lesser = TestFleet::with(|certificate| certificate.verbs.retain(|verb| *verb != Verb::Invite));
        assert_eq!(may(&lesser), Ok(false));
    }

    #[test]
    fn a_card_ends_with_its_certificate() {
        let end = NOW.after(Duration::from_secs(60));
        let fleet = TestFleet::with(|certificate| certificate.not_after = end);
        assert_eq!(judged(&fleet, body(&fleet), NOW), Ok(end));
        assert!(judged(&fleet, body(&fleet), end).is_err());
    }

    #[test]
    fn a_card_by_another_key_or_for_another_fleet_opens_nothing() {
        let fleet = TestFleet::acme();
        let judge_bytes = |bytes: &[u8]| judge_bytes(&fleet, bytes, NOW);
        let stranger = SecretKey::<Operator>::from_seed(&[99; 32]);
        let forged = Signed::sign(fleet.chain.fleet(), &stranger, body(&fleet));
        assert!(judge_bytes(forged.bytes()).unwrap_err().contains("another key"));
        let foreign = Signed::sign(FleetId([3; 32]), &fleet.operator, body(&fleet));
        assert!(judge_bytes(foreign.bytes()).unwrap_err().contains("another fleet"));
        assert!(judge_bytes(b"no card").is_err());
    }
}
