//! Does what a step says; returns what is told of it.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    super::{
        Trouble,
        expect::{self, Said, look},
        file::{Act, Clock, Command, Groups, Step, Wait},
        story::Told,
        words,
    },
    disk::Disk,
    fleet::{STEP_WITHIN, State, World},
};
use crate::terminal::{escape, time};
use rustix::process::Signal;

/// Lines of a command's output that the story shows.
const LINES_SHOWN: usize = 12;

impl World<'_> {
    /// Does a step.
    pub(super) async fn act(&mut self, step: &Step) -> Result<Told, Trouble> {
        let start = Instant::now();
        let told = self.doing(&step.act).await?;
        let told = match &step.name {
            Some(name) => Told { sentence: name.clone(), ..told },
            None => told,
        };
        let took = start.elapsed();
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        Ok(Told { sentence: format!("{}, in {}", told.sentence, time::took(took)), ..told }
            .field("line", step.line)
            .field("name", step.name.clone())
            .field("ms", ms))
    }

    async fn doing(&mut self, act: &Act) -> Result<Told, Trouble> {
        match act {
            Act::Enrol { hosts, via } => {
                for host in hosts {
                    self.enrol(host, via.as_deref()).await?;
                }
                Ok(of("enrolled", hosts))
            }
            Act::Start(hosts) => {
                for host in hosts {
                    self.start(host).await?;
                }
                Ok(of("started", hosts))
            }
            Act::Stop(hosts) => {
                for host in hosts {
                    self.stop(host).await?;
                }
                Ok(of("stopped", hosts))
            }
            Act::Kill(hosts) => {
                for host in hosts {
                    self.kill(host).await?;
                }
                Ok(of("killed", hosts))
            }
            Act::Freeze(hosts) => {
                for name in hosts {
                    let host = self.host(name, State::Up)?;
                    host.agent.signal_both(Signal::STOP)?;
                    host.state = State::Frozen;
                }
                Ok(of("froze", hosts))
            }
            Act::Thaw(hosts) => {
                for name in hosts {
                    let host = self.host(name, State::Frozen)?;
                    host.agent.signal_both(Signal::CONT)?;
                    host.state = State::Up;
                }
                Ok(of("thawed", hosts))
            }
            Act::Snapshot(hosts) => {
                hosts.iter().try_for_each(|host| self.snapshot(host))?;
                Ok(of("copied", hosts))
            }
            Act::Restore(hosts) => {
                hosts.iter().try_for_each(|host| self.restore(host))?;
                Ok(of("put back", hosts))
            }
            Act::Clone { of, host } => {
                self.clone_host(of, host).await?;
                Ok(Told::new("cloned", format!("{of} as {host}")).field("host", host.clone()))
            }
            Act::Fill(hosts) => {
                self.disks(hosts, Disk::fill)?;
                Ok(Told::new("filled", format!("the disk of {}", hosts.join(", ")))
                    .field("hosts", hosts.clone()))
            }
            Act::Free(hosts) => {
                self.disks(hosts, Disk::free)?;
                Ok(Told::new("freed", format!("the disk of {}", hosts.join(", ")))
                    .field("hosts", hosts.clone()))
            }
            Act::Remove(hosts) => {
                for host in hosts {
                    self.host(host, State::Up)?;
                    self.succeeds(host, &["leave", "--yes"].map(str::to_owned)).await?;
                    self.ends(host, State::Left).await?;
                }
                Ok(of("removed", hosts))
            }
            Act::Cut { groups, silent } => {
                self.network.cut(groups, *silent)?;
                let how = if *silent { ", and nobody hears of it" } else { "" };
                Ok(Told::new("cut", format!("{}{how}", shown(groups))).field("links", shown(groups)))
            }
            Act::Heal(groups) => {
                self.network.heal(groups.as_ref())?;
                let text = groups.as_ref().map_or("all links".to_owned(), shown);
                Ok(Told::new("healed", text.clone()).field("links", text))
            }
            Act::Slow { groups, slow } => {
                self.network.slow(groups, *slow)?;
                let rate =
                    if slow.rate == 0 { String::new() } else { format!(", {} bytes a second", slow.rate) };
                let loss = if slow.loss == 0 { String::new() } else { format!(", {} % lost", slow.loss) };
                let text = format!("{}: {} one way{rate}{loss}", shown(groups), time::took(slow.delay));
                Ok(Told::new("slowed", text).field("links", shown(groups)))
            }
            Act::Clock { machines, to } => {
                for machine in machines {
                    self.set_clock(machine, *to)?;
                }
                let how = match to {
                    Clock::Right => "right".to_owned(),
                    Clock::Off(ms) => {
                        let by = time::duration(Duration::from_millis(ms.unsigned_abs()));
                        format!("{by} {}", if *ms < 0 { "behind" } else { "ahead" })
                    }
                    Clock::At(at) => format!("at {}", time::rfc3339(*at)),
                };
                Ok(Told::new("set", format!("the clock of {} is {how}", machines.join(", ")))
                    .field("machines", machines.clone()))
            }
            Act::Install { host, package, version } => {
                self.install(host, package, version)?;
                Ok(Told::new("installed", format!("{package} {version} on {host}"))
                    .field("host", host.clone()))
            }
            Act::Run(command) => self.run(command).await,
            Act::Check(command) => {
                let said = self.check(command).await?;
                Ok(self.of_command("seen", command, &said))
            }
            Act::Begin { command, called } => self.begin(command, called).await,
            Act::Ends { called, expect, within } => {
                let Some(mut begun) = self.begun.remove(called) else {
                    return Err(Trouble::usage(format!("nothing was begun that is called {called:?}")));
                };
                let said = begun.finish(*within).await?;
                if let Some(missing) = expect.unmet(&said, &self.values) {
                    let text = format!("at {}: {}: {missing}", begun.at, begun.text);
                    return Err(Trouble::new(text).point(expect::shown(&said)));
                }
                let told = Told::new("ended", format!("{called} at {}", begun.at));
                Ok(output(told, &said).field("exit", said.code))
            }
            Act::Wait { wait, within } => {
                self.wait(wait, *within).await?;
                let up = self.in_state(State::Up).join(", ");
                Ok(match wait {
                    Wait::Linked => {
                        Told::new("linked", format!("{up} know all members and find each other up"))
                    }
                    Wait::Agree => Told::new("agreed", format!("{up} hold the same")),
                    Wait::Answered { order, at } => {
                        Told::new("answered", format!("order {order}, by all its hosts, as {at} tells"))
                    }
                })
            }
            Act::Spawns { order, counts, within } => {
                self.spawned(order.as_deref(), counts, *within).await?;
                let text: Vec<String> =
                    counts.iter().map(|(host, count)| format!("{count}× on {host}")).collect();
                let what =
                    order.as_ref().map_or("orders were".to_owned(), |order| format!("order {order} was"));
                Ok(Told::new("counted", format!("{what} started {}", text.join(", "))))
            }
            Act::Forge { how, tag, at, hosts } => {
                let refused = self.forge(*how, tag.as_ref(), at, hosts).await?;
                let what =
                    tag.as_ref().map_or("order".to_owned(), |(key, value)| format!("tag {key}={value}"));
                let text = format!("a forged {what} for {}, by {at}", hosts.join(", "));
                Ok(Told::new("refused", text).line(escape::line(&refused)).field("why", refused))
            }
        }
    }

    fn disks(&self, hosts: &[String], act: impl Fn(&Disk) -> Result<(), Trouble>) -> Result<(), Trouble> {
        hosts.iter().try_for_each(|name| match self.hosts.get(name).and_then(|host| host.disk.as_ref()) {
            Some(disk) => act(disk),
            None => Err(Trouble::usage(format!("{name} is no member at this step, and has no disk yet"))),
        })
    }

    async fn run(&mut self, command: &Command) -> Result<Told, Trouble> {
        let Some(at) = command.at.first() else { return Err(Trouble::usage("no host to run it at")) };
        let before = self.orders_at(at, command).await?;
        let words = self.words(command);
        let said = self.desk.run(at, command.by.as_deref(), &words, command.within).await?;
        if let Some(missing) = command.expect.unmet(&said, &self.values) {
            let text = format!("at {at}: {}: {missing}", words::fill(&command.text, &self.values));
            return Err(Trouble::new(text).point(expect::shown(&said)));
        }
        self.name_order(at, command, &before).await?;
        self.save(command, &said)?;
        Ok(self.of_command("ran", command, &said))
    }

    async fn begin(&mut self, command: &Command, called: &str) -> Result<Told, Trouble> {
        let Some(at) = command.at.first() else { return Err(Trouble::usage("no host to run it at")) };
        let before = self.orders_at(at, command).await?;
        let words = self.words(command);
        let begun = self.desk.begin(at, command.by.as_deref(), &words)?;
        self.begun.insert(called.to_owned(), begun);
        let until = Instant::now() + command.within;
        while !self.name_order(at, command, &before).await? {
            if Instant::now() > until {
                return Err(Trouble::new(format!("at {at}: {}: no order is given", command.text)));
            }
            self.pause().await?;
        }
        Ok(Told::new("began", format!("{called} at {at}"))
            .line(format!("$ {}", self.short(&command.text)))
            .field("command", command.text.clone())
            .field("at", at.clone()))
    }

    /// The orders that the operator has given, if this command's is to be known by a name.
    async fn orders_at(&mut self, at: &str, command: &Command) -> Result<Vec<String>, Trouble> {
        if command.order.is_none() {
            return Ok(Vec::new());
        }
        let words = ["job", "ls", "-o", "json"].map(str::to_owned);
        let said = self.desk.run(at, command.by.as_deref(), &words, STEP_WITHIN).await?;
        let document = serde_json::from_str(&said.stdout).unwrap_or_default();
        let rows = look(&document, "items").and_then(|rows| rows.as_array().cloned()).unwrap_or_default();
        let job = |row: &serde_json::Value| Some(row.get("job")?.as_str()?.to_owned());
        Ok(rows.iter().filter_map(job).collect())
    }

    /// Remembers the order that was not among those before; whether there is one, if one is wanted.
    async fn name_order(&mut self, at: &str, command: &Command, before: &[String]) -> Result<bool, Trouble> {
        let Some(name) = &command.order else { return Ok(true) };
        let now = self.orders_at(at, command).await?;
        let Some(new) = now.into_iter().find(|job| !before.contains(job)) else { return Ok(false) };
        self.values.insert(name.clone(), new);
        Ok(true)
    }

    /// A command line as a person reads it: without the long paths of this run.
    fn short(&self, text: &str) -> String {
        words::fill(text, &self.values).replace(&self.desk.dir.display().to_string(), "…")
    }

    fn of_command(&self, word: &'static str, command: &Command, said: &Said) -> Told {
        let text =
            words::fill(&command.text, &self.values).replace(&self.desk.dir.display().to_string(), "…");
        let by = command.by.as_ref().map(|by| format!(", by {by}")).unwrap_or_default();
        let told = Told::new(word, format!("at {}{by}", command.at.join(", "))).line(format!("$ {text}"));
        output(told, said)
            .field("command", command.text.clone())
            .field("at", command.at.clone())
            .field("exit", said.code)
    }
}

fn output(mut told: Told, said: &Said) -> Told {
    // What a person reads where there is no data.
    let text = if said.stdout.is_empty() { &said.stderr } else { &said.stdout };
    let lines: Vec<String> = text.lines().map(escape::line).collect();
    let json = said.stdout.starts_with(['{', '[']);
    for line in lines.iter().take(if json { 0 } else { LINES_SHOWN }) {
        told = told.line(line.clone());
    }
    if lines.len() > LINES_SHOWN && !json {
        told = told.line(format!("… {} lines", lines.len()));
    }
    if said.code != 0 {
        told = told.line(format!("[exit {}]", said.code));
    }
    told.field("stdout", said.stdout.clone())
}

fn of(word: &'static str, hosts: &[String]) -> Told {
    Told::new(word, hosts.join(", ")).field("hosts", hosts.to_vec())
}

fn shown(groups: &Groups) -> String {
    groups.iter().map(|group| group.join(", ")).collect::<Vec<_>>().join(" | ")
}
