//! A member that does what no honest one does. It is among its neighbours like any other and says more.

use super::{dice::Dice, facets::Published, network::Network};
use crate::{
    replica::{Item, Packed},
    sync::{HeadRow, Message, Part, ROWS_MAX, pack_halves, pack_heads, prefix},
};

/// What its differences expand to, in bytes; its heads say a thousand.
const BOMB_BYTES: usize = 4 * 1024 * 1024;

/// Messages full of rows, said at once.
const OVERFLOWING: usize = 6;

/// What a liar does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lie {
    /// Announces heads and entries that it does not have.
    Announces,
    /// Announces far more than anybody remembers.
    Overflows,
    /// Says all that it holds, over and over.
    Floods,
    /// Says two things at one place, each to one neighbour.
    Contradicts,
    /// Goes a million places ahead.
    Skips,
    /// Says again what it said long ago.
    GoesBack,
    /// Sends facets that expand.
    Bombs,
}

const LIES: [Lie; 7] =
    [Lie::Announces, Lie::Overflows, Lie::Floods, Lie::Contradicts, Lie::Skips, Lie::GoesBack, Lie::Bombs];

/// Lies once, in whatever way; `old` is a head that it published long ago.
pub(super) fn lie(net: &mut Network, at: usize, dice: &mut Dice, old: Option<&Item>) {
    if let Some(lie) = dice.pick(&LIES).copied() {
        tell(lie, net, at, dice, old);
    }
}

/// Lies once in this way.
pub(super) fn tell(lie: Lie, net: &mut Network, at: usize, dice: &mut Dice, old: Option<&Item>) {
    let peers: Vec<usize> = net.host(at).peers().collect();
    let pushed = |items: Vec<Item>| Message::Items { items, part: Part::Pushed {} };
    match lie {
        Lie::Announces => {
            net.struck("liar announces");
            let rows: Vec<HeadRow> = (0..net.hosts().len())
                .map(|host| HeadRow { host: prefix(&net.fleet.id(host)), epoch: 9, sequence: dice.roll() })
                .collect();
            let halves: Vec<[u8; 16]> = (0..20)
                .map(|_| u128::from(dice.roll()).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
                .collect();
            for peer in peers {
                let (heads, entries) = (pack_heads(&rows, 8), pack_halves(&halves));
                net.send(at, peer, Message::Told { lsn: 0, heads, entries });
            }
        }
        Lie::Overflows => {
            net.struck("liar overflows");
            for _ in 0..OVERFLOWING {
                let mut half = || (u128::from(dice.roll()) << 64 | u128::from(dice.roll())).to_le_bytes();
                let halves: Vec<[u8; 16]> = (0..ROWS_MAX).map(|_| half()).collect();
                for peer in &peers {
                    let (heads, entries) = (pack_heads(&[], 8), pack_halves(&halves));
                    net.send(at, *peer, Message::Told { lsn: 0, heads, entries });
                }
            }
        }
        Lie::Floods => {
            net.struck("liar floods");
            let items = net.host(at).replica().all();
            for peer in peers {
                for _ in 0..4 {
                    net.send(at, peer, pushed(items.clone()));
                }
            }
        }
        Lie::Contradicts => {
            net.struck("liar contradicts");
            let place = net.next_place(at);
            for (count, peer) in peers.into_iter().take(2).enumerate() {
                let published = Published::node(at, 1_000_000 + count as u64, true);
                let now = net.now();
                if let Some(head) = net.fleet.head(at, place, None, now, &published) {
                    net.send(at, peer, pushed(vec![head]));
                }
            }
        }
        Lie::Skips => {
            net.struck("liar skips");
            let place = net.next_place(at);
            net.host_mut(at).place = (place.0, place.1 + 1_000_000);
            net.publish(at, &Published::node(at, dice.roll() % 1_000, true));
        }
        Lie::GoesBack => {
            net.struck("liar goes back");
            for peer in peers {
                net.send(at, peer, pushed(old.cloned().into_iter().collect()));
            }
        }
        Lie::Bombs => {
            net.struck("liar bombs");
            let place = net.next_place(at);
            let mut published = Published::node(at, 0, true);
            published.add("zeros", &[0; 1000], Packed::alone(&vec![0; BOMB_BYTES]));
            let now = net.now();
            if let Some(head) = net.fleet.head(at, place, None, now, &published) {
                for peer in peers {
                    net.send(at, peer, pushed(vec![head.clone()]));
                }
            }
        }
    }
}
