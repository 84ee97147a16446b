//! Which hosts are up, as far as those who have links to them can tell.
//!
//! Decides what this host says of others, whom it asks at once, and how a host shows: `up`, `unreachable (since,
//! seen by n)`, or unknown. Always holds: liveness adds, changes and removes nothing that is replicated; a host
//! that this one has a link to and hears is up, whatever is said; what one member can make this host keep, say or
//! ask is bounded. Knows nothing of addresses, and reads no clock.
//!
//! # How it goes
//!
//! Neighbours watch each other. A link that breaks is noted at once; one that stays silent after a ping, after a
//! few seconds. Notes flood once a change over the links that are there. A witness is suspicious first, which
//! makes the other neighbours of that host ask it at once, so that they answer for it or become witnesses
//! too. A host is shown as unreachable when two witnesses say so and nobody contradicted for a moment
//! ([`SETTLES`]). One witness is enough where nobody else could be one, which is known at once in a fleet of
//! two, and otherwise once all had time to contradict ([`LONE`]): whoever has a link was asked. A dial that
//! fails is evidence too while nobody has a link, so a host that is off when a whole fleet starts is noticed;
//! one that cannot be dialled anyway stays unknown until its first link.
//!
//! What contradicts what is not decided by clocks but by rounds, as incarnations do in SWIM (Das, Gupta,
//! Motivala, 2002): an accusation stands in the round that its witness knew, and who hears the host (or the
//! host itself, when word reaches it) opens the next, which ends all that was said in those before. A witness
//! whose own loss crossed such a word on the way says it once more. Once shown, a host stays unreachable
//! until somebody hears it, though its witnesses leave: absence of talk is no sign of life.
//!
//! A witness doubts itself first (Dadgar, Phillips, Currey, "Lifeguard", 2018): time in which it did not run
//! counts as nobody's silence, its limits grow while its own ticks come late, and when it loses more than a
//! fifth of its neighbours within a minute it says nothing until half of those it had have answered, or until
//! [`DOUBT`] has passed without another loss: what is still lost then is said.
//!
//! # What a liar can do
//!
//! Notes are not signed: each costs a signature check on every host otherwise, for words that are worth
//! nothing after seconds. So a member can invent witnesses. It cannot make a host show as unreachable on those
//! who are linked to it and hear it; elsewhere for no longer than the contradiction travels, if that takes
//! longer than [`SETTLES`]: the accused hears of it and answers. Using up what is passed on in the names of all
//! witnesses keeps the accused from hearing it, for some seconds near the liar; but what is contradicted
//! counts against the neighbour it came from, whose accusations are not taken any more. It can hide a dead host from those who never
//! had a link to it, by contradicting each witness, for as long as it goes on; the neighbours of the dead host see
//! it themselves. It can have notes passed on at [`NOTES_EVERY_MS`] and, in one witness's name,
//! [`VOICE`]; what is above that is counted and dropped, or waits. Nothing acts on presence but eyes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use super::bucket::{Bucket, Rate};
use crate::{identity::HostId, time::Timestamp, wire_record};

/// Notes in one message that are looked at, and that are put into one.
pub const NOTES_MAX: usize = 512;
/// Witnesses of one host that a new neighbour is told of.
const VIEW_WITNESSES: usize = 2;
/// Witnesses of one host that are kept.
pub const WITNESSES_MAX: usize = 8;

/// A neighbour that said nothing for so long is asked; the pings of the end with the lower id mostly come first.
const QUIET: Duration = Duration::from_millis(10_500);
/// A ping without an answer makes suspicious, after so long.
const SUSPICIOUS: Duration = Duration::from_secs(2);
/// And a witness, after so long.
const SILENT: Duration = Duration::from_secs(4);
/// Or after so long, where another said something of the kind first (Lifeguard's confirmations).
const SILENT_TOO: Duration = Duration::from_secs(3);
/// A witness's word counts after so long without contradiction.
const SETTLES: Duration = Duration::from_millis(500);
/// One witness is enough after so long without contradiction.
const LONE: Duration = Duration::from_secs(10);
/// Hosts that come back within a tick and are passed on at once.
const BACKS_AT_ONCE: u32 = 4;
/// A suspicion is forgotten after so long.
const SUSPICION_LASTS: Duration = Duration::from_secs(10);
/// Neighbours lost within so long make a host doubt itself.
const LOST_WITHIN: Duration = Duration::from_secs(60);
/// How long it doubts after the last loss, where no answers end it.
const DOUBT: Duration = Duration::from_secs(15);
/// Losses that are remembered.
const LOSSES_MAX: usize = 64;
/// A word that contradicts own eyes and comes within so long of what they saw may be older than that.
const CROSSED: Duration = Duration::from_secs(3);
/// A host that nobody spoke of must be beyond dialling for so long: its agent may only be starting.
const DIALS_FAIL_FOR: Duration = Duration::from_secs(5);
/// And one that is up elsewhere, for so long: most likely it just cannot be dialled from here.
const DIALS_FAIL_FOR_LONG: Duration = Duration::from_secs(30);
/// Being wrong about that makes wait so long; doubles up to the longest.
const DIALS_WRONG: Duration = Duration::from_secs(600);
const DIALS_WRONG_MAX: Duration = Duration::from_secs(86_400);
/// More between two ticks was not lived through: the process was stopped, or the clock was set.
const LIVED_MAX: Duration = Duration::from_millis(1_500);
/// A tick that comes so much too late is a sign of a host that does not get to run.
const LATE: Duration = Duration::from_millis(300);
/// How bad that may get; each step adds as much again to the limits as they are, halved.
const ILL_MAX: u32 = 8;
/// A round may be so much above the one that is known. Keeps a liar from using them up.
const ROUNDS_AHEAD_MAX: u64 = 1 << 24;
/// Accusations in the name of one witness that are passed on, and suspicions: ten a minute.
const VOICE: Rate = Rate { burst: 10, every_ms: 6_000 };
/// Notes that are taken from one neighbour, beyond a whole view of the fleet.
const NOTES_BURST: u64 = 1_024;
/// And milliseconds until there may be one more.
const NOTES_EVERY_MS: u64 = 100;
/// Accusations that a neighbour passed on and that were contradicted: so many beyond two for each member, and
/// milliseconds until there may be one more. No more of its accusations are taken then. Whoever is honest passes
/// on no more than it took, so only the neighbours of a liar come to this.
const WRONG_BURST: u64 = 16;
const WRONG_EVERY_MS: u64 = 2_000;

/// What a note says of its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    /// It does not answer so far.
    Suspect = 0,
    /// It was silent for too long.
    Silent = 1,
    /// The link to it broke.
    Lost = 2,
    /// It cannot be dialled.
    Refused = 3,
    /// The witness hears it: the next round.
    Back = 4,
    /// The witness, which is the subject, is about to close this link. Goes no further.
    Bye = 5,
}

impl Word {
    /// The words of newer versions are passed over.
    fn of(word: u8) -> Option<Self> {
        [Self::Suspect, Self::Silent, Self::Lost, Self::Refused, Self::Back, Self::Bye]
            .into_iter()
            .find(|known| *known as u8 == word)
    }

    fn accuses(self) -> bool {
        matches!(self, Self::Silent | Self::Lost | Self::Refused)
    }
}

/// What a witness says of a host. Hosts are named by the first bytes of their ids; two members that share
/// them are not spoken of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Of whom.
    pub subject: [u8; 8],
    /// Who says so.
    pub witness: [u8; 8],
    /// What: 0 suspect, 1 silent, 2 lost, 3 refused, 4 back, 5 bye.
    pub word: u8,
    /// In which round.
    pub round: u64,
    /// Since how many seconds: when the witness last heard it, or first failed to reach it.
    pub age: u32,
}
wire_record!(Note { subject, witness, word, round, age });

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Send a neighbour these.
    Notes(HostId, Vec<Note>),
    /// Ping a neighbour now.
    Probe(HostId),
}

/// Why a link is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The other end or what lies between broke it, or closed it without a word.
    Broken,
    /// This end closed it, or put another in its place: it says nothing of the host.
    Closed,
}

/// How a host shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Somebody hears it, and nobody who watches it says otherwise.
    Up,
    /// It cannot be reached.
    Unreachable {
        /// When it was last heard, or first could not be reached.
        since: Timestamp,
        /// By how many witnesses.
        witnesses: u32,
    },
    /// Nobody has said anything of it yet, or this host hears nobody.
    Unknown,
}

#[derive(Debug)]
struct Link {
    heard: Timestamp,
    /// In time lived through, in milliseconds.
    heard_lived: u64,
    /// When it was asked, likewise, if it has not said anything since.
    asked: Option<u64>,
    /// What was said of this silence.
    told: Option<Word>,
    /// It said that it would close the link.
    leaving: bool,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    witness: HostId,
    word: Word,
    since: Timestamp,
    came: Timestamp,
    from: Option<HostId>,
    /// Not passed on yet.
    unsaid: bool,
    /// Its witness was not unreachable itself at some time since.
    counted: bool,
}

/// What this host saw itself, and that no word has put right.
#[derive(Clone, Copy, Debug)]
struct Own {
    word: Word,
    since: Timestamp,
    at: Timestamp,
    said: bool,
    again: bool,
}

#[derive(Clone, Copy, Debug)]
struct Dials {
    failing: Option<Timestamp>,
    not_before: Timestamp,
    wait: Duration,
}

/// What is known of one host.
#[derive(Debug)]
struct Known {
    round: u64,
    /// Who opened the round.
    by: HostId,
    /// Accusations and suspicions in this round.
    rows: Vec<Row>,
    down: Option<(Timestamp, u32)>,
    own: Option<Own>,
    dials: Dials,
}

impl Known {
    fn new(host: HostId) -> Self {
        Self {
            round: 0,
            by: host,
            rows: Vec::new(),
            down: None,
            own: None,
            dials: Dials { failing: None, not_before: Timestamp(0), wait: DIALS_WRONG },
        }
    }

    fn accusers(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.word.accuses())
    }

    fn is_accused(&self) -> bool {
        self.down.is_some() || self.accusers().next().is_some()
    }

    /// Since when and by how many it is seen to be unreachable, where `needed` witnesses are enough at once.
    fn verdict(&self, needed: usize, now: Timestamp) -> Option<(Timestamp, u32)> {
        let (mut settled, mut lone, mut all, mut since) = (0, false, 0_u32, Timestamp(0));
        // What was not passed on has not been heard by those who could contradict it.
        for row in self.accusers().filter(|row| row.counted && !row.unsaid) {
            settled += usize::from(now.since(row.came) >= SETTLES);
            lone |= now.since(row.came) >= LONE;
            all += 1;
            since = since.max(row.since);
        }
        match self.down {
            Some((since, witnesses)) => Some((since, witnesses.max(all))),
            None => (settled >= needed || lone).then_some((since, all)),
        }
    }
}

#[derive(Debug)]
struct Doubt {
    last: Timestamp,
    /// How many neighbours there were.
    before: usize,
    answered: BTreeSet<HostId>,
}

#[derive(Debug)]
struct Voice {
    accusations: Bucket,
    suspicions: Bucket,
}

/// What a neighbour may still pass on.
#[derive(Debug)]
struct Allowed {
    notes: Bucket,
    wrong: Bucket,
}

/// Watches for one host.
#[derive(Debug)]
pub struct Presence {
    me: HostId,
    /// In order, this host too.
    members: Vec<HostId>,
    known: BTreeMap<HostId, Known>,
    links: BTreeMap<HostId, Link>,
    losses: VecDeque<Timestamp>,
    doubt: Option<Doubt>,
    /// How ill this host is.
    ill: u32,
    /// Time lived through, in milliseconds.
    lived: u64,
    ticked: Option<Timestamp>,
    /// Since when there is no link, in time lived through.
    alone: Option<u64>,
    voices: HashMap<HostId, Voice>,
    allowed: HashMap<HostId, Allowed>,
    fresh: Vec<(Option<HostId>, Note)>,
    /// Words that hosts are back which wait for the next tick, and who has said the same.
    later: BTreeMap<HostId, (Note, BTreeSet<HostId>)>,
    /// Hosts that came back since the last tick and were passed on at once.
    backs: u32,
    probes: BTreeSet<HostId>,
    throttled: u64,
}

fn prefix(host: &HostId) -> [u8; 8] {
    host.0.first_chunk::<8>().copied().unwrap_or_default()
}

fn millis(of: Duration) -> u64 {
    u64::try_from(of.as_millis()).unwrap_or(u64::MAX)
}

impl Presence {
    /// Nobody known yet.
    pub fn new(me: HostId) -> Self {
        Self {
            me,
            members: vec![me],
            known: BTreeMap::new(),
            links: BTreeMap::new(),
            losses: VecDeque::new(),
            doubt: None,
            ill: 0,
            lived: 0,
            ticked: None,
            alone: Some(0),
            voices: HashMap::new(),
            allowed: HashMap::new(),
            fresh: Vec::new(),
            later: BTreeMap::new(),
            backs: 0,
            probes: BTreeSet::new(),
            throttled: 0,
        }
    }

    /// Who belongs to the fleet. What was said of or by others is forgotten.
    pub fn set_members(&mut self, members: impl IntoIterator<Item = HostId>) {
        self.members = members.into_iter().collect();
        self.members.sort_unstable();
        self.members.dedup();
        let (me, members) = (self.me, &self.members);
        let belongs = |host: &HostId| members.binary_search(host).is_ok();
        self.known.retain(|host, _| belongs(host));
        self.voices.retain(|host, _| belongs(host));
        self.allowed.retain(|host, _| belongs(host));
        for known in self.known.values_mut() {
            known.rows.retain(|row| belongs(&row.witness));
            if !belongs(&known.by) {
                known.by = me;
            }
        }
    }

    fn rates(&self) -> (Rate, Rate) {
        let members = self.members.len() as u64;
        let notes = Rate { burst: NOTES_BURST + 4 * members, every_ms: NOTES_EVERY_MS };
        let wrong = Rate { burst: WRONG_BURST + 2 * members, every_ms: WRONG_EVERY_MS };
        (notes, wrong)
    }

    fn allowed(&mut self, from: HostId, now: Timestamp) -> &mut Allowed {
        let (notes, wrong) = self.rates();
        let full = || Allowed { notes: Bucket::full(notes, now), wrong: Bucket::full(wrong, now) };
        self.allowed.entry(from).or_insert_with(full)
    }

    /// Ends all that was said of a host before this round, and counts it against those it came from.
    fn open(&mut self, host: HostId, round: u64, by: HostId, now: Timestamp) {
        let known = self.known(host);
        let wrong: BTreeSet<HostId> = known.accusers().filter_map(|row| row.from).collect();
        (known.round, known.by, known.down) = (round, by, None);
        known.rows.clear();
        let rate = self.rates().1;
        for from in wrong {
            self.allowed(from, now).wrong.take(rate, 1, now);
        }
    }

    /// Notes of neighbours that were dropped because there were too many.
    pub fn throttled(&self) -> u64 {
        self.throttled
    }

    /// How a host shows.
    pub fn state(&self, host: &HostId, now: Timestamp) -> Seen {
        if *host == self.me || self.links.get(host).is_some_and(|link| link.told.is_none()) {
            return Seen::Up;
        }
        let Some(known) = self.known.get(host) else { return Seen::Unknown };
        if known.is_accused()
            && let Some((since, witnesses)) = known.verdict(self.needed(host), now)
        {
            return Seen::Unreachable { since, witnesses };
        }
        let cut_off = self.alone.is_some_and(|since| self.lived - since > millis(DOUBT));
        if known.round > 0 && !cut_off { Seen::Up } else { Seen::Unknown }
    }

    /// How many witnesses are enough: two, or all who could be one.
    fn needed(&self, host: &HostId) -> usize {
        let down = self.known.iter().filter(|(other, known)| *other != host && known.down.is_some()).count();
        self.members.len().saturating_sub(1 + down).clamp(1, 2)
    }

    /// The member that is meant, if it is one alone.
    fn member(&self, prefixed: [u8; 8]) -> Option<HostId> {
        let at = self.members.partition_point(|host| prefix(host) < prefixed);
        let found = self.members.get(at).filter(|host| prefix(host) == prefixed)?;
        let next = self.members.get(at + 1);
        next.is_none_or(|next| prefix(next) != prefixed).then_some(*found)
    }

    fn known(&mut self, host: HostId) -> &mut Known {
        self.known.entry(host).or_insert_with(|| Known::new(host))
    }

    fn is_member(&self, host: &HostId) -> bool {
        self.members.binary_search(host).is_ok()
    }

    /// A neighbour is there. It is told all that is known.
    pub fn linked(&mut self, peer: HostId, now: Timestamp) -> Vec<Said> {
        let link = Link { heard: now, heard_lived: self.lived, asked: None, told: None, leaving: false };
        self.links.insert(peer, link);
        self.alone = None;
        if !self.is_member(&peer) {
            return self.said();
        }
        let known = self.known(peer);
        known.own = None;
        known.dials.failing = None;
        if known.round == 0 || known.is_accused() {
            self.back(peer, now);
        }
        // What the view says already need not be said to this one twice.
        self.fresh.iter_mut().for_each(|(except, _)| *except = except.or(Some(peer)));
        let mut said = self.said();
        said.extend(self.view(now).chunks(NOTES_MAX).map(|notes| Said::Notes(peer, notes.to_vec())));
        said
    }

    /// Says that this host hears one: a new round.
    fn back(&mut self, host: HostId, now: Timestamp) {
        let known = self.known(host);
        let (round, was_down) = (known.round.saturating_add(1), known.down.is_some());
        self.open(host, round, self.me, now);
        self.pass_back(None, host, note(host, self.me, Word::Back, round, 0), was_down);
    }

    /// Passes on that a host is back: at once, but where many come back together, as after a partition, those
    /// above a few with the next tick, and not to who has said so meanwhile. One that was not shown as down is
    /// never put off: it would be, before the contradiction is there.
    fn pass_back(&mut self, from: Option<HostId>, subject: HostId, note: Note, was_down: bool) {
        if was_down && self.backs >= BACKS_AT_ONCE {
            self.later.insert(subject, (note, from.into_iter().collect()));
        } else {
            self.backs += u32::from(was_down);
            self.later.remove(&subject);
            self.fresh.push((from, note));
        }
    }

    /// All that is known, for a new neighbour: who is up, then who is not, the longest first.
    fn view(&self, now: Timestamp) -> Vec<Note> {
        let (mut up, mut down) = (Vec::new(), Vec::new());
        for (host, known) in &self.known {
            if known.round > 0 {
                up.push(note(*host, known.by, Word::Back, known.round, 0));
            }
            let mut spoke = false;
            let heard = known.accusers().filter(|row| row.witness != self.me || known.own.is_some());
            // As many as it takes: more would be said again on every link that is made after a partition.
            for row in heard.take(VIEW_WITNESSES) {
                spoke = true;
                down.push((row.since, note(*host, row.witness, row.word, known.round, age(row.since, now))));
            }
            if let Some((since, _)) = known.down
                && !spoke
            {
                // Its witnesses have left: this host speaks for them.
                down.push((since, note(*host, self.me, Word::Lost, known.round, age(since, now))));
            }
        }
        down.sort_by_key(|(since, _)| *since);
        up.into_iter().chain(down.into_iter().map(|(_, note)| note)).collect()
    }

    /// A neighbour said something, whatever it was.
    pub fn heard(&mut self, peer: HostId, now: Timestamp) -> Vec<Said> {
        let Some(link) = self.links.get_mut(&peer) else { return Vec::new() };
        (link.heard, link.heard_lived, link.asked, link.told) = (now, self.lived, None, None);
        if let Some(doubt) = &mut self.doubt {
            doubt.answered.insert(peer);
        }
        let news = match self.known.get_mut(&peer) {
            Some(known) => {
                known.own = None;
                known.round == 0 || known.is_accused()
            }
            // It became a member after the link was made.
            None => self.is_member(&peer),
        };
        if !news {
            return Vec::new();
        }
        self.back(peer, now);
        self.said()
    }

    /// A neighbour was sent a ping.
    pub fn asked(&mut self, peer: HostId) {
        let lived = self.lived;
        if let Some(link) = self.links.get_mut(&peer) {
            link.asked.get_or_insert(lived);
        }
    }

    /// What to tell a neighbour before a link to it is closed that is only one too many.
    pub fn bye(&self) -> Vec<Note> {
        vec![note(self.me, self.me, Word::Bye, 0, 0)]
    }

    /// A link is gone.
    pub fn lost(&mut self, peer: HostId, why: Ended, now: Timestamp) -> Vec<Said> {
        let Some(link) = self.links.remove(&peer) else { return Vec::new() };
        if self.links.is_empty() {
            self.alone = Some(self.lived);
        }
        let silent = link.told.is_some_and(Word::accuses);
        if why == Ended::Broken && !link.leaving && !silent && self.is_member(&peer) {
            self.missing(peer, Word::Lost, now, now);
        }
        self.said()
    }

    /// This host saw that a neighbour is gone.
    fn missing(&mut self, peer: HostId, word: Word, since: Timestamp, now: Timestamp) {
        self.losses.retain(|at| *at <= now && now.since(*at) < LOST_WITHIN);
        self.losses.push_back(now);
        if self.losses.len() > LOSSES_MAX {
            self.losses.pop_front();
        }
        let heard = self.links.values().filter(|link| link.told.is_none()).count();
        let (lost, before) = (self.losses.len(), heard + self.losses.len());
        if lost >= 2 && lost * 5 > before {
            // Those that are left are asked whether it is this host that is cut off.
            for (other, link) in &mut self.links {
                if link.asked.is_none() && *other != peer {
                    link.asked = Some(self.lived);
                    self.probes.insert(*other);
                }
            }
            self.doubt = Some(Doubt { last: now, before, answered: BTreeSet::new() });
        }
        let again = self.known.get(&peer).and_then(|known| known.own).is_some_and(|own| own.again);
        self.known(peer).own = Some(Own { word, since, at: now, said: false, again });
        self.accuse(peer, now);
    }

    /// Says what own eyes saw, unless this host doubts them.
    fn accuse(&mut self, host: HostId, now: Timestamp) {
        if self.doubt.is_some() {
            return;
        }
        let me = self.me;
        let known = self.known(host);
        let Some(own) = &mut known.own else { return };
        if own.said {
            return;
        }
        own.said = true;
        let (word, since) = (own.word, own.since);
        let row = Row { witness: me, word, since, came: now, from: None, unsaid: true, counted: true };
        if keep(&mut known.rows, row) {
            self.pass_on(host, now);
        }
    }

    /// Passes on what may be of what waits to be.
    fn pass_on(&mut self, host: HostId, now: Timestamp) {
        let Some(known) = self.known.get_mut(&host) else { return };
        let round = known.round;
        for row in known.rows.iter_mut().filter(|row| row.unsaid) {
            let voice = self.voices.entry(row.witness).or_insert_with(|| Voice {
                accusations: Bucket::full(VOICE, now),
                suspicions: Bucket::full(VOICE, now),
            });
            let bucket = if row.word.accuses() { &mut voice.accusations } else { &mut voice.suspicions };
            if bucket.take(VOICE, 1, now) == 1 {
                (row.unsaid, row.came) = (false, now);
                self.fresh.push((row.from, note(host, row.witness, row.word, round, age(row.since, now))));
            }
        }
    }

    /// A host could not be dialled.
    pub fn dial_failed(&mut self, host: HostId, now: Timestamp) -> Vec<Said> {
        if host == self.me || self.links.contains_key(&host) || !self.is_member(&host) {
            return Vec::new();
        }
        let me = self.me;
        let known = self.known(host);
        known.dials.failing = known.dials.failing.map(|since| since.min(now));
        let since = *known.dials.failing.get_or_insert(now);
        if known.own.is_some() || known.rows.iter().any(|row| row.witness == me && row.word.accuses()) {
            return Vec::new();
        }
        let accused = known.accusers().map(|row| row.since).max();
        let for_long = |long: Duration| now.since(since) >= long;
        let may = if accused.is_some() {
            true
        } else if known.round == 0 {
            for_long(DIALS_FAIL_FOR)
        } else {
            known.dials.not_before = known.dials.not_before.min(now.after(DIALS_WRONG_MAX));
            let may = for_long(DIALS_FAIL_FOR_LONG) && known.dials.not_before <= now;
            if may {
                known.dials.not_before = now.after(known.dials.wait);
                known.dials.wait = (known.dials.wait * 2).min(DIALS_WRONG_MAX);
            }
            may
        };
        if may {
            let since = accused.unwrap_or(since);
            // Not a crossing: a dial is later than what contradicts it.
            known.own = Some(Own { word: Word::Refused, since, at: now, said: false, again: true });
            self.accuse(host, now);
        }
        self.said()
    }

    /// A neighbour passes on notes.
    pub fn notes(&mut self, from: HostId, notes: Vec<Note>, now: Timestamp) -> Vec<Said> {
        if !self.links.contains_key(&from) {
            return Vec::new();
        }
        let rate = self.rates().0;
        let allowed = self.allowed(from, now).notes.take(rate, notes.len() as u64, now);
        let allowed = usize::try_from(allowed).unwrap_or(NOTES_MAX).min(NOTES_MAX);
        self.throttled += notes.len().saturating_sub(allowed) as u64;
        for note in notes.into_iter().take(allowed) {
            if let (Some(subject), Some(witness), Some(word)) =
                (self.member(note.subject), self.member(note.witness), Word::of(note.word))
            {
                let since = now.before(Duration::from_secs(note.age.into()));
                self.note(from, subject, witness, word, note.round, since, now);
            }
        }
        self.said()
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one note, taken apart by the one caller")]
    fn note(
        &mut self,
        from: HostId,
        subject: HostId,
        witness: HostId,
        word: Word,
        round: u64,
        since: Timestamp,
        now: Timestamp,
    ) {
        if word == Word::Bye {
            if let Some(link) = self.links.get_mut(&from).filter(|_| subject == from && witness == from) {
                link.leaving = true;
            }
            return;
        }
        let (me, linked) = (self.me, self.links.get(&subject).is_some_and(|link| link.told.is_none()));
        let known = self.known(subject);
        if round < known.round || round > known.round.saturating_add(ROUNDS_AHEAD_MAX) {
            return;
        }
        if word == Word::Back {
            if round == known.round {
                if let Some((_, told)) = self.later.get_mut(&subject) {
                    told.insert(from);
                }
                return;
            }
            let was_down = known.down.is_some() || self.later.contains_key(&subject);
            self.open(subject, round, witness, now);
            self.pass_back(Some(from), subject, note(subject, witness, word, round, 0), was_down);
            self.contradicted(subject, now);
            return;
        }
        if witness == me || witness == subject {
            // Said in a former life, or by nobody.
            return;
        }
        let rate = self.rates().1;
        if !self.allowed(from, now).wrong.any(rate, now) {
            self.throttled += 1;
            return;
        }
        if subject == me {
            if word.accuses() {
                self.known(me).round = round;
                self.back(me, now);
                self.allowed(from, now).wrong.take(rate, 1, now);
            }
            return;
        }
        if round > self.known(subject).round {
            // The word that opened it is still on its way.
            self.open(subject, round, subject, now);
        }
        let row = Row { witness, word, since, came: now, from: Some(from), unsaid: true, counted: false };
        if !keep(&mut self.known(subject).rows, row) {
            return;
        }
        self.pass_on(subject, now);
        if linked && let Some(link) = self.links.get_mut(&subject) {
            // Also where a ping is on its way: the answer to that one may be older than the note.
            link.asked.get_or_insert(self.lived);
            self.probes.insert(subject);
        }
        self.count(&subject);
    }

    /// Somebody hears a host of which own eyes saw the loss.
    fn contradicted(&mut self, host: HostId, now: Timestamp) {
        let Some(known) = self.known.get_mut(&host) else { return };
        let Some(own) = &mut known.own else { return };
        if !own.again && now.since(own.at) < CROSSED {
            (own.said, own.again) = (false, true);
            self.accuse(host, now);
        } else {
            known.own = None;
        }
    }

    /// Counts the witnesses of a host that are not unreachable themselves.
    fn count(&mut self, host: &HostId) {
        let Some(mut known) = self.known.remove(host) else { return };
        for row in known.rows.iter_mut().filter(|row| !row.counted) {
            row.counted = self.links.contains_key(&row.witness)
                || self.known.get(&row.witness).is_none_or(|witness| witness.down.is_none());
        }
        self.known.insert(*host, known);
    }

    /// Time passed. To be called about once a second; `late` is by how much this call comes too late.
    pub fn tick(&mut self, now: Timestamp, late: Duration) -> Vec<Said> {
        let passed = self.ticked.map_or(Duration::ZERO, |last| now.since(last));
        self.ticked = Some(now);
        self.lived = self.lived.saturating_add(millis(passed.min(LIVED_MAX)));
        self.ill = if late >= LATE { (self.ill + 2).min(ILL_MAX) } else { self.ill.saturating_sub(1) };
        self.look_at_links(now);
        self.losses.retain(|at| *at <= now && now.since(*at) < LOST_WITHIN);
        if let Some(doubt) = &mut self.doubt {
            doubt.last = doubt.last.min(now);
            let connected = doubt.answered.len() * 2 >= doubt.before;
            if connected || now.since(doubt.last) >= DOUBT {
                self.doubt = None;
            }
        }
        let open = self.known.iter().filter(|(_, known)| known.own.is_some() || !known.rows.is_empty());
        for host in open.map(|(host, _)| *host).collect::<Vec<_>>() {
            self.look_at(host, now);
        }
        let (notes, wrong) = self.rates();
        let links = &self.links;
        self.allowed.retain(|peer, allowed| {
            links.contains_key(peer)
                || !allowed.notes.is_full(notes, now)
                || !allowed.wrong.is_full(wrong, now)
        });
        self.voices.retain(|_, voice| {
            !voice.accusations.is_full(VOICE, now) || !voice.suspicions.is_full(VOICE, now)
        });
        self.backs = 0;
        let later = std::mem::take(&mut self.later);
        let mut said = self.said();
        for peer in self.links.keys() {
            let untold = later.values().filter(|(_, told)| !told.contains(peer));
            let notes: Vec<Note> = untold.map(|(note, _)| note.clone()).collect();
            said.extend(notes.chunks(NOTES_MAX).map(|notes| Said::Notes(*peer, notes.to_vec())));
        }
        said
    }

    fn look_at_links(&mut self, now: Timestamp) {
        let limit = |base: Duration| millis(base) * u64::from(2 + self.ill) / 2;
        let (suspicious, silent, too) = (limit(SUSPICIOUS), limit(SILENT), limit(SILENT_TOO));
        let mut due = Vec::new();
        for (peer, link) in &mut self.links {
            let Some(asked) = link.asked else {
                if self.lived.saturating_sub(link.heard_lived) >= millis(QUIET) {
                    link.asked = Some(self.lived);
                    self.probes.insert(*peer);
                }
                continue;
            };
            let waited = self.lived.saturating_sub(asked);
            let confirmed =
                self.known.get(peer).is_some_and(|known| known.rows.iter().any(|row| row.witness != self.me));
            let word = if waited >= silent || (confirmed && waited >= too) {
                Word::Silent
            } else if waited >= suspicious {
                Word::Suspect
            } else {
                continue;
            };
            if link.told.is_none_or(|told| told < word) {
                link.told = Some(word);
                due.push((*peer, word, link.heard.min(now)));
            }
        }
        for (peer, word, since) in due {
            if !self.is_member(&peer) {
                continue;
            }
            if word == Word::Silent {
                self.missing(peer, word, since, now);
            } else if self.doubt.is_none() {
                let me = self.me;
                let row =
                    Row { witness: me, word, since, came: now, from: None, unsaid: true, counted: false };
                if keep(&mut self.known(peer).rows, row) {
                    self.pass_on(peer, now);
                }
            }
        }
    }

    fn look_at(&mut self, host: HostId, now: Timestamp) {
        if let Some(known) = self.known.get_mut(&host) {
            known.rows.retain(|row| row.word.accuses() || now.since(row.came) < SUSPICION_LASTS);
            // A clock that was set back.
            for row in &mut known.rows {
                row.came = row.came.min(now);
            }
            if let Some(own) = &mut known.own {
                own.at = own.at.min(now);
            }
        }
        self.accuse(host, now);
        self.pass_on(host, now);
        self.count(&host);
        let needed = self.needed(&host);
        let linked = self.links.get(&host).is_some_and(|link| link.told.is_none());
        if !linked && let Some(known) = self.known.get_mut(&host) {
            known.down = known.verdict(needed, now);
        }
    }

    /// Gathers what is to be said: to each neighbour but the one that it came from.
    fn said(&mut self) -> Vec<Said> {
        let fresh = std::mem::take(&mut self.fresh);
        let mut said: Vec<Said> = std::mem::take(&mut self.probes).into_iter().map(Said::Probe).collect();
        if fresh.is_empty() {
            return said;
        }
        for peer in self.links.keys() {
            let notes: Vec<Note> =
                fresh.iter().filter(|(from, _)| *from != Some(*peer)).map(|(_, note)| note.clone()).collect();
            said.extend(notes.chunks(NOTES_MAX).map(|notes| Said::Notes(*peer, notes.to_vec())));
        }
        said
    }
}

fn note(subject: HostId, witness: HostId, word: Word, round: u64, age: u32) -> Note {
    Note { subject: prefix(&subject), witness: prefix(&witness), word: word as u8, round, age }
}

fn age(since: Timestamp, now: Timestamp) -> u32 {
    u32::try_from(now.since(since).as_secs()).unwrap_or(u32::MAX)
}

/// Keeps what a witness says if it is news. What does not count goes first where there are too many.
fn keep(rows: &mut Vec<Row>, row: Row) -> bool {
    if let Some(held) = rows.iter_mut().find(|held| held.witness == row.witness) {
        let news = !held.word.accuses() && row.word.accuses();
        if news {
            *held = row;
        }
        return news;
    }
    if rows.len() >= WITNESSES_MAX {
        let worthless = |held: &Row| !held.word.accuses() || !held.counted;
        let Some(at) = rows.iter().position(worthless).filter(|_| row.word.accuses()) else { return false };
        rows.remove(at);
    }
    rows.push(row);
    true
}

#[cfg(test)]
#[path = "presence/tests.rs"]
mod tests;
