//! `muster job watch`, `cancel` and `rerun`: what can still be done about what was ordered.
//!
//! Stopping asks nobody: it is cheap to stop and dear to give. Only who signed an order can end it, and hosts
//! hold it, and with it its end, for an hour or two past its expiry: what runs beyond that ends by its time limit.

use std::{path::Path, time::Duration};

use super::{
    ExitMode, RunError, RunRequest, Status, Streams, Tally, View, World,
    draft::Draft,
    ending,
    job::{self, Jobs},
    output::Reader,
    rollout::Rollout,
    verb::{CANCELLED_WITHIN, INTERRUPTED, Work},
    view::{self, Job},
    waiting::{self, Ended, Followed, Interrupts, Showing, Watcher},
};
use crate::{
    control::Client,
    identity::{EntryId, HostId, Signed},
    journal::OperatorHome,
    replica::{Order, Replica},
    terminal::{escape, nodeset},
    time::Timestamp,
};

/// The exit code of a wait that ran out.
const RAN_OUT: u8 = 124;
/// How long past its time limit a command's result is waited for.
const GRACE: Duration = Duration::from_secs(30);
/// How often it is looked whether another wave has begun, and for answers to waves that are not followed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// One `muster job watch`.
#[derive(Clone, Debug)]
pub struct WatchRequest {
    /// The job's id, or a unique beginning of it.
    pub job: String,
    /// How long to wait at most. Default: until no host can start it any more.
    pub wait: Option<Duration>,
    /// What the exit code is made of.
    pub exit: ExitMode,
    /// How text output is laid out.
    pub view: View,
}

/// One `muster job cancel`.
#[derive(Clone, Debug)]
pub struct CancelRequest {
    /// The job's id, or a unique beginning of it.
    pub job: String,
    /// Say who would be told, and tell nobody.
    pub dry_run: bool,
}

/// One `muster job rerun`.
#[derive(Clone, Debug)]
pub struct RerunRequest {
    /// The job's id, or a unique beginning of it.
    pub job: String,
    /// Only on the hosts that did not succeed.
    pub failed: bool,
    /// How: in which waves, how long to wait, whether to ask. What to run and as whom is the job's.
    pub run: RunRequest,
}

/// Waits for a job that was ordered before, whoever waited for it then, and shows what came of it. Returns the
/// exit code.
///
/// # Errors
/// When there is no such job, or the agent cannot be asked.
pub async fn watch(
    request: &WatchRequest,
    home: &OperatorHome,
    socket: &Path,
    streams: &mut Streams<'_>,
    clock: &(dyn Fn() -> Timestamp + Sync),
    listen: &mut (dyn FnMut() -> Interrupts + Send),
) -> Result<u8, RunError> {
    let mut jobs = Jobs::gather(home, socket).await?;
    let mut rollout = jobs.find(&request.job)?;
    let mut tally = jobs.tally(home, &rollout).await?;
    let is_own = jobs.is_own(&rollout);
    let Jobs { mut client, replica, .. } = jobs;
    let first = rollout.clone();
    let mut shown = job::shown(&replica, &first, clock())?;
    shown.begin(streams, request.view)?;
    shown.known(streams, &mut tally)?;

    let mut watcher = Watcher::new(replica.authority(), tally, listen());
    watcher.followed = Followed::open(socket, &rollout, &watcher.tally).await?;
    let is_live = shown.wants_live(streams) && (rollout.goes_on() || waiting::unanswered(&watcher.tally) > 0);
    watcher.showing = Some(Showing::of(rollout.signed(), is_live, home, socket, clock(), streams).await);
    let ended = loop {
        let (goes_on, left) = (rollout.goes_on(), left(&rollout, clock()));
        let whole = request.wait.map_or(left, |wait| wait.saturating_sub(watcher.elapsed()).min(left));
        let slice = if goes_on || rollout.orders().len() > 1 { whole.min(LOOK_EVERY) } else { whole };
        let until = watcher.elapsed().saturating_add(slice);
        let is_due = |tally: &Tally, elapsed: Duration| {
            ((goes_on || waiting::unanswered(tally) > 0) && elapsed < until).then_some(until)
        };
        match watcher.wait(&mut shown, streams, is_due).await? {
            Ended::Answered if !goes_on && waiting::unanswered(&watcher.tally) == 0 => break Ended::Answered,
            Ended::Answered if slice == whole => break Ended::Answered,
            Ended::Answered => {}
            ended => break ended,
        }
        if goes_on {
            shown.now = clock();
            refresh(&mut rollout, home, &replica, &mut watcher, socket, &mut shown).await?;
        }
        if rollout.orders().len() > 1 {
            waiting::collect_all(&mut client, &rollout, &mut watcher.tally, replica.authority()).await?;
        }
    };
    if matches!(ended, Ended::Cancelled) {
        match only_ours(home, &replica, &rollout) {
            Ok(()) => {
                end(home, &mut client, &mut rollout, &mut watcher, &mut shown, streams, clock()).await?;
            }
            Err(error) => streams.say(&format!("error: {error}")),
        }
    }
    shown.now = clock();
    if is_own && let Some(id) = rollout.id() {
        home.keep_reports(&id, &watcher.tally.reports())?;
    }
    account(request, home, socket, streams, &rollout, &mut shown, watcher, ended).await
}

/// Shows what came of it, and what the process exits with.
#[expect(clippy::too_many_arguments, reason = "the end of one function, which would be too long with it")]
async fn account(
    request: &WatchRequest,
    home: &OperatorHome,
    socket: &Path,
    streams: &mut Streams<'_>,
    rollout: &Rollout,
    shown: &mut Job<'_>,
    mut watcher: Watcher<'_>,
    ended: Ended,
) -> Result<u8, RunError> {
    let mut tally = watcher.tally.clone();
    if matches!(ended, Ended::Detached) {
        streams.say(&format!("come back: muster job watch {}", shown.id.short()));
        shown.end(streams, &tally, INTERRUPTED)?;
        return Ok(INTERRUPTED);
    }
    shown.seen = view::last_seen(socket, &tally).await;
    let ready = match watcher.showing.take().map(|showing| showing.reader) {
        Some(mut reader) => reader.renew(home, shown.now).map(|()| reader),
        None => Reader::sign(home, socket, rollout.signed(), shown.now),
    };
    let reader = ready?;
    let whole = tokio::select! {
        whole = shown.show(streams, &mut tally, &reader) => whole?,
        () = watcher.interrupt() => false,
    };
    let ran_out = waiting::unanswered(&tally) > 0 || rollout.goes_on();
    let code = match (ended, tally.code(request.exit)) {
        (Ended::AgentGone(error), _) => {
            streams.say(&format!("error: {error}"));
            RunError::Control(error).code()
        }
        (Ended::Cancelled, _) => INTERRUPTED,
        _ if ran_out && request.wait.is_some_and(|wait| watcher.elapsed() >= wait) => {
            streams.say("the wait ran out");
            RAN_OUT
        }
        (_, 0) if !whole => 1,
        (_, code) => code,
    };
    shown.end(streams, &tally, code)?;
    Ok(code)
}

/// How long something may still come of a job.
fn left(rollout: &Rollout, now: Timestamp) -> Duration {
    let last = |order: &Signed<Order>| {
        let limit = Duration::from_millis(order.body().limits.timeout_ms);
        order.body().expires.after(limit.saturating_add(GRACE))
    };
    let last = rollout.orders().iter().map(last).max().unwrap_or_default();
    // A wave that is to come makes it longer again.
    if rollout.goes_on() { Duration::MAX } else { last.since(now) }
}

/// Looks whether another wave has begun, or none will.
async fn refresh(
    rollout: &mut Rollout,
    home: &OperatorHome,
    replica: &Replica,
    watcher: &mut Watcher<'_>,
    socket: &Path,
    shown: &mut Job<'_>,
) -> Result<(), RunError> {
    let known = rollout.orders().len();
    let Some(now) = rollout.id().and_then(|id| remembered(home, replica, &id)) else { return Ok(()) };
    *rollout = now;
    for (order, hosts) in rollout.signed().skip(known) {
        watcher.tally.ask(hosts, watcher.elapsed());
        watcher.followed.add(socket, order.id()).await?;
        if let Some(showing) = &mut watcher.showing {
            showing.add(home, socket, order, hosts, shown.now).await?;
        }
        shown.expires(order, hosts);
    }
    watcher.tally.withhold(rollout.rest(), rollout.withheld());
    Ok(())
}

/// A job in waves as this operator's directory has it now.
pub(super) fn remembered(home: &OperatorHome, replica: &Replica, id: &EntryId) -> Option<Rollout> {
    // Before the file is read: who let go of the lock meanwhile has written why.
    let is_paced = home.is_paced(id);
    let waves = home.waves(id).ok()??;
    Rollout::remembered(&waves, is_paced, home.is_paused(id), |order| {
        let bytes = home.order(order).ok()??;
        Signed::<Order>::verify(&bytes.0, replica.fleet()).ok()
    })
}

/// Refuses what somebody else ordered.
pub(super) fn only_ours(home: &OperatorHome, replica: &Replica, rollout: &Rollout) -> Result<(), RunError> {
    let other = rollout.orders().iter().find(|order| order.signer() != home.name());
    let Some(order) = other else { return Ok(()) };
    let by = replica.authority().certificate_of(&order.body().certificate, order.signer());
    let person = by.map_or_else(|_| "somebody unknown".to_owned(), |certificate| certificate.person.clone());
    Err(RunError::NotYours { job: order.id().short(), person: escape::line(&person) })
}

/// Signs the end of what somebody may still start or run, in no later wave either, and waits for the answers.
async fn end(
    home: &OperatorHome,
    client: &mut Client,
    rollout: &mut Rollout,
    watcher: &mut Watcher<'_>,
    shown: &mut Job<'_>,
    streams: &mut Streams<'_>,
    now: Timestamp,
) -> Result<(), RunError> {
    if let Some(id) = rollout.id().filter(|_| rollout.goes_on()) {
        let _step = home.step(&id)?;
        home.keep_cancelled(&id)?;
        // What was signed until now is all that there will be.
        if let Some(now) = remembered(home, shown.replica, &id) {
            let known = rollout.orders().len();
            *rollout = now;
            for (_, hosts) in rollout.signed().skip(known) {
                watcher.tally.ask(hosts, watcher.elapsed());
            }
        }
        rollout.cancel();
        watcher.tally.withhold(rollout.rest(), rollout.withheld());
    }
    let late: Vec<&Signed<Order>> =
        rollout.orders().iter().filter(|order| Replica::is_past(Some(order.body().expires), now)).collect();
    if !late.is_empty() {
        streams
            .say("it has expired too long ago for hosts to be told; what still runs ends by its time limit");
    }
    streams.say("cancelling");
    let items = ending::sign(home, rollout, &watcher.tally, now)?;
    ending::submit(client, items).await?;
    for (order, hosts) in rollout.signed() {
        shown.cancelled(order, hosts);
    }
    watcher.wait_cancelled(shown, streams, CANCELLED_WITHIN).await
}

/// Ends a job on its hosts. Returns the exit code: 0 if every host said what came of it, 7 if some have yet to
/// hear of it.
///
/// # Errors
/// When there is no such job, somebody else ordered it, or the agent cannot be asked.
pub async fn cancel(
    request: &CancelRequest,
    home: &OperatorHome,
    socket: &Path,
    streams: &mut Streams<'_>,
    clock: &(dyn Fn() -> Timestamp + Sync),
    listen: &mut (dyn FnMut() -> Interrupts + Send),
) -> Result<u8, RunError> {
    let mut jobs = Jobs::gather(home, socket).await?;
    let mut rollout = jobs.find(&request.job)?;
    only_ours(home, &jobs.replica, &rollout)?;
    let tally = jobs.tally(home, &rollout).await?;
    let is_own = jobs.is_own(&rollout);
    let Jobs { mut client, replica, .. } = jobs;
    let first = rollout.clone();
    let mut shown = job::shown(&replica, &first, clock())?;
    let open = waiting::unanswered(&tally);
    if open == 0 && !rollout.goes_on() {
        streams.rows(shown.now, &view::HOSTS, &shown.rows(&tally))?;
        streams.say("nothing to cancel: every host that was asked has answered");
        return Ok(0);
    }
    if request.dry_run {
        streams.rows(shown.now, &view::HOSTS, &shown.rows(&tally))?;
        streams.say(&format!("dry run: {} would be told to stop", view::counted(open)));
        return Ok(0);
    }
    let mut watcher = Watcher::new(replica.authority(), tally, listen());
    watcher.followed = Followed::open(socket, &rollout, &watcher.tally).await?;
    end(home, &mut client, &mut rollout, &mut watcher, &mut shown, streams, clock()).await?;
    let tally = watcher.tally;
    if is_own && let Some(id) = rollout.id() {
        home.keep_reports(&id, &tally.reports())?;
    }
    shown.now = clock();
    streams.rows(shown.now, &view::HOSTS, &shown.rows(&tally))?;
    streams.say(&format!(
        "{}{:10}{}",
        view::summary(&tally.counts(), 0),
        "",
        view::next_step(&tally.counts(), &shown.id.short())
    ));
    Ok(if waiting::unanswered(&tally) == 0 { 0 } else { 7 })
}

/// Orders a job again, on all of its hosts or on those that did not succeed. Returns the exit code.
///
/// # Errors
/// When there is no such job, it is still under way, or as [`run`](super::run).
pub async fn rerun(
    request: &RerunRequest,
    home: &OperatorHome,
    socket: &Path,
    streams: &mut Streams<'_>,
    world: &mut World<'_>,
) -> Result<u8, RunError> {
    let mut jobs = Jobs::gather(home, socket).await?;
    let rollout = jobs.find(&request.job)?;
    let tally = jobs.tally(home, &rollout).await?;
    let now = (world.clock)();
    let Some(old) = rollout.orders().first() else { return Err(RunError::NoJob(request.job.clone())) };
    let id = old.id().short();
    if rollout.goes_on() {
        return Err(RunError::Usage {
            problem: format!("job {id} is still under way: its waves are being ordered"),
            hint: format!("muster job cancel {id}"),
        });
    }
    let hosts = again(request.failed, &tally, &jobs.replica, streams);
    if hosts.is_empty() {
        let rows = job::shown(&jobs.replica, &rollout, now)?.rows(&tally);
        streams.rows(now, &view::HOSTS, &rows)?;
        streams.say(&format!("nothing to rerun: every host of job {id} succeeded"));
        return Ok(0);
    }
    // Whoever has not answered could start the old order after the new one, or be at it.
    let may_start = |(order, asked): &(&Signed<Order>, &[HostId])| {
        order.body().expires > now
            && waiting::is_open(asked, &tally)
            && jobs.replica.cancellation(&order.id()).is_none()
            && asked.iter().any(|host| hosts.binary_search(host).is_ok())
    };
    let open: Vec<&Signed<Order>> = rollout.signed().filter(may_start).map(|(order, _)| order).collect();
    if !open.is_empty() {
        only_ours(home, &jobs.replica, &rollout)?;
        let silent = waiting::unanswered(&tally);
        streams.say(&format!("job {id} is cancelled first: {} did not answer", view::counted(silent)));
    }
    let before = open.into_iter().map(|order| ending::end(home, order, now)).collect::<Result<_, _>>()?;
    streams.say(&format!("again: job {id}, on {} of {}", hosts.len(), view::counted(rollout.roster().len())));
    let Jobs { client, replica, .. } = jobs;
    let mut draft = Draft::new(&request.run, &replica, String::new(), client.host, world.nonce);
    draft.as_in(old.body(), request.run.reason.is_some());
    let mut run = request.run.clone();
    run.timeout = Duration::from_millis(old.body().limits.timeout_ms);
    let work = Work { request: &run, home, socket, replica: &replica, draft, before, one_named: false };
    work.go(hosts, client, streams, world).await
}

/// The hosts of a job that are to run it again, as far as they are still members.
fn again(failed: bool, tally: &Tally, replica: &Replica, streams: &mut Streams<'_>) -> Vec<HostId> {
    let is_member = |host: &HostId| replica.authority().members().any(|member| member.id() == *host);
    let meant = tally.seats().filter(|(_, seat)| !failed || seat.status() != Status::Ok || seat.conflict());
    let (hosts, gone): (Vec<HostId>, Vec<HostId>) = meant.map(|(host, _)| host).partition(is_member);
    if !gone.is_empty() {
        let name = |host: &HostId| {
            let known = replica.authority().host(host);
            known.map_or_else(|| host.short(), |host| host.name().to_owned())
        };
        let gone = nodeset::fold(gone.iter().map(name));
        streams.say(&format!("left out, since no longer in the fleet: {}", escape::line(&gone)));
    }
    hosts
}
