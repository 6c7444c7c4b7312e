//! `cargo xtask test`: everything that is tested, with a summary that names what ran and what did not.

use crate::beside::{self, Beside};
use crate::cell::{self, workspace};
use crate::plan::{self, Choice, Of, Subject};
use crate::report::{self, Line, skip, step};
use crate::suites::{self, Suite, Way, cargo_command, count, single, tee};
use crate::{dist, guest_suites, say, setup, tidy};
use anyhow::{Context as _, Result, bail};
use clap::Args;
use integration::guest::Ender;
use integration::httpd::Mpm;
use integration::method::Method;
use integration::namespace::Contents;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// No suite inside a world runs longer.
const SUITE_LIMIT: Duration = Duration::from_secs(20 * 60);
/// With less room left than this, builds end in the middle.
const ROOM: u64 = 2 << 30;
/// With `--long`.
const LONG_SUITE_LIMIT: Duration = Duration::from_secs(60 * 60);

/// Unit tests that do nothing without root, by the file that has them.
const OF_ROOT: &[(&str, &[&str])] = &[
    (
        "mod-afs/src/nanny/listener.rs",
        &[
            "a_socket_that_somebody_holds_but_nobody_answers_on_does_not_keep_httpd_from_starting",
            "a_socket_on_which_a_broker_answers_is_spared",
            "the_socket_replaces_a_stale_one_and_nothing_else",
        ],
    ),
    ("weblog/fds/src/board.rs", &["another_user_cannot_open_it_again_for_writing"]),
    ("tests/src/dumpable.rs", &["a_process_that_says_nothing_is_open"]),
];

/// Arguments of `test`.
#[derive(Debug, Default, Args)]
pub(crate) struct Test {
    /// The volumes of a release: a thousand killed children, hundreds of brokers.
    #[arg(long)]
    long: bool,
    /// Only what runs without root: format, lints, documentation, unit tests.
    #[arg(long)]
    unit: bool,
    /// Only what belongs to this suite of the test plan: http, acl, cache, pag, cgi, lanes, performance, release.
    #[arg(long, value_name = "NAME", conflicts_with = "unit")]
    suite: Option<String>,
    /// Only the test programs inside worlds and guests whose name contains this.
    #[arg(long, value_name = "TEXT", conflicts_with = "unit")]
    only: Option<String>,
    /// Only this MPM.
    #[arg(long, value_enum)]
    mpm: Option<cell::MpmArg>,
    /// Without guests, that is without the AFS clients of the kernel.
    #[arg(long)]
    no_vm: bool,
    /// Part of another run, which wants what came of it here: only the worlds under event, no summary, and it ends with its
    /// standard input.
    #[arg(long, value_name = "FILE", hide = true)]
    results: Option<PathBuf>,
}

/// A test program that needs a world.
struct WorldSuite {
    package: &'static str,
    test: &'static str,
    /// Whether it is run under each MPM (`AFSWEB_MPM`).
    per_mpm: bool,
    /// The MPMs that it has in the usual run; the others have it where something is asked for by name.
    usual: &'static [Mpm],
    /// The methods by which users log in, one after the other (`AFSWEB_METHOD`); none: it has its own.
    methods: &'static [Method],
}

impl WorldSuite {
    /// One that does not depend on the MPM.
    const fn plain(package: &'static str, test: &'static str) -> Self {
        Self { package, test, per_mpm: false, usual: &[], methods: &[] }
    }

    /// One that is run under each MPM.
    const fn per_mpm(test: &'static str) -> Self {
        Self { per_mpm: true, usual: &Mpm::ALL, ..Self::plain("integration", test) }
    }

    /// The same; but what it is about hardly depends on the MPM, so that one is enough in the usual run.
    const fn mostly_event(test: &'static str) -> Self {
        Self { usual: &[Mpm::Event], ..Self::per_mpm(test) }
    }

    /// The same; but it takes long, and threads are much the same with worker as with event.
    const fn without_worker(test: &'static str) -> Self {
        Self { usual: &[Mpm::Prefork, Mpm::Event], ..Self::per_mpm(test) }
    }

    /// The MPMs (none: it does not depend on them) and methods of a run.
    fn mpms(&self, choice: &Choice<'_>) -> Vec<Option<Mpm>> {
        if !self.per_mpm {
            return vec![None];
        }
        let in_all = choice.is_named() || choice.suite.is_some();
        choice.mpms(&Mpm::ALL, self.usual, in_all).into_iter().map(Some).collect()
    }

    /// By Kerberos 5 only with event, unless something was asked for by name.
    fn methods(&self, choice: &Choice<'_>, mpm: Option<Mpm>) -> &'static [Method] {
        match self.methods {
            [_, ..] if !choice.is_named() && choice.suite.is_none() && mpm != Some(Mpm::Event) => {
                &[Method::Kaserver]
            }
            all => all,
        }
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
    WorldSuite::mostly_event("logins"),
    WorldSuite::mostly_event("krb5"),
    WorldSuite::mostly_event("tickets"),
    WorldSuite::mostly_event("services"),
    WorldSuite { methods: &Method::ALL, ..WorldSuite::mostly_event("secrets") },
    WorldSuite::mostly_event("refusals"),
    WorldSuite::per_mpm("http"),
    WorldSuite::mostly_event("features"),
    WorldSuite::mostly_event("listings"),
    WorldSuite::mostly_event("conformance"),
    WorldSuite::mostly_event("require"),
    WorldSuite::mostly_event("writing"),
    WorldSuite::per_mpm("hostile"),
    WorldSuite::per_mpm("transport"),
    WorldSuite::without_worker("lifecycle"),
    WorldSuite::mostly_event("status"),
    WorldSuite::mostly_event("restarts"),
    WorldSuite::mostly_event("upgrade"),
    WorldSuite::mostly_event("release"),
    WorldSuite::mostly_event("leaks"),
    WorldSuite::mostly_event("availability"),
    WorldSuite::without_worker("stress"),
    WorldSuite::per_mpm("chaos"),
];

/// Size of the big file with `--long`: more than 32 bits can count.
const LONG_FILE: u64 = (4 << 30) + 4_096;

/// The client of worlds.
const USERSPACE: &str = "userspace";

/// The suite that tries the package, in a world that has nothing else of ours: package, test.
const PACKAGE: (&str, &str) = ("integration", "dist");

/// `cargo xtask test`.
pub(crate) fn main(args: Test) -> Result<ExitCode> {
    let started = Instant::now();
    let choice = Choice {
        long: args.long,
        suite: args.suite.as_deref().map(plan::subject).transpose()?,
        only: args.only.as_deref(),
        client: None,
        mpm: args.mpm.map(Into::into),
    };
    must_choose(&args, &choice)?;
    if let Some(results) = &args.results {
        beside::end_with_parent();
        let mut lines = Vec::new();
        Programs::build(&choice)?.run_under(Mpm::Event, &choice, &mut lines)?;
        beside::tell(results, &lines)?;
        return Ok(ExitCode::SUCCESS);
    }
    setup::need_room(workspace(), ROOM)?;
    if !args.unit {
        setup::need_root("the tests with real cells (or give --unit)")?;
        setup::ensure()?;
    }
    let in_guests = !args.unit && !args.no_vm && guest_suites::any(&choice);
    // What a release is tried with has the machine for itself.
    let beside = !args.unit && !choice.long && beside::is_possible()?;
    // OpenAFS's module alone takes minutes.
    let parts = (beside && in_guests).then(|| beside::Parts::begin(&choice));
    let mut lines = Vec::new();
    if args.only.is_none() && choice.suite.is_none() {
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
        of_root(&mut lines);
        deny(&mut lines);
    }
    if args.unit {
        skip(&mut lines, "worlds", "--unit was given");
    } else {
        alone(&choice, &mut lines);
        let programs = Programs::build(&choice)?;
        let event_beside = beside && programs.has_several_worlds(&choice);
        let mut event = None;
        if event_beside {
            if in_guests {
                guest_suites::build(&choice)?;
            }
            cell::build(Contents::CellsAndPrograms)?;
            // Most of what there is runs under event.
            event = Some(Beside::begin("event", &choice)?);
        }
        worlds(&choice, &programs, event_beside, &mut lines)?;
        if in_guests {
            // Ctrl-C ends this program, and the emulator with it.
            guest_suites::run(&choice, &Ender::default(), &mut lines)?;
        } else if args.no_vm {
            skip(&mut lines, "guests", "--no-vm was given");
        }
        if let Some(event) = event {
            event.wait(&mut lines)?;
        }
        if let Some(parts) = parts {
            parts.wait();
        }
        ratios(&choice, &mut lines);
        left_out(&args, &choice, &mut lines);
    }
    Ok(report::summary(&lines, choice.subjects(), started.elapsed()))
}

/// Fails where nothing would be run: a check that looks at nothing cannot fail.
fn must_choose(args: &Test, choice: &Choice<'_>) -> Result<()> {
    let worlds = SUITES.iter().map(|s| s.test).chain([PACKAGE.1]);
    let chosen = |test: &str| choice.tests_of(test).is_some();
    if worlds.clone().any(chosen) || (!args.no_vm && guest_suites::names().any(chosen)) {
        return Ok(());
    }
    let of_suite = |test: &&str| choice.suite.is_none_or(|suite| suite.tests_of(test).is_some());
    let mut names: Vec<&str> = worlds.chain(guest_suites::names()).filter(of_suite).collect();
    names.sort_unstable();
    names.dedup();
    let of = choice.suite.map(|suite| format!(" of the suite {}", suite.name)).unwrap_or_default();
    let only_guests = if guest_suites::names().any(chosen) { " without guests" } else { "" };
    bail!("nothing to run{of} is called so{only_guests}; there are: {}", names.join(", "));
}

/// The packages' own tests that a suite of the plan has.
fn alone(choice: &Choice<'_>, lines: &mut Vec<Line>) {
    // In the usual run they are among the unit tests.
    let Some(suite) = choice.suite.filter(|_| choice.only.is_none()) else { return };
    for (package, args) in suite.alone {
        let what = args.last().copied().unwrap_or_default().trim_start_matches('-');
        let args: Vec<&str> = ["test", "--package", package].iter().chain(*args).copied().collect();
        counted(lines, &format!("{package} {what}"), &args);
        if let Some(line) = lines.last_mut() {
            line.of =
                Some(Of { test: (*package).to_owned(), client: plan::NO_CLIENT.to_owned(), ..Of::default() });
        }
    }
}

/// What worlds need of what was chosen, built.
struct Programs {
    tests: Vec<(&'static WorldSuite, PathBuf)>,
    /// Another release.
    next: Option<PathBuf>,
}

impl Programs {
    fn build(choice: &Choice<'_>) -> Result<Self> {
        say("building the test programs");
        let mut tests = Vec::new();
        for suite in SUITES.iter().filter(|s| choice.tests_of(s.test).is_some() && !s.mpms(choice).is_empty())
        {
            tests.push((suite, suites::build(suite.package, suite.test)?));
        }
        let is_next = tests.iter().any(|(suite, _)| suite.test == suites::NEXT);
        Ok(Self { tests, next: is_next.then(cell::build_next).transpose()? })
    }

    /// What runs in the world of an MPM, or in that of none.
    fn suites(&self, mpm: Option<Mpm>, choice: &Choice<'_>) -> Vec<Suite> {
        let of_mpm = self.tests.iter().filter(|(suite, _)| suite.mpms(choice).contains(&mpm));
        of_mpm
            .flat_map(|(suite, program)| in_all_ways(suite, program, mpm, choice, self.next.as_deref()))
            .collect()
    }

    /// Whether there is that of event, and another one.
    fn has_several_worlds(&self, choice: &Choice<'_>) -> bool {
        let has = |mpm| !self.suites(mpm, choice).is_empty();
        has(Some(Mpm::Event)) && (has(None) || has(Some(Mpm::Prefork)) || has(Some(Mpm::Worker)))
    }

    fn run_under(&self, mpm: Mpm, choice: &Choice<'_>, lines: &mut Vec<Line>) -> Result<()> {
        // One MPM is enough for it: what reads files is the same in all.
        let is_big = choice.long && mpm == Mpm::Event && choice.tests_of("http").is_some();
        let big = is_big.then_some(LONG_FILE);
        let suites = self.suites(Some(mpm), choice);
        run_in_world(mpm.as_str(), Contents::CellsAndPrograms, big, &suites, lines)
    }
}

/// What runs in worlds; `without_event`: except for what runs under event.
fn worlds(
    choice: &Choice<'_>,
    programs: &Programs,
    without_event: bool,
    lines: &mut Vec<Line>,
) -> Result<()> {
    run_in_world("plain", Contents::CellsAndPrograms, None, &programs.suites(None, choice), lines)?;
    if choice.tests_of(PACKAGE.1).is_some() {
        package(choice, lines)?;
    }
    for mpm in Mpm::ALL.into_iter().filter(|mpm| !without_event || *mpm != Mpm::Event) {
        programs.run_under(mpm, choice, lines)?;
    }
    Ok(())
}

/// Says what was not run though it was asked for, or belongs to everything that there is.
fn left_out(args: &Test, choice: &Choice<'_>, lines: &mut Vec<Line>) {
    if let Some(mpm) = choice.mpm {
        skip(lines, "other MPMs", &format!("only {mpm} was asked for"));
    }
    let mut out: Vec<(&str, String)> = Vec::new();
    for row in SUITES.iter().filter(|row| choice.tests_of(row.test).is_some() && row.per_mpm) {
        if choice.is_named() || choice.suite.is_some() {
            break;
        }
        let others: Vec<Mpm> = Mpm::ALL.into_iter().filter(|m| !row.usual.contains(m)).collect();
        out.extend(plan::ways("userspace", &others).map(|ways| (row.test, ways)));
        if row.methods.len() > 1 {
            out.push((row.test, "userspace; prefork, worker; by krb5".to_owned()));
        }
    }
    if !args.no_vm {
        out.extend(guest_suites::left_out(choice));
    }
    let how = if choice.suite.is_some() { "--only, --mpm, --long" } else { "--suite, --only, --mpm, --long" };
    while let Some((_, ways)) = out.first().cloned() {
        let tests: Vec<&str> = out.iter().filter(|(_, w)| *w == ways).map(|(test, _)| *test).collect();
        skip(lines, &format!("not usual: [{ways}]"), &format!("{} (run with {how})", tests.join(", ")));
        out.retain(|(_, w)| *w != ways);
    }
    if !choice.long {
        skip(
            lines,
            "volumes of a release",
            "only with --long: 1,000 killed children, 200 brokers, 50 nannies per MPM, a file of 4 GiB",
        );
    }
}

/// A suite with one MPM, by each of its methods.
fn in_all_ways(
    suite: &WorldSuite,
    program: &Path,
    mpm: Option<Mpm>,
    choice: &Choice<'_>,
    next: Option<&Path>,
) -> Vec<Suite> {
    let limit = if choice.long { LONG_SUITE_LIMIT } else { SUITE_LIMIT };
    let filters = choice.tests_of(suite.test).unwrap_or_default();
    let one = |way: Way| {
        let mut made = Suite::new(suite.test, program, way, filters, choice.long);
        if suite.test == suites::NEXT {
            made.env.extend(next.map(suites::next_at));
        }
        if mpm.is_none() {
            made.name = format!("{} {}", suite.package, suite.test);
        }
        if suite.test == "libafsauthent" {
            // Its tests wait for silent servers, and share nothing.
            made.args.retain(|arg| arg != suites::ONE_BY_ONE);
            made.args.push("--test-threads=2".to_owned());
        }
        Suite { limit_s: limit.as_secs(), ..made }
    };
    Way::all(USERSPACE, &[mpm], suite.methods(choice, mpm)).into_iter().map(one).collect()
}

/// With `--suite performance --long`: what takes how much longer than something that a reader knows.
fn ratios(choice: &Choice<'_>, lines: &mut Vec<Line>) {
    let of_suite = choice.suite.is_some_and(Subject::has_ratios);
    if of_suite && choice.long && choice.only.is_none() {
        cargo(
            lines,
            "bench",
            &["run", "--release", "--quiet", "--package", "xtask", "--", "bench", "--strict"],
            &[],
        );
    } else if of_suite {
        skip(lines, "bench", "the ratios of `cargo xtask bench` come with --long");
    }
}

/// Builds the package and tries it on a stock Debian Apache.
fn package(choice: &Choice<'_>, lines: &mut Vec<Line>) -> Result<()> {
    let mut made = None;
    lines.push(step("package", || {
        made = Some(dist::run(workspace(), &cell::target_dir()?)?);
        Ok(())
    }));
    let Some(made) = made else { return Ok(()) };
    let (package, test) = PACKAGE;
    let limit = if choice.long { LONG_SUITE_LIMIT } else { SUITE_LIMIT };
    let way = Way { client: USERSPACE, mpm: None, method: None };
    let mut suite = Suite::new(test, &suites::build(package, test)?, way, &[], choice.long);
    suite.name = format!("{package} {test}");
    suite.env.push(("AFSWEB_DEB".into(), made.deb.display().to_string()));
    suite.limit_s = limit.as_secs();
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
    let mut tests = Vec::new();
    let mut why = Vec::new();
    let mut line = step(name, || {
        let mut command = cargo_command();
        command.args(args).current_dir(workspace());
        let (ok, output) = tee(&mut command)?;
        counts = count(&output);
        tests = single(&output);
        why = suites::why(&output);
        if !ok {
            bail!("cargo {} failed", args.join(" "));
        }
        Ok(())
    });
    line.counts = counts;
    line.tests = tests;
    line.why.extend(why);
    lines.push(line);
}

/// Says which unit tests have passed without looking at anything, since this is not root.
fn of_root(lines: &mut Vec<Line>) {
    if rustix::process::geteuid().is_root() {
        return;
    }
    let names: Vec<&str> = OF_ROOT.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    let why = format!("they return at once, and count as passed above: {}", names.join(", "));
    skip(lines, "unit tests that need root", &why);
}

fn deny(lines: &mut Vec<Line>) {
    let there = cargo_command().args(["deny", "--version"]).output().is_ok_and(|o| o.status.success());
    if there {
        cargo(lines, "deny", &["deny", "--offline", "check", "licenses", "bans", "sources"], &[]);
    } else {
        skip(lines, "deny", "cargo-deny is not installed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// These prove the harness, or the package as a whole.
    const OUTSIDE: [&str; 3] = ["libafsauthent", "realm", "dist"];

    #[test]
    fn each_program_is_part_of_a_suite_of_the_plan() {
        let all = SUITES.iter().map(|s| s.test).chain([PACKAGE.1]).chain(guest_suites::names());
        let homeless: Vec<&str> = all
            .filter(|test| !OUTSIDE.contains(test))
            .filter(|test| plan::SUBJECTS.iter().all(|s| s.tests_of(test).is_none()))
            .collect();
        assert_eq!(homeless, Vec::<&str>::new(), "to be named in xtask/src/plan.rs");
    }

    #[test]
    fn the_page_has_each_program_once_and_says_which_run_in_guests() {
        let page = include_str!("../../docs/testing.md");
        let rows = page.lines().skip_while(|l| !l.starts_with("| suite | world |")).skip(2);
        let rows = rows.take_while(|l| l.starts_with('|')).map(|l| {
            let cells: Vec<&str> = l.split('|').map(str::trim).collect();
            let name = cells[1].split('`').nth(1).expect("a name");
            (name, cells[2].contains("guest"))
        });
        let mut said: Vec<(&str, bool)> = rows.collect();
        said.sort_unstable();
        let in_guests: BTreeSet<&str> = guest_suites::names().collect();
        let all = SUITES.iter().map(|s| s.test).chain([PACKAGE.1]).chain(guest_suites::names());
        let all: BTreeSet<&str> = all.collect();
        let all: Vec<(&str, bool)> = all.into_iter().map(|name| (name, in_guests.contains(name))).collect();
        assert_eq!(said, all);
    }

    #[test]
    fn the_unit_tests_that_need_root_are_those_that_return_without_it() {
        let returns = "if !rustix::process::geteuid().is_root()";
        for (file, names) in OF_ROOT {
            let text = std::fs::read_to_string(workspace().join(file)).unwrap();
            let all = text.split("#[test]\n").skip(1).filter(|test| test.contains(returns));
            let found: Vec<&str> = all
                .map(|test| test.trim_start().trim_start_matches("fn ").split('(').next().unwrap())
                .collect();
            assert_eq!(&found, names, "{file}");
        }
    }

    #[test]
    fn a_name_that_nothing_has_is_refused_with_those_that_there_are() {
        let args = |no_vm| Test { no_vm, ..Test::default() };
        let only = |name| Choice { only: Some(name), ..Choice::default() };
        let said = must_choose(&args(false), &only("nothing")).unwrap_err().to_string();
        assert!(said.contains("kernel_live") && said.contains("chaos"), "{said}");
        assert!(must_choose(&args(false), &only("kernel_l")).is_ok());
        assert!(must_choose(&args(true), &only("kernel_l")).is_err(), "it would need a guest");
    }

    #[test]
    fn the_usual_run_has_each_program_at_least_once_and_a_named_one_has_it_under_all_mpms() {
        let usual = Choice::default();
        let named = Choice { suite: Some(plan::subject("cache").unwrap()), ..Choice::default() };
        for row in SUITES {
            assert!(!row.mpms(&usual).is_empty(), "{}", row.test);
            assert_eq!(row.mpms(&named).len(), if row.per_mpm { 3 } else { 1 }, "{}", row.test);
        }
    }
}
