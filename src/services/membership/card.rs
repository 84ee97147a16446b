//! How a command line that is no host proves itself: it shows a card, the operator's signature over the
//! transport key that Noise has just proven, and passes the gate for as long as the card lasts.

use std::time::Duration;

use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{
    authority::Authority,
    identity::Signed,
    net::{Net, NetError, PeerKey, Protocol, Standing},
    replica::{CARD_VALID_MAX, Card},
    store::Store,
    time::{SKEW_MAX, Timestamp},
    wire::Bytes,
    wire_choice, wire_record,
};

/// Cards looked at at a time.
const CARDS_MAX: usize = 16;
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

/// Looks at cards until `stop`.
///
/// # Errors
/// When the protocol is served already.
pub async fn serve_cards(
    net: Net,
    store: Store,
    clock: fn() -> Timestamp,
    stop: CancellationToken,
) -> Result<(), NetError> {
    let mut incoming = net.accept::<ShowCard>(CARDS_MAX)?;
    let mut cards = JoinSet::new();
    loop {
        let arrival = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            arrival = incoming.next() => arrival,
        };
        while cards.try_join_next().is_some() {}
        let Some(mut arrival) = arrival else { return Ok(()) };
        let (net, store) = (net.clone(), store.clone());
        cards.spawn(async move {
            let Ok(Some(request)) = arrival.channel.recv_request(WITHIN).await else { return };
            let now = clock();
            let judged = store.read(|replica| judge(replica.authority(), &request.card, arrival.peer, now));
            let reply = match judged {
                Ok(until) if net.admit_card(arrival.peer, Instant::now() + until.since(now)) => {
                    CardReply::Admitted { until }
                }
                Ok(_) => CardReply::Refused { why: "this host has no room for another card".to_owned() },
                Err(why) => CardReply::Refused { why },
            };
            if let Err(error) = arrival.channel.send_reply(&reply, WITHIN).await {
                debug!(%error, "an answer to a card was not taken");
            }
        });
    }
}

/// Until when the card opens the gate for `peer`.
fn judge(authority: &Authority, card: &Bytes, peer: PeerKey, now: Timestamp) -> Result<Timestamp, String> {
    let card = Signed::<Card>::verify(&card.0, authority.fleet()).map_err(|error| error.to_string())?;
    let body = card.body();
    let certificate =
        authority.certificate_of(&body.certificate, card.signer()).map_err(|refusal| refusal.to_string())?;
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
    Ok(until)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        control::testing::{NOW, TestFleet},
        identity::{FleetId, Operator, PublicKey, SecretKey, Transport},
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

    fn judged(fleet: &TestFleet, body: Card, at: Timestamp) -> Result<Timestamp, String> {
        let card = Signed::sign(fleet.chain.fleet(), &fleet.operator, body);
        judge(fleet.replica.authority(), &Bytes::from(card.bytes()), PEER, at)
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
        let unknown = crate::identity::EntryId([1; 32]);
        refused(Card { certificate: unknown, ..body(&fleet) }, NOW, "not known");
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
        let judge_bytes = |bytes: &[u8]| judge(fleet.replica.authority(), &Bytes::from(bytes), PEER, NOW);
        let stranger = SecretKey::<Operator>::from_seed(&[99; 32]);
        let forged = Signed::sign(fleet.chain.fleet(), &stranger, body(&fleet));
        assert!(judge_bytes(forged.bytes()).unwrap_err().contains("another key"));
        let foreign = Signed::sign(FleetId([3; 32]), &fleet.operator, body(&fleet));
        assert!(judge_bytes(foreign.bytes()).unwrap_err().contains("another fleet"));
        assert!(judge_bytes(b"no card").is_err());
    }
}
