//! Orders that no operator signed, handed to an agent as a command line would.

use super::{
    super::{Trouble, file::Forgery},
    fleet::{FLEET, STEP_WITHIN, World},
};
use crate::{
    control::{Client, ControlError, Request},
    identity::{Operator, SecretKey, Signed},
    journal::{HostHome, MeshHome, OperatorHome},
    node::clock,
    replica::{Action, Item, Limits, Order, Roster},
    wire::Bytes,
};

impl World<'_> {
    /// Hands a forged order over. It is an error when the agent takes it; how it refused otherwise.
    pub(super) async fn forge(
        &mut self,
        how: Forgery,
        at: &str,
        hosts: &[String],
    ) -> Result<String, Trouble> {
        let failed = |error: &dyn std::fmt::Display| Trouble::new(format!("no order can be forged: {error}"));
        let operator =
            OperatorHome::open(&self.desk.operators().join(FLEET)).map_err(|error| failed(&error))?;
        let mut ids = Vec::new();
        for host in hosts {
            let home = HostHome::open(&self.desk.dir.join(host)).map_err(|error| failed(&error))?;
            ids.push(home.host().map_err(|error| failed(&error))?);
        }
        ids.sort_unstable();
        let mut drawn = [0; 32];
        getrandom::fill(&mut drawn).map_err(|error| failed(&error))?;
        let mut nonce = [0; 16];
        nonce.iter_mut().zip(drawn).for_each(|(to, from)| *to = from);
        let counted = self.values.get("counted").cloned().unwrap_or_default();
        let now = clock::now();
        let order = Order {
            nonce,
            certificate: operator.certificate,
            issued: now,
            expires: now.after(std::time::Duration::from_secs(3600)),
            selector: "all".to_owned(),
            roster: Roster::Inline { hosts: ids.clone() },
            action: Action::Argv { argv: vec![Bytes::from(counted.as_bytes())] },
            run_as: "@agent".to_owned(),
            limits: Limits { timeout_ms: 60_000, output_bytes_max: 1 << 20 },
            keepers: ids.into_iter().take(1).collect(),
            reason: None,
        };
        let fleet = operator.chain.fleet();
        let bytes = match how {
            Forgery::UnknownKey => {
                Signed::sign(fleet, &SecretKey::<Operator>::from_seed(&drawn), order).bytes().to_vec()
            }
            Forgery::HostKey => {
                let home = MeshHome::at(&self.desk.dir.join(at).join("mesh"));
                let key = home.stream_key().map_err(|error| failed(&error))?;
                Signed::sign(fleet, &SecretKey::<Operator>::from_seed(&key.seed()), order).bytes().to_vec()
            }
            Forgery::Altered => {
                let mut bytes = operator.sign(order).map_err(|error| failed(&error))?.bytes().to_vec();
                // A letter of what it runs: all of it can still be read, and only the signature tells.
                let argv = counted.as_bytes();
                let at = bytes.windows(argv.len()).position(|window| window == argv);
                let last = at.map(|at| at + argv.len().saturating_sub(1));
                match last.and_then(|last| bytes.get_mut(last)) {
                    Some(byte) => *byte ^= 1,
                    None => return Err(failed(&"what it runs is not in its bytes")),
                }
                bytes
            }
        };
        let Some(host) = self.hosts.get(at) else { return Err(failed(&"there is no such host")) };
        let mut client = Client::connect(&host.agent.places.socket).await.map_err(|error| failed(&error))?;
        let items = vec![Item::bare(&bytes)];
        match client.ask(&Request::Submit { items }, STEP_WITHIN).await {
            Ok(_) => Err(Trouble::new(format!("{at} took an order that is forged: {how:?}"))),
            Err(error @ ControlError::Refused { .. }) => Ok(error.to_string()),
            Err(error) => Err(host.agent.failed(&format!("it did not refuse a forged order, but: {error}"))),
        }
    }
}
