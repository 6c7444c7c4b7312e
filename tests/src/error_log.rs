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

/// What a parent says before it tells its children to end at once (SIGTERM).
const ENDS: &str = "AH00491";
/// What it says of a child that crashed.
const CRASHED: &str = "exit signal Segmentation fault";

/// The lines of `text` with an alarm that no entry of `allowed` is part of.
#[must_use]
pub fn alarms<'a>(text: &'a str, allowed: &[&str]) -> Vec<&'a str> {
    let (lines, _) = without_crashes_at_the_end(text);
    lines
        .into_iter()
        .filter(|line| ALARMS.iter().any(|a| line.contains(a)))
        .filter(|line| !EXPECTED.iter().chain(allowed).any(|a| line.contains(a)))
        .collect()
}

/// The lines without crashes of children that were told to end at once, and those crashes.
///
/// A child with threads that gets SIGTERM does not wait for all of them before it takes down what they use, so that one
/// crashes now and then on a busy machine. Nothing is served any more; whoever reads the run is told.
fn without_crashes_at_the_end(text: &str) -> (Vec<&str>, Vec<&str>) {
    let mut ends = false;
    text.lines().partition(|line| {
        ends |= line.contains(ENDS);
        !(ends && line.contains(CRASHED))
    })
}

/// Fails if the log has a line that must not be there; `allowed` are texts that this test provokes.
///
/// # Errors
/// The lines, or that the log cannot be read.
pub fn check(log: &Path, allowed: &[&str]) -> Result<()> {
    let bytes = fs::read(log).with_context(|| log.display().to_string())?;
    let text = String::from_utf8_lossy(&bytes);
    for crash in without_crashes_at_the_end(&text).1 {
        let _ = writeln!(std::io::stderr(), "    a child crashed while it ended, as httpd's may: {crash}");
    }
    let found = alarms(&text, allowed);
    if !found.is_empty() {
        bail!("{} lines in {} must not be there:\n{}", found.len(), log.display(), found.join("\n"));
    }
    Ok(())
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
    fn a_crash_counts_unless_the_child_was_told_to_end_at_once() {
        let crash = "[core:notice] AH00052: child pid 7 exit signal Segmentation fault (11)\n";
        let ends = "[mpm_event:notice] [pid 1] AH00491: caught SIGTERM, shutting down\n";
        assert_eq!(alarms(&format!("{crash}{ends}"), &[]).len(), 1);
        assert_eq!(alarms(&format!("{ends}{crash}"), &[]).len(), 0);
        let abort = "[core:notice] AH00051: child pid 7 exit signal Aborted (6), possible coredump\n";
        assert_eq!(alarms(&format!("{ends}{abort}"), &[]).len(), 1);
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
