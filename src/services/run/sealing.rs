//! Private jobs on the operator's side: what is made for one, and who can read what came of it.
//!
//! The key to what its hosts write is made for the job and stays where it was ordered: the operator's own key may be
//! one that signs and does not read. So another machine of the same person sees who did what, and not what it said.

use std::collections::BTreeMap;

use super::{RunError, RunRequest};
use crate::{
    control::StreamName,
    identity::{EntryId, FleetId, HostId, Opener, SealPublic, SealSecret},
    journal::{OperatorHome, PrivateJob},
    replica::{
        Action, Blob, Command, Order, PRIVATE_HOSTS_MAX, Private, PrivateError, Replica, output_opener,
    },
    wire::Bytes,
};

/// 32 bytes that nobody knows.
fn drawn() -> Result<[u8; 32], RunError> {
    let mut drawn = [0; 32];
    getrandom::fill(&mut drawn).map_err(|error| RunError::Terminal(std::io::Error::other(error)))?;
    Ok(drawn)
}

/// What is made for a private job.
#[derive(Clone, Debug)]
pub(super) struct Sealing {
    fleet: FleetId,
    /// What is remembered of it.
    pub(super) job: PrivateJob,
    /// What is shipped, sealed.
    shipped: Vec<Vec<u8>>,
    stdin: Option<Blob>,
    script: Option<Blob>,
    /// The keys of those who may be asked to run it.
    keys: BTreeMap<HostId, SealPublic>,
}

impl Sealing {
    /// For a job that nobody ordered before.
    pub(super) fn begin(request: &RunRequest, replica: &Replica) -> Result<Self, RunError> {
        let [reader, shipped, salt] = [drawn()?, drawn()?, drawn()?];
        let mut half = [0; 16];
        half.copy_from_slice(salt.split_at(16).0);
        let argv = request.argv.iter().map(|arg| Bytes(arg.clone())).collect();
        let command = Command { salt: half, argv, shipped: SealSecret::from_seed(&shipped) };
        let fleet = replica.fleet();
        let (mut sealed, mut blobs) = (Vec::new(), [None, None]);
        for (plain, blob) in [&request.stdin, &request.script].into_iter().zip(&mut blobs) {
            let Some(plain) = plain else { continue };
            let bytes = command.seal_shipped(&fleet, plain, &drawn()?).map_err(PrivateError::from);
            let bytes = bytes.map_err(|error| refused(&error))?;
            *blob = Some(Blob::of(&bytes));
            sealed.push(bytes);
        }
        let [stdin, script] = blobs;
        let job = PrivateJob { reader: SealSecret::from_seed(&reader), command };
        Ok(Self { fleet, job, shipped: sealed, stdin, script, keys: keys(replica) })
    }

    /// For what a private order said, if it was ordered from here.
    pub(super) fn as_in(old: &Private, home: &OperatorHome, replica: &Replica) -> Result<Self, RunError> {
        let job = home.private(&old.reader)?.ok_or_else(|| RunError::Usage {
            problem: "that job is private, and was not ordered from here: what it runs is sealed".to_owned(),
            hint: "order it where it was ordered, or anew: muster run --private …".to_owned(),
        })?;
        let (stdin, script) = (old.stdin, old.script);
        Ok(Self { fleet: replica.fleet(), job, shipped: Vec::new(), stdin, script, keys: keys(replica) })
    }

    /// Refuses more hosts than one private order can be for.
    pub(super) fn fits(hosts: usize) -> Result<(), RunError> {
        if hosts <= PRIVATE_HOSTS_MAX {
            return Ok(());
        }
        Err(RunError::Usage {
            problem: format!(
                "a private order is for at most {PRIVATE_HOSTS_MAX} hosts, since it carries a seal for each, and \
                 these are {hosts}"
            ),
            hint: format!("give it to fewer at a time: --batch {PRIVATE_HOSTS_MAX}"),
        })
    }

    /// What is to be done, in the open.
    pub(super) fn action(&self) -> Action {
        let argv = self.job.command.argv.clone();
        match (self.stdin, self.script) {
            (None, None) => Action::Argv { argv },
            (stdin, script) => Action::Shipped { argv, stdin, script },
        }
    }

    /// What was sealed to be shipped.
    pub(super) fn shipped(&self) -> impl Iterator<Item = &[u8]> {
        self.shipped.iter().map(Vec::as_slice)
    }

    /// Makes `order` private.
    pub(super) fn seal(&self, order: &mut Order) -> Result<(), RunError> {
        let private = Private {
            hash: [0; 32],
            command: Bytes::default(),
            stanzas: Vec::new(),
            reader: self.job.reader.public(),
            stdin: self.stdin,
            script: self.script,
        };
        order.action = Action::Private { private };
        let seed = drawn()?;
        let mut count = 0_u64;
        let draw = || {
            count += 1;
            *blake3::keyed_hash(&seed, &count.to_le_bytes()).as_bytes()
        };
        let sealed = order.seal(&self.fleet, &self.job.command, |host| self.keys.get(host).copied(), draw);
        sealed.map_err(|error| refused(&error))
    }
}

fn keys(replica: &Replica) -> BTreeMap<HostId, SealPublic> {
    let hosts = replica.authority().hosts();
    hosts.map(|host| (host.id(), host.enrolled().enrolment().keys.seal)).collect()
}

fn refused(error: &PrivateError) -> RunError {
    RunError::Usage {
        problem: error.to_string(),
        hint: "nothing was signed; see the hosts: muster host ls".to_owned(),
    }
}

/// How the output of a job is read.
#[derive(Clone, Debug, Default)]
pub(super) enum Opening {
    /// It is not sealed.
    #[default]
    Plain,
    /// It is sealed, and not to anybody here.
    Shut,
    /// It is sealed to this key.
    With(SealSecret, FleetId),
}

impl Opening {
    /// That of an order, without a look at what is remembered here.
    pub(super) fn unknown(order: &Order) -> Self {
        if order.private().is_some() { Self::Shut } else { Self::Plain }
    }

    /// That of an order. A file that cannot be read opens nothing.
    pub(super) fn of(order: &Order, home: &OperatorHome) -> Self {
        let Some(private) = order.private() else { return Self::Plain };
        match home.private(&private.reader) {
            Ok(Some(job)) => Self::With(job.reader, home.chain.fleet()),
            _ => Self::Shut,
        }
    }

    /// What opens one stream of one host, where it is sealed to a key that is here.
    pub(super) fn opener(&self, order: &EntryId, host: &HostId, stream: StreamName) -> Option<Opener> {
        match self {
            Self::With(secret, fleet) => {
                Some(output_opener(secret, *fleet, order, host, stream == StreamName::Stderr))
            }
            Self::Plain | Self::Shut => None,
        }
    }
}
