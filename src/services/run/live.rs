//! Output as it is written, for the operator who waits.
//!
//! It is the hosts' word, carried by agents: nobody signed for it yet. What a host signs at the end says what
//! its output was, and here it is held against what was shown. A piece that does not follow the one before
//! was lost or is made up, and ends what that stream can show live; the whole is fetched later.

use std::{collections::BTreeMap, path::Path};

use futures::{
    StreamExt as _,
    stream::{BoxStream, SelectAll, unfold},
};

use super::event::{CHUNK_BYTES_MAX, Chunk};
use crate::{
    control::{Client, ControlError, Reply, Request, StreamName},
    identity::{EntryId, HostId},
    wire::Bytes,
};

/// Orders of one job whose output is followed live at a time, the last ones.
const ORDERS_MAX: usize = 4;

/// What comes live of a job's orders, each on a connection of its own.
#[derive(Default)]
pub(super) struct Live(SelectAll<BoxStream<'static, Piece>>);

/// A piece as the agent passed it on.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) host: HostId,
    pub(super) stream: StreamName,
    pub(super) at: u64,
    pub(super) bytes: Vec<u8>,
}

impl Live {
    /// Asks the agent for what comes of an order: before that is handed over, so that no start is missed. `read` is
    /// the signed request.
    ///
    /// # Errors
    /// When the agent cannot be asked.
    pub(super) async fn add(
        &mut self,
        socket: &Path,
        read: Bytes,
        order: EntryId,
    ) -> Result<(), ControlError> {
        if self.0.len() >= ORDERS_MAX {
            // The earliest waves: they are done, or as slow as what is shown when it is whole.
            self.0.clear();
        }
        let mut client = Client::connect(socket).await?;
        client.send(&Request::Live { read, order }).await?;
        let pieces = unfold(client, |mut client| async move {
            match client.reply().await {
                Ok(Reply::Live { host, stream, at, bytes }) => {
                    Some((Piece { host, stream, at, bytes: bytes.0 }, client))
                }
                Ok(_) | Err(_) => None,
            }
        });
        self.0.push(pieces.boxed());
        Ok(())
    }

    /// The next piece. Waits for ever once no more will come: nothing is missed by that, since the whole comes
    /// later. Dropping it loses nothing.
    pub(super) async fn next(&mut self) -> Piece {
        match self.0.next().await {
            Some(piece) => piece,
            None => std::future::pending().await,
        }
    }
}

/// How far each stream was heard.
#[derive(Debug, Default)]
pub(super) struct Ledger(BTreeMap<(HostId, StreamName), (u64, u64)>);

impl Ledger {
    /// Takes a piece: what is to be shown of it, if it is the next one. What comes of hosts that the job does not
    /// know is for the caller to leave out.
    pub(super) fn hear(&mut self, piece: Piece) -> Option<Chunk> {
        let Piece { host, stream: fd, at, bytes: data } = piece;
        if data.is_empty() || data.len() > CHUNK_BYTES_MAX {
            return None;
        }
        let (heard, pieces) = self.0.entry((host, fd)).or_default();
        if *heard != at {
            return None;
        }
        let seq = *pieces;
        *heard = at.saturating_add(data.len() as u64);
        *pieces += 1;
        Some(Chunk { host, fd, seq, data })
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
        let mut ledger = Ledger::default();
        assert_eq!(ledger.hear(piece(host, out, 0, b"ab")).unwrap().seq, 0);
        assert_eq!(ledger.hear(piece(host, out, 2, b"c")).unwrap().seq, 1);
        for at in [0, 2, 4, u64::MAX] {
            assert_eq!(ledger.hear(piece(host, out, at, b"x")), None, "{at}");
        }
        // The streams count by themselves.
        assert_eq!(ledger.hear(piece(host, StreamName::Stderr, 0, b"e")).unwrap().seq, 0);
        assert_eq!(ledger.hear(piece(host, out, 3, &vec![0; CHUNK_BYTES_MAX + 1])), None);
    }
}
