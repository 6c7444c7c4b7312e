//! `cargo xtask demo`: two cells, Apache and a URL for a browser; `--check` asks everything in its table by itself.

use crate::cell::{self, MpmArg};
use crate::say;
use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use integration::content::{PUBLIC_LINE, owner_file, owner_line};
use integration::http::{self, Request};
use integration::httpd;
use integration::kdc::{IMPOSTORS_PASSWORD, Kdc, Manner};
use integration::namespace::Contents;
use integration::process;
use integration::wait;
use integration::world::{
    ADMIN, Account, Cell, FIRST_CELL, FIRST_REALM, LOCK_AFTER, PARTNER_REALM, SECOND_CELL, World,
};
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
        "starting two AFS cells with their KDCs and kaservers, and Apache, in a private network; the host's own files and ports are not touched",
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
        println!("demo --check [{}]: every answer was the expected one", httpd::Mpm::from(args.mpm));
        return Ok(ExitCode::SUCCESS);
    }
    invite(&world, &url)?;
    Ok(ExitCode::from(running.wait()?))
}

/// What a newcomer can try.
fn invite(world: &World, url: &str) -> Result<()> {
    let alice = login(world, FIRST_CELL, "alice")?;
    let zoe = login(world, SECOND_CELL, "zoe")?;
    let (alices, zoes) = (page(FIRST_CELL, "alice"), page(SECOND_CELL, "zoe"));
    println!("\nOpen in your browser; it asks for a name and a password:\n");
    for (path, who) in [
        (format!("/afs/{FIRST_CELL}/"), "everybody may read this".to_owned()),
        (alices.clone(), "only alice may".to_owned()),
        (zoes.clone(), format!("only {} may", zoe.0)),
    ] {
        println!("  {:<62} {who}", format!("{url}{path}"));
    }
    for cell in &world.cells {
        accounts(world, cell)?;
    }
    println!("\nUsers of the partner's realm {PARTNER_REALM}, by Kerberos 5 at their own KDC:\n");
    for user in &world.realm(PARTNER_REALM)?.users {
        let known = format!("{}@{}", user.name, PARTNER_REALM.to_ascii_lowercase());
        let in_cell = world.cell(FIRST_CELL)?.foreigners.contains(&known);
        let note = if in_cell {
            format!("reads {}", partner_page())
        } else {
            format!("{FIRST_CELL} does not know him: 401")
        };
        account(&format!("{}@{PARTNER_REALM}", user.name), &user.password, &note);
    }
    println!("\nOr by hand:\n");
    println!("  curl -i {url}/afs/{FIRST_CELL}/public/page.html   # 200, for everybody");
    println!("  curl -i {url}{alices}   # 401");
    for (cell, (name, password), path) in [(FIRST_CELL, alice, alices), (SECOND_CELL, zoe, zoes)] {
        let credentials = for_shell(&format!("{name}:{password}"));
        println!("  curl -i -u {credentials} {url}{path}   # 200, {}", by(cell));
    }
    println!("\nCtrl-C ends all of it. What happens:\n");
    Ok(())
}

/// Prints who can log in in a cell, by which method, and how.
fn accounts(world: &World, cell: &Cell) -> Result<()> {
    let name = &cell.name;
    let full = |user: &str| if name == FIRST_CELL { user.to_owned() } else { format!("{user}@{name}") };
    if httpd::standard_method(name) == "kaserver" {
        println!("\nUsers of {name}, {} (name, password):\n", by(name));
        for user in &cell.users {
            account(&full(&user.name), &user.password, "");
        }
        return Ok(());
    }
    let realm = world.realm(cell.realm.as_deref().context("a cell without realm")?)?;
    println!("\nUsers of {name}, {} at the KDC of {} (name, password):\n", by(name), realm.name);
    for user in &realm.users {
        account(&full(&user.name), &user.password, &remark(user.account));
    }
    Ok(())
}

/// How users of a cell are logged in.
fn by(cell: &str) -> &'static str {
    if httpd::standard_method(cell) == "kaserver" { "by its kaserver" } else { "by Kerberos 5" }
}

/// Prints one who can log in.
fn account(name: &str, password: &str, note: &str) {
    let line = format!("  {name:<24} {password:<36} {note}");
    println!("{}", line.trim_end());
}

/// What is special about an account.
fn remark(account: Account) -> String {
    match account {
        Account::Plain | Account::NoPreauth => String::new(),
        Account::PasswordExpired => "401: the password has expired".into(),
        Account::PasswordExpiresInDays(days) => format!("the password expires within {days} days"),
        Account::Lockable => format!("401 after {} wrong passwords: locked", u32::from(LOCK_AFTER) * 2),
        Account::Disabled => "401: disabled".into(),
        Account::Expired => "401: the account has expired".into(),
        Account::TicketLife(seconds) => format!("tickets of {seconds} s"),
        Account::OldEnctype => "503: only a key of a kind that is not taken any more".into(),
    }
}

/// A word for a shell.
fn for_shell(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Whom a cell's user is for the browser, and his password.
fn login(world: &World, cell: &str, user: &str) -> Result<(String, String)> {
    let name = if cell == FIRST_CELL { user.to_owned() } else { format!("{user}@{cell}") };
    Ok((name, world.cell(cell)?.user(user)?.password.clone()))
}

/// A page that only this user may read.
fn page(cell: &str, user: &str) -> String {
    format!("/afs/{cell}/{}", owner_file(user))
}

/// A page that only somebody of the partner's realm may read.
fn partner_page() -> String {
    format!("/afs/{FIRST_CELL}/partner/page.html")
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
    println!("{} {what:<58} expected {expected:<28} seen {seen}", if agree { "ok  " } else { "FAIL" });
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

/// The table of the demo, as it grows.
struct Table {
    at: SocketAddr,
    agree: bool,
}

impl Table {
    fn add(&mut self, what: &str, expected: &str, seen: Result<String>) {
        self.agree &= row(what, expected, &seen.unwrap_or_else(|e| format!("{e:#}")));
    }

    /// What a visitor gets.
    fn asks(&mut self, what: &str, expected: &str, path: &str, login: (&str, &str)) {
        self.add(what, expected, ask(self.at, path, Some(login)));
    }

    /// What a visitor gets once there is an answer other than 503.
    fn recovers(&mut self, what: &str, expected: &str, path: &str, login: (&str, &str)) {
        self.add(what, expected, recovered(self.at, path, login));
    }
}

/// The table of the demo.
fn check(world: &World) -> Result<ExitCode> {
    let mut table = Table { at: world.httpd.context("no httpd in this world")?, agree: true };
    let public = format!("/afs/{FIRST_CELL}/public/page.html");
    table.add("public page, nobody logged in", "200 public", ask(table.at, &public, None));
    by_method(world, &mut table, FIRST_CELL, "alice", "bob")?;
    by_method(world, &mut table, SECOND_CELL, "zoe", "alice")?;
    by_kerberos_alone(world, &mut table)?;
    let alice = login(world, FIRST_CELL, "alice")?;
    let zoe = login(world, SECOND_CELL, "zoe")?;
    let (alice, zoe) = ((&*alice.0, &*alice.1), (&*zoe.0, &*zoe.1));
    let (alices, zoes) = (page(FIRST_CELL, "alice"), page(SECOND_CELL, "zoe"));
    table.asks("alice's page as zoe of the other cell", "403", &alices, zoe);
    table.asks("zoe's page as alice of the other cell", "403", &zoes, alice);
    table.asks("user of a cell that is not allowed", "401", &alices, ("alice@nowhere.example", "x"));
    for (cell, expected) in [(FIRST_CELL, "its KDC alone"), (SECOND_CELL, "its kaserver alone")] {
        table.add(&format!("who was asked for users of {cell}"), expected, who_was_asked(world, cell));
    }
    forgeries(world, &mut table)?;

    // Those who have not logged in before, and passwords that nobody has tried: no memory answers for a login.
    for (killed, user, wrong) in [("broker", "dave", "nor this"), ("nanny", "erin", "nor that")] {
        let nanny = program("weblog-starter").context("no nanny")?;
        let broker = process::children_of(nanny).first().copied().context("no broker")?;
        process::signal_pid(if killed == "nanny" { nanny } else { broker }, Signal::KILL)?;
        let (name, password) = login(world, FIRST_CELL, user)?;
        let what = format!("krb5: {user}'s page as {user} after the {killed} was killed");
        table.recovers(&what, &own(user, FIRST_CELL), &page(FIRST_CELL, user), (&name, &password));
        table.recovers("kaserver: zoe's page, wrong password, after that", "401", &zoes, (zoe.0, wrong));
        table.recovers("kaserver: zoe's page as zoe@other.example", &own("zoe", SECOND_CELL), &zoes, zoe);
    }
    Ok(if table.agree { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// His own page.
fn own(user: &str, cell: &str) -> String {
    format!("200 {}", owner_line(user, cell).trim_end().strip_prefix("owner: ").unwrap_or_default())
}

/// What every method has to say of a page of `owner`'s, which `other` may not read.
fn by_method(world: &World, table: &mut Table, cell: &str, owner: &str, other: &str) -> Result<()> {
    let by = httpd::standard_method(cell);
    let (his, theirs) = (login(world, cell, owner)?, login(world, cell, other)?);
    let path = page(cell, owner);
    let nobody = format!("nobody-here@{cell}");
    table.add(&format!("{owner}'s page, nobody logged in"), "401", ask(table.at, &path, None));
    table.asks(&format!("{by}: {owner}'s page as {}", his.0), &own(owner, cell), &path, (&his.0, &his.1));
    table.asks(&format!("{by}: {owner}'s page as {}", theirs.0), "403", &path, (&theirs.0, &theirs.1));
    let other_page = page(cell, other);
    table.asks(
        &format!("{by}: {other}'s page as {}", theirs.0),
        &own(other, cell),
        &other_page,
        (&theirs.0, &theirs.1),
    );
    table.asks(&format!("{by}: {owner}'s page, wrong password"), "401", &path, (&his.0, "not this"));
    table.asks(&format!("{by}: {owner}'s page, unknown user"), "401", &path, (&nobody, "x"));
    Ok(())
}

/// What only a KDC has: instances with a slash, accounts that have expired, users of other realms.
fn by_kerberos_alone(world: &World, table: &mut Table) -> Result<()> {
    let realm = world.realm(FIRST_REALM)?;
    let user = |name: &str| -> Result<(String, String)> {
        let user = realm.user(name)?;
        Ok((user.name.clone(), user.password.clone()))
    };
    let (admin, expired) = (user("carol/admin")?, user("expired")?);
    let path = format!("/afs/{FIRST_CELL}/carol-admin/page.html");
    table.asks("krb5: carol/admin's page", &own("carol.admin", FIRST_CELL), &path, (&admin.0, &admin.1));
    table.asks("krb5: an account that has expired", "401", &path, (&expired.0, &expired.1));
    let partner = world.realm(PARTNER_REALM)?;
    for (name, expected) in
        [("alice", own("alice", &PARTNER_REALM.to_ascii_lowercase())), ("bob", "401".to_owned())]
    {
        let full = format!("{name}@{PARTNER_REALM}");
        let password = &partner.user(name)?.password;
        table.asks(
            &format!("krb5: the partner's page as {full}"),
            &expected,
            &partner_page(),
            (&full, password),
        );
    }
    Ok(())
}

/// Which servers have seen somebody of a cell log in.
fn who_was_asked(world: &World, cell: &str) -> Result<String> {
    let cell = world.cell(cell)?;
    let realm = world.realm(cell.realm.as_deref().context("a cell without realm")?)?;
    let by_kdc = fs::read_to_string(&realm.log)?.contains("AS_REQ");
    let control = &cell.kaserver.as_ref().context("the cell has no kaserver")?.control;
    let stats: serde_json::Value = serde_json::from_str(&integration::kaserver::tell(control, "stats")?)?;
    let calls = stats.get("authenticate").and_then(serde_json::Value::as_u64).context("no counts")?;
    Ok(match (by_kdc, calls > 0) {
        (true, false) => "its KDC alone",
        (false, true) => "its kaserver alone",
        (true, true) => "both",
        (false, false) => "neither",
    }
    .to_owned())
}

/// Somebody answers in the place of a KDC or kaserver: the cell itself takes no token of his.
fn forgeries(world: &World, table: &mut Table) -> Result<()> {
    let public = format!("/afs/{FIRST_CELL}/public/page.html");
    let carol = login(world, FIRST_CELL, "carol")?;
    let kdc = Kdc::of(world.realm(FIRST_REALM)?);
    kdc.restart(Manner::Impostor)?;
    let forged = (&*carol.0, IMPOSTORS_PASSWORD);
    table.asks("krb5: carol, an impostor in the KDC's place", "503", &public, forged);
    kdc.restart(Manner::Usual)?;
    table.asks("krb5: carol, the true KDC again", "200 public", &public, (&carol.0, &carol.1));

    let public = format!("/afs/{SECOND_CELL}/public/page.html");
    // Somebody who has not logged in yet: no token of his is remembered.
    let admin = login(world, SECOND_CELL, ADMIN)?;
    let control = &world.cell(SECOND_CELL)?.kaserver.as_ref().context("the cell has no kaserver")?.control;
    tell(control, &format!("mode forge-key for {ADMIN}"))?;
    table.asks("kaserver: admin, its answer is forged", "503", &public, (&admin.0, &admin.1));
    std::thread::sleep(REMEMBERED);
    tell(control, &format!("mode forge-user zoe for {ADMIN}"))?;
    table.asks("kaserver: admin, the ticket is somebody else's", "503", &public, (&admin.0, &admin.1));
    std::thread::sleep(REMEMBERED);
    tell(control, &format!("mode normal for {ADMIN}"))?;
    table.asks("kaserver: admin, the true kaserver again", "200 public", &public, (&admin.0, &admin.1));
    Ok(())
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
