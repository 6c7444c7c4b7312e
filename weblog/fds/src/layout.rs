//! The numbers under which nanny and broker find their descriptors: `docs/architecture.md`, "Descriptors at exec".

use std::os::fd::RawFd;

/// Control socket to the one above: the nanny's to the httpd parent, the broker's to the nanny.
pub const CONTROL: RawFd = 3;
/// The board, read-write.
pub const BOARD: RawFd = 4;
/// Listening socket for administrators.
pub const LISTENER: RawFd = 5;
/// First number that belongs to a lane.
pub const LANES: RawFd = 6;
/// Most lanes that there can be.
pub const MAX_LANES: usize = 64;

/// Read end of lane `lane`'s request pipe.
#[must_use]
pub const fn lane_request(lane: usize) -> RawFd {
    LANES + 2 * small(lane)
}

/// Write end of lane `lane`'s reply pipe.
#[must_use]
pub const fn lane_reply(lane: usize) -> RawFd {
    LANES + 1 + 2 * small(lane)
}

/// First number behind those of `lanes` lanes.
#[must_use]
pub const fn end(lanes: usize) -> RawFd {
    LANES + 2 * small(lanes)
}

/// The broker's program as httpd holds it, behind the lanes; for the nanny only, and only where httpd says so.
#[must_use]
pub const fn held(lanes: usize) -> RawFd {
    end(lanes)
}

/// A lane's number as a descriptor is counted; at most [`MAX_LANES`].
#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "at most 64")]
const fn small(lane: usize) -> RawFd {
    if lane < MAX_LANES { lane as RawFd } else { MAX_LANES as RawFd }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_document() {
        assert_eq!((CONTROL, BOARD, LISTENER), (3, 4, 5));
        assert_eq!((lane_request(0), lane_reply(0), lane_request(3), lane_reply(3)), (6, 7, 12, 13));
        assert_eq!((end(0), end(4)), (6, 14));
        assert_eq!(lane_request(usize::MAX), end(MAX_LANES));
    }
}
