//! Processes, their descriptors and their signals.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::panic::AssertUnwindSafe;

use libc::{c_char, c_int};
use rustix::io::Errno;
use rustix::process::Pid;

/// Forks. The child runs `child`, then ends with the exit code that it returns; it never comes back from
/// this call, drops nothing that the caller owns and runs no exit handler.
///
/// For processes with one thread: in the child of another, a lock that some other thread held is never
/// given back (the allocator's is: the C library sees to it).
pub(crate) fn fork_into(child: impl FnOnce() -> u8) -> io::Result<Pid> {
    // SAFETY: fork has no arguments. The child is a copy of this thread alone and so of a consistent
    // memory; it leaves through `_exit` below.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let code = std::panic::catch_unwind(AssertUnwindSafe(child)).unwrap_or(101);
            // SAFETY: ends the process at once, which is always allowed.
            unsafe { libc::_exit(c_int::from(code)) }
        }
        pid => Pid::from_raw(pid).ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH)),
    }
}

/// Becomes the program at `path`. Comes back only if that failed, with the reason.
pub(crate) fn exec(path: &CStr, argv: &[CString], environment: &[CString]) -> Errno {
    let pointers = |strings: &[CString]| -> Vec<*const c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, environment) = (pointers(argv), pointers(environment));
    // SAFETY: all three are C strings or null-terminated arrays of them, and outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), environment.as_ptr()) };
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Makes these the standard input, output and error, open across an exec.
pub(in crate::executor) fn set_stdio(fds: [BorrowedFd<'_>; 3]) -> io::Result<()> {
    for (target, fd) in (0..).zip(fds) {
        // SAFETY: replaces descriptors 0 to 2, which nothing in this program owns as a value.
        if unsafe { libc::dup2(fd.as_raw_fd(), target) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Closes every descriptor but the first three and `keep`. For the child of a fork: values that own one of
/// the others must not be used or dropped in it.
pub(in crate::executor) fn close_others(keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    for fd in open_descriptors()? {
        if !keep.iter().any(|kept| kept.as_raw_fd() == fd) {
            // SAFETY: the caller said that nothing here uses it any more.
            unsafe { libc::close(fd) };
        }
    }
    Ok(())
}

/// Lets no descriptor but the first three, of those that are open now, pass to a program that this process
/// or a child of it becomes.
pub(in crate::executor) fn close_all_on_exec() -> io::Result<()> {
    for fd in open_descriptors()? {
        // SAFETY: a flag of a descriptor; one that is not open any more is answered with an error.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

/// Those but the first three; the one that they are read with, closed again, may be among them.
fn open_descriptors() -> io::Result<Vec<RawFd>> {
    let all = std::fs::read_dir("/proc/self/fd")?;
    let all = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(all.filter(|fd| *fd > 2).collect())
}

/// Gives every signal its default action.
pub(in crate::executor) fn reset_signals() {
    // The kernel's structure (at most 32 bytes) for "default, no flags, no mask" is all zeros. Not by signal(3):
    // that hides two signals of the C library, which may come ignored from whoever started this process.
    let default = [0_u64; 4];
    let unwanted: *mut u64 = std::ptr::null_mut();
    for signal in 1..=64_i64 {
        // SAFETY: the pointer is to enough bytes; the default action runs no code of ours. Those signals that
        // cannot be changed answer with an error.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), unwanted, 8_i64) };
    }
}

/// Ignores these signals.
pub(in crate::executor) fn ignore_signals(signals: &[c_int]) {
    for signal in signals {
        // SAFETY: ignoring runs no code of ours.
        unsafe { libc::signal(*signal, libc::SIG_IGN) };
    }
}

fn signal_set(signals: &[c_int]) -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: sigemptyset makes the set a valid one; sigaddset refuses numbers that are no signals.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), *signal);
        }
        set.assume_init()
    }
}

/// Blocks these signals, and no others, and gives a descriptor (close-on-exec, non-blocking) that is
/// readable when one has come.
pub(in crate::executor) fn take_signals(signals: &[c_int]) -> io::Result<OwnedFd> {
    let set = signal_set(signals);
    // SAFETY: `set` is valid; the old mask is not asked for.
    if unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `set` is valid, and -1 asks for a new descriptor.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was just made and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The next signal that came on a descriptor of [`take_signals`], if there is one.
pub(in crate::executor) fn next_signal(signals: &OwnedFd) -> Option<c_int> {
    // The size of a `signalfd_siginfo`, whose first field is the signal (signalfd(2)).
    let mut info = [0; 128];
    rustix::io::read(signals, &mut info).ok().filter(|read| *read == info.len())?;
    info.first_chunk::<4>().map(|number| c_int::from_ne_bytes(*number))
}

/// Blocks no signal.
pub(in crate::executor) fn unblock_signals() {
    let set = signal_set(&[]);
    // SAFETY: `set` is valid; the old mask is not asked for.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) };
}
