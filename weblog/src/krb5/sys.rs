//! Debian's libkrb5, called by declarations that bindgen makes of its header.
//!
//! Offers safe handles and takes no decisions. Codes are the library's numbers; those of a KDC's errors are among them.
//!
//! # Safety
//! The declarations are those of the `krb5.h` that this was built with; the library's interface is stable by its name.
//! All handles hold raw pointers, so that they stay on the thread which made them, and borrow the library.
//! What the library has allocated is given back by the function that `krb5.h` names for it, once.
#![allow(unsafe_code, reason = "FENCE: the only calls into libkrb5")]

use core::cell::Cell;
use core::ffi::{CStr, c_void};
use core::{ptr, slice};
use libloading::os::unix::{Library as Loaded, RTLD_LOCAL, RTLD_NOW};
use zeroize::Zeroize as _;

/// What bindgen writes has C's names and shapes, so it has lints of its own.
mod raw {
    #![allow(
        clippy::all,
        clippy::missing_errors_doc,
        clippy::missing_safety_doc,
        clippy::undocumented_unsafe_blocks,
        clippy::multiple_unsafe_ops_per_block,
        dead_code,
        missing_debug_implementations,
        missing_docs,
        non_camel_case_types,
        unreachable_pub,
        unsafe_op_in_unsafe_fn,
        reason = "generated"
    )]
    include!(concat!(env!("OUT_DIR"), "/krb5.rs"));
}

/// The library's search name.
const LIBRARY: &str = "libkrb5.so.3";

/// Number of the error of a KDC that cannot be reached (`KRB5_KDC_UNREACH`).
const UNREACHABLE: i32 = -1_765_328_228;
/// Number of the first error of a KDC (`ERROR_TABLE_BASE_krb5`).
pub const KDC_ERRORS: i32 = -1_765_328_384;

/// Why the library cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The dynamic linker.
    #[error("cannot load {LIBRARY}: {0}")]
    Load(#[from] libloading::Error),
    /// `krb5_init_secure_context`.
    #[error("libkrb5 does not take its configuration: error {0}")]
    Context(i32),
}

/// The library with its configuration read.
pub struct Krb5 {
    calls: raw::Library,
    context: raw::krb5_context,
}

impl core::fmt::Debug for Krb5 {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Krb5(..)")
    }
}

impl Drop for Krb5 {
    fn drop(&mut self) {
        // SAFETY: made by krb5_init_secure_context; all handles that use it borrow this and are gone.
        unsafe { (self.calls.krb5_free_context)(self.context) };
    }
}

/// `code` as a result.
///
/// # Errors
/// The code, unless it is 0.
fn check(code: i32) -> Result<(), i32> {
    if code == 0 { Ok(()) } else { Err(code) }
}

/// By what a client shows who he is.
#[derive(Debug, Clone, Copy)]
pub enum Shown<'a> {
    /// A password.
    Password(&'a CStr),
    /// His key in a keytab.
    Key(&'a Keytab<'a>),
}

/// What becomes known while a KDC is asked.
struct Exchange<'a> {
    krb5: &'a Krb5,
    /// Errors that only ask for another request.
    go_on: &'a [u32],
    /// The error of the KDC after which it must not be asked again.
    last_word: Cell<Option<u32>>,
    /// Whether the library wanted to.
    stopped: Cell<bool>,
    /// When the password ends, seconds since 1970; 0 = never or unknown.
    password_end: Cell<i32>,
}

/// A ticket-granting ticket.
#[derive(Debug)]
pub struct Login<'a> {
    /// It.
    pub ticket: Ticket<'a>,
    /// When the password ends, seconds since 1970; 0 = never or unknown.
    pub password_end: u32,
}

impl Krb5 {
    /// Loads the library and lets it read its configuration, of which the environment is no part.
    ///
    /// # Errors
    /// [`OpenError`] says which step failed.
    pub fn open() -> Result<Self, OpenError> {
        // SAFETY: Debian's library has no initialisers that do more than set up itself.
        let library = unsafe { Loaded::open(Some(LIBRARY), RTLD_NOW | RTLD_LOCAL) }?;
        // SAFETY: the symbols are the functions that the library's own header declares.
        let calls = unsafe { raw::Library::from_library(library) }?;
        let mut context = ptr::null_mut();
        // SAFETY: `context` is where the pointer goes.
        let code = unsafe { (calls.krb5_init_secure_context)(&raw mut context) };
        if code != 0 || context.is_null() {
            return Err(OpenError::Context(code));
        }
        Ok(Self { calls, context })
    }

    /// Does once what takes long the first time, so that the visitor does not wait for it: makes the first request of a login
    /// and throws it away, which loads the modules of preauthentication. Nothing is sent to anybody.
    pub fn warm_up(&self) {
        let calls = &self.calls;
        let (Ok(nobody), Ok(options)) = (self.principal(c"nobody@INVALID"), InitOptions::new(self)) else {
            return;
        };
        let mut begun = ptr::null_mut();
        // SAFETY: principal and options are alive; nobody is prompted; `begun` is where the pointer goes.
        let code = unsafe {
            (calls.krb5_init_creds_init)(
                self.context,
                nobody.principal,
                None,
                ptr::null_mut(),
                0,
                options.options,
                &raw mut begun,
            )
        };
        if code != 0 || begun.is_null() {
            return;
        }
        let (mut reply, mut request, mut realm, mut flags) = (no_data(), no_data(), no_data(), 0);
        // What it says does not matter: a real login will say it again.
        // SAFETY: `begun` is alive; there is no reply yet; the library fills request and realm, or leaves them empty.
        let _ = unsafe {
            (calls.krb5_init_creds_step)(
                self.context,
                begun,
                &raw mut reply,
                &raw mut request,
                &raw mut realm,
                &raw mut flags,
            )
        };
        for data in [&mut request, &mut realm] {
            // SAFETY: the library has allocated what is in it, if anything; it is given back once.
            unsafe { (calls.krb5_free_data_contents)(self.context, data) };
        }
        // SAFETY: made above and given back once; principal and options outlive it.
        unsafe { (calls.krb5_init_creds_free)(self.context, begun) };
    }

    /// The realm that the configuration gives a host, if any.
    #[must_use]
    pub fn host_realm(&self, host: &CStr) -> Option<String> {
        let mut list = ptr::null_mut();
        // SAFETY: the name is NUL-terminated and only read; `list` is where the list goes.
        let code = unsafe { (self.calls.krb5_get_host_realm)(self.context, host.as_ptr(), &raw mut list) };
        if code != 0 || list.is_null() {
            return None;
        }
        // SAFETY: the list ends with a null pointer, so it has a first element.
        let first = unsafe { list.read() };
        let realm = (!first.is_null()).then(|| {
            // SAFETY: the elements before the null pointer are NUL-terminated.
            unsafe { CStr::from_ptr(first) }.to_string_lossy().into_owned()
        });
        // SAFETY: the list is the library's, and nothing borrows it any more.
        unsafe { (self.calls.krb5_free_host_realm)(self.context, list) };
        realm.filter(|realm| !realm.is_empty())
    }

    /// `name` as a principal.
    ///
    /// # Errors
    /// The library's number.
    pub fn principal(&self, name: &CStr) -> Result<Principal<'_>, i32> {
        let mut principal = ptr::null_mut();
        // SAFETY: the name is NUL-terminated and only read; `principal` is where the pointer goes.
        check(unsafe { (self.calls.krb5_parse_name)(self.context, name.as_ptr(), &raw mut principal) })?;
        Ok(Principal { krb5: self, principal })
    }

    /// Asks for a ticket-granting ticket that lives `life_s` seconds at most and is neither forwardable, proxiable nor
    /// renewable. Nobody is prompted. After an error of the KDC that is not one of `go_on` nothing more is sent to any KDC:
    /// the library would ask another one, where a wrong password would count once more.
    ///
    /// # Errors
    /// The library's number.
    pub fn log_in(
        &self,
        client: &Principal<'_>,
        shown: Shown<'_>,
        life_s: i32,
        go_on: &[u32],
    ) -> Result<Login<'_>, i32> {
        let options = InitOptions::new(self)?;
        let exchange = Exchange {
            krb5: self,
            go_on,
            last_word: Cell::new(None),
            stopped: Cell::new(false),
            password_end: Cell::new(0),
        };
        let data: *mut c_void = (&raw const exchange).cast_mut().cast();
        let calls = &self.calls;
        // SAFETY: `options` is alive in all of these, and keeps no pointer but `data`, which outlives its use below.
        unsafe { (calls.krb5_get_init_creds_opt_set_tkt_life)(options.options, life_s) };
        // SAFETY: as above.
        unsafe { (calls.krb5_get_init_creds_opt_set_renew_life)(options.options, 0) };
        // SAFETY: as above.
        unsafe { (calls.krb5_get_init_creds_opt_set_forwardable)(options.options, 0) };
        // SAFETY: as above.
        unsafe { (calls.krb5_get_init_creds_opt_set_proxiable)(options.options, 0) };
        // SAFETY: as above.
        unsafe { (calls.krb5_get_init_creds_opt_set_canonicalize)(options.options, 0) };
        // SAFETY: as above; no list is no addresses.
        unsafe { (calls.krb5_get_init_creds_opt_set_address_list)(options.options, ptr::null_mut()) };
        // SAFETY: as above.
        unsafe { (calls.krb5_get_init_creds_opt_set_change_password_prompt)(options.options, 0) };
        // SAFETY: as above; the function has the type that the header wants.
        let code = unsafe {
            (calls.krb5_get_init_creds_opt_set_expire_callback)(
                self.context,
                options.options,
                Some(note_expiry),
                data,
            )
        };
        check(code)?;
        let mut ticket = Ticket::empty(self);
        // SAFETY: `data` is alive until the hooks are taken back below.
        unsafe { (calls.krb5_set_kdc_send_hook)(self.context, Some(before_send), data) };
        // SAFETY: as above.
        unsafe { (calls.krb5_set_kdc_recv_hook)(self.context, Some(after_receive), data) };
        let code = match shown {
            // SAFETY: principal and options are alive, the password is NUL-terminated and only read; without a prompter
            // nobody is asked; the library fills the empty ticket or leaves it empty.
            Shown::Password(password) => unsafe {
                (calls.krb5_get_init_creds_password)(
                    self.context,
                    &raw mut ticket.creds,
                    client.principal,
                    password.as_ptr(),
                    None,
                    ptr::null_mut(),
                    0,
                    ptr::null(),
                    options.options,
                )
            },
            // SAFETY: principal, keytab and options are alive; the library fills the empty ticket or leaves it empty.
            Shown::Key(keytab) => unsafe {
                (calls.krb5_get_init_creds_keytab)(
                    self.context,
                    &raw mut ticket.creds,
                    client.principal,
                    keytab.keytab,
                    0,
                    ptr::null(),
                    options.options,
                )
            },
        };
        // SAFETY: no hook from now on.
        unsafe { (calls.krb5_set_kdc_send_hook)(self.context, None, ptr::null_mut()) };
        // SAFETY: as above.
        unsafe { (calls.krb5_set_kdc_recv_hook)(self.context, None, ptr::null_mut()) };
        match exchange.last_word.get().and_then(|error| i32::try_from(error).ok()) {
            // What the library makes of being stopped is not what the KDC said.
            Some(error) if code != 0 && exchange.stopped.get() => Err(KDC_ERRORS.saturating_add(error)),
            _ => {
                check(code)?;
                Ok(Login { ticket, password_end: exchange.password_end.get().cast_unsigned() })
            }
        }
    }

    /// Asks for a ticket for `service`, by a cache in memory that is gone with this call.
    ///
    /// # Errors
    /// The library's number.
    pub fn service_ticket(
        &self,
        granting: &mut Ticket<'_>,
        client: &Principal<'_>,
        service: &Principal<'_>,
    ) -> Result<Ticket<'_>, i32> {
        let cache = Cache::new(self)?;
        // SAFETY: cache and principal are alive.
        check(unsafe { (self.calls.krb5_cc_initialize)(self.context, cache.cache, client.principal) })?;
        // SAFETY: the cache copies the ticket.
        check(unsafe {
            (self.calls.krb5_cc_store_cred)(self.context, cache.cache, &raw mut granting.creds)
        })?;
        // Never given back as a ticket: the principals in it are borrowed.
        let mut wanted = empty_creds();
        wanted.client = client.principal;
        wanted.server = service.principal;
        let mut got = ptr::null_mut();
        // SAFETY: the cache is alive, `wanted` names client and service, all else in it is zero; `got` is where the pointer goes.
        check(unsafe {
            (self.calls.krb5_get_credentials)(self.context, 0, cache.cache, &raw mut wanted, &raw mut got)
        })?;
        Ok(Ticket::take(self, got))
    }

    /// The principals of a keytab file, in its order.
    ///
    /// # Errors
    /// The library's number.
    pub fn keytab_principals(&self, keytab: &Keytab<'_>) -> Result<Vec<String>, i32> {
        let calls = &self.calls;
        let mut cursor = ptr::null_mut();
        // SAFETY: the keytab is alive; `cursor` is where the cursor goes.
        check(unsafe { (calls.krb5_kt_start_seq_get)(self.context, keytab.keytab, &raw mut cursor) })?;
        let mut names = Vec::new();
        loop {
            let mut entry = raw::krb5_keytab_entry_st {
                magic: 0,
                principal: ptr::null_mut(),
                timestamp: 0,
                vno: 0,
                key: empty_creds().keyblock,
            };
            // SAFETY: keytab and cursor are alive; `entry` is filled if the code is 0.
            let code = unsafe {
                (calls.krb5_kt_next_entry)(self.context, keytab.keytab, &raw mut entry, &raw mut cursor)
            };
            if code != 0 {
                break;
            }
            let mut name = ptr::null_mut();
            // SAFETY: the entry has a principal; `name` is where the text goes.
            let code = unsafe { (calls.krb5_unparse_name)(self.context, entry.principal, &raw mut name) };
            if code == 0 && !name.is_null() {
                // SAFETY: the library's text is NUL-terminated.
                names.push(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned());
                // SAFETY: it is given back once.
                unsafe { (calls.krb5_free_unparsed_name)(self.context, name) };
            }
            // SAFETY: the entry was filled, and is given back once; its key is wiped by that.
            unsafe { (calls.krb5_free_keytab_entry_contents)(self.context, &raw mut entry) };
        }
        // SAFETY: the cursor was opened above, and is closed once.
        unsafe { (calls.krb5_kt_end_seq_get)(self.context, keytab.keytab, &raw mut cursor) };
        Ok(names)
    }

    /// A keytab.
    ///
    /// # Errors
    /// The library's number.
    pub fn keytab(&self, name: &CStr) -> Result<Keytab<'_>, i32> {
        let mut keytab = ptr::null_mut();
        // SAFETY: the name is NUL-terminated and only read; `keytab` is where the pointer goes.
        check(unsafe { (self.calls.krb5_kt_resolve)(self.context, name.as_ptr(), &raw mut keytab) })?;
        Ok(Keytab { krb5: self, keytab })
    }

    /// Whether the KDC of a ticket-granting ticket shares the key that the keytab has of `server`: it is asked for a ticket
    /// for `server`, which the key must open.
    ///
    /// # Errors
    /// The library's number.
    pub fn verify(
        &self,
        granting: &mut Ticket<'_>,
        server: &Principal<'_>,
        keytab: &Keytab<'_>,
    ) -> Result<(), i32> {
        let mut options = raw::krb5_verify_init_creds_opt { flags: 0, ap_req_nofail: 0 };
        // SAFETY: `options` is alive.
        unsafe { (self.calls.krb5_verify_init_creds_opt_init)(&raw mut options) };
        // SAFETY: as above. A keytab that cannot be read is a failure, too.
        unsafe { (self.calls.krb5_verify_init_creds_opt_set_ap_req_nofail)(&raw mut options, 1) };
        // SAFETY: ticket, principal, keytab and options are alive and only read; no cache is wanted back.
        check(unsafe {
            (self.calls.krb5_verify_init_creds)(
                self.context,
                &raw mut granting.creds,
                server.principal,
                keytab.keytab,
                ptr::null_mut(),
                &raw mut options,
            )
        })
    }
}

/// `krb5_expire_callback_func`: notes when the password ends.
///
/// # Safety
/// `data` is an [`Exchange`] that is alive and only shared.
unsafe extern "C" fn note_expiry(
    _context: raw::krb5_context,
    data: *mut c_void,
    password_expiration: raw::krb5_timestamp,
    _account_expiration: raw::krb5_timestamp,
    _is_last_req: raw::krb5_boolean,
) {
    // SAFETY: `data` is the exchange that log_in has given, which is alive; it is only used through shared references.
    let exchange = unsafe { &*data.cast::<Exchange<'_>>() };
    exchange.password_end.set(password_expiration);
}

/// `krb5_pre_send_fn`: sends nothing after a KDC's last word.
///
/// # Safety
/// As for [`note_expiry`].
unsafe extern "C" fn before_send(
    _context: raw::krb5_context,
    data: *mut c_void,
    _realm: *const raw::krb5_data,
    _message: *const raw::krb5_data,
    _new_message: *mut *mut raw::krb5_data,
    _new_reply: *mut *mut raw::krb5_data,
) -> raw::krb5_error_code {
    // SAFETY: as in `note_expiry`.
    let exchange = unsafe { &*data.cast::<Exchange<'_>>() };
    if exchange.last_word.get().is_none() {
        return 0;
    }
    exchange.stopped.set(true);
    UNREACHABLE
}

/// `krb5_post_recv_fn`: notes a KDC's last word.
///
/// # Safety
/// As for [`note_expiry`]; context and reply are the library's.
unsafe extern "C" fn after_receive(
    context: raw::krb5_context,
    data: *mut c_void,
    code: raw::krb5_error_code,
    _realm: *const raw::krb5_data,
    _message: *const raw::krb5_data,
    reply: *const raw::krb5_data,
    _new_reply: *mut *mut raw::krb5_data,
) -> raw::krb5_error_code {
    // SAFETY: as in `note_expiry`.
    let exchange = unsafe { &*data.cast::<Exchange<'_>>() };
    if code == 0 && !reply.is_null() {
        let calls = &exchange.krb5.calls;
        let mut error = ptr::null_mut();
        // SAFETY: the reply is alive and only read; `error` is where the pointer goes, if it is a KDC's error.
        let decoded = unsafe { (calls.krb5_rd_error)(context, reply, &raw mut error) };
        if decoded == 0 && !error.is_null() {
            // SAFETY: the library has made it.
            let number = unsafe { (*error).error };
            if !exchange.go_on.contains(&number) {
                exchange.last_word.set(Some(number));
            }
            // SAFETY: it is given back once.
            unsafe { (calls.krb5_free_error)(context, error) };
        }
    }
    code
}

/// A `krb5_data` with nothing in it.
fn no_data() -> raw::krb5_data {
    raw::krb5_data { magic: 0, length: 0, data: ptr::null_mut() }
}

/// A `krb5_creds` with nothing in it.
fn empty_creds() -> raw::krb5_creds {
    let none = no_data();
    raw::krb5_creds {
        magic: 0,
        client: ptr::null_mut(),
        server: ptr::null_mut(),
        keyblock: raw::krb5_keyblock { magic: 0, enctype: 0, length: 0, contents: ptr::null_mut() },
        times: raw::krb5_ticket_times { authtime: 0, starttime: 0, endtime: 0, renew_till: 0 },
        is_skey: 0,
        ticket_flags: 0,
        addresses: ptr::null_mut(),
        ticket: none,
        second_ticket: none,
        authdata: ptr::null_mut(),
    }
}

/// A principal of the library's.
pub struct Principal<'a> {
    krb5: &'a Krb5,
    principal: raw::krb5_principal,
}

impl core::fmt::Debug for Principal<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Principal(..)")
    }
}

impl Drop for Principal<'_> {
    fn drop(&mut self) {
        // SAFETY: the library has made it; given back once.
        unsafe { (self.krb5.calls.krb5_free_principal)(self.krb5.context, self.principal) };
    }
}

/// A keytab of the library's.
pub struct Keytab<'a> {
    krb5: &'a Krb5,
    keytab: raw::krb5_keytab,
}

impl core::fmt::Debug for Keytab<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Keytab(..)")
    }
}

impl Drop for Keytab<'_> {
    fn drop(&mut self) {
        // SAFETY: made by krb5_kt_resolve; closed once.
        unsafe { (self.krb5.calls.krb5_kt_close)(self.krb5.context, self.keytab) };
    }
}

/// A cache in memory.
struct Cache<'a> {
    krb5: &'a Krb5,
    cache: raw::krb5_ccache,
}

impl<'a> Cache<'a> {
    /// An empty one.
    ///
    /// # Errors
    /// The library's number.
    fn new(krb5: &'a Krb5) -> Result<Self, i32> {
        let mut cache = ptr::null_mut();
        // SAFETY: the name of the kind is NUL-terminated; `cache` is where the pointer goes.
        check(unsafe {
            (krb5.calls.krb5_cc_new_unique)(krb5.context, c"MEMORY".as_ptr(), ptr::null(), &raw mut cache)
        })?;
        Ok(Self { krb5, cache })
    }
}

impl Drop for Cache<'_> {
    fn drop(&mut self) {
        // SAFETY: made by krb5_cc_new_unique; destroyed once. Keys in it are wiped by that.
        unsafe { (self.krb5.calls.krb5_cc_destroy)(self.krb5.context, self.cache) };
    }
}

/// Options of a login.
struct InitOptions<'a> {
    krb5: &'a Krb5,
    options: *mut raw::krb5_get_init_creds_opt,
}

impl<'a> InitOptions<'a> {
    /// The library's own.
    ///
    /// # Errors
    /// The library's number.
    fn new(krb5: &'a Krb5) -> Result<Self, i32> {
        let mut options = ptr::null_mut();
        // SAFETY: `options` is where the pointer goes.
        check(unsafe { (krb5.calls.krb5_get_init_creds_opt_alloc)(krb5.context, &raw mut options) })?;
        Ok(Self { krb5, options })
    }
}

impl Drop for InitOptions<'_> {
    fn drop(&mut self) {
        // SAFETY: made by krb5_get_init_creds_opt_alloc; given back once.
        unsafe { (self.krb5.calls.krb5_get_init_creds_opt_free)(self.krb5.context, self.options) };
    }
}

/// A ticket with its session key. Both are wiped on drop.
pub struct Ticket<'a> {
    krb5: &'a Krb5,
    creds: raw::krb5_creds,
    /// What the library has allocated to hold it, if it has.
    shell: *mut raw::krb5_creds,
}

impl core::fmt::Debug for Ticket<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Ticket(..)")
    }
}

impl<'a> Ticket<'a> {
    /// One to be filled.
    fn empty(krb5: &'a Krb5) -> Self {
        Self { krb5, creds: empty_creds(), shell: ptr::null_mut() }
    }

    /// One that the library has made, not null.
    fn take(krb5: &'a Krb5, shell: *mut raw::krb5_creds) -> Self {
        // SAFETY: the library has filled it; what it points to belongs to the copy from now on.
        let creds = unsafe { shell.read() };
        Self { krb5, creds, shell }
    }

    /// The ticket as it goes to servers.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the ticket is this handle's until that is dropped, and the borrow ends before.
        unsafe { bytes_of(self.creds.ticket.data.cast(), self.creds.ticket.length) }
    }

    /// Kind and bytes of the session key.
    #[must_use]
    pub fn key(&self) -> (i32, &[u8]) {
        let key = &self.creds.keyblock;
        // SAFETY: as for the ticket.
        (key.enctype, unsafe { bytes_of(key.contents, key.length) })
    }

    /// When the KDC has seen the password, start and end; seconds since 1970, as unsigned 32-bit numbers.
    #[must_use]
    pub fn times(&self) -> (u32, u32, u32) {
        let times = &self.creds.times;
        let start = if times.starttime == 0 { times.authtime } else { times.starttime };
        (times.authtime.cast_unsigned(), start.cast_unsigned(), times.endtime.cast_unsigned())
    }
}

/// What the library points to.
///
/// # Safety
/// It has allocated and filled `length` bytes at `data`, unless that is null, and leaves them alone for as long as they are borrowed.
unsafe fn bytes_of<'a>(data: *const u8, length: core::ffi::c_uint) -> &'a [u8] {
    match usize::try_from(length) {
        // SAFETY: the caller's.
        Ok(length) if !data.is_null() => unsafe { slice::from_raw_parts(data, length) },
        _ => &[],
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let ticket = &self.creds.ticket;
        if let (false, Ok(length)) = (ticket.data.is_null(), usize::try_from(ticket.length)) {
            // SAFETY: the library has allocated so many bytes, which are only this ticket's.
            unsafe { slice::from_raw_parts_mut(ticket.data.cast::<u8>(), length) }.zeroize();
        }
        if self.shell.is_null() {
            // SAFETY: the contents are given back once; the key is wiped by that.
            unsafe { (self.krb5.calls.krb5_free_cred_contents)(self.krb5.context, &raw mut self.creds) };
        } else {
            // SAFETY: contents and shell are given back once; the copy is not used any more.
            unsafe { (self.krb5.calls.krb5_free_creds)(self.krb5.context, self.shell) };
        }
    }
}
