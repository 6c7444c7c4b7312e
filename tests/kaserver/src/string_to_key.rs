//! Passwords to DES keys, the AFS way.

use pwhash::unix_crypt;
use zeroize::Zeroizing;

use crate::des::{BLOCK, Key, cbc_cksum};

/// The key of `password` in `cell`.
///
/// `cell` is the full name; it is taken in lower case. Up to eight bytes of password go through crypt(3), which mixes
/// in only the first eight bytes of the cell; longer ones through two rounds of a CBC checksum with the whole cell.
///
/// Source: OpenAFS `src/kauth/client.c` (`ka_StringToKey`).
#[must_use]
pub fn string_to_key(password: &[u8], cell: &str) -> Key {
    let cell = cell.to_ascii_lowercase();
    if password.len() > BLOCK { long(password, cell.as_bytes()) } else { short(password, cell.as_bytes()) }
}

/// Passwords of up to eight bytes.
fn short(password: &[u8], cell: &[u8]) -> Key {
    let mut mixed = Zeroizing::new([0_u8; BLOCK]);
    for (to, from) in mixed.iter_mut().zip(cell) {
        *to = *from;
    }
    for (to, from) in mixed.iter_mut().zip(password) {
        *to ^= *from;
    }
    for byte in mixed.iter_mut().filter(|byte| **byte == 0) {
        *byte = b'X';
    }
    #[allow(deprecated, reason = "the algorithm is as old as the protocol, and the protocol demands it")]
    let hash = Zeroizing::new(unix_crypt::hash_with("p1", mixed.as_slice()).unwrap_or_default());
    let mut key = [0; BLOCK];
    for (to, from) in key.iter_mut().zip(hash.bytes().skip(2)) {
        *to = from << 1;
    }
    Key::new(key).with_odd_parity()
}

/// Passwords of more than eight bytes.
fn long(password: &[u8], cell: &[u8]) -> Key {
    let text = Zeroizing::new([password, cell].concat());
    let first = cbc_cksum(&Key::new(*b"kerberos").with_odd_parity(), *b"kerberos", &text);
    let second = cbc_cksum(&Key::new(first).with_odd_parity(), first, &text);
    Key::new(second).with_odd_parity()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(password: &str, cell: &str, hex: &str) {
        assert_eq!(string_to_key(password.as_bytes(), cell), hex.parse().unwrap(), "{password} in {cell}");
    }

    #[test]
    fn short_passwords_agree_with_libafsauthent() {
        check("secret", "example.com", "6d9ec8b06babeaf4");
        check("12345678", "example.com", "b35e9dd6e3d69bae");
        check("", "example.com", "8a68ec5ee99e6ed3");
    }

    #[test]
    fn long_passwords_agree_with_libafsauthent() {
        check("123456789", "example.com", "d910040d79834ffb");
        check("longpassword", "example.com", "76da1f92f10bc7e9");
    }

    #[test]
    fn the_spelling_of_the_cell_does_not_matter() {
        check("secret", "Example.COM", "6d9ec8b06babeaf4");
        check("longpassword", "EXAMPLE.com", "76da1f92f10bc7e9");
    }

    #[test]
    fn the_recorded_accounts_have_the_keys_of_their_passwords() {
        check("pw-afs", "test.example", "67ad61d0ec8598ea");
        check("pw-alice", "test.example", "ef649bcec8df739b");
        check("longpassword9", "test.example", "320807cda79d4c54");
        check("pw-lock", "test.example", "708a86ad6498c4c4");
        check("pw-expired", "test.example", "4fa7510b5e4c377f");
    }
}
