//! What the directives say, per server and per section. Every field may be unset; the inner one wins where it is set.
//!
//! Knows nothing of httpd: `directives.rs` fills it, `checks.rs` looks whether it fits together.

use crate::prompt::Prompt;
use pag::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// AFSAuthType.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthType {
    /// Nothing of ours.
    None,
    /// Visitors are who they log in as, and AFS decides.
    Afs,
}

/// SetAFSClient, as far as this release has clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientChoice {
    /// The best that there is; for now the user-space client.
    Auto,
    /// OpenAFS's user-space client.
    Userspace,
}

/// SetAFSWeblogUser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserName {
    /// By name.
    Name(String),
    /// By number, written `#UID`.
    Uid(u32),
}

impl core::fmt::Display for UserName {
    /// As it is written in the configuration and on the nanny's command line.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Name(n) => f.write_str(n),
            Self::Uid(n) => write!(f, "#{n}"),
        }
    }
}

/// SetAFSLoginLimit: failed logins that are borne within a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginLimit {
    /// Per user and address.
    pub per_user: u16,
    /// Per address.
    pub per_address: u16,
    /// Seconds.
    pub window_s: u32,
}

/// Makes a configuration whose fields are all optional: its empty value and its merge name every field once.
macro_rules! config {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Default)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: Option<$type>,)*
        }

        impl $name {
            /// Nothing is set.
            pub const EMPTY: Self = Self { $($field: None,)* };

            /// Nothing is set, where a reference is wanted.
            #[must_use]
            pub fn empty() -> &'static Self {
                static EMPTY: $name = $name::EMPTY;
                &EMPTY
            }

            /// This one over `outer`: each field is its own, or the outer one where it has none.
            #[must_use]
            pub fn merged_over(&self, outer: &Self) -> Self {
                Self { $($field: self.$field.clone().or_else(|| outer.$field.clone()),)* }
            }
        }
    };
}

config! {
    /// What is said per section.
    DirConfig {
        /// AFSAuthType.
        auth_type: AuthType,
        /// AFSDefaultCell.
        default_cell: Cell,
        /// AFSLoginPrompt.
        prompt: Arc<Prompt>,
    }
}

config! {
    /// What is said per server. Fields of directives that are global are the main server's everywhere.
    ServerConfig {
        /// SetAFSDefaultCell.
        default_cell: Cell,
        /// SetAFSCells.
        cells: Arc<[Cell]>,
        /// SetAFSCacheExpiration, seconds.
        cache_expiration_s: u32,
        /// SetAFSTokenExpiration, seconds.
        token_expiration_s: u32,
        /// SetAFSAccessLog.
        access_log: PathBuf,
        /// SetAFSDebugLevel.
        debug_level: u8,
        /// SetAFSLocation: starts with a slash, does not end with one.
        location: String,
        /// SetAFSRequireTLS.
        require_tls: bool,
        /// SetAFSWeblogPath.
        weblog_path: PathBuf,
        /// SetAFSWeblogUser.
        weblog_user: UserName,
        /// SetAFSMountpointDir: absolute, without a slash at its end.
        mount_dir: String,
        /// SetAFSClient.
        client: ClientChoice,
        /// SetAFSConfDir.
        conf_dir: PathBuf,
        /// SetAFSLanes.
        lanes: u16,
        /// SetAFSLoginDeadline, seconds.
        login_deadline_s: u32,
        /// SetAFSFileDeadline, seconds.
        file_deadline_s: u32,
        /// SetAFSCacheSize, bytes for all children together.
        cache_size: u64,
        /// SetAFSCacheDir.
        cache_dir: PathBuf,
        /// SetAFSLoginLimit.
        login_limit: LoginLimit,
        /// SetAFSControlSocket.
        control_socket: PathBuf,
    }
}

impl DirConfig {
    /// AFSAuthType, None where it is not set.
    #[must_use]
    pub fn auth_type(&self) -> AuthType {
        self.auth_type.unwrap_or(AuthType::None)
    }

    /// The cell of who names none: this section's, else the server's.
    #[must_use]
    pub fn default_cell<'a>(&'a self, server: &'a ServerConfig) -> Option<&'a Cell> {
        self.default_cell.as_ref().or(server.default_cell.as_ref())
    }
}

/// Where the package installs nanny, broker and client object.
pub const LIBEXEC: &str = "/usr/lib/afsweb";
/// Default of SetAFSWeblogPath.
pub const WEBLOG_PATH: &str = "/usr/lib/afsweb/weblog-starter";
/// Name of the broker's program, beside the nanny's.
pub const BROKER: &str = "weblog";
/// Name of the user-space client's shared object, beside the nanny's program.
pub const CLIENT_OBJECT: &str = "libafsweb_uafs.so";
/// Default of SetAFSWeblogUser.
pub const WEBLOG_USER: &str = "weblog";
/// Default of SetAFSMountpointDir.
pub const MOUNT_DIR: &str = "/afs";
/// Default of SetAFSConfDir.
pub const CONF_DIR: &str = "/etc/openafs";
/// Default of SetAFSControlSocket.
pub const CONTROL_SOCKET: &str = "/run/afsweb/weblog.sock";
/// Default of SetAFSCacheExpiration, as the original's manual recommends.
pub const CACHE_EXPIRATION_S: u32 = 300;
/// Default of SetAFSTokenExpiration: what the cell gives.
pub const TOKEN_EXPIRATION_S: u32 = 0;
/// Default of SetAFSLanes.
pub const LANES: u16 = 8;
/// Default of SetAFSLoginDeadline.
pub const LOGIN_DEADLINE_S: u32 = 20;
/// Default of SetAFSFileDeadline.
pub const FILE_DEADLINE_S: u32 = 30;
/// Default of SetAFSCacheSize: 256 MiB.
pub const CACHE_SIZE: u64 = 256 << 20;
/// Default of SetAFSLoginLimit.
pub const LOGIN_LIMIT: LoginLimit = LoginLimit { per_user: 10, per_address: 50, window_s: 300 };

impl ServerConfig {
    /// The cells in which visitors may log in: SetAFSCells, else the default cell alone.
    #[must_use]
    pub fn cells(&self) -> &[Cell] {
        match &self.cells {
            Some(cells) => cells,
            None => self.default_cell.as_slice(),
        }
    }

    /// How long the broker may answer from its cache, seconds; 0 = until the token ends.
    #[must_use]
    pub fn cache_expiration_s(&self) -> u32 {
        self.cache_expiration_s.unwrap_or(CACHE_EXPIRATION_S)
    }

    /// Lifetime asked for at login, seconds; 0 = what the cell gives.
    #[must_use]
    pub fn token_expiration_s(&self) -> u32 {
        self.token_expiration_s.unwrap_or(TOKEN_EXPIRATION_S)
    }

    /// Where refused accesses are written, if anywhere.
    #[must_use]
    pub fn access_log(&self) -> Option<&Path> {
        self.access_log.as_deref()
    }

    /// 0 (errors) to 4 (every step).
    #[must_use]
    pub fn debug_level(&self) -> u8 {
        self.debug_level.unwrap_or(0)
    }

    /// URL prefix that stands for the mount directory, if there is one.
    #[must_use]
    pub fn location(&self) -> Option<&str> {
        self.location.as_deref()
    }

    /// Are logins refused that do not come over TLS?
    #[must_use]
    pub fn require_tls(&self) -> bool {
        self.require_tls.unwrap_or(false)
    }

    /// Program of the nanny.
    #[must_use]
    pub fn nanny(&self) -> &Path {
        self.weblog_path.as_deref().unwrap_or(Path::new(WEBLOG_PATH))
    }

    /// Something that is installed beside the nanny.
    fn beside_nanny(&self, name: &str) -> PathBuf {
        self.nanny().parent().unwrap_or(Path::new(LIBEXEC)).join(name)
    }

    /// Program of the broker.
    #[must_use]
    pub fn broker(&self) -> PathBuf {
        self.beside_nanny(BROKER)
    }

    /// Shared object of the user-space client.
    #[must_use]
    pub fn client_object(&self) -> PathBuf {
        self.beside_nanny(CLIENT_OBJECT)
    }

    /// User that the broker runs as.
    #[must_use]
    pub fn weblog_user(&self) -> UserName {
        self.weblog_user.clone().unwrap_or_else(|| UserName::Name(WEBLOG_USER.to_owned()))
    }

    /// Directory below which file names are AFS's: absolute, without a slash at its end.
    #[must_use]
    pub fn mount_dir(&self) -> &str {
        self.mount_dir.as_deref().unwrap_or(MOUNT_DIR)
    }

    /// Which AFS client serves files.
    #[must_use]
    pub fn client(&self) -> ClientChoice {
        self.client.unwrap_or(ClientChoice::Auto)
    }

    /// Directory with ThisCell and CellServDB.
    #[must_use]
    pub fn conf_dir(&self) -> &Path {
        self.conf_dir.as_deref().unwrap_or(Path::new(CONF_DIR))
    }

    /// Lanes between workers and broker.
    #[must_use]
    pub fn lanes(&self) -> u16 {
        self.lanes.unwrap_or(LANES)
    }

    /// Longest wait for a login, seconds.
    #[must_use]
    pub fn login_deadline_s(&self) -> u32 {
        self.login_deadline_s.unwrap_or(LOGIN_DEADLINE_S)
    }

    /// Longest wait for a file server that does not answer, seconds.
    #[must_use]
    pub fn file_deadline_s(&self) -> u32 {
        self.file_deadline_s.unwrap_or(FILE_DEADLINE_S)
    }

    /// Bytes of file cache for all children together.
    #[must_use]
    pub fn cache_size(&self) -> u64 {
        self.cache_size.unwrap_or(CACHE_SIZE)
    }

    /// Directory of the disk cache; `None` = memory.
    #[must_use]
    pub fn cache_dir(&self) -> Option<&Path> {
        self.cache_dir.as_deref()
    }

    /// Limits of failed logins.
    #[must_use]
    pub fn login_limit(&self) -> LoginLimit {
        self.login_limit.unwrap_or(LOGIN_LIMIT)
    }

    /// The administrators' socket.
    #[must_use]
    pub fn control_socket(&self) -> &Path {
        self.control_socket.as_deref().unwrap_or(Path::new(CONTROL_SOCKET))
    }
}
