//! Key files of service identities.

use super::kdc;
use integration::world::{FIRST_CELL, FIRST_REALM, World};
use kaserver::string_to_key::string_to_key;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// A directory for key files that the broker can read, and httpd's children cannot.
pub(crate) struct Keys {
    dir: tempfile::TempDir,
}

impl Keys {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { dir }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// As docs/admin.md has it: root's and the broker's group's.
    fn close(path: &Path) {
        std::os::unix::fs::chown(path, Some(0), Some(id_of("weblog", 3))).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap();
    }

    /// A keytab with the keys that the KDC has of a principal.
    pub(crate) fn keytab(&self, world: &World, principal: &str) -> PathBuf {
        let path = self.path("service.keytab");
        let _ = fs::remove_file(&path);
        kdc(world, FIRST_REALM).keytab(principal, &path).unwrap();
        Self::close(&path);
        path
    }

    /// A srvtab with the key that the kaserver has of a user.
    pub(crate) fn srvtab(&self, world: &World, user: &str) -> PathBuf {
        let password = &world.cell(FIRST_CELL).unwrap().user(user).unwrap().password;
        let key = string_to_key(password.as_bytes(), FIRST_CELL);
        let path = self.path("service.srvtab");
        let mut bytes = format!("{user}\0\0{}\0\x01", FIRST_CELL.to_ascii_uppercase()).into_bytes();
        bytes.extend_from_slice(key.bytes());
        fs::write(&path, bytes).unwrap();
        Self::close(&path);
        path
    }
}

/// A number of a user's line in /etc/passwd.
pub(crate) fn id_of(user: &str, field: usize) -> u32 {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|l| l.starts_with(&format!("{user}:"))).expect("such a user");
    line.split(':').nth(field).unwrap().parse().unwrap()
}

/// The directive.
pub(crate) fn identity(principal: &str, file: &Path) -> String {
    format!("AFSServiceIdentity {FIRST_CELL} {principal} {}\n", file.display())
}
