//! Access control lists and the rights in them.

use crate::Error;

/// AFS rights, as `fs listacl` shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rights(pub u32);

impl Rights {
    /// r.
    pub const READ: Self = Self(1);
    /// w.
    pub const WRITE: Self = Self(2);
    /// i.
    pub const INSERT: Self = Self(4);
    /// l.
    pub const LOOKUP: Self = Self(8);
    /// d.
    pub const DELETE: Self = Self(16);
    /// k.
    pub const LOCK: Self = Self(32);
    /// a.
    pub const ADMINISTER: Self = Self(64);
    /// All of them.
    pub const ALL: Self = Self(127);

    /// Whether all of `other` are among them.
    #[must_use]
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Takes letters as `fs setacl` does: any of `rlidwka`, or `read`, `write`, `all`, `none`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "read" => return Some(Self(9)),
            "write" => return Some(Self(63)),
            "all" => return Some(Self::ALL),
            "none" => return Some(Self(0)),
            _ => {}
        }
        text.chars().try_fold(Self(0), |sum, c| {
            let bit = match c {
                'r' => Self::READ,
                'w' => Self::WRITE,
                'i' => Self::INSERT,
                'l' => Self::LOOKUP,
                'd' => Self::DELETE,
                'k' => Self::LOCK,
                'a' => Self::ADMINISTER,
                _ => return None,
            };
            Some(Self(sum.0 | bit.0))
        })
    }
}

/// An access control list: who has, and who is denied, which rights.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Acl {
    /// Users and groups that have rights.
    pub positive: Vec<(String, u32)>,
    /// Users and groups that lose rights, whatever else they have.
    pub negative: Vec<(String, u32)>,
}

impl Acl {
    /// The text of VIOCSETAL: two numbers of entries, then a name and a mask in each line.
    ///
    /// # Errors
    /// [`Error::BadValue`] if a name cannot stand in it.
    pub(super) fn encode(&self) -> Result<Vec<u8>, Error> {
        let mut text = format!("{}\n{}\n", self.positive.len(), self.negative.len());
        for (name, rights) in self.positive.iter().chain(&self.negative) {
            if name.is_empty()
                || name.len() > 63
                || name.contains(|c: char| c.is_whitespace() || c.is_control())
            {
                return Err(Error::BadValue("name in an ACL"));
            }
            text.push_str(&format!("{name}\t{rights}\n"));
        }
        text.push('\0');
        Ok(text.into_bytes())
    }

    /// Reads the text of VIOCGETAL.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let text = bytes.split(|b| *b == 0).next().and_then(|t| core::str::from_utf8(t).ok())?;
        let mut words = text.split_ascii_whitespace();
        // A server of DFS adds to the first line; those are not served.
        let positive: usize = words.next()?.parse().ok()?;
        let negative: usize = words.next()?.parse().ok()?;
        let mut entries = |n: usize| {
            (0..n.min(1_000))
                .map(|_| Some((words.next()?.to_owned(), words.next()?.parse().ok()?)))
                .collect::<Option<Vec<_>>>()
        };
        Some(Self { positive: entries(positive)?, negative: entries(negative)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_and_words_are_rights() {
        for (text, rights) in [
            ("rl", Some(9)),
            ("read", Some(9)),
            ("rlidwka", Some(127)),
            ("none", Some(0)),
            ("", Some(0)),
            ("x", None),
        ] {
            assert_eq!(Rights::parse(text).map(|r| r.0), rights, "{text:?}");
        }
        assert!(Rights(9).has(Rights::READ) && !Rights(9).has(Rights(3)));
    }

    #[test]
    fn the_text_has_counts_first_and_comes_back() {
        let acl = Acl {
            positive: vec![("system:anyuser".into(), 9), ("alice".into(), 127)],
            negative: vec![("bob".into(), 1)],
        };
        let text = acl.encode().unwrap();
        assert_eq!(text, b"2\n1\nsystem:anyuser\t9\nalice\t127\nbob\t1\n\0");
        assert_eq!(Acl::decode(&text), Some(acl));
    }

    #[test]
    fn names_that_would_change_the_text_are_refused_and_bad_texts_are_none() {
        for name in ["", "a b", "a\nb 127", "a\0", &"x".repeat(64)] {
            let acl = Acl { positive: vec![(name.into(), 1)], negative: vec![] };
            assert!(acl.encode().is_err(), "{name:?}");
        }
        for text in ["", "1", "1\n0\n", "1\n0\nalice", "-1\n0\n", "x\n0\n", "1\n0\nalice x\n"] {
            assert_eq!(Acl::decode(text.as_bytes()), None, "{text:?}");
        }
    }
}
