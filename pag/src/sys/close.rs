#![allow(clippy::missing_errors_doc, reason = "an error is the errno of close(2)")]
//! close(2) with its result, which is where AFS clients tell whether what was written has been stored.
//!
//! # Safety
//! The descriptor is owned, and given up by the call whatever that answers.

use std::os::fd::{IntoRawFd as _, OwnedFd};

/// Closes a descriptor. It is gone also after an error.
pub(crate) fn close(fd: OwnedFd) -> Result<(), i32> {
    // SAFETY: owned until here, and by nobody afterwards.
    if unsafe { libc::close(fd.into_raw_fd()) } == 0 { Ok(()) } else { Err(super::errno()) }
}
