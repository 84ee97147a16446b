//! The first message on the pair between executor and mesh process, as the latter receives it.

use std::{
    io::{self, IoSliceMut},
    os::{fd::OwnedFd, unix::net::UnixStream},
};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use crate::{
    executor::message::{LinkError, MESSAGE_BYTES_MAX, Start, ToMesh},
    wire::{self, FrameReader},
};

/// Receives the first message, on the mesh process's side, with the descriptor that comes beside it.
///
/// # Errors
/// When it does not come, or is something else.
pub(super) fn receive_start(socket: &UnixStream) -> Result<(Start, OwnedFd), LinkError> {
    let mut reader = FrameReader::new(MESSAGE_BYTES_MAX);
    let mut descriptor = None;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        if let Some(body) = reader.next_frame().map_err(|error| LinkError::Malformed(error.to_string()))? {
            let ToMesh::Start { start } = wire::decode(&body, MESSAGE_BYTES_MAX)? else {
                return Err(LinkError::Malformed("the first message is not the start".to_owned()));
            };
            let descriptor =
                descriptor.ok_or_else(|| LinkError::Malformed("no descriptor came".to_owned()))?;
            return Ok((start, descriptor));
        }
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::net::recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut buffer)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        )
        .map_err(io::Error::from)?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                descriptor = descriptors.last().or(descriptor);
            }
        }
        if received.bytes == 0 {
            return Err(LinkError::Gone);
        }
        reader.push(buffer.get(..received.bytes).unwrap_or_default());
    }
}
