//! How a client is started, checked before libuafs sees it: libuafs ends the process on what it does not like.

use crate::{Cell, CellServDb, Error};
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How a client is started.
#[derive(Debug, Clone)]
pub struct Config {
    /// The shared object, libafsweb_uafs.so.
    pub object: PathBuf,
    /// Directory with ThisCell, CellServDB and cacheinfo ([`snapshot_confdir`] makes one).
    pub conf_dir: PathBuf,
    /// Where AFS appears: `/afs` or another directory below the root.
    pub mount_dir: PathBuf,
    /// The cache of this process.
    pub cache: Cache,
    /// Entries of the stat cache; 0: libuafs chooses by the size of the cache.
    pub stat_entries: u32,
    /// Entries of the volume cache.
    pub volumes: u32,
    /// Background threads.
    pub daemons: u32,
    /// After this time a silent server counts as down, and a call without progress ends. 6 s at least.
    pub dead_time: Duration,
    /// UDP ports on which file servers are heard; the first free one is taken, or one of the system's choice if none is.
    /// Processes that share them answer for one another's predecessors.
    pub ports: Option<RangeInclusive<u16>>,
}

/// Where a process keeps what it has read. Processes cannot share one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cache {
    /// In memory, this many KiB.
    Memory {
        /// 4,096 to 16,777,216 KiB.
        kib: u32,
    },
    /// In an existing directory of this process alone, which nobody else may read.
    Disk {
        /// The directory.
        dir: PathBuf,
        /// 8,192 to 1,073,741,824 KiB.
        kib: u32,
    },
}

impl Config {
    /// A configuration with a memory cache of 64 MiB and a dead time of 20 s.
    pub fn new(object: impl Into<PathBuf>, conf_dir: impl Into<PathBuf>) -> Self {
        Self {
            object: object.into(),
            conf_dir: conf_dir.into(),
            mount_dir: "/afs".into(),
            cache: Cache::Memory { kib: 65_536 },
            stat_entries: 3_000,
            volumes: 200,
            daemons: 3,
            dead_time: Duration::from_secs(20),
            ports: None,
        }
    }

    /// Checks what libuafs would end the process for.
    ///
    /// # Errors
    /// [`Error::NoAfs`] says what is wrong.
    pub fn check(&self) -> Result<(), Error> {
        let no = |text: String| Err(Error::NoAfs(text));
        if !self.object.is_file() {
            return no(format!("{} is missing", self.object.display()));
        }
        check_confdir(&self.conf_dir)?;
        check_mount_dir(&self.mount_dir)?;
        if self.conf_dir.as_os_str().len() > 900 {
            return no("name of the configuration directory is too long".to_owned());
        }
        match &self.cache {
            Cache::Memory { kib } if (4_096..=16_777_216).contains(kib) => {}
            Cache::Memory { kib } => return no(format!("memory cache of {kib} KiB is not 4096 to 16777216")),
            Cache::Disk { dir, kib } => check_disk_cache(dir, *kib, &self.conf_dir)?,
        }
        if self.stat_entries > 1_000_000
            || !(1..=100_000).contains(&self.volumes)
            || !(1..=32).contains(&self.daemons)
        {
            return no("stat entries, volumes or daemons are out of range".to_owned());
        }
        if self.ports.as_ref().is_some_and(|ports| *ports.start() == 0 || ports.is_empty()) {
            return no("no ports".to_owned());
        }
        if self.dead_time > Duration::from_secs(600) {
            return no("dead time is longer than 600 s".to_owned());
        }
        Ok(())
    }
}

/// Reads a file of a configuration directory.
///
/// # Errors
/// [`Error::NoAfs`] says what is wrong.
fn conf_file(dir: &Path, name: &str) -> Result<String, Error> {
    let path = dir.join(name);
    std::fs::read_to_string(&path).map_err(|e| Error::NoAfs(format!("{}: {e}", path.display())))
}

/// Checks the files of a configuration directory.
///
/// # Errors
/// [`Error::NoAfs`] says what is wrong.
fn check_confdir(dir: &Path) -> Result<(), Error> {
    let no = |text: String| Err(Error::NoAfs(text));
    let cell = this_cell(dir)?;
    let cells = conf_file(dir, "CellServDB")?;
    check_cells(&cells, &cell, dir)?;
    let info = conf_file(dir, "cacheinfo")?;
    let fields: Vec<&str> = info.trim().splitn(3, ':').collect();
    let [mount, cache, kib] = fields.as_slice() else {
        return no(format!("{}/cacheinfo is not MOUNT:DIRECTORY:SIZE", dir.display()));
    };
    if mount.is_empty()
        || cache.is_empty()
        || mount.len() > 1_000
        || cache.len() > 1_000
        || kib.parse::<u32>().is_err()
    {
        return no(format!("{}/cacheinfo is not MOUNT:DIRECTORY:SIZE", dir.display()));
    }
    Ok(())
}

/// The local cell of a configuration directory.
///
/// # Errors
/// [`Error::NoAfs`] says what is wrong.
fn this_cell(dir: &Path) -> Result<Cell, Error> {
    let text = conf_file(dir, "ThisCell")?;
    let name = text.lines().next().unwrap_or_default().trim();
    Cell::new(name).map_err(|e| Error::NoAfs(format!("{}/ThisCell: {e}", dir.display())))
}

/// CellServDB must be readable, line by line, and have a server of the local cell.
///
/// # Errors
/// [`Error::NoAfs`] says what is wrong.
fn check_cells(text: &str, local: &Cell, dir: &Path) -> Result<(), Error> {
    if CellServDb::parse(text, &dir.join("CellServDB"))?.servers(local).is_empty() {
        return Err(Error::NoAfs(format!(
            "{}/CellServDB has no server of the local cell {local}",
            dir.display()
        )));
    }
    Ok(())
}

/// The mount directory is absolute, canonical and below the root.
///
/// # Errors
/// [`Error::NoAfs`] says what is wrong.
fn check_mount_dir(dir: &Path) -> Result<(), Error> {
    let bytes = dir.as_os_str().as_bytes();
    let canonical = bytes.len() > 1
        && bytes.len() <= 255
        && bytes.strip_prefix(b"/").is_some_and(|rest| {
            rest.split(|b| *b == b'/').all(|p| !p.is_empty() && p != b"." && p != b".." && !p.contains(&b':'))
        });
    if canonical {
        Ok(())
    } else {
        Err(Error::NoAfs(format!("{} cannot be the mount directory", dir.display())))
    }
}

/// The cache directory must be there, be writable and lie on a large enough file system.
///
/// # Errors
/// [`Error::NoAfs`] says what is wrong.
fn check_disk_cache(dir: &Path, kib: u32, conf_dir: &Path) -> Result<(), Error> {
    let no = |text: String| Err(Error::NoAfs(text));
    if !(8_192..=1_073_741_824).contains(&kib) {
        return no(format!("disk cache of {kib} KiB is not 8192 to 1073741824"));
    }
    if !dir.is_absolute() || dir.as_os_str().len() > 900 {
        return no(format!("{} cannot be the cache directory", dir.display()));
    }
    if !dir.is_dir()
        || rustix::fs::access(dir, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_err()
    {
        return no(format!("{} is no directory that may be written to", dir.display()));
    }
    let open_to_others = std::fs::metadata(dir).map_or(true, |m| m.permissions().mode() & 0o077 != 0);
    if open_to_others {
        return no(format!(
            "{} may be used by others than its owner: its mode should be 0700",
            dir.display()
        ));
    }
    // libuafs checks the directory that cacheinfo names, we also the one that is used.
    let info = conf_file(conf_dir, "cacheinfo")?;
    let named = info.trim().split(':').nth(1).unwrap_or_default().trim();
    for place in [dir, Path::new(named)] {
        let Ok(fs) = rustix::fs::statvfs(place) else { continue };
        let total_kib = fs.f_blocks.saturating_mul(fs.f_frsize) / 1_024;
        if u64::from(kib) > total_kib / 100 * 90 {
            return no(format!(
                "disk cache of {kib} KiB does not fit on the file system of {}",
                place.display()
            ));
        }
    }
    Ok(())
}

/// Makes a configuration directory for the client: copies ThisCell and CellServDB of `from` (the administrator's,
/// such as /etc/openafs) to the existing directory `to` and writes a cacheinfo, which libuafs wants in any case.
///
/// Whoever reads `to` meanwhile, as a process does that just starts, finds each file whole: the old or the new one.
/// Everybody may read them.
///
/// # Errors
/// [`Error::NoAfs`] if `from` is not acceptable or `to` cannot be written to; `to` is not touched in the first case.
pub fn snapshot_confdir(from: &Path, to: &Path) -> Result<(), Error> {
    let cell = this_cell(from)?;
    let cells = conf_file(from, "CellServDB")?;
    check_cells(&cells, &cell, from)?;
    let write = |name: &str, text: &str| {
        let path = to.join(name);
        replace(&path, text).map_err(|e| Error::NoAfs(format!("{}: {e}", path.display())))
    };
    // A new local cell has its servers before it is named.
    write("CellServDB", &cells)?;
    // Only looked at for its form: size and place come from the configuration. A place that is not there makes
    // libuafs skip its own check of the file system.
    write("cacheinfo", "/afs:/nonexistent/afsweb:50000\n")?;
    write("ThisCell", &format!("{cell}\n"))
}

/// Puts a file with this text where `path` is, in one step.
///
/// # Errors
/// The file system's.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, text)?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o644))?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A configuration directory with these two files.
    fn conf(this_cell: &str, cells: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ThisCell"), this_cell).unwrap();
        fs::write(dir.path().join("CellServDB"), cells).unwrap();
        dir
    }

    const GOOD: &str = "# cells\n>other.example #Other\n192.0.2.9 #x\n\n>c.example\t# Ours\n192.0.2.1\t#db.c.example\n[192.0.2.2] #clone\n";

    #[test]
    fn who_starts_while_a_snapshot_is_made_finds_whole_files() {
        let (from, to) = (conf("c.example\n", GOOD), tempfile::tempdir().unwrap());
        snapshot_confdir(from.path(), to.path()).unwrap();
        let config = Config::new(to.path().join("ThisCell"), to.path());
        std::thread::scope(|scope| {
            let writer =
                scope.spawn(|| (0..1_000).try_for_each(|_| snapshot_confdir(from.path(), to.path())));
            while !writer.is_finished() {
                config.check().unwrap();
            }
            writer.join().unwrap().unwrap();
        });
        assert_eq!(fs::read_dir(to.path()).unwrap().count(), 3, "nothing else is left");
    }

    #[test]
    fn a_snapshot_is_what_a_start_needs() {
        let (from, to) = (conf("C.example\n", GOOD), tempfile::tempdir().unwrap());
        snapshot_confdir(from.path(), to.path()).unwrap();
        assert_eq!(fs::read_to_string(to.path().join("ThisCell")).unwrap(), "c.example\n");
        assert_eq!(fs::read_to_string(to.path().join("CellServDB")).unwrap(), GOOD);
        // Any file stands for the object here.
        let config = Config::new(to.path().join("ThisCell"), to.path());
        config.check().unwrap();
        assert!(Config::new(to.path().join("missing"), to.path()).check().is_err());
        let disk =
            |kib| Config { cache: Cache::Disk { dir: to.path().into(), kib }, ..config.clone() }.check();
        assert!(disk(8_191).is_err() && disk(1 << 31).is_err());
        fs::set_permissions(to.path(), fs::Permissions::from_mode(0o700)).unwrap();
        disk(10_000).unwrap();
        fs::set_permissions(to.path(), fs::Permissions::from_mode(0o750)).unwrap();
        assert!(disk(10_000).unwrap_err().to_string().contains("0700"));
        let mut odd = config.clone();
        odd.cache = Cache::Disk { dir: to.path().join("missing"), kib: 10_000 };
        assert!(odd.check().is_err());
        odd.cache = Cache::Memory { kib: 4_095 };
        assert!(odd.check().is_err());
        fs::write(to.path().join("cacheinfo"), "/afs:50000\n").unwrap();
        assert!(config.check().is_err());
        fs::remove_file(to.path().join("cacheinfo")).unwrap();
        assert!(config.check().unwrap_err().to_string().contains("cacheinfo"));
    }

    #[test]
    fn what_libuafs_would_end_the_process_for_is_told_by_name() {
        for (this_cell, cells, word) in [
            ("", GOOD, "ThisCell"),
            ("c example\n", GOOD, "ThisCell"),
            ("third.example\n", GOOD, "no server of the local cell"),
            ("c.example\n", "", "no server of the local cell"),
            ("c.example\n", ">c.example\n", "no server of the local cell"),
            ("c.example\n", "192.0.2.1\n", "line 1"),
            ("c.example\n", ">c.example\nhost.c.example\n", "line 2"),
            ("c.example\n", ">\n192.0.2.1\n", "line 1"),
            ("c.example\n", ">c.example\n192.0.2.300\n", "line 2"),
        ] {
            let (from, to) = (conf(this_cell, cells), tempfile::tempdir().unwrap());
            let told = snapshot_confdir(from.path(), to.path()).unwrap_err().to_string();
            assert!(told.contains(word), "{this_cell:?} {cells:?}: {told}");
            assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn the_mount_directory_is_canonical() {
        for (dir, good) in [
            ("/afs", true),
            ("/a/b", true),
            ("/", false),
            ("afs", false),
            ("/afs/", false),
            ("/a/../b", false),
            ("/a:b", false),
            ("", false),
        ] {
            assert_eq!(check_mount_dir(Path::new(dir)).is_ok(), good, "{dir:?}");
        }
    }
}
