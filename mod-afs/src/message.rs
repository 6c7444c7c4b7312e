//! What the module writes to httpd's error log: each message has an id, which `docs/messages.md` explains, and a level.
//!
//! Ids are for ever: one that is not written any more is not given to another message. The broker's begin with AFS2, the
//! nanny's with AFS3, those of the AFS clients with AFS1, the module's own with AFS0.

use crate::httpd::Level;

/// The id of a message and how important it is; what else is in the line depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// `AFS` and four digits.
    pub id: &'static str,
    /// httpd's level of it.
    pub level: Level,
}

impl Message {
    /// One of the table below.
    const fn new(id: &'static str, level: Level) -> Self {
        Self { id, level }
    }
}

/// A message, and the text of its line.
pub type Said = (Message, String);

// Configuration and start.

/// AFSAuthType AFS, but no cells to log in at.
pub const NO_CELLS: Message = Message::new("AFS0101", Level::Alert);
/// A directive names a cell that is not one of SetAFSCells.
pub const CELL_NOT_LISTED: Message = Message::new("AFS0102", Level::Alert);
/// One realm, written in two ways.
pub const REALM_SPELT_TWICE: Message = Message::new("AFS0103", Level::Alert);
/// SetAFSRealms without a default cell.
pub const REALMS_WITHOUT_CELL: Message = Message::new("AFS0104", Level::Alert);
/// SetAFSLocation without a section with AFSAuthType AFS.
pub const LOCATION_UNUSED: Message = Message::new("AFS0105", Level::Alert);
/// Tokens would end before their login's deadline.
pub const TOKEN_TOO_SHORT: Message = Message::new("AFS0106", Level::Alert);
/// SetAFSAccessLog: no such directory.
pub const NO_LOG_DIRECTORY: Message = Message::new("AFS0107", Level::Alert);
/// ThisCell or CellServDB cannot be used.
pub const CONF_DIR: Message = Message::new("AFS0108", Level::Alert);
/// A cell that CellServDB does not know, or without servers there.
pub const CELL_WITHOUT_SERVERS: Message = Message::new("AFS0109", Level::Alert);
/// Owner or mode of a program or a directory above it.
pub const PROGRAM_NOT_TRUSTED: Message = Message::new("AFS0110", Level::Alert);
/// SetAFSWeblogUser cannot be the broker's user.
pub const BROKER_USER: Message = Message::new("AFS0111", Level::Alert);
/// AFSKeytab is not there, or open to the wrong ones.
pub const KEYTAB: Message = Message::new("AFS0112", Level::Alert);
/// The same of a service's keytab or srvtab, or it is of the wrong kind.
pub const SERVICE_KEY: Message = Message::new("AFS0113", Level::Alert);
/// SetAFSCacheDir: not there, not httpd's user's, or open to others.
pub const CACHE_DIR: Message = Message::new("AFS0114", Level::Alert);
/// A Require line that cannot be meant.
pub const REQUIRE_LINE: Message = Message::new("AFS0115", Level::Alert);
/// The AFS client that was asked for is not there.
pub const CLIENT_NOT_THERE: Message = Message::new("AFS0116", Level::Alert);
/// SetAFSAccessLog cannot be opened.
pub const LOG_NOT_OPENED: Message = Message::new("AFS0117", Level::Alert);
/// Nanny, lanes or sockets cannot be had.
pub const NOT_STARTED: Message = Message::new("AFS0118", Level::Alert);
/// What a reload does not change.
pub const FULL_RESTART: Message = Message::new("AFS0119", Level::Warning);
/// What is kept could not be written down for configtest.
pub const NOT_NOTED: Message = Message::new("AFS0120", Level::Warning);
/// httpd stays in the PAG that it was started in.
pub const PAG_INHERITED: Message = Message::new("AFS0121", Level::Warning);
/// A directive that cannot be taken; httpd itself says where it stands.
pub const DIRECTIVE: Message = Message::new("AFS0122", Level::Alert);
/// A program is of another version than the module.
pub const OTHER_VERSION: Message = Message::new("AFS0123", Level::Alert);
/// SetAFSRealms, but users of that realm would only be asked of kaservers.
pub const REALM_BY_KASERVER: Message = Message::new("AFS0124", Level::Alert);
/// Forked processes will keep what is the parent's.
pub const FORK_NOT_SEEN: Message = Message::new("AFS0125", Level::Alert);

// The AFS client, children.

/// Which client serves files.
pub const CLIENT: Message = Message::new("AFS0201", Level::Notice);
/// How many PAGs children make.
pub const PAGS_NEEDED: Message = Message::new("AFS0202", Level::Notice);
/// How many keys children can need.
pub const KEYS_NEEDED: Message = Message::new("AFS0203", Level::Notice);
/// The kernel lets httpd's user have fewer.
pub const KEYS_TOO_FEW: Message = Message::new("AFS0204", Level::Warning);
/// The kernel does not say how many keys it lets anybody have.
pub const KEYS_UNKNOWN: Message = Message::new("AFS0205", Level::Warning);
/// At a restart the client is not there any more.
pub const CLIENT_GONE: Message = Message::new("AFS0206", Level::Crit);
/// The client of a child does not start.
pub const CLIENT_NOT_STARTED: Message = Message::new("AFS0207", Level::Crit);
/// A child has no way to the broker.
pub const NO_LANES: Message = Message::new("AFS0208", Level::Crit);
/// A child cannot tell file servers that it ends.
pub const NO_FAREWELL: Message = Message::new("AFS0209", Level::Warning);
/// A child has no thread that drops ended logins.
pub const NOT_SWEPT: Message = Message::new("AFS0210", Level::Warning);
/// The copy of the cells' configuration could not be made.
pub const CONF_NOT_COPIED: Message = Message::new("AFS0211", Level::Crit);
/// There is no memory for the table of children.
pub const NO_TALLY: Message = Message::new("AFS0212", Level::Warning);
/// A child cannot become undumpable.
pub const STAYS_DUMPABLE: Message = Message::new("AFS0213", Level::Crit);
/// mod_cgid is loaded, which runs programs as nobody.
pub const CGID: Message = Message::new("AFS0214", Level::Warning);
/// Programs run as visitors in children that live for ever.
pub const PAGS_USED_UP: Message = Message::new("AFS0215", Level::Warning);

// Nanny and broker, as httpd's parent sees them.

/// The nanny cannot be started.
pub const NO_NANNY: Message = Message::new("AFS0301", Level::Crit);
/// The nanny has ended.
pub const NANNY_ENDED: Message = Message::new("AFS0302", Level::Error);
/// The nanny will not be started again.
pub const NANNY_GIVEN_UP: Message = Message::new("AFS0303", Level::Crit);
/// The next nanny waits.
pub const NANNY_PAUSES: Message = Message::new("AFS0304", Level::Error);
/// Another nanny was started.
pub const NANNY_STARTED: Message = Message::new("AFS0305", Level::Notice);
/// The nanny's end would not be seen.
pub const NANNY_UNWATCHED: Message = Message::new("AFS0306", Level::Crit);
/// The nanny could not be told the configuration yet.
pub const NANNY_DEAF: Message = Message::new("AFS0307", Level::Warning);
/// The broker is ready.
pub const BROKER_READY: Message = Message::new("AFS0308", Level::Notice);
/// The broker has ended.
pub const BROKER_ENDED: Message = Message::new("AFS0309", Level::Error);
/// A report that this version does not know.
pub const NANNY_UNKNOWN: Message = Message::new("AFS0310", Level::Warning);
/// The programs on the disk are of another version than the module and those that run.
pub const PROGRAMS_DIFFER: Message = Message::new("AFS0311", Level::Warning);
/// This module is of another version than the one before.
pub const UPGRADED: Message = Message::new("AFS0312", Level::Notice);
/// The programs on the disk are of another version: those before are started.
pub const NANNY_HELD: Message = Message::new("AFS0313", Level::Error);
/// The nanny of another version is not needed any more.
pub const OLD_NANNY_ENDS: Message = Message::new("AFS0314", Level::Notice);
/// It has been needed for too long.
pub const OLD_NANNY_ENDED: Message = Message::new("AFS0315", Level::Warning);

// Logins.

/// A password came without TLS.
pub const NO_TLS: Message = Message::new("AFS0401", Level::Warning);
/// A login that the broker was not asked for.
pub const LOGIN_REFUSED: Message = Message::new("AFS0402", Level::Warning);
/// This child cannot log anybody in.
pub const LOGIN_IMPOSSIBLE: Message = Message::new("AFS0403", Level::Error);
/// The broker's answer was no.
pub const LOGIN_FAILED: Message = Message::new("AFS0404", Level::Warning);
/// No token of a service identity.
pub const SERVICE_TOKEN: Message = Message::new("AFS0405", Level::Info);
/// A worker could not be put into its visitor's PAG.
pub const NOT_ITS_VISITOR: Message = Message::new("AFS0406", Level::Error);
/// A program's PAG could not be had.
pub const PROGRAM_NOT_RUN: Message = Message::new("AFS0407", Level::Error);

// Files.

/// AFS refuses it, or it is not there.
pub const FILE_REFUSED: Message = Message::new("AFS0501", Level::Info);
/// AFS does not serve it at present.
pub const FILE_UNAVAILABLE: Message = Message::new("AFS0502", Level::Error);
/// Too many workers wait for a file server.
pub const TOO_MANY_WAIT: Message = Message::new("AFS0503", Level::Error);
/// A symbolic link that Options do not allow.
pub const LINK_NOT_ALLOWED: Message = Message::new("AFS0504", Level::Error);
/// A directory without index, and without listings.
pub const NO_INDEX: Message = Message::new("AFS0505", Level::Info);
/// MultiViews with the user-space client.
pub const NO_VARIANTS: Message = Message::new("AFS0506", Level::Info);
/// A method that writes, without Dav afs.
pub const NOT_WRITTEN_HERE: Message = Message::new("AFS0507", Level::Warning);
/// A method that changes nothing.
pub const CHANGES_NOTHING: Message = Message::new("AFS0508", Level::Info);
/// A handler that does not run on files in AFS.
pub const DOES_NOT_RUN: Message = Message::new("AFS0509", Level::Error);
/// A file could not be read to its end.
pub const READ_FAILED: Message = Message::new("AFS0510", Level::Error);
/// An answer was broken off.
pub const BROKEN_OFF: Message = Message::new("AFS0511", Level::Info);
/// A program that mod_cgid would run as nobody.
pub const RUNS_AS_NOBODY: Message = Message::new("AFS0512", Level::Error);
/// mod_dav's handler was given a request that is not its own.
pub const NOT_MOD_DAVS: Message = Message::new("AFS0513", Level::Error);

// Require.

/// Require afs-... where nobody is logged in.
pub const REQUIRE_OUTSIDE: Message = Message::new("AFS0601", Level::Error);
/// A name that means nobody there.
pub const REQUIRE_NAME: Message = Message::new("AFS0602", Level::Error);
/// Something has taken the Authorization header away.
pub const CREDENTIALS_GONE: Message = Message::new("AFS0603", Level::Error);
/// The cell has no such group.
pub const GROUP_UNKNOWN: Message = Message::new("AFS0604", Level::Error);
/// The group's membership is private.
pub const GROUP_HIDDEN: Message = Message::new("AFS0605", Level::Error);
/// This child cannot ask for groups.
pub const GROUP_NO_BROKER: Message = Message::new("AFS0606", Level::Error);
/// The protection server was not to be had.
pub const GROUP_NOT_KNOWN: Message = Message::new("AFS0607", Level::Error);
/// Require afs-right on what is not in AFS.
pub const RIGHT_OUTSIDE: Message = Message::new("AFS0608", Level::Error);
/// This client does not say who has which rights.
pub const RIGHTS_NOT_TOLD: Message = Message::new("AFS0609", Level::Error);
/// The file server was not to be had.
pub const RIGHTS_NOT_KNOWN: Message = Message::new("AFS0610", Level::Error);

// Writing.

/// A member that a collection does not show.
pub const NOT_SHOWN: Message = Message::new("AFS0701", Level::Debug);
/// The error number of what could not be written.
pub const NOT_DONE: Message = Message::new("AFS0702", Level::Info);
/// Dav afs where no visitor is settled.
pub const NOT_SETTLED: Message = Message::new("AFS0703", Level::Error);
/// COPY or MOVE between places with different logins.
pub const OTHER_VISITOR: Message = Message::new("AFS0704", Level::Error);
/// A page of another site wanted to write.
pub const CROSS_SITE: Message = Message::new("AFS0705", Level::Warning);
/// Dav On in AFS.
pub const DAV_ON: Message = Message::new("AFS0706", Level::Error);
/// A coded body.
pub const CODED_BODY: Message = Message::new("AFS0707", Level::Info);
/// What was replaced is still there, under a name of ours.
pub const LEFT_BEHIND: Message = Message::new("AFS0708", Level::Warning);
/// What was to be replaced, and was not, has a name of ours.
pub const NOT_PUT_BACK: Message = Message::new("AFS0709", Level::Error);
/// It has its own again.
pub const PUT_BACK_LATE: Message = Message::new("AFS0710", Level::Warning);
/// A collection is too large to be gone through.
pub const WALK_ENDED: Message = Message::new("AFS0711", Level::Warning);

// What cannot happen.

/// A panic in our code.
pub const PANIC: Message = Message::new("AFS0901", Level::Crit);
/// A request without connection.
pub const NO_CONNECTION: Message = Message::new("AFS0902", Level::Crit);
