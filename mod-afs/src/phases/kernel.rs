//! A request where the AFS client is in the kernel: the worker is its visitor while it is served, and httpd's own modules
//! list directories and run programs as him. Where we serve the files ourselves, nothing here does anything.

use super::programs::{exec_is_nobodys, may_start, may_start_programs, run_as_nobody, would_run};
use super::settle::settled;
use super::{afs_says, refuse};
use crate::answer::Answer;
use crate::broker::Logins;
use crate::child::child;
use crate::content::Afs;
use crate::httpd::{FileKind, Request, Status};
use crate::message;
use crate::standing::Standing;

/// What threads of this child are to its client, if that is in the kernel.
pub(super) fn standing() -> Option<&'static Standing> {
    child()?.afs.as_ref()?.standing()
}

/// The calling thread serves nobody.
pub(super) fn be_nobody() {
    if let Some(standing) = standing() {
        standing.nobody();
    }
}

/// The calling thread serves nobody, if it has served `r` until now.
pub(super) fn be_nobody_after(r: &Request<'_>) {
    if let Some(standing) = standing() {
        standing.nobody_after(r.initial_number());
    }
}

/// Who the calling thread serves is not known any more, and asked for when it matters.
pub(super) fn forget() {
    if let Some(standing) = standing() {
        standing.forget();
    }
}

/// With a client in the kernel: this thread is the visitor of `r` from now on, whatever it was meanwhile.
///
/// # Errors
/// 503 if the kernel does not confirm it.
pub(super) fn stand(r: &mut Request<'_>) -> Result<(), Status> {
    let Some(afs) = child().and_then(|child| child.afs.as_ref()) else { return Ok(()) };
    let (Some(standing), Some(settled)) = (afs.standing(), settled(r)) else { return Ok(()) };
    standing.take_on_surely(afs.pag(&settled.who), r.initial_number()).map_err(|e| {
        if let (Some(holder), Some(logins)) = (settled.who.holder(), child().and_then(|c| c.logins.as_ref()))
        {
            logins.forget(holder);
        }
        r.log(message::NOT_ITS_VISITOR, &format!("this worker cannot be its visitor: {e}"));
        refuse(r, Answer::Unavailable, "no-pag", None)
    })?;
    if settled.who.holder().is_some() {
        // So that this thread is nobody again at the end of the answer, whoever gives it: under HTTP/2 the request itself
        // ends in another thread.
        r.read_in_own_thread();
    }
    Ok(())
}

/// A phase of a sub-request that is looked up. Its parent goes on behind it without a word to us, and may start a program:
/// so the thread is then what it was, and nobody else's in between.
pub(super) fn looked_up<T>(r: &mut Request<'_>, phase: impl FnOnce(&mut Request<'_>) -> T) -> T {
    let standing = if r.main().is_some() { standing() } else { None };
    let _back = standing.map(Standing::back);
    phase(r)
}

/// The answer to a sub-request: if another module gives it, as whom `answer` made of the thread, then until its end.
pub(super) fn answered_in_part(
    r: &mut Request<'_>,
    answer: impl FnOnce(&mut Request<'_>) -> Status,
) -> Status {
    let standing = if r.main().is_some() { standing() } else { None };
    let Some(standing) = standing else { return answer(r) };
    let back = standing.back();
    let status = answer(r);
    if status == Status::DECLINED
        && let Some(place) = back.later()
    {
        r.at_end_of_part(move || standing.put_back(place));
    }
    status
}

/// With a client in the kernel, before another module answers `r`, which may start a program: that will stay in the PAG that it is started in.
///
/// A visitor's PAG is never given to another visitor after that. Programs of nobody get a PAG of their own, since a
/// program can put a token into the PAG that it is in, and nobody's must never get one; so do those that have nothing to do
/// with AFS. What is started without this is in no PAG of ours ([`crate::standing::program_starts`]).
///
/// # Errors
/// The status instead of which nothing is run.
pub(super) fn stand_for_program(r: &mut Request<'_>) -> Result<(), Status> {
    let Some(standing) = standing() else { return Ok(()) };
    let Some(settled) = settled(r) else {
        // A file that a link leads to is not its parent's, either.
        if r.main().is_some() {
            standing.nobody();
        }
        // What cannot be had for it, it does not need.
        if may_start_programs(r) {
            let _ = run_for_nobody(standing, r.initial_number());
        }
        return Ok(());
    };
    let Some(what) = would_run(r).filter(|_| may_start(r)) else { return Ok(()) };
    let ready = match settled.who.holder() {
        Some(holder) => {
            holder.keep_pag();
            standing.take_on_with_programs(&holder.pag)
        }
        None => run_for_nobody(standing, r.initial_number()),
    };
    ready.map_err(|e| {
        crate::tally::count_refused(&e);
        r.log(message::PROGRAM_NOT_RUN, &format!("{what} is not run: {e}"));
        refuse(r, Answer::Unavailable, "no-pag", None)
    })
}

/// As [`Standing::take_on_for_programs`]; the first time, a visitor who is away may have to give his PAG for that.
///
/// # Errors
/// The client's.
fn run_for_nobody(standing: &Standing, owner: usize) -> Result<(), pag::Error> {
    loop {
        match standing.take_on_for_programs(owner) {
            Err(pag::Error::NoPagLeft)
                if child().and_then(|child| child.logins.as_ref()).is_some_and(Logins::free_a_pag) => {}
            done => return done,
        }
    }
}

/// What httpd's own modules answer where the client is in the kernel: listings, and what runs. `None`: we serve it.
pub(super) fn left_to_others(r: &mut Request<'_>, afs: &Afs, name: &[u8]) -> Option<Result<Status, Status>> {
    let who = settled(r)?.who;
    let runs = would_run(r);
    if let Some(what) = run_as_nobody(r) {
        let text = format!("{what} does not run here: mod_cgid runs programs as nobody, use mod_cgi");
        r.log(message::RUNS_AS_NOBODY, &text);
        return Some(Err(refuse(r, Answer::Forbidden, "handler", None)));
    }
    if exec_is_nobodys(r) {
        r.forbid_exec();
    }
    if let Err(status) = stand_for_program(r) {
        return Some(Err(status));
    }
    let listed = r.file_kind() == FileKind::Directory && r.options().indexes && r.is_get_or_head();
    if runs.is_none() && !listed {
        return None;
    }
    if r.file_kind() == FileKind::Directory {
        if runs.is_none() {
            // Not between our look and theirs: whoever asks decides how long his body takes.
            let body = r.discard_body();
            if body != Status::OK {
                return Some(Err(body));
            }
        }
        if let Err(errno) = afs.list(&who, name) {
            // httpd would make 403 of it.
            return Some(Err(afs_says(r, errno)));
        }
    }
    r.read_in_own_thread();
    // The filter for what is included reads files as they come: ours come in memory.
    if runs.as_deref() == Some("includes") { None } else { Some(Ok(Status::DECLINED)) }
}
