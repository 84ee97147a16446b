//! The agent's end of the socket.

use std::{future::Future, io, os::unix::net::UnixListener as StdListener, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{CONTROL_VERSION, MESSAGE_BYTES_MAX, Reply, Request};
use crate::wire::{self, FrameReader};

/// Connections served at a time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// How long a write to a command line that does not read may take.
const WRITE_WITHIN: Duration = Duration::from_secs(60);

/// The kernel's word on who is at the other end.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// Its user id.
    pub uid: u32,
    /// Its process, if the kernel says.
    pub pid: Option<i32>,
}

/// Where an answer's replies go.
#[derive(Debug)]
pub struct Answer<'a> {
    stream: &'a mut UnixStream,
    /// Who asks.
    pub caller: Caller,
}

impl Answer<'_> {
    /// Sends a reply.
    ///
    /// # Errors
    /// When the command line is gone, or does not read.
    pub async fn send(&mut self, reply: &Reply) -> io::Result<()> {
        let framed = wire::frame(&wire::encode(reply), MESSAGE_BYTES_MAX)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        timeout(WRITE_WITHIN, self.stream.write_all(&framed))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// Completes when the command line hangs up (or sends what it should not): an answer that goes on for
    /// ever ends then.
    pub async fn hung_up(&mut self) {
        let mut byte = [0; 1];
        let _end_or_noise = self.stream.read(&mut byte).await;
    }
}

/// Who answers.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request.
    fn answer(
        &self,
        request: Request,
        answer: &mut Answer<'_>,
    ) -> impl Future<Output = io::Result<()>> + Send;
}

/// Serves the socket until `stop`. Every connection is a task of its own.
///
/// # Errors
/// When the listener cannot be used at all.
pub async fn serve<H: Handler>(
    listener: StdListener,
    handler: Arc<H>,
    stop: CancellationToken,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return Ok(()) };
        let accepted = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                let (handler, stop) = (Arc::clone(&handler), stop.clone());
                connections.spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        ended = connection(stream, &*handler) => {
                            if let Err(error) = ended {
                                debug!(%error, "control connection ended");
                            }
                        }
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                warn!(%error, "control connection not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection<H: Handler>(mut stream: UnixStream, handler: &H) -> io::Result<()> {
    let credentials = stream.peer_cred()?;
    let caller = Caller { uid: credentials.uid(), pid: credentials.pid() };
    let mut reader = FrameReader::new(MESSAGE_BYTES_MAX);
    let mut buffer = vec![0; 16 * 1024];
    let mut greeted = false;
    loop {
        let malformed = |error: &dyn std::fmt::Display| Reply::Error {
            why: format!("the request cannot be read: {error}"),
            refused: false,
        };
        let body = match reader.next_frame() {
            Ok(Some(body)) => body,
            Ok(None) => {
                let read = stream.read(&mut buffer).await?;
                if read == 0 {
                    return Ok(());
                }
                reader.push(buffer.get(..read).unwrap_or_default());
                continue;
            }
            Err(error) => {
                return Answer { stream: &mut stream, caller }.send(&malformed(&error)).await;
            }
        };
        let mut answer = Answer { stream: &mut stream, caller };
        match wire::decode::<Request>(&body, MESSAGE_BYTES_MAX) {
            Ok(Request::Hello { version }) if version != CONTROL_VERSION => {
                let why = format!(
                    "the command line speaks version {version} of the control protocol, this agent \
                     {CONTROL_VERSION}"
                );
                return answer.send(&Reply::Error { why, refused: false }).await;
            }
            Ok(request @ Request::Hello { .. }) => {
                greeted = true;
                handler.answer(request, &mut answer).await?;
            }
            Ok(request) if greeted => handler.answer(request, &mut answer).await?,
            Ok(_) => return answer.send(&malformed(&"no hello came first")).await,
            Err(error) => return answer.send(&malformed(&error)).await,
        }
    }
}
