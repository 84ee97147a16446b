//! Waiting for what comes of the orders of a job, and putting it in its accounting.

use std::{collections::BTreeSet, io, path::Path, time::Duration};

use futures::{
    StreamExt as _,
    stream::{BoxStream, SelectAll, unfold},
};

use tokio::time::{Instant, sleep_until};

use super::{
    Event, Note, RunError, Seat, Streams, Taken, Tally,
    event::Chunk,
    live::{Ledger, Live},
    output::Reader,
    report,
    rollout::Rollout,
    view::Job,
};
use crate::{
    authority::Authority,
    control::{Client, ControlError, Reply, Request, no_answer},
    identity::{EntryId, HostId, Signed},
    journal::{OperatorError, OperatorHome},
    replica::Order,
    time::Timestamp,
};

/// How long after the first Ctrl-C a second one cancels.
pub const CANCEL_WITHIN: Duration = Duration::from_secs(2);
/// How often whoever waits may be told how far it is.
const TICK_EVERY: Duration = Duration::from_secs(1);

/// How long the agent may take between two replies to a question that it answers from what it holds.
const REPLY_WITHIN: Duration = Duration::from_secs(30);
/// Replies to one question about a job that are read at most, for each host of its roster.
const REPLIES_A_HOST_MAX: usize = 8;
/// How long the agent may take to say who is up.
const UP_WITHIN: Duration = Duration::from_secs(5);
/// Orders of one job that are followed at a time, the last ones; the others are asked about now and then.
const FOLLOWED_MAX: usize = 4;

/// A person's wish, from outside of the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// Ctrl-C: the first leaves, the second within [`CANCEL_WITHIN`] cancels.
    Key,
    /// A hang-up, or the request to end: leaves.
    Leave,
}

/// Interrupts as they come. It does not matter if it ends.
pub type Interrupts = BoxStream<'static, Interrupt>;

/// The next interrupt; never, if there are no more.
pub(super) async fn next(interrupts: &mut Interrupts) -> Interrupt {
    match interrupts.next().await {
        Some(interrupt) => interrupt,
        None => std::future::pending().await,
    }
}

/// What an agent tells of an order.
pub(super) type Told = (EntryId, Result<Reply, ControlError>);

/// Orders that are followed, each on a connection of its own.
#[derive(Default)]
pub(super) struct Followed(SelectAll<BoxStream<'static, Told>>);

impl Followed {
    /// Follows another order.
    ///
    /// # Errors
    /// When the agent cannot be asked.
    pub(super) async fn add(&mut self, socket: &Path, order: EntryId) -> Result<(), ControlError> {
        if self.0.len() >= FOLLOWED_MAX {
            // The earliest waves: what they still say is asked for when the next begins.
            self.0.clear();
        }
        let mut client = Client::connect(socket).await?;
        client.send(&Request::Watch { order, follow: true }).await?;
        let replies = unfold(Some(client), move |client| async move {
            let mut client = client?;
            let reply = client.reply().await;
            let rest = reply.is_ok().then_some(client);
            Some(((order, reply), rest))
        });
        self.0.push(replies.boxed());
        Ok(())
    }

    /// Follows the last orders of a job that have hosts without an answer.
    ///
    /// # Errors
    /// When the agent cannot be asked.
    pub(super) async fn open(socket: &Path, rollout: &Rollout, tally: &Tally) -> Result<Self, ControlError> {
        let mut followed = Self::default();
        let open = rollout.signed().rev().filter(|(_, hosts)| is_open(hosts, tally)).take(FOLLOWED_MAX);
        for (order, _) in open {
            followed.add(socket, order.id()).await?;
        }
        Ok(followed)
    }

    /// The next reply; never, if nothing is followed. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Told {
        match self.0.next().await {
            Some(told) => told,
            None => std::future::pending().await,
        }
    }
}

/// Whether some of these hosts has not answered.
pub(super) fn is_open(hosts: &[HostId], tally: &Tally) -> bool {
    hosts.iter().any(|host| tally.seat(host).is_some_and(|seat| seat.verified().is_none()))
}

/// What changed in an accounting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Changed {
    /// Nothing that shows.
    Nothing,
    /// A host says that it works on it.
    Running(HostId),
    /// A host's result is known, or contradicted, or claimed.
    Settled(HostId),
}

/// Puts what an agent told in the accounting.
///
/// # Errors
/// When the agent has nothing more to tell, or it cannot be understood.
pub(super) fn take(
    (order, reply): Told,
    tally: &mut Tally,
    authority: &Authority,
    elapsed: Duration,
) -> Result<Changed, ControlError> {
    match reply? {
        Reply::Report { report } => {
            match tally.report(report.host, report::verify(&report, order, authority)) {
                Taken::Settled | Taken::Conflict | Taken::Claimed => Ok(Changed::Settled(report.host)),
                Taken::Known | Taken::Stray => Ok(Changed::Nothing),
            }
        }
        Reply::Running { order: of, host } if of == order => {
            tally.running(host, elapsed);
            Ok(Changed::Running(host))
        }
        Reply::Running { .. } => Ok(Changed::Nothing),
        Reply::End {} => Err(ControlError::Gone(io::ErrorKind::UnexpectedEof.into())),
        other => Err(no_answer(&other)),
    }
}

/// Asks once what is held of an order, and puts it in the accounting.
///
/// # Errors
/// When the agent cannot be asked, or tells more than there can be.
pub(super) async fn collect(
    client: &mut Client,
    order: &Signed<Order>,
    tally: &mut Tally,
    authority: &Authority,
) -> Result<(), RunError> {
    let (id, hosts) = (order.id(), order.body().roster.count());
    client.send(&Request::Watch { order: id, follow: false }).await?;
    for _ in 0..hosts.saturating_mul(REPLIES_A_HOST_MAX).saturating_add(REPLIES_A_HOST_MAX) {
        match client.reply_within(REPLY_WITHIN).await? {
            // An agent that knows no such order has nothing to add to what is remembered.
            Reply::End {} | Reply::Error { .. } => return Ok(()),
            reply => {
                take((id, Ok(reply)), tally, authority, Duration::ZERO)?;
            }
        }
    }
    Err(ControlError::Malformed("more answers than there are hosts".to_owned()).into())
}

/// Asks once about every order of a job that has hosts without an answer.
///
/// # Errors
/// As [`collect`].
pub(super) async fn collect_all(
    client: &mut Client,
    rollout: &Rollout,
    tally: &mut Tally,
    authority: &Authority,
) -> Result<(), RunError> {
    for (order, hosts) in rollout.signed() {
        if is_open(hosts, tally) {
            collect(client, order, tally, authority).await?;
        }
    }
    Ok(())
}

/// The hosts that are up, as the agent sees them; nobody if it does not say. It decides nothing but what counts
/// against an error budget.
pub(super) async fn up(client: &mut Client) -> BTreeSet<HostId> {
    match client.ask(&Request::Hosts {}, UP_WITHIN).await {
        Ok(Reply::Hosts { hosts }) => hosts
            .into_iter()
            .filter(|row| matches!(row.state.as_str(), "up" | "self"))
            .map(|row| row.host)
            .collect(),
        _ => BTreeSet::new(),
    }
}

/// Hosts that have been asked and have not answered.
pub(super) fn unanswered(tally: &Tally) -> usize {
    tally.seats().filter(|(_, seat)| is_unanswered(seat)).count()
}

fn is_unanswered(seat: &Seat) -> bool {
    seat.verified().is_none() && seat.withheld().is_none()
}

/// How waiting ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// Nobody is worth waiting for any longer.
    Answered,
    /// The person wanted out.
    Detached,
    /// The person wanted the hosts to stop.
    Cancelled,
    /// Nobody is left who could say anything.
    AgentGone(ControlError),
}

/// Waits, with the accounting that it fills.
pub(super) struct Watcher<'a> {
    authority: &'a Authority,
    /// Where the hosts stand.
    pub(super) tally: Tally,
    /// What is listened to.
    pub(super) followed: Followed,
    interrupts: Interrupts,
    start: Instant,
    /// Until when a second Ctrl-C cancels, after the first.
    leaving: Option<Instant>,
    next_tick: Duration,
    /// Where output comes from, where it is shown.
    pub(super) showing: Option<Showing>,
}

/// Where output comes from.
pub(super) struct Showing {
    /// Reads what is kept on the hosts.
    pub(super) reader: Reader,
    /// What is written now, if that is shown, and how far it was heard.
    pub(super) live: Option<(Live, Ledger)>,
}

impl Showing {
    /// Makes ready to read what `orders` left on hosts, and to listen to what hosts write now, if `live`. Without the
    /// right to read, what came of them is shown all the same.
    pub(super) async fn of<'a>(
        orders: impl IntoIterator<Item = (&'a Signed<Order>, &'a [HostId])>,
        live: bool,
        home: &OperatorHome,
        socket: &Path,
        now: Timestamp,
        streams: &mut Streams<'_>,
    ) -> Self {
        let live = live.then(|| (Live::default(), Ledger::default()));
        let mut showing = Self { reader: Reader::new(socket), live };
        for (order, hosts) in orders {
            if let Err(error) = showing.add(home, socket, order, hosts, now).await {
                streams.say(&format!("warning: its output cannot be read: {error}"));
            }
        }
        showing
    }

    /// Listens to an order and its hosts. That there is nothing to be heard is no error: all is shown, later.
    ///
    /// # Errors
    /// When the key did not sign for the right to read.
    pub(super) async fn add(
        &mut self,
        home: &OperatorHome,
        socket: &Path,
        order: &Signed<Order>,
        hosts: &[HostId],
        now: Timestamp,
    ) -> Result<(), OperatorError> {
        let read = self.reader.add(home, order, hosts, now)?;
        if let Some((live, _)) = &mut self.live {
            let _shown_later = live.add(socket, read, order.id()).await;
        }
        Ok(())
    }
}

/// The next piece of live output; never, if none is shown.
async fn heard(showing: &mut Option<Showing>) -> Option<Chunk> {
    match showing.as_mut().and_then(|showing| showing.live.as_mut()) {
        Some((live, ledger)) => ledger.hear(live.next().await),
        None => std::future::pending().await,
    }
}

/// What ended a sleep. Each lives for one turn of a loop.
enum Woken {
    Interrupt(Interrupt),
    Told(Told),
    Heard(Option<Chunk>),
    Time,
}

impl<'a> Watcher<'a> {
    /// Nobody is listened to yet.
    pub(super) fn new(authority: &'a Authority, tally: Tally, interrupts: Interrupts) -> Self {
        Self {
            authority,
            tally,
            followed: Followed::default(),
            interrupts,
            start: Instant::now(),
            leaving: None,
            next_tick: TICK_EVERY,
            showing: None,
        }
    }

    /// How long it is since the start.
    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn show(
        &mut self,
        changed: Changed,
        job: &mut Job<'_>,
        streams: &mut Streams<'_>,
    ) -> Result<(), RunError> {
        let elapsed = self.elapsed();
        match changed {
            Changed::Nothing => Ok(()),
            Changed::Running(host) => job.happens(streams, &Event::Running { host }, elapsed),
            Changed::Settled(host) => {
                job.settled(streams, &mut self.tally, host, elapsed)?;
                if let Some(showing) = &self.showing {
                    job.fetch_ahead(streams, &self.tally, host, &showing.reader);
                }
                Ok(())
            }
        }
    }

    fn hear(
        &mut self,
        chunk: Option<Chunk>,
        job: &mut Job<'_>,
        streams: &mut Streams<'_>,
    ) -> Result<(), RunError> {
        // Nobody else is heard.
        let chunk = chunk.filter(|chunk| self.tally.seat(&chunk.host).is_some());
        chunk.map_or(Ok(()), |chunk| job.happens(streams, &Event::Chunk(chunk), self.elapsed()))
    }

    fn take(&mut self, told: Told) -> Result<Changed, ControlError> {
        let elapsed = self.elapsed();
        take(told, &mut self.tally, self.authority, elapsed)
    }

    /// The next interrupt.
    pub(super) async fn interrupt(&mut self) {
        next(&mut self.interrupts).await;
    }

    /// Takes answers until `until` says that nobody is worth waiting for at the time that it is given, or a
    /// person has had enough.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub(super) async fn wait(
        &mut self,
        job: &mut Job<'_>,
        streams: &mut Streams<'_>,
        until: impl Fn(&Tally, Duration) -> Option<Duration>,
    ) -> Result<Ended, RunError> {
        let ended = loop {
            let elapsed = self.elapsed();
            if self.leaving.is_some_and(|leaving| leaving <= Instant::now()) {
                break Ended::Detached;
            }
            let Some(until) = until(&self.tally, elapsed) else {
                break if self.leaving.is_some() { Ended::Detached } else { Ended::Answered };
            };
            if elapsed >= self.next_tick {
                self.next_tick = elapsed.saturating_add(TICK_EVERY);
                job.happens(streams, &Event::Tick, elapsed)?;
            }
            let wake = self.start + until.min(self.next_tick);
            let wake = self.leaving.map_or(wake, |leaving| leaving.min(wake));
            let woken = tokio::select! {
                interrupt = next(&mut self.interrupts) => Woken::Interrupt(interrupt),
                told = self.followed.next() => Woken::Told(told),
                chunk = heard(&mut self.showing) => Woken::Heard(chunk),
                () = sleep_until(wake) => Woken::Time,
            };
            match woken {
                Woken::Time => {}
                Woken::Interrupt(Interrupt::Leave) => break Ended::Detached,
                Woken::Interrupt(Interrupt::Key) if self.leaving.is_some() => break Ended::Cancelled,
                Woken::Interrupt(Interrupt::Key) => {
                    self.leaving = Some(Instant::now() + CANCEL_WITHIN);
                    let text = "leaving: Ctrl-C again within 2 s cancels it on the hosts";
                    job.happens(streams, &Event::Note(Note::warning(text)), elapsed)?;
                }
                Woken::Heard(chunk) => self.hear(chunk, job, streams)?,
                Woken::Told(told) => match self.take(told) {
                    Ok(changed) => self.show(changed, job, streams)?,
                    Err(error) => break Ended::AgentGone(error),
                },
            }
        };
        streams.progress("");
        Ok(ended)
    }

    /// Waits at most `within` for those that were told to stop. Any interrupt ends it.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub(super) async fn wait_cancelled(
        &mut self,
        job: &mut Job<'_>,
        streams: &mut Streams<'_>,
        within: Duration,
    ) -> Result<(), RunError> {
        let until = Instant::now() + within;
        while unanswered(&self.tally) > 0 {
            let woken = tokio::select! {
                interrupt = next(&mut self.interrupts) => Woken::Interrupt(interrupt),
                told = self.followed.next() => Woken::Told(told),
                chunk = heard(&mut self.showing) => Woken::Heard(chunk),
                () = sleep_until(until) => Woken::Time,
            };
            match woken {
                Woken::Heard(chunk) => self.hear(chunk, job, streams)?,
                Woken::Told(told) => match self.take(told) {
                    Ok(changed) => self.show(changed, job, streams)?,
                    Err(_) => break,
                },
                Woken::Interrupt(_) | Woken::Time => break,
            }
        }
        Ok(())
    }
}
