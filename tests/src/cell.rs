//! Starts a cell: Debian's vlserver, ptserver, fileserver and volserver on machines of its own, users, groups, volumes.

use crate::machine::Machine;
use crate::process::{self, Guarded, tail};
use crate::wait;
use crate::world::{self, ADMIN, CellSpec, Realm};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Nothing of a cell takes longer.
const LIMIT: Duration = Duration::from_secs(60);

/// Between two looks that take a process each.
const PAUSE: Duration = Duration::from_millis(80);

/// Longest packet that the servers take, bytes. A client shows its ticket in one packet, and a ticket may have 12,000 bytes;
/// without this they take 8,520.
const PACKET_MAX: &str = "12400";
/// What a file server's socket may hold, bytes, as far as the kernel lets it. The servers' own 64 KiB overflow when all
/// visitors come from new children at once; each packet that is lost then is seconds of somebody's.
const UDP_BYTES: &str = "262144";
/// Group of those who may do everything.
const ADMINISTRATORS: &str = "system:administrators";
/// Group of all users of a cell; with a realm behind it, of that realm's.
const AUTHUSER: &str = "system:authuser";

/// A cell; its servers end when this goes.
#[derive(Debug)]
pub struct Cell {
    /// Its description.
    pub description: world::Cell,
    servers: Vec<Guarded>,
}

impl Cell {
    /// Starts the cell and waits until it answers; its realm is one of `realms`, state in `state`, logs below `logs`.
    ///
    /// # Errors
    /// A server ends or does not become ready; the text has the end of its log.
    pub fn start(spec: &CellSpec, realms: &[Realm], state: &Path, logs: &Path) -> Result<Self> {
        Self::bring_up(spec, realms, state, logs).with_context(|| format!("cell {}", spec.name))
    }

    fn bring_up(spec: &CellSpec, realms: &[Realm], state: &Path, logs: &Path) -> Result<Self> {
        let realm = realms.iter().find(|r| r.name == spec.realm);
        let keytab = realm.and_then(|r| r.keytab.as_deref());
        let machines = machines(spec, keytab, state, logs)?;
        let description = world::Cell {
            name: spec.name.to_owned(),
            key_hex: spec.key_hex.to_owned(),
            kvno: spec.kvno,
            machines,
            servers: Vec::new(),
            users: spec
                .users
                .iter()
                .map(|&(name, id, password)| world::User { name: name.into(), id, password: password.into() })
                .collect(),
            kaserver: None,
            realm: realm.map(|r| r.name.clone()),
            foreigners: spec.foreigners.iter().map(|&f| f.to_owned()).collect(),
        };
        let mut cell = Self { description, servers: Vec::new() };
        cell.start_databases()?;
        // The file servers ask the protection database as they start: users can be made beside that.
        let db = cell.database()?.clone();
        std::thread::scope(|s| {
            let people = s.spawn(|| make_people(spec, &db));
            cell.start_file_servers()?;
            people.join().map_err(|_| anyhow::anyhow!("the thread that makes users panicked"))?
        })?;
        cell.make_volumes(spec)?;
        Ok(cell)
    }

    /// The machine with the databases.
    fn database(&self) -> Result<&Machine> {
        self.description.machines.first().context("no machine")
    }

    /// Starts a server and notes it.
    fn start_server(&mut self, machine: &Machine, program: &str, args: &[&str]) -> Result<()> {
        let server = machine.start(program, args)?;
        self.description.servers.push(world::Server {
            program: program.to_owned(),
            address: machine.address,
            pid: server.pid(),
        });
        self.servers.push(server);
        Ok(())
    }

    /// Fails when one of the servers ended.
    ///
    /// # Errors
    /// The first that ended, with the end of what it printed.
    pub fn must_run(&mut self) -> Result<()> {
        for (server, about) in self.servers.iter_mut().zip(&self.description.servers) {
            let log =
                self.description.machines.iter().find(|m| m.address == about.address).map(|m| m.log.clone());
            server.must_run(&log.unwrap_or_default().join(format!("{}.out", about.program)))?;
        }
        Ok(())
    }

    /// vlserver and ptserver, up to the point where they take changes.
    fn start_databases(&mut self) -> Result<()> {
        let db = self.database()?.clone();
        for program in ["vlserver", "ptserver"] {
            self.start_server(&db, program, &["-rxbind", "-rxmaxmtu", PACKET_MAX])?;
        }
        let address = db.address.to_string();
        for port in ["7003", "7002"] {
            wait::until_every(PAUSE, &format!("quorum at {address}:{port}"), LIMIT, || {
                self.must_run()?;
                // It fails until the server answers.
                let said = db.run("udebug", [address.as_str(), port]).unwrap_or_default();
                Ok(said.contains("Recovery state 1f").then_some(()))
            })?;
        }
        Ok(())
    }

    /// fileserver and then volserver (which waits for the first) on each machine.
    fn start_file_servers(&mut self) -> Result<()> {
        let machines = self.description.machines.clone();
        for m in &machines {
            self.start_server(
                m,
                "fileserver",
                &["-rxbind", "-rxmaxmtu", PACKET_MAX, "-p", "64", "-sync", "never", "-udpsize", UDP_BYTES],
            )?;
        }
        for m in &machines {
            let log = m.log.join("FileLog");
            wait::until_true(&format!("fileserver at {}; {}", m.address, tail(&log, 5)), LIMIT, || {
                self.must_run()?;
                Ok(fs::read_to_string(&log).is_ok_and(|t| t.contains("File Server started")))
            })?;
            self.start_server(m, "volserver", &["-rxbind", "-p", "4"])?;
        }
        Ok(())
    }

    fn make_volumes(&mut self, spec: &CellSpec) -> Result<()> {
        let db = self.database()?.clone();
        for &(volume, machine) in spec.volumes {
            let address = self
                .description
                .machines
                .get(machine)
                .context("volume on a machine that is not there")?
                .address
                .to_string();
            let create = ["create", &address, "a", volume, "-maxquota", "0", "-localauth"];
            let mut last = String::new();
            // Only the first of a machine has to wait, for its volserver.
            wait::until_every(PAUSE, &format!("volume {volume}"), LIMIT, || {
                self.must_run()?;
                Ok(db.run("vos", create).map_err(|e| last = format!("{e:#}")).ok())
            })
            .with_context(|| last)?;
        }
        Ok(())
    }

    /// Makes the read-only replicas; to be called when the content is there.
    ///
    /// # Errors
    /// `vos` fails.
    pub fn release(&self, spec: &CellSpec) -> Result<()> {
        let db = self.database()?;
        for volume in spec.replicas {
            let address = db.address.to_string();
            db.run("vos", ["addsite", &address, "a", volume, "-localauth"])?;
            db.run("vos", ["release", volume, "-localauth"])?;
        }
        Ok(())
    }
}

/// Makes the machines of a cell with their configuration and keys.
fn machines(spec: &CellSpec, keytab: Option<&Path>, state: &Path, logs: &Path) -> Result<Vec<Machine>> {
    let (_, database) = spec.machines.first().context("no machine")?;
    let (db_name, _) = spec.machines.first().context("no machine")?;
    let cell_serv_db = format!(">{}\n{database} #{db_name}.{}\n", spec.name, spec.name);
    let mut made = Vec::new();
    for (short, address) in spec.machines {
        let hostname = format!("{short}.{}", spec.name);
        let m = Machine::create(&hostname, *address, &state.join(&hostname), &logs.join(&hostname))?;
        for sub in ["etc", "etc/server"] {
            fs::write(m.dir.join(sub).join("ThisCell"), format!("{}\n", spec.name))?;
            fs::write(m.dir.join(sub).join("CellServDB"), &cell_serv_db)?;
        }
        fs::write(m.dir.join("etc/server/UserList"), format!("{ADMIN}\n"))?;
        give_keys(spec, keytab, &m, made.first())?;
        made.push(m);
    }
    Ok(made)
}

/// Gives a machine the cell's keys: for the kaserver's tickets (KeyFile), and for the KDC's (KeyFileExt).
fn give_keys(spec: &CellSpec, keytab: Option<&Path>, m: &Machine, first: Option<&Machine>) -> Result<()> {
    let at = |m: &Machine, file: &str| m.dir.join("etc/server").join(file);
    if let Some(first) = first {
        for file in ["KeyFile", "KeyFileExt"] {
            let from = at(first, file);
            if from.exists() {
                // It keeps its mode, 0600.
                fs::copy(&from, at(m, file)).with_context(|| file.to_owned())?;
            }
        }
        return Ok(());
    }
    m.run("asetkey", ["add", &spec.kvno.to_string(), spec.key_hex])?;
    if let Some(keytab) = keytab {
        fs::copy(keytab, at(m, "rxkad.keytab")).context("rxkad.keytab")?;
        m.run("akeyconvert", ["-all"])?;
    }
    Ok(())
}

/// Makes users and groups.
fn make_people(spec: &CellSpec, db: &Machine) -> Result<()> {
    for (n, (name, id, _)) in spec.users.iter().enumerate() {
        let id = id.to_string();
        let create = || db.run("pts", ["createuser", "-name", name, "-id", &id, "-localauth"]);
        if n > 0 {
            create()?;
            continue;
        }
        // A quorum is there, but on a busy machine the very first change may come before it takes any.
        let mut last = String::new();
        wait::until_every(PAUSE, &format!("user {name}"), LIMIT, || {
            Ok(create().map_err(|e| last = format!("{e:#}")).ok())
        })
        .with_context(|| last)?;
    }
    db.run("pts", ["adduser", "-user", ADMIN, "-group", ADMINISTRATORS, "-localauth"])?;
    make_people_of_realms(spec, db)?;
    for (group, members) in spec.groups {
        let owner = group.split(':').next().unwrap_or(ADMIN);
        db.run("pts", ["creategroup", "-name", group, "-owner", owner, "-localauth"])?;
        for member in *members {
            db.run("pts", ["adduser", "-user", member, "-group", group, "-localauth"])?;
        }
    }
    Ok(())
}

/// Makes those whom the kaserver does not know, in one process.
fn make_people_of_realms(spec: &CellSpec, db: &Machine) -> Result<()> {
    let mut commands = String::new();
    for (name, id) in spec.realm_only {
        commands.push_str(&format!("createuser -name {name} -id {id}\n"));
    }
    let mut realms: Vec<&str> = Vec::new();
    for name in spec.foreigners {
        let (_, realm) = name.split_once('@').context("a foreigner has a realm")?;
        // The group comes first: his id is made of the group's.
        if !realms.contains(&realm) {
            commands.push_str(&format!("creategroup -name {AUTHUSER}@{realm} -owner {ADMINISTRATORS}\n"));
            realms.push(realm);
        }
        commands.push_str(&format!("createuser -name {name}\n"));
    }
    if commands.is_empty() {
        return Ok(());
    }
    let mut pts = db.command("pts");
    let out =
        process::output_with_input(pts.args(["interactive", "-localauth"]), commands.as_bytes(), LIMIT)?;
    // Its status does not tell whether a command failed.
    let complaints = String::from_utf8_lossy(&out.stderr);
    if !out.status.success() || !complaints.is_empty() {
        anyhow::bail!("pts: {}: {complaints}", out.status);
    }
    Ok(())
}
