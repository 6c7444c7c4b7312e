//! What a scene has: the client with its PAGs, tokens, and places to read.

use crate::outside::kind;
use crate::processes::DIR;
use pag::{Cell, ClientKind, Kafs, KernelClient, OpenAfs, Pag, SessionKey, Token};
use serde_json::Value;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// www-data
pub(crate) const UID: u32 = 33;
/// Who has a directory with a file in it, and who may read there.
pub(crate) const PLACES: [(&str, &[&str], &[&str]); 5] = [
    ("alice", &["alice", "rl"], &[]),
    ("bob", &["bob", "rl"], &[]),
    ("group", &["alice:friends", "rl"], &[]),
    ("negative", &["system:authuser", "rl"], &["bob", "rl"]),
    ("public", &["system:anyuser", "rl"], &[]),
];

/// A client, as the scenes use it.
pub(crate) enum Client {
    /// OpenAFS.
    OpenAfs(Arc<OpenAfs>),
    /// kAFS.
    Kafs(Arc<Kafs>),
}

/// What a scene has.
pub(crate) struct Stage {
    pub(crate) about: Value,
    pub(crate) client: Client,
    pub(crate) dir: String,
}

impl Stage {
    /// PAGs are made as root; then the process becomes www-data.
    pub(crate) fn open(pags: usize) -> Self {
        let stage = Self::open_as_root(pags);
        drop_root();
        stage
    }

    pub(crate) fn open_as_root(pags: usize) -> Self {
        let at = std::env::var("AFSWEB_WORLD").unwrap_or_else(|_| "/run/afsweb-world.json".to_owned());
        let about: Value = serde_json::from_str(&std::fs::read_to_string(at).unwrap()).unwrap();
        let client = match kind() {
            ClientKind::Kafs => Client::Kafs(Kafs::prepare(pags, Some(UID)).unwrap()),
            _ => Client::OpenAfs(OpenAfs::prepare(pags, Some(UID)).unwrap()),
        };
        Self { about, client, dir: std::env::var(DIR).unwrap_or_default() }
    }

    pub(crate) fn afs(&self) -> Arc<dyn KernelClient> {
        match &self.client {
            Client::OpenAfs(c) => c.clone(),
            Client::Kafs(c) => c.clone(),
        }
    }

    pub(crate) fn cell(&self) -> Cell {
        Cell::new(self.about["cells"][0]["name"].as_str().unwrap()).unwrap()
    }

    /// A token that the cell's key makes, from `begin` seconds from now on, for `life` seconds.
    pub(crate) fn token_at(&self, user: &str, begin: i64, life: u32) -> Token {
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
    pub(crate) fn token_for(&self, user: &str, life_s: u32) -> Token {
        // Tickets last for multiples of five minutes.
        let whole = life_s.max(300).next_multiple_of(300);
        self.token_at(user, i64::from(life_s) - i64::from(whole), whole)
    }

    pub(crate) fn token(&self, user: &str) -> Token {
        self.token_for(user, 36_000)
    }

    pub(crate) fn pag(&self, user: &str) -> Pag {
        let pag = self.afs().new_pag().unwrap();
        pag.set_token(&self.token(user)).unwrap();
        pag
    }

    pub(crate) fn path(&self, place: &str) -> String {
        format!("{}/{place}/file", self.dir)
    }

    /// Whether the calling thread reads a place's file.
    pub(crate) fn reads(&self, place: &str) -> bool {
        reads(&self.path(place), place)
    }

    /// Which places a PAG reads, in the order of [`PLACES`].
    pub(crate) fn all(&self, pag: &Pag) -> [bool; 5] {
        let scope = pag.enter().unwrap();
        self.afs().verify(pag).unwrap();
        let all = PLACES.map(|(place, ..)| self.reads(place));
        drop(scope);
        all
    }

    pub(crate) fn flush(&self) {
        if let Client::OpenAfs(c) = &self.client {
            c.flush_volume(self.dir.as_bytes()).unwrap();
        }
    }
}

pub(crate) const NOBODY: [bool; 5] = [false, false, false, false, true];
pub(crate) const ALICE: [bool; 5] = [true, false, false, true, true];
pub(crate) const BOB: [bool; 5] = [false, true, true, false, true];

/// Whether a file can be read, and has what it should.
pub(crate) fn reads(path: &str, contents: &str) -> bool {
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
pub(crate) fn drop_root() {
    let (uid, gid) = (nix::unistd::Uid::from_raw(UID), nix::unistd::Gid::from_raw(UID));
    nix::unistd::setgroups(&[gid]).unwrap();
    nix::unistd::setresgid(gid, gid, gid).unwrap();
    nix::unistd::setresuid(uid, uid, uid).unwrap();
}
