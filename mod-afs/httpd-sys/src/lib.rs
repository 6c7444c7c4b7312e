//! Bindings to Debian's httpd 2.4 and APR headers, generated at build time; only `mod-afs/src/httpd/` uses them.
//!
//! The symbols are defined by the httpd that loads the module: nothing is linked here.
#![no_std]
#![allow(unsafe_code, clippy::all, reason = "generated declarations of a C interface")]
#![allow(unnecessary_transmutes, unused_qualifications, reason = "bindgen's way of writing bit fields")]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
