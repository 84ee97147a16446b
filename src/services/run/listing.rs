//! The lists that long rosters mark hosts of, between a command line and its agent.
//!
//! An order for more than a few hundred hosts says which of the fleet's members, as its operator saw them, it is for.
//! The agent has that list, or is given it before the order, so that the other hosts can ask for it; and whoever
//! looks at such an order asks the agent for its list. A list is believed by its name alone.

use std::{sync::Arc, time::Duration};

use crate::{
    authority::{Host, ListId, MemberList, ROSTER_INLINE_MAX},
    control::{Client, ControlError, ListAsk, Reply, Request},
    replica::Replica,
};

/// How long the agent may take.
const REPLY_WITHIN: Duration = Duration::from_secs(30);
/// Lists that are asked for at most, for one look at the live orders.
const ASKED_MAX: usize = 64;

/// The members of a fleet, if they are more than a roster names one by one, and no more than a list has.
pub(super) fn of(replica: &Replica) -> Option<Arc<MemberList>> {
    let members = || replica.authority().members();
    (members().count() > ROSTER_INLINE_MAX)
        .then(|| MemberList::of(members().map(Host::id)).ok().map(Arc::new))
        .flatten()
}

async fn ask(client: &mut Client, list: ListId, ask: ListAsk) -> Result<Option<MemberList>, ControlError> {
    match client.ask(&Request::List { list, ask }, REPLY_WITHIN).await? {
        Reply::List { hosts } => {
            let read = hosts.and_then(|hosts| MemberList::read(&hosts.0).ok());
            Ok(read.filter(|read| read.id() == list))
        }
        Reply::Accepted {} => Ok(None),
        _ => Err(ControlError::Malformed("not an answer about a list of hosts".to_owned())),
    }
}

/// Gives an agent a list that it may lack.
///
/// # Errors
/// When it does not take it.
pub(super) async fn hand_over(client: &mut Client, list: &MemberList) -> Result<(), ControlError> {
    let request = Request::List { list: list.id(), ask: ListAsk::Has {} };
    if matches!(client.ask(&request, REPLY_WITHIN).await?, Reply::Accepted {}) {
        return Ok(());
    }
    ask(client, list.id(), ListAsk::Keep { hosts: list.bytes() }).await.map(|_| ())
}

/// Gets the lists that the live orders of `replica` mark hosts of, as far as the agent has them.
///
/// # Errors
/// When the agent cannot be asked.
pub(super) async fn complete(client: &mut Client, replica: &mut Replica) -> Result<(), ControlError> {
    let lacking: Vec<ListId> = replica.lacking_lists().take(ASKED_MAX).collect();
    for id in lacking {
        if let Some(list) = ask(client, id, ListAsk::Read {}).await? {
            replica.keep_list(Arc::new(list));
        }
    }
    Ok(())
}
