//! Starts Debian's httpd with a configuration of its own, stops it, and reads its error log.

use crate::error_log::{self, Crashes};
use crate::http;
use crate::process::{self, Guarded, tail};
use crate::wait;
use crate::world::World;
use anyhow::{Context as _, Result};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Debian's program.
const PROGRAM: &str = "/usr/sbin/apache2";
/// What children of a started httpd read: documents, run directory.
const SITES: &str = "/srv/httpd";
/// Debian's modules.
const MODULES: &str = "/usr/lib/apache2/modules";
/// Time for a start.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Time between SIGTERM and SIGKILL.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// Time for children to come to rest before they are told to end.
const REST_LIMIT: Duration = Duration::from_secs(2);
/// Modules that every configuration has.
const COMMON: [&str; 16] = [
    "authn_core",
    "authz_core",
    "authz_host",
    "authz_user",
    "auth_basic",
    "authn_file",
    "access_compat",
    "alias",
    "autoindex",
    "dir",
    "env",
    "headers",
    "mime",
    "setenvif",
    "status",
    "rewrite",
];

/// How httpd runs its workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mpm {
    /// A process for each worker.
    Prefork,
    /// Threads.
    Worker,
    /// Threads, and one that holds idle connections.
    Event,
}

impl Mpm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Prefork, Self::Worker, Self::Event];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prefork => "prefork",
            Self::Worker => "worker",
            Self::Event => "event",
        }
    }

    /// The MPM that the environment variable `AFSWEB_MPM` names; event without one.
    ///
    /// # Errors
    /// There is no MPM of that name.
    pub fn from_env() -> Result<Self> {
        let Ok(name) = std::env::var("AFSWEB_MPM") else { return Ok(Self::Event) };
        Self::ALL.into_iter().find(|m| m.as_str() == name).with_context(|| format!("no MPM {name:?}"))
    }

    /// Few children that stay: what tests count on.
    fn sizes(self) -> &'static str {
        match self {
            Self::Prefork => {
                "StartServers 8\nMinSpareServers 4\nMaxSpareServers 16\nServerLimit 64\nMaxRequestWorkers 64\n"
            }
            Self::Worker | Self::Event => {
                "StartServers 2\nServerLimit 4\nThreadsPerChild 16\nThreadLimit 16\nMinSpareThreads 8\nMaxSpareThreads 64\nMaxRequestWorkers 64\n"
            }
        }
    }
}

impl fmt::Display for Mpm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How an httpd shall be configured.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its MPM.
    pub mpm: Mpm,
    /// It listens here; port 0: a free one.
    pub listen: SocketAddr,
    /// Whether our module is loaded and the standard configuration of it is there.
    pub module: bool,
    /// More modules of Debian's, by name without `mod_`.
    pub modules: Vec<String>,
    /// Modules that a configuration usually has and this one has not.
    pub without: Vec<String>,
    /// Configuration at server level, behind everything else.
    pub extra: String,
    /// Replaces the standard configuration of our module.
    pub afs: Option<String>,
    /// Replaces the sizes of the MPM.
    pub sizes: Option<String>,
    /// httpd's `LogLevel`.
    pub log_level: String,
}

impl Options {
    /// Our module in its standard configuration, at a free port.
    #[must_use]
    pub fn new(mpm: Mpm) -> Self {
        Self {
            mpm,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            module: true,
            modules: Vec::new(),
            without: Vec::new(),
            extra: String::new(),
            afs: None,
            sizes: None,
            log_level: "info".into(),
        }
    }

    /// httpd without our module.
    #[must_use]
    pub fn plain(mpm: Mpm) -> Self {
        Self { module: false, ..Self::new(mpm) }
    }

    /// With more configuration at server level.
    #[must_use]
    pub fn extra(mut self, text: &str) -> Self {
        self.extra.push_str(text);
        self.extra.push('\n');
        self
    }
}

/// A running httpd; it and what it started end when this goes.
#[derive(Debug)]
pub struct Httpd {
    process: Guarded,
    address: SocketAddr,
    dir: PathBuf,
    mpm: Mpm,
}

impl Httpd {
    /// Starts it and waits until it listens.
    ///
    /// # Errors
    /// It does not start: the end of its error log.
    pub fn start(world: &World, options: Options) -> Result<Self> {
        let mpm = options.mpm;
        let (dir, address) = configure(world, options)?;
        let out = File::create(dir.join("stdout.log"))?;
        let mut command = command(&dir);
        command.arg("-DFOREGROUND").stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        // A prefork parent signals its process group when it stops: that must not be ours.
        command.process_group(0);
        let process = Guarded::spawn(&mut command, "httpd", STOP_LIMIT)?;
        let mut server = Self { process, address, dir, mpm };
        let log = server.error_log();
        wait::until_true("httpd", START_LIMIT, || {
            if let Some(status) = server.process.ended()? {
                let said = tail(&server.dir.join("stdout.log"), 10);
                anyhow::bail!("httpd ended: {status}; {said}\n{}", tail(&log, 20));
            }
            Ok(TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok())
        })
        .with_context(|| tail(&log, 20))?;
        Ok(server)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The parent process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The children that serve requests.
    #[must_use]
    pub fn children(&self) -> Vec<u32> {
        let is_httpd =
            |p: &u32| fs::read_to_string(format!("/proc/{p}/comm")).is_ok_and(|c| c.trim_end() == "apache2");
        process::children_of(self.pid()).into_iter().filter(is_httpd).collect()
    }

    /// Its error log.
    #[must_use]
    pub fn error_log(&self) -> PathBuf {
        self.dir.join("error.log")
    }

    /// Its directory: configuration and logs.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// One request on a connection of its own.
    ///
    /// # Errors
    /// As [`http::request`].
    pub fn request(&self, request: &http::Request) -> Result<http::Response> {
        http::request(self.address, request)
    }

    /// GET of a path, anonymously.
    ///
    /// # Errors
    /// As [`http::request`].
    pub fn get(&self, path: &str) -> Result<http::Response> {
        self.request(&http::Request::get(path))
    }

    /// GET of a path with credentials.
    ///
    /// # Errors
    /// As [`http::request`].
    pub fn get_as(&self, path: &str, user: &str, password: &str) -> Result<http::Response> {
        self.request(&http::Request::get(path).login(user, password))
    }

    /// Replaces the configuration file; it counts from the next restart on.
    ///
    /// # Errors
    /// The file system's.
    pub fn rewrite(&self, change: impl FnOnce(String) -> String) -> Result<()> {
        let file = self.dir.join("httpd.conf");
        fs::write(&file, change(fs::read_to_string(&file)?)).context("httpd.conf")
    }

    /// Graceful restart; waits until the parent has read its configuration again.
    ///
    /// # Errors
    /// It does not come back in time, or ends.
    pub fn graceful(&mut self) -> Result<()> {
        self.restart_by(Signal::USR1)
    }

    /// Restart that ends requests under way.
    ///
    /// # Errors
    /// It does not come back in time, or ends.
    pub fn restart(&mut self) -> Result<()> {
        if self.mpm == Mpm::Event {
            // Else a child might crash at it, as in `stop`.
            let _ = rest(&self.children());
        }
        self.restart_by(Signal::HUP)
    }

    fn restart_by(&mut self, signal: Signal) -> Result<()> {
        let log = self.error_log();
        let before = resumed(&log);
        self.process.signal(signal)?;
        wait::until_true("restart of httpd", START_LIMIT, || {
            self.process.must_run(&log)?;
            Ok(resumed(&log) > before
                && TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).is_ok())
        })
        .with_context(|| tail(&log, 20))
    }

    /// Stops it when it has nothing to do, or else at once; waits for all that it had started; checks the error log.
    ///
    /// # Errors
    /// A process stays, or the log has what must not be there; `allowed` are texts that the test provokes.
    pub fn stop(self, allowed: &[&str]) -> Result<Duration> {
        let crashes = match self.mpm {
            Mpm::Event if !rest(&self.children()) => Crashes::from_now_on(&self.error_log()),
            _ => Crashes::Never,
        };
        self.end(allowed, crashes, |process| process.stop().map(drop))
    }

    /// Tells it to end when the requests under way have been answered.
    ///
    /// # Errors
    /// It has ended already.
    pub fn begin_graceful_stop(&self) -> Result<()> {
        self.process.signal(Signal::WINCH)
    }

    /// Waits for the end that [`Httpd::begin_graceful_stop`] has begun; otherwise as [`Httpd::stop`].
    ///
    /// # Errors
    /// As [`Httpd::stop`].
    pub fn finish_graceful_stop(self, allowed: &[&str]) -> Result<Duration> {
        self.end(allowed, Crashes::Never, |process| {
            wait::until("httpd's end", STOP_LIMIT, || process.ended()).map(drop)
        })
    }

    /// Has it end, and looks whether all is well.
    fn end(
        mut self,
        allowed: &[&str],
        crashes: Crashes,
        end: impl FnOnce(&mut Guarded) -> Result<()>,
    ) -> Result<Duration> {
        let begin = Instant::now();
        let below = process::descendants_of(self.pid());
        end(&mut self.process)?;
        let alive = || below.iter().copied().filter(|&p| process::is_alive(p)).collect::<Vec<_>>();
        wait::until_true("the end of all that httpd started", STOP_LIMIT, || Ok(alive().is_empty()))
            .with_context(|| format!("still there: {:?}", alive()))?;
        error_log::check(&self.error_log(), allowed, crashes)?;
        Ok(begin.elapsed())
    }
}

impl Drop for Httpd {
    #[expect(clippy::print_stderr, reason = "shown with the test that fails")]
    fn drop(&mut self) {
        let below = process::descendants_of(self.process.pid());
        let _ = self.process.stop();
        let gone = || Ok(!below.iter().any(|&p| process::is_alive(p)));
        if wait::until_true("httpd's children", Duration::from_secs(5), gone).is_err() {
            for pid in below {
                let _ = process::signal_pid(pid, Signal::KILL);
            }
        }
        if std::thread::panicking() {
            eprintln!("{}", tail(&self.error_log(), 40));
        }
    }
}

/// Waits until these children have nothing to do, and tells whether they came to that: they have no connection, and no
/// thread of theirs runs. One of the event MPM that is told to end at once may crash while it serves a connection.
#[must_use]
pub fn rest(children: &[u32]) -> bool {
    let busy = |pid: u32| process::has_connection(pid) || process::runs(pid);
    wait::until_true("rest", REST_LIMIT, || Ok(!children.iter().any(|&pid| busy(pid)))).is_ok()
}

/// Runs `apache2 -t` with these options: its exit status and what it says.
///
/// # Errors
/// It cannot be run.
pub fn configtest(world: &World, options: Options) -> Result<Output> {
    let (dir, _) = configure(world, options)?;
    process::output(command(&dir).arg("-t"), START_LIMIT)
}

/// How often the parent has said that it serves.
fn resumed(log: &Path) -> usize {
    fs::read(log).map_or(0, |b| String::from_utf8_lossy(&b).matches("resuming normal operations").count())
}

/// httpd with the configuration in `dir`, in a clean environment.
fn command(dir: &Path) -> Command {
    let mut c = Command::new(PROGRAM);
    c.arg("-d").arg(dir).arg("-f").arg(dir.join("httpd.conf"));
    c.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LANG", "C");
    c
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Writes a configuration into a new directory of the results.
fn configure(world: &World, options: Options) -> Result<(PathBuf, SocketAddr)> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("{}-{number}-{}", std::process::id(), options.mpm);
    let dir = world.results.join("httpd").join(&name);
    fs::create_dir_all(&dir)?;
    // The results may lie where only root may go; what children read does not.
    let site = Path::new(SITES).join(&name);
    for part in ["htdocs", "run"] {
        fs::create_dir_all(site.join(part))?;
    }
    fs::write(site.join("htdocs/index.html"), "local\n")?;
    let mut address = options.listen;
    if address.port() == 0 {
        address.set_port(free_port()?);
    }
    fs::write(dir.join("httpd.conf"), text(world, &options, &dir, &site, address)?)?;
    Ok((dir, address))
}

/// The configuration file.
fn text(world: &World, options: &Options, dir: &Path, site: &Path, address: SocketAddr) -> Result<String> {
    let mut t = format!("LoadModule mpm_{0}_module {MODULES}/mod_mpm_{0}.so\n", options.mpm);
    let common = COMMON.iter().copied().filter(|name| !options.without.iter().any(|w| w == name));
    for name in common.chain(options.modules.iter().map(String::as_str)) {
        t.push_str(&format!("LoadModule {name}_module {MODULES}/mod_{name}.so\n"));
    }
    t.push_str(options.sizes.as_deref().unwrap_or(options.mpm.sizes()));
    let (d, s) = (dir.display(), site.display());
    t.push_str(&format!(
        "ServerName localhost\nListen {address}\nUser www-data\nGroup www-data\n\
         PidFile {d}/httpd.pid\nDefaultRuntimeDir {s}/run\nErrorLog {d}/error.log\nLogLevel {}\n\
         LogFormat \"%h %u %t \\\"%r\\\" %>s %B\" short\nTransferLog {d}/access.log\n\
         TypesConfig /etc/mime.types\n<IfModule mod_dir.c>\nDirectoryIndex index.html index.cgi index.pl index.php index.xhtml index.htm\n</IfModule>\nDocumentRoot {s}/htdocs\n\
         KeepAlive On\nMaxKeepAliveRequests 0\nKeepAliveTimeout 30\nTimeout 60\nGracefulShutdownTimeout 10\n\
         <Directory />\nAllowOverride None\nRequire all denied\n</Directory>\n\
         <Directory {s}/htdocs>\nRequire all granted\n</Directory>\n",
        options.log_level
    ));
    if options.module {
        let module = world.programs.module.as_deref().context("mod_afs.so had not been built")?;
        t.push_str(&format!("LoadModule afs_module {}\n", module.display()));
        match &options.afs {
            Some(afs) => t.push_str(afs),
            None => t.push_str(&standard(world, dir)?),
        }
        t.push('\n');
    }
    t.push_str(&options.extra);
    Ok(t)
}

/// How the standard configuration logs users of a cell in, in the words of AFSAuthMethod: each method is some cell's.
#[must_use]
pub fn standard_method(cell: &str) -> &'static str {
    if cell == crate::world::FIRST_CELL { "krb5" } else { "kaserver" }
}

/// What the README tells an administrator to write, for this world: one cell by Kerberos, and with it a partner's realm,
/// the other one by its kaserver.
///
/// # Errors
/// The nanny had not been built.
pub fn standard(world: &World, dir: &Path) -> Result<String> {
    let starter = world.programs.weblog_starter.as_deref().context("weblog-starter had not been built")?;
    let cells: Vec<&str> = world.cells.iter().map(|c| c.name.as_str()).collect();
    let methods: String =
        cells.iter().map(|cell| format!("AFSAuthMethod {cell} {}\n", standard_method(cell))).collect();
    let first = cells.first().copied().unwrap_or(crate::world::FIRST_CELL);
    Ok(format!(
        "SetAFSClient userspace\nSetAFSWeblogPath {}\nSetAFSDefaultCell {first}\nSetAFSCells {}\n\
         SetAFSRealms {}\nSetAFSAccessLog {}/afs-access.log\nSetAFSLocation /afs\nSetAFSMountpointDir /afs\n\
         <Location /afs>\nAFSAuthType AFS\nAFSLoginPrompt \"AFS cell <%c>\"\n</Location>\n{methods}\
         <Directory /afs>\nRequire all granted\nOptions Indexes FollowSymLinks\nAllowOverride All\n</Directory>\n",
        starter.display(),
        cells.join(" "),
        crate::world::PARTNER_REALM,
        dir.display()
    ))
}
