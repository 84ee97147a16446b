//! The fleet as a command line sees it: every entry that an agent hands over is verified here, against
//! the command line's own trust anchor. Nothing an agent says is believed.

use std::time::Duration;

use super::{Client, ControlError, Reply, Request, client::unexpected};
use crate::{
    authority::{Authority, RootChain},
    replica::{Entry, Replica},
};

/// How long an agent may take between two parts of the answer.
const PART_WITHIN: Duration = Duration::from_secs(30);

/// Asks for the fleet and verifies it against `anchor`. Entries that do not hold are left out and
/// counted, so that an agent can withhold but not invent.
///
/// # Errors
/// When the agent does not answer, or belongs to another fleet than the anchor.
pub async fn fleet(
    client: &mut Client,
    anchor: RootChain,
    heads: bool,
) -> Result<(Replica, usize), ControlError> {
    if client.fleet != anchor.fleet() {
        return Err(ControlError::Malformed("the agent belongs to another fleet".to_owned()));
    }
    client.send(&Request::Fleet { heads }).await?;
    let mut replica = Replica::looking_on(Authority::new(anchor));
    let mut left_out = 0;
    loop {
        let Reply::Items { items, more } = (match client.reply_within(PART_WITHIN).await? {
            reply @ Reply::Items { .. } => reply,
            other => return Err(unexpected(&other)),
        }) else {
            return Ok((replica, left_out));
        };
        for item in items {
            let merged = Entry::verify(&item.entry.0, replica.fleet())
                .ok()
                .and_then(|entry| replica.merge(entry, &item.facets).ok());
            if merged.is_none() {
                left_out += 1;
            }
        }
        if !more {
            return Ok((replica, left_out));
        }
    }
}
