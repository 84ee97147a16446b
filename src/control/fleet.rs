//! The fleet as a command line sees it: every entry that an agent hands over is verified here, against
//! the command line's own trust anchor. Nothing an agent says is believed.

use std::time::Duration;

use super::{Anchor, Client, ControlError, HostLine, Reply, Request, Verified, client::no_answer};
use crate::{
    authority::{Authority, RootChain},
    journal::OperatorHome,
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
    let verified = Verified::none(anchor.fleet());
    fleet_past(client, anchor, heads, verified).await
}

/// The same against an operator's own anchor, without checking anew the signatures of what this operator has
/// verified before (see [`Verified`]). The operator's directory learns what it says of its key's certificates.
///
/// # Errors
/// As [`fleet`].
pub async fn fleet_of(
    client: &mut Client,
    home: &OperatorHome,
    heads: bool,
) -> Result<(Replica, usize), ControlError> {
    let verified = Verified::open(&home.verified_path(), home.chain.fleet());
    let (replica, left_out) = fleet_past(client, home.own().chain().clone(), heads, verified).await?;
    // Where it cannot be written, the next command learns it again.
    let _counts_here = home.learn(replica.authority());
    Ok((replica, left_out))
}

/// The same against whatever anchor there is.
///
/// # Errors
/// As [`fleet`].
pub async fn fleet_under(
    client: &mut Client,
    anchor: &Anchor,
    heads: bool,
) -> Result<(Replica, usize), ControlError> {
    match anchor.operator() {
        Some(home) => fleet_of(client, home, heads).await,
        None => fleet(client, anchor.chain().clone(), heads).await,
    }
}

/// The hosts as the agent lists them. Nothing is verified: to be looked at, not to decide by.
///
/// # Errors
/// When the agent does not answer, or answers something else.
pub async fn host_lines(client: &mut Client) -> Result<Vec<HostLine>, ControlError> {
    client.send(&Request::HostLines {}).await?;
    let mut lines = Vec::new();
    loop {
        match client.reply_within(PART_WITHIN).await? {
            Reply::HostLines { rows, more } => {
                lines.extend(rows);
                if !more {
                    return Ok(lines);
                }
            }
            other => return Err(no_answer(&other)),
        }
    }
}

/// Where recovery keys would let other roots govern, how long the agent waited is its word: the one thing that is
/// believed of it. It takes the keys, and hosts judge by what they saw themselves.
async fn waited(client: &mut Client, replica: &mut Replica) -> Result<(), ControlError> {
    if replica.authority().chain().recoveries().next().is_none() {
        return Ok(());
    }
    match client.ask(&Request::Waited {}, PART_WITHIN).await {
        Ok(Reply::Waited { recoveries }) => replica.mature(&recoveries),
        // An older agent knows of none.
        Ok(_) | Err(ControlError::Refused { .. }) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

async fn fleet_past(
    client: &mut Client,
    anchor: RootChain,
    heads: bool,
    mut verified: Verified,
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
            other => return Err(no_answer(&other)),
        }) else {
            return Ok((replica, left_out));
        };
        for item in items {
            let (bytes, fleet) = (&item.entry.0, replica.fleet());
            let entry =
                verified.or_verify(bytes, || Entry::again(bytes, fleet), || Entry::verify(bytes, fleet));
            let merged = entry.ok().and_then(|entry| replica.merge(entry, &item.facets).ok());
            if merged.is_none() {
                left_out += 1;
            }
        }
        if !more {
            verified.close();
            waited(client, &mut replica).await?;
            return Ok((replica, left_out));
        }
    }
}
