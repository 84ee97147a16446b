//! A job under way: wave after wave is signed, handed over and waited for, and all of it accounted for.

use std::{collections::BTreeSet, time::Duration};

use super::{
    Event, ExitMode, Note, Patience, RunError, Status, Streams, Tally, Withheld,
    assent::Assent,
    ending, listing,
    output::Reader,
    rollout::Rollout,
    sealing::Opening,
    shipment,
    verb::{CANCELLED_WITHIN, INTERRUPTED, SUBMIT_WITHIN, Work},
    view::{self, Job},
    waiting::{self, Ended, Followed, Interrupts, Showing, Watcher},
};
use crate::{
    authority::Approval,
    control::{Client, ControlError, Reply, Request},
    identity::{FleetId, HostId, Signed},
    journal::{JobLock, Stop},
    replica::{Item, Order},
    time::Timestamp,
};

/// How often it is looked whether a paused job goes on.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The exit codes of silence, and of silence for want of approval.
const SILENT: u8 = 7;
const AWAITS_APPROVAL: u8 = 9;
/// How long the agent may take to say what was said on an order.
const SAID_WITHIN: Duration = Duration::from_secs(5);

/// What the agent holds of what was said on an order. Where it does not answer, nothing.
async fn approvals_of(client: &mut Client, order: &Signed<Order>, fleet: FleetId) -> Vec<Signed<Approval>> {
    let mut said = Vec::new();
    let mut next = client.send(&Request::Orders {}).await.is_ok();
    while next {
        let Ok(Reply::Items { items, more }) = client.reply_within(SAID_WITHIN).await else { return said };
        let approvals = items.iter().filter_map(|item| Signed::<Approval>::verify(&item.entry.0, fleet).ok());
        said.extend(approvals.filter(|approval| approval.body().order == order.id()));
        next = more;
    }
    said
}

/// A job under way.
pub(super) struct Course<'a> {
    work: &'a Work<'a>,
    rollout: Rollout,
    watcher: Watcher<'a>,
    client: Client,
    /// Who was up when the waves began, as far as there is a budget that asks.
    up: BTreeSet<HostId>,
    /// Why no other wave is signed.
    stopped: Option<Stop>,
    /// Says to others that this process paces it, for as long as it lives.
    pacing: Option<JobLock>,
}

impl<'a> Course<'a> {
    /// Nothing is signed yet.
    pub(super) fn new(work: &'a Work<'a>, rollout: Rollout, client: Client, interrupts: Interrupts) -> Self {
        let mut watcher = Watcher::new(work.replica.authority(), rollout.tally(), interrupts);
        if let Some(sealing) = work.draft.sealing() {
            let opening = Opening::With(sealing.job.reader.clone(), work.replica.fleet());
            watcher.tally.read_by(opening);
        }
        Self { work, rollout, watcher, client, up: BTreeSet::new(), stopped: None, pacing: None }
    }

    /// Takes up a job whose later waves nobody signs any more; `tally` is what came of the earlier ones, `pacing`
    /// keeps others from doing the same.
    ///
    /// # Errors
    /// When the agent cannot be asked.
    pub(super) async fn taken_up(
        work: &'a Work<'a>,
        rollout: Rollout,
        tally: Tally,
        pacing: JobLock,
        client: Client,
        interrupts: Interrupts,
    ) -> Result<Self, RunError> {
        let mut course = Self::new(work, rollout, client, interrupts);
        course.watcher.tally = tally;
        course.watcher.followed = Followed::open(work.socket, &course.rollout, &course.watcher.tally).await?;
        course.pacing = Some(pacing);
        shipment::ship(&mut course.client, work.request, &work.draft).await?;
        // Whoever looks sees from now on that it goes on.
        course.remember()?;
        Ok(course)
    }

    /// Shows what came of it until now.
    pub(super) fn known(&mut self, job: &mut Job<'_>, streams: &mut Streams<'_>) -> Result<(), RunError> {
        job.known(streams, &mut self.watcher.tally)
    }

    /// Every host, in order of ids.
    pub(super) fn roster(&self) -> &[HostId] {
        self.rollout.roster()
    }

    /// Says whose approval it waits for, if it needs any.
    pub(super) fn says_that_it_waits(
        &self,
        job: &mut Job<'_>,
        streams: &mut Streams<'_>,
    ) -> Result<(), RunError> {
        let Some(assent) = &job.assent else { return Ok(()) };
        let (short, of) = (job.id.short(), assent.of_whom());
        let text = format!("waits for approval by {of}\nthey see it: muster approval show {short}");
        self.note(Note::remark(text), job, streams)
    }

    /// Whether it waits for approval still, by what the agent holds now.
    async fn waits_still(&mut self, job: &mut Job<'_>) -> bool {
        if job.assent.is_none() {
            return false;
        }
        let said = approvals_of(&mut self.client, job.order, self.work.replica.fleet()).await;
        job.assent = Assent::of(self.work.replica, job.order, self.rollout.roster(), &said, job.now);
        job.assent.as_ref().is_some_and(|assent| assent.state() == "waiting")
    }

    /// Remembers the results that are verified.
    pub(super) fn keep(&self, streams: &mut Streams<'_>) {
        let Some(id) = self.rollout.id() else { return };
        if let Err(error) = self.work.home.keep_reports(&id, &self.watcher.tally.reports()) {
            streams.say(&format!("warning: the results are not remembered here: {error}"));
        }
    }

    /// Signs the first wave and hands it over.
    pub(super) async fn first(&mut self, now: Timestamp) -> Result<Signed<Order>, RunError> {
        let work = self.work;
        shipment::ship(&mut self.client, work.request, &work.draft).await?;
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
            self.pacing = Some(work.home.pace(&job)?);
        }
        self.rollout.push(order.clone());
        work.home.keep_order(&order.id(), order.bytes())?;
        self.remember()?;
        self.watcher.tally.ask(&hosts, self.watcher.elapsed());
        Ok((order, hosts))
    }

    /// Remembers how far the waves are, if there are several; and whom an order is for that does not say so by
    /// itself, since the list that it marks hosts of is gone one day.
    fn remember(&self) -> Result<(), RunError> {
        let first = self.rollout.orders().first();
        let is_alone = self.rollout.waves_total() == 1
            && first.is_some_and(|order| order.body().roster.list().is_none());
        if let Some(job) = self.rollout.id().filter(|_| !is_alone) {
            let errors_max = self.work.errors_max(self.rollout.roster().len());
            self.work.home.keep_waves(&job, &self.rollout.waves(errors_max, self.stopped.clone()))?;
        }
        Ok(())
    }

    /// Hands an order over, and follows it. It is that of the last wave.
    async fn submit(&mut self, order: &Signed<Order>, items: Vec<Item>) -> Result<(), RunError> {
        let id = order.id();
        if let Some(showing) = &mut self.watcher.showing {
            let hosts = self.rollout.signed().next_back().map_or(&[][..], |(_, hosts)| hosts);
            showing.add(self.work.home, self.work.socket, order, hosts, order.body().issued).await?;
        }
        if let Some(list) = self.work.draft.list().filter(|list| order.body().roster.marks(list)) {
            listing::hand_over(&mut self.client, list).await.map_err(RunError::NotTaken)?;
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

    /// Makes ready to show output; as it is written, if `live`. Soon enough when the first order was handed over just
    /// now: hosts say that they work on it only once that takes a while.
    pub(super) async fn listen(&mut self, live: bool, now: Timestamp, streams: &mut Streams<'_>) {
        let (home, socket) = (self.work.home, self.work.socket);
        self.watcher.showing =
            Some(Showing::of(self.rollout.signed(), live, home, socket, now, streams).await);
    }

    /// Wave after wave, until all have ended or no other may begin.
    pub(super) async fn run(
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
                self.note(Note::warning(text), job, streams)?;
                self.call_off(job, streams, clock()).await;
                break Ended::Answered;
            }
            if self.is_paused() {
                match self.hold_back(job, streams).await? {
                    Ended::Answered => continue,
                    ended => break ended,
                }
            }
            match self.next_wave(job, streams, clock()).await {
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

    /// Whether the next wave is to be held back. What was cancelled is not: that is found when it is due.
    fn is_paused(&self) -> bool {
        let home = self.work.home;
        self.rollout.id().is_some_and(|id| home.is_paused(&id) && !home.is_cancelled(&id))
    }

    /// Waits until the job is resumed, or cancelled, or somebody has had enough.
    async fn hold_back(&mut self, job: &mut Job<'_>, streams: &mut Streams<'_>) -> Result<Ended, RunError> {
        let (held, id) = (view::counted(self.rollout.rest().len()), job.id.short());
        let text = format!("paused: {held} of later waves are held back; go on: muster job resume {id}");
        self.note(Note::warning(text), job, streams)?;
        while self.is_paused() {
            let until = self.watcher.elapsed().saturating_add(LOOK_EVERY);
            let look = |_: &Tally, elapsed| (elapsed < until).then_some(until);
            match self.watcher.wait(job, streams, look).await? {
                Ended::Answered => {}
                ended => return Ok(ended),
            }
        }
        self.note(Note::remark("goes on"), job, streams)?;
        Ok(Ended::Answered)
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

    fn note(&self, note: Note, job: &mut Job<'_>, streams: &mut Streams<'_>) -> Result<(), RunError> {
        job.happens(streams, &Event::Note(note), self.watcher.elapsed())
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
        let idle = |(_, hosts): &(&Signed<Order>, &[HostId])| {
            hosts.iter().any(|host| stands(host, Status::Silent))
                && !hosts.iter().any(|host| stands(host, Status::Running))
        };
        let orders: Vec<(&Signed<Order>, &[HostId])> = self.rollout.signed().filter(idle).collect();
        if orders.is_empty() {
            return;
        }
        let items =
            orders.iter().map(|(order, _)| ending::end(self.work.home, order, now)).collect::<Result<_, _>>();
        let submitted = match items {
            Ok(items) => ending::submit(&mut self.client, items).await,
            Err(error) => Err(error.into()),
        };
        match submitted {
            Ok(()) => orders.iter().for_each(|(order, hosts)| job.cancelled(order, hosts)),
            Err(error) => streams.say(&format!("warning: hosts that are away may still start it: {error}")),
        }
    }

    /// The next wave begins; false if somebody cancelled the job meanwhile.
    async fn next_wave(
        &mut self,
        job: &mut Job<'_>,
        streams: &mut Streams<'_>,
        now: Timestamp,
    ) -> Result<bool, RunError> {
        let order = {
            let id = self.rollout.id();
            let _step = id.map(|id| self.work.home.step(&id)).transpose()?;
            if id.is_some_and(|id| self.work.home.is_cancelled(&id)) {
                return Ok(false);
            }
            self.sign(now).await?.0
        };
        let (wave, waves) = (self.rollout.orders().len(), self.rollout.waves_total());
        self.submit(&order, vec![Item::bare(order.bytes())]).await?;
        let hosts = view::counted(order.body().roster.count());
        self.note(Note::remark(format!("wave {wave} of {waves}: {hosts}")), job, streams)?;
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
        let items = ending::sign(self.work.home, &self.rollout, &self.watcher.tally, now)?;
        self.note(Note::warning("cancelling"), job, streams)?;
        ending::submit(&mut self.client, items).await?;
        for (order, hosts) in self.rollout.signed() {
            job.cancelled(order, hosts);
        }
        self.watcher.wait_cancelled(job, streams, CANCELLED_WITHIN).await
    }

    /// Shows what came of it, and what the process exits with.
    pub(super) async fn account(
        mut self,
        ended: Ended,
        job: &mut Job<'_>,
        streams: &mut Streams<'_>,
        mode: ExitMode,
    ) -> Result<u8, RunError> {
        for (order, hosts) in self.rollout.signed() {
            job.expires(order, hosts);
        }
        let mut tally = self.watcher.tally.clone();
        let code = if matches!(ended, Ended::Detached) {
            None
        } else {
            job.seen = view::last_seen(self.work.socket, &tally).await;
            let open = tally.counts().of(Status::Silent) > 0;
            let waits = open && self.waits_still(job).await;
            let (home, socket) = (self.work.home, self.work.socket);
            let showing = self.watcher.showing.take().map(|showing| showing.reader);
            let ready = match showing {
                Some(mut reader) => reader.renew(home, job.now).map(|()| reader),
                None => Reader::sign(home, socket, self.rollout.signed(), job.now),
            };
            let reader = ready.unwrap_or_else(|error| {
                streams.say(&format!("warning: its output cannot be read: {error}"));
                Reader::new(socket)
            });
            // Long output is still to come, so a person may want out here too.
            tokio::select! {
                whole = job.show(streams, &mut tally, &reader) => Some(whole?),
                () = self.watcher.interrupt() => None,
            }
            .map(|whole| match (ended, tally.code(mode)) {
                (Ended::AgentGone(error), _) => {
                    streams.say(&format!("error: {error}"));
                    RunError::Control(error).code()
                }
                (Ended::Cancelled, _) => INTERRUPTED,
                (_, SILENT) if waits => AWAITS_APPROVAL,
                // Not all that the command said reached its reader.
                (_, 0) if !whole => 1,
                (_, code) => code,
            })
        };
        let code = code.unwrap_or_else(|| {
            streams.say(&self.detached(job, &tally));
            INTERRUPTED
        });
        job.end(streams, &tally, code)?;
        Ok(code)
    }

    fn detached(&self, job: &Job<'_>, tally: &Tally) -> String {
        let (counts, id) = (tally.counts(), job.id.short());
        let (open, later) = (waiting::unanswered(tally), self.rollout.rest().len());
        let running = counts.of(Status::Running);
        let expires = self.rollout.orders().last().map(|order| order.body().expires).unwrap_or_default();
        let (total, answered) = (counts.total(), counts.total() - open - later);
        let mut parts = vec![format!("detached: {answered} of {total} hosts answered")];
        if running > 0 {
            parts.push(format!("{running} run it"));
        }
        if open > running {
            let until = view::clock_time(expires, job.now);
            parts.push(format!("{} may start it until {until}", open - running));
        }
        let mut next = vec![format!("muster job watch {id}")];
        if later > 0 {
            parts.push(format!("{later} of later waves do not start it"));
            next.push(format!("muster job resume {id}"));
        }
        format!("{}\ncome back: {}", parts.join("; "), next.join(" · "))
    }
}
