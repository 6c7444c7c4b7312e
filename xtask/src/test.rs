//! `cargo xtask test`: everything that is tested, with a summary that names what ran and what did not.

use crate::cell::{self, workspace};
use crate::report::{self, Line, skip, step};
use crate::suites::{self, Suite, cargo_command, count, tee};
use crate::{dist, guest_suites, say, setup, tidy};
use anyhow::{Context as _, Result, bail};
use clap::Args;
use integration::guest::Ender;
use integration::httpd::Mpm;
use integration::method::{self, Method};
use integration::namespace::Contents;
use std::path::Path;
use std::process::ExitCode;
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
    /// Without guests, that is without the AFS clients of the kernel.
    #[arg(long)]
    no_vm: bool,
}

/// A test program that needs a world.
struct WorldSuite {
    package: &'static str,
    test: &'static str,
    /// Whether it is run under each MPM (`AFSWEB_MPM`).
    per_mpm: bool,
    /// The methods by which users log in, one after the other (`AFSWEB_METHOD`); none: it has its own.
    methods: &'static [Method],
}

impl WorldSuite {
    /// One that does not depend on the MPM.
    const fn plain(package: &'static str, test: &'static str) -> Self {
        Self { package, test, per_mpm: false, methods: &[] }
    }

    /// One that is run under each MPM.
    const fn per_mpm(test: &'static str) -> Self {
        Self { per_mpm: true, ..Self::plain("integration", test) }
    }
}

/// All of them.
const SUITES: &[WorldSuite] = &[
    WorldSuite::plain("kaserver", "libafsauthent"),
    WorldSuite::plain("pag", "userspace_live"),
    WorldSuite::plain("weblog", "process"),
    WorldSuite::plain("integration", "callbacks"),
    WorldSuite::plain("integration", "config"),
    WorldSuite::plain("integration", "realm"),
    WorldSuite { methods: &Method::ALL, ..WorldSuite::per_mpm("access") },
    WorldSuite::per_mpm("logins"),
    WorldSuite::per_mpm("krb5"),
    WorldSuite::per_mpm("tickets"),
    WorldSuite::per_mpm("services"),
    WorldSuite::per_mpm("http"),
    WorldSuite::per_mpm("writing"),
    WorldSuite::per_mpm("hostile"),
    WorldSuite::per_mpm("transport"),
    WorldSuite::per_mpm("lifecycle"),
    WorldSuite::per_mpm("availability"),
    WorldSuite::per_mpm("stress"),
    WorldSuite::per_mpm("chaos"),
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
        guests(&args, &mut lines)?;
    }
    Ok(report::summary(&lines, started.elapsed()))
}

fn worlds(args: &Test, lines: &mut Vec<Line>) -> Result<()> {
    let is_chosen = |test: &str| args.only.as_ref().is_none_or(|o| test.contains(o.as_str()));
    say("building the test programs");
    let mut chosen = Vec::new();
    for suite in SUITES.iter().filter(|s| is_chosen(s.test)) {
        chosen.push((suite, suites::build(suite.package, suite.test)?));
    }
    let named = args.long || args.only.is_some() || args.mpm.is_some();
    let ways = |mpm: Option<Mpm>| -> Vec<Suite> {
        let of_mpm = chosen.iter().filter(|(s, _)| s.per_mpm == mpm.is_some());
        of_mpm.flat_map(|(suite, program)| in_all_ways(suite, program, mpm, args.long, named)).collect()
    };
    let plain = ways(None);
    run_in_world("plain", Contents::CellsAndPrograms, None, &plain, lines)?;
    if is_chosen(PACKAGE.1) {
        package(args, lines)?;
    }
    for mpm in Mpm::ALL {
        if args.mpm.is_some_and(|m| Mpm::from(m) != mpm) {
            skip(lines, &format!("suites [{mpm}]"), "another MPM was asked for");
            continue;
        }
        let suites = ways(Some(mpm));
        // One MPM is enough for it: what reads files is the same in all.
        let big = (args.long && mpm == Mpm::Event && is_chosen("http")).then_some(LONG_FILE);
        run_in_world(mpm.as_str(), Contents::CellsAndPrograms, big, &suites, lines)?;
    }
    if !named {
        skip(
            lines,
            "access by krb5 [userspace; prefork, worker]",
            "only with --only, --mpm or --long; so are access by kaserver and tickets in guests",
        );
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

/// A suite with one MPM, by each of its methods; by Kerberos 5 only with event, unless a suite or an MPM was named.
fn in_all_ways(suite: &WorldSuite, program: &Path, mpm: Option<Mpm>, long: bool, named: bool) -> Vec<Suite> {
    let methods: Vec<Option<Method>> = match suite.methods {
        [] => vec![None],
        _ if !named && mpm != Some(Mpm::Event) => vec![Some(Method::Kaserver)],
        some => some.iter().copied().map(Some).collect(),
    };
    let limit = if long { LONG_SUITE_LIMIT } else { SUITE_LIMIT };
    let threads = if suite.test == "libafsauthent" { "2" } else { "1" };
    let mut args = vec!["--include-ignored".to_owned(), format!("--test-threads={threads}")];
    args.extend(suites::args_under(mpm).iter().map(|&a| a.to_owned()));
    let one = |method: Option<Method>| {
        let mut env = vec![("AFSWEB_LONG".to_owned(), u8::from(long).to_string())];
        env.extend(mpm.map(|m| ("AFSWEB_MPM".to_owned(), m.as_str().to_owned())));
        env.extend(method.map(|m| (method::VARIABLE.to_owned(), m.as_str().to_owned())));
        let name = match mpm {
            Some(mpm) => suites::name_with(
                suite.test,
                &[method.map(Method::as_str), Some("userspace"), Some(mpm.as_str())],
            ),
            None => format!("{} {}", suite.package, suite.test),
        };
        Suite { name, program: program.to_owned(), args: args.clone(), env, limit_s: limit.as_secs() }
    };
    methods.into_iter().map(one).collect()
}

/// The suites in guests.
fn guests(args: &Test, lines: &mut Vec<Line>) -> Result<()> {
    if args.no_vm {
        skip(lines, "guests", "--no-vm was given");
        return Ok(());
    }
    let choice = guest_suites::Choice {
        long: args.long,
        only: args.only.as_deref(),
        client: None,
        mpm: args.mpm.map(Into::into),
    };
    // Ctrl-C ends this program, and the emulator with it.
    guest_suites::run(&choice, &Ender::default(), lines)
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
        program: suites::build(package, test)?,
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
    let name = format!("test-{name}");
    let mut launcher = cell::prepare(contents, &name)?;
    if let Some(bytes) = big_file {
        launcher = launcher.big_file(bytes);
    }
    suites::run(&name, suites, 1, lines, |command| launcher.run(command))
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
