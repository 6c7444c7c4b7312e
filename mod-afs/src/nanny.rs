//! The httpd parent's side of the broker: makes lanes, locks, board and socket once, keeps them as long as httpd lives,
//! starts the nanny and starts it again when it dies, and tells it the configuration.
//!
//! Runs in the parent, as root, in its only thread. What outlives a restart is plain data (`Kept`) in the pool of the
//! process, since the module may be unloaded meanwhile (`nanny/kept.rs`).

mod held;
mod kept;
mod listener;
mod old;
mod record;
mod told;

use crate::config::{CONTROL_SOCKET, ServerConfig};
use crate::httpd::{self, Ended, KeptFd, Pool, Server, mpm};
use crate::stores::Stores;
use crate::{client, message};
use kept::{Found, Kept, needs_full_restart};
use pag::ClientKind;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use told::broker_config;
use weblog_fds::WaitTable;

pub use told::{all_cells, all_realms, all_services};

/// Deaths that are borne within [`DEATHS_MS`] before the next start waits for the monitor.
const DEATHS: usize = 10;
/// See [`DEATHS`].
const DEATHS_MS: u64 = 10_000;
/// Exit status of a nanny that cannot work with what it was given: another one could not either.
const BAD_CONFIG: i32 = 78;

/// What the parent works with between two restarts, and a child when it starts.
#[derive(Debug)]
struct Parent {
    /// What outlives the next restart.
    kept: Kept,
    /// The configuration as the broker gets it.
    config: Vec<u8>,
    /// Directory with ThisCell and CellServDB for the children's client.
    client_conf: PathBuf,
    /// No nanny until the next restart.
    given_up: bool,
}

/// See [`Parent`]; empty where the module is not used.
static PARENT: Mutex<Option<Parent>> = Mutex::new(None);

/// What could not be done, for the administrator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotStarted(String);

/// Says what failed.
fn failed(what: &str) -> impl Fn(&dyn core::fmt::Display) -> NotStarted {
    move |e| NotStarted(format!("{what}: {e}"))
}

/// The state, also after a panic.
fn parent() -> MutexGuard<'static, Option<Parent>> {
    PARENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Milliseconds since boot.
fn now_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.unsigned_abs().saturating_mul(1_000).saturating_add(now.tv_nsec.unsigned_abs() / 1_000_000)
}

/// Whether so many deaths speak for a pause. Forgets old ones.
fn must_pause(deaths: &mut Vec<u64>, now_ms: u64) -> bool {
    deaths.retain(|at| now_ms.saturating_sub(*at) < DEATHS_MS);
    deaths.len() >= DEATHS
}

/// A new configuration counts: makes or finds what is kept, sees that a nanny runs, tells it.
///
/// `pconf` ends with the next restart. Does nothing but check while the configuration is only being tried.
///
/// # Errors
/// [`NotStarted`] says why httpd should not go on.
pub fn configure(main: Server<'_>, pconf: Pool<'_>) -> Result<(), NotStarted> {
    let config = main.config();
    let cells = all_cells(main.all().map(Server::config));
    let process = main.process().ok_or_else(|| NotStarted("httpd has no process record".to_owned()))?;
    let known = Kept::load(process);
    let version = known.as_ref().map_or(0, Found::version).saturating_add(1);
    let realms = all_realms(main.all().map(Server::config));
    let services = all_services(main.all().map(Server::config));
    let bytes = broker_config(config, &cells, &realms, &services, version)
        .to_bytes()
        .map_err(|e| NotStarted(e.to_string()))?;
    if mpm::pass() != mpm::Pass::Real {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        return Err(NotStarted(
            "httpd has to be started by root: it starts the broker as another user".to_owned(),
        ));
    }
    let restarted = known.is_some();
    let mut kept = match known {
        Some(Found::Ours(kept)) => {
            for line in needs_full_restart(&kept, config) {
                main.log(message::FULL_RESTART, &line);
            }
            if kept.nanny != 0
                && let Err(e) = kept.programs_fit()
            {
                main.log(message::PROGRAMS_DIFFER, &format!("nanny and broker that run go on, but {e}"));
            }
            *kept
        }
        Some(Found::OfOthers(left)) => {
            // Without one, AFS was not configured for a while.
            if left.number("nanny").is_some_and(|pid: i32| pid != 0) {
                main.log(
                    message::UPGRADED,
                    "this module is of another version than the one before: it has a broker of its own, which logs everybody \
                     in anew; the old one goes on until its children have gone",
                );
            }
            let kept = Kept::make_beside(config, &socket_path(config, pconf)?, &left)?;
            crate::configtest::note_anew(main);
            kept
        }
        None => Kept::make(config, &socket_path(config, pconf)?)?,
    };
    kept.version = version;
    kept.unsent = true;
    let object = (client::chosen() == ClientKind::Userspace).then(|| config.client_object());
    kept.hold_object(object.as_deref());
    if kept.nanny == 0 {
        match kept.start() {
            // A server that runs is not stopped by this: logins fail until it works.
            Err(e) if restarted => main.log(message::NO_NANNY, &format!("no nanny: {e}")),
            started => note(main, started?),
        }
    }
    kept.part_with_old(main);
    for pid in kept.old.iter().map(|old| old.nanny).chain([kept.nanny]).filter(|pid| *pid != 0) {
        httpd::watch(pconf, pid);
    }
    kept.tell(&bytes, main);
    kept.save(process);
    let client_conf = snapshot(main, pconf);
    *parent() = Some(Parent { kept, config: bytes, client_conf, given_up: false });
    Ok(())
}

/// Where administrators find the broker.
///
/// # Errors
/// [`NotStarted`] without a directory for it.
fn socket_path(config: &ServerConfig, pconf: Pool<'_>) -> Result<PathBuf, NotStarted> {
    let usual = || httpd::in_run_directory(pconf, CONTROL_SOCKET).map(PathBuf::from);
    config
        .control_socket()
        .map(PathBuf::from)
        .or_else(usual)
        .ok_or_else(|| NotStarted("httpd has no run directory (DefaultRuntimeDir)".to_owned()))
}

/// Copies the cells' configuration to where the children's client reads it, with what the client wants besides.
fn snapshot(main: Server<'_>, pconf: Pool<'_>) -> PathBuf {
    let dir = httpd::in_run_directory(pconf, c"mod_afs.client").map_or_else(PathBuf::new, PathBuf::from);
    let made = (|| -> Result<(), String> {
        match std::fs::create_dir(&dir) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(e.to_string()),
            _ => {}
        }
        let meta = std::fs::symlink_metadata(&dir).map_err(|e| e.to_string())?;
        if !meta.is_dir() || meta.uid() != 0 {
            return Err("is not a directory of root".to_owned());
        }
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).map_err(|e| e.to_string())?;
        pag::userspace::snapshot_confdir(main.config().conf_dir(), &dir).map_err(|e| e.to_string())?;
        for name in ["ThisCell", "CellServDB", "cacheinfo"] {
            let mode = std::fs::Permissions::from_mode(0o644);
            std::fs::set_permissions(dir.join(name), mode).map_err(|e| e.to_string())?;
        }
        Ok(())
    })();
    if let Err(e) = made {
        main.log(message::CONF_NOT_COPIED, &format!("nothing in AFS can be served: {}: {e}", dir.display()));
    }
    dir
}

/// AFS is configured no more: nanny and broker end, lanes and sockets stay for a later configuration.
pub fn forget(main: Server<'_>) {
    *parent() = None;
    let Some(process) = main.process() else { return };
    let Some(found) = Kept::load(process) else { return };
    if mpm::pass() == mpm::Pass::Real {
        // All end when these sockets are closed.
        found.end_nannies(process);
    }
}

/// The nanny is gone: starts another, at once or at the next [`monitor`].
pub fn ended(pid: i32, how: Ended) {
    httpd::with_main_server(|main| ended_under(main, pid, how));
}

/// As [`ended`], with the server that logs it.
fn ended_under(main: Server<'_>, pid: i32, how: Ended) {
    let mut state = parent();
    let Some(parent) = state.as_mut() else { return };
    if parent.kept.old_has_ended(pid) {
        if let Some(process) = main.process() {
            parent.kept.save(process);
        }
        return;
    }
    if parent.kept.nanny != pid {
        return;
    }
    parent.kept.hear(main);
    parent.kept.nanny = 0;
    if mpm::is_stopping() {
        return;
    }
    let (words, code) = in_words(how);
    main.log(message::NANNY_ENDED, &format!("the nanny (pid {pid}) {words}"));
    if code == Some(BAD_CONFIG) {
        main.log(
            message::NANNY_GIVEN_UP,
            "logins fail until the configuration is corrected and httpd restarted",
        );
        parent.given_up = true;
    }
    let now = now_ms();
    parent.kept.deaths.push(now);
    if must_pause(&mut parent.kept.deaths, now) {
        main.log(
            message::NANNY_PAUSES,
            "the nanny dies again and again; the next one waits for some seconds",
        );
    } else {
        parent.revive(main);
    }
    if let Some(process) = main.process() {
        parent.kept.save(process);
    }
}

/// About every ten seconds: hears the nanny, and starts one that is due.
pub fn monitor(main: Server<'_>) {
    let mut state = parent();
    let Some(parent) = state.as_mut() else { return };
    parent.kept.part_with_old(main);
    parent.kept.hear(main);
    if parent.kept.nanny == 0 && !mpm::is_stopping() {
        parent.revive(main);
    }
    let Parent { kept, config, .. } = parent;
    kept.tell(config, main);
    if let Some(process) = main.process() {
        parent.kept.save(process);
    }
}

impl Parent {
    /// Starts a nanny, unless that is no use.
    fn revive(&mut self, main: Server<'_>) {
        if self.given_up {
            return;
        }
        match (self.kept.start(), main.pconf()) {
            (Ok(said), Some(pconf)) => {
                note(main, said);
                httpd::watch(pconf, self.kept.nanny);
                self.kept.tell(&self.config, main);
                main.log(
                    message::NANNY_STARTED,
                    &format!("another nanny was started (pid {})", self.kept.nanny),
                );
            }
            (Ok(_), None) => main.log(message::NANNY_UNWATCHED, "a nanny was started, but nobody watches it"),
            (Err(e), _) => main.log(message::NO_NANNY, &format!("no nanny: {e}")),
        }
    }
}

/// Logs what there is to say of a nanny that was started.
fn note(main: Server<'_>, said: Option<String>) {
    if let Some(said) = said {
        main.log(message::NANNY_HELD, &said);
    }
}

/// How a process ended, and its exit status if it had one.
fn in_words(how: Ended) -> (String, Option<i32>) {
    match how {
        Ended::Status(status) => {
            // From its main loop httpd gives the exit status or the signal, at a restart what wait(2) gave.
            let status = if status > 0xff { status >> 8 } else { status };
            (format!("ended with status {status}"), Some(status))
        }
        Ended::Unknown => ("ended".to_owned(), None),
    }
}

/// What a child takes along.
#[derive(Debug)]
pub struct Inherited {
    /// The lanes, or why there are none.
    pub lanes: Result<weblog_proto::Lanes, String>,
    /// The board.
    pub board: Result<weblog_fds::BoardReader, String>,
    /// The table of waiting workers.
    pub waiting: Option<WaitTable>,
    /// Turns at storing.
    pub stores: Option<Stores>,
    /// Directory with ThisCell and CellServDB for the client.
    pub client_conf: PathBuf,
    /// The user-space client's object as it was when the module was loaded, by a name that is good while this is there.
    pub object: Option<(PathBuf, OwnedFd)>,
}

/// In each process that is forked from the parent: closes what only that one needs, since daemons of other modules keep what they
/// are forked with, and passwords can be read from the broker's ends of the lanes.
pub fn forked() {
    // The parent itself holds it while it starts the nanny, which executes.
    if let Ok(mut parent) = PARENT.try_lock()
        && let Some(state) = parent.as_mut()
    {
        state.kept.close_for_parents_only();
    }
}

/// In a new child, once: takes over what is for children, and closes what is not. `None` where the module is not used.
pub fn inherit(main: Server<'_>) -> Option<Inherited> {
    let Some(state) = parent().take() else {
        if let Some(found) = main.process().and_then(Kept::load) {
            found.close_all();
        }
        return None;
    };
    let mut kept = state.kept;
    kept.close_for_parents_only();
    let mut lanes = Vec::with_capacity(kept.lanes.len());
    let mut wrong = None;
    for lane in &kept.lanes {
        let own = |number: i32| KeptFd::with_number(number).own();
        match (own(lane.worker_request), own(lane.worker_reply)) {
            (Ok(request), Ok(reply)) => lanes.push(weblog_proto::Lane { request, reply }),
            (Err(e), _) | (_, Err(e)) => wrong = Some(e.to_string()),
        }
    }
    let board = KeptFd::with_number(kept.board_read_only)
        .own()
        .map_err(|e| e.to_string())
        .and_then(|fd| weblog_fds::BoardReader::map(fd).map_err(|e| e.to_string()));
    let locks = httpd::attach_locks(kept.locks);
    let (stores, place) = kept.stores;
    let stores = httpd::attach_locks(stores).ok().and_then(|locks| Stores::of(locks, place));
    let lanes = match (wrong, locks) {
        (Some(e), _) => Err(e),
        (None, Err(e)) => Err(e.to_string()),
        (None, Ok(locks)) => Ok(weblog_proto::Lanes::new(lanes, locks)),
    };
    Some(Inherited {
        lanes,
        board,
        waiting: httpd::attach_waiting(kept.waiting).ok(),
        stores,
        client_conf: state.client_conf,
        object: KeptFd::with_number(kept.object).own().ok().map(|fd| (held::name_of(fd.as_raw_fd()), fd)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nanny_that_dies_again_and_again_pauses_and_old_deaths_are_forgotten() {
        let mut deaths: Vec<u64> = (0..9).collect();
        assert!(!must_pause(&mut deaths, 100));
        deaths.push(50);
        assert!(must_pause(&mut deaths, 100));
        assert!(!must_pause(&mut deaths, 100_000));
        assert!(deaths.is_empty());
    }
}
