//! Whether two hosts hold the same, and what is done if not.
//!
//! Both say what they hold when they meet. Who knows how far it read the other's feed is told what came since;
//! else, where the roots differ, each sends tips of the sections that do: places of heads alone where both know
//! the same members, rows else, whole rows when the shorter forms found nothing though the roots differ. One
//! exchange is under way at a time, so that a new host is not filled by all its neighbours at once.

use std::time::Duration;

use super::{
    Cursor, Effect, Machine, Message, Part, SYNC_VERSION, Sum,
    account::Cost,
    feed::{in_messages, told},
    neighbour::Neighbour,
    rows::{HeadRow, ROWS_MAX, prefix},
    wants::Key,
};
use crate::{
    identity::HostId,
    replica::{HeadTips, Lacked, Replica, Sections, Tip, TipForm, first_hour},
    time::Timestamp,
};

/// Bytes of entries sent in answer to one message of tips; the rest follows the next one.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Heads that are more than this are named in an answer to tips and not sent: they are asked for, once, however
/// many neighbours are met at a time.
const HEADS_AT_ONCE_BYTES_MAX: usize = 2 * 1024;
/// Who was sent tips may answer for so long before somebody else is.
const EXCHANGE_WITHIN: Duration = Duration::from_secs(3);
/// What is on its way holds an exchange up for so long at most, or who promises much could put it off.
const HELD_UP_MAX: Duration = Duration::from_secs(20);
/// Roots that differ while both feeds stand still, so often, are no coincidence.
const DIFFER_AT_REST: u32 = 2;
/// Nor are roots that differ so often in a row, whatever the feeds do.
const DIFFER_AT_ALL: u32 = 6;
/// Two ends that exchange at the same intervals may be so far apart.
const SLACK: Duration = Duration::from_secs(2);

/// What is held, as it counts at this hour.
fn sum(hour: u64, replica: &Replica) -> Sum {
    Sum { hour, roots: replica.roots(hour) }
}

/// Whether what they said they hold is what is held here; nothing if only they can tell, since their hour is
/// over here.
fn is_same(theirs: &Sum, ours: &Sum, replica: &Replica) -> Option<bool> {
    match theirs.hour.cmp(&ours.hour) {
        std::cmp::Ordering::Less => None,
        std::cmp::Ordering::Equal => Some(theirs.roots == ours.roots),
        std::cmp::Ordering::Greater => Some(theirs.roots == replica.roots(theirs.hour)),
    }
}

fn sections_of(tip: &Tip) -> Sections {
    Sections {
        members: tip.members.is_some(),
        set: tip.set.is_some(),
        ops: tip.ops.is_some(),
        heads: tip.heads.is_some(),
    }
}

fn form_of(tip: &Tip) -> TipForm {
    match tip.heads {
        Some(HeadTips::Full { .. }) => TipForm::Full,
        Some(HeadTips::Rows { .. }) => TipForm::Rows,
        Some(HeadTips::Dense { .. }) | None => TipForm::Dense,
    }
}

impl Machine {
    pub(super) fn on_up(&mut self, peer: HostId, now: Timestamp, replica: &Replica) -> Effect {
        // A new stream in the place of one that was not seen to end.
        self.neighbour_is_gone(peer);
        let mut neighbour = Neighbour::new(now);
        let (here, sum) = (Cursor { feed: self.feed, lsn: replica.lsn() }, sum(first_hour(now), replica));
        (neighbour.told, neighbour.said) = (here.lsn, Some(sum));
        self.neighbours.insert(peer, neighbour);
        let since = self.cursors.get(&peer);
        Effect::Send(peer, Message::Hello { version: SYNC_VERSION, here, since, sum })
    }

    pub(super) fn neighbour_is_gone(&mut self, peer: HostId) {
        let floor = self.wants.down(&peer);
        self.parked.retain(|parked| parked.peer != peer);
        if let Some(neighbour) = self.neighbours.remove(&peer)
            && let Some(read) = neighbour.read
        {
            let lsn = floor.map_or(read, |floor| floor.min(read));
            self.cursors.put(peer, Cursor { feed: neighbour.feed, lsn });
        }
    }

    #[expect(clippy::too_many_arguments, reason = "a message's fields")]
    pub(super) fn on_hello(
        &mut self,
        peer: HostId,
        version: u32,
        here: Cursor,
        since: Option<Cursor>,
        theirs: Sum,
        now: Timestamp,
        replica: &Replica,
    ) -> Result<Vec<Effect>, &'static str> {
        if version != SYNC_VERSION {
            return Err("it speaks another version");
        }
        let known = self.cursors.get(&peer).filter(|cursor| cursor.feed == here.feed);
        let feed = self.feed;
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return Ok(Vec::new()) };
        neighbour.greeted = true;
        neighbour.feed = here.feed;
        // Both ends compare the same two: what was said here then, and what they said.
        let said = neighbour.said.take().unwrap_or_else(|| sum(first_hour(now), replica));
        let same = is_same(&theirs, &said, replica);
        let equal = same == Some(true);
        let knows = since.filter(|since| since.feed == feed && since.lsn <= neighbour.told);
        if let Some(since) = knows {
            neighbour.told = since.lsn;
        }
        neighbour.knows = knows.is_some() || equal;
        neighbour.read = known.map(|cursor| cursor.lsn.min(here.lsn)).or_else(|| equal.then_some(here.lsn));
        if equal {
            neighbour.read = Some(here.lsn);
        }
        neighbour.sum = Some(theirs);
        neighbour.due = same == Some(false) && (known.is_none() || knows.is_none());
        let mut effects = self.tell(peer, replica);
        effects.extend(self.exchange(now, replica));
        Ok(effects)
    }

    /// Makes a ping.
    pub(super) fn ping(
        &mut self,
        peer: HostId,
        hour: u64,
        root: [u8; 16],
        now: Timestamp,
        replica: &Replica,
    ) -> Option<Effect> {
        let neighbour = self.neighbours.get_mut(&peer)?;
        self.presence.asked(peer);
        self.wants.pinged(&peer);
        neighbour.pinged = now;
        neighbour.pinged_at = replica.lsn();
        Some(Effect::Send(peer, Message::Ping { nonce: nonce(now), lsn: neighbour.claim(), hour, root }))
    }

    #[expect(clippy::too_many_arguments, reason = "a message's fields")]
    pub(super) fn on_ping(
        &mut self,
        peer: HostId,
        nonce: u32,
        lsn: u64,
        hour: u64,
        root: [u8; 16],
        now: Timestamp,
        replica: &Replica,
    ) -> Vec<Effect> {
        if self.accounts.take(peer, Cost::Upkeep, 1, now) == 0 {
            self.accounts.throttle(1);
            return self.bear(peer, 1, now).into_iter().collect();
        }
        let ours = sum(hour.max(first_hour(now)), replica);
        let equal = ours.hour == hour && ours.roots.root() == root;
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return Vec::new() };
        neighbour.reads_to(lsn);
        if equal {
            (neighbour.told, neighbour.knows) = (replica.lsn(), true);
            neighbour.agrees();
        }
        let pong = Message::Pong { nonce, lsn: neighbour.claim(), sum: (!equal).then_some(ours) };
        let mut effects = vec![Effect::Send(peer, pong)];
        if !equal {
            effects.extend(self.tell(peer, replica));
        }
        effects
    }

    pub(super) fn on_pong(
        &mut self,
        peer: HostId,
        answers: u32,
        lsn: u64,
        theirs: Option<Sum>,
        now: Timestamp,
        replica: &Replica,
    ) -> Vec<Effect> {
        if self.accounts.take(peer, Cost::Upkeep, 1, now) == 0 {
            self.accounts.throttle(1);
            return self.bear(peer, 1, now).into_iter().collect();
        }
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return Vec::new() };
        if answers != nonce(neighbour.pinged) {
            return Vec::new();
        }
        neighbour.rtt = Some(now.since(neighbour.pinged));
        neighbour.reads_to(lsn);
        if self.wants.ponged(&peer) {
            self.unanswered(peer, now);
        }
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return Vec::new() };
        let Some(theirs) = theirs else {
            // They held what was held here then.
            (neighbour.told, neighbour.knows) = (neighbour.told.max(neighbour.pinged_at), true);
            neighbour.agrees();
            return Vec::new();
        };
        neighbour.sum = Some(theirs);
        if is_same(&theirs, &sum(first_hour(now), replica), replica) == Some(true) {
            neighbour.agrees();
            return Vec::new();
        }
        let feeds = Some((replica.lsn(), lsn));
        neighbour.differed += 1;
        let at_rest = neighbour.compared == feeds && neighbour.differed >= DIFFER_AT_REST;
        neighbour.compared = feeds;
        if at_rest || neighbour.differed >= DIFFER_AT_ALL {
            neighbour.due = true;
        }
        let mut effects = self.tell(peer, replica);
        effects.extend(self.exchange(now, replica));
        effects
    }

    /// Sends the next neighbour that holds something else the tips, when nobody is at it and nothing is on
    /// its way.
    pub(super) fn exchange(&mut self, now: Timestamp, replica: &Replica) -> Option<Effect> {
        if !self.neighbours.values().any(|neighbour| neighbour.due) {
            self.held_up = None;
            return None;
        }
        let since = (*self.held_up.get_or_insert(now)).min(now);
        if self.is_exchanging(now) && now.since(since) < HELD_UP_MAX {
            return None;
        }
        let mut found = None;
        for (peer, neighbour) in &mut self.neighbours {
            if !std::mem::take(&mut neighbour.due) {
                continue;
            }
            let saw = neighbour.saw.take();
            let known = neighbour.sum.map(|theirs| {
                let sections = Sections::differing(&replica.roots(theirs.hour), &theirs.roots);
                (sections, if sections.members { TipForm::Rows } else { TipForm::Dense })
            });
            let Some((sections, form)) = saw.or(known) else { continue };
            // Not both ends' clocks count the same second.
            let slack = if saw.is_some() { SLACK } else { Duration::ZERO };
            if !sections.is_empty() && neighbour.exchange.may(slack, now) {
                let form = if neighbour.exchange.full { TipForm::Full } else { form };
                found = Some((*peer, sections, form));
                break;
            }
        }
        let (peer, sections, form) = found?;
        self.held_up = None;
        Some(Effect::Send(peer, Message::Tips { tip: replica.tip(&sections, form, now) }))
    }

    fn is_exchanging(&self, now: Timestamp) -> bool {
        let mut exchanges = self.neighbours.values().map(|neighbour| &neighbour.exchange);
        !self.wants.is_empty() || exchanges.any(|exchange| exchange.is_under_way(EXCHANGE_WITHIN, now))
    }

    pub(super) fn on_tips(
        &mut self,
        peer: HostId,
        tip: &Tip,
        now: Timestamp,
        replica: &Replica,
    ) -> Vec<Effect> {
        if !self.accounts.any(peer, Cost::Served, now) || self.accounts.take(peer, Cost::Tips, 1, now) == 0 {
            self.accounts.throttle(1);
            return self.bear(peer, 1, now).into_iter().collect();
        }
        // What is new here may be of other sections.
        let mut effects = self.tell(peer, replica);
        let mut lacking = replica.lacking(tip, now);
        let mut rows = Vec::new();
        if !matches!(tip.heads, Some(HeadTips::Full { .. })) {
            rows = heads_by_name(&mut lacking, replica);
        }
        // Only what goes into the answer is copied: writers wait meanwhile.
        let (mut items, mut bytes) = (Vec::new(), 0);
        let fits = lacking.iter().take_while(|lacked| {
            let weight = lacked.weight(replica);
            let fits = bytes + weight <= ANSWER_BYTES_MAX;
            bytes += if fits { weight } else { 0 };
            fits
        });
        items.extend(fits.map(|lacked| lacked.item(replica)));
        let whole = items.len() == lacking.len();
        self.accounts.take(peer, Cost::Served, (bytes / 1024) as u64, now);
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return effects };
        for row in &rows {
            neighbour.note(Key::Head(row.host), (row.epoch, row.sequence));
        }
        // They may see alone that there is a difference, where their clock is behind.
        neighbour.saw = Some((sections_of(tip), form_of(tip)));
        neighbour.due = true;
        neighbour.knows |= whole;
        let claim = if whole { neighbour.claim() } else { 0 };
        effects.extend(
            in_messages(items).map(|items| Effect::Send(peer, Message::Items { items, part: Part::More })),
        );
        let told = |rows: &[HeadRow], lsn| told(peer, lsn, rows, &[], replica);
        let mut chunks = rows.chunks(ROWS_MAX).peekable();
        while let Some(chunk) = chunks.next() {
            effects.push(told(chunk, if chunks.peek().is_some() { 0 } else { claim }));
        }
        if rows.is_empty() {
            effects.push(told(&[], claim));
        }
        effects.extend(self.exchange(now, replica));
        effects
    }
}

/// Takes the heads out if they are many, and names them instead.
fn heads_by_name(lacking: &mut Vec<Lacked<'_>>, replica: &Replica) -> Vec<HeadRow> {
    let first = lacking.iter().position(|lacked| lacked.head().is_some());
    // They are the last ones.
    let Some(heads) = first.and_then(|first| lacking.get(first..)) else { return Vec::new() };
    let mut room = Some(HEADS_AT_ONCE_BYTES_MAX);
    for head in heads {
        room = room.and_then(|room| room.checked_sub(head.weight(replica)));
        if room.is_none() {
            break;
        }
    }
    if room.is_some() {
        return Vec::new();
    }
    let rows: Vec<HeadRow> = heads
        .iter()
        .filter_map(Lacked::head)
        .map(|(host, place)| HeadRow { host: prefix(&host), epoch: place.epoch, sequence: place.sequence })
        .collect();
    lacking.truncate(first.unwrap_or(lacking.len()));
    rows
}

fn nonce(at: Timestamp) -> u32 {
    u32::try_from(at.0 & 0xffff_ffff).unwrap_or(0)
}
