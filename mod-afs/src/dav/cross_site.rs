//! Whether a request was made by a page of another site.
//!
//! A browser sends a visitor's name and password with every request to a place that has asked for them, also when a page
//! of somebody else makes it. So what changes something is only done for pages of this very server, and for programs that
//! are no browsers. Pure: knows headers only.

/// What a request says of where it comes from, and of where it goes to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked<'a> {
    /// `Sec-Fetch-Site`
    pub site: Option<&'a [u8]>,
    /// `Origin`
    pub origin: Option<&'a [u8]>,
    /// `Host`
    pub host: Option<&'a [u8]>,
    /// Over TLS, as far as this server can tell.
    pub tls: bool,
}

/// Does this method leave everything as it is?
#[must_use]
pub fn is_safe(method: &[u8]) -> bool {
    const SAFE: [&[u8]; 6] = [b"GET", b"HEAD", b"OPTIONS", b"PROPFIND", b"REPORT", b"SEARCH"];
    SAFE.contains(&method)
}

/// Did a page of another origin than this server's make the request? `Sec-Fetch-Site` counts where it is there, since no
/// page can set it; else `Origin`. A request with neither is no browser's of today.
#[must_use]
pub fn is_foreign(asked: Asked<'_>) -> bool {
    let foreign_site = asked.site.is_some_and(|site| {
        let site = site.trim_ascii();
        !site.eq_ignore_ascii_case(b"same-origin") && !site.eq_ignore_ascii_case(b"none")
    });
    foreign_site || asked.origin.is_some_and(|origin| !is_own(origin, asked))
}

/// Is this origin (`scheme://host[:port]`, or `null`) the server that the request went to?
fn is_own(origin: &[u8], asked: Asked<'_>) -> bool {
    let origin = origin.trim_ascii();
    let rest = |scheme: &[u8]| {
        origin.split_at_checked(scheme.len()).filter(|(s, _)| s.eq_ignore_ascii_case(scheme)).map(|(_, r)| r)
    };
    let (authority, port): (&[u8], &[u8]) = match (rest(b"https://"), rest(b"http://")) {
        (Some(authority), _) => (authority, b"443"),
        // What was asked for over TLS is nothing that a page without it may change.
        (None, Some(authority)) if !asked.tls => (authority, b"80"),
        _ => return false,
    };
    let Some(host) = asked.host else { return false };
    let (name, its_port) = host_and_port(authority);
    let (own, own_port) = host_and_port(host.trim_ascii());
    // Without a port a Host means the one of the scheme, which a proxy in front of this server knows and the server does not.
    !name.is_empty() && name.eq_ignore_ascii_case(own) && its_port.unwrap_or(port) == own_port.unwrap_or(port)
}

/// Does this `Destination` name another server than the one that the request went to? What is no absolute URL, or cannot
/// be compared for want of a Host, is not for this to judge.
#[must_use]
pub fn is_elsewhere(destination: &[u8], asked: Asked<'_>) -> bool {
    let destination = destination.trim_ascii();
    let Some(scheme) = destination.windows(3).position(|w| w == b"://") else { return false };
    let authority = scheme + 3;
    let behind = destination.get(authority..).unwrap_or_default();
    let len = behind.iter().position(|b| b"/?#".contains(b)).unwrap_or(behind.len());
    asked.host.is_some() && !is_own(destination.get(..authority + len).unwrap_or_default(), asked)
}

/// The two parts of `host[:port]`; an IPv6 address stands in brackets.
fn host_and_port(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    let colon = authority.iter().rposition(|b| *b == b':');
    let in_brackets = authority.ends_with(b"]");
    match colon.filter(|_| !in_brackets) {
        Some(at) => {
            let (host, port) = authority.split_at(at);
            (host, port.get(1..).filter(|p| !p.is_empty()))
        }
        None => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foreign(site: &str, origin: &str, host: &str, tls: bool) -> bool {
        let some = |text: &'static str| (!text.is_empty()).then_some(text.as_bytes());
        let leak = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
        is_foreign(Asked { site: some(leak(site)), origin: some(leak(origin)), host: some(leak(host)), tls })
    }

    #[test]
    fn a_destination_on_another_server_is_told_from_one_here() {
        let asked = |tls| Asked { host: Some(b"www.example.com:8080"), tls, ..Asked::default() };
        for (destination, elsewhere) in [
            (&b"http://www.example.com:8080/afs/x"[..], false),
            (b" HTTP://WWW.example.com:8080/afs/x?y ", false),
            (b"http://www.example.com:8080", false),
            (b"http://www.example.com/afs/x", true),
            (b"http://www.example.com:8081/afs/x", true),
            (b"http://other.example:8080/afs/x", true),
            (b"http://www.example.com:8080@other.example/afs/x", true),
            (b"http://other.example#www.example.com:8080/", true),
            // mod_dav's to refuse.
            (b"/afs/x", false),
            (b"::", false),
            (b"", false),
        ] {
            let text = String::from_utf8_lossy(destination);
            assert_eq!(is_elsewhere(destination, asked(false)), elsewhere, "{text}");
        }
        assert!(is_elsewhere(b"http://www.example.com:8080/x", asked(true)));
        assert!(!is_elsewhere(b"http://other.example/x", Asked::default()), "no Host");
    }

    #[test]
    fn pages_of_other_origins_are_foreign_and_programs_are_not() {
        for (site, origin, host, tls, want) in [
            ("", "", "www.example", false, false),
            ("none", "", "www.example", true, false),
            ("same-origin", "https://www.example", "www.example", true, false),
            ("Same-Origin", "", "www.example", true, false),
            ("same-site", "https://other.example", "www.example", true, true),
            ("same-site", "", "www.example", true, true),
            ("cross-site", "", "www.example", true, true),
            ("something-new", "", "www.example", true, true),
            ("", "https://evil.example", "www.example", true, true),
            ("", "null", "www.example", true, true),
            ("same-origin", "null", "www.example", true, true),
            ("", "https://www.example", "www.example", true, false),
            ("", "https://WWW.example:443", "www.example", true, false),
            ("", "https://www.example:8443", "www.example:8443", true, false),
            ("", "https://www.example:8443", "www.example", true, true),
            ("", "https://www.example", "www.example:8443", true, true),
            ("", "http://www.example", "www.example", true, true),
            ("", "http://www.example", "www.example", false, false),
            ("", "https://www.example", "www.example", false, false),
            ("", "http://www.example:8080", "www.example:8080", false, false),
            ("", "http://[::1]:8080", "[::1]:8080", false, false),
            ("", "http://[::1]", "[::1]", false, false),
            ("", "http://[::1]:8080", "[::1]", false, true),
            ("", "ftp://www.example", "www.example", false, true),
            ("", "http://", "", false, true),
            ("", "https://www.example.evil", "www.example", true, true),
        ] {
            assert_eq!(foreign(site, origin, host, tls), want, "{site:?} {origin:?} {host:?} {tls}");
        }
    }

    #[test]
    fn methods_that_are_not_known_change_something() {
        for (method, safe) in
            [("GET", true), ("PROPFIND", true), ("PUT", false), ("POST", false), ("FROB", false)]
        {
            assert_eq!(is_safe(method.as_bytes()), safe, "{method}");
        }
    }
}
