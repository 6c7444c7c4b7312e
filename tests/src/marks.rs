//! Looks for secrets in what was written down, in every form that somebody may have written them in.

/// Shorter ones are found everywhere.
const LEAST: usize = 8;

/// A secret, and how it may look.
#[derive(Debug)]
struct Mark {
    name: String,
    /// Kind, and the text, a character for each byte.
    forms: Vec<(&'static str, String)>,
}

/// Secrets that must be found nowhere.
#[derive(Debug, Default)]
pub struct Marks(Vec<Mark>);

impl Marks {
    /// One more.
    ///
    /// # Panics
    /// It is too short to be told from chance.
    pub fn add(&mut self, name: &str, secret: &[u8]) {
        assert!(secret.len() >= LEAST, "{name} is too short to be looked for");
        let [lower, upper]: [fn(&u8) -> String; 2] = [|b| format!("{b:02x}"), |b| format!("{b:02X}")];
        let joined =
            |one: fn(&u8) -> String, between: &str| secret.iter().map(one).collect::<Vec<_>>().join(between);
        let mut forms = vec![
            ("as it is", latin(secret)),
            ("backwards", secret.iter().rev().map(|&b| char::from(b)).collect()),
            ("hexadecimal", joined(lower, "")),
            ("hexadecimal", joined(upper, "")),
            ("hexadecimal with blanks", joined(lower, " ")),
            ("hexadecimal with colons", joined(lower, ":")),
            ("escaped for a URL", "%".to_owned() + &joined(upper, "%")),
            ("a list of numbers", joined(|b| b.to_string(), ", ")),
            ("escaped as Rust does", secret.escape_ascii().to_string()),
            ("escaped for a log", "\\x".to_owned() + &joined(lower, "\\x")),
        ];
        forms.extend((0..3).map(|offset| ("base64", within_base64(secret, offset))));
        let mut seen = std::collections::HashSet::new();
        forms.retain(|(_, form)| seen.insert(form.clone()));
        self.0.push(Mark { name: name.to_owned(), forms });
    }

    /// What of it is in `bytes`: name and form.
    #[must_use]
    pub fn found_in(&self, bytes: &[u8]) -> Vec<String> {
        let text = latin(bytes);
        let forms = self.0.iter().flat_map(|mark| mark.forms.iter().map(move |form| (mark, form)));
        forms
            .filter(|(_, (_, form))| text.contains(form.as_str()))
            .map(|(mark, (kind, _))| format!("{}, {kind}", mark.name))
            .collect()
    }

    /// The lines with one in them, and what it is.
    #[must_use]
    pub fn lines_of(&self, bytes: &[u8]) -> Vec<(String, String)> {
        if self.found_in(bytes).is_empty() {
            return Vec::new();
        }
        let lines = bytes.split(|&b| b == b'\n');
        lines
            .flat_map(|line| {
                let shown = String::from_utf8_lossy(line).into_owned();
                self.found_in(line).into_iter().map(move |what| (what, shown.clone()))
            })
            .collect()
    }
}

/// A character for each byte, so that bytes can be looked for as text.
fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|&b| char::from(b)).collect()
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
    }

    #[test]
    #[should_panic(expected = "too short")]
    fn what_is_too_short_is_refused() {
        Marks::default().add("pin", b"1234567");
    }
}
