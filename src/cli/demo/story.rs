//! The story, step by step: each is done, waited for, and only then told.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    super::{
        chance,
        failure::{ExitCode, Explain as _, Failure, Site, quoted},
        teller::Teller,
    },
    fleet::{Fleet, role_of},
    orders::{Counts, Given, Issuer, counts_until},
    packages::Packages,
    suggestions::ASKS_FROM_HOSTS,
};
use crate::{
    control::Client,
    identity::{HostId, JoinToken},
    journal::OperatorHome,
    node::{Settings, clock},
    scenario::Agent,
    services::{
        membership::{self, FoundRequest, InviteRequest, JoinWith, RootCount},
        run::Verified,
    },
    targets::Targets,
    terminal::{escape, nodeset, time},
};

/// The fleet's name.
const FLEET: &str = "demo";
/// The tag of every host.
const ROLE: &str = "role";
/// Who the operator is.
const PERSON: &str = "you";
/// How long the operator's certificate and the tokens are good for.
const CERTIFICATE_VALID: Duration = Duration::from_secs(30 * 86_400);
const TOKEN_VALID: Duration = Duration::from_secs(3600);
/// Hosts that join at a time.
const JOINING_AT_ONCE: usize = 8;
/// Hosts whose processes are listed.
const LISTED_MAX: usize = 12;
/// How long a step may take on a slow machine, and how much longer for each host.
const STEP_WITHIN: (Duration, Duration) = (Duration::from_secs(120), Duration::from_secs(3));
/// How long `muster run` waits for hosts that say nothing, unless that would be too short here.
const WAIT: Duration = Duration::from_secs(5);
/// What hosts that are up could take longer than here, times.
const WAIT_MARGIN: u32 = 8;

/// Tells all of it; false if nobody listened any more and it was cut short. `once`: to the end in any case.
/// `packages`: what the hosts have installed.
pub(super) async fn tell(
    fleet: &mut Fleet,
    packages: &Packages,
    teller: &mut Teller<'_>,
    once: bool,
) -> Result<bool, Failure> {
    let mut story = Story {
        within: STEP_WITHIN.0 + STEP_WITHIN.1 * u32::try_from(fleet.agents.len()).unwrap_or(u32::MAX),
        begun: Instant::now(),
        started: Instant::now(),
        ids: BTreeMap::new(),
        fleet,
        teller,
    };
    packages.write(story.fleet.agents.iter().map(|agent| agent.packages.as_path()))?;
    let home = named("founded", story.found_fleet())?;
    let site = story.site();
    let issuer = Issuer { home: &home, site: &site, style: story.teller.style() };
    named("joined", story.join(&home).await)?;
    named("up", story.up().await)?;
    named("linked", story.linked(&issuer).await)?;
    if story.unheard(once) {
        return Ok(false);
    }
    let first = named("ordered", story.order(&issuer).await)?;
    named("proven", story.prove(&first).await)?;
    named("known", story.packages_known(packages).await)?;
    named("searched", story.searched(packages).await)?;
    named("changed", story.changed(packages).await)?;
    if story.unheard(once) {
        return Ok(false);
    }
    if story.fleet.agents.len() == 1 {
        named("killed", story.kill_the_only_one(&issuer).await)?;
        named("back", story.bring_the_only_one_back(&issuer, &first).await)?;
    } else {
        named("killed", story.kill_the_last().await)?;
        let queued = named("silent", story.order_in_its_absence(&issuer, &first).await)?;
        named("asked", story.asked_in_its_absence(packages).await)?;
        if story.unheard(once) {
            return Ok(false);
        }
        named("back", story.bring_the_last_back(&issuer, &queued).await)?;
    }
    let names = story.names(|_| true);
    let took = story.begun.elapsed();
    let text = format!("{FLEET} · {names} · all of it came true, in {}", time::took(took));
    let fields = json!({ "fleet": FLEET, "hosts": story.list(|_| true), "ms": ms(took) });
    story.teller.tell("fleet", &text, &[], fields)?;
    Ok(true)
}

/// Names the step that failed. What one could do about it in a fleet of one's own does not help here.
fn named<T>(step: &str, done: Result<T, Failure>) -> Result<T, Failure> {
    done.map_err(|failure| Failure {
        message: format!("the step \"{step}\" did not come true: {}", failure.message),
        hints: Vec::new(),
        ..failure
    })
}

pub(super) fn missing(what: impl Into<String>) -> Failure {
    Failure::new(ExitCode::Internal, what)
}

pub(super) fn ms(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

/// Any free port of loopback, and a package database of its own.
fn settings(agent: &Agent) -> Settings {
    let loopback = std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
    Settings { listen: vec![loopback], dpkg: agent.packages.clone(), ..Settings::default() }
}

/// Joins by the real protocol, in this process as `muster join` would; returns which host it is and who
/// admitted it.
async fn join(agent: &Agent, token: &JoinToken, within: Duration) -> Result<(HostId, String), Failure> {
    let site = Site { places: agent.places.clone(), state: Some(agent.places.state.clone()), socket: None };
    let mut fresh = chance::source(4)?;
    let candidate = membership::prepare_candidate(&agent.places.state, &mut fresh)
        .map_err(|error| error.explain(&site))?;
    settings(agent).write(&agent.places.config).map_err(|error| error.explain(&site))?;
    let with = JoinWith { token, name: &agent.name, tags: &[], now: clock::now(), wait: false };
    let joined = tokio::time::timeout(within, membership::join(candidate, with))
        .await
        .map_err(|_| missing(format!("{} has not joined within {} s", agent.name, within.as_secs())))?
        .map_err(|error| missing(format!("{} cannot join: {error}", agent.name)))?;
    let host = joined.home.host().map_err(|error| error.explain(&site))?;
    Ok((host, joined.admitted_by))
}

/// Signed results, as JSON shows them.
fn results_json(results: &BTreeMap<HostId, Verified>, ids: &BTreeMap<String, HostId>) -> Value {
    let row = |(name, id): (&String, &HostId)| {
        let result = results.get(id)?;
        let record = result.record();
        Some(json!({
            "host": name,
            "ok": record.outcome.ok(),
            "started": time::rfc3339(record.started),
            "ms": record.took_ms,
            "stdout": result.stdout().map(String::from_utf8_lossy),
        }))
    };
    Value::Array(ids.iter().filter_map(row).collect())
}

pub(super) struct Story<'a, 'b> {
    pub(super) fleet: &'a mut Fleet,
    pub(super) teller: &'a mut Teller<'b>,
    ids: BTreeMap<String, HostId>,
    begun: Instant,
    /// When the last agent was started.
    pub(super) started: Instant,
    pub(super) within: Duration,
}

impl Story<'_, '_> {
    fn unheard(&self, once: bool) -> bool {
        self.teller.is_closed() && !once
    }

    pub(super) fn list(&self, of: impl Fn(&Agent) -> bool) -> Vec<&str> {
        self.fleet.agents.iter().filter(|agent| of(agent)).map(|agent| agent.name.as_str()).collect()
    }

    fn names(&self, of: impl Fn(&Agent) -> bool) -> String {
        nodeset::fold(self.list(of))
    }

    fn id(&self, name: &str) -> Result<HostId, Failure> {
        self.ids.get(name).copied().ok_or_else(|| missing(format!("{name} is not known to be a host")))
    }

    /// The founder's agent, through which everything is asked.
    pub(super) fn site(&self) -> Site {
        let places = self.fleet.agents.first().map(|agent| agent.places.clone());
        let places = places.unwrap_or_else(|| crate::node::Places::find(None, None, |_| None, false));
        Site { state: Some(places.state.clone()), socket: None, places }
    }

    fn found_fleet(&mut self) -> Result<OperatorHome, Failure> {
        let start = Instant::now();
        let site = self.site();
        if let Some(founder) = self.fleet.agents.first() {
            settings(founder).write(&site.places.config).map_err(|error| error.explain(&site))?;
        }
        let tags = [(ROLE.to_owned(), "web".to_owned())];
        let request = FoundRequest {
            operator_key: None,
            name: FLEET,
            person: PERSON,
            operator_valid: CERTIFICATE_VALID,
            host: "web-1",
            tags: &tags,
            state: &site.places.state,
            operators: &self.fleet.operators,
            recovery: &self.fleet.ground.dir().join("recovery.txt"),
            roots: RootCount::ONE,
            now: clock::now(),
        };
        let mut fresh = chance::source(16)?;
        let founded = membership::found(&request, &mut fresh).map_err(|error| error.explain(&site))?;
        let took = start.elapsed();
        let key = founded.operator.signer.key().fingerprint();
        self.ids.insert("web-1".to_owned(), founded.host.host());
        let dir = quoted(self.fleet.ground.dir());
        self.teller.tell(
            "founded",
            &format!("fleet {FLEET} with its first host web-1, in {}", time::took(took)),
            &[format!("operator {PERSON}, key {key}"), format!("all of it is in {}", escape::line(&dir))],
            json!({
                "fleet": FLEET,
                "id": founded.operator.chain.fleet().to_string(),
                "host": "web-1",
                "operator": PERSON,
                "key": key,
                "directory": self.fleet.ground.dir(),
                "ms": ms(took),
            }),
        )?;
        Ok(founded.operator)
    }

    /// Starts the founder, and lets the others join by tokens that it knows of; each starts as it joined.
    async fn join(&mut self, home: &OperatorHome) -> Result<(), Failure> {
        self.fleet.start(0)?;
        let within = self.within;
        if let Some(founder) = self.fleet.agents.first_mut() {
            founder.until("up and listening", within, |status| !status.listen.is_empty()).await?;
        }
        self.started = Instant::now();
        if self.fleet.agents.len() == 1 {
            return Ok(());
        }
        let start = Instant::now();
        let mut tokens = BTreeMap::new();
        let roles: BTreeSet<&'static str> =
            self.fleet.agents.iter().skip(1).map(|agent| role_of(agent)).collect();
        for role in roles {
            let uses = self.fleet.agents.iter().skip(1).filter(|agent| role_of(agent) == role).count();
            tokens.insert(role, self.invite(home, role, uses).await?);
        }
        let all: Vec<usize> = (1..self.fleet.agents.len()).collect();
        let mut admitted_by = BTreeSet::new();
        for some in all.chunks(JOINING_AT_ONCE) {
            let joining = some.iter().filter_map(|at| self.fleet.agents.get(*at)).map(|agent| {
                let token = tokens.get(role_of(agent));
                async move { join(agent, token.ok_or_else(|| missing("there is no token"))?, within).await }
            });
            let joined = futures::future::join_all(joining).await;
            for (at, joined) in some.iter().zip(joined) {
                let (host, by) = joined?;
                admitted_by.insert(by);
                if let Some(agent) = self.fleet.agents.get(*at) {
                    self.ids.insert(agent.name.clone(), host);
                }
                self.fleet.start(*at)?;
            }
        }
        let took = start.elapsed();
        self.started = Instant::now();
        let by: Vec<&str> = admitted_by.iter().map(String::as_str).collect();
        self.teller.tell(
            "joined",
            &format!(
                "{}, admitted by {} for a token of their role, in {}",
                self.names(|agent| agent.name != "web-1"),
                by.join(", "),
                time::took(took)
            ),
            &[],
            json!({
                "hosts": self.list(|agent| agent.name != "web-1"),
                "admitted_by": by,
                "tokens": tokens.len(),
                "ms": ms(took),
            }),
        )
    }

    async fn invite(&self, home: &OperatorHome, role: &str, uses: usize) -> Result<JoinToken, Failure> {
        let site = self.site();
        let mut client = Client::connect(&site.places.socket).await.map_err(|error| error.explain(&site))?;
        let request = InviteRequest {
            approve: false,
            tags: vec![(ROLE.to_owned(), role.to_owned())],
            uses: u32::try_from(uses).unwrap_or(u32::MAX),
            valid: TOKEN_VALID,
            addresses: Vec::new(),
        };
        let invited = membership::invite(&mut client, home, &request, &chance::draw()?, clock::now())
            .await
            .map_err(|error| error.explain(&site))?;
        // As a person would hand it over.
        JoinToken::from_text(&invited.token.to_text()).map_err(|error| missing(error.to_string()))
    }

    async fn up(&mut self) -> Result<(), Failure> {
        let start = Instant::now();
        let within = self.within;
        let (mut below, mut rows) = (Vec::new(), Vec::new());
        let width = self.fleet.agents.iter().map(|agent| agent.name.len()).max().unwrap_or(0);
        for agent in &mut self.fleet.agents {
            let status = agent.until("up and listening", within, |status| !status.listen.is_empty()).await?;
            below.push(format!(
                "{:width$}  executor {}, mesh {}  at {}  {ROLE}={}",
                agent.name,
                status.executor_pid,
                status.mesh_pid,
                escape::line(&status.listen.join(" ")),
                role_of(agent)
            ));
            rows.push(json!({
                "host": agent.name,
                "executor_pid": status.executor_pid,
                "mesh_pid": status.mesh_pid,
                "listen": status.listen,
                "tags": { ROLE: role_of(agent) },
            }));
        }
        let took = start.elapsed();
        let count = below.len();
        if count > LISTED_MAX {
            below.truncate(LISTED_MAX - 2);
            below.push(format!("and {} more", count + 2 - LISTED_MAX));
        }
        let agents = if count == 1 { "1 agent".to_owned() } else { format!("{count} agents") };
        self.teller.tell(
            "up",
            &format!("{agents}, two processes each, with keys and state of their own"),
            &below,
            json!({ "agents": rows, "ms": ms(took) }),
        )
    }

    async fn linked(&mut self, issuer: &Issuer<'_>) -> Result<(), Failure> {
        let within = self.within;
        let all = u32::try_from(self.fleet.agents.len()).unwrap_or(u32::MAX);
        if all == 1 {
            return Ok(());
        }
        let mut links = BTreeMap::new();
        for agent in &mut self.fleet.agents {
            let what = format!("linked and aware of {all} members");
            let status =
                agent.until(&what, within, |status| status.members == all && status.links > 0).await?;
            links.insert(agent.name.clone(), status.links);
        }
        let took = self.started.elapsed();
        // By signed entries, not by anybody's word.
        let replica = issuer.fleet().await?;
        let members = replica.authority().members().count();
        if members != self.fleet.agents.len() {
            return Err(missing(format!("{members} members verify, and not {all}")));
        }
        let (least, most) = (links.values().min().unwrap_or(&0), links.values().max().unwrap_or(&0));
        let links_said = match (least, most) {
            (1, 1) => "1 link each".to_owned(),
            (least, most) if least == most => format!("{least} links each"),
            (least, most) => format!("{least} to {most} links each"),
        };
        self.teller.tell(
            "linked",
            &format!(
                "over libp2p: every host knows all {all}, {links_said}, {} after the last start",
                time::took(took)
            ),
            &[],
            json!({ "members": all, "links": links, "ms": ms(took) }),
        )
    }

    /// The order for one role.
    async fn order(&mut self, issuer: &Issuer<'_>) -> Result<Given, Failure> {
        let target = Targets { labels: vec![format!("{ROLE}=web")], ..Targets::default() };
        // Long enough for every host that is up; it ends when all have answered.
        let given =
            issuer.give(target, &["uname", "-sr"], self.within).await.map_err(|(_, failure)| failure)?;
        let web = self.list(|agent| role_of(agent) == "web").len();
        if given.code != 0 {
            return Err(missing(format!("exit code {} and not 0: {}", given.code, given.lines.join(" | "))));
        }
        let ids = self.list(|agent| role_of(agent) == "web").into_iter().map(|name| self.id(name));
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        let results = issuer.results(given.job, &ids, self.within).await?;
        let ok = results.values().filter(|result| result.record().outcome.ok()).count();
        if results.len() != web || ok != web {
            return Err(missing(format!(
                "{ok} of {} signed results are of success, and not {web} of {web}",
                results.len()
            )));
        }
        let mut below = vec![format!(
            "job {}: signed by the operator's key, flooded, every result back in {}",
            given.job.short(),
            time::took(given.took)
        )];
        below.extend(given.lines.iter().cloned());
        self.teller.tell(
            "ordered",
            "muster run -l role=web -- uname -sr",
            &below,
            json!({
                "job": given.job.to_string(),
                "target": "role=web",
                "command": ["uname", "-sr"],
                "exit": given.code,
                "ok": self.list(|agent| role_of(agent) == "web"),
                "results": results_json(&results, &self.ids),
                "ms": ms(given.took),
            }),
        )?;
        Ok(given)
    }

    /// What the hosts' own counters say: run once where the tag is, not at all elsewhere.
    async fn prove(&mut self, first: &Given) -> Result<(), Failure> {
        let within = self.within;
        let mut groups: BTreeMap<(std::cmp::Reverse<&'static str>, Counts), Vec<String>> = BTreeMap::new();
        let mut rows = Vec::new();
        for agent in &mut self.fleet.agents {
            let wanted = u64::from(role_of(agent) == "web");
            let what = "in possession of the order, or done with it";
            let counts =
                counts_until(agent, what, within, |counts| counts.mesh > 0 && counts.spawns >= wanted)
                    .await?;
            if counts.spawns != wanted || (counts.executor > 0) != (wanted > 0) {
                return Err(agent.failed(&format!(
                    "{} commands started and {} orders verified by its executor, where {wanted} should be",
                    counts.spawns, counts.executor
                ))
                .into());
            }
            rows.push(json!({
                "host": agent.name,
                "order_verifications_mesh": counts.mesh,
                "order_verifications_executor": counts.executor,
                "spawns": counts.spawns,
            }));
            groups.entry((std::cmp::Reverse(role_of(agent)), counts)).or_default().push(agent.name.clone());
        }
        let shown: Vec<(String, Counts)> =
            groups.into_iter().map(|((_, counts), names)| (nodeset::fold(names), counts)).collect();
        let width = shown.iter().map(|(names, _)| escape::width(names)).max().unwrap_or(0);
        let below: Vec<String> = shown
            .iter()
            .map(|(names, counts)| {
                let gap = " ".repeat(width.saturating_sub(escape::width(names)));
                let why = if counts.spawns == 0 { ": it only carries it" } else { "" };
                format!(
                    "{names}{gap}  verified {}× by the mesh process, {}× by the executor; started {}{why}",
                    counts.mesh, counts.executor, counts.spawns
                )
            })
            .collect();
        let sentence = if self.fleet.agents.iter().any(|agent| role_of(agent) != "web") {
            "run once on each host that its tag names, on no other; by each host's own count:"
        } else {
            "run once on each host; by its own count:"
        };
        self.teller.tell("proven", sentence, &below, json!({ "job": first.job.to_string(), "hosts": rows }))
    }

    async fn kill_the_last(&mut self) -> Result<(), Failure> {
        let Some(agent) = self.fleet.agents.last_mut() else { return Ok(()) };
        let (executor, mesh) = agent.kill_both().await?;
        let name = agent.name.clone();
        self.teller.tell(
            "killed",
            &format!("{name}, both of its processes, with SIGKILL: executor {executor}, mesh {mesh}"),
            &[],
            json!({ "host": name, "executor_pid": executor, "mesh_pid": mesh, "signal": 9 }),
        )
    }

    /// The order for all, of whom one is not there.
    async fn order_in_its_absence(&mut self, issuer: &Issuer<'_>, first: &Given) -> Result<Given, Failure> {
        let last = self.last()?;
        let wait = WAIT.max(first.took * WAIT_MARGIN);
        let wait = Duration::from_secs(wait.as_secs());
        let target = Targets::everyone();
        let given = issuer.give(target, &["uname", "-n"], wait).await.map_err(|(_, failure)| failure)?;
        let said = given.lines.join(" | ");
        if given.code != 7 {
            return Err(missing(format!("exit code {} and not 7: {said}", given.code)));
        }
        let named = given.lines.iter().any(|line| line.contains(&last) && line.contains("no answer"));
        if !named {
            return Err(missing(format!("the accounting does not name {last}: {said}")));
        }
        let others = self.list(|agent| agent.name != last).into_iter().map(|name| self.id(name));
        let others = others.collect::<Result<Vec<_>, _>>()?;
        let results = issuer.results(given.job, &others, self.within).await?;
        let command = self.all_command("uname -n", wait);
        let mut below = given.lines.clone();
        below.push(format!(
            "exit code 7 after {}: silence is never success, and {last} is named",
            time::took(given.took)
        ));
        self.teller.tell(
            "silent",
            &command,
            &below,
            json!({
                "job": given.job.to_string(),
                "target": "all",
                "command": ["uname", "-n"],
                "exit": given.code,
                "silent": [last],
                "results": results_json(&results, &self.ids),
                "ms": ms(given.took),
            }),
        )?;
        Ok(given)
    }

    fn all_command(&self, argv: &str, wait: Duration) -> String {
        let yes = if self.fleet.agents.len() >= ASKS_FROM_HOSTS { " --yes" } else { "" };
        let wait = if wait == WAIT { String::new() } else { format!(" --wait {}", time::duration(wait)) };
        format!("muster run --all{yes}{wait} -- {argv}")
    }

    pub(super) fn last(&self) -> Result<String, Failure> {
        self.fleet.agents.last().map(|agent| agent.name.clone()).ok_or_else(|| missing("no host is left"))
    }

    /// What was ordered while it was away runs when it is back.
    async fn bring_the_last_back(&mut self, issuer: &Issuer<'_>, queued: &Given) -> Result<(), Failure> {
        let last = self.last()?;
        let host = self.id(&last)?;
        let start = Instant::now();
        self.fleet.start(self.fleet.agents.len() - 1)?;
        let results = issuer.results(queued.job, &[host], self.within).await.map_err(|failure| {
            self.fleet.agents.last().map_or(failure.clone(), |agent| agent.failed(&failure.message).into())
        })?;
        let took = start.elapsed();
        let result = results.get(&host).ok_or_else(|| missing("its result is not there"))?;
        if !result.record().outcome.ok() {
            return Err(missing(format!("its result is {:?}", result.record().outcome)));
        }
        let within = self.within;
        let Some(agent) = self.fleet.agents.last_mut() else { return Ok(()) };
        let ran = "counting the command";
        let status = agent.until(ran, within, |status| Counts::of(&status.counters).spawns > 0).await?;
        let counts = Counts::of(&status.counters);
        if counts.spawns != 1 {
            return Err(agent.failed(&format!("{} commands started, and not 1", counts.spawns)).into());
        }
        let said = escape::line_bytes(result.stdout().unwrap_or_default()).trim_end().to_owned();
        self.teller.tell(
            "back",
            &format!(
                "{last} (executor {}, mesh {}): it ran what had been queued for it",
                status.executor_pid, status.mesh_pid
            ),
            &[
                format!(
                    "job {}: exit 0, once; the result was here {} after the start of its agent",
                    queued.job.short(),
                    time::took(took)
                ),
                format!("  {}", said.trim_end_matches("\\n")),
            ],
            json!({
                "host": last,
                "executor_pid": status.executor_pid,
                "mesh_pid": status.mesh_pid,
                "job": queued.job.to_string(),
                "spawns": counts.spawns,
                "results": results_json(&results, &self.ids),
                "ms": ms(took),
            }),
        )
    }

    /// With one host there is no other to tell that it is gone.
    async fn kill_the_only_one(&mut self, issuer: &Issuer<'_>) -> Result<(), Failure> {
        let Some(agent) = self.fleet.agents.last_mut() else { return Ok(()) };
        let (executor, mesh) = agent.kill_both().await?;
        let name = agent.name.clone();
        let target = Targets::everyone();
        let code = match issuer.give(target, &["uname", "-n"], WAIT).await {
            Ok(given) => given.code,
            Err((code, _)) => code,
        };
        if code != 5 {
            return Err(missing(format!("exit code {code} and not 5 with no agent to ask")));
        }
        self.teller.tell(
            "killed",
            &format!("{name}, both of its processes, with SIGKILL: executor {executor}, mesh {mesh}"),
            &[format!("{} has exit code 5: nobody is there to take it", self.all_command("uname -n", WAIT))],
            json!({ "host": name, "executor_pid": executor, "mesh_pid": mesh, "signal": 9, "exit": code }),
        )
    }

    /// What it ran before it was killed, it does not run again.
    async fn bring_the_only_one_back(&mut self, issuer: &Issuer<'_>, first: &Given) -> Result<(), Failure> {
        let last = self.last()?;
        let host = self.id(&last)?;
        let start = Instant::now();
        self.fleet.start(0)?;
        let within = self.within;
        let Some(agent) = self.fleet.agents.last_mut() else { return Ok(()) };
        let status = agent
            .until("given its live order again", within, |status| Counts::of(&status.counters).repeated > 0)
            .await?;
        let took = start.elapsed();
        let counts = Counts::of(&status.counters);
        if counts.spawns != 0 {
            return Err(agent.failed(&format!("{} commands started again", counts.spawns)).into());
        }
        let results = issuer.results(first.job, &[host], within).await?;
        self.teller.tell(
            "back",
            &format!(
                "{last} (executor {}, mesh {}), in {}",
                status.executor_pid,
                status.mesh_pid,
                time::took(took)
            ),
            &[format!("job {}: its result is still there, and it was not run again", first.job.short())],
            json!({
                "host": last,
                "executor_pid": status.executor_pid,
                "mesh_pid": status.mesh_pid,
                "job": first.job.to_string(),
                "spawns": counts.spawns,
                "results": results_json(&results, &self.ids),
                "ms": ms(took),
            }),
        )
    }
}
