//! The login through libafsauthent: kaserver gives a token, the cell's protection server confirms whose it is.
//!
//! Knows only the cells of CellServDB, by the addresses there; asks no name server.
//! Runs only inside an authenticator. Asks the cell exactly once per password: a second attempt with another key would
//! count as another failure there.

pub mod srvtab;
pub mod sys;

use crate::logins::Secret;
use crate::outcome::{Credentials, Refusal, Step, Success};
use crate::proof::{self, Leftovers, PTSERVER_PORT, patience, servers};
use pag::{CellServDb, Principal, SessionKey, Token};
use sys::{Afs, Name, RawToken, Security, Servers};
use weblog_proto::Failure;
use zeroize::Zeroizing;

/// Port (OpenAFS `src/auth/cellconfig.c`, `serviceTable`).
const KASERVER_PORT: u16 = 7004;
/// Rx service ids.
const AUTHENTICATE: u16 = 731;
const TICKETS: u16 = 732;
/// Longest life of a ticket (OpenAFS `src/rxkad/rxkad.p.h`, `MAXKTCTICKETLIFETIME`).
const LIFE_MAX_S: u32 = 30 * 24 * 3600;
/// What kaserver says for a password that never expires.
const NEVER_EXPIRES: i32 = 255;

/// Does once what takes long the first time, so that the visitor does not wait for it: touches the pages of DES and
/// crypt(3), makes connections of both kinds and ends them unused. Nothing is sent to anybody.
pub fn warm_up(afs: &Afs, cells: &CellServDb) {
    let Some(cell) = cells.cells().next() else { return };
    drop(afs.string_to_key(b"warm", cell.as_str()));
    drop(afs.string_to_key(b"warm and long", cell.as_str()));
    let (Ok(kaserver), Ok(ptserver)) =
        (servers(cells, cell, KASERVER_PORT), servers(cells, cell, PTSERVER_PORT))
    else {
        return;
    };
    let (dead_s, hard_s) = patience(0, 1);
    drop(afs.connect(&kaserver, AUTHENTICATE, &Security::Null, dead_s, hard_s));
    if let Some(token) = RawToken::new(0, [0; 8], &[0; Token::TICKET_MIN]) {
        drop(afs.connect(&ptserver, proof::PROTECTION, &Security::Rxkad(&token), dead_s, hard_s));
    }
}

/// Logs in. `now_s` is the time, seconds since 1970.
///
/// # Errors
/// [`Refusal`] with the step and the error number.
pub fn login<'a>(
    afs: &'a Afs,
    credentials: &Credentials<'_>,
    cells: &CellServDb,
    now_s: u32,
    leftovers: &mut Leftovers<'a>,
) -> Result<Success, Refusal> {
    let who = credentials.who;
    let cell = who.cell().as_str();
    let (name, instance) = who.name_and_instance();
    let unfit = Refusal::local(Failure::NotAcceptable);
    let mut c_name = Name::new(name).ok_or(unfit)?;
    let mut c_instance = Name::new(instance).ok_or(unfit)?;
    let mut c_cell = Name::new(cell).ok_or(unfit)?;
    // A second spelling of the same user would have guesses of its own.
    if name.contains('/') || instance.contains('/') || who.realm().is_some() {
        return Err(unfit);
    }
    let kaserver = servers(cells, who.cell(), KASERVER_PORT)?;
    proof::ask_ahead(afs, cells, who.cell(), who.name(), credentials.budget_s, leftovers);
    let mut key = match credentials.secret {
        Secret::Password(password) => afs.string_to_key(password.expose(), cell).ok_or(unfit)?,
        Secret::KeyFile(path) => {
            let wrong = |code| Refusal { failure: Failure::KeyFile, step: Step::Local, code };
            let bytes = srvtab::read(path).map_err(wrong)?;
            srvtab::find(&bytes, name, instance, cell).ok_or(wrong(0))?
        }
    };

    let (dead_s, hard_s) = patience(credentials.budget_s, kaserver.len());
    let connect = |servers: &Servers, service, security: &Security<'_>, step| {
        afs.connect(servers, service, security, dead_s, hard_s).map_err(|code| refusal(step, code))
    };

    let life_s = match credentials.lifetime_s {
        0 => LIFE_MAX_S,
        s => s.min(LIFE_MAX_S),
    };
    let end = now_s.saturating_add(life_s);
    let client = connect(&kaserver, AUTHENTICATE, &Security::Null, Step::Authenticate)?;
    let asked = client.authenticate(&mut c_name, &mut c_instance, &mut c_cell, &mut key, now_s, end);
    leftovers.keep(client);
    drop(key);
    let (mut tgt, days) = asked.map_err(|code| refusal(Step::Authenticate, code))?;

    let client = connect(&kaserver, TICKETS, &Security::Null, Step::GetToken)?;
    let asked = client.get_token(&mut c_name, &mut c_instance, &mut c_cell, &mut tgt, now_s, end);
    leftovers.keep(client);
    let token = asked.map_err(|code| refusal(Step::GetToken, code))?;

    let afs_id = proof::prove(afs, cells, who.cell(), &token, who.name(), credentials.budget_s, leftovers)?;
    success(who, &token, afs_id, days)
}

/// The token as we hand it on.
///
/// # Errors
/// [`Failure::NotAccepted`] if its ticket has an impossible length.
fn success(who: &Principal, raw: &RawToken, afs_id: i32, days: i32) -> Result<Success, Refusal> {
    let ticket = raw
        .ticket()
        .filter(|t| (Token::TICKET_MIN..=Token::TICKET_MAX).contains(&t.len()))
        .ok_or(Refusal { failure: Failure::NotAccepted, step: Step::GetToken, code: 0 })?;
    let (begin, end) = raw.times();
    Ok(Success {
        token: Token {
            cell: who.cell().clone(),
            afs_id,
            kvno: i32::from(raw.kvno()),
            key: SessionKey(*raw.key().expose()),
            begin,
            end,
            ticket: Zeroizing::new(ticket.to_vec()),
        },
        name: who.name().to_ascii_lowercase(),
        password_expires_days: (days != NEVER_EXPIRES).then(|| u8::try_from(days).ok()).flatten(),
    })
}

/// A refusal by the library or a server.
pub(crate) fn refusal(step: Step, code: i32) -> Refusal {
    Refusal { failure: classify(step, code), step, code }
}

/// THE table: what an error number means for the visitor, at which step.
///
/// Numbers: OpenAFS `src/kauth/kaerrors.et`, `src/rxkad/rxkad_errs.et`, `src/ubik/uerrors.et`, `src/ptserver/pterror.et`, `src/rx/rx.h`.
fn classify(step: Step, code: i32) -> Failure {
    use Failure as F;
    match (step, code) {
        // What the kaserver says about user and password. It is not signed, but refusing is safe.
        (Step::Authenticate, ka::NO_ENTRY) => F::UnknownUser,
        (Step::Authenticate, ka::BAD_REQUEST) => F::WrongPassword,
        (Step::Authenticate, ka::BAD_NAME | ka::NULL_PASSWORD | ka::BAD_KEY) => F::NotAcceptable,
        (Step::Authenticate | Step::GetToken, ka::LOCKED | ka::BAD_USER) => F::Locked,
        (Step::Authenticate | Step::GetToken, ka::PASSWORD_EXPIRED) => F::PasswordExpired,
        (Step::Authenticate | Step::GetToken, ka::CLOCK_SKEW) => F::ClockSkew,
        // An answer that fails the library's checks: not the cell's, or a broken server.
        (Step::Authenticate | Step::GetToken, ka::BAD_PROTOCOL) => F::NotAccepted,
        // The kaserver does not know its own `afs` or takes the ticket back that it has just given.
        (
            Step::GetToken,
            ka::NO_ENTRY
            | ka::BAD_SERVER
            | ka::BAD_TICKET
            | ka::UNKNOWN_KEY
            | ka::NO_TICKET
            | ka::BAD_REQUEST
            | ka::BAD_KEY,
        ) => F::NotAccepted,
        (_, ka::UBIK_INIT | ka::UBIK_CALL | ka::RX_FAIL | ka::NO_CELLS | ka::NO_CELL) => F::CellUnreachable,
        (_, ka::INCONSISTENT | ka::IO | ka::EMPTY) => F::CellUnreachable,
        (_, ka::BASE..=ka::LAST) => F::Internal,
        // The protection server does not take the ticket, or takes it as somebody else's.
        (_, rxkad::BASE..=rxkad::LAST) => F::NotAccepted,
        (Step::Proof, pts::PERMISSION_DENIED) => F::NotAccepted,
        (Step::Proof, pts::NO_ENTRY) => F::UnknownUser,
        (Step::Proof | Step::Group, pts::BASE..=pts::LAST) => F::CellUnreachable,
        // No servers, no quorum, a database that is being copied.
        (_, ubik::BASE..=ubik::LAST) => F::CellUnreachable,
        (Step::Servers, _) => F::CellUnreachable,
        // Rx: a peer that is dead (-1), does not know the service (-2), restarts, or breaks its protocol.
        (_, rx::LAST..=-1) => F::CellUnreachable,
        // Numbers of the server's rxgen: it does not speak as we do.
        (_, -460..=-450) => F::NotAccepted,
        _ => F::Internal,
    }
}

/// Numbers of kauth.
mod ka {
    pub(super) const BASE: i32 = 180_480;
    pub(super) const INCONSISTENT: i32 = 180_480;
    pub(super) const IO: i32 = 180_482;
    pub(super) const NO_ENTRY: i32 = 180_484;
    pub(super) const EMPTY: i32 = 180_485;
    pub(super) const BAD_NAME: i32 = 180_486;
    pub(super) const BAD_REQUEST: i32 = 180_490;
    pub(super) const BAD_KEY: i32 = 180_496;
    pub(super) const UBIK_INIT: i32 = 180_497;
    pub(super) const UBIK_CALL: i32 = 180_498;
    pub(super) const BAD_PROTOCOL: i32 = 180_499;
    pub(super) const NO_CELLS: i32 = 180_500;
    pub(super) const NO_CELL: i32 = 180_501;
    pub(super) const BAD_TICKET: i32 = 180_504;
    pub(super) const UNKNOWN_KEY: i32 = 180_505;
    pub(super) const BAD_SERVER: i32 = 180_507;
    pub(super) const BAD_USER: i32 = 180_508;
    pub(super) const NO_TICKET: i32 = 180_511;
    pub(super) const CLOCK_SKEW: i32 = 180_514;
    pub(super) const RX_FAIL: i32 = 180_516;
    pub(super) const NULL_PASSWORD: i32 = 180_517;
    pub(super) const PASSWORD_EXPIRED: i32 = 180_519;
    pub(super) const LOCKED: i32 = 180_522;
    pub(super) const LAST: i32 = BASE + 255;
}

/// Numbers of rxkad.
mod rxkad {
    pub(super) const BASE: i32 = 19_270_400;
    pub(super) const LAST: i32 = BASE + 255;
}

/// Numbers of the protection server.
mod pts {
    pub(super) const BASE: i32 = 267_264;
    pub(super) const NO_ENTRY: i32 = 267_268;
    pub(super) const PERMISSION_DENIED: i32 = 267_269;
    pub(super) const LAST: i32 = BASE + 255;
}

/// Numbers of ubik.
mod ubik {
    pub(super) const BASE: i32 = 5_376;
    pub(super) const LAST: i32 = BASE + 255;
}

/// Numbers of rx: negative, -1 to -20 or so.
mod rx {
    pub(super) const LAST: i32 = -100;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d21_every_number_means_something_definite() {
        use Failure as F;
        use Step::{Authenticate as A, GetToken as G, Proof as P, Servers as S};
        for (step, code, want) in [
            (A, 180_484, F::UnknownUser),
            (A, 180_486, F::NotAcceptable),
            (A, 180_490, F::WrongPassword),
            (A, 180_491, F::Internal),
            (A, 180_492, F::Internal),
            (A, 180_496, F::NotAcceptable),
            (A, 180_497, F::CellUnreachable),
            (A, 180_498, F::CellUnreachable),
            (A, 180_499, F::NotAccepted),
            (A, 180_500, F::CellUnreachable),
            (A, 180_501, F::CellUnreachable),
            (A, 180_508, F::Locked),
            (A, 180_514, F::ClockSkew),
            (A, 180_516, F::CellUnreachable),
            (A, 180_517, F::NotAcceptable),
            (A, 180_518, F::Internal),
            (A, 180_519, F::PasswordExpired),
            (A, 180_522, F::Locked),
            (G, 180_484, F::NotAccepted),
            (G, 180_490, F::NotAccepted),
            (G, 180_499, F::NotAccepted),
            (G, 180_507, F::NotAccepted),
            (G, 180_498, F::CellUnreachable),
            (G, 180_514, F::ClockSkew),
            (P, 19_270_405, F::NotAccepted),
            (P, 19_270_407, F::NotAccepted),
            (P, 19_270_408, F::NotAccepted),
            (P, 19_270_409, F::NotAccepted),
            (P, 267_269, F::NotAccepted),
            (P, 267_268, F::UnknownUser),
            (P, 267_267, F::CellUnreachable),
            (P, 5_389, F::CellUnreachable),
            (P, -1, F::CellUnreachable),
            (P, -3, F::CellUnreachable),
            (P, -455, F::NotAccepted),
            (S, 70_354_689, F::CellUnreachable),
            (P, 42, F::Internal),
            (A, i32::MIN, F::Internal),
        ] {
            assert_eq!(classify(step, code), want, "{step:?} {code}");
        }
    }

    #[test]
    fn nothing_at_the_proof_is_a_matter_of_the_password() {
        for code in (-500..=0)
            .chain(5_376..5_632)
            .chain(180_480..180_736)
            .chain(267_264..267_520)
            .chain(19_270_400..19_270_656)
        {
            let failure = classify(Step::Proof, code);
            assert!(
                !matches!(failure, Failure::WrongPassword | Failure::Locked | Failure::PasswordExpired),
                "{code}"
            );
        }
    }
}
