//! The library's codes as errno numbers.

/// A positive errno.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

/// What the callee answers.
pub(crate) type Res<T> = Result<T, Errno>;

/// Turns the library's code into a result. Most are errno numbers; what is left over is mapped.
pub(crate) fn check(code: i32) -> Res<()> {
    if code == 0 { Ok(()) } else { Err(Errno(errno(code))) }
}

/// The errno for a code of the library that is not 0.
///
/// Codes: OpenAFS `src/afs/afs_error.c` (`afs_CheckCode` has mapped what belongs to a volume or server),
/// `/usr/include/rx/rx.h` (negative ones), `/usr/include/rx/rxkad.h` (19270400 and on).
fn errno(code: i32) -> i32 {
    match code {
        1..=133 => code,
        // RX_CALL_DEAD, RX_CALL_TIMEOUT, RX_CALL_IDLE, RX_CALL_BUSY, RX_RESTARTING and kin.
        -100..=-1 => libc::ETIMEDOUT,
        // The server does not take the ticket: it counts as no permission.
        19_270_400..=19_270_655 => libc::EACCES,
        _ => libc::EIO,
    }
}
