//! The targeting language: whatever the text, it is read or refused in words, and what was read keeps its laws on
//! any host.

mod grammar;
mod hosts;

use muster::selector::{Node, Outcomes, Selector, SelectorError, Truth};

use crate::chance::{Chance, digest};
use crate::target::{Said, Target, holds};
use hosts::Host;

/// How many hosts a selector is asked about.
const HOSTS: u64 = 6;
/// What the grammar bounds a text to.
const TEXT_BYTES_MAX: usize = 4096;

pub(crate) struct Selectors;

impl Target for Selectors {
    fn name(&self) -> &'static str {
        "selector"
    }

    fn seconds(&self) -> u64 {
        10
    }

    fn bytes_max(&self) -> usize {
        TEXT_BYTES_MAX + 64
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        let refused = include_str!("../../../src/selector/tests/malformed.txt");
        let texts = refused.lines().filter(|line| !line.starts_with('#'));
        let mut seeds: Vec<Vec<u8>> =
            texts.filter_map(|line| Some(line.split('\t').next()?.as_bytes().to_vec())).collect();
        for piece in ["(", "not ", "any disk(", "ver(", "name matches \"(a{50}){10}\" or ", "tag.a=b or "] {
            seeds.push(piece.repeat(TEXT_BYTES_MAX / piece.len()).into_bytes());
        }
        seeds
    }

    fn words(&self) -> &'static [&'static [u8]] {
        &[
            b" and ",
            b" or ",
            b"not ",
            b"(",
            b")",
            b"any disk(",
            b"every pkg(",
            b"has ",
            b"missing ",
            b" in [",
            b"]",
            b" like ",
            b" matches ",
            b"\"",
            b"\\u{",
            b"}",
            b"@web",
            b"ver(",
            b"num(",
            b"tag.",
            b"fact.",
            b"all",
            b"none",
            b" not in ",
            b"16GiB",
            b"90%",
            b"2h",
            b"10.0.0.0/8",
            b"1:2~3-4",
            b"\xe2\x80\xae",
            b"\xc3\xa9",
            b"eco = deb and ",
            b"version < 1.0",
            b"deb.",
            b"unit.x.state",
            b"(?i)",
            b"{1000}",
            b"[^a]",
            b"\\\\w",
        ]
    }

    fn made(&self, chance: &mut Chance) -> Option<Vec<u8>> {
        Some(grammar::text(chance).into_bytes())
    }

    fn check(&self, input: &[u8]) -> Result<Said, String> {
        let text = String::from_utf8_lossy(input);
        let read = Selector::parse(&text);
        holds!(Selector::parse(&text) == read, "the same text is read in two ways");
        match read {
            Ok(selector) => accepted(&text, &selector),
            Err(error) => refused(&text, &error),
        }
    }
}

/// An error points into the text, and says nothing that a terminal would not show.
fn refused(text: &str, error: &SelectorError) -> Result<Said, String> {
    let (start, length) = (error.position.offset, error.position.length);
    holds!(
        start.checked_add(length).and_then(|end| text.get(start..end)).is_some(),
        "{start}+{length} is no part of the text, of {} bytes",
        text.len()
    );
    let rendered = error.render(text);
    holds!(rendered.lines().count() == 3, "not three lines: {rendered:?}");
    holds!(rendered.len() < 1500, "{} bytes are shown", rendered.len());
    let hint = error.hint.as_deref().unwrap_or_default();
    holds!(!error.message.is_empty(), "it is refused without a word");
    let shown = format!("{rendered}{hint}");
    holds!(!shown.chars().any(|c| c != '\n' && unseen(c)), "hidden characters are shown: {shown:?}");
    // The words of the message that are its own, mostly.
    let words: Vec<&[u8]> = error
        .message
        .split(' ')
        .filter(|word| !text.contains(word) && word.bytes().all(|byte| byte.is_ascii_lowercase()))
        .map(str::as_bytes)
        .collect();
    let hinted: Vec<&[u8]> = hint.split(' ').take(2).map(str::as_bytes).collect();
    let answer = digest(&[words, hinted, vec![&[u8::from(length == 0)]]].concat());
    Ok(Said { read: false, answer })
}

/// A few of the characters that turn or hide what stands beside them.
fn unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Reads a text made of selectors; nothing where the whole is larger than one may be.
fn composed(text: &str) -> Result<Option<Selector>, String> {
    match Selector::parse(text) {
        Ok(selector) => Ok(Some(selector)),
        Err(error) if ["the most", "more than"].iter().any(|bound| error.message.contains(bound)) => Ok(None),
        Err(error) => Err(format!("a part of it does not stand in a whole: {}\n{text}", error.render(text))),
    }
}

fn accepted(text: &str, selector: &Selector) -> Result<Said, String> {
    let printed = selector.to_string();
    holds!(printed.len() <= TEXT_BYTES_MAX, "{} bytes are printed", printed.len());
    holds!(!printed.chars().any(unseen), "hidden characters are printed: {printed:?}");
    let again =
        Selector::parse(&printed).map_err(|error| format!("not read back: {}", error.render(&printed)))?;
    holds!(again == *selector, "read back as another: {printed}");
    holds!(again.to_string() == printed, "printed in two ways: {printed} and {again}");
    holds!(selector.text() == text, "its text is not what was read");

    let (nodes, leaves) = (selector.nodes(), selector.leaves());
    let tests: Vec<&Node> = nodes.iter().filter(|node| node.is_test).collect();
    holds!(nodes.len() <= 512 && !leaves.is_empty(), "{} parts, {} leaves", nodes.len(), leaves.len());
    holds!(
        tests.iter().map(|node| &node.text).eq(leaves.iter().map(|leaf| &leaf.text)),
        "tests of the tree are not the leaves"
    );
    let known =
        |name: &str| (name == "web").then(|| Selector::parse("tag.role = web").unwrap_or(Selector::all()));
    if let Ok(expanded) = selector.expand(&known) {
        holds!(expanded.groups().is_empty(), "a group is left: {expanded}");
    }
    let parsed: Vec<Selector> = leaves
        .iter()
        .map(|leaf| Selector::parse(&leaf.text))
        .collect::<Result<_, _>>()
        .map_err(|error| format!("a leaf is not read alone: {error}"))?;
    let whole = Whole {
        turned: composed(&turned(&nodes))?,
        denied: composed(&format!("not ({printed})"))?,
        never: composed(&format!("({printed}) and not ({printed})"))?,
        always: composed(&format!("({printed}) or not ({printed})"))?,
        duals: tests
            .iter()
            .filter_map(|node| dual(&node.text))
            .map(|text| composed(&text))
            .collect::<Result<_, _>>()?,
        selector,
        nodes: &nodes,
        leaves: parsed,
    };
    let words = hosts::words(text);
    let seed = digest(&[text.as_bytes()]);
    let mut truths = Vec::new();
    let mut counts = vec![[0_u64; 3]; leaves.len()];
    for number in 0..HOSTS {
        let host = Host { seed: seed.wrapping_add(number), words: &words, hidden: None, narrow: false };
        truths.push(whole.known(&host, &mut counts)?);
    }
    holds!(
        counts.iter().all(|[no, unknown, yes]| no + unknown + yes == HOSTS),
        "the counts at the leaves do not add up to the hosts: {counts:?}"
    );
    // What it is made of, roughly.
    let shape: Vec<u8> = nodes
        .iter()
        .take(12)
        .flat_map(|node| {
            let word = node.text.split(['.', ' ', '(']).next().unwrap_or_default();
            [u8::try_from(node.depth.min(4)).unwrap_or(4), (digest(&[word.as_bytes()]) & 0xff) as u8]
        })
        .collect();
    let answer =
        digest(&[&shape, &[truths.contains(&Truth::True).into(), truths.contains(&Truth::Unknown).into()]]);
    Ok(Said { read: true, answer })
}

/// A selector, and others that follow from it.
struct Whole<'s> {
    selector: &'s Selector,
    nodes: &'s [Node],
    leaves: Vec<Selector>,
    /// With all members in the other order.
    turned: Option<Selector>,
    denied: Option<Selector>,
    never: Option<Selector>,
    always: Option<Selector>,
    /// For each `any` and `every`, in order, the other with all denied.
    duals: Vec<Option<Selector>>,
}

impl Whole<'_> {
    /// Asks about a host of which all is known that anybody knows, and about the same of which less is.
    fn known(&self, host: &Host<'_>, counts: &mut [[u64; 3]]) -> Result<Truth, String> {
        let outcomes = self.selector.outcomes(host);
        let possible: Vec<Truth> = Truth::EVERY.into_iter().filter(|truth| outcomes.is(*truth)).collect();
        let [truth] = possible[..] else { return Err(format!("all is known, and it is {outcomes:?}")) };
        holds!(self.selector.selects(host) == (truth == Truth::True), "selected by another rule than truth");
        let leaves = self.selector.evaluate_leaves(host);
        holds!(leaves.len() == self.leaves.len(), "not one truth a leaf");
        for ((leaf, said), count) in self.leaves.iter().zip(&leaves).zip(counts) {
            holds!(leaf.outcomes(host).is(*said), "alone it says another thing: {leaf}");
            count[*said as usize] += 1;
        }
        let said = self.selector.evaluate_nodes(host);
        let by_rule = kleene(self.nodes, &leaves)?;
        holds!(said == by_rule, "parts do not make up the whole: {said:?}, and by rule {by_rule:?}");
        holds!(said.first() == Some(&truth), "its first part is not the whole");
        let same = |other: Option<&Selector>, expected: Outcomes, what: &str| match other {
            Some(other) if other.outcomes(host) != expected => {
                Err(format!("{what}: {:?}, not {expected:?}: {other}", other.outcomes(host)))
            }
            _ => Ok(()),
        };
        same(self.turned.as_ref(), outcomes, "another order of members says another thing")?;
        same(self.denied.as_ref(), outcomes.negated(), "not does not deny")?;
        let undecided = truth == Truth::Unknown;
        let settled = |truth| Outcomes::only(if undecided { Truth::Unknown } else { truth });
        same(self.never.as_ref(), settled(Truth::False), "something is both")?;
        same(self.always.as_ref(), settled(Truth::True), "something is neither")?;
        let quantified = self.leaves.iter().filter(|leaf| dual(&leaf.to_string()).is_some());
        for (leaf, dual) in quantified.zip(&self.duals) {
            same(dual.as_ref(), leaf.outcomes(host), "every is not the same as not any not")?;
        }
        let less = |seed, hidden| Host {
            seed: host.seed,
            words: host.words,
            hidden: Some((seed, hidden)),
            narrow: false,
        };
        let narrow = Host { seed: host.seed, words: host.words, hidden: None, narrow: true };
        holds!(self.selector.outcomes(&narrow) == outcomes, "rows that may be left out make a difference");
        for times in [1, 2, 4] {
            let blurred = less(host.seed, times);
            let possible = self.selector.outcomes(&blurred);
            holds!(
                possible.covers(outcomes),
                "knowing less gives {possible:?}, and all known is {outcomes:?}"
            );
            if let Some(turned) = &self.turned {
                let other = turned.outcomes(&blurred);
                holds!(
                    other == possible,
                    "another order of members, less known: {other:?}, not {possible:?}"
                );
            }
            if let Some(denied) = &self.denied {
                holds!(
                    denied.outcomes(&blurred) == possible.negated(),
                    "not does not deny where less is known"
                );
            }
        }
        Ok(truth)
    }
}

/// The truth of every part from those of its tests, by Kleene's rules, in another way than the product's.
fn kleene(nodes: &[Node], leaves: &[Truth]) -> Result<Vec<Truth>, String> {
    let mut truths = vec![Truth::Unknown; nodes.len()];
    let mut leaves = leaves.iter().rev();
    for (place, node) in nodes.iter().enumerate().rev() {
        if node.is_test {
            truths[place] = *leaves.next().ok_or("fewer leaves than tests")?;
            continue;
        }
        let below = nodes[place + 1..]
            .iter()
            .zip(&truths[place + 1..])
            .take_while(|(below, _)| below.depth > node.depth);
        let members = below.filter(|(below, _)| below.depth == node.depth + 1).map(|(_, truth)| *truth);
        truths[place] = match (node.text.as_str(), members.clone().min(), members.clone().max()) {
            ("and", Some(least), _) => least,
            ("or", _, Some(greatest)) => greatest,
            ("not", Some(Truth::True), _) => Truth::False,
            ("not", Some(Truth::False), _) => Truth::True,
            ("not", Some(Truth::Unknown), _) => Truth::Unknown,
            _ => return Err(format!("a part without parts: {}", node.text)),
        };
    }
    Ok(truths)
}

/// The same selector with the members of every `and` and `or` in the other order.
fn turned(nodes: &[Node]) -> String {
    let Some((node, below)) = nodes.split_first() else { return String::new() };
    if node.is_test {
        return node.text.clone();
    }
    let starts: Vec<usize> = below
        .iter()
        .enumerate()
        .filter(|(_, one)| one.depth == node.depth + 1)
        .map(|(place, _)| place)
        .collect();
    let mut members: Vec<String> = starts
        .iter()
        .enumerate()
        .map(|(number, start)| {
            let end = starts.get(number + 1).copied().unwrap_or(below.len());
            let text = turned(&below[*start..end]);
            if below[*start].is_test || below[*start].text == "not" { text } else { format!("({text})") }
        })
        .collect();
    members.reverse();
    match node.text.as_str() {
        "not" => format!("not {}", members.concat()),
        word => members.join(&format!(" {word} ")),
    }
}

/// `not any t(not (…))` for `every t(…)`, and the other way round; nothing for another test.
fn dual(text: &str) -> Option<String> {
    let (other, rest) = match text.strip_prefix("any ") {
        Some(rest) => ("every", rest),
        None => ("any", text.strip_prefix("every ")?),
    };
    let mut quoted = false;
    let open = rest.bytes().position(|byte| {
        quoted ^= byte == b'"';
        byte == b'(' && !quoted
    })?;
    let body = rest.get(open + 1..)?.strip_suffix(')')?;
    Some(format!("not {other} {}(not ({body}))", rest.get(..open)?))
}
