//! The joiner's side: it trusts the fleet id in its token and nothing else.

use std::{net::SocketAddr, time::Duration};

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::message::{Join, JoinReply, JoinRequest, VOUCHING_MAX};
use crate::{
    authority::{
        Authority, Enrolled, Enrolment, Host, HostCertificate, Invitation, NAME_CHARS_MAX, Standing,
        check_name,
    },
    identity::{HostId, JoinToken, Signed},
    journal::{Candidate, HostHome, HostHomeError, Member},
    net::{self, Channel, Net, NetError},
    replica::{Entry, Item, Merged, Replica},
    time::Timestamp,
    wire::Bytes,
};

/// How long reaching one address may take.
const DIAL_WITHIN: Duration = Duration::from_secs(15);
/// Bytes of entries that are taken over at once; what a fleet holds beyond is fetched later.
const FIRST_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How long taking them over may last.
const FIRST_WITHIN: Duration = Duration::from_secs(300);
/// How often the members are asked. One takes so many strangers at once and hangs up on the others, and machines
/// that are set up together come together.
const ROUNDS_MAX: u32 = 9;
/// How long is waited before the second round at most; twice as long before each that follows.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
/// The longest such wait.
const PAUSE_MAX: Duration = Duration::from_secs(4);
/// Characters of a member's words that are shown.
const WORDS_CHARS_MAX: usize = 300;
/// How long a member may have this host wait on one stream; it hangs up well before.
const WAITS_WITHIN: Duration = Duration::from_secs(90);
/// How long one message may take.
const WITHIN: Duration = Duration::from_secs(60);

/// Why a host could not join. Its directory keeps its keys, so that joining can be tried again.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The token was past its expiry by this machine's clock.
    #[error("the token has expired")]
    Expired,
    /// The name cannot be a host's.
    #[error(
        "{0:?} cannot be a host's name: lower-case letters, digits, inner hyphens and dots, at most {NAME_CHARS_MAX}"
    )]
    BadName(String),
    /// No address of the token answers.
    #[error("no member answers at {}", tried.iter().map(|(address, _)| address.to_string()).collect::<Vec<_>>().join(", "))]
    Unreachable {
        /// What was tried, and what came of it.
        tried: Vec<(SocketAddr, String)>,
    },
    /// Who answers cannot show that it belongs to the token's fleet.
    #[error("who answers at {address} does not belong to the token's fleet: {why}")]
    NotTheFleet {
        /// Where.
        address: SocketAddr,
        /// What it could not show.
        why: String,
    },
    /// The member said no.
    #[error("not admitted: {0}")]
    Refused(String),
    /// A member was there and hung up.
    #[error("{address} hung up: {why}")]
    HungUp {
        /// Where.
        address: SocketAddr,
        /// How.
        why: String,
    },
    /// A tag that the token does not allow.
    #[error("the token does not allow the tag {0}")]
    TagNotAllowed(String),
    /// The token's hosts are approved one by one, and nobody has let this one in yet.
    #[error("waiting for an operator of fleet {fleet_name} to let this host in")]
    Waits {
        /// The fleet's label.
        fleet_name: String,
        /// What an operator is to compare: all keys of this host, in words.
        words: String,
    },
    /// The state directory.
    #[error(transparent)]
    Home(#[from] HostHomeError),
    /// The network.
    #[error(transparent)]
    Net(#[from] NetError),
}

/// A host that joined.
#[derive(Debug)]
pub struct Joined {
    /// Its directory.
    pub home: HostHome,
    /// The fleet's label.
    pub fleet_name: String,
    /// Who admitted it.
    pub admitted_by: String,
    /// How many members the fleet has now.
    pub members: usize,
}

/// What to join with.
#[derive(Clone, Copy, Debug)]
pub struct JoinWith<'a> {
    /// The token.
    pub token: &'a JoinToken,
    /// The name that the host wants.
    pub name: &'a str,
    /// The tags it wants out of the token's; all of them if none are named.
    pub tags: &'a [(String, String)],
    /// What time it is.
    pub now: Timestamp,
    /// Whether to wait for an operator as long as the member does, rather than be told at once that it takes one.
    pub wait: bool,
}

/// What a member that admitted the host left it with.
struct Admitted {
    member: Member,
    first: Vec<Item>,
    fleet_name: String,
    by: String,
    members: usize,
}

/// Joins a fleet: connects to a member, checks that it is one, is admitted, and takes over what the fleet
/// holds. A member that hangs up is asked again for some 15 s, at times that differ between machines.
///
/// # Errors
/// See [`JoinError`].
pub async fn join(candidate: Candidate, with: JoinWith<'_>) -> Result<Joined, JoinError> {
    if !check_name(with.name) {
        return Err(JoinError::BadName(with.name.to_owned()));
    }
    if with.now > with.token.expires && !candidate.waits() {
        return Err(JoinError::Expired);
    }
    let seed = *candidate.transport().seed();
    let (net, task) = net::start(net::Settings { seed, psk: with.token.shield, lan: false })?;
    let stop = CancellationToken::new();
    let ended = stop.clone().drop_guard();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(task.run(stop));
    let mut round = 1;
    let admitted = loop {
        match ask_each(&net, &candidate, &with).await {
            Err(JoinError::HungUp { .. }) if round < ROUNDS_MAX => {
                let longest = PAUSE_FIRST.saturating_mul(1 << (round - 1)).min(PAUSE_MAX);
                sleep(part_of(longest, random())).await;
                round += 1;
            }
            Err(error @ JoinError::Waits { .. }) => {
                candidate.note_waiting()?;
                return Err(error);
            }
            other => break other?,
        }
    };
    drop(ended);
    let Admitted { member, first, fleet_name, by, members } = admitted;
    // The member that let it in may not have said yet where it listens: its agent dials these until it is known.
    let addresses: Vec<String> = with.token.addresses.iter().map(ToString::to_string).collect();
    candidate.note_unmet(&addresses)?;
    let home = candidate.admit(&member, &first)?;
    Ok(Joined { home, fleet_name, admitted_by: by, members })
}

/// Between half of `longest` and all of it.
fn part_of(longest: Duration, random: u64) -> Duration {
    let half = longest / 2;
    let more = half.as_millis().try_into().map_or(0, |half: u64| random % half.max(1));
    half + Duration::from_millis(more)
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness they come together once more, and are fewer each time.
    let _unlucky = getrandom::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// Asks the members at the token's addresses, one after the other.
async fn ask_each(net: &Net, candidate: &Candidate, with: &JoinWith<'_>) -> Result<Admitted, JoinError> {
    let mut tried = Vec::new();
    let mut worst = None;
    for &address in &with.token.addresses {
        let peer = match net.dial_unknown(address, DIAL_WITHIN).await {
            Ok(peer) => peer,
            Err(error) => {
                tried.push((address, error.to_string()));
                continue;
            }
        };
        let asked = match net.open::<Join>(peer, DIAL_WITHIN).await {
            Ok(mut channel) => admitted(&mut channel, candidate, address, peer.0, with).await,
            Err(error @ (NetError::LinkLost(_) | NetError::NotLinked(_))) => {
                Err(JoinError::HungUp { address, why: error.to_string() })
            }
            Err(error) => {
                tried.push((address, error.to_string()));
                continue;
            }
        };
        match asked {
            // Whoever answers there need not know the token yet, or be a member at all: another may.
            Err(
                error @ (JoinError::HungUp { .. } | JoinError::Refused(_) | JoinError::NotTheFleet { .. }),
            ) => worst = Some(weightier(worst, error)),
            decided => return decided,
        }
    }
    Err(worst.unwrap_or(JoinError::Unreachable { tried }))
}

/// Of two that did not admit, what is worth telling: who may yet say yes, then who said no.
fn weightier(one: Option<JoinError>, other: JoinError) -> JoinError {
    let weight = |error: &JoinError| match error {
        JoinError::HungUp { .. } => 2,
        JoinError::Refused(_) => 1,
        _ => 0,
    };
    match one {
        Some(one) if weight(&one) >= weight(&other) => one,
        _ => other,
    }
}

/// A member's words, of which it may have sent many.
fn words(why: &str) -> String {
    why.chars().take(WORDS_CHARS_MAX).collect()
}

async fn admitted(
    channel: &mut Channel<Join>,
    candidate: &Candidate,
    address: SocketAddr,
    peer: [u8; 32],
    with: &JoinWith<'_>,
) -> Result<Admitted, JoinError> {
    let &JoinWith { token, name, tags, now, wait } = with;
    let broke = |error: net::ChannelError| JoinError::HungUp { address, why: error.to_string() };
    let foreign = |why: String| JoinError::NotTheFleet { address, why };
    channel
        .send_request(&JoinRequest::Token { key: token.key.public().bytes() }, WITHIN)
        .await
        .map_err(broke)?;
    let (updates, invitation, host, vouching) = match channel.recv_reply(WITHIN).await.map_err(broke)? {
        Some(JoinReply::Invitation { updates, invitation, host, vouching }) => {
            (updates, invitation, host, vouching)
        }
        Some(JoinReply::Refused { why }) => return Err(JoinError::Refused(words(&why))),
        Some(_) => return Err(foreign("it did not answer the token".to_owned())),
        None => return Err(JoinError::HungUp { address, why: "the stream ended".to_owned() }),
    };
    // From the fleet id in the token, link by link.
    let certificate = Bytes::default();
    let mut member = Member { fleet: token.fleet, shield: token.shield, updates, certificate };
    let chain = member.chain().map_err(foreign)?;
    let fleet_name = chain.genesis().name.clone();
    let mut replica = Replica::new(Authority::new(chain));
    let mut first = Vec::new();
    for grant in member.grants().map_err(|error| foreign(error.to_string()))? {
        first.push(Item::bare(grant.bytes()));
        replica.merge(Entry::Grant(grant), &[]).map_err(|error| foreign(error.to_string()))?;
    }
    // What does not hold by itself is passed over: without it less holds, and never more.
    for bytes in vouching.iter().take(VOUCHING_MAX) {
        let entry = Entry::verify(&bytes.0, token.fleet).ok();
        let _passed_over = entry.map(|entry| replica.merge(entry, &[]));
    }
    let signed = Signed::<Invitation>::verify(&invitation.0, token.fleet)
        .map_err(|error| foreign(error.to_string()))?;
    replica.authority().recognise_invitation(&signed).map_err(|error| foreign(error.to_string()))?;
    if signed.body().token != token.key.public() {
        return Err(foreign("it answered for another token".to_owned()));
    }
    let admitter = Enrolled::verify(&host.0, token.fleet).map_err(|error| foreign(error.to_string()))?;
    if admitter.enrolment().keys.transport.bytes() != peer {
        return Err(foreign("it showed another host's certificate".to_owned()));
    }
    let admitted_by = admitter.enrolment().name.clone();
    let id = admitter.host();
    replica.merge(Entry::Host(Box::new(admitter)), &[]).map_err(|error| foreign(error.to_string()))?;
    if replica.authority().host(&id).map(Host::standing) != Some(Standing::Member) {
        return Err(foreign("it is not a member of it itself".to_owned()));
    }

    let approve = signed.body().approve;
    if now > signed.body().expires && !(approve && candidate.waits()) {
        return Err(JoinError::Expired);
    }
    let tags = if tags.is_empty() { signed.body().tags.clone() } else { tags.to_vec() };
    if let Some((key, value)) = tags.iter().find(|tag| !signed.body().tags.contains(tag)) {
        return Err(JoinError::TagNotAllowed(format!("{key}={value}")));
    }
    let enrolment = Enrolment { name: name.to_owned(), tags, keys: candidate.keys(), at: now };
    let enrolment = Signed::sign(token.fleet, &token.key, enrolment);
    let certificate = Signed::sign(
        token.fleet,
        candidate.stream(),
        HostCertificate { invitation, enrolment: Bytes::from(enrolment.bytes()) },
    );
    let certificate = Bytes::from(certificate.bytes());
    channel
        .send_request(&JoinRequest::Admit { certificate: certificate.clone() }, WITHIN)
        .await
        .map_err(broke)?;
    let waits = || JoinError::Waits { fleet_name: fleet_name.clone(), words: candidate.keys().words() };
    let mut answer = channel.recv_reply(WITHIN).await.map_err(broke)?;
    if matches!(answer, Some(JoinReply::Waits {})) {
        if !approve {
            return Err(foreign("it has this host wait, and the token does not".to_owned()));
        }
        if !wait {
            return Err(waits());
        }
        // Whatever breaks here, the host waits still.
        answer = channel.recv_reply(WAITS_WITHIN).await.map_err(|_| waits())?;
        if answer.is_none() {
            return Err(waits());
        }
    }
    match answer {
        Some(JoinReply::Admitted {}) => {}
        Some(JoinReply::Waits {}) if approve => return Err(waits()),
        Some(JoinReply::Refused { why }) => return Err(JoinError::Refused(words(&why))),
        Some(_) => return Err(foreign("it did not answer the host".to_owned())),
        None => return Err(JoinError::HungUp { address, why: "the stream ended".to_owned() }),
    }
    // Admitted: from here on nothing that breaks takes that back. What is missing is fetched later.
    first.push(Item::bare(&host.0));
    let _what_there_was = timeout(FIRST_WITHIN, take_over(channel, &mut replica, &mut first)).await;
    // Where it had been admitted before, without hearing of it, the fleet has another certificate of it.
    let mut certificate = certificate;
    if let Ok(entry) = Entry::verify(&certificate.0, token.fleet)
        && replica.merge(entry, &[]).is_ok_and(|merged| matches!(merged, Merged::New))
    {
        first.push(Item::bare(&certificate.0));
    }
    if let Some(held) = replica.authority().host(&HostId::of(&candidate.stream().public())) {
        certificate = Bytes::from(held.enrolled().certificate().bytes());
    }
    // Where operators let hosts in one by one, a member's word for that is not enough.
    let me = HostId::of(&candidate.stream().public());
    if approve && replica.authority().host(&me).map(Host::standing) == Some(Standing::Pending) {
        return Err(waits());
    }
    let members = replica.authority().members().count();
    member.certificate = certificate;
    Ok(Admitted { member, first, fleet_name, by: admitted_by, members })
}

/// Takes over what the fleet holds, as far as it holds by itself and fits: whoever sends it may be no friend.
async fn take_over(channel: &mut Channel<Join>, replica: &mut Replica, first: &mut Vec<Item>) {
    let mut bytes = 0_usize;
    while let Ok(Some(JoinReply::Items { items, more })) = channel.recv_reply(WITHIN).await {
        for item in items {
            bytes = bytes.saturating_add(item.weight());
            let new = Entry::verify(&item.entry.0, replica.fleet())
                .ok()
                .and_then(|entry| replica.merge(entry, &item.facets).ok());
            // Only what is new: the same entry again and again would fill the disk.
            if matches!(new, Some(Merged::New | Merged::Forked)) {
                first.push(item);
            }
        }
        if !more || bytes > FIRST_BYTES_MAX {
            return;
        }
    }
}
