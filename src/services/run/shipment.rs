//! What an operator ships with an order: bytes that the command reads, or a script that is the command.

use std::time::Duration;

use super::{RunError, RunRequest, draft::Draft, sealing::Sealing};
use crate::{
    control::{Client, ControlError, Reply, Request},
    replica::{Action, Blob},
    terminal::time::size,
    wire::Bytes,
};

/// Bytes in one message to the agent.
const PIECE_BYTES: usize = 512 * 1024;
/// How long the agent may take to take one.
const PIECE_WITHIN: Duration = Duration::from_secs(30);

/// What the request says is to be done.
pub(super) fn action(request: &RunRequest) -> Action {
    let argv = request.argv.iter().map(|arg| Bytes(arg.clone())).collect();
    match (&request.stdin, &request.script) {
        (None, None) => Action::Argv { argv },
        (stdin, script) => {
            let blob = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(Blob::of);
            Action::Shipped { argv, stdin: blob(stdin), script: blob(script) }
        }
    }
}

/// What is shipped, in words.
pub(super) fn words(action: &Action) -> Vec<String> {
    let line = |name: &str, blob: &Blob| {
        let hash: String = blob.file_name().chars().take(16).collect();
        format!("{name:<8} {}, blake3 {hash}…", size(blob.bytes))
    };
    let (stdin, script) = (action.stdin(), action.script());
    stdin.map(|blob| line("stdin", blob)).into_iter().chain(script.map(|blob| line("script", blob))).collect()
}

/// Hands the agent all that the order will name: before the order, so that nobody is sent for what is nowhere. What
/// the request does not hold, an earlier order was shipped with: the agent still has it, or not.
///
/// # Errors
/// When the agent does not take it. No order was sent.
pub(super) async fn ship(client: &mut Client, request: &RunRequest, draft: &Draft) -> Result<(), RunError> {
    for blob in draft.action().blobs() {
        let open = [&request.stdin, &request.script].into_iter().flatten().map(Vec::as_slice);
        let mut ours = draft.sealing().into_iter().flat_map(Sealing::shipped).chain(open);
        match ours.find(|bytes| Blob::of(bytes) == *blob) {
            Some(bytes) => ship_one(client, *blob, bytes).await.map_err(RunError::NotTaken)?,
            None => ship_piece(client, *blob, 0, &[]).await.map_err(|error| match error {
                ControlError::Refused { .. } => RunError::Usage {
                    problem: "what was shipped with that job is not kept here any more".to_owned(),
                    hint: "give it again: muster run -i … < FILE, or --script FILE".to_owned(),
                },
                error => RunError::NotTaken(error),
            })?,
        }
    }
    Ok(())
}

async fn ship_one(client: &mut Client, blob: Blob, bytes: &[u8]) -> Result<(), ControlError> {
    let mut at = 0;
    // Nothing at all is a piece too.
    for piece in bytes.chunks(PIECE_BYTES).chain(bytes.is_empty().then_some(&[][..])) {
        ship_piece(client, blob, at, piece).await?;
        at += piece.len() as u64;
    }
    Ok(())
}

async fn ship_piece(client: &mut Client, blob: Blob, at: u64, piece: &[u8]) -> Result<(), ControlError> {
    match client.ask(&Request::Ship { blob, at, bytes: Bytes::from(piece) }, PIECE_WITHIN).await? {
        Reply::Accepted {} => Ok(()),
        _ => Err(ControlError::Malformed("not an answer to what was shipped".to_owned())),
    }
}
