//! Tokens: their end, their renewal, their form.

use crate::outside::kind;
use crate::stage::{ALICE, Client, NOBODY, Stage};
use pag::{ClientKind, Error, KernelClient as _, Pag};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

pub(super) fn an_expired_token_is_none() {
    let stage = Stage::open(2);
    let pag = stage.afs().new_pag().unwrap();
    pag.set_token(&stage.token_for("alice", 6)).unwrap();
    assert_eq!(stage.all(&pag), ALICE);
    std::thread::sleep(Duration::from_secs(8));
    println!("from the cache: {:?}", stage.all(&pag));
    stage.flush();
    assert_eq!(stage.all(&pag), NOBODY);
    // One that had expired before.
    let late = stage.afs().new_pag().unwrap();
    let set = late.set_token(&stage.token_at("alice", -3_900, 300));
    println!("setting an expired token: {set:?}");
    assert_eq!(stage.all(&late), NOBODY);
    // And a new one makes up for it.
    pag.set_token(&stage.token("alice")).unwrap();
    assert_eq!(stage.all(&pag), ALICE);
}

pub(super) fn a_pag_whose_token_ended_long_ago_is_given_to_nobody_else() {
    // OpenAFS alone goes by the PAG's number; kAFS takes no token that has ended.
    let keeps = kind() == ClientKind::Kafs;
    let stage = Stage::open(1);
    for (ended_s, free) in [(60, 1), (3_700, usize::from(keeps))] {
        let pag = stage.afs().new_pag().unwrap();
        let set = pag.set_token(&stage.token_at("alice", -300 - ended_s, 300));
        assert_eq!(set.is_ok(), !keeps, "{set:?}");
        drop(pag);
        let counters = stage.afs().counters();
        assert_eq!((counters.free, counters.tainted), (free, 1 - free), "{ended_s} s ago");
    }
}

pub(super) fn a_token_is_renewed_while_threads_are_inside() {
    let stage = &Stage::open(2);
    let pag = &stage.afs().new_pag().unwrap();
    pag.set_token(&stage.token_for("alice", 8)).unwrap();
    let (end, rounds) = (&AtomicBool::new(false), &AtomicUsize::new(0));
    std::thread::scope(|s| {
        for t in 0..4 {
            s.spawn(move || {
                let scope = (t < 2).then(|| pag.enter().unwrap());
                while !end.load(Ordering::Relaxed) {
                    let own = scope.is_none().then(|| pag.enter().unwrap());
                    assert!(stage.reads("alice"));
                    assert!(!stage.reads("bob"));
                    drop(own);
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for life_s in [30, 36_000] {
            std::thread::sleep(Duration::from_secs(2));
            pag.set_token(&stage.token_for("alice", life_s)).unwrap();
        }
        std::thread::sleep(Duration::from_secs(6));
        stage.flush();
        std::thread::sleep(Duration::from_secs(1));
        end.store(true, Ordering::Relaxed);
    });
    println!("{} rounds", rounds.load(Ordering::Relaxed));
    assert_eq!(stage.all(pag), ALICE);
}

pub(super) fn tokens_come_back_as_they_were_set() {
    let stage = Stage::open(3);
    let get = |pag: &Pag| match &stage.client {
        Client::OpenAfs(c) => c.tokens(pag).map(|mut t| t.pop()),
        Client::Kafs(c) => match c.token(pag, &stage.cell()) {
            Err(Error::Errno { errno: libc::ENOKEY, .. }) => Ok(None),
            other => other.map(Some),
        },
    };
    for form in 0..2 {
        match &stage.client {
            Client::OpenAfs(c) if form == 1 => c.use_old_form(),
            Client::Kafs(c) if form == 1 => c.use_old_form(),
            _ => {}
        }
        assert_eq!(stage.all(&stage.pag("alice")), ALICE);
        for more in [0, 1, 2, 3, 500] {
            let pag = stage.afs().new_pag().unwrap();
            assert!(get(&pag).unwrap().is_none());
            let mut token = stage.token("alice");
            let len = token.ticket.len().max(56) + more;
            token.ticket.resize(len, 0);
            pag.set_token(&token).unwrap();
            let back = get(&pag).unwrap().unwrap();
            if form == 1 && kind() == ClientKind::Kafs {
                // Which has no room for it.
                token.begin = back.begin;
            }
            assert_eq!(
                (&back.ticket, back.kvno, back.key.0, back.begin, back.end, &back.cell),
                (&token.ticket, token.kvno, token.key.0, token.begin, token.end, &token.cell),
            );
            match &stage.client {
                Client::OpenAfs(c) => c.drop_tokens(&pag).unwrap(),
                Client::Kafs(c) => c.drop_tokens(&pag).unwrap(),
            }
            assert!(get(&pag).unwrap().is_none());
        }
    }
    assert!(get(stage.afs().anonymous()).unwrap().is_none());
}
