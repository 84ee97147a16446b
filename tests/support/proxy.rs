//! A TCP proxy that does to bytes what a bad network, or somebody on the way, can do.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// How often a thread looks whether it is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Bytes read at a time.
const PIECE_BYTES: usize = 4096;
/// Bytes of a connection that are recorded.
const RECORDED_BYTES_MAX: usize = 1 << 20;

/// What is done to what passes. The default passes it on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// One bit of every so many bytes is turned over.
    pub(crate) flip_every: Option<u64>,
    /// One of every so many bytes is left out.
    pub(crate) drop_every: Option<u64>,
    /// Every piece waits so long.
    pub(crate) delay: Duration,
    /// At most so many bytes a second.
    pub(crate) bytes_a_second: Option<u64>,
    /// Connections stay open, and nothing passes.
    pub(crate) half_open: bool,
    /// New connections are closed at once.
    pub(crate) refuse: bool,
}

#[derive(Default)]
struct Shared {
    faults: Mutex<Faults>,
    sockets: Mutex<Vec<TcpStream>>,
    recorded: Mutex<Vec<Vec<u8>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    stop: AtomicBool,
    passed: AtomicU64,
    altered: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A proxy at work until it is dropped.
pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Takes connections and passes them on to `target`.
    pub(crate) fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port for the proxy");
        let address = listener.local_addr().expect("the proxy's address");
        listener.set_nonblocking(true).expect("a listener that does not block");
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        let thread = thread::spawn(move || accept(&listener, target, &accepting));
        lock(&shared.threads).push(thread);
        Self { address, shared }
    }

    /// What is done from now on.
    pub(crate) fn set(&self, faults: Faults) {
        *lock(&self.shared.faults) = faults;
    }

    /// Ends every connection that is open.
    pub(crate) fn cut(&self) {
        for socket in lock(&self.shared.sockets).drain(..) {
            let _gone = socket.shutdown(Shutdown::Both);
        }
    }

    /// Bytes that passed, and how many of them were turned or left out.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.shared.passed.load(Ordering::Relaxed), self.shared.altered.load(Ordering::Relaxed))
    }

    /// What each connection's opener said, from its first byte on.
    pub(crate) fn recorded(&self) -> Vec<Vec<u8>> {
        lock(&self.shared.recorded).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.cut();
        let threads: Vec<_> = lock(&self.shared.threads).drain(..).collect();
        for thread in threads {
            let _panicked = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, target: SocketAddr, shared: &Arc<Shared>) {
    while !shared.stop.load(Ordering::Relaxed) {
        let Ok((near, _)) = listener.accept() else {
            thread::sleep(LOOK_EVERY);
            continue;
        };
        if lock(&shared.faults).refuse {
            continue;
        }
        let Ok(far) = TcpStream::connect(target) else { continue };
        let record = {
            let mut recorded = lock(&shared.recorded);
            recorded.push(Vec::new());
            recorded.len() - 1
        };
        for (from, to, record) in [(&near, &far, Some(record)), (&far, &near, None)] {
            let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { continue };
            let passing = Arc::clone(shared);
            let thread = thread::spawn(move || pass(from, to, &passing, record));
            lock(&shared.threads).push(thread);
        }
        lock(&shared.sockets).extend([near, far]);
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, shared: &Shared, record: Option<usize>) {
    from.set_nonblocking(false).expect("a socket that blocks");
    from.set_read_timeout(Some(LOOK_EVERY)).expect("a socket that does not block for ever");
    let mut piece = [0; PIECE_BYTES];
    let mut at = 0_u64;
    while !shared.stop.load(Ordering::Relaxed) {
        let read = match from.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => break,
        };
        let faults = lock(&shared.faults).clone();
        let mut bytes = piece[..read].to_vec();
        if let Some(recorded) = record.and_then(|at| lock(&shared.recorded).get(at).map(Vec::len))
            && recorded < RECORDED_BYTES_MAX
        {
            lock(&shared.recorded)[record.unwrap_or(0)].extend_from_slice(&bytes);
        }
        if faults.half_open {
            continue;
        }
        let before = at;
        at += read as u64;
        let hits = |every: Option<u64>| {
            every
                .into_iter()
                .flat_map(move |every| (before..before + read as u64).filter(move |n| n % every == every - 1))
        };
        for place in hits(faults.flip_every) {
            bytes[usize::try_from(place - before).unwrap_or(0)] ^= 1 << (place % 8);
            shared.altered.fetch_add(1, Ordering::Relaxed);
        }
        let mut dropped: Vec<u64> = hits(faults.drop_every).collect();
        while let Some(place) = dropped.pop() {
            bytes.remove(usize::try_from(place - before).unwrap_or(0));
            shared.altered.fetch_add(1, Ordering::Relaxed);
        }
        let slow = faults.bytes_a_second.map_or(Duration::ZERO, |rate| {
            Duration::from_micros(bytes.len() as u64 * 1_000_000 / rate.max(1))
        });
        let wait = faults.delay + slow;
        if !wait.is_zero() {
            thread::sleep(wait);
        }
        shared.passed.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _gone = to.shutdown(Shutdown::Both);
    let _gone = from.shutdown(Shutdown::Both);
}
