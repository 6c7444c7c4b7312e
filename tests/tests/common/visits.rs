//! A crowd of logged-in visitors who ask all the time, while something is done to the server.

use super::load::{End, Faults};
use super::{answer_limit, first, kaserver, start_with};
use integration::crowd::Person;
use integration::footprint;
use integration::http::{Connection, Request};
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

/// What came of a load.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) right: AtomicU32,
    /// Connections that had been kept from an earlier answer, and were closed: httpd may do that at any time.
    pub(crate) kept_closed: AtomicU32,
    pub(crate) slowest_ms: AtomicU32,
    pub(crate) faults: Faults,
}

/// A logged-in visitor who asks again and again; every fourth one keeps his connection.
fn visit(
    httpd: std::net::SocketAddr,
    n: usize,
    who: &Person,
    served: &AtomicU32,
    stop: &AtomicBool,
    tally: &Tally,
) {
    let keeps = n.is_multiple_of(4);
    let mut request = Request::get(&first(PAGE)).login(&who.name, &who.password);
    if !keeps {
        request = request.header("Connection", "close");
    }
    let mut kept: Option<Connection> = None;
    let mut turn = u64::try_from(n).unwrap();
    while !stop.load(Ordering::Relaxed) {
        let was_kept = kept.is_some();
        let begin = Instant::now();
        let opened = kept.take().map_or_else(|| Connection::open_within(httpd, answer_limit()), Ok);
        let answer = opened.and_then(|mut c| Ok((c.send(&request)?, c)));
        let took = begin.elapsed();
        tally.slowest_ms.fetch_max(u32::try_from(took.as_millis()).unwrap(), Ordering::Relaxed);
        match answer {
            Ok((r, c)) => {
                if (r.status, r.header("X-Visitor")) == (200, Some(who.name.as_str())) && r.complete {
                    tally.right.fetch_add(1, Ordering::Relaxed);
                    served.fetch_add(1, Ordering::Relaxed);
                } else {
                    tally.faults.add(format!("{}: {} for {:?}", who.name, r.status, r.header("X-Visitor")));
                }
                if keeps && r.header("Connection") != Some("close") {
                    kept = Some(c);
                }
            }
            Err(_) if was_kept => {
                tally.kept_closed.fetch_add(1, Ordering::Relaxed);
            }
            Err(e) => tally.faults.add(format!("{}: a new connection: {e:#}", who.name)),
        }
        turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis(100 + (turn >> 33) % 200) * wait::slow_factor());
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
    let (stop, tally) = (AtomicBool::new(false), Tally::default());
    let served: Vec<AtomicU32> = people.iter().map(|_| AtomicU32::new(0)).collect();
    let address = httpd.address();
    std::thread::scope(|s| {
        let end = End(&stop);
        for (n, (who, served)) in people.iter().zip(&served).enumerate() {
            let (stop, tally) = (&stop, &tally);
            s.spawn(move || visit(address, n, who, served, stop, tally));
        }
        f(httpd, &Load { served: &served, tally: &tally });
        drop(end);
    });
    tally.faults.must_be_none();
    tally
}
