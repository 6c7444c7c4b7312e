//! The broker: logs visitors in at their cell and hands out tokens.
//!
//! One thread, one `poll` loop. It knows nothing of httpd but lanes, the board and its nanny's messages, and maps no AFS library:
//! a login runs in an authenticator, a process of this same program that does one login and ends. See `docs/architecture.md`.

pub mod audit;
pub mod breaker;
pub mod clock;
pub mod config;
pub mod dispatch;
pub mod error;
pub mod limiter;
pub mod logins;
pub mod outcome;
