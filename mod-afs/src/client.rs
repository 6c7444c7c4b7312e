//! Which AFS client serves files: found out by the parent at each start, made ready by each child.
//!
//! A client in the kernel wants its PAGs made by root, so a child makes them before it gives root up.

use crate::config::{ClientChoice, ServerConfig};
use crate::httpd::{Server, mpm};
use crate::message::{self, Said};
use pag::kafs::KeyNeed;
use pag::{ClientKind, Kafs, KernelClient, OpenAfs, detect};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// What the parent has found out, for its children.
static CHOSEN: Mutex<Option<ClientKind>> = Mutex::new(None);

/// What a child has made as root.
static PREPARED: Mutex<Option<Result<Arc<dyn KernelClient>, String>>> = Mutex::new(None);

/// The client that will serve the mount directory.
///
/// # Errors
/// What would be needed for the one that was asked for, in words.
pub fn choose(config: &ServerConfig) -> Result<ClientKind, String> {
    let mount = Path::new(config.mount_dir());
    let there = detect::serving(mount).unwrap_or(None);
    let wanted = match config.client() {
        ClientChoice::Auto => return Ok(there.unwrap_or(ClientKind::Userspace)),
        ClientChoice::Userspace => return Ok(ClientKind::Userspace),
        ClientChoice::OpenAfs => ClientKind::OpenAfs,
        ClientChoice::Kafs => ClientKind::Kafs,
    };
    if there == Some(wanted) {
        return Ok(wanted);
    }
    let instead = match there {
        Some(kind) => format!("{} is served by another client, {kind}", mount.display()),
        None => detect::missing(mount),
    };
    Err(format!("SetAFSClient {wanted}: {instead}"))
}

/// Says which client serves files and what it needs of the machine.
///
/// # Errors
/// As [`choose`].
pub fn announce(main: Server<'_>) -> Result<ClientKind, String> {
    let config = main.config();
    let kind = choose(config)?;
    main.log(message::CLIENT, &format!("{} is served by the AFS client {kind}", config.mount_dir()));
    let (children, pags) = (mpm::children(), config.pags(mpm::threads_per_child()));
    if kind != ClientKind::Userspace
        && let Some(warning) = crate::phases::warning_of_programs()
    {
        main.log(message::CGID, warning);
    }
    if kind != ClientKind::Userspace && mpm::children_stay() && crate::phases::programs_run_as_visitors() {
        main.log(message::PAGS_USED_UP, &pags_used_up(pags));
    }
    match kind {
        ClientKind::Userspace => {}
        ClientKind::OpenAfs => main.log(message::PAGS_NEEDED, &pags_needed(children, pags)),
        ClientKind::Kafs => match KeyNeed::limit() {
            Ok(limit) => {
                let (message, text) = keys_needed(children, pags, limit);
                main.log(message, &text);
            }
            Err(e) => main.log(message::KEYS_UNKNOWN, &e.to_string()),
        },
    }
    Ok(kind)
}

/// What becomes of PAGs in which programs ran, for an administrator.
fn pags_used_up(pags: usize) -> String {
    format!(
        "each login of a visitor for whom a program is run uses up one of the {pags} PAGs of a child (SetAFSPags), and \
         without any a child answers 503 to whoever logs in: let children be replaced (MaxConnectionsPerChild, which is 0)"
    )
}

/// What the PAGs of all children come to, for an administrator.
fn pags_needed(children: usize, pags: usize) -> String {
    format!(
        "up to {children} children make {pags} PAGs each (SetAFSPags), {} in all, and again when they are replaced: \
         so many seconds after OpenAFS was started, other users of this machine may make PAGs without waiting",
        children.saturating_mul(pags.saturating_add(1))
    )
}

/// Bytes of a usual ticket of Kerberos 5; a kaserver's has 56.
const TICKET: u64 = 500;

/// What the tokens of all children come to with kAFS, and whether the kernel lets httpd's user have so many keys.
fn keys_needed(children: usize, pags: usize, limit: KeyNeed) -> Said {
    let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let need = KeyNeed::of(number(children), number(pags), TICKET);
    let what = format!(
        "up to {children} children with {pags} visitors each (SetAFSPags) can need {} keys and {} bytes of keys, \
         and the kernel lets httpd's user have {} and {}",
        need.keys, need.bytes, limit.keys, limit.bytes
    );
    if limit.suffices(need) {
        return (message::KEYS_NEEDED, what);
    }
    let more = format!(
        "{what}; visitors that do not fit in get 503: \
         sysctl -w kernel.keys.maxkeys={} kernel.keys.maxbytes={}, or lower SetAFSPags",
        need.keys.max(limit.keys),
        need.bytes.max(limit.bytes)
    );
    (message::KEYS_TOO_FEW, more)
}

/// In the parent, at each start: finds out which client children will use, says so, and keeps it for them.
///
/// # Errors
/// As [`choose`], where httpd is only starting. A server that runs is not stopped by it: what is in AFS is 503 then.
pub fn settle(main: Server<'_>) -> Result<(), String> {
    if mpm::pass() != mpm::Pass::Real {
        return Ok(());
    }
    let kind = match announce(main) {
        Ok(kind) => kind,
        Err(e) if mpm::generation() == 0 => return Err(e),
        Err(e) => {
            main.log(message::CLIENT_GONE, &e);
            match main.config().client() {
                ClientChoice::OpenAfs => ClientKind::OpenAfs,
                ClientChoice::Kafs => ClientKind::Kafs,
                ClientChoice::Auto | ClientChoice::Userspace => ClientKind::Userspace,
            }
        }
    };
    if kind != ClientKind::Userspace && mpm::generation() == 0 {
        // Done long ago; where it cannot be done, children could not keep their visitors apart either.
        pag::leave_inherited().map_err(|e| format!("SetAFSClient {kind} needs keyrings and PAGs: {e}"))?;
    }
    *CHOSEN.lock().unwrap_or_else(PoisonError::into_inner) = Some(kind);
    Ok(())
}

/// The client that children use.
#[must_use]
pub fn chosen() -> ClientKind {
    CHOSEN.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(ClientKind::Userspace)
}

/// In a child, as root, in its only thread: makes the PAGs of a client in the kernel.
pub fn prepare(config: &ServerConfig) {
    let kind = chosen();
    if kind == ClientKind::Userspace {
        return;
    }
    let pags = config.pags(mpm::threads_per_child());
    let group = mpm::child_group();
    let made = match kind {
        ClientKind::OpenAfs => OpenAfs::prepare(pags, group).map(|client| client as Arc<dyn KernelClient>),
        ClientKind::Kafs | ClientKind::Userspace => {
            Kafs::prepare(pags, group).map(|client| client as Arc<dyn KernelClient>)
        }
    };
    let made = made.map_err(|e| e.to_string());
    *PREPARED.lock().unwrap_or_else(PoisonError::into_inner) = Some(made);
}

/// In a child, as its user: the client in the kernel.
///
/// # Errors
/// What is missing, in words.
pub fn start() -> Result<Arc<dyn KernelClient>, String> {
    let prepared = PREPARED.lock().unwrap_or_else(PoisonError::into_inner).take();
    prepared.unwrap_or_else(|| Err("no PAGs were made while this was root".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_must_allow_is_said_with_the_sysctl_that_raises_it() {
        let limit = KeyNeed { keys: 200, bytes: 20_000 };
        let (message, text) = keys_needed(16, 8, limit);
        assert_eq!(message, message::KEYS_TOO_FEW);
        assert!(text.contains("sysctl -w kernel.keys.maxkeys=320 kernel.keys.maxbytes="), "{text}");
        let (message, text) = keys_needed(1, 1, limit);
        assert_eq!(message, message::KEYS_NEEDED, "{text}");
        assert!(!text.contains("sysctl"), "{text}");
        assert!(pags_needed(4, 10).contains("44 in all"));
    }
}
