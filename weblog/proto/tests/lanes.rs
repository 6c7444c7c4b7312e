//! Lanes between real processes: whoever dies when, nobody gets another's reply and no lane is lost.
#![allow(clippy::unwrap_used, reason = "helpers of tests, which clippy does not know as such")]

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;
use pag::{Cell, SessionKey, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use std::thread::{Scope, ScopedJoinHandle, sleep};
use std::time::Instant;
use weblog_fds::LockTable;
use weblog_fds::testing::fork;
use weblog_proto::frame::fresh;
use weblog_proto::{
    BrokerLane, GetToken, Granted, Lane, LaneError, Lanes, OneTimeKey, Packet, Password, Reply, Request,
    RequestId, Sent, encode_request, parse_packet, pipes,
};
use zeroize::Zeroizing;

/// Lanes with both sides.
fn lanes(n: usize) -> (Lanes, Vec<BrokerLane>, LockTable) {
    let locks = LockTable::create(n).unwrap();
    let (workers, brokers): (Vec<Lane>, Vec<BrokerLane>) =
        (0..n).map(|_| pipes().unwrap()).map(|(w, b)| (w, BrokerLane::from(b))).unzip();
    (Lanes::new(workers, locks), brokers, locks)
}

/// The deadline of what is expected to happen: no busy machine misses it.
fn in_time() -> Instant {
    after(30_000)
}

fn after(ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(ms)
}

fn ask_for(user: &str) -> Request {
    Request::GetToken(GetToken {
        realm: None,
        user: user.to_owned(),
        cell: "example.com".to_owned(),
        password: Password::new(Zeroizing::new(b"secret".to_vec())).unwrap(),
        address: [127, 0, 0, 1].into(),
        token_lifetime_s: 0,
        cache_expiration_s: 0,
    })
}

/// A token that carries its owner's name, over three packets.
fn token_of(user: &str) -> Reply {
    let ticket: Vec<u8> = user.bytes().chain([0]).cycle().take(10_000).collect();
    Reply::Granted(Granted {
        token: Token {
            cell: Cell::new("example.com").unwrap(),
            afs_id: 1,
            kvno: 1,
            key: SessionKey([1; 8]),
            begin: 0,
            end: i64::MAX,
            ticket: Zeroizing::new(ticket),
        },
        name: user.to_owned(),
        valid_s: 60,
        password_expires_days: None,
    })
}

/// Is this the whole token of that user?
fn is_of(reply: &Reply, user: &str) -> bool {
    let (Reply::Granted(got), Reply::Granted(want)) = (reply, token_of(user)) else { return false };
    *got.token.ticket == *want.token.ticket
}

fn answer(lane: &BrokerLane, (id, key, request): (RequestId, OneTimeKey, Request)) -> Sent {
    match request {
        Request::GetToken(g) => lane.send(&id, key, &token_of(&g.user)),
        Request::Ping => lane.send(&id, key, &Reply::Pong),
        Request::Member(m) => lane.send(&id, key, &token_of(&m.login.user)),
        Request::Service(s) => lane.send(&id, key, &token_of(s.who.name())),
    }
}

/// Waits for one request.
fn receive(lane: &BrokerLane) -> (RequestId, OneTimeKey, Request) {
    let end = in_time();
    loop {
        if let Some(r) = lane.recv().unwrap() {
            return r;
        }
        assert!(Instant::now() < end, "no request came");
        sleep(Duration::from_millis(1));
    }
}

/// A broker that answers everything at once until told to stop; gives how many requests it saw.
fn broker<'s>(
    scope: &'s Scope<'s, '_>,
    lanes: &'s [BrokerLane],
    stop: &'s AtomicBool,
) -> ScopedJoinHandle<'s, usize> {
    scope.spawn(move || {
        let mut seen = 0;
        while !stop.load(Ordering::Relaxed) {
            let mut fds: Vec<_> = lanes.iter().map(|l| PollFd::new(l, PollFlags::IN)).collect();
            let _ = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 10_000_000 }));
            for lane in lanes {
                while let Ok(Some(request)) = lane.recv() {
                    seen += 1;
                    answer(lane, request);
                }
            }
        }
        seen
    })
}

/// Stops the broker also when an assertion fails, so that the scope ends.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How far a worker gets before it is killed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    BeforeLock,
    WithLock,
    AfterWrite,
    HalfOfTheReply,
    AllButRelease,
}

#[test]
fn a_worker_killed_at_any_step_leaves_its_lane_in_service() {
    for step in
        [Step::BeforeLock, Step::WithLock, Step::AfterWrite, Step::HalfOfTheReply, Step::AllButRelease]
    {
        let locks = LockTable::create(1).unwrap();
        let (worker, ends) = pipes().unwrap();
        let ends = [BrokerLane::from(ends)];
        let stop = AtomicBool::new(false);
        let (said, say): (OwnedFd, OwnedFd) = rustix::pipe::pipe().unwrap();
        std::thread::scope(|scope| {
            let _stop = Stop(&stop);
            broker(scope, &ends, &stop);
            let mut dying = fork(|| {
                let act = || {
                    if step == Step::BeforeLock {
                        return None;
                    }
                    let guard = locks.lock(0, in_time()).ok()?;
                    if step == Step::WithLock {
                        return Some(guard);
                    }
                    let (id, key) = fresh().ok()?;
                    rustix::io::write(&worker.request, &encode_request(&id, &key, &ask_for("alice")).ok()?)
                        .ok()?;
                    let packets = match step {
                        Step::HalfOfTheReply => 1,
                        Step::AllButRelease => 3,
                        _ => 0,
                    };
                    for _ in 0..packets {
                        poll(&mut [PollFd::new(&worker.reply, PollFlags::IN)], None).ok()?;
                        rustix::io::read(&worker.reply, &mut [0u8; 4096]).ok()?;
                    }
                    Some(guard)
                };
                let _held = act();
                let _ = rustix::io::write(&say, b"x");
                sleep(Duration::from_secs(60));
                0
            });
            rustix::io::read(&said, &mut [0u8; 1]).unwrap();
            dying.kill();
            let lanes = Lanes::new(vec![worker], locks);
            for _ in 0..3 {
                let reply = lanes.exchange(&ask_for("bob"), in_time());
                assert!(is_of(reply.as_ref().unwrap(), "bob"), "after a death at {step:?}");
            }
        });
    }
}

/// Original defect D1: the reply to a worker that died was given to the next visitor, and so on for ever.
#[test]
fn d1_a_stray_reply_is_never_given_to_the_next_visitor() {
    let locks = LockTable::create(1).unwrap();
    let (worker, ends) = pipes().unwrap();
    let ends = BrokerLane::from(ends);
    // Alice's worker asks and is gone; her reply lies in the pipe.
    let (id, key) = fresh().unwrap();
    rustix::io::write(&worker.request, &encode_request(&id, &key, &ask_for("alice")).unwrap()).unwrap();
    assert_eq!(answer(&ends, receive(&ends)), Sent::Done);
    // Another worker of hers asks and is gone before the broker has even read it.
    let (id, key) = fresh().unwrap();
    rustix::io::write(&worker.request, &encode_request(&id, &key, &ask_for("alice")).unwrap()).unwrap();
    let lanes = Lanes::new(vec![worker], locks);
    std::thread::scope(|scope| {
        let bob = scope.spawn(|| lanes.exchange(&ask_for("bob"), in_time()));
        let late = receive(&ends);
        let of_bob = receive(&ends);
        // Alice's late reply comes while Bob waits, before his own and between its parts.
        assert_eq!(answer(&ends, late), Sent::Done);
        assert_eq!(answer(&ends, of_bob), Sent::Done);
        assert!(is_of(&bob.join().unwrap().unwrap(), "bob"));
    });
    // And what is left over disturbs nobody later.
    std::thread::scope(|scope| {
        let carol = scope.spawn(|| lanes.exchange(&ask_for("carol"), in_time()));
        answer(&ends, receive(&ends));
        assert!(is_of(&carol.join().unwrap().unwrap(), "carol"));
    });
}

#[test]
fn a_reply_sealed_for_another_is_an_error_and_not_a_token() {
    let (lanes, brokers, _) = lanes(1);
    std::thread::scope(|scope| {
        let bob = scope.spawn(|| lanes.exchange(&ask_for("bob"), in_time()));
        let (id, _key, _) = receive(&brokers[0]);
        let (_, other) = fresh().unwrap();
        brokers[0].send(&id, other, &token_of("alice"));
        assert!(matches!(bob.join().unwrap(), Err(LaneError::Frame(_))));
    });
}

#[test]
fn rubbish_in_either_pipe_costs_nobody_anything() {
    let locks = LockTable::create(1).unwrap();
    let (worker, ends) = pipes().unwrap();
    for junk in [&b"x"[..], b"AFSW\x01\x01\xff\xff", &[0xff; 4096]] {
        rustix::io::write(&worker.request, junk).unwrap();
        rustix::io::write(&ends.reply, junk).unwrap();
    }
    let reply_end = ends.reply.try_clone().unwrap();
    let ends = [BrokerLane::from(ends)];
    assert!((0..3).all(|_| ends[0].recv().is_err()));
    assert!(ends[0].recv().unwrap().is_none());
    let lanes = Lanes::new(vec![worker], locks);
    std::thread::scope(|scope| {
        let bob = scope.spawn(|| lanes.exchange(&ask_for("bob"), in_time()));
        let request = receive(&ends[0]);
        rustix::io::write(&reply_end, b"junk while somebody waits").unwrap();
        answer(&ends[0], request);
        assert!(is_of(&bob.join().unwrap().unwrap(), "bob"));
    });
}

#[test]
fn who_gets_no_answer_learns_that_the_broker_speaks_another_version() {
    let (worker, ends) = pipes().unwrap();
    let lanes = Lanes::new(vec![worker], LockTable::create(1).unwrap());
    std::thread::scope(|scope| {
        let bob = scope.spawn(|| lanes.exchange(&ask_for("bob"), after(500)));
        let mut hello = weblog_proto::hello(7);
        hello[4] += 1;
        sleep(Duration::from_millis(50));
        rustix::io::write(&ends.reply, &hello).unwrap();
        assert_eq!(bob.join().unwrap().unwrap_err(), LaneError::OtherVersion(hello[4]));
    });
}

#[test]
fn a_full_reply_pipe_never_blocks_the_broker_and_the_lane_comes_back() {
    let (lanes, brokers, _) = lanes(1);
    let dead = || {
        let (id, key) = fresh().unwrap();
        brokers[0].send(&id, key, &token_of("dead"))
    };
    let sent: Vec<Sent> = (0..30).map(|_| dead()).collect();
    assert_eq!(sent[0], Sent::Done);
    assert_eq!(sent[29], Sent::Full);
    assert_eq!(brokers[0].hello(9), Sent::Full);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        broker(scope, &brokers, &stop);
        assert!(is_of(&lanes.exchange(&ask_for("bob"), in_time()).unwrap(), "bob"));
    });
}

/// Original defect D28: a request that died with its broker was waited for for ever.
#[test]
fn d28_a_request_is_asked_of_each_broker_that_follows_one_that_died() {
    let (lanes, brokers, _) = lanes(1);
    std::thread::scope(|scope| {
        let bob = scope.spawn(|| lanes.exchange(&ask_for("bob"), in_time()));
        let (first, _, _) = receive(&brokers[0]); // and this broker dies
        brokers[0].hello(2);
        let second = receive(&brokers[0]);
        assert_ne!(first, second.0, "a new id and key");
        // It dies, too.
        brokers[0].hello(3);
        let third = receive(&brokers[0]);
        assert_ne!(second.0, third.0, "a new id and key");
        // An older hello, or the same again, is no new broker.
        brokers[0].hello(2);
        brokers[0].hello(3);
        sleep(Duration::from_millis(50));
        assert!(brokers[0].recv().unwrap().is_none());
        answer(&brokers[0], second);
        answer(&brokers[0], third);
        assert!(is_of(&bob.join().unwrap().unwrap(), "bob"));
    });
}

#[test]
fn a_broker_that_died_between_the_parts_of_a_reply_is_asked_once_more() {
    let locks = LockTable::create(1).unwrap();
    let (worker, ends) = pipes().unwrap();
    let raw = ends.reply.try_clone().unwrap();
    let ends = BrokerLane::from(ends);
    let lanes = Lanes::new(vec![worker], locks);
    std::thread::scope(|scope| {
        let bob = scope.spawn(|| lanes.exchange(&ask_for("bob"), in_time()));
        let (id, key, _) = receive(&ends);
        let parts = weblog_proto::seal_reply(&id, key, &token_of("bob")).unwrap();
        rustix::io::write(&raw, &parts[0]).unwrap();
        ends.hello(2);
        answer(&ends, receive(&ends));
        assert!(is_of(&bob.join().unwrap().unwrap(), "bob"));
    });
}

#[test]
fn a_hello_that_lies_in_the_pipe_already_is_no_reason_to_ask_again() {
    let (lanes, brokers, _) = lanes(1);
    brokers[0].hello(7);
    std::thread::scope(|scope| {
        let bob = scope.spawn(|| lanes.exchange(&ask_for("bob"), in_time()));
        let request = receive(&brokers[0]);
        brokers[0].hello(7);
        sleep(Duration::from_millis(50));
        assert!(brokers[0].recv().unwrap().is_none());
        answer(&brokers[0], request);
        assert!(is_of(&bob.join().unwrap().unwrap(), "bob"));
    });
}

#[test]
fn a_broker_that_started_while_the_lane_was_idle_is_asked_once_more_at_most() {
    let (lanes, brokers, _) = lanes(1);
    let bob = || lanes.exchange(&ask_for("bob"), in_time());
    std::thread::scope(|scope| {
        let asker = scope.spawn(bob);
        answer(&brokers[0], receive(&brokers[0]));
        assert!(is_of(&asker.join().unwrap().unwrap(), "bob"));
        // The lane is left as it should be; several brokers come and go.
        for generation in 2..20 {
            brokers[0].hello(generation);
        }
        let asker = scope.spawn(bob);
        let (first, second) = (receive(&brokers[0]), receive(&brokers[0]));
        assert_ne!(first.0, second.0, "a new id and key");
        answer(&brokers[0], first);
        answer(&brokers[0], second);
        assert!(is_of(&asker.join().unwrap().unwrap(), "bob"));
        assert!(brokers[0].recv().unwrap().is_none(), "asked twice, not for each hello");
        // What may still lie there is nobody's.
        let asker = scope.spawn(bob);
        answer(&brokers[0], receive(&brokers[0]));
        assert!(is_of(&asker.join().unwrap().unwrap(), "bob"));
    });
}

#[test]
fn nothing_waits_beyond_its_deadline() {
    let (lanes, brokers, locks) = lanes(2);
    let timed = |want: LaneError| {
        let start = Instant::now();
        assert_eq!(lanes.exchange(&Request::Ping, after(150)).unwrap_err(), want);
        assert!(start.elapsed() >= Duration::from_millis(150));
    };
    // Nobody answers, also once the request pipes are full.
    timed(LaneError::Deadline);
    let (id, key) = fresh().unwrap();
    let packet = encode_request(&id, &key, &Request::Ping).unwrap();
    let (plain, _ends) = pipes().unwrap();
    while rustix::io::write(&plain.request, &packet).is_ok() {}
    let full = Lanes::new(vec![plain], LockTable::create(1).unwrap());
    assert_eq!(full.exchange(&Request::Ping, after(100)).unwrap_err(), LaneError::Deadline);
    // All lanes taken, by somebody else.
    let (held, wait) = (AtomicUsize::new(0), AtomicBool::new(true));
    let (held, wait, locks) = (&held, &wait, &locks);
    std::thread::scope(|scope| {
        for i in 0..2 {
            scope.spawn(move || {
                let _guard = locks.lock(i, in_time()).unwrap();
                held.fetch_add(1, Ordering::Relaxed);
                while wait.load(Ordering::Relaxed) {
                    sleep(Duration::from_millis(5));
                }
            });
        }
        while held.load(Ordering::Relaxed) < 2 {
            sleep(Duration::from_millis(1));
        }
        timed(LaneError::Busy);
        wait.store(false, Ordering::Relaxed);
    });
    drop(brokers);
    assert!(matches!(lanes.exchange(&Request::Ping, in_time()), Err(LaneError::Broken(_))));
    assert_eq!(
        Lanes::new(Vec::new(), LockTable::create(0).unwrap())
            .exchange(&Request::Ping, after(50))
            .unwrap_err(),
        LaneError::Busy
    );
}

#[test]
fn a_slow_lane_delays_no_one_else() {
    let (lanes, brokers, _) = lanes(2);
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| lanes.exchange(&ask_for("slow"), in_time()));
        let (at, request) = loop {
            let found = brokers.iter().enumerate().find_map(|(i, b)| b.recv().unwrap().map(|r| (i, r)));
            if let Some(f) = found {
                break f;
            }
        };
        let stop = AtomicBool::new(false);
        let other = &brokers[1 - at..2 - at];
        std::thread::scope(|inner| {
            let _stop = Stop(&stop);
            broker(inner, other, &stop);
            for _ in 0..20 {
                assert!(is_of(&lanes.exchange(&ask_for("fast"), in_time()).unwrap(), "fast"));
            }
        });
        answer(&brokers[at], request);
        assert!(is_of(&slow.join().unwrap().unwrap(), "slow"));
    });
}

#[test]
fn hundreds_of_exchanges_by_threads_and_processes_on_few_lanes_reach_their_askers() {
    let (lanes, brokers, _) = lanes(3);
    let stop = AtomicBool::new(false);
    let work = |name: &str| {
        (0..60).all(|i| {
            let user = format!("{name}-{i}");
            lanes.exchange(&ask_for(&user), in_time()).is_ok_and(|r| is_of(&r, &user))
        })
    };
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        let broker = broker(scope, &brokers, &stop);
        let mut children: Vec<_> =
            (0..6).map(|c| fork(move || i32::from(!work(&format!("process{c}"))))).collect();
        let threads: Vec<_> = (0..6).map(|t| scope.spawn(move || work(&format!("thread{t}")))).collect();
        assert!(threads.into_iter().all(|t| t.join().unwrap()));
        assert!(children.iter_mut().all(|c| c.wait() == Some(0)));
        stop.store(true, Ordering::Relaxed);
        assert_eq!(broker.join().unwrap(), 720, "no request was asked twice");
    });
}

#[test]
fn workers_killed_at_random_moments_harm_nobody() {
    let (lanes, brokers, locks) = lanes(2);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        broker(scope, &brokers, &stop);
        let lanes = &lanes;
        let survivors: Vec<_> = (0..3)
            .map(|t| {
                scope.spawn(move || {
                    let user = format!("survivor{t}");
                    for _ in 0..150 {
                        let reply = lanes.exchange(&ask_for(&user), in_time()).unwrap();
                        assert!(is_of(&reply, &user));
                    }
                })
            })
            .collect();
        for i in 0u64..200 {
            let mut victim = fork(|| {
                while lanes.exchange(&ask_for("victim"), in_time()).is_ok_and(|r| is_of(&r, "victim")) {}
                1
            });
            sleep(Duration::from_micros(200 + (i * 7_919) % 3_000));
            victim.kill();
        }
        for s in survivors {
            s.join().unwrap();
        }
        for i in 0..2 {
            locks.lock(i, in_time()).unwrap();
        }
        assert!(is_of(&lanes.exchange(&ask_for("last"), in_time()).unwrap(), "last"));
    });
}

/// A lane's packets are what `docs/protocol.md` says: one read gives one packet, never two or a half.
#[test]
fn one_read_gives_one_packet() {
    let (worker, ends) = pipes().unwrap();
    let ends = BrokerLane::from(ends);
    ends.hello(1);
    ends.hello(2);
    let mut buffer = [0u8; 8192];
    for want in [1, 2] {
        let n = rustix::io::read(&worker.reply, &mut buffer).unwrap();
        assert_eq!(parse_packet(&buffer[..n]), Ok(Packet::Hello { generation: want }));
    }
}
