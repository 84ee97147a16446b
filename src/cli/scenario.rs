//! `muster scenario`: reads files, and tells what came true while they are played.

use std::{
    env,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::{Instant, interval_at};

use super::{
    arguments::{Scenario as Verb, ScenarioRun, ScenarioSimulate},
    dispatch::{Context, wait},
    failure::{ExitCode, Failure, quoted},
    signals::Signals,
    teller::{Teller, Thing},
};
use crate::{
    node::clock,
    scenario::{self, FILE_BYTES_MAX, Ground, Kind, Played, Scenario, Simulated, Told, Trouble},
    terminal::time,
};

/// How often it is said that it goes on.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// What is told.
const THING: Thing =
    Thing { whole: "scenario", event: "scenario-event", command: "muster scenario run FILE" };

pub(super) fn scenario(context: &mut Context, verb: &Verb) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Run(run) => wait(play_all(context, run)),
        Verb::Simulate(simulate) => simulate_all(context, simulate),
        Verb::Proxy => scenario::proxy()
            .map(|()| ExitCode::Success)
            .map_err(|error| Failure::new(ExitCode::Internal, format!("the proxy: {error}"))),
    }
}

/// Reads a file, whole and within its bounds.
fn read(path: &Path) -> Result<Scenario, Failure> {
    let shown = quoted(path);
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text));
    read.map_err(|error| {
        Failure::usage(format!("cannot read {shown}: {error}")).hint("ls scenarios/*.toml")
    })?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(Failure::usage(format!("{shown} is longer than {FILE_BYTES_MAX} bytes"))
            .hint("make two of it: each is played on a fleet of its own"));
    }
    Ok(scenario::parse(path, &text)?)
}

async fn play_all(context: &mut Context, run: &ScenarioRun) -> Result<ExitCode, Failure> {
    // All of them are read before the first is played: a mistake in the last costs no minutes.
    let scenarios = run.files.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    let program = env::current_exe().map_err(|error| {
        Failure::new(ExitCode::Internal, format!("cannot find the file of this program: {error}"))
    })?;
    let mut signals = Signals::take()?;
    let Context { output, talk, out_style, .. } = context;
    let mut teller = Teller::new(output, *out_style, THING)?;
    let begun = Instant::now();
    for scenario in &scenarios {
        let mut ground = Ground::make(&env::temp_dir(), "scenario", rustix::process::geteuid().is_root())?;
        let played = {
            let dir = ground.dir().to_owned();
            let mut tell = |told: Told| -> Result<(), Trouble> {
                let Told { word, sentence, below, fields } = told;
                let told = teller.tell(word, &sentence, &below, Value::Object(fields));
                told.map_err(|failure| Trouble::new(failure.message))
            };
            let mut playing = pin!(scenario::play(scenario, &program, &dir, &mut tell));
            let mut progress = interval_at(Instant::now() + PROGRESS_EVERY, PROGRESS_EVERY);
            loop {
                tokio::select! {
                    biased;
                    () = signals.next() => break None,
                    played = &mut playing => break Some(played),
                    now = progress.tick() => talk.say(&format!("still at it, for {}", time::took(now - begun))),
                }
            }
        };
        let Some(Played { result, ended }) = played else {
            scenario::end_all().await?;
            teller.finish()?;
            talk.say("interrupted: no process and no file of it is left");
            return Ok(ExitCode::Interrupted);
        };
        match result {
            Ok(()) if !run.keep => ended?,
            Ok(()) => {
                ground.keep();
                ended?;
                talk.say(&format!("all of it is kept in {}", quoted(ground.dir())));
            }
            Err(trouble) => {
                let unavailable = trouble.kind == Kind::Unavailable;
                let mut failure = failed(scenario, trouble, &mut ground);
                if let Err(left) = ended {
                    failure = failure.hint(left.message);
                }
                let event = if unavailable { "unavailable" } else { "failed" };
                teller.write(event, "", json!({ "name": scenario.name, "why": failure.message }))?;
                teller.finish()?;
                return Err(failure);
            }
        }
    }
    teller.finish()?;
    Ok(ExitCode::Success)
}

/// `muster scenario simulate`.
fn simulate_all(context: &mut Context, simulate: &ScenarioSimulate) -> Result<ExitCode, Failure> {
    let scenarios = simulate.files.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    for (path, scenario) in simulate.files.iter().zip(&scenarios) {
        scenario::simulable(path, scenario)?;
    }
    let mut teller = Teller::new(&mut context.output, context.out_style, THING)?;
    let mut said = clock::now();
    let begun = said;
    for (path, scenario) in simulate.files.iter().zip(&scenarios) {
        let (mut count, mut passed_ms, mut last) = (0_u64, 0, Simulated::default());
        for seed in simulate.seeds.clone() {
            last = scenario::simulate(path, scenario, seed)?;
            count += 1;
            passed_ms += last.passed_ms;
            let now = clock::now();
            if now.since(said) > PROGRESS_EVERY {
                said = now;
                context.talk.say(&format!(
                    "{}: seed {seed}, {}",
                    scenario.name,
                    time::took(now.since(begun))
                ));
            }
        }
        let Simulated { steps, left_out, .. } = last;
        let left = if left_out == 0 { String::new() } else { format!(", {left_out} left out") };
        teller.tell(
            "true",
            &format!("{}: {steps} steps{left}, {count} seeds", scenario.name),
            &[],
            json!({
                "name": scenario.name,
                "steps": steps,
                "left_out": left_out,
                "seeds": count,
                "first": simulate.seeds.start,
                "virtual_ms": passed_ms,
            }),
        )?;
    }
    teller.finish()?;
    Ok(ExitCode::Success)
}

/// What is said of a scenario that did not come true, and where to look.
fn failed(scenario: &Scenario, trouble: Trouble, ground: &mut Ground) -> Failure {
    let kind = trouble.kind;
    let failure = Failure::from(trouble);
    if kind == Kind::Unavailable {
        let message = format!("{} cannot be played on this machine: {}", scenario.name, failure.message);
        return Failure { message, ..failure }.hint("play it as root: sudo muster scenario run FILE");
    }
    ground.keep();
    let dir: PathBuf = ground.dir().to_owned();
    let dir = quoted(&dir);
    failure
        .hint(format!("what the agents said is in {dir}/*.log, what the commands said in {dir}/commands"))
        .hint(format!("when you have looked at it: rm -r {dir}"))
}
