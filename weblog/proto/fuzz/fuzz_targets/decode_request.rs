//! What a hostile worker writes into a request pipe. Whatever is taken is within its limits and can be sent again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weblog_proto::{Request, decode_request, encode_request};

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    // Also behind a good header, to get further.
    let mut packet = b"AFSW\x03\x01\0\0".to_vec();
    packet.extend_from_slice(bytes);
    if let (Ok(length), Some(field)) = (u16::try_from(bytes.len()), packet.get_mut(6..8)) {
        field.copy_from_slice(&length.to_le_bytes());
    }
    check(&packet);
});

/// Decodes one packet.
fn check(packet: &[u8]) {
    if let Ok((id, key, request)) = decode_request(packet) {
        let login = match &request {
            Request::GetToken(g) => Some(g),
            Request::Member(m) => {
                assert!((1..=63).contains(&m.group.len()) && m.group.bytes().all(|b| b.is_ascii_graphic()));
                Some(&m.login)
            }
            _ => None,
        };
        if let Some(g) = login {
            assert!((1..=63).contains(&g.user.len()) && !g.user.chars().any(char::is_control));
            assert!((1..=63).contains(&g.cell.len()));
            assert!(g.realm.as_ref().is_none_or(|r| (1..=63).contains(&r.len()) && r.is_ascii()));
            assert!((1..=255).contains(&g.password.expose().len()) && !g.password.expose().contains(&0));
        }
        let again = encode_request(&id, &key, &request).expect("what is taken can be sent");
        assert!(decode_request(&again).is_ok());
    }
}
