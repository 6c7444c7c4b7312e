//! Who waits for what: lanes, turns, slow logins.

use super::*;

#[test]
fn half_of_the_lanes_stay_free_for_those_whose_answer_is_known() {
    let mut b: Dispatch<u32> = Dispatch::new(VerifierKey::random().unwrap(), 8);
    let now = Now { ms: 0, unix_s: START };
    b.configure(Settings::new(&sample()).unwrap(), now);
    let pending = |b: &mut Dispatch<u32>| {
        std::iter::from_fn(|| b.effect())
            .filter(|e| matches!(e, Effect::Reply { reply: Reply::Pending { .. }, .. }))
            .count()
    };
    for lane in 0..7 {
        let user = format!("user{lane}");
        b.request(lane, 0, Request::GetToken(get(&user, "example.com", "secret")), now);
    }
    b.tick(now);
    assert_eq!(pending(&mut b), 3, "four wait, the others ask again");
    b.tick(Now { ms: PARK_MS, ..now });
    assert_eq!(pending(&mut b), 4);
}

#[test]
fn a_slow_login_gives_the_lane_back_and_its_answer_is_there_later() {
    let mut w = World::new(|_| ());
    let a = w.ask(0, alice("secret"));
    w.advance(99);
    assert!(w.replies.is_empty());
    w.advance(1);
    assert!(matches!(w.reply(a), Reply::Pending { .. }));
    let b = w.ask(0, alice("secret"));
    assert_eq!(w.started, 1);
    w.answer(right_is_secret);
    w.granted(b);
    let c = w.ask(3, alice("secret"));
    w.granted(c);
    assert_eq!(w.started, 1);
}

#[test]
fn who_was_told_to_ask_again_gets_the_token_even_if_it_is_remembered_for_a_second_only() {
    let mut w = World::new(|_| ());
    let short = || GetToken { cache_expiration_s: 1, ..alice("secret") };
    let a = w.ask(0, short());
    w.advance(100);
    assert!(matches!(w.reply(a), Reply::Pending { .. }));
    w.answer(right_is_secret);
    w.advance(u64::from(RETRY_MAX_MS));
    let again = w.ask(0, short());
    assert_eq!(w.granted(again).valid_s, 1);
    w.advance(1_000 - u64::from(RETRY_MAX_MS));
    w.ask(0, short());
    assert_eq!(w.started, 2, "it was a second only");
}

#[test]
fn a_lane_has_one_asker() {
    let mut w = World::new(|_| ());
    let dead = w.ask(5, alice("secret"));
    let heir = w.ask(5, get("bob", "example.com", "secret"));
    w.answer(right_is_secret);
    assert!(!w.replies.contains_key(&dead), "the dead worker's reply must not reach his heir's lane");
    w.granted(heir);
    let again = w.ask(5, alice("secret"));
    w.granted(again);
    assert_eq!(w.started, 2);
}

#[test]
fn the_queue_of_a_cell_is_bounded() {
    let mut w = World::new(|c| c.limit_per_address = 0);
    let mut overload = 0;
    for i in 0..400 {
        let a = w.ask(i, get(&format!("u{i}"), "example.com", "secret"));
        if let Some(Reply::Failed(f)) = w.replies.remove(&a) {
            assert_eq!(f, Failure::Overload);
            overload += 1;
        }
    }
    assert_eq!((w.running.len(), overload), (4, 400 - 4 - 256));
}

#[test]
fn all_that_wait_get_their_turn_and_no_password_is_kept_after_that() {
    let mut w = World::new(|c| c.limit_per_address = 0);
    let askers: Vec<u32> =
        (0..50).map(|i| w.ask(i, get(&format!("u{i}"), "example.com", "secret"))).collect();
    for _ in 0..13 {
        assert!(w.running.len() <= 4);
        w.answer(right_is_secret);
    }
    for a in askers {
        w.granted(a);
    }
    assert_eq!(w.broker.logins.counts(), (0, 0));
}
