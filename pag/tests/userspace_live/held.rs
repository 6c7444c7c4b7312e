//! Directories that are held: what is done to the names in them is done there, wherever paths lead meanwhile.

use super::{errno, world};
use pag::Error;
use pag::userspace::{Files, Kind};

#[test]
#[ignore = "needs a cell: run by cargo xtask test"]
fn a_directory_that_is_held_stays_the_same_when_a_link_takes_its_place() {
    let (w, _one) = world();
    let top = w.directory("held", &["alice"]);
    let at = |name: &str| format!("{top}/{name}");
    let admin = w.pag("admin");
    let scope = admin.enter().unwrap();
    let files = w.afs.files(&scope).unwrap();
    let make = |f: &Files<'_>, path: &str| f.write_file(at(path).as_bytes(), path.as_bytes()).unwrap();
    for dir in ["x", "x/sub", "mine"] {
        files.mkdir(at(dir).as_bytes()).unwrap();
    }
    for file in ["x/one", "x/two", "mine/one", "mine/two"] {
        make(&files, file);
    }
    let parent = files.open_dir(top.as_bytes()).unwrap();
    let x = parent.sub(&scope, b"x").unwrap();
    let sub = x.sub(&scope, b"sub").unwrap();
    assert_eq!(sub.above(&scope).unwrap().unwrap().stat(&scope).unwrap().fid, x.stat(&scope).unwrap().fid);
    files.rename(at("x").as_bytes(), at("moved").as_bytes()).unwrap();
    files.symlink(b"mine", at("x").as_bytes()).unwrap();
    // By its path it is another one; held, it is what it was.
    assert_eq!(files.read_file(at("x/one").as_bytes(), 100).unwrap(), b"mine/one");
    x.unlink(&scope, b"one").unwrap();
    let mut names = x.names(&scope).unwrap();
    names.sort();
    assert_eq!(names, [&b"sub"[..], b"two"]);
    let file = x.open_to_read(&scope, b"two").unwrap();
    let mut buf = [0; 16];
    assert_eq!(file.pread(&scope, &mut buf, 0).unwrap(), 5);
    assert_eq!(&buf[..5], b"x/two");
    drop(file);
    x.create(&scope, b"new", 0o644).unwrap().close().unwrap();
    x.mkdir(&scope, b"made").unwrap();
    x.symlink(&scope, b"two", b"link").unwrap();
    x.rename(&scope, b"new", &sub, b"renamed").unwrap();
    assert_eq!(x.readlink(&scope, b"link").unwrap(), b"two");
    assert_eq!(sub.lstat(&scope, b"renamed").unwrap().kind, Kind::File);
    // No link is followed in it.
    assert_eq!(x.lstat(&scope, b"link").unwrap().kind, Kind::Link);
    assert_eq!(errno(x.open_to_read(&scope, b"link")), libc::ELOOP);
    assert_eq!(errno(x.open_to_write(&scope, b"link")), libc::ELOOP);
    assert_eq!(errno(parent.sub(&scope, b"x")), libc::ENOTDIR);
    assert_eq!(errno(parent.rmdir(&scope, b"x")), libc::ENOTDIR);
    for bad in [&b""[..], b".", b"..", b"a/b", b"a\0b", b"x@sys"] {
        assert_eq!(errno(x.create(&scope, bad, 0o644)), libc::EINVAL);
        assert_eq!(errno(x.sub(&scope, bad)), libc::EINVAL);
    }
    assert_eq!(errno(x.rmdir(&scope, b"sub")), libc::ENOTEMPTY);
    sub.unlink(&scope, b"renamed").unwrap();
    for dir in [&b"made"[..], b"sub"] {
        x.rmdir(&scope, dir).unwrap();
    }
    for file in [&b"two"[..], b"link"] {
        x.unlink(&scope, file).unwrap();
    }
    parent.rmdir(&scope, b"moved").unwrap();
    assert_eq!(errno(x.create(&scope, b"late", 0o644)), libc::EIO, "it has gone");
    assert_eq!(files.read_dir(at("mine").as_bytes()).unwrap().len(), 2);
    // Up to the root of AFS, above which there is nothing.
    let mut highest = files.open_dir(top.as_bytes()).unwrap();
    let mut steps = 0;
    while let Some(above) = highest.above(&scope).unwrap() {
        highest = above;
        steps += 1;
    }
    assert_eq!(steps, 3);
    assert_eq!(highest.stat(&scope).unwrap().fid, files.stat(b"/afs").unwrap().fid);
}

#[test]
#[ignore = "needs a cell: run by cargo xtask test"]
fn a_directory_that_is_held_serves_only_its_pag_and_only_what_that_may() {
    let (w, _one) = world();
    let top = w.directory("held-by", &["alice"]);
    let dir = format!("{top}/alice");
    let alice = w.pag("alice");
    let scope = alice.enter().unwrap();
    let held = w.afs.files(&scope).unwrap().open_dir(dir.as_bytes()).unwrap();
    assert_eq!(held.names(&scope).unwrap(), [b"file"]);
    assert_eq!(errno(held.unlink(&scope, b"file")), libc::EACCES);
    drop(scope);
    let bob = w.pag("bob");
    let scope = bob.enter().unwrap();
    assert_eq!(held.names(&scope).unwrap_err(), Error::WrongPag);
    assert_eq!(held.lstat(&scope, b"file").unwrap_err(), Error::WrongPag);
    // Held without any right; of what is in it, in the cache since alice looked, he is told nothing.
    let his = w.afs.files(&scope).unwrap().open_dir(dir.as_bytes()).unwrap();
    assert_eq!(errno(his.names(&scope)), libc::EACCES);
    assert_eq!(errno(his.lstat(&scope, b"file")), libc::EACCES);
    assert_eq!(errno(his.open_to_read(&scope, b"file")), libc::EACCES);
    assert_eq!(his.rename(&scope, b"file", &held, b"other"), Err(Error::WrongPag));
    drop(scope);
    // References come and go; the last goes in another thread, in no scope.
    let scope = alice.enter().unwrap();
    for _ in 0..20_000 {
        let above = held.above(&scope).unwrap().unwrap();
        assert_eq!(above.sub(&scope, b"alice").unwrap().lstat(&scope, b"file").unwrap().size, 5);
    }
    drop(scope);
    std::thread::scope(|s| {
        s.spawn(|| drop((held, his)));
    });
    w.as_user("alice", |f| assert_eq!(f.read_dir(dir.as_bytes()).unwrap(), [b"file"]));
}
