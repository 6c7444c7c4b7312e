//! What the httpd parent tells the broker; sent again, with a higher version, at each graceful restart.

use bincode::{Decode, Encode};

/// How users of a cell are authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Method {
    /// kaserver, by libafsauthent.
    Kaserver,
}

/// One allowed cell.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CellConfig {
    /// Canonical name.
    pub name: String,
    /// How to log in there.
    pub method: Method,
}

/// All that the broker is told. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct BrokerConfig {
    /// Rises with each (re)start of httpd; the broker ignores an older one.
    pub version: u64,
    /// Directory with `ThisCell` and `CellServDB`, readable for the broker's user.
    pub conf_dir: String,
    /// The cells in which anybody may log in.
    pub cells: Vec<CellConfig>,
    /// A login that takes longer ends; milliseconds.
    pub login_deadline_ms: u32,
    /// Logins that may run at the same time in one cell.
    pub logins_per_cell: u16,
    /// Authenticators kept started ahead.
    pub authenticators: u16,
    /// Entries of the broker's cache.
    pub cache_entries: u32,
    /// How long a refused login is remembered; milliseconds.
    pub refused_ms: u32,
    /// Failed logins allowed per user and address within `limit_window_s`.
    pub limit_per_user: u16,
    /// Failed logins allowed per address within `limit_window_s`.
    pub limit_per_address: u16,
    /// Window of the limits, seconds.
    pub limit_window_s: u32,
    /// Verbosity of the log: 0 errors .. 4 trace.
    pub log_level: u8,
}
