//! Output of any length, as its host's executor signed for it, in pieces.

use std::{io, path::Path, time::Duration};

use crate::{
    control::{Client, ControlError, Reply, Request, StreamName},
    identity::{EntryId, HostId, Signed},
    journal::OperatorHome,
    replica::{Order, Output, ReadRequest},
    time::Timestamp,
    wire::Bytes,
};

/// How long a request to read is good for.
const READ_VALID: Duration = Duration::from_secs(600);
/// How long the agent may take between two pieces.
const PIECE_WITHIN: Duration = Duration::from_secs(60);

/// Why output is not there, or not whole. Pieces may have been handed on.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The host or the agent did not give it.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// What came is not what was signed.
    #[error("it is not what was signed: {0}")]
    NotAsSigned(&'static str),
    /// It cannot be written where it should go.
    #[error("it cannot be written")]
    Sink(#[from] io::Error),
}

/// Takes pieces as they come.
pub(super) type Sink<'a> = dyn FnMut(&[u8]) -> io::Result<()> + Send + 'a;

/// The right to read the output of a job's orders, and where to ask for it.
pub(super) struct Reader<'a> {
    socket: &'a Path,
    /// Each order's right, and the hosts that it is about, in order.
    reads: Vec<(EntryId, Signed<ReadRequest>, &'a [HostId])>,
}

impl<'a> Reader<'a> {
    /// Signs the requests to read the output of these orders.
    pub(super) fn sign(
        home: &OperatorHome,
        socket: &'a Path,
        orders: &'a [Signed<Order>],
        now: Timestamp,
    ) -> Self {
        let (certificate, fleet) = (home.certificate, home.chain.fleet());
        let read = |order: &'a Signed<Order>| {
            let id = order.id();
            let body = ReadRequest { certificate, order: id, issued: now, expires: now.after(READ_VALID) };
            (id, Signed::sign(fleet, &home.key, body), order.body().roster.hosts())
        };
        Self { socket, reads: orders.iter().map(read).collect() }
    }

    /// Hands one output stream of `host` on to `sink`, piece by piece; `signed` is what its executor
    /// signed for. Holds one piece at a time.
    ///
    /// # Errors
    /// [`FetchError`]; when it is not what was signed, that is known only after the last piece.
    pub(super) async fn copy(
        &self,
        host: HostId,
        stream: StreamName,
        signed: Output,
        sink: &mut Sink<'_>,
    ) -> Result<(), FetchError> {
        if signed.kept == 0 {
            return Ok(());
        }
        let read = self.reads.iter().find(|(_, _, hosts)| hosts.binary_search(&host).is_ok());
        let Some((order, read, _)) = read else {
            return Err(ControlError::Malformed("no order is for this host".to_owned()).into());
        };
        let mut client = Client::connect(self.socket).await?;
        let read = Bytes::from(read.bytes());
        client.send(&Request::Output { read, order: *order, host, stream }).await?;
        let (mut hasher, mut left) = (blake3::Hasher::new(), signed.kept);
        loop {
            match client.reply_within(PIECE_WITHIN).await? {
                Reply::Chunk { bytes } => {
                    let length = bytes.0.len() as u64;
                    left = left.checked_sub(length).ok_or(FetchError::NotAsSigned("it is longer"))?;
                    hasher.update(&bytes.0);
                    sink(&bytes.0)?;
                }
                Reply::End {} if left > 0 => return Err(FetchError::NotAsSigned("it is shorter")),
                Reply::End {} if *hasher.finalize().as_bytes() != signed.hash => {
                    return Err(FetchError::NotAsSigned("its hash is another"));
                }
                Reply::End {} => return Ok(()),
                Reply::Error { why, refused } => {
                    return Err(ControlError::Refused { why, right: refused }.into());
                }
                _ => return Err(ControlError::Malformed("not a piece of output".to_owned()).into()),
            }
        }
    }
}
