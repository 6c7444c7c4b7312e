//! Who somebody is: a user name in a cell.

use crate::{Cell, Realm};
use core::fmt;

/// A user of a cell, as `name`, `name.instance` (kaserver) or `name/instance` (Kerberos 5), 1 to 63 bytes, no control characters.
///
/// The name is kept as it was typed: kaservers and most KDCs tell upper from lower case.
/// A user who is known to the cell by a realm that is not its own has that realm as well.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Principal {
    name: String,
    cell: Cell,
    realm: Option<Realm>,
}

/// Whose servers are asked for a password: a cell's, or those of a realm that somebody has named.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Home {
    /// The cell's own, whatever method it has.
    Cell(Cell),
    /// A realm's KDCs.
    Realm(Realm),
}

impl Home {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Cell(cell) => cell.as_str(),
            Self::Realm(realm) => realm.as_str(),
        }
    }
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
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
    /// A control character, blank, quote, `@`, `\` or a byte that is not ASCII, or `/` where none can be.
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
        let ok = |b: u8| b.is_ascii_graphic() && !matches!(b, b'@' | b'\\' | b'"' | b':' | b'\'');
        let ends = |c: char| c == '.' || c == '/';
        let slashes = name.bytes().filter(|b| *b == b'/').count();
        if !name.bytes().all(ok) || name.starts_with(ends) || name.ends_with(ends) || slashes > 1 {
            return Err(NameError::BadCharacter);
        }
        Ok(Self { name: name.to_owned(), cell, realm: None })
    }

    /// The same user, of a realm that is not the cell's own.
    #[must_use]
    pub fn of_realm(self, realm: Realm) -> Self {
        Self { realm: Some(realm), ..self }
    }

    /// The whole name, with the instance if there is one.
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

    /// The realm, if he named one.
    #[must_use]
    pub fn realm(&self) -> Option<&Realm> {
        self.realm.as_ref()
    }

    /// The same with the name in lower case (ASCII), to count by: protection servers take all cases for one user, and some
    /// KDCs (Active Directory's) take them for one account.
    #[must_use]
    pub fn folded(&self) -> Self {
        Self { name: self.name.to_ascii_lowercase(), ..self.clone() }
    }

    /// Whether both are the same user, whatever case their names were typed in.
    #[must_use]
    pub fn is_same_user(&self, other: &Self) -> bool {
        self.name.eq_ignore_ascii_case(&other.name) && self.cell == other.cell && self.realm == other.realm
    }

    /// Whose servers are asked for his password.
    #[must_use]
    pub fn home(&self) -> Home {
        self.realm.clone().map_or_else(|| Home::Cell(self.cell.clone()), Home::Realm)
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.realm {
            Some(realm) => write!(f, "{}@{realm}", self.name),
            None => write!(f, "{}@{}", self.name, self.cell),
        }
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
    fn a_user_of_another_realm_is_somebody_else_and_says_so() {
        let here = check("alice").unwrap();
        let there = here.clone().of_realm(Realm::new("OTHER.EXAMPLE").unwrap());
        assert_ne!(here, there);
        assert_eq!(there.to_string(), "alice@OTHER.EXAMPLE");
        assert_eq!((here.home().as_str(), there.home().as_str()), ("example.com", "OTHER.EXAMPLE"));
    }

    #[test]
    fn a_name_in_another_case_is_the_same_user_in_the_same_cell_and_realm_only() {
        let (here, typed) = (check("alice").unwrap(), check("aLICE").unwrap());
        let there = typed.clone().of_realm(Realm::new("OTHER.EXAMPLE").unwrap());
        assert_ne!(here, typed);
        assert!(here.is_same_user(&typed) && !here.is_same_user(&there));
        assert!(!here.is_same_user(&check("alicia").unwrap()));
        assert_eq!(typed.folded(), here);
        assert_eq!(there.folded().to_string(), "alice@OTHER.EXAMPLE");
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
            ("/a", NameError::BadCharacter),
            ("a/", NameError::BadCharacter),
            ("a/b/c", NameError::BadCharacter),
            ("é", NameError::BadCharacter),
        ] {
            assert_eq!(check(name), Err(why), "{name:?}");
        }
    }
}
