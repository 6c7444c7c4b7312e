//! What broker, nanny and worker say to each other: see `docs/protocol.md`, field by field.
#![forbid(unsafe_code)]

pub mod config;
pub mod reply;
pub mod request;

pub use config::{BrokerConfig, CellConfig, Method};
pub use reply::{Failure, Granted, Reply};
pub use request::{GetToken, Password, Request};
