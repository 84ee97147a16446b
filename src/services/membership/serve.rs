//! The admitting host's side: it checks what the joiner brings like any entry, and forwards it.
//!
//! A stranger learns what a token stands for (its tags, the root chain, this host's certificate) by naming
//! the token's public key, which only the token and the members' replicas hold, and only while the token can
//! be redeemed. It learns of the fleet's other hosts once it is one of them. A host whose joining was cut
//! short may do it again with the same keys: it takes no second use.
//!
//! Where the token asks for it, a joiner is no member yet but waits in the lobby, on this one stream: it is sent
//! nothing of the fleet before an operator lets it in, and what it may send is less than 64 KiB in all. Who waits
//! takes no turn from who joins.

use std::{
    sync::Arc,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, broadcast},
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::message::{Join, JoinReply, JoinRequest, VOUCHING_MAX};
use crate::{
    authority::{Enrolled, Host, Invitation, Refusal, Standing},
    identity::{HostId, PublicKey, Signed},
    net::{Channel, Net, NetError, PeerKey},
    replica::{Item, Replica},
    store::{self, Store},
    time::{SKEW_MAX, Timestamp},
    wire::Bytes,
};

/// Joiners at a time.
const JOINERS_MAX: usize = 16;
/// Hosts at a time that wait for an operator on a stream; more are told to ask again.
const LOBBY_MAX: usize = 32;
/// How long a host waits on one stream.
const LOBBY_WITHIN: Duration = Duration::from_secs(60);
/// How long one message may take.
const WITHIN: Duration = Duration::from_secs(30);
/// Bytes of entries in one message.
const ITEMS_BYTES_MAX: usize = 256 * 1024;

/// Admits joiners until `stop`.
///
/// # Errors
/// When the protocol is served already.
pub async fn serve(
    me: HostId,
    net: Net,
    store: Store,
    clock: fn() -> Timestamp,
    stop: CancellationToken,
) -> Result<(), NetError> {
    let mut incoming = net.accept::<Join>(JOINERS_MAX + LOBBY_MAX)?;
    let lobby = Arc::new(Semaphore::new(LOBBY_MAX));
    let mut joiners = JoinSet::new();
    loop {
        let arrival = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            arrival = incoming.next() => arrival,
        };
        while joiners.try_join_next().is_some() {}
        let Some(mut arrival) = arrival else { return Ok(()) };
        let (store, lobby) = (store.clone(), Arc::clone(&lobby));
        joiners.spawn(async move {
            match admit(me, arrival.peer, &mut arrival.channel, &store, &lobby, clock).await {
                Ok(Some(why)) => {
                    debug!(why, "a joiner was refused");
                    let _gone = arrival.channel.send_reply(&JoinReply::Refused { why }, WITHIN).await;
                }
                Ok(None) => {}
                Err(error) => debug!(%error, "a joiner went away"),
            }
            let _gone = arrival.channel.close(WITHIN).await;
        });
    }
}

/// One joiner; `Some` is why it is refused.
async fn admit(
    me: HostId,
    peer: PeerKey,
    channel: &mut Channel<Join>,
    store: &Store,
    lobby: &Semaphore,
    clock: fn() -> Timestamp,
) -> Result<Option<String>, crate::net::ChannelError> {
    let Some(JoinRequest::Token { key }) = channel.recv_request(WITHIN).await? else {
        return Ok(Some("a token comes first".to_owned()));
    };
    let offer = match store.read(|replica| offer(replica, me, peer, key, clock())) {
        Ok(offer) => offer,
        Err(why) => return Ok(Some(why)),
    };
    channel.send_reply(&offer, WITHIN).await?;
    let Some(JoinRequest::Admit { certificate }) = channel.recv_request(WITHIN).await? else {
        return Ok(Some("a host certificate comes second".to_owned()));
    };
    // Before it is looked at how the host stands, so that no change of that is missed.
    let mut changes = store.changes();
    match take(store, &certificate, peer, key, clock()) {
        Err(why) => return Ok(Some(why)),
        Ok(true) => info!("a host came with a token"),
        Ok(false) => {}
    }
    // The joiner relies on it from here on, and this may be the only other host.
    if let Err(error) = store.flushed().await {
        warn!(%error, "a host was admitted, but that is not on this host's disk yet");
    }
    match standing(store, peer) {
        Some(Standing::Member) => {}
        Some(Standing::Pending) => {
            channel.send_reply(&JoinReply::Waits {}, WITHIN).await?;
            let Ok(_place) = lobby.try_acquire() else { return Ok(None) };
            if let Some(why) = wait(channel, store, peer, &mut changes).await {
                return match why {
                    Ended::Refused(why) => Ok(Some(why)),
                    Ended::Waits => {
                        channel.send_reply(&JoinReply::Waits {}, WITHIN).await?;
                        Ok(None)
                    }
                };
            }
        }
        Some(other) => return Ok(Some(turned_away(other))),
        None => return Ok(Some("this host does not know it any more".to_owned())),
    }
    channel.send_reply(&JoinReply::Admitted {}, WITHIN).await?;
    let mut items = store.read(Replica::all).into_iter().peekable();
    loop {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(item) =
            items.next_if(|item| batch.is_empty() || bytes + item.weight() < ITEMS_BYTES_MAX)
        {
            bytes += item.weight();
            batch.push(item);
        }
        let more = items.peek().is_some();
        channel.send_reply(&JoinReply::Items { items: batch, more }, WITHIN).await?;
        if !more {
            return Ok(None);
        }
    }
}

/// How the host behind a connection stands.
fn standing(store: &Store, peer: PeerKey) -> Option<Standing> {
    store.read(|replica| {
        let host = replica.authority().host_by_transport(&PublicKey::from_bytes(peer.0));
        host.map(Host::standing)
    })
}

fn turned_away(standing: Standing) -> String {
    match standing {
        Standing::Denied => "an operator turned this host away".to_owned(),
        other => format!("this host is {}", other.word()),
    }
}

/// How waiting ended without the host being let in.
enum Ended {
    Refused(String),
    Waits,
}

/// Waits until an operator says something of a host; nothing, once it is let in.
async fn wait(
    channel: &mut Channel<Join>,
    store: &Store,
    peer: PeerKey,
    changes: &mut broadcast::Receiver<store::Change>,
) -> Option<Ended> {
    let until = Instant::now() + LOBBY_WITHIN;
    loop {
        match standing(store, peer) {
            Some(Standing::Member) => return None,
            Some(Standing::Pending) => {}
            Some(other) => return Some(Ended::Refused(turned_away(other))),
            None => return Some(Ended::Waits),
        }
        tokio::select! {
            // Who waits has nothing to say; whatever comes, or does not any more, ends it.
            _ = channel.recv_request(LOBBY_WITHIN) => return Some(Ended::Waits),
            changed = timeout_at(until, changes.recv()) => match changed {
                Ok(Ok(_) | Err(broadcast::error::RecvError::Lagged(_))) => {}
                Ok(Err(broadcast::error::RecvError::Closed)) | Err(_) => return Some(Ended::Waits),
            },
        }
    }
}

/// Checks and merges in one step: of two joiners with the last use of a token, one is refused.
fn take(
    store: &Store,
    certificate: &Bytes,
    peer: PeerKey,
    key: [u8; 32],
    now: Timestamp,
) -> Result<bool, String> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    if store.read(|replica| waits(replica, certificate, peer)) {
        return Ok(false);
    }
    store.read(|replica| check(replica, certificate, peer, key, now))?;
    match store.merge(None, vec![Item::bare(&certificate.0)], now) {
        (_, Some(why)) => Err(why),
        (new, None) => Ok(!new.is_empty()),
    }
}

/// Whether the fleet knows this very host, with these keys, and it asks again whether it was let in.
fn waits(replica: &Replica, certificate: &Bytes, peer: PeerKey) -> bool {
    let Some(known) = approved_one_by_one(replica, peer) else { return false };
    Enrolled::verify(&certificate.0, replica.fleet()).is_ok_and(|enrolled| {
        enrolled.host() == known.id()
            && enrolled.enrolment().keys == known.enrolled().enrolment().keys
            && enrolled.invitation().id() == known.enrolled().invitation().id()
    })
}

/// The host behind a connection, if it came with a token whose hosts are approved one by one.
fn approved_one_by_one(replica: &Replica, peer: PeerKey) -> Option<&Host> {
    let host = replica.authority().host_by_transport(&PublicKey::from_bytes(peer.0))?;
    host.enrolled().invitation().body().approve.then_some(host)
}

/// What the token stands for, while it can still be redeemed.
fn offer(
    replica: &Replica,
    me: HostId,
    peer: PeerKey,
    key: [u8; 32],
    now: Timestamp,
) -> Result<JoinReply, String> {
    let invitation = redeemable(replica, peer, key, now)?;
    let host = replica.authority().host(&me).ok_or("this host is not a member itself")?;
    let authority = replica.authority();
    let words: Vec<_> = authority.admissions_of(&me).take(VOUCHING_MAX).collect();
    let mut under = vec![invitation.body().certificate, host.enrolled().invitation().body().certificate];
    under.extend(words.iter().map(|word| word.body().certificate));
    under.sort_unstable();
    under.dedup();
    let grants = under.iter().filter_map(|id| authority.grant(id)).map(Signed::bytes);
    let updates = authority.chain().updates();
    let updates = updates.iter().map(|update| update.bytes()).chain(grants);
    Ok(JoinReply::Invitation {
        updates: updates.map(Bytes::from).collect(),
        invitation: Bytes::from(invitation.bytes()),
        host: Bytes::from(host.enrolled().certificate().bytes()),
        vouching: words.into_iter().map(|word| Bytes::from(word.bytes())).collect(),
    })
}

/// What only the admitting host can check: its own clock, how often the token was used, and whether the
/// name is free. (What holds everywhere is checked when it is merged.)
fn check(
    replica: &Replica,
    certificate: &Bytes,
    peer: PeerKey,
    key: [u8; 32],
    now: Timestamp,
) -> Result<(), String> {
    redeemable(replica, peer, key, now)?;
    let enrolled = Enrolled::verify(&certificate.0, replica.fleet()).map_err(|error| error.to_string())?;
    if enrolled.enrolment().keys.transport.bytes() != peer.0 {
        return Err("the certificate is not of the host that brings it".to_owned());
    }
    let held = replica.authority().host_by_transport(&enrolled.enrolment().keys.transport);
    if held.is_some_and(|held| held.id() != enrolled.host()) {
        return Err("another host has this transport key".to_owned());
    }
    if enrolled.enrolment().at > now.after(SKEW_MAX) {
        return Err("its clock is ahead of this host's".to_owned());
    }
    if enrolled.invitation().body().token.bytes() != key {
        return Err("the certificate was made with another token".to_owned());
    }
    let taken = replica
        .authority()
        .members()
        .any(|host| host.name() == enrolled.enrolment().name && host.id() != enrolled.host());
    if taken {
        return Err(format!("the fleet has a host named {} already", enrolled.enrolment().name));
    }
    Ok(())
}

/// The invitation behind a token, if it can be redeemed now; or was, by this very host, which asks again.
fn redeemable(
    replica: &Replica,
    peer: PeerKey,
    key: [u8; 32],
    now: Timestamp,
) -> Result<&Signed<Invitation>, String> {
    // Who waits may wait longer than its token works.
    if let Some(host) = approved_one_by_one(replica, peer) {
        let invitation = host.enrolled().invitation();
        let stands = replica.authority().recognise_invitation(invitation).is_ok();
        if stands && invitation.body().token.bytes() == key {
            return Ok(invitation);
        }
    }
    let invitation = replica.invitation_of(&PublicKey::from_bytes(key)).ok_or(
        "this host does not know the token: it is of another fleet, long expired, or too new to have arrived",
    )?;
    let uses = invitation.body().uses;
    if now > invitation.body().expires {
        return Err(Refusal::TokenExpired.to_string());
    }
    let again = replica.authority().host_by_transport(&PublicKey::from_bytes(peer.0)).is_some_and(|host| {
        host.standing() == Standing::Member && host.enrolled().invitation().id() == invitation.id()
    });
    let uses_max = usize::try_from(uses).unwrap_or(usize::MAX);
    if !again && replica.authority().redeemed(&invitation.id()) >= uses_max {
        return Err(Refusal::TokenUsedUp { uses }.to_string());
    }
    Ok(invitation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        authority::{Authority, sample},
        replica::Entry,
        store::Memory,
    };

    struct Place {
        fleet: sample::Fleet,
        store: Store,
        invitation: Signed<Invitation>,
    }

    fn of_uses(uses: u32) -> Place {
        let ana = sample::key(1);
        let (fleet, under) = sample::Fleet::with(&[sample::certificate("ana", &ana)]);
        let invitation = fleet.invite(&ana, under[0], 9, &[("role", "web")], uses);
        let mut replica = Replica::new(Authority::new(fleet.chain.clone()));
        replica.merge(Entry::verify(invitation.bytes(), fleet.id()).unwrap(), &[]).unwrap();
        let store = Store::start(replica, Memory::default(), &[], None, sample::NOW).unwrap();
        Place { fleet, store, invitation }
    }

    impl Place {
        /// Host number `host` brings what `change` makes of its enrolment, over the connection of `peer`.
        fn join(
            &self,
            host: u8,
            peer: u8,
            change: impl FnOnce(&mut crate::authority::Enrolment),
        ) -> Result<bool, String> {
            let mut enrolment = sample::Fleet::enrolment(host, &[]);
            change(&mut enrolment);
            let certificate =
                self.fleet.host_certificate(&self.invitation, &sample::key(9), &sample::key(host), enrolment);
            let certificate = Bytes::from(certificate.bytes());
            let token = sample::key::<crate::identity::Token>(9).public().bytes();
            take(&self.store, &certificate, transport(peer), token, sample::later(2000))
        }
    }

    fn transport(host: u8) -> PeerKey {
        PeerKey(sample::Fleet::keys(host).transport.bytes())
    }

    #[test]
    fn of_two_joiners_with_the_last_use_one_is_refused() {
        let fleet = of_uses(1);
        assert_eq!(fleet.join(1, 1, |_| {}), Ok(true));
        let why = fleet.join(2, 2, |_| {}).unwrap_err();
        assert!(why.contains("which is all it allows"), "{why}");
        assert_eq!(fleet.store.read(|replica| replica.authority().members().count()), 1);
    }

    #[test]
    fn a_host_that_was_admitted_without_hearing_of_it_may_ask_again() {
        let fleet = of_uses(1);
        assert_eq!(fleet.join(1, 1, |_| {}), Ok(true));
        assert_eq!(fleet.join(1, 1, |_| {}), Ok(false));
        // At another time, with another name: the fleet ends up with one host all the same.
        fleet.join(1, 1, |enrolment| enrolment.name = "other".to_owned()).unwrap();
        assert_eq!(fleet.store.read(|replica| replica.authority().members().count()), 1);
        let token = sample::key::<crate::identity::Token>(9).public().bytes();
        let offered = |peer, now| {
            fleet.store.read(|replica| redeemable(replica, transport(peer), token, now).map(Signed::id))
        };
        assert!(offered(1, sample::NOW).is_ok());
        assert!(offered(2, sample::NOW).is_err());
        assert!(offered(1, sample::later(sample::HOUR_MS + 1)).is_err());
    }

    #[test]
    fn a_joiner_brings_its_own_certificate_and_no_other_hosts_name_or_key() {
        let fleet = of_uses(9);
        assert_eq!(fleet.join(1, 1, |_| {}), Ok(true));
        let why = fleet.join(2, 3, |_| {}).unwrap_err();
        assert!(why.contains("not of the host that brings it"), "{why}");
        let why = fleet.join(2, 2, |enrolment| enrolment.name = "host-1".to_owned()).unwrap_err();
        assert!(why.contains("a host named host-1"), "{why}");
        let theirs = sample::Fleet::keys(1).transport;
        let why = fleet.join(2, 1, |enrolment| enrolment.keys.transport = theirs).unwrap_err();
        assert!(why.contains("another host has this transport key"), "{why}");
        let why = fleet.join(2, 2, |enrolment| enrolment.at = sample::later(sample::HOUR_MS)).unwrap_err();
        assert!(why.contains("clock is ahead"), "{why}");
        let tags = sample::pairs(&[("role", "db")]);
        let why = fleet.join(2, 2, |enrolment| enrolment.tags = tags).unwrap_err();
        assert!(why.contains("role=db"), "{why}");
    }
}
