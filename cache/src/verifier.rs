//! Keyed verifiers: what a cache keeps instead of a password.
//!
//! The key is random, lives in one process only and is wiped with it;
//! without it a verifier says nothing about what it was made of.

use crate::Error;
use core::fmt;
use core::hash::{Hash, Hasher};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A random key of 32 bytes under which verifiers are made. Wiped on drop, never shown.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct VerifierKey(Box<[u8; BLOCK]>);

/// Bytes of the key.
const KEY: usize = 32;
/// A block of SHA-256: padded to it with zeros, a shorter key is the same HMAC key.
const BLOCK: usize = 64;

impl VerifierKey {
    /// Draws a key from getrandom(2). A forked child must draw its own.
    ///
    /// # Errors
    /// [`Error::Random`] if the kernel gives none.
    pub fn random() -> Result<Self, Error> {
        let mut key = Self(Box::new([0; BLOCK]));
        let (random, _) = key.0.split_at_mut(KEY);
        getrandom::fill(random).map_err(|e| Error::Random(e.raw_os_error().unwrap_or_default()))?;
        Ok(key)
    }

    /// HMAC-SHA256 over `parts`, each behind its length, so that `["ab", "c"]` is not `["a", "bc"]`.
    #[must_use]
    pub fn verifier(&self, parts: &[&[u8]]) -> Verifier {
        let mut mac = Hmac::<Sha256>::new((&*self.0).into());
        mac.update(&len(parts.len()));
        for part in parts {
            mac.update(&len(part.len()));
            mac.update(part);
        }
        let mut sum = mac.finalize().into_bytes();
        let verifier = Verifier(sum.into());
        sum.zeroize();
        verifier
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifierKey(..)")
    }
}

/// A length as eight bytes.
fn len(n: usize) -> [u8; 8] {
    (n as u64).to_le_bytes()
}

/// What stands for a password; equal only for equal parts under the same key. Compared in constant time.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Verifier([u8; 32]);

impl PartialEq for Verifier {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Verifier {}

impl Hash for Verifier {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> VerifierKey {
        VerifierKey(Box::new(core::array::from_fn(|i| if i < KEY { u8::try_from(i).unwrap() } else { 0 })))
    }

    #[test]
    fn parts_do_not_run_together() {
        let k = key();
        let all: [&[&[u8]]; 6] =
            [&[b"ab", b"c"], &[b"a", b"bc"], &[b"abc"], &[b"", b"abc"], &[b"abc", b""], &[b"ab", b"c", b""]];
        for (i, a) in all.iter().enumerate() {
            for (j, b) in all.iter().enumerate() {
                assert_eq!(k.verifier(a) == k.verifier(b), i == j, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn it_is_hmac_sha256() {
        use sha2::Digest;
        let (mut inner, mut outer) = (Sha256::new(), Sha256::new());
        let mut padded = [0u8; 64];
        for (i, b) in padded.iter_mut().take(32).enumerate() {
            *b = u8::try_from(i).unwrap();
        }
        inner.update(padded.map(|b| b ^ 0x36));
        inner.update(1u64.to_le_bytes());
        inner.update(2u64.to_le_bytes());
        inner.update(b"hi");
        outer.update(padded.map(|b| b ^ 0x5c));
        outer.update(inner.finalize());
        let want: [u8; 32] = outer.finalize().into();
        assert_eq!(key().verifier(&[b"hi"]).0, want);
    }

    #[test]
    fn d12_another_key_gives_another_verifier() {
        let (a, b) = (VerifierKey::random().unwrap(), VerifierKey::random().unwrap());
        assert_ne!(a.verifier(&[b"x"]), b.verifier(&[b"x"]));
        assert_eq!(a.verifier(&[b"x"]), a.verifier(&[b"x"]).clone());
    }

    #[test]
    fn d5_verifiers_that_begin_alike_differ() {
        // Compared as texts, those that begin with a zero byte would all be equal.
        let k = key();
        let mut zeros = (0u32..).map(|n| k.verifier(&[&n.to_le_bytes()])).filter(|v| v.0[0] == 0);
        let (a, b) = (zeros.next().unwrap(), zeros.next().unwrap());
        assert_ne!(a, b);
        for at in 0..32 {
            let mut other = a.clone();
            other.0[at] ^= 1;
            assert_ne!(a, other, "byte {at}");
        }
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?} {:?}", key(), key().verifier(&[])), "VerifierKey(..) Verifier(..)");
    }

    proptest! {
        #[test]
        fn equal_only_for_equal_parts(
            a in prop::collection::vec(prop::collection::vec(0u8..3, 0..4), 0..4),
            b in prop::collection::vec(prop::collection::vec(0u8..3, 0..4), 0..4),
        ) {
            let k = key();
            let of = |v: &[Vec<u8>]| k.verifier(&v.iter().map(Vec::as_slice).collect::<Vec<_>>());
            prop_assert_eq!(of(&a) == of(&b), a == b);
        }
    }
}
