//! An order that marks hosts of a list, on real processes. The list has more hosts than there are: who signs an
//! order says for which list it is, and most of that one are nowhere.

use std::sync::Arc;

use muster::{
    authority::MemberList,
    control::{Client, ListAsk, Reply, Request},
    identity::HostId,
    replica::Roster,
};
use tokio::runtime::Runtime;

use crate::{
    fleet::DEADLINE,
    member::{spawned_exactly, three},
    signer::{Signer, result, submit},
};

async fn ask(client: &mut Client, list: &MemberList, ask: ListAsk) -> Result<Reply, String> {
    let request = Request::List { list: list.id(), ask };
    client.ask(&request, DEADLINE).await.map_err(|error| error.to_string())
}

#[test]
fn an_order_for_many_runs_on_the_hosts_that_it_marks_once_they_got_its_list_and_on_no_others() {
    let (fleet, hosts) = three();
    let runtime = Runtime::new().unwrap();
    let signer = Signer::of(&fleet);
    let _in_runtime = runtime.enter();
    runtime.block_on(async {
        let stranger = |number: u32| HostId(*blake3::hash(&number.to_be_bytes()).as_bytes());
        let strangers = || (0..600).map(stranger);
        let list = Arc::new(MemberList::of(strangers().chain(hosts.iter().copied())).unwrap());
        // All but the last host, and it goes to the first.
        let mut marked: Vec<HostId> = strangers().chain(hosts[..2].iter().copied()).collect();
        marked.sort_unstable();
        let mut order = signer.order(&hosts, &fleet.counted(&[]));
        order.roster = Roster::of(&marked, || Ok(Arc::clone(&list))).unwrap();
        let order = signer.sign(order);
        let mut client = Client::connect(&fleet.socket("a")).await.unwrap();
        let has = ask(&mut client, &list, ListAsk::Has {}).await.unwrap();
        assert_eq!(has, Reply::List { hosts: None });
        let other = MemberList::of(strangers()).unwrap();
        assert!(ask(&mut client, &list, ListAsk::Keep { hosts: other.bytes() }).await.is_err());
        let kept = ask(&mut client, &list, ListAsk::Keep { hosts: list.bytes() }).await.unwrap();
        assert_eq!(kept, Reply::Accepted {});
        submit(&fleet, "a", &[order.bytes()]).await.unwrap();
        for host in &hosts[..2] {
            let verified = result(&fleet, "a", order.id(), *host).await;
            assert!(verified.record().outcome.ok(), "{:?}", verified.record());
        }
        // The third has the list as well by the time that another order of it came through.
        let mut only = signer.order(&hosts, &fleet.counted(&[]));
        let mut marked: Vec<HostId> = strangers().chain([hosts[2]]).collect();
        marked.sort_unstable();
        only.roster = Roster::of(&marked, || Ok(Arc::clone(&list))).unwrap();
        let only = signer.sign(only);
        submit(&fleet, "a", &[only.bytes()]).await.unwrap();
        assert!(result(&fleet, "a", only.id(), hosts[2]).await.record().outcome.ok());
        let expected: [(_, &[&str]); 2] = [(order.id(), &["a", "b"]), (only.id(), &["c"])];
        spawned_exactly(&fleet, &expected);
    });
}
