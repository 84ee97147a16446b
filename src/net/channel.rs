//! Carries typed messages over one stream, in frames, bounded on both sides.
//!
//! Receiving and sending are safe to drop: a half-read frame stays in the receiver, a half-written one
//! in the sender, and the next call goes on with it.

use std::{
    future::poll_fn,
    io,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf, ReadHalf, WriteHalf},
    sync::OwnedSemaphorePermit,
    time::timeout,
};

use super::Standing;
use crate::wire::{self, FRAME_HEADER_BYTES, FrameError, FrameReader, Wire, WireError};

/// Bytes read at a time; the buffer is on the stack and only while something is being read.
const READ_BYTES: usize = 16 * 1024;
/// Encoded bytes gathered before they are written, and the buffer that a quiet sender may keep.
const BATCH_BYTES: usize = 64 * 1024;

/// One conversation: which messages travel, under which name, and who may begin it.
pub trait Protocol: Send + 'static {
    /// The name agreed on when a stream opens, `/muster/…/1`; the number is the version.
    const NAME: &'static str;
    /// Longest encoded message, either way.
    const MESSAGE_BYTES_MAX: usize;
    /// Longest encoded message of who opens it, where that is less.
    const REQUEST_BYTES_MAX: usize = Self::MESSAGE_BYTES_MAX;
    /// The least standing that may open it.
    const ADMITS: Standing;
    /// What the opener sends.
    type Request: Wire + Send + Sync;
    /// What the acceptor sends.
    type Reply: Wire + Send + Sync;
}

/// Why a message could not be sent or received.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The stream broke. It is of no more use.
    #[error("{protocol}: stream lost")]
    Lost {
        /// The protocol.
        protocol: &'static str,
        /// What broke it.
        source: io::Error,
    },
    /// The stream ended inside a message, which is dropped.
    #[error("{protocol}: stream ended inside a message")]
    Cut {
        /// The protocol.
        protocol: &'static str,
    },
    /// A message is announced, or was to be sent, over the limit. One announced makes the stream
    /// useless, and nothing of it was read; one to be sent was not, and the stream goes on.
    #[error("{protocol}: message too long")]
    TooLong {
        /// The protocol.
        protocol: &'static str,
        /// How long, and the limit.
        source: FrameError,
    },
    /// A whole message came that is none of this protocol; it is dropped.
    #[error("{protocol}: malformed message")]
    Malformed {
        /// The protocol.
        protocol: &'static str,
        /// What is wrong with it.
        source: WireError,
    },
    /// The time ran out. Nothing is lost: the call can be made again.
    #[error("{protocol}: nothing within {} s", within.as_secs_f32())]
    TimedOut {
        /// The protocol.
        protocol: &'static str,
        /// The time there was.
        within: Duration,
    },
}

trait Duplex: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Duplex for T {}

/// A stream as bytes.
pub struct Io {
    stream: Pin<Box<dyn Duplex>>,
    /// The service's slot that this stream takes; free again when the last part of it is dropped.
    _slot: Option<OwnedSemaphorePermit>,
}

impl Io {
    pub(super) fn new(
        stream: impl AsyncRead + AsyncWrite + Send + 'static,
        slot: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self { stream: Box::pin(stream), _slot: slot }
    }
}

impl std::fmt::Debug for Io {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Io").finish_non_exhaustive()
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_read(cx, buf)
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(cx)
    }
}

/// A stream that speaks `P`.
#[derive(Debug)]
pub struct Channel<P: Protocol> {
    incoming: In,
    outgoing: Out,
    protocol: PhantomData<fn() -> P>,
}

impl<P: Protocol> Channel<P> {
    /// Speaks `P` over any stream of bytes: a service does not know how its stream arrived.
    pub fn over(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        Self::on(Io::new(stream, None))
    }

    pub(super) fn on(io: Io) -> Self {
        let (read, write) = tokio::io::split(io);
        let (protocol, limit) = (P::NAME, P::MESSAGE_BYTES_MAX);
        Self {
            incoming: In {
                protocol,
                limit,
                half: read,
                frames: FrameReader::new(limit),
                header: [0; FRAME_HEADER_BYTES],
                seen: 0,
                taken: 0,
            },
            outgoing: Out { protocol, limit, half: write, queue: Vec::new(), written: 0 },
            protocol: PhantomData,
        }
    }

    /// As [`Channel::on`], for who accepts: what the opener may send can be less.
    pub(super) fn accepted(io: Io) -> Self {
        let mut channel = Self::on(io);
        channel.incoming.limit = P::REQUEST_BYTES_MAX;
        channel.incoming.frames = FrameReader::new(P::REQUEST_BYTES_MAX);
        channel
    }

    /// Sends a request; the opener's side. Safe to drop, see [`Sender::send`].
    pub async fn send_request(&mut self, request: &P::Request, within: Duration) -> Result<(), ChannelError> {
        self.outgoing.send_all(std::slice::from_ref(request), within).await
    }

    /// Receives the next reply, or `None` when the peer has finished. Safe to drop.
    pub async fn recv_reply(&mut self, within: Duration) -> Result<Option<P::Reply>, ChannelError> {
        self.incoming.recv(within).await
    }

    /// Receives the next request, or `None` when the peer has finished. Safe to drop.
    pub async fn recv_request(&mut self, within: Duration) -> Result<Option<P::Request>, ChannelError> {
        self.incoming.recv(within).await
    }

    /// Sends a reply; the acceptor's side. Safe to drop, see [`Sender::send`].
    pub async fn send_reply(&mut self, reply: &P::Reply, within: Duration) -> Result<(), ChannelError> {
        self.outgoing.send_all(std::slice::from_ref(reply), within).await
    }

    /// Sends several replies in as few writes as they fit.
    pub async fn send_replies(&mut self, replies: &[P::Reply], within: Duration) -> Result<(), ChannelError> {
        self.outgoing.send_all(replies, within).await
    }

    /// Says that nothing more will be sent; receiving goes on.
    pub async fn close(&mut self, within: Duration) -> Result<(), ChannelError> {
        self.outgoing.close(within).await
    }

    /// The opener's two halves, for two tasks.
    pub fn split_opener(self) -> (Sender<P::Request>, Receiver<P::Reply>) {
        (Sender::new(self.outgoing), Receiver::new(self.incoming))
    }

    /// The acceptor's two halves, for two tasks.
    pub fn split_acceptor(self) -> (Sender<P::Reply>, Receiver<P::Request>) {
        (Sender::new(self.outgoing), Receiver::new(self.incoming))
    }

    /// Goes on in plain bytes, right after the last message received. What an earlier send left behind
    /// is written first.
    pub async fn into_io(mut self, within: Duration) -> Result<Io, ChannelError> {
        self.outgoing.finish(within).await?;
        Ok(self.incoming.half.unsplit(self.outgoing.half))
    }
}

/// The sending half of a channel.
#[derive(Debug)]
pub struct Sender<M> {
    outgoing: Out,
    message: PhantomData<fn(&M)>,
}

impl<M: Wire> Sender<M> {
    fn new(outgoing: Out) -> Self {
        Self { outgoing, message: PhantomData }
    }

    /// Sends a message and flushes it.
    ///
    /// Safe to drop, and to repeat after a time-out if twice is no harm: the message is then either
    /// not sent at all, or goes out whole with the next one.
    pub async fn send(&mut self, message: &M, within: Duration) -> Result<(), ChannelError> {
        self.outgoing.send_all(std::slice::from_ref(message), within).await
    }

    /// Sends several messages in as few writes as they fit, then flushes once.
    pub async fn send_all(&mut self, messages: &[M], within: Duration) -> Result<(), ChannelError> {
        self.outgoing.send_all(messages, within).await
    }

    /// Says that nothing more will be sent; the other half goes on.
    pub async fn close(&mut self, within: Duration) -> Result<(), ChannelError> {
        self.outgoing.close(within).await
    }
}

/// The receiving half of a channel.
#[derive(Debug)]
pub struct Receiver<M> {
    incoming: In,
    message: PhantomData<fn() -> M>,
}

impl<M: Wire> Receiver<M> {
    fn new(incoming: In) -> Self {
        Self { incoming, message: PhantomData }
    }

    /// Receives the next message, or `None` when the peer has finished. Safe to drop.
    pub async fn recv(&mut self, within: Duration) -> Result<Option<M>, ChannelError> {
        self.incoming.recv(within).await
    }

    /// Bytes of whole messages that came so far, with their frames.
    pub fn received(&self) -> u64 {
        self.incoming.taken
    }
}

async fn bounded<T>(
    protocol: &'static str,
    within: Duration,
    work: impl Future<Output = Result<T, ChannelError>>,
) -> Result<T, ChannelError> {
    timeout(within, work).await.unwrap_or(Err(ChannelError::TimedOut { protocol, within }))
}

#[derive(Debug)]
struct In {
    protocol: &'static str,
    limit: usize,
    half: ReadHalf<Io>,
    frames: FrameReader,
    header: [u8; FRAME_HEADER_BYTES],
    /// Bytes of the frame under way that are in `frames`. Never more is read than that frame has, so
    /// that a stream can go over to plain bytes after any message.
    seen: usize,
    /// Bytes of whole frames that came, headers too.
    taken: u64,
}

impl In {
    async fn recv<M: Wire>(&mut self, within: Duration) -> Result<Option<M>, ChannelError> {
        bounded(self.protocol, within, self.next_message()).await
    }

    async fn next_message<M: Wire>(&mut self) -> Result<Option<M>, ChannelError> {
        let protocol = self.protocol;
        loop {
            let frame = self.frames.next_frame();
            if let Some(body) = frame.map_err(|source| ChannelError::TooLong { protocol, source })? {
                self.seen = 0;
                self.taken += (FRAME_HEADER_BYTES + body.len()) as u64;
                if body.len() > BATCH_BYTES {
                    self.frames = FrameReader::new(self.limit);
                }
                return wire::decode(&body, self.limit)
                    .map(Some)
                    .map_err(|source| ChannelError::Malformed { protocol, source });
            }
            let read = poll_fn(|cx| self.poll_more(cx)).await;
            match read.map_err(|source| ChannelError::Lost { protocol, source })? {
                0 if self.seen == 0 => return Ok(None),
                0 => return Err(ChannelError::Cut { protocol }),
                _ => {}
            }
        }
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let frame = match self.seen.checked_sub(FRAME_HEADER_BYTES) {
            None => FRAME_HEADER_BYTES,
            Some(_) => FRAME_HEADER_BYTES + u32::from_be_bytes(self.header) as usize,
        };
        let mut bytes = [0; READ_BYTES];
        let wanted = frame.saturating_sub(self.seen).min(READ_BYTES);
        let mut buf = ReadBuf::new(bytes.get_mut(..wanted).unwrap_or_default());
        ready!(Pin::new(&mut self.half).poll_read(cx, &mut buf))?;
        let read = buf.filled();
        for (place, byte) in self.header.iter_mut().skip(self.seen).zip(read) {
            *place = *byte;
        }
        self.seen += read.len();
        self.frames.push(read);
        Poll::Ready(Ok(read.len()))
    }
}

#[derive(Debug)]
struct Out {
    protocol: &'static str,
    limit: usize,
    half: WriteHalf<Io>,
    queue: Vec<u8>,
    /// Bytes at the front of `queue` that are written already.
    written: usize,
}

impl Out {
    async fn send_all<M: Wire>(&mut self, messages: &[M], within: Duration) -> Result<(), ChannelError> {
        bounded(self.protocol, within, self.write_all(messages)).await
    }

    async fn finish(&mut self, within: Duration) -> Result<(), ChannelError> {
        bounded(self.protocol, within, self.write_all::<bool>(&[])).await
    }

    async fn close(&mut self, within: Duration) -> Result<(), ChannelError> {
        bounded(self.protocol, within, async {
            self.drain().await?;
            self.half.shutdown().await.map_err(|source| self.lost(source))
        })
        .await
    }

    async fn write_all<M: Wire>(&mut self, messages: &[M]) -> Result<(), ChannelError> {
        self.drain().await?;
        for message in messages {
            self.queue(message)?;
            if self.queue.len() >= BATCH_BYTES {
                self.drain().await?;
            }
        }
        self.drain().await?;
        self.half.flush().await.map_err(|source| self.lost(source))
    }

    fn queue(&mut self, message: &impl Wire) -> Result<(), ChannelError> {
        let framed = wire::frame(&wire::encode(message), self.limit)
            .map_err(|source| ChannelError::TooLong { protocol: self.protocol, source })?;
        self.queue.extend_from_slice(&framed);
        Ok(())
    }

    async fn drain(&mut self) -> Result<(), ChannelError> {
        while let Some(rest @ [_, ..]) = self.queue.get(self.written..) {
            match self.half.write(rest).await {
                Ok(0) => return Err(self.lost(io::ErrorKind::WriteZero.into())),
                Ok(bytes) => self.written += bytes,
                Err(source) => return Err(self.lost(source)),
            }
        }
        self.written = 0;
        if self.queue.capacity() > BATCH_BYTES {
            self.queue = Vec::new();
        }
        self.queue.clear();
        Ok(())
    }

    fn lost(&self, source: io::Error) -> ChannelError {
        ChannelError::Lost { protocol: self.protocol, source }
    }
}
