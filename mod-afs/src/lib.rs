//! The httpd module: visitors log in with `user@cell` and read what the cell's ACLs let them read.
//!
//! Nothing here knows how a cell is asked for a token (the broker does) or what a kaserver is.
#![deny(unsafe_code)]

pub mod access_log;
pub mod answer;
pub mod broker;
pub mod checks;
pub mod child;
pub mod client;
pub mod config;
pub mod configtest;
pub mod content;
pub mod dav;
pub mod debug_level;
pub mod directives;
pub mod farewell;
pub mod full_restart;
pub mod httpd;
pub mod identity;
pub mod installed;
pub mod kernel_files;
pub mod listing;
pub mod message;
pub mod nanny;
pub mod phases;
pub mod prompt;
pub mod require;
pub mod standing;
pub mod status;
pub mod stores;
pub mod tally;
pub mod traced;
pub mod waiting;
pub mod writing;
