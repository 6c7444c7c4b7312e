//! Where something could have been written down: files, and what /proc shows of processes.

use integration::httpd::Httpd;
use integration::process::descendants_of;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

/// Of a file so much is looked through.
const MOST: u64 = 64 << 20;

/// Is this line of an error log one in which httpd itself shows a header of a request? It does so from trace4 on, mod_http2
/// from trace2 on. The servers of tests have httpd's usual format, with module and level of each line: ours are not exempt.
pub(crate) fn is_httpds_own(line: &str) -> bool {
    let shows = line.to_ascii_lowercase().contains("authorization: ");
    shows && ["[http:trace4]", "[http2:trace2]", "[http2:trace4]"].iter().any(|own| line.contains(own))
}

/// What a process, its arguments and its environment said.
#[derive(Default)]
pub(crate) struct Seen {
    /// Arguments and environments, each once.
    pub(crate) texts: Vec<Vec<u8>>,
    /// Files that were open, those without a name above all.
    pub(crate) open_files: Vec<Vec<u8>>,
    /// Names of programs.
    pub(crate) programs: BTreeSet<String>,
    pub(crate) rounds: u64,
}

/// Looks all the time at all processes below one.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Watch {
    pub(crate) fn begin(pid: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut seen, mut texts, mut files) = (Seen::default(), BTreeSet::new(), BTreeSet::new());
            while !told.load(Ordering::Relaxed) {
                for process in descendants_of(pid).into_iter().chain([pid]) {
                    let of = |name: &str| fs::read(format!("/proc/{process}/{name}")).unwrap_or_default();
                    texts.extend([of("cmdline"), of("environ")]);
                    seen.programs.insert(String::from_utf8_lossy(&of("comm")).trim_end().to_owned());
                    files.extend(nameless_files(process));
                }
                seen.rounds += 1;
                std::thread::sleep(Duration::from_millis(2));
            }
            // Of a process that has just ended.
            seen.programs.remove("");
            Seen { texts: texts.into_iter().collect(), open_files: files.into_iter().collect(), ..seen }
        });
        Self { stop, thread }
    }

    pub(crate) fn end(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// What is in small files that a process has open and that have no name (any more), memory that is shared included.
fn nameless_files(pid: u32) -> Vec<Vec<u8>> {
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    open.flatten()
        .map(|fd| fd.path())
        .filter(|fd| fs::read_link(fd).is_ok_and(|to| to.to_string_lossy().ends_with(" (deleted)")))
        .filter(|fd| fs::metadata(fd).is_ok_and(|m| m.is_file() && m.len() < 65_536))
        .filter_map(|fd| fs::read(fd).ok())
        .collect()
}

/// All files below a directory that have been written to since then, with what is in them.
fn below(dir: &Path, since: SystemTime, without: &Path, all: &mut Vec<(String, Vec<u8>)>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else { continue };
        if path == without {
            continue;
        }
        if kind.is_dir() {
            below(&path, since, without, all);
        } else if kind.is_file() && entry.metadata().and_then(|m| m.modified()).is_ok_and(|at| at >= since) {
            let mut text = Vec::new();
            if File::open(&path).and_then(|f| f.take(MOST).read_to_end(&mut text)).is_ok() {
                all.push((path.display().to_string(), text));
            }
        }
    }
}

/// All logs, what lies where httpd and its processes may write, and what the kernel says; but for what is below `without`.
pub(crate) fn everything_written(httpd: &Httpd, since: SystemTime, without: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let site = Path::new("/srv/httpd").join(httpd.dir().file_name().unwrap());
    let mut dirs = vec![httpd.dir().to_owned(), site];
    dirs.extend(["/tmp", "/var/tmp", "/dev/shm", "/run", "/var/log", "/srv/dav-locks"].map(PathBuf::from));
    dirs.iter().for_each(|dir| below(dir, since, without, &mut all));
    for file in [crate::ACCESS_LOG, "/proc/keys", "/proc/key-users"] {
        all.push((file.to_owned(), fs::read(file).unwrap_or_default()));
    }
    let dmesg = std::process::Command::new("dmesg").output().map(|out| out.stdout).unwrap_or_default();
    all.push(("dmesg".to_owned(), dmesg));
    for process in descendants_of(httpd.pid()).into_iter().chain([httpd.pid()]) {
        all.extend(
            nameless_files(process).into_iter().map(|text| (format!("open files of {process}"), text)),
        );
    }
    all
}
