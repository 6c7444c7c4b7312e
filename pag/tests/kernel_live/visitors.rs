//! Who reads what, in how many threads and processes.

use crate::outside::kind;
use crate::processes::Beside;
use crate::stage::{ALICE, BOB, Client, NOBODY, PLACES, Stage};
use pag::userspace::Rights;
use pag::{Error, KernelClient as _};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(super) fn each_visitor_reads_what_the_acls_give_him() {
    let stage = Stage::open(4);
    let (alice, bob, admin) = (stage.pag("alice"), stage.pag("bob"), stage.pag("admin"));
    let without = stage.afs().new_pag().unwrap();
    for _ in 0..3 {
        assert_eq!(stage.all(&alice), ALICE);
        assert_eq!(stage.all(&bob), BOB);
        assert_eq!(stage.all(&admin), [true; 5]);
        assert_eq!(stage.all(stage.afs().anonymous()), NOBODY);
        assert_eq!(stage.all(&without), NOBODY);
        // Outside all scopes.
        assert_eq!(PLACES.map(|(place, ..)| stage.reads(place)), NOBODY);
        stage.afs().verify(stage.afs().anonymous()).unwrap();
        assert_eq!(stage.afs().verify(&alice), Err(Error::WrongPag));
        stage.flush();
    }
    alice.enter().unwrap().stay();
    assert!(stage.reads("alice"));
    stage.afs().verify(&alice).unwrap();
    stage.afs().leave();
    assert!(!stage.reads("alice"));
    let anonymous = stage.afs();
    assert!(anonymous.anonymous().set_token(&stage.token("alice")).is_err());
}

pub(super) fn threads_hop_between_visitors() {
    let stage = &Stage::open(2);
    let pags =
        &[(stage.pag("alice"), ALICE), (stage.pag("bob"), BOB), (stage.afs().anonymous().clone(), NOBODY)];
    let wrong = &AtomicUsize::new(0);
    std::thread::scope(|s| {
        for t in 0..8usize {
            s.spawn(move || {
                let mut random = t * 7_919 + 1;
                for k in 0..150 {
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    let (pag, may) = &pags[(random >> 33) % 3];
                    let scope = pag.enter().unwrap();
                    let seen = [stage.reads("alice"), stage.reads("bob")];
                    drop(scope);
                    if seen != may[..2] {
                        wrong.fetch_add(1, Ordering::Relaxed);
                    }
                    if t == 0 && k % 25 == 24 {
                        stage.flush();
                    }
                }
            });
        }
    });
    assert_eq!(wrong.load(Ordering::Relaxed), 0);
}

pub(super) fn a_process_keeps_its_visitor_while_the_thread_hops_on() {
    let stage = Stage::open(2);
    let (alice, bob) = (stage.pag("alice"), stage.pag("bob"));
    stage.afs().mark_forkable(&alice).unwrap();
    let scope = alice.enter().unwrap();
    let mut child = Beside::start("reader");
    drop(scope);
    let asks = |child: &mut Beside| ["alice", "bob"].map(|p| child.ask(&format!("{} {p}", stage.path(p))));
    assert_eq!(asks(&mut child), ["true", "false"]);
    let scope = bob.enter().unwrap();
    stage.flush();
    assert_eq!([stage.reads("alice"), stage.reads("bob")], [false, true]);
    assert_eq!(asks(&mut child), ["true", "false"]);
    drop(scope);
    assert_eq!([stage.reads("alice"), stage.reads("bob")], [false, false]);
    assert_eq!(asks(&mut child), ["true", "false"]);
    // With the PAG goes the token, in the process too.
    drop(alice);
    assert_eq!(asks(&mut child), ["false", "false"]);
    assert_eq!(stage.afs().counters().tainted, 1);
    child.end();
}

pub(super) fn four_hundred_threads() {
    let stage = &Stage::open(2);
    let (alice, bob) = (&stage.pag("alice"), &stage.pag("bob"));
    // Rights are in the cache then.
    assert_eq!((stage.all(alice), stage.all(bob)), (ALICE, BOB));
    let inside = &Barrier::new(400);
    let wrong = &AtomicUsize::new(0);
    std::thread::scope(|s| {
        for t in 0..400 {
            let body = move || {
                let (pag, may) = if t % 2 == 0 { (alice, ALICE) } else { (bob, BOB) };
                let scope = pag.enter().unwrap();
                inside.wait();
                // No panic here: all the others would wait for ever.
                let seen = ["alice", "bob"].map(|place| {
                    loop {
                        match std::fs::read(stage.path(place)) {
                            // So many at once can be too much for a file server on a slow machine.
                            Err(e) if e.raw_os_error() == Some(libc::ETIMEDOUT) => {}
                            other => break other.is_ok(),
                        }
                    }
                });
                if seen != may[..2] {
                    wrong.fetch_add(1, Ordering::Relaxed);
                }
                inside.wait();
                drop(scope);
            };
            std::thread::Builder::new().stack_size(128 * 1024).spawn_scoped(s, body).unwrap();
        }
    });
    assert_eq!(wrong.load(Ordering::Relaxed), 0);
}

pub(super) fn questions_about_paths() {
    let stage = Stage::open(1);
    assert_eq!(pag::detect::serving("/afs".as_ref()), Ok(Some(kind())));
    assert_eq!(pag::detect::serving(stage.dir.as_ref()), Ok(Some(kind())));
    assert_eq!(pag::detect::serving("/".as_ref()), Ok(None));
    assert!(pag::detect::loaded(kind()));
    println!("{}", pag::detect::missing("/mnt".as_ref()));
    assert_eq!(stage.afs().cell_of(stage.dir.as_bytes()).unwrap(), stage.cell());
    let outside = stage.afs().cell_of(b"/etc/passwd").unwrap_err().errno();
    assert!([Some(libc::EINVAL), Some(libc::EOPNOTSUPP)].contains(&outside), "{outside:?}");
    println!("cell of the dynamic root: {:?}", stage.afs().cell_of(b"/afs"));
    let Client::OpenAfs(c) = &stage.client else { return };
    assert_eq!(c.own_cell().unwrap(), stage.cell());
    let alice = stage.pag("alice");
    let own = format!("{}/alice", stage.dir);
    let has = |rights| c.access(own.as_bytes(), rights).map_err(|e| e.errno().unwrap());
    assert_eq!(has(Rights::READ), Err(libc::EACCES));
    let scope = alice.enter().unwrap();
    assert_eq!(has(Rights::READ), Ok(()));
    assert_eq!(has(Rights::WRITE), Err(libc::EACCES));
    drop(scope);
    let scope = c.anonymous().enter().unwrap();
    assert_eq!(has(Rights::READ), Err(libc::EACCES));
    drop(scope);
}
