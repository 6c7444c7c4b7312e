//! How broker and children are, for machines and people: metrics, a health check, and a part of mod_status's page.
//!
//! Who may see it is for httpd's own rules at the place where the administrator puts it.

use crate::broker::Ask;
use crate::child::{Child, child};
use crate::httpd::{Part, Request, Status};
use crate::tally::{Row, Tally};
use core::ffi::CStr;
use core::fmt::Write as _;
use std::time::{Duration, Instant};
use weblog_proto::{COUNTERS, Reply};

/// Handler of the metrics.
const METRICS: &CStr = c"afs-metrics";
/// Handler of the health check.
const HEALTH: &CStr = c"afs-health";
/// What OpenMetrics are called.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// So long the broker has to answer a health check.
const HEALTH_WAIT: Duration = Duration::from_secs(2);

/// What the board says, and what children count.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Snapshot {
    ready: bool,
    generation: u64,
    revocations: u64,
    counters: [u64; COUNTERS.len()],
    /// Workers of all children that wait for a login, a file server or the broker for over a second.
    waiting: usize,
    /// Of all children.
    children: Vec<Row>,
}

impl Snapshot {
    /// As it is now; none in a child that has no board.
    fn now(child: &Child) -> Option<Self> {
        let broker = child.broker.as_ref()?;
        let board = broker.board();
        let mut counters = [0; COUNTERS.len()];
        for (i, value) in counters.iter_mut().enumerate() {
            *value = board.counter(i);
        }
        Some(Self {
            ready: board.ready(),
            generation: board.generation(),
            revocations: board.epoch(),
            counters,
            waiting: broker.workers_that_wait(),
            children: child.tally.as_ref().map(Tally::rows).unwrap_or_default(),
        })
    }

    /// As OpenMetrics text.
    fn metrics(&self) -> String {
        let mut text = String::new();
        let mut add = |name: &str, help: &str, gauge: bool, value: u64| {
            let (kind, suffix) = if gauge { ("gauge", "") } else { ("counter", "_total") };
            let line = writeln!(text, "# TYPE {name} {kind}\n# HELP {name} {help}.\n{name}{suffix} {value}");
            debug_assert!(line.is_ok(), "writing to a String");
        };
        add("afsweb_broker_ready", "Whether logins can be done", true, u64::from(self.ready));
        add(
            "afsweb_broker_generation",
            "Milliseconds since 1970 when the broker started",
            true,
            self.generation,
        );
        add("afsweb_revocations", "Times that logins were revoked", false, self.revocations);
        for (counter, value) in COUNTERS.iter().zip(self.counters) {
            add(&format!("afsweb_broker_{}", counter.name), counter.help, counter.gauge, value);
        }
        let waiting = u64::try_from(self.waiting).unwrap_or(u64::MAX);
        add("afsweb_workers_waiting", "Workers that wait for over a second", true, waiting);
        for row in &self.children {
            add(&format!("afsweb_{}", row.name), row.help, row.gauge, row.value);
        }
        text.push_str("# EOF\n");
        text
    }

    /// For mod_status's page: a table, or with `short` a line each.
    fn page(&self, short: bool) -> String {
        let mut rows = vec![
            ("Ready".to_owned(), u64::from(self.ready)),
            ("Generation".to_owned(), self.generation),
            ("Revocations".to_owned(), self.revocations),
        ];
        for (counter, value) in COUNTERS.iter().zip(self.counters) {
            let label = if short { camel(counter.name) } else { counter.help.to_owned() };
            rows.push((label, value));
        }
        rows.push(("WorkersWaiting".to_owned(), u64::try_from(self.waiting).unwrap_or(u64::MAX)));
        for row in &self.children {
            rows.push((if short { camel(row.name) } else { row.help.to_owned() }, row.value));
        }
        let mut text = String::new();
        if !short {
            text.push_str("<hr>\n<h2>AFS logins</h2>\n<table border=\"0\">\n");
        }
        for (label, value) in rows {
            let row = if short {
                writeln!(text, "AFS{label}: {value}")
            } else {
                writeln!(text, "<tr><td>{label}</td><td>{value}</td></tr>")
            };
            debug_assert!(row.is_ok(), "writing to a String");
        }
        if !short {
            text.push_str("</table>\n");
        }
        text
    }
}

/// `bad_frames` as `BadFrames`.
fn camel(name: &str) -> String {
    let first = |part: &str| {
        let mut chars = part.chars();
        chars.next().map(|c| c.to_ascii_uppercase()).into_iter().chain(chars).collect::<String>()
    };
    name.split('_').map(first).collect()
}

/// Answers a request for one of our handlers.
pub fn handle(r: &mut Request<'_>) -> Option<Status> {
    let handler = r.handler()?;
    let (status, media_type, text) = if handler == METRICS {
        match child().and_then(Snapshot::now) {
            Some(snapshot) => (200, OPEN_METRICS, snapshot.metrics()),
            None => return Some(Status::http(503)),
        }
    } else if handler == HEALTH {
        match child().map_or(Err("this child has no AFS client"), health) {
            Ok(()) => (200, "text/plain", "ok\n".to_owned()),
            Err(why) => (503, "text/plain", format!("{why}\n")),
        }
    } else {
        return None;
    };
    if !r.is_get_or_head() {
        return Some(Status::METHOD_NOT_ALLOWED);
    }
    let body = r.discard_body();
    if body != Status::OK {
        return Some(body);
    }
    r.set_status(status);
    r.set_content_type(media_type);
    r.set_header(c"Cache-Control", "no-store");
    r.set_content_length(u64::try_from(text.len()).unwrap_or(0));
    Some(r.try_send(vec![Part::Bytes(text.into_bytes())]).unwrap_or(Status::INTERNAL_SERVER_ERROR))
}

/// Whether visitors can log in and be served by this child.
///
/// # Errors
/// What is away.
fn health(child: &Child) -> Result<(), &'static str> {
    if child.afs.is_none() {
        return Err("this child has no AFS client");
    }
    let broker = child.broker.as_ref().ok_or("this child has no lanes")?;
    if !broker.board().ready() {
        return Err("the broker is not ready");
    }
    match broker.exchange(&weblog_proto::Request::Ping, Instant::now() + HEALTH_WAIT) {
        Ok(Reply::Pong) => Ok(()),
        _ => Err("the broker does not answer"),
    }
}

/// Our part of mod_status's page; nothing where AFS is not used.
#[must_use]
pub fn page(short: bool) -> String {
    child().and_then(Snapshot::now).map(|snapshot| snapshot.page(short)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        let mut counters = [0; COUNTERS.len()];
        counters[0] = 7;
        counters[8] = 1;
        let row = |name, help, gauge, value| Row { name, help, gauge, value };
        let children = vec![
            row("pags_in_use", "PAGs of visitors", true, 4),
            row("pags_refused", "Requests refused as no PAG was left", false, 6),
        ];
        Snapshot { ready: true, generation: 5, revocations: 2, counters, waiting: 3, children }
    }

    #[test]
    fn metrics_have_type_help_and_value_each_and_an_end() {
        let text = snapshot().metrics();
        for lines in [
            "# TYPE afsweb_broker_requests counter\n# HELP afsweb_broker_requests Requests for a token.\nafsweb_broker_requests_total 7\n",
            "# TYPE afsweb_broker_service_alarms gauge\n",
            "\nafsweb_broker_service_alarms 1\n",
            "\nafsweb_broker_ready 1\n",
            "\nafsweb_workers_waiting 3\n",
            "# TYPE afsweb_pags_in_use gauge\n# HELP afsweb_pags_in_use PAGs of visitors.\nafsweb_pags_in_use 4\n",
            "\nafsweb_pags_refused_total 6\n",
        ] {
            assert!(text.contains(lines), "{lines} is not in {text}");
        }
        assert!(text.ends_with("\n# EOF\n"));
        assert_eq!(text.matches("# TYPE ").count(), COUNTERS.len() + 4 + 2);
    }

    #[test]
    fn the_status_page_has_a_row_each() {
        let short = snapshot().page(true);
        assert!(short.contains("AFSBadFrames: 0\n") && short.contains("AFSRequests: 7\n"), "{short}");
        assert!(short.contains("\nAFSPagsInUse: 4\nAFSPagsRefused: 6\n"), "{short}");
        assert!(!short.contains('<'));
        let long = snapshot().page(false);
        assert!(long.contains("<td>Requests for a token</td><td>7</td>"), "{long}");
        assert!(long.contains("<td>PAGs of visitors</td><td>4</td>"), "{long}");
    }
}
