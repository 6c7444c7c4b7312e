//! The harness: real AFS cells and a real httpd in a private world, for tests, bench and demo.
//!
//! [`namespace`] makes the world: its own root (an overlay, so that nothing of the host changes), network and processes.
//! [`guest`] makes the same in an emulated machine, with the AFS client of a kernel.
//! [`world`] says what lies in it; [`cell`], [`kaserver`], [`kdc`] and [`httpd`] each start and stop one thing there.
//! It knows nothing of how the module, the broker or the nanny work: those are built programs here.
#![forbid(unsafe_code)]
#![allow(
    clippy::missing_errors_doc,
    reason = "errors are anyhow's: they say what failed, and nobody tells them apart"
)]

pub mod built;
pub mod ccache;
pub mod cell;
pub mod content;
pub mod crowd;
pub mod dumpable;
pub mod error_log;
pub mod far;
mod fill;
pub mod footprint;
pub mod guest;
pub mod http;
pub mod http2;
pub mod httpd;
pub mod kaserver;
pub mod kdc;
pub mod kdc_watch;
pub mod kernel_client;
pub mod lane_pair;
pub mod login_pair;
pub mod machine;
pub mod marks;
pub mod method;
pub mod namespace;
pub mod process;
mod realm;
pub mod roles;
pub mod seen;
pub mod table;
mod tcp;
pub mod ticket;
pub mod token;
pub mod wait;
pub mod world;

pub use world::World;
