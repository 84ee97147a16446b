//! Texts that people copy and write: join tokens, sets of names, scenario files.

use muster::identity::JoinToken;

use crate::chance::{Chance, digest};
use crate::target::{Said, Target, holds};

/// Join tokens.
pub(crate) struct Tokens;

impl Target for Tokens {
    fn name(&self) -> &'static str {
        "token"
    }

    fn bytes_max(&self) -> usize {
        600
    }

    fn made(&self, chance: &mut Chance) -> Option<Vec<u8>> {
        use bech32::{Bech32m, Hrp};
        // Under a good checksum, whatever it holds.
        let mut data = vec![if chance.once_in(8) { chance.next().to_le_bytes()[0] } else { 1 }];
        data.extend((0..100).map(|_| chance.next().to_le_bytes()[0]));
        for _ in 0..chance.below(5) {
            let (family, length) = chance.one(&[(4, 6), (6, 18), (4, 5), (5, 6), (6, 18)]);
            data.push(family);
            data.extend((0..length).map(|_| chance.next().to_le_bytes()[0]));
        }
        let prefix = Hrp::parse(chance.one(&["mst", "mst", "mst", "msu"])).ok()?;
        bech32::encode::<Bech32m>(prefix, &data).ok().map(String::into_bytes)
    }

    fn check(&self, input: &[u8]) -> Result<Said, String> {
        let text = String::from_utf8_lossy(input);
        match JoinToken::from_text(&text) {
            Ok(token) => {
                let written = token.to_text();
                holds!(written.eq_ignore_ascii_case(text.trim()), "written as another text: {written}");
                holds!((1..=3).contains(&token.addresses.len()), "{} addresses", token.addresses.len());
                let shape: Vec<u8> = token.addresses.iter().map(|at| u8::from(at.is_ipv4())).collect();
                Ok(Said { read: true, answer: digest(&[&shape]) })
            }
            Err(error) => {
                let said: String = error.to_string().chars().filter(|c| !c.is_ascii_digit()).collect();
                Ok(Said { read: false, answer: digest(&[said.as_bytes()]) })
            }
        }
    }
}

/// Sets of names.
#[cfg(feature = "agent")]
pub(crate) struct Nodesets;

#[cfg(feature = "agent")]
impl Target for Nodesets {
    fn name(&self) -> &'static str {
        "nodeset"
    }

    fn bytes_max(&self) -> usize {
        1024
    }

    fn made(&self, chance: &mut Chance) -> Option<Vec<u8>> {
        let pieces = [
            "web-",
            "[01-10]",
            "[1-3,7]",
            "db",
            ",",
            "[1-99]",
            "9",
            "\\[",
            "é",
            "[001-100]",
            "-",
            "[5]",
            "0",
        ];
        Some((0..=chance.below(8)).map(|_| chance.one(&pieces)).collect::<String>().into_bytes())
    }

    fn check(&self, input: &[u8]) -> Result<Said, String> {
        use muster::terminal::nodeset::{NAME_BYTES_MAX, expand_within, fold};
        const MOST: usize = 2_000;
        let text = String::from_utf8_lossy(input);
        match expand_within(&text, MOST) {
            Ok(names) => {
                holds!(names.len() <= MOST, "{} names", names.len());
                holds!(names.iter().all(|name| name.len() <= NAME_BYTES_MAX), "a name is too long");
                holds!(names.windows(2).all(|pair| pair[0] < pair[1]), "not in order, each once");
                let folded = fold(&names);
                holds!(
                    expand_within(&folded, MOST).as_ref() == Ok(&names),
                    "folded as other names: {folded}"
                );
                let names = u8::try_from(names.len()).unwrap_or(255);
                Ok(Said {
                    read: true,
                    answer: digest(&[&[names], folded.get(..8).unwrap_or_default().as_bytes()]),
                })
            }
            Err(error) => {
                holds!(
                    error.at <= text.len() && text.is_char_boundary(error.at),
                    "{} is within a character",
                    error.at
                );
                let said: String =
                    error.to_string().chars().filter(|c| !c.is_ascii_digit()).take(20).collect();
                Ok(Said { read: false, answer: digest(&[said.as_bytes(), &[u8::from(error.at == 0)]]) })
            }
        }
    }
}

/// Scenario files.
#[cfg(feature = "agent")]
pub(crate) struct Scenarios;

#[cfg(feature = "agent")]
impl Target for Scenarios {
    fn name(&self) -> &'static str {
        "scenario"
    }

    fn bytes_max(&self) -> usize {
        8 * 1024
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        let mut seeds = crate::target::corpus(std::path::Path::new(folder));
        // A file and its steps one by one, so that each is small.
        let steps: Vec<Vec<u8>> = seeds
            .iter()
            .flat_map(|file| {
                let text = String::from_utf8_lossy(file).into_owned();
                let steps: Vec<String> = text.split("[[step]]").skip(1).map(str::to_owned).collect();
                steps.into_iter().map(|step| {
                    let hosts = "[[host]]\nname = \"a\"\n[[host]]\nname = \"b\"\n[[host]]\nname = \"c\"\n";
                    format!("about = \"x\"\n{hosts}[[step]]{step}").into_bytes()
                })
            })
            .collect();
        seeds.extend(steps);
        seeds
    }

    fn words(&self) -> &'static [&'static [u8]] {
        &[
            b"[[step]]\n",
            b"[[host]]\n",
            b"[[always]]\n",
            b"[reaches]\n",
            b"\"all\"",
            b"\"a\"",
            b"[\"a\", \"b\"]",
            b"\"5s\"",
            b"within = ",
            b"name = ",
            b"run = ",
            b"[[[[[[[[",
            b"{a={a={a=",
            b"\"\"\"",
            b"= 1e999",
            b"simulated = false\n",
        ]
    }

    fn check(&self, input: &[u8]) -> Result<Said, String> {
        use muster::scenario::{parse, simulable};
        let (text, path) = (String::from_utf8_lossy(input), std::path::Path::new("x.toml"));
        match parse(path, &text) {
            Ok(scenario) => {
                holds!(parse(path, &text).is_ok_and(|other| other == scenario), "read in two ways");
                holds!(
                    !scenario.hosts.is_empty() && scenario.hosts.len() <= 64,
                    "{} hosts",
                    scenario.hosts.len()
                );
                let lines = text.lines().count();
                holds!(scenario.steps.iter().all(|step| step.line <= lines), "a step stands beyond the file");
                let kinds: Vec<u8> = scenario
                    .steps
                    .iter()
                    .take(6)
                    .flat_map(|step| format!("{:?}", step.act).bytes().take(6).collect::<Vec<_>>())
                    .collect();
                let plays = simulable(path, &scenario).is_ok();
                Ok(Said { read: true, answer: digest(&[&kinds, &[u8::from(plays)]]) })
            }
            Err(trouble) => {
                let said: String =
                    trouble.to_string().chars().filter(char::is_ascii_lowercase).take(60).collect();
                Ok(Said { read: false, answer: digest(&[said.as_bytes()]) })
            }
        }
    }
}
