//! The agent's first process: from settings to a running executor.

use std::{
    fs, io,
    os::{
        fd::OwnedFd,
        unix::{
            fs::{
                DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown, lchown,
            },
            net::{UnixListener, UnixStream as StdStream},
        },
    },
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Uid, chownat, fchown, fstat, openat},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

use super::{Places, Settings, SettingsError, clock, settings::MeshSettings};
use crate::{
    executor::{Account, AgentError, Executor, ExecutorSettings, supervisor::Limits},
    journal::{HostHome, HostHomeError},
    wire::{self, Bytes},
};

/// The user that the mesh process becomes where there is one of this name, and the group that may use
/// the socket.
const MUSTER: &str = "muster";
/// User ids that systemd sets aside for users that are made for one service (systemd.exec(5),
/// `DynamicUser=`): without a user `muster`, one of them.
const OWN_UIDS: std::ops::Range<u32> = 61_184..65_520;
/// Longest path of a socket (unix(7), without the zero at its end).
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// How often, and how many times, an agent that starts looks whether what it needs is free: 5 s in all.
const FREE_EVERY: Duration = Duration::from_millis(100);
const FREE_TRIES: u32 = 50;
/// Descriptors that an agent may have open.
const DESCRIPTORS_MAX: u64 = 4096;

/// Why an agent does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The executor.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The user or group of the settings does not exist.
    #[error("no {what} {name} on this machine")]
    NoSuch {
        /// User or group.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The control socket cannot be opened.
    #[error("cannot open the control socket {path}: {source}")]
    Socket {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The state directory cannot be made ready.
    #[error("cannot prepare {path}: {source}")]
    Prepare {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The user database.
    #[error("the user database cannot be read: {0}")]
    Users(#[from] io::Error),
}

/// Runs the agent of the host in `places` until a signal ends it or it leaves the fleet; true if it left.
/// For a process with one thread.
///
/// # Errors
/// See [`StartError`].
pub fn agent(places: &Places) -> Result<bool, StartError> {
    let settings = Settings::read(&places.config)?;
    // The parts of the agent change to other directories.
    let absolute = |path: &Path| {
        std::path::absolute(path).map_err(|source| StartError::Prepare { path: path.to_owned(), source })
    };
    let (state, socket) = (absolute(&places.state)?, absolute(&places.socket)?);
    let dpkg = absolute(&settings.dpkg)?;
    if let Some(path) = [&state, &dpkg].into_iter().find(|path| path.to_str().is_none()) {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "the path is not UTF-8");
        return Err(StartError::Prepare { path: path.clone(), source });
    }
    let home = HostHome::open(&state).map_err(AgentError::Home)?;
    let root = rustix::process::geteuid().is_root();
    let mesh_user = if root { Some(mesh_user(&settings, &home)?) } else { None };
    let socket_group = if root { socket_group(&settings)? } else { None };
    raise_descriptors();
    let lock = once_free(|| home.lock(), |error| matches!(error, HostHomeError::Locked { .. }))
        .map_err(AgentError::Home)?;
    share_directories(&home, mesh_user)
        .map_err(|source| StartError::Prepare { path: home.dir().to_owned(), source })?;
    let own_dir = !socket.starts_with(home.dir());
    let in_use = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
    let control = once_free(|| open_socket(&socket, socket_group, own_dir), in_use)
        .map_err(|source| StartError::Socket { path: socket.clone(), source })?;
    let executor = Executor::start(
        ExecutorSettings {
            home,
            lock,
            socket,
            control,
            mesh_user,
            mesh: Bytes(wire::encode(&MeshSettings::of(&settings, &dpkg))),
            limits: Limits {
                memory_bytes: settings.command_memory_bytes,
                processes: settings.command_processes.into(),
                descriptors: settings.command_descriptors.into(),
            },
        },
        clock::now,
    )?;
    Ok(executor.run()?)
}

/// Tries again for a while what another process still has: an agent that was killed leaves children behind
/// that end within moments, with its lock and its socket, and it may be started again at once.
fn once_free<T, E>(mut take: impl FnMut() -> Result<T, E>, taken: impl Fn(&E) -> bool) -> Result<T, E> {
    for _ in 0..FREE_TRIES {
        match take() {
            Err(error) if taken(&error) => std::thread::sleep(FREE_EVERY),
            done => return done,
        }
    }
    take()
}

fn mesh_user(settings: &Settings, home: &HostHome) -> Result<(u32, u32), StartError> {
    let (name, must) = match &settings.mesh_user {
        Some(name) => (name.as_str(), true),
        None => (MUSTER, false),
    };
    if let Some(account) = Account::lookup(name)? {
        return Ok((account.uid, account.gid));
    }
    if must {
        return Err(StartError::NoSuch { what: "user", name: name.to_owned() });
    }
    // The same every time, so that the files stay ours; by the directory, so that two agents differ.
    let hash = blake3::hash(home.dir().as_os_str().as_encoded_bytes());
    let number = hash.as_bytes().iter().take(4).fold(0_u32, |number, byte| (number << 8) | u32::from(*byte));
    let uid = OWN_UIDS.start + number % (OWN_UIDS.end - OWN_UIDS.start);
    Ok((uid, uid))
}

fn socket_group(settings: &Settings) -> Result<Option<u32>, StartError> {
    let (name, must) = match &settings.socket_group {
        Some(name) => (name.as_str(), true),
        None => (MUSTER, false),
    };
    // group(5): name, password, id, members.
    let groups = fs::read_to_string("/etc/group")?;
    let found = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    });
    if found.is_none() && must {
        return Err(StartError::NoSuch { what: "group", name: name.to_owned() });
    }
    Ok(found)
}

/// As many descriptors as links and commands may need, if the system lets us.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(DESCRIPTORS_MAX, |most| most.min(DESCRIPTORS_MAX));
    if limit.current.is_some_and(|current| current < wanted) {
        let _as_it_was =
            setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    }
}

/// Opens the socket that command lines connect to, in the place of one that nobody listens on any more.
/// `group` may use it too, if there is one; else only its owner.
///
/// # Errors
/// When somebody listens there already, or the place cannot be written, or others could put there what
/// they like.
fn open_socket(path: &Path, group: Option<u32>, own_dir: bool) -> io::Result<OwnedFd> {
    let refused = |kind, why: String| Err(io::Error::new(kind, why));
    if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        let why =
            format!("the path has more than {SOCKET_PATH_BYTES_MAX} bytes, and the system takes no more");
        return refused(io::ErrorKind::InvalidInput, why);
    }
    if let Some(parent) = path.parent() {
        if own_dir {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
        }
        // Who can write the directory can put another socket, or a link, in the place of this one.
        let about = fs::metadata(parent)?;
        let (owner, mode) = (about.uid(), about.mode() & 0o7777);
        if owner != 0 && owner != rustix::process::geteuid().as_raw() {
            let why = format!("its directory belongs to another user (uid {owner})");
            return refused(io::ErrorKind::PermissionDenied, why);
        }
        if mode & 0o022 != 0 && mode & 0o1000 == 0 {
            let why = format!("its directory can be written by others (mode {mode:04o})");
            return refused(io::ErrorKind::PermissionDenied, why);
        }
    }
    match fs::symlink_metadata(path) {
        Ok(about) if about.file_type().is_socket() => {
            if StdStream::connect(path).is_ok() {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            fs::remove_file(path)?;
        }
        Ok(_) => return refused(io::ErrorKind::AlreadyExists, "something else is there".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // Nobody's until it is the group's.
    let mode = if group.is_some() { 0o660 } else { 0o600 };
    let before = rustix::process::umask(Mode::from_raw_mode(0o777 & !mode));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = listener?;
    if group.is_some() {
        lchown(path, None, group)?;
    }
    Ok(listener.into())
}

/// Gives the mesh process its own directory and lets it read the spool and the audit chain, and nothing else.
fn share_directories(home: &HostHome, mesh_user: Option<(u32, u32)>) -> io::Result<()> {
    let spool = &home.executor_dir().join("spool");
    let audit = &home.executor_dir().join("audit");
    for read in [spool, audit] {
        if !read.exists() {
            fs::create_dir(read)?;
        }
    }
    // Scripts that an agent left behind which was killed: their commands ended with it.
    let shipped = &home.executor_dir().join("shipped");
    let _none_yet = fs::remove_dir_all(shipped);
    fs::create_dir(shipped)?;
    let Some((uid, gid)) = mesh_user else {
        fs::set_permissions(shipped, fs::Permissions::from_mode(0o700))?;
        fs::set_permissions(audit, fs::Permissions::from_mode(0o700))?;
        return fs::set_permissions(spool, fs::Permissions::from_mode(0o700));
    };
    // To be walked through by whoever a script belongs to.
    fs::set_permissions(shipped, fs::Permissions::from_mode(0o711))?;
    for read in [spool, audit] {
        chown(read, None, Some(gid))?;
        // Set-group-id: the files in it belong to that group as well.
        fs::set_permissions(read, fs::Permissions::from_mode(0o2750))?;
    }
    // What stands above is made open to walk through; all that is secret in it has a mode of its own.
    for dir in [home.dir(), &home.executor_dir()] {
        let mode = fs::metadata(dir)?.mode() & 0o7777;
        fs::set_permissions(dir, fs::Permissions::from_mode(mode | 0o011))?;
    }
    let mesh = home.mesh_dir();
    let about = fs::symlink_metadata(&mesh)?;
    if about.uid() == uid {
        // Once only: afterwards the mesh user could have put there what is not its own.
        return Ok(());
    }
    let dir = openat(CWD, &mesh, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
    give(&dir, about.uid(), (uid, gid))
}

/// Gives what is in a directory, and then that, from one user to another. Whoever owns it may change it
/// meanwhile: nothing is followed, and what belongs to anybody else is left alone.
fn give(dir: &OwnedFd, from: u32, (uid, gid): (u32, u32)) -> io::Result<()> {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if [c".", c".."].contains(&entry.file_name()) {
            continue;
        }
        let held = openat(dir, entry.file_name(), flags | OFlags::PATH, Mode::empty())?;
        let about = fstat(&held)?;
        if about.st_uid != from {
            continue;
        }
        if FileType::from_raw_mode(about.st_mode).is_dir() {
            let below = flags | OFlags::RDONLY | OFlags::DIRECTORY;
            give(&openat(&held, c".", below, Mode::empty())?, from, (uid, gid))?;
        } else if about.st_nlink == 1 {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            chownat(&held, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
        }
    }
    fchown(dir, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_socket_is_its_owners_or_its_groups() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/muster/agent.sock");
        let first = open_socket(&path, None, true).unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o755));
        // Somebody answers there.
        assert_eq!(open_socket(&path, None, true).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        // Nobody does any more.
        let group = rustix::process::getegid().as_raw();
        let _second = open_socket(&path, Some(group), true).unwrap();
        assert_eq!(mode(&path), 0o660);
        assert_eq!(fs::metadata(&path).unwrap().gid(), group);
    }

    #[test]
    fn a_socket_is_not_put_where_others_can_change_it_or_over_what_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let open = |path: &Path| open_socket(path, None, false).unwrap_err().to_string();
        let shared = dir.path().join("shared");
        fs::create_dir(&shared).unwrap();
        for (mode, word) in [(0o777, "0777"), (0o775, "0775")] {
            fs::set_permissions(&shared, fs::Permissions::from_mode(mode)).unwrap();
            let why = open(&shared.join("s"));
            assert!(why.contains("can be written by others") && why.contains(word), "{why}");
        }
        // As /tmp: there only the owner of a file replaces it.
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).unwrap();
        open_socket(&shared.join("s"), None, false).unwrap();
        let (file, link, victim) =
            (dir.path().join("file"), dir.path().join("link"), dir.path().join("victim"));
        fs::write(&file, "kept").unwrap();
        fs::write(&victim, "kept").unwrap();
        symlink(&victim, &link).unwrap();
        assert_eq!(open(&file), "something else is there");
        assert_eq!(open(&link), "something else is there");
        symlink(dir.path().join("nowhere"), dir.path().join("dangling")).unwrap();
        assert_eq!(open(&dir.path().join("dangling")), "something else is there");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"kept");
        let long = dir.path().join("l".repeat(SOCKET_PATH_BYTES_MAX));
        assert!(open(&long).contains("more than 107 bytes"));
        if rustix::process::geteuid().is_root() {
            chown(&shared, Some(12_345), None).unwrap();
            assert!(open(&shared.join("t")).contains("another user (uid 12345)"));
        }
    }

    #[test]
    fn a_directory_changes_hands_without_what_belongs_to_others() {
        if !rustix::process::geteuid().is_root() {
            // Nothing can be given away; that it is tried is all that there is to see.
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let mesh = dir.path().join("mesh");
        fs::create_dir_all(mesh.join("store/deep")).unwrap();
        for name in ["stream.key", "store/db", "store/deep/er"] {
            fs::write(mesh.join(name), "").unwrap();
        }
        let (secret, hard) = (dir.path().join("secret"), dir.path().join("hard"));
        for path in [&secret, &hard] {
            fs::write(path, "").unwrap();
        }
        let old = 12_345;
        let all = ["", "stream.key", "store", "store/db", "store/deep", "store/deep/er"];
        for name in all {
            lchown(mesh.join(name), Some(old), Some(old)).unwrap();
        }
        // What the old user could have put there.
        symlink(&secret, mesh.join("link")).unwrap();
        symlink(dir.path(), mesh.join("store/up")).unwrap();
        for name in ["link", "store/up"] {
            lchown(mesh.join(name), Some(old), Some(old)).unwrap();
        }
        fs::hard_link(&hard, mesh.join("hard")).unwrap();
        let open = openat(CWD, &mesh, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        give(&open, old, (23_456, 23_456)).unwrap();
        for name in all {
            assert_eq!(fs::symlink_metadata(mesh.join(name)).unwrap().uid(), 23_456, "{name}");
        }
        for path in [&secret, &hard, &dir.path().to_owned()] {
            assert_eq!(fs::metadata(path).unwrap().uid(), 0, "{}", path.display());
        }
    }
}
