//! `muster job pause` and `resume`: whether the next wave of a job is signed.
//!
//! Waves are signed by the command line that ordered the job and by nobody else (see [`rollout`](super::rollout)),
//! so the mark that holds them back stands where that looks before each: in the operator's own directory, beside
//! the waves. No host hears of it, and what was signed goes on. Who pauses needs the same directory, as for
//! signing; another machine, or another operator, can only `job cancel` what was signed, if it is theirs.
//!
//! A job whose command line is gone is as good as paused. `resume` then takes its place: it signs the rest of the
//! waves as that would have, under the same budget, and is watched and left like a `run`.

use std::{path::Path, time::Duration};

use super::{
    ExitMode, RunError, RunRequest, Streams, View, Withheld, World,
    draft::Draft,
    job::{self, Jobs},
    manage::{only_ours, remembered},
    rollout::Rollout,
    verb::Work,
    view,
};
use crate::{
    identity::EntryId,
    journal::OperatorHome,
    targets::{Share, Targets},
    time::Timestamp,
};

/// One `muster job pause`.
#[derive(Clone, Debug)]
pub struct PauseRequest {
    /// The job's id, or a unique beginning of it.
    pub job: String,
    /// Say what would be held back, and hold nothing back.
    pub dry_run: bool,
}

/// One `muster job resume`.
#[derive(Clone, Debug)]
pub struct ResumeRequest {
    /// The job's id, or a unique beginning of it.
    pub job: String,
    /// How, where this command signs the rest: how long to wait, how it looks, whether to ask. The rest is the job's.
    pub run: RunRequest,
    /// What the exit code is made of then.
    pub exit: ExitMode,
}

impl ResumeRequest {
    /// A request with the defaults.
    pub fn new(job: String, view: View) -> Self {
        let mut run = RunRequest::new(Targets::default(), Vec::new());
        run.view = view;
        Self { job, run, exit: ExitMode::Summary }
    }
}

/// A job's id, if it has waves that are remembered here, and is one's own.
fn in_waves(home: &OperatorHome, jobs: &Jobs, rollout: &Rollout) -> Result<EntryId, RunError> {
    only_ours(home, &jobs.replica, rollout)?;
    let Some(id) = rollout.id() else { return Err(RunError::NoJob(String::new())) };
    if home.waves(&id)?.is_some() {
        return Ok(id);
    }
    let short = id.short();
    let problem = if jobs.is_own(rollout) && rollout.waves_total() == 1 {
        format!("job {short} has no waves: all of its hosts were ordered at once")
    } else {
        format!(
            "the waves of job {short} are signed elsewhere: it was not ordered from this user's directory"
        )
    };
    Err(RunError::Usage {
        problem,
        hint: format!("what was ordered can be ended: muster job cancel {short}"),
    })
}

/// Holds the later waves of a job back. Returns the exit code.
///
/// # Errors
/// When there is no such job, it has no waves, somebody else ordered it, or the agent cannot be asked.
pub async fn pause(
    request: &PauseRequest,
    home: &OperatorHome,
    socket: &Path,
    streams: &mut Streams<'_>,
    now: Timestamp,
) -> Result<u8, RunError> {
    let mut jobs = Jobs::gather(home, socket).await?;
    let mut rollout = jobs.find(&request.job)?;
    let id = in_waves(home, &jobs, &rollout)?;
    let short = id.short();
    let mut said = None;
    if rollout.goes_on() && rollout.withheld() == Withheld::Later && !request.dry_run {
        {
            // Not between a look at the mark and the signature that follows it.
            let _step = home.step(&id)?;
            home.keep_paused(&id)?;
        }
        rollout = remembered(home, &jobs.replica, &id).unwrap_or(rollout);
        if rollout.goes_on() {
            said = Some(format!(
                "paused: {} of later waves are held back; what was ordered goes on\ngo on: muster job resume {short}",
                view::counted(rollout.rest().len())
            ));
        }
    }
    let words = said.unwrap_or_else(|| match rollout.withheld() {
        _ if rollout.rest().is_empty() => "nothing to pause: every wave was ordered".to_owned(),
        Withheld::Later => {
            format!("dry run: {} of later waves would be held back", view::counted(rollout.rest().len()))
        }
        Withheld::Paused => format!("it is paused already; go on: muster job resume {short}"),
        Withheld::Left | Withheld::Broken => format!(
            "nothing to pause: nobody orders its later waves any more; take them up: muster job resume {short}"
        ),
        Withheld::Budget | Withheld::Cancelled => "nothing to pause: it was stopped for good".to_owned(),
    });
    show(&mut jobs, home, &rollout, streams, now, &words).await
}

/// Shows where every host stands, and says what became of the wish.
async fn show(
    jobs: &mut Jobs,
    home: &OperatorHome,
    rollout: &Rollout,
    streams: &mut Streams<'_>,
    now: Timestamp,
    words: &str,
) -> Result<u8, RunError> {
    let tally = jobs.tally(home, rollout).await?;
    jobs.keep(home, rollout, &tally)?;
    let rows = job::shown(&jobs.replica, rollout, now)?.rows(&tally);
    streams.rows(now, &view::HOSTS, &rows)?;
    streams.say(words);
    Ok(0)
}

/// Lets the later waves of a job go on; signs them, where nobody else does any more. Returns the exit code: where
/// it signs, that of `run`.
///
/// # Errors
/// When there is no such job, it was stopped for good, or as [`run`](super::run).
pub async fn resume(
    request: &ResumeRequest,
    home: &OperatorHome,
    socket: &Path,
    streams: &mut Streams<'_>,
    world: &mut World<'_>,
) -> Result<u8, RunError> {
    let mut jobs = Jobs::gather(home, socket).await?;
    let rollout = jobs.find(&request.job)?;
    let id = in_waves(home, &jobs, &rollout)?;
    let (short, now) = (id.short(), (world.clock)());
    let held = view::counted(rollout.rest().len());
    let stopped = |why: &str| RunError::Usage {
        problem: format!("job {short} was stopped for good: {why}"),
        hint: format!("order what is left as a job of its own: muster job rerun {short} --failed"),
    };
    if rollout.rest().is_empty() {
        return show(&mut jobs, home, &rollout, streams, now, "nothing to resume: every wave was ordered")
            .await;
    }
    match rollout.withheld() {
        Withheld::Budget => return Err(stopped("too many hosts failed")),
        Withheld::Cancelled => return Err(stopped("it was cancelled")),
        Withheld::Later => {
            let words = format!("nothing to resume: it goes on; see it: muster job watch {short}");
            return show(&mut jobs, home, &rollout, streams, now, &words).await;
        }
        Withheld::Paused => {
            let words = if request.run.dry_run {
                format!("dry run: {held} of later waves would be ordered")
            } else {
                home.lift_pause(&id)?;
                format!(
                    "resumed: {held} of later waves are ordered in their turn; see it: muster job watch {short}"
                )
            };
            let rollout = remembered(home, &jobs.replica, &id).unwrap_or(rollout);
            return show(&mut jobs, home, &rollout, streams, now, &words).await;
        }
        Withheld::Left | Withheld::Broken => {}
    }
    // Whoever else would take it up now is refused; and what became of it until now is read after that.
    let pacing = home.pace(&id)?;
    let waves = home.waves(&id)?.ok_or_else(|| RunError::NoJob(short.clone()))?;
    let mut rollout = remembered(home, &jobs.replica, &id).unwrap_or(rollout);
    if home.is_cancelled(&id) {
        return Err(stopped("it was cancelled"));
    }
    rollout.take_up();
    let tally = jobs.tally(home, &rollout).await?;
    let Some(old) = rollout.orders().first().cloned() else { return Err(RunError::NoJob(short)) };
    let body = old.body();
    let mut run = request.run.clone();
    run.timeout = Duration::from_millis(body.limits.timeout_ms);
    run.queue = body.expires.since(body.issued);
    run.errors_max = waves.errors_max.map(|errors| Share::Hosts(u32::try_from(errors).unwrap_or(u32::MAX)));
    run.exit = Some(request.exit);
    let Jobs { client, replica, .. } = jobs;
    let mut draft = Draft::new(&run, &replica, String::new(), client.host, body.nonce);
    draft.as_in(body, false);
    if !run.dry_run {
        home.lift_pause(&id)?;
    }
    let work =
        Work { request: &run, home, socket, replica: &replica, draft, before: Vec::new(), one_named: false };
    work.take_up(rollout, tally, pacing, client, streams, world).await
}
