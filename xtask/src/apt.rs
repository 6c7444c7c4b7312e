//! Debian's apt-get: what would be installed, downloads, installations.

use crate::{say, setup};
use anyhow::{Context as _, Result, bail};
use integration::process;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A list from apt, no network.
const LIST_LIMIT: Duration = Duration::from_secs(120);
/// Downloads and installations.
const FETCH_LIMIT: Duration = Duration::from_secs(1800);

/// Changes when packages are installed or removed, or when the lists change.
pub(crate) fn state_of_apt() -> String {
    ["/var/lib/dpkg/status", "/var/lib/apt/lists"]
        .iter()
        .map(|f| {
            fs::metadata(f)
                .map_or_else(|_| "-".to_owned(), |m| format!("{}.{:09}", m.mtime(), m.mtime_nsec()))
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// Debian's apt-get, with a log.
pub(crate) struct Apt {
    log: PathBuf,
}

impl Apt {
    /// With its log in the cache.
    pub(crate) fn new(cache: &Path) -> Self {
        Self { log: cache.join("apt.log") }
    }

    /// Installs packages and what they need.
    pub(crate) fn install(&self, packages: &[&str]) -> Result<()> {
        let mut args = vec!["--yes", "--no-install-recommends", "install"];
        args.extend(packages);
        self.get(&args, None)
    }

    /// Downloads packages, and what they need and the host has not, into an empty directory.
    pub(crate) fn download_with_needs(&self, packages: &[&str], archives: &Path) -> Result<()> {
        fs::create_dir_all(archives.join("partial"))?;
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
        args.extend(packages);
        self.get(&args, None)
    }

    /// Downloads packages without what they need.
    pub(crate) fn download_alone(&self, packages: &[(String, String)], archives: &Path) -> Result<()> {
        let words: Vec<String> = packages.iter().map(|(name, version)| format!("{name}={version}")).collect();
        let mut args = vec!["download"];
        args.extend(words.iter().map(String::as_str));
        self.get(&args, Some(archives))
    }

    /// The version of a package that apt would install. Fetches the lists if they are missing.
    pub(crate) fn candidate(&self, package: &str) -> Result<String> {
        let ask = || process::run(command("apt-cache").args(["policy", package]), LIST_LIMIT);
        if let Some(version) = candidate_of(&ask()?) {
            return Ok(version);
        }
        self.update()?;
        candidate_of(&ask()?).with_context(|| format!("apt knows no package {package}"))
    }

    /// The first package that `package` depends on. Fetches the lists if they are missing.
    pub(crate) fn first_need(&self, package: &str) -> Result<String> {
        self.candidate(package)?;
        let text = process::run(command("apt-cache").args(["depends", package]), LIST_LIMIT)?;
        text.lines()
            .find_map(|l| l.trim().strip_prefix("Depends: "))
            .map(str::to_owned)
            .with_context(|| format!("{package} depends on nothing"))
    }

    /// The log.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// Packages and versions that installing `packages` would bring, in apt's order. Fetches the lists if they are missing.
    pub(crate) fn plan(&self, packages: &[&str]) -> Result<Vec<(String, String)>> {
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
        setup::need_root("apt-get update")?;
        say("fetching the lists of packages (apt-get update)");
        self.run(&["update"], None)
    }

    /// Runs apt-get; once more with new lists if it fails, since servers keep only the newest packages.
    fn get(&self, args: &[&str], cwd: Option<&Path>) -> Result<()> {
        match self.run(args, cwd) {
            Ok(()) => Ok(()),
            Err(first) => {
                say(&format!(
                    "apt-get failed ({}); once more with new lists",
                    first.to_string().lines().next().unwrap_or("")
                ));
                self.update()?;
                self.run(args, cwd)
            }
        }
    }

    /// Runs apt-get with its output in the log, in the directory `cwd`.
    fn run(&self, args: &[&str], cwd: Option<&Path>) -> Result<()> {
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
        if let Some(cwd) = cwd {
            command.current_dir(cwd);
        }
        let mut child = process::Guarded::spawn(&mut command, "apt-get", Duration::from_secs(30))?;
        let status = integration::wait::until("apt-get", FETCH_LIMIT, || child.ended())?;
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

/// Reads `apt-cache policy` of one package.
fn candidate_of(policy: &str) -> Option<String> {
    let version = policy.lines().find_map(|l| l.trim().strip_prefix("Candidate: "))?;
    (version != "(none)").then(|| version.to_owned())
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
    fn the_policy_says_which_version_would_come() {
        let text = "x:\n  Installed: (none)\n  Candidate: 1.8.9-1\n  Version table:\n";
        assert_eq!(candidate_of(text).as_deref(), Some("1.8.9-1"));
        assert_eq!(candidate_of("x:\n  Installed: (none)\n  Candidate: (none)\n"), None);
        assert_eq!(candidate_of(""), None);
    }
}
