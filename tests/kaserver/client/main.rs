//! One login with Debian's libafsauthent, the way that needs no AFS client: `ka_StringToKey`, `ka_Authenticate`,
//! `ka_GetToken`.
//!
//! The library keeps global state and holds one lock over each call, so every login is a process of its own.
//! First it opens and starts the library (with the cells of the directory given as argument, else with its own) and
//! writes a line `ready`.
//! Then it reads a `Login` as JSON from standard input; one line on standard output is `outcome ` and an `Outcome` as
//! JSON. The library prints to standard output as well.
//!
//! # Safety
//! The library is opened by its soname; its prototypes are written down here from OpenAFS 1.8.9
//! (`src/kauth/kautils.p.h`, `src/auth/auth.h`, `src/auth/cellconfig.p.h`), since Debian ships no header for them.
//! All strings handed over are NUL-terminated and short enough for the 64-byte arrays that the library copies to.
#![allow(unsafe_code, reason = "calls a C library; this is a test client, in a process of its own")]

use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::io::{Write, stdin, stdout};
use std::net::SocketAddrV4;
use std::ptr;

use anyhow::{Context, ensure};
use kaserver::run::unix_now;
use libloading::Library;
use serde::{Deserialize, Serialize};

/// Longest name, with its closing zero byte.
const NAME_MAX: usize = 64;
/// Longest ticket.
const TICKET_MAX: usize = 12_000;
/// Service: proves a password.
const AUTHENTICATION: c_int = 731;
/// Service: gives tickets.
const TICKET_GRANTING: c_int = 732;
/// Address family of IPv4.
const AF_INET: u16 = 2;

/// What to log in as, and where.
#[derive(Deserialize)]
struct Login {
    /// The kaserver.
    server: SocketAddrV4,
    /// The cell.
    cell: String,
    /// The user.
    name: String,
    /// His instance.
    #[serde(default)]
    instance: String,
    /// His password.
    password: String,
    /// Lifetime to ask for, in seconds.
    life_s: u32,
    /// Added to the client's idea of when the ticket starts.
    #[serde(default)]
    start_offset_s: i32,
}

/// How it went.
#[derive(Default, Serialize)]
struct Outcome {
    /// Which step failed, if one did.
    failed: Option<&'static str>,
    /// What the library said there.
    code: c_int,
    /// Days until the password expires.
    days: Option<c_int>,
    /// The user's key, in hexadecimal digits, to compare it with our own.
    key: String,
    /// The token's ticket, in hexadecimal digits.
    ticket: String,
    /// The token's session key.
    session_key: String,
    /// Which of the cell's keys seals the ticket.
    kvno: i16,
    /// From when on it is good.
    begin: u32,
    /// When it ends.
    end: u32,
}

/// `struct ktc_token`.
#[repr(C)]
struct KtcToken {
    /// From when on it is good.
    start: u32,
    /// When it ends.
    end: u32,
    /// The session key.
    key: [u8; 8],
    /// Version of the key that seals the ticket.
    kvno: i16,
    /// How much of `ticket` is used.
    length: i32,
    /// The ticket.
    ticket: [u8; TICKET_MAX],
}

impl KtcToken {
    /// One to be filled.
    fn empty() -> Self {
        Self { start: 0, end: 0, key: [0; 8], kvno: 0, length: 0, ticket: [0; TICKET_MAX] }
    }
}

/// `struct sockaddr_in`.
#[repr(C)]
#[derive(Clone, Copy)]
struct SockaddrIn {
    /// Address family.
    family: u16,
    /// Port, in network order.
    port: [u8; 2],
    /// Address, in network order.
    address: [u8; 4],
    /// Nothing.
    zero: [u8; 8],
}

/// `struct afsconf_cell`.
#[repr(C)]
struct AfsconfCell {
    /// Name of the cell.
    name: [u8; NAME_MAX],
    /// How many of `addresses` are used.
    servers: i16,
    /// Not used.
    flags: i16,
    /// Where the servers are.
    addresses: [SockaddrIn; 8],
    /// What they are called.
    names: [[u8; NAME_MAX]; 8],
    /// Another cell, or null.
    linked: *mut c_char,
    /// Not used.
    timeout: c_int,
}

// Sizes as gcc has them on x86_64.
const _: () = assert!(size_of::<KtcToken>() == 12_024);
const _: () = assert!(size_of::<AfsconfCell>() == 728);

/// `struct ubik_client *`.
type Connection = *mut c_void;
/// `ka_CellConfig`.
type CellConfig = unsafe extern "C" fn(*const c_char) -> c_int;
/// `rx_Init`.
type RxInit = unsafe extern "C" fn(c_uint) -> c_int;
/// `ka_StringToKey`.
type StringToKey = unsafe extern "C" fn(*mut c_char, *mut c_char, *mut [u8; 8]);
/// `ka_AuthSpecificServersConn`.
type Connect = unsafe extern "C" fn(c_int, *mut KtcToken, *mut AfsconfCell, *mut Connection) -> c_int;
/// `ka_Authenticate`.
type Authenticate = unsafe extern "C" fn(
    *mut c_char,
    *mut c_char,
    *mut c_char,
    Connection,
    c_int,
    *mut [u8; 8],
    u32,
    u32,
    *mut KtcToken,
    *mut c_int,
) -> c_int;
/// `ka_GetToken`.
type GetToken = unsafe extern "C" fn(
    *mut c_char,
    *mut c_char,
    *mut c_char,
    *mut c_char,
    *mut c_char,
    Connection,
    u32,
    u32,
    *mut KtcToken,
    *mut c_char,
    *mut KtcToken,
) -> c_int;
/// `ubik_ClientDestroy`.
type Destroy = unsafe extern "C" fn(Connection) -> c_int;

/// The library's functions that a login needs.
struct Kauth {
    /// Reads the cells of a directory.
    cell_config: CellConfig,
    /// Starts Rx.
    rx_init: RxInit,
    /// Makes a key of a password.
    string_to_key: StringToKey,
    /// Connects to servers at given addresses.
    connect: Connect,
    /// Proves a password.
    authenticate: Authenticate,
    /// Gets a ticket.
    get_token: GetToken,
    /// Ends a connection.
    destroy: Destroy,
}

impl Kauth {
    /// Opens Debian's library.
    ///
    /// # Errors
    /// Says which file or function is missing.
    fn open() -> anyhow::Result<Self> {
        // SAFETY: its initialisers only fill tables; nothing of it has run before in this process.
        let library = unsafe { Library::new("libafsauthent.so.2") }
            .context("Debian's libafsauthent2 is not installed")?;
        // It has threads from the first connection on, so it stays until the process ends.
        let library: &'static Library = Box::leak(Box::new(library));
        // SAFETY: the function has this prototype.
        let cell_config = *unsafe { library.get::<CellConfig>(b"ka_CellConfig\0") }?;
        // SAFETY: the function has this prototype.
        let rx_init = *unsafe { library.get::<RxInit>(b"rx_Init\0") }?;
        // SAFETY: the function has this prototype.
        let string_to_key = *unsafe { library.get::<StringToKey>(b"ka_StringToKey\0") }?;
        // SAFETY: the function has this prototype.
        let connect = *unsafe { library.get::<Connect>(b"ka_AuthSpecificServersConn\0") }?;
        // SAFETY: the function has this prototype.
        let authenticate = *unsafe { library.get::<Authenticate>(b"ka_Authenticate\0") }?;
        // SAFETY: the function has this prototype.
        let get_token = *unsafe { library.get::<GetToken>(b"ka_GetToken\0") }?;
        // SAFETY: the function has this prototype.
        let destroy = *unsafe { library.get::<Destroy>(b"ubik_ClientDestroy\0") }?;
        Ok(Self { cell_config, rx_init, string_to_key, connect, authenticate, get_token, destroy })
    }

    /// Does ahead what needs no credentials.
    ///
    /// # Errors
    /// The library cannot read the cells in `conf_dir`, or has no socket.
    fn prepare(&self, conf_dir: Option<String>) -> anyhow::Result<()> {
        if let Some(dir) = conf_dir {
            let dir = CString::new(dir).context("directory of the cells")?;
            // SAFETY: `dir` is NUL-terminated; the library copies it.
            let code = unsafe { (self.cell_config)(dir.as_ptr()) };
            ensure!(code == 0, "ka_CellConfig: {code}");
        }
        // SAFETY: port 0 is any; Rx has not been started before. The library's own calls of it then do nothing.
        let code = unsafe { (self.rx_init)(0) };
        ensure!(code == 0, "rx_Init: {code}");
        Ok(())
    }
}

/// A C string that a function may write to, since it says so, although it does not.
///
/// # Errors
/// If it is too long or holds a zero byte.
fn c_string(text: &str, max: usize) -> anyhow::Result<CString> {
    ensure!(text.len() < max, "{text:?} is too long for the library");
    CString::new(text).context("a zero byte in a name or password")
}

/// Hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The server's address, as the library wants it.
///
/// # Errors
/// If the cell's name is too long.
fn cell_with(login: &Login) -> anyhow::Result<AfsconfCell> {
    let nowhere = SockaddrIn { family: 0, port: [0; 2], address: [0; 4], zero: [0; 8] };
    let mut cell = AfsconfCell {
        name: [0; NAME_MAX],
        servers: 1,
        flags: 0,
        addresses: [nowhere; 8],
        names: [[0; NAME_MAX]; 8],
        linked: ptr::null_mut(),
        timeout: 0,
    };
    ensure!(login.cell.len() < NAME_MAX, "the cell's name is too long");
    cell.name.iter_mut().zip(login.cell.bytes()).for_each(|(to, from)| *to = from);
    cell.addresses[0] = SockaddrIn {
        family: AF_INET,
        port: login.server.port().to_be_bytes(),
        address: login.server.ip().octets(),
        zero: [0; 8],
    };
    Ok(cell)
}

/// Logs in.
///
/// # Errors
/// If it cannot even be tried; a failed login is an [`Outcome`].
fn log_in(kauth: &Kauth, login: &Login) -> anyhow::Result<Outcome> {
    let [name, instance] = [c_string(&login.name, NAME_MAX)?, c_string(&login.instance, NAME_MAX)?];
    let [name, instance] = [name.into_raw(), instance.into_raw()];
    let cell = c_string(&login.cell, NAME_MAX)?.into_raw();
    let realm = c_string(&login.cell.to_ascii_uppercase(), NAME_MAX)?.into_raw();
    let password = c_string(&login.password, 256)?.into_raw();
    let mut servers = cell_with(login)?;
    let mut outcome = Outcome::default();
    let start = unix_now().saturating_add_signed(login.start_offset_s);
    let end = start.saturating_add(login.life_s);

    let mut key = [0; 8];
    // SAFETY: both strings are NUL-terminated and live until the process ends; `key` has the eight bytes it fills.
    unsafe { (kauth.string_to_key)(password, cell, &raw mut key) };
    outcome.key = hex(&key);

    let mut connection = ptr::null_mut();
    // SAFETY: no token is needed for this service; `servers` names one server; the connection is written on success.
    let code =
        unsafe { (kauth.connect)(AUTHENTICATION, ptr::null_mut(), &raw mut servers, &raw mut connection) };
    if code != 0 {
        return Ok(Outcome { failed: Some("connect"), code, ..outcome });
    }
    let (mut tgt, mut days) = (KtcToken::empty(), -1);
    // SAFETY: strings as above, shorter than 64 bytes; `connection` is open; `tgt` and `days` have the sizes it fills.
    let code = unsafe {
        (kauth.authenticate)(
            name,
            instance,
            cell,
            connection,
            TICKET_GRANTING,
            &raw mut key,
            start,
            end,
            &raw mut tgt,
            &raw mut days,
        )
    };
    // SAFETY: `connection` is open and not used again.
    unsafe { (kauth.destroy)(connection) };
    if code != 0 {
        return Ok(Outcome { failed: Some("authenticate"), code, ..outcome });
    }
    outcome.days = Some(days);

    // SAFETY: as above.
    let code =
        unsafe { (kauth.connect)(TICKET_GRANTING, ptr::null_mut(), &raw mut servers, &raw mut connection) };
    if code != 0 {
        return Ok(Outcome { failed: Some("connect"), code, ..outcome });
    }
    let [afs, nothing] = [c"afs".to_owned().into_raw(), c"".to_owned().into_raw()];
    let mut token = KtcToken::empty();
    // SAFETY: strings as above; `connection` is open; `tgt` was filled by `ka_Authenticate`; `token` has its size.
    let code = unsafe {
        (kauth.get_token)(
            afs,
            nothing,
            cell,
            name,
            instance,
            connection,
            start,
            end,
            &raw mut tgt,
            realm,
            &raw mut token,
        )
    };
    // SAFETY: `connection` is open and not used again.
    unsafe { (kauth.destroy)(connection) };
    if code != 0 {
        return Ok(Outcome { failed: Some("get-token"), code, ..outcome });
    }
    let ticket =
        token.ticket.get(..usize::try_from(token.length)?).context("a ticket longer than a ticket")?;
    Ok(Outcome {
        ticket: hex(ticket),
        session_key: hex(&token.key),
        kvno: token.kvno,
        begin: token.start,
        end: token.end,
        ..outcome
    })
}

/// Reads, logs in, writes.
///
/// # Errors
/// If the login cannot even be tried.
fn main() -> anyhow::Result<()> {
    let kauth = Kauth::open()?;
    kauth.prepare(std::env::args().nth(1))?;
    let mut out = stdout();
    writeln!(out, "ready")?;
    out.flush()?;
    let login = serde_json::from_reader(stdin()).context("read the login")?;
    let outcome = serde_json::to_string(&log_in(&kauth, &login)?)?;
    writeln!(out, "\noutcome {outcome}")?;
    Ok(out.flush()?)
}
