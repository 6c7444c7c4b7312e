//! Programs that are replaced while they run.

use integration::world::World;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Our programs in a directory of this test's, so that they can be replaced as dpkg does it.
pub(crate) struct Installed(PathBuf);

/// What is installed, each in a file of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The module, beside the user-space client's object, which has no version.
    Module,
    /// The nanny.
    Starter,
    /// The broker.
    Weblog,
}

impl Part {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Module, Self::Starter, Self::Weblog];

    /// As cargo has built it, and as it is installed.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Module => ("libmod_afs.so", "mod_afs.so"),
            Self::Starter => ("weblog-starter", "weblog-starter"),
            Self::Weblog => ("weblog", "weblog"),
        }
    }
}

impl Installed {
    pub(crate) fn new(world: &World) -> (Self, World) {
        let dir = PathBuf::from("/usr/lib/afsweb-upgraded");
        fs::create_dir_all(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        let mut world = world.clone();
        let p = &mut world.programs;
        for program in [&mut p.module, &mut p.weblog, &mut p.weblog_starter, &mut p.uafs] {
            let from = program.clone().expect("it is built");
            let to = dir.join(from.file_name().unwrap());
            fs::copy(from, &to).unwrap();
            *program = Some(to);
        }
        (Self(dir), world)
    }

    /// Puts another file in the place of each, as a release that has changed nothing of what processes have in common.
    pub(crate) fn replace_all(&self) {
        for entry in fs::read_dir(&self.0).unwrap() {
            let path = entry.unwrap().path();
            // A program does not mind what stands behind it.
            let bytes = [fs::read(&path).unwrap(), b"another release".to_vec()].concat();
            Self::put(&path, &bytes);
        }
    }

    /// Puts these parts of what cargo has built in `from` in their places.
    pub(crate) fn install(&self, from: &Path, parts: &[Part]) {
        for (built, name) in parts.iter().map(|part| part.names()) {
            let file = from.join(built);
            let bytes = fs::read(&file).expect("it is built");
            Self::put(&self.0.join(name), &bytes);
        }
    }

    /// Puts something in the place of the user-space client's object that this module could not load.
    pub(crate) fn replace_object(&self) {
        Self::put(&self.0.join("libafsweb_uafs.so"), b"of another version");
    }

    /// As dpkg does it: whoever runs the old file keeps it.
    fn put(path: &Path, bytes: &[u8]) {
        let new = path.with_extension("dpkg-new");
        fs::write(&new, bytes).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&new, path).unwrap();
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Whether a process runs what stands in this file now.
pub(crate) fn runs_present(pid: u32, program: &Path) -> bool {
    fs::metadata(format!("/proc/{pid}/exe")).is_ok_and(|m| m.ino() == fs::metadata(program).unwrap().ino())
}

/// Whether a process has mapped what stands in this file now.
pub(crate) fn maps_present(pid: u32, object: &Path) -> bool {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let name = object.to_str().unwrap();
    maps.lines().any(|l| l.ends_with(name)) && !maps.contains(&format!("{name} (deleted)"))
}
