//! What may not go to a cell, or come from it.

use super::*;

#[test]
fn what_nobody_can_be_never_reaches_a_cell() {
    let mut w = World::new(|_| ());
    for (user, cell, want) in [
        ("alice", "elsewhere.example", Failure::CellNotAllowed),
        ("alice", "exa", Failure::CellNotAllowed),
        ("alice", "bad cell", Failure::CellNotAllowed),
        ("al ice", "example.com", Failure::NotAcceptable),
        ("alice\n", "example.com", Failure::NotAcceptable),
        ("", "example.com", Failure::NotAcceptable),
        // A kaserver's instances stand behind a dot.
        ("carol/admin", "example.com", Failure::NotAcceptable),
    ] {
        let a = w.ask(0, get(user, cell, "secret"));
        assert_eq!(w.failure(a), want, "{user}@{cell}");
    }
    assert_eq!(w.started, 0);
    let a = w.ask(0, get("alice", "EXAMPLE.COM", "secret"));
    w.answer(right_is_secret);
    w.granted(a);
}

#[test]
fn d3_a_token_of_another_cell_or_one_that_has_ended_is_not_accepted() {
    let mut w = World::new(|_| ());
    for bad in [
        token(&Cell::new("other.example").unwrap(), START + 100),
        token(&Cell::new("example.com").unwrap(), START),
    ] {
        let a = w.ask(0, alice("secret"));
        let (id, _) = w.running.pop().unwrap();
        let now = w.now();
        w.broker.ended(id, Ok(Fruit::Login(success(bad))), now);
        w.drain();
        assert_eq!(w.failure(a), Failure::NotAccepted);
        w.advance(2_000);
    }
    assert_eq!(w.broker.cache.len(), 0);
}

#[test]
fn an_outcome_that_comes_after_its_deadline_is_nothing() {
    let mut w = World::new(|_| ());
    let a = w.ask(0, alice("secret"));
    let (id, job) = w.running[0].clone();
    w.advance(10_000);
    assert!(matches!(w.reply(a), Reply::Failed(Failure::Deadline)));
    let now = w.now();
    let late = Fruit::Login(success(token(job.who.cell(), START + 1000)));
    w.broker.ended(id, Ok(late), now);
    w.drain();
    assert_eq!(w.broker.cache.len(), 0);
}
