//! What a scenario file says, once it was read: a fleet, steps, and what holds throughout.

use std::{collections::BTreeMap, time::Duration};

use super::expect::Expect;
use crate::time::Timestamp;

/// Hosts of a scenario.
pub(super) const HOSTS_MAX: usize = 64;
/// Steps of a scenario.
pub(super) const STEPS_MAX: usize = 256;
/// Checks that hold throughout.
pub(super) const ALWAYS_MAX: usize = 16;
/// Longest file, in bytes.
pub const FILE_BYTES_MAX: u64 = 256 * 1024;

/// A whole file.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// The file's name, without folder and ending.
    pub name: String,
    /// One sentence: what it shows.
    pub about: String,
    /// How many root keys govern, and how many there are; one alone without.
    pub roots: Option<String>,
    /// The hosts, in the file's order.
    pub hosts: Vec<HostPlan>,
    /// Machines that are no hosts, at which command lines are typed all the same.
    pub operators: Vec<String>,
    /// Which segments those of each segment can dial, their own besides. Empty: all of them.
    pub reaches: BTreeMap<String, Vec<String>>,
    /// What is done, one after the other.
    pub steps: Vec<Step>,
    /// What holds after every step and while one waits.
    pub always: Vec<Always>,
}

/// One host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPlan {
    /// Its name.
    pub name: String,
    /// Its first tags.
    pub tags: Vec<String>,
    /// The segment that it is in.
    pub segment: Option<String>,
    /// Whether it can be dialled.
    pub listens: bool,
    /// How much its disk holds, in MiB; without it, as much as there is.
    pub disk_mib: Option<u32>,
    /// What is installed on it at first, and in which version.
    pub packages: BTreeMap<String, String>,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// A sentence for people.
    pub name: Option<String>,
    /// The line of the file.
    pub line: usize,
    /// Whether the simulator plays it too.
    pub simulated: bool,
    /// What is done.
    pub act: Act,
}

/// Which links are meant: those between hosts of different groups.
pub type Groups = Vec<Vec<String>>;

/// What a link does to bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slow {
    /// How long each byte takes, one way.
    pub delay: Duration,
    /// At most so many bytes a second, each way; 0 for any number.
    pub rate: u64,
    /// How many of a hundred pieces have to be sent again.
    pub loss: u8,
}

/// What a clock shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The right time.
    Right,
    /// The right time and so many milliseconds, which may be less than 0.
    Off(i64),
    /// This time, from now on.
    At(Timestamp),
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Every host that runs knows all members, and finds all that run up.
    Linked,
    /// All that run hold the same.
    Agree,
    /// All hosts of an order have answered that they did it, as `at` tells.
    Answered {
        /// The order, by the name that the file gave it.
        order: String,
        /// Who is asked.
        at: String,
    },
}

/// How an order or a tag is forged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// Signed by a key that nobody knows, under the operator's certificate.
    UnknownKey,
    /// Signed by the stream key of the host that it is handed to.
    HostKey,
    /// Signed by the operator, and one bit of what it runs, or of the tag's value, turned over.
    Altered,
}

/// What is done in a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Hosts become members and are started; the first of all founds the fleet.
    Enrol {
        /// Which.
        hosts: Vec<String>,
        /// Who invites them; without it, a member that they can reach.
        via: Option<String>,
    },
    /// Agents are started.
    Start(Vec<String>),
    /// Agents end as a service manager ends them.
    Stop(Vec<String>),
    /// Both processes get SIGKILL, and all that they started.
    Kill(Vec<String>),
    /// Both processes get SIGSTOP.
    Freeze(Vec<String>),
    /// They go on.
    Thaw(Vec<String>),
    /// Disks that have a size are filled to the last byte.
    Fill(Vec<String>),
    /// They have room again.
    Free(Vec<String>),
    /// State directories are copied as they are at this moment, to be put back.
    Snapshot(Vec<String>),
    /// They are put back, of hosts that do not run.
    Restore(Vec<String>),
    /// A copy of a host's state directory is started as if it were another machine.
    Clone {
        /// Whose.
        of: String,
        /// Which planned host it is played by.
        host: String,
    },
    /// Hosts leave the fleet.
    Remove(Vec<String>),
    /// Links are cut.
    Cut {
        /// Which.
        groups: Groups,
        /// Whether both ends hear nothing of it, as of a cable that was pulled out.
        silent: bool,
    },
    /// Links are as they were at first: these, or all.
    Heal(Option<Groups>),
    /// Links become slow.
    Slow {
        /// Which.
        groups: Groups,
        /// How.
        slow: Slow,
    },
    /// Clocks are set: of hosts that are off, and of machines that are none.
    Clock {
        /// Which.
        machines: Vec<String>,
        /// What they show from now on.
        to: Clock,
    },
    /// A package is installed or upgraded.
    Install {
        /// Where.
        host: String,
        /// What.
        package: String,
        /// In which version.
        version: String,
    },
    /// A command line is run once and must say what is expected.
    Run(Command),
    /// A command line is run at each of these hosts until it says what is expected.
    Check(Command),
    /// A command line is started and goes on.
    Begin {
        /// What.
        command: Command,
        /// What it is called.
        called: String,
    },
    /// A command line that was begun ends as expected.
    Ends {
        /// Which.
        called: String,
        /// How.
        expect: Expect,
        /// Within which time.
        within: Duration,
    },
    /// Something comes true.
    Wait {
        /// What.
        wait: Wait,
        /// Within which time.
        within: Duration,
    },
    /// How often an order was started on which host: these and no others.
    Spawns {
        /// The order, by the name that the file gave it; all orders without one.
        order: Option<String>,
        /// How often where.
        counts: BTreeMap<String, u64>,
        /// Within which time.
        within: Duration,
    },
    /// An order that no operator signed, or a tag, is handed to an agent, which must refuse it.
    Forge {
        /// How it is forged.
        how: Forgery,
        /// The tag, if it is no order.
        tag: Option<(String, String)>,
        /// Whose agent.
        at: String,
        /// Whom it is for.
        hosts: Vec<String>,
    },
}

/// A command line, where, and what it says.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// At which hosts' agents, or at which machines that are no hosts, one after the other.
    pub at: Vec<String>,
    /// Whose key it uses, an operator's with a machine of their own; at a host, the founder's without.
    pub by: Option<String>,
    /// As it is written, for people.
    pub text: String,
    /// Its words; the first is `muster`.
    pub words: Vec<String>,
    /// What it must say.
    pub expect: Expect,
    /// Within which time.
    pub within: Duration,
    /// The name for the order that it gives, by which other steps know it.
    pub order: Option<String>,
    /// Names for what stands at places of the JSON that it prints.
    pub save: BTreeMap<String, String>,
}

/// What holds throughout.
#[derive(Clone, Debug, PartialEq)]
pub struct Always {
    /// A sentence for people.
    pub name: Option<String>,
    /// The line of the file.
    pub line: usize,
    /// What it is.
    pub check: AlwaysCheck,
}

/// What holds throughout.
#[derive(Clone, Debug, PartialEq)]
pub enum AlwaysCheck {
    /// No host has started an order more often than this.
    SpawnsMax(u64),
    /// A command line says this wherever it is asked and an agent runs.
    Command(Box<Command>),
}

impl Scenario {
    /// The plan of a host.
    pub fn host(&self, name: &str) -> Option<&HostPlan> {
        self.hosts.iter().find(|host| host.name == name)
    }

    /// Whether one host can dial another, by what the file says of segments and addresses.
    pub fn reaches(&self, from: &str, to: &str) -> bool {
        let (Some(from), Some(to)) = (self.host(from), self.host(to)) else { return false };
        if !to.listens {
            return false;
        }
        let (Some(from), Some(to)) = (&from.segment, &to.segment) else { return true };
        from == to || self.reaches.get(from).is_some_and(|reached| reached.contains(to))
    }

    /// Whether a clock is set in it.
    pub fn has_wrong_clocks(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.act, Act::Clock { .. }))
    }

    /// The first reason why links must be told apart by who dials: without one, bytes may pass unasked.
    pub fn tells_links_apart(&self) -> Option<&'static str> {
        if !self.reaches.is_empty() {
            return Some("segments");
        }
        self.steps.iter().find_map(|step| match step.act {
            Act::Cut { .. } => Some("links that are cut"),
            Act::Slow { .. } => Some("links that are slow"),
            _ => None,
        })
    }
}
