//! What there is to be found on this machine without asking anybody.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

/// What keeps the clock of this machine right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeService {
    /// It says that the clock is right.
    Synchronised(&'static str),
    /// It runs, and says elsewhere whether the clock is right: in this command's words.
    Running(&'static str, &'static str),
}

/// What shows that a time service runs, or more.
const TIME_SERVICES: [(&str, TimeService); 5] = [
    ("/run/systemd/timesync/synchronized", TimeService::Synchronised("systemd-timesyncd")),
    ("/run/chrony/chronyd.pid", TimeService::Running("chrony", "chronyc tracking")),
    ("/run/chronyd.pid", TimeService::Running("chrony", "chronyc tracking")),
    ("/run/ntpd.pid", TimeService::Running("ntpd", "ntpq -p")),
    ("/run/systemd/timesync", TimeService::Running("systemd-timesyncd", "timedatectl timesync-status")),
];

/// What a file's or a directory's mode is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// For its owner; others may walk through.
    Passage,
    /// A directory for its owner alone.
    Private,
    /// A key: for its owner alone.
    Key,
    /// A socket: for its owner and its group.
    Socket,
}

impl Mode {
    /// The bits that must not be set.
    pub(super) fn forbidden(self) -> u32 {
        match self {
            Self::Passage => 0o066,
            Self::Private | Self::Key => 0o077,
            Self::Socket => 0o007,
        }
    }

    /// What `chmod` takes to make it right.
    pub(super) fn right(self) -> &'static str {
        match self {
            Self::Passage => "go-rw",
            Self::Private => "700",
            Self::Key => "600",
            Self::Socket => "660",
        }
    }
}

/// Room on a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes that whoever asks may still write.
    pub free: u64,
    /// Bytes in all.
    pub all: u64,
    /// Files that can still be made; nothing where a file system has no such bound.
    pub files: Option<u64>,
}

/// A path that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Looked {
    /// Which.
    pub(super) path: PathBuf,
    /// What its mode is for.
    pub(super) mode: Mode,
    /// Its mode and its owner; nothing if it may not be looked at.
    pub(super) about: Option<(u32, u32)>,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Where the agent's state should be.
    pub state: PathBuf,
    /// Whether there is any.
    pub(super) there: bool,
    /// What must not be open to others.
    pub(super) looked: Vec<Looked>,
    /// Room where the state is.
    pub(super) room: Option<Room>,
    /// Bytes of the journal of orders, or why it cannot be read; nothing where there is none yet.
    pub(super) journal: Option<Result<u64, String>>,
    /// What keeps the clock right; nothing if nothing is known to.
    pub(super) time: Option<TimeService>,
}

/// Looks at the state directory, the socket and the operators' directories.
pub fn look(state: &Path, socket: &Path, operators: &Path) -> Found {
    let mut looked = Vec::new();
    let mut add = |path: PathBuf, mode: Mode| match fs::symlink_metadata(&path) {
        Ok(about) => {
            // A link has no mode of its own, and a socket's place may hold anything.
            let fits = mode != Mode::Socket || about.file_type().is_socket();
            if fits && !about.is_symlink() {
                looked.push(Looked { path, mode, about: Some((about.mode() & 0o7777, about.uid())) });
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(_) => looked.push(Looked { path, mode, about: None }),
    };
    let (executor, mesh) = (state.join("executor"), state.join("mesh"));
    add(state.to_owned(), Mode::Passage);
    add(executor.clone(), Mode::Passage);
    add(mesh.clone(), Mode::Private);
    for (dir, key) in [
        (&executor, "executor.key"),
        (&executor, "seal.key"),
        (&mesh, "stream.key"),
        (&mesh, "transport.key"),
    ] {
        add(dir.join(key), Mode::Key);
    }
    add(socket.to_owned(), Mode::Socket);
    let mut dirs: Vec<PathBuf> =
        fs::read_dir(operators).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    dirs.sort();
    for dir in dirs {
        add(dir.join("operator.key"), Mode::Key);
        add(dir, Mode::Private);
    }
    let claims = executor.join("claims");
    let journal = match fs::read(&claims) {
        Ok(bytes) => Some(Ok(bytes.len() as u64)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(Err(error.to_string())),
    };
    Found {
        state: state.to_owned(),
        there: state.join("format").exists(),
        looked,
        room: room(state),
        journal,
        time: TIME_SERVICES.iter().find(|(path, _)| Path::new(path).exists()).map(|(_, service)| *service),
    }
}

/// Room where `path` is, or would be.
fn room(path: &Path) -> Option<Room> {
    let there = path.ancestors().find(|path| path.exists())?;
    let about = rustix::fs::statvfs(there).ok()?;
    Some(Room {
        free: about.f_bavail.saturating_mul(about.f_frsize),
        all: about.f_blocks.saturating_mul(about.f_frsize),
        files: (about.f_files > 0).then_some(about.f_favail),
    })
}
