//! `cargo xtask dist`: a tree and a .deb that install where Debian's a2enmod finds them.

use crate::{cell, setup};
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What was built.
pub(crate) struct Dist {
    /// Root of the tree.
    pub(crate) tree: PathBuf,
    /// The package.
    pub(crate) deb: PathBuf,
}

/// Built files and where they go: (name in the target directory, path in the tree).
const PROGRAMS: &[(&str, &str)] = &[
    ("libmod_afs.so", "usr/lib/apache2/modules/mod_afs.so"),
    ("libafsweb_uafs.so", "usr/lib/afsweb/libafsweb_uafs.so"),
    ("weblog", "usr/lib/afsweb/weblog"),
    ("weblog-starter", "usr/lib/afsweb/weblog-starter"),
];

/// Texts and where they go.
const TEXTS: &[(&str, &str)] = &[
    ("xtask/dist/afs.load", "etc/apache2/mods-available/afs.load"),
    ("xtask/dist/afs.conf", "etc/apache2/mods-available/afs.conf"),
    ("README.md", "usr/share/doc/libapache2-mod-afs/README.md"),
    ("CHANGELOG.md", "usr/share/doc/libapache2-mod-afs/CHANGELOG.md"),
    ("LICENSE", "usr/share/doc/libapache2-mod-afs/copyright"),
    ("docs/admin.md", "usr/share/doc/libapache2-mod-afs/admin.md"),
    ("docs/directives.md", "usr/share/doc/libapache2-mod-afs/directives.md"),
    ("docs/messages.md", "usr/share/doc/libapache2-mod-afs/messages.md"),
    ("docs/defects.md", "usr/share/doc/libapache2-mod-afs/defects.md"),
    ("docs/privsep.md", "usr/share/doc/libapache2-mod-afs/privsep.md"),
    ("docs/architecture.md", "usr/share/doc/libapache2-mod-afs/architecture.md"),
    ("docs/protocol.md", "usr/share/doc/libapache2-mod-afs/protocol.md"),
    ("docs/features.md", "usr/share/doc/libapache2-mod-afs/features.md"),
    ("docs/mod_waklog.md", "usr/share/doc/libapache2-mod-afs/mod_waklog.md"),
    ("docs/testing.md", "usr/share/doc/libapache2-mod-afs/testing.md"),
    ("docs/facts.md", "usr/share/doc/libapache2-mod-afs/facts.md"),
];

/// What dpkg runs, in `xtask/dist`.
const SCRIPTS: &[&str] = &["postinst", "prerm", "postrm"];

/// Pages of the manual in `docs/man`, and where they go, compressed.
const PAGES: &[&str] = &["weblog.8", "weblog-starter.8", "mod_afs.8"];
/// Where they go.
const PAGES_DIR: &str = "usr/share/man/man8";

/// `cargo xtask dist`.
pub(crate) fn main() -> Result<ExitCode> {
    setup::ensure()?;
    let made = run(cell::workspace(), &cell::target_dir()?)?;
    println!("tree: {}\npackage: {}", made.tree.display(), made.deb.display());
    Ok(ExitCode::SUCCESS)
}

/// Builds for release and packs.
///
/// # Errors
/// When a build or a tool fails; the text says which.
pub(crate) fn run(root: &Path, target: &Path) -> Result<Dist> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "-p", "mod-afs", "-p", "uafs", "-p", "weblog", "-p", "weblog-starter"])
        .arg("--target-dir")
        .arg(target)
        .current_dir(root)
        .status()
        .context("cargo build")?;
    if !status.success() {
        bail!("cargo build --release failed");
    }
    let version = env!("CARGO_PKG_VERSION");
    let dist = target.join("dist");
    let tree = dist.join(format!("libapache2-mod-afs_{version}_amd64"));
    if tree.exists() {
        fs::remove_dir_all(&tree).with_context(|| tree.display().to_string())?;
    }
    for (name, to) in PROGRAMS {
        let mode = if to.contains("/weblog") { 0o755 } else { 0o644 };
        place(&target.join("release").join(name), &tree.join(to), mode)?;
    }
    let link = tree.join("usr/sbin/weblog");
    fs::create_dir_all(link.parent().context("no parent")?)?;
    std::os::unix::fs::symlink("../lib/afsweb/weblog", &link)?;
    for (from, to) in TEXTS {
        place(&root.join(from), &tree.join(to), 0o644)?;
    }
    for page in PAGES {
        compress(&root.join("docs/man").join(page), &tree.join(PAGES_DIR).join(format!("{page}.gz")))?;
    }
    let size_kib = tree_size(&tree)?.div_ceil(1024);
    let control = fs::read_to_string(root.join("xtask/dist/control"))?
        .replace("@VERSION@", version)
        .replace("@SIZE@", &size_kib.to_string());
    let debian = tree.join("DEBIAN");
    fs::create_dir_all(&debian)?;
    fs::write(debian.join("control"), control)?;
    fs::write(
        debian.join("conffiles"),
        "/etc/apache2/mods-available/afs.load\n/etc/apache2/mods-available/afs.conf\n",
    )?;
    for script in SCRIPTS {
        place(&root.join("xtask/dist").join(script), &debian.join(script), 0o755)?;
    }
    let deb = dist.join(format!("libapache2-mod-afs_{version}_amd64.deb"));
    let out = Command::new("dpkg-deb")
        .args(["--root-owner-group", "-Zgzip", "--build"])
        .arg(&tree)
        .arg(&deb)
        .output()
        .context("dpkg-deb")?;
    if !out.status.success() {
        bail!("dpkg-deb: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    fs::remove_dir_all(&debian)?;
    Ok(Dist { tree, deb })
}

fn place(from: &Path, to: &Path, mode: u32) -> Result<()> {
    fs::create_dir_all(to.parent().context("no parent")?)?;
    fs::copy(from, to).with_context(|| format!("{} to {}", from.display(), to.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode))?;
    Ok(())
}

/// Compresses a page as Debian wants it: as small as can be, without name and time in it.
fn compress(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().context("no parent")?)?;
    let out = fs::File::create(to).with_context(|| to.display().to_string())?;
    let status =
        Command::new("gzip").args(["-9n", "--stdout"]).arg(from).stdout(out).status().context("gzip")?;
    if !status.success() {
        bail!("gzip of {} failed", from.display());
    }
    fs::set_permissions(to, fs::Permissions::from_mode(0o644))?;
    Ok(())
}

fn tree_size(dir: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        sum += if meta.is_dir() { tree_size(&entry.path())? } else { meta.len() };
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_package_s_pages_link_to_is_in_the_package() {
        let has = |name: &str| TEXTS.iter().any(|(from, _)| *from == format!("docs/{name}"));
        let pages: Vec<&str> =
            TEXTS.iter().map(|(from, _)| *from).filter(|from| from.starts_with("docs/")).collect();
        assert!(pages.len() > 5, "{pages:?}");
        let mut missing = Vec::new();
        for page in pages {
            let text = fs::read_to_string(cell::workspace().join(page)).unwrap();
            let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
            let others = links.filter(|to| to.ends_with(".md") && !to.contains('/') && !has(to));
            missing.extend(others.map(|to| format!("{page}: {to}")));
        }
        assert_eq!(missing, Vec::<String>::new());
    }
}
