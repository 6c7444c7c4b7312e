//! The AFS words (cell, principal, token), and the only calls into an AFS client.
//!
//! This crate knows nothing of httpd, of lanes or of passwords.
//! What serves `/afs` is an [`AfsClient`]; the identity of a thread towards it is a [`Pag`].

pub mod cell;
pub mod client;
pub mod error;
pub mod principal;
pub mod token;

pub use cell::Cell;
pub use client::{AfsClient, ClientKind, Pag, PagScope};
pub use error::Error;
pub use principal::Principal;
pub use token::{SessionKey, Token};
