//! Reads a scenario file. Whatever is wrong in it is named with the file, the line, the key, and what to write.

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use toml::{Spanned, Table, Value};

use super::{
    Trouble,
    expect::Expect,
    file::{
        ALWAYS_MAX, Act, Always, AlwaysCheck, Clock, Command, Forgery, Groups, HOSTS_MAX, HostPlan,
        STEPS_MAX, Scenario, Slow, Step, Wait,
    },
    words,
};
use crate::{
    authority::check_name,
    selector::parse_label,
    terminal::time::{parse_duration, parse_rfc3339},
};

/// How long what is waited for may take, unless the file says: ten times what a busy machine needs.
const WITHIN: Duration = Duration::from_secs(60);
/// Longest time that a file may give, so that no mistake in it makes a step that never ends.
const WITHIN_MAX: Duration = Duration::from_secs(3600);
/// How far a clock may be off.
const CLOCK_OFF_MAX: Duration = Duration::from_secs(20 * 365 * 86_400);
/// Longest name of a host: a socket is below it.
const NAME_BYTES_MAX: usize = 16;
/// Sizes of a disk that is a host's own, in MiB.
const DISK_MIB_MIN: u32 = 4;
const DISK_MIB_MAX: u32 = 256;
/// Packages of a host.
const PACKAGES_MAX: usize = 1_000;
/// Keys of a step that say what a command line must print.
const EXPECTS: [&str; 6] = ["exit", "stdout", "without", "lines", "stderr", "json"];
/// Keys that say what a step does.
const ACTS: [&str; 25] = [
    "enrol", "start", "stop", "kill", "freeze", "thaw", "fill", "free", "remove", "cut", "heal", "slow",
    "clock", "install", "snapshot", "restore", "clone", "run", "check", "begin", "ends", "wait", "spawns",
    "forge", "always",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    about: String,
    roots: Option<String>,
    #[serde(default)]
    reaches: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    host: Vec<Spanned<RawHost>>,
    #[serde(default)]
    operator: Vec<Spanned<RawOperator>>,
    #[serde(default)]
    step: Vec<Spanned<Table>>,
    #[serde(default)]
    always: Vec<Spanned<Table>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHost {
    name: String,
    #[serde(default)]
    tags: Vec<String>,
    segment: Option<String>,
    listens: Option<bool>,
    disk_mib: Option<u32>,
    #[serde(default)]
    packages: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOperator {
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawExpect {
    #[serde(default)]
    exit: u8,
    #[serde(default)]
    stdout: Vec<String>,
    #[serde(default)]
    without: Vec<String>,
    lines: Option<Vec<String>>,
    #[serde(default)]
    stderr: Vec<String>,
    #[serde(default)]
    json: BTreeMap<String, Json>,
}

/// What an act may have beside itself.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCommand {
    at: Option<Names>,
    by: Option<String>,
    within: Option<String>,
    order: Option<String>,
    #[serde(default)]
    save: BTreeMap<String, String>,
    called: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLinks {
    #[serde(default)]
    silent: bool,
    delay: Option<String>,
    #[serde(default)]
    rate: u64,
    #[serde(default)]
    loss: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawClock {
    ahead: Option<String>,
    behind: Option<String>,
    date: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRest {
    via: Option<String>,
    at: Option<Names>,
    within: Option<String>,
    order: Option<String>,
    hosts: Option<Names>,
    tag: Option<String>,
    to: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawInstall {
    host: String,
    package: String,
    version: String,
}

/// One name, or several.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Names {
    One(String),
    Many(Vec<String>),
}

/// What is wrong in a step, and the key it is about.
struct Wrong {
    key: String,
    what: String,
}

fn wrong<T>(key: &str, what: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { key: key.to_owned(), what: what.into() })
}

/// Reads the text of the file at `path`.
///
/// # Errors
/// What is wrong, where, and what to write.
pub fn parse(path: &Path, text: &str) -> Result<Scenario, Trouble> {
    let place = Place { path, text };
    let raw: Raw = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        place.trouble(at, error.message())
    })?;
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let mut hosts: Vec<HostPlan> = Vec::new();
    for host in raw.host {
        let at = host.span().start;
        let plan = host_plan(host.into_inner(), &hosts).map_err(|wrong| place.wrong(at, &wrong))?;
        hosts.push(plan);
    }
    if hosts.is_empty() || hosts.len() > HOSTS_MAX {
        return Err(place
            .trouble(0, &format!("{} hosts, where 1 to {HOSTS_MAX} may be", hosts.len()))
            .hint("write for each: [[host]] and below it name = \"a\""));
    }
    let mut operators: Vec<String> = Vec::new();
    for operator in raw.operator {
        let (at, name) = (operator.span().start, operator.into_inner().name);
        let taken = hosts.iter().any(|host| host.name == name) || operators.contains(&name);
        check_place(&name, taken).map_err(|wrong| place.wrong(at, &wrong))?;
        operators.push(name);
        if operators.len() > HOSTS_MAX {
            return Err(place.trouble(at, &format!("more than {HOSTS_MAX} operators")));
        }
    }
    if let Some(roots) = &raw.roots
        && !roots.split_once("-of-").is_some_and(|(m, n)| m.parse::<u8>().is_ok() && n.parse::<u8>().is_ok())
    {
        let at = text.find("roots").unwrap_or(0);
        return Err(place.trouble(at, "how many root keys govern, of how many: roots = \"2-of-3\""));
    }
    let segments: Vec<&String> = hosts.iter().filter_map(|host| host.segment.as_ref()).collect();
    for (from, to) in &raw.reaches {
        if let Some(other) = std::iter::once(from).chain(to).find(|segment| !segments.contains(segment)) {
            let at = text.find("[reaches]").unwrap_or(0);
            return Err(place.trouble(at, &format!("no host is in a segment {other:?}")));
        }
    }
    let mut steps = Vec::new();
    for step in raw.step {
        let (at, mut table) = (step.span().start, step.into_inner());
        let simulated = table.remove("simulated").map_or(Ok(true), |value| read("simulated", value));
        let simulated = simulated.map_err(|wrong| place.wrong(at, &wrong))?;
        let (name, act) = Reader { hosts: &hosts, operators: &operators }
            .step(table)
            .map_err(|wrong| place.wrong(at, &wrong))?;
        steps.push(Step { name, line: place.line(at), simulated, act });
    }
    if steps.is_empty() || steps.len() > STEPS_MAX {
        return Err(place
            .trouble(0, &format!("{} steps, where 1 to {STEPS_MAX} may be", steps.len()))
            .hint("the first could be: [[step]] and below it enrol = \"all\""));
    }
    let mut always = Vec::new();
    for check in raw.always {
        let (at, table) = (check.span().start, check.into_inner());
        let (name, check) = Reader { hosts: &hosts, operators: &operators }
            .always(table)
            .map_err(|wrong| place.wrong(at, &wrong))?;
        always.push(Always { name, line: place.line(at), check });
    }
    if always.len() > ALWAYS_MAX {
        return Err(place.trouble(0, &format!("more than {ALWAYS_MAX} checks that always hold")));
    }
    Ok(Scenario {
        name,
        about: raw.about,
        roots: raw.roots,
        hosts,
        operators,
        reaches: raw.reaches,
        steps,
        always,
    })
}

struct Place<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Place<'_> {
    fn line(&self, at: usize) -> usize {
        self.text.get(..at).map_or(1, |before| before.matches('\n').count() + 1)
    }

    /// What stands wrong at a byte of the file.
    fn trouble(&self, at: usize, what: &str) -> Trouble {
        let number = self.line(at);
        let line = self.text.lines().nth(number - 1).unwrap_or_default();
        let before = self.text.get(..at).and_then(|before| before.rsplit('\n').next()).unwrap_or_default();
        let trouble =
            Trouble::usage(format!("{}:{number}: {}", self.path.display(), what.replace('\n', ", ")));
        let blanks = " ".repeat(before.chars().count());
        trouble
            .point(format!("  {line}\n  {blanks}^"))
            .hint("what a file may say is in README.md, under Scenarios")
    }

    /// The same for a key of the table that begins at a byte.
    fn wrong(&self, table: usize, wrong: &Wrong) -> Trouble {
        let mut at = table;
        let mut from = table;
        for (count, line) in self.text.get(table..).unwrap_or_default().split_inclusive('\n').enumerate() {
            let begins = line.trim_start();
            if count > 0 && begins.starts_with('[') {
                break;
            }
            let is_key = |rest: &str| rest.trim_start().starts_with('=');
            if begins.strip_prefix(wrong.key.as_str()).is_some_and(is_key) {
                at = from + (line.len() - begins.len());
                break;
            }
            from += line.len();
        }
        self.trouble(at, &wrong.what)
    }
}

fn host_plan(raw: RawHost, before: &[HostPlan]) -> Result<HostPlan, Wrong> {
    let RawHost { name, tags, segment, listens, disk_mib, packages } = raw;
    check_place(&name, before.iter().any(|host| host.name == name))?;
    if let Some((tag, error)) = tags.iter().find_map(|tag| Some((tag, parse_label(tag).err()?))) {
        return wrong("tags", format!("{tag:?}: {error}"));
    }
    if disk_mib.is_some_and(|mib| !(DISK_MIB_MIN..=DISK_MIB_MAX).contains(&mib)) {
        return wrong("disk_mib", format!("a disk has {DISK_MIB_MIN} to {DISK_MIB_MAX} MiB: it is memory"));
    }
    let plain = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || ".+-~:_".contains(c))
    };
    if packages.len() > PACKAGES_MAX || !packages.iter().all(|(name, version)| plain(name) && plain(version))
    {
        return wrong("packages", "packages are names with versions, of letters, digits and . + - ~ : _");
    }
    Ok(HostPlan { name, tags, segment, listens: listens.unwrap_or(true), disk_mib, packages })
}

/// Whether something on this machine may be called so, and nothing else is.
fn check_place(name: &str, taken: bool) -> Result<(), Wrong> {
    if !check_name(name) || name.len() > NAME_BYTES_MAX || name == "all" {
        return wrong(
            "name",
            format!("{name:?} cannot be a host's name here: up to {NAME_BYTES_MAX} of a-z, 0-9, -"),
        );
    }
    if taken { wrong("name", format!("there are two hosts {name}")) } else { Ok(()) }
}

struct Reader<'a> {
    hosts: &'a [HostPlan],
    operators: &'a [String],
}

impl Reader<'_> {
    fn step(&self, mut table: Table) -> Result<(Option<String>, Act), Wrong> {
        let name = sentence(&mut table)?;
        let mut acts = ACTS.iter().filter(|act| table.contains_key(**act));
        let (Some(act), None) = (acts.next(), acts.next()) else {
            let first = table.keys().next().cloned().unwrap_or_default();
            return wrong(&first, format!("a step does one of: {}", ACTS.join(", ")));
        };
        let Some(value) = table.remove(*act) else { return wrong(act, "it says nothing") };
        Ok((name, self.act(act, value, table)?))
    }

    fn act(&self, act: &str, value: Value, mut table: Table) -> Result<Act, Wrong> {
        match act {
            "run" | "check" | "begin" => {
                let text: String = read(act, value)?;
                let expect = expect(&mut table)?;
                let called = table.get("called").is_some();
                if called != (act == "begin") {
                    return wrong("called", "what is begun is `called` something, and nothing else is");
                }
                let raw: RawCommand = rest(act, table)?;
                let called = raw.called.clone().unwrap_or_default();
                let command = self.command(act, text, expect, raw)?;
                Ok(match act {
                    "run" => Act::Run(command),
                    "check" => Act::Check(command),
                    _ if command.expect != Expect::default() => {
                        return wrong("begin", "what it must say stands where it `ends`");
                    }
                    _ => Act::Begin { command, called },
                })
            }
            "ends" => {
                let expect = expect(&mut table)?;
                let RawRest { within, .. } = allowed(act, table, &["within"])?;
                Ok(Act::Ends {
                    called: read(act, value)?,
                    expect,
                    within: duration("within", within.as_deref())?,
                })
            }
            "cut" | "slow" | "heal" => self.links(act, value, table),
            "clock" => {
                only(act, &table, &["ahead", "behind", "date"])?;
                let to = clock(rest(act, table)?)?;
                Ok(Act::Clock { machines: self.places(read(act, value)?)?, to })
            }
            "install" => {
                let _nothing: RawRest = allowed(act, table, &[])?;
                let RawInstall { host, package, version } = read(act, value)?;
                self.known(act, &host)?;
                Ok(Act::Install { host, package, version })
            }
            "wait" => {
                let raw = allowed(act, table, &["at", "within", "order"])?;
                let within = duration("within", raw.within.as_deref())?;
                let what: String = read(act, value)?;
                let wait = match (what.as_str(), raw.order) {
                    ("linked", None) if raw.at.is_none() => Wait::Linked,
                    ("agree", None) if raw.at.is_none() => Wait::Agree,
                    ("answered", Some(order)) => Wait::Answered { order, at: self.one("at", raw.at)? },
                    _ => {
                        return wrong(
                            act,
                            "what is waited for is linked, agree, or answered with at and order",
                        );
                    }
                };
                Ok(Act::Wait { wait, within })
            }
            "spawns" => {
                let raw = allowed(act, table, &["order", "within"])?;
                let counts: BTreeMap<String, u64> = read(act, value)?;
                counts.keys().try_for_each(|host| self.known(act, host))?;
                Ok(Act::Spawns {
                    order: raw.order,
                    counts,
                    within: duration("within", raw.within.as_deref())?,
                })
            }
            "forge" => {
                let raw = allowed(act, table, &["at", "hosts", "tag"])?;
                let tag = raw.tag.as_deref().map(parse_label).transpose();
                let tag = tag.or_else(|error| wrong("tag", format!("tag: {error}")))?;
                let how: String = read(act, value)?;
                let how = match how.as_str() {
                    "unknown key" => Forgery::UnknownKey,
                    "host key" => Forgery::HostKey,
                    "altered" => Forgery::Altered,
                    _ => {
                        return wrong(
                            act,
                            "an order or a tag is forged with \"unknown key\", \"host key\" or \"altered\"",
                        );
                    }
                };
                let at = self.one("at", raw.at)?;
                Ok(Act::Forge {
                    how,
                    tag,
                    at,
                    hosts: self.names("hosts", raw.hosts.unwrap_or(Names::One("all".into())))?,
                })
            }
            "clone" => {
                let of: String = read(act, value)?;
                let RawRest { to, .. } = allowed(act, table, &["to"])?;
                let Some(host) = to else {
                    return wrong(act, "a clone is played by a host of the file: to = \"d\"");
                };
                [&of, &host].into_iter().try_for_each(|host| self.known("to", host))?;
                Ok(Act::Clone { of, host })
            }
            "enrol" => {
                let hosts = self.names(act, read(act, value)?)?;
                let RawRest { via, .. } = allowed(act, table, &["via"])?;
                via.iter().try_for_each(|host| self.known("via", host))?;
                Ok(Act::Enrol { hosts, via })
            }
            _ => {
                let hosts = self.names(act, read(act, value)?)?;
                let _nothing: RawRest = allowed(act, table, &[])?;
                Ok(match act {
                    "start" => Act::Start(hosts),
                    "stop" => Act::Stop(hosts),
                    "kill" => Act::Kill(hosts),
                    "freeze" => Act::Freeze(hosts),
                    "thaw" => Act::Thaw(hosts),
                    "snapshot" => Act::Snapshot(hosts),
                    "restore" => Act::Restore(hosts),
                    "remove" => Act::Remove(hosts),
                    "fill" | "free" if !hosts.iter().all(|host| self.has_disk(host)) => {
                        return wrong(act, "a disk that is filled has a size: disk_mib = 16 at its host");
                    }
                    "fill" => Act::Fill(hosts),
                    "free" => Act::Free(hosts),
                    _ => return wrong(act, "what always holds stands under [[always]]"),
                })
            }
        }
    }

    fn links(&self, act: &str, value: Value, table: Table) -> Result<Act, Wrong> {
        let keys: &[&str] = match act {
            "cut" => &["silent"],
            "slow" => &["delay", "rate", "loss"],
            _ => &[],
        };
        only(act, &table, keys)?;
        let raw: RawLinks = rest(act, table)?;
        let text: String = read(act, value)?;
        if act == "heal" && text == "all" {
            return Ok(Act::Heal(None));
        }
        let groups = self.groups(act, &text)?;
        Ok(match act {
            "cut" => Act::Cut { groups, silent: raw.silent },
            "heal" => Act::Heal(Some(groups)),
            _ => {
                let delay =
                    raw.delay.as_deref().map_or(Ok(Duration::ZERO), |text| duration("delay", Some(text)))?;
                let slow = Slow { delay, rate: raw.rate, loss: raw.loss };
                if slow == Slow::default() || slow.loss > 50 {
                    return wrong(
                        act,
                        "a slow link has a delay, a rate in bytes a second, or a loss of up to 50 %",
                    );
                }
                Act::Slow { groups, slow }
            }
        })
    }

    fn always(&self, mut table: Table) -> Result<(Option<String>, AlwaysCheck), Wrong> {
        let name = sentence(&mut table)?;
        if let Some(value) = table.remove("spawns_max") {
            let _nothing: RawRest = allowed("spawns_max", table, &[])?;
            return Ok((name, AlwaysCheck::SpawnsMax(read("spawns_max", value)?)));
        }
        let Some(value) = table.remove("check") else {
            let first = table.keys().next().cloned().unwrap_or_default();
            return wrong(&first, "what always holds is spawns_max = 1, or a check with its command");
        };
        let text: String = read("check", value)?;
        let expect = expect(&mut table)?;
        only("check", &table, &["at", "by", "within"])?;
        let raw: RawCommand = rest("check", table)?;
        Ok((name, AlwaysCheck::Command(Box::new(self.command("check", text, expect, raw)?))))
    }

    fn command(&self, act: &str, text: String, expect: Expect, raw: RawCommand) -> Result<Command, Wrong> {
        let words = words::split(&text).or_else(|why| wrong(act, format!("no command line: {why}")))?;
        if words.first().is_none_or(|word| word != "muster") {
            return wrong(act, "a command line begins with muster");
        }
        let at = match raw.at {
            Some(at) => self.places(at)?,
            None => return wrong(act, "at which host? write at = \"a\""),
        };
        if at.len() != 1 && act != "check" {
            return wrong("at", "one host, in whose place the command line is typed");
        }
        if let Some(name) = raw.save.keys().chain(&raw.order).find(|name| !plain_name(name)) {
            return wrong("save", format!("{name:?} cannot be a name: a-z, 0-9 and _"));
        }
        if let Some(by) = raw.by.iter().find(|by| !self.operators.contains(by)) {
            return wrong("by", format!("there is no [[operator]] {by:?}"));
        }
        let within = duration("within", raw.within.as_deref())?;
        Ok(Command { at, by: raw.by, text, words, expect, within, order: raw.order, save: raw.save })
    }

    fn names(&self, key: &str, names: Names) -> Result<Vec<String>, Wrong> {
        let names = match names {
            Names::One(all) if all == "all" => self.hosts.iter().map(|host| host.name.clone()).collect(),
            Names::One(one) => vec![one],
            Names::Many(many) => many,
        };
        names.iter().try_for_each(|name| self.known(key, name))?;
        if names.is_empty() { wrong(key, "no host") } else { Ok(names) }
    }

    /// Where command lines are typed: hosts, and machines that are none.
    fn places(&self, names: Names) -> Result<Vec<String>, Wrong> {
        let is_operator = |name: &String| self.operators.contains(name);
        match names {
            Names::One(one) if is_operator(&one) => Ok(vec![one]),
            Names::Many(many) if many.iter().any(is_operator) => {
                let mut hosts = many.iter().filter(|name| !is_operator(name));
                hosts.try_for_each(|name| self.known("at", name))?;
                Ok(many)
            }
            names => self.names("at", names),
        }
    }

    fn one(&self, key: &str, names: Option<Names>) -> Result<String, Wrong> {
        let Some(Names::One(name)) = names else { return wrong(key, "one host: at = \"a\"") };
        self.known(key, &name)?;
        Ok(name)
    }

    fn has_disk(&self, name: &str) -> bool {
        self.hosts.iter().any(|host| host.name == name && host.disk_mib.is_some())
    }

    fn known(&self, key: &str, name: &str) -> Result<(), Wrong> {
        if self.hosts.iter().any(|host| host.name == name) {
            return Ok(());
        }
        let names: Vec<&str> = self.hosts.iter().map(|host| host.name.as_str()).collect();
        wrong(key, format!("there is no host {name:?}, only {}", names.join(", ")))
    }

    fn groups(&self, key: &str, text: &str) -> Result<Groups, Wrong> {
        let groups: Groups = text
            .split('|')
            .map(|group| group.split(',').map(|name| name.trim().to_owned()).collect())
            .collect();
        let mut seen: Vec<&String> = Vec::new();
        for name in groups.iter().flatten() {
            if !self.operators.contains(name) {
                self.known(key, name)?;
            }
            if seen.contains(&name) {
                return wrong(key, format!("{name} is in two groups"));
            }
            seen.push(name);
        }
        if groups.len() < 2 {
            return wrong(key, "links are between groups: \"a, b | c\"");
        }
        Ok(groups)
    }
}

fn plain_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_')
}

fn sentence(table: &mut Table) -> Result<Option<String>, Wrong> {
    table.remove("name").map(|value| read("name", value)).transpose()
}

/// Reads one value.
fn read<T: DeserializeOwned>(key: &str, value: Value) -> Result<T, Wrong> {
    value.try_into().or_else(|error| wrong(key, format!("{key}: {}", error.message())))
}

/// Reads what is left of a table.
fn rest<T: DeserializeOwned>(act: &str, table: Table) -> Result<T, Wrong> {
    let first = table.keys().next().cloned().unwrap_or_else(|| act.to_owned());
    table.try_into().or_else(|error: toml::de::Error| {
        let message = error.message();
        // The key that serde names, where it does.
        let named = message.split('`').nth(1).map_or(first.as_str(), |key| key);
        wrong(named, message)
    })
}

fn only(act: &str, table: &Table, keys: &[&str]) -> Result<(), Wrong> {
    match table.keys().find(|key| !keys.contains(&key.as_str())) {
        Some(key) if keys.is_empty() => {
            wrong(key, format!("{key} does not go with {act}, which stands alone"))
        }
        Some(key) => wrong(key, format!("{key} does not go with {act}, only {}", keys.join(", "))),
        None => Ok(()),
    }
}

fn allowed(act: &str, table: Table, keys: &[&str]) -> Result<RawRest, Wrong> {
    only(act, &table, keys)?;
    rest(act, table)
}

fn expect(table: &mut Table) -> Result<Expect, Wrong> {
    let mut found = Table::new();
    for key in EXPECTS {
        found.extend(table.remove_entry(key));
    }
    let raw: RawExpect = if found.is_empty() { RawExpect::default() } else { rest("exit", found)? };
    let RawExpect { exit, stdout, without, lines, stderr, json } = raw;
    Ok(Expect { exit: exit.into(), stdout, without, lines, stderr, json: json.into_iter().collect() })
}

fn clock(raw: RawClock) -> Result<Clock, Wrong> {
    let off = |key, text: &str| match parse_duration(text) {
        Ok(off) if off > CLOCK_OFF_MAX => wrong(key, format!("{text} is longer than 20 years")),
        Ok(off) => Ok(i64::try_from(off.as_millis()).unwrap_or(i64::MAX)),
        Err(error) => wrong(key, format!("{key}: {error}")),
    };
    match (raw.ahead, raw.behind, raw.date) {
        (None, None, None) => Ok(Clock::Right),
        (Some(text), None, None) => Ok(Clock::Off(off("ahead", &text)?)),
        (None, Some(text), None) => Ok(Clock::Off(-off("behind", &text)?)),
        (None, None, Some(text)) => match parse_rfc3339(&text) {
            Ok(at) => Ok(Clock::At(at)),
            Err(error) => wrong("date", format!("date: {error}")),
        },
        _ => wrong("clock", "a clock is ahead, behind, at a date, or without any of them right"),
    }
}

fn duration(key: &str, text: Option<&str>) -> Result<Duration, Wrong> {
    let Some(text) = text else { return Ok(WITHIN) };
    match parse_duration(text) {
        Ok(duration) if duration <= WITHIN_MAX => Ok(duration),
        Ok(_) => wrong(key, format!("{text} is longer than an hour")),
        Err(error) => wrong(key, format!("{key}: {error}")),
    }
}
