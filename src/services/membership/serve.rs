//! The admitting host's side: it checks what the joiner brings like any entry, and forwards it.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::message::{Join, JoinReply, JoinRequest};
use crate::{
    authority::{Enrolled, Invitation, Refusal},
    identity::{HostId, PublicKey, Signed},
    net::{Channel, Net, NetError},
    replica::{Item, Replica},
    store::Store,
    time::Timestamp,
    wire::Bytes,
};

/// Joiners at a time.
const JOINERS_MAX: usize = 16;
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
    let mut incoming = net.accept::<Join>(JOINERS_MAX)?;
    let mut joiners = JoinSet::new();
    loop {
        let arrival = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            arrival = incoming.next() => arrival,
        };
        while joiners.try_join_next().is_some() {}
        let Some(mut arrival) = arrival else { return Ok(()) };
        let store = store.clone();
        joiners.spawn(async move {
            match admit(me, &mut arrival.channel, &store, clock).await {
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
    channel: &mut Channel<Join>,
    store: &Store,
    clock: fn() -> Timestamp,
) -> Result<Option<String>, crate::net::ChannelError> {
    let Some(JoinRequest::Token { key }) = channel.recv_request(WITHIN).await? else {
        return Ok(Some("a token comes first".to_owned()));
    };
    let offer = match store.read(|replica| offer(replica, me, key, clock())) {
        Ok(offer) => offer,
        Err(why) => return Ok(Some(why)),
    };
    channel.send_reply(&offer, WITHIN).await?;
    let Some(JoinRequest::Admit { certificate }) = channel.recv_request(WITHIN).await? else {
        return Ok(Some("a host certificate comes second".to_owned()));
    };
    if let Err(why) = store.read(|replica| check(replica, &certificate, key, clock())) {
        return Ok(Some(why));
    }
    let (new, refusal) = store.merge(None, vec![Item::bare(&certificate.0)], clock());
    if let Some(why) = refusal {
        return Ok(Some(why));
    }
    if !new.is_empty() {
        info!("a host was admitted");
    }
    // The joiner relies on it from here on, and this may be the only other host.
    if let Err(error) = store.flushed().await {
        warn!(%error, "a host was admitted, but that is not on this host's disk yet");
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

/// What the token stands for, while it can still be redeemed.
fn offer(replica: &Replica, me: HostId, key: [u8; 32], now: Timestamp) -> Result<JoinReply, String> {
    let invitation = redeemable(replica, key, now)?;
    let host = replica.authority().host(&me).ok_or("this host is not a member itself")?;
    let updates = replica.authority().chain().updates();
    Ok(JoinReply::Invitation {
        updates: updates.iter().map(|update| Bytes::from(update.bytes())).collect(),
        invitation: Bytes::from(invitation.bytes()),
        host: Bytes::from(host.enrolled().certificate().bytes()),
    })
}

/// What only the admitting host can check: its own clock, how often the token was used, and whether the
/// name is free. (What holds everywhere is checked when it is merged.)
fn check(replica: &Replica, certificate: &Bytes, key: [u8; 32], now: Timestamp) -> Result<(), String> {
    redeemable(replica, key, now)?;
    let enrolled = Enrolled::verify(&certificate.0, replica.fleet()).map_err(|error| error.to_string())?;
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

/// The invitation behind a token, if it can be redeemed now.
fn redeemable(replica: &Replica, key: [u8; 32], now: Timestamp) -> Result<&Signed<Invitation>, String> {
    let invitation = replica.invitation_of(&PublicKey::from_bytes(key)).ok_or(
        "this host does not know the token: it is of another fleet, long expired, or too new to have arrived",
    )?;
    let uses = invitation.body().uses;
    if now > invitation.body().expires {
        return Err(Refusal::TokenExpired.to_string());
    }
    if replica.authority().redeemed(&invitation.id()) >= usize::try_from(uses).unwrap_or(usize::MAX) {
        return Err(Refusal::TokenUsedUp { uses }.to_string());
    }
    Ok(invitation)
}
