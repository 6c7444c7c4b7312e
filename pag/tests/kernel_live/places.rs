//! Makes the places that the scenes read, and reads them from another process.

use crate::outside::kind;
use crate::processes::answer;
use crate::stage::{PLACES, Stage, reads};
use pag::ClientKind;
use pag::userspace::Rights;
use std::process::Command;

/// Makes the places, as admin.
pub(super) fn content() {
    let stage = Stage::open_as_root(1);
    let cell = stage.cell();
    let dir = format!("/afs/.{}/pag-kernel-{}", cell.as_str(), std::process::id());
    let admin = stage.pag("admin");
    let scope = admin.enter().unwrap();
    let all = ["system:administrators", "rlidwka"];
    std::fs::create_dir(&dir).unwrap();
    set_acl(&dir, &[&all[..], &["system:anyuser", "l"]].concat(), &[]);
    for (place, positive, negative) in PLACES {
        let at = format!("{dir}/{place}");
        std::fs::create_dir(&at).unwrap();
        std::fs::write(format!("{at}/file"), place).unwrap();
        set_acl(&at, &[&all[..], positive].concat(), negative);
    }
    // Whoever may not search the cell's root gets nowhere.
    if std::thread::scope(|s| {
        s.spawn(|| {
            stage.afs().leave();
            std::fs::metadata(&dir).is_err()
        })
        .join()
    })
    .unwrap()
    {
        let root = format!("/afs/.{}", cell.as_str());
        set_acl(&root, &[&all[..], &["system:anyuser", "rl"]].concat(), &[]);
    }
    drop(scope);
    if kind() == ClientKind::Kafs {
        // It remembers rights from before the lists were changed.
        for args in [vec!["umount", "/afs"], vec!["mount", "-t", "afs", "none", "/afs", "-o", "dyn"]] {
            assert!(Command::new(args[0]).args(&args[1..]).status().unwrap().success());
        }
    }
    println!("directory {dir}");
}

/// Sets an access list as the calling thread: names and rights in turn.
pub(crate) fn set_acl(dir: &str, positive: &[&str], negative: &[&str]) {
    if kind() == ClientKind::Kafs {
        let lines = |acl: &[&str]| {
            acl.chunks(2)
                .map(|e| format!("{}\t{}\n", e[0], Rights::parse(e[1]).unwrap().0))
                .collect::<String>()
        };
        let (p, n) = (positive.len() / 2, negative.len() / 2);
        let text = format!("{p}\n{n}\n{}{}\0", lines(positive), lines(negative));
        rustix::fs::setxattr(dir, "afs.acl", text.as_bytes(), rustix::fs::XattrFlags::empty()).unwrap();
        return;
    }
    let fs = |args: &[&str]| {
        let done = Command::new("fs").args(["setacl", "-dir", dir, "-acl"]).args(args).status().unwrap();
        assert!(done.success(), "{args:?}");
    };
    fs(&[positive, &["-clear"]].concat());
    if !negative.is_empty() {
        fs(&[negative, &["-negative"]].concat());
    }
}

/// Says of each path on standard input whether it can be read.
pub(super) fn reader() {
    answer(|line| {
        let (path, contents) = line.split_once(' ').unwrap();
        reads(path, contents).to_string()
    });
}
