//! The pool of authenticators: started ahead, one login each, replaced when it is done, killed by pidfd.
//!
//! Knows nothing of caches, limits or lanes. A login that it was given always ends, in [`Pool::turn`] or by [`Pool::kill`].

use crate::audit::Log;
use crate::frames::{Collected, Collector, Order, READY, decode_answer};
use crate::logins::{Job, LoginId};
use crate::message;
use crate::outcome::{Answer, Refusal};
use core::num::NonZeroUsize;
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, pidfd_send_signal, waitid,
};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use weblog_proto::Failure;

/// An authenticator that is not ready after so long is killed.
const START_MS: u64 = 30_000;
/// One that has answered must have ended after so long.
const END_MS: u64 = 5_000;
/// One that is to end has begun to when it is looked at next.
const FROM_NOW: u64 = u64::MAX;
/// After so many starts that failed, one behind the other, no login is begun.
const FAILURES: u32 = 2;
/// One that was never used is replaced after so long: addresses of servers may have changed.
const IDLE_MS: u64 = 600_000;
/// Pause after one has died at its start; doubled each time.
const PAUSE_MS: u64 = 100;
const PAUSE_MAX_MS: u64 = 10_000;
/// A login that takes longer is replaced before it is done. A start beside it would take the processors from it.
const HOLD_MS: u64 = 20;
/// So many may start at the same time in any case.
const AT_ONCE_MIN: usize = 2;
/// One that takes longer to start hangs, maybe, and no longer keeps others from starting.
const SLOW_MS: u64 = 2_000;
/// So long a replacement waits once the login is done: whoever gets the answer may wake up on the processor that starts it.
const REST_MS: u64 = 3;

/// What all authenticators are started with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Of the configuration.
    pub version: u64,
    /// Directory with `ThisCell` and `CellServDB`.
    pub conf_dir: PathBuf,
    /// Whether they need libkrb5.
    pub krb5: bool,
    /// Kept started ahead, while no login waits for one.
    pub ahead: usize,
}

/// What one is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not ready yet.
    Starting,
    /// Waits for its order.
    Ready,
    /// Does a login.
    Busy(LoginId),
    /// Has answered, or is not wanted any more: ends.
    Ending,
}

/// One process.
struct Authenticator {
    pidfd: OwnedFd,
    order: Option<OwnedFd>,
    /// Closed once it has answered and those who waited for that have been told: until then it keeps still.
    answer: Option<OwnedFd>,
    collector: Collector,
    state: State,
    since_ms: u64,
    /// Its configuration is not the current one.
    stale: bool,
}

/// All of them.
pub struct Pool {
    plan: Plan,
    /// What starts one.
    command: fn(&Plan) -> Command,
    /// Most that start at the same time: more would only be late together, since a start is work for a processor.
    at_once: usize,
    processes: Vec<Authenticator>,
    waiting: VecDeque<(LoginId, Job)>,
    /// How many in a row have died before they were ready.
    failures: u32,
    not_before_ms: u64,
    /// When logins were done, of the last [`REST_MS`].
    done_ms: Vec<u64>,
    /// When the next replacement is due that waits for its login.
    held_until_ms: Option<u64>,
    /// When it was last looked what is missing.
    looked_ms: u64,
}

impl core::fmt::Debug for Pool {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Pool").field("processes", &self.processes.len()).finish_non_exhaustive()
    }
}

/// What became of logins in a [turn](Pool::turn).
#[derive(Debug, Default)]
pub struct Turn {
    /// An authenticator has got these.
    pub handed: Vec<LoginId>,
    /// These have ended.
    pub ended: Vec<(LoginId, Answer)>,
}

/// The outcome of a login whose authenticator failed us.
///
/// # Errors
/// Always: it is a refusal.
fn broken() -> Answer {
    Err(Refusal::local(Failure::Internal))
}

impl Pool {
    /// Empty; nothing is started before it is [planned](Pool::set_plan).
    #[must_use]
    pub fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(AT_ONCE_MIN, NonZeroUsize::get);
        Self::of(command, processors.max(AT_ONCE_MIN))
    }

    /// One whose authenticators are started by that command, so many at the same time.
    fn of(command: fn(&Plan) -> Command, at_once: usize) -> Self {
        Self {
            plan: Plan::default(),
            command,
            at_once,
            processes: Vec::new(),
            waiting: VecDeque::new(),
            failures: 0,
            not_before_ms: 0,
            done_ms: Vec::new(),
            held_until_ms: None,
            looked_ms: 0,
        }
    }

    /// Applies a plan: idle authenticators of another one are replaced, busy ones finish. A new version is another
    /// plan even if nothing else differs: what stands in the directory may have changed.
    pub fn set_plan(&mut self, plan: Plan) {
        if self.plan == plan {
            return;
        }
        self.plan = plan;
        self.failures = 0;
        self.not_before_ms = 0;
        for a in &mut self.processes {
            a.stale = true;
            if a.state == State::Ready {
                a.dismiss();
            }
        }
    }

    /// Whether one waits for an order.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.processes.iter().any(|a| a.state == State::Ready)
    }

    /// Whether logins can be done: one waits, is in a login, or has not failed to start again and again.
    #[must_use]
    pub fn can_log_in(&self) -> bool {
        let works = |a: &Authenticator| matches!(a.state, State::Ready | State::Busy(_));
        self.failures < FAILURES || self.processes.iter().any(works)
    }

    /// Starting, ready, busy.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |f: fn(State) -> bool| self.processes.iter().filter(|a| f(a.state)).count();
        (
            count(|s| s == State::Starting),
            count(|s| s == State::Ready),
            count(|s| matches!(s, State::Busy(_))),
        )
    }

    /// A login is to be done.
    pub fn start(&mut self, login: LoginId, job: Job) {
        self.waiting.push_back((login, job));
    }

    /// A login is not wanted any more; it is not reported.
    pub fn kill(&mut self, login: LoginId) {
        self.waiting.retain(|(id, _)| *id != login);
        for a in self.processes.iter_mut().filter(|a| a.state == State::Busy(login)) {
            a.kill();
        }
    }

    /// Descriptors of all processes: their answers, their ends.
    pub fn poll_fds<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        for a in &self.processes {
            // One that has answered has closed this pipe, which would wake us until it is gone.
            if let Some(answer) = a.answer.as_ref().filter(|_| a.state != State::Ending) {
                fds.push(PollFd::new(answer, PollFlags::IN));
            }
            fds.push(PollFd::new(&a.pidfd, PollFlags::IN));
        }
    }

    /// Goes round all processes: reads answers, collects the dead, hands out orders. Never waits.
    pub fn turn(&mut self, now_ms: u64, log: &mut Log) -> Turn {
        let Turn { mut handed, mut ended } = Turn::default();
        let mut alive = Vec::with_capacity(self.processes.len());
        for mut a in core::mem::take(&mut self.processes) {
            if a.state == State::Ending && a.since_ms < now_ms {
                // What it has answered has gone out since.
                a.answer = None;
            }
            a.read_answer(now_ms, &mut self.failures, &mut ended);
            a.watch_clock(now_ms, log);
            match a.exit_status() {
                None => alive.push(a),
                Some(status) => {
                    // What it has written before its end still counts.
                    a.read_answer(now_ms, &mut self.failures, &mut ended);
                    match a.state {
                        State::Ending => log.write(
                            message::AUTHENTICATOR_ENDED,
                            format_args!("authenticator ended: {status}"),
                        ),
                        State::Busy(login) => {
                            log.write(
                                message::AUTHENTICATOR_DIED,
                                format_args!("authenticator died in a login: {status}"),
                            );
                            ended.push((login, broken()));
                        }
                        State::Ready => log.write(
                            message::AUTHENTICATOR_DIED_IDLE,
                            format_args!("idle authenticator died: {status}"),
                        ),
                        State::Starting => {
                            let pause = PAUSE_MS.saturating_mul(1 << self.failures.min(7)).min(PAUSE_MAX_MS);
                            self.failures = self.failures.saturating_add(1);
                            self.not_before_ms = now_ms.saturating_add(pause);
                            log.write(
                                message::AUTHENTICATOR_DIED_EARLY,
                                format_args!(
                                    "authenticator died at its start: {status}; next one in {pause} ms"
                                ),
                            );
                        }
                    }
                }
            }
        }
        self.processes = alive;
        if self.failures == 0 {
            // One got ready: whatever died before it, starts are worth trying.
            self.not_before_ms = 0;
        }
        self.done_ms.extend(ended.iter().map(|_| now_ms));
        self.hand_out(now_ms, &mut handed, &mut ended);
        if self.failures >= FAILURES {
            // None will come soon. Better to say so than to let these run into their deadlines, as if it were the cell.
            ended.extend(self.waiting.drain(..).map(|(login, _)| (login, broken())));
        }
        Turn { handed, ended }
    }

    /// Gives waiting logins to ready authenticators.
    fn hand_out(&mut self, now_ms: u64, handed: &mut Vec<LoginId>, ended: &mut Vec<(LoginId, Answer)>) {
        while let Some(a) = self.processes.iter_mut().find(|a| a.state == State::Ready) {
            let Some((login, job)) = self.waiting.pop_front() else { return };
            match a.give(login, &job, now_ms) {
                Given::Done => handed.push(login),
                Given::Dead => {
                    // It never got the order, so another one may do it.
                    a.kill();
                    self.waiting.push_front((login, job));
                }
                Given::Cut => {
                    // It would be cut for the next one as well, who would be killed as well, with all who wait behind it.
                    a.kill();
                    ended.push((login, broken()));
                }
                Given::Unfit => ended.push((login, Err(Refusal::local(Failure::NotAcceptable)))),
            }
        }
    }

    /// Starts as many as are missing and may start, unless they die at their start. Takes a millisecond each, so answer
    /// askers first. The next ones get their turn when one is ready or dead, which [`Pool::poll_fds`] tells.
    pub fn fill(&mut self, now_ms: u64, log: &mut Log) {
        let (starting, ready, _) = self.counts();
        self.done_ms.retain(|done| now_ms < done.saturating_add(REST_MS));
        let (held, due) = self.held(now_ms);
        self.held_until_ms = due;
        self.looked_ms = now_ms;
        let missing = self.wanted(held).saturating_sub(starting.saturating_add(ready));
        let missing = missing.min(self.at_once.saturating_sub(self.turns(now_ms).count()));
        if now_ms < self.not_before_ms || self.plan.ahead == 0 {
            return;
        }
        // After a death at the start only one is tried.
        let missing = if self.failures == 0 { missing } else { missing.min(usize::from(starting == 0)) };
        for _ in 0..missing {
            match Authenticator::spawn((self.command)(&self.plan), now_ms) {
                Ok(a) => self.processes.push(a),
                Err(error) => {
                    self.failures = self.failures.saturating_add(1);
                    self.not_before_ms = now_ms.saturating_add(PAUSE_MAX_MS / 10);
                    log.write(
                        message::AUTHENTICATOR_NOT_STARTED,
                        format_args!("cannot start an authenticator: {error}"),
                    );
                    return;
                }
            }
        }
    }

    /// How many are to be ready or about to be, where `held` are not replaced yet: while logins wait, one for each of
    /// them and no spare ones, which would take the processors from theirs.
    fn wanted(&self, held: usize) -> usize {
        if self.waiting.is_empty() { self.plan.ahead.saturating_sub(held) } else { self.waiting.len() }
    }

    /// When those that start and keep others from it do so no longer.
    fn turns(&self, now_ms: u64) -> impl Iterator<Item = u64> {
        let starting = self.processes.iter().filter(|a| a.state == State::Starting);
        starting.map(|a| a.since_ms.saturating_add(SLOW_MS)).filter(move |end| now_ms < *end)
    }

    /// How many replacements wait for their logins, and when the first of them will wait no longer.
    fn held(&self, now_ms: u64) -> (usize, Option<u64>) {
        let busy = self.processes.iter().filter(|a| matches!(a.state, State::Busy(_)));
        let under_way = busy.map(|a| a.since_ms.saturating_add(HOLD_MS)).filter(|end| now_ms < *end);
        let done = self.done_ms.iter().map(|done| done.saturating_add(REST_MS));
        let ends: Vec<u64> = under_way.chain(done).collect();
        (ends.len(), ends.into_iter().min())
    }

    /// When [`Pool::turn`] has something to do next, whatever poll says.
    #[must_use]
    pub fn next_turn_ms(&self) -> Option<u64> {
        let clocks = self.processes.iter().filter_map(Authenticator::limit_ms).chain(self.held_until_ms);
        let (starting, ready, _) = self.counts();
        let short = starting.saturating_add(ready) < self.wanted(0);
        // While the one that is tried starts, there is no other to start.
        let alone = self.failures > 0 && starting == 0;
        let turn = self.turns(self.looked_ms).min().filter(|_| short);
        clocks.chain((short && alone).then_some(self.not_before_ms)).chain(turn).min()
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self::new()
    }
}

/// Starts an authenticator.
fn command(plan: &Plan) -> Command {
    // The same file, even if another version was installed meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command
        .arg("--authenticator")
        .arg("--conf-dir")
        .arg(&plan.conf_dir)
        .arg("--krb5")
        .arg(if plan.krb5 { "yes" } else { "no" })
        .arg("--parent")
        .arg(rustix::process::getpid().as_raw_nonzero().to_string());
    command
}

/// What became of an order.
enum Given {
    Done,
    Dead,
    /// Its pipe had no room for all of it.
    Cut,
    Unfit,
}

impl Authenticator {
    /// Starts one.
    ///
    /// # Errors
    /// The calls'.
    fn spawn(mut command: Command, now_ms: u64) -> std::io::Result<Self> {
        let (order_read, order_write) = pipe_with(PipeFlags::CLOEXEC)?;
        let (answer_read, answer_write) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&order_write, true)?;
        rustix::io::ioctl_fionbio(&answer_read, true)?;
        let spawned = command
            .env_clear()
            .stdin(Stdio::from(order_read))
            .stdout(Stdio::from(answer_write))
            .stderr(Stdio::inherit())
            .spawn();
        // With the command go our copies of its ends, which leaves room for the pidfd where descriptors are short.
        drop(command);
        Ok(Self {
            pidfd: watched(spawned?, |pid| pidfd_open(pid, PidfdFlags::empty()))?,
            order: Some(order_write),
            answer: Some(answer_read),
            collector: Collector::default(),
            state: State::Starting,
            since_ms: now_ms,
            stale: false,
        })
    }

    /// Hands it an order.
    fn give(&mut self, login: LoginId, job: &Job, now_ms: u64) -> Given {
        let left_s = job.deadline_ms.saturating_sub(now_ms).div_ceil(1000);
        let order = Order {
            who: job.who.clone(),
            errand: job.errand.clone(),
            budget_s: u32::try_from(left_s).unwrap_or(u32::MAX),
        };
        let Some(frame) = order.encode() else { return Given::Unfit };
        let Some(pipe) = self.order.take() else { return Given::Dead };
        // The pipe is empty and has room for several, unless the kernel has made it smaller: what is cut is no order.
        match rustix::io::write(&pipe, frame.bytes()) {
            Ok(n) if n == frame.bytes().len() => {
                self.state = State::Busy(login);
                self.since_ms = now_ms;
                Given::Done
            }
            Ok(_) => Given::Cut,
            Err(_) => Given::Dead,
        }
    }

    /// Reads what there is; reports the login if its answer is complete.
    fn read_answer(&mut self, now_ms: u64, failures: &mut u32, ended: &mut Vec<(LoginId, Answer)>) {
        let Some(answer) = &self.answer else { return };
        if self.state == State::Starting {
            let mut ready = [0];
            match rustix::io::read(answer, &mut ready) {
                Ok(1) if ready == [READY] => {
                    *failures = 0;
                    self.state = State::Ready;
                    self.since_ms = now_ms;
                    if self.stale {
                        self.dismiss();
                    }
                }
                _ => return,
            }
        }
        while let State::Busy(login) = self.state {
            let Some(answer) = &self.answer else { return };
            match rustix::io::read(answer, self.collector.space()) {
                Ok(0) | Err(_) => return,
                Ok(n) => self.collector.filled(n),
            }
            let outcome = match self.collector.collected() {
                Collected::More => continue,
                Collected::Body(body) => decode_answer(body).unwrap_or_else(broken),
                Collected::Nonsense => broken(),
            };
            self.collector = Collector::default();
            self.state = State::Ending;
            self.since_ms = now_ms;
            ended.push((login, outcome));
        }
    }

    /// When its patience ends.
    fn limit_ms(&self) -> Option<u64> {
        let after = match self.state {
            State::Starting => START_MS,
            State::Ready => IDLE_MS,
            State::Ending => END_MS,
            // The login's own deadline counts.
            State::Busy(_) => return None,
        };
        Some(self.since_ms.saturating_add(after))
    }

    /// Ends what takes too long.
    fn watch_clock(&mut self, now_ms: u64, log: &mut Log) {
        if self.state == State::Ending && self.since_ms == FROM_NOW {
            self.since_ms = now_ms;
        }
        if self.limit_ms().is_none_or(|limit| now_ms < limit) {
            return;
        }
        match self.state {
            State::Ready => self.dismiss(),
            _ => {
                log.write(message::AUTHENTICATOR_HANGS, format_args!("authenticator hangs, killed"));
                self.signal_kill();
                // Not again before it is collected.
                self.since_ms = now_ms;
            }
        }
    }

    /// It is not wanted any more: it ends when its order pipe does.
    fn dismiss(&mut self) {
        self.order = None;
        self.state = State::Ending;
        self.since_ms = FROM_NOW;
    }

    /// Kills it; nothing of it is reported any more.
    fn kill(&mut self) {
        self.signal_kill();
        self.order = None;
        self.state = State::Ending;
        self.since_ms = FROM_NOW;
    }

    /// SIGKILL, to exactly this process.
    fn signal_kill(&self) {
        // Fails only if it has ended already.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// How it ended, if it has; collects it.
    fn exit_status(&self) -> Option<String> {
        let fd: BorrowedFd<'_> = self.pidfd.as_fd();
        match waitid(WaitId::PidFd(fd), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(None) => None,
            Ok(Some(status)) => Some(describe(&status)),
            Err(Errno::INTR) => None,
            Err(errno) => Some(format!("cannot wait for it: {errno}")),
        }
    }
}

/// The pidfd of a child, by `open`.
///
/// # Errors
/// `open`'s; the child is gone then.
fn watched(mut child: Child, open: impl FnOnce(Pid) -> Result<OwnedFd, Errno>) -> Result<OwnedFd, Errno> {
    // Nobody else waits for children here, so the number is still this child's.
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or(Errno::SRCH).and_then(open).inspect_err(|_| {
        // Whom we cannot watch we do not keep.
        let _ = child.kill();
        let _ = child.wait();
    })
}

/// Exit code or signal.
fn describe(status: &WaitIdStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (_, Some(signal)) => format!("signal {signal}"),
        _ => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logins::{Errand, Secret, Way};
    use pag::{Cell, Principal, SessionKey, Token};
    use std::time::{Duration, Instant};
    use weblog_proto::{Method, Password};
    use zeroize::Zeroizing;

    /// A program in the place of authenticators: each `go` in the directory makes one of them ready, each `die` ends one
    /// that is not. A login it keeps for ever.
    fn fake(plan: &Plan) -> Command {
        let script = "while [ -d \"$0\" ]; do
            [ -z \"$ready\" ] && /bin/rm \"$0/die\" 2>/dev/null && exit 1
            [ -z \"$ready\" ] && /bin/rm \"$0/go\" 2>/dev/null && { ready=1; printf R; /bin/cat >/dev/null; }
            /bin/sleep 0.01
        done";
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).arg(&plan.conf_dir);
        command
    }

    /// A pool of fakes.
    struct World {
        pool: Pool,
        dir: tempfile::TempDir,
        log: Log,
        now_ms: u64,
    }

    impl World {
        /// Four are kept ahead, two may start at the same time.
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let mut pool = Pool::of(fake, 2);
            pool.set_plan(Plan { version: 1, conf_dir: dir.path().to_owned(), krb5: false, ahead: 4 });
            Self { pool, dir, log: Log::new("test"), now_ms: 0 }
        }

        /// A login is to be done.
        fn ask(&mut self, number: u64) {
            let password = Password::new(Zeroizing::new(b"secret".to_vec())).unwrap();
            let way = Way { method: Method::Kaserver, realm: None, keytab: None };
            let errand = Errand::Login { secret: Secret::Password(password), lifetime_s: 0, way };
            let who = Principal::new("alice", Cell::new("example.com").unwrap()).unwrap();
            self.pool.start(LoginId(number), Job { who, errand, deadline_ms: 10_000 });
        }

        /// As the broker's loop: what is to be done is done in a turn, then what is missing is started.
        fn turn(&mut self) -> (usize, usize, usize) {
            self.pool.turn(self.now_ms, &mut self.log);
            self.pool.fill(self.now_ms, &mut self.log);
            self.pool.counts()
        }

        /// Lets one of those that start know this, until so many are starting, ready and busy.
        fn tell(&mut self, word: &str, want: (usize, usize, usize)) {
            std::fs::write(self.dir.path().join(word), "").unwrap();
            let end = Instant::now() + Duration::from_secs(30);
            loop {
                let counts = self.turn();
                if counts == want {
                    return;
                }
                assert!(Instant::now() < end, "{counts:?} is not {want:?}");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    #[test]
    fn while_logins_wait_no_spare_ones_start_and_each_start_makes_room_for_the_next() {
        let mut w = World::new();
        for number in 1..=5 {
            w.ask(number);
        }
        assert_eq!(w.turn(), (2, 0, 0), "no more at the same time");
        assert_eq!(w.turn(), (2, 0, 0));
        w.tell("go", (2, 0, 1));
        w.tell("go", (2, 0, 2));
        w.tell("go", (2, 0, 3));
        w.tell("go", (1, 0, 4));
        w.now_ms = 1_000;
        assert_eq!(w.turn(), (1, 0, 4), "no spare one beside the last login's");
        w.tell("go", (2, 0, 5));
        w.now_ms = 2_000;
        w.tell("go", (2, 1, 5));
        w.tell("go", (2, 2, 5));
        w.tell("go", (1, 3, 5));
        w.tell("go", (0, 4, 5));
        assert_eq!(w.turn(), (0, 4, 5));
    }

    #[test]
    fn those_that_hang_at_their_start_keep_others_from_it_for_a_moment_only() {
        let mut w = World::new();
        for number in 1..=5 {
            w.ask(number);
        }
        assert_eq!(w.turn(), (2, 0, 0));
        assert_eq!(w.pool.next_turn_ms(), Some(SLOW_MS));
        w.now_ms = SLOW_MS - 1;
        assert_eq!(w.turn(), (2, 0, 0));
        w.now_ms = SLOW_MS;
        assert_eq!(w.turn(), (4, 0, 0));
        assert_eq!(w.pool.next_turn_ms(), Some(2 * SLOW_MS));
    }

    #[test]
    fn an_order_that_a_pipe_has_no_room_for_ends_alone_and_costs_one_authenticator() {
        let mut w = World::new();
        assert_eq!(w.turn(), (2, 0, 0));
        w.tell("go", (2, 1, 0));
        w.tell("go", (2, 2, 0));
        // As the kernel does where a user has too many pipes.
        for pipe in w.pool.processes.iter().filter_map(|a| a.order.as_ref()) {
            rustix::pipe::fcntl_setpipe_size(pipe, 4096).unwrap();
        }
        let cell = Cell::new("example.com").unwrap();
        let token = Token {
            cell: cell.clone(),
            afs_id: 1001,
            kvno: 256,
            key: SessionKey([1; 8]),
            begin: 0,
            end: 36_000,
            ticket: Zeroizing::new(vec![7; Token::TICKET_MAX]),
        };
        let errand = Errand::Group { token, group: "staff".to_owned() };
        let who = Principal::new("alice", cell).unwrap();
        w.pool.start(LoginId(1), Job { who, errand, deadline_ms: 10_000 });
        w.ask(2);
        let turn = w.pool.turn(w.now_ms, &mut w.log);
        assert!(matches!(turn.ended[..], [(LoginId(1), Err(Refusal { failure: Failure::Internal, .. }))]));
        assert_eq!(turn.handed, [LoginId(2)], "who comes behind it has the other one");
    }

    #[test]
    fn one_that_gets_ready_ends_the_pause_after_one_that_died() {
        let mut w = World::new();
        for number in 1..=3 {
            w.ask(number);
        }
        assert_eq!(w.turn(), (2, 0, 0));
        w.tell("die", (1, 0, 0));
        assert_eq!(w.turn(), (1, 0, 0), "a pause");
        w.tell("go", (2, 0, 1));
    }

    #[test]
    fn after_one_that_died_alone_the_next_turn_is_at_the_end_of_the_pause() {
        let mut w = World::new();
        w.ask(1);
        assert_eq!(w.turn(), (1, 0, 0));
        w.tell("die", (0, 0, 0));
        assert_eq!(w.pool.next_turn_ms(), Some(PAUSE_MS));
        w.now_ms = PAUSE_MS;
        assert_eq!(w.turn(), (1, 0, 0));
        w.tell("go", (2, 0, 1));
    }

    #[test]
    fn whoever_cannot_be_watched_is_killed_and_reaped() {
        let child =
            Command::new("/bin/sleep").arg("60").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        assert_eq!(watched(child, |_| Err(Errno::MFILE)).unwrap_err(), Errno::MFILE);
        let left = waitid(WaitId::Pid(pid.unwrap()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        assert_eq!(left.err(), Some(Errno::CHILD));
    }
}
