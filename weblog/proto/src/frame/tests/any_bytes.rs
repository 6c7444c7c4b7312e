//! Bytes at random, or changed at random.

use super::*;
use proptest::prelude::*;

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode_request(&bytes);
        let _ = parse_packet(&bytes);
        let _ = wire::get_request(&bytes);
        let _ = wire::get_reply(&bytes);
        let _ = decode_request(&raw_request(&bytes));
    }

    #[test]
    fn a_changed_request_is_refused_or_still_within_limits(at in 0usize..120, to in any::<u8>()) {
        let mut p = encode_request(&ID_A, &key(1), &get_token("alice", b"secret")).unwrap().to_vec();
        let at = at % p.len();
        p[at] = to;
        if let Ok((_, _, Request::GetToken(g))) = decode_request(&p) {
            prop_assert!((1..=63).contains(&g.user.len()));
            prop_assert!(!g.user.chars().any(char::is_control));
            prop_assert!((1..=255).contains(&g.password.expose().len()));
        }
    }

    #[test]
    fn a_changed_reply_never_opens(part in 0usize..3, at in 0usize..4096, to in any::<u8>()) {
        let mut packets = seal_reply(&ID_A, key(1), &granted(12_000)).unwrap();
        let p = &mut packets[part];
        let at = at % p.len();
        prop_assume!(p[at] != to);
        p[at] = to;
        prop_assert!(open(ID_A, &key(1), &packets).is_err());
    }
}
