//! What VIOCGETTOK leaves in a buffer. Whatever is taken is what a VIOCSETTOK block at its start says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pag::block::{decode_gettok, encode_settok};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(token) = decode_gettok(bytes) {
        let block = encode_settok(&token).expect("what is taken can be written");
        assert!(block.len() <= bytes.len());
        let longer = [&block[..], bytes].concat();
        assert_eq!(decode_gettok(&longer).expect("what follows does not matter").ticket, token.ticket);
    }
});
