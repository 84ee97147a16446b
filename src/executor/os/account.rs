//! The user database: who a command may run as.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use libc::{c_char, c_int, gid_t, passwd, uid_t};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::WaitOptions;

use super::process::{close_others, fork_into};
use crate::wire::{Bytes, decode, encode};
use crate::wire_record;

/// The longest entry of the user database that is read.
const ENTRY_BYTES_MAX: usize = 1 << 20;
/// The longest answer of a child that looks one up.
const ANSWER_BYTES_MAX: usize = 2 * ENTRY_BYTES_MAX;
/// What Linux allows one process.
const GROUPS_MAX: usize = 65_536;

/// A user of this machine, as the user database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The login name.
    pub name: String,
    /// The user id.
    pub uid: u32,
    /// The primary group id.
    pub gid: u32,
    /// All group ids, the primary one among them.
    pub groups: Vec<u32>,
    /// The home directory.
    pub home: Bytes,
    /// The login shell.
    pub shell: Bytes,
}
wire_record!(Account { name, uid, gid, groups, home, shell });

impl Account {
    /// Looks up a user by name; `None` if there is no such user. May read files or ask a directory
    /// service, so it is called before anything is confined.
    pub fn lookup(name: &str) -> io::Result<Option<Self>> {
        let Ok(wanted) = CString::new(name) else { return Ok(None) };
        let Some((mut account, name)) = entry(|entry, buffer, length, found| {
            // SAFETY: `wanted` is a C string, the rest is as `entry` promises.
            unsafe { libc::getpwnam_r(wanted.as_ptr(), entry, buffer, length, found) }
        })?
        else {
            return Ok(None);
        };
        account.groups = group_list(&name, account.gid)?;
        Ok(Some(account))
    }

    /// Looks up a user in a child process, which lives `seconds` at most: a directory service that hangs must
    /// not hold the executor, and the modules that it needs must not be loaded into it.
    ///
    /// # Errors
    /// When the database cannot be read, or does not answer in time.
    pub fn lookup_within(name: &str, seconds: u32) -> io::Result<Option<Self>> {
        let (answer, answer_end) = pipe_with(PipeFlags::CLOEXEC)?;
        let child = fork_into(|| {
            // SAFETY: sets a timer of this process, whose signal has its default action: it ends it.
            unsafe { libc::alarm(seconds) };
            let found = close_others(&[answer_end.as_fd()]).and_then(|()| Self::lookup(name));
            let found = found.map(|found| encode(&Vec::from_iter(found))).unwrap_or_default();
            u8::from(File::from(answer_end).write_all(&found).is_err())
        })?;
        let mut bytes = Vec::new();
        let read = File::from(answer).take(ANSWER_BYTES_MAX as u64).read_to_end(&mut bytes);
        rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(child), WaitOptions::empty()))?;
        read?;
        let found: Result<Vec<Self>, _> = decode(&bytes, ANSWER_BYTES_MAX);
        found.map(|found| found.into_iter().next()).map_err(|_| io::ErrorKind::TimedOut.into())
    }

    /// The user that this process runs as. One that the database does not have is named by its number.
    pub fn current() -> io::Result<Self> {
        let uid = rustix::process::geteuid().as_raw();
        let found = entry(|entry, buffer, length, found| {
            // SAFETY: as `entry` promises.
            unsafe { libc::getpwuid_r(uid as uid_t, entry, buffer, length, found) }
        })?;
        let mut account = found.map_or_else(
            || Self {
                name: uid.to_string(),
                uid,
                gid: 0,
                groups: Vec::new(),
                home: Bytes::from(&b"/"[..]),
                shell: Bytes::from(&b"/bin/sh"[..]),
            },
            |(account, _)| account,
        );
        account.gid = rustix::process::getegid().as_raw();
        account.groups = rustix::process::getgroups()?.iter().map(|group| group.as_raw()).collect();
        Ok(account)
    }
}

/// Asks the user database, with a buffer that grows until the entry fits. `ask` is given an entry to fill,
/// a buffer of that length for its strings, and where to say whether there was one.
fn entry(
    ask: impl Fn(*mut passwd, *mut c_char, usize, *mut *mut passwd) -> c_int,
) -> io::Result<Option<(Account, CString)>> {
    let mut buffer: Vec<c_char> = vec![0; 4096];
    loop {
        let mut entry = std::mem::MaybeUninit::<passwd>::uninit();
        let mut found = std::ptr::null_mut();
        match ask(entry.as_mut_ptr(), buffer.as_mut_ptr(), buffer.len(), &raw mut found) {
            0 if found.is_null() => return Ok(None),
            0 => {
                // SAFETY: the call succeeded and set `found` to `entry`, whose strings are terminated and lie
                // in `buffer`, which lives until they are copied below.
                let entry = unsafe { entry.assume_init() };
                let text = |pointer: *const c_char| {
                    if pointer.is_null() {
                        return c"";
                    }
                    // SAFETY: see above.
                    unsafe { CStr::from_ptr(pointer) }
                };
                let path = |pointer| Bytes::from(text(pointer).to_bytes());
                let account = Account {
                    name: text(entry.pw_name).to_string_lossy().into_owned(),
                    uid: entry.pw_uid,
                    gid: entry.pw_gid,
                    groups: Vec::new(),
                    home: path(entry.pw_dir),
                    shell: path(entry.pw_shell),
                };
                return Ok(Some((account, text(entry.pw_name).to_owned())));
            }
            // These also mean "no such user", says getpwnam(3).
            libc::ENOENT | libc::ESRCH | libc::EBADF | libc::EPERM => return Ok(None),
            libc::ERANGE if buffer.len() < ENTRY_BYTES_MAX => buffer.resize(buffer.len() * 4, 0),
            libc::EINTR => {}
            errno => return Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

fn group_list(name: &CStr, gid: gid_t) -> io::Result<Vec<u32>> {
    let mut groups: Vec<gid_t> = vec![0; 64];
    loop {
        let mut count = c_int::try_from(groups.len()).unwrap_or(c_int::MAX);
        // SAFETY: `name` is a C string and `groups` has room for `count` ids.
        let listed = unsafe { libc::getgrouplist(name.as_ptr(), gid, groups.as_mut_ptr(), &raw mut count) };
        if listed >= 0 {
            groups.truncate(usize::try_from(count).unwrap_or(0));
            return Ok(groups);
        }
        if groups.len() >= GROUPS_MAX {
            return Err(io::Error::from_raw_os_error(libc::E2BIG));
        }
        groups.resize(groups.len() * 4, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_found_and_nobody_made_up_is() {
        let root = Account::lookup("root").unwrap().unwrap();
        assert_eq!((root.uid, root.gid, root.name.as_str()), (0, 0, "root"));
        assert!(root.groups.contains(&0) && root.home.0.starts_with(b"/"));
        assert_eq!(Account::lookup("no-such-user-here").unwrap(), None);
        assert_eq!(Account::lookup("nul\0nul").unwrap(), None);
        assert_eq!(Account::lookup_within("root", 60).unwrap(), Some(root));
        assert_eq!(Account::lookup_within("no-such-user-here", 60).unwrap(), None);
        let current = Account::current().unwrap();
        assert_eq!(current.uid, rustix::process::geteuid().as_raw());
    }
}
