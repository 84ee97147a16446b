//! Founding a fleet, and the enrolment of a host under an invitation, which founding and joining share.
//!
//! Founding writes in this order: the first host's keys (which count for nothing yet), the recovery
//! file, the operator's directory, and last of all what makes the host a member. A failure before the
//! recovery file leaves keys that the next attempt goes on with; a later one names what was made, and
//! nothing of it is in use anywhere.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use curve25519_dalek::montgomery::MontgomeryPoint;

use crate::{
    authority::{
        ANY, Authority, Certificate, ChainError, Enrolled, Enrolment, Genesis, HostCertificate, Invitation,
        Refusal, RootChain, RootChange, Verb, check_name,
    },
    identity::{Cosigned, Operator, Root, SecretKey, Signed, SignedError, Token, ssh::OperatorKey},
    journal::{
        Candidate, HostHome, HostHomeError, KeyFileError, KeySource, Member, OperatorError, OperatorHome,
        keyfile,
        signer::{Choice, OperatorSigner, ways},
    },
    replica::Item,
    selector::{TagError, check_tag},
    time::Timestamp,
    wire::Bytes,
};

/// How long the founder's own invitation lasts; it is redeemed at once.
const OWN_INVITATION_VALID: Duration = Duration::from_secs(60);
/// Longest name of a person, in characters.
const PERSON_CHARS_MAX: usize = 64;

/// What to found. Where randomness and time come from is the caller's.
#[derive(Clone, Copy, Debug)]
pub struct FoundRequest<'a> {
    /// The fleet's label.
    pub name: &'a str,
    /// Who the first operator is.
    pub person: &'a str,
    /// How long the operator's certificate is valid.
    pub operator_valid: Duration,
    /// The first host's name.
    pub host: &'a str,
    /// The first host's tags.
    pub tags: &'a [(String, String)],
    /// The first host's state directory.
    pub state: &'a Path,
    /// The directory that gets one for this fleet's operator.
    pub operators: &'a Path,
    /// The file for the root key; with several, what their files are named after.
    pub recovery: &'a Path,
    /// The operator's key, if it is one that is there already.
    pub operator_key: Option<&'a Choice>,
    /// How many root keys there are, and how many must sign.
    pub roots: RootCount,
    /// When.
    pub now: Timestamp,
}

/// How many root keys a fleet has, and how many of them must sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootCount {
    /// How many must sign.
    pub threshold: u8,
    /// How many there are.
    pub of: u8,
}

impl RootCount {
    /// One, who decides alone.
    pub const ONE: Self = Self { threshold: 1, of: 1 };
    /// Most root keys of a fleet; an update bears so many signatures at most.
    pub const MOST: u8 = 16;
}

impl FromStr for RootCount {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once("-of-").and_then(|(m, n)| Some((m.parse().ok()?, n.parse().ok()?)));
        match parts {
            Some((threshold, of)) if 1 <= threshold && threshold <= of && of <= Self::MOST => {
                Ok(Self { threshold, of })
            }
            _ => Err(format!("M-of-N, such as 2-of-3: at least 1, and at most {} keys", Self::MOST)),
        }
    }
}

impl FoundRequest<'_> {
    /// The files of the root keys: `recovery` itself, or `NAME-1.txt` and so on beside it.
    pub fn root_files(&self) -> Vec<PathBuf> {
        if self.roots.of == 1 {
            return vec![self.recovery.to_owned()];
        }
        let part = |part: Option<&OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        let (stem, ending) = (part(self.recovery.file_stem()), part(self.recovery.extension()));
        let dot = if ending.is_empty() { "" } else { "." };
        let named = |number| self.recovery.with_file_name(format!("{stem}-{number}{dot}{ending}"));
        (1..=self.roots.of).map(named).collect()
    }
}

/// What was founded.
#[derive(Debug)]
pub struct Founded {
    /// The first operator's directory; the fleet's chain is in it.
    pub operator: OperatorHome,
    /// The first host's directory.
    pub home: HostHome,
    /// The first host.
    pub host: Enrolled,
}

/// Why a fleet was not founded. Unless it is [`FoundError::HalfWay`], nothing that counts was made.
#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    /// The fleet's label is none.
    #[error("{0:?} cannot be a fleet's name: lower-case letters, digits, inner hyphens and dots, at most 63")]
    FleetName(String),
    /// The host's name is none.
    #[error("{0:?} cannot be a host's name: lower-case letters, digits, inner hyphens and dots, at most 63")]
    HostName(String),
    /// The person's name is empty, too long or not printable.
    #[error("{0:?} cannot be a person's name: 1 to {PERSON_CHARS_MAX} visible characters")]
    Person(String),
    /// A tag that no host may have, or two of one key.
    #[error("the tag {key}={value}: {error}")]
    Tag {
        /// Its key.
        key: String,
        /// Its value.
        value: String,
        /// What is wrong with it.
        error: TagError,
    },
    /// Two values of one key.
    #[error("the tag {0} is given twice")]
    TagTwice(String),
    /// The certificate would not be valid for any time.
    #[error("an operator's certificate must be valid for some time")]
    NoValidity,
    /// The recovery file is there already.
    #[error("{0} exists already, and a recovery key is never written over")]
    RecoveryExists(PathBuf),
    /// The directory of the recovery file is not there.
    #[error("there is no directory {0} for the recovery key")]
    NoRecoveryDir(PathBuf),
    /// There is an operator's directory of this name.
    #[error("there is an operator key for a fleet of this name already, in {0}")]
    OperatorExists(PathBuf),
    /// The state directory cannot be used.
    #[error(transparent)]
    Host(#[from] HostHomeError),
    /// The operator's directory cannot be used.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// The recovery file cannot be written.
    #[error(transparent)]
    Recovery(#[from] KeyFileError),
    /// The genesis founds nothing.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The host's certificate does not verify.
    #[error("the first host's certificate does not verify")]
    Enrolment(#[from] SignedError),
    /// The chain does not allow what it should.
    #[error("the fleet would not admit its own first host: {0}")]
    Refused(#[from] Refusal),
    /// It stopped after something was made.
    #[error("founding stopped half way: {source}")]
    HalfWay {
        /// What was made, in order; nothing of it is in use.
        made: Vec<PathBuf>,
        /// Why it stopped.
        source: Box<FoundError>,
    },
}

/// Finds what stands in the way of founding, before anything is written.
///
/// # Errors
/// The first obstacle.
pub fn check_found(request: &FoundRequest<'_>) -> Result<(), FoundError> {
    if !check_name(request.name) {
        return Err(FoundError::FleetName(request.name.to_owned()));
    }
    if !check_name(request.host) {
        return Err(FoundError::HostName(request.host.to_owned()));
    }
    let person = request.person;
    let visible = person.chars().all(|c| !c.is_control()) && person.trim() == person;
    if !visible || person.is_empty() || person.chars().nth(PERSON_CHARS_MAX).is_some() {
        return Err(FoundError::Person(person.to_owned()));
    }
    for (at, (key, value)) in request.tags.iter().enumerate() {
        check_tag(key, value).map_err(|error| FoundError::Tag {
            key: key.clone(),
            value: value.clone(),
            error,
        })?;
        if request.tags.iter().take(at).any(|(earlier, _)| earlier == key) {
            return Err(FoundError::TagTwice(key.clone()));
        }
    }
    if request.operator_valid.is_zero() {
        return Err(FoundError::NoValidity);
    }
    match HostHome::open(request.state) {
        Err(HostHomeError::NoHost { .. }) => {}
        Err(error) => return Err(error.into()),
        Ok(home) => {
            let fleet = home.member.chain().map(|chain| chain.genesis().name.clone());
            return Err(HostHomeError::Occupied {
                path: request.state.to_owned(),
                fleet: fleet.unwrap_or_else(|_| "?".to_owned()),
            }
            .into());
        }
    }
    let operator = request.operators.join(request.name);
    if operator.symlink_metadata().is_ok() {
        return Err(FoundError::OperatorExists(operator));
    }
    if let Some(there) = request.root_files().into_iter().find(|path| path.symlink_metadata().is_ok()) {
        return Err(FoundError::RecoveryExists(there));
    }
    let parent = request.recovery.parent().filter(|parent| !parent.as_os_str().is_empty());
    match parent {
        Some(parent) if !parent.is_dir() => Err(FoundError::NoRecoveryDir(parent.to_owned())),
        _ => Ok(()),
    }
}

/// Founds a fleet of so many root keys as are asked for, one operator who may do everything, and one host.
/// `fresh` gives 32 random bytes at each call.
///
/// # Errors
/// See [`FoundError`].
pub fn found(request: &FoundRequest<'_>, fresh: &mut dyn FnMut() -> [u8; 32]) -> Result<Founded, FoundError> {
    check_found(request)?;
    let now = request.now;
    let roots: Vec<SecretKey<Root>> =
        (0..request.roots.of).map(|_| SecretKey::<Root>::from_seed(&fresh())).collect();
    let operator_key = SecretKey::<Operator>::from_seed(&fresh());
    let source = request.operator_key.map_or(KeySource::New(&operator_key), KeySource::There);
    let public =
        request.operator_key.map_or_else(|| operator_key.public().into(), |there| there.key().clone());
    let chain = chain_of(request, &roots, public, half(fresh()))?;
    let candidate = prepare_candidate(request.state, fresh)?;
    // Before anything that counts is written: a person may be asked, and say no.
    let signer = match request.operator_key {
        Some(choice) => choice.signer(ways())?,
        None => OperatorSigner::open(operator_key.clone()),
    };
    let token = SecretKey::<Token>::from_seed(&fresh());
    let certificate = chain.certificates().map(|(id, _)| id).last();
    let invitation = Invitation {
        certificate: certificate.ok_or(ChainError::BadGenesis("it certifies nobody"))?,
        token: token.public(),
        tags: request.tags.to_vec(),
        uses: 1,
        approve: false,
        issued: now,
        expires: now.after(OWN_INVITATION_VALID),
    };
    let invitation = signer.sign(chain.fleet(), invitation).map_err(OperatorError::from)?;

    let (name, id, RootCount { threshold, of }) = (request.name, chain.fleet(), request.roots);
    let whoever = if of == 1 {
        "Whoever has this file governs the fleet".to_owned()
    } else {
        format!("Whoever has {threshold} of its {of} such files governs the fleet")
    };
    let preamble = format!(
        "# The root key of the muster fleet {name} ({id}).\n\
         # {whoever}: it certifies operators, and can take back what they did.\n\
         # Daily work does not need it. Move it off this machine, and keep two copies.\n",
    );
    let mut made = Vec::new();
    for (path, root) in request.root_files().into_iter().zip(&roots) {
        match keyfile::write_new(&path, root, &preamble) {
            Ok(()) => made.push(path),
            Err(error) if made.is_empty() => return Err(error.into()),
            Err(error) => return Err(FoundError::HalfWay { made, source: Box::new(error.into()) }),
        }
    }

    let half_way = |made: &[PathBuf], source: FoundError| FoundError::HalfWay {
        made: made.to_vec(),
        source: Box::new(source),
    };
    let dir = request.operators.join(request.name);
    made.push(dir.clone());
    let operator =
        OperatorHome::create_with(&dir, source, &chain).map_err(|error| half_way(&made, error.into()))?;

    let host = enrol(&candidate, &invitation, &token, request.host, request.tags, now)
        .map_err(|error| half_way(&made, error.into()))?;
    let mut authority = Authority::new(chain.clone());
    authority.absorb_host(host.clone()).map_err(|refusal| half_way(&made, refusal.into()))?;
    let first = [Item::bare(invitation.bytes()), Item::bare(host.certificate().bytes())];
    let home = candidate
        .admit(&member(&chain, fresh(), &host), &first)
        .map_err(|error| half_way(&made, error.into()))?;
    Ok(Founded { operator, home, host })
}

/// The genesis, and the operator's certificate under it.
fn chain_of(
    request: &FoundRequest<'_>,
    roots: &[SecretKey<Root>],
    operator: OperatorKey,
    nonce: [u8; 16],
) -> Result<RootChain, ChainError> {
    let mut public: Vec<_> = roots.iter().map(SecretKey::public).collect();
    public.sort_unstable();
    let roots: Vec<&SecretKey<Root>> = roots.iter().collect();
    let genesis = Genesis {
        name: request.name.to_owned(),
        roots: public,
        threshold: request.roots.threshold,
        founded: request.now,
        nonce,
    };
    let mut chain = RootChain::found(genesis, &roots)?;
    let everything = Certificate {
        person: request.person.to_owned(),
        key: operator,
        verbs: Verb::ALL.to_vec(),
        scope: "all".to_owned(),
        tags: vec![(ANY.to_owned(), ANY.to_owned())],
        run_as: vec![ANY.to_owned()],
        hosts_max: None,
        not_before: request.now,
        not_after: request.now.after(request.operator_valid),
        approvals: 0,
    };
    let update = Cosigned::sign(chain.fleet(), &roots, chain.next(RootChange::Certify(everything)));
    chain.absorb(update.bytes())?;
    Ok(chain)
}

/// Makes a state directory with a host's keys, or goes on with one.
///
/// # Errors
/// See [`Candidate::prepare`].
pub fn prepare_candidate(
    state: &Path,
    fresh: &mut dyn FnMut() -> [u8; 32],
) -> Result<Candidate, HostHomeError> {
    Candidate::prepare(state, fresh, seal_public)
}

/// Signs a host's certificate: what it says of itself with the token's key, both with its own.
///
/// # Errors
/// When the parts do not belong together: `token` is not the key that `invitation` names.
pub fn enrol(
    candidate: &Candidate,
    invitation: &Signed<Invitation>,
    token: &SecretKey<Token>,
    name: &str,
    tags: &[(String, String)],
    now: Timestamp,
) -> Result<Enrolled, SignedError> {
    let fleet = crate::identity::peek(invitation.bytes())?.fleet;
    let enrolment = Enrolment { name: name.to_owned(), tags: tags.to_vec(), keys: candidate.keys(), at: now };
    let enrolment = Signed::sign(fleet, token, enrolment);
    let certificate = HostCertificate {
        invitation: Bytes::from(invitation.bytes()),
        enrolment: Bytes::from(enrolment.bytes()),
    };
    let certificate = Signed::sign(fleet, candidate.stream(), certificate);
    Enrolled::verify(certificate.bytes(), fleet)
}

/// What makes a host with this certificate a member.
pub fn member(chain: &RootChain, shield: [u8; 32], host: &Enrolled) -> Member {
    Member {
        fleet: chain.fleet(),
        shield,
        updates: chain.updates().iter().map(|update| Bytes::from(update.bytes())).collect(),
        certificate: Bytes::from(host.certificate().bytes()),
    }
}

/// The public half of a seal key: X25519 (RFC 7748) with the base point.
pub fn seal_public(secret: &[u8; 32]) -> [u8; 32] {
    MontgomeryPoint::mul_base_clamped(*secret).to_bytes()
}

fn half(bytes: [u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(bytes.split_at(16).0);
    half
}
