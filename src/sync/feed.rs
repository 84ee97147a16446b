//! Telling neighbours what came, asking them for what is lacking, and answering.
//!
//! Every element that is merged gets the next number of this host's feed; each neighbour is told what is
//! behind the number that it was told last, by rows of ten or sixteen bytes, and asks one neighbour for what
//! it lacks: whole entries come once however many neighbours have them (the lazy half of "Epidemic Broadcast
//! Trees", Leitão, Pereira and Rodrigues, 2007). What is eager and new goes whole to everybody at once.

use super::{
    Effect, Machine, Message, Part,
    account::Cost,
    rows::{
        HeadRow, Prefix, ROWS_MAX, WIDTH_MAX, WIDTH_MIN, pack_halves, pack_heads, prefix, unpack_halves,
        unpack_heads,
    },
    wants::{Key, Spot},
};
use crate::{
    identity::{EntryId, HostId},
    replica::{Element, FacetHalf, Item, Packed, Replica, Sections, TipForm},
    time::Timestamp,
    wire::Bytes,
};

/// Bytes of entries or facets in one message.
const BATCH_BYTES_MAX: usize = 128 * 1024;
/// Rows that one neighbour is told at a time; the others follow.
const TELL_ROWS_MAX: usize = 4 * ROWS_MAX;
/// What one question may ask for, where an entry counts one.
const QUESTION_ROOM: usize = 1024;
const HEAD_ROOM: usize = 8;
const FACET_ROOM: usize = 16;
/// Bytes that answer one question; what finds no room is asked for again.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Hosts whose ids begin alike that are looked at.
const ALIKE_MAX: usize = 4;
/// How long a host that published too often waits for its newest head to be asked for.
const HELD_BACK: std::time::Duration = std::time::Duration::from_secs(5);

/// The first half of an entry's id.
pub(super) fn half(id: &EntryId) -> [u8; 16] {
    id.0.first_chunk().copied().unwrap_or_default()
}

/// The newest place that is held of a host whose id begins so.
pub(super) fn newest(host: Prefix, replica: &Replica) -> Option<Spot> {
    let hosts = replica.hosts_by_prefix(&host).into_iter().take(ALIKE_MAX);
    hosts.filter_map(|host| replica.head_place(&host)).map(|place| (place.epoch, place.sequence)).max()
}

/// How few bytes of their ids tell these hosts from all others that are known here.
fn width(rows: &[HeadRow], replica: &Replica) -> usize {
    let mut width = WIDTH_MIN;
    for row in rows {
        let is_one =
            |width| row.host.get(..width).is_some_and(|start| replica.hosts_by_prefix(start).len() == 1);
        while width < WIDTH_MAX && !is_one(width) {
            width += 1;
        }
    }
    width
}

/// Whether this is still lacking here.
fn lacks(key: &Key, spot: Spot, replica: &Replica) -> bool {
    match key {
        Key::Head(host) => newest(*host, replica).is_none_or(|held| held < spot),
        Key::Entry(half) => replica.find(half).is_none(),
        Key::Facet(half) => replica.packed(&FacetHalf(*half)).is_none(),
    }
}

impl Machine {
    /// Tells a neighbour what is on the feed and it was not told yet.
    pub(super) fn tell(&mut self, peer: HostId, replica: &Replica) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(neighbour) = self.neighbours.get_mut(&peer).filter(|neighbour| neighbour.greeted) else {
            return effects;
        };
        let (mut heads, mut entries) = (Vec::new(), Vec::new());
        let (mut rows, lsn) = (0, replica.lsn());
        for (at, element) in replica.since(neighbour.told).take(TELL_ROWS_MAX) {
            neighbour.told = at;
            let (key, spot, row) = match element {
                Element::Entry(id) => (Key::Entry(half(&id)), Spot::default(), None),
                Element::Head(host) => {
                    let Some(place) = replica.head_place(&host) else { continue };
                    let row = HeadRow { host: prefix(&host), epoch: place.epoch, sequence: place.sequence };
                    (Key::Head(row.host), (row.epoch, row.sequence), Some(row))
                }
            };
            if neighbour.has(&key, spot) {
                continue;
            }
            neighbour.note(key, spot);
            match (key, row) {
                (_, Some(row)) => heads.push(row),
                (Key::Entry(half), None) => entries.push(half),
                (Key::Head(_) | Key::Facet(_), None) => {}
            }
            rows += 1;
            if rows % ROWS_MAX == 0 {
                effects.push(told(peer, neighbour.claim(), &heads, &entries, replica));
                heads.clear();
                entries.clear();
            }
        }
        let through = replica.since(neighbour.told).next().is_none();
        if through {
            neighbour.told = neighbour.told.max(lsn);
        }
        if !heads.is_empty() || !entries.is_empty() {
            effects.push(told(peer, neighbour.claim(), &heads, &entries, replica));
        }
        if !through {
            self.flush_later();
        }
        effects
    }

    /// Sends what is eager and new to everybody who does not have it.
    pub(super) fn push(&mut self, items: &[(EntryId, Item)], replica: &Replica) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (peer, neighbour) in &mut self.neighbours {
            if !neighbour.greeted {
                continue;
            }
            let mut wanted = Vec::new();
            for (id, item) in items {
                let key = Key::Entry(half(id));
                // What was superseded in the meantime goes no further.
                if !neighbour.has(&key, Spot::default()) && replica.holds(id) {
                    neighbour.note(key, Spot::default());
                    wanted.push(item.clone());
                }
            }
            let peer = *peer;
            effects.extend(
                in_messages(wanted)
                    .map(|items| Effect::Send(peer, Message::Items { items, part: Part::Pushed })),
            );
        }
        effects
    }

    pub(super) fn on_told(
        &mut self,
        peer: HostId,
        lsn: u64,
        heads: &Bytes,
        entries: &Bytes,
        now: Timestamp,
        replica: &Replica,
    ) -> Vec<Effect> {
        let (Ok((width, heads)), Ok(entries)) = (unpack_heads(heads), unpack_halves(entries)) else {
            return vec![Effect::Close(peer, "it sent what is no announcement")];
        };
        let rows = (heads.len() + entries.len()) as u64;
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return Vec::new() };
        neighbour.exchange.over();
        let may = self.accounts.take(peer, Cost::Row, rows, now) == rows;
        if !may || (rows > 0 && !self.accounts.any(peer, Cost::Unanswered, now)) {
            // It is not read to there: it tells again, or the roots do.
            self.accounts.throttle(rows);
            return self.bear(peer, rows, now).into_iter().collect();
        }
        let base = neighbour.read.unwrap_or(0);
        let (mut known, mut unclear) = (u64::from(rows == 0), false);
        let mut rows: Vec<(Key, Spot)> =
            entries.into_iter().map(|half| (Key::Entry(half), Spot::default())).collect();
        for row in heads {
            let host = match replica.hosts_by_prefix(row.host.get(..width).unwrap_or(&row.host)).as_slice() {
                [host] => prefix(host),
                _ if width == WIDTH_MAX => row.host,
                _ => {
                    unclear = true;
                    continue;
                }
            };
            rows.push((Key::Head(host), (row.epoch, row.sequence)));
        }
        for (key, spot) in rows {
            neighbour.note(key, spot);
            if !lacks(&key, spot, replica) {
                known += 1;
                continue;
            }
            let mut after = now;
            if let Key::Head(host) = key
                && replica.hosts_by_prefix(&host).iter().any(|host| !self.accounts.takes_head_of(host, now))
            {
                after = now.after(HELD_BACK);
            }
            self.wants.announced(peer, key, spot, base, after, false);
        }
        if unclear {
            // Not both know the same hosts: by whole names.
            neighbour.saw =
                Some((Sections { members: true, set: false, ops: false, heads: true }, TipForm::Rows));
            neighbour.due = true;
        } else {
            neighbour.reads_to(lsn);
        }
        let mut effects: Vec<Effect> = self.bear(peer, known, now).into_iter().collect();
        effects.extend(self.ask(peer, now, replica));
        effects.extend(self.exchange(now, replica));
        effects
    }

    /// Asks everybody who is to be asked something.
    pub(super) fn ask_all(&mut self, now: Timestamp, replica: &Replica) -> Vec<Effect> {
        if self.wants.is_empty() {
            return Vec::new();
        }
        let linked = self.linked();
        linked.into_iter().filter_map(|peer| self.ask(peer, now, replica)).collect()
    }

    /// Asks a neighbour the next question, unless it has one to answer.
    pub(super) fn ask(&mut self, peer: HostId, now: Timestamp, replica: &Replica) -> Option<Effect> {
        self.neighbours.get(&peer).filter(|neighbour| neighbour.greeted)?;
        if !self.wants.has_queue(&peer) {
            return None;
        }
        let no_more_heads = self.has_many_parked(&peer);
        let cost = |key: &Key| match key {
            Key::Head(_) if no_more_heads => QUESTION_ROOM + 1,
            Key::Head(_) => HEAD_ROOM,
            Key::Entry(_) => 1,
            Key::Facet(_) => FACET_ROOM,
        };
        let keys = self.wants.question(peer, QUESTION_ROOM, cost, |key, spot| lacks(key, spot, replica), now);
        let (mut heads, mut entries, mut facets) = (Vec::new(), Vec::new(), Vec::new());
        for key in keys {
            match key {
                Key::Head(host) => {
                    let (epoch, sequence) = newest(host, replica).unwrap_or_default();
                    heads.push(HeadRow { host, epoch, sequence });
                }
                Key::Entry(half) => entries.push(half),
                Key::Facet(half) => facets.push(half),
            }
        }
        if heads.is_empty() && entries.is_empty() && facets.is_empty() {
            return None;
        }
        let heads = pack_heads(&heads, width(&heads, replica));
        let (entries, facets) = (pack_halves(&entries), pack_halves(&facets));
        Some(Effect::Send(peer, Message::Want { heads, entries, facets }))
    }

    pub(super) fn on_want(
        &mut self,
        peer: HostId,
        heads: &Bytes,
        entries: &Bytes,
        facets: &Bytes,
        now: Timestamp,
        replica: &Replica,
    ) -> Vec<Effect> {
        let (Ok((width, heads)), Ok(entries), Ok(facets)) =
            (unpack_heads(heads), unpack_halves(entries), unpack_halves(facets))
        else {
            return vec![Effect::Close(peer, "it sent what is no question")];
        };
        let rows = (heads.len() + entries.len() + facets.len()) as u64;
        if rows == 0 {
            return self.bear(peer, 1, now).into_iter().collect();
        }
        if self.accounts.take(peer, Cost::Asked, rows, now) < rows {
            self.accounts.throttle(rows);
            return self.bear(peer, rows, now).into_iter().collect();
        }
        let mut serving = Serving::new(self.accounts.any(peer, Cost::Served, now));
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return Vec::new() };
        for half in facets {
            serving.facet(half, replica.packed(&FacetHalf(half)));
        }
        for half in entries {
            let item = replica.find(&half).and_then(|id| replica.entry_item(&id));
            if serving.item(item) {
                neighbour.note(Key::Entry(half), Spot::default());
            }
        }
        for row in heads {
            let has = (row.epoch, row.sequence);
            let mut found = false;
            let start = row.host.get(..width).unwrap_or(&row.host);
            for host in replica.hosts_by_prefix(start).into_iter().take(ALIKE_MAX) {
                let Some(place) = replica.head_place(&host) else { continue };
                let spot = (place.epoch, place.sequence);
                let none = has == Spot::default();
                if none || spot > has {
                    found = true;
                    if serving.item(replica.head_item(&host, (!none).then_some(has))) {
                        neighbour.note(Key::Head(row.host), spot);
                    }
                }
            }
            serving.whole &= found;
        }
        let kilobytes = (serving.bytes / 1024) as u64;
        self.accounts.take(peer, Cost::Served, kilobytes, now);
        serving.messages().map(|message| Effect::Send(peer, message)).collect()
    }
}

/// An answer that is being put together.
struct Serving {
    items: Vec<Item>,
    facets: Vec<([u8; 16], Packed)>,
    bytes: usize,
    /// Whether all that was asked for is in it.
    whole: bool,
    may: bool,
}

impl Serving {
    fn new(may: bool) -> Self {
        Self { items: Vec::new(), facets: Vec::new(), bytes: 0, whole: true, may }
    }

    fn has_room(&mut self, weight: usize) -> bool {
        let has_room = self.may && self.bytes + weight <= ANSWER_BYTES_MAX;
        if has_room {
            self.bytes += weight;
        } else {
            self.whole = false;
            // Nothing after it: what comes later may need it.
            self.may = false;
        }
        has_room
    }

    fn facet(&mut self, half: [u8; 16], packed: Option<&Packed>) {
        match packed {
            Some(packed) if self.has_room(packed.weight()) => self.facets.push((half, packed.clone())),
            Some(_) => {}
            None => self.whole = false,
        }
    }

    fn item(&mut self, item: Option<Item>) -> bool {
        match item {
            Some(item) if self.has_room(item.weight()) => {
                self.items.push(item);
                true
            }
            Some(_) => false,
            None => {
                self.whole = false;
                false
            }
        }
    }

    fn messages(self) -> impl Iterator<Item = Message> {
        let facets = batches(self.facets, |(_, packed)| packed.weight() + 16).map(|batch| {
            let (halves, facets): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
            Message::Facets { halves: pack_halves(&halves), facets }
        });
        let mut items: Vec<Vec<Item>> = in_messages(self.items).collect();
        // Who got all knows that it is all.
        if items.is_empty() && !self.whole {
            items.push(Vec::new());
        }
        let last = items.len();
        facets.chain(items.into_iter().enumerate().map(move |(at, items)| {
            let part = if at + 1 == last { Part::Last } else { Part::More };
            Message::Items { items, part }
        }))
    }
}

/// What says that these are here.
pub(super) fn told(
    peer: HostId,
    lsn: u64,
    heads: &[HeadRow],
    entries: &[[u8; 16]],
    replica: &Replica,
) -> Effect {
    // Who has yet to get certificates does not know their hosts.
    let are_new = !entries.is_empty() || heads.iter().any(|row| row.sequence <= 1);
    let width = if are_new { WIDTH_MAX } else { width(heads, replica) };
    let (heads, entries) = (pack_heads(heads, width), pack_halves(entries));
    Effect::Send(peer, Message::Told { lsn, heads, entries })
}

/// Cuts entries into messages of a bounded size.
pub(super) fn in_messages(items: Vec<Item>) -> impl Iterator<Item = Vec<Item>> {
    batches(items, Item::weight)
}

fn batches<T>(things: Vec<T>, weight: impl Fn(&T) -> usize) -> impl Iterator<Item = Vec<T>> {
    let mut things = things.into_iter().peekable();
    std::iter::from_fn(move || {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(thing) =
            things.next_if(|thing| batch.is_empty() || bytes + weight(thing) <= BATCH_BYTES_MAX)
        {
            bytes += weight(&thing);
            batch.push(thing);
        }
        (!batch.is_empty()).then_some(batch)
    })
}
