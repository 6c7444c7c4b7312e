//! Starts a test kaserver for a cell.

use crate::process::{Guarded, tail};
use crate::wait;
use crate::world;
use anyhow::{Context as _, Result};
use kaserver::{Config, KeySource, ServiceConfig, UserConfig};
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Its port (OpenAFS `afskauth`).
const PORT: u16 = 7004;

/// A test kaserver; it ends when this goes.
#[derive(Debug)]
pub struct TestKaserver {
    description: world::Kaserver,
    process: Guarded,
}

impl TestKaserver {
    /// Starts `program` for `cell` at the address of its databases, with all users of the cell.
    ///
    /// # Errors
    /// It ends or does not say that it is ready.
    pub fn start(program: &Path, cell: &world::Cell, state: &Path, logs: &Path) -> Result<Self> {
        let db = cell.machines.first().context("no machine")?;
        let address = SocketAddr::from((db.address, PORT));
        let config = state.join(format!("kaserver-{}.json", cell.name));
        let control = state.join(format!("kaserver-{}.control", cell.name));
        let log = logs.join(format!("kaserver-{}.log", cell.name));
        fs::write(&config, configuration(cell)?)?;
        let out = File::create(&log)?;
        let mut command = Command::new(program);
        command
            .arg("--bind")
            .arg(address.to_string())
            .arg("--config")
            .arg(&config)
            .arg("--control")
            .arg(&control)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out);
        let name = format!("kaserver of {}", cell.name);
        let mut process = Guarded::spawn(&mut command, &name, Duration::from_millis(500))?;
        wait::until_true(&name, Duration::from_secs(20), || {
            process.must_run(&log)?;
            Ok(fs::read_to_string(&log).is_ok_and(|t| t.lines().any(|l| l.starts_with("ready"))))
        })
        .with_context(|| tail(&log, 10))?;
        let pid = process.pid();
        Ok(Self { description: world::Kaserver { address, control, pid }, process })
    }

    /// Its description.
    #[must_use]
    pub fn description(&self) -> &world::Kaserver {
        &self.description
    }

    /// Ends it.
    ///
    /// # Errors
    /// waitpid(2) failed.
    pub fn stop(&mut self) -> Result<()> {
        self.process.stop().map(|_| ())
    }
}

/// Tells a running test kaserver to do something (see [`kaserver::control`]): its answer.
///
/// # Errors
/// Nobody listens at `control`, or the kaserver does not understand it.
pub fn tell(control: &Path, command: &str) -> Result<String> {
    let answer = kaserver::Control::connect(control).and_then(|mut c| c.command(command));
    answer.with_context(|| format!("kaserver at {}: {command}", control.display()))
}

/// The configuration of the kaserver of `cell`: its users, and the key that its file servers have.
///
/// # Errors
/// It cannot be written as JSON.
pub fn configuration(cell: &world::Cell) -> Result<String> {
    let service = |key: KeySource, kvno: u8| ServiceConfig { key, kvno, max_life_s: None };
    let mut config = Config::new(
        &cell.name,
        service(KeySource::Key(cell.key_hex.clone()), cell.kvno),
        service(KeySource::Password(format!("krbtgt of {}", cell.name)), 1),
    );
    config.users = cell
        .users
        .iter()
        .map(|u| UserConfig {
            attempts: if u.name == world::LOCKABLE { world::LOCK_AFTER } else { 0 },
            lock_s: if u.name == world::LOCKABLE { 3600 } else { 0 },
            expired: u.name == world::EXPIRED,
            ..UserConfig::plain(&u.name, &u.password)
        })
        .collect();
    Ok(serde_json::to_string_pretty(&config)?)
}
