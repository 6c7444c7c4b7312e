//! What the tests of this directory share.
#![allow(dead_code, reason = "each test program uses its own part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "this is test code")]

pub(crate) mod fastcgi;
pub(crate) mod installed;
pub(crate) mod keys;
pub(crate) mod load;
pub(crate) mod metrics;
pub(crate) mod programs;
pub(crate) mod tls;
pub(crate) mod uploads;
pub(crate) mod visits;

use integration::http::{Request, Response};
use integration::httpd::{Httpd, Mpm, Options};
use integration::kdc::{Kdc, Manner};
use integration::method::Method;
use integration::process::signal_pid;
use integration::wait;
use integration::world::{Cell, FIRST_CELL, FIRST_REALM, SECOND_CELL, World};
use rustix::process::Signal;
use std::net::Ipv4Addr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// www-data
pub(crate) const HTTPD_UID: u32 = 33;

/// See [`answer_limit`].
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Waits of the product are configured to be shorter than this in all tests; a longer answer is a failure.
pub(crate) fn answer_limit() -> Duration {
    ANSWER_LIMIT * integration::wait::slow_factor()
}

/// SetAFSLoginDeadline and SetAFSFileDeadline in tests, seconds: whoever waits for what is silent waits as long.
pub(crate) const LOGIN_DEADLINE_S: u64 = 6;
/// The first where the processor is emulated: there a first login takes some seconds.
const SLOW_LOGIN_DEADLINE_S: u64 = 20;
pub(crate) const FILE_DEADLINE_S: u64 = 8;

pub(crate) fn world() -> World {
    World::here().unwrap()
}

/// Whether the volumes of a release are asked for.
pub(crate) fn long() -> bool {
    std::env::var("AFSWEB_LONG").is_ok_and(|v| v == "1")
}

/// The AFS client that serves files, as the configuration names it: in a guest the kernel's.
pub(crate) fn afs_client() -> String {
    std::env::var("AFSWEB_CLIENT").unwrap_or_else(|_| "userspace".into())
}

/// How users are authenticated in this run.
pub(crate) fn method() -> Method {
    Method::from_env().unwrap()
}

/// Our module's configuration in tests: the README's lines, both cells, short deadlines, this run's method.
pub(crate) fn afs_config(world: &World, more: &str) -> String {
    let methods =
        [FIRST_CELL, SECOND_CELL].map(|cell| format!("AFSAuthMethod {cell} {}\n", method())).concat();
    afs_config_without_methods(world, &(methods + more))
}

/// The same without a word on how users are authenticated.
pub(crate) fn afs_config_without_methods(world: &World, more: &str) -> String {
    let starter = world.programs.weblog_starter.as_deref().expect("weblog-starter is built");
    format!(
        "SetAFSClient {}\nSetAFSWeblogPath {}\nSetAFSCells {FIRST_CELL} {SECOND_CELL}\nSetAFSDefaultCell {FIRST_CELL}\n\
         SetAFSLocation /afs\nSetAFSLoginDeadline {}\nSetAFSFileDeadline {FILE_DEADLINE_S}\nSetAFSLoginLimit 100 1000 60\n\
         <Location /afs>\nAFSAuthType AFS\nAFSLoginPrompt \"AFS cell <%cno cell>\"\n</Location>\n\
         <Directory /afs>\nRequire all granted\nOptions FollowSymLinks\nAllowOverride All\n</Directory>\n{more}\n",
        afs_client(),
        starter.display(),
        login_deadline_s()
    )
}

/// SetAFSLoginDeadline in this run.
pub(crate) fn login_deadline_s() -> u64 {
    if integration::wait::slow_factor() > 1 { SLOW_LOGIN_DEADLINE_S } else { LOGIN_DEADLINE_S }
}

pub(crate) fn start(world: &World, more: &str) -> Httpd {
    start_with(world, more, |o| o)
}

pub(crate) fn start_with(world: &World, more: &str, change: impl FnOnce(Options) -> Options) -> Httpd {
    let mut options = Options::new(Mpm::from_env().unwrap());
    options.afs = Some(afs_config(world, more));
    when_ready(Httpd::start(world, change(options)).unwrap())
}

/// An httpd where the processor is emulated: a broker that starts there beside others can take longer than a worker waits
/// for it.
pub(crate) fn when_ready(httpd: Httpd) -> Httpd {
    let until = Instant::now() + Duration::from_secs(30);
    let is_ready = || std::fs::read_to_string(httpd.error_log()).is_ok_and(|log| log.contains("AFS3006"));
    while wait::slow_factor() > 1 && !is_ready() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(100));
    }
    httpd
}

/// An httpd that has workers to spare from the start, where how fast it starts more of them is not the subject.
pub(crate) fn start_wide(world: &World, more: &str) -> Httpd {
    start_with(world, more, |mut o| {
        if o.mpm == Mpm::Prefork {
            let n = 64;
            let sizes = format!(
                "StartServers {n}\nMinSpareServers 4\nMaxSpareServers {n}\nServerLimit {n}\nMaxRequestWorkers {n}\n"
            );
            o.sizes = Some(sizes);
        }
        o
    })
}

/// A directory that httpd's children may write to, for the WebDAV locks of one httpd.
pub(crate) fn dav_locks() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let dir = PathBuf::from(format!("/srv/dav-locks/{}-{number}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    chown(&dir, Some(HTTPD_UID), Some(HTTPD_UID)).unwrap();
    dir
}

/// A path in the first cell.
pub(crate) fn first(path: &str) -> String {
    format!("/afs/{FIRST_CELL}/{path}")
}

/// Takes a volume of the first cell, mounted there, out of the kernel's caches, of pages and of AFS; each child of the
/// user-space client has its own, which is empty when it starts.
pub(crate) fn forget_volume(mounted: &str) {
    if afs_client() == "userspace" {
        return;
    }
    if afs_client() == "openafs" {
        let done = std::process::Command::new("fs").args(["flushvolume", &first(mounted)]).status().unwrap();
        assert!(done.success(), "fs flushvolume: {done}");
    }
    std::fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
}

/// A path in the second cell.
pub(crate) fn second(path: &str) -> String {
    format!("/afs/{SECOND_CELL}/{path}")
}

pub(crate) fn password<'a>(cell: &'a Cell, user: &str) -> &'a str {
    &cell.user(user).unwrap().password
}

/// A user of the first cell asks for a path.
pub(crate) fn get_as(world: &World, httpd: &Httpd, path: &str, user: &str) -> Response {
    let cell = world.cell(FIRST_CELL).unwrap();
    httpd.get_as(path, user, password(cell, user)).unwrap()
}

/// A request of a user of the first cell.
pub(crate) fn ask(world: &World, httpd: &Httpd, user: &str, request: Request) -> Response {
    let cell = world.cell(FIRST_CELL).unwrap();
    httpd.request(&request.login(user, password(cell, user))).unwrap()
}

/// The first line of a body.
pub(crate) fn first_line(r: &Response) -> String {
    r.text().lines().next().unwrap_or_default().to_owned()
}

/// Sends a command to the test kaserver of a cell; it must succeed.
pub(crate) fn kaserver(world: &World, cell: &str, command: &str) -> String {
    let socket = &world.cell(cell).unwrap().kaserver.as_ref().expect("the cell has a kaserver").control;
    kaserver_at(socket, command)
}

fn kaserver_at(socket: &Path, command: &str) -> String {
    kaserver::control::Control::connect(socket).unwrap().command(command).unwrap()
}

/// Puts a kaserver back to normal when it goes, also when a test fails.
pub(crate) struct Mischief<'a> {
    world: &'a World,
    cell: &'a str,
    undo: String,
}

impl<'a> Mischief<'a> {
    pub(crate) fn mode(world: &'a World, cell: &'a str, mode: &str, user: Option<&str>) -> Self {
        let whom = user.map(|u| format!(" for {u}")).unwrap_or_default();
        kaserver(world, cell, &format!("mode {mode}{whom}"));
        Self { world, cell, undo: format!("mode normal{whom}") }
    }

    pub(crate) fn skew(world: &'a World, cell: &'a str, seconds: i64) -> Self {
        kaserver(world, cell, &format!("skew {seconds}"));
        Self { world, cell, undo: "skew 0".into() }
    }
}

impl Drop for Mischief<'_> {
    fn drop(&mut self) {
        kaserver(self.world, self.cell, &self.undo);
    }
}

/// Makes a KDC misbehave, and puts it back when it goes, also when a test fails.
pub(crate) struct KdcMischief<'a> {
    kdc: Kdc<'a>,
    undo: fn(&Kdc<'_>) -> anyhow::Result<()>,
}

impl<'a> KdcMischief<'a> {
    /// It answers nothing.
    pub(crate) fn pause(world: &'a World, realm: &str) -> Self {
        let kdc = kdc(world, realm);
        kdc.pause().unwrap();
        Self { kdc, undo: |k| k.resume() }
    }

    /// It does not run.
    pub(crate) fn stop(world: &'a World, realm: &str) -> Self {
        let kdc = kdc(world, realm);
        kdc.stop().unwrap();
        Self { kdc, undo: |k| k.start(Manner::Usual) }
    }

    /// It is another one at the same address: with a wrong clock, or with large tickets.
    pub(crate) fn run(world: &'a World, realm: &str, manner: Manner) -> Self {
        let kdc = kdc(world, realm);
        let mischief = Self { kdc, undo: |k| k.restart(Manner::Usual) };
        kdc.restart(manner).unwrap();
        mischief
    }
}

impl Drop for KdcMischief<'_> {
    fn drop(&mut self) {
        (self.undo)(&self.kdc).unwrap();
    }
}

/// A server of the first cell that stands still; it goes on when this goes, also when a test fails.
pub(crate) struct Stopped(u32);

impl Stopped {
    pub(crate) fn server(world: &World, address: Ipv4Addr) -> Self {
        let pid = world.cell(FIRST_CELL).unwrap().server("fileserver", address).unwrap().pid;
        signal_pid(pid, Signal::STOP).unwrap();
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal_pid(self.0, Signal::CONT).unwrap();
    }
}

/// Files of the world with another text; they are as they were when it goes, also when a test fails.
pub(crate) struct Replaced(Vec<(PathBuf, Vec<u8>)>);

impl Replaced {
    pub(crate) fn new(texts: &[(&str, &str)]) -> Self {
        let replace = |(file, text): &(&str, &str)| {
            let before = std::fs::read(file).unwrap();
            std::fs::write(file, text).unwrap();
            (PathBuf::from(file), before)
        };
        Self(texts.iter().map(replace).collect())
    }
}

impl Drop for Replaced {
    fn drop(&mut self) {
        for (file, before) in &self.0 {
            std::fs::write(file, before).unwrap();
        }
    }
}

/// The KDC of a realm.
pub(crate) fn kdc<'a>(world: &'a World, realm: &str) -> Kdc<'a> {
    Kdc::of(world.realm(realm).unwrap())
}

/// An account of the first cell, changed where this run's users are authenticated, until this goes, also when a test fails.
pub(crate) struct Changed(Box<dyn Fn()>);

impl Changed {
    /// He has another password.
    pub(crate) fn password(world: &World, user: &str, new: &str) -> Self {
        let old = password(world.cell(FIRST_CELL).unwrap(), user).to_owned();
        let (world, user) = (world.clone(), user.to_owned());
        let set = move |word: &str| match method() {
            Method::Kaserver => drop(kaserver(&world, FIRST_CELL, &format!("password {user} {word}"))),
            Method::Krb5 => kdc(&world, FIRST_REALM).set_password(&user, word).unwrap(),
        };
        set(new);
        Self(Box::new(move || set(&old)))
    }

    /// His tickets end after so many seconds.
    pub(crate) fn life(world: &World, user: &str, seconds: u64) -> Self {
        let (world, user) = (world.clone(), user.to_owned());
        let set = move |life: Option<u64>| match method() {
            Method::Kaserver => {
                let mode = life.map_or("normal".to_owned(), |s| format!("ends-in {s}"));
                kaserver(&world, FIRST_CELL, &format!("mode {mode} for {user}"));
            }
            Method::Krb5 => kdc(&world, FIRST_REALM).set_life(&user, life).unwrap(),
        };
        set(Some(seconds));
        Self(Box::new(move || set(None)))
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A line for whoever reads the run, also where the test passes (libtest keeps back what is printed).
pub(crate) fn report(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "    {text}");
}

/// `f` and how long it took.
pub(crate) fn timed<T>(f: impl FnOnce() -> T) -> (T, Duration) {
    let begin = Instant::now();
    let value = f();
    (value, begin.elapsed())
}

/// A request with an Authorization header as it is.
pub(crate) fn raw_authorization(path: &str, value: &str) -> Request {
    Request::get(path).header("Authorization", value)
}

/// Processes of the world by their program, among those below `pid`.
pub(crate) fn below(pid: u32, name: &str) -> Vec<u32> {
    integration::process::descendants_of(pid)
        .into_iter()
        .filter(|p| std::fs::read_to_string(format!("/proc/{p}/comm")).is_ok_and(|c| c.trim_end() == name))
        .collect()
}

/// The broker below an httpd: the one whose parent is the nanny.
pub(crate) fn broker_of(httpd: &Httpd) -> Option<u32> {
    let nanny = nanny_of(httpd)?;
    integration::process::children_of(nanny).into_iter().next()
}

/// The nanny of an httpd.
pub(crate) fn nanny_of(httpd: &Httpd) -> Option<u32> {
    nannies_of(httpd).into_iter().next()
}

/// All nannies of an httpd: after an upgrade also that of the version before, for a while.
pub(crate) fn nannies_of(httpd: &Httpd) -> Vec<u32> {
    below(httpd.pid(), "weblog-starter")
}

/// The largest peak of resident memory among the children.
pub(crate) fn peak_rss_kib(httpd: &Httpd) -> u64 {
    let peak = |pid: u32| -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?.trim().parse().ok()
    };
    httpd.children().into_iter().filter_map(peak).max().unwrap_or(0)
}
