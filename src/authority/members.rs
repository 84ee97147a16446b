//! Lists of hosts that have one name: orders that are for many say which of a list they are for, by place.
//!
//! Decides whether bytes are a list and which name it has, and whether a host stands at a place of the list of a
//! name. Always holds: a list is sorted, has each host once and at most [`MEMBERS_MAX`]; no two lists have one
//! name; what lies about a list is found out by its name alone. A list gives no right: who is not in it is merely
//! not meant, and that a host is meant says the signed order, not whoever brought the list.
//!
//! The name is the root of a Merkle tree of the shape of RFC 9162, section 2.1, over the ids, hashed together with
//! their number; leaves, nodes and roots are hashed apart, so that none is taken for another.

use crate::{
    identity::{HostId, short},
    wire::{Bytes, Value, Wire, WireError},
    wire_choice, wire_record,
};

/// Most hosts of a list.
pub const MEMBERS_MAX: usize = 16_384;
/// Hashes of the longest path: the depth of the tree over [`MEMBERS_MAX`].
const PATH_MAX: usize = 14;
const ID_BYTES: usize = 32;

/// What a list is called: see the module.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListId(pub [u8; 32]);

impl std::fmt::Debug for ListId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ListId({})", short(&self.0, 8))
    }
}

impl Wire for ListId {
    fn to_value(&self) -> Value {
        self.0.to_value()
    }
    fn from_value(value: Value, field: &'static str) -> Result<Self, WireError> {
        <[u8; 32]>::from_value(value, field).map(Self)
    }
}

/// Why bytes are no list, or not the one that was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// Not whole ids.
    #[error("a list of hosts that is cut short")]
    CutShort,
    /// More than [`MEMBERS_MAX`], or none.
    #[error("a list of {0} hosts, where 1 to {MEMBERS_MAX} may be")]
    Length(usize),
    /// Not sorted, or one twice.
    #[error("a list of hosts out of order")]
    Order,
    /// A difference to another list than the one at hand, or one that names what is not there.
    #[error("a difference to another list")]
    Base,
    /// Another list than the one that was named.
    #[error("another list than the one that is named")]
    Other,
}

/// A sorted list of hosts, and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberList {
    hosts: Vec<HostId>,
    id: ListId,
}

/// A host's place in a list, with what proves it to who has the list's name alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPlace {
    /// Where it stands.
    pub index: u32,
    /// The hashes beside the way from it to the root, the nearest first.
    pub path: Vec<[u8; 32]>,
}
wire_record!(ListPlace { index, path });

/// A list on its way to who lacks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listing {
    /// Nobody has it here.
    Absent {},
    /// All of it.
    Whole {
        /// The ids, one after the other.
        hosts: Bytes,
    },
    /// What differs from one that the receiver has.
    Changed {
        /// That one.
        base: ListId,
        /// The places there of the hosts that are gone, in order.
        removed: Vec<u32>,
        /// The ids of those that came, in order, one after the other.
        added: Bytes,
    },
}
wire_choice!(Listing {
    0 = Absent {},
    1 = Whole { hosts },
    2 = Changed { base, removed, added },
});

impl Listing {
    /// About how long it is, in bytes.
    pub fn weight(&self) -> usize {
        match self {
            Self::Absent {} => 0,
            Self::Whole { hosts } => hosts.0.len(),
            Self::Changed { removed, added, .. } => ID_BYTES + removed.len() * 3 + added.0.len(),
        }
    }
}

impl MemberList {
    /// The list of these hosts, whatever their order; each counts once.
    ///
    /// # Errors
    /// When there are none, or too many.
    pub fn of(hosts: impl IntoIterator<Item = HostId>) -> Result<Self, ListError> {
        let mut hosts: Vec<HostId> = hosts.into_iter().take(2 * MEMBERS_MAX).collect();
        hosts.sort_unstable();
        hosts.dedup();
        Self::sorted(hosts)
    }

    fn sorted(hosts: Vec<HostId>) -> Result<Self, ListError> {
        if hosts.is_empty() || hosts.len() > MEMBERS_MAX {
            return Err(ListError::Length(hosts.len()));
        }
        if !hosts.is_sorted_by(|a, b| a < b) {
            return Err(ListError::Order);
        }
        let id = Tree::new().name(&hosts);
        Ok(Self { hosts, id })
    }

    /// Reads ids that stand one after the other.
    ///
    /// # Errors
    /// When they are no list.
    pub fn read(bytes: &[u8]) -> Result<Self, ListError> {
        Self::sorted(ids(bytes)?)
    }

    /// Its ids, one after the other.
    pub fn bytes(&self) -> Bytes {
        packed(&self.hosts)
    }

    /// Its name.
    pub fn id(&self) -> ListId {
        self.id
    }

    /// Its hosts, in order.
    pub fn hosts(&self) -> &[HostId] {
        &self.hosts
    }

    /// How many there are.
    pub fn members(&self) -> u32 {
        u32::try_from(self.hosts.len()).unwrap_or(u32::MAX)
    }

    /// A host's place.
    pub fn index_of(&self, host: &HostId) -> Option<u32> {
        self.hosts.binary_search(host).ok().and_then(|at| u32::try_from(at).ok())
    }

    /// A host's place, with its proof. Goes over the whole list.
    pub fn place(&self, host: &HostId) -> Option<ListPlace> {
        let index = self.index_of(host)?;
        let mut at = usize::try_from(index).ok()?;
        let tree = Tree::new();
        let mut level: Vec<[u8; 32]> = self.hosts.iter().map(|host| tree.leaf(host)).collect();
        let mut path = Vec::new();
        while level.len() > 1 {
            path.extend(level.get(at ^ 1).copied());
            level = tree.above(&level);
            at /= 2;
        }
        Some(ListPlace { index, path })
    }

    /// What makes this list of another; the whole of it where that is shorter.
    pub fn listing(&self, base: Option<&Self>) -> Listing {
        let whole = || Listing::Whole { hosts: self.bytes() };
        let Some(base) = base else { return whole() };
        let (mut removed, mut added) = (Vec::new(), Vec::new());
        let (mut old, mut new) = ((0_u32..).zip(&base.hosts).peekable(), self.hosts.iter().peekable());
        loop {
            match (old.peek(), new.peek()) {
                (Some((_, was)), Some(is)) if was == is => {
                    old.next();
                    new.next();
                }
                (Some((at, was)), is) if is.is_none_or(|is| was < is) => {
                    removed.push(*at);
                    old.next();
                }
                (_, Some(is)) => {
                    added.push(**is);
                    new.next();
                }
                (_, None) => break,
            }
        }
        let changed = Listing::Changed { base: base.id, removed, added: packed(&added) };
        if changed.weight() < self.hosts.len() * ID_BYTES { changed } else { whole() }
    }

    /// The list called `id`, from what somebody says that it is; `base` finds a list that is here.
    ///
    /// # Errors
    /// When it is another, or none. It is believed by its name alone.
    pub fn from_listing<'a>(
        id: ListId,
        listing: &Listing,
        base: impl Fn(&ListId) -> Option<&'a Self>,
    ) -> Result<Self, ListError> {
        let list = match listing {
            Listing::Absent {} => return Err(ListError::Other),
            Listing::Whole { hosts } => Self::read(&hosts.0)?,
            Listing::Changed { base: named, removed, added } => {
                base(named).ok_or(ListError::Base)?.changed(removed, &added.0)?
            }
        };
        if list.id == id { Ok(list) } else { Err(ListError::Other) }
    }

    fn changed(&self, removed: &[u32], added: &[u8]) -> Result<Self, ListError> {
        if !removed.is_sorted_by(|a, b| a < b) || removed.last().is_some_and(|last| *last >= self.members()) {
            return Err(ListError::Base);
        }
        let mut gone = removed.iter().peekable();
        let stay = (0_u32..).zip(&self.hosts).filter(|(at, _)| gone.next_if_eq(&at).is_none());
        let mut hosts: Vec<HostId> = stay.map(|(_, host)| *host).collect();
        hosts.extend(ids(added)?);
        hosts.sort_unstable();
        Self::sorted(hosts)
    }
}

/// Whether `host` stands at `place` of the list called `list`, which has so many members. Needs no list.
pub fn stands(list: &ListId, members: u32, host: &HostId, place: &ListPlace) -> bool {
    let count = usize::try_from(members).unwrap_or(usize::MAX);
    if place.index >= members || count > MEMBERS_MAX || place.path.len() > PATH_MAX {
        return false;
    }
    let tree = Tree::new();
    let (mut at, mut last) = (place.index, members - 1);
    let mut hash = tree.leaf(host);
    let mut beside = place.path.iter();
    while last > 0 {
        // The last of an odd number goes up as it is.
        if at % 2 == 1 || at < last {
            let Some(other) = beside.next() else { return false };
            hash = if at % 2 == 1 { tree.node(other, &hash) } else { tree.node(&hash, other) };
        }
        (at, last) = (at / 2, last / 2);
    }
    beside.next().is_none() && tree.root(count, &hash) == *list
}

fn ids(bytes: &[u8]) -> Result<Vec<HostId>, ListError> {
    let (ids, rest) = bytes.as_chunks::<ID_BYTES>();
    if !rest.is_empty() {
        return Err(ListError::CutShort);
    }
    if ids.len() > MEMBERS_MAX {
        return Err(ListError::Length(ids.len()));
    }
    Ok(ids.iter().map(|id| HostId(*id)).collect())
}

fn packed(hosts: &[HostId]) -> Bytes {
    Bytes(hosts.iter().flat_map(|host| host.0).collect())
}

/// What the tree is hashed with; each begun once.
struct Tree {
    leaf: blake3::Hasher,
    node: blake3::Hasher,
}

impl Tree {
    fn new() -> Self {
        Self {
            leaf: blake3::Hasher::new_derive_key("muster/members/leaf/v1"),
            node: blake3::Hasher::new_derive_key("muster/members/node/v1"),
        }
    }

    fn leaf(&self, host: &HostId) -> [u8; 32] {
        *self.leaf.clone().update(&host.0).finalize().as_bytes()
    }

    fn node(&self, left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
        *self.node.clone().update(left).update(right).finalize().as_bytes()
    }

    fn above(&self, level: &[[u8; 32]]) -> Vec<[u8; 32]> {
        let pair = |pair: &[[u8; 32]]| match pair {
            [left, right] => self.node(left, right),
            [one] => *one,
            _ => [0; 32],
        };
        level.chunks(2).map(pair).collect()
    }

    #[expect(clippy::unused_self, reason = "the three kinds of hash stand together")]
    fn root(&self, members: usize, top: &[u8; 32]) -> ListId {
        let mut hasher = blake3::Hasher::new_derive_key("muster/members/root/v1");
        hasher.update(&(members as u64).to_be_bytes()).update(top);
        ListId(*hasher.finalize().as_bytes())
    }

    fn name(&self, hosts: &[HostId]) -> ListId {
        let mut level: Vec<[u8; 32]> = hosts.iter().map(|host| self.leaf(host)).collect();
        while level.len() > 1 {
            level = self.above(&level);
        }
        self.root(hosts.len(), &level.first().copied().unwrap_or_default())
    }
}

#[cfg(test)]
#[path = "members_tests.rs"]
mod tests;
