//! The end of an order before its time, as its issuer signs it.

use super::{RunError, Tally, rollout::Rollout, waiting::is_open};
use crate::{
    control::{Client, ControlError, Reply, Request},
    identity::Signed,
    journal::OperatorHome,
    replica::{Cancellation, Item, Order},
    time::Timestamp,
};

use super::verb::SUBMIT_WITHIN;

/// Entries that are handed over at once.
const ITEMS_MAX: usize = 32;

/// Signs the end of those orders of a job that somebody may still start or run.
pub(super) fn sign(home: &OperatorHome, rollout: &Rollout, tally: &Tally, now: Timestamp) -> Vec<Item> {
    let open = rollout.signed().filter(|(_, hosts)| is_open(hosts, tally));
    open.map(|(order, _)| end(home, order, now)).collect()
}

/// Signs the end of one order.
pub(super) fn end(home: &OperatorHome, order: &Signed<Order>, now: Timestamp) -> Item {
    let body = Cancellation { order: order.id(), at: now, expires: order.body().expires };
    Item::bare(Signed::sign(home.chain.fleet(), &home.key, body).bytes())
}

/// Hands signed entries over.
///
/// # Errors
/// When the agent does not take them.
pub(super) async fn submit(client: &mut Client, items: Vec<Item>) -> Result<(), RunError> {
    for part in items.chunks(ITEMS_MAX) {
        match client.ask(&Request::Submit { items: part.to_vec() }, SUBMIT_WITHIN).await? {
            Reply::Accepted {} => {}
            _ => return Err(ControlError::Malformed("not an answer to a cancellation".to_owned()).into()),
        }
    }
    Ok(())
}
