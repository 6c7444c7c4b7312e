//! What stands in headers: dates as HTTP has them, and what WebDAV's If depends on.

/// Does an `If` header depend on an ETag (and not on locks alone)?
pub(super) fn names_etag(value: &[u8]) -> bool {
    let mut in_url = false;
    value.iter().any(|b| {
        match b {
            b'<' => in_url = true,
            b'>' => in_url = false,
            _ => {}
        }
        *b == b'[' && !in_url
    })
}

/// A date as HTTP has it.
pub(super) fn http_date(seconds: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (day, time) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, of_month) = crate::access_log::civil(day);
    let pick = |list: &[&'static str], n: i64| {
        usize::try_from(n).ok().and_then(|n| list.get(n).copied()).unwrap_or("???")
    };
    format!(
        "{}, {of_month:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        pick(&DAYS, day.rem_euclid(7)),
        pick(&MONTHS, month - 1),
        time / 3600,
        time / 60 % 60,
        time % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_http() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        ] {
            assert_eq!(http_date(seconds), text);
        }
    }

    #[test]
    fn an_if_header_depends_on_an_etag_or_on_locks_alone() {
        for (value, does) in [
            (&b"([\"1-2-3\"])"[..], true),
            (b"(<opaquelocktoken:1> [\"x\"]) (Not <DAV:no-lock>)", true),
            (b"<http://[::1]/x> (<opaquelocktoken:1>)", false),
            (b"(<opaquelocktoken:1>)", false),
            (b"", false),
        ] {
            assert_eq!(names_etag(value), does, "{}", String::from_utf8_lossy(value));
        }
    }
}
