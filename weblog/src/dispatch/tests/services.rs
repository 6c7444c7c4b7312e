//! The tokens of service identities.

use super::*;

#[test]
fn whoever_serves_for_a_service_gets_its_token_and_begins_no_login() {
    let config = || weblog_proto::ServiceConfig {
        name: "http/www.example.com".to_owned(),
        cell: "example.com".to_owned(),
        realm: None,
        key_file: "/etc/www.keytab".to_owned(),
    };
    let mut w = World::new(|c| c.services = vec![config()]);
    let service = config().service().unwrap();
    let ask = |w: &mut World, service: &Service| {
        w.next_asker += 1;
        let (asker, now) = (w.next_asker, w.now());
        w.broker.request(0, asker, Request::Service(service.clone()), now);
        w.drain();
        w.reply(asker)
    };
    assert_eq!(w.started, 1, "before anybody asks");
    assert!(matches!(ask(&mut w, &service), Reply::Pending { .. }));
    let Errand::Login { secret: Secret::KeyFile(path), .. } = &w.running[0].1.errand else { panic!() };
    assert_eq!(path, "/etc/www.keytab");
    w.answer(|_| Ok(36_000));
    assert!(matches!(ask(&mut w, &service), Reply::Granted(_)));
    let other = Service { key_file: "/etc/other.keytab".to_owned(), ..service.clone() };
    assert!(matches!(ask(&mut w, &other), Reply::Failed(Failure::CellNotAllowed)));
    assert_eq!(w.started, 1);
    w.forget(&Target::All);
    assert_eq!((w.revoked, w.started), (1, 2), "forgotten, and logged in again at once");
    w.answer(|_| Err(Failure::CellUnreachable));
    assert!(matches!(ask(&mut w, &service), Reply::Failed(Failure::CellUnreachable)));
    assert_eq!(w.broker.counts().alarms, 1);
    w.advance(1_000);
    w.answer(|_| Ok(36_000));
    assert!(matches!(ask(&mut w, &service), Reply::Granted(_)));
    assert_eq!(w.broker.counts().alarms, 0);
}

#[test]
fn who_asks_for_a_token_that_a_jump_of_the_wall_clock_has_ended_waits_for_one_login() {
    let config = weblog_proto::ServiceConfig {
        name: "www".to_owned(),
        cell: "example.com".to_owned(),
        realm: None,
        key_file: "/etc/www.keytab".to_owned(),
    };
    let service = config.service().unwrap();
    let mut w = World::new(|c| c.services = vec![config]);
    w.answer(|_| Ok(36_000));
    w.advance(5_000);
    let restored = |w: &World| Now { unix_s: START + 40_000, ..w.now() };
    let ask = |w: &mut World, lane, asker| {
        let now = restored(w);
        w.broker.request(lane, asker, Request::Service(service.clone()), now);
        // As the broker's loop does after each request.
        w.broker.tick(now);
        w.drain();
        w.reply(asker)
    };
    for asker in 1..=3 {
        assert!(matches!(ask(&mut w, 0, asker), Reply::Pending { .. }));
    }
    assert_eq!(w.started, 2, "the first token's login, and one more");
    let (id, job) = w.running.remove(0);
    let now = restored(&w);
    w.broker.ended(id, Ok(Fruit::Login(success(token(job.who.cell(), START + 76_000)))), now);
    w.drain();
    assert!(matches!(ask(&mut w, 0, 4), Reply::Granted(_)));
    assert_eq!(w.started, 2);
}

#[test]
fn a_token_of_another_cell_is_not_taken_for_a_service() {
    let mut w = World::new(|c| {
        c.services = vec![weblog_proto::ServiceConfig {
            name: "www".to_owned(),
            cell: "example.com".to_owned(),
            realm: None,
            key_file: "/etc/www.keytab".to_owned(),
        }];
    });
    let (id, _) = w.running.remove(0);
    let strange = success(token(&Cell::new("other.example").unwrap(), START + 1000));
    let now = w.now();
    w.broker.ended(id, Ok(Fruit::Login(strange)), now);
    w.drain();
    assert_eq!(w.broker.counts().alarms, 1);
}
