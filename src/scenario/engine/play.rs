//! From the first step to the last, and the end of all of it.

use std::path::Path;

use tokio::time::Instant;

use super::{
    super::{
        Trouble,
        file::Scenario,
        story::{Teller, Told},
    },
    fleet::World,
};
use crate::terminal::time;

/// How a scenario went.
#[derive(Debug)]
pub struct Played {
    /// What did not come true.
    pub result: Result<(), Trouble>,
    /// What could not be cleaned up.
    pub ended: Result<(), Trouble>,
}

/// Plays a scenario in `dir`, which is empty, with agents of `program`. Every step is told after it came true.
/// Dropping the future kills all processes; collecting what they leave behind is then for who drops it.
pub async fn play(scenario: &Scenario, program: &Path, dir: &Path, tell: &mut Teller<'_>) -> Played {
    let mut world = match World::new(scenario, program, dir) {
        Ok(world) => world,
        Err(trouble) => return Played { result: Err(trouble), ended: Ok(()) },
    };
    let result = steps(&mut world, tell).await;
    Played { result, ended: world.end().await }
}

async fn steps(world: &mut World<'_>, tell: &mut Teller<'_>) -> Result<(), Trouble> {
    let start = Instant::now();
    let scenario = world.scenario;
    tell(
        Told::new("scenario", format!("{}: {}", scenario.name, scenario.about))
            .field("name", scenario.name.clone())
            .field("about", scenario.about.clone())
            .field("steps", scenario.steps.len()),
    )?;
    for (number, step) in scenario.steps.iter().enumerate() {
        let done = match world.act(step).await {
            Ok(told) => world.holds().await.map(|()| told),
            Err(trouble) => Err(trouble),
        };
        let told = done.map_err(|trouble| {
            let name = step.name.as_ref().map_or_else(String::new, |name| format!(", \"{name}\","));
            let step = format!("step {} of {} (line {}){name}", number + 1, scenario.steps.len(), step.line);
            Trouble {
                message: format!("{}: {step} did not come true: {}", scenario.name, trouble.message),
                ..trouble
            }
        })?;
        tell(told.field("step", number + 1))?;
    }
    for (always, count) in scenario.always.iter().zip(&world.held) {
        let what = always.name.clone().unwrap_or_else(|| format!("what line {} says", always.line));
        tell(Told::new("held", format!("{what}, whenever that was looked at")).field("times", *count))?;
    }
    let took = start.elapsed();
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let text = format!("{}: {} steps, in {}", scenario.name, scenario.steps.len(), time::took(took));
    tell(Told::new("true", text).field("name", scenario.name.clone()).field("ms", ms))
}
