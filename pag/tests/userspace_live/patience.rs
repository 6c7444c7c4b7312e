//! Servers that are there, answer pings, and do not answer a call.

use super::{DEAD_S, World, errno, world};
use pag::Error;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use socket2::{Domain, SockFilter, SockRef, Type};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// While it lives this process's client hears nothing of its servers but acknowledgements: no answer, no callback.
struct Unanswered(Vec<OwnedFd>);

impl Unanswered {
    fn begin() -> Self {
        let me = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
        let numbers = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let opened = numbers.filter_map(|n| pidfd_getfd(&me, n, PidfdGetfdFlags::empty()).ok());
        let is_ours = |fd: &OwnedFd| {
            let socket = SockRef::from(fd);
            matches!((socket.r#type(), socket.domain()), (Ok(Type::DGRAM), Ok(Domain::IPV4)))
        };
        let sockets: Vec<OwnedFd> = opened.filter(is_ours).collect();
        assert!(!sockets.is_empty(), "the client has no socket");
        // Drops packets whose byte for the type, behind 8 bytes of UDP and 20 of Rx, says DATA.
        let no_data = [
            SockFilter::new(0x30, 0, 0, 28),
            SockFilter::new(0x15, 0, 1, 1),
            SockFilter::new(0x06, 0, 0, 0),
            SockFilter::new(0x06, 0, 0, u32::MAX),
        ];
        for socket in &sockets {
            SockRef::from(socket).attach_filter(&no_data).unwrap();
        }
        Self(sockets)
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        for socket in &self.0 {
            SockRef::from(socket).detach_filter().unwrap();
        }
    }
}

/// The servers are heard again, and so is whatever they have been asked meanwhile.
fn is_back(w: &World, path: &str) {
    let end = Instant::now() + Duration::from_secs(10 * DEAD_S);
    loop {
        let scope = w.afs.anonymous().enter().unwrap();
        w.afs.check_servers(&scope).unwrap();
        drop(scope);
        match w.as_user("alice", |f| f.read_file(path.as_bytes(), 100)) {
            Ok(read) => {
                assert_eq!(read, b"alice");
                return;
            }
            Err(e) => assert!(Instant::now() < end, "{e}"),
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
#[ignore = "needs a cell: run by cargo xtask test"]
fn a_server_that_answers_nothing_but_pings_is_given_up_by_all_who_wait_for_the_same_file() {
    let (w, _one) = world();
    let top = w.directory("unanswered", &["alice"]);
    let path = format!("{top}/alice/file");
    let pag = w.pag("alice");
    let unanswered = Unanswered::begin();
    let told: Vec<(Result<(), Error>, Duration)> = std::thread::scope(|s| {
        let ask = || {
            let start = Instant::now();
            (w.inside(&pag, |f| f.open(path.as_bytes()).map(drop)), start.elapsed())
        };
        let all: Vec<_> = (0..6).map(|_| s.spawn(ask)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    drop(unanswered);
    println!("{told:?}");
    for (result, waited) in told {
        assert_eq!(errno(result), libc::ETIMEDOUT);
        assert!(waited < Duration::from_secs(4 * DEAD_S), "{waited:?}");
    }
    is_back(w, &path);
}

#[test]
#[ignore = "needs a cell: run by cargo xtask test"]
fn what_is_known_is_there_while_a_server_does_not_hear_which_files_are_forgotten() {
    let (w, _one) = world();
    let top = w.directory("forgotten", &["alice"]);
    let path = format!("{top}/alice/file");
    let at = &|n: usize| format!("{top}/{n}");
    // More than the client remembers, so that it forgets some for each of the others.
    let many = w.stat_entries + 400;
    w.as_user("admin", |f| {
        for n in 0..many {
            f.write_file(at(n).as_bytes(), b"x").unwrap();
        }
    });
    let pag = w.pag("alice");
    let look = &|| w.inside(&pag, |f| f.stat(path.as_bytes())).unwrap();
    look();
    let unanswered = Unanswered::begin();
    let over = AtomicBool::new(false);
    let (told, slowest) = std::thread::scope(|s| {
        let watcher = s.spawn(|| {
            let mut slowest = Duration::ZERO;
            while !over.load(Ordering::Relaxed) {
                let start = Instant::now();
                look();
                slowest = slowest.max(start.elapsed());
                std::thread::sleep(Duration::from_millis(50));
            }
            slowest
        });
        // The client tells servers what it has forgotten every eighteen seconds. At each moment of that somebody comes
        // for whom it must forget more.
        let other = |n: usize| {
            s.spawn(move || {
                std::thread::sleep(Duration::from_secs(3) * u32::try_from(n).unwrap());
                let start = Instant::now();
                (w.as_user("admin", |f| f.open(at(n).as_bytes()).map(drop)), start.elapsed())
            })
        };
        let others: Vec<_> = (0..8).map(other).collect();
        let told: Vec<_> = others.into_iter().map(|other| other.join().unwrap()).collect();
        over.store(true, Ordering::Relaxed);
        (told, watcher.join().unwrap())
    });
    drop(unanswered);
    println!("the slowest look at what is known took {slowest:?}; others were told: {told:?}");
    for (result, waited) in told {
        // A server that waits for this client's answers says that it is busy, too, which comes out as EIO.
        assert!(matches!(errno(result), libc::ETIMEDOUT | libc::EIO));
        assert!(waited < Duration::from_secs(4 * DEAD_S), "{waited:?}");
    }
    assert!(slowest < Duration::from_secs(DEAD_S) / 2, "{slowest:?}");
    is_back(w, &path);
}
