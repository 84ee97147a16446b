//! Words for a shell to finish: commands, flags and values from the argument tree, names from the agent.
//!
//! Decides what may stand at the cursor ([`wanted`], pure) and how each shell is told ([`shell`]). Always holds:
//! it is quick and quiet (an agent that does not answer at once is not waited for, nothing is ever written to
//! standard error), and a word that a shell would take for more than a word is not offered: tags are chosen by
//! others. Nothing is verified: who finishes a word decides nothing by it.

mod shell;
#[cfg(test)]
mod tests;
mod wanted;

use std::{ffi::OsStr, path::PathBuf, time::Duration};

use tokio::time::timeout;

pub(super) use shell::script;
use wanted::{Asked, Wanted};

use super::{
    arguments::{Complete, command},
    context,
    dispatch::{Context, wait},
    failure::ExitCode,
};
use crate::control::{Client, Reply, Request};

/// How long an agent may take, all in all. Who types waits for it.
const ANSWER_WITHIN: Duration = Duration::from_millis(45);
/// Words that a shell is given.
const WORDS_MAX: u32 = 200;

/// Finishes the last of `complete.words`. Never fails: a shell has no place for an error.
pub(super) fn complete(context: &mut Context, complete: &Complete) -> ExitCode {
    let words: Vec<String> = complete.words.iter().map(|word| lossy(word)).collect();
    let (words, cut) = shell::joined(complete.shell, &words);
    let mut tree = command();
    tree.build();
    let mut wanted = wanted::wanted(&tree, &words);
    let named = socket(&wanted);
    if wanted.context.is_some() {
        context.named.clone_from(&wanted.context);
        context.global.context.clone_from(&wanted.context);
    }
    let socket = named.clone().unwrap_or_else(|| context.site.places.socket.clone());
    for asked in std::mem::take(&mut wanted.asked) {
        // A fleet that has no agent here is not asked: what was kept of it is at hand.
        if named.is_none()
            && let Some(words) = context::words(context, asked.kind, &asked.start, WORDS_MAX)
        {
            wanted.take(&asked, words);
            continue;
        }
        let found = wait(async { Ok(timeout(ANSWER_WITHIN, answers(&socket, &asked)).await) });
        wanted.take(&asked, found.ok().and_then(Result::ok).flatten().unwrap_or_default());
    }
    // A shell that went away does not want to know.
    let _gone = context.output.text(&shell::told(complete.shell, &wanted, cut));
    ExitCode::Success
}

fn lossy(word: &OsStr) -> String {
    word.to_string_lossy().into_owned()
}

/// The agent that the line is for, if it says so.
fn socket(wanted: &Wanted) -> Option<PathBuf> {
    let state = wanted.state.as_ref().map(|state| PathBuf::from(state).join("agent.sock"));
    wanted.socket.as_ref().map(PathBuf::from).or(state)
}

async fn answers(socket: &std::path::Path, asked: &Asked) -> Option<Vec<String>> {
    let mut client = Client::connect(socket).await.ok()?;
    let request =
        Request::Words { kind: asked.kind.to_owned(), start: asked.start.clone(), limit: WORDS_MAX };
    match client.ask(&request, ANSWER_WITHIN).await.ok()? {
        Reply::Words { words } => Some(words),
        _ => None,
    }
}
