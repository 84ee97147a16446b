//! What each link does to what passes, as the engine tells the proxy.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

/// Where a host is dialled, and where it listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Door {
    /// The host.
    pub(super) host: String,
    /// The address that others are told.
    pub(super) at: SocketAddr,
    /// The address where it listens; none for one that only dials out.
    pub(super) to: Option<SocketAddr>,
    /// A directory that belongs to the user who dials for it.
    pub(super) user_of: PathBuf,
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
    Doors(Vec<Door>),
    /// What links do from now on.
    Links(Links),
}

/// Which user holds the socket at `local` that is connected to `remote`, by the kernel's table of IPv4 sockets
/// (`/proc/net/tcp`, see proc(5)).
pub(super) fn user_of(table: &str, local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    let written = |address: SocketAddr| match address {
        // The kernel writes the four bytes of the address as one number of this machine.
        SocketAddr::V4(v4) => Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(v4.ip().octets()), v4.port())),
        SocketAddr::V6(_) => None,
    };
    let (local, remote) = (written(local)?, written(remote)?);
    table.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let here = fields.next()? == local && fields.next()? == remote;
        // State, queues, timer and retransmissions come before it.
        here.then(|| fields.nth(4)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:9C40 014D007F:1F0A 01 00000000:00000000 00:00000000 00000000 70123        0 4711 1 0 20 4 30 10 -1
   1: 014D007F:1F0A 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 4 30 10 -1
";

    #[test]
    #[cfg(target_endian = "little")]
    fn who_dialled_is_found_in_the_kernels_table() {
        let (near, far) = ("127.0.0.1:40000".parse().unwrap(), "127.0.77.1:7946".parse().unwrap());
        assert_eq!(user_of(TABLE, near, far), Some(70_123));
        assert_eq!(user_of(TABLE, far, near), Some(0));
        assert_eq!(user_of(TABLE, near, near), None);
        assert_eq!(user_of("", near, far), None);
    }

    #[test]
    fn what_is_told_is_one_line_and_comes_back() {
        let link = Link { cut: true, ..Link::default() };
        let links = Links::from([("a".to_owned(), BTreeMap::from([("b".to_owned(), link)]))]);
        let line = serde_json::to_string(&Tell::Links(links.clone())).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Tell>(&line).unwrap(), Tell::Links(links));
    }
}
