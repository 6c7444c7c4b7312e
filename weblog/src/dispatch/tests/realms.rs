//! Users of realms that they name.

use super::*;
use weblog_proto::Method;

/// The cell asks KDCs: a kaserver knows its own users only.
fn by_krb5(config: &mut BrokerConfig) {
    config.cells[0].method = Method::Krb5;
}

/// Alice of a realm that is not the cell's own.
fn foreign_alice(realm: &str) -> GetToken {
    GetToken { realm: Some(realm.to_owned()), ..alice("secret") }
}

#[test]
fn users_of_an_allowed_realm_are_others_than_those_of_the_cell() {
    let mut w = World::new(by_krb5);
    let a = w.ask(0, foreign_alice("ELSEWHERE.EXAMPLE"));
    assert_eq!(w.failure(a), Failure::CellNotAllowed);
    let a = w.ask(0, foreign_alice("partner.example"));
    assert_eq!(w.failure(a), Failure::CellNotAllowed, "spelled as the configuration has it");
    let here = w.ask(0, alice("secret"));
    let there = w.ask(1, foreign_alice("PARTNER.EXAMPLE"));
    assert_eq!(w.started, 2, "no login for both");
    w.answer(|job| if job.who.realm().is_some() { Err(Failure::WrongPassword) } else { Ok(36_000) });
    w.granted(here);
    assert_eq!(w.failure(there), Failure::WrongPassword);
    let again = w.ask(1, foreign_alice("PARTNER.EXAMPLE"));
    assert_eq!(w.failure(again), Failure::WrongPassword, "not the other one's token");
    w.forget(&Target::User("alice".to_owned(), Behind::new("partner.example").unwrap()));
    assert_eq!((w.started, w.broker.cache.len()), (2, 1));
}

#[test]
fn a_silent_realm_holds_up_no_users_of_the_cell_and_one_that_is_no_longer_allowed_is_forgotten() {
    let mut w = World::new(by_krb5);
    for i in 0..4 {
        w.ask(i, GetToken { user: format!("u{i}"), ..foreign_alice("PARTNER.EXAMPLE") });
        w.answer(|_| Err(Failure::CellUnreachable));
    }
    let there = w.ask(5, foreign_alice("PARTNER.EXAMPLE"));
    assert_eq!((w.failure(there), w.running.len()), (Failure::CellUnreachable, 0));
    let here = w.ask(6, alice("secret"));
    w.answer(right_is_secret);
    w.granted(here);
    w.advance(60_000);
    let there = w.ask(7, foreign_alice("PARTNER.EXAMPLE"));
    w.answer(right_is_secret);
    w.granted(there);
    assert_eq!(w.broker.cache.len(), 2);
    let mut config = sample();
    by_krb5(&mut config);
    config.realms.clear();
    let now = w.now();
    w.broker.configure(Settings::new(&config).unwrap(), now);
    w.drain();
    assert_eq!(w.broker.cache.len(), 1);
}

#[test]
fn a_realm_whose_kdcs_let_all_its_logins_wait_leaves_the_cell_its_own() {
    let mut w = World::new(|c| {
        by_krb5(c);
        c.cells.truncate(1);
    });
    for i in 0..8 {
        w.ask(i, GetToken { user: format!("u{i}"), ..foreign_alice("PARTNER.EXAMPLE") });
    }
    assert_eq!(w.started, 4, "as many as of a cell");
    let here = w.ask(8, alice("secret"));
    assert_eq!(w.started, 5);
    let (id, job) = w.running.remove(4);
    assert!(job.who.realm().is_none());
    let now = w.now();
    w.broker.ended(id, Ok(Fruit::Login(success(token(job.who.cell(), START + 36_000)))), now);
    w.drain();
    w.granted(here);
}

#[test]
fn who_names_the_cell_s_own_realm_is_the_same_user() {
    let mut w = World::new(|c| {
        by_krb5(c);
        c.cells[0].realm = Some("EXAMPLE.ORG".to_owned());
        c.realms = vec!["EXAMPLE.ORG".to_owned()];
    });
    let a = w.ask(0, alice("secret"));
    w.answer(right_is_secret);
    w.granted(a);
    let a = w.ask(0, foreign_alice("EXAMPLE.ORG"));
    w.granted(a);
    assert_eq!((w.started, w.broker.cache.len()), (1, 1));
}

#[test]
fn where_a_kaserver_is_asked_users_of_realms_are_refused_at_once() {
    let mut w = World::new(|_| ());
    for _ in 0..20 {
        let a = w.ask(0, foreign_alice("PARTNER.EXAMPLE"));
        assert_eq!(w.failure(a), Failure::NotAcceptable, "not what a worker asks again after");
    }
    assert_eq!(w.started, 0);
    let mut w = World::new(|c| c.cells[0].method = Method::Auto);
    w.ask(0, foreign_alice("PARTNER.EXAMPLE"));
    assert_eq!(w.started, 1, "KDCs may know him");
}
