//! `Require afs-user`, `afs-group`, `afs-right`: from words to what is wanted, and to a message for the administrator.
//!
//! Pure but for the list of what the configuration has said, which `configtest` looks through. Knows nothing of httpd.

use crate::config::ServerConfig;
use pag::Cell;
use pag::userspace::Rights;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use weblog_proto::Member;

/// Everybody, logged in or not.
pub const ANY_USER: &str = "system:anyuser";
/// Everybody who is logged in as a user of the cell's own.
pub const AUTH_USER: &str = "system:authuser";

/// The three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `afs-user`.
    User,
    /// `afs-group`.
    Group,
    /// `afs-right`.
    Right,
}

impl Kind {
    /// Behind `Require`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::User => "afs-user",
            Self::Group => "afs-group",
            Self::Right => "afs-right",
        }
    }
}

/// What a line wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Require {
    /// One of these users.
    Users(Vec<Named>),
    /// A member of one of these groups.
    Groups(Vec<Named>),
    /// Whoever has all these rights where the file lies.
    Rights(Rights),
}

/// A user or group as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    kind: Kind,
    name: String,
    /// What stands behind the last `@`.
    behind: Option<String>,
}

impl core::fmt::Display for Named {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.name)?;
        self.behind.iter().try_for_each(|behind| write!(f, "@{behind}"))
    }
}

/// Reads the words of a line.
///
/// # Errors
/// A sentence for the administrator.
pub fn parse(kind: Kind, words: &[String]) -> Result<Require, String> {
    let word = kind.word();
    if words.is_empty() {
        return Err(match kind {
            Kind::User => format!("Require {word} wants names of users, such as alice or alice@example.com"),
            Kind::Group => {
                format!("Require {word} wants names of groups, such as alice:friends or staff@example.com")
            }
            Kind::Right => format!("Require {word} wants rights: {RIGHTS}"),
        });
    }
    let names = || words.iter().map(|w| named(kind, w)).collect::<Result<Vec<_>, _>>();
    let read = match kind {
        Kind::User => names().map(Require::Users),
        Kind::Group => names().map(Require::Groups),
        Kind::Right => {
            words.iter().try_fold(Rights(0), |sum, w| Ok(Rights(sum.0 | right(w)?.0))).map(Require::Rights)
        }
    };
    USED.fetch_or(read.is_ok(), Ordering::Relaxed);
    read.map_err(|why| format!("Require {word}: {why}"))
}

/// The words for rights, as `fs listacl` explains them.
const RIGHTS: &str = "read, lookup, insert, delete, write, lock, administer";

/// One right.
///
/// # Errors
/// What would be right.
fn right(word: &str) -> Result<Rights, String> {
    match word.to_ascii_lowercase().as_str() {
        "read" => Ok(Rights::READ),
        "lookup" => Ok(Rights::LOOKUP),
        "insert" => Ok(Rights::INSERT),
        "delete" => Ok(Rights::DELETE),
        "write" => Ok(Rights::WRITE),
        "lock" => Ok(Rights::LOCK),
        "administer" => Ok(Rights::ADMINISTER),
        _ => Err(format!("'{}' is not a right: {RIGHTS} are", shortened(word))),
    }
}

/// The beginning of a word, for messages.
fn shortened(word: &str) -> String {
    word.chars().take(80).collect()
}

/// A user or group.
///
/// # Errors
/// What would be right.
fn named(kind: Kind, word: &str) -> Result<Named, String> {
    let shown = shortened(word);
    let (name, behind) = match word.rsplit_once('@') {
        Some((name, behind)) => (name, Some(behind)),
        None => (word, None),
    };
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(format!("'{shown}': the cell knows names in lower case only"));
    }
    if kind == Kind::User && name.contains('/') {
        return Err(format!("'{shown}': the cell calls an instance {}", name.replacen('/', ".", 1)));
    }
    let fits = Member::fits(name) && !name.ends_with('@');
    let fits = fits && (kind == Kind::Group || !name.contains([':', '@']));
    if !fits
        || behind.is_some_and(|b| b.is_empty() || b.len() > 63 || !b.bytes().all(|b| b.is_ascii_graphic()))
    {
        let what = if kind == Kind::User { "a user" } else { "a group" };
        return Err(format!("'{shown}' is not the name of {what}"));
    }
    Ok(Named { kind, name: name.to_owned(), behind: behind.map(str::to_owned) })
}

impl Named {
    /// What the cell calls it, and which cell; `default`: of names without one.
    ///
    /// # Errors
    /// Why it can be none, for the administrator.
    pub fn resolve(&self, server: &ServerConfig, default: Option<&Cell>) -> Result<(String, Cell), String> {
        let default = || {
            let why =
                || format!("'{self}' names no cell, and there is no default one: add SetAFSDefaultCell");
            default.cloned().ok_or_else(why)
        };
        let Some(behind) = &self.behind else { return Ok((self.name.clone(), default()?)) };
        if let Ok(cell) = Cell::new(behind)
            && server.cells().contains(&cell)
        {
            return Ok((self.name.clone(), cell));
        }
        if self.kind == Kind::User {
            // Who is logged in by the realm of a cell is that cell's user.
            let its = |cell: &&Cell| server.auth_method(cell).1.is_some_and(|r| r.is_called(behind));
            if let Some(cell) = server.cells().iter().find(its) {
                return Ok((self.name.clone(), cell.clone()));
            }
            if server.realms().iter().any(|realm| realm.is_called(behind)) {
                let name = format!("{}@{}", self.name, behind.to_ascii_lowercase());
                return Ok((name, default()?));
            }
        }
        let cells = server.cells().iter().map(Cell::as_str).collect::<Vec<_>>().join(" ");
        Err(format!(
            "'{self}': nobody logs in at {behind}; behind the last @ stands one of SetAFSCells ({cells})"
        ))
    }
}

impl Require {
    /// Which of the three.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Users(_) => Kind::User,
            Self::Groups(_) => Kind::Group,
            Self::Rights(_) => Kind::Right,
        }
    }

    /// What is wrong with it somewhere on this server, whose sections may have default cells of their own.
    #[must_use]
    pub fn finding_on(&self, server: &ServerConfig) -> Option<String> {
        let default = server.default_cell.as_ref().or(server.location_cells.iter().flatten().next());
        self.finding(server, default)
    }

    /// What is wrong with it on this server, if anything. `default`: the cell of names without one.
    #[must_use]
    pub fn finding(&self, server: &ServerConfig, default: Option<&Cell>) -> Option<String> {
        let (Self::Users(names) | Self::Groups(names)) = self else { return None };
        let why = names.iter().find_map(|name| name.resolve(server, default).err())?;
        Some(format!("Require {}: {why}", self.kind().word()))
    }
}

/// A line of the configuration.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The server that it stands in, by a number.
    pub server: usize,
    /// File and line.
    pub place: String,
    /// What it wants.
    pub require: Require,
}

/// All lines of the configuration that is being read.
static SEEN: Mutex<Vec<Seen>> = Mutex::new(Vec::new());

/// Some line was read, be it in an access file.
static USED: AtomicBool = AtomicBool::new(false);

/// Are there lines of ours at all?
#[must_use]
pub fn used() -> bool {
    USED.load(Ordering::Relaxed)
}

/// Another configuration is read.
pub fn begin() {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

/// The configuration has such a line.
pub fn note(seen: Seen) {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
}

/// What is wrong with the lines of the configuration, a sentence each. `servers`: their numbers, the main server first, whose
/// lines count in all; `kafs`: that client serves files.
#[must_use]
pub fn findings(servers: &[(usize, &ServerConfig)], kafs: bool) -> Vec<String> {
    let seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let main = servers.first().map(|(number, _)| *number);
    let finding = |seen: &Seen| {
        if matches!(seen.require, Require::Rights(_)) && kafs {
            return Some(format!("Require afs-right: {NO_RIGHTS}"));
        }
        if !servers.iter().any(|(_, config)| config.uses_afs()) {
            return Some(format!(
                "Require {}: no section has AFSAuthType AFS, so nobody logs in",
                seen.require.kind().word()
            ));
        }
        let its = servers.iter().filter(|(number, _)| Some(seen.server) == main || *number == seen.server);
        let mut found: Vec<_> = its.map(|(_, config)| seen.require.finding_on(config)).collect();
        // Some server is enough: where the line counts is for httpd to say.
        if found.iter().any(Option::is_none) { None } else { found.pop().flatten() }
    };
    seen.iter().filter_map(|s| Some(format!("{} ({})", finding(s)?, s.place))).collect()
}

/// Why `afs-right` cannot be had with one of the clients.
pub const NO_RIGHTS: &str =
    "kAFS does not say who has which rights; use another client, or Require afs-group";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AuthMethod;
    use pag::Realm;
    use weblog_proto::Method;

    /// What is read of a line.
    ///
    /// # Errors
    /// The sentence.
    fn read(kind: Kind, line: &str) -> Result<Require, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(kind, &words)
    }

    fn cell(name: &str) -> Cell {
        Cell::new(name).unwrap()
    }

    fn server() -> ServerConfig {
        ServerConfig {
            cells: Some(vec![cell("a.example"), cell("b.example")].into()),
            default_cell: Some(cell("a.example")),
            realms: Some(vec![Realm::new("PARTNER.ORG").unwrap()].into()),
            auth_methods: Some(vec![AuthMethod {
                cell: cell("b.example"),
                method: Method::Krb5,
                realm: Some(Realm::new("B.ORG").unwrap()),
            }]),
            ..ServerConfig::EMPTY
        }
    }

    #[test]
    fn names_are_those_of_the_cell() {
        let server = server();
        for (kind, word, name, of) in [
            (Kind::User, "alice", "alice", "a.example"),
            (Kind::User, "alice@B.Example", "alice", "b.example"),
            (Kind::User, "carol.admin", "carol.admin", "a.example"),
            (Kind::User, "alice@b.org", "alice", "b.example"),
            (Kind::User, "alice@partner.org", "alice@partner.org", "a.example"),
            (Kind::Group, "alice:friends", "alice:friends", "a.example"),
            (Kind::Group, "staff@b.example", "staff", "b.example"),
            (
                Kind::Group,
                "system:authuser@partner.org@a.example",
                "system:authuser@partner.org",
                "a.example",
            ),
        ] {
            let (Require::Users(names) | Require::Groups(names)) = read(kind, word).unwrap() else {
                panic!()
            };
            let got = names[0].resolve(&server, server.default_cell.as_ref());
            assert_eq!(got, Ok((name.to_owned(), cell(of))), "{word}");
        }
    }

    #[test]
    fn rights_add_up() {
        assert_eq!(read(Kind::Right, "read Write"), Ok(Require::Rights(Rights(3))));
        let all = "read write insert lookup delete lock administer";
        assert_eq!(read(Kind::Right, all), Ok(Require::Rights(Rights(127))));
    }

    #[test]
    fn what_nobody_can_be_is_refused_with_a_sentence() {
        let long = "a".repeat(64);
        for (kind, line, sentence) in [
            (Kind::User, "", "wants names of users"),
            (Kind::Group, "", "wants names of groups"),
            (Kind::Right, "", "wants rights"),
            (Kind::User, "Alice", "in lower case only"),
            (Kind::Group, "alice:Friends", "in lower case only"),
            (Kind::User, "carol/admin", "the cell calls an instance carol.admin"),
            (Kind::User, "alice bob:x", "not the name of a user"),
            (Kind::User, "@a.example", "not the name of a user"),
            (Kind::User, "alice@", "not the name of a user"),
            (Kind::User, "a@b@a.example", "not the name of a user"),
            (Kind::User, &long, "not the name of a user"),
            (Kind::Group, "gr\u{fc}n", "not the name of a group"),
            (Kind::Group, "staff@@a.example", "not the name of a group"),
            (Kind::Right, "read rl", "'rl' is not a right"),
            (Kind::Right, "all", "not a right"),
        ] {
            let why = read(kind, line).unwrap_err();
            assert!(why.starts_with(&format!("Require {}", kind.word())) && why.contains(sentence), "{why}");
        }
    }

    #[test]
    fn unknown_cells_and_missing_ones_are_found() {
        let server = server();
        let finding = |kind, line, server: &ServerConfig| {
            read(kind, line).unwrap().finding(server, server.default_cell.as_ref()).unwrap_or_default()
        };
        assert_eq!(finding(Kind::User, "alice bob@b.example", &server), "");
        assert!(finding(Kind::User, "alice bob@c.example", &server).contains("nobody logs in at c.example"));
        assert!(finding(Kind::Group, "staff@partner.org", &server).contains("nobody logs in at partner.org"));
        let none = ServerConfig { default_cell: None, ..server };
        assert!(finding(Kind::Group, "staff", &none).contains("add SetAFSDefaultCell"));
        assert_eq!(finding(Kind::Group, "staff@a.example", &none), "");
    }

    #[test]
    fn the_lines_of_a_configuration_are_looked_through_server_by_server() {
        begin();
        let line = |server, kind, text| {
            note(Seen { server, place: "x.conf:7".to_owned(), require: read(kind, text).unwrap() });
        };
        line(1, Kind::User, "alice@c.example");
        line(1, Kind::Right, "write");
        line(2, Kind::User, "alice");
        let with = ServerConfig { uses_afs: Some(true), ..server() };
        let other = ServerConfig { cells: Some(vec![cell("c.example")].into()), ..with.clone() };
        let found = findings(&[(2, &with), (1, &with)], false);
        assert!(found.len() == 1 && found[0].ends_with("(x.conf:7)"), "{found:?}");
        assert!(findings(&[(2, &with), (1, &with)], true)[1].contains("kAFS does not say"));
        let found = findings(&[(1, &with), (2, &other)], false);
        assert_eq!(found, Vec::<String>::new(), "a line of the main server's counts in the other one");
        assert_eq!(findings(&[(1, &server())], false).len(), 3, "nothing uses AFS");
        begin();
        assert!(findings(&[(1, &with)], true).is_empty());
    }
}
