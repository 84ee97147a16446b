//! An order before it is signed: everything but for whom.

use std::{sync::Arc, time::Duration};

use super::{RunError, RunRequest, keepers, listing, sealing::Sealing, shipment};
use crate::{
    authority::{Host, ListError, MemberList, Verb, Want},
    identity::{EntryId, HostId, Payload as _, Signed},
    journal::{NO_CERTIFICATE, OperatorHome},
    replica::{Action, Limits, Order, Replica, Roster},
    time::Timestamp,
};

/// What is signed for the hosts of each wave.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    nonce: [u8; 16],
    certificate: EntryId,
    queue: Duration,
    selector: String,
    action: Action,
    run_as: String,
    limits: Limits,
    keepers: Vec<HostId>,
    reason: Option<String>,
    /// What makes it private, if it is.
    sealing: Option<Box<Sealing>>,
    /// The fleet's members, where there are too many for every roster to name its hosts.
    list: Option<Arc<MemberList>>,
}

impl Draft {
    /// What a person asks for, for hosts that `selector` is true for; `entry` takes the order. It is under no
    /// certificate before [`Draft::act_under`].
    ///
    /// # Errors
    /// When nothing can be sealed, where it is to be private.
    pub(super) fn new(
        request: &RunRequest,
        replica: &Replica,
        selector: String,
        entry: HostId,
        nonce: [u8; 16],
    ) -> Result<Self, RunError> {
        let sealing = request.private.then(|| Sealing::begin(request, replica)).transpose()?.map(Box::new);
        Ok(Self {
            nonce,
            certificate: NO_CERTIFICATE,
            queue: request.queue,
            selector,
            action: sealing.as_ref().map_or_else(|| shipment::action(request), |sealing| sealing.action()),
            sealing,
            run_as: request.run_as.clone(),
            limits: Limits {
                timeout_ms: u64::try_from(request.timeout.as_millis()).unwrap_or(u64::MAX),
                output_bytes_max: request.output_bytes_max,
            },
            keepers: keepers(replica, entry, &nonce),
            reason: request.reason.clone(),
            list: listing::of(replica),
        })
    }

    /// Puts it under the certificate that allows it on these hosts, all waves under the same.
    ///
    /// # Errors
    /// When the key has none.
    pub(super) fn act_under(
        &mut self,
        home: &OperatorHome,
        replica: &Replica,
        hosts: &[HostId],
        now: Timestamp,
    ) -> Result<(), RunError> {
        let on: Vec<&Host> = hosts.iter().filter_map(|id| replica.authority().host(id)).collect();
        let want = Want { run_as: Some(&self.run_as), on: &on, ..Want::of(Verb::Run, now) };
        self.certificate = home.under(&want)?;
        Ok(())
    }

    /// What is to be done; of a private one in the open.
    pub(super) fn action(&self) -> &Action {
        &self.action
    }

    /// What makes it private, if it is.
    pub(super) fn sealing(&self) -> Option<&Sealing> {
        self.sealing.as_deref()
    }

    /// The list that long rosters mark hosts of.
    pub(super) fn list(&self) -> Option<&MemberList> {
        self.list.as_deref()
    }

    /// Takes from an order what it said; its reason too, unless there is another.
    ///
    /// # Errors
    /// When it is private, and was not ordered from here.
    pub(super) fn as_in(
        &mut self,
        old: &Order,
        home: &OperatorHome,
        replica: &Replica,
        has_reason: bool,
    ) -> Result<(), RunError> {
        self.selector.clone_from(&old.selector);
        let sealing = old.private().map(|private| Sealing::as_in(private, home, replica)).transpose()?;
        self.action = sealing.as_ref().map_or_else(|| old.action.clone(), Sealing::action);
        self.sealing = sealing.map(Box::new);
        self.run_as.clone_from(&old.run_as);
        self.limits = old.limits;
        if !has_reason {
            self.reason.clone_from(&old.reason);
        }
        Ok(())
    }

    /// The order for `hosts` as it would be signed, to be judged before anybody is asked.
    ///
    /// # Errors
    /// When it is longer than an order may be.
    pub(super) fn foreseen(
        &self,
        home: &OperatorHome,
        hosts: &[HostId],
        now: Timestamp,
    ) -> Result<Signed<Order>, RunError> {
        fits(home.foreseen(self.order(0, hosts, now)?))
    }

    /// Signs it for `hosts`, in order of ids. A wave's order has its own nonce.
    ///
    /// # Errors
    /// When it is longer than an order may be, or the key did not sign.
    pub(super) fn sign(
        &self,
        home: &OperatorHome,
        wave: usize,
        hosts: &[HostId],
        now: Timestamp,
    ) -> Result<Signed<Order>, RunError> {
        let mut order = self.order(wave, hosts, now)?;
        if let Some(sealing) = &self.sealing {
            sealing.seal(&mut order)?;
            // The order goes nowhere before that which reads what comes of it is kept.
            home.keep_private(&sealing.job)?;
        }
        fits(home.sign(order)?)
    }

    fn order(&self, wave: usize, hosts: &[HostId], now: Timestamp) -> Result<Order, RunError> {
        let list = || self.list.clone().ok_or(ListError::Length(hosts.len()));
        let roster = Roster::of(hosts, list).map_err(|error| RunError::Usage {
            problem: format!("{} hosts cannot be put in one order: {error}", hosts.len()),
            hint: "give it to fewer at a time: write a narrower target".to_owned(),
        })?;
        Ok(Order {
            nonce: self.nonce_of(wave),
            certificate: self.certificate,
            issued: now,
            expires: now.after(self.queue),
            selector: self.selector.clone(),
            roster,
            action: self.action.clone(),
            run_as: self.run_as.clone(),
            limits: self.limits,
            keepers: self.keepers.clone(),
            reason: self.reason.clone(),
        })
    }

    /// The first wave's is the one that was drawn; the others follow from it.
    fn nonce_of(&self, wave: usize) -> [u8; 16] {
        if wave == 0 { self.nonce } else { wave_nonce(&self.nonce, wave) }
    }
}

fn fits(order: Signed<Order>) -> Result<Signed<Order>, RunError> {
    let bytes = order.bytes().len();
    if bytes > Order::BYTES_MAX {
        return Err(RunError::Usage {
            problem: format!("the order is {bytes} bytes, where {} may be", Order::BYTES_MAX),
            hint: "put what is long in a file that the command reads".to_owned(),
        });
    }
    Ok(order)
}

/// The nonce of a later wave, counted from 0. By it whoever holds the orders knows that they are one job.
pub(super) fn wave_nonce(first: &[u8; 16], wave: usize) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_derive_key("muster/wave/v1");
    hasher.update(first).update(&(wave as u64).to_be_bytes());
    let mut nonce = [0; 16];
    hasher.finalize_xof().fill(&mut nonce);
    nonce
}
