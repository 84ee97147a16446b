//! What a service manager is told of this agent: that it serves, that it lives, that it stops. By
//! `sd_notify(3)`: datagrams to a socket that it names. Without one, nobody is told and nothing is done for it.
//!
//! Always holds: "alive" is said only in answer to a mesh process that said so itself a moment before, so a
//! process of either kind that hangs is missed.

use std::{
    env,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    time::Duration,
};

/// A service manager that waits for word.
#[derive(Debug)]
pub struct Notify {
    to: Option<(UnixDatagram, SocketAddr)>,
    /// How often the mesh process is asked, where word is wanted at intervals.
    every: Option<Duration>,
    asked: Duration,
    ready: bool,
}

impl Notify {
    /// By the variables of `sd_notify(3)` and `sd_watchdog_enabled(3)`, if they are for this process.
    pub fn from_environment(up: Duration) -> Self {
        let address = env::var("NOTIFY_SOCKET").ok().and_then(|name| match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name).ok(),
            None => SocketAddr::from_pathname(name).ok(),
        });
        let to = address.and_then(|address| Some((UnixDatagram::unbound().ok()?, address)));
        let number = |name| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let within = number("WATCHDOG_USEC").filter(|within| ours && to.is_some() && *within > 0);
        // Four times in the interval: an answer may take its time, and be late once.
        Self { to, every: within.map(|us| Duration::from_micros(us) / 4), asked: up, ready: false }
    }

    /// When the mesh process is to be asked next, if it is.
    pub fn due(&self) -> Option<Duration> {
        Some(self.asked + self.every?)
    }

    /// Whether it is to be asked now.
    pub fn asks(&mut self, up: Duration) -> bool {
        let now = self.due().is_some_and(|due| due <= up);
        if now {
            self.asked = up;
        }
        now
    }

    /// The mesh process answers command lines.
    pub fn serves(&mut self) {
        if !self.ready {
            self.ready = true;
            self.say("READY=1\nSTATUS=serving");
        }
    }

    /// Both processes live.
    pub fn lives(&self) {
        if self.every.is_some() {
            self.say("WATCHDOG=1");
        }
    }

    /// It was told to stop.
    pub fn stops(&self) {
        self.say("STOPPING=1\nSTATUS=ending what runs");
    }

    fn say(&self, what: &str) {
        if let Some((socket, address)) = &self.to {
            // It cannot hold the executor: whoever does not listen is not told.
            let _ = socket.set_nonblocking(true);
            let _ = socket.send_to_addr(what.as_bytes(), address);
        }
    }
}
