//! What the mesh process does to itself before its first byte from the network.
//!
//! Decides what is left to a process that strangers talk to: sockets, threads, and files below the given
//! directories. Always holds once [`confine`] returned: the user, the capabilities and the right to execute
//! anything are gone for good, for this process and all it could make; what the kernel could not enforce
//! (Landlock is not everywhere) is said in [`Confined`]. It knows neither what the process is for nor
//! where its files are.
//!
//! Afterwards there is no `execve`, no child process, no user database that needs a loaded module (no memory
//! becomes executable), no signal to others, and permissions change only on an open file (`fchmod`; Landlock
//! does not guard `chmod`).
//!
//! *Why two filters:* the C library asks for `clone3`, whose flags a filter cannot see, and falls back to
//! `clone` only on "not implemented". A filter gives one answer to all that it refuses, so the first one
//! answers for `clone3` and the second for the rest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Gid, Signal, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// The newest Landlock whose restrictions are asked for; an older kernel enforces what it knows.
const LANDLOCK: ABI = ABI::V6;

/// What a process keeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Confinement<'a> {
    /// The user and group to become, where the process is root.
    pub(super) become_user: Option<(u32, u32)>,
    /// Directories in which it may make, change and remove files. They must exist.
    pub(super) writable: &'a [PathBuf],
    /// Files and directories that it may read. Those that do not exist are left out.
    pub(super) readable: &'a [PathBuf],
}

/// How much of the file restrictions the kernel enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Enforced {
    /// All that was asked for.
    Fully,
    /// What this kernel knows.
    Partially,
    /// Nothing: there is no Landlock here.
    NotAtAll,
}

/// What was enforced. The parts that have no field always are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Confined {
    /// The kernel's Landlock version; 0 for none.
    pub(super) landlock_abi: i32,
    /// What it enforces.
    pub(super) landlock: Enforced,
    /// Whether the bounding set was emptied, which takes a capability. Without it there is still no way to
    /// gain one: nothing can be executed.
    pub(super) bounding_set_empty: bool,
}

impl std::fmt::Display for Confined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no capabilities, no new privileges, system-call filter, ")?;
        match self.landlock {
            Enforced::Fully => write!(f, "Landlock (version {})", self.landlock_abi),
            Enforced::Partially => write!(f, "Landlock in part (version {})", self.landlock_abi),
            Enforced::NotAtAll => write!(f, "no Landlock on this kernel"),
        }
    }
}

/// Why the process is not confined. It may be in part, so it must end.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConfineError {
    /// The user could not be changed or the capabilities not given up.
    #[error("cannot give up {what}")]
    Privileges {
        /// Which privilege.
        what: &'static str,
        /// What the system said.
        #[source]
        source: Errno,
    },
    /// What was given up came back when asked for.
    #[error("{0} could be regained")]
    Regained(&'static str),
    /// A directory that the process needs cannot be opened.
    #[error("cannot open {path}")]
    Path {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: landlock::PathFdError,
    },
    /// The kernel has Landlock, but refused the rules.
    #[error("cannot restrict files")]
    Landlock(#[from] landlock::RulesetError),
    /// The kernel refused the filter, or it does not fit this machine.
    #[error("cannot filter system calls")]
    Filter(#[from] seccompiler::Error),
    /// The filter could not be built.
    #[error("cannot build the filter of system calls")]
    Build(#[from] seccompiler::BackendError),
}

/// Confines this process, which must have one thread. There is no way back.
pub(super) fn confine(confinement: &Confinement<'_>) -> Result<Confined, ConfineError> {
    // Built first: what can fail without the kernel fails before anything is given up.
    let filters = [clone3_filter()?, filter(rustix::process::getpid().as_raw_pid())?];
    // Opened as the user that the process was: only the rights are the new user's.
    let rules = rules(confinement)?;
    let bounding_set_empty = give_up_privileges(confinement.become_user)?;
    let failed = |what| move |source| ConfineError::Privileges { what, source };
    // After the ids, which would clear it: it ends with its parent even while it hangs.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(failed("a life without its parent"))?;
    rustix::thread::set_no_new_privs(true).map_err(failed("new privileges"))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed("being traced"))?;
    let status = restrict_files(rules)?;
    for filter in &filters {
        seccompiler::apply_filter(filter)?;
    }
    Ok(Confined { bounding_set_empty, ..status })
}

/// Becomes the user, empties every capability set, and tries whether anything comes back. Tells whether the
/// bounding set could be emptied.
fn give_up_privileges(user: Option<(u32, u32)>) -> Result<bool, ConfineError> {
    let failed = |what| move |source| ConfineError::Privileges { what, source };
    let mut bounding_set_empty = true;
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        // The kernel knows no more capabilities once it calls one invalid.
        let Ok(held) = rustix::thread::capability_is_in_bounding_set(capability) else { break };
        bounding_set_empty &=
            !held || rustix::thread::remove_capability_from_bounding_set(capability).is_ok();
    }
    match rustix::thread::clear_ambient_capability_set() {
        // A kernel before 4.3 has none.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(error) => return Err(failed("ambient capabilities")(error)),
    }
    let user = user.filter(|_| rustix::process::geteuid().is_root());
    if let Some((uid, gid)) = user {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        rustix::thread::set_thread_groups(&[]).map_err(failed("groups"))?;
        rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(failed("the group"))?;
        rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(failed("the user"))?;
    }
    let none = CapabilitySet::empty();
    let nothing = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, nothing).map_err(failed("capabilities"))?;

    let (uid, gid) = (Uid::ROOT, Gid::ROOT);
    let was_root = user.is_some_and(|(uid, _)| uid != 0);
    if was_root && rustix::thread::set_thread_res_uid(uid, uid, uid).is_ok() {
        return Err(ConfineError::Regained("the user"));
    }
    if user.is_some_and(|(_, gid)| gid != 0) && rustix::thread::set_thread_res_gid(gid, gid, gid).is_ok() {
        return Err(ConfineError::Regained("the group"));
    }
    if rustix::thread::set_thread_groups(&[gid]).is_ok() {
        return Err(ConfineError::Regained("the groups"));
    }
    let all = CapabilitySet::all();
    let everything = CapabilitySets { effective: all, permitted: all, inheritable: none };
    let left = rustix::thread::capabilities(None).map_err(failed("capabilities"))?;
    let kept = left.effective | left.permitted | left.inheritable;
    if !kept.is_empty() || rustix::thread::set_capabilities(None, everything).is_ok() {
        return Err(ConfineError::Regained("capabilities"));
    }
    Ok(bounding_set_empty)
}

fn rules(confinement: &Confinement<'_>) -> Result<Vec<PathBeneath<PathFd>>, ConfineError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    // Neither executing nor devices, which a store does not need.
    let write = AccessFs::from_write(LANDLOCK)
        & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev | AccessFs::MakeFifo);
    let open = |path: &Path| {
        PathFd::new(path).map_err(|source| ConfineError::Path { path: path.to_path_buf(), source })
    };
    // A file may be named instead of a directory: it gets the rights that a file can have.
    let rule = |path: &Path, rights: BitFlags<AccessFs>| {
        let rights = if path.is_dir() { rights } else { rights & AccessFs::from_file(LANDLOCK) };
        Ok(PathBeneath::new(open(path)?, rights))
    };
    let writable = confinement.writable.iter().map(|path| rule(path, read | write));
    let there = confinement.readable.iter().filter(|path| path.exists());
    writable.chain(there.map(|path| rule(path, read))).collect()
}

fn restrict_files(rules: Vec<PathBeneath<PathFd>>) -> Result<Confined, ConfineError> {
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?
        .add_rules(rules.into_iter().map(Ok::<_, landlock::RulesetError>))?
        .restrict_self()?;
    let landlock_abi = match status.landlock {
        LandlockStatus::Available { kernel_abi: Some(abi), .. } => abi,
        LandlockStatus::Available { effective_abi, .. } => effective_abi as i32,
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => 0,
    };
    let landlock = match status.ruleset {
        RulesetStatus::FullyEnforced => Enforced::Fully,
        RulesetStatus::PartiallyEnforced => Enforced::Partially,
        RulesetStatus::NotEnforced => Enforced::NotAtAll,
    };
    Ok(Confined { landlock_abi, landlock, bounding_set_empty: false })
}

/// Calls whose arguments do not matter: files by descriptor or below what Landlock allows, memory, threads,
/// time, events, sockets.
const ALLOWED: &[i64] = &[
    // Files.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_getdents64,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fchmod,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fadvise64,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync_file_range,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
    libc::SYS_flock,
    libc::SYS_fcntl,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_getcwd,
    libc::SYS_umask,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_rm_watch,
    // Memory; what makes it executable is below.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_msync,
    libc::SYS_membarrier,
    // Threads and signals of this process; `clone` is below, `clone3` has its own filter.
    libc::SYS_clone3,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_set_tid_address,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_restart_syscall,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    // Time and chance.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_getrandom,
    // Events.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    // Sockets; which kinds can be made is below.
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvmmsg,
    libc::SYS_shutdown,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    // Looking at itself and the machine.
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrusage,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
];

/// The older names of the same calls, which the C library still uses on this architecture.
#[cfg(target_arch = "x86_64")]
const ALLOWED_OLD: &[i64] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_readlink,
    libc::SYS_link,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_wait,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_OLD: &[i64] = &[];

/// What may be asked of a descriptor: not blocking, closing on exec, how much is readable, whether it is a
/// terminal and how wide, and the names of network interfaces.
const IOCTLS: &[u64] = &[0x5421, 0x5451, 0x5450, 0x541B, 0x5401, 0x5413, 0x8910, 0x8933];
/// A thread's name, and the name of a memory area.
const PRCTLS: &[u64] = &[15, 16, 0x5356_4d41];

/// One of the conditions under which a call is allowed, all of which must hold.
type When = Vec<SeccompCondition>;

fn argument(number: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, ConfineError> {
    Ok(SeccompCondition::new(number, SeccompCmpArgLen::Dword, operator, value)?)
}

fn is(number: u8, values: &[u64]) -> Result<Vec<When>, ConfineError> {
    values.iter().map(|value| Ok(vec![argument(number, SeccompCmpOp::Eq, *value)?])).collect()
}

fn filter(pid: i32) -> Result<BpfProgram, ConfineError> {
    let number = |value: i32| u64::from(value.cast_unsigned());
    let without = |argument_number, bits: i32| -> Result<Vec<When>, ConfineError> {
        Ok(vec![vec![argument(argument_number, SeccompCmpOp::MaskedEq(number(bits)), 0)?]])
    };
    let thread = number(libc::CLONE_THREAD);
    let inherited = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6].map(number);
    let mut sockets = is(0, &inherited)?;
    // Only to learn of addresses and routes.
    sockets.push(vec![
        argument(0, SeccompCmpOp::Eq, number(libc::AF_NETLINK))?,
        argument(2, SeccompCmpOp::Eq, number(libc::NETLINK_ROUTE))?,
    ]);
    // Both halves of the pointer: limits are read, never set.
    let reads_limits = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?;
    let conditional: [(i64, Vec<When>); 9] = [
        (libc::SYS_mmap, without(2, libc::PROT_EXEC)?),
        (libc::SYS_mprotect, without(2, libc::PROT_EXEC)?),
        (libc::SYS_clone, vec![vec![argument(0, SeccompCmpOp::MaskedEq(thread), thread)?]]),
        (libc::SYS_tgkill, is(0, &[number(pid)])?),
        (libc::SYS_prctl, is(0, PRCTLS)?),
        (libc::SYS_ioctl, is(1, IOCTLS)?),
        (libc::SYS_socket, sockets),
        (libc::SYS_socketpair, is(0, &[number(libc::AF_UNIX)])?),
        (libc::SYS_prlimit64, vec![vec![reads_limits]]),
    ];
    let mut calls: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().chain(ALLOWED_OLD).map(|call| (*call, Vec::new())).collect();
    for (call, when) in conditional {
        let rules = when.into_iter().map(SeccompRule::new).collect::<Result<_, _>>()?;
        calls.insert(call, rules);
    }
    compile(calls, SeccompAction::Errno(libc::EPERM.cast_unsigned()), SeccompAction::Allow)
}

fn clone3_filter() -> Result<BpfProgram, ConfineError> {
    let calls = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    compile(calls, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS.cast_unsigned()))
}

fn compile(
    calls: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram, ConfineError> {
    let filter = SeccompFilter::new(calls, otherwise, matched, std::env::consts::ARCH.try_into()?)?;
    Ok(filter.try_into()?)
}

#[cfg(test)]
mod tests;
