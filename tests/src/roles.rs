//! The program is its own helper: the processes that make and hold the world are this executable under another role.

use crate::{fill, guest, lane_pair, machine, namespace, seen};
use std::io::Write as _;
use std::process::ExitCode;

/// This program. The link of /proc, since it needs no path that is valid in every root.
pub(crate) const EXECUTABLE: &str = "/proc/self/exe";
/// Role: makes the namespaces, and waits.
pub(crate) const HELPER: &str = "world-helper";
/// Role: first process of the world; makes its root, reaps.
pub(crate) const INIT: &str = "world-init";
/// Role: starts what runs in the world, then the command.
pub(crate) const MANAGER: &str = "world-manager";
/// Role: becomes a program on an AFS machine.
pub(crate) const MACHINE: &str = "world-machine";
/// Role: becomes the emulator of a guest.
pub(crate) const EMULATOR: &str = "guest-emulator";
/// Role: process 1 of a guest.
pub(crate) const GUEST_INIT: &str = "guest-init";
/// Role: makes the namespaces for a command that finds unpacked packages in /usr.
pub(crate) const OVER_USR_OUTER: &str = "over-usr-outer";
/// Role: becomes that command.
pub(crate) const OVER_USR_INNER: &str = "over-usr-inner";
/// Role: fills the cells with directories and files.
pub(crate) const CONTENT: &str = "world-content";
/// Role: says what is in a directory in AFS.
pub(crate) const SEEN: &str = "world-seen";
/// Role: says what is in a file in AFS.
pub(crate) const TEXT: &str = "world-text";
/// Role: writes a file in AFS.
pub(crate) const CHANGE: &str = "world-change";
/// Role: makes many files in a directory in AFS.
pub(crate) const MANY: &str = "world-many";
/// Role: makes a symbolic link in AFS.
pub(crate) const LINK: &str = "world-link";
/// Role: replaces the ACL of a directory in AFS.
pub(crate) const ALLOW: &str = "world-allow";
/// Role: swaps a directory in AFS for a link once something happens in another.
pub(crate) const SWAP: &str = "world-swap";
/// Role: the broker's side of a lane, for measuring.
pub(crate) const LANE_RESPONDER: &str = "lane-responder";
/// Role: answers bytes with bytes, for measuring.
pub(crate) const BARE_RESPONDER: &str = "bare-responder";

/// Does what the role in the arguments asks; `None` if there is none, which is how a program usually starts.
///
/// To be called first of all in `main` of a program that launches worlds, before it has threads.
#[must_use]
pub fn dispatch() -> Option<ExitCode> {
    let mut args = std::env::args();
    let role = args.nth(1)?;
    let args: Vec<String> = args.collect();
    let result = match role.as_str() {
        HELPER => namespace::helper(&args),
        INIT => namespace::init(&args),
        MANAGER => namespace::manager(&args),
        EMULATOR => guest::become_emulator(&args),
        GUEST_INIT => guest::init(&args),
        OVER_USR_OUTER => namespace::over_usr_outer(&args),
        OVER_USR_INNER => namespace::over_usr_inner(&args),
        CONTENT => fill::fill(&args).map(|()| ExitCode::SUCCESS),
        SEEN => seen::look(&args).map(|()| ExitCode::SUCCESS),
        TEXT => seen::read(&args).map(|()| ExitCode::SUCCESS),
        CHANGE => seen::write(&args).map(|()| ExitCode::SUCCESS),
        MANY => seen::make(&args).map(|()| ExitCode::SUCCESS),
        LINK => seen::make_link(&args).map(|()| ExitCode::SUCCESS),
        ALLOW => seen::replace_acl(&args).map(|()| ExitCode::SUCCESS),
        SWAP => seen::swap(&args).map(|()| ExitCode::SUCCESS),
        LANE_RESPONDER => lane_pair::lane_responder(),
        BARE_RESPONDER => lane_pair::bare_responder(),
        MACHINE => machine::become_program(&args).map(|()| ExitCode::SUCCESS),
        _ => return None,
    };
    Some(result.unwrap_or_else(|e| {
        // Nobody is left to tell if standard error is gone.
        let _ = writeln!(std::io::stderr(), "{role}: {e:#}");
        ExitCode::from(namespace::FAILED)
    }))
}
