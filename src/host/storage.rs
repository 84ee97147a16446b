//! Disks, and what is mounted.
//!
//! Free space is never told: it changes all the time. The size of a file system that a server or a user's
//! program answers for is not asked either, since a server that is gone would not answer; nor that of one that
//! shares its space with others (zfs), which changes with what they write.

use std::path::Path;

use super::{Collected, FACET_STORAGE, Paths, Progress, collector::table, text};
use crate::replica::{Table, Tables};

/// Disks and partitions that are told.
const DEVICES_MAX: usize = 512;
/// Mounts that are told.
const MOUNTS_MAX: usize = 256;
/// Longest list of mounts that is read, in bytes.
const MOUNTS_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The kernel counts the size of every disk in these, in bytes.
const SECTOR_BYTES: &str = "512";

/// What holds no files of its own, or none that stay, and the layers of containers, which come and go.
const PSEUDO: [&str; 26] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fuse.lxcfs",
    "fuse.portal",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "overlay",
    "proc",
    "pstore",
    "ramfs",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "sysfs",
    "tmpfs",
    "tracefs",
];
/// Where containers have what they mount.
const CONTAINERS: [&str; 6] = [
    "/run/containerd/",
    "/run/netns/",
    "/run/user/",
    "/var/lib/containers/",
    "/var/lib/docker/",
    "/var/lib/kubelet/",
];
/// File systems whose size stays and which this kernel alone answers for.
const SIZED: [&str; 14] = [
    "btrfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "iso9660", "jfs", "ntfs3", "squashfs", "udf",
    "vfat", "xfs",
];

/// Looks at disks and mounts.
pub(super) fn collect(paths: &Paths, progress: &Progress) -> Collected {
    let mut problems = Vec::new();
    progress.at("/sys/block");
    let devices = block_devices(paths, &mut problems);
    progress.at("/proc/self/mounts");
    let mounts = match text::read(&paths.proc("self/mounts"), MOUNTS_BYTES_MAX) {
        Ok(text) => mounts(&text, &paths.root, progress, &mut problems),
        Err(error) => return Collected::failed(FACET_STORAGE, format!("cannot read the mounts: {error}")),
    };
    Collected { facet: FACET_STORAGE, tables: Ok(Tables { tables: vec![devices, mounts] }), problems }
}

/// Disks and their partitions, without those that are empty: a loop device that nothing uses, a card reader
/// without a card.
fn block_devices(paths: &Paths, problems: &mut Vec<String>) -> Table {
    let block = paths.sys("block");
    let (names, mut more) = text::names(&block, DEVICES_MAX);
    let mut rows = Vec::new();
    for name in &names {
        let dir = block.join(name);
        let get = |file: &str| text::line(&dir.join(file));
        let size = get("size");
        if size.is_empty() || size == "0" {
            continue;
        }
        let serial = Some(get("serial")).filter(|serial| !serial.is_empty());
        rows.push(vec![
            device(name),
            String::new(),
            get("device/vendor"),
            get("device/model"),
            serial.unwrap_or_else(|| get("device/serial")),
            size,
            SECTOR_BYTES.to_owned(),
            "disk".to_owned(),
        ]);
        let (parts, others) = text::names(&dir, DEVICES_MAX);
        more |= others;
        for part in parts.iter().filter(|part| part.starts_with(name.as_str())) {
            if text::line(&dir.join(part).join("partition")).is_empty() {
                continue;
            }
            let size = text::line(&dir.join(part).join("size"));
            let (none, sector, kind) = (String::new, SECTOR_BYTES.to_owned(), "partition".to_owned());
            rows.push(vec![device(part), device(name), none(), none(), none(), size, sector, kind]);
        }
    }
    if more || rows.len() > DEVICES_MAX {
        problems.push(format!("block_devices: more than {DEVICES_MAX}; the others are not told"));
        rows.truncate(DEVICES_MAX);
    }
    let columns = ["name", "parent", "vendor", "model", "serial", "size", "block_size", "type"];
    table("block_devices", &columns, rows)
}

/// The file of a device that the kernel calls `name`, which has `!` where the file has a slash.
fn device(name: &str) -> String {
    format!("/dev/{}", name.replace('!', "/"))
}

/// Mounts of fstab(5)'s form: device, path, type, flags, two numbers; spaces in them as octal numbers.
fn mounts(text: &str, root: &Path, progress: &Progress, problems: &mut Vec<String>) -> Table {
    let mut seen: Vec<[String; 4]> = text
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').map(unescaped);
            let (device, path) = (fields.next()?, fields.next()?);
            let (kind, flags) = (fields.next()?, fields.next()?);
            let passing = PSEUDO.contains(&kind.as_str())
                || CONTAINERS.iter().any(|containers| path.starts_with(containers));
            (path == "/" || !passing).then(|| [path, device, kind, flags].map(|text| text::bounded(&text)))
        })
        .collect();
    seen.sort_unstable();
    // One mounted over the other at the same place, as automounts are, may be listed twice.
    seen.dedup();
    if seen.len() > MOUNTS_MAX || text.len() as u64 >= MOUNTS_BYTES_MAX {
        problems.push(format!("mounts: more than {MOUNTS_MAX}; the others are not told"));
        seen.truncate(MOUNTS_MAX);
    }
    let row = |[path, device, kind, flags]: [String; 4]| {
        let (mut size, mut blocks) = (String::new(), String::new());
        if SIZED.contains(&kind.as_str()) {
            progress.at(&path);
            let there = root.join(path.strip_prefix('/').unwrap_or(&path));
            if let Ok(about) = rustix::fs::statvfs(&there) {
                (size, blocks) = (about.f_frsize.to_string(), about.f_blocks.to_string());
            }
        }
        vec![device, path, kind, flags, size, blocks]
    };
    let rows = seen.into_iter().map(row).collect();
    table("mounts", &["device", "path", "type", "flags", "blocks_size", "blocks"], rows)
}

/// A text in which `\040` stands for a space, and so on.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        let mut byte = *first;
        if let (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) = (first, tail) {
            byte = ((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0');
            rest = tail;
        }
        bytes.push(byte);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> (Vec<Vec<String>>, Vec<String>) {
        let mut problems = Vec::new();
        (mounts(text, Path::new("/"), &Progress::default(), &mut problems).rows, problems)
    }

    #[test]
    fn mounts_that_come_and_go_are_left_out_and_names_are_made_readable() {
        let text = "proc /proc proc rw 0 0\n\
            overlay / overlay rw,lowerdir=/a 0 0\n\
            overlay /var/lib/docker/overlay2/x/merged overlay rw 0 0\n\
            /dev/sda1 /var/lib/kubelet/pods/x ext4 rw 0 0\n\
            server:/my\\040share /mnt/a\\040b nfs4 rw,vers=4.2 0 0\n\
            tmpfs /run tmpfs rw 0 0\n\
            /dev/x\\\\y /odd\\9 zfs rw 0 0\n\
            cut short\n";
        let (rows, problems) = rows(text);
        let expected = [
            ["/dev/x\\\\y", "/odd\\9", "zfs", "rw", "", ""],
            ["overlay", "/", "overlay", "rw,lowerdir=/a", "", ""],
            ["server:/my share", "/mnt/a b", "nfs4", "rw,vers=4.2", "", ""],
        ];
        assert_eq!(rows, expected);
        assert!(problems.is_empty());
    }

    #[test]
    fn mounts_without_end_are_bounded_and_that_is_said() {
        let text =
            (0..1_000).map(|at| format!("/dev/x /mnt/{at:04} zfs rw 0 0")).collect::<Vec<_>>().join("\n");
        let (rows, problems) = rows(&text);
        assert_eq!((rows.len(), problems.len()), (MOUNTS_MAX, 1));
        assert!(problems[0].contains("256"), "{problems:?}");
    }

    #[test]
    fn octal_numbers_are_letters_and_anything_else_stays() {
        for (text, plain) in [
            ("a\\040b\\011c\\012\\134", "a b\tc\n\\"),
            ("\\", "\\"),
            ("\\04", "\\04"),
            ("\\477", "\\477"),
            ("\\303\\244", "ä"),
            ("\\377", "\u{fffd}"),
        ] {
            assert_eq!(unescaped(text), plain);
        }
    }
}
