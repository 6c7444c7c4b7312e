//! When an entry ends: never later than the token in it.

/// End of an entry on the clock of the store: the smallest of the token's end and `limit_s` from now.
///
/// `now_ms`: the store's clock. `now_unix_s`, `token_end_s`: seconds since 1970 UTC.
/// `limit_s`: seconds from now; `None` = as long as the token.
/// `None` if it is already over, also for a limit of 0 seconds.
#[must_use]
pub fn expires_ms(now_ms: u64, now_unix_s: i64, token_end_s: i64, limit_s: Option<u64>) -> Option<u64> {
    let left_s = i128::from(token_end_s) - i128::from(now_unix_s);
    let left_s = u64::try_from(left_s).ok()?;
    let left_s = limit_s.map_or(left_s, |l| l.min(left_s));
    (left_s > 0).then(|| now_ms.saturating_add(left_s.saturating_mul(1000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 20 January 2038, one day behind the end of signed 32-bit seconds.
    const Y2038: i64 = 2_147_558_400;
    /// 8 February 2106, one day behind the end of unsigned 32-bit seconds.
    const Y2106: i64 = 4_295_059_200;

    fn check(now_unix_s: i64, token_end_s: i64, limit_s: Option<u64>, want: Option<u64>) {
        assert_eq!(
            expires_ms(1_000, now_unix_s, token_end_s, limit_s),
            want,
            "now {now_unix_s} end {token_end_s} limit {limit_s:?}"
        );
    }

    #[test]
    fn the_smallest_end_wins() {
        check(100, 110, None, Some(11_000));
        check(100, 110, Some(3), Some(4_000));
        check(100, 110, Some(10), Some(11_000));
        check(100, 110, Some(50), Some(11_000));
        check(100, 110, Some(u64::MAX), Some(11_000));
    }

    #[test]
    fn what_has_ended_is_not_kept() {
        check(100, 100, None, None);
        check(100, 99, None, None);
        check(100, 99, Some(60), None);
        check(100, 110, Some(0), None);
        check(100, i64::MIN, None, None);
    }

    /// Original defect D43: times were signed 32-bit.
    #[test]
    fn d43_a_token_that_ends_after_2038_or_2106_is_kept() {
        for year in [Y2038, Y2106] {
            check(year - 90_000, year, None, Some(90_001_000));
            check(year, year + 36_000, None, Some(36_001_000));
            check(year, year + 36_000, Some(300), Some(301_000));
            check(year, year - 1, None, None);
        }
        check(1_700_000_000, Y2106, None, Some(1_000 + 1_000 * (Y2106 - 1_700_000_000) as u64));
    }

    #[test]
    fn extreme_times_do_not_wrap() {
        check(-1, i64::MAX, None, Some(u64::MAX));
        check(i64::MIN, i64::MAX, Some(1), Some(2_000));
        check(i64::MAX, i64::MIN, None, None);
        assert_eq!(expires_ms(u64::MAX, 0, 10, None), Some(u64::MAX));
    }
}
