//! `cargo xtask setup`: what a fresh Debian 12 needs before anything can be built and run.
//!
//! Build dependencies are installed, after the list was shown, if some are missing.
//! Servers are not: their packages are unpacked into the cache, where only our worlds see them.

use crate::say;
use anyhow::{Context as _, Result, bail};
use integration::process;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

/// What the build and the harness need installed.
const BUILD: [&str; 8] = [
    "apache2-dev",
    "gcc",
    "iproute2",
    "libc6-dev",
    "libclang1-14",
    "libclang-common-14-dev",
    "libopenafs-dev",
    "util-linux",
];
/// What runs in a world.
const SERVERS: [&str; 8] = [
    "apache2",
    "apache2-bin",
    "openafs-client",
    "openafs-dbserver",
    "openafs-fileserver",
    "openafs-krb5",
    "curl",
    "openssl",
];
/// A list from apt, no network.
const LIST_LIMIT: Duration = Duration::from_secs(120);
/// Downloads and installations.
const FETCH_LIMIT: Duration = Duration::from_secs(1800);
/// One package.
const UNPACK_LIMIT: Duration = Duration::from_secs(120);
/// Last file of a complete tree; holds what it was made of.
const COMPLETE: &str = "complete";

/// `cargo xtask setup`.
pub(crate) fn main() -> Result<ExitCode> {
    let tree = ensure()?;
    say(&format!("ready; servers are unpacked in {}", tree.display()));
    Ok(ExitCode::SUCCESS)
}

/// Installs and unpacks what is missing: the directory of the unpacked servers. Quick when there is nothing to do.
///
/// # Errors
/// Something is missing and cannot be had: the text says what to do.
pub(crate) fn ensure() -> Result<PathBuf> {
    let cache = cache_dir()?;
    fs::create_dir_all(&cache).with_context(|| cache.display().to_string())?;
    let apt = Apt { log: cache.join("apt.log") };
    install_build_dependencies(&apt)?;
    server_tree(&apt, &cache)
}

/// The cache: $AFSWEB_CACHE, else `afsweb` in $XDG_CACHE_HOME or `~/.cache`.
///
/// # Errors
/// There is no home directory.
pub(crate) fn cache_dir() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let dir = set("AFSWEB_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|d| d.join("afsweb")))
        .or_else(|| set("HOME").map(|d| d.join(".cache/afsweb")))
        .context("neither AFSWEB_CACHE nor HOME is set")?;
    Ok(std::path::absolute(dir)?)
}

/// Fails unless run as root; `what` needs it.
///
/// # Errors
/// Not root.
pub(crate) fn need_root(what: &str) -> Result<()> {
    let uid = fs::metadata("/proc/self").context("/proc")?.uid();
    if uid != 0 {
        bail!("{what} needs root: run this command as root or by sudo");
    }
    Ok(())
}

/// Installs what the build lacks.
fn install_build_dependencies(apt: &Apt) -> Result<()> {
    let installed = installed()?;
    let missing: Vec<&str> = BUILD.iter().copied().filter(|p| !installed.contains_key(*p)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let by_hand = format!("apt-get install --no-install-recommends {}", missing.join(" "));
    if !is_debian_12() {
        bail!("this is not Debian 12; install what corresponds to: {}", missing.join(" "));
    }
    need_root(&format!("packages are missing; `{by_hand}`"))
        .context("cannot install the build dependencies")?;
    let plan = apt.plan(&missing)?;
    say(&format!("installing build dependencies, {} packages ({by_hand}):", plan.len()));
    for (name, version) in &plan {
        say(&format!("  {name} {version}"));
    }
    let mut args = vec!["--yes", "--no-install-recommends", "install"];
    args.extend(&missing);
    apt.get(&args, FETCH_LIMIT)?;
    Ok(())
}

/// Whether the running system is Debian 12.
fn is_debian_12() -> bool {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let has = |line: &str| text.lines().any(|l| l.replace('"', "") == line);
    has("ID=debian") && has("VERSION_ID=12")
}

/// Installed packages and their versions.
fn installed() -> Result<BTreeMap<String, String>> {
    let text = process::run(
        Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status} ${Package} ${Version}\n"]),
        LIST_LIMIT,
    )
    .context("this needs Debian's package tools")?;
    Ok(text
        .lines()
        .filter_map(|l| {
            let mut words = l.strip_prefix("installed ")?.split(' ');
            Some((words.next()?.to_owned(), words.next()?.to_owned()))
        })
        .collect())
}

/// The tree of unpacked servers, made anew if it is missing or outdated.
fn server_tree(apt: &Apt, cache: &Path) -> Result<PathBuf> {
    let tree = cache.join("tree");
    let marker = cache.join(COMPLETE);
    let state = state_of_apt();
    let noted = fs::read_to_string(&marker).unwrap_or_default();
    let (noted_state, noted_plan) = noted.split_once('\n').unwrap_or_default();
    if noted_state == state && tree.is_dir() {
        return Ok(tree);
    }
    let plan = apt.plan(&SERVERS)?;
    let wanted: String = plan.iter().map(|(name, version)| format!("{name} {version}\n")).collect();
    if noted_plan != wanted || !tree.is_dir() {
        if noted_plan.is_empty() {
            say(&format!(
                "unpacking the servers, {} packages (not installed), into {}",
                plan.len(),
                tree.display()
            ));
        } else {
            say("the servers' packages have changed: unpacking them anew");
        }
        remove(&marker)?;
        unpack(apt, cache, &tree, plan.len())?;
    }
    // Read again: `apt-get update` may have run.
    let part = cache.join("complete.part");
    fs::write(&part, format!("{}\n{wanted}", state_of_apt()))?;
    fs::rename(&part, &marker)?;
    Ok(tree)
}

/// Changes when packages are installed or removed, or when the lists change.
fn state_of_apt() -> String {
    ["/var/lib/dpkg/status", "/var/lib/apt/lists"]
        .iter()
        .map(|f| {
            fs::metadata(f)
                .map_or_else(|_| "-".to_owned(), |m| format!("{}.{:09}", m.mtime(), m.mtime_nsec()))
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// Downloads the servers' packages and unpacks them.
fn unpack(apt: &Apt, cache: &Path, tree: &Path, expected: usize) -> Result<()> {
    need_root("unpacking packages with their owners and modes")?;
    let archives = cache.join("archives");
    remove(&archives)?;
    fs::create_dir_all(archives.join("partial"))?;
    say("  downloading");
    let directory = format!("Dir::Cache::archives={}/", archives.display());
    // The private archive has a lock of its own; the system's may be held by somebody else's apt.
    let mut args = vec![
        "-o",
        directory.as_str(),
        "-o",
        "Debug::NoLocking=1",
        "--yes",
        "--download-only",
        "--no-install-recommends",
        "install",
    ];
    args.extend(SERVERS);
    apt.get(&args, FETCH_LIMIT)?;
    let part = cache.join("tree.part");
    remove(&part)?;
    fs::create_dir_all(&part)?;
    let packages: Vec<PathBuf> = fs::read_dir(&archives)?
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "deb"))
        .collect();
    if packages.len() != expected {
        bail!(
            "apt-get downloaded {} packages instead of {expected}; see {}",
            packages.len(),
            apt.log.display()
        );
    }
    say(&format!("  unpacking {} packages", packages.len()));
    for package in &packages {
        process::run(Command::new("dpkg").arg("-x").arg(package).arg(&part), UNPACK_LIMIT)?;
    }
    merge_usr(&part)?;
    for useless in ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/lintian"] {
        remove(&part.join(useless))?;
    }
    remove(tree)?;
    fs::rename(&part, tree)?;
    remove(&archives)
}

/// Moves what packages put into /bin, /sbin and /lib to /usr: above the host's root, real directories would hide its links.
fn merge_usr(tree: &Path) -> Result<()> {
    for name in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
        let from = tree.join(name);
        if from.is_dir() && !from.is_symlink() {
            let to = tree.join("usr").join(name);
            fs::create_dir_all(&to)?;
            process::run(Command::new("cp").arg("-a").arg(from.join(".")).arg(&to), UNPACK_LIMIT)?;
            remove(&from)?;
        }
    }
    Ok(())
}

/// Removes a file or directory, if there is one.
fn remove(path: &Path) -> Result<()> {
    let result =
        if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match result {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| path.display().to_string())
        }
        _ => Ok(()),
    }
}

/// Debian's apt-get, with a log.
struct Apt {
    log: PathBuf,
}

impl Apt {
    /// Packages and versions that installing `packages` would bring, in apt's order. Fetches the lists if they are missing.
    fn plan(&self, packages: &[&str]) -> Result<Vec<(String, String)>> {
        let simulate = || {
            let mut args = vec!["-s", "--no-install-recommends", "install"];
            args.extend(packages);
            process::output(command("apt-get").args(&args), LIST_LIMIT)
        };
        let mut out = simulate()?;
        if !out.status.success() {
            self.update()?;
            out = simulate()?;
        }
        if !out.status.success() {
            bail!(
                "apt-get cannot install {}:\n{}",
                packages.join(" "),
                String::from_utf8_lossy(&out.stderr).trim_end()
            );
        }
        Ok(planned(&String::from_utf8_lossy(&out.stdout)))
    }

    /// Fetches the lists of packages.
    fn update(&self) -> Result<()> {
        need_root("apt-get update")?;
        say("fetching the lists of packages (apt-get update)");
        self.run(&["update"], FETCH_LIMIT)
    }

    /// Runs apt-get; once more with new lists if it fails, since servers keep only the newest packages.
    fn get(&self, args: &[&str], limit: Duration) -> Result<()> {
        match self.run(args, limit) {
            Ok(()) => Ok(()),
            Err(first) => {
                say(&format!(
                    "apt-get failed ({}); once more with new lists",
                    first.to_string().lines().next().unwrap_or("")
                ));
                self.update()?;
                self.run(args, limit)
            }
        }
    }

    /// Runs apt-get with its output in the log.
    fn run(&self, args: &[&str], limit: Duration) -> Result<()> {
        let mut log = File::options().append(true).create(true).open(&self.log).context("log of apt-get")?;
        writeln!(log, "# apt-get {}", args.join(" "))?;
        let mut command = command("apt-get");
        command
            .args([
                "-o",
                "Acquire::Retries=3",
                "-o",
                "Acquire::http::Timeout=60",
                "-o",
                "DPkg::Lock::Timeout=300",
            ])
            .args(["-o", "APT::Sandbox::User=root"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let mut child = process::Guarded::spawn(&mut command, "apt-get", Duration::from_secs(30))?;
        let status = integration::wait::until("apt-get", limit, || child.ended())?;
        if !status.success() {
            bail!("apt-get {}: {status}; {}", args.last().unwrap_or(&""), process::tail(&self.log, 20));
        }
        Ok(())
    }
}

/// A command of apt: plain English, no questions.
fn command(program: &str) -> Command {
    let mut c = Command::new(program);
    c.env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
    c
}

/// Reads the `Inst` lines of `apt-get -s`: `Inst name [old] (version origin [arch])`.
fn planned(simulation: &str) -> Vec<(String, String)> {
    simulation
        .lines()
        .filter_map(|l| {
            let rest = l.strip_prefix("Inst ")?;
            let name = rest.split(' ').next()?;
            let version = rest.split_once('(')?.1.split([' ', ')']).next()?;
            Some((name.to_owned(), version.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_simulation_says_what_would_come() {
        let text = "NOTE: simulation\nInst a (1.2-3 Debian:12.15/oldstable [amd64])\nInst b [1] (2 X [all]) []\nConf a (1.2-3 X)\n";
        assert_eq!(planned(text), [("a".to_owned(), "1.2-3".to_owned()), ("b".to_owned(), "2".to_owned())]);
    }

    #[test]
    fn real_directories_move_below_usr() {
        let dir = std::env::temp_dir().join(format!("afsweb-merge-{}", std::process::id()));
        fs::create_dir_all(dir.join("sbin")).unwrap();
        fs::write(dir.join("sbin/afsd"), "x").unwrap();
        merge_usr(&dir).unwrap();
        assert!(dir.join("usr/sbin/afsd").is_file() && !dir.join("sbin").exists());
        fs::remove_dir_all(dir).unwrap();
    }
}
