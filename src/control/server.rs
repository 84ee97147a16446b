//! The agent's end of the socket.

use std::{fmt, future::Future, io, os::unix::net::UnixListener as StdListener, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{CONTROL_VERSION, MESSAGE_BYTES_MAX, Reply, Request};
use crate::wire::{self, FrameReader};

/// Connections served at a time: as many of the agent's own user and root, and as many of all others, so
/// that nobody takes those of the owner.
const CONNECTIONS_MAX: usize = 64;
/// Connections of either kind that wait for one of those; above that they are told so at once.
const WAITING_MAX: usize = 128;
/// How long they wait; less than a command line waits for a hello.
const TURN_WITHIN: Duration = Duration::from_secs(15);
/// How long a command line may take to say hello.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// How long it may say nothing afterwards: somebody may be thinking about a question.
const IDLE_WITHIN: Duration = Duration::from_secs(30 * 60);
/// How long a write to a command line that does not read may take.
const WRITE_WITHIN: Duration = Duration::from_secs(60);

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A user of this machine, by the kernel's word.
    User {
        /// The user id.
        uid: u32,
    },
    /// An operator whose card was found good, on another machine.
    Card {
        /// Whether the certificate allows to invite.
        invites: bool,
    },
}

/// What a conversation runs on.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// What is asked of a request before it is answered.
pub(super) trait Doorkeeper: Send + Sync {
    /// Takes a request of so many bytes, now or after a while, or says in words why not.
    fn admit(&self, request: &Request, bytes: usize) -> impl Future<Output = Result<(), String>> + Send;
}

/// For the socket: who may open that may ask anything, and the answer may still be no.
struct Open;
impl Doorkeeper for Open {
    async fn admit(&self, _: &Request, _: usize) -> Result<(), String> {
        Ok(())
    }
}

/// Where an answer's replies go.
pub struct Answer<'a> {
    stream: &'a mut dyn Duplex,
    /// Who asks.
    pub caller: Caller,
}

impl fmt::Debug for Answer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("caller", &self.caller).finish_non_exhaustive()
    }
}

impl Answer<'_> {
    /// Sends a reply.
    ///
    /// # Errors
    /// When the command line is gone, or does not read.
    pub async fn send(&mut self, reply: &Reply) -> io::Result<()> {
        let framed = wire::frame(&wire::encode(reply), MESSAGE_BYTES_MAX)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let writing = async {
            self.stream.write_all(&framed).await?;
            self.stream.flush().await
        };
        timeout(WRITE_WITHIN, writing).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
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
    /// The user that the agent belongs to, who is served whatever others do; this process's, if not said.
    fn owner(&self) -> u32 {
        rustix::process::geteuid().as_raw()
    }

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
    let (owners, others) = (Slots::new(), Slots::new());
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                let Ok(credentials) = stream.peer_cred() else { continue };
                let uid = credentials.uid();
                let caller = Caller::User { uid };
                let owner = uid == 0 || uid == handler.owner();
                let slots = if owner { owners.clone() } else { others.clone() };
                // Above the bound not even a task: it finds the connection closed.
                let Ok(place) = Arc::clone(&slots.waiting).try_acquire_owned() else { continue };
                let (handler, stop) = (Arc::clone(&handler), stop.clone());
                connections.spawn(async move {
                    let serving = async {
                        let turn = timeout(TURN_WITHIN, Arc::clone(&slots.served).acquire_owned()).await;
                        drop(place);
                        match turn {
                            Ok(Ok(_slot)) => converse(stream, caller, &*handler, &Open).await,
                            Ok(Err(_)) | Err(_) => busy(stream, caller).await,
                        }
                    };
                    tokio::select! {
                        () = stop.cancelled() => {}
                        ended = serving => {
                            if let Err(error) = ended {
                                debug!(%error, "control connection ended");
                            }
                        }
                    }
                });
            }
            Err(error) => {
                warn!(%error, "control connection not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// The connections of one kind.
#[derive(Clone)]
struct Slots {
    served: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Slots {
    fn new() -> Self {
        let of = |count| Arc::new(Semaphore::new(count));
        Self { served: of(CONNECTIONS_MAX), waiting: of(WAITING_MAX) }
    }
}

async fn busy(mut stream: UnixStream, caller: Caller) -> io::Result<()> {
    let why = format!("the agent serves {CONNECTIONS_MAX} other command lines; try again later");
    Answer { stream: &mut stream, caller }.send(&Reply::Error { why, refused: false }).await
}

/// Answers one request after the other until the other end has no more, says nothing for too long, or breaks the
/// rules.
pub(super) async fn converse<H: Handler>(
    mut stream: impl Duplex,
    caller: Caller,
    handler: &H,
    door: &impl Doorkeeper,
) -> io::Result<()> {
    let mut reader = FrameReader::new(MESSAGE_BYTES_MAX);
    let mut buffer = vec![0; 16 * 1024];
    let mut greeted = false;
    loop {
        let malformed = |error: &dyn fmt::Display| Reply::Error {
            why: format!("the request cannot be read: {error}"),
            refused: false,
        };
        let body = match reader.next_frame() {
            Ok(Some(body)) => body,
            Ok(None) => {
                let within = if greeted { IDLE_WITHIN } else { HELLO_WITHIN };
                let read = timeout(within, stream.read(&mut buffer))
                    .await
                    .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
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
        let read = wire::decode::<Request>(&body, MESSAGE_BYTES_MAX);
        if let Ok(request) = &read
            && let Err(why) = door.admit(request, body.len()).await
        {
            answer.send(&Reply::Error { why, refused: true }).await?;
            continue;
        }
        match read {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Client;

    struct Polite;
    impl Handler for Polite {
        async fn answer(&self, request: Request, answer: &mut Answer<'_>) -> io::Result<()> {
            let reply = match request {
                Request::Hello { .. } => Reply::Hello {
                    version: CONTROL_VERSION,
                    agent: String::new(),
                    fleet: crate::identity::FleetId([1; 32]),
                    genesis: wire::Bytes::default(),
                    host: crate::identity::HostId([2; 32]),
                },
                _ => Reply::End {},
            };
            answer.send(&reply).await
        }
    }

    fn serving<H: Handler>(handler: H) -> (tempfile::TempDir, std::path::PathBuf, JoinSet<()>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = StdListener::bind(&path).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            serve(listener, Arc::new(handler), CancellationToken::new()).await.unwrap();
        });
        (dir, path, tasks)
    }

    async fn read_all(stream: &mut UnixStream) -> Vec<u8> {
        let mut all = Vec::new();
        let _reset_is_an_end = stream.read_to_end(&mut all).await;
        all
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_hung_up_on() {
        let (_dir, path, _tasks) = serving(Polite);
        let mut silent = UnixStream::connect(&path).await.unwrap();
        assert_eq!(read_all(&mut silent).await, b"");
        // Half a frame is nothing either.
        let mut half = UnixStream::connect(&path).await.unwrap();
        half.write_all(&[0, 0]).await.unwrap();
        assert_eq!(read_all(&mut half).await, b"");
    }

    #[tokio::test]
    async fn what_cannot_be_read_or_comes_before_hello_is_answered_and_ends_the_connection() {
        let (_dir, path, _tasks) = serving(Polite);
        let frame = |body: &[u8]| wire::frame(body, MESSAGE_BYTES_MAX).unwrap();
        for (bytes, word) in [
            (frame(b"junk"), "cannot be read"),
            (u32::MAX.to_be_bytes().to_vec(), "over the limit"),
            (frame(&wire::encode(&Request::Status {})), "no hello came first"),
            (frame(&wire::encode(&Request::Hello { version: 99 })), "version 99"),
        ] {
            let mut stream = UnixStream::connect(&path).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            let all = read_all(&mut stream).await;
            match wire::decode(&all[wire::FRAME_HEADER_BYTES..], MESSAGE_BYTES_MAX).unwrap() {
                Reply::Error { why, refused: false } => assert!(why.contains(word), "{why}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_are_taken_the_next_is_told_and_served_once_one_is_free() {
        let (_dir, path, _tasks) = serving(Polite);
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            held.push(Client::connect(&path).await.unwrap());
        }
        let error = Client::connect(&path).await.unwrap_err().to_string();
        assert!(error.contains("other command lines"), "{error}");
        held.pop();
        Client::connect(&path).await.unwrap();
    }
}
