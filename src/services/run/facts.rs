//! Which hosts an expression is true for by what they say of themselves, in the agent's words.
//!
//! Nothing here is verified: see [`resolve`](super::resolve) for why that can only narrow.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    control::{Client, ControlError, Reply, Request, no_answer},
    identity::HostId,
    selector::Selector,
};

/// How long the agent may take between two parts of an answer: the first question to a large fleet takes
/// some seconds.
const PART_WITHIN: Duration = Duration::from_secs(60);
/// Hosts that are heard of: what goes beyond is no answer that could be shown.
const HOSTS_MAX: u32 = 100_000;

/// The hosts for which `selector` is true.
///
/// # Errors
/// When the agent cannot be asked.
pub(super) async fn told(client: &mut Client, selector: &Selector) -> Result<BTreeSet<HostId>, ControlError> {
    let expression = selector.text().to_owned();
    client.send(&Request::InventorySearch { expression, columns: Vec::new(), limit: HOSTS_MAX }).await?;
    let mut told = BTreeSet::new();
    loop {
        match client.reply_within(PART_WITHIN).await? {
            Reply::Found { rows, more, .. } => {
                told.extend(rows.into_iter().map(|row| row.about.host));
                if told.len() > usize::try_from(HOSTS_MAX).unwrap_or(usize::MAX) {
                    return Err(ControlError::Malformed("more hosts than were asked for".to_owned()));
                }
                if !more {
                    return Ok(told);
                }
            }
            other => return Err(no_answer(&other)),
        }
    }
}
