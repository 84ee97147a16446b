//! The epoch of this host's stream in which an agent speaks: begun on disk, or waited for.

use std::time::Duration;

use tokio::{sync::watch, time::sleep};
use tracing::warn;

use crate::journal::MeshHome;

/// How often it is tried again where it cannot be written.
const EVERY: Duration = Duration::from_secs(5);

/// Begins a new epoch. While that cannot be written, `problems` says so and it is tried again: an agent without one
/// says nothing of its host to the fleet, and all else that it does needs none.
pub(super) async fn begin(home: &MeshHome, problems: &watch::Sender<Vec<String>>) -> u32 {
    loop {
        let error = match home.next_epoch() {
            Ok(epoch) => {
                problems.send_replace(Vec::new());
                return epoch;
            }
            Err(error) => error,
        };
        let why = format!("this host says nothing new of itself to the fleet, and tries again: {error}");
        let before = problems.send_replace(vec![why]);
        if before.is_empty() {
            warn!(%error, "no epoch can be begun, which is tried again");
        }
        sleep(EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_epoch_that_cannot_be_written_is_a_problem_until_it_can() {
        let dir = tempfile::tempdir().unwrap();
        let later = dir.path().join("later");
        let home = MeshHome::at(&later);
        let (problems, mut told) = watch::channel(Vec::new());
        let mended = async {
            let why = told.wait_for(|problems| !problems.is_empty()).await.unwrap().join(" ");
            assert!(why.contains("tries again") && why.contains("later/epoch"), "{why}");
            std::fs::create_dir(&later).unwrap();
        };
        let (epoch, ()) = tokio::join!(begin(&home, &problems), mended);
        assert_eq!(epoch, 0);
        assert_eq!(*told.borrow(), Vec::<String>::new());
        assert!(later.join("epoch").exists());
    }
}
