//! What was last fetched and verified, in files of a context's directory: the entries, and rows and words made of them
//! for lists and completion, which have no time to verify anything.
//!
//! Whoever reads the entries verifies them again like an agent's; a file that is not as it was written is moved
//! aside. Rows say nothing of now: a host that was up is shown as unknown, last seen when they were made.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read as _, Write as _},
    net::SocketAddr,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use crate::{
    authority::Standing,
    control::{HostLine, HostRow},
    identity::HostId,
    replica::{Item, Replica},
    selector::Root,
    time::Timestamp,
    wire::{self, Wire},
    wire_record,
};

/// How each file begins.
const MAGIC: &[u8; 16] = b"muster context 1";
/// Longest file, in bytes.
pub(super) const FILE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Bytes of the checksum at its end.
const SUM_BYTES: usize = 32;
/// Words of one kind that are given at most.
const WORDS_MAX: usize = 1000;

/// A member that can be dialled, or asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Which host.
    pub host: HostId,
    /// Its name.
    pub name: String,
    /// The key that it proves itself with on the wire.
    pub transport: [u8; 32],
    /// Where it says it listens, as text.
    pub addresses: Vec<String>,
}
wire_record!(Known { host, name, transport, addresses });

impl Known {
    /// Where it listens.
    pub fn dialled(&self) -> Vec<SocketAddr> {
        self.addresses.iter().filter_map(|address| address.parse().ok()).collect()
    }
}

/// Rows, for lists and completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// When they were fetched.
    pub at: Timestamp,
    /// The fleet's label.
    pub fleet: String,
    /// The name of the member that was asked.
    pub member: String,
    /// The hosts.
    pub lines: Vec<HostLine>,
    /// Members and their keys.
    pub known: Vec<Known>,
    /// People with a certificate.
    pub operators: Vec<String>,
    /// Names of groups.
    pub groups: Vec<String>,
    /// Live orders, as people type them.
    pub jobs: Vec<String>,
    /// Types of facts.
    pub types: Vec<String>,
}
wire_record!(Kept { at, fleet, member, lines, known, operators, groups, jobs, types });

/// Entries as they were verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entries {
    /// When they were fetched.
    pub at: Timestamp,
    /// Who belongs, who may do what, and what hosts say they run.
    pub fleet: Vec<Item>,
    /// Live orders and cancellations.
    pub orders: Vec<Item>,
}
wire_record!(Entries { at, fleet, orders });

/// What is there of a file.
#[derive(Debug)]
pub(super) enum Read<T> {
    /// What it says.
    Whole(T),
    /// There is none.
    Nothing,
    /// It was damaged, and was moved to where this says.
    Aside(PathBuf),
}

impl Kept {
    /// Makes rows of a verified fleet. `seen` is how the member that was asked sees the hosts, `lines` what it lists.
    pub fn of(
        replica: &Replica,
        lines: Vec<HostLine>,
        types: Vec<String>,
        member: HostId,
        at: Timestamp,
    ) -> Self {
        let authority = replica.authority();
        let name = |host: &HostId| authority.host(host).map(|host| host.name().to_owned());
        let known = authority.members().map(|host| Known {
            host: host.id(),
            name: host.name().to_owned(),
            transport: host.transport().bytes(),
            addresses: replica.node_facet(&host.id()).map(|node| node.addresses).unwrap_or_default(),
        });
        // What a member lists is its own word: only hosts that the entries know are kept, under their names.
        let lines = lines.into_iter().filter_map(|mut line| {
            let host = authority.host(&line.about.host)?;
            host.name().clone_into(&mut line.name);
            line.about = past(&line.about, host.standing(), at);
            Some(line)
        });
        let people = authority.chain().certificates().map(|(_, held)| held.person.clone());
        Self {
            at,
            fleet: authority.chain().genesis().name.clone(),
            member: name(&member).unwrap_or_default(),
            lines: lines.collect(),
            known: known.collect(),
            operators: people.collect(),
            groups: authority.groups().map(|(name, _)| name.to_owned()).collect(),
            jobs: replica.orders().map(|order| order.signed().id().short()).collect(),
            types,
        }
    }
}

/// A row as it is true later: who was up then may be so or not.
fn past(row: &HostRow, standing: Standing, at: Timestamp) -> HostRow {
    let up = matches!(row.state.as_str(), "up" | "self");
    let state = match standing {
        Standing::Member => "unknown",
        other => other.word(),
    };
    let seen = if up { Some(row.seen.unwrap_or(at).min(at)) } else { row.seen.map(|seen| seen.min(at)) };
    HostRow { host: row.host, state: state.to_owned(), seen, since: None, witnesses: None }
}

/// Every word that a shell may finish, a line each: its kind, a tab, the word. A list of lines because it is read
/// between two keys that a person presses.
fn word_lines(kept: &Kept) -> String {
    let mut words: BTreeSet<(&str, String)> = BTreeSet::new();
    for line in kept.lines.iter().filter(|line| line.about.state == "unknown") {
        words.insert(("host", line.name.clone()));
        for (key, value) in &line.tags {
            words.insert(("tag", format!("{key}=")));
            words.insert(("pair", format!("{key}={value}")));
            words.insert(("path", format!("tag.{key}")));
        }
    }
    for root in Root::EVERY {
        words.insert(("path", root.name().to_owned()));
    }
    for (kind, all) in
        [("operator", &kept.operators), ("group", &kept.groups), ("job", &kept.jobs), ("type", &kept.types)]
    {
        words.extend(all.iter().map(|word| (kind, word.clone())));
    }
    let plain = |word: &str| !word.contains(char::is_control);
    let lines = words.iter().filter(|(_, word)| plain(word)).map(|(kind, word)| format!("{kind}\t{word}\n"));
    lines.collect()
}

fn words_in(lines: &str, kind: &str, start: &str, limit: u32) -> Vec<String> {
    let kind = if kind == "tag" && start.contains('=') { "pair" } else { kind };
    let of_kind = lines.lines().filter_map(|line| line.strip_prefix(kind)?.strip_prefix('\t'));
    let begin = of_kind.filter(|word| word.starts_with(start));
    begin.take(WORDS_MAX.min(limit as usize)).map(str::to_owned).collect()
}

/// The words of a kind that begin with `start`, out of what is kept, as an agent gives them.
pub(super) fn words_kept(kept: &Kept, kind: &str, start: &str, limit: u32) -> Vec<String> {
    words_in(&word_lines(kept), kind, start, limit)
}

/// The same for the context in `dir`, at once; nothing where nothing is kept.
pub fn words_at(dir: &Path, kind: &str, start: &str, limit: u32) -> Option<Vec<String>> {
    let bytes = read_own(&dir.join("words")).ok().flatten()?;
    Some(words_in(std::str::from_utf8(&bytes).ok()?, kind, start, limit))
}

/// The file of rows of the context in `dir`.
pub(super) fn kept_path(dir: &Path) -> PathBuf {
    dir.join("hosts")
}

/// Its file of entries.
pub(super) fn entries_path(dir: &Path) -> PathBuf {
    dir.join("replica")
}

impl Kept {
    /// Reads the rows of the context in `dir`, for whoever must not be told of trouble: nothing then.
    pub fn glance(dir: &Path) -> Option<Self> {
        read_whole(&kept_path(dir)).ok().flatten()
    }
}

/// Reads a file. One that is damaged is moved aside.
pub(super) fn read<T: Wire>(path: &Path) -> Read<T> {
    match read_whole(path) {
        Ok(Some(value)) => Read::Whole(value),
        Ok(None) => Read::Nothing,
        Err(_) => {
            let aside = path.with_extension("damaged");
            match fs::rename(path, &aside) {
                Ok(()) => Read::Aside(aside),
                Err(_) => Read::Nothing,
            }
        }
    }
}

/// The bytes of a file that this user alone may write.
fn read_own(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let file = match fs::OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let about = file.metadata()?;
    let me = rustix::process::geteuid().as_raw();
    // Who else could write it, could as well write the key beside it.
    let ours = about.is_file() && about.uid() == me && about.mode() & 0o022 == 0;
    if !ours || about.len() > FILE_BYTES_MAX as u64 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX as u64).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn read_whole<T: Wire>(path: &Path) -> io::Result<Option<T>> {
    let damaged = || io::Error::from(io::ErrorKind::InvalidData);
    let Some(bytes) = read_own(path)? else { return Ok(None) };
    let at = bytes.len().checked_sub(SUM_BYTES).ok_or_else(damaged)?;
    let (body, sum) = bytes.split_at_checked(at).ok_or_else(damaged)?;
    if blake3::hash(body).as_bytes() != sum {
        return Err(damaged());
    }
    let body = body.strip_prefix(MAGIC).ok_or_else(damaged)?;
    wire::decode(body, FILE_BYTES_MAX).map(Some).map_err(|_| damaged())
}

/// Keeps rows, and the words of them.
pub(super) fn keep(dir: &Path, kept: &Kept) -> io::Result<()> {
    write(&kept_path(dir), kept)?;
    replace(&dir.join("words"), word_lines(kept).as_bytes())
}

/// Writes a value, whole or not at all.
pub(super) fn write<T: Wire>(path: &Path, value: &T) -> io::Result<()> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&wire::encode(value));
    let sum = blake3::hash(&bytes);
    bytes.extend_from_slice(sum.as_bytes());
    replace(path, &bytes)
}

/// Replaces a file in one step: a reader or a crash sees the old one or the new one.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let new = path.with_extension(format!("new-{}", std::process::id()));
    let written = (|| {
        let flags = OFlags::NOFOLLOW.bits().cast_signed();
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600).custom_flags(flags);
        options.open(&new)?.write_all(bytes)?;
        fs::rename(&new, path)
    })();
    if written.is_err() {
        let _best_effort = fs::remove_file(&new);
    }
    written
}
