//! The test kaserver: Rx over UDP and the kauth services 731 and 732, for tests only.
//!
//! Debian packages no kaserver, so the project brings its own to log in against.
//! It keeps its principals in memory, reads them once from a JSON file, and misbehaves when told to.
//! It is no authentication server for anybody: single DES, passwords in a file, a control socket that forges tickets.
//!
//! From the inside out:
//!
//! - [`des`], [`mod@string_to_key`], [`lifetime`], [`ticket`]: the cryptography and formats that a cell's servers share;
//! - [`xdr`], [`rx`], [`kauth`]: packets to values and back;
//! - [`database`]: principals, locks and the order of checks; knows no packets;
//! - [`mischief`]: what goes wrong on request;
//! - [`server`]: packets in, packets out, given a clock and a source of keys; knows no sockets;
//! - [`run`], [`control`]: the sockets.
//!
//! Where it differs from OpenAFS's kaserver, on purpose: arguments that do not decode are ignored instead of
//! answered by an abort, requests of several packets are not served, the old interfaces answer without the pause of
//! a second, and changing passwords or talking to the administration service is not offered.
#![forbid(unsafe_code)]

pub mod cli;
pub mod config;
pub mod control;
pub mod database;
pub mod des;
pub mod error;
mod granted;
pub mod kauth;
pub mod lifetime;
pub mod mischief;
pub mod run;
pub mod rx;
pub mod server;
pub mod stats;
pub mod string_to_key;
pub mod ticket;
pub mod xdr;

pub use config::{Config, KeySource, ServiceConfig, UserConfig};
pub use control::Control;
pub use des::Key;
pub use error::Error;
pub use run::{Kaserver, start};
pub use stats::Stats;
pub use string_to_key::string_to_key;
pub use ticket::{Token, mint_token, seal_ticket};
