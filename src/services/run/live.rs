//! Output as it is written, for the operator who waits.
//!
//! It is the hosts' word, carried by agents: nobody signed for it yet. What a host signs at the end says what
//! its output was, and here it is held against what was shown. A piece that does not follow the one before
//! was lost or is made up, and ends what that stream can show live; the whole is fetched later.

use std::{collections::BTreeMap, path::Path};

use super::{
    event::{CHUNK_BYTES_MAX, Chunk},
    output::{Begun, Reader},
};
use crate::{
    control::{Client, ControlError, Reply, Request, StreamName},
    identity::{EntryId, HostId},
    replica::Roster,
};

/// A connection that live output comes on.
#[derive(Debug)]
pub(super) struct Live(Option<Client>);

/// A piece as the agent passed it on.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) host: HostId,
    pub(super) stream: StreamName,
    pub(super) at: u64,
    pub(super) bytes: Vec<u8>,
}

impl Live {
    /// Asks the agent for it: before the order is handed over, so that no start is missed.
    ///
    /// # Errors
    /// When the agent cannot be asked.
    pub(super) async fn ask(socket: &Path, reader: &Reader, order: EntryId) -> Result<Self, ControlError> {
        let mut client = Client::connect(socket).await?;
        client.send(&Request::Live { read: reader.read(), order }).await?;
        Ok(Self(Some(client)))
    }

    /// Nothing to be heard.
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// The next piece. Waits for ever once no more will come: nothing is missed by that, since the whole comes
    /// later. Dropping it loses nothing.
    pub(super) async fn next(&mut self) -> Piece {
        loop {
            let Some(client) = &mut self.0 else { return std::future::pending().await };
            match client.reply().await {
                Ok(Reply::Live { host, stream, at, bytes }) => {
                    return Piece { host, stream, at, bytes: bytes.0 };
                }
                Ok(_) | Err(_) => self.0 = None,
            }
        }
    }
}

/// What of each stream was heard, and in how many pieces; nothing once it is not listened to any more.
#[derive(Debug, Default)]
pub(super) struct Ledger(BTreeMap<(HostId, StreamName), Option<(Begun, u64)>>);

impl Ledger {
    /// Takes a piece: what is to be shown of it, if it is the next of a host of the roster.
    pub(super) fn hear(&mut self, piece: Piece, roster: &Roster) -> Option<Chunk> {
        let Piece { host, stream: fd, at, bytes: data } = piece;
        if data.is_empty() || data.len() > CHUNK_BYTES_MAX || roster.index_of(&host).is_none() {
            return None;
        }
        let (begun, pieces) =
            self.0.entry((host, fd)).or_insert_with(|| Some(Default::default())).as_mut()?;
        if begun.at() != at {
            return None;
        }
        let seq = *pieces;
        begun.take(&data);
        *pieces += 1;
        Some(Chunk { host, fd, seq, data })
    }

    /// What of a stream was heard, and how many pieces that were. What comes later is not listened to.
    pub(super) fn settle(&mut self, host: HostId, fd: StreamName) -> (Begun, u64) {
        self.0.insert((host, fd), None).flatten().unwrap_or_default()
    }

    /// Whether anything of a stream was heard.
    pub(super) fn heard(&self, host: HostId, fd: StreamName) -> bool {
        self.0.get(&(host, fd)).is_some_and(Option::is_some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(host: HostId, stream: StreamName, at: u64, bytes: &[u8]) -> Piece {
        Piece { host, stream, at, bytes: bytes.to_vec() }
    }

    #[test]
    fn pieces_that_follow_each_other_are_shown_and_others_are_not() {
        let (host, out) = (HostId([7; 32]), StreamName::Stdout);
        let roster = Roster::Inline { hosts: vec![host] };
        let mut ledger = Ledger::default();
        assert_eq!(ledger.hear(piece(host, out, 0, b"ab"), &roster).unwrap().seq, 0);
        assert_eq!(ledger.hear(piece(host, out, 2, b"c"), &roster).unwrap().seq, 1);
        for at in [0, 2, 4, u64::MAX] {
            assert_eq!(ledger.hear(piece(host, out, at, b"x"), &roster), None, "{at}");
        }
        // The streams count by themselves; nobody else is heard.
        assert_eq!(ledger.hear(piece(host, StreamName::Stderr, 0, b"e"), &roster).unwrap().seq, 0);
        assert_eq!(ledger.hear(piece(HostId([8; 32]), out, 0, b"x"), &roster), None);
        assert_eq!(ledger.hear(piece(host, out, 3, &vec![0; CHUNK_BYTES_MAX + 1]), &roster), None);
        assert!(ledger.heard(host, out));
        let (begun, pieces) = ledger.settle(host, out);
        assert_eq!((begun.at(), pieces), (3, 2));
        assert!(!ledger.heard(host, out));
        // Late ones: the result has said it all.
        assert_eq!(ledger.hear(piece(host, out, 0, b"ab"), &roster), None);
        assert_eq!(ledger.settle(host, out).1, 0);
    }
}
