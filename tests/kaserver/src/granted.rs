//! The session keys and tickets of the last answers, as they were granted.

use std::collections::VecDeque;
use std::fmt::Write as _;

/// So many are kept.
const MAX: usize = 64;

/// See the module.
#[derive(Default)]
pub(crate) struct Granted(VecDeque<String>);

impl Granted {
    /// Keeps one more.
    pub(crate) fn keep(&mut self, session_key: &[u8], ticket: &[u8]) {
        if self.0.len() >= MAX {
            self.0.pop_front();
        }
        self.0.push_back(format!("{}:{}", hex(session_key), hex(ticket)));
    }

    /// `granted`, and ` KEY:TICKET` for each.
    pub(crate) fn line(&self) -> String {
        self.0.iter().fold("granted".to_owned(), |line, one| line + " " + one)
    }
}

/// Two digits for each byte.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_kept() {
        let mut granted = Granted::default();
        assert_eq!(granted.line(), "granted");
        for n in 0..=u8::try_from(MAX).unwrap() {
            granted.keep(&[n, 0xab], &[1]);
        }
        let line = granted.line();
        assert_eq!(line.split(' ').count(), 1 + MAX);
        assert!(line.starts_with("granted 01ab:01 02ab:01 ") && line.ends_with(" 40ab:01"), "{line}");
    }
}
