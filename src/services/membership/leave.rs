//! Leaving: the agent signs the host's last entry, spreads it, and forgets the host.

use std::time::Duration;

use crate::control::{Client, ControlError, Reply, Request};

/// How long the agent may take to tell the others.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Takes the agent's host out of its fleet. The agent erases the host's keys itself, and then ends.
///
/// # Errors
/// When the agent does not do it; the host is then still a member.
pub async fn leave(client: &mut Client) -> Result<(), ControlError> {
    match client.ask(&Request::Leave {}, ANSWER_WITHIN).await? {
        Reply::Accepted {} => Ok(()),
        _ => Err(ControlError::Malformed("not the answer to leaving".to_owned())),
    }
}
