//! A client without AFS, for tests of identity logic: PAGs per thread, tokens, access lists per path, error cases.
//!
//! ```
//! # #[cfg(feature = "fake")] {
//! use pag::{AfsClient as _, fake::Fake};
//! let afs = Fake::start();
//! afs.put(b"/afs/c.example/alice", b"hers", &["alice@c.example"]);
//! let pag = afs.clone().new_pag().unwrap();
//! let scope = pag.enter().unwrap();
//! assert!(afs.read(&scope, b"/afs/c.example/alice").is_err());
//! # }
//! ```
//! Who a token stands for is what [`Fake::token`] wrote into its ticket; other tickets stand for nobody, as those that
//! a cell did not seal. The client keeps count of what a fault in its user would leave behind ([`Fake::live_pags`]).

use crate::client::{AfsClient, ClientKind, Counters, KernelClient, Pag, PagScope};
use crate::meter::{Meter, PagCells};
use crate::userspace::Rights;
use crate::{Cell, Error, Principal, SessionKey, Token};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, ThreadId};
use zeroize::Zeroizing;

/// First PAG number.
const PAG_FIRST: u32 = 0x4100_0001;
/// Marks tickets of this client.
const MAGIC: &[u8] = b"fake ticket, good in no real cell: ";

/// A file.
#[derive(Debug, Clone)]
struct Entry {
    /// What it holds.
    contents: Vec<u8>,
    /// Who may read it; `*`: everybody.
    readers: Vec<String>,
}

/// All state.
#[derive(Debug, Default)]
struct State {
    /// Numbers given out.
    made: u32,
    /// Holders of tokens, by PAG and cell.
    pags: HashMap<u32, BTreeMap<Cell, String>>,
    /// Where each thread is; none: in the anonymous PAG.
    threads: HashMap<ThreadId, u32>,
    /// Files.
    files: HashMap<Vec<u8>, Entry>,
    /// Calls that fail from now on, with their errno.
    failing: HashMap<Call, i32>,
    /// How often each call was made.
    calls: HashMap<Call, u32>,
    /// PAGs that something may have been started in.
    forkable: HashSet<u32>,
    /// How many of them have ended.
    tainted: usize,
    /// Most PAGs, the tainted ones included; 0: any number.
    most: usize,
    /// What everybody may do in each directory; `None`: not to be found out, as with kAFS.
    rights: Option<Rights>,
    /// How many bytes fit in; `None`: any number.
    room: Option<u64>,
}

/// Calls that can be made to fail, and are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// `new_pag`
    NewPag,
    /// `enter`
    Enter,
    /// `set_token`
    SetToken,
    /// `read`
    Read,
}

/// The client.
#[derive(Debug, Default)]
pub struct Fake {
    /// State.
    state: Mutex<State>,
    /// The anonymous PAG.
    anonymous: OnceLock<Pag>,
    /// Where the number of PAGs is shown.
    meter: Meter,
}

impl Fake {
    /// A client without files.
    #[must_use]
    pub fn start() -> Arc<Self> {
        let client = Arc::new(Self::default());
        if let Ok(pag) = client.clone().new_pag() {
            let _ = client.anonymous.set(pag);
        }
        client
    }

    /// Has at most so many PAGs from now on, as the kernel's clients have.
    pub fn limit(&self, pags: usize) {
        self.state().most = pags;
    }

    /// What the client says of rights in directories from now on; `None`: it cannot be asked.
    pub fn say_rights(&self, rights: Option<Rights>) {
        self.state().rights = rights;
    }

    /// How many bytes fit in from now on; `None`: any number.
    pub fn say_room(&self, bytes: Option<u64>) {
        self.state().room = bytes;
    }

    /// State; whole between any two statements that could panic.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, and fails if it shall.
    ///
    /// # Errors
    /// The errno that [`Fake::fail`] set.
    fn count(state: &mut State, call: Call, name: &'static str) -> Result<(), Error> {
        *state.calls.entry(call).or_default() += 1;
        match state.failing.get(&call) {
            Some(errno) => Err(Error::Errno { call: name, errno: *errno }),
            None => Ok(()),
        }
    }

    /// The anonymous PAG.
    #[must_use]
    pub fn anonymous(&self) -> Option<&Pag> {
        self.anonymous.get()
    }

    /// Puts a file there that `readers` (`user@cell`, or `*` for everybody) may read.
    pub fn put(&self, path: &[u8], contents: &[u8], readers: &[&str]) {
        let readers = readers.iter().map(|r| (*r).to_owned()).collect();
        self.state().files.insert(path.to_vec(), Entry { contents: contents.to_vec(), readers });
    }

    /// Makes a call fail with an errno from now on; `None`: no longer.
    pub fn fail(&self, call: Call, errno: Option<i32>) {
        let mut s = self.state();
        match errno {
            Some(e) => s.failing.insert(call, e),
            None => s.failing.remove(&call),
        };
    }

    /// How often a call was made.
    #[must_use]
    pub fn calls(&self, call: Call) -> u32 {
        self.state().calls.get(&call).copied().unwrap_or(0)
    }

    /// PAGs that have not ended, without the anonymous one.
    #[must_use]
    pub fn live_pags(&self) -> usize {
        self.state().pags.len().saturating_sub(1)
    }

    /// Threads that are in another PAG than the anonymous one.
    #[must_use]
    pub fn threads_inside(&self) -> usize {
        self.state().threads.len()
    }

    /// The PAG of the calling thread, as the client sees it; `None`: the anonymous one.
    #[must_use]
    pub fn current(&self) -> Option<u32> {
        self.state().threads.get(&thread::current().id()).copied()
    }

    /// A token that this client takes for `who`'s.
    #[must_use]
    pub fn token(who: &Principal, begin: i64, end: i64) -> Token {
        let ticket = [MAGIC, who.to_string().as_bytes()].concat();
        Token {
            cell: who.cell().clone(),
            afs_id: 1,
            kvno: 0,
            key: SessionKey([1; 8]),
            begin,
            end,
            ticket: Zeroizing::new(ticket),
        }
    }

    /// Reads a file as whoever the calling thread is by its PAG.
    ///
    /// # Errors
    /// `ENOENT`, `EACCES`, what [`Fake::fail`] set; [`Error::WrongPag`] if the thread is not in the scope's PAG.
    pub fn read(&self, scope: &PagScope<'_>, path: &[u8]) -> Result<Vec<u8>, Error> {
        let anonymous = self.anonymous.get().map(Pag::id);
        let mut s = self.state();
        Self::count(&mut s, Call::Read, "read")?;
        let here = s.threads.get(&thread::current().id()).copied().or(anonymous);
        if here != Some(scope.pag().id()) {
            return Err(Error::WrongPag);
        }
        let no = |errno| Error::Errno { call: "read", errno };
        let file = s.files.get(path).ok_or_else(|| no(libc::ENOENT))?;
        let mine = here.and_then(|p| s.pags.get(&p));
        let may =
            |r: &String| r == "*" || mine.is_some_and(|t| t.values().any(|who| !who.is_empty() && who == r));
        if file.readers.iter().any(may) { Ok(file.contents.clone()) } else { Err(no(libc::EACCES)) }
    }
}

impl AfsClient for Fake {
    fn kind(&self) -> ClientKind {
        ClientKind::Userspace
    }

    fn new_pag(self: Arc<Self>) -> Result<Pag, Error> {
        let id = {
            let mut s = self.state();
            Self::count(&mut s, Call::NewPag, "new PAG")?;
            // The anonymous one does not count.
            if s.most != 0 && self.anonymous.get().is_some() && s.pags.len() - 1 + s.tainted >= s.most {
                return Err(Error::NoPagLeft);
            }
            let id = PAG_FIRST + s.made;
            s.made += 1;
            s.pags.insert(id, BTreeMap::new());
            self.meter.taken();
            id
        };
        Ok(Pag::adopt(id, self))
    }

    fn enter(&self, pag: u32) -> Result<(), Error> {
        let anonymous = self.anonymous.get().map(Pag::id);
        let mut s = self.state();
        s.threads.remove(&thread::current().id());
        Self::count(&mut s, Call::Enter, "enter")?;
        if !s.pags.contains_key(&pag) {
            return Err(Error::Errno { call: "enter", errno: libc::ESRCH });
        }
        if anonymous != Some(pag) {
            s.threads.insert(thread::current().id(), pag);
        }
        Ok(())
    }

    fn leave(&self) {
        self.state().threads.remove(&thread::current().id());
    }

    fn set_token(&self, pag: u32, token: &Token) -> Result<(), Error> {
        if self.anonymous.get().is_some_and(|a| a.id() == pag) {
            return Err(Error::BadValue("a token for the anonymous PAG"));
        }
        let mut s = self.state();
        Self::count(&mut s, Call::SetToken, "set token")?;
        let tokens = s.pags.get_mut(&pag).ok_or(Error::Errno { call: "set token", errno: libc::ESRCH })?;
        let who =
            token.ticket.strip_prefix(MAGIC).and_then(|w| core::str::from_utf8(w).ok()).unwrap_or_default();
        tokens.insert(token.cell.clone(), who.to_owned());
        Ok(())
    }

    fn end(&self, pag: u32) {
        let mut s = self.state();
        s.pags.remove(&pag);
        self.meter.ended();
        if s.forkable.remove(&pag) {
            s.tainted += 1;
            self.meter.tainted();
        }
    }

    fn show_pags(&self, cells: PagCells) {
        self.meter.show(cells, KernelClient::counters(self));
    }
}

impl KernelClient for Fake {
    fn anonymous(&self) -> &Pag {
        // `start` has set it before it gives the client out.
        self.anonymous.get().unwrap_or_else(|| std::process::abort())
    }

    fn verify(&self, pag: &Pag) -> Result<(), Error> {
        let here = self.current().or(self.anonymous.get().map(Pag::id));
        if here == Some(pag.id()) { Ok(()) } else { Err(Error::WrongPag) }
    }

    fn mark_forkable(&self, pag: &Pag) -> Result<(), Error> {
        if self.anonymous.get().map(Pag::id) != Some(pag.id()) {
            self.state().forkable.insert(pag.id());
        }
        Ok(())
    }

    fn drop_tokens(&self, pag: &Pag) -> Result<(), Error> {
        let mut s = self.state();
        let tokens = s.pags.get_mut(&pag.id());
        tokens.ok_or(Error::Errno { call: "drop tokens", errno: libc::ESRCH })?.clear();
        Ok(())
    }

    /// The first component below `/afs`, without the dot of a read-write path.
    fn cell_of(&self, path: &[u8]) -> Result<Cell, Error> {
        let outside = Error::Errno { call: "cell of a path", errno: libc::EINVAL };
        let below = path.strip_prefix(b"/afs/").ok_or(outside)?;
        let name = below.split(|b| *b == b'/').next().unwrap_or_default();
        crate::detect::cell_from(name.strip_prefix(b".").unwrap_or(name))
    }

    fn has_rights(&self, _path: &[u8], rights: Rights) -> Result<Option<bool>, Error> {
        Ok(self.state().rights.map(|all| all.has(rights)))
    }

    /// The first two components below `/afs`, and all of it.
    fn id_of(&self, path: &[u8]) -> Result<(u64, u64), Error> {
        let number = |sum: u64, b: &u8| sum.wrapping_mul(31).wrapping_add(u64::from(*b));
        let two = path.split(|b| *b == b'/').skip(2).take(2).flatten();
        Ok((two.fold(0, number), path.iter().fold(0, number)))
    }

    fn room(&self, _path: &[u8]) -> Result<u64, Error> {
        Ok(self.state().room.unwrap_or(u64::MAX))
    }

    fn counters(&self) -> Counters {
        let s = self.state();
        let in_use = s.pags.len().saturating_sub(1);
        let free = s.most.saturating_sub(in_use + s.tainted);
        Counters { made: s.most, in_use, tainted: s.tainted, free }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::{AtomicU64, Ordering};

    fn who(name: &str) -> Principal {
        Principal::new(name, Cell::new("c.example").unwrap()).unwrap()
    }

    fn pag(afs: &Arc<Fake>, name: &str) -> Pag {
        let pag = afs.clone().new_pag().unwrap();
        pag.set_token(&Fake::token(&who(name), 0, 100)).unwrap();
        pag
    }

    #[test]
    fn a_file_is_read_by_those_on_its_list_only() {
        let afs = Fake::start();
        afs.put(b"/a", b"alice's", &["alice@c.example"]);
        afs.put(b"/p", b"public", &["*"]);
        for (pag, a) in [(pag(&afs, "alice"), Ok(b"alice's".to_vec())), (pag(&afs, "bob"), Err(libc::EACCES))]
        {
            let scope = pag.enter().unwrap();
            assert_eq!(afs.read(&scope, b"/a").map_err(|e| e.errno().unwrap()), a);
            assert_eq!(afs.read(&scope, b"/p").unwrap(), b"public");
            assert_eq!(afs.read(&scope, b"/none").unwrap_err().errno(), Some(libc::ENOENT));
        }
        assert_eq!(afs.live_pags(), 0);
    }

    #[test]
    fn a_thread_leaves_its_pag_at_the_end_of_the_scope_and_by_a_panic() {
        let afs = Fake::start();
        let alice = pag(&afs, "alice");
        let scope = alice.enter().unwrap();
        assert_eq!(afs.current(), Some(alice.id()));
        drop(scope);
        assert_eq!(afs.current(), None);
        let gone = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _scope = alice.enter().unwrap();
            panic!("in a request");
        }));
        assert!(gone.is_err());
        assert_eq!((afs.current(), afs.threads_inside()), (None, 0));
    }

    #[test]
    fn as_a_kernel_client_it_has_so_many_pags_and_no_more() {
        let fake = Fake::start();
        fake.limit(2);
        let afs: Arc<dyn KernelClient> = fake.clone();
        let (a, b) = (afs.clone().new_pag().unwrap(), afs.clone().new_pag().unwrap());
        assert_eq!(afs.clone().new_pag().map(drop), Err(Error::NoPagLeft));
        afs.mark_forkable(&a).unwrap();
        b.enter().unwrap().stay();
        assert_eq!((afs.verify(&b), afs.verify(afs.anonymous())), (Ok(()), Err(Error::WrongPag)));
        afs.leave();
        assert_eq!(afs.verify(afs.anonymous()), Ok(()));
        drop((a, b));
        assert_eq!(afs.counters(), Counters { made: 2, in_use: 0, tainted: 1, free: 1 });
        assert_eq!(afs.cell_of(b"/afs/.c.example/x").unwrap().as_str(), "c.example");
        assert_eq!(afs.cell_of(b"/etc").unwrap_err().errno(), Some(libc::EINVAL));
    }

    #[test]
    fn what_it_shows_of_its_pags_is_what_it_has() {
        let cell = || &*Box::leak(Box::new(AtomicU64::new(9)));
        let cells = PagCells { made: cell(), in_use: cell(), tainted: cell() };
        let shown = || [cells.made, cells.in_use, cells.tainted].map(|c| c.load(Ordering::Relaxed));
        let fake = Fake::start();
        fake.limit(2);
        fake.show_pags(cells);
        assert_eq!(shown(), [2, 0, 0]);
        let (a, b) = (fake.clone().new_pag().unwrap(), fake.clone().new_pag().unwrap());
        assert!(fake.clone().new_pag().is_err());
        assert_eq!(shown(), [2, 2, 0]);
        fake.mark_forkable(&a).unwrap();
        drop(a);
        assert_eq!(shown(), [2, 1, 1]);
        drop(b);
        assert_eq!(shown(), [2, 0, 1]);
    }

    #[test]
    fn threads_do_not_share_a_pag_by_chance() {
        let afs = Fake::start();
        afs.put(b"/a", b"x", &["alice@c.example"]);
        let alice = pag(&afs, "alice");
        let _scope = alice.enter().unwrap();
        std::thread::scope(|s| {
            s.spawn(|| {
                assert_eq!(afs.current(), None);
                let nobody = afs.anonymous().unwrap().enter().unwrap();
                assert_eq!(afs.read(&nobody, b"/a").unwrap_err().errno(), Some(libc::EACCES));
            });
        });
    }

    #[test]
    fn after_a_failed_enter_the_thread_is_nobody() {
        let afs = Fake::start();
        let (alice, bob) = (pag(&afs, "alice"), pag(&afs, "bob"));
        let _scope = alice.enter().unwrap();
        afs.fail(Call::Enter, Some(libc::EIO));
        assert!(bob.enter().is_err());
        assert_eq!(afs.current(), None);
    }

    #[test]
    fn foreign_tickets_and_the_anonymous_pag_stand_for_nobody() {
        let afs = Fake::start();
        afs.put(b"/a", b"x", &["alice@c.example", ""]);
        let mut token = Fake::token(&who("alice"), 0, 1);
        token.ticket[0] ^= 1;
        let pag = afs.clone().new_pag().unwrap();
        pag.set_token(&token).unwrap();
        let anonymous = afs.anonymous().unwrap();
        assert!(anonymous.set_token(&Fake::token(&who("alice"), 0, 1)).is_err());
        let scope = pag.enter().unwrap();
        assert_eq!(afs.read(&scope, b"/a").unwrap_err().errno(), Some(libc::EACCES));
    }
}
