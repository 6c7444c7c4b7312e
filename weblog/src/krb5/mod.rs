//! The login through libkrb5: a KDC gives tickets for the password, the ticket for the cell's AFS service is the token, and
//! the cell's protection server confirms whose it is.
//!
//! KDCs, realms and whether name servers are asked for them are what `/etc/krb5.conf` says; the cell's servers come from
//! CellServDB. Runs only inside an authenticator. Asks for the password's ticket once: nobody is prompted, no expired
//! password is changed, and after its answer no other KDC is asked.

pub mod des_key;
mod name;
pub mod sys;

use crate::kaserver::sys::{Afs, RawToken};
use crate::logins::{Secret, Way};
use crate::outcome::{Credentials, Refusal, Step, Success};
use crate::proof::{self, Leftovers};
use core::ffi::CStr;
use pag::{CellServDb, Realm, SessionKey, Token};
use std::ffi::CString;
use sys::{KDC_ERRORS, Krb5, Shown, Ticket};
use weblog_proto::Failure;
use zeroize::Zeroizing;

/// What libkrb5 is configured by.
pub const CONFIGURATION: &str = "/etc/krb5.conf";
/// Longest life of a ticket that is asked for: no token lives longer (OpenAFS `src/rxkad/rxkad.p.h`).
const LIFE_MAX_S: u32 = 30 * 24 * 3600;
/// So much a KDC's clock may differ from ours, seconds: what Kerberos takes by default.
const SKEW_S: u32 = 300;
/// What stands for a version of a key where the ticket is a whole one of Kerberos 5 (OpenAFS `src/rx/rxkad.h`).
const KVNO_WHOLE_TICKET: i16 = 256;
/// Errors that ask for another request: a larger reply by TCP, preauthentication, more of it, its beginning anew.
const GO_ON: [u32; 4] =
    [kdc::RESPONSE_TOO_BIG, kdc::PREAUTH_REQUIRED, kdc::MORE_PREAUTH, kdc::PREAUTH_EXPIRED];

/// Logs in. `now_s` is the time, seconds since 1970.
///
/// # Errors
/// [`Refusal`] with the step and the error number.
pub fn login<'a>(
    krb5: &Krb5,
    afs: &'a Afs,
    credentials: &Credentials<'_>,
    way: &Way,
    cells: &CellServDb,
    now_s: u32,
    leftovers: &mut Leftovers<'a>,
) -> Result<Success, Refusal> {
    let who = credentials.who;
    let unfit = Refusal::local(Failure::NotAcceptable);
    // A cell that has no servers could not take the token.
    proof::servers(cells, who.cell(), proof::PTSERVER_PORT)?;
    let cell_realm = match &way.realm {
        Some(realm) => realm.clone(),
        None => realm_of(krb5, who.cell().as_str()).ok_or(unfit)?,
    };
    let realm = who.realm().unwrap_or(&cell_realm);
    let local = Refusal::local(Failure::Internal);
    let principal = |name: String| {
        let name = CString::new(name).map_err(|_| local)?;
        krb5.principal(&name).map_err(|_| unfit)
    };
    let client = principal(format!("{}@{realm}", who.name()))?;

    let life_s = match credentials.lifetime_s {
        0 => LIFE_MAX_S,
        s => s.min(LIFE_MAX_S),
    };
    let life_s = i32::try_from(life_s).map_err(|_| local)?;
    let name = name::afs_name(who.name(), (*realm != cell_realm).then_some(realm));
    proof::ask_ahead(afs, cells, who.cell(), &name, credentials.budget_s, leftovers);
    let file = |path: &str| CString::new(format!("FILE:{path}")).map_err(|_| local);
    let asked = match credentials.secret {
        Secret::Password(password) => {
            let password = secret_text(password.expose());
            let text = CStr::from_bytes_with_nul(&password).map_err(|_| unfit)?;
            krb5.log_in(&client, Shown::Password(text), life_s, &GO_ON)
        }
        Secret::KeyFile(path) => {
            let wrong = |code| Refusal { failure: Failure::KeyFile, step: Step::Keytab, code };
            let keytab = krb5.keytab(&file(path)?).map_err(wrong)?;
            let names = krb5.keytab_principals(&keytab).map_err(wrong)?;
            if !names.contains(&format!("{}@{realm}", who.name())) {
                return Err(wrong(0));
            }
            krb5.log_in(&client, Shown::Key(&keytab), life_s, &GO_ON)
        }
    };
    let login = asked.map_err(|code| refusal(Step::Authenticate, code))?;
    let mut granting = login.ticket;
    let (seen, _, _) = granting.times();
    if seen.abs_diff(now_s) > SKEW_S {
        return Err(Refusal { failure: Failure::ClockSkew, step: Step::Authenticate, code: 0 });
    }

    // A KDC that has answered under our own key has shown enough.
    if let (Some(path), Secret::Password(_)) = (&way.keytab, credentials.secret) {
        let at_keytab = |code| refusal(Step::Keytab, code);
        let keytab = krb5.keytab(&file(path)?).map_err(at_keytab)?;
        let names = krb5.keytab_principals(&keytab).map_err(at_keytab)?;
        let server = verifier(&names, [realm, &cell_realm]).ok_or(at_keytab(0))?;
        let server = principal(server.to_owned())?;
        krb5.verify(&mut granting, &server, &keytab).map_err(at_keytab)?;
    }

    let ticket = service_ticket(
        |service| {
            let service = principal(service)?;
            Ok(krb5.service_ticket(&mut granting, &client, &service))
        },
        who.cell().as_str(),
        &cell_realm,
    )?;
    let token = raw_token(&ticket)?;
    let afs_id = proof::prove(afs, cells, who.cell(), &token, &name, credentials.budget_s, leftovers)?;
    let (_, begin, end) = ticket.times();
    Ok(Success {
        token: Token {
            cell: who.cell().clone(),
            afs_id,
            kvno: i32::from(KVNO_WHOLE_TICKET),
            key: SessionKey(*token.key().expose()),
            begin: begin.into(),
            end: end.into(),
            ticket: Zeroizing::new(ticket.bytes().to_vec()),
        },
        name: name.to_ascii_lowercase(),
        password_expires_days: days_left(login.password_end, now_s),
    })
}

/// The realm of a cell of which the configuration of the server says none: libkrb5's for a host of that name, else the
/// cell's name in upper case.
fn realm_of(krb5: &Krb5, cell: &str) -> Option<Realm> {
    let host = CString::new(cell).ok()?;
    let said = krb5.host_realm(&host).unwrap_or_else(|| cell.to_ascii_uppercase());
    Realm::new(&said).ok()
}

/// A text for the library, with the NUL behind it. It is wiped.
fn secret_text(text: &[u8]) -> Zeroizing<Vec<u8>> {
    // Room for all of it at once: a buffer that grows would leave a copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len().saturating_add(1)));
    bytes.extend_from_slice(text);
    bytes.push(0);
    bytes
}

/// The principal of a keytab that a ticket is verified by: one of the user's realm, else of the cell's, else any.
fn verifier<'n>(names: &'n [String], realms: [&Realm; 2]) -> Option<&'n str> {
    let of = |realm: &Realm| {
        names.iter().find(|name| name.rsplit_once('@').is_some_and(|(_, r)| r == realm.as_str()))
    };
    realms.into_iter().find_map(of).or(names.first()).map(String::as_str)
}

/// The ticket for a cell's AFS service: `afs/cell`, else the older name `afs` where the realm is called as the cell.
///
/// # Errors
/// The last one's.
fn service_ticket<T>(
    mut get: impl FnMut(String) -> Result<Result<T, i32>, Refusal>,
    cell: &str,
    realm: &Realm,
) -> Result<T, Refusal> {
    let unknown = KDC_ERRORS.saturating_add_unsigned(kdc::S_PRINCIPAL_UNKNOWN);
    let mut got = get(format!("afs/{cell}@{realm}"))?;
    if matches!(got, Err(code) if code == unknown) && realm.as_str() == cell.to_ascii_uppercase() {
        got = get(format!("afs@{realm}"))?;
    }
    got.map_err(|code| refusal(Step::GetToken, code))
}

/// The token that a ticket makes.
///
/// # Errors
/// It makes none.
fn raw_token(ticket: &Ticket<'_>) -> Result<RawToken, Refusal> {
    let at = |failure| Refusal { failure, step: Step::GetToken, code: 0 };
    let bytes = ticket.bytes();
    if bytes.len() > Token::TICKET_MAX {
        return Err(at(Failure::TicketTooLong));
    }
    if bytes.len() < Token::TICKET_MIN {
        return Err(at(Failure::NotAccepted));
    }
    let (enctype, key) = ticket.key();
    let key =
        des_key::derive(enctype, key).ok_or(Refusal { code: enctype, ..at(Failure::EnctypeRefused) })?;
    RawToken::new(KVNO_WHOLE_TICKET, *key, bytes).ok_or(at(Failure::TicketTooLong))
}

/// Whole days until the password ends, 254 at most; nothing if it never does.
fn days_left(end_s: u32, now_s: u32) -> Option<u8> {
    let days = end_s.saturating_sub(now_s) / 86_400;
    (end_s != 0).then(|| u8::try_from(days).unwrap_or(u8::MAX).min(254))
}

/// A refusal by the library or a KDC. A KDC's errors have their own numbers (RFC 4120, 7.5.9), the library's its own.
fn refusal(step: Step, code: i32) -> Refusal {
    let number = code.wrapping_sub(KDC_ERRORS);
    let of_kdc = u32::try_from(number).ok().filter(|n| *n < 128);
    let failure = of_kdc.map_or_else(|| by_library(step, code), |error| by_kdc(step, error));
    Refusal { failure, step, code: if of_kdc.is_some() { number } else { code } }
}

/// THE table, first part: what a KDC's error means for the visitor, at which step.
fn by_kdc(step: Step, error: u32) -> Failure {
    use Failure as F;
    match (step, error) {
        (Step::Keytab, _) => F::KeytabCheck,
        (_, kdc::SKEW | kdc::TKT_NYV) => F::ClockSkew,
        (_, kdc::ETYPE_NOSUPP) => F::EnctypeRefused,
        // None of these is signed, but refusing is safe.
        (Step::Authenticate, kdc::C_PRINCIPAL_UNKNOWN | kdc::WRONG_REALM) => F::UnknownUser,
        (Step::Authenticate, kdc::PREAUTH_FAILED | kdc::BAD_INTEGRITY) => F::WrongPassword,
        (Step::Authenticate, kdc::KEY_EXP) => F::PasswordExpired,
        (Step::Authenticate, kdc::CLIENT_REVOKED | kdc::POLICY | kdc::CLIENT_NOTYET | kdc::NULL_KEY) => {
            F::Locked
        }
        (Step::Authenticate, kdc::NAME_EXP) => F::AccountExpired,
        (Step::Authenticate, kdc::PREAUTH_REQUIRED | kdc::MORE_PREAUTH | kdc::PREAUTH_EXPIRED) => {
            F::PreauthFailed
        }
        (Step::GetToken, kdc::S_PRINCIPAL_UNKNOWN) => F::NoAfsPrincipal,
        (_, kdc::SVC_UNAVAILABLE) => F::CellUnreachable,
        // It does not give a ticket for what it has let in just now.
        (Step::GetToken, _) => F::NotAccepted,
        _ => F::Internal,
    }
}

/// THE table, second part: what the library says where no KDC does.
fn by_library(step: Step, code: i32) -> Failure {
    use Failure as F;
    match (step, code) {
        (Step::Keytab, _) => F::KeytabCheck,
        (_, library::REALM_UNKNOWN) => F::NoKdc,
        (_, library::KDC_UNREACH | library::REALM_CANT_RESOLVE) => F::CellUnreachable,
        (_, library::KDCREP_SKEW) => F::ClockSkew,
        (_, library::PROG_ETYPE_NOSUPP | library::CONFIG_ETYPE_NOSUPP | library::BAD_ENCTYPE) => {
            F::EnctypeRefused
        }
        // It wants what only a prompt or a device could give.
        (
            Step::Authenticate,
            library::PREAUTH_FAILED
            | library::PREAUTH_BAD_TYPE
            | library::CANTREADPWD
            | library::PWDINTR
            | library::GET_IN_TKT_LOOP,
        ) => F::PreauthFailed,
        // An answer that is not one to what was asked.
        (_, library::KDCREP_MODIFIED) => F::NotAccepted,
        _ => F::Internal,
    }
}

/// Errors of KDCs (RFC 4120, 7.5.9; RFC 6113; RFC 6806).
mod kdc {
    pub(super) const NAME_EXP: u32 = 1;
    pub(super) const C_PRINCIPAL_UNKNOWN: u32 = 6;
    pub(super) const S_PRINCIPAL_UNKNOWN: u32 = 7;
    pub(super) const NULL_KEY: u32 = 9;
    pub(super) const POLICY: u32 = 12;
    pub(super) const ETYPE_NOSUPP: u32 = 14;
    pub(super) const CLIENT_REVOKED: u32 = 18;
    pub(super) const CLIENT_NOTYET: u32 = 21;
    pub(super) const KEY_EXP: u32 = 23;
    pub(super) const PREAUTH_FAILED: u32 = 24;
    pub(super) const PREAUTH_REQUIRED: u32 = 25;
    pub(super) const SVC_UNAVAILABLE: u32 = 29;
    pub(super) const BAD_INTEGRITY: u32 = 31;
    pub(super) const TKT_NYV: u32 = 33;
    pub(super) const SKEW: u32 = 37;
    pub(super) const RESPONSE_TOO_BIG: u32 = 52;
    pub(super) const WRONG_REALM: u32 = 68;
    pub(super) const PREAUTH_EXPIRED: u32 = 90;
    pub(super) const MORE_PREAUTH: u32 = 91;
}

/// Errors of the library (MIT Kerberos, `krb5.h`).
mod library {
    pub(super) const CANTREADPWD: i32 = -1_765_328_254;
    pub(super) const PWDINTR: i32 = -1_765_328_252;
    pub(super) const KDCREP_MODIFIED: i32 = -1_765_328_237;
    pub(super) const KDCREP_SKEW: i32 = -1_765_328_236;
    pub(super) const PROG_ETYPE_NOSUPP: i32 = -1_765_328_234;
    pub(super) const REALM_UNKNOWN: i32 = -1_765_328_230;
    pub(super) const KDC_UNREACH: i32 = -1_765_328_228;
    pub(super) const BAD_ENCTYPE: i32 = -1_765_328_196;
    pub(super) const PREAUTH_BAD_TYPE: i32 = -1_765_328_176;
    pub(super) const PREAUTH_FAILED: i32 = -1_765_328_174;
    pub(super) const REALM_CANT_RESOLVE: i32 = -1_765_328_164;
    pub(super) const GET_IN_TKT_LOOP: i32 = -1_765_328_161;
    pub(super) const CONFIG_ETYPE_NOSUPP: i32 = -1_765_328_147;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_means_something_definite() {
        use Failure as F;
        use Step::{Authenticate as A, GetToken as G, Keytab as K};
        for (step, number, want) in [
            (A, 1, F::AccountExpired),
            (A, 6, F::UnknownUser),
            (A, 7, F::Internal),
            (A, 12, F::Locked),
            (A, 14, F::EnctypeRefused),
            (A, 18, F::Locked),
            (A, 23, F::PasswordExpired),
            (A, 24, F::WrongPassword),
            (A, 25, F::PreauthFailed),
            (A, 31, F::WrongPassword),
            (A, 37, F::ClockSkew),
            (A, 60, F::Internal),
            (A, 68, F::UnknownUser),
            (G, 6, F::NotAccepted),
            (G, 7, F::NoAfsPrincipal),
            (G, 14, F::EnctypeRefused),
            (G, 24, F::NotAccepted),
            (G, 37, F::ClockSkew),
            (K, 7, F::KeytabCheck),
            (K, 37, F::KeytabCheck),
        ] {
            let refusal = refusal(step, KDC_ERRORS + number);
            assert_eq!((refusal.failure, refusal.code), (want, number), "{step:?} {number}");
        }
        for (step, code, want) in [
            (A, library::REALM_UNKNOWN, F::NoKdc),
            (A, library::KDC_UNREACH, F::CellUnreachable),
            (G, library::KDC_UNREACH, F::CellUnreachable),
            (A, library::PREAUTH_FAILED, F::PreauthFailed),
            (G, library::PREAUTH_FAILED, F::Internal),
            (A, library::KDCREP_SKEW, F::ClockSkew),
            (K, library::KDC_UNREACH, F::KeytabCheck),
            (A, 12, F::Internal),
            (A, i32::MIN, F::Internal),
            (A, i32::MAX, F::Internal),
        ] {
            let refusal = refusal(step, code);
            assert_eq!((refusal.failure, refusal.code), (want, code), "{step:?} {code}");
        }
    }

    #[test]
    fn nothing_behind_the_first_step_is_a_matter_of_the_password() {
        use weblog_proto::reply::FailureClass;
        for step in [Step::Keytab, Step::GetToken] {
            for number in -400..400 {
                let failure = refusal(step, KDC_ERRORS.wrapping_add(number)).failure;
                assert_eq!(failure.class(), FailureClass::Unavailable, "{step:?} {number}");
            }
        }
    }

    #[test]
    fn the_older_service_name_is_tried_where_the_realm_is_called_as_the_cell() {
        let check = |realm: &str, first: Result<(), i32>| {
            let mut asked = Vec::new();
            let got = service_ticket(
                |name| {
                    asked.push(name);
                    Ok(if asked.len() == 1 { first } else { Ok(()) })
                },
                "cell.example",
                &Realm::new(realm).unwrap(),
            );
            (asked.join(" "), got.map_err(|r| r.failure))
        };
        let unknown = Err(KDC_ERRORS + 7);
        assert_eq!(check("R.EXAMPLE", Ok(())), ("afs/cell.example@R.EXAMPLE".to_owned(), Ok(())));
        let both = "afs/cell.example@CELL.EXAMPLE afs@CELL.EXAMPLE".to_owned();
        assert_eq!(check("CELL.EXAMPLE", unknown), (both, Ok(())));
        let one = "afs/cell.example@R.EXAMPLE".to_owned();
        assert_eq!(check("R.EXAMPLE", unknown), (one, Err(Failure::NoAfsPrincipal)));
        let one = "afs/cell.example@CELL.EXAMPLE".to_owned();
        assert_eq!(check("CELL.EXAMPLE", Err(library::KDC_UNREACH)), (one, Err(Failure::CellUnreachable)));
    }

    #[test]
    fn a_key_of_the_user_s_realm_verifies_best() {
        let names = ["HTTP/w@A.EXAMPLE", "host/w@B.EXAMPLE"].map(str::to_owned);
        let realm = |name: &str| Realm::new(name).unwrap();
        let (a, b, c) = (realm("A.EXAMPLE"), realm("B.EXAMPLE"), realm("C.EXAMPLE"));
        assert_eq!(verifier(&names, [&b, &a]), Some("host/w@B.EXAMPLE"));
        assert_eq!(verifier(&names, [&c, &b]), Some("host/w@B.EXAMPLE"));
        assert_eq!(verifier(&names, [&c, &c]), Some("HTTP/w@A.EXAMPLE"));
        assert_eq!(verifier(&[], [&a, &b]), None);
    }

    #[test]
    fn days_are_whole_and_never_is_none() {
        assert_eq!(days_left(0, 100), None);
        assert_eq!(days_left(100 + 3 * 86_400 - 1, 100), Some(2));
        assert_eq!(days_left(50, 100), Some(0));
        assert_eq!(days_left(u32::MAX, 100), Some(254));
    }
}
