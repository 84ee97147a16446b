use std::time::Duration;

use super::agent::{Desk, Fleet, NOW, SHORT, all, interrupts, told};
use crate::{
    control::Reply,
    identity::{EntryId, HostId, Operator, SecretKey, Signed},
    journal::{Stop, Waves},
    replica::{Order, Outcome},
    services::run::{
        CancelRequest, ExitMode, Interrupt, Pace, PauseRequest, RerunRequest, ResumeRequest, RunError,
        RunRequest, Streams, View, WatchRequest, World, cancel, pause, rerun, resume, watch,
    },
    targets::{Share, Targets},
    terminal::Format,
};

const THREE: &[(&str, &str)] = &[("web-1", "web"), ("web-2", "web"), ("db-1", "db")];

struct Said {
    code: Result<u8, RunError>,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {} {}", self.out, self.err))
    }
}

async fn said(format: Format, ask: impl AsyncFnOnce(&mut Streams<'_>) -> Result<u8, RunError>) -> Said {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut streams = Streams::new(&mut out, &mut err, format);
    let code = ask(&mut streams).await;
    Said { code, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

async fn watched(desk: &Desk, job: EntryId, wait: Option<Duration>, pressed: &[Interrupt]) -> Said {
    let request = WatchRequest { job: job.to_string(), wait, exit: ExitMode::Summary, view: View::Group };
    said(Format::Json, async |streams| {
        watch(&request, &desk.home, &desk.socket, streams, &|| NOW, &mut || interrupts(pressed)).await
    })
    .await
}

async fn cancelled(desk: &Desk, job: EntryId) -> Said {
    let request = CancelRequest { job: job.to_string(), dry_run: false };
    said(Format::Json, async |streams| {
        cancel(&request, &desk.home, &desk.socket, streams, &|| NOW, &mut || interrupts(&[])).await
    })
    .await
}

async fn rerun_of(desk: &Desk, job: EntryId, run: RunRequest) -> Said {
    let request = RerunRequest { job: job.to_string(), failed: true, run };
    said(Format::Json, async |streams| {
        let mut world = World {
            clock: &|| NOW,
            nonce: [4; 16],
            ask: &mut |_, _| Ok(false),
            listen: &mut || interrupts(&[]),
        };
        rerun(&request, &desk.home, &desk.socket, streams, &mut world).await
    })
    .await
}

fn again() -> RunRequest {
    RunRequest { wait: SHORT, ..RunRequest::new(Targets::default(), Vec::new()) }
}

fn orders(desk: &Desk) -> Vec<Signed<Order>> {
    desk.state.lock().unwrap().orders.clone()
}

fn id(desk: &Desk, name: &str) -> HostId {
    desk.fleet.member(name).id
}

/// A job on all three that was left at once.
async fn left(desk: &Desk) -> EntryId {
    let request = RunRequest { wait: Duration::from_millis(1), ..all() };
    let _silent = desk.run(&request).await;
    orders(desk)[0].id()
}

#[tokio::test]
async fn a_job_that_was_left_is_watched_to_its_end() {
    let desk = Desk::new(Fleet::of(THREE), |seen, member| {
        if seen.asked == 1 && member.name != "db-1" { vec![] } else { told(seen.ok(member, "6.1\n")) }
    });
    let job = left(&desk).await;
    let said = watched(&desk, job, None, &[]).await;
    assert_eq!(said.code.as_ref().unwrap(), &0, "{}", said.err);
    assert_eq!(said.json()["counts"]["ok"], 3);
    assert_eq!(desk.home.reports(&job).unwrap().len(), 3, "what was learnt is remembered");
}

#[tokio::test]
async fn a_wait_that_runs_out_is_124_and_one_that_is_left_130() {
    let desk =
        Desk::new(
            Fleet::of(THREE),
            |seen, member| {
                if member.name == "db-1" { vec![] } else { told(seen.ok(member, "x")) }
            },
        );
    let job = left(&desk).await;
    let said = watched(&desk, job, Some(Duration::from_millis(200)), &[]).await;
    assert_eq!(said.code.as_ref().unwrap(), &124, "{}", said.err);
    assert_eq!(said.json()["counts"]["silent"], 1);
    let said = watched(&desk, job, None, &[Interrupt::Leave]).await;
    assert_eq!(said.code.as_ref().unwrap(), &130);
    assert!(said.err.contains("come back: muster job watch"), "{}", said.err);
    assert!(desk.state.lock().unwrap().cancelled.is_empty());
    let missing = watched(&desk, EntryId([9; 32]), None, &[]).await;
    assert!(matches!(missing.code, Err(RunError::NoJob(_))));
}

#[tokio::test]
async fn cancel_tells_the_hosts_and_accounts_for_what_they_say() {
    let desk = Desk::new(Fleet::of(THREE), |seen, member| match member.name.as_str() {
        "web-1" => told(seen.ok(member, "x")),
        _ if seen.cancelled => told(seen.report(member, Outcome::Cancelled {}, b"", b"")),
        _ => vec![Reply::Running { order: seen.id, host: member.id }],
    });
    let request = RunRequest { timeout: SHORT / 100, grace: Duration::ZERO, ..all() };
    let _running = desk.run(&request).await;
    let job = orders(&desk)[0].id();
    // The agent of this test tells what came of it only when it is asked anew.
    let first = cancelled(&desk, job).await;
    assert_eq!(first.code.as_ref().unwrap(), &7, "{}", first.err);
    assert_eq!(desk.state.lock().unwrap().cancelled, [job]);
    let said = watched(&desk, job, None, &[]).await;
    assert_eq!(said.code.as_ref().unwrap(), &6);
    let counts = &said.json()["counts"];
    assert_eq!((&counts["ok"], &counts["cancelled"], &counts["total"]), (&1.into(), &2.into(), &3.into()));
    let nothing = cancelled(&desk, job).await;
    assert_eq!(nothing.code.as_ref().unwrap(), &0);
    assert!(nothing.err.contains("nothing to cancel"), "{}", nothing.err);
}

#[tokio::test]
async fn only_who_ordered_a_job_cancels_it() {
    let desk = Desk::new(Fleet::of(THREE), |_, _| vec![]);
    let other = SecretKey::<Operator>::from_seed(&[3; 32]);
    let mut order = None;
    let of_another = {
        let theirs = super::foreseen::order(&desk.fleet, |body| {
            body.certificate = desk.fleet.inviting;
            order = Some(body.clone());
        });
        let body = Order { certificate: desk.fleet.inviting, ..theirs.body().clone() };
        Signed::sign(desk.fleet.chain.fleet(), &other, body)
    };
    desk.state.lock().unwrap().orders.push(of_another.clone());
    let said = cancelled(&desk, of_another.id()).await;
    let error = said.code.unwrap_err();
    assert_eq!(error.code(), 4);
    assert!(error.to_string().contains("was ordered by ana"), "{error}");
    assert!(desk.state.lock().unwrap().cancelled.is_empty());
}

#[tokio::test]
async fn rerun_orders_exactly_those_that_did_not_succeed() {
    let desk = Desk::new(Fleet::of(THREE), |seen, member| match member.name.as_str() {
        "web-1" => told(seen.ok(member, "x")),
        "db-1" if seen.order.nonce == [9; 16] => {
            told(seen.report(member, Outcome::Exited { code: 1 }, b"", b""))
        }
        _ if seen.order.nonce == [9; 16] => vec![],
        _ => told(seen.ok(member, "again")),
    });
    let mut request = RunRequest { wait: SHORT / 10, reason: Some("CHG-7".to_owned()), ..all() };
    request.timeout = Duration::from_secs(77);
    assert_eq!(desk.run(&request).await.code(), 6);
    let old = orders(&desk)[0].clone();
    let said = rerun_of(&desk, old.id(), again()).await;
    assert_eq!(said.code.as_ref().unwrap(), &0, "{}", said.err);
    let new = orders(&desk)[1].clone();
    let mut hosts = vec![id(&desk, "db-1"), id(&desk, "web-2")];
    hosts.sort();
    assert_eq!(new.body().roster.named(), hosts);
    let same = |order: &Signed<Order>| {
        let body = order.body().clone();
        (body.action, body.run_as, body.limits, body.selector, body.reason)
    };
    assert_eq!(same(&new), same(&old));
    // The silent one must not start the old one after the new one.
    assert_eq!(desk.state.lock().unwrap().cancelled, [old.id()]);
    assert!(said.err.contains("is cancelled first: 1 host did not answer"), "{}", said.err);
    assert!(said.err.contains("on 2 of 3 hosts"), "{}", said.err);

    let nothing = rerun_of(&desk, new.id(), again()).await;
    assert_eq!(nothing.code.as_ref().unwrap(), &0);
    assert!(nothing.err.contains("nothing to rerun"), "{}", nothing.err);
    assert_eq!(orders(&desk).len(), 2);
}

#[tokio::test]
async fn what_a_budget_stopped_is_rerun_on_all_that_did_not_run_it() {
    let desk = Desk::new(Fleet::of(THREE), |seen, member| {
        let code = i32::from(seen.order.nonce == [9; 16]);
        told(seen.report(member, Outcome::Exited { code }, b"", b""))
    });
    let request = RunRequest { pace: Pace::batch("1").unwrap(), errors_max: Some(Share::Hosts(0)), ..all() };
    assert_eq!(desk.run(&request).await.code(), 8);
    let said = rerun_of(&desk, orders(&desk)[0].id(), again()).await;
    assert_eq!(said.code.as_ref().unwrap(), &0, "{}", said.err);
    assert_eq!(orders(&desk)[1].body().roster.named().len(), 3);
    assert!(desk.state.lock().unwrap().cancelled.is_empty(), "nobody could start it any more");
}

/// A job of three waves whose first was handed over, as its command line left it.
fn begun(desk: &Desk, stop: Option<Stop>) -> EntryId {
    let mut ids: Vec<HostId> = desk.fleet.members.iter().map(|member| member.id).collect();
    ids.sort();
    let first = super::foreseen::order(&desk.fleet, |body| {
        body.roster = crate::replica::Roster::Inline { hosts: ids[..1].to_vec() };
    });
    desk.home.keep_order(&first.id(), first.bytes()).unwrap();
    let waves = Waves { roster: ids, sizes: vec![1, 1, 1], orders: vec![first.id()], errors_max: None, stop };
    desk.home.keep_waves(&first.id(), &waves).unwrap();
    desk.state.lock().unwrap().orders.push(first.clone());
    first.id()
}

#[tokio::test]
async fn a_job_whose_command_line_was_killed_is_accounted_for() {
    let desk = Desk::new(Fleet::of(THREE), |seen, member| told(seen.ok(member, "x")));
    let job = begun(&desk, None);
    let said = watched(&desk, job, None, &[]).await;
    assert_eq!(said.code.as_ref().unwrap(), &6, "{}", said.err);
    let counts = &said.json()["counts"];
    assert_eq!((&counts["ok"], &counts["not_started"], &counts["total"]), (&1.into(), &2.into(), &3.into()));
    assert!(said.out.contains("the command line that orders the waves left"), "{}", said.out);
    let stopped = Desk::new(Fleet::of(THREE), |seen, member| told(seen.ok(member, "x")));
    let job = begun(&stopped, Some(Stop::Budget {}));
    assert_eq!(watched(&stopped, job, None, &[]).await.code.unwrap(), 8);
}

async fn paused(desk: &Desk, job: EntryId) -> Said {
    let request = PauseRequest { job: job.to_string(), dry_run: false };
    said(Format::Json, async |streams| pause(&request, &desk.home, &desk.socket, streams, NOW).await).await
}

async fn resumed(desk: &Desk, job: EntryId) -> Said {
    let request = ResumeRequest::new(job.to_string(), View::Auto);
    said(Format::Json, async |streams| {
        let (ask, listen) = (&mut |_, _: &str| Ok(false), &mut || interrupts(&[]));
        let mut world = World { clock: &|| NOW, nonce: [4; 16], ask, listen };
        resume(&request, &desk.home, &desk.socket, streams, &mut world).await
    })
    .await
}

#[tokio::test]
async fn a_job_whose_command_line_is_gone_is_taken_up_where_it_stopped() {
    for stop in [None, Some(Stop::Detached {}), Some(Stop::Broken { why: "the agent stopped".to_owned() })] {
        let desk = Desk::new(Fleet::of(THREE), |seen, member| told(seen.ok(member, "x")));
        let job = begun(&desk, stop.clone());
        desk.home.keep_paused(&job).unwrap();
        let nobody = paused(&desk, job).await;
        assert!(nobody.err.contains("take them up: muster job resume"), "{}", nobody.err);
        let said = resumed(&desk, job).await;
        assert_eq!(said.code.as_ref().unwrap(), &0, "{stop:?}: {}", said.err);
        assert_eq!(said.json()["counts"]["ok"], 3);
        let orders = orders(&desk);
        let rosters: Vec<HostId> =
            orders.iter().flat_map(|order| order.body().roster.named().to_vec()).collect();
        let waves = desk.home.waves(&job).unwrap().unwrap();
        assert_eq!((orders.len(), &rosters, waves.stop), (3, &waves.roster, None), "each host once");
        assert!(orders.iter().all(|order| order.body().action == orders[0].body().action));
        assert!(!desk.home.is_paced(&job) && !desk.home.is_paused(&job));
        let again = resumed(&desk, job).await;
        assert!(again.err.contains("every wave was ordered"), "{}", again.err);
        assert_eq!(again.json()["schema"], "muster.job-host/v1");
    }
}

#[tokio::test]
async fn what_was_stopped_for_good_is_not_resumed_and_a_budget_still_holds() {
    for stop in [Stop::Budget {}, Stop::Cancelled {}] {
        let desk = Desk::new(Fleet::of(THREE), |seen, member| told(seen.ok(member, "x")));
        let job = begun(&desk, Some(stop));
        let error = resumed(&desk, job).await.code.unwrap_err();
        assert!(error.hints()[0].contains("--failed"), "{error}");
        assert_eq!(orders(&desk).len(), 1);
    }
    let desk = Desk::new(Fleet::of(THREE), |seen, member| {
        told(seen.report(member, Outcome::Exited { code: 1 }, b"", b""))
    });
    let job = begun(&desk, None);
    let waves = Waves { errors_max: Some(1), ..desk.home.waves(&job).unwrap().unwrap() };
    desk.home.keep_waves(&job, &waves).unwrap();
    let said = resumed(&desk, job).await;
    assert_eq!((said.code.as_ref().unwrap(), orders(&desk).len()), (&8, 2), "{}", said.err);
}

#[tokio::test]
async fn a_pause_holds_the_next_wave_back_until_it_is_lifted() {
    let desk = Desk::new(Fleet::of(THREE), |seen, member| told(seen.ok(member, "x")));
    let job = begun(&desk, None);
    let pacing = desk.home.pace(&job).unwrap();
    let said = paused(&desk, job).await;
    assert!(said.err.contains("paused: 2 hosts of later waves are held back"), "{}", said.err);
    assert!(said.out.contains("not started: the job is paused"), "{}", said.out);
    assert!(desk.home.is_paused(&job));
    assert!(paused(&desk, job).await.err.contains("it is paused already"));
    let waits = watched(&desk, job, Some(Duration::from_millis(200)), &[]).await;
    assert_eq!(waits.code.unwrap(), 124, "it may still go on");
    let said = resumed(&desk, job).await;
    assert!(said.err.contains("resumed: 2 hosts"), "{}", said.err);
    assert!(!desk.home.is_paused(&job));
    assert_eq!(orders(&desk).len(), 1, "who paces it signs, nobody else");
    drop(pacing);
    // All at once has nothing to hold back.
    let desk = Desk::new(Fleet::of(THREE), |seen, member| told(seen.ok(member, "x")));
    let job = left(&desk).await;
    let error = paused(&desk, job).await.code.unwrap_err();
    assert!(error.to_string().contains("has no waves"), "{error}");
}

#[tokio::test]
async fn a_job_that_is_paced_is_waited_for_and_a_cancelled_one_gets_no_other_wave() {
    let desk = Desk::new(Fleet::of(THREE), |seen, member| told(seen.ok(member, "x")));
    let job = begun(&desk, None);
    let pacing = desk.home.pace(&job).unwrap();
    let said = watched(&desk, job, Some(Duration::from_millis(200)), &[]).await;
    assert_eq!(said.code.as_ref().unwrap(), &124, "another wave may come: {}", said.err);
    let error = rerun_of(&desk, job, again()).await.code.unwrap_err();
    assert_eq!((error.code(), error.hints().len()), (2, 1));
    let said = cancelled(&desk, job).await;
    assert_eq!(said.code.as_ref().unwrap(), &0, "{}", said.err);
    assert!(desk.home.is_cancelled(&job));
    drop(pacing);
}
