//! What came of a row of a table of requests: the line that a suite prints of it, and `cargo xtask test` reads again.

use std::fmt;

/// How a row begins in what a suite prints.
const WORD: &str = "row ";
/// What stands before the explanation.
const BECAUSE: &str = " -- ";

/// How what was seen stands to what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Mark {
    /// As expected.
    Ok,
    /// Not as expected, and the row says why.
    Deviates,
    /// Not as the row says.
    Failed,
    /// It cannot be asked for here; the row says why.
    Absent,
}

impl Mark {
    /// All of them.
    const ALL: [Self; 4] = [Self::Ok, Self::Deviates, Self::Failed, Self::Absent];

    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Deviates => "deviates",
            Self::Failed => "FAILED",
            Self::Absent => "absent",
        }
    }
}

/// What came of a row.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Answered {
    /// How it went.
    pub mark: Mark,
    /// The status that was seen; 0: the connection was closed without an answer, 9: an answer without a status line.
    pub seen: u16,
    /// The status that the standards, or the documentation, ask for.
    pub want: u16,
    /// Whose body must come with it, in one word: `name@cell`, `public`, or what else it is.
    pub whose: String,
    /// The row's name, in one line.
    pub name: String,
    /// Why it is not as expected, in one line.
    pub why: Option<String>,
}

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seen, want, whose, name, .. } = self;
        write!(f, "{WORD}{:<8} {seen:>3}/{want:<3} {whose:<18} {name}", self.mark.as_str())?;
        match &self.why {
            Some(why) => write!(f, "{BECAUSE}{why}"),
            None => Ok(()),
        }
    }
}

impl Answered {
    /// Reads a line that was printed of a row; `None`: it is another line.
    #[must_use]
    pub fn read(line: &str) -> Option<Self> {
        let (mark, rest) = line.strip_prefix(WORD)?.split_once(' ')?;
        let mark = Mark::ALL.into_iter().find(|m| m.as_str() == mark)?;
        let (seen, rest) = rest.trim_start().split_once('/')?;
        let (want, rest) = rest.split_once(' ')?;
        let (whose, rest) = rest.trim_start().split_once(' ')?;
        let (name, why) = match rest.trim_start().split_once(BECAUSE) {
            Some((name, why)) => (name, Some(why.to_owned())),
            None => (rest.trim_start(), None),
        };
        let (seen, want) = (seen.parse().ok()?, want.parse().ok()?);
        Some(Self { mark, seen, want, whose: whose.to_owned(), name: name.to_owned(), why })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_as_it_was_printed() {
        for (mark, why) in [(Mark::Ok, None), (Mark::Deviates, Some("it does -- so")), (Mark::Failed, None)] {
            let row = Answered {
                mark,
                seen: 0,
                want: 400,
                whose: "alice@cell.example".into(),
                name: "GET of a/b c, nobody".into(),
                why: why.map(Into::into),
            };
            assert_eq!(Answered::read(&row.to_string()), Some(row));
        }
        assert_eq!(Answered::read("row of houses"), None);
        assert_eq!(Answered::read("test result: ok."), None);
    }
}
