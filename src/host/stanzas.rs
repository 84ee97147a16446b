//! Reads stanzas of a package database (deb822(5), deb-control(5)), a piece at a time.
//!
//! Decides what a stanza says and whether it can be believed. Always holds: any bytes in any pieces give the
//! same packages; no more is remembered than four short fields, whatever the length of a line; nothing panics.
//! A stanza that says less or other than dpkg would write is skipped and counted, the others stand.

use memchr::memchr;

/// Longest value of a field that is kept, in bytes.
const VALUE_BYTES_MAX: usize = 512;
/// As much of a line as matters: the name of a field that is kept, and a value that is one byte too long.
const LINE_BYTES_MAX: usize = VALUE_BYTES_MAX + 64;

/// A package as the database has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Package {
    /// Its name.
    pub(super) name: String,
    /// The architecture that it is for.
    pub(super) arch: String,
    /// Its version; empty if it has none, since it is not installed.
    pub(super) version: String,
    /// What is wanted, whether dpkg found an error, and what it is (`install ok installed`); empty without.
    pub(super) status: String,
}

/// The fields that are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Name,
    Version,
    Arch,
    Status,
}

const FIELDS: [(&[u8], Field); 4] = [
    (b"package", Field::Name),
    (b"version", Field::Version),
    (b"architecture", Field::Arch),
    (b"status", Field::Status),
];

/// What is to be made of a stanza.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// dpkg's own files: each stanza has a status, and every line an end.
    Status,
    /// A file of one package in an image without dpkg: it is there, so it is installed. The last line may have
    /// no end.
    Single,
}

/// A stanza that is being read.
#[derive(Debug, Default)]
struct Stanza {
    name: Option<String>,
    version: Option<String>,
    arch: Option<String>,
    status: Option<String>,
    /// It has at least one line.
    any: bool,
    /// Something about a field that is kept is not as dpkg writes it.
    bad: bool,
    /// The last line was of a field that is kept.
    kept: bool,
}

/// Reads a file of stanzas.
#[derive(Debug)]
pub(super) struct Stanzas {
    form: Form,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    stanza: Stanza,
    /// What was read.
    pub(super) packages: Vec<Package>,
    /// Stanzas that were skipped.
    pub(super) skipped: usize,
}

impl Stanzas {
    pub(super) fn new(form: Form) -> Self {
        Self { form, line: Vec::new(), stanza: Stanza::default(), packages: Vec::new(), skipped: 0 }
    }

    /// Takes the next bytes.
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while let Some(at) = memchr(b'\n', bytes) {
            let (head, tail) = bytes.split_at(at);
            bytes = tail.get(1..).unwrap_or_default();
            if self.line.is_empty() {
                self.stanza_line(head);
            } else {
                self.keep(head);
                let line = std::mem::take(&mut self.line);
                self.stanza_line(&line);
                self.line = line;
                self.line.clear();
            }
        }
        self.keep(bytes);
    }

    /// Ends the file. A stanza that was cut is dropped if it lacks anything, or the cut may have gone through
    /// something of it that is kept.
    pub(super) fn end(&mut self) {
        if !self.line.is_empty() {
            let line = std::mem::take(&mut self.line);
            self.stanza_line(&line);
            self.stanza.bad |= self.form == Form::Status && self.stanza.kept;
        }
        self.stanza_end();
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES_MAX.saturating_sub(self.line.len());
        self.line.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    fn stanza_line(&mut self, line: &[u8]) {
        // The same whether the line came whole or in pieces.
        let line = line.get(..LINE_BYTES_MAX).unwrap_or(line);
        let long = line.len() == LINE_BYTES_MAX;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let stanza = &mut self.stanza;
        match line.first() {
            None => self.stanza_end(),
            // dpkg's long texts never have such a line (they say " ."), but people's editors do.
            Some(b' ' | b'\t') if !long && line.trim_ascii().is_empty() => {
                self.stanza_end();
            }
            // More of the line before. None of the fields that are kept goes on.
            Some(b' ' | b'\t') => stanza.bad |= stanza.kept,
            Some(first) => {
                stanza.any = true;
                stanza.kept = false;
                // Most lines are none of ours.
                if !matches!(first.to_ascii_lowercase(), b'p' | b'v' | b'a' | b's') {
                    return;
                }
                let colon = memchr(b':', line.get(..32).unwrap_or(line));
                let Some((name, rest)) = colon.and_then(|at| line.split_at_checked(at)) else { return };
                let name = name.trim_ascii_end();
                let own = FIELDS.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
                let Some((_, field)) = own else { return };
                stanza.kept = true;
                stanza.bad |= long;
                stanza.set(*field, rest.get(1..).unwrap_or_default().trim_ascii());
            }
        }
    }

    fn stanza_end(&mut self) {
        let stanza = std::mem::take(&mut self.stanza);
        if !stanza.any {
            return;
        }
        match stanza.package(self.form) {
            Some(package) => self.packages.push(package),
            None => self.skipped += 1,
        }
    }
}

impl Stanza {
    fn set(&mut self, field: Field, value: &[u8]) {
        let slot = match field {
            Field::Name => &mut self.name,
            Field::Version => &mut self.version,
            Field::Arch => &mut self.arch,
            Field::Status => &mut self.status,
        };
        if slot.is_some() || value.is_empty() || value.len() > VALUE_BYTES_MAX {
            self.bad = true;
        } else {
            *slot = Some(String::from_utf8_lossy(value).into_owned());
        }
    }

    fn package(self, form: Form) -> Option<Package> {
        let name = self.name.filter(|_| !self.bad)?;
        let status = match form {
            Form::Status => self.status?,
            Form::Single => String::new(),
        };
        // What is not installed has neither version nor architecture, and says so.
        let absent = status.ends_with(" not-installed");
        let there = |value: Option<String>| if absent { Some(value.unwrap_or_default()) } else { value };
        Some(Package { name, version: there(self.version)?, arch: there(self.arch)?, status })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(form: Form, pieces: &[&[u8]]) -> (Vec<Package>, usize) {
        let mut stanzas = Stanzas::new(form);
        for piece in pieces {
            stanzas.push(piece);
        }
        stanzas.end();
        (stanzas.packages, stanzas.skipped)
    }

    fn status(text: &[u8]) -> (Vec<String>, usize) {
        let (packages, skipped) = read(Form::Status, &[text]);
        let show = |package: &Package| {
            format!("{}:{}={} {}", package.name, package.arch, package.version, package.status)
        };
        (packages.iter().map(show).collect(), skipped)
    }

    const TWO: &str = "Package: bash\nEssential: yes\nStatus: install ok installed\nArchitecture: amd64\n\
        Version: 5.2.15-2+b8\nDescription: GNU Bourne Again SHell\n Bash is an sh-compatible language.\n .\n \
        Version: 9\nConffiles:\n /etc/skel/.bashrc 1f98b8f3f3c8f8927eca945d59dcc1c6\n\n\
        Package: adduser\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 3.134\n\n";

    #[test]
    fn two_packages_are_read_whatever_stands_between_the_fields() {
        let expected = [
            "bash:amd64=5.2.15-2+b8 install ok installed".to_owned(),
            "adduser:all=3.134 deinstall ok config-files".to_owned(),
        ];
        assert_eq!(status(TWO.as_bytes()), (expected.to_vec(), 0));
        // Ends of lines, letters, blank lines and spaces do not matter.
        assert_eq!(status(TWO.replace('\n', "\r\n").as_bytes()), (expected.to_vec(), 0));
        let lower = TWO.replace("Package:", "pACKAGE :").replace("Version: ", "VERSION:\t ");
        assert_eq!(status(lower.as_bytes()), (expected.to_vec(), 0));
        let spaced = TWO.replace("\n\n", " \n \t\n\n\n");
        assert_eq!(status(spaced.as_bytes()), (expected.to_vec(), 0));
        assert_eq!(status(b""), (Vec::new(), 0));
        assert_eq!(status(b"\n\n\n"), (Vec::new(), 0));
    }

    #[test]
    fn a_stanza_that_dpkg_would_not_write_is_skipped_and_the_others_stand() {
        let good = "Package: b\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n";
        let kept = vec!["b:all=1 install ok installed".to_owned()];
        for bad in [
            "Package: a\nStatus: install ok installed\nArchitecture: all\n".to_owned(),
            "Package: a\nStatus: install ok installed\nVersion: 1\n".to_owned(),
            "Package: a\nArchitecture: all\nVersion: 1\n".to_owned(),
            "Status: install ok installed\nArchitecture: all\nVersion: 1\n".to_owned(),
            good.replace('b', ""),
            format!("{good}Version: 2\n"),
            good.replace("Version: 1", "Version: 1\n 2"),
            good.replace("Version: 1", &format!("Version: {}", "1".repeat(VALUE_BYTES_MAX + 1))),
            good.replace("Package: b", &format!("Package: {}", "b".repeat(1_000_000))),
            format!("{good}Package:\n"),
            "no field at all\n".to_owned(),
            "\u{1}\u{2}".repeat(5_000) + "\n",
        ] {
            let text = format!("{bad}\n{good}");
            assert_eq!(status(text.as_bytes()), (kept.clone(), 1), "{bad:.200}");
        }
        // The longest value that is kept, and a megabyte of what is not.
        let long = "1".repeat(VALUE_BYTES_MAX);
        let text =
            good.replace("Version: 1", &format!("Depends: {}\nVersion: {long}", "x".repeat(1_000_000)));
        assert_eq!(status(text.as_bytes()), (vec![format!("b:all={long} install ok installed")], 0));
        let text = good.replace("Version", &format!("X:\n {}\nVersion", " ".repeat(1_000_000)));
        assert_eq!(status(text.as_bytes()).0, kept);
    }

    #[test]
    fn what_is_not_utf_8_is_shown_as_such() {
        let text = b"Package: caf\xe9\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n";
        assert_eq!(status(text), (vec!["caf\u{fffd}:all=1 install ok installed".to_owned()], 0));
    }

    #[test]
    fn a_file_that_was_cut_loses_the_package_that_was_cut_and_no_other() {
        let whole = status(TWO.as_bytes()).0;
        let second = TWO.find("Package: adduser").unwrap();
        for cut in 0..=TWO.len() {
            let (packages, skipped) = status(&TWO.as_bytes()[..cut]);
            assert!(whole.starts_with(&packages), "cut at {cut}: {packages:?}");
            let complete = usize::from(cut >= second - 2) + usize::from(cut >= TWO.len() - 1);
            // Once its fields are there, what is missing of the first is not ours.
            assert!(packages.len() == complete || cut < second && packages.len() <= 1, "cut at {cut}");
            assert!(
                skipped <= 1
                    && (skipped == 1 || [0, second - 1, second].contains(&cut) || !packages.is_empty())
            );
        }
    }

    #[test]
    fn what_is_not_installed_has_no_version() {
        let text = b"Package: gone\nStatus: unknown ok not-installed\n\n";
        assert_eq!(status(text), (vec!["gone:= unknown ok not-installed".to_owned()], 0));
    }

    #[test]
    fn a_file_of_one_package_needs_no_status_and_no_end() {
        let text = b"Package: base-files\nVersion: 12.4\nArchitecture: amd64";
        let (packages, skipped) = read(Form::Single, &[text]);
        assert_eq!((packages[0].arch.as_str(), packages.len(), skipped), ("amd64", 1, 0));
        assert_eq!(read(Form::Status, &[text]), (Vec::new(), 1));
    }

    /// Whole files that were changed here and there: nearer to what can happen than noise.
    fn damaged() -> impl Strategy<Value = Vec<u8>> {
        let edit = (any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 0..6), 0_usize..40);
        prop::collection::vec(edit, 0..8).prop_map(|edits| {
            let mut text = TWO.repeat(2).into_bytes();
            for (at, put, cut) in edits {
                let at = at.index(text.len() + 1);
                let end = (at + cut).min(text.len());
                text.splice(at..end, put);
            }
            text
        })
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_give_the_same_packages(
            bytes in prop_oneof![damaged(), prop::collection::vec(any::<u8>(), 0..3_000)],
            piece in 1_usize..700,
            single in any::<bool>(),
        ) {
            let form = if single { Form::Single } else { Form::Status };
            let whole = read(form, &[&bytes]);
            let pieces: Vec<&[u8]> = bytes.chunks(piece).collect();
            prop_assert_eq!(&read(form, &pieces), &whole);
            for package in whole.0 {
                for text in [package.name, package.version, package.arch, package.status] {
                    // Lossy text is at most three times as long.
                    prop_assert!(text.len() <= 3 * VALUE_BYTES_MAX && !text.contains('\n'));
                }
            }
        }
    }
}
