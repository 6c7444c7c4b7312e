//! What all logins end with: the cell's protection server accepts the token as that user's.
//!
//! Knows nothing of how the token was got. Runs only inside an authenticator.

use crate::kaserver::refusal;
use crate::kaserver::sys::{Afs, Call, Client, Connection, Name, RawToken, Security, Servers};
use crate::outcome::{Refusal, Step};
use crate::protection;
use pag::{Cell, CellServDb};
use std::net::Ipv4Addr;
use std::rc::Rc;
use weblog_proto::Failure;

/// Port of the protection server (OpenAFS `src/auth/cellconfig.c`, `serviceTable`).
pub(crate) const PTSERVER_PORT: u16 = 7002;
/// Its Rx service id.
pub(crate) const PROTECTION: u16 = 73;
/// The protection server's id for nobody (`ANONYMOUSID`).
pub(crate) const ANONYMOUS: i32 = 32_766;
/// What the protection server says of a new entry that is there already (`PREXIST`).
const EXISTS: i32 = 267_264;
/// Who may see groups and possessions of an entry: anybody (`PRP_MEMBER_ANY`, `PRP_OWNED_ANY`, shifted down).
const MEMBER_ANY: i32 = 0x10;
const OWNED_ANY: i32 = 0x20;

/// What is to be ended after the answer has gone out: that takes time and is of no interest to the visitor.
#[derive(Debug, Default)]
pub struct Leftovers<'a> {
    ahead: Option<Ahead<'a>>,
    clients: Vec<Client<'a>>,
    connections: Vec<Rc<Connection<'a>>>,
}

impl<'a> Leftovers<'a> {
    /// One more.
    pub(crate) fn keep(&mut self, client: Client<'a>) {
        self.clients.push(client);
    }
}

/// The question who somebody is, put to a protection server while his password is not proved yet.
///
/// Its answer is nobody's in particular, so it is only a guess, which the proof makes sure of.
#[derive(Debug)]
struct Ahead<'a> {
    machine: Ipv4Addr,
    call: Call<'a>,
}

/// Asks one of the cell's protection servers who `user` is, and does not wait for the answer: [`prove`] does, if it comes to
/// that. By then it is there, so that the proof takes two ways to the server and back instead of four.
pub(crate) fn ask_ahead<'a>(
    afs: &'a Afs,
    cells: &CellServDb,
    cell: &Cell,
    user: &str,
    budget_s: u32,
    leftovers: &mut Leftovers<'a>,
) {
    // Users of other realms are proved in another way.
    if user.contains('@') {
        return;
    }
    let machines = cells.servers(cell);
    let Some(machine) = any_of(machines) else { return };
    let (dead_s, hard_s) = patience(budget_s, machines.len());
    let server = Servers::new(&[machine], PTSERVER_PORT);
    let Some(question) = protection::name_to_id(&user.to_ascii_lowercase()) else { return };
    let asked = afs
        .connect_first(&server, PROTECTION, &Security::Null, dead_s, hard_s)
        .and_then(|connection| connection.begin(&question));
    leftovers.ahead = asked.ok().map(|call| Ahead { machine, call });
}

/// Another one each time, so that all servers have something to do.
fn any_of(machines: &[Ipv4Addr]) -> Option<Ipv4Addr> {
    let mut random = [0; 1];
    // Without randomness it is the first one.
    let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
    let [random] = random;
    machines.get(usize::from(random).checked_rem(machines.len())?).copied()
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
    let at_proof = |code| refusal(Step::Proof, code);
    let mut ptservers = servers(cells, cell, PTSERVER_PORT)?;
    let (dead_s, hard_s) = patience(budget_s, ptservers.len());
    if let Some(Ahead { machine, call }) = leftovers.ahead.take() {
        let server = Servers::new(&[machine], PTSERVER_PORT);
        let connect = || afs.connect_first(&server, PROTECTION, &Security::Rxkad(token), dead_s, hard_s);
        match at_once(call, connect, user, &mut leftovers.connections) {
            Ok(id) => return Ok(id),
            Err(Setback::Refused(code)) => return Err(at_proof(code)),
            // It is not waited for twice.
            Err(Setback::Silent(code)) => {
                let others: Vec<_> = cells.servers(cell).iter().copied().filter(|m| *m != machine).collect();
                if others.is_empty() {
                    return Err(at_proof(code));
                }
                ptservers = Servers::new(&others, PTSERVER_PORT);
            }
            Err(Setback::Unclear) => {}
        }
    }
    let client =
        afs.connect(&ptservers, PROTECTION, &Security::Rxkad(token), dead_s, hard_s).map_err(at_proof)?;
    let proved = one_by_one(&client, user);
    leftovers.keep(client);
    proved
}

/// Why [`at_once`] did not prove it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Setback {
    /// The server takes the token as nobody's, or as somebody else's.
    Refused(i32),
    /// It does not answer.
    Silent(i32),
    /// It has to be looked at more closely, one question after the other.
    Unclear,
}

impl Setback {
    /// By the number that a call has ended with.
    fn of(code: i32) -> Self {
        /// `RX_CALL_DEAD`, `RX_CALL_TIMEOUT`.
        const SILENT: [i32; 2] = [-1, -3];
        if SILENT.contains(&code) {
            Self::Silent(code)
        } else if refusal(Step::Proof, code).failure == Failure::NotAccepted {
            Self::Refused(code)
        } else {
            Self::Unclear
        }
    }
}

/// The calls of [`prove`] where the id is guessed already and the groups are private, as they usually are: the entry and the
/// groups of that id, asked for at the same time under the token. The entry says whether the guess is right.
///
/// # Errors
/// [`Setback`] says how to go on.
fn at_once<'a>(
    ahead: Call<'a>,
    connect: impl FnOnce() -> Result<Rc<Connection<'a>>, i32>,
    user: &str,
    connections: &mut Vec<Rc<Connection<'a>>>,
) -> Result<i32, Setback> {
    let mut answer = [0; protection::ANSWER];
    let id = match ahead.end(&mut answer) {
        Ok(n) => protection::id_of(answer.get(..n).unwrap_or_default()),
        // What is not signed refuses nobody.
        Err(code) => match Setback::of(code) {
            silent @ Setback::Silent(_) => return Err(silent),
            _ => None,
        },
    };
    let id = id.filter(|id| is_user(*id)).ok_or(Setback::Unclear)?;
    let connection = connect().map_err(|_| Setback::Unclear)?;
    connections.push(Rc::clone(&connection));
    let entry = connection.begin(&protection::list_entry(id)).map_err(Setback::of)?;
    let groups = connection.begin(&protection::get_cps(id)).map_err(Setback::of)?;
    let n = entry.end(&mut answer).map_err(Setback::of)?;
    let groups = groups.end(&mut [0; 4]);
    let entry = protection::entry_of(answer.get(..n).unwrap_or_default()).ok_or(Setback::Unclear)?;
    let guessed_right = entry.id == id && entry.name == user.to_ascii_lowercase().as_bytes();
    if !guessed_right || Private::of(entry.flags) != Private::Groups {
        return Err(Setback::Unclear);
    }
    groups.map(|_| id).map_err(Setback::of)
}

/// Whether an id is a user's. Groups have negative ids: nobody logs in as one.
fn is_user(id: i32) -> bool {
    id != ANONYMOUS && id > 0
}

/// The calls of [`prove`], one after the other.
///
/// # Errors
/// As there.
fn one_by_one(client: &Client<'_>, user: &str) -> Result<i32, Refusal> {
    let at_proof = |code| refusal(Step::Proof, code);
    // The protection server's names are lower case.
    let mut name = Name::new(&user.to_ascii_lowercase()).ok_or(Refusal::local(Failure::NotAcceptable))?;
    let id = client.pts_name_to_id(&name).map_err(at_proof)?;
    if !is_user(id) {
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
    match Private::of(entry.flags) {
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
