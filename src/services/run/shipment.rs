//! What an operator ships with an order: bytes that the command reads, or a script that is the command.

use std::time::Duration;

use super::{RunError, RunRequest};
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

/// Hands the agent all that the order will name: before the order, so that nobody is sent for what is nowhere.
///
/// # Errors
/// When the agent does not take it. No order was sent.
pub(super) async fn ship(client: &mut Client, request: &RunRequest) -> Result<(), RunError> {
    for bytes in [&request.stdin, &request.script].into_iter().flatten() {
        let blob = Blob::of(bytes);
        let mut at = 0;
        // Nothing at all is a piece too.
        let pieces = bytes.chunks(PIECE_BYTES).chain(bytes.is_empty().then_some(&[][..]));
        for piece in pieces {
            let ask = Request::Ship { blob, at, bytes: Bytes::from(piece) };
            let Reply::Accepted {} = client.ask(&ask, PIECE_WITHIN).await.map_err(RunError::NotTaken)? else {
                let problem = "not an answer to what was shipped".to_owned();
                return Err(RunError::NotTaken(ControlError::Malformed(problem)));
            };
            at += piece.len() as u64;
        }
    }
    Ok(())
}
