//! Makes the content of the cells through the user-space client, as their administrator.

use crate::content::{self, Body, Item};
use crate::namespace::SELF_INSIDE;
use crate::world::{ADMIN, STATE_DIR, World};
use crate::{process, roles, token, wait};
use anyhow::{Context as _, Result, bail};
use pag::AfsClient as _;
use pag::userspace::{Config, Files, Userspace, snapshot_confdir};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Time for everything, the big file included.
const LIMIT: Duration = Duration::from_secs(600);
/// A piece of a large file.
const PIECE: usize = 1 << 20;
/// Name of the half-ready description.
const DRAFT: &str = "world-draft.json";

/// Fills the cells in a process of its own, since libuafs starts threads and never gives back what it took.
///
/// # Errors
/// The end of what that process said.
pub(crate) fn fill_in_process(world: &World) -> Result<()> {
    let draft = Path::new(STATE_DIR).join(DRAFT);
    fs::write(&draft, serde_json::to_string(world)?)?;
    let log = world.results.join("content.log");
    let out = File::create(&log)?;
    let mut command = Command::new(SELF_INSIDE);
    command.arg(roles::CONTENT).arg(&draft).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
    let mut child = process::Guarded::spawn(&mut command, "content of the cells", Duration::from_secs(1))?;
    let status = wait::until("content of the cells", LIMIT, || child.ended())?;
    if !status.success() {
        bail!("content of the cells: {status}; {}", process::tail(&log, 15));
    }
    Ok(())
}

/// The role that does it. Argument: file with the description.
pub(crate) fn fill(args: &[String]) -> Result<()> {
    let [draft] = args else { bail!("WORLD") };
    let world: World =
        serde_json::from_str(&fs::read_to_string(draft)?).context("description of the world")?;
    let conf = PathBuf::from(STATE_DIR).join("content-conf");
    fs::create_dir_all(&conf)?;
    snapshot_confdir(&world.conf_dir, &conf).context("configuration of the AFS client")?;
    let object = world.programs.uafs.as_ref().context("libafsweb_uafs.so had not been built")?;
    let afs = Userspace::start(&Config::new(object, conf)).context("AFS client")?;
    let pag = afs.clone().new_pag()?;
    for cell in &world.cells {
        pag.set_token(&token::sealed(cell, ADMIN)?)?;
    }
    let scope = pag.enter()?;
    let files = afs.files(&scope)?;
    for cell in &world.cells {
        for item in content::items(&cell.name, world.sizes) {
            make(&files, &cell.name, &item).with_context(|| format!("{}: {item:?}", cell.name))?;
        }
    }
    Ok(())
}

/// Makes one thing.
fn make(files: &Files<'_>, cell: &str, item: &Item) -> Result<()> {
    // The read-write way, whatever copies there will be.
    let full = |path: &str| format!("/afs/.{cell}/{path}").trim_end_matches('/').as_bytes().to_vec();
    match item {
        Item::Directory { path, acl } => {
            let at = full(path);
            if !path.is_empty() {
                files.mkdir(&at)?;
            }
            if let Some(acl) = acl {
                files.set_acl(&at, acl.entries()).context("ACL")?;
            }
        }
        Item::File { path, body: Body::Bytes(bytes) } => files.write_file(&full(path), bytes)?,
        Item::File { path, body: Body::Program(text) } => {
            let file = files.create(&full(path), 0o755)?;
            file.pwrite(files.scope(), text, 0)?;
            file.close()?;
        }
        Item::File { path, body: Body::Pattern(size) } => {
            let file = files.create(&full(path), 0o644)?;
            let mut at = 0;
            while at < *size {
                let len = usize::try_from(*size - at).unwrap_or(PIECE).min(PIECE);
                let piece = content::pattern(at, len);
                let mut rest = piece.as_slice();
                while !rest.is_empty() {
                    let n = file.pwrite(files.scope(), rest, at)?;
                    rest = rest.get(n..).filter(|_| n > 0).context("nothing was written")?;
                    at += u64::try_from(n)?;
                }
            }
            file.close()?;
        }
        Item::Link { path, target } => files.symlink(target.as_bytes(), &full(path))?,
        Item::Mount { path, kind, volume, acl } => {
            let at = full(path);
            files.mount(&at, *kind, None, volume)?;
            if let Some(acl) = acl {
                files.set_acl(&at, acl.entries()).context("ACL of the volume's root")?;
            }
        }
    }
    Ok(())
}
