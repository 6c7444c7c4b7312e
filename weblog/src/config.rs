//! What the httpd parent tells the broker, checked.

use crate::limiter::Limits;
use crate::logins::Bounds;
use core::num::NonZeroUsize;
use pag::{Cell, Realm};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use weblog_proto::{BrokerConfig, Method, Service, ServiceConfig};

/// Logins that may wait in one cell for their turn.
const QUEUE_PER_CELL: usize = 256;
/// Authenticators that may run at the same time in all, however many cells there are.
const RUNNING_MAX: usize = 128;
/// Authenticators that are kept started ahead at most.
const AUTHENTICATORS_MAX: usize = 64;

/// A configuration that can be worked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Rises with each (re)start of httpd.
    pub version: u64,
    /// Directory with `ThisCell` and `CellServDB`.
    pub conf_dir: PathBuf,
    /// The allowed cells.
    pub cells: BTreeMap<Cell, CellSettings>,
    /// The allowed realms beside theirs.
    pub realms: BTreeSet<Realm>,
    /// File with a key that tickets are verified by.
    pub keytab: Option<PathBuf>,
    /// Whose tokens are held for what is served where nobody is logged in.
    pub services: Vec<Service>,
    /// A login ends after so many milliseconds.
    pub login_deadline_ms: u32,
    /// How many logins there may be.
    pub bounds: Bounds,
    /// Authenticators kept started ahead.
    pub authenticators: usize,
    /// Entries of the cache.
    pub cache_entries: NonZeroUsize,
    /// How long a refused login is remembered; milliseconds.
    pub refused_ms: u32,
    /// Failed logins that are let through.
    pub limits: Limits,
    /// Verbosity of the log.
    pub log_level: u8,
}

/// How users of a cell are authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellSettings {
    /// How.
    pub method: Method,
    /// The cell's realm, if it is said.
    pub realm: Option<Realm>,
}

/// What is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The directory is not an absolute path.
    #[error("the directory of CellServDB must be an absolute path")]
    ConfDir,
    /// No cell at all.
    #[error("no cell is allowed")]
    NoCell,
    /// Not the name of a cell.
    #[error("{0:?} is not the name of a cell")]
    Cell(String, #[source] pag::cell::CellError),
    /// Not the name of a realm.
    #[error("{0:?} is not the name of a realm")]
    Realm(String, #[source] pag::realm::RealmError),
}

/// A number as a size, moved into the range that one broker can bear.
fn size(value: impl Into<u64>, min: usize, max: usize) -> usize {
    usize::try_from(value.into()).unwrap_or(usize::MAX).clamp(min, max)
}

/// The realm of that name.
///
/// # Errors
/// [`ConfigError::Realm`].
fn realm(name: &str) -> Result<Realm, ConfigError> {
    Realm::new(name).map_err(|why| ConfigError::Realm(name.to_owned(), why))
}

impl Settings {
    /// Whether any login may need libkrb5.
    #[must_use]
    pub fn wants_krb5(&self) -> bool {
        self.cells.values().any(|cell| cell.method != Method::Kaserver)
    }

    /// Checks what was sent. Numbers beyond what one broker can bear are moved to its bounds: that must not end all logins.
    ///
    /// # Errors
    /// [`ConfigError`] says what is wrong.
    pub fn new(sent: &BrokerConfig) -> Result<Self, ConfigError> {
        let conf_dir = PathBuf::from(&sent.conf_dir);
        if !Path::is_absolute(&conf_dir) || sent.conf_dir.contains('\0') {
            return Err(ConfigError::ConfDir);
        }
        let mut cells = BTreeMap::new();
        for cell in &sent.cells {
            let name = Cell::new(&cell.name).map_err(|why| ConfigError::Cell(cell.name.clone(), why))?;
            let realm = cell.realm.as_deref().map(realm).transpose()?;
            cells.insert(name, CellSettings { method: cell.method, realm });
        }
        if cells.is_empty() {
            return Err(ConfigError::NoCell);
        }
        let realms: BTreeSet<_> = sent.realms.iter().map(|name| realm(name)).collect::<Result<_, _>>()?;
        let per_cell = size(sent.logins_per_cell, 1, RUNNING_MAX);
        let homes = cells.len().saturating_add(realms.len());
        let cache_entries = size(sent.cache_entries, 1, 1_000_000);
        Ok(Self {
            version: sent.version,
            conf_dir,
            realms,
            keytab: sent.keytab.as_ref().map(PathBuf::from),
            services: sent.services.iter().filter_map(ServiceConfig::service).collect(),
            login_deadline_ms: sent.login_deadline_ms.max(1),
            bounds: Bounds {
                per_cell,
                // Cells and realms that are silent at the same time must not hold up one more.
                total: per_cell.saturating_mul(homes).clamp(per_cell, RUNNING_MAX),
                queue_per_cell: QUEUE_PER_CELL,
            },
            cells,
            authenticators: size(sent.authenticators, 1, AUTHENTICATORS_MAX),
            cache_entries: NonZeroUsize::new(cache_entries).unwrap_or(NonZeroUsize::MIN),
            refused_ms: sent.refused_ms,
            limits: Limits {
                per_user: sent.limit_per_user,
                per_address: sent.limit_per_address,
                window_ms: u64::from(sent.limit_window_s.max(1)).saturating_mul(1000),
            },
            log_level: sent.log_level,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use weblog_proto::CellConfig;

    /// A configuration that is all right.
    pub(crate) fn sample() -> BrokerConfig {
        let cell = |name: &str| CellConfig { name: name.to_owned(), method: Method::Kaserver, realm: None };
        BrokerConfig {
            version: 1,
            conf_dir: "/etc/openafs".to_owned(),
            cells: vec![cell("example.com"), cell("other.example")],
            realms: vec!["PARTNER.EXAMPLE".to_owned()],
            keytab: None,
            services: Vec::new(),
            login_deadline_ms: 10_000,
            logins_per_cell: 4,
            authenticators: 2,
            cache_entries: 100,
            refused_ms: 5_000,
            limit_per_user: 5,
            limit_per_address: 50,
            limit_window_s: 300,
            log_level: 2,
        }
    }

    #[test]
    fn takes_what_is_right() {
        let s = Settings::new(&sample()).unwrap();
        assert_eq!(s.bounds.total, 12, "two cells, one realm");
        assert_eq!(s.limits.window_ms, 300_000);
        assert!(s.cells.contains_key(&Cell::new("EXAMPLE.com").unwrap()));
    }

    #[test]
    fn refuses_what_cannot_work() {
        let check = |change: fn(&mut BrokerConfig), text: &str| {
            let mut c = sample();
            change(&mut c);
            assert_eq!(Settings::new(&c).unwrap_err().to_string(), text);
        };
        check(|c| c.cells.clear(), "no cell is allowed");
        check(|c| c.cells[0].name = "a b".into(), "\"a b\" is not the name of a cell");
        check(|c| c.realms[0] = "A B".into(), "\"A B\" is not the name of a realm");
        check(|c| c.conf_dir = "etc".into(), "the directory of CellServDB must be an absolute path");
    }

    #[test]
    fn numbers_are_moved_to_what_can_be_borne() {
        let mut c = sample();
        (c.authenticators, c.logins_per_cell, c.cache_entries, c.limit_window_s) = (0, 1024, 0, 0);
        let s = Settings::new(&c).unwrap();
        assert_eq!((s.authenticators, s.bounds.per_cell, s.bounds.total), (1, RUNNING_MAX, RUNNING_MAX));
        assert_eq!((s.cache_entries.get(), s.limits.window_ms), (1, 1000));
    }
}
