//! Laws that hold for any selector and any host.

use super::*;
use crate::selector::expression::{Cast, Expression, Left, Order, Test};
use crate::selector::kind::{Ask, Kind};
use crate::selector::number::Unit;
use crate::selector::pattern::Pattern;
use crate::selector::quantified::Quantified;
use crate::selector::token::Part;
use proptest::prelude::*;

const PATHS: &[&str] = &[
    "tag.a",
    "tag.\"k8s.io/b\"",
    "tag.c",
    "name",
    "site",
    "fact.os.id",
    "fact.x",
    "fact.cpu.cores",
    "deb.openssl",
    "deb.\"python3.11\"",
    "unit.\"a@b\".restarts",
    "fact.os.version",
    "fact.mem.total",
    "ip.addr",
    "disk.used",
    "vuln.severity",
    "vuln.fixable",
    "vuln.age",
    "unit.x.state",
];

fn path() -> impl Strategy<Value = Path> {
    prop::sample::select(PATHS).prop_map(|path| {
        let Expression::Has(path) = parse(&format!("has {path}")).expression().clone() else {
            unreachable!()
        };
        path
    })
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(
            &["u", "v", "w", "and", "all", "", "@", "a@b", "16GiB", "é", "\u{202e}", "a b", "\"\\"][..]
        )
        .prop_map(str::to_owned),
        any::<String>().prop_map(|text| text.chars().take(12).collect()),
    ]
}

fn deb_version() -> impl Strategy<Value = String> {
    "([0-9]:)?[0-9][0-9a-z.+~]{0,4}(-[0-9a-z.+~]{1,3})?"
}

/// A value that may stand after a path of this kind.
fn value_for(kind: Kind, ask: Ask) -> BoxedStrategy<String> {
    let pool = match kind {
        Kind::Text | Kind::Presence => value().boxed(),
        Kind::Words(words) | Kind::Ranked(words) => {
            prop::sample::select(words).prop_map(str::to_owned).boxed()
        }
        Kind::Boolean => "true|false".boxed(),
        Kind::Number(Unit::Plain) => "-?[0-9]{1,3}(\\.[0-9])?".boxed(),
        Kind::Number(Unit::Bytes) => "[0-9]{1,3}(GiB|MB|B)?".boxed(),
        Kind::Number(Unit::Percent) => "[0-9]{1,2}%".boxed(),
        Kind::Number(Unit::Seconds) => "[0-9]{1,2}[smhdw]".boxed(),
        Kind::AnyNumber => "[0-9]{1,2}(s|%|GiB|\\.5)?".boxed(),
        Kind::Address if ask == Ask::Within => "10\\.[0-2]\\.0\\.0(/16)?|fd00::/8".boxed(),
        Kind::Address => "10\\.[0-2]\\.0\\.0|::1".boxed(),
        Kind::RowVersion => "[0-2]\\.[0-2]\\.[0-2]".boxed(),
        Kind::Version(_) => prop_oneof![deb_version(), "[0-2]\\.[0-2]\\.[0-2]"].boxed(),
        Kind::Natural | Kind::Cell => prop_oneof![value(), "[0-9]{1,3}(GiB|MiB)?", deb_version()].boxed(),
    };
    pool.prop_filter("of this kind", move |value| kind.check(value, ask).is_ok()).boxed()
}

fn order() -> impl Strategy<Value = Order> {
    prop::sample::select(&[Order::Less, Order::LessOrEqual, Order::Greater, Order::GreaterOrEqual][..])
}

fn test(kind: Kind) -> BoxedStrategy<Test> {
    let one = move || value_for(kind, Ask::Equal);
    let list = move || prop::collection::vec(value_for(kind, Ask::Within), 1..4);
    let ordered = u32::from(kind.is_ordered()) * 4;
    let pattern = prop::sample::select(&["u.*", "[0-9.]+", "v|w", "(?i)U?"][..]);
    prop_oneof![
        2 => one().prop_map(Test::Equal),
        2 => one().prop_map(Test::NotEqual),
        2 => list().prop_map(Test::In),
        2 => list().prop_map(Test::NotIn),
        2 => "[uvw*?]{0,3}".prop_map(Test::Like),
        1 => pattern.prop_map(|pattern| Test::Matches(Pattern::read(pattern).unwrap())),
        ordered => (order(), if ordered > 0 { value_for(kind, Ask::Order) } else { value().boxed() })
            .prop_map(|(order, value)| Test::Ordered(order, value)),
    ]
    .boxed()
}

/// A left side with a path, read as it is declared or as something else.
fn left(path: &Path) -> impl Strategy<Value = Left> + use<> {
    let casts: &[Option<Cast>] =
        if path.kind().is_loose() { &[None, None, Some(Cast::Version), Some(Cast::Number)] } else { &[None] };
    let path = path.clone();
    prop::sample::select(casts).prop_map(move |cast| Left { path: path.clone(), cast })
}

/// A comparison that can be written.
fn comparison(path: &Path) -> BoxedStrategy<Expression> {
    left(path)
        .prop_flat_map(|left| test(left.kind()).prop_map(move |test| Expression::Compare(left.clone(), test)))
        .boxed()
}

/// A test that is asked at `path`.
fn leaf(path: Path) -> BoxedStrategy<Expression> {
    let compared = u32::from(path.incomparable().is_none()) * 6;
    let comparison = if compared > 0 { comparison(&path) } else { Just(Expression::All).boxed() };
    prop_oneof![
        2 => Just(Expression::Has(path.clone())),
        2 => Just(Expression::Missing(path)),
        compared => comparison,
    ]
    .boxed()
}

fn combined(leaf: BoxedStrategy<Expression>, depth: u32, size: u32) -> BoxedStrategy<Expression> {
    let leaf = prop_oneof![1 => Just(Expression::All), 1 => Just(Expression::None), 12 => leaf];
    leaf.prop_recursive(depth, size, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expression::and),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expression::or),
            inner.prop_map(|inner| Expression::Not(Box::new(inner))),
        ]
    })
    .boxed()
}

fn parts(text: &str) -> Vec<Part> {
    token::bare_parts(text).collect()
}

const NOWHERE: Position = Position { offset: 0, length: 0 };

/// Tables, and columns of their rows.
const TABLES: &[(&str, &[&str])] = &[
    ("disk", &["mount", "type", "size", "used"]),
    ("ip", &["addr", "interface"]),
    ("pkg", &["eco", "name", "version"]),
    ("deb", &["name", "version"]),
    ("vuln", &["severity", "fixable", "age"]),
    ("fact.x", &["a", "b"]),
];

fn quantified() -> impl Strategy<Value = Expression> {
    (prop::sample::select(TABLES), any::<bool>()).prop_flat_map(|((table, columns), every)| {
        let table = Path::table_from_parts(parts(table), NOWHERE).unwrap();
        let columns: Vec<Path> = columns
            .iter()
            .map(|column| Path::from_parts(parts(column), NOWHERE, Some(&table)).unwrap())
            .collect();
        let body = combined(prop::sample::select(columns).prop_flat_map(leaf).boxed(), 3, 8);
        body.prop_map(move |body| {
            Expression::Quantified(Box::new(Quantified::new(every, table.clone(), body)))
        })
    })
}

fn expression() -> impl Strategy<Value = Expression> {
    let leaf = prop_oneof![
        8 => path().prop_flat_map(leaf),
        4 => quantified(),
        1 => Just(Expression::Group("g".to_owned())),
    ];
    let few = |expression: &Expression| expression.to_string().matches(" matches ").count() < 4;
    combined(leaf.boxed(), 4, 16).prop_filter("few patterns", few)
}

/// What a host may say in a cell.
const CELLS: &[&str] =
    &["u", "v", "w", "1.0-1", "2", "17179869184", "95.5", "10.1.0.0", "high", "true", "1.1.1", "failed", ""];

fn look(conflicts: bool) -> impl Strategy<Value = Look<'static>> {
    let some = || prop::sample::select(CELLS);
    prop_oneof![
        4 => some().prop_map(|value| Look::Value(value.into())),
        2 => prop::collection::vec(some(), 0..4).prop_map(Look::any),
        2 => Just(Look::Absent),
        1 => Just(Look::Unknown),
        u32::from(conflicts) => Just(Look::Conflict),
    ]
}

/// The tables that are asked, and cells of theirs; of some columns no host tells.
const TOLD: &[(&str, &str)] = &[
    ("mounts", "path type blocks blocks_size used_percent"),
    ("interface_addresses", "address interface"),
    ("deb_packages", "name version"),
    ("npm_packages", "version name"),
    ("rpm_packages", "name"),
    ("apk_packages", "name"),
    ("python_packages", "name"),
    ("vulnerabilities", "severity fixable"),
    ("x", "a b"),
];

fn told(columns: &'static str) -> impl Strategy<Value = Told> {
    let columns: Vec<String> = columns.split(' ').map(str::to_owned).collect();
    let cell = prop::sample::select(CELLS).prop_map(str::to_owned);
    let rows = prop::collection::vec(prop::collection::vec(cell, columns.len()), 0..4);
    prop_oneof![
        1 => Just(Told::Unknown),
        4 => rows.prop_map(move |rows| Told::Rows { columns: columns.clone(), rows }),
    ]
}

/// A host of which all is known that anybody knows.
fn host() -> impl Strategy<Value = Host> {
    let looks = PATHS
        .iter()
        .map(|path| look(path.starts_with("tag.")).prop_map(move |look| ((*path).to_owned(), look)))
        .collect::<Vec<_>>();
    let tables = TOLD
        .iter()
        .map(|(name, columns)| told(columns).prop_map(|told| ((*name).to_owned(), told)))
        .collect::<Vec<_>>();
    (looks, tables).prop_map(|(looks, tables)| Host {
        looks: looks.into_iter().collect(),
        tables: tables.into_iter().collect(),
    })
}

/// The host as who knows less of it: where `hidden`, nothing is known.
fn blurred(host: &Host, hidden: impl IntoIterator<Item = bool>) -> Host {
    let mut blurred = host.clone();
    let mut hidden = hidden.into_iter();
    for look in blurred.looks.values_mut() {
        if hidden.next() == Some(true) && *look != Look::Conflict {
            *look = Look::Undecided;
        }
    }
    for told in blurred.tables.values_mut() {
        if hidden.next() == Some(true) {
            *told = Told::Undecided;
        }
    }
    blurred
}

/// A host that leaves out all the rows that it may.
struct Narrow(Host);

impl Subject for Narrow {
    fn look(&self, path: &Path) -> Look<'_> {
        self.0.look(path)
    }

    fn rows(&self, wanted: &Wanted<'_>) -> Rows<'_> {
        let (Rows::Known(all), Some((place, text))) = (self.0.rows(wanted), wanted.only) else {
            return self.0.rows(wanted);
        };
        let mut cells = Cells::of(wanted);
        for row in all.rows().filter(|row| row[place].is_none_or(|cell| cell.is_empty() || cell == text)) {
            cells.push(row);
        }
        Rows::Known(cells)
    }
}

/// A host with one tag.
struct Tagged(String, String);

impl Subject for Tagged {
    fn look(&self, path: &Path) -> Look<'_> {
        if path.tag() == Some(self.0.as_str()) { Look::Value(self.1.as_str().into()) } else { Look::Absent }
    }
}

/// Words and marks of the language, in any order.
fn soup() -> impl Strategy<Value = String> {
    let pieces = &[
        "and",
        "or",
        "not",
        "all",
        "none",
        "has",
        "missing",
        "in",
        "like",
        "any",
        "every disk(",
        "any ip(",
        "used > 90%",
        "addr in 10.0.0.0/8",
        "ver(",
        "num(tag.a) > 3",
        "matches",
        "\"a|b\"",
        "@web",
        "(",
        ")",
        "[",
        "]",
        ",",
        "=",
        "!=",
        "<",
        ">=",
        "16GiB",
        "1:2~3-4",
        "deb.openssl",
        "fact.mem.total",
        "deb.\"a.b\"",
        "==",
        "&&",
        "!",
        "@",
        "tag.a",
        "tag.\"b/c\"",
        "name",
        "fact.os.id",
        "u",
        "\"v w\"",
        "\"",
        "\\",
        ".",
        "*",
        "é",
        "\u{202e}",
        "\n",
    ][..];
    let piece = prop_oneof![
        3 => prop::sample::select(&["tag.a = u", "and", "or", "not", "(", ")", "all", "has name"][..]),
        2 => prop::sample::select(pieces),
    ];
    prop::collection::vec((piece, prop::bool::weighted(0.8)), 0..40).prop_map(|pieces| {
        pieces.into_iter().flat_map(|(piece, gap)| [piece, if gap { " " } else { "" }]).collect()
    })
}

/// Whatever the text, it is read or refused in words; and what was read prints and reads back.
fn read_or_refused(text: &str) -> Result<(), TestCaseError> {
    match Selector::parse(text) {
        Ok(selector) => {
            let printed = selector.to_string();
            let again =
                Selector::parse(&printed).map_err(|error| TestCaseError::fail(error.render(&printed)))?;
            prop_assert_eq!(&again, &selector);
            prop_assert_eq!(again.to_string(), printed);
        }
        Err(error) => {
            let rendered = error.render(text);
            let said = format!("{rendered}{}", error.hint.unwrap_or_default());
            prop_assert!(!said.chars().any(|c| c != '\n' && character::is_hidden(c)), "{said:?}");
            prop_assert_eq!(rendered.lines().count(), 3);
            prop_assert!(rendered.len() < 1500, "{rendered:?}");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_is_printed_reads_back(expression in expression()) {
        let selector = Selector::from_expression(&expression)
            .map_err(|error| TestCaseError::fail(error.render(&expression.to_string())))?;
        prop_assert_eq!(selector.expression(), &expression);
        prop_assert_eq!(selector.to_string(), expression.to_string());
        prop_assert!(!selector.to_string().chars().any(character::is_hidden));
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        read_or_refused(&text)?;
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
        read_or_refused(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn any_pieces_of_selectors_are_read_or_refused(
        a in expression(),
        b in expression(),
        cut in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
    ) {
        let (a, b): (Vec<char>, Vec<char>) = (a.to_string().chars().collect(), b.to_string().chars().collect());
        let text: String = a.iter().take(cut.index(a.len() + 1)).chain(b.iter().skip(at.index(b.len()))).collect();
        read_or_refused(&text)?;
    }

    #[test]
    fn any_words_are_read_or_refused(text in soup()) {
        read_or_refused(&text)?;
    }

    #[test]
    fn any_change_of_one_byte_is_read_or_refused(expression in expression(), at in any::<prop::sample::Index>(), c in any::<char>()) {
        let mut chars: Vec<char> = expression.to_string().chars().collect();
        let at = at.index(chars.len());
        chars[at] = c;
        read_or_refused(&chars.into_iter().collect::<String>())?;
    }

    #[test]
    fn all_that_is_known_gives_one_truth(expression in expression(), host in host()) {
        let outcomes = expression.outcomes(&host);
        prop_assert_eq!(Truth::EVERY.into_iter().filter(|truth| outcomes.is(*truth)).count(), 1);
        let denied = Expression::Not(Box::new(expression.clone()));
        prop_assert_eq!(denied.outcomes(&host), outcomes.negated());
        let both = Expression::and(vec![expression.clone(), denied.clone()]);
        prop_assert!(!both.outcomes(&host).may_be_true());
        let either = Expression::or(vec![expression, denied]);
        prop_assert!(!either.outcomes(&host).may_be(Truth::False));
    }

    #[test]
    fn knowing_less_loses_no_outcome(
        expression in expression(),
        host in host(),
        hidden in prop::collection::vec(any::<bool>(), PATHS.len() + TOLD.len()),
    ) {
        let (exact, possible) = (expression.outcomes(&host), expression.outcomes(&blurred(&host, hidden)));
        prop_assert!(possible.covers(exact), "{possible:?} lacks {exact:?}");
    }

    #[test]
    fn learning_more_only_takes_outcomes_away(
        expression in expression(),
        host in host(),
        hidden in prop::collection::vec((any::<bool>(), any::<bool>()), PATHS.len() + TOLD.len()),
    ) {
        let less = expression.outcomes(&blurred(&host, hidden.iter().map(|(first, _)| *first)));
        let more = expression.outcomes(&blurred(&host, hidden.iter().map(|(first, second)| *first && *second)));
        prop_assert!(less.covers(more), "{less:?} lacks {more:?}");
    }

    #[test]
    fn facts_never_widen(expression in expression(), host in host()) {
        let facts = host.looks.keys().map(|path| !path.starts_with("tag."));
        let tags_alone = blurred(&host, facts.chain(host.tables.keys().map(|_| true)));
        let outcomes = expression.outcomes(&tags_alone);
        prop_assert!(outcomes.may_be_true() || !expression.outcomes(&host).may_be_true());
        if Selector::from_expression(&expression).is_ok_and(|selector| selector.uses_tags_only()) {
            prop_assert_eq!(outcomes, expression.outcomes(&host));
        }
    }

    #[test]
    fn the_order_of_members_does_not_matter(
        members in prop::collection::vec(expression(), 2..5),
        host in host(),
        hidden in prop::collection::vec(any::<bool>(), PATHS.len() + TOLD.len()),
    ) {
        let host = blurred(&host, hidden);
        let turned: Vec<Expression> = members.iter().rev().cloned().collect();
        for join in [Expression::and, Expression::or] {
            prop_assert_eq!(join(members.clone()).outcomes(&host), join(turned.clone()).outcomes(&host));
        }
    }

    #[test]
    fn the_order_of_rows_does_not_matter(expression in quantified(), host in host()) {
        let mut turned = host.clone();
        for told in turned.tables.values_mut() {
            if let Told::Rows { rows, .. } = told {
                rows.reverse();
            }
        }
        prop_assert_eq!(expression.outcomes(&host), expression.outcomes(&turned));
    }

    #[test]
    fn every_is_not_any_not(expression in quantified(), host in host()) {
        let Expression::Quantified(quantified) = &expression else { unreachable!() };
        let text = quantified.to_string();
        let other = match text.strip_prefix("any ") {
            Some(rest) => format!("every {rest}"),
            None => text.replacen("every ", "any ", 1),
        };
        let (table, body) = other.split_once('(').unwrap();
        let denied = parse(&format!("not {table}(not ({body})"));
        prop_assert_eq!(denied.outcomes(&host), expression.outcomes(&host), "{}", denied);
    }

    #[test]
    fn leaves_make_up_the_whole(expression in expression(), host in host()) {
        let selector = Selector::from_expression(&expression).unwrap();
        let (leaves, truths) = (selector.leaves(), selector.evaluate_leaves(&host));
        prop_assert_eq!(leaves.len(), truths.len());
        for (leaf, truth) in leaves.iter().zip(truths) {
            prop_assert!(parse(&leaf.text).outcomes(&host).is(truth), "{}", leaf.text);
        }
    }

    #[test]
    fn rows_that_may_be_left_out_make_no_difference(expression in quantified(), host in host()) {
        prop_assert_eq!(expression.outcomes(&Narrow(host.clone())), expression.outcomes(&host));
    }

    #[test]
    fn narrowing_selects_what_both_select(a in expression(), b in expression(), host in host()) {
        let (a, b) = (Selector::from_expression(&a), Selector::from_expression(&b));
        let (Ok(a), Ok(b)) = (a, b) else { return Err(TestCaseError::fail("within the bounds")) };
        let expected = a.outcomes(&host).and(b.outcomes(&host));
        let both = a.and(b).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(both.outcomes(&host), expected);
    }

    #[test]
    fn any_label_that_is_a_tag_selects_its_host(key in "[a-z0-9][a-z0-9._/-]{0,62}", value in "\\PC{1,128}") {
        if check_tag(&key, &value).is_err() {
            prop_assert!(Selector::from_labels(&[(&key, &value)]).is_err());
            return Ok(());
        }
        let selector = Selector::from_labels(&[parse_label(&format!("{key}={value}")).unwrap()])
            .map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert!(selector.uses_tags_only());
        prop_assert!(selector.selects(&Tagged(key.clone(), value.clone())));
        let (other_key, other_value) = (format!("{key}x"), format!("{value}x"));
        prop_assert!(!selector.selects(&Tagged(key, other_value)));
        prop_assert!(!selector.selects(&Tagged(other_key, value)));
    }
}
