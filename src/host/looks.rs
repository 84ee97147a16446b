//! Looks that take too long are left behind.
//!
//! *Why a thread for each look*, where tokio has a pool: what hangs in the kernel cannot be ended, and a pool
//! of a few threads, which the store needs too, would fill up with it; a runtime that shuts down waits for its
//! pool as well.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use tokio::{sync::oneshot, time::timeout};

use super::{Collected, Collector, Progress};

/// How long a look may take.
const LOOK_WITHIN: Duration = Duration::from_secs(10);
/// Stack of a look's thread, in bytes.
const STACK_BYTES: usize = 256 * 1024;

/// A look that has not come back.
struct Pending {
    answer: oneshot::Receiver<Collected>,
    progress: Progress,
}

/// Runs a collector, at most one look a facet at a time.
pub struct Looks {
    collector: Arc<dyn Collector>,
    within: Duration,
    late: BTreeMap<&'static str, Pending>,
}

impl fmt::Debug for Looks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Looks").field("late", &self.late.keys()).finish_non_exhaustive()
    }
}

impl Looks {
    /// Looks by `collector`.
    pub fn new(collector: Arc<dyn Collector>) -> Self {
        Self { collector, within: LOOK_WITHIN, late: BTreeMap::new() }
    }

    /// The same, with another limit on the time of a look.
    #[must_use]
    pub fn within(self, within: Duration) -> Self {
        Self { within, ..self }
    }

    /// Looks at what `facet` is about. Says after 10 s what did not answer; the thread is left where it is, and
    /// there is no second look at that facet before the first came back, whose answer is what the next call
    /// gives then. Dropping the future loses at most the answer.
    pub async fn collect(&mut self, facet: &'static str) -> Collected {
        let mut pending = match self.late.remove(facet) {
            Some(pending) => pending,
            None => match self.start(facet) {
                Ok(pending) => pending,
                Err(problem) => return Collected::failed(facet, problem),
            },
        };
        match timeout(self.within, &mut pending.answer).await {
            Ok(Ok(collected)) => collected,
            Ok(Err(_)) => Collected::failed(facet, format!("{facet}: the collector failed")),
            Err(_) => {
                let (last, within) = (pending.progress.last(), self.within.as_secs());
                self.late.insert(facet, pending);
                Collected::failed(facet, format!("{facet}: no answer within {within} s from {last}"))
            }
        }
    }

    fn start(&self, facet: &'static str) -> Result<Pending, String> {
        let (sender, answer) = oneshot::channel();
        let progress = Progress::default();
        progress.at("the system");
        let (collector, shown) = (Arc::clone(&self.collector), progress.clone());
        std::thread::Builder::new()
            .name(format!("look {facet}"))
            .stack_size(STACK_BYTES)
            .spawn(move || {
                // Nobody waits any more: then it was late, and the agent has ended.
                let _unheard = sender.send(collector.collect(facet, &shown));
            })
            .map_err(|error| format!("{facet}: no thread to look with: {error}"))?;
        Ok(Pending { answer, progress })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use super::{
        super::{FACET_DEB, FACET_STORAGE, FACET_SYSTEM, Fake},
        *,
    };
    use crate::replica::Tables;

    /// Storage does not answer before it is let; the system fails.
    struct Hangs {
        let_go: Mutex<mpsc::Receiver<()>>,
    }

    impl Collector for Hangs {
        fn collect(&self, facet: &'static str, progress: &Progress) -> Collected {
            match facet {
                FACET_STORAGE => {
                    progress.at("/mnt/gone");
                    let _let_go = self.let_go.lock().unwrap().recv();
                }
                FACET_SYSTEM => std::panic::resume_unwind(Box::new(())),
                _ => {}
            }
            Collected { facet, tables: Ok(Tables::default()), problems: Vec::new() }
        }
    }

    #[tokio::test]
    async fn what_hangs_is_named_and_holds_up_nothing_else() {
        let (sender, let_go) = mpsc::channel();
        let collector = Arc::new(Hangs { let_go: Mutex::new(let_go) });
        let mut looks = Looks::new(collector).within(Duration::from_millis(20));
        for _ in 0..3 {
            let problem = looks.collect(FACET_STORAGE).await.tables.unwrap_err();
            assert!(problem.contains("storage") && problem.contains("/mnt/gone"), "{problem}");
        }
        looks.within = Duration::from_secs(30);
        assert!(looks.collect(FACET_DEB).await.tables.is_ok());
        assert!(looks.collect(FACET_SYSTEM).await.tables.unwrap_err().contains("the collector failed"));
        // Only one thread hangs: one answer, and all is as before.
        sender.send(()).unwrap();
        assert!(looks.collect(FACET_STORAGE).await.tables.is_ok());
        drop(sender);
        assert!(looks.collect(FACET_STORAGE).await.tables.is_ok());
    }

    #[tokio::test]
    async fn a_made_up_machine_says_what_it_was_told_to() {
        let fake = Fake::default();
        let mut looks = Looks::new(Arc::new(fake.clone()));
        assert_eq!(looks.collect(FACET_DEB).await.tables, Ok(Tables::default()));
        fake.packages(&[("openssl", "3.0.13"), ("bash", "5.2")]);
        let tables = looks.collect(FACET_DEB).await.tables.unwrap();
        assert_eq!(tables.tables[0].rows[0], ["bash", "5.2", "amd64"]);
        fake.set(FACET_DEB, Err("broken".to_owned()));
        assert_eq!(looks.collect(FACET_DEB).await.tables, Err("broken".to_owned()));
    }
}
