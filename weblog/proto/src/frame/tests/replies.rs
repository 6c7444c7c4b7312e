//! Replies under their seal.

use super::*;

#[test]
fn every_reply_comes_as_it_was_sealed() {
    for f in Failure::ALL {
        let packets = seal_reply(&ID_A, key(1), &Reply::Failed(f)).unwrap();
        assert!(matches!(open(ID_A, &key(1), &packets), Ok(Reply::Failed(g)) if g == f));
    }
    for number in 0..=u8::MAX {
        let known = crate::Membership::ALL.into_iter().find(|m| *m as u8 == number);
        match decode_body(&[4, number]) {
            Ok(Reply::Member(m)) => {
                let packets = seal_reply(&ID_A, key(1), &Reply::Member(m)).unwrap();
                assert!(matches!(open(ID_A, &key(1), &packets), Ok(Reply::Member(n)) if n == m));
            }
            other => assert!(known.is_none() && other.is_err(), "{number}: {other:?}"),
        }
    }
    let packets = seal_reply(&ID_A, key(1), &Reply::Pending { retry_ms: u32::MAX }).unwrap();
    assert!(matches!(open(ID_A, &key(1), &packets), Ok(Reply::Pending { retry_ms: u32::MAX })));
    let packets = seal_reply(&ID_A, key(1), &Reply::Pong).unwrap();
    assert!(matches!(open(ID_A, &key(1), &packets), Ok(Reply::Pong)));
}

#[test]
fn d19_a_reason_is_one_known_number_and_nothing_behind_it() {
    for code in 0..=u8::MAX {
        let known = Failure::ALL.into_iter().find(|f| *f as u8 == code);
        match decode_body(&[1, code]) {
            Ok(Reply::Failed(f)) => assert_eq!(Some(f), known, "{code}"),
            other => assert!(known.is_none() && other.is_err(), "{code}: {other:?}"),
        }
        assert!(decode_body(&[1, code, 0]).is_err(), "{code} and a byte");
    }
    assert_eq!(decode_body(&[1]).unwrap_err(), FrameError::Body, "no number");
}

#[test]
fn d22_a_refusal_is_its_number_and_brings_nothing_of_the_request_back() {
    for f in Failure::ALL {
        let packets = seal_reply(&ID_A, key(1), &Reply::Failed(f)).unwrap();
        let lengths: Vec<usize> = packets.iter().map(Vec::len).collect();
        assert_eq!(lengths, [PART_HEAD + 2 + TAG], "{f:?}");
    }
}

/// Original defect D42: tickets beyond 1,024 bytes could not pass.
#[test]
fn d42_the_largest_ticket_passes_and_a_larger_one_is_refused() {
    for n in [
        32, 56, 3_900, 3_910, 3_920, 3_930, 3_940, 3_950, 3_960, 3_970, 3_980, 3_990, 4_000, 4_070, 8_000,
        12_000,
    ] {
        let Reply::Granted(sent) = granted(n) else { panic!() };
        let packets = seal_reply(&ID_A, key(1), &Reply::Granted(sent.clone())).unwrap();
        assert!(packets.len() <= PARTS_MAX && packets.iter().all(|p| p.len() <= PACKET_MAX));
        let Ok(Reply::Granted(got)) = open(ID_A, &key(1), &packets) else { panic!("{n}") };
        assert_eq!(*got.token.ticket, *sent.token.ticket);
        assert_eq!((got.token.key.0, got.token.afs_id, got.token.kvno), ([0xF1; 8], i32::MIN, 256));
        assert_eq!((got.token.begin, got.token.end, got.token.cell), (5, i64::MAX, sent.token.cell));
        assert_eq!((got.valid_s, got.password_expires_days), (u32::MAX, Some(255)));
        assert_eq!(got.name, "n".repeat(63));
    }
    for n in [0, 31, 12_001, 40_000] {
        assert_eq!(seal_reply(&ID_A, key(1), &granted(n)).unwrap_err(), FrameError::Ticket, "{n}");
    }
}

#[test]
fn a_reply_is_of_no_use_to_another_asker() {
    let packets = seal_reply(&ID_A, key(1), &granted(500)).unwrap();
    assert_eq!(open(ID_A, &key(2), &packets).unwrap_err(), FrameError::Seal, "another key");
    assert_eq!(open(ID_B, &key(1), &packets).unwrap_err(), FrameError::Order, "another id: never whole");
    // The id rewritten, as a stray reply would have to be to be taken.
    let mut forged = packets;
    for p in &mut forged {
        p[HEAD..HEAD + ID].copy_from_slice(&ID_B.0);
    }
    assert_eq!(open(ID_B, &key(1), &forged).unwrap_err(), FrameError::Seal);
}

#[test]
fn no_secret_lies_open_in_the_packets() {
    let packets = seal_reply(&ID_A, key(1), &granted(12_000)).unwrap().concat();
    let Reply::Granted(g) = granted(12_000) else { panic!() };
    assert!(!packets.windows(8).any(|w| w == g.token.key.0 || w == &g.token.ticket[100..108]));
    assert_eq!(format!("{:?}", key(3)), "OneTimeKey(..)");
    assert_eq!(format!("{ID_A:?}"), "RequestId(07070707..)");
}

#[test]
fn parts_out_of_order_missing_or_doubled_are_refused() {
    let packets = seal_reply(&ID_A, key(1), &granted(12_000)).unwrap();
    assert_eq!(packets.len(), 3);
    let pick = |order: &[usize]| {
        let chosen: Vec<Vec<u8>> = order.iter().map(|i| packets[*i].clone()).collect();
        open(ID_A, &key(1), &chosen)
    };
    assert!(pick(&[0, 1, 2]).is_ok());
    for order in [&[0, 1][..], &[1], &[0, 2], &[0, 0, 1, 2], &[1, 0, 2], &[]] {
        assert_eq!(pick(order).unwrap_err(), FrameError::Order, "{order:?}");
    }
    let mut more = packets[0].clone();
    more[HEAD + ID + 1] = 4;
    assert_eq!(open(ID_A, &key(1), &[more, packets[1].clone()]).unwrap_err(), FrameError::Order);
    for (index, total) in [(0, 0), (3, 3), (0, 5), (255, 255)] {
        let mut p = packets[0].clone();
        p[HEAD + ID] = index;
        p[HEAD + ID + 1] = total;
        assert_eq!(parse_packet(&p), Err(FrameError::Order), "{index} of {total}");
    }
}

#[test]
fn a_hello_says_its_generation() {
    for g in [0, 1, u64::MAX] {
        let packet = hello(g);
        assert_eq!(parse_packet(&packet), Ok(Packet::Hello { generation: g }));
        assert!((0..HELLO_LEN).all(|n| parse_packet(&packet[..n]).is_err()));
    }
}

#[test]
fn ids_and_keys_are_drawn_anew_each_time() {
    let ((a, ka), (b, kb)) = (fresh().unwrap(), fresh().unwrap());
    assert_ne!(a, b);
    assert_ne!(ka.0, kb.0);
}
