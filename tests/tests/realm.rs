//! The harness's Kerberos realms, by Debian's kinit and kvno and a real file server: what logins of the product are measured by.
//!
//! Nothing of the product's logins takes part: tickets come by `integration::ticket`, files by the user-space client.
//! That client is one in a process, so the tests share it and run one after the other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "this is test code")]

mod common;

use common::{KdcMischief, kdc, report, timed, world};
use integration::ccache::Credential;
use integration::content::{PUBLIC_LINE, owner_file, owner_line};
use integration::kdc::{IMPOSTORS_PASSWORD, Manner};
use integration::ticket::{self, Tickets};
use integration::wait::slow_factor;
use integration::world::{
    Account, EXPIRED, FIRST_CELL, FIRST_REALM, LOCK_AFTER, LOCKABLE, PARTNER_REALM, SECOND_CELL,
    SECOND_REALM, World,
};
use pag::userspace::{Config, Userspace, snapshot_confdir};
use pag::{AfsClient as _, Error, Token};
use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The first cell's AFS service.
const AFS: &str = "afs/cell.example@CELL.EXAMPLE";

/// One test at a time: some of them take a KDC away.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The process's AFS client.
fn afs(world: &World) -> &'static Arc<Userspace> {
    static CLIENT: OnceLock<(Arc<Userspace>, tempfile::TempDir)> = OnceLock::new();
    let (client, _) = CLIENT.get_or_init(|| {
        let conf = tempfile::tempdir().unwrap();
        snapshot_confdir(&world.conf_dir, conf.path()).unwrap();
        let object = world.programs.uafs.as_ref().expect("the user-space client is built");
        (Userspace::start(&Config::new(object, conf.path())).unwrap(), conf)
    });
    client
}

/// The first line of a file of the first cell, as whoever has this token.
///
/// # Errors
/// The errno.
fn first_line(world: &World, token: Option<&Token>, path: &str) -> Result<String, i32> {
    let afs = afs(world);
    let pag = afs.clone().new_pag().unwrap();
    if let Some(token) = token {
        pag.set_token(token).unwrap();
    }
    let scope = pag.enter().unwrap();
    let path = format!("/afs/{FIRST_CELL}/{path}");
    let body = afs.files(&scope).and_then(|f| f.read_file(path.as_bytes(), 1 << 20));
    let body = body.map_err(|e: Error| e.errno().unwrap())?;
    Ok(String::from_utf8_lossy(&body).lines().next().unwrap_or_default().to_owned() + "\n")
}

/// A user's password.
fn password<'a>(world: &'a World, realm: &str, user: &str) -> &'a str {
    &world.realm(realm).unwrap().user(user).unwrap().password
}

/// Logs a user in.
fn log_in(world: &World, realm: &str, user: &str) -> Tickets {
    let tickets = Tickets::new().unwrap();
    tickets.log_in(&format!("{user}@{realm}"), password(world, realm, user)).unwrap();
    tickets
}

/// A user's ticket for the first cell, and the token that it makes.
fn token(world: &World, realm: &str, user: &str) -> (Credential, Token) {
    let credential = log_in(world, realm, user).service(AFS).unwrap();
    let token = ticket::token(FIRST_CELL, &credential).unwrap();
    (credential, token)
}

/// Why a login in the first realm fails.
fn refused(user: &str, password: &str) -> String {
    let answer = Tickets::new().unwrap().log_in(&format!("{user}@{FIRST_REALM}"), password);
    answer.expect_err("he is not to be let in").to_string()
}

/// What the KDC of the first realm has written while `f` was done.
fn logged<T>(world: &World, f: impl FnOnce() -> T) -> (T, String) {
    let log = &world.realm(FIRST_REALM).unwrap().log;
    let before = fs::read_to_string(log).unwrap().len();
    let value = f();
    (value, fs::read_to_string(log).unwrap()[before..].to_owned())
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_user_of_each_cell_gets_tickets_with_aes_keys_by_his_kaserver_password() {
    let _one = alone();
    let world = world();
    for (cell, service) in [(FIRST_CELL, AFS), (SECOND_CELL, "afs@OTHER.EXAMPLE")] {
        let cell = world.cell(cell).unwrap();
        let realm = cell.realm.as_ref().unwrap();
        for user in cell.users.iter().filter(|u| u.name != EXPIRED && u.name != LOCKABLE) {
            let tickets = Tickets::new().unwrap();
            tickets.log_in(&format!("{}@{realm}", user.name), &user.password).unwrap();
            let credential = tickets.service(service).unwrap();
            assert_eq!(credential.client, format!("{}@{realm}", user.name));
            let list = tickets.list().unwrap();
            // Session key and ticket.
            let kinds = list.lines().rfind(|l| l.contains("Etype")).unwrap();
            assert_eq!(kinds.matches("aes256-cts-hmac-sha1-96").count(), 2, "{kinds}");
        }
    }
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn the_file_server_takes_tickets_of_the_kdc_beside_those_of_the_kaserver() {
    let _one = alone();
    let world = world();
    let own = owner_file("alice");
    let line = owner_line("alice", FIRST_CELL);
    let (credential, alice) = token(&world, FIRST_REALM, "alice");
    assert_eq!(first_line(&world, Some(&alice), &own), Ok(line.clone()));
    let (_, bob) = token(&world, FIRST_REALM, "bob");
    assert_eq!(first_line(&world, Some(&bob), &own), Err(libc::EACCES));
    assert_eq!(first_line(&world, None, &own), Err(libc::EACCES));
    // The same for a ticket under the DES key.
    let cell = world.cell(FIRST_CELL).unwrap();
    let key: kaserver::Key = cell.key_hex.parse().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let begin = u32::try_from(now).unwrap() - 60;
    let t = kaserver::mint_token("alice", "", begin, 36_000, &key, cell.kvno.into()).unwrap();
    let old = Token {
        kvno: t.kvno,
        key: pag::SessionKey(t.session_key),
        begin: t.begin.into(),
        end: t.end.into(),
        ticket: t.ticket.clone().into(),
        ..alice.clone()
    };
    assert_eq!(first_line(&world, Some(&old), &own), Ok(line));
    // One that is not what the KDC sealed, and one under another session key.
    let mut forged = alice.clone();
    *forged.ticket.last_mut().unwrap() ^= 1;
    assert_eq!(first_line(&world, Some(&forged), &own), Err(libc::EACCES));
    let mut other_key = alice.clone();
    other_key.key = pag::SessionKey(ticket::des_key(18, &[7; 32]).unwrap());
    assert_eq!(first_line(&world, Some(&other_key), &own), Err(libc::EACCES));
    report(&format!("a ticket of alice's has {} bytes", credential.ticket.len()));
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn an_instance_is_somebody_else_in_the_cell() {
    let _one = alone();
    let world = world();
    let (_, admin) = token(&world, FIRST_REALM, "carol/admin");
    let (_, carol) = token(&world, FIRST_REALM, "carol");
    let page = "carol-admin/page.html";
    assert_eq!(first_line(&world, Some(&admin), page), Ok(owner_line("carol.admin", FIRST_CELL)));
    assert_eq!(first_line(&world, Some(&carol), page), Err(libc::EACCES));
    assert_eq!(first_line(&world, Some(&admin), &owner_file("carol")), Err(libc::EACCES));
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn people_of_other_realms_are_who_the_cell_knows_or_nobody() {
    let _one = alone();
    let world = world();
    let (credential, alice) = token(&world, PARTNER_REALM, "alice");
    assert_eq!(credential.client, "alice@PARTNER.EXAMPLE");
    assert_eq!(
        first_line(&world, Some(&alice), "partner/page.html"),
        Ok(owner_line("alice", "partner.example"))
    );
    assert_eq!(first_line(&world, Some(&alice), &owner_file("alice")), Err(libc::EACCES));
    // Of the group of the cell's own users is none of them.
    assert_eq!(first_line(&world, Some(&alice), "auth/page.html"), Err(libc::EACCES));
    for (realm, user) in [(PARTNER_REALM, "bob"), (SECOND_REALM, "zoe"), (SECOND_REALM, "alice")] {
        let (_, stranger) = token(&world, realm, user);
        for page in ["partner/page.html", "auth/page.html", &owner_file("alice"), &owner_file("bob")] {
            assert_eq!(first_line(&world, Some(&stranger), page), Err(libc::EACCES), "{user}@{realm} {page}");
        }
        assert_eq!(first_line(&world, Some(&stranger), "public/page.html"), Ok(PUBLIC_LINE.to_owned()));
    }
    // The other way.
    log_in(&world, FIRST_REALM, "alice").service("afs@OTHER.EXAMPLE").unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn each_account_gets_the_answer_of_its_kind() {
    let _one = alone();
    let world = world();
    // User, password, kinit's words, the KDC's words.
    let mut table = vec![
        ("alice".to_owned(), "wrong".to_owned(), "Password incorrect", "PREAUTH_FAILED"),
        ("nobody-here".to_owned(), "x".to_owned(), "not found in Kerberos database", "CLIENT_NOT_FOUND"),
    ];
    for user in &world.realm(FIRST_REALM).unwrap().users {
        let (kinit, log) = match user.account {
            // kinit goes on to ask for another one, which it does not get.
            Account::PasswordExpired => ("Cannot read password", "CLIENT KEY EXPIRED"),
            Account::Disabled => ("credentials have been revoked", "CLIENT LOCKED OUT"),
            Account::Expired => ("entry in database has expired", "CLIENT EXPIRED"),
            Account::OldEnctype => ("no support for encryption type", "no support for encryption type"),
            _ => continue,
        };
        table.push((user.name.clone(), user.password.clone(), kinit, log));
    }
    assert_eq!(table.len(), 6);
    for (user, password, kinit, log) in table {
        let (answer, lines) = logged(&world, || refused(&user, &password));
        assert!(answer.contains(kinit), "{user}: {answer}");
        assert!(lines.contains(log), "{user}: {lines}");
        report(&format!("{user}: {}", answer.lines().last().unwrap()));
    }
    // These get in, each with something of his own.
    let (said, lines) = logged(&world, || {
        let tickets = Tickets::new().unwrap();
        tickets.log_in("nopreauth@CELL.EXAMPLE", password(&world, FIRST_REALM, "nopreauth")).unwrap()
    });
    assert!(!lines.contains("NEEDED_PREAUTH") && !said.contains("expire"), "{said}{lines}");
    let soon = Tickets::new().unwrap();
    let said = soon.log_in("pwsoon@CELL.EXAMPLE", password(&world, FIRST_REALM, "pwsoon")).unwrap();
    assert!(said.contains("Your password will expire in"), "{said}");
    for (user, life) in [("life120", 120), ("life30", 30)] {
        let (credential, _) = token(&world, FIRST_REALM, user);
        let seen = credential.end - credential.start;
        assert!(seen <= life && seen + 20 * slow_factor() >= life, "{user}: {seen} s");
    }
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn failed_logins_lock_an_account_until_it_is_unlocked() {
    let _one = alone();
    let world = world();
    let right = password(&world, FIRST_REALM, LOCKABLE);
    kdc(&world, FIRST_REALM).unlock(LOCKABLE).unwrap();
    for _ in 0..2 * LOCK_AFTER {
        assert!(refused(LOCKABLE, "wrong").contains("Password incorrect"));
    }
    let (answer, lines) = logged(&world, || refused(LOCKABLE, right));
    assert!(answer.contains("credentials have been revoked"), "{answer}");
    assert!(lines.contains("LOCKED_OUT"), "{lines}");
    kdc(&world, FIRST_REALM).unlock(LOCKABLE).unwrap();
    log_in(&world, FIRST_REALM, LOCKABLE);
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn kadmin_changes_what_the_kdc_says() {
    let _one = alone();
    let world = world();
    let kdc = kdc(&world, FIRST_REALM);
    let right = password(&world, FIRST_REALM, "mallory");
    kdc.set_password("mallory", "an \"other\" one, \u{2603}").unwrap();
    let old = refused("mallory", right);
    let new = Tickets::new().unwrap().log_in("mallory@CELL.EXAMPLE", "an \"other\" one, \u{2603}");
    kdc.set_password("mallory", right).unwrap();
    assert!(old.contains("Password incorrect"), "{old}");
    new.unwrap();
    log_in(&world, FIRST_REALM, "mallory");
    // Several commands in one process, and none of them fails in silence.
    let said = kdc.kadmin(&["get_principal alice", "get_principal bob"]).unwrap();
    assert!(said.contains("Principal: alice@") && said.contains("Principal: bob@"), "{said}");
    assert!(kdc.kadmin(&["get_principal no-such-user", "get_principal bob"]).is_err());
    assert!(kdc.kadmin(&["no_such_command"]).is_err());
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_realm_without_an_afs_service_says_so_and_one_that_refuses_the_kind_of_key_too() {
    /// Puts it back, also after a failure.
    struct Back<'a>(&'a World, &'a str);
    impl Drop for Back<'_> {
        fn drop(&mut self) {
            kdc(self.0, FIRST_REALM).kadmin(&[self.1]).unwrap();
        }
    }
    let _one = alone();
    let world = world();
    let alice = log_in(&world, PARTNER_REALM, "alice");
    for service in ["afs/partner.example@PARTNER.EXAMPLE", "afs@PARTNER.EXAMPLE", "afs@CELL.EXAMPLE"] {
        let answer = alice.service(service).unwrap_err().to_string();
        assert!(answer.contains("not found in Kerberos database"), "{service}: {answer}");
    }
    for (change, undo, says) in [
        (
            "rename_principal -force afs/cell.example away/cell.example",
            "rename_principal -force away/cell.example afs/cell.example",
            "not found in Kerberos database",
        ),
        (
            "set_string afs/cell.example session_enctypes arcfour-hmac",
            "del_string afs/cell.example session_enctypes",
            "no support for encryption type",
        ),
    ] {
        kdc(&world, FIRST_REALM).kadmin(&[change]).unwrap();
        let back = Back(&world, undo);
        let answer = log_in(&world, FIRST_REALM, "alice").service(AFS).unwrap_err().to_string();
        assert!(answer.contains(says), "{change}: {answer}");
        drop(back);
    }
    let (_, token) = token(&world, FIRST_REALM, "alice");
    assert!(first_line(&world, Some(&token), &owner_file("alice")).is_ok(), "all is as it was");
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_kdc_that_is_silent_or_gone_is_given_up() {
    let _one = alone();
    let world = world();
    for (what, mischief) in [("silent", true), ("gone", false)] {
        let guard = if mischief {
            KdcMischief::pause(&world, FIRST_REALM)
        } else {
            KdcMischief::stop(&world, FIRST_REALM)
        };
        let (answer, took) = timed(|| refused("alice", "wonderland"));
        assert!(answer.contains("Cannot contact any KDC for realm 'CELL.EXAMPLE'"), "{what}: {answer}");
        assert!(took < Duration::from_secs(60) * slow_factor(), "{what}: {took:?}");
        report(&format!("kinit gives a KDC up that is {what} after {:.1} s", took.as_secs_f32()));
        // Nobody else is touched.
        log_in(&world, SECOND_REALM, "alice");
        drop(guard);
        log_in(&world, FIRST_REALM, "alice");
    }
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_kdc_with_a_wrong_clock_is_told_by_who_does_not_follow_it() {
    let _one = alone();
    let world = world();
    let strict = fs::read_to_string("/etc/krb5.conf")
        .unwrap()
        .replace("[libdefaults]\n", "[libdefaults]\nkdc_timesync = 0\n");
    for seconds in [3_600, -3_600] {
        let mischief = KdcMischief::run(&world, FIRST_REALM, Manner::Skewed(seconds));
        let tickets = Tickets::configured(&strict).unwrap();
        let answer = tickets.log_in("alice@CELL.EXAMPLE", "wonderland").unwrap_err().to_string();
        assert!(answer.contains("Clock skew too great"), "{seconds}: {answer}");
        report(&format!("{seconds} s: {answer}"));
        drop(mischief);
        Tickets::configured(&strict).unwrap().log_in("alice@CELL.EXAMPLE", "wonderland").unwrap();
    }
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_ticket_of_ten_thousand_bytes_goes_from_the_kdc_to_the_file_server() {
    let _one = alone();
    let world = world();
    let own = owner_file("alice");
    for bytes in [10_000, 11_300] {
        let mischief = KdcMischief::run(&world, FIRST_REALM, Manner::LargeTickets(bytes));
        let (credential, alice) = token(&world, FIRST_REALM, "alice");
        let len = credential.ticket.len();
        report(&format!("a ticket of {len} bytes"));
        assert!((bytes..=Token::TICKET_MAX).contains(&len), "{len}");
        assert_eq!(first_line(&world, Some(&alice), &own), Ok(owner_line("alice", FIRST_CELL)));
        drop(mischief);
    }
    let (credential, _) = token(&world, FIRST_REALM, "alice");
    assert!(credential.ticket.len() < 1_000, "back to the usual ones");
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn an_impostor_lets_his_guests_in_and_the_cell_does_not() {
    let _one = alone();
    let world = world();
    let own = owner_file("alice");
    {
        let _mischief = KdcMischief::run(&world, FIRST_REALM, Manner::Impostor);
        let tickets = Tickets::new().unwrap();
        tickets.log_in("alice@CELL.EXAMPLE", IMPOSTORS_PASSWORD).unwrap();
        let forged = ticket::token(FIRST_CELL, &tickets.service(AFS).unwrap()).unwrap();
        assert_eq!(first_line(&world, Some(&forged), &own), Err(libc::EACCES));
    }
    assert!(refused("alice", IMPOSTORS_PASSWORD).contains("Password incorrect"));
    let (_, alice) = token(&world, FIRST_REALM, "alice");
    assert_eq!(first_line(&world, Some(&alice), &own), Ok(owner_line("alice", FIRST_CELL)));
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_keytab_logs_its_principal_in_and_leaves_his_password() {
    let _one = alone();
    let world = world();
    let dir = tempfile::tempdir().unwrap();
    let keytab = dir.path().join("dave's keytab");
    kdc(&world, FIRST_REALM).keytab("dave", &keytab).unwrap();
    let tickets = Tickets::new().unwrap();
    tickets.log_in_by_keytab("dave@CELL.EXAMPLE", &keytab).unwrap();
    let dave = ticket::token(FIRST_CELL, &tickets.service(AFS).unwrap()).unwrap();
    assert_eq!(first_line(&world, Some(&dave), &owner_file("dave")), Ok(owner_line("dave", FIRST_CELL)));
    log_in(&world, FIRST_REALM, "dave");
}
