//! A disk of a host's own, small enough to be filled: a file system in memory over its state directory.

use std::{
    fs::{self, File, Permissions},
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::super::Trouble;

/// What fills it.
const FILLER: &str = "filler";
/// Bytes that are written at a time, until there is room for not one of them.
const PIECE: [u8; 4096] = [0; 4096];

/// One that is mounted. Dropping it takes it away.
#[derive(Debug)]
pub(super) struct Disk {
    dir: PathBuf,
}

impl Disk {
    /// Mounts one of so many MiB at `dir`, which is made.
    pub(super) fn mount(dir: &Path, mib: u32) -> Result<Self, Trouble> {
        if !rustix::process::geteuid().is_root() {
            return Err(Trouble::unavailable("a disk of a host's own is mounted by root alone"));
        }
        let made = fs::create_dir(dir).and_then(|()| fs::set_permissions(dir, Permissions::from_mode(0o711)));
        made.map_err(|error| Trouble::new(format!("cannot make {}: {error}", dir.display())))?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=0711"), "muster-scenario"])
            .arg(dir)
            .stdin(Stdio::null())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Ok(Self { dir: dir.to_owned() }),
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                Err(Trouble::unavailable(format!("no disk of a host's own can be mounted: {why}")))
            }
            Err(error) => Err(Trouble::unavailable(format!("there is no mount: {error}"))),
        }
    }

    /// Fills it to the last byte.
    pub(super) fn fill(&self) -> Result<(), Trouble> {
        let fill = || -> io::Result<()> {
            let mut file = File::options().create(true).append(true).open(self.dir.join(FILLER))?;
            for piece in [&PIECE[..], &[0]] {
                loop {
                    match file.write_all(piece) {
                        Ok(()) => {}
                        Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                        Err(error) => return Err(error),
                    }
                }
            }
            Ok(())
        };
        fill().map_err(|error| Trouble::new(format!("cannot fill {}: {error}", self.dir.display())))
    }

    /// Makes room again.
    pub(super) fn free(&self) -> Result<(), Trouble> {
        let path = self.dir.join(FILLER);
        fs::remove_file(&path)
            .map_err(|error| Trouble::new(format!("cannot remove {}: {error}", path.display())))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Also while a file of it is still open somewhere.
        let _best_effort = Command::new("umount").arg("--lazy").arg(&self.dir).stdin(Stdio::null()).output();
    }
}
