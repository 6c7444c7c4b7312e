//! Who somebody is: a user name in a cell.

use crate::Cell;
use core::fmt;

/// A user of a cell, as `name` or `name.instance`, 1 to 63 bytes each part, no control characters.
///
/// The name is kept as it was typed: kaserver tells upper from lower case.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Principal {
    name: String,
    cell: Cell,
}

/// Why a text is not a user name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing there.
    #[error("user name is empty")]
    Empty,
    /// More than 63 bytes.
    #[error("user name is longer than 63 bytes")]
    TooLong,
    /// A control character, blank, quote, `@`, `/`, `\` or a byte that is not ASCII.
    #[error("user name has a character that no user name has")]
    BadCharacter,
}

impl Principal {
    /// Longest name in bytes (OpenAFS copies it into 64-byte arrays).
    pub const MAX: usize = 63;

    /// Takes `name` if it can be the name of a user.
    ///
    /// # Errors
    /// [`NameError`] says what is wrong with it.
    pub fn new(name: &str, cell: Cell) -> Result<Self, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > Self::MAX {
            return Err(NameError::TooLong);
        }
        let ok = |b: u8| b.is_ascii_graphic() && !matches!(b, b'@' | b'/' | b'\\' | b'"' | b':' | b'\'');
        if !name.bytes().all(ok) || name.starts_with('.') || name.ends_with('.') {
            return Err(NameError::BadCharacter);
        }
        Ok(Self { name: name.to_owned(), cell })
    }

    /// The whole name, with the instance behind the first dot if there is one.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Name and instance as kaserver takes them.
    #[must_use]
    pub fn name_and_instance(&self) -> (&str, &str) {
        self.name.split_once('.').unwrap_or((&self.name, ""))
    }

    /// The cell.
    #[must_use]
    pub fn cell(&self) -> &Cell {
        &self.cell
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.cell)
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Principal({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A principal of some cell.
    ///
    /// # Errors
    /// As [`Principal::new`].
    fn check(name: &str) -> Result<Principal, NameError> {
        Principal::new(name, Cell::new("example.com").unwrap())
    }

    #[test]
    fn shows_itself_as_user_at_cell() {
        assert_eq!(check("alice").unwrap().to_string(), "alice@example.com");
    }

    #[test]
    fn instance_stands_behind_the_first_dot() {
        assert_eq!(check("alice.admin").unwrap().name_and_instance(), ("alice", "admin"));
        assert_eq!(check("alice").unwrap().name_and_instance(), ("alice", ""));
    }

    #[test]
    fn refuses_what_no_user_is_called() {
        let long = "a".repeat(64);
        for (name, why) in [
            ("", NameError::Empty),
            (long.as_str(), NameError::TooLong),
            ("a b", NameError::BadCharacter),
            ("a\nb", NameError::BadCharacter),
            ("a\0b", NameError::BadCharacter),
            ("a@b", NameError::BadCharacter),
            ("a\\b", NameError::BadCharacter),
            (".a", NameError::BadCharacter),
            ("é", NameError::BadCharacter),
        ] {
            assert_eq!(check(name), Err(why), "{name:?}");
        }
    }
}
