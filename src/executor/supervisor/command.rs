//! The last steps of a fork on its way to being the command.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{Gid, Pid, Resource, Rlimit, Signal, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::report::Stage;
use super::spawn::Spawn;
use crate::bounds::{Group, Limits};
use crate::executor::os::{self, Account};

/// Where programs are searched, and the command's own `PATH`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a failed fork writes to its supervisor: stage, errno.
pub(super) const FAILURE_BYTES: usize = 8;

/// A command ready for exec: everything that allocates or can be refused is done before the fork.
#[derive(Debug)]
pub(super) struct Command {
    argv: Vec<CString>,
    environment: Vec<CString>,
    /// Where the program may be, in order.
    paths: Vec<CString>,
}

impl Command {
    pub(super) fn new(spawn: &Spawn, user: &Account) -> Result<Self, Errno> {
        let c_string = |bytes: Vec<u8>| CString::new(bytes).map_err(|_| Errno::INVAL);
        let program = spawn.argv.first().filter(|program| !program.is_empty()).ok_or(Errno::NOENT)?;
        let paths = if program.contains(&b'/') {
            vec![c_string(program.clone())?]
        } else {
            let directories = PATH.split(':').map(str::as_bytes);
            directories.map(|place| c_string([place, b"/", program].concat())).collect::<Result<_, _>>()?
        };
        let mut environment = BTreeMap::from([
            ("PATH", PATH.as_bytes()),
            ("HOME", user.home.0.as_slice()),
            ("USER", user.name.as_bytes()),
            ("LOGNAME", user.name.as_bytes()),
            ("SHELL", user.shell.0.as_slice()),
            ("LANG", b"C.UTF-8"),
        ]);
        for (name, value) in &spawn.environment {
            if name.is_empty() || name.contains('=') {
                return Err(Errno::INVAL);
            }
            environment.insert(name, value.as_bytes());
        }
        let argv = spawn.argv.iter().cloned().map(c_string).collect::<Result<_, _>>()?;
        let environment = environment.into_iter();
        let environment = environment.map(|(name, value)| c_string([name.as_bytes(), b"=", value].concat()));
        Ok(Self { argv, environment: environment.collect::<Result<_, _>>()?, paths })
    }

    /// Becomes the command; if that fails, says why on `failure`. `stdio` is what it reads and writes,
    /// `supervisor` its parent with the group that it made.
    pub(super) fn run(
        &self,
        spawn: &Spawn,
        user: &Account,
        stdio: [BorrowedFd<'_>; 3],
        failure: &OwnedFd,
        supervisor: (Pid, Option<&Group>),
    ) -> u8 {
        let (stage, errno) = self.attempt(spawn, user, stdio, failure, supervisor);
        let mut bytes = [0; FAILURE_BYTES];
        let (head, tail) = bytes.split_at_mut(4);
        head.copy_from_slice(&stage.number().to_ne_bytes());
        tail.copy_from_slice(&errno.raw_os_error().to_ne_bytes());
        let _ = rustix::io::retry_on_intr(|| rustix::io::write(failure, &bytes));
        127
    }

    fn attempt(
        &self,
        spawn: &Spawn,
        user: &Account,
        stdio: [BorrowedFd<'_>; 3],
        failure: &OwnedFd,
        (supervisor, group): (Pid, Option<&Group>),
    ) -> (Stage, Errno) {
        if let Err(error) = group.map_or(Ok(()), Group::enter) {
            return (Stage::Prepare, Errno::from_io_error(&error).unwrap_or(Errno::IO));
        }
        if let Err(error) = prepare(stdio, failure, &spawn.limits) {
            return (Stage::Prepare, error);
        }
        if spawn.account.is_some()
            && let Err(error) = become_user(user)
        {
            return (Stage::Account, error);
        }
        // As the user: a home directory on another machine may be closed to root.
        if rustix::process::chdir(user.home.0.as_slice()).is_err() {
            let _ = rustix::process::chdir("/");
        }
        // After the ids, which would clear it. A supervisor that is gone already sends no signal.
        if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
            return (Stage::Prepare, error);
        }
        if rustix::process::getppid() != Some(supervisor) {
            return (Stage::Prepare, Errno::CANCELED);
        }
        let mut refused = None;
        for path in &self.paths {
            match os::exec(path, &self.argv, &self.environment) {
                Errno::NOENT | Errno::NOTDIR => {}
                Errno::ACCESS => refused = Some(Errno::ACCESS),
                error => return (Stage::Exec, error),
            }
        }
        (Stage::Exec, refused.unwrap_or(Errno::NOENT))
    }
}

/// Reads what [`Command::run`] wrote.
pub(super) fn failure(bytes: [u8; FAILURE_BYTES]) -> (Stage, i32) {
    let [s0, s1, s2, s3, e0, e1, e2, e3] = bytes;
    let stage = Stage::numbered(u32::from_ne_bytes([s0, s1, s2, s3]));
    (stage.unwrap_or(Stage::Exec), i32::from_ne_bytes([e0, e1, e2, e3]))
}

fn prepare(stdio: [BorrowedFd<'_>; 3], failure: &OwnedFd, limits: &Limits) -> Result<(), Errno> {
    let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    rustix::process::setsid()?;
    os::set_stdio(stdio).map_err(errno)?;
    os::close_others(&[failure.as_fd()]).map_err(errno)?;
    os::reset_signals();
    os::unblock_signals();
    rustix::process::umask(Mode::from_raw_mode(0o022));
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    // An agent that the system spares when memory runs out does not have its commands spared.
    let _as_it_was = std::fs::write("/proc/self/oom_score_adj", "0");
    let bounds = [
        (Resource::Data, limits.memory_bytes),
        (Resource::Nproc, Some(limits.processes)),
        (Resource::Nofile, Some(limits.descriptors)),
    ];
    for (resource, bound) in bounds {
        if let Some(bound) = bound {
            let most = rustix::process::getrlimit(resource).maximum;
            let bound = Some(most.map_or(bound, |most| most.min(bound)));
            rustix::process::setrlimit(resource, Rlimit { current: bound, maximum: bound })?;
        }
    }
    Ok(())
}

/// Becomes `user` for good. Not being root, only the user that this process is already can be asked for.
fn become_user(user: &Account) -> Result<(), Errno> {
    if !rustix::process::geteuid().is_root() {
        return if rustix::process::geteuid().as_raw() == user.uid { Ok(()) } else { Err(Errno::PERM) };
    }
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let groups: Vec<Gid> = user.groups.iter().map(|group| Gid::from_raw(*group)).collect();
    rustix::thread::set_thread_groups(&groups)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    if uid.is_root() {
        return Ok(());
    }
    // Nothing is inherited, nothing comes back. The bounding set stays: sudo must work.
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets)?;
    let root = Uid::ROOT;
    let regained = rustix::thread::set_thread_res_uid(root, root, root).is_ok()
        || rustix::thread::set_thread_groups(&[Gid::ROOT]).is_ok()
        || (!gid.is_root() && rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).is_ok());
    if regained { Err(Errno::PERM) } else { Ok(()) }
}
