//! What a path leads through: whoever may change one of these has a say in what is found at its end.

use rustix::io::Errno;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Symbolic links on the way, as the kernel has it.
const LINKS_MAX: usize = 40;

/// Everything that is looked at on the way to a file, from `/` on: directories, symbolic links, and the file itself. Only the
/// last part of each of these paths may be a symbolic link.
///
/// # Errors
/// Those of lstat(2) and readlink(2).
pub fn on_the_way(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut way = Vec::new();
    let mut at = PathBuf::from("/");
    let mut left = parts(&std::path::absolute(path)?);
    let mut links = 0;
    while let Some(part) = left.pop_front() {
        match Path::new(&part).components().next() {
            Some(Component::RootDir) => at = PathBuf::from("/"),
            Some(Component::ParentDir) => {
                at.pop();
            }
            Some(Component::Normal(name)) => {
                let entry = at.join(name);
                if entry.symlink_metadata()?.is_symlink() {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(Errno::LOOP.into());
                    }
                    let mut target = parts(&entry.read_link()?);
                    target.append(&mut left);
                    left = target;
                    way.push(entry);
                    continue;
                }
                at = entry;
            }
            _ => continue,
        }
        way.push(at.clone());
    }
    Ok(way)
}

/// The parts of a path, `/` being one.
fn parts(path: &Path) -> VecDeque<OsString> {
    path.components().map(|part| part.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_paths_lead_through_the_directories_above() {
        let way = on_the_way(Path::new("/proc/self/../version")).unwrap();
        let own = format!("/proc/{}", std::process::id());
        let all = ["/", "/proc", "/proc/self", own.as_str(), "/proc", "/proc/version"];
        assert_eq!(way, all.map(PathBuf::from));
        assert!(on_the_way(Path::new("/proc/nothing")).is_err());
        assert!(on_the_way(Path::new("/proc/version/x")).is_err());
    }
}
