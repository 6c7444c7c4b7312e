//! What may go to a cell or come from it.

use crate::clock::Now;
use crate::config::Settings;
use crate::outcome::{Outcome, Refusal, Success};
use pag::{Cell, Principal, Realm, Token};
use weblog_proto::{Failure, GetToken, Method};

/// Whether this may be asked of a cell at all, and for whom. Workers have checked it too; they are not believed.
///
/// # Errors
/// The failure to answer with.
pub(super) fn check(settings: &Settings, get: &GetToken) -> Result<Principal, Failure> {
    let cell = Cell::new(&get.cell).map_err(|_| Failure::CellNotAllowed)?;
    let its = settings.cells.get(&cell).ok_or(Failure::CellNotAllowed)?;
    let mut who = Principal::new(&get.user, cell).map_err(|_| Failure::NotAcceptable)?;
    if let Some(name) = &get.realm {
        let realm = Realm::new(name).ok().filter(|realm| settings.realms.contains(realm));
        let realm = realm.ok_or(Failure::CellNotAllowed)?;
        // Who names the cell's own realm is the same user, and has no guesses more for it.
        if its.realm.as_ref() != Some(&realm) {
            who = who.of_realm(realm);
        }
    }
    // A kaserver knows nobody of a realm, and instances behind a dot only. Not the cell's name: after that a worker asks
    // again.
    if its.method == Method::Kaserver && (who.realm().is_some() || who.name().contains('/')) {
        return Err(Failure::NotAcceptable);
    }
    let password = get.password.expose();
    if password.is_empty() || password.len() > weblog_proto::Password::MAX || password.contains(&0) {
        return Err(Failure::NotAcceptable);
    }
    Ok(who)
}

/// Takes a success only if its token is what was asked for and still good.
///
/// # Errors
/// [`Failure::NotAccepted`] if not.
pub(super) fn plausible(success: Success, who: &Principal, now: Now) -> Outcome {
    let token = &success.token;
    let ticket_fits = (Token::TICKET_MIN..=Token::TICKET_MAX).contains(&token.ticket.len());
    if token.cell == *who.cell() && token.lifetime_s(now.unix_s) > 0 && ticket_fits {
        Ok(success)
    } else {
        Err(Refusal::local(Failure::NotAccepted))
    }
}
