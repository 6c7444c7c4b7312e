//! What an administrator is told.

use super::*;

#[test]
fn status_tells_what_there_is() {
    let mut w = World::new(|_| ());
    w.ask(0, alice("secret"));
    w.advance(10_000);
    let text = w.broker.status(w.now());
    assert!(text.contains("configuration 1, 2 cells allowed"), "{text}");
    assert!(text.contains("silent: example.com"), "{text}");
}
