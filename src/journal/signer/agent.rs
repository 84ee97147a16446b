//! A client of SSH agents (draft-ietf-sshm-ssh-agent): two requests, each with a deadline and a bound.

use std::{
    fs, io,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{SignError, Ways};
use crate::identity::ssh::{
    ED25519, FormatError, OperatorKey, Proof, SK_ED25519, SkProof, SshReader, put_string, sshsig_message,
};

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;

/// Longest answer that is read, in bytes: what OpenSSH's agent itself keeps to.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Most keys of an agent that are looked at.
const KEYS_MAX: u32 = 1024;
/// How long an agent may take to say what keys it has.
const KEYS_WITHIN: Duration = Duration::from_secs(10);
/// How long it may take to sign: somebody may have to confirm, or to find the token and touch it.
const SIGN_WITHIN: Duration = Duration::from_secs(60);

/// An agent that may be asked.
#[derive(Debug)]
pub struct SshAgent {
    path: PathBuf,
    stream: UnixStream,
    /// How long it may take to sign.
    pub(super) sign_within: Duration,
}

impl SshAgent {
    /// Connects to the agent of these surroundings; `None` if there is none.
    ///
    /// # Errors
    /// When it cannot be reached, or is forwarded and nobody said that this is meant.
    pub fn connect(ways: &Ways) -> Result<Option<Self>, SignError> {
        let Some(path) = &ways.agent else { return Ok(None) };
        let stream =
            UnixStream::connect(path).map_err(|source| SignError::Agent { path: path.clone(), source })?;
        if let Some(why) = forwarded(&stream, ways.by_ssh).filter(|_| !ways.forwarded) {
            return Err(SignError::Forwarded { path: path.clone(), why });
        }
        Ok(Some(Self { path: path.clone(), stream, sign_within: SIGN_WITHIN }))
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The keys that an operator could have, with their comments, as the agent lists them.
    ///
    /// # Errors
    /// When the agent does not answer in time, or makes no sense.
    pub fn keys(&mut self) -> Result<Vec<(OperatorKey, String)>, SignError> {
        let answer = self.ask(&[REQUEST_IDENTITIES], KEYS_WITHIN)?;
        let mut reader = SshReader::new(&answer);
        if reader.byte()? != IDENTITIES_ANSWER {
            return Err(FormatError("not a list of keys").into());
        }
        let count = reader.number()?;
        if count > KEYS_MAX {
            return Err(FormatError("too many keys").into());
        }
        let mut keys = Vec::new();
        for _ in 0..count {
            let (blob, comment) = (reader.string()?, reader.string()?);
            // A key that is damaged, weak or of another kind is none for us, and no reason to ignore the others.
            if let Ok(Some(key)) = OperatorKey::from_blob(blob) {
                keys.push((key, String::from_utf8_lossy(comment).into_owned()));
            }
        }
        reader.end()?;
        Ok(keys)
    }

    /// Has `key` sign what is to be signed for us. What comes back is not checked.
    ///
    /// # Errors
    /// When the agent lacks the key, declines, takes too long or makes no sense.
    pub fn sign(&mut self, key: &OperatorKey, signed: &[u8]) -> Result<Proof, SignError> {
        let mut request = vec![SIGN_REQUEST];
        put_string(&mut request, &key.blob());
        put_string(&mut request, &sshsig_message(signed));
        request.extend_from_slice(&0_u32.to_be_bytes());
        let answer = self.ask(&request, self.sign_within)?;
        let mut reader = SshReader::new(&answer);
        match reader.byte()? {
            SIGN_RESPONSE => {}
            FAILURE => {
                let known = self.keys()?.iter().any(|(known, _)| known == key);
                let fingerprint = key.fingerprint();
                return Err(if known {
                    SignError::Declined(fingerprint)
                } else {
                    SignError::Lacks(fingerprint)
                });
            }
            _ => return Err(FormatError("neither a signature nor a refusal").into()),
        }
        let mut signature = SshReader::new(reader.string()?);
        reader.end()?;
        let proof = match key {
            OperatorKey::Ed25519(_) => {
                signature.expect(ED25519)?;
                Proof::Sshsig(signature.string_of()?)
            }
            OperatorKey::SkEd25519 { point, application } => {
                signature.expect(SK_ED25519)?;
                let bytes = signature.string_of()?;
                let (flags, counter) = (signature.byte()?, signature.number()?);
                let application = application.clone();
                Proof::SkEd25519(SkProof { point: *point, application, flags, counter, signature: bytes })
            }
        };
        signature.end()?;
        Ok(proof)
    }

    fn ask(&mut self, request: &[u8], within: Duration) -> Result<Vec<u8>, SignError> {
        let deadline = now() + within;
        let mut message = Vec::with_capacity(request.len() + 4);
        put_string(&mut message, request);
        let asked =
            self.stream.set_write_timeout(Some(within)).and_then(|()| self.stream.write_all(&message));
        asked.map_err(|source| self.failed(source, within))?;
        let mut length = [0; 4];
        self.read(&mut length, deadline, within)?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length == 0 || length > ANSWER_BYTES_MAX {
            return Err(FormatError("an answer of impossible length").into());
        }
        let mut answer = vec![0; length];
        self.read(&mut answer, deadline, within)?;
        Ok(answer)
    }

    /// Fills `buffer` before the deadline, however slowly the bytes come.
    fn read(&mut self, buffer: &mut [u8], deadline: Instant, within: Duration) -> Result<(), SignError> {
        let mut rest = buffer;
        while !rest.is_empty() {
            let left = deadline.saturating_duration_since(now());
            if left.is_zero() {
                return Err(SignError::Slow(within.as_secs()));
            }
            let read = self.stream.set_read_timeout(Some(left)).and_then(|()| self.stream.read(rest));
            match read {
                Ok(0) => return Err(self.failed(io::ErrorKind::UnexpectedEof.into(), within)),
                Ok(count) => rest = rest.split_at_mut_checked(count).map_or(&mut [][..], |(_, rest)| rest),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(self.failed(source, within)),
            }
        }
        Ok(())
    }

    fn failed(&self, source: io::Error, within: Duration) -> SignError {
        match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => SignError::Slow(within.as_secs()),
            _ => SignError::Agent { path: self.path.clone(), source },
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a deadline of a blocking call, which no decision rests on")]
fn now() -> Instant {
    Instant::now()
}

/// Why the agent behind this socket is on another machine, if it seems to be.
fn forwarded(stream: &UnixStream, by_ssh: bool) -> Option<String> {
    let listener = rustix::net::sockopt::socket_peercred(stream).ok();
    let name =
        listener.and_then(|peer| fs::read_to_string(format!("/proc/{}/comm", peer.pid.as_raw_pid())).ok());
    far(name.as_deref().map(str::trim_end), by_ssh)
}

/// The same, by the name of who listens, if that can be seen.
pub(super) fn far(listener: Option<&str>, by_ssh: bool) -> Option<String> {
    match listener {
        Some(name) if name.starts_with("sshd") => Some(format!("{name} listens there")),
        None if by_ssh => Some("this session came by SSH, and who listens there cannot be seen".to_owned()),
        Some(_) | None => None,
    }
}
