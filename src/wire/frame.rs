//! Frames on a stream: four bytes of length, most significant first, then the body.

/// Bytes before a frame's body.
pub const FRAME_HEADER_BYTES: usize = 4;

/// Why a stream of frames cannot go on. The reader is unusable afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {bytes} bytes is over the limit of {limit}")]
pub struct FrameError {
    /// The announced length.
    pub bytes: usize,
    /// The limit.
    pub limit: usize,
}

/// Puts the header before `body`.
///
/// # Errors
/// When `body` is longer than `limit`.
pub fn frame(body: &[u8], limit: usize) -> Result<Vec<u8>, FrameError> {
    let too_long = FrameError { bytes: body.len(), limit };
    if body.len() > limit {
        return Err(too_long);
    }
    let length = u32::try_from(body.len()).map_err(|_| too_long)?;
    let mut framed = Vec::with_capacity(FRAME_HEADER_BYTES + body.len());
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(body);
    Ok(framed)
}

/// Cuts a stream of bytes into frames. Holds at most one frame and what was pushed after it.
#[derive(Debug)]
pub struct FrameReader {
    held: Vec<u8>,
    start: usize,
    limit: usize,
}

impl FrameReader {
    /// A reader that refuses frames over `limit` bytes before it holds any of their body.
    pub fn new(limit: usize) -> Self {
        Self { held: Vec::new(), start: 0, limit }
    }

    /// Takes bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.held.drain(..self.start);
            self.start = 0;
        }
        self.held.extend_from_slice(bytes);
    }

    /// Takes out the next whole frame's body, if there is one.
    ///
    /// # Errors
    /// When the next frame is announced longer than the limit.
    pub fn next_frame(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        let rest = self.held.get(self.start..).unwrap_or_default();
        let Some((header, body)) = rest.split_first_chunk::<FRAME_HEADER_BYTES>() else {
            return Ok(None);
        };
        let bytes = u32::from_be_bytes(*header) as usize;
        if bytes > self.limit {
            return Err(FrameError { bytes, limit: self.limit });
        }
        let Some(body) = body.get(..bytes) else { return Ok(None) };
        let body = body.to_vec();
        self.start += FRAME_HEADER_BYTES + bytes;
        Ok(Some(body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let mut stream = frame(b"one", 10).unwrap();
        stream.extend(frame(b"", 10).unwrap());
        stream.extend(frame(b"three", 10).unwrap());
        for cut in 1..stream.len() {
            let mut reader = FrameReader::new(10);
            let mut got = Vec::new();
            for piece in stream.chunks(cut) {
                reader.push(piece);
                while let Some(body) = reader.next_frame().unwrap() {
                    got.push(body);
                }
            }
            assert_eq!(got, [&b"one"[..], b"", b"three"]);
        }
    }

    #[test]
    fn a_long_frame_is_refused_from_its_header_alone() {
        let mut reader = FrameReader::new(10);
        reader.push(&11_u32.to_be_bytes());
        assert_eq!(reader.next_frame(), Err(FrameError { bytes: 11, limit: 10 }));
        assert!(frame(&[0; 11], 10).is_err());
    }
}
