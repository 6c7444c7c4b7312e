//! Kerberos 5.
pub mod des_key;
