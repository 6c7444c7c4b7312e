//! Rows of one size in memory that processes share, behind a head that says what and how many they are.
//!
//! Knows nothing of what a row is.

use crate::{Error, mapping::Mapping};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

/// Where in the head stands what the rows are.
const MAGIC_AT: usize = 0;
/// Where in the head stands how many they are.
const NUMBER_AT: usize = 8;

/// The rows, and in front of them a head of the same size. The memory stays for the life of the process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows {
    /// All of it.
    map: Mapping,
    /// Number of rows.
    n: usize,
    /// Bytes of a row.
    size: usize,
}

impl Rows {
    /// Makes `n` rows of zeros, for this process and those that it forks from now on.
    ///
    /// # Errors
    /// [`Error::Errno`] if there is no memory.
    pub(crate) fn create(n: usize, size: usize) -> Result<Self, Error> {
        let map = Mapping::anonymous(length(n, size).ok_or(Error::Memory("too many rows"))?)?;
        Ok(Self { map, n, size })
    }

    /// Says what they are, once they are ready: from now on they can be found by it.
    ///
    /// # Errors
    /// [`Error::Memory`] if a row is too small for a head.
    pub(crate) fn are(&self, magic: u64) -> Result<(), Error> {
        word(self.map, NUMBER_AT)?.store(self.n as u64, Ordering::Relaxed);
        word(self.map, MAGIC_AT)?.store(magic, Ordering::Release);
        Ok(())
    }

    /// Address and length, to be kept as plain data and given to [`Rows::attach`].
    pub(crate) fn parts(&self) -> (usize, usize) {
        self.map.parts()
    }

    /// The rows again, from what [`Rows::parts`] gave.
    ///
    /// # Safety
    /// The numbers are from `parts` of rows made in this process or in one that it was forked from
    /// without exec since.
    ///
    /// # Errors
    /// [`Error::Memory`] if there are no such rows.
    pub(crate) unsafe fn attach(parts: (usize, usize), size: usize, magic: u64) -> Result<Self, Error> {
        // SAFETY: the caller vouches for the numbers.
        let map = unsafe { Mapping::attach(parts.0, parts.1) }?;
        if word(map, MAGIC_AT)?.load(Ordering::Acquire) != magic {
            return Err(Error::Memory("there is another table, or none"));
        }
        let n = usize::try_from(word(map, NUMBER_AT)?.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        if length(n, size) != Some(map.len()) {
            return Err(Error::Memory("the table has another length"));
        }
        Ok(Self { map, n, size })
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.n
    }

    /// Where row `i` lies, if it is there, a `T` fits into it and is aligned.
    pub(crate) fn row<T>(&self, i: usize) -> Option<NonNull<T>> {
        if i >= self.n || size_of::<T>() > self.size {
            return None;
        }
        self.map.at(i.checked_add(1)?.checked_mul(self.size)?)
    }
}

/// Gives a table, whose only field is its [`Rows`], the way to be kept as plain numbers and found again.
macro_rules! kept_as_numbers {
    ($table:ident, $size:expr, $magic:expr) => {
        impl $table {
            /// Address and length, to be kept as plain data and given to `attach`.
            #[must_use]
            pub fn parts(&self) -> (usize, usize) {
                self.0.parts()
            }

            /// The table again, from what `parts` gave.
            ///
            /// # Safety
            /// The numbers are from `parts` of such a table made in this process or in one that it was forked from
            /// without exec since.
            ///
            /// # Errors
            /// [`Error::Memory`] if no such table is there.
            pub unsafe fn attach(addr: usize, len: usize) -> Result<Self, Error> {
                // SAFETY: the caller vouches for the numbers.
                unsafe { Rows::attach((addr, len), $size, $magic) }.map(Self)
            }
        }
    };
}
pub(crate) use kept_as_numbers;

/// Bytes of `n` rows and the head.
fn length(n: usize, size: usize) -> Option<usize> {
    n.checked_add(1)?.checked_mul(size)
}

/// A word of the head.
///
/// # Errors
/// [`Error::Memory`] if it is too short.
pub(crate) fn word(map: Mapping, offset: usize) -> Result<&'static AtomicU64, Error> {
    let p = map.at::<AtomicU64>(offset).ok_or(Error::Memory("too short"))?;
    // SAFETY: inside a mapping that stays for ever, aligned, and only ever used as an atomic.
    Ok(unsafe { p.as_ref() })
}
