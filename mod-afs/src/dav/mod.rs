//! Writing by WebDAV and PUT: what stands behind mod_dav where `Dav afs` is set.
//!
//! mod_dav speaks the protocol, checks conditions and locks, and asks for one step after the other; each is done here as
//! the visitor. The decision is AFS's answer to the step itself.

pub mod ahead;
pub mod codings;
pub mod cross_site;
pub mod files;
mod headers;
pub mod leftovers;
#[cfg(test)]
mod memory;
pub mod put;
#[cfg(test)]
#[path = "tests.rs"]
mod put_tests;
pub mod stale;
pub mod tree;
#[cfg(test)]
mod tree_tests;
pub mod walk;

use crate::answer::{Answer, Trouble};
use crate::broker::unix_now;
use crate::child::child;
use crate::content::{self, Afs, Attributes, Who};
use crate::httpd::{FileKind, Request, Status};
use crate::message;
use crate::phases;
use crate::writing::OpenDir;
use core::ffi::CStr;
use cross_site::Asked;
use files::{Dir as _, join, split};
use headers::{http_date, names_etag, without_locks};
use pag::Fault;
use put::Problem;
use tree::Place;
use walk::Walk;

/// A body that is being put.
pub type Put = put::Put<OpenDir>;

/// The name of the provider, as in `Dav afs`.
pub const PROVIDER: &CStr = c"afs";
/// The handler's name that mod_dav gives to requests which it will answer.
const HANDLER: &CStr = c"dav-handler";
/// mod_dav_fs's name.
const FILESYSTEM: &[u8] = b"filesystem";
/// For so many members of a tree the log has what AFS said.
const LOGGED: usize = 10;

/// What a URL stands for.
#[derive(Debug, Clone)]
pub struct Thing {
    /// The client; lives as long as the child.
    afs: &'static Afs,
    /// On whose behalf.
    who: Who,
    /// Its path, without a slash at the end.
    path: Vec<u8>,
    /// The path of its URL, decoded, without a slash at the end.
    uri: Vec<u8>,
    /// What AFS knows of it; `None`: there is nothing of that name.
    found: Option<Attributes>,
    /// A member of a collection that is a symbolic link.
    by_link: bool,
    /// Behind something that was not there, or is no directory, when httpd asked its rules: they know nothing of this name, nor of
    /// what lies on the way to it by now.
    unruled: bool,
}

/// A property that AFS knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Property {
    /// How long a file is.
    Length,
    /// Its validator.
    Etag,
    /// When it was last changed.
    Modified,
}

/// Why something is not done.
#[derive(Debug)]
pub enum No {
    /// What AFS or this machine says.
    Problem(Problem),
    /// It has gone meanwhile.
    Gone,
    /// A part of a file (Content-Range).
    Partial,
    /// The visitor is not settled there: no `AFSAuthType AFS`.
    NotSettled,
    /// A name that we give to temporary files.
    Reserved,
    /// A collection is too large, or too deep, to be gone through.
    TooMuch,
    /// Source and destination belong to locations with different visitors.
    OtherVisitor,
    /// What could not be done with parts of a tree, by their URLs.
    Members(Vec<(Vec<u8>, Problem)>),
}

impl From<i32> for No {
    fn from(errno: i32) -> Self {
        Self::Problem(Problem::Afs(errno))
    }
}

impl From<Problem> for No {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// What a visitor is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The status.
    pub status: u16,
    /// In a few words.
    pub text: String,
    /// The same for parts of a tree, by their URLs.
    pub members: Vec<(Vec<u8>, u16)>,
}

/// A path without slashes at its end.
fn trimmed(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|b| *b != b'/').map_or(0, |at| at + 1);
    path.get(..end.max(1)).unwrap_or(path)
}

/// Attributes of a name: through a symbolic link at its end, but of the link itself where that leads nowhere.
///
/// # Errors
/// What AFS says.
fn attributes(afs: &Afs, who: &Who, path: &[u8]) -> Result<Option<Attributes>, i32> {
    let absent = |errno| matches!(Fault::of(errno), Fault::Absent | Fault::NotDirectory);
    match afs.lstat(who, path) {
        Ok(link) if link.info.kind == FileKind::Link => Ok(Some(afs.stat(who, path).unwrap_or(link))),
        Ok(found) => Ok(Some(found)),
        Err(errno) if absent(errno) => Ok(None),
        Err(errno) => Err(errno),
    }
}

impl Thing {
    /// Is there something?
    #[must_use]
    pub fn exists(&self) -> bool {
        self.found.is_some()
    }

    /// Is it a collection?
    #[must_use]
    pub fn is_collection(&self) -> bool {
        self.found.as_ref().is_some_and(|found| found.info.kind == FileKind::Directory)
    }

    /// The path of its URL, decoded, without a slash at the end.
    #[must_use]
    pub fn uri(&self) -> &[u8] {
        &self.uri
    }

    /// Is it a symbolic link that was found in a collection?
    #[must_use]
    pub fn is_by_link(&self) -> bool {
        self.by_link
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// Its validator, as ETag has it: the same as GET's.
    #[must_use]
    pub fn etag(&self) -> Option<String> {
        self.found.as_ref().map(|found| format!("\"{}\"", found.etag))
    }

    /// A property, as text.
    #[must_use]
    pub fn property(&self, property: Property) -> Option<String> {
        let found = self.found.as_ref()?;
        match property {
            Property::Length => (!self.is_collection()).then(|| found.info.size.to_string()),
            Property::Etag => self.etag(),
            Property::Modified => Some(http_date(found.info.mtime_us.div_euclid(1_000_000))),
        }
    }

    /// What a request is for.
    ///
    /// # Errors
    /// Why nothing can be said of it.
    pub fn of(r: &Request<'_>) -> Result<Self, No> {
        let afs =
            child().and_then(|child| child.afs.as_ref()).ok_or(No::Problem(Problem::Afs(libc::ENODEV)))?;
        let who = phases::visitor_in_afs(r).ok_or(No::NotSettled)?;
        let name = r.filename().map(CStr::to_bytes).unwrap_or_default();
        // What httpd did not find lies behind what it did.
        let rest = r.path_info().map(CStr::to_bytes).unwrap_or_default();
        let unruled = rest.iter().any(|b| *b != b'/');
        let path = trimmed(&[name, rest].concat()).to_vec();
        if !content::is_below(&path, afs.mount()) {
            return Err(No::NotSettled);
        }
        if path.split(|b| *b == b'/').any(|name| name.starts_with(put::PREFIX)) {
            return Err(No::Reserved);
        }
        let found = if unruled { None } else { attributes(afs, &who, &path)? };
        let uri = trimmed(r.uri().to_bytes()).to_vec();
        Ok(Self { afs, who, path, uri, found, by_link: false, unruled })
    }

    /// The collection that it is in; `None` above the mount directory.
    ///
    /// # Errors
    /// Why nothing can be said of it.
    pub fn parent(&self) -> Result<Option<Self>, No> {
        let (Some((path, _)), Some(at)) = (split(&self.path), self.uri.iter().rposition(|b| *b == b'/'))
        else {
            return Ok(None);
        };
        if !content::is_below(path, self.afs.mount()) {
            return Ok(None);
        }
        let uri = match self.uri.get(..at) {
            Some([]) | None => b"/".to_vec(),
            Some(uri) => uri.to_vec(),
        };
        let found = attributes(self.afs, &self.who, path)?;
        let (who, path) = (self.who.clone(), path.to_vec());
        Ok(Some(Self { afs: self.afs, who, path, uri, found, by_link: false, unruled: false }))
    }

    /// What is in a collection. What the visitor may not look at, or what does not answer, is left out.
    ///
    /// # Errors
    /// Why its names cannot be read; [`No::TooMuch`] if the walk that this is for ends before.
    pub fn members(&self, r: &Request<'_>, walk: &Walk) -> Result<Vec<Self>, No> {
        let follows = r.options().follow_links;
        let mut members = Vec::new();
        for name in self.open(&self.path)?.names()? {
            if put::is_passing(&name) {
                continue;
            }
            walk.goes_on(r.is_aborted())?;
            let path = join(&self.path, &name);
            // A name may be the way to a server that others wait for already.
            let found = if self.afs.is_full_beyond(&self.path, &path) {
                if !walk.shows() {
                    return Err(No::TooMuch);
                }
                Err(libc::ETIMEDOUT)
            } else {
                self.afs.lstat(&self.who, &path)
            };
            let by_link = found.as_ref().is_ok_and(|found| found.info.kind == FileKind::Link);
            let found = match found {
                Ok(_) if by_link => {
                    if follows {
                        self.afs.stat(&self.who, &path)
                    } else {
                        continue;
                    }
                }
                other => other,
            };
            match found {
                Ok(found) => members.push(Self {
                    afs: self.afs,
                    who: self.who.clone(),
                    uri: join(if self.uri == b"/" { b"" } else { &self.uri }, &name),
                    path,
                    found: Some(found),
                    by_link,
                    unruled: false,
                }),
                Err(errno) => {
                    let path = String::from_utf8_lossy(&path);
                    r.log(
                        message::NOT_SHOWN,
                        &format!("{path}: not shown in its collection (errno {errno})"),
                    );
                }
            }
        }
        Ok(members)
    }

    /// A directory, as its visitor.
    ///
    /// # Errors
    /// An errno.
    fn open(&self, dir: &[u8]) -> Result<OpenDir, i32> {
        OpenDir::open(self.afs, &self.who, dir)
    }

    /// The directory that it stands in, held, and its name there.
    ///
    /// # Errors
    /// An errno; `EINVAL` for the root of everything; `ENOENT` also where there was no such directory when httpd's rules were asked.
    fn place(&self) -> Result<(OpenDir, &[u8]), i32> {
        if self.unruled {
            return Err(libc::ENOENT);
        }
        let (dir, name) = split(&self.path).ok_or(libc::EINVAL)?;
        Ok((self.open(dir)?, name))
    }

    /// Looks again.
    fn look_again(&mut self) {
        if !self.unruled {
            self.found = attributes(self.afs, &self.who, &self.path).unwrap_or(None);
        }
    }

    /// Whether its visitor may lock it: not without a right to change something there, else he could keep those away who may.
    ///
    /// # Errors
    /// Why not.
    fn may_lock(&self) -> Result<(), No> {
        if self.is_collection() { Ok(self.open(&self.path)?.may_change()?) } else { self.may_be_changed() }
    }

    /// Whether its visitor may change something in the directory that it stands in.
    ///
    /// # Errors
    /// Why not.
    fn may_be_changed(&self) -> Result<(), No> {
        if self.unruled {
            return Err(libc::ENOENT.into());
        }
        let dir =
            split(&self.path).map(|(dir, _)| dir).filter(|dir| content::is_below(dir, self.afs.mount()));
        // The mount directory itself.
        let dir = dir.ok_or(No::Problem(Problem::MountPoint))?;
        Ok(self.open(dir)?.may_change()?)
    }

    /// How much memory it takes.
    fn size(&self) -> usize {
        let etag = self.found.as_ref().map_or(0, |found| found.etag.len());
        size_of::<Self>() + self.path.len() + self.uri.len() + etag
    }

    /// Whether its visitor may read the names in it, if it is a collection.
    ///
    /// # Errors
    /// Why not.
    fn may_list(&self) -> Result<(), No> {
        if self.is_collection() {
            self.open(&self.path)?.names()?;
        }
        Ok(())
    }

    /// Begins to put a body there.
    ///
    /// # Errors
    /// Why nothing can be put there.
    pub fn put(&self, r: &Request<'_>, partial: bool) -> Result<Put, No> {
        if partial {
            return Err(No::Partial);
        }
        let length = r.header_in(c"Content-Length").and_then(|v| v.to_str().ok()?.trim().parse().ok());
        let conditions = [c"If-Match", c"If-None-Match", c"If-Unmodified-Since"];
        let conditional = conditions.iter().any(|name| r.header_in(name).is_some())
            || r.header_in(c"If").is_some_and(|value| names_etag(value.to_bytes()));
        // mod_dav has judged by what was found then; a later look would miss who was faster meanwhile.
        let condition = conditional.then(|| self.found.as_ref().map(|found| found.etag.clone()));
        let (dir, name) = self.place()?;
        Ok(Put::begin(dir, name, length, condition, None)?)
    }

    /// Makes a collection of it.
    ///
    /// # Errors
    /// Why not.
    pub fn make_collection(&mut self) -> Result<(), No> {
        let (dir, name) = self.place()?;
        dir.mkdir(name)?;
        self.look_again();
        Ok(())
    }

    /// Removes it, and what is in it.
    ///
    /// # Errors
    /// What could not be removed.
    pub fn remove(&mut self) -> Result<(), No> {
        let done = self.place().map_err(|e| self.cannot(e)).and_then(|(dir, name)| tree::remove(&dir, name));
        self.look_again();
        done.map_err(|failures| match failures.as_slice() {
            [(path, Problem::Afs(errno))] if *path == self.path && Fault::of(*errno) == Fault::Absent => {
                No::Gone
            }
            _ => self.failed(failures),
        })
    }

    /// Copies it; `deep`: with what is in it; `overwrites`: also in the place of what is there by now.
    ///
    /// # Errors
    /// What could not be copied.
    pub fn copy_to(&self, to: &mut Self, deep: bool, overwrites: bool) -> Result<(), No> {
        self.same_visitor(to)?;
        let new = !overwrites && !to.exists();
        let done = self.with_places(to, |from, to| tree::copy(from, to, deep, new));
        to.look_again();
        done.map_err(|failures| to.failed(failures))
    }

    /// Moves it; `overwrites`: also to the place of what is there by now.
    ///
    /// # Errors
    /// What could not be moved.
    pub fn move_to(&mut self, to: &mut Self, overwrites: bool) -> Result<(), No> {
        self.same_visitor(to)?;
        let new = !overwrites && !to.exists();
        let done = self.with_places(to, |from, to| tree::rename(from, to, new));
        self.look_again();
        to.look_again();
        done.map_err(|failures| to.failed(failures))
    }

    /// Does something with its place and another one's.
    ///
    /// # Errors
    /// What could not be done.
    fn with_places(
        &self,
        to: &Self,
        f: impl FnOnce(Place<'_, OpenDir>, Place<'_, OpenDir>) -> Result<(), tree::Failures>,
    ) -> Result<(), tree::Failures> {
        let (from_dir, from) = self.place().map_err(|e| to.cannot(e))?;
        let (to_dir, to) = to.place().map_err(|e| to.cannot(e))?;
        f(Place { dir: &from_dir, name: from }, Place { dir: &to_dir, name: to })
    }

    /// That nothing can be done with it.
    fn cannot(&self, errno: i32) -> tree::Failures {
        vec![(self.path.clone(), errno.into())]
    }

    /// Two locations may settle the visitor differently; then nobody may do both halves.
    ///
    /// # Errors
    /// What AFS says.
    fn same_visitor(&self, other: &Self) -> Result<(), No> {
        let pag = |thing: &Self| thing.afs.pag(&thing.who).id();
        if pag(self) == pag(other) { Ok(()) } else { Err(No::OtherVisitor) }
    }

    /// What failed, by URL where it is not this thing itself.
    fn failed(&self, failures: tree::Failures) -> No {
        if let [(path, problem)] = failures.as_slice()
            && *path == self.path
        {
            return No::Problem(*problem);
        }
        let uri = |path: &[u8]| match path.strip_prefix(self.path.as_slice()) {
            Some(rest) => [self.uri(), rest].concat(),
            // Of the source of a copy: told by the name that it would have had.
            None => self.uri.clone(),
        };
        No::Members(failures.into_iter().map(|(path, problem)| (uri(&path), problem)).collect())
    }
}

/// How a visitor is answered who is not served; and a word for the log.
///
/// `token_end` of the token that he is served under; `is_final`: other credentials would not help him.
fn answer(problem: Problem, token_end: Option<i64>, is_final: bool) -> (Answer, &'static str) {
    let errno = match problem {
        Problem::Afs(errno) => errno,
        Problem::Here(_) => return (Answer::Unavailable, "no-room-here"),
        Problem::Link => return (Answer::Forbidden, "link"),
        Problem::MountPoint => return (Answer::Forbidden, "mount-point"),
        Problem::Overlap => return (Answer::Forbidden, "overlap"),
        Problem::TooDeep => return (Answer::Unavailable, "walk-too-long"),
        Problem::Changed => return (Answer::Changed, "changed"),
    };
    match Fault::of(errno) {
        Fault::OverQuota | Fault::TooLarge => (Answer::Full, "over-quota"),
        Fault::ReadOnly => (Answer::Forbidden, "read-only"),
        Fault::Exists | Fault::NotEmpty | Fault::IsDirectory | Fault::NotDirectory | Fault::Absent => {
            (Answer::Conflict, "conflict")
        }
        Fault::BadName | Fault::NameTooLong => (Answer::BadRequest, "bad-name"),
        Fault::OtherVolume => (Answer::Elsewhere, "other-volume"),
        Fault::NoRight | Fault::Link | Fault::Unreachable => {
            let trouble = Trouble::of(errno).under(token_end, unix_now());
            (trouble.answer(is_final), trouble.word())
        }
    }
}

/// The same in words.
fn words(word: &str) -> &'static str {
    match word {
        "over-quota" => "The volume has no room for it.",
        "read-only" => "It lies in a read-only copy of a volume.",
        "conflict" => "Something else is there, or the collection that it would be in is not.",
        "bad-name" => "AFS takes no such name.",
        "other-volume" => "The destination is in another AFS volume: copy it there and delete it here.",
        "mount-point" => "It is, or holds, the mount point of another AFS volume.",
        "overlap" => "Source and destination are the same, or one is in the other.",
        "link" => "It is a symbolic link, which is not written through.",
        "changed" => "It has changed meanwhile.",
        "no-right" => "AFS does not allow it.",
        "partial" => "A part of a file cannot be put.",
        "reserved" => "This server gives such names to files that it is about to write.",
        "walk-too-long" => "The collection is too deep, or too large to be gone through in time.",
        "no-room-here" => "This server cannot keep the body until it is whole.",
        _ => "The file server does not answer.",
    }
}

/// A line in the log with what AFS, or this machine, said of something that was asked for.
fn log_errno(r: &Request<'_>, uri: &[u8], problem: Problem) {
    if let Problem::Afs(errno) | Problem::Here(errno) = problem {
        let (method, uri) = (r.method().to_string_lossy(), String::from_utf8_lossy(uri));
        r.log(message::NOT_DONE, &format!("{method}: {uri}: errno {errno}"));
    }
}

/// Tells the visitor of `r`, which is the request that he made, that something is not done: headers and a line in the log.
pub fn tell(r: &mut Request<'_>, no: No) -> Told {
    let (token_end, is_final) = phases::terms_in_afs(r);
    let answer = |problem| answer(problem, token_end, is_final);
    let mut members = Vec::new();
    let (answer, word) = match no {
        No::Problem(problem) => {
            log_errno(r, r.uri().to_bytes(), problem);
            answer(problem)
        }
        No::Gone => (Answer::NotFound, "absent"),
        No::Partial => (Answer::BadRequest, "partial"),
        No::Reserved => (Answer::Forbidden, "reserved"),
        No::TooMuch => {
            r.log(message::WALK_ENDED, "a collection could not be gone through in time, or is too deep");
            (Answer::Unavailable, "walk-too-long")
        }
        No::NotSettled => {
            r.log(message::NOT_SETTLED, "Dav afs is only for what lies in AFS and has AFSAuthType AFS");
            (Answer::Forbidden, "not-settled")
        }
        No::OtherVisitor => {
            r.log(message::OTHER_VISITOR, "source and destination have different cells or realms for logins");
            (Answer::Forbidden, "other-visitor")
        }
        No::Members(failures) => {
            for (uri, problem) in failures.iter().take(LOGGED) {
                log_errno(r, uri, *problem);
            }
            let first = failures.first().map(|(_, problem)| answer(*problem));
            members = failures.into_iter().map(|(uri, problem)| (uri, answer(problem).0.status())).collect();
            first.unwrap_or((Answer::Unavailable, "afs-unavailable"))
        }
    };
    let status = phases::refuse(r, answer, word, None);
    Told { status: u16::try_from(status.code()).unwrap_or(500), text: words(word).to_owned(), members }
}

/// Is this a method by which something would be written, if it were not left out of the configuration?
#[must_use]
pub fn changes(method: &[u8]) -> bool {
    const METHODS: [&[u8]; 8] =
        [b"PUT", b"DELETE", b"MKCOL", b"COPY", b"MOVE", b"PROPPATCH", b"LOCK", b"PATCH"];
    METHODS.contains(&method)
}

/// Before the handler, for a request in AFS: what mod_dav will answer is about the collection itself. mod_dir would put its index
/// file in its place, or redirect to the same URL with a slash.
pub fn keep_collection(r: &mut Request<'_>) {
    if r.is_get_or_head() || r.dav_provider() != Some(PROVIDER) {
        return;
    }
    if r.method().to_bytes() == b"POST" {
        // For a program that is the index; mod_dir's own way of being told to leave the URL.
        r.set_env(c"redirect-carefully", "1");
    } else {
        r.hide_kind();
    }
}

/// Who has made a request, as far as it says so.
fn asked<'r>(r: &'r Request<'_>) -> Asked<'r> {
    Asked {
        site: r.header_in(c"Sec-Fetch-Site").map(CStr::to_bytes),
        origin: r.header_in(c"Origin").map(CStr::to_bytes),
        host: r.header_in(c"Host").map(CStr::to_bytes),
        tls: r.is_https(),
    }
}

/// In the handler, for a request whose visitor is settled: refuses what a page of another site would have changed.
pub fn refuse_other_sites(r: &mut Request<'_>) -> Option<Status> {
    // A form of another site may be meant for a program that everybody may ask; not with a visitor's password.
    let harmless = r.method().to_bytes() == b"POST" && !phases::has_credentials(r);
    if cross_site::is_safe(r.method().to_bytes()) || harmless || !cross_site::is_foreign(asked(r)) {
        return None;
    }
    r.log(message::CROSS_SITE, "a page of another site wanted to change something");
    Some(phases::refuse(r, Answer::Forbidden, "cross-site", None))
}

/// In the handler, for a request whose visitor is settled: whether mod_dav is to answer it, or it is refused.
/// `None`: it is not mod_dav's.
pub fn hand_over(r: &mut Request<'_>) -> Option<Status> {
    if let Some(refused) = refuse_other_sites(r) {
        return Some(refused);
    }
    let elsewhere = matches!(r.method().to_bytes(), b"COPY" | b"MOVE")
        && r.header_in(c"Destination").is_some_and(|to| cross_site::is_elsewhere(to.to_bytes(), asked(r)));
    if r.handler() != Some(HANDLER) {
        return None;
    }
    match r.dav_provider() {
        // mod_dav gives itself neither these nor what has no `Dav`; it does not look whether its provider can answer them.
        Some(name) if name == PROVIDER && r.is_get_or_head() => Some(not_its_own(r)),
        None => Some(not_its_own(r)),
        Some(name) if name == PROVIDER => {
            // A service's token is there for reading what is public on the web; whoever comes must not write by it.
            if !cross_site::is_safe(r.method().to_bytes()) && phases::by_service_in_afs(r) {
                let (_, is_final) = phases::terms_in_afs(r);
                let answer = if is_final { Answer::Forbidden } else { Answer::Challenge };
                return Some(phases::refuse(r, answer, "login-wanted", None));
            }
            if let Some(refused) = coded_body(r) {
                return Some(refused);
            }
            // mod_dav looks at the scheme alone.
            if elsewhere {
                return Some(phases::refuse(r, Answer::Elsewhere, "other-server", None));
            }
            if !crate::httpd::has_dav_locks()
                && let Some(value) = r.header_in(c"If").and_then(|value| without_locks(value.to_bytes()))
            {
                r.set_header_in(c"If", &value);
            }
            if let Err(no) = ahead::first_of_all(r) {
                return Some(Status::http(tell(r, no).status));
            }
            r.read_in_own_thread();
            Some(Status::DECLINED)
        }
        Some(name) if name.to_bytes() == FILESYSTEM => {
            let text = "Dav On is not for files in AFS, since mod_dav_fs does not look whether they could be stored: use Dav afs";
            r.log(message::DAV_ON, text);
            Some(phases::refuse(r, Answer::Forbidden, "handler", None))
        }
        _ => None,
    }
}

/// The refusal of a request that mod_dav's handler has been given by others: whoever may write an access file can do that.
fn not_its_own(r: &mut Request<'_>) -> Status {
    r.log(message::NOT_MOD_DAVS, "dav-handler is set for a request that mod_dav could not answer");
    phases::refuse(r, Answer::Forbidden, "handler", None)
}

/// The refusal of a body that would be stored in a coding.
fn coded_body(r: &mut Request<'_>) -> Option<Status> {
    let (answer, text) = if codings::is_strange(r.header_in(c"Transfer-Encoding").map(CStr::to_bytes)) {
        (Answer::Unknown, "a body in another transfer coding than chunks")
    } else if r.method().to_bytes() == b"PUT"
        && codings::is_coded(r.header_in(c"Content-Encoding").map(CStr::to_bytes))
    {
        (Answer::Coded, "a file in a coding, which AFS has no place to say")
    } else {
        return None;
    };
    r.log(message::CODED_BODY, text);
    Some(phases::refuse(r, answer, "coded", None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_its_status() {
        let ends = Some(i64::MAX);
        for (problem, nobody, somebody) in [
            (Problem::Afs(libc::EACCES), 401, 403),
            (Problem::Afs(libc::EDQUOT), 507, 507),
            (Problem::Afs(libc::ENOSPC), 507, 507),
            (Problem::Afs(libc::EFBIG), 507, 507),
            (Problem::Afs(libc::EROFS), 403, 403),
            (Problem::Afs(libc::ENOENT), 409, 409),
            (Problem::Afs(libc::ENOTDIR), 409, 409),
            (Problem::Afs(libc::EISDIR), 409, 409),
            (Problem::Afs(libc::EEXIST), 409, 409),
            (Problem::Afs(libc::EINVAL), 400, 400),
            (Problem::Afs(libc::ENAMETOOLONG), 400, 400),
            (Problem::Afs(libc::EXDEV), 502, 502),
            (Problem::Afs(libc::ETIMEDOUT), 503, 503),
            (Problem::Afs(libc::ENODEV), 503, 503),
            (Problem::Here(libc::ENOSPC), 503, 503),
            (Problem::Link, 403, 403),
            (Problem::MountPoint, 403, 403),
            (Problem::Overlap, 403, 403),
            (Problem::TooDeep, 503, 503),
            (Problem::Changed, 412, 412),
        ] {
            assert_eq!(answer(problem, None, false).0.status(), nobody, "{problem:?}");
            assert_eq!(answer(problem, ends, true).0.status(), somebody, "{problem:?}");
        }
        assert_eq!(answer(Problem::Afs(libc::EACCES), Some(0), true).0.status(), 503, "the token has ended");
    }

    #[test]
    fn slashes_at_the_end_do_not_count() {
        for (path, want) in [(&b"/a/b/"[..], &b"/a/b"[..]), (b"/a//", b"/a"), (b"/", b"/"), (b"/a", b"/a")] {
            assert_eq!(trimmed(path), want);
        }
    }
}
