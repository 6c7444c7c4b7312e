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

/// An ETag that nothing has.
const OF_NOTHING: &[u8] = b"[\"no-lock\"]";

/// An `If` header that names locks, for a mod_dav that has none: in the place of each an ETag that nothing has, which is as
/// true. mod_dav would call a function of its locks without a look whether there are any. `None`: it names none.
///
/// What is a lock here is what mod_dav takes for one: lists end at the first `)`, locks in them at the first `>`. What does not
/// end stays, since mod_dav refuses it before anything is done with it.
pub(super) fn without_locks(value: &[u8]) -> Option<Vec<u8>> {
    let mut made = Vec::new();
    for part in parts(value, b'(', b')') {
        let is_list = part.starts_with(b"(") && part.ends_with(b")");
        for piece in if is_list { parts(part, b'[', b']') } else { vec![part] } {
            let is_lock = is_list && piece.starts_with(b"<") && piece.ends_with(b">");
            made.extend_from_slice(if is_lock { OF_NOTHING } else { piece });
        }
    }
    (made != value).then_some(made)
}

/// What `value` consists of: what stands from `open` to the next `close`, or from `<` to the next `>`, and single bytes between
/// those; last what does not end.
fn parts(value: &[u8], open: u8, close: u8) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut rest = value;
    while let Some(first) = rest.first() {
        let end = match *first {
            b'<' => Some(b'>'),
            first if first == open => Some(close),
            _ => None,
        };
        let length = match end {
            Some(end) => rest.iter().position(|b| *b == end).map_or(rest.len(), |at| at + 1),
            None => 1,
        };
        let (part, behind) = rest.split_at(length);
        parts.push(part);
        rest = behind;
    }
    parts
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
    fn locks_that_cannot_be_are_etags_that_nothing_has() {
        for (value, want) in [
            (&b"(<a>)"[..], Some(&b"([\"no-lock\"])"[..])),
            (b"(Not <DAV:no-lock>)", Some(b"(Not [\"no-lock\"])")),
            (b"</x(y> (<a> [\"b<c>\"]) ([d])", Some(b"</x(y> ([\"no-lock\"] [\"b<c>\"]) ([d])")),
            (b"<http://h/x> ([\"b\"])", None),
            (b"<http://h/x>", None),
            // What does not end is mod_dav's to refuse, also behind one that does.
            (b"(<a", None),
            (b"(<a)>", None),
            (b"(<a>)(<b", Some(b"([\"no-lock\"])(<b")),
            (b"(<a> <b) >)", Some(b"([\"no-lock\"] <b) >)")),
            (b"([<a>)", None),
            (b"([)] <a>)", None),
            (b"", None),
        ] {
            assert_eq!(without_locks(value).as_deref(), want, "{}", String::from_utf8_lossy(value));
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
