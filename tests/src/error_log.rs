//! Reads httpd's error log after a test: what must never stand there, whatever the test was about.

use anyhow::{Context as _, Result, bail};
use std::fs;
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

/// The lines of `text` with an alarm that no entry of `allowed` is part of.
#[must_use]
pub fn alarms<'a>(text: &'a str, allowed: &[&str]) -> Vec<&'a str> {
    text.lines()
        .filter(|line| ALARMS.iter().any(|a| line.contains(a)))
        .filter(|line| !EXPECTED.iter().chain(allowed).any(|a| line.contains(a)))
        .collect()
}

/// Fails if the log has a line that must not be there; `allowed` are texts that this test provokes.
///
/// # Errors
/// The lines, or that the log cannot be read.
pub fn check(log: &Path, allowed: &[&str]) -> Result<()> {
    let bytes = fs::read(log).with_context(|| log.display().to_string())?;
    let text = String::from_utf8_lossy(&bytes);
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
