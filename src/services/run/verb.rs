//! `muster run`: from a target to an accounting.

use std::{io, path::Path, pin::pin, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::{
    Event, ExitMode, Patience, Resolved, RunError, RunRequest, Status, Streams, Taken, Tally, foresee,
    keepers,
    output::Reader,
    report, resolve,
    view::{self, Job},
};
use crate::{
    authority::Admitted,
    control::{self, Client, ControlError, Reply, Request},
    identity::{Payload as _, Signed},
    journal::OperatorHome,
    replica::{Action, Item, Limits, Order, Replica, Roster},
    terminal::prompt::{self, Consequence, Decision, Question},
    time::Timestamp,
    wire::Bytes,
};

/// How long an agent may take to take an order.
const SUBMIT_WITHIN: Duration = Duration::from_secs(30);
/// How often whoever waits may be told how far it is.
const TICK_EVERY: Duration = Duration::from_secs(1);
/// What an interrupted command line exits with.
const INTERRUPTED: u8 = 130;

/// What a command needs of the world around it, so that a test can be that world.
pub struct World<'a> {
    /// Reads the clock.
    pub clock: &'a (dyn Fn() -> Timestamp + Sync),
    /// 16 random bytes.
    pub nonce: [u8; 16],
    /// Asks a person; see [`prompt::ask_terminal`].
    pub ask: &'a mut (dyn FnMut(Question, &str) -> io::Result<bool> + Send),
}

impl std::fmt::Debug for World<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

/// Runs a command on the hosts that are meant, waits, and shows what came of it. `interrupt` completes
/// whenever the person wants out; then the order stands, and only the waiting ends. Returns the exit
/// code.
///
/// # Errors
/// See [`RunError`] for whether an order was sent.
pub async fn run(
    request: &RunRequest,
    home: &OperatorHome,
    socket: &Path,
    streams: &mut Streams<'_>,
    world: &mut World<'_>,
    mut interrupt: impl AsyncFnMut(),
) -> Result<u8, RunError> {
    request.check()?;
    let mut client = Client::connect(socket).await?;
    // With heads: who listens can keep results, and a selector may ask for what hosts say of themselves. That
    // costs a fifth more than without (100 hosts: 24 ms instead of 19, unoptimised).
    let (replica, left_out) = control::fleet_of(&mut client, home, true).await?;
    if left_out > 0 {
        streams.say(&format!("warning: {left_out} entries that the agent handed over did not hold"));
    }
    let resolved = resolve(&request.target, &replica)?;
    let mode = exit_mode(request, &resolved)?;
    let draft = draft(request, home, &client, &replica, &resolved, world)?;
    if request.dry_run {
        let job = Job::new(draft.signed(), &replica, (world.clock)());
        job.show_plan(streams)?;
        return Ok(0);
    }
    let order = match decide(request, &replica, &resolved, streams) {
        Decision::Go => draft,
        Decision::Refuse => return Err(RunError::NobodyToAsk),
        Decision::Ask(question) => {
            let plan = Job::new(draft.signed(), &replica, (world.clock)()).plan_lines().join("\n");
            streams.say(&plan);
            if !(world.ask)(question, "Run this?")? {
                return Err(RunError::Declined);
            }
            // The answer may have taken its time: the order's own begins now.
            self::draft(request, home, &client, &replica, &resolved, world)?
        }
    };
    submit(&mut client, home, &order).await?;

    let mut job = Job::new(order.signed(), &replica, (world.clock)());
    job.begin(streams, request.view)?;
    let mut tally = Tally::new(order.body().roster.hosts());
    let patience = Patience { silent: request.wait, running: request.timeout.saturating_add(request.grace) };
    let ended = watch(&mut client, &mut job, &mut tally, patience, streams, &mut interrupt).await;
    drop(client);
    if let Err(error) = home.keep_reports(&order.signed().id(), &tally.reports()) {
        streams.say(&format!("warning: the results are not remembered here: {error}"));
    }
    job.now = (world.clock)();
    let ended = ended?;
    let code = if matches!(ended, Ended::Interrupted) {
        None
    } else {
        job.seen = view::last_seen(socket, &tally).await;
        let reader = Reader::sign(home, socket, job.id, job.now);
        // Long output is still to come, so a person may want out here too.
        tokio::select! {
            whole = job.show(streams, &mut tally, &reader) => Some(whole?),
            () = interrupt() => None,
        }
        .map(|whole| match (ended, tally.code(mode)) {
            (Ended::AgentGone(error), _) => {
                streams.say(&format!("error: {error}"));
                RunError::Control(error).code()
            }
            // Not all that the command said reached its reader.
            (_, 0) if !whole => 1,
            (_, code) => code,
        })
    };
    let code = code.unwrap_or_else(|| {
        streams.say(&detached(&job, &tally));
        INTERRUPTED
    });
    job.end(streams, &tally, code)?;
    Ok(code)
}

fn detached(job: &Job<'_>, tally: &Tally) -> String {
    let (counts, expires) = (tally.counts(), job.order.body().expires);
    let open = counts.of(Status::Running) + counts.of(Status::Silent);
    format!(
        "detached: {} of {} hosts answered; the others may start it until {}\ncome back: muster job show {}",
        counts.total() - open,
        counts.total(),
        view::clock_time(expires, job.now),
        job.id.short(),
    )
}

fn exit_mode(request: &RunRequest, resolved: &Resolved<'_>) -> Result<ExitMode, RunError> {
    match request.exit {
        None if resolved.one_named => Ok(ExitMode::Remote),
        None => Ok(ExitMode::Summary),
        Some(ExitMode::Remote) if resolved.hosts.len() > 1 => Err(RunError::Usage {
            problem: format!("--exit remote is for one host, and these are {}", resolved.hosts.len()),
            hint: "write --exit summary or --exit max".to_owned(),
        }),
        Some(mode) => Ok(mode),
    }
}

/// Signs the order, and applies to it what the hosts will.
fn draft(
    request: &RunRequest,
    home: &OperatorHome,
    client: &Client,
    replica: &Replica,
    resolved: &Resolved<'_>,
    world: &World<'_>,
) -> Result<Admitted<Order>, RunError> {
    let now = (world.clock)();
    let body = Order {
        nonce: world.nonce,
        certificate: home.certificate,
        issued: now,
        expires: now.after(request.queue),
        selector: resolved.selector.text().to_owned(),
        roster: Roster::Inline { hosts: resolved.ids() },
        action: Action::Argv { argv: request.argv.iter().map(|arg| Bytes(arg.clone())).collect() },
        run_as: request.run_as.clone(),
        limits: Limits {
            timeout_ms: u64::try_from(request.timeout.as_millis()).unwrap_or(u64::MAX),
            output_bytes_max: request.output_bytes_max,
        },
        keepers: keepers(replica, client.host, &world.nonce),
        reason: request.reason.clone(),
    };
    let order = Signed::sign(replica.fleet(), &home.key, body);
    if order.bytes().len() > Order::BYTES_MAX {
        return Err(RunError::Usage {
            problem: format!("the order is {} bytes, where {} may be", order.bytes().len(), Order::BYTES_MAX),
            hint: "put what is long in a file that the command reads".to_owned(),
        });
    }
    Ok(foresee(replica.authority(), order, now)?)
}

fn decide(
    request: &RunRequest,
    replica: &Replica,
    resolved: &Resolved<'_>,
    streams: &Streams<'_>,
) -> Decision {
    let fleet = replica.authority().members().count();
    let consequence = Consequence::Run { hosts: resolved.hosts.len(), fleet };
    prompt::decide(consequence, streams.in_terminal && streams.err_terminal, request.yes)
}

/// Remembers the order, then hands it over: what hosts may run is never unknown here.
async fn submit(client: &mut Client, home: &OperatorHome, order: &Admitted<Order>) -> Result<(), RunError> {
    let (id, bytes) = (order.signed().id(), order.signed().bytes());
    home.keep_order(&id, bytes)?;
    match client.ask(&Request::Submit { items: vec![Item::bare(bytes)] }, SUBMIT_WITHIN).await {
        Ok(Reply::Accepted {}) => Ok(()),
        Ok(_) => Err(RunError::Unconfirmed {
            job: id.short(),
            source: ControlError::Malformed("not an answer to an order".to_owned()),
        }),
        Err(error @ ControlError::Refused { .. }) => Err(RunError::NotTaken(error)),
        Err(source) => Err(RunError::Unconfirmed { job: id.short(), source }),
    }
}

/// How the waiting ended.
enum Ended {
    /// Every host reported, or is not worth waiting for any longer.
    Answered,
    /// The person wanted out.
    Interrupted,
    /// Nobody is left who could say anything.
    AgentGone(ControlError),
}

/// Takes answers until no host is worth waiting for.
async fn watch(
    client: &mut Client,
    job: &mut Job<'_>,
    tally: &mut Tally,
    patience: Patience,
    streams: &mut Streams<'_>,
    interrupt: &mut impl AsyncFnMut(),
) -> Result<Ended, RunError> {
    let start = Instant::now();
    if let Err(error) = client.send(&Request::Watch { order: job.id, follow: true }).await {
        return Ok(Ended::AgentGone(error));
    }
    let mut next_tick = TICK_EVERY;
    let mut interrupted = pin!(interrupt());
    let ended = loop {
        let Some(until) = tally.wait_until(start.elapsed(), patience) else { break Ended::Answered };
        let wake = start + until.min(next_tick);
        tokio::select! {
            () = &mut interrupted => break Ended::Interrupted,
            reply = client.reply() => match reply {
                Ok(Reply::Report { report }) => {
                    let result = report::verify(&report, job.id, job.replica.authority());
                    match tally.report(report.host, result) {
                        Taken::Settled | Taken::Conflict | Taken::Claimed => {
                            job.settled(streams, tally, report.host, start.elapsed())?;
                        }
                        Taken::Known | Taken::Stray => {}
                    }
                }
                Ok(Reply::Running { order, host }) if order == job.id => {
                    tally.running(host, start.elapsed());
                    job.happens(streams, &Event::Running { host }, start.elapsed())?;
                }
                Ok(Reply::Running { .. }) => {}
                Ok(Reply::Error { why, refused }) => {
                    break Ended::AgentGone(ControlError::Refused { why, right: refused });
                }
                Ok(Reply::End {}) => {
                    break Ended::AgentGone(ControlError::Gone(io::ErrorKind::UnexpectedEof.into()));
                }
                Ok(_) => {
                    let problem = "not what came of an order".to_owned();
                    break Ended::AgentGone(ControlError::Malformed(problem));
                }
                Err(error) => break Ended::AgentGone(error),
            },
            () = sleep_until(wake) => {}
        }
        if start.elapsed() >= next_tick {
            next_tick = start.elapsed() + TICK_EVERY;
            job.happens(streams, &Event::Tick, start.elapsed())?;
        }
    };
    streams.progress("");
    Ok(ended)
}
