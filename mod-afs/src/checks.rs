//! Does the configuration fit together, and to this machine? Each finding is a sentence for the administrator.
//!
//! Runs in `apachectl configtest` and at each start. Knows nothing of httpd.

use crate::config::{ServerConfig, UserName};
use crate::message::{self, Said};
use crate::{client, nanny};
use nix::unistd::{Uid, User};
use pag::{Cell, CellServDb, ClientKind, Realm};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use weblog_proto::Method;

/// A server and its name for messages.
#[derive(Debug)]
pub struct Checked<'a> {
    /// As an administrator calls it.
    pub name: String,
    /// Main server or virtual host.
    pub config: &'a ServerConfig,
}

/// All that is wrong. `servers` begins with the main server; `httpd_user` and `httpd_group` are whom children run as, if known.
///
/// Where no section has `AFSAuthType AFS`, nothing of AFS is started, so nothing has to be there for it.
#[must_use]
pub fn findings(servers: &[Checked<'_>], httpd_user: Option<u32>, httpd_group: Option<u32>) -> Vec<Said> {
    let mut out = Vec::new();
    let Some(main) = servers.first() else { return out };
    for server in servers {
        let here = |(message, why)| (message, format!("{}: {why}", server.name));
        out.extend(fits_together(server.config).into_iter().map(here));
    }
    if servers.iter().any(|s| s.config.uses_afs()) {
        out.extend(methods(main.config, servers));
        out.extend(machine(main.config, servers, httpd_user, httpd_group));
    }
    out.dedup();
    out
}

/// What is said of cells and realms, seen from all servers.
fn methods(main: &ServerConfig, servers: &[Checked<'_>]) -> Vec<Said> {
    let mut out = Vec::new();
    for said in main.auth_methods.iter().flatten() {
        if !servers.iter().any(|s| s.config.cells().contains(&said.cell)) {
            out.push((message::CELL_NOT_LISTED, format!(
                "AFSAuthMethod {}: nobody may log in in that cell; add it to SetAFSCells, or take the line away",
                said.cell
            )));
        }
    }
    let mut known: Vec<&Realm> = Vec::new();
    for server in servers {
        for realm in server.config.realms() {
            match known.iter().find(|k| k.is_called(realm.as_str())) {
                Some(k) if *k != realm => out.push((message::REALM_SPELT_TWICE, format!(
                    "{}: SetAFSRealms {realm} is {k} elsewhere: KDCs tell upper from lower case, so write it the same",
                    server.name
                ))),
                Some(_) => {}
                None => known.push(realm),
            }
        }
    }
    for realm in known {
        let asked = cells_of(realm, servers);
        // One of them is enough: what a section or host inherits need not be of use there.
        if !asked.is_empty() && asked.iter().all(|cell| main.auth_method(cell).0 == Method::Kaserver) {
            let cells = asked.iter().map(|cell| cell.as_str()).collect::<Vec<_>>().join(" ");
            out.push((
                message::REALM_BY_KASERVER,
                format!(
                    "SetAFSRealms {realm}: its users can log in nowhere: AFSAuthMethod {cells} is kaserver, \
                 which knows the cell's own users only; set krb5 or auto, or take the realm away"
                ),
            ));
        }
    }
    out
}

/// The cells in which users of a realm log in: the default ones of servers that let them in.
fn cells_of<'a>(realm: &Realm, servers: &[Checked<'a>]) -> Vec<&'a Cell> {
    let configs = servers.iter().map(|s| s.config);
    let let_in = configs.filter(|c| c.uses_afs() && c.realms().iter().any(|r| r.is_called(realm.as_str())));
    let mut cells: Vec<&Cell> =
        let_in.flat_map(|c| c.default_cell.iter().chain(c.location_cells.iter().flatten())).collect();
    cells.sort_unstable();
    cells.dedup();
    cells
}

/// What contradicts itself in one server.
fn fits_together(config: &ServerConfig) -> Vec<Said> {
    let mut out = Vec::new();
    let cells = config.cells();
    let names = || cells.iter().map(Cell::as_str).collect::<Vec<_>>().join(" ");
    if config.uses_afs() && cells.is_empty() {
        out.push((
            message::NO_CELLS,
            "AFSAuthType AFS needs to know in which cells visitors may log in: add SetAFSCells example.com, \
             or SetAFSDefaultCell example.com"
                .to_owned(),
        ));
    }
    if let Some(cell) = config.default_cell.as_ref().filter(|c| !cells.contains(c)) {
        out.push((
            message::CELL_NOT_LISTED,
            format!("SetAFSDefaultCell {cell} is not among SetAFSCells {}: add it there", names()),
        ));
    }
    let of_sections =
        [("AFSDefaultCell", &config.location_cells), ("AFSCells", &config.section_cells)].into_iter();
    for (directive, cell) in of_sections.flat_map(|(d, cells)| cells.iter().flatten().map(move |c| (d, c))) {
        if !cells.is_empty() && !cells.contains(cell) {
            out.push((
                message::CELL_NOT_LISTED,
                format!(
                    "{directive} {cell} is not among the cells for logins, {}: add it to SetAFSCells",
                    names()
                ),
            ));
        }
    }
    for service in config.services.iter().flatten() {
        if !cells.is_empty() && !cells.contains(service.who.cell()) {
            out.push((message::CELL_NOT_LISTED, format!(
                "AFSServiceIdentity {} {}: the cell is not among the cells for logins, {}: add it to SetAFSCells",
                service.who.cell(),
                service.who.name(),
                names()
            )));
        }
    }
    if let Some(realm) = config.realms().first() {
        let defaults = config.default_cell.iter().chain(config.location_cells.iter().flatten());
        if config.uses_afs() && defaults.count() == 0 {
            out.push((message::REALMS_WITHOUT_CELL, format!(
                "SetAFSRealms {realm} needs to know in which cell its users log in: add SetAFSDefaultCell, or AFSDefaultCell to the section"
            )));
        }
    }
    if let Some(location) = config.location().filter(|_| !config.uses_afs()) {
        out.push((
            message::LOCATION_UNUSED,
            format!(
                "SetAFSLocation {location} stands for files in AFS, but no section has AFSAuthType AFS: \
             add <Location {location}> AFSAuthType AFS </Location>"
            ),
        ));
    }
    let (token, deadline) = (config.token_expiration_s(), config.login_deadline_s());
    if token != 0 && token <= deadline {
        out.push((message::TOKEN_TOO_SHORT, format!(
            "SetAFSTokenExpiration {token} ends a token before SetAFSLoginDeadline {deadline} has passed: \
             60 seconds or more make sense, 0 takes what the cell gives"
        )));
    }
    let log = config.access_log().filter(|log| !log.as_os_str().as_encoded_bytes().starts_with(b"|"));
    if let Some(dir) = log.and_then(Path::parent).filter(|d| d.is_absolute() && !d.is_dir()) {
        out.push((
            message::NO_LOG_DIRECTORY,
            format!("SetAFSAccessLog: the directory {} does not exist", dir.display()),
        ));
    }
    out
}

/// What is missing on this machine.
fn machine(
    main: &ServerConfig,
    servers: &[Checked<'_>],
    httpd_user: Option<u32>,
    httpd_group: Option<u32>,
) -> Vec<Said> {
    let mut out = Vec::new();
    out.extend(cell_files(main.conf_dir(), servers));
    let mut files = vec![(main.nanny().to_owned(), true), (main.broker(), true)];
    if client::choose(main) == Ok(ClientKind::Userspace) {
        files.push((main.client_object(), false));
    }
    for (path, program) in files {
        if let Err(why) = trusted(&path, 0, program) {
            out.push((
                message::PROGRAM_NOT_TRUSTED,
                format!("SetAFSWeblogPath {}: {why}", main.nanny().display()),
            ));
        }
    }
    let httpd_groups = groups_of_children(httpd_user, httpd_group);
    if let Err(why) = broker_user(&main.weblog_user(), httpd_user) {
        out.push((message::BROKER_USER, format!("SetAFSWeblogUser {}: {why}", main.weblog_user())));
    }
    if let Some(file) = main.keytab()
        && let Err(why) = keytab(file, &main.weblog_user(), httpd_user, &httpd_groups)
    {
        out.push((message::KEYTAB, format!("AFSKeytab {}: {why}", file.display())));
    }
    for service in nanny::all_services(servers.iter().map(|s| s.config)) {
        let file = Path::new(&service.key_file);
        let (method, _) = main.auth_method(service.who.cell());
        if let Err(why) = keytab(file, &main.weblog_user(), httpd_user, &httpd_groups)
            .and_then(|()| fits_method(file, method, service.who.cell()))
        {
            out.push((
                message::SERVICE_KEY,
                format!("AFSServiceIdentity {}: {}: {why}", service.who.name(), file.display()),
            ));
        }
    }
    if let Some(dir) = main.cache_dir()
        && let Err(why) = cache_dir(dir, httpd_user)
    {
        out.push((message::CACHE_DIR, format!("SetAFSCacheDir {}: {why}", dir.display())));
    }
    out
}

/// ThisCell and CellServDB: there, readable for everybody, and knowing the cells.
fn cell_files(dir: &Path, servers: &[Checked<'_>]) -> Vec<Said> {
    let mut out = Vec::new();
    let mut read = |name: &str| {
        let path = dir.join(name);
        match readable(&path) {
            Ok(text) => Some(text),
            Err(why) => {
                out.push((
                    message::CONF_DIR,
                    format!("SetAFSConfDir {}: {}: {why}", dir.display(), path.display()),
                ));
                None
            }
        }
    };
    let this_cell = read("ThisCell");
    let cell_serv_db = read("CellServDB");
    if let Some(text) = this_cell
        && let Err(why) = Cell::new(text.trim())
    {
        out.push((
            message::CONF_DIR,
            format!("SetAFSConfDir {}: ThisCell does not hold one name of a cell: {why}", dir.display()),
        ));
    }
    let Some(db) = cell_serv_db else { return out };
    // As broker and client read it.
    let db = match CellServDb::parse(&db, &dir.join("CellServDB")) {
        Ok(db) => db,
        Err(why) => {
            out.push((message::CONF_DIR, format!("SetAFSConfDir {}: {why}", dir.display())));
            return out;
        }
    };
    for server in servers {
        for cell in server.config.cells() {
            match (db.has(cell), db.servers(cell)) {
                (false, _) => out.push((message::CELL_WITHOUT_SERVERS, format!(
                    "{}: the cell {cell} is not in {}: add '>{cell}' and its servers there, or take it from SetAFSCells",
                    server.name,
                    dir.join("CellServDB").display()
                ))),
                (true, []) => out.push((message::CELL_WITHOUT_SERVERS, format!(
                    "{}: the cell {cell} has no server in {}",
                    server.name,
                    dir.join("CellServDB").display()
                ))),
                (true, _) => {}
            }
        }
    }
    out
}

/// The text of a file that everybody may read: broker and children run as other users than we do now.
///
/// # Errors
/// Why not.
fn readable(path: &Path) -> Result<String, String> {
    let text = fs::read_to_string(path).map_err(|e| cannot(&e))?;
    let mode = fs::metadata(path).map_err(|e| cannot(&e))?.mode();
    if mode & 0o004 == 0 {
        return Err(
            "everybody has to be able to read it (chmod o+r): the broker runs as another user".to_owned()
        );
    }
    Ok(text)
}

/// An error of the system, for an administrator.
fn cannot(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "may not be read".to_owned(),
        _ => error.to_string(),
    }
}

/// May root run (or children load) this file? It, every directory above it and all that its name leads through (symbolic
/// links and the directories above these) have to be `owner`'s, writable for nobody else; only a directory in between may
/// be writable if it is sticky, such as /tmp.
///
/// # Errors
/// Why not.
pub fn trusted(path: &Path, owner: u32, program: bool) -> Result<(), String> {
    if !path.is_absolute() {
        return Err(format!("{} is not an absolute path", path.display()));
    }
    let real = fs::canonicalize(path).map_err(|e| format!("{}: {}", path.display(), cannot(&e)))?;
    let shown = real.display();
    let meta = fs::metadata(&real).map_err(|e| format!("{shown}: {}", cannot(&e)))?;
    if !meta.is_file() {
        return Err(format!("{shown} is not a file"));
    }
    if program && meta.permissions().mode() & 0o111 == 0 {
        return Err(format!("{shown} cannot be executed (chmod 755)"));
    }
    let way = weblog_fds::on_the_way(path).map_err(|e| format!("{}: {}", path.display(), cannot(&e)))?;
    // Whoever can change a link, or put another in its place, says what is run.
    let through = way.iter().map(AsRef::<Path>::as_ref).filter(|part| !real.starts_with(part));
    for (depth, part) in real.ancestors().chain(through).enumerate() {
        let meta = fs::symlink_metadata(part).map_err(|e| format!("{}: {}", part.display(), cannot(&e)))?;
        let shown = part.display();
        if meta.uid() != owner && meta.uid() != 0 {
            return Err(format!(
                "{shown} belongs to user {}, but what root runs has to be root's",
                meta.uid()
            ));
        }
        // In a sticky directory nobody may replace what is root's; but the program's own directory has to be closed.
        let sticky = depth > 1 && meta.mode() & 0o1000 != 0;
        // The mode of a link is always 777, and means nothing.
        if meta.mode() & 0o022 != 0 && !sticky && !meta.is_symlink() {
            return Err(format!("{shown} can be written to by others than its owner (chmod go-w)"));
        }
    }
    Ok(())
}

/// Is there such a user, who is neither root nor httpd's?
///
/// # Errors
/// Why not.
fn broker_user(user: &UserName, httpd_user: Option<u32>) -> Result<(), String> {
    let uid = match user {
        UserName::Uid(uid) => *uid,
        UserName::Name(name) => match User::from_name(name) {
            Ok(Some(found)) => found.uid.as_raw(),
            Ok(None) => {
                return Err(format!(
                    "there is no such user (adduser --system --group {name}, or name another one)"
                ));
            }
            Err(errno) => return Err(format!("the user cannot be looked up: {errno}")),
        },
    };
    if Uid::from_raw(uid).is_root() {
        return Err("the broker must not run as root".to_owned());
    }
    if httpd_user == Some(uid) {
        return Err("httpd's children run as the same user and could read the broker's passwords: \
                    give the broker a user of its own"
            .to_owned());
    }
    Ok(())
}

/// The groups that httpd's children are in.
fn groups_of_children(httpd_user: Option<u32>, httpd_group: Option<u32>) -> Vec<u32> {
    let mut groups: Vec<u32> = httpd_group.into_iter().collect();
    if let Some(uid) = httpd_user
        && let Ok(Some(user)) = User::from_uid(Uid::from_raw(uid))
        && let Ok(name) = std::ffi::CString::new(user.name)
        && let Ok(more) = nix::unistd::getgrouplist(&name, user.gid)
    {
        groups.extend(more.into_iter().map(nix::unistd::Gid::as_raw));
    }
    groups
}

/// A keytab that the broker's user can read, and neither everybody nor httpd's children can.
///
/// # Errors
/// Why not.
fn keytab(file: &Path, user: &UserName, httpd_user: Option<u32>, httpd_groups: &[u32]) -> Result<(), String> {
    let meta = fs::metadata(file).map_err(|e| cannot(&e))?;
    if !meta.is_file() {
        return Err("is not a file".to_owned());
    }
    if meta.mode() & 0o007 != 0 {
        return Err("is open to everybody, but holds a key (chmod o-rwx)".to_owned());
    }
    if httpd_user == Some(meta.uid()) {
        return Err(
            "belongs to the user that httpd's children run as, who must not have it (chown)".to_owned()
        );
    }
    if meta.mode() & 0o040 != 0 && httpd_groups.contains(&meta.gid()) {
        return Err("can be read by httpd's children, by their group (chgrp)".to_owned());
    }
    let found = match user {
        UserName::Uid(uid) => User::from_uid(Uid::from_raw(*uid)),
        UserName::Name(name) => User::from_name(name),
    };
    // Whoever has no entry has no group that could be looked at; whoever is not there is complained of elsewhere.
    let Ok(Some(found)) = found else { return Ok(()) };
    let as_owner = meta.uid() == found.uid.as_raw() && meta.mode() & 0o400 != 0;
    let as_group =
        meta.uid() != found.uid.as_raw() && meta.gid() == found.gid.as_raw() && meta.mode() & 0o040 != 0;
    if as_owner || as_group {
        return Ok(());
    }
    Err(format!("the broker's user {user} cannot read it (chown root:{user}, chmod 640)"))
}

/// A keytab where the KDCs of the cell's realm are asked, a srvtab where its kaserver is.
///
/// # Errors
/// Why not.
fn fits_method(file: &Path, method: Method, cell: &Cell) -> Result<(), String> {
    use io::Read as _;
    let mut first = [0; 2];
    fs::File::open(file).and_then(|mut f| f.read_exact(&mut first)).map_err(|e| cannot(&e))?;
    // MIT's file formats: a keytab begins with 5 and its version, a srvtab with a name.
    match (matches!(first, [5, 1 | 2]), method) {
        (true, Method::Kaserver) => Err(format!(
            "is a keytab, but AFSAuthMethod {cell} is kaserver, which takes a srvtab: set krb5 or auto"
        )),
        (false, Method::Krb5) => Err(format!(
            "is not a keytab, which AFSAuthMethod {cell} krb5 takes (kadmin: ktadd -k FILE PRINCIPAL)"
        )),
        _ => Ok(()),
    }
}

/// A directory of httpd's user that is closed to everybody else, since it will hold what visitors may read.
///
/// # Errors
/// Why not.
fn cache_dir(dir: &Path, httpd_user: Option<u32>) -> Result<(), String> {
    let meta = fs::metadata(dir).map_err(|e| cannot(&e))?;
    if !meta.is_dir() {
        return Err("is not a directory".to_owned());
    }
    if let Some(uid) = httpd_user.filter(|u| *u != meta.uid()) {
        return Err(format!(
            "belongs to user {}, but has to be that of httpd's children, {uid} (chown)",
            meta.uid()
        ));
    }
    if meta.mode() & 0o077 != 0 {
        return Err(
            "is open to others, but will hold files that are not for everybody (chmod 700)".to_owned()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AuthMethod;
    use std::path::PathBuf;

    fn texts(said: Vec<Said>) -> Vec<String> {
        said.into_iter().map(|(_, text)| text).collect()
    }

    fn cell(name: &str) -> Cell {
        Cell::new(name).unwrap()
    }

    fn check(config: ServerConfig) -> String {
        texts(fits_together(&config)).join("\n")
    }

    #[test]
    fn documented_examples_of_the_original_are_accepted() {
        let base = ServerConfig {
            default_cell: Some(cell("a.example")),
            uses_afs: Some(true),
            ..ServerConfig::EMPTY
        };
        for (cache, token) in [
            (None, None),
            (Some(300), Some(60)),
            (Some(300), None),
            (Some(300), Some(600)),
            (Some(0), Some(0)),
        ] {
            let config =
                ServerConfig { cache_expiration_s: cache, token_expiration_s: token, ..base.clone() };
            assert_eq!(check(config), "", "{cache:?} {token:?}");
        }
    }

    #[test]
    fn says_what_contradicts_itself() {
        let afs = ServerConfig { uses_afs: Some(true), ..ServerConfig::EMPTY };
        let cells = ServerConfig { cells: Some(vec![cell("a.example")].into()), ..afs.clone() };
        for (config, want) in [
            (afs.clone(), "needs to know in which cells"),
            (
                ServerConfig { default_cell: Some(cell("b.example")), ..cells.clone() },
                "is not among SetAFSCells a.example",
            ),
            (
                ServerConfig { location_cells: Some(vec![cell("c.example")]), ..cells.clone() },
                "AFSDefaultCell c.example",
            ),
            (ServerConfig { location: Some("/afs".to_owned()), ..ServerConfig::EMPTY }, "<Location /afs>"),
            (ServerConfig { token_expiration_s: Some(20), ..cells.clone() }, "before SetAFSLoginDeadline 20"),
            (
                ServerConfig { access_log: Some(PathBuf::from("/nowhere/at/all")), ..cells.clone() },
                "/nowhere/at",
            ),
        ] {
            let got = check(config);
            assert!(got.contains(want), "{got:?} lacks {want:?}");
        }
        assert_eq!(check(cells), "");
    }

    #[test]
    fn methods_are_for_cells_where_somebody_may_log_in_and_realms_are_written_alike() {
        let main = ServerConfig {
            uses_afs: Some(true),
            cells: Some(vec![cell("a.example")].into()),
            auth_methods: Some(vec![AuthMethod {
                cell: cell("b.example"),
                method: weblog_proto::Method::Krb5,
                realm: None,
            }]),
            realms: Some(vec![Realm::new("P.EXAMPLE").unwrap()].into()),
            ..ServerConfig::EMPTY
        };
        let host =
            ServerConfig { realms: Some(vec![Realm::new("p.example").unwrap()].into()), ..main.clone() };
        let servers = [("main", &main), ("host", &host)]
            .map(|(name, config)| Checked { name: name.to_owned(), config });
        let found = texts(methods(&main, &servers));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("nobody may log in") && found[1].contains("P.EXAMPLE elsewhere"));
        assert!(check(main).contains("in which cell its users log in"));
    }

    #[test]
    fn users_of_a_realm_need_a_cell_where_they_are_not_asked_of_a_kaserver() {
        let kaserver = |name| AuthMethod { cell: cell(name), method: Method::Kaserver, realm: None };
        let main = ServerConfig {
            uses_afs: Some(true),
            cells: Some(vec![cell("a.example"), cell("b.example")].into()),
            default_cell: Some(cell("a.example")),
            auth_methods: Some(vec![kaserver("a.example")]),
            realms: Some(vec![Realm::new("P.EXAMPLE").unwrap()].into()),
            ..ServerConfig::EMPTY
        };
        let found = |hosts: &[&ServerConfig]| {
            let servers: Vec<_> =
                hosts.iter().map(|config| Checked { name: "host".to_owned(), config }).collect();
            texts(methods(hosts[0], &servers))
        };
        let said = found(&[&main]);
        assert!(said.len() == 1 && said[0].contains("P.EXAMPLE: its users can log in nowhere"), "{said:?}");
        assert!(said[0].contains("AFSAuthMethod a.example is kaserver"), "{said:?}");
        // A section, or another server, where KDCs are asked.
        let section = ServerConfig { location_cells: Some(vec![cell("b.example")]), ..main.clone() };
        assert_eq!(found(&[&section]), [""; 0]);
        let host = ServerConfig { default_cell: Some(cell("b.example")), ..main.clone() };
        assert_eq!(found(&[&main, &host]), [""; 0]);
        let unused = ServerConfig { uses_afs: None, ..host };
        assert_eq!(found(&[&main, &unused]).len(), 1);
        let auto = ServerConfig { auth_methods: None, ..main };
        assert_eq!(found(&[&auto]), [""; 0]);
    }

    #[test]
    fn a_keytab_is_for_the_broker_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("k");
        let own = nix::unistd::geteuid();
        let user = UserName::Uid(own.as_raw());
        assert!(keytab(&file, &user, None, &[]).unwrap_err().contains("does not exist"));
        fs::write(&file, "k").unwrap();
        let mode = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        mode(0o644);
        assert!(keytab(&file, &user, None, &[]).unwrap_err().contains("chmod o-rwx"));
        mode(0o600);
        assert_eq!(keytab(&file, &user, None, &[]), Ok(()));
        assert!(keytab(&file, &user, Some(own.as_raw()), &[]).unwrap_err().contains("chown"));
        let group = fs::metadata(&file).unwrap().gid();
        assert_eq!(keytab(&file, &user, None, &[group]), Ok(()), "which may not read it");
        mode(0o640);
        assert_eq!(keytab(&file, &user, None, &[group + 1]), Ok(()));
        assert!(keytab(&file, &user, None, &[group + 1, group]).unwrap_err().contains("chgrp"));
        mode(0o200);
        assert!(keytab(&file, &user, None, &[]).unwrap_err().contains("cannot read it"));
    }

    #[test]
    fn a_module_that_is_only_loaded_needs_nothing() {
        let config = ServerConfig::EMPTY;
        assert_eq!(findings(&[Checked { name: "main".to_owned(), config: &config }], None, None), Vec::new());
    }

    #[test]
    fn cell_files_have_to_be_there_readable_and_to_know_the_cells() {
        let dir = tempfile::tempdir().unwrap();
        let config = ServerConfig {
            cells: Some(vec![cell("a.example"), cell("z.example")].into()),
            ..ServerConfig::EMPTY
        };
        let servers = [Checked { name: "main".to_owned(), config: &config }];
        let found = texts(cell_files(dir.path(), &servers));
        assert!(found.len() == 2 && found.iter().all(|f| f.contains("does not exist")), "{found:?}");
        fs::write(dir.path().join("ThisCell"), "a.example\n").unwrap();
        fs::write(dir.path().join("CellServDB"), ">a.example\n192.0.2.1\n").unwrap();
        let found = texts(cell_files(dir.path(), &servers));
        assert!(found.len() == 1 && found[0].contains("z.example is not in"), "{found:?}");
        // As broker and client read it: of two entries the later one, and a line that they do not take spoils all.
        for (text, why) in [
            (">a.example\n192.0.2.1\n>z.example\n192.0.2.2\n>z.example\n", "z.example has no server in"),
            (">a.example\n192.0.2.1\n>z.example\nafsdb1.z.example\n", "CellServDB line 4: not an address"),
        ] {
            fs::write(dir.path().join("CellServDB"), text).unwrap();
            let found = texts(cell_files(dir.path(), &servers));
            assert!(found.len() == 1 && found[0].contains(why), "{found:?}");
        }
        fs::set_permissions(dir.path().join("ThisCell"), fs::Permissions::from_mode(0o600)).unwrap();
        assert!(texts(cell_files(dir.path(), &servers))[0].contains("chmod o+r"));
    }

    #[test]
    fn only_what_nobody_else_can_replace_is_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x");
        let own = nix::unistd::geteuid().as_raw();
        let check = || trusted(&file, own, true).err().unwrap_or_default();
        assert!(check().contains("does not exist"));
        fs::write(&file, "x").unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        mode(&file, 0o644);
        assert!(check().contains("cannot be executed"));
        mode(&file, 0o775);
        assert!(check().contains("chmod go-w"));
        mode(&file, 0o755);
        mode(dir.path(), 0o777);
        assert!(check().contains("chmod go-w"));
        mode(dir.path(), 0o1777);
        assert!(check().contains("chmod go-w"), "the program's own directory may not be sticky either");
        mode(dir.path(), 0o755);
        assert_eq!(check(), "");
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        std::os::unix::fs::symlink("../x", open.join("link")).unwrap();
        for (bits, said) in [(0o755, ""), (0o777, "open can be written to by others"), (0o1777, "")] {
            mode(&open, bits);
            let why = trusted(&open.join("link"), own, true).err().unwrap_or_default();
            assert!(why.contains(said) && why.is_empty() == said.is_empty(), "{bits:o}: {why}");
        }
        assert!(trusted(dir.path(), own, true).unwrap_err().contains("not a file"));
        assert!(trusted(Path::new("bin/x"), own, true).unwrap_err().contains("absolute"));
    }

    #[test]
    fn the_broker_has_a_user_of_its_own() {
        assert!(broker_user(&UserName::Uid(4711), Some(33)).is_ok());
        assert!(broker_user(&UserName::Uid(33), Some(33)).unwrap_err().contains("of its own"));
        assert!(broker_user(&UserName::Uid(0), None).unwrap_err().contains("root"));
        assert!(broker_user(&UserName::Name("root".to_owned()), None).unwrap_err().contains("root"));
        assert!(
            broker_user(&UserName::Name("no-such-user-here".to_owned()), None)
                .unwrap_err()
                .contains("adduser")
        );
    }

    #[test]
    fn a_cache_on_disk_is_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let own = nix::unistd::geteuid().as_raw();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(cache_dir(dir.path(), Some(own)).unwrap_err().contains("chmod 700"));
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(cache_dir(dir.path(), Some(own)).is_ok());
        assert!(cache_dir(dir.path(), Some(own + 1)).unwrap_err().contains("chown"));
        assert!(cache_dir(Path::new("/nowhere/at/all"), None).unwrap_err().contains("does not exist"));
    }
}
