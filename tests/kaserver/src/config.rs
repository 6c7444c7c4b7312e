//! The configuration: a cell and its principals, as JSON.
//!
//! ```json
//! { "cell": "test.example",
//!   "afs": { "password": "pw-afs", "kvno": 0 },
//!   "krbtgt": { "key": "7620cb29e980c280", "kvno": 1 },
//!   "users": [ { "name": "alice", "password": "pw-alice" },
//!              { "name": "eve", "password": "pw-eve", "attempts": 2, "expires_days": 30 } ] }
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::des::Key;
use crate::error::Error;
use crate::lifetime::MAX_S;
use crate::string_to_key::string_to_key;

/// How long a user's tickets may live unless the configuration says otherwise: 25 hours.
const USER_LIFE_S: u32 = 25 * 3600;
/// The same for `afs`: 100 hours.
const AFS_LIFE_S: u32 = 100 * 3600;

/// A cell with its principals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Full name of the cell.
    pub cell: String,
    /// Its realm; the cell's name in upper case if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub realm: Option<String>,
    /// The file servers' key: the one in KeyFile.
    pub afs: ServiceConfig,
    /// The ticket-granting key.
    pub krbtgt: ServiceConfig,
    /// Who can log in.
    #[serde(default)]
    pub users: Vec<UserConfig>,
}

/// A key, either itself or by the password it comes from.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeySource {
    /// 16 hexadecimal digits.
    Key(String),
    /// A password, of which the cell makes a key.
    Password(String),
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::Key(_)) { "Key(..)" } else { "Password(..)" })
    }
}

/// A server's principal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceConfig {
    /// Its key.
    #[serde(flatten)]
    pub key: KeySource,
    /// The key's version number.
    #[serde(default)]
    pub kvno: u8,
    /// The longest life of tickets for it, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_life_s: Option<u32>,
}

/// A user's principal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserConfig {
    /// Name, 1 to 63 bytes.
    pub name: String,
    /// Instance, up to 63 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instance: String,
    /// Password or key.
    #[serde(flatten)]
    pub key: KeySource,
    /// Failed logins before the user is locked; 0 = no limit.
    ///
    /// As in the original it takes twice as many requests, since klog sends two for each wrong password.
    #[serde(default)]
    pub attempts: u8,
    /// How long a lock lasts, and after which time a failure is forgotten, in seconds; 0 = for ever.
    #[serde(default)]
    pub lock_s: u32,
    /// Days until the password expires, counted from the server's start; left out or 0 = never.
    #[serde(default)]
    pub expires_days: u8,
    /// The password has expired already.
    #[serde(default)]
    pub expired: bool,
    /// When the principal itself expires, in seconds since 1970; left out = never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration: Option<u32>,
    /// The longest life of its tickets, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_life_s: Option<u32>,
    /// The principal may have no tickets at all (`kas setfields -flags NOTGS`).
    #[serde(default)]
    pub no_tickets: bool,
}

impl UserConfig {
    /// A user with nothing special about him.
    #[must_use]
    pub fn plain(name: &str, password: &str) -> Self {
        Self {
            name: name.to_owned(),
            instance: String::new(),
            key: KeySource::Password(password.to_owned()),
            attempts: 0,
            lock_s: 0,
            expires_days: 0,
            expired: false,
            expiration: None,
            max_life_s: None,
            no_tickets: false,
        }
    }
}

impl Config {
    /// A cell without users.
    #[must_use]
    pub fn new(cell: &str, afs: ServiceConfig, krbtgt: ServiceConfig) -> Self {
        Self { cell: cell.to_owned(), realm: None, afs, krbtgt, users: Vec::new() }
    }

    /// Reads JSON.
    ///
    /// # Errors
    /// [`Error::Json`] with line and column.
    pub fn parse(json: &str) -> Result<Self, Error> {
        Ok(serde_json::from_str(json)?)
    }

    /// The realm.
    #[must_use]
    pub fn realm(&self) -> String {
        self.realm.clone().unwrap_or_else(|| self.cell.to_ascii_uppercase())
    }

    /// The key that seals the cell's tokens, and its version number: what belongs into KeyFile.
    ///
    /// # Errors
    /// [`Error::BadKey`] if it is no key.
    pub fn afs_key(&self) -> Result<(Key, i32), Error> {
        Ok((self.afs.key.resolve(&self.cell)?, self.afs.kvno.into()))
    }
}

impl KeySource {
    /// The key itself.
    ///
    /// # Errors
    /// [`Error::BadKey`] if the digits are none.
    pub fn resolve(&self, cell: &str) -> Result<Key, Error> {
        match self {
            Self::Key(digits) => digits.parse(),
            Self::Password(password) => Ok(string_to_key(password.as_bytes(), cell)),
        }
    }
}

impl ServiceConfig {
    /// A server with the key of a password, version 0.
    #[must_use]
    pub fn with_password(password: &str) -> Self {
        Self { key: KeySource::Password(password.to_owned()), kvno: 0, max_life_s: None }
    }

    /// A server with this key.
    #[must_use]
    pub fn with_key(hex: &str, kvno: u8) -> Self {
        Self { key: KeySource::Key(hex.to_owned()), kvno, max_life_s: None }
    }

    /// The longest life of tickets for the file servers.
    pub(crate) fn afs_life_s(&self) -> u32 {
        self.max_life_s.unwrap_or(AFS_LIFE_S)
    }

    /// The longest life of ticket-granting tickets.
    pub(crate) fn krbtgt_life_s(&self) -> u32 {
        self.max_life_s.unwrap_or(MAX_S)
    }
}

impl UserConfig {
    /// A user with a password and nothing special.
    #[must_use]
    pub fn new(name: &str, password: &str) -> Self {
        Self {
            name: name.to_owned(),
            instance: String::new(),
            key: KeySource::Password(password.to_owned()),
            attempts: 0,
            lock_s: 0,
            expires_days: 0,
            expired: false,
            expiration: None,
            max_life_s: None,
            no_tickets: false,
        }
    }

    /// The longest life of his tickets.
    pub(crate) fn life_s(&self) -> u32 {
        self.max_life_s.unwrap_or(USER_LIFE_S)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{ "cell": "test.example",
        "afs": { "password": "pw-afs" },
        "krbtgt": { "key": "7620cb29e980c280", "kvno": 1 },
        "users": [ { "name": "alice", "password": "pw-alice" },
                   { "name": "eve", "instance": "admin", "key": "708a86ad6498c4c4", "attempts": 2,
                     "lock_s": 60, "expires_days": 30, "expired": true, "max_life_s": 600, "no_tickets": true } ] }"#;

    #[test]
    fn the_example_is_read_and_written_back() {
        let config = Config::parse(JSON).unwrap();
        assert_eq!(config.realm(), "TEST.EXAMPLE");
        assert_eq!(config.afs_key().unwrap(), ("67ad61d0ec8598ea".parse().unwrap(), 0));
        assert_eq!(config.users[0], UserConfig::new("alice", "pw-alice"));
        assert_eq!(Config::parse(&serde_json::to_string(&config).unwrap()).unwrap(), config);
    }

    #[test]
    fn what_is_missing_or_misspelt_is_refused() {
        for (from, to) in [
            ("\"cell\"", "\"zell\""),
            ("\"password\": \"pw-afs\"", "\"kvno\": 1"),
            ("pw-alice\"", "x\", \"name\": 1"),
        ] {
            assert!(Config::parse(&JSON.replacen(from, to, 1)).is_err(), "{from}");
        }
        let bad = Config::parse(&JSON.replace("7620cb29e980c280", "7620")).unwrap();
        assert!(bad.krbtgt.key.resolve("test.example").is_err());
    }

    #[test]
    fn debug_shows_no_secret() {
        assert!(!format!("{:?}", Config::parse(JSON).unwrap()).contains("pw-alice"));
    }
}
