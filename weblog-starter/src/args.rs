//! The command line.

use std::path::PathBuf;

/// Starts, watches and restarts the broker of AFS Web Secure. Started by httpd, never by hand.
#[derive(Debug, Clone, clap::Parser)]
#[command(disable_version_flag = true)]
pub struct Args {
    /// Number of lanes whose pipe ends are open, 1 to 64.
    #[arg(long, value_parser = lanes)]
    pub lanes: usize,
    /// The broker's program, with its whole path.
    #[arg(long, value_parser = absolute)]
    pub broker: PathBuf,
    /// The user that the broker runs as, NAME or #UID.
    #[arg(long, value_parser = user)]
    pub user: String,
    /// The versions that the broker must have, as its --version says them.
    #[arg(long)]
    pub expects: Option<String>,
    /// The program of a broker that fitted is open behind the lanes: for when another one lies under its name.
    #[arg(long)]
    pub held: bool,
}

/// A number of lanes.
///
/// # Errors
/// A sentence for the administrator.
fn lanes(text: &str) -> Result<usize, String> {
    let n: usize = text.parse().map_err(|_| "not a number".to_owned())?;
    if (1..=weblog_fds::layout::MAX_LANES).contains(&n) {
        Ok(n)
    } else {
        Err(format!("must be 1 to {}", weblog_fds::layout::MAX_LANES))
    }
}

/// A path that begins at the root.
///
/// # Errors
/// A sentence for the administrator.
fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err("must begin with /".to_owned()) }
}

/// A user; whether he exists is the broker's business.
///
/// # Errors
/// A sentence for the administrator.
fn user(text: &str) -> Result<String, String> {
    let ok = match text.strip_prefix('#') {
        Some(uid) => uid.parse::<u32>().is_ok_and(|uid| uid != u32::MAX),
        None => {
            !text.is_empty() && !text.starts_with('-') && !text.chars().any(|c| c.is_control() || c == ':')
        }
    };
    if ok { Ok(text.to_owned()) } else { Err("must be a user's name or # and a number".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn check(lanes: &str, broker: &str, user: &str) -> bool {
        Args::try_parse_from(["x", "--lanes", lanes, "--broker", broker, "--user", user]).is_ok()
    }

    #[test]
    fn takes_what_httpd_gives_and_nothing_else() {
        assert!(check("1", "/usr/lib/weblog", "weblog"));
        assert!(check("64", "/usr/lib/weblog", "#0"));
        for (lanes, broker, user) in [
            ("0", "/b", "u"),
            ("65", "/b", "u"),
            ("x", "/b", "u"),
            ("-1", "/b", "u"),
            ("1", "b", "u"),
            ("1", "", "u"),
            ("1", "/b", ""),
            ("1", "/b", "#"),
            ("1", "/b", "#x"),
            ("1", "/b", "#4294967295"),
            ("1", "/b", "a:b"),
            ("1", "/b", "a\nb"),
        ] {
            assert!(!check(lanes, broker, user), "{lanes} {broker} {user}");
        }
        assert!(Args::try_parse_from(["x", "--lanes", "1", "--broker", "/b"]).is_err());
    }
}
