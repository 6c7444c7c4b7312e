//! Who the calling thread is to an AFS client in the kernel, which looks at threads and not at requests.
//!
//! A worker takes a visitor's PAG on when the identity of its request is settled, and is nobody again when the request
//! has been served; whatever httpd or one of its modules does to files in between is done as that visitor. What a thread
//! is, is known to that thread alone: another one, which may run a request's clean-ups, cannot change it.

use core::cell::RefCell;
use core::fmt;
use pag::{Error, KernelClient, Pag};
use std::sync::{Arc, OnceLock};

/// What this thread is.
struct Now {
    /// The PAG that it is in; `None` = not known.
    pag: Option<Pag>,
    /// The request that it is there for; 0 = none.
    owner: usize,
}

thread_local! {
    /// See [`Now`]. A new thread inherits from its maker, so nothing is known of it.
    static NOW: RefCell<Now> = const { RefCell::new(Now { pag: None, owner: 0 }) };
}

/// Replaces what is known of this thread; what was known is returned, to be dropped outside the borrow.
fn note(pag: Option<Pag>, owner: usize) -> Now {
    NOW.with(|now| core::mem::replace(&mut *now.borrow_mut(), Now { pag, owner }))
}

/// The PAG that this thread is in and the request that it is there for.
fn now() -> (Option<Pag>, usize) {
    NOW.with(|now| {
        let now = now.borrow();
        (now.pag.clone(), now.owner)
    })
}

/// Is this thread in the PAG with this number?
fn is_in(id: u32) -> bool {
    NOW.with(|now| now.borrow().pag.as_ref().is_some_and(|pag| pag.id() == id))
}

/// The client in the kernel, with what its threads are.
#[derive(Clone)]
pub struct Standing {
    /// It.
    client: Arc<dyn KernelClient>,
    /// Where programs run that are started for nobody; made when the first one is.
    programs: Arc<OnceLock<Pag>>,
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Standing({:?})", self.client.kind())
    }
}

impl Standing {
    /// Of this client.
    #[must_use]
    pub fn new(client: Arc<dyn KernelClient>) -> Self {
        Self { client, programs: Arc::default() }
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &Arc<dyn KernelClient> {
        &self.client
    }

    /// The calling thread is in `pag` from now on, for the request `owner`, and the kernel has confirmed it.
    ///
    /// # Errors
    /// The client's; the thread is nobody then.
    pub fn take_on(&self, pag: &Pag, owner: usize) -> Result<(), Error> {
        if is_in(pag.id()) {
            drop(note(Some(pag.clone()), owner));
            return Ok(());
        }
        let before = note(None, 0);
        let entered = pag.enter().map(pag::PagScope::stay);
        drop(match entered {
            Ok(()) => note(Some(pag.clone()), owner),
            // The client has seen to it that the thread is in the anonymous PAG.
            Err(_) => note(Some(self.client.anonymous().clone()), 0),
        });
        drop(before);
        entered
    }

    /// As [`Standing::take_on`], and asks the kernel also where the thread should be there already.
    ///
    /// # Errors
    /// The client's; the thread is nobody then.
    pub fn take_on_surely(&self, pag: &Pag, owner: usize) -> Result<(), Error> {
        if is_in(pag.id()) && self.client.verify(pag).is_err() {
            self.forget();
        }
        self.take_on(pag, owner)
    }

    /// The calling thread is where programs of nobody run, for the request `owner`: a PAG without a token.
    ///
    /// One that ran before may have put a token there; it is dropped.
    ///
    /// # Errors
    /// The client's; the thread is nobody then.
    pub fn take_on_for_programs(&self, owner: usize) -> Result<(), Error> {
        let pag = match self.programs.get() {
            Some(pag) => pag,
            None => {
                let pag = Arc::clone(&self.client).new_pag()?;
                self.client.mark_forkable(&pag)?;
                // Of two threads that made one, one gives its own back.
                self.programs.get_or_init(|| pag)
            }
        };
        self.client.drop_tokens(pag)?;
        self.take_on(pag, owner)
    }

    /// Calls `f` in `pag`; afterwards the thread is what it was before.
    ///
    /// # Errors
    /// The client's as an errno, or what `f` gives.
    pub fn within<T>(&self, pag: &Pag, f: impl FnOnce() -> Result<T, i32>) -> Result<T, i32> {
        if is_in(pag.id()) {
            return f();
        }
        let (before, owner) = now();
        let back = Back { standing: self, before, owner };
        self.take_on(pag, owner).map_err(|e| e.errno().unwrap_or(libc::EIO))?;
        let result = f();
        drop(back);
        result
    }

    /// The thread is nobody from now on. Costs nothing if it is already.
    pub fn nobody(&self) {
        let anonymous = self.client.anonymous();
        let before = note(None, 0);
        if before.pag.as_ref().is_none_or(|pag| pag.id() != anonymous.id()) {
            self.client.leave();
        }
        drop(note(Some(anonymous.clone()), 0));
        drop(before);
    }

    /// As [`Standing::nobody`], if the thread is what it is for the request `owner`.
    pub fn nobody_after(&self, owner: usize) {
        if owner != 0 && now().1 == owner {
            self.nobody();
        }
    }

    /// Nothing is known of this thread any more: the client was asked for something that moves threads about.
    pub fn forget(&self) {
        drop(note(None, 0));
    }
}

/// Puts the thread back where it was, also after a panic.
struct Back<'a> {
    /// Whose threads.
    standing: &'a Standing,
    /// The PAG that it was in.
    before: Option<Pag>,
    /// The request that it was there for.
    owner: usize,
}

impl Drop for Back<'_> {
    fn drop(&mut self) {
        match &self.before {
            // Without it the thread would be nobody, which is never too much.
            Some(pag) => drop(self.standing.take_on(pag, self.owner)),
            None => self.standing.nobody(),
        }
    }
}
