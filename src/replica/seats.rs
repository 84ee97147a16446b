//! The hosts of an order, each at its place in the roster.
//!
//! A roster names its hosts one by one or as some of a list; who counts, combines or shows does not care which,
//! and asks this. Always holds: places are dense, from 0, in order of ids, and the same on every host.

use super::Roster;
use crate::identity::HostId;

/// The hosts of an order, by place and by id.
#[derive(Clone, Copy, Debug)]
pub struct Seats<'a> {
    hosts: &'a [HostId],
}

impl<'a> Seats<'a> {
    /// The hosts of a roster.
    pub(super) fn of(roster: &'a Roster) -> Option<Self> {
        match roster {
            Roster::Inline { hosts } => Some(Self { hosts }),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A host's place.
    pub fn index_of(&self, host: &HostId) -> Option<u32> {
        self.hosts.binary_search(host).ok().and_then(|at| u32::try_from(at).ok())
    }

    /// Whether a host has a place.
    pub fn contains(&self, host: &HostId) -> bool {
        self.index_of(host).is_some()
    }

    /// The host at a place.
    pub fn host(&self, index: u32) -> Option<HostId> {
        self.hosts.get(usize::try_from(index).ok()?).copied()
    }

    /// All of them, in order of ids, which is that of the places.
    pub fn iter(&self) -> impl Iterator<Item = HostId> + use<'a> {
        self.hosts.iter().copied()
    }
}
