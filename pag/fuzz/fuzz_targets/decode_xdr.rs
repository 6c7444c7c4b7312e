//! The XDR form, as VIOC_GETTOK2 or a key gives it. Whatever is taken can be written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pag::block::{decode_xdr, encode_xdr};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(token) = decode_xdr(bytes) {
        let again = encode_xdr(&token).expect("what is taken can be written");
        assert_eq!(again.len(), bytes.len());
        assert_eq!(decode_xdr(&again).expect("what is written can be taken").key.0, token.key.0);
    }
});
