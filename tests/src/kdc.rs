//! One KDC of the world: starts it, ends it, makes it silent or wrong, and changes what is in its database.
//!
//! Any process of root's in the world may do so, since a KDC is nobody's child: it goes into the background when it listens.
//! It ends with the world. Its database is asked and changed by Debian's `kadmin.local`.

use crate::world::Realm;
use crate::{process, wait};
use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use zeroize::Zeroizing;

/// Time for each step.
const LIMIT: Duration = Duration::from_secs(60);
/// The password that an impostor's users have, all of them.
pub const IMPOSTORS_PASSWORD: &str = "whatever the impostor likes";
/// Longest life of tickets, as kaservers have it.
pub(crate) const MAX_LIFE: &str = "25h";
/// Longest value of a configuration file that libkrb5's parser takes, with some room.
const VALUE_LIMIT: usize = 1_900;
/// Directory of the library that gives a process another clock, in a directory of Debian's for libraries.
const FAKETIME: &str = "faketime/libfaketime.so.1";

/// How a KDC runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// As it should.
    Usual,
    /// Its clock is so many seconds ahead, or behind.
    Skewed(i64),
    /// Its tickets have at least so many bytes of authorization data: an authentication indicator of that length, which it puts
    /// into the tickets of whoever preauthenticates himself by SPAKE, as clients do where a KDC offers it.
    LargeTickets(usize),
    /// It is somebody else's, who has none of the realm's keys: a database of his own under the realm's name, in which all the
    /// realm's users have [`IMPOSTORS_PASSWORD`]. A login succeeds there; what the AFS servers say of the ticket is the question.
    Impostor,
}

/// A KDC of the world.
#[derive(Debug, Clone, Copy)]
pub struct Kdc<'a> {
    realm: &'a Realm,
}

impl<'a> Kdc<'a> {
    /// The KDC of a realm.
    #[must_use]
    pub fn of(realm: &'a Realm) -> Self {
        Self { realm }
    }

    /// Its process id, if it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        let pid = fs::read_to_string(&self.realm.pid_file).ok()?.trim().parse().ok()?;
        process::is_alive(pid).then_some(pid)
    }

    /// Starts it; it listens when this returns.
    ///
    /// # Errors
    /// It runs already, or does not come up.
    pub fn start(&self, manner: Manner) -> Result<()> {
        self.bring_up(manner).with_context(|| format!("KDC of {}", self.realm.name))
    }

    fn bring_up(&self, manner: Manner) -> Result<()> {
        ensure!(self.pid().is_none(), "it runs already");
        let conf = self.configuration(manner)?;
        let mut command = Command::new("krb5kdc");
        command.args(["-r", &self.realm.name, "-P"]).arg(&self.realm.pid_file);
        point_to(&mut command, &conf);
        if let Manner::Skewed(seconds) = manner {
            command.env("LD_PRELOAD", faketime()?).env("FAKETIME", format!("{seconds:+}"));
            // Its timers go by another clock, which stays right.
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        let log = || process::tail(&self.realm.log, 10);
        // It ends as soon as its child listens; what that wrote until then it keeps in its log.
        process::run(&mut command, LIMIT).with_context(log)?;
        wait::until("its process id", LIMIT, || Ok(self.pid())).with_context(log)?;
        Ok(())
    }

    /// The file that it reads.
    fn configuration(&self, manner: Manner) -> Result<PathBuf> {
        let file = &self.realm.kdc_conf;
        let dir = file.parent().context("configuration without directory")?;
        match manner {
            Manner::Usual | Manner::Skewed(_) => Ok(file.clone()),
            Manner::LargeTickets(bytes) => {
                let text = with_large_tickets(&fs::read_to_string(file)?, &self.realm.name, bytes)?;
                let large = dir.join("large.conf");
                fs::write(&large, text)?;
                Ok(large)
            }
            Manner::Impostor => {
                let own = dir.join("impostor");
                let conf = own.join("kdc.conf");
                if !own.exists() {
                    fs::create_dir(&own)?;
                    let usual = fs::read_to_string(file)?;
                    let text = usual.replace(&format!("{}/", dir.display()), &format!("{}/", own.display()));
                    fs::write(&conf, text)?;
                    create_database(&self.realm.name, &conf)?;
                    kadmin(&self.realm.name, &conf, &self.impostors_commands())?;
                }
                Ok(conf)
            }
        }
    }

    /// What an impostor's database is made of.
    fn impostors_commands(&self) -> Vec<String> {
        let mut all = Vec::new();
        for user in &self.realm.users {
            let password = quoted(IMPOSTORS_PASSWORD);
            all.push(format!("add_principal -clearpolicy +requires_preauth -pw {password} {}", user.name));
        }
        all.extend(self.realm.afs.iter().map(|afs| format!("add_principal -clearpolicy -randkey {afs}")));
        all
    }

    /// Ends it: nothing listens at its address any more.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(&self) -> Result<()> {
        if let Some(pid) = self.pid() {
            // It may end by itself meanwhile.
            let _ = process::signal_pid(pid, Signal::CONT);
            let _ = process::signal_pid(pid, Signal::TERM);
            wait::until_true("the end of the KDC", LIMIT, || Ok(!process::is_alive(pid)))?;
        }
        match fs::remove_file(&self.realm.pid_file) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e.into()),
            _ => Ok(()),
        }
    }

    /// Ends it if it runs, and starts it.
    ///
    /// # Errors
    /// As [`Kdc::stop`] and [`Kdc::start`].
    pub fn restart(&self, manner: Manner) -> Result<()> {
        self.stop()?;
        self.start(manner)
    }

    /// Makes it silent: it takes requests and answers none.
    ///
    /// # Errors
    /// It does not run.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it answer again, also what came meanwhile.
    ///
    /// # Errors
    /// It does not run.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().with_context(|| format!("the KDC of {} does not run", self.realm.name))?;
        process::signal_pid(pid, signal)
    }

    /// Has `kadmin.local` do these commands, one after the other in one process: what it printed.
    ///
    /// A word with blanks or quotes in it is written by [`quoted`].
    ///
    /// # Errors
    /// One of them failed; the later ones are done all the same.
    pub fn kadmin<C: AsRef<str>>(&self, commands: &[C]) -> Result<String> {
        kadmin(&self.realm.name, &self.realm.kdc_conf, commands)
    }

    /// Writes the keys of a user or service to a keytab, which is made if it is not there; its password stays as it is.
    ///
    /// # Errors
    /// There is no such principal.
    pub fn keytab(&self, principal: &str, file: &Path) -> Result<()> {
        let file = file.to_str().context("odd path of a keytab")?;
        self.kadmin(&[format!("ktadd -norandkey -k {} {principal}", quoted(file))]).map(|_| ())
    }

    /// The keys that the database has of a user or service, of each kind.
    ///
    /// # Errors
    /// There is no such principal.
    pub fn keys(&self, principal: &str) -> Result<Vec<Zeroizing<Vec<u8>>>> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("keytab");
        self.keytab(principal, &file)?;
        let out = process::output(Command::new("klist").args(["-k", "-K"]).arg(&file), LIMIT)?;
        let complaints = String::from_utf8_lossy(&out.stderr);
        ensure!(out.status.success(), "klist: {complaints}");
        let text = Zeroizing::new(String::from_utf8(out.stdout)?);
        let keys: Vec<_> = text.lines().filter_map(key_in).collect();
        ensure!(!keys.is_empty(), "no keys of {principal} in {}", self.realm.name);
        Ok(keys)
    }

    /// Gives a user another password.
    ///
    /// # Errors
    /// There is no such user.
    pub fn set_password(&self, user: &str, password: &str) -> Result<()> {
        self.kadmin(&[format!("change_password -pw {} {user}", quoted(password))]).map(|_| ())
    }

    /// Gives a user tickets of another life, seconds; `None`: of the realm's.
    ///
    /// # Errors
    /// There is no such user.
    pub fn set_life(&self, user: &str, seconds: Option<u64>) -> Result<()> {
        let life = seconds.map_or_else(|| MAX_LIFE.to_owned(), |s| format!("{s} seconds"));
        self.kadmin(&[format!("modify_principal -maxlife {} {user}", quoted(&life))]).map(|_| ())
    }

    /// Lets a user in again who was locked out.
    ///
    /// # Errors
    /// There is no such user.
    pub fn unlock(&self, user: &str) -> Result<()> {
        self.kadmin(&[format!("modify_principal -unlock {user}")])?;
        // Failures in the same second would not count.
        std::thread::sleep(Duration::from_millis(1_001));
        Ok(())
    }
}

/// Makes an empty database.
pub(crate) fn create_database(realm: &str, conf: &Path) -> Result<()> {
    // The master key's password, twice; it is also kept in a file, so that nobody is asked for it later.
    let master = format!("master of {realm}\nmaster of {realm}\n");
    let mut create = Command::new("kdb5_util");
    point_to(&mut create, conf);
    create.args(["-r", realm, "create", "-s"]);
    let out = process::output_with_input(&mut create, master.as_bytes(), LIMIT)?;
    if !out.status.success() {
        bail!("kdb5_util: {}: {}", out.status, String::from_utf8_lossy(&out.stderr));
    }
    Ok(())
}

/// See [`Kdc::kadmin`].
fn kadmin<C: AsRef<str>>(realm: &str, conf: &Path, commands: &[C]) -> Result<String> {
    let mut input = Zeroizing::new(String::new());
    for command in commands {
        let command = command.as_ref();
        ensure!(!command.contains('\n'), "a command of kadmin.local is one line");
        input.push_str(command);
        input.push('\n');
    }
    let mut kadmin = Command::new("kadmin.local");
    kadmin.args(["-r", realm]);
    point_to(&mut kadmin, conf);
    let out = process::output_with_input(&mut kadmin, input.as_bytes(), LIMIT)?;
    // Its status does not tell whether a command failed.
    let complaints = String::from_utf8_lossy(&out.stderr);
    if !out.status.success() || !complaints.is_empty() {
        bail!("kadmin.local of {realm}: {}: {complaints}", out.status);
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// The key in a line of klist's: `   2 afs/cell.example@CELL.EXAMPLE (0x0123...)`.
fn key_in(line: &str) -> Option<Zeroizing<Vec<u8>>> {
    let digits = line.split_once(" (0x")?.1.strip_suffix(')')?.as_bytes().chunks(2);
    let key = digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    key.collect::<Option<Vec<u8>>>().map(Zeroizing::new)
}

/// A word for [`Kdc::kadmin`].
#[must_use]
pub fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('"', "\"\""))
}

/// Lets a program of MIT Kerberos take its whole configuration from this file.
fn point_to(command: &mut Command, conf: &Path) {
    command.env("KRB5_KDC_PROFILE", conf).env("KRB5_CONFIG", conf);
}

/// The library that gives a process another clock.
fn faketime() -> Result<PathBuf> {
    fs::read_dir("/usr/lib")?
        .filter_map(|e| Some(e.ok()?.path().join(FAKETIME)))
        .find(|p| p.is_file())
        .context("libfaketime is not there")
}

/// A KDC's configuration, and in addition SPAKE with an indicator of so many bytes.
fn with_large_tickets(conf: &str, realm: &str, bytes: usize) -> Result<String> {
    let start = format!("{realm} = {{\n");
    let (before, rest) = conf.split_once(&start).context("no such realm in the configuration")?;
    let mut indicators = String::new();
    let mut left = bytes;
    for n in 0.. {
        if left == 0 {
            break;
        }
        let len = left.min(VALUE_LIMIT);
        // No two may be equal.
        indicators
            .push_str(&format!("spake_preauth_indicator = {}\n", format!("{n:02}").repeat(len.div_ceil(2))));
        left -= len;
    }
    Ok(format!("[libdefaults]\nspake_preauth_groups = edwards25519\n{before}{start}{indicators}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_as_kadmin_reads_them() {
        assert_eq!(quoted("a b"), "\"a b\"");
        assert_eq!(quoted("say \"x\""), "\"say \"\"x\"\"\"");
    }

    #[test]
    fn keys_are_read_from_what_klist_says() {
        let key = key_in("   2 afs/cell.example@CELL.EXAMPLE (0x00fe7f)").unwrap();
        assert_eq!(&key[..], &[0x00, 0xfe, 0x7f]);
        for other in ["Keytab name: FILE:/tmp/keytab", "KVNO Principal", "   2 afs@X (0x0g)"] {
            assert!(key_in(other).is_none(), "{other}");
        }
    }

    #[test]
    fn large_tickets_come_of_several_indicators() {
        let conf = with_large_tickets("[realms]\nA.B = {\nx = y\n}\n", "A.B", 4_000).unwrap();
        let lines: Vec<_> = conf.lines().filter(|l| l.starts_with("spake_preauth_indicator")).collect();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|l| l.len() < 2_000));
        assert!(conf.ends_with("x = y\n}\n"), "{conf}");
        assert!(with_large_tickets("[realms]\n", "A.B", 1).is_err());
    }
}
