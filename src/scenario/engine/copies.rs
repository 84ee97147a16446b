//! State directories that are copied: put back later, as a snapshot is, or started beside the first, as a clone is.

use std::{fs, path::Path, process::Command};

use rustix::process::Signal;

use super::{
    super::Trouble,
    fleet::{State, World},
};

impl World<'_> {
    /// Copies a host's directory as it is at one moment.
    pub(super) fn snapshot(&mut self, name: &str) -> Result<(), Trouble> {
        let to = self.desk.dir.join(format!("{name}.snapshot"));
        self.copy(name, &to)
    }

    /// Puts a host's directory back.
    pub(super) fn restore(&mut self, name: &str) -> Result<(), Trouble> {
        let from = self.desk.dir.join(format!("{name}.snapshot"));
        let state = self.host(name, State::Down)?.agent.places.state.clone();
        remove(&state)?;
        copy_as_it_is(&from, &state)
    }

    /// Starts a copy of a host's directory, at the addresses of another host of the file that is no member.
    pub(super) async fn clone_host(&mut self, of: &str, name: &str) -> Result<(), Trouble> {
        let to = self.host(name, State::Absent)?.agent.places.clone();
        // Whatever the directory is made of so far.
        remove(&to.state)?;
        self.copy(of, &to.state)?;
        let config = to.config;
        let failed =
            |error: std::io::Error| Trouble::new(format!("cannot write {}: {error}", config.display()));
        let mut text = fs::read_to_string(&config).map_err(failed)?;
        if let Some(((listen, advertise), (own_listen, own_advertise))) =
            self.network.addresses(of).zip(self.network.addresses(name))
        {
            for (from, to) in [(listen, own_listen), (advertise, own_advertise)] {
                text = text.replace(&from.to_string(), &to.to_string());
            }
        }
        fs::write(&config, text).map_err(failed)?;
        let _none = fs::remove_file(&to.socket);
        self.host(name, State::Absent)?.state = State::Down;
        self.start(name).await
    }

    /// Copies a host's directory while none of its processes writes in it.
    fn copy(&mut self, name: &str, to: &Path) -> Result<(), Trouble> {
        let running = self.state(name) == State::Up;
        let host = self.host(name, if running { State::Up } else { State::Down })?;
        if running {
            host.agent.signal_both(Signal::STOP)?;
        }
        let copied = copy_as_it_is(&host.agent.places.state, to);
        if running {
            host.agent.signal_both(Signal::CONT)?;
        }
        copied
    }
}

fn remove(dir: &Path) -> Result<(), Trouble> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Trouble::new(format!("cannot remove {}: {error}", dir.display())))
        }
        _ => Ok(()),
    }
}

/// With owners and modes, which a person would keep as well.
fn copy_as_it_is(from: &Path, to: &Path) -> Result<(), Trouble> {
    let status = Command::new("cp").arg("-a").arg("--no-target-directory").args([from, to]).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Trouble::new(format!("cp -a {} ended with {status}", from.display()))),
        Err(error) => Err(Trouble::new(format!("cp cannot be started: {error}"))),
    }
}
