//! Output of any length, as its host's executor signed for it, in pieces.
//!
//! What several hosts wrote alike is fetched once, by its hash, and several outputs at a time, ahead of who
//! shows them one after the other; both only as far as memory for it is set aside.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, task::JoinSet};

use crate::{
    authority::{Verb, Want},
    control::{Client, ControlError, Reply, Request, StreamName, no_answer},
    identity::{EntryId, HostId, Signed},
    journal::{OperatorError, OperatorHome},
    replica::{Order, Output, ReadRequest},
    time::Timestamp,
    wire::Bytes,
};

/// How long a request to read is good for.
const READ_VALID: Duration = Duration::from_secs(600);
/// The same where each signature is a touch. It is about one order's output, and its bytes go to members alone.
const TOUCHED_READ_VALID: Duration = Duration::from_secs(3600);
/// How long the agent may take between two pieces.
const PIECE_WITHIN: Duration = Duration::from_secs(60);
/// Outputs that are fetched ahead at a time.
const AHEAD_AT_ONCE: usize = 12;
/// Longest output that is fetched ahead, in bytes; one that is longer goes to its reader piece by piece.
const AHEAD_EACH_MAX: u64 = 1 << 20;
/// Bytes that are held ahead in all.
const AHEAD_BYTES_MAX: u64 = 64 << 20;
/// Hosts that are asked for one output before it is left to whoever needs it.
const SOURCES_MAX: usize = 3;

/// Why output is not there, or not whole. Pieces may have been handed on.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The host or the agent did not give it.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// What came is not what was signed.
    #[error("it is not what was signed: {0}")]
    NotAsSigned(&'static str),
    /// It cannot be written where it should go.
    #[error("it cannot be written")]
    Sink(#[from] io::Error),
}

/// Takes pieces as they come.
pub(super) type Sink<'a> = dyn FnMut(&[u8]) -> io::Result<()> + Send + 'a;

/// The right to read one order's output.
#[derive(Clone, Debug)]
struct Right {
    order: EntryId,
    read: Bytes,
    signed: Timestamp,
    /// The hosts that it is about, in order.
    hosts: Vec<HostId>,
}

/// One output stream of one host, and the right to it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    host: HostId,
    stream: StreamName,
    order: EntryId,
    read: Bytes,
}

/// What is fetched ahead, by hash.
#[derive(Debug)]
struct Ahead {
    /// Still to be fetched: in this order, what, and from whom, the first who has it first.
    queue: VecDeque<[u8; 32]>,
    sources: BTreeMap<[u8; 32], (Output, Vec<Source>)>,
    /// Whole, as signed; or nobody gave it.
    done: BTreeMap<[u8; 32], Option<Arc<Vec<u8>>>>,
    /// How often each will be asked for. It is held as long as that.
    wanted: BTreeMap<[u8; 32], usize>,
    /// Bytes that may still be fetched.
    room: u64,
    workers: usize,
}

impl Ahead {
    fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            sources: BTreeMap::new(),
            done: BTreeMap::new(),
            wanted: BTreeMap::new(),
            room: AHEAD_BYTES_MAX,
            workers: 0,
        }
    }

    /// Takes what is to be fetched; true if one more is needed who does it.
    fn want(&mut self, source: Source, output: Output) -> bool {
        if output.kept == 0 || output.kept > AHEAD_EACH_MAX {
            return false;
        }
        if let Some(wanted) = self.wanted.get_mut(&output.hash) {
            *wanted += 1;
            if let Some((_, sources)) = self.sources.get_mut(&output.hash) {
                sources.push(source);
            }
            return false;
        }
        let Some(room) = self.room.checked_sub(output.kept) else { return false };
        self.room = room;
        self.wanted.insert(output.hash, 1);
        self.sources.insert(output.hash, (output, vec![source]));
        self.queue.push_back(output.hash);
        let more = self.workers < AHEAD_AT_ONCE;
        self.workers += usize::from(more);
        more
    }

    /// The next to be fetched; without one, who asks is done.
    fn next(&mut self) -> Option<(Output, Vec<Source>)> {
        let next = self.queue.pop_front().and_then(|hash| self.sources.remove(&hash));
        self.workers -= usize::from(next.is_none());
        next
    }

    /// One that was wanted: `None` if it never was, else once it is there what came.
    #[expect(clippy::option_option, reason = "not wanted, not here yet, and nobody gave it are three things")]
    fn take(&mut self, output: &Output) -> Option<Option<Option<Arc<Vec<u8>>>>> {
        let wanted = self.wanted.get_mut(&output.hash)?;
        let Some(done) = self.done.get(&output.hash).cloned() else { return Some(None) };
        *wanted -= 1;
        if *wanted == 0 {
            self.wanted.remove(&output.hash);
            self.done.remove(&output.hash);
            self.room = self.room.saturating_add(output.kept);
        }
        Some(Some(done))
    }
}

/// Reads the output of a job's orders.
#[derive(Debug)]
pub(super) struct Reader {
    socket: PathBuf,
    rights: Vec<Right>,
    ahead: Arc<Mutex<Ahead>>,
    news: Arc<Notify>,
    fetching: Mutex<JoinSet<()>>,
}

impl Reader {
    /// Reads nothing yet.
    pub(super) fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
            rights: Vec::new(),
            ahead: Arc::new(Mutex::new(Ahead::new())),
            news: Arc::default(),
            fetching: Mutex::default(),
        }
    }

    /// Signs the requests to read the output of these orders.
    ///
    /// # Errors
    /// When the key did not sign.
    pub(super) fn sign<'a>(
        home: &OperatorHome,
        socket: &Path,
        orders: impl IntoIterator<Item = (&'a Signed<Order>, &'a [HostId])>,
        now: Timestamp,
    ) -> Result<Self, OperatorError> {
        let mut reader = Self::new(socket);
        for (order, hosts) in orders {
            reader.add(home, order, hosts, now)?;
        }
        Ok(reader)
    }

    /// Signs the request to read another order's output, and returns it.
    ///
    /// # Errors
    /// When the key did not sign.
    pub(super) fn add(
        &mut self,
        home: &OperatorHome,
        order: &Signed<Order>,
        hosts: &[HostId],
        now: Timestamp,
    ) -> Result<Bytes, OperatorError> {
        let (order, hosts) = (order.id(), hosts.to_vec());
        let read = read(home, order, now)?;
        self.rights.push(Right { order, read: read.clone(), signed: now, hosts });
        Ok(read)
    }

    /// Signs again what was signed so long ago that it is not good for much longer.
    ///
    /// # Errors
    /// When the key did not sign; what is left of the old ones stands.
    pub(super) fn renew(&mut self, home: &OperatorHome, now: Timestamp) -> Result<(), OperatorError> {
        for right in &mut self.rights {
            if now.since(right.signed) > read_valid(home) / 2 {
                (right.read, right.signed) = (read(home, right.order, now)?, now);
            }
        }
        Ok(())
    }

    fn source(&self, host: HostId, stream: StreamName) -> Result<Source, FetchError> {
        let right = self.rights.iter().find(|right| right.hosts.binary_search(&host).is_ok());
        let Some(Right { order, read, .. }) = right else {
            return Err(ControlError::Malformed("no order is for this host".to_owned()).into());
        };
        Ok(Source { host, stream, order: *order, read: read.clone() })
    }

    /// Begins to fetch what [`Reader::copy`] will be asked for once: each distinct output is fetched once. What
    /// is too long, or too much, is left to `copy`. Inside a runtime.
    pub(super) fn fetch_ahead(&self, host: HostId, stream: StreamName, output: Output) {
        let Ok(source) = self.source(host, stream) else { return };
        if lock(&self.ahead).want(source, output) {
            let work = work(self.socket.clone(), Arc::clone(&self.ahead), Arc::clone(&self.news));
            lock(&self.fetching).spawn(work);
        }
    }

    /// Hands one output stream of `host` on to `sink`, piece by piece; `signed` is what its executor
    /// signed for. Holds one piece at a time, but for what was fetched ahead.
    ///
    /// # Errors
    /// [`FetchError`]; when it is not what was signed, that is known only after the last piece.
    pub(super) async fn copy(
        &self,
        host: HostId,
        stream: StreamName,
        signed: Output,
        sink: &mut Sink<'_>,
    ) -> Result<(), FetchError> {
        if signed.kept == 0 {
            return Ok(());
        }
        if let Some(bytes) = self.fetched(&signed).await {
            return Ok(sink(&bytes)?);
        }
        let source = self.source(host, stream)?;
        let mut client = Client::connect(&self.socket).await?;
        copy(&mut client, &source, signed, Begun::default(), sink).await
    }

    /// Hands on what follows `begun`, which went to `sink` before.
    ///
    /// # Errors
    /// As [`Reader::copy`].
    pub(super) async fn go_on(
        &self,
        host: HostId,
        stream: StreamName,
        signed: Output,
        begun: Begun,
        sink: &mut Sink<'_>,
    ) -> Result<(), FetchError> {
        if begun.at >= signed.kept {
            return begun.whole(&signed);
        }
        let source = self.source(host, stream)?;
        let mut client = Client::connect(&self.socket).await?;
        copy(&mut client, &source, signed, begun, sink).await
    }

    /// What is being fetched ahead, once it is there.
    async fn fetched(&self, signed: &Output) -> Option<Arc<Vec<u8>>> {
        loop {
            let news = self.news.notified();
            let mut news = std::pin::pin!(news);
            news.as_mut().enable();
            match lock(&self.ahead).take(signed) {
                None => return None,
                Some(Some(done)) => return done,
                Some(None) => {}
            }
            news.await;
        }
    }
}

/// Signs the request to read an order's output.
fn read(home: &OperatorHome, order: EntryId, now: Timestamp) -> Result<Bytes, OperatorError> {
    let expires = now.after(read_valid(home));
    let certificate = home.under(&Want::of(Verb::Read, now))?;
    let body = ReadRequest { certificate, order, issued: now, expires };
    Ok(Bytes::from(home.sign(body)?.bytes()))
}

fn read_valid(home: &OperatorHome) -> Duration {
    if home.signer.key().is_on_token() { TOUCHED_READ_VALID } else { READ_VALID }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Fetches one output after the other, over one connection.
async fn work(socket: PathBuf, ahead: Arc<Mutex<Ahead>>, news: Arc<Notify>) {
    let mut client = None;
    loop {
        let Some((output, sources)) = lock(&ahead).next() else { return };
        let bytes = fetch_any(&mut client, &socket, output, &sources).await;
        lock(&ahead).done.insert(output.hash, bytes.map(Arc::new));
        news.notify_waiters();
    }
}

/// The output, from the first who gives it as signed.
async fn fetch_any(
    client: &mut Option<Client>,
    socket: &Path,
    output: Output,
    sources: &[Source],
) -> Option<Vec<u8>> {
    // One host that lies or is gone must not keep the others' answer; many would only take time.
    for source in sources.iter().take(SOURCES_MAX) {
        let mut bytes = Vec::new();
        let mut sink = |piece: &[u8]| {
            bytes.extend_from_slice(piece);
            Ok(())
        };
        let mut connected = match client.take() {
            Some(client) => client,
            None => Client::connect(socket).await.ok()?,
        };
        // One that failed ends with its answer: more pieces of that may come on it.
        if copy(&mut connected, source, output, Begun::default(), &mut sink).await.is_ok() {
            *client = Some(connected);
            return Some(bytes);
        }
    }
    None
}

/// What of an output went by already.
#[derive(Clone, Debug, Default)]
pub(super) struct Begun {
    at: u64,
    hasher: Box<blake3::Hasher>,
}

impl Begun {
    /// How many bytes.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Takes the next ones.
    pub(super) fn take(&mut self, piece: &[u8]) {
        self.at += piece.len() as u64;
        self.hasher.update(piece);
    }

    /// What of `whole` is still missing, if this is how it begins.
    pub(super) fn rest<'a>(&self, whole: &'a [u8]) -> Result<&'a [u8], FetchError> {
        let parts = usize::try_from(self.at).ok().and_then(|at| whole.split_at_checked(at));
        match parts {
            None => Err(FetchError::NotAsSigned("it is longer")),
            Some((begin, rest)) if blake3::hash(begin) == self.hasher.finalize() => Ok(rest),
            Some(_) => Err(FetchError::NotAsSigned("it begins otherwise")),
        }
    }

    /// Whether this is all that was signed.
    pub(super) fn whole(&self, signed: &Output) -> Result<(), FetchError> {
        if self.at < signed.kept {
            Err(FetchError::NotAsSigned("it is shorter"))
        } else if self.at > signed.kept {
            Err(FetchError::NotAsSigned("it is longer"))
        } else if *self.hasher.finalize().as_bytes() != signed.hash {
            Err(FetchError::NotAsSigned("its hash is another"))
        } else {
            Ok(())
        }
    }
}

/// Takes the rest of an output from its host, by way of the agent.
async fn copy(
    client: &mut Client,
    source: &Source,
    signed: Output,
    mut begun: Begun,
    sink: &mut Sink<'_>,
) -> Result<(), FetchError> {
    let Source { host, stream, order, read } = source.clone();
    let from = (begun.at > 0).then_some(begun.at);
    client.send(&Request::Output { read, order, host, stream, from }).await?;
    loop {
        match client.reply_within(PIECE_WITHIN).await? {
            Reply::Chunk { bytes } => {
                begun.take(&bytes.0);
                if begun.at > signed.kept {
                    return Err(FetchError::NotAsSigned("it is longer"));
                }
                sink(&bytes.0)?;
            }
            Reply::End {} => return begun.whole(&signed),
            other => return Err(no_answer(&other).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(bytes: &[u8]) -> Output {
        let kept = bytes.len() as u64;
        Output { hash: *blake3::hash(bytes).as_bytes(), kept, produced: kept }
    }

    fn begun(pieces: &[&[u8]]) -> Begun {
        let mut begun = Begun::default();
        for piece in pieces {
            begun.take(piece);
        }
        begun
    }

    fn source_of(number: u8) -> Source {
        let (host, order) = (HostId([number; 32]), EntryId([0; 32]));
        Source { host, stream: StreamName::Stdout, order, read: Bytes::default() }
    }

    #[test]
    fn what_was_shown_and_is_not_what_was_signed_is_found() {
        let well = begun(&[b"all is", b" well"]);
        well.whole(&signed(b"all is well")).unwrap();
        for other in [&b"all is lost"[..], b"all", b"all is well that ends well"] {
            assert!(matches!(well.whole(&signed(other)), Err(FetchError::NotAsSigned(_))));
        }
        assert_eq!(well.rest(b"all is well that ends well").unwrap(), b" that ends well");
        assert_eq!(well.rest(b"all is well").unwrap(), b"");
        assert_eq!(begun(&[]).rest(b"all").unwrap(), b"all");
        for other in [&b"all is lost"[..], b"all"] {
            assert!(matches!(well.rest(other), Err(FetchError::NotAsSigned(_))));
        }
    }

    #[test]
    fn equal_outputs_are_fetched_once_and_held_as_long_as_somebody_will_ask() {
        let mut ahead = Ahead::new();
        let source = source_of;
        let (same, other) = (signed(b"same"), signed(b"other"));
        assert!(ahead.want(source(1), same), "somebody has to fetch it");
        assert!(!ahead.want(source(2), same));
        assert!(ahead.want(source(3), other));
        assert!(!ahead.want(source(4), signed(b"")), "there is nothing to fetch");
        assert_eq!(ahead.next().unwrap().1, [source(1), source(2)]);
        assert_eq!(ahead.next().unwrap().1, [source(3)]);
        assert!(ahead.next().is_none() && ahead.next().is_none());
        assert_eq!(ahead.workers, 0);
        assert!(matches!(ahead.take(&same), Some(None)), "not here yet");
        assert!(ahead.take(&signed(b"never")).is_none());
        ahead.done.insert(same.hash, Some(Arc::new(b"same".to_vec())));
        ahead.done.insert(other.hash, None);
        for _ in 0..2 {
            assert!(matches!(ahead.take(&same), Some(Some(Some(_)))));
        }
        assert!(ahead.take(&same).is_none());
        assert!(matches!(ahead.take(&other), Some(Some(None))), "nobody gave it");
        assert_eq!((ahead.done.len(), ahead.room), (0, AHEAD_BYTES_MAX));
    }

    #[test]
    fn what_is_fetched_ahead_is_bounded() {
        let mut ahead = Ahead::new();
        let long = |number: u64| Output { kept: AHEAD_EACH_MAX, ..signed(&number.to_be_bytes()) };
        let source = source_of(1);
        let more = (0..1000).filter(|number| ahead.want(source.clone(), long(*number))).count();
        assert_eq!(more, AHEAD_AT_ONCE);
        assert_eq!(ahead.queue.len() as u64, AHEAD_BYTES_MAX / AHEAD_EACH_MAX);
        let longer = Output { kept: AHEAD_EACH_MAX + 1, ..signed(b"longer") };
        assert!(!Ahead::new().want(source, longer));
    }
}
