use std::{
    cell::RefCell,
    io::{self, Write},
    path::PathBuf,
    rc::Rc,
};

use serde_json::Value;

use super::*;
use crate::{
    authority::GroupState,
    control::{
        Client,
        testing::{FakeAgent, NOW, Script, TestFleet},
    },
    targets::TargetError,
    terminal::{AskError, Format, Output, Style, Talk},
};

#[derive(Clone, Default)]
struct Sink(Rc<RefCell<Vec<u8>>>);
impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct World {
    agent: FakeAgent,
    operators: PathBuf,
    said: Sink,
}

impl World {
    fn new() -> Self {
        Self::of(TestFleet::acme())
    }

    fn of(mut fleet: TestFleet) -> Self {
        let web = fleet.host("web-1", &[("role", "web"), ("env", "prod")]);
        fleet.host("web-2", &[("role", "web"), ("env", "prod")]);
        fleet.host("db-1", &[("role", "db")]);
        let agent = FakeAgent::start(Script::of(&fleet, web));
        let operators = agent.dir().join("operators");
        fleet.operator_home(&operators);
        Self { agent, operators, said: Sink::default() }
    }

    fn talk(&self, terminal: bool, yes: bool, answer: &'static str) -> Talk {
        Talk::new(self.said.clone(), answer.as_bytes(), Style::default(), terminal, yes, false)
    }

    fn said(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.said.0.borrow_mut())).unwrap()
    }

    async fn client(&self) -> Client {
        Client::connect(&self.agent.socket()).await.unwrap()
    }

    async fn set_with(
        &self,
        name: &str,
        text: Option<&str>,
        dry_run: bool,
        talk: &mut Talk,
    ) -> Result<(), GroupError> {
        set(&mut self.client().await, &self.operators, name, text, dry_run, [9; 16], NOW, talk).await
    }

    async fn set(&self, name: &str, text: Option<&str>) -> Result<(), GroupError> {
        self.set_with(name, text, false, &mut self.talk(false, true, "")).await
    }

    async fn list(&self, only: Option<&str>, format: Format) -> Result<String, GroupError> {
        let mut output = Output::new(Vec::new(), format, true, Style::default(), NOW);
        let mut talk = self.talk(false, false, "");
        list(&mut self.client().await, &self.operators, only, &mut output, &mut talk).await?;
        Ok(String::from_utf8(output.into_inner()).unwrap())
    }

    fn group(&self, name: &str) -> Option<GroupState> {
        self.agent.script(|script| script.replica.authority().group(name))
    }

    fn taken(&self) -> usize {
        self.agent.script(|script| script.taken)
    }
}

#[tokio::test]
async fn a_group_is_saved_shown_changed_and_taken_away() {
    let world = World::new();
    world.set("prod", Some("tag.env = prod")).await.unwrap();
    assert_eq!(world.group("prod"), Some(GroupState::Set("tag.env = prod".to_owned())));
    assert!(world.said().ends_with("@prod is tag.env = prod\n"));
    world.set("@web", Some("@prod and tag.role = web")).await.unwrap();
    world.said();
    world.set("web", Some("@prod and tag.role = web")).await.unwrap();
    assert_eq!((world.taken(), world.said().as_str()), (2, "nothing to do: it is so already\n"));

    let golden = "\
NAME  STATE  SELECTOR                  BY   WRITTEN
prod  ✓ set  tag.env = prod            ana  now
web   ✓ set  @prod and tag.role = web  ana  now
";
    assert_eq!(world.list(None, Format::Table).await.unwrap(), golden);
    let json: Value = serde_json::from_str(&world.list(Some("@web"), Format::Json).await.unwrap()).unwrap();
    assert_eq!(json["schema"], "muster.group/v1");
    assert_eq!(json["items"].as_array().unwrap().len(), 1);
    assert_eq!(json["items"][0]["selector"], "@prod and tag.role = web");

    world.set("prod", Some("tag.env in [prod, live]")).await.unwrap();
    assert_eq!(world.group("prod"), Some(GroupState::Set("tag.env in [prod, live]".to_owned())));
    world.set("prod", None).await.unwrap();
    assert_eq!((world.group("prod"), world.taken()), (None, 4));
    let gone = world.set("prod", None).await.unwrap_err();
    assert!(matches!(gone, GroupError::Target(TargetError::UnknownGroup { .. })), "{gone}");
    let gone = world.list(Some("wbe"), Format::Table).await.unwrap_err();
    assert!(
        matches!(gone, GroupError::Target(TargetError::UnknownGroup { near: Some(near), .. }) if near == "web")
    );
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_anything_is_signed() {
    let world = World::new();
    world.set("prod", Some("tag.env = prod")).await.unwrap();
    world.set("inner", Some("@prod")).await.unwrap();
    for (name, text, part) in [
        ("Prod", "all", "Prod is no name for a group"),
        ("", "all", " is no name for a group"),
        ("new", "tag.env ==", "^"),
        ("new", "", "empty"),
        ("new", "@nobody", "no group is called nobody"),
        ("new", "@new or all", "@new @new"),
        ("prod", "@inner", "@prod @inner"),
    ] {
        let error = world.set(name, Some(text)).await.unwrap_err().to_string();
        assert!(error.contains(part) || part == "empty", "{name} {text}: {error}");
    }
    assert_eq!(world.taken(), 2);
}

#[tokio::test]
async fn a_change_is_asked_for_and_a_dry_run_changes_nothing() {
    let world = World::new();
    world.set_with("prod", Some("tag.env = prod"), true, &mut world.talk(false, false, "")).await.unwrap();
    assert_eq!(world.said(), "would save @prod as tag.env = prod (2 of 3 hosts); nothing was changed\n");
    let alone =
        world.set_with("prod", Some("all"), false, &mut world.talk(false, false, "")).await.unwrap_err();
    assert!(matches!(alone, GroupError::Ask(AskError::NobodyToAsk)), "{alone}");
    let no =
        world.set_with("prod", Some("all"), false, &mut world.talk(true, false, "n\n")).await.unwrap_err();
    assert!(matches!(no, GroupError::Ask(AskError::Declined)), "{no}");
    assert!(world.said().contains("As ana, save @prod as all (3 of 3 hosts)?"));
    assert_eq!(world.taken(), 0);
    world.set_with("prod", Some("all"), false, &mut world.talk(true, false, "y\n")).await.unwrap();
    assert_eq!(world.taken(), 1);
}

#[tokio::test]
async fn who_may_put_only_some_tags_saves_no_group() {
    let any = |key: &str| (key.to_owned(), "*".to_owned());
    let some = TestFleet::with(|certificate| certificate.tags = vec![any("role"), any("env")]);
    let world = World::of(some);
    let refused = world.set("prod", Some("all")).await.unwrap_err();
    assert_eq!(refused.to_string(), "not permitted: the tag *=* is not granted");
    assert_eq!(world.taken(), 0);
}

#[tokio::test]
async fn a_conflict_is_shown_and_settled_by_the_next_write() {
    let world = World::new();
    // Two directories of one operator, neither of which saw the other.
    world.set("prod", Some("tag.env = prod")).await.unwrap();
    let other = World::new();
    set(
        &mut other.client().await,
        &other.operators,
        "prod",
        Some("tag.env = live"),
        false,
        [7; 16],
        NOW,
        &mut other.talk(false, true, ""),
    )
    .await
    .unwrap();
    let theirs = other.agent.script(|script| script.replica.all());
    world.agent.script(|script| {
        for item in theirs {
            let entry = crate::replica::Entry::verify(&item.entry.0, script.replica.fleet()).unwrap();
            let _known_or_new = script.replica.merge(entry, &item.facets);
        }
    });
    let texts = ["tag.env = live", "tag.env = prod"].map(|text| Some(text.to_owned())).to_vec();
    assert_eq!(world.group("prod"), Some(GroupState::Conflict(texts)));
    let shown = world.list(None, Format::Table).await.unwrap();
    assert!(shown.contains("conflict") && shown.contains("tag.env = live against tag.env = prod"), "{shown}");
    let json: Value = serde_json::from_str(&world.list(None, Format::Json).await.unwrap()).unwrap();
    assert_eq!(json["items"][0]["selector"], Value::Null);
    assert_eq!(json["items"][0]["written"][0], "tag.env = live");
    world.set("prod", Some("tag.env = prod")).await.unwrap();
    assert_eq!(world.group("prod"), Some(GroupState::Set("tag.env = prod".to_owned())));
}
