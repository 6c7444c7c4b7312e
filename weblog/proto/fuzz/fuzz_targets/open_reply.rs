//! The body of a reply behind the seal: what a broker gone wrong may have sealed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weblog_proto::{Reply, frame};

fuzz_target!(|body: &[u8]| {
    if let Ok(Reply::Granted(g)) = frame::decode_body(body) {
        assert!((32..=12_000).contains(&g.token.ticket.len()));
    }
});
