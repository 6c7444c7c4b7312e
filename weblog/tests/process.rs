//! The real program, with real pipes, and no cell behind it: what it does when it starts, is told things, and ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of a test are test code as well, which clippy cannot see"
)]

use command_fds::{CommandFdExt, FdMapping};
use nix::sys::signal::{SigSet, SigmaskHow};
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use std::io::Read;
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use weblog_fds::{Board, BoardReader, LockTable, layout};
use weblog_proto::frame::{PACKET_MAX, fresh};
use weblog_proto::{
    BrokerConfig, CellConfig, Failure, GetToken, Lanes, Method, Password, Reply, Request, encode_request,
    pipes,
};
use zeroize::Zeroizing;

const PROGRAM: &str = env!("CARGO_BIN_EXE_weblog");
const LANES: usize = 3;
/// What is expected to happen happens in this time, also on a busy machine.
const IN_TIME: Duration = Duration::from_secs(30);

/// A broker, and everything that httpd and nanny would hold.
struct Broker {
    child: Child,
    lanes: Lanes,
    /// The workers' ends of the request pipes once more: for what no worker would write.
    requests: Vec<OwnedFd>,
    /// The broker's own ends, as the nanny keeps them: to start another broker.
    ends: Vec<OwnedFd>,
    control: OwnedFd,
    board: BoardReader,
    dir: tempfile::TempDir,
}

/// Whom it can run as here.
fn user() -> String {
    let uid = rustix::process::geteuid();
    if uid.is_root() { "nobody".to_owned() } else { format!("#{}", uid.as_raw()) }
}

fn seqpacket_pair() -> (OwnedFd, OwnedFd) {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

impl Broker {
    fn start() -> Self {
        Self::start_as(&user())
    }

    fn start_as(user: &str) -> Self {
        Self::start_by(Command::new(PROGRAM), user)
    }

    /// By a command that lacks the broker's arguments and, in the end, is the broker.
    fn start_by(mut command: Command, user: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // The broker's user must get at what lies there.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(dir.path(), mode).unwrap();
        let mut lanes = Vec::new();
        let mut requests = Vec::new();
        let mut ends = Vec::new();
        for _ in 0..LANES {
            let (lane, broker) = pipes().unwrap();
            requests.push(lane.request.try_clone().unwrap());
            lanes.push(lane);
            ends.push(broker.request);
            ends.push(broker.reply);
        }
        let board_fd = Board::create().unwrap();
        let board = BoardReader::map(Board::read_only(&board_fd).unwrap()).unwrap();
        let (control, theirs) = seqpacket_pair();
        let listener =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .unwrap();
        rustix::net::bind(&listener, &SocketAddrUnix::new(dir.path().join("sock")).unwrap()).unwrap();
        rustix::net::listen(&listener, 8).unwrap();
        let mut mappings = vec![
            FdMapping { parent_fd: theirs, child_fd: layout::CONTROL },
            FdMapping { parent_fd: board_fd, child_fd: layout::BOARD },
            FdMapping { parent_fd: listener, child_fd: layout::LISTENER },
        ];
        for (i, pair) in ends.chunks(2).enumerate() {
            for (fd, number) in pair.iter().zip([layout::lane_request(i), layout::lane_reply(i)]) {
                mappings.push(FdMapping { parent_fd: fd.try_clone().unwrap(), child_fd: number });
            }
        }
        command
            .args(["--lanes", &LANES.to_string(), "--user", user, "--generation", "7"])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.path().join("log")).unwrap())
            .fd_mappings(mappings)
            .unwrap();
        let child = command.spawn().unwrap();
        // Closes our copies of the broker's ends.
        drop(command);
        let locks = LockTable::create(LANES).unwrap();
        Self { child, lanes: Lanes::new(lanes, locks), requests, ends, control, board, dir }
    }

    fn tell(&self, message: &[u8]) {
        rustix::net::send(&self.control, message, SendFlags::NOSIGNAL).unwrap();
    }

    fn configure(&self, config: &BrokerConfig) {
        let mut message = vec![b'C'];
        message.extend(config.to_bytes().unwrap());
        self.tell(&message);
    }

    fn ask(&self, request: &Request) -> Reply {
        self.lanes.exchange(request, Instant::now() + IN_TIME).unwrap()
    }

    /// Asks until the answer is not "later".
    fn login(&self, request: &GetToken) -> Reply {
        let end = Instant::now() + IN_TIME;
        while Instant::now() < end {
            match self.ask(&Request::GetToken(request.clone())) {
                Reply::Pending { retry_ms } => std::thread::sleep(Duration::from_millis(retry_ms.into())),
                other => return other,
            }
        }
        panic!("no answer; log:\n{}", self.log());
    }

    fn failure(&self, request: &GetToken) -> Failure {
        match self.login(request) {
            Reply::Failed(failure) => failure,
            other => panic!("{other:?}; log:\n{}", self.log()),
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("sock")
    }

    /// A directory as /etc/openafs, for a cell with its server at `address`.
    fn conf_dir(&self, address: &str) -> String {
        let dir = self.dir.path().join("etc");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("ThisCell"), "example.com\n").unwrap();
        let db = format!(">example.com #test\n{address} #db.example.com\n");
        std::fs::write(dir.join("CellServDB"), db).unwrap();
        dir.to_str().unwrap().to_owned()
    }

    fn wait_exit(&mut self) -> ExitStatus {
        let end = Instant::now() + IN_TIME;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "it does not end; log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for its "ready".
    fn wait_ready(&self) {
        let mut buffer = [0u8; 16];
        let timeout = Some(IN_TIME);
        rustix::net::sockopt::set_socket_timeout(&self.control, rustix::net::sockopt::Timeout::Recv, timeout)
            .unwrap();
        let (n, _) = rustix::net::recv(&self.control, &mut buffer, RecvFlags::empty())
            .unwrap_or_else(|e| panic!("{e}; log:\n{}", self.log()));
        assert_eq!(buffer[..n], *b"R\x07\0\0\0\0\0\0\0");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn config(conf_dir: String) -> BrokerConfig {
    BrokerConfig {
        version: 1,
        conf_dir,
        cells: vec![CellConfig { name: "example.com".to_owned(), method: Method::Kaserver, realm: None }],
        realms: Vec::new(),
        keytab: None,
        services: Vec::new(),
        login_deadline_ms: 1_500,
        logins_per_cell: 2,
        authenticators: 2,
        cache_entries: 100,
        refused_ms: 1_000,
        limit_per_user: 5,
        limit_per_address: 50,
        limit_window_s: 60,
        log_level: 4,
    }
}

fn alice() -> GetToken {
    GetToken {
        user: "alice".into(),
        cell: "example.com".into(),
        realm: None,
        password: Password::new(Zeroizing::new(b"Sesame-open".to_vec())).unwrap(),
        address: IpAddr::from([192, 0, 2, 7]),
        token_lifetime_s: 0,
        cache_expiration_s: 0,
    }
}

/// A line of /proc/PID/status.
fn status_line(pid: u32, name: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find(|l| l.starts_with(name)).unwrap_or_else(|| panic!("no {name}"));
    line.split_once(':').unwrap().1.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// SIGHUP (1), SIGUSR1 (10) and SIGUSR2 (12) wait; while the C library makes a thread, for a moment, all others do, too.
fn must_block_signals(pid: u32) {
    let end = Instant::now() + IN_TIME;
    loop {
        let blocked = status_line(pid, "SigBlk");
        if blocked == "0000000000000a01" {
            return;
        }
        assert!(Instant::now() < end, "{blocked}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// It leaves no core, whatever `fs.suid_dumpable` says, and nobody of its uid may look into it; one that has just been started
/// makes sure of that first.
fn must_be_hidden(pid: u32) {
    use std::os::unix::fs::MetadataExt as _;
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find_map(|l| l.strip_prefix("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().collect::<Vec<_>>(), ["0", "0", "bytes"]);
    // What an undumpable process has in /proc is root's.
    let end = Instant::now() + IN_TIME;
    loop {
        let memory = std::fs::metadata(format!("/proc/{pid}/mem")).unwrap();
        let is = (memory.uid(), memory.mode() & 0o777);
        if is == (0, 0o600) {
            return;
        }
        assert!(Instant::now() < end, "{is:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn before_a_configuration_it_lets_askers_wait_and_grants_nothing() {
    let b = Broker::start();
    assert!(matches!(b.ask(&Request::Ping), Reply::Pong));
    assert!(matches!(b.ask(&Request::GetToken(alice())), Reply::Pending { .. }));
    assert_eq!((b.board.generation(), b.board.ready()), (7, false));
}

#[test]
fn it_ends_when_told_to_and_when_the_nanny_is_gone() {
    let mut b = Broker::start();
    assert!(matches!(b.ask(&Request::Ping), Reply::Pong));
    b.tell(b"Q");
    assert_eq!(b.wait_exit().code(), Some(0));
    let mut b = Broker::start();
    assert!(matches!(b.ask(&Request::Ping), Reply::Pong));
    let (other, _) = seqpacket_pair();
    b.control = other;
    assert_eq!(b.wait_exit().code(), Some(0), "{}", b.log());
}

#[test]
fn a_signal_ends_it_whatever_mask_it_was_started_with_and_one_for_a_restart_does_not() {
    use rustix::process::{Signal, kill_process};
    use std::os::unix::process::ExitStatusExt;
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).unwrap();
    let mut b = Broker::start();
    before.thread_set_mask().unwrap();
    assert!(matches!(b.ask(&Request::Ping), Reply::Pong));
    must_block_signals(b.child.id());
    let pid = rustix::process::Pid::from_child(&b.child);
    for signal in [Signal::HUP, Signal::USR1, Signal::USR2] {
        kill_process(pid, signal).unwrap();
    }
    assert!(matches!(b.ask(&Request::Ping), Reply::Pong));
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(b.wait_exit().signal(), Some(Signal::TERM.as_raw()));
}

#[test]
fn it_dies_with_the_thread_that_started_it() {
    let mut b = std::thread::spawn(|| {
        let b = Broker::start();
        assert!(matches!(b.ask(&Request::Ping), Reply::Pong));
        b
    })
    .join()
    .unwrap();
    let status = b.wait_exit();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{}", b.log());
}

#[test]
fn what_is_no_configuration_ends_it_with_78() {
    let mut b = Broker::start();
    b.tell(b"Cnonsense");
    assert_eq!(b.wait_exit().code(), Some(78));
    assert!(b.log().contains("the configuration cannot be read"), "{}", b.log());
}

#[test]
fn it_does_not_run_as_root() {
    let mut b = Broker::start_as("#0");
    assert_eq!(b.wait_exit().code(), Some(78));
    let mut b = Broker::start_as("root");
    assert_eq!(b.wait_exit().code(), Some(78));
    assert!(b.log().contains("must not run as root"), "{}", b.log());
}

#[test]
fn one_of_another_version_than_httpd_says_so_and_serves_nobody() {
    let start = |expected: &str| {
        let mut command = Command::new(PROGRAM);
        command.args(["--expects", expected]);
        Broker::start_by(command, &user())
    };
    let said = Command::new(PROGRAM).arg("--version").output().unwrap();
    let own = String::from_utf8(said.stdout).unwrap();
    let own = own.trim_end().strip_prefix(concat!("weblog ", env!("CARGO_PKG_VERSION"), " ")).unwrap();
    assert_eq!(own, weblog_proto::versions::of_broker());
    assert!(matches!(start(own).ask(&Request::Ping), Reply::Pong));
    for expected in [own.replace("frames=", "frames=9"), own.replace("control=", "control=9"), String::new()]
    {
        let mut b = start(&expected);
        assert_eq!(b.wait_exit().code(), Some(76), "{expected}");
        assert!(b.log().contains("of another version than the httpd that runs"), "{}", b.log());
        assert_eq!(b.board.generation(), 0, "nothing is touched");
    }
}

#[test]
fn a_missing_descriptor_is_noticed() {
    let mut child = Command::new(PROGRAM)
        .args(["--lanes", "1", "--user", &user(), "--generation", "1"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(71));
    assert!(log.contains("descriptor 3 is not usable"), "{log}");
}

#[test]
fn d34_it_has_no_privilege_and_only_its_own_descriptors() {
    let b = Broker::start();
    assert!(matches!(b.ask(&Request::Ping), Reply::Pong));
    let pid = b.child.id();
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status_line(pid, set), "0000000000000000", "{set}");
    }
    assert_eq!(status_line(pid, "NoNewPrivs"), "1");
    assert_eq!(status_line(pid, "Threads"), "1");
    must_be_hidden(pid);
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    assert_eq!(status_line(pid, "Uid"), [nobody.uid.to_string().as_str(); 4].join(" "));
    assert_eq!(status_line(pid, "Gid"), [nobody.gid.to_string().as_str(); 4].join(" "));
    assert_eq!(status_line(pid, "Groups"), "");
    assert_eq!(status_line(pid, "CapBnd"), "0000000000000000");
    assert_ne!(status_line(pid, "VmLck"), "0 kB");
    let mut fds: Vec<i32> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .map(|e| e.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .collect();
    fds.sort_unstable();
    // The board is mapped, its descriptor closed.
    let want: Vec<i32> = [0, 1, 2, 3, 5].into_iter().chain(layout::LANES..layout::end(LANES)).collect();
    assert_eq!(fds, want);
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    assert!(environment.is_empty());
}

#[test]
fn authenticators_that_cannot_start_make_logins_fail_and_not_hang() {
    let b = Broker::start();
    b.configure(&BrokerConfig { login_deadline_ms: 30_000, ..config("/nonexistent/openafs".into()) });
    // Not "overload", which it would be at the deadline.
    assert_eq!(b.failure(&alice()), Failure::Internal, "{}", b.log());
    assert!(matches!(b.ask(&Request::Ping), Reply::Pong));
    assert!(b.log().contains("authenticator died at its start"), "{}", b.log());
    assert!(!b.log().contains("Sesame"), "the password is in the log");
}

#[test]
fn names_and_cells_that_cannot_be_never_reach_an_authenticator() {
    let b = Broker::start();
    b.configure(&config("/nonexistent/openafs".into()));
    let other = GetToken { cell: "other.example".into(), ..alice() };
    assert_eq!(b.failure(&other), Failure::CellNotAllowed);
    let prefix = GetToken { cell: "exa".into(), ..alice() };
    assert_eq!(b.failure(&prefix), Failure::CellNotAllowed);
    // Empty ones, and those with control characters, fit into no frame.
    for name in ["al ice", "alice@example.com"] {
        let nobody = GetToken { user: name.into(), ..alice() };
        assert_eq!(b.failure(&nobody), Failure::NotAcceptable, "{name:?}");
    }
}

#[test]
fn administrators_see_and_revoke_and_strangers_cannot_hold_it_up() {
    let b = Broker::start();
    b.configure(&config("/nonexistent/openafs".into()));
    let client = |words: &[&str]| {
        let out = Command::new(PROGRAM).args(words).arg("--socket").arg(b.socket()).output().unwrap();
        (out.status.code(), String::from_utf8(out.stdout).unwrap())
    };
    // Somebody who connects and never says anything.
    let silent =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .unwrap();
    rustix::net::connect(&silent, &SocketAddrUnix::new(b.socket()).unwrap()).unwrap();
    let (code, text) = client(&["status"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("broker of generation 7") && text.contains("lanes: 3 of 3"), "{text}");
    let epoch = b.board.epoch();
    for (i, whom) in ["alice@example.com", "@example.com", "*"].into_iter().enumerate() {
        assert_eq!(client(&["forget", whom]).0, Some(0));
        assert_eq!(b.board.epoch(), epoch + 1 + i as u64, "{whom}");
    }
    let (code, text) = client(&["forget", "nonsense"]);
    assert_eq!(code, Some(1), "{text}");
    assert_eq!(b.board.epoch(), epoch + 3);
}

/// Asks on all lanes, in which nobody is on his way: a thread begins with the lane of its number.
fn all_lanes_answer(b: &Broker) {
    let answered = std::thread::scope(|scope| {
        let ask = || (0..5).all(|_| matches!(b.ask(&Request::Ping), Reply::Pong));
        let askers: Vec<_> = (0..4 * LANES).map(|_| scope.spawn(ask)).collect();
        askers.into_iter().all(|asker| asker.join().unwrap())
    });
    assert!(answered, "{}", b.log());
}

#[test]
fn a_reply_pipe_full_of_rubbish_holds_nobody_up() {
    let b = Broker::start();
    for reply in b.ends.iter().skip(1).step_by(2) {
        while rustix::io::write(reply, &[0u8; 4096]).is_ok() {}
    }
    all_lanes_answer(&b);
}

#[test]
fn d20_d30_packets_that_are_no_requests_are_dropped_and_counted_and_all_others_answered() {
    let mut b = Broker::start();
    let (id, key) = fresh().unwrap();
    let real = encode_request(&id, &key, &Request::GetToken(alice())).unwrap();
    let mut longer = real.to_vec();
    longer.resize(PACKET_MAX, b'x');
    let mut unknown = real.to_vec();
    unknown[5] = 9;
    let rubbish: [&[u8]; 6] =
        [b"x", b"AFSW", &real[..real.len() - 1], &longer, &unknown, &[0xff; PACKET_MAX]];
    for request in &b.requests {
        for packet in rubbish {
            rustix::io::write(request, packet).unwrap();
        }
    }
    all_lanes_answer(&b);
    assert_eq!(b.child.try_wait().unwrap(), None, "{}", b.log());
    let sent = LANES * rubbish.len();
    let out = Command::new(PROGRAM).arg("status").arg("--socket").arg(b.socket()).output().unwrap();
    let status = String::from_utf8(out.stdout).unwrap();
    assert!(status.contains(&format!("bad frames: {sent}, ")), "{status}");
    assert!(status.contains("lanes: 3 of 3"), "{status}");
    assert_eq!(b.log().matches("request dropped").count(), sent, "{}", b.log());
    assert!(!b.log().contains("Sesame"), "the password is in the log");
}

/// These need Debian's libafsauthent2; there is no cell, only an address where nothing or nobody answers.
mod with_library {
    use super::*;

    #[test]
    #[ignore = "needs libafsauthent2"]
    fn it_becomes_ready_and_a_cell_that_is_down_is_unreachable() {
        let b = Broker::start();
        let mut c = config(b.conf_dir("127.83.21.6"));
        c.login_deadline_ms = 30_000;
        b.configure(&c);
        b.wait_ready();
        assert!(b.board.ready());
        assert_eq!(b.failure(&alice()), Failure::CellUnreachable, "{}", b.log());
        // And at once the second time; on a busy machine perhaps a later one, since it is tried again after three seconds.
        let asked = |i| {
            let other = GetToken { user: format!("user{i}"), ..alice() };
            assert_eq!(b.failure(&other), Failure::CellUnreachable);
            !b.log().contains("not asked, no answer lately")
        };
        assert!(!(0..10).all(asked), "{}", b.log());
        assert!(!b.log().contains("Sesame"), "the password is in the log");
    }

    #[test]
    #[ignore = "needs libafsauthent2"]
    fn a_silent_cell_ends_at_the_deadline_and_its_authenticators_are_gone() {
        let _silent = UdpSocket::bind("127.83.21.7:7004").unwrap();
        let b = Broker::start();
        b.configure(&config(b.conf_dir("127.83.21.7")));
        b.wait_ready();
        let began = Instant::now();
        assert_eq!(b.failure(&alice()), Failure::Deadline, "{}", b.log());
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(1_300), "{took:?}");
        assert!(matches!(b.ask(&Request::Ping), Reply::Pong));
    }

    /// A program that finds name servers at this address, and only there.
    fn with_name_server(address: &str, files: &Path, program: &str) -> Command {
        std::fs::write(files.join("resolv.conf"), format!("nameserver {address}\n")).unwrap();
        std::fs::write(files.join("nsswitch.conf"), "hosts: dns\n").unwrap();
        let script = "for f in resolv.conf nsswitch.conf; do /bin/mount --bind $0/$f /etc/$f || exit 1; done; exec \"$@\"";
        let mut command = Command::new("/usr/bin/unshare");
        command.args(["--mount", "/bin/sh", "-c", script]).arg(files).arg(program);
        command
    }

    #[test]
    #[ignore = "needs libafsauthent2"]
    fn no_name_server_is_asked_so_silent_ones_hold_nobody_up() {
        let resolver = UdpSocket::bind("127.83.21.53:53").unwrap();
        resolver.set_nonblocking(true).unwrap();
        let kaserver = UdpSocket::bind("127.83.21.10:7004").unwrap();
        kaserver.set_read_timeout(Some(IN_TIME)).unwrap();
        let files = tempfile::tempdir().unwrap();
        let b = Broker::start_by(with_name_server("127.83.21.53", files.path(), PROGRAM), &user());
        let mut c = config(b.conf_dir("127.83.21.10"));
        c.cells.push(CellConfig {
            name: "elsewhere.example".to_owned(),
            method: Method::Kaserver,
            realm: None,
        });
        c.login_deadline_ms = 30_000;
        b.configure(&c);
        b.wait_ready();
        // A cell that is not in CellServDB.
        let stranger = GetToken { cell: "elsewhere.example".into(), ..alice() };
        assert_eq!(b.failure(&stranger), Failure::CellUnreachable, "{}", b.log());
        // One that is there, by a name that nobody resolves beside its address.
        assert!(matches!(b.ask(&Request::GetToken(alice())), Reply::Pending { .. }));
        kaserver.recv(&mut [0; 1500]).unwrap_or_else(|e| panic!("no login began: {e}; log:\n{}", b.log()));
        let question = resolver.recv(&mut [0; 1500]);
        assert_eq!(question.unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "a name server was asked");
    }

    #[test]
    #[ignore = "needs libafsauthent2"]
    fn a_new_configuration_makes_it_read_cellservdb_again() {
        let b = Broker::start();
        let mut c = config(b.conf_dir("127.83.21.11"));
        c.login_deadline_ms = 30_000;
        b.configure(&c);
        b.wait_ready();
        assert_eq!(b.failure(&alice()), Failure::CellUnreachable, "{}", b.log());
        // Another server, and nothing else of the configuration changes.
        let corrected = UdpSocket::bind("127.83.21.12:7004").unwrap();
        corrected.set_read_timeout(Some(IN_TIME)).unwrap();
        b.conf_dir("127.83.21.12");
        c.version += 1;
        b.configure(&c);
        let bob = GetToken { user: "bob".into(), ..alice() };
        assert!(matches!(b.ask(&Request::GetToken(bob)), Reply::Pending { .. }));
        corrected.recv(&mut [0; 1500]).unwrap_or_else(|e| panic!("not asked: {e}; log:\n{}", b.log()));
    }

    #[test]
    #[ignore = "needs libafsauthent2"]
    fn a_login_that_hangs_is_replaced_before_it_ends() {
        let _silent = UdpSocket::bind("127.83.21.9:7004").unwrap();
        let b = Broker::start();
        let mut c = config(b.conf_dir("127.83.21.9"));
        c.login_deadline_ms = 30_000;
        b.configure(&c);
        b.wait_ready();
        let began = Instant::now();
        assert!(matches!(b.ask(&Request::GetToken(alice())), Reply::Pending { .. }));
        loop {
            let out = Command::new(PROGRAM).args(["status", "--socket"]).arg(b.socket()).output().unwrap();
            let text = String::from_utf8(out.stdout).unwrap();
            if text.contains("authenticators: 2 ready, 0 starting, 1 busy") {
                break;
            }
            assert!(began.elapsed() < IN_TIME, "{text}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    #[ignore = "needs libafsauthent2"]
    fn authenticators_die_with_the_broker() {
        let mut b = Broker::start();
        b.configure(&config(b.conf_dir("127.83.21.8")));
        b.wait_ready();
        let children = |pid: u32| -> Vec<u32> {
            let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
            text.split_whitespace().map(|w| w.parse().unwrap()).collect()
        };
        let authenticators = children(b.child.id());
        assert!(!authenticators.is_empty());
        for pid in &authenticators {
            assert_eq!(status_line(*pid, "NoNewPrivs"), "1");
            assert_eq!(status_line(*pid, "CapPrm"), "0000000000000000");
            must_block_signals(*pid);
            must_be_hidden(*pid);
        }
        b.child.kill().unwrap();
        b.wait_exit();
        let end = Instant::now() + IN_TIME;
        for pid in authenticators {
            while PathBuf::from(format!("/proc/{pid}/exe")).read_link().is_ok() {
                assert!(Instant::now() < end, "authenticator {pid} has outlived its broker");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}
