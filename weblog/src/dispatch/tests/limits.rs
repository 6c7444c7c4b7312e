//! How many guesses somebody has.

use super::*;

#[test]
fn who_has_used_up_his_guesses_does_not_learn_the_right_one_from_the_cache() {
    let mut w = World::new(|c| c.limit_per_user = 3);
    w.ask(0, alice("secret"));
    w.answer(right_is_secret);
    let from_elsewhere =
        |password: &str| GetToken { address: IpAddr::from([198, 51, 100, 9]), ..alice(password) };
    let a = w.ask(0, from_elsewhere("secret"));
    w.granted(a);
    for i in 0..3 {
        let a = w.ask(0, from_elsewhere(&format!("guess {i}")));
        w.answer(right_is_secret);
        assert_eq!(w.failure(a), Failure::WrongPassword);
    }
    let wrong = w.ask(0, from_elsewhere("guess 4"));
    let right = w.ask(0, from_elsewhere("secret"));
    assert_eq!(w.failure(wrong), Failure::Overload);
    assert_eq!(w.failure(right), Failure::Overload, "the right guess looks like the wrong one");
    let a = w.ask(0, alice("secret"));
    w.granted(a);
    assert_eq!(w.started, 4);
    w.advance(3_600_000);
    let a = w.ask(0, from_elsewhere("secret"));
    w.granted(a);
}

#[test]
fn the_last_attempt_that_is_let_through_gets_its_answer_also_when_it_is_slow() {
    let mut w = World::new(|c| c.limit_per_user = 1);
    let a = w.ask(0, alice("secret"));
    w.advance(200);
    assert!(matches!(w.reply(a), Reply::Pending { .. }));
    let b = w.ask(0, alice("secret"));
    w.answer(right_is_secret);
    w.granted(b);
}

#[test]
fn an_attacker_is_stopped_before_the_cell_locks_the_victim_out_who_goes_on_from_the_cache() {
    let mut w = World::new(|_| ());
    w.ask(0, alice("secret"));
    w.answer(right_is_secret);
    let before = w.started;
    for i in 0..200 {
        let a = w.ask(0, GetToken { address: IpAddr::from([203, 0, 113, 9]), ..alice(&format!("guess{i}")) });
        w.answer(right_is_secret);
        let f = w.failure(a);
        assert_eq!(f, if i < 5 { Failure::WrongPassword } else { Failure::Overload });
    }
    assert_eq!(w.started - before, 5);
    let a = w.ask(0, alice("secret"));
    w.granted(a);
}

#[test]
fn guesses_at_a_name_in_other_cases_count_together() {
    let mut w = World::new(|_| ());
    for (i, name) in ["alice", "Alice", "aLICE", "ALICE", "alicE", "AliCe", "alIce"].into_iter().enumerate() {
        let a = w.ask(0, get(name, "example.com", &format!("guess{i}")));
        w.answer(right_is_secret);
        assert_eq!(w.failure(a), if i < 5 { Failure::WrongPassword } else { Failure::Overload }, "{name}");
    }
}

#[test]
fn simultaneous_guesses_do_not_slip_through() {
    let mut w = World::new(|c| c.logins_per_cell = 64);
    for i in 0..100 {
        w.ask(i, alice(&format!("guess{i}")));
    }
    assert_eq!(w.started, 5);
}

#[test]
fn many_visitors_of_one_address_log_in_one_after_the_other_where_its_limit_is_full_of_logins_under_way() {
    let mut w = World::new(|c| {
        c.limit_per_address = 4;
        c.logins_per_cell = 64;
    });
    let ask = |w: &mut World, i: usize| w.ask(i, get(&format!("u{i}"), "example.com", "secret"));
    let mut waiting: Vec<usize> = (0..10).collect();
    for round in 1..=3 {
        let asked: Vec<(usize, u32)> = waiting.iter().map(|i| (*i, ask(&mut w, *i))).collect();
        assert!(w.running.len() <= 4, "{}", w.running.len());
        w.answer(right_is_secret);
        waiting.clear();
        for (i, asker) in asked {
            match w.reply(asker) {
                Reply::Granted(_) => {}
                Reply::Pending { .. } => waiting.push(i),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(waiting.len(), 10_usize.saturating_sub(4 * round));
    }
    // Nobody can use that to guess more: what fails stays counted.
    for i in 0..4 {
        w.ask(i, get(&format!("u{i}"), "example.com", "guess"));
    }
    let right = ask(&mut w, 20);
    assert!(matches!(w.reply(right), Reply::Pending { .. }));
    w.answer(right_is_secret);
    let right = ask(&mut w, 20);
    assert_eq!(w.failure(right), Failure::Overload);
    assert_eq!(w.started, 14);
}

#[test]
fn memory_confirms_no_guess_while_the_cell_answers_nobody() {
    let mut w = World::new(|c| c.limit_per_user = 3);
    w.ask(0, alice("secret"));
    w.answer(right_is_secret);
    // Two users without an answer: the cell is not asked for a while.
    for user in ["u1", "u2"] {
        w.ask(1, get(user, "example.com", "secret"));
        w.answer(|_| Err(Failure::CellUnreachable));
    }
    let started = w.started;
    let from_elsewhere =
        |password: &str| GetToken { address: IpAddr::from([198, 51, 100, 9]), ..alice(password) };
    for i in 0..3 {
        let a = w.ask(0, from_elsewhere(&format!("guess {i}")));
        assert_eq!(w.failure(a), Failure::CellUnreachable);
    }
    for password in ["guess 4", "secret"] {
        let a = w.ask(0, from_elsewhere(password));
        assert_eq!(w.failure(a), Failure::Overload, "{password}");
    }
    assert_eq!(w.started, started);
    // Whom memory does not know, is not counted for what the cell does.
    for _ in 0..5 {
        let a = w.ask(0, get("bob", "example.com", "secret"));
        assert_eq!(w.failure(a), Failure::CellUnreachable);
    }
    let a = w.ask(0, alice("secret"));
    w.granted(a);
}
