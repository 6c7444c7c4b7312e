//! `apachectl configtest`, and the same at each start: what [`crate::checks`] finds, into httpd's log.

use crate::checks::{Checked, findings};
use crate::httpd::{Level, Server, Status, mpm};

/// Checks the configuration that httpd has just read. Anything found keeps httpd from starting.
#[must_use]
pub fn check(main: Server<'_>) -> Status {
    let servers: Vec<Checked<'_>> =
        main.all().map(|s| Checked { name: s.name(), config: s.config() }).collect();
    let found = findings(&servers, mpm::child_user());
    for sentence in &found {
        main.log(Level::Alert, sentence);
    }
    if found.is_empty() { Status::OK } else { Status::INTERNAL_SERVER_ERROR }
}
