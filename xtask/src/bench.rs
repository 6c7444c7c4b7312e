//! `cargo xtask bench`: ratios, both sides measured in turn in one run.
//!
//! A row compares us with something that a reader knows. The unit of both sides is the same; `ratio` is ours divided by theirs.

use crate::cell::{self, workspace};
use crate::{say, setup};
use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use integration::crowd::{self, Person};
use integration::far::{FarKaserver, FarKdc};
use integration::http::{self, Request};
use integration::httpd::{Httpd, Mpm, Options};
use integration::kdc::Kdc;
use integration::lane_pair::{BarePair, LanePair, OneProcessor};
use integration::login_pair::{BareLogin, BrokerLogin, Method};
use integration::namespace::Contents;
use integration::world::{FIRST_CELL, FIRST_REALM, SECOND_CELL, World};
use serde::Serialize;
use std::cell::RefCell;
use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// Rounds of a row; each has both sides, the order changes from round to round.
const ROUNDS: usize = 5;
/// Rounds of logins, which are short and feel whatever else the machine does.
const LOGIN_ROUNDS: usize = 15;
/// Rounds of crowds.
const CROWD_ROUNDS: usize = 5;
/// Users of a crowd.
const CROWD: usize = 200;
/// How much later servers answer that are far away.
const FAR: Duration = Duration::from_millis(20);

/// The rows.
const GETS: [&str; 4] = [
    "GET 4 KiB, logged in and cached / plain httpd, local file",
    "GET 4 KiB, logged in and cached / local file, htpasswd (SHA-1)",
    "GET 1 MiB, logged in and cached / plain httpd, local file",
    "GET 1 MiB, logged in and cached / local file, htpasswd (SHA-1)",
];
const SILENT: &str = "login to cell B while cell A is silent / while it answers";
const LANE: &str = "token over a lane, p50 / bare locked pipes, same sizes";
const KASERVER_LOGIN: &str = "kaserver login by the broker, proved / bare calls, not proved";
const KRB5_LOGIN: &str = "krb5 login by the broker, proved / bare calls, not proved";
const CROWDS: [&str; 4] = [
    "200 users at once / one after the other, kaserver",
    "200 users at once / one after the other, krb5",
    "200 users at once / one after the other, kaserver 20 ms away",
    "200 users at once / one after the other, krb5, KDC 20 ms away",
];
const START: &str = "start of httpd to its first answer, with us / without";
const OTHERS: [&str; 5] = [SILENT, LANE, KASERVER_LOGIN, KRB5_LOGIN, START];

/// What is in the two sides of the rows that their names do not say all of.
const ABOUT: [(&str, &str); 2] = [
    (
        KASERVER_LOGIN,
        "ours: lane, broker, a process started ahead: key of the password, ka_Authenticate, ka_GetToken, proof at the \
         protection server; theirs: a process started ahead: key of the password, ka_Authenticate, ka_GetToken",
    ),
    (
        KRB5_LOGIN,
        "ours: lane, broker, a process started ahead: ticket-granting ticket by password, afs ticket, proof at the \
         protection server; theirs: a process started ahead: ticket-granting ticket by password, afs ticket",
    ),
];

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// One JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
    /// Only rows whose name contains this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// A goal that is missed is a failure.
    #[arg(long)]
    strict: bool,
}

impl Bench {
    /// The same as arguments.
    fn words(&self) -> Vec<OsString> {
        let flags = [(self.json, "--json"), (self.strict, "--strict")];
        let mut words: Vec<OsString> = flags.iter().filter(|(set, _)| *set).map(|(_, w)| w.into()).collect();
        words.extend(self.only.iter().flat_map(|only| ["--only".into(), only.into()]));
        words
    }
}

/// Which way is better.
#[derive(Debug, Clone, Copy)]
enum Goal {
    /// Ours at least so many times theirs (rates).
    AtLeast(f64),
    /// Ours at most so many times theirs (times).
    AtMost(f64),
    /// No goal was set.
    None,
}

/// One comparison.
#[derive(Debug, Serialize)]
struct Row {
    row: &'static str,
    ours: f64,
    theirs: f64,
    unit: &'static str,
    ratio: f64,
    /// Least and largest ratio of a round.
    spread: [f64; 2],
    goal: String,
    met: Option<bool>,
    rounds: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    about: Option<&'static str>,
}

/// `cargo xtask bench`.
pub(crate) fn main(args: &Bench) -> Result<ExitCode> {
    setup::need_root("the bench (it needs real cells)")?;
    let me = std::env::current_exe().context("path of this program")?;
    if cfg!(debug_assertions) {
        say("building for release");
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command
            .args(["run", "--release", "--quiet", "--package", "xtask", "--", "bench"])
            .args(args.words())
            .current_dir(workspace());
        let status = command.status().context("cargo run --release")?;
        return Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let launcher = cell::prepare(Contents::CellsAndPrograms, "bench")?;
    let mut command: Vec<OsString> = vec![me.into(), "bench-inside".into()];
    command.extend(args.words());
    Ok(ExitCode::from(launcher.run(&command)?))
}

/// The part of the bench that runs inside the world.
pub(crate) fn inside(args: &Bench) -> Result<ExitCode> {
    let world = World::here()?;
    if !args.json {
        println!(
            "{:<66} {:>10} {:>10} {:<8} {:>6} {:>14}  goal",
            "row (median of rounds)", "ours", "theirs", "unit", "ratio", "(of rounds)"
        );
    }
    let wanted = |name: &str| args.only.as_ref().is_none_or(|o| name.contains(o.as_str()));
    let missed = RefCell::new(Vec::new());
    let report = |row: &Row| -> Result<()> {
        if row.met == Some(false) {
            missed.borrow_mut().push(row.row);
        }
        if args.json {
            println!("{}", serde_json::to_string(row)?);
        } else {
            let met = row.met.map_or("", |m| if m { "met" } else { "MISSED" });
            let [least, most] = row.spread;
            println!(
                "{:<66} {:>10.1} {:>10.1} {:<8} {:>6.2} {:>14}  {} {met}",
                row.row,
                row.ours,
                row.theirs,
                row.unit,
                row.ratio,
                format!("({least:.2}-{most:.2})"),
                row.goal
            );
            for half in row.about.iter().flat_map(|about| about.split("; ")) {
                println!("    {half}");
            }
        }
        Ok(())
    };
    if let Some(only) =
        args.only.as_ref().filter(|_| !GETS.iter().chain(&OTHERS).chain(&CROWDS).any(|row| wanted(row)))
    {
        bail!("no row's name contains {only:?}");
    }
    if GETS.iter().any(|row| wanted(row)) {
        gets(&world, &wanted, &report)?;
    }
    if wanted(SILENT) {
        silent(&world, &report)?;
    }
    if wanted(LANE) {
        lanes(&report)?;
    }
    for (row, method, goal) in
        [(KASERVER_LOGIN, Method::Kaserver, Goal::AtMost(2.0)), (KRB5_LOGIN, Method::Krb5, Goal::AtMost(1.5))]
    {
        if wanted(row) {
            logins(&world, row, method, goal, &report)?;
        }
    }
    if CROWDS.iter().any(|row| wanted(row)) {
        crowds(&world, &wanted, &report)?;
    }
    if wanted(START) {
        starts(&world, &report)?;
    }
    let missed = missed.into_inner();
    if args.strict && !missed.is_empty() {
        bail!("goals that were missed: {}", missed.join("; "));
    }
    Ok(ExitCode::SUCCESS)
}

/// Measures both sides in turn and makes a row of the medians.
fn compare(
    row: &'static str,
    unit: &'static str,
    goal: Goal,
    ours: impl FnMut() -> Result<f64>,
    theirs: impl FnMut() -> Result<f64>,
) -> Result<Row> {
    compare_often(ROUNDS, row, unit, goal, ours, theirs)
}

/// As [`compare`], in so many rounds.
fn compare_often(
    rounds: usize,
    row: &'static str,
    unit: &'static str,
    goal: Goal,
    mut ours: impl FnMut() -> Result<f64>,
    mut theirs: impl FnMut() -> Result<f64>,
) -> Result<Row> {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        if round % 2 == 0 {
            a.push(ours()?);
            b.push(theirs()?);
        } else {
            b.push(theirs()?);
            a.push(ours()?);
        }
    }
    // The ratio of each round, since load from elsewhere meets both sides of a round alike.
    let ratios: Vec<f64> = a.iter().zip(&b).map(|(x, y)| x / y).collect();
    let spread =
        [ratios.iter().copied().fold(f64::NAN, f64::min), ratios.iter().copied().fold(f64::NAN, f64::max)];
    let ratio = median(ratios);
    let (goal, met) = match goal {
        Goal::AtLeast(g) => (format!(">= {g}"), Some(ratio >= g)),
        Goal::AtMost(g) => (format!("<= {g}"), Some(ratio <= g)),
        Goal::None => (String::new(), None),
    };
    let about = ABOUT.iter().find(|(name, _)| *name == row).map(|(_, about)| *about);
    Ok(Row { row, ours: median(a), theirs: median(b), unit, ratio, spread, goal, met, rounds, about })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The module's configuration: both cells, and beside them local files without and with a password.
fn options(world: &World) -> Result<Options> {
    let mut options = Options::new(Mpm::Event);
    options.log_level = "warn".into();
    let local = Path::new("/srv/bench").to_owned();
    fs::create_dir_all(&local)?;
    // As for the local files: httpd looks for no .htaccess.
    options.afs =
        Some(integration::httpd::standard(world, &local)?.replace("AllowOverride All", "AllowOverride None"));
    for (name, size) in [("4k.bin", 4 << 10), ("1m.bin", 1 << 20)] {
        fs::write(local.join(name), integration::content::pattern(0, size))?;
    }
    let htpasswd = local.join("htpasswd");
    let alice = world.cell(FIRST_CELL)?.user("alice")?;
    let out =
        Command::new("htpasswd").args(["-cbs"]).arg(&htpasswd).args(["alice", &alice.password]).output()?;
    ensure!(out.status.success(), "htpasswd: {}", String::from_utf8_lossy(&out.stderr));
    options.extra = format!(
        "Alias /local {0}\nAlias /basic {0}\n<Directory {0}>\nRequire all granted\nOptions FollowSymLinks\n</Directory>\n\
         <Location /basic>\nAuthType Basic\nAuthName x\nAuthUserFile {1}\nRequire valid-user\n</Location>\n",
        local.display(),
        htpasswd.display()
    );
    Ok(options)
}

/// Requests per second that `ab` gets on kept connections.
fn rate(at: SocketAddr, path: &str, login: Option<&str>, requests: u32) -> Result<f64> {
    let mut command = Command::new("ab");
    command.args(["-q", "-k", "-c", "8", "-n", &requests.to_string()]);
    if let Some(login) = login {
        command.args(["-A", login]);
    }
    let out = command.arg(format!("http://{at}{path}")).output().context("ab")?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let field = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).map(str::trim);
    ensure!(field("Failed requests:") == Some("0") && field("Non-2xx responses:").is_none(), "ab: {text}");
    let value =
        field("Requests per second:").and_then(|v| v.split_whitespace().next()).context("ab says no rate")?;
    Ok(value.parse()?)
}

type Report<'a> = &'a dyn Fn(&Row) -> Result<()>;

fn gets(world: &World, wanted: &dyn Fn(&str) -> bool, report: Report<'_>) -> Result<()> {
    let httpd = Httpd::start(world, options(world)?)?;
    let at = httpd.address();
    let alice = world.cell(FIRST_CELL)?.user("alice")?;
    let login = format!("alice:{}", alice.password);
    let afs = |name: &str| format!("/afs/{FIRST_CELL}/alice-sizes/{name}");
    let [small_plain, small_basic, large_plain, large_basic] = GETS;
    for (name, requests, rows) in
        [("4k.bin", 20_000, [small_plain, small_basic]), ("1m.bin", 1_500, [large_plain, large_basic])]
    {
        if !rows.iter().any(|row| wanted(row)) {
            continue;
        }
        // Fills caches on both sides; and what comes is what was asked for.
        for path in [afs(name), format!("/local/{name}"), format!("/basic/{name}")] {
            let r = http::request(at, &Request::get(&path).login("alice", &alice.password))?;
            ensure!(
                r.status == 200 && r.body == integration::content::pattern(0, r.body.len()),
                "{path}: {}",
                r.status
            );
            rate(at, &path, Some(&login), requests / 4)?;
        }
        let [plain, basic] = rows;
        let goal = if name == "4k.bin" {
            [Goal::AtLeast(1.0), Goal::AtLeast(1.0)]
        } else {
            [Goal::AtLeast(0.9), Goal::None]
        };
        let [plain_goal, basic_goal] = goal;
        if wanted(plain) {
            report(&compare(
                plain,
                "req/s",
                plain_goal,
                || rate(at, &afs(name), Some(&login), requests),
                || rate(at, &format!("/local/{name}"), None, requests),
            )?)?;
        }
        if wanted(basic) {
            report(&compare(
                basic,
                "req/s",
                basic_goal,
                || rate(at, &afs(name), Some(&login), requests),
                || rate(at, &format!("/basic/{name}"), Some(&login), requests),
            )?)?;
        }
    }
    httpd.stop(&[])?;
    Ok(())
}

/// Time of a login to the second cell while the first cell's KDC is silent and asked by many, and while it is not.
fn silent(world: &World, report: Report<'_>) -> Result<()> {
    let mut options = options(world)?;
    options.extra.push_str("SetAFSCacheExpiration 1\nSetAFSLoginLimit 1000 10000 60\n");
    let httpd = Httpd::start(world, options)?;
    let at = httpd.address();
    let kdc = Kdc::of(world.realm(FIRST_REALM)?);
    let zoe = &world.cell(SECOND_CELL)?.user("zoe")?.password;
    let name = format!("zoe@{SECOND_CELL}");
    let path = format!("/afs/{SECOND_CELL}/{}", integration::content::owner_file("zoe"));
    let login = || -> Result<f64> {
        // What is remembered lasts for a second.
        std::thread::sleep(Duration::from_millis(1_200));
        let (r, took) = http::timed(at, &Request::get(&path).login(&name, zoe))?;
        ensure!(r.status == 200, "login to the second cell: {}", r.status);
        Ok(took.as_secs_f64() * 1e3)
    };
    let beside_silence = || -> Result<f64> {
        kdc.pause()?;
        std::thread::scope(|s| {
            for i in 0..16 {
                s.spawn(move || {
                    let path = format!("/afs/{FIRST_CELL}/auth/page.html");
                    http::request(at, &Request::get(&path).login("bob", &format!("guess {i}")))
                });
            }
            let took = login();
            kdc.resume().and(took)
        })
    };
    report(&compare(SILENT, "ms", Goal::None, beside_silence, login)?)?;
    httpd.stop(&[])?;
    Ok(())
}

fn lanes(report: Report<'_>) -> Result<()> {
    let _one = OneProcessor::take()?;
    let (lane, bare) = (LanePair::start()?, BarePair::start()?);
    let p50 = |f: &dyn Fn() -> Result<Duration>| -> Result<f64> {
        let mut times: Vec<Duration> = (0..5_000).map(|_| f()).collect::<Result<_>>()?;
        times.sort_unstable();
        Ok(times.get(times.len() / 2).context("no times")?.as_secs_f64() * 1e6)
    };
    report(&compare(LANE, "us", Goal::AtMost(2.0), || p50(&|| lane.exchange()), || p50(&|| bare.exchange()))?)
}

fn logins(world: &World, row: &'static str, method: Method, goal: Goal, report: Report<'_>) -> Result<()> {
    let cell = world.cell(FIRST_CELL)?;
    let mut ours = BrokerLogin::start(world, method)?;
    let mut theirs = BareLogin::start(world, method)?;
    let users: Vec<(&str, &str)> =
        ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan"]
            .iter()
            .map(|u| Ok((*u, cell.user(u)?.password.as_str())))
            .collect::<Result<_>>()?;
    let each = |f: &mut dyn FnMut(&str, &str) -> Result<Duration>| -> Result<f64> {
        let times: Vec<f64> =
            users.iter().map(|(u, p)| Ok(f(u, p)?.as_secs_f64() * 1e3)).collect::<Result<_>>()?;
        Ok(median(times))
    };
    report(&compare_often(
        LOGIN_ROUNDS,
        row,
        "ms",
        goal,
        || each(&mut |u, p| ours.login(FIRST_CELL, u, p)),
        || each(&mut |u, p| theirs.login(FIRST_CELL, u, p)),
    )?)
}

fn crowds(world: &World, wanted: &dyn Fn(&str) -> bool, report: Report<'_>) -> Result<()> {
    let cell = world.cell(FIRST_CELL)?;
    let people = crowd::make(world, FIRST_CELL, CROWD)?;
    let [kaserver, krb5, far_kaserver, far_krb5] = CROWDS;
    // What is here already is bounded by the processors: one after the other, they work as well, at replacements.
    let (here, far) = (Goal::None, Goal::AtLeast(4.0));
    for (row, method, goal) in [(kaserver, Method::Kaserver, here), (krb5, Method::Krb5, here)] {
        if wanted(row) {
            throngs(world, row, method, goal, &people, report)?;
        }
    }
    if wanted(far_kaserver) {
        let _far = FarKaserver::new(cell, FAR)?;
        throngs(world, far_kaserver, Method::Kaserver, far, &people, report)?;
    }
    if wanted(far_krb5) {
        let _far = FarKdc::new(world, cell, FAR)?;
        throngs(world, far_krb5, Method::Krb5, far, &people, report)?;
    }
    Ok(())
}

/// Logins per second of a crowd that comes at once, and of some of it who come one after the other.
fn throngs(
    world: &World,
    row: &'static str,
    method: Method,
    goal: Goal,
    people: &[Person],
    report: Report<'_>,
) -> Result<()> {
    let broker = RefCell::new(BrokerLogin::start(world, method)?);
    let rate = |people: &[Person], took: Duration| {
        f64::from(u32::try_from(people.len()).unwrap_or(u32::MAX)) / took.as_secs_f64()
    };
    let some = people.get(..CROWD / 4).unwrap_or(people);
    report(&compare_often(
        CROWD_ROUNDS,
        row,
        "logins/s",
        goal,
        || Ok(rate(people, broker.borrow_mut().all_at_once(FIRST_CELL, people)?)),
        || Ok(rate(some, broker.borrow_mut().one_by_one(FIRST_CELL, some)?)),
    )?)
}

fn starts(world: &World, report: Report<'_>) -> Result<()> {
    let start = |with: bool| -> Result<f64> {
        let mut options = options(world)?;
        options.module = with;
        let begin = Instant::now();
        let httpd = Httpd::start(world, options)?;
        let r = http::request(httpd.address(), &Request::get("/index.html"))?;
        let took = begin.elapsed();
        ensure!(r.status == 200, "httpd with our module: {with}: {}", r.status);
        httpd.stop(&[])?;
        Ok(took.as_secs_f64() * 1e3)
    };
    report(&compare(START, "ms", Goal::None, || start(true), || start(false))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_the_median_of_the_rounds() {
        let mut n = 0.0;
        let row = compare(
            "x",
            "ms",
            Goal::AtMost(2.5),
            || {
                n += 1.0;
                Ok(n * 2.0)
            },
            || Ok(2.0),
        )
        .unwrap();
        assert!((row.ratio - 3.0).abs() < 1e-9 && row.met == Some(false), "{row:?}");
    }

    #[test]
    fn a_rate_that_cannot_be_read_is_an_error() {
        assert!(rate(SocketAddr::from(([127, 0, 0, 1], 1)), "/", None, 1).is_err());
    }
}
