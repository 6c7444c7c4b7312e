//! Debian's libafsauthent and libafsrpc, called by hand-written declarations.
//!
//! Offers safe handles and takes no decisions. Codes are the library's numbers.
//!
//! # Safety
//! The declarations follow OpenAFS 1.8: `src/kauth/kautils.p.h`, `src/auth/auth.p.h`, `src/rx/rx_prototypes.h`,
//! `src/rxkad/rxkad_prototypes.h`, `src/ubik/ubik.p.h`, and rxgen's `ptint.h`; the sizes of the structures are tested below.
//! The library is never unloaded, since `rx_Init` starts threads in it.
//! All handles hold raw pointers, so that they stay on the thread which made them.
//! Names are copied by the C library into arrays of 64 bytes: [`Name`] cannot be longer.
#![allow(unsafe_code, reason = "FENCE: the only calls into libafsauthent")]

mod abi;
mod calls;
mod client;
mod rx;

use abi::{HOSTS, MAXSERVERS};
pub use abi::{Key, Name, PtsEntry, RawToken, Servers};
use calls::Calls;
pub use client::Client;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
pub use rx::{Call, Connection};
use std::rc::Rc;
use zeroize::Zeroizing;

/// The library and its search name.
const LIBRARY: &str = "libafsauthent.so.2";

unsafe extern "C" {
    /// glibc's `<nss.h>`: where this process looks names of a database up from now on, instead of what nsswitch.conf says.
    fn __nss_configure_lookup(database: *const c_char, services: *const c_char) -> c_int;
}

/// Lets this process find hosts by these services from now on, in the words of nsswitch.conf. Says whether it does.
pub fn find_hosts_by(services: &CStr) -> bool {
    // SAFETY: both texts are NUL-terminated and only read; no other thread of ours, and none of rx's, looks names up.
    unsafe { __nss_configure_lookup(c"hosts".as_ptr(), services.as_ptr()) == 0 }
}

/// Why the library cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The dynamic linker.
    #[error("cannot load {LIBRARY}")]
    Load(#[from] libloading::Error),
    /// The C library would go on asking name servers.
    #[error("the C library takes no choice of where names are looked up")]
    Names,
    /// `ka_CellConfig`.
    #[error("no usable ThisCell and CellServDB in the directory: ka_CellConfig failed: {0}")]
    CellConfig(i32),
    /// `rx_Init`.
    #[error("rx_Init failed: {0}")]
    Rx(i32),
}

/// The library, started. One per process, on one thread.
pub struct Afs {
    calls: Calls,
    here: PhantomData<*const ()>,
}

impl core::fmt::Debug for Afs {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Afs(..)")
    }
}

/// How a connection is secured.
#[derive(Debug)]
pub enum Security<'a> {
    /// Not at all: services 731 and 732.
    Null,
    /// By a token, all packets encrypted.
    Rxkad(&'a RawToken),
}

/// `rxkad_crypt`.
const RXKAD_CRYPT: i8 = 2;
/// `RX_SECIDX_NULL` and `RX_SECIDX_KAD`.
const SECIDX_NULL: c_int = 0;
const SECIDX_KAD: c_int = 2;

impl Afs {
    /// Loads the library, reads `ThisCell` and `CellServDB` in `conf_dir`, and starts rx.
    ///
    /// From then on this process finds hosts in `/etc/hosts` only, unless [`find_hosts_by`] says otherwise.
    ///
    /// # Errors
    /// [`OpenError`] says which step failed.
    pub fn open(conf_dir: &CStr) -> Result<Self, OpenError> {
        // SAFETY: Debian's library has no initialisers that do more than set up itself.
        let library = unsafe { Library::open(Some(LIBRARY), RTLD_NOW | RTLD_LOCAL) }?;
        // Never unloaded: rx has threads that run in it.
        let library: &'static Library = Box::leak(Box::new(library));
        let calls = Calls::find(library)?;
        if !find_hosts_by(c"files") {
            return Err(OpenError::Names);
        }
        // SAFETY: `conf_dir` is NUL-terminated; the library copies it. ka_StringToKey looks cells up in what this opens.
        let code = unsafe { (calls.ka_cell_config)(conf_dir.as_ptr()) };
        if code != 0 {
            return Err(OpenError::CellConfig(code));
        }
        // SAFETY: port 0 is any; nothing of rx is in use yet.
        let code = unsafe { (calls.rx_init)(0) };
        if code != 0 {
            return Err(OpenError::Rx(code));
        }
        Ok(Self { calls, here: PhantomData })
    }

    /// The DES key of a password in a cell. Nothing if the password has a NUL byte or the cell's name is too long.
    ///
    /// The library looks the cell up, and asks name servers for one that is not in CellServDB.
    #[must_use]
    pub fn string_to_key(&self, password: &[u8], cell: &str) -> Option<Key> {
        if password.contains(&0) {
            return None;
        }
        let mut cell = Name::new(cell)?;
        let mut text = Zeroizing::new(Vec::with_capacity(password.len().saturating_add(1)));
        text.extend_from_slice(password);
        text.push(0);
        let mut key = Key([0; 8]);
        // SAFETY: both texts are NUL-terminated, the library only reads them; `key` has room for 8 bytes.
        unsafe { (self.calls.ka_string_to_key)(text.as_mut_ptr().cast(), cell.ptr(), &raw mut key) };
        Some(key)
    }

    /// A client for a service of these servers. `dead_s`: a server that is silent for so long is given up (at least 6);
    /// `hard_s`: so is a call that takes longer.
    ///
    /// # Errors
    /// The library's number.
    pub fn connect(
        &self,
        servers: &Servers,
        service: u16,
        security: &Security<'_>,
        dead_s: i32,
        hard_s: i32,
    ) -> Result<Client<'_>, i32> {
        let object = SecurityObject::new(self, security)?;
        // A null pointer ends the list.
        let mut connections = [ptr::null_mut(); MAXSERVERS];
        for (place, server) in connections.iter_mut().take(HOSTS).zip(&servers.addresses) {
            *place = object.connection(*server, service, dead_s, hard_s);
        }
        let mut client = ptr::null_mut();
        // SAFETY: the list is null-terminated and shorter than MAXSERVERS; `client` is null, so a new one is made.
        let code = unsafe { (self.calls.ubik_client_init)(connections.as_mut_ptr(), &raw mut client) };
        match NonNull::new(client) {
            Some(client) if code == 0 => Ok(Client { afs: self, client, here: PhantomData }),
            _ => Err(if code == 0 { RX_FAIL } else { code }),
        }
    }

    /// A connection to a service of the first of these servers, for calls that are under way at the same time.
    /// `dead_s` and `hard_s` are those of [`Afs::connect`].
    ///
    /// # Errors
    /// The library's number.
    pub fn connect_first(
        &self,
        servers: &Servers,
        service: u16,
        security: &Security<'_>,
        dead_s: i32,
        hard_s: i32,
    ) -> Result<Rc<Connection<'_>>, i32> {
        let object = SecurityObject::new(self, security)?;
        let server = servers.addresses.first().ok_or(RX_FAIL)?;
        let connection = NonNull::new(object.connection(*server, service, dead_s, hard_s)).ok_or(RX_FAIL)?;
        Ok(Rc::new(Connection { afs: self, connection }))
    }
}

/// `KARXFAIL`.
const RX_FAIL: i32 = 180_516;

/// What secures the connections that are made with it. They have references of their own.
struct SecurityObject<'a> {
    afs: &'a Afs,
    object: NonNull<c_void>,
    index: c_int,
}

impl<'a> SecurityObject<'a> {
    /// # Errors
    /// The library's number.
    fn new(afs: &'a Afs, security: &Security<'_>) -> Result<Self, i32> {
        let (object, index) = match security {
            // SAFETY: no arguments.
            Security::Null => (unsafe { (afs.calls.rxnull_new)() }, SECIDX_NULL),
            Security::Rxkad(token) => {
                let ticket = token.ticket().ok_or(RX_FAIL)?;
                let mut key = token.key().clone();
                // SAFETY: the ticket has `ticket_len` bytes, which `ticket()` has checked; key and ticket are only read, and copied.
                let object = unsafe {
                    (afs.calls.rxkad_new)(
                        RXKAD_CRYPT,
                        &raw mut key,
                        i32::from(token.kvno()),
                        token.0.ticket_len,
                        ticket.as_ptr().cast_mut().cast(),
                    )
                };
                (object, SECIDX_KAD)
            }
        };
        Ok(Self { afs, object: NonNull::new(object).ok_or(RX_FAIL)?, index })
    }

    /// A connection to a server (address and port in network byte order).
    fn connection(&self, (addr, port): (u32, u16), service: u16, dead_s: i32, hard_s: i32) -> *mut c_void {
        let calls = &self.afs.calls;
        // SAFETY: the object is alive; address and port are in network byte order.
        let connection =
            unsafe { (calls.rx_new_connection)(addr, port, service, self.object.as_ptr(), self.index) };
        // SAFETY: rx_NewConnection never returns null; the connection was just made.
        unsafe { (calls.rx_set_conn_dead_time)(connection, dead_s) };
        // SAFETY: as above.
        unsafe { (calls.rx_set_conn_hard_dead_time)(connection, hard_s) };
        connection
    }
}

impl Drop for SecurityObject<'_> {
    fn drop(&mut self) {
        // SAFETY: made above and released once; connections hold their own references.
        unsafe { (self.afs.calls.rxs_release)(self.object.as_ptr()) };
    }
}

/// `code` as a result.
///
/// # Errors
/// The code, unless it is 0.
fn check(code: i32) -> Result<(), i32> {
    if code == 0 { Ok(()) } else { Err(code) }
}
