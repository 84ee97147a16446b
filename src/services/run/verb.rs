//! `muster run`: from a target to an accounting.
//!
//! Resolves the roster, shows what would be done, asks where that is due, signs, hands over, waits, and accounts
//! for every host. Where a roster is asked in waves, each is an order of its own, signed when its turn comes;
//! see [`rollout`](super::rollout) for why.

use std::{io, path::Path, time::Duration};

use super::{
    ExitMode, Pace, RunError, RunRequest, Streams, Tally,
    course::Course,
    draft::Draft,
    facts, foresee,
    plan::Plan,
    rollout::Rollout,
    view::{self, Job},
    waiting::Interrupts,
};
use crate::{
    authority::MEMBERS_MAX,
    control::{self, Client},
    identity::HostId,
    journal::{JobLock, OperatorHome},
    replica::{Item, Replica},
    targets::resolve,
    terminal::prompt::{self, Consequence, Decision, Question},
    time::Timestamp,
};

/// How long an agent may take to take an order.
pub(super) const SUBMIT_WITHIN: Duration = Duration::from_secs(30);
/// How long what was cancelled is waited for: a command gets 2 s to clean up, then it is killed.
pub(super) const CANCELLED_WITHIN: Duration = Duration::from_secs(10);
/// What an interrupted command line exits with.
pub(super) const INTERRUPTED: u8 = 130;

/// What a command needs of the world around it, so that a test can be that world.
pub struct World<'a> {
    /// Reads the clock.
    pub clock: &'a (dyn Fn() -> Timestamp + Sync),
    /// 16 random bytes.
    pub nonce: [u8; 16],
    /// Asks a person; see [`prompt::ask_terminal`].
    pub ask: &'a mut (dyn FnMut(Question, &str) -> io::Result<bool> + Send),
    /// Begins to listen to interrupts. Until then they end the process, as is right for a question.
    pub listen: &'a mut (dyn FnMut() -> Interrupts + Send),
}

impl std::fmt::Debug for World<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

/// Runs a command on the hosts that are meant, waits, and shows what came of it. Returns the exit code.
///
/// # Errors
/// See [`RunError`] for whether an order was sent.
pub async fn run(
    request: &RunRequest,
    home: &OperatorHome,
    socket: &Path,
    streams: &mut Streams<'_>,
    world: &mut World<'_>,
) -> Result<u8, RunError> {
    request.check()?;
    let mut client = Client::connect(socket).await?;
    // With heads: who listens can keep results, and names of the agents' versions may be asked for. That costs a
    // fifth more than without (100 hosts: 24 ms instead of 19, unoptimised).
    let (replica, left_out) = control::fleet_of(&mut client, home, true).await?;
    if left_out > 0 {
        streams.say(&format!("warning: {left_out} entries that the agent handed over did not hold"));
    }
    let asked = request.target.ask(&replica, MEMBERS_MAX)?;
    let told = match asked.of_facts() {
        Some(selector) => Some(facts::told(&mut client, selector).await?),
        None => None,
    };
    let resolved = resolve(&asked, told.as_ref(), &replica, MEMBERS_MAX)?;
    if resolved.matched > resolved.hosts.len() {
        streams.say(&format!("{} of {}", resolved.hosts.len(), view::counted(resolved.matched)));
    }
    let selector = resolved.selector.text().to_owned();
    let draft = Draft::new(request, &replica, selector, client.host, world.nonce);
    let (hosts, one_named) = (resolved.ids(), resolved.one_named);
    let work = Work { request, home, socket, replica: &replica, draft, before: Vec::new(), one_named };
    work.go(hosts, client, streams, world).await
}

/// What is to be done on hosts that are known.
pub(super) struct Work<'a> {
    /// How.
    pub(super) request: &'a RunRequest,
    /// By whom.
    pub(super) home: &'a OperatorHome,
    /// Through which agent.
    pub(super) socket: &'a Path,
    /// The fleet.
    pub(super) replica: &'a Replica,
    /// What is signed.
    pub(super) draft: Draft,
    /// What is handed over before the first order.
    pub(super) before: Vec<Item>,
    /// Whether this is one host, called by its name.
    pub(super) one_named: bool,
}

impl Work<'_> {
    /// Shows it, or does it on `hosts`. Returns the exit code.
    pub(super) async fn go(
        mut self,
        hosts: Vec<HostId>,
        client: Client,
        streams: &mut Streams<'_>,
        world: &mut World<'_>,
    ) -> Result<u8, RunError> {
        let mode = self.exit_mode(hosts.len())?;
        let sizes = self.sizes(hosts.len())?;
        let rollout = Rollout::begin(hosts, sizes);
        self.draft.act_under(self.home, self.replica, rollout.roster(), (world.clock)())?;
        if let Some(code) = self.shown_or_agreed(&rollout, streams, world)? {
            return Ok(code);
        }
        let mut course = Course::new(&self, rollout, client, (world.listen)());
        let first = course.first((world.clock)()).await?;
        let mut job = Job::of(&first, course.roster(), self.replica, (world.clock)());
        job.begin(streams, self.request.view)?;
        course.listen(job.wants_live(streams), job.now, streams).await;
        let ended = course.run(&mut job, streams, world.clock).await;
        course.keep(streams);
        job.now = (world.clock)();
        course.account(ended?, &mut job, streams, mode).await
    }

    /// Orders the waves of a job that are left, or shows them. Returns the exit code.
    pub(super) async fn take_up(
        mut self,
        rollout: Rollout,
        tally: Tally,
        pacing: JobLock,
        client: Client,
        streams: &mut Streams<'_>,
        world: &mut World<'_>,
    ) -> Result<u8, RunError> {
        let mode = self.exit_mode(rollout.roster().len())?;
        let Some(first) = rollout.orders().first().cloned() else {
            return Err(RunError::NoJob(String::new()));
        };
        let left = rollout.remainder();
        self.draft.act_under(self.home, self.replica, left.roster(), (world.clock)())?;
        if let Some(code) = self.shown_or_agreed(&left, streams, world)? {
            return Ok(code);
        }
        let interrupts = (world.listen)();
        let mut course = Course::taken_up(&self, rollout, tally, pacing, client, interrupts).await?;
        let mut job = Job::of(&first, course.roster(), self.replica, (world.clock)());
        job.begin(streams, self.request.view)?;
        course.known(&mut job, streams)?;
        course.listen(job.wants_live(streams), job.now, streams).await;
        let ended = course.run(&mut job, streams, world.clock).await;
        course.keep(streams);
        job.now = (world.clock)();
        course.account(ended?, &mut job, streams, mode).await
    }

    /// Finds out that what is to be ordered may be: every host would take it, and whoever has to be asked agrees.
    /// Where it is only to be shown, it is, and this is the exit code.
    fn shown_or_agreed(
        &self,
        rollout: &Rollout,
        streams: &mut Streams<'_>,
        world: &mut World<'_>,
    ) -> Result<Option<u8>, RunError> {
        let authority = self.replica.authority();
        let now = (world.clock)();
        // Judged as the one order that it amounts to: waves do not get around a certificate's cap.
        let whole = self.draft.foreseen(self.home, rollout.roster(), now)?;
        let forecast = foresee(authority, whole, rollout.roster(), now)?;
        let decision = self.decide(rollout.roster().len(), streams);
        {
            let job = Job::of(forecast.order.signed(), rollout.roster(), self.replica, now);
            let errors_max = self.errors_max(rollout.roster().len());
            let plan = Plan { job: &job, forecast: &forecast, rollout, errors_max, replica: self.replica };
            if self.request.dry_run {
                return plan.show(streams).map(Some);
            }
            if let Decision::Ask(_) = decision {
                streams.say(&plan.lines().join("\n"));
            }
        }
        forecast.accepted(authority)?;
        match decision {
            Decision::Go => Ok(None),
            Decision::Refuse => Err(RunError::NobodyToAsk),
            Decision::Ask(question) if (world.ask)(question, "Run this?")? => Ok(None),
            Decision::Ask(_) => Err(RunError::Declined),
        }
    }

    /// The sizes of the waves of so many hosts. Where there is only a budget, they ramp up: else all would have
    /// begun before it could stop any.
    fn sizes(&self, hosts: usize) -> Result<Vec<usize>, RunError> {
        let ramp = self.request.pace == Pace::AtOnce && self.request.errors_max.is_some();
        let pace = if ramp { &Pace::Ramp } else { &self.request.pace };
        pace.waves(hosts).map_err(|error| RunError::Usage {
            problem: error.to_string(),
            hint: "write it as --waves 1,10%,100% or --batch 20%".to_owned(),
        })
    }

    /// How many of so many hosts may fail.
    pub(super) fn errors_max(&self, hosts: usize) -> Option<usize> {
        self.request.errors_max.map(|share| share.at_most(hosts))
    }

    fn exit_mode(&self, hosts: usize) -> Result<ExitMode, RunError> {
        match self.request.exit {
            None if self.one_named => Ok(ExitMode::Remote),
            None => Ok(ExitMode::Summary),
            Some(ExitMode::Remote) if hosts > 1 => Err(RunError::Usage {
                problem: format!("--exit remote is for one host, and these are {hosts}"),
                hint: "write --exit summary or --exit max".to_owned(),
            }),
            Some(mode) => Ok(mode),
        }
    }

    fn decide(&self, hosts: usize, streams: &Streams<'_>) -> Decision {
        let fleet = self.replica.authority().members().count();
        let in_terminal = streams.in_terminal && streams.err_terminal;
        prompt::decide(Consequence::Run { hosts, fleet }, in_terminal, self.request.yes)
    }
}
