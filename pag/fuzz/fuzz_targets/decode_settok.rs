//! A VIOCSETTOK block. Whatever is taken can be written again, but for the flags.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pag::block::{decode_settok, encode_rxrpc_v1, encode_settok, encode_xdr};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(token) = decode_settok(bytes) {
        let again = encode_settok(&token).expect("what is taken can be written");
        assert_eq!(again.len(), bytes.len());
        assert!(encode_xdr(&token).is_ok() && encode_rxrpc_v1(&token).is_ok());
        assert_eq!(decode_settok(&again).expect("what is written can be taken").ticket, token.ticket);
    }
});
