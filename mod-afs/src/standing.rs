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
#[derive(Debug, Clone)]
pub struct Place {
    /// The PAG that it is in; `None` = not known.
    pag: Option<Pag>,
    /// The request that it is there for; 0 = none.
    owner: usize,
    /// The PAG is one that programs may be left in, and one is to be started there.
    programs: bool,
}

thread_local! {
    /// See [`Place`]. A new thread inherits from its maker, so nothing is known of it.
    static NOW: RefCell<Place> = const { RefCell::new(Place { pag: None, owner: 0, programs: false }) };
}

/// Replaces what is known of this thread; what was known is returned, to be dropped outside the borrow.
fn note(pag: Option<Pag>, owner: usize) -> Place {
    NOW.with(|now| core::mem::replace(&mut *now.borrow_mut(), Place { pag, owner, programs: false }))
}

/// Where this thread is.
fn now() -> Place {
    NOW.with(|now| now.borrow().clone())
}

/// Programs may be started in the PAG with this number, if this thread is in it.
fn let_programs_in(id: u32) {
    NOW.with(|now| {
        let mut now = now.borrow_mut();
        now.programs = now.pag.as_ref().is_some_and(|pag| pag.id() == id);
    });
}

/// May a program be started where this thread is?
fn programs_may_start() -> bool {
    NOW.try_with(|now| now.try_borrow().is_ok_and(|now| now.programs)).unwrap_or(false)
}

/// In a process forked from this thread, which is about to become a program: it stays in the PAG that the thread is in only
/// where that was made ready for it. Whatever else is started, by whichever module, is in none of ours.
///
/// # Errors
/// The kernel's; the program must not be run then.
pub fn program_starts() -> Result<(), Error> {
    if programs_may_start() { Ok(()) } else { pag::leave_all() }
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
        self.take_on(pag, owner)?;
        let_programs_in(pag.id());
        Ok(())
    }

    /// The calling thread starts a program in `pag`, in which it is.
    ///
    /// # Errors
    /// The client's; nothing may be run then.
    pub fn take_on_with_programs(&self, pag: &Pag) -> Result<(), Error> {
        self.client.mark_forkable(pag)?;
        let_programs_in(pag.id());
        Ok(())
    }

    /// Where the calling thread is; it is put back there when that is dropped, whatever it has been meanwhile.
    #[must_use]
    pub fn back(&self) -> Back<'_> {
        Back { standing: self, place: Some(now()) }
    }

    /// The calling thread is where it was; nobody, if that cannot be.
    pub fn put_back(&self, place: Place) {
        let Place { pag: Some(pag), owner, programs } = place else { return self.nobody() };
        if self.take_on(&pag, owner).is_ok() && programs {
            let_programs_in(pag.id());
        }
    }

    /// Calls `f` in `pag`; afterwards the thread is what it was before.
    ///
    /// # Errors
    /// The client's as an errno, or what `f` gives.
    pub fn within<T>(&self, pag: &Pag, f: impl FnOnce() -> Result<T, i32>) -> Result<T, i32> {
        if is_in(pag.id()) {
            return f();
        }
        let _back = self.back();
        self.take_on(pag, now().owner).map_err(|e| e.errno().unwrap_or(libc::EIO))?;
        f()
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
        if owner != 0 && now().owner == owner {
            self.nobody();
        }
    }

    /// Nothing is known of this thread any more: the client was asked for something that moves threads about.
    pub fn forget(&self) {
        drop(note(None, 0));
    }
}

/// Puts the thread back where it was, also after a panic.
#[derive(Debug)]
pub struct Back<'a> {
    /// Whose threads.
    standing: &'a Standing,
    /// Where it was.
    place: Option<Place>,
}

impl Back<'_> {
    /// Leaves the thread where it is now; gives the place to be put back to later.
    #[must_use]
    pub fn later(mut self) -> Option<Place> {
        self.place.take()
    }
}

impl Drop for Back<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.standing.put_back(place);
        }
    }
}
