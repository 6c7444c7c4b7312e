//! Versions of what broker and worker have in common; see [`weblog_fds::versions`].

use weblog_fds::versions::{MEMORY, NEXT, of_nanny};

/// All frames.
#[allow(clippy::cast_possible_truncation, reason = "0 or 1")]
pub const FRAMES: u8 = 3 + NEXT as u8;

/// Those that the broker has in common with nanny, httpd and workers, as the program says them.
#[must_use]
pub fn of_broker() -> String {
    format!("frames={FRAMES} {}", of_nanny())
}

/// Those of httpd's module: the broker's, and that of the memory that its processes share.
#[must_use]
pub fn of_module() -> String {
    format!("{} memory={MEMORY}", of_broker())
}

#[cfg(test)]
mod tests {
    use crate::{BrokerConfig, CellConfig, Method, ServiceConfig};

    #[test]
    fn the_layout_of_a_configuration_belongs_to_the_version_of_control_messages() {
        let config = BrokerConfig {
            version: 300,
            conf_dir: "/e".into(),
            cells: vec![CellConfig { name: "a.b".into(), method: Method::Auto, realm: Some("A.B".into()) }],
            realms: vec!["C".into()],
            keytab: Some("/k".into()),
            services: vec![ServiceConfig {
                name: "s".into(),
                cell: "a.b".into(),
                realm: None,
                key_file: "/f".into(),
            }],
            login_deadline_ms: 1,
            logins_per_cell: 2,
            authenticators: 3,
            cache_entries: 4,
            refused_ms: 5,
            limit_per_user: 6,
            limit_per_address: 7,
            limit_window_s: 8,
            log_level: 4,
        };
        let hex: String = config.to_bytes().unwrap().iter().map(|b| format!("{b:02x}")).collect();
        // Of version 1. Another one here takes another number of `weblog_fds::versions::CONTROL`, once one was released.
        assert_eq!(
            hex,
            "fb2c01022f650103612e62020103412e4201014301022f6b01017303612e6200022f66010203040506070804"
        );
    }
}
