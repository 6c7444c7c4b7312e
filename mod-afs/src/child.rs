//! What a child has: its AFS client, its logins, its lanes. Made once, after the fork; nothing of it is in the parent.
//!
//! A child whose client or lanes do not work lives on and answers 503 to what is in AFS.

use crate::access_log::{self, Logs};
use crate::broker::{Ask, Logins, NoVisitor};
use crate::client;
use crate::config::ServerConfig;
use crate::content::{Afs, Client};
use crate::dav::leftovers;
use crate::farewell;
use crate::httpd::{Server, mpm};
use crate::message;
use crate::nanny::{self, Inherited};
use crate::standing::Standing;
use crate::tally::Tally;
use crate::waiting::{Directory, Wait, Waiting};
use core::time::Duration;
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use pag::userspace::{Cache, Config};
use pag::{AfsClient, ClientKind, Home, Userspace};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use std::fs::File;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use weblog_fds::BoardReader;
use weblog_proto::{Failure, Lanes, Reply, Request};

/// Smallest memory cache of a child, KiB.
const MEMORY_MIN_KIB: u64 = 4_096;
/// Smallest disk cache of a child, KiB.
const DISK_MIN_KIB: u64 = 8_192;
/// Longest wait for a lane and the broker's answer on it. It answers within a tenth of a second, but may have to be
/// started again first.
const BROKER_AWAY: Duration = Duration::from_secs(5);
/// An idle child keeps a login that has ended for so long at most.
const SWEEP: Duration = Duration::from_secs(10);
/// Largest cache of a child, KiB.
const CACHE_MAX_KIB: u64 = 16_777_216;

/// This child, once it has started.
static CHILD: OnceLock<Child> = OnceLock::new();

/// What a child has.
#[derive(Debug)]
pub struct Child {
    /// Its AFS client.
    pub afs: Option<Afs>,
    /// Its logins; `None` if it has no client to give tokens to, or no lanes.
    pub logins: Option<Logins>,
    /// Lanes and board.
    pub broker: Option<Arc<Broker>>,
    /// Where refused accesses are written.
    pub logs: Logs,
    /// What it counts.
    pub tally: Option<Tally>,
    /// Keeps this child's part of a disk cache for this child.
    _cache_lock: Option<File>,
}

/// The child; `None` in the parent and where the module is not used.
#[must_use]
pub fn child() -> Option<&'static Child> {
    CHILD.get()
}

/// Lanes and board, as the child's logins ask them.
#[derive(Debug)]
pub struct Broker {
    /// The lanes.
    lanes: Lanes,
    /// The board.
    board: BoardReader,
    /// Who waits for what.
    waiting: Option<Waiting>,
}

impl Broker {
    /// What the broker shows everybody.
    #[must_use]
    pub fn board(&self) -> BoardReader {
        self.board
    }

    /// How many workers of all children seem to wait for something that does not come.
    #[must_use]
    pub fn workers_that_wait(&self) -> usize {
        self.waiting.map_or(0, |waiting| waiting.workers())
    }
}

impl Ask for Arc<Broker> {
    fn exchange(&self, request: &Request, deadline: Instant) -> Result<Reply, NoVisitor> {
        let broker = Directory::of_broker();
        if self.waiting.is_some_and(|waiting| waiting.is_full(broker)) {
            return Err(NoVisitor::Away("too many workers wait for it already".to_owned()));
        }
        let _wait = self.waiting.map(|waiting| waiting.begin(broker));
        // A broker answers in a moment; one that is not there has so long to come.
        let deadline = deadline.min(Instant::now() + BROKER_AWAY);
        self.lanes.exchange(request, deadline).map_err(|e| NoVisitor::Away(e.to_string()))
    }

    fn epoch(&self) -> u64 {
        self.board.epoch()
    }

    fn begin(&self, home: &Home) -> Result<Option<Wait>, NoVisitor> {
        let Some(waiting) = self.waiting else { return Ok(None) };
        let home = Directory::of_logins(home.as_str());
        if waiting.is_full(home) {
            return Err(NoVisitor::Broker(Failure::Overload));
        }
        Ok(Some(waiting.begin(home)))
    }
}

/// Starts what a child needs; once per child, before its threads start.
pub fn start(main: Server<'_>) {
    let Some(inherited) = nanny::inherit(main) else { return };
    if !mpm::wants_cores()
        && let Err(e) = become_undumpable()
    {
        main.log(
            message::STAYS_DUMPABLE,
            &format!("this child can serve nothing in AFS: it stays dumpable: {e}"),
        );
        return;
    }
    let Inherited { lanes, board, waiting, stores, client_conf, object } = inherited;
    let config = main.config();
    let children = mpm::children();
    let waiting = waiting.map(|table| Waiting::new(table, children.saturating_mul(mpm::threads_per_child())));
    let mut cache_lock = None;
    let started = match client::chosen() {
        ClientKind::Userspace => {
            let installed = config.client_object();
            let object = object.as_ref().map_or(installed.as_path(), |(name, _)| name);
            start_userspace(config, object, &client_conf, children, &mut cache_lock).map(|client| {
                if let Err(e) = farewell::prepare(Arc::clone(&client)) {
                    main.log(
                        message::NO_FAREWELL,
                        &format!("file servers will not hear of this child's end: {e}"),
                    );
                }
                let tokens: Arc<dyn AfsClient> = Arc::clone(&client) as Arc<dyn AfsClient>;
                (Client::Userspace(client), tokens)
            })
        }
        ClientKind::OpenAfs | ClientKind::Kafs => client::start().map(|client| {
            let tokens: Arc<dyn AfsClient> = Arc::clone(&client) as Arc<dyn AfsClient>;
            (Client::Kernel(Standing::new(client)), tokens)
        }),
    };
    let client = match started {
        Ok(client) => Some(client),
        Err(e) => {
            main.log(message::CLIENT_NOT_STARTED, &format!("this child can serve nothing in AFS: {e}"));
            None
        }
    };
    let kernel = client::chosen() != ClientKind::Userspace;
    let tally = Tally::begin(main, kernel.then(|| config.pags(mpm::threads_per_child())));
    if let (Some((_, tokens)), Some(cells)) = (&client, tally.and_then(|tally| tally.pag_cells())) {
        tokens.show_pags(cells);
    }
    let broker = match (lanes, board) {
        (Ok(lanes), Ok(board)) => Some(Arc::new(Broker { lanes, board, waiting })),
        (Err(e), _) | (_, Err(e)) => {
            main.log(message::NO_LANES, &format!("nobody can log in through this child: {e}"));
            None
        }
    };
    let logins = client.as_ref().zip(broker.as_ref()).and_then(|((_, tokens), broker)| {
        Logins::new(Box::new(Arc::clone(broker)), Arc::clone(tokens))
            .map(|logins| logins.shown_in(tally.and_then(|tally| tally.login_cells())))
            .inspect_err(|e| {
                main.log(message::NO_LANES, &format!("nobody can log in through this child: {e}"))
            })
            .ok()
    });
    let files = match &client {
        Some((Client::Userspace(files), _)) => tally.zip(Some(Arc::clone(files))),
        _ => None,
    };
    let afs = client.map(|(client, _)| Afs::new(client, config.mount_dir().to_owned(), waiting, stores));
    let logs = access_log::take();
    let _ = CHILD.set(Child { afs, logins, broker, logs, tally, _cache_lock: cache_lock });
    if let Some(logins) = child().and_then(|child| child.logins.as_ref())
        && let Err(e) = keep_swept(logins, files)
    {
        main.log(message::NOT_SWEPT, &format!("tokens stay in an idle child longer than they should: {e}"));
    }
}

/// No core of a child, which holds visitors' passwords and tokens, and nobody else of its uid may look into it.
///
/// It has changed its uid, but what that means is for the host's `fs.suid_dumpable` to say.
///
/// # Errors
/// prctl's.
fn become_undumpable() -> rustix::io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

/// Has ended logins dropped now and then. Requests do so too, but an idle child gets none, and would keep tokens.
/// What waits for servers has a thread of its own, so that no server keeps a revoked token here.
///
/// `files`: the client whose cache is looked at meanwhile, and where its size is shown.
///
/// # Errors
/// The system's, if there can be no thread.
fn keep_swept(logins: &'static Logins, files: Option<(Tally, Arc<Userspace>)>) -> std::io::Result<()> {
    now_and_then("afs-sweep", move || {
        if let Some((tally, client)) = &files {
            tally.look_at_cache(client);
        }
        logins.sweep();
        leftovers::drop_revoked();
    })?;
    now_and_then("afs-leftovers", leftovers::sweep)
}

/// Does something every [`SWEEP`], in a thread of its own.
///
/// # Errors
/// The system's, if there can be no thread.
fn now_and_then(name: &str, f: impl Fn() + Send + 'static) -> std::io::Result<()> {
    // It must take none of the signals that httpd sends its child.
    let mut before = SigSet::empty();
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        loop {
            f();
            std::thread::sleep(SWEEP);
        }
    });
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    started.map(drop)
}

/// Starts the user-space client with this child's share of the cache.
///
/// # Errors
/// What is missing, in words.
fn start_userspace(
    config: &ServerConfig,
    object: &Path,
    client_conf: &Path,
    children: usize,
    cache_lock: &mut Option<File>,
) -> Result<Arc<Userspace>, String> {
    let share = share_kib(config.cache_size(), children);
    let cache = match config.cache_dir() {
        None => Cache::Memory { kib: bounded(share, MEMORY_MIN_KIB) },
        Some(dir) => {
            let (dir, lock) = own_cache_dir(dir, children)?;
            *cache_lock = Some(lock);
            Cache::Disk { dir, kib: bounded(share, DISK_MIN_KIB) }
        }
    };
    let client = Config {
        mount_dir: config.mount_dir().into(),
        cache,
        dead_time: Duration::from_secs(config.file_deadline_s().into()),
        ports: config.ports(),
        ..Config::new(object, client_conf)
    };
    Userspace::start(&client).map_err(|e| e.to_string())
}

/// A child's share of `bytes`, KiB.
fn share_kib(bytes: u64, children: usize) -> u64 {
    let children = u64::try_from(children).unwrap_or(u64::MAX).max(1);
    bytes / 1024 / children
}

/// `kib` within what the client takes.
fn bounded(kib: u64, least: u64) -> u32 {
    u32::try_from(kib.clamp(least, CACHE_MAX_KIB)).unwrap_or(u32::MAX)
}

/// A directory below `dir` that no living child uses, and the lock that keeps it.
///
/// Directories are used again, with what is cached there, by children that come later.
///
/// # Errors
/// What is wrong with the directory, in words.
fn own_cache_dir(dir: &Path, children: usize) -> Result<(PathBuf, File), String> {
    // Children of two generations live side by side after a graceful restart.
    for n in 0..children.saturating_mul(2).saturating_add(8) {
        let own = dir.join(format!("child-{n}"));
        match std::fs::DirBuilder::new().mode(0o700).create(&own) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(format!("{}: {e}", own.display()));
            }
            _ => {}
        }
        let lock = File::create(own.with_extension("lock")).map_err(|e| format!("{}: {e}", own.display()))?;
        if rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Ok((own, lock));
        }
    }
    Err(format!("all directories below {} are in use", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_becomes_undumpable_whatever_it_was() {
        let dumpable = || rustix::process::dumpable_behavior().unwrap();
        set_dumpable_behavior(DumpableBehavior::Dumpable).unwrap();
        assert_eq!(dumpable(), DumpableBehavior::Dumpable);
        become_undumpable().unwrap();
        let after = dumpable();
        set_dumpable_behavior(DumpableBehavior::Dumpable).unwrap();
        assert_eq!(after, DumpableBehavior::NotDumpable);
    }

    #[test]
    fn the_cache_is_shared_out_and_never_too_small_for_the_client() {
        assert_eq!(share_kib(256 << 20, 16), 16_384);
        assert_eq!(share_kib(256 << 20, 0), 262_144);
        assert_eq!(bounded(share_kib(1 << 20, 100), MEMORY_MIN_KIB), 4_096);
        assert_eq!(bounded(u64::MAX, DISK_MIN_KIB), 16_777_216);
    }

    #[test]
    fn each_child_has_a_cache_directory_of_its_own_and_a_later_one_takes_it_up() {
        let dir = std::env::temp_dir().join(format!("afsweb-cache-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let (first, first_lock) = own_cache_dir(&dir, 1).unwrap();
        let (second, _second_lock) = own_cache_dir(&dir, 1).unwrap();
        assert_ne!(first, second);
        drop(first_lock);
        assert_eq!(own_cache_dir(&dir, 1).unwrap().0, first);
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(own_cache_dir(&dir, 1).is_err());
    }
}
