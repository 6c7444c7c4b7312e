//! What the AFS clients say by `tracing`: an id for each message, which `docs/messages.md` explains.

use tracing::Level;

/// The id of a message; its level is that of the call that writes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message {
    /// `AFS` and four digits.
    pub(crate) id: &'static str,
}

impl Message {
    /// One of the table below.
    const fn new(id: &'static str, _level: Level) -> Self {
        Self { id }
    }
}

/// A thread cannot leave its PAG.
pub(crate) const STUCK_IN_PAG: Message = Message::new("AFS1001", Level::ERROR);
/// Tokens of a PAG that nobody is in any more are still there.
pub(crate) const TOKENS_LEFT: Message = Message::new("AFS1002", Level::WARN);
