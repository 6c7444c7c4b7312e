//! What tests under load share: chance that can be repeated, a tally of what was wrong, an end for all.

use integration::content::owner_line;
use integration::world::FIRST_CELL;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// So many faults are told.
const TOLD: usize = 20;

/// A small generator (xorshift), so that a run can be repeated with its seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Any number.
    pub(crate) fn any(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From 0 to `sides`, without that.
    pub(crate) fn throw(&mut self, sides: u64) -> u64 {
        self.any() % sides
    }

    /// A place among so many.
    pub(crate) fn place(&mut self, of: usize) -> usize {
        usize::try_from(self.throw(of as u64)).unwrap()
    }
}

/// What was wrong; the first ones of it.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Vec<String>>);

impl Faults {
    pub(crate) fn add(&self, text: String) {
        let mut faults = self.0.lock().unwrap();
        if faults.len() < TOLD {
            faults.push(text);
        }
    }

    pub(crate) fn are_none(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }

    pub(crate) fn must_be_none(&self) {
        assert_eq!(*self.0.lock().unwrap(), Vec::<String>::new());
    }
}

/// Configuration: in what is his, a user of the first cell may write; mod_dav has to be there.
pub(crate) fn writable_homes() -> String {
    format!("<Location {}>\nDav afs\n</Location>\n", super::first("home"))
}

/// Files of visitors' own, each where its visitor alone may read and write, and one client alone writes.
pub(crate) struct OwnFiles {
    client: u64,
    /// By visitor: which file it is, and what is in it.
    files: BTreeMap<&'static str, (u64, Option<Vec<u8>>)>,
    bodies: u64,
    last: Option<&'static str>,
}

impl OwnFiles {
    pub(crate) fn new(client: u64) -> Self {
        Self { client, files: BTreeMap::new(), bodies: 0, last: None }
    }

    /// Where `who` writes.
    pub(crate) fn path(&self, who: &str) -> String {
        let number = self.files.get(who).map_or(0, |(number, _)| *number);
        super::first(&format!("home/{who}/load-{}-{number}.txt", self.client))
    }

    /// What `who` is to write: it names him, and was never written before.
    pub(crate) fn next_body(&mut self, who: &str, dice: &mut Dice) -> Vec<u8> {
        self.bodies += 1;
        let line = format!("client {}, body {}\n", self.client, self.bodies);
        let lines = if dice.throw(8) == 0 { 10_000 } else { 1 + dice.throw(50) };
        (owner_line(who, FIRST_CELL) + &line.repeat(usize::try_from(lines).unwrap())).into_bytes()
    }

    /// `who` was told that this is stored.
    pub(crate) fn stored(&mut self, who: &'static str, body: Vec<u8>) {
        self.files.entry(who).or_default().1 = Some(body);
        self.last = Some(who);
    }

    /// Who was the last to store something, if it is still known what is there.
    pub(crate) fn last(&self) -> Option<&'static str> {
        self.last.filter(|who| self.text(who).is_some())
    }

    /// `who` was not told, so he goes on with another file.
    pub(crate) fn unknown(&mut self, who: &'static str) {
        let file = self.files.entry(who).or_default();
        *file = (file.0 + 1, None);
    }

    /// What is in the file where `who` writes.
    pub(crate) fn text(&self, who: &str) -> Option<&[u8]> {
        self.files.get(who)?.1.as_deref()
    }
}

/// Tells those who go on until told to that this is the end: when it goes, also when a test fails.
pub(crate) struct End<'a>(pub(crate) &'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
