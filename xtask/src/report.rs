//! What came of tests: a line for each step, and the summary of all.

use crate::{say, suites};
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
    /// Each single test that ran in a world or guest, and whether it passed.
    #[serde(default)]
    pub(crate) tests: Vec<(String, bool)>,
    /// Why it did not run.
    pub(crate) skipped: Option<String>,
}

impl Line {
    /// A failure of something that gave no counts.
    pub(crate) fn failed(name: &str, seconds: f64) -> Self {
        Self { name: name.to_owned(), passed: false, seconds, counts: None, tests: Vec::new(), skipped: None }
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
        tests: Vec::new(),
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
        tests: Vec::new(),
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
    matrix(lines, suites::MATRIX);
    let failed = lines.iter().filter(|l| !l.passed && l.skipped.is_none()).count();
    let skipped = lines.iter().filter(|l| l.skipped.is_some()).count();
    let ran = lines.len() - skipped;
    println!("\n{ran} ran, {failed} failed, {skipped} skipped, {:.1} minutes", total.as_secs_f64() / 60.0);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints what came of each test of `suite` on each client with each MPM, where it ran on more than one.
fn matrix(lines: &[Line], suite: &str) {
    let columns: Vec<(&str, &Line)> = lines
        .iter()
        .filter_map(|l| {
            let with = l.name.strip_prefix(suite)?.strip_prefix(" [")?.strip_suffix(']')?;
            l.skipped.is_none().then_some((with, l))
        })
        .collect();
    if columns.len() < 2 {
        return;
    }
    println!("\n{suite}, each test on each AFS client with each MPM (- : not run there):\n");
    let mut rows: Vec<&str> = Vec::new();
    for (test, _) in columns.iter().flat_map(|(_, l)| &l.tests) {
        if !rows.contains(&test.as_str()) {
            rows.push(test);
        }
    }
    let width = rows.iter().map(|r| r.len()).max().unwrap_or(0);
    // A column's head is two lines: client, MPM.
    for line in [0, 1] {
        let heads = columns.iter().map(|(with, _)| with.split(", ").nth(line).unwrap_or_default());
        println!("{:<width$} {}", "", heads.map(|h| format!("{h:>9}")).collect::<Vec<_>>().join(" "));
    }
    for row in rows {
        let cells = columns.iter().map(|(_, l)| match l.tests.iter().find(|(t, _)| t == row) {
            Some((_, true)) => "ok",
            Some((_, false)) => "FAILED",
            None => "-",
        });
        println!("{row:<width$} {}", cells.map(|c| format!("{c:>9}")).collect::<Vec<_>>().join(" "));
    }
}
