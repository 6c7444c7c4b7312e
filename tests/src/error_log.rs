//! Reads httpd's error log after a test: what must never stand there, whatever the test was about.

use anyhow::{Context as _, Result, bail};
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
