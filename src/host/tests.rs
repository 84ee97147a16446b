use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::*;
use crate::replica::{FACET_BYTES_MAX, Tables};

/// A machine of files.
struct Made {
    dir: tempfile::TempDir,
}

impl Made {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn machine(&self) -> Machine {
        Machine::new(Paths { root: self.dir.path().to_owned(), dpkg: self.path("dpkg") })
    }

    fn collect(&self, facet: &'static str) -> Collected {
        self.machine().collect(facet, &Progress::default())
    }
}

fn rows(collected: &Collected, table: &str) -> Vec<String> {
    let tables = collected.tables.as_ref().unwrap();
    let table = tables.tables.iter().find(|found| found.name == table);
    table.map_or_else(Vec::new, |table| table.rows.iter().map(|row| row.join(" ")).collect())
}

/// A cell of a table with one row.
fn cell(collected: &Collected, name: &str, column: &str) -> String {
    let tables = collected.tables.as_ref().unwrap();
    let table = tables.tables.iter().find(|table| table.name == name).unwrap();
    let at = table.columns.iter().position(|own| own == column).unwrap();
    table.rows[0][at].clone()
}

fn stanza(name: &str, status: &str, version: &str) -> String {
    format!(
        "Package: {name}\nStatus: {status}\nPriority: optional\nArchitecture: amd64\nVersion: {version}\n\
         Description: a package\n with a long text\n\n"
    )
}

#[test]
fn packages_are_those_that_are_installed_whatever_is_wanted_of_them() {
    let made = Made::new();
    let text = [
        stanza("bash", "install ok installed", "5.2-1"),
        stanza("linux", "hold ok installed", "6.1"),
        stanza("old", "deinstall ok installed", "1"),
        stanza("rest", "deinstall ok config-files", "2"),
        stanza("half", "install reinstreq half-installed", "3"),
        stanza("broken", "install reinstreq installed", "4"),
        "Package: never\nStatus: unknown ok not-installed\nArchitecture: all\n\n".to_owned(),
        "Package: nothing\nArchitecture: all\n\n".to_owned(),
    ];
    made.write("dpkg/status", text.concat());
    let collected = made.collect(FACET_DEB);
    let installed = ["bash 5.2-1 amd64", "linux 6.1 amd64", "old 1 amd64"];
    assert_eq!(rows(&collected, "deb_packages"), installed);
    let unfinished = [
        "broken 4 amd64 install reinstreq installed",
        "half 3 amd64 install reinstreq half-installed",
        "rest 2 amd64 deinstall ok config-files",
    ];
    assert_eq!(rows(&collected, "deb_packages_unfinished"), unfinished);
    assert_eq!(collected.problems.len(), 1);
    assert!(collected.problems[0].contains("1 stanzas"), "{:?}", collected.problems);

    made.write("dpkg/status", stanza("bash", "install ok installed", "5.2-1").repeat(2));
    let collected = made.collect(FACET_DEB);
    assert_eq!(rows(&collected, "deb_packages"), ["bash 5.2-1 amd64"]);
    // A table that would be empty on nearly every host is not there.
    assert_eq!(collected.tables.unwrap().tables.len(), 1);
}

#[test]
fn what_dpkg_had_not_yet_put_into_its_status_counts() {
    let made = Made::new();
    let ok = "install ok installed";
    made.write("dpkg/status", stanza("a", ok, "1") + &stanza("b", ok, "1") + &stanza("c", ok, "1"));
    made.write("dpkg/updates/0002", stanza("a", ok, "3"));
    made.write("dpkg/updates/0001", stanza("a", "install ok half-configured", "2"));
    made.write("dpkg/updates/0000", "Package: b\nStatus: unknown ok not-installed\nArchitecture: amd64\n");
    made.write("dpkg/updates/tmp.i", stanza("c", ok, "9"));
    assert_eq!(rows(&made.collect(FACET_DEB), "deb_packages"), ["a 3 amd64", "c 1 amd64"]);
    made.write("dpkg/updates/00003", "");
    let problem = made.collect(FACET_DEB).tables.unwrap_err();
    assert!(problem.contains("updates") && problem.contains("not dpkg's"), "{problem}");
}

#[test]
fn an_image_without_dpkg_has_a_file_for_each_package() {
    let made = Made::new();
    made.write("dpkg/status.d/base", "Package: base-files\nVersion: 12.4+deb12u5\nArchitecture: amd64");
    made.write("dpkg/status.d/tzdata", "Package: tzdata\nVersion: 2024a\nArchitecture: all\n");
    made.write("dpkg/status.d/tzdata.md5sums", "d41d8cd98f00b204e9800998ecf8427e  usr/share/x\n");
    let collected = made.collect(FACET_DEB);
    let packages = ["base-files 12.4+deb12u5 amd64", "tzdata 2024a all"];
    assert_eq!(rows(&collected, "deb_packages"), packages);
    assert_eq!(collected.problems, Vec::<String>::new());
}

#[test]
fn a_machine_without_a_package_database_says_nothing_of_packages() {
    assert_eq!(Made::new().collect(FACET_DEB).tables, Ok(Tables::default()));
}

#[test]
fn too_many_packages_are_refused_and_not_cut() {
    let made = Made::new();
    let many = |count: usize| -> String {
        let one =
            |at| format!("Package: p{at}\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n\n");
        (0..count).map(one).collect()
    };
    made.write("dpkg/status", many(50_001));
    let problem = made.collect(FACET_DEB).tables.unwrap_err();
    assert!(problem.contains("more than 50000 packages"), "{problem}");
    // As many as may be read, with names so long that they are more than may be told.
    made.write("dpkg/status", many(5_000).replace("Package: p", &format!("Package: {}", "p".repeat(300))));
    let problem = made.collect(FACET_DEB).tables.unwrap_err();
    assert!(problem.contains(&FACET_BYTES_MAX.to_string()), "{problem}");
    // Many more than a machine has.
    made.write("dpkg/status", many(20_000));
    let canonical = made.collect(FACET_DEB).tables.unwrap().canonical();
    assert!(canonical.len() <= FACET_BYTES_MAX && Tables::read(&canonical).is_ok());
    // A file that never ends.
    let file = fs::File::create(made.path("dpkg/status")).unwrap();
    file.set_len(65 * 1024 * 1024).unwrap();
    let problem = made.collect(FACET_DEB).tables.unwrap_err();
    assert!(problem.contains("more than 67108864 bytes"), "{problem}");
}

#[test]
fn a_database_that_is_no_file_is_named_and_does_not_hang() {
    let made = Made::new();
    fs::create_dir_all(made.path("dpkg")).unwrap();
    let pipe = made.path("dpkg/status");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let problem = made.collect(FACET_DEB).tables.unwrap_err();
    assert!(problem.contains("status") && problem.contains("it is no file"), "{problem}");
}

fn debian() -> Made {
    let made = Made::new();
    made.write(
        "usr/lib/os-release",
        "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\n\
        VERSION_ID=\"12.7\"\nVERSION=\"12 (bookworm)\"\nVERSION_CODENAME=bookworm\nID=debian\n",
    );
    fs::create_dir_all(made.path("etc")).unwrap();
    symlink("../usr/lib/os-release", made.path("etc/os-release")).unwrap();
    made.write("proc/sys/kernel/osrelease", "6.1.0-25-amd64\n");
    made.write("proc/sys/kernel/arch", "x86_64\n");
    made.write("proc/sys/kernel/hostname", "db-3\n");
    made.write("proc/sys/kernel/random/boot_id", "0d2c4e1a-0000-4000-8000-000000000001\n");
    made.write("proc/stat", "cpu  1 2 3\nintr 5 6 7\nctxt 1\nbtime 1700000000\nprocesses 9\n");
    made.write("proc/meminfo", "MemTotal:       24684084 kB\nMemFree: 1 kB\nSwapTotal:             0 kB\n");
    made.write(
        "proc/cpuinfo",
        "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Xeon\n\
        physical id\t: 0\ncore id\t\t: 0\n\nprocessor\t: 1\nphysical id\t: 0\ncore id\t\t: 0\n",
    );
    made.write("sys/class/dmi/id/sys_vendor", "Dell Inc.  \n");
    made.write("sys/class/dmi/id/product_name", "PowerEdge R640\n");
    made
}

#[test]
fn the_system_is_told_by_osquerys_names() {
    let made = debian();
    let collected = made.collect(FACET_SYSTEM);
    for (table, column, value) in [
        ("os_version", "name", "Debian GNU/Linux"),
        ("os_version", "version", "12 (bookworm)"),
        ("os_version", "major", "12"),
        ("os_version", "minor", "7"),
        ("os_version", "platform", "debian"),
        ("os_version", "codename", "bookworm"),
        ("os_version", "arch", "x86_64"),
        ("os_version", "pretty_name", "Debian GNU/Linux 12 (bookworm)"),
        ("kernel_info", "version", "6.1.0-25-amd64"),
        ("cpu_info", "model", "Xeon"),
        ("cpu_info", "number_of_cores", "1"),
        ("cpu_info", "logical_processors", "2"),
        ("memory_info", "memory_total", "25276502016"),
        ("memory_info", "swap_total", "0"),
        ("boot", "boot_time", "1700000000"),
        ("system_info", "hostname", "db-3"),
        ("system_info", "hardware_vendor", "Dell Inc."),
        ("system_info", "hardware_model", "PowerEdge R640"),
    ] {
        assert_eq!(cell(&collected, table, column), value, "{table}.{column}");
    }
    assert_eq!(collected.problems, Vec::<String>::new());

    // A board without such tables.
    fs::remove_dir_all(made.path("sys/class/dmi")).unwrap();
    made.write("sys/firmware/devicetree/base/model", "Raspberry Pi 4\0");
    assert_eq!(cell(&made.collect(FACET_SYSTEM), "system_info", "hardware_model"), "Raspberry Pi 4");
}

#[test]
fn what_is_missing_of_the_system_is_named_and_the_rest_is_told() {
    let made = debian();
    fs::remove_file(made.path("proc/meminfo")).unwrap();
    made.write("proc/stat", "cpu 1 2");
    let collected = made.collect(FACET_SYSTEM);
    assert_eq!(cell(&collected, "kernel_info", "version"), "6.1.0-25-amd64");
    let problems = collected.problems.join("; ");
    assert!(problems.contains("meminfo") && problems.contains("btime"), "{problems}");
    let problem = Made::new().collect(FACET_SYSTEM).tables.unwrap_err();
    assert!(problem.contains("os-release") && problem.contains("cpuinfo"), "{problem}");
}

#[test]
fn looking_again_tells_the_same_though_the_clock_was_set() {
    let made = debian();
    let machine = made.machine();
    let look = |machine: &Machine| machine.collect(FACET_SYSTEM, &Progress::default()).tables.unwrap();
    let first = look(&machine);
    made.write("proc/stat", "btime 1700000001\n");
    assert_eq!(look(&machine), first);
    // After a start of the agent too, if it is reminded.
    let other = made.machine();
    assert_ne!(look(&other), first);
    other.remember(&first);
    assert_eq!(look(&other), first);
    made.write("proc/sys/kernel/random/boot_id", "another\n");
    assert_ne!(look(&other), first);
}

#[test]
fn disks_are_told_without_empty_ones() {
    let made = Made::new();
    made.write("proc/self/mounts", "/dev/sda1 / ext4 rw,relatime 0 0\nproc /proc proc rw 0 0\n");
    // As in /sys, where the entries are links.
    made.write("sys/devices/pci0/sda/size", "1953525168\n");
    made.write("sys/devices/pci0/sda/device/vendor", "ATA     \n");
    made.write("sys/devices/pci0/sda/device/model", "Samsung SSD 870 \n");
    made.write("sys/devices/pci0/sda/sda1/partition", "1\n");
    made.write("sys/devices/pci0/sda/sda1/size", "1951424512\n");
    made.write("sys/devices/pci0/sda/queue/size", "7\n");
    fs::create_dir_all(made.path("sys/block")).unwrap();
    symlink("../devices/pci0/sda", made.path("sys/block/sda")).unwrap();
    made.write("sys/block/loop0/size", "0\n");
    made.write("sys/block/cciss!c0d0/size", "8\n");
    let collected = made.collect(FACET_STORAGE);
    let disks = [
        "/dev/cciss/c0d0     8 512 disk",
        "/dev/sda  ATA Samsung SSD 870  1953525168 512 disk",
        "/dev/sda1 /dev/sda    1951424512 512 partition",
    ];
    assert_eq!(rows(&collected, "block_devices"), disks);
    assert_eq!(cell(&collected, "mounts", "device"), "/dev/sda1");
    // Of the file system that the made machine is on.
    assert!(cell(&collected, "mounts", "blocks").parse::<u64>().is_ok());
    fs::remove_file(made.path("proc/self/mounts")).unwrap();
    assert!(made.collect(FACET_STORAGE).tables.unwrap_err().contains("mounts"));
}

#[test]
fn interfaces_are_told_without_those_of_containers() {
    let made = Made::new();
    for name in ["eth0", "lo", "veth12ab", "cali9", "lxcbr0"] {
        made.write(&format!("sys/class/net/{name}/address"), "02:fc:00:00:00:01\n");
        made.write(&format!("sys/class/net/{name}/mtu"), "1500\n");
        made.write(&format!("sys/class/net/{name}/type"), "1\n");
    }
    made.write("sys/class/net/bonding_masters", "");
    made.write("proc/net/if_inet6", "fe800000000000000000000000000001 04 40 20 80 eth0\n");
    let v4 = |interface: &str| (interface.to_owned(), [10, 0, 0, 2].into(), [255, 255, 255, 0].into());
    let paths = Paths { root: made.dir.path().to_owned(), dpkg: made.path("dpkg") };
    let look = |v4| network::collect(&paths, v4, &Progress::default());
    let collected = look(Ok(vec![v4("eth0"), v4("veth12ab")]));
    let interfaces =
        ["eth0 02:fc:00:00:00:01 1500 1", "lo 02:fc:00:00:00:01 1500 1", "lxcbr0 02:fc:00:00:00:01 1500 1"];
    assert_eq!(rows(&collected, "interface_details"), interfaces);
    let addresses = ["eth0 10.0.0.2 255.255.255.0", "eth0 fe80::1 ffff:ffff:ffff:ffff::"];
    assert_eq!(rows(&collected, "interface_addresses"), addresses);

    // Containers without end are none of ours, interfaces without end are bounded.
    for at in 0..300 {
        made.write(&format!("sys/class/net/a{at}/type"), "1\n");
        made.write(&format!("sys/class/net/veth{at}/type"), "1\n");
    }
    let collected = look(Ok(Vec::new()));
    assert_eq!(rows(&collected, "interface_details").len(), 128);
    assert!(collected.problems[0].contains("128"), "{:?}", collected.problems);
    let refused = look(Err(std::io::ErrorKind::PermissionDenied.into()));
    assert!(refused.tables.unwrap_err().contains("addresses"));
}

#[tokio::test]
async fn this_machine_is_told_and_twice_the_same() {
    let machine = Machine::new(Paths::with_dpkg("/var/lib/dpkg"));
    let mut looks = Looks::new(Arc::new(machine));
    for facet in FACETS {
        let first = looks.collect(facet).await;
        let tables = first.tables.unwrap_or_else(|problem| panic!("{problem}"));
        let canonical = tables.clone().canonical();
        assert_eq!(Tables::read(&canonical).unwrap(), tables, "{facet} is not in order");
        assert!(first.problems.is_empty(), "{:?}", first.problems);
        // Others may change the machine meanwhile, but not each time.
        let mut same = false;
        for _ in 0..5 {
            same |= looks.collect(facet).await.tables == Ok(tables.clone());
        }
        assert!(same, "{facet} changes all the time");
    }
    let system = looks.collect(FACET_SYSTEM).await;
    assert!(
        !cell(&system, "boot", "boot_id").is_empty() && !cell(&system, "system_info", "hostname").is_empty()
    );
    let network = looks.collect(FACET_NETWORK).await;
    assert!(rows(&network, "interface_addresses").contains(&"lo 127.0.0.1 255.0.0.0".to_owned()));
    if Path::new("/var/lib/dpkg/status").exists() {
        let deb = looks.collect(FACET_DEB).await;
        assert!(rows(&deb, "deb_packages").iter().any(|row| row.starts_with("dpkg ")));
    }
}
