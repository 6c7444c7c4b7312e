//! That a guest is what it says: its kernel's AFS client serves both cells, and AFS decides.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "this is test code")]

mod common;

use common::{first, second, world};
use integration::content::PUBLIC_LINE;
use integration::kernel_client::{KernelClient, VARIABLE};
use std::fs;
use std::io::ErrorKind;

/// The client that this guest was started for.
fn client() -> KernelClient {
    let client = world().client.expect("no kernel's client here");
    assert_eq!(std::env::var(VARIABLE).as_deref(), Ok(client.as_str()));
    client
}

#[test]
#[ignore = "needs a guest: run by cargo xtask vm test"]
fn the_kernel_s_client_serves_both_cells() {
    for path in [first(""), first("public"), second("")] {
        let kind = rustix::fs::statfs(path.trim_end_matches('/')).unwrap().f_type;
        assert_eq!(kind, client().magic(), "{path}: {kind:#x}");
    }
}

#[test]
#[ignore = "needs a guest: run by cargo xtask vm test"]
fn what_is_public_can_be_read() {
    for path in [first("public/page.html"), second("public/page.html"), first("far/page.html")] {
        let text = fs::read_to_string(&path).expect(&path);
        assert!(text.starts_with(PUBLIC_LINE), "{path}: {text}");
    }
    let names: Vec<_> = fs::read_dir(first("public")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(names.iter().any(|n| n == "page.html"), "{names:?}");
}

#[test]
#[ignore = "needs a guest: run by cargo xtask vm test"]
fn what_is_private_is_refused_without_a_token() {
    for path in [first("alice-only/page.html"), second("auth/page.html")] {
        let e = fs::read(&path).expect_err(&path);
        assert_eq!(e.kind(), ErrorKind::PermissionDenied, "{path}: {e}");
    }
}

#[test]
#[ignore = "needs a guest: run by cargo xtask vm test"]
fn a_name_that_is_no_cell_is_not_there() {
    for path in ["/afs/nocell.example/page.html", "/afs/.htaccess"] {
        let e = fs::read(path).expect_err(path);
        assert_eq!(e.kind(), ErrorKind::NotFound, "{path}: {e}");
    }
}
