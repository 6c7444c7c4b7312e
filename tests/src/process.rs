//! Processes: run one with a deadline, keep one and end it when its guard goes.

use crate::wait;
use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// So long a process may take to stand still.
const STOPS: Duration = Duration::from_secs(10);

/// Runs `command` to its end and gives what it wrote; whatever its exit status.
///
/// # Errors
/// It cannot be started, or was killed since it ran longer than `limit`.
pub fn output(command: &mut Command, limit: Duration) -> Result<Output> {
    command.stdin(Stdio::null());
    finish(command, None, limit)
}

/// As [`output`]; the command reads `input`.
///
/// # Errors
/// As [`output`].
pub fn output_with_input(command: &mut Command, input: &[u8], limit: Duration) -> Result<Output> {
    command.stdin(Stdio::piped());
    finish(command, Some(input), limit)
}

/// Runs a command to its end.
fn finish(command: &mut Command, input: Option<&[u8]>, limit: Duration) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    let out = child.stdout.take().map(drain);
    let err = child.stderr.take().map(drain);
    if let (Some(mut to), Some(input)) = (child.stdin.take(), input.map(|i| Zeroizing::new(i.to_vec()))) {
        // It may end, or be killed, without having read all; that shows in its status.
        std::thread::spawn(move || to.write_all(&input));
    }
    let status = wait_or_kill(&mut child, &name, limit)?;
    let text =
        |t: Option<std::thread::JoinHandle<Vec<u8>>>| t.and_then(|t| t.join().ok()).unwrap_or_default();
    Ok(Output { status, stdout: text(out), stderr: text(err) })
}

/// Runs `command` and gives its standard output.
///
/// # Errors
/// As [`output`], and when it does not exit with 0: the message shows what it wrote.
pub fn run(command: &mut Command, limit: Duration) -> Result<String> {
    let shown = format!("{command:?}");
    let out = output(command, limit)?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    if !out.status.success() {
        bail!("{shown}: {}: {}{text}", out.status, String::from_utf8_lossy(&out.stderr));
    }
    Ok(text)
}

/// Reads a pipe to its end in a thread of its own.
fn drain(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        // What came before an error is all that there is.
        let _ = from.read_to_end(&mut all);
        all
    })
}

/// Waits for the end of `child`; kills it at the deadline.
fn wait_or_kill(child: &mut Child, name: &str, limit: Duration) -> Result<ExitStatus> {
    let limit = limit * wait::slow_factor();
    let end = Instant::now() + limit;
    let mut pause = Duration::from_micros(500);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            bail!("{name} ran longer than {} s and was killed", limit.as_secs_f32());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// A process that ends when this goes.
#[derive(Debug)]
pub struct Guarded {
    child: Child,
    name: String,
    /// Time between SIGTERM and SIGKILL.
    grace: Duration,
}

impl Guarded {
    /// Starts `command`; its guard first asks (SIGTERM), and kills after `grace`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(command: &mut Command, name: &str, grace: Duration) -> Result<Self> {
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { child, name: name.to_owned(), grace })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its name in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// waitpid(2) failed.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Fails when it ended.
    ///
    /// # Errors
    /// It ended; the text says how, with the last lines of `log`.
    pub fn must_run(&mut self, log: &Path) -> Result<()> {
        if let Some(status) = self.ended()? {
            bail!("{} ended: {status}; {}", self.name, tail(log, 15));
        }
        Ok(())
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// kill(2) failed, as it does when the process has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        signal_pid(self.child.id(), signal)
    }

    /// Asks it to end, waits, kills it if it does not.
    ///
    /// # Errors
    /// waitpid(2) failed.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        let _ = self.signal(Signal::CONT);
        let _ = self.signal(Signal::TERM);
        let waited = {
            let child = &mut self.child;
            wait::until(&self.name, self.grace, || Ok(child.try_wait()?))
        };
        match waited {
            Ok(status) => Ok(status),
            Err(_) => {
                self.child.kill()?;
                Ok(self.child.wait()?)
            }
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// Sends a signal to a process by its id; where it is to stand still, it does so when this returns.
///
/// # Errors
/// There is no such process, or it goes on.
pub fn signal_pid(pid: u32, signal: Signal) -> Result<()> {
    let to = i32::try_from(pid).ok().and_then(Pid::from_raw).context("not a process id")?;
    kill_process(to, signal).with_context(|| format!("signal to {pid}"))?;
    if signal == Signal::STOP {
        // A thread that runs stops only when it gets to know of it: until then it may answer.
        wait::until_true("a process to stand still", STOPS, || {
            Ok(!has_thread(pid, |state| !"TtZX".contains(state)))
        })?;
    }
    Ok(())
}

/// Whether a process is there and is no zombie.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    stat_of(pid).is_some_and(|(state, _)| state != 'Z' && state != 'X')
}

/// Does a thread of this process run, or would it if it had a processor?
#[must_use]
pub fn runs(pid: u32) -> bool {
    has_thread(pid, |state| state == 'R')
}

/// Has it a thread in such a state?
fn has_thread(pid: u32, is_such: impl Fn(char) -> bool) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    threads.flatten().any(|t| stat_in(&t.path()).is_some_and(|(state, _)| is_such(state)))
}

/// Has this process a TCP connection, in whatever state?
#[must_use]
pub fn has_connection(pid: u32) -> bool {
    let Ok(open) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let sockets: Vec<String> = open
        .flatten()
        .filter_map(|fd| {
            let target = std::fs::read_link(fd.path()).ok()?;
            Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    ["tcp", "tcp6"].iter().any(|table| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        text.lines().skip(1).any(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            // Fields 3 and 9: state (0A listens), inode.
            fields.get(3).is_some_and(|state| *state != "0A")
                && fields.get(9).is_some_and(|inode| sockets.iter().any(|s| s == inode))
        })
    })
}

/// The processes whose parent is `pid`.
#[must_use]
pub fn children_of(pid: u32) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let mut found: Vec<u32> = entries
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .filter(|&p| stat_of(p).is_some_and(|(state, parent)| parent == pid && state != 'Z'))
        .collect();
    found.sort_unstable();
    found
}

/// All processes below `pid`, parents before children.
#[must_use]
pub fn descendants_of(pid: u32) -> Vec<u32> {
    let mut all = children_of(pid);
    let mut next = 0;
    while let Some(&p) = all.get(next) {
        all.extend(children_of(p));
        next += 1;
    }
    all
}

/// The processes whose program has this name (as in /proc/PID/comm).
#[must_use]
pub fn named(name: &str) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .filter(|p: &u32| {
            std::fs::read_to_string(format!("/proc/{p}/comm")).is_ok_and(|c| c.trim_end() == name)
        })
        .filter(|&p| is_alive(p))
        .collect()
}

/// State and parent of a process.
fn stat_of(pid: u32) -> Option<(char, u32)> {
    stat_in(Path::new(&format!("/proc/{pid}")))
}

/// State and parent of the process or thread that this directory of /proc describes.
fn stat_in(dir: &Path) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(dir.join("stat")).ok()?;
    // The name in parentheses may have blanks and parentheses itself.
    let mut rest = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    Some((rest.next()?.chars().next()?, rest.next()?.parse().ok()?))
}

/// The last `lines` lines of a file, for messages.
#[must_use]
pub fn tail(file: &Path, lines: usize) -> String {
    let text = std::fs::read(file).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    let from = all.len().saturating_sub(lines);
    format!("end of {}:\n{}", file.display(), all.get(from..).unwrap_or_default().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_keeps_both_streams_and_the_status() {
        let out =
            output(Command::new("sh").args(["-c", "echo o; echo e >&2; exit 3"]), Duration::from_secs(10))
                .unwrap();
        assert_eq!((out.status.code(), out.stdout, out.stderr), (Some(3), b"o\n".to_vec(), b"e\n".to_vec()));
    }

    #[test]
    fn a_command_reads_its_input_or_leaves_it() {
        let limit = Duration::from_secs(10);
        let much = vec![b'x'; 1 << 20];
        let out = output_with_input(Command::new("wc").arg("-c"), &much, limit).unwrap();
        assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), "1048576");
        assert!(output_with_input(&mut Command::new("true"), &much, limit).unwrap().status.success());
    }

    #[test]
    fn a_command_that_hangs_is_killed() {
        let start = Instant::now();
        let e = output(Command::new("sleep").arg("60"), Duration::from_millis(100)).unwrap_err();
        assert!(e.to_string().contains("was killed"), "{e}");
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_failing_command_shows_what_it_wrote() {
        let e = run(Command::new("sh").args(["-c", "echo why >&2; exit 1"]), Duration::from_secs(10))
            .unwrap_err();
        assert!(e.to_string().contains("why"), "{e}");
    }

    #[test]
    fn a_process_that_waits_does_not_run_and_has_the_connections_that_it_has() {
        let waits = Guarded::spawn(Command::new("sleep").arg("60"), "sleep", Duration::from_secs(5)).unwrap();
        wait::until_true("its sleep", Duration::from_secs(10), || Ok(!runs(waits.pid()))).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let busy = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let busy = Guarded { child: busy, name: "sh".into(), grace: Duration::ZERO };
        wait::until_true("its work", Duration::from_secs(10), || Ok(runs(busy.pid()))).unwrap();
        let connection = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(has_connection(std::process::id()));
        assert!(!has_connection(waits.pid()));
        drop(connection);
    }

    #[test]
    fn the_guard_ends_its_process() {
        let g = Guarded::spawn(Command::new("sleep").arg("60"), "sleep", Duration::from_secs(5)).unwrap();
        let pid = g.pid();
        assert!(is_alive(pid));
        assert!(children_of(std::process::id()).contains(&pid));
        drop(g);
        assert!(!is_alive(pid));
    }
}
