//! Command lines of this program, run as a person would, in an environment of their own.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::Pid;
use tokio::time::{Instant, sleep};

use super::{
    super::{Trouble, agent, expect::Said},
    clock::Clocks,
};

/// How often it is looked whether a command line has ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Bytes of what it says that are read.
const SAID_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Where command lines find things.
#[derive(Debug)]
pub(super) struct Desk {
    /// This program.
    pub(super) program: PathBuf,
    /// What all of the scenario is in.
    pub(super) dir: PathBuf,
    /// Machines that are no hosts.
    pub(super) outside: Vec<String>,
    /// What a command line begins with at each machine: its way into the network there.
    pub(super) through: BTreeMap<String, Vec<String>>,
    /// Clocks that are wrong.
    pub(super) clocks: Clocks,
    /// Command lines so far.
    pub(super) count: usize,
}

/// A command line that runs. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Begun {
    child: Child,
    /// As a person would type it.
    pub(super) text: String,
    /// At which host.
    pub(super) at: String,
    out: PathBuf,
    err: PathBuf,
}

impl Desk {
    /// Where operators' keys are.
    pub(super) fn operators(&self) -> PathBuf {
        self.dir.join("operators")
    }

    /// Starts `muster WORDS` with the state directory of a host, or, on a machine that is none, with a home of its
    /// own, in which there is neither an agent nor a key.
    ///
    /// At a host it is typed `by` the founder, or by an operator who brought their key.
    pub(super) fn begin(&mut self, at: &str, by: Option<&str>, words: &[String]) -> Result<Begun, Trouble> {
        self.count += 1;
        let file = |end: &str| self.dir.join("commands").join(format!("{}.{end}", self.count));
        let (out, err) = (file("out"), file("err"));
        let text =
            std::iter::once("muster").chain(words.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
        let outside = self.outside.iter().any(|name| name == at);
        let begun = || -> io::Result<Child> {
            let through = self.through.get(at).map_or(&[][..], Vec::as_slice);
            let mut command = agent::command(through, &self.program);
            command.env_clear();
            if outside {
                let home = self.dir.join(at);
                command.env("HOME", &home).env("MUSTER_CONTEXTS", home.join("contexts"));
                command.env("MUSTER_OPERATORS", home.join("operators"));
            } else {
                let keys = by.map_or_else(|| self.operators(), |by| self.dir.join(by).join("operators"));
                command.env("HOME", self.dir.join("home")).env("MUSTER_OPERATORS", keys);
                command.arg("--state").arg(self.dir.join(at));
            }
            command
                .args(words)
                .envs(self.clocks.environment(at))
                .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
                .env("USER", "operator")
                .env("LANG", "C.UTF-8")
                .current_dir(&self.dir)
                .stdin(Stdio::null())
                .stdout(File::create(&out)?)
                .stderr(File::create(&err)?)
                .process_group(0)
                .spawn()
        };
        let child = begun().map_err(|error| Trouble::new(format!("{text} cannot be started: {error}")))?;
        Ok(Begun { child, text, at: at.to_owned(), out, err })
    }

    /// Runs it to its end.
    pub(super) async fn run(
        &mut self,
        at: &str,
        by: Option<&str>,
        words: &[String],
        within: Duration,
    ) -> Result<Said, Trouble> {
        self.begin(at, by, words)?.finish(within).await
    }
}

impl Begun {
    /// Its process, while it was not collected.
    pub(super) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits until it ends.
    pub(super) async fn finish(&mut self, within: Duration) -> Result<Said, Trouble> {
        let until = Instant::now() + within;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(self.said(status)),
                Ok(None) if Instant::now() > until => {
                    let so_far = super::super::expect::shown(&self.said(ExitStatus::from_raw(0)));
                    let so_far = so_far.split_once('\n').map_or("", |(_, rest)| rest).to_owned();
                    return Err(Trouble::new(format!(
                        "at {}: {} does not end within {} s",
                        self.at,
                        self.text,
                        within.as_secs()
                    ))
                    .point(so_far));
                }
                Ok(None) => sleep(LOOK_EVERY).await,
                Err(error) => {
                    return Err(Trouble::new(format!("{} cannot be waited for: {error}", self.text)));
                }
            }
        }
    }

    fn said(&self, status: ExitStatus) -> Said {
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        Said { code, stdout: read(&self.out), stderr: read(&self.err) }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _gone_already = self.child.kill();
            let _collected = self.child.wait();
        }
    }
}

/// The beginning of a file, as text.
pub(super) fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    let _as_far_as_it_goes =
        File::open(path).and_then(|file| file.take(SAID_BYTES_MAX).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}
