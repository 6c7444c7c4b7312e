//! Nobody looks into a process that holds secrets, and none of these leaves a core.
//!
//! What a kernel makes of a process that has changed its uid is for `fs.suid_dumpable` to say. Guests have a kernel of their
//! own, so there it says that such processes are as any other: what is hidden all the same has hidden itself.

use crate::common::{below, broker_of, first, get_as, nanny_of, password, report, start, world};
use crate::{UID, for_children};
use integration::content::owner_file;
use integration::dumpable::{
    allow_cores, cores_in, cores_lie_in_the_working_directory, is_open, lift_core_limit,
};
use integration::http::Request;
use integration::httpd::Httpd;
use integration::process::{Guarded, is_alive, signal_pid};
use integration::wait;
use integration::world::FIRST_CELL;
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const SUID_DUMPABLE: &str = "/proc/sys/fs/suid_dumpable";
const SOON: Duration = Duration::from_secs(30);

/// `fs.suid_dumpable` of a guest, as it was when this goes.
struct SuidDumpable(Option<String>);

impl SuidDumpable {
    /// In a guest: a process that changes its uid stays dumpable.
    fn on() -> Self {
        if crate::common::afs_client() == "userspace" {
            // The kernel is the host's.
            return Self(None);
        }
        let before = fs::read_to_string(SUID_DUMPABLE).unwrap();
        fs::write(SUID_DUMPABLE, "1\n").unwrap();
        Self(Some(before))
    }
}

impl Drop for SuidDumpable {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            fs::write(SUID_DUMPABLE, before).unwrap();
        }
    }
}

/// Processes with secrets, by what they are.
fn with_secrets(httpd: &Httpd) -> Vec<(&'static str, u32)> {
    let broker = broker_of(httpd).unwrap();
    let authenticators = || below(broker, "weblog-login");
    wait::until_true("an authenticator", SOON, || Ok(!authenticators().is_empty())).unwrap();
    let mut all: Vec<(&str, u32)> = authenticators().into_iter().map(|pid| ("authenticator", pid)).collect();
    all.extend([("broker", broker), ("nanny", nanny_of(httpd).unwrap())]);
    all.extend(httpd.children().into_iter().map(|pid| ("child", pid)));
    all
}

fn must_be_hidden(what: &str, pid: u32) {
    assert!(!is_open(pid).unwrap(), "{what} {pid} can be looked into");
    let memory = fs::metadata(format!("/proc/{pid}/mem")).unwrap();
    assert_eq!((memory.uid(), memory.mode() & 0o777), (0, 0o600), "memory of {what} {pid}");
}

/// Makes a process crash that may leave a core of any size; the cores in the directories where one could lie.
fn crash(pid: u32, dirs: &[&Path]) -> Vec<PathBuf> {
    let own = fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
    let lifted = lift_core_limit(pid).unwrap();
    report(&format!(
        "SIGABRT for {pid} in {}{}",
        own.display(),
        if lifted { ", without a limit" } else { "" }
    ));
    signal_pid(pid, Signal::ABORT).unwrap();
    wait::until_true("its end", SOON, || Ok(!is_alive(pid))).unwrap();
    dirs.iter().copied().chain([own.as_path()]).flat_map(cores_in).collect()
}

/// Somebody with no secrets, as httpd's user.
fn stranger() -> Guarded {
    Guarded::spawn(Command::new("sleep").arg("60").uid(UID).gid(UID), "sleep", SOON).unwrap()
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn nobody_looks_into_processes_with_secrets_and_none_leaves_a_core() {
    let world = world();
    let _kernel = SuidDumpable::on();
    allow_cores().unwrap();
    let httpd = start(&world, "");
    // So that a child could write a core.
    fs::set_permissions(httpd.dir(), fs::Permissions::from_mode(0o777)).unwrap();
    let path = first(&owner_file("alice"));
    assert_eq!(get_as(&world, &httpd, &path, "alice").status, 200);
    let other = stranger();
    assert!(is_open(other.pid()).unwrap(), "what is asked here can be answered with yes");
    let all = with_secrets(&httpd);
    all.iter().for_each(|(what, pid)| must_be_hidden(what, *pid));
    report(&format!(
        "hidden with suid_dumpable {}: {all:?}",
        fs::read_to_string(SUID_DUMPABLE).unwrap().trim()
    ));
    if !cores_lie_in_the_working_directory().unwrap() {
        report("core_pattern is the host's and leads elsewhere: cores were not looked for");
        httpd.stop(&[]).unwrap();
        return;
    }
    let here = tempfile::tempdir().unwrap();
    let script = "kill -ABRT $$";
    Command::new("sh").args(["-c", script]).current_dir(here.path()).status().unwrap();
    assert_eq!(cores_in(here.path()).len(), 1, "where cores may be, one is found");
    // A thread of a child that dies may still have taken a connection, which is reset then.
    let alice = Request::get(&path).login("alice", password(world.cell(FIRST_CELL).unwrap(), "alice"));
    let is_served = || httpd.request(&alice).is_ok_and(|r| r.status == 200);
    for what in ["authenticator", "broker", "nanny", "child"] {
        wait::until_true("a new login", SOON, || Ok(broker_of(&httpd).is_some() && is_served())).unwrap();
        let (_, pid) = with_secrets(&httpd).into_iter().find(|(w, _)| *w == what).unwrap();
        let cores = crash(pid, &[httpd.dir(), Path::new("/")]);
        assert!(cores.is_empty(), "{what}: {cores:?}");
    }
    wait::until_true("a new child", SOON, || Ok(is_served())).unwrap();
    httpd.stop(&["exit signal Abort"]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn an_administrator_who_configures_core_dump_directory_gets_cores_of_children() {
    let world = world();
    allow_cores().unwrap();
    let dir = for_children("cores");
    let config = format!("CoreDumpDirectory {}\n", dir.display());
    let mut httpd = start(&world, &config);
    let path = first(&owner_file("alice"));
    assert_eq!(get_as(&world, &httpd, &path, "alice").status, 200);
    for (what, pid) in with_secrets(&httpd) {
        if what == "child" {
            assert!(is_open(pid).unwrap(), "{what} {pid}");
        } else {
            must_be_hidden(what, pid);
        }
    }
    if cores_lie_in_the_working_directory().unwrap() {
        let cores = crash(httpd.children()[0], &[&dir]);
        assert!(cores.iter().any(|core| core.starts_with(&dir)), "{cores:?}");
        cores.iter().for_each(|core| fs::remove_file(core).unwrap());
    }
    // And no longer, once it is gone.
    let before = httpd.children();
    httpd.rewrite(|text| text.replace(&config, "")).unwrap();
    httpd.graceful().unwrap();
    wait::until_true("the end of the old children", SOON, || {
        Ok(!httpd.children().is_empty() && httpd.children().iter().all(|pid| !before.contains(pid)))
    })
    .unwrap();
    assert_eq!(get_as(&world, &httpd, &path, "alice").status, 200);
    httpd.children().into_iter().for_each(|pid| must_be_hidden("child", pid));
    httpd.stop(&["exit signal Abort"]).unwrap();
    fs::remove_dir_all(dir).unwrap();
}
