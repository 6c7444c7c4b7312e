//! What the ACL of a directory tells about rights that kAFS does not tell.
//!
//! Its names are those of users and groups alike, and which groups somebody is in it does not say. Often that does not
//! matter: his own entry decides, or nobody else's has the right; or what the client lets him do shows that he is in a
//! group, or in none. What stays open is said to be so.

use crate::Error;
use crate::mounted::Dir;
use crate::userspace::{Acl, Rights};

/// Bytes of the longest ACL that servers send [oafs:fsint/afsint.xg, AFSOPAQUEMAX], with room to spare.
const LONGEST: usize = 4096;

/// Somebody, as far as it is known what he has.
#[derive(Debug, Clone, Default)]
pub struct Somebody {
    /// What the directory's cell calls him; none for nobody, and for users of other cells.
    pub name: Option<String>,
    /// Of each of these he has at least one right.
    pub has_one_of: Vec<Rights>,
    /// Of these he has none.
    pub lacks: Rights,
}

impl Somebody {
    /// Does an entry of this name count for him, whatever his groups?
    fn is(&self, name: &str) -> bool {
        let own = |own: &str| name == own || (name == "system:authuser" && !own.contains('@'));
        name == "system:anyuser" || self.name.as_deref().is_some_and(own)
    }

    /// Whether he has this one right; `None`: the ACL does not tell.
    fn has_one(&self, acl: &Acl, right: u32) -> Option<bool> {
        let sum = |of: &[(String, u32)], own: bool| {
            of.iter().filter(|(name, _)| self.is(name) == own).fold(0, |sum, (_, rights)| sum | rights)
        };
        let (denied, perhaps_denied) = (sum(&acl.negative, true), sum(&acl.negative, false));
        let asked = self.has_one_of.iter().fold(right | self.lacks.0, |sum, rights| sum | rights.0);
        if (self.lacks.0 | denied) & right != 0 {
            return Some(false);
        }
        if perhaps_denied & asked != 0 {
            return None;
        }
        let own = sum(&acl.positive, true) & !denied;
        if own & right != 0 {
            return Some(true);
        }
        // Those that he can be in, since he would have more than he has of the others.
        let groups: Vec<u32> = acl
            .positive
            .iter()
            .filter(|(name, rights)| !self.is(name) && rights & self.lacks.0 & !denied == 0)
            .map(|(_, rights)| *rights)
            .collect();
        if groups.iter().all(|rights| rights & right == 0) {
            return Some(false);
        }
        // What his own entries do not give him, he has by one of those that do.
        let shown = self.has_one_of.iter().filter(|some| own & some.0 == 0).any(|some| {
            let mut by = groups.iter().filter(|rights| *rights & some.0 != 0).peekable();
            by.peek().is_some() && by.all(|rights| rights & right != 0)
        });
        shown.then_some(true)
    }

    /// Whether he has all of these rights; `None`: the ACL does not tell.
    #[must_use]
    pub fn has(&self, acl: &Acl, rights: Rights) -> Option<bool> {
        let single = (0..u32::BITS).map(|bit| 1 << bit).filter(|bit| rights.0 & bit != 0);
        let each: Vec<Option<bool>> = single.map(|right| self.has_one(acl, right)).collect();
        if each.contains(&Some(false)) {
            return Some(false);
        }
        each.iter().all(Option::is_some).then_some(true)
    }
}

/// An attribute of a directory that only kAFS has.
///
/// # Errors
/// What fgetxattr(2) gives.
fn attribute(dir: &Dir, name: &str) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; LONGEST];
    let len = rustix::fs::fgetxattr(dir.fd(), name, bytes.as_mut_slice())
        .map_err(|e| Error::Errno { call: "fgetxattr", errno: e.raw_os_error() })?;
    bytes.truncate(len);
    Ok(bytes)
}

/// The ACL of a directory; its server tells it to whoever may look things up there.
///
/// # Errors
/// What fgetxattr(2) gives; `EIO` for an ACL that is none.
pub fn of(dir: &Dir) -> Result<Acl, Error> {
    let text = attribute(dir, "afs.acl")?;
    Acl::decode(&text).ok_or(Error::Errno { call: "fgetxattr", errno: libc::EIO })
}

/// The name of a directory's cell.
///
/// # Errors
/// What fgetxattr(2) gives.
pub fn cell_of(dir: &Dir) -> Result<Vec<u8>, Error> {
    attribute(dir, "afs.cell")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(letters: &str) -> Rights {
        Rights::parse(letters).unwrap()
    }

    /// `entries`: as for `fs setacl`, with a minus in front of negative ones.
    fn acl(entries: &str) -> Acl {
        let mut acl = Acl::default();
        let words: Vec<&str> = entries.split(' ').collect();
        for pair in words.chunks(2) {
            let entry = |name: &str| (name.to_owned(), rights(pair[1]).0);
            match pair[0].strip_prefix('-') {
                Some(name) => acl.negative.push(entry(name)),
                None => acl.positive.push(entry(pair[0])),
            }
        }
        acl
    }

    #[test]
    fn his_own_entries_decide_and_so_does_what_the_client_lets_him_do() {
        for (entries, has, lacks, want) in [
            ("system:anyuser rl alice rlidwk", "", "", Some(true)),
            ("system:authuser rlidwk", "", "", Some(true)),
            ("system:anyuser lidrwk", "", "", Some(true)),
            ("system:anyuser rl alice rliwk", "", "", Some(false)),
            ("alice li", "id", "", Some(false)),
            ("alice rlidwk -alice d", "", "", Some(false)),
            // Bob may be a group.
            ("alice rl bob rlidwk", "", "", None),
            // She changes something here, or may not, so she is in it, or not.
            ("system:anyuser rl project rlidwk", "id", "", Some(true)),
            ("system:anyuser rl project rlidwk", "", "id", Some(false)),
            ("system:anyuser rl project rlidwk other rli", "id", "", None),
            // Where everybody may put something in, whether she may also write decides.
            ("system:anyuser li staff rlidwk", "id", "", None),
            ("system:anyuser li staff rlidwk", "id w", "", Some(true)),
            ("system:anyuser li staff rlidwk", "id", "w", Some(false)),
            ("system:anyuser li staff rlidwk writers rlw", "id w", "", None),
            ("system:anyuser li movers lid", "id", "w", None),
            // What a group takes away nobody knows.
            ("alice rlidwk -people d", "id", "", None),
            ("project rlidwk -people w", "id w", "", None),
            ("alice rlidwk -people r", "", "", Some(true)),
        ] {
            let who = Somebody {
                name: Some("alice".to_owned()),
                has_one_of: has.split_whitespace().map(rights).collect(),
                lacks: rights(lacks),
            };
            assert_eq!(who.has(&acl(entries), Rights::DELETE), want, "{entries} has {has:?} lacks {lacks:?}");
        }
    }

    #[test]
    fn who_is_not_of_the_cell_is_everybody_and_a_foreign_user_is_himself() {
        let nobody = Somebody::default();
        let foreign = Somebody { name: Some("alice@partner".to_owned()), ..Somebody::default() };
        for (entries, nobodys, foreigners) in [
            ("system:anyuser lid", Some(true), Some(true)),
            ("system:authuser lid", None, None),
            ("alice@partner lid", None, Some(true)),
            ("alice@partner li", Some(false), Some(false)),
        ] {
            let both = rights("d");
            assert_eq!(nobody.has(&acl(entries), both), nobodys, "{entries}");
            assert_eq!(foreign.has(&acl(entries), both), foreigners, "{entries}");
        }
        let who = Somebody { lacks: rights("i"), ..Somebody::default() };
        assert_eq!(who.has(&acl("group lid"), rights("id")), Some(false));
        assert_eq!(who.has(&acl("system:anyuser lw group ld"), rights("dw")), None);
    }
}
