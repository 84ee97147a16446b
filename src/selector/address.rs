//! Addresses, and ranges of them.

use std::net::IpAddr;

/// A range of addresses, after RFC 4632: those that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    first: IpAddr,
    bits: u32,
}

impl Range {
    /// Reads `10.20.0.0/16`, `fd00::/8`, or one address.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            None => (text, None),
            Some((address, bits)) => (address, Some(bits)),
        };
        let first: IpAddr = address.parse().ok()?;
        let most = width(first);
        let Some(bits) = bits else { return Some(Self { first, bits: most }) };
        if bits.is_empty() || bits.len() > 3 || !bits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        bits.parse().ok().filter(|bits| *bits <= most).map(|bits| Self { first, bits })
    }

    /// The address at its beginning, which is how it should be written.
    pub(super) fn begins(self) -> IpAddr {
        match self.first {
            IpAddr::V4(first) => IpAddr::V4((u32::from(first) & mask_of_32(self.bits)).into()),
            IpAddr::V6(first) => IpAddr::V6((u128::from(first) & mask_of_128(self.bits)).into()),
        }
    }

    /// Whether bits after the common ones are set.
    pub(super) fn is_crooked(self) -> bool {
        self.begins() != self.first
    }

    /// How many bits are common.
    pub(super) fn bits(self) -> u32 {
        self.bits
    }

    /// Whether `address` is in it. An IPv4 address that is written as one of IPv6 is one of IPv4.
    pub(super) fn holds(self, address: IpAddr) -> bool {
        match (self.begins(), self.mapped(address)) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                u32::from(address) & mask_of_32(self.bits) == u32::from(first)
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                u128::from(address) & mask_of_128(self.bits) == u128::from(first)
            }
            _ => false,
        }
    }

    fn mapped(self, address: IpAddr) -> IpAddr {
        if self.first.is_ipv4() { address.to_canonical() } else { address }
    }
}

/// Reads what a host says: an address, without the name of its interface if one is added.
pub(super) fn read(text: &str) -> Option<IpAddr> {
    text.split_once('%').map_or(text, |(address, _)| address).parse().ok()
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn mask_of_32(bits: u32) -> u32 {
    u32::MAX.checked_shl(32u32.saturating_sub(bits)).unwrap_or(0)
}

fn mask_of_128(bits: u32) -> u128 {
    u128::MAX.checked_shl(128u32.saturating_sub(bits)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_what_begins_like_it() {
        for (range, address, holds) in [
            ("10.20.0.0/16", "10.20.255.1", true),
            ("10.20.0.0/16", "10.21.0.1", false),
            ("0.0.0.0/0", "255.1.2.3", true),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3/32", "10.1.2.4", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "::a01:203", false),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe80::1%eth0", false),
            ("fe80::/10", "fe80::1%eth0", true),
            ("::/0", "10.1.2.3", false),
            ("::/0", "fd00::", true),
        ] {
            let range = Range::read(range).unwrap();
            assert_eq!(range.holds(read(address).unwrap()), holds, "{range:?} {address}");
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in [
            "",
            "10.0.0",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "::/129",
            "a",
            "10.0.0.0/8/8",
            "10.0.0.0/008x",
        ] {
            assert_eq!(Range::read(text), None, "{text}");
        }
        assert!(Range::read("10.20.0.1/16").unwrap().is_crooked());
        assert!(!Range::read("10.20.0.0/16").unwrap().is_crooked());
        assert_eq!(Range::read("10.20.0.1/16").unwrap().begins().to_string(), "10.20.0.0");
    }
}
