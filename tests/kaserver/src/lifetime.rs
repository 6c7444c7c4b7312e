//! Ticket lifetimes: one byte in a Kerberos 4 ticket, seconds everywhere else.

/// A date that never comes.
pub const NEVER: u32 = u32::MAX;
/// The longest lifetime, in seconds: 30 days.
pub const MAX_S: u32 = 30 * 24 * 3600;
/// How far two clocks may differ, in seconds.
pub const SKEW_S: u32 = 900;

/// The byte that says "for ever".
const NO_EXPIRY: u8 = 0xff;
/// The byte that the first entry of [`TABLE`] stands for; smaller ones count units of five minutes.
const TABLE_FIRST: u8 = 0x80;
/// Seconds of a unit below the table.
pub const UNIT_S: u32 = 300;
/// Seconds for the bytes 0x80 to 0xbf, each about 1.06914 times the one before.
///
/// Source: OpenAFS `src/rxkad/lifetimes.h`.
const TABLE: [u32; 64] = [
    38400, 41055, 43894, 46929, 50174, 53643, 57352, 61318, 65558, 70091, 74937, 80119, 85658, 91581, 97914,
    104_684, 111_922, 119_661, 127_935, 136_781, 146_239, 156_350, 167_161, 178_720, 191_077, 204_289,
    218_415, 233_517, 249_664, 266_926, 285_383, 305_116, 326_213, 348_769, 372_885, 398_668, 426_234,
    455_705, 487_215, 520_904, 556_921, 595_430, 636_601, 680_618, 727_680, 777_995, 831_789, 889_303,
    950_794, 1_016_537, 1_086_825, 1_161_973, 1_242_318, 1_328_218, 1_420_057, 1_518_247, 1_623_226,
    1_735_464, 1_855_462, 1_983_758, 2_120_925, 2_267_576, 2_424_367, 2_592_000,
];

/// The end of a ticket that starts at `start` and has the lifetime byte `life`.
#[must_use]
pub fn end_of(start: u32, life: u8) -> u32 {
    if life == NO_EXPIRY {
        return NEVER;
    }
    let seconds = match life.checked_sub(TABLE_FIRST) {
        None => u32::from(life) * UNIT_S,
        Some(at) => TABLE.get(usize::from(at)).copied().unwrap_or(MAX_S),
    };
    start.wrapping_add(seconds)
}

/// The lifetime byte for a ticket from `start` to `end`, rounded up; `None` if none can say it.
#[must_use]
pub fn byte_for(start: u32, end: u32) -> Option<u8> {
    if end == NEVER {
        return Some(NO_EXPIRY);
    }
    let seconds = end.checked_sub(start).filter(|seconds| (1..=MAX_S).contains(seconds))?;
    if seconds < TABLE[0] {
        return u8::try_from(seconds.div_ceil(UNIT_S)).ok();
    }
    let at = TABLE.iter().position(|entry| *entry >= seconds)?;
    u8::try_from(at).ok()?.checked_add(TABLE_FIRST)
}

/// What two times say about a ticket now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// They make no sense, or the ticket ended long ago.
    Nonsense,
    /// It ended lately.
    Expired,
    /// It has not begun.
    Early,
    /// It is good.
    Valid,
}

/// Judges a ticket's times as every AFS server and client does.
///
/// Source: OpenAFS `src/rxkad/ticket.c` (`tkt_CheckTimes`).
#[must_use]
pub fn check(start: u32, end: u32, now: u32) -> Validity {
    let (start64, end64, now64, skew) = (u64::from(start), u64::from(end), u64::from(now), u64::from(SKEW_S));
    if start >= end || start64 > now64 + skew + u64::from(MAX_S) {
        return Validity::Nonsense;
    }
    if start != 0 && end != NEVER && end - start > MAX_S {
        return Validity::Nonsense;
    }
    if end != NEVER && end64 + skew < now64 {
        let long_ago = start != 0 && now.saturating_sub(start) > MAX_S + 24 * 3600;
        return if long_ago { Validity::Nonsense } else { Validity::Expired };
    }
    if start == 0 || start64 <= now64 + skew { Validity::Valid } else { Validity::Early }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: u32 = 0x6000_0000;

    #[test]
    fn lifetimes_are_rounded_up_to_what_a_byte_can_say() {
        for (seconds, byte, becomes) in [
            (1, 0x01, 300),
            (300, 0x01, 300),
            (301, 0x02, 600),
            (36_000, 0x78, 36_000),
            (38_399, 0x80, 38_400),
            (38_400, 0x80, 38_400),
            (38_401, 0x81, 41_055),
            (90_000, 0x8d, 91_581),
            (MAX_S, 0xbf, MAX_S),
        ] {
            assert_eq!(byte_for(T, T + seconds), Some(byte), "{seconds}");
            assert_eq!(end_of(T, byte), T + becomes, "{seconds}");
        }
    }

    #[test]
    fn what_no_byte_can_say_is_refused() {
        assert_eq!(byte_for(T, T), None);
        assert_eq!(byte_for(T, T - 1), None);
        assert_eq!(byte_for(T, T + MAX_S + 1), None);
    }

    #[test]
    fn for_ever_has_its_own_byte_and_unknown_bytes_mean_the_longest_life() {
        assert_eq!(byte_for(T, NEVER), Some(0xff));
        assert_eq!(end_of(T, 0xff), NEVER);
        assert_eq!(end_of(T, 0xc0), T + MAX_S);
    }

    #[test]
    fn times_are_judged_with_fifteen_minutes_of_grace() {
        let cases = [
            (T, T, T, Validity::Nonsense),
            (T, T + MAX_S + 1, T, Validity::Nonsense),
            (T + SKEW_S + MAX_S + 1, T + SKEW_S + MAX_S + 2, T, Validity::Nonsense),
            (T - 2000, T - 901, T, Validity::Expired),
            (T - 2000, T - 900, T, Validity::Valid),
            (T - MAX_S - 90_000, T - MAX_S - 80_000, T, Validity::Nonsense),
            (T + 900, T + 2000, T, Validity::Valid),
            (T + 901, T + 2000, T, Validity::Early),
            (0, NEVER, T, Validity::Valid),
        ];
        for (start, end, now, expected) in cases {
            assert_eq!(check(start, end, now), expected, "{start} {end} {now}");
        }
    }
}
