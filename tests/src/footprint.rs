//! What a process takes, as /proc tells it; and what keys there are.

use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::fs;

/// What a process takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// Resident memory, KiB, whoever else has it as well.
    pub rss_kib: u64,
    /// The same, each page divided by the number of those who have it.
    pub pss_kib: u64,
    /// Of it, memory that is its own and no file's: what it has allocated.
    pub own_kib: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
}

/// What a process takes.
///
/// # Errors
/// There is no such process.
pub fn of(pid: u32) -> Result<Footprint> {
    let dir = format!("/proc/{pid}");
    let rollup = fs::read_to_string(format!("{dir}/smaps_rollup")).context("memory")?;
    let entries = |name: &str| -> Result<u64> {
        Ok(u64::try_from(fs::read_dir(format!("{dir}/{name}")).with_context(|| name.to_owned())?.count())?)
    };
    Ok(Footprint {
        rss_kib: field(&rollup, "Rss:")?,
        pss_kib: field(&rollup, "Pss:")?,
        own_kib: field(&rollup, "Private_Dirty:")?,
        descriptors: entries("fd")?,
        threads: entries("task")?,
    })
}

/// A number of a line that begins with this.
fn field(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(name)).with_context(|| name.to_owned())?;
    line.split_whitespace().next().and_then(|n| n.parse().ok()).with_context(|| format!("{name}{line}"))
}

/// How many keys and keyrings the kernel has for each uid; whoever has none is not there.
///
/// # Errors
/// This kernel does not tell.
pub fn keys() -> Result<BTreeMap<u32, u64>> {
    let text = fs::read_to_string("/proc/key-users").context("/proc/key-users")?;
    Ok(text.lines().filter_map(key_user).collect())
}

/// uid and number of keys of a line: `   33:     4 3/3 3/200 121/20000`.
fn key_user(line: &str) -> Option<(u32, u64)> {
    let (uid, rest) = line.split_once(':')?;
    let counted = rest.split_whitespace().nth(1)?.split('/').next()?;
    Some((uid.trim().parse().ok()?, counted.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn what_a_process_opens_starts_and_writes_to_shows() {
        let me = std::process::id();
        let before = of(me).unwrap();
        let files: Vec<File> = (0..50).map(|_| File::open("/dev/null").unwrap()).collect();
        let memory = vec![1_u8; 64 << 20];
        let (stop, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || wait.recv());
        let after = of(me).unwrap();
        // Other tests run in this process, too.
        assert!(after.descriptors > before.descriptors + 30, "{before:?} {after:?}");
        assert!(after.own_kib > before.own_kib + (48 << 10), "{before:?} {after:?}");
        assert!(after.rss_kib >= after.own_kib && after.threads > 1);
        drop((files, memory, stop));
        let _ = thread.join().unwrap();
    }

    #[test]
    fn keys_are_counted_by_who_has_them() {
        assert_eq!(key_user("   33:     4 3/3 2/200 121/20000"), Some((33, 3)));
        assert_eq!(key_user("rubbish"), None);
    }
}
