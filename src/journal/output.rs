//! One output stream of a command on its way to the disk: hashed, counted, bounded.
//!
//! Always holds: what is kept is how the stream began, without a gap; what was not kept was counted; a full
//! disk keeps no command from running.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Write},
    os::fd::OwnedFd,
    path::Path,
};

use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};

use crate::{
    identity::{PIECE_BYTES_MAX, Sealer},
    replica::Output,
};

/// One output stream: its pipe until that is closed, its file until that is full.
#[derive(Debug)]
pub struct Stream {
    pipe: Option<OwnedFd>,
    spool: Spool,
    hasher: Box<blake3::Hasher>,
    bytes: u64,
    /// What is in the file, which may be sealed.
    kept: u64,
    /// How much of what came may still go there.
    room: u64,
    /// Bytes that came, or would stand in the file, and do not.
    lost: u64,
    /// Seals what is kept, if it is to be.
    sealer: Option<Sealer>,
}

/// Where a stream is kept. Made by its first byte: most commands leave one stream empty or both, and a file
/// costs more than all else that a short command does to the disk.
#[derive(Debug)]
enum Spool {
    Unmade {
        directory: OwnedFd,
        name: OsString,
    },
    Made(File),
    /// Nothing more is kept.
    Ended,
}

impl Spool {
    /// # Errors
    /// When there is no such directory, or the file is there.
    fn at(path: &Path) -> io::Result<Self> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::INVAL.into());
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(parent, flags, Mode::empty())?;
        match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(Self::Unmade { directory, name: name.to_owned() }),
            Ok(_) => Err(Errno::EXIST.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// The file, unless nothing more is kept.
    fn file(&mut self) -> Option<&mut File> {
        if let Self::Unmade { directory, name } = self {
            // A full disk keeps no command from running: it may be the one that makes room.
            *self = make(directory, name).map_or(Self::Ended, Self::Made);
        }
        match self {
            Self::Made(file) => Some(file),
            _ => None,
        }
    }
}

fn make(directory: &OwnedFd, name: &OsStr) -> Result<File, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o600))?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o640))?;
    Ok(file.into())
}

impl Stream {
    /// Takes the reading end of a pipe, and keeps the first `kept_max` bytes that come at `path`, in a seal if there
    /// is a `sealer`.
    ///
    /// # Errors
    /// When there is no such directory, or the file is there.
    pub fn new(path: &Path, pipe: OwnedFd, kept_max: u64, sealer: Option<Sealer>) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&pipe, true)?;
        let spool = Spool::at(path)?;
        Ok(Self {
            pipe: Some(pipe),
            spool,
            hasher: Box::default(),
            bytes: 0,
            kept: 0,
            room: kept_max,
            lost: 0,
            sealer,
        })
    }

    /// Takes one chunk. Tells whether there may be more.
    pub fn take(&mut self, buffer: &mut [u8]) -> bool {
        let Some(pipe) = &self.pipe else { return false };
        match rustix::io::read(pipe, &mut *buffer) {
            Ok(0) => {
                self.pipe = None;
                false
            }
            Ok(read) => {
                self.bytes += read as u64;
                self.keep(buffer.get(..read).unwrap_or_default());
                true
            }
            Err(error) => error == Errno::INTR,
        }
    }

    fn keep(&mut self, chunk: &[u8]) {
        let room = usize::try_from(self.room).unwrap_or(usize::MAX);
        let (chunk, over) = chunk.split_at(room.min(chunk.len()));
        self.room -= chunk.len() as u64;
        self.lost += over.len() as u64;
        match &mut self.sealer {
            None => self.write(chunk),
            Some(sealer) => {
                let pieces: Vec<Vec<u8>> =
                    chunk.chunks(PIECE_BYTES_MAX).map(|piece| sealer.piece(piece)).collect();
                for piece in &pieces {
                    self.write(piece);
                }
            }
        }
    }

    fn write(&mut self, mut rest: &[u8]) {
        while !rest.is_empty() {
            let Some(spool) = self.spool.file() else {
                self.lost += rest.len() as u64;
                return;
            };
            match spool.write(rest) {
                Ok(written) if written > 0 => {
                    let (kept, left) = rest.split_at(written.min(rest.len()));
                    self.hasher.update(kept);
                    self.kept += kept.len() as u64;
                    rest = left;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What is kept has no gap: after one failure nothing more is.
                _ => self.spool = Spool::Ended,
            }
        }
    }

    /// What came of it. Of a sealed one it says how long the seal is, and what was left out of that.
    pub fn output(mut self) -> Output {
        let sealed = self.sealer.take();
        let produced = match sealed {
            None => self.bytes,
            Some(sealer) => {
                // A stream without a byte has no file, sealed or not.
                if self.kept > 0 {
                    self.write(&sealer.end(self.lost == 0));
                }
                self.kept.saturating_add(self.lost)
            }
        };
        Output { hash: *self.hasher.finalize().as_bytes(), kept: self.kept, produced }
    }

    /// What is to be waited for, until it is closed.
    pub fn pipe(&self) -> Option<&OwnedFd> {
        self.pipe.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    #[test]
    fn on_a_full_disk_output_is_counted_and_the_command_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let mut stream = Stream::new(&directory.path().join("out"), read, 1 << 20, None).unwrap();
        let mut buffer = [0; 64];
        rustix::io::write(&write, b"kept").unwrap();
        assert!(stream.take(&mut buffer));
        stream.spool = Spool::Made(File::options().write(true).open("/dev/full").unwrap());
        for _ in 0..2 {
            rustix::io::write(&write, b"lost").unwrap();
            assert!(stream.take(&mut buffer));
        }
        drop(write);
        assert!(!stream.take(&mut buffer));
        let report = stream.output();
        assert_eq!((report.produced, report.kept), (12, 4));
        assert_eq!(report.hash, *blake3::hash(b"kept").as_bytes());
    }
}
