//! The directives: one table.
//!
//! Names are the original's where it had them. Knows nothing of httpd's records.

mod place;
mod values;

use crate::config::{AuthType, DirConfig, Login, RemoteUser, ServerConfig, ServiceIdentity};
use crate::prompt::Prompt;
use core::ffi::CStr;
use std::path::PathBuf;
use std::sync::Arc;
use values::{
    TOKEN_MAX_S, absolute, auth_method, auth_type, cell, cells, client, location, log_file, login_limit,
    number, one, ports, realm, sandbox, service_identity, shortened, size, switch, user,
};
use weblog_proto::BrokerConfig;

pub use place::{Place, Scope, Section, Takes};
pub use values::SANDBOX;

/// What a directive changes.
#[derive(Debug, Clone, Copy)]
pub enum Apply {
    /// The server's configuration.
    Server(fn(&mut ServerConfig, &[String]) -> Result<(), String>),
    /// The section's.
    Dir(fn(&mut DirConfig, &[String]) -> Result<(), String>),
    /// The section's, and what its server has to know of it; never in access files, which are read while serving.
    Identity(fn(&mut ServerConfig, &mut DirConfig, &[String]) -> Result<(), String>),
}

/// A directive.
#[derive(Debug)]
pub struct Directive {
    /// Name.
    pub name: &'static CStr,
    /// Its words, for messages and manual.
    pub syntax: &'static str,
    /// Fewest and most words.
    pub words: (usize, usize),
    /// Where it may stand.
    pub scope: Scope,
    /// When a change counts.
    pub takes: Takes,
    /// What counts without it.
    pub default: &'static str,
    /// One sentence.
    pub help: &'static CStr,
    /// What it does.
    pub apply: Apply,
}

impl Directive {
    /// Looks at place and number of words.
    ///
    /// # Errors
    /// A sentence for the administrator; httpd puts file and line before it.
    pub fn check(&self, words: &[String], place: &Place) -> Result<(), String> {
        let name = self.name.to_string_lossy();
        if let Some(why) = self.scope.refuse(place) {
            return Err(format!("{name}: {why}"));
        }
        let (least, most) = self.words;
        if words.len() < least || words.len() > most {
            return Err(format!(
                "{name}: wants {} (quote a value with blanks): {name} {}",
                count(least, most),
                self.syntax
            ));
        }
        Ok(())
    }
}

/// How many words are wanted.
fn count(least: usize, most: usize) -> String {
    match (least, most) {
        (1, 1) => "one value".to_owned(),
        (l, m) if l == m => format!("{l} values"),
        (l, usize::MAX) => format!("{l} or more values"),
        (l, m) => format!("{l} to {m} values"),
    }
}

/// The words of a directive that takes any number.
const MANY: (usize, usize) = (1, usize::MAX);
/// The words of a directive that takes one.
const ONE: (usize, usize) = (1, 1);

/// All directives.
pub const DIRECTIVES: &[Directive] = &[
    Directive {
        name: c"AFSAuthType",
        syntax: "AFS|None",
        words: ONE,
        scope: Scope::Identity,
        takes: Takes::Graceful,
        default: "None",
        help: c"AFS: visitors log in with user@cell and the cell's ACLs decide",
        apply: Apply::Identity(|s, c, w| {
            let value = auth_type(one(w))?;
            if value == AuthType::Afs {
                s.uses_afs = Some(true);
            }
            c.auth_type = Some(value);
            Ok(())
        }),
    },
    Directive {
        name: c"AFSDefaultCell",
        syntax: "CELL",
        words: ONE,
        scope: Scope::Identity,
        takes: Takes::Graceful,
        default: "SetAFSDefaultCell's",
        help: c"the cell of visitors who name none, for this location",
        apply: Apply::Identity(|s, c, w| {
            let value = cell(one(w))?;
            s.location_cells.get_or_insert_default().push(value.clone());
            c.default_cell = Some(value);
            Ok(())
        }),
    },
    Directive {
        name: c"AFSLoginPrompt",
        syntax: "TEXT",
        words: MANY,
        scope: Scope::Answer,
        takes: Takes::Graceful,
        default: "the first two parts of the URL",
        help: c"what browsers show at login; <%cTEXT> <%dTEXT> <%uTEXT>: cell of the path, default cell, part of the URL",
        apply: Apply::Dir(|c, w| {
            let prompt = Prompt::parse(&w.join(" ")).map_err(|e| format!("the prompt {e}"))?;
            c.prompt = Some(Arc::new(prompt));
            Ok(())
        }),
    },
    Directive {
        name: c"AFSServiceIdentity",
        syntax: "CELL PRINCIPAL FILE | none",
        words: (1, 3),
        scope: Scope::Identity,
        takes: Takes::Graceful,
        default: "none",
        help: c"whose token is used where no visitor is logged in; FILE: its keytab, or a kaserver's srvtab",
        apply: Apply::Identity(|s, c, w| {
            let value = service_identity(w)?;
            if let ServiceIdentity::Of(service) = &value {
                let services = s.services.get_or_insert_default();
                if !services.contains(service) {
                    services.push((**service).clone());
                }
            }
            c.service = Some(value);
            Ok(())
        }),
    },
    Directive {
        name: c"AFSLogin",
        syntax: "optional|required|none",
        words: ONE,
        scope: Scope::Identity,
        takes: Takes::Graceful,
        default: "optional",
        help: c"required: also for what everybody may read; none: the Authorization header is not looked at",
        apply: Apply::Identity(|_, c, w| {
            c.login = Some(match one(w).to_ascii_lowercase().as_str() {
                "optional" => Login::Optional,
                "required" => Login::Required,
                "none" => Login::None,
                other => return Err(format!("'{}' is not optional, required or none", shortened(other))),
            });
            Ok(())
        }),
    },
    Directive {
        name: c"AFSCells",
        syntax: "CELL...",
        words: MANY,
        scope: Scope::Identity,
        takes: Takes::Graceful,
        default: "SetAFSCells'",
        help: c"those of SetAFSCells in which visitors may log in at this location",
        apply: Apply::Identity(|s, c, w| {
            let cells = cells(w)?;
            s.section_cells.get_or_insert_default().extend(cells.iter().cloned());
            c.cells = Some(cells.into());
            Ok(())
        }),
    },
    Directive {
        name: c"AFSRemoteUser",
        syntax: "full|short",
        words: ONE,
        scope: Scope::Answer,
        takes: Takes::Graceful,
        default: "full",
        help: c"how REMOTE_USER calls a visitor: user@cell, or short: user, if his cell is the default one",
        apply: Apply::Dir(|c, w| {
            c.remote_user = Some(match one(w).to_ascii_lowercase().as_str() {
                "full" => RemoteUser::Full,
                "short" => RemoteUser::Short,
                other => return Err(format!("'{}' is not full or short", shortened(other))),
            });
            Ok(())
        }),
    },
    Directive {
        name: c"AFSSandbox",
        syntax: "On|Off|POLICY",
        words: MANY,
        scope: Scope::Section,
        takes: Takes::Graceful,
        default: "Off",
        help: c"Sends a Content-Security-Policy that puts pages from AFS into a sandbox",
        apply: Apply::Dir(|c, w| {
            c.sandbox = Some(sandbox(w)?);
            Ok(())
        }),
    },
    Directive {
        name: c"SetAFSDefaultCell",
        syntax: "CELL",
        words: ONE,
        scope: Scope::Server,
        takes: Takes::Graceful,
        default: "none: visitors have to name their cell",
        help: c"the cell of visitors who name none",
        apply: Apply::Server(|c, w| cell(one(w)).map(|v| c.default_cell = Some(v))),
    },
    Directive {
        name: c"SetAFSCells",
        syntax: "CELL...",
        words: MANY,
        scope: Scope::Server,
        takes: Takes::Graceful,
        default: "the default cell alone",
        help: c"the cells in which visitors may log in",
        apply: Apply::Server(|c, w| {
            c.cells = Some(cells(w)?.into());
            Ok(())
        }),
    },
    Directive {
        name: c"SetAFSRealms",
        syntax: "REALM...",
        words: MANY,
        scope: Scope::Server,
        takes: Takes::Graceful,
        default: "none but those of the cells",
        help: c"Kerberos realms whose users may log in, as user@REALM, beside those of the cells",
        apply: Apply::Server(|c, w| {
            let realms = w.iter().map(|n| realm(n)).collect::<Result<Vec<_>, _>>()?;
            for (i, one) in realms.iter().enumerate() {
                if realms.iter().take(i).any(|other| other.is_called(one.as_str())) {
                    return Err(format!("names the realm {one} twice"));
                }
            }
            c.realms = Some(realms.into());
            Ok(())
        }),
    },
    Directive {
        name: c"AFSAuthMethod",
        syntax: "CELL kaserver|krb5|auto [REALM]",
        words: (2, 3),
        scope: Scope::Global,
        takes: Takes::Graceful,
        default: "auto for each cell",
        help: c"how users of a cell are authenticated; auto = krb5 where a KDC of its realm is known, else kaserver",
        apply: Apply::Server(|c, w| {
            let value = auth_method(w)?;
            let methods = c.auth_methods.get_or_insert_default();
            if methods.iter().any(|m| m.cell == value.cell) {
                return Err(format!("names the cell {} twice", value.cell));
            }
            methods.push(value);
            Ok(())
        }),
    },
    Directive {
        name: c"AFSKeytab",
        syntax: "FILE",
        words: ONE,
        scope: Scope::Global,
        takes: Takes::Graceful,
        default: "none: tickets are proved at the cell alone",
        help: c"a key of this host or service, by which the broker verifies that tickets are from the right KDC",
        apply: Apply::Server(|c, w| {
            let path = absolute(one(w))?;
            if path.len() > BrokerConfig::KEYTAB_MAX {
                return Err(format!("is longer than {} bytes", BrokerConfig::KEYTAB_MAX));
            }
            c.keytab = Some(PathBuf::from(path));
            Ok(())
        }),
    },
    Directive {
        name: c"SetAFSCacheExpiration",
        syntax: "SECONDS",
        words: ONE,
        scope: Scope::Server,
        takes: Takes::Graceful,
        default: "300",
        help: c"how long a login is remembered, in seconds; 0 = until the token ends",
        apply: Apply::Server(|c, w| {
            number(one(w), 0, TOKEN_MAX_S, "a number of seconds").map(|v| c.cache_expiration_s = Some(v))
        }),
    },
    Directive {
        name: c"SetAFSTokenExpiration",
        syntax: "SECONDS",
        words: ONE,
        scope: Scope::Server,
        takes: Takes::Graceful,
        default: "0",
        help: c"lifetime of tokens asked for at login, in seconds; 0 = what the cell gives",
        apply: Apply::Server(|c, w| {
            number(one(w), 0, TOKEN_MAX_S, "a number of seconds").map(|v| c.token_expiration_s = Some(v))
        }),
    },
    Directive {
        name: c"SetAFSAccessLog",
        syntax: "FILE|\"|PROGRAM\"",
        words: ONE,
        scope: Scope::Server,
        takes: Takes::Graceful,
        default: "none",
        help: c"where refused accesses to AFS are written: a file, or |program",
        apply: Apply::Server(|c, w| {
            let value = match one(w).strip_prefix('|') {
                Some(program) if !program.trim().is_empty() => one(w).to_owned(),
                Some(_) => return Err("'|' has to be followed by a program".to_owned()),
                None => log_file(one(w))?,
            };
            c.access_log = Some(PathBuf::from(value));
            Ok(())
        }),
    },
    Directive {
        name: c"SetAFSDebugLevel",
        syntax: "0..4",
        words: ONE,
        scope: Scope::Global,
        takes: Takes::Graceful,
        default: "0",
        help: c"how much module and broker write: 0 errors, 1 warnings, 2 each login, 3 debug, 4 every step",
        apply: Apply::Server(|c, w| number(one(w), 0, 4, "a level").map(|v: u8| c.debug_level = Some(v))),
    },
    Directive {
        name: c"SetAFSLocation",
        syntax: "URLPREFIX",
        words: ONE,
        scope: Scope::Server,
        takes: Takes::Graceful,
        default: "none",
        help: c"the URL prefix that stands for the AFS mount directory",
        apply: Apply::Server(|c, w| location(one(w)).map(|v| c.location = Some(v))),
    },
    Directive {
        name: c"SetAFSRequireTLS",
        syntax: "On|Off",
        words: ONE,
        scope: Scope::Server,
        takes: Takes::Graceful,
        default: "Off",
        help: c"On: a password that did not come over TLS is refused unread",
        apply: Apply::Server(|c, w| switch(one(w)).map(|v| c.require_tls = Some(v))),
    },
    Directive {
        name: c"SetAFSWeblogPath",
        syntax: "PATH",
        words: ONE,
        scope: Scope::Global,
        takes: Takes::FullRestart,
        default: "/usr/lib/afsweb/weblog-starter",
        help: c"the program of the nanny; the broker and the client object lie beside it",
        apply: Apply::Server(|c, w| absolute(one(w)).map(|v| c.weblog_path = Some(PathBuf::from(v)))),
    },
    Directive {
        name: c"SetAFSWeblogUser",
        syntax: "NAME|#UID",
        words: ONE,
        scope: Scope::Global,
        takes: Takes::FullRestart,
        default: "weblog",
        help: c"the user that the broker runs as; not root and not httpd's",
        apply: Apply::Server(|c, w| user(one(w)).map(|v| c.weblog_user = Some(v))),
    },
    Directive {
        name: c"SetAFSMountpointDir",
        syntax: "DIR",
        words: ONE,
        scope: Scope::Global,
        takes: Takes::Graceful,
        default: "/afs",
        help: c"the directory below which file names are AFS's",
        apply: Apply::Server(|c, w| absolute(one(w)).map(|v| c.mount_dir = Some(v))),
    },
    Directive {
        name: c"SetAFSClient",
        syntax: "auto|openafs|kafs|userspace",
        words: ONE,
        scope: Scope::Global,
        takes: Takes::Graceful,
        default: "auto",
        help: c"the AFS client that serves files; auto = the kernel's where it serves the mount directory, else userspace",
        apply: Apply::Server(|c, w| client(one(w)).map(|v| c.client = Some(v))),
    },
    Directive {
        name: c"SetAFSPags",
        syntax: "1..4096",
        words: ONE,
        scope: Scope::Global,
        takes: Takes::Graceful,
        default: "two for each worker of a child, 8 to 128",
        help: c"PAGs that each child makes with a client in the kernel: visitors that it can serve at the same time",
        apply: Apply::Server(|c, w| number(one(w), 1, 4096, "a number of PAGs").map(|v: u16| c.pags = Some(v))),
    },
    Directive {
        name: c"SetAFSConfDir",
        syntax: "DIR",
        words: ONE,
        scope: Scope::Global,
        takes: Takes::Graceful,
        default: "/etc/openafs",
        help: c"the directory with ThisCell and CellServDB",
        apply: Apply::Server(|c, w| absolute(one(w)).map(|v| c.conf_dir = Some(PathBuf::from(v)))),
    },
    Directive {
        name: c"SetAFSLanes",
        syntax: "1..64",
        words: ONE,
        scope: Scope::Global,
        takes: Takes::FullRestart,
        default: "8",
        help: c"how many workers may ask the broker at the same instant",
        apply: Apply::Server(|c, w| number(one(w), 1, 64, "a number of lanes").map(|v: u16| c.lanes = Some(v))),
    },
    Directive {
        name: c"SetAFSLoginDeadline",
        syntax: "SECONDS",
        words: ONE,
        scope: Scope::Global,
        takes: Takes::Graceful,
        default: "20",
        help: c"the longest that a visitor waits for his login, in seconds; then 503",
        apply: Apply::Server(|c, w| {
            number(one(w), 1, 300, "a number of seconds").map(|v| c.login_deadline_s = Some(v))
        }),
    },
    Directive {
        name: c"SetAFSFileDeadline",
        syntax: "SECONDS",
        words: ONE,
        scope: Scope::Global,
        takes: Takes::Graceful,
        default: "30",
        help: c"the longest that a visitor waits for a file server that does not answer, in seconds; then 503",
        apply: Apply::Server(|c, w| {
            number(one(w), 1, 300, "a number of seconds").map(|v| c.file_deadline_s = Some(v))
        }),
    },
    Directive {
        name: c"SetAFSPorts",
        syntax: "FIRST-LAST|any",
        words: ONE,
        scope: Scope::Global,
        takes: Takes::Graceful,
        default: "7101-7400",
        help: c"UDP ports on which the children's user-space clients hear of changes",
        apply: Apply::Server(|c, w| ports(one(w)).map(|v| c.ports = Some(v))),
    },
    Directive {
        name: c"SetAFSCacheSize",
        syntax: "SIZE[K|M|G]",
        words: ONE,
        scope: Scope::Global,
        takes: Takes::Graceful,
        default: "256M",
        help: c"file cache of the user-space client, for all children together",
        apply: Apply::Server(|c, w| size(one(w)).map(|v| c.cache_size = Some(v))),
    },
    Directive {
        name: c"SetAFSCacheDir",
        syntax: "DIR",
        words: ONE,
        scope: Scope::Global,
        takes: Takes::Graceful,
        default: "none: the file cache is in memory",
        help: c"where the user-space client keeps its file cache",
        apply: Apply::Server(|c, w| absolute(one(w)).map(|v| c.cache_dir = Some(PathBuf::from(v)))),
    },
    Directive {
        name: c"SetAFSLoginLimit",
        syntax: "PER-USER PER-ADDRESS SECONDS",
        words: (3, 3),
        scope: Scope::Global,
        takes: Takes::Graceful,
        default: "10 50 300",
        help: c"failed logins borne per user and address, and per address, within so many seconds",
        apply: Apply::Server(|c, w| login_limit(w).map(|v| c.login_limit = Some(v))),
    },
    Directive {
        name: c"SetAFSControlSocket",
        syntax: "PATH",
        words: ONE,
        scope: Scope::Global,
        takes: Takes::FullRestart,
        default: "weblog.sock in httpd's run directory",
        help: c"the socket on which administrators speak with the broker",
        apply: Apply::Server(|c, w| {
            let path = absolute(one(w))?;
            // Longest name of a Unix socket: 108 bytes with its NUL.
            if path.len() > 107 {
                return Err("is longer than 107 bytes, and no socket can be called so".to_owned());
            }
            c.control_socket = Some(PathBuf::from(path));
            Ok(())
        }),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Where most directives may stand.
    const MAIN: Place = Place { virtual_host: false, section: None, limited: false };

    /// What the administrator is told of one line.
    ///
    /// # Errors
    /// That.
    fn check(line: &str, place: Place) -> Result<(), String> {
        let mut words = line.split(' ').map(str::to_owned);
        let name = words.next().unwrap();
        let words: Vec<String> = words.collect();
        let directive = DIRECTIVES.iter().find(|d| d.name.to_str() == Ok(name.as_str())).unwrap();
        directive.check(&words, &place)?;
        let (mut server, mut dir) = (ServerConfig::EMPTY, DirConfig::EMPTY);
        match directive.apply {
            Apply::Server(f) => f(&mut server, &words),
            Apply::Dir(f) => f(&mut dir, &words),
            Apply::Identity(f) => f(&mut server, &mut dir, &words),
        }
    }

    #[test]
    fn wrong_values_are_told_what_would_be_right() {
        let long = format!("SetAFSDefaultCell {}", "a".repeat(64));
        let socket = format!("SetAFSControlSocket /{}", "a".repeat(107));
        let service = format!("AFSServiceIdentity a.example www /{}", "k".repeat(255));
        for (line, want) in [
            ("AFSAuthType Basic", "neither AFS nor None"),
            ("AFSAuthType AFS-DFS", "use AFS"),
            ("AFSAuthType AFS None", "wants one value"),
            ("AFSLoginPrompt <%x>", "'%x' is not known"),
            ("AFSLoginPrompt <%c", "matching '>'"),
            ("AFSSandbox maybe", "neither On nor Off nor a policy"),
            ("AFSSandbox default-src 'self'", "nor a policy with 'sandbox'"),
            ("AFSSandbox sandbox allow-scripts allow-same-origin", "allow-same-origin"),
            ("AFSSandbox sandbox Allow-Same-Origin", "allow-same-origin"),
            ("AFSSandbox sandbox allow-same-origin, default-src *", "allow-same-origin"),
            ("AFSDefaultCell a..b", "not a cell such as example.com"),
            (long.as_str(), "longer than 63 bytes"),
            ("SetAFSCells a.example b/c", "not a cell"),
            ("SetAFSCells a.example A.Example", "twice"),
            ("SetAFSCells", "1 or more values"),
            ("SetAFSRealms A@B", "not a realm such as EXAMPLE.COM"),
            ("SetAFSRealms A.EXAMPLE a.example", "twice"),
            ("AFSAuthMethod a.example", "2 to 3 values"),
            ("AFSAuthMethod a.example kerberos", "kaserver, krb5 or auto"),
            ("AFSAuthMethod a..b krb5", "not a cell"),
            ("AFSAuthMethod a.example krb5 A/B", "not a realm"),
            ("AFSAuthMethod a.example kaserver A.EXAMPLE", "no use for the realm"),
            ("AFSKeytab keytab", "absolute"),
            ("AFSServiceIdentity www", "wants a cell, a principal"),
            ("AFSServiceIdentity a.example www", "wants a cell, a principal"),
            ("AFSServiceIdentity a..b www /etc/k", "not a cell"),
            ("AFSServiceIdentity a.example w/w/w /etc/k", "not a principal"),
            ("AFSServiceIdentity a.example www@A/B /etc/k", "not a realm"),
            ("AFSServiceIdentity a.example www keytab", "absolute"),
            ("AFSServiceIdentity a.example www /etc/k always", "1 to 3 values"),
            ("AFSLogin sometimes", "optional, required or none"),
            ("AFSCells a.example A.Example", "twice"),
            ("AFSRemoteUser long", "full or short"),
            (service.as_str(), "longer than 255 bytes"),
            ("SetAFSCacheExpiration -1", "a whole number from 0 to 2592000"),
            ("SetAFSCacheExpiration 5m", "a whole number"),
            ("SetAFSTokenExpiration 2592001", "from 0 to 2592000"),
            ("SetAFSTokenExpiration 99999999999999999999", "from 0 to 2592000"),
            ("SetAFSAccessLog logs/../afs", "'.' or '..'"),
            ("SetAFSDebugLevel 5", "from 0 to 4"),
            ("SetAFSLocation afs", "such as /afs"),
            ("SetAFSLocation /afs?x", "such as /afs"),
            ("SetAFSLocation /", "'/' cannot be meant"),
            ("SetAFSRequireTLS yes", "neither On nor Off"),
            ("SetAFSWeblogPath weblog", "absolute"),
            ("SetAFSWeblogPath /usr/../tmp/weblog", "'.' or '..'"),
            ("SetAFSWeblogUser root", "must not run as root"),
            ("SetAFSWeblogUser #0", "must not run as root"),
            ("SetAFSWeblogUser #x", "a whole number"),
            ("SetAFSWeblogUser we!blog", "neither the name of a user"),
            ("SetAFSMountpointDir afs", "absolute"),
            ("SetAFSPags 0", "from 1 to 4096"),
            ("SetAFSPags many", "a whole number"),
            ("SetAFSClient nfs", "auto, openafs, kafs or userspace"),
            ("SetAFSLanes 0", "from 1 to 64"),
            ("SetAFSLanes 65", "from 1 to 64"),
            ("SetAFSLoginDeadline 0", "from 1 to 300"),
            ("SetAFSFileDeadline 301", "from 1 to 300"),
            ("SetAFSPorts 7101", "such as 7101-7400"),
            ("SetAFSPorts 7400-7101", "such as 7101-7400"),
            ("SetAFSPorts 80-90", "from 1024 to 65535"),
            ("SetAFSCacheSize 1X", "such as 512M"),
            ("SetAFSCacheSize 1", "between 1M"),
            ("SetAFSCacheSize 99999999999G", "between 1M"),
            ("SetAFSCacheSize M", "such as 512M"),
            ("SetAFSLoginLimit 1 2", "3 values"),
            ("SetAFSLoginLimit 0 2 3", "from 1 to 1000"),
            (socket.as_str(), "longer than 107"),
        ] {
            let got = check(line, MAIN).err().unwrap_or_else(|| panic!("{line} is accepted"));
            assert!(got.contains(want), "{line}: {got:?} lacks {want:?}");
        }
    }

    #[test]
    fn d8_an_auth_type_that_is_none_of_ours_is_an_error_and_changes_nothing() {
        for word in ["AFSS", "AF", "AFS/None", "AFS-DFS", "Basic", "On", ""] {
            let (mut server, mut dir) = (ServerConfig::EMPTY, DirConfig::EMPTY);
            let directive = DIRECTIVES.iter().find(|d| d.name == c"AFSAuthType").unwrap();
            let Apply::Identity(apply) = directive.apply else { panic!("it decides who somebody is") };
            assert!(apply(&mut server, &mut dir, &[word.to_owned()]).is_err(), "{word}");
            assert_eq!((server, dir), (ServerConfig::EMPTY, DirConfig::EMPTY), "{word}");
        }
    }

    #[test]
    fn d53_values_recommended_by_the_original_are_accepted() {
        for line in [
            "SetAFSCacheExpiration 300",
            "SetAFSTokenExpiration 60",
            "SetAFSTokenExpiration 600",
            "SetAFSCacheExpiration 0",
        ] {
            assert_eq!(check(line, MAIN), Ok(()), "{line}");
        }
    }

    #[test]
    fn what_decides_identity_stands_only_where_it_is_known_before_file_names_are() {
        for line in ["AFSAuthType AFS", "AFSDefaultCell a.example"] {
            for (section, ok) in [
                (None, true),
                (Some(Section::Location), true),
                (Some(Section::Directory), false),
                (Some(Section::Files), false),
                (Some(Section::If), false),
                (Some(Section::Proxy), false),
                (Some(Section::Htaccess), false),
            ] {
                for virtual_host in [false, true] {
                    let got = check(line, Place { virtual_host, section, limited: false });
                    assert_eq!(got.is_ok(), ok, "{line} in {section:?}: {got:?}");
                    assert!(ok || got.unwrap_err().contains("put it into <Location>"));
                }
            }
            assert!(check(line, Place { limited: true, ..MAIN }).unwrap_err().contains("<Limit>"));
        }
    }

    #[test]
    fn a_prompt_stands_anywhere_and_global_values_only_in_the_main_server() {
        for section in [None, Some(Section::Location), Some(Section::Directory), Some(Section::Htaccess)] {
            assert_eq!(
                check("AFSLoginPrompt Hello you", Place { virtual_host: true, section, limited: false }),
                Ok(())
            );
        }
        let host = Place { virtual_host: true, ..MAIN };
        assert!(check("SetAFSLanes 4", host).unwrap_err().contains("share one broker"));
        assert_eq!(check("SetAFSDefaultCell a.example", host), Ok(()));
        let location = Place { section: Some(Section::Location), ..MAIN };
        assert!(check("SetAFSDefaultCell a.example", location).unwrap_err().contains("virtual host"));
    }

    #[test]
    fn knows_sections_by_httpd_s_names() {
        assert_eq!(Section::from_name(b"<directorymatch"), Some(Section::Directory));
        assert_eq!(Section::from_name(b"<Location"), Some(Section::Location));
        assert_eq!(Section::from_name(b"<VirtualHost"), None);
        assert_eq!(Section::from_name(b"<IfModule"), None);
    }

    #[test]
    fn names_are_in_order_of_area_and_unique() {
        for (i, d) in DIRECTIVES.iter().enumerate() {
            assert!(DIRECTIVES.iter().skip(i + 1).all(|o| o.name != d.name), "{:?}", d.name);
            assert!(!d.help.is_empty() && !d.syntax.is_empty() && !d.default.is_empty());
            assert!(d.words.0 >= 1 && d.words.0 <= d.words.1);
        }
    }
}
