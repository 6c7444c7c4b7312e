//! Numbers of the kernel's interfaces, each with where it is from.

/// `KEYCTL_GET_KEYRING_ID` (Linux `include/uapi/linux/keyctl.h`, as all `KEYCTL_` and `SPEC_` numbers).
pub(super) const KEYCTL_GET_KEYRING_ID: libc::c_long = 0;
/// `KEYCTL_JOIN_SESSION_KEYRING`
pub(super) const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
/// `KEYCTL_CHOWN`
pub(super) const KEYCTL_CHOWN: libc::c_long = 4;
/// `KEYCTL_SETPERM`
pub(super) const KEYCTL_SETPERM: libc::c_long = 5;
/// `KEYCTL_CLEAR`
pub(super) const KEYCTL_CLEAR: libc::c_long = 7;
/// `KEYCTL_LINK`
pub(super) const KEYCTL_LINK: libc::c_long = 8;
/// `KEYCTL_UNLINK`
pub(super) const KEYCTL_UNLINK: libc::c_long = 9;
/// `KEYCTL_SEARCH`
pub(super) const KEYCTL_SEARCH: libc::c_long = 10;
/// `KEYCTL_READ`
pub(super) const KEYCTL_READ: libc::c_long = 11;
/// `KEYCTL_RESTRICT_KEYRING`
pub(super) const KEYCTL_RESTRICT_KEYRING: libc::c_long = 29;

/// `KEY_SPEC_THREAD_KEYRING`
pub(crate) const SPEC_THREAD: i32 = -1;
/// `KEY_SPEC_PROCESS_KEYRING`
pub(crate) const SPEC_PROCESS: i32 = -2;
/// `KEY_SPEC_SESSION_KEYRING`
pub(crate) const SPEC_SESSION: i32 = -3;

/// `KEY_POS_WRITE` (Linux `include/linux/key.h`): who possesses a keyring may add and remove links.
pub(crate) const POS_WRITE: u32 = 0x0400_0000;
/// `KEY_POS_SEARCH`: who possesses it finds what is in it.
pub(crate) const POS_SEARCH: u32 = 0x0800_0000;
/// `KEY_POS_SETATTR`: who possesses it may restrict it (and change its rights, if it is his).
pub(crate) const POS_SETATTR: u32 = 0x2000_0000;
/// `KEY_USR_SEARCH`: its owner may join it by name. The owner has no other class's rights, even if he is in the group.
pub(crate) const USR_SEARCH: u32 = 0x0008_0000;
/// `KEY_GRP_SEARCH`: the group may join it by name.
pub(crate) const GRP_SEARCH: u32 = 0x0000_0800;
/// `KEY_OTH_SEARCH`: everybody may join it by name.
pub(crate) const OTH_SEARCH: u32 = 0x0000_0008;

/// The file of OpenAFS's system call (OpenAFS `src/config/afs_args.h`, `PROC_SYSCALL_FNAME`).
pub(crate) const AFS_IOCTL_FILE: &str = "/proc/fs/openafs/afs_ioctl";
/// Its only request: `_IOW('C', 1, void *)` (`VIOC_SYSCALL`).
pub(super) const AFS_IOCTL_REQUEST: u32 = request(b'C', 1, size_of::<*const u8>());
/// Sub-call for calls on files and the client (`AFSCALL_PIOCTL`).
pub(super) const AFS_CALL_PIOCTL: libc::c_long = 20;
/// Sub-call that makes a PAG (`AFSCALL_SETPAG`).
pub(super) const AFS_CALL_SETPAG: libc::c_long = 21;

/// `struct ViceIoctl` has two pointers and two lengths (OpenAFS `src/afs/afs.h`).
const VICE: usize = 2 * size_of::<*const u8>() + 8;
/// VIOCSETTOK (OpenAFS `src/config/vioc.h`, as all of these).
pub(crate) const SET_TOKEN: u32 = request(b'V', 3, VICE);
/// VIOC_SETTOK2
pub(crate) const SET_TOKEN_XDR: u32 = request(b'C', 8, VICE);
/// VIOCGETTOK
pub(crate) const GET_TOKEN: u32 = request(b'V', 8, VICE);
/// VIOCUNLOG
pub(crate) const DROP_TOKENS: u32 = request(b'V', 9, VICE);
/// VIOCACCESS
pub(crate) const ACCESS: u32 = request(b'V', 20, VICE);
/// VIOC_FILE_CELL_NAME
pub(crate) const CELL_OF_FILE: u32 = request(b'V', 30, VICE);
/// VIOC_GET_WS_CELL
pub(crate) const CELL_OF_CLIENT: u32 = request(b'V', 31, VICE);
/// VIOCGETVOLSTAT
pub(crate) const VOLUME_STATUS: u32 = request(b'V', 4, VICE);
/// VIOCGETFID
pub(crate) const FILE_ID: u32 = request(b'V', 22, VICE);
/// VIOC_GETPAG
pub(crate) const GET_PAG: u32 = request(b'C', 13, VICE);
/// VIOC_FLUSHVOLUME
pub(crate) const FLUSH_VOLUME: u32 = request(b'V', 37, VICE);

/// f_type of OpenAFS (OpenAFS `src/config/afs_args.h` and `src/afs/LINUX/osi_vfsops.c`, `AFS_VFSMAGIC`).
pub(crate) const MAGIC_OPENAFS: u32 = 0x5346_414F;
/// f_type of kAFS (Linux `include/uapi/linux/magic.h`, `AFS_FS_MAGIC`).
pub(crate) const MAGIC_KAFS: u32 = 0x6B41_4653;

/// `_IOW(space, number, size)`
#[expect(clippy::cast_possible_truncation, reason = "sizes of 8 and 24")]
const fn request(space: u8, number: u8, size: usize) -> u32 {
    (1 << 30) | ((size as u32) << 16) | ((space as u32) << 8) | number as u32
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn requests_are_the_numbers_that_the_headers_give() {
        for (ours, theirs) in [
            (AFS_IOCTL_REQUEST, 0x4008_4301),
            (SET_TOKEN, 0x4018_5603),
            (SET_TOKEN_XDR, 0x4018_4308),
            (GET_TOKEN, 0x4018_5608),
            (DROP_TOKENS, 0x4018_5609),
            (ACCESS, 0x4018_5614),
            (VOLUME_STATUS, 0x4018_5604),
            (FILE_ID, 0x4018_5616),
            (CELL_OF_FILE, 0x4018_561e),
            (CELL_OF_CLIENT, 0x4018_561f),
            (GET_PAG, 0x4018_430d),
            (FLUSH_VOLUME, 0x4018_5625),
        ] {
            assert_eq!(ours, theirs);
        }
    }
}
