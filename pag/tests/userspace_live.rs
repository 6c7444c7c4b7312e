//! The user-space client against a real cell.
//!
//! Reads the description of the world that it runs in: `/run/afsweb-world.json`, or the file that AFSWEB_WORLD names.
//! Takes of it: `conf_dir`, `programs.uafs` (or AFSWEB_UAFS), and of the first cell `name`, `key_hex`, `kvno`, the users
//! admin, alice and bob, the `fileserver` with its pid, the volume `vol.quota`, and `replica`, a mount point of a read-only
//! volume. Makes a directory of its own in root.cell.
//! With AFSWEB_DISK_CACHE in the environment the client has a disk cache.
//! A process has one client, so the tests share it and run one after the other.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test, also outside its test functions")]
#![expect(clippy::print_stdout, reason = "measured times and sizes")]

use pag::userspace::{Acl, Config, Files, Kind, Userspace, snapshot_confdir};
use pag::{AfsClient as _, Cell, Error, Pag, SessionKey, Token};
use serde_json::Value;
use std::os::unix::fs::DirBuilderExt as _;
use std::sync::{Arc, Barrier, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[path = "userspace_live/held.rs"]
mod held;
#[path = "userspace_live/patience.rs"]
mod patience;

/// Seconds until a silent server counts as down.
const DEAD_S: u64 = 6;

/// What the tests share.
struct World {
    /// The description.
    about: Value,
    /// The client.
    afs: Arc<Userspace>,
    /// Directory of the tests.
    dir: String,
    /// How many files the client remembers.
    stat_entries: usize,
    /// Keeps the configuration directory.
    _conf: tempfile::TempDir,
}

/// The world, for one test at a time.
fn world() -> (&'static World, MutexGuard<'static, ()>) {
    static ONE: Mutex<()> = Mutex::new(());
    static WORLD: OnceLock<World> = OnceLock::new();
    let guard = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    (WORLD.get_or_init(World::start), guard)
}

impl World {
    fn start() -> Self {
        let at = std::env::var("AFSWEB_WORLD").unwrap_or_else(|_| "/run/afsweb-world.json".to_owned());
        let about: Value = serde_json::from_str(&std::fs::read_to_string(at).unwrap()).unwrap();
        let conf = tempfile::tempdir().unwrap();
        snapshot_confdir(about["conf_dir"].as_str().unwrap().as_ref(), conf.path()).unwrap();
        let object = std::env::var("AFSWEB_UAFS").ok();
        let object = object.as_deref().or_else(|| about["programs"]["uafs"].as_str()).unwrap();
        let mut config = Config::new(object, conf.path());
        config.dead_time = Duration::from_secs(DEAD_S);
        if std::env::var_os("AFSWEB_DISK_CACHE").is_some() {
            let dir = conf.path().join("cache");
            std::fs::DirBuilder::new().mode(0o700).create(&dir).unwrap();
            config.cache = pag::userspace::Cache::Disk { dir, kib: 20_000 };
        }
        let afs = Userspace::start(&config).unwrap();
        let cell = about["cells"][0]["name"].as_str().unwrap().to_owned();
        let dir = format!("/afs/.{cell}/pag-live-{}", std::process::id());
        let stat_entries = usize::try_from(config.stat_entries).unwrap();
        let w = Self { about, afs, dir, stat_entries, _conf: conf };
        w.as_user("admin", |f| {
            let root = format!("/afs/.{cell}");
            let mut acl = f.acl(root.as_bytes()).unwrap();
            if !acl.positive.iter().any(|(n, r)| n == "system:anyuser" && r & 8 != 0) {
                acl.positive.push(("system:anyuser".to_owned(), 8));
                f.set_acl(root.as_bytes(), &acl).unwrap();
            }
            f.mkdir(w.dir.as_bytes()).unwrap();
        });
        w
    }

    /// A token that the cell's key makes.
    fn token(&self, user: &str) -> Token {
        let cell = &self.about["cells"][0];
        let key: kaserver::Key = cell["key_hex"].as_str().unwrap().parse().unwrap();
        let kvno = i32::try_from(cell["kvno"].as_i64().unwrap()).unwrap();
        let now = u32::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
        let t = kaserver::mint_token(user, "", now - 60, 36_000, &key, kvno).unwrap();
        Token {
            cell: Cell::new(cell["name"].as_str().unwrap()).unwrap(),
            afs_id: 1,
            kvno: t.kvno,
            key: SessionKey(t.session_key),
            begin: t.begin.into(),
            end: t.end.into(),
            ticket: t.ticket.clone().into(),
        }
    }

    /// A PAG with a user's token.
    fn pag(&self, user: &str) -> Pag {
        let pag = self.afs.clone().new_pag().unwrap();
        pag.set_token(&self.token(user)).unwrap();
        pag
    }

    /// Does something as a user.
    fn as_user<T>(&self, user: &str, f: impl FnOnce(&Files<'_>) -> T) -> T {
        self.inside(&self.pag(user), f)
    }

    /// Does something in a PAG.
    fn inside<T>(&self, pag: &Pag, f: impl FnOnce(&Files<'_>) -> T) -> T {
        let scope = pag.enter().unwrap();
        f(&self.afs.files(&scope).unwrap())
    }

    /// Does something as nobody.
    fn as_nobody<T>(&self, f: impl FnOnce(&Files<'_>) -> T) -> T {
        self.inside(self.afs.anonymous(), f)
    }

    /// Makes a directory for a test in which everybody may search and those named may read, with a file of each.
    fn directory(&self, name: &str, readers: &[&str]) -> String {
        let top = format!("{}/{name}", self.dir);
        self.as_user("admin", |f| {
            f.mkdir(top.as_bytes()).unwrap();
            let all = [("system:administrators".to_owned(), 127), ("system:anyuser".to_owned(), 8)];
            f.set_acl(top.as_bytes(), &Acl { positive: all.to_vec(), negative: vec![] }).unwrap();
            for user in readers {
                let own = format!("{top}/{user}");
                f.mkdir(own.as_bytes()).unwrap();
                let acl = vec![("system:administrators".to_owned(), 127), ((*user).to_owned(), 9)];
                f.set_acl(own.as_bytes(), &Acl { positive: acl, negative: vec![] }).unwrap();
                f.write_file(format!("{own}/file").as_bytes(), user.as_bytes()).unwrap();
            }
        });
        top
    }
}

/// The errno of a failure.
fn errno<T: std::fmt::Debug>(r: Result<T, Error>) -> i32 {
    r.unwrap_err().errno().unwrap()
}

/// The contents of a small file.
///
/// # Errors
/// The client's.
fn read(f: &Files<'_>, path: &str) -> Result<Vec<u8>, Error> {
    f.read_file(path.as_bytes(), 1_000)
}

#[test]
#[ignore = "needs a cell: run by cargo xtask test"]
fn each_thread_reads_only_what_its_own_pag_may() {
    let (w, _one) = world();
    let top = &w.directory("two", &["alice", "bob"]);
    let start = &Barrier::new(3);
    std::thread::scope(|s| {
        for (me, other) in [("alice", "bob"), ("bob", "alice")] {
            s.spawn(move || {
                let pag = w.pag(me);
                start.wait();
                for _ in 0..2_000 {
                    w.inside(&pag, |f| {
                        assert_eq!(read(f, &format!("{top}/{me}/file")).unwrap(), me.as_bytes());
                        assert_eq!(errno(read(f, &format!("{top}/{other}/file"))), libc::EACCES);
                    });
                }
            });
        }
        s.spawn(move || {
            start.wait();
            for _ in 0..2_000 {
                w.as_nobody(|f| {
                    for who in ["alice", "bob"] {
                        assert_eq!(errno(read(f, &format!("{top}/{who}/file"))), libc::EACCES);
                    }
                });
            }
        });
    });
}

#[test]
#[ignore = "needs a cell: run by cargo xtask test"]
fn one_thread_changes_from_visitor_to_visitor() {
    let (w, _one) = world();
    let top = w.directory("change", &["alice", "bob"]);
    let (alice, bob) = (w.pag("alice"), w.pag("bob"));
    for _ in 0..500 {
        for (pag, me, other) in [(&alice, "alice", "bob"), (&bob, "bob", "alice")] {
            w.inside(pag, |f| {
                assert_eq!(read(f, &format!("{top}/{me}/file")).unwrap(), me.as_bytes());
                assert_eq!(errno(read(f, &format!("{top}/{other}/file"))), libc::EACCES);
            });
            w.as_nobody(|f| assert_eq!(errno(read(f, &format!("{top}/{me}/file"))), libc::EACCES));
        }
    }
}

#[test]
#[ignore = "needs a cell: run by cargo xtask test"]
fn without_its_token_a_pag_reads_nothing_even_from_the_cache() {
    let (w, _one) = world();
    let top = w.directory("dropped", &["alice"]);
    let path = format!("{top}/alice/file");
    let pag = w.pag("alice");
    w.inside(&pag, |f| assert_eq!(read(f, &path).unwrap(), b"alice"));
    w.afs.drop_tokens(&pag).unwrap();
    w.inside(&pag, |f| assert_eq!(errno(read(f, &path)), libc::EACCES));
    // The same visitor again, then a PAG that has ended.
    pag.set_token(&w.token("alice")).unwrap();
    w.inside(&pag, |f| assert_eq!(read(f, &path).unwrap(), b"alice"));
    let number = pag.id();
    drop(pag);
    assert!(w.afs.enter(number).is_err());
    w.as_nobody(|f| assert_eq!(errno(read(f, &path)), libc::EACCES));
}

#[test]
#[ignore = "needs a cell: run by cargo xtask test"]
fn the_anonymous_pag_gets_no_token() {
    let (w, _one) = world();
    assert!(w.afs.anonymous().set_token(&w.token("alice")).is_err());
}

#[test]
#[ignore = "needs a cell: run by cargo xtask test"]
fn a_ticket_that_the_cell_did_not_seal_opens_nothing() {
    let (w, _one) = world();
    let top = w.directory("forged", &["alice"]);
    let mut token = w.token("alice");
    token.ticket[8] ^= 1;
    let pag = w.afs.clone().new_pag().unwrap();
    pag.set_token(&token).unwrap();
    w.inside(&pag, |f| assert_eq!(errno(read(f, &format!("{top}/alice/file"))), libc::EACCES));
}

#[test]
#[ignore = "needs a cell: run by cargo xtask test"]
fn an_open_file_serves_only_the_pag_that_opened_it() {
    let (w, _one) = world();
    let top = w.directory("handle", &["alice"]);
    let alice = w.pag("alice");
    let scope = alice.enter().unwrap();
    let file = w.afs.files(&scope).unwrap().open(format!("{top}/alice/file").as_bytes()).unwrap();
    let mut buf = [0; 16];
    assert_eq!(file.pread(&scope, &mut buf, 0).unwrap(), 5);
    drop(scope);
    let nobody = w.afs.anonymous().enter().unwrap();
    assert_eq!(file.pread(&nobody, &mut buf, 0), Err(Error::WrongPag));
    assert_eq!(file.stat(&nobody), Err(Error::WrongPag));
    drop(nobody);
    // In another thread, in the same PAG; and it closes itself there, in no scope.
    std::thread::scope(|s| {
        s.spawn(|| {
            let scope = alice.enter().unwrap();
            assert_eq!(file.pread(&scope, &mut buf, 1).unwrap(), 4);
            drop(scope);
            drop(file);
        });
    });
}

#[test]
#[ignore = "needs a cell: run by cargo xtask test"]
fn a_scope_that_another_one_has_replaced_does_nothing() {
    let (w, _one) = world();
    let (alice, bob) = (w.pag("alice"), w.pag("bob"));
    let outer = alice.enter().unwrap();
    let files = w.afs.files(&outer).unwrap();
    let inner = bob.enter().unwrap();
    assert!(w.afs.files(&outer).is_err());
    drop(inner);
    assert!(w.afs.files(&outer).is_err());
    // What was made before acts as nobody, not as alice and not as bob.
    let top = w.directory("nested", &["alice", "bob"]);
    assert_eq!(errno(read(&files, &format!("{top}/alice/file"))), libc::EACCES);
    assert_eq!(errno(read(&files, &format!("{top}/bob/file"))), libc::EACCES);
}

#[test]
#[ignore = "needs a cell: run by cargo xtask test"]
fn links_are_followed_and_loops_end() {
    let (w, _one) = world();
    let top = w.directory("links", &["alice"]);
    let at = |name: &str| format!("{top}/alice/{name}");
    w.as_user("admin", |f| {
        f.symlink(b"file", at("relative").as_bytes()).unwrap();
        f.symlink(at("file").as_bytes(), at("absolute").as_bytes()).unwrap();
        f.symlink(b"../alice/./relative", at("twice").as_bytes()).unwrap();
        f.symlink(b"self", at("self").as_bytes()).unwrap();
        f.symlink(b"b/x", at("a").as_bytes()).unwrap();
        f.symlink(b"a/x", at("b").as_bytes()).unwrap();
        f.symlink(b"/etc/passwd", at("outside").as_bytes()).unwrap();
        f.symlink(b"../../../../../../../../../etc/passwd", at("above").as_bytes()).unwrap();
        f.symlink(b".", at("dir").as_bytes()).unwrap();
    });
    w.as_user("alice", |f| {
        for good in ["relative", "absolute", "twice", "dir/dir/dir/file"] {
            assert_eq!(read(f, &at(good)).unwrap(), b"alice", "{good}");
        }
        for (bad, why) in [
            ("self", libc::ELOOP),
            ("a", libc::ELOOP),
            ("self/below", libc::ELOOP),
            ("outside", libc::ENOENT),
            ("above", libc::ENOENT),
            ("file/", libc::ENOTDIR),
            ("file/below", libc::ENOTDIR),
            ("relative/", libc::ENOTDIR),
            ("missing", libc::ENOENT),
        ] {
            assert_eq!(errno(f.stat(at(bad).as_bytes())), why, "{bad}");
            assert_eq!(errno(f.open(at(bad).as_bytes())), why, "{bad}");
        }
        let many = "dir/".repeat(30) + "file";
        assert_eq!(errno(f.stat(at(&many).as_bytes())), libc::ELOOP);
        assert_eq!(f.lstat(at("self").as_bytes()).unwrap().kind, Kind::Link);
        assert_eq!(f.readlink(at("outside").as_bytes()).unwrap(), b"/etc/passwd");
        assert_eq!(errno(f.readlink(at("file").as_bytes())), libc::EINVAL);
        let name = "n".repeat(256);
        assert_eq!(errno(f.stat(at(&name).as_bytes())), libc::ENAMETOOLONG);
        assert!(f.stat(at("nul\0").as_bytes()).is_err());
        assert!(f.stat(b"relative").is_err());
        assert_eq!(errno(f.stat(b"/etc/passwd")), libc::ENOENT);
    });
}

#[test]
#[ignore = "needs a cell: run by cargo xtask test"]
fn directories_files_and_acls_can_be_made_changed_and_removed() {
    let (w, _one) = world();
    let top = w.directory("make", &[]);
    w.as_user("admin", |f| {
        let at = |name: &str| format!("{top}/{name}").into_bytes();
        f.mkdir(&at("d")).unwrap();
        assert_eq!(errno(f.mkdir(&at("d"))), libc::EEXIST);
        assert_eq!(f.stat(&at("d")).unwrap().kind, Kind::Directory);
        let many: Vec<_> =
            (0..700).map(|n| format!("a name of some length, number {n}").into_bytes()).collect();
        for name in &many {
            f.write_file(&[&at("d")[..], b"/", name].concat(), b"").unwrap();
        }
        let mut found = f.read_dir(&at("d")).unwrap();
        let mut want = many.clone();
        found.sort();
        want.sort();
        assert_eq!(found, want);
        assert_eq!(errno(f.read_dir(&[&at("d")[..], b"/", &many[0]].concat())), libc::ENOTDIR);
        assert_eq!(errno(f.rmdir(&at("d"))), libc::ENOTEMPTY);
        for name in &many {
            f.unlink(&[&at("d")[..], b"/", name].concat()).unwrap();
        }
        f.write_file(&at("one"), b"first").unwrap();
        let before = f.stat(&at("one")).unwrap();
        f.write_file(&at("one"), b"second version").unwrap();
        let after = f.stat(&at("one")).unwrap();
        assert_eq!((before.size, after.size, before.fid), (5, 14, after.fid));
        assert_ne!(before.etag(), after.etag());
        assert!(after.data_version > before.data_version);
        f.rename(&at("one"), &at("d/two")).unwrap();
        assert_eq!(errno(f.stat(&at("one"))), libc::ENOENT);
        assert_eq!(f.read_file(&at("d/two"), 14).unwrap(), b"second version");
        assert_eq!(errno(f.read_file(&at("d/two"), 13)), libc::EFBIG);
        let acl = Acl {
            positive: vec![("system:administrators".into(), 127), ("system:authuser".into(), 9)],
            negative: vec![("bob".into(), 1)],
        };
        f.set_acl(&at("d"), &acl).unwrap();
        let mut got = f.acl(&at("d")).unwrap();
        got.positive.sort();
        assert_eq!(got, acl);
        assert!(
            f.set_acl(&at("d"), &Acl { positive: vec![("no:such".into(), 1)], negative: vec![] }).is_err()
        );
        assert!(f.rights(&at("d")).unwrap().has(pag::userspace::Rights::ADMINISTER));
    });
    // A negative entry takes from bob what the cell's users have. (What nobody in particular may do he may do too:
    // AFS clients do not ask twice.)
    let path = format!("{top}/d/two");
    w.as_nobody(|f| assert_eq!(errno(read(f, &path)), libc::EACCES));
    w.as_user("alice", |f| assert_eq!(read(f, &path).unwrap(), b"second version"));
    w.as_user("bob", |f| assert_eq!(errno(read(f, &path)), libc::EACCES));
    w.as_user("bob", |f| assert_eq!(errno(f.write_file(path.as_bytes(), b"x")), libc::EACCES));
    w.as_user("admin", |f| {
        f.unlink(path.as_bytes()).unwrap();
        f.rmdir(format!("{top}/d").as_bytes()).unwrap();
    });
}

/// A directory in which `who` has these rights (letters) and the administrators all.
fn allow(w: &World, dir: &str, who: &str, rights: &str) {
    let rights = pag::userspace::Rights::parse(rights).unwrap();
    let positive = vec![("system:administrators".to_owned(), 127), (who.to_owned(), rights.0)];
    let acl = Acl { positive, negative: vec![] };
    w.as_user("admin", |f| f.set_acl(dir.as_bytes(), &acl).unwrap());
}

/// Writes a file anew where it stands, as it is done for who has no right to make another one.
///
/// # Errors
/// The client's; where it was, the call says.
fn write_in_place(f: &Files<'_>, path: &str, contents: &[u8]) -> Result<(), Error> {
    let file = f.open_to_write(path.as_bytes(), false)?;
    file.truncate(f.scope(), 0)?;
    for (n, piece) in contents.chunks(100_000).enumerate() {
        assert_eq!(file.pwrite(f.scope(), piece, n as u64 * 100_000)?, piece.len());
    }
    file.close()
}

#[test]
#[ignore = "needs a cell: run by cargo xtask test"]
fn what_was_written_is_at_the_server_once_it_is_closed() {
    let (w, _one) = world();
    let top = w.directory("written", &["alice", "bob"]);
    let dir = format!("{top}/alice");
    allow(w, &dir, "alice", "rlidw");
    let path = format!("{dir}/new");
    let contents: Vec<u8> = (0..2_500_000_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    w.as_user("alice", |f| {
        let file = f.create(path.as_bytes(), 0o640).unwrap();
        assert_eq!(errno(f.create(path.as_bytes(), 0o644)), libc::EEXIST);
        for (n, piece) in contents.chunks(70_001).enumerate() {
            assert_eq!(file.pwrite(f.scope(), piece, n as u64 * 70_001).unwrap(), piece.len());
        }
        file.close().unwrap();
        f.flush(path.as_bytes()).unwrap();
        assert!(f.read_file(path.as_bytes(), contents.len()).unwrap() == contents);
        assert_eq!(f.stat(path.as_bytes()).unwrap().mode & 0o777, 0o640);
        write_in_place(f, &path, &contents[..1_200_000]).unwrap();
        f.flush(path.as_bytes()).unwrap();
        assert!(f.read_file(path.as_bytes(), contents.len()).unwrap() == contents[..1_200_000]);
    });
    w.as_user("bob", |f| {
        assert_eq!(errno(f.create(format!("{dir}/bobs").as_bytes(), 0o644)), libc::EACCES);
        assert_eq!(errno(f.open_to_write(path.as_bytes(), false)), libc::EACCES);
        assert_eq!(errno(f.unlink(path.as_bytes())), libc::EACCES);
        assert_eq!(errno(f.mkdir(format!("{dir}/bobs").as_bytes())), libc::EACCES);
        let own = format!("{top}/bob/file");
        assert_eq!(errno(f.rename(own.as_bytes(), format!("{dir}/file").as_bytes())), libc::EACCES);
    });
}

#[test]
#[ignore = "needs a cell: run by cargo xtask test"]
fn that_a_volume_is_full_is_told_when_a_file_is_closed() {
    use pag::userspace::MountKind;
    let (w, _one) = world();
    let top = w.directory("full", &[]);
    let dir = format!("{top}/volume");
    w.as_user("admin", |f| {
        f.mount(dir.as_bytes(), MountKind::ReadWrite, None, "vol.quota").unwrap();
        let quota = f.volume_status(dir.as_bytes()).unwrap().used_kib + 500;
        f.set_quota(dir.as_bytes(), quota).unwrap();
        let status = f.volume_status(dir.as_bytes()).unwrap();
        assert_eq!((status.quota_kib, status.room()), (quota, 500 * 1024));
    });
    allow(w, &dir, "alice", "rlidw");
    let (old, new) = (format!("{dir}/old"), format!("{dir}/new"));
    let before = vec![b'o'; 200_000];
    w.as_user("alice", |f| {
        assert_eq!(errno(f.set_quota(dir.as_bytes(), 0)), libc::EACCES);
        f.write_file(old.as_bytes(), &before).unwrap();
        let file = f.create(new.as_bytes(), 0o644).unwrap();
        // A server lets a store go over the quota by a MiB.
        for n in 0..25 {
            assert_eq!(file.pwrite(f.scope(), &[b'n'; 100_000], n * 100_000).unwrap(), 100_000);
        }
        assert_eq!(file.close(), Err(Error::Errno { call: "close", errno: libc::EDQUOT }));
        f.flush(new.as_bytes()).unwrap();
        assert_eq!(f.stat(new.as_bytes()).unwrap().size, 0, "nothing half-written");
        f.unlink(new.as_bytes()).unwrap();
        // In place: what was there is still there, for who has written and for others.
        assert_eq!(errno(write_in_place(f, &old, &[b'n'; 2_500_000])), libc::EDQUOT);
        assert!(f.read_file(old.as_bytes(), 1_000_000).unwrap() == before);
        f.flush(old.as_bytes()).unwrap();
        assert!(f.read_file(old.as_bytes(), 1_000_000).unwrap() == before);
        write_in_place(f, &old, &[b'n'; 300_000]).unwrap();
        assert_eq!(f.stat(old.as_bytes()).unwrap().size, 300_000);
    });
    w.as_user("admin", |f| {
        f.unlink(old.as_bytes()).unwrap();
        f.set_quota(dir.as_bytes(), 0).unwrap();
        f.unmount(dir.as_bytes()).unwrap();
    });
}

#[test]
#[ignore = "needs a cell: run by cargo xtask test"]
fn who_may_insert_or_write_and_nothing_else_does_just_that() {
    use pag::userspace::Rights;
    let (w, _one) = world();
    let top = w.directory("some-rights", &["alice"]);
    let dir = format!("{top}/alice");
    let at = |name: &str| format!("{dir}/{name}").into_bytes();
    allow(w, &dir, "alice", "li");
    w.as_user("alice", |f| {
        let rights = f.rights(dir.as_bytes()).unwrap();
        assert!(rights.has(Rights::INSERT) && !rights.has(Rights::DELETE) && !rights.has(Rights::WRITE));
        let file = f.create(&at("dropped"), 0o644).unwrap();
        assert_eq!(file.pwrite(f.scope(), b"a letter", 0).unwrap(), 8);
        file.close().unwrap();
        assert_eq!(errno(f.unlink(&at("dropped"))), libc::EACCES);
        assert_eq!(errno(f.rename(&at("dropped"), &at("other"))), libc::EACCES);
        assert_eq!(errno(f.open_to_write(&at("file"), false)), libc::EACCES);
    });
    // Without r a client does not even learn what a file is.
    allow(w, &dir, "alice", "rlw");
    w.as_user("alice", |f| {
        assert_eq!(errno(f.create(&at("new"), 0o644)), libc::EACCES);
        write_in_place(f, &format!("{dir}/file"), b"by alice").unwrap();
        assert_eq!(errno(f.unlink(&at("file"))), libc::EACCES);
        assert_eq!(errno(f.rename(&at("file"), &at("other"))), libc::EACCES);
    });
    w.as_user("admin", |f| {
        assert_eq!(read(f, &format!("{dir}/dropped")).unwrap(), b"a letter");
        assert_eq!(read(f, &format!("{dir}/file")).unwrap(), b"by alice");
    });
}

#[test]
#[ignore = "needs a cell: run by cargo xtask test"]
fn read_only_volumes_other_volumes_and_odd_names_are_told_apart() {
    use pag::userspace::MountKind;
    let (w, _one) = world();
    let cell = w.about["cells"][0]["name"].as_str().unwrap();
    let top = w.directory("odd", &[]);
    w.as_user("admin", |f| {
        let at = |name: &str| format!("{top}/{name}").into_bytes();
        let copy = |name: &str| format!("/afs/{cell}/replica/{name}").into_bytes();
        assert_eq!(errno(f.create(&copy("new"), 0o644)), libc::EROFS);
        assert_eq!(errno(f.mkdir(&copy("new"))), libc::EROFS);
        assert_eq!(errno(f.unlink(&copy("page.html"))), libc::EROFS);
        assert_eq!(errno(f.rename(&copy("page.html"), &copy("other"))), libc::EROFS);
        assert_eq!(errno(write_in_place(f, &format!("/afs/{cell}/replica/page.html"), b"x")), libc::EROFS);
        f.write_file(&at("file"), b"x").unwrap();
        f.mkdir(&at("dir")).unwrap();
        f.mount(&at("other"), MountKind::ReadWrite, None, "vol.quota").unwrap();
        assert_eq!(errno(f.rename(&at("file"), &at("other/file"))), libc::EXDEV);
        assert_ne!(f.stat(&at("other")).unwrap().fid.volume, f.stat(&at("dir")).unwrap().fid.volume);
        f.unmount(&at("other")).unwrap();
        assert_eq!(errno(f.rename(&at("file"), &at("dir"))), libc::EISDIR);
        assert_eq!(errno(f.unlink(&at("dir"))), libc::EISDIR);
        assert_eq!(errno(f.rmdir(&at("file"))), libc::ENOTDIR);
        assert_eq!(errno(f.create(&at("dir"), 0o644)), libc::EEXIST);
        assert_eq!(errno(f.create(&at("none/new"), 0o644)), libc::ENOENT);
        assert_eq!(errno(f.create(&at("file/new"), 0o644)), libc::ENOTDIR);
        let name = "n".repeat(256);
        assert_eq!(errno(f.create(&at(&name), 0o644)), libc::ENAMETOOLONG);
        assert_eq!(errno(f.rename(&at("file"), &at(&name))), libc::ENAMETOOLONG);
        assert_eq!(errno(f.create(&at("x@sys"), 0o644)), libc::EINVAL);
        f.write_file(&at("second"), b"second").unwrap();
        f.rename(&at("second"), &at("file")).unwrap();
        assert_eq!(f.read_file(&at("file"), 10).unwrap(), b"second");
        f.mkdir(&at("empty")).unwrap();
        f.write_file(&at("dir/inside"), b"x").unwrap();
        assert_eq!(errno(f.rename(&at("empty"), &at("dir"))), libc::EEXIST);
    });
}

#[test]
#[ignore = "needs a cell: run by cargo xtask test"]
fn mount_points_lead_to_volumes_and_dangling_ones_to_an_error() {
    use pag::userspace::MountKind;
    let (w, _one) = world();
    let top = w.directory("mounts", &[]);
    let cell = w.about["cells"][0]["name"].as_str().unwrap();
    w.as_user("admin", |f| {
        let at = |name: &str| format!("{top}/{name}").into_bytes();
        f.mount(&at("root"), MountKind::ReadWrite, None, "root.cell").unwrap();
        f.mount(&at("by-cell"), MountKind::Normal, Some(&Cell::new(cell).unwrap()), "root.cell").unwrap();
        f.mount(&at("nowhere"), MountKind::Normal, None, "no.such.volume").unwrap();
        assert_eq!(f.mount_point(&at("root")).unwrap(), b"%root.cell");
        assert_eq!(f.stat(&at("root")).unwrap().kind, Kind::Directory);
        assert!(!f.read_dir(&at("root")).unwrap().is_empty());
        assert_eq!(f.stat(&at("by-cell")).unwrap().kind, Kind::Directory);
        assert_eq!(errno(f.stat(&at("nowhere"))), libc::ENODEV);
        assert_eq!(errno(f.mount_point(&at("."))), libc::EINVAL);
        assert!(f.symlink(b"#root.cell.", &at("sly")).is_err());
        assert_eq!(f.cell(&at("root")).unwrap(), cell.as_bytes());
        for name in ["root", "by-cell", "nowhere"] {
            f.unmount(&at(name)).unwrap();
            assert_eq!(errno(f.stat(&at(name))), libc::ENOENT);
        }
    });
}

#[test]
#[ignore = "needs a cell: run by cargo xtask test"]
fn more_files_are_open_than_the_library_has_descriptors() {
    let (w, _one) = world();
    let top = w.directory("many", &["alice"]);
    w.as_user("alice", |f| {
        let path = format!("{top}/alice/file");
        let open: Vec<_> = (0..3_000).map(|_| f.open(path.as_bytes()).unwrap()).collect();
        let mut buf = [0; 8];
        assert!(open.iter().all(|o| o.pread(f.scope(), &mut buf, 0) == Ok(5)));
    });
}

#[test]
#[ignore = "needs a cell: run by cargo xtask test"]
fn a_large_file_is_read_at_any_offset_by_several_threads_at_once() {
    let (w, _one) = world();
    let top = w.directory("large", &["alice"]);
    let path = format!("{top}/alice/large");
    let byte = |n: usize| u8::try_from(n % 251).unwrap();
    let contents: Vec<u8> = (0..3_000_001).map(byte).collect();
    w.as_user("admin", |f| f.write_file(path.as_bytes(), &contents).unwrap());
    let pag = w.pag("alice");
    let scope = pag.enter().unwrap();
    let file = w.afs.files(&scope).unwrap().open(path.as_bytes()).unwrap();
    std::thread::scope(|s| {
        for t in 0..4usize {
            let (pag, file, contents) = (&pag, &file, &contents);
            s.spawn(move || {
                let scope = pag.enter().unwrap();
                let mut buf = vec![0; 10_007];
                for k in 0..300usize {
                    let offset = (t * 1_000_003 + k * 99_991) % contents.len();
                    let n = file.pread(&scope, &mut buf, offset as u64).unwrap();
                    assert!(n > 0);
                    assert_eq!(&buf[..n], &contents[offset..offset + n]);
                }
                assert_eq!(file.pread(&scope, &mut buf, contents.len() as u64).unwrap(), 0);
                assert_eq!(file.pread(&scope, &mut buf, 1 << 40).unwrap(), 0);
            });
        }
    });
}

#[test]
#[ignore = "needs a cell: run by cargo xtask test"]
fn a_million_entries_cost_no_memory() {
    let (w, _one) = world();
    let pag = w.pag("alice");
    let run = |n: u32| {
        for _ in 0..n {
            drop(pag.enter().unwrap());
        }
    };
    run(1_000);
    let (before, start) = (resident_kib(), Instant::now());
    run(1_000_000);
    let (took, grown) = (start.elapsed(), resident_kib().saturating_sub(before));
    println!("enter and leave: {} ns, memory grown by {grown} KiB", took.as_nanos() / 1_000_000);
    assert!(grown < 2_000, "{grown} KiB");
}

#[test]
#[ignore = "needs a cell: run by cargo xtask test"]
fn visitors_and_threads_that_come_and_go_cost_no_memory() {
    let (w, _one) = world();
    let top = w.directory("come", &["alice"]);
    let path = format!("{top}/alice/file");
    let run = |n: u32| {
        for _ in 0..n {
            std::thread::scope(|s| {
                s.spawn(|| w.as_user("alice", |f| assert_eq!(read(f, &path).unwrap(), b"alice")));
            });
        }
    };
    run(50);
    let before = resident_kib();
    run(300);
    let grown = resident_kib().saturating_sub(before);
    println!("300 visitors in 300 threads: memory grown by {grown} KiB");
    assert!(grown < 8_000, "{grown} KiB");
}

/// The first cell's file servers.
struct FileServers(Vec<i32>);

impl FileServers {
    fn of(w: &World) -> Self {
        let servers = w.about["cells"][0]["servers"].as_array().unwrap().iter();
        let pid = |s: &serde_json::Value| i32::try_from(s["pid"].as_i64().unwrap()).unwrap();
        Self(servers.filter(|s| s["program"] == "fileserver").map(pid).collect())
    }

    fn signal(&self, signal: rustix::process::Signal) {
        for pid in &self.0 {
            rustix::process::kill_process(rustix::process::Pid::from_raw(*pid).unwrap(), signal).unwrap();
        }
    }

    /// They stand still when this returns: a thread that runs may answer until it gets to know of the signal.
    fn stop(&self) {
        self.signal(rustix::process::Signal::STOP);
        let goes_on = |pid: &i32| {
            let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
            let stats = threads.filter_map(|t| std::fs::read_to_string(t.path().join("stat")).ok());
            stats.into_iter().any(|stat| !stat.rsplit(") ").next().unwrap().starts_with(['T', 't']))
        };
        let end = Instant::now() + Duration::from_secs(10);
        while self.0.iter().any(goes_on) {
            assert!(Instant::now() < end, "a file server goes on");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn go_on(&self) {
        self.signal(rustix::process::Signal::CONT);
    }
}

#[test]
#[ignore = "needs a cell: run by cargo xtask test"]
fn a_silent_file_server_is_given_up_in_time_and_then_at_once() {
    let (w, _one) = world();
    let top = w.directory("silent", &["alice"]);
    let path = format!("{top}/alice/file");
    let servers = FileServers::of(w);
    let pag = w.pag("alice");
    servers.stop();
    let start = Instant::now();
    let first = w.inside(&pag, |f| f.open(path.as_bytes()).map(drop));
    let waited = start.elapsed();
    let start = Instant::now();
    let second = w.inside(&pag, |f| f.open(path.as_bytes()).map(drop));
    let again = start.elapsed();
    servers.go_on();
    println!("first answer {first:?} after {waited:?}, second {second:?} after {again:?}");
    assert_eq!(errno(first), libc::ETIMEDOUT);
    assert!(waited < Duration::from_secs(4 * DEAD_S), "{waited:?}");
    assert_eq!(errno(second), libc::ETIMEDOUT);
    assert!(again < Duration::from_secs(DEAD_S) / 2, "{again:?}");
    // And it is used again when it is back.
    let scope = w.afs.anonymous().enter().unwrap();
    w.afs.check_servers(&scope).unwrap();
    drop(scope);
    w.inside(&pag, |f| assert_eq!(read(f, &path).unwrap(), b"alice"));
}

#[test]
#[ignore = "needs a cell: run by cargo xtask test"]
fn what_a_silent_server_did_not_store_is_not_shown() {
    let (w, _one) = world();
    let top = w.directory("unstored", &["alice"]);
    let dir = format!("{top}/alice");
    allow(w, &dir, "alice", "rlidw");
    let path = format!("{dir}/file");
    let servers = FileServers::of(w);
    let pag = w.pag("alice");
    let (told, waited) = w.inside(&pag, |f| {
        let file = f.open_to_write(path.as_bytes(), false).unwrap();
        file.truncate(f.scope(), 0).unwrap();
        assert_eq!(file.pwrite(f.scope(), &[b'x'; 300_000], 0).unwrap(), 300_000);
        servers.stop();
        let start = Instant::now();
        (file.close(), start.elapsed())
    });
    servers.go_on();
    println!("close: {told:?} after {waited:?}");
    assert_eq!(errno(told), libc::ETIMEDOUT);
    assert!(waited < Duration::from_secs(4 * DEAD_S), "{waited:?}");
    let scope = w.afs.anonymous().enter().unwrap();
    w.afs.check_servers(&scope).unwrap();
    drop(scope);
    // The server itself goes on waiting for the rest of that store, for longer than anybody here waits for it.
    let end = Instant::now() + Duration::from_secs(120);
    while let Err(e) = w.inside(&pag, |f| f.stat(path.as_bytes())) {
        assert!(e.errno() == Some(libc::ETIMEDOUT) && Instant::now() < end, "{e}");
    }
    // A server that got the beginning of a store may have emptied the file. Whatever it has is shown, and not what
    // the client would have liked to store.
    w.inside(&pag, |f| {
        let size = || f.stat(path.as_bytes()).unwrap().size;
        let (shown, bytes) = (size(), f.read_file(path.as_bytes(), 1_000_000).unwrap());
        f.flush(path.as_bytes()).unwrap();
        println!("afterwards it has {shown} bytes");
        assert_eq!((size(), f.read_file(path.as_bytes(), 1_000_000).unwrap()), (shown, bytes));
        assert!(shown < 300_000, "{shown}");
    });
}

/// Memory of this process in KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}
