//! What is shipped with an order: taken from where the mesh process put it, and only if it is what was signed.
//!
//! Always holds: what a command reads or is was read once, into a file that only this process can write,
//! and those bytes have the hash in the signed order; nobody changes them between the look and the use.
//! That it is not there yet says nothing of the order.

use std::{
    fs::{self, File, Permissions},
    io::{self, Read as _, Write as _},
    os::{
        fd::OwnedFd,
        unix::{
            ffi::OsStrExt as _,
            fs::{OpenOptionsExt as _, PermissionsExt as _},
        },
    },
    path::{Path, PathBuf},
};

use rustix::fs::{Gid, Mode, OFlags, Uid};

use crate::{
    identity::{EntryId, FleetId},
    replica::{Action, Blob, Command},
};

/// The directory of it, of either process.
pub const SHIPPED: &str = "shipped";
/// What runs a script that does not say what it is for, as execvp(3) has it.
const SHELL: &[u8] = b"/bin/sh";

/// A command with what was shipped for it.
#[derive(Debug)]
pub struct Shipped {
    /// The program and its arguments: the script in the place of its name.
    pub argv: Vec<Vec<u8>>,
    /// What it reads.
    pub stdin: Option<OwnedFd>,
    /// To be kept while it runs.
    pub script: Option<Script>,
}

/// A script's own file, which goes with this.
#[derive(Debug)]
pub struct Script(PathBuf);

impl Drop for Script {
    fn drop(&mut self) {
        let _gone_already = fs::remove_file(&self.0);
    }
}

/// Why a command cannot have it.
#[derive(Debug)]
pub enum NotShipped {
    /// It has not come.
    Absent,
    /// It never will be good; the words go on from "what was shipped with it".
    Refused(String),
}

impl From<io::Error> for NotShipped {
    fn from(error: io::Error) -> Self {
        Self::Refused(format!("cannot be kept: {error}"))
    }
}

impl Shipped {
    /// Copies what `action` names from the first of two places to the second. A script becomes the file of
    /// `owner`, a user and a group, or of this user, who may read and run it. What was shipped sealed is opened
    /// with `sealed`, the command of a private order and its fleet.
    ///
    /// # Errors
    /// See [`NotShipped`]: no part of it stays then.
    pub fn take(
        [from, to]: &[PathBuf; 2],
        order: &EntryId,
        action: &Action,
        owner: Option<(u32, u32)>,
        mut argv: Vec<Vec<u8>>,
        sealed: Option<(&Command, &FleetId)>,
    ) -> Result<Self, NotShipped> {
        let stdin = action.stdin().map(|blob| {
            let path = to.join(format!("{order}.in"));
            let (mut writing, reading) = (create(&path)?, File::open(&path));
            // From here on it has no name.
            fs::remove_file(&path)?;
            copy(from, blob, sealed, &mut writing)
                .map(|_| reading)?
                .map(OwnedFd::from)
                .map_err(NotShipped::from)
        });
        let stdin = stdin.transpose()?;
        let Some(blob) = action.script() else { return Ok(Self { argv, stdin, script: None }) };
        let path = to.join(order.to_string());
        let mut file = create(&path)?;
        let script = Script(path);
        let head = copy(from, blob, sealed, &mut file)?;
        if let Some((uid, gid)) = owner {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            rustix::fs::fchown(&file, Some(uid), Some(gid)).map_err(io::Error::from)?;
        }
        file.set_permissions(Permissions::from_mode(0o500))?;
        let program = script.0.as_os_str().as_bytes().to_vec();
        let own = head.starts_with(b"#!") || head.starts_with(b"\x7fELF");
        let words = (!own).then(|| SHELL.to_vec()).into_iter().chain([program]);
        argv.splice(..1, words);
        Ok(Self { argv, stdin, script: Some(script) })
    }
}

fn create(path: &Path) -> io::Result<File> {
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

/// Copies a blob, which whoever can write in `from` may change meanwhile; returns how it begins.
fn copy(
    from: &Path,
    blob: &Blob,
    sealed: Option<(&Command, &FleetId)>,
    to: &mut File,
) -> Result<Vec<u8>, NotShipped> {
    // A link or a pipe in its place must not lead anywhere or hold this process.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let source = match rustix::fs::open(from.join(blob.file_name()), flags, Mode::empty()) {
        Ok(source) => File::from(source),
        Err(rustix::io::Errno::NOENT) => return Err(NotShipped::Absent),
        Err(error) => return Err(io::Error::from(error).into()),
    };
    let mut bytes = Vec::new();
    source.take(blob.bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    if Blob::of(&bytes) != *blob {
        return Err(NotShipped::Refused("is not what was signed".to_owned()));
    }
    if let Some((command, fleet)) = sealed {
        let opened = command.open_shipped(fleet, &bytes);
        bytes = opened.map_err(|error| NotShipped::Refused(format!("cannot be read: {error}")))?;
    }
    to.write_all(&bytes)?;
    bytes.truncate(4);
    Ok(bytes)
}
