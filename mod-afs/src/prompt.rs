//! AFSLoginPrompt: parsed once at start, quoted when used.
//!
//! `<%cTEXT>`, `<%dTEXT>`, `<%uTEXT>` stand for the cell of the path, the default cell, and the first two parts of the
//! URL, and for TEXT where there is none. Several may follow each other, `<%c%d%uTEXT>` (or `<%c/%d>`): the first
//! that there is counts. `<TEXT>` is TEXT. What is put in is never looked through again.

/// What the browser shows when it asks for name and password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// In order.
    parts: Vec<Piece>,
}

/// A piece of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// As it is.
    Text(String),
    /// The first of these that there is, else the text.
    FirstOf(Vec<Source>, String),
}

/// Where text comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// `%c`
    CellOfPath,
    /// `%d`
    DefaultCell,
    /// `%u`
    Url,
}

/// What a prompt is filled with.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    /// Cell of the path.
    pub cell: Option<&'a str>,
    /// Cell of visitors who name none.
    pub default_cell: Option<&'a str>,
    /// Path of the URL, decoded.
    pub url: &'a str,
}

/// Why a text is not a prompt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    /// `<` without `>`.
    #[error("'<' without a matching '>'")]
    Unmatched,
    /// An unknown letter.
    #[error("'%{0}' is not known: '<%cTEXT>', '<%dTEXT>' and '<%uTEXT>' are")]
    UnknownLetter(char),
    /// `<%>`.
    #[error("a letter (c, d or u) has to follow '<%'")]
    NoLetter,
    /// Too long or empty.
    #[error("has to have 1 to 200 bytes")]
    Length,
    /// CR, LF and their kin.
    #[error("must not have control characters")]
    Control,
}

/// Longest prompt, and longest realm, in bytes before quoting.
const MAX: usize = 200;

impl Prompt {
    /// Takes `text` if it can be a prompt.
    ///
    /// # Errors
    /// [`PromptError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, PromptError> {
        if text.is_empty() || text.len() > MAX {
            return Err(PromptError::Length);
        }
        if text.chars().any(char::is_control) {
            return Err(PromptError::Control);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('<') {
            let (inside, behind) = behind.split_once('>').ok_or(PromptError::Unmatched)?;
            if !before.is_empty() {
                parts.push(Piece::Text(before.to_owned()));
            }
            parts.push(Piece::parse(inside)?);
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    /// The prompt with its values in place; not quoted yet.
    #[must_use]
    pub fn text(&self, values: Values<'_>) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Piece::Text(text) => out.push_str(text),
                Piece::FirstOf(sources, text) => {
                    out.push_str(sources.iter().find_map(|s| s.value(values)).unwrap_or(text));
                }
            }
        }
        out
    }
}

impl Piece {
    /// What stands between `<` and `>`.
    ///
    /// # Errors
    /// [`PromptError`] for what is no macro.
    fn parse(inside: &str) -> Result<Self, PromptError> {
        let mut sources = Vec::new();
        let mut rest = inside;
        loop {
            let macro_at = if sources.is_empty() { rest } else { rest.strip_prefix('/').unwrap_or(rest) };
            let Some(behind) = macro_at.strip_prefix('%') else { break };
            let mut letters = behind.chars();
            sources.push(match letters.next() {
                Some('c') => Source::CellOfPath,
                Some('d') => Source::DefaultCell,
                Some('u') => Source::Url,
                Some(other) => return Err(PromptError::UnknownLetter(other)),
                None => return Err(PromptError::NoLetter),
            });
            rest = letters.as_str();
        }
        Ok(if sources.is_empty() {
            Self::Text(rest.to_owned())
        } else {
            Self::FirstOf(sources, rest.to_owned())
        })
    }
}

impl Source {
    /// The text, if there is one.
    fn value(self, values: Values<'_>) -> Option<&str> {
        match self {
            Self::CellOfPath => values.cell,
            Self::DefaultCell => values.default_cell,
            Self::Url => first_two_parts(values.url),
        }
        .filter(|text| !text.is_empty())
    }
}

/// `/a/b` of `/a/b/c`, `/a` of `/a`, nothing of `/`.
fn first_two_parts(url: &str) -> Option<&str> {
    let path = url.strip_prefix('/')?;
    if path.is_empty() || path.starts_with('/') {
        return None;
    }
    let end = path.match_indices('/').nth(1).map_or(path.len(), |(at, _)| at);
    url.get(..=end).map(|two| two.strip_suffix('/').unwrap_or(two))
}

/// A URL's path without its escapes, as httpd will have it: a realm is the same whenever it is told.
#[must_use]
pub fn decoded(url: &[u8]) -> String {
    let mut out = Vec::with_capacity(url.len());
    let mut rest = url;
    while let Some((&byte, behind)) = rest.split_first() {
        let digits =
            behind.first_chunk::<2>().filter(|d| byte == b'%' && d.iter().all(u8::is_ascii_hexdigit));
        let value =
            digits.and_then(|d| core::str::from_utf8(d).ok()).and_then(|d| u8::from_str_radix(d, 16).ok());
        match value {
            Some(value) => {
                out.push(value);
                rest = behind.get(2..).unwrap_or_default();
            }
            None => {
                out.push(byte);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The realm of a location: its prompt, else the `/afs/<cell>` part of the URL. Not quoted yet, never empty.
#[must_use]
pub fn realm(prompt: Option<&Prompt>, values: Values<'_>) -> String {
    let text = match prompt {
        Some(prompt) => prompt.text(values),
        None => first_two_parts(values.url).unwrap_or_default().to_owned(),
    };
    if text.trim().is_empty() { "AFS".to_owned() } else { text }
}

/// A challenge for `WWW-Authenticate`: `realm` as a quoted string of bounded length without control characters.
#[must_use]
pub fn challenge(realm: &str) -> String {
    let mut quoted = String::with_capacity(realm.len() + 2);
    let mut taken = 0;
    for c in realm.chars().filter(|c| !c.is_control()) {
        taken += c.len_utf8();
        if taken > MAX {
            break;
        }
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    format!("Basic realm=\"{quoted}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: Values<'static> = Values {
        cell: Some("cell.example"),
        default_cell: Some("home.example"),
        url: "/afs/cell.example/user/x",
    };
    #[test]
    fn escapes_of_a_url_are_undone_once() {
        for (url, want) in [
            ("/afs/a%20b/c", "/afs/a b/c"),
            ("/gr%C3%BCn", "/gr\u{fc}n"),
            ("/100%2541", "/100%41"),
            ("/%", "/%"),
            ("/%4", "/%4"),
            ("/%+1/%zz", "/%+1/%zz"),
        ] {
            assert_eq!(decoded(url.as_bytes()), want, "{url}");
        }
    }

    const NOTHING: Values<'static> = Values { cell: None, default_cell: None, url: "/" };

    fn check(text: &str, values: Values<'_>) -> String {
        Prompt::parse(text).unwrap().text(values)
    }

    #[test]
    fn puts_in_cell_default_cell_and_url_or_the_text_where_there_is_none() {
        for (text, full, empty) in [
            ("plain", "plain", "plain"),
            ("AFS Login (user@<%ccellname>)", "AFS Login (user@cell.example)", "AFS Login (user@cellname)"),
            ("<%dnone> <%uhere>!", "home.example /afs/cell.example!", "none here!"),
            ("<%c>", "cell.example", ""),
            ("<just text>", "just text", "just text"),
            ("<%c%uUnknown>", "cell.example", "Unknown"),
        ] {
            assert_eq!(check(text, VALUES), full, "{text}");
            assert_eq!(check(text, NOTHING), empty, "{text}");
        }
    }

    #[test]
    fn d16_the_documented_example_never_shows_a_literal_macro() {
        let text = "AFS Login for <%c/%d>";
        assert_eq!(check(text, VALUES), "AFS Login for cell.example");
        assert_eq!(check(text, Values { cell: None, ..VALUES }), "AFS Login for home.example");
        assert_eq!(check(text, NOTHING), "AFS Login for ");
    }

    #[test]
    fn d16_what_is_put_in_is_not_looked_through_again() {
        let url = "/<%d>/<%c";
        assert_eq!(check("<%u>", Values { url, ..VALUES }), "/<%d>/<%c");
    }

    #[test]
    fn d14_d59_a_long_url_is_cut_and_not_copied_beyond_an_end() {
        let url = format!("/{}/x", "a".repeat(100_000));
        let shown = challenge(&check("<%u>", Values { url: &url, ..NOTHING }));
        assert!(shown.len() < 300, "{}", shown.len());
        let wide = "é".repeat(500);
        assert!(challenge(&wide).len() < 300);
    }

    #[test]
    fn d15_a_realm_keeps_to_its_quotes_and_its_line() {
        let shown = challenge("a\r\nSet-Cookie: x\"y\\z\u{0}\u{7f}\u{85}");
        assert_eq!(shown, "Basic realm=\"aSet-Cookie: x\\\"y\\\\z\"");
    }

    #[test]
    fn a_cut_realm_does_not_end_in_half_an_escape() {
        let shown = challenge(&"\"".repeat(500));
        let inner = shown.strip_prefix("Basic realm=\"").unwrap().strip_suffix("\"").unwrap();
        assert_eq!(inner, "\\\"".repeat(MAX));
    }

    #[test]
    fn without_a_prompt_the_realm_is_the_cell_part_of_the_url() {
        for (url, want) in [
            ("/afs/cell.example/a/b", "/afs/cell.example"),
            ("/afs/cell.example", "/afs/cell.example"),
            ("/afs/cell.example/", "/afs/cell.example"),
            ("/afs/", "/afs"),
            ("/afs", "/afs"),
            ("/", "AFS"),
            ("", "AFS"),
            ("//x", "AFS"),
            ("*", "AFS"),
        ] {
            assert_eq!(realm(None, Values { url, ..VALUES }), want, "{url}");
        }
        assert_eq!(realm(Some(&Prompt::parse("<%c>").unwrap()), NOTHING), "AFS");
    }

    #[test]
    fn says_what_is_wrong_with_a_prompt() {
        let long = "a".repeat(201);
        for (text, why) in [
            ("", PromptError::Length),
            (long.as_str(), PromptError::Length),
            ("a<b", PromptError::Unmatched),
            ("<%c", PromptError::Unmatched),
            ("<%x>", PromptError::UnknownLetter('x')),
            ("<%>", PromptError::NoLetter),
            ("a\nb", PromptError::Control),
        ] {
            assert_eq!(Prompt::parse(text), Err(why), "{text:?}");
        }
    }
}
