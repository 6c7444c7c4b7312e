//! From the session key of a Kerberos 5 ticket to the DES key that rxkad works with.
//!
//! Pure. The rule of file servers and clients since 2013; servers and we have to come to the same key.
//!
//! Source: OpenAFS `src/rxkad/ticket5.c` (`tkt_DeriveDesKey`).

use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::Md5;
use zeroize::Zeroizing;

/// A DES key, parity included. Wiped on drop.
pub type DesKey = Zeroizing<[u8; 8]>;

/// The keys that DES cannot do with: weak ones, and pairs of semi-weak ones.
const WEAK: [[u8; 8]; 16] = [
    [0x01; 8],
    [0xfe; 8],
    [0x1f, 0x1f, 0x1f, 0x1f, 0x0e, 0x0e, 0x0e, 0x0e],
    [0xe0, 0xe0, 0xe0, 0xe0, 0xf1, 0xf1, 0xf1, 0xf1],
    [0x01, 0xfe, 0x01, 0xfe, 0x01, 0xfe, 0x01, 0xfe],
    [0xfe, 0x01, 0xfe, 0x01, 0xfe, 0x01, 0xfe, 0x01],
    [0x1f, 0xe0, 0x1f, 0xe0, 0x0e, 0xf1, 0x0e, 0xf1],
    [0xe0, 0x1f, 0xe0, 0x1f, 0xf1, 0x0e, 0xf1, 0x0e],
    [0x01, 0xe0, 0x01, 0xe0, 0x01, 0xf1, 0x01, 0xf1],
    [0xe0, 0x01, 0xe0, 0x01, 0xf1, 0x01, 0xf1, 0x01],
    [0x1f, 0xfe, 0x1f, 0xfe, 0x0e, 0xfe, 0x0e, 0xfe],
    [0xfe, 0x1f, 0xfe, 0x1f, 0xfe, 0x0e, 0xfe, 0x0e],
    [0x01, 0x1f, 0x01, 0x1f, 0x01, 0x0e, 0x01, 0x0e],
    [0x1f, 0x01, 0x1f, 0x01, 0x0e, 0x01, 0x0e, 0x01],
    [0xe0, 0xfe, 0xe0, 0xfe, 0xf1, 0xfe, 0xf1, 0xfe],
    [0xfe, 0xe0, 0xfe, 0xe0, 0xfe, 0xf1, 0xfe, 0xf1],
];

/// What becomes of a session key of a kind.
enum Rule {
    /// It is a DES key.
    AsItIs,
    /// Its parity bits go first: what they say, the other bits say as well.
    WithoutParity,
    /// Derived from all of it.
    Derived,
    /// It is no key of anything.
    Refused,
}

impl Rule {
    fn of(enctype: i32) -> Self {
        match enctype {
            1..=3 => Self::AsItIs,
            5 | 7 | 16 => Self::WithoutParity,
            // 9 to 15 are kinds of signatures and envelopes, 8 is not assigned.
            0 | 4 | 6 | 8..=15 => Self::Refused,
            _ => Self::Derived,
        }
    }
}

/// The DES key of a session key; nothing if its kind makes none.
#[must_use]
pub fn derive(enctype: i32, key: &[u8]) -> Option<DesKey> {
    match Rule::of(enctype) {
        Rule::Refused => None,
        Rule::AsItIs => key.try_into().ok().map(Zeroizing::new),
        Rule::WithoutParity => from_bytes(&without_parity(key)?),
        Rule::Derived => from_bytes(key),
    }
}

/// Blocks of eight bytes with a parity bit each become blocks of seven; nothing if these are no whole blocks.
fn without_parity(key: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (blocks, []) = key.as_chunks::<8>() else { return None };
    // Room for all of it at once: a buffer that grows would leave copies behind.
    let mut packed = Zeroizing::new(Vec::with_capacity(key.len()));
    for [first @ .., last] in blocks {
        // The last byte's seven bits fill the places of the other ones' parity bits, its lowest one the first.
        packed.extend(first.iter().enumerate().map(|(i, byte)| (byte & 0xfe) | ((last >> (i + 1)) & 1)));
    }
    Some(packed)
}

/// The first usable key that HMAC-MD5 makes in counter mode.
fn from_bytes(key: &[u8]) -> Option<DesKey> {
    for n in 1..=u8::MAX {
        let mut mac = Hmac::<Md5>::new_from_slice(key).ok()?;
        mac.update(&[n]);
        mac.update(b"rxkad\0");
        // So many bits are wanted.
        mac.update(&64u32.to_be_bytes());
        let digest: Zeroizing<[u8; 16]> = Zeroizing::new(mac.finalize().into_bytes().into());
        let mut des = DesKey::default();
        for (to, from) in des.iter_mut().zip(digest.iter()) {
            *to = with_parity(*from);
        }
        if !WEAK.contains(&des) {
            return Some(des);
        }
    }
    None
}

/// The byte with its lowest bit such that the number of ones is odd.
fn with_parity(byte: u8) -> u8 {
    let bits = byte & 0xfe;
    bits | u8::from(bits.count_ones().is_multiple_of(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(enctype: i32, key: &[u8]) -> Option<String> {
        derive(enctype, key).map(|k| k.iter().map(|b| format!("{b:02x}")).collect())
    }

    fn counting(n: u8) -> Vec<u8> {
        (0..n).collect()
    }

    #[test]
    fn aes_keys_become_what_libafsrpc_makes_of_them() {
        assert_eq!(hex(18, &counting(32)).as_deref(), Some("b60db5e30b266b16"));
        assert_eq!(hex(17, &counting(16)).as_deref(), Some("07838c58c11c64ab"));
        // The kind itself does not enter the key.
        assert_eq!(hex(20, &counting(32)), hex(18, &counting(32)));
        assert_eq!(hex(23, &counting(16)), hex(17, &counting(16)));
    }

    #[test]
    fn triple_des_keys_do_so_too() {
        for enctype in [5, 7, 16] {
            assert_eq!(hex(enctype, &counting(24)).as_deref(), Some("0204c702e90237a7"));
        }
    }

    #[test]
    fn des_keys_stay_as_they_are() {
        let key = [0x13, 0x34, 0x57, 0x79, 0x9b, 0xbc, 0xdf, 0xf1];
        for enctype in 1..=3 {
            assert_eq!(derive(enctype, &key).as_deref(), Some(&key));
            assert!(derive(enctype, &key[..7]).is_none());
            assert!(derive(enctype, &[0; 9]).is_none());
        }
    }

    #[test]
    fn kinds_that_are_no_keys_are_refused() {
        for enctype in [0, 4, 6, 8, 9, 10, 11, 12, 13, 14, 15] {
            assert!(derive(enctype, &counting(32)).is_none(), "{enctype}");
            assert!(derive(enctype, &counting(8)).is_none(), "{enctype}");
        }
    }

    #[test]
    fn triple_des_keys_lose_their_parity_first() {
        let key = counting(24);
        for enctype in [5, 7, 16] {
            assert!(derive(enctype, &key[..23]).is_none(), "no whole blocks");
            assert_eq!(hex(enctype, &key), hex(18, &without_parity(&key).unwrap()));
            // Whatever the parity bits are.
            let flipped: Vec<u8> = key.iter().map(|b| b ^ 1).collect();
            assert_eq!(hex(enctype, &key), hex(enctype, &flipped));
        }
        assert_eq!(without_parity(&[0, 0, 0, 0, 0, 0, 0, 0x02]).unwrap()[..], [1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(without_parity(&[1, 1, 1, 1, 1, 1, 1, 0x81]).unwrap()[..], [0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(without_parity(&[0xff; 8]).unwrap()[..], [0xff; 7]);
    }

    #[test]
    fn derived_keys_have_odd_parity_and_are_never_weak() {
        for n in 0..=u8::MAX {
            let key = derive(18, &[n; 32]).unwrap();
            assert!(key.iter().all(|b| b.count_ones() % 2 == 1));
            assert!(!WEAK.contains(&key));
        }
    }

    #[test]
    fn the_keys_to_be_passed_over_are_right_and_differ() {
        for (n, key) in WEAK.iter().enumerate() {
            assert!(key.iter().all(|b| b.count_ones() % 2 == 1), "{key:x?}");
            assert!(!WEAK[n + 1..].contains(key), "{key:x?}");
        }
    }
}
