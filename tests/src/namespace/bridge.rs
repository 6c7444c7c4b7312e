//! Relays connections of the host into a world.

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A listening address of the host whose connections end in a world. It stops to listen when this goes.
#[derive(Debug)]
pub struct Bridge {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Bridge {
    /// The address that it listens at (the port is the real one if 0 was asked for).
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // The thread sits in accept: one more connection wakes it.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Relays connections to `listen` to `target` in the network namespace of the process `pid`.
///
/// # Errors
/// The address is taken, or there is no such process.
pub fn bridge(listen: SocketAddr, pid: u32, target: SocketAddr) -> Result<Bridge> {
    let namespace = Arc::new(File::open(format!("/proc/{pid}/ns/net")).context("network of the world")?);
    let listener = TcpListener::bind(listen).with_context(|| format!("cannot listen at {listen}"))?;
    let address = listener.local_addr()?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let thread = std::thread::Builder::new().name("bridge".into()).spawn(move || {
        for visitor in listener.incoming() {
            if stopped.load(Ordering::Acquire) {
                return;
            }
            let (Ok(visitor), namespace) = (visitor, Arc::clone(&namespace)) else { continue };
            // A thread that cannot be had, or a connection that fails, costs this visitor only.
            let _ = std::thread::Builder::new().name("relay".into()).spawn(move || {
                let _ = relay(visitor, &namespace, target);
            });
        }
    })?;
    Ok(Bridge { address, stop, thread: Some(thread) })
}

/// Connects inside (the calling thread moves there for good) and copies both ways until both are done.
fn relay(visitor: TcpStream, namespace: &File, target: SocketAddr) -> Result<()> {
    setns(namespace, CloneFlags::CLONE_NEWNET)?;
    let inside = TcpStream::connect_timeout(&target, Duration::from_secs(10))?;
    let (mut from_visitor, mut to_inside) = (visitor.try_clone()?, inside.try_clone()?);
    let up = std::thread::spawn(move || {
        let _ = io::copy(&mut from_visitor, &mut to_inside);
        let _ = to_inside.shutdown(std::net::Shutdown::Write);
    });
    let (mut from_inside, mut to_visitor) = (inside, visitor);
    let _ = io::copy(&mut from_inside, &mut to_visitor);
    let _ = to_visitor.shutdown(std::net::Shutdown::Both);
    let _ = up.join();
    Ok(())
}
