//! Files in memory, for tests: any step can be made to fail, and somebody else can do something before any.
#![expect(clippy::missing_errors_doc, reason = "an error is what the test is about")]

use super::files::{Dir, Id, Look, Sink, Source, Task, join, split};
use super::put::{Problem, Put};
use pag::userspace::{Kind, Rights};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// Something with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    File(Vec<u8>, u32),
    Dir,
    Link(Vec<u8>),
}

/// Steps that can be made to fail, or to be preceded by somebody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Id,
    Look,
    Names,
    Sub,
    Write,
    Close,
    Mkdir,
    Rename,
    Unlink,
    Room,
    Turn,
}

/// What somebody else does.
type Deed = Box<dyn FnOnce(&mut State) + Send>;

#[derive(Default)]
pub(super) struct State {
    /// By path.
    pub(super) nodes: BTreeMap<Vec<u8>, Node>,
    /// Where each directory is that has been opened; `None` once it is gone.
    held: Vec<Option<Vec<u8>>>,
    /// Of the whole; asked for, or only applied.
    rights: u32,
    asked: bool,
    /// By volume: the first part below /afs that is a mount point.
    pub(super) mounts: Vec<Vec<u8>>,
    /// Directories out of which nothing may be removed.
    pub(super) sealed: Vec<Vec<u8>>,
    pub(super) room: Option<u64>,
    /// After so many that do not.
    failing: Vec<(Step, usize, i32)>,
    /// Before a step with that name is done for the first time.
    deeds: Vec<(Step, Vec<u8>, Deed)>,
    /// What somebody else changes as soon as anything is read.
    pub(super) changes: Option<(Vec<u8>, Node)>,
    pub(super) later: Vec<Task>,
    pub(super) cuts_at_once: bool,
    pub(super) in_turn: bool,
    /// How many turns at storing are taken.
    turns: Arc<()>,
    /// When everything was written.
    pub(super) written_s: i64,
    /// What has been renamed, and to what.
    renamed: Vec<(Vec<u8>, Vec<u8>)>,
}

impl State {
    /// Is it `top`, or below?
    fn below(path: &[u8], top: &[u8]) -> bool {
        matches!(path.strip_prefix(top), Some([] | [b'/', ..]))
    }

    /// Gives something another name, with what is in it; directories that are held go along.
    pub(super) fn rename(&mut self, from: &str, to: &str) {
        let (from, to) = (format!("/afs/c/{from}").into_bytes(), format!("/afs/c/{to}").into_bytes());
        self.rename_paths(&from, &to);
    }

    fn rename_paths(&mut self, from: &[u8], to: &[u8]) {
        let moved = |path: &[u8]| [to, &path[from.len()..]].concat();
        let (old, rest): (BTreeMap<_, _>, BTreeMap<_, _>) =
            core::mem::take(&mut self.nodes).into_iter().partition(|(path, _)| Self::below(path, from));
        self.nodes = rest.into_iter().filter(|(path, _)| !Self::below(path, to)).collect();
        self.nodes.extend(old.into_iter().map(|(path, node)| (moved(&path), node)));
        self.renamed.push((from.to_vec(), to.to_vec()));
        for held in &mut self.held {
            *held = match held.take() {
                Some(path) if Self::below(&path, from) => Some(moved(&path)),
                other => other.filter(|path| !Self::below(path, to)),
            };
        }
    }

    /// From now on all goes well.
    pub(super) fn stop_failing(&mut self) {
        self.failing.clear();
    }

    /// Makes something.
    pub(super) fn make(&mut self, path: &str, text: &str) {
        let node = match text {
            "/" => Node::Dir,
            link if link.starts_with("->") => Node::Link(link.as_bytes()[2..].to_vec()),
            text => Node::File(text.as_bytes().to_vec(), 0o644),
        };
        self.nodes.insert(format!("/afs/c/{path}").into_bytes(), node);
    }

    /// Where a path leads, through links.
    fn walk(&self, path: &[u8]) -> Result<Vec<u8>, i32> {
        let mut todo: Vec<Vec<u8>> = path.split(|b| *b == b'/').rev().map(<[u8]>::to_vec).collect();
        let mut at = Vec::new();
        let mut links = 0;
        while let Some(name) = todo.pop() {
            match name.as_slice() {
                b"" | b"." => continue,
                b".." => at = split(&at).map_or(Vec::new(), |(dir, _)| dir.to_vec()),
                _ => {
                    let next = [&at[..], b"/", &name].concat();
                    match self.nodes.get(&next) {
                        Some(Node::Link(to)) => {
                            links += 1;
                            if links > 25 {
                                return Err(libc::ELOOP);
                            }
                            if to.starts_with(b"/") {
                                at.clear();
                            }
                            todo.extend(to.split(|b| *b == b'/').rev().map(<[u8]>::to_vec));
                        }
                        None if next != b"/afs" => return Err(libc::ENOENT),
                        _ => at = next,
                    }
                }
            }
        }
        Ok(at)
    }
}

/// Files in memory, with AFS's rules as far as they matter here.
#[derive(Clone, Default)]
pub(super) struct Memory(Arc<Mutex<State>>);

/// A directory of them.
#[derive(Clone)]
pub(super) struct MemoryDir {
    memory: Memory,
    /// In [`State::held`].
    number: usize,
    /// By which it was found.
    path: Vec<u8>,
}

struct Open {
    memory: Memory,
    path: Vec<u8>,
    bytes: Vec<u8>,
}

impl Memory {
    /// `/afs/c` with these files, and all rights but to administer.
    pub(super) fn with(files: &[(&str, &str)]) -> Self {
        let memory = Self::default();
        {
            let mut s = memory.state();
            s.rights = 63;
            s.asked = true;
            s.nodes.insert(b"/afs/c".to_vec(), Node::Dir);
            for (path, text) in files {
                s.make(path, text);
            }
        }
        memory
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn rights(self, letters: &str, asked: bool) -> Self {
        {
            let mut s = self.state();
            s.rights = Rights::parse(letters).unwrap().0;
            s.asked = asked;
        }
        self
    }

    pub(super) fn fail(self, step: Step, errno: i32) -> Self {
        self.fail_after(0, step, errno)
    }

    /// The first so many of these steps are done.
    pub(super) fn fail_after(self, done: usize, step: Step, errno: i32) -> Self {
        self.state().failing.push((step, done, errno));
        self
    }

    /// Has somebody else do something before a step with this name (of a directory: its path's last) is done first.
    pub(super) fn before(
        self,
        step: Step,
        name: &str,
        deed: impl FnOnce(&mut State) + Send + 'static,
    ) -> Self {
        self.state().deeds.push((step, name.as_bytes().to_vec(), Box::new(deed)));
        self
    }

    fn step(&self, step: Step, name: &[u8]) -> Result<(), i32> {
        let mut s = self.state();
        if let Some(at) = s.deeds.iter().position(|(when, of, _)| *when == step && of == name) {
            let (_, _, deed) = s.deeds.remove(at);
            deed(&mut s);
        }
        match s.failing.iter_mut().find(|(when, ..)| *when == step) {
            Some((_, 0, errno)) => Err(*errno),
            Some((_, left, _)) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn needs(&self, rights: Rights) -> Result<(), i32> {
        if Rights(self.state().rights).has(rights) { Ok(()) } else { Err(libc::EACCES) }
    }

    /// The directory at a path, through links.
    pub(super) fn dir(&self, path: &[u8]) -> Result<MemoryDir, i32> {
        let at = self.state().walk(path)?;
        self.hold(at, path)
    }

    fn hold(&self, at: Vec<u8>, path: &[u8]) -> Result<MemoryDir, i32> {
        let mut s = self.state();
        match s.nodes.get(&at) {
            Some(Node::Dir) => {}
            Some(_) => return Err(libc::ENOTDIR),
            None => return Err(libc::ENOENT),
        }
        let number = s.held.iter().position(|held| held.as_ref() == Some(&at)).unwrap_or(s.held.len());
        if number == s.held.len() {
            s.held.push(Some(at));
        }
        drop(s);
        Ok(MemoryDir { memory: self.clone(), number, path: path.to_vec() })
    }

    /// Names and contents, without the root.
    pub(super) fn all(&self) -> Vec<(String, String)> {
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        let shown = |node: &Node| match node {
            Node::File(bytes, _) => text(bytes),
            Node::Dir => "/".to_owned(),
            Node::Link(to) => format!("->{}", text(to)),
        };
        let s = self.state();
        s.nodes
            .iter()
            .filter_map(|(path, node)| Some((text(path.strip_prefix(b"/afs/c/")?), shown(node))))
            .collect()
    }

    pub(super) fn shown(&self) -> String {
        self.all()
            .into_iter()
            .map(|(name, text)| format!("{name}={text} "))
            .collect::<String>()
            .trim_end()
            .to_owned()
    }

    /// The validator of what is there.
    pub(super) fn validator(&self, path: &str) -> Option<String> {
        let path = format!("/afs/c/{path}");
        let (dir, name) = split(path.as_bytes()).unwrap();
        self.dir(dir).and_then(|dir| dir.etag(name)).ok()
    }

    pub(super) fn begin(
        &self,
        path: &str,
        length: Option<u64>,
        conditional: bool,
    ) -> Result<Put<MemoryDir>, Problem> {
        let condition = conditional.then(|| self.validator(path));
        let path = format!("/afs/c/{path}");
        let (dir, name) = split(path.as_bytes()).unwrap();
        Put::begin(self.dir(dir)?, name, length, condition, None)
    }

    pub(super) fn put(&self, path: &str, body: &str, conditional: bool) -> Result<(), Problem> {
        let mut put = self.begin(path, Some(body.len() as u64), conditional)?;
        for piece in body.as_bytes().chunks(3) {
            put.write(piece)?;
        }
        put.commit().map(drop)
    }
}

impl Sink for Open {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> Result<(), i32> {
        self.memory.step(Step::Write, b"")?;
        let s = self.memory.state();
        assert!(!s.in_turn || Arc::strong_count(&s.turns) > 1, "written without a turn");
        drop(s);
        let end = usize::try_from(offset).unwrap() + bytes.len();
        self.bytes.resize(self.bytes.len().max(end), 0);
        self.bytes[end - bytes.len()..end].copy_from_slice(bytes);
        Ok(())
    }

    fn truncate(&mut self, size: u64) -> Result<(), i32> {
        self.memory.needs(Rights::WRITE)?;
        self.bytes.resize(usize::try_from(size).unwrap(), 0);
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<(), i32> {
        self.memory.step(Step::Close, b"")?;
        let mut s = self.memory.state();
        // Also when it was renamed meanwhile, or removed.
        let renamed = s.renamed.iter().find(|(from, _)| *from == self.path).map(|(_, to)| to.clone());
        let path = renamed.unwrap_or(self.path);
        let Some(Node::File(bytes, _)) = s.nodes.get_mut(&path) else { return Ok(()) };
        *bytes = self.bytes;
        Ok(())
    }
}

impl Source for Open {
    fn read_at(&mut self, to: &mut [u8], offset: u64) -> Result<usize, i32> {
        let rest = self.bytes.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let n = rest.len().min(to.len()).min(2);
        to[..n].copy_from_slice(&rest[..n]);
        let changed = self.memory.state().changes.take();
        self.memory.state().nodes.extend(changed);
        Ok(n)
    }
}

impl MemoryDir {
    /// Where it is now.
    fn here(&self) -> Result<Vec<u8>, i32> {
        self.memory.state().held[self.number].clone().ok_or(libc::ENOENT)
    }

    /// What a name in it is, by path.
    fn at(&self, name: &[u8]) -> Result<Vec<u8>, i32> {
        Ok(join(&self.here()?, name))
    }

    /// What has a name in it.
    fn node(&self, name: &[u8]) -> Result<Node, i32> {
        let at = self.at(name)?;
        self.memory.state().nodes.get(&at).cloned().ok_or(libc::ENOENT)
    }

    /// Makes something in it.
    fn make(&self, name: &[u8], node: Node) -> Result<Vec<u8>, i32> {
        self.memory.needs(Rights::INSERT)?;
        let (here, at) = (self.here()?, self.at(name)?);
        let mut s = self.memory.state();
        if s.nodes.contains_key(&at) {
            return Err(libc::EEXIST);
        }
        if s.nodes.get(&here) != Some(&Node::Dir) {
            return Err(libc::ENOENT);
        }
        s.nodes.insert(at.clone(), node);
        Ok(at)
    }

    /// A file in it.
    fn file(&self, name: &[u8]) -> Result<Open, i32> {
        match self.node(name)? {
            Node::File(bytes, _) => Ok(Open { memory: self.memory.clone(), path: self.at(name)?, bytes }),
            Node::Dir => Err(libc::EISDIR),
            Node::Link(_) => Err(libc::ELOOP),
        }
    }
}

impl Dir for MemoryDir {
    type Turn = Arc<()>;

    fn path(&self) -> &[u8] {
        &self.path
    }

    fn sub(&self, name: &[u8]) -> Result<Self, i32> {
        self.memory.step(Step::Sub, name)?;
        self.memory.hold(self.at(name)?, &join(&self.path, name))
    }

    fn above(&self) -> Result<Option<Self>, i32> {
        let here = self.here()?;
        match split(&here) {
            Some((above, _)) if above != b"/afs" => {
                Ok(Some(self.memory.hold(above.to_vec(), &join(&self.path, b".."))?))
            }
            _ => Ok(None),
        }
    }

    fn id(&self) -> Result<Id, i32> {
        self.memory.step(Step::Id, split(&self.path).unwrap().1)?;
        let here = self.here()?;
        let s = self.memory.state();
        let volume = s.mounts.iter().filter(|mount| State::below(&here, mount)).count() as u64;
        Ok(Id { volume, file: self.number as u64 })
    }

    fn may(&self, rights: Rights) -> Result<Option<bool>, i32> {
        let here = self.here()?;
        let s = self.memory.state();
        let sealed = s.sealed.contains(&here) && rights.has(Rights::DELETE);
        Ok(s.asked.then(|| Rights(s.rights).has(rights) && !sealed))
    }

    fn room(&self) -> Result<u64, i32> {
        self.memory.step(Step::Room, b"")?;
        self.memory.state().room.ok_or(libc::EACCES)
    }

    fn look(&self, name: &[u8]) -> Result<Look, i32> {
        self.memory.step(Step::Look, name)?;
        let (kind, mode, size) = match self.node(name)? {
            Node::File(bytes, mode) => (Kind::File, mode, bytes.len() as u64),
            Node::Dir => (Kind::Directory, 0o755, 2048),
            Node::Link(_) => (Kind::Link, 0o777, 0),
        };
        Ok(Look { kind, mode, size, mtime_s: self.memory.state().written_s })
    }

    fn etag(&self, name: &[u8]) -> Result<String, i32> {
        self.node(name).map(|node| format!("{node:?}"))
    }

    fn names(&self) -> Result<Vec<Vec<u8>>, i32> {
        self.memory.step(Step::Names, split(&self.path).unwrap().1)?;
        let here = self.here()?;
        let s = self.memory.state();
        let inside = s.nodes.keys().filter_map(|path| split(path)).filter(|(dir, _)| *dir == here);
        Ok(inside.map(|(_, name)| name.to_vec()).collect())
    }

    fn create(&self, name: &[u8], mode: u32) -> Result<Box<dyn Sink>, i32> {
        let path = self.make(name, Node::File(Vec::new(), mode))?;
        Ok(Box::new(Open { memory: self.memory.clone(), path, bytes: Vec::new() }))
    }

    fn open_to_write(&self, name: &[u8]) -> Result<Box<dyn Sink>, i32> {
        self.memory.needs(Rights::WRITE)?;
        Ok(Box::new(self.file(name)?))
    }

    fn open_to_read(&self, name: &[u8]) -> Result<Box<dyn Source>, i32> {
        Ok(Box::new(self.file(name)?))
    }

    fn readlink(&self, name: &[u8]) -> Result<Vec<u8>, i32> {
        if let Node::Link(to) = self.node(name)? { Ok(to) } else { Err(libc::EINVAL) }
    }

    fn symlink(&self, target: &[u8], name: &[u8]) -> Result<(), i32> {
        self.make(name, Node::Link(target.to_vec())).map(drop)
    }

    fn mkdir(&self, name: &[u8]) -> Result<(), i32> {
        self.memory.step(Step::Mkdir, name)?;
        self.make(name, Node::Dir).map(drop)
    }

    fn rmdir(&self, name: &[u8]) -> Result<(), i32> {
        self.memory.needs(Rights::DELETE)?;
        if self.node(name)? != Node::Dir {
            return Err(libc::ENOTDIR);
        }
        let at = self.at(name)?;
        let mut s = self.memory.state();
        if s.nodes.keys().any(|path| *path != at && State::below(path, &at)) {
            return Err(libc::ENOTEMPTY);
        }
        s.nodes.remove(&at);
        for held in s.held.iter_mut().filter(|held| held.as_ref() == Some(&at)) {
            *held = None;
        }
        Ok(())
    }

    fn unlink(&self, name: &[u8]) -> Result<(), i32> {
        self.memory.step(Step::Unlink, name)?;
        self.memory.needs(Rights::DELETE)?;
        if self.node(name)? == Node::Dir {
            return Err(libc::EISDIR);
        }
        let at = self.at(name)?;
        self.memory.state().nodes.remove(&at);
        Ok(())
    }

    fn rename(&self, name: &[u8], to: &Self, new: &[u8]) -> Result<(), i32> {
        self.memory.step(Step::Rename, new)?;
        self.memory.needs(Rights(Rights::DELETE.0 | Rights::INSERT.0))?;
        let (from, to) = (self.at(name)?, to.at(new)?);
        let moved = self.node(name)?;
        let mut s = self.memory.state();
        let full = s.nodes.keys().any(|path| *path != to && State::below(path, &to));
        match s.nodes.get(&to) {
            _ if State::below(&to, &from) && from != to => return Err(libc::EINVAL),
            Some(Node::Dir) if full => return Err(libc::ENOTEMPTY),
            Some(Node::Dir) if moved != Node::Dir => return Err(libc::EISDIR),
            Some(Node::File(..) | Node::Link(_)) if moved == Node::Dir => return Err(libc::ENOTDIR),
            _ => {}
        }
        if from != to {
            s.rename_paths(&from, &to);
        }
        Ok(())
    }

    fn stores_in_turn(&self) -> bool {
        self.memory.state().in_turn
    }

    fn turn_to_store(&self, _bytes: u64) -> Result<Arc<()>, i32> {
        self.memory.step(Step::Turn, b"")?;
        Ok(Arc::clone(&self.memory.state().turns))
    }

    fn cuts_at_once(&self) -> bool {
        self.memory.state().cuts_at_once
    }

    fn do_later(&self, task: Task) {
        self.memory.state().later.push(task);
    }
}
