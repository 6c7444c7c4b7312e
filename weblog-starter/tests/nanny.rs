//! The nanny with real processes: this program also plays the broker and the httpd parent.
//!
//! The role is in the arguments: `--generation` makes it a broker, `parent` an httpd parent, anything else runs the tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::zombie_processes,
    reason = "a test with its own main is no #[test]"
)]

use command_fds::{CommandFdExt, FdMapping};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd, RawFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, getppid, kill_process, pidfd_open, pidfd_send_signal};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use weblog_fds::{Board, BoardReader, BoardWriter, layout};

/// Lanes in these tests.
const LANES: usize = 2;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|a| a == "--generation") {
        return exit_code_of_another_version().map_or_else(|| play_broker(&args), ExitCode::from);
    }
    if args.first().is_some_and(|a| a == "parent") {
        play_parent(Path::new(&args[1]));
        return ExitCode::SUCCESS;
    }
    let tests: [(&str, fn()); 17] = [
        ("broker_finds_its_descriptors_arguments_and_empty_environment", broker_finds_its_place),
        (
            "killed_broker_is_replaced_with_a_higher_generation_and_the_last_configuration",
            killed_broker_is_replaced,
        ),
        ("many_killed_brokers_never_end_the_nanny", many_killed_brokers),
        ("killed_nanny_takes_its_broker_with_it", killed_nanny_takes_its_broker),
        ("dead_parent_takes_both_although_others_hold_its_socket", dead_parent_takes_both),
        ("closed_control_socket_ends_both", closed_socket_ends_both),
        ("quit_and_sigterm_end_both", quit_ends_both),
        ("broker_that_ignores_quit_is_killed", stubborn_broker_is_killed),
        ("broker_that_shows_no_sign_of_life_is_replaced", silent_broker_is_replaced),
        ("broker_that_talks_without_a_pause_does_not_keep_it_from_its_end", talkative_broker_holds_nobody),
        ("refused_configuration_waits_for_another_one", refused_configuration_waits),
        ("program_of_another_version_leaves_the_one_before_at_work", other_version_steps_back),
        ("generation_rises_over_nannies_whatever_the_clock_says", generation_rises_over_nannies),
        ("program_that_others_may_change_is_not_started", untrusted_program_is_not_started),
        ("signals_for_httpd_s_group_do_not_reach_it", own_session_and_ignored_signals),
        ("d31_whoever_is_in_the_group_that_it_was_started_in_survives_its_end", group_survives),
        ("privileges_that_it_does_not_need_are_gone", privileges_are_gone),
    ];
    let filter = args.iter().find(|a| !a.starts_with('-')).cloned().unwrap_or_default();
    if args.iter().any(|a| a == "--list") {
        tests.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in tests.iter().filter(|(name, _)| name.contains(&filter)) {
        let ok = std::panic::catch_unwind(test).is_ok();
        println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
        *if ok { &mut passed } else { &mut failed } += 1;
    }
    // As libtest has it, so that these are counted, too.
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {result}. {passed} passed; {failed} failed; 0 ignored");
    ExitCode::from(u8::from(failed > 0))
}

// --- the broker's role ---

/// Stands at the end of a program that [plays](other_version) another version, with its exit code behind it.
const OTHER_VERSION: &[u8] = b"of another version: ";

/// A copy of this program that ends at once with this exit code.
fn other_version(code: u8) -> Vec<u8> {
    let this = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    [&this, OTHER_VERSION, &[code]].concat()
}

/// What this very file ends with, whatever lies under its name by now.
fn exit_code_of_another_version() -> Option<u8> {
    let this = std::fs::File::open("/proc/self/exe").unwrap();
    let mut end = [0; OTHER_VERSION.len() + 1];
    let at = this.metadata().unwrap().len() - u64::try_from(end.len()).unwrap();
    this.read_exact_at(&mut end, at).unwrap();
    end.strip_prefix(OTHER_VERSION).map(|code| code[0])
}

/// Says who it is on lane 0, says that it is ready, and does as the configuration says.
fn play_broker(args: &[String]) -> ExitCode {
    let control = weblog_fds::take(layout::CONTROL).unwrap();
    let say = weblog_fds::take(layout::lane_reply(0)).unwrap();
    let mut fds: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| std::fs::read_link(format!("/proc/self/fd/{fd}")).is_ok_and(|l| !l.ends_with("fd")))
        .collect();
    fds.sort_unstable();
    let environment = std::env::vars_os().count();
    let text = format!("{}|{}|{fds:?}|{environment}", std::process::id(), args.join(" "));
    rustix::io::write(&say, text.as_bytes()).unwrap();
    let board = BoardWriter::map(weblog_fds::take(layout::BOARD).unwrap()).unwrap();
    board.beat();
    let generation: u64 = args.last().unwrap().parse().unwrap();
    let ready = [&b"R"[..], &generation.to_le_bytes()].concat();
    send(&control, &ready, SendFlags::empty()).unwrap();
    let mut stubborn = false;
    loop {
        let mut buffer = [0u8; 65536];
        let n = recv(&control, &mut buffer[..], RecvFlags::empty()).map_or(0, |(n, _)| n);
        let said = format!("heard {}", String::from_utf8_lossy(&buffer[..n]));
        let _ = rustix::io::write(&say, said.as_bytes());
        match &buffer[..n] {
            b"Cbad" => return ExitCode::from(78),
            b"Cstubborn" => stubborn = true,
            b"Cbeat" => beat(board),
            b"Cboard" => board.set_ready(true),
            b"Ctalk" => talk(&control, &ready, &say),
            b"Q" if !stubborn => return ExitCode::SUCCESS,
            b"" => return ExitCode::SUCCESS, // the nanny is gone
            _ => {}
        }
    }
}

/// Beats from now on, as a broker whose loop turns.
fn beat(board: BoardWriter) {
    std::thread::spawn(move || {
        loop {
            board.beat();
            std::thread::sleep(Duration::from_millis(weblog_fds::BEAT_MS));
        }
    });
}

/// Says the same so often while the nanny stands still, and that it has.
fn talk(control: &OwnedFd, message: &[u8], say: &OwnedFd) {
    let nanny = getppid().unwrap();
    kill_process(nanny, Signal::STOP).unwrap();
    let stat = format!("/proc/{}/stat", nanny.as_raw_nonzero());
    while !std::fs::read_to_string(&stat).unwrap().contains(") T ") {
        std::thread::sleep(Duration::from_millis(1));
    }
    for _ in 0..100 {
        send(control, message, SendFlags::empty()).unwrap();
    }
    rustix::io::write(say, b"talked").unwrap();
}

// --- the httpd parent's side ---

/// What the httpd parent holds.
struct Httpd {
    control: OwnedFd,
    board: OwnedFd,
    board_reader: BoardReader,
    /// The worker's ends: reply pipes to read, request pipes to hold open.
    replies: Vec<OwnedFd>,
    _requests: Vec<OwnedFd>,
    /// The broker's ends, for nannies.
    ends: Vec<(RawFd, OwnedFd)>,
    nanny: Child,
}

/// The broker's program for these tests: a copy of this one, where only its owner can change it.
struct Program {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

fn program() -> Program {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weblog");
    std::fs::copy(std::env::current_exe().unwrap(), &path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    Program { _dir: dir, path }
}

/// A nanny as httpd starts it. The socket is the nanny's end of the control pair.
fn start_nanny(broker: &Path, control: OwnedFd, ends: &[(RawFd, OwnedFd)]) -> Child {
    nanny(broker, control, ends).spawn().unwrap()
}

/// The command of [`start_nanny`].
fn nanny(broker: &Path, control: OwnedFd, ends: &[(RawFd, OwnedFd)]) -> Command {
    let mut mappings = vec![FdMapping { parent_fd: control, child_fd: layout::CONTROL }];
    for (n, fd) in ends {
        mappings.push(FdMapping { parent_fd: fd.try_clone().unwrap(), child_fd: *n });
    }
    // Something that it must not hand on.
    mappings.push(FdMapping { parent_fd: rustix::pipe::pipe().unwrap().0, child_fd: 50 });
    let mut command = Command::new(env!("CARGO_BIN_EXE_weblog-starter"));
    command.args(["--lanes", "2", "--user", "#12345", "--expects", "a=1 b=2", "--broker"]).arg(broker);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    if std::env::var_os("NANNY_LOG").is_none() {
        command.stderr(Stdio::null());
    }
    command.fd_mappings(mappings).unwrap();
    command
}

/// What is expected to happen happens in this time, also on a busy machine.
const IN_TIME_MS: i64 = 30_000;

fn control_pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

impl Httpd {
    fn new(broker: &Path) -> Self {
        Self::with(broker, Command::spawn)
    }

    /// Its nanny starts in this process group.
    fn in_group(broker: &Path, group: i32) -> Self {
        Self::with(broker, |nanny| nanny.process_group(group).spawn())
    }

    fn with(broker: &Path, start: impl FnOnce(&mut Command) -> std::io::Result<Child>) -> Self {
        let (control, theirs) = control_pair();
        let board = Board::create().unwrap();
        let mut ends = vec![(layout::BOARD, board.try_clone().unwrap())];
        ends.push((layout::LISTENER, control_pair().0));
        let (mut replies, mut requests) = (Vec::new(), Vec::new());
        for i in 0..LANES {
            let flags = PipeFlags::DIRECT | PipeFlags::NONBLOCK | PipeFlags::CLOEXEC;
            let (request, request_write) = pipe_with(flags).unwrap();
            let (reply_read, reply) = pipe_with(flags).unwrap();
            ends.push((layout::lane_request(i), request));
            ends.push((layout::lane_reply(i), reply));
            replies.push(reply_read);
            requests.push(request_write);
        }
        let board_reader = BoardReader::map(Board::read_only(&board).unwrap()).unwrap();
        let nanny = start(&mut nanny(broker, theirs, &ends)).unwrap();
        Self { control, board, board_reader, replies, _requests: requests, ends, nanny }
    }

    fn tell(&self, message: &[u8]) {
        send(&self.control, message, SendFlags::empty()).unwrap();
    }

    /// The next report of the nanny; panics where none comes.
    fn report(&self) -> (u8, Vec<u8>) {
        assert!(readable(&self.control, IN_TIME_MS), "no report");
        let mut buffer = [0u8; 4096];
        let (_, n) = recv(&self.control, &mut buffer[..], RecvFlags::DONTWAIT).unwrap();
        assert_ne!(n, 0, "the nanny has ended");
        (buffer[0], buffer[1..n].to_vec())
    }

    /// The next report, which says that a broker is ready; its generation.
    fn ready(&self) -> u64 {
        let (kind, rest) = self.report();
        assert_eq!(kind, b'R', "{}", String::from_utf8_lossy(&rest));
        u64::from_le_bytes(rest.try_into().unwrap())
    }

    /// The next report, which says that a broker has ended; why.
    fn down(&self) -> String {
        let (kind, rest) = self.report();
        assert_eq!(kind, b'D');
        String::from_utf8(rest).unwrap()
    }

    /// What the broker says next on lane 0.
    fn hear(&self) -> String {
        assert!(readable(&self.replies[0], IN_TIME_MS), "the broker says nothing");
        let mut buffer = [0u8; 4096];
        let n = rustix::io::read(&self.replies[0], &mut buffer).unwrap();
        String::from_utf8(buffer[..n].to_vec()).unwrap()
    }

    /// What the broker says of itself when it has started.
    fn who(&self) -> Vec<String> {
        self.hear().split('|').map(str::to_owned).collect()
    }

    /// The process that has just said who it is.
    fn broker_process(&self) -> Watched {
        Watched::new(self.who()[0].parse().unwrap())
    }

    fn nanny_process(&self) -> Watched {
        Watched::new(i32::try_from(self.nanny.id()).unwrap())
    }
}

impl Drop for Httpd {
    fn drop(&mut self) {
        let _ = self.nanny.kill();
        let _ = self.nanny.wait();
    }
}

/// A process of another's, by pidfd.
struct Watched(OwnedFd);

impl Watched {
    fn new(pid: i32) -> Self {
        Self(pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap())
    }

    fn kill(&self, signal: Signal) {
        pidfd_send_signal(&self.0, signal).unwrap();
    }

    fn gone_within(&self, ms: i64) -> bool {
        readable(&self.0, ms)
    }
}

fn readable(fd: impl AsFd, ms: i64) -> bool {
    let timeout = Timespec { tv_sec: ms / 1000, tv_nsec: (ms % 1000) * 1_000_000 };
    loop {
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)) {
            Err(Errno::INTR) => {}
            other => return other.unwrap() > 0,
        }
    }
}

// --- the tests ---

fn broker_finds_its_place() {
    let program = program();
    let httpd = Httpd::new(&program.path);
    let who = httpd.who();
    let generation = httpd.ready();
    assert_eq!(who[1], format!("--lanes 2 --user #12345 --expects a=1 b=2 --generation {generation}"));
    assert_eq!(who[2], "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]", "these descriptors and no others");
    assert_eq!(who[3], "0", "no environment");
    httpd.tell(b"Cfirst");
    assert_eq!(httpd.hear(), "heard Cfirst");
    let large = [b"C".as_slice(), &[b'x'; 60 * 1024]].concat();
    httpd.tell(&large);
    // Longer than a packet of the lane: the pipe splits it.
    let mut heard = 0;
    while heard < large.len() {
        heard += httpd.hear().len();
    }
}

fn killed_broker_is_replaced() {
    let program = program();
    let httpd = Httpd::new(&program.path);
    let first = httpd.broker_process();
    let generation = httpd.ready();
    httpd.tell(b"Cfirst");
    assert_eq!(httpd.hear(), "heard Cfirst");
    httpd.tell(b"Cboard");
    assert_eq!(httpd.hear(), "heard Cboard");
    httpd.tell(b"Csecond");
    assert_eq!(httpd.hear(), "heard Csecond");
    // It has done the one before, and the next broker, which gets this one alone, will not.
    assert!(httpd.board_reader.ready());
    first.kill(Signal::KILL);
    assert_eq!(httpd.down(), "signal 9");
    assert!(!httpd.board_reader.ready());
    let second = httpd.broker_process();
    assert_eq!(httpd.ready(), generation + 1);
    assert_eq!(httpd.hear(), "heard Csecond", "the last configuration, unasked");
    assert!(!second.gone_within(50));
}

/// A package was installed, httpd was not restarted yet, and the broker dies.
fn other_version_steps_back() {
    let program = program();
    let httpd = Httpd::new(&program.path);
    let mut broker = httpd.broker_process();
    let mut generation = httpd.ready();
    httpd.tell(b"Cfirst");
    assert_eq!(httpd.hear(), "heard Cfirst");
    let install = |code: u8| {
        let new = program.path.with_extension("dpkg-new");
        std::fs::write(&new, other_version(code)).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(&new, &program.path).unwrap();
    };
    // Another version, one that is too old to be asked for it, and again: what is held does not wear out.
    for (code, why) in
        [(76, "its program is of another version (exit code 76)"), (64, "exit code 64"), (76, "")]
    {
        install(code);
        broker.kill(Signal::KILL);
        assert_eq!(httpd.down(), "signal 9");
        let said = httpd.down();
        assert!(said.contains(why), "{said}");
        broker = httpd.broker_process();
        let next = httpd.ready();
        assert!(next > generation);
        generation = next;
        assert_eq!(httpd.hear(), "heard Cfirst");
    }
    // Where the right one lies there again, it is that one.
    let new = program.path.with_extension("dpkg-new");
    std::fs::copy(std::env::current_exe().unwrap(), &new).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(&new, &program.path).unwrap();
    broker.kill(Signal::KILL);
    assert_eq!(httpd.down(), "signal 9");
    drop(httpd.broker_process());
    assert!(httpd.ready() > generation);
}

fn many_killed_brokers() {
    let program = program();
    let httpd = Httpd::new(&program.path);
    let mut last = 0;
    for _ in 0..12 {
        let broker = httpd.broker_process();
        let generation = httpd.ready();
        assert!(generation > last);
        last = generation;
        broker.kill(Signal::KILL);
        httpd.down();
    }
    assert!(!httpd.nanny_process().gone_within(0));
}

fn killed_nanny_takes_its_broker() {
    let program = program();
    let httpd = Httpd::new(&program.path);
    let broker = httpd.broker_process();
    httpd.ready();
    httpd.nanny_process().kill(Signal::KILL);
    assert!(broker.gone_within(IN_TIME_MS));
}

/// An httpd parent that says who its nanny is and waits to be killed. Its standard input and output are the test's.
fn play_parent(broker: &Path) {
    let httpd = Httpd::new(broker);
    let broker_pid = httpd.who()[0].clone();
    httpd.ready();
    // A child that outlives httpd and holds all that httpd holds, like a CGI daemon.
    let held = [httpd.control.try_clone().unwrap(), httpd.board.try_clone().unwrap()];
    let mut daemon = Command::new("/bin/sleep");
    daemon.arg("60").stdin(Stdio::null()).stdout(Stdio::null());
    let mut mappings: Vec<_> =
        held.into_iter().zip(20..).map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd }).collect();
    mappings.extend(
        httpd
            .replies
            .iter()
            .zip(30..)
            .map(|(fd, child_fd)| FdMapping { parent_fd: fd.try_clone().unwrap(), child_fd }),
    );
    let daemon = daemon.fd_mappings(mappings).unwrap().spawn().unwrap();
    println!("{} {} {}", httpd.nanny.id(), broker_pid, daemon.id());
    std::thread::sleep(Duration::from_secs(60));
}

fn dead_parent_takes_both() {
    let program = program();
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .arg("parent")
        .arg(&program.path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = std::io::BufReader::new(parent.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    let pids: Vec<i32> = line.split_whitespace().map(|p| p.parse().unwrap()).collect();
    let [nanny, broker, daemon] = [0, 1, 2].map(|i| Watched::new(pids[i]));
    assert!(!nanny.gone_within(100) && !broker.gone_within(0));
    parent.kill().unwrap();
    let gone = nanny.gone_within(IN_TIME_MS) && broker.gone_within(IN_TIME_MS);
    let daemon_lives = !daemon.gone_within(0);
    daemon.kill(Signal::KILL);
    parent.wait().unwrap();
    assert!(gone, "nanny and broker end although others hold the control socket");
    assert!(daemon_lives, "and nobody else was killed");
}

fn closed_socket_ends_both() {
    let program = program();
    let mut httpd = Httpd::new(&program.path);
    let (broker, nanny) = (httpd.broker_process(), httpd.nanny_process());
    httpd.ready();
    httpd.control = control_pair().0;
    assert!(nanny.gone_within(IN_TIME_MS) && broker.gone_within(0));
    assert_eq!(httpd.nanny.wait().unwrap().code(), Some(0));
}

fn quit_ends_both() {
    let program = program();
    for by_signal in [false, true] {
        let mut httpd = Httpd::new(&program.path);
        let (broker, nanny) = (httpd.broker_process(), httpd.nanny_process());
        httpd.ready();
        if by_signal {
            nanny.kill(Signal::TERM);
        } else {
            httpd.tell(b"Q");
        }
        assert!(nanny.gone_within(IN_TIME_MS));
        assert!(broker.gone_within(0));
        assert_eq!(httpd.hear(), "heard Q");
        assert_eq!(httpd.nanny.wait().unwrap().code(), Some(0));
    }
}

fn stubborn_broker_is_killed() {
    let program = program();
    let httpd = Httpd::new(&program.path);
    let (broker, nanny) = (httpd.broker_process(), httpd.nanny_process());
    httpd.ready();
    httpd.tell(b"Cstubborn");
    assert_eq!(httpd.hear(), "heard Cstubborn");
    let start = Instant::now();
    httpd.tell(b"Q");
    assert!(nanny.gone_within(IN_TIME_MS) && broker.gone_within(0));
    assert!(start.elapsed() >= Duration::from_millis(900), "it gets a second: {:?}", start.elapsed());
}

fn silent_broker_is_replaced() {
    let program = program();
    let (silent, alive) = (Httpd::new(&program.path), Httpd::new(&program.path));
    let (broker, other) = (silent.broker_process(), alive.broker_process());
    let (first, _) = (silent.ready(), alive.ready());
    alive.tell(b"Cbeat");
    assert_eq!(alive.hear(), "heard Cbeat");
    // 30 to 35 seconds; so that the other one's time would be up as well, had it not beaten.
    assert!(!broker.gone_within(25_000) && broker.gone_within(10_000 + IN_TIME_MS));
    assert_eq!(silent.down(), "signal 9");
    silent.who();
    assert_eq!(silent.ready(), first + 1);
    assert!(!other.gone_within(10_000) && !readable(&alive.control, 0));
}

fn talkative_broker_holds_nobody() {
    let program = program();
    let httpd = Httpd::new(&program.path);
    let (broker, nanny) = (httpd.broker_process(), httpd.nanny_process());
    httpd.ready();
    httpd.tell(b"Ctalk");
    assert_eq!(httpd.hear(), "heard Ctalk");
    assert_eq!(httpd.hear(), "talked");
    nanny.kill(Signal::TERM);
    nanny.kill(Signal::CONT);
    assert!(nanny.gone_within(IN_TIME_MS) && broker.gone_within(0));
    // What she has handed on before she looked at anything else; behind it all is the end of her socket.
    let mut handed_on = 0;
    while recv(&httpd.control, &mut [0u8; 64][..], RecvFlags::DONTWAIT).is_ok_and(|(n, _)| n > 0) {
        handed_on += 1;
    }
    assert_eq!(handed_on, 16);
}

fn refused_configuration_waits() {
    let program = program();
    let httpd = Httpd::new(&program.path);
    httpd.who();
    let first = httpd.ready();
    httpd.tell(b"Cbad");
    assert_eq!(httpd.hear(), "heard Cbad");
    assert!(httpd.down().contains("78"));
    // It is tried once more by a broker that has seen no other.
    httpd.who();
    assert_eq!(httpd.ready(), first + 1);
    assert_eq!(httpd.hear(), "heard Cbad");
    assert!(httpd.down().contains("78"));
    assert!(!readable(&httpd.replies[0], 500), "no other broker");
    assert!(!httpd.nanny_process().gone_within(0), "but the nanny stays");
    httpd.tell(b"Cgood");
    httpd.who();
    assert_eq!(httpd.ready(), first + 2);
    assert_eq!(httpd.hear(), "heard Cgood");
}

fn generation_rises_over_nannies() {
    let program = program();
    let mut httpd = Httpd::new(&program.path);
    httpd.broker_process();
    let first = httpd.ready();
    // The broker's own note of its generation, far ahead of the clock.
    let ahead = first + 1_000_000_000_000;
    weblog_fds::BoardWriter::map(httpd.board.try_clone().unwrap()).unwrap().set_generation(ahead);
    httpd.nanny.kill().unwrap();
    httpd.nanny.wait().unwrap();
    let (control, theirs) = control_pair();
    httpd.nanny = start_nanny(&program.path, theirs, &httpd.ends);
    httpd.control = control;
    while !httpd.hear().contains("--generation") {}
    assert_eq!(httpd.ready(), ahead + 1);
}

fn untrusted_program_is_not_started() {
    let program = program();
    let dir = program.path.parent().unwrap();
    let refused = |what: &str| {
        let mut httpd = Httpd::new(&program.path);
        let why = httpd.down();
        assert!(httpd.nanny_process_or_gone(), "the nanny ends");
        assert_eq!(httpd.nanny.wait().unwrap().code(), Some(78), "{what}");
        assert!(!readable(&httpd.replies[0], 50), "{what}: nothing was started");
        why
    };
    let mode =
        |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(&program.path, 0o777);
    assert!(refused("mode of the program").contains("777"));
    mode(&program.path, 0o755);
    mode(dir, 0o777);
    assert!(refused("mode of the directory").contains("777"));
    mode(dir, 0o755);
    if rustix::process::geteuid().is_root() {
        for path in [program.path.as_path(), dir] {
            std::os::unix::fs::chown(path, Some(12345), None).unwrap();
            assert!(refused("owner").contains("belongs to uid 12345"));
            std::os::unix::fs::chown(path, Some(0), None).unwrap();
        }
    }
    // What becomes bad later is not started either, until it is good again.
    let httpd = Httpd::new(&program.path);
    let first = httpd.broker_process();
    let generation = httpd.ready();
    mode(&program.path, 0o757);
    first.kill(Signal::KILL);
    assert_eq!(httpd.down(), "signal 9");
    assert_eq!(httpd.down(), "it could not be started");
    mode(&program.path, 0o755);
    httpd.who();
    loop {
        let (kind, rest) = httpd.report();
        if kind == b'R' {
            assert!(u64::from_le_bytes(rest.try_into().unwrap()) > generation + 1);
            break;
        }
    }
}

impl Httpd {
    /// Has the nanny ended within a moment?
    fn nanny_process_or_gone(&mut self) -> bool {
        let end = Instant::now() + Duration::from_secs(30);
        while Instant::now() < end {
            if self.nanny.try_wait().unwrap().is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }
}

fn own_session_and_ignored_signals() {
    let program = program();
    let httpd = Httpd::new(&program.path);
    let broker = httpd.broker_process();
    httpd.ready();
    let nanny = httpd.nanny_process();
    // Its own; not compared with ours, which may lie outside of this PID namespace.
    let leader = Pid::from_raw(i32::try_from(httpd.nanny.id()).unwrap());
    assert_eq!(rustix::process::getsid(leader).ok(), leader);
    for signal in [Signal::HUP, Signal::USR1, Signal::USR2] {
        nanny.kill(signal);
    }
    assert!(!nanny.gone_within(200) && !broker.gone_within(0));
}

fn group_survives() {
    let program = program();
    for stubborn in [false, true] {
        // Leads the group, as a shell or httpd would.
        let mut leader = Command::new("/bin/sleep");
        leader.arg("60").stdin(Stdio::null()).process_group(0);
        let mut leader = leader.spawn().unwrap();
        let group = i32::try_from(leader.id()).unwrap();
        let other = Watched::new(group);
        let httpd = Httpd::in_group(&program.path, group);
        let (broker, nanny) = (httpd.broker_process(), httpd.nanny_process());
        httpd.ready();
        if stubborn {
            httpd.tell(b"Cstubborn");
            assert_eq!(httpd.hear(), "heard Cstubborn");
        }
        nanny.kill(Signal::TERM);
        let gone = nanny.gone_within(IN_TIME_MS) && broker.gone_within(0);
        let other_lives = !other.gone_within(200);
        let _ = leader.kill();
        leader.wait().unwrap();
        assert!(gone && other_lives, "gone: {gone}, the other lives: {other_lives}");
    }
}

fn privileges_are_gone() {
    let program = program();
    let httpd = Httpd::new(&program.path);
    httpd.who();
    httpd.ready();
    let status = |who: &str| std::fs::read_to_string(format!("/proc/{who}/status")).unwrap();
    let (nanny, mine) = (status(&httpd.nanny.id().to_string()), status("self"));
    let field = |status: &str, name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name)).unwrap();
        line.trim_start_matches(':').trim().to_owned()
    };
    let set = |status: &str, name: &str| u64::from_str_radix(&field(status, name), 16).unwrap();
    assert_eq!(field(&nanny, "NoNewPrivs"), "1");
    // KILL 5, SETGID 6, SETUID 7, SETPCAP 8, SYS_RESOURCE 24; a container may lack some from the start.
    let kept = (1u64 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 24) & set(&mine, "CapPrm");
    assert_eq!((set(&nanny, "CapPrm"), set(&nanny, "CapEff")), (kept, kept));
    assert_eq!((set(&nanny, "CapInh"), set(&nanny, "CapAmb")), (0, 0));
    if kept & 1 << 8 != 0 {
        assert_eq!(set(&nanny, "CapBnd"), kept & set(&mine, "CapBnd"));
    }
    assert_eq!(field(&nanny, "Threads"), "1");
}
