//! Packets that nobody should send: the server ignores them, and never panics.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends by panicking"
)]

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use kaserver::kauth::{Answer, Call, NoCall, open_reply_body};
use kaserver::rx::{ABORT, ACK, DATA, Header};
use kaserver::server::{Now, Server};
use kaserver::ticket::Ticket;
use kaserver::{Config, Key, KeySource, ServiceConfig, UserConfig};
use proptest::prelude::*;

const NOW: u32 = 1_795_311_470;

/// The requests of the recorded logins.
static RECORDED: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let unhex = |text: &str| {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    };
    include_str!("../vectors/login.jsonl")
        .lines()
        .skip(1)
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|packet| packet["direction"] == "request")
        .map(|packet| unhex(packet["hex"].as_str().unwrap()))
        .collect()
});

fn server() -> Server {
    // Keys instead of passwords: making keys is slow, and these tests make thousands of servers.
    let afs = ServiceConfig::with_key("67ad61d0ec8598ea", 0);
    let user =
        |name, key: &str| UserConfig { key: KeySource::Key(key.to_owned()), ..UserConfig::new(name, "") };
    let mut config = Config::new("test.example", afs, ServiceConfig::with_key("7620cb29e980c280", 1));
    config.users = vec![user("alice", "ef649bcec8df739b"), user("carol", "320807cda79d4c54")];
    Server::new(&config, NOW).unwrap()
}

/// What a new server answers to one packet.
fn answers(packet: &[u8]) -> Vec<Vec<u8>> {
    let from = SocketAddr::from(([192, 0, 2, 1], 7001));
    let now = Now { unix: NOW, uptime: Duration::ZERO };
    server().receive(from, packet, now).into_iter().map(|reply| reply.bytes).collect()
}

/// Checks that a reply is owed: only a whole request of a client for a known service that decodes gets data.
fn check(packet: &[u8], reply: &[u8]) {
    let (asked, body) = Header::decode(packet).expect("a reply to what has no header");
    let (given, _) = Header::decode(reply).unwrap();
    assert!(asked.flags & 1 != 0 && asked.call != 0 && asked.is_whole_request(), "{asked:?}");
    assert_eq!((given.epoch, given.cid, given.call), (asked.epoch, asked.cid, asked.call));
    assert_ne!(given.kind, ACK);
    match (given.kind, Call::decode(asked.service, body)) {
        (DATA, call) => assert!(call.is_ok(), "data for a call that does not decode"),
        (ABORT, Err(NoCall::UnknownOperation)) => {
            assert!(asked.security != 0 || reply.ends_with(&(-455_i32).to_be_bytes()))
        }
        (ABORT, Err(NoCall::UnknownService)) => assert!(reply.ends_with(&(-2_i32).to_be_bytes())),
        (ABORT, Err(NoCall::Malformed)) => assert_ne!(asked.security, 0, "an answer to what does not decode"),
        (ABORT, Ok(_)) => {}
        (kind, _) => panic!("a packet of type {kind}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_get_no_answer(packet in prop::collection::vec(any::<u8>(), 0..1500)) {
        prop_assert!(answers(&packet).is_empty());
    }

    #[test]
    fn random_bodies_under_a_good_header_get_no_ticket(
        body in prop::collection::vec(any::<u8>(), 0..1500), at in any::<prop::sample::Index>()
    ) {
        let packet = [&RECORDED[at.index(RECORDED.len())][..28], &body].concat();
        for reply in answers(&packet) {
            check(&packet, &reply);
            prop_assert_eq!(Header::decode(&reply).unwrap().0.kind, ABORT);
        }
    }

    #[test]
    fn changed_packets_get_what_they_ask_for_or_nothing(
        at in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        keep in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut packet = RECORDED[at.index(RECORDED.len())].clone();
        for (place, value) in changes {
            let place = place.index(packet.len());
            packet[place] = value;
        }
        if cut {
            packet.truncate(keep.index(packet.len()));
        }
        for reply in answers(&packet) {
            check(&packet, &reply);
        }
    }

    #[test]
    fn a_server_that_saw_garbage_still_serves(
        garbage in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20)
    ) {
        let mut server = server();
        let from = SocketAddr::from(([192, 0, 2, 1], 7001));
        let now = Now { unix: NOW, uptime: Duration::ZERO };
        for packet in &garbage {
            server.receive(from, packet, now);
        }
        let replies = server.receive(from, &RECORDED[0], now);
        prop_assert_eq!(Header::decode(&replies[0].bytes).unwrap().0.kind, DATA);
    }

    #[test]
    fn nothing_sealed_opens_by_chance(bytes in prop::collection::vec(any::<u8>(), 0..300), key in any::<[u8; 8]>()) {
        let key = Key::new(key);
        if let Ok(ticket) = Ticket::open(&bytes, &key) {
            // One in millions looks right; then it is also whole.
            prop_assert!(!ticket.name.is_empty() && !ticket.server_name.is_empty());
        }
        prop_assert!(Answer::open(&bytes, &key).is_none());
        let _no_panic = open_reply_body(&bytes);
    }

    #[test]
    fn commands_never_panic(line in "\\PC{0,60}") {
        let _either = server().command(&line);
    }
}

#[test]
fn every_prefix_of_a_request_is_ignored() {
    for packet in RECORDED.iter().filter(|packet| packet[20] == DATA) {
        for length in 0..packet.len() {
            assert!(answers(&packet[..length]).is_empty(), "{length}");
        }
        assert_eq!(answers(packet).len(), 1);
    }
}
