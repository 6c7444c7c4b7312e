//! The kernel clients against a real cell, in a guest whose root runs this.
//!
//! AFSWEB_CLIENT says which client serves `/afs`: `openafs` or `kafs`. Reads the description of the world,
//! `/run/afsweb-world.json` or what AFSWEB_WORLD names, and takes of its first cell `name`, `key_hex` and `kvno`; users admin,
//! alice, bob and carol, group `alice:friends` with bob and carol. Needs `fs` (OpenAFS) or `mount` and `umount` (kAFS).
//! Each test runs scenes in processes of their own, since a process has its PAGs once and gives its uid up once.

#![allow(unsafe_code, reason = "keyctl(2) as an attacker would call it, which no library has")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test, also outside its test functions")]
#![expect(clippy::panic, reason = "a test, also outside its test functions")]
#![expect(clippy::print_stdout, reason = "measured times, and answers to the scene that asked")]

mod outside;

use outside::{keyctl, kind};
use pag::userspace::Rights;
use pag::{Cell, ClientKind, Error, Kafs, KernelClient, OpenAfs, Pag, SessionKey, Token};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// www-data
const UID: u32 = 33;
/// Says what a process of this program does.
const SCENE: &str = "AFSWEB_SCENE";
/// The directory of the tests.
const DIR: &str = "AFSWEB_DIR";
/// Who has a directory with a file in it, and who may read there.
const PLACES: [(&str, &[&str], &[&str]); 5] = [
    ("alice", &["alice", "rl"], &[]),
    ("bob", &["bob", "rl"], &[]),
    ("group", &["alice:friends", "rl"], &[]),
    ("negative", &["system:authuser", "rl"], &["bob", "rl"]),
    ("public", &["system:anyuser", "rl"], &[]),
];

/// A client, as the scenes use it.
enum Client {
    /// OpenAFS.
    OpenAfs(Arc<OpenAfs>),
    /// kAFS.
    Kafs(Arc<Kafs>),
}

/// What a scene has.
struct Stage {
    about: Value,
    client: Client,
    dir: String,
}

impl Stage {
    /// PAGs are made as root; then the process becomes www-data.
    fn open(pags: usize) -> Self {
        let stage = Self::open_as_root(pags);
        drop_root();
        stage
    }

    fn open_as_root(pags: usize) -> Self {
        let at = std::env::var("AFSWEB_WORLD").unwrap_or_else(|_| "/run/afsweb-world.json".to_owned());
        let about: Value = serde_json::from_str(&std::fs::read_to_string(at).unwrap()).unwrap();
        let client = match kind() {
            ClientKind::Kafs => Client::Kafs(Kafs::prepare(pags, Some(UID)).unwrap()),
            _ => Client::OpenAfs(OpenAfs::prepare(pags, Some(UID)).unwrap()),
        };
        Self { about, client, dir: std::env::var(DIR).unwrap_or_default() }
    }

    fn afs(&self) -> Arc<dyn KernelClient> {
        match &self.client {
            Client::OpenAfs(c) => c.clone(),
            Client::Kafs(c) => c.clone(),
        }
    }

    fn cell(&self) -> Cell {
        Cell::new(self.about["cells"][0]["name"].as_str().unwrap()).unwrap()
    }

    /// A token that the cell's key makes, from `begin` seconds from now on, for `life` seconds.
    fn token_at(&self, user: &str, begin: i64, life: u32) -> Token {
        let cell = &self.about["cells"][0];
        let key: kaserver::Key = cell["key_hex"].as_str().unwrap().parse().unwrap();
        let kvno = i32::try_from(cell["kvno"].as_i64().unwrap()).unwrap();
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
        let begin = u32::try_from(now + begin).unwrap();
        let t = kaserver::mint_token(user, "", begin, life, &key, kvno).unwrap();
        Token {
            cell: self.cell(),
            afs_id: 1,
            kvno: t.kvno,
            key: SessionKey(t.session_key),
            begin: t.begin.into(),
            end: t.end.into(),
            ticket: t.ticket.clone().into(),
        }
    }

    /// A token that ends in `life_s` seconds.
    fn token_for(&self, user: &str, life_s: u32) -> Token {
        // Tickets last for multiples of five minutes.
        let whole = life_s.max(300).next_multiple_of(300);
        self.token_at(user, i64::from(life_s) - i64::from(whole), whole)
    }

    fn token(&self, user: &str) -> Token {
        self.token_for(user, 36_000)
    }

    fn pag(&self, user: &str) -> Pag {
        let pag = self.afs().new_pag().unwrap();
        pag.set_token(&self.token(user)).unwrap();
        pag
    }

    fn path(&self, place: &str) -> String {
        format!("{}/{place}/file", self.dir)
    }

    /// Whether the calling thread reads a place's file.
    fn reads(&self, place: &str) -> bool {
        reads(&self.path(place), place)
    }

    /// Which places a PAG reads, in the order of [`PLACES`].
    fn all(&self, pag: &Pag) -> [bool; 5] {
        let scope = pag.enter().unwrap();
        self.afs().verify(pag).unwrap();
        let all = PLACES.map(|(place, ..)| self.reads(place));
        drop(scope);
        all
    }

    fn flush(&self) {
        if let Client::OpenAfs(c) = &self.client {
            c.flush_volume(self.dir.as_bytes()).unwrap();
        }
    }
}

const NOBODY: [bool; 5] = [false, false, false, false, true];
const ALICE: [bool; 5] = [true, false, false, true, true];
const BOB: [bool; 5] = [false, true, true, false, true];

/// Whether a file can be read, and has what it should.
fn reads(path: &str, contents: &str) -> bool {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            assert_eq!(text, contents);
            true
        }
        Err(e) => {
            assert_eq!(e.raw_os_error(), Some(libc::EACCES), "{path}: {e}");
            false
        }
    }
}

/// Becomes www-data in all threads.
fn drop_root() {
    let (uid, gid) = (nix::unistd::Uid::from_raw(UID), nix::unistd::Gid::from_raw(UID));
    nix::unistd::setgroups(&[gid]).unwrap();
    nix::unistd::setresgid(gid, gid, gid).unwrap();
    nix::unistd::setresuid(uid, uid, uid).unwrap();
}

/// Number of the calling thread's session keyring.
fn session() -> i64 {
    keyctl(0, -3, 0, 0, 0).unwrap()
}

#[test]
#[ignore = "needs a guest: run by cargo xtask vm test"]
fn d10_a_process_without_its_anonymous_pag_ends_itself() {
    let status = command("loses_the_anonymous_pag").env(DIR, dir()).status().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGABRT), "{status}");
}

/// This program in another scene.
fn command(scene: &str) -> Command {
    // Not by its path, which www-data may have no way to.
    let mut command = Command::new("/proc/self/exe");
    command.args(["--ignored", "--exact", "--nocapture", "--test-threads=1", "scene"]).env(SCENE, scene);
    command
}

/// Directory with the places, made once.
fn dir() -> &'static str {
    static DIR_: OnceLock<String> = OnceLock::new();
    DIR_.get_or_init(|| {
        let done = command("content").output().unwrap();
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success(), "{text}{}", String::from_utf8_lossy(&done.stderr));
        // The harness writes to the same line.
        text.lines().find_map(|l| Some(l.split_once("directory ")?.1)).unwrap().to_owned()
    })
}

/// Runs a scene to its end.
fn play(scene: &str) {
    let status = command(scene).env(DIR, dir()).status().unwrap();
    assert!(status.success(), "{scene}: {status}");
}

/// A scene that runs beside the one that started it, and answers a line to each.
struct Beside {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Beside {
    fn start(scene: &str) -> Self {
        let mut child = command(scene).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, to, from }
    }

    fn ask(&mut self, what: &str) -> String {
        writeln!(self.to, "{what}").unwrap();
        loop {
            let mut line = String::new();
            assert_ne!(self.from.read_line(&mut line).unwrap(), 0, "no answer to {what}");
            if let Some((_, answer)) = line.split_once("answer ") {
                return answer.trim_end().to_owned();
            }
        }
    }

    fn end(mut self) {
        drop(self.to);
        let mut rest = String::new();
        self.from.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success(), "{rest}");
    }
}

/// Answers each line of standard input.
fn answer(mut f: impl FnMut(&str) -> String) {
    for line in std::io::stdin().lines() {
        println!("answer {}", f(line.unwrap().trim()));
        std::io::stdout().flush().unwrap();
    }
}

macro_rules! scenes {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $(
            #[test]
            #[ignore = "needs a guest: run by cargo xtask vm test"]
            fn $name() {
                play(stringify!($name));
            }
        )*

        /// Not a test: what the others run in processes of their own.
        #[test]
        #[ignore = "needs a guest: run by cargo xtask vm test"]
        fn scene() {
            match std::env::var(SCENE).as_deref() {
                $(Ok(stringify!($name)) => scene::$name(),)*
                Ok("content") => scene::content(),
                Ok("reader") => scene::reader(),
                Ok("attacker") => scene::attacker(),
                Ok("token_of_the_uid") => scene::token_of_the_uid(),
                Ok("loses_the_anonymous_pag") => scene::loses_the_anonymous_pag(),
                Ok("child_of_an_administrator") => scene::child_of_an_administrator(),
                Ok(other) => panic!("no scene {other}"),
                Err(_) => {}
            }
        }
    };
}

scenes! {
    each_visitor_reads_what_the_acls_give_him;
    threads_hop_between_visitors;
    a_process_keeps_its_visitor_while_the_thread_hops_on;
    what_runs_inside_gets_at_no_other_visitor;
    what_runs_beside_gets_at_no_visitor;
    a_token_of_the_uid_is_not_the_anonymous_visitors;
    nothing_is_inherited_from_an_administrator;
    four_hundred_threads;
    two_hundred_pags;
    an_expired_token_is_none;
    a_pool_comes_to_its_end_and_gives_out_clean_ones_again;
    a_token_is_renewed_while_threads_are_inside;
    a_destroyed_pag_is_noticed;
    tokens_come_back_as_they_were_set;
    questions_about_paths;
    the_quota_of_keys_is_an_error_of_its_own;
    what_hopping_costs;
}

mod scene {
    use super::*;

    /// Makes the places, as admin.
    pub(super) fn content() {
        let stage = Stage::open_as_root(1);
        let cell = stage.cell();
        let dir = format!("/afs/.{}/pag-kernel-{}", cell.as_str(), std::process::id());
        let admin = stage.pag("admin");
        let scope = admin.enter().unwrap();
        let all = ["system:administrators", "rlidwka"];
        std::fs::create_dir(&dir).unwrap();
        set_acl(&dir, &[&all[..], &["system:anyuser", "l"]].concat(), &[]);
        for (place, positive, negative) in PLACES {
            let at = format!("{dir}/{place}");
            std::fs::create_dir(&at).unwrap();
            std::fs::write(format!("{at}/file"), place).unwrap();
            set_acl(&at, &[&all[..], positive].concat(), negative);
        }
        // Whoever may not search the cell's root gets nowhere.
        if std::thread::scope(|s| {
            s.spawn(|| {
                stage.afs().leave();
                std::fs::metadata(&dir).is_err()
            })
            .join()
        })
        .unwrap()
        {
            let root = format!("/afs/.{}", cell.as_str());
            set_acl(&root, &[&all[..], &["system:anyuser", "rl"]].concat(), &[]);
        }
        drop(scope);
        if kind() == ClientKind::Kafs {
            // It remembers rights from before the lists were changed.
            for args in [vec!["umount", "/afs"], vec!["mount", "-t", "afs", "none", "/afs", "-o", "dyn"]] {
                assert!(Command::new(args[0]).args(&args[1..]).status().unwrap().success());
            }
        }
        println!("directory {dir}");
    }

    /// Sets an access list as the calling thread: names and rights in turn.
    fn set_acl(dir: &str, positive: &[&str], negative: &[&str]) {
        if kind() == ClientKind::Kafs {
            let lines = |acl: &[&str]| {
                acl.chunks(2)
                    .map(|e| format!("{}\t{}\n", e[0], Rights::parse(e[1]).unwrap().0))
                    .collect::<String>()
            };
            let (p, n) = (positive.len() / 2, negative.len() / 2);
            let text = format!("{p}\n{n}\n{}{}\0", lines(positive), lines(negative));
            rustix::fs::setxattr(dir, "afs.acl", text.as_bytes(), rustix::fs::XattrFlags::empty()).unwrap();
            return;
        }
        let fs = |args: &[&str]| {
            let done = Command::new("fs").args(["setacl", "-dir", dir, "-acl"]).args(args).status().unwrap();
            assert!(done.success(), "{args:?}");
        };
        fs(&[positive, &["-clear"]].concat());
        if !negative.is_empty() {
            fs(&[negative, &["-negative"]].concat());
        }
    }

    /// Says of each path on standard input whether it can be read.
    pub(super) fn reader() {
        answer(|line| {
            let (path, contents) = line.split_once(' ').unwrap();
            reads(path, contents).to_string()
        });
    }

    pub(super) fn each_visitor_reads_what_the_acls_give_him() {
        let stage = Stage::open(4);
        let (alice, bob, admin) = (stage.pag("alice"), stage.pag("bob"), stage.pag("admin"));
        let without = stage.afs().new_pag().unwrap();
        for _ in 0..3 {
            assert_eq!(stage.all(&alice), ALICE);
            assert_eq!(stage.all(&bob), BOB);
            assert_eq!(stage.all(&admin), [true; 5]);
            assert_eq!(stage.all(stage.afs().anonymous()), NOBODY);
            assert_eq!(stage.all(&without), NOBODY);
            // Outside all scopes.
            assert_eq!(PLACES.map(|(place, ..)| stage.reads(place)), NOBODY);
            stage.afs().verify(stage.afs().anonymous()).unwrap();
            assert_eq!(stage.afs().verify(&alice), Err(Error::WrongPag));
            stage.flush();
        }
        alice.enter().unwrap().stay();
        assert!(stage.reads("alice"));
        stage.afs().verify(&alice).unwrap();
        stage.afs().leave();
        assert!(!stage.reads("alice"));
        let anonymous = stage.afs();
        assert!(anonymous.anonymous().set_token(&stage.token("alice")).is_err());
    }

    pub(super) fn threads_hop_between_visitors() {
        let stage = &Stage::open(2);
        let pags = &[
            (stage.pag("alice"), ALICE),
            (stage.pag("bob"), BOB),
            (stage.afs().anonymous().clone(), NOBODY),
        ];
        let wrong = &AtomicUsize::new(0);
        std::thread::scope(|s| {
            for t in 0..8usize {
                s.spawn(move || {
                    let mut random = t * 7_919 + 1;
                    for k in 0..150 {
                        random = random
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1_442_695_040_888_963_407);
                        let (pag, may) = &pags[(random >> 33) % 3];
                        let scope = pag.enter().unwrap();
                        let seen = [stage.reads("alice"), stage.reads("bob")];
                        drop(scope);
                        if seen != may[..2] {
                            wrong.fetch_add(1, Ordering::Relaxed);
                        }
                        if t == 0 && k % 25 == 24 {
                            stage.flush();
                        }
                    }
                });
            }
        });
        assert_eq!(wrong.load(Ordering::Relaxed), 0);
    }

    pub(super) fn a_process_keeps_its_visitor_while_the_thread_hops_on() {
        let stage = Stage::open(2);
        let (alice, bob) = (stage.pag("alice"), stage.pag("bob"));
        stage.afs().mark_forkable(&alice).unwrap();
        let scope = alice.enter().unwrap();
        let mut child = Beside::start("reader");
        drop(scope);
        let asks =
            |child: &mut Beside| ["alice", "bob"].map(|p| child.ask(&format!("{} {p}", stage.path(p))));
        assert_eq!(asks(&mut child), ["true", "false"]);
        let scope = bob.enter().unwrap();
        stage.flush();
        assert_eq!([stage.reads("alice"), stage.reads("bob")], [false, true]);
        assert_eq!(asks(&mut child), ["true", "false"]);
        drop(scope);
        assert_eq!([stage.reads("alice"), stage.reads("bob")], [false, false]);
        assert_eq!(asks(&mut child), ["true", "false"]);
        // With the PAG goes the token, in the process too.
        drop(alice);
        assert_eq!(asks(&mut child), ["false", "false"]);
        assert_eq!(stage.afs().counters().tainted, 1);
        child.end();
    }

    /// Does to the keyrings and keys whose numbers it gets what it can; says what worked.
    pub(super) fn attacker() {
        answer(|line| {
            let (what, numbers) = line.split_once(' ').unwrap_or((line, ""));
            let mut done = Vec::new();
            let own = {
                // SAFETY: texts and no payload.
                let n = unsafe {
                    libc::syscall(
                        libc::SYS_add_key,
                        c"keyring".as_ptr(),
                        c"own".as_ptr(),
                        0usize,
                        0usize,
                        -2i64,
                    )
                };
                assert!(n > 0);
                n
            };
            let mut buf = [0u8; 20_000];
            let at = buf.as_mut_ptr() as i64;
            let mut note = |name: &str, n: i64, r: Result<i64, i32>| {
                if r.is_ok() {
                    done.push(format!("{name}:{}", if n < 0 { n.to_string() } else { "it".to_owned() }));
                }
            };
            if what == "destroy" {
                for n in numbers.split_ascii_whitespace() {
                    let n: i64 = n.parse().unwrap();
                    note("clear", n, keyctl(7, n, 0, 0, 0));
                    note("timeout", n, keyctl(15, n, 1, 0, 0));
                    note("revoke", n, keyctl(3, n, 0, 0, 0));
                    note("invalidate", n, keyctl(21, n, 0, 0, 0));
                }
                return done.join(" ");
            }
            for n in numbers.split_ascii_whitespace() {
                let n: i64 = n.parse().unwrap();
                note("describe", n, keyctl(6, n, at, 256, 0));
                note("read", n, keyctl(11, n, at, 20_000, 0));
                note("link", n, keyctl(8, n, own, 0, 0));
                note("link-to-user", n, keyctl(8, n, -4, 0, 0));
                note("move", n, keyctl(30, n, -3, own, 0));
                note("link-into", n, keyctl(8, own, n, 0, 0));
                note("rights", n, keyctl(5, n, 0x3f3f_3f3f, 0, 0));
                note("owner", n, keyctl(4, n, i64::from(UID), -1, 0));
                note("allow-links", n, keyctl(29, n, 0, 0, 0));
                for (kind, name) in [(c"rxrpc", c"afs@cell.example"), (c"afs_pag", c"_pag")] {
                    let (k, d) = (kind.as_ptr() as i64, name.as_ptr() as i64);
                    note("search", n, keyctl(10, n, k, d, 0));
                    note("search-and-link", n, keyctl(10, n, k, d, own));
                }
                // SAFETY: texts, and a payload of four bytes.
                let added = unsafe {
                    libc::syscall(
                        libc::SYS_add_key,
                        c"user".as_ptr(),
                        c"x".as_ptr(),
                        c"evil".as_ptr(),
                        4usize,
                        n,
                    )
                };
                note("add", n, if added > 0 { Ok(added) } else { Err(0) });
            }
            for (kind, name) in [(c"rxrpc", c"afs@cell.example"), (c"afs_pag", c"_pag")] {
                // SAFETY: texts.
                let found = unsafe {
                    libc::syscall(libc::SYS_request_key, kind.as_ptr(), name.as_ptr(), 0usize, own)
                };
                note("request-and-link", -9, if found > 0 { Ok(found) } else { Err(0) });
            }
            note("session-to-parent", -9, keyctl(18, 0, 0, 0, 0));
            let shown = std::fs::read_to_string("/proc/keys").unwrap();
            note("name-shown", -9, if shown.contains("afsweb.") { Ok(0) } else { Err(0) });
            done.join(" ")
        });
    }

    /// Numbers of a PAG's keyring and what is in it, which only those inside can read.
    fn numbers(pag: &Pag) -> Vec<i64> {
        fn walk(ring: i64, all: &mut Vec<i64>) {
            let mut buf = [0i32; 64];
            all.push(ring);
            if all.len() < 8
                && let Ok(n) = keyctl(11, ring, buf.as_mut_ptr() as i64, 256, 0)
            {
                let n = usize::try_from(n).unwrap() / 4;
                // A key of 16 bytes or more is not a list of keys.
                buf[..n.min(2)].iter().filter(|s| **s > 0xFFFF && n < 3).for_each(|s| walk((*s).into(), all));
            }
        }
        let scope = pag.enter().unwrap();
        let mut all = Vec::new();
        walk(session(), &mut all);
        drop(scope);
        all
    }

    /// The numbers as a line.
    fn line(numbers: &[i64]) -> String {
        numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(" ")
    }

    pub(super) fn what_runs_inside_gets_at_no_other_visitor() {
        let stage = Stage::open(2);
        let (alice, bob) = (stage.pag("alice"), stage.pag("bob"));
        let (of_alice, of_bob) = (numbers(&alice), numbers(&bob));
        println!("alice's {of_alice:x?}, bob's {of_bob:x?}");
        assert!(of_alice.len() >= 2);
        stage.afs().mark_forkable(&alice).unwrap();
        stage.afs().mark_forkable(&alice).unwrap();
        let again = alice.set_token(&stage.token("alice"));
        assert_eq!(again.is_ok(), kind() == ClientKind::OpenAfs, "{again:?}");
        let scope = alice.enter().unwrap();
        let mut child = Beside::start("attacker");
        let of_others = child.ask(&format!("try {}", line(&of_bob)));
        let own = child.ask(&format!("try -3 {}", line(&of_alice)));
        drop(scope);
        println!("inside: {own}\nof others: {of_others}");
        assert_eq!(of_others, "");
        // What it can: read what it has, and find it again. Nothing that takes it anywhere else.
        for word in own.split(' ') {
            let word = word.split(':').next().unwrap();
            let harmless =
                ["read", "search"].contains(&word) || (word == "describe" && kind() == ClientKind::OpenAfs);
            assert!(harmless, "{own}");
        }
        assert_eq!((stage.all(&alice), stage.all(&bob)), (ALICE, BOB));
        // What it can besides: put an end to its own visitor's PAG.
        println!("destroys its own: {}", child.ask("destroy -3"));
        child.end();
        assert_eq!(stage.all(&bob), BOB);
        assert!(alice.enter().is_err());
        assert_eq!(PLACES.map(|(place, ..)| stage.reads(place)), NOBODY);
    }

    pub(super) fn what_runs_beside_gets_at_no_visitor() {
        let stage = Stage::open(1);
        let alice = stage.pag("alice");
        let of_alice = numbers(&alice);
        assert!(matches!(OpenAfs::prepare(1, None).map(drop), Err(Error::NoAfs(_))));
        assert!(matches!(Kafs::prepare(1, None).map(drop), Err(Error::NoAfs(_))));
        // In the anonymous PAG, and in a session of its own.
        let mut child = Beside::start("attacker");
        assert_eq!(child.ask(&format!("try {}", line(&of_alice))), "");
        child.end();
        let name = c"afsweb-test-session";
        let thread = std::thread::spawn(move || {
            keyctl(1, name.as_ptr() as i64, 0, 0, 0).unwrap();
            let mut child = Beside::start("attacker");
            let got = child.ask(&format!("try {}", line(&of_alice)));
            child.end();
            got
        });
        assert_eq!(thread.join().unwrap(), "");
        assert_eq!(stage.all(&alice), ALICE);
    }

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

    pub(super) fn four_hundred_threads() {
        let stage = &Stage::open(2);
        let (alice, bob) = (&stage.pag("alice"), &stage.pag("bob"));
        // Rights are in the cache then.
        assert_eq!((stage.all(alice), stage.all(bob)), (ALICE, BOB));
        let inside = &Barrier::new(400);
        let wrong = &AtomicUsize::new(0);
        std::thread::scope(|s| {
            for t in 0..400 {
                let body = move || {
                    let (pag, may) = if t % 2 == 0 { (alice, ALICE) } else { (bob, BOB) };
                    let scope = pag.enter().unwrap();
                    inside.wait();
                    // No panic here: all the others would wait for ever.
                    let seen = ["alice", "bob"].map(|place| {
                        loop {
                            match std::fs::read(stage.path(place)) {
                                // So many at once can be too much for a file server on a slow machine.
                                Err(e) if e.raw_os_error() == Some(libc::ETIMEDOUT) => {}
                                other => break other.is_ok(),
                            }
                        }
                    });
                    if seen != may[..2] {
                        wrong.fetch_add(1, Ordering::Relaxed);
                    }
                    inside.wait();
                    drop(scope);
                };
                std::thread::Builder::new().stack_size(128 * 1024).spawn_scoped(s, body).unwrap();
            }
        });
        assert_eq!(wrong.load(Ordering::Relaxed), 0);
    }

    /// As an administrator would, for kAFS.
    fn raise_quota() {
        std::fs::write("/proc/sys/kernel/keys/maxkeys", "20000").unwrap();
        std::fs::write("/proc/sys/kernel/keys/maxbytes", "10000000").unwrap();
    }

    pub(super) fn two_hundred_pags() {
        raise_quota();
        let start = Instant::now();
        let stage = Stage::open_as_root(200);
        let made = start.elapsed();
        drop_root();
        let start = Instant::now();
        let pags: Vec<_> = (0..200).map(|i| stage.pag(["alice", "bob"][i % 2])).collect();
        let set = start.elapsed();
        for (i, pag) in pags.iter().enumerate() {
            let scope = pag.enter().unwrap();
            assert_eq!([stage.reads("alice"), stage.reads("bob")], [i % 2 == 0, i % 2 == 1]);
            drop(scope);
        }
        let start = Instant::now();
        for _ in 0..5 {
            for (i, pag) in pags.iter().enumerate() {
                let scope = pag.enter().unwrap();
                assert!(stage.reads(["alice", "bob"][i % 2]));
                drop(scope);
            }
        }
        println!("200 PAGs: made in {made:?}, tokens in {set:?}, one visit {:?}", start.elapsed() / 1_000);
        println!("{}", std::fs::read_to_string("/proc/key-users").unwrap());
        drop(pags);
        let counters = stage.afs().counters();
        assert_eq!((counters.free, counters.tainted, counters.in_use), (200, 0, 0));
    }

    pub(super) fn an_expired_token_is_none() {
        let stage = Stage::open(2);
        let pag = stage.afs().new_pag().unwrap();
        pag.set_token(&stage.token_for("alice", 6)).unwrap();
        assert_eq!(stage.all(&pag), ALICE);
        std::thread::sleep(Duration::from_secs(8));
        println!("from the cache: {:?}", stage.all(&pag));
        stage.flush();
        assert_eq!(stage.all(&pag), NOBODY);
        // One that had expired before.
        let late = stage.afs().new_pag().unwrap();
        let set = late.set_token(&stage.token_at("alice", -3_900, 300));
        println!("setting an expired token: {set:?}");
        assert_eq!(stage.all(&late), NOBODY);
        // And a new one makes up for it.
        pag.set_token(&stage.token("alice")).unwrap();
        assert_eq!(stage.all(&pag), ALICE);
    }

    pub(super) fn a_pool_comes_to_its_end_and_gives_out_clean_ones_again() {
        let stage = Stage::open(2);
        let (alice, other) = (stage.pag("alice"), stage.pag("alice"));
        assert_eq!(stage.all(&alice), ALICE);
        assert_eq!(stage.afs().new_pag().map(drop), Err(Error::NoPagLeft));
        let number = alice.id();
        let ring = numbers(&alice)[0];
        drop(alice);
        assert!(stage.afs().enter(number).is_err());
        assert_eq!(PLACES.map(|(place, ..)| stage.reads(place)), NOBODY);
        let next = stage.afs().new_pag().unwrap();
        assert_ne!(next.id(), number);
        assert_eq!(numbers(&next)[0], ring);
        assert_eq!(stage.all(&next), NOBODY);
        next.set_token(&stage.token("bob")).unwrap();
        assert_eq!(stage.all(&next), BOB);
        // One in which something was run.
        stage.afs().mark_forkable(&other).unwrap();
        drop(other);
        assert_eq!(stage.afs().new_pag().map(drop), Err(Error::NoPagLeft));
        // One that ends while a thread is inside.
        let (here, gone) = (&Barrier::new(2), &Barrier::new(2));
        std::thread::scope(|s| {
            let inside = next.clone();
            let stage = &stage;
            s.spawn(move || {
                inside.enter().unwrap().stay();
                drop(inside);
                here.wait();
                gone.wait();
                assert!(!stage.reads("bob"));
                stage.afs().leave();
            });
            here.wait();
            drop(next);
            gone.wait();
        });
        let counters = stage.afs().counters();
        assert_eq!((counters.made, counters.free, counters.tainted, counters.in_use), (2, 0, 2, 0));
    }

    pub(super) fn a_token_is_renewed_while_threads_are_inside() {
        let stage = &Stage::open(2);
        let pag = &stage.afs().new_pag().unwrap();
        pag.set_token(&stage.token_for("alice", 8)).unwrap();
        let (end, rounds) = (&AtomicBool::new(false), &AtomicUsize::new(0));
        std::thread::scope(|s| {
            for t in 0..4 {
                s.spawn(move || {
                    let scope = (t < 2).then(|| pag.enter().unwrap());
                    while !end.load(Ordering::Relaxed) {
                        let own = scope.is_none().then(|| pag.enter().unwrap());
                        assert!(stage.reads("alice"));
                        assert!(!stage.reads("bob"));
                        drop(own);
                        rounds.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            for life_s in [30, 36_000] {
                std::thread::sleep(Duration::from_secs(2));
                pag.set_token(&stage.token_for("alice", life_s)).unwrap();
            }
            std::thread::sleep(Duration::from_secs(6));
            stage.flush();
            std::thread::sleep(Duration::from_secs(1));
            end.store(true, Ordering::Relaxed);
        });
        println!("{} rounds", rounds.load(Ordering::Relaxed));
        assert_eq!(stage.all(pag), ALICE);
    }

    pub(super) fn a_destroyed_pag_is_noticed() {
        let stage = Stage::open(2);
        let (alice, bob) = (stage.pag("alice"), stage.pag("bob"));
        let ring = numbers(&alice)[0];
        let mut other = Beside::start("attacker");
        assert_eq!(other.ask(&format!("destroy {ring}")), "invalidate:it");
        other.end();
        for _ in 0..3 {
            let entered = alice.enter().map(drop);
            assert!(matches!(entered, Err(Error::WrongPag | Error::Errno { .. })), "{entered:?}");
            assert_eq!(PLACES.map(|(place, ..)| stage.reads(place)), NOBODY);
            assert_eq!(stage.all(&bob), BOB);
            std::thread::sleep(Duration::from_millis(200));
        }
        drop(alice);
        assert_eq!(stage.all(&bob), BOB);
        println!("{:?}", stage.afs().counters());
    }

    pub(super) fn loses_the_anonymous_pag() {
        let stage = Stage::open(1);
        let alice = stage.pag("alice");
        let ring = numbers(stage.afs().anonymous())[0];
        let mut other = Beside::start("attacker");
        assert_eq!(other.ask(&format!("destroy {ring}")), "invalidate:it");
        other.end();
        let scope = alice.enter().unwrap();
        assert!(stage.reads("alice"));
        drop(scope);
        panic!("still there");
    }

    pub(super) fn tokens_come_back_as_they_were_set() {
        let stage = Stage::open(3);
        let get = |pag: &Pag| match &stage.client {
            Client::OpenAfs(c) => c.tokens(pag).map(|mut t| t.pop()),
            Client::Kafs(c) => match c.token(pag, &stage.cell()) {
                Err(Error::Errno { errno: libc::ENOKEY, .. }) => Ok(None),
                other => other.map(Some),
            },
        };
        for form in 0..2 {
            match &stage.client {
                Client::OpenAfs(c) if form == 1 => c.use_old_form(),
                Client::Kafs(c) if form == 1 => c.use_old_form(),
                _ => {}
            }
            assert_eq!(stage.all(&stage.pag("alice")), ALICE);
            for more in [0, 1, 2, 3, 500] {
                let pag = stage.afs().new_pag().unwrap();
                assert!(get(&pag).unwrap().is_none());
                let mut token = stage.token("alice");
                let len = token.ticket.len().max(56) + more;
                token.ticket.resize(len, 0);
                pag.set_token(&token).unwrap();
                let back = get(&pag).unwrap().unwrap();
                if form == 1 && kind() == ClientKind::Kafs {
                    // Which has no room for it.
                    token.begin = back.begin;
                }
                assert_eq!(
                    (&back.ticket, back.kvno, back.key.0, back.begin, back.end, &back.cell),
                    (&token.ticket, token.kvno, token.key.0, token.begin, token.end, &token.cell),
                );
                match &stage.client {
                    Client::OpenAfs(c) => c.drop_tokens(&pag).unwrap(),
                    Client::Kafs(c) => c.drop_tokens(&pag).unwrap(),
                }
                assert!(get(&pag).unwrap().is_none());
            }
        }
        assert!(get(stage.afs().anonymous()).unwrap().is_none());
    }

    pub(super) fn questions_about_paths() {
        let stage = Stage::open(1);
        assert_eq!(pag::detect::serving("/afs".as_ref()), Ok(Some(kind())));
        assert_eq!(pag::detect::serving(stage.dir.as_ref()), Ok(Some(kind())));
        assert_eq!(pag::detect::serving("/".as_ref()), Ok(None));
        assert!(pag::detect::loaded(kind()));
        println!("{}", pag::detect::missing("/mnt".as_ref()));
        assert_eq!(stage.afs().cell_of(stage.dir.as_bytes()).unwrap(), stage.cell());
        let outside = stage.afs().cell_of(b"/etc/passwd").unwrap_err().errno();
        assert!([Some(libc::EINVAL), Some(libc::EOPNOTSUPP)].contains(&outside), "{outside:?}");
        println!("cell of the dynamic root: {:?}", stage.afs().cell_of(b"/afs"));
        let Client::OpenAfs(c) = &stage.client else { return };
        assert_eq!(c.own_cell().unwrap(), stage.cell());
        let alice = stage.pag("alice");
        let own = format!("{}/alice", stage.dir);
        let has = |rights| c.access(own.as_bytes(), rights).map_err(|e| e.errno().unwrap());
        assert_eq!(has(Rights::READ), Err(libc::EACCES));
        let scope = alice.enter().unwrap();
        assert_eq!(has(Rights::READ), Ok(()));
        assert_eq!(has(Rights::WRITE), Err(libc::EACCES));
        drop(scope);
        let scope = c.anonymous().enter().unwrap();
        assert_eq!(has(Rights::READ), Err(libc::EACCES));
        drop(scope);
    }

    pub(super) fn the_quota_of_keys_is_an_error_of_its_own() {
        if kind() == ClientKind::OpenAfs {
            return;
        }
        let used = |what: &str| {
            let users = std::fs::read_to_string("/proc/key-users").unwrap();
            println!("{what}: {:?}", users.lines().find(|l| l.trim_start().starts_with("33:")));
        };
        let stage = Stage::open_as_root(600);
        used("before");
        std::fs::write("/proc/sys/kernel/keys/maxkeys", "500").unwrap();
        drop_root();
        let mut pags = Vec::new();
        let error = loop {
            let pag = stage.afs().new_pag().unwrap();
            match pag.set_token(&stage.token("alice")) {
                Ok(()) => pags.push(pag),
                Err(e) => break e,
            }
            assert!(pags.len() < 600);
        };
        println!("{} tokens, then {error}", pags.len());
        used("full");
        assert_eq!(error, Error::Quota);
        assert_eq!(stage.all(&pags[0]), ALICE);
        drop(pags);
        std::thread::sleep(Duration::from_secs(1));
        used("after");
    }

    /// Rounds of the table, each row once in each, so that all of them see the same machine.
    const ROUNDS: usize = 15;
    /// PAGs that a child makes, for a row of the table.
    const MADE: u32 = 64;

    /// Prints what things cost, as multiples of an open, read and close by a thread that stays in its PAG.
    pub(super) fn what_hopping_costs() {
        raise_quota();
        let made = Instant::now();
        let stage = &Stage::open(usize::try_from(MADE).unwrap());
        let making = made.elapsed().as_secs_f64() / f64::from(MADE);
        let (alice, bob) = (&stage.pag("alice"), &stage.pag("bob"));
        let tokens = [stage.token("alice"), stage.token("bob")];
        let swapped = &stage.afs().new_pag().unwrap();
        let own = [stage.path("alice"), stage.path("bob")];
        let public = stage.path("public");
        let read = |path: &str| {
            let mut buf = [0; 64];
            let file = std::fs::File::open(path).unwrap();
            assert!((&file).read(&mut buf).unwrap() > 0);
        };
        let as_visitor = |pag: &Pag, path: &str| {
            let scope = pag.enter().unwrap();
            stage.afs().verify(pag).unwrap();
            read(path);
            drop(scope);
        };
        let rows: Vec<Step<'_>> = vec![
            ("enters and leaves", 200, Box::new(|i| drop([alice, bob][i % 2].enter().unwrap()))),
            ("is asked where it is", 200, Box::new(|_| stage.afs().verify(stage.afs().anonymous()).unwrap())),
            (
                "same visitor: enter, ask, open, read, close, leave",
                200,
                Box::new(|_| as_visitor(alice, &public)),
            ),
            (
                "switch of visitor: enter, ask, open, read, close, leave",
                200,
                Box::new(|i| as_visitor([alice, bob][i % 2], &public)),
            ),
            (
                "switch of visitor, each to his own file",
                200,
                Box::new(|i| as_visitor([alice, bob][i % 2], &own[i % 2])),
            ),
            (
                "for comparison, by swapping the token of one PAG",
                4,
                Box::new(|i| {
                    swapped.set_token(&tokens[i % 2]).unwrap();
                    as_visitor(swapped, &own[i % 2]);
                }),
            ),
            (
                "first access after a login: take a PAG, set the token, open, read, close",
                4,
                Box::new(|i| {
                    let pag = stage.afs().new_pag().unwrap();
                    pag.set_token(&tokens[i % 2]).unwrap();
                    as_visitor(&pag, &own[i % 2]);
                }),
            ),
        ];
        let table = measure(rows, &mut || {
            let scope = alice.enter().unwrap();
            let per = time(200, &mut |_| read(&public));
            drop(scope);
            per
        });
        let base = table.base;
        println!(
            "cost as multiples of open, read, close of a cached file in the thread's own PAG ({:.1} us):",
            base * 1e6
        );
        for (what, ratio) in &table.rows {
            println!("  {ratio:8.2}  {what}");
        }
        println!("  {:8.2}  a child makes a PAG at its start ({MADE} of them)", making / base);
        // PAGs of a parent, used by its child: what each child would save, and what it would have in reach.
        let status = in_a_child(|| {
            let rows: Vec<Step<'_>> = vec![("", 200, Box::new(|i| as_visitor([alice, bob][i % 2], &public)))];
            let table = measure(rows, &mut || {
                let scope = alice.enter().unwrap();
                let per = time(200, &mut |_| read(&public));
                drop(scope);
                per
            });
            println!(
                "  {:8.2}  switch of visitor, with PAGs that the parent process has made",
                table.rows[0].1
            );
        });
        assert_eq!(status, 0);
        let switch = table.rows[3].1;
        let verdict = if switch <= 2.0 { "met" } else { "MISSED" };
        println!("  goal: a switch of visitor <= 2 x staying: {switch:.2}, {verdict}");
    }

    /// What a row measures, how often in a round, and how.
    type Step<'a> = (&'static str, usize, Box<dyn FnMut(usize) + 'a>);

    struct Costs {
        /// Seconds of what all is compared with.
        base: f64,
        /// What, and how often that.
        rows: Vec<(String, f64)>,
    }

    /// Seconds for one `f`.
    fn time(n: usize, f: &mut dyn FnMut(usize)) -> f64 {
        let start = Instant::now();
        (0..n).for_each(f);
        start.elapsed().as_secs_f64() / f64::from(u32::try_from(n).unwrap())
    }

    /// Medians over the rounds, of each row's ratio to what came just before it.
    fn measure(mut rows: Vec<Step<'_>>, base: &mut dyn FnMut() -> f64) -> Costs {
        let mut ratios: Vec<Vec<f64>> = rows.iter().map(|_| Vec::new()).collect();
        let mut bases = Vec::new();
        for _ in 0..ROUNDS {
            for ((_, n, f), ratios) in rows.iter_mut().zip(&mut ratios) {
                let plain = base();
                bases.push(plain);
                ratios.push(time(*n, f) / plain);
            }
        }
        let median = |v: &mut Vec<f64>| {
            v.sort_by(f64::total_cmp);
            v[v.len() / 2]
        };
        let rows =
            rows.iter().zip(&mut ratios).map(|((what, ..), r)| ((*what).to_owned(), median(r))).collect();
        Costs { base: median(&mut bases), rows }
    }

    /// Runs `f` in a child of this process, as httpd makes its children; gives its exit code.
    fn in_a_child(f: impl FnOnce()) -> i32 {
        std::io::stdout().flush().unwrap();
        // SAFETY: the child has this thread only; it uses nothing that another thread could have locked, and ends by _exit.
        match unsafe { libc::fork() } {
            0 => {
                let fine = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_ok();
                let _ = std::io::stdout().flush();
                // SAFETY: ends this process.
                unsafe { libc::_exit(i32::from(!fine)) }
            }
            pid => {
                let pid = nix::unistd::Pid::from_raw(pid);
                match nix::sys::wait::waitpid(pid, None).unwrap() {
                    nix::sys::wait::WaitStatus::Exited(_, code) => code,
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}
