//! What somebody who wants to be an operator hands to one who may grant: the public key with their name, in the one
//! line of an OpenSSH `.pub` file. Nothing in it is secret, and nothing in it is believed: that it came whole, the two
//! of them see by the words.

use std::{
    fs,
    io::{self, Read as _},
    path::Path,
};

use super::AuthorityError;
use crate::identity::ssh::OperatorKey;

/// Longest request, in bytes.
const REQUEST_BYTES_MAX: u64 = 16 * 1024;
/// Longest name of a person, in characters.
const PERSON_CHARS_MAX: usize = 64;

/// A key, and whose it is said to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The key.
    pub key: OperatorKey,
    /// Who.
    pub person: Option<String>,
}

/// Whether a person can be called so in a certificate: one word that shows as what it is.
pub(super) fn check_person(name: &str) -> bool {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !crate::terminal::escape::is_hidden(c);
    !name.is_empty() && name.chars().count() <= PERSON_CHARS_MAX && name.chars().all(plain)
}

impl Asked {
    /// The line that asks.
    pub fn line(&self) -> String {
        match &self.person {
            Some(person) => format!("{} {person}", self.key.line()),
            None => self.key.line(),
        }
    }

    /// Reads such a line.
    ///
    /// # Errors
    /// [`AuthorityError::Request`].
    pub fn read(text: &str) -> Result<Self, AuthorityError> {
        let not = |problem: String| AuthorityError::Request { problem };
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (Some(line), None) = (lines.next(), lines.next()) else {
            return Err(not("it is to be one line".to_owned()));
        };
        let (key, comment) =
            OperatorKey::from_line(line).map_err(|error| not(error.to_string()))?.ok_or_else(|| {
                not("the key is of a kind that cannot be an operator's: ed25519 can".to_owned())
            })?;
        Ok(Self { key, person: Some(comment).filter(|name| check_person(name)) })
    }

    /// Reads it from where a person says that it is: the line itself, `-` for standard input, or a file.
    ///
    /// # Errors
    /// [`AuthorityError::Request`].
    pub fn find(word: &str) -> Result<Self, AuthorityError> {
        let unread = |error: io::Error| AuthorityError::Request { problem: error.to_string() };
        if word.contains(' ') {
            return Self::read(word);
        }
        let mut text = String::new();
        if word == "-" {
            io::stdin().lock().take(REQUEST_BYTES_MAX).read_to_string(&mut text).map_err(unread)?;
        } else {
            let file = fs::File::open(Path::new(word)).map_err(unread)?;
            file.take(REQUEST_BYTES_MAX).read_to_string(&mut text).map_err(unread)?;
        }
        Self::read(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Operator, SecretKey};

    #[test]
    fn a_request_is_read_back_and_a_public_key_file_is_one() {
        let key = OperatorKey::from(SecretKey::<Operator>::from_seed(&[5; 32]).public());
        let asked = Asked { key: key.clone(), person: Some("ana".to_owned()) };
        assert_eq!(Asked::read(&asked.line()).unwrap(), asked);
        assert_eq!(Asked::read(&format!("# for bo\n\n  {}  \n", asked.line())).unwrap(), asked);
        let nameless = Asked { key: key.clone(), person: None };
        assert_eq!(Asked::read(&key.line()).unwrap(), nameless);
        // What is no name does not become one.
        assert_eq!(Asked::read(&format!("{} ana of web", key.line())).unwrap(), nameless);
        for text in ["", "ssh-ed25519", "ssh-rsa AAAA ana", "rubbish", &format!("{0}\n{0}", asked.line())] {
            assert!(Asked::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_person_is_one_word_that_shows_as_what_it_is() {
        for name in ["ana", "ana@acme", "Ánna-2", &"a".repeat(64)] {
            assert!(check_person(name), "{name}");
        }
        for name in ["", "ana bo", "an\na", "an\u{202e}a", "an\u{200b}a", &"a".repeat(65)] {
            assert!(!check_person(name), "{name:?}");
        }
    }
}
