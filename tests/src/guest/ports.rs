//! The ways out of a guest: named serial ports, each a socket of the launcher's on the host.

use crate::wait;
use anyhow::{Context as _, Result};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The command's standard output.
pub(super) const OUT: &str = "afsweb.out";
/// Its standard error.
pub(super) const ERR: &str = "afsweb.err";
/// Signs of life, and the end: lines of [`Said`].
pub(super) const SAYS: &str = "afsweb.says";
/// All.
pub(super) const ALL: [&str; 3] = [OUT, ERR, SAYS];

/// Time for the emulator to take its sockets.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// What process 1 of the guest says, a line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// It lives.
    Alive,
    /// The command ended with this status.
    Ended(u8),
}

impl Said {
    /// As a line.
    pub(super) fn line(&self) -> String {
        match self {
            Self::Alive => "alive\n".to_owned(),
            Self::Ended(code) => format!("ended {code}\n"),
        }
    }

    /// Reads a line; one that is none is a sign of life all the same.
    pub(super) fn read(line: &str) -> Self {
        line.trim().strip_prefix("ended ").and_then(|code| code.parse().ok()).map_or(Self::Alive, Self::Ended)
    }
}

/// The launcher's ends before the emulator has connected.
#[derive(Debug)]
pub(super) struct Listeners {
    dir: tempfile::TempDir,
    listeners: Vec<UnixListener>,
}

impl Listeners {
    /// Listens for the emulator, in a directory of its own with a short name.
    pub(super) fn new() -> Result<Self> {
        let dir =
            tempfile::Builder::new().prefix("afsweb-guest").tempdir().context("directory for sockets")?;
        let listen = |name: &&str| -> Result<UnixListener> {
            let socket = UnixListener::bind(dir.path().join(name))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let listeners = ALL.iter().map(listen).collect::<Result<_>>().context("sockets for the emulator")?;
        Ok(Self { dir, listeners })
    }

    /// The socket of a port.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The connections, in the order of [`ALL`]; `alive` fails when the emulator has ended.
    pub(super) fn accept(self, mut alive: impl FnMut() -> Result<()>) -> Result<Vec<UnixStream>> {
        self.listeners
            .iter()
            .map(|listener| {
                let stream = wait::until("the emulator", CONNECT_LIMIT, || {
                    alive()?;
                    match listener.accept() {
                        Ok((stream, _)) => Ok(Some(stream)),
                        Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(None),
                        Err(e) => Err(e).context("socket for the emulator"),
                    }
                })?;
                stream.set_nonblocking(false)?;
                Ok(stream)
            })
            .collect()
    }
}

/// Opens a port inside the guest; there is only one opening of each at a time.
pub(super) fn open_inside(name: &str) -> Result<File> {
    let ports = Path::new("/sys/class/virtio-ports");
    for entry in fs::read_dir(ports).context("ports of the guest")?.flatten() {
        if fs::read_to_string(entry.path().join("name")).is_ok_and(|n| n.trim() == name) {
            let device = Path::new("/dev").join(entry.file_name());
            return File::options().write(true).open(&device).with_context(|| device.display().to_string());
        }
    }
    anyhow::bail!("the guest has no port {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        for said in [Said::Alive, Said::Ended(0), Said::Ended(125)] {
            assert_eq!(Said::read(&said.line()), said);
        }
        assert_eq!(Said::read("ended nothing"), Said::Alive);
        assert_eq!(Said::read("ended 256"), Said::Alive);
    }
}
