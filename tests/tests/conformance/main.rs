//! What HTTP asks of a server, row by row: methods, targets, identities, headers, and messages that are broken.
//!
//! What a row expects comes from RFC 9110, 9112 and 4918 and from docs/admin.md; where httpd, or an AFS client, answers
//! something else, the row says so and why. All rows go to one httpd; what came of them is printed at the end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

#[path = "../common/mod.rs"]
mod common;
mod connections;
mod contents;
mod identities;
mod messages;
mod methods;
mod row;
mod run;
mod targets;
mod writes;

use common::{afs_client, afs_config_without_methods, report, world};
use integration::httpd::{Httpd, Mpm, Options};
use integration::table::{Answered, Mark};
use integration::world::{FIRST_CELL, PARTNER_REALM, SECOND_CELL, World};
use row::Row;
use run::Runner;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write as _;
use std::os::unix::fs::chown;
use std::path::PathBuf;

/// The table.
fn table() -> Vec<Row> {
    [
        methods::rows(),
        targets::rows(),
        identities::rows(),
        contents::rows(),
        messages::rows(),
        writes::rows(),
        connections::rows(),
    ]
    .concat()
}

/// A server with all that the rows ask for.
fn start(world: &World, mpm: Mpm) -> Httpd {
    let locks = PathBuf::from(format!("/srv/dav-locks/conformance-{}", std::process::id()));
    std::fs::create_dir_all(&locks).unwrap();
    // www-data
    chown(&locks, Some(33), Some(33)).unwrap();
    let dav: String = ["write", "replica"]
        .map(|dir| {
            format!(
                "<Location /afs/{FIRST_CELL}/{dir}>\nDav afs\nDavGenericLockDB {}/locks\n</Location>\n",
                locks.display()
            )
        })
        .concat();
    let more = format!(
        "AFSAuthMethod {FIRST_CELL} krb5\nAFSAuthMethod {SECOND_CELL} kaserver\nSetAFSRealms {PARTNER_REALM}\n{dav}\
         <Directory /afs/{FIRST_CELL}/public/list>\nOptions +Indexes\n</Directory>\n\
         <Directory /afs/{FIRST_CELL}/alice-sizes>\nOptions +Indexes\n</Directory>\n\
         UserDir /afs/{FIRST_CELL}/home\n<LocationMatch ^/~>\nAFSAuthType AFS\n</LocationMatch>\n\
         Alias /area /afs/{SECOND_CELL}\n<Location /area>\nAFSAuthType AFS\nAFSLogin none\n</Location>\n\
         <Location /afs/{FIRST_CELL}/public/deep>\nAFSLogin required\n</Location>\n\
         <VirtualHost *>\nServerName localhost\n</VirtualHost>\n\
         <VirtualHost *>\nServerName tls.example\nSetAFSRequireTLS On\n</VirtualHost>\n"
    );
    let mut options = Options::new(mpm);
    options.afs = Some(afs_config_without_methods(world, &more));
    options.modules = ["dav", "dav_lock", "userdir"].map(String::from).to_vec();
    if mpm != Mpm::Prefork {
        options.modules.push("http2".into());
        options.extra.push_str("Protocols h2c http/1.1\n");
    }
    Httpd::start(world, options).unwrap()
}

/// Shows what came of the rows, and what is to be said of them.
fn show(answered: &[Answered], client: &str, mpm: Mpm) {
    let mut out = std::io::stdout().lock();
    let mut say = |line: &str| {
        let _ = writeln!(out, "{line}");
    };
    say(&format!("what came of each row on {client} with {mpm}: status seen/expected"));
    answered.iter().for_each(|a| say(&a.to_string()));
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for a in answered.iter().filter(|a| matches!(a.mark, Mark::Deviates | Mark::Absent)) {
        reasons.entry(a.why.as_deref().unwrap_or_default()).or_default().push(&a.name);
    }
    for (why, names) in reasons {
        say(&format!("  {why}: {}", names.join("; ")));
    }
    let count = |mark: Mark| answered.iter().filter(|a| a.mark == mark).count();
    say(&format!(
        "{} rows on {client} with {mpm}: {} as expected, {} deviate and say why, {} cannot be asked for, {} failed",
        answered.len(),
        count(Mark::Ok),
        count(Mark::Deviates),
        count(Mark::Absent),
        count(Mark::Failed)
    ));
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn each_request_is_answered_as_its_row_says() {
    let (world, client, mpm) = (world(), afs_client(), Mpm::from_env().unwrap());
    let httpd = start(&world, mpm);
    let mut runner = Runner {
        httpd: &httpd,
        mpm,
        client: client.clone(),
        dir: row::first(&format!("write/alice/conformance-{}", std::process::id())),
        validators: HashMap::new(),
        slow: Vec::new(),
    };
    let rows = table();
    let answered = runner.run(&rows);
    show(&answered, &client, mpm);
    runner.slow.iter().for_each(|row| report(&format!("slow: {row}")));
    assert_eq!(answered.len(), rows.len());
    let failed: Vec<&str> =
        answered.iter().filter(|a| a.mark == Mark::Failed).map(|a| a.name.as_str()).collect();
    assert!(failed.is_empty(), "{} rows failed (see above):\n{}", failed.len(), failed.join("\n"));
    httpd.stop(&["NoSuchDirective"]).unwrap();
}

#[test]
fn there_are_two_hundred_rows_each_with_a_name_of_its_own() {
    let rows = table();
    assert!(rows.len() >= 200, "{}", rows.len());
    let names: HashSet<&str> = rows.iter().map(|r| r.name.as_str()).collect();
    let twice: Vec<&str> = {
        let mut seen = HashSet::new();
        rows.iter().map(|r| r.name.as_str()).filter(|n| !seen.insert(*n)).collect()
    };
    assert!(twice.is_empty(), "{twice:?}");
    assert_eq!(names.len(), rows.len());
    assert!(rows.iter().all(|r| !r.name.contains(" -- ") && !r.name.contains('\n')));
}

#[test]
fn whoever_deviates_says_why() {
    for r in table() {
        for (seen, why) in r.but.iter().copied().chain(r.on.iter().map(|(_, seen, why)| (*seen, *why))) {
            assert!(seen != r.want && why.len() > 10, "{}", r.name);
        }
    }
}
