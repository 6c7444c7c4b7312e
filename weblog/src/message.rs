//! What broker and authenticators write to the log: each message has an id, which `docs/messages.md` explains, and a level.
//!
//! Ids are for ever: one that is not written any more is not given to another message.

use crate::audit::Level;

/// The id of a message and how important it is; what else is in the line depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// `AFS` and four digits.
    pub id: &'static str,
    /// How important.
    pub level: Level,
}

impl Message {
    /// One of the table below.
    const fn new(id: &'static str, level: Level) -> Self {
        Self { id, level }
    }
}

// Logins.

/// A login has succeeded.
pub const LOGIN_GRANTED: Message = Message::new("AFS2001", Level::Info);
/// A login has failed, or was refused.
pub const LOGIN_FAILED: Message = Message::new("AFS2002", Level::Warn);
/// Somebody whose login is remembered.
pub const LOGIN_REMEMBERED: Message = Message::new("AFS2003", Level::Debug);
/// Somebody whose failed login is remembered.
pub const FAILURE_REMEMBERED: Message = Message::new("AFS2004", Level::Info);
/// A cell or realm does not answer.
pub const CELL_SILENT: Message = Message::new("AFS2005", Level::Warn);
/// A cell or realm answers again.
pub const CELL_ANSWERS: Message = Message::new("AFS2006", Level::Warn);

// Groups.

/// Whether somebody is in a group.
pub const MEMBERSHIP: Message = Message::new("AFS2011", Level::Info);
/// The cell has no such group.
pub const NO_SUCH_GROUP: Message = Message::new("AFS2012", Level::Warn);
/// The group's membership is private.
pub const MEMBERSHIP_HIDDEN: Message = Message::new("AFS2013", Level::Warn);
/// The question has failed.
pub const GROUP_NOT_KNOWN: Message = Message::new("AFS2014", Level::Warn);
/// A cell's protection servers do not answer.
pub const GROUPS_SILENT: Message = Message::new("AFS2015", Level::Warn);
/// They answer again.
pub const GROUPS_ANSWER: Message = Message::new("AFS2016", Level::Warn);

// Service identities.

/// A service gets no token; the first failure.
pub const SERVICE_ALARM: Message = Message::new("AFS2021", Level::Error);
/// It still gets none.
pub const SERVICE_ALARM_AGAIN: Message = Message::new("AFS2022", Level::Warn);
/// Its token has ended.
pub const SERVICE_TOKEN_ENDED: Message = Message::new("AFS2023", Level::Error);
/// It has a token.
pub const SERVICE_TOKEN: Message = Message::new("AFS2024", Level::Info);
/// It has a token again.
pub const SERVICE_ALARM_OVER: Message = Message::new("AFS2025", Level::Warn);

// Administrators.

/// Somebody's login was forgotten.
pub const FORGOTTEN: Message = Message::new("AFS2031", Level::Info);
/// Somebody else spoke on the control socket.
pub const NO_ADMINISTRATOR: Message = Message::new("AFS2032", Level::Warn);
/// An order that is none.
pub const BAD_ORDER: Message = Message::new("AFS2033", Level::Info);

// The broker.

/// It serves.
pub const BROKER_SERVES: Message = Message::new("AFS2041", Level::Info);
/// It ends as it should.
pub const BROKER_ENDS: Message = Message::new("AFS2042", Level::Info);
/// It cannot go on.
pub const BROKER_FAILS: Message = Message::new("AFS2043", Level::Error);
/// A configuration applies.
pub const CONFIGURED: Message = Message::new("AFS2044", Level::Info);
/// A configuration that came too late.
pub const CONFIG_TOO_OLD: Message = Message::new("AFS2045", Level::Warn);
/// The nanny says what this version does not know.
pub const NANNY_UNKNOWN: Message = Message::new("AFS2046", Level::Warn);
/// A protection that this machine does not give.
pub const NOT_PROTECTED: Message = Message::new("AFS2047", Level::Warn);
/// A request that is none.
pub const REQUEST_DROPPED: Message = Message::new("AFS2048", Level::Warn);
/// A lane that cannot be used any more.
pub const LANE_LOST: Message = Message::new("AFS2049", Level::Error);
/// A lane that nobody can ask on any more.
pub const LANE_UNUSED: Message = Message::new("AFS2050", Level::Info);

// Authenticators, as the broker sees them.

/// One has ended as it should.
pub const AUTHENTICATOR_ENDED: Message = Message::new("AFS2051", Level::Trace);
/// One died in a login.
pub const AUTHENTICATOR_DIED: Message = Message::new("AFS2052", Level::Error);
/// One died that had nothing to do.
pub const AUTHENTICATOR_DIED_IDLE: Message = Message::new("AFS2053", Level::Warn);
/// One died at its start.
pub const AUTHENTICATOR_DIED_EARLY: Message = Message::new("AFS2054", Level::Error);
/// None can be started.
pub const AUTHENTICATOR_NOT_STARTED: Message = Message::new("AFS2055", Level::Error);
/// One took too long.
pub const AUTHENTICATOR_HANGS: Message = Message::new("AFS2056", Level::Warn);

// What authenticators write themselves.

/// It cannot give up what it must not have.
pub const NOT_CONFINED: Message = Message::new("AFS2061", Level::Error);
/// libafsauthent, or what it reads, cannot be used.
pub const NO_LIBAFSAUTHENT: Message = Message::new("AFS2062", Level::Error);
/// CellServDB cannot be read.
pub const NO_CELL_SERV_DB: Message = Message::new("AFS2063", Level::Error);
/// libkrb5 cannot be used.
pub const NO_LIBKRB5: Message = Message::new("AFS2064", Level::Error);
