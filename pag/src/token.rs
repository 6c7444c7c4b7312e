//! An rxkad token: what the AFS client holds for a visitor in a cell.

use crate::Cell;
use core::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// A DES session key, wiped on drop, never shown.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SessionKey(pub [u8; 8]);

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(..)")
    }
}

/// An rxkad token. Ticket and key are wiped on drop and never shown.
#[derive(Clone)]
pub struct Token {
    /// The cell that accepts it.
    pub cell: Cell,
    /// AFS id of the user in that cell (cosmetic for the file server, which reads the ticket).
    pub afs_id: i32,
    /// Key version of the ticket: 0 to 255 for kaserver tickets, 256 for a whole Kerberos 5 ticket, 213 for its encrypted part.
    pub kvno: i32,
    /// Session key.
    pub key: SessionKey,
    /// Start of validity, seconds since 1970 UTC.
    pub begin: i64,
    /// End of validity, seconds since 1970 UTC.
    pub end: i64,
    /// 32 to 12,000 opaque bytes.
    pub ticket: Zeroizing<Vec<u8>>,
}

impl Token {
    /// Shortest ticket that rxkad takes (OpenAFS `src/rxkad/rxkad.p.h`, `MINKTCTICKETLEN`).
    pub const TICKET_MIN: usize = 32;
    /// Longest ticket that rxkad takes (`MAXKTCTICKETLEN`).
    pub const TICKET_MAX: usize = 12_000;

    /// Seconds that it is still good for at `now` (seconds since 1970); 0 once it has ended.
    #[must_use]
    pub fn lifetime_s(&self, now: i64) -> u64 {
        u64::try_from(self.end.saturating_sub(now)).unwrap_or(0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("cell", &self.cell)
            .field("afs_id", &self.afs_id)
            .field("kvno", &self.kvno)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret_and_lifetime_never_wraps() {
        let t = Token {
            cell: Cell::new("example.com").unwrap(),
            afs_id: 1001,
            kvno: 5,
            key: SessionKey([0xAB; 8]),
            begin: 0,
            end: 5_000_000_000,
            ticket: Zeroizing::new(vec![0xCD; 40]),
        };
        let shown = format!("{t:?}").to_lowercase();
        assert!(!shown.contains("171") && !shown.contains("205") && !shown.contains("ticket"), "{shown}");
        assert_eq!(t.lifetime_s(4_999_999_990), 10);
        assert_eq!(t.lifetime_s(5_000_000_001), 0);
        assert_eq!(t.lifetime_s(i64::MIN), i64::MAX as u64);
    }
}
