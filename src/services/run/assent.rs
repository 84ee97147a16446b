//! Where an order that needs approvals stands, by what its hosts would say to it now.
//!
//! Judged from verified entries, as every host judges for itself. Values alone: it neither asks nor signs.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::view::counted;
use crate::{
    authority::{Approval, Refusal},
    identity::{HostId, Signed},
    replica::{Order, Replica},
    terminal::escape,
    time::Timestamp,
};

/// Hosts that are asked who may approve: it is a hint for people, and the same for nearly all of them.
const ASKED_WHO_MAX: usize = 32;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Assent {
    /// How many persons have to approve it.
    pub(super) needed: u8,
    /// Who did, on one host at least.
    pub(super) given: BTreeSet<String>,
    /// Who refused, and why.
    pub(super) refused: Option<(String, String)>,
    /// Who may approve it or have done so.
    pub(super) may: BTreeSet<String>,
    /// The hosts that would start it, now or once enough approve it; in order of ids.
    pub(super) reached: BTreeSet<HostId>,
    /// Those of them that wait for approval.
    pub(super) waiting: BTreeSet<HostId>,
    /// The others, and why they refuse it.
    pub(super) refusals: Vec<(HostId, Refusal)>,
}

impl Assent {
    /// Where `order`, for `hosts`, stands; nothing if it needs no approval. `said` is what was said on it besides what
    /// the replica holds.
    pub(super) fn of(
        replica: &Replica,
        order: &Signed<Order>,
        hosts: &[HostId],
        said: &[Signed<Approval>],
        now: Timestamp,
    ) -> Option<Self> {
        let authority = replica.authority();
        let order = authority.admit_to_keep(order.clone()).ok()?;
        let needed = authority.approvals_needed(&order);
        if needed == 0 {
            return None;
        }
        let mut approvals = replica.approvals(&order.signed().id());
        approvals.extend_from_slice(said);
        let mut assent = Self {
            needed,
            given: BTreeSet::new(),
            refused: None,
            may: BTreeSet::new(),
            reached: BTreeSet::new(),
            waiting: BTreeSet::new(),
            refusals: Vec::new(),
        };
        for (at, id) in hosts.iter().enumerate() {
            let Some(host) = authority.host(id) else {
                assent.refusals.push((*id, Refusal::NotAMember("not known")));
                continue;
            };
            match authority.judge_meant(&order, host, &approvals, now) {
                Ok(_) => {
                    assent.reached.insert(*id);
                }
                Err(Refusal::NeedsApproval { .. }) => {
                    assent.reached.insert(*id);
                    assent.waiting.insert(*id);
                }
                Err(refusal) => {
                    if let Refusal::NotApproved { by, reason } = &refusal {
                        assent.refused = Some((by.clone(), reason.clone()));
                    }
                    assent.refusals.push((*id, refusal));
                }
            }
            if at < ASKED_WHO_MAX {
                assent.may.extend(authority.approvers(&order, host, now).into_iter().map(str::to_owned));
            }
            let given = approvals.iter().filter(|approval| approval.body().given);
            let voices = given.filter_map(|approval| authority.voice(&order, approval, host, now));
            assent.given.extend(voices.map(str::to_owned));
        }
        Some(assent)
    }

    /// The word for it.
    pub(super) fn state(&self) -> &'static str {
        if self.refused.is_some() {
            "refused"
        } else if !self.waiting.is_empty() {
            "waiting"
        } else if self.reached.is_empty() {
            "void"
        } else {
            "approved"
        }
    }

    /// `waiting for approval (0 of 1)`.
    pub(super) fn waits(&self) -> String {
        format!("waiting for approval ({} of {})", self.given.len(), self.needed)
    }

    /// Of whom it waits for approval: `1 of: ana, cem`.
    pub(super) fn of_whom(&self) -> String {
        let missing = usize::from(self.needed).saturating_sub(self.given.len()).max(1);
        let may: Vec<&str> = self.may.difference(&self.given).map(String::as_str).collect();
        if may.is_empty() {
            return format!("{missing}, and nobody else may approve it");
        }
        format!("{missing} of: {}", escape::line(&may.join(", ")))
    }

    /// Who approved or refused it, and who may.
    pub(super) fn lines(&self) -> Vec<String> {
        let names = |names: &BTreeSet<String>| {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            escape::line(&names.join(", "))
        };
        let mut lines = Vec::new();
        if !self.given.is_empty() {
            lines.push(format!("approved by {}", names(&self.given)));
        }
        match &self.refused {
            Some((by, reason)) if reason.is_empty() => {
                lines.push(format!("refused  by {}", escape::line(by)));
            }
            Some((by, reason)) => {
                lines.push(format!("refused  by {}: {}", escape::line(by), escape::line(reason)));
            }
            None if self.waiting.is_empty() => {}
            None => lines.push(format!("waits    for approval by {}", self.of_whom())),
        }
        lines
    }

    /// The same for scripts.
    pub(super) fn document(&self) -> Value {
        json!({
            "state": self.state(),
            "needed": self.needed,
            "given": self.given,
            "refused_by": self.refused.as_ref().map(|(by, _)| by),
            "may": self.may,
        })
    }

    /// How many hosts it reaches of those that it is for.
    pub(super) fn reach(&self) -> String {
        let all = self.reached.len() + self.refusals.len();
        format!("{} of {}", self.reached.len(), counted(all))
    }
}
