//! Requests as they are sent, or refused.

use super::*;

#[test]
fn a_request_comes_as_it_was_sent() {
    let longest = [b'p', b'\n'].repeat(200)[..255].to_vec();
    for (user, password) in [("alice", b"x".as_slice()), (&"u".repeat(63), &longest), ("é", b"\xff\x01\n\n")]
    {
        let packet = encode_request(&ID_A, &key(1), &get_token(user, password)).unwrap();
        assert!(packet.len() <= PACKET_MAX);
        let (id, k, request) = decode_request(&packet).unwrap();
        assert_eq!((id, *k.0), (ID_A, [1; KEY]));
        let Request::GetToken(g) = request else { panic!("another request") };
        assert_eq!((g.user.as_str(), g.password.expose(), g.cell.as_str()), (user, password, "example.com"));
        assert_eq!(g.realm.as_deref(), Some("OTHER.EXAMPLE"));
        assert_eq!((g.token_lifetime_s, g.cache_expiration_s), (36_000, u32::MAX));
        assert_eq!(g.address.to_string(), "2001:db8::1");
    }
    let packet = encode_request(&ID_B, &key(1), &Request::Ping).unwrap();
    assert!(matches!(decode_request(&packet), Ok((ID_B, _, Request::Ping))));
}

#[test]
fn a_service_comes_as_it_was_sent_and_only_if_it_can_be_one() {
    let who = pag::Principal::new(&format!("http/{}", "w".repeat(58)), Cell::new(&"c".repeat(63)).unwrap());
    let who = who.unwrap().of_realm(pag::Realm::new(&"R".repeat(63)).unwrap());
    let sent = crate::Service { who, key_file: format!("/{}", "k".repeat(254)) };
    let packet = encode_request(&ID_A, &key(1), &Request::Service(sent.clone())).unwrap();
    let Ok((_, _, Request::Service(got))) = decode_request(&packet) else { panic!("another request") };
    assert_eq!(got, sent);
    for path in ["", "keytab", "/a\nb", &format!("/{}", "k".repeat(255))] {
        let wrong = crate::Service { key_file: path.to_owned(), ..sent.clone() };
        let refused = encode_request(&ID_A, &key(1), &Request::Service(wrong));
        assert_eq!(refused.err(), Some(FrameError::Name), "{path:?}");
    }
}

#[test]
fn a_question_for_a_group_comes_as_it_was_sent_and_only_for_what_can_be_one() {
    let Request::GetToken(mut login) = get_token(&"u".repeat(63), &[b'p'; 255]) else { panic!() };
    (login.cell, login.realm) = ("c".repeat(63), Some("R".repeat(63)));
    let ask = |group: &str| {
        let member = crate::Member { login: login.clone(), group: group.to_owned() };
        encode_request(&ID_A, &key(1), &Request::Member(member))
    };
    for group in ["alice:friends", "system:authuser@other.example", &"g".repeat(63)] {
        let packet = ask(group).unwrap();
        let Ok((_, _, Request::Member(got))) = decode_request(&packet) else { panic!("another request") };
        assert_eq!((got.group.as_str(), &got.login.user), (group, &login.user));
        assert_eq!(got.login.password.expose(), [b'p'; 255]);
        for n in 0..packet.len() {
            assert!(decode_request(&packet[..n]).is_err(), "{n} bytes");
        }
    }
    for group in ["", "a b", "a\nb", "a\0", "Staff", "gr\u{fc}n", &"g".repeat(64)] {
        assert_eq!(ask(group).err(), Some(FrameError::Name), "{group:?}");
        let mut body = b"\x03\x05alice\x0bexample.com\0\x01p\0\x01\x02\x03\x04\0\0".to_vec();
        body.push(u8::try_from(group.len()).unwrap());
        body.extend_from_slice(group.as_bytes());
        assert_eq!(decode_request(&raw_request(&body)).unwrap_err(), FrameError::Name, "{group:?}");
    }
}

#[test]
fn names_outside_their_limits_are_neither_sent_nor_taken() {
    let check = |user: &str, cell: &str| {
        let Request::GetToken(mut g) = get_token("x", b"p") else { panic!() };
        g.user = user.to_owned();
        g.cell = cell.to_owned();
        encode_request(&ID_A, &key(1), &Request::GetToken(g)).err()
    };
    assert_eq!(check("alice", "example.com"), None);
    let (long_user, long_cell) = ("u".repeat(64), "c".repeat(64));
    for (user, cell) in [
        ("", "example.com"),
        (long_user.as_str(), "example.com"),
        ("a\nexample.org", "example.com"),
        ("a\0", "example.com"),
        ("a\u{85}", "example.com"),
        ("alice", ""),
        ("alice", "Example.com"),
        ("alice", "example.com\n"),
        ("alice", long_cell.as_str()),
    ] {
        assert_eq!(check(user, cell), Some(FrameError::Name), "{user:?} {cell:?}");
        // What a worker's code refuses to send, a hostile worker sends all the same.
        let mut body = vec![0, u8::try_from(user.len()).unwrap()];
        body.extend_from_slice(user.as_bytes());
        body.push(u8::try_from(cell.len()).unwrap());
        body.extend_from_slice(cell.as_bytes());
        body.extend_from_slice(&[0, 1, b'p', 0, 1, 2, 3, 4, 0, 0]);
        assert_eq!(decode_request(&raw_request(&body)).unwrap_err(), FrameError::Name, "{user:?} {cell:?}");
    }
}

#[test]
fn a_realm_that_is_none_is_neither_sent_nor_taken() {
    let long = "R".repeat(64);
    for realm in ["", "A B", "A@B", "A\n", long.as_str()] {
        let Request::GetToken(mut g) = get_token("x", b"p") else { panic!() };
        g.realm = Some(realm.to_owned());
        assert_eq!(
            encode_request(&ID_A, &key(1), &Request::GetToken(g)).err(),
            Some(FrameError::Name),
            "{realm:?}"
        );
        let mut body = b"\0\x05alice\x0bexample.com\x01".to_vec();
        body.push(u8::try_from(realm.len()).unwrap());
        body.extend_from_slice(realm.as_bytes());
        body.extend_from_slice(&[1, b'p', 0, 1, 2, 3, 4, 0, 0]);
        assert_eq!(decode_request(&raw_request(&body)).unwrap_err(), FrameError::Name, "{realm:?}");
    }
}

/// A body with this password and otherwise in order.
fn body_with_password(length: &[u8], password: &[u8]) -> Vec<u8> {
    let mut body = b"\0\x05alice\x0bexample.com\0".to_vec();
    body.extend_from_slice(length);
    body.extend_from_slice(password);
    body.extend_from_slice(&[0, 1, 2, 3, 4, 0, 0]);
    body
}

#[test]
fn passwords_outside_their_limits_are_not_taken() {
    assert!(decode_request(&raw_request(&body_with_password(&[3], b"a\nb"))).is_ok());
    let long = [b'p'; 256];
    for (length, password) in
        [(&[0][..], &b""[..]), (&[3], b"a\0b"), (&[251, 0, 1], &long), (&[251, 255, 0], &long[..255])]
    {
        let got = decode_request(&raw_request(&body_with_password(length, password)));
        if password.len() == 255 {
            assert!(got.is_ok());
        } else {
            assert_eq!(got.unwrap_err(), FrameError::Password);
        }
    }
}

#[test]
fn a_length_beyond_the_packet_is_refused_without_memory_for_it() {
    for length in [
        &[250][..],
        &[251, 255, 255],
        &[252, 255, 255, 255, 255],
        &[253, 255, 255, 255, 255, 255, 255, 255, 255],
    ] {
        let got = decode_request(&raw_request(&body_with_password(length, b"p")));
        assert_eq!(got.unwrap_err(), FrameError::Body, "{length:?}");
    }
}

/// Original defect D20: a request that fills the buffer.
#[test]
fn d20_truncated_extended_and_oversized_packets_are_refused() {
    let packet = encode_request(&ID_A, &key(1), &get_token("alice", b"secret")).unwrap();
    for n in 0..packet.len() {
        assert!(decode_request(&packet[..n]).is_err(), "{n} bytes");
    }
    let mut longer = packet.to_vec();
    longer.push(0);
    assert_eq!(decode_request(&longer).unwrap_err(), FrameError::Length);
    put_head(Kind::Request, &mut longer).unwrap();
    assert_eq!(decode_request(&longer).unwrap_err(), FrameError::Length, "trailing byte in the body");
    longer.resize(PACKET_MAX, 0);
    put_head(Kind::Request, &mut longer).unwrap();
    assert_eq!(decode_request(&longer).unwrap_err(), FrameError::Length);
    longer.push(0);
    assert_eq!(decode_request(&longer).unwrap_err(), FrameError::TooLong);
    assert_eq!(put_head(Kind::Request, &mut longer), Err(FrameError::TooLong));
}

#[test]
fn other_magic_version_and_kind_are_refused() {
    let packet = encode_request(&ID_A, &key(1), &Request::Ping).unwrap();
    let with = |at: usize, b: u8| {
        let mut p = packet.to_vec();
        p[at] = b;
        decode_request(&p).err()
    };
    assert_eq!(with(0, b'X'), Some(FrameError::Magic));
    assert_eq!(with(4, 1), Some(FrameError::Version(1)));
    assert_eq!(with(5, 9), Some(FrameError::Kind(9)));
    assert_eq!(with(5, 2), Some(FrameError::Kind(2)));
    assert_eq!(parse_packet(&packet), Err(FrameError::Kind(1)), "a request in a reply pipe");
    assert_eq!(decode_request(&hello(3)).unwrap_err(), FrameError::Kind(3));
}
