//! Inviting: an operator signs for a new key, and that key goes into a token.

use std::{net::SocketAddr, time::Duration};

use crate::{
    authority::{Authority, Invitation, Refusal},
    control::{Client, ControlError, Reply, Request},
    identity::{JoinToken, SecretKey, Signed, TOKEN_ADDRESSES_MAX, Token},
    journal::{OperatorError, OperatorHome},
    replica::Item,
    time::Timestamp,
};

/// How long an agent may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Most hosts that one token may admit.
const USES_MAX: u32 = 10_000;

/// What the token allows.
#[derive(Clone, Debug)]
pub struct InviteRequest {
    /// The tags that joiners get unless they ask for fewer.
    pub tags: Vec<(String, String)>,
    /// How many hosts may redeem it.
    pub uses: u32,
    /// Whether each host waits until an operator has seen it.
    pub approve: bool,
    /// How long it works.
    pub valid: Duration,
    /// Where to find members; empty: where the agent says that members listen.
    pub addresses: Vec<SocketAddr>,
}

/// A token, as it was handed to the fleet.
#[derive(Debug)]
pub struct Invited {
    /// What to give to the joiner.
    pub token: JoinToken,
    /// What stands for it in the replica.
    pub invitation: Signed<Invitation>,
}

/// Why no token was made. The fleet knows of none, unless the agent went away while it was handed over.
#[derive(Debug, thiserror::Error)]
pub enum InviteError {
    /// Not a number of uses.
    #[error("a token admits 1 to {USES_MAX} hosts, not {0}")]
    Uses(u32),
    /// Over before it begins.
    #[error("a token must work for some time")]
    NoTime,
    /// Two values of one key.
    #[error("the tag {0} is given twice")]
    TagTwice(String),
    /// More addresses than fit.
    #[error("a token has room for {TOKEN_ADDRESSES_MAX} addresses, not {0}")]
    Addresses(usize),
    /// No address is known.
    #[error("no member is known to listen, so a joiner could not find the fleet")]
    NobodyListens,
    /// The operator's certificate does not allow it.
    #[error("not permitted: {0}")]
    Refused(#[from] Refusal),
    /// The operator's key did not sign.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// The agent.
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// Makes a token: signs the invitation and hands it to the fleet. `seed` is 32 random bytes.
///
/// # Errors
/// See [`InviteError`].
pub async fn invite(
    client: &mut Client,
    operator: &OperatorHome,
    request: &InviteRequest,
    seed: &[u8; 32],
    now: Timestamp,
) -> Result<Invited, InviteError> {
    check(request)?;
    let Reply::Invite { shield, addresses: known } = client.ask(&Request::Invite {}, ANSWER_WITHIN).await?
    else {
        return Err(ControlError::Malformed("not the answer to an invitation".to_owned()).into());
    };
    let addresses = if request.addresses.is_empty() {
        let read = known.iter().filter_map(|text| text.parse::<SocketAddr>().ok());
        read.filter(|address| !address.ip().is_unspecified()).take(TOKEN_ADDRESSES_MAX).collect()
    } else {
        request.addresses.clone()
    };
    if addresses.is_empty() {
        return Err(InviteError::NobodyListens);
    }
    let key = SecretKey::<Token>::from_seed(seed);
    // The token says whole seconds; the invitation must not outlive it.
    let expires = Timestamp(now.after(request.valid).0 / 1000 * 1000);
    let invitation = Invitation {
        certificate: operator.certificate,
        token: key.public(),
        tags: request.tags.clone(),
        uses: request.uses,
        approve: request.approve,
        issued: now,
        expires,
    };
    let authority = Authority::new(operator.chain.clone());
    authority.recognise_invitation(&operator.foreseen(invitation.clone()))?;
    let invitation = operator.sign(invitation)?;
    let submit = Request::Submit { items: vec![Item::bare(invitation.bytes())] };
    match client.ask(&submit, ANSWER_WITHIN).await? {
        Reply::Accepted {} => {}
        _ => return Err(ControlError::Malformed("not the answer to a submission".to_owned()).into()),
    }
    let token = JoinToken { fleet: operator.chain.fleet(), shield, key, expires, addresses };
    Ok(Invited { token, invitation })
}

fn check(request: &InviteRequest) -> Result<(), InviteError> {
    if request.uses == 0 || request.uses > USES_MAX {
        return Err(InviteError::Uses(request.uses));
    }
    if request.valid < Duration::from_secs(1) {
        return Err(InviteError::NoTime);
    }
    for (at, (key, _)) in request.tags.iter().enumerate() {
        if request.tags.iter().take(at).any(|(earlier, _)| earlier == key) {
            return Err(InviteError::TagTwice(key.clone()));
        }
    }
    if request.addresses.len() > TOKEN_ADDRESSES_MAX {
        return Err(InviteError::Addresses(request.addresses.len()));
    }
    Ok(())
}
