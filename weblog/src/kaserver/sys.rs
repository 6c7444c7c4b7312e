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

use core::ffi::{CStr, c_char, c_int, c_short, c_uint, c_ushort, c_void};
use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::net::Ipv4Addr;
use std::rc::Rc;
use zeroize::{Zeroize, Zeroizing};

/// Length of the C library's arrays for names, NUL included (`MAXKTCNAMELEN`, `MAXCELLCHARS`, `PR_MAXNAMELEN`).
const NAME: usize = 64;
/// Most servers of a cell (`MAXHOSTSPERCELL`).
const HOSTS: usize = 8;
/// Most servers of a ubik client (`MAXSERVERS`).
const MAXSERVERS: usize = 20;
/// Longest ticket (`MAXKTCTICKETLEN`).
const TICKET: usize = 12_000;

/// The library and its search name.
const LIBRARY: &str = "libafsauthent.so.2";

/// A name of at most 63 bytes, with a NUL behind it.
#[derive(Debug, Clone)]
pub struct Name([u8; NAME]);

impl Name {
    /// Takes `text` if it fits and has no NUL.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let mut name = [0; NAME];
        if bytes.contains(&0) {
            return None;
        }
        name.get_mut(..bytes.len()).filter(|place| place.len() < NAME)?.copy_from_slice(bytes);
        Some(Self(name))
    }

    /// A pointer for a `char *` argument that the library only reads.
    fn ptr(&mut self) -> *mut c_char {
        self.0.as_mut_ptr().cast()
    }
}

/// `struct ktc_encryptionKey`: a DES key. Wiped on drop.
#[repr(C)]
#[derive(Clone, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
pub struct Key([u8; 8]);

impl Key {
    /// From its bytes.
    #[must_use]
    pub fn new(bytes: &[u8; 8]) -> Self {
        Self(*bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8; 8] {
        &self.0
    }
}

impl core::fmt::Debug for Key {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Key(..)")
    }
}

/// `struct ktc_token`. Wiped on drop.
#[repr(C)]
struct KtcToken {
    start: i32,
    end: i32,
    key: Key,
    kvno: c_short,
    ticket_len: c_int,
    ticket: [u8; TICKET],
}

impl Drop for KtcToken {
    fn drop(&mut self) {
        self.ticket.zeroize();
    }
}

/// A token, as the library has filled it in. Always on the heap and never moved, so that nothing of it is left behind.
pub struct RawToken(Box<KtcToken>);

impl core::fmt::Debug for RawToken {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("RawToken(..)")
    }
}

impl RawToken {
    fn empty() -> Self {
        Self(Box::new(KtcToken {
            start: 0,
            end: 0,
            key: Key([0; 8]),
            kvno: 0,
            ticket_len: 0,
            ticket: [0; TICKET],
        }))
    }

    /// One with these parts, for connections; nothing if the ticket is too long.
    #[must_use]
    pub fn new(kvno: i16, key: [u8; 8], ticket: &[u8]) -> Option<Self> {
        let mut token = Self::empty();
        token.0.kvno = kvno;
        token.0.key = Key(key);
        token.0.ticket_len = c_int::try_from(ticket.len()).ok()?;
        token.0.ticket.get_mut(..ticket.len())?.copy_from_slice(ticket);
        Some(token)
    }

    /// The ticket; nothing if its length is not 0 to 12,000.
    #[must_use]
    pub fn ticket(&self) -> Option<&[u8]> {
        self.0.ticket.get(..usize::try_from(self.0.ticket_len).ok()?)
    }

    /// Session key.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.0.key
    }

    /// Version of the key that the ticket is sealed with.
    #[must_use]
    pub fn kvno(&self) -> i16 {
        self.0.kvno
    }

    /// Start and end, seconds since 1970. The protocol's times are unsigned 32-bit numbers.
    #[must_use]
    pub fn times(&self) -> (i64, i64) {
        (i64::from(self.0.start.cast_unsigned()), i64::from(self.0.end.cast_unsigned()))
    }
}

/// Servers of a cell for one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Servers {
    /// Address and port, in network byte order.
    addresses: Vec<(u32, u16)>,
}

impl Servers {
    /// The service at `port` of these machines; of the first ones, if there are more than the library takes.
    #[must_use]
    pub fn new(machines: &[Ipv4Addr], port: u16) -> Self {
        let place = |machine: &Ipv4Addr| (u32::from_ne_bytes(machine.octets()), port.to_be());
        Self { addresses: machines.iter().take(HOSTS).map(place).collect() }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// None?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }
}

/// `namelist`, `idlist` and `prlist` of ptint.h.
#[repr(C)]
struct XdrList<T> {
    len: c_uint,
    val: *mut T,
}

impl<T> XdrList<T> {
    /// For a reply: the library allocates.
    const fn empty() -> Self {
        Self { len: 0, val: ptr::null_mut() }
    }
}

/// `struct prcheckentry` of ptint.h.
#[repr(C)]
struct PrCheckEntry {
    flags: i32,
    id: i32,
    owner: i32,
    creator: i32,
    ngroups: i32,
    nusers: i32,
    count: i32,
    reserved: [i32; 5],
    name: [u8; NAME],
}

/// What the protection server says about an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PtsEntry {
    /// AFS id.
    pub id: i32,
    /// Who may see what: the privacy bits, already shifted down.
    pub flags: i32,
}

/// The functions of the library that we use.
struct Calls {
    ka_cell_config: unsafe extern "C" fn(*const c_char) -> c_int,
    ka_string_to_key: unsafe extern "C" fn(*mut c_char, *mut c_char, *mut Key),
    ka_authenticate: unsafe extern "C" fn(
        *mut c_char,
        *mut c_char,
        *mut c_char,
        *mut c_void,
        c_int,
        *mut Key,
        u32,
        u32,
        *mut KtcToken,
        *mut i32,
    ) -> i32,
    ka_get_token: unsafe extern "C" fn(
        *mut c_char,
        *mut c_char,
        *mut c_char,
        *mut c_char,
        *mut c_char,
        *mut c_void,
        u32,
        u32,
        *mut KtcToken,
        *mut c_char,
        *mut KtcToken,
    ) -> i32,
    rx_init: unsafe extern "C" fn(c_uint) -> c_int,
    rx_new_connection: unsafe extern "C" fn(u32, c_ushort, c_ushort, *mut c_void, c_int) -> *mut c_void,
    rx_set_conn_dead_time: unsafe extern "C" fn(*mut c_void, c_int),
    rx_set_conn_hard_dead_time: unsafe extern "C" fn(*mut c_void, c_int),
    rx_destroy_connection: unsafe extern "C" fn(*mut c_void),
    rx_new_call: unsafe extern "C" fn(*mut c_void) -> *mut c_void,
    rx_write: unsafe extern "C" fn(*mut c_void, *mut c_char, c_int) -> c_int,
    rx_flush_write: unsafe extern "C" fn(*mut c_void),
    rx_read: unsafe extern "C" fn(*mut c_void, *mut c_char, c_int) -> c_int,
    rx_interrupt_call: unsafe extern "C" fn(*mut c_void, i32),
    rx_end_call: unsafe extern "C" fn(*mut c_void, i32) -> i32,
    rxnull_new: unsafe extern "C" fn() -> *mut c_void,
    rxkad_new: unsafe extern "C" fn(i8, *mut Key, i32, c_int, *mut c_char) -> *mut c_void,
    rxs_release: unsafe extern "C" fn(*mut c_void) -> c_int,
    ubik_client_init: unsafe extern "C" fn(*mut *mut c_void, *mut *mut c_void) -> c_int,
    ubik_client_destroy: unsafe extern "C" fn(*mut c_void) -> i32,
    pr_name_to_id:
        unsafe extern "C" fn(*mut c_void, i32, *mut XdrList<[u8; NAME]>, *mut XdrList<i32>) -> c_int,
    pr_list_entry: unsafe extern "C" fn(*mut c_void, i32, i32, *mut PrCheckEntry) -> c_int,
    pr_new_entry: unsafe extern "C" fn(*mut c_void, i32, *mut c_char, i32, i32, *mut i32) -> c_int,
    pr_get_cps: unsafe extern "C" fn(*mut c_void, i32, i32, *mut XdrList<i32>, *mut i32) -> c_int,
    pr_is_member: unsafe extern "C" fn(*mut c_void, i32, i32, i32, *mut i32) -> c_int,
    pr_list_owned: unsafe extern "C" fn(*mut c_void, i32, i32, *mut XdrList<i32>, *mut i32) -> c_int,
    pr_set_fields_entry: unsafe extern "C" fn(*mut c_void, i32, i32, i32, i32, i32, i32, i32, i32) -> c_int,
}

impl Calls {
    /// Finds all of them.
    ///
    /// # Errors
    /// The loader's, if one is missing.
    fn find(library: &'static Library) -> Result<Self, libloading::Error> {
        /// The symbol's address as a function of the type that the field has.
        macro_rules! find {
            ($name:literal) => {{
                // SAFETY: the symbol is that function of OpenAFS 1.8, and the field that takes it has its type, by the headers named above.
                let symbol = unsafe { library.get($name) }?;
                *symbol
            }};
        }
        Ok(Self {
            ka_cell_config: find!(b"ka_CellConfig\0"),
            ka_string_to_key: find!(b"ka_StringToKey\0"),
            ka_authenticate: find!(b"ka_Authenticate\0"),
            ka_get_token: find!(b"ka_GetToken\0"),
            rx_init: find!(b"rx_Init\0"),
            rx_new_connection: find!(b"rx_NewConnection\0"),
            rx_set_conn_dead_time: find!(b"rx_SetConnDeadTime\0"),
            rx_set_conn_hard_dead_time: find!(b"rx_SetConnHardDeadTime\0"),
            rx_destroy_connection: find!(b"rx_DestroyConnection\0"),
            rx_new_call: find!(b"rx_NewCall\0"),
            rx_write: find!(b"rx_WriteProc\0"),
            rx_flush_write: find!(b"rx_FlushWrite\0"),
            rx_read: find!(b"rx_ReadProc\0"),
            rx_interrupt_call: find!(b"rx_InterruptCall\0"),
            rx_end_call: find!(b"rx_EndCall\0"),
            rxnull_new: find!(b"rxnull_NewClientSecurityObject\0"),
            rxkad_new: find!(b"rxkad_NewClientSecurityObject\0"),
            rxs_release: find!(b"rxs_Release\0"),
            ubik_client_init: find!(b"ubik_ClientInit\0"),
            ubik_client_destroy: find!(b"ubik_ClientDestroy\0"),
            pr_name_to_id: find!(b"ubik_PR_NameToID\0"),
            pr_list_entry: find!(b"ubik_PR_ListEntry\0"),
            pr_new_entry: find!(b"ubik_PR_NewEntry\0"),
            pr_get_cps: find!(b"ubik_PR_GetCPS\0"),
            pr_is_member: find!(b"ubik_PR_IsAMemberOf\0"),
            pr_list_owned: find!(b"ubik_PR_ListOwned\0"),
            pr_set_fields_entry: find!(b"ubik_PR_SetFieldsEntry\0"),
        })
    }
}

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

/// A connection to one server. Ended when dropped, which also acknowledges the last replies.
pub struct Connection<'a> {
    afs: &'a Afs,
    connection: NonNull<c_void>,
}

impl core::fmt::Debug for Connection<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Connection(..)")
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        // SAFETY: made by rx_NewConnection and not destroyed before; all its calls have ended, since each holds this.
        unsafe { (self.afs.calls.rx_destroy_connection)(self.connection.as_ptr()) };
    }
}

impl<'a> Connection<'a> {
    /// Sends a request, without waiting for the reply. No more than four calls may be under way: a fifth waits for one's end.
    ///
    /// # Errors
    /// The library's number.
    pub fn begin(self: &Rc<Self>, request: &[u8]) -> Result<Call<'a>, i32> {
        let length = c_int::try_from(request.len()).map_err(|_| RX_FAIL)?;
        let calls = &self.afs.calls;
        // SAFETY: the connection is alive.
        let call = NonNull::new(unsafe { (calls.rx_new_call)(self.connection.as_ptr()) }).ok_or(RX_FAIL)?;
        let under_way = Call { connection: Rc::clone(self), call: Some(call) };
        // SAFETY: the call is alive; `length` bytes are only read. What goes wrong is told at the end.
        unsafe { (calls.rx_write)(call.as_ptr(), request.as_ptr().cast_mut().cast(), length) };
        // SAFETY: the call is alive.
        unsafe { (calls.rx_flush_write)(call.as_ptr()) };
        Ok(under_way)
    }
}

/// A call that is under way. It is broken off when dropped.
pub struct Call<'a> {
    connection: Rc<Connection<'a>>,
    /// Nothing: it has ended.
    call: Option<NonNull<c_void>>,
}

impl core::fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Call(..)")
    }
}

impl Call<'_> {
    /// Waits for the reply and its end; gives the length of it as far as there is room, and throws away what there is none for.
    ///
    /// # Errors
    /// The library's number, or the server's.
    pub fn end(mut self, reply: &mut [u8]) -> Result<usize, i32> {
        let call = self.call.take().ok_or(RX_FAIL)?;
        let calls = &self.connection.afs.calls;
        let read = |place: &mut [u8]| {
            let room = c_int::try_from(place.len()).unwrap_or(c_int::MAX);
            // SAFETY: the call is alive; `place` has room for as many bytes.
            let n = unsafe { (calls.rx_read)(call.as_ptr(), place.as_mut_ptr().cast(), room) };
            usize::try_from(n).unwrap_or(0)
        };
        let n = read(reply);
        let mut rest = [0; 1024];
        // Fewer bytes than were asked for are the end, or an error.
        while n == reply.len() && read(&mut rest) == rest.len() {}
        // SAFETY: the call is alive, and ended once: the handle has given it away.
        check(unsafe { (calls.rx_end_call)(call.as_ptr(), 0) }).map(|()| n)
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        /// `RX_USER_ABORT`.
        const ABORT: i32 = -6;
        let Some(call) = self.call.take() else { return };
        let calls = &self.connection.afs.calls;
        // SAFETY: the call is alive. Its end does not wait for the reply after this.
        unsafe { (calls.rx_interrupt_call)(call.as_ptr(), ABORT) };
        // SAFETY: the call is alive, and ended once.
        unsafe { (calls.rx_end_call)(call.as_ptr(), ABORT) };
    }
}

/// A client of one service. Ends its connections when dropped, which also acknowledges the last reply.
pub struct Client<'a> {
    afs: &'a Afs,
    client: NonNull<c_void>,
    here: PhantomData<*const ()>,
}

impl core::fmt::Debug for Client<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Client(..)")
    }
}

impl Drop for Client<'_> {
    fn drop(&mut self) {
        // SAFETY: made by ubik_ClientInit and not destroyed before.
        unsafe { (self.afs.calls.ubik_client_destroy)(self.client.as_ptr()) };
    }
}

/// `code` as a result.
///
/// # Errors
/// The code, unless it is 0.
fn check(code: i32) -> Result<(), i32> {
    if code == 0 { Ok(()) } else { Err(code) }
}

impl Client<'_> {
    /// `ka_Authenticate` for a ticket-granting ticket, and the days until the password expires (255 = never).
    /// The client must be one of service 731.
    ///
    /// # Errors
    /// The library's number.
    pub fn authenticate(
        &self,
        name: &mut Name,
        instance: &mut Name,
        cell: &mut Name,
        key: &mut Key,
        start: u32,
        end: u32,
    ) -> Result<(RawToken, i32), i32> {
        /// `KA_TICKET_GRANTING_SERVICE`.
        const TGS: c_int = 732;
        let mut token = RawToken::empty();
        let mut days = 255;
        // SAFETY: names are at most 63 bytes and NUL-terminated; key and token have the library's layout; the client is alive.
        let code = unsafe {
            (self.afs.calls.ka_authenticate)(
                name.ptr(),
                instance.ptr(),
                cell.ptr(),
                self.client.as_ptr(),
                TGS,
                key,
                start,
                end,
                &raw mut *token.0,
                &raw mut days,
            )
        };
        check(code).map(|()| (token, days))
    }

    /// `ka_GetToken` for the principal `afs` of the user's own cell. The client must be one of service 732.
    ///
    /// # Errors
    /// The library's number.
    pub fn get_token(
        &self,
        name: &mut Name,
        instance: &mut Name,
        cell: &mut Name,
        tgt: &mut RawToken,
        start: u32,
        end: u32,
    ) -> Result<RawToken, i32> {
        let (Some(mut afs), Some(mut none), Some(mut local)) =
            (Name::new("afs"), Name::new(""), Name::new(""))
        else {
            return Err(-1);
        };
        let mut token = RawToken::empty();
        // SAFETY: as for `authenticate`; an empty authentication domain is the cell's own.
        let code = unsafe {
            (self.afs.calls.ka_get_token)(
                afs.ptr(),
                none.ptr(),
                cell.ptr(),
                name.ptr(),
                instance.ptr(),
                self.client.as_ptr(),
                start,
                end,
                &raw mut *tgt.0,
                local.ptr(),
                &raw mut *token.0,
            )
        };
        check(code).map(|()| token)
    }

    /// The AFS id of a name; 32766 if there is none. The client must be one of the protection server.
    ///
    /// # Errors
    /// The library's number; `PRNOENT` if the server answered with an empty list.
    pub fn pts_name_to_id(&self, name: &Name) -> Result<i32, i32> {
        /// `PRNOENT`.
        const NO_ENTRY: i32 = 267_268;
        let mut names = [name.0];
        let mut list = XdrList { len: 1, val: names.as_mut_ptr() };
        let mut ids = XdrList::empty();
        // SAFETY: one name of PR_MAXNAMELEN bytes; the library allocates the ids.
        let code =
            unsafe { (self.afs.calls.pr_name_to_id)(self.client.as_ptr(), 0, &raw mut list, &raw mut ids) };
        check(code)?;
        if ids.len == 0 || ids.val.is_null() {
            return Err(NO_ENTRY);
        }
        // SAFETY: the library has allocated `len` ids, at least one. They are not freed: this process ends soon.
        Ok(unsafe { ids.val.read() })
    }

    /// The entry of an id.
    ///
    /// # Errors
    /// The library's number.
    pub fn pts_list_entry(&self, id: i32) -> Result<PtsEntry, i32> {
        let mut entry = PrCheckEntry {
            flags: 0,
            id: 0,
            owner: 0,
            creator: 0,
            ngroups: 0,
            nusers: 0,
            count: 0,
            reserved: [0; 5],
            name: [0; NAME],
        };
        // SAFETY: `entry` has the library's layout.
        let code = unsafe { (self.afs.calls.pr_list_entry)(self.client.as_ptr(), 0, id, &raw mut entry) };
        check(code).map(|()| PtsEntry { id: entry.id, flags: entry.flags })
    }

    /// Asks for a new entry of a user; its id, if there was none.
    ///
    /// # Errors
    /// The library's number.
    pub fn pts_new_user(&self, name: &mut Name) -> Result<i32, i32> {
        let mut id = 0;
        // SAFETY: a name of at most 63 bytes, NUL-terminated; `id` is where the id goes.
        let code =
            unsafe { (self.afs.calls.pr_new_entry)(self.client.as_ptr(), 0, name.ptr(), 0, 0, &raw mut id) };
        check(code).map(|()| id)
    }

    /// Asks for the groups of an id; they are not looked at.
    ///
    /// # Errors
    /// The library's number.
    pub fn pts_get_cps(&self, id: i32) -> Result<(), i32> {
        let mut list = XdrList::empty();
        let mut over = 0;
        // SAFETY: the library allocates the list, which is not freed: this process ends soon.
        check(unsafe {
            (self.afs.calls.pr_get_cps)(self.client.as_ptr(), 0, id, &raw mut list, &raw mut over)
        })
    }

    /// Whether a user is in a group, by their ids.
    ///
    /// # Errors
    /// The library's number.
    pub fn pts_is_member(&self, user: i32, group: i32) -> Result<bool, i32> {
        let mut is = 0;
        // SAFETY: `is` is where the answer goes.
        let code =
            unsafe { (self.afs.calls.pr_is_member)(self.client.as_ptr(), 0, user, group, &raw mut is) };
        check(code).map(|()| is != 0)
    }

    /// Asks for what an id owns; it is not looked at.
    ///
    /// # Errors
    /// The library's number.
    pub fn pts_list_owned(&self, id: i32) -> Result<(), i32> {
        let mut list = XdrList::empty();
        let mut last = 0;
        // SAFETY: as for `pts_get_cps`.
        check(unsafe {
            (self.afs.calls.pr_list_owned)(self.client.as_ptr(), 0, id, &raw mut list, &raw mut last)
        })
    }

    /// Sets the privacy bits of an id.
    ///
    /// # Errors
    /// The library's number.
    pub fn pts_set_flags(&self, id: i32, flags: i32) -> Result<(), i32> {
        /// `PR_SF_ALLBITS`.
        const ALL_BITS: i32 = 0xff;
        // SAFETY: no pointers but the client.
        check(unsafe {
            (self.afs.calls.pr_set_fields_entry)(self.client.as_ptr(), 0, id, ALL_BITS, flags, 0, 0, 0, 0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::{offset_of, size_of};

    #[test]
    fn structures_have_the_librarys_layout() {
        assert_eq!(size_of::<Key>(), 8);
        assert_eq!(size_of::<KtcToken>(), 12_024);
        assert_eq!(
            [
                offset_of!(KtcToken, start),
                offset_of!(KtcToken, end),
                offset_of!(KtcToken, key),
                offset_of!(KtcToken, kvno),
                offset_of!(KtcToken, ticket_len),
                offset_of!(KtcToken, ticket),
            ],
            [0, 4, 8, 16, 20, 24]
        );
        assert_eq!(size_of::<PrCheckEntry>(), 112);
        assert_eq!(size_of::<XdrList<i32>>(), 16);
    }

    #[test]
    fn addresses_and_ports_are_in_network_byte_order_and_no_more_than_the_library_takes() {
        let servers = Servers::new(&[Ipv4Addr::new(192, 0, 2, 1)], 7004);
        let (address, port) = servers.addresses[0];
        assert_eq!((address.to_ne_bytes(), port.to_ne_bytes()), ([192, 0, 2, 1], [0x1b, 0x5c]));
        assert_eq!(Servers::new(&[Ipv4Addr::LOCALHOST; 12], 1).len(), HOSTS);
    }

    #[test]
    fn names_fit_or_are_refused() {
        assert!(Name::new(&"a".repeat(63)).is_some());
        assert!(Name::new(&"a".repeat(64)).is_none());
        assert!(Name::new(&"a".repeat(1000)).is_none());
        assert!(Name::new("a\0b").is_none());
        assert_eq!(Name::new("ab").unwrap().0[..3], *b"ab\0");
    }

    #[test]
    fn a_ticket_with_a_length_that_cannot_be_is_nothing() {
        let mut t = RawToken::new(1, [1; 8], &[7; 40]).unwrap();
        assert_eq!(t.ticket().unwrap().len(), 40);
        for bad in [-1, 12_001, i32::MAX] {
            t.0.ticket_len = bad;
            assert!(t.ticket().is_none());
        }
        assert!(RawToken::new(1, [1; 8], &[0; 12_001]).is_none());
        t.0.end = -1;
        assert_eq!(t.times().1, 4_294_967_295, "times go on until 2106");
    }
}
