//! A crowd of logged-in visitors who ask all the time, while something is done to the server.

use super::load::{End, Faults};
use super::{answer_limit, first, kaserver, start_with};
use integration::content::owner_line;
use integration::crowd::Person;
use integration::footprint;
use integration::http::{self, Connection, Request, Response};
use integration::httpd::{Httpd, Mpm};
use integration::process;
use integration::wait;
use integration::world::{FIRST_CELL, World};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Says of each answer who it was for.
pub(crate) const WHO: &str = "Header always set X-Visitor %{AFS_USER}e\n";
/// Everybody who is logged in may read it.
pub(crate) const PAGE: &str = "auth/page.html";

/// Where visitors may write; mod_dav has to be there.
pub(crate) fn writable() -> String {
    format!("<Location {}>\nDav afs\n</Location>\n", first("write/anybody"))
}

/// Where one of the crowd writes. In one directory for all, each file that is made would have the file server tell each child
/// of prefork's, and whoever asks would wait for that.
pub(crate) fn own(who: &Person) -> String {
    first(&format!("write/anybody/of-{}", who.name))
}

/// As many workers as a crowd takes, in small children.
pub(crate) fn many_workers(mpm: Mpm) -> String {
    match mpm {
        Mpm::Prefork => "StartServers 48\nMinSpareServers 8\nMaxSpareServers 96\nServerLimit 96\nMaxRequestWorkers 96\n",
        _ => "StartServers 4\nServerLimit 24\nThreadsPerChild 16\nThreadLimit 16\nMinSpareThreads 32\nMaxSpareThreads 192\nMaxRequestWorkers 192\n",
    }
    .to_owned()
}

pub(crate) fn start_wide(world: &World, more: &str) -> Httpd {
    start_with(world, &format!("{WHO}{more}"), |mut o| {
        o.modules.push("dav".into());
        o.sizes = Some(many_workers(o.mpm));
        o
    })
}

/// How often the cell's kaserver has been asked to authenticate anybody since the last reset.
pub(crate) fn logins(world: &World) -> u64 {
    let stats: serde_json::Value = serde_json::from_str(&kaserver(world, FIRST_CELL, "stats")).unwrap();
    stats["authenticate"].as_u64().unwrap()
}

/// Descriptors that a process has.
pub(crate) fn descriptors(pid: u32) -> u64 {
    footprint::of(pid).unwrap().descriptors
}

/// The processes of ours and of httpd's that there are, whoever their parent is.
pub(crate) fn all_processes() -> BTreeSet<u32> {
    ["apache2", "weblog", "weblog-starter", "weblog-login"].iter().flat_map(|n| process::named(n)).collect()
}

/// An answer that takes longer is counted, and no fault.
pub(crate) const SLOW: Duration = Duration::from_secs(3);

/// What came of a load.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) right: AtomicU32,
    /// Of them, that a file was stored.
    pub(crate) stored: AtomicU32,
    /// Connections that had been kept from an earlier answer, and were closed: httpd may do that at any time.
    pub(crate) kept_closed: AtomicU32,
    /// Answers that took longer than [`SLOW`].
    pub(crate) slow: AtomicU32,
    pub(crate) slowest_ms: AtomicU32,
    pub(crate) faults: Faults,
}

/// What a visitor asks for.
enum Wish {
    /// [`PAGE`].
    Page,
    /// That this is stored in his own file.
    Store(String),
    /// His own file, in which this is.
    Own(String),
}

impl Wish {
    fn request(&self, own: &str) -> Request {
        match self {
            Self::Page => Request::get(&first(PAGE)),
            Self::Store(text) => Request::new("PUT", own).body(text.as_bytes()),
            Self::Own(_) => Request::get(own),
        }
    }

    /// Whether this is what has to come.
    fn is_served_by(&self, r: &Response) -> bool {
        match self {
            Self::Page => r.status == 200,
            Self::Store(_) => [201, 204].contains(&r.status),
            Self::Own(text) => r.status == 200 && r.body == text.as_bytes(),
        }
    }
}

/// A logged-in visitor who asks again and again.
struct Visitor<'a> {
    httpd: std::net::SocketAddr,
    /// Every fourth one keeps his connection.
    keeps: bool,
    who: &'a Person,
    /// Whether he stores something now and then.
    writes: bool,
    /// How often he was served.
    served: &'a AtomicU32,
    tally: &'a Tally,
}

impl Visitor<'_> {
    fn visit(&self, seed: u64, stop: &AtomicBool) {
        let own = format!("{}/visit", own(self.who));
        let mut kept: Option<Connection> = None;
        // What is in his own file, when that is known.
        let mut stored: Option<String> = None;
        let mut turn = seed;
        while !stop.load(Ordering::Relaxed) {
            let wish = match ((turn >> 40) % 16, &stored) {
                (0, _) if self.writes => {
                    Wish::Store(format!("{}{turn}\n", owner_line(&self.who.name, FIRST_CELL)))
                }
                (1..=4, Some(text)) => Wish::Own(text.clone()),
                _ => Wish::Page,
            };
            // Whether it was stored is not known where there is no answer.
            if matches!(wish, Wish::Store(_)) {
                stored = None;
            }
            kept = self.ask(&wish, &own, kept, &mut stored);
            turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            std::thread::sleep(Duration::from_millis(100 + (turn >> 33) % 200) * wait::slow_factor());
        }
    }

    /// Asks, and gives the connection back if it is kept.
    fn ask(
        &self,
        wish: &Wish,
        own: &str,
        kept: Option<Connection>,
        stored: &mut Option<String>,
    ) -> Option<Connection> {
        let (who, tally) = (&self.who.name, self.tally);
        let mut request = wish.request(own).login(who, &self.who.password);
        if !self.keeps {
            request = request.header("Connection", "close");
        }
        let was_kept = kept.is_some();
        let begin = Instant::now();
        let opened = kept.map_or_else(|| Connection::open_within(self.httpd, answer_limit()), Ok);
        let answer = opened.and_then(|mut c| Ok((c.send(&request)?, c)));
        let took = begin.elapsed();
        tally.slow.fetch_add(u32::from(took > SLOW), Ordering::Relaxed);
        tally.slowest_ms.fetch_max(u32::try_from(took.as_millis()).unwrap(), Ordering::Relaxed);
        match answer {
            Ok((r, c)) => {
                if wish.is_served_by(&r) && r.header("X-Visitor") == Some(who.as_str()) && r.complete {
                    tally.right.fetch_add(1, Ordering::Relaxed);
                    self.served.fetch_add(1, Ordering::Relaxed);
                    if let Wish::Store(text) = wish {
                        tally.stored.fetch_add(1, Ordering::Relaxed);
                        *stored = Some(text.clone());
                    }
                } else {
                    let (visitor, came) = (r.header("X-Visitor"), super::first_line(&r));
                    tally.faults.add(format!("{who}: {} for {visitor:?}, {came:?}: {request:?}", r.status));
                }
                return (self.keeps && r.header("Connection") != Some("close")).then_some(c);
            }
            Err(e) if was_kept && http::is_closed(&e) => {
                tally.kept_closed.fetch_add(1, Ordering::Relaxed);
            }
            Err(e) => tally.faults.add(format!("{who}: a new connection: {e:#}")),
        }
        None
    }
}

/// Visits that go on.
pub(crate) struct Load<'a> {
    served: &'a [AtomicU32],
    pub(crate) tally: &'a Tally,
}

impl Load<'_> {
    /// Waits until each visitor has asked and been served once more.
    pub(crate) fn all_served(&self) {
        let count = || self.served.iter().map(|n| n.load(Ordering::Relaxed)).collect::<Vec<_>>();
        let before = count();
        wait::until_true("an answer for each visitor", Duration::from_secs(60), || {
            self.tally.faults.must_be_none();
            // One may have been under way already.
            Ok(count().iter().zip(&before).all(|(now, before)| *now > before + 1))
        })
        .unwrap();
    }
}

/// Has a crowd visit all the time while `f` does something.
pub(crate) fn under_load(
    httpd: &mut Httpd,
    people: &[Person],
    f: impl FnOnce(&mut Httpd, &Load<'_>),
) -> Tally {
    load(httpd, people, false, f)
}

/// The same with a crowd that stores files as well, where [`writable`] says.
pub(crate) fn under_writing_load(
    httpd: &mut Httpd,
    people: &[Person],
    f: impl FnOnce(&mut Httpd, &Load<'_>),
) -> Tally {
    let tally = load(httpd, people, true, f);
    assert!(tally.stored.load(Ordering::Relaxed) > 0, "nobody stored anything");
    tally
}

fn load(httpd: &mut Httpd, people: &[Person], writes: bool, f: impl FnOnce(&mut Httpd, &Load<'_>)) -> Tally {
    let (stop, tally) = (AtomicBool::new(false), Tally::default());
    let served: Vec<AtomicU32> = people.iter().map(|_| AtomicU32::new(0)).collect();
    let address = httpd.address();
    for who in people.iter().filter(|_| writes) {
        let made = Request::new("MKCOL", &own(who)).login(&who.name, &who.password);
        let status = integration::http::request(address, &made).unwrap().status;
        assert!([201, 405].contains(&status), "a directory for {}: {status}", who.name);
    }
    std::thread::scope(|s| {
        let end = End(&stop);
        for (n, (who, served)) in people.iter().zip(&served).enumerate() {
            let (stop, tally) = (&stop, &tally);
            let visitor = Visitor { httpd: address, keeps: n.is_multiple_of(4), who, writes, served, tally };
            s.spawn(move || visitor.visit(u64::try_from(n).unwrap(), stop));
        }
        f(httpd, &Load { served: &served, tally: &tally });
        drop(end);
    });
    tally.faults.must_be_none();
    tally
}
