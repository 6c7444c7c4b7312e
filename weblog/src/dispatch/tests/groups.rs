//! Questions for groups.

use super::*;
use weblog_proto::{Member, Membership};

impl World {
    /// Asks on a lane whether alice, with this password, is in a group.
    fn ask_for_group(&mut self, lane: usize, login: GetToken, group: &str) -> u32 {
        self.next_asker += 1;
        let (asker, now) = (self.next_asker, self.now());
        let member = Member { login, group: group.to_owned() };
        self.broker.request(lane, asker, Request::Member(member), now);
        self.drain();
        asker
    }

    /// All running authenticators have brought this from a protection server.
    fn protection_server_says(&mut self, answer: Result<Membership, Failure>) {
        for (id, job) in core::mem::take(&mut self.running) {
            assert!(matches!(job.errand, Errand::Group { .. }), "{job:?}");
            let answer =
                answer.map(Fruit::Group).map_err(|failure| Refusal { failure, step: Step::Group, code: -1 });
            let now = self.now();
            self.broker.ended(id, answer, now);
            self.drain();
        }
    }

    /// The answer to a question.
    fn member(&mut self, asker: u32) -> Membership {
        match self.reply(asker) {
            Reply::Member(membership) => membership,
            other => panic!("{other:?}"),
        }
    }

    /// Alice is logged in.
    fn with_alice() -> Self {
        let mut w = Self::new(|_| {});
        let a = w.ask(0, alice("secret"));
        w.answer(right_is_secret);
        w.granted(a);
        w
    }
}

#[test]
fn hundreds_who_ask_for_the_same_group_cause_one_question() {
    let mut w = World::with_alice();
    let askers: Vec<u32> = (0..200).map(|lane| w.ask_for_group(lane, alice("secret"), "staff")).collect();
    assert_eq!((w.started, w.running.len()), (2, 1), "a login and a question");
    let Errand::Group { token, group } = &w.running[0].1.errand else { panic!() };
    assert_eq!((token.afs_id, group.as_str()), (1001, "staff"));
    w.protection_server_says(Ok(Membership::Yes));
    for asker in askers {
        assert_eq!(w.member(asker), Membership::Yes);
    }
    let c = w.broker.counts();
    assert_eq!((c.group_requests, c.group_asked, c.group_entries, c.logins), (200, 1, 1, 1));
    let again = w.ask_for_group(0, alice("secret"), "staff");
    assert_eq!((w.member(again), w.broker.counts().group_cached), (Membership::Yes, 1));
    w.ask_for_group(0, alice("secret"), "other");
    assert_eq!(w.started, 3, "another group is another question");
}

#[test]
fn an_answer_is_remembered_for_a_minute_and_for_each_asker_no_longer_than_he_wants() {
    for answer in [Membership::Yes, Membership::No, Membership::NoSuchGroup, Membership::Hidden] {
        let mut w = World::with_alice();
        let asker = w.ask_for_group(0, alice("secret"), "staff");
        w.protection_server_says(Ok(answer));
        assert_eq!(w.member(asker), answer);
        w.advance(4_999);
        let hasty = || GetToken { cache_expiration_s: 5, ..alice("secret") };
        let asker = w.ask_for_group(0, hasty(), "staff");
        assert_eq!(w.member(asker), answer);
        w.advance(1);
        w.ask_for_group(0, hasty(), "staff");
        assert_eq!(w.running.len(), 1, "it is too old for this one");
        let asker = w.ask_for_group(1, alice("secret"), "staff");
        assert_eq!(w.member(asker), answer, "and fresh enough for that one");
        w.protection_server_says(Ok(Membership::No));
        w.advance(59_999);
        let asker = w.ask_for_group(1, alice("secret"), "staff");
        assert_eq!(w.member(asker), Membership::No);
        w.advance(1);
        assert_eq!(w.broker.counts().group_entries, 0);
        w.ask_for_group(1, alice("secret"), "staff");
        assert_eq!(w.running.len(), 1);
    }
}

#[test]
fn who_cannot_show_the_credentials_learns_nothing() {
    let mut w = World::with_alice();
    let asker = w.ask_for_group(0, alice("secret"), "staff");
    w.protection_server_says(Ok(Membership::Yes));
    w.member(asker);
    let asker = w.ask_for_group(0, alice("wrong"), "staff");
    w.answer(right_is_secret);
    assert_eq!(w.failure(asker), Failure::WrongPassword);
    let asker = w.ask_for_group(0, get("alice", "strange.example", "secret"), "staff");
    assert_eq!(w.failure(asker), Failure::CellNotAllowed);
    assert_eq!(w.broker.counts().group_asked, 1);
}

#[test]
fn guesses_by_questions_for_groups_are_limited_as_logins_are() {
    let mut w = World::with_alice();
    let mallory = |password: &str| GetToken { address: [198, 51, 100, 1].into(), ..alice(password) };
    for n in 0..5 {
        let asker = w.ask_for_group(0, mallory(&format!("guess {n}")), "staff");
        w.answer(|_| Err(Failure::WrongPassword));
        assert_eq!(w.failure(asker), Failure::WrongPassword);
    }
    let asker = w.ask_for_group(0, mallory("secret"), "staff");
    assert_eq!(w.failure(asker), Failure::Overload, "not even the right one is confirmed");
    assert!(w.running.is_empty());
}

#[test]
fn who_has_no_token_here_any_more_is_logged_in_first() {
    let mut w = World::new(|_| {});
    let asker = w.ask_for_group(0, alice("secret"), "staff");
    w.answer(right_is_secret);
    assert!(matches!(w.reply(asker), Reply::Pending { .. }), "he did not ask for the token");
    let asker = w.ask_for_group(0, alice("secret"), "staff");
    w.protection_server_says(Ok(Membership::No));
    assert_eq!(w.member(asker), Membership::No);
}

#[test]
fn a_silent_protection_server_ends_at_the_deadline_and_is_not_asked_again_for_a_while() {
    let mut w = World::with_alice();
    let asker = w.ask_for_group(0, alice("secret"), "staff");
    w.advance(100);
    assert!(matches!(w.reply(asker), Reply::Pending { .. }), "no lane waits for it");
    let asker = w.ask_for_group(0, alice("secret"), "staff");
    w.advance(100);
    w.reply(asker);
    w.advance(9_800);
    assert_eq!(w.killed.len(), 1);
    let asker = w.ask_for_group(0, alice("secret"), "staff");
    assert_eq!(w.failure(asker), Failure::Deadline, "he was told to ask again");
    let asker = w.ask_for_group(0, alice("secret"), "other");
    assert_eq!(w.failure(asker), Failure::CellUnreachable);
    let asker = w.ask(0, get("bob", "example.com", "secret"));
    w.answer(right_is_secret);
    w.granted(asker);
    w.advance(3_000);
    let asker = w.ask_for_group(0, alice("secret"), "other");
    w.protection_server_says(Ok(Membership::Yes));
    assert_eq!(w.member(asker), Membership::Yes);
    assert_eq!(w.broker.counts().group_unavailable, 1);
}

#[test]
fn a_question_that_is_refused_here_is_no_answer_of_a_silent_protection_server() {
    let mut w = World::with_alice();
    w.ask_for_group(0, alice("secret"), "staff");
    w.protection_server_says(Err(Failure::CellUnreachable));
    w.advance(3_000);
    w.ask_for_group(0, alice("secret"), "other");
    let (id, _) = w.running.remove(0);
    let now = w.now();
    w.broker.ended(id, Err(Refusal::local(Failure::NotAcceptable)), now);
    w.drain();
    w.ask_for_group(0, alice("secret"), "third");
    let asker = w.ask_for_group(1, alice("secret"), "fourth");
    assert_eq!(w.failure(asker), Failure::CellUnreachable, "one probe: it is not known to answer");
}

#[test]
fn who_is_forgotten_is_asked_for_anew() {
    let mut w = World::with_alice();
    let asker = w.ask_for_group(0, alice("secret"), "staff");
    w.protection_server_says(Ok(Membership::Yes));
    w.member(asker);
    let waits = w.ask_for_group(0, alice("secret"), "other");
    w.forget(&Target::User("alice".to_owned(), Behind::new("example.com").unwrap()));
    assert!(matches!(w.reply(waits), Reply::Pending { .. }));
    assert_eq!((w.killed.len(), w.broker.counts().group_entries), (1, 0));
    assert!(w.broker.status(w.now()).contains("groups: 0 of 10000"), "{}", w.broker.status(w.now()));
}

#[test]
fn a_question_that_comes_back_as_a_login_or_the_other_way_round_is_no_answer() {
    let mut w = World::with_alice();
    let asker = w.ask_for_group(0, alice("secret"), "staff");
    let (id, job) = w.running.remove(0);
    let now = w.now();
    w.broker.ended(id, Ok(Fruit::Login(success(token(job.who.cell(), START + 1000)))), now);
    w.drain();
    assert_eq!(w.failure(asker), Failure::Internal);
    let asker = w.ask(0, get("bob", "example.com", "secret"));
    let (id, _) = w.running.remove(0);
    w.broker.ended(id, Ok(Fruit::Group(Membership::Yes)), now);
    w.drain();
    assert_eq!(w.failure(asker), Failure::Internal);
}
