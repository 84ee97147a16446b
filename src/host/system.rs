//! The operating system, kernel, processors, memory, model and boot.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{Collected, FACET_SYSTEM, Paths, Progress, collector::table, text};
use crate::replica::{Table, Tables};

/// Longest file of processors: some thousand of them.
const PROCESSORS_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Longest other file.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// How much the time of a boot may move, in seconds, without being told anew: the system reckons it back from
/// a clock that is set again and again.
const BOOT_JITTER_S: u64 = 2;

/// When a boot was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Boot {
    /// The system's name for it.
    pub(super) id: String,
    /// Seconds since 1970.
    pub(super) time: u64,
}

impl Boot {
    /// What was told of a boot.
    pub(super) fn of(tables: &Tables) -> Option<Self> {
        let boot = tables.tables.iter().find(|table| table.name == "boot")?;
        let [time, id] = boot.rows.first()?.as_slice() else { return None };
        Some(Self { id: id.clone(), time: time.parse().ok()? })
    }

    /// This boot as it was told before, if it is the same.
    fn steady(self, known: Option<&Self>) -> Self {
        match known {
            Some(known) if known.id == self.id && known.time.abs_diff(self.time) <= BOOT_JITTER_S => {
                known.clone()
            }
            _ => self,
        }
    }
}

/// Looks at the system; `boot` is what is known of its boot, and becomes what is told.
pub(super) fn collect(paths: &Paths, boot: &mut Option<Boot>, progress: &Progress) -> Collected {
    let mut problems = Vec::new();
    let mut tables = Vec::new();
    let mut take = |what: &str, made: Result<Table, String>| match made {
        Ok(table) => tables.push(table),
        Err(why) => problems.push(format!("{what}: {why}")),
    };
    progress.at("/proc");
    let kernel = paths.proc("sys/kernel");
    let arch = arch(&kernel);
    take("os_version", os_version(paths, &arch));
    let version = text::line(&kernel.join("osrelease"));
    take("kernel_info", Ok(table("kernel_info", &["version", "arch"], vec![vec![version, arch]])));
    take("cpu_info", read(&paths.proc("cpuinfo"), PROCESSORS_BYTES_MAX).map(|text| cpu_info(&text, paths)));
    take("memory_info", read(&paths.proc("meminfo"), FILE_BYTES_MAX).and_then(|text| memory_info(&text)));
    take("boot", read_boot(paths).map(|now| boot.insert(now.steady(boot.as_ref())).table()));
    progress.at("/sys");
    take("system_info", Ok(system_info(paths)));
    if tables.len() <= 2 {
        // Without /proc and os-release there is nothing worth telling.
        return Collected::failed(FACET_SYSTEM, problems.join("; "));
    }
    Collected { facet: FACET_SYSTEM, tables: Ok(Tables { tables }), problems }
}

fn read(path: &Path, most: u64) -> Result<String, String> {
    text::read(path, most).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn arch(kernel: &Path) -> String {
    let said = text::line(&kernel.join("arch"));
    // The file came with Linux 6.1.
    if said.is_empty() { rustix::system::uname().machine().to_string_lossy().into_owned() } else { said }
}

/// The fields of os-release(5): `NAME=value`, the value as a shell would read it.
fn os_release(text: &str) -> BTreeMap<&str, String> {
    let field = |line| {
        let (name, value): (&str, &str) = str::split_once(line, '=')?;
        let name = name.trim();
        (!name.is_empty() && !name.starts_with('#')).then(|| (name, text::bounded(&unquoted(value.trim()))))
    };
    text.lines().filter_map(field).collect()
}

fn unquoted(value: &str) -> String {
    let mut plain = String::with_capacity(value.len());
    let mut quote = None;
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\\', None) => plain.extend(letters.next()),
            // Within double quotes only these lose their meaning.
            ('\\', Some('"')) => match letters.next() {
                Some(next @ ('"' | '\\' | '$' | '`')) => plain.push(next),
                next => plain.extend(std::iter::once('\\').chain(next)),
            },
            ('"' | '\'', None) => quote = Some(letter),
            (_, Some(open)) if letter == open => quote = None,
            _ => plain.push(letter),
        }
    }
    plain
}

fn os_version(paths: &Paths, arch: &str) -> Result<Table, String> {
    let text = read(&paths.etc().join("os-release"), FILE_BYTES_MAX)
        .or_else(|why| read(&paths.root.join("usr/lib/os-release"), FILE_BYTES_MAX).map_err(|_| why))?;
    let fields = os_release(&text);
    let get = |name| fields.get(name).cloned().unwrap_or_default();
    let number = get("VERSION_ID");
    let mut parts = number.split('.').map(str::to_owned);
    let mut part = || parts.next().unwrap_or_default();
    let (major, minor, patch) = (part(), part(), part());
    let row = [
        ("name", get("NAME")),
        ("version", get("VERSION")),
        ("major", major),
        ("minor", minor),
        ("patch", patch),
        ("build", get("BUILD_ID")),
        // osquery's name for ID.
        ("platform", get("ID")),
        ("platform_like", get("ID_LIKE")),
        ("codename", get("VERSION_CODENAME")),
        ("arch", arch.to_owned()),
        ("pretty_name", get("PRETTY_NAME")),
    ];
    Ok(single("os_version", row))
}

/// A table of one row.
fn single<const N: usize>(name: &str, row: [(&str, String); N]) -> Table {
    let columns: Vec<&str> = row.iter().map(|(column, _)| *column).collect();
    table(name, &columns, vec![row.map(|(_, value)| value).to_vec()])
}

/// The processors, of which all are said to be like the first.
fn cpu_info(text: &str, paths: &Paths) -> Table {
    let fields = || text.lines().filter_map(|line| line.split_once(':')).map(|(a, b)| (a.trim(), b.trim()));
    let first = |names: &[&str]| {
        let found = names.iter().find_map(|name| fields().find(|(field, _)| field == name));
        text::bounded(found.map_or("", |(_, value)| value))
    };
    // "processor 0: …" is IBM's way.
    let logical =
        fields().filter(|(field, _)| *field == "processor" || field.starts_with("processor ")).count();
    let (mut sockets, mut cores, mut socket) = (BTreeSet::new(), BTreeSet::new(), "");
    for (field, value) in fields() {
        match field {
            "physical id" => {
                socket = value;
                sockets.insert(value.to_owned());
            }
            "core id" => {
                cores.insert((socket.to_owned(), value.to_owned()));
            }
            _ => {}
        }
    }
    if cores.is_empty() {
        for number in 0..logical {
            let topology = paths.sys(&format!("devices/system/cpu/cpu{number}/topology"));
            let socket = text::line(&topology.join("physical_package_id"));
            let core = text::line(&topology.join("core_id"));
            if !core.is_empty() {
                sockets.insert(socket.clone());
                cores.insert((socket, core));
            }
        }
    }
    let count = |known: usize, otherwise: usize| if known == 0 { otherwise } else { known }.to_string();
    single(
        "cpu_info",
        [
            ("model", first(&["model name", "Processor", "cpu model", "cpu", "uarch", "CPU part"])),
            ("manufacturer", first(&["vendor_id", "CPU implementer"])),
            ("number_of_cores", count(cores.len(), logical)),
            ("logical_processors", logical.to_string()),
            ("sockets", count(sockets.len(), usize::from(logical > 0))),
        ],
    )
}

/// Memory, in bytes.
fn memory_info(text: &str) -> Result<Table, String> {
    let get = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kib.checked_mul(1024).map(|bytes| bytes.to_string())
    };
    let total = get("MemTotal").ok_or("no MemTotal in /proc/meminfo")?;
    let swap = get("SwapTotal").unwrap_or_default();
    Ok(single("memory_info", [("memory_total", total), ("swap_total", swap)]))
}

fn read_boot(paths: &Paths) -> Result<Boot, String> {
    let id = text::line(&paths.proc("sys/kernel/random/boot_id"));
    // Thousands of interrupts stand before it, on one line.
    let text = read(&paths.proc("stat"), PROCESSORS_BYTES_MAX)?;
    let time = text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok());
    let time = time.ok_or("no btime in /proc/stat")?;
    if id.is_empty() { Err("no boot_id".to_owned()) } else { Ok(Boot { id, time }) }
}

impl Boot {
    fn table(&self) -> Table {
        single("boot", [("boot_time", self.time.to_string()), ("boot_id", self.id.clone())])
    }
}

/// What the machine is. Its serial number and UUID are for root alone, which the mesh process is not.
fn system_info(paths: &Paths) -> Table {
    let dmi = |name: &str| text::line(&paths.sys("class/dmi/id").join(name));
    let mut model = dmi("product_name");
    if model.is_empty() {
        model = text::line(&paths.sys("firmware/devicetree/base/model"));
    }
    single(
        "system_info",
        [
            ("hostname", text::line(&paths.proc("sys/kernel/hostname"))),
            ("hardware_vendor", dmi("sys_vendor")),
            ("hardware_model", model),
            ("hardware_version", dmi("product_version")),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_is_read_as_a_shell_would() {
        let text = "# NAME=no\nNAME=\"Debian GNU/Linux\"\n\nID=debian\nVERSION='12 (bookworm)'\n\
            PRETTY_NAME=\"a \\\"b\\\" \\$c \\n d\"\nEMPTY=\nX=a\\ b\nBAD\n=none\nCUT=\"open\nCRLF=1\r\n";
        let fields = os_release(text);
        let expected = [
            ("CRLF", "1"),
            ("CUT", "open"),
            ("EMPTY", ""),
            ("ID", "debian"),
            ("NAME", "Debian GNU/Linux"),
            ("PRETTY_NAME", "a \"b\" $c \\n d"),
            ("VERSION", "12 (bookworm)"),
            ("X", "a b"),
        ];
        assert_eq!(fields.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn processors_are_counted_by_socket_and_core() {
        let nowhere = Paths { root: "/nonexistent".into(), dpkg: "/nonexistent".into() };
        let cpu = |number: u32, socket: u32, core: u32| {
            format!(
                "processor\t: {number}\nvendor_id\t: AuthenticAMD\nmodel name\t: EPYC\n\
                 physical id\t: {socket}\ncore id\t\t: {core}\nflags\t\t: a b\n\n"
            )
        };
        let text: String = (0..8).map(|at| cpu(at, at / 4, at % 4 / 2)).collect();
        assert_eq!(cpu_info(&text, &nowhere).rows, [["EPYC", "AuthenticAMD", "4", "8", "2"]]);
        let arm = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n\nprocessor\t: 1\n";
        assert_eq!(cpu_info(arm, &nowhere).rows, [["0xd08", "0x41", "2", "2", "1"]]);
        assert_eq!(cpu_info("", &nowhere).rows, [["", "", "0", "0", "0"]]);
    }

    #[test]
    fn a_boot_keeps_its_time_while_the_clock_is_set() {
        let boot = |id: &str, time| Boot { id: id.to_owned(), time };
        let known = boot("a", 1_000);
        assert_eq!(boot("a", 1_001).steady(Some(&known)), known);
        assert_eq!(boot("a", 998).steady(Some(&known)), known);
        // Set by more, as on a machine that starts without a clock; and another boot.
        for other in [boot("a", 1_003), boot("b", 1_001)] {
            assert_eq!(other.clone().steady(Some(&known)), other);
            assert_eq!(other.clone().steady(None), other);
        }
        assert_eq!(Boot::of(&Tables { tables: vec![known.table()] }), Some(known));
        assert_eq!(Boot::of(&Tables::default()), None);
    }
}
