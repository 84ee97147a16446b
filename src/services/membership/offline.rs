//! Joining where no link is: a request goes to an operator as a file, and the answer comes back as one.
//!
//! The request is the host's public keys and its name, signed by its stream key; it is for whichever fleet answers,
//! which the person sees who takes the answer. The answer is an invitation for one host and the enrolment of these
//! very keys, signed by a token key that the operator's process makes and forgets: it is of no use to any other host.
//! It holds the fleet's pre-shared key, as a token does, and so is to be kept as one.
//!
//! The host is a member from then on, for itself and for whoever it can show its certificate to. Its agent shows it
//! to a member as soon as one can be reached ([`announce`]): the fleet knows the invitation, and admits it as it
//! would have by a token.

use std::{
    fs, io,
    io::Read as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use tracing::{debug, info, warn};

use super::message::{Join, JoinReply, JoinRequest};
use crate::{
    authority::{
        Authority, Enrolment, Host, HostCertificate, INVITATION_VALID_MAX, Invitation, NAME_CHARS_MAX,
        OfflineRequest, Refusal, RootChain, Standing, check_name,
    },
    control::{Anchor, AnchorError, Client, ControlError, Reply, Request, fleet_under},
    identity::{FleetId, HostId, Payload, SecretKey, Signed, SignedError, TOKEN_ADDRESSES_MAX, Token},
    journal::{Candidate, HostHome, HostHomeError, Member, MeshHome, OperatorError, keyfile},
    net::{self, Net},
    replica::{Entry, Item, Replica},
    store::Store,
    time::Timestamp,
    wire::{self, Bytes, WireError},
    wire_record,
};

/// Longest answer file, in bytes.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How long the agent may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// How often a member is looked for that does not know of this host yet.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(10);
/// How long after the first try it is tried again; twice as long before each that follows.
const ANNOUNCE_FIRST: Duration = Duration::from_millis(200);
/// How long one step of that may take.
const STEP_WITHIN: Duration = Duration::from_secs(15);
/// Fleets do not know of it yet, so it is signed for none.
const NO_FLEET: FleetId = FleetId([0; 32]);

/// What an operator answers; a file.
#[derive(Clone, Debug)]
struct Answered {
    fleet: FleetId,
    shield: [u8; 32],
    addresses: Vec<String>,
    updates: Vec<Bytes>,
    invitation: Bytes,
    enrolment: Bytes,
    items: Vec<Item>,
}
wire_record!(Answered closed { fleet, shield, addresses, updates, invitation, enrolment, items });

/// The file: what it holds, and its hash, so that damage is told from a lie. (Each part is signed by itself, but
/// for the pre-shared key and the addresses, which lead nowhere if they are wrong.)
struct AnswerFile {
    hash: [u8; 32],
    answered: Bytes,
}
wire_record!(AnswerFile closed { hash, answered });

fn hash(answered: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new_derive_key("muster/join-answer/v1").update(answered).finalize().as_bytes()
}

/// Why joining by files did not go on. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OfflineJoinError {
    /// A file cannot be read or written.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no request, or was changed.
    #[error("{path} is no request to join, or was damaged: {source}")]
    NoRequest {
        /// The file.
        path: PathBuf,
        /// Why.
        source: SignedError,
    },
    /// The file is no answer, or was changed.
    #[error("{path} is no answer to a request to join, or was damaged: {problem}")]
    NoAnswer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The answer is for other keys.
    #[error("the answer is for another host, {name}, and not for the one in this directory")]
    OtherHost {
        /// That one's name.
        name: String,
    },
    /// The name cannot be a host's.
    #[error(
        "{0:?} cannot be a host's name: lower-case letters, digits, inner hyphens and dots, at most {NAME_CHARS_MAX}"
    )]
    BadName(String),
    /// The fleet has a host of that name, or this very one.
    #[error("the fleet has a host named {0} already")]
    NameTaken(String),
    /// This user holds no operator key of the fleet.
    #[error("this user has no operator key for fleet {fleet}")]
    NotAnOperator {
        /// The fleet's label.
        fleet: String,
    },
    /// The certificate does not allow it.
    #[error("not permitted: {0}")]
    Refused(#[from] Refusal),
    /// The operator's key did not sign.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// The agent.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// No anchor to verify against.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// The state directory.
    #[error(transparent)]
    Home(#[from] HostHomeError),
}

fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>, OfflineJoinError> {
    let failed = |source| OfflineJoinError::Io { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), OfflineJoinError> {
    keyfile::replace_file(path, bytes)
        .map_err(|source| OfflineJoinError::Io { path: path.to_owned(), source })
}

/// `join --request`: writes what a host asks.
///
/// # Errors
/// See [`OfflineJoinError`].
pub fn ask(candidate: &Candidate, name: &str, now: Timestamp, file: &Path) -> Result<(), OfflineJoinError> {
    if !check_name(name) {
        return Err(OfflineJoinError::BadName(name.to_owned()));
    }
    let body = OfflineRequest { name: name.to_owned(), keys: candidate.keys(), at: now };
    write(file, Signed::sign(NO_FLEET, candidate.stream(), body).bytes())
}

/// Reads a request: its signature is by the stream key that it names.
///
/// # Errors
/// See [`OfflineJoinError`].
pub fn read_request(file: &Path) -> Result<OfflineRequest, OfflineJoinError> {
    let bytes = read(file, OfflineRequest::BYTES_MAX)?;
    let failed = |source| OfflineJoinError::NoRequest { path: file.to_owned(), source };
    let signed = Signed::<OfflineRequest>::verify(&bytes, NO_FLEET).map_err(failed)?;
    let body = signed.body().clone();
    if signed.signer() != body.keys.stream {
        return Err(failed(SignedError::BadSignature));
    }
    if !check_name(&body.name) {
        return Err(OfflineJoinError::BadName(body.name));
    }
    Ok(body)
}

/// What an operator gives to whom.
#[derive(Clone, Copy, Debug)]
pub struct AnswerWith<'a> {
    /// What was asked.
    pub request: &'a OfflineRequest,
    /// The tags that the host gets.
    pub tags: &'a [(String, String)],
    /// Where the answer is written.
    pub file: &'a Path,
    /// 32 random bytes.
    pub seed: &'a [u8; 32],
    /// When.
    pub now: Timestamp,
}

/// `host admit --file`: signs for the keys in a request, hands the invitation to the fleet, and writes the answer.
///
/// # Errors
/// See [`OfflineJoinError`].
pub async fn answer(
    client: &mut Client,
    operators: &Path,
    with: AnswerWith<'_>,
) -> Result<(), OfflineJoinError> {
    let AnswerWith { request, tags, file, seed, now } = with;
    let anchor = Anchor::find(client, operators)?;
    let Some(operator) = anchor.operator() else {
        return Err(OfflineJoinError::NotAnOperator { fleet: anchor.chain().genesis().name.clone() });
    };
    let (replica, _) = fleet_under(client, &anchor, false).await?;
    let host = HostId::of(&request.keys.stream);
    let taken = replica.authority().members().any(|held| held.name() == request.name || held.id() == host);
    if taken {
        return Err(OfflineJoinError::NameTaken(request.name.clone()));
    }
    let key = SecretKey::<Token>::from_seed(seed);
    let invitation = Invitation {
        certificate: operator.certificate,
        token: key.public(),
        tags: tags.to_vec(),
        uses: 1,
        approve: false,
        issued: now,
        expires: now.after(INVITATION_VALID_MAX),
    };
    replica.authority().recognise_invitation(&operator.foreseen(invitation.clone()))?;
    let Reply::Invite { shield, addresses } = client.ask(&Request::Invite {}, ANSWER_WITHIN).await? else {
        return Err(ControlError::Malformed("not the answer to an invitation".to_owned()).into());
    };
    let invitation = operator.sign(invitation)?;
    let fleet = replica.fleet();
    let enrolment =
        Enrolment { name: request.name.clone(), tags: tags.to_vec(), keys: request.keys, at: now };
    let enrolment = Signed::sign(fleet, &key, enrolment);
    let submit = Request::Submit { items: vec![Item::bare(invitation.bytes())] };
    match client.ask(&submit, ANSWER_WITHIN).await? {
        Reply::Accepted {} => {}
        _ => return Err(ControlError::Malformed("not the answer to a submission".to_owned()).into()),
    }
    let chain = replica.authority().chain();
    let answered = wire::encode(&Answered {
        fleet,
        shield,
        addresses: addresses.into_iter().take(TOKEN_ADDRESSES_MAX).collect(),
        updates: chain.updates().iter().map(|update| Bytes::from(update.bytes())).collect(),
        invitation: Bytes::from(invitation.bytes()),
        enrolment: Bytes::from(enrolment.bytes()),
        items: replica.fleet_items(false),
    });
    write(file, &wire::encode(&AnswerFile { hash: hash(&answered), answered: Bytes(answered) }))
}

/// An answer that was checked, for a person to agree to.
#[derive(Debug)]
pub struct Answer {
    answered: Answered,
    chain: RootChain,
    invitation: Signed<Invitation>,
    enrolment: Signed<Enrolment>,
}

impl Answer {
    /// The fleet's label.
    pub fn fleet_name(&self) -> &str {
        &self.chain.genesis().name
    }

    /// The fleet's id.
    pub fn fleet(&self) -> FleetId {
        self.answered.fleet
    }

    /// What the host will be called.
    pub fn name(&self) -> &str {
        &self.enrolment.body().name
    }
}

/// Reads an answer, and checks that it is for the candidate's keys.
///
/// # Errors
/// See [`OfflineJoinError`].
pub fn read_answer(file: &Path, candidate: &Candidate) -> Result<Answer, OfflineJoinError> {
    let bytes = read(file, ANSWER_BYTES_MAX)?;
    let bad = |problem: String| OfflineJoinError::NoAnswer { path: file.to_owned(), problem };
    let said = |error: WireError| bad(error.to_string());
    let whole: AnswerFile = wire::decode(&bytes, ANSWER_BYTES_MAX).map_err(said)?;
    if hash(&whole.answered.0) != whole.hash {
        return Err(bad("it is not what was written".to_owned()));
    }
    let answered: Answered = wire::decode(&whole.answered.0, ANSWER_BYTES_MAX).map_err(said)?;
    let mut updates = answered.updates.iter();
    let genesis = updates.next().ok_or_else(|| bad("it has no genesis".to_owned()))?;
    let mut chain = RootChain::open(&genesis.0, answered.fleet).map_err(|error| bad(error.to_string()))?;
    for update in updates {
        chain.absorb(&update.0).map_err(|error| bad(error.to_string()))?;
    }
    let signed = |error: SignedError| bad(error.to_string());
    let invitation = Signed::<Invitation>::verify(&answered.invitation.0, answered.fleet).map_err(signed)?;
    let enrolment = Signed::<Enrolment>::verify(&answered.enrolment.0, answered.fleet).map_err(signed)?;
    if enrolment.signer() != invitation.body().token {
        return Err(bad("its parts do not belong together".to_owned()));
    }
    if enrolment.body().keys != candidate.keys() {
        return Err(OfflineJoinError::OtherHost { name: enrolment.body().name.clone() });
    }
    Ok(Answer { answered, chain, invitation, enrolment })
}

/// `join --answer`: makes the candidate a member. How many members the fleet has, as far as it is known here.
///
/// # Errors
/// See [`OfflineJoinError`].
pub fn accept(
    candidate: Candidate,
    answer: Answer,
    file: &Path,
) -> Result<(HostHome, usize), OfflineJoinError> {
    let Answer { answered, chain, invitation, enrolment } = answer;
    let bad = |problem: String| OfflineJoinError::NoAnswer { path: file.to_owned(), problem };
    let fleet = answered.fleet;
    let body =
        HostCertificate { invitation: answered.invitation.clone(), enrolment: answered.enrolment.clone() };
    let certificate = Signed::sign(fleet, candidate.stream(), body);
    let me = HostId::of(&certificate.signer());
    let mut replica = Replica::new(Authority::new(chain));
    let mut first = Vec::new();
    let own = [Item::bare(invitation.bytes()), Item::bare(certificate.bytes())];
    for item in answered.items.into_iter().chain(own) {
        let entry = Entry::verify(&item.entry.0, fleet).map_err(|error| bad(error.to_string()));
        if entry
            .and_then(|entry| replica.merge(entry, &item.facets).map_err(|why| bad(why.to_string())))
            .is_ok()
        {
            first.push(item);
        }
    }
    // What stands in it has to make this host a member by itself, whatever whoever carried it left out.
    match replica.authority().host(&me).map(Host::standing) {
        Some(Standing::Member) => {}
        Some(other) => return Err(bad(format!("{} would be {}", enrolment.body().name, other.word()))),
        None => return Err(bad("what it gives is not the operator's to give".to_owned())),
    }
    let members = replica.authority().members().count();
    let member = Member {
        fleet,
        shield: answered.shield,
        updates: answered.updates,
        certificate: Bytes::from(certificate.bytes()),
    };
    candidate.note_unannounced(&answered.addresses)?;
    Ok((candidate.admit(&member, &first)?, members))
}

/// Shows this host's certificate to a member, if its agent has met none yet: whoever joined by files is known to nobody, and
/// whoever joined by a token may not have heard where members listen. Goes on until a member has it and this host has heard
/// where one listens. Does not end.
pub async fn announce(home: MeshHome, me: HostId, net: Net, store: Store) {
    // Whoever let it in by a token knows it.
    let (mut pause, mut shown) = (ANNOUNCE_FIRST, home.unannounced().is_none());
    while let Some(addresses) = home.unannounced().or_else(|| home.unmet()) {
        let linked = net.links().borrow().keys().any(|peer| net.standing(*peer) == net::Standing::Member);
        let heard = store.read(|replica| {
            let others = replica.authority().members().map(Host::id).filter(|id| *id != me);
            others.filter_map(|id| replica.node_facet(&id)).any(|node| !node.listen().is_empty())
        });
        if shown && linked && heard {
            info!("a member knows of this host now");
            if let Err(error) = home.announced() {
                warn!(%error, "that this host is known is not noted");
                break;
            }
            continue;
        }
        // Its driver may be dialling the same member: two links at once cost both.
        if !shown || (!linked && pause > ANNOUNCE_FIRST) {
            for address in addresses.iter().filter_map(|text| text.parse::<SocketAddr>().ok()) {
                match show(me, &net, &store, address).await {
                    Ok(()) => {
                        shown = true;
                        break;
                    }
                    Err(error) => debug!(%address, error, "no member knows of this host yet"),
                }
            }
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(ANNOUNCE_EVERY);
    }
    std::future::pending::<()>().await;
}

async fn show(me: HostId, net: &Net, store: &Store, address: SocketAddr) -> Result<(), String> {
    let own = store.read(|replica| {
        let enrolled = replica.authority().host(&me)?.enrolled();
        let key = enrolled.invitation().body().token.bytes();
        Some((Bytes::from(enrolled.certificate().bytes()), key))
    });
    let (certificate, key) = own.ok_or("this host does not know itself")?;
    let peer = net.dial_unknown(address, STEP_WITHIN).await.map_err(|error| error.to_string())?;
    let mut channel = net.open::<Join>(peer, STEP_WITHIN).await.map_err(|error| error.to_string())?;
    for request in [JoinRequest::Token { key }, JoinRequest::Admit { certificate }] {
        channel.send_request(&request, STEP_WITHIN).await.map_err(|error| error.to_string())?;
        match channel.recv_reply(STEP_WITHIN).await.map_err(|error| error.to_string())? {
            Some(JoinReply::Invitation { .. }) => {}
            // What follows comes by replication as well.
            Some(JoinReply::Admitted {}) => return Ok(()),
            Some(JoinReply::Refused { why }) => return Err(why),
            Some(JoinReply::Items { .. } | JoinReply::Waits {}) | None => break,
        }
    }
    Err("it did not say that it knows this host".to_owned())
}
