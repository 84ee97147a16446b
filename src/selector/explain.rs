//! What each test of a selector says, for who wants to know why a host is selected or not.

use super::evaluate::Subject;
use super::expression::Expression;
use super::outcome::Truth;
use super::query::Selector;

/// One test of a selector: a comparison, a question of presence, or all of an `any` or `every`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The test, as it is printed.
    pub text: String,
}

impl Selector {
    /// The tests that it is made of, in the order of the text; at least one, and at most 256.
    pub fn leaves(&self) -> Vec<Leaf> {
        self.tests().into_iter().map(|test| Leaf { text: test.to_string() }).collect()
    }

    /// What each of [`Self::leaves`] says of `subject`, whether or not the others leave it a say. What cannot
    /// be told, for want of knowledge or because nobody knows, is unknown.
    pub fn evaluate_leaves(&self, subject: &impl Subject) -> Vec<Truth> {
        self.tests().into_iter().map(|test| test.outcomes(subject).truth()).collect()
    }

    fn tests(&self) -> Vec<&Expression> {
        let mut leaves = Vec::new();
        self.expression().gather_leaves(&mut leaves);
        leaves
    }
}
