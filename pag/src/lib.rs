//! The AFS words (cell, principal, token), and the only calls into an AFS client.
//!
//! This crate knows nothing of httpd, of lanes or of passwords.
//! What serves `/afs` is an [`AfsClient`]; the identity of a thread towards it is a [`Pag`].

pub mod block;
pub mod cell;
pub mod cell_serv_db;
pub mod client;
pub mod detect;
pub mod error;
#[cfg(feature = "fake")]
pub mod fake;
pub mod kafs;
mod keyring;
mod message;
mod meter;
pub mod mounted;
pub mod openafs;
mod packet;
pub mod principal;
pub mod realm;
mod sys;
pub mod token;
pub mod userspace;
pub mod volume;

pub use cell::Cell;
pub use cell_serv_db::CellServDb;
pub use client::{AfsClient, ClientKind, Counters, KernelClient, Pag, PagScope};
pub use detect::{leave_all, leave_inherited};
pub use error::{Error, Fault};
pub use kafs::Kafs;
pub use meter::PagCells;
pub use openafs::OpenAfs;
pub use principal::{Home, Principal};
pub use realm::Realm;
pub use token::{SessionKey, Token};
pub use userspace::Userspace;
pub use volume::VolumeStatus;
