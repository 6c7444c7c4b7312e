//! The C interface between this crate and the shared object `libafsweb_uafs.so`: one exported function,
//! which returns one table.
//!
//! Both sides compile this very file, so they cannot disagree within one build; [`ABI`] and the size of the
//! [`Table`] tell builds apart.
//! Functions return 0 or a count, or a negative errno. Paths are bytes with a length, absolute, below the mount
//! directory; or, where a directory (`OPEN_DIRECTORY`) comes before them, one name in it, at which no link is followed,
//! `..`, or nothing for the directory itself. File calls act with the PAG that the calling thread was put into by `enter`, and refuse (`EPERM`)
//! a thread that is in none.

use core::ffi::{c_char, c_void};

/// Rises with each change of this file.
pub(crate) const ABI: u32 = 4;
/// The one exported symbol; its type is [`Entry`].
pub(crate) const ENTRY: &[u8] = b"afsweb_uafs_table\0";
/// What [`ENTRY`] is.
pub(crate) type Entry = unsafe extern "C" fn() -> *const Table;

/// [`StartConfig::flags`]: `/afs` is made of the cells in CellServDB instead of the volume root.afs.
pub(crate) const START_DYNROOT: u32 = 1;

/// `open`: for reading.
pub(crate) const OPEN_READ: u32 = 1;
/// `open`: for writing.
pub(crate) const OPEN_WRITE: u32 = 2;
/// `open`: the file must not exist yet.
pub(crate) const OPEN_CREATE_NEW: u32 = 4;
/// `open`: empties it.
pub(crate) const OPEN_TRUNCATE: u32 = 8;

/// `open`, by itself: a directory to work in. No right is asked for; each call in it asks for what it takes.
pub(crate) const OPEN_DIRECTORY: u32 = 16;

/// How the client starts. Texts are NUL-terminated and need only live during the call.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct StartConfig {
    /// Directory with ThisCell, CellServDB and cacheinfo.
    pub(crate) conf_dir: *const c_char,
    /// Where AFS appears to be mounted.
    pub(crate) mount_dir: *const c_char,
    /// Directory for a disk cache of this process alone; null for a memory cache.
    pub(crate) cache_dir: *const c_char,
    /// Size of the cache in KiB.
    pub(crate) cache_kib: u32,
    /// Chunk size as power of two; 0 lets the library choose.
    pub(crate) chunk_log2: u32,
    /// Entries of the stat cache.
    pub(crate) stat_entries: u32,
    /// Entries of the volume cache.
    pub(crate) volumes: u32,
    /// Background threads.
    pub(crate) daemons: u32,
    /// Seconds until a silent server counts as down.
    pub(crate) dead_s: u32,
    /// Seconds until a call to a server that is there but gets nowhere is given up.
    pub(crate) idle_s: u32,
    /// Upper limit for one call to a volume location server, in seconds.
    pub(crate) hard_s: u32,
    /// `START_*`.
    pub(crate) flags: u32,
    /// Of these UDP ports the first free one is taken, so that it is again that of a process which has ended.
    pub(crate) port_first: u16,
    /// The last of them; 0, or all in use: one of the system's choice.
    pub(crate) port_last: u16,
}

/// What is known of a file.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RawStat {
    /// Length in bytes.
    pub(crate) size: u64,
    /// Seconds since 1970.
    pub(crate) mtime: i64,
    /// Inode number.
    pub(crate) ino: u64,
    /// Type and mode bits as in stat(2).
    pub(crate) mode: u32,
    /// Owner.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
    /// Links.
    pub(crate) nlink: u32,
    /// The low 19 bits of the data version.
    pub(crate) data_version: u32,
    /// Cell, as this client numbers them.
    pub(crate) cell: u32,
    /// Volume.
    pub(crate) volume: u32,
    /// Vnode in the volume.
    pub(crate) vnode: u32,
    /// Uniquifier of the vnode.
    pub(crate) unique: u32,
}

/// An open file; opaque.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct RawFile {
    _opaque: [u8; 0],
}

/// The functions. A pointer that is passed must be valid for the length that goes with it.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Table {
    /// [`ABI`] of the object.
    pub(crate) abi: u32,
    /// `size_of::<Table>()` of the object.
    pub(crate) size: u32,
    /// Starts the client, once in a process. Blocks no signal and leaves none to the client's threads.
    pub(crate) start: unsafe extern "C" fn(config: *const StartConfig) -> i32,
    /// Makes a PAG under a number of the caller's (1 to 0x8fff_ffff), which must be new.
    pub(crate) pag_make: unsafe extern "C" fn(pag: u32) -> i32,
    /// Drops the PAG's tokens and forgets it. Threads in it can do nothing until they enter another.
    pub(crate) pag_end: unsafe extern "C" fn(pag: u32) -> i32,
    /// Gives it a token: VIOCSETTOK block.
    pub(crate) pag_set_token: unsafe extern "C" fn(pag: u32, block: *const u8, len: usize) -> i32,
    /// Drops its tokens.
    pub(crate) pag_unlog: unsafe extern "C" fn(pag: u32) -> i32,
    /// Puts the calling thread into it.
    pub(crate) enter: unsafe extern "C" fn(pag: u32) -> i32,
    /// The PAG of the calling thread as the library sees it; 0: none.
    pub(crate) current: unsafe extern "C" fn() -> u32,
    /// Opens a file or directory, following the symbolic links of a path; `OPEN_CREATE_NEW` does not.
    pub(crate) open: unsafe extern "C" fn(
        dir: *mut RawFile,
        path: *const u8,
        len: usize,
        flags: u32,
        mode: u32,
        out: *mut *mut RawFile,
    ) -> i32,
    /// Closes it, in any thread; stores what was written with the rights of the PAG that opened it.
    pub(crate) close: unsafe extern "C" fn(file: *mut RawFile) -> i32,
    /// Reads at an offset.
    pub(crate) pread:
        unsafe extern "C" fn(file: *mut RawFile, buf: *mut u8, len: usize, offset: u64) -> isize,
    /// Writes at an offset.
    pub(crate) pwrite:
        unsafe extern "C" fn(file: *mut RawFile, buf: *const u8, len: usize, offset: u64) -> isize,
    /// Stores what was written.
    pub(crate) fsync: unsafe extern "C" fn(file: *mut RawFile) -> i32,
    /// Cuts or extends an open file to `size` bytes.
    pub(crate) truncate: unsafe extern "C" fn(file: *mut RawFile, size: u64) -> i32,
    /// Stat of an open file.
    pub(crate) fstat: unsafe extern "C" fn(file: *mut RawFile, out: *mut RawStat) -> i32,
    /// Names of a directory from `*cookie` (0 at first) on, each as two bytes length (native) and the bytes;
    /// 0 at the end. `len` at least 2,048.
    pub(crate) read_dir:
        unsafe extern "C" fn(file: *mut RawFile, cookie: *mut i64, buf: *mut u8, len: usize) -> isize,
    /// Stat of a path.
    pub(crate) stat: unsafe extern "C" fn(
        dir: *mut RawFile,
        path: *const u8,
        len: usize,
        follow: u32,
        out: *mut RawStat,
    ) -> i32,
    /// Target of a symbolic link.
    pub(crate) readlink: unsafe extern "C" fn(
        dir: *mut RawFile,
        path: *const u8,
        len: usize,
        buf: *mut u8,
        cap: usize,
    ) -> isize,
    /// access(2) with R_OK, W_OK, X_OK.
    pub(crate) access: unsafe extern "C" fn(dir: *mut RawFile, path: *const u8, len: usize, mode: u32) -> i32,
    /// A pioctl that does not change PAGs or tokens, on a path (following links or not) or, with neither directory nor
    /// path, on none.
    pub(crate) pioctl: unsafe extern "C" fn(
        dir: *mut RawFile,
        path: *const u8,
        len: usize,
        follow: u32,
        command: u32,
        input: *const c_void,
        in_len: usize,
        out: *mut c_void,
        cap: usize,
    ) -> isize,
    /// Makes a directory.
    pub(crate) mkdir: unsafe extern "C" fn(dir: *mut RawFile, path: *const u8, len: usize, mode: u32) -> i32,
    /// Makes a symbolic link (a mount point, if the target has that form).
    pub(crate) symlink: unsafe extern "C" fn(
        target: *const u8,
        target_len: usize,
        dir: *mut RawFile,
        path: *const u8,
        len: usize,
    ) -> i32,
    /// Removes a file or link.
    pub(crate) unlink: unsafe extern "C" fn(dir: *mut RawFile, path: *const u8, len: usize) -> i32,
    /// Removes an empty directory.
    pub(crate) rmdir: unsafe extern "C" fn(dir: *mut RawFile, path: *const u8, len: usize) -> i32,
    /// Renames.
    pub(crate) rename: unsafe extern "C" fn(
        from_dir: *mut RawFile,
        from: *const u8,
        from_len: usize,
        to_dir: *mut RawFile,
        to: *const u8,
        to_len: usize,
    ) -> i32,
    /// Gives all callbacks back to their file servers, as the last thing that the process does. Waits for all of them.
    pub(crate) give_up_callbacks: unsafe extern "C" fn() -> i32,
}
