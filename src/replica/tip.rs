//! Tips: what a replica holds, in so few words that another finds what it lacks.
//!
//! A section whose roots are equal is left out. Heads have three forms: a bare vector of places in the order
//! of the members, where both know the same members; rows with the beginning of each host's id; and, where two
//! heads stand at one place, rows with half of each head's id as well.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    HeadPlace, Item, Packed, Replica,
    entry::rank,
    facet::{compress, expand},
    first_hour,
    heads::KeptHead,
    roots::{Roots, Section, first_half},
};
use crate::{
    authority::Host,
    identity::{EntryId, HostId},
    time::Timestamp,
    wire::Bytes,
    wire_choice, wire_record,
};

/// Something that another replica lacks, where it is held here.
#[derive(Clone, Copy, Debug)]
pub struct Lacked<'a>(Place<'a>);

#[derive(Clone, Copy, Debug)]
enum Place<'a> {
    /// An entry that stands alone.
    Alone(&'a [u8]),
    /// A head, with those of its facets that came after the place that they have.
    Head { host: HostId, kept: &'a KeptHead, has: Option<(u32, u64)> },
}

/// How hard the vector of places is pressed.
const LEVEL: i32 = 3;
/// Longest that a vector of places may become, unpacked; a place takes at most 15 bytes.
const DENSE_BYTES_MAX: usize = 50_000 * 15;
/// Rows of one kind in a tip that are looked at.
const ROWS_MAX: usize = 500_000;

/// The sections of a replica that a tip speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a set of four")]
pub struct Sections {
    /// Hosts' certificates and departures.
    pub members: bool,
    /// Root updates, invitations, orders, cancellations.
    pub set: bool,
    /// Operators' ops.
    pub ops: bool,
    /// Heads.
    pub heads: bool,
}

impl Sections {
    /// All of them.
    pub const ALL: Self = Self { members: true, set: true, ops: true, heads: true };

    /// Those whose roots differ.
    pub fn differing(ours: &Roots, theirs: &Roots) -> Self {
        Self {
            members: ours.members != theirs.members,
            set: ours.set != theirs.set,
            ops: ours.ops != theirs.ops,
            heads: ours.heads != theirs.heads,
        }
    }

    /// Whether it is none.
    pub fn is_empty(&self) -> bool {
        !(self.members || self.set || self.ops || self.heads)
    }
}

/// How a tip speaks of heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TipForm {
    /// Places only, in the order of members: for who knows the same members.
    Dense,
    /// With the beginning of each host's id.
    Rows,
    /// With whole ids of hosts, and half of each head's.
    Full,
}

/// What is said of heads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeadTips {
    /// Places in the order of all hosts that are known; see [`TipForm::Dense`].
    Dense {
        /// The root of the members whose order it is.
        members: [u8; 16],
        /// Of each host: epoch + 1 and sequence as varints, or a zero for none; compressed.
        places: Bytes,
    },
    /// Of each host with a head: eight bytes of its id, epoch and sequence as varints.
    Rows {
        /// The rows.
        rows: Bytes,
    },
    /// Of each host with a head: its id, half of the head's id, epoch and sequence as varints.
    Full {
        /// The rows.
        rows: Bytes,
    },
}
wire_choice!(HeadTips {
    0 = Dense { members, places },
    1 = Rows { rows },
    2 = Full { rows },
});

/// What a replica holds, enough to find what it lacks. A section that is not there is not spoken of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tip {
    /// The first hour that counts by its clock.
    pub hour: u64,
    /// Halves of the ids of hosts' certificates and departures.
    pub members: Option<Bytes>,
    /// Halves of the ids of what else stands alone.
    pub set: Option<Bytes>,
    /// Of each stream of ops: half of its id, how many as varint, how many ids follow, and those by half: of
    /// its last op, and of the two that ended it.
    pub ops: Option<Bytes>,
    /// Heads.
    pub heads: Option<HeadTips>,
}
wire_record!(Tip { hour, members, set, ops, heads });

impl Tip {
    /// The tip of who holds nothing.
    pub fn nothing() -> Self {
        let none = || Some(Bytes::default());
        let heads = Some(HeadTips::Rows { rows: Bytes::default() });
        Self { hour: 0, members: none(), set: none(), ops: none(), heads }
    }

    /// Its size on the wire, nearly.
    pub fn weight(&self) -> usize {
        let heads = match &self.heads {
            Some(
                HeadTips::Dense { places: bytes, .. }
                | HeadTips::Rows { rows: bytes }
                | HeadTips::Full { rows: bytes },
            ) => Some(bytes),
            None => None,
        };
        let parts = [&self.members, &self.set, &self.ops].into_iter().flatten().chain(heads);
        parts.map(|bytes| bytes.0.len() + 5).sum::<usize>() + 40
    }

    /// The halves of ids that it names: its sender has those entries.
    pub fn halves(&self) -> HashSet<[u8; 16]> {
        let mut halves = self.alone();
        for row in self.streams().into_values() {
            halves.extend(row.ends);
        }
        if let Some(HeadTips::Full { rows }) = &self.heads {
            halves.extend(full_rows(&rows.0).into_values().map(|place| place.half));
        }
        halves
    }

    fn alone(&self) -> HashSet<[u8; 16]> {
        let sections = [&self.members, &self.set].into_iter().flatten();
        sections.flat_map(|bytes| bytes.0.as_chunks::<16>().0).take(ROWS_MAX).copied().collect()
    }

    fn streams(&self) -> HashMap<[u8; 16], StreamRow> {
        let mut rows = HashMap::new();
        let mut rest = self.ops.as_ref().map_or(&[][..], |bytes| bytes.0.as_slice());
        while rows.len() < ROWS_MAX {
            let Some((stream, row)) = StreamRow::take(&mut rest) else { break };
            rows.insert(stream, row);
        }
        rows
    }
}

/// What is said of one stream of ops.
#[derive(Debug)]
struct StreamRow {
    count: u64,
    ends: Vec<[u8; 16]>,
}

impl StreamRow {
    fn take(rest: &mut &[u8]) -> Option<([u8; 16], Self)> {
        let stream = take_array(rest)?;
        let count = take_varint(rest)?;
        let ends = take_varint(rest)?.min(3);
        let ends = (0..ends).map(|_| take_array(rest)).collect::<Option<_>>()?;
        Some((stream, Self { count, ends }))
    }
}

/// Appends a number, seven bits a byte, the lowest first.
pub fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

/// Takes a number that [`put_varint`] wrote off the front.
pub fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for at in 0..10_u32 {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        let bits = u64::from(byte & 0x7f);
        if at == 9 && bits > 1 {
            return None;
        }
        number |= bits << (7 * at);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn take_array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (array, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*array)
}

fn take_place(rest: &mut &[u8]) -> Option<(u32, u64)> {
    Some((u32::try_from(take_varint(rest)?).ok()?, take_varint(rest)?))
}

fn full_rows(mut rest: &[u8]) -> BTreeMap<HostId, HeadPlace> {
    let mut rows = BTreeMap::new();
    while rows.len() < ROWS_MAX {
        let row = || -> Option<(HostId, HeadPlace)> {
            let (host, half) = (HostId(take_array(&mut rest)?), take_array(&mut rest)?);
            let (epoch, sequence) = take_place(&mut rest)?;
            Some((host, HeadPlace { epoch, sequence, half }))
        };
        let mut row = row;
        let Some((host, place)) = row() else { break };
        rows.insert(host, place);
    }
    rows
}

/// The heads that another has, as far as this replica can tell.
enum Theirs {
    /// Nothing can be told.
    Unknown,
    Places(HashMap<HostId, (u32, u64)>),
    Prefixes(HashMap<[u8; 8], Vec<(u32, u64)>>),
    Full(BTreeMap<HostId, HeadPlace>),
}

/// What another lacks of a host.
enum Lack {
    Nothing,
    /// Its head, and nothing is known of an older one there.
    All,
    /// Its head; this place is what it has.
    Since(u32, u64),
}

impl Theirs {
    fn lack(&self, host: &HostId, mine: &HeadPlace) -> Lack {
        let place = (mine.epoch, mine.sequence);
        let has = match self {
            Self::Unknown => return Lack::Nothing,
            Self::Places(places) => places.get(host).copied(),
            // Of two hosts with one prefix, nothing is left out: one row too many is no harm.
            Self::Prefixes(rows) => {
                let prefix = host.0.first_chunk::<8>();
                prefix.and_then(|prefix| rows.get(prefix)).and_then(|rows| rows.iter().min().copied())
            }
            Self::Full(rows) => {
                let row = rows.get(host);
                if row.is_some_and(|row| (row.epoch, row.sequence) == place && row.half != mine.half) {
                    return Lack::All;
                }
                row.map(|row| (row.epoch, row.sequence))
            }
        };
        match has {
            None => Lack::All,
            Some(has) if has < place => Lack::Since(has.0, has.1),
            Some(_) => Lack::Nothing,
        }
    }
}

impl Replica {
    /// What is held of these sections, for another to find what it lacks.
    pub fn tip(&self, sections: &Sections, form: TipForm, now: Timestamp) -> Tip {
        let hour = first_hour(now);
        let halves = |section| {
            let halves = self.standing_alone(section, hour).map(|(id, ..)| first_half(&id.0));
            Bytes(halves.flatten().collect())
        };
        Tip {
            hour,
            members: sections.members.then(|| halves(Section::Members)),
            set: sections.set.then(|| halves(Section::Set)),
            ops: sections.ops.then(|| self.ops_tip()),
            heads: sections.heads.then(|| self.heads_tip(form)),
        }
    }

    fn ops_tip(&self) -> Bytes {
        let mut bytes = Vec::new();
        for (id, stream) in &self.operators {
            bytes.extend(first_half(&id.0));
            put_varint(&mut bytes, stream.ops.len() as u64);
            let ends: Vec<_> = stream.ops.last().into_iter().chain(stream.forked()).collect();
            put_varint(&mut bytes, ends.len() as u64);
            bytes.extend(ends.into_iter().flat_map(|op| first_half(&op.id().0)));
        }
        Bytes(bytes)
    }

    fn heads_tip(&self, form: TipForm) -> HeadTips {
        let mut bytes = Vec::new();
        if form == TipForm::Dense {
            for host in self.authority.hosts() {
                match self.heads.get(&host.id()).map(KeptHead::place) {
                    Some(place) => {
                        put_varint(&mut bytes, u64::from(place.epoch) + 1);
                        put_varint(&mut bytes, place.sequence);
                    }
                    None => bytes.push(0),
                }
            }
            if let Some(places) = compress(&bytes, LEVEL) {
                return HeadTips::Dense { members: self.roots(0).members, places: Bytes(places) };
            }
            bytes.clear();
        }
        for (host, kept) in &self.heads {
            let place = kept.place();
            if form == TipForm::Full {
                bytes.extend(host.0.iter().chain(&place.half));
            } else {
                bytes.extend(host.0.iter().take(8));
            }
            put_varint(&mut bytes, u64::from(place.epoch));
            put_varint(&mut bytes, place.sequence);
        }
        let rows = Bytes(bytes);
        if form == TipForm::Full { HeadTips::Full { rows } } else { HeadTips::Rows { rows } }
    }

    fn read_heads(&self, tips: &HeadTips) -> Theirs {
        match tips {
            HeadTips::Dense { members, places } => {
                let limit = DENSE_BYTES_MAX.min(self.authority.hosts().count() * 15);
                match expand(&places.0, &[], limit) {
                    Ok(bytes) if *members == self.roots(0).members => Theirs::Places(self.read_dense(&bytes)),
                    _ => Theirs::Unknown,
                }
            }
            HeadTips::Rows { rows } => {
                let mut rest = rows.0.as_slice();
                let mut read: HashMap<[u8; 8], Vec<(u32, u64)>> = HashMap::new();
                for _ in 0..ROWS_MAX {
                    let Some(prefix) = take_array(&mut rest) else { break };
                    let Some(place) = take_place(&mut rest) else { break };
                    read.entry(prefix).or_default().push(place);
                }
                Theirs::Prefixes(read)
            }
            HeadTips::Full { rows } => Theirs::Full(full_rows(&rows.0)),
        }
    }

    fn read_dense(&self, mut rest: &[u8]) -> HashMap<HostId, (u32, u64)> {
        let mut places = HashMap::new();
        for host in self.authority.hosts().map(Host::id) {
            match take_varint(&mut rest) {
                Some(0) => {}
                Some(epoch) => {
                    let epoch = u32::try_from(epoch - 1).ok();
                    let Some(place) = epoch.zip(take_varint(&mut rest)) else { break };
                    places.insert(host, place);
                }
                None => break,
            }
        }
        places
    }

    /// What a replica with this tip lacks, in the order in which it can be applied. Nothing of a section that
    /// it does not speak of. Nothing is copied: who answers takes as much of it as goes into the answer.
    pub fn lacking(&self, theirs: &Tip, now: Timestamp) -> Vec<Lacked<'_>> {
        let hour = first_hour(now).max(theirs.hour);
        let held = theirs.alone();
        let mut items: Vec<(u8, Lacked<'_>)> = Vec::new();
        let spoken = [(Section::Set, &theirs.set), (Section::Members, &theirs.members)];
        for (section, _) in spoken.iter().filter(|(_, bytes)| bytes.is_some()) {
            let lacking =
                self.standing_alone(*section, hour).filter(|(id, ..)| !held.contains(&first_half(&id.0)));
            items.extend(lacking.map(|(_, rank, bytes)| (rank, Lacked(Place::Alone(bytes)))));
        }
        if theirs.ops.is_some() {
            self.lacking_ops(theirs, &mut items);
        }
        if let Some(tips) = &theirs.heads {
            let theirs = self.read_heads(tips);
            for (host, kept) in &self.heads {
                let has = match theirs.lack(host, &kept.place()) {
                    Lack::Nothing => continue,
                    Lack::All => None,
                    Lack::Since(epoch, sequence) => Some((epoch, sequence)),
                };
                items.push((rank::HEAD, Lacked(Place::Head { host: *host, kept, has })));
            }
        }
        items.sort_by_key(|(rank, _)| *rank);
        items.into_iter().map(|(_, item)| item).collect()
    }

    fn lacking_ops<'a>(&'a self, theirs: &Tip, items: &mut Vec<(u8, Lacked<'a>)>) {
        let rows = theirs.streams();
        let ends: HashSet<[u8; 16]> = rows.values().flat_map(|row| &row.ends).copied().collect();
        let holds = |id: &EntryId| ends.contains(&first_half(&id.0));
        for (id, stream) in &self.operators {
            let count = rows.get(&first_half(&id.0)).map_or(0, |row| row.count);
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            // Their last op is not the one that stands there here: they lack from somewhere before it on.
            let last = count.checked_sub(1).and_then(|last| stream.ops.get(last));
            let from = if last.is_some_and(|op| !holds(&op.id())) { 0 } else { count };
            let fork = stream.forked().filter(|op| !holds(&op.id()));
            items.extend(
                stream
                    .ops
                    .iter()
                    .skip(from)
                    .chain(fork)
                    .map(|op| (rank::OP, Lacked(Place::Alone(op.bytes())))),
            );
        }
    }
}

impl Lacked<'_> {
    /// Whose head it is, if it is one, and where that stands.
    pub fn head(&self) -> Option<(HostId, HeadPlace)> {
        match &self.0 {
            Place::Alone(_) => None,
            Place::Head { host, kept, .. } => Some((*host, kept.place())),
        }
    }

    /// As [`Item::weight`] of what it is made into.
    pub fn weight(&self, replica: &Replica) -> usize {
        8 + match &self.0 {
            Place::Alone(bytes) => bytes.len(),
            Place::Head { kept, has, .. } => {
                kept.head.bytes().len() + replica.riding(kept, *has).map(Packed::weight).sum::<usize>()
            }
        }
    }

    /// As it travels. Long facets do not come along.
    pub fn item(&self, replica: &Replica) -> Item {
        match &self.0 {
            Place::Alone(bytes) => Item::bare(bytes),
            Place::Head { kept, has, .. } => {
                let facets = replica.riding(kept, *has).cloned().collect();
                Item { entry: Bytes::from(kept.head.bytes()), facets }
            }
        }
    }
}
