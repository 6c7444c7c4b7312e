//! What any process can do with an AFS client of the kernel, without `pag`: as attackers and administrators do.
#![allow(unsafe_code, reason = "system calls as anybody would make them")]
#![allow(dead_code, clippy::unwrap_used, clippy::panic, reason = "test code; each program uses its own part")]

use pag::{ClientKind, Token};
use std::ffi::{CString, c_char};

/// keyctl(2)
const JOIN_SESSION_KEYRING: i64 = 1;
const CLEAR: i64 = 7;
/// Special keyrings.
const SESSION: i64 = -3;
const USER: i64 = -4;
const USER_SESSION: i64 = -5;
/// Calls of OpenAFS's module.
const PIOCTL: i64 = 20;
const SETPAG: i64 = 21;
const VIOCSETTOK: i64 = 0x4018_5603;
const VIOCUNLOG: i64 = 0x4018_5609;

/// The client that AFSWEB_CLIENT names.
pub(crate) fn kind() -> ClientKind {
    match std::env::var("AFSWEB_CLIENT").as_deref() {
        Ok("openafs") => ClientKind::OpenAfs,
        Ok("kafs") => ClientKind::Kafs,
        other => panic!("AFSWEB_CLIENT is openafs or kafs, not {other:?}"),
    }
}

/// keyctl(2), as anybody can call it.
///
/// # Errors
/// Its errno.
pub(crate) fn keyctl(operation: i64, a: i64, b: i64, c: i64, d: i64) -> Result<i64, i32> {
    // SAFETY: callers pass numbers, or addresses of buffers and texts that outlive the call.
    let n = unsafe { libc::syscall(libc::SYS_keyctl, operation, a, b, c, d) };
    if n < 0 { Err(std::io::Error::last_os_error().raw_os_error().unwrap()) } else { Ok(n) }
}

/// A session keyring without a name, for the calling thread.
pub(crate) fn new_session() {
    keyctl(JOIN_SESSION_KEYRING, 0, 0, 0, 0).unwrap();
}

/// Gives the calling thread's uid a token, outside any PAG; the thread is in a new session without one.
pub(crate) fn set_token_of_the_uid(token: &Token) {
    match kind() {
        ClientKind::Kafs => {
            for ring in [USER, USER_SESSION] {
                add_key(token, ring);
            }
            // The last one, to see that it works.
            new_session();
            add_key(token, SESSION);
        }
        _ => {
            new_session();
            pioctl(VIOCSETTOK, &pag::block::encode_settok(token).unwrap());
        }
    }
}

/// Takes away what [`set_token_of_the_uid`] has given: else it would be there for whatever runs with this uid later.
pub(crate) fn drop_token_of_the_uid() {
    match kind() {
        ClientKind::Kafs => {
            for ring in [USER, USER_SESSION] {
                keyctl(CLEAR, ring, 0, 0, 0).unwrap();
            }
        }
        _ => pioctl(VIOCUNLOG, &[]),
    }
}

/// Puts the calling thread into a session and PAG of its own, with a token in it, as a login does.
pub(crate) fn log_in(token: &Token) {
    new_session();
    match kind() {
        ClientKind::Kafs => add_key(token, SESSION),
        _ => {
            call([0, 0, 0, 0, SETPAG]);
            pioctl(VIOCSETTOK, &pag::block::encode_settok(token).unwrap());
        }
    }
}

fn add_key(token: &Token, ring: i64) {
    let payload = pag::block::encode_xdr(token).unwrap();
    let name = CString::new(format!("afs@{}", token.cell.as_str())).unwrap();
    let (kind, name, len) = (c"rxrpc".as_ptr(), name.as_ptr(), payload.len());
    // SAFETY: texts and a slice.
    let n = unsafe { libc::syscall(libc::SYS_add_key, kind, name, payload.as_ptr(), len, ring) };
    assert!(n > 0, "{}", std::io::Error::last_os_error());
}

/// A pioctl without a path and without an answer.
fn pioctl(command: i64, input: &[u8]) {
    #[repr(C)]
    struct Vice {
        input: *const u8,
        output: *mut c_char,
        lens: [i16; 2],
    }
    let vice = Vice {
        input: input.as_ptr(),
        output: std::ptr::null_mut(),
        lens: [i16::try_from(input.len()).unwrap(), 0],
    };
    call([0, (&raw const vice) as i64, command, 0, PIOCTL]);
}

/// A call of OpenAFS's module: its arguments, backwards.
fn call(arguments: [i64; 5]) {
    let file = std::fs::File::open("/proc/fs/openafs/afs_ioctl").unwrap();
    // SAFETY: an open file, and arguments that live until the call is over.
    let n = unsafe { libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&file), 0x4008_4301, arguments.as_ptr()) };
    assert_eq!(n, 0, "{}", std::io::Error::last_os_error());
}
