//! Why the broker ends before its time.

use crate::config::ConfigError;

/// A step of the broker that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The command line is wrong; the text says how.
    #[error("{0}")]
    Usage(String),
    /// A configuration that cannot be worked with.
    #[error("the configuration is not usable")]
    Config(#[from] ConfigError),
    /// Those who would talk to this broker are of another version.
    #[error(
        "this program is of another version than the httpd that runs: it has {own}, httpd {expected}; \
         the program of its version is needed, or a restart of httpd with the module of this one"
    )]
    OtherVersion {
        /// What it has.
        own: String,
        /// What it should have.
        expected: String,
    },
    /// Something that is not a configuration came instead of one.
    #[error("the configuration cannot be read")]
    Undecodable,
    /// The user to run as.
    #[error("no user {0}")]
    NoUser(String),
    /// The user to run as is root.
    #[error("the broker must not run as root: name another user")]
    Root,
    /// A privilege could not be dropped, or was still there afterwards.
    #[error("cannot {0}: {1}")]
    Privilege(&'static str, rustix::io::Errno),
    /// A privilege that should be gone is still there.
    #[error("{0}")]
    StillPrivileged(&'static str),
    /// The parent has ended meanwhile.
    #[error("the parent is gone")]
    Orphan,
    /// An inherited descriptor is missing or of another kind.
    #[error("descriptor {0} is not usable")]
    Descriptor(i32, #[source] std::io::Error),
    /// A system call.
    #[error("{0} failed: {1}")]
    System(&'static str, rustix::io::Errno),
    /// No random bytes.
    #[error("no random bytes")]
    Random,
}

impl Error {
    /// The exit code: 78 means that starting again would not help, 76 that another program might do, 64 that the command
    /// line is wrong.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 64,
            Self::OtherVersion { .. } => weblog_fds::versions::OTHER_VERSION,
            Self::Config(_) | Self::Undecodable | Self::NoUser(_) | Self::Root => 78,
            Self::Privilege(..) | Self::StillPrivileged(_) => 77,
            Self::Orphan => 0,
            _ => 71,
        }
    }
}
