//! The executor's end of the socket pair: whole frames in, whole frames out, without blocking on a mesh
//! process that does not read.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::message::{LinkError, MESSAGE_BYTES_MAX, ToExecutor, ToMesh};
use crate::wire::{self, FrameReader};

/// Bytes that may wait for a mesh process that does not read; over that it is taken for stuck.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// One end of the pair.
#[derive(Debug)]
pub struct Link {
    socket: UnixStream,
    reader: FrameReader,
    waiting: VecDeque<u8>,
}

impl Link {
    /// Takes the executor's end.
    ///
    /// # Errors
    /// When the socket cannot be made non-blocking.
    pub fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { socket, reader: FrameReader::new(MESSAGE_BYTES_MAX), waiting: VecDeque::new() })
    }

    /// Sends the first message with a descriptor beside it.
    ///
    /// # Errors
    /// When the other end is gone.
    pub fn send_start(socket: &UnixStream, message: &ToMesh, descriptor: &OwnedFd) -> Result<(), LinkError> {
        let framed = framed(message)?;
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = [descriptor.as_fd()];
        if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(LinkError::Malformed("no room for a descriptor".to_owned()));
        }
        let sent =
            rustix::net::sendmsg(socket, &[IoSlice::new(&framed)], &mut ancillary, SendFlags::NOSIGNAL)
                .map_err(io::Error::from)?;
        let rest = framed.get(sent..).unwrap_or_default();
        io::Write::write_all(&mut &*socket, rest)?;
        Ok(())
    }

    /// Sends a message, now or as soon as there is room.
    ///
    /// # Errors
    /// When the other end is gone, or has not read for too long.
    pub fn send(&mut self, message: &ToMesh) -> Result<(), LinkError> {
        if self.waiting.len() > WAITING_BYTES_MAX {
            return Err(LinkError::Malformed("it does not read".to_owned()));
        }
        self.waiting.extend(framed(message)?);
        self.flush()
    }

    /// How many bytes wait for room.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting.len()
    }

    /// Whether bytes wait for room.
    pub fn wants_to_write(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Writes what waits, as far as there is room.
    ///
    /// # Errors
    /// When the other end is gone.
    pub fn flush(&mut self) -> Result<(), LinkError> {
        while !self.waiting.is_empty() {
            let (first, second) = self.waiting.as_slices();
            let slice = if first.is_empty() { second } else { first };
            match rustix::net::send(&self.socket, slice, SendFlags::NOSIGNAL) {
                Ok(sent) => {
                    self.waiting.drain(..sent);
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => return Err(LinkError::Gone),
                Err(error) => return Err(LinkError::Io(error.into())),
            }
        }
        Ok(())
    }

    /// Reads what has come; call it when the socket is readable.
    ///
    /// # Errors
    /// When the other end is gone.
    pub fn fill(&mut self) -> Result<(), LinkError> {
        let mut buffer = [0; 16 * 1024];
        match io::Read::read(&mut self.socket, &mut buffer) {
            Ok(0) => Err(LinkError::Gone),
            Ok(read) => {
                self.reader.push(buffer.get(..read).unwrap_or_default());
                Ok(())
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(LinkError::Gone),
            Err(error) => Err(error.into()),
        }
    }

    /// The next whole message among what was read.
    ///
    /// # Errors
    /// When it cannot be read as one.
    pub fn message(&mut self) -> Result<Option<ToExecutor>, LinkError> {
        let body = self.reader.next_frame().map_err(|error| LinkError::Malformed(error.to_string()))?;
        Ok(match body {
            Some(body) => Some(wire::decode(&body, MESSAGE_BYTES_MAX)?),
            None => None,
        })
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn framed(message: &ToMesh) -> Result<Vec<u8>, LinkError> {
    wire::frame(&wire::encode(message), MESSAGE_BYTES_MAX)
        .map_err(|error| LinkError::Malformed(error.to_string()))
}
