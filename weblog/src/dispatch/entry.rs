//! A token in the cache.

use crate::clock::Now;
use pag::Token;
use weblog_proto::Granted;

/// A token is not relied on in its last seconds: a request takes time, and an AFS client drops it on the second.
const LAST_S: u64 = 2;
/// So long after a login what it brought is there for those who were told to ask again, however short they would have it
/// remembered: else each of them would begin the next login.
const OWED_MS: u64 = 1_000;

/// A token in the cache.
pub(super) struct Entry {
    pub(super) token: Token,
    /// What the cell calls its owner.
    pub(super) name: String,
    pub(super) password_expires_days: Option<u8>,
    /// When the login ended.
    pub(super) made: Now,
    /// Lifetime that was asked for; 0 = what the cell gives.
    pub(super) lifetime_s: u32,
    /// End of the entry.
    pub(super) expires_ms: u64,
}

/// What an asker with these two limits gets of an entry, if anything.
pub(super) fn usable(entry: &Entry, lifetime_s: u32, cache_s: u32, now: Now) -> Option<Granted> {
    let left_s = entry.token.lifetime_s(now.unix_s);
    // The cell rounds lifetimes up, so what was asked for counts, not what came of it.
    let short_enough = lifetime_s == 0
        || (entry.lifetime_s != 0 && entry.lifetime_s <= lifetime_s)
        || left_s <= u64::from(lifetime_s);
    let age_ms = now.ms.saturating_sub(entry.made.ms);
    let fresh_s = match cache_s {
        0 => u64::MAX,
        s => u64::from(s).saturating_mul(1000).saturating_sub(age_ms) / 1000,
    };
    let valid_s = left_s.saturating_sub(LAST_S).min(fresh_s);
    let owed = age_ms < OWED_MS && left_s > 0;
    (short_enough && (valid_s > 0 || owed)).then(|| Granted {
        token: entry.token.clone(),
        name: entry.name.clone(),
        valid_s: u32::try_from(valid_s.max(1)).unwrap_or(u32::MAX),
        password_expires_days: entry.password_expires_days,
    })
}
