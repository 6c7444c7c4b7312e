//! What a worker thread may ask of an AFS client.
//!
//! One PAG per visitor and child, plus one anonymous PAG that never gets a token.
//! A worker is in the anonymous PAG unless it holds a [`PagScope`].

use crate::meter::PagCells;
use crate::userspace::Rights;
use crate::{Error, Token};
use core::fmt;
use core::marker::PhantomData;
use std::sync::Arc;

/// The AFS clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientKind {
    /// OpenAFS kernel module.
    OpenAfs,
    /// Linux kAFS.
    Kafs,
    /// OpenAFS's user-space client, libuafs.
    Userspace,
}

impl fmt::Display for ClientKind {
    /// As it is written in the configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenAfs => "openafs",
            Self::Kafs => "kafs",
            Self::Userspace => "userspace",
        })
    }
}

/// A PAG of this process. It ends (its tokens are dropped) when the last clone goes.
#[derive(Clone)]
pub struct Pag(Arc<PagInner>);

struct PagInner {
    id: u32,
    client: Arc<dyn AfsClient>,
}

impl Pag {
    /// For implementations of [`AfsClient`]: wraps a PAG that was just made.
    #[must_use]
    pub fn adopt(id: u32, client: Arc<dyn AfsClient>) -> Self {
        Self(Arc::new(PagInner { id, client }))
    }

    /// The client's number for it; never used twice in one process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id
    }

    /// Puts the calling thread into this PAG until the scope is dropped (also by a panic), then into the anonymous one.
    ///
    /// # Errors
    /// The client's; the thread is in the anonymous PAG then.
    pub fn enter(&self) -> Result<PagScope<'_>, Error> {
        self.0.client.enter(self.0.id)?;
        Ok(PagScope { pag: self, here: PhantomData })
    }

    /// The client whose PAG it is.
    #[must_use]
    pub fn client(&self) -> &Arc<dyn AfsClient> {
        &self.0.client
    }

    /// Gives this PAG a token, which replaces the one that it has for that cell. A PAG never gets a second visitor's.
    ///
    /// # Errors
    /// The client's.
    pub fn set_token(&self, token: &Token) -> Result<(), Error> {
        self.0.client.set_token(self.0.id, token)
    }
}

impl fmt::Debug for Pag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pag({:#x})", self.0.id)
    }
}

impl Drop for PagInner {
    fn drop(&mut self) {
        self.client.end(self.id);
    }
}

/// The calling thread is in a PAG for as long as this lives. Not `Send`: a PAG belongs to the thread.
///
/// Scopes do not nest: the end of any scope puts the thread into the anonymous PAG.
pub struct PagScope<'a> {
    pag: &'a Pag,
    here: PhantomData<*const ()>,
}

impl PagScope<'_> {
    /// The PAG.
    #[must_use]
    pub fn pag(&self) -> &Pag {
        self.pag
    }

    /// Ends the scope without leaving the PAG: where one callback of httpd enters it and another leaves.
    ///
    /// The caller keeps a clone of the [`Pag`], and has the same thread call [`AfsClient::leave`].
    pub fn stay(self) {
        // Nothing in it owns anything: without its end, nothing is left behind but the thread's PAG.
        let _ = core::mem::ManuallyDrop::new(self);
    }
}

impl fmt::Debug for PagScope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PagScope({:?})", self.pag)
    }
}

impl Drop for PagScope<'_> {
    fn drop(&mut self) {
        self.pag.0.client.leave();
    }
}

/// What an AFS client offers to the threads of one process. Numbers are PAG ids of this client.
///
/// Implemented by each client; used through [`Pag`] and [`PagScope`].
pub trait AfsClient: Send + Sync {
    /// Which one it is.
    fn kind(&self) -> ClientKind;

    /// Makes a PAG without a token; the calling thread's own PAG does not change.
    ///
    /// # Errors
    /// The client's.
    fn new_pag(self: Arc<Self>) -> Result<Pag, Error>;

    /// Puts the calling thread into a PAG and makes sure that it is there.
    ///
    /// # Errors
    /// The client's, or [`Error::WrongPag`]; the thread is then in the anonymous PAG.
    fn enter(&self, pag: u32) -> Result<(), Error>;

    /// Puts the calling thread into the anonymous PAG. A client that cannot ends the process: the next request must not run.
    fn leave(&self);

    /// Sets a token in a PAG; the calling thread is in the anonymous PAG afterwards.
    ///
    /// # Errors
    /// The client's.
    fn set_token(&self, pag: u32, token: &Token) -> Result<(), Error>;

    /// Drops the tokens of a PAG that nobody uses any more.
    fn end(&self, pag: u32);

    /// Shows there how many PAGs it has, from now on. To be called once, before there are visitors.
    fn show_pags(&self, cells: PagCells);
}

/// What the kernel clients offer besides: PAGs of threads that the kernel knows, so that plain file calls use them.
///
/// Both make their PAGs as root, before the process gives its uid up, each as a session keyring with an unguessable
/// name that threads join and leave: see docs/architecture.md.
pub trait KernelClient: AfsClient {
    /// The PAG of those who are nobody. It never gets a token and never ends.
    fn anonymous(&self) -> &Pag;

    /// Makes sure that the calling thread is in a PAG, by what the kernel says.
    ///
    /// # Errors
    /// [`Error::WrongPag`] if it is not; the client's.
    fn verify(&self, pag: &Pag) -> Result<(), Error>;

    /// To be called before anything is run inside a PAG that could leave a process behind: the PAG is then never given
    /// to anybody else, and its tokens cannot be replaced with kAFS.
    ///
    /// # Errors
    /// The client's; nothing may be run then.
    fn mark_forkable(&self, pag: &Pag) -> Result<(), Error>;

    /// Drops the tokens of a PAG, which goes on as one without.
    ///
    /// # Errors
    /// The client's.
    fn drop_tokens(&self, pag: &Pag) -> Result<(), Error>;

    /// The cell that a path lies in, looked up as the calling thread.
    ///
    /// # Errors
    /// `EINVAL` (OpenAFS) or `EOPNOTSUPP` (kAFS) for a path outside AFS; what stat(2) gives.
    fn cell_of(&self, path: &[u8]) -> Result<crate::Cell, Error>;

    /// Whether the calling thread has these rights in a directory; `None` where the client cannot be asked (kAFS).
    ///
    /// # Errors
    /// What stat(2) gives; `EINVAL` outside AFS.
    fn has_rights(&self, path: &[u8], rights: Rights) -> Result<Option<bool>, Error>;

    /// Which file or directory a path leads to: a number of its volume, and one of it in that. The same for two paths if and
    /// only if they lead to the same.
    ///
    /// # Errors
    /// What stat(2) gives; `EINVAL` (OpenAFS) outside AFS.
    fn id_of(&self, path: &[u8]) -> Result<(u64, u64), Error>;

    /// How many bytes still fit into the volume that a path is in. Asks its server.
    ///
    /// # Errors
    /// What stat(2) gives; `EINVAL` (OpenAFS) outside AFS; the server's.
    fn room(&self, path: &[u8]) -> Result<u64, Error>;

    /// How many PAGs there are.
    fn counters(&self) -> Counters;
}

/// PAGs of a process, without the anonymous one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Made when it started.
    pub made: usize,
    /// Visitors'.
    pub in_use: usize,
    /// Ended, but a process that was started in it may still run: never given out again.
    pub tainted: usize,
    /// For visitors to come.
    pub free: usize,
}
