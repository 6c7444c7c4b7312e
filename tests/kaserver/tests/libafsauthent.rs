//! Debian's own libafsauthent logs in against the test kaserver: every outcome that a login can have.
//!
//! Each login is a process of its own, over 127.0.0.1; neither root nor a cell nor `/etc/openafs` is needed, only the
//! package libafsauthent2. `cargo xtask test` installs or unpacks it and runs these tests with `-- --ignored`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends by panicking"
)]

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kaserver::ticket::Ticket;
use kaserver::{Config, Kaserver, ServiceConfig, UserConfig, start, string_to_key};
use serde_json::{Value, json};

const CELL: &str = "test.example";
const LIFE_S: u32 = 36_000;

/// The cell of these tests.
fn config() -> Config {
    let mut config = Config::new(
        CELL,
        ServiceConfig::with_password("pw-afs"),
        ServiceConfig::with_key("7620cb29e980c280", 1),
    );
    let user = UserConfig::new;
    config.users = vec![
        user("alice", "pw-alice"),
        user("carol", "longpassword9"),
        UserConfig { instance: "admin".into(), ..user("alice", "pw-admin") },
        UserConfig { attempts: 2, ..user("eve", "pw-eve") },
        UserConfig { expired: true, ..user("old", "pw-old") },
        UserConfig { expires_days: 14, ..user("soon", "pw-soon") },
        UserConfig { no_tickets: true, ..user("robot", "pw-robot") },
        user("mallory", "pw-mallory"),
        user("eightlet", "pw-eight"),
    ];
    config
}

/// A server on a port of its own.
fn server() -> Kaserver {
    start(&config(), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), None).unwrap()
}

/// A login under way; killed when dropped.
struct Login(Child);

impl Drop for Login {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        self.0.wait().unwrap();
    }
}

impl Login {
    /// Starts one.
    fn start(server: &Kaserver, user: &str, password: &str, start_offset_s: i32) -> Self {
        let (name, instance) = user.split_once('.').unwrap_or((user, ""));
        let login = json!({
            "server": server.address().to_string(), "cell": CELL, "name": name, "instance": instance,
            "password": password, "life_s": LIFE_S, "start_offset_s": start_offset_s,
        });
        let mut child = Command::new(env!("CARGO_BIN_EXE_libafsauthent-login"))
            .env_clear()
            // Where OpenAFS is configured the library asks DNS about our cell; it need not wait for the answer.
            .env("RES_OPTIONS", "timeout:1 attempts:1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(login.to_string().as_bytes()).unwrap();
        Self(child)
    }

    /// Waits for its end, at most `limit`; `None` if it is still waiting then.
    fn wait(&mut self, limit: Duration) -> Option<Value> {
        let end = Instant::now() + limit;
        while self.0.try_wait().unwrap().is_none() {
            if Instant::now() > end {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut output = String::new();
        std::io::Read::read_to_string(self.0.stdout.as_mut().unwrap(), &mut output).unwrap();
        let line = output.lines().find_map(|line| line.strip_prefix("outcome "));
        Some(serde_json::from_str(line.unwrap_or_else(|| panic!("no outcome: {output}"))).unwrap())
    }
}

/// Logs in and waits for the outcome.
fn login(server: &Kaserver, user: &str, password: &str) -> Value {
    Login::start(server, user, password, 0).wait(Duration::from_secs(60)).expect("a login without end")
}

/// The step at which a login failed, and the code.
fn failure(outcome: &Value) -> (&str, i64) {
    (outcome["failed"].as_str().unwrap_or("nowhere"), outcome["code"].as_i64().unwrap())
}

fn unhex(digits: &Value) -> Vec<u8> {
    let digits = digits.as_str().unwrap();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// The ticket in a successful outcome, opened with the cell's key.
///
/// # Errors
/// The cell would not take it.
fn ticket(outcome: &Value) -> Result<Ticket, kaserver::Error> {
    assert_eq!(failure(outcome), ("nowhere", 0), "{outcome}");
    Ticket::open(&unhex(&outcome["ticket"]), &config().afs_key().unwrap().0)
}

#[test]
#[ignore = "needs Debian's libafsauthent2"]
fn short_and_long_passwords_and_instances_log_in() {
    let server = server();
    for (user, password) in [("alice", "pw-alice"), ("carol", "longpassword9"), ("alice.admin", "pw-admin")] {
        let outcome = login(&server, user, password);
        let ticket = ticket(&outcome).unwrap();
        let (name, instance) = user.split_once('.').unwrap_or((user, ""));
        assert_eq!(
            (ticket.name.as_slice(), ticket.instance.as_slice()),
            (name.as_bytes(), instance.as_bytes())
        );
        assert_eq!(ticket.session_key.bytes().as_slice(), unhex(&outcome["session_key"]));
        assert_eq!(ticket.end() - ticket.start, LIFE_S);
        assert_eq!((&outcome["kvno"], &outcome["days"]), (&json!(0), &json!(255)));
        assert_eq!(string_to_key(password.as_bytes(), CELL).bytes().as_slice(), unhex(&outcome["key"]));
        let stats = server.stats().user(user);
        assert_eq!((stats.authenticate, stats.get_ticket, stats.granted), (1, 1, 2));
    }
}

#[test]
#[ignore = "needs Debian's libafsauthent2"]
fn passwords_of_every_length_make_the_key_that_the_library_makes() {
    let server = server();
    for length in [0, 1, 7, 8, 9, 15, 16, 17, 64, 255] {
        let password: String = ('!'..='~').cycle().skip(length).take(length).collect();
        let outcome = login(&server, "alice", &password);
        assert_eq!(
            string_to_key(password.as_bytes(), CELL).bytes().as_slice(),
            unhex(&outcome["key"]),
            "{length}"
        );
        assert_eq!(failure(&outcome), ("authenticate", 180_490));
    }
    let umlauts = "pässwörd";
    let outcome = login(&server, "alice", umlauts);
    assert_eq!(string_to_key(umlauts.as_bytes(), CELL).bytes().as_slice(), unhex(&outcome["key"]));
}

#[test]
#[ignore = "needs Debian's libafsauthent2"]
fn refusals_reach_the_client_as_their_codes() {
    let server = server();
    for (user, password, code) in [
        ("nobody", "pw", 180_484),
        ("alice.nobody", "pw-alice", 180_484),
        ("alice", "wrong", 180_490),
        ("carol", "wrong-but-long", 180_490),
        ("old", "pw-old", 180_519),
        ("robot", "pw-robot", 180_508),
    ] {
        assert_eq!(failure(&login(&server, user, password)), ("authenticate", code), "{user}");
    }
    assert_eq!(server.stats().granted, 0);
}

#[test]
#[ignore = "needs Debian's libafsauthent2"]
fn the_days_until_the_password_expires_are_told() {
    let server = server();
    server.command("skew 60").unwrap();
    assert_eq!(login(&server, "soon", "pw-soon")["days"], 13);
}

#[test]
#[ignore = "needs Debian's libafsauthent2"]
fn too_many_failures_lock_even_the_right_password_out() {
    let server = server();
    for _ in 0..4 {
        assert_eq!(failure(&login(&server, "eve", "wrong")), ("authenticate", 180_490));
    }
    assert_eq!(failure(&login(&server, "eve", "pw-eve")), ("authenticate", 180_522));
    assert_eq!(server.stats().user("eve").refused[&180_522], 2, "the library asks once more");
    server.command("unlock eve").unwrap();
    assert_eq!(ticket(&login(&server, "eve", "pw-eve")).unwrap().name, b"eve");
}

#[test]
#[ignore = "needs Debian's libafsauthent2"]
fn clocks_that_differ_are_refused() {
    let server = server();
    for skew in ["901", "-1000"] {
        server.command(&format!("skew {skew}")).unwrap();
        assert_eq!(failure(&login(&server, "alice", "pw-alice")), ("authenticate", 180_514), "{skew}");
    }
    server.command("skew 600").unwrap();
    assert!(ticket(&login(&server, "alice", "pw-alice")).is_ok());
}

#[test]
#[ignore = "needs Debian's libafsauthent2"]
fn a_ticket_of_long_ago_is_refused_by_the_client() {
    let server = server();
    let outcome =
        Login::start(&server, "alice", "pw-alice", -2_000_000).wait(Duration::from_secs(60)).unwrap();
    assert_eq!(failure(&outcome), ("authenticate", 180_499));
}

#[test]
#[ignore = "needs Debian's libafsauthent2"]
fn older_interfaces_are_fallen_back_to() {
    let server = server();
    // With the old GetTicket the library takes an answer only if it need not be filled up to whole blocks: it compares
    // a negative number of surplus bytes without its sign. The answers to this user fit, those to alice do not.
    let user = "eightlet";
    for (interface, unknown) in [("v1", 1), ("old", 3)] {
        server.command("stats reset").unwrap();
        server.command(&format!("interface {interface}")).unwrap();
        let outcome = login(&server, user, "pw-eight");
        assert_eq!(ticket(&outcome).unwrap().name, user.as_bytes(), "{interface}");
        let stats = server.stats();
        assert_eq!((stats.authenticate, stats.get_ticket), (1, 1), "{interface}");
        // The library may ask again for what a server does not know, as if it had been busy.
        assert!(stats.unknown >= unknown, "{interface}: {stats:?}");
    }
    assert_eq!(failure(&login(&server, "alice", "pw-alice")), ("get-token", 180_499));
}

#[test]
#[ignore = "needs Debian's libafsauthent2"]
fn a_slow_answer_is_waited_for() {
    let server = server();
    server.command("mode delay 5000 for alice").unwrap();
    let begin = Instant::now();
    let mut slow = Login::start(&server, "alice", "pw-alice", 0);
    // Others are not held up by it.
    assert!(ticket(&login(&server, "carol", "longpassword9")).is_ok());
    assert!(begin.elapsed() < Duration::from_secs(4));
    let outcome = slow.wait(Duration::from_secs(60)).unwrap();
    assert!(ticket(&outcome).is_ok());
    assert!(begin.elapsed() >= Duration::from_secs(10), "two calls, five seconds each");
    let stats = server.stats();
    assert!(stats.duplicates + stats.pings > 0, "{stats:?}");
    assert_eq!(stats.user("alice").authenticate, 1);
}

#[test]
#[ignore = "needs Debian's libafsauthent2"]
fn lost_requests_are_sent_again() {
    let server = server();
    server.command("mode drop 1").unwrap();
    let begin = Instant::now();
    assert!(ticket(&login(&server, "alice", "pw-alice")).is_ok());
    assert!(begin.elapsed() > Duration::from_millis(500), "a request was lost");
    let stats = server.stats();
    assert_eq!((stats.silenced, stats.user("alice").authenticate), (1, 1));
}

#[test]
#[ignore = "needs Debian's libafsauthent2"]
fn a_silent_server_holds_its_client_until_it_is_killed() {
    let server = server();
    server.command("mode silent").unwrap();
    let mut login = Login::start(&server, "alice", "pw-alice", 0);
    assert!(login.wait(Duration::from_secs(6)).is_none());
    drop(login);
    let stats = server.stats();
    assert_eq!((stats.granted, stats.user("alice").authenticate), (0, 1));
    assert!(stats.silenced >= 2, "{stats:?}");
}

#[test]
#[ignore = "needs Debian's libafsauthent2; takes 35 seconds"]
fn a_silent_server_is_given_up_after_half_a_minute() {
    let server = server();
    server.command("mode silent").unwrap();
    assert_eq!(failure(&login(&server, "alice", "pw-alice")), ("authenticate", 180_498));
}

#[test]
#[ignore = "needs Debian's libafsauthent2; takes 40 seconds"]
fn a_server_that_only_answers_pings_is_never_given_up() {
    let server = server();
    server.command("mode hang").unwrap();
    let mut login = Login::start(&server, "alice", "pw-alice", 0);
    assert!(login.wait(Duration::from_secs(40)).is_none(), "longer than the library's patience with silence");
    assert!(server.stats().pings >= 2, "{:?}", server.stats());
}

#[test]
#[ignore = "needs Debian's libafsauthent2"]
fn a_ticket_under_a_foreign_key_looks_good_to_the_client() {
    let server = server();
    server.command("mode forge-key for alice").unwrap();
    let outcome = login(&server, "alice", "pw-alice");
    assert!(ticket(&outcome).is_err(), "only the cell notices");
    assert!(ticket(&login(&server, "carol", "longpassword9")).is_ok());
}

#[test]
#[ignore = "needs Debian's libafsauthent2"]
fn another_users_ticket_looks_good_to_the_client() {
    let server = server();
    server.command("mode forge-user mallory for alice").unwrap();
    let outcome = login(&server, "alice", "pw-alice");
    let ticket = ticket(&outcome).unwrap();
    assert_eq!(ticket.name, b"mallory");
    assert_eq!(ticket.session_key.bytes().as_slice(), unhex(&outcome["session_key"]), "and it can be used");
}

#[test]
#[ignore = "needs Debian's libafsauthent2"]
fn answers_that_prove_nothing_are_refused_by_the_client() {
    let server = server();
    for mode in ["forge-challenge", "forge-garbage"] {
        server.command(&format!("mode {mode}")).unwrap();
        assert_eq!(failure(&login(&server, "alice", "pw-alice")), ("authenticate", 180_499), "{mode}");
    }
}

#[test]
#[ignore = "needs Debian's libafsauthent2"]
fn a_changed_password_ends_the_old_one() {
    let server = server();
    server.command("password alice changed").unwrap();
    assert_eq!(failure(&login(&server, "alice", "pw-alice")), ("authenticate", 180_490));
    assert!(ticket(&login(&server, "alice", "changed")).is_ok());
}

#[test]
#[ignore = "needs Debian's libafsauthent2"]
fn many_logins_at_once_all_succeed() {
    let server = server();
    let mut logins: Vec<Login> = (0..20).map(|_| Login::start(&server, "alice", "pw-alice", 0)).collect();
    for login in &mut logins {
        assert!(ticket(&login.wait(Duration::from_secs(60)).unwrap()).is_ok());
    }
    assert_eq!(server.stats().user("alice").authenticate, 20);
}
