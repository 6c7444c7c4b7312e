//! Finds Debian's position-independent archives and says how to link them.

use std::path::{Path, PathBuf};

/// Where the archives may lie below a root.
const DIRS: [&str; 2] = ["usr/lib", "lib"];

fn main() {
    println!("cargo::rerun-if-env-changed=AFSWEB_OPENAFS_PREFIX");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../src/sys/abi.rs");
    let root = std::env::var_os("AFSWEB_OPENAFS_PREFIX").map_or_else(|| PathBuf::from("/"), PathBuf::from);
    let archives: Vec<Option<PathBuf>> =
        ["libuafs_pic.a", "libafsrpc_pic.a"].iter().map(|a| find(&root, a)).collect();
    let [Some(uafs), Some(afsrpc)] = archives.as_slice() else {
        println!(
            "cargo::error=libuafs_pic.a and libafsrpc_pic.a are not below {}: install Debian's package libopenafs-dev, \
             or let AFSWEB_OPENAFS_PREFIX name the directory that it was unpacked into",
            root.display()
        );
        return;
    };
    // Where the libraries of an unpacked tree lie; on an installed system the linker knows.
    if root != Path::new("/") {
        let arch = std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
        println!(
            "cargo::rustc-link-search=native={}",
            root.join(format!("usr/lib/{arch}-linux-gnu")).display()
        );
    }
    for arg in [
        "-Wl,--start-group".to_owned(),
        uafs.display().to_string(),
        afsrpc.display().to_string(),
        "-Wl,--end-group".to_owned(),
        "-l:libhcrypto.so.5".to_owned(),
        "-l:libroken.so.19".to_owned(),
        "-lcrypt".to_owned(),
        "-lpthread".to_owned(),
        "-lresolv".to_owned(),
        // Nothing may be left open, and nothing of the process may come between the archive's own calls.
        "-Wl,-z,defs".to_owned(),
        "-Wl,-Bsymbolic".to_owned(),
        "-Wl,--exclude-libs,ALL".to_owned(),
        // Files of a disk cache are opened for a moment each; no program may inherit one (see src/start.rs).
        "-Wl,--wrap=open64".to_owned(),
        "-Wl,--defsym=__wrap_open64=afsweb_open64".to_owned(),
        // The port on which file servers reach the client is of our choice (see src/start.rs).
        "-Wl,--wrap=bind".to_owned(),
        "-Wl,--defsym=__wrap_bind=afsweb_bind".to_owned(),
        // By what file servers know this process (see src/start.rs).
        "-Wl,--wrap=afs_uuid_create".to_owned(),
        "-Wl,--defsym=__wrap_afs_uuid_create=afsweb_uuid_create".to_owned(),
        // How long servers are asked, and what not at all (see src/limit.rs).
        "-Wl,--wrap=afs_Conn".to_owned(),
        "-Wl,--defsym=__wrap_afs_Conn=afsweb_conn".to_owned(),
        "-Wl,--wrap=afs_ConnByMHosts".to_owned(),
        "-Wl,--defsym=__wrap_afs_ConnByMHosts=afsweb_conn_by_hosts".to_owned(),
        "-Wl,--wrap=afs_Analyze".to_owned(),
        "-Wl,--defsym=__wrap_afs_Analyze=afsweb_analyze".to_owned(),
        "-Wl,--wrap=RXAFS_GiveUpCallBacks".to_owned(),
        "-Wl,--defsym=__wrap_RXAFS_GiveUpCallBacks=afsweb_give_up_callbacks".to_owned(),
        // The object is never unloaded: it leaves threads behind.
        "-Wl,-z,nodelete".to_owned(),
    ] {
        println!("cargo::rustc-link-arg-cdylib={arg}");
    }
    // Rust names our functions, the archive calls them so. An alias made by the linker stays local to the object.
    for name in [
        "CreateSyntax",
        "AddParmAtOffset",
        "Parse",
        "OptionPresent",
        "OptionAsInt",
        "OptionAsString",
        "SetCommandName",
        "OpenConfigFile",
        "FreeOptions",
    ] {
        println!("cargo::rustc-link-arg-cdylib=-Wl,--defsym=cmd_{name}=afsweb_cmd_{name}");
    }
}

/// The archive `name` below `root`.
fn find(root: &Path, name: &str) -> Option<PathBuf> {
    DIRS.iter().map(|d| root.join(d).join(name)).find(|p| p.is_file())
}
