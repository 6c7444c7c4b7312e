//! What a worker may ask of the broker.

use core::fmt;
use pag::Principal;
use std::net::IpAddr;
use zeroize::Zeroizing;

/// A password as it came: 1 to 255 bytes, any but NUL. Wiped on drop, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<Vec<u8>>);

impl Password {
    /// Longest password in bytes.
    pub const MAX: usize = 255;

    /// Takes it if a cell could have it.
    #[must_use]
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Option<Self> {
        (!bytes.is_empty() && bytes.len() <= Self::MAX && !bytes.contains(&0)).then_some(Self(bytes))
    }

    /// The bytes, for the one who compares or sends them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// One request.
#[derive(Debug, Clone)]
pub enum Request {
    /// The token of a visitor.
    GetToken(GetToken),
    /// Is anybody there? Answered by [`crate::Reply::Pong`].
    Ping,
    /// The token of a service identity: one of those that the configuration names.
    Service(Service),
    /// Whether a visitor is in a group.
    Member(Member),
}

/// A service identity: whose token is used where no visitor is logged in. Its key lies in a file that no worker can read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Service {
    /// Principal and cell, and his realm if that is not the cell's own.
    pub who: Principal,
    /// The file: a keytab, or for a kaserver a srvtab.
    pub key_file: String,
}

impl Service {
    /// Longest path of a key file, in bytes: it goes over lanes.
    pub const KEY_FILE_MAX: usize = 255;

    /// Whether the path can be one.
    #[must_use]
    pub fn fits(key_file: &str) -> bool {
        key_file.starts_with('/')
            && key_file.len() <= Self::KEY_FILE_MAX
            && !key_file.chars().any(char::is_control)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.who.fmt(f)
    }
}

/// Whether the bearer of these credentials is in a group of his cell. Whoever cannot show them learns nothing of it.
#[derive(Debug, Clone)]
pub struct Member {
    /// The visitor.
    pub login: GetToken,
    /// The group, as the cell knows it.
    pub group: String,
}

impl Member {
    /// Longest name of a group, in bytes (OpenAFS's `PR_MAXNAMELEN`, without the NUL).
    pub const GROUP_MAX: usize = 63;

    /// Whether a group can be called so: as protection servers keep names, in lower case.
    #[must_use]
    pub fn fits(group: &str) -> bool {
        let ok = |b: u8| b.is_ascii_graphic() && !b.is_ascii_uppercase();
        !group.is_empty() && group.len() <= Self::GROUP_MAX && group.bytes().all(ok)
    }
}

/// A visitor's credentials, and how long the asker may use what comes of them.
#[derive(Debug, Clone)]
pub struct GetToken {
    /// User name as typed, without cell or realm.
    pub user: String,
    /// Canonical cell name.
    pub cell: String,
    /// The realm whose user he is, if he named one instead of a cell: one of the allowed ones, as it is written there.
    pub realm: Option<String>,
    /// The password.
    pub password: Password,
    /// Address of the visitor, for the limits.
    pub address: IpAddr,
    /// SetAFSTokenExpiration: lifetime asked for at login, seconds; 0 = what the cell gives.
    pub token_lifetime_s: u32,
    /// SetAFSCacheExpiration: the broker may answer from its cache for so long, seconds; 0 = until the token ends.
    pub cache_expiration_s: u32,
}
