//! The process between the hosts of a scenario: it is the only address of each that the others know.
//!
//! Decides, for each connection, who dials, and does to its bytes what the link of those two does now. It is a
//! process of its own, so that no host and no engine can reach around it, and a host that is stopped or killed
//! does not take its links' faults along. It knows nothing of what passes: that is ciphertext.
//!
//! *Who dials* is told by where it dials from: each machine is in a network namespace of its own that has nothing
//! but its loopback, and in each the proxy listens. A socket stays in the namespace that it was made in, whoever
//! holds it: so there is no address, route or device between the machines, and nothing that could be left behind.
//! Where the machine has no namespaces for us, all are in one network, connections are as good as can be, and the
//! engine refuses files that need more.
//!
//! A stream has no loss: TCP sends again what was lost. So a loss is played as what it costs, the wait until that.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr},
    os::fd::{AsFd as _, AsRawFd as _},
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{
    file::HOSTS_MAX,
    links::{Done, Door, Link, Links, Tell},
};

/// Bytes of a piece.
const PIECE_BYTES: usize = 16 * 1024;
/// Pieces on the way.
const PIECES_MAX: usize = 64;
/// Connections at a time.
const CONNECTIONS_MAX: usize = 4_096;
/// What waits for the reader of standard input.
const LINES_MAX: usize = 16;
/// What a lost piece costs: the least that Linux waits before it sends again.
const SENT_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Connections that wait to be taken.
const BACKLOG: u32 = 1_024;
/// The network that this thread is in.
const OURS: &str = "/proc/thread-self/ns/net";

/// Runs until standard input ends: with whoever started it.
///
/// # Errors
/// When it cannot listen, or is told what cannot be read.
pub fn proxy() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (sender, lines) = mpsc::channel(LINES_MAX);
    // A thread of its own: standard input cannot be waited for in another way, whatever it is.
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    runtime.block_on(serve(lines))
}

async fn serve(mut lines: mpsc::Receiver<String>) -> io::Result<()> {
    let Some(first) = lines.recv().await else { return Ok(()) };
    let Tell::Doors { doors, apart } = serde_json::from_str(&first)? else {
        return Err(io::Error::other("the doors come first"));
    };
    if doors.len() > 2 * HOSTS_MAX {
        return Err(io::Error::other("too many doors"));
    }
    let networks = if apart { Some(Networks::make(doors.len())?) } else { None };
    let paths = networks.as_ref().map(Networks::paths).unwrap_or_default();
    let (links, told) = watch::channel(Links::new());
    let world = Arc::new(World { doors, networks, links: told });
    let mut tasks = JoinSet::new();
    for (number, door) in world.doors.iter().enumerate() {
        if world.networks.is_some() {
            // In the network of the one that dials: which door it dials, its address tells.
            let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), door.at.port());
            tasks.spawn(accept(world.listen(number, any)?, Arc::clone(&world), Some(number)));
        } else if door.to.is_some() {
            tasks.spawn(accept(world.listen(number, door.at)?, Arc::clone(&world), None));
        }
    }
    answer(paths)?;
    while let Some(line) = lines.recv().await {
        let Tell::Links(new) = serde_json::from_str(&line)? else {
            return Err(io::Error::other("the doors come once"));
        };
        links.send_replace(new);
        answer(Vec::new())?;
    }
    Ok(())
}

/// Says that what was told is so.
fn answer(networks: Vec<PathBuf>) -> io::Result<()> {
    let mut line = serde_json::to_vec(&Done { networks })?;
    line.push(b'\n');
    let mut out = io::stdout();
    out.write_all(&line)?;
    out.flush()
}

/// Networks that live as long as they are held here, or a process is in them.
struct Networks {
    ours: File,
    of: Vec<File>,
}

impl Networks {
    /// Makes so many, each with nothing but a loopback.
    fn make(count: usize) -> io::Result<Self> {
        let made = (0..count).map(|_| make_network()).collect::<io::Result<_>>()?;
        Ok(Self { ours: File::open(OURS)?, of: made })
    }

    /// Where other processes find them.
    fn paths(&self) -> Vec<PathBuf> {
        let me = std::process::id();
        self.of.iter().map(|of| PathBuf::from(format!("/proc/{me}/fd/{}", of.as_raw_fd()))).collect()
    }

    /// Does something in one of them. Nothing is waited for meanwhile, and there is one thread that does this.
    fn within<T>(&self, number: usize, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let enter =
            |network: &File| move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network));
        let Some(network) = self.of.get(number) else { return Err(io::ErrorKind::NotFound.into()) };
        enter(network)?;
        let result = act();
        enter(&self.ours)?;
        result
    }
}

/// Makes a network, in a process that is gone when this returns.
fn make_network() -> io::Result<File> {
    let mut maker = Command::new("unshare")
        .args(["--net", "sh", "-e", "-c", "ip link set lo up; echo; read -r _"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let made = match maker.stdout.take() {
        Some(stdout) => match BufReader::new(stdout).read_line(&mut String::new()) {
            Ok(1..) => File::open(format!("/proc/{}/ns/net", maker.id())),
            Ok(0) => Err(io::Error::other("no network can be made")),
            Err(error) => Err(error),
        },
        None => Err(io::ErrorKind::BrokenPipe.into()),
    };
    // What it reads is closed by this.
    maker.wait()?;
    made
}

/// What all connections share.
struct World {
    doors: Vec<Door>,
    networks: Option<Networks>,
    links: watch::Receiver<Links>,
}

impl World {
    fn within<T>(&self, number: usize, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match &self.networks {
            Some(networks) => networks.within(number, act),
            None => act(),
        }
    }

    fn listen(&self, number: usize, at: SocketAddr) -> io::Result<TcpListener> {
        self.within(number, || {
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseaddr(true)?;
            socket.bind(at)?;
            socket.listen(BACKLOG)
        })
    }

    /// Dials where the machine of a door listens.
    async fn dial(&self, number: usize, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = self.within(number, TcpSocket::new_v4)?;
        socket.connect(to).await
    }
}

async fn accept(listener: TcpListener, world: Arc<World>, from: Option<usize>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((near, _)) = listener.accept().await else {
            // No descriptors left, for one: the others that are open will end.
            tokio::time::sleep(SENT_AGAIN_AFTER).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        if connections.len() < CONNECTIONS_MAX
            && let Ok(dialled) = near.local_addr()
            && let Some(door) = world.doors.iter().position(|door| door.at == dialled)
        {
            let from = from.and_then(|from| Some(world.doors.get(from)?.host.clone()));
            connections.spawn(pass(near, Arc::clone(&world), door, from));
        }
    }
}

/// What the link does now.
fn link(links: &Links, from: Option<&str>, to: &str) -> Link {
    from.and_then(|from| links.get(from)?.get(to)).copied().unwrap_or_default()
}

async fn pass(near: TcpStream, world: Arc<World>, number: usize, from: Option<String>) {
    let Some(door) = world.doors.get(number) else { return };
    let mut links = world.links.clone();
    let now = |links: &Links| link(links, from.as_deref(), &door.host);
    // Who dials through a cable that was pulled out waits.
    if links.wait_for(|links| !(now(links).cut && now(links).silent)).await.is_err() {
        return;
    }
    if now(&links.borrow()).cut {
        return;
    }
    let Some(to) = door.to else { return };
    let Ok(far) = world.dial(number, to).await else { return };
    if near.set_nodelay(true).and(far.set_nodelay(true)).is_err() {
        return;
    }
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    let (there, back) = (links.clone(), links.clone());
    tokio::select! {
        // Whatever ends one way ends both: nothing here speaks after it has closed its half.
        () = carry(near_read, far_write, |links| now(links), there) => {}
        () = carry(far_read, near_write, |links| now(links), back) => {}
        _cut = links.wait_for(|links| now(links).cut && !now(links).silent) => {}
    }
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    now: impl Fn(&Links) -> Link,
    links: watch::Receiver<Links>,
) {
    let (sender, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES_MAX);
    let mut waiting = links.clone();
    let now = &now;
    let reading = async move {
        let mut last = Instant::now();
        let mut piece = vec![0; PIECE_BYTES];
        while let Ok(read @ 1..) = from.read(&mut piece).await {
            let link = now(&links.borrow());
            let mut due = Instant::now() + Duration::from_millis(link.delay_ms);
            if link.loss > 0 && chance() < link.loss {
                due += SENT_AGAIN_AFTER;
            }
            let bytes = u64::try_from(read).unwrap_or(u64::MAX);
            if let Some(micros) = bytes.saturating_mul(1_000_000).checked_div(link.rate) {
                due = due.max(last) + Duration::from_micros(micros);
            }
            // In order, as a stream is.
            last = due.max(last);
            let bytes = piece.get(..read).unwrap_or_default().to_vec();
            if sender.send((last, bytes)).await.is_err() {
                return;
            }
        }
    };
    let writing = async {
        while let Some((due, bytes)) = pieces.recv().await {
            sleep_until(due).await;
            if waiting.wait_for(|links| !now(links).cut).await.is_err() || to.write_all(&bytes).await.is_err()
            {
                return;
            }
        }
    };
    // When the reader has ended, all that is on its way is written; when nobody takes it, nothing is read.
    tokio::pin!(reading, writing);
    tokio::select! {
        () = &mut reading => writing.await,
        () = &mut writing => {}
    }
}

/// A number below 100.
fn chance() -> u8 {
    let mut byte = [0];
    // Without randomness nothing is lost.
    if getrandom::fill(&mut byte).is_err() {
        return u8::MAX;
    }
    byte[0] % 100
}
