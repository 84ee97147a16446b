//! Orders and tags that no operator signed, handed to an agent as a command line would.

use super::{
    super::{Trouble, file::Forgery},
    fleet::{FLEET, STEP_WITHIN, World},
};
use crate::{
    authority::{Op, OpAction, TagChange},
    control::{Client, ControlError, Request},
    identity::{HostId, Operator, Payload, SecretKey, Signed, WriterId},
    journal::{HostHome, MeshHome, OperatorHome},
    node::clock,
    replica::{Action, Item, Limits, Order, Roster},
    time::Hlc,
    wire::Bytes,
};

impl World<'_> {
    /// Hands a forged order over, or forged tags. It is an error when the agent takes one; how it refused otherwise.
    pub(super) async fn forge(
        &mut self,
        how: Forgery,
        tag: Option<&(String, String)>,
        at: &str,
        hosts: &[String],
    ) -> Result<String, Trouble> {
        let mut ids = Vec::new();
        for host in hosts {
            let home = HostHome::open(&self.desk.dir.join(host)).map_err(|error| failed(&error))?;
            ids.push(home.host().map_err(|error| failed(&error))?);
        }
        ids.sort_unstable();
        let entries = if let Some((key, value)) = tag {
            ids.into_iter()
                .map(|host| self.forged(how, at, value, tagged(host, key, value)?))
                .collect::<Result<Vec<_>, _>>()?
        } else {
            let runs = self.values.get("counted").cloned().unwrap_or_default();
            vec![self.forged(how, at, &runs, order(ids, &runs)?)?]
        };
        let Some(host) = self.hosts.get(at) else { return Err(failed(&"there is no such host")) };
        let mut why = String::new();
        for entry in entries {
            let mut client =
                Client::connect(&host.agent.places.socket).await.map_err(|error| failed(&error))?;
            let items = vec![Item::bare(&entry)];
            match client.ask(&Request::Submit { items }, STEP_WITHIN).await {
                Ok(_) => return Err(Trouble::new(format!("{at} took what is forged: {how:?}"))),
                Err(error @ ControlError::Refused { .. }) => why = error.to_string(),
                Err(error) => {
                    return Err(host
                        .agent
                        .failed(&format!("it did not refuse what is forged, but: {error}")));
                }
            }
        }
        Ok(why)
    }

    /// What is signed as it says, under the operator's certificate. `word` stands in it, for who alters that.
    fn forged<T: Payload<Signer = Operator>>(
        &self,
        how: Forgery,
        at: &str,
        word: &str,
        under: impl FnOnce(&OperatorHome) -> T,
    ) -> Result<Vec<u8>, Trouble> {
        let operator =
            OperatorHome::open(&self.desk.operators().join(FLEET)).map_err(|error| failed(&error))?;
        let (fleet, content) = (operator.chain.fleet(), under(&operator));
        let by = |seed: &[u8; 32], content: T| {
            Signed::sign(fleet, &SecretKey::<Operator>::from_seed(seed), content).bytes().to_vec()
        };
        Ok(match how {
            Forgery::UnknownKey => by(&drawn()?, content),
            Forgery::HostKey => {
                let home = MeshHome::at(&self.desk.dir.join(at).join("mesh"));
                by(&home.stream_key().map_err(|error| failed(&error))?.seed(), content)
            }
            Forgery::Altered => {
                let mut bytes = operator.sign(content).map_err(|error| failed(&error))?.bytes().to_vec();
                // The last letter of a word: all of it can still be read, and only the signature tells.
                let word = word.as_bytes();
                let at = bytes.windows(word.len().max(1)).position(|window| window == word);
                let last = at.map(|at| at + word.len().saturating_sub(1));
                match last.and_then(|last| bytes.get_mut(last)) {
                    Some(byte) => *byte ^= 1,
                    None => return Err(failed(&"what it says is not in its bytes")),
                }
                bytes
            }
        })
    }
}

fn failed(error: &dyn std::fmt::Display) -> Trouble {
    Trouble::new(format!("nothing can be forged: {error}"))
}

fn drawn() -> Result<[u8; 32], Trouble> {
    let mut drawn = [0; 32];
    getrandom::fill(&mut drawn).map_err(|error| failed(&error))?;
    Ok(drawn)
}

/// Sixteen bytes that no other has.
fn nonce() -> Result<[u8; 16], Trouble> {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(|error| failed(&error))?;
    Ok(nonce)
}

fn order(hosts: Vec<HostId>, runs: &str) -> Result<impl FnOnce(&OperatorHome) -> Order, Trouble> {
    let (nonce, now) = (nonce()?, clock::now());
    let argv = vec![Bytes::from(runs.as_bytes())];
    Ok(move |operator: &OperatorHome| Order {
        nonce,
        certificate: operator.certificate,
        issued: now,
        expires: now.after(std::time::Duration::from_secs(3600)),
        selector: "all".to_owned(),
        roster: Roster::Inline { hosts: hosts.clone() },
        action: Action::Argv { argv },
        run_as: "@agent".to_owned(),
        limits: Limits { timeout_ms: 60_000, output_bytes_max: 1 << 20 },
        keepers: hosts.into_iter().take(1).collect(),
        reason: None,
    })
}

fn tagged(host: HostId, key: &str, value: &str) -> Result<impl FnOnce(&OperatorHome) -> Op, Trouble> {
    let (writer, now) = (WriterId(nonce()?), clock::now());
    let change = TagChange { key: key.to_owned(), value: Some(value.to_owned()) };
    Ok(move |operator: &OperatorHome| Op {
        writer,
        sequence: 0,
        previous: None,
        at: Hlc::default().next(now),
        certificate: operator.certificate,
        supersedes: Vec::new(),
        action: OpAction::Tag { host, changes: vec![change] },
    })
}
