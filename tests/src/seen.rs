//! What lies in AFS, as an administrator sees it through a client of its own: also what no web server shows.

use crate::content::Acl;
use crate::namespace::SELF_INSIDE;
use crate::world::{ADMIN, World};
use crate::{process, roles, token};
use anyhow::{Context as _, Result, bail};
use pag::userspace::{Config, Files, Kind, snapshot_confdir};
use pag::{AfsClient as _, PagScope, Userspace};
use serde::{Deserialize, Serialize};
use std::io::{BufRead as _, Write as _};
use std::process::Command;
use std::time::{Duration, Instant};

/// A client starts and looks at some files.
const LIMIT: Duration = Duration::from_secs(60);

/// Longest file that is looked into.
const TEXT_MAX: usize = 1 << 20;

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

/// Writes a file of a cell as its administrator, and says how long that took from opening to closing; `path` is below
/// `/afs/<cell>`.
///
/// # Errors
/// It could not be written.
pub fn change(cell: &str, path: &str, text: &str) -> Result<Duration> {
    let mut command = Command::new(SELF_INSIDE);
    command.arg(roles::CHANGE).arg(format!("/afs/.{cell}/{path}"));
    // It waits for clients that are gone.
    let out = process::output_with_input(&mut command, text.as_bytes(), 4 * LIMIT)?;
    let said = String::from_utf8_lossy(&out.stdout);
    let line = said.lines().find_map(|l| l.strip_prefix("took "));
    let line =
        line.with_context(|| format!("{path}: {}: {}", out.status, String::from_utf8_lossy(&out.stderr)))?;
    Ok(Duration::from_micros(line.parse()?))
}

/// What is in a file of a cell; `path` is below `/afs/<cell>`.
///
/// # Errors
/// There is no such file, or it is no text.
pub fn text(cell: &str, path: &str) -> Result<String> {
    let mut command = Command::new(SELF_INSIDE);
    command.arg(roles::TEXT).arg(format!("/afs/.{cell}/{path}"));
    let out = process::run(&mut command, LIMIT)?;
    // The library speaks, too.
    let line = out.lines().rfind(|l| l.starts_with('"')).context("nothing was said")?;
    Ok(serde_json::from_str(line)?)
}

/// Makes a directory with `count` empty files in it, `00000.txt` and so on; `path` is below `/afs/<cell>`.
///
/// # Errors
/// It is there already, or its server does not answer.
pub fn make_many(cell: &str, path: &str, count: usize) -> Result<()> {
    let mut command = Command::new(SELF_INSIDE);
    command.arg(roles::MANY).arg(format!("/afs/.{cell}/{path}")).arg(count.to_string());
    process::run(&mut command, 5 * LIMIT).map(drop)
}

/// Makes a symbolic link to `target`; `path` is below `/afs/<cell>`.
///
/// # Errors
/// It cannot be made.
pub fn link(cell: &str, path: &str, target: &str) -> Result<()> {
    let mut command = Command::new(SELF_INSIDE);
    command.arg(roles::LINK).arg(format!("/afs/.{cell}/{path}")).arg(target);
    process::run(&mut command, LIMIT).map(drop)
}

/// Replaces the ACL of a directory: these users, and administrators, have these rights; `path` is below `/afs/<cell>`.
///
/// # Errors
/// It cannot be replaced.
pub fn allow(cell: &str, path: &str, rights: &[(&str, &str)]) -> Result<()> {
    let mut command = Command::new(SELF_INSIDE);
    command.arg(roles::ALLOW).arg(format!("/afs/.{cell}/{path}"));
    command.args(rights.iter().flat_map(|(user, rights)| [user, rights]));
    process::run(&mut command, LIMIT).map(drop)
}

/// A directory that is swapped for a link as soon as something happens; all paths are below `/afs/<cell>`.
#[derive(Debug)]
pub struct Swap<'a> {
    /// Where a name has to come or go.
    pub watched: &'a str,
    /// The directory.
    pub path: &'a str,
    /// Its new name.
    pub moved: &'a str,
    /// What the link in its place points to.
    pub target: &'a str,
}

impl Swap<'_> {
    /// Runs `f` once the directory is watched, and comes back when it has been swapped and `f` has ended.
    ///
    /// # Errors
    /// Nothing has happened; it cannot be swapped.
    pub fn during<T>(&self, cell: &str, f: impl FnOnce() -> T) -> Result<T> {
        let at = |path: &str| format!("/afs/.{cell}/{path}");
        let mut child = Command::new(SELF_INSIDE)
            .arg(roles::SWAP)
            .args([at(self.watched), at(self.path), at(self.moved), self.target.to_owned()])
            .stdout(std::process::Stdio::piped())
            .spawn()?;
        let mut said = std::io::BufReader::new(child.stdout.take().context("stdout")?).lines();
        let watches = said.by_ref().any(|line| line.is_ok_and(|line| line == WATCHED));
        let result = f();
        // What else the library says.
        said.for_each(drop);
        let status = child.wait()?;
        if watches && status.success() { Ok(result) } else { bail!("{self:?}: {status}") }
    }
}

/// What the role that swaps says once it watches.
const WATCHED: &str = "watched";

/// The role that makes a link. Arguments: the path, where it points.
pub(crate) fn make_link(args: &[String]) -> Result<()> {
    let [path, target] = args else { bail!("PATH TARGET") };
    as_administrator(Duration::from_secs(20), |files, _| {
        Ok(files.symlink(target.as_bytes(), path.as_bytes())?)
    })
}

/// The role that replaces an ACL. Arguments: the directory, then user and rights in turn.
pub(crate) fn replace_acl(args: &[String]) -> Result<()> {
    let Some((path, rights)) = args.split_first() else { bail!("PATH [USER RIGHTS]...") };
    let pairs = rights.chunks(2).filter_map(|pair| Some((pair.first()?, pair.get(1)?)));
    let acl = pairs.fold(Acl::default(), |acl, (user, rights)| acl.allow(user, rights));
    as_administrator(Duration::from_secs(20), |files, _| Ok(files.set_acl(path.as_bytes(), acl.entries())?))
}

/// The role that swaps a directory for a link. Arguments: what is watched, the directory, its new name, where the link points.
pub(crate) fn swap(args: &[String]) -> Result<()> {
    let [watched, path, moved, target] = args else { bail!("WATCHED PATH MOVED TARGET") };
    as_administrator(Duration::from_secs(20), |files, _| {
        // Not its names, which would have to be fetched anew each time.
        let look = || files.stat(watched.as_bytes());
        let before = look()?;
        writeln!(std::io::stdout(), "\n{WATCHED}")?;
        std::io::stdout().flush()?;
        let begin = Instant::now();
        while look().is_ok_and(|now| now == before) {
            if begin.elapsed() > LIMIT {
                bail!("nothing happens in {watched}");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        files.rename(path.as_bytes(), moved.as_bytes())?;
        Ok(files.symlink(target.as_bytes(), path.as_bytes())?)
    })
}

/// The role that looks. Argument: the path.
pub(crate) fn look(args: &[String]) -> Result<()> {
    let [path] = args else { bail!("PATH") };
    as_administrator(Duration::from_secs(20), |files, _| {
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
    })
}

/// The role that reads. Argument: the path.
pub(crate) fn read(args: &[String]) -> Result<()> {
    let [path] = args else { bail!("PATH") };
    as_administrator(Duration::from_secs(20), |files, _| {
        let bytes = files.read_file(path.as_bytes(), TEXT_MAX)?;
        let text = String::from_utf8(bytes).context("no text")?;
        Ok(writeln!(std::io::stdout(), "\n{}", serde_json::to_string(&text)?)?)
    })
}

/// The role that writes what it reads. Argument: the path.
pub(crate) fn write(args: &[String]) -> Result<()> {
    let [path] = args else { bail!("PATH") };
    let text = std::io::read_to_string(std::io::stdin())?;
    as_administrator(3 * LIMIT, |files, scope| {
        let path = path.as_bytes();
        if files.stat(path).is_err() {
            files.create(path, 0o644)?.close()?;
        }
        let begin = Instant::now();
        let file = files.open_to_write(path, true)?;
        let mut at = 0;
        while let Some(rest) = text.as_bytes().get(at..).filter(|rest| !rest.is_empty()) {
            at += file.pwrite(scope, rest, u64::try_from(at)?)?;
        }
        file.close()?;
        writeln!(std::io::stdout(), "\ntook {}", begin.elapsed().as_micros())?;
        Ok(())
    })
}

/// The role that makes many files. Arguments: the directory, how many.
pub(crate) fn make(args: &[String]) -> Result<()> {
    let [path, count] = args else { bail!("PATH COUNT") };
    let count: usize = count.parse()?;
    as_administrator(Duration::from_secs(20), |files, _| {
        files.mkdir(path.as_bytes())?;
        for n in 0..count {
            files.create(format!("{path}/{n:05}.txt").as_bytes(), 0o644)?.close()?;
        }
        Ok(())
    })
}

/// Has something done with a client of its own, which bears with servers for `patience`, as administrator of all cells.
fn as_administrator(
    patience: Duration,
    f: impl FnOnce(&Files<'_>, &PagScope<'_>) -> Result<()>,
) -> Result<()> {
    let world = World::here()?;
    let conf = tempfile::tempdir()?;
    snapshot_confdir(&world.conf_dir, conf.path()).context("configuration of the AFS client")?;
    let object = world.programs.uafs.as_ref().context("libafsweb_uafs.so had not been built")?;
    let config = Config { dead_time: patience, ..Config::new(object, conf.path()) };
    let afs = Userspace::start(&config).context("AFS client")?;
    let pag = afs.clone().new_pag()?;
    for cell in &world.cells {
        pag.set_token(&token::sealed(cell, ADMIN)?)?;
    }
    let scope = pag.enter()?;
    let done = f(&afs.files(&scope)?, &scope);
    drop(scope);
    let _ = afs.give_up_callbacks();
    done
}
