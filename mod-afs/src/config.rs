//! What the directives say, per server and per section. Every field may be unset; the inner one wins where it is set.
//!
//! Knows nothing of httpd: `directives.rs` fills it, `checks.rs` looks whether it fits together.

use crate::prompt::Prompt;
use pag::{Cell, Realm};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weblog_proto::{Method, Service};

/// AFSAuthType.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthType {
    /// Nothing of ours.
    None,
    /// Visitors are who they log in as, and AFS decides.
    Afs,
}

/// AFSAuthMethod: how users of a cell are authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthMethod {
    /// The cell.
    pub cell: Cell,
    /// How.
    pub method: Method,
    /// Its realm, if that is said.
    pub realm: Option<Realm>,
}

/// AFSServiceIdentity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceIdentity {
    /// None here.
    None,
    /// This one, where no visitor is logged in.
    Of(Arc<Service>),
}

/// AFSLogin: whether visitors log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Login {
    /// Who wants to, or has to.
    #[default]
    Optional,
    /// Everybody, also for what everybody may read.
    Required,
    /// Nobody.
    None,
}

/// AFSRemoteUser: how REMOTE_USER calls a visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteUser {
    /// With his cell or realm.
    Full,
    /// Without his cell, if it is the location's default one.
    Short,
}

/// SetAFSClient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientChoice {
    /// The one that serves the mount directory; the user-space client where none in the kernel does.
    Auto,
    /// OpenAFS's kernel module.
    OpenAfs,
    /// Linux kAFS.
    Kafs,
    /// OpenAFS's user-space client.
    Userspace,
}

/// SetAFSPorts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// Whichever the system gives.
    Any,
    /// The first free one of these.
    These {
        /// First.
        first: u16,
        /// Last.
        last: u16,
    },
}

/// SetAFSWeblogUser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserName {
    /// By name.
    Name(String),
    /// By number, written `#UID`.
    Uid(u32),
}

impl core::fmt::Display for UserName {
    /// As it is written in the configuration and on the nanny's command line.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Name(n) => f.write_str(n),
            Self::Uid(n) => write!(f, "#{n}"),
        }
    }
}

/// SetAFSLoginLimit: failed logins that are borne within a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginLimit {
    /// Per user and address.
    pub per_user: u16,
    /// Per address.
    pub per_address: u16,
    /// Seconds.
    pub window_s: u32,
}

/// Makes a configuration whose fields are all optional: its empty value and its merge name every field once.
macro_rules! config {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Default)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: Option<$type>,)*
        }

        impl $name {
            /// Nothing is set.
            pub const EMPTY: Self = Self { $($field: None,)* };

            /// Nothing is set, where a reference is wanted.
            #[must_use]
            pub fn empty() -> &'static Self {
                static EMPTY: $name = $name::EMPTY;
                &EMPTY
            }

            /// This one over `outer`: each field is its own, or the outer one where it has none.
            #[must_use]
            pub fn merged_over(&self, outer: &Self) -> Self {
                Self { $($field: self.$field.clone().or_else(|| outer.$field.clone()),)* }
            }
        }
    };
}

config! {
    /// What is said per section.
    DirConfig {
        /// AFSAuthType.
        auth_type: AuthType,
        /// AFSDefaultCell.
        default_cell: Cell,
        /// AFSLoginPrompt.
        prompt: Arc<Prompt>,
        /// AFSServiceIdentity.
        service: ServiceIdentity,
        /// AFSLogin.
        login: Login,
        /// AFSCells.
        cells: Arc<[Cell]>,
        /// AFSRemoteUser.
        remote_user: RemoteUser,
        /// AFSSandbox: the policy; empty: none.
        sandbox: Arc<str>,
    }
}

config! {
    /// What is said per server. Fields of directives that are global are the main server's everywhere.
    ServerConfig {
        /// SetAFSDefaultCell.
        default_cell: Cell,
        /// SetAFSCells.
        cells: Arc<[Cell]>,
        /// SetAFSRealms.
        realms: Arc<[Realm]>,
        /// AFSAuthMethod: at most one for each cell.
        auth_methods: Vec<AuthMethod>,
        /// AFSKeytab.
        keytab: PathBuf,
        /// SetAFSCacheExpiration, seconds.
        cache_expiration_s: u32,
        /// SetAFSTokenExpiration, seconds.
        token_expiration_s: u32,
        /// SetAFSAccessLog.
        access_log: PathBuf,
        /// SetAFSDebugLevel.
        debug_level: u8,
        /// SetAFSLocation: starts with a slash, does not end with one.
        location: String,
        /// SetAFSRequireTLS.
        require_tls: bool,
        /// SetAFSWeblogPath.
        weblog_path: PathBuf,
        /// SetAFSWeblogUser.
        weblog_user: UserName,
        /// SetAFSMountpointDir: absolute, without a slash at its end.
        mount_dir: String,
        /// SetAFSClient.
        client: ClientChoice,
        /// SetAFSPags, per child.
        pags: u16,
        /// SetAFSConfDir.
        conf_dir: PathBuf,
        /// SetAFSLanes.
        lanes: u16,
        /// SetAFSLoginDeadline, seconds.
        login_deadline_s: u32,
        /// SetAFSFileDeadline, seconds.
        file_deadline_s: u32,
        /// SetAFSPorts.
        ports: Ports,
        /// SetAFSCacheSize, bytes for all children together.
        cache_size: u64,
        /// SetAFSCacheDir.
        cache_dir: PathBuf,
        /// SetAFSLoginLimit.
        login_limit: LoginLimit,
        /// SetAFSControlSocket.
        control_socket: PathBuf,
        /// Some section of this server has AFSAuthType AFS.
        uses_afs: bool,
        /// Cells of AFSDefaultCell in sections of this server.
        location_cells: Vec<Cell>,
        /// Those of AFSCells in sections of this server.
        section_cells: Vec<Cell>,
        /// Those of AFSServiceIdentity in this server and its sections.
        services: Vec<Service>,
    }
}

impl DirConfig {
    /// AFSAuthType, None where it is not set.
    #[must_use]
    pub fn auth_type(&self) -> AuthType {
        self.auth_type.unwrap_or(AuthType::None)
    }

    /// The policy that is sent with pages, if there is one.
    #[must_use]
    pub fn sandbox(&self) -> Option<Arc<str>> {
        self.sandbox.clone().filter(|policy| !policy.is_empty())
    }

    /// The cell of who names none: this section's, else the server's.
    #[must_use]
    pub fn default_cell<'a>(&'a self, server: &'a ServerConfig) -> Option<&'a Cell> {
        self.default_cell.as_ref().or(server.default_cell.as_ref())
    }
}

impl DirConfig {
    /// Whose token is used where no visitor is logged in.
    #[must_use]
    pub fn service(&self) -> Option<&Arc<Service>> {
        match &self.service {
            Some(ServiceIdentity::Of(service)) => Some(service),
            Some(ServiceIdentity::None) | None => None,
        }
    }

    /// Whether visitors log in.
    #[must_use]
    pub fn login(&self) -> Login {
        self.login.unwrap_or_default()
    }

    /// The cells in which visitors may log in: the server's, of which a section may take some.
    ///
    /// A section of the main server's counts in virtual hosts, too, whose list may be a shorter one.
    #[must_use]
    pub fn cells(&self, server: &ServerConfig) -> Vec<Cell> {
        let of_section = |cell: &&Cell| self.cells.as_ref().is_none_or(|cells| cells.contains(cell));
        server.cells().iter().filter(of_section).cloned().collect()
    }
}

/// Where the package installs nanny, broker and client object.
pub const LIBEXEC: &str = "/usr/lib/afsweb";
/// Default of SetAFSWeblogPath.
pub const WEBLOG_PATH: &str = "/usr/lib/afsweb/weblog-starter";
/// Name of the broker's program, beside the nanny's.
pub const BROKER: &str = "weblog";
/// Name of the user-space client's shared object, beside the nanny's program.
pub const CLIENT_OBJECT: &str = "libafsweb_uafs.so";
/// Default of SetAFSWeblogUser.
pub const WEBLOG_USER: &str = "weblog";
/// Default of SetAFSMountpointDir.
pub const MOUNT_DIR: &str = "/afs";
/// Default of SetAFSConfDir.
pub const CONF_DIR: &str = "/etc/openafs";
/// Default of SetAFSControlSocket; the broker's own client looks there, too.
/// Name of the administrators' socket in httpd's run directory.
pub const CONTROL_SOCKET: &core::ffi::CStr = c"weblog.sock";
/// Default of SetAFSCacheExpiration, as the original's manual recommends.
pub const CACHE_EXPIRATION_S: u32 = 300;
/// Default of SetAFSTokenExpiration: what the cell gives.
pub const TOKEN_EXPIRATION_S: u32 = 0;
/// Default of SetAFSPags: two for each worker, but never fewer than this.
pub const PAGS_MIN: usize = 8;
/// And never more than this.
pub const PAGS_MAX: usize = 128;
/// Default of SetAFSLanes.
pub const LANES: u16 = 8;
/// Default of SetAFSLoginDeadline.
pub const LOGIN_DEADLINE_S: u32 = 20;
/// Default of SetAFSFileDeadline.
pub const FILE_DEADLINE_S: u32 = 30;
/// SetAFSPorts: beyond AFS's own ports, below those that systems give out.
const PORTS: Ports = Ports::These { first: 7_101, last: 7_400 };
/// Default of SetAFSCacheSize: 256 MiB.
pub const CACHE_SIZE: u64 = 256 << 20;
/// Default of SetAFSLoginLimit.
pub const LOGIN_LIMIT: LoginLimit = LoginLimit { per_user: 10, per_address: 50, window_s: 300 };

impl ServerConfig {
    /// The cells in which visitors may log in: SetAFSCells, else the default cell alone.
    #[must_use]
    pub fn cells(&self) -> &[Cell] {
        match &self.cells {
            Some(cells) => cells,
            None => self.default_cell.as_slice(),
        }
    }

    /// The realms whose users may log in beside those of the cells.
    #[must_use]
    pub fn realms(&self) -> &[Realm] {
        self.realms.as_deref().unwrap_or_default()
    }

    /// How users of a cell are authenticated, and its realm if that is said.
    #[must_use]
    pub fn auth_method(&self, cell: &Cell) -> (Method, Option<&Realm>) {
        let said = self.auth_methods.iter().flatten().find(|m| m.cell == *cell);
        said.map_or((Method::Auto, None), |m| (m.method, m.realm.as_ref()))
    }

    /// The keytab that tickets are verified by, if there is one.
    #[must_use]
    pub fn keytab(&self) -> Option<&Path> {
        self.keytab.as_deref()
    }

    /// How long the broker may answer from its cache, seconds; 0 = until the token ends.
    #[must_use]
    pub fn cache_expiration_s(&self) -> u32 {
        self.cache_expiration_s.unwrap_or(CACHE_EXPIRATION_S)
    }

    /// Lifetime asked for at login, seconds; 0 = what the cell gives.
    #[must_use]
    pub fn token_expiration_s(&self) -> u32 {
        self.token_expiration_s.unwrap_or(TOKEN_EXPIRATION_S)
    }

    /// Where refused accesses are written, if anywhere.
    #[must_use]
    pub fn access_log(&self) -> Option<&Path> {
        self.access_log.as_deref()
    }

    /// 0 (errors) to 4 (every step).
    #[must_use]
    pub fn debug_level(&self) -> u8 {
        self.debug_level.unwrap_or(0)
    }

    /// URL prefix that stands for the mount directory, if there is one.
    #[must_use]
    pub fn location(&self) -> Option<&str> {
        self.location.as_deref()
    }

    /// Are logins refused that do not come over TLS?
    #[must_use]
    pub fn require_tls(&self) -> bool {
        self.require_tls.unwrap_or(false)
    }

    /// Program of the nanny.
    #[must_use]
    pub fn nanny(&self) -> &Path {
        self.weblog_path.as_deref().unwrap_or(Path::new(WEBLOG_PATH))
    }

    /// Something that is installed beside the nanny.
    fn beside_nanny(&self, name: &str) -> PathBuf {
        self.nanny().parent().unwrap_or(Path::new(LIBEXEC)).join(name)
    }

    /// Program of the broker.
    #[must_use]
    pub fn broker(&self) -> PathBuf {
        self.beside_nanny(BROKER)
    }

    /// Shared object of the user-space client.
    #[must_use]
    pub fn client_object(&self) -> PathBuf {
        self.beside_nanny(CLIENT_OBJECT)
    }

    /// User that the broker runs as.
    #[must_use]
    pub fn weblog_user(&self) -> UserName {
        self.weblog_user.clone().unwrap_or_else(|| UserName::Name(WEBLOG_USER.to_owned()))
    }

    /// Directory below which file names are AFS's: absolute, without a slash at its end.
    #[must_use]
    pub fn mount_dir(&self) -> &str {
        self.mount_dir.as_deref().unwrap_or(MOUNT_DIR)
    }

    /// Which AFS client serves files.
    #[must_use]
    pub fn client(&self) -> ClientChoice {
        self.client.unwrap_or(ClientChoice::Auto)
    }

    /// PAGs that each child makes with a client in the kernel; `threads`: its workers.
    #[must_use]
    pub fn pags(&self, threads: usize) -> usize {
        self.pags.map_or_else(|| PAGS_MIN.max(threads.saturating_mul(2)).min(PAGS_MAX), usize::from)
    }

    /// Directory with ThisCell and CellServDB.
    #[must_use]
    pub fn conf_dir(&self) -> &Path {
        self.conf_dir.as_deref().unwrap_or(Path::new(CONF_DIR))
    }

    /// Lanes between workers and broker.
    #[must_use]
    pub fn lanes(&self) -> u16 {
        self.lanes.unwrap_or(LANES)
    }

    /// Longest wait for a login, seconds.
    #[must_use]
    pub fn login_deadline_s(&self) -> u32 {
        self.login_deadline_s.unwrap_or(LOGIN_DEADLINE_S)
    }

    /// Longest wait for a file server that does not answer, seconds.
    #[must_use]
    pub fn file_deadline_s(&self) -> u32 {
        self.file_deadline_s.unwrap_or(FILE_DEADLINE_S)
    }

    /// UDP ports on which children hear of changes; `None`: whichever the system gives them.
    #[must_use]
    pub fn ports(&self) -> Option<RangeInclusive<u16>> {
        match self.ports.unwrap_or(PORTS) {
            Ports::Any => None,
            Ports::These { first, last } => Some(first..=last),
        }
    }

    /// Bytes of file cache for all children together.
    #[must_use]
    pub fn cache_size(&self) -> u64 {
        self.cache_size.unwrap_or(CACHE_SIZE)
    }

    /// Directory of the disk cache; `None` = memory.
    #[must_use]
    pub fn cache_dir(&self) -> Option<&Path> {
        self.cache_dir.as_deref()
    }

    /// Limits of failed logins.
    #[must_use]
    pub fn login_limit(&self) -> LoginLimit {
        self.login_limit.unwrap_or(LOGIN_LIMIT)
    }

    /// Has some section AFSAuthType AFS? Without one, nothing of AFS needs to be started.
    #[must_use]
    pub fn uses_afs(&self) -> bool {
        self.uses_afs.unwrap_or(false)
    }

    /// The administrators' socket; `None`: [`CONTROL_SOCKET`] in httpd's run directory, since each httpd needs its own.
    #[must_use]
    pub fn control_socket(&self) -> Option<&Path> {
        self.control_socket.as_deref()
    }

    /// The same in words, to be compared and shown.
    #[must_use]
    pub fn control_socket_text(&self) -> String {
        self.control_socket().map_or_else(
            || format!("{} in httpd's run directory", CONTROL_SOCKET.to_string_lossy()),
            |path| path.display().to_string(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directives::{Apply, DIRECTIVES};

    /// Right values of each directive: two that differ.
    const VALUES: &[(&str, &str, &str)] = &[
        ("AFSAuthType", "AFS", "None"),
        ("AFSDefaultCell", "a.example", "b.example"),
        ("AFSLoginPrompt", "one", "two <%c>"),
        ("AFSServiceIdentity", "a.example http/www /etc/a.keytab", "b.example www@B.EXAMPLE /etc/b"),
        ("AFSLogin", "required", "none"),
        ("AFSCells", "a.example b.example", "c.example"),
        ("AFSRemoteUser", "full", "short"),
        ("AFSSandbox", "On", "Off"),
        ("SetAFSDefaultCell", "a.example", "b.example"),
        ("SetAFSCells", "a.example b.example", "c.example"),
        ("SetAFSRealms", "A.EXAMPLE B.EXAMPLE", "C.EXAMPLE"),
        ("AFSAuthMethod", "a.example krb5", "a.example auto A.EXAMPLE"),
        ("AFSKeytab", "/etc/a.keytab", "/etc/b.keytab"),
        ("SetAFSCacheExpiration", "300", "0"),
        ("SetAFSTokenExpiration", "60", "0"),
        ("SetAFSAccessLog", "/var/log/a", "/var/log/b"),
        ("SetAFSDebugLevel", "0", "4"),
        ("SetAFSLocation", "/afs", "/cell"),
        ("SetAFSRequireTLS", "On", "off"),
        ("SetAFSWeblogPath", "/usr/a", "/usr/b"),
        ("SetAFSWeblogUser", "weblog", "#4711"),
        ("SetAFSMountpointDir", "/afs", "/mnt/afs/"),
        ("SetAFSClient", "auto", "userspace"),
        ("SetAFSPags", "1", "1024"),
        ("SetAFSConfDir", "/etc/openafs", "/etc/afs"),
        ("SetAFSLanes", "1", "64"),
        ("SetAFSLoginDeadline", "1", "300"),
        ("SetAFSFileDeadline", "1", "300"),
        ("SetAFSPorts", "7101-7400", "any"),
        ("SetAFSCacheSize", "1M", "4G"),
        ("SetAFSCacheDir", "/var/cache/a", "/var/cache/b"),
        ("SetAFSLoginLimit", "1 2 3", "4 5 6"),
        ("SetAFSControlSocket", "/run/a", "/run/b"),
    ];

    /// Both configurations after one directive.
    fn with(name: &str, value: &str) -> (ServerConfig, DirConfig) {
        let directive = DIRECTIVES.iter().find(|d| d.name.to_str() == Ok(name)).unwrap();
        let words: Vec<String> = value.split(' ').map(str::to_owned).collect();
        let (mut server, mut dir) = (ServerConfig::EMPTY, DirConfig::EMPTY);
        match directive.apply {
            Apply::Server(f) => f(&mut server, &words),
            Apply::Dir(f) => f(&mut dir, &words),
            Apply::Identity(f) => f(&mut server, &mut dir, &words),
        }
        .unwrap();
        (server, dir)
    }

    #[test]
    fn every_directive_sets_something_and_has_a_merge_test() {
        for directive in DIRECTIVES {
            let name = directive.name.to_str().unwrap();
            let (_, one, two) = VALUES.iter().find(|(n, ..)| *n == name).unwrap();
            assert_ne!(with(name, one), (ServerConfig::EMPTY, DirConfig::EMPTY), "{name}");
            assert_ne!(with(name, one), with(name, two), "{name}");
        }
        assert_eq!(VALUES.len(), DIRECTIVES.len());
    }

    #[test]
    fn d7_an_inner_section_keeps_what_it_does_not_set_and_overrides_what_it_does() {
        for (name, one, two) in VALUES {
            let ((outer_s, outer_d), (inner_s, inner_d)) = (with(name, one), with(name, two));
            assert_eq!(ServerConfig::EMPTY.merged_over(&outer_s), outer_s, "{name} is lost");
            assert_eq!(DirConfig::EMPTY.merged_over(&outer_d), outer_d, "{name} is lost");
            assert_eq!(outer_s.merged_over(&ServerConfig::EMPTY), outer_s, "{name} is lost");
            assert_eq!(outer_d.merged_over(&DirConfig::EMPTY), outer_d, "{name} is lost");
            let merged = inner_d.merged_over(&outer_d);
            assert_eq!(merged, inner_d, "{name} is not overridden");
            // What a section adds to its server stays there.
            if !name.starts_with("AFS") {
                assert_eq!(inner_s.merged_over(&outer_s), inner_s, "{name} is not overridden");
            }
        }
    }

    #[test]
    fn d7_a_nested_location_with_only_a_prompt_stays_protected() {
        let (_, outer) = with("AFSAuthType", "AFS");
        let (_, inner) = with("AFSLoginPrompt", "x");
        let merged = inner.merged_over(&outer);
        assert_eq!(merged.auth_type(), AuthType::Afs);
        assert!(merged.prompt.is_some());
        let (_, none) = with("AFSAuthType", "None");
        assert_eq!(none.merged_over(&merged).auth_type(), AuthType::None);
    }

    #[test]
    fn a_section_takes_some_of_the_servers_cells_and_none_besides() {
        let cells = |names: &[&str]| names.iter().map(|name| Cell::new(name).unwrap()).collect::<Vec<_>>();
        let server =
            ServerConfig { cells: Some(cells(&["a.example", "b.example"]).into()), ..ServerConfig::EMPTY };
        let section = |names: &[&str]| DirConfig { cells: Some(cells(names).into()), ..DirConfig::EMPTY };
        assert_eq!(DirConfig::EMPTY.cells(&server), cells(&["a.example", "b.example"]));
        assert_eq!(section(&["b.example"]).cells(&server), cells(&["b.example"]));
        assert_eq!(section(&["b.example", "c.example"]).cells(&server), cells(&["b.example"]));
        assert_eq!(section(&["c.example"]).cells(&server), []);
    }

    #[test]
    fn a_virtual_host_inherits_that_afs_is_used() {
        let (main, _) = with("AFSAuthType", "AFS");
        assert!(ServerConfig::EMPTY.merged_over(&main).uses_afs());
        let (host, _) = with("AFSAuthType", "None");
        assert!(host.merged_over(&main).uses_afs());
    }

    #[test]
    fn defaults_are_those_of_the_table() {
        let config = ServerConfig::EMPTY;
        for (name, value) in [
            ("SetAFSCacheExpiration", config.cache_expiration_s().to_string()),
            ("SetAFSTokenExpiration", config.token_expiration_s().to_string()),
            ("SetAFSDebugLevel", config.debug_level().to_string()),
            ("SetAFSWeblogPath", config.nanny().display().to_string()),
            ("SetAFSWeblogUser", config.weblog_user().to_string()),
            ("SetAFSMountpointDir", config.mount_dir().to_owned()),
            ("SetAFSConfDir", config.conf_dir().display().to_string()),
            ("SetAFSLanes", config.lanes().to_string()),
            ("SetAFSLoginDeadline", config.login_deadline_s().to_string()),
            ("SetAFSFileDeadline", config.file_deadline_s().to_string()),
            (
                "SetAFSPorts",
                config.ports().map_or("any".to_owned(), |p| format!("{}-{}", p.start(), p.end())),
            ),
            ("SetAFSCacheSize", format!("{}M", config.cache_size() >> 20)),
            ("SetAFSControlSocket", config.control_socket_text()),
            ("SetAFSRequireTLS", if config.require_tls() { "On" } else { "Off" }.to_owned()),
        ] {
            let directive = DIRECTIVES.iter().find(|d| d.name.to_str() == Ok(name)).unwrap();
            assert_eq!(directive.default, value, "{name}");
        }
        let limit = config.login_limit();
        assert_eq!((limit.per_user, limit.per_address, limit.window_s), (10, 50, 300));
        assert_eq!(config.broker().to_str(), Some("/usr/lib/afsweb/weblog"));
        assert_eq!(config.client_object().to_str(), Some("/usr/lib/afsweb/libafsweb_uafs.so"));
    }

    #[test]
    fn cells_for_logins_are_the_list_else_the_default_cell() {
        let (named, _) = with("SetAFSCells", "a.example b.example");
        assert_eq!(named.cells().len(), 2);
        let (default, _) = with("SetAFSDefaultCell", "A.Example");
        assert_eq!(default.cells(), [Cell::new("a.example").unwrap()]);
        assert!(ServerConfig::EMPTY.cells().is_empty());
        let (_, location) = with("AFSDefaultCell", "b.example");
        assert_eq!(location.default_cell(&default).map(Cell::as_str), Some("b.example"));
        assert_eq!(DirConfig::EMPTY.default_cell(&default).map(Cell::as_str), Some("a.example"));
    }
}
