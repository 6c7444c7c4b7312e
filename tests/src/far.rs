//! Kaservers and KDCs that are far away: their answers take longer. For `cargo xtask bench`.

use crate::kaserver;
use crate::world::{Cell, World};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Where libkrb5 finds KDCs.
const KRB5_CONF: &str = "/etc/krb5.conf";
/// Larger than any message of a KDC.
const MESSAGE_MAX: usize = 65_536;
/// A KDC answers sooner, and the relay looks as often whether it is still wanted.
const LIMIT: Duration = Duration::from_millis(500);

/// A kaserver whose answers come later; put back when this goes.
#[derive(Debug)]
pub struct FarKaserver {
    control: PathBuf,
}

impl FarKaserver {
    /// Lets the kaserver of `cell` answer so much later.
    ///
    /// # Errors
    /// There is none, or it does not listen.
    pub fn new(cell: &Cell, delay: Duration) -> Result<Self> {
        let control = cell.kaserver.as_ref().context("a cell without kaserver")?.control.clone();
        kaserver::tell(&control, &format!("mode delay {}", delay.as_millis()))?;
        Ok(Self { control })
    }
}

impl Drop for FarKaserver {
    fn drop(&mut self) {
        // It fails only if the kaserver is gone.
        let _ = kaserver::tell(&self.control, "mode normal");
    }
}

/// A relay before a cell's KDC, through which whatever is started from now on asks it; ends when this goes.
#[derive(Debug)]
pub struct FarKdc {
    /// What the configuration was.
    before: String,
    stop: Arc<AtomicBool>,
    relay: Option<JoinHandle<()>>,
}

impl FarKdc {
    /// Lets the KDC of the realm of `cell` answer so much later.
    ///
    /// # Errors
    /// The cell has no realm, or libkrb5's configuration cannot be changed.
    pub fn new(world: &World, cell: &Cell, delay: Duration) -> Result<Self> {
        let kdc = world.realm(cell.realm.as_deref().context("a cell without realm")?)?.kdc;
        let socket = UdpSocket::bind((kdc.ip(), 0)).context("relay before the KDC")?;
        socket.set_read_timeout(Some(LIMIT))?;
        let here = socket.local_addr()?;
        let before = fs::read_to_string(KRB5_CONF).context(KRB5_CONF)?;
        let line = |kdc: SocketAddr| format!("kdc = {kdc}\n");
        ensure!(before.contains(&line(kdc)), "{KRB5_CONF} does not name {kdc}");
        fs::write(KRB5_CONF, before.replace(&line(kdc), &line(here)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let relay = std::thread::spawn(move || relay(&socket, kdc, delay, &told));
        Ok(Self { before, stop, relay: Some(relay) })
    }
}

impl Drop for FarKdc {
    fn drop(&mut self) {
        // The world ends with the bench in any case.
        let _ = fs::write(KRB5_CONF, &self.before);
        self.stop.store(true, Ordering::Relaxed);
        // It has no way to panic that would matter here.
        let _ = self.relay.take().map(JoinHandle::join);
    }
}

/// Carries each message to the KDC and its answer back, a thread for each, so that none waits for another.
fn relay(socket: &UdpSocket, kdc: SocketAddr, delay: Duration, stop: &AtomicBool) {
    std::thread::scope(|s| {
        let mut message = vec![0; MESSAGE_MAX];
        while !stop.load(Ordering::Relaxed) {
            let (n, client) = match socket.recv_from(&mut message) {
                Ok(received) => received,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => continue,
                Err(_) => return,
            };
            let request = message.get(..n).unwrap_or_default().to_vec();
            s.spawn(move || {
                // Who gets no answer asks again.
                if let Ok(answer) = ask(kdc, &request) {
                    std::thread::sleep(delay);
                    let _ = socket.send_to(&answer, client);
                }
            });
        }
    });
}

/// One question and its answer.
fn ask(kdc: SocketAddr, request: &[u8]) -> Result<Vec<u8>> {
    let socket = UdpSocket::bind((kdc.ip(), 0))?;
    socket.set_read_timeout(Some(LIMIT))?;
    socket.connect(kdc)?;
    socket.send(request)?;
    let mut answer = vec![0; MESSAGE_MAX];
    let n = socket.recv(&mut answer)?;
    answer.truncate(n);
    Ok(answer)
}
