//! The command line's end of the socket.

use std::{io, path::Path, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    time::timeout,
};

use super::{CONTROL_VERSION, MESSAGE_BYTES_MAX, Reply, Request};
use crate::{
    identity::{FleetId, HostId},
    wire::{self, Bytes, FrameReader},
};

/// Why the agent could not be asked. Nothing is known to have changed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// There is no socket, or nobody listens on it.
    #[error("no agent answers at {path}")]
    NoAgent {
        /// The socket.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The socket is there, but this user may not use it.
    #[error("this user may not use the agent's socket {path}")]
    NotAllowed {
        /// The socket.
        path: String,
    },
    /// The agent speaks another version.
    #[error("the agent speaks version {agent} of the control protocol, this command line {ours}")]
    Version {
        /// The agent's.
        agent: u32,
        /// Ours.
        ours: u32,
    },
    /// The connection broke.
    #[error("the agent went away")]
    Gone(#[source] io::Error),
    /// No answer within the time.
    #[error("the agent did not answer within {0:?}")]
    Slow(Duration),
    /// An answer that cannot be read.
    #[error("the agent's answer cannot be read: {0}")]
    Malformed(String),
    /// No agent of the fleet answers this machine, which is no host of it.
    #[error("{why}")]
    Offline {
        /// In words.
        why: String,
    },
    /// The agent said no.
    #[error("{why}")]
    Refused {
        /// Its words.
        why: String,
        /// Whether for want of a right.
        right: bool,
    },
}

/// A connection to the agent.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    reader: FrameReader,
    /// The fleet the agent says it belongs to.
    pub fleet: FleetId,
    /// That fleet's genesis, as the agent has it.
    pub genesis: Bytes,
    /// The host the agent says it is.
    pub host: HostId,
    /// Its version of muster.
    pub agent: String,
}

/// How long an agent may take to say hello.
const HELLO_WITHIN: Duration = Duration::from_secs(20);

impl Client {
    /// Connects and shakes hands.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn connect(path: &Path) -> Result<Self, ControlError> {
        let shown = path.display().to_string();
        let stream = UnixStream::connect(path).await.map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => ControlError::NotAllowed { path: shown },
            _ => ControlError::NoAgent { path: shown, source },
        })?;
        let mut client = Self {
            stream,
            reader: FrameReader::new(MESSAGE_BYTES_MAX),
            fleet: FleetId([0; 32]),
            genesis: Bytes::default(),
            host: HostId([0; 32]),
            agent: String::new(),
        };
        client.send(&Request::Hello { version: CONTROL_VERSION }).await?;
        match client.reply_within(HELLO_WITHIN).await? {
            Reply::Hello { version, agent, fleet, genesis, host } => {
                if version != CONTROL_VERSION {
                    return Err(ControlError::Version { agent: version, ours: CONTROL_VERSION });
                }
                client.fleet = fleet;
                client.genesis = genesis;
                client.host = host;
                client.agent = agent;
                Ok(client)
            }
            other => Err(no_answer(&other)),
        }
    }

    /// Sends a request.
    ///
    /// # Errors
    /// When the agent is gone or the request is too long.
    pub async fn send(&mut self, request: &Request) -> Result<(), ControlError> {
        let framed = wire::frame(&wire::encode(request), MESSAGE_BYTES_MAX)
            .map_err(|error| ControlError::Malformed(error.to_string()))?;
        self.stream.write_all(&framed).await.map_err(ControlError::Gone)
    }

    /// Reads the next reply. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the agent is gone or the reply cannot be read.
    pub async fn reply(&mut self) -> Result<Reply, ControlError> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let frame =
                self.reader.next_frame().map_err(|error| ControlError::Malformed(error.to_string()))?;
            if let Some(body) = frame {
                return wire::decode(&body, MESSAGE_BYTES_MAX)
                    .map_err(|error| ControlError::Malformed(error.to_string()));
            }
            let read = self.stream.read(&mut buffer).await.map_err(ControlError::Gone)?;
            if read == 0 {
                return Err(ControlError::Gone(io::ErrorKind::UnexpectedEof.into()));
            }
            self.reader.push(buffer.get(..read).unwrap_or_default());
        }
    }

    /// Reads the next reply, at most `within` from now.
    ///
    /// # Errors
    /// As [`Client::reply`], and [`ControlError::Slow`].
    pub async fn reply_within(&mut self, within: Duration) -> Result<Reply, ControlError> {
        timeout(within, self.reply()).await.map_err(|_| ControlError::Slow(within))?
    }

    /// Asks one question with one reply; an error reply is an error.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn ask(&mut self, request: &Request, within: Duration) -> Result<Reply, ControlError> {
        self.send(request).await?;
        match self.reply_within(within).await? {
            reply @ (Reply::Error { .. } | Reply::Offline { .. }) => Err(no_answer(&reply)),
            reply => Ok(reply),
        }
    }
}

/// The error for a reply that does not answer the question.
pub fn no_answer(reply: &Reply) -> ControlError {
    match reply {
        Reply::Error { why, refused } => ControlError::Refused { why: why.clone(), right: *refused },
        Reply::Offline { why } => ControlError::Offline { why: why.clone() },
        other => ControlError::Malformed(format!("unexpected {other:?}")),
    }
}
