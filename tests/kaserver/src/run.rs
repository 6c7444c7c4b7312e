//! The sockets: UDP for clients, a unix socket for whoever controls the server.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::config::Config;
use crate::error::Error;
use crate::server::{Datagram, Now, Server};

/// Larger than any packet that is understood.
const PACKET_MAX: usize = 65_536;
/// How long a line on the control socket may be.
const LINE_MAX: u64 = 1024;

/// A kaserver in a thread of this process; ends when dropped.
#[derive(Debug)]
pub struct Kaserver {
    /// Where it listens.
    address: SocketAddr,
    /// What it answers with, shared with its thread.
    server: Arc<Mutex<Server>>,
    /// Closing it ends the thread.
    stop: Option<UnixStream>,
    /// The thread.
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl Kaserver {
    /// Where it listens; says the port if 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Carries out one line of the control socket, without a socket.
    ///
    /// # Errors
    /// [`Error::Refused`] if it is not understood.
    pub fn command(&self, line: &str) -> Result<String, Error> {
        lock(&self.server).command(line).map_err(Error::Refused)
    }

    /// The counts.
    #[must_use]
    pub fn stats(&self) -> crate::stats::Stats {
        lock(&self.server).stats().clone()
    }

    /// Ends it and says how it went.
    ///
    /// # Errors
    /// [`Error::Io`] if a socket failed meanwhile.
    pub fn stop(mut self) -> Result<(), Error> {
        self.end()
    }

    /// Ends the thread, if it has not ended.
    ///
    /// # Errors
    /// [`Error::Io`] if a system call fails.
    fn end(&mut self) -> Result<(), Error> {
        drop(self.stop.take());
        self.thread.take().map_or(Ok(()), |thread| thread.join().unwrap_or(Ok(())))
    }
}

impl Drop for Kaserver {
    fn drop(&mut self) {
        // Whoever wants to know calls `stop`.
        let _how_it_went = self.end();
    }
}

/// Starts a kaserver in a thread; it listens when this returns.
///
/// `control`: path of the control socket, if one is wanted.
///
/// # Errors
/// [`Error::Io`] if a socket cannot be bound; the errors of a bad configuration.
pub fn start(config: &Config, bind: SocketAddr, control: Option<&Path>) -> Result<Kaserver, Error> {
    let sockets = Sockets::open(config, bind, control)?;
    let (stop, stopped) = UnixStream::pair().map_err(Error::io("make a pair of sockets"))?;
    let (address, server) = (sockets.address()?, Arc::clone(&sockets.server));
    let thread = std::thread::Builder::new()
        .name("kaserver".to_owned())
        .spawn(move || sockets.serve(Some(&stopped), &mut std::io::sink()))
        .map_err(Error::io("start a thread"))?;
    Ok(Kaserver { address, server, stop: Some(stop), thread: Some(thread) })
}

/// A server with its sockets, before it serves.
#[derive(Debug)]
pub(crate) struct Sockets {
    /// What answers.
    server: Arc<Mutex<Server>>,
    /// For clients.
    udp: UdpSocket,
    /// For whoever controls it.
    control: Option<ControlSocket>,
    /// When it started.
    started: Instant,
}

/// A listening control socket; its name goes with it.
#[derive(Debug)]
struct ControlSocket {
    /// The socket.
    listener: UnixListener,
    /// Its name.
    path: PathBuf,
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // A name that is gone already is no harm.
        let _gone = std::fs::remove_file(&self.path);
    }
}

impl Sockets {
    /// Binds everything.
    ///
    /// # Errors
    /// [`Error::Io`] if one cannot be bound; the errors of a bad configuration.
    pub(crate) fn open(config: &Config, bind: SocketAddr, control: Option<&Path>) -> Result<Self, Error> {
        let server = Server::new(config, unix_now())?;
        let udp = UdpSocket::bind(bind).map_err(Error::io("bind the UDP socket"))?;
        udp.set_nonblocking(true).map_err(Error::io("make the UDP socket non-blocking"))?;
        let control = control.map(ControlSocket::bind).transpose()?;
        Ok(Self { server: Arc::new(Mutex::new(server)), udp, control, started: Instant::now() })
    }

    /// Where clients reach it.
    ///
    /// # Errors
    /// [`Error::Io`] if a system call fails.
    pub(crate) fn address(&self) -> Result<SocketAddr, Error> {
        self.udp.local_addr().map_err(Error::io("ask for the UDP socket's address"))
    }

    /// Serves until `stop` is closed by its other end; writes a line to `log` for each call.
    ///
    /// # Errors
    /// [`Error::Io`] if a system call fails.
    pub(crate) fn serve(&self, stop: Option<&dyn AsStop>, log: &mut dyn Write) -> Result<(), Error> {
        loop {
            let wait = lock(&self.server).next_due().map(|due| due.saturating_sub(self.started.elapsed()));
            let ready = self.wait(stop, wait)?;
            if ready.stop {
                return Ok(());
            }
            if ready.control {
                self.accept();
            }
            if ready.udp {
                self.receive()?;
            }
            let due = lock(&self.server).due(self.started.elapsed());
            self.send(due);
            for line in lock(&self.server).take_log() {
                writeln!(log, "{line}").map_err(Error::io("write the log"))?;
            }
        }
    }

    /// Waits until something can be done, at most `limit`.
    ///
    /// # Errors
    /// [`Error::Io`] if a system call fails.
    fn wait(&self, stop: Option<&dyn AsStop>, limit: Option<Duration>) -> Result<Ready, Error> {
        let limit = limit.map(|limit| Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        });
        let stop = stop.map(AsStop::stop_fd);
        let mut fds = vec![PollFd::new(&self.udp, PollFlags::IN)];
        if let Some(control) = &self.control {
            fds.push(PollFd::new(&control.listener, PollFlags::IN));
        }
        if let Some(stop) = &stop {
            fds.push(PollFd::new(stop, PollFlags::IN));
        }
        loop {
            match poll(&mut fds, limit.as_ref()) {
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::io("wait for packets")(errno.into())),
            }
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        Ok(Ready {
            udp: ready.next().unwrap_or(false),
            control: self.control.is_some() && ready.next().unwrap_or(false),
            stop: stop.is_some() && ready.next().unwrap_or(false),
        })
    }

    /// Takes all packets that are there.
    ///
    /// # Errors
    /// [`Error::Io`] if a system call fails.
    fn receive(&self) -> Result<(), Error> {
        let mut buffer = vec![0; PACKET_MAX];
        loop {
            match self.udp.recv_from(&mut buffer) {
                Ok((length, from)) => {
                    let now = Now { unix: unix_now(), uptime: self.started.elapsed() };
                    let packet = buffer.get(..length).unwrap_or_default();
                    let replies = lock(&self.server).receive(from, packet, now);
                    self.send(replies);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // A client that went away before its answer came shows up here.
                Err(error)
                    if [ErrorKind::ConnectionRefused, ErrorKind::Interrupted].contains(&error.kind()) => {}
                Err(error) => return Err(Error::io("receive a packet")(error)),
            }
        }
    }

    /// Sends packets; one that cannot be sent is lost like any other on a network.
    fn send(&self, datagrams: Vec<Datagram>) {
        for datagram in datagrams {
            let _lost = self.udp.send_to(&datagram.bytes, datagram.to);
        }
    }

    /// Lets a thread talk to whoever came to the control socket, so that he cannot hold up clients.
    fn accept(&self) {
        let Some(Ok((stream, _))) = self.control.as_ref().map(|control| control.listener.accept()) else {
            return;
        };
        let server = Arc::clone(&self.server);
        // Without a thread the connection closes, which tells enough.
        let _thread =
            std::thread::Builder::new().name("control".to_owned()).spawn(move || talk(&stream, &server));
    }
}

impl ControlSocket {
    /// Listens at `path`; replaces a socket that was left behind.
    ///
    /// # Errors
    /// [`Error::Io`] if a system call fails.
    fn bind(path: &Path) -> Result<Self, Error> {
        if UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
            std::fs::remove_file(path).map_err(Error::io("remove the old control socket"))?;
        }
        let listener = UnixListener::bind(path).map_err(Error::io("bind the control socket"))?;
        listener.set_nonblocking(true).map_err(Error::io("make the control socket non-blocking"))?;
        Ok(Self { listener, path: path.to_owned() })
    }
}

/// Something whose end ends the server.
pub(crate) trait AsStop {
    /// The descriptor that becomes readable then.
    fn stop_fd(&self) -> std::os::fd::BorrowedFd<'_>;
}

impl<T: AsFd> AsStop for T {
    fn stop_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.as_fd()
    }
}

/// What can be done.
struct Ready {
    /// Packets are there.
    udp: bool,
    /// Somebody came to the control socket.
    control: bool,
    /// It is time to end.
    stop: bool,
}

/// Carries out lines until the other side closes.
fn talk(stream: &UnixStream, server: &Mutex<Server>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        match reader.by_ref().take(LINE_MAX).read_line(&mut line) {
            Ok(length) if length > 0 && line.ends_with('\n') => {}
            _ => return,
        }
        let answer = match lock(server).command(&line) {
            Ok(answer) => answer,
            Err(reason) => format!("error {reason}"),
        };
        let mut writer = stream;
        if writeln!(writer, "{answer}").is_err() {
            return;
        }
    }
}

/// The server, also after a thread panicked with it: each call leaves it whole.
fn lock(server: &Mutex<Server>) -> MutexGuard<'_, Server> {
    server.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Seconds since 1970.
#[must_use]
pub fn unix_now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}
