//! Tokens that are sealed with a cell's own key, without asking anybody.

use crate::world;
use anyhow::{Context as _, Result};
use kaserver::mint_token;
use pag::{Cell, SessionKey, Token};
use std::time::{SystemTime, UNIX_EPOCH};

/// Ten hours.
const LIFE_S: u32 = 36_000;

/// A token for `user`, as the cell's kaserver would give it.
///
/// # Errors
/// The cell's description is no good.
pub fn sealed(cell: &world::Cell, user: &str) -> Result<Token> {
    let key: kaserver::Key = cell.key_hex.parse().context("key of the cell")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let begin = u32::try_from(now)?.saturating_sub(60);
    let t = mint_token(user, "", begin, LIFE_S, &key, i32::from(cell.kvno)).context("token")?;
    Ok(Token {
        cell: Cell::new(&cell.name)?,
        afs_id: 1,
        kvno: t.kvno,
        key: SessionKey(t.session_key),
        begin: t.begin.into(),
        end: t.end.into(),
        ticket: t.ticket.clone().into(),
    })
}
