//! What becomes of a body that is put: the whole of it, or nothing.

use crate::common::{ask, first, get_as, report, timed, world};
use crate::{TEMPORARY, begin, names, no_temporary, own, propfind, put, start, status};
use integration::http::{Request, escape};
use integration::process::signal_pid;
use integration::wait;
use rustix::process::Signal;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn what_is_put_can_be_read_and_deleted() {
    let world = world();
    let httpd = start(&world, "");
    let dir = own(&world, &httpd, "put");
    let path = escape(&first(&format!("{dir}/put me.txt")));
    let r = put(&world, &httpd, "alice", &path, b"first");
    assert_eq!(r.status, 201, "{}", r.text());
    let etag = r.header("ETag").map(str::to_owned);
    assert!(etag.is_some());
    let r = get_as(&world, &httpd, &path, "alice");
    assert_eq!((r.status, r.text().as_str()), (200, "first"));
    assert_eq!(r.header("ETag").map(str::to_owned), etag);
    let r = put(&world, &httpd, "alice", &path, b"second, and longer");
    assert_eq!(r.status, 204, "{}", r.text());
    assert_ne!(r.header("ETag").map(str::to_owned), etag);
    assert_eq!(get_as(&world, &httpd, &path, "bob").text(), "second, and longer");
    assert_eq!(put(&world, &httpd, "alice", &path, b"").status, 204);
    assert_eq!(get_as(&world, &httpd, &path, "bob").text(), "");
    assert_eq!(names(&dir), ["put me.txt"]);
    assert_eq!(status(&world, &httpd, "alice", "DELETE", &path), 204);
    assert_eq!(get_as(&world, &httpd, &path, "alice").status, 404);
    assert_eq!(status(&world, &httpd, "alice", "DELETE", &path), 404);
    let r = put(&world, &httpd, "alice", &first(&format!("{dir}/none/x")), b"x");
    assert_eq!(r.status, 409, "no such collection");
    assert_eq!(put(&world, &httpd, "alice", &first(&dir), b"x").status, 409, "a collection");
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn d64_conditions_are_met_and_bodies_whole_or_nothing_is_written() {
    let world = world();
    let httpd = start(&world, "");
    let dir = own(&world, &httpd, "conditions");
    let path = first(&format!("{dir}/file"));
    let with = |name: &str, value: &str, body: &[u8]| {
        let request = Request::new("PUT", &path).header(name, value).body(body);
        ask(&world, &httpd, "alice", request)
    };
    assert_eq!(with("If-Match", "*", b"1").status, 412, "nothing is there");
    assert_eq!(with("If-None-Match", "*", b"1").status, 201);
    assert_eq!(with("If-None-Match", "*", b"2").status, 412);
    let etag = get_as(&world, &httpd, &path, "alice").header("ETag").unwrap().to_owned();
    let r = with("If-Match", &etag, b"the second");
    assert_eq!(r.status, 204);
    assert_eq!(with("If-Match", &etag, b"3").status, 412, "not that one any more");
    assert_eq!(with("If-Match", r.header("ETag").unwrap(), b"the third").status, 204);
    assert_eq!(get_as(&world, &httpd, &path, "alice").text(), "the third");
    let request = Request::new("DELETE", &path).header("If-Match", &etag);
    assert_eq!(ask(&world, &httpd, "alice", request).status, 412);
    // A part of a file.
    for range in ["bytes 0-2/9", "bytes 0-2/*", "bytes x", "lines 1-2/3"] {
        assert_eq!(with("Content-Range", range, b"THE").status, 400, "{range}");
    }
    assert_eq!(get_as(&world, &httpd, &path, "alice").text(), "the third");
    assert_eq!(names(&dir), ["file"]);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn d64_an_upload_that_is_broken_off_leaves_what_was_there() {
    let world = world();
    let httpd = start(&world, "");
    let dir = own(&world, &httpd, "aborted");
    let old = first(&format!("{dir}/old"));
    assert_eq!(put(&world, &httpd, "alice", &old, b"as it was").status, 201);
    let in_place = first("write/in-place/file.txt");
    let before = get_as(&world, &httpd, &in_place, "alice").body;
    let dropped = format!("dropped-{}", std::process::id());
    let by_groups = format!("write/drop/{dropped}");
    let new = [&format!("{dir}/new"), &format!("write/insert/{dropped}"), &by_groups].map(|path| first(path));
    for path in [&old, &in_place].into_iter().chain(&new) {
        // The connection ends.
        for sent in [1_500_000, 1] {
            drop(begin(&world, &httpd, "PUT", path, "Content-Length: 3000000", &vec![b'x'; sent]));
        }
        // No chunks.
        let body = [b"927c0\r\n", &vec![b'x'; 600_000][..], b"\r\nno chunk\r\n"].concat();
        let mut c = begin(&world, &httpd, "PUT", path, "Transfer-Encoding: chunked", &body);
        let r = c.receive(false).unwrap();
        assert!((400..500).contains(&r.status), "{} {}", r.status, r.text());
    }
    no_temporary(&dir);
    assert_eq!(names(&dir), ["old"]);
    for dir in ["insert", "drop"] {
        let seen = names(&format!("write/{dir}"));
        assert!(!seen.iter().any(|n| n.starts_with('.') || *n == dropped), "{dir}: {seen:?}");
    }
    assert_eq!(get_as(&world, &httpd, &old, "alice").text(), "as it was");
    assert_eq!(get_as(&world, &httpd, &in_place, "alice").body, before);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_child_that_is_killed_in_the_middle_leaves_a_hidden_file_at_most() {
    let world = world();
    let httpd = start(&world, "");
    let dir = own(&world, &httpd, "killed");
    let (old, in_place) = (first(&format!("{dir}/old")), first("write/in-place/file.txt"));
    assert_eq!(put(&world, &httpd, "alice", &old, b"as it was").status, 201);
    assert_eq!(put(&world, &httpd, "alice", &in_place, b"as it was").status, 204);
    let begun = [&old, &in_place]
        .map(|path| begin(&world, &httpd, "PUT", path, "Content-Length: 600000", &vec![b'x'; 500_000]));
    wait::until_true("the temporary name", Duration::from_secs(60), || Ok(names(&dir).len() == 2)).unwrap();
    for child in httpd.children() {
        signal_pid(child, Signal::KILL).unwrap();
    }
    drop(begun);
    // Whoever comes next finds what was there, and can write it.
    wait::until_true("another child", Duration::from_secs(60), || Ok(httpd.get("/index.html").is_ok()))
        .unwrap();
    for path in [&old, &in_place] {
        assert_eq!(get_as(&world, &httpd, path, "alice").text(), "as it was", "{path}");
        assert_eq!(put(&world, &httpd, "alice", path, b"afterwards").status, 204, "{path}");
        assert_eq!(get_as(&world, &httpd, path, "alice").text(), "afterwards", "{path}");
    }
    let left = names(&dir);
    assert!(left.len() <= 2 && left.iter().all(|n| n == "old" || n.starts_with(TEMPORARY)), "{left:?}");
    let listed = propfind(&world, &httpd, "alice", &first(&format!("{dir}/")));
    assert!(listed.status == 207 && !listed.text().contains(TEMPORARY), "{}", listed.text());
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn two_who_write_at_once_leave_a_whole_file() {
    let world = world();
    let httpd = start(&world, "");
    let dir = own(&world, &httpd, "race");
    let path = first(&format!("{dir}/file"));
    let rounds = if wait::slow_factor() > 1 { 3 } else { 12 };
    let (writers, makers) = (b'1'..b'5', b'1'..b'7');
    report(&format!("{} who write at once, {} who make a file", writers.len(), makers.len()));
    assert_eq!(put(&world, &httpd, "alice", &path, &vec![b'0'; 700_000]).status, 201);
    std::thread::scope(|s| {
        for who in writers {
            let (world, httpd, path) = (&world, &httpd, &path);
            s.spawn(move || {
                for _ in 0..rounds {
                    let body = vec![who; 700_000 + usize::from(who) * 100];
                    let r = put(world, httpd, "alice", path, &body);
                    assert_eq!(r.status, 204, "{}", r.text());
                }
            });
        }
        for _ in 0..rounds {
            // A file that is replaced while it is read breaks off, and is never a mixture.
            let r = get_as(&world, &httpd, &path, "bob");
            assert_eq!(r.status, 200, "{}", r.text());
            assert!(r.body.iter().all(|b| *b == r.body[0]), "a mixture");
        }
    });
    let r = get_as(&world, &httpd, &path, "alice");
    assert_eq!((r.status, r.complete), (200, true));
    assert!(r.body.iter().all(|b| *b == r.body[0]) && r.body.len() == 700_000 + usize::from(r.body[0]) * 100);
    assert_eq!(names(&dir), ["file"]);
    // Of those who make it at the same time, one does.
    let path = first(&format!("{dir}/once"));
    let made = AtomicU32::new(0);
    std::thread::scope(|s| {
        for who in makers.clone() {
            let (world, httpd, path, made) = (&world, &httpd, &path, &made);
            s.spawn(move || {
                let request = Request::new("PUT", path).header("If-None-Match", "*").body(&[who; 200_000]);
                let r = ask(world, httpd, "alice", request);
                assert!(matches!(r.status, 201 | 412), "{} {}", r.status, r.text());
                made.fetch_add(u32::from(r.status == 201), Ordering::Relaxed);
            });
        }
    });
    report(&format!("made by {} of {}", made.load(Ordering::Relaxed), makers.len()));
    assert!(made.load(Ordering::Relaxed) >= 1);
    no_temporary(&dir);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_file_that_is_replaced_all_the_time_is_there_all_the_time() {
    let world = world();
    let httpd = start(&world, "");
    let dir = own(&world, &httpd, "busy");
    let path = first(&format!("{dir}/file"));
    assert_eq!(put(&world, &httpd, "alice", &path, b"at first").status, 201);
    let rounds = if wait::slow_factor() > 1 { 40 } else { 200 };
    // What others ask for again and again, and what it is answered; not so often the right to write.
    let requests = [("GET", 200), ("HEAD", 200), ("PROPFIND", 207), ("OPTIONS", 200)];
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                for n in 0..rounds {
                    let r = put(&world, &httpd, "alice", &path, format!("number {n}").as_bytes());
                    assert_eq!(r.status, 204, "PUT {n}: {}", r.text());
                }
            });
        }
        for (method, status) in requests {
            let (world, httpd, path) = (&world, &httpd, &path);
            s.spawn(move || {
                for n in 0..rounds {
                    let request = Request::new(method, path).header("Depth", "0");
                    let r = ask(world, httpd, "bob", request);
                    assert_eq!(r.status, status, "{method} {n}: {}", r.text());
                }
            });
        }
    });
    assert_eq!(status(&world, &httpd, "alice", "DELETE", &path), 204);
    no_temporary(&dir);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_large_file_is_put_whole() {
    let world = world();
    let httpd = start(&world, "");
    let dir = own(&world, &httpd, "large");
    let path = first(&format!("{dir}/file"));
    // More than a child's whole cache.
    let size = if wait::slow_factor() > 1 { 12 << 20 } else { 80 << 20 };
    let body = integration::content::pattern(0, size);
    let (r, took) = timed(|| put(&world, &httpd, "alice", &path, &body));
    assert_eq!(r.status, 201, "{}", r.text());
    report(&format!("{} MiB in {took:?}", size >> 20));
    let r = get_as(&world, &httpd, &path, "alice");
    assert!(r.complete && r.body == body, "another body, {} bytes", r.body.len());
    assert_eq!(status(&world, &httpd, "alice", "DELETE", &path), 204);
    httpd.stop(&[]).unwrap();
}
