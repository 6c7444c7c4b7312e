//! The numbers of a client's PAGs where others can read them: in memory that processes share.

use crate::client::Counters;
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::OnceLock;

/// Where a client shows how many PAGs it has, without the anonymous one.
#[derive(Debug, Clone, Copy)]
pub struct PagCells {
    /// As [`Counters::made`].
    pub made: &'static AtomicU64,
    /// As [`Counters::in_use`].
    pub in_use: &'static AtomicU64,
    /// As [`Counters::tainted`].
    pub tainted: &'static AtomicU64,
}

/// Keeps them up to date, once it is told where they are.
#[derive(Debug, Default)]
pub(crate) struct Meter(OnceLock<PagCells>);

impl Meter {
    /// Shows the numbers there from now on. To be called before there are visitors.
    pub(crate) fn show(&self, cells: PagCells, now: Counters) {
        let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        cells.made.store(number(now.made), Ordering::Relaxed);
        cells.in_use.store(number(now.in_use), Ordering::Relaxed);
        cells.tainted.store(number(now.tainted), Ordering::Relaxed);
        let _ = self.0.set(cells);
    }

    /// One more exists, by a client that makes them when visitors come.
    pub(crate) fn made(&self) {
        self.with(|cells| cells.made.fetch_add(1, Ordering::Relaxed));
    }

    /// One that was [`Meter::made`] exists no more.
    pub(crate) fn gone(&self) {
        self.with(|cells| cells.made.fetch_sub(1, Ordering::Relaxed));
    }

    /// One more is a visitor's.
    pub(crate) fn taken(&self) {
        self.with(|cells| cells.in_use.fetch_add(1, Ordering::Relaxed));
    }

    /// One that was [`Meter::taken`] is nobody's again.
    pub(crate) fn ended(&self) {
        self.with(|cells| cells.in_use.fetch_sub(1, Ordering::Relaxed));
    }

    /// One more is not used again.
    pub(crate) fn tainted(&self) {
        self.with(|cells| cells.tainted.fetch_add(1, Ordering::Relaxed));
    }

    /// Where they are shown, if they are.
    fn with(&self, f: impl FnOnce(&PagCells) -> u64) {
        if let Some(cells) = self.0.get() {
            f(cells);
        }
    }
}
