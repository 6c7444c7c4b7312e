//! What code that knows no httpd says by `tracing`, the AFS clients above all, goes to httpd's error log.
//!
//! Each such event has a field `id`, its message's; without a subscriber it would be lost.

use crate::httpd::{Level, log_traced};
use core::fmt::{self, Write as _};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// From now on; in a child, once.
pub fn begin() {
    // The second of a child changes nothing.
    let _ = tracing::subscriber::set_global_default(ToHttpd);
}

/// The subscriber.
struct ToHttpd;

impl Subscriber for ToHttpd {
    fn enabled(&self, about: &Metadata<'_>) -> bool {
        *about.level() <= tracing::Level::WARN
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        log_traced(level(*event.metadata().level()), &line.text());
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

/// httpd's level.
fn level(level: tracing::Level) -> Level {
    if level == tracing::Level::ERROR { Level::Error } else { Level::Warning }
}

/// What an event comes to.
#[derive(Default)]
struct Line {
    id: String,
    message: String,
    rest: String,
}

impl Line {
    /// Id, message, and the other fields.
    fn text(&self) -> String {
        format!("{}: {}{}", self.id, self.message, self.rest)
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "id" => self.id = value.to_owned(),
            _ => self.record_debug(field, &format_args!("{value}")),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            let _ = write!(self.rest, "; {}: {value:?}", field.name());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// Keeps the lines instead.
    struct Kept(Arc<Mutex<Vec<String>>>);

    impl Subscriber for Kept {
        fn enabled(&self, about: &Metadata<'_>) -> bool {
            ToHttpd.enabled(about)
        }
        fn new_span(&self, span: &Attributes<'_>) -> Id {
            ToHttpd.new_span(span)
        }
        fn record(&self, _span: &Id, _values: &Record<'_>) {}
        fn record_follows_from(&self, _span: &Id, _follows: &Id) {}
        fn event(&self, event: &Event<'_>) {
            let mut line = Line::default();
            event.record(&mut line);
            self.0.lock().unwrap().push(line.text());
        }
        fn enter(&self, _span: &Id) {}
        fn exit(&self, _span: &Id) {}
    }

    #[test]
    fn an_event_is_a_line_that_begins_with_its_id() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        tracing::subscriber::with_default(Kept(Arc::clone(&lines)), || {
            let error = "errno 1";
            tracing::warn!(id = "AFS1002", %error, path = "/afs/x", "tokens were not dropped");
            tracing::info!(id = "AFS1009", "nobody wants to know");
        });
        let lines = lines.lock().unwrap();
        assert_eq!(*lines, ["AFS1002: tokens were not dropped; error: errno 1; path: /afs/x"]);
        assert_eq!(
            (level(tracing::Level::ERROR), level(tracing::Level::WARN)),
            (Level::Error, Level::Warning)
        );
    }
}
