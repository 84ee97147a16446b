//! A member that lies in one way, and nothing else goes wrong: who names it, and what it costs the others.

use super::super::{
    liar::{Lie, tell},
    *,
};
use crate::sync::Tables;

const HOSTS: usize = 6;
const LIAR: usize = HOSTS - 1;

/// Lies so once a second for so long.
fn lied(lie: Lie, seconds: u64) -> Network {
    let mut net = Network::new(Fleet::found(HOSTS), HOSTS, 11);
    let mut dice = Dice::new(5);
    net.host_mut(LIAR).lies = true;
    for at in 0..HOSTS {
        net.start(at);
    }
    for at in 0..HOSTS {
        net.run(500);
        net.publish(at, &Published::node(at, 1, true));
    }
    let old = net.host(LIAR).replica().head_item(&net.fleet.id(LIAR), None);
    for second in 0..seconds {
        tell(lie, &mut net, LIAR, &mut dice, old.as_ref());
        let honest = usize::try_from(second).unwrap_or(0) % LIAR;
        net.publish(honest, &Published::node(honest, second + 2, true));
        net.run(1_000);
        for at in 0..LIAR {
            let most = Tables::most(HOSTS, HOSTS);
            assert_eq!(net.host(at).machine().tables().beyond(&most), None, "{lie:?}, host {at}");
        }
    }
    net
}

fn named(net: &Network, by: usize) -> Vec<usize> {
    net.host(by).machine().misbehaved().filter_map(|(host, ..)| net.fleet.number(&host)).collect()
}

#[test]
fn who_announces_what_it_does_not_have_is_named_by_those_it_told_and_nobody_else_is() {
    for lie in [Lie::Announces, Lie::Overflows] {
        let net = lied(lie, 30);
        let by = (0..LIAR).filter(|at| named(&net, *at) == [LIAR]).count();
        assert!(by >= 2, "{lie:?}: {by} name it");
        assert!((0..LIAR).all(|at| named(&net, at).iter().all(|named| *named == LIAR)), "{lie:?}");
    }
}

#[test]
fn whatever_a_liar_says_the_others_hold_the_same_and_name_nobody_else() {
    for lie in [Lie::Floods, Lie::Contradicts, Lie::Skips, Lie::GoesBack, Lie::Bombs, Lie::Overflows] {
        let mut net = lied(lie, 20);
        net.crash(LIAR, false);
        assert!(net.until(120, |net| lacking(net).is_none()), "{lie:?}: {:?}", lacking(&net));
        for at in 0..LIAR {
            assert!(named(&net, at).iter().all(|named| *named == LIAR), "{lie:?}: {:?}", named(&net, at));
        }
        assert_eq!(net.violations(), [] as [String; 0], "{lie:?}");
    }
}
