//! What the broker keeps of root's power (nothing), in which order it is dropped, and the check that it is gone.
//!
//! Order matters: limits and memory locks need root; groups go before the uid; the bounding set needs `CAP_SETPCAP`,
//! which leaves with the uid; the parent-death signal is cleared by a change of the uid, so it is set last.

use crate::error::Error;
use rustix::io::Errno;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{
    DumpableBehavior, Gid, Pid, Resource, Rlimit, Signal, Uid, dumpable_behavior, getegid, geteuid, getgid,
    getgroups, getppid, getrlimit, getuid, parent_process_death_signal, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    no_new_privs, remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

/// Whom to run as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunAs {
    uid: u32,
    gid: u32,
}

impl RunAs {
    /// From a name, or `#` and a number (whose group is the one of the user database, or has the same number).
    ///
    /// # Errors
    /// [`Error::NoUser`], [`Error::Root`]; [`Error::System`] if the user database does not say, as it may do later.
    pub fn find(text: &str) -> Result<Self, Error> {
        let nobody = || Error::NoUser(text.to_owned());
        let found = match text.strip_prefix('#') {
            Some(number) => {
                let uid: u32 = number.parse().map_err(|_| nobody())?;
                // -1 means "leave it as it is" to the kernel.
                if uid == u32::MAX {
                    return Err(nobody());
                }
                let user = entry(nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)))?;
                Self { uid, gid: user.map_or(uid, |u| u.gid.as_raw()) }
            }
            None => {
                let user = entry(nix::unistd::User::from_name(text))?.ok_or_else(nobody)?;
                Self { uid: user.uid.as_raw(), gid: user.gid.as_raw() }
            }
        };
        if found.uid == 0 || found.gid == 0 {
            return Err(Error::Root);
        }
        Ok(found)
    }
}

/// What the user database says; `None` if it has no such entry.
///
/// # Errors
/// [`Error::System`] if it could not be asked.
fn entry(said: nix::Result<Option<nix::unistd::User>>) -> Result<Option<nix::unistd::User>, Error> {
    match said {
        Ok(found) => Ok(found),
        // So some libraries say that there is none (getpwnam(3)).
        Err(nix::errno::Errno::ENOENT | nix::errno::Errno::ESRCH) => Ok(None),
        Err(errno) => Err(Error::System("looking up the user", Errno::from_raw_os_error(errno as i32))),
    }
}

/// What could not be done: the program was not started as root (tests, experiments), or root has less power here (containers).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Missing(pub Vec<&'static str>);

/// The error of a step.
fn failed(step: &'static str) -> impl FnOnce(Errno) -> Error {
    move |errno| Error::Privilege(step, errno)
}

/// Becomes the broker's user and drops everything, for ever.
///
/// `parent`: process id of the parent when the program started. The environment is empty afterwards as far as anybody asks
/// for it: nothing here reads it, and authenticators get an empty one.
///
/// # Errors
/// Any step that failed or whose effect cannot be seen afterwards; the program must end then.
pub fn drop_all(user: RunAs, parent: Option<Pid>) -> Result<Missing, Error> {
    let mut missing = Missing::default();
    let root = geteuid().is_root();
    no_core()?;
    if root {
        match setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None }) {
            Ok(()) => {}
            // Root of a container may not be allowed to; nothing is gained by leaving such hosts without logins.
            Err(Errno::PERM) => missing.0.push("the limit of locked memory cannot be lifted here"),
            Err(errno) => return Err(Error::Privilege("lift the limit of locked memory", errno)),
        }
    }
    lock_memory(root, &mut missing)?;
    if root {
        become_user(user)?;
    } else {
        missing.0.push("not started as root: runs as whoever started it");
        if getuid().is_root() || getgid().is_root() {
            return Err(Error::Root);
        }
    }
    clear_capabilities()?;
    set_no_new_privs(true).map_err(failed("set no_new_privs"))?;
    not_dumpable()?;
    die_with_parent(parent)?;
    verify(root.then_some(user))?;
    Ok(missing)
}

/// What an authenticator does: it is started without any privilege, and makes sure that it leaves nothing behind and dies with the broker.
///
/// # Errors
/// As [`drop_all`].
pub fn confine_authenticator(parent: i32) -> Result<(), Error> {
    no_core()?;
    set_no_new_privs(true).map_err(failed("set no_new_privs"))?;
    not_dumpable()?;
    die_with_parent(Pid::from_raw(parent))?;
    let mut missing = Missing::default();
    let strict = getrlimit(Resource::Memlock).current.is_none();
    lock_memory(strict, &mut missing)?;
    if geteuid().is_root() || getuid().is_root() {
        return Err(Error::Root);
    }
    Ok(())
}

/// No core files.
///
/// # Errors
/// setrlimit's.
fn no_core() -> Result<(), Error> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
        .map_err(failed("forbid core files"))
}

/// Keeps secrets out of swap. Pages are locked when they are first used, so that large stacks of threads cost nothing.
///
/// Under a limit, future memory is not locked: what exceeds the limit could not be had at all then, thread stacks above all.
///
/// # Errors
/// mlockall's, if `must`.
fn lock_memory(must: bool, missing: &mut Missing) -> Result<(), Error> {
    let mut flags = MlockAllFlags::CURRENT | MlockAllFlags::ONFAULT;
    if getrlimit(Resource::Memlock).current.is_none() {
        flags |= MlockAllFlags::FUTURE;
    } else {
        missing.0.push("memory that is taken later is not locked: there is a limit");
    }
    match mlockall(flags) {
        Ok(()) => Ok(()),
        Err(errno) if must => Err(Error::Privilege("lock memory", errno)),
        Err(_) => Ok(()),
    }
}

/// Changes groups, gid and uid of this thread; it is the only one.
///
/// # Errors
/// The calls'.
fn become_user(user: RunAs) -> Result<(), Error> {
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match capability_is_in_bounding_set(capability) {
            Ok(true) => remove_capability_from_bounding_set(capability)
                .map_err(failed("remove a capability from the bounding set"))?,
            Ok(false) => {}
            // Beyond the last one that the kernel knows.
            Err(_) => break,
        }
    }
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    set_thread_groups(&[]).map_err(failed("drop supplementary groups"))?;
    set_thread_res_gid(gid, gid, gid).map_err(failed("change the gid"))?;
    set_thread_res_uid(uid, uid, uid).map_err(failed("change the uid"))
}

/// Empties the ambient, effective, permitted and inheritable sets.
///
/// # Errors
/// The calls'.
fn clear_capabilities() -> Result<(), Error> {
    clear_ambient_capability_set().map_err(failed("clear ambient capabilities"))?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, none).map_err(failed("clear capabilities"))
}

/// Nobody of the same uid may look into this process.
///
/// # Errors
/// prctl's.
fn not_dumpable() -> Result<(), Error> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed("become undumpable"))
}

/// SIGKILL when the parent ends; refuses if it has ended already.
///
/// # Errors
/// [`Error::Orphan`], or prctl's.
pub fn die_with_parent(parent: Option<Pid>) -> Result<(), Error> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(failed("set the parent-death signal"))?;
    if getppid() == parent && parent.is_some() { Ok(()) } else { Err(Error::Orphan) }
}

/// TERM, INT and QUIT, which the nanny blocks for herself and would hand down, end this process. HUP, USR1 and USR2 stay
/// blocked: what is sent to all processes of httpd's service to restart it (`systemctl kill`) would drop all logins.
/// Authenticators inherit it.
pub fn let_signals_end_it() {
    use nix::sys::signal::{SigSet, Signal};
    let restarts: SigSet = [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2].into_iter().collect();
    // Fails for wrong arguments only.
    let _ = restarts.thread_set_mask();
}

/// Reads everything back.
///
/// # Errors
/// [`Error::StillPrivileged`] names what is not as it should be.
fn verify(user: Option<RunAs>) -> Result<(), Error> {
    let must = |ok: bool, what: &'static str| if ok { Ok(()) } else { Err(Error::StillPrivileged(what)) };
    let read = |e: Errno| Error::Privilege("read back what was dropped", e);
    if let Some(user) = user {
        let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
        must(getuid() == uid && geteuid() == uid, "the uid has not changed")?;
        must(getgid() == gid && getegid() == gid, "the gid has not changed")?;
        must(getgroups().map_err(read)?.is_empty(), "there are still supplementary groups")?;
        let root = Uid::ROOT;
        must(set_thread_res_uid(root, root, root).is_err(), "root can be had back")?;
        for number in 0..64 {
            match capability_is_in_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
                Ok(still) => must(!still, "there are still capabilities in the bounding set")?,
                Err(_) => break,
            }
        }
    }
    must(!getuid().is_root() && !geteuid().is_root(), "still root")?;
    let sets = capabilities(None).map_err(read)?;
    must(
        sets.effective.is_empty() && sets.permitted.is_empty() && sets.inheritable.is_empty(),
        "there are still capabilities",
    )?;
    must(no_new_privs().map_err(read)?, "no_new_privs is not set")?;
    must(dumpable_behavior().map_err(read)? == DumpableBehavior::NotDumpable, "still dumpable")?;
    must(
        parent_process_death_signal().map_err(read)? == Some(Signal::KILL),
        "the parent-death signal is not set",
    )?;
    must(getrlimit(Resource::Core).maximum == Some(0), "core files are still allowed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_refused_by_name_and_by_number() {
        for text in ["root", "#0"] {
            assert!(matches!(RunAs::find(text), Err(Error::Root)), "{text}");
        }
    }

    #[test]
    fn users_are_found_by_name_and_by_number() {
        let by_name = RunAs::find("nobody").unwrap();
        assert_eq!(RunAs::find(&format!("#{}", by_name.uid)).unwrap(), by_name);
        assert_eq!(RunAs::find("#1234567").unwrap(), RunAs { uid: 1_234_567, gid: 1_234_567 });
        for text in ["no-such-user-here", "#", "#x", "#-1", "#4294967295", ""] {
            assert!(matches!(RunAs::find(text), Err(Error::NoUser(_))), "{text}");
        }
    }

    #[test]
    fn a_user_database_that_does_not_answer_has_not_said_that_there_is_no_such_user() {
        use nix::errno::Errno as Said;
        for none in [Ok(None), Err(Said::ENOENT), Err(Said::ESRCH)] {
            assert!(matches!(entry(none), Ok(None)));
        }
        for away in [Said::EIO, Said::EAGAIN, Said::ECONNREFUSED] {
            let error = entry(Err(away)).unwrap_err();
            // Not 78: the nanny tries again.
            assert_eq!(error.exit_code(), 71, "{error}");
        }
    }
}
