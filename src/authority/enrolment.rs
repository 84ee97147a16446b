//! How a host comes to belong: an operator's certificate signs a token's key (the invitation), the
//! token's key signs the host's keys (the enrolment), the host's stream key signs both as entry 0 of
//! its stream (the host certificate). The host that admits only forwards.

use std::time::Duration;

use super::Refusal;
use crate::{
    identity::{
        EntryId, Executor, FleetId, HostId, Kind, Operator, Payload, PublicKey, SealPublic, Signed,
        SignedError, Stream, Token, Transport,
    },
    selector,
    time::Timestamp,
    wire::Bytes,
    wire_record,
};

/// Longest name of a host, in characters (RFC 1123, section 2.1, has 63 for a label).
pub const NAME_CHARS_MAX: usize = 63;
/// Longest validity of an invitation.
pub const INVITATION_VALID_MAX: Duration = Duration::from_secs(30 * 86_400);
/// Most tags that a host may bring.
const TAGS_MAX: usize = 64;

/// Whether a host may have this name: letters, digits and inner hyphens or dots, lower case.
pub fn check_name(name: &str) -> bool {
    let edge = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=NAME_CHARS_MAX).contains(&name.len())
        && name.bytes().all(|c| edge(c) || c == b'-' || c == b'.')
        && name.bytes().next().is_some_and(edge)
        && name.bytes().last().is_some_and(edge)
}

/// What a join token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// The certificate it is issued under.
    pub certificate: EntryId,
    /// The key in the token.
    pub token: PublicKey<Token>,
    /// The tags a joiner may bring, each `key=value`; all of them are set unless it asks for fewer.
    pub tags: Vec<(String, String)>,
    /// How many hosts may redeem it.
    pub uses: u32,
    /// Whether each of them waits until an operator has seen it.
    pub approve: bool,
    /// When it was made.
    pub issued: Timestamp,
    /// When it stops working.
    pub expires: Timestamp,
}
wire_record!(Invitation closed { certificate, token, tags, uses, approve, issued, expires });
impl Payload for Invitation {
    const KIND: Kind = Kind::Invitation;
    const BYTES_MAX: usize = 8 * 1024;
    type Signer = Operator;
}

/// A host's public keys, by purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostKeys {
    /// Signs its stream; its id.
    pub stream: PublicKey<Stream>,
    /// Proves it on the wire.
    pub transport: PublicKey<Transport>,
    /// Signs its results.
    pub executor: PublicKey<Executor>,
    /// Private orders will be sealed to it.
    pub seal: SealPublic,
}
wire_record!(HostKeys { stream, transport, executor, seal });

/// What a joiner says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolment {
    /// Its label.
    pub name: String,
    /// The tags it comes with, out of the invitation's.
    pub tags: Vec<(String, String)>,
    /// Its keys.
    pub keys: HostKeys,
    /// When it joined.
    pub at: Timestamp,
}
wire_record!(Enrolment closed { name, tags, keys, at });
impl Payload for Enrolment {
    const KIND: Kind = Kind::Enrolment;
    const BYTES_MAX: usize = 8 * 1024;
    type Signer = Token;
}

/// What a host asks that has no link to the fleet that it is to join: it knows of none yet, so it is signed for none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfflineRequest {
    /// The name it wants.
    pub name: String,
    /// Its keys.
    pub keys: HostKeys,
    /// When it asked.
    pub at: Timestamp,
}
wire_record!(OfflineRequest closed { name, keys, at });
impl Payload for OfflineRequest {
    const KIND: Kind = Kind::Request;
    const BYTES_MAX: usize = 4 * 1024;
    type Signer = Stream;
}

/// Entry 0 of a host's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostCertificate {
    /// The signed [`Invitation`].
    pub invitation: Bytes,
    /// The signed [`Enrolment`].
    pub enrolment: Bytes,
}
wire_record!(HostCertificate closed { invitation, enrolment });
impl Payload for HostCertificate {
    const KIND: Kind = Kind::Host;
    const BYTES_MAX: usize = 20 * 1024;
    type Signer = Stream;
}

/// A host's last entry: it left. Final, and about itself alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    /// When.
    pub at: Timestamp,
}
wire_record!(Departure { at });
impl Payload for Departure {
    const KIND: Kind = Kind::Departure;
    const BYTES_MAX: usize = 1024;
    type Signer = Stream;
}

/// A host certificate whose three signatures were checked. Whether the operator could invite is for
/// [`super::Authority`] to say.
#[derive(Clone, Debug)]
pub struct Enrolled {
    certificate: Signed<HostCertificate>,
    invitation: Signed<Invitation>,
    enrolment: Signed<Enrolment>,
    /// Whether it is within its invitation: asked often, and costs as much as a signature.
    within: Result<(), Refusal>,
}

impl Enrolled {
    /// Checks a host certificate and what it carries.
    ///
    /// # Errors
    /// When any signature does not match, or the keys do not belong together.
    pub fn verify(bytes: &[u8], fleet: FleetId) -> Result<Self, SignedError> {
        let certificate = Signed::<HostCertificate>::verify(bytes, fleet)?;
        let invitation = Signed::<Invitation>::verify(&certificate.body().invitation.0, fleet)?;
        let enrolment = Signed::<Enrolment>::verify(&certificate.body().enrolment.0, fleet)?;
        Self::of(certificate, invitation, enrolment)
    }

    /// The same for bytes that were verified before; see [`Signed::again`].
    ///
    /// # Errors
    /// As [`Enrolled::verify`].
    // A command line's alone: without it no signature goes unchecked.
    #[cfg(feature = "agent")]
    pub(crate) fn again(bytes: &[u8], fleet: FleetId) -> Result<Self, SignedError> {
        let certificate = Signed::<HostCertificate>::again(bytes, fleet)?;
        let invitation = Signed::<Invitation>::again(&certificate.body().invitation.0, fleet)?;
        let enrolment = Signed::<Enrolment>::again(&certificate.body().enrolment.0, fleet)?;
        Self::of(certificate, invitation, enrolment)
    }

    fn of(
        certificate: Signed<HostCertificate>,
        invitation: Signed<Invitation>,
        enrolment: Signed<Enrolment>,
    ) -> Result<Self, SignedError> {
        if enrolment.signer() != invitation.body().token
            || certificate.signer() != enrolment.body().keys.stream
        {
            return Err(SignedError::BadSignature);
        }
        let within = within(invitation.body(), enrolment.body());
        Ok(Self { certificate, invitation, enrolment, within })
    }

    /// The host's id.
    pub fn host(&self) -> HostId {
        HostId::of(&self.certificate.signer())
    }

    /// The host certificate.
    pub fn certificate(&self) -> &Signed<HostCertificate> {
        &self.certificate
    }

    /// What it was admitted by.
    pub fn invitation(&self) -> &Signed<Invitation> {
        &self.invitation
    }

    /// What it said of itself.
    pub fn enrolment(&self) -> &Enrolment {
        self.enrolment.body()
    }

    /// Whether the enrolment is within its invitation, whoever could give that.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        self.within.clone()
    }
}

fn within(invitation: &Invitation, enrolment: &Enrolment) -> Result<(), Refusal> {
    if !check_name(&enrolment.name) {
        return Err(Refusal::BadName);
    }
    if enrolment.tags.len() > TAGS_MAX {
        return Err(Refusal::TooMany { what: "tags", limit: TAGS_MAX });
    }
    for (at, (key, value)) in enrolment.tags.iter().enumerate() {
        let repeated = enrolment.tags.iter().take(at).any(|(earlier, _)| earlier == key);
        if repeated
            || selector::check_tag(key, value).is_err()
            || !invitation.tags.contains(&(key.clone(), value.clone()))
        {
            return Err(Refusal::TagNotGranted { tag: format!("{key}={value}") });
        }
    }
    if enrolment.at > invitation.expires {
        return Err(Refusal::TokenExpired);
    }
    for bytes in
        [enrolment.keys.transport.bytes(), enrolment.keys.executor.bytes(), enrolment.keys.stream.bytes()]
    {
        PublicKey::<Stream>::import(bytes).map_err(|_| Refusal::WeakKey)?;
    }
    Ok(())
}
