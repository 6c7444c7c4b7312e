//! Inherited descriptors, and memory shared by processes: lane locks, the board, the tables of waiting workers and of
//! children. And what a path leads through.
//!
//! This crate knows nothing of what flows over the descriptors.
//!
//! # Safety
//! A fence: here alone broker, nanny and worker take over numbers as descriptors and addresses as shared mappings.
//! It offers safe functions, except where the caller must vouch for an address (`attach`).
//! Shared memory is only ever touched through atomics or through the C library's process-shared mutexes,
//! and no mapping is ever unmapped, so that no reference into one can dangle.
#![allow(unsafe_code, reason = "this crate is the fence for inherited descriptors and shared mappings")]

pub mod board;
pub mod children;
pub mod error;
pub mod inherit;
pub mod layout;
pub mod lock;
mod mapping;
mod rows;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod versions;
pub mod waiting;
pub mod way;

pub use board::{BEAT_MS, Board, BoardReader, BoardWriter, COUNTERS};
pub use children::{ChildSlot, ChildTable, Sums};
pub use error::Error;
pub use inherit::{close_from, take};
pub use lock::{LockError, LockGuard, LockTable};
pub use waiting::{SlotGuard, WaitTable};
pub use way::on_the_way;
