//! What a process has from the uid that it runs as, and from whoever started it: nothing.

use crate::outside;
use crate::processes::{Beside, DIR, answer};
use crate::stage::{NOBODY, PLACES, Stage, drop_root, reads};

/// Gives its uid a token, outside any PAG of ours, and says who reads alice's file then.
pub(super) fn token_of_the_uid() {
    // The PAGs of this process are not used.
    let stage = Stage::open(1);
    outside::set_token_of_the_uid(&stage.token("alice"));
    answer(|_| stage.reads("alice").to_string());
    outside::drop_token_of_the_uid();
}

pub(super) fn a_token_of_the_uid_is_not_the_anonymous_visitors() {
    let stage = Stage::open_as_root(1);
    let mut other = Beside::start("token_of_the_uid");
    drop_root();
    assert_eq!(other.ask("?"), "true");
    assert_eq!(stage.all(stage.afs().anonymous()), NOBODY);
    std::thread::scope(|s| {
        s.spawn(|| assert_eq!(PLACES.map(|(place, ..)| stage.reads(place)), NOBODY));
    });
    assert_eq!(other.ask("?"), "true");
    other.end();
}

pub(super) fn nothing_is_inherited_from_an_administrator() {
    let stage = Stage::open_as_root(1);
    let alice = stage.pag("alice");
    let scope = alice.enter().unwrap();
    let mut parent = Beside::start("child_of_an_administrator");
    drop(scope);
    assert_eq!(parent.ask("before"), "true");
    assert_eq!(parent.ask("leave"), "false");
    assert_eq!(parent.ask("child"), "false");
    assert_eq!(parent.ask("prepared"), "false");
    parent.end();
}

/// What httpd's parent does.
pub(super) fn child_of_an_administrator() {
    let path = format!("{}/alice/file", std::env::var(DIR).unwrap());
    answer(|what| match what {
        "leave" => {
            pag::leave_inherited().unwrap();
            reads(&path, "alice").to_string()
        }
        "child" => {
            let mut child = Beside::start("reader");
            let answer = child.ask(&format!("{path} alice"));
            child.end();
            answer
        }
        "prepared" => Stage::open(1).reads("alice").to_string(),
        _ => reads(&path, "alice").to_string(),
    });
}
