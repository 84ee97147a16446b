//! Conditions: looked at until they are so, and what was missing when their time is over.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use super::{
    super::{
        Trouble,
        expect::{self, Said, look},
        file::{AlwaysCheck, Command, Wait},
        words,
    },
    fleet::{STEP_WITHIN, State, World},
};
use crate::control::StatusReport;

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often what always holds is looked at while something is waited for.
const HOLDS_EVERY: Duration = Duration::from_secs(1);
/// How long an agent may take to say how it is, in one look.
const STATUS_WITHIN: Duration = Duration::from_secs(10);

impl World<'_> {
    /// The words of a command line with what is known by now, without `muster`.
    pub(super) fn words(&self, command: &Command) -> Vec<String> {
        command.words.iter().skip(1).map(|word| words::fill(word, &self.values)).collect()
    }

    /// Runs a command line at each of its hosts, until all say what is expected; what the last one said.
    pub(super) async fn check(&mut self, command: &Command) -> Result<Said, Trouble> {
        let until = Instant::now() + command.within;
        let mut last = Said::default();
        for at in &command.at {
            loop {
                let words = self.words(command);
                let said = self.desk.run(at, command.by.as_deref(), &words, STEP_WITHIN).await?;
                match command.expect.unmet(&said, &self.values) {
                    None => {
                        last = said;
                        break;
                    }
                    Some(missing) if Instant::now() > until => {
                        let text =
                            format!("at {at}: {}: {missing}", words::fill(&command.text, &self.values));
                        return Err(over(&text, command.within, Some(&said)));
                    }
                    Some(_) => self.pause().await?,
                }
            }
        }
        self.save(command, &last)?;
        Ok(last)
    }

    /// Remembers what stands in the JSON that a command printed.
    pub(super) fn save(&mut self, command: &Command, said: &Said) -> Result<(), Trouble> {
        for (name, path) in &command.save {
            let document = serde_json::from_str(&said.stdout).unwrap_or_default();
            let Some(value) = look(&document, path) else {
                let text = format!("{}: there is no {path} to call {name}", command.text);
                return Err(Trouble::new(text).point(expect::shown(said)));
            };
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            self.values.insert(name.clone(), value);
        }
        Ok(())
    }

    /// Waits for something.
    pub(super) async fn wait(&mut self, wait: &Wait, within: Duration) -> Result<(), Trouble> {
        let until = Instant::now() + within;
        loop {
            let missing = match wait {
                Wait::Linked => self.unlinked().await,
                Wait::Agree => self.disagree().await,
                Wait::Answered { order, at } => self.unanswered(order, at).await?,
            };
            match missing {
                None => return Ok(()),
                Some(missing) if Instant::now() > until => return Err(over(&missing, within, None)),
                Some(_) => self.pause().await?,
            }
        }
    }

    /// Waits until an order was started exactly so often.
    pub(super) async fn spawned(
        &mut self,
        order: Option<&str>,
        expected: &BTreeMap<String, u64>,
        within: Duration,
    ) -> Result<(), Trouble> {
        let until = Instant::now() + within;
        let expected: BTreeMap<String, u64> = expected
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(host, count)| (host.clone(), *count))
            .collect();
        loop {
            let job = order.map(|order| self.job(order)).transpose()?;
            let mut seen: BTreeMap<String, u64> = BTreeMap::new();
            for ((of, host), count) in self.spawns() {
                if job.as_ref().is_none_or(|job| of == *job) {
                    *seen.entry(host).or_default() += count;
                }
            }
            if seen == expected {
                return Ok(());
            }
            if Instant::now() > until {
                let text = format!("started {seen:?} and not {expected:?}, by host");
                return Err(over(&text, within, None));
            }
            self.pause().await?;
        }
    }

    /// The id of an order that the file gave a name.
    pub(super) fn job(&self, order: &str) -> Result<String, Trouble> {
        let job = self.values.get(order).cloned();
        job.ok_or_else(|| Trouble::usage(format!("no step before this one gave an order = {order:?}")))
    }

    /// How each host that runs is, by its own word; what is wrong where one does not say.
    async fn statuses(&self) -> Result<Vec<(String, StatusReport)>, String> {
        let mut all = Vec::new();
        for name in self.in_state(State::Up) {
            let Some(host) = self.hosts.get(&name) else { continue };
            match timeout(STATUS_WITHIN, host.agent.status()).await {
                Ok(Ok(status)) => all.push((name, status)),
                Ok(Err(error)) => return Err(format!("{name}: {error}")),
                Err(_) => return Err(format!("{name} does not say how it is")),
            }
        }
        Ok(all)
    }

    async fn unlinked(&self) -> Option<String> {
        let statuses = match self.statuses().await {
            Ok(statuses) => statuses,
            Err(missing) => return Some(missing),
        };
        let out = [State::Absent, State::Left];
        let members = self.hosts.values().filter(|host| !out.contains(&host.state)).count();
        let up = statuses.len();
        statuses.iter().find_map(|(name, status)| {
            let seen = status.presence.map_or(0, |(up, _)| up as usize);
            let so = status.members as usize == members && seen == up && (up == 1 || status.links > 0);
            (!so).then(|| {
                format!(
                    "{name} knows {} of {members} members, finds {seen} of {up} up, and has {} links",
                    status.members, status.links
                )
            })
        })
    }

    async fn disagree(&self) -> Option<String> {
        let statuses = match self.statuses().await {
            Ok(statuses) => statuses,
            Err(missing) => return Some(missing),
        };
        let ((first, of_first), others) = statuses.split_first()?;
        let (other, of_other) =
            others.iter().find(|(_, status)| status.root.is_none() || status.root != of_first.root)?;
        let (some, more) = (of_first.entries, of_other.entries);
        Some(format!("{first} and {other} do not hold the same ({some} and {more} entries)"))
    }

    async fn unanswered(&mut self, order: &str, at: &str) -> Result<Option<String>, Trouble> {
        let job = self.job(order)?;
        let words = ["job", "show", &job, "-o", "json"].map(str::to_owned);
        let said = self.desk.run(at, None, &words, STEP_WITHIN).await?;
        let document = serde_json::from_str(&said.stdout).unwrap_or_default();
        let Some(rows) = look(&document, "hosts").and_then(|rows| rows.as_array().cloned()) else {
            return Ok(Some(format!("{at} does not tell of order {order}: {}", said.stderr.trim())));
        };
        let text = |row: &serde_json::Value, key: &str| {
            row.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
        };
        Ok(rows.iter().find(|row| text(row, "status") != "ok").map(|row| {
            format!("{} has not answered order {order} at {at}: {}", text(row, "host"), text(row, "status"))
        }))
    }

    /// Lets a moment pass, in which what always holds is looked at.
    pub(super) async fn pause(&mut self) -> Result<(), Trouble> {
        sleep(LOOK_EVERY).await;
        if self.looked.elapsed() > HOLDS_EVERY {
            self.holds().await?;
        }
        Ok(())
    }

    /// Looks at all that always holds.
    pub(super) async fn holds(&mut self) -> Result<(), Trouble> {
        self.looked = Instant::now();
        let scenario = self.scenario;
        for (number, always) in scenario.always.iter().enumerate() {
            let broken = match &always.check {
                AlwaysCheck::SpawnsMax(most) => {
                    self.spawns().into_iter().find(|(_, count)| count > most).map(|((job, host), count)| {
                        Trouble::new(format!("order {job} was started {count} times on {host}"))
                    })
                }
                AlwaysCheck::Command(command) => self.holds_not(command).await?,
            };
            if let Some(broken) = broken {
                let what = always.name.clone().unwrap_or_else(|| format!("line {}", always.line));
                let message = format!("what always holds does not: {what}: {}", broken.message);
                return Err(Trouble { message, ..broken });
            }
            if let Some(count) = self.held.get_mut(number) {
                *count += 1;
            }
        }
        Ok(())
    }

    async fn holds_not(&mut self, command: &Command) -> Result<Option<Trouble>, Trouble> {
        for at in &command.at {
            if self.state(at) != State::Up {
                continue;
            }
            let words = self.words(command);
            let said = self.desk.run(at, command.by.as_deref(), &words, STEP_WITHIN).await?;
            if let Some(missing) = command.expect.unmet(&said, &self.values) {
                let text = format!("at {at}: {}: {missing}", command.text);
                return Ok(Some(Trouble::new(text).point(expect::shown(&said))));
            }
        }
        Ok(None)
    }
}

/// What is said when the time for something is over.
fn over(missing: &str, within: Duration, said: Option<&Said>) -> Trouble {
    let trouble = Trouble::new(format!("not within {} s: {missing}", within.as_secs()));
    match said {
        Some(said) => trouble.point(expect::shown(said)),
        None => trouble,
    }
}
