//! What `configtest` says to configurations that cannot work: each a sentence that names what would be right.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "this is test code")]

mod common;

use common::{afs_config, world};
use integration::httpd::{Mpm, Options, configtest};

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn the_standard_configuration_passes() {
    let world = world();
    for mpm in Mpm::ALL {
        let mut options = Options::new(mpm);
        options.afs = Some(afs_config(&world, ""));
        let out = configtest(&world, options).unwrap();
        assert!(out.status.success(), "{mpm}: {}", String::from_utf8_lossy(&out.stderr));
    }
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn wrong_configurations_are_refused_with_a_useful_sentence() {
    let world = world();
    let good = afs_config(&world, "");
    let loose = "/run/loose-weblog-starter";
    std::fs::copy(world.programs.weblog_starter.as_deref().unwrap(), loose).unwrap();
    std::fs::set_permissions(loose, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let (open, keytab) = ("/run/open.keytab", "/run/service.keytab");
    for (file, mode) in [(open, 0o644), (keytab, 0o640)] {
        std::fs::write(file, [5, 2, 0, 0]).unwrap();
        std::os::unix::fs::chown(file, Some(0), Some(common::keys::id_of("weblog", 3))).unwrap();
        std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }
    let service = |cell: &str, file: &str| format!("{good}AFSServiceIdentity {cell} www {file}\n");
    let require = |line: &str| format!("{good}<Location /afs/x>\nRequire {line}\n</Location>\n");
    // What is changed or added, and words that the sentence must have.
    let table: Vec<(String, &[&str])> = vec![
        (format!("{good}SetAFSDefaultCell bad..cell\n"), &["SetAFSDefaultCell", "letters"]),
        (format!("{good}SetAFSDefaultCell third.example\n"), &["third.example", "SetAFSCells"]),
        (format!("{good}SetAFSCells cell.example nowhere.example\n"), &["nowhere.example", "CellServDB"]),
        (
            format!("{good}SetAFSRealms PARTNER.EXAMPLE\n"),
            &["SetAFSRealms PARTNER.EXAMPLE", "AFSAuthMethod cell.example", "kaserver", "auto"],
        ),
        (format!("{good}SetAFSCacheExpiration soon\n"), &["SetAFSCacheExpiration", "seconds"]),
        (format!("{good}SetAFSTokenExpiration -5\n"), &["SetAFSTokenExpiration", "seconds"]),
        (format!("{good}SetAFSWeblogPath /nonexistent/weblog-starter\n"), &["/nonexistent/weblog-starter"]),
        (format!("{good}SetAFSWeblogPath {loose}\n"), &["/run/loose-weblog-starter", "written to by others"]),
        (format!("{good}<Location /x>\nAFSAuthType AFS-DFS\n</Location>\n"), &["AFS-DFS", "AFS"]),
        (format!("{good}<Location /x>\nAFSAuthType Afs5\n</Location>\n"), &["AFSAuthType", "None"]),
        (format!("{good}<Directory /afs>\nAFSAuthType AFS\n</Directory>\n"), &["AFSAuthType", "Location"]),
        (format!("{good}SetAFSClient floppy\n"), &["SetAFSClient", "userspace"]),
        (format!("{good}SetAFSClient openafs\n"), &["SetAFSClient openafs", "afsd", "user-space client"]),
        (format!("{good}SetAFSClient kafs\n"), &["SetAFSClient kafs", "/afs", "user-space client"]),
        (format!("{good}SetAFSPags 0\n"), &["SetAFSPags", "4096"]),
        (format!("{good}SetAFSLanes 0\n"), &["SetAFSLanes", "64"]),
        (format!("{good}SetAFSWeblogUser root\n"), &["SetAFSWeblogUser", "root"]),
        (format!("{good}SetAFSWeblogUser www-data\n"), &["SetAFSWeblogUser", "www-data"]),
        (format!("{good}SetAFSWeblogUser no-such-user\n"), &["no-such-user"]),
        (format!("{good}SetAFSConfDir /nonexistent\n"), &["/nonexistent", "CellServDB"]),
        (format!("{good}SetAFSMountpointDir afs\n"), &["SetAFSMountpointDir", "absolute"]),
        (format!("{good}SetAFSCacheSize many\n"), &["SetAFSCacheSize"]),
        (require("afs-user Alice"), &["Require afs-user", "lower case"]),
        (require("afs-user carol/admin"), &["Require afs-user", "carol.admin"]),
        (
            require("afs-user bob@third.example"),
            &["Require afs-user", "third.example", "SetAFSCells", "httpd.conf:"],
        ),
        (require("afs-group"), &["Require afs-group", "alice:friends"]),
        (require("afs-group a:b@PARTNER.EXAMPLE"), &["Require afs-group", "PARTNER.EXAMPLE", "SetAFSCells"]),
        (require("afs-right fly"), &["Require afs-right", "administer"]),
        (
            "<Directory /srv>\nRequire afs-user alice@cell.example\n</Directory>\n".to_owned(),
            &["Require afs-user", "AFSAuthType AFS"],
        ),
        (
            format!("{good}<Location /afs>\nAFSCells third.example\n</Location>\n"),
            &["AFSCells third.example", "SetAFSCells"],
        ),
        (service("cell.example", open), &["AFSServiceIdentity", "open to everybody", "chmod"]),
        (service("third.example", open), &["AFSServiceIdentity third.example", "SetAFSCells"]),
        (service("cell.example", keytab), &["AFSServiceIdentity", "is a keytab", "srvtab"]),
        (service("cell.example", "/nonexistent"), &["/nonexistent", "does not exist"]),
        (
            format!("{good}<Directory /afs>\nAFSServiceIdentity none\n</Directory>\n"),
            &["AFSServiceIdentity", "<Directory>", "Location"],
        ),
    ];
    for (afs, words) in table {
        let mut options = Options::new(Mpm::Event);
        let last = afs.lines().rev().take(3).map(str::to_owned).collect::<Vec<_>>().join(" / ");
        options.afs = Some(afs);
        let out = configtest(&world, options).unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout);
        assert!(!out.status.success(), "accepted: {last}");
        for word in words {
            assert!(said.contains(word), "{last}: {word:?} is not in: {said}");
        }
        common::report(said.lines().find(|l| words.iter().all(|w| l.contains(w))).unwrap_or(&said).trim());
    }
}
