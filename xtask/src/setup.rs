//! `cargo xtask setup`: what a fresh Debian 12 needs before anything can be built and run.
//!
//! Build dependencies are installed, after the list was shown, if some are missing.
//! Servers are not: their packages are unpacked into the cache, where only our worlds see them.

use crate::apt::Apt;
use crate::packages::Tree;
use crate::say;
use anyhow::{Context as _, Result, bail};
use integration::process;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

/// What the build and the harness need installed.
const BUILD: [&str; 9] = [
    "apache2-dev",
    "gcc",
    "iproute2",
    "libc6-dev",
    "libclang1-14",
    "libclang-common-14-dev",
    "libkrb5-dev",
    "libopenafs-dev",
    "util-linux",
];
/// Headers that need not be installed where this names a tree that they were unpacked into.
const UNPACKED: [(&str, &str); 2] =
    [("apache2-dev", "AFSWEB_HTTPD_PREFIX"), ("libkrb5-dev", "AFSWEB_KRB5_PREFIX")];
/// What runs in a world.
const SERVERS: [&str; 14] = [
    "apache2",
    "apache2-bin",
    "openafs-client",
    "openafs-dbserver",
    "openafs-fileserver",
    "openafs-krb5",
    "krb5-admin-server",
    "krb5-kdc",
    "krb5-user",
    "libfaketime",
    "dnsmasq-base",
    "litmus",
    "curl",
    "openssl",
];
/// A list, no network.
const LIST_LIMIT: Duration = Duration::from_secs(120);

/// `cargo xtask setup`.
pub(crate) fn main() -> Result<ExitCode> {
    let tree = ensure()?;
    say(&format!("ready; servers are unpacked in {}", tree.display()));
    Ok(ExitCode::SUCCESS)
}

/// Fails where a run would come to its end by a full disk: a compiler that cannot write says it in a hundred lines.
///
/// # Errors
/// There is less room than a run from nothing takes.
pub(crate) fn need_room(dir: &Path, bytes: u64) -> Result<()> {
    let stat = rustix::fs::statvfs(dir).with_context(|| dir.display().to_string())?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free < bytes {
        let mib = |bytes: u64| bytes >> 20;
        bail!(
            "{} has {} MiB free, too little for builds: free at least {}",
            dir.display(),
            mib(free),
            mib(bytes)
        );
    }
    Ok(())
}

/// Installs and unpacks what is missing: the directory of the unpacked servers. Quick when there is nothing to do.
///
/// # Errors
/// Something is missing and cannot be had: the text says what to do.
pub(crate) fn ensure() -> Result<PathBuf> {
    let cache = cache_dir()?;
    fs::create_dir_all(&cache).with_context(|| cache.display().to_string())?;
    let apt = Apt::new(&cache);
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
    let unpacked = |package: &str| {
        UNPACKED.iter().any(|(name, variable)| *name == package && std::env::var_os(variable).is_some())
    };
    let missing: Vec<&str> =
        BUILD.iter().copied().filter(|p| !installed.contains_key(*p) && !unpacked(p)).collect();
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
    apt.install(&missing)
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
    let tree = Tree {
        what: "the servers",
        dir: cache.join("tree"),
        marker: cache.join("complete"),
        with_needs: &SERVERS,
        alone: &[],
    };
    tree.ensure(apt, |_| Ok(()))?;
    Ok(tree.dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_room_is_said() {
        need_room(Path::new("/"), 0).unwrap();
        let said = need_room(Path::new("/"), u64::MAX).unwrap_err().to_string();
        assert!(said.starts_with("/ has "), "{said}");
    }
}
