//! The program `test-kaserver`: starts without polling, is controlled while it runs, leaves nothing behind.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends by panicking")]

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use kaserver::rx::{ABORT, DATA, Header};
use kaserver::{Config, Control, Error, ServiceConfig, UserConfig, start};

/// A running program; killed when dropped.
struct Program {
    child: Child,
    address: SocketAddr,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        self.child.wait().unwrap();
    }
}

fn config() -> Config {
    let mut config = Config::new(
        "test.example",
        ServiceConfig::with_password("pw-afs"),
        ServiceConfig::with_password("pw-tgs"),
    );
    config.users = vec![UserConfig::new("alice", "pw-alice")];
    config
}

fn command(directory: &Path, bind: &str) -> Command {
    std::fs::write(directory.join("config.json"), serde_json::to_string(&config()).unwrap()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_test-kaserver"));
    command.arg("--bind").arg(bind).arg("--config").arg(directory.join("config.json"));
    command.arg("--control").arg(directory.join("control")).arg("--end-with-stdin");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(directory: &Path) -> Program {
    let mut child = command(directory, "127.0.0.1:0").spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim_end().strip_prefix("ready ").unwrap().parse().unwrap();
    Program { child, address }
}

/// Sends a request for an operation that does not exist and gives the type of what comes back, if anything does.
fn knock(server: SocketAddr, call: u32) -> Option<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let header = Header {
        epoch: 1,
        cid: 4,
        call,
        seq: 1,
        serial: 1,
        kind: DATA,
        flags: 5,
        user_status: 0,
        security: 0,
        spare: 0,
        service: 731,
    };
    let mut buffer = [0; 100];
    // Packets may be lost, as anywhere.
    let length = (0..10).find_map(|_| {
        socket.send_to(&header.encode(&99_u32.to_be_bytes()), server).unwrap();
        socket.recv(&mut buffer).ok()
    })?;
    Header::decode(buffer.get(..length)?).map(|(header, _)| header.kind)
}

fn ends(program: &mut Program) -> ExitStatus {
    drop(program.child.stdin.take());
    program.child.wait().unwrap()
}

#[test]
fn it_listens_when_it_says_ready_and_ends_with_its_input() {
    let directory = tempfile::tempdir().unwrap();
    let mut program = run(directory.path());
    assert_eq!(knock(program.address, 1), Some(ABORT));
    assert!(ends(&mut program).success());
    assert!(!directory.path().join("control").exists());
}

#[test]
fn it_is_controlled_by_lines() {
    let directory = tempfile::tempdir().unwrap();
    let program = run(directory.path());
    let mut control = Control::connect(&directory.path().join("control")).unwrap();
    assert_eq!(control.command("mode silent for alice").unwrap(), "ok");
    assert!(
        matches!(control.command("mode odd"), Err(Error::Refused(reason)) if reason.contains("delay MS"))
    );
    assert_eq!(control.stats().unwrap().unknown, 0);
    knock(program.address, 1);
    // A second visitor while the first stays.
    let mut other = Control::connect(&directory.path().join("control")).unwrap();
    assert_eq!(other.stats().unwrap().unknown, 1);
    assert_eq!(control.command("stats reset").unwrap(), "ok");
    assert_eq!(other.stats().unwrap().unknown, 0);
}

#[test]
fn a_control_socket_left_behind_is_replaced_but_not_one_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = run(directory.path());
    let second = command(directory.path(), "127.0.0.1:0").output().unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8(second.stderr).unwrap().contains("control socket"));
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    assert!(directory.path().join("control").exists());
    let mut third = run(directory.path());
    assert!(ends(&mut third).success());
}

#[test]
fn what_it_cannot_start_with_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let mut bad = command(directory.path(), "127.0.0.1:0");
    std::fs::write(directory.path().join("config.json"), "{ \"cell\": 1 }").unwrap();
    let output = bad.output().unwrap();
    assert!(!output.status.success() && output.stdout.is_empty());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("config.json") && text.contains("line 1"), "{text}");
}

#[test]
fn a_given_port_is_answered_by_the_plain_word() {
    // At an address of its own, so that no other test takes the port before the program does.
    let free = UdpSocket::bind("127.0.0.2:0").unwrap().local_addr().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut child = command(directory.path(), &free.to_string()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!(errors, "");
}

#[test]
fn the_library_runs_it_in_a_thread() {
    // At an address of its own, so that no other test takes the port when it is free.
    let server = start(&config(), "127.0.0.3:0".parse().unwrap(), None).unwrap();
    assert_eq!(knock(server.address(), 1), Some(ABORT));
    assert_eq!(server.stats().unknown, 1);
    assert!(server.command("mode odd").is_err());
    let address = server.address();
    server.stop().unwrap();
    // A program that another test is just starting has a copy of the socket until it is executed.
    let until = Instant::now() + Duration::from_secs(10);
    while let Err(e) = UdpSocket::bind(address) {
        assert!(Instant::now() < until, "{e}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
