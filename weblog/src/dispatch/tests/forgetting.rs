//! What is forgotten of whom an administrator names.

use super::*;

#[test]
fn forgetting_drops_tokens_refusals_limits_and_running_logins_and_tells_children() {
    let mut w = World::new(|_| ());
    w.ask(0, alice("secret"));
    w.ask(1, get("bob", "example.com", "secret"));
    w.ask(2, get("bob", "other.example", "secret"));
    w.answer(right_is_secret);
    let under_way = w.ask(3, alice("secret-x"));
    w.forget(&Target::User("alice".to_owned(), Behind::new("example.com").unwrap()));
    assert_eq!((w.revoked, w.killed.len(), w.broker.cache.len()), (1, 1, 2));
    assert!(matches!(w.reply(under_way), Reply::Pending { .. }));
    w.forget(&Target::Cell(Cell::new("example.com").unwrap()));
    assert_eq!(w.broker.cache.len(), 1);
    w.forget(&Target::All);
    assert_eq!((w.revoked, w.broker.cache.len()), (3, 0));
    w.ask(0, alice("secret"));
    assert_eq!(w.started, 5);
}

#[test]
fn who_is_forgotten_by_the_realm_of_his_cell_is_forgotten() {
    let mut w = World::new(|c| c.cells[0].realm = Some("EXAMPLE.ORG".to_owned()));
    for (user, cell) in [("alice", "example.com"), ("bob", "example.com"), ("alice", "other.example")] {
        let a = w.ask(0, get(user, cell, "secret"));
        w.answer(right_is_secret);
        w.granted(a);
    }
    w.forget(&Target::User("alice".to_owned(), Behind::new("example.org").unwrap()));
    assert_eq!(w.broker.cache.len(), 2, "alice of the other cell stays");
    w.forget(&Target::Every(Behind::new("EXAMPLE.ORG").unwrap()));
    assert_eq!(w.broker.cache.len(), 1);
    w.forget(&Target::Every(Behind::new("STRANGE.ORG").unwrap()));
    assert_eq!(w.broker.cache.len(), 1);
}
