//! The administrators' socket.

use super::NotStarted;
use core::time::Duration;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen,
    recv, send, socket_with,
};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Component, Path};

/// Administrators that may wait to be heard.
const BACKLOG: i32 = 8;
/// How often and how long a socket in use is waited for.
const LISTENER_TRIES: u32 = 50;
/// See [`LISTENER_TRIES`].
const LISTENER_PAUSE: Duration = Duration::from_millis(100);
/// After so many tries without an answer nobody is there.
const LISTENER_SILENCE: u32 = 25;

/// Does a broker answer there? Waits a little for that of an httpd that is just ending.
///
/// Who only holds the socket, as a CGI daemon that has survived its httpd does, answers nothing; nobody waits for him.
fn is_in_use(path: &Path) -> bool {
    let Ok(address) = SocketAddrUnix::new(path) else { return false };
    let mut unanswered = 0;
    for _ in 0..LISTENER_TRIES {
        // Not blocking: where nobody takes connections, one too many would wait for ever.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
        match socket.and_then(|socket| connect(&socket, &address).map(|()| socket)) {
            Ok(socket) if answers(&socket) => {
                unanswered = 0;
                std::thread::sleep(LISTENER_PAUSE);
            }
            Ok(_) => unanswered += 1,
            Err(Errno::AGAIN) => {
                unanswered += 1;
                std::thread::sleep(LISTENER_PAUSE);
            }
            Err(_) => return false,
        }
        if unanswered >= LISTENER_SILENCE {
            return false;
        }
    }
    true
}

/// Is a question answered within [`LISTENER_PAUSE`]?
fn answers(socket: &OwnedFd) -> bool {
    let pause = rustix::time::Timespec::try_from(LISTENER_PAUSE).ok();
    let mut fds = [PollFd::new(socket, PollFlags::IN)];
    send(socket, b"status", SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_ok()
        && poll(&mut fds, pause.as_ref()).is_ok_and(|n| n > 0)
        && recv(socket, &mut [0; 1], RecvFlags::DONTWAIT).is_ok_and(|(n, _)| n > 0)
}

/// Makes the administrators' socket. What lies there from an earlier httpd is removed, anything else is left alone.
///
/// `is_ours`: this httpd has made the one that lies there; nobody finds that one any more, though a broker of another
/// version still listens.
///
/// # Errors
/// [`NotStarted`] names the socket and says what is wrong.
pub(super) fn make_listener(path: &Path, is_ours: bool) -> Result<OwnedFd, NotStarted> {
    let wrong = |e: &dyn core::fmt::Display| NotStarted(format!("control socket {}: {e}", path.display()));
    let dir = path.parent().filter(|d| d.components().next() == Some(Component::RootDir));
    let Some(dir) = dir else { return Err(wrong(&"its name must be absolute")) };
    if !dir.exists() {
        std::fs::create_dir(dir).map_err(|e| wrong(&e))?;
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).map_err(|e| wrong(&e))?;
    }
    let meta = std::fs::metadata(dir).map_err(|e| wrong(&e))?;
    if meta.uid() != 0 || meta.mode() & 0o022 != 0 {
        return Err(wrong(&"its directory must belong to root and be writable for root only"));
    }
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() && !is_ours && is_in_use(path) => {
            return Err(wrong(
                &"another httpd's broker listens there; SetAFSControlSocket names another one",
            ));
        }
        Ok(meta) if meta.file_type().is_socket() => std::fs::remove_file(path).map_err(|e| wrong(&e))?,
        Ok(_) => return Err(wrong(&"something else lies there")),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(wrong(&e)),
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map_err(|e| wrong(&e))?;
    let address = SocketAddrUnix::new(path).map_err(|e| wrong(&e))?;
    // The parent has one thread, so nobody else makes a file meanwhile.
    let umask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let bound = bind(&socket, &address);
    rustix::process::umask(umask);
    bound.map_err(|e| wrong(&e))?;
    listen(&socket, BACKLOG).map_err(|e| wrong(&e))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// A socket in a directory of its own that somebody listens on; the rest is his business.
    fn listened_to(name: &str) -> (PathBuf, OwnedFd) {
        let dir = std::env::temp_dir().join(format!("afsweb-{name}-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let path = dir.join("s");
        let socket = make_listener(&path, false).unwrap();
        (path, socket)
    }

    #[test]
    fn a_socket_that_somebody_holds_but_nobody_answers_on_does_not_keep_httpd_from_starting() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        // As a CGI daemon that has survived its httpd holds it.
        let (path, _held) = listened_to("held");
        let (tell, told) = std::sync::mpsc::channel();
        let there = path.clone();
        std::thread::spawn(move || tell.send(make_listener(&there, false).is_ok()));
        assert_eq!(told.recv_timeout(Duration::from_secs(20)), Ok(true));
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_socket_on_which_a_broker_answers_is_spared() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let (path, socket) = listened_to("live");
        std::thread::spawn(move || {
            rustix::io::ioctl_fionbio(&socket, false).unwrap();
            while let Ok(asker) = rustix::net::accept(&socket) {
                let mut buffer = [0; 64];
                if recv(&asker, &mut buffer, RecvFlags::empty()).is_ok() {
                    let _ = send(&asker, b"a broker\n", SendFlags::NOSIGNAL);
                }
            }
        });
        let error = make_listener(&path, false).unwrap_err().to_string();
        assert!(error.contains("another httpd's broker"), "{error}");
        assert!(path.exists());
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn the_socket_replaces_a_stale_one_and_nothing_else() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = std::env::temp_dir().join(format!("afsweb-socket-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let path = dir.join("s");
        for _ in 0..2 {
            let socket = make_listener(&path, false).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
            drop(socket);
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        assert!(make_listener(&path, false).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o777)).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(make_listener(&path, false).is_err());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
