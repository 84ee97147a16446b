//! What command lines hear from a mesh process that cannot start: why, instead of nothing for as long as they wait.

use std::{io, os::unix::net::UnixListener, path::Path, sync::Arc, time::Duration};

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::mesh::MeshError;
use crate::{
    control::{self, Answer, Handler, Reply, Request},
    journal,
    store::StoreError,
};

/// How long it is said. Who asks between two tries waits in the socket's queue, so that a moment is enough; and the
/// executor tries again every ten seconds, a command line waits twenty.
const SAID_FOR: Duration = Duration::from_secs(1);

/// Answers every request with the reason.
struct Unable {
    owner: u32,
    why: String,
}

impl Handler for Unable {
    fn owner(&self) -> u32 {
        self.owner
    }

    async fn answer(&self, _: Request, answer: &mut Answer<'_>) -> io::Result<()> {
        answer.send(&Reply::Error { why: self.why.clone(), refused: false }).await
    }
}

/// Whether there was no room for what had to be written.
fn is_full_disk(error: &MeshError) -> bool {
    match error {
        MeshError::Home(error) => error.is_full_disk(),
        MeshError::Io(error)
        | MeshError::Store(StoreError::Io(error) | StoreError::Sled(sled::Error::Io(error))) => {
            journal::is_full_disk(error)
        }
        _ => false,
    }
}

/// Why the agent of the host in `dir` does not start, in words; none where the next try is likely to do better.
fn words(error: &MeshError, dir: &Path) -> Option<String> {
    if is_full_disk(error) {
        return Some(format!(
            "the agent cannot start, since the disk of {} is full ({error}): free space there, and it goes on by itself",
            dir.display()
        ));
    }
    let passing = matches!(
        error,
        MeshError::Link(_) | MeshError::Net(_) | MeshError::Store(StoreError::Stalled | StoreError::Panicked)
    );
    (!passing).then(|| format!("the agent cannot start, and tries again: {error}"))
}

/// Tells whoever asks on the control socket why this process does not start.
pub(super) async fn tell(listener: UnixListener, owner: u32, error: &MeshError, dir: &Path) {
    let Some(why) = words(error, dir) else { return };
    let telling = control::serve(listener, Arc::new(Unable { owner, why }), CancellationToken::new());
    let _long_enough = timeout(SAID_FOR, telling).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Client;

    #[tokio::test]
    async fn a_command_line_hears_that_the_disk_is_full_and_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let owner = rustix::process::geteuid().as_raw();
        let error = MeshError::Io(io::ErrorKind::StorageFull.into());
        let (heard, ()) =
            tokio::join!(Client::connect(&path), tell(listener, owner, &error, Path::new("/var/lib/muster")));
        let heard = heard.unwrap_err().to_string();
        assert!(heard.contains("the disk of /var/lib/muster is full"), "{heard}");
        assert!(heard.contains("free space there, and it goes on by itself"), "{heard}");
    }

    #[test]
    fn what_the_next_try_may_mend_is_left_to_it() {
        let dir = Path::new("/");
        assert_eq!(words(&MeshError::Store(StoreError::Stalled), dir), None);
        let sled = sled::Error::Io(io::ErrorKind::StorageFull.into());
        assert!(words(&MeshError::Store(sled.into()), dir).unwrap().contains("is full"));
        let other = words(&MeshError::Member("no genesis".to_owned()), dir).unwrap();
        assert!(!other.contains("full") && other.contains("no genesis"), "{other}");
    }
}
