//! Generates the bindings: asks apxs and apr-1-config where the headers are.
//!
//! `AFSWEB_HTTPD_PREFIX` names a directory into which Debian's apache2-dev and libapr1-dev were unpacked.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where Debian installs the headers.
const FALLBACK: [&str; 2] = ["/usr/include/apache2", "/usr/include/apr-1.0"];

/// Functions that the fence of mod_afs calls.
const FUNCTIONS: &[&str] = &[
    "ap_add_(common_vars|cgi_vars)",
    "ap_add_output_filter_handle",
    "ap_allow_options",
    "ap_allow_standard_methods",
    "ap_auth_type",
    "ap_bucket_error_create",
    "ap_check_cmd_context",
    "ap_(directory|file|location)_walk",
    "ap_create_request_config",
    "ap_merge_per_dir_configs",
    "ap_[gs]et_core_module_config",
    "ap_discard_request_body",
    "ap_dynamic_fn_retrieve",
    "ap_escape_html2",
    "ap_get_module_config",
    "ap_set_module_config",
    "ap_get_basic_auth_components",
    "ap_get_request_module_loglevel",
    "ap_get_server_module_loglevel",
    "ap_get_request_note",
    "ap_get_scoreboard_.*",
    "ap_get_server_(port|name)",
    "ap_getword_conf",
    "ap_hook_.*",
    "ap_internal_(fast_)?redirect",
    "ap_is_initial_req",
    "ap_log_(error|rerror|perror)_",
    "ap_make_content_type",
    "ap_meets_conditions",
    "ap_open_piped_log",
    "ap_piped_log_write_fd",
    "ap_mpm_query",
    "ap_os_escape_path",
    "ap_construct_url",
    "ap_pass_brigade",
    "ap_pcfg_open_custom",
    "ap_recent_rfc822_date",
    "ap_(register|lookup)_provider",
    "ap_register_auth_provider",
    "ap_(register|remove)_output_filter",
    "ap_run_(access_checker|access_checker_ex|auth_checker|http_scheme|sub_req)",
    "ap_runtime_dir_relative",
    "ap_rwrite",
    "ap_satisfies",
    "ap_send_http_options",
    "ap_server_root_relative",
    "ap_set_module_loglevel",
    "ap_set_(accept_ranges|content_length|content_type|last_modified|etag)",
    "ap_ssl_conn_is_ssl",
    "ap_state_query",
    "ap_unescape_url",
    "ap_update_mtime",
    "apr_brigade_(create|cleanup|destroy|length)",
    "apr_bucket_(alloc|free|shared_.*|heap_.*|eos_create|flush_create|setaside_notimpl|immortal_create)",
    "apr_bucket_file_enable_mmap",
    "apr_os_file_get",
    "apr_optional_hook_add",
    "apr_palloc",
    "apr_pool_cleanup_(register|kill|null|run)",
    "apr_pool_userdata_(get|set)",
    "apr_pool_parent_get",
    "apr_proc_other_child_(register|unregister)",
    "apr_pstrdup",
    "apr_pstrmemdup",
    "apr_strerror",
    "apr_table_.*",
    "apr_text_append",
    "apr_terminate",
    "apr_initialize",
    "apr_time_now",
];

/// Types that no listed function mentions.
const TYPES: &[&str] = &[
    "module",
    "command_rec",
    "cmd_parms",
    "ap_directive_t",
    "conn_rec",
    "request_rec",
    "server_rec",
    "process_rec",
    "core_dir_config",
    "ap_filter_rec_t",
    "apr_bucket_refcount",
    "apr_finfo_t",
    "apr_table_entry_t",
    "apr_proc_t",
    "conn_state_t",
    "apr_filetype_e",
    "apr_read_type_e",
    "ap_conn_keepalive_e",
    "ap_LINK_handler_t",
    "authz_(provider|status)",
    // mod_dav's. Its functions are not declared: the module also loads where mod_dav is not.
    "dav_provider",
    "dav_walk_(params|resource)",
    "dav_response",
    "dav_resource_type",
    "dav_HOOK_(find_liveprop|insert_all_liveprops)_t",
];

/// Constants.
const VARS: &[&str] = &[
    "OK",
    "DECLINED",
    "DONE",
    "SUSPENDED",
    "HTTP_[A-Z_]+",
    "AP_DECLINED",
    "AP_FILTER_ERROR",
    "AP_REQ_ACCEPT_PATH_INFO",
    "MERGE_ALLOW",
    "OPT_(INDEXES|INC_WITH_EXEC|MULTI|SYM_LINKS|SYM_OWNER)",
    "SATISFY_ANY",
    "ap_server_conf",
    "ap_coredumpdir_configured",
    "AP_NOTE_.*",
    "AP_MPMQ_.*",
    "AP_SQ_.*",
    "AP_FTYPE_.*",
    "AP_MODULE_FLAG_.*",
    "APLOG_.*",
    "APR_(SUCCESS|EOF|EGENERAL|ENOTIMPL|INCOMPLETE|BADARG|ECONNABORTED|ENOMEM|ENOENT|EACCES|ENOTDIR|EINVAL|EBADF)",
    "APR_HOOK_.*",
    "APR_FINFO_.*",
    "APR_OC_REASON_.*",
    "APR_OS_START_.*",
    "APR_BUCKET_BUFF_SIZE",
    "apr_bucket_type_(eos|file|mmap)",
    "M_(GET|OPTIONS|INVALID|METHODS|POST|PUT)",
    "MODULE_MAGIC_.*",
    "OR_.*",
    "ACCESS_CONF",
    "RSRC_CONF",
    "EXEC_ON_READ",
    "NOT_IN_.*",
    "GLOBAL_ONLY",
    "REQUEST_(NO_BODY|CHUNKED_.*)",
    "AP_AUTH_INTERNAL_.*",
    "ap_unixd_config",
];

/// First line that a query program prints, if it runs and answers.
fn ask(program: &str, args: &[&str]) -> Option<String> {
    let out = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    let line = text.lines().next()?.trim().to_owned();
    (out.status.success() && !line.is_empty()).then_some(line)
}

/// The directories with the headers of httpd and of APR.
fn include_dirs() -> Vec<PathBuf> {
    if let Some(prefix) = env::var_os("AFSWEB_HTTPD_PREFIX") {
        let root = Path::new(&prefix);
        return FALLBACK.iter().map(|d| root.join(d.trim_start_matches('/'))).collect();
    }
    let asked = [
        ask("apxs", &["-q", "INCLUDEDIR"]).or_else(|| ask("apxs2", &["-q", "INCLUDEDIR"])),
        ask("apr-1-config", &["--includedir"]).or_else(|| ask("apxs", &["-q", "APR_INCLUDEDIR"])),
    ];
    asked
        .into_iter()
        .zip(FALLBACK)
        .map(|(dir, fallback)| PathBuf::from(dir.unwrap_or_else(|| fallback.to_owned())))
        .collect()
}

fn main() {
    println!("cargo::rerun-if-changed=wrapper.h");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=AFSWEB_HTTPD_PREFIX");
    let dirs = include_dirs();
    for header in ["httpd.h", "apr.h"] {
        assert!(
            dirs.iter().any(|d| d.join(header).exists()),
            "{header} is in none of {dirs:?}: install apache2-dev, or name an unpacked tree in AFSWEB_HTTPD_PREFIX"
        );
    }
    let mut builder = bindgen::Builder::default()
        .header("wrapper.h")
        .clang_args(dirs.iter().map(|d| format!("-I{}", d.display())))
        .clang_args(["-DLINUX", "-D_REENTRANT", "-D_GNU_SOURCE"])
        .layout_tests(false)
        .generate_comments(false)
        .use_core()
        .default_enum_style(bindgen::EnumVariation::ModuleConsts)
        .prepend_enum_name(false)
        .wrap_unsafe_ops(false)
        // A union with a function pointer per kind of directive: opaque parts of libc stay out.
        .blocklist_type("FILE|_IO_FILE");
    for f in FUNCTIONS {
        builder = builder.allowlist_function(f);
    }
    for t in TYPES {
        builder = builder.allowlist_type(t);
    }
    for v in VARS {
        builder = builder.allowlist_var(v);
    }
    // The build stops here with bindgen's own report, since nothing can be built without the bindings.
    let bindings = builder.generate().unwrap_or_else(|e| panic!("bindgen: {e}"));
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("bindings.rs");
    bindings.write_to_file(&out).unwrap_or_else(|e| panic!("{}: {e}", out.display()));
}
