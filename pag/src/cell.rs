//! Names of AFS cells, validated and in canonical (lower-case) spelling.

use core::fmt;

/// The name of an AFS cell: 1 to 63 bytes, lower case, made of letters, digits, `-`, `_` and inner dots.
///
/// Two spellings that differ in case are the same cell, so the canonical one is kept.
/// Source of the limit: OpenAFS `src/auth/cellconfig.p.h` (`MAXCELLCHARS`, 64 with the NUL).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cell(String);

/// Why a text is not the name of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CellError {
    /// Nothing there.
    #[error("cell name is empty")]
    Empty,
    /// More than 63 bytes.
    #[error("cell name is longer than 63 bytes")]
    TooLong,
    /// A byte that no cell name has.
    #[error("cell name may only have letters, digits, '-', '_' and single dots between them")]
    BadCharacter,
}

impl Cell {
    /// Longest name in bytes.
    pub const MAX: usize = 63;

    /// Takes `name` if it can be the name of a cell.
    ///
    /// # Errors
    /// [`CellError`] says what is wrong with it.
    pub fn new(name: &str) -> Result<Self, CellError> {
        if name.is_empty() {
            return Err(CellError::Empty);
        }
        if name.len() > Self::MAX {
            return Err(CellError::TooLong);
        }
        let label_ok = |l: &str| {
            !l.is_empty()
                && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !l.starts_with('-')
        };
        if !name.split('.').all(label_ok) {
            return Err(CellError::BadCharacter);
        }
        Ok(Self(name.to_ascii_lowercase()))
    }

    /// The canonical name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cell({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_is_lower_case() {
        assert_eq!(Cell::new("Example.COM").unwrap().as_str(), "example.com");
    }

    #[test]
    fn d23_refuses_what_no_cell_is_called() {
        let long = "a".repeat(64);
        for (name, why) in [
            ("", CellError::Empty),
            (long.as_str(), CellError::TooLong),
            ("a..b", CellError::BadCharacter),
            (".a", CellError::BadCharacter),
            ("a.", CellError::BadCharacter),
            ("-a", CellError::BadCharacter),
            ("a b", CellError::BadCharacter),
            ("a/b", CellError::BadCharacter),
            ("a\n", CellError::BadCharacter),
            ("a\0", CellError::BadCharacter),
            ("é", CellError::BadCharacter),
        ] {
            assert_eq!(Cell::new(name), Err(why), "{name:?}");
        }
        assert!(Cell::new(&"a".repeat(63)).is_ok());
    }
}
