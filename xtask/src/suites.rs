//! Test programs that run inside a world or a guest: how they get there, and how their results come out.

use crate::cell::{self, workspace};
use crate::plan::Of;
use crate::report::Line;
use crate::{conformance, kept, say};
use anyhow::{Context as _, Result, bail};
use integration::httpd::Mpm;
use integration::method::{self, Method};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

/// The argument by which libtest runs no two tests at a time.
pub(crate) const ONE_BY_ONE: &str = "--test-threads=1";

/// The suite whose single tests are shown for each method, client and MPM: who reads what.
pub(crate) const MATRIX: &str = "access";

/// The suite for which another release is built.
pub(crate) const NEXT: &str = "upgrade";

/// What tells it where that release lies.
pub(crate) fn next_at(dir: &Path) -> (String, String) {
    ("AFSWEB_NEXT".to_owned(), dir.display().to_string())
}

/// Arguments of libtest's for a program under an MPM: what cannot be there is not run.
fn args_under(mpm: Option<Mpm>) -> &'static [&'static str] {
    match mpm {
        // mod_http2 refuses to work there.
        Some(Mpm::Prefork) => &["--skip", "http2"],
        _ => &[],
    }
}

/// One test program to be run inside.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Suite {
    pub(crate) name: String,
    pub(crate) of: Of,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    /// Parts of names of tests, by which some are chosen or left out: each must be there, or what it stands for has gone.
    pub(crate) names: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) limit_s: u64,
}

/// A way in which a test program is run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    /// The AFS client's name.
    pub(crate) client: &'static str,
    /// `None`: it does not depend on that.
    pub(crate) mpm: Option<Mpm>,
    /// How users log in; `None`: it has its own ways.
    pub(crate) method: Option<Method>,
}

impl Way {
    /// All ways of these MPMs and methods (none: it does not depend on them).
    pub(crate) fn all(client: &'static str, mpms: &[Option<Mpm>], methods: &[Method]) -> Vec<Self> {
        let methods: Vec<Option<Method>> =
            if methods.is_empty() { vec![None] } else { methods.iter().copied().map(Some).collect() };
        let under = |mpm: &Option<Mpm>| {
            methods.iter().map(|method| Self { client, mpm: *mpm, method: *method }).collect::<Vec<_>>()
        };
        mpms.iter().flat_map(under).collect()
    }
}

impl Suite {
    /// A program in one of its ways; of its tests those that a filter names (none: all).
    pub(crate) fn new(test: &str, program: &Path, way: Way, filters: &[&str], long: bool) -> Self {
        let mpm = way.mpm.map(Mpm::as_str);
        let named: Vec<&str> =
            [way.method.map(Method::as_str), Some(way.client), mpm].into_iter().flatten().collect();
        let mut env = vec![("AFSWEB_LONG".to_owned(), u8::from(long).to_string())];
        env.extend(mpm.map(|m| ("AFSWEB_MPM".to_owned(), m.to_owned())));
        env.extend(way.method.map(|m| (method::VARIABLE.to_owned(), m.as_str().to_owned())));
        let args = ["--include-ignored", ONE_BY_ONE].into_iter().chain(filters.iter().copied());
        Self {
            name: format!("{test} [{}]", named.join(", ")),
            of: Of {
                test: test.to_owned(),
                client: way.client.to_owned(),
                mpm: mpm.unwrap_or_default().to_owned(),
            },
            program: program.to_owned(),
            args: args.chain(args_under(way.mpm).iter().copied()).map(str::to_owned).collect(),
            names: filters.iter().map(|&name| name.to_owned()).collect(),
            env,
            limit_s: 0,
        }
    }

    /// More arguments of libtest's, as names of tests.
    pub(crate) fn with_args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|&a| a.to_owned()));
        self.names.extend(args.iter().filter(|a| !a.starts_with('-')).map(|&a| a.to_owned()));
        self
    }

    /// Of its names those that no test of the program has.
    fn names_of_no_test(&self) -> Result<Vec<String>> {
        let out = Command::new(&self.program).arg("--list").output().context("list of tests")?;
        let tests = String::from_utf8_lossy(&out.stdout).into_owned();
        Ok(self.names.iter().filter(|&name| !tests.lines().any(|l| l.contains(name))).cloned().collect())
    }

    /// It did not even run.
    pub(crate) fn failed(&self, seconds: f64) -> Line {
        Line { of: Some(self.of.clone()), ..Line::failed(&self.name, seconds) }
    }
}

/// Runs suites one after the other in what `launch` starts: it is given the command, and its results go to `name`.
///
/// What does not even come up is started `starts` times at most, and the output says so.
pub(crate) fn run(
    name: &str,
    suites: &[Suite],
    starts: u32,
    lines: &mut Vec<Line>,
    launch: impl Fn(&[OsString]) -> Result<u8>,
) -> Result<()> {
    let results = cell::results_dir(name)?;
    fs::create_dir_all(&results)?;
    // The launcher empties the results when it starts; so the plan lies beside them.
    let (plan, report) = (results.with_extension("suites.json"), results.join("suites-report.json"));
    fs::write(&plan, serde_json::to_vec(suites)?)?;
    let _ = fs::remove_file(&report);
    let me = std::env::current_exe().context("path of this program")?;
    let command: Vec<OsString> = vec![me.into(), "inside".into(), plan.into(), report.clone().into()];
    let started = Instant::now();
    let mut status = launch(&command);
    for _ in 1..starts {
        // Written before the first suite is begun.
        if report.exists() {
            break;
        }
        let why = status.map_or_else(|e| format!("{e:#}"), |code| format!("status {code}"));
        say(&format!("[{name}] did not come up ({why}); once more"));
        status = launch(&command);
    }
    let seconds = started.elapsed().as_secs_f64();
    let done: Vec<Line> =
        fs::read(&report).ok().and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default();
    let known = done.len();
    let has_failed = known < suites.len() || done.iter().any(|line| !line.passed);
    lines.extend(done);
    if known < suites.len() {
        let why = match status {
            Ok(code) => format!("[{name}] ended with status {code} before all suites had run"),
            Err(e) => format!("[{name}]: {e:#}"),
        };
        say(&why);
        for suite in suites.iter().skip(known) {
            lines.push(suite.failed(seconds));
        }
    }
    if has_failed {
        match kept::keep(&results) {
            Ok(at) => say(&format!("[{name}] what it has left: {}", at.display())),
            Err(e) => say(&format!("[{name}] what it has left stays until the next run only: {e:#}")),
        }
    }
    Ok(())
}

/// `cargo xtask inside PLAN REPORT`: the part that runs inside.
pub(crate) fn inside(plan: &Path, report: &Path) -> Result<ExitCode> {
    let suites: Vec<Suite> = serde_json::from_slice(&fs::read(plan)?)?;
    let mut lines: Vec<Line> = Vec::new();
    fs::write(report, serde_json::to_vec(&lines)?)?;
    for suite in &suites {
        say(&format!("== {}", suite.name));
        let started = Instant::now();
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", &suite.limit_s.to_string()]).arg(&suite.program).args(&suite.args);
        command.envs(suite.env.iter().map(|(k, v)| (k, v)));
        let (passed, output) = tee(&mut command)?;
        fs::write(report.with_file_name(format!("{}.out", suite.name)), &output)?;
        // Its own line is the last one: tests that start their program again show that one's, too.
        let counts = output.lines().rfind(|l| l.starts_with("test result:")).and_then(count);
        let gone = suite.names_of_no_test()?;
        let mut why = why(&output);
        why.extend(gone.iter().map(|name| format!("{}: no test is called {name}", suite.name)));
        let line = Line {
            name: suite.name.clone(),
            tests: single(&output),
            why,
            rows: conformance::rows(&output),
            // A program that ran no test at all proves nothing.
            passed: passed && gone.is_empty() && counts.is_some_and(|c| c.first().is_some_and(|n| *n > 0)),
            seconds: started.elapsed().as_secs_f64(),
            counts,
            skipped: None,
            of: Some(suite.of.clone()),
        };
        lines.push(line);
        fs::write(report, serde_json::to_vec(&lines)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a command, shows its standard output as it comes and keeps it.
pub(crate) fn tee(command: &mut Command) -> Result<(bool, String)> {
    use std::io::{BufRead as _, BufReader};
    let mut child =
        command.stdout(std::process::Stdio::piped()).spawn().with_context(|| format!("{command:?}"))?;
    let out = child.stdout.take().context("no output")?;
    let mut kept = String::new();
    for line in BufReader::new(out).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        say(&line);
        kept.push_str(&line);
        kept.push('\n');
    }
    Ok((child.wait()?.success(), kept))
}

/// The sum of the lines `test result:` of test programs.
pub(crate) fn count(output: &str) -> Option<[u32; 3]> {
    let mut sum = None;
    for line in output.lines().filter(|l| l.starts_with("test result:")) {
        let number = |word: &str| -> u32 {
            line.split([';', '.']).find_map(|p| p.trim().strip_suffix(word)?.trim().parse().ok()).unwrap_or(0)
        };
        let [p, f, i] = sum.unwrap_or([0; 3]);
        sum = Some([p + number("passed"), f + number("failed"), i + number("ignored")]);
    }
    sum
}

/// Each test that libtest's output names, and whether it passed.
pub(crate) fn single(output: &str) -> Vec<(String, bool)> {
    output
        .lines()
        .filter_map(|l| {
            let (name, rest) = l.strip_prefix("test ")?.split_once(" ... ")?;
            Some((name.to_owned(), rest.ends_with("ok")))
        })
        .collect()
}

/// No more lines of a test's words are repeated.
const WORDS: usize = 12;

/// What failed tests said, without backtraces, by libtest's output; of programs that something else ended, the last lines.
pub(crate) fn why(output: &str) -> Vec<String> {
    let mut said: Vec<&str> = Vec::new();
    let mut left = 0;
    // The lines of the program that runs.
    let mut open: Vec<&str> = Vec::new();
    for line in output.lines().filter(|l| !l.trim().is_empty()) {
        if line.starts_with("running ") {
            said.extend(last(&open));
            open.clear();
        }
        open.push(line);
        if line.starts_with("---- ") && line.ends_with(" stdout ----") {
            left = WORDS;
        } else if line.starts_with("test result:") {
            open.clear();
        } else if line == "failures:" || line == "stack backtrace:" || line.starts_with("note: ") {
            left = 0;
        }
        if left > 0 {
            left -= 1;
            said.push(line);
        }
    }
    said.extend(last(&open));
    said.into_iter().map(|line| line.chars().take(300).collect()).collect()
}

/// The last lines of a program that began to run tests.
fn last<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let began = lines.first().is_some_and(|l| l.starts_with("running "));
    lines.iter().copied().skip(lines.len().saturating_sub(WORDS)).filter(|_| began).collect()
}

/// Builds a test program: its path.
pub(crate) fn build(package: &str, test: &str) -> Result<PathBuf> {
    let target = cell::target_dir()?;
    let out = cargo_command()
        .args(["test", "--no-run", "--quiet", "--message-format=json-render-diagnostics"])
        .args(["--package", package, "--test", test, "--target-dir"])
        .arg(target)
        .current_dir(workspace())
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cargo test --no-run")?;
    if !out.status.success() {
        bail!("the test program {test} of {package} cannot be built");
    }
    String::from_utf8_lossy(&out.stdout)
        .lines()
        .filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok())
        .filter(|m| m.pointer("/target/name").is_some_and(|n| n == test))
        .find_map(|m| m.get("executable")?.as_str().map(PathBuf::from))
        .with_context(|| format!("cargo named no program for the test {test} of {package}"))
}

/// Cargo.
pub(crate) fn cargo_command() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_test_has_is_found() {
        let way = Way { client: "userspace", mpm: None, method: None };
        let me = std::env::current_exe().unwrap();
        let suite = Suite::new("xtask", &me, way, &["counts_are_summed", "no_such"], false).with_args(&[
            "--skip",
            "that_no_test_has",
            "--skip",
            "nor_this",
        ]);
        assert_eq!(suite.names_of_no_test().unwrap(), ["no_such", "nor_this"]);
    }

    #[test]
    fn counts_are_summed_over_programs() {
        let text = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\nx\n\
                    test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n";
        assert_eq!(count(text), Some([5, 4, 1]));
        assert_eq!(count("nothing"), None);
    }

    #[test]
    fn the_words_of_a_failed_test_are_found_without_its_backtrace() {
        let text = "running 2 tests\ntest a ... ok\ntest c ... FAILED\n\nfailures:\n\n---- c stdout ----\n\n\
                    thread 'c' panicked at x.rs:1:2:\nno answer\nstack backtrace:\n   0: main\nnote: more\n\n\
                    failures:\n    c\n\ntest result: FAILED. 1 passed; 1 failed\n";
        assert_eq!(why(text), ["---- c stdout ----", "thread 'c' panicked at x.rs:1:2:", "no answer"]);
        assert_eq!(why("running 1 test\nlistening\n\n"), ["running 1 test", "listening"], "it was ended");
        assert_eq!(
            why(&format!("running 0 tests\nx\n{text}"))[..2],
            ["running 0 tests", "x"],
            "ended before others"
        );
        assert!(why("running 1 test\ntest a ... ok\n\ntest result: ok. 1 passed\ndone\n").is_empty());
    }

    #[test]
    fn single_tests_are_found_with_what_came_of_them() {
        let text =
            "running 2 tests\ntest a_b ... ok\ntest c ... FAILED\ntest result: ok. 1 passed; 1 failed\n";
        assert_eq!(single(text), [("a_b".to_owned(), true), ("c".to_owned(), false)]);
    }
}
