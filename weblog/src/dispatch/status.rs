//! What an administrator is told of the broker's state.

use super::Dispatch;
use crate::clock::Now;
use core::fmt::Write as _;

/// Numbers for the status page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Requests for a token.
    pub requests: u64,
    /// Answered from the cache.
    pub cached: u64,
    /// Logins handed to an authenticator.
    pub logins: u64,
    /// Tokens obtained from cells.
    pub granted: u64,
    /// Logins that cells refused.
    pub refused: u64,
    /// Logins without a result.
    pub unavailable: u64,
    /// Requests stopped by a limit, a full queue or a silent cell.
    pub stopped: u64,
    /// Service identities that cannot be renewed at present.
    pub alarms: u64,
    /// Tokens in the cache.
    pub cache_entries: u64,
    /// Logins that run.
    pub running: u64,
    /// Logins that wait for their turn.
    pub waiting: u64,
    /// Questions for groups.
    pub group_requests: u64,
    /// Such as were answered from memory.
    pub group_cached: u64,
    /// Such as were handed to an authenticator.
    pub group_asked: u64,
    /// Such as had no answer.
    pub group_unavailable: u64,
    /// Memberships in memory.
    pub group_entries: u64,
}

impl<A> Dispatch<A> {
    /// The numbers.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let size = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let (running, waiting) = self.logins.counts();
        Counts {
            alarms: size(self.services.alarms()),
            cache_entries: size(self.cache.len()),
            running: size(running),
            waiting: size(waiting),
            group_entries: size(self.groups.len()),
            ..self.counts
        }
    }

    /// State in a few lines of text for the administrator.
    #[must_use]
    pub fn status(&self, now: Now) -> String {
        let (running, waiting) = self.logins.counts();
        let c = self.counts;
        let mut text = match &self.settings {
            Some(s) => format!("configuration {}, {} cells allowed\n", s.version, s.cells.len()),
            None => "no configuration yet\n".to_owned(),
        };
        let written = write!(
            text,
            "cache: {} of {} entries\nlogins: {running} running, {waiting} waiting\n\
             requests: {} in all, {} from the cache, {} stopped by limits\n\
             logins since start: {} begun, {} granted, {} refused, {} without result\n",
            self.cache.len(),
            self.cache.capacity(),
            c.requests,
            c.cached,
            c.stopped,
            c.logins,
            c.granted,
            c.refused,
            c.unavailable,
        );
        debug_assert!(written.is_ok(), "writing to a String");
        for home in self.logins.silent(now.ms) {
            text.push_str("silent: ");
            text.push_str(home.as_str());
            text.push('\n');
        }
        self.groups_status(&mut text);
        text.push_str(&self.services.status(now));
        text
    }
}
