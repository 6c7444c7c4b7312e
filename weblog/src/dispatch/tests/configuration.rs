//! Before, between or after configurations.

use super::*;

#[test]
fn before_the_first_configuration_whoever_asks_is_to_ask_again_and_a_ping_is_answered() {
    let mut b: Dispatch<u32> = Dispatch::new(VerifierKey::random().unwrap(), LANES);
    let now = Now { ms: 0, unix_s: START };
    b.request(0, 1, Request::GetToken(alice("secret")), now);
    b.request(0, 2, Request::Ping, now);
    let mut got = Vec::new();
    while let Some(e) = b.effect() {
        if let Effect::Reply { asker, reply, .. } = e {
            got.push((asker, reply));
        }
    }
    assert!(matches!(got[..], [(1, Reply::Pending { .. }), (2, Reply::Pong)]), "{got:?}");
}

#[test]
fn a_new_configuration_keeps_tokens_but_not_those_of_cells_that_are_gone() {
    let mut w = World::new(|_| ());
    w.ask(0, alice("secret"));
    w.ask(1, get("bob", "other.example", "secret"));
    w.answer(right_is_secret);
    let mut c = sample();
    c.version = 2;
    c.cells.truncate(1);
    c.cache_entries = 7;
    let now = w.now();
    w.broker.configure(Settings::new(&c).unwrap(), now);
    w.drain();
    let a = w.ask(0, alice("secret"));
    w.granted(a);
    let b = w.ask(1, get("bob", "other.example", "secret"));
    assert_eq!(w.failure(b), Failure::CellNotAllowed);
    assert_eq!((w.broker.cache.len(), w.broker.cache.capacity().get(), w.revoked), (1, 7, 1));
    let mut old = sample();
    old.version = 1;
    let now = w.now();
    w.broker.configure(Settings::new(&old).unwrap(), now);
    assert_eq!(w.broker.settings().unwrap().version, 2);
}
