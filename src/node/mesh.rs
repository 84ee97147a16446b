//! The mesh process: confined before its first byte from the network, then all of its services, until
//! the executor is gone.

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    os::{fd::AsFd as _, fd::OwnedFd, unix::net::UnixStream as StdStream},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixStream, unix},
    sync::{Notify, Semaphore, mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, level_filters::LevelFilter, warn};

use super::{
    acquaintances, clock,
    confine::{self, Confinement},
    control::{self, Node},
    epoch,
    settings::MeshSettings,
    start::receive_start,
    unable,
};
use crate::{
    authority::Authority,
    control::{Cards, serve_remote},
    executor::message::{LinkError, MESSAGE_BYTES_MAX, Start, ToExecutor, ToMesh},
    host,
    identity::{FleetId, HostId, SecretKey, Stream},
    journal::{HostHomeError, MeshHome},
    net::{self, Net},
    replica::{Entry, Replica, Tables},
    services::{
        inventory::{Inventory, Publisher, Sources},
        membership,
        past::{self, Past},
        registry,
        replication::{self, Mail},
        run::{Parts, Runs, Shipping, Ways},
    },
    store::{self, Store, StoreError},
    wire::{self, FrameReader},
};

/// Messages to the executor that wait.
const TO_EXECUTOR_MAX: usize = 1024;
/// Mail from replication that waits.
const MAIL_MAX: usize = 4096;
/// How often listening is tried again where it failed.
const LISTEN_EVERY: Duration = Duration::from_secs(5);
/// What the mesh process may read beside its own directory, the spool and the package database. `/usr/lib`, all of
/// which everyone may read, for the sake of `os-release`: that file is replaced when it changes, and a file that
/// replaces one that was allowed is not. Disks and interfaces are links in `/sys/block` and `/sys/class` to places
/// all over `/sys/devices`.
pub(super) const READABLE: [&str; 11] = [
    "/etc/os-release",
    "/usr/lib",
    "/etc/localtime",
    "/usr/share/zoneinfo",
    "/proc",
    "/sys/block",
    "/sys/class",
    "/sys/devices",
    "/sys/firmware/devicetree/base/model",
    "/sys/fs/cgroup",
    "/dev/urandom",
];

/// The mesh process's directory, by a path that does not lead through those above it: the user that the
/// process becomes need not be let through them (root's home, for one, is closed to others). Not `.`,
/// since sled makes paths absolute.
const HERE: &str = "/proc/self/cwd";

/// How long the executor may take to say how far its audit chain is.
const AUDIT_WITHIN: Duration = Duration::from_secs(10);

/// Why a mesh process ends.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// The executor.
    #[error("the executor: {0}")]
    Link(#[from] LinkError),
    /// Its own directory.
    #[error(transparent)]
    Home(#[from] HostHomeError),
    /// The confinement.
    #[error("cannot be confined: {0}")]
    Confine(String),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The network.
    #[error(transparent)]
    Net(#[from] net::NetError),
    /// The system.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A setting that is no address.
    #[error("{setting}: {text} is not an address with a port")]
    NoAddress {
        /// The setting.
        setting: &'static str,
        /// What it says.
        text: String,
    },
    /// What makes this host a member.
    #[error("the member file does not hold: {0}")]
    Member(String),
}

/// Runs the mesh process: the child of an executor, with one end of a socket pair as its standard
/// input.
///
/// # Errors
/// See [`MeshError`]; the executor starts another.
pub fn mesh_process() -> Result<(), MeshError> {
    let socket = StdStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (start, control) = receive_start(&socket)?;
    let settings: MeshSettings =
        wire::decode(&start.settings.0, MeshSettings::BYTES_MAX).map_err(LinkError::from)?;
    let dir = PathBuf::from(&start.dir);
    std::env::set_current_dir(&dir)?;
    let own = [spool(&start), audit(&start), PathBuf::from(&settings.dpkg)];
    let readable: Vec<PathBuf> = READABLE.iter().map(PathBuf::from).chain(own).collect();
    let confined = confine::confine(&Confinement {
        become_user: start.become_user,
        writable: std::slice::from_ref(&dir),
        readable: &readable,
    })
    .map_err(|error| MeshError::Confine(error.to_string()))?;
    log_to_stderr();
    let confinement = confined.to_string();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .thread_stack_size(512 * 1024)
        .build()?;
    let (asked, owner) = (control.try_clone()?, start.executor_uid);
    let shown = PathBuf::from(&start.dir);
    runtime.block_on(async {
        let ran = run(start, settings, control, socket, confinement).await;
        if let Err(error) = &ran {
            unable::tell(asked.into(), owner, error, &shown).await;
        }
        ran
    })
}

/// The spool, seen from the mesh process's directory.
fn spool(start: &Start) -> PathBuf {
    let spool = PathBuf::from(&start.spool);
    let beside = Path::new(&start.dir).parent().and_then(|home| spool.strip_prefix(home).ok());
    beside.map_or_else(|| spool.clone(), |rest| Path::new(HERE).join("..").join(rest))
}

/// The audit chain, which stands beside it.
fn audit(start: &Start) -> PathBuf {
    spool(start).with_file_name("audit")
}

fn log_to_stderr() {
    let level = std::env::var("MUSTER_LOG")
        .ok()
        .and_then(|level| level.parse::<LevelFilter>().ok())
        .unwrap_or(LevelFilter::WARN);
    tracing_subscriber::fmt().with_max_level(level).with_writer(io::stderr).with_ansi(false).init();
}

async fn run(
    start: Start,
    settings: MeshSettings,
    control_socket: OwnedFd,
    socket: StdStream,
    confinement: String,
) -> Result<(), MeshError> {
    let stop = CancellationToken::new();
    let home = MeshHome::at(Path::new(HERE));
    let chain = start.member.chain().map_err(MeshError::Member)?;
    let enrolled = start.member.enrolled().map_err(|error| MeshError::Member(error.to_string()))?;
    let (me, fleet) = (enrolled.host(), chain.fleet());
    let mut replica = Replica::new(Authority::new(chain));
    let grants = start.member.grants().map_err(|error| MeshError::Member(error.to_string()))?;
    for entry in grants.into_iter().map(Entry::Grant).chain([Entry::Host(Box::new(enrolled))]) {
        replica.merge(entry, &[]).map_err(|error| MeshError::Member(error.to_string()))?;
    }
    let (backend, aside) = store::open(&home.store_dir())?;
    let aside = aside.map(|aside| Path::new(&start.dir).join(aside.strip_prefix(HERE).unwrap_or(&aside)));
    let store = Store::start(replica, backend, &home.first(), aside, clock::now())?;

    let mut tasks: JoinSet<()> = JoinSet::new();
    let network =
        net::Settings { seed: *home.transport_key()?.seed(), psk: start.member.shield, lan: settings.lan };
    let (net, net_task) = net::start(network)?;
    tasks.spawn(net_task.run(stop.clone()));

    let (to_executor, outgoing) = mpsc::channel(TO_EXECUTOR_MAX);
    let (mail, mailbox) = mpsc::channel(MAIL_MAX);
    let (replication, replicating) =
        replication::start(me, net.clone(), store.clone(), clock::now, mail, stop.clone())?;
    tasks.spawn(replicating);
    let shipping = Shipping::open(me, store.clone(), net.clone(), clock::now, &home.shipped_dir())?;
    tasks.spawn(shipping.clone().fetch(stop.clone()));
    let (mut said_at, mark) = home.said()?;
    let (past, asking) = past::start(
        past::Parts {
            me,
            fleet,
            net: net.clone(),
            store: store.clone(),
            executor: to_executor.clone(),
            mark,
            clock: clock::now,
        },
        stop.clone(),
    );
    tasks.spawn(asking);
    let runs = Runs::new(Parts {
        me,
        clears: {
            let past = past.clone();
            Arc::new(move |id, order| past.clears(id, order))
        },
        cleared: past.cleared(),
        store: store.clone(),
        net: net.clone(),
        spool: spool(&start),
        shipping: shipping.clone(),
        executor: to_executor.clone(),
        events: replication.events(),
        stream_key: home.stream_key()?,
        clock: clock::now,
    });

    // The executor first: it has results that nobody else knows of.
    socket.set_nonblocking(true)?;
    let (from, to) = UnixStream::from_std(socket)?.into_split();
    tasks.spawn(write_executor(to, outgoing, stop.clone()));
    let (erase, erased) = watch::channel(false);
    let asked = Arc::new(Notify::new());
    tasks.spawn(read_executor(from, runs.clone(), erase, Arc::clone(&asked), stop.clone()));
    tasks.spawn(prove(asked, net.clone(), replication.clone(), store.clone(), to_executor.clone()));
    let _first = to_executor.send(ToExecutor::Ready { confinement: confinement.clone() }).await;
    tasks.spawn(deliver(mailbox, runs.clone()));
    tasks.spawn(runs.clone().feed(stop.clone()));

    let wanted = addresses_of("listen", &settings.listen)?;
    let advertise = addresses_of("advertise", &settings.advertise)?;
    let (said, problems) = watch::channel(Vec::new());
    let missing = listen(&net, wanted.clone(), &said).await;
    tasks.spawn(listen_later(net.clone(), missing, said));
    info!(host = %me, listening = ?net.local_addrs(), "up");

    let (unlooked, unseen) = watch::channel(Vec::new());
    let paths = host::Paths::with_dpkg(&settings.dpkg);
    let machine = host::Machine::new(paths.clone());
    let told = store.read(|replica| replica.facet(&me, host::FACET_SYSTEM));
    if let Some(told) = told.and_then(|(_, bytes)| Tables::read(&bytes).ok()) {
        machine.remember(&told);
    }
    let asked_runs = runs.clone();
    let sources = Sources {
        audit: Box::new(move || {
            let runs = asked_runs.clone();
            Box::pin(async move { runs.audit_head(AUDIT_WITHIN).await })
        }),
        watch: host::Watch::start(&paths),
        looks: host::Looks::new(Arc::new(machine)),
        addresses: {
            let (net, advertise, wanted) = (net.clone(), advertise.clone(), wanted.clone());
            move || addresses(&net, &advertise, &wanted)
        },
        note: Box::new(move |epoch, sequence| {
            said_at.note(epoch, sequence).map_err(|error| error.to_string())
        }),
        clock: clock::now,
        problems: unlooked,
    };
    tasks.spawn(publish(home.clone(), fleet, home.stream_key()?, store.clone(), past.clone(), sources));
    let inventory = Inventory::new(store.clone());
    tasks.spawn(inventory.clone().tidy());

    tasks.spawn(membership::announce(home.clone(), me, net.clone(), store.clone()));
    tasks.spawn(acquaintances::keep(home.clone(), store.clone(), replication.clone()));

    let ways = replication.clone();
    let ways: Ways = Arc::new(move |order, host| {
        let ways = ways.clone();
        Box::pin(async move { ways.way_to(order, host).await })
    });
    let cards = Cards::new(net.clone(), store.clone(), clock::now);
    let parts = registry::Parts {
        me,
        net: net.clone(),
        store: store.clone(),
        clock: clock::now,
        cards: cards.clone(),
        runs: runs.clone(),
        shipping: shipping.clone(),
        ways: Arc::clone(&ways),
        stop: stop.clone(),
    };
    registry::start(&parts, &mut tasks);

    let audit_dir = audit(&start);
    let (last, serving) = (store.clone(), to_executor.clone());
    let node = Node {
        me,
        store,
        net,
        replication,
        runs,
        shipping,
        ways,
        stream_key: home.stream_key()?,
        executor: to_executor,
        start,
        confinement,
        started: clock::now(),
        problems,
        unseen,
        inventory,
        past,
        advertise,
        wanted,
        bulk: Semaphore::new(control::BULK_MAX),
        store_dir: home.store_dir(),
        audit: audit_dir,
        erased,
        stop: stop.clone(),
    };
    let listener = std::os::unix::net::UnixListener::from(control_socket);
    let node = Arc::new(node);
    let outside = serve_remote(node.net.clone(), cards, Arc::clone(&node), stop.clone());
    tasks.spawn(async move {
        if let Err(error) = outside.await {
            warn!(%error, "operators at other machines are not served");
        }
    });
    let answering = crate::control::serve(listener, node, stop.clone());
    let _told = serving.send(ToExecutor::Serving {}).await;
    tokio::select! {
        answered = answering => answered?,
        // None of them ends before it is told to. Without one of them this is no mesh process: the executor
        // starts another.
        ended = tasks.join_next() => {
            if let Some(Err(error)) = ended {
                warn!(%error, "a part of the agent failed");
            }
        }
    }
    tasks.shutdown().await;
    // What waits to be written in a group is written now; without, it would only be fetched again.
    let _best_effort = last.flushed().await;
    Ok(())
}

fn addresses_of(setting: &'static str, texts: &[String]) -> Result<Vec<SocketAddr>, MeshError> {
    let address =
        |text: &String| text.parse().map_err(|_| MeshError::NoAddress { setting, text: text.clone() });
    texts.iter().map(address).collect()
}

/// Listens; returns where that failed, and says why.
async fn listen(
    net: &Net,
    wanted: Vec<SocketAddr>,
    problems: &watch::Sender<Vec<String>>,
) -> Vec<SocketAddr> {
    let (mut missing, mut why) = (Vec::new(), Vec::new());
    for address in wanted {
        if let Err(error) = net.listen(address).await {
            why.push(format!("cannot listen at {address}, and tries again: {error}"));
            missing.push(address);
        }
    }
    if *problems.borrow() != why {
        for problem in &why {
            warn!(problem, "cannot listen");
        }
        problems.send_replace(why);
    }
    missing
}

/// Tries again where listening failed: the port may be another's for a while, the address may come later.
async fn listen_later(net: Net, mut missing: Vec<SocketAddr>, problems: watch::Sender<Vec<String>>) {
    while !missing.is_empty() {
        tokio::time::sleep(LISTEN_EVERY).await;
        missing = listen(&net, missing, &problems).await;
    }
    // It has no end that anybody waits for.
    std::future::pending::<()>().await;
}

/// Says what this host is, in a new epoch of its stream, from when there is one and peers were asked for the last
/// one. A host whose key signs in two places says so once, and then nothing more.
async fn publish<A: Fn() -> Vec<SocketAddr>>(
    home: MeshHome,
    fleet: FleetId,
    key: SecretKey<Stream>,
    store: Store,
    past: Past,
    mut sources: Sources<A>,
) {
    let found = past.settled().await;
    let me = HostId::of(&key.public());
    let (mut alone, mut ahead) = (found.answers == 0, found.ahead);
    loop {
        if store.read(|replica| replica.equivocation(&me).is_some()) {
            break;
        }
        let begun = epoch::begin(&home, &sources.problems).await;
        let last = store.read(|replica| replica.head(&me).cloned());
        let after = last.as_ref().map_or(0, |head| head.body().epoch.saturating_add(1));
        let key = SecretKey::from_seed(&key.seed());
        let mut publisher = Publisher::new(fleet, key, begun.max(after), last.as_ref());
        if let Some(head) = ahead.take() {
            publisher.follows(&head);
        }
        let other = publisher.run(&store, &mut sources).await;
        if !alone {
            warn!("another process signs with this host's key: it was cloned, or the key was stolen");
            publisher.contradict(&other, &store, clock::now());
            break;
        }
        // It went on without having heard of its past, and hears of it now.
        alone = false;
        past.overtaken(&other).await;
        ahead = Some(Arc::new(other));
    }
    std::future::pending::<()>().await;
}

/// The addresses to publish: those of the settings, else those listened at; loopback ones only if
/// nothing else was asked for.
pub(super) fn addresses(net: &Net, advertise: &[SocketAddr], wanted: &[SocketAddr]) -> Vec<SocketAddr> {
    if !advertise.is_empty() {
        return advertise.to_vec();
    }
    let local: BTreeSet<SocketAddr> = net.local_addrs();
    let everywhere = wanted.iter().any(|address| address.ip().is_unspecified());
    local
        .into_iter()
        .filter(|address| !(address.ip().is_unspecified() || everywhere && address.ip().is_loopback()))
        .collect()
}

async fn deliver(mut mailbox: mpsc::Receiver<Mail>, runs: Runs) {
    let mut tasks = JoinSet::new();
    while let Some(mail) = mailbox.recv().await {
        while tasks.try_join_next().is_some() {}
        match mail {
            Mail::Keep(reports) => runs.keep(reports, &mut tasks),
            Mail::Settle(order) => runs.settled(order).await,
            Mail::Running(order, hosts) => runs.running(order, hosts),
        }
    }
}

async fn read_executor(
    mut from: unix::OwnedReadHalf,
    runs: Runs,
    erased: watch::Sender<bool>,
    asked: Arc<Notify>,
    stop: CancellationToken,
) {
    // Whatever ends this ends the process: without an executor there is nothing to do.
    let _end = stop.drop_guard();
    let mut reader = FrameReader::new(MESSAGE_BYTES_MAX);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match reader.next_frame() {
            Ok(Some(body)) => match wire::decode::<ToMesh>(&body, MESSAGE_BYTES_MAX) {
                Ok(ToMesh::Erased {}) => drop(erased.send_replace(true)),
                Ok(ToMesh::Alive {}) => asked.notify_one(),
                Ok(message) => runs.from_executor(message).await,
                Err(error) => return warn!(%error, "the executor says what cannot be read"),
            },
            Ok(None) => match from.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(read) => reader.push(buffer.get(..read).unwrap_or_default()),
            },
            Err(error) => return warn!(%error, "the executor says what cannot be read"),
        }
    }
}

/// Says that this process lives, when it is asked, once each of its loops has come round.
async fn prove(
    asked: Arc<Notify>,
    net: Net,
    replication: replication::Replication,
    store: Store,
    executor: mpsc::Sender<ToExecutor>,
) {
    loop {
        asked.notified().await;
        let _links_turn = net.turn().await;
        let _replication_turns = replication.unsettled().await;
        store.read(|_| ());
        let _told = executor.send(ToExecutor::Alive {}).await;
    }
}

async fn write_executor(
    mut to: unix::OwnedWriteHalf,
    mut outgoing: mpsc::Receiver<ToExecutor>,
    stop: CancellationToken,
) {
    let _end = stop.drop_guard();
    while let Some(message) = outgoing.recv().await {
        let Ok(framed) = wire::frame(&wire::encode(&message), MESSAGE_BYTES_MAX) else {
            warn!("a message to the executor is too long and is not sent");
            continue;
        };
        if to.write_all(&framed).await.is_err() {
            return;
        }
    }
}
