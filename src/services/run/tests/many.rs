//! Rosters that mark hosts of a list, from the command line's side.

use std::{cell::RefCell, io, rc::Rc};

use super::agent::{Desk, Fleet, NOW, all, told};
use crate::{
    identity::{HostId, Signed},
    journal::OperatorHome,
    replica::{Order, Roster},
    services::run::{JOBS_SHOWN_DEFAULT, Pace, RunRequest, Streams, ls, show},
    targets::Share,
    terminal::{Format, Output, Style, Talk},
};

/// What a person was told.
#[derive(Clone, Default)]
struct Heard(Rc<RefCell<Vec<u8>>>);
impl io::Write for Heard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const MANY: usize = 600;

/// Names alone: nobody listens.
fn fleet(hosts: usize) -> Fleet {
    let names: Vec<String> = (0..hosts).map(|at| format!("n-{at}")).collect();
    Fleet::of(&names.iter().map(|name| (name.as_str(), "quiet")).collect::<Vec<_>>())
}

/// On all, and nobody is asked whether that is meant.
fn everyone() -> RunRequest {
    RunRequest { yes: true, ..all() }
}

fn orders(desk: &Desk) -> Vec<Signed<Order>> {
    desk.state.lock().unwrap().orders.clone()
}

/// What `job ls` and `job show` say to whoever has this directory.
async fn told_to(desk: &Desk, home: &OperatorHome) -> (serde_json::Value, String, Option<serde_json::Value>) {
    let mut output = Output::new(Vec::new(), Format::Json, false, Style::default(), NOW);
    let said = Heard::default();
    let mut talk = Talk::new(said.clone(), io::empty(), Style::default(), false, false, false);
    ls(home, &desk.socket, JOBS_SHOWN_DEFAULT, &mut output, &mut talk, NOW).await.unwrap();
    let listed: serde_json::Value = serde_json::from_slice(&output.into_inner()).unwrap();
    let listed = listed["items"].clone();
    let said = String::from_utf8(said.0.borrow().clone()).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut streams = Streams::new(&mut out, &mut err, Format::Json);
    let id = orders(desk)[0].id().to_string();
    let shown = show(&id, home, &desk.socket, &mut streams, NOW).await.is_ok();
    (listed, said, shown.then(|| serde_json::from_slice(&out).unwrap()))
}

#[tokio::test]
async fn more_hosts_than_can_be_named_are_marked_in_the_list_of_members_which_the_agent_is_given() {
    let desk = Desk::new(fleet(MANY), |seen, member| told(seen.ok(member, "x")));
    let ran = desk.run_as(&everyone(), Format::Json, super::agent::Person::default()).await;
    assert_eq!(ran.code(), 0, "{}", ran.err);
    let job: serde_json::Value = serde_json::from_slice(&ran.out).unwrap();
    assert_eq!((&job["counts"]["ok"], &job["counts"]["total"]), (&MANY.into(), &MANY.into()));
    let order = orders(&desk).remove(0);
    let Roster::Bitmap { list, members, bits } = &order.body().roster else { panic!("it names them") };
    assert_eq!((*members, bits.0.len()), (600, 75));
    let given = desk.state.lock().unwrap().lists.get(list).cloned().unwrap();
    let mut ids: Vec<HostId> = desk.fleet.members.iter().map(|member| member.id).collect();
    ids.sort_unstable();
    assert_eq!(given.hosts(), ids);

    // Whoever ordered it remembers whom it was for, whatever the agent has by then.
    desk.state.lock().unwrap().lists.clear();
    let (listed, _, shown) = told_to(&desk, &desk.home).await;
    assert_eq!((listed.as_array().map(Vec::len), &listed[0]["hosts"]), (Some(1), &MANY.into()));
    assert_eq!(shown.unwrap()["counts"]["ok"], MANY);
}

#[tokio::test]
async fn who_looks_at_anothers_order_gets_its_list_from_the_agent_or_is_told_that_it_is_not_there() {
    let desk = Desk::new(fleet(MANY), |seen, member| told(seen.ok(member, "x")));
    assert_eq!(desk.run(&everyone()).await.code(), 0);
    let dir = tempfile::tempdir().unwrap();
    let other =
        OperatorHome::create(&dir.path().join("other"), &desk.fleet.operator, &desk.fleet.chain).unwrap();
    // The members are as they were: the list is known by itself.
    desk.state.lock().unwrap().lists.clear();
    let (_, _, shown) = told_to(&desk, &other).await;
    assert_eq!(shown.unwrap()["counts"]["total"], MANY);

    // One of another list.
    let strangers = |from: u32| -> Vec<HostId> {
        (from..from + 700).map(|at| HostId(*blake3::hash(&at.to_be_bytes()).as_bytes())).collect()
    };
    let list = std::sync::Arc::new(crate::authority::MemberList::of(strangers(0)).unwrap());
    {
        let mut state = desk.state.lock().unwrap();
        let mut body = state.orders[0].body().clone();
        body.roster = Roster::of(list.hosts(), || Ok(list.clone())).unwrap();
        state.orders = vec![Signed::sign(desk.fleet.chain.fleet(), &desk.fleet.operator, body)];
        state.silent = true;
    }
    let (listed, said, shown) = told_to(&desk, &other).await;
    assert_eq!((listed.as_array().map(Vec::len), shown), (Some(0), None));
    assert!(said.contains("jobs that are not shown"), "{said}");
    // What the agent gives in its place is not taken for it.
    let wrong = std::sync::Arc::new(crate::authority::MemberList::of(strangers(1)).unwrap());
    desk.state.lock().unwrap().lists.insert(list.id(), wrong);
    assert_eq!(told_to(&desk, &other).await.2, None);
    desk.state.lock().unwrap().lists.insert(list.id(), list);
    let (listed, _, shown) = told_to(&desk, &other).await;
    assert_eq!((&listed[0]["hosts"], &shown.unwrap()["counts"]["silent"]), (&700.into(), &700.into()));
}

#[tokio::test]
async fn each_wave_takes_the_form_that_its_size_asks_for() {
    let desk = Desk::new(fleet(MANY), |seen, member| told(seen.ok(member, "x")));
    let request = RunRequest { pace: Pace::Batch(Share::Hosts(550)), ..everyone() };
    let ran = desk.run(&request).await;
    assert_eq!(ran.code(), 0, "{}", ran.err);
    let orders = orders(&desk);
    assert_eq!(orders.iter().map(|order| order.body().roster.count()).collect::<Vec<_>>(), [550, 50]);
    assert!(matches!(orders[0].body().roster, Roster::Bitmap { .. }));
    assert!(matches!(orders[1].body().roster, Roster::Inline { .. }));
    let (listed, _, shown) = told_to(&desk, &desk.home).await;
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "one job");
    assert_eq!(shown.unwrap()["counts"]["ok"], MANY);
}
