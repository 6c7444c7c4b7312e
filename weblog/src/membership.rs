//! Whether somebody is in a group, as his cell's protection server says to himself.
//!
//! Knows nothing of how the token was got. Runs only inside an authenticator.

use crate::kaserver::refusal;
use crate::kaserver::sys::{Afs, Name, RawToken, Security};
use crate::outcome::{Refusal, Step};
use crate::proof::{ANONYMOUS, Leftovers, PROTECTION, PTSERVER_PORT, patience, servers};
use pag::{CellServDb, Token};
use weblog_proto::{Failure, Membership};

/// What the protection server says of an entry that is not there, and to who may not ask (`PRNOENT`, `PRPERM`).
const NO_ENTRY: i32 = 267_268;
const PERMISSION_DENIED: i32 = 267_269;
/// And where the one is no user, or the other no group (`PRNOTGROUP`, `PRBADARG`).
const NOT_GROUP: i32 = 267_270;
const BAD_ARGUMENT: i32 = 267_273;

/// Asks the protection servers of the token's cell, one after the other until one answers.
///
/// Groups that are in groups count as the server counts them.
///
/// # Errors
/// [`Refusal`] if no server answers, or none takes the token.
pub fn ask<'a>(
    afs: &'a Afs,
    cells: &CellServDb,
    token: &Token,
    group: &str,
    budget_s: u32,
    leftovers: &mut Leftovers<'a>,
) -> Result<Membership, Refusal> {
    let at_group = |code| refusal(Step::Group, code);
    let unfit = Refusal::local(Failure::Internal);
    let servers = servers(cells, &token.cell, PTSERVER_PORT)?;
    let kvno = i16::try_from(token.kvno).map_err(|_| unfit)?;
    let raw = RawToken::new(kvno, token.key.0, &token.ticket).ok_or(unfit)?;
    let name = Name::new(group).ok_or(unfit)?;
    let (dead_s, hard_s) = patience(budget_s, servers.len());
    let client =
        afs.connect(&servers, PROTECTION, &Security::Rxkad(&raw), dead_s, hard_s).map_err(at_group)?;
    let asked = client.pts_name_to_id(&name).and_then(|id| match id {
        ANONYMOUS => Ok(None),
        id => client.pts_is_member(token.afs_id, id).map(Some),
    });
    leftovers.keep(client);
    match asked {
        Ok(Some(true)) => Ok(Membership::Yes),
        Ok(Some(false)) => Ok(Membership::No),
        Ok(None) | Err(NO_ENTRY | NOT_GROUP | BAD_ARGUMENT) => Ok(Membership::NoSuchGroup),
        Err(PERMISSION_DENIED) => Ok(Membership::Hidden),
        Err(code) => Err(at_group(code)),
    }
}
