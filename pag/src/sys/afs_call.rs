#![allow(clippy::missing_errors_doc, reason = "an error is the errno of the ioctl")]
//! OpenAFS's only call into its kernel module: one ioctl, which carries all others.
//!
//! It acts on the calling *thread*; the descriptor is the same for all of them.
//!
//! # Safety
//! The kernel reads the path up to its NUL and the input up to its length, and writes into the output up to its
//! length (OpenAFS `src/afs/LINUX/osi_ioctl.c`, `src/afs/afs_pioctl.c`). PAGs and tokens touch no memory of ours.

use super::consts as k;
use std::ffi::{CStr, c_char, c_long};
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::ptr;

/// The argument of the ioctl (`struct afsprocdata`).
#[repr(C)]
struct Call {
    /// Fourth parameter: whether links are followed.
    follow: c_long,
    /// Third: the `ViceIoctl`.
    vice: *const Vice,
    /// Second: the command.
    command: c_long,
    /// First: the path, or null.
    path: *const c_char,
    /// Which call.
    number: c_long,
}

/// `struct ViceIoctl`
#[repr(C)]
struct Vice {
    /// Input.
    input: *const u8,
    /// Output.
    output: *mut u8,
    /// Length of the input.
    in_len: i16,
    /// Room for the output.
    out_len: i16,
}

/// The open file of the call.
#[derive(Debug)]
pub(crate) struct AfsCall(File);

impl AfsCall {
    /// Opens it; closed on exec.
    pub(crate) fn open() -> std::io::Result<Self> {
        File::open(k::AFS_IOCTL_FILE).map(Self)
    }

    /// Makes a call.
    fn call(&self, call: &Call) -> Result<(), i32> {
        // SAFETY: an open descriptor and a structure whose pointers live until the call is over.
        let n = unsafe { libc::ioctl(self.0.as_raw_fd(), k::AFS_IOCTL_REQUEST.into(), ptr::from_ref(call)) };
        if n == 0 { Ok(()) } else { Err(super::errno()) }
    }

    /// Gives the calling thread a new PAG, and with it a new session keyring.
    pub(crate) fn set_pag(&self) -> Result<(), i32> {
        let number = k::AFS_CALL_SETPAG;
        self.call(&Call { follow: 0, vice: ptr::null(), command: 0, path: ptr::null(), number })
    }

    /// A command on a path or, without one, on the client. Input and output have at most 32,767 bytes. How much of
    /// the output is filled only its contents say.
    pub(crate) fn pioctl(
        &self,
        path: Option<&CStr>,
        command: u32,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(), i32> {
        let len = |n: usize| i16::try_from(n).map_err(|_| libc::E2BIG);
        let vice = Vice {
            input: if input.is_empty() { ptr::null() } else { input.as_ptr() },
            in_len: len(input.len())?,
            out_len: len(output.len())?,
            output: output.as_mut_ptr(),
        };
        let path = path.map_or(ptr::null(), CStr::as_ptr);
        let (vice, number) = (ptr::from_ref(&vice), k::AFS_CALL_PIOCTL);
        self.call(&Call { follow: 1, vice, command: command.into(), path, number })
    }
}
