#![allow(unsafe_code, reason = "this crate is a C interface around a C library")]
#![allow(
    clippy::missing_errors_doc,
    reason = "nothing here is public; an error is the errno of the library's call"
)]
//! OpenAFS's user-space client (libuafs) as a shared object with a small interface of our own.
//!
//! One symbol is meant for use, `afsweb_uafs_table`; `abi.rs` (shared with crate `pag`) describes what is behind it.
//! Nothing of OpenAFS is visible outside the object, and nothing outside comes between its own calls.
//!
//! What this object adds to libuafs:
//! - PAGs that a thread enters and leaves by a change of pointer (`creds.rs`);
//! - paths walked with a limit for symbolic links, and files by vnode, so without libuafs's table of 1,024
//!   descriptors and its shared offsets (`walk.rs`, `file.rs`);
//! - an end to its patience with servers, and none of the calls by which it can stand still (`limit.rs`);
//! - threads of the client that take no signals, a socket that no program inherits, on a port of a few, and a name of random
//!   bytes by which file servers know the process (`start.rs`).
//!
//! libuafs writes a few lines to standard output when it starts and when servers go up and down.
//! It has no clean end: `uafs_Shutdown` asserts, so a process gives its callbacks back and simply exits. Of one that does
//! not, the file servers notice when they next break a callback. A signal handler must not call anything here.
//!
//! # Safety
//! Callers pass valid pointers as `abi.rs` says and call nothing but `start` before it has returned 0.
//! A panic never leaves a function.

#[path = "../../src/sys/abi.rs"]
mod abi;
mod cmd;
mod creds;
mod errno;
mod file;
mod limit;
mod lock;
mod place;
mod raw;
mod start;
mod walk;

use abi::{RawFile, RawStat, StartConfig, Table};
use core::ffi::c_void;
use errno::{Errno, Res};
use file::File;
use limit::Limited;
use lock::Glock;
use place::Place;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// VIOCSETTOK.
const SET_TOKEN: u32 = 0x4018_5603;
/// VIOCUNLOG.
const UNLOG: u32 = 0x4018_5609;

/// The table.
static TABLE: Table = Table {
    abi: abi::ABI,
    #[expect(clippy::cast_possible_truncation, reason = "a few hundred bytes")]
    size: size_of::<Table>() as u32,
    start,
    pag_make,
    pag_end,
    pag_set_token,
    pag_unlog,
    enter,
    current,
    open,
    close,
    pread,
    pwrite,
    fsync,
    truncate,
    fstat,
    read_dir,
    stat,
    readlink,
    access,
    pioctl,
    mkdir,
    symlink,
    unlink,
    rmdir,
    rename,
    give_up_callbacks,
};

/// Gives the table of functions; it lives as long as the process.
#[unsafe(no_mangle)]
extern "C" fn afsweb_uafs_table() -> *const Table {
    &raw const TABLE
}

const _: abi::Entry = afsweb_uafs_table;
const _: () = assert!(abi::ENTRY.len() == b"afsweb_uafs_table\0".len());

/// Runs `f` once the client runs; the errno, negative, if that fails.
fn answer(f: impl FnOnce() -> Res<()>) -> i32 {
    match guarded(|| start::running().and_then(|()| f())) {
        Ok(()) => 0,
        Err(Errno(n)) => -n,
    }
}

/// The same for a count.
fn count(f: impl FnOnce() -> Res<usize>) -> isize {
    match guarded(|| start::running().and_then(|()| f())) {
        Ok(n) => isize::try_from(n).unwrap_or(isize::MAX),
        Err(Errno(n)) => isize::try_from(-n).unwrap_or(-1),
    }
}

/// A panic becomes an error; locks are released while it unwinds.
fn guarded<T>(f: impl FnOnce() -> Res<T>) -> Res<T> {
    let _limited = Limited::begin();
    catch_unwind(AssertUnwindSafe(f)).unwrap_or(Err(Errno(libc::EIO)))
}

/// Bytes of a caller.
///
/// # Safety
/// `at` is valid for `len` bytes during the call, or `len` is 0.
unsafe fn input<'a>(at: *const u8, len: usize) -> &'a [u8] {
    if at.is_null() || len == 0 {
        return &[];
    }
    // SAFETY: as the caller says.
    unsafe { core::slice::from_raw_parts(at, len) }
}

/// Room of a caller.
///
/// # Safety
/// `at` is valid for writing `len` bytes during the call, and nobody else uses them, or `len` is 0.
unsafe fn output<'a>(at: *mut u8, len: usize) -> &'a mut [u8] {
    if at.is_null() || len == 0 {
        return &mut [];
    }
    // SAFETY: as the caller says.
    unsafe { core::slice::from_raw_parts_mut(at, len) }
}

/// An open file of a caller.
///
/// # Safety
/// From `open`, and not closed before the call has returned.
unsafe fn file<'a>(at: *mut RawFile) -> Res<&'a File> {
    // SAFETY: as the caller says.
    unsafe { at.cast::<File>().as_ref() }.ok_or(Errno(libc::EBADF))
}

/// A place of a caller: a path, or with a directory of his a name in it.
///
/// # Safety
/// `dir` is null or from `open`, and not closed before the call has returned; `path` as for [`input`].
unsafe fn place<'a>(dir: *mut RawFile, path: *const u8, len: usize) -> Place<'a> {
    // SAFETY: as the caller says.
    let dir = unsafe { dir.cast::<File>().as_ref() };
    // SAFETY: as the caller says.
    Place { dir, path: unsafe { input(path, len) } }
}

/// `Table::start`.
///
/// # Safety
/// Pointers are what `abi.rs` says.
unsafe extern "C" fn start(config: *const StartConfig) -> i32 {
    // SAFETY: valid or null, by the interface.
    let Some(config) = (unsafe { config.as_ref() }) else { return -libc::EINVAL };
    match guarded(|| start::start(config)) {
        Ok(()) => 0,
        Err(Errno(n)) => -n,
    }
}

/// `Table::pag_make`.
///
/// # Safety
/// Pointers are what `abi.rs` says.
unsafe extern "C" fn pag_make(pag: u32) -> i32 {
    answer(|| creds::make(pag, &Glock::take()))
}

/// `Table::pag_end`.
///
/// # Safety
/// Pointers are what `abi.rs` says.
unsafe extern "C" fn pag_end(pag: u32) -> i32 {
    answer(|| {
        let done = file::tokens(pag, UNLOG, &[]);
        creds::forget(pag);
        done
    })
}

/// `Table::pag_set_token`.
///
/// # Safety
/// Pointers are what `abi.rs` says.
unsafe extern "C" fn pag_set_token(pag: u32, block: *const u8, len: usize) -> i32 {
    // SAFETY: by the interface.
    let block = unsafe { input(block, len) };
    answer(|| file::tokens(pag, SET_TOKEN, block))
}

/// `Table::pag_unlog`.
///
/// # Safety
/// Pointers are what `abi.rs` says.
unsafe extern "C" fn pag_unlog(pag: u32) -> i32 {
    answer(|| file::tokens(pag, UNLOG, &[]))
}

/// `Table::enter`.
///
/// # Safety
/// Pointers are what `abi.rs` says.
unsafe extern "C" fn enter(pag: u32) -> i32 {
    answer(|| creds::enter(pag, &Glock::take()))
}

/// `Table::current`.
///
/// # Safety
/// Pointers are what `abi.rs` says.
unsafe extern "C" fn current() -> u32 {
    if start::running().is_ok() { creds::current() } else { 0 }
}

/// `Table::open`.
///
/// # Safety
/// Pointers are what `abi.rs` says.
unsafe extern "C" fn open(
    dir: *mut RawFile,
    path: *const u8,
    len: usize,
    flags: u32,
    mode: u32,
    out: *mut *mut RawFile,
) -> i32 {
    // SAFETY: by the interface.
    let place = unsafe { place(dir, path, len) };
    answer(|| {
        let file = File::open(place, flags, mode)?;
        // SAFETY: by the interface.
        unsafe { *out = Box::into_raw(Box::new(file)).cast() };
        Ok(())
    })
}

/// `Table::close`.
///
/// # Safety
/// Pointers are what `abi.rs` says.
unsafe extern "C" fn close(at: *mut RawFile) -> i32 {
    if at.is_null() {
        return -libc::EBADF;
    }
    // SAFETY: from `open`, closed once, by the interface.
    let file = unsafe { Box::from_raw(at.cast::<File>()) };
    answer(|| file.close())
}

/// `Table::pread`.
///
/// # Safety
/// Pointers are what `abi.rs` says.
unsafe extern "C" fn pread(at: *mut RawFile, buf: *mut u8, len: usize, offset: u64) -> isize {
    // SAFETY: by the interface.
    count(|| unsafe { file(at) }?.pread(buf, len, offset))
}

/// `Table::pwrite`.
///
/// # Safety
/// Pointers are what `abi.rs` says.
unsafe extern "C" fn pwrite(at: *mut RawFile, buf: *const u8, len: usize, offset: u64) -> isize {
    // SAFETY: by the interface.
    count(|| unsafe { file(at) }?.pwrite(buf, len, offset))
}

/// `Table::fsync`.
///
/// # Safety
/// Pointers are what `abi.rs` says.
unsafe extern "C" fn fsync(at: *mut RawFile) -> i32 {
    // SAFETY: by the interface.
    answer(|| unsafe { file(at) }?.fsync())
}

/// `Table::truncate`.
///
/// # Safety
/// Pointers are what `abi.rs` says.
unsafe extern "C" fn truncate(at: *mut RawFile, size: u64) -> i32 {
    // SAFETY: by the interface.
    answer(|| unsafe { file(at) }?.truncate(size))
}

/// `Table::fstat`.
///
/// # Safety
/// Pointers are what `abi.rs` says.
unsafe extern "C" fn fstat(at: *mut RawFile, out: *mut RawStat) -> i32 {
    answer(|| {
        // SAFETY: by the interface.
        let found = unsafe { file(at) }?.stat()?;
        // SAFETY: by the interface.
        unsafe { *out = found };
        Ok(())
    })
}

/// `Table::read_dir`.
///
/// # Safety
/// Pointers are what `abi.rs` says.
unsafe extern "C" fn read_dir(at: *mut RawFile, cookie: *mut i64, buf: *mut u8, len: usize) -> isize {
    // SAFETY: by the interface.
    let buf = unsafe { output(buf, len) };
    // SAFETY: by the interface.
    let Some(cookie) = (unsafe { cookie.as_mut() }) else { return -1 };
    // SAFETY: by the interface.
    count(|| unsafe { file(at) }?.read_dir(cookie, buf))
}

/// `Table::stat`.
///
/// # Safety
/// Pointers are what `abi.rs` says.
unsafe extern "C" fn stat(
    dir: *mut RawFile,
    path: *const u8,
    len: usize,
    follow: u32,
    out: *mut RawStat,
) -> i32 {
    // SAFETY: by the interface.
    let place = unsafe { place(dir, path, len) };
    answer(|| {
        let found = file::stat(place, follow != 0)?;
        // SAFETY: by the interface.
        unsafe { *out = found };
        Ok(())
    })
}

/// `Table::readlink`.
///
/// # Safety
/// Pointers are what `abi.rs` says.
unsafe extern "C" fn readlink(
    dir: *mut RawFile,
    path: *const u8,
    len: usize,
    buf: *mut u8,
    cap: usize,
) -> isize {
    // SAFETY: by the interface.
    let place = unsafe { place(dir, path, len) };
    // SAFETY: by the interface.
    let buf = unsafe { output(buf, cap) };
    count(|| {
        let target = file::readlink(place)?;
        buf.get_mut(..target.len()).ok_or(Errno(libc::ENAMETOOLONG))?.copy_from_slice(&target);
        Ok(target.len())
    })
}

/// `Table::access`.
///
/// # Safety
/// Pointers are what `abi.rs` says.
unsafe extern "C" fn access(dir: *mut RawFile, path: *const u8, len: usize, mode: u32) -> i32 {
    // SAFETY: by the interface.
    let place = unsafe { place(dir, path, len) };
    answer(|| file::access(place, mode))
}

/// `Table::pioctl`.
///
/// # Safety
/// Pointers are what `abi.rs` says.
unsafe extern "C" fn pioctl(
    dir: *mut RawFile,
    path: *const u8,
    len: usize,
    follow: u32,
    command: u32,
    in_data: *const c_void,
    in_len: usize,
    out: *mut c_void,
    cap: usize,
) -> isize {
    let somewhere = !path.is_null() || !dir.is_null();
    // SAFETY: by the interface.
    let place = unsafe { place(dir, path, len) };
    // SAFETY: by the interface.
    let in_data = unsafe { input(in_data.cast(), in_len) };
    // SAFETY: by the interface.
    let out = unsafe { output(out.cast(), cap) };
    count(|| file::pioctl(somewhere.then_some(place), follow != 0, command, in_data, out))
}

/// `Table::mkdir`.
///
/// # Safety
/// Pointers are what `abi.rs` says.
unsafe extern "C" fn mkdir(dir: *mut RawFile, path: *const u8, len: usize, mode: u32) -> i32 {
    // SAFETY: by the interface.
    let place = unsafe { place(dir, path, len) };
    answer(|| file::mkdir(place, mode))
}

/// `Table::symlink`.
///
/// # Safety
/// Pointers are what `abi.rs` says.
unsafe extern "C" fn symlink(
    target: *const u8,
    target_len: usize,
    dir: *mut RawFile,
    path: *const u8,
    len: usize,
) -> i32 {
    // SAFETY: by the interface.
    let target = unsafe { input(target, target_len) };
    // SAFETY: by the interface.
    let place = unsafe { place(dir, path, len) };
    answer(|| file::symlink(target, place))
}

/// `Table::unlink`.
///
/// # Safety
/// Pointers are what `abi.rs` says.
unsafe extern "C" fn unlink(dir: *mut RawFile, path: *const u8, len: usize) -> i32 {
    // SAFETY: by the interface.
    let place = unsafe { place(dir, path, len) };
    answer(|| file::unlink(place))
}

/// `Table::rmdir`.
///
/// # Safety
/// Pointers are what `abi.rs` says.
unsafe extern "C" fn rmdir(dir: *mut RawFile, path: *const u8, len: usize) -> i32 {
    // SAFETY: by the interface.
    let place = unsafe { place(dir, path, len) };
    answer(|| file::rmdir(place))
}

/// `Table::rename`.
///
/// # Safety
/// Pointers are what `abi.rs` says.
unsafe extern "C" fn rename(
    from_dir: *mut RawFile,
    from: *const u8,
    from_len: usize,
    to_dir: *mut RawFile,
    to: *const u8,
    to_len: usize,
) -> i32 {
    // SAFETY: by the interface.
    let from = unsafe { place(from_dir, from, from_len) };
    // SAFETY: by the interface.
    let to = unsafe { place(to_dir, to, to_len) };
    answer(|| file::rename(from, to))
}

/// Table entry: gives all callbacks back.
///
/// # Safety
/// None is needed.
unsafe extern "C" fn give_up_callbacks() -> i32 {
    answer(start::give_up_callbacks)
}
