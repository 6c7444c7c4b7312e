//! What the broker counts on the board, in this order, and what a page of metrics calls it.

/// One counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter {
    /// Its name, without the prefix `afsweb_broker_`.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// It also falls.
    pub gauge: bool,
}

const fn counter(name: &'static str, help: &'static str) -> Counter {
    Counter { name, help, gauge: false }
}

const fn gauge(name: &'static str, help: &'static str) -> Counter {
    Counter { name, help, gauge: true }
}

/// All of them, in the order of the board.
pub const COUNTERS: [Counter; 20] = [
    counter("requests", "Requests for a token"),
    counter("cached", "Requests answered from the broker's cache"),
    counter("logins", "Logins handed to an authenticator"),
    counter("granted", "Tokens obtained from cells"),
    counter("refused", "Logins that cells refused"),
    counter("unavailable", "Logins without a result"),
    counter("stopped", "Requests stopped by a limit, a full queue or a silent cell"),
    counter("bad_frames", "Requests of workers that could not be read"),
    gauge("service_alarms", "Service identities that cannot be renewed at present"),
    gauge("cache_entries", "Tokens in the broker's cache"),
    gauge("logins_running", "Logins that an authenticator does at present"),
    gauge("logins_waiting", "Logins that wait for their turn"),
    gauge("authenticators_ready", "Authenticators that wait for a login"),
    gauge("lanes", "Lanes in service"),
    counter("dropped_replies", "Replies that nobody took"),
    counter("group_requests", "Questions whether a visitor is in a group"),
    counter("group_cached", "Such questions answered from memory"),
    counter("group_asked", "Such questions handed to an authenticator for a protection server"),
    counter("group_unavailable", "Such questions without an answer"),
    gauge("group_entries", "Memberships in the broker's memory"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_board_has_room_and_no_name_is_there_twice() {
        assert!(COUNTERS.len() <= weblog_fds::COUNTERS);
        for (i, one) in COUNTERS.iter().enumerate() {
            assert!(COUNTERS.iter().take(i).all(|other| other.name != one.name), "{}", one.name);
            assert!(one.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
        }
    }
}
