//! Cells or authenticators that give no answer.

use super::*;

#[test]
fn a_silent_cell_ends_at_the_deadline_and_then_fails_fast_while_others_go_on() {
    let mut w = World::new(|_| ());
    for i in 0..40 {
        w.ask(i, get(&format!("u{i}"), "example.com", "secret"));
    }
    assert_eq!(w.running.len(), 4, "logins per cell");
    let other = w.ask(40, get("bob", "other.example", "secret"));
    w.answer(
        |job| {
            if job.who.cell().as_str() == "other.example" { Ok(36_000) } else { Err(Failure::Internal) }
        },
    );
    w.granted(other);
    let mut w = World::new(|_| ());
    for i in 0..40 {
        w.ask(i, get(&format!("u{i}"), "example.com", "secret"));
    }
    w.advance(100);
    for i in 1..=40 {
        assert!(matches!(w.reply(i), Reply::Pending { .. }));
    }
    w.advance(9_900);
    assert_eq!(w.killed.len(), 4);
    assert_eq!(w.broker.logins.counts(), (0, 0), "those who wait for their turn are told at once");
    let a = w.ask(0, get("zoe", "example.com", "secret"));
    assert_eq!(w.failure(a), Failure::CellUnreachable);
    let b = w.ask(1, get("u1", "example.com", "secret"));
    assert_eq!(w.failure(b), Failure::Deadline, "who asks again learns what became of his login");
    let c = w.ask(2, get("bob", "other.example", "secret"));
    w.answer(right_is_secret);
    w.granted(c);
    w.advance(3_000);
    let probe = w.ask(3, get("zoe", "example.com", "secret"));
    let second = w.ask(4, get("yan", "example.com", "secret"));
    assert_eq!(w.failure(second), Failure::CellUnreachable, "one probe");
    w.answer(right_is_secret);
    w.granted(probe);
    let d = w.ask(4, get("yan", "example.com", "secret"));
    w.answer(right_is_secret);
    w.granted(d);
}

#[test]
fn a_login_that_no_authenticator_got_says_nothing_about_its_cell() {
    let mut w = World::new(|_| ());
    w.no_authenticator = true;
    let a = w.ask(0, alice("secret"));
    w.advance(10_000);
    assert_eq!(w.failure(a), Failure::Overload);
    assert_eq!((w.killed.len(), w.broker.logins.counts()), (1, (0, 0)), "it waits nowhere any more");
    w.no_authenticator = false;
    let b = w.ask(1, get("bob", "example.com", "secret"));
    w.answer(right_is_secret);
    w.granted(b);
}

#[test]
fn after_a_new_configuration_a_silent_cell_is_asked_again() {
    let mut w = World::new(|_| ());
    w.ask(0, alice("secret"));
    w.advance(9_000);
    let old = w.ask(1, get("carol", "example.com", "secret"));
    w.advance(1_000);
    let b = w.ask(2, get("bob", "example.com", "secret"));
    assert_eq!(w.failure(b), Failure::CellUnreachable);
    let now = w.now();
    w.broker.configure(Settings::new(&BrokerConfig { version: 2, ..sample() }).unwrap(), now);
    w.drain();
    // A login that went to the servers of before.
    w.advance(9_000);
    assert_eq!(w.broker.logins.counts(), (0, 0), "{:?}", w.reply(old));
    let b = w.ask(2, get("bob", "example.com", "secret"));
    w.answer(right_is_secret);
    w.granted(b);
}

#[test]
fn cached_visitors_of_a_silent_cell_go_on() {
    let mut w = World::new(|_| ());
    w.ask(0, alice("secret"));
    w.answer(right_is_secret);
    w.ask(0, get("bob", "example.com", "secret"));
    w.advance(10_000);
    let a = w.ask(0, get("carol", "example.com", "secret"));
    assert_eq!(w.failure(a), Failure::CellUnreachable);
    let b = w.ask(0, alice("secret"));
    w.granted(b);
}

#[test]
fn an_authenticator_that_dies_costs_one_login_only() {
    let mut w = World::new(|_| ());
    let a = w.ask(0, alice("secret"));
    w.answer(|_| Err(Failure::Internal));
    assert_eq!(w.failure(a), Failure::Internal);
    w.advance(2_000);
    let a = w.ask(0, alice("secret"));
    w.answer(right_is_secret);
    w.granted(a);
}

#[test]
fn one_user_whose_own_logins_get_no_answer_keeps_others_away_no_longer_than_the_first_pause() {
    let mut w = World::new(|_| ());
    while w.killed.len() < 4 {
        let a = w.ask(0, alice("secret"));
        w.advance(100);
        let reply = w.reply(a);
        let waits = matches!(reply, Reply::Pending { .. });
        assert!(
            waits || matches!(reply, Reply::Failed(Failure::Deadline | Failure::CellUnreachable)),
            "{reply:?}"
        );
    }
    assert!(w.ms >= 4 * 10_000 + 3_000 + 6_000 + 12_000, "her own pauses are longer and longer: {}", w.ms);
    let zoes = w.ask(1, get("zoe", "example.com", "secret"));
    assert_eq!(w.failure(zoes), Failure::CellUnreachable);
    w.advance(3_000);
    let zoes = w.ask(1, get("zoe", "example.com", "secret"));
    w.answer(right_is_secret);
    w.granted(zoes);
    // The cell is closed again, for all.
    for user in ["yan", "xenia"] {
        let a = w.ask(2, get(user, "example.com", "secret"));
        w.answer(right_is_secret);
        w.granted(a);
    }
    assert!(!w.broker.status(w.now()).contains("silent: "));
}

#[test]
fn who_comes_while_the_probe_is_of_the_one_user_without_answers_probes_in_his_place() {
    let mut w = World::new(|_| ());
    w.ask(0, alice("secret"));
    w.advance(10_000);
    w.advance(3_000);
    w.ask(0, alice("secret"));
    assert_eq!(w.running.len(), 1, "her probe");
    let (probe, _) = w.running.remove(0);
    w.advance(100);
    let zoes = w.ask(1, get("zoe", "example.com", "secret"));
    w.answer(right_is_secret);
    w.granted(zoes);
    w.advance(9_900);
    assert_eq!(w.killed.last(), Some(&probe));
    let yans = w.ask(2, get("yan", "example.com", "secret"));
    w.answer(right_is_secret);
    w.granted(yans);
}

#[test]
fn what_is_refused_here_is_no_answer_of_a_silent_cell() {
    let mut w = World::new(|_| ());
    let zoe = || get("zoe", "example.com", "secret");
    for failure in [Failure::NotAcceptable, Failure::CellNotAllowed, Failure::ClockSkew] {
        w.ask(0, alice("secret"));
        w.answer(|_| Err(Failure::CellUnreachable));
        let a = w.ask(1, zoe());
        assert_eq!(w.failure(a), Failure::CellUnreachable, "stopped");
        w.advance(3_000);
        let a = w.ask(0, get("yan", "example.com", "secret"));
        let (id, _) = w.running.remove(0);
        let now = w.now();
        w.broker.ended(id, Err(Refusal::local(failure)), now);
        w.drain();
        assert_eq!(w.failure(a), failure);
        let probe = w.ask(1, zoe());
        let other = w.ask(2, get("xenia", "example.com", "secret"));
        assert_eq!(w.failure(other), Failure::CellUnreachable, "one probe: it is not known to answer");
        w.answer(|_| Err(Failure::WrongPassword));
        assert_eq!(w.failure(probe), Failure::WrongPassword);
        w.advance(6_000);
    }
}
