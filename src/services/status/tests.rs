use std::{io, path::Path, time::Duration};

use serde_json::Value;

use super::*;
use crate::{
    control::{
        Client, PeerRow,
        testing::{FakeAgent, NOW, Script, TestFleet},
    },
    terminal::{Format, Output, Style, Talk},
};

fn agent() -> (TestFleet, FakeAgent) {
    let mut fleet = TestFleet::acme();
    let (a, b) = (fleet.host("a", &[]), fleet.host("b", &[]));
    let mut script = Script::of(&fleet, a);
    script.status.started = NOW.before(Duration::from_secs(7200));
    script.status.executor_pid = 41;
    script.status.mesh_pid = 42;
    script.status.listen = vec!["10.0.0.1:7946".to_owned()];
    script.status.members = 2;
    script.status.links = 1;
    script.status.presence = Some((1, 1));
    script.status.entries = 9;
    script.status.orders = 1;
    script.status.confinement = "no capabilities, seccomp, landlock 5".to_owned();
    script.status.problems = vec!["the store was moved aside\u{1b}[2J".to_owned()];
    script.status.counters = vec![("orders_verified".to_owned(), 2), ("orders_running".to_owned(), 1)];
    script.status.name = Some("a".to_owned());
    script.status.store_bytes = Some(3 << 20);
    script.status.root = Some([0xab; 16]);
    let since = NOW.before(Duration::from_secs(60));
    script.peers = vec![
        PeerRow {
            host: Some(b),
            address: "10.0.0.2:7946".into(),
            dialled: true,
            since,
            rtt_us: Some(450),
            name: Some("b".into()),
        },
        PeerRow {
            host: None,
            address: "10.0.0.9:1\u{1b}".into(),
            dialled: false,
            since,
            rtt_us: None,
            name: None,
        },
    ];
    let agent = FakeAgent::start(script);
    (fleet, agent)
}

async fn shown(agent: &FakeAgent, operators: &Path, format: Format) -> Result<String, StatusError> {
    shown_within(None, agent, operators, format).await
}

async fn shown_within(
    columns: Option<usize>,
    agent: &FakeAgent,
    operators: &Path,
    format: Format,
) -> Result<String, StatusError> {
    let mut client = Client::connect(&agent.socket()).await.unwrap();
    let mut output = Output::new(Vec::new(), format, true, Style::default(), NOW).within(columns);
    let mut talk = Talk::new(io::sink(), io::empty(), Style::default(), false, false, false);
    // Without a state directory: what is on this machine's disk differs from one to the next.
    status(&mut client, operators, Path::new("/nonexistent"), NOW, &mut output, &mut talk).await?;
    Ok(String::from_utf8(output.into_inner()).unwrap())
}

#[tokio::test]
async fn an_operator_sees_the_agent_on_one_screen() {
    let (fleet, agent) = agent();
    let operators = agent.dir().join("operators");
    fleet.operator_home(&operators);
    let golden = format!(
        "\
! running  a of fleet acme ({fleet})
  agent     0.1.0, started 2h ago, processes 41 (executor) and 42 (mesh)
  listens   10.0.0.1:7946
  members   2, 1 up, 1 unreachable, 1 linked
  holds     9 entries, 1 live order, 1 running here, 0 results not yet settled
  root      abababababababababababababababab
  disk      store 3.0 MiB
  confined  no capabilities, seccomp, landlock 5
  you are   ana, {key}
            certificate until 2026-01-31T00:00:00Z (in 30d)
  link      b at 10.0.0.2:7946, 1m ago, 0.4 ms
  link      a stranger at 10.0.0.9:1\\x1b, 1m ago
! problem: the store was moved aside\\x1b[2J
",
        fleet = &fleet.chain.fleet().to_string()[..8],
        key = fleet.operator_key().fingerprint(),
    );
    assert_eq!(shown(&agent, &operators, Format::Table).await.unwrap(), golden);
}

#[tokio::test]
async fn a_script_gets_it_all_and_who_is_no_operator_is_told_so() {
    let (fleet, agent) = agent();
    let nobody = agent.dir().join("nobody");
    let json: Value = serde_json::from_str(&shown(&agent, &nobody, Format::Json).await.unwrap()).unwrap();
    assert_eq!(json["schema"], "muster.status/v1");
    assert_eq!(json["fleet"]["id"], fleet.chain.fleet().to_string());
    assert_eq!(json["host"]["name"], "a");
    assert_eq!(json["peers"][0]["rtt_us"], 450);
    assert_eq!(json["counters"]["orders_verified"], 2);
    assert_eq!(json["operator"], Value::Null);
    let page = shown(&agent, &nobody, Format::Table).await.unwrap();
    assert!(!page.contains("you are"), "{page}");
}

#[tokio::test]
async fn a_status_has_no_rows() {
    let (_, agent) = agent();
    let refused = shown(&agent, agent.dir(), Format::Csv).await;
    assert!(matches!(refused, Err(StatusError::Output(_))));
}

#[tokio::test]
async fn it_stays_on_one_screen_however_narrow_and_however_much_there_is() {
    let (fleet, agent) = agent();
    let operators = agent.dir().join("operators");
    fleet.operator_home(&operators);
    agent.script(|script| {
        let peer = script.peers[0].clone();
        script.peers = vec![peer; 40];
        script.status.problems = vec!["the clock of somewhere is wrong by a long while".to_owned(); 40];
    });
    let page = shown_within(Some(80), &agent, &operators, Format::Table).await.unwrap();
    assert!(page.lines().all(|line| line.chars().count() <= 80), "{page}");
    assert!(page.lines().count() <= 40, "{page}");
    assert!(page.contains("and 32 more links") && page.contains("and 32 more problems"), "{page}");
    let narrow = shown_within(Some(20), &agent, &operators, Format::Table).await.unwrap();
    let words = |page: &str| page.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(&narrow), words(&page), "nothing is lost");
}
