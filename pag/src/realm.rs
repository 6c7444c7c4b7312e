//! Names of Kerberos realms, validated.

use core::fmt;

/// The name of a Kerberos realm: 1 to 63 bytes, made of letters, digits, `-`, `_` and inner dots.
///
/// KDCs tell upper from lower case, so it is kept as it is written; most are upper case.
/// Protocols allow more; what is longer or has other characters makes no name that AFS servers take.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Realm(String);

/// Why a text is not the name of a realm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RealmError {
    /// Nothing there.
    #[error("realm name is empty")]
    Empty,
    /// More than 63 bytes.
    #[error("realm name is longer than 63 bytes")]
    TooLong,
    /// A byte that is not taken.
    #[error("realm name may only have letters, digits, '-', '_' and single dots between them")]
    BadCharacter,
}

impl Realm {
    /// Longest name in bytes.
    pub const MAX: usize = 63;

    /// Takes `name` if it can be the name of a realm.
    ///
    /// # Errors
    /// [`RealmError`] says what is wrong with it.
    pub fn new(name: &str) -> Result<Self, RealmError> {
        if name.is_empty() {
            return Err(RealmError::Empty);
        }
        if name.len() > Self::MAX {
            return Err(RealmError::TooLong);
        }
        let part_ok = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !part.starts_with('-')
        };
        if name.split('.').all(part_ok) { Ok(Self(name.to_owned())) } else { Err(RealmError::BadCharacter) }
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `name` is this one in whatever case.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        self.0.eq_ignore_ascii_case(name)
    }
}

impl fmt::Display for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Realm({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_kept_as_it_is_written() {
        let realm = Realm::new("Example.COM").unwrap();
        assert_eq!(realm.as_str(), "Example.COM");
        assert!(realm.is_called("EXAMPLE.com") && !realm.is_called("EXAMPLE"));
        assert_ne!(realm, Realm::new("EXAMPLE.COM").unwrap());
    }

    #[test]
    fn refuses_what_no_realm_is_called() {
        let long = "A".repeat(64);
        for (name, why) in [
            ("", RealmError::Empty),
            (long.as_str(), RealmError::TooLong),
            ("A..B", RealmError::BadCharacter),
            (".A", RealmError::BadCharacter),
            ("A.", RealmError::BadCharacter),
            ("-A", RealmError::BadCharacter),
            ("A B", RealmError::BadCharacter),
            ("A/B", RealmError::BadCharacter),
            ("A@B", RealmError::BadCharacter),
            ("A\\B", RealmError::BadCharacter),
            ("A\n", RealmError::BadCharacter),
            ("A\0", RealmError::BadCharacter),
            ("\u{c4}", RealmError::BadCharacter),
        ] {
            assert_eq!(Realm::new(name), Err(why), "{name:?}");
        }
    }
}
