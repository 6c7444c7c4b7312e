//! What came of tests: a line for each step, and the summary of all.

use crate::say;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What came of a step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) passed: bool,
    pub(crate) seconds: f64,
    /// Tests passed, failed, ignored, where it is made of tests.
    pub(crate) counts: Option<[u32; 3]>,
    /// Why it did not run.
    pub(crate) skipped: Option<String>,
}

impl Line {
    /// A failure of something that gave no counts.
    pub(crate) fn failed(name: &str, seconds: f64) -> Self {
        Self { name: name.to_owned(), passed: false, seconds, counts: None, skipped: None }
    }
}

/// Does something and notes whether it went well.
pub(crate) fn step(name: &str, f: impl FnOnce() -> Result<()>) -> Line {
    say(&format!("== {name}"));
    let started = Instant::now();
    let result = f();
    if let Err(e) = &result {
        say(&format!("{name}: {e:#}"));
    }
    Line {
        name: name.into(),
        passed: result.is_ok(),
        seconds: started.elapsed().as_secs_f64(),
        counts: None,
        skipped: None,
    }
}

/// Notes what does not run, with the reason.
pub(crate) fn skip(lines: &mut Vec<Line>, name: &str, why: &str) {
    lines.push(Line {
        name: name.into(),
        passed: false,
        seconds: 0.0,
        counts: None,
        skipped: Some(why.into()),
    });
}

/// Prints the table: success if nothing failed.
pub(crate) fn summary(lines: &[Line], total: Duration) -> ExitCode {
    println!("\n{:<34} {:>8} {:>9}  tests", "what", "result", "seconds");
    for l in lines {
        let result = match (&l.skipped, l.passed) {
            (Some(_), _) => "skipped",
            (None, true) => "ok",
            (None, false) => "FAILED",
        };
        let note = match (&l.skipped, l.counts) {
            (Some(why), _) => why.clone(),
            (None, Some([p, f, i])) => {
                let ignored =
                    if i > 0 { format!(", {i} ignored here (run in a world below)") } else { String::new() };
                format!("{p} passed, {f} failed{ignored}")
            }
            (None, None) => String::new(),
        };
        println!("{:<34} {:>8} {:>9.1}  {note}", l.name, result, l.seconds);
    }
    let failed = lines.iter().filter(|l| !l.passed && l.skipped.is_none()).count();
    let skipped = lines.iter().filter(|l| l.skipped.is_some()).count();
    let ran = lines.len() - skipped;
    println!("\n{ran} ran, {failed} failed, {skipped} skipped, {:.1} minutes", total.as_secs_f64() / 60.0);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
