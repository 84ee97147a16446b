//! Who was away, and who is new: how soon they hold everything, and what it costs them.

use super::super::*;

const DAY_MS: u64 = 24 * 3_600_000;
const PACKAGES: usize = 400;

/// Hosts with packages, and what each published.
struct Fleeting {
    net: Network,
    packages: Vec<Packages>,
    count: u64,
    dice: Dice,
}

impl Fleeting {
    fn new(hosts: usize, members: usize, seed: u64) -> Self {
        let mut net = Network::new(Fleet::found(hosts), members, seed);
        for at in 0..members {
            net.start(at);
        }
        let packages = (0..hosts).map(|at| Packages::of_image(at as u64 % 3, PACKAGES)).collect();
        let mut made = Self { net, packages, count: 0, dice: Dice::new(seed ^ 0xa3) };
        for at in 0..members {
            made.publish(at);
            made.net.run(200);
        }
        assert!(made.settled(60), "{:?}", lacking(&made.net));
        made
    }

    fn publish(&mut self, at: usize) {
        self.count += 1;
        self.packages[at].upgrade(&mut self.dice);
        let node = Published::node(at, self.count, true).with_machine(at);
        let published = node.with("deb", &self.packages[at].canonical(), self.net.host(at).replica());
        assert!(self.net.publish(at, &published).is_some(), "{at} publishes");
    }

    fn settled(&mut self, seconds: u64) -> bool {
        self.net.until(seconds, |net| lacking(net).is_none())
    }

    /// Days on which some hosts change and somebody tags one.
    fn days(&mut self, days: u64, without: usize) {
        for _ in 0..days {
            self.net.leap(DAY_MS);
            for at in (0..self.net.hosts().len()).filter(|at| *at != without) {
                if self.net.host(at).is_up() && self.dice.one_in(2) {
                    self.publish(at);
                    self.net.run(500);
                }
            }
            let now = self.net.now();
            self.count += 1;
            self.net.fleet.tag(0, 3, "role", &self.count.to_string(), now);
            self.net.submit_ops(0);
            self.net.run(20_000);
        }
    }

    /// How many milliseconds until this host holds what the first one holds.
    fn catches_up(&mut self, at: usize, within_ms: u64) -> Option<u64> {
        for took in (0..=within_ms).step_by(50) {
            let hour = crate::replica::first_hour(self.net.now());
            let root = |at: usize| self.net.host(at).replica().roots(hour).root();
            if root(at) == root(0) {
                return Some(took);
            }
            self.net.run(50);
        }
        None
    }

    fn received(&self, at: usize) -> u64 {
        self.net.report().hosts[at].bytes_received(&[])
    }
}

#[test]
fn a_host_that_was_away_for_days_holds_everything_seconds_after_it_is_back() {
    for silent in [false, true] {
        let mut fleet = Fleeting::new(20, 20, 3);
        fleet.net.crash(7, silent);
        fleet.net.run(30_000);
        fleet.days(9, 7);
        fleet.net.forget_counts();
        fleet.net.start(7);
        let took = fleet.catches_up(7, 10_000).expect("it holds everything");
        let received = fleet.received(7);
        show(&format!("away for nine days: {took} ms and {received} B, {} hosts", fleet.net.hosts().len()));
        assert!(took <= 5_000, "{took} ms");
        assert!(fleet.settled(60), "{:?}", lacking(&fleet.net));
    }
}

#[test]
fn a_host_that_joins_a_fleet_with_a_long_history_holds_everything_seconds_after_it_is_admitted() {
    let hosts = 60;
    let mut fleet = Fleeting::new(hosts + 1, hosts, 4);
    fleet.days(10, hosts);
    for number in 0..200 {
        let now = fleet.net.now();
        fleet.net.fleet.tag(1, number % hosts, &format!("key-{number}"), "value", now);
    }
    fleet.net.submit_ops(1);
    assert!(fleet.settled(60), "{:?}", lacking(&fleet.net));
    let held: usize = fleet.net.host(0).replica().all().iter().map(crate::replica::Item::weight).sum();
    let certificate = fleet.net.fleet.certificate(hosts).expect("a certificate");
    fleet.net.forget_counts();
    assert!(fleet.net.submit(2, certificate), "the certificate is taken");
    let told = fleet.net.host(2).replica().fleet_items(false);
    fleet.net.install(hosts, &told);
    fleet.net.start(hosts);
    let took = fleet.catches_up(hosts, 10_000).expect("it holds everything");
    let counts = &fleet.net.report().hosts[hosts];
    let asked: u64 =
        ["want", "tips"].iter().filter_map(|kind| counts.sent.get(kind)).map(|t| t.messages).sum();
    let received = counts.bytes_received(&[]);
    show(&format!("joining {hosts} hosts: {took} ms, {asked} questions, {received} B of {held} B held"));
    assert!(took <= 5_000, "{took} ms");
    assert!(received <= 2 * held as u64, "{received} B for {held} B");
    assert!(asked <= 40, "{asked} questions");
}

#[expect(clippy::print_stdout, reason = "figures, for who asks with --nocapture")]
fn show(figure: &str) {
    println!("{figure}");
}
