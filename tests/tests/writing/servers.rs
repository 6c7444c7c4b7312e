//! What file servers do not take: over quota, into a replica, while they are away.

use crate::common::{FILE_DEADLINE_S, Stopped, afs_client, ask, first, get_as, report, timed, world};
use crate::{begin, names, no_temporary, own, put, start, status, transfer, transferring};
use integration::httpd::Httpd;
use integration::seen;
use integration::wait;
use integration::world::{FIRST_CELL, World};
use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn over_quota_is_507_and_leaves_nothing_behind() {
    let world = world();
    let httpd = start(&world, "");
    let cell = world.cell(FIRST_CELL).unwrap();
    let quota = |kib: &str| {
        let machine = &cell.machines[0];
        machine.run("vos", ["setfields", "vol.quota", "-maxquota", kib, "-localauth"]).unwrap();
    };
    let at = |name: &str| first(&format!("write/quota/{name}"));
    assert_eq!(put(&world, &httpd, "alice", &at("old"), &[b'o'; 100_000]).status, 201);
    quota("500");
    let body = vec![b'n'; 4_000_000];
    // Its length tells.
    for name in ["new", "old", "in-place/file.txt"] {
        let r = put(&world, &httpd, "alice", &at(name), &body);
        assert_eq!(r.status, 507, "{}", r.text());
    }
    // Only the server tells: when the file is closed, or before.
    let chunks: Vec<u8> = body
        .chunks(500_000)
        .flat_map(|c| [format!("{:x}\r\n", c.len()).as_bytes(), c, b"\r\n"].concat())
        .collect();
    for name in ["new", "old", "in-place/file.txt"] {
        let body = [&chunks[..], b"0\r\n\r\n"].concat();
        let mut c = begin(&world, &httpd, "PUT", &at(name), "Transfer-Encoding: chunked", &body);
        let r = c.receive(false).unwrap();
        assert_eq!(r.status, 507, "{name}: {}", r.text());
    }
    assert_eq!(transfer(&world, &httpd, "alice", "COPY", &first("sizes/big.bin"), &at("copied")), 507);
    // Of a collection, answer and log name the member that has no room, and the log has what AFS said.
    let tree = own(&world, &httpd, "over-quota");
    assert_eq!(put(&world, &httpd, "alice", &first(&format!("{tree}/large")), &body).status, 201);
    let r = ask(&world, &httpd, "alice", transferring(&httpd, "COPY", &first(&tree), &at("tree")));
    let member = at("tree/large");
    let log = fs::read_to_string(httpd.error_log()).unwrap();
    assert!(
        r.status == 207 && r.text().contains(&member) && r.text().contains("507"),
        "{} {}",
        r.status,
        r.text()
    );
    assert!(log.contains(&format!("AFS0702: COPY: {member}: errno ")), "{member}: {log}");
    assert_eq!(status(&world, &httpd, "alice", "DELETE", &first(&tree)), 204);
    no_temporary("write/quota");
    assert_eq!(names("write/quota"), ["in-place", "old"]);
    for name in ["old", "in-place/file.txt"] {
        let r = get_as(&world, &httpd, &at(name), "alice");
        assert!(r.complete && r.body == [b'o'; 100_000], "{name}: {} bytes", r.body.len());
    }
    // In a volume that is over its quota nothing can be made, but removed.
    quota("1");
    assert_eq!(status(&world, &httpd, "alice", "MKCOL", &at("made")), 507);
    assert_eq!(put(&world, &httpd, "alice", &at("new"), b"x").status, 507);
    assert_eq!(names("write/quota"), ["in-place", "old"]);
    assert_eq!(status(&world, &httpd, "alice", "DELETE", &at("old")), 204);
    assert_eq!(names("write/quota"), ["in-place"]);
    quota("0");
    assert_eq!(put(&world, &httpd, "alice", &at("in-place/file.txt"), &body).status, 204);
    assert_eq!(put(&world, &httpd, "alice", &at("in-place/file.txt"), &[b'o'; 100_000]).status, 204);
    assert_eq!(put(&world, &httpd, "alice", &at("old"), b"small").status, 201);
    assert_eq!(put(&world, &httpd, "alice", &at("old"), &body).status, 204);
    assert_eq!(status(&world, &httpd, "alice", "DELETE", &at("old")), 204);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_read_only_copy_is_403() {
    let world = world();
    let httpd = start(&world, "");
    let at = |name: &str| first(&format!("replica/{name}"));
    for user in ["alice", "admin"] {
        assert_eq!(put(&world, &httpd, user, &at("new"), b"x").status, 403, "{user}");
        assert_eq!(put(&world, &httpd, user, &at("page.html"), b"x").status, 403, "{user}");
        assert_eq!(status(&world, &httpd, user, "MKCOL", &at("made")), 403, "{user}");
        assert_eq!(status(&world, &httpd, user, "DELETE", &at("page.html")), 403, "{user}");
    }
    assert_eq!(get_as(&world, &httpd, &at("page.html"), "alice").status, 200);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_server_that_is_away_is_503_and_nothing_half_written_stays() {
    let world = world();
    let httpd = start(&world, "");
    let far = Ipv4Addr::new(192, 0, 2, 3);
    let at = |name: &str| first(&format!("far/write/{name}"));
    assert_eq!(put(&world, &httpd, "alice", &at("old"), b"as it was").status, 201);
    // In the middle of an upload.
    let half = vec![b'x'; 300_000];
    let mut c = begin(&world, &httpd, "PUT", &at("old"), "Content-Length: 600000", &half);
    wait::until_true("the temporary name", Duration::from_secs(30), || {
        Ok(seen::names(FIRST_CELL, "far/write")?.len() == 2)
    })
    .unwrap();
    // And of one that is to be written into the file itself.
    let in_place = first("far/in-place/file.txt");
    let mut other = begin(&world, &httpd, "PUT", &in_place, "Content-Length: 600000", &half);
    assert_eq!(get_as(&world, &httpd, &in_place, "alice").text(), "as it was\n");
    let stopped = Stopped::server(&world, far);
    // Both at once: a client in the kernel may be patient for longer than httpd waits for a body.
    c.send_raw(&half).unwrap();
    other.send_raw(&half).unwrap();
    let (r, took) = timed(|| c.receive(false).unwrap());
    report(&format!("the end of a body for a silent server: {} after {took:?}", r.status));
    assert_eq!(r.status, 503, "{}", r.text());
    assert_eq!(r.header("Retry-After"), Some("5"));
    assert_eq!(other.receive(false).unwrap().status, 503);
    // From the beginning.
    let (r, took) = timed(|| put(&world, &httpd, "alice", &at("new"), b"x"));
    report(&format!("a body for a silent server: {} after {took:?}", r.status));
    assert_eq!(r.status, 503);
    if afs_client() == "userspace" {
        assert!(took < Duration::from_secs(3 * FILE_DEADLINE_S), "{took:?}");
    }
    for method in ["DELETE", "MKCOL"] {
        let seen = status(&world, &httpd, "alice", method, &at("old"));
        // A client may still know that there is something of that name: the machine's, or that of the child which is asked.
        let known = method == "MKCOL" && seen == 405;
        assert!(seen == 503 || known, "{method}: {seen}");
    }
    let r = put(&world, &httpd, "alice", &first(&format!("write/alice/beside-{}", std::process::id())), b"x");
    assert_eq!(r.status, 201, "another server");
    drop(stopped);
    // Each child finds out for itself that the server is back.
    let mut in_a_row = 0;
    wait::until_true("the server", Duration::from_secs(180), || {
        let r = get_as(&world, &httpd, &at("old"), "alice");
        assert!(r.status == 503 || r.text() == "as it was", "{} {}", r.status, r.text());
        in_a_row = if r.status == 200 { in_a_row + 1 } else { 0 };
        Ok(in_a_row == 10)
    })
    .unwrap();
    no_temporary("far/write");
    wait::until_true("the file that was not written into", Duration::from_secs(180), || {
        let r = get_as(&world, &httpd, &in_place, "alice");
        assert!(r.status == 503 || r.text() == "as it was\n", "{} {}", r.status, r.text());
        Ok(r.status == 200)
    })
    .unwrap();
    wait::until_true("writing", Duration::from_secs(180), || {
        Ok(put(&world, &httpd, "alice", &at("old"), b"afterwards").status == 204)
    })
    .unwrap();
    httpd.stop(&[]).unwrap();
}

/// The end of two bodies, one for a file that is replaced and one for a file that is written in place, comes while their
/// volume is busy for so many seconds. Gives the status of each and how long its answer took; each file is what it was or
/// what was sent.
fn store_while_busy(world: &World, httpd: &Httpd, seconds: u64) -> [(u16, Duration); 2] {
    let machine = &world.cell(FIRST_CELL).unwrap().machines[0];
    let address = machine.address.to_string();
    let paths = ["busy", "in-place/file.txt"].map(|name| first(&format!("write/quota/{name}")));
    let (old, new) = (format!("old {seconds} ").repeat(60_000), format!("new {seconds} ").repeat(60_000));
    let (beginning, rest) = new.as_bytes().split_at(300_000);
    for path in &paths {
        let r = put(world, httpd, "alice", path, old.as_bytes());
        assert!([201, 204].contains(&r.status), "{path}: {}", r.status);
    }
    let length = format!("Content-Length: {}", new.len());
    let mut sent = paths.each_ref().map(|path| begin(world, httpd, "PUT", path, &length, beginning));
    wait::until_true("the temporary name", Duration::from_secs(30), || {
        Ok(seen::names(FIRST_CELL, "write/quota")?.len() == 3)
    })
    .unwrap();
    let answers = std::thread::scope(|s| {
        let seconds = seconds.to_string();
        let (machine, address) = (&machine, &address);
        let busy = s.spawn(move || {
            let volume = ["-server", address, "-partition", "a", "-id", "vol.quota", "-localauth"];
            let how = ["offline", "-busy", "-sleep", &seconds];
            machine.run("vos", how.into_iter().chain(volume)).unwrap();
        });
        wait::until_true("a busy volume", Duration::from_secs(20), || {
            let status = machine.run("vos", ["status", "-server", address, "-localauth"])?;
            Ok(status.contains("Total transactions: 1"))
        })
        .unwrap();
        let start = Instant::now();
        for c in &mut sent {
            c.send_raw(rest).unwrap();
        }
        let answers = sent.each_mut().map(|c| (c.receive(false).unwrap(), start.elapsed()));
        busy.join().unwrap();
        answers
    });
    for (path, (r, took)) in paths.iter().zip(&answers) {
        report(&format!(
            "the end of a body for a volume that is busy for {seconds} s: {} after {took:?}",
            r.status
        ));
        if r.status == 503 {
            let log = std::fs::read_to_string(httpd.error_log()).unwrap();
            report(
                log.lines()
                    .rfind(|line| line.contains(path.as_str()))
                    .unwrap_or("and nothing in the error log"),
            );
        }
        assert!([204, 503].contains(&r.status), "{path}: {}", r.text());
        let now = wait::until("the volume", Duration::from_secs(60), || {
            let now = get_as(world, httpd, path, "alice");
            assert!([200, 503].contains(&now.status), "{path}: {}", now.status);
            Ok((now.status == 200).then_some(now))
        })
        .unwrap();
        // Nobody can know of a file that is written in place whether its server has taken what it did not confirm.
        let may_be_new = r.status == 204 || path.ends_with("file.txt");
        let is_new = now.body == new.as_bytes();
        assert!(
            is_new || (r.status == 503 && now.body == old.as_bytes()),
            "{path}: neither: {} bytes",
            now.body.len()
        );
        assert!(!is_new || may_be_new, "{path}: stored, and refused");
    }
    wait::until_true("no temporary name", Duration::from_secs(60), || {
        Ok(seen::names(FIRST_CELL, "write/quota")?.len() == 2)
    })
    .unwrap();
    assert_eq!(status(world, httpd, "alice", "DELETE", &paths[0]), 204);
    answers.map(|(r, took)| (r.status, took))
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn what_is_stored_in_a_volume_that_is_busy_is_whole_or_as_it_was() {
    let world = world();
    let httpd = start(&world, "");
    // Shorter than the user-space client asks, longer than one call asks, and longer than all of them.
    let slow = u64::from(wait::slow_factor());
    let [short, middle, long] = [8 * slow, 3 * FILE_DEADLINE_S, 7 * FILE_DEADLINE_S];
    for (status, took) in store_while_busy(&world, &httpd, short) {
        // kAFS waits as well, but was seen to give up.
        assert!(status == 204 || afs_client() == "kafs", "{status}");
        assert!(took > Duration::from_secs(2), "{took:?}: it was not busy");
    }
    // How long a client in the kernel asks is not ours.
    if afs_client() == "userspace" {
        store_while_busy(&world, &httpd, middle);
        for (status, took) in store_while_busy(&world, &httpd, long) {
            assert_eq!(status, 503);
            assert!(took < Duration::from_secs(long), "{took:?}: nobody waits for the end of that");
        }
    }
    let dir = httpd.dir().to_owned();
    httpd.stop(&[]).unwrap();
    if afs_client() == "userspace" {
        // A child writes this when it ends. Two workers, who asked for 8 s, and twice for twice the deadline and more.
        let said = std::fs::read_to_string(dir.join("stdout.log")).unwrap();
        let times = said.matches("Waiting for busy volume").count();
        report(&format!("a busy server was asked again {times} times"));
        assert!((20..400).contains(&times), "{times}");
    }
}
