//! Taking over descriptors that were open when the program started.

use crate::Error;
use rustix::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// The numbers that were taken in this process.
static TAKEN: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

/// Takes over descriptor number `fd`, once per process, and marks it close-on-exec.
///
/// For a program's start only, before it opens anything by itself:
/// a number that another part of the process has opened would be taken from it.
///
/// # Errors
/// [`Error::Taken`] for 0, 1, 2, negative numbers and any that was taken before,
/// [`Error::NotOpen`] if there is no such descriptor.
pub fn take(fd: RawFd) -> Result<OwnedFd, Error> {
    if fd <= 2 {
        return Err(Error::Taken(fd));
    }
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    if taken.contains(&fd) {
        return Err(Error::Taken(fd));
    }
    // SAFETY: `fd` is not -1; the borrow ends in this function, and a closed number gives EBADF.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let flags = fcntl_getfd(borrowed).map_err(|_| Error::NotOpen(fd))?;
    fcntl_setfd(borrowed, flags | FdFlags::CLOEXEC).map_err(Error::call("fcntl(F_SETFD)"))?;
    taken.insert(fd);
    // SAFETY: the number is open, and the set above lets nobody else in this process take it through here.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Closes every descriptor from number `first` on: what a program has inherited and does not know.
///
/// For a program's start only. A number that was taken with [`take`] is not closed this way.
///
/// # Errors
/// [`Error::Taken`] if a number from `first` on was taken before, or if `first` is below 3;
/// [`Error::Errno`] from close_range(2).
pub fn close_from(first: RawFd) -> Result<(), Error> {
    let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(&fd) = taken.range(first..).next() {
        return Err(Error::Taken(fd));
    }
    let from = u32::try_from(first).ok().filter(|f| *f > 2).ok_or(Error::Taken(first))?;
    // SAFETY: no pointers; nothing that this process owns through `take` is among the numbers.
    let r = unsafe { libc::close_range(from, u32::MAX, 0) };
    if r != 0 {
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or_default();
        return Err(Error::Errno { call: "close_range", errno });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::{AsRawFd, IntoRawFd};

    #[test]
    fn a_number_is_taken_once_and_closed_on_exec() {
        let (r, _w) = rustix::pipe::pipe().unwrap();
        // A high number, so that no other test of this process gets it.
        let high = rustix::io::fcntl_dupfd_cloexec(&r, 700).unwrap();
        fcntl_setfd(&high, FdFlags::empty()).unwrap();
        let number = high.into_raw_fd();
        let taken = take(number).unwrap();
        assert_eq!(taken.as_raw_fd(), number);
        assert!(fcntl_getfd(&taken).unwrap().contains(FdFlags::CLOEXEC));
        assert_eq!(take(number).unwrap_err(), Error::Taken(number));
        assert_eq!(close_from(600).unwrap_err(), Error::Taken(number));
        drop(taken);
        assert_eq!(take(number).unwrap_err(), Error::Taken(number), "also after it was closed");
    }

    #[test]
    fn closed_and_standard_numbers_are_refused() {
        assert_eq!(take(555_555).unwrap_err(), Error::NotOpen(555_555));
        for fd in [-1, 0, 1, 2] {
            assert_eq!(take(fd).unwrap_err(), Error::Taken(fd));
        }
        // Or another number, which another test of this process has taken at the time.
        assert!(matches!(close_from(2).unwrap_err(), Error::Taken(2..)));
    }
}
