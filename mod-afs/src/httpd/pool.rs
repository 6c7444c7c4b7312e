//! httpd's memory pools: values that live as long as a pool, and bytes that live as long as httpd.

use super::guard::guard;
use super::hook::Phases;
use core::ffi::{CStr, c_char, c_void};
use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, Ordering};
use httpd_sys as sys;

/// Set in a child whose pools are being destroyed from inside a signal handler.
///
/// A prefork child does that at SIGTERM, wherever its only thread is; a clean-up that takes a lock
/// (and malloc has one) would wait for itself. The process ends anyway, so clean-ups then do nothing.
static ENDING_IN_SIGNAL: AtomicBool = AtomicBool::new(false);

/// From now on no clean-up of ours does anything in this process.
pub(super) fn stop_cleanups() {
    ENDING_IN_SIGNAL.store(true, Ordering::Relaxed);
}

/// May clean-ups do their work?
pub(super) fn cleanups_run() -> bool {
    !ENDING_IN_SIGNAL.load(Ordering::Relaxed)
}

/// A pool that lives at least as long as `'p`.
///
/// Not `Send`: pools are not thread-safe.
#[derive(Clone, Copy)]
pub struct Pool<'p> {
    raw: NonNull<sys::apr_pool_t>,
    life: PhantomData<&'p ()>,
}

impl core::fmt::Debug for Pool<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Pool")
    }
}

/// Drops the `T` behind `data`, which [`Pool::own`] boxed.
///
/// # Safety
/// `data` came from `Box::<T>::into_raw`, and this is called once.
unsafe extern "C" fn drop_boxed<T: Send + 'static>(data: *mut c_void) -> sys::apr_status_t {
    if cleanups_run() {
        guard("a clean-up", (), || {
            // SAFETY: the caller's promise.
            drop(unsafe { Box::from_raw(data.cast::<T>()) });
        });
    }
    0
}

/// Asks whether the process may become a program, and ends it if not.
///
/// # Safety
/// Called by APR, in a forked child.
unsafe extern "C" fn before_program(_: *mut c_void) -> sys::apr_status_t {
    if !guard("a program's start", false, crate::phases::Module::program_starts) {
        let _ = rustix::io::write(
            rustix::stdio::stderr(),
            b"mod_afs: a program is not run: its process cannot leave the PAGs of httpd (kernel.keys.maxkeys?)\n",
        );
        std::process::abort();
    }
    0
}

impl<'p> Pool<'p> {
    /// # Safety
    /// `raw` is NULL or a pool that lives at least as long as `'p` and is used by this thread only.
    pub(super) unsafe fn from_raw(raw: *mut sys::apr_pool_t) -> Option<Self> {
        NonNull::new(raw).map(|raw| Self { raw, life: PhantomData })
    }

    /// httpd's pointer.
    pub(super) fn raw(self) -> *mut sys::apr_pool_t {
        self.raw.as_ptr()
    }

    /// A NUL-terminated copy of `bytes` (up to its first NUL) in the pool.
    pub(super) fn dup(self, bytes: &[u8]) -> *mut c_char {
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        // SAFETY: `end` bytes can be read there, and the pool is alive; httpd aborts when memory is out.
        unsafe { sys::apr_pstrmemdup(self.raw(), bytes.as_ptr().cast::<c_char>(), end) }
    }

    /// Moves `value` to where it lives until the pool ends; then it is dropped, on whatever thread ends the pool.
    ///
    /// It is not dropped in forked children that exec, nor in a process that ends by a signal.
    pub fn own<T: Send + 'static>(self, value: T) -> &'p mut T {
        let raw = Box::into_raw(Box::new(value));
        // SAFETY: the pool is alive; the clean-up gets the pointer that it expects, once.
        unsafe {
            sys::apr_pool_cleanup_register(
                self.raw(),
                raw.cast::<c_void>(),
                Some(drop_boxed::<T>),
                Some(sys::apr_pool_cleanup_null),
            );
        }
        // SAFETY: just made, aliased by the clean-up only, which runs when `'p` is over.
        unsafe { &mut *raw }
    }

    /// Has [`Phases::program_starts`] called in each process that httpd forks from this one to run a program, while the pool
    /// lives.
    pub(super) fn watch_programs(self) {
        // SAFETY: the pool is alive; the function has the right shape, and asks for no data.
        unsafe {
            sys::apr_pool_cleanup_register(
                self.raw(),
                self.raw().cast::<c_void>(),
                Some(sys::apr_pool_cleanup_null),
                Some(before_program),
            );
        }
    }

    /// Runs `f` when the pool ends, under the same conditions as [`Pool::own`] drops.
    pub fn at_end(self, f: impl FnOnce() + Send + 'static) {
        /// Runs what it holds when it is dropped.
        struct OnDrop<F: FnOnce()>(Option<F>);
        impl<F: FnOnce()> Drop for OnDrop<F> {
            fn drop(&mut self) {
                if let Some(f) = self.0.take() {
                    f();
                }
            }
        }
        let _ = self.own(OnDrop(Some(f)));
    }
}

/// What outlives every restart of httpd: bytes in the pool of the process.
///
/// Only bytes: code and types of the module may be unloaded and loaded anew at each restart.
#[derive(Clone, Copy, Debug)]
pub struct Process<'p> {
    pool: Pool<'p>,
}

/// How [`Process::keep`] lays bytes out in the pool.
#[repr(C)]
struct Kept {
    /// Bytes that follow; how many there is room for.
    room: usize,
    /// Bytes that follow; how many are in use.
    len: usize,
}

impl<'p> Process<'p> {
    /// For [`super::server::Server::process`].
    pub(super) fn new(pool: Pool<'p>) -> Self {
        Self { pool }
    }

    /// The record kept under `key`.
    fn find(self, key: &CStr) -> Option<NonNull<Kept>> {
        let mut data: *mut c_void = ptr::null_mut();
        // SAFETY: the pool is alive, `data` is written to, `key` is NUL-terminated.
        unsafe { sys::apr_pool_userdata_get(&raw mut data, key.as_ptr(), self.pool.raw()) };
        NonNull::new(data.cast::<Kept>())
    }

    /// Keeps `bytes` under `key` (which names module and layout, such as `mod_afs/lanes/1`), instead of what was there.
    ///
    /// For the parent, in its configuration phases: nothing else may use it at the same time.
    pub fn keep(self, key: &CStr, bytes: &[u8]) {
        let found = self.find(key).filter(|k| {
            // SAFETY: `find` returns records of this layout only, since the key is ours.
            unsafe { k.as_ref() }.room >= bytes.len()
        });
        let record = found.or_else(|| {
            // SAFETY: the pool is alive; httpd aborts when memory is out.
            let new =
                unsafe { sys::apr_palloc(self.pool.raw(), size_of::<Kept>() + bytes.len()) }.cast::<Kept>();
            let new = NonNull::new(new)?;
            // SAFETY: enough bytes, aligned for any type, were just allocated.
            unsafe { new.write(Kept { room: bytes.len(), len: 0 }) };
            // SAFETY: the pool is alive; the key is copied; no clean-up, since code may be gone by then.
            unsafe {
                sys::apr_pool_userdata_set(new.as_ptr().cast::<c_void>(), key.as_ptr(), None, self.pool.raw())
            };
            Some(new)
        });
        let Some(mut record) = record else { return };
        // SAFETY: the bytes of the record begin behind its head, in the same allocation.
        let to = unsafe { record.add(1) }.cast::<u8>();
        // SAFETY: `room >= bytes.len()`, and what is copied from lies elsewhere.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to.as_ptr(), bytes.len()) };
        // SAFETY: nobody else uses the record (see above).
        unsafe { record.as_mut() }.len = bytes.len();
    }

    /// A copy of what was kept under `key`.
    #[must_use]
    pub fn kept(self, key: &CStr) -> Option<Vec<u8>> {
        let record = self.find(key)?;
        // SAFETY: a record of this layout, see `keep`.
        let len = unsafe { record.as_ref() }.len;
        // SAFETY: the bytes of the record begin behind its head, in the same allocation.
        let from = unsafe { record.add(1) }.cast::<u8>();
        // SAFETY: `len` bytes were written there.
        Some(unsafe { core::slice::from_raw_parts(from.as_ptr(), len) }.to_vec())
    }
}
