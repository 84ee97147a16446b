use std::{
    cell::RefCell,
    io::{self, Write},
    path::PathBuf,
    rc::Rc,
    time::Duration,
};

use serde_json::Value;

use super::*;
use crate::{
    authority::{OpAction, TagChange, TagState},
    control::{
        Client, PickError,
        testing::{FakeAgent, NOW, Script, TestFleet},
    },
    identity::{HostId, Signed, StreamId, WriterId},
    journal::{OperatorHome, WriterState},
    terminal::{AskError, Format, Output, Style, Talk},
};

const HOUR: Duration = Duration::from_secs(3600);

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
impl Sink {
    fn text(&self) -> String {
        String::from_utf8(self.0.borrow().clone()).unwrap()
    }
}

/// web-1 (asked), web-2 (up, its tag env in conflict), db-1 (unreachable for 3 hours), old-1 (left).
struct World {
    fleet: TestFleet,
    agent: FakeAgent,
    operators: PathBuf,
    said: Sink,
}

impl World {
    fn new() -> Self {
        Self::of(TestFleet::acme())
    }

    fn of(mut fleet: TestFleet) -> Self {
        let web_1 = fleet.host("web-1", &[("role", "web"), ("env", "prod")]);
        let web_2 = fleet.host("web-2", &[("role", "web"), ("env", "prod")]);
        let db = fleet.host("db-1", &[("role", "db")]);
        let old = fleet.host("old-1", &[]);
        fleet.leaves(old);
        fleet.says(web_1, "0.1.0", "Debian GNU/Linux 12 (bookworm)", &["10.0.0.1:7946"]);
        // Everything that a terminal could be made to do with it.
        fleet.says(
            web_2,
            "0.1.0\u{1b}]0;owned\u{7}",
            "Evil\u{1b}[2J\u{1b}[1;1H\u{202e}  ✓ linked\r\n\tOS\u{200b}",
            &["10.0.0.2:7946\u{9b}31m"],
        );
        let mut script = Script::of(&fleet, web_1);
        script.lines = Some(listing::lines);
        script.sees(web_1, "self", Some(NOW));
        script.sees(web_2, "up", Some(NOW.before(Duration::from_secs(3))));
        script.sees(db, "unreachable", Some(NOW.before(HOUR * 3)));
        // An agent cannot bring back who left.
        script.sees(old, "up", Some(NOW));
        script.pings.insert(web_2, Ok((4_130, Vec::new())));
        script.pings.insert(db, Ok((38_200, vec![web_2])));
        let agent = FakeAgent::start(script);
        let operators = agent.dir().join("operators");
        fleet.operator_home(&operators);
        Self { fleet, agent, operators, said: Sink::default() }
    }

    fn id(&self, name: &str) -> HostId {
        self.fleet.replica.authority().hosts().find(|host| host.name() == name).unwrap().id()
    }

    fn talk(&self, terminal: bool, yes: bool, answer: &'static str) -> Talk {
        Talk::new(self.said.clone(), answer.as_bytes(), Style::default(), terminal, yes, false)
    }

    async fn client(&self) -> Client {
        Client::connect(&self.agent.socket()).await.unwrap()
    }

    async fn list(&self, format: Format, terminal: bool, which: &Which) -> Result<String, HostsError> {
        self.list_within(None, format, terminal, which).await
    }

    async fn list_within(
        &self,
        columns: Option<usize>,
        format: Format,
        terminal: bool,
        which: &Which,
    ) -> Result<String, HostsError> {
        let mut output = Output::new(Vec::new(), format, terminal, Style::default(), NOW).within(columns);
        let mut talk = self.talk(false, false, "");
        list(&mut self.client().await, &self.operators, which, &mut output, &mut talk).await?;
        Ok(String::from_utf8(output.into_inner()).unwrap())
    }

    async fn show(&self, name: &str, format: Format) -> Result<String, HostsError> {
        let mut output = Output::new(Vec::new(), format, true, Style::default(), NOW);
        let mut talk = self.talk(false, false, "");
        show(&mut self.client().await, &self.operators, name, NOW, &mut output, &mut talk).await?;
        Ok(String::from_utf8(output.into_inner()).unwrap())
    }

    async fn tag(&self, which: &Which, wanted: &[TagChange], talk: &mut Talk) -> Result<(), HostsError> {
        self.tag_with(which, wanted, false, [9; 16], talk).await
    }

    async fn tag_with(
        &self,
        which: &Which,
        wanted: &[TagChange],
        dry_run: bool,
        seed: [u8; 16],
        talk: &mut Talk,
    ) -> Result<(), HostsError> {
        tag(&mut self.client().await, &self.operators, which, wanted, dry_run, seed, NOW, talk).await
    }

    fn tags(&self, name: &str) -> Vec<(String, TagState)> {
        let id = self.id(name);
        self.agent.script(|script| {
            let host = script.replica.authority().host(&id).unwrap();
            host.tags().iter().map(|(key, value)| (key.clone(), value.clone())).collect()
        })
    }

    fn stream(&self, writer: u8) -> Vec<Signed<crate::authority::Op>> {
        let id = StreamId::of_operator(&self.fleet.operator_key(), WriterId([writer; 16]));
        self.agent.script(|script| script.replica.operator_stream(&id).to_vec())
    }

    fn writer(&self) -> Option<WriterState> {
        let home = OperatorHome::find(&self.operators, self.fleet.chain.fleet()).unwrap().unwrap();
        home.lock_writer().unwrap().state()
    }
}

fn named(names: &[&str]) -> Which {
    Which { names: names.iter().map(|name| (*name).to_owned()).collect(), ..Which::default() }
}

fn selected(text: &str) -> Which {
    Which { selector: Some(text.to_owned()), ..Which::default() }
}

fn set(key: &str, value: &str) -> TagChange {
    TagChange { key: key.to_owned(), value: Some(value.to_owned()) }
}

fn unset(key: &str) -> TagChange {
    TagChange { key: key.to_owned(), value: None }
}

fn is_set(value: &str) -> TagState {
    TagState::Set(value.to_owned())
}

#[tokio::test]
async fn a_person_sees_every_host_with_its_state_and_nothing_that_a_host_could_fake() {
    let world = World::new();
    let table = world.list(Format::Table, true, &Which::default()).await.unwrap();
    let golden = "\
NAME   STATE          OS                                                AGENT                  SEEN    TAGS
db-1   ✗ unreachable  -                                                 -                      3h ago  role=db
old-1  ! left         -                                                 -                      now     -
web-1  ✓ self         Debian GNU/Linux 12 (bookworm)                    0.1.0                  now     env=prod,role=web
web-2  ✓ up           Evil\\x1b[2J\\x1b[1;1H\\u{202e} \\x20\\u{2713} linke…  0.1.0\\x1b]0;owned\\x07  3s ago  env=prod,role=web
";
    assert_eq!(table, golden);
}

#[tokio::test]
async fn on_a_narrow_terminal_what_hosts_chose_is_cut_and_no_line_wraps() {
    let world = World::new();
    let table = world.list_within(Some(60), Format::Table, true, &Which::default()).await.unwrap();
    let golden = "\
NAME   STATE          OS        AGENT      SEEN    TAGS
db-1   ✗ unreachable  -         -          3h ago  role=db
old-1  ! left         -         -          now     -
web-1  ✓ self         Debian …  0.1.0      now     env=prod…
web-2  ✓ up           Evil\\x1…  0.1.0\\x1…  3s ago  env=prod…
";
    assert_eq!(table, golden);
    let wide = world.list_within(Some(60), Format::Wide, true, &named(&["web-1"])).await.unwrap();
    assert!(wide.contains("Debian GNU/Linux 12 (bookworm)"), "{wide}");
}

#[tokio::test]
async fn a_script_gets_tabs_names_or_whole_json() {
    let world = World::new();
    let names = world.list(Format::Name, false, &Which::default()).await.unwrap();
    assert_eq!(names, "db-1\nold-1\nweb-1\nweb-2\n");
    let piped = world.list(Format::Table, false, &named(&["web-1"])).await.unwrap();
    assert_eq!(
        piped,
        "web-1\tself\tDebian GNU/Linux 12 (bookworm)\t0.1.0\t2026-01-01T00:00:00Z\tenv=prod,role=web\n"
    );
    let csv = world.list(Format::Csv, false, &named(&["web-1"])).await.unwrap();
    assert!(csv.ends_with(",10.0.0.1:7946\r\n"), "{csv}");
    let lines = world.list(Format::Jsonl, false, &Which::default()).await.unwrap();
    assert_eq!(lines.lines().count(), 4);
    assert!(!lines.chars().any(|c| c != '\n' && c.is_control()), "hidden characters are escaped in JSON too");
    let json: Value =
        serde_json::from_str(&world.list(Format::Json, false, &Which::default()).await.unwrap()).unwrap();
    assert_eq!(json["schema"], "muster.host/v1");
    let web_2 = &json["items"][3];
    assert_eq!(web_2["os"], "Evil\u{1b}[2J\u{1b}[1;1H\u{202e}  ✓ linked\r\n\tOS\u{200b}");
    assert_eq!(web_2["tags"], serde_json::json!({"env": "prod", "role": "web"}));
    assert_eq!(web_2["id"], world.id("web-2").to_string());
    assert_eq!(json["items"][1]["state"], "left");
}

#[tokio::test]
async fn the_list_of_all_has_the_fields_that_verified_hosts_have() {
    let world = World::new();
    for format in [Format::Json, Format::Wide, Format::Csv] {
        let all = world.list(format, true, &Which::default()).await.unwrap();
        assert_eq!(all, world.list(format, true, &selected("all")).await.unwrap());
    }
}

#[tokio::test]
async fn what_was_verified_once_is_not_verified_again_and_what_was_altered_since_is() {
    let world = World::new();
    let first = world.list(Format::Json, false, &selected("all")).await.unwrap();
    assert_eq!(world.list(Format::Json, false, &selected("all")).await.unwrap(), first);
    assert!(world.operators.join("acme/verified").exists());
    let mut altered = world.fleet.replica.all();
    let last = altered[1].entry.0.len() - 1;
    altered[1].entry.0[last] ^= 1;
    world.agent.script(|script| script.extra = vec![altered.swap_remove(1)]);
    world.list(Format::Json, false, &selected("all")).await.unwrap();
    assert_eq!(world.said.text(), "! warning: 1 entries from the agent do not hold and were left out\n");
}

#[tokio::test]
async fn hosts_are_selected_by_name_label_and_selector() {
    let world = World::new();
    let names = async |which: Which| world.list(Format::Name, false, &which).await;
    assert_eq!(names(named(&["db", "web-1", "db-1"])).await.unwrap(), "db-1\nweb-1\n");
    assert_eq!(names(selected("tag.role = web and name != web-1")).await.unwrap(), "web-2\n");
    let labels = vec![("role".to_owned(), "web".to_owned())];
    let both = Which { labels: labels.clone(), selector: Some("name = web-2".to_owned()), names: Vec::new() };
    assert_eq!(names(both).await.unwrap(), "web-2\n");
    assert_eq!(names(Which { labels, ..Which::default() }).await.unwrap(), "web-1\nweb-2\n");
    let id = world.id("db-1").to_string();
    assert_eq!(names(named(&[&id[..12]])).await.unwrap(), "db-1\n");
}

#[tokio::test]
async fn who_is_not_found_is_told_with_what_comes_near() {
    let world = World::new();
    let error = async |which: Which| match world.list(Format::Name, false, &which).await {
        Err(HostsError::Pick(error)) => error,
        other => panic!("{other:?}"),
    };
    let PickError::NoSuch { near, .. } = error(named(&["wbe-1"])).await else { panic!() };
    assert_eq!(near.as_deref(), Some("web-1"));
    assert_eq!(error(named(&["web"])).await.to_string(), "web could be web-1, web-2");
    assert!(matches!(error(named(&[""])).await, PickError::NoSuch { near: None, .. }));
    assert!(matches!(error(selected("tag.role = mail")).await, PickError::NoMatch { .. }));
    assert!(matches!(error(selected("tag.role == web")).await, PickError::Selector { .. }));
}

#[tokio::test]
async fn one_host_shows_all_that_is_known_of_it() {
    let world = World::new();
    let shown = world.show("web-1", Format::Table).await.unwrap();
    let host = world.fleet.replica.authority().host(&world.id("web-1")).unwrap();
    let (keys, invitation) = (host.enrolled().enrolment().keys, host.enrolled().invitation());
    let golden = format!(
        "\
web-1  ✓ self
  id          {id}
  os          Debian GNU/Linux 12 (bookworm)
  agent       0.1.0
  addresses   10.0.0.1:7946
  seen        now
  tags        env=prod  role=web
  admitted    1d ago by ana, {operator}
              under certificate {certificate}
              by invitation {invitation}, used 1 of 1
  keys        stream     {stream}
              transport  {transport}
              executor   {executor}
",
        id = host.id(),
        operator = world.fleet.operator_key().fingerprint(),
        certificate = world.fleet.certificate,
        invitation = invitation.id(),
        stream = keys.stream.fingerprint(),
        transport = keys.transport.fingerprint(),
        executor = keys.executor.fingerprint(),
    );
    assert_eq!(shown, golden);
    let left = world.show("old-1", Format::Table).await.unwrap();
    assert!(left.starts_with("old-1  ! left\n") && left.contains("  left        12h ago\n"), "{left}");
    let gone = world.show("db-1", Format::Table).await.unwrap();
    assert!(gone.starts_with("db-1  ✗ unreachable since 3h ago, seen by 4\n"), "{gone}");
    let json: Value = serde_json::from_str(&world.show("web-1", Format::Json).await.unwrap()).unwrap();
    assert_eq!((&json["schema"], &json["admitted"]["by"]), (&"muster.host/v1".into(), &"ana".into()));
}

#[tokio::test]
async fn a_page_about_a_host_holds_no_character_that_steers_a_terminal() {
    let world = World::new();
    let shown = world.show("web-2", Format::Table).await.unwrap();
    assert!(!shown.chars().any(|c| c != '\n' && crate::terminal::escape::is_hidden(c)), "{shown:?}");
    assert_eq!(shown.matches('✓').count(), 1, "{shown}");
}

#[tokio::test]
async fn tags_are_set_replaced_and_taken_off() {
    let world = World::new();
    let mut talk = world.talk(false, true, "");
    world.tag(&named(&["web-1"]), &[set("env", "dev"), set("owner", "ops")], &mut talk).await.unwrap();
    assert_eq!(
        world.tags("web-1"),
        [("env".into(), is_set("dev")), ("owner".into(), is_set("ops")), ("role".into(), is_set("web"))]
    );
    world.tag(&named(&["web-1"]), &[unset("role")], &mut talk).await.unwrap();
    assert_eq!(world.tags("web-1"), [("env".into(), is_set("dev")), ("owner".into(), is_set("ops"))]);
    assert_eq!(world.said.text(), "✓ set env=dev, owner=ops on web-1 (1)\n✓ set no role on web-1 (1)\n");
    // Both ops are in one stream, and the file knows where it stands.
    let stream = world.stream(9);
    assert_eq!(stream.len(), 2);
    assert_eq!(world.writer().unwrap().previous, Some(stream[1].id()));
}

#[tokio::test]
async fn what_is_so_already_is_not_signed_again() {
    let world = World::new();
    let mut talk = world.talk(false, true, "");
    world.tag(&named(&["web-1"]), &[set("env", "prod"), unset("owner")], &mut talk).await.unwrap();
    assert_eq!(world.agent.script(|script| script.taken), 0);
    // Of three selected, one is so already.
    world.tag(&selected("has tag.role"), &[set("role", "db")], &mut talk).await.unwrap();
    assert_eq!(world.agent.script(|script| script.taken), 2);
    let said = world.said.text();
    assert!(said.ends_with("✓ set role=db on web-[1-2] (2); 1 are so already\n"), "{said}");
}

#[tokio::test]
async fn a_conflict_shows_and_the_next_write_settles_it() {
    let mut world = World::new();
    // Two laptops that did not see each other.
    let id = world.id("db-1");
    for (writer, value) in [(1, "prod"), (2, "dev")] {
        let op = crate::authority::Op {
            writer: WriterId([writer; 16]),
            sequence: 0,
            previous: None,
            at: crate::time::Hlc::default().next(NOW),
            certificate: world.fleet.certificate,
            supersedes: Vec::new(),
            action: OpAction::Tag { host: id, changes: vec![set("env", value)] },
        };
        let op = Signed::sign(world.fleet.chain.fleet(), &world.fleet.operator, op);
        world.fleet.merge(op.bytes(), &[]);
    }
    let replica = world.fleet.replica.clone();
    world.agent.script(|script| script.replica = replica);
    let table = world.list(Format::Table, false, &named(&["db-1"])).await.unwrap();
    assert!(table.ends_with("\tenv=<conflict>,role=db\n"), "{table}");
    let page = world.show("db-1", Format::Table).await.unwrap();
    assert!(page.contains("  tags        role=db\n  conflicts   env  ("), "{page}");
    assert!(matches!(
        world.list(Format::Table, false, &selected("tag.env = prod and name = db-1")).await,
        Err(HostsError::Pick(PickError::NoMatch { .. }))
    ));

    let mut talk = world.talk(false, true, "");
    world.tag(&named(&["db-1"]), &[set("env", "prod")], &mut talk).await.unwrap();
    assert_eq!(world.tags("db-1"), [("env".into(), is_set("prod")), ("role".into(), is_set("db"))]);
    assert_eq!(world.stream(9)[0].body().supersedes.len(), 2);
    // Later than both that it saw.
    assert!(world.stream(9)[0].body().at > crate::time::Hlc::default().next(NOW));
}

#[tokio::test]
async fn a_change_asks_and_without_a_yes_changes_nothing() {
    let world = World::new();
    let (which, wanted) = (selected("tag.role = web"), [set("frozen", "yes")]);
    let declined = world.tag(&which, &wanted, &mut world.talk(true, false, "n\n")).await;
    assert!(matches!(declined, Err(HostsError::Ask(AskError::Declined))));
    assert_eq!(world.said.text(), "Set frozen=yes on web-[1-2] (2), as ana? [y/N] ");
    let nobody = world.tag(&which, &wanted, &mut world.talk(false, false, "")).await;
    assert!(matches!(nobody, Err(HostsError::Ask(AskError::NobodyToAsk))));
    world.tag_with(&which, &wanted, true, [9; 16], &mut world.talk(false, false, "")).await.unwrap();
    assert_eq!(world.agent.script(|script| script.taken), 0);
    assert_eq!(world.writer(), None, "no place in the stream was taken");
    world.tag(&which, &wanted, &mut world.talk(true, false, "y\n")).await.unwrap();
    assert_eq!(world.agent.script(|script| script.taken), 2);
}

#[tokio::test]
async fn a_directory_that_was_restored_does_not_fork_its_stream() {
    let world = World::new();
    let mut talk = world.talk(false, true, "");
    let file = world.operators.join("acme/writer");
    world.tag(&named(&["web-1"]), &[set("a", "1")], &mut talk).await.unwrap();
    let backup = std::fs::read(&file).unwrap();
    world.tag(&named(&["web-1"]), &[set("a", "2")], &mut talk).await.unwrap();
    std::fs::write(&file, backup).unwrap();
    world.tag_with(&named(&["web-1"]), &[set("a", "3")], false, [8; 16], &mut talk).await.unwrap();
    assert_eq!((world.stream(9).len(), world.stream(8).len()), (2, 1));
    assert_eq!(world.agent.script(|script| script.replica.forks()), 0);
    assert_eq!(world.tags("web-1")[0], ("a".into(), is_set("3")));
}

#[tokio::test]
async fn an_op_that_was_signed_and_lost_does_not_block_the_next() {
    let world = World::new();
    let mut talk = world.talk(false, true, "");
    world.tag(&named(&["web-1"]), &[set("a", "1")], &mut talk).await.unwrap();
    world.agent.script(|script| script.refuse = Some(("the disk is full".to_owned(), false)));
    let lost = world.tag(&named(&["web-1"]), &[set("a", "2")], &mut talk).await.unwrap_err();
    assert_eq!(lost.to_string(), "the disk is full");
    world.agent.script(|script| script.refuse = None);
    world.tag_with(&named(&["web-1"]), &[set("a", "3")], false, [8; 16], &mut talk).await.unwrap();
    assert_eq!(world.tags("web-1")[0], ("a".into(), is_set("3")));
    assert_eq!((world.stream(9).len(), world.stream(8).len()), (1, 1));
}

#[tokio::test]
async fn a_tag_beyond_the_certificate_is_refused_before_anybody_is_asked() {
    let world = World::of(TestFleet::with(|certificate| {
        certificate.tags =
            vec![("env".into(), "*".into()), ("role".into(), "web".into()), ("role".into(), "db".into())];
    }));
    let refused =
        world.tag(&named(&["web-1"]), &[set("role", "root")], &mut world.talk(true, false, "y\n")).await;
    assert_eq!(refused.unwrap_err().to_string(), "not permitted: the tag role=root is not granted");
    assert_eq!(world.said.text(), "");
    assert_eq!(world.agent.script(|script| script.taken), 0);
}

#[tokio::test]
async fn only_an_operator_of_this_fleet_changes_tags_and_anyone_may_look() {
    let mut world = World::new();
    world.operators = world.agent.dir().join("nobody");
    let tagged = world.tag(&named(&["web-1"]), &[set("a", "1")], &mut world.talk(false, true, "")).await;
    assert_eq!(tagged.unwrap_err().to_string(), "this user has no operator key for fleet acme");
    assert_eq!(world.list(Format::Name, false, &named(&["web-1"])).await.unwrap(), "web-1\n");
}

#[tokio::test]
async fn tags_of_a_host_that_left_and_doubtful_wishes_are_refused() {
    let world = World::new();
    let mut talk = world.talk(false, true, "");
    let error = world.tag(&named(&["old-1"]), &[set("a", "1")], &mut talk).await.unwrap_err();
    assert!(matches!(error, HostsError::Tag(TagError::NotAMember(name)) if name == "old-1"));
    let error = world.tag(&named(&["web-1"]), &[set("a", "1"), unset("a")], &mut talk).await.unwrap_err();
    assert!(matches!(error, HostsError::Tag(TagError::Twice(key)) if key == "a"));
}

#[tokio::test]
async fn a_ping_says_how_long_and_by_whom() {
    let world = World::new();
    let mut output = Output::new(Vec::new(), Format::Table, true, Style::default(), NOW);
    let mut talk = world.talk(false, false, "");
    let within = Duration::from_secs(30);
    let which = named(&["web-2", "db-1"]);
    ping(&mut world.client().await, &world.operators, &which, within, &mut output, &mut talk).await.unwrap();
    let table = String::from_utf8(output.into_inner()).unwrap();
    assert_eq!(table, "NAME   ANSWER\nweb-2  4.1 ms direct\ndb-1   38 ms by web-2\n");
    let mut output = Output::new(Vec::new(), Format::Json, false, Style::default(), NOW);
    let which = named(&["web-2", "old-1"]);
    let silent =
        ping(&mut world.client().await, &world.operators, &which, within, &mut output, &mut talk).await;
    assert_eq!(silent.unwrap_err().to_string(), "1 of 2 hosts did not answer");
    let json: Value = serde_json::from_slice(&output.into_inner()).unwrap();
    assert_eq!(json["items"][0]["rtt_us"], 4_130);
    assert_eq!((&json["items"][1]["error"], &json["items"][1]["rtt_us"]), (&"no path".into(), &Value::Null));
}

#[tokio::test]
async fn an_entry_that_the_agent_made_up_is_left_out_and_told() {
    let world = World::new();
    let mut other = TestFleet::other();
    other.host("ghost", &[]);
    // A host of a fleet of the same keys, and the same host in a certificate with one bit turned.
    let (foreign, mut altered) = (other.replica.all(), world.fleet.replica.all());
    let count = foreign.len();
    let last = altered[1].entry.0.len() - 1;
    altered[1].entry.0[last] ^= 1;
    world.agent.script(|script| {
        script.extra = foreign;
        script.extra.push(altered.swap_remove(1));
    });
    let listed = world.list(Format::Name, false, &selected("all")).await.unwrap();
    assert_eq!(listed, "db-1\nold-1\nweb-1\nweb-2\n");
    let warning = format!("! warning: {} entries from the agent do not hold and were left out\n", count + 1);
    assert_eq!(world.said.text(), warning);
}
