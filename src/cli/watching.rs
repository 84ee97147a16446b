//! What `--watch` does.

use std::{io, time::Duration};

use super::{
    dispatch::Context,
    failure::{ExitCode, Failure},
};
use crate::node::clock;

/// How long what is watched stands before it is asked for again.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Shows something again and again, until Ctrl-C or until nobody reads it any longer.
pub(super) async fn again(
    context: &mut Context,
    mut once: impl AsyncFnMut(&mut Context) -> Result<ExitCode, Failure>,
) -> Result<ExitCode, Failure> {
    let rows = rustix::termios::tcgetwinsize(io::stdout())
        .ok()
        .map(|size| usize::from(size.ws_row))
        .filter(|rows| *rows > 0);
    context.output.watch(rows);
    // One for all rounds: a key that is pressed while a round is under way must not be lost.
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        context.now = clock::now();
        context.output.at(context.now);
        once(context).await?;
        if context.output.is_closed() {
            return Ok(ExitCode::Success);
        }
        tokio::select! {
            () = tokio::time::sleep(AGAIN_AFTER) => {}
            _ = &mut interrupted => return Ok(ExitCode::Interrupted),
        }
    }
}
