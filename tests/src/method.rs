//! How the users of a world's cells are authenticated: both ways are there, with the same names and passwords.

use anyhow::{Context as _, Result};
use std::fmt;

/// What names the method for a suite.
pub const VARIABLE: &str = "AFSWEB_METHOD";

/// A method, by its name in `AFSAuthMethod`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The cell's kaserver.
    Kaserver,
    /// The KDC of the cell's realm.
    Krb5,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Kaserver, Self::Krb5];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kaserver => "kaserver",
            Self::Krb5 => "krb5",
        }
    }

    /// The method that [`VARIABLE`] names; the kaserver's without it.
    ///
    /// # Errors
    /// There is no method of that name.
    pub fn from_env() -> Result<Self> {
        let Ok(name) = std::env::var(VARIABLE) else { return Ok(Self::Kaserver) };
        Self::ALL.into_iter().find(|m| m.as_str() == name).with_context(|| format!("no method {name:?}"))
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
