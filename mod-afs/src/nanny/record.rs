//! The record of what is kept, as bytes that each version of the module can read.
//!
//! Entries `name=value`, each ended by NUL. Names that a version does not know it hands on as they are. Some names mean
//! the same for ever ([`super::old`]): with them any later version finds nanny and descriptors, so that none can be lost.

use core::fmt::{Display, Write as _};
use core::str::FromStr;

/// Entries, in the order in which they were put.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Record(Vec<(String, String)>);

impl Record {
    /// From what lay in the pool. What is no entry is left out.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let entries = text.split('\0').filter_map(|entry| entry.split_once('='));
        Self(entries.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// For the pool.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut text = String::new();
        for (name, value) in &self.0 {
            let written = write!(text, "{name}={value}\0");
            debug_assert!(written.is_ok(), "writing to a String");
        }
        text.into_bytes()
    }

    /// Adds an entry. A NUL, which no path has, would end it.
    pub(super) fn put(&mut self, name: &str, value: impl Display) {
        self.0.push((name.to_owned(), value.to_string().replace('\0', "")));
    }

    /// Adds an entry of several numbers.
    pub(super) fn put_all<N: Display>(&mut self, name: &str, numbers: impl IntoIterator<Item = N>) {
        let words: Vec<String> = numbers.into_iter().map(|n| n.to_string()).collect();
        self.put(name, words.join(" "));
    }

    /// All entries of a name.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The entry of a name.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.all(name).next().map(str::to_owned)
    }

    /// The entry of a name, as a number.
    pub(super) fn number<N: FromStr>(&self, name: &str) -> Option<N> {
        self.all(name).next()?.parse().ok()
    }

    /// The entry of a name, as numbers.
    pub(super) fn numbers<N: FromStr>(&self, name: &str) -> Vec<N> {
        self.all(name).next().map(numbers).unwrap_or_default()
    }

    /// The entry of a name, as two numbers.
    pub(super) fn pair<N: FromStr + Copy>(&self, name: &str) -> Option<(N, N)> {
        match self.numbers(name).as_slice() {
            [a, b] => Some((*a, *b)),
            _ => None,
        }
    }

    /// The entries of other names than these.
    pub(super) fn others(&self, names: &[&str]) -> Self {
        Self(self.0.iter().filter(|(name, _)| !names.contains(&name.as_str())).cloned().collect())
    }

    /// The names of all entries.
    #[cfg(test)]
    pub(super) fn names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Adds these entries.
    pub(super) fn append(&mut self, more: &Self) {
        self.0.extend(more.0.iter().cloned());
    }
}

/// The numbers in a value; what is none is left out.
pub(super) fn numbers<N: FromStr>(value: &str) -> Vec<N> {
    value.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_survive_and_those_of_other_versions_are_handed_on() {
        let mut record = Record::default();
        record.put("nanny", 1234);
        record.put_all("lane", [1, 2, 3, 4]);
        record.put_all("lane", [5, 6, 7, 8]);
        record.put("program", "/opt/a=b/c d");
        record.put("of-a-later-version", "x");
        let back = Record::from_bytes(&record.to_bytes());
        assert_eq!(back, record);
        assert_eq!(back.number::<i32>("nanny"), Some(1234));
        assert_eq!(back.all("lane").map(numbers::<i32>).collect::<Vec<_>>(), [[1, 2, 3, 4], [5, 6, 7, 8]]);
        assert_eq!(back.text("program").unwrap(), "/opt/a=b/c d");
        let others = back.others(&["nanny", "lane", "program"]);
        assert_eq!(others.text("of-a-later-version").as_deref(), Some("x"));
        assert_eq!(others.text("nanny"), None);
    }

    #[test]
    fn nonsense_is_no_entry() {
        let record = Record::from_bytes(b"\0\0nanny\0=\0control=x\0\xff\xfe=1\0board=7");
        assert_eq!(record.number::<i32>("nanny"), None);
        assert_eq!(record.number::<i32>("control"), None);
        assert_eq!(record.number::<i32>("board"), Some(7));
        assert_eq!(record.pair::<usize>("board"), None);
    }
}
