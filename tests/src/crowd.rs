//! Many users more for a cell: known to its protection server, its kaserver and its KDC.

use crate::kaserver;
use crate::kdc::{Kdc, quoted};
use crate::process;
use crate::world::World;
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Their ids begin here, behind those of the standard world.
const FIRST_ID: usize = 10_001;
/// Visitors come from addresses of this network, which is for benchmarks (RFC 2544).
const NETWORK: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
/// In a world: how many there are already, per cell.
const MADE: &str = "/run/afsweb-crowd";
/// Time for making them.
const LIMIT: Duration = Duration::from_secs(120);

/// A user, and where he sits.
#[derive(Debug, Clone)]
pub struct Person {
    /// Name in the cell.
    pub name: String,
    /// Password, at kaserver and KDC.
    pub password: String,
    /// Address.
    pub address: Ipv4Addr,
}

/// Makes so many, each with a password and an address of his own; those that an earlier one in this world has made are there.
///
/// # Errors
/// A server does not take them.
pub fn make(world: &World, cell: &str, count: usize) -> Result<Vec<Person>> {
    let cell = world.cell(cell)?;
    let note = format!("{MADE}-{}", cell.name);
    let made = fs::read_to_string(&note).ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    let people: Vec<Person> = (0..count)
        .map(|n| {
            let address = Ipv4Addr::from_bits(NETWORK.to_bits() + u32::try_from(n + 1)?);
            let name = format!("crowd{n:04}");
            Ok(Person { password: format!("{name}-of-many"), name, address })
        })
        .collect::<Result<_>>()?;

    let newcomers = people.get(made..).unwrap_or_default();
    if newcomers.is_empty() {
        return Ok(people);
    }
    let mut commands = String::new();
    for (n, person) in people.iter().enumerate().skip(made) {
        commands.push_str(&format!("createuser -name {} -id {}\n", person.name, FIRST_ID + n));
    }
    let mut pts = cell.machines.first().context("a cell without machine")?.command("pts");
    let out =
        process::output_with_input(pts.args(["interactive", "-localauth"]), commands.as_bytes(), LIMIT)?;
    // Its status does not tell whether a command failed.
    let complaints = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success() && complaints.is_empty(), "pts: {}: {complaints}", out.status);

    if let Some(server) = &cell.kaserver {
        for person in newcomers {
            kaserver::tell(&server.control, &format!("user {} {}", person.name, person.password))?;
        }
    }
    if let Some(realm) = &cell.realm {
        let principal = |p: &Person| {
            format!("add_principal -clearpolicy +requires_preauth -pw {} {}", quoted(&p.password), p.name)
        };
        let commands: Vec<String> = newcomers.iter().map(principal).collect();
        Kdc::of(world.realm(realm)?).kadmin(&commands)?;
    }
    fs::write(note, count.to_string())?;
    Ok(people)
}
