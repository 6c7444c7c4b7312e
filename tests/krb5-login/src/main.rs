//! One login with Debian's libkrb5 and nothing else: the ticket-granting ticket for a password, then the ticket for a cell's
//! AFS service, by a credentials cache in memory. The bare side of a bench.
//!
//! First it loads the library and lets it read its configuration, and writes a line `ready`.
//! Then it reads a `Login` as JSON from standard input; one line on standard output is `outcome ` and an `Outcome` as JSON.
//! So it is a process for each login, as an authenticator is: both pay alike for what a library does the first time.
//!
//! # Safety
//! The library is opened by its soname, whose interface is stable; prototypes and structures are those of MIT's `krb5.h`.
//! All strings handed over are NUL-terminated and live until the process ends, as does what the library allocates.
#![allow(unsafe_code, reason = "calls a C library; this is a test client, in a process of its own")]

use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::io::{Write as _, stdin, stdout};
use std::ptr;

use anyhow::{Context as _, ensure};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use serde::{Deserialize, Serialize};

/// Whom to log in.
#[derive(Deserialize)]
struct Login {
    /// The user, with the realm.
    principal: String,
    /// The AFS service, with the realm.
    service: String,
    /// His password.
    password: String,
    /// Lifetime to ask for, in seconds.
    life_s: i32,
}

/// How it went.
#[derive(Default, Serialize)]
struct Outcome {
    /// Which step failed, if one did.
    failed: Option<&'static str>,
    /// What the library said there.
    code: c_int,
    /// Length of the service's ticket, in bytes.
    ticket: c_uint,
}

/// `krb5_data`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Data {
    magic: i32,
    length: c_uint,
    data: *mut c_char,
}

/// `krb5_keyblock`.
#[repr(C)]
struct Keyblock {
    magic: i32,
    enctype: i32,
    length: c_uint,
    contents: *mut u8,
}

/// `krb5_creds`.
#[repr(C)]
struct Creds {
    magic: i32,
    client: *mut c_void,
    server: *mut c_void,
    keyblock: Keyblock,
    times: [i32; 4],
    is_skey: c_uint,
    ticket_flags: i32,
    addresses: *mut c_void,
    ticket: Data,
    second_ticket: Data,
    authdata: *mut c_void,
}

// As gcc has it on x86_64.
const _: () = assert!(size_of::<Creds>() == 120);

impl Creds {
    /// One to be filled.
    fn empty() -> Self {
        let none = Data { magic: 0, length: 0, data: ptr::null_mut() };
        Self {
            magic: 0,
            client: ptr::null_mut(),
            server: ptr::null_mut(),
            keyblock: Keyblock { magic: 0, enctype: 0, length: 0, contents: ptr::null_mut() },
            times: [0; 4],
            is_skey: 0,
            ticket_flags: 0,
            addresses: ptr::null_mut(),
            ticket: none,
            second_ticket: none,
            authdata: ptr::null_mut(),
        }
    }
}

/// Context, principal, options or cache.
type Handle = *mut c_void;
/// `krb5_init_secure_context`.
type InitContext = unsafe extern "C" fn(*mut Handle) -> i32;
/// `krb5_parse_name`.
type ParseName = unsafe extern "C" fn(Handle, *const c_char, *mut Handle) -> i32;
/// `krb5_get_init_creds_opt_alloc`.
type OptionsAlloc = unsafe extern "C" fn(Handle, *mut Handle) -> i32;
/// `krb5_get_init_creds_opt_set_tkt_life` and others that take a number.
type OptionsSet = unsafe extern "C" fn(Handle, c_int);
/// `krb5_get_init_creds_password`.
type LogIn = unsafe extern "C" fn(
    Handle,
    *mut Creds,
    Handle,
    *const c_char,
    *const c_void,
    *mut c_void,
    i32,
    *const c_char,
    Handle,
) -> i32;
/// `krb5_cc_new_unique`.
type NewCache = unsafe extern "C" fn(Handle, *const c_char, *const c_char, *mut Handle) -> i32;
/// `krb5_cc_initialize`.
type InitCache = unsafe extern "C" fn(Handle, Handle, Handle) -> i32;
/// `krb5_cc_store_cred`.
type Store = unsafe extern "C" fn(Handle, Handle, *mut Creds) -> i32;
/// `krb5_get_credentials`.
type GetCredentials = unsafe extern "C" fn(Handle, u32, Handle, *mut Creds, *mut *mut Creds) -> i32;

/// The library's functions that a login needs, and its context.
struct Krb5 {
    context: Handle,
    parse_name: ParseName,
    options_alloc: OptionsAlloc,
    set_life: OptionsSet,
    set_forwardable: OptionsSet,
    set_proxiable: OptionsSet,
    log_in: LogIn,
    new_cache: NewCache,
    init_cache: InitCache,
    store: Store,
    get_credentials: GetCredentials,
}

impl Krb5 {
    /// Opens Debian's library and lets it read its configuration.
    ///
    /// # Errors
    /// Says which file or function is missing.
    fn open() -> anyhow::Result<Self> {
        // SAFETY: its initialisers only set up itself; nothing of it has run before in this process.
        let library = unsafe { Library::open(Some("libkrb5.so.3"), RTLD_NOW | RTLD_LOCAL) }
            .context("Debian's libkrb5 is not installed")?;
        let library: &'static Library = Box::leak(Box::new(library));
        // SAFETY: the function has this prototype.
        let init = *unsafe { library.get::<InitContext>(b"krb5_init_secure_context\0") }?;
        let mut context = ptr::null_mut();
        // SAFETY: `context` is where the pointer goes.
        let code = unsafe { init(&raw mut context) };
        ensure!(code == 0, "krb5_init_secure_context: {code}");
        Ok(Self {
            context,
            // SAFETY: the function has this prototype.
            parse_name: *unsafe { library.get(b"krb5_parse_name\0") }?,
            // SAFETY: as above.
            options_alloc: *unsafe { library.get(b"krb5_get_init_creds_opt_alloc\0") }?,
            // SAFETY: as above.
            set_life: *unsafe { library.get(b"krb5_get_init_creds_opt_set_tkt_life\0") }?,
            // SAFETY: as above.
            set_forwardable: *unsafe { library.get(b"krb5_get_init_creds_opt_set_forwardable\0") }?,
            // SAFETY: as above.
            set_proxiable: *unsafe { library.get(b"krb5_get_init_creds_opt_set_proxiable\0") }?,
            // SAFETY: as above.
            log_in: *unsafe { library.get(b"krb5_get_init_creds_password\0") }?,
            // SAFETY: as above.
            new_cache: *unsafe { library.get(b"krb5_cc_new_unique\0") }?,
            // SAFETY: as above.
            init_cache: *unsafe { library.get(b"krb5_cc_initialize\0") }?,
            // SAFETY: as above.
            store: *unsafe { library.get(b"krb5_cc_store_cred\0") }?,
            // SAFETY: as above.
            get_credentials: *unsafe { library.get(b"krb5_get_credentials\0") }?,
        })
    }
}

/// Logs in.
///
/// # Errors
/// If it cannot even be tried; a failed login is an [`Outcome`].
fn log_in(krb5: &Krb5, login: Login) -> anyhow::Result<Outcome> {
    let failed = |step, code| Ok(Outcome { failed: Some(step), code, ticket: 0 });
    let principal = CString::new(login.principal)?.into_raw();
    let service = CString::new(login.service)?.into_raw();
    let password = CString::new(login.password)?.into_raw();
    let (mut client, mut server) = (ptr::null_mut(), ptr::null_mut());
    for (name, place) in [(principal, &mut client), (service, &mut server)] {
        // SAFETY: the name is NUL-terminated; `place` is where the pointer goes.
        let code = unsafe { (krb5.parse_name)(krb5.context, name, place) };
        if code != 0 {
            return failed("name", code);
        }
    }
    let mut options = ptr::null_mut();
    // SAFETY: `options` is where the pointer goes.
    let code = unsafe { (krb5.options_alloc)(krb5.context, &raw mut options) };
    if code != 0 {
        return failed("options", code);
    }
    for (set, value) in [(krb5.set_life, login.life_s), (krb5.set_forwardable, 0), (krb5.set_proxiable, 0)] {
        // SAFETY: the options are alive.
        unsafe { set(options, value) };
    }
    let mut granting = Creds::empty();
    // SAFETY: principal and options are alive, the password is NUL-terminated; nobody is prompted; the empty ticket is filled.
    let code = unsafe {
        (krb5.log_in)(
            krb5.context,
            &raw mut granting,
            client,
            password,
            ptr::null(),
            ptr::null_mut(),
            0,
            ptr::null(),
            options,
        )
    };
    if code != 0 {
        return failed("log in", code);
    }
    let mut cache = ptr::null_mut();
    // SAFETY: the name of the kind is NUL-terminated; `cache` is where the pointer goes.
    let mut code = unsafe { (krb5.new_cache)(krb5.context, c"MEMORY".as_ptr(), ptr::null(), &raw mut cache) };
    if code == 0 {
        // SAFETY: cache and principal are alive.
        code = unsafe { (krb5.init_cache)(krb5.context, cache, client) };
    }
    if code == 0 {
        // SAFETY: the cache is alive and copies the ticket.
        code = unsafe { (krb5.store)(krb5.context, cache, &raw mut granting) };
    }
    if code != 0 {
        return failed("cache", code);
    }
    let mut wanted = Creds::empty();
    wanted.client = client;
    wanted.server = server;
    let mut got: *mut Creds = ptr::null_mut();
    // SAFETY: the cache is alive, `wanted` names client and service; `got` is where the pointer goes.
    let code = unsafe { (krb5.get_credentials)(krb5.context, 0, cache, &raw mut wanted, &raw mut got) };
    if code != 0 || got.is_null() {
        return failed("service", code);
    }
    // SAFETY: the library has filled it.
    let ticket = unsafe { (*got).ticket.length };
    Ok(Outcome { ticket, ..Outcome::default() })
}

/// Reads, logs in, writes.
///
/// # Errors
/// If the login cannot even be tried.
fn main() -> anyhow::Result<()> {
    let krb5 = Krb5::open()?;
    let mut out = stdout();
    writeln!(out, "ready")?;
    out.flush()?;
    let login = serde_json::from_reader(stdin()).context("read the login")?;
    let outcome = serde_json::to_string(&log_in(&krb5, login)?)?;
    writeln!(out, "outcome {outcome}")?;
    Ok(out.flush()?)
}
