//! From an order's bytes to a verdict. Pure but for the look-up of the user.

use super::{Account, Trust};
use crate::{
    authority::{AGENT_USER, Refusal, Standing},
    identity::Signed,
    replica::{BLOB_BYTES_MAX, Handed, Order},
    time::Timestamp,
};

/// What becomes of an order.
#[derive(Debug)]
pub(super) enum Verdict {
    /// To be claimed and run.
    Run {
        /// The order.
        order: Box<Signed<Order>>,
        /// Whom to become; none to stay who the executor is.
        account: Option<Account>,
        /// The program and its arguments.
        argv: Vec<Vec<u8>>,
    },
    /// Refused, and the issuer's chain verifies: it is told so, signed.
    Refuse {
        /// The order.
        order: Box<Signed<Order>>,
        /// Why.
        refusal: Refusal,
    },
    /// Not worth a signature: not an order of this fleet, or of nobody with a certificate. Why, in words.
    Drop(String),
}

/// How long the user database may take, in seconds.
const LOOKUP_SECONDS: u32 = 5;
/// Most arguments.
const ARGUMENTS_MAX: usize = 4096;

/// Judges an order at `now`.
pub(super) fn judge(handed: &Handed, trust: &Trust, now: Timestamp, root: bool) -> Verdict {
    let order = match Signed::<Order>::verify(&handed.order.0, trust.fleet()) {
        Ok(order) => order,
        Err(error) => return Verdict::Drop(error.to_string()),
    };
    let authority = trust.authority();
    let refuse = |refusal| Verdict::Refuse { order: Box::new(order.clone()), refusal };
    match authority.certificate_of(&order.body().certificate, order.signer()) {
        Ok(_) => {}
        // Whoever was stopped is told so; its orders are refused for good, whatever is lifted later.
        Err(refusal @ (Refusal::Suspended { .. } | Refusal::Revoked { .. })) => return refuse(refusal),
        Err(refusal) => return Verdict::Drop(refusal.to_string()),
    }
    let admitted = match authority.admit(order.clone()) {
        Ok(admitted) => admitted,
        Err(refusal) => return refuse(refusal),
    };
    let Some(host) = authority.host(&trust.host()) else {
        return refuse(Refusal::NotAMember("it is not known to itself"));
    };
    let why = match host.standing() {
        Standing::Member => None,
        Standing::Pending => Some("no operator has let it in yet"),
        Standing::Denied => Some("an operator turned it away"),
        Standing::Left => Some("it has left"),
        Standing::Retired => Some("an operator retired it"),
        Standing::Quarantined => Some("its token was over-used"),
        Standing::Disowned => Some("its certificate does not hold"),
        Standing::Suspended => Some("it is suspended"),
        Standing::Revoked => Some("it is revoked"),
    };
    if let Some(why) = why {
        return refuse(Refusal::NotAMember(why));
    }
    if let Err(refusal) = authority.judge(&admitted, trust.host(), handed.place.as_ref(), host, now) {
        return refuse(refusal);
    }
    let body = order.body();
    let account = match account(&body.run_as, root) {
        Ok(account) => account,
        Err(refusal) => return refuse(refusal),
    };
    let argv = body.action.argv();
    if argv.is_empty() || argv.first().is_some_and(|program| program.0.is_empty()) {
        return refuse(Refusal::Malformed("no program is named"));
    }
    if argv.len() > ARGUMENTS_MAX {
        return refuse(Refusal::TooMany { what: "arguments", limit: ARGUMENTS_MAX });
    }
    if body.action.blobs().any(|blob| blob.bytes > BLOB_BYTES_MAX) {
        return refuse(Refusal::Malformed("what is shipped with it is too long"));
    }
    let argv = argv.iter().map(|argument| argument.0.clone()).collect();
    Verdict::Run { order: Box::new(order), account, argv }
}

fn account(user: &str, root: bool) -> Result<Option<Account>, Refusal> {
    if user == AGENT_USER {
        return Ok(None);
    }
    let no_such = || Refusal::NoSuchUser { user: user.to_owned() };
    let account = Account::lookup_within(user, LOOKUP_SECONDS)
        .map_err(|error| Refusal::UsersUnknown { user: user.to_owned(), why: error.to_string() })?
        .ok_or_else(no_such)?;
    if root {
        return Ok(Some(account));
    }
    if account.uid == rustix::process::geteuid().as_raw() {
        Ok(None)
    } else {
        Err(Refusal::CannotBecome { user: user.to_owned() })
    }
}
