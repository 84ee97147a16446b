//! The host's side: tells others what it holds of them.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::message::{AskPast, ORDERS_MAX, PastReply, PastRequest};
use crate::{
    identity::PublicKey,
    net::{Arrival, Net, NetError, Standing},
    store::Store,
    wire::Bytes,
};

/// Questions at a time.
const SERVED_MAX: usize = 64;
/// How long one message may take.
const MESSAGE_WITHIN: Duration = Duration::from_secs(5);

/// Answers hosts that ask for their own past, until `stop`.
///
/// # Errors
/// When the protocol is served already.
pub async fn serve(net: Net, store: Store, stop: CancellationToken) -> Result<(), NetError> {
    let mut incoming = net.accept::<AskPast>(SERVED_MAX)?;
    let mut tasks = JoinSet::new();
    loop {
        let arrival = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            arrival = incoming.next() => arrival,
        };
        while tasks.try_join_next().is_some() {}
        let Some(arrival) = arrival else { return Ok(()) };
        let store = store.clone();
        tasks.spawn(async move { answer(arrival, &store).await });
    }
}

/// `None` when there is nothing more to say.
async fn answer(mut arrival: Arrival<AskPast>, store: &Store) -> Option<()> {
    let channel = &mut arrival.channel;
    let request = channel.recv_request(MESSAGE_WITHIN).await.ok()??;
    let member = arrival.standing == Standing::Member;
    let transport = PublicKey::from_bytes(arrival.peer.0);
    let asker = store
        .read(|replica| replica.authority().host_by_transport(&transport).map(crate::authority::Host::id))?;
    match request {
        PastRequest::Head {} => {
            let (head, proof) = store.read(|replica| {
                let head = replica.head(&asker).filter(|_| member).map(|head| Bytes::from(head.bytes()));
                (head, replica.equivocation(&asker).map(|proof| Bytes::from(proof.bytes())))
            });
            channel.send_reply(&PastReply::Head { head, proof }, MESSAGE_WITHIN).await.ok()
        }
        PastRequest::Results { orders } if member => {
            for order in orders.iter().take(ORDERS_MAX) {
                for report in store.kept(order).into_iter().filter(|report| report.host == asker) {
                    let reply = PastReply::Result { record: report.record };
                    channel.send_reply(&reply, MESSAGE_WITHIN).await.ok()?;
                }
            }
            channel.send_reply(&PastReply::End {}, MESSAGE_WITHIN).await.ok()
        }
        PastRequest::Results { .. } => None,
    }
}
