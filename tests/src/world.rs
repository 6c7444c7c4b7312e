//! What lies in a world: its description, which tests read, and the standard one.
//!
//! Everything secret in here is made up and worthless outside the world.

use crate::kernel_client::KernelClient;
use crate::machine::Machine;
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// The description of the world stands here, inside.
pub const DESCRIPTION: &str = "/run/afsweb-world.json";
/// Name of its copy in the directory of results, written when the world is ready.
pub const DESCRIPTION_COPY: &str = "world.json";
/// The client's configuration (`ThisCell`, `CellServDB`) of the whole world.
pub const CONF_DIR: &str = "/etc/openafs";
/// State of the AFS machines and the kaservers.
pub(crate) const STATE_DIR: &str = "/srv/afsweb";
/// The first cell.
pub const FIRST_CELL: &str = "cell.example";
/// The second, small cell.
pub const SECOND_CELL: &str = "other.example";
/// The realm of the first cell.
pub const FIRST_REALM: &str = "CELL.EXAMPLE";
/// The realm of the second cell.
pub const SECOND_REALM: &str = "OTHER.EXAMPLE";
/// A realm that is no cell's; its users get tickets for the first cell.
pub const PARTNER_REALM: &str = "PARTNER.EXAMPLE";
/// Who may do everything in a cell.
pub const ADMIN: &str = "admin";

/// A service identity, whom AFS calls `http.www`.
pub const SERVICE: &str = "http/www.cell.example";
/// Another one, whom kaserver knows, too.
pub const PUBLISHER: &str = "publisher";
/// His password has expired.
pub const EXPIRED: &str = "pwexpired";
/// His account is locked after twice [`LOCK_AFTER`] failed logins.
pub const LOCKABLE: &str = "lockable";
/// Twice as many failed logins lock [`LOCKABLE`] (kaserver doubles its limit; the KDC is told as many).
pub const LOCK_AFTER: u8 = 2;

/// A world that is up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct World {
    /// Directory on the host that takes what should outlive the world: logs, core facts of failures.
    pub results: PathBuf,
    /// The client's configuration.
    pub conf_dir: PathBuf,
    /// The cells.
    pub cells: Vec<Cell>,
    /// The Kerberos realms.
    #[serde(default)]
    pub realms: Vec<Realm>,
    /// What was installed.
    pub programs: Programs,
    /// Sizes of the larger files.
    pub sizes: Sizes,
    /// Address of the httpd that the harness started, if it did.
    pub httpd: Option<SocketAddr>,
    /// The kernel's AFS client that serves /afs, in a guest.
    #[serde(default)]
    pub client: Option<KernelClient>,
}

/// Installed programs of ours; `None`: had not been built.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Programs {
    /// The httpd module.
    pub module: Option<PathBuf>,
    /// The broker.
    pub weblog: Option<PathBuf>,
    /// The nanny.
    pub weblog_starter: Option<PathBuf>,
    /// The object of the user-space client.
    pub uafs: Option<PathBuf>,
    /// The test kaserver.
    pub kaserver: Option<PathBuf>,
    /// Logs in by Debian's libafsauthent alone.
    pub login: Option<PathBuf>,
    /// Logs in by Debian's libkrb5 alone.
    #[serde(default)]
    pub krb5_login: Option<PathBuf>,
}

/// Sizes in bytes of files in `/afs/cell.example/sizes`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Sizes {
    /// `big.bin`
    pub big: u64,
}

/// A cell that is up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cell {
    /// Its name.
    pub name: String,
    /// The DES key of its `afs` principal, 16 hexadecimal digits.
    pub key_hex: String,
    /// That key's version.
    pub kvno: u8,
    /// Its machines; the first has the databases and the kaserver.
    pub machines: Vec<Machine>,
    /// The processes on them.
    pub servers: Vec<Server>,
    /// Its users.
    pub users: Vec<User>,
    /// Its kaserver; `None`: without.
    pub kaserver: Option<Kaserver>,
    /// Name of its realm; its users have the same passwords there.
    #[serde(default)]
    pub realm: Option<String>,
    /// People of other realms that its protection database knows, as `alice@partner.example`.
    #[serde(default)]
    pub foreigners: Vec<String>,
}

/// A Kerberos realm that is up. See [`crate::kdc::Kdc`] for what can be done with its KDC.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Realm {
    /// Its name.
    pub name: String,
    /// Its KDC listens here, UDP and TCP.
    pub kdc: SocketAddr,
    /// The KDC's process id inside the world when that started; a KDC that was started again has another one.
    pub pid: u32,
    /// The process id of the KDC that runs now stands here.
    pub pid_file: PathBuf,
    /// Configuration of KDC and kadmin.local, which find it by `KRB5_KDC_PROFILE` and `KRB5_CONFIG`. Root's alone.
    pub kdc_conf: PathBuf,
    /// What the KDC says of each request.
    pub log: PathBuf,
    /// The AFS service's principal, without the realm; `None`: there is none.
    pub afs: Option<String>,
    /// The AFS service's keys. Root's alone.
    pub keytab: Option<PathBuf>,
    /// Its users.
    pub users: Vec<RealmUser>,
}

/// A user of a realm.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RealmUser {
    /// Principal without the realm: `alice`, `carol/admin`.
    pub name: String,
    /// Password.
    pub password: String,
    /// What is special about him.
    pub account: Account,
}

/// What is special about an account at a KDC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Account {
    /// Nothing; he has to preauthenticate himself, as all have to of whom it is not said.
    Plain,
    /// His password has expired.
    PasswordExpired,
    /// His password expires within this number of days.
    PasswordExpiresInDays(u16),
    /// Twice [`LOCK_AFTER`] failed logins lock him.
    Lockable,
    /// He gets no tickets.
    Disabled,
    /// The account itself has expired.
    Expired,
    /// He gets tickets without preauthentication.
    NoPreauth,
    /// His tickets live so many seconds.
    TicketLife(u32),
    /// His only key is of a kind that no client of this world takes (arcfour-hmac); no preauthentication.
    OldEnctype,
}

/// A server process of a cell. A signal to `pid` (STOP, CONT) makes it silent for a while.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Server {
    /// `vlserver`, `ptserver`, `fileserver` or `volserver`.
    pub program: String,
    /// Of its machine.
    pub address: Ipv4Addr,
    /// Its process id inside the world.
    pub pid: u32,
}

/// A user.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct User {
    /// Name in the protection database and at the kaserver.
    pub name: String,
    /// Id in the protection database.
    pub id: u32,
    /// Password at the kaserver.
    pub password: String,
}

/// A test kaserver.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kaserver {
    /// It listens here (UDP).
    pub address: SocketAddr,
    /// Its control socket.
    pub control: PathBuf,
    /// Its process id inside the world.
    pub pid: u32,
}

impl World {
    /// The world that the caller is in.
    ///
    /// # Errors
    /// There is none: the text says how to get one.
    pub fn here() -> Result<Self> {
        let text = fs::read_to_string(DESCRIPTION).with_context(|| {
            format!("no {DESCRIPTION}: this needs real cells; it is run by `cargo xtask test`")
        })?;
        serde_json::from_str(&text).context(DESCRIPTION)
    }

    /// Writes the description; last of all, since its presence says that the world is ready.
    pub(crate) fn publish(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        for file in [Path::new(DESCRIPTION).to_owned(), self.results.join(DESCRIPTION_COPY)] {
            let part = file.with_extension("part");
            fs::write(&part, &text)
                .and_then(|()| fs::rename(&part, &file))
                .context(file.display().to_string())?;
        }
        Ok(())
    }

    /// A cell by its name.
    ///
    /// # Errors
    /// There is no such cell.
    pub fn cell(&self, name: &str) -> Result<&Cell> {
        self.cells.iter().find(|c| c.name == name).with_context(|| format!("no cell {name} in this world"))
    }

    /// A realm by its name.
    ///
    /// # Errors
    /// There is no such realm.
    pub fn realm(&self, name: &str) -> Result<&Realm> {
        self.realms.iter().find(|r| r.name == name).with_context(|| format!("no realm {name} in this world"))
    }
}

impl Realm {
    /// A user by his principal without the realm.
    ///
    /// # Errors
    /// There is no such user.
    pub fn user(&self, name: &str) -> Result<&RealmUser> {
        self.users.iter().find(|u| u.name == name).with_context(|| format!("no user {name} in {}", self.name))
    }
}

impl Cell {
    /// A user by his name.
    ///
    /// # Errors
    /// There is no such user.
    pub fn user(&self, name: &str) -> Result<&User> {
        self.users.iter().find(|u| u.name == name).with_context(|| format!("no user {name} in {}", self.name))
    }

    /// The process of a server program at an address.
    ///
    /// # Errors
    /// There is no such process.
    pub fn server(&self, program: &str, address: Ipv4Addr) -> Result<&Server> {
        self.servers
            .iter()
            .find(|s| s.program == program && s.address == address)
            .with_context(|| format!("no {program} at {address}"))
    }

    /// The key of the `afs` principal.
    ///
    /// # Errors
    /// `key_hex` is not 16 hexadecimal digits.
    pub fn key(&self) -> Result<[u8; 8]> {
        Ok(u64::from_str_radix(&self.key_hex, 16).context("key of the cell")?.to_be_bytes())
    }
}

/// What a cell shall be made of.
#[derive(Debug, Clone)]
pub struct CellSpec {
    /// Its name.
    pub name: &'static str,
    /// Key of `afs`.
    pub key_hex: &'static str,
    /// Version of that key.
    pub kvno: u8,
    /// Short host name and address of each machine; the first has the databases.
    pub machines: &'static [(&'static str, Ipv4Addr)],
    /// Name, id, password.
    pub users: &'static [(&'static str, u32, &'static str)],
    /// Group (with its owner before the colon), members.
    pub groups: &'static [(&'static str, &'static [&'static str])],
    /// Its realm.
    pub realm: &'static str,
    /// Name and id of those whom the realm knows and the kaserver does not.
    pub realm_only: &'static [(&'static str, u32)],
    /// People of other realms, as the protection database writes them: `name@realm` in lower case.
    pub foreigners: &'static [&'static str],
    /// Volume, number of the machine.
    pub volumes: &'static [(&'static str, usize)],
    /// Of these, the volumes that get a read-only replica beside them.
    pub replicas: &'static [&'static str],
}

/// The cells of the standard world.
pub const CELLS: [CellSpec; 2] = [
    CellSpec {
        name: FIRST_CELL,
        key_hex: "8c3e1f9b2ad5f107",
        kvno: 5,
        machines: &[("afs1", Ipv4Addr::new(192, 0, 2, 1)), ("afs3", Ipv4Addr::new(192, 0, 2, 3))],
        users: &[
            (ADMIN, 1, "every-Thing goes"),
            ("alice", 1001, "wonderland"),
            ("bob", 1002, "builder:with:colons"),
            ("carol", 1003, "Sch\u{fc}ne Gr\u{fc}\u{df}e, \u{2603}"),
            ("mallory", 1004, "m"),
            ("dave", 1005, "dave's pass"),
            ("erin", 1006, "erin's pass"),
            ("frank", 1007, "frank's pass"),
            ("grace", 1008, "grace's pass"),
            ("heidi", 1009, "heidi's pass"),
            ("ivan", 1010, "ivan's pass"),
            (EXPIRED, 1011, "pwexpired's pass"),
            (LOCKABLE, 1012, "lockable's pass"),
            (PUBLISHER, 1013, "publisher's pass"),
        ],
        groups: &[("alice:friends", &["bob", "carol"])],
        realm: FIRST_REALM,
        realm_only: &[
            ("carol.admin", 1021),
            ("nopreauth", 1022),
            ("pwsoon", 1023),
            ("life120", 1024),
            ("life30", 1025),
            ("http.www", 1026),
        ],
        foreigners: &["alice@partner.example"],
        volumes: &[
            ("root.afs", 0),
            ("root.cell", 0),
            ("user.alice", 0),
            ("user.bob", 0),
            ("user.carol", 0),
            ("vol.rep", 0),
            ("vol.rel", 0),
            ("vol.far", 1),
            ("vol.quota", 0),
        ],
        replicas: &["vol.rep"],
    },
    CellSpec {
        name: SECOND_CELL,
        key_hex: "a2cb5d7f4c9b1f38",
        kvno: 3,
        machines: &[("db", Ipv4Addr::new(192, 0, 2, 2))],
        users: &[
            (ADMIN, 1, "other every-thing"),
            ("alice", 2001, "looking-glass"),
            ("zoe", 2002, "zoe's pass"),
        ],
        groups: &[],
        realm: SECOND_REALM,
        realm_only: &[],
        foreigners: &[],
        volumes: &[("root.afs", 0), ("root.cell", 0)],
        replicas: &[],
    },
];

/// What a realm shall be made of; the users of its cell come to those named here.
#[derive(Debug, Clone)]
pub struct RealmSpec {
    /// Its name.
    pub name: &'static str,
    /// Where its KDC listens.
    pub kdc: (Ipv4Addr, u16),
    /// The AFS service's principal, without the realm.
    pub afs: Option<&'static str>,
    /// Principal without the realm, password, what is special about it.
    pub users: &'static [(&'static str, &'static str, Account)],
}

/// The realms of the standard world.
pub const REALMS: [RealmSpec; 3] = [
    RealmSpec {
        name: FIRST_REALM,
        kdc: (Ipv4Addr::new(192, 0, 2, 1), 88),
        afs: Some("afs/cell.example"),
        users: &[
            ("carol/admin", "carol's other pass", Account::Plain),
            ("nopreauth", "nopreauth's pass", Account::NoPreauth),
            ("pwsoon", "pwsoon's pass", Account::PasswordExpiresInDays(3)),
            ("life120", "life120's pass", Account::TicketLife(120)),
            ("life30", "life30's pass", Account::TicketLife(30)),
            (SERVICE, "service's pass", Account::Plain),
            ("disabled", "disabled's pass", Account::Disabled),
            ("expired", "expired's pass", Account::Expired),
            ("oldenctype", "oldenctype's pass", Account::OldEnctype),
        ],
    },
    // The older name of the service: clients have to try both.
    RealmSpec { name: SECOND_REALM, kdc: (Ipv4Addr::new(192, 0, 2, 2), 88), afs: Some("afs"), users: &[] },
    RealmSpec {
        name: PARTNER_REALM,
        kdc: (Ipv4Addr::new(192, 0, 2, 3), 1088),
        afs: None,
        users: &[
            // Known to the first cell.
            ("alice", "through the partner's looking-glass", Account::Plain),
            // Known to no cell.
            ("bob", "partner's builder", Account::Plain),
        ],
    },
];

/// Users of the first realm get tickets for services of the second one; the key that both KDCs have, as a password.
pub const TRUSTS: [(&str, &str, &str); 4] = [
    (PARTNER_REALM, FIRST_REALM, "partner to cell"),
    (PARTNER_REALM, SECOND_REALM, "partner to other"),
    (FIRST_REALM, SECOND_REALM, "cell to other"),
    (SECOND_REALM, FIRST_REALM, "other to cell"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_share_neither_address_nor_key_nor_passwords() {
        let [a, b] = &CELLS;
        assert_ne!(a.key_hex, b.key_hex);
        assert!(a.machines.iter().all(|m| b.machines.iter().all(|n| m.1 != n.1)));
        assert!(a.users.iter().all(|u| b.users.iter().all(|v| u.2 != v.2)));
    }

    #[test]
    fn every_password_of_a_name_is_another_one() {
        let cells = CELLS.iter().flat_map(|c| c.users.iter().map(|u| (u.0, u.2)));
        let all: Vec<_> =
            cells.chain(REALMS.iter().flat_map(|r| r.users.iter().map(|u| (u.0, u.1)))).collect();
        for (n, a) in all.iter().enumerate() {
            assert!(all.iter().skip(n + 1).all(|b| a.1 != b.1), "{}", a.0);
        }
    }

    #[test]
    fn who_gets_tickets_of_a_cell_s_realm_has_an_id_there() {
        for cell in &CELLS {
            let realm = REALMS.iter().find(|r| r.name == cell.realm).unwrap();
            for (name, _, account) in realm.users {
                let can = !matches!(account, Account::Disabled | Account::Expired | Account::OldEnctype);
                // A service's host keeps its first label.
                let in_cell = match *name {
                    SERVICE => "http.www".to_owned(),
                    other => other.replace('/', "."),
                };
                assert_eq!(cell.realm_only.iter().any(|(n, _)| *n == in_cell), can, "{name}");
            }
        }
    }

    #[test]
    fn keys_have_odd_parity() {
        for c in &CELLS {
            let key = u64::from_str_radix(c.key_hex, 16).unwrap().to_be_bytes();
            assert!(key.iter().all(|b| b.count_ones() % 2 == 1), "{}", c.name);
        }
    }

    #[test]
    fn outside_a_world_the_way_in_is_named() {
        if !Path::new(DESCRIPTION).exists() {
            assert!(format!("{:#}", World::here().unwrap_err()).contains("cargo xtask test"));
        }
    }
}
