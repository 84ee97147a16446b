//! The process between the hosts of a scenario: it is the only address of each that the others know.
//!
//! Decides, for each connection, who dials, and does to its bytes what the link of those two does now. It is a
//! process of its own, so that no host and no engine can reach around it, and a host that is stopped or killed
//! does not take its links' faults along. It knows nothing of what passes: that is ciphertext.
//!
//! *Who dials* is the user whose socket it is, in the kernel's table: under root each mesh process is a user of
//! its own. Where they are not, all connections are as good as can be, and the engine refuses files that need
//! more. Dials of other users, such as root's command line that joins, pass.
//!
//! A stream has no loss: TCP sends again what was lost. So a loss is played as what it costs, the wait until that.

use std::{
    fs,
    io::{self, BufRead as _, Write as _},
    os::unix::fs::MetadataExt as _,
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{
    file::HOSTS_MAX,
    links::{Door, Link, Links, Tell, user_of},
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
/// The kernel's table of IPv4 sockets.
const SOCKETS: &str = "/proc/self/net/tcp";

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
    let Tell::Doors(doors) = serde_json::from_str(&first)? else {
        return Err(io::Error::other("the doors come first"));
    };
    if doors.len() > HOSTS_MAX {
        return Err(io::Error::other("too many doors"));
    }
    let (links, told) = watch::channel(Links::new());
    let doors: Arc<[Door]> = doors.into();
    let mut tasks = JoinSet::new();
    for (at, door) in doors.iter().enumerate() {
        if door.to.is_some() {
            let listener = TcpListener::bind(door.at).await?;
            tasks.spawn(accept(listener, Arc::clone(&doors), at, told.clone()));
        }
    }
    answer()?;
    while let Some(line) = lines.recv().await {
        let Tell::Links(new) = serde_json::from_str(&line)? else {
            return Err(io::Error::other("the doors come once"));
        };
        links.send_replace(new);
        answer()?;
    }
    Ok(())
}

/// Says that what was told is so.
fn answer() -> io::Result<()> {
    let mut out = io::stdout();
    out.write_all(b"ok\n")?;
    out.flush()
}

async fn accept(listener: TcpListener, doors: Arc<[Door]>, at: usize, links: watch::Receiver<Links>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((near, _)) = listener.accept().await else {
            // No descriptors left, for one: the others that are open will end.
            tokio::time::sleep(SENT_AGAIN_AFTER).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        if connections.len() < CONNECTIONS_MAX
            && let Some(door) = doors.get(at)
        {
            let from = who(&near, &doors);
            connections.spawn(pass(near, door.clone(), from, links.clone()));
        }
    }
}

/// The host that dials.
fn who(near: &TcpStream, doors: &[Door]) -> Option<String> {
    let (local, remote) = (near.peer_addr().ok()?, near.local_addr().ok()?);
    let user = user_of(&fs::read_to_string(SOCKETS).ok()?, local, remote)?;
    let mut of =
        doors.iter().filter(|door| fs::metadata(&door.user_of).is_ok_and(|about| about.uid() == user));
    match (of.next(), of.next()) {
        (Some(door), None) => Some(door.host.clone()),
        _ => None,
    }
}

/// What the link does now.
fn link(links: &Links, from: Option<&str>, to: &str) -> Link {
    from.and_then(|from| links.get(from)?.get(to)).copied().unwrap_or_default()
}

async fn pass(near: TcpStream, door: Door, from: Option<String>, mut links: watch::Receiver<Links>) {
    let now = |links: &Links| link(links, from.as_deref(), &door.host);
    // Who dials through a cable that was pulled out waits.
    if links.wait_for(|links| !(now(links).cut && now(links).silent)).await.is_err() {
        return;
    }
    if now(&links.borrow()).cut {
        return;
    }
    let Some(to) = door.to else { return };
    let Ok(far) = TcpStream::connect(to).await else { return };
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
