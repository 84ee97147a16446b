//! What is asked and answered on the socket. One connection carries one question after the other; an
//! answer is one or more replies, the last of which is not [`Reply::Items`] with `more`, a
//! [`Reply::Report`], [`Reply::Running`], [`Reply::Live`] or
//! [`Reply::Chunk`].

use super::{Health, HostLine};
use crate::{
    authority::ListId,
    identity::{EntryId, FleetId, HostId},
    replica::{Blob, Item, Report},
    time::Timestamp,
    wire::{Bytes, Value, Wire, WireError},
    wire_choice, wire_record,
};

/// The version that both ends must have in common.
pub const CONTROL_VERSION: u32 = 1;
/// Longest message, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// One of a command's output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StreamName {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}
impl Wire for StreamName {
    fn to_value(&self) -> Value {
        matches!(self, Self::Stderr).to_value()
    }
    fn from_value(value: Value, field: &'static str) -> Result<Self, WireError> {
        bool::from_value(value, field).map(|stderr| if stderr { Self::Stderr } else { Self::Stdout })
    }
}

/// What is asked about a list of hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListAsk {
    /// Whether the agent has it: it says [`Reply::Accepted`] then, else [`Reply::List`] without one.
    Has {},
    /// All of it, as a [`Reply::List`].
    Read {},
    /// That it is kept.
    Keep {
        /// The ids, one after the other.
        hosts: Bytes,
    },
}
wire_choice!(ListAsk { 0 = Has {}, 1 = Read {}, 2 = Keep { hosts } });

/// What a command line asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// First of all: which version speaks. Answered by [`Reply::Hello`].
    Hello {
        /// [`CONTROL_VERSION`].
        version: u32,
    },
    /// Answered by [`Reply::Status`].
    Status {},
    /// Who belongs and who may do what, as signed entries; `heads` adds what hosts say of themselves.
    /// Answered by [`Reply::Items`].
    Fleet {
        /// With heads.
        heads: bool,
    },
    /// How the agent sees the hosts (links, ages). Answered by [`Reply::Hosts`].
    Hosts {},
    /// The agent's links. Answered by [`Reply::Peers`].
    Peers {},
    /// Hands over signed entries. Answered by [`Reply::Accepted`] or [`Reply::Error`].
    Submit {
        /// The entries.
        items: Vec<Item>,
    },
    /// The live orders as signed entries (cancellations too). Answered by [`Reply::Items`].
    Orders {},
    /// What came of an order: all reports held, then, with `follow`, each new one as it comes and a
    /// [`Reply::Running`] for hosts that say they work on it, until the connection closes. Without
    /// `follow`, ends with [`Reply::End`].
    Watch {
        /// The order.
        order: EntryId,
        /// Whether to go on.
        follow: bool,
    },
    /// One output stream of one host, from the spool of the host itself. Answered by
    /// [`Reply::Chunk`]s and [`Reply::End`].
    Output {
        /// The signed `ReadRequest`.
        read: Bytes,
        /// The order.
        order: EntryId,
        /// The host.
        host: HostId,
        /// Which stream.
        stream: StreamName,
        /// From which byte on; from the first one, if not said.
        from: Option<u64>,
    },
    /// How long a message takes to a host and back. Answered by [`Reply::Pong`].
    Ping {
        /// The host.
        host: HostId,
    },
    /// What a new join token must say: the fleet's shield and where members listen. Answered by
    /// [`Reply::Invite`].
    Invite {},
    /// Takes this host out of the fleet; only for the agent's own user and root. Answered by
    /// [`Reply::Accepted`]; the agent then ends.
    Leave {},
    /// Which hosts an expression is true for, by what the hosts say of themselves, and what they say. That is
    /// the hosts' word, passed on by the agent: good to know and to narrow by, no ground for a right. Answered
    /// by [`Reply::Found`]s.
    InventorySearch {
        /// The expression, as a selector.
        expression: String,
        /// Paths whose values are wanted besides those that the expression looks at.
        columns: Vec<String>,
        /// How many hosts at most.
        limit: u32,
    },
    /// What one host says of itself. Answered by [`Reply::Tables`]s, or [`Reply::NoSuchHost`].
    InventoryShow {
        /// The host: its name, or a unique beginning of name or id.
        host: String,
        /// One table, whole. Without it all, but of long ones only how long they are.
        table: Option<String>,
    },
    /// Which tables there are in the fleet. Answered by [`Reply::Types`].
    InventoryTypes {},
    /// For each part of an expression, of how many members it is true, false and unknown. Answered by
    /// [`Reply::Explained`].
    Explain {
        /// The expression, as a selector without groups.
        expression: String,
    },
    /// Hands over a piece of what an order is about to be shipped with; pieces in order. Answered by
    /// [`Reply::Accepted`] or [`Reply::Error`].
    Ship {
        /// The whole of it.
        blob: Blob,
        /// Where the piece begins.
        at: u64,
        /// The piece.
        bytes: Bytes,
    },
    /// What the commands of an order write on hosts that say from now on that they work on it. Answered by
    /// [`Reply::Live`]s, until the connection closes.
    Live {
        /// The signed `ReadRequest`.
        read: Bytes,
        /// The order.
        order: EntryId,
    },
    /// Reads all that is on the agent's disk and compares it with what it holds; what is damaged is written
    /// again. Answered by [`Reply::StoreCheck`] or [`Reply::Error`].
    StoreCheck {},
    /// The hosts as the agent lists them, in order of their names. Answered by [`Reply::HostLines`]s.
    HostLines {},
    /// Words of one kind that begin so, for a shell to finish: `host`, `tag` (`key=`, and `key=value` once
    /// `start` has the key), `operator`, `job`, `type`. Answered by [`Reply::Words`]; an unknown kind has none.
    Words {
        /// The kind.
        kind: String,
        /// How they begin.
        start: String,
        /// How many at most.
        limit: u32,
    },
    /// About a list that orders mark hosts of. Answered by [`Reply::Accepted`], [`Reply::List`] or
    /// [`Reply::Error`].
    List {
        /// The list.
        list: ListId,
        /// What about it.
        ask: ListAsk,
    },
    /// What the agent alone can say of its health; asks some linked hosts. Answered by [`Reply::Health`].
    Health {},
    /// The agent's own audit chain, as it is on disk. Answered by [`Reply::Chunk`]s and [`Reply::End`].
    AuditChain {},
    /// Which recoveries of the roots have waited long enough for the agent.
    Waited {},
}
wire_choice!(Request {
    0 = Hello { version },
    1 = Status {},
    2 = Fleet { heads },
    3 = Hosts {},
    4 = Peers {},
    5 = Submit { items },
    6 = Orders {},
    7 = Watch { order, follow },
    8 = Output { read, order, host, stream, from },
    9 = Ping { host },
    10 = Invite {},
    11 = Leave {},
    13 = Explain { expression },
    14 = List { list, ask },
    20 = InventorySearch { expression, columns, limit },
    21 = InventoryShow { host, table },
    22 = InventoryTypes {},
    23 = Ship { blob, at, bytes },
    24 = Live { read, order },
    35 = HostLines {},
    36 = Words { kind, start, limit },
    37 = Health {},
    40 = StoreCheck {},
    58 = AuditChain {},
    68 = Waited {},
});

/// What an agent answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Who answers.
    Hello {
        /// Its [`CONTROL_VERSION`].
        version: u32,
        /// The version of muster it runs.
        agent: String,
        /// Its fleet.
        fleet: FleetId,
        /// The signed genesis.
        genesis: Bytes,
        /// Which host it is.
        host: HostId,
    },
    /// How it is.
    Status {
        /// The report.
        status: StatusReport,
    },
    /// Entries; the last message has `more` false.
    Items {
        /// The entries.
        items: Vec<Item>,
        /// Whether another such reply follows.
        more: bool,
    },
    /// Hosts as the agent sees them.
    Hosts {
        /// One row a host.
        hosts: Vec<HostRow>,
    },
    /// Links.
    Peers {
        /// One row a link.
        peers: Vec<PeerRow>,
    },
    /// Done.
    Accepted {},
    /// Not done, and why, in words.
    Error {
        /// The words.
        why: String,
        /// Whether the reason is that somebody had no right to it.
        refused: bool,
    },
    /// What came of an order on one host.
    Report {
        /// The report.
        report: Report,
    },
    /// A host works on the order.
    Running {
        /// The order.
        order: EntryId,
        /// The host.
        host: HostId,
    },
    /// A piece of output.
    Chunk {
        /// The piece.
        bytes: Bytes,
    },
    /// The end of an answer.
    End {},
    /// A host answered.
    Pong {
        /// The round trip, in microseconds.
        rtt_us: u64,
        /// The hosts in between; none for a direct link.
        via: Vec<HostId>,
    },
    /// For a new token.
    Invite {
        /// The fleet's pre-shared key.
        shield: [u8; 32],
        /// Addresses of members that listen, this host's first, as text.
        addresses: Vec<String>,
    },
    /// Hosts that were found; the last message has `more` false.
    Found {
        /// The paths whose values each row has, in that order.
        paths: Vec<String>,
        /// A part of the hosts, in order of their names.
        rows: Vec<FoundRow>,
        /// Hosts that were not looked at whole, because they say more than there is room for.
        left_out: u32,
        /// Whether there were more hosts than were asked for.
        cut: bool,
        /// Whether another such reply follows.
        more: bool,
    },
    /// What the parts of an expression say.
    Explained {
        /// For each part, in the order of the selector's parts.
        counts: Vec<TruthCount>,
        /// Hosts that were not looked at whole, because they say more than there is room for.
        left_out: u32,
    },
    /// What a host says of itself; the last message has `more` false.
    Tables {
        /// The host.
        about: HostRow,
        /// Its name.
        name: String,
        /// Tables, or the next rows of the last one.
        tables: Vec<TablePart>,
        /// Whether another such reply follows.
        more: bool,
    },
    /// No host, or not one, is called so.
    NoSuchHost {
        /// The name that comes nearest, if one is near.
        near: Option<String>,
        /// Those that it could be, if they are several.
        candidates: Vec<String>,
    },
    /// Tables that there are in the fleet.
    Types {
        /// By name.
        types: Vec<TypeRow>,
    },
    /// What a command wrote, as its host says now.
    Live {
        /// The host.
        host: HostId,
        /// To which stream.
        stream: StreamName,
        /// Where in that it begins.
        at: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// What is on disk.
    StoreCheck {
        /// The report.
        check: StoreCheck,
    },
    /// No agent was asked: none of the fleet answers this machine, which is no host of it.
    Offline {
        /// Why, in words.
        why: String,
    },
    /// Hosts; the last message has `more` false.
    HostLines {
        /// A part of them.
        rows: Vec<HostLine>,
        /// Whether another such reply follows.
        more: bool,
    },
    /// Words, in order.
    Words {
        /// The words.
        words: Vec<String>,
    },
    /// How the agent is.
    Health {
        /// The report.
        health: Health,
    },
    /// A list of hosts.
    List {
        /// The ids, one after the other; none if the agent does not have it.
        hosts: Option<Bytes>,
    },
    /// Recoveries of the roots that count.
    Waited {
        /// Their ids.
        recoveries: Vec<EntryId>,
    },
}
wire_choice!(Reply {
    0 = Hello { version, agent, fleet, genesis, host },
    1 = Status { status },
    2 = Items { items, more },
    3 = Hosts { hosts },
    4 = Peers { peers },
    5 = Accepted {},
    6 = Error { why, refused },
    7 = Report { report },
    8 = Running { order, host },
    9 = Chunk { bytes },
    10 = End {},
    11 = Pong { rtt_us, via },
    12 = Invite { shield, addresses },
    13 = Explained { counts, left_out },
    14 = List { hosts },
    20 = Found { paths, rows, left_out, cut, more },
    21 = Tables { about, name, tables, more },
    22 = NoSuchHost { near, candidates },
    23 = Types { types },
    24 = Live { host, stream, at, bytes },
    35 = HostLines { rows, more },
    36 = Words { words },
    37 = Health { health },
    40 = StoreCheck { check },
    41 = Offline { why },
    68 = Waited { recoveries },
});

impl Reply {
    /// Whether another reply to the same request may follow.
    pub fn is_followed(&self) -> bool {
        match self {
            Self::Items { more, .. }
            | Self::HostLines { more, .. }
            | Self::Found { more, .. }
            | Self::Tables { more, .. } => *more,
            Self::Report { .. } | Self::Running { .. } | Self::Live { .. } | Self::Chunk { .. } => true,
            _ => false,
        }
    }
}

/// How an agent is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusReport {
    /// When the mesh process started.
    pub started: Timestamp,
    /// The pid of the executor.
    pub executor_pid: u32,
    /// The pid of the mesh process.
    pub mesh_pid: u32,
    /// Where it listens, as text; none for a host that only dials out.
    pub listen: Vec<String>,
    /// How many members the fleet has, this one too.
    pub members: u32,
    /// How many of them it has a link to.
    pub links: u32,
    /// Entries held.
    pub entries: u64,
    /// The root over all that is held and has not expired: two hosts that hold the same have the same.
    pub root: Option<[u8; 16]>,
    /// Live orders held.
    pub orders: u64,
    /// Results that no keeper has taken yet.
    pub results_unsettled: u64,
    /// What the confinement of the mesh process is, in words.
    pub confinement: String,
    /// Problems, in words: a store that was moved aside, a fork, a chain from a newer version.
    pub problems: Vec<String>,
    /// Named counters, for tests and the curious.
    pub counters: Vec<(String, u64)>,
    /// How many members are up, this one too, and how many cannot be reached.
    pub presence: Option<(u32, u32)>,
    /// This host's name.
    pub name: Option<String>,
    /// Bytes that its store takes on disk.
    pub store_bytes: Option<u64>,
}
wire_record!(StatusReport {
    started,
    executor_pid,
    mesh_pid,
    listen,
    members,
    links,
    entries,
    root,
    orders,
    results_unsettled,
    confinement,
    problems,
    counters,
    presence,
    name,
    store_bytes,
});

/// Rows of one kind in a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreRows {
    /// `entry`, `head`, `facet`, `report` or `unknown`.
    pub kind: String,
    /// How many there are.
    pub rows: u64,
    /// How many bytes their keys and values have.
    pub bytes: u64,
    /// How many of them are damaged.
    pub damaged: u64,
    /// How many are whole, but of no use as long as something else is missing.
    pub waiting: u64,
}
wire_record!(StoreRows { kind, rows, bytes, damaged, waiting });

/// A row with something wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreProblem {
    /// The kind of row.
    pub kind: String,
    /// Its key after the kind, in hexadecimal.
    pub key: String,
    /// Whether it is damaged; else it waits.
    pub damaged: bool,
    /// What is wrong, in words.
    pub what: String,
}
wire_record!(StoreProblem { kind, key, damaged, what });

/// What a store has on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreCheck {
    /// By kind.
    pub kinds: Vec<StoreRows>,
    /// Bytes that its files take.
    pub disk_bytes: u64,
    /// Whether what is on disk is what the agent holds; nothing if that was not compared.
    pub as_held: Option<bool>,
    /// Whether nothing is wrong.
    pub whole: bool,
    /// Why not all of it could be read, if so.
    pub unread: Option<String>,
    /// The first of what is wrong.
    pub problems: Vec<StoreProblem>,
}
wire_record!(StoreCheck { kinds, disk_bytes, as_held, whole, unread, problems });

/// A host as an agent sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRow {
    /// Which host.
    pub host: HostId,
    /// `self`, `up`, `unreachable`, `unknown`, `left`, `quarantined` or `disowned`.
    pub state: String,
    /// When it was last known to be alive, by this agent's clock.
    pub seen: Option<Timestamp>,
    /// Since when it is unreachable.
    pub since: Option<Timestamp>,
    /// How many hosts say so.
    pub witnesses: Option<u32>,
}
wire_record!(HostRow { host, state, seen, since, witnesses });

/// One link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRow {
    /// The host at its other end, if it is a member.
    pub host: Option<HostId>,
    /// The remote address, as text.
    pub address: String,
    /// Whether this end dialled.
    pub dialled: bool,
    /// Since when.
    pub since: Timestamp,
    /// The last round trip, in microseconds, if one was measured.
    pub rtt_us: Option<u64>,
    /// That host's name.
    pub name: Option<String>,
}
wire_record!(PeerRow { host, address, dialled, since, rtt_us, name });

/// A job as a keeper knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRow {
    /// The order.
    pub order: EntryId,
    /// How many reports are held.
    pub reports: u32,
}
wire_record!(JobRow { order, reports });

/// Of how many hosts something is true, false and unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TruthCount {
    /// True.
    pub yes: u32,
    /// False.
    pub no: u32,
    /// Unknown.
    pub unknown: u32,
}
wire_record!(TruthCount { yes, no, unknown });

/// A host that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRow {
    /// Which host, its state and when it was last heard of.
    pub about: HostRow,
    /// Its name.
    pub name: String,
    /// For each path what the host has there: nothing, a value, or several.
    pub values: Vec<Vec<String>>,
    /// Since when that is so, by the host's own clock: the latest change of a facet that was looked at.
    pub changed: Option<Timestamp>,
}
wire_record!(FoundRow { about, name, values, changed });

/// A table of a host, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablePart {
    /// Its name.
    pub name: String,
    /// Its columns.
    pub columns: Vec<String>,
    /// Rows, each with a text for every column.
    pub rows: Vec<Vec<String>>,
    /// How many there are in all.
    pub all: u32,
    /// Since when it is so, by the host's own clock.
    pub changed: Option<Timestamp>,
}
wire_record!(TablePart { name, columns, rows, all, changed });

/// A table that there is in the fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeRow {
    /// Its name.
    pub name: String,
    /// How many hosts have it.
    pub hosts: u32,
    /// How many rows they have in all.
    pub rows: u64,
}
wire_record!(TypeRow { name, hosts, rows });
