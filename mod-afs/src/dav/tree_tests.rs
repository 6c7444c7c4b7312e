//! Trees on files of which others can make something else at any step.
#![expect(clippy::missing_errors_doc, reason = "an error is what the test is about")]

use super::files::{Task, split};
use super::memory::{Memory, MemoryDir, Node, State, Step};
use super::put::Problem;
use super::tree::{self, Place};
use super::walk::DEEPEST;

const TREE: [(&str, &str); 6] =
    [("d", "/"), ("d/a", "1"), ("d/l", "->a"), ("d/s", "/"), ("d/s/b", "2"), ("x", "other")];

/// The directory of a path below `/afs/c`, and the name in it.
fn place(m: &Memory, path: &str) -> (MemoryDir, Vec<u8>) {
    let path = format!("/afs/c/{path}");
    let (dir, name) = split(path.as_bytes()).unwrap();
    (m.dir(dir).unwrap(), name.to_vec())
}

fn places(
    m: &Memory,
    from: &str,
    to: &str,
    f: impl FnOnce(Place<'_, MemoryDir>, Place<'_, MemoryDir>) -> Result<(), tree::Failures>,
) -> Result<(), tree::Failures> {
    let ((a, from), (b, to)) = (place(m, from), place(m, to));
    f(Place { dir: &a, name: &from }, Place { dir: &b, name: &to })
}

fn remove(m: &Memory, path: &str) -> Result<(), tree::Failures> {
    let (dir, name) = place(m, path);
    tree::remove(&dir, &name)
}

#[test]
fn trees_are_removed_up_to_mount_points() {
    let m = Memory::with(&TREE);
    remove(&m, "d").unwrap();
    assert_eq!(m.shown(), "x=other");
    let m = Memory::with(&TREE);
    m.state().mounts = vec![b"/afs/c/d/s".to_vec()];
    assert_eq!(remove(&m, "d"), Err(vec![(b"/afs/c/d/s".to_vec(), Problem::MountPoint)]));
    assert_eq!(m.shown(), "d=/ d/s=/ d/s/b=2 x=other", "the other volume is as it was");
    assert_eq!(remove(&m, "d/s"), Err(vec![(b"/afs/c/d/s".to_vec(), Problem::MountPoint)]));
    remove(&m, "x").unwrap();
    assert_eq!(remove(&m, "x"), Err(vec![(b"/afs/c/x".to_vec(), Problem::Afs(libc::ENOENT))]));
}

#[test]
fn what_cannot_be_removed_is_told_one_by_one() {
    let m = Memory::with(&TREE).fail(Step::Unlink, libc::EACCES);
    let failed = remove(&m, "d").unwrap_err();
    let names: Vec<_> = failed.iter().map(|(path, _)| String::from_utf8_lossy(path).into_owned()).collect();
    assert_eq!(names, ["/afs/c/d/a", "/afs/c/d/l", "/afs/c/d/s/b"]);
}

fn copy(m: &Memory, from: &str, to: &str, deep: bool) -> Result<(), tree::Failures> {
    places(m, from, to, |from, to| tree::copy(from, to, deep, false))
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
    for asked in 0..=5 {
        let m = Memory::with(&TREE).fail_after(asked, Step::Id, libc::ETIMEDOUT);
        let failed = copy(&m, "d", "x", true).unwrap_err();
        assert_eq!(failed[0].1, Problem::Afs(libc::ETIMEDOUT), "{asked}");
        assert_eq!(m.shown(), Memory::with(&TREE).shown(), "{asked}");
    }
}

fn rename(m: &Memory, from: &str, to: &str) -> Result<(), tree::Failures> {
    places(m, from, to, |from, to| tree::rename(from, to, false))
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

/// `s` is everybody's, `mine` is not.
const SHARED: [(&str, &str); 7] = [
    ("mine", "/"),
    ("mine/one", "secret"),
    ("mine/two", "secret"),
    ("s", "/"),
    ("s/x", "/"),
    ("s/x/one", "1"),
    ("s/x/two", "2"),
];

/// Everybody's `s/x` with a link to `mine` in its place, as soon as a step of that name is about to be done.
fn swapped(step: Step, name: &str) -> Memory {
    Memory::with(&SHARED).before(step, name, |s| {
        s.rename("s/x", "moved");
        s.make("s/x", "->/afs/c/mine");
    })
}

#[test]
fn a_link_in_the_place_of_a_directory_leads_no_removal_elsewhere() {
    for (step, name, left) in [
        (Step::Look, "x", "moved=/ moved/one=1 moved/two=2 "),
        (Step::Sub, "x", "moved=/ moved/one=1 moved/two=2 s=/ s/x=->/afs/c/mine"),
        (Step::Names, "x", "moved=/ s=/ s/x=->/afs/c/mine"),
        (Step::Look, "one", "moved=/ s=/ s/x=->/afs/c/mine"),
        (Step::Unlink, "one", "moved=/ s=/ s/x=->/afs/c/mine"),
        (Step::Unlink, "two", "moved=/ s=/ s/x=->/afs/c/mine"),
    ] {
        let m = swapped(step, name);
        let done = remove(&m, "s");
        assert_eq!(done.is_ok(), !left.contains("s/x"), "{step:?} {name}: {done:?}");
        let want = format!("mine=/ mine/one=secret mine/two=secret {left}");
        assert_eq!(m.shown(), want.trim_end(), "{step:?} {name}");
    }
}

#[test]
fn a_link_in_the_place_of_a_directory_leads_no_copy_elsewhere() {
    for (step, name) in [
        (Step::Look, "x"),
        (Step::Sub, "x"),
        (Step::Names, "x"),
        (Step::Look, "one"),
        (Step::Look, "two"),
        (Step::Mkdir, "x"),
    ] {
        let m = swapped(step, name);
        let _ = copy(&m, "s", "copy", true);
        let secrets = m.all().into_iter().filter(|(_, text)| text == "secret").count();
        assert_eq!(secrets, 2, "{step:?} {name}: {}", m.shown());
        // Nor does one in the place of what is made.
        let m = Memory::with(&SHARED).before(step, name, |s| {
            let made: Vec<String> = s.nodes.keys().map(|p| String::from_utf8_lossy(p).into_owned()).collect();
            let is_made = |p: &&str| p.starts_with(".afsweb-") && !p.contains('/');
            for made in made.iter().filter_map(|p| p.strip_prefix("/afs/c/")).filter(is_made) {
                s.rename(made, "moved");
                s.make(made, "->/afs/c/mine");
            }
        });
        let _ = copy(&m, "s", "copy", true);
        let shown = m.shown();
        assert!(shown.contains("moved=/"), "{step:?} {name}: {shown}");
        assert!(shown.contains("mine=/ mine/one=secret mine/two=secret "), "{step:?} {name}: {shown}");
        assert!(!shown.contains("mine/x"), "{step:?} {name}: {shown}");
    }
}

#[test]
fn nothing_takes_the_place_of_itself_or_of_what_it_is_in() {
    const ALIAS: [(&str, &str); 5] =
        [("d", "/"), ("d/dir", "/"), ("d/dir/f", "1"), ("d/dir/g", "/"), ("l", "->d")];
    for (from, to) in [
        ("l/dir", "d/dir"),
        ("d/dir", "l/dir"),
        ("l/dir/f", "d/dir/f"),
        ("d/dir/f", "l/dir"),
        ("l/dir/g", "d"),
        ("d", "l/dir/new"),
        ("d/dir", "l/dir/g/new"),
        ("d/dir", "l/dir/g"),
    ] {
        let transfers: [fn(&Memory, &str, &str) -> _; 2] = [|m, from, to| copy(m, from, to, true), rename];
        for transfer in transfers {
            let m = Memory::with(&ALIAS);
            assert_eq!(transfer(&m, from, to).unwrap_err()[0].1, Problem::Overlap, "{from} {to}");
            assert_eq!(m.shown(), Memory::with(&ALIAS).shown(), "{from} {to}");
        }
    }
    let m = Memory::with(&ALIAS);
    copy(&m, "l/dir", "d/copy", true).unwrap();
    rename(&m, "l/copy/g", "d/dir/f").unwrap();
    assert_eq!(m.shown(), "d=/ d/copy=/ d/copy/f=1 d/dir=/ d/dir/f=/ d/dir/g=/ l=->d");
}

/// What stands under temporary names.
fn hidden(m: &Memory) -> Vec<String> {
    m.all().into_iter().map(|(name, _)| name).filter(|name| name.contains(".afsweb-")).collect()
}

#[test]
fn what_is_replaced_keeps_its_name_until_the_copy_is_whole() {
    for (from, to) in [("d", "x"), ("d", "e"), ("d/a", "e"), ("d/l", "x")] {
        let files: Vec<_> = TREE.into_iter().chain([("e", "/"), ("e/old", "old")]).collect();
        let there = move |s: &mut State| {
            assert!(s.nodes.contains_key(format!("/afs/c/{to}").as_bytes()), "{from} {to}");
            assert!(s.nodes.contains_key(&b"/afs/c/e/old"[..]), "{from} {to}");
        };
        let mut m = Memory::with(&files);
        for (step, name) in [(Step::Names, "d"), (Step::Look, "s"), (Step::Look, "b"), (Step::Close, "")] {
            m = m.before(step, name, there);
        }
        copy(&m, from, to, true).unwrap();
        assert_eq!(hidden(&m), Vec::<String>::new(), "{from} {to}");
    }
}

#[test]
fn what_cannot_be_put_back_now_is_put_back_later_and_never_removed() {
    let transfers: [fn(&Memory) -> _; 2] = [|m| copy(m, "d", "x", true), |m| rename(m, "d", "x")];
    for (at, transfer) in transfers.into_iter().enumerate() {
        // Of a copy, each file is renamed once, before anything is set aside.
        let m = Memory::with(&TREE).fail_after([3, 1][at], Step::Rename, libc::ETIMEDOUT);
        assert_eq!(transfer(&m).unwrap_err()[0].1, Problem::Afs(libc::ETIMEDOUT));
        let later = m.state().later.clone();
        let [Task::PutBack { aside, name }] = later.as_slice() else { panic!("{later:?}") };
        assert_eq!(name, b"x");
        let (dir, _) = place(&m, "x");
        assert_eq!(hidden(&m), [String::from_utf8_lossy(aside)], "nothing else, and that is still there");
        m.state().stop_failing();
        // Nor is what has come in its place.
        m.state().make("x", "somebody else's");
        assert_eq!(tree::put_back(&dir, aside, name), Err(Problem::Afs(libc::EEXIST)));
        remove(&m, "x").unwrap();
        tree::put_back(&dir, aside, name).unwrap();
        assert_eq!(m.shown(), Memory::with(&TREE).shown());
        tree::put_back(&dir, aside, name).unwrap();
    }
    // A server that was not heard may have set it aside.
    let m = Memory::with(&TREE).fail(Step::Rename, libc::ETIMEDOUT);
    rename(&m, "d", "x").unwrap_err();
    assert!(matches!(m.state().later.as_slice(), [Task::PutBack { .. }]));
}

#[test]
fn what_somebody_else_has_made_meanwhile_is_not_removed() {
    let his = |s: &mut State| {
        s.make("new", "/");
        s.make("new/his", "his");
    };
    for (rights, step, name) in
        [("rlidwk", Step::Names, "d"), ("rlidwk", Step::Look, "b"), ("rli", Step::Mkdir, "new")]
    {
        let m = Memory::with(&TREE).rights(rights, true).before(step, name, his);
        assert_eq!(copy(&m, "d", "new", true).unwrap_err()[0].1, Problem::Afs(libc::EEXIST), "{rights}");
        let want = Memory::with(&TREE);
        his(&mut want.state());
        assert_eq!(m.shown(), want.shown(), "{rights}");
    }
}

#[test]
fn who_may_only_insert_copies_to_new_names() {
    for asked in [true, false] {
        let m = Memory::with(&TREE).rights("rli", asked);
        copy(&m, "d", "new", true).unwrap();
        for path in ["new/a", "new/l", "new/s/b"] {
            assert!(m.all().iter().any(|(name, _)| name == path), "{path}: {}", m.shown());
        }
        assert_eq!(copy(&m, "d", "x", true).unwrap_err()[0].1, Problem::Afs(libc::EACCES));
        assert!(m.shown().ends_with("x=other"));
    }
}

#[test]
fn what_is_copied_comes_into_no_directory_of_somebody_elses() {
    type Deed = fn(&mut State);
    let private: Deed = |s| {
        s.rename("mine", "s/copy/x");
    };
    let mount: Deed = |s| {
        s.rename("mine", "s/copy/x");
        s.mounts.push(b"/afs/c/s/copy/x".to_vec());
    };
    for (deed, why) in [(private, Problem::Changed), (mount, Problem::MountPoint)] {
        // The visitor may not rename, so that the names are known.
        let files = SHARED.into_iter().chain([("from", "/"), ("from/x", "/"), ("from/x/one", "new")]);
        let m = Memory::with(&files.collect::<Vec<_>>()).rights("rliw", true);
        // The second time it is asked which one it is, `x` has just been made in it.
        let m = m.before(Step::Id, "copy", |_| ()).before(Step::Id, "copy", deed);
        assert_eq!(copy(&m, "from", "s/copy", true).unwrap_err()[0].1, why);
        assert!(m.shown().contains("s/copy/x/one=secret s/copy/x/two=secret"), "{}", m.shown());
    }
}

#[test]
fn what_is_replaced_holds_nothing_that_could_not_be_removed() {
    let files: Vec<_> =
        TREE.into_iter().chain([("e", "/"), ("e/old", "1"), ("e/v", "/"), ("e/v/his", "2")]).collect();
    let transfers: [fn(&Memory, &str) -> _; 2] =
        [|m, from| copy(m, from, "e", true), |m, from| rename(m, from, "e")];
    for transfer in transfers {
        for from in ["d", "x"] {
            let m = Memory::with(&files);
            m.state().mounts = vec![b"/afs/c/e/v".to_vec()];
            let failed = transfer(&m, from).unwrap_err();
            assert_eq!(failed, [(b"/afs/c/e/v".to_vec(), Problem::MountPoint)], "{from}");
            assert_eq!(m.shown(), Memory::with(&files).shown(), "{from}");
        }
    }
}

#[test]
fn what_is_replaced_holds_no_directory_that_keeps_what_is_in_it() {
    let files: Vec<_> = TREE.into_iter().chain([("e", "/"), ("e/ro", "/"), ("e/ro/his", "2")]).collect();
    let transfers: [fn(&Memory) -> _; 2] = [|m| copy(m, "d", "e", true), |m| rename(m, "x", "e")];
    for transfer in transfers {
        let m = Memory::with(&files);
        m.state().sealed = vec![b"/afs/c/e/ro".to_vec()];
        let failed = transfer(&m).unwrap_err();
        assert_eq!(failed, [(b"/afs/c/e/ro".to_vec(), Problem::Afs(libc::EACCES))]);
        assert_eq!(m.shown(), Memory::with(&files).shown());
        // An empty one goes.
        m.state().nodes.remove(&b"/afs/c/e/ro/his"[..]);
        transfer(&m).unwrap();
        assert_eq!(hidden(&m), Vec::<String>::new());
    }
}

#[test]
fn what_gets_a_temporary_name_from_somebody_else_is_not_removed() {
    let swap = |s: &mut State| {
        let all: Vec<String> = s.nodes.keys().map(|p| String::from_utf8_lossy(p).into_owned()).collect();
        let aside = all.iter().filter_map(|p| p.strip_prefix("/afs/c/"));
        let aside = aside.filter(|p| p.starts_with(".afsweb-was-")).min_by_key(|p| p.len()).unwrap();
        s.rename(aside, "moved");
        s.rename("mine", aside);
    };
    // When the new one gets its name.
    let m = Memory::with(&SHARED).before(Step::Rename, "s", swap);
    copy(&m, "mine", "new", true).unwrap();
    rename(&m, "new", "s").unwrap();
    let secrets = m.all().into_iter().filter(|(_, text)| text == "secret").count();
    assert_eq!(secrets, 4, "{}", m.shown());
    assert!(m.shown().contains("moved/x/one=1"), "{}", m.shown());
}

#[test]
fn what_is_too_deep_says_so() {
    let mut path = "deep".to_owned();
    let mut files = vec![(path.clone(), "/")];
    for _ in 0..DEEPEST {
        path.push_str("/d");
        files.push((path.clone(), "/"));
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    let m = Memory::with(&files);
    for failed in [remove(&m, "deep"), copy(&m, "deep", "other", true)] {
        assert_eq!(failed.unwrap_err()[0].1, Problem::TooDeep);
    }
    assert_eq!(m.shown(), Memory::with(&files).shown());
}

#[test]
fn programs_stay_programs() {
    let m = Memory::with(&TREE);
    m.state().nodes.insert(b"/afs/c/d/a".to_vec(), Node::File(b"1".to_vec(), 0o755));
    copy(&m, "d", "e", true).unwrap();
    copy(&m, "d/a", "x", true).unwrap();
    for (path, mode) in [("e/a", 0o755), ("x", 0o755), ("e/s/b", 0o644)] {
        let node = m.state().nodes.get(format!("/afs/c/{path}").as_bytes()).cloned();
        assert!(matches!(node, Some(Node::File(_, m)) if m == mode), "{path}: {node:?}");
    }
}

#[test]
fn what_is_to_be_new_takes_the_place_of_nothing_that_came_meanwhile() {
    for (from, to) in [("d/a", "x"), ("d", "x"), ("x", "d"), ("d/l", "x")] {
        let m = Memory::with(&TREE);
        let before = m.shown();
        let changed = Err(vec![(format!("/afs/c/{to}").into_bytes(), Problem::Changed)]);
        assert_eq!(places(&m, from, to, |from, to| tree::copy(from, to, true, true)), changed, "{from}");
        assert_eq!(places(&m, from, to, |from, to| tree::rename(from, to, true)), changed, "{from}");
        assert_eq!(m.shown(), before);
    }
    let m = Memory::with(&TREE);
    places(&m, "d/a", "new", |from, to| tree::copy(from, to, true, true)).unwrap();
    places(&m, "new", "newer", |from, to| tree::rename(from, to, true)).unwrap();
    assert!(m.shown().contains("newer=1"), "{}", m.shown());
}
