//! The hosts of an order, each at its place in the roster.
//!
//! A roster names its hosts one by one or as some of a list; who counts, combines or shows does not care which,
//! and asks this. Always holds: places are dense, from 0, in order of ids, and the same on every host.

use super::Roster;
use crate::{
    authority::{Marks, MemberList},
    identity::HostId,
};

/// The hosts of an order, by place and by id.
#[derive(Clone, Copy, Debug)]
pub struct Seats<'a> {
    /// All that may be meant, in order.
    hosts: &'a [HostId],
    /// Those that are, unless it is all.
    marks: Option<Marks<'a>>,
}

impl<'a> Seats<'a> {
    /// The hosts of a roster; `list` is that which it marks hosts of, where it does and that is known.
    pub fn of(roster: &'a Roster, list: Option<&'a MemberList>) -> Option<Self> {
        match roster {
            Roster::Inline { hosts } => Some(Self { hosts, marks: None }),
            Roster::Bitmap { list: named, members, bits } => {
                let list = list.filter(|list| list.id() == *named && list.members() == *members)?;
                let marks = Marks { list: *named, members: *members, bits: &bits.0 };
                Some(Self { hosts: list.hosts(), marks: Some(marks) })
            }
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.marks.map_or(self.hosts.len(), |marks| marks.count())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A host's place.
    pub fn index_of(&self, host: &HostId) -> Option<u32> {
        let at = u32::try_from(self.hosts.binary_search(host).ok()?).ok()?;
        match self.marks {
            None => Some(at),
            Some(marks) => marks.is_set(at).then(|| marks.before(at)),
        }
    }

    /// Whether a host has a place.
    pub fn contains(&self, host: &HostId) -> bool {
        self.index_of(host).is_some()
    }

    /// The host at a place.
    pub fn host(&self, index: u32) -> Option<HostId> {
        let at = self.marks.map_or(Some(index), |marks| marks.nth(index))?;
        self.hosts.get(usize::try_from(at).ok()?).copied()
    }

    /// All of them, in order of ids, which is that of the places.
    pub fn iter(&self) -> impl Iterator<Item = HostId> + use<'a> {
        let marks = self.marks;
        let meant = move |at: u32| marks.is_none_or(|marks| marks.is_set(at));
        (0_u32..).zip(self.hosts).filter(move |(at, _)| meant(*at)).map(|(_, host)| *host)
    }

    /// All of them.
    pub fn to_vec(&self) -> Vec<HostId> {
        self.iter().collect()
    }
}
