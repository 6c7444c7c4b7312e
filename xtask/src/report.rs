//! What came of tests: a line for each step, and the summary of all.

use crate::plan::{self, Of, Subject};
use crate::{conformance, say, suites};
use anyhow::Result;
use integration::table::Answered;
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
    /// What it said of its failures.
    #[serde(default)]
    pub(crate) why: Vec<String>,
    /// Each row of a table of requests that was printed.
    #[serde(default)]
    pub(crate) rows: Vec<Answered>,
    /// Why it did not run.
    pub(crate) skipped: Option<String>,
    /// The test program that ran, and where.
    #[serde(default)]
    pub(crate) of: Option<Of>,
}

impl Line {
    /// A failure of something that gave no counts.
    pub(crate) fn failed(name: &str, seconds: f64) -> Self {
        Self {
            name: name.to_owned(),
            passed: false,
            seconds,
            counts: None,
            tests: Vec::new(),
            why: Vec::new(),
            rows: Vec::new(),
            skipped: None,
            of: None,
        }
    }

    /// Whether it ran, and failed.
    pub(crate) fn has_failed(&self) -> bool {
        !self.passed && self.skipped.is_none()
    }
}

/// What failed: each step's name, its tests, and what they said.
fn failures(lines: &[Line]) -> Vec<String> {
    let mut all = Vec::new();
    for line in lines.iter().filter(|l| l.has_failed()) {
        all.push(format!("\nFAILED: {}", line.name));
        all.extend(line.tests.iter().filter(|(_, ok)| !ok).map(|(test, _)| format!("  {test}")));
        all.extend(line.why.iter().map(|said| format!("    {said}")));
    }
    all
}

/// Does something and notes whether it went well.
pub(crate) fn step(name: &str, f: impl FnOnce() -> Result<()>) -> Line {
    say(&format!("== {name}"));
    let started = Instant::now();
    let why = f().err().map(|e| format!("{name}: {e:#}"));
    if let Some(why) = &why {
        say(why);
    }
    let passed = why.is_none();
    Line { passed, why: why.into_iter().collect(), ..Line::failed(name, started.elapsed().as_secs_f64()) }
}

/// Notes what does not run, with the reason.
pub(crate) fn skip(lines: &mut Vec<Line>, name: &str, why: &str) {
    lines.push(Line { skipped: Some(why.into()), ..Line::failed(name, 0.0) });
}

/// Prints the tables, with these suites of the test plan: success if something ran and nothing failed.
pub(crate) fn summary(lines: &[Line], plan: &[Subject], total: Duration) -> ExitCode {
    println!("\n{:<38} {:>8} {:>9}  tests", "what", "result", "seconds");
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
        println!("{:<38} {:>8} {:>9.1}  {note}", l.name, result, l.seconds);
    }
    matrix(lines, suites::MATRIX);
    let rows = conformance::matrix(lines);
    if !rows.is_empty() {
        println!(
            "\nconformance, the status of each row on each AFS client with each MPM (* : not as expected, explained below; \
             ! : failed; - : not sent there; 0 : closed, 9 : HTTP/0.9):\n"
        );
        rows.iter().for_each(|line| println!("{line}"));
    }
    let plan = plan::table(lines, plan);
    if !plan.is_empty() {
        println!(
            "\nThe suites of the test plan: tests that passed on each AFS client with each MPM (- : none run there):\n"
        );
        plan.iter().for_each(|line| println!("{line}"));
    }
    // Here, too: of a long output often the end alone is at hand.
    failures(lines).iter().for_each(|line| println!("{line}"));
    let failed = lines.iter().filter(|l| l.has_failed()).count();
    let skipped = lines.iter().filter(|l| l.skipped.is_some()).count();
    let ran = lines.len() - skipped;
    println!("\n{ran} ran, {failed} failed, {skipped} skipped, {:.1} minutes", total.as_secs_f64() / 60.0);
    if ran == 0 {
        println!("nothing was run, which proves nothing");
    }
    if failed == 0 && ran > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints what came of each test of `suite` by each method on each client with each MPM, where it ran in more than one way.
fn matrix(lines: &[Line], suite: &str) {
    let columns = columns(lines, suite);
    if columns.len() < 2 {
        return;
    }
    let mut methods: Vec<&str> = Vec::new();
    for column in &columns {
        if !methods.contains(&column.method) {
            methods.push(column.method);
        }
    }
    for method in methods {
        println!("\n{suite} by {method}, each test on each AFS client with each MPM (- : not run there):\n");
        table(&columns, method).iter().for_each(|line| println!("{line}"));
    }
}

/// A column of the matrix: what the name of a line says, and the line.
struct Column<'a> {
    method: &'a str,
    client: &'a str,
    mpm: &'a str,
    line: &'a Line,
}

/// The columns of a suite.
fn columns<'a>(lines: &'a [Line], suite: &str) -> Vec<Column<'a>> {
    let column = |line: &'a Line| {
        let ways = line.name.strip_prefix(suite)?.strip_prefix(" [")?.strip_suffix(']')?;
        let mut ways = ways.split(", ");
        let (method, client, mpm) = (ways.next()?, ways.next()?, ways.next()?);
        line.skipped.is_none().then_some(Column { method, client, mpm, line })
    };
    lines.iter().filter_map(column).collect()
}

/// The lines of the matrix for a method: its head, client and MPM, then a row for each test that ran in any column.
fn table(columns: &[Column<'_>], method: &str) -> Vec<String> {
    let mut tests: Vec<&str> = Vec::new();
    for (test, _) in columns.iter().flat_map(|c| &c.line.tests) {
        if !tests.contains(&test.as_str()) {
            tests.push(test);
        }
    }
    let width = tests.iter().map(|t| t.len()).max().unwrap_or(0);
    let row = |name: &str, cell: &dyn Fn(&Column<'_>) -> String| {
        let cells: String =
            columns.iter().filter(|c| c.method == method).map(|c| format!(" {:>9}", cell(c))).collect();
        format!("{name:<width$}{cells}")
    };
    let mut rows = vec![row("", &|c| c.client.to_owned()), row("", &|c| c.mpm.to_owned())];
    for test in tests {
        let came_of_it = |c: &Column<'_>| match c.line.tests.iter().find(|(t, _)| t == test) {
            Some((_, true)) => "ok".to_owned(),
            Some((_, false)) => "FAILED".to_owned(),
            None => "-".to_owned(),
        };
        rows.push(row(test, &came_of_it));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_said_once_more_and_nothing_else() {
        let mut bad = Line::failed("http [userspace, event]", 1.0);
        bad.tests = vec![("serves".into(), true), ("waits".into(), false)];
        bad.why = vec!["panicked at here".into()];
        let mut not_run = Line::failed("guests", 0.0);
        not_run.skipped = Some("why".into());
        let good = step("good", || Ok(()));
        let worse = step("worse", || anyhow::bail!("no room"));
        assert_eq!(
            failures(&[good, bad, not_run, worse]),
            [
                "\nFAILED: http [userspace, event]",
                "  waits",
                "    panicked at here",
                "\nFAILED: worse",
                "    worse: no room"
            ]
        );
    }

    #[test]
    fn the_matrix_names_each_way_and_what_failed_there() {
        let line = |name: &str, tests: &[(&str, bool)]| Line {
            tests: tests.iter().map(|&(t, ok)| (t.to_owned(), ok)).collect(),
            ..Line::failed(name, 0.0)
        };
        let mut not_run = line("access [krb5, kafs, event]", &[]);
        not_run.skipped = Some("why".into());
        let lines = [
            line("access [kaserver, userspace, event]", &[("reads", true), ("waits", true)]),
            line("http [userspace, event]", &[("serves", true)]),
            line("access [krb5, userspace, event]", &[("waits", false)]),
            line("access [krb5, kafs, prefork]", &[("reads", true)]),
            not_run,
        ];
        let columns = columns(&lines, "access");
        assert_eq!(columns.len(), 3);
        assert_eq!(
            table(&columns, "kaserver"),
            ["      userspace", "          event", "reads        ok", "waits        ok"]
        );
        assert_eq!(
            table(&columns, "krb5"),
            [
                "      userspace      kafs",
                "          event   prefork",
                "reads         -        ok",
                "waits    FAILED         -"
            ]
        );
    }
}
