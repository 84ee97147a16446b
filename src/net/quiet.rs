//! Yamux without its pings.
//!
//! Yamux measures the round trip every ten seconds at which a link is used, from both ends: four frames, each in
//! a segment of its own, which on an idle link are more than all else that two neighbours say. It would widen
//! windows by it. Here a link's first ping is answered, and no other: an end that waits for an answer asks no
//! more, and goes on with what it measured first. Whether the other end is there is not for Yamux to find out:
//! callers ping on their own streams.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use libp2p::{
    core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo},
    futures::{AsyncRead, AsyncWrite},
    yamux,
};

/// Bytes before a frame's body: version, kind, flags, stream and length.
const HEADER_BYTES: usize = 12;
const DATA: u8 = 0;
const PING: u8 = 2;
const ACK: u8 = 2;
/// Pings that are passed over before others have their turn.
const PASSED_OVER_MAX: u32 = 64;

/// Upgrades to Yamux over [`Quiet`].
#[derive(Clone, Debug)]
pub(super) struct Upgrade(pub(super) yamux::Config);

impl UpgradeInfo for Upgrade {
    type Info = <yamux::Config as UpgradeInfo>::Info;
    type InfoIter = <yamux::Config as UpgradeInfo>::InfoIter;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.protocol_info()
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for Upgrade {
    type Output = yamux::Muxer<Quiet<C>>;
    type Error = io::Error;
    type Future = <yamux::Config as InboundConnectionUpgrade<Quiet<C>>>::Future;

    fn upgrade_inbound(self, link: C, info: Self::Info) -> Self::Future {
        self.0.upgrade_inbound(Quiet::new(link), info)
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for Upgrade {
    type Output = yamux::Muxer<Quiet<C>>;
    type Error = io::Error;
    type Future = <yamux::Config as OutboundConnectionUpgrade<Quiet<C>>>::Future;

    fn upgrade_outbound(self, link: C, info: Self::Info) -> Self::Future {
        self.0.upgrade_outbound(Quiet::new(link), info)
    }
}

/// A link of which all pings but the first are not read. What is no frame of Yamux is read as it came.
#[derive(Debug)]
pub(super) struct Quiet<C> {
    link: C,
    header: [u8; HEADER_BYTES],
    /// How much of it is here, and how much of that was read.
    came: usize,
    given: usize,
    /// What is left of the body.
    body: usize,
    pinged: bool,
}

impl<C> Quiet<C> {
    fn new(link: C) -> Self {
        Self { link, header: [0; HEADER_BYTES], came: 0, given: 0, body: 0, pinged: false }
    }

    /// A header is here. Returns whether it is to be read.
    fn on_header(&mut self) -> bool {
        let [_, kind, _, flags, _, _, _, _, length @ ..] = self.header;
        if kind == DATA {
            self.body = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        }
        let ping = kind == PING && flags & ACK == 0;
        !ping || !std::mem::replace(&mut self.pinged, true)
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Quiet<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let mut passed_over = 0;
        loop {
            // A header is given when all of it is here, or the link ended in the middle of it.
            let whole = this.came == HEADER_BYTES;
            if !whole {
                let rest = this.header.get_mut(this.came..).unwrap_or_default();
                let came = ready!(Pin::new(&mut this.link).poll_read(cx, rest))?;
                this.came += came;
                if this.came == HEADER_BYTES && !this.on_header() {
                    this.came = 0;
                    passed_over += 1;
                    if passed_over == PASSED_OVER_MAX {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                if came > 0 {
                    continue;
                }
            }
            let held = this.header.get(this.given..this.came).unwrap_or_default();
            if !held.is_empty() || !whole {
                let given = held.len().min(buffer.len());
                if let (Some(to), Some(from)) = (buffer.get_mut(..given), held.get(..given)) {
                    to.copy_from_slice(from);
                }
                this.given += given;
                return Poll::Ready(Ok(given));
            }
            if this.body == 0 {
                (this.came, this.given) = (0, 0);
                continue;
            }
            let most = buffer.len().min(this.body);
            let given =
                ready!(Pin::new(&mut this.link).poll_read(cx, buffer.get_mut(..most).unwrap_or_default()))?;
            this.body -= given.min(this.body);
            return Poll::Ready(Ok(given));
        }
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Quiet<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.link).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.link).poll_write_vectored(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.link).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.link).poll_close(cx)
    }
}

#[cfg(test)]
#[path = "quiet_tests.rs"]
mod tests;
