//! Puts and trees on files that can be made to fail at any step.
#![expect(clippy::missing_errors_doc, reason = "an error is what the test is about")]

use super::files::{Files, Look, Sink, Source, split};
use super::put::{PREFIX, Problem, Put};
use super::{stale, tree};
use pag::userspace::{Kind, Rights};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// Something with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    File(Vec<u8>, u32),
    Dir,
    Link(Vec<u8>),
}

/// Steps that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Write,
    Close,
    Rename,
    Unlink,
    Room,
    Volume,
}

#[derive(Debug, Default)]
struct State {
    nodes: BTreeMap<Vec<u8>, Node>,
    /// Of the whole; asked for, or only applied.
    rights: u32,
    asked: bool,
    /// By volume: the first part below /afs that is a mount point.
    mounts: Vec<Vec<u8>>,
    room: Option<u64>,
    failing: Vec<(Step, i32)>,
    /// What somebody else changes as soon as anything is read.
    changes: Option<(Vec<u8>, Node)>,
    left: Vec<Vec<u8>>,
    cuts_at_once: bool,
    /// When everything was written.
    written_s: i64,
    renamed: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Files in memory, with AFS's rules as far as they matter here.
#[derive(Debug, Clone, Default)]
struct Memory(Arc<Mutex<State>>);

struct Open {
    memory: Memory,
    path: Vec<u8>,
    bytes: Vec<u8>,
}

impl Memory {
    /// `/afs/c` with these files, and all rights but to administer.
    fn with(files: &[(&str, &str)]) -> Self {
        let memory = Self::default();
        {
            let mut s = memory.state();
            s.rights = 63;
            s.asked = true;
            s.nodes.insert(b"/afs/c".to_vec(), Node::Dir);
            for (path, text) in files {
                let node = match *text {
                    "/" => Node::Dir,
                    link if link.starts_with("->") => Node::Link(link.as_bytes()[2..].to_vec()),
                    text => Node::File(text.as_bytes().to_vec(), 0o644),
                };
                s.nodes.insert(format!("/afs/c/{path}").into_bytes(), node);
            }
        }
        memory
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn rights(self, letters: &str, asked: bool) -> Self {
        {
            let mut s = self.state();
            s.rights = Rights::parse(letters).unwrap().0;
            s.asked = asked;
        }
        self
    }

    fn fail(self, step: Step, errno: i32) -> Self {
        self.state().failing.push((step, errno));
        self
    }

    fn step(&self, step: Step) -> Result<(), i32> {
        self.state().failing.iter().find(|(s, _)| *s == step).map_or(Ok(()), |(_, errno)| Err(*errno))
    }

    fn needs(&self, rights: Rights) -> Result<(), i32> {
        if Rights(self.state().rights).has(rights) { Ok(()) } else { Err(libc::EACCES) }
    }

    /// Names and contents, without the root.
    fn all(&self) -> Vec<(String, String)> {
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

    fn shown(&self) -> String {
        self.all()
            .into_iter()
            .map(|(name, text)| format!("{name}={text} "))
            .collect::<String>()
            .trim_end()
            .to_owned()
    }

    fn put(&self, path: &str, body: &str, conditional: bool) -> Result<(), Problem> {
        let path = format!("/afs/c/{path}");
        let mut put =
            Put::begin(Box::new(self.clone()), path.as_bytes(), Some(body.len() as u64), conditional)?;
        for piece in body.as_bytes().chunks(3) {
            put.write(piece)?;
        }
        put.commit().map(drop)
    }
}

impl Sink for Open {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> Result<(), i32> {
        self.memory.step(Step::Write)?;
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
        self.memory.step(Step::Close)?;
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

impl Files for Memory {
    fn may(&self, _dir: &[u8], rights: Rights) -> Result<Option<bool>, i32> {
        let s = self.state();
        Ok(s.asked.then(|| Rights(s.rights).has(rights)))
    }

    fn may_change(&self, _dir: &[u8]) -> Result<(), i32> {
        self.needs(Rights::INSERT)
    }

    fn room(&self, _dir: &[u8]) -> Result<u64, i32> {
        self.step(Step::Room)?;
        self.state().room.ok_or(libc::EACCES)
    }

    fn volume(&self, dir: &[u8]) -> Result<u64, i32> {
        self.step(Step::Volume)?;
        let s = self.state();
        let inside = |mount: &&Vec<u8>| matches!(dir.strip_prefix(mount.as_slice()), Some([] | [b'/', ..]));
        Ok(s.mounts.iter().filter(inside).count() as u64)
    }

    fn look(&self, path: &[u8]) -> Result<Look, i32> {
        let s = self.state();
        let (kind, mode, size) = match s.nodes.get(path).ok_or(libc::ENOENT)? {
            Node::File(bytes, mode) => (Kind::File, *mode, bytes.len() as u64),
            Node::Dir => (Kind::Directory, 0o755, 2048),
            Node::Link(_) => (Kind::Link, 0o777, 0),
        };
        Ok(Look { kind, mode, size, mtime_s: s.written_s })
    }

    fn etag(&self, path: &[u8]) -> Result<String, i32> {
        self.state().nodes.get(path).map(|node| format!("{node:?}")).ok_or(libc::ENOENT)
    }

    fn names(&self, dir: &[u8]) -> Result<Vec<Vec<u8>>, i32> {
        let s = self.state();
        let inside = s.nodes.keys().filter_map(|path| split(path)).filter(|(d, _)| *d == dir);
        Ok(inside.map(|(_, name)| name.to_vec()).collect())
    }

    fn create(&self, path: &[u8], mode: u32) -> Result<Box<dyn Sink>, i32> {
        self.needs(Rights::INSERT)?;
        let mut s = self.state();
        if s.nodes.contains_key(path) {
            return Err(libc::EEXIST);
        }
        let (dir, _) = split(path).unwrap();
        if s.nodes.get(dir) != Some(&Node::Dir) {
            return Err(libc::ENOENT);
        }
        s.nodes.insert(path.to_vec(), Node::File(Vec::new(), mode));
        Ok(Box::new(Open { memory: self.clone(), path: path.to_vec(), bytes: Vec::new() }))
    }

    fn open_to_write(&self, path: &[u8]) -> Result<Box<dyn Sink>, i32> {
        self.needs(Rights::WRITE)?;
        match self.state().nodes.get(path) {
            Some(Node::File(bytes, _)) => {
                Ok(Box::new(Open { memory: self.clone(), path: path.to_vec(), bytes: bytes.clone() }))
            }
            Some(_) => Err(libc::EISDIR),
            None => Err(libc::ENOENT),
        }
    }

    fn open_to_read(&self, path: &[u8]) -> Result<Box<dyn Source>, i32> {
        match self.state().nodes.get(path) {
            Some(Node::File(bytes, _)) => {
                Ok(Box::new(Open { memory: self.clone(), path: path.to_vec(), bytes: bytes.clone() }))
            }
            _ => Err(libc::ENOENT),
        }
    }

    fn readlink(&self, path: &[u8]) -> Result<Vec<u8>, i32> {
        match self.state().nodes.get(path) {
            Some(Node::Link(to)) => Ok(to.clone()),
            _ => Err(libc::EINVAL),
        }
    }

    fn symlink(&self, target: &[u8], path: &[u8]) -> Result<(), i32> {
        self.needs(Rights::INSERT)?;
        self.state().nodes.insert(path.to_vec(), Node::Link(target.to_vec()));
        Ok(())
    }

    fn mkdir(&self, path: &[u8]) -> Result<(), i32> {
        self.needs(Rights::INSERT)?;
        self.state().nodes.insert(path.to_vec(), Node::Dir);
        Ok(())
    }

    fn rmdir(&self, path: &[u8]) -> Result<(), i32> {
        self.needs(Rights::DELETE)?;
        if !self.names(path)?.is_empty() {
            return Err(libc::ENOTEMPTY);
        }
        self.state().nodes.remove(path).map(drop).ok_or(libc::ENOENT)
    }

    fn unlink(&self, path: &[u8]) -> Result<(), i32> {
        self.step(Step::Unlink)?;
        self.needs(Rights::DELETE)?;
        self.state().nodes.remove(path).map(drop).ok_or(libc::ENOENT)
    }

    fn rename(&self, from: &[u8], to: &[u8]) -> Result<(), i32> {
        self.step(Step::Rename)?;
        self.needs(Rights(Rights::DELETE.0 | Rights::INSERT.0))?;
        let mut s = self.state();
        let below = |path: &[u8], top: &[u8]| matches!(path.strip_prefix(top), Some([] | [b'/', ..]));
        let (moved, rest): (BTreeMap<_, _>, BTreeMap<_, _>) =
            core::mem::take(&mut s.nodes).into_iter().partition(|(path, _)| below(path, from));
        s.nodes = rest.into_iter().filter(|(path, _)| !below(path, to)).collect();
        let renamed = moved.into_iter().map(|(path, node)| ([to, &path[from.len()..]].concat(), node));
        s.nodes.extend(renamed);
        s.renamed.push((from.to_vec(), to.to_vec()));
        Ok(())
    }

    fn cuts_at_once(&self) -> bool {
        self.state().cuts_at_once
    }

    fn leave_behind(&self, path: &[u8]) {
        self.state().left.push(path.to_vec());
    }
}

#[test]
fn a_body_takes_the_place_of_a_file_once_it_is_stored() {
    let m = Memory::with(&[("a", "old")]);
    m.put("a", "new and longer", false).unwrap();
    m.put("b", "another", false).unwrap();
    assert_eq!(m.shown(), "a=new and longer b=another");
}

#[test]
fn a_file_keeps_its_mode() {
    let m = Memory::with(&[]);
    m.state().nodes.insert(b"/afs/c/a".to_vec(), Node::File(b"old".to_vec(), 0o755));
    m.put("a", "new", false).unwrap();
    assert_eq!(m.state().nodes[&b"/afs/c/a"[..]], Node::File(b"new".to_vec(), 0o755));
}

#[test]
fn whatever_fails_nothing_of_the_body_is_there() {
    for (step, errno) in
        [(Step::Write, libc::ENOSPC), (Step::Close, libc::EDQUOT), (Step::Rename, libc::EISDIR)]
    {
        let m = Memory::with(&[("a", "old")]).fail(step, errno);
        assert_eq!(m.put("a", "new", false), Err(Problem::Afs(errno)), "{step:?}");
        assert_eq!(m.put("b", "new", false), Err(Problem::Afs(errno)), "{step:?}");
        assert_eq!(m.shown(), "a=old", "{step:?}");
        assert!(m.state().left.is_empty());
    }
}

#[test]
fn a_temporary_name_that_cannot_be_removed_now_is_noted() {
    let m = Memory::with(&[]).fail(Step::Close, libc::ETIMEDOUT).fail(Step::Unlink, libc::ETIMEDOUT);
    assert_eq!(m.put("a", "new", false), Err(Problem::Afs(libc::ETIMEDOUT)));
    let left = m.state().left.clone();
    assert_eq!(left.len(), 1);
    assert!(split(&left[0]).unwrap().1.starts_with(PREFIX));
    assert!(m.state().nodes.contains_key(&left[0]));
}

#[test]
fn a_body_that_is_broken_off_leaves_nothing_behind() {
    for rights in ["rlidwk", "rlw"] {
        let m = Memory::with(&[("a", "old")]).rights(rights, true);
        let begin = || Put::begin(Box::new(m.clone()), b"/afs/c/a", None, false).unwrap();
        let mut put = begin();
        put.write(&vec![b'x'; 600_000]).unwrap();
        put.abort();
        let mut put = begin();
        put.write(b"some").unwrap();
        drop(put);
        assert_eq!(m.shown(), "a=old", "{rights}");
    }
}

#[test]
fn who_may_only_write_writes_the_file_itself_once_the_body_is_whole() {
    for asked in [true, false] {
        let m = Memory::with(&[("a", "as it was")]).rights("lw", asked);
        assert_eq!(m.put("b", "new", false), Err(Problem::Afs(libc::EACCES)));
        let mut put = Put::begin(Box::new(m.clone()), b"/afs/c/a", None, false).unwrap();
        put.write(&vec![b'n'; 300_000]).unwrap();
        assert_eq!(m.shown(), "a=as it was", "nothing before the end");
        put.commit().unwrap();
        assert_eq!(m.state().nodes[&b"/afs/c/a"[..]], Node::File(vec![b'n'; 300_000], 0o644));
        m.put("a", "short", false).unwrap();
        assert_eq!(m.shown(), "a=short");
    }
}

#[test]
fn who_may_only_insert_makes_new_files_and_changes_none() {
    let m = Memory::with(&[("a", "old")]).rights("li", true);
    m.put("b", "new", false).unwrap();
    assert_eq!(m.put("a", "new", false), Err(Problem::Afs(libc::EACCES)));
    assert_eq!(m.shown(), "a=old b=new");
}

#[test]
fn where_rights_are_not_told_nothing_is_left_of_what_can_be_written() {
    for rights in ["li", "rliw", "rlidwk"] {
        let m = Memory::with(&[("a", "old")]).rights(rights, false);
        let mut put = Put::begin(Box::new(m.clone()), b"/afs/c/b", None, false).unwrap();
        put.write(&vec![b'n'; 300_000]).unwrap();
        put.abort();
        assert_eq!(m.shown(), "a=old", "{rights}");
        m.put("b", "new", false).unwrap();
        assert_eq!(m.shown(), "a=old b=new", "{rights}");
        if rights != "li" {
            m.put("a", "new", false).unwrap();
            assert_eq!(m.shown(), "a=new b=new", "{rights}");
        }
    }
    // What he may not write he may be able to replace, which only the attempt shows.
    let m = Memory::with(&[("a", "old")]).rights("lid", false);
    m.put("a", "new", false).unwrap();
    assert_eq!(m.shown(), "a=new");
    let m = Memory::with(&[("a", "old")]).rights("li", false);
    assert_eq!(m.put("a", "new", false), Err(Problem::Afs(libc::EACCES)));
    let all = m.all();
    assert!(all.len() == 2 && all[0].0.as_bytes().starts_with(PREFIX) && all[0].1.is_empty(), "{all:?}");
}

#[test]
fn what_killed_children_have_left_is_removed_days_later_and_nothing_else() {
    let (left, aside) = (format!(".afsweb-{:032x}", 7), format!(".afsweb-was-{:032x}", 7));
    let m = Memory::with(&[(&left, "half"), (&aside, "a visitor's"), (".afsweb-mine", "his"), ("a", "old")]);
    let days = |n: i64| n * 24 * 3_600;
    m.state().written_s = days(100);
    stale::remove(&m, b"/afs/c", days(101));
    assert!(m.shown().contains("half"), "somebody may still be at it");
    let stays = format!(".afsweb-mine=his {aside}=a visitor's a=old");
    stale::remove(&m, b"/afs/c", days(103));
    assert_eq!(m.shown(), stays);
    // Whoever puts a file there does it, where he may remove files.
    let m = Memory::with(&[("later", "/"), (&format!("later/{left}"), "half")]);
    m.put("later/a", "new", false).unwrap();
    assert_eq!(m.shown(), "later=/ later/a=new");
}

#[test]
fn what_does_not_fit_in_is_not_begun() {
    let m = Memory::with(&[("a", "old")]);
    m.state().room = Some(100_000);
    let begin = |length| Put::begin(Box::new(m.clone()), b"/afs/c/a", Some(length), false).map(drop);
    assert_eq!(begin(3_000_000), Err(Problem::Afs(libc::EDQUOT)));
    assert_eq!(begin(1_100_000), Ok(()), "a server lets it go over the quota by a MiB");
    assert_eq!(m.shown(), "a=old");
    // In place, what was there is in danger.
    let m = m.rights("rlw", true);
    let mut put = Put::begin(Box::new(m.clone()), b"/afs/c/a", None, false).unwrap();
    put.write(&vec![b'x'; 500_000]).unwrap();
    assert_eq!(put.commit(), Err(Problem::Afs(libc::EDQUOT)));
    assert_eq!(m.shown(), "a=old");
}

#[test]
fn a_file_is_not_emptied_for_what_cannot_be_stored() {
    let body = "n".repeat(100_000);
    let full = |cuts_at_once| {
        let m = Memory::with(&[("a", &"o".repeat(90_000))]).rights("rlw", true);
        m.state().room = Some(5_000);
        m.state().cuts_at_once = cuts_at_once;
        m
    };
    // A server is indulgent to what is added to a file, but where the file is cut first it may be all that is lost.
    full(false).put("a", &body, false).unwrap();
    let m = full(true);
    assert_eq!(m.put("a", &body, false), Err(Problem::Afs(libc::EDQUOT)));
    m.put("a", "short", false).unwrap();
    // A server that went away meanwhile.
    let m = Memory::with(&[("a", "old")]).rights("rlw", true).fail(Step::Room, libc::ETIMEDOUT);
    assert_eq!(m.put("a", "new", false), Err(Problem::Afs(libc::ETIMEDOUT)));
    assert_eq!(m.shown(), "a=old");
}

#[test]
fn links_and_directories_are_not_written() {
    let m = Memory::with(&[("d", "/"), ("l", "->d"), ("f", "x")]);
    assert_eq!(m.put("d", "new", false), Err(Problem::Afs(libc::EISDIR)));
    assert_eq!(m.put("l", "new", false), Err(Problem::Link));
    assert_eq!(m.put("none/x", "new", false), Err(Problem::Afs(libc::ENOENT)));
    assert_eq!(m.shown(), "d=/ f=x l=->d");
}

#[test]
fn a_conditional_put_gives_way_to_who_was_faster() {
    for existed in [true, false] {
        let m = Memory::with(if existed { &[("a", "old")] } else { &[] });
        let begin = |conditional| Put::begin(Box::new(m.clone()), b"/afs/c/a", None, conditional).unwrap();
        let (slow, careless) = (begin(true), begin(false));
        m.put("a", "faster", true).unwrap();
        assert_eq!(slow.commit(), Err(Problem::Changed), "{existed}");
        assert_eq!(m.all().iter().filter(|(name, _)| name == "a").count(), 1);
        careless.commit().unwrap();
        assert_eq!(m.shown(), "a=", "without a condition the last one wins");
    }
}

const TREE: [(&str, &str); 6] =
    [("d", "/"), ("d/a", "1"), ("d/l", "->a"), ("d/s", "/"), ("d/s/b", "2"), ("x", "other")];

#[test]
fn trees_are_removed_up_to_mount_points() {
    let m = Memory::with(&TREE);
    tree::remove(&m, b"/afs/c/d").unwrap();
    assert_eq!(m.shown(), "x=other");
    let m = Memory::with(&TREE);
    m.state().mounts = vec![b"/afs/c/d/s".to_vec()];
    assert_eq!(tree::remove(&m, b"/afs/c/d"), Err(vec![(b"/afs/c/d/s".to_vec(), Problem::MountPoint)]));
    assert_eq!(m.shown(), "d=/ d/s=/ d/s/b=2 x=other", "the other volume is as it was");
    assert_eq!(tree::remove(&m, b"/afs/c/d/s"), Err(vec![(b"/afs/c/d/s".to_vec(), Problem::MountPoint)]));
    tree::remove(&m, b"/afs/c/x").unwrap();
    assert_eq!(tree::remove(&m, b"/afs/c/x"), Err(vec![(b"/afs/c/x".to_vec(), Problem::Afs(libc::ENOENT))]));
}

#[test]
fn what_cannot_be_removed_is_told_one_by_one() {
    let m = Memory::with(&TREE).fail(Step::Unlink, libc::EACCES);
    let failed = tree::remove(&m, b"/afs/c/d").unwrap_err();
    let names: Vec<_> = failed.iter().map(|(path, _)| String::from_utf8_lossy(path).into_owned()).collect();
    assert_eq!(names, ["/afs/c/d/a", "/afs/c/d/l", "/afs/c/d/s/b"]);
}

fn copy(m: &Memory, from: &str, to: &str, deep: bool) -> Result<(), tree::Failures> {
    let again = || Box::new(m.clone()) as Box<dyn Files>;
    tree::copy(&again, format!("/afs/c/{from}").as_bytes(), format!("/afs/c/{to}").as_bytes(), deep)
}

#[test]
fn trees_are_copied_with_their_links() {
    let m = Memory::with(&TREE);
    copy(&m, "d", "e", true).unwrap();
    copy(&m, "d", "f", false).unwrap();
    copy(&m, "d/s/b", "y", true).unwrap();
    let want = "d=/ d/a=1 d/l=->a d/s=/ d/s/b=2 e=/ e/a=1 e/l=->a e/s=/ e/s/b=2 f=/ x=other y=2";
    assert_eq!(m.shown(), want);
    // What is replaced is gone with its contents.
    copy(&m, "d/s", "e", true).unwrap();
    copy(&m, "x", "f", true).unwrap();
    assert_eq!(m.shown(), "d=/ d/a=1 d/l=->a d/s=/ d/s/b=2 e=/ e/b=2 f=other x=other y=2");
}

#[test]
fn a_file_that_changes_while_it_is_copied_is_not_copied() {
    let m = Memory::with(&[("from", "one version"), ("to", "as it was")]);
    m.state().changes = Some((b"/afs/c/from".to_vec(), Node::File(b"ANOTHER ONE".to_vec(), 0o644)));
    let failed = copy(&m, "from", "to", false).unwrap_err();
    assert_eq!(failed, [(b"/afs/c/to".to_vec(), Problem::Changed)]);
    assert_eq!(m.shown(), "from=ANOTHER ONE to=as it was");
}

#[test]
fn a_copy_that_fails_leaves_what_was_there() {
    let m = Memory::with(&TREE).fail(Step::Close, libc::EDQUOT);
    for (from, to) in [("d", "new"), ("d", "x"), ("d/a", "x"), ("x", "d")] {
        let failed = copy(&m, from, to, true).unwrap_err();
        assert_eq!(failed[0].1, Problem::Afs(libc::EDQUOT), "{from} {to}");
        assert_eq!(m.shown(), Memory::with(&TREE).shown(), "{from} {to}");
    }
    let m = Memory::with(&TREE);
    m.state().mounts = vec![b"/afs/c/d/s".to_vec()];
    assert_eq!(copy(&m, "d", "e", true), Err(vec![(b"/afs/c/d/s".to_vec(), Problem::MountPoint)]));
    assert_eq!(m.shown(), Memory::with(&TREE).shown());
}

#[test]
fn a_copy_whose_volume_is_not_known_leaves_what_was_there() {
    let m = Memory::with(&TREE).fail(Step::Volume, libc::ETIMEDOUT);
    let failed = copy(&m, "d", "x", true).unwrap_err();
    assert_eq!(failed, [(b"/afs/c/d".to_vec(), Problem::Afs(libc::ETIMEDOUT))]);
    assert_eq!(m.shown(), Memory::with(&TREE).shown());
}

fn rename(m: &Memory, from: &str, to: &str) -> Result<(), tree::Failures> {
    tree::rename(m, format!("/afs/c/{from}").as_bytes(), format!("/afs/c/{to}").as_bytes())
}

#[test]
fn what_is_renamed_replaces_what_was_there() {
    let m = Memory::with(&TREE);
    rename(&m, "d/a", "x").unwrap();
    assert_eq!(m.shown(), "d=/ d/l=->a d/s=/ d/s/b=2 x=1");
    rename(&m, "x", "d").unwrap();
    assert_eq!(m.shown(), "d=1");
}

#[test]
fn a_rename_out_of_the_volume_changes_nothing() {
    let m = Memory::with(&TREE);
    m.state().mounts = vec![b"/afs/c/d/s".to_vec()];
    for (from, to, why) in [
        ("x", "d/s/x", Problem::Afs(libc::EXDEV)),
        ("x", "d/s/b", Problem::Afs(libc::EXDEV)),
        ("d/s/b", "d/a", Problem::Afs(libc::EXDEV)),
        ("d/s", "moved", Problem::MountPoint),
        ("x", "d/s", Problem::MountPoint),
    ] {
        assert_eq!(rename(&m, from, to).unwrap_err()[0].1, why, "{from} {to}");
        assert_eq!(m.shown(), Memory::with(&TREE).shown(), "{from} {to}");
    }
}
