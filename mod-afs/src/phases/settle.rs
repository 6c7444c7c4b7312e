//! Who a request is from: settled once, by its location, before anything looks at the file system.

use super::kernel::{self, be_nobody_after, stand};
use super::{Visit, refuse, require, visit};
use crate::answer::Answer;
use crate::broker::{NoVisitor, Terms, Visitor};
use crate::child::{Child, child};
use crate::config::{AuthType, DirConfig, Login, ServerConfig};
use crate::content::Who;
use crate::dav::walk::Found;
use crate::httpd::{Request, Status};
use crate::identity::{self, CellRules, Claim};
use crate::message;
use core::ffi::CStr;
use core::time::Duration;
use pag::{Cell, Realm};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;
use weblog_proto::{Failure, FailureClass, Service};
use zeroize::Zeroizing;

/// All refusals of credentials take a multiple of this, so that their time does not tell them apart.
const REFUSAL_TIME: Duration = Duration::from_millis(100);
/// A worker waits for so much longer than the broker's own deadline, so that the broker's word counts.
const GRACE: Duration = Duration::from_secs(1);
/// A request waits so long for the token of a service identity, which the broker has before it is asked for.
const SERVICE_WAIT: Duration = Duration::from_secs(5);

/// What decides who somebody is: where it is the same, an identity may be used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Authority {
    /// Cell of names without one.
    pub(super) default_cell: Option<Cell>,
    /// Cells in which visitors may log in.
    pub(super) cells: Vec<Cell>,
    /// Realms whose users may.
    pub(super) realms: Vec<Realm>,
    /// Whether visitors log in.
    pub(super) login: Login,
    /// Whose token is used where none is logged in.
    pub(super) service: Option<Arc<Service>>,
}

impl Authority {
    /// Whether the same logins count.
    pub(super) fn lets_in_the_same(&self, other: &Self) -> bool {
        self.default_cell == other.default_cell && self.cells == other.cells && self.realms == other.realms
    }
}

/// Who a request was found to be from.
#[derive(Debug, Clone)]
pub(super) struct Settled {
    /// By what.
    pub(super) authority: Authority,
    /// He. Anonymous also for what is done for a request whose credentials were refused.
    pub(super) who: Who,
    /// The service identity that was to be used has no token.
    pub(super) service_away: bool,
}

impl Settled {
    /// Might other credentials help whom AFS refuses something?
    pub(super) fn is_final(&self) -> bool {
        self.who.is_visitor() || self.authority.login == Login::None
    }
}

/// The configuration that counts for who the visitor is: the Location sections', else the server's.
pub(super) fn effective(r: &Request<'_>) -> DirConfig {
    let own = r.state::<Visit>().and_then(|visit| visit.location.as_ref());
    // Sub-requests for a file have no URL of their own.
    let location = own.or_else(|| r.inherited_state::<Visit>().and_then(|visit| visit.location.as_ref()));
    location.map_or_else(|| r.default_dir_config().clone(), |(_, config)| config.clone())
}

/// Who a request for something in AFS is from, if that is settled by its location.
pub(crate) fn visitor_in_afs(r: &Request<'_>) -> Option<Who> {
    let visit = r.state::<Visit>().filter(|visit| visit.in_afs)?;
    Some(visit.settled.as_ref()?.who.clone())
}

/// Where a request in AFS keeps what mod_dav has had looked up for it.
pub(crate) fn tree_in_afs<'v>(r: &'v mut Request<'_>) -> Option<&'v mut Option<Found>> {
    r.state_mut::<Visit>().filter(|visit| visit.in_afs).map(|visit| &mut visit.tree)
}

/// Until when the token counts that a request in AFS is served under, and whether other credentials would not help.
pub(crate) fn terms_in_afs(r: &Request<'_>) -> (Option<i64>, bool) {
    let settled = r.state::<Visit>().and_then(|visit| visit.settled.as_ref());
    settled.map_or((None, false), |s| (s.who.holder().map(|h| h.token_end), s.is_final()))
}

/// Is a request in AFS served by a service's token, or would it be if there were one?
pub(crate) fn by_service_in_afs(r: &Request<'_>) -> bool {
    let settled = r.state::<Visit>().and_then(|visit| visit.settled.as_ref());
    settled.is_some_and(|s| !s.who.is_visitor() && s.authority.service.is_some())
}

/// Who this request is from, if that is settled.
pub(super) fn settled(r: &Request<'_>) -> Option<Settled> {
    r.state::<Visit>()?.settled.clone()
}

/// Notes what the Location sections say; one with `AFSAuthType AFS` settles who the visitor is.
pub(super) fn look_at_location(r: &mut Request<'_>, encoded: bool) -> Status {
    let config = r.dir_config().clone();
    let by_location =
        config.auth_type() == AuthType::Afs && r.default_dir_config().auth_type() != AuthType::Afs;
    if config.auth_type() == AuthType::None && r.state::<Visit>().is_none() {
        // Outside AFS; noted only where the server's own word is another.
        if r.default_dir_config().auth_type() == AuthType::None {
            return Status::DECLINED;
        }
    }
    if config.auth_type() == AuthType::Afs && r.method().to_bytes() == b"TRACE" {
        // httpd would send the header with the password back.
        r.allow_get();
        return refuse(r, Answer::NotAllowed, "method", None);
    }
    let configs = r.dir_configs();
    if let Some(visit) = visit(r) {
        visit.location = Some((configs, config));
        visit.encoded = encoded;
    }
    if !by_location {
        // Whatever an encoded URL seemed to match.
        if visit(r).is_some_and(|visit| visit.settled.take().is_some()) {
            be_nobody_after(r);
        }
        return Status::DECLINED;
    }
    let settled = settle(r, true).and_then(|()| stand(r));
    // While the URL is encoded, it may still turn out that another Location is meant; but an error document is looked for now.
    if !encoded || settled.is_err() {
        hide_credentials(r);
    }
    settled.map_or_else(|status| status, |()| Status::DECLINED)
}

/// Settles who the request is from, once: anonymous, a visitor, or refused.
///
/// `rules`: httpd's own address rules for the location come first.
///
/// # Errors
/// The status that ends the request.
pub(super) fn settle(r: &mut Request<'_>, rules: bool) -> Result<(), Status> {
    let config = effective(r);
    let server = r.server().config();
    let authority = Authority {
        default_cell: config.default_cell(server).cloned(),
        cells: config.cells(server),
        realms: server.realms().to_vec(),
        login: config.login(),
        service: config.service().cloned(),
    };
    if settled(r).is_some_and(|settled| settled.authority == authority) {
        return Ok(());
    }
    let earlier = r.inherited_state::<Visit>().and_then(|visit| visit.settled.clone());
    let who = if let Some(earlier) = earlier {
        // The request that this one is part of has been settled: by the same authority it is the same visitor,
        // by another one nobody. A password goes to one authority only.
        let same = earlier.who.is_visitor() && earlier.authority.lets_in_the_same(&authority);
        if same && authority.login != Login::None { earlier.who } else { Who::Anonymous }
    } else {
        if rules {
            address_rules(r)?;
        }
        // Until it is known better, so that a refused request is nobody's to those that are made for it.
        if let Some(visit) = visit(r) {
            visit.settled =
                Some(Settled { authority: authority.clone(), who: Who::Anonymous, service_away: false });
        }
        if authority.login == Login::None {
            Who::Anonymous
        } else {
            r.merge_error_header(c"Vary", "Authorization");
            authenticate(r, &authority, server)?
        }
    };
    if authority.login == Login::Required && !who.is_visitor() {
        return Err(refuse(r, Answer::Challenge, "login-wanted", None));
    }
    let (who, service_away) = match (who, &authority.service) {
        (Who::Anonymous, Some(service)) => match bearer(r, service, server) {
            Some(holder) => (Who::Service(holder), false),
            None => (Who::Anonymous, true),
        },
        (who, _) => (who, false),
    };
    if who.is_visitor() {
        r.set_error_header(c"Cache-Control", "private");
        r.set_no_cache();
    }
    if let Some(visit) = visit(r) {
        visit.settled = Some(Settled { authority, who, service_away });
    }
    Ok(())
}

/// The bearer of a service identity's token, if there is one at present. What everybody may read is served without, too.
pub(super) fn bearer(r: &Request<'_>, service: &Service, server: &ServerConfig) -> Option<Arc<Visitor>> {
    let logins = child().and_then(|child| child.logins.as_ref());
    let wait = SERVICE_WAIT.min(Duration::from_secs(server.login_deadline_s().into()));
    let holder = logins.map(|logins| logins.service(service, Instant::now() + wait));
    // A token may have been set, which a client in the kernel does inside the PAG.
    kernel::forget();
    let why = match holder {
        Some(Ok(holder)) => return Some(holder),
        Some(Err(why)) => why.to_string(),
        None => "this child cannot log anybody in".to_owned(),
    };
    // The broker has raised the alarm already, and what is refused for it is told as an error.
    r.log(message::SERVICE_TOKEN, &format!("no token of the service {service}: {why}"));
    None
}

/// httpd's rules that need no user, under the configuration of the location: who is denied by them never logs in.
///
/// # Errors
/// The status of the rule that denies.
pub(super) fn address_rules(r: &mut Request<'_>) -> Result<(), Status> {
    let Some(configs) = r.state::<Visit>().and_then(|visit| visit.location.as_ref()).map(|(c, _)| *c) else {
        return Ok(());
    };
    require::before_login(r, true);
    let allowed = r.under(configs, |r| {
        let denied = |status: Status| status.is_error() && status != Status::UNAUTHORIZED;
        let first = r.run_access_checker();
        // `Satisfy Any`: who is denied here may still log in.
        if denied(first) && !r.satisfies_any() {
            return Err(first);
        }
        let second = r.run_access_checker_ex();
        if denied(second) && !(r.satisfies_any() && first == Status::OK) { Err(second) } else { Ok(()) }
    });
    require::before_login(r, false);
    allowed
}

/// The credentials of this request, or of the one that it is part of.
pub(super) fn credentials<'r>(r: &'r Request<'_>) -> Option<&'r [u8]> {
    let header = r.header_in(c"Authorization").map(CStr::to_bytes);
    let hidden = || r.state::<Visit>().and_then(|visit| visit.credentials.as_ref());
    let inherited = || r.inherited_state::<Visit>().and_then(|visit| visit.credentials.as_ref());
    header.or_else(|| hidden().or_else(inherited).map(|value| value.as_slice()))
}

/// Has somebody said who he is?
pub(crate) fn has_credentials(r: &Request<'_>) -> bool {
    credentials(r).is_some()
}

/// Takes the Authorization header away before the first `.htaccess` is read: whoever may write one there could have it sent
/// to himself, by mod_rewrite, mod_headers, mod_setenvif or CGIPassAuth. So does what was made of it already, as Debian's
/// php-fpm.conf makes a variable. Where nobody logs in here, another module may ask.
pub(super) fn hide_credentials(r: &mut Request<'_>) {
    if effective(r).login() == Login::None {
        return;
    }
    let Some(known) = credentials(r).map(|value| Zeroizing::new(value.to_vec())) else { return };
    r.remove_header_in(c"Authorization");
    r.unset_env_with(identity::secret_part(&known));
    if let Some(visit) = visit(r) {
        visit.credentials = Some(known);
    }
}

/// The same request is made once more, on a connection of another protocol.
pub(super) fn give_credentials_back(r: &mut Request<'_>) {
    let Some(visit) = r.state_mut::<Visit>() else { return };
    if let Some(known) = visit.credentials.take() {
        r.set_header_in(c"Authorization", &known);
    }
}

/// From the Authorization header to the visitor.
///
/// # Errors
/// The status of a refused login.
pub(super) fn authenticate(
    r: &mut Request<'_>,
    authority: &Authority,
    server: &ServerConfig,
) -> Result<Who, Status> {
    let start = Instant::now();
    let Some(header) = credentials(r) else { return Ok(Who::Anonymous) };
    if server.require_tls() && !r.is_https() {
        r.log(message::NO_TLS, "credentials came without TLS, which SetAFSRequireTLS refuses");
        return Err(refuse(r, Answer::Forbidden, "no-tls", None));
    }
    let rules = CellRules {
        allowed: &authority.cells,
        realms: &authority.realms,
        default: authority.default_cell.as_ref(),
    };
    let credentials = match identity::claim(Some(header), rules) {
        Ok(Claim::Anonymous) => return Ok(Who::Anonymous),
        Ok(Claim::Credentials(credentials)) => credentials,
        Err(refusal) => {
            r.log(message::LOGIN_REFUSED, &format!("login refused: {refusal} ({})", refusal.word()));
            let answer = Answer::from(refusal);
            if answer == Answer::Challenge {
                even_out(start);
            }
            return Err(refuse(r, answer, refusal.word(), None));
        }
    };
    let name = credentials.principal.to_string();
    let Some(logins) = child().and_then(|child: &Child| child.logins.as_ref()) else {
        r.log(message::LOGIN_IMPOSSIBLE, &format!("login of {name}: this child cannot log anybody in"));
        return Err(refuse(r, Answer::Unavailable, Failure::Internal.word(), Some(&name)));
    };
    let terms = terms(r, server, start);
    let visitor = logins.visitor(&credentials, &terms);
    // A token may have been set, which a client in the kernel does inside the PAG.
    kernel::forget();
    match visitor {
        Ok(visitor) => Ok(Who::Visitor(visitor)),
        Err(why) => {
            if let NoVisitor::Client(error) = &why {
                crate::tally::count_refused(error);
            }
            let failure = why.failure();
            r.log(message::LOGIN_FAILED, &format!("login of {name} failed: {why}"));
            if failure.class() == FailureClass::Credentials {
                even_out(start);
            }
            Err(refuse(r, Answer::from(failure), failure.word(), Some(&name)))
        }
    }
}

/// What else belongs to a login that begins at `start`.
pub(super) fn terms(r: &Request<'_>, server: &ServerConfig, start: Instant) -> Terms {
    Terms {
        address: r.address().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        token_lifetime_s: server.token_expiration_s(),
        cache_expiration_s: server.cache_expiration_s(),
        deadline: start + Duration::from_secs(server.login_deadline_s().into()) + GRACE,
    }
}

/// Waits until a multiple of [`REFUSAL_TIME`] has passed since `start`.
pub(super) fn even_out(start: Instant) {
    let unit = REFUSAL_TIME.as_nanos().max(1);
    let over = start.elapsed().as_nanos() % unit;
    std::thread::sleep(Duration::from_nanos(u64::try_from(unit - over).unwrap_or(0)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_take_whole_units_of_time() {
        let start = Instant::now();
        for pause_ms in [0, 20] {
            std::thread::sleep(Duration::from_millis(pause_ms));
            let units = start.elapsed().as_nanos() / REFUSAL_TIME.as_nanos();
            even_out(start);
            assert!(start.elapsed().as_nanos() / REFUSAL_TIME.as_nanos() > units, "the next multiple");
        }
    }
}
