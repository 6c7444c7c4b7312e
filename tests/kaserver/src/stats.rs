//! Counts, so that a test can show how often a cell was asked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Users that are counted by name; whoever else comes is only in the sums.
const USERS_MAX: usize = 4096;

/// What has happened since the start, or since `stats reset`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Authenticate calls; retransmissions are not counted again.
    pub authenticate: u64,
    /// GetTicket calls.
    pub get_ticket: u64,
    /// Calls of operations that are not offered.
    pub unknown: u64,
    /// Calls answered with a ticket.
    pub granted: u64,
    /// Calls answered with an error code, by code.
    pub refused: BTreeMap<i32, u64>,
    /// Requests that came again.
    pub duplicates: u64,
    /// Pings that were acknowledged.
    pub pings: u64,
    /// Packets left unanswered on request.
    pub silenced: u64,
    /// Packets that make no sense.
    pub ignored: u64,
    /// The same by user: `name` or `name.instance`.
    pub users: BTreeMap<String, UserStats>,
}

/// Counts of one user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserStats {
    /// Authenticate calls.
    pub authenticate: u64,
    /// GetTicket calls.
    pub get_ticket: u64,
    /// Calls answered with a ticket.
    pub granted: u64,
    /// Calls answered with an error code, by code.
    pub refused: BTreeMap<i32, u64>,
}

impl Stats {
    /// The counts of `user`, all zero if nobody of that name came.
    #[must_use]
    pub fn user(&self, user: &str) -> UserStats {
        self.users.get(user).cloned().unwrap_or_default()
    }

    /// The entry of `user`, unless there are too many.
    fn entry(&mut self, user: &str) -> Option<&mut UserStats> {
        if self.users.len() >= USERS_MAX && !self.users.contains_key(user) {
            return None;
        }
        Some(self.users.entry(user.to_owned()).or_default())
    }

    /// Counts an Authenticate call.
    pub(crate) fn count_authenticate(&mut self, user: &str) {
        self.authenticate += 1;
        if let Some(entry) = self.entry(user) {
            entry.authenticate += 1;
        }
    }

    /// Counts a GetTicket call.
    pub(crate) fn count_get_ticket(&mut self, user: &str) {
        self.get_ticket += 1;
        if let Some(entry) = self.entry(user) {
            entry.get_ticket += 1;
        }
    }

    /// Counts how a call ended.
    pub(crate) fn count_result(&mut self, user: &str, result: Result<(), i32>) {
        match result {
            Ok(()) => self.granted += 1,
            Err(code) => *self.refused.entry(code).or_default() += 1,
        }
        if let Some(entry) = self.entry(user) {
            match result {
                Ok(()) => entry.granted += 1,
                Err(code) => *entry.refused.entry(code).or_default() += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_survive_the_control_socket() {
        let mut stats = Stats::default();
        stats.count_authenticate("alice");
        stats.count_result("alice", Err(180_490));
        stats.count_get_ticket("alice");
        stats.count_result("alice", Ok(()));
        let read: Stats = serde_json::from_str(&serde_json::to_string(&stats).unwrap()).unwrap();
        assert_eq!(read, stats);
        assert_eq!(read.user("alice").refused[&180_490], 1);
        assert_eq!(read.user("nobody"), UserStats::default());
    }

    #[test]
    fn strangers_do_not_fill_the_memory() {
        let mut stats = Stats::default();
        for number in 0..2 * USERS_MAX {
            stats.count_authenticate(&number.to_string());
        }
        assert_eq!(stats.users.len(), USERS_MAX);
        assert_eq!(stats.authenticate, 2 * USERS_MAX as u64);
    }
}
