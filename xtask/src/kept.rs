//! What stays of runs that failed: a world empties its results when it starts, so a failure's are moved out of the way.

use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// So many stay.
const KEPT: usize = 8;

/// Moves results to a directory beside them, `failed/<seconds since 1970>-<their name>`: where they are now. The oldest go.
///
/// # Errors
/// The file system refuses it.
pub(crate) fn keep(results: &Path) -> Result<PathBuf> {
    let name = results.file_name().context("results without name")?.to_string_lossy();
    let all = results.with_file_name("failed");
    fs::create_dir_all(&all).with_context(|| all.display().to_string())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at = all.join(format!("{}.{:09}-{name}", now.as_secs(), now.subsec_nanos()));
    fs::rename(results, &at).with_context(|| at.display().to_string())?;
    let mut names: Vec<PathBuf> =
        fs::read_dir(&all)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    names.sort();
    for old in names.iter().rev().skip(KEPT) {
        fs::remove_dir_all(old).with_context(|| old.display().to_string())?;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_outlives_the_next_runs_and_the_oldest_goes() {
        let world = tempfile::tempdir().unwrap();
        let results = world.path().join("test-event");
        let run = |said: &str| {
            fs::create_dir_all(&results).unwrap();
            fs::write(results.join("output"), said).unwrap();
            keep(&results).unwrap()
        };
        let oldest = run("0");
        let first = run("1");
        assert!(!results.exists(), "the next run begins with none");
        for n in 2..=KEPT {
            run(&n.to_string());
        }
        assert_eq!(fs::read_to_string(first.join("output")).unwrap(), "1");
        assert!(!oldest.exists());
        assert_eq!(fs::read_dir(world.path().join("failed")).unwrap().count(), KEPT);
    }
}
