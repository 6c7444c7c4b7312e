//! What the nanny gives up at its start, and what it keeps: `docs/privsep.md`.

use crate::Error;
use caps::{CapSet, Capability, CapsHashSet};
use rustix::process::DumpableBehavior;

/// For the broker, which drops them in its turn, and to kill it once it has another uid.
const KEPT: [Capability; 5] = [
    Capability::CAP_SETUID,
    Capability::CAP_SETGID,
    Capability::CAP_SETPCAP,
    Capability::CAP_SYS_RESOURCE,
    Capability::CAP_KILL,
];

/// Drops all capabilities but SETUID, SETGID, SETPCAP, SYS_RESOURCE and KILL, also from the bounding set, for this process and all that it starts;
/// forbids to gain any by exec, and to look into its memory.
///
/// # Errors
/// [`Error::Capabilities`], [`Error::System`].
pub fn drop_privileges() -> Result<(), Error> {
    let failed = |e: caps::errors::CapsError| Error::Capabilities(e.to_string());
    rustix::thread::set_no_new_privs(true).map_err(Error::call("prctl(PR_SET_NO_NEW_PRIVS)"))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(Error::call("prctl(PR_SET_DUMPABLE)"))?;
    let has = caps::read(None, CapSet::Permitted).map_err(failed)?;
    let keep: CapsHashSet = KEPT.into_iter().filter(|c| has.contains(c)).collect();
    // Only who has this one may change the bounding set; who has not is not root and has nothing to drop from it.
    if has.contains(&Capability::CAP_SETPCAP) {
        for cap in caps::read(None, CapSet::Bounding).map_err(failed)?.difference(&keep) {
            caps::drop(None, CapSet::Bounding, *cap).map_err(failed)?;
        }
    }
    caps::clear(None, CapSet::Ambient).map_err(failed)?;
    caps::set(None, CapSet::Effective, &keep).map_err(failed)?;
    caps::set(None, CapSet::Permitted, &keep).map_err(failed)?;
    caps::clear(None, CapSet::Inheritable).map_err(failed)
}
