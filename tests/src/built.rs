//! Our own built programs: where cargo put them, and where they stand in the world.

use crate::world::Programs;
use anyhow::{Context as _, Result};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

/// File name in cargo's directory; path in the world.
const MODULE: (&str, &str) = ("libmod_afs.so", "/usr/lib/apache2/modules/mod_afs.so");
/// As above.
const WEBLOG: (&str, &str) = ("weblog", "/usr/lib/afsweb/weblog");
/// As above.
const STARTER: (&str, &str) = ("weblog-starter", "/usr/lib/afsweb/weblog-starter");
/// As above.
const UAFS: (&str, &str) = ("libafsweb_uafs.so", "/usr/lib/afsweb/libafsweb_uafs.so");
/// As above.
const KASERVER: (&str, &str) = ("test-kaserver", "/usr/lib/afsweb-test/test-kaserver");

/// As above.
const LOGIN: (&str, &str) = ("libafsauthent-login", "/usr/lib/afsweb-test/libafsauthent-login");
/// As above.
const KRB5_LOGIN: (&str, &str) = ("libkrb5-login", "/usr/lib/afsweb-test/libkrb5-login");

/// The directory that cargo put the running program in: `target/debug` or `target/release`.
///
/// # Errors
/// The path of the running program cannot be found out.
pub fn directory() -> Result<PathBuf> {
    let exe = std::env::current_exe().context("path of this program")?;
    let mut dir = exe.parent().context("program without directory")?;
    if dir.ends_with("deps") {
        dir = dir.parent().context("program without directory")?;
    }
    Ok(dir.to_owned())
}

/// Copies what is in `from` to its places in the running root, owned by root, mode 0755.
///
/// # Errors
/// The file system's. What was not built is left out, not an error.
pub fn install(from: &Path) -> Result<Programs> {
    Ok(Programs {
        module: place(from, MODULE)?,
        weblog: place(from, WEBLOG)?,
        weblog_starter: place(from, STARTER)?,
        uafs: place(from, UAFS)?,
        kaserver: place(from, KASERVER)?,
        login: place(from, LOGIN)?,
        krb5_login: place(from, KRB5_LOGIN)?,
    })
}

/// Copies one program.
fn place(from: &Path, (name, to): (&str, &str)) -> Result<Option<PathBuf>> {
    let from = from.join(name);
    if !from.is_file() {
        return Ok(None);
    }
    let to = PathBuf::from(to);
    let dir = to.parent().context("no directory")?;
    fs::create_dir_all(dir)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    fs::copy(&from, &to).with_context(|| format!("{} to {}", from.display(), to.display()))?;
    chown(&to, Some(0), Some(0))?;
    fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
    Ok(Some(to))
}
