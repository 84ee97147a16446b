//! From the command to its end: the ground, the story, the stay, and nothing left.

use std::{env, fs::File, io, os::fd::AsFd as _, path::Path, pin::pin, time::Duration};

use tokio::time::{Instant, interval_at};

use super::{
    super::{
        arguments::Demo,
        dispatch::{Context, wait},
        failure::{ExitCode, Failure, quoted},
        signals::Signals,
        teller::{Teller, Thing},
    },
    fleet::{Fleet, nobody_reads},
    packages::{MACHINES, Packages},
    story,
    suggestions::Suggestions,
};
use crate::{
    scenario::{self, Ground},
    terminal::time,
};

/// How often it is looked whether anybody reads still.
const LISTENED_EVERY: Duration = Duration::from_secs(1);
/// How often it is said that it goes on.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// Most leftovers that are named.
const LEFT_OVER_MAX: usize = 3;

/// What is told.
const THING: Thing = Thing { whole: "demo", event: "demo-event", command: "muster demo" };

/// How the story ended.
enum End {
    /// All of it came true.
    Told,
    /// Nobody listened to its end.
    Unheard,
    /// A signal.
    Interrupted,
}

/// `muster demo`.
pub(in super::super) fn demo(context: &mut Context, demo: &Demo) -> Result<ExitCode, Failure> {
    wait(play(context, demo))
}

async fn play(context: &mut Context, demo: &Demo) -> Result<ExitCode, Failure> {
    let Context { output, talk, out_style, .. } = context;
    let mut teller = Teller::new(output, *out_style, THING)?;
    let mut signals = Signals::take()?;
    let base = env::temp_dir();
    for dir in scenario::left_over(&base, "demo").iter().take(LEFT_OVER_MAX) {
        talk.warn(&format!("an earlier demo left its files: rm -r {}", quoted(dir)));
    }
    let ground = Ground::make(&base, "demo", rustix::process::geteuid().is_root())?;
    let mut fleet = Fleet::plan(ground, usize::from(demo.hosts))?;
    let packages = Packages::of(Path::new(MACHINES));
    let told = {
        let mut story = pin!(story::tell(&mut fleet, &packages, &mut teller, demo.once));
        let begun = Instant::now();
        let mut progress = interval_at(begun + PROGRESS_EVERY, PROGRESS_EVERY);
        loop {
            tokio::select! {
                biased;
                () = signals.next() => break Ok(End::Interrupted),
                told = &mut story => break told.map(|heard| if heard { End::Told } else { End::Unheard }),
                now = progress.tick() => {
                    talk.say(&format!("still at it, for {}", time::took(now - begun)));
                }
            }
        }
    };
    let told = match told {
        Ok(End::Told) if !demo.once => {
            let suggestions = Suggestions::new(
                &fleet,
                &packages,
                env::args_os().next(),
                env::var_os("MUSTER_SOCKET").is_some(),
            );
            let stay = suggestions.tell(&mut teller).and_then(|()| teller.finish());
            match stay {
                Ok(()) => {
                    talk.say("Ctrl-C ends the demo and removes all of it");
                    stay_until_the_end(&mut signals).await;
                    Ok(End::Told)
                }
                Err(failure) => Err(failure),
            }
        }
        told => teller.finish().and(told),
    };
    let dir = fleet.ground.dir().display().to_string();
    let keeps = told.is_err() && demo.once;
    if keeps {
        fleet.ground.keep();
    }
    let stopped = fleet.stop(&mut signals).await;
    match told {
        Ok(end) => {
            stopped?;
            if !matches!(end, End::Told) || !demo.once {
                talk.say("ended: no process and no file of it is left");
            }
            Ok(if matches!(end, End::Interrupted) { ExitCode::Interrupted } else { ExitCode::Success })
        }
        Err(mut failure) => {
            failure.kind = ExitCode::Internal;
            if let Err(stopped) = stopped {
                failure = failure.hint(stopped.message);
            }
            Err(if keeps {
                failure
                    .hint(format!("what the agents said is in {dir}/*.log"))
                    .hint(format!("when you have looked at it: rm -r {dir}"))
            } else {
                failure.hint("to keep what the agents said: muster demo --once")
            })
        }
    }
}

/// Waits for a signal, or until nobody reads standard output any more.
async fn stay_until_the_end(signals: &mut Signals) {
    let stdout = io::stdout().as_fd().try_clone_to_owned().map(File::from).ok();
    while !signals.next_within(LISTENED_EVERY).await {
        if stdout.as_ref().is_some_and(nobody_reads) {
            return;
        }
    }
}
