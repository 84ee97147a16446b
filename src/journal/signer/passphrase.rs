//! Asking for a passphrase: on the terminal without showing it, or from a descriptor.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    path::Path,
};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::{SignError, Ways};

/// Longest passphrase, in bytes.
const BYTES_MAX: usize = 1024;

/// The passphrase of `file`: its first line, without the end of that.
pub(super) fn ask(ways: &Ways, file: &Path) -> Result<Zeroizing<Vec<u8>>, SignError> {
    if let Some(descriptor) = ways.passphrase_descriptor {
        let mut opened = File::open(format!("/proc/self/fd/{descriptor}")).map_err(SignError::Passphrase)?;
        return line(&mut opened).map_err(SignError::Passphrase);
    }
    let Ok(mut terminal) = OpenOptions::new().read(true).write(true).open("/dev/tty") else {
        return Err(SignError::NobodyToAsk(file.to_owned()));
    };
    let asked = format!("passphrase for {}: ", file.display());
    let quiet = Quiet::begin(&terminal).map_err(SignError::Passphrase)?;
    let mut echo = terminal.try_clone().map_err(SignError::Passphrase)?;
    echo.write_all(asked.as_bytes()).map_err(SignError::Passphrase)?;
    let read = line(&mut terminal);
    drop(quiet);
    let _only_looks = echo.write_all(b"\n");
    read.map_err(SignError::Passphrase)
}

/// A terminal that shows nothing of what is typed, and hands over each key: so that one who gives up leaves it
/// as it was.
struct Quiet {
    terminal: File,
    before: Termios,
}

impl Quiet {
    fn begin(terminal: &File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(terminal, OptionalActions::Flush, &quiet)?;
        Ok(Self { terminal: terminal.try_clone()?, before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _nothing_to_be_done = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// One line, key by key.
fn line(from: &mut impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    // All at once, so that no copy is left behind when it grows.
    let mut line = Zeroizing::new(Vec::with_capacity(BYTES_MAX));
    let mut byte = Zeroizing::new([0; 1]);
    loop {
        if from.read(&mut *byte)? == 0 {
            return Ok(line);
        }
        let [key] = *byte;
        match key {
            b'\n' | b'\r' => return Ok(line),
            0x03 | 0x04 => return Err(io::Error::from(io::ErrorKind::Interrupted)),
            0x08 | 0x7f => drop(line.pop()),
            0x15 => line.clear(),
            other if line.len() < BYTES_MAX => line.push(other),
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is too long")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_taken_as_it_was_meant() {
        let typed = |keys: &[u8]| line(&mut &keys[..]).map(|line| line.to_vec());
        assert_eq!(typed(b"not a secret\nmore").unwrap(), b"not a secret");
        assert_eq!(typed(b"not\x7f\x7fo\x15again\r").unwrap(), b"again");
        assert_eq!(typed(b"no end").unwrap(), b"no end");
        assert!(typed(b"given up\x03").is_err());
        assert!(typed(&[b'x'; BYTES_MAX + 1]).is_err());
    }
}
