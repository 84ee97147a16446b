//! The client that a command line starts in itself, on a thread of its own, for as long as it lives.

use std::{
    fmt, fs, io,
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    bridge::{Bridge, Offline},
    cache::{self, Entries, Kept, Read},
    saved::{Saved, SavedError},
    way::{Way, WayError},
};
use crate::{
    authority::RootChain,
    control::{self, Client, ControlError, Reply, Request, no_answer},
    identity::{FleetId, HostId},
    journal::{
        OperatorError, OperatorHome,
        signer::{Choice, OperatorSigner, ways},
    },
    net::{self, NetError},
    replica::Entry,
    time::Timestamp,
};

/// How old what is kept may be before it is fetched again beside a command.
const FRESH: Duration = Duration::from_secs(60);
/// How long a command that is done waits for what is being fetched, and where nothing was kept before.
const LAST_WITHIN: Duration = Duration::from_secs(1);
/// How long fetching may take in all.
const FETCH_WITHIN: Duration = Duration::from_secs(300);
/// How long one answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Bytes of a socket's path, at most.
const PATH_BYTES_MAX: usize = 100;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// The context's files.
    #[error(transparent)]
    Saved(#[from] SavedError),
    /// The operator's directory.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// This user has no key for the fleet.
    #[error("this user has no operator key for the fleet of context {context}")]
    NoKey {
        /// The context.
        context: String,
    },
    /// No member is asked.
    #[error(transparent)]
    Way(#[from] WayError),
    /// Who answers is none of the fleet's.
    #[error("who answers at {address} is no member of the fleet")]
    NotAMember {
        /// Where.
        address: String,
    },
    /// What the fleet holds could not be fetched.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The network.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The client could not be started.
    #[error("cannot start the client")]
    Io(#[from] io::Error),
}

/// What a client is started with.
#[derive(Clone, Copy, Debug)]
pub struct With<'a> {
    /// The context's name.
    pub name: &'a str,
    /// Where the fleet is found.
    pub saved: &'a Saved,
    /// The context's directory, which is there.
    pub dir: &'a Path,
    /// Where operators' directories are.
    pub operators: &'a Path,
    /// The key, where this user has no directory for the fleet yet.
    pub key: Option<&'a Choice>,
    /// Whether what is fetched is kept.
    pub keeps: bool,
    /// What time it is.
    pub clock: fn() -> Timestamp,
    /// The seed of a transport key that nobody else has.
    pub seed: [u8; 32],
}

/// How the client stands.
#[derive(Clone, Debug)]
pub enum Standing {
    /// A member answers.
    Linked {
        /// Which.
        member: HostId,
        /// Where it was reached.
        address: String,
    },
    /// None does.
    Offline {
        /// Why.
        why: WayError,
        /// From when what is kept is; nothing if nothing is.
        as_of: Option<Timestamp>,
    },
}

/// A client that runs. Dropping it ends it.
pub struct Session {
    /// Where it is asked, as an agent would be.
    pub socket: PathBuf,
    /// How it stands.
    pub standing: Standing,
    /// What a person should be told.
    pub remarks: Vec<String>,
    way: Arc<Way>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("standing", &self.standing).finish_non_exhaustive()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _it_panicked = thread.join();
        }
        let _best_effort = fs::remove_file(&self.socket);
    }
}

/// What was fetched and verified.
pub(super) struct Fetched {
    pub(super) kept: Kept,
    entries: Entries,
    pub(super) chain: RootChain,
    left_out: usize,
}

impl Session {
    /// Starts a client: reaches a member or finds that none answers, and is then asked at a socket.
    ///
    /// # Errors
    /// See [`ContextError`]. That nobody answers is none: the standing says so.
    pub fn start(with: With<'_>) -> Result<Self, ContextError> {
        Self::start_with(with).map(|(session, _)| session)
    }

    /// The same, and what was fetched because nothing was kept.
    pub(super) fn start_with(with: With<'_>) -> Result<(Self, Option<Fetched>), ContextError> {
        let home = OperatorHome::find(with.operators, with.saved.fleet)?;
        let signer = match (&home, with.key) {
            (Some(home), _) => Arc::clone(&home.signer),
            (None, Some(key)) => Arc::new(key.signer(ways())?),
            (None, None) => return Err(ContextError::NoKey { context: with.name.to_owned() }),
        };
        let mut remarks = Vec::new();
        let kept = noted(cache::read::<Kept>(&cache::kept_path(with.dir)), &mut remarks);
        let socket = socket_in(with.dir)?;
        let _stale = fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket)?;
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o600))?;
        let stop = CancellationToken::new();
        let thread = Thread {
            saved: with.saved.clone(),
            dir: with.dir.to_owned(),
            operators: with.operators.to_owned(),
            socket: socket.clone(),
            keeps: with.keeps,
            clock: with.clock,
            seed: with.seed,
            signer,
            home,
            kept,
            listener,
            stop: stop.clone(),
        };
        let (ready, told) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name("context".to_owned()).spawn(move || thread.run(&ready))?;
        match told.recv() {
            Ok(Ok(Ready { standing, way, fetched, remarks: more })) => {
                remarks.extend(more);
                let thread = Some(thread);
                Ok((Self { socket, standing, remarks, way, stop, thread }, fetched))
            }
            Ok(Err(error)) => {
                let _it_panicked = thread.join();
                let _best_effort = fs::remove_file(&socket);
                Err(error)
            }
            Err(_) => Err(io::Error::other("the client ended by itself").into()),
        }
    }

    /// What happened on the way that a person should be told; each once.
    pub fn said(&self) -> Vec<String> {
        self.way.said()
    }
}

/// What a file says; that it was damaged is remarked.
fn noted<T>(read: Read<T>, remarks: &mut Vec<String>) -> Option<T> {
    match read {
        Read::Whole(value) => Some(value),
        Read::Nothing => None,
        Read::Aside(path) => {
            remarks
                .push(format!("what was kept of the fleet is damaged and was moved to {}", path.display()));
            None
        }
    }
}

/// A path for the socket, in a directory that only this user enters. Those that nobody listens at any more go.
fn socket_in(dir: &Path) -> io::Result<PathBuf> {
    for entry in fs::read_dir(dir)?.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(pid) = name.strip_prefix("s.")
            && pid.parse::<u32>().is_ok()
            && !Path::new("/proc").join(pid).exists()
        {
            let _best_effort = fs::remove_file(entry.path());
        }
    }
    let path = dir.join(format!("s.{}", std::process::id()));
    if path.as_os_str().len() > PATH_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidFilename,
            format!(
                "{} is too long a path for a socket: name another directory with MUSTER_CONTEXTS",
                path.display()
            ),
        ));
    }
    Ok(path)
}

struct Thread {
    saved: Saved,
    dir: PathBuf,
    operators: PathBuf,
    socket: PathBuf,
    keeps: bool,
    clock: fn() -> Timestamp,
    seed: [u8; 32],
    signer: Arc<OperatorSigner>,
    home: Option<OperatorHome>,
    kept: Option<Kept>,
    listener: UnixListener,
    stop: CancellationToken,
}

struct Ready {
    standing: Standing,
    way: Arc<Way>,
    fetched: Option<Fetched>,
    remarks: Vec<String>,
}

type Told = mpsc::SyncSender<Result<Ready, ContextError>>;

impl Thread {
    fn run(self, ready: &Told) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                let _gone = ready.send(Err(error.into()));
                return;
            }
        };
        runtime.block_on(async {
            if let Err(error) = self.serve(ready).await {
                let _gone = ready.send(Err(error));
            }
        });
    }

    async fn serve(self, ready: &Told) -> Result<(), ContextError> {
        let Self { saved, dir, operators, socket, keeps, clock, seed, signer, home, kept, listener, stop } =
            self;
        let (net, task) = net::start(net::Settings { seed, psk: saved.shield, lan: false })?;
        let mut tasks = JoinSet::new();
        let ended = CancellationToken::new();
        let _net_ends = ended.clone().drop_guard();
        tasks.spawn(task.run(ended));
        let known = kept.as_ref().map(|kept| kept.known.clone()).unwrap_or_default();
        let way = Arc::new(Way::new(net, saved.fleet, signer, clock, saved.addresses, known));
        let mut remarks = Vec::new();
        let first = match way.member().await {
            Ok(member) => Ok(member),
            Err(why @ WayError::Unreachable { .. }) => Err(why),
            Err(refused @ WayError::Refused { .. }) => return Err(refused.into()),
        };
        let (offline, as_of) = match (&first, &home) {
            (Ok(_), _) => (None, None),
            (Err(why), None) => return Err(why.clone().into()),
            (Err(why), Some(home)) => {
                let entries = noted(cache::read::<Entries>(&cache::entries_path(&dir)), &mut remarks);
                let as_of = kept.as_ref().filter(|_| entries.is_some()).map(|kept| kept.at);
                let (why, chain) = (why.to_string(), home.chain.clone());
                let kept = kept.clone();
                (Some(Offline { why, kept, entries, chain, verified: OnceLock::new() }), as_of)
            }
        };
        let changed = Arc::new(AtomicBool::new(false));
        let (fleet, finding) = (saved.fleet, Arc::clone(&way));
        let bridge = Bridge { way: finding, fleet, operators, offline, changed: Arc::clone(&changed) };
        let answering = CancellationToken::new();
        let _answers_end = answering.clone().drop_guard();
        tasks.spawn(async move {
            let _listener_failed = control::serve(listener, Arc::new(bridge), answering).await;
        });
        let renewing = Arc::clone(&way);
        tasks.spawn(async move { renewing.renew().await });
        let fetching = Arc::new(Fetching { socket, dir, fleet, keeps, clock });
        let home = home.map(Arc::new);
        let (mut fetched, mut later) = (None, JoinSet::new());
        let standing = match first {
            Err(why) => Standing::Offline { why, as_of },
            Ok(member) => {
                let address = member.address.map(|address| address.to_string()).unwrap_or_default();
                if member.unproven || home.is_none() || kept.is_none() {
                    let found = fetching.fetch(home.as_deref()).await?;
                    way.learn(found.kept.known.clone());
                    if !way.proves(member.host, member.peer) {
                        return Err(ContextError::NotAMember { address });
                    }
                    remarks.extend(fetching.keep(&found));
                    fetched = Some(found);
                } else if kept.is_some_and(|kept| clock().since(kept.at) > FRESH) {
                    later.spawn(again(Arc::clone(&fetching), home.clone(), Arc::clone(&way)));
                }
                Standing::Linked { member: member.host, address }
            }
        };
        let finding = Arc::clone(&way);
        let _gone = ready.send(Ok(Ready { standing, way, fetched, remarks }));
        stop.cancelled().await;
        if changed.load(Ordering::Relaxed) {
            later.shutdown().await;
            later.spawn(again(fetching, home, finding));
        }
        let _as_far_as_it_came = timeout_at(Instant::now() + LAST_WITHIN, later.join_next()).await;
        Ok(())
    }
}

/// Fetches it once more and keeps it. A command that runs meanwhile says itself what goes wrong.
async fn again(fetching: Arc<Fetching>, home: Option<Arc<OperatorHome>>, way: Arc<Way>) {
    if let Ok(found) = fetching.fetch(home.as_deref()).await {
        way.learn(found.kept.known.clone());
        let _best_effort = fetching.keep(&found);
    }
}

/// Fetches what a fleet holds, by the socket like anybody, and keeps it.
struct Fetching {
    socket: PathBuf,
    dir: PathBuf,
    fleet: FleetId,
    keeps: bool,
    clock: fn() -> Timestamp,
}

impl Fetching {
    async fn fetch(&self, home: Option<&OperatorHome>) -> Result<Fetched, ContextError> {
        let within = timeout_at(Instant::now() + FETCH_WITHIN, self.fetch_all(home)).await;
        within.unwrap_or(Err(ControlError::Slow(FETCH_WITHIN).into()))
    }

    async fn fetch_all(&self, home: Option<&OperatorHome>) -> Result<Fetched, ContextError> {
        // Its own connection: what is kept is not what a stopped command line leaves half read.
        let at = (self.clock)();
        let mut client = Client::connect(&self.socket).await?;
        let (mut replica, left_out) = if let Some(home) = home {
            control::fleet_of(&mut client, home, true).await?
        } else {
            // The genesis is what the fleet's id is the hash of; all else chains to it.
            let chain = RootChain::open(&client.genesis.0, self.fleet)
                .map_err(|error| ControlError::Malformed(error.to_string()))?;
            control::fleet(&mut client, chain, true).await?
        };
        client.send(&Request::Orders {}).await?;
        loop {
            match client.reply_within(ANSWER_WITHIN).await? {
                Reply::Items { items, more } => {
                    for item in items {
                        if let Ok(entry) = Entry::verify(&item.entry.0, replica.fleet()) {
                            let _does_not_hold = replica.merge(entry, &item.facets);
                        }
                    }
                    if !more {
                        break;
                    }
                }
                other => return Err(no_answer(&other).into()),
            }
        }
        let lines = control::host_lines(&mut client).await?;
        let types = match client.ask(&Request::InventoryTypes {}, ANSWER_WITHIN).await? {
            Reply::Types { types } => types.into_iter().map(|row| row.name).collect(),
            _ => Vec::new(),
        };
        let kept = Kept::of(&replica, lines, types, client.host, at);
        let entries = Entries { at, fleet: replica.fleet_items(true), orders: replica.order_items() };
        Ok(Fetched { kept, entries, chain: replica.authority().chain().clone(), left_out })
    }

    /// Keeps it; what a person should be told of that.
    fn keep(&self, fetched: &Fetched) -> Vec<String> {
        let mut remarks = Vec::new();
        if fetched.left_out > 0 {
            remarks
                .push(format!("{} entries from the member do not hold and were left out", fetched.left_out));
        }
        if self.keeps {
            let written = cache::write(&cache::entries_path(&self.dir), &fetched.entries)
                .and_then(|()| cache::keep(&self.dir, &fetched.kept));
            if let Err(error) = written {
                remarks.push(format!("what was fetched cannot be kept in {}: {error}", self.dir.display()));
            }
        }
        remarks
    }
}
