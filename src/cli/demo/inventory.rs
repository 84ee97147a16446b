//! The part of the story about inventory: what is known of all hosts is asked on each of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::future::{join_all, try_join_all};
use serde_json::json;
use tokio::time::Instant;

use super::{
    super::failure::{Explain as _, Failure, Site},
    packages::{MACHINES, Packages},
    story::{Story, missing, ms},
};
use crate::{
    control::{Client, ControlError, FoundRow, Reply, Request},
    node::clock,
    scenario::{Agent, LOOK_EVERY},
    services::inventory::{self, Asked},
    terminal::{Format, Output, Style, Talk, escape, time},
};

/// Where the number of a host's packages stands.
const COUNT: &str = "fact.deb_packages";
/// How long an agent may take for a part of an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How much longer each further host lets an agent be between two questions: they share this machine.
const LOOK_EVERY_MORE: Duration = Duration::from_millis(2);
/// Hosts whose times are listed.
const TIMES_MAX: usize = 6;
/// States of a host that is taken to be there.
const PRESENT: [&str; 3] = ["self", "up", "linked"];

/// What an agent found.
struct Found {
    paths: Vec<String>,
    rows: Vec<FoundRow>,
}

impl Found {
    /// The values at a path, by the names of hosts.
    fn at(&self, path: &str) -> BTreeMap<&str, &[String]> {
        let place = self.paths.iter().position(|known| known == path).unwrap_or(usize::MAX);
        let values = |row: &FoundRow| row.values.get(place).map_or(0, Vec::len);
        let rows = self.rows.iter().filter(|row| values(row) > 0);
        rows.filter_map(|row| Some((row.name.as_str(), row.values.get(place)?.as_slice()))).collect()
    }
}

async fn search(client: &mut Client, expression: &str, columns: &[&str]) -> Result<Found, ControlError> {
    let columns = columns.iter().map(|column| (*column).to_owned()).collect();
    let request =
        Request::InventorySearch { expression: expression.to_owned(), columns, limit: u32::from(u16::MAX) };
    client.send(&request).await?;
    let mut found = Found { paths: Vec::new(), rows: Vec::new() };
    loop {
        match client.reply_within(ANSWER_WITHIN).await? {
            Reply::Found { paths, rows, more, .. } => {
                found.paths = paths;
                found.rows.extend(rows);
                if !more {
                    return Ok(found);
                }
            }
            _ => return Err(ControlError::Malformed("not what was found".to_owned())),
        }
    }
}

/// Asks one agent until `so` finds in its answer what it looks for.
struct Until<'a> {
    /// What that means.
    what: &'a str,
    expression: &'a str,
    columns: &'a [&'a str],
    within: Duration,
    every: Duration,
}

impl Until<'_> {
    async fn on<T>(&self, agent: &Agent, so: impl Fn(&Found) -> Option<T>) -> Result<T, Failure> {
        let failed = |error: ControlError| agent.failed(&error.to_string());
        let until = Instant::now() + self.within;
        let mut client = Client::connect(&agent.places.socket).await.map_err(failed)?;
        loop {
            let found = search(&mut client, self.expression, self.columns).await.map_err(failed)?;
            if let Some(found) = so(&found) {
                return Ok(found);
            }
            if Instant::now() > until {
                return Err(agent
                    .failed(&format!("not {} within {} s", self.what, self.within.as_secs()))
                    .into());
            }
            tokio::time::sleep(self.every).await;
        }
    }
}

/// What a command about inventory prints for a person, and how long it took.
async fn printed(site: &Site, asked: &Asked, style: Style) -> Result<(Vec<String>, Duration), Failure> {
    let start = Instant::now();
    let explain = |error: ControlError| error.explain(site);
    let mut client = Client::connect(&site.places.socket).await.map_err(explain)?;
    let mut output = Output::new(Vec::new(), Format::Table, true, style, clock::now());
    let mut talk = Talk::new(std::io::sink(), std::io::empty(), Style::default(), false, false, true);
    inventory::search(&mut client, asked, &mut output, &mut talk)
        .await
        .map_err(|error| error.explain(site))?;
    let took = start.elapsed();
    let lines = String::from_utf8_lossy(&output.into_inner()).lines().map(str::to_owned).collect();
    Ok((lines, took))
}

fn asked(expression: &str) -> Asked {
    Asked {
        expression: expression.to_owned(),
        columns: Vec::new(),
        count_by: None,
        limit: u32::from(u16::MAX),
    }
}

impl Story<'_, '_> {
    fn every(&self) -> Duration {
        LOOK_EVERY + LOOK_EVERY_MORE * u32::try_from(self.fleet.agents.len()).unwrap_or(u32::MAX)
    }

    fn all(&self) -> String {
        match self.fleet.agents.len() {
            1 => "1 host".to_owned(),
            count => format!("all {count} hosts"),
        }
    }

    fn count(&self) -> usize {
        self.fleet.agents.len()
    }

    /// What every host has installed, known on every host.
    pub(super) async fn packages_known(&mut self, packages: &Packages) -> Result<(), Failure> {
        let path = format!("deb.{}", packages.name);
        let until = Until {
            what: "aware of all hosts' packages",
            expression: &format!("has {path}"),
            columns: &[COUNT],
            within: self.within,
            every: self.every(),
        };
        let all = self.count();
        let all_said = |found: &Found| {
            let versions = found.at(&path);
            let first = versions.values().all(|versions| versions.contains(&packages.version));
            let counts: BTreeSet<&[String]> = found.at(COUNT).into_values().collect();
            let count = counts.first()?.first()?;
            (versions.len() == all && first && counts.len() == 1).then(|| count.clone())
        };
        let counts = try_join_all(self.fleet.agents.iter().map(|agent| until.on(agent, all_said))).await?;
        let took = self.started.elapsed();
        let counts: BTreeSet<String> = counts.into_iter().collect();
        let count = match (counts.first(), counts.len()) {
            (Some(count), 1) => count.clone(),
            _ => return Err(missing(format!("the hosts count {counts:?} packages"))),
        };
        let (whose, source) = if packages.is_the_machines {
            (format!("the packages are this machine's own, from {MACHINES}"), MACHINES)
        } else {
            (
                "the packages are made up: this machine has no list of dpkg's that can be used".to_owned(),
                "made up",
            )
        };
        let below = [whose, "each host has a copy of its own in the demo's directory, to change".to_owned()];
        let sentence = format!(
            "on {}: {} {} packages, disks, addresses and more, {} after the last start",
            self.all(),
            if all == 1 { "its" } else { "each one's" },
            escape::line(&count),
            time::took(took)
        );
        let fields = json!({
            "packages": count.parse::<u64>().unwrap_or(0),
            "source": source,
            "known_on": self.list(|_| true),
            "ms": ms(took),
        });
        self.teller.tell("known", &sentence, &below, fields)
    }

    /// A question about all hosts, answered by one.
    pub(super) async fn searched(&mut self, packages: &Packages) -> Result<(), Failure> {
        let path = format!("deb.{}", packages.name);
        let asked = Asked { count_by: Some(path.clone()), ..asked("all") };
        let (lines, took) = printed(&self.site(), &asked, self.teller.style()).await?;
        let below = lines.into_iter().chain([format!(
            "asked of web-1 alone, which answers for {} from what it holds, in {}",
            self.all(),
            if took < Duration::from_millis(1) { "under 1ms".to_owned() } else { time::took(took) }
        )]);
        self.teller.tell(
            "searched",
            &format!("muster inventory search all --count-by {path}"),
            &below.collect::<Vec<_>>(),
            json!({ "count_by": path, "asked_of": "web-1", "ms": ms(took) }),
        )
    }

    /// One package is upgraded on one host; how soon each host answers with it.
    pub(super) async fn changed(&mut self, packages: &Packages) -> Result<(), Failure> {
        let last = self.last()?;
        let later = packages.later();
        let path = format!("deb.{}", packages.name);
        let until = Until {
            what: &format!("aware of {path} = {later} on {last}"),
            expression: &format!("{path} = {later}"),
            columns: &[],
            within: self.within,
            every: self.every(),
        };
        // Once before, so that it is the telling that is measured and not the first question.
        let nobody = |found: &Found| found.rows.is_empty().then_some(());
        try_join_all(self.fleet.agents.iter().map(|agent| until.on(agent, nobody))).await?;
        let Some(agent) = self.fleet.agents.last() else { return Ok(()) };
        let start = Instant::now();
        packages.upgrade(&agent.packages)?;
        let it =
            |found: &Found| found.at(&path).get(last.as_str())?.contains(&later).then(|| start.elapsed());
        let answers = join_all(self.fleet.agents.iter().map(|agent| until.on(agent, it))).await;
        let mut times = Vec::new();
        for (agent, took) in self.fleet.agents.iter().zip(answers) {
            times.push((agent.name.clone(), took?));
        }
        let slowest = times.iter().map(|(_, took)| *took).max().unwrap_or_default();
        let mut sorted: Vec<Duration> = times.iter().map(|(_, took)| *took).collect();
        sorted.sort_unstable();
        let listed = if times.len() <= TIMES_MAX {
            let each = times.iter().map(|(name, took)| format!("{name} {} ms", ms(*took)));
            each.collect::<Vec<_>>().join(", ")
        } else {
            let place = |at: usize| sorted.get(at).copied().map_or(0, ms);
            let (half, last) = (place(sorted.len() / 2), place(sorted.len() - 1));
            format!("the first {} ms, half of them {half} ms, the last {last} ms", place(0))
        };
        let answers: Vec<_> =
            times.iter().map(|(name, took)| json!({ "host": name, "ms": ms(*took) })).collect();
        self.teller.tell(
            "changed",
            &format!("{} on {last}, {} → {later}, as dpkg writes it", packages.name, packages.version),
            &[format!("a search on each host finds it after: {listed}")],
            json!({
                "host": last,
                "package": packages.name,
                "from": packages.version,
                "to": later,
                "answers": answers,
                "ms": ms(slowest),
            }),
        )
    }

    /// What is known of a host that is off, and how old that is.
    pub(super) async fn asked_in_its_absence(&mut self, packages: &Packages) -> Result<(), Failure> {
        let last = self.last()?;
        let path = format!("deb.{}", packages.name);
        let expression = format!("name = {last}");
        let until = Until {
            what: &format!("aware that {last} is away"),
            expression: &expression,
            columns: &[&path],
            within: self.within,
            every: self.every(),
        };
        let Some(first) = self.fleet.agents.first() else { return Ok(()) };
        let later = packages.later();
        let away = |found: &Found| {
            let row = found.rows.first()?;
            let known = found.at(&path).get(last.as_str())?.contains(&later);
            let gone = !PRESENT.contains(&row.about.state.as_str());
            (known && gone).then(|| (row.about.state.clone(), row.about.seen, row.changed))
        };
        let (state, seen, changed) = until.on(first, away).await?;
        let asked = Asked { columns: vec![path.clone()], ..asked(&expression) };
        let (lines, _) = printed(&self.site(), &asked, self.teller.style()).await?;
        self.teller.tell(
            "asked",
            &format!("muster inventory search 'name = {last}' --columns {path}"),
            &lines
                .into_iter()
                .chain(["off, and answered for, with the age of it".to_owned()])
                .collect::<Vec<_>>(),
            json!({
                "host": last,
                "package": packages.name,
                "version": later,
                "state": state,
                "seen": seen.map(time::rfc3339),
                "changed": changed.map(time::rfc3339),
                "asked_of": "web-1",
            }),
        )
    }
}
