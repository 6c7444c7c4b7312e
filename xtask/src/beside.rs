//! A world beside the rest: tests wait more than they compute, so one run has two of them at once.

use crate::guest_suites;
use crate::plan::Choice;
use crate::report::Line;
use crate::{cell, guest_tree, say};
use anyhow::{Context as _, Result};
use integration::kernel_client::KernelClient;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// With less memory that is free, MiB, one comes after the other: a guest takes three GiB.
const ENOUGH: u64 = 6 << 10;

/// Whether this machine is up to that.
///
/// # Errors
/// Nothing is known of it.
pub(crate) fn is_possible() -> Result<bool> {
    let several = thread::available_parallelism().context("processors")?.get() > 1;
    Ok(several && free(&fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?)? >= ENOUGH)
}

/// MiB that are free by the text of /proc/meminfo.
fn free(meminfo: &str) -> Result<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemAvailable:")).context("MemAvailable")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().context("MemAvailable")?;
    Ok(kib >> 10)
}

/// What guests are made of, being fetched and built.
#[derive(Debug)]
pub(crate) struct Parts(JoinHandle<Result<()>>);

impl Parts {
    /// Begins; what goes wrong is told when a guest is wanted.
    pub(crate) fn begin(choice: &Choice<'_>) -> Self {
        let with_module = guest_suites::is_for(choice, KernelClient::Openafs);
        Self(thread::spawn(move || guest_tree::ensure(with_module).map(drop)))
    }

    /// Waits for the end of it.
    pub(crate) fn wait(self) {
        match self.0.join() {
            Ok(Ok(())) => {}
            Ok(Err(e)) => say(&format!("parts of guests: {e:#}")),
            Err(_) => say("parts of guests: a panic"),
        }
    }
}

/// Suites in a process of their own, which ends with this one.
#[derive(Debug)]
pub(crate) struct Beside {
    name: &'static str,
    child: Child,
    /// What it says, and what came of its suites.
    log: PathBuf,
    results: PathBuf,
}

impl Beside {
    /// Begins `cargo xtask test` for the part of what was chosen that `name` stands for. All programs have to be built, since
    /// the others in this run use them.
    ///
    /// # Errors
    /// No process can be started, or no file be written.
    pub(crate) fn begin(name: &'static str, choice: &Choice<'_>) -> Result<Self> {
        let dir = cell::target_dir()?.join("world");
        cell::reserve(&dir.join(name))?;
        let (log, results) = (dir.join(format!("{name}.log")), dir.join(format!("{name}.json")));
        let _ = fs::remove_file(&results);
        let out = File::create(&log).with_context(|| log.display().to_string())?;
        let child = Command::new(std::env::current_exe().context("path of this program")?)
            .arg("test")
            .args(choice.words())
            .arg("--results")
            .arg(&results)
            .stdin(Stdio::piped())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .context(name)?;
        say(&format!("{name}: run beside, {}", log.display()));
        Ok(Self { name, child, log, results })
    }

    /// Shows what it has said, and what it says until its end.
    ///
    /// # Errors
    /// The process is lost.
    pub(crate) fn wait(mut self, lines: &mut Vec<Line>) -> Result<()> {
        let name = self.name;
        say(&format!("== {name}"));
        let mut said = File::open(&self.log).context(name)?;
        let status = loop {
            // Asked first, so that its last words are shown. Not `wait`: that would close its standard input, which ends it.
            let status = self.child.try_wait().context(name)?;
            io::copy(&mut said, &mut io::stderr()).context(name)?;
            if let Some(status) = status {
                break status;
            }
            thread::sleep(Duration::from_millis(200));
        };
        lines.extend(done(name, &self.results, &status.to_string()));
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// What came of its suites; nothing is known of those of a process that did not get so far.
fn done(name: &str, results: &Path, status: &str) -> Vec<Line> {
    let read = || -> Result<Vec<Line>> { Ok(serde_json::from_slice(&fs::read(results)?)?) };
    read().unwrap_or_else(|e| {
        let why = format!("{name}: {status}, and nothing is known of the suites: {e:#}");
        say(&why);
        vec![Line { why: vec![why], ..Line::failed(name, 0.0) }]
    })
}

/// In such a process: what came of its suites goes to the run that it is a part of.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn tell(results: &Path, lines: &[Line]) -> Result<()> {
    fs::write(results, serde_json::to_vec(lines)?).with_context(|| results.display().to_string())
}

/// In such a process: it ends when whoever started it has ended, in whatever way. Nobody holds the other end of its standard
/// input then. Worlds and guests end with it.
pub(crate) fn end_with_parent() {
    thread::spawn(|| {
        let mut nothing = [0];
        while io::stdin().read(&mut nothing).is_ok_and(|n| n > 0) {}
        #[allow(clippy::exit, reason = "nobody waits for anything of it any more")]
        std::process::exit(130);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_memory_is_found() {
        assert_eq!(free("MemTotal:  9 kB\nMemAvailable:   24576 kB\nSwap: 1 kB\n").unwrap(), 24);
        assert!(free("MemTotal: 9 kB\n").is_err());
        is_possible().unwrap();
    }

    #[test]
    fn who_says_nothing_of_the_suites_has_failed() {
        let dir = tempfile::tempdir().unwrap();
        let results = dir.path().join("event.json");
        let lines = done("event", &results, "exit status: 1");
        assert_eq!(lines.len(), 1);
        assert!(lines[0].has_failed() && lines[0].why[0].contains("exit status: 1"));
        let line = Line { passed: true, ..Line::failed("access", 1.0) };
        tell(&results, &[line]).unwrap();
        let lines = done("event", &results, "exit status: 0");
        assert!(lines.len() == 1 && !lines[0].has_failed());
    }
}
