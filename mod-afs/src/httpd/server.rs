//! A server: the main one or a virtual host.

use super::log::{Level, log_server};
use super::pool::{Pool, Process};
use super::record::module;
use crate::config::ServerConfig;
use crate::message::Message;
use core::ffi::{CStr, c_int};
use core::marker::PhantomData;
use core::ptr::NonNull;
use httpd_sys as sys;

/// The main server or a virtual host; lives until the configuration is read anew.
#[derive(Clone, Copy)]
pub struct Server<'s> {
    raw: NonNull<sys::server_rec>,
    life: PhantomData<&'s ()>,
}

impl core::fmt::Debug for Server<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Server({})", self.name())
    }
}

impl<'s> Server<'s> {
    /// # Safety
    /// `raw` is NULL or a server of this httpd that lives at least as long as `'s`.
    pub(super) unsafe fn from_raw(raw: *mut sys::server_rec) -> Option<Self> {
        NonNull::new(raw).map(|raw| Self { raw, life: PhantomData })
    }

    /// The record.
    fn rec(self) -> &'s sys::server_rec {
        // SAFETY: it lives for `'s`; only `set_log_level` writes to it, in the parent's one thread, and nobody keeps this.
        unsafe { self.raw.as_ref() }
    }

    /// Our configuration for this server, merged with the main server's.
    #[must_use]
    pub fn config(self) -> &'s ServerConfig {
        // SAFETY: the vector belongs to this server and has our slot.
        let ours = unsafe { sys::ap_get_module_config(self.rec().module_config, module()) };
        let ours: *const ServerConfig = ours.cast();
        // SAFETY: NULL or made by `create_server_config` or `merge_server_config`; not changed any more.
        unsafe { ours.as_ref() }.unwrap_or(ServerConfig::empty())
    }

    /// A number that no other server of this configuration has.
    #[must_use]
    pub fn number(self) -> usize {
        self.raw.as_ptr().addr()
    }

    /// Is it a virtual host?
    #[must_use]
    pub fn is_virtual(self) -> bool {
        self.rec().is_virtual != 0
    }

    /// The next virtual host, from the main server on.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        // SAFETY: the list of servers lives as long as each of them.
        unsafe { Self::from_raw(self.rec().next) }
    }

    /// This server and those behind it: all, when called on the main one.
    pub fn all(self) -> impl Iterator<Item = Self> {
        core::iter::successors(Some(self), |s| s.next())
    }

    /// Host name, and where a virtual host is defined: for messages.
    #[must_use]
    pub fn name(self) -> String {
        let text = |p: *const core::ffi::c_char| {
            // SAFETY: NULL or a string of the configuration.
            (!p.is_null()).then(|| unsafe { CStr::from_ptr(p) }.to_string_lossy().into_owned())
        };
        let rec = self.rec();
        let host = text(rec.server_hostname).unwrap_or_default();
        match text(rec.defn_name) {
            Some(file) if self.is_virtual() => {
                format!("virtual host {host} ({file}:{})", rec.defn_line_number)
            }
            _ => format!("main server {host}"),
        }
    }

    /// httpd's record of its process.
    pub(super) fn process_record(self) -> *mut sys::process_rec {
        self.rec().process
    }

    /// What survives restarts. For the parent only.
    #[must_use]
    pub fn process(self) -> Option<Process<'s>> {
        let process = NonNull::new(self.rec().process)?;
        // SAFETY: every server points to the one process record.
        let pool = unsafe { process.as_ref() }.pool;
        // SAFETY: the pool of the process outlives everything.
        unsafe { Pool::from_raw(pool) }.map(Process::new)
    }

    /// Writes to this server's error log.
    pub fn log(self, message: Message, text: &str) {
        log_server(self.raw.as_ptr(), message, text);
    }

    /// Would a line of this level be written?
    #[must_use]
    pub fn logs(self, level: Level) -> bool {
        let index: c_int = super::record::module_index();
        // SAFETY: a server of this httpd.
        let configured = unsafe { sys::ap_get_server_module_loglevel(self.raw.as_ptr(), index) };
        level.number() <= configured
    }

    /// Has the administrator said in `LogLevel` which lines of this module are written?
    #[must_use]
    pub fn has_own_log_level(self) -> bool {
        let levels = self.rec().log.module_levels;
        let Ok(index) = usize::try_from(super::record::module_index()) else { return false };
        if levels.is_null() {
            return false;
        }
        // SAFETY: it has an entry for each module that there can be.
        let own = unsafe { levels.add(index) };
        // SAFETY: the same; less than 0 where none is set.
        let level = unsafe { own.read() };
        level >= 0
    }

    /// Which lines of this module are written on this server from now on. For the parent only, when the configuration has
    /// been read.
    pub fn set_log_level(self, pconf: Pool<'s>, level: Level) {
        // SAFETY: a server of this httpd, of which nobody has a reference at the moment.
        let log = unsafe { &raw mut (*self.raw.as_ptr()).log };
        // SAFETY: that server's; what is new is made in the pool of the configuration, with which the server ends.
        unsafe {
            sys::ap_set_module_loglevel(pconf.raw(), log, super::record::module_index(), level.number())
        };
    }
}
