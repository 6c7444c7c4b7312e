//! What is drawn for each request: its id, its one-time key.

use super::FrameError;
use core::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Bytes of an id.
pub(super) const ID: usize = 16;
/// Bytes of a one-time key.
pub(super) const KEY: usize = 16;

/// Tells a request and its reply from all others.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(pub [u8; ID]);

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Enough to tell requests apart in a log.
        let [a, b, c, d, ..] = self.0;
        write!(f, "RequestId({a:02x}{b:02x}{c:02x}{d:02x}..)")
    }
}

/// The key under which one reply is sealed. Wiped on drop, never shown.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct OneTimeKey(pub(super) Box<[u8; KEY]>);

impl OneTimeKey {
    /// A copy of `bytes`; the caller wipes his.
    #[must_use]
    pub fn new(bytes: &[u8; KEY]) -> Self {
        let mut key = Self(Box::new([0; KEY]));
        key.0.copy_from_slice(bytes);
        key
    }
}

impl fmt::Debug for OneTimeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OneTimeKey(..)")
    }
}

/// Draws id and key of a request from getrandom(2): 32 bytes, which cost the kernel one step.
///
/// # Errors
/// [`FrameError::Random`] if the kernel gives none.
pub fn fresh() -> Result<(RequestId, OneTimeKey), FrameError> {
    let mut bytes = Zeroizing::new([0u8; ID + KEY]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|_| FrameError::Random)?;
    let (id, rest) = bytes.split_first_chunk::<ID>().ok_or(FrameError::Length)?;
    let key = rest.first_chunk::<KEY>().ok_or(FrameError::Length)?;
    Ok((RequestId(*id), OneTimeKey::new(key)))
}
