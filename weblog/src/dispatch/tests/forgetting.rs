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

#[test]
fn who_typed_the_realm_of_a_cell_of_which_it_is_not_known_here_is_forgotten_by_the_cell() {
    let mut w = World::new(|c| c.cells[0].method = weblog_proto::Method::Krb5);
    let of_realm =
        |user| GetToken { realm: Some("PARTNER.EXAMPLE".to_owned()), ..get(user, "example.com", "secret") };
    for (user, called) in [("alice", "alice"), ("bob", "bob@partner.example"), ("alice.x", "alice.x")] {
        w.ask(0, of_realm(user));
        let (id, job) = w.running.remove(0);
        let success = Success { name: called.to_owned(), ..success(token(job.who.cell(), START + 36_000)) };
        let now = w.now();
        w.broker.ended(id, Ok(Fruit::Login(success)), now);
        w.drain();
    }
    let user = |name: &str| Target::User(name.to_owned(), Behind::new("example.com").unwrap());
    w.forget(&user("alice"));
    assert_eq!(w.broker.cache.len(), 2);
    w.forget(&user("bob"));
    assert_eq!(w.broker.cache.len(), 2, "bob of the partner is not the cell's bob");
}

#[test]
fn who_is_forgotten_is_so_in_whatever_case_he_typed_his_name_and_by_the_cell_s_name_for_him() {
    let mut w = World::new(|c| c.cells[0].method = weblog_proto::Method::Krb5);
    for user in ["alice", "Alice"] {
        w.ask(0, get(user, "example.com", "secret"));
        w.answer(right_is_secret);
    }
    w.ask(0, get("carol/admin", "example.com", "secret"));
    w.ask(1, get("carl/admin", "example.com", "secret"));
    w.answer(right_is_secret);
    w.ask(
        0,
        GetToken { realm: Some("PARTNER.EXAMPLE".to_owned()), ..get("carol/admin", "example.com", "x") },
    );
    let (id, job) = w.running.remove(0);
    let name = "carol.admin@partner.example".to_owned();
    let success = Success { name, ..success(token(job.who.cell(), START + 36_000)) };
    let now = w.now();
    w.broker.ended(id, Ok(Fruit::Login(success)), now);
    w.drain();
    let guess = |w: &mut World, password: &str| {
        let get = get("carol/admin", "example.com", password);
        let a = w.ask(0, GetToken { address: [203, 0, 113, 9].into(), ..get });
        w.answer(right_is_secret);
        w.failure(a)
    };
    for i in 0..5 {
        assert_eq!(guess(&mut w, &format!("guess {i}")), Failure::WrongPassword);
    }
    assert_eq!(guess(&mut w, "guess 5"), Failure::Overload);
    let user = |name: &str, behind: &str| Target::User(name.to_owned(), Behind::new(behind).unwrap());
    w.forget(&user("aLICE", "example.com"));
    assert_eq!(w.broker.cache.len(), 3);
    w.forget(&user("Carol.admin", "example.com"));
    assert_eq!(w.broker.cache.len(), 2, "not the one of the realm");
    assert_eq!(guess(&mut w, "guess 6"), Failure::WrongPassword, "his failed logins are forgotten, too");
    w.forget(&user("carol.admin", "PARTNER.EXAMPLE"));
    assert_eq!(w.broker.cache.len(), 1);
}
