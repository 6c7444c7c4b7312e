//! What a running httpd keeps until it is stopped, written down so that `configtest` can say what a reload will not change.
//!
//! Four directives are taken up once, at httpd's first start; see [`Takes::FullRestart`](crate::directives::Takes).
//! `configtest` is another process: it reads them from a file in httpd's run directory, with the process that wrote it.

use crate::config::ServerConfig;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The directives that are kept, and their values as an administrator writes them.
#[must_use]
pub fn values(config: &ServerConfig) -> [(&'static str, String); 4] {
    [
        ("SetAFSWeblogPath", config.nanny().display().to_string()),
        ("SetAFSWeblogUser", config.weblog_user().to_string()),
        ("SetAFSLanes", config.lanes().to_string()),
        ("SetAFSControlSocket", config.control_socket_text()),
    ]
}

/// Writes down what this process keeps, instead of what an earlier httpd had written.
///
/// # Errors
/// The file system's.
pub fn write(file: &Path, config: &ServerConfig) -> io::Result<()> {
    let me = std::process::id();
    let mut text = format!("{me} {}\n", start_of(me).unwrap_or_default());
    for (name, value) in values(config) {
        text.push_str(&format!("{name} {value}\n"));
    }
    // A new file each time: whatever lies there is replaced, not followed or written into.
    match fs::remove_file(file) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(file)?.write_all(text.as_bytes())
}

/// What of `config` the httpd that runs would not take up before it is stopped and started, a sentence each.
/// Empty when none runs, or when it wrote nothing down.
#[must_use]
pub fn waiting(file: &Path, config: &ServerConfig) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let mut lines = text.lines();
    let runs = lines
        .next()
        .and_then(|line| line.split_once(' '))
        .is_some_and(|(pid, start)| pid.parse().ok().and_then(start_of).is_some_and(|now| now == start));
    if !runs {
        return Vec::new();
    }
    let kept: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(' ')).collect();
    values(config)
        .into_iter()
        .filter_map(|(name, value)| {
            let (_, was) = kept.iter().find(|(n, was)| *n == name && *was != value)?;
            Some(format!(
                "{name} {value}: the httpd that runs keeps {was} until it is stopped and started; \
                 a reload or graceful restart does not change it"
            ))
        })
        .collect()
}

/// When a process started, in the kernel's ticks: with its number, this names it for ever.
fn start_of(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the name, which may have blanks and parentheses itself; the 22nd field of all (proc(5)).
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directives::{DIRECTIVES, Takes};

    /// A file of this test alone.
    fn file(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("afsweb-{name}-{}", std::process::id()))
    }

    #[test]
    fn exactly_the_directives_of_the_table_are_written_down() {
        let mut kept: Vec<&str> = values(&ServerConfig::EMPTY).map(|(name, _)| name).to_vec();
        let mut table: Vec<&str> = DIRECTIVES
            .iter()
            .filter(|d| d.takes == Takes::FullRestart)
            .map(|d| d.name.to_str().unwrap())
            .collect();
        kept.sort_unstable();
        table.sort_unstable();
        assert_eq!(kept, table);
    }

    #[test]
    fn only_what_differs_from_a_running_httpd_is_told() {
        let file = file("differs");
        write(&file, &ServerConfig::EMPTY).unwrap();
        assert_eq!(waiting(&file, &ServerConfig::EMPTY), Vec::<String>::new());
        let config = ServerConfig { lanes: Some(16), cache_size: Some(1 << 30), ..ServerConfig::EMPTY };
        let said = waiting(&file, &config);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with("SetAFSLanes 16: ") && said[0].contains("keeps 8"), "{said:?}");
        fs::remove_file(file).unwrap();
    }

    #[test]
    fn what_an_httpd_that_is_gone_has_left_is_ignored() {
        let config = ServerConfig { lanes: Some(16), ..ServerConfig::EMPTY };
        let file = file("gone");
        assert!(waiting(&file, &config).is_empty());
        // This process, but one that started at another time had its number.
        fs::write(&file, format!("{} 1\nSetAFSLanes 8\n", std::process::id())).unwrap();
        assert!(waiting(&file, &config).is_empty());
        fs::write(&file, "nonsense").unwrap();
        assert!(waiting(&file, &config).is_empty());
        write(&file, &ServerConfig::EMPTY).unwrap();
        assert_eq!(waiting(&file, &config).len(), 1);
        fs::remove_file(file).unwrap();
    }
}
