//! Private orders: what is to be done, and what came of it, in seals.
//!
//! Public stays whatever hosts need to carry and to judge an order: who orders, whom, as which user, until when,
//! with what limits and reason, how long what it ships is, and what came of it. What is to be run is sealed to a
//! key made for the order; that key is sealed once to each host of the roster; what the command writes is sealed
//! to a key that the operator made for the job.
//!
//! Always holds: every seal names the order's whole public part ([`header`]), the roster in it, so none of them
//! opens in another order, of another signer, for other hosts, as another user; and the command that is in it has
//! the hash that was signed in the open.
//!
//! *Why a key made for the job and not the operator's own:* that may be in an SSH agent or on a token, which sign and
//! do not read. The price: what the command wrote can be read where it was ordered, and nowhere else.

use std::fmt;

use zeroize::Zeroizing;

use super::{Action, Blob, Order, Roster};
use crate::{
    identity::{EntryId, FleetId, HostId, Opener, Seal, SealError, SealPublic, SealSecret, Sealer, seal},
    wire::{self, Bytes},
    wire_record,
};

/// Most hosts of a private order: each takes 83 bytes of it.
pub const PRIVATE_HOSTS_MAX: usize = 64;
/// Longest command of a private order, in bytes.
const COMMAND_BYTES_MAX: usize = 56 * 1024;

/// Why a private order cannot be made or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrivateError {
    /// There are too many hosts, or none.
    #[error("a private order is for 1 to {PRIVATE_HOSTS_MAX} hosts: it carries a seal for each")]
    Hosts,
    /// The host has no key that anything can be sealed to.
    #[error("{0} has no key that anything can be sealed to")]
    NoKey(HostId),
    /// There is no seal for this host in it.
    #[error("it holds no seal for this host")]
    NotHere,
    /// A seal that does not open.
    #[error("a private order, and its seal does not hold: {0}")]
    Seal(#[from] SealError),
    /// What is in it is not what was signed.
    #[error("a private order, and what is sealed in it is not what was signed")]
    Other,
}

/// What is sealed in an order.
#[derive(Clone, PartialEq, Eq)]
pub struct Command {
    /// Makes its hash say nothing of what is in it.
    pub salt: [u8; 16],
    /// The program and its arguments, as in [`Action::Shipped`].
    pub argv: Vec<Bytes>,
    /// Opens what is shipped beside the order.
    pub shipped: SealSecret,
}
wire_record!(Command closed { salt, argv, shipped });

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Command(…)")
    }
}

impl Command {
    /// What the order says of it in the open.
    pub fn hash(&self) -> [u8; 32] {
        *blake3::hash(&Zeroizing::new(wire::encode(self))).as_bytes()
    }

    /// Opens what was shipped, once its hash was checked.
    ///
    /// # Errors
    /// [`SealError::Shut`].
    pub fn open_shipped(&self, fleet: &FleetId, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        self.shipped.open(Seal::Shipped, fleet, b"", sealed)
    }

    /// Seals what is to be shipped.
    ///
    /// # Errors
    /// None, with a key that was drawn.
    pub fn seal_shipped(
        &self,
        fleet: &FleetId,
        plain: &[u8],
        drawn: &[u8; 32],
    ) -> Result<Vec<u8>, SealError> {
        seal(self.shipped.public(), Seal::Shipped, fleet, b"", plain, drawn)
    }
}

/// The part of an action that is sealed, as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Private {
    /// [`Command::hash`].
    pub hash: [u8; 32],
    /// The sealed [`Command`].
    pub command: Bytes,
    /// The key to it, sealed to each host of the roster, in that order.
    pub stanzas: Vec<Bytes>,
    /// What the command writes is sealed to it.
    pub reader: SealPublic,
    /// What it reads, sealed.
    pub stdin: Option<Blob>,
    /// What is run in the place of its first word, sealed.
    pub script: Option<Blob>,
}
wire_record!(Private closed { hash, command, stanzas, reader, stdin, script });

/// What the seals of an order are about: all of it but the seals, and its fleet.
fn header(order: &Order, fleet: &FleetId) -> [u8; 32] {
    let mut open = order.clone();
    if let Action::Private { private } = &mut open.action {
        (private.command, private.stanzas) = (Bytes::default(), Vec::new());
    }
    let mut hasher = blake3::Hasher::new_derive_key("muster/private-header/v1");
    hasher.update(&fleet.0).update(&wire::encode(&open));
    *hasher.finalize().as_bytes()
}

/// What a stanza is about: the header, and whose it is.
fn stanza(header: &[u8; 32], host: &HostId) -> Vec<u8> {
    [&header[..], &host.0].concat()
}

impl Order {
    /// What is private of it.
    pub fn private(&self) -> Option<&Private> {
        match &self.action {
            Action::Private { private } => Some(private),
            _ => None,
        }
    }

    /// Seals `command` into this order, whose action says all of [`Private`] but what this fills in: `seal_of` is
    /// each host's own key, `draw` gives 32 random bytes at each call.
    ///
    /// # Errors
    /// When the roster is too long, or a host has no key.
    pub fn seal(
        &mut self,
        fleet: &FleetId,
        command: &Command,
        seal_of: impl Fn(&HostId) -> Option<SealPublic>,
        mut draw: impl FnMut() -> [u8; 32],
    ) -> Result<(), PrivateError> {
        let Roster::Inline { hosts } = &self.roster else { return Err(PrivateError::Hosts) };
        if hosts.is_empty() || hosts.len() > PRIVATE_HOSTS_MAX {
            return Err(PrivateError::Hosts);
        }
        let hosts = hosts.clone();
        if let Action::Private { private } = &mut self.action {
            private.hash = command.hash();
        }
        let header = header(self, fleet);
        let key = SealSecret::from_seed(&draw());
        let plain = Zeroizing::new(wire::encode(command));
        let sealed = seal(key.public(), Seal::Command, fleet, &header, &plain, &draw())?;
        let mut stanzas = Vec::new();
        for host in &hosts {
            let to = seal_of(host).filter(|to| to.check().is_ok()).ok_or(PrivateError::NoKey(*host))?;
            let about = stanza(&header, host);
            stanzas.push(Bytes(seal(to, Seal::Stanza, fleet, &about, key.seed(), &draw())?));
        }
        if let Action::Private { private } = &mut self.action {
            (private.command, private.stanzas) = (Bytes(sealed), stanzas);
        }
        Ok(())
    }

    /// What is sealed in this order for `host`, whose key this is; none if nothing is private of it.
    ///
    /// # Errors
    /// When a seal does not open, or holds something else than was signed.
    pub fn unseal(
        &self,
        fleet: &FleetId,
        host: &HostId,
        key: &SealSecret,
    ) -> Result<Option<Command>, PrivateError> {
        let Some(private) = self.private() else { return Ok(None) };
        let Roster::Inline { hosts } = &self.roster else { return Err(PrivateError::Hosts) };
        if private.stanzas.len() != hosts.len() || hosts.len() > PRIVATE_HOSTS_MAX {
            return Err(PrivateError::Hosts);
        }
        private.reader.check()?;
        let own = hosts.iter().position(|named| named == host).and_then(|at| private.stanzas.get(at));
        let own = own.ok_or(PrivateError::NotHere)?;
        let header = header(self, fleet);
        let seed = Zeroizing::new(key.open(Seal::Stanza, fleet, &stanza(&header, host), &own.0)?);
        let seed = Zeroizing::new(<[u8; 32]>::try_from(seed.as_slice()).map_err(|_| PrivateError::Other)?);
        let opened = SealSecret::from_seed(&seed).open(Seal::Command, fleet, &header, &private.command.0)?;
        let opened = Zeroizing::new(opened);
        let command: Command = wire::decode(&opened, COMMAND_BYTES_MAX).map_err(|_| PrivateError::Other)?;
        if command.hash() == private.hash { Ok(Some(command)) } else { Err(PrivateError::Other) }
    }
}

/// What a sealed output stream is about.
fn output(order: &EntryId, host: &HostId, stderr: bool) -> Vec<u8> {
    [&order.0[..], &host.0, &[u8::from(stderr)]].concat()
}

/// Where what a command writes is sealed to.
#[derive(Clone, Copy, Debug)]
pub struct Sink {
    /// The key.
    pub to: SealPublic,
    /// The fleet.
    pub fleet: FleetId,
    /// The order.
    pub order: EntryId,
    /// The host that runs it.
    pub host: HostId,
}

impl Sink {
    /// Seals one of the two streams.
    ///
    /// # Errors
    /// [`SealError::Weak`].
    pub fn sealer(&self, stderr: bool, drawn: &[u8; 32]) -> Result<Sealer, SealError> {
        let about = output(&self.order, &self.host, stderr);
        Sealer::new(self.to, Seal::Output, &self.fleet, &about, drawn)
    }
}

/// Opens what a command wrote on `host`.
pub fn output_opener(
    secret: &SealSecret,
    fleet: FleetId,
    order: &EntryId,
    host: &HostId,
    stderr: bool,
) -> Opener {
    Opener::new(secret.clone(), Seal::Output, fleet, &output(order, host, stderr))
}

#[cfg(test)]
#[path = "private_tests.rs"]
mod tests;
