use super::agent::{Desk, Fleet, NOW, SHORT, all, on, told};
use crate::{
    control::Reply,
    replica::Outcome,
    services::run::{JOBS_SHOWN_DEFAULT, OutputRequest, RunError, Streams, ls, output, show},
    terminal::{Format, Output, Style, Talk},
};

const THREE: &[(&str, &str)] = &[("web-1", "web"), ("web-2", "web"), ("db-1", "db")];

async fn list(desk: &Desk, format: Format) -> String {
    let mut output = Output::new(Vec::new(), format, false, Style::default(), NOW);
    let mut talk = Talk::new(std::io::sink(), std::io::empty(), Style::default(), false, false, false);
    ls(&desk.home, &desk.socket, JOBS_SHOWN_DEFAULT, &mut output, &mut talk, NOW).await.unwrap();
    String::from_utf8(output.into_inner()).unwrap()
}

async fn shown(desk: &Desk, id: &str, format: Format) -> Result<String, RunError> {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut streams = Streams::new(&mut out, &mut err, format);
    show(id, &desk.home, &desk.socket, &mut streams, NOW).await?;
    Ok(String::from_utf8(out).unwrap())
}

async fn said(desk: &Desk, host: Option<&str>, stderr: bool) -> Result<(u8, Vec<u8>), RunError> {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut streams = Streams::new(&mut out, &mut err, Format::Table);
    let job = desk.state.lock().unwrap().orders[0].id().short();
    let request = OutputRequest { job, host: host.map(str::to_owned), stderr };
    let code = output(&request, &desk.home, &desk.socket, &mut streams, NOW).await?;
    Ok((code, out))
}

#[tokio::test]
async fn a_late_result_turns_silence_into_an_account() {
    let desk = Desk::new(Fleet::of(THREE), |seen, member| {
        let late = member.name == "db-1" && seen.asked == 1;
        if late { vec![] } else { told(seen.ok(member, "6.1.0\n")) }
    });
    let mut request = all();
    request.wait = SHORT;
    assert_eq!(desk.run(&request).await.code(), 7);
    let id = desk.state.lock().unwrap().orders[0].id();
    assert_eq!(desk.home.reports(&id).unwrap().len(), 2);
    let text = shown(&desk, &id.short(), Format::Table).await.unwrap();
    assert_eq!(text, "db-1\tok\t0\t412\t6\t0\t-\nweb-1\tok\t0\t412\t6\t0\t-\nweb-2\tok\t0\t412\t6\t0\t-\n");
    assert_eq!(desk.home.reports(&id).unwrap().len(), 3, "what was learnt is remembered");
    assert_eq!(said(&desk, Some("db-1"), false).await.unwrap(), (0, b"6.1.0\n".to_vec()));
}

#[tokio::test]
async fn what_is_remembered_counts_when_no_agent_holds_it_any_more() {
    let desk = Desk::new(
        Fleet::of(THREE),
        |seen, member| {
            if seen.asked == 1 { told(seen.ok(member, "x")) } else { vec![] }
        },
    );
    assert_eq!(desk.run(&all()).await.code(), 0);
    let json: serde_json::Value = serde_json::from_str(&list(&desk, Format::Json).await).unwrap();
    let row = &json["items"][0];
    assert_eq!((&row["ok"], &row["failed"], &row["silent"]), (&3.into(), &0.into(), &0.into()));
    assert_eq!((&row["command"], &row["by"]), (&"uname -r".into(), &"ana".into()));
    // Nor any order.
    desk.state.lock().unwrap().orders.clear();
    let json: serde_json::Value = serde_json::from_str(&list(&desk, Format::Json).await).unwrap();
    assert_eq!(json["items"][0]["ok"], 3);
}

#[tokio::test]
async fn a_forged_report_in_an_agents_hands_stays_a_claim() {
    let desk = Desk::new(Fleet::of(THREE), |seen, member| {
        let mut report = seen.ok(member, "true");
        report.stdout = Some((&b"false"[..]).into());
        told(report)
    });
    let mut request = on("db-1");
    request.wait = SHORT;
    assert_eq!(desk.run(&request).await.code(), 6);
    let id = desk.state.lock().unwrap().orders[0].id().to_string();
    let document: serde_json::Value =
        serde_json::from_str(&shown(&desk, &id, Format::Json).await.unwrap()).unwrap();
    assert_eq!(document["schema"], "muster.job/v1");
    assert_eq!(document["hosts"][0]["status"], "failed");
    assert_eq!(document["hosts"][0]["claim"], "its output does not match the signed hash");
    assert!(matches!(said(&desk, None, false).await, Err(RunError::NoOutput { .. })));
}

#[tokio::test]
async fn jobs_go_by_unique_prefix() {
    let desk = Desk::new(Fleet::of(THREE), |seen, member| told(seen.ok(member, "x")));
    for argument in 0..40_u8 {
        let mut request = on("db-1");
        request.argv.push(vec![b'0' + argument]);
        assert_eq!(desk.run(&request).await.code(), 0);
    }
    // 40 jobs and 32 first characters: two share one.
    let ids: Vec<String> =
        desk.state.lock().unwrap().orders.iter().map(|order| order.id().to_string()).collect();
    let first = ids
        .iter()
        .map(|id| &id[..1])
        .find(|first| ids.iter().filter(|id| id.starts_with(*first)).count() > 1);
    let error = shown(&desk, first.unwrap(), Format::Table).await.unwrap_err();
    assert!(matches!(&error, RunError::AmbiguousJob { jobs, .. } if jobs.len() > 1), "{error}");
    assert_eq!(error.code(), 2);
    assert!(matches!(shown(&desk, "nojob", Format::Table).await, Err(RunError::NoJob(_))));
    assert!(shown(&desk, &ids[3][..8].to_uppercase(), Format::Table).await.is_ok());
    assert_eq!(list(&desk, Format::Name).await.lines().count(), 40);
}

#[tokio::test]
async fn the_output_of_one_of_several_hosts_is_asked_for_by_name() {
    let desk = Desk::new(Fleet::of(THREE), |seen, member| match member.name.as_str() {
        "db-1" => vec![Reply::Running { order: seen.id, host: member.id }],
        "web-1" => told(seen.report(member, Outcome::Refused { why: "no user x".to_owned() }, b"", b"")),
        _ => told(seen.report(member, Outcome::Exited { code: 1 }, b"out\xff", b"err")),
    });
    let mut request = all();
    (request.wait, request.timeout, request.grace) = (SHORT, SHORT, SHORT / 10);
    assert_eq!(desk.run(&request).await.code(), 6);
    assert_eq!(said(&desk, None, false).await.unwrap_err().code(), 2);
    assert_eq!(said(&desk, Some("web-2"), false).await.unwrap().1, b"out\xff");
    assert_eq!(said(&desk, Some("web-2"), true).await.unwrap().1, b"err");
    for (host, words) in [
        ("db-1", "still running"),
        ("web-1", "no user x"),
        ("web", "more than one"),
        ("mail", "no such host"),
    ] {
        let error = said(&desk, Some(host), false).await.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
