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
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Places, Settings, SettingsError, clock};
use crate::{
    executor::{Account, AgentError, Executor, ExecutorSettings},
    journal::HostHome,
};

/// The user that the mesh process becomes where there is one of this name, and the group that may use
/// the socket.
const MUSTER: &str = "muster";
/// User ids that systemd sets aside for users that are made for one service (systemd.exec(5),
/// `DynamicUser=`): without a user `muster`, one of them.
const OWN_UIDS: std::ops::Range<u32> = 61_184..65_520;
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
    let home = HostHome::open(&state).map_err(AgentError::Home)?;
    let root = rustix::process::geteuid().is_root();
    let mesh_user = if root { Some(mesh_user(&settings, &home)?) } else { None };
    let socket_group = if root { socket_group(&settings)? } else { None };
    raise_descriptors();
    let lock = home.lock().map_err(AgentError::Home)?;
    share_directories(&home, mesh_user)
        .map_err(|source| StartError::Prepare { path: home.dir().to_owned(), source })?;
    let own_dir = !socket.starts_with(home.dir());
    let control = open_socket(&socket, socket_group, own_dir)
        .map_err(|source| StartError::Socket { path: socket.clone(), source })?;
    let executor = Executor::start(
        ExecutorSettings {
            home,
            lock,
            socket,
            control,
            mesh_user,
            listen: settings.listen.iter().map(ToString::to_string).collect(),
            advertise: settings.advertise.iter().map(ToString::to_string).collect(),
            lan: settings.lan,
        },
        clock::now,
    )?;
    Ok(executor.run()?)
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
///
/// # Errors
/// When somebody listens there already, or the place cannot be written.
fn open_socket(path: &Path, group: Option<u32>, own_dir: bool) -> io::Result<OwnedFd> {
    if own_dir && let Some(parent) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    match fs::symlink_metadata(path) {
        Ok(about) if about.file_type().is_socket() => {
            if StdStream::connect(path).is_ok() {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            fs::remove_file(path)?;
        }
        Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o117));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = listener?;
    chown(path, None, group)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    Ok(listener.into())
}

/// Gives the mesh process its own directory and lets it read the spool, and nothing else.
fn share_directories(home: &HostHome, mesh_user: Option<(u32, u32)>) -> io::Result<()> {
    let spool = &home.executor_dir().join("spool");
    if !spool.exists() {
        fs::create_dir(spool)?;
    }
    let Some((uid, gid)) = mesh_user else {
        return fs::set_permissions(spool, fs::Permissions::from_mode(0o700));
    };
    chown(spool, None, Some(gid))?;
    // Set-group-id: the files in it belong to that group as well.
    fs::set_permissions(spool, fs::Permissions::from_mode(0o2750))?;
    // What stands above is made open to walk through; all that is secret in it has a mode of its own.
    for dir in [home.dir(), &home.executor_dir()] {
        let mode = fs::metadata(dir)?.mode() & 0o7777;
        fs::set_permissions(dir, fs::Permissions::from_mode(mode | 0o011))?;
    }
    let mesh = home.mesh_dir();
    // Once only: afterwards the mesh user could have put there what is not its own.
    if fs::symlink_metadata(&mesh)?.uid() == uid { Ok(()) } else { give(&mesh, uid, gid) }
}

fn give(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    lchown(path, Some(uid), Some(gid))?;
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), uid, gid)?;
        }
    }
    Ok(())
}
