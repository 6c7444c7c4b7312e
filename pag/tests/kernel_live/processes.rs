//! Processes of this program, each in a scene of its own.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

/// Says what a process of this program does.
pub(crate) const SCENE: &str = "AFSWEB_SCENE";
/// The directory of the tests.
pub(crate) const DIR: &str = "AFSWEB_DIR";

/// This program in another scene.
pub(crate) fn command(scene: &str) -> Command {
    // Not by its path, which www-data may have no way to.
    let mut command = Command::new("/proc/self/exe");
    command.args(["--ignored", "--exact", "--nocapture", "--test-threads=1", "scene"]).env(SCENE, scene);
    command
}

/// Directory with the places, made once.
pub(crate) fn dir() -> &'static str {
    static DIR_: OnceLock<String> = OnceLock::new();
    DIR_.get_or_init(|| {
        let done = command("content").output().unwrap();
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success(), "{text}{}", String::from_utf8_lossy(&done.stderr));
        // The harness writes to the same line.
        text.lines().find_map(|l| Some(l.split_once("directory ")?.1)).unwrap().to_owned()
    })
}

/// Runs a scene to its end.
pub(crate) fn play(scene: &str) {
    let status = command(scene).env(DIR, dir()).status().unwrap();
    assert!(status.success(), "{scene}: {status}");
}

/// A scene that runs beside the one that started it, and answers a line to each.
pub(crate) struct Beside {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Beside {
    pub(crate) fn start(scene: &str) -> Self {
        let mut child = command(scene).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, to, from }
    }

    pub(crate) fn ask(&mut self, what: &str) -> String {
        writeln!(self.to, "{what}").unwrap();
        loop {
            let mut line = String::new();
            assert_ne!(self.from.read_line(&mut line).unwrap(), 0, "no answer to {what}");
            if let Some((_, answer)) = line.split_once("answer ") {
                return answer.trim_end().to_owned();
            }
        }
    }

    pub(crate) fn end(mut self) {
        drop(self.to);
        let mut rest = String::new();
        self.from.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success(), "{rest}");
    }
}

/// Answers each line of standard input.
pub(crate) fn answer(mut f: impl FnMut(&str) -> String) {
    for line in std::io::stdin().lines() {
        println!("answer {}", f(line.unwrap().trim()));
        std::io::stdout().flush().unwrap();
    }
}
