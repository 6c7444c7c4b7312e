//! The log of refused accesses, SetAFSAccessLog: programs that read it, fall silent and die; files that are put aside;
//! what comes from outside, in one line.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "this is test code")]

mod common;

use common::{first, get_as, metrics, start, timed, world};
use integration::content::owner_file;
use integration::http::Request;
use integration::httpd::Httpd;
use integration::process::{is_alive, signal_pid};
use integration::wait;
use integration::world::FIRST_CELL;
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a pipe holds.
const PIPE: usize = 64 << 10;

/// A directory of one test's, which only root may read.
fn directory(name: &str) -> PathBuf {
    let dir = PathBuf::from(format!("/srv/refusals-{name}-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

/// The lines of a log so far.
fn lines(log: &Path) -> Vec<String> {
    let text = fs::read(log).unwrap_or_default();
    assert!(text.is_ascii(), "something was not escaped");
    String::from_utf8(text).unwrap().lines().map(str::to_owned).collect()
}

/// A line's fields: address, visitor, method, URL, status, reason. Whatever else it is, it is no line of the log's.
fn fields(line: &str) -> [String; 6] {
    let words: Vec<&str> = line.split(' ').collect();
    let [time, address, visitor, method, uri, status, reason] = words[..] else { return no_line(line) };
    let digits = time.bytes().filter(u8::is_ascii_digit).count();
    let is_line = digits == 14 && time.len() == 20 && uri.len() > 2 && uri.matches('"').count() == 2;
    if !is_line || status.parse::<u16>().is_err() || reason.is_empty() {
        return no_line(line);
    }
    [address, visitor, method, uri.trim_matches('"'), status, reason].map(str::to_owned)
}

fn no_line(line: &str) -> [String; 6] {
    assert_eq!(line, "", "no line of the log");
    Default::default()
}

/// What stands behind the escapes of a field.
fn plain(field: &str) -> Vec<u8> {
    let mut parts = field.split("\\x");
    let mut out = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at(2);
        out.push(u8::from_str_radix(code, 16).unwrap());
        out.extend_from_slice(rest.as_bytes());
    }
    out
}

/// Is refused, with this name in its URL, and waits for its line.
fn refused(httpd: &Httpd, name: &str, log: &Path) -> [String; 6] {
    let path = first(&format!("home/alice/{name}"));
    assert_eq!(httpd.get(&path).unwrap().status, 401);
    let line = wait::until("its line", Duration::from_secs(20), || {
        Ok(lines(log).into_iter().find(|l| l.contains(&format!("/{name}\""))))
    });
    fields(&line.unwrap())
}

/// A program that appends what it reads to `out`, and writes down its process and its arguments at its start.
fn reader(dir: &Path) -> (PathBuf, PathBuf, PathBuf) {
    let (program, out, started) = (dir.join("reader"), dir.join("out"), dir.join("started"));
    let text = format!("#!/bin/sh\necho \"$$ $*\" >> {}\nexec cat >> {}\n", started.display(), out.display());
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    (program, out, started)
}

/// Process and arguments of the reader that was started last, another one than `old`.
fn another(started: &Path, old: u32) -> (u32, String) {
    wait::until("another reader", Duration::from_secs(20), || {
        let text = fs::read_to_string(started).unwrap_or_default();
        let last =
            text.lines().last().and_then(|l| l.split_once(' ')).map(|(p, a)| (p.parse(), a.to_owned()));
        Ok(match last {
            Some((Ok(pid), arguments)) if pid != old => Some((pid, arguments)),
            _ => None,
        })
    })
    .unwrap()
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_program_gets_the_lines_and_may_fall_silent_die_and_be_started_again() {
    let world = world();
    let dir = directory("program");
    let (program, out, started) = reader(&dir);
    let mut httpd = start(&world, &format!("SetAFSAccessLog \"|{} one two\"", program.display()));
    // httpd starts it twice, as it reads its configuration twice; only the last one stays.
    let [address, visitor, method, _, status, reason] = refused(&httpd, "first", &out);
    assert_eq!([address, visitor, method], ["127.0.0.1", "-", "GET"].map(str::to_owned));
    assert_eq!([status, reason], ["401", "no-right"].map(str::to_owned));
    let (pid, arguments) = another(&started, 0);
    assert_eq!(arguments, "one two");
    assert_eq!(get_as(&world, &httpd, &first(&owner_file("alice")), "bob").status, 403);
    assert_eq!(get_as(&world, &httpd, &first(&owner_file("alice")), "alice").status, 200);
    assert_eq!(httpd.get(&first("public/page.html")).unwrap().status, 200);
    refused(&httpd, "second", &out);
    let found: Vec<[String; 6]> = lines(&out).iter().map(|l| fields(l)).collect();
    assert_eq!(found.len(), 3, "one for each that was refused, none for others: {found:?}");
    assert_eq!(found[1][1], format!("bob@{FIRST_CELL}"));

    // He stands still: nobody waits for him, and what the pipe does not hold is lost, by whole lines.
    signal_pid(pid, Signal::STOP).unwrap();
    let long = "x".repeat(900);
    let mut slowest = Duration::ZERO;
    let many = 4 * PIPE / long.len();
    for n in 0..many {
        let (r, took) = timed(|| httpd.get(&first(&format!("home/alice/{long}-{n}"))).unwrap());
        assert_eq!(r.status, 401);
        slowest = slowest.max(took);
    }
    assert!(slowest < Duration::from_secs(2) * wait::slow_factor(), "a request waited {slowest:?}");
    assert_eq!(lines(&out).len(), 3, "he does stand still");
    signal_pid(pid, Signal::CONT).unwrap();
    wait::until_true("what the pipe holds", Duration::from_secs(20), || Ok(lines(&out).len() > 3)).unwrap();
    refused(&httpd, "third", &out);
    let all = lines(&out);
    let kept = all.iter().map(|l| fields(l)).filter(|f| f[3].contains(&long)).count();
    assert!(kept * long.len() > PIPE / 2, "{kept} lines: a pipe holds more");
    assert!(kept < many, "the pipe was never full: this proves nothing");

    // He dies.
    signal_pid(pid, Signal::KILL).unwrap();
    let (next, _) = another(&started, pid);
    refused(&httpd, "fourth", &out);
    // A restart starts another one, and lets him go.
    httpd.graceful().unwrap();
    let (last, _) = another(&started, next);
    // A child of before that still answers writes to the program of before, which has ended.
    wait::until_true("a line behind the restart", Duration::from_secs(20), || {
        assert_eq!(httpd.get(&first("home/alice/fifth")).unwrap().status, 401);
        Ok(lines(&out).iter().any(|l| l.contains("/fifth\"")))
    })
    .unwrap();
    wait::until_true("the end of the one before", Duration::from_secs(20), || Ok(!is_alive(next))).unwrap();
    assert!(is_alive(last));
    lines(&out).iter().for_each(|l| drop(fields(l)));
    httpd.stop(&[]).unwrap();
    assert!(!is_alive(last));
    fs::remove_dir_all(dir).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_file_that_is_put_aside_is_followed_by_a_new_one_at_the_next_restart() {
    let world = world();
    let dir = directory("file");
    // Who may read new files of a directory, its group can say.
    let group = 4;
    chown(&dir, None, Some(group)).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o2750)).unwrap();
    let (log, aside) = (dir.join("refused.log"), dir.join("refused.log.1"));
    let mut httpd = start(&world, &format!("SetAFSAccessLog {}", log.display()));
    let is_new = || {
        wait::until_true("the log", Duration::from_secs(20), || Ok(log.exists())).unwrap();
        let found = fs::metadata(&log).unwrap();
        assert_eq!((found.mode() & 0o7777, found.uid(), found.gid()), (0o640, 0, group));
    };
    is_new();
    refused(&httpd, "before", &log);
    fs::rename(&log, &aside).unwrap();
    // Until the restart the old one goes on.
    refused(&httpd, "between", &aside);
    assert!(!log.exists());
    httpd.graceful().unwrap();
    is_new();
    wait::until_true("lines in the new one", Duration::from_secs(20), || {
        httpd.get(&first("home/alice/behind")).unwrap();
        Ok(!lines(&log).is_empty())
    })
    .unwrap();
    let old = lines(&aside).len();
    refused(&httpd, "last", &log);
    assert_eq!(lines(&aside).len(), old, "nobody writes there any more");
    // One that is there keeps what it has.
    fs::set_permissions(&log, fs::Permissions::from_mode(0o600)).unwrap();
    chown(&log, None, Some(0)).unwrap();
    httpd.restart().unwrap();
    refused(&httpd, "kept", &log);
    let found = fs::metadata(&log).unwrap();
    assert_eq!((found.mode() & 0o7777, found.gid()), (0o600, 0));
    httpd.stop(&[]).unwrap();
    fs::remove_dir_all(dir).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn programs_with_and_without_a_shell_and_files_below_server_root_are_logs_as_elsewhere_in_httpd() {
    let world = world();
    let dir = directory("ways");
    let (program, out, started) = reader(&dir);
    let reader = program.display();
    let by_shell = dir.join("by-shell");
    // ServerRoot is a directory of each httpd's own.
    for (value, log) in [
        (format!("||{reader} one"), out),
        (format!("|$cat \\\"{}\\\" - >> {}", dir.join("head").display(), by_shell.display()), by_shell),
        ("refused.log".to_owned(), PathBuf::new()),
    ] {
        fs::write(dir.join("head"), "").unwrap();
        let httpd = start(&world, &format!("SetAFSAccessLog \"{value}\""));
        let below = httpd.dir().join(&value);
        let log = if value.starts_with('|') { &log } else { &below };
        assert_eq!(refused(&httpd, "asked", log)[4], "401", "{value}");
        if *log == below {
            let found = fs::metadata(log).unwrap();
            assert_eq!((found.mode() & 0o7777, found.uid()), (0o640, 0));
        }
        httpd.stop(&[]).unwrap();
    }
    assert_eq!(another(&started, 0).1, "one");
    fs::remove_dir_all(dir).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_method_that_is_refused_has_its_line_and_counts() {
    let world = world();
    let log = directory("methods").join("refused");
    let httpd = start(&world, &format!("SetAFSAccessLog {}\n{}", log.display(), metrics::PLACE));
    let path = first("public/page.html");
    let methods = [
        ("PUT", 405, "not-written"),
        ("DELETE", 405, "not-written"),
        ("POST", 405, "method"),
        ("TRACE", 405, "method"),
        ("FROB", 501, "method"),
    ];
    for (method, status, _) in methods {
        let r = httpd.request(&Request::new(method, &path).body(b"")).unwrap();
        assert_eq!(r.status, status, "{method}: {}", r.text());
    }
    assert_eq!(httpd.get(&path).unwrap().status, 200);
    let found: Vec<[String; 6]> = lines(&log).iter().map(|l| fields(l)).collect();
    let told = methods.map(|(method, status, why)| {
        ["127.0.0.1", "-", method, &path, &status.to_string(), why].map(str::to_owned)
    });
    assert_eq!(found, told);
    assert_eq!(metrics::read(&httpd, "refused_otherwise_total"), methods.len() as u64);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn d18_whatever_names_and_paths_are_each_line_is_whole_and_says_them() {
    let world = world();
    let dir = directory("escaped");
    let log = dir.join("refused.log");
    let httpd = start(&world, &format!("SetAFSAccessLog {}", log.display()));
    let long = "l".repeat(3000);
    let paths = [
        "%22%20200%20ok%0a2026-01-01T00:00:00Z%20::1%20forged%20GET%20%22/",
        "a%20b%09c%0d%0ad",
        "back%5cslash%5cx41",
        "gr%c3%bc%c3%9fe%ff",
        "%01%1b%5b31m%7f",
        "%2e%2e",
        "query?a=%22b%22&c=d%20e",
        &long,
    ];
    for (n, path) in paths.iter().enumerate() {
        let at = first(&format!("home/alice/{n}-{path}"));
        let status = httpd.get(&at).unwrap().status;
        assert!(status >= 400, "{path}: {status}");
        if status == 401 {
            assert_eq!(lines(&log).len(), n + 1, "{path}: {:?}", lines(&log).last());
        }
    }
    let found: Vec<[String; 6]> = lines(&log).iter().map(|l| fields(l)).collect();
    for (n, path) in paths.iter().enumerate() {
        let [.., uri, status, _] = &found[n];
        assert_eq!(status, "401", "{path}");
        let decoded = plain(uri);
        let start = first(&format!("home/alice/{n}-"));
        assert!(decoded.starts_with(start.as_bytes()), "{uri}");
        assert!(uri.len() <= 1024, "{}", uri.len());
    }
    // What was claimed stands there as it was typed, if it can be anybody's name, else it is nobody's.
    let possible = ["-", "<i>&amp;", "a%22%0ab", "{$(id)}", "200,no-right;"];
    let impossible = ["al\"ice", "white space", "tab\there", "line\nbreak", "back\\slash", "gr\u{fc}\u{df}e"];
    for name in possible.iter().chain(&impossible) {
        let r = httpd.get_as(&first("public/page.html"), name, "no").unwrap();
        assert_eq!(r.status, 401, "{name}");
    }
    let claimed: Vec<[String; 6]> = lines(&log)[paths.len()..].iter().map(|l| fields(l)).collect();
    assert_eq!(claimed.len(), possible.len() + impossible.len());
    for (name, [_, visitor, .., reason]) in possible.iter().zip(&claimed) {
        assert_eq!(visitor, &format!("{name}@{FIRST_CELL}"));
        assert_ne!(reason, "no-right", "{name}");
    }
    for (name, [_, visitor, .., reason]) in impossible.iter().zip(&claimed[possible.len()..]) {
        assert_eq!([visitor, reason], ["-", "not-acceptable"], "{name}");
    }
    let request = Request::new("GET", &first(&owner_file("alice"))).header("Authorization", "Bearer a\"b c");
    assert_eq!(httpd.request(&request).unwrap().status, 401);
    assert_eq!(fields(lines(&log).last().unwrap())[5], "unsupported-scheme");
    httpd.stop(&[]).unwrap();
    fs::remove_dir_all(dir).unwrap();
}
