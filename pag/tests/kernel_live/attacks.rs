//! What processes inside a PAG and beside it can get at, and what they can destroy.

use crate::outside::{keyctl, kind};
use crate::processes::{Beside, answer};
use crate::stage::{ALICE, BOB, NOBODY, PLACES, Stage, UID};
use pag::{ClientKind, Error, Kafs, OpenAfs, Pag};
use std::time::Duration;

/// Number of the calling thread's session keyring.
fn session() -> i64 {
    keyctl(0, -3, 0, 0, 0).unwrap()
}

/// Does to the keyrings and keys whose numbers it gets what it can; says what worked.
pub(super) fn attacker() {
    answer(|line| {
        let (what, numbers) = line.split_once(' ').unwrap_or((line, ""));
        let mut done = Vec::new();
        let own = {
            // SAFETY: texts and no payload.
            let n = unsafe {
                libc::syscall(libc::SYS_add_key, c"keyring".as_ptr(), c"own".as_ptr(), 0usize, 0usize, -2i64)
            };
            assert!(n > 0);
            n
        };
        let mut buf = [0u8; 20_000];
        let at = buf.as_mut_ptr() as i64;
        let mut note = |name: &str, n: i64, r: Result<i64, i32>| {
            if r.is_ok() {
                done.push(format!("{name}:{}", if n < 0 { n.to_string() } else { "it".to_owned() }));
            }
        };
        if what == "destroy" {
            for n in numbers.split_ascii_whitespace() {
                let n: i64 = n.parse().unwrap();
                note("clear", n, keyctl(7, n, 0, 0, 0));
                note("timeout", n, keyctl(15, n, 1, 0, 0));
                note("revoke", n, keyctl(3, n, 0, 0, 0));
                note("invalidate", n, keyctl(21, n, 0, 0, 0));
            }
            return done.join(" ");
        }
        for n in numbers.split_ascii_whitespace() {
            let n: i64 = n.parse().unwrap();
            note("describe", n, keyctl(6, n, at, 256, 0));
            note("read", n, keyctl(11, n, at, 20_000, 0));
            note("link", n, keyctl(8, n, own, 0, 0));
            note("link-to-user", n, keyctl(8, n, -4, 0, 0));
            note("move", n, keyctl(30, n, -3, own, 0));
            note("link-into", n, keyctl(8, own, n, 0, 0));
            note("rights", n, keyctl(5, n, 0x3f3f_3f3f, 0, 0));
            note("owner", n, keyctl(4, n, i64::from(UID), -1, 0));
            note("allow-links", n, keyctl(29, n, 0, 0, 0));
            for (kind, name) in [(c"rxrpc", c"afs@cell.example"), (c"afs_pag", c"_pag")] {
                let (k, d) = (kind.as_ptr() as i64, name.as_ptr() as i64);
                note("search", n, keyctl(10, n, k, d, 0));
                note("search-and-link", n, keyctl(10, n, k, d, own));
            }
            // SAFETY: texts, and a payload of four bytes.
            let added = unsafe {
                libc::syscall(libc::SYS_add_key, c"user".as_ptr(), c"x".as_ptr(), c"evil".as_ptr(), 4usize, n)
            };
            note("add", n, if added > 0 { Ok(added) } else { Err(0) });
        }
        for (kind, name) in [(c"rxrpc", c"afs@cell.example"), (c"afs_pag", c"_pag")] {
            // SAFETY: texts.
            let found =
                unsafe { libc::syscall(libc::SYS_request_key, kind.as_ptr(), name.as_ptr(), 0usize, own) };
            note("request-and-link", -9, if found > 0 { Ok(found) } else { Err(0) });
        }
        note("session-to-parent", -9, keyctl(18, 0, 0, 0, 0));
        let shown = std::fs::read_to_string("/proc/keys").unwrap();
        note("name-shown", -9, if shown.contains("afsweb.") { Ok(0) } else { Err(0) });
        done.join(" ")
    });
}

/// Numbers of a PAG's keyring and what is in it, which only those inside can read.
pub(super) fn numbers(pag: &Pag) -> Vec<i64> {
    fn walk(ring: i64, all: &mut Vec<i64>) {
        let mut buf = [0i32; 64];
        all.push(ring);
        if all.len() < 8
            && let Ok(n) = keyctl(11, ring, buf.as_mut_ptr() as i64, 256, 0)
        {
            let n = usize::try_from(n).unwrap() / 4;
            // A key of 16 bytes or more is not a list of keys.
            buf[..n.min(2)].iter().filter(|s| **s > 0xFFFF && n < 3).for_each(|s| walk((*s).into(), all));
        }
    }
    let scope = pag.enter().unwrap();
    let mut all = Vec::new();
    walk(session(), &mut all);
    drop(scope);
    all
}

/// The numbers as a line.
fn line(numbers: &[i64]) -> String {
    numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(" ")
}

pub(super) fn what_runs_inside_gets_at_no_other_visitor() {
    let stage = Stage::open(2);
    let (alice, bob) = (stage.pag("alice"), stage.pag("bob"));
    let (of_alice, of_bob) = (numbers(&alice), numbers(&bob));
    println!("alice's {of_alice:x?}, bob's {of_bob:x?}");
    assert!(of_alice.len() >= 2);
    stage.afs().mark_forkable(&alice).unwrap();
    stage.afs().mark_forkable(&alice).unwrap();
    let again = alice.set_token(&stage.token("alice"));
    assert_eq!(again.is_ok(), kind() == ClientKind::OpenAfs, "{again:?}");
    let scope = alice.enter().unwrap();
    let mut child = Beside::start("attacker");
    let of_others = child.ask(&format!("try {}", line(&of_bob)));
    let own = child.ask(&format!("try -3 {}", line(&of_alice)));
    drop(scope);
    println!("inside: {own}\nof others: {of_others}");
    assert_eq!(of_others, "");
    // What it can: read what it has, and find it again. Nothing that takes it anywhere else.
    for word in own.split(' ') {
        let word = word.split(':').next().unwrap();
        let harmless =
            ["read", "search"].contains(&word) || (word == "describe" && kind() == ClientKind::OpenAfs);
        assert!(harmless, "{own}");
    }
    assert_eq!((stage.all(&alice), stage.all(&bob)), (ALICE, BOB));
    // What it can besides: put an end to its own visitor's PAG.
    println!("destroys its own: {}", child.ask("destroy -3"));
    child.end();
    assert_eq!(stage.all(&bob), BOB);
    assert!(alice.enter().is_err());
    assert_eq!(PLACES.map(|(place, ..)| stage.reads(place)), NOBODY);
}

pub(super) fn what_runs_beside_gets_at_no_visitor() {
    let stage = Stage::open(1);
    let alice = stage.pag("alice");
    let of_alice = numbers(&alice);
    assert!(matches!(OpenAfs::prepare(1, None).map(drop), Err(Error::NoAfs(_))));
    assert!(matches!(Kafs::prepare(1, None).map(drop), Err(Error::NoAfs(_))));
    // In the anonymous PAG, and in a session of its own.
    let mut child = Beside::start("attacker");
    assert_eq!(child.ask(&format!("try {}", line(&of_alice))), "");
    child.end();
    let name = c"afsweb-test-session";
    let thread = std::thread::spawn(move || {
        keyctl(1, name.as_ptr() as i64, 0, 0, 0).unwrap();
        let mut child = Beside::start("attacker");
        let got = child.ask(&format!("try {}", line(&of_alice)));
        child.end();
        got
    });
    assert_eq!(thread.join().unwrap(), "");
    assert_eq!(stage.all(&alice), ALICE);
}

pub(super) fn a_destroyed_pag_is_noticed() {
    let stage = Stage::open(2);
    let (alice, bob) = (stage.pag("alice"), stage.pag("bob"));
    let ring = numbers(&alice)[0];
    let mut other = Beside::start("attacker");
    assert_eq!(other.ask(&format!("destroy {ring}")), "invalidate:it");
    other.end();
    for _ in 0..3 {
        let entered = alice.enter().map(drop);
        assert!(matches!(entered, Err(Error::WrongPag | Error::Errno { .. })), "{entered:?}");
        assert_eq!(PLACES.map(|(place, ..)| stage.reads(place)), NOBODY);
        assert_eq!(stage.all(&bob), BOB);
        std::thread::sleep(Duration::from_millis(200));
    }
    drop(alice);
    assert_eq!(stage.all(&bob), BOB);
    println!("{:?}", stage.afs().counters());
}

pub(super) fn loses_the_anonymous_pag() {
    let stage = Stage::open(1);
    let alice = stage.pag("alice");
    let ring = numbers(stage.afs().anonymous())[0];
    let mut other = Beside::start("attacker");
    assert_eq!(other.ask(&format!("destroy {ring}")), "invalidate:it");
    other.end();
    let scope = alice.enter().unwrap();
    assert!(stage.reads("alice"));
    drop(scope);
    panic!("still there");
}
