//! What the nanny writes to the log: each message has an id, which `docs/messages.md` explains, and a level.
//!
//! Ids are for ever: one that is not written any more is not given to another message.

use tracing::Level;

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

/// The nanny cannot go on.
pub const NANNY_FAILS: Message = Message::new("AFS3001", Level::ERROR);
/// httpd says what this version does not know.
pub const HTTPD_UNKNOWN: Message = Message::new("AFS3002", Level::WARN);
/// httpd is too busy to be told.
pub const HTTPD_DEAF: Message = Message::new("AFS3003", Level::INFO);
/// A broker was started.
pub const BROKER_STARTED: Message = Message::new("AFS3004", Level::INFO);
/// None can be started.
pub const BROKER_NOT_STARTED: Message = Message::new("AFS3005", Level::ERROR);
/// The broker is ready.
pub const BROKER_READY: Message = Message::new("AFS3006", Level::INFO);
/// The broker has ended.
pub const BROKER_ENDED: Message = Message::new("AFS3007", Level::ERROR);
/// The broker does not end by itself, or does nothing.
pub const BROKER_KILLED: Message = Message::new("AFS3008", Level::WARN);
/// The program of the broker is of another version; the one before goes on.
pub const BROKER_HELD: Message = Message::new("AFS3009", Level::WARN);
