//! What each part of a selector says, for who wants to see where hosts were lost.

use super::evaluate::Subject;
use super::expression::Expression;
use super::outcome::{Outcomes, Truth};
use super::query::Selector;

/// A part of a selector: a test, or what joins parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// How many parts it is within.
    pub depth: usize,
    /// The test as it is printed, or `and`, `or`, `not`.
    pub text: String,
    /// Whether it is a test.
    pub is_test: bool,
}

impl Selector {
    /// All parts, each before those within it, in the order of the text; at most 256.
    pub fn nodes(&self) -> Vec<Node> {
        let mut nodes = Vec::new();
        gather(self.expression(), 0, &mut nodes);
        nodes
    }

    /// What each of [`Self::nodes`] says of `subject`. What cannot be told is unknown. The first is what the whole
    /// selector says.
    pub fn evaluate_nodes(&self, subject: &impl Subject) -> Vec<Truth> {
        let mut truths = Vec::new();
        evaluate(self.expression(), subject, &mut truths);
        truths
    }
}

fn gather(expression: &Expression, depth: usize, nodes: &mut Vec<Node>) {
    let text = match expression {
        Expression::And(_) => "and".to_owned(),
        Expression::Or(_) => "or".to_owned(),
        Expression::Not(_) => "not".to_owned(),
        test => test.to_string(),
    };
    let within = within(expression);
    nodes.push(Node { depth, text, is_test: within.is_empty() });
    for part in within {
        gather(part, depth + 1, nodes);
    }
}

fn within(expression: &Expression) -> &[Expression] {
    match expression {
        Expression::And(members) | Expression::Or(members) => members,
        Expression::Not(inner) => std::slice::from_ref(inner),
        _ => &[],
    }
}

fn evaluate(expression: &Expression, subject: &impl Subject, truths: &mut Vec<Truth>) -> Outcomes {
    let place = truths.len();
    truths.push(Truth::Unknown);
    let outcomes = match expression {
        Expression::And(members) => members
            .iter()
            .fold(Outcomes::only(Truth::True), |sofar, member| sofar.and(evaluate(member, subject, truths))),
        Expression::Or(members) => members
            .iter()
            .fold(Outcomes::only(Truth::False), |sofar, member| sofar.or(evaluate(member, subject, truths))),
        Expression::Not(inner) => evaluate(inner, subject, truths).negated(),
        test => test.outcomes(subject),
    };
    if let Some(truth) = truths.get_mut(place) {
        *truth = outcomes.truth();
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use super::super::{Look, Path};
    use super::*;

    struct Web;
    impl Subject for Web {
        fn look(&self, path: &Path) -> Look<'_> {
            match path.tag() {
                Some("role") => Look::Value("web".into()),
                _ => Look::Absent,
            }
        }
    }

    #[test]
    fn every_part_says_what_it_says_whatever_the_others_do() {
        let text = "tag.role = db and (tag.env = prod or not tag.role = db)";
        let selector = Selector::parse(text).unwrap();
        let shown: Vec<String> = selector
            .nodes()
            .iter()
            .zip(selector.evaluate_nodes(&Web))
            .map(|(node, truth)| {
                format!("{}{} {truth:?} {}", "  ".repeat(node.depth), node.text, node.is_test)
            })
            .collect();
        assert_eq!(
            shown,
            [
                "and False false",
                "  tag.role = db False true",
                "  or True false",
                "    tag.env = prod Unknown true",
                "    not True false",
                "      tag.role = db False true",
            ]
        );
    }

    #[test]
    fn the_first_part_is_the_whole() {
        for text in ["all", "none", "tag.role = web", "not tag.env = x", "tag.role = web or tag.env = x"] {
            let selector = Selector::parse(text).unwrap();
            let (nodes, truths) = (selector.nodes(), selector.evaluate_nodes(&Web));
            assert_eq!(nodes.len(), truths.len(), "{text}");
            assert_eq!(truths[0] == Truth::True, selector.selects(&Web), "{text}");
            let tests = nodes.iter().filter(|node| node.is_test).count();
            assert_eq!(tests, selector.leaves().len(), "{text}");
        }
    }
}
