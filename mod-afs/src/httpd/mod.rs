//! The fence around httpd: all of the module's unsafe code, behind safe types.
//!
//! What others use of it:
//! - [`Phases`]: implement it for [`crate::phases::Module`]; each function is a phase, each has a default.
//! - [`Request`], [`Server`], [`Pool`], [`Process`], [`Status`], [`FileInfo`], [`Htaccess`], [`Part`], [`ReadAt`]: what a
//!   phase gets and gives.
//! - [`mpm`]: which pass over the configuration this is, how many children and workers there may be.
//! - [`start`], [`watch`]: the nanny's process. [`Level`], [`log_anywhere`]: the error log.
//!
//! ```ignore
//! pub struct Module;
//!
//! impl Phases for Module {
//!     fn map_to_storage(r: &mut Request<'_>) -> Status {
//!         if r.dir_config().auth_type() != AuthType::Afs {
//!             return Status::DECLINED;
//!         }
//!         match r.header_in(c"Authorization") {
//!             Some(claim) => r.set_state(Visit::of(claim.to_bytes())),
//!             None => r.set_state(Visit::anonymous()),
//!         }
//!         match r.directory_walk() {
//!             Status::FORBIDDEN => {
//!                 r.add_error_header(c"WWW-Authenticate", "Basic realm=\"x\"");
//!                 Status::UNAUTHORIZED
//!             }
//!             Status::OK => r.file_walk(),
//!             other => other,
//!         }
//!     }
//!
//!     fn handler(r: &mut Request<'_>) -> Status {
//!         let len = r.file_info().size;
//!         r.set_content_length(len);
//!         let body = Part::File { from: Box::new(OpenFile), start: 0, len };
//!         r.try_send(vec![body]).unwrap_or(Status::SERVICE_UNAVAILABLE)
//!     }
//! }
//! ```
//!
//! # Safety
//!
//! httpd calls with pointers to its records, which live in pools. A [`Request`] is made anew in each phase and lives no
//! longer than it; what it lends is bound to it. Records are used by one thread at a time. Each trampoline has the
//! panic guard *inside*, so nothing unwinds through C. Only plain bytes go into the pool of the process, because the
//! module may be unloaded at each restart. In a prefork child that ends by a signal, pools are destroyed inside the
//! signal handler: no clean-up of ours does anything then.
#![allow(unsafe_code, reason = "the fence around httpd's C interface")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "constants of C headers, which bindgen gives as u32"
)]

mod authz;
mod bucket;
mod command;
mod dav;
mod file_info;
mod filter;
mod fork;
mod guard;
mod handlers;
mod hook;
mod htaccess;
mod kept;
mod log;
pub mod mpm;
mod part;
mod policy;
mod pool;
mod record;
mod request;
mod rules;
mod server;
mod spawn;
mod status;

pub use authz::Verdict;
pub use dav::has_locks as has_dav_locks;
pub use file_info::{FileInfo, FileKind, Look};
pub use handlers::{first_handler, has_other_handlers};
pub use hook::Phases;
pub use htaccess::{Htaccess, KnownAccessFiles};
pub use kept::{
    KeptFd, attach_children, attach_locks, attach_waiting, in_run_directory, in_server_root, piped_log,
    with_main_server,
};
pub use log::{Level, log_anywhere, log_traced};
pub use pool::{Pool, Process};
pub use record::afs_module;
pub use request::{Ancestor, Part, ReadAt, Request};
pub use rules::{DirConfigs, Method, Options};
pub use server::Server;
pub use spawn::{Ended, output, start, watch};
pub use status::Status;
