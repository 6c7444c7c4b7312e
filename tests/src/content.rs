//! What lies in the cells: directories with their ACLs, files, links, mount points.
//!
//! Every file that belongs to somebody begins with the line `owner: <name>@<cell>` (or `owner: public`),
//! so that a test can tell whose body it got.

use pag::userspace::{self, MountKind, Rights};

use crate::world::{CELLS, FIRST_CELL, SECOND_CELL, Sizes};

/// Everybody, with or without a token.
const ANY: &str = "system:anyuser";
/// Everybody with a token of the cell.
const AUTH: &str = "system:authuser";
/// Bytes of one record of [`pattern`].
const RECORD: u64 = 16;

/// An access control list; `system:administrators` has all rights in each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acl(userspace::Acl);

impl Default for Acl {
    fn default() -> Self {
        Self(userspace::Acl {
            positive: vec![("system:administrators".to_owned(), 127)],
            negative: Vec::new(),
        })
    }
}

impl Acl {
    /// Gives `who` these rights (letters).
    #[must_use]
    pub fn allow(mut self, who: &str, rights: &str) -> Self {
        self.0.positive.push((who.to_owned(), mask(rights)));
        self
    }

    /// Takes these rights from `who`, whatever else he has.
    #[must_use]
    pub fn deny(mut self, who: &str, rights: &str) -> Self {
        self.0.negative.push((who.to_owned(), mask(rights)));
        self
    }

    /// As the client takes it.
    #[must_use]
    pub fn entries(&self) -> &userspace::Acl {
        &self.0
    }
}

/// Letters to the mask; a text that is none gives no right.
fn mask(rights: &str) -> u32 {
    Rights::parse(rights).map_or(0, |r| r.0)
}

/// Something in a cell; `path` is below `/afs/<cell>`, without a slash in front. Parents come first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A directory; without an ACL it has its parent's.
    Directory {
        /// Where.
        path: String,
        /// Who may do what.
        acl: Option<Acl>,
    },
    /// A file.
    File {
        /// Where.
        path: String,
        /// What is in it.
        body: Body,
    },
    /// A symbolic link.
    Link {
        /// Where.
        path: String,
        /// What it says.
        target: String,
    },
    /// A mount point.
    Mount {
        /// Where.
        path: String,
        /// Whether a read-only copy will do.
        kind: MountKind,
        /// The volume.
        volume: String,
        /// The ACL of the volume's root; `None`: left alone (read-only, or not there).
        acl: Option<Acl>,
    },
}

/// What is in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// These bytes.
    Bytes(Vec<u8>),
    /// These bytes, of a program.
    Program(Vec<u8>),
    /// So many bytes of [`pattern`].
    Pattern(u64),
}

/// `len` bytes of the pattern from `offset` on: records of 16 bytes, each the hexadecimal offset of itself and a newline.
#[must_use]
pub fn pattern(offset: u64, len: usize) -> Vec<u8> {
    let first = offset / RECORD;
    let skip = usize::try_from(offset % RECORD).unwrap_or(0);
    let records = (len + skip).div_ceil(16);
    let text: String = (0..).take(records).map(|n: u64| format!("{:015x}\n", (first + n) * RECORD)).collect();
    text.into_bytes().into_iter().skip(skip).take(len).collect()
}

/// The first line of whatever belongs to `user` of `cell`.
#[must_use]
pub fn owner_line(user: &str, cell: &str) -> String {
    format!("owner: {user}@{cell}\n")
}

/// A file that only `user` may read, below `/afs/<cell>`; there is one for each user.
#[must_use]
pub fn owner_file(user: &str) -> String {
    format!("home/{user}/owner.txt")
}

/// The first line of what everybody may read.
pub const PUBLIC_LINE: &str = "owner: public\n";

/// Names that have to be quoted somewhere: each a file in `public/names`, in body its own name behind the owner's line.
pub const NAMES: [&str; 10] = [
    "with space.txt",
    "it's \"quoted\".txt",
    "<b>bold&amp;.txt",
    "gr\u{fc}\u{df}e-\u{2603}.txt",
    "100%41.txt",
    "back\\slash.txt",
    "semi;colon?query#fragment.txt",
    "plus+plus.txt",
    "new\nline.txt",
    "\u{1}control.txt",
];

/// Everything in a cell, in the order in which it has to be made.
#[must_use]
pub fn items(cell: &str, sizes: Sizes) -> Vec<Item> {
    let mut m = Maker { cell, items: Vec::new() };
    match cell {
        FIRST_CELL => first_cell(&mut m, sizes),
        SECOND_CELL => second_cell(&mut m),
        _ => {}
    }
    m.items
}

/// Collects items.
struct Maker<'a> {
    cell: &'a str,
    items: Vec<Item>,
}

impl Maker<'_> {
    fn directory(&mut self, path: &str, acl: Acl) {
        self.items.push(Item::Directory { path: path.into(), acl: Some(acl) });
    }

    fn plain_directory(&mut self, path: &str) {
        self.items.push(Item::Directory { path: path.into(), acl: None });
    }

    fn bytes(&mut self, path: &str, body: &[u8]) {
        self.items.push(Item::File { path: path.into(), body: Body::Bytes(body.to_vec()) });
    }

    fn public(&mut self, path: &str, rest: &str) {
        self.bytes(path, format!("{PUBLIC_LINE}{rest}").as_bytes());
    }

    fn owned(&mut self, path: &str, owner: &str) {
        self.owned_of(path, owner, self.cell);
    }

    /// What belongs to somebody of this cell or another one.
    fn owned_of(&mut self, path: &str, owner: &str, cell: &str) {
        let padding = "x".repeat(63);
        let body = format!("{}{}", owner_line(owner, cell), format!("{padding}\n").repeat(16));
        self.bytes(path, body.as_bytes());
    }

    /// A shell script that answers with text.
    fn program(&mut self, path: &str, commands: &str) {
        let text = format!("#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\n{commands}\n");
        self.items.push(Item::File { path: path.into(), body: Body::Program(text.into_bytes()) });
    }

    fn pattern(&mut self, path: &str, size: u64) {
        self.items.push(Item::File { path: path.into(), body: Body::Pattern(size) });
    }

    fn link(&mut self, path: &str, target: &str) {
        self.items.push(Item::Link { path: path.into(), target: target.into() });
    }

    fn mount(&mut self, path: &str, kind: MountKind, volume: &str, acl: Option<Acl>) {
        self.items.push(Item::Mount { path: path.into(), kind, volume: volume.into(), acl });
    }

    /// `home/<user>` for each user, in a volume of his own where there is one.
    fn homes(&mut self) {
        let Some(spec) = CELLS.iter().find(|c| c.name == self.cell) else { return };
        self.directory("home", Acl::default().allow(ANY, "l"));
        for (user, _, _) in spec.users {
            let path = format!("home/{user}");
            let acl = Acl::default().allow(user, "rlidwk");
            if spec.volumes.iter().any(|(v, _)| *v == format!("user.{user}")) {
                self.mount(&path, MountKind::Normal, &format!("user.{user}"), Some(acl));
            } else {
                self.directory(&path, acl);
            }
            self.owned(&owner_file(user), user);
            self.owned(&format!("{path}/index.html"), user);
        }
    }
}

/// Readable for all.
fn public() -> Acl {
    Acl::default().allow(ANY, "rl")
}

fn first_cell(m: &mut Maker<'_>, sizes: Sizes) {
    m.directory("", public());
    m.public("index.html", "<p>the first cell</p>\n");

    m.directory("public", public());
    m.public("public/page.html", "<p>a page</p>\n");
    m.public("public/plain.txt", "text\n");
    m.public("public/noextension", "");
    m.bytes("public/empty.txt", b"");
    m.plain_directory("public/names");
    for name in NAMES {
        m.public(&format!("public/names/{name}"), name);
    }
    m.plain_directory("public/index");
    m.public("public/index/index.html", "<p>an index</p>\n");
    m.plain_directory("public/list");
    m.public("public/list/one.txt", "");
    m.public("public/list/two.html", "");
    m.plain_directory("public/list/sub");
    m.plain_directory("public/.hidden");
    m.public("public/.hidden/page.txt", "");
    m.plain_directory("public/deep");
    m.plain_directory("public/deep/er");
    m.public("public/deep/er/page.txt", "");

    // .htaccess files, which Directory sections and AllowOverride govern.
    m.plain_directory("public/htaccess-deny");
    m.bytes("public/htaccess-deny/.htaccess", b"Require all denied\n");
    m.public("public/htaccess-deny/page.html", "");
    m.plain_directory("public/htaccess-type");
    m.bytes("public/htaccess-type/.htaccess", b"AddType text/x-probe .probe\n");
    m.public("public/htaccess-type/page.probe", "");
    m.plain_directory("public/htaccess-broken");
    m.bytes("public/htaccess-broken/.htaccess", b"NoSuchDirective\n");
    m.public("public/htaccess-broken/page.html", "");

    m.plain_directory("links");
    m.link("links/inside", "../public/page.html");
    m.link("links/directory", "../public");
    m.link("links/absolute", &format!("/afs/{FIRST_CELL}/public/page.html"));
    m.link("links/other-cell", &format!("/afs/{SECOND_CELL}/index.html"));
    m.link("links/private", &format!("../{}", owner_file("alice")));
    m.link("links/outside", "/etc/passwd");
    m.link("links/up", "../../../../../../etc/passwd");
    m.link("links/loop", "loop");
    m.link("links/missing", "no-such-file");

    // One directory for each kind of ACL.
    m.directory("index-closed", Acl::default().allow(ANY, "l").allow("alice", "rl"));
    m.owned("index-closed/index.html", "alice");
    m.directory("listed", Acl::default().allow(ANY, "l").allow("alice", "rl"));
    m.owned("listed/page.html", "alice");
    // The same where alice is always asked for first, and where nobody is: kAFS goes by that (docs/facts.md).
    for name in ["listed-alice-first", "listed-nobody-first"] {
        m.directory(name, Acl::default().allow(ANY, "l").allow("alice", "rl"));
        m.owned(&format!("{name}/page.html"), "alice");
    }
    m.directory("lookup", Acl::default().allow(ANY, "l"));
    m.public("lookup/file.txt", "");
    m.directory("read-no-lookup", Acl::default().allow(ANY, "r"));
    m.public("read-no-lookup/file.txt", "");
    m.directory("auth", Acl::default().allow(AUTH, "rl"));
    m.public("auth/page.html", "");
    m.directory("alice-only", Acl::default().allow("alice", "rl"));
    m.owned("alice-only/page.html", "alice");
    m.owned("alice-only/index.html", "alice");
    m.bytes("alice-only/.htaccess", b"Header set X-Alice yes\n");
    m.owned("alice-only/chosen.en.html", "alice");
    m.owned("alice-only/chosen.de.html", "alice");
    m.bytes(
        "alice-only/page.shtml",
        b"<!--#echo var=\"REMOTE_USER\" -->\n<!--#include virtual=\"page.html\" -->\n",
    );
    m.bytes(
        "alice-only/parts.shtml",
        b"<!--#config sizefmt=\"bytes\" --><!--#fsize file=\"page.html\" -->\n<!--#include file=\"page.html\" -->\n",
    );
    m.bytes(
        "alice-only/exec.shtml",
        b"<!--#exec cmd=\"head -1 page.html\" -->|<!--#exec cgi=\"run.cgi\" -->|\n",
    );
    m.bytes(
        "alice-only/choice.var",
        b"URI: choice\n\nURI: chosen.en.html\nContent-Type: text/html\nContent-Language: en\n\n\
          URI: chosen.de.html\nContent-Type: text/html\nContent-Language: de\n",
    );
    m.plain_directory("alice-only/sub");
    m.program("alice-only/run.cgi", "echo \"user=$REMOTE_USER\"\nhead -1 page.html");
    m.program(
        "public/run.cgi",
        &format!(
            "echo \"user=$REMOTE_USER\"\nhead -1 page.html\nhead -1 /afs/{FIRST_CELL}/alice-only/page.html"
        ),
    );
    m.directory("not-bob", Acl::default().allow(AUTH, "rl").deny("bob", "rl"));
    m.public("not-bob/page.html", "");
    m.directory("friends", Acl::default().allow("alice", "rl").allow("alice:friends", "rl"));
    m.public("friends/page.html", "");
    m.directory("nobody", Acl::default());
    m.public("nobody/page.html", "");
    // Whom the KDC alone knows: an instance of carol's, and somebody of a realm that is no cell's.
    m.directory("carol-admin", Acl::default().allow("carol.admin", "rl"));
    m.owned("carol-admin/page.html", "carol.admin");
    m.directory("partner", Acl::default().allow("alice@partner.example", "rl"));
    m.owned_of("partner/page.html", "alice", "partner.example");

    // What is public on the web, by a service identity.
    m.directory("service", Acl::default().allow("http.www", "rl"));
    m.owned("service/page.html", "http.www");
    m.owned("service/index.html", "http.www");
    m.directory("published", Acl::default().allow("publisher", "rl"));
    m.owned("published/page.html", "publisher");

    required(m);
    m.homes();
    m.mount("far", MountKind::Normal, "vol.far", Some(public()));
    m.public("far/page.html", "<p>on the second file server</p>\n");
    m.pattern("far/1m.bin", 1 << 20);
    m.directory("far/alice", Acl::default().allow("alice", "rl"));
    m.owned("far/alice/owner.txt", "alice");
    m.mount("replica-rw", MountKind::ReadWrite, "vol.rep", Some(public()));
    m.public("replica-rw/page.html", "<p>from the replica</p>\n");
    m.mount("replica", MountKind::Normal, "vol.rep.readonly", None);
    // The suite `release` writes the first and makes the copies that the second leads to.
    m.mount("release-rw", MountKind::ReadWrite, "vol.rel", Some(public()));
    m.mount("released", MountKind::Normal, "vol.rel.readonly", None);
    m.mount("dangling", MountKind::Normal, "no.such.volume", None);
    writable(m);

    m.directory("sizes", public());
    for (name, size) in
        [("4k.bin", 4 << 10), ("64k.bin", 64 << 10), ("1m.bin", 1 << 20), ("big.bin", sizes.big)]
    {
        m.pattern(&format!("sizes/{name}"), size);
    }
    m.directory("alice-sizes", Acl::default().allow("alice", "rl"));
    for (name, size) in [("4k.bin", 4 << 10), ("1m.bin", 1 << 20), ("12m.bin", 12 << 20)] {
        m.pattern(&format!("alice-sizes/{name}"), size);
    }
}

/// Access files with `Require afs-...`, in directories that everybody may read, and directories with other rights.
fn required(m: &mut Maker<'_>) {
    m.directory("require", public());
    for (name, rule) in [
        ("friends", "Require afs-group alice:friends\n"),
        ("writers", "Require afs-right write\n"),
        ("strange", "Require afs-user alice@nowhere.example\n"),
        ("nonsense", "Require afs-right fly\n"),
    ] {
        m.plain_directory(&format!("require/{name}"));
        m.bytes(&format!("require/{name}/.htaccess"), rule.as_bytes());
        m.public(&format!("require/{name}/page.html"), "");
        m.public(&format!("require/{name}/index.html"), "");
    }
    m.plain_directory("require/rights");
    m.public("require/rights/page.html", "");
    let acl = public().allow("alice", "rlidwk").allow("bob", "rlik");
    m.directory("require/rights/some", acl);
    m.public("require/rights/some/page.html", "");
}

/// What tests write to. Each makes a directory of its own in there, so that none sees what another one leaves.
fn writable(m: &mut Maker<'_>) {
    let all = "rlidwk";
    m.directory("write", Acl::default().allow(ANY, "rl"));
    m.directory("write/alice", Acl::default().allow("alice", all).allow("bob", "rl"));
    m.link("write/alice/link", "../../public/page.html");
    m.link("write/alice/linked", "../../public");
    m.link("write/alice/outside", "/srv");
    m.directory("write/bob", Acl::default().allow("bob", all));
    m.directory("write/anybody", Acl::default().allow(ANY, all));
    m.directory("write/anybody/sub", Acl::default().allow(ANY, all));
    m.directory("write/publisher", Acl::default().allow("publisher", all).allow(ANY, all));
    m.directory("write/shared", Acl::default().allow("alice", all).allow("bob", all));
    m.directory("write/shared/bob", Acl::default().allow("bob", all));
    // One directory for each kind of right to write.
    for (name, rights) in [("insert", "li"), ("write-only", "lw"), ("in-place", "rlw"), ("no-delete", "rliw")]
    {
        m.directory(&format!("write/{name}"), Acl::default().allow("alice", rights));
        m.bytes(&format!("write/{name}/file.txt"), b"as it was\n");
    }
    // What a client that tells no rights has to find out: by which group somebody writes.
    for (name, everybodys) in [("group", "rl"), ("drop", "rli")] {
        let acl = Acl::default().allow(ANY, everybodys).allow("alice:friends", all);
        m.directory(&format!("write/{name}"), acl);
        m.bytes(&format!("write/{name}/file.txt"), b"as it was\n");
    }
    m.mount("write/quota", MountKind::ReadWrite, "vol.quota", Some(Acl::default().allow("alice", all)));
    m.directory("write/quota/in-place", Acl::default().allow("alice", "rlw"));
    m.bytes("write/quota/in-place/file.txt", &[b'o'; 100_000]);
    m.mount("write/alice/mounted", MountKind::ReadWrite, "vol.quota", None);
    m.directory("write/alice/holds", Acl::default().allow("alice", all));
    m.bytes("write/alice/holds/beside", b"as it was\n");
    m.mount("write/alice/holds/volume", MountKind::ReadWrite, "vol.quota", None);
    m.directory("far/write", Acl::default().allow("alice", all));
    m.directory("far/in-place", Acl::default().allow("alice", "rlw"));
    m.bytes("far/in-place/file.txt", b"as it was\n");
}

fn second_cell(m: &mut Maker<'_>) {
    m.directory("", public());
    m.public("index.html", "<p>the second cell</p>\n");
    m.directory("public", public());
    m.public("public/page.html", "");
    m.directory("auth", Acl::default().allow(AUTH, "rl"));
    m.public("auth/page.html", "");
    m.homes();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_is_the_same_from_any_offset() {
        let whole = pattern(0, 200);
        assert!(whole.starts_with(b"000000000000000\n000000000000010\n"));
        for (offset, len) in [(0, 0), (1, 1), (15, 2), (16, 16), (33, 100)] {
            assert_eq!(pattern(offset as u64, len), whole[offset..offset + len], "{offset} {len}");
        }
    }

    #[test]
    fn an_acl_has_the_administrators_and_who_was_added() {
        let acl = Acl::default().allow(AUTH, "rl").deny("bob", "rl");
        assert_eq!(acl.entries().positive, [("system:administrators".to_owned(), 127), (AUTH.to_owned(), 9)]);
        assert_eq!(acl.entries().negative, [("bob".to_owned(), 9)]);
    }

    #[test]
    fn parents_come_before_what_lies_in_them() {
        for cell in [FIRST_CELL, SECOND_CELL] {
            let mut seen = vec![String::new()];
            let all = items(cell, Sizes { big: 1 });
            assert!(all.len() > 10);
            for item in all {
                let (Item::Directory { path, .. }
                | Item::File { path, .. }
                | Item::Link { path, .. }
                | Item::Mount { path, .. }) = item;
                let parent = path.rsplit_once('/').map_or("", |(p, _)| p);
                assert!(seen.iter().any(|s| s == parent), "{path}");
                seen.push(path);
            }
        }
    }

    #[test]
    fn names_can_be_names_in_afs() {
        assert!(NAMES.iter().all(|n| !n.contains('/') && !n.contains('\0') && n.len() < 256));
    }

    #[test]
    fn each_user_has_a_file_with_his_name() {
        for spec in &CELLS {
            let all = items(spec.name, Sizes { big: 1 });
            for (user, _, _) in spec.users {
                let line = owner_line(user, spec.name);
                let there = all.iter().any(|i| {
                    matches!(i, Item::File { path, body: Body::Bytes(b) }
                    if *path == owner_file(user) && b.starts_with(line.as_bytes()))
                });
                assert!(there, "{user}");
            }
        }
    }
}
