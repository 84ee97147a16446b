//! A host as selectors see it where all that is known counts.

use super::Replica;
use crate::{
    authority::{Host, Standing},
    selector::{Look, Path, Subject},
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
        if path.tag().is_some() {
            return self.host.look(path);
        }
        match path.to_string().as_str() {
            "name" => Look::Value(self.host.name().into()),
            "id" => Look::Value(self.host.id().to_string().into()),
            "state" => Look::Value(
                match self.host.standing() {
                    Standing::Member => "member",
                    Standing::Left => "left",
                    Standing::Quarantined => "quarantined",
                    Standing::Disowned => "disowned",
                }
                .into(),
            ),
            // Unpacked when it is asked for: most selectors never do.
            "agent" => self
                .replica
                .node_facet(&self.host.id())
                .map_or(Look::Absent, |node| Look::Value(node.agent.into())),
            _ => Look::Absent,
        }
    }
}
