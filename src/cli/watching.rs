//! What `--watch` does.

use std::{io, time::Duration};

use tokio::signal::unix::{SignalKind, signal};

use super::{
    dispatch::Context,
    failure::{ExitCode, Failure},
};
use crate::node::clock;

/// How long what is watched stands before it is asked for again.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Shows something once, or again and again if it is watched.
pub(super) async fn shown(
    context: &mut Context,
    watch: bool,
    mut once: impl AsyncFnMut(&mut Context) -> Result<ExitCode, Failure>,
) -> Result<ExitCode, Failure> {
    if watch { again(context, once).await } else { once(context).await }
}

/// Rows and columns of the terminal that standard output is, as it is now.
fn size() -> (Option<usize>, Option<usize>) {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
    let some = |count: u16| Some(usize::from(count)).filter(|count| *count > 0);
    (size.and_then(|size| some(size.ws_row)), size.and_then(|size| some(size.ws_col)))
}

/// Shows something again and again, until Ctrl-C or until nobody reads it any longer.
async fn again(
    context: &mut Context,
    mut once: impl AsyncFnMut(&mut Context) -> Result<ExitCode, Failure>,
) -> Result<ExitCode, Failure> {
    context.output.watch(size().0);
    context.talk.once_each();
    let redraws = context.output.redraws();
    // One for all rounds: a key that is pressed while a round is under way must not be lost.
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    // Another size is drawn at once. Where that cannot be heard, the next round sees it.
    let mut resized = signal(SignalKind::window_change()).ok().filter(|_| redraws);
    loop {
        context.now = clock::now();
        context.output.at(context.now);
        let (rows, columns) = size();
        context.output.resize(rows, columns);
        let said = context.talk.lines();
        once(context).await?;
        if redraws && context.talk.lines() > said {
            context.output.draw_below();
        }
        if context.output.is_closed() {
            return Ok(ExitCode::Success);
        }
        tokio::select! {
            () = tokio::time::sleep(AGAIN_AFTER) => {}
            () = changed(&mut resized) => {}
            _ = &mut interrupted => return Ok(ExitCode::Interrupted),
        }
    }
}

/// Waits for another size of the terminal; for ever, where that is not heard of.
async fn changed(resized: &mut Option<tokio::signal::unix::Signal>) {
    match resized {
        Some(resized) => {
            resized.recv().await;
        }
        None => std::future::pending().await,
    }
}
