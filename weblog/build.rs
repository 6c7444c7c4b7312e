//! Declares libkrb5's functions by its own header, for the fence of the krb5 login. Links nothing: it is loaded in an authenticator.
//!
//! `AFSWEB_KRB5_PREFIX` names a directory into which Debian's libkrb5-dev and krb5-multidev were unpacked.

use std::env;
use std::path::PathBuf;

/// Where Debian's packages have the header: libkrb5-dev, krb5-multidev.
const DIRS: [&str; 2] = ["usr/include", "usr/include/mit-krb5"];

/// Functions that the fence calls.
const FUNCTIONS: &[&str] = &[
    "krb5_cc_destroy",
    "krb5_cc_initialize",
    "krb5_cc_new_unique",
    "krb5_cc_store_cred",
    "krb5_free_context",
    "krb5_free_cred_contents",
    "krb5_free_creds",
    "krb5_free_data_contents",
    "krb5_free_error",
    "krb5_free_host_realm",
    "krb5_free_keytab_entry_contents",
    "krb5_free_principal",
    "krb5_free_unparsed_name",
    "krb5_get_credentials",
    "krb5_get_host_realm",
    "krb5_get_init_creds_opt_alloc",
    "krb5_get_init_creds_opt_free",
    "krb5_get_init_creds_opt_set_address_list",
    "krb5_get_init_creds_opt_set_canonicalize",
    "krb5_get_init_creds_opt_set_change_password_prompt",
    "krb5_get_init_creds_opt_set_expire_callback",
    "krb5_get_init_creds_opt_set_forwardable",
    "krb5_get_init_creds_opt_set_proxiable",
    "krb5_get_init_creds_opt_set_renew_life",
    "krb5_get_init_creds_opt_set_tkt_life",
    "krb5_get_init_creds_keytab",
    "krb5_get_init_creds_password",
    "krb5_init_creds_free",
    "krb5_init_creds_init",
    "krb5_init_creds_step",
    "krb5_init_secure_context",
    "krb5_kt_close",
    "krb5_kt_end_seq_get",
    "krb5_kt_next_entry",
    "krb5_kt_resolve",
    "krb5_kt_start_seq_get",
    "krb5_parse_name",
    "krb5_rd_error",
    "krb5_set_kdc_recv_hook",
    "krb5_set_kdc_send_hook",
    "krb5_unparse_name",
    "krb5_verify_init_creds",
    "krb5_verify_init_creds_opt_init",
    "krb5_verify_init_creds_opt_set_ap_req_nofail",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=AFSWEB_KRB5_PREFIX");
    // Cargo stops the build with this, since nothing can be built without the declarations.
    if let Err(why) = declare() {
        println!("cargo::error={why}");
    }
}

/// Writes the declarations.
///
/// # Errors
/// Why not.
fn declare() -> Result<(), String> {
    let prefix = PathBuf::from(env::var_os("AFSWEB_KRB5_PREFIX").unwrap_or_else(|| "/".into()));
    let dirs = DIRS.map(|d| prefix.join(d));
    let header =
        dirs.iter().map(|d| d.join("krb5.h")).find(|h| h.exists()).ok_or(
            "krb5.h is not there: install libkrb5-dev, or name an unpacked tree in AFSWEB_KRB5_PREFIX",
        )?;
    println!("cargo::rerun-if-changed={}", header.display());
    let mut builder = bindgen::Builder::default()
        .header(header.display().to_string())
        .clang_args(dirs.iter().map(|d| format!("-I{}", d.display())))
        .dynamic_library_name("Library")
        .dynamic_link_require_all(true)
        .layout_tests(false)
        .generate_comments(false)
        .derive_debug(false)
        .use_core()
        .wrap_unsafe_ops(false)
        .blocklist_type("FILE|_IO_FILE");
    for f in FUNCTIONS {
        builder = builder.allowlist_function(f);
    }
    let bindings = builder.generate().map_err(|e| format!("bindgen: {e}"))?;
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("krb5.rs");
    bindings.write_to_file(&out).map_err(|e| format!("{}: {e}", out.display()))
}
