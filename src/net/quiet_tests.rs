use std::task::Waker;

use super::*;

/// Gives what it has in pieces of these lengths, over and over; nothing at first where a piece is 0.
struct Pieces {
    bytes: Vec<u8>,
    lengths: Vec<usize>,
    at: usize,
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let length = self.lengths[self.at % self.lengths.len()].min(buffer.len()).min(self.bytes.len());
        self.at += 1;
        if length == 0 && !self.bytes.is_empty() {
            return Poll::Pending;
        }
        buffer[..length].copy_from_slice(&self.bytes[..length]);
        self.bytes.drain(..length);
        Poll::Ready(Ok(length))
    }
}

fn frame(kind: u8, flags: u8, value: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, kind, 0, flags, 0, 0, 0, 1];
    bytes.extend(value.to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

fn data(body: &[u8]) -> Vec<u8> {
    frame(DATA, 0, u32::try_from(body.len()).unwrap(), body)
}

/// All that is read, and how often there was nothing yet.
fn read(bytes: Vec<u8>, lengths: &[usize], buffer: usize) -> (Vec<u8>, usize) {
    let mut quiet = Quiet::new(Pieces { bytes, lengths: lengths.to_vec(), at: 0 });
    let (mut all, mut buffer, mut pending) = (Vec::new(), vec![0; buffer], 0);
    loop {
        match Pin::new(&mut quiet).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer) {
            Poll::Ready(Ok(0)) => return (all, pending),
            Poll::Ready(Ok(given)) => all.extend_from_slice(&buffer[..given]),
            Poll::Ready(Err(error)) => panic!("{error}"),
            Poll::Pending => pending += 1,
        }
    }
}

#[test]
fn all_is_read_but_pings_after_the_first_however_the_bytes_come() {
    let ping = |id| frame(PING, 1, id, &[]);
    // A body that looks like a ping is none, an answer is one, and a window's update has no body.
    let kept = [
        data(b"hello"),
        ping(0),
        data(&ping(7)),
        frame(1, 0, 262_144, &[]),
        frame(PING, ACK, 3, &[]),
        data(b""),
        data(&[9; 5000]),
        frame(3, 0, 0, &[]),
    ];
    let mut sent = Vec::new();
    for (at, frame) in kept.iter().enumerate() {
        sent.extend_from_slice(frame);
        if at >= 1 {
            sent.extend(ping(100 + u32::try_from(at).unwrap()));
        }
    }
    for lengths in [&[1][..], &[0, 3, 12, 0, 1], &[8192], &[11, 2], &[13]] {
        for buffer in [1, 7, 12, 13, 10_000] {
            assert!(read(sent.clone(), lengths, buffer).0 == kept.concat(), "{lengths:?} into {buffer}");
        }
    }
}

#[test]
fn a_link_that_ends_in_the_middle_is_read_to_its_end() {
    let all = data(b"hello");
    for end in 0..all.len() {
        assert_eq!(read(all[..end].to_vec(), &[4], 100).0, all[..end], "{end} bytes");
    }
}

#[test]
fn a_flood_of_pings_lets_others_have_their_turn() {
    let flood: Vec<u8> = (0..1000).flat_map(|id| frame(PING, 1, id, &[])).collect();
    let (read, pending) = read(flood, &[8192], 100);
    assert_eq!((read.len(), pending), (HEADER_BYTES, 999 / 64));
}
