//! Looks for secrets in what was written down, in every form that somebody may have written them in.

use aho_corasick::AhoCorasick;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::OnceLock;

/// Shorter ones are found everywhere.
const LEAST: usize = 8;

/// A form that a secret may have.
#[derive(Debug)]
struct Form {
    name: String,
    kind: &'static str,
    bytes: Vec<u8>,
}

/// Secrets that must be found nowhere.
#[derive(Debug, Default)]
pub struct Marks {
    forms: Vec<Form>,
    /// Looks for all forms at once: there are thousands, and logs are long. Made when something is looked through.
    searcher: OnceLock<AhoCorasick>,
}

impl Marks {
    /// One more.
    ///
    /// # Panics
    /// It is too short to be told from chance.
    pub fn add(&mut self, name: &str, secret: &[u8]) {
        assert!(secret.len() >= LEAST, "{name} is too short to be looked for");
        let [lower, upper]: [fn(&u8) -> String; 2] = [|b| format!("{b:02x}"), |b| format!("{b:02X}")];
        let joined = |one: fn(&u8) -> String, between: &str| {
            secret.iter().map(one).collect::<Vec<_>>().join(between).into_bytes()
        };
        let behind = |start: &[u8], rest: Vec<u8>| [start, &rest].concat();
        let mut forms = vec![
            ("as it is", secret.to_vec()),
            ("backwards", secret.iter().rev().copied().collect()),
            ("hexadecimal", joined(lower, "")),
            ("hexadecimal", joined(upper, "")),
            ("hexadecimal with blanks", joined(lower, " ")),
            ("hexadecimal with colons", joined(lower, ":")),
            ("escaped for a URL", behind(b"%", joined(upper, "%"))),
            ("a list of numbers", joined(|b| b.to_string(), ", ")),
            ("escaped as Rust does", secret.escape_ascii().to_string().into_bytes()),
            ("escaped for a log", behind(b"\\x", joined(lower, "\\x"))),
        ];
        forms.extend((0..3).map(|offset| ("base64", within_base64(secret, offset).into_bytes())));
        let mut seen = std::collections::HashSet::new();
        forms.retain(|(_, form)| seen.insert(form.clone()));
        self.forms.extend(forms.into_iter().map(|(kind, bytes)| Form { name: name.to_owned(), kind, bytes }));
        self.searcher.take();
    }

    /// Where something of it is in `bytes`, and what.
    #[allow(clippy::expect_used, reason = "it fails only for gigabytes of secrets")]
    fn places<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = (&'a Form, Range<usize>)> {
        let searcher = self.searcher.get_or_init(|| {
            AhoCorasick::new(self.forms.iter().map(|form| &form.bytes)).expect("a searcher for all forms")
        });
        let found = searcher.find_overlapping_iter(bytes);
        found.filter_map(|m| Some((self.forms.get(m.pattern().as_usize())?, m.range())))
    }

    /// What of it is in `bytes`: name and form, each once.
    #[must_use]
    pub fn found_in(&self, bytes: &[u8]) -> Vec<String> {
        let found: BTreeSet<String> =
            self.places(bytes).map(|(form, _)| format!("{}, {}", form.name, form.kind)).collect();
        found.into_iter().collect()
    }

    /// The lines with one in them, and what it is. A secret with the end of a line in it is in several, which are shown as one.
    #[must_use]
    pub fn lines_of(&self, bytes: &[u8]) -> Vec<(String, String)> {
        let is_end = |&b: &u8| b == b'\n';
        let found: BTreeSet<(usize, usize, String)> = self
            .places(bytes)
            .map(|(form, at)| {
                let (before, behind) = (bytes.get(..at.start), bytes.get(at.end..));
                let start = before.and_then(|b| b.iter().rposition(is_end)).map_or(0, |end| end + 1);
                let length = behind.and_then(|b| b.iter().position(is_end));
                let end = length.map_or(bytes.len(), |length| at.end + length);
                (start, end, format!("{}, {}", form.name, form.kind))
            })
            .collect();
        let shown = |from, to| String::from_utf8_lossy(bytes.get(from..to).unwrap_or_default()).into_owned();
        found.into_iter().map(|(from, to, what)| (what, shown(from, to))).collect()
    }
}

/// What is always the same of base64 with `secret` at an offset (modulo 3) from its start, whatever stands around it.
fn within_base64(secret: &[u8], offset: usize) -> String {
    let padded = [vec![0; offset].as_slice(), secret].concat();
    let whole = crate::http::base64(&padded);
    // Each sign has six bits: those with a bit of what stands before or behind are left out.
    let from = (offset * 8).div_ceil(6);
    let to = padded.len() * 8 / 6;
    whole.get(from..to).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::base64;

    fn marks() -> Marks {
        let mut marks = Marks::default();
        marks.add("password", b"M4rkedSecret");
        marks.add("key", b"\x00\xff\x10\x83 \"\x7f\n");
        marks
    }

    #[test]
    fn each_form_is_found_wherever_it_stands() {
        let marks = marks();
        for text in [
            "login M4rkedSecret!",
            "terceSdekr4M",
            "4d34726b6564536563726574",
            "77, 52, 114, 107, 101, 100, 83, 101, 99, 114, 101, 116",
            "%4D%34%72%6B%65%64%53%65%63%72%65%74",
        ] {
            assert!(marks.found_in(text.as_bytes()).iter().all(|f| f.starts_with("password, ")), "{text}");
            assert!(!marks.found_in(text.as_bytes()).is_empty(), "{text}");
        }
        for before in ["", "a", "al", "ali", "alice:"] {
            for behind in ["", "x", "xy"] {
                let text = base64(format!("{before}M4rkedSecret{behind}").as_bytes());
                assert_eq!(marks.found_in(text.as_bytes()), ["password, base64"], "{text}");
            }
        }
        assert_eq!(marks.found_in(b"..\x00\xff\x10\x83 \"\x7f\n.."), ["key, as it is"]);
        assert_eq!(marks.found_in(br#"\x00\xff\x10\x83 \"\x7f\n"#), ["key, escaped as Rust does"]);
        assert_eq!(marks.found_in(b"0x00FF108320227F0A"), ["key, hexadecimal"]);
    }

    #[test]
    fn what_is_not_there_is_not_found_and_lines_are_told_apart() {
        let marks = marks();
        assert!(marks.found_in(b"M4rkedSecre t, m4rkedsecret").is_empty());
        let lines = marks.lines_of(b"one\ntwo M4rkedSecret\nthree\n");
        assert_eq!(lines, [("password, as it is".to_owned(), "two M4rkedSecret".to_owned())]);
        let key = marks.lines_of(b"one\ntwo \x00\xff\x10\x83 \"\x7f\n\nthree\n");
        let [(what, line)] = key.as_slice() else { panic!("{key:?}") };
        assert_eq!(
            (what.as_str(), line.starts_with("two ")),
            ("key, as it is", true),
            "it ends a line itself"
        );
    }

    #[test]
    #[should_panic(expected = "too short")]
    fn what_is_too_short_is_refused() {
        Marks::default().add("pin", b"1234567");
    }
}
