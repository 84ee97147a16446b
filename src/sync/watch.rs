//! Where the machine meets presence: what it hears, asks and loses is what presence is made of.

use std::time::Duration;

use super::{
    Ended, Message, Note, Said, Seen,
    machine::{Effect, Machine},
};
use crate::{
    authority::Host,
    identity::HostId,
    replica::{Replica, first_hour},
    time::Timestamp,
};

/// Pings of one host are spread over so many milliseconds: a host whose neighbours all ask it at the same
/// time is missed later.
const PINGS_SPREAD: u64 = 10_000;

impl Machine {
    /// How a host shows.
    pub fn presence(&self, host: &HostId, now: Timestamp) -> Seen {
        self.presence.state(host, now)
    }

    /// Tells presence who belongs, when that may have changed.
    pub(super) fn tell_members(&mut self, replica: &Replica) {
        let version = replica.authority_version();
        if self.members_told != Some(version) {
            self.members_told = Some(version);
            self.presence.set_members(replica.authority().members().map(Host::id));
        }
    }

    fn say(&mut self, said: Vec<Said>, now: Timestamp, replica: &Replica) -> Vec<Effect> {
        let one = |said| match said {
            Said::Notes(peer, notes) => Some(Effect::Send(peer, Message::Notes { notes })),
            Said::Probe(peer) => {
                let hour = first_hour(now);
                self.ping(peer, hour, replica.roots(hour).root(), now, replica)
            }
        };
        said.into_iter().filter_map(one).collect()
    }

    /// A neighbour said hello.
    pub(super) fn meets(&mut self, peer: HostId, now: Timestamp, replica: &Replica) -> Vec<Effect> {
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            let number =
                |host: &HostId| host.0.iter().fold(0, |sum, byte| (sum * 31 + u64::from(*byte)) % 65_521);
            let phase = (number(&self.me) * 7919 + number(&peer)) % PINGS_SPREAD;
            neighbour.pinged = now.before(Duration::from_millis(phase));
        }
        let said = self.presence.linked(peer, now);
        self.say(said, now, replica)
    }

    pub(super) fn hears(&mut self, peer: HostId, now: Timestamp, replica: &Replica) -> Vec<Effect> {
        let said = self.presence.heard(peer, now);
        self.say(said, now, replica)
    }

    pub(super) fn misses(
        &mut self,
        peer: HostId,
        why: Ended,
        now: Timestamp,
        replica: &Replica,
    ) -> Vec<Effect> {
        let said = self.presence.lost(peer, why, now);
        self.say(said, now, replica)
    }

    pub(super) fn unreached(&mut self, host: HostId, now: Timestamp, replica: &Replica) -> Vec<Effect> {
        let said = self.presence.dial_failed(host, now);
        self.say(said, now, replica)
    }

    pub(super) fn on_notes(
        &mut self,
        peer: HostId,
        notes: Vec<Note>,
        now: Timestamp,
        replica: &Replica,
    ) -> Vec<Effect> {
        let said = self.presence.notes(peer, notes, now);
        self.say(said, now, replica)
    }

    /// Time passed for presence too.
    pub(super) fn watch(&mut self, late: Duration, now: Timestamp, replica: &Replica) -> Vec<Effect> {
        let said = self.presence.tick(now, late);
        self.say(said, now, replica)
    }
}
