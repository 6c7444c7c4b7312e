#![allow(unsafe_code, reason = "the archive's start functions, signal masks and descriptors")]
//! Starts the client, once in a process.
//!
//! # Safety
//! The archive's start functions run in one thread, before any other function of the archive. They end the process
//! on a bad configuration, so the caller has checked it (crate `pag` does).

use crate::abi::{self, StartConfig};
use crate::creds;
use crate::errno::{Errno, Res};
use crate::limit;
use crate::lock::Glock;
use crate::raw;
use crate::walk;
use core::ffi::{CStr, c_char, c_int};
use std::collections::HashSet;
use std::ffi::CString;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

/// Least seconds that Rx takes for the death of a server (OpenAFS `src/rx/rx.c`, `rxi_CheckConnTimeouts`).
const DEAD_MIN: u32 = 6;
/// The PAG in which the root is looked at; ended at once.
const PROBE_PAG: u32 = 0x4000_0000;

/// Whether it was started.
static STARTED: AtomicBool = AtomicBool::new(false);
/// Whether it runs.
static RUNS: AtomicBool = AtomicBool::new(false);

/// The first port to try, and the last; 0: none.
static PORTS: (AtomicU16, AtomicU16) = (AtomicU16::new(0), AtomicU16::new(0));

/// By what file servers know this process.
static UUID: OnceLock<[u8; UUID_LEN]> = OnceLock::new();
/// Whether the archive has asked for it.
static UUID_IS_ASKED: AtomicBool = AtomicBool::new(false);
/// Its bytes.
const UUID_LEN: usize = 16;

/// Refuses calls before the start.
pub(crate) fn running() -> Res<()> {
    if RUNS.load(Ordering::Acquire) { Ok(()) } else { Err(Errno(libc::ENODEV)) }
}

/// The texts of a configuration.
struct Texts<'a> {
    /// Configuration directory.
    conf: &'a CStr,
    /// Mount directory.
    mount: &'a CStr,
    /// Cache directory.
    cache: Option<&'a CStr>,
}

/// Starts the client.
pub(crate) fn start(config: &StartConfig) -> Res<()> {
    let texts = texts(config)?;
    if STARTED.swap(true, Ordering::AcqRel) {
        return Err(Errno(libc::EALREADY));
    }
    set_deadlines(config);
    let uuid = uuid()?;
    UUID.get_or_init(|| uuid);
    PORTS.0.store(config.port_first, Ordering::Release);
    PORTS.1.store(config.port_last, Ordering::Release);
    walk::set_mount(texts.mount);
    // SAFETY: the first call into the archive.
    if unsafe { raw::uafs_Setup(texts.mount.as_ptr()) } != 0 {
        return Err(Errno(libc::EINVAL));
    }
    if !creds::check_layout(&Glock::take()) {
        return Err(Errno(libc::ELIBBAD));
    }
    let before = descriptors();
    let mask = block_signals();
    let code = run(config, &texts);
    restore_signals(&mask);
    close_on_exec(&before);
    code?;
    let sound = {
        let lock = Glock::take();
        creds::make(PROBE_PAG, &lock)?;
        let sound = creds::of(PROBE_PAG).is_ok_and(|c| walk::check_layout(c, &lock))
            && limit::check_layout(&lock)
            && UUID_IS_ASKED.load(Ordering::Acquire);
        creds::forget(PROBE_PAG);
        sound
    };
    if !sound {
        return Err(Errno(libc::ELIBBAD));
    }
    RUNS.store(true, Ordering::Release);
    Ok(())
}

/// A UUID of random bytes, version 4, as it lies in memory: a number of four bytes and two of two in the machine's order,
/// then single bytes.
fn uuid() -> Res<[u8; UUID_LEN]> {
    let mut uuid = [0; UUID_LEN];
    // SAFETY: so many bytes. So few come at once.
    let n = unsafe { libc::getrandom(uuid.as_mut_ptr().cast(), UUID_LEN, 0) };
    if usize::try_from(n) != Ok(UUID_LEN) {
        return Err(Errno(libc::EIO));
    }
    let version = u16::from_ne_bytes([uuid[6], uuid[7]]) & 0x0fff | 0x4000;
    [uuid[6], uuid[7]] = version.to_ne_bytes();
    uuid[8] = uuid[8] & 0x3f | 0x80;
    Ok(uuid)
}

/// Reads the texts.
fn texts(config: &StartConfig) -> Res<Texts<'_>> {
    let text = |at: *const c_char| {
        // SAFETY: the caller passes NUL-terminated texts or null.
        (!at.is_null()).then(|| unsafe { CStr::from_ptr(at) })
    };
    Ok(Texts {
        conf: text(config.conf_dir).ok_or(Errno(libc::EINVAL))?,
        mount: text(config.mount_dir).ok_or(Errno(libc::EINVAL))?,
        cache: text(config.cache_dir),
    })
}

/// Sets the library's deadlines, which it gives to each connection that it makes.
fn set_deadlines(config: &StartConfig) {
    let s = |n: u32| i32::try_from(n.max(DEAD_MIN)).unwrap_or(i32::MAX);
    let (dead, idle, hard) = (s(config.dead_s), s(config.idle_s), s(config.hard_s));
    limit::set(config.dead_s.max(DEAD_MIN));
    // SAFETY: no thread of the archive runs yet.
    unsafe { raw::afs_rx_deadtime = dead };
    // SAFETY: as above.
    unsafe { raw::afs_rx_harddead = hard.max(dead) };
    // SAFETY: as above.
    unsafe { raw::afs_rx_idledead = idle.max(dead) };
    // SAFETY: as above.
    unsafe { raw::afs_rx_idledead_rep = idle.max(dead) };
}

/// Tells all file servers that no callback is wanted any more.
pub(crate) fn give_up_callbacks() -> Res<()> {
    /// All callbacks, by one call to each address, as when the machine is shut down.
    const ALL: c_int = 2;
    let lock = Glock::take();
    // SAFETY: the thread has the global lock, which the function releases while it waits.
    let code = unsafe { raw::afs_FlushVCBs(ALL) };
    drop(lock);
    if code == 0 { Ok(()) } else { Err(Errno(code)) }
}

/// Passes the configuration as afsd's arguments and starts the threads.
fn run(config: &StartConfig, texts: &Texts<'_>) -> Res<()> {
    let mut args: Vec<CString> = Vec::new();
    let mut arg = |a: &str| CString::new(a).map(|a| args.push(a)).map_err(|_| Errno(libc::EINVAL));
    arg("afsd")?;
    if texts.cache.is_none() {
        arg("-memcache")?;
    }
    if config.flags & abi::START_DYNROOT != 0 {
        arg("-dynroot")?;
    }
    for (name, n) in [
        ("-blocks", config.cache_kib),
        ("-chunksize", config.chunk_log2),
        ("-stat", config.stat_entries),
        ("-volumes", config.volumes),
        ("-daemons", config.daemons),
    ] {
        if n != 0 {
            arg(name)?;
            arg(&n.to_string())?;
        }
    }
    let mut text = |name: &CStr, value: &CStr| {
        args.push(name.to_owned());
        args.push(value.to_owned());
    };
    text(c"-confdir", texts.conf);
    text(c"-mountdir", texts.mount);
    if let Some(cache) = texts.cache {
        text(c"-cachedir", cache);
    }
    let mut argv: Vec<*mut c_char> = args.iter().map(|a| a.as_ptr().cast_mut()).collect();
    let argc = c_int::try_from(argv.len()).map_err(|_| Errno(libc::EINVAL))?;
    argv.push(core::ptr::null_mut());
    // SAFETY: `argc` texts and a null; our parser copies what it keeps.
    if unsafe { raw::uafs_ParseArgs(argc, argv.as_mut_ptr()) } != 0 {
        return Err(Errno(libc::EINVAL));
    }
    // SAFETY: set up and parsed.
    if unsafe { raw::uafs_Run() } != 0 {
        return Err(Errno(libc::EIO));
    }
    Ok(())
}

/// Blocks all signals that are not faults, so that the client's threads never run a handler of the process.
fn block_signals() -> libc::sigset_t {
    // SAFETY: any bits are a set.
    let mut all: libc::sigset_t = unsafe { core::mem::zeroed() };
    let mut old = all;
    // SAFETY: a set of ours.
    unsafe { libc::sigfillset(&raw mut all) };
    for fault in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT, libc::SIGTRAP] {
        // SAFETY: a set of ours.
        unsafe { libc::sigdelset(&raw mut all, fault) };
    }
    // SAFETY: two sets of ours; changes the calling thread only.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut old) };
    old
}

/// Puts the calling thread's mask back.
fn restore_signals(mask: &libc::sigset_t) {
    // SAFETY: what `block_signals` saved.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, core::ptr::null_mut()) };
}

/// The open descriptors.
fn descriptors() -> HashSet<c_int> {
    let Ok(dir) = std::fs::read_dir("/proc/self/fd") else { return HashSet::new() };
    dir.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Keeps the client's socket from programs that the process starts.
fn close_on_exec(before: &HashSet<c_int>) {
    for fd in descriptors().difference(before) {
        // SAFETY: a descriptor that is gone only gives an error.
        unsafe { libc::fcntl(*fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// What the archive's calls of open(2) come to: the same with O_CLOEXEC. The archive opens the files of a disk cache
/// for each access, and a program started at that moment must not inherit what somebody else has read.
///
/// # Safety
/// `path` is NUL-terminated. The archive passes a mode whenever the flags need one.
#[unsafe(no_mangle)]
unsafe extern "C" fn afsweb_open64(path: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int {
    // SAFETY: as the caller says. Not open(2) of libc, which would come here again.
    unsafe { libc::openat64(libc::AT_FDCWD, path, flags | libc::O_CLOEXEC, mode) }
}

/// What the archive's calls of bind(2) come to: where no port is asked for, the first free one of ours. The archive ends
/// the process if its socket cannot be bound, so only the kernel is asked which are free.
///
/// # Safety
/// `address` is valid for `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn afsweb_bind(
    socket: c_int,
    address: *const libc::sockaddr,
    len: libc::socklen_t,
) -> c_int {
    // Not bind(2) of libc, which would come here again.
    // SAFETY: as the caller says.
    let bind =
        |address: *const libc::sockaddr| unsafe { libc::syscall(libc::SYS_bind, socket, address, len) };
    let (first, last) = (PORTS.0.load(Ordering::Acquire), PORTS.1.load(Ordering::Acquire));
    let size = size_of::<libc::sockaddr_in>();
    if first != 0 && usize::try_from(len) == Ok(size) {
        // SAFETY: so many bytes, as the caller says; any bytes are a value.
        let mut own: libc::sockaddr_in = unsafe { address.cast::<libc::sockaddr_in>().read_unaligned() };
        if c_int::from(own.sin_family) == libc::AF_INET && own.sin_port == 0 {
            for port in first..=last {
                own.sin_port = port.to_be();
                if bind((&raw const own).cast::<libc::sockaddr>()) == 0 {
                    return 0;
                }
            }
        }
    }
    c_int::try_from(bind(address)).unwrap_or(-1)
}

/// What the archive's call of `afs_uuid_create` comes to: random bytes. Its own are the time in microseconds, the address of
/// the machine, and something that is the same in all children of a server; two that start in the same microsecond would be
/// one client for file servers, of which only one hears of changes.
///
/// # Safety
/// `uuid` is valid for writing.
#[unsafe(no_mangle)]
unsafe extern "C" fn afsweb_uuid_create(uuid: *mut [u8; UUID_LEN]) -> c_int {
    let Some(ours) = UUID.get() else { return libc::EIO };
    UUID_IS_ASKED.store(true, Ordering::Release);
    // SAFETY: as the caller says; bytes may lie anywhere.
    unsafe { uuid.write(*ours) };
    0
}
