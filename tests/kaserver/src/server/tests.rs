//! What the server answers, packet by packet.

use super::*;
use crate::config::{ServiceConfig, UserConfig};
use crate::kauth::{
    ANSWER_MAX, AUTHENTICATION, Answer, Authenticate, GetTicket, Shape, TICKET_GRANTING, Target,
    open_reply_body, seal_request, seal_times,
};
use crate::rx::{LAST_PACKET, REQUEST_ACK};
use crate::string_to_key::string_to_key;
use crate::ticket::Ticket;

const NOW: u32 = 0x6b02_476e;
const CELL: &str = "test.example";

/// A server and a client that sends it packets.
struct Bench {
    server: Server,
    uptime: Duration,
}

impl Bench {
    fn new() -> Self {
        let mut config = Config::new(
            CELL,
            ServiceConfig::with_password("pw-afs"),
            ServiceConfig::with_key("7620cb29e980c280", 1),
        );
        config.users = ["alice", "bob", "mallory"]
            .map(|name| UserConfig::new(name, &format!("pw-{name}")))
            .into_iter()
            .collect();
        Self { server: Server::new(&config, NOW).unwrap(), uptime: Duration::ZERO }
    }

    fn send_from(&mut self, port: u16, header: Header, body: &[u8]) -> Vec<Vec<u8>> {
        let from = SocketAddr::from(([192, 0, 2, 1], port));
        let replies = self.server.receive(from, &header.encode(body), Now { unix: NOW, uptime: self.uptime });
        assert!(replies.iter().all(|reply| reply.to == from));
        replies.into_iter().map(|reply| reply.bytes).collect()
    }

    fn send(&mut self, header: Header, body: &[u8]) -> Vec<Vec<u8>> {
        self.send_from(7001, header, body)
    }

    fn mode(&mut self, line: &str) {
        assert_eq!(self.server.command(&format!("mode {line}")), Ok("ok".to_owned()));
    }

    /// A login as far as the ticket-granting ticket.
    fn authenticate(&mut self, user: &str, call: u32) -> Vec<Vec<u8>> {
        self.send(data(call, AUTHENTICATION), &request(user))
    }

    /// A whole login; the ticket for the file servers, opened with their key.
    ///
    /// # Errors
    /// [`Error::BadTicket`] if the cell would not take it.
    fn ticket(&mut self, user: &str) -> Result<Ticket, Error> {
        let key = string_to_key(format!("pw-{user}").as_bytes(), CELL);
        let (tgt, _) = answer(&self.authenticate(user, 1)[0], &key).unwrap();
        let call = GetTicket {
            version: Version::V1,
            kvno: tgt.kvno,
            auth_domain: b"TEST.EXAMPLE".to_vec(),
            ticket: tgt.ticket.clone(),
            name: b"afs".to_vec(),
            instance: Vec::new(),
            times: seal_times(NOW, NOW + 3600, &tgt.session_key),
            answer_max: ANSWER_MAX,
        };
        let replies = self.send(data(2, TICKET_GRANTING), &Call::GetTicket(call).encode());
        let (answer, shape) = answer(&replies[0], &tgt.session_key).unwrap();
        assert_eq!(shape, Shape::GetTicket);
        assert_eq!(answer.names[0], user.as_bytes());
        Ticket::open(&answer.ticket, &string_to_key(b"pw-afs", CELL))
    }
}

fn data(call: u32, service: u16) -> Header {
    Header {
        epoch: 7,
        cid: 0x1000,
        call,
        seq: 1,
        serial: call,
        kind: DATA,
        flags: CLIENT_INITIATED | LAST_PACKET,
        user_status: 0,
        security: 0,
        spare: 0,
        service,
    }
}

fn ping(call: u32) -> Header {
    Header {
        kind: ACK,
        seq: 0,
        serial: 77,
        flags: CLIENT_INITIATED | REQUEST_ACK | 32,
        ..data(call, AUTHENTICATION)
    }
}

fn request(user: &str) -> Vec<u8> {
    let key = string_to_key(format!("pw-{user}").as_bytes(), CELL);
    Call::Authenticate(Authenticate {
        version: Version::V2,
        name: user.into(),
        instance: Vec::new(),
        start: NOW,
        end: NOW + 3600,
        request: seal_request(NOW, Target::TicketGranting, &key),
        answer_max: ANSWER_MAX,
    })
    .encode()
}

fn answer(reply: &[u8], key: &Key) -> Option<(Answer, Shape)> {
    let (header, body) = Header::decode(reply)?;
    assert_eq!((header.kind, header.flags, header.seq), (DATA, LAST_PACKET, 1));
    Answer::open(open_reply_body(body)?.1, key)
}

fn abort_code(reply: &[u8]) -> i32 {
    let (header, body) = Header::decode(reply).unwrap();
    assert_eq!((header.kind, header.flags, header.seq), (ABORT, 0, 0));
    i32::from_be_bytes(body.try_into().unwrap())
}

fn ack_reason(reply: &[u8]) -> u8 {
    let (header, body) = Header::decode(reply).unwrap();
    assert_eq!((header.kind, header.flags & CLIENT_INITIATED), (ACK, 0));
    body[16]
}

#[test]
fn unknown_services_operations_and_securities_are_aborted() {
    let mut bench = Bench::new();
    assert_eq!(abort_code(&bench.send(data(1, 733), &request("alice"))[0]), -2);
    assert_eq!(abort_code(&bench.send(data(1, TICKET_GRANTING), &request("alice"))[0]), -455);
    assert_eq!(abort_code(&bench.send(data(2, AUTHENTICATION), &99_u32.to_be_bytes())[0]), -455);
    let rxkad = Header { security: 2, ..data(3, AUTHENTICATION) };
    assert_eq!(abort_code(&bench.send(rxkad, &request("alice"))[0]), -2);
    assert_eq!(bench.server.stats().authenticate, 0);
}

#[test]
fn a_request_that_comes_again_gets_the_same_bytes() {
    let mut bench = Bench::new();
    let first = bench.authenticate("alice", 1);
    assert_eq!(bench.authenticate("alice", 1), first);
    let abort = bench.authenticate("nobody", 2);
    assert_eq!(bench.authenticate("nobody", 2), abort);
    let stats = bench.server.stats();
    assert_eq!((stats.authenticate, stats.duplicates, stats.user("alice").granted), (2, 2, 1));
}

#[test]
fn calls_differ_by_peer_epoch_connection_channel_and_number() {
    let mut bench = Bench::new();
    let first = bench.authenticate("alice", 1);
    let header = data(1, AUTHENTICATION);
    let mut seen = vec![first];
    for other in [
        Header { epoch: 8, ..header },
        Header { cid: 0x1004, ..header },
        Header { cid: 0x1001, ..header },
        Header { call: 2, ..header },
    ] {
        seen.push(bench.send(other, &request("alice")));
    }
    seen.push(bench.send_from(7002, header, &request("alice")));
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 6);
    assert_eq!(bench.server.stats().authenticate, 6);
}

#[test]
fn a_call_before_the_latest_is_over() {
    let mut bench = Bench::new();
    bench.authenticate("alice", 5);
    assert!(bench.authenticate("alice", 4).is_empty());
}

#[test]
fn serial_numbers_rise_on_a_connection() {
    let mut bench = Bench::new();
    let serials: Vec<u32> =
        (1..4).map(|call| Header::decode(&bench.authenticate("nobody", call)[0]).unwrap().0.serial).collect();
    assert_eq!(serials, [1, 2, 3]);
}

#[test]
fn packets_that_are_no_requests_are_ignored() {
    let mut bench = Bench::new();
    let good = data(1, AUTHENTICATION);
    for header in [
        Header { flags: LAST_PACKET, ..good },
        Header { flags: CLIENT_INITIATED, ..good },
        Header { call: 0, ..good },
        Header { seq: 2, ..good },
        Header { kind: 0, ..good },
        Header { kind: ABORT, ..good },
        Header { kind: 5, ..good },
        Header { kind: 8, ..good },
        Header { kind: 13, ..good },
        Header { kind: 255, ..good },
        ping(1),
    ] {
        assert!(bench.send(header, &request("alice")).is_empty(), "{header:?}");
    }
    let body = request("alice");
    for length in 0..body.len() {
        assert!(bench.send(good, &body[..length]).is_empty(), "{length}");
    }
    assert_eq!(bench.server.stats().ignored, 11 + body.len() as u64);
    assert_eq!(bench.send(good, &body).len(), 1, "and none of them stands in the way of a good one");
}

#[test]
fn a_slow_answer_comes_when_it_is_due_and_pings_are_acknowledged_meanwhile() {
    let mut bench = Bench::new();
    bench.mode("delay 500");
    assert!(bench.authenticate("alice", 1).is_empty());
    assert_eq!(bench.server.next_due(), Some(Duration::from_millis(500)));
    assert_eq!(ack_reason(&bench.send(ping(1), &[])[0]), 7);
    assert_eq!(ack_reason(&bench.authenticate("alice", 1)[0]), 2);
    assert!(bench.server.due(Duration::from_millis(499)).is_empty());
    let due = bench.server.due(Duration::from_millis(500));
    assert!(answer(&due[0].bytes, &string_to_key(b"pw-alice", CELL)).is_some());
    assert_eq!(bench.server.next_due(), None);
    assert_eq!(bench.authenticate("alice", 1), [due[0].bytes.clone()]);
    assert_eq!(bench.server.stats().pings, 1);
}

#[test]
fn who_still_pings_after_the_answer_gets_it_again() {
    let mut bench = Bench::new();
    let reply = bench.authenticate("alice", 1);
    let replies = bench.send(ping(1), &[]);
    assert_eq!(ack_reason(&replies[0]), 7);
    assert_eq!(replies[1..], reply);
    let not_a_ping = Header { flags: CLIENT_INITIATED, ..ping(1) };
    assert!(bench.send(not_a_ping, &[]).is_empty());
}

#[test]
fn dropped_requests_never_came() {
    let mut bench = Bench::new();
    bench.mode("drop 2 for alice");
    assert!(bench.authenticate("alice", 1).is_empty());
    assert!(bench.send(ping(1), &[]).is_empty());
    assert!(bench.authenticate("alice", 1).is_empty());
    assert_eq!(bench.authenticate("alice", 1).len(), 1);
    let stats = bench.server.stats();
    assert_eq!((stats.authenticate, stats.silenced), (1, 3));
}

#[test]
fn silence_is_total_and_only_for_whom_it_is_meant() {
    let mut bench = Bench::new();
    assert_eq!(bench.authenticate("alice", 1).len(), 1);
    bench.mode("silent for alice");
    assert!(bench.authenticate("alice", 1).is_empty());
    assert!(bench.send(ping(1), &[]).is_empty());
    assert!(bench.authenticate("alice", 2).is_empty());
    assert_eq!(bench.authenticate("bob", 3).len(), 1);
    bench.mode("normal");
    assert_eq!(bench.authenticate("alice", 4).len(), 1);
}

#[test]
fn a_hanging_server_answers_nothing_but_pings() {
    let mut bench = Bench::new();
    bench.mode("hang");
    assert!(bench.authenticate("alice", 1).is_empty());
    assert_eq!(ack_reason(&bench.send(ping(1), &[])[0]), 7);
    assert_eq!(ack_reason(&bench.authenticate("alice", 1)[0]), 2);
    assert_eq!(bench.server.next_due(), None);
}

#[test]
fn tickets_end_soon_on_request() {
    let mut bench = Bench::new();
    bench.mode("ends-in 20 for alice");
    let ticket = bench.ticket("alice").unwrap();
    assert_eq!(ticket.end(), NOW + 20);
    assert!(ticket.start < NOW, "a ticket counts in units of five minutes");
}

#[test]
fn forged_tickets_are_another_keys_or_another_users() {
    let mut bench = Bench::new();
    assert_eq!(bench.ticket("alice").unwrap().name, b"alice");
    let mut bench = Bench::new();
    bench.mode("forge-key for alice");
    assert!(bench.ticket("alice").is_err());
    let mut bench = Bench::new();
    bench.mode("forge-user mallory for alice");
    assert_eq!(bench.ticket("alice").unwrap().name, b"mallory");
    let mut bench = Bench::new();
    bench.mode("forge-user mallory for alice");
    assert_eq!(bench.ticket("bob").unwrap().name, b"bob");
}

#[test]
fn forged_answers_prove_nothing() {
    let key = string_to_key(b"pw-alice", CELL);
    let mut bench = Bench::new();
    let good = answer(&bench.authenticate("alice", 1)[0], &key).unwrap();
    assert_eq!(good.0.challenge, NOW + 1);
    bench.mode("forge-challenge");
    assert_eq!(answer(&bench.authenticate("alice", 2)[0], &key).unwrap().0.challenge, NOW + 2);
    bench.mode("forge-garbage");
    assert_eq!(answer(&bench.authenticate("alice", 3)[0], &key), None);
}

#[test]
fn commands_do_what_they_say() {
    let mut bench = Bench::new();
    assert_eq!(bench.server.command("skew 1000"), Ok("ok".into()));
    assert_eq!(abort_code(&bench.authenticate("alice", 1)[0]), code::KACLOCKSKEW);
    assert_eq!(bench.server.command("skew 0"), Ok("ok".into()));
    assert_eq!(bench.server.command("password alice other"), Ok("ok".into()));
    assert_eq!(abort_code(&bench.authenticate("alice", 2)[0]), code::KABADREQUEST);
    assert_eq!(bench.server.command("interface v1"), Ok("ok".into()));
    assert_eq!(abort_code(&bench.authenticate("bob", 3)[0]), UNKNOWN_OPERATION);
    let stats: Stats = serde_json::from_str(&bench.server.command("stats").unwrap()).unwrap();
    assert_eq!(stats.user("alice").refused, [(code::KABADREQUEST, 1), (code::KACLOCKSKEW, 1)].into());
    assert_eq!(bench.server.command("stats reset"), Ok("ok".into()));
    assert_eq!(bench.server.stats(), &Stats::default());
    assert_eq!(bench.server.command("granted"), Ok("granted".into()), "refusals grant nothing");
    assert_eq!(
        bench.server.take_log(),
        ["Authenticate alice: refused with 180514", "Authenticate alice: refused with 180490"]
    );
}

#[test]
fn what_was_granted_can_be_asked_for() {
    let mut bench = Bench::new();
    bench.ticket("alice").unwrap();
    let line = bench.server.command("granted").unwrap();
    assert_eq!(line.split(' ').count(), 3, "one for each of the two steps: {line}");
    let key = string_to_key(b"pw-bob", CELL);
    let (tgt, _) = answer(&bench.authenticate("bob", 9)[0], &key).unwrap();
    let ticket: String = tgt.ticket.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(bench.server.command("granted").unwrap().ends_with(&format!(":{ticket}")));
}

#[test]
fn commands_that_make_no_sense_say_what_would() {
    let mut bench = Bench::new();
    for bad in [
        "",
        "what",
        "mode",
        "mode odd",
        "mode delay",
        "mode silent for",
        "mode silent for alice bob",
        "mode forge-user nobody",
        "unlock nobody",
        "unlock",
        "password alice",
        "password nobody pw",
        "user nobody",
        "user no.body pw",
        "skew late",
        "interface v3",
        "stats now",
    ] {
        assert!(bench.server.command(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn old_connections_are_forgotten() {
    let mut bench = Bench::new();
    for epoch in 1..=2000 {
        let header = Header { epoch, ..data(1, AUTHENTICATION) };
        assert_eq!(bench.send(header, &99_u32.to_be_bytes()).len(), 1);
    }
    assert_eq!(bench.server.connections.len(), CONNECTIONS_MAX);
    assert_eq!(bench.server.ages.len(), CONNECTIONS_MAX);
    let latest = Header { epoch: 2000, ..data(1, AUTHENTICATION) };
    bench.send(latest, &99_u32.to_be_bytes());
    assert_eq!(bench.server.stats().duplicates, 1);
}
