//! What the module does in each of httpd's phases; safe code only.
//!
//! Who the visitor is, is settled before anything looks at the file system, and is a value of the request.
//! What he gets is AFS's answer to the real access.

mod kernel;
mod programs;
mod require;
mod serve;
mod settle;

use crate::access_log::{self, Refused};
use crate::answer::{Answer, RETRY_AFTER_S, Trouble};
use crate::broker::{Visitor, unix_now};
use crate::child::child;
use crate::config::{AuthType, DirConfig, Login, RemoteUser, ServerConfig};
use crate::content::{self, Who};
use crate::dav::walk::Found;
use crate::farewell;
use crate::httpd::{
    DirConfigs, Ended, FileInfo, FileKind, Htaccess, Look, Phases, Pool, Request, Server, Status, Verdict,
    log_anywhere, mpm,
};
use crate::message;
use crate::require::Require;
use crate::{nanny, prompt};
use core::ffi::CStr;
use kernel::{answered_in_part, be_nobody, left_to_others, looked_up, stand, stand_for_program};
use pag::Cell;
use serve::serve;
use settle::{
    Settled, effective, give_credentials_back, hide_credentials, look_at_location, settle, settled,
};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use zeroize::Zeroizing;

pub(crate) use programs::{run_as_visitors as programs_run_as_visitors, warning as warning_of_programs};
pub(crate) use settle::{by_service_in_afs, has_credentials, terms_in_afs, tree_in_afs, visitor_in_afs};

/// The module.
#[derive(Debug)]
pub struct Module;

/// The module's state of a request.
#[derive(Debug, Default)]
struct Visit {
    /// What the Location sections say, once they have been looked at.
    location: Option<(DirConfigs, DirConfig)>,
    /// They were looked at before the URL was decoded.
    encoded: bool,
    /// Whose request it is, once that is settled.
    settled: Option<Settled>,
    /// What its Authorization header was, which nothing behind us is to read.
    credentials: Option<Zeroizing<Vec<u8>>>,
    /// Its file is in AFS and served by our client.
    in_afs: bool,
    /// What first kept the walk from going on, an errno.
    trouble: Option<i32>,
    /// What httpd's `Require` rules are run for, and what ours have come upon.
    rules: require::Rules,
    /// Symbolic links that the walk has come by, and whether more are to be noted.
    links: Option<Vec<Vec<u8>>>,
    /// What mod_dav has had looked up for it.
    tree: Option<Found>,
}

impl Phases for Module {
    fn pre_config() -> Status {
        crate::require::begin();
        // Before any module forks, and once: whatever the administrator's shell holds is not for those who come later.
        if mpm::pass() == mpm::Pass::Rehearsal
            && let Err(e) = pag::leave_inherited()
        {
            // Containers often forbid it. The user-space client needs none; for the kernel's, `client::settle` insists.
            let text = format!("httpd stays in the PAG and session keyring that it was started in: {e}");
            log_anywhere(message::PAG_INHERITED, &text);
        }
        Status::OK
    }

    fn check_config(main: Server<'_>) -> Status {
        crate::configtest::check(main)
    }

    fn post_config(main: Server<'_>, pconf: Pool<'_>) -> Status {
        crate::debug_level::apply(main, pconf);
        if !main.all().any(|server| server.config().uses_afs()) {
            nanny::forget(main);
            return Status::OK;
        }
        let done = crate::client::settle(main)
            .map_err(|e| (message::CLIENT_NOT_THERE, e))
            .and_then(|()| access_log::open_all(main, pconf).map_err(|e| (message::LOG_NOT_OPENED, e)))
            .and_then(|()| nanny::configure(main, pconf).map_err(|e| (message::NOT_STARTED, e.to_string())));
        match done {
            Ok(()) => {
                crate::tally::make(main);
                Status::OK
            }
            Err((message, text)) => {
                main.log(message, &text);
                Status::INTERNAL_SERVER_ERROR
            }
        }
    }

    fn forked() {
        nanny::forked();
    }

    fn drop_privileges(main: Server<'_>) -> Status {
        if main.all().any(|server| server.config().uses_afs()) {
            crate::traced::begin();
            crate::client::prepare(main.config());
        }
        Status::OK
    }

    fn child_init(main: Server<'_>, pchild: Pool<'_>) {
        crate::child::start(main);
        // Of a child with threads, the last that is ours; in prefork nothing runs then.
        pchild.at_end(farewell::say);
    }

    fn child_stopping(_graceful: bool) {
        if !mpm::is_threaded() {
            farewell::say();
        }
    }

    fn monitor(main: Server<'_>) {
        nanny::monitor(main);
    }

    fn watched_ended(pid: i32, ended: Ended) {
        nanny::ended(pid, ended);
    }

    fn connection_begins() {
        be_nobody();
    }

    fn connection_changes(r: Option<&mut Request<'_>>) {
        be_nobody();
        if let Some(r) = r {
            give_credentials_back(r);
        }
    }

    fn connection_resumes() {
        be_nobody();
    }

    fn connection_suspends() {
        be_nobody();
    }

    fn create_request(r: &mut Request<'_>) {
        // Also one that takes another's place (an internal redirect): who it is from is settled anew. One that does so in a
        // sub-request has no parent yet; that is nobody as well from then on, since no end of the first one's answer tells
        // when it is over.
        if r.main().is_none() {
            be_nobody();
        }
    }

    fn pre_translate_name(r: &mut Request<'_>) -> Status {
        looked_up(r, |r| look_at_location(r, true))
    }

    fn url_decoded(r: &mut Request<'_>) -> Status {
        // Again: another Location may match now.
        looked_up(r, |r| look_at_location(r, false))
    }

    fn translate_name(r: &mut Request<'_>) -> Status {
        map_location(r)
    }

    fn map_to_storage(r: &mut Request<'_>) -> Status {
        let mount = r.server().config().mount_dir();
        let in_afs = r.filename().is_some_and(|name| content::is_below(name.to_bytes(), mount));
        if !in_afs || effective(r).auth_type() != AuthType::Afs {
            return Status::DECLINED;
        }
        looked_up(r, |r| {
            let settled = settle(r, true).and_then(|()| stand(r));
            hide_credentials(r);
            if let Err(status) = settled {
                return status;
            }
            walk(r).map_or_else(|status| status, |()| Status::OK)
        })
    }

    fn dirwalk_stat(r: &mut Request<'_>, look: Look) -> Option<Result<FileInfo, i32>> {
        let visit = r.state::<Visit>().filter(|visit| visit.in_afs)?;
        let who = visit.settled.as_ref()?.who.clone();
        let name = r.filename()?.to_bytes().to_vec();
        if content::is_above(&name, r.server().config().mount_dir()) {
            return Some(Ok(content::plain_directory()));
        }
        let afs = child()?.afs.as_ref().filter(|afs| afs.holds(&name))?;
        let stat = match look {
            Look::Through => afs.stat(&who, &name),
            // The link's target is told, since httpd would look for it on this machine. The rules for links
            // are applied behind the walk.
            Look::AtLink => match afs.lstat(&who, &name) {
                Ok(found) if found.info.kind == FileKind::Link => {
                    if let Some(links) = r.state_mut::<Visit>().and_then(|visit| visit.links.as_mut()) {
                        links.push(name.clone());
                    }
                    afs.stat(&who, &name)
                }
                other => other,
            }
            .map_err(|errno| stops_walk(r, errno)),
        };
        Some(stat.map(|found| found.info))
    }

    fn open_htaccess(r: &mut Request<'_>, dir: &CStr, name: &CStr) -> Htaccess {
        let Some(visit) = r.state::<Visit>().filter(|visit| visit.in_afs) else { return Htaccess::NotOurs };
        let Some(who) = visit.settled.as_ref().map(|settled| settled.who.clone()) else {
            return Htaccess::NotOurs;
        };
        let dir = dir.to_bytes();
        let path = [dir.strip_suffix(b"/").unwrap_or(dir), name.to_bytes()].join(&b'/');
        let Some(afs) = child().and_then(|child| child.afs.as_ref()).filter(|afs| afs.holds(&path)) else {
            return Htaccess::NotOurs;
        };
        match afs.read_small(&who, &path) {
            Ok(bytes) => Htaccess::Content(bytes),
            // httpd refuses this as well: where the name of the access file is too long, those of others are not.
            Err(libc::ENAMETOOLONG) => Htaccess::Error(libc::ENAMETOOLONG),
            Err(libc::ENOENT) if afs.may_hide(&who, &path) => Htaccess::Error(stops_walk(r, libc::EACCES)),
            Err(errno) => Htaccess::Error(stops_walk(r, errno)),
        }
    }

    fn requires(r: &mut Request<'_>, wanted: &Require) -> Verdict {
        require::decide(r, wanted)
    }

    fn access_checker_ex(r: &mut Request<'_>) -> Status {
        require::run(r, |r| r.run_access_checker_ex())
    }

    fn auth_checker(r: &mut Request<'_>) -> Status {
        require::run(r, |r| r.run_auth_checker())
    }

    fn check_user_id(r: &mut Request<'_>) -> Status {
        let Some(settled) = settled(r) else { return Status::DECLINED };
        match settled.who {
            Who::Visitor(visitor) => {
                show_user(r, &visitor);
                Status::OK
            }
            // Other modules may know visitors where ours does not.
            Who::Anonymous | Who::Service(_) if settled.authority.login == Login::None => Status::DECLINED,
            Who::Anonymous | Who::Service(_) => refuse(r, Answer::Challenge, "login-wanted", None),
        }
    }

    fn type_checker(r: &mut Request<'_>) -> Status {
        if !r.state::<Visit>().is_some_and(|visit| visit.in_afs)
            || r.file_kind() != FileKind::None
            || !r.options().multi_views
        {
            return Status::DECLINED;
        }
        if kernel::standing().is_some() {
            return looked_up(r, stand).map_or_else(|status| status, |()| Status::DECLINED);
        }
        // mod_negotiation would look for variants on this machine; what is to be made is what it is called.
        if !r.is_get_or_head() {
            return Status::OK;
        }
        r.log(message::NO_VARIANTS, "MultiViews finds no variants in AFS with this client");
        refuse(r, Answer::NotFound, "absent", None)
    }

    fn fixups(r: &mut Request<'_>) -> Status {
        let Some(settled) = settled(r) else { return Status::DECLINED };
        if let Who::Service(holder) = &settled.who {
            r.set_env(c"AFS_SERVICE", &holder.principal.to_string());
        }
        if let Who::Visitor(visitor) = settled.who {
            show_user(r, &visitor);
        }
        let in_afs = r.state::<Visit>().is_some_and(|visit| visit.in_afs);
        if in_afs {
            crate::dav::keep_collection(r);
        }
        if in_afs && kernel::standing().is_some() {
            // What other modules look up from here on, they look up as the visitor.
            return looked_up(r, stand).map_or_else(|status| status, |()| Status::DECLINED);
        }
        Status::DECLINED
    }

    fn put_in_place(r: &mut Request<'_>) -> Status {
        if r.dir_config().auth_type() != AuthType::Afs || settled(r).is_some() {
            return Status::DECLINED;
        }
        // Where that is said of the whole server, it is meant of what lies in AFS.
        if r.default_dir_config().auth_type() == AuthType::Afs && !is_named_in_afs(r) {
            return Status::DECLINED;
        }
        if let Err(status) = looked_up(r, settle_by_file) {
            return status;
        }
        if let Some(Settled { who: Who::Visitor(visitor), .. }) = settled(r) {
            show_user(r, &visitor);
        }
        Status::DECLINED
    }

    fn policy(r: &mut Request<'_>) -> Option<Arc<str>> {
        // Also a file in AFS that httpd puts in the place of another one (DirectoryIndex).
        let in_afs = r.state::<Visit>().is_some_and(|visit| visit.in_afs) || is_named_in_afs(r);
        if in_afs { r.dir_config().sandbox() } else { None }
    }

    fn status_page(short: bool) -> String {
        crate::status::page(short)
    }

    fn handler(r: &mut Request<'_>) -> Status {
        // Whoever may write an access file in AFS could ask for them there.
        let by_file = is_named_in_afs(r)
            && (r.dir_config().auth_type() == AuthType::Afs
                || r.state::<Visit>().is_some_and(|visit| visit.in_afs));
        if !by_file && let Some(status) = crate::status::handle(r) {
            return status;
        }
        answered_in_part(r, answer)
    }

    fn last_handler(r: &mut Request<'_>) -> Status {
        // Of a directory the core opens nothing.
        if settled(r).is_none() || !is_named_in_afs(r) || r.file_kind() == FileKind::Directory {
            return Status::DECLINED;
        }
        // That filter runs files, which it has to get from httpd.
        if r.has_output_filter(c"php") {
            return Status::DECLINED;
        }
        let afs = child().and_then(|child| child.afs.as_ref()).filter(|afs| afs.standing().is_some());
        let (Some(afs), Some(name)) = (afs, r.filename().map(|name| name.to_bytes().to_vec())) else {
            return Status::DECLINED;
        };
        serve(r, afs, &name).unwrap_or_else(|status| status)
    }

    fn lacking(r: &mut Request<'_>) -> Option<(&'static CStr, String)> {
        // Of a request that another module has ended before its visitor was settled, or that nobody's login could help, it is
        // that module's word.
        let settled = settled(r)
            .or_else(|| r.inherited_state::<Visit>().and_then(|visit| visit.settled.clone()))
            .filter(|_| effective(r).auth_type() == AuthType::Afs)?;
        let server = r.server().config();
        match r.status() {
            401 if !settled.is_final() && (!server.require_tls() || r.is_https()) => {
                Some((c"WWW-Authenticate", challenge(r, server)))
            }
            503 => Some((c"Retry-After", RETRY_AFTER_S.to_string())),
            _ => None,
        }
    }

    fn program_starts() -> bool {
        kernel::standing().is_none() || crate::standing::program_starts().is_ok()
    }

    fn answered(r: &mut Request<'_>) {
        kernel::be_nobody_after(r);
    }

    fn log_transaction(r: &mut Request<'_>) {
        kernel::be_nobody_after(r);
    }
}

/// Answers a request, or has another module do so.
fn answer(r: &mut Request<'_>) -> Status {
    let Some(afs) = child().and_then(|child| child.afs.as_ref()) else { return Status::DECLINED };
    let Some(name) = r.filename().map(|name| name.to_bytes().to_vec()) else { return Status::DECLINED };
    if !afs.holds(&name) {
        // A program that lies elsewhere, under a Location of ours, runs as the visitor, too.
        if settled(r).is_some()
            && let Some(refused) = crate::dav::refuse_other_sites(r)
        {
            return refused;
        }
        return stand(r).and_then(|()| stand_for_program(r)).map_or_else(|s| s, |()| Status::DECLINED);
    }
    if r.dir_config().auth_type() != AuthType::Afs && r.state::<Visit>().is_none_or(|v| !v.in_afs) {
        return stand_for_program(r).map_or_else(|status| status, |()| Status::DECLINED);
    }
    if let Err(status) = settle_by_file(r) {
        return status;
    }
    if let Some(status) = crate::dav::hand_over(r) {
        return status;
    }
    if afs.standing().is_some()
        && let Some(answer) = left_to_others(r, afs, &name)
    {
        return answer.unwrap_or_else(|status| status);
    }
    serve(r, afs, &name).unwrap_or_else(|status| status)
}

/// Settles who asks for a file in AFS. That has been done long ago, unless httpd has put the file in the place of another one
/// (DirectoryIndex): then it is done by what the file's own Location says.
///
/// # Errors
/// The status that ends the request.
fn settle_by_file(r: &mut Request<'_>) -> Result<(), Status> {
    if r.state::<Visit>().is_none() {
        let location = (r.dir_configs(), r.dir_config().clone());
        r.set_state(Visit { location: Some(location), ..Visit::default() });
    }
    let settled = settle(r, false).and_then(|()| stand(r));
    hide_credentials(r);
    settled
}

/// Does the file name of this request lie in AFS?
fn is_named_in_afs(r: &Request<'_>) -> bool {
    let afs = child().and_then(|child| child.afs.as_ref());
    afs.zip(r.filename()).is_some_and(|(afs, name)| afs.holds(name.to_bytes()))
}

/// The state of this request, made if it has none.
fn visit<'v>(r: &'v mut Request<'_>) -> Option<&'v mut Visit> {
    if r.state::<Visit>().is_none() {
        r.set_state(Visit::default());
    }
    r.state_mut()
}

/// SetAFSLocation: from a URL below it to the file name in AFS.
fn map_location(r: &mut Request<'_>) -> Status {
    let config = r.server().config();
    let Some(location) = config.location() else { return Status::DECLINED };
    let uri = r.uri().to_bytes();
    if !content::is_below(uri, location) {
        return Status::DECLINED;
    }
    let name = [config.mount_dir().as_bytes(), uri.get(location.len()..).unwrap_or_default()].concat();
    r.set_filename(&name);
    Status::OK
}

/// httpd's walks through directories and files, answered by AFS as the visitor.
///
/// # Errors
/// The status that ends the request: httpd's own, or what AFS's answer comes to.
fn walk(r: &mut Request<'_>) -> Result<(), Status> {
    // Never left to httpd, which would look for the file on this machine.
    let Some(afs) = child().and_then(|child| child.afs.as_ref()) else {
        return Err(refuse(r, Answer::Unavailable, "no-afs-client", None));
    };
    let name = r.filename().map(|name| name.to_bytes().to_vec()).unwrap_or_default();
    if afs.is_full(&name) {
        r.log(message::TOO_MANY_WAIT, "too many workers wait for this directory's file server already");
        return Err(refuse(r, Answer::Unavailable, "too-many-wait", None));
    }
    if settled(r).is_some_and(|settled| afs.is_alias(&settled.who, &name)) {
        return Err(refuse(r, Answer::NotFound, "absent", None));
    }
    if let Some(visit) = visit(r) {
        visit.in_afs = true;
        visit.trouble = None;
        visit.links = Some(Vec::new());
    }
    // Who asks by a sub-request may have looked himself, and so have followed a link in AFS to a file of this machine.
    r.forget_file();
    let known = r.known_access_files();
    let status = match r.directory_walk() {
        Status::OK => r.file_walk(),
        other => other,
    };
    let (trouble, links) =
        r.state_mut::<Visit>().map_or((None, None), |visit| (visit.trouble.take(), visit.links.take()));
    if let Some(errno) = trouble {
        // Of what could not be read httpd has been told that it is not there; an error document beside it is another one's.
        r.forget_access_files_since(&known);
        return Err(afs_says(r, errno));
    }
    if status != Status::OK {
        return Err(status);
    }
    for link in links.unwrap_or_default() {
        let parent = link.iter().rposition(|b| *b == b'/').and_then(|at| link.get(..=at)).unwrap_or(b"/");
        // As httpd: the rules are those of the directory that the link stands in. Owners in AFS prove nothing,
        // so SymLinksIfOwnerMatch does not let anybody through.
        let options = r.options_in(parent)?;
        // An access file that cannot be read this time must not count as none.
        if let Some(errno) = r.state_mut::<Visit>().and_then(|visit| visit.trouble.take()) {
            r.forget_access_files_since(&known);
            return Err(afs_says(r, errno));
        }
        if !options.follow_links {
            r.log(
                message::LINK_NOT_ALLOWED,
                &format!("symbolic link not allowed: {}", String::from_utf8_lossy(&link)),
            );
            return Err(refuse(r, Answer::Forbidden, "link", None));
        }
    }
    Ok(())
}

/// Notes why the walk cannot go on; httpd is told that nothing is there, and ends it.
///
/// It would make 403 of anything else, and write a line for each visitor who is to log in first.
fn stops_walk(r: &mut Request<'_>, errno: i32) -> i32 {
    if Trouble::of(errno) != Trouble::Absent
        && let Some(visit) = r.state_mut::<Visit>()
    {
        visit.trouble.get_or_insert(errno);
    }
    libc::ENOENT
}

/// AFS did not do what was asked: the answer for this visitor.
fn afs_says(r: &mut Request<'_>, errno: i32) -> Status {
    let settled = settled(r);
    let token_end = settled.as_ref().and_then(|settled| Some(settled.who.holder()?.token_end));
    let mut trouble = Trouble::of(errno).under(token_end, unix_now());
    if trouble == Trouble::Denied && settled.as_ref().is_some_and(|settled| settled.service_away) {
        trouble = Trouble::ServiceAway;
    }
    let answer = trouble.answer(settled.is_some_and(|settled| settled.is_final()));
    let message =
        if answer == Answer::Unavailable { message::FILE_UNAVAILABLE } else { message::FILE_REFUSED };
    let name = r.filename().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    r.log(message, &format!("{name}: {} (errno {errno})", trouble.word()));
    refuse(r, answer, trouble.word(), None)
}

/// Shows httpd, and logs and programs, who the visitor is.
fn show_user(r: &mut Request<'_>, visitor: &Arc<Visitor>) {
    let who = &visitor.principal;
    let short = r.dir_config().remote_user == Some(RemoteUser::Short) && who.realm().is_none();
    let default = settled(r).and_then(|settled| settled.authority.default_cell);
    if short && default.as_ref() == Some(who.cell()) {
        r.set_user(who.name(), "Basic");
    } else {
        r.set_user(&who.to_string(), "Basic");
    }
    r.set_env(c"AFS_USER", who.name());
    r.set_env(c"AFS_CELL", who.cell().as_str());
    r.set_env(c"AFS_TOKEN_EXPIRES", &visitor.token_end.to_string());
    if let Some(days) = visitor.password_expires_days {
        r.set_env(c"AFS_PASSWORD_EXPIRES_DAYS", &days.to_string());
    }
}

/// Ends the request: headers, a line in the log of refused accesses, the status.
///
/// `name`: who the visitor claims to be, where he has not shown it.
pub(crate) fn refuse(r: &mut Request<'_>, answer: Answer, reason: &str, name: Option<&str>) -> Status {
    let server = r.server().config();
    // Nobody is asked for a password where it would be refused.
    let answer = if answer == Answer::Challenge && server.require_tls() && !r.is_https() {
        Answer::Forbidden
    } else {
        answer
    };
    crate::tally::count_answer(answer);
    match answer {
        Answer::Challenge => {
            let challenge = challenge(r, server);
            r.set_error_header(c"WWW-Authenticate", &challenge);
        }
        Answer::Unavailable => r.set_error_header(c"Retry-After", &RETRY_AFTER_S.to_string()),
        _ => {}
    }
    let visitor = settled(r).and_then(|settled| settled.who.visitor().cloned());
    if let Some(visitor) = &visitor {
        // So that httpd's own logs show who was refused.
        show_user(r, visitor);
    }
    let log = server.access_log().and_then(|path| child()?.logs.get(path));
    if let Some(log) = log
        && answer != Answer::NotFound
    {
        let visitor = visitor.map(|visitor| visitor.principal.to_string());
        Refused {
            time: unix_now(),
            address: r.address().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            visitor: visitor.as_deref().or(name),
            method: r.method().to_bytes(),
            uri: r.unparsed_uri().to_bytes(),
            status: answer.status(),
            reason,
        }
        .write_to(std::os::fd::AsFd::as_fd(log));
    }
    Status::http(answer.status())
}

/// The challenge of this location.
fn challenge(r: &Request<'_>, server: &ServerConfig) -> String {
    let location = effective(r);
    let default = r.default_dir_config();
    // Directory sections may have a prompt, too; a Location's own counts before theirs.
    let prompt = location
        .prompt
        .as_ref()
        .filter(|prompt| default.prompt.as_ref() != Some(prompt))
        .or(r.dir_config().prompt.as_ref())
        .or(location.prompt.as_ref());
    let encoded = r.state::<Visit>().is_some_and(|visit| visit.encoded);
    let url =
        if encoded { prompt::decoded(r.uri().to_bytes()) } else { r.uri().to_string_lossy().into_owned() };
    let default_cell = location.default_cell(server).map(Cell::as_str);
    let cell = path_cell(r, server);
    let values = prompt::Values { cell: cell.as_deref(), default_cell, url: &url };
    prompt::challenge(&prompt::realm(prompt.map(AsRef::as_ref), values))
}

/// The cell of the path, from the name of the file or, before there is one, from the URL.
fn path_cell(r: &Request<'_>, server: &ServerConfig) -> Option<String> {
    let below = |path: &[u8], root: &str| -> Option<String> {
        let rest = path.strip_prefix(root.as_bytes())?.strip_prefix(b"/")?;
        let name = rest.split(|b| *b == b'/').next()?;
        let name = core::str::from_utf8(name).ok()?;
        // `/afs/.cell` is the read-write way to the same cell.
        Cell::new(name.strip_prefix('.').unwrap_or(name)).ok().map(|cell| cell.as_str().to_owned())
    };
    r.filename().and_then(|name| below(name.to_bytes(), server.mount_dir())).or_else(|| {
        let location = server.location().unwrap_or_else(|| server.mount_dir());
        below(r.uri().to_bytes(), location)
    })
}
