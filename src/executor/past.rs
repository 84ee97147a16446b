//! What this executor did and forgot: its directory was restored from an older copy, or cloned.
//!
//! The mesh process hears of that from peers, and can only take away here: a result counts if this executor's own
//! key signed it, and what it is told of a restoration refuses orders that were issued before now, which a mesh
//! process could withhold as well.

use super::agent::{Executor, log};
use crate::{
    identity::{self, Signed},
    journal::Claimed,
    replica::{AuditEvent, Order, ResultRecord},
    time::{SKEW_MAX, Timestamp},
    wire::Bytes,
};

impl Executor {
    /// Takes back a result that this executor signed and does not know of: the order was run, and never is again.
    pub(super) fn adopt(&mut self, order: &Bytes, record: &Bytes) {
        let result = Signed::<ResultRecord>::verify(&record.0, self.trust.fleet());
        // An order's id binds all that it says: whoever brings other bytes brings another order.
        let (Ok(result), Ok(header), Ok(body)) =
            (result, identity::peek(&order.0), Signed::<Order>::own(&order.0))
        else {
            return self.count("adoptions_refused");
        };
        let said = result.body();
        if result.signer() != self.key.public() || said.order != header.id || said.host != self.trust.host() {
            return self.count("adoptions_refused");
        }
        let id = header.id;
        if self.claims.claimed_at(&id.0).is_some() || self.owed.contains_key(&id) {
            return;
        }
        let event = AuditEvent::Recovered { order: id, result: result.id() };
        match self.claim(id, body.expires, said.started, Some(event)) {
            Ok(Claimed::New) => {
                self.count("orders_recovered");
                log(&format!("order {id} was run here before this state was restored; it is not run again"));
                // Without it the order is indeterminate, and not run either. Whoever kept it has it.
                match self.claims.finish(id.0, result.bytes(), None) {
                    Ok(()) => self.claims.settle(id.0),
                    Err(error) => log(&format!("the result of {id} cannot be recorded: {error}")),
                }
            }
            Ok(Claimed::Already | Claimed::BelowFloor) => {}
            Err(error) => {
                self.complain("adoptions_failed", &format!("order {id} cannot be claimed: {error}"));
            }
        }
    }

    /// Refuses from now on what was issued before `before`, at most what can have been issued by now.
    pub(super) fn restored(&mut self, before: Timestamp) {
        let now = (self.clock)();
        let before = before.min(now.after(SKEW_MAX));
        if before <= self.claims.restored_before() {
            return;
        }
        let record = self.audited(now, AuditEvent::Restored { before });
        match self.claims.restore(before, Some(record.bytes())) {
            Ok(()) => {
                self.audit.append(&record);
                self.count("restorations");
                log("this host's state is an older copy: what was ordered before now is not run any more");
            }
            Err(error) => self.complain("restorations_failed", &format!("it cannot be recorded: {error}")),
        }
    }
}
