//! `apachectl configtest`, and the same at each start: what [`crate::checks`] finds, into httpd's log; and what a running
//! httpd would not take up.

use crate::checks::{Checked, findings};
use crate::httpd::{Server, Status, in_run_directory, mpm};
use crate::{client, full_restart, installed, message, require};
use core::ffi::CStr;
use pag::ClientKind;
use std::path::{Path, PathBuf};

/// Name of the file that says what is kept, in httpd's run directory.
const FILE: &CStr = c"mod_afs.kept";
/// Says in the pool of the process that the file has been written; the number changes with what it means.
const KEY: &CStr = c"mod_afs/configtest/1";

/// Checks the configuration that httpd has just read. Anything found keeps httpd from starting.
#[must_use]
pub fn check(main: Server<'_>) -> Status {
    let servers: Vec<Checked<'_>> =
        main.all().map(|s| Checked { name: s.name(), config: s.config() }).collect();
    let mut found = findings(&servers, mpm::child_user(), mpm::child_group());
    let numbered: Vec<_> = main.all().map(|s| (s.number(), s.config())).collect();
    let kafs = client::choose(main.config()) == Ok(ClientKind::Kafs);
    found.extend(require::findings(&numbered, kafs).into_iter().map(|why| (message::REQUIRE_LINE, why)));
    let uses_afs = servers.iter().any(|s| s.config.uses_afs());
    // A server that runs is not stopped by a half upgrade: there the parent waits for the rest of it (see `nanny`).
    if found.is_empty() && uses_afs && mpm::pass() != mpm::Pass::Real {
        let config = main.config();
        let (nanny, broker) = (config.nanny(), config.broker());
        let fit = installed::fit((nanny, nanny), (&broker, &broker));
        found.extend(fit.err().map(|why| (message::OTHER_VERSION, why)));
    }
    for (message, sentence) in &found {
        main.log(*message, sentence);
    }
    if !found.is_empty() {
        return Status::INTERNAL_SERVER_ERROR;
    }
    if uses_afs {
        match mpm::pass() {
            mpm::Pass::Rehearsal => {}
            mpm::Pass::Check => {
                tell(main);
                if let Err(why) = client::announce(main) {
                    main.log(message::CLIENT_NOT_THERE, &why);
                    return Status::INTERNAL_SERVER_ERROR;
                }
            }
            mpm::Pass::Real => note(main),
        }
    }
    Status::OK
}

/// Where what is kept is written down.
fn file(main: Server<'_>) -> Option<PathBuf> {
    main.pconf().and_then(|pconf| in_run_directory(pconf, FILE)).map(PathBuf::from)
}

/// Says what needs a full restart.
fn tell(main: Server<'_>) {
    for sentence in file(main).iter().flat_map(|file| full_restart::waiting(file, main.config())) {
        main.log(message::FULL_RESTART, &sentence);
    }
}

/// Writes down what is kept from now on, at the first configuration of this httpd that uses AFS.
fn note(main: Server<'_>) {
    let (Some(process), Some(file)) = (main.process(), file(main)) else { return };
    if process.kept(KEY).is_some() {
        return;
    }
    process.keep(KEY, b"written");
    write(main, &file);
}

/// The same, since what is kept has been made anew.
pub fn note_anew(main: Server<'_>) {
    if let Some(file) = file(main) {
        write(main, &file);
    }
}

/// Writes it down.
fn write(main: Server<'_>, file: &Path) {
    if let Err(e) = full_restart::write(file, main.config()) {
        let text = format!("configtest will not know what needs a full restart: {}: {e}", file.display());
        main.log(message::NOT_NOTED, &text);
    }
}
