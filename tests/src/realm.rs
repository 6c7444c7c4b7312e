//! Makes the Kerberos realms of a world: their databases, and Debian's krb5kdc for each.
//!
//! In two steps, since servers cannot start without the keys of the first one, and need nothing of the second.

use crate::kdc::{self, Kdc, Manner, quoted};
use crate::world::{self, Account, CELLS, LOCK_AFTER, REALMS, Realm, RealmSpec, RealmUser, TRUSTS};
use anyhow::{Context as _, Result};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// The policy by which failed logins lock an account.
const LOCK_POLICY: &str = "lock";
/// Kinds of keys of all but one.
const ENCTYPES: &str = "aes256-cts:normal,aes128-cts:normal";

/// Makes the realms' databases with the keys of the AFS services, which servers need; state below `state`, logs in `logs`.
///
/// # Errors
/// A database cannot be made.
pub(crate) fn make_all(state: &Path, logs: &Path) -> Result<Vec<Realm>> {
    in_threads(&REALMS, |spec| make(spec, state, logs).with_context(|| format!("realm {}", spec.name)))
}

/// Adds the users and starts the KDCs, which run until the world ends: their process ids.
///
/// # Errors
/// A user cannot be added, or a KDC does not come up.
pub(crate) fn start_all(realms: &[Realm]) -> Result<Vec<u32>> {
    in_threads(realms, |realm| {
        let kdc = Kdc::of(realm);
        kdc.kadmin(&people(realm))?;
        kdc.start(Manner::Usual)?;
        kdc.pid().with_context(|| format!("the KDC of {} has ended at once", realm.name))
    })
}

/// Does something with each, side by side: the answers in the same order.
fn in_threads<T: Sync, U: Send>(all: &[T], f: impl Fn(&T) -> Result<U> + Sync) -> Result<Vec<U>> {
    std::thread::scope(|s| {
        let threads: Vec<_> = all.iter().map(|one| s.spawn(|| f(one))).collect();
        threads
            .into_iter()
            .map(|t| t.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread for a realm panicked"))))
            .collect()
    })
}

/// Makes a realm's database.
fn make(spec: &RealmSpec, state: &Path, logs: &Path) -> Result<Realm> {
    let dir = state.join(format!("kdc-{}", spec.name));
    fs::DirBuilder::new().mode(0o700).create(&dir).with_context(|| dir.display().to_string())?;
    let (address, port) = spec.kdc;
    let realm = Realm {
        name: spec.name.to_owned(),
        kdc: SocketAddr::from((address, port)),
        pid: 0,
        pid_file: dir.join("pid"),
        kdc_conf: dir.join("kdc.conf"),
        log: logs.join(format!("kdc-{}.log", spec.name)),
        afs: spec.afs.map(str::to_owned),
        keytab: spec.afs.map(|_| dir.join("rxkad.keytab")),
        users: users(spec),
    };
    fs::write(&realm.kdc_conf, configuration(&realm, &dir))?;
    kdc::create_database(spec.name, &realm.kdc_conf)?;
    if let (Some(afs), Some(keytab)) = (&realm.afs, &realm.keytab) {
        Kdc::of(&realm).kadmin(&[
            format!("add_principal -clearpolicy -randkey -e {ENCTYPES} {afs}"),
            format!("ktadd -norandkey -k {} {afs}", keytab.display()),
        ])?;
    }
    Ok(realm)
}

/// Those of the cell, then those of the realm alone.
fn users(spec: &RealmSpec) -> Vec<RealmUser> {
    let of_cell = CELLS.iter().filter(|c| c.realm == spec.name).flat_map(|c| c.users);
    let of_cell = of_cell.map(|&(name, _, password)| {
        let account = match name {
            world::EXPIRED => Account::PasswordExpired,
            world::LOCKABLE => Account::Lockable,
            _ => Account::Plain,
        };
        (name, password, account)
    });
    of_cell
        .chain(spec.users.iter().copied())
        .map(|(name, password, account)| RealmUser { name: name.into(), password: password.into(), account })
        .collect()
}

/// Configuration of the KDC: its own, since what clients accept is not what it has.
fn configuration(realm: &Realm, dir: &Path) -> String {
    let (name, kdc, dir) = (&realm.name, realm.kdc, dir.display());
    format!(
        "[libdefaults]\ndefault_realm = {name}\ndns_lookup_kdc = false\ndns_lookup_realm = false\n\
         [realms]\n{name} = {{\n\
         database_name = {dir}/principal\nkey_stash_file = {dir}/stash\nacl_file = {dir}/acl\n\
         kdc_listen = {kdc}\nkdc_tcp_listen = {kdc}\n\
         max_life = {}\nmax_renewable_life = 7d\nsupported_enctypes = {}\n}}\n\
         [logging]\nkdc = FILE:{}\nadmin_server = FILE:{}\n",
        kdc::MAX_LIFE,
        ENCTYPES.replace(',', " "),
        realm.log.display(),
        realm.log.display(),
    )
}

/// What makes users, and keys that are shared with other realms.
fn people(realm: &Realm) -> Vec<String> {
    let mut all = vec![format!(
        "add_policy -maxfailure {} -failurecountinterval 0 -lockoutduration 0 {LOCK_POLICY}",
        u32::from(LOCK_AFTER) * 2
    )];
    for user in &realm.users {
        let policy = match user.account {
            Account::Lockable => format!("-policy {LOCK_POLICY}"),
            _ => "-clearpolicy".to_owned(),
        };
        // A KDC that wants preauthentication by a key that the client does not take gives no clear answer.
        let preauth = match user.account {
            Account::NoPreauth | Account::OldEnctype => "-requires_preauth",
            _ => "+requires_preauth",
        };
        let special = match user.account {
            Account::PasswordExpired => "-pwexpire yesterday".to_owned(),
            Account::PasswordExpiresInDays(days) => format!("-pwexpire \"{days} days\""),
            Account::Disabled => "-allow_tix".to_owned(),
            Account::Expired => "-expire yesterday".to_owned(),
            Account::TicketLife(seconds) => format!("-maxlife \"{seconds} seconds\""),
            Account::OldEnctype => "-e arcfour-hmac:normal".to_owned(),
            Account::Plain | Account::Lockable | Account::NoPreauth => String::new(),
        };
        all.push(format!(
            "add_principal {policy} {preauth} {special} -pw {} {}",
            quoted(&user.password),
            user.name
        ));
    }
    for (from, to, key) in TRUSTS.iter().filter(|(from, to, _)| [from, to].contains(&&realm.name.as_str())) {
        all.push(format!("add_principal -clearpolicy -e {ENCTYPES} -pw {} krbtgt/{to}@{from}", quoted(key)));
    }
    all
}

/// What libkrb5 finds at /etc/krb5.conf: the realms with their addresses, and which domain is whose. Nobody else is asked.
pub(crate) fn client_configuration() -> String {
    let mut realms = String::new();
    for spec in &REALMS {
        let kdc = SocketAddr::from((spec.kdc.0, spec.kdc.1));
        realms.push_str(&format!("{} = {{\nkdc = {kdc}\n}}\n", spec.name));
    }
    let mut domains = String::new();
    for cell in &CELLS {
        domains.push_str(&format!("{0} = {1}\n.{0} = {1}\n", cell.name, cell.realm));
    }
    format!(
        "[libdefaults]\ndefault_realm = {}\ndns_lookup_kdc = false\ndns_lookup_realm = false\n\
         dns_canonicalize_hostname = false\nrdns = false\n\
         permitted_enctypes = aes256-cts aes128-cts aes256-sha2 aes128-sha2\n\
         [realms]\n{realms}[domain_realm]\n{domains}",
        world::FIRST_REALM
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_know_each_realm_and_whose_each_cell_is() {
        let text = client_configuration();
        assert!(text.contains("CELL.EXAMPLE = {\nkdc = 192.0.2.1:88\n}\n"), "{text}");
        assert!(text.contains("\nother.example = OTHER.EXAMPLE\n.other.example = OTHER.EXAMPLE\n"), "{text}");
        assert!(!text.contains("arcfour"));
    }

    #[test]
    fn a_realm_has_the_users_of_its_cell_with_their_passwords() {
        let [first, .., partner] = &REALMS;
        let all = users(first);
        let find = |name: &str| all.iter().find(|u| u.name == name).unwrap();
        assert_eq!((find("alice").password.as_str(), find("alice").account), ("wonderland", Account::Plain));
        assert_eq!(find(world::LOCKABLE).account, Account::Lockable);
        assert_eq!(find("life30").account, Account::TicketLife(30));
        assert_eq!(users(partner).len(), partner.users.len());
    }
}
