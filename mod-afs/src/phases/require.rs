//! `Require afs-user`, `afs-group`, `afs-right`: what one line comes to for one request.
//!
//! httpd runs its rules twice: before it knows a user, and if they do not decide, with him. Who the visitor is, is settled
//! before both, so ours decide in the first run, and say the same again in the second. Only of nobody, where he could log in,
//! they say in the first that it takes a user.

use super::settle::{Settled, settled, terms};
use super::{Visit, refuse, visit};
use crate::answer::{Answer, Trouble};
use crate::broker::{Visitor, unix_now};
use crate::child::child;
use crate::dav::files::Dir as _;
use crate::httpd::{FileKind, Request, Status, Verdict};
use crate::identity::{self, CellRules, Claim, Credentials};
use crate::message;
use crate::require::{ANY_USER, AUTH_USER, NO_RIGHTS, Named, Require, used};
use crate::writing::OpenDir;
use pag::userspace::Rights;
use std::time::Instant;
use weblog_proto::Membership;

/// What is noted for a request while httpd's rules are run for it.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// The visitor is not settled yet: only who is denied whoever he is, is denied now.
    before_login: bool,
    /// The rules are run by us.
    running: bool,
    /// What lines have come to, by their addresses, which do not move while this request lasts.
    decided: Vec<(usize, Verdict)>,
    /// Why a line of ours could not be decided: answer, word for logs.
    trouble: Option<(Answer, &'static str)>,
    /// A line of ours was not as wanted.
    denied: bool,
    /// When the first question about a group was asked: all of a request share one deadline.
    asking_since: Option<Instant>,
}

impl Rules {
    /// When the first question of this request was asked, if it is not this one.
    fn asking_since(&mut self, now: Instant) -> Instant {
        *self.asking_since.get_or_insert(now)
    }
}

/// The rules are run before (or not any more before) the visitor is settled.
pub(super) fn before_login(r: &mut Request<'_>, now: bool) {
    if let Some(visit) = visit(r) {
        visit.rules.before_login = now;
    }
}

/// httpd's rules, by `run`, with what ours have noted for answer where it has only an error of its own.
pub(super) fn run(r: &mut Request<'_>, run: impl FnOnce(&mut Request<'_>) -> Status) -> Status {
    // Where there are no lines of ours, httpd is not disturbed.
    let Some(visit) = r.state_mut::<Visit>().filter(|v| used() && v.settled.is_some() && !v.rules.running)
    else {
        return Status::DECLINED;
    };
    visit.rules.running = true;
    let status = run(r);
    let Some(visit) = r.state_mut::<Visit>() else { return status };
    visit.rules.running = false;
    match (status, visit.rules.trouble) {
        (Status::INTERNAL_SERVER_ERROR, Some((answer, word))) => refuse(r, answer, word, None),
        (Status::FORBIDDEN, _) if visit.rules.denied => refuse(r, Answer::Forbidden, "require", None),
        // httpd asks its modules once more then, which costs nothing: ours have decided.
        (status, _) => status,
    }
}

/// What a line comes to.
pub(super) fn decide(r: &mut Request<'_>, wanted: &Require) -> Verdict {
    let line = core::ptr::from_ref(wanted).addr();
    if let Some(visit) = r.state::<Visit>() {
        if visit.rules.before_login {
            return Verdict::NoUser;
        }
        if let Some((_, verdict)) = visit.rules.decided.iter().find(|(l, _)| *l == line) {
            return *verdict;
        }
    }
    let Some(settled) = settled(r) else {
        let text = format!(
            "Require {}: this is no place with AFSAuthType AFS, so nobody is logged in",
            wanted.kind().word()
        );
        r.log(message::REQUIRE_OUTSIDE, &text);
        return Verdict::Denied;
    };
    let verdict = match weigh(r, wanted, &settled) {
        Verdict::Denied if !settled.is_final() => Verdict::NoUser,
        other => other,
    };
    if let Some(visit) = visit(r) {
        visit.rules.denied |= verdict == Verdict::Denied;
        visit.rules.decided.push((line, verdict));
    }
    verdict
}

/// Whether the request is what a line wants.
fn weigh(r: &mut Request<'_>, wanted: &Require, settled: &Settled) -> Verdict {
    match (wanted, settled.who.visitor()) {
        (Require::Users(names), Some(visitor)) => is_one_of(r, names, settled, visitor),
        (Require::Groups(names), Some(visitor)) => is_in_one_of(r, names, settled, visitor),
        (Require::Groups(names), None) if names.iter().any(|name| is_any_user(r, name, settled)) => {
            Verdict::Granted
        }
        (Require::Users(_) | Require::Groups(_), None) => Verdict::Denied,
        (Require::Rights(rights), _) => has(r, *rights, settled),
    }
}

/// Notes why a line cannot be decided.
fn unknown(r: &mut Request<'_>, answer: Answer, word: &'static str) -> Verdict {
    if let Some(visit) = visit(r) {
        visit.rules.trouble = Some((answer, word));
    }
    Verdict::Unknown
}

/// What the cell calls a name, and the cell.
fn resolved(r: &Request<'_>, name: &Named, settled: &Settled) -> Option<(String, pag::Cell)> {
    let found = name.resolve(r.server().config(), settled.authority.default_cell.as_ref());
    found.inspect_err(|why| r.log(message::REQUIRE_NAME, &format!("Require: {why}"))).ok()
}

/// Is it the group of everybody?
fn is_any_user(r: &Request<'_>, name: &Named, settled: &Settled) -> bool {
    resolved(r, name, settled).is_some_and(|(group, _)| group == ANY_USER)
}

/// `afs-user`.
fn is_one_of(r: &Request<'_>, names: &[Named], settled: &Settled, visitor: &Visitor) -> Verdict {
    let is = |name: &Named| {
        resolved(r, name, settled)
            .is_some_and(|(user, cell)| user == visitor.name && cell == *visitor.principal.cell())
    };
    if names.iter().any(is) { Verdict::Granted } else { Verdict::Denied }
}

/// `afs-group`: groups of the cell that he is logged in at.
fn is_in_one_of(r: &mut Request<'_>, names: &[Named], settled: &Settled, visitor: &Visitor) -> Verdict {
    let mut trouble = None;
    let mut credentials = None;
    for name in names {
        let Some((group, cell)) = resolved(r, name, settled) else { continue };
        if group == ANY_USER {
            return Verdict::Granted;
        }
        if cell != *visitor.principal.cell() {
            continue;
        }
        if let Some(is) = is_authenticated(&group, &visitor.name) {
            if is {
                return Verdict::Granted;
            }
            continue;
        }
        if credentials.is_none() {
            credentials = again(r, settled, visitor);
        }
        let Some(credentials) = &credentials else {
            r.log(message::CREDENTIALS_GONE, "Require afs-group: the credentials of this request have gone");
            return unknown(r, Answer::Unavailable, "no-credentials");
        };
        match ask(r, credentials, &group) {
            Ok(Membership::Yes) => return Verdict::Granted,
            Ok(Membership::No) => {}
            Ok(Membership::NoSuchGroup) => {
                r.log(message::GROUP_UNKNOWN, &format!("Require afs-group: {cell} knows no group {group}"));
            }
            Ok(Membership::Hidden) => {
                let text = format!(
                    "Require afs-group: {cell} does not tell {} whether he is in {group}, which has private membership",
                    visitor.principal
                );
                r.log(message::GROUP_HIDDEN, &text);
                trouble = Some((Answer::Forbidden, "membership-hidden"));
            }
            Err((answer, word)) => trouble = Some((answer, word)),
        }
    }
    match trouble {
        Some((answer, word)) => unknown(r, answer, word),
        None => Verdict::Denied,
    }
}

/// Whether he is in the group of all who have logged in, or in that of all of another realm's, if it is one of these: servers
/// put users of other realms into their realm's group alone.
fn is_authenticated(group: &str, name: &str) -> Option<bool> {
    let of = group.strip_prefix(AUTH_USER)?;
    let realm = name.split_once('@').map_or("", |(_, realm)| realm);
    match of.strip_prefix('@') {
        Some(of) => Some(of == realm && !realm.is_empty()),
        None => of.is_empty().then_some(realm.is_empty()),
    }
}

/// The credentials by which this visitor was let in, once more.
fn again(r: &Request<'_>, settled: &Settled, visitor: &Visitor) -> Option<Credentials> {
    let authority = &settled.authority;
    let rules = CellRules {
        allowed: &authority.cells,
        realms: &authority.realms,
        default: authority.default_cell.as_ref(),
    };
    match identity::claim(super::settle::credentials(r), rules) {
        Ok(Claim::Credentials(credentials)) => Some(credentials).filter(|c| c.principal == visitor.principal),
        _ => None,
    }
}

/// Asks the broker.
///
/// # Errors
/// The answer for the visitor, and a word for logs.
fn ask(
    r: &mut Request<'_>,
    credentials: &Credentials,
    group: &str,
) -> Result<Membership, (Answer, &'static str)> {
    let now = Instant::now();
    let since = visit(r).map_or(now, |visit| visit.rules.asking_since(now));
    let terms = terms(r, r.server().config(), since);
    let Some(logins) = child().and_then(|child| child.logins.as_ref()) else {
        r.log(message::GROUP_NO_BROKER, "Require afs-group: this child cannot ask the broker");
        return Err((Answer::Unavailable, "no-broker"));
    };
    logins.member(credentials, &terms, group).map_err(|why| {
        let who = &credentials.principal;
        r.log(
            message::GROUP_NOT_KNOWN,
            &format!("Require afs-group: whether {who} is in {group} is not known: {why}"),
        );
        (Answer::Unavailable, why.failure().word())
    })
}

/// `afs-right`: in the directory of the file, or in it if it is one.
fn has(r: &mut Request<'_>, rights: Rights, settled: &Settled) -> Verdict {
    let afs = child().and_then(|child| child.afs.as_ref());
    let name = r.filename().map(|name| name.to_bytes().to_vec()).unwrap_or_default();
    let Some(afs) = afs.filter(|afs| afs.holds(&name)) else {
        r.log(message::RIGHT_OUTSIDE, "Require afs-right: this file is not in AFS");
        return unknown(r, Answer::Forbidden, "not-in-afs");
    };
    let dir = if r.file_kind() == FileKind::Directory { &name[..] } else { parent(&name) };
    if afs.is_full(dir) {
        r.log(message::TOO_MANY_WAIT, "too many workers wait for this directory's file server already");
        return unknown(r, Answer::Unavailable, "too-many-wait");
    }
    let trouble = match OpenDir::open(afs, &settled.who, dir).and_then(|dir| dir.may(rights)) {
        Ok(Some(true)) => return Verdict::Granted,
        Ok(Some(false)) => Trouble::Denied,
        Ok(None) => {
            r.log(message::RIGHTS_NOT_TOLD, &format!("Require afs-right: {NO_RIGHTS}"));
            return unknown(r, Answer::Forbidden, "rights-unknown");
        }
        Err(errno) => {
            let token_end = settled.who.holder().map(|holder| holder.token_end);
            Trouble::of(errno).under(token_end, unix_now())
        }
    };
    let trouble =
        if trouble == Trouble::Denied && settled.service_away { Trouble::ServiceAway } else { trouble };
    match trouble {
        // What is not there has no rights; httpd says so when it comes to that.
        Trouble::Denied | Trouble::Absent | Trouble::Unfit => Verdict::Denied,
        Trouble::TokenEnded | Trouble::ServiceAway | Trouble::Unavailable => {
            let shown = String::from_utf8_lossy(dir).into_owned();
            r.log(
                message::RIGHTS_NOT_KNOWN,
                &format!("Require afs-right: rights in {shown} are not known: {}", trouble.word()),
            );
            unknown(r, Answer::Unavailable, trouble.word())
        }
    }
}

/// The directory that a name stands in.
fn parent(name: &[u8]) -> &[u8] {
    let name = name.strip_suffix(b"/").unwrap_or(name);
    let end = name.iter().rposition(|b| *b == b'/').unwrap_or(0);
    name.get(..end.max(1)).unwrap_or(b"/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_logged_in_is_known_without_asking() {
        for (group, name, is) in [
            ("system:authuser", "alice", Some(true)),
            ("system:authuser", "alice@partner.org", Some(false)),
            ("system:authuser@partner.org", "alice@partner.org", Some(true)),
            ("system:authuser@other.org", "alice@partner.org", Some(false)),
            ("system:authuser@partner.org", "alice", Some(false)),
            ("system:authuser@", "alice", Some(false)),
            ("system:authusers", "alice", None),
            ("system:administrators", "alice", None),
        ] {
            assert_eq!(is_authenticated(group, name), is, "{group} {name}");
        }
    }

    #[test]
    fn all_questions_of_a_request_share_one_deadline() {
        let mut rules = Rules::default();
        let first = Instant::now();
        assert_eq!(rules.asking_since(first), first);
        assert_eq!(rules.asking_since(first + core::time::Duration::from_secs(20)), first);
    }

    #[test]
    fn a_name_stands_in_its_directory() {
        for (name, dir) in [("/afs/c/d/file", "/afs/c/d"), ("/afs/c/d/", "/afs/c"), ("/afs", "/"), ("", "/")]
        {
            assert_eq!(parent(name.as_bytes()), dir.as_bytes(), "{name}");
        }
    }
}
