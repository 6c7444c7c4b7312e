//! Tickets by Debian's own kinit and kvno, and the AFS tokens that they make: for tests of what realms and servers do.
//!
//! It shares no code with the product's login, so that each can show the other's mistakes.

use crate::ccache::{self, Credential};
use crate::process;
use anyhow::{Context as _, Result, bail, ensure};
use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::Md5;
use pag::{Cell, SessionKey, Token};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;
use tempfile::TempDir;
use zeroize::Zeroizing;

/// Time for kinit and kvno: a KDC that does not answer is given up long before.
const LIMIT: Duration = Duration::from_secs(120);
/// What stands for a version of a key where the ticket is a whole one of Kerberos 5 (OpenAFS `src/rx/rxkad.h`).
const KVNO_WHOLE_TICKET: i32 = 256;
/// The kinds of session keys that are no DES keys and become one by the rule of [`des_key`].
const ENCTYPES: [u16; 5] = [17, 18, 19, 20, 23];
/// DES keys that nobody may use: the weak ones, and the pairs of semi-weak ones.
const WEAK: [u64; 16] = [
    0x0101_0101_0101_0101,
    0xfefe_fefe_fefe_fefe,
    0x1f1f_1f1f_0e0e_0e0e,
    0xe0e0_e0e0_f1f1_f1f1,
    0x01fe_01fe_01fe_01fe,
    0xfe01_fe01_fe01_fe01,
    0x1fe0_1fe0_0ef1_0ef1,
    0xe01f_e01f_f10e_f10e,
    0x01e0_01e0_01f1_01f1,
    0xe001_e001_f101_f101,
    0x1ffe_1ffe_0efe_0efe,
    0xfe1f_fe1f_fe0e_fe0e,
    0x011f_011f_010e_010e,
    0x1f01_1f01_0e01_0e01,
    0xe0fe_e0fe_f1fe_f1fe,
    0xfee0_fee0_fef1_fef1,
];

/// A credentials cache of one's own; it goes with this.
#[derive(Debug)]
pub struct Tickets {
    dir: TempDir,
    conf: Option<PathBuf>,
}

impl Tickets {
    /// An empty one.
    ///
    /// # Errors
    /// The file system's.
    pub fn new() -> Result<Self> {
        Ok(Self { dir: tempfile::tempdir()?, conf: None })
    }

    /// One for a client that is configured by this text instead of by /etc/krb5.conf.
    ///
    /// # Errors
    /// The file system's.
    pub fn configured(conf: &str) -> Result<Self> {
        let mut tickets = Self::new()?;
        let file = tickets.dir.path().join("krb5.conf");
        fs::write(&file, conf)?;
        tickets.conf = Some(file);
        Ok(tickets)
    }

    /// Logs in by kinit: what it said.
    ///
    /// # Errors
    /// What kinit said.
    pub fn log_in(&self, principal: &str, password: &str) -> Result<String> {
        let input = Zeroizing::new(format!("{password}\n"));
        let out = process::output_with_input(self.command("kinit").arg(principal), input.as_bytes(), LIMIT)?;
        succeeded(&out)
    }

    /// Logs in by kinit with the keys of a keytab: what it said.
    ///
    /// # Errors
    /// What kinit said.
    pub fn log_in_by_keytab(&self, principal: &str, keytab: &Path) -> Result<String> {
        let mut kinit = self.command("kinit");
        kinit.arg("-k").arg("-t").arg(keytab).arg(principal);
        succeeded(&process::output(&mut kinit, LIMIT)?)
    }

    /// What klist says of the tickets, with the kinds of their keys.
    ///
    /// # Errors
    /// There are none.
    pub fn list(&self) -> Result<String> {
        succeeded(&process::output(self.command("klist").arg("-e"), LIMIT)?)
    }

    /// Gets a ticket for a service by kvno.
    ///
    /// # Errors
    /// What kvno said.
    pub fn service(&self, principal: &str) -> Result<Credential> {
        succeeded(&process::output(self.command("kvno").arg(principal), LIMIT)?)?;
        let cache = Zeroizing::new(fs::read(self.cache())?);
        ccache::read(&cache)?
            .into_iter()
            .rfind(|c| c.server == principal)
            .with_context(|| format!("kvno left no ticket for {principal}"))
    }

    fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    /// A program of MIT Kerberos that uses this cache.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("LC_ALL", "C").env("KRB5CCNAME", format!("FILE:{}", self.cache().display()));
        command.envs(self.conf.as_ref().map(|c| ("KRB5_CONFIG", c)));
        command
    }
}

/// What a program said, or complained of.
fn succeeded(out: &Output) -> Result<String> {
    let [said, complaints] = [&out.stdout, &out.stderr].map(|b| String::from_utf8_lossy(b));
    if !out.status.success() {
        // Programs of MIT Kerberos name themselves.
        bail!("{}", complaints.trim_end());
    }
    Ok(format!("{said}{complaints}"))
}

/// The token that a ticket for the AFS service of `cell` makes.
///
/// # Errors
/// The session key is of a kind that makes none.
pub fn token(cell: &str, credential: &Credential) -> Result<Token> {
    Ok(Token {
        cell: Cell::new(cell)?,
        afs_id: 1,
        kvno: KVNO_WHOLE_TICKET,
        key: SessionKey(des_key(credential.enctype, &credential.key)?),
        begin: credential.start.into(),
        end: credential.end.into(),
        ticket: credential.ticket.clone(),
    })
}

/// The DES key that rxkad uses in place of a session key.
///
/// # Errors
/// The kind of key is DES, triple DES or an unknown one, which have rules of their own that no test here needs.
///
/// Source: OpenAFS `src/rxkad/ticket5.c` (`tkt_DeriveDesKey`).
pub fn des_key(enctype: u16, key: &[u8]) -> Result<[u8; 8]> {
    ensure!(ENCTYPES.contains(&enctype), "a session key of kind {enctype}");
    for n in 1..=u8::MAX {
        let mut mac = Hmac::<Md5>::new_from_slice(key).context("session key")?;
        mac.update(&[n]);
        mac.update(b"rxkad\0");
        // Of so many bits.
        mac.update(&64_u32.to_be_bytes());
        let digest = mac.finalize().into_bytes();
        let mut des = [0; 8];
        for (to, from) in des.iter_mut().zip(digest) {
            *to = (from & 0xfe) | u8::from((from & 0xfe).count_ones() % 2 == 0);
        }
        if !WEAK.contains(&u64::from_be_bytes(des)) {
            return Ok(des);
        }
    }
    bail!("no DES key comes of this session key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_keys_become_the_des_keys_that_openafs_makes_of_them() {
        let key: Vec<u8> = (0..32).collect();
        // What libafsrpc's tkt_DeriveDesKey gave.
        assert_eq!(des_key(18, &key).unwrap(), 0xb60d_b5e3_0b26_6b16_u64.to_be_bytes());
        assert_eq!(des_key(17, &key[..16]).unwrap(), 0x0783_8c58_c11c_64ab_u64.to_be_bytes());
        for enctype in [0, 1, 3, 16, 99] {
            assert!(des_key(enctype, &key).is_err(), "{enctype}");
        }
    }

    #[test]
    fn keys_that_nobody_may_use_have_odd_parity_and_are_different() {
        for (n, key) in WEAK.iter().enumerate() {
            assert!(key.to_be_bytes().iter().all(|b| b.count_ones() % 2 == 1), "{key:016x}");
            assert!(!WEAK.iter().skip(n + 1).any(|k| k == key), "{key:016x}");
        }
    }
}
