//! What the httpd parent tells the broker; sent again, with a higher version, at each graceful restart.

use crate::Service;
use bincode::{Decode, Encode};
use pag::{Cell, Principal, Realm};

/// Where administrators look for the broker unless told otherwise: in the run directory of Debian's httpd.
pub const CONTROL_SOCKET: &str = "/run/apache2/weblog.sock";

/// How users of a cell are authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Method {
    /// kaserver, by libafsauthent.
    Kaserver,
    /// The KDCs of the cell's realm, by libkrb5.
    Krb5,
    /// As `Krb5` where a KDC of the cell's realm is known, else as `Kaserver`.
    Auto,
}

/// One allowed cell.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CellConfig {
    /// Canonical name.
    pub name: String,
    /// How to log in there.
    pub method: Method,
    /// Its Kerberos realm; `None` = what libkrb5's configuration says, else its name in upper case.
    pub realm: Option<String>,
}

/// One service identity.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ServiceConfig {
    /// Name of the principal.
    pub name: String,
    /// Its cell, one of the allowed ones.
    pub cell: String,
    /// Its realm, if that is not the cell's own.
    pub realm: Option<String>,
    /// File with its key, readable for the broker's user.
    pub key_file: String,
}

impl From<&Service> for ServiceConfig {
    fn from(service: &Service) -> Self {
        Self {
            name: service.who.name().to_owned(),
            cell: service.who.cell().as_str().to_owned(),
            realm: service.who.realm().map(|realm| realm.as_str().to_owned()),
            key_file: service.key_file.clone(),
        }
    }
}

impl ServiceConfig {
    /// What it says, if it can be.
    #[must_use]
    pub fn service(&self) -> Option<Service> {
        let cell = Cell::new(&self.cell).ok().filter(|cell| cell.as_str() == self.cell)?;
        let who = Principal::new(&self.name, cell).ok()?;
        let who = match &self.realm {
            Some(realm) => who.of_realm(Realm::new(realm).ok()?),
            None => who,
        };
        Service::fits(&self.key_file).then(|| Service { who, key_file: self.key_file.clone() })
    }
}

/// All that the broker is told. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct BrokerConfig {
    /// Rises with each (re)start of httpd; the broker ignores an older one.
    pub version: u64,
    /// Directory with `ThisCell` and `CellServDB`, readable for the broker's user.
    pub conf_dir: String,
    /// The cells in which anybody may log in.
    pub cells: Vec<CellConfig>,
    /// Realms whose users may log in in these cells, beside those of the cells themselves.
    pub realms: Vec<String>,
    /// File with a key that tickets are verified by, readable for the broker's user.
    pub keytab: Option<String>,
    /// Whose tokens the broker holds for what is served where nobody is logged in.
    pub services: Vec<ServiceConfig>,
    /// A login that takes longer ends; milliseconds.
    pub login_deadline_ms: u32,
    /// Logins that may run at the same time in one cell.
    pub logins_per_cell: u16,
    /// Authenticators kept started ahead.
    pub authenticators: u16,
    /// Entries of the broker's cache.
    pub cache_entries: u32,
    /// How long a refused login is remembered; milliseconds.
    pub refused_ms: u32,
    /// Failed logins allowed per user and address within `limit_window_s`.
    pub limit_per_user: u16,
    /// Failed logins allowed per address within `limit_window_s`.
    pub limit_per_address: u16,
    /// Window of the limits, seconds.
    pub limit_window_s: u32,
    /// Verbosity of the log: 0 errors .. 4 trace.
    pub log_level: u8,
}

/// Why something is no configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// More bytes than a control message may have.
    #[error("configuration has more than {} bytes", BrokerConfig::BYTES_MAX)]
    TooLong,
    /// Cannot be read.
    #[error("configuration cannot be read")]
    Unreadable,
    /// A value that cannot be.
    #[error("configuration: {0}")]
    Value(&'static str),
}

impl BrokerConfig {
    /// Most bytes that it may take in a control message.
    pub const BYTES_MAX: usize = 60 * 1024;
    /// Longest path of a keytab, in bytes: it goes to authenticators in one packet.
    pub const KEYTAB_MAX: usize = 1024;

    /// As it goes over the control socket, behind the `C`.
    ///
    /// # Errors
    /// [`ConfigError`]: what [`BrokerConfig::check`] finds, or too many cells.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ConfigError> {
        self.check()?;
        let bytes =
            bincode::encode_to_vec(self, bincode::config::standard()).map_err(|_| ConfigError::Unreadable)?;
        if bytes.len() > Self::BYTES_MAX { Err(ConfigError::TooLong) } else { Ok(bytes) }
    }

    /// From what came over the control socket, behind the `C`; checked.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ConfigError> {
        if bytes.len() > Self::BYTES_MAX {
            return Err(ConfigError::TooLong);
        }
        // In memory it may take more than in the message: a name is behind a pointer there.
        let config = bincode::config::standard().with_limit::<{ 8 * Self::BYTES_MAX }>();
        let (it, used) =
            bincode::decode_from_slice::<Self, _>(bytes, config).map_err(|_| ConfigError::Unreadable)?;
        if used != bytes.len() {
            return Err(ConfigError::Unreadable);
        }
        it.check()?;
        Ok(it)
    }

    /// Checks all values.
    ///
    /// # Errors
    /// [`ConfigError::Value`] says which one cannot be.
    pub fn check(&self) -> Result<(), ConfigError> {
        let must = |ok: bool, what| if ok { Ok(()) } else { Err(ConfigError::Value(what)) };
        must(
            self.conf_dir.starts_with('/') && !self.conf_dir.contains('\0') && self.conf_dir.len() < 4096,
            "conf_dir is no absolute path",
        )?;
        must(!self.cells.is_empty(), "there is no cell")?;
        let mut seen = std::collections::BTreeSet::new();
        for cell in &self.cells {
            let canonical = Cell::new(&cell.name).is_ok_and(|c| c.as_str() == cell.name);
            must(canonical, "the name of a cell is not canonical")?;
            must(seen.insert(&cell.name), "a cell is there twice")?;
            let realm = cell.realm.as_ref().is_none_or(|r| Realm::new(r).is_ok());
            must(realm, "the realm of a cell is no realm")?;
        }
        let mut seen = std::collections::BTreeSet::new();
        for realm in &self.realms {
            must(Realm::new(realm).is_ok(), "the name of a realm is none")?;
            must(seen.insert(realm.to_ascii_lowercase()), "a realm is there twice")?;
        }
        let path = |p: &String| p.starts_with('/') && !p.contains('\0') && p.len() <= Self::KEYTAB_MAX;
        must(self.keytab.as_ref().is_none_or(path), "keytab is no absolute path")?;
        for (i, service) in self.services.iter().enumerate() {
            must(service.service().is_some(), "a service identity cannot be one")?;
            must(
                self.cells.iter().any(|c| c.name == service.cell),
                "the cell of a service identity is not allowed",
            )?;
            must(
                !self.services.iter().take(i).any(|other| other == service),
                "a service identity is there twice",
            )?;
        }
        must((1..=600_000).contains(&self.login_deadline_ms), "login_deadline_ms is not 1 to 600000")?;
        must((1..=1024).contains(&self.logins_per_cell), "logins_per_cell is not 1 to 1024")?;
        must(self.authenticators <= 1024, "authenticators is more than 1024")?;
        must((1..=1_000_000).contains(&self.cache_entries), "cache_entries is not 1 to 1000000")?;
        must(self.refused_ms <= 3_600_000, "refused_ms is more than an hour")?;
        must(self.limit_window_s <= 86_400, "limit_window_s is more than a day")?;
        must(self.log_level <= 4, "log_level is more than 4")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn config() -> BrokerConfig {
        BrokerConfig {
            version: u64::MAX,
            conf_dir: "/etc/openafs".to_owned(),
            cells: vec![
                CellConfig { name: "example.com".to_owned(), method: Method::Auto, realm: None },
                CellConfig {
                    name: "example.org".to_owned(),
                    method: Method::Krb5,
                    realm: Some("EXAMPLE.COM".to_owned()),
                },
            ],
            realms: vec!["OTHER.EXAMPLE".to_owned()],
            keytab: Some("/etc/krb5.weblog.keytab".to_owned()),
            services: vec![ServiceConfig {
                name: "http/www.example.com".to_owned(),
                cell: "example.com".to_owned(),
                realm: Some("OTHER.EXAMPLE".to_owned()),
                key_file: "/etc/www.keytab".to_owned(),
            }],
            login_deadline_ms: 10_000,
            logins_per_cell: 8,
            authenticators: 4,
            cache_entries: 10_000,
            refused_ms: 5_000,
            limit_per_user: 5,
            limit_per_address: 50,
            limit_window_s: 60,
            log_level: 2,
        }
    }

    #[test]
    fn comes_as_it_was_sent() {
        let bytes = config().to_bytes().unwrap();
        assert_eq!(BrokerConfig::from_bytes(&bytes).unwrap(), config());
    }

    #[test]
    fn truncated_and_extended_ones_are_refused() {
        let mut bytes = config().to_bytes().unwrap();
        for n in 0..bytes.len() {
            assert!(BrokerConfig::from_bytes(&bytes[..n]).is_err(), "{n} bytes");
        }
        bytes.push(0);
        assert_eq!(BrokerConfig::from_bytes(&bytes), Err(ConfigError::Unreadable));
        assert_eq!(
            BrokerConfig::from_bytes(&vec![0; BrokerConfig::BYTES_MAX + 1]),
            Err(ConfigError::TooLong)
        );
    }

    #[test]
    fn hundreds_of_cells_fit_and_too_many_are_refused() {
        let cells = |n: usize| BrokerConfig {
            services: Vec::new(),
            cells: (0..n)
                .map(|i| CellConfig {
                    name: format!("cell-{i:05}.{}", "x".repeat(52)),
                    method: Method::Kaserver,
                    realm: None,
                })
                .collect(),
            ..config()
        };
        let bytes = cells(900).to_bytes().unwrap();
        assert_eq!(BrokerConfig::from_bytes(&bytes).unwrap(), cells(900));
        assert_eq!(cells(1_000).to_bytes(), Err(ConfigError::TooLong));
    }

    #[test]
    fn values_that_cannot_be_are_neither_sent_nor_taken() {
        let changes: [fn(&mut BrokerConfig); 22] = [
            |c| c.conf_dir = "etc".to_owned(),
            |c| c.conf_dir = "/etc\0".to_owned(),
            |c| *c = BrokerConfig { cells: Vec::new(), services: Vec::new(), ..c.clone() },
            |c| {
                c.services.clear();
                c.cells[0].name = "Example.com".to_owned();
            },
            |c| {
                c.services.clear();
                c.cells[0].name = "a b".to_owned();
            },
            |c| c.cells[1].name = "example.com".to_owned(),
            |c| c.cells[0].realm = Some("a b".to_owned()),
            |c| c.realms[0] = "A@B".to_owned(),
            |c| c.realms.push("other.example".to_owned()),
            |c| c.keytab = Some("keytab".to_owned()),
            |c| c.keytab = Some(format!("/{}", "k".repeat(1024))),
            |c| c.services[0].cell = "elsewhere.example".to_owned(),
            |c| c.services[0].name = "a b".to_owned(),
            |c| c.services[0].key_file = "www.keytab".to_owned(),
            |c| c.services.push(c.services[0].clone()),
            |c| c.login_deadline_ms = 0,
            |c| c.logins_per_cell = 0,
            |c| c.authenticators = 2_000,
            |c| c.cache_entries = 0,
            |c| c.refused_ms = u32::MAX,
            |c| c.limit_window_s = u32::MAX,
            |c| c.log_level = 5,
        ];
        for (i, change) in changes.into_iter().enumerate() {
            let mut c = config();
            change(&mut c);
            assert!(matches!(c.to_bytes(), Err(ConfigError::Value(_))), "change {i}");
            let raw = bincode::encode_to_vec(&c, bincode::config::standard()).unwrap();
            assert!(matches!(BrokerConfig::from_bytes(&raw), Err(ConfigError::Value(_))), "change {i}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = BrokerConfig::from_bytes(&bytes);
        }
    }
}
