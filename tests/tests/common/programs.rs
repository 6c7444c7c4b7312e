//! Programs of the test's own that httpd runs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Where they lie.
pub(crate) const DIR: &str = "/srv/httpd/programs";

/// A program, and a directory `out` that it may write to.
pub(crate) fn program(name: &str, text: &str) -> PathBuf {
    let dir = Path::new(DIR);
    fs::create_dir_all(dir.join("out")).unwrap();
    fs::set_permissions(dir.join("out"), fs::Permissions::from_mode(0o777)).unwrap();
    let file = dir.join(name);
    fs::write(&file, format!("#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\n{text}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    file
}

/// Configuration: they are at /run, and run as whoever asks.
pub(crate) fn place() -> String {
    format!(
        "ScriptAlias /run {DIR}\n<Location /run>\nAFSAuthType AFS\n</Location>\n\
         <Directory {DIR}>\nRequire all granted\nOptions ExecCGI\n</Directory>\n"
    )
}
