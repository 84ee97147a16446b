//! Interfaces, and their addresses.
//!
//! Without what comes and goes by itself: the ends of containers' and virtual machines' links, and IPv6
//! addresses that are made to be thrown away (RFC 8981). Whether a link is up is not told either.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr},
};

use super::{Collected, FACET_NETWORK, Paths, Progress, collector::table, text};
use crate::replica::{Table, Tables};

/// Interfaces that are told.
const INTERFACES_MAX: usize = 128;
/// Addresses that are told.
const ADDRESSES_MAX: usize = 512;
/// Longest list of IPv6 addresses that is read, in bytes.
const LIST_BYTES_MAX: u64 = 256 * 1024;
/// How the names of the ends of links into containers and virtual machines begin.
const PASSING: [&str; 5] = ["cali", "lxc", "tap", "veth", "vnet"];
/// And those that do not come and go, though they are called alike: bridges.
const STAYING: &str = "lxcbr";
/// In a list of IPv6 addresses: made to be thrown away (`IFA_F_TEMPORARY`).
const TEMPORARY: u32 = 0x01;

/// An IPv4 address: interface, address, mask.
pub(super) type Ipv4 = (String, Ipv4Addr, Ipv4Addr);

/// The IPv4 addresses of this machine. The kernel lists them by netlink only.
pub(super) fn ipv4() -> io::Result<Vec<Ipv4>> {
    let own = |interface: if_addrs::Interface| match interface.addr {
        if_addrs::IfAddr::V4(address) => Some((interface.name, address.ip, address.netmask)),
        if_addrs::IfAddr::V6(_) => None,
    };
    Ok(if_addrs::get_if_addrs()?.into_iter().filter_map(own).collect())
}

/// Looks at interfaces and addresses.
pub(super) fn collect(paths: &Paths, ipv4: io::Result<Vec<Ipv4>>, progress: &Progress) -> Collected {
    let mut problems = Vec::new();
    progress.at("/sys/class/net");
    let details = interface_details(paths, &mut problems);
    let ipv4 = match ipv4 {
        Ok(ipv4) => ipv4,
        Err(error) => return Collected::failed(FACET_NETWORK, format!("cannot list addresses: {error}")),
    };
    // No file: a kernel without IPv6.
    let ipv6 = text::read(&paths.proc("net/if_inet6"), LIST_BYTES_MAX).unwrap_or_default();
    let mut rows: Vec<Vec<String>> = ipv4
        .into_iter()
        .map(|(interface, address, mask)| vec![interface, address.to_string(), mask.to_string()])
        .chain(ipv6.lines().filter_map(ipv6_address))
        .filter(|row| row.first().is_some_and(|interface| !passing(interface)))
        .collect();
    rows.sort_unstable();
    rows.dedup();
    if rows.len() > ADDRESSES_MAX {
        problems.push(format!("interface_addresses: more than {ADDRESSES_MAX}; the others are not told"));
        rows.truncate(ADDRESSES_MAX);
    }
    let addresses = table("interface_addresses", &["interface", "address", "mask"], rows);
    Collected { facet: FACET_NETWORK, tables: Ok(Tables { tables: vec![details, addresses] }), problems }
}

fn passing(interface: &str) -> bool {
    PASSING.iter().any(|begin| interface.starts_with(begin)) && !interface.starts_with(STAYING)
}

fn interface_details(paths: &Paths, problems: &mut Vec<String>) -> Table {
    let dir = paths.sys("class/net");
    // Many times as many: thousands of containers' links must not displace the others.
    let (names, mut more) = text::names(&dir, INTERFACES_MAX * 64);
    let mut rows: Vec<Vec<String>> = Vec::new();
    for name in names.iter().filter(|name| !passing(name)) {
        if rows.len() == INTERFACES_MAX {
            more = true;
            break;
        }
        let get = |file: &str| text::line(&dir.join(name).join(file));
        let kind = get("type");
        // `bonding_masters` is a file among the interfaces.
        if !kind.is_empty() {
            rows.push(vec![text::bounded(name), get("address"), get("mtu"), kind]);
        }
    }
    if more {
        problems.push(format!("interface_details: more than {INTERFACES_MAX}; the others are not told"));
    }
    table("interface_details", &["interface", "mac", "mtu", "type"], rows)
}

/// A line of the kernel's list: address, number of the interface, length of the prefix, scope, flags, interface;
/// all numbers in hexadecimal.
fn ipv6_address(line: &str) -> Option<Vec<String>> {
    let mut fields = line.split_ascii_whitespace();
    let address = u128::from_str_radix(fields.next().filter(|text| text.len() == 32)?, 16).ok()?;
    let prefix = u32::from_str_radix(fields.nth(1)?, 16).ok().filter(|bits| *bits <= 128)?;
    let flags = u32::from_str_radix(fields.nth(1)?, 16).ok()?;
    let interface = text::bounded(fields.next()?);
    if flags & TEMPORARY != 0 {
        return None;
    }
    let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
    Some(vec![interface, Ipv6Addr::from(address).to_string(), Ipv6Addr::from(mask).to_string()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_addresses_are_read_without_those_to_be_thrown_away() {
        let row = |line| ipv6_address(line).map(|row| row.join(" "));
        let own = "fe8000000000000000fc00fffe000001 04 40 20 80     eth0";
        assert_eq!(row(own).unwrap(), "eth0 fe80::fc:ff:fe00:1 ffff:ffff:ffff:ffff::");
        let lo = "00000000000000000000000000000001 01 80 10 80       lo";
        assert_eq!(row(lo).unwrap(), "lo ::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
        let all = "fd000000000000000000000000000002 04 00 00 82     eth0";
        assert_eq!(row(all).unwrap(), "eth0 fd00::2 ::");
        for none in [
            "20010db8000000000000000000000002 02 40 00 01     eth0",
            "20010db8000000000000000000000002 02 40 00 81     eth0",
            "20010db8 02 40 00 80 eth0",
            "20010db8000000000000000000000002 02 81 00 80 eth0",
            "20010db8000000000000000000000002 02 40 00 80",
            "zz010db8000000000000000000000002 02 40 00 80 eth0",
            "",
        ] {
            assert_eq!(row(none), None, "{none}");
        }
    }
}
