//! Reads httpd's error log after a test: what must never stand there, whatever the test was about.

use anyhow::{Context as _, Result, bail};
use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;

/// Never right: levels at which httpd gives up, panics, crashed children, lost locks.
const ALARMS: [&str; 13] = [
    ":emerg]",
    ":alert]",
    ":crit]",
    "panicked at",
    "exit signal",
    "Segmentation fault",
    "AddressSanitizer",
    "double free",
    "free(): invalid",
    "malloc():",
    "corrupted",
    "stack overflow",
    "AH00051",
];

/// Right, whatever the level: httpd says so of a directory whose `.htaccess` AFS does not let the visitor read.
const EXPECTED: [&str; 1] = ["AH00529"];

/// The page that explains the messages of module, broker and nanny.
const MESSAGES: &str = include_str!("../../docs/messages.md");

/// What a parent says of a child that crashed, where no core file is written.
const CRASHED: [&str; 2] = ["AH00052: child pid ", "exit signal Segmentation fault"];

/// Which crashes of children may be httpd's own; `docs/facts.md`, "httpd 2.4", has the evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crashes {
    /// None.
    Never,
    /// Those behind this byte of the log: there, children of the event MPM that were busy were told to end at once.
    From(usize),
}

impl Crashes {
    /// Those that `log` will tell of.
    #[must_use]
    pub fn from_now_on(log: &Path) -> Self {
        Self::From(fs::metadata(log).map_or(0, |m| usize::try_from(m.len()).unwrap_or(usize::MAX)))
    }
}

/// The lines of `text` with an alarm that no entry of `allowed` is part of.
#[must_use]
pub fn alarms<'a>(text: &'a str, allowed: &[&str]) -> Vec<&'a str> {
    text.lines()
        .filter(|line| ALARMS.iter().any(|a| line.contains(a)))
        .filter(|line| !EXPECTED.iter().chain(allowed).any(|a| line.contains(a)))
        .collect()
}

/// The lines of module, broker, authenticators and nanny whose id the page does not have, or has with another level.
#[must_use]
pub fn unexplained(text: &str) -> Vec<&str> {
    let known: HashMap<&str, &str> = MESSAGES
        .lines()
        .filter_map(|row| {
            row.strip_prefix("| AFS").and_then(|_| row.split('|').nth(1).zip(row.split('|').nth(2)))
        })
        .map(|(id, level)| (id.trim(), level.trim()))
        .collect();
    let is_explained = |line: &&str| {
        let Some(level) = level_of_ours(line) else { return true };
        let mut ids =
            line.split_whitespace().filter_map(|w| w.strip_suffix(':')).filter(|w| w.starts_with("AFS"));
        ids.next().and_then(|id| known.get(id)).is_some_and(|wanted| *wanted == level)
    };
    text.lines().filter(|line| !is_explained(line)).collect()
}

/// The level of a line, in httpd's words, if it is of our programs.
fn level_of_ours(line: &str) -> Option<String> {
    for part in ["[afs:", "[weblog:", "[weblog-authenticator:"] {
        if let Some((level, _)) = line.split_once(part).and_then(|(_, rest)| rest.split_once(']')) {
            return Some(level.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned());
        }
    }
    let (before, _) = line.split_once(" weblog-starter: ")?;
    before.split_whitespace().next_back().map(str::to_lowercase)
}

/// Does the parent say in this line that a child has crashed?
fn is_crash(line: &str) -> bool {
    CRASHED.iter().all(|part| line.contains(part))
}

/// Fails if the log has a line that must not be there; `allowed` are texts that this test provokes.
///
/// # Errors
/// The lines, or that the log cannot be read.
pub fn check(log: &Path, allowed: &[&str], crashes: Crashes) -> Result<()> {
    let bytes = fs::read(log).with_context(|| log.display().to_string())?;
    let (found, excused) = judge(&bytes, allowed, crashes);
    for crash in excused {
        let _ =
            writeln!(std::io::stderr(), "    a busy child crashed while it ended, as httpd's may: {crash}");
    }
    let text = String::from_utf8_lossy(&bytes);
    let unexplained = unexplained(&text);
    if !unexplained.is_empty() {
        bail!("lines without an id that docs/messages.md explains:\n{}", unexplained.join("\n"));
    }
    if !found.is_empty() {
        bail!("{} lines in {} must not be there:\n{}", found.len(), log.display(), found.join("\n"));
    }
    Ok(())
}

/// What must not stand in a log, and crashes that may.
fn judge(log: &[u8], allowed: &[&str], crashes: Crashes) -> (Vec<String>, Vec<String>) {
    let from = match crashes {
        Crashes::Never => log.len(),
        Crashes::From(from) => from.min(log.len()),
    };
    let (before, after) = log.split_at(from);
    let found = |part: &[u8]| -> Vec<String> {
        alarms(&String::from_utf8_lossy(part), allowed).into_iter().map(str::to_owned).collect()
    };
    let (excused, counted): (Vec<String>, Vec<String>) = found(after).into_iter().partition(|l| is_crash(l));
    (found(before).into_iter().chain(counted).collect(), excused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_must_not_be_there() {
        let log = "[Sun] [core:notice] [pid 1] AH00094: Command line\n\
                   [Sun] [core:notice] [pid 1] AH00052: child pid 7 exit signal Segmentation fault (11)\n\
                   [Sun] [afs:crit] [pid 2] no lane\n\
                   thread 'x' panicked at src/a.rs:1\n\
                   [Sun] [afs:error] [pid 2] refused\n";
        assert_eq!(alarms(log, &[]).len(), 3);
        assert_eq!(alarms(log, &["no lane"]).len(), 2);
    }

    #[test]
    fn a_crash_counts_unless_it_came_after_busy_children_were_told_to_end() {
        let crash = "[core:notice] AH00052: child pid 7 exit signal Segmentation fault (11)\n";
        let before = "[weblog:info] a byte that is no text: \u{fffd}\n[mpm_event:notice] AH00489: resuming\n";
        let counted = |log: &str, crashes| {
            (judge(log.as_bytes(), &[], crashes).0.len(), judge(log.as_bytes(), &[], crashes).1.len())
        };
        let from = Crashes::From(before.len());
        assert_eq!(counted(&format!("{crash}{before}"), from), (1, 0));
        assert_eq!(counted(&format!("{before}{crash}"), from), (0, 1));
        assert_eq!(counted(&format!("{before}{crash}"), Crashes::Never), (1, 0));
        let abort = "[core:notice] AH00052: child pid 7 exit signal Aborted (6)\n";
        assert_eq!(counted(&format!("{before}{abort}"), from), (1, 0));
    }

    #[test]
    fn each_line_of_ours_has_an_id_of_the_page_and_its_level() {
        let right = "[Sun] [afs:error] [pid 1] [client 192.0.2.7:1] AFS0502: /afs/x: afs-unavailable (errno 110)\n\
                     [2026-11-22 03:38:24Z] [weblog:trace1] [pid 4] AFS2051: authenticator ended: exit code 0\n\
                     2026-11-22T03:38:24Z  INFO weblog-starter: AFS3006: broker 1 is ready\n\
                     [Sun] [core:error] [pid 1] AH00126: Invalid URI\nwhatever\n";
        assert!(unexplained(right).is_empty(), "{:?}", unexplained(right));
        let wrong = "[Sun] [afs:error] [pid 1] no id: AFS\n[Sun] [afs:error] [pid 1] AFS0999: unknown\n\
                     [Sun] [afs:info] [pid 1] AFS0502: of another level\n\
                     [2026-11-22 03:38:24Z] [weblog-authenticator:error] [pid 4] x\n\
                     2026-11-22T03:38:24Z ERROR weblog-starter: x\n";
        assert_eq!(unexplained(wrong).len(), 5, "{:?}", unexplained(wrong));
    }

    #[test]
    fn a_directory_that_the_visitor_may_not_read_is_no_alarm() {
        let log = "[core:crit] [pid 1] (13)Permission denied: AH00529: /afs/c/.htaccess pcfg_openfile: unable to check\n";
        assert!(alarms(log, &[]).is_empty());
    }

    #[test]
    fn a_quiet_log_is_right() {
        assert!(
            alarms("[Sun] [mpm_event:notice] [pid 1] AH00489: resuming normal operations\n", &[]).is_empty()
        );
    }
}
