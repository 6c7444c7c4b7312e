#![allow(unsafe_code, reason = "functions that the archive's calls are led to")]
//! How long the archive goes on asking servers, and what it may not ask at all.
//!
//! Its own patience has no end where a server answers pings and not the call: the call is made again and again, with
//! locks held that all threads of the process need (OpenAFS `src/afs/afs_analyze.c`, read at 1.8.9). So calls of its
//! functions come here first (`build.rs`): nobody begins another call to a server once he has been [`PATIENCE`] dead
//! times without an answer, whether he waited for a server or for a lock.
//!
//! How long it sleeps before it asks a server again that called itself busy is decided here, too.
//!
//! # Safety
//! Arguments are handed on as they came. The state is the thread's own; of a request one byte is written, whose place
//! the start has checked.

use crate::lock::{self, Glock};
use crate::raw;
use core::cell::Cell;
use core::ffi::{c_int, c_ushort, c_void};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicU64, Ordering};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::{Duration, Instant};

/// After so many dead times without an answer nothing is asked any more: one for a server that is silent, one for another.
const PATIENCE: u32 = 2;
/// How long the first sleep before a busy server is asked again is, and the longest, milliseconds; up to a half is added or
/// taken off. A server says so for as long as it takes to ask this process who it is, when more than two to five
/// connections of it are new at the same time (OpenAFS `src/viced/host.c`, `h_GetHost_r`), and while a volume is moved.
const BUSY_MS: (u32, u32) = (20, 1_000);
/// `SHARED_LOCK` (OpenAFS `src/afs/lock.h`).
const SHARED_LOCK: i32 = 4;

/// The dead time, in milliseconds; 0: no end.
static DEAD_MS: AtomicU64 = AtomicU64::new(0);
/// How often a server did not answer any thread, or said that it cannot now.
static TROUBLE: AtomicU64 = AtomicU64::new(0);

/// How long a thread has been asking.
#[derive(Clone, Copy)]
enum State {
    /// It is the archive's own, and nothing is open.
    Idle,
    /// The archive's own, which asks since then; since the first trouble, if there was any.
    Asks {
        /// Since when.
        since: Instant,
        /// When it asked last. It may have gone on to something else without a word.
        last: Instant,
        /// Whether there was trouble.
        troubled: bool,
    },
    /// In a call of the table.
    Called {
        /// Since when; since a server has answered it, if one has.
        since: Instant,
        /// What [`TROUBLE`] was then.
        trouble: u64,
    },
}

thread_local! {
    static STATE: Cell<State> = const { Cell::new(State::Idle) };
    /// How often in turn it has slept because of a busy server.
    static SLEPT: Cell<u32> = const { Cell::new(0) };
}

/// Sets the patience, by the dead time. No thread of the archive may run yet.
pub(crate) fn set(dead_s: u32) {
    DEAD_MS.store(u64::from(dead_s) * 1_000, Ordering::Relaxed);
    // SAFETY: no thread of the archive runs yet.
    unsafe { raw::afs_BusyWaitPeriod = 0 };
}

/// How long to sleep before a busy server is asked again, having slept `slept` times; `chance` is any number. Twice as
/// long each time, and not as long as the others who were sent away at the same moment.
fn busy_ms(slept: u32, chance: u64) -> u32 {
    let (first, last) = BUSY_MS;
    let about = first.saturating_mul(1 << slept.min(16)).min(last);
    let more = u32::try_from(chance % u64::from(about)).unwrap_or(0);
    about / 2 + more
}

/// Sleeps before a busy server is asked again.
///
/// # Safety
/// The thread has the global lock, which is released meanwhile.
unsafe fn sleep_as_busy() {
    let slept = SLEPT.get();
    SLEPT.set(slept.saturating_add(1));
    let ms = busy_ms(slept, RandomState::new().build_hasher().finish());
    // Not the archive's own sleep, which lasts as long as the time of day says.
    // SAFETY: the caller vouches for the lock.
    unsafe { lock::without(|| std::thread::sleep(Duration::from_millis(ms.into()))) };
}

/// How long a thread asks without an answer.
fn patience() -> Option<Duration> {
    match DEAD_MS.load(Ordering::Relaxed) {
        0 => None,
        ms => Some(Duration::from_millis(ms) * PATIENCE),
    }
}

/// A call of the table that begins now, or goes on with an answer.
fn called() -> State {
    State::Called { since: Instant::now(), trouble: TROUBLE.load(Ordering::Relaxed) }
}

/// The calling thread is in a call of the table, for as long as this lives.
pub(crate) struct Limited(State);

impl Limited {
    /// Begins.
    pub(crate) fn begin() -> Self {
        SLEPT.set(0);
        Self(STATE.replace(called()))
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        STATE.set(self.0);
    }
}

/// Whether this thread begins no other call.
fn is_over() -> bool {
    let Some(patience) = patience() else { return false };
    match STATE.get() {
        State::Idle => false,
        State::Asks { since, last, .. } => since.elapsed() >= patience && last.elapsed() < patience,
        // Who waits for a lock, or for much that goes well, may take long.
        State::Called { since, trouble } => {
            since.elapsed() >= patience && TROUBLE.load(Ordering::Relaxed) != trouble
        }
    }
}

/// Before a call to a server: whether it may be made.
fn may_ask() -> bool {
    if is_over() {
        return false;
    }
    let now = Instant::now();
    match STATE.get() {
        State::Asks { since, last, troubled } if patience().is_none_or(|p| last.elapsed() < p) => {
            STATE.set(State::Asks { since, last: now, troubled });
        }
        State::Idle | State::Asks { .. } => {
            STATE.set(State::Asks { since: now, last: now, troubled: false });
        }
        State::Called { .. } => {}
    }
    true
}

/// Behind a call: whether it went well, and whether it is to be made again.
fn told(well: bool, again: bool) {
    if again {
        TROUBLE.fetch_add(1, Ordering::Relaxed);
    }
    if well {
        SLEPT.set(0);
    }
    let now = Instant::now();
    match STATE.get() {
        State::Asks { since, troubled, .. } if again => {
            let since = if troubled { since } else { now };
            STATE.set(State::Asks { since, last: now, troubled: true });
        }
        State::Asks { .. } => STATE.set(State::Idle),
        State::Called { .. } if well => STATE.set(called()),
        State::Called { .. } | State::Idle => {}
    }
}

/// The head of `struct vrequest` (OpenAFS `src/afs/afs.h`).
#[repr(C)]
struct Request {
    /// Whose it is.
    uid: i32,
    /// How often a volume was busy.
    busy_count: i32,
    /// Of open(2).
    flags: i32,
    /// Whether what follows means something.
    initd: u8,
    /// No right.
    access_error: u8,
    /// No volume.
    volume_error: u8,
    /// No server.
    network_error: u8,
}

/// A request, and more room than the rest of it takes.
#[repr(C)]
struct Probe {
    /// Its head.
    request: Request,
    /// The room.
    room: [u64; 16],
}

/// Whether the archive notes where it is expected that there is no server: it does so for a request about nothing.
pub(crate) fn check_layout(_lock: &Glock) -> bool {
    // SAFETY: integers only.
    let mut all: Probe = unsafe { core::mem::zeroed() };
    let at = (&raw mut all).cast();
    let none = null_mut();
    // SAFETY: it takes null for connection, file and cell.
    let again = unsafe { __real_afs_Analyze(none, none, -1, none, at, -1, SHARED_LOCK, none) };
    let request = all.request;
    again == 0 && (request.network_error, request.volume_error, request.access_error) == (1, 0, 0)
}

unsafe extern "C" {
    fn __real_afs_Conn(
        fid: *mut c_void,
        request: *mut c_void,
        lock_type: i32,
        out: *mut *mut c_void,
    ) -> *mut c_void;
    fn __real_afs_ConnByMHosts(
        hosts: *mut *mut c_void,
        port: c_ushort,
        cell: i32,
        request: *mut c_void,
        lock_type: i32,
        replicated: i32,
        out: *mut *mut c_void,
    ) -> *mut c_void;
    fn __real_afs_Analyze(
        connection: *mut c_void,
        rx: *mut c_void,
        code: i32,
        fid: *mut c_void,
        request: *mut c_void,
        operation: c_int,
        lock_type: i32,
        cell: *mut c_void,
    ) -> c_int;
}

/// What the archive's calls of `afs_Conn` come to, before each call to a file server: no connection where the time is
/// over, which it takes for a network without servers.
///
/// # Safety
/// As for the archive's function.
#[unsafe(no_mangle)]
unsafe extern "C" fn afsweb_conn(
    fid: *mut c_void,
    request: *mut c_void,
    lock_type: i32,
    out: *mut *mut c_void,
) -> *mut c_void {
    if !may_ask() {
        // SAFETY: room for a pointer, by the archive.
        unsafe { *out = null_mut() };
        return null_mut();
    }
    // SAFETY: as they came.
    unsafe { __real_afs_Conn(fid, request, lock_type, out) }
}

/// The same before calls to volume location servers.
///
/// # Safety
/// As for the archive's function.
#[unsafe(no_mangle)]
unsafe extern "C" fn afsweb_conn_by_hosts(
    hosts: *mut *mut c_void,
    port: c_ushort,
    cell: i32,
    request: *mut c_void,
    lock_type: i32,
    replicated: i32,
    out: *mut *mut c_void,
) -> *mut c_void {
    if !may_ask() {
        // SAFETY: room for a pointer, by the archive.
        unsafe { *out = null_mut() };
        return null_mut();
    }
    // SAFETY: as they came.
    unsafe { __real_afs_ConnByMHosts(hosts, port, cell, request, lock_type, replicated, out) }
}

/// What the archive's calls of `afs_Analyze` come to, behind each call to a server: whether it is to be made again.
///
/// # Safety
/// As for the archive's function.
#[unsafe(no_mangle)]
unsafe extern "C" fn afsweb_analyze(
    connection: *mut c_void,
    rx: *mut c_void,
    code: i32,
    fid: *mut c_void,
    request: *mut c_void,
    operation: c_int,
    lock_type: i32,
    cell: *mut c_void,
) -> c_int {
    let over = connection.is_null() && is_over();
    if over && !request.is_null() {
        // Where a volume was busy before, what comes out could be anything else: no right, no such file, or success.
        // SAFETY: a request, by the archive; the start has checked its layout.
        unsafe { (*request.cast::<Request>()).network_error = 1 };
    }
    // Marked by its own last call, or by `afs_Conn`, which found that the server had told another thread so.
    // SAFETY: as above.
    let busy =
        connection.is_null() && !request.is_null() && unsafe { (*request.cast::<Request>()).busy_count } > 0;
    // SAFETY: as they came.
    let again = unsafe { __real_afs_Analyze(connection, rx, code, fid, request, operation, lock_type, cell) };
    let again = if over { 0 } else { again };
    told(code == 0, again != 0);
    if busy && again != 0 {
        // SAFETY: the archive calls with the lock held.
        unsafe { sleep_as_busy() };
    }
    again
}

/// What the archive's calls of `RXAFS_GiveUpCallBacks` come to: nothing is asked, and it goes on as if that had been
/// answered.
///
/// It would call with its lock of the list of such files held (OpenAFS `src/afs/afs_vcache.c`, `afs_FlushVCBs`), for
/// which others wait who hold the lock of all files. The thread that file servers reach needs that one, and a server may
/// let this very call wait until it has reached it. It is a courtesy to the server: what it still promises ends by itself,
/// or is broken for nothing. All that a process was promised is given back at its end, by another call.
///
/// # Safety
/// None is needed: nothing is looked at.
#[unsafe(no_mangle)]
extern "C" fn afsweb_give_up_callbacks(
    _rx: *mut c_void,
    _fids: *const c_void,
    _callbacks: *const c_void,
) -> c_int {
    0
}
