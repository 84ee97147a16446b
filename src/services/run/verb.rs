//! `muster run`: from a target to an accounting.
//!
//! Resolves the roster, shows what would be done, asks where that is due, signs, hands over, waits, and accounts
//! for every host. Where a roster is asked in waves, each is an order of its own, signed when its turn comes;
//! see [`rollout`](super::rollout) for why.

use std::{collections::BTreeSet, io, path::Path, time::Duration};

use super::{
    ExitMode, Pace, Patience, RunError, RunRequest, Status, Streams, Tally, Withheld, ask,
    draft::Draft,
    ending, facts, foresee,
    live::Live,
    output::Reader,
    plan::Plan,
    resolve,
    rollout::Rollout,
    shipment,
    view::{self, Job},
    waiting::{self, Ended, Interrupts, Showing, Watcher},
};
use crate::{
    control::{self, Client, ControlError, Reply, Request},
    identity::{HostId, Signed},
    journal::{JobLock, OperatorHome, Stop},
    replica::{Item, Order, Replica},
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
    let (replica, left_out) = control::fleet(&mut client, home.chain.clone(), true).await?;
    if left_out > 0 {
        streams.say(&format!("warning: {left_out} entries that the agent handed over did not hold"));
    }
    let asked = ask(&request.target, &replica)?;
    let told = match asked.of_facts() {
        Some(selector) => Some(facts::told(&mut client, selector).await?),
        None => None,
    };
    let resolved = resolve(asked, told.as_ref(), &replica)?;
    let selector = resolved.selector.text().to_owned();
    let draft = Draft::new(request, home, &replica, selector, client.host, world.nonce);
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
        self,
        hosts: Vec<HostId>,
        client: Client,
        streams: &mut Streams<'_>,
        world: &mut World<'_>,
    ) -> Result<u8, RunError> {
        let mode = self.exit_mode(hosts.len())?;
        let sizes = self.sizes(hosts.len())?;
        let rollout = Rollout::begin(hosts, sizes);
        let authority = self.replica.authority();
        let now = (world.clock)();
        // Judged as the one order that it amounts to: waves do not get around a certificate's cap.
        let whole = self.draft.sign(self.home, 0, rollout.roster(), now)?;
        let forecast = foresee(authority, whole, now)?;
        let decision = self.decide(rollout.roster().len(), streams);
        {
            let job = Job::new(forecast.order.signed(), self.replica, now);
            let errors_max = self.errors_max(rollout.roster().len());
            let plan =
                Plan { job: &job, forecast: &forecast, rollout: &rollout, errors_max, replica: self.replica };
            if self.request.dry_run {
                return plan.show(streams);
            }
            if let Decision::Ask(_) = decision {
                streams.say(&plan.lines().join("\n"));
            }
        }
        forecast.accepted(authority)?;
        match decision {
            Decision::Go => {}
            Decision::Refuse => return Err(RunError::NobodyToAsk),
            Decision::Ask(question) if (world.ask)(question, "Run this?")? => {}
            Decision::Ask(_) => return Err(RunError::Declined),
        }
        let authority = self.replica.authority();
        let mut watcher = Watcher::new(authority, rollout.tally(), (world.listen)());
        let view = self.request.view;
        let live = view::is_live(streams.format, view, rollout.roster().len()).then(Live::default);
        let reader = Reader::sign(self.home, self.socket, [], now);
        watcher.showing = Some(Showing { reader, live, view });
        let mut course = Course {
            work: &self,
            rollout,
            watcher,
            client,
            up: BTreeSet::new(),
            stopped: None,
            _pacing: None,
        };
        let first = course.first((world.clock)()).await?;
        let mut job = Job::of(&first, course.rollout.roster(), self.replica, (world.clock)());
        job.begin(streams, self.request.view)?;
        let ended = course.run(&mut job, streams, world.clock).await;
        if let Err(error) = self.home.keep_reports(&first.id(), &course.watcher.tally.reports()) {
            streams.say(&format!("warning: the results are not remembered here: {error}"));
        }
        job.now = (world.clock)();
        course.account(ended?, &mut job, streams, mode).await
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

    fn errors_max(&self, hosts: usize) -> Option<usize> {
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

/// A job under way.
struct Course<'a> {
    work: &'a Work<'a>,
    rollout: Rollout,
    watcher: Watcher<'a>,
    client: Client,
    /// Who was up when the waves began, as far as there is a budget that asks.
    up: BTreeSet<HostId>,
    /// Why no other wave is signed.
    stopped: Option<Stop>,
    /// Says to others that this process paces it.
    _pacing: Option<JobLock>,
}

impl Course<'_> {
    /// Signs the first wave and hands it over.
    async fn first(&mut self, now: Timestamp) -> Result<Signed<Order>, RunError> {
        let work = self.work;
        shipment::ship(&mut self.client, work.request, work.draft.action()).await?;
        let (order, _) = self.sign(now).await?;
        let mut items = self.work.before.clone();
        items.push(Item::bare(order.bytes()));
        self.submit(&order, items).await?;
        Ok(order)
    }

    /// Signs the order of the next wave and remembers it: what hosts may run is never unknown here.
    async fn sign(&mut self, now: Timestamp) -> Result<(Signed<Order>, Vec<HostId>), RunError> {
        let work = self.work;
        let wave = self.rollout.orders().len();
        let hosts = self.rollout.wave(wave).to_vec();
        if work.request.errors_max.is_some() {
            let up = waiting::up(&mut self.client).await;
            self.up.extend(up.into_iter().filter(|host| hosts.binary_search(host).is_ok()));
        }
        let order = work.draft.sign(work.home, wave, &hosts, now)?;
        let paced = self.rollout.waves_total() > 1;
        let job = self.rollout.id().unwrap_or_else(|| order.id());
        if paced && wave == 0 {
            self._pacing = Some(work.home.pace(&job)?);
        }
        self.rollout.push(order.clone());
        work.home.keep_order(&order.id(), order.bytes())?;
        self.remember()?;
        self.watcher.tally.ask(&hosts, self.watcher.elapsed());
        Ok((order, hosts))
    }

    /// Remembers how far the waves are, if there are several.
    fn remember(&self) -> Result<(), RunError> {
        if let Some(job) = self.rollout.id().filter(|_| self.rollout.waves_total() > 1) {
            let errors_max = self.work.errors_max(self.rollout.roster().len());
            self.work.home.keep_waves(&job, &self.rollout.waves(errors_max, self.stopped.clone()))?;
        }
        Ok(())
    }

    /// Hands an order over, and follows it.
    async fn submit(&mut self, order: &Signed<Order>, items: Vec<Item>) -> Result<(), RunError> {
        let id = order.id();
        if let Some(showing) = &mut self.watcher.showing {
            showing.add(self.work.home, self.work.socket, order).await;
        }
        let unconfirmed = |source| RunError::Unconfirmed { job: id.short(), source };
        match self.client.ask(&Request::Submit { items }, SUBMIT_WITHIN).await {
            Ok(Reply::Accepted {}) => {}
            Ok(_) => {
                return Err(unconfirmed(ControlError::Malformed("not an answer to an order".to_owned())));
            }
            Err(error @ ControlError::Refused { .. }) => return Err(RunError::NotTaken(error)),
            Err(source) => return Err(unconfirmed(source)),
        }
        self.watcher.followed.add(self.work.socket, id).await.map_err(unconfirmed)
    }

    /// Wave after wave, until all have ended or no other may begin.
    async fn run(
        &mut self,
        job: &mut Job<'_>,
        streams: &mut Streams<'_>,
        clock: &(dyn Fn() -> Timestamp + Sync),
    ) -> Result<Ended, RunError> {
        let request = self.work.request;
        let patience =
            Patience { silent: request.wait, running: request.timeout.saturating_add(request.grace) };
        let ended = loop {
            let until = |tally: &Tally, elapsed| tally.wait_until(elapsed, patience);
            match self.watcher.wait(job, streams, until).await? {
                Ended::Answered if self.rollout.orders().len() > 1 || !self.rollout.rest().is_empty() => {
                    if let Err(gone) = self.late_answers().await {
                        break Ended::AgentGone(gone);
                    }
                }
                Ended::Answered => break Ended::Answered,
                ended => break ended,
            }
            if self.rollout.rest().is_empty() {
                break Ended::Answered;
            }
            if let Some(text) = self.over_budget() {
                self.stop(Withheld::Budget, Stop::Budget {}, streams);
                streams.say(&text);
                self.call_off(job, streams, clock()).await;
                break Ended::Answered;
            }
            match self.next_wave(streams, clock()).await {
                Ok(true) => {}
                Ok(false) => {
                    self.stop(Withheld::Cancelled, Stop::Cancelled {}, streams);
                    break Ended::Answered;
                }
                Err(error) => {
                    self.stop(Withheld::Broken, Stop::Broken { why: error.to_string() }, streams);
                    match error {
                        RunError::Unconfirmed { source, .. } | RunError::NotTaken(source) => {
                            break Ended::AgentGone(source);
                        }
                        error => return Err(error),
                    }
                }
            }
        };
        match &ended {
            Ended::Answered => {}
            Ended::Detached => self.stop(Withheld::Left, Stop::Detached {}, streams),
            Ended::AgentGone(error) => {
                self.stop(Withheld::Broken, Stop::Broken { why: error.to_string() }, streams);
            }
            Ended::Cancelled => self.cancel(job, streams, clock()).await?,
        }
        Ok(ended)
    }

    /// Answers to earlier waves that came while nobody listened.
    async fn late_answers(&mut self) -> Result<(), ControlError> {
        let authority = self.work.replica.authority();
        let Self { client, rollout, watcher, .. } = self;
        match waiting::collect_all(client, rollout, &mut watcher.tally, authority).await {
            Ok(()) => Ok(()),
            Err(RunError::Control(error)) => Err(error),
            Err(other) => Err(ControlError::Malformed(other.to_string())),
        }
    }

    /// Why no other wave may begin, if too many have failed.
    fn over_budget(&self) -> Option<String> {
        let max = self.work.errors_max(self.rollout.roster().len())?;
        let errors = self.watcher.tally.errors(|host| self.up.contains(host));
        (errors > max).then(|| {
            let may = if max == 0 { "none".to_owned() } else { max.to_string() };
            format!(
                "stopped: {errors} failed, where {may} may: {} hosts are not started",
                self.rollout.rest().len()
            )
        })
    }

    /// Takes that no other wave is signed.
    fn stop(&mut self, why: Withheld, stop: Stop, streams: &mut Streams<'_>) {
        if self.rollout.rest().is_empty() {
            return;
        }
        self.watcher.tally.withhold(self.rollout.rest(), why);
        self.stopped = Some(stop);
        if let Err(error) = self.remember() {
            streams.say(&format!("warning: why it ended is not remembered here: {error}"));
        }
    }

    /// What was stopped by its budget is not to be begun later by hosts that are away. Where a host is at it,
    /// its order stands: what runs may end.
    async fn call_off(&mut self, job: &mut Job<'_>, streams: &mut Streams<'_>, now: Timestamp) {
        let tally = &self.watcher.tally;
        let stands = |host: &HostId, status| tally.seat(host).is_some_and(|seat| seat.status() == status);
        let idle = |order: &&Signed<Order>| {
            let hosts = order.body().roster.hosts();
            hosts.iter().any(|host| stands(host, Status::Silent))
                && !hosts.iter().any(|host| stands(host, Status::Running))
        };
        let orders: Vec<Signed<Order>> = self.rollout.orders().iter().filter(idle).cloned().collect();
        if orders.is_empty() {
            return;
        }
        let items = orders.iter().map(|order| ending::end(self.work.home, order, now)).collect();
        match ending::submit(&mut self.client, items).await {
            Ok(()) => orders.iter().for_each(|order| job.cancelled(order)),
            Err(error) => streams.say(&format!("warning: hosts that are away may still start it: {error}")),
        }
    }

    /// The next wave begins; false if somebody cancelled the job meanwhile.
    async fn next_wave(&mut self, streams: &mut Streams<'_>, now: Timestamp) -> Result<bool, RunError> {
        let order = {
            let job = self.rollout.id();
            let _step = job.map(|job| self.work.home.step(&job)).transpose()?;
            if job.is_some_and(|job| self.work.home.is_cancelled(&job)) {
                return Ok(false);
            }
            self.sign(now).await?.0
        };
        let (wave, waves) = (self.rollout.orders().len(), self.rollout.waves_total());
        self.submit(&order, vec![Item::bare(order.bytes())]).await?;
        if !self.work.request.is_quiet() {
            let hosts = view::counted(order.body().roster.hosts().len());
            streams.say(&format!("wave {wave} of {waves}: {hosts}"));
        }
        Ok(true)
    }

    /// Tells the hosts to stop, and waits for what they say to that.
    async fn cancel(
        &mut self,
        job: &mut Job<'_>,
        streams: &mut Streams<'_>,
        now: Timestamp,
    ) -> Result<(), RunError> {
        self.stop(Withheld::Cancelled, Stop::Cancelled {}, streams);
        let items = ending::sign(self.work.home, &self.rollout, &self.watcher.tally, now);
        streams.say("cancelling");
        ending::submit(&mut self.client, items).await?;
        for order in self.rollout.orders() {
            job.cancelled(order);
        }
        self.watcher.wait_cancelled(CANCELLED_WITHIN).await;
        Ok(())
    }

    /// Shows what came of it, and what the process exits with.
    async fn account(
        mut self,
        ended: Ended,
        job: &mut Job<'_>,
        streams: &mut Streams<'_>,
        mode: ExitMode,
    ) -> Result<u8, RunError> {
        let view = self.work.request.view;
        for order in self.rollout.orders() {
            job.expires(order);
        }
        let mut tally = self.watcher.tally.clone();
        let code = if matches!(ended, Ended::Detached) {
            None
        } else {
            job.seen = view::last_seen(self.work.socket, &tally).await;
            let (home, socket) = (self.work.home, self.work.socket);
            let showing = self.watcher.showing.take().map(|showing| showing.reader);
            let mut reader =
                showing.unwrap_or_else(|| Reader::sign(home, socket, self.rollout.orders(), job.now));
            reader.renew(home, job.now);
            // Long output is still to come, so a person may want out here too.
            tokio::select! {
                whole = job.show(streams, &mut tally, view, &reader) => Some(whole?),
                () = self.watcher.interrupt() => None,
            }
            .map(|whole| match (ended, tally.code(mode)) {
                (Ended::AgentGone(error), _) => {
                    streams.say(&format!("error: {error}"));
                    RunError::Control(error).code()
                }
                (Ended::Cancelled, _) => INTERRUPTED,
                // Not all that the command said reached its reader.
                (_, 0) if !whole => 1,
                (_, code) => code,
            })
        };
        let code = code.unwrap_or_else(|| {
            streams.say(&self.detached(job, &tally));
            INTERRUPTED
        });
        job.end(streams, &tally, view, code)?;
        Ok(code)
    }

    fn detached(&self, job: &Job<'_>, tally: &Tally) -> String {
        let counts = tally.counts();
        let (open, later) = (waiting::unanswered(tally), self.rollout.rest().len());
        let expires = self.rollout.orders().last().map(|order| order.body().expires).unwrap_or_default();
        let mut text =
            format!("detached: {} of {} hosts answered", counts.total() - open - later, counts.total());
        if open > 0 {
            text += &format!("; {open} may start it until {}", view::clock_time(expires, job.now));
        }
        if later > 0 {
            text += &format!("; {later} of later waves will not start it");
        }
        let id = job.id.short();
        text += &format!("\ncome back: muster job watch {id}");
        if later > 0 {
            text += &format!(" · muster job rerun {id} --failed");
        }
        text
    }
}
