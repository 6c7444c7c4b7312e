//! The control socket's other end: how a test tells a running kaserver what to do.
//!
//! One line in, one line out, over a unix stream socket; a line of an error starts with `error `:
//!
//! | line | does |
//! |---|---|
//! | `mode MODE [for USER]` | see [`crate::mischief::Mode`]: `normal`, `silent`, `hang`, `delay MS`, `drop N`, `forge-key`, `forge-user NAME`, `forge-challenge`, `forge-garbage`, `ends-in SECONDS` |
//! | `user USER PASSWORD` | adds a user, or gives one who is there another password (one without spaces) |
//! | `unlock USER` | forgets failed logins |
//! | `password USER PASSWORD` | gives the user another password (one without spaces) |
//! | `skew SECONDS` | shifts the server's clock; 0 puts it right |
//! | `interface v2` or `v1` or `old` | the newest calls offered; others get "unknown operation" |
//! | `stats` | counts as JSON, see [`Stats`] |
//! | `stats reset` | all counts to zero |
//! | `granted` | `granted`, and for each of the last answers with a ticket ` KEY:TICKET`, the session key and the sealed ticket in hexadecimal |

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::error::Error;
use crate::stats::Stats;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection to the control socket.
#[derive(Debug)]
pub struct Control(BufReader<UnixStream>);

impl Control {
    /// Connects.
    ///
    /// # Errors
    /// [`Error::Io`] if nobody listens at `path`.
    pub fn connect(path: &Path) -> Result<Self, Error> {
        let stream = UnixStream::connect(path).map_err(Error::io("connect to the control socket"))?;
        stream
            .set_read_timeout(Some(PATIENCE))
            .map_err(Error::io("limit the wait for the control socket"))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends one line and gives the answer.
    ///
    /// # Errors
    /// [`Error::Refused`] if the server does not understand it; [`Error::Io`] if it is gone.
    pub fn command(&mut self, line: &str) -> Result<String, Error> {
        let what = "talk to the control socket";
        writeln!(self.0.get_mut(), "{line}").map_err(Error::io(what))?;
        let mut answer = String::new();
        self.0.read_line(&mut answer).map_err(Error::io(what))?;
        let answer = answer.trim_end();
        match answer.strip_prefix("error ") {
            Some(reason) => Err(Error::Refused(reason.to_owned())),
            None if answer.is_empty() => Err(Error::Refused("it closed the control socket".to_owned())),
            None => Ok(answer.to_owned()),
        }
    }

    /// The counts.
    ///
    /// # Errors
    /// As [`Control::command`].
    pub fn stats(&mut self) -> Result<Stats, Error> {
        Ok(serde_json::from_str(&self.command("stats")?)?)
    }
}
