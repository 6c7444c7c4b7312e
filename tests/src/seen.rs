//! What lies in AFS, as an administrator sees it through a client of its own: also what no web server shows.

use crate::namespace::SELF_INSIDE;
use crate::world::{ADMIN, World};
use crate::{process, roles, token};
use anyhow::{Context as _, Result, bail};
use pag::AfsClient as _;
use pag::userspace::{Config, Kind, Userspace, snapshot_confdir};
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

/// A client starts and looks at some files.
const LIMIT: Duration = Duration::from_secs(60);

/// Something in a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Seen {
    /// Its name; bytes that are no text are replaced.
    pub name: String,
    /// Its length.
    pub size: u64,
    /// Whose it is, a number of the cell's.
    pub owner: u32,
    /// Its mode bits.
    pub mode: u32,
    /// Whether it is a directory.
    pub directory: bool,
}

/// What is in a directory of a cell, by name; `path` is below `/afs/<cell>`.
///
/// # Errors
/// There is no such directory, or its server does not answer.
pub fn directory(cell: &str, path: &str) -> Result<Vec<Seen>> {
    // A process of its own, since libuafs starts threads and never gives back what it took.
    let mut command = Command::new(SELF_INSIDE);
    command.arg(roles::SEEN).arg(format!("/afs/.{cell}/{path}"));
    let out = process::run(&mut command, LIMIT)?;
    let line = out.lines().find(|l| l.starts_with('[')).context("nothing was said")?;
    Ok(serde_json::from_str(line)?)
}

/// The names alone.
///
/// # Errors
/// As [`directory`].
pub fn names(cell: &str, path: &str) -> Result<Vec<String>> {
    Ok(directory(cell, path)?.into_iter().map(|s| s.name).collect())
}

/// The role that looks. Argument: the path.
pub(crate) fn look(args: &[String]) -> Result<()> {
    let [path] = args else { bail!("PATH") };
    let world = World::here()?;
    let conf = tempfile::tempdir()?;
    snapshot_confdir(&world.conf_dir, conf.path()).context("configuration of the AFS client")?;
    let object = world.programs.uafs.as_ref().context("libafsweb_uafs.so had not been built")?;
    let afs = Userspace::start(&Config::new(object, conf.path())).context("AFS client")?;
    let pag = afs.clone().new_pag()?;
    for cell in &world.cells {
        pag.set_token(&token::sealed(cell, ADMIN)?)?;
    }
    let scope = pag.enter()?;
    let files = afs.files(&scope)?;
    let mut seen = Vec::new();
    for name in files.read_dir(path.as_bytes())? {
        // What somebody removes meanwhile is not there.
        let Ok(found) = files.lstat(&[path.as_bytes(), b"/", &name].concat()) else { continue };
        seen.push(Seen {
            name: String::from_utf8_lossy(&name).into_owned(),
            size: found.size,
            owner: found.uid,
            mode: found.mode & 0o777,
            directory: found.kind == Kind::Directory,
        });
    }
    seen.sort();
    writeln!(std::io::stdout(), "\n{}", serde_json::to_string(&seen)?)?;
    Ok(())
}
