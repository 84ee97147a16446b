//! Plays a scenario on the simulator: the same steps, on the shipping replication in virtual time, for as many seeds
//! as one likes.
//!
//! A seed chooses the weather (delays, how late disks are) and how much time lies between steps. What the simulator
//! has not is refused with the step's place: command lines but `muster run`, what they print, packages, tags, links
//! that are slow, processes that are stopped, forged orders. A step that the file marks `simulated = false` is left
//! out, and counted. What always holds is about processes, and is not looked at.
//!
//! What it cannot show is that an order is started once: here the executor is played.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{
    Trouble,
    file::{Act, Clock, Command, Groups, HostPlan, Scenario, Step, Wait},
};
use crate::{
    identity::EntryId,
    replica::first_hour,
    simulator::{Dice, Fleet, Network},
    terminal::time::parse_duration,
};

/// How much longer things may take than on loopback, where a message takes no time.
const SLOWER: u64 = 5;
/// How long `muster run` waits for hosts that are up, in seconds of the simulated clock.
const RUN_WITHIN_S: u64 = 300;
/// Most time between two steps, in milliseconds.
const BETWEEN_MS: usize = 5_000;
/// How many hosts keep results.
const KEEPERS: usize = 3;

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Simulated {
    /// Steps that came true.
    pub steps: usize,
    /// Steps that the file leaves out here.
    pub left_out: usize,
    /// How much virtual time passed, in milliseconds.
    pub passed_ms: u64,
    /// A hash of all that was said.
    pub trace: u64,
}

/// What a `muster run` of a file asks for.
struct Run {
    roster: Vec<usize>,
    wait_s: u64,
}

/// Whether the simulator can play it.
///
/// # Errors
/// The first step that it cannot, and why.
pub fn simulable(path: &Path, scenario: &Scenario) -> Result<(), Trouble> {
    for (number, step) in scenario.steps.iter().enumerate().filter(|(_, step)| step.simulated) {
        if let Err(why) = can(scenario, number, step) {
            return Err(Trouble::usage(format!(
                "{}:{}: step {} cannot be simulated: {why}",
                path.display(),
                step.line,
                number + 1
            ))
            .hint("leave it out there with simulated = false, or play it: muster scenario run FILE"));
        }
    }
    Ok(())
}

fn can(scenario: &Scenario, number: usize, step: &Step) -> Result<(), String> {
    match &step.act {
        Act::Enrol { hosts, .. } if number > 0 || hosts.len() != scenario.hosts.len() => {
            Err("only a first step that enrols all hosts is".to_owned())
        }
        Act::Cut { groups, .. } | Act::Heal(Some(groups))
            if groups.iter().flatten().any(|name| scenario.operators.contains(name)) =>
        {
            Err("there are no machines but hosts".to_owned())
        }
        Act::Clock { machines, .. } if machines.iter().any(|name| scenario.operators.contains(name)) => {
            Err("there are no machines but hosts".to_owned())
        }
        Act::Enrol { .. }
        | Act::Clock { .. }
        | Act::Start(_)
        | Act::Stop(_)
        | Act::Kill(_)
        | Act::Cut { .. }
        | Act::Heal(_)
        | Act::Wait { .. }
        | Act::Spawns { order: Some(_), .. } => Ok(()),
        Act::Run(command) => run_of(scenario, command).map(drop),
        Act::Spawns { order: None, .. } => Err("it needs an order = \"…\"".to_owned()),
        Act::Freeze(_) | Act::Thaw(_) => Err("there are no processes to stop".to_owned()),
        Act::Fill(_) | Act::Free(_) => Err("disks have no size".to_owned()),
        Act::Snapshot(_) | Act::Restore(_) | Act::Clone { .. } => {
            Err("there are no directories to copy".to_owned())
        }
        Act::Remove(_) => Err("nobody leaves".to_owned()),
        Act::Slow { .. } => Err("links have no speed of their own".to_owned()),
        Act::Install { .. } => Err("there are no packages".to_owned()),
        Act::Check(_) | Act::Begin { .. } | Act::Ends { .. } => {
            Err("of command lines only muster run is".to_owned())
        }
        Act::Forge { .. } => Err("there is no agent to hand it to".to_owned()),
    }
}

/// What a command line orders.
fn run_of(scenario: &Scenario, command: &Command) -> Result<Run, String> {
    if command.expect.is_of_output() || !command.save.is_empty() {
        return Err("there is no output to look at".to_owned());
    }
    if command.order.is_none() || ![0, 7].contains(&command.expect.exit) {
        return Err(
            "an order has a name here, and all answer (exit 0) or some are silent (exit 7)".to_owned()
        );
    }
    let mut words = command.words.iter().skip(1).map(String::as_str).take_while(|word| *word != "--");
    if words.next() != Some("run") {
        return Err("of command lines only muster run is".to_owned());
    }
    let number = |name: &str| scenario.hosts.iter().position(|host| host.name == name);
    let mut run = Run { roster: Vec::new(), wait_s: 5 };
    while let Some(word) = words.next() {
        let hosts: Vec<usize> = match word {
            "--yes" => continue,
            "--all" => (0..scenario.hosts.len()).collect(),
            "-l" => {
                let tag = words.next().unwrap_or_default().to_owned();
                let has = |(at, host): (usize, &HostPlan)| host.tags.contains(&tag).then_some(at);
                scenario.hosts.iter().enumerate().filter_map(has).collect()
            }
            "-H" => words.next().unwrap_or_default().split(',').filter_map(number).collect(),
            "--wait" => {
                let wait =
                    parse_duration(words.next().unwrap_or_default()).map_err(|error| error.to_string())?;
                run.wait_s = wait.as_secs().max(1);
                continue;
            }
            other => return Err(format!("it does not know {other}")),
        };
        run.roster.extend(hosts);
    }
    if run.roster.is_empty() { Err("no host is named".to_owned()) } else { Ok(run) }
}

struct World<'a> {
    scenario: &'a Scenario,
    net: Network,
    dice: Dice,
    orders: BTreeMap<String, (EntryId, Vec<usize>)>,
}

/// Plays one seed of a scenario that is [`simulable`].
///
/// # Errors
/// The step that did not come true, with the command that repeats it.
pub fn simulate(path: &Path, scenario: &Scenario, seed: u64) -> Result<Simulated, Trouble> {
    let mut dice = Dice::new(seed ^ 0x5ce0);
    let mut net = Network::new(Fleet::found(scenario.hosts.len()), scenario.hosts.len(), seed);
    net.weather.jitter_ms = [5, 80, 400].get(dice.below(3)).copied().unwrap_or(80);
    net.weather.lag_ms = [200, 4_000].get(dice.below(2)).copied().unwrap_or(200);
    for (at, _) in scenario.hosts.iter().enumerate().filter(|(_, host)| !host.listens) {
        net.only_dials(at);
    }
    let mut world = World { scenario, net, dice, orders: BTreeMap::new() };
    let closed = world.closed();
    world.net.weather.holes.clone_from(&closed);
    let mut simulated = Simulated::default();
    for (number, step) in scenario.steps.iter().enumerate() {
        if !step.simulated {
            simulated.left_out += 1;
            continue;
        }
        let between = u64::try_from(world.dice.below(BETWEEN_MS)).unwrap_or(0);
        world.net.run(between);
        let done = world.act(&step.act, &closed).and_then(|()| match world.net.violations().first() {
            Some(violation) => Err(violation.clone()),
            None => Ok(()),
        });
        done.map_err(|why| {
            let name = step.name.as_ref().map_or_else(String::new, |name| format!(", \"{name}\","));
            let place = format!("step {} (line {}){name}", number + 1, step.line);
            Trouble::new(format!("{}: seed {seed}: {place} did not come true: {why}", scenario.name)).hint(
                format!(
                    "repeat it: muster scenario simulate {} --seeds {seed}..{}",
                    path.display(),
                    seed.saturating_add(1)
                ),
            )
        })?;
        simulated.steps += 1;
    }
    simulated.passed_ms = world.net.report().passed_ms;
    simulated.trace = world.net.trace();
    Ok(simulated)
}

impl World<'_> {
    /// Links that never are, by what the file says of segments.
    fn closed(&self) -> BTreeSet<(usize, usize)> {
        let hosts = &self.scenario.hosts;
        let mut closed = BTreeSet::new();
        for (a, one) in hosts.iter().enumerate() {
            for (b, other) in hosts.iter().enumerate().skip(a + 1) {
                let either = self.scenario.reaches(&one.name, &other.name)
                    || self.scenario.reaches(&other.name, &one.name);
                if !either {
                    closed.insert((a, b));
                }
            }
        }
        closed
    }

    fn number(&self, name: &str) -> usize {
        self.scenario.hosts.iter().position(|host| host.name == name).unwrap_or(0)
    }

    fn name(&self, at: usize) -> &str {
        self.scenario.hosts.get(at).map_or("", |host| host.name.as_str())
    }

    fn pairs(&self, groups: &Groups) -> Vec<(usize, usize)> {
        let mut pairs = Vec::new();
        for (at, group) in groups.iter().enumerate() {
            for other in groups.iter().skip(at + 1).flatten() {
                for one in group {
                    let (a, b) = (self.number(one), self.number(other));
                    pairs.push((a.min(b), a.max(b)));
                }
            }
        }
        pairs
    }

    fn up(&self) -> Vec<usize> {
        (0..self.scenario.hosts.len()).filter(|at| self.net.host(*at).is_up()).collect()
    }

    fn act(&mut self, act: &Act, closed: &BTreeSet<(usize, usize)>) -> Result<(), String> {
        match act {
            Act::Enrol { hosts, .. } | Act::Start(hosts) => {
                for host in hosts {
                    self.net.start(self.number(host));
                }
                Ok(())
            }
            // Its neighbours hear of the one and not of the other. Both may lose what is not on the disk yet.
            Act::Stop(hosts) | Act::Kill(hosts) => {
                for host in hosts {
                    self.net.crash(self.number(host), matches!(act, Act::Kill(_)));
                }
                Ok(())
            }
            Act::Cut { groups, silent } => {
                for (a, b) in self.pairs(groups) {
                    self.net.weather.holes.insert((a, b));
                    if !silent {
                        self.net.cut(a, b);
                    }
                }
                Ok(())
            }
            Act::Heal(groups) => {
                match groups {
                    None => self.net.weather.holes.clone_from(closed),
                    Some(groups) => {
                        for pair in self.pairs(groups) {
                            if !closed.contains(&pair) {
                                self.net.weather.holes.remove(&pair);
                            }
                        }
                    }
                }
                self.net.weather_changed();
                Ok(())
            }
            Act::Clock { machines, to } => {
                let off = match to {
                    Clock::Right => 0,
                    Clock::Off(ms) => *ms,
                    Clock::At(at) => {
                        i64::try_from(at.0).unwrap_or(i64::MAX).saturating_sub_unsigned(self.net.now().0)
                    }
                };
                for machine in machines {
                    self.net.set_clock(self.number(machine), off);
                }
                Ok(())
            }
            Act::Run(command) => self.run(command),
            Act::Wait { wait, within } => {
                let missing = match wait {
                    Wait::Linked => self.until(within.as_secs(), Self::unlinked),
                    Wait::Agree => self.until(within.as_secs(), Self::disagree),
                    Wait::Answered { order, at } => {
                        let at = self.number(at);
                        self.until(within.as_secs(), |world| world.unanswered(order, at))
                    }
                };
                missing.map_or(Ok(()), Err)
            }
            Act::Spawns { order: Some(order), counts, within } => {
                let missing = self.until(within.as_secs(), |world| world.not_spawned(order, counts));
                missing.map_or(Ok(()), Err)
            }
            _ => Err("it cannot be simulated".to_owned()),
        }
    }

    /// Lets time pass until nothing is missing; what still is at the end.
    fn until(&mut self, within_s: u64, missing: impl Fn(&Self) -> Option<String>) -> Option<String> {
        for _ in 0..within_s.saturating_mul(SLOWER) {
            missing(self)?;
            self.net.run(1_000);
        }
        missing(self).map(|missing| format!("not within {} s: {missing}", within_s.saturating_mul(SLOWER)))
    }

    fn run(&mut self, command: &Command) -> Result<(), String> {
        let Run { roster, wait_s } = run_of(self.scenario, command)?;
        let (Some(at), Some(name)) = (command.at.first(), command.order.as_ref()) else { return Ok(()) };
        let at = self.number(at);
        let hosts = self.scenario.hosts.len();
        let keepers: Vec<usize> = (0..KEEPERS.min(hosts)).map(|next| (at + next) % hosts).collect();
        // Signed by the clock of where it is given.
        let now = self.net.clock(at);
        let order = self.net.fleet.order(&roster, &keepers, now);
        if !self.net.submit_order(at, &order) {
            return Err(format!("{} does not take the order", self.name(at)));
        }
        self.orders.insert(name.clone(), (order.id(), roster));
        if command.expect.exit == 0 {
            let missing = self.until(RUN_WITHIN_S / SLOWER, |world| world.unanswered(name, at));
            return missing.map_or(Ok(()), Err);
        }
        self.net.run(wait_s * 1_000);
        match self.unanswered(name, at) {
            Some(_) => Ok(()),
            None => Err("all have answered, and exit code 7 says that some are silent".to_owned()),
        }
    }

    fn unlinked(&self) -> Option<String> {
        let up = self.up();
        let alone = up.iter().find(|at| up.len() > 1 && self.net.host(**at).degree() == 0)?;
        Some(format!("{} has no link", self.name(*alone)))
    }

    fn disagree(&self) -> Option<String> {
        let hour = first_hour(self.net.now());
        let root = |at: &usize| self.net.host(*at).replica().roots(hour).root();
        let up = self.up();
        let (first, others) = up.split_first()?;
        let other = others.iter().find(|other| root(other) != root(first))?;
        Some(format!("{} and {} do not hold the same", self.name(*first), self.name(*other)))
    }

    fn unanswered(&self, order: &str, at: usize) -> Option<String> {
        let Some((id, roster)) = self.orders.get(order) else {
            return Some(format!("there is no order {order}"));
        };
        let missing = roster.iter().find(|host| !self.net.host(at).keeps(*id, self.net.fleet.id(**host)))?;
        Some(format!("{} has no answer of {}", self.name(at), self.name(*missing)))
    }

    fn not_spawned(&self, order: &str, counts: &BTreeMap<String, u64>) -> Option<String> {
        let Some((id, _)) = self.orders.get(order) else { return Some(format!("there is no order {order}")) };
        let ran = |at: &usize| self.net.host(*at).has_run(id);
        let all = 0..self.scenario.hosts.len();
        let seen: BTreeSet<&str> = all.filter(ran).map(|at| self.name(at)).collect();
        let expected: BTreeSet<&str> =
            counts.iter().filter(|(_, count)| **count > 0).map(|(host, _)| host.as_str()).collect();
        (seen != expected).then(|| format!("it ran on {seen:?} and not {expected:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::parse, *};

    const TWO: &str =
        "about = \"two\"\n[[host]]\nname = \"a\"\n[[host]]\nname = \"b\"\n[[step]]\nenrol = \"all\"\n";

    fn read(more: &str) -> Scenario {
        parse(Path::new("two.toml"), &format!("{TWO}{more}")).unwrap()
    }

    #[test]
    fn a_seed_repeats_itself_and_another_one_does_not() {
        let scenario = read(
            "[[step]]\nwait = \"linked\"\n[[step]]\nkill = [\"b\"]\n\
             [[step]]\nrun = \"muster run --all --wait 2s -- true\"\nat = \"a\"\norder = \"first\"\nexit = 7\n\
             [[step]]\nspawns = { a = 1 }\norder = \"first\"\n[[step]]\nstart = [\"b\"]\n\
             [[step]]\nwait = \"answered\"\nat = \"a\"\norder = \"first\"\n[[step]]\nwait = \"agree\"\n\
             [[step]]\nspawns = { a = 1, b = 1 }\norder = \"first\"\n",
        );
        let path = Path::new("two.toml");
        simulable(path, &scenario).unwrap();
        let once = simulate(path, &scenario, 7).unwrap();
        assert_eq!(once.steps, 9);
        assert_eq!(simulate(path, &scenario, 7).unwrap(), once);
        assert_ne!(simulate(path, &scenario, 8).unwrap().trace, once.trace);
    }

    #[test]
    fn what_does_not_come_true_is_named_with_the_command_that_repeats_it() {
        let path = Path::new("two.toml");
        let cut = "[[step]]\ncut = \"a | b\"\n";
        for (more, why) in [
            (format!("{cut}[[step]]\nwait = \"linked\"\n"), "step 3 (line 10) did not come true: not within 300 s: a has no link"),
            (
                format!("{cut}[[step]]\nrun = \"muster run --all -- true\"\nat = \"b\"\norder = \"o\"\n"),
                "b has no answer of a",
            ),
            (
                "[[step]]\nrun = \"muster run -H a --wait 60s -- true\"\nat = \"a\"\norder = \"o\"\nexit = 7\n".to_owned(),
                "all have answered",
            ),
            (
                "[[step]]\nrun = \"muster run -H a -- true\"\nat = \"a\"\norder = \"o\"\n\
                 [[step]]\nspawns = { b = 1 }\norder = \"o\"\n"
                    .to_owned(),
                "it ran on {\"a\"} and not {\"b\"}",
            ),
        ] {
            let trouble = simulate(path, &read(&more), 3).unwrap_err();
            assert!(trouble.message.contains(why), "{more}: {}", trouble.message);
            assert_eq!(trouble.hints, ["repeat it: muster scenario simulate two.toml --seeds 3..4"]);
        }
    }

    #[test]
    fn a_step_that_the_simulator_has_not_is_named_unless_the_file_leaves_it_out() {
        for (more, why) in [
            ("freeze = [\"a\"]", "two.toml:8: step 2 cannot be simulated: there are no processes"),
            ("check = \"muster status\"\nat = \"a\"", "only muster run"),
            ("run = \"muster run --all -- true\"\nat = \"a\"\norder = \"o\"\nstdout = [\"x\"]", "no output"),
            (
                "run = \"muster run --all --fail-fast -- true\"\nat = \"a\"\norder = \"o\"",
                "does not know --fail-fast",
            ),
            ("run = \"muster run --all -- true\"\nat = \"a\"", "an order has a name"),
            ("install = { host = \"a\", package = \"x\", version = \"1\" }", "no packages"),
        ] {
            let refused =
                simulable(Path::new("two.toml"), &read(&format!("[[step]]\n{more}\n"))).unwrap_err();
            assert!(refused.message.contains(why), "{more}: {}", refused.message);
            let left_out = read(&format!("[[step]]\n{more}\nsimulated = false\n"));
            simulable(Path::new("two.toml"), &left_out).unwrap();
            assert_eq!(simulate(Path::new("two.toml"), &left_out, 1).unwrap().left_out, 1);
        }
    }
}
