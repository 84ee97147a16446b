//! What each link does to what passes, as the engine tells the proxy.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

/// A machine: where it is dialled, and where it listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Door {
    /// Its name.
    pub(super) host: String,
    /// The address that others are told.
    pub(super) at: SocketAddr,
    /// The address where it listens; none for one that only dials out.
    pub(super) to: Option<SocketAddr>,
}

/// What happens on the way from a host that dials to one that is dialled, both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Link {
    /// Nothing passes.
    pub(super) cut: bool,
    /// And nobody hears of it: what was open stays open.
    pub(super) silent: bool,
    /// How long each byte takes, in milliseconds.
    pub(super) delay_ms: u64,
    /// At most so many bytes a second, each way; 0 for any number.
    pub(super) rate: u64,
    /// How many of a hundred pieces have to be sent again.
    pub(super) loss: u8,
}

/// All links that are not as good as can be, by who dials and who is dialled.
pub(super) type Links = BTreeMap<String, BTreeMap<String, Link>>;

/// One line to the proxy. The first is [`Tell::Doors`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Tell {
    /// Where to listen.
    Doors {
        /// All machines.
        doors: Vec<Door>,
        /// Whether each gets a network of its own, in which the proxy is all that can be reached.
        apart: bool,
    },
    /// What links do from now on.
    Links(Links),
}

/// One line from the proxy: what it was told is so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Done {
    /// The networks of the machines, in the order of the doors, if they have their own.
    pub(super) networks: Vec<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_one_line_and_comes_back() {
        let link = Link { cut: true, ..Link::default() };
        let links = Links::from([("a".to_owned(), BTreeMap::from([("b".to_owned(), link)]))]);
        let line = serde_json::to_string(&Tell::Links(links.clone())).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Tell>(&line).unwrap(), Tell::Links(links));
    }
}
