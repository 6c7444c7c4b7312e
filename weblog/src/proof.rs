//! What all logins end with: the cell's protection server accepts the token as that user's.
//!
//! Knows nothing of how the token was got. Runs only inside an authenticator.

use crate::kaserver::refusal;
use crate::kaserver::sys::{Afs, Client, Name, RawToken, Security, Servers};
use crate::outcome::{Refusal, Step};
use pag::{Cell, CellServDb};
use weblog_proto::Failure;

/// Port of the protection server (OpenAFS `src/auth/cellconfig.c`, `serviceTable`).
pub(crate) const PTSERVER_PORT: u16 = 7002;
/// Its Rx service id.
pub(crate) const PROTECTION: u16 = 73;
/// The protection server's id for nobody (`ANONYMOUSID`).
const ANONYMOUS: i32 = 32_766;
/// What the protection server says of a new entry that is there already (`PREXIST`).
const EXISTS: i32 = 267_264;
/// Who may see groups and possessions of an entry: anybody (`PRP_MEMBER_ANY`, `PRP_OWNED_ANY`, shifted down).
const MEMBER_ANY: i32 = 0x10;
const OWNED_ANY: i32 = 0x20;

/// Clients whose connections are to be ended after the answer has gone out: that takes time and is of no interest to the visitor.
#[derive(Debug, Default)]
pub struct Leftovers<'a>(Vec<Client<'a>>);

impl<'a> Leftovers<'a> {
    /// One more.
    pub(crate) fn keep(&mut self, client: Client<'a>) {
        self.0.push(client);
    }
}

/// Seconds after which a silent server is given up, and after which a call is, however much it pings.
///
/// Several servers share the time, so that one that is down does not use up all of it. Rx takes at least 6.
pub(crate) fn patience(budget_s: u32, servers: usize) -> (i32, i32) {
    let servers = u32::try_from(servers).unwrap_or(u32::MAX).max(1);
    let dead = (budget_s / servers).clamp(6, 12);
    let hard = budget_s.clamp(dead, 3600);
    (i32::try_from(dead).unwrap_or(12), i32::try_from(hard).unwrap_or(3600))
}

/// The service of these machines that find `cell` in the file: exactly it, since the library would also take unique
/// prefixes and aliases, and ask name servers, which may be silent, for a cell that is not there.
///
/// # Errors
/// [`Failure::CellUnreachable`] if it has no servers there.
pub(crate) fn servers(cells: &CellServDb, cell: &Cell, port: u16) -> Result<Servers, Refusal> {
    /// `KANOCELL`.
    const NO_CELL: i32 = 180_501;
    match cells.servers(cell) {
        [] => Err(refusal(Step::Servers, NO_CELL)),
        machines => Ok(Servers::new(machines, port)),
    }
}

/// Has the protection server of a cell accept the token as `user`, by a call that only he may make. Gives his AFS id.
///
/// # Errors
/// [`Failure::UnknownUser`] if the server knows no such user, [`Failure::NotAccepted`] if it does not take the token as his.
pub(crate) fn prove<'a>(
    afs: &'a Afs,
    cells: &CellServDb,
    cell: &Cell,
    token: &RawToken,
    user: &str,
    budget_s: u32,
    leftovers: &mut Leftovers<'a>,
) -> Result<i32, Refusal> {
    let ptserver = servers(cells, cell, PTSERVER_PORT)?;
    let (dead_s, hard_s) = patience(budget_s, ptserver.len());
    let client = afs
        .connect(&ptserver, PROTECTION, &Security::Rxkad(token), dead_s, hard_s)
        .map_err(|code| refusal(Step::Proof, code))?;
    let proved = ask(&client, user);
    leftovers.keep(client);
    proved
}

/// The calls of [`prove`].
///
/// # Errors
/// As there.
fn ask(client: &Client<'_>, user: &str) -> Result<i32, Refusal> {
    let at_proof = |code| refusal(Step::Proof, code);
    // The protection server's names are lower case.
    let mut name = Name::new(&user.to_ascii_lowercase()).ok_or(Refusal::local(Failure::NotAcceptable))?;
    let id = client.pts_name_to_id(&name).map_err(at_proof)?;
    // Groups have negative ids: nobody logs in as one.
    if id == ANONYMOUS || id <= 0 {
        return Err(Refusal { failure: Failure::UnknownUser, step: Step::Proof, code: 0 });
    }
    if user.contains('@') {
        // Somebody of another realm may make his own entry, and nobody else may; there is one already. All other calls that
        // are not for everybody are refused to him, also those about himself.
        return match client.pts_new_user(&mut name) {
            Ok(_) | Err(EXISTS) => Ok(id),
            Err(code) => Err(at_proof(code)),
        };
    }
    let entry = client.pts_list_entry(id).map_err(at_proof)?;
    let private = Private::of(entry.flags);
    match private {
        Private::Groups => client.pts_get_cps(id),
        Private::Possessions => client.pts_list_owned(id),
        Private::Nothing => client.pts_set_flags(id, entry.flags),
    }
    .map_err(at_proof)?;
    Ok(id)
}

/// What of an entry only its owner may do or see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Private {
    /// See the groups that he is in.
    Groups,
    /// See what he owns.
    Possessions,
    /// Change the entry (to what it is already).
    Nothing,
}

impl Private {
    /// By the privacy bits of the entry.
    fn of(flags: i32) -> Self {
        if flags & MEMBER_ANY == 0 {
            Self::Groups
        } else if flags & OWNED_ANY == 0 {
            Self::Possessions
        } else {
            Self::Nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proof_asks_for_what_is_private() {
        assert_eq!(Private::of(0x80), Private::Groups);
        assert_eq!(Private::of(0x90), Private::Possessions);
        assert_eq!(Private::of(0xb0), Private::Nothing);
        assert_eq!(Private::of(0), Private::Groups);
    }

    #[test]
    fn patience_fits_into_the_budget_where_rx_allows() {
        assert_eq!(patience(10, 1), (10, 10));
        assert_eq!(patience(30, 1), (12, 30));
        assert_eq!(patience(20, 3), (6, 20));
        assert_eq!(patience(2, 1), (6, 6));
        assert_eq!(patience(u32::MAX, 0), (12, 3600));
    }
}
