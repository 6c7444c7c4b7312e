//! Trees of unpacked packages in the cache: nothing of them is installed.

use crate::apt::{Apt, state_of_apt};
use crate::{say, setup};
use anyhow::{Context as _, Result, bail};
use integration::process;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// One package.
const UNPACK_LIMIT: Duration = Duration::from_secs(120);

/// A tree of unpacked packages.
#[derive(Debug)]
pub(crate) struct Tree<'a> {
    /// What lies in it, for messages.
    pub(crate) what: &'a str,
    /// The tree; its parent takes what is half-ready.
    pub(crate) dir: PathBuf,
    /// Last file of a complete tree; holds what it was made of.
    pub(crate) marker: PathBuf,
    /// These, with what they need and the host has not.
    pub(crate) with_needs: &'a [&'a str],
    /// These alone.
    pub(crate) alone: &'a [&'a str],
}

impl Tree<'_> {
    /// Makes the tree anew if it is missing or outdated; `finish` does the rest to it before it takes its place.
    ///
    /// # Errors
    /// Packages cannot be had or unpacked; `finish` failed.
    pub(crate) fn ensure(&self, apt: &Apt, finish: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let noted = fs::read_to_string(&self.marker).unwrap_or_default();
        let (noted_state, noted_plan) = noted.split_once('\n').unwrap_or_default();
        if noted_state == self.state() && self.dir.is_dir() {
            return Ok(());
        }
        let needed = apt.plan(self.with_needs)?;
        let mut alone = Vec::new();
        for package in self.alone {
            alone.push(((*package).to_owned(), apt.candidate(package)?));
        }
        let wanted: String =
            needed.iter().chain(&alone).map(|(name, version)| format!("{name} {version}\n")).collect();
        if noted_plan != wanted || !self.dir.is_dir() {
            if noted_plan.is_empty() {
                say(&format!(
                    "unpacking {}, {} packages (not installed), into {}",
                    self.what,
                    needed.len() + alone.len(),
                    self.dir.display()
                ));
            } else {
                say(&format!("the packages of {} have changed: unpacking them anew", self.what));
            }
            remove(&self.marker)?;
            self.unpack(apt, needed.len(), &alone, finish)?;
        }
        // Asked again: `apt-get update` may have run.
        let part = self.beside("complete.part");
        fs::write(&part, format!("{}\n{wanted}", self.state()))?;
        fs::rename(&part, &self.marker)?;
        Ok(())
    }

    /// Removes the tree.
    pub(crate) fn remove(&self) -> Result<()> {
        remove(&self.marker)?;
        remove(&self.dir)
    }

    /// What a tree is made of: it is as it should be while this does not change.
    fn state(&self) -> String {
        let asked_for = [self.with_needs, self.alone].concat();
        format!("{} {}", state_of_apt(), asked_for.join(" "))
    }

    /// A path beside the tree.
    fn beside(&self, extension: &str) -> PathBuf {
        self.dir.with_extension(extension)
    }

    /// Downloads and unpacks.
    fn unpack(
        &self,
        apt: &Apt,
        needed: usize,
        alone: &[(String, String)],
        finish: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        setup::need_root("unpacking packages with their owners and modes")?;
        let archives = self.beside("archives");
        remove(&archives)?;
        fs::create_dir_all(&archives)?;
        say("  downloading");
        if needed > 0 {
            apt.download_with_needs(self.with_needs, &archives)?;
        }
        if !alone.is_empty() {
            apt.download_alone(alone, &archives)?;
        }
        let part = self.beside("part");
        remove(&part)?;
        fs::create_dir_all(&part)?;
        let packages: Vec<PathBuf> = fs::read_dir(&archives)?
            .flatten()
            .map(|e| e.path())
            .filter(|p| p.extension().is_some_and(|e| e == "deb"))
            .collect();
        let expected = needed + alone.len();
        if packages.len() != expected {
            bail!(
                "apt-get downloaded {} packages instead of {expected}; see {}",
                packages.len(),
                apt.log().display()
            );
        }
        say(&format!("  unpacking {} packages", packages.len()));
        for package in &packages {
            process::run(Command::new("dpkg").arg("-x").arg(package).arg(&part), UNPACK_LIMIT)?;
        }
        merge_usr(&part)?;
        for useless in ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/lintian"] {
            remove(&part.join(useless))?;
        }
        finish(&part)?;
        remove(&self.dir)?;
        fs::rename(&part, &self.dir)?;
        remove(&archives)
    }
}

/// Moves what packages put into /bin, /sbin and /lib to /usr: above the host's root, real directories would hide its links.
fn merge_usr(tree: &Path) -> Result<()> {
    for name in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
        let from = tree.join(name);
        if from.is_dir() && !from.is_symlink() {
            let to = tree.join("usr").join(name);
            fs::create_dir_all(&to)?;
            process::run(Command::new("cp").arg("-a").arg(from.join(".")).arg(&to), UNPACK_LIMIT)?;
            remove(&from)?;
        }
    }
    Ok(())
}

/// Removes a file or directory, if there is one.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let result =
        if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match result {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| path.display().to_string())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_directories_move_below_usr() {
        let dir = std::env::temp_dir().join(format!("afsweb-merge-{}", std::process::id()));
        fs::create_dir_all(dir.join("sbin")).unwrap();
        fs::write(dir.join("sbin/afsd"), "x").unwrap();
        merge_usr(&dir).unwrap();
        assert!(dir.join("usr/sbin/afsd").is_file() && !dir.join("sbin").exists());
        fs::remove_dir_all(dir).unwrap();
    }
}
