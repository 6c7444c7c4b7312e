//! `cargo xtask test`: everything that is tested, with a summary that names what ran and what did not.

use crate::cell::{self, workspace};
use crate::{dist, say, setup, tidy};
use anyhow::{Context as _, Result, bail};
use clap::Args;
use integration::httpd::Mpm;
use integration::namespace::Contents;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// No suite inside a world runs longer.
const SUITE_LIMIT: Duration = Duration::from_secs(20 * 60);
/// With `--long`.
const LONG_SUITE_LIMIT: Duration = Duration::from_secs(60 * 60);

/// Arguments of `test`.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// The volumes of a release: a thousand killed children, hundreds of brokers.
    #[arg(long)]
    long: bool,
    /// Only what runs without root: format, lints, documentation, unit tests.
    #[arg(long)]
    unit: bool,
    /// Only the suites inside worlds whose name contains this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Only this MPM.
    #[arg(long, value_enum)]
    mpm: Option<cell::MpmArg>,
}

/// One test program to be run inside a world.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Suite {
    name: String,
    program: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    limit_s: u64,
}

/// What came of a step.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Line {
    name: String,
    passed: bool,
    seconds: f64,
    /// Tests passed, failed, ignored, where it is made of tests.
    counts: Option<[u32; 3]>,
    /// Why it did not run.
    skipped: Option<String>,
}

/// Test programs that need a world: package, test, whether it depends on the MPM.
const SUITES: &[(&str, &str, bool)] = &[
    ("kaserver", "libafsauthent", false),
    ("pag", "userspace_live", false),
    ("weblog", "process", false),
    ("integration", "config", false),
    ("integration", "access", true),
    ("integration", "http", true),
    ("integration", "hostile", true),
    ("integration", "transport", true),
    ("integration", "lifecycle", true),
    ("integration", "availability", true),
    ("integration", "chaos", true),
];

/// Size of the big file with `--long`: more than 32 bits can count.
const LONG_FILE: u64 = (4 << 30) + 4_096;

/// The suite that tries the package, in a world that has nothing else of ours: package, test.
const PACKAGE: (&str, &str) = ("integration", "dist");

/// `cargo xtask test`.
pub(crate) fn main(args: Test) -> Result<ExitCode> {
    let started = Instant::now();
    if !args.unit {
        setup::need_root("the tests with real cells (or give --unit)")?;
        setup::ensure()?;
    }
    let mut lines = Vec::new();
    if args.only.is_none() {
        lines.push(step("tidy", || tidy::run(workspace())));
        cargo(&mut lines, "fmt", &["fmt", "--all", "--check"], &[]);
        cargo(
            &mut lines,
            "clippy",
            &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"],
            &[],
        );
        cargo(
            &mut lines,
            "doc",
            &["doc", "--workspace", "--no-deps", "--quiet"],
            &[("RUSTDOCFLAGS", "-D warnings")],
        );
        let unit = ["test", "--workspace", "--exclude", "integration", "--no-fail-fast"];
        counted(&mut lines, "unit tests", &unit);
        counted(
            &mut lines,
            "unit tests of the harness",
            &["test", "--package", "integration", "--lib", "--no-fail-fast"],
        );
        deny(&mut lines);
    }
    if args.unit {
        skip(&mut lines, "worlds", "--unit was given");
    } else {
        worlds(&args, &mut lines)?;
    }
    summary(&lines, started.elapsed());
    Ok(if lines.iter().all(|l| l.passed || l.skipped.is_some()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn worlds(args: &Test, lines: &mut Vec<Line>) -> Result<()> {
    let is_chosen = |test: &str| args.only.as_ref().is_none_or(|o| test.contains(o.as_str()));
    let chosen: Vec<_> = SUITES.iter().filter(|(_, t, _)| is_chosen(t)).collect();
    say("building the test programs");
    let mut programs = Vec::new();
    for (package, test, _) in &chosen {
        programs.push(build_test(package, test)?);
    }
    let suite = |i: usize, mpm: Option<Mpm>| -> Option<Suite> {
        let (package, test, _) = chosen.get(i)?;
        let mut env = vec![("AFSWEB_LONG".to_owned(), u8::from(args.long).to_string())];
        let mut name = format!("{package} {test}");
        if let Some(mpm) = mpm {
            env.push(("AFSWEB_MPM".into(), mpm.as_str().into()));
            name = format!("{test} [{mpm}]");
        }
        let limit = if args.long { LONG_SUITE_LIMIT } else { SUITE_LIMIT };
        let threads = if *test == "libafsauthent" { "2" } else { "1" };
        let args = vec!["--include-ignored".into(), format!("--test-threads={threads}")];
        Some(Suite { name, program: programs.get(i)?.clone(), args, env, limit_s: limit.as_secs() })
    };
    let plain: Vec<Suite> = (0..chosen.len())
        .filter(|&i| chosen.get(i).is_some_and(|s| !s.2))
        .filter_map(|i| suite(i, None))
        .collect();
    run_in_world("plain", Contents::CellsAndPrograms, None, &plain, lines)?;
    if is_chosen(PACKAGE.1) {
        package(args, lines)?;
    }
    for mpm in Mpm::ALL {
        if args.mpm.is_some_and(|m| Mpm::from(m) != mpm) {
            skip(lines, &format!("suites [{mpm}]"), "another MPM was asked for");
            continue;
        }
        let suites: Vec<Suite> = (0..chosen.len())
            .filter(|&i| chosen.get(i).is_some_and(|s| s.2))
            .filter_map(|i| suite(i, Some(mpm)))
            .collect();
        // One MPM is enough for it: what reads files is the same in all.
        let big = (args.long && mpm == Mpm::Event).then_some(LONG_FILE);
        run_in_world(mpm.as_str(), Contents::CellsAndPrograms, big, &suites, lines)?;
    }
    if !args.long {
        skip(
            lines,
            "volumes of a release",
            "only with --long: 1,000 killed children, 200 brokers, 50 nannies per MPM, a file of 4 GiB",
        );
    }
    Ok(())
}

/// Builds the package and tries it on a stock Debian Apache.
fn package(args: &Test, lines: &mut Vec<Line>) -> Result<()> {
    let mut made = None;
    lines.push(step("package", || {
        made = Some(dist::run(workspace(), &cell::target_dir()?)?);
        Ok(())
    }));
    let Some(made) = made else { return Ok(()) };
    let (package, test) = PACKAGE;
    let limit = if args.long { LONG_SUITE_LIMIT } else { SUITE_LIMIT };
    let suite = Suite {
        name: format!("{package} {test}"),
        program: build_test(package, test)?,
        args: vec!["--include-ignored".into(), "--test-threads=1".into()],
        env: vec![("AFSWEB_DEB".into(), made.deb.display().to_string())],
        limit_s: limit.as_secs(),
    };
    run_in_world("dist", Contents::Cells, None, &[suite], lines)
}

/// Runs suites one after the other in a fresh world.
fn run_in_world(
    name: &str,
    contents: Contents,
    big_file: Option<u64>,
    suites: &[Suite],
    lines: &mut Vec<Line>,
) -> Result<()> {
    if suites.is_empty() {
        return Ok(());
    }
    let mut launcher = cell::prepare(contents, &format!("test-{name}"))?;
    if let Some(bytes) = big_file {
        launcher = launcher.big_file(bytes);
    }
    let results = cell::results_dir(&format!("test-{name}"))?;
    fs::create_dir_all(&results)?;
    // The launcher empties the results when it starts; so the plan lies beside them.
    let (plan, report) = (results.with_extension("suites.json"), results.join("suites-report.json"));
    fs::write(&plan, serde_json::to_vec(suites)?)?;
    let _ = fs::remove_file(&report);
    let me = std::env::current_exe().context("path of this program")?;
    let command: Vec<OsString> = vec![me.into(), "inside".into(), plan.into(), report.clone().into()];
    let started = Instant::now();
    let status = launcher.run(&command);
    let seconds = started.elapsed().as_secs_f64();
    let done: Vec<Line> =
        fs::read(&report).ok().and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default();
    let known = done.len();
    lines.extend(done);
    if known < suites.len() {
        let why = match status {
            Ok(code) => format!("world [{name}] ended with status {code} before all suites had run"),
            Err(e) => format!("world [{name}]: {e:#}"),
        };
        say(&why);
        for suite in suites.iter().skip(known) {
            lines.push(Line {
                name: suite.name.clone(),
                passed: false,
                seconds,
                counts: None,
                skipped: None,
            });
        }
    }
    Ok(())
}

/// `cargo xtask inside PLAN REPORT`: the part of `test` that runs inside a world.
pub(crate) fn inside(plan: &Path, report: &Path) -> Result<ExitCode> {
    let suites: Vec<Suite> = serde_json::from_slice(&fs::read(plan)?)?;
    let mut lines: Vec<Line> = Vec::new();
    for suite in &suites {
        say(&format!("== {}", suite.name));
        let started = Instant::now();
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", &suite.limit_s.to_string()]).arg(&suite.program).args(&suite.args);
        command.envs(suite.env.iter().map(|(k, v)| (k, v)));
        let (passed, output) = tee(&mut command)?;
        let counts = count(&output);
        let line = Line {
            name: suite.name.clone(),
            // A program that ran no test at all proves nothing.
            passed: passed && counts.is_some_and(|c| c.first().is_some_and(|n| *n > 0)),
            seconds: started.elapsed().as_secs_f64(),
            counts,
            skipped: None,
        };
        lines.push(line);
        fs::write(report, serde_json::to_vec(&lines)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a command, shows its standard output as it comes and keeps it.
fn tee(command: &mut Command) -> Result<(bool, String)> {
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
fn count(output: &str) -> Option<[u32; 3]> {
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

fn build_test(package: &str, test: &str) -> Result<PathBuf> {
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

fn cargo_command() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn step(name: &str, f: impl FnOnce() -> Result<()>) -> Line {
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

fn cargo(lines: &mut Vec<Line>, name: &str, args: &[&str], env: &[(&str, &str)]) {
    lines.push(step(name, || {
        let mut command = cargo_command();
        command.args(args).current_dir(workspace()).envs(env.iter().copied());
        if !command.status().context("cargo")?.success() {
            bail!("cargo {} failed", args.join(" "));
        }
        Ok(())
    }));
}

fn counted(lines: &mut Vec<Line>, name: &str, args: &[&str]) {
    let mut counts = None;
    let mut line = step(name, || {
        let mut command = cargo_command();
        command.args(args).current_dir(workspace());
        let (ok, output) = tee(&mut command)?;
        counts = count(&output);
        if !ok {
            bail!("cargo {} failed", args.join(" "));
        }
        Ok(())
    });
    line.counts = counts;
    lines.push(line);
}

fn deny(lines: &mut Vec<Line>) {
    let there = cargo_command().args(["deny", "--version"]).output().is_ok_and(|o| o.status.success());
    if there {
        cargo(lines, "deny", &["deny", "--offline", "check", "licenses", "bans", "sources"], &[]);
    } else {
        skip(lines, "deny", "cargo-deny is not installed");
    }
}

fn skip(lines: &mut Vec<Line>, name: &str, why: &str) {
    lines.push(Line {
        name: name.into(),
        passed: false,
        seconds: 0.0,
        counts: None,
        skipped: Some(why.into()),
    });
}

fn summary(lines: &[Line], total: Duration) {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_summed_over_programs() {
        let text = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\nx\n\
                    test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n";
        assert_eq!(count(text), Some([5, 4, 1]));
        assert_eq!(count("nothing"), None);
    }
}
