//! Single DES in the modes that Kerberos 4 and kauth use: ECB, PCBC with the key as IV, and the CBC checksum.
//!
//! The block cipher is the `des` crate's; the chaining is here, since nobody else wants PCBC any more.

use std::fmt;
use std::str::FromStr;

use ::des::Des;
use ::des::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use zeroize::Zeroize;

use crate::error::Error;

/// Bytes of a DES block.
pub const BLOCK: usize = 8;

/// A DES key; wiped on drop, hidden from `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; BLOCK]);

impl Key {
    /// Takes eight bytes as they are.
    #[must_use]
    pub fn new(bytes: [u8; BLOCK]) -> Self {
        Self(bytes)
    }

    /// The eight bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; BLOCK] {
        &self.0
    }

    /// Sets the low bit of each byte so that every byte has odd parity.
    #[must_use]
    pub fn with_odd_parity(mut self) -> Self {
        for byte in &mut self.0 {
            *byte = (*byte & 0xfe) | u8::from((*byte & 0xfe).count_ones() % 2 == 0);
        }
        self
    }

    /// Draws a key with odd parity that is not weak.
    ///
    /// # Errors
    /// [`Error::NoRandom`] if the kernel gives none.
    pub fn random() -> Result<Self, Error> {
        loop {
            let mut bytes = [0; BLOCK];
            getrandom::fill(&mut bytes).map_err(|_| Error::NoRandom)?;
            let key = Self(bytes).with_odd_parity();
            bytes.zeroize();
            if ::des::weak_key_test(&key.0).is_ok() {
                return Ok(key);
            }
        }
    }

    /// The cipher under this key.
    fn cipher(&self) -> Des {
        Des::new(&Array(self.0))
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl FromStr for Key {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut bytes = [0; BLOCK];
        if text.len() != 2 * BLOCK || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(Error::BadKey);
        }
        for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
            let digits = text.get(at..at + 2).ok_or(Error::BadKey)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| Error::BadKey)?;
        }
        Ok(Self(bytes))
    }
}

/// One block of zeroes less the bytes of `chunk`: the last block of a text that is no whole number of blocks.
fn block(chunk: &[u8]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    for (to, from) in block.iter_mut().zip(chunk) {
        *to = *from;
    }
    block
}

/// Bytewise exclusive or.
fn xor(a: [u8; BLOCK], b: [u8; BLOCK]) -> [u8; BLOCK] {
    (u64::from_ne_bytes(a) ^ u64::from_ne_bytes(b)).to_ne_bytes()
}

/// Enciphers one block.
fn encrypt(cipher: &Des, block: [u8; BLOCK]) -> [u8; BLOCK] {
    let mut block = Array(block);
    cipher.encrypt_block(&mut block);
    block.0
}

/// Deciphers one block.
fn decrypt(cipher: &Des, block: [u8; BLOCK]) -> [u8; BLOCK] {
    let mut block = Array(block);
    cipher.decrypt_block(&mut block);
    block.0
}

/// Enciphers one block by itself.
#[must_use]
pub fn ecb_seal(key: &Key, text: [u8; BLOCK]) -> [u8; BLOCK] {
    encrypt(&key.cipher(), text)
}

/// Deciphers one block by itself.
#[must_use]
pub fn ecb_open(key: &Key, text: [u8; BLOCK]) -> [u8; BLOCK] {
    decrypt(&key.cipher(), text)
}

/// Enciphers in PCBC mode with the key as IV; the text is filled with zeroes to whole blocks.
#[must_use]
pub fn pcbc_seal(key: &Key, text: &[u8]) -> Vec<u8> {
    let cipher = key.cipher();
    let mut chain = key.0;
    let mut sealed = Vec::with_capacity(text.len().next_multiple_of(BLOCK));
    for clear in text.chunks(BLOCK).map(block) {
        let out = encrypt(&cipher, xor(clear, chain));
        chain = xor(clear, out);
        sealed.extend_from_slice(&out);
    }
    sealed
}

/// Deciphers what [`pcbc_seal`] made; `None` if `sealed` is no whole number of blocks.
#[must_use]
pub fn pcbc_open(key: &Key, sealed: &[u8]) -> Option<Vec<u8>> {
    if !sealed.len().is_multiple_of(BLOCK) {
        return None;
    }
    let cipher = key.cipher();
    let mut chain = key.0;
    let mut clear = Vec::with_capacity(sealed.len());
    for input in sealed.chunks(BLOCK).map(block) {
        let out = xor(decrypt(&cipher, input), chain);
        chain = xor(out, input);
        clear.extend_from_slice(&out);
    }
    Some(clear)
}

/// The last block of a CBC encryption, the text filled with zeroes to whole blocks.
#[must_use]
pub fn cbc_cksum(key: &Key, iv: [u8; BLOCK], text: &[u8]) -> [u8; BLOCK] {
    let cipher = key.cipher();
    text.chunks(BLOCK).map(block).fold(iv, |chain, clear| encrypt(&cipher, xor(clear, chain)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(hex: &str) -> Key {
        hex.parse().unwrap()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn ecb_agrees_with_the_textbook_example() {
        let sealed = ecb_seal(&key("133457799bbcdff1"), 0x0123_4567_89ab_cdef_u64.to_be_bytes());
        assert_eq!(hex(&sealed), "85e813540f0ab405");
        assert_eq!(ecb_open(&key("133457799bbcdff1"), sealed), 0x0123_4567_89ab_cdef_u64.to_be_bytes());
    }

    #[test]
    fn pcbc_agrees_with_libhcrypto() {
        let clear: Vec<u8> = (0..0x18).collect();
        let sealed = pcbc_seal(&key("6d9ec8b06babeaf4"), &clear);
        assert_eq!(hex(&sealed), "b2b8f98c9eb23365e71f478042f03a72acc080fe2884cc6d");
        assert_eq!(pcbc_open(&key("6d9ec8b06babeaf4"), &sealed).unwrap(), clear);
    }

    #[test]
    fn pcbc_fills_up_on_sealing_and_refuses_parts_of_blocks_on_opening() {
        let sealed = pcbc_seal(&key("6d9ec8b06babeaf4"), b"123456789");
        assert_eq!(sealed.len(), 16);
        assert_eq!(pcbc_open(&key("6d9ec8b06babeaf4"), &sealed).unwrap(), b"123456789\0\0\0\0\0\0\0");
        assert!(pcbc_open(&key("6d9ec8b06babeaf4"), &sealed[..15]).is_none());
        assert!(pcbc_seal(&key("6d9ec8b06babeaf4"), b"").is_empty());
    }

    #[test]
    fn parity_becomes_odd() {
        assert_eq!(
            hex(Key::new([0, 1, 2, 3, 0xfe, 0xff, 0x80, 0x7f]).with_odd_parity().bytes()),
            "01010202fefe807f"
        );
    }

    #[test]
    fn drawn_keys_have_odd_parity() {
        let drawn = Key::random().unwrap();
        assert!(drawn.bytes().iter().all(|byte| byte.count_ones() % 2 == 1));
        assert_ne!(drawn, Key::random().unwrap());
    }

    #[test]
    fn keys_are_sixteen_hex_digits() {
        for bad in [
            "",
            "6d9ec8b06babeaf",
            "6d9ec8b06babeaf4a",
            "6d9ec8b06babeafg",
            "+d9ec8b06babeaf4",
            "6d9ec8b06babeé0",
        ] {
            assert!(bad.parse::<Key>().is_err(), "{bad}");
        }
        assert_eq!(format!("{:?}", key("6D9EC8B06BABEAF4")), "Key(..)");
    }
}
