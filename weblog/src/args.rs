//! The command lines of the program.

use crate::error::Error;
use std::ffi::OsString;
use std::path::PathBuf;
use weblog_proto::CONTROL_SOCKET;

/// How to use it.
pub const USAGE: &str = "usage: weblog forget [--socket PATH] USER@CELL | USER@REALM | @CELL | @REALM | '*'
       weblog status [--socket PATH]
       weblog --version
       weblog --lanes N --user NAME|#UID [--expects VERSIONS] --generation G      (started by weblog-starter)";

/// What the program is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// The broker.
    Broker(BrokerArgs),
    /// One of its authenticators.
    Authenticator(AuthenticatorArgs),
    /// The administrator's client.
    Client {
        /// Where the broker listens.
        socket: PathBuf,
        /// The message for it.
        message: String,
    },
    /// Says how to use it.
    Help,
    /// Says which versions it has of what it has in common with others.
    Version,
}

/// The broker's arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerArgs {
    /// Lanes that it finds at its descriptors.
    pub lanes: usize,
    /// Whom to run as: a name, or `#` and a number.
    pub user: String,
    /// Its generation; no other broker of this httpd has it.
    pub generation: u64,
    /// The versions that those have who will talk to it; `None`: nobody has said.
    pub expects: Option<String>,
}

/// An authenticator's arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthenticatorArgs {
    /// Directory with `ThisCell` and `CellServDB`.
    pub conf_dir: PathBuf,
    /// Whether it may have to log in by libkrb5.
    pub krb5: bool,
    /// Process id of the broker that started it.
    pub parent: i32,
}

/// Takes the words apart (without the program's name).
///
/// # Errors
/// [`Error::Usage`] says what is wrong.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Mode, Error> {
    let words: Vec<String> = words
        .into_iter()
        .map(|w| w.into_string().map_err(|_| Error::Usage("an argument is not UTF-8".to_owned())))
        .collect::<Result<_, _>>()?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--help" | "-h"] => Ok(Mode::Help),
        ["--version"] => Ok(Mode::Version),
        ["forget", rest @ ..] => {
            let (socket, target) = with_socket(rest)?;
            match target {
                [target] => Ok(Mode::Client { socket, message: format!("forget {target}") }),
                _ => Err(Error::Usage("forget whom? USER@CELL, USER@REALM, @CELL, @REALM or '*'".to_owned())),
            }
        }
        ["status", rest @ ..] => match with_socket(rest)? {
            (socket, []) => Ok(Mode::Client { socket, message: "status".to_owned() }),
            (_, [extra, ..]) => Err(Error::Usage(format!("what is {extra:?}?"))),
        },
        ["--authenticator", rest @ ..] => authenticator(rest).map(Mode::Authenticator),
        rest => broker(rest).map(Mode::Broker),
    }
}

/// The socket, if one is named first, and what is behind.
///
/// # Errors
/// [`Error::Usage`] if the path is missing.
fn with_socket<'a, 'b>(words: &'a [&'b str]) -> Result<(PathBuf, &'a [&'b str]), Error> {
    match words {
        ["--socket", path, rest @ ..] => Ok((PathBuf::from(path), rest)),
        [only, "--socket", path] if *only != "--socket" => {
            Ok((PathBuf::from(path), words.get(..1).unwrap_or_default()))
        }
        ["--socket"] => Err(Error::Usage("--socket needs a path".to_owned())),
        rest => Ok((PathBuf::from(CONTROL_SOCKET), rest)),
    }
}

/// Pairs of an option and its value.
///
/// # Errors
/// [`Error::Usage`] if a value is missing.
fn pairs<'a>(words: &'a [&'a str]) -> Result<Vec<(&'a str, &'a str)>, Error> {
    words
        .chunks(2)
        .map(|pair| match pair {
            [name, value] => Ok((*name, *value)),
            [name] => Err(Error::Usage(format!("{name} needs a value"))),
            _ => Err(Error::Usage(String::new())),
        })
        .collect()
}

/// A number.
///
/// # Errors
/// [`Error::Usage`] if it is none.
fn number<T: core::str::FromStr>(name: &str, value: &str) -> Result<T, Error> {
    value.parse().map_err(|_| Error::Usage(format!("{name} {value:?} is not a number that fits")))
}

/// A choice.
///
/// # Errors
/// [`Error::Usage`] if it is none.
fn yes_or_no(name: &str, value: &str) -> Result<bool, Error> {
    match value {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(Error::Usage(format!("{name} {value:?} is neither yes nor no"))),
    }
}

/// The broker's words.
///
/// # Errors
/// [`Error::Usage`] says what is wrong.
fn broker(words: &[&str]) -> Result<BrokerArgs, Error> {
    let (mut lanes, mut user, mut generation, mut expects) = (None, None, None, None);
    for (name, value) in pairs(words)? {
        match name {
            "--lanes" => lanes = Some(number(name, value)?),
            "--user" => user = Some(value.to_owned()),
            "--expects" => expects = Some(value.to_owned()),
            "--generation" => generation = Some(number(name, value)?),
            _ => return Err(Error::Usage(format!("what is {name:?}?\n{USAGE}"))),
        }
    }
    let missing = || Error::Usage(format!("--lanes, --user and --generation are needed\n{USAGE}"));
    let args = BrokerArgs {
        lanes: lanes.ok_or_else(missing)?,
        user: user.ok_or_else(missing)?,
        generation: generation.ok_or_else(missing)?,
        expects,
    };
    if !(1..=weblog_fds::layout::MAX_LANES).contains(&args.lanes) {
        return Err(Error::Usage(format!("--lanes must be 1 to {}", weblog_fds::layout::MAX_LANES)));
    }
    if args.generation == 0 {
        return Err(Error::Usage("--generation must not be 0".to_owned()));
    }
    Ok(args)
}

/// An authenticator's words.
///
/// # Errors
/// [`Error::Usage`] says what is wrong.
fn authenticator(words: &[&str]) -> Result<AuthenticatorArgs, Error> {
    let (mut conf_dir, mut krb5, mut parent) = (None, None, None);
    for (name, value) in pairs(words)? {
        match name {
            "--conf-dir" => conf_dir = Some(PathBuf::from(value)),
            "--krb5" => krb5 = Some(yes_or_no(name, value)?),
            "--parent" => parent = Some(number(name, value)?),
            _ => return Err(Error::Usage(format!("what is {name:?}?"))),
        }
    }
    let missing = || Error::Usage("--conf-dir, --krb5 and --parent are needed".to_owned());
    Ok(AuthenticatorArgs {
        conf_dir: conf_dir.ok_or_else(missing)?,
        krb5: krb5.ok_or_else(missing)?,
        parent: parent.ok_or_else(missing)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a line apart at blanks.
    ///
    /// # Errors
    /// The parser's, as text.
    fn check(line: &str) -> Result<Mode, String> {
        parse(line.split_whitespace().map(OsString::from)).map_err(|e| e.to_string())
    }

    #[test]
    fn the_brokers_line() {
        assert_eq!(
            check("--lanes 8 --user #65534 --generation 3"),
            Ok(Mode::Broker(BrokerArgs { lanes: 8, user: "#65534".into(), generation: 3, expects: None }))
        );
        let words = ["--lanes", "1", "--user", "a", "--expects", "frames=3 board=2", "--generation", "1"];
        let Ok(Mode::Broker(args)) = parse(words.map(OsString::from)) else { panic!("no broker") };
        assert_eq!(args.expects.as_deref(), Some("frames=3 board=2"));
        assert_eq!(check("--version"), Ok(Mode::Version));
        for bad in [
            "",
            "--lanes 8",
            "--lanes 0 --user a --generation 1",
            "--lanes 65 --user a --generation 1",
            "--lanes x --user a --generation 1",
            "--lanes 1 --user a --generation 0",
            "--lanes 1 --user a --generation",
            "--lanes 1 --user a --generation 1 --root yes",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_administrators_lines() {
        let client =
            |socket: &str, message: &str| Ok(Mode::Client { socket: socket.into(), message: message.into() });
        assert_eq!(check("forget alice@example.com"), client(CONTROL_SOCKET, "forget alice@example.com"));
        assert_eq!(check("forget --socket /s @example.com"), client("/s", "forget @example.com"));
        assert_eq!(check("forget * --socket /s"), client("/s", "forget *"));
        assert_eq!(check("status"), client(CONTROL_SOCKET, "status"));
        assert_eq!(check("status --socket /s"), client("/s", "status"));
        for bad in ["forget", "forget a b", "status x", "status --socket", "forget --socket"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_authenticators_line() {
        assert_eq!(
            check("--authenticator --conf-dir /etc/openafs --krb5 yes --parent 7"),
            Ok(Mode::Authenticator(AuthenticatorArgs {
                conf_dir: "/etc/openafs".into(),
                krb5: true,
                parent: 7
            }))
        );
        assert!(check("--authenticator --conf-dir /etc/openafs --krb5 perhaps --parent 7").is_err());
        assert!(check("--authenticator --parent 7").is_err());
    }
}
