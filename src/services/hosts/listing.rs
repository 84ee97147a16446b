//! The agent's side of lists and of finished words: from the replica to rows, without a signature. What it
//! holds was verified when it came; whoever is shown it decides nothing by it.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    authority::{Standing, TagState},
    control::{HostLine, HostRow, Reply},
    identity::HostId,
    replica::Replica,
    selector::Root,
};

/// Bytes of rows in one reply, nearly.
const LINES_BYTES_MAX: usize = 256 * 1024;
/// Words in one reply.
const WORDS_MAX: u32 = 1000;

/// Every host that is known, in order of its name. `seen` is how this agent sees them.
pub fn lines(replica: &Replica, seen: Vec<HostRow>) -> Vec<HostLine> {
    let mut seen: BTreeMap<HostId, HostRow> = seen.into_iter().map(|row| (row.host, row)).collect();
    let mut lines: Vec<HostLine> = replica
        .authority()
        .hosts()
        .map(|host| {
            let id = host.id();
            let mut about = seen.remove(&id).unwrap_or_else(|| HostRow {
                host: id,
                state: "unknown".to_owned(),
                seen: None,
                since: None,
                witnesses: None,
            });
            match host.standing() {
                Standing::Member => {}
                other => other.word().clone_into(&mut about.state),
            }
            let node = replica.node_facet(&id);
            let (mut tags, mut conflicts) = (Vec::new(), Vec::new());
            for (key, value) in host.tags() {
                match value {
                    TagState::Set(value) => tags.push((key.clone(), value.clone())),
                    TagState::Conflict => conflicts.push(key.clone()),
                }
            }
            let (os, agent, addresses) =
                node.map_or_else(Default::default, |node| (node.os, node.agent, node.addresses));
            let name = host.name().to_owned();
            let fingerprint = host.standing().waits().then(|| host.enrolled().enrolment().keys.words());
            HostLine { about, name, tags, conflicts, os, agent, addresses, fingerprint }
        })
        .collect();
    lines.sort_by(|a, b| a.name.cmp(&b.name).then(a.about.host.cmp(&b.about.host)));
    lines
}

/// The same as replies of bounded size, the last of which says that it is.
pub fn replies(lines: Vec<HostLine>) -> Vec<Reply> {
    let mut replies = Vec::new();
    let (mut rows, mut bytes) = (Vec::new(), 0);
    for line in lines {
        let texts = line.tags.iter().map(|(key, value)| key.len() + value.len() + 8).sum::<usize>()
            + line.addresses.iter().chain(&line.conflicts).map(|text| text.len() + 4).sum::<usize>();
        let weight = 96 + line.name.len() + line.os.len() + line.agent.len() + texts;
        if bytes + weight > LINES_BYTES_MAX && !rows.is_empty() {
            replies.push(Reply::HostLines { rows: std::mem::take(&mut rows), more: true });
            bytes = 0;
        }
        bytes += weight;
        rows.push(line);
    }
    replies.push(Reply::HostLines { rows, more: false });
    replies
}

/// The words of a kind that begin with `start`, in order, `limit` at most: names of members, tags, people with
/// a certificate, jobs, groups. Nothing for a kind that is not known.
pub fn words(replica: &Replica, kind: &str, start: &str, limit: u32) -> Vec<String> {
    let authority = replica.authority();
    let mut words = BTreeSet::new();
    let mut add = |word: &str| {
        if word.starts_with(start) {
            words.insert(word.to_owned());
        }
    };
    match kind {
        "host" => authority.members().for_each(|host| add(host.name())),
        "tag" => {
            for host in authority.members() {
                for (key, value) in host.tags() {
                    match value {
                        TagState::Set(value) if start.contains('=') => add(&format!("{key}={value}")),
                        _ if !start.contains('=') => add(&format!("{key}=")),
                        _ => {}
                    }
                }
            }
        }
        "operator" => authority.chain().certificates().for_each(|(_, held)| add(&held.person)),
        "job" => replica.orders().for_each(|order| add(&order.signed().id().short())),
        "group" => authority.groups().for_each(|(name, _)| add(name)),
        "path" => {
            for root in Root::EVERY {
                add(root.name());
            }
            for host in authority.members() {
                host.tags().keys().for_each(|key| add(&format!("tag.{key}")));
            }
        }
        _ => {}
    }
    words.into_iter().take(limit.min(WORDS_MAX) as usize).collect()
}

/// How many members say that they run which version of muster.
pub fn versions(replica: &Replica) -> Vec<(String, u64)> {
    let mut versions: BTreeMap<String, u64> = BTreeMap::new();
    for host in replica.authority().members() {
        if let Some(node) = replica.node_facet(&host.id()) {
            *versions.entry(node.agent).or_default() += 1;
        }
    }
    versions.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::testing::TestFleet;

    fn fleet() -> TestFleet {
        let mut fleet = TestFleet::acme();
        let web = fleet.host("web-1", &[("role", "web"), ("env", "prod")]);
        fleet.host("web-2", &[("role", "web")]);
        let gone = fleet.host("db-1", &[("role", "db")]);
        fleet.says(web, "0.1.0", "Debian", &["10.0.0.1:1"]);
        fleet.leaves(gone);
        fleet.group("prod", Some("tag.env = prod"));
        fleet.group("web", Some("tag.role = web"));
        fleet.group("prod-db", Some("all"));
        fleet.group("prod-db", None);
        fleet
    }

    #[test]
    fn words_are_those_of_members_that_begin_so_each_once_and_no_more_than_asked_for() {
        let fleet = fleet();
        let words = |kind: &str, start: &str, limit| words(&fleet.replica, kind, start, limit);
        assert_eq!(words("host", "", 9), ["web-1", "web-2"]);
        assert_eq!(words("host", "web-", 1), ["web-1"]);
        assert_eq!(words("host", "db", 9), [""; 0], "who left is no word to finish");
        assert_eq!(words("tag", "", 9), ["env=", "role="]);
        assert_eq!(words("tag", "role=", 9), ["role=web"]);
        assert_eq!(words("operator", "a", 9), ["ana"]);
        assert_eq!(words("group", "", 9), ["prod", "web"]);
        assert_eq!(words("group", "prod", 9), ["prod"], "what was taken away is no word to finish");
        assert_eq!(words("path", "t", 9), ["tag", "tag.env", "tag.role"]);
        assert_eq!(words("nonsense", "", 9), [""; 0]);
    }

    #[test]
    fn lines_are_sorted_and_whole_and_come_in_replies_of_bounded_size() {
        let fleet = fleet();
        let lines = lines(&fleet.replica, Vec::new());
        let names: Vec<&str> = lines.iter().map(|line| line.name.as_str()).collect();
        assert_eq!(names, ["db-1", "web-1", "web-2"]);
        assert_eq!((lines[0].about.state.as_str(), lines[1].about.state.as_str()), ("left", "unknown"));
        assert_eq!((lines[1].os.as_str(), lines[1].addresses.len(), lines[2].os.as_str()), ("Debian", 1, ""));
        assert_eq!(versions(&fleet.replica), [("0.1.0".to_owned(), 1)]);

        let many: Vec<HostLine> = std::iter::repeat_n(&lines[1], 10_000).cloned().collect();
        let replies = replies(many);
        let mut rows = 0;
        for (at, reply) in replies.iter().enumerate() {
            let bytes = crate::wire::encode(reply);
            assert!(bytes.len() < LINES_BYTES_MAX, "{} bytes", bytes.len());
            let Reply::HostLines { rows: some, more } = reply else { panic!("{reply:?}") };
            rows += some.len();
            assert_eq!(*more, at + 1 < replies.len());
        }
        assert_eq!(rows, 10_000);
        assert_eq!(super::replies(Vec::new()).len(), 1, "nobody is an answer too");
    }
}
