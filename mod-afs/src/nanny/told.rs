//! What the broker is told: the configuration of all servers in one.

use crate::config::ServerConfig;
use pag::{Cell, Realm};
use weblog_proto::{BrokerConfig, CellConfig, Service, ServiceConfig};

/// Logins at the same time in one cell.
const LOGINS_PER_CELL: u16 = 16;
/// Authenticators kept started ahead.
const AUTHENTICATORS: u16 = 4;
/// Entries of the broker's cache.
const CACHE_ENTRIES: u32 = 10_000;
/// How long a refused login is remembered, milliseconds.
const REFUSED_MS: u32 = 5_000;

/// All cells in which visitors of any server may log in, each once.
#[must_use]
pub fn all_cells<'a>(servers: impl Iterator<Item = &'a ServerConfig>) -> Vec<Cell> {
    let mut cells: Vec<Cell> = Vec::new();
    for cell in servers.flat_map(ServerConfig::cells) {
        if !cells.contains(cell) {
            cells.push(cell.clone());
        }
    }
    cells
}

/// All realms whose users may log in at any server, each once.
#[must_use]
pub fn all_realms<'a>(servers: impl Iterator<Item = &'a ServerConfig>) -> Vec<Realm> {
    let mut realms: Vec<Realm> = Vec::new();
    for realm in servers.flat_map(ServerConfig::realms) {
        if !realms.contains(realm) {
            realms.push(realm.clone());
        }
    }
    realms
}

/// All service identities of any server, each once.
#[must_use]
pub fn all_services<'a>(servers: impl Iterator<Item = &'a ServerConfig>) -> Vec<Service> {
    let mut services: Vec<Service> = Vec::new();
    for service in servers.flat_map(|server| server.services.iter().flatten()) {
        if !services.contains(service) {
            services.push(service.clone());
        }
    }
    services
}

/// What the broker is told.
pub(super) fn broker_config(
    main: &ServerConfig,
    cells: &[Cell],
    realms: &[Realm],
    services: &[Service],
    version: u64,
) -> BrokerConfig {
    let limit = main.login_limit();
    BrokerConfig {
        version,
        conf_dir: main.conf_dir().to_string_lossy().into_owned(),
        cells: cells
            .iter()
            .map(|c| {
                let (method, realm) = main.auth_method(c);
                CellConfig {
                    name: c.as_str().to_owned(),
                    method,
                    realm: realm.map(|realm| realm.as_str().to_owned()),
                }
            })
            .collect(),
        realms: realms.iter().map(|realm| realm.as_str().to_owned()).collect(),
        keytab: main.keytab().map(|path| path.to_string_lossy().into_owned()),
        services: services.iter().map(ServiceConfig::from).collect(),
        login_deadline_ms: main.login_deadline_s().saturating_mul(1_000),
        logins_per_cell: LOGINS_PER_CELL,
        authenticators: AUTHENTICATORS,
        cache_entries: CACHE_ENTRIES,
        refused_ms: REFUSED_MS,
        limit_per_user: limit.per_user,
        limit_per_address: limit.per_address,
        limit_window_s: limit.window_s,
        log_level: main.debug_level().min(4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broker_is_told_all_cells_once_and_values_that_it_takes() {
        let cell = |name: &str| Cell::new(name).unwrap();
        let (a, b) = (cell("a.example"), cell("b.example"));
        let servers = [
            ServerConfig { cells: Some([a.clone(), b.clone()].into()), ..ServerConfig::EMPTY },
            ServerConfig { default_cell: Some(b.clone()), ..ServerConfig::EMPTY },
            ServerConfig::EMPTY,
        ];
        let cells = all_cells(servers.iter());
        let realms = all_realms(servers.iter());
        assert_eq!(cells, [a, b]);
        let config = broker_config(&ServerConfig::EMPTY, &cells, &realms, &[], 5);
        assert_eq!(BrokerConfig::from_bytes(&config.to_bytes().unwrap()).unwrap(), config);
    }
}
