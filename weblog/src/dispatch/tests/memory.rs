//! What the cache, or the memory of refused logins, answers.

use super::*;

#[test]
fn hundreds_with_the_same_right_password_cause_one_login() {
    let mut w = World::new(|_| ());
    let askers: Vec<u32> = (0..500).map(|lane| w.ask(lane, alice("secret"))).collect();
    assert_eq!(w.started, 1);
    w.answer(right_is_secret);
    for a in askers {
        assert_eq!(w.granted(a).token.afs_id, 1001);
    }
    let later = w.ask(0, alice("secret"));
    w.granted(later);
    assert_eq!((w.started, w.broker.counts().cached), (1, 1));
}

#[test]
fn hundreds_with_the_same_wrong_password_cause_one_login_also_one_after_the_other() {
    let mut w = World::new(|_| ());
    let askers: Vec<u32> = (0..300).map(|lane| w.ask(lane, alice("secretwrong"))).collect();
    w.answer(right_is_secret);
    for a in askers {
        assert_eq!(w.failure(a), Failure::WrongPassword);
    }
    for _ in 0..300 {
        w.advance(10);
        let a = w.ask(0, alice("secretwrong"));
        assert_eq!(w.failure(a), Failure::WrongPassword);
    }
    assert_eq!(w.started, 1);
    w.advance(5_000);
    w.ask(0, alice("secretwrong"));
    assert_eq!(w.started, 2, "it is not remembered for ever");
}

#[test]
fn a_wrong_password_neither_spoils_nor_uses_the_entry_of_the_right_one() {
    let mut w = World::new(|_| ());
    w.ask(0, alice("secret"));
    w.answer(right_is_secret);
    let a = w.ask(0, alice("secret2"));
    assert_eq!(w.started, 2, "the cached token is not given for another password");
    w.answer(right_is_secret);
    assert_eq!(w.failure(a), Failure::WrongPassword);
    let a = w.ask(0, alice("secret"));
    w.granted(a);
    let b = w.ask(0, get("alice", "other.example", "secret"));
    assert_eq!(w.started, 3, "nor for the same name in another cell");
    w.answer(right_is_secret);
    assert_eq!(w.granted(b).token.cell.as_str(), "other.example");
}

#[test]
fn each_askers_own_expiration_counts() {
    let mut w = World::new(|_| ());
    let with = |cache_s: u32| GetToken { cache_expiration_s: cache_s, ..alice("secret") };
    let a = w.ask(0, with(300));
    w.answer(right_is_secret);
    assert_eq!(w.granted(a).valid_s, 300);
    w.advance(59_000);
    let a = w.ask(0, with(60));
    assert_eq!(w.granted(a).valid_s, 1);
    w.advance(1_000);
    let a = w.ask(0, with(300));
    assert_eq!(w.granted(a).valid_s, 240);
    w.ask(0, with(60));
    assert_eq!(w.started, 2, "an entry of 300 s is of no use for 60 s after 60 s");
}

#[test]
fn an_entry_ends_with_the_expiration_it_was_made_for_and_with_its_token() {
    let mut w = World::new(|_| ());
    w.ask(0, GetToken { cache_expiration_s: 300, ..alice("secret") });
    w.answer(right_is_secret);
    w.advance(300_000);
    assert_eq!(w.broker.cache.len(), 0);
    w.ask(0, alice("secret"));
    w.answer(|_| Ok(36_000));
    w.advance(35_997_000);
    let a = w.ask(0, alice("secret"));
    assert_eq!(w.granted(a).valid_s, 1);
    w.advance(3_000);
    assert_eq!(w.broker.cache.len(), 0);
    assert_eq!(w.started, 2);
}

#[test]
fn a_token_with_a_longer_life_than_asked_for_is_not_given() {
    let mut w = World::new(|_| ());
    let with = |life_s: u32| GetToken { token_lifetime_s: life_s, ..alice("secret") };
    w.ask(0, with(0));
    let short = w.ask(1, with(600));
    assert_eq!(w.started, 1);
    w.answer(|_| Ok(36_000));
    assert!(matches!(w.reply(short), Reply::Pending { .. }));
    let short = w.ask(1, with(600));
    assert!(matches!(w.running[0].1.errand, Errand::Login { lifetime_s: 600, .. }));
    w.answer(|_| Ok(900));
    w.granted(short);
    let long = w.ask(0, with(0));
    w.granted(long);
    let same = w.ask(0, with(600));
    w.granted(same);
    assert_eq!(w.started, 2);
}

#[test]
fn d11_a_new_password_ends_what_the_old_one_left() {
    let mut w = World::new(|_| ());
    w.ask(0, alice("secret"));
    w.answer(|_| Ok(36_000));
    w.ask(0, alice("secret-new"));
    w.answer(|_| Ok(36_000));
    assert_eq!((w.revoked, w.broker.cache.len()), (1, 1));
    w.ask(0, alice("secret"));
    w.answer(right_is_secret);
    assert_eq!(w.started, 3);
}

#[test]
fn d11_two_passwords_by_turns_make_children_forget_once_a_minute_and_the_broker_each_time() {
    let mut w = World::new(|c| c.limit_per_address = 0);
    let both = |_: &Job| Ok(36_000);
    let change = |w: &mut World, user: &str, password: &str| {
        w.ask(0, get(user, "example.com", password));
        w.answer(both);
        w.revoked
    };
    for user in ["alice", "bob"] {
        assert_eq!(change(&mut w, user, "secret"), 0);
    }
    assert_eq!(change(&mut w, "alice", "secret-new"), 1, "the first one at once");
    for password in ["secret", "secret-new", "secret"] {
        w.advance(19_999);
        assert_eq!(change(&mut w, "alice", password), 1);
        assert_eq!(w.broker.cache.len(), 2, "one of hers, one of bob's");
    }
    assert_eq!(change(&mut w, "bob", "secret-new"), 2, "another user's first one, too");
    w.advance(3);
    assert_eq!(change(&mut w, "alice", "secret-new"), 3);
    w.forget(&Target::All);
    assert_eq!(w.revoked, 4, "an administrator's word at once");
}

#[test]
fn a_name_in_another_case_is_the_same_user_of_whom_an_old_password_leaves_nothing() {
    let mut w = World::new(|_| ());
    for name in ["alice", "Alice"] {
        w.ask(0, get(name, "example.com", "secret"));
        w.answer(right_is_secret);
    }
    assert_eq!((w.revoked, w.broker.cache.len(), w.started), (0, 2, 2), "one password, each its own login");
    w.ask(0, get("aLICE", "example.com", "secret-new"));
    w.answer(|_| Ok(36_000));
    assert_eq!((w.revoked, w.broker.cache.len()), (1, 1));
}

#[test]
fn the_cache_is_bounded() {
    let mut w = World::new(|c| {
        c.cache_entries = 10;
        c.limit_per_address = 0;
    });
    for i in 0..30 {
        w.ask(0, get(&format!("u{i}"), "example.com", "secret"));
        w.answer(right_is_secret);
    }
    assert_eq!(w.broker.cache.len(), 10);
}
