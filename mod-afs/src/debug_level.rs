//! SetAFSDebugLevel as httpd's LogLevel of this module, so that one directive makes module and broker say as much.

use crate::httpd::{Level, Pool, Server};

/// Applies it to all servers, where it is set and the administrator has not given `LogLevel afs:...`, which counts first.
pub fn apply(main: Server<'_>, pconf: Pool<'_>) {
    let Some(level) = main.config().debug_level.map(level) else { return };
    for server in main.all().filter(|server| !server.has_own_log_level()) {
        server.set_log_level(pconf, level);
    }
}

/// httpd's level of a value of SetAFSDebugLevel; the broker's are the same.
fn level(debug_level: u8) -> Level {
    match debug_level {
        0 => Level::Error,
        1 => Level::Warning,
        2 => Level::Info,
        3 => Level::Debug,
        _ => Level::Trace2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_higher_value_shows_more() {
        let levels: Vec<Level> = (0..=4).map(level).collect();
        assert!(levels.is_sorted_by(|a, b| a < b), "{levels:?}");
        assert_eq!((levels[0], levels[2], levels[4]), (Level::Error, Level::Info, Level::Trace2));
    }
}
