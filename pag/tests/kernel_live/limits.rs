//! How many PAGs and tokens there can be, and what is given out again.

use crate::attacks::numbers;
use crate::outside::{keyctl, kind};
use crate::stage::{ALICE, BOB, NOBODY, PLACES, Stage, drop_root};
use pag::{ClientKind, Error};
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// keyctl(2): what a key is, for who may know; of one that is gone it says so to everybody.
const DESCRIBE: i64 = 6;

/// As an administrator would, for kAFS.
pub(super) fn raise_quota() {
    std::fs::write("/proc/sys/kernel/keys/maxkeys", "20000").unwrap();
    std::fs::write("/proc/sys/kernel/keys/maxbytes", "10000000").unwrap();
}

pub(super) fn two_hundred_pags() {
    raise_quota();
    let start = Instant::now();
    let stage = Stage::open_as_root(200);
    let made = start.elapsed();
    drop_root();
    let start = Instant::now();
    let pags: Vec<_> = (0..200).map(|i| stage.pag(["alice", "bob"][i % 2])).collect();
    let set = start.elapsed();
    for (i, pag) in pags.iter().enumerate() {
        let scope = pag.enter().unwrap();
        assert_eq!([stage.reads("alice"), stage.reads("bob")], [i % 2 == 0, i % 2 == 1]);
        drop(scope);
    }
    let start = Instant::now();
    for _ in 0..5 {
        for (i, pag) in pags.iter().enumerate() {
            let scope = pag.enter().unwrap();
            assert!(stage.reads(["alice", "bob"][i % 2]));
            drop(scope);
        }
    }
    println!("200 PAGs: made in {made:?}, tokens in {set:?}, one visit {:?}", start.elapsed() / 1_000);
    println!("{}", std::fs::read_to_string("/proc/key-users").unwrap());
    drop(pags);
    let counters = stage.afs().counters();
    assert_eq!((counters.free, counters.tainted, counters.in_use), (200, 0, 0));
}

pub(super) fn a_pool_comes_to_its_end_and_gives_out_clean_ones_again() {
    let stage = Stage::open(2);
    let (alice, other) = (stage.pag("alice"), stage.pag("alice"));
    assert_eq!(stage.all(&alice), ALICE);
    assert_eq!(stage.afs().new_pag().map(drop), Err(Error::NoPagLeft));
    let number = alice.id();
    let ring = numbers(&alice)[0];
    drop(alice);
    assert!(stage.afs().enter(number).is_err());
    assert_eq!(PLACES.map(|(place, ..)| stage.reads(place)), NOBODY);
    let next = stage.afs().new_pag().unwrap();
    assert_ne!(next.id(), number);
    assert_eq!(numbers(&next)[0], ring);
    assert_eq!(stage.all(&next), NOBODY);
    next.set_token(&stage.token("bob")).unwrap();
    assert_eq!(stage.all(&next), BOB);
    // One in which something was run.
    stage.afs().mark_forkable(&other).unwrap();
    drop(other);
    assert_eq!(stage.afs().new_pag().map(drop), Err(Error::NoPagLeft));
    // One that ends while a thread is inside.
    let (here, gone) = (&Barrier::new(2), &Barrier::new(2));
    std::thread::scope(|s| {
        let inside = next.clone();
        let stage = &stage;
        s.spawn(move || {
            inside.enter().unwrap().stay();
            drop(inside);
            here.wait();
            gone.wait();
            assert!(!stage.reads("bob"));
            stage.afs().leave();
        });
        here.wait();
        drop(next);
        gone.wait();
    });
    let counters = stage.afs().counters();
    assert_eq!((counters.made, counters.free, counters.tainted, counters.in_use), (2, 0, 2, 0));
}

/// Lets no ioctl(2) of the calling thread come to the kernel.
fn forbid_ioctl() {
    let one = |code: u32, jt, jf, k| libc::sock_filter { code: u16::try_from(code).unwrap(), jt, jf, k };
    let ioctl = u32::try_from(libc::SYS_ioctl).unwrap();
    let eio = libc::SECCOMP_RET_ERRNO | u32::try_from(libc::EIO).unwrap();
    let mut filter = [
        one(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        one(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, ioctl),
        one(libc::BPF_RET | libc::BPF_K, 0, 0, eio),
        one(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    // SAFETY: numbers.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: a program of that length, which the kernel copies.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(set, 0);
}

pub(super) fn a_pag_whose_token_cannot_be_dropped_ends_with_its_keyring() {
    let stage = Stage::open(2);
    let (alice, bob) = (stage.pag("alice"), stage.pag("bob"));
    assert_eq!(stage.all(&alice), ALICE);
    let of_alice = numbers(&alice);
    let gone = |n: &i64| keyctl(DESCRIBE, *n, 0, 0, 0) == Err(libc::ENOKEY);
    assert!(of_alice.len() > 1 && !of_alice.iter().any(gone), "{of_alice:x?}");
    std::thread::scope(|s| {
        s.spawn(|| {
            // That is how OpenAFS's tokens are dropped; kAFS's go by another thread.
            forbid_ioctl();
            drop(alice);
        });
    });
    let counters = stage.afs().counters();
    let how = (counters.free, counters.tainted, counters.in_use);
    if kind() == ClientKind::OpenAfs {
        assert_eq!(how, (0, 1, 1));
        // The keyring, and what is in it: the key, too, by which the module knows the token.
        let start = Instant::now();
        while !of_alice.iter().all(gone) {
            assert!(start.elapsed() < Duration::from_secs(10), "{of_alice:x?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    } else {
        assert_eq!(how, (1, 0, 1));
        assert_eq!(stage.all(&stage.afs().new_pag().unwrap()), NOBODY);
    }
    assert_eq!(stage.all(&bob), BOB);
    assert_eq!(PLACES.map(|(place, ..)| stage.reads(place)), NOBODY);
}

pub(super) fn the_quota_of_keys_is_an_error_of_its_own() {
    let used = |what: &str| {
        let users = std::fs::read_to_string("/proc/key-users").unwrap();
        println!("{what}: {:?}", users.lines().find(|l| l.trim_start().starts_with("33:")));
    };
    let stage = Stage::open_as_root(600);
    used("before");
    std::fs::write("/proc/sys/kernel/keys/maxkeys", "500").unwrap();
    drop_root();
    let mut pags = Vec::new();
    let error = loop {
        let pag = stage.afs().new_pag().unwrap();
        match pag.set_token(&stage.token("alice")) {
            Ok(()) => pags.push(pag),
            Err(e) => break e,
        }
        assert!(pags.len() < 600);
    };
    println!("{} tokens, then {error}", pags.len());
    used("full");
    assert_eq!(error, Error::Quota);
    assert_eq!(stage.all(&pags[0]), ALICE);
    drop(pags);
    std::thread::sleep(Duration::from_secs(1));
    used("after");
}
