//! TLS, a cache on disk, and several servers side by side: other ways for the same bytes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "this is test code")]

mod common;

use common::tls::tls_httpd;
use common::{first, first_line, get_as, password, start, world};
use integration::content::{owner_file, owner_line, pattern};
use integration::httpd::Httpd;
use integration::world::FIRST_CELL;
use std::process::Command;

/// What curl gets: status and body.
fn curl(httpd: &Httpd, args: &[&str], paths: &[String]) -> String {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--insecure", "--max-time", "60"]).args(args);
    for path in paths {
        command.arg(format!("https://{}{path}", httpd.address()));
    }
    let out = command.output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn over_tls_a_login_is_taken_where_tls_is_required() {
    let world = world();
    let httpd = tls_httpd(&world, "");
    let login = format!("alice:{}", password(world.cell(FIRST_CELL).unwrap(), "alice"));
    let body = curl(&httpd, &["--http1.1", "--user", &login], &[first(&owner_file("alice"))]);
    assert!(body.starts_with(&owner_line("alice", FIRST_CELL)), "{body}");
    let status = ["--http1.1", "--output", "/dev/null", "--write-out", "%{http_code}"];
    assert_eq!(curl(&httpd, &status, &[first(&owner_file("alice"))]), "401");
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_cache_on_disk_serves_the_same_bytes() {
    let world = world();
    let dir = "/var/cache/afsweb-test";
    std::fs::create_dir_all(dir).unwrap();
    std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    std::os::unix::fs::chown(dir, Some(33), Some(33)).unwrap();
    let httpd = start(&world, &format!("SetAFSCacheDir {dir}\nSetAFSCacheSize 512M"));
    for _ in 0..3 {
        for user in ["alice", "bob"] {
            let r = get_as(&world, &httpd, &first(&owner_file(user)), user);
            assert_eq!((r.status, first_line(&r)), (200, owner_line(user, FIRST_CELL).trim_end().to_owned()));
        }
        assert!(httpd.get(&first("sizes/1m.bin")).unwrap().body == pattern(0, 1 << 20));
    }
    assert_eq!(get_as(&world, &httpd, &first(&owner_file("alice")), "bob").status, 403);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn several_servers_run_side_by_side_each_with_its_own_broker() {
    let world = world();
    let servers = [start(&world, ""), start(&world, ""), start(&world, "")];
    let brokers: Vec<u32> = servers
        .iter()
        .map(|h| {
            integration::wait::until("broker", std::time::Duration::from_secs(20), || {
                Ok(common::broker_of(h))
            })
            .unwrap()
        })
        .collect();
    assert!(brokers[0] != brokers[1] && brokers[1] != brokers[2]);
    for httpd in &servers {
        let r = get_as(&world, httpd, &first(&owner_file("alice")), "alice");
        assert_eq!((r.status, first_line(&r)), (200, owner_line("alice", FIRST_CELL).trim_end().to_owned()));
    }
    let [one, two, three] = servers;
    one.stop(&[]).unwrap();
    assert_eq!(
        get_as(&world, &two, &first(&owner_file("bob")), "bob").status,
        200,
        "another one has stopped"
    );
    two.stop(&[]).unwrap();
    three.stop(&[]).unwrap();
}
