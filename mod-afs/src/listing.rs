//! Listings of directories in AFS where no other module can make them: with the user-space client.
//!
//! A listing is what AFS tells this visitor: the names in the directory, and of each what he may look at. What people
//! called their files is text of strangers, so it goes into the page escaped, as text and as URL, and the page forbids
//! everything that a browser could run.

use crate::access_log::civil;
use crate::answer::Trouble;
use crate::content::{Afs, Attributes, Who};
use crate::dav::files::{Dir as _, join};
use crate::dav::put;
use crate::httpd::{FileKind, Part, Request, Status};
use crate::writing::OpenDir;
use core::fmt::Write as _;
use core::hash::{Hash as _, Hasher as _};
use std::hash::DefaultHasher;
use std::time::{Duration, Instant};

/// A name in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// The name.
    name: Vec<u8>,
    /// What the visitor may know of it; `None`: only that it is there.
    known: Option<Known>,
}

/// What is known of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// A directory, and when it was changed, seconds since 1970.
    Directory(i64),
    /// A file: when it was changed, and its bytes.
    File(i64, u64),
}

/// Names that are not listed: hidden ones (of which ours for temporary files are some), and what editors and version
/// control leave behind, as Debian's configuration has it for httpd's own listings.
fn is_hidden(name: &[u8]) -> bool {
    debug_assert!(put::PREFIX.starts_with(b"."), "temporary names are hidden");
    name.starts_with(b".")
        || [&b"~"[..], b"#", b",v", b",t"].iter().any(|end| name.ends_with(end))
        || [&b"RCS"[..], b"CVS"].contains(&name)
}

/// What is shown of a name whose attributes AFS gives; `None`: it is left out, since there is nothing to be served.
fn known(found: Attributes) -> Option<Known> {
    let changed = found.info.mtime_us.div_euclid(1_000_000);
    match found.info.kind {
        FileKind::Plain => Some(Known::File(changed, found.info.size)),
        FileKind::Directory => Some(Known::Directory(changed)),
        FileKind::None | FileKind::Link | FileKind::Other => None,
    }
}

/// An entry for a name of which AFS says `found`; `None`: it is left out.
///
/// Who may list a directory may see its names, so what he may not look at (yet) is shown by its name: the link to it asks
/// him to log in. What has gone meanwhile, and a link that leads nowhere or out of AFS, is left out.
fn entry(name: Vec<u8>, found: Result<Attributes, i32>) -> Option<Entry> {
    let known = match found {
        Ok(found) => Some(known(found)?),
        Err(errno) => match Trouble::of(errno) {
            Trouble::Absent | Trouble::Unfit => return None,
            _ => None,
        },
    };
    Some(Entry { name, known })
}

/// What is in a directory, as `who` sees it, in the order of names; `follows`: through symbolic links, else they are left out.
///
/// After `patience`, what has not been looked at is shown by its name.
///
/// # Errors
/// Why its names cannot be read.
fn entries(
    afs: &'static Afs,
    who: &Who,
    dir: &[u8],
    follows: bool,
    patience: Duration,
) -> Result<Vec<Entry>, i32> {
    let until = Instant::now() + patience;
    let mut names = OpenDir::open(afs, who, dir)?.names()?;
    names.retain(|name| !is_hidden(name));
    names.sort_unstable();
    let look = |name: Vec<u8>| {
        let path = join(dir, &name);
        // A name may be the way to a server that others wait for already.
        if Instant::now() > until || afs.is_full(&path) {
            return Some(Entry { name, known: None });
        }
        let found = match afs.lstat(who, &path) {
            Ok(link) if link.info.kind == FileKind::Link && !follows => return None,
            Ok(link) if link.info.kind == FileKind::Link => afs.stat(who, &path),
            other => other,
        };
        entry(name, found)
    };
    Ok(names.into_iter().filter_map(look).collect())
}

/// Appends a text of strangers as text of a page. What is not UTF-8, and control characters, become U+FFFD.
fn push_text(page: &mut String, text: &[u8]) {
    for c in String::from_utf8_lossy(text).chars() {
        match c {
            '&' => page.push_str("&amp;"),
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '"' => page.push_str("&quot;"),
            '\'' => page.push_str("&#39;"),
            c if c.is_control() => page.push('\u{fffd}'),
            c => page.push(c),
        }
    }
}

/// Appends a name as a part of a URL's path: all but letters, digits and `-._~` by their numbers, so that it neither
/// ends an attribute nor is taken for a scheme, a query or a fragment.
fn push_url(page: &mut String, name: &[u8]) {
    for byte in name {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                page.push(char::from(*byte))
            }
            _ => {
                let written = write!(page, "%{byte:02X}");
                debug_assert!(written.is_ok(), "writing to a String");
            }
        }
    }
}

/// Appends a time, UTC, to the minute.
fn push_time(page: &mut String, seconds: i64) {
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let minutes = seconds.rem_euclid(86_400) / 60;
    let written = write!(page, "{year:04}-{month:02}-{day:02} {:02}:{:02}", minutes / 60, minutes % 60);
    debug_assert!(written.is_ok(), "writing to a String");
}

/// Appends a row; `at`: what stands before the name in its link.
fn push_row(page: &mut String, at: &str, entry: &Entry) {
    let slash = if matches!(entry.known, Some(Known::Directory(_))) { "/" } else { "" };
    page.push_str("<tr><td><a href=\"");
    page.push_str(at);
    push_url(page, &entry.name);
    page.push_str(slash);
    page.push_str("\">");
    push_text(page, &entry.name);
    page.push_str(slash);
    page.push_str("</a></td><td>");
    if let Some(Known::Directory(changed) | Known::File(changed, _)) = entry.known {
        push_time(page, changed);
    }
    page.push_str("</td><td align=\"right\">");
    match entry.known {
        Some(Known::File(_, size)) => page.push_str(&size.to_string()),
        Some(Known::Directory(_)) => page.push('-'),
        None => {}
    }
    page.push_str("</td></tr>\n");
}

/// The page for the directory whose decoded URL is `uri`.
fn page(uri: &[u8], entries: &[Entry]) -> String {
    // Relative links, so that they hold behind a proxy, too. Without a slash at the end (`DirectorySlash Off`) they are
    // relative to the directory above.
    let (mut at, mut parent) = (String::new(), "../");
    if !uri.ends_with(b"/") {
        let last = uri.rsplit(|b| *b == b'/').next().unwrap_or_default();
        push_url(&mut at, last);
        at.push('/');
        parent = "./";
    }
    let mut page = String::with_capacity(1024 + entries.len() * 128);
    page.push_str("<!DOCTYPE html>\n<html>\n<head>\n<meta charset=\"utf-8\">\n<title>Index of ");
    push_text(&mut page, uri);
    page.push_str("</title>\n</head>\n<body>\n<h1>Index of ");
    push_text(&mut page, uri);
    page.push_str(
        "</h1>\n<table>\n<tr><th align=\"left\">Name</th><th align=\"left\">Last modified (UTC)</th>\
         <th align=\"right\">Bytes</th></tr>\n",
    );
    if uri != b"/" {
        page.push_str("<tr><td><a href=\"");
        page.push_str(parent);
        page.push_str("\">Parent directory</a></td><td></td><td></td></tr>\n");
    }
    for entry in entries {
        push_row(&mut page, &at, entry);
    }
    page.push_str("</table>\n</body>\n</html>\n");
    page
}

/// A validator of a page: what is in it, wherever it was made.
fn validator(page: &str) -> String {
    let mut hasher = DefaultHasher::new();
    page.hash(&mut hasher);
    format!("\"{:x}-{:x}\"", page.len(), hasher.finish())
}

/// Lists the directory `dir` as `who`.
///
/// # Errors
/// What AFS says, an errno; inside, the status of what is not sent for other reasons.
pub fn send(
    r: &mut Request<'_>,
    afs: &'static Afs,
    who: &Who,
    dir: &[u8],
) -> Result<Result<Status, Status>, i32> {
    let follows = r.options().follow_links;
    // One silent server, which is known as such afterwards, costs no other entry its details.
    let patience = 2 * Duration::from_secs(r.server().config().file_deadline_s().into());
    let dir = dir.strip_suffix(b"/").unwrap_or(dir);
    let entries = entries(afs, who, dir, follows, patience)?;
    let page = page(r.uri().to_bytes(), &entries);
    r.set_content_type("text/html;charset=utf-8");
    r.set_header(c"Content-Security-Policy", "default-src 'none'");
    r.set_header(c"ETag", &validator(&page));
    let met = r.meets_conditions();
    if met != Status::OK {
        return Ok(Err(met));
    }
    r.set_content_length(u64::try_from(page.len()).unwrap_or(0));
    r.try_send(vec![Part::Bytes(page.into_bytes())]).map(Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &[u8]) -> Entry {
        Entry { name: name.to_vec(), known: Some(Known::File(0, 7)) }
    }

    /// The one row of a page, between its cells.
    fn row(entry: &Entry) -> String {
        let mut page = String::new();
        push_row(&mut page, "", entry);
        page
    }

    #[test]
    fn d63_no_name_gets_out_of_its_place_in_the_page() {
        for (name, url, text) in [
            (&b"a b"[..], "a%20b", "a b"),
            (
                b"<script>alert(1)</script>",
                "%3Cscript%3Ealert%281%29%3C%2Fscript%3E",
                "&lt;script&gt;alert(1)&lt;/script&gt;",
            ),
            (b"\"onclick='x'", "%22onclick%3D%27x%27", "&quot;onclick=&#39;x&#39;"),
            (b"a&amp;b", "a%26amp%3Bb", "a&amp;amp;b"),
            (b"100%41?q#f", "100%2541%3Fq%23f", "100%41?q#f"),
            (b"javascript:alert(1)", "javascript%3Aalert%281%29", "javascript:alert(1)"),
            (b"back\\slash;+", "back%5Cslash%3B%2B", "back\\slash;+"),
            (b"new\nline\x01", "new%0Aline%01", "new\u{fffd}line\u{fffd}"),
            (b"\xff\xfe", "%FF%FE", "\u{fffd}\u{fffd}"),
            ("gr\u{fc}n".as_bytes(), "gr%C3%BCn", "gr\u{fc}n"),
        ] {
            let row = row(&file(name));
            assert!(row.contains(&format!("<a href=\"{url}\">{text}</a>")), "{row}");
        }
        let page = page(b"/afs/<b>\"&/", &[]);
        assert!(page.contains("<title>Index of /afs/&lt;b&gt;&quot;&amp;/</title>"), "{page}");
    }

    #[test]
    fn a_row_says_what_is_known() {
        let day = 86_400 * 365;
        let of = |known| row(&Entry { name: b"x".to_vec(), known });
        assert!(
            of(Some(Known::File(day + 3_660, 12)))
                .contains(">x</a></td><td>1971-01-01 01:01</td><td align=\"right\">12<")
        );
        assert!(
            of(Some(Known::Directory(day)))
                .contains("\"x/\">x/</a></td><td>1971-01-01 00:00</td><td align=\"right\">-<")
        );
        assert!(of(None).contains("\"x\">x</a></td><td></td><td align=\"right\"><"));
    }

    #[test]
    fn links_are_relative_with_and_without_a_slash_at_the_end_of_the_url() {
        let list = [file(b"x:y")];
        let with = page(b"/afs/cell/a b/", &list);
        assert!(with.contains("href=\"../\"") && with.contains("href=\"x%3Ay\""), "{with}");
        let without = page(b"/afs/cell/a b", &list);
        assert!(without.contains("href=\"./\"") && without.contains("href=\"a%20b/x%3Ay\""), "{without}");
        assert!(!page(b"/", &list).contains("Parent"));
    }

    #[test]
    fn what_is_hidden_is_not_listed() {
        for name in [".htaccess", ".afsweb-0123", "..x", "a~", "#a#", "RCS", "CVS", "a,v"] {
            assert!(is_hidden(name.as_bytes()), "{name}");
        }
        for name in ["a", "a.b", "#a", "RCSx", "~a"] {
            assert!(!is_hidden(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn what_may_not_be_looked_at_is_shown_by_name_and_what_leads_nowhere_is_not() {
        let of = |errno| entry(b"x".to_vec(), Err(errno)).map(|e| e.known);
        for errno in [libc::EACCES, libc::EPERM, libc::ETIMEDOUT, libc::ENODEV] {
            assert_eq!(of(errno), Some(None), "{errno}");
        }
        for errno in [libc::ENOENT, libc::ELOOP, libc::ENOTDIR] {
            assert_eq!(of(errno), None, "{errno}");
        }
    }

    #[test]
    fn a_validator_is_that_of_the_page() {
        let (one, other) = (page(b"/a/", &[file(b"x")]), page(b"/a/", &[file(b"y")]));
        assert_eq!(validator(&one), validator(&page(b"/a/", &[file(b"x")])));
        assert_ne!(validator(&one), validator(&other));
    }
}
