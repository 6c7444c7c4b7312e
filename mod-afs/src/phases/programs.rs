//! What httpd would run on a file instead of sending it.

use crate::httpd::{Request, first_handler, has_other_handlers};
use core::ffi::CStr;

/// httpd's module that starts programs from the worker, and so as the visitor.
const BY_WORKER: &CStr = c"mod_cgi.c";
/// Its module that has a daemon start them, which is none of the visitor's processes.
const BY_DAEMON: &CStr = c"mod_cgid.c";

/// Others whose pages can start programs.
const OTHERS: [&CStr; 3] = [c"mod_php.c", c"mod_perl.c", c"mod_lua.c"];

/// The handler by which a program would be run here, if a daemon starts it, who is nobody whoever asks.
pub(super) fn run_as_nobody(r: &Request<'_>) -> Option<String> {
    let (handler, media_type) = asked_for(r);
    let by = programs_by(handler, media_type)?;
    (first_handler(&[BY_WORKER, BY_DAEMON]) == Some(BY_DAEMON))
        .then(|| String::from_utf8_lossy(by).into_owned())
}

/// The handler of mod_cgi and mod_cgid, if it was asked for; httpd takes the media type for its name where none was.
fn programs_by<'n>(handler: &'n [u8], media_type: &'n [u8]) -> Option<&'n [u8]> {
    let name = if handler.is_empty() { media_type } else { handler };
    matches!(name, b"cgi-script" | b"application/x-httpd-cgi").then_some(name)
}

/// Would what a page here asks for by `#exec` be started by that daemon?
pub(super) fn exec_is_nobodys(r: &Request<'_>) -> bool {
    r.has_output_filter(c"includes") && daemon_runs_exec()
}

/// Does the daemon start what pages ask for by `#exec`? It does wherever it is there, since its module takes that last.
fn daemon_runs_exec() -> bool {
    first_handler(&[BY_DAEMON]).is_some()
}

/// Is there a module that starts programs as the visitor, or may do so?
pub(crate) fn run_as_visitors() -> bool {
    first_handler(&[BY_WORKER, BY_DAEMON]) == Some(BY_WORKER) || first_handler(&OTHERS).is_some()
}

/// What an administrator should know of the daemon, if there is one and the client is in the kernel.
pub(crate) fn warning() -> Option<&'static str> {
    match first_handler(&[BY_WORKER, BY_DAEMON]) {
        Some(first) if first == BY_DAEMON => Some(
            "mod_cgid runs programs as nobody: those in AFS are refused (403), those elsewhere are nobody in AFS; \
             with mod_cgi in its place they run as their visitors",
        ),
        _ if daemon_runs_exec() => Some(
            "mod_cgid is there beside mod_cgi: its daemon would run `#exec` as nobody, so that does nothing in \
             pages in AFS",
        ),
        _ => None,
    }
}

/// The filter of server-side includes, which starts programs where Options let it.
const INCLUDES: &CStr = c"includes";
/// Output filters that run what stands in a file.
const RUNNING_FILTERS: [&CStr; 2] = [INCLUDES, c"php"];

/// The handler or filter that httpd would run on this file instead of sending it, if there is one.
pub(super) fn would_run(r: &Request<'_>) -> Option<String> {
    let (handler, media_type) = asked_for(r);
    let runs = runs(handler, media_type).map(|name| String::from_utf8_lossy(name).into_owned());
    runs.or_else(|| {
        let filter = RUNNING_FILTERS.iter().find(|name| r.has_output_filter(name))?;
        Some(filter.to_string_lossy().into_owned())
    })
}

/// Handlers of httpd's own that start nothing, or have another process do so.
const HARMLESS: [&str; 10] = [
    "proxy-server",
    "server-status",
    "server-info",
    "balancer-manager",
    "type-map",
    "send-as-is",
    "imap-file",
    "redirect-handler",
    "fcgid-script",
    "perl-status",
];

/// Modules that answer requests and start nothing for that, or have another process do so; or what [`programs_by`] knows. What
/// none of them knows goes to the core.
const START_NOTHING: [&CStr; 27] = [
    BY_WORKER,
    c"mod_afs.c",
    c"core.c",
    c"mod_asis.c",
    c"mod_autoindex.c",
    c"mod_cgid.c",
    c"mod_dav.c",
    c"mod_actions.c",
    c"mod_fcgid.c",
    c"mod_heartmonitor.c",
    c"mod_http2.c",
    c"mod_imagemap.c",
    c"mod_info.c",
    c"mod_ldap.c",
    c"util_ldap.c",
    c"mod_lbmethod_heartbeat.c",
    c"mod_md.c",
    c"mod_negotiation.c",
    c"mod_proxy.c",
    c"mod_proxy_balancer.c",
    c"mod_rewrite.c",
    c"mod_status.c",
    c"mod_ssl.c",
    c"mod_speling.c",
    c"mod_socache_memcache.c",
    c"mod_userdir.c",
    c"mod_dir.c",
];

/// Might a program be started from this worker, for a request that has nothing to do with AFS?
pub(super) fn may_start_programs(r: &Request<'_>) -> bool {
    may_start(r) && run_as_nobody(r).is_none()
}

/// Might what would run here start one?
pub(super) fn may_start(r: &Request<'_>) -> bool {
    let (handler, media_type) = asked_for(r);
    runs(handler, media_type).is_some_and(|name| {
        // Whoever may write an access file can call for any name.
        can_start(&String::from_utf8_lossy(name))
            && (programs_by(handler, media_type).is_some() || has_other_handlers(&START_NOTHING))
    }) || RUNNING_FILTERS
        .iter()
        .any(|name| r.has_output_filter(name) && (*name != INCLUDES || r.options().exec))
}

/// Might what is so called start one?
fn can_start(what: &str) -> bool {
    !(what.starts_with("proxy:") || what.starts_with("afs-") || HARMLESS.contains(&what))
}

/// The names of handler and media type.
fn asked_for<'r>(r: &'r Request<'_>) -> (&'r [u8], &'r [u8]) {
    let handler = r.handler().map(CStr::to_bytes).unwrap_or_default();
    let media_type = r.content_type().map(CStr::to_bytes).unwrap_or_default();
    (handler, media_type.split(|b| *b == b';').next().unwrap_or_default().trim_ascii())
}

/// The handler's name, if it is one that was asked for: by name, or by a media type that stands for one.
///
/// httpd takes the media type for the handler's name where none was asked for.
fn runs<'n>(handler: &'n [u8], media_type: &'n [u8]) -> Option<&'n [u8]> {
    let by_type = [&b"application/x-httpd-"[..], b"text/x-server-parsed-html"];
    let asked = !handler.is_empty() && handler != b"default-handler" && handler != media_type;
    let named = [handler, media_type].into_iter().find(|n| by_type.iter().any(|t| n.starts_with(t)));
    named.or(asked.then_some(handler))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_to_run_is_told_from_what_is_only_a_media_type() {
        for (handler, media_type, want) in [
            ("", "", None),
            ("text/html", "text/html", None),
            ("default-handler", "text/html", None),
            ("cgi-script", "text/html", Some("cgi-script")),
            ("proxy:fcgi://localhost:9000", "", Some("proxy:fcgi://localhost:9000")),
            ("application/x-httpd-php", "application/x-httpd-php", Some("application/x-httpd-php")),
            ("application/x-httpd-cgi", "application/x-httpd-cgi", Some("application/x-httpd-cgi")),
            ("text/x-server-parsed-html", "text/x-server-parsed-html", Some("text/x-server-parsed-html")),
            ("type-map", "", Some("type-map")),
        ] {
            let seen = runs(handler.as_bytes(), media_type.as_bytes());
            assert_eq!(seen, want.map(str::as_bytes), "{handler} {media_type}");
        }
    }

    #[test]
    fn what_starts_nothing_is_known_by_its_name_and_all_else_may() {
        for (what, may) in [
            ("cgi-script", true),
            ("application/x-httpd-php", true),
            ("lua-script", true),
            ("includes", true),
            ("proxy-server", false),
            ("proxy:fcgi://localhost:9000", false),
            ("server-status", false),
        ] {
            assert_eq!(can_start(what), may, "{what}");
        }
    }

    #[test]
    fn what_a_daemon_would_run_is_told_by_the_handler_whatever_the_media_type() {
        for (handler, media_type, want) in [
            ("cgi-script", "application/x-httpd-php", Some("cgi-script")),
            ("", "application/x-httpd-cgi", Some("application/x-httpd-cgi")),
            ("application/x-httpd-cgi", "text/html", Some("application/x-httpd-cgi")),
            ("application/x-httpd-php", "application/x-httpd-cgi", None),
            ("", "text/html", None),
        ] {
            let seen = programs_by(handler.as_bytes(), media_type.as_bytes());
            assert_eq!(seen, want.map(str::as_bytes), "{handler} {media_type}");
        }
    }
}
