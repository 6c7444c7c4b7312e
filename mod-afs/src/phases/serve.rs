//! The answer to a request for a file or directory in AFS that no module of httpd's gives.

use super::programs::would_run;
use super::settle::{Settled, settled};
use super::{afs_says, refuse};
use crate::answer::Answer;
use crate::content::{self, Afs, Who};
use crate::httpd::{FileKind, Method, Part, Request, Status};
use crate::message;

/// Answers for a file or directory in AFS.
///
/// # Errors
/// The status of what is not served.
pub(super) fn serve(r: &mut Request<'_>, afs: &'static Afs, name: &[u8]) -> Result<Status, Status> {
    let Some(Settled { who, .. }) = settled(r) else { return Err(Status::FORBIDDEN) };
    r.allow_get();
    let body = r.discard_body();
    if body != Status::OK {
        return Err(body);
    }
    match r.method_kind() {
        Method::Get => {}
        Method::Options => return Ok(r.send_options()),
        Method::Unknown => return Err(refuse(r, Answer::Unknown, "method", None)),
        Method::Other => {
            let word = if crate::dav::changes(r.method().to_bytes()) {
                r.log(
                    message::NOT_WRITTEN_HERE,
                    "nothing is written here: `Dav afs` in this location would allow it",
                );
                "not-written"
            } else {
                let method = r.method().to_string_lossy().into_owned();
                r.log(message::CHANGES_NOTHING, &format!("{method} changes nothing in AFS"));
                "method"
            };
            return Err(refuse(r, Answer::NotAllowed, word, None));
        }
    }
    match r.file_kind() {
        FileKind::Plain => {}
        FileKind::None => return Err(Status::NOT_FOUND),
        FileKind::Directory if r.options().indexes && would_run(r).is_none() => {
            return crate::listing::send(r, afs, &who, name).unwrap_or_else(|errno| Err(afs_says(r, errno)));
        }
        FileKind::Directory => {
            r.log(message::NO_INDEX, "a directory without an index");
            return Err(refuse(r, Answer::Forbidden, "no-index", None));
        }
        FileKind::Link | FileKind::Other => return Err(refuse(r, Answer::Forbidden, "unfit", None)),
    }
    if afs.standing().is_none()
        && let Some(what) = would_run(r)
    {
        r.log(message::DOES_NOT_RUN, &format!("{what} does not run on files in AFS with this client"));
        return Err(refuse(r, Answer::Forbidden, "handler", None));
    }
    if r.path_info().is_some_and(|rest| !rest.is_empty()) && !r.accepts_path_info() {
        return Err(Status::NOT_FOUND);
    }
    // Of what cannot be read from its beginning on, nothing has been sent.
    let sent = content::ask_of_name(|| send(r, afs, &who, name));
    sent.unwrap_or_else(|errno| Err(afs_says(r, errno)))
}

/// Opens a file and sends it.
///
/// # Errors
/// What AFS says, an errno; inside, the status of what is not sent for other reasons.
pub(super) fn send(
    r: &mut Request<'_>,
    afs: &'static Afs,
    who: &Who,
    name: &[u8],
) -> Result<Result<Status, Status>, i32> {
    let (content, found) = afs.open(who, name)?;
    if found.info.kind != FileKind::Plain {
        return Ok(Err(refuse(r, Answer::Forbidden, "unfit", None)));
    }
    r.set_file_info(&found.info);
    r.set_last_modified(found.info.mtime_us);
    r.set_header(c"ETag", &format!("\"{}\"", found.etag));
    r.set_accept_ranges();
    let met = r.meets_conditions();
    if met != Status::OK {
        return Ok(Err(met));
    }
    r.set_content_length(found.info.size);
    let body = Part::File { from: Box::new(content), start: 0, len: found.info.size };
    r.try_send(vec![body]).map(Ok)
}
