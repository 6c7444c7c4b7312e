//! `cargo xtask demo`: two cells, Apache and a URL for a browser; `--check` asks everything in its table by itself.

use crate::cell::{self, MpmArg};
use crate::say;
use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use integration::content::{PUBLIC_LINE, owner_file, owner_line};
use integration::http::{self, Request};
use integration::namespace::Contents;
use integration::process;
use integration::wait;
use integration::world::{FIRST_CELL, SECOND_CELL, World};
use rustix::process::Signal;
use std::ffi::OsString;
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Time for world and httpd to come up; the build is not part of it.
const READY_LIMIT: Duration = Duration::from_secs(180);
/// A killed broker or nanny must be replaced, and visitors served, within this time.
const RECOVERY_LIMIT: Duration = Duration::from_secs(30);
/// How long the answer to a refused login is remembered, and a little more.
const REMEMBERED: Duration = Duration::from_secs(6);

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Ask everything in the table, print expected and seen, exit 0 only if all agree.
    #[arg(long)]
    check: bool,
    /// How httpd runs its workers.
    #[arg(long, value_enum, default_value = "event")]
    mpm: MpmArg,
    /// Port on 127.0.0.1 for the browser; 0 = any free one.
    #[arg(long, default_value_t = 8080)]
    port: u16,
}

/// `cargo xtask demo`.
pub(crate) fn main(args: Demo) -> Result<ExitCode> {
    let launcher = cell::prepare(Contents::CellsAndHttpd(args.mpm.into()), "demo")?;
    let me = std::env::current_exe().context("path of this program")?;
    let what = if args.check { "check" } else { "show" };
    let command: Vec<OsString> = vec![me.into(), "demo-inside".into(), what.into()];
    say(
        "starting two AFS cells and Apache in a private network; the host's own files and ports are not touched",
    );
    let mut running = launcher.spawn(&command)?;
    cell::end_on_interrupt(&running)?;
    let world = running.wait_ready(READY_LIMIT)?;
    let target = world.httpd.context("httpd did not start")?;
    let port = if args.check { 0 } else { args.port };
    let bridge = running
        .bridge(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), target)
        .with_context(|| format!("port {port} on 127.0.0.1 (another one: --port)"))?;
    let url = format!("http://{}", bridge.address());
    if args.check {
        let r =
            http::request(bridge.address(), &Request::get(&format!("/afs/{FIRST_CELL}/public/page.html")))?;
        let seen = format!("{}{}", r.status, if r.text().starts_with(PUBLIC_LINE) { " public" } else { "" });
        let agrees = row("a browser on 127.0.0.1 reaches it", "200 public", &seen);
        let code = running.wait()?;
        ensure!(agrees && code == 0, "not every answer was the expected one");
        println!(
            "demo --check [{}]: every answer was the expected one",
            integration::httpd::Mpm::from(args.mpm)
        );
        return Ok(ExitCode::SUCCESS);
    }
    invite(&world, &url)?;
    Ok(ExitCode::from(running.wait()?))
}

/// What a newcomer can try.
fn invite(world: &World, url: &str) -> Result<()> {
    let alice = world.cell(FIRST_CELL)?.user("alice")?;
    let own = owner_file("alice");
    println!("\nOpen in your browser:\n");
    println!("  {url}/afs/{FIRST_CELL}/                      everybody may read this");
    println!("  {url}/afs/{FIRST_CELL}/{own}   only alice may\n");
    println!("Accounts (user, password):\n");
    for cell in &world.cells {
        for user in &cell.users {
            println!("  {:<24} {}", format!("{}@{}", user.name, cell.name), user.password);
        }
    }
    println!("\nOr by hand:\n");
    println!("  curl -i {url}/afs/{FIRST_CELL}/public/page.html");
    println!("  curl -i {url}/afs/{FIRST_CELL}/{own}");
    println!("  curl -i -u 'alice:{}' {url}/afs/{FIRST_CELL}/{own}", alice.password);
    println!("  curl -i -u 'zoe@{SECOND_CELL}:zoe'\\''s pass' {url}/afs/{SECOND_CELL}/{}", owner_file("zoe"));
    println!("\nCtrl-C ends all of it. What happens:\n");
    Ok(())
}

/// `cargo xtask demo-inside show|check`: the part of the demo that runs inside the world.
pub(crate) fn inside(what: &str) -> Result<ExitCode> {
    let world = World::here()?;
    match what {
        "check" => check(&world),
        "show" => show(&world),
        _ => bail!("demo-inside show|check"),
    }
}

/// Follows httpd's logs until it is ended.
fn show(world: &World) -> Result<ExitCode> {
    let dir = httpd_dir(world)?;
    let mut logs: Vec<(PathBuf, u64)> = Vec::new();
    for name in ["access.log", "error.log", "afs-access.log"] {
        let file = dir.join(name);
        let end = fs::metadata(&file).map_or(0, |m| m.len());
        logs.push((file, end));
    }
    loop {
        for (file, at) in &mut logs {
            let Ok(mut f) = fs::File::open(&*file) else { continue };
            f.seek(SeekFrom::Start(*at))?;
            let mut bytes = Vec::new();
            let n = f.take(1 << 20).read_to_end(&mut bytes)?;
            *at += u64::try_from(n)?;
            print!("{}", String::from_utf8_lossy(&bytes));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The directory of the harness's httpd.
fn httpd_dir(world: &World) -> Result<PathBuf> {
    fs::read_dir(world.results.join("httpd"))?
        .filter_map(|e| Some(e.ok()?.path()))
        .max_by_key(|p| fs::metadata(p).and_then(|m| m.modified()).ok())
        .context("no httpd in this world")
}

/// Prints a row; whether both agree.
fn row(what: &str, expected: &str, seen: &str) -> bool {
    let agree = expected == seen;
    println!("{} {what:<52} expected {expected:<20} seen {seen}", if agree { "ok  " } else { "FAIL" });
    agree
}

/// What a visitor sees, in short: the status, and whose body it is.
fn ask(at: SocketAddr, path: &str, login: Option<(&str, &str)>) -> Result<String> {
    let mut request = Request::get(path);
    if let Some((user, password)) = login {
        request = request.login(user, password);
    }
    let (r, took) = http::timed(at, &request)?;
    ensure!(took < Duration::from_secs(60), "an answer took {took:?}");
    let text = r.text();
    let whose = text
        .lines()
        .next()
        .and_then(|l| l.strip_prefix("owner: "))
        .map(|o| format!(" {o}"))
        .unwrap_or_default();
    Ok(format!("{}{whose}", r.status))
}

/// The table of the demo.
fn check(world: &World) -> Result<ExitCode> {
    let at = world.httpd.context("no httpd in this world")?;
    let first = world.cell(FIRST_CELL)?;
    let alice = ("alice", first.user("alice")?.password.as_str());
    let bob = ("bob", first.user("bob")?.password.as_str());
    let zoe_name = format!("zoe@{SECOND_CELL}");
    let zoe = (zoe_name.as_str(), world.cell(SECOND_CELL)?.user("zoe")?.password.as_str());
    let private = format!("/afs/{FIRST_CELL}/{}", owner_file("alice"));
    let public = format!("/afs/{FIRST_CELL}/public/page.html");
    let of = |user: &str, cell: &str| {
        format!("200 {}", owner_line(user, cell).trim_end().strip_prefix("owner: ").unwrap_or_default())
    };
    let mut agree = true;
    let mut say_row = |what: &str, expected: &str, seen: Result<String>| {
        agree &= row(what, expected, &seen.unwrap_or_else(|e| format!("{e:#}")));
    };
    say_row("public page, nobody logged in", "200 public", ask(at, &public, None));
    say_row("alice's page, nobody logged in", "401", ask(at, &private, None));
    say_row("alice's page as alice", &of("alice", FIRST_CELL), ask(at, &private, Some(alice)));
    say_row("alice's page as bob", "403", ask(at, &private, Some(bob)));
    say_row("alice's page, wrong password", "401", ask(at, &private, Some(("alice", "not this"))));
    say_row("alice's page, unknown user", "401", ask(at, &private, Some(("nobody-here", "x"))));
    let zoes = format!("/afs/{SECOND_CELL}/{}", owner_file("zoe"));
    say_row(
        "zoe's page in the other cell as zoe@othercell",
        &of("zoe", SECOND_CELL),
        ask(at, &zoes, Some(zoe)),
    );
    say_row("alice's page as zoe@othercell", "403", ask(at, &private, Some(zoe)));
    say_row(
        "user of a cell that is not allowed",
        "401",
        ask(at, &private, Some(("alice@nowhere.example", "x"))),
    );

    let control = &first.kaserver.as_ref().context("the cell has no kaserver")?.control;
    let carol = ("carol", first.user("carol")?.password.as_str());
    tell(control, "mode forge-key for carol")?;
    say_row("carol, the answer of the kaserver is forged", "503", ask(at, &public, Some(carol)));
    tell(control, "mode forge-user mallory for carol")?;
    std::thread::sleep(REMEMBERED);
    say_row("carol, the ticket is somebody else's", "503", ask(at, &public, Some(carol)));
    tell(control, "mode normal for carol")?;
    std::thread::sleep(REMEMBERED);
    say_row("carol, the true kaserver again", "200 public", ask(at, &public, Some(carol)));

    let broker = program("weblog-starter").and_then(|nanny| process::children_of(nanny).first().copied());
    process::signal_pid(broker.context("no broker")?, Signal::KILL)?;
    say_row("alice after the broker was killed", &of("alice", FIRST_CELL), recovered(at, &private, alice));
    say_row(
        "bob's page as bob after that",
        &of("bob", FIRST_CELL),
        recovered(at, &format!("/afs/{FIRST_CELL}/{}", owner_file("bob")), bob),
    );
    process::signal_pid(program("weblog-starter").context("no nanny")?, Signal::KILL)?;
    say_row("alice after the nanny was killed", &of("alice", FIRST_CELL), recovered(at, &private, alice));
    say_row("zoe after that", &of("zoe", SECOND_CELL), recovered(at, &zoes, zoe));
    Ok(if agree { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One command to a test kaserver.
fn tell(control: &Path, command: &str) -> Result<()> {
    integration::kaserver::tell(control, command).map(|_| ())
}

/// A process of this world.
fn program(name: &str) -> Option<u32> {
    process::named(name).first().copied()
}

/// The first answer that is not 503.
fn recovered(at: SocketAddr, path: &str, login: (&str, &str)) -> Result<String> {
    let begin = Instant::now();
    wait::until("an answer other than 503", RECOVERY_LIMIT, || {
        let seen = ask(at, path, Some(login))?;
        Ok((seen != "503").then_some(seen))
    })
    .with_context(|| format!("after {:?}", begin.elapsed()))
}
