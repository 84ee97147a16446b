//! A host as selectors see it where all that is known counts.

use super::Replica;
use crate::{
    authority::Host,
    selector::{Look, Path, Root, Subject},
};

impl Replica {
    /// A member as selectors see it where all that is known counts.
    pub fn known<'a>(&'a self, host: &'a Host) -> Known<'a> {
        Known { replica: self, host }
    }
}

/// A host with all that is known of it.
#[derive(Debug)]
pub struct Known<'a> {
    replica: &'a Replica,
    host: &'a Host,
}

impl Subject for Known<'_> {
    fn look(&self, path: &Path) -> Look<'_> {
        match path.root() {
            Root::Tag => self.host.look(path),
            Root::Name => Look::Value(self.host.name().into()),
            Root::Id => Look::Value(self.host.id().to_string().into()),
            Root::State => Look::Value(self.host.standing().word().into()),
            // Unpacked when it is asked for: most selectors never do.
            Root::Agent => self
                .replica
                .node_facet(&self.host.id())
                .map_or(Look::Absent, |node| Look::Value(node.agent.into())),
            // Nobody says yet where a host stands.
            Root::Site => Look::Absent,
            // What hosts say in tables is for who has an index of it.
            _ => Look::Undecided,
        }
    }
}
