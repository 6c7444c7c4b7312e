//! Puts on files that can be made to fail at any step.

use super::files::{Task, join};
use super::memory::{Memory, Node, Step};
use super::put::{PREFIX, Problem, Put};
use super::stale;

#[test]
fn a_body_takes_the_place_of_a_file_once_it_is_stored() {
    let m = Memory::with(&[("a", "old")]);
    m.put("a", "new and longer", false).unwrap();
    m.put("b", "another", false).unwrap();
    assert_eq!(m.shown(), "a=new and longer b=another");
}

#[test]
fn where_files_are_stored_in_turn_nothing_is_written_before_the_body_is_whole() {
    for (rights, asked) in [("rlidwk", true), ("rlidwk", false), ("rlid", false), ("rlw", true)] {
        let m = Memory::with(&[("a", "old")]).rights(rights, asked);
        m.state().in_turn = true;
        let body = "new".repeat(300_000);
        let mut put = m.begin("a", None, false).unwrap();
        put.write(body.as_bytes()).unwrap();
        assert!(m.all().iter().all(|(_, text)| text.len() <= 3), "{rights}");
        put.commit().unwrap();
        assert_eq!(m.all(), [("a".to_owned(), body)], "{rights}");
        // A turn that does not come changes nothing.
        let m = m.fail(Step::Turn, libc::ETIMEDOUT);
        let before = m.all();
        assert_eq!(m.put("a", "newer", false), Err(Problem::Afs(libc::ETIMEDOUT)), "{rights}");
        assert_eq!(m.all(), before, "{rights}");
    }
}

#[test]
fn what_happens_while_a_turn_is_waited_for_counts() {
    for rights in ["rlw", "rlidwk"] {
        let m = Memory::with(&[("a", "old")]).rights(rights, true);
        let m = m.before(Step::Turn, "", |s| s.make("a", "somebody's"));
        assert_eq!(m.put("a", "new", true), Err(Problem::Changed), "{rights}");
        assert_eq!(m.shown(), "a=somebody's", "{rights}");
    }
    let m = Memory::with(&[("a", "old")]).rights("rlw", true).before(Step::Turn, "", |s| s.room = Some(0));
    m.state().room = Some(1 << 30);
    assert_eq!(m.put("a", &"new".repeat(1 << 20), false), Err(Problem::Afs(libc::EDQUOT)));
    assert_eq!(m.shown(), "a=old");
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
        assert!(m.state().later.is_empty());
    }
}

#[test]
fn a_temporary_name_that_cannot_be_removed_now_is_noted() {
    let m = Memory::with(&[]).fail(Step::Close, libc::ETIMEDOUT).fail(Step::Unlink, libc::ETIMEDOUT);
    assert_eq!(m.put("a", "new", false), Err(Problem::Afs(libc::ETIMEDOUT)));
    let later = m.state().later.clone();
    let [Task::Remove { name, which: None }] = later.as_slice() else { panic!("{later:?}") };
    assert!(name.starts_with(PREFIX));
    assert!(m.state().nodes.contains_key(&join(b"/afs/c", name)));
}

#[test]
fn a_server_that_did_not_answer_is_not_waited_for_again() {
    for step in [Step::Write, Step::Close, Step::Rename] {
        let m = Memory::with(&[]).fail(step, libc::ETIMEDOUT);
        assert_eq!(m.put("a", "new", false), Err(Problem::Afs(libc::ETIMEDOUT)));
        let later = m.state().later.clone();
        let [Task::Remove { name, which: None }] = later.as_slice() else { panic!("{later:?}") };
        assert!(m.state().nodes.contains_key(&join(b"/afs/c", name)), "{step:?}: it was asked to remove it");
    }
    // One that answers at once that it cannot may be able to do that.
    let m = Memory::with(&[]).fail(Step::Close, libc::EIO);
    assert_eq!(m.put("a", "new", false), Err(Problem::Afs(libc::EIO)));
    assert_eq!(m.shown(), "");
    assert!(m.state().later.is_empty());
}

#[test]
fn a_body_that_is_broken_off_leaves_nothing_behind() {
    for rights in ["rlidwk", "rlw"] {
        let m = Memory::with(&[("a", "old")]).rights(rights, true);
        let begin = || m.begin("a", None, false).unwrap();
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
        let mut put = m.begin("a", None, false).unwrap();
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
        let mut put = m.begin("b", None, false).unwrap();
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
    stale::remove(&m.dir(b"/afs/c").unwrap(), days(101));
    assert!(m.shown().contains("half"), "somebody may still be at it");
    let stays = format!(".afsweb-mine=his {aside}=a visitor's a=old");
    stale::remove(&m.dir(b"/afs/c").unwrap(), days(103));
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
    let begin = |length| m.begin("a", Some(length), false).map(drop);
    assert_eq!(begin(3_000_000), Err(Problem::Afs(libc::EDQUOT)));
    assert_eq!(begin(1_100_000), Ok(()), "a server lets it go over the quota by a MiB");
    assert_eq!(m.shown(), "a=old");
    // In place, what was there is in danger.
    let m = m.rights("rlw", true);
    let mut put = m.begin("a", None, false).unwrap();
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
        let begin = |conditional| m.begin("a", None, conditional).unwrap();
        let (slow, careless) = (begin(true), begin(false));
        m.put("a", "faster", true).unwrap();
        assert_eq!(slow.commit(), Err(Problem::Changed), "{existed}");
        assert_eq!(m.all().iter().filter(|(name, _)| name == "a").count(), 1);
        careless.commit().unwrap();
        assert_eq!(m.shown(), "a=", "without a condition the last one wins");
    }
}

#[test]
fn a_conditional_put_gives_way_to_who_was_faster_than_its_beginning() {
    for existed in [true, false] {
        let m = Memory::with(if existed { &[("a", "old")] } else { &[] });
        let judged = m.validator("a");
        m.put("a", "faster", false).unwrap();
        let mut put = Put::begin(m.dir(b"/afs/c").unwrap(), b"a", None, Some(judged), None).unwrap();
        put.write(b"late").unwrap();
        assert_eq!(put.commit(), Err(Problem::Changed), "{existed}");
        assert_eq!(m.shown(), "a=faster");
    }
}
