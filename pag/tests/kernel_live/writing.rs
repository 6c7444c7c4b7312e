//! Writing: what a visitor with which rights can do to files, and when it is stored.

use crate::outside::kind;
use crate::places::set_acl;
use crate::stage::Stage;
use pag::mounted::Dir;
use pag::userspace::Rights;
use pag::{ClientKind, Fault};

pub(super) fn what_is_written_is_stored_when_it_is_closed() {
    let stage = Stage::open(3);
    let (admin, alice, bob) = (stage.pag("admin"), stage.pag("alice"), stage.pag("bob"));
    let afs = stage.afs();
    let at = format!("{}/writing-{}", stage.dir, std::process::id());
    let scope = admin.enter().unwrap();
    for (dir, rights) in [("", "rliwd"), ("/insert", "li"), ("/in-place", "rlw")] {
        let dir = format!("{at}{dir}");
        std::fs::create_dir(&dir).unwrap();
        let all = ["system:administrators", "rlidwka", "alice", rights, "bob", "rl"];
        set_acl(&dir, &all, &[]);
    }
    std::fs::write(format!("{at}/in-place/file"), "as it was").unwrap();
    std::os::unix::fs::symlink("/tmp", format!("{at}/outside")).unwrap();
    drop(scope);
    let open = |dir: &str| Dir::open(format!("{at}{dir}").as_bytes(), b"/afs").unwrap();
    let read = |name: &str| std::fs::read_to_string(format!("{at}/{name}")).unwrap();
    let scope = alice.enter().unwrap();
    let dir = open("");
    let new = dir.create(b"new", 0o644).unwrap();
    assert_eq!(dir.create(b"new", 0o644).unwrap_err().errno(), Some(libc::EEXIST));
    new.write_at(b"0123456789", 0).unwrap();
    new.close().unwrap();
    dir.rename(b"new", &dir, b"renamed").unwrap();
    let again = dir.open_to_write(b"renamed").unwrap();
    again.truncate(4).unwrap();
    again.close().unwrap();
    assert_eq!(read("renamed"), "0123");
    dir.mkdir(b"sub").unwrap();
    let sub = dir.sub(b"sub").unwrap();
    sub.create(b"file", 0o644).unwrap().close().unwrap();
    assert_eq!(dir.rmdir(b"sub").unwrap_err().errno(), Some(libc::ENOTEMPTY));
    sub.unlink(b"file").unwrap();
    assert_eq!(
        afs.id_of(&sub.above(b"/afs").unwrap().unwrap().by_descriptor()),
        afs.id_of(&dir.by_descriptor())
    );
    assert_ne!(afs.id_of(&sub.by_descriptor()), afs.id_of(&dir.by_descriptor()));
    drop(sub);
    dir.rmdir(b"sub").unwrap();
    // Up to the root of AFS.
    let mut highest = Some(open(""));
    for _ in 0..10 {
        highest = highest.and_then(|dir| dir.above(b"/afs").unwrap());
    }
    assert!(highest.is_none());
    let outside = Dir::open(format!("{at}/outside").as_bytes(), b"/afs").unwrap_err();
    assert_eq!(outside.errno(), Some(libc::ELOOP), "a link to this machine's own files");
    // Rights: asked where the client can be asked, and found out where not.
    let insert = open("/insert");
    insert.create(b"new", 0o644).unwrap().close().unwrap();
    let renamed = insert.rename(b"new", &insert, b"other").unwrap_err();
    assert_eq!(Fault::of(renamed.errno().unwrap()), Fault::NoRight);
    let in_place = open("/in-place");
    assert_eq!(Fault::of(in_place.create(b"new", 0o644).unwrap_err().errno().unwrap()), Fault::NoRight);
    let file = in_place.open_to_write(b"file").unwrap();
    file.truncate(0).unwrap();
    file.write_at(b"in place", 0).unwrap();
    file.close().unwrap();
    assert_eq!(read("in-place/file"), "in place");
    let told = kind() == ClientKind::OpenAfs;
    for (dir, rights, want) in [
        ("", "id", true),
        ("/insert", "i", true),
        ("/insert", "id", false),
        ("/in-place", "w", true),
        ("/in-place", "i", false),
    ] {
        let seen = afs.has_rights(format!("{at}{dir}").as_bytes(), Rights::parse(rights).unwrap());
        assert_eq!(seen.unwrap(), told.then_some(want), "{dir} {rights}");
    }
    // Volumes, and what fits in.
    let by_descriptor = dir.by_descriptor();
    assert_eq!(afs.id_of(&by_descriptor).unwrap(), afs.id_of(at.as_bytes()).unwrap());
    assert_ne!(afs.id_of(&by_descriptor).unwrap().0, 0);
    assert!(afs.room(&by_descriptor).unwrap() > 1 << 20);
    drop(scope);
    let scope = bob.enter().unwrap();
    let dir = open("");
    for failed in [
        dir.create(b"bobs", 0o644).err(),
        dir.open_to_write(b"renamed").and_then(|w| w.write_at(b"x", 0).and_then(|()| w.close())).err(),
        dir.unlink(b"renamed").err(),
        dir.mkdir(b"sub").err(),
    ] {
        assert_eq!(Fault::of(failed.unwrap().errno().unwrap()), Fault::NoRight);
    }
    assert_eq!(read("renamed"), "0123");
    drop(scope);
}
