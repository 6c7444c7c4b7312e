//! Why something is no frame, or cannot become one.

/// Why something is no frame, or cannot become one. Holds nothing of what was in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Other first bytes.
    #[error("packet is not ours")]
    Magic,
    /// Another version.
    #[error("packet has version {0}")]
    Version(u8),
    /// A kind that does not belong there.
    #[error("packet has kind {0}, which does not belong there")]
    Kind(u8),
    /// A length that does not agree with the packet.
    #[error("packet has another length than it says")]
    Length,
    /// More than fits.
    #[error("does not fit into its packets")]
    TooLong,
    /// User or cell outside their limits.
    #[error("name is not acceptable")]
    Name,
    /// Password outside its limits.
    #[error("password is not acceptable")]
    Password,
    /// Ticket outside its limits.
    #[error("ticket has less than 32 or more than 12,000 bytes")]
    Ticket,
    /// The body is not what it should be.
    #[error("body cannot be read")]
    Body,
    /// A part that does not follow the one before.
    #[error("part out of order")]
    Order,
    /// Sealed under another key, for another id, or changed.
    #[error("reply is not sealed for its asker")]
    Seal,
    /// The kernel gave no random bytes.
    #[error("no random bytes")]
    Random,
}
