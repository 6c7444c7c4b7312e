//! httpd's own rules for a request, as far as we have to apply them ourselves to files in AFS.

use super::file_info::FileKind;
use super::request::Request;
use super::status::Status;
use core::ffi::{CStr, c_int};
use core::ptr;
use httpd_sys as sys;

/// What `Options` says, as far as it concerns us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// `FollowSymLinks`.
    pub follow_links: bool,
    /// `SymLinksIfOwnerMatch`.
    pub links_of_owner: bool,
    /// `MultiViews`.
    pub multi_views: bool,
    /// `Indexes`.
    pub indexes: bool,
    /// `Includes`, and not `IncludesNOEXEC`.
    pub exec: bool,
}

/// Methods, as far as we tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// GET or HEAD.
    Get,
    /// OPTIONS.
    Options,
    /// One that httpd does not know.
    Unknown,
    /// Any other.
    Other,
}

/// The parts of a request that a directory walk changes.
struct Walked {
    /// File name.
    filename: *mut core::ffi::c_char,
    /// Its canonical form.
    canonical_filename: *mut core::ffi::c_char,
    /// What lies behind it.
    path_info: *mut core::ffi::c_char,
    /// What is known of it.
    finfo: sys::apr_finfo_t,
    /// The merged configuration.
    per_dir_config: *mut sys::ap_conf_vector_t,
    /// A walk that fails sets it.
    status: c_int,
}

/// A merged configuration of a request, to be put back into that request.
#[derive(Clone, Copy, Debug)]
pub struct DirConfigs(*mut sys::ap_conf_vector_t);

// SAFETY: only an address; it is used by the request that it is from, in its thread.
unsafe impl Send for DirConfigs {}

impl Request<'_> {
    /// `Options`, under the present configuration.
    #[must_use]
    pub fn options(&self) -> Options {
        // SAFETY: the request is alive.
        let bits = unsafe { sys::ap_allow_options(self.raw()) };
        let has = |bit: u32| c_int::try_from(bit).is_ok_and(|bit| bits & bit != 0);
        Options {
            follow_links: has(sys::OPT_SYM_LINKS),
            links_of_owner: has(sys::OPT_SYM_OWNER),
            multi_views: has(sys::OPT_MULTI),
            indexes: has(sys::OPT_INDEXES),
            exec: has(sys::OPT_INC_WITH_EXEC),
        }
    }

    /// `Options` as they are for what lies in directory `dir`: walks there, and leaves the request as it was.
    ///
    /// # Errors
    /// The status with which the walk ended.
    pub fn options_in(&mut self, dir: &[u8]) -> Result<Options, Status> {
        let saved = self.walked();
        self.reset_dir_config();
        let mut name = dir.to_vec();
        if !name.ends_with(b"/") {
            name.push(b'/');
        }
        self.set_filename(&name);
        let raw = self.raw();
        // SAFETY: the request is alive, and nothing else borrows it.
        let rec = unsafe { &mut *raw };
        rec.path_info = ptr::null_mut();
        rec.finfo.filetype = sys::apr_filetype_e::APR_NOFILE;
        let status = self.directory_walk();
        let options = self.options();
        self.put_back(saved);
        if status == Status::OK { Ok(options) } else { Err(status) }
    }

    /// What a walk changes.
    fn walked(&self) -> Walked {
        let rec = self.rec();
        Walked {
            filename: rec.filename,
            canonical_filename: rec.canonical_filename,
            path_info: rec.path_info,
            finfo: rec.finfo,
            per_dir_config: rec.per_dir_config,
            status: rec.status,
        }
    }

    /// As before the walk.
    fn put_back(&mut self, was: Walked) {
        let raw = self.raw();
        // SAFETY: the request is alive, and nothing else borrows it.
        let rec = unsafe { &mut *raw };
        rec.filename = was.filename;
        rec.canonical_filename = was.canonical_filename;
        rec.path_info = was.path_info;
        rec.finfo = was.finfo;
        rec.per_dir_config = was.per_dir_config;
        rec.status = was.status;
    }

    /// The present configuration of all modules.
    #[must_use]
    pub fn dir_configs(&self) -> DirConfigs {
        DirConfigs(self.rec().per_dir_config)
    }

    /// Runs `f` under a configuration that this request had before.
    pub fn under<T>(&mut self, configs: DirConfigs, f: impl FnOnce(&mut Self) -> T) -> T {
        let now = self.rec().per_dir_config;
        let raw = self.raw();
        // SAFETY: the request is alive, and nothing else borrows it; the vector lives as long as the request.
        unsafe { (*raw).per_dir_config = configs.0 };
        let result = f(self);
        // SAFETY: as above.
        unsafe { (*raw).per_dir_config = now };
        result
    }

    /// `#exec` in this page does nothing from here on, as where `Options` says `IncludesNOEXEC`.
    pub fn forbid_exec(&mut self) {
        let (raw, pool) = (self.raw(), self.pool().raw());
        let now = self.rec().per_dir_config;
        // SAFETY: the request's pool is alive.
        let nothing = unsafe { sys::ap_create_request_config(pool) };
        // SAFETY: both vectors are alive. Merged with an empty one, each module's part stays the same record.
        let own = unsafe { sys::ap_merge_per_dir_configs(pool, now, nothing) };
        // SAFETY: the vector has just been made.
        let core: *const sys::core_dir_config = unsafe { sys::ap_get_core_module_config(own) }.cast();
        // SAFETY: NULL or the core's record, alive as long as the configuration that it is from.
        let Some(core) = (unsafe { core.as_ref() }) else { return };
        let mut changed = *core;
        changed.opts &= !(sys::OPT_INC_WITH_EXEC as sys::allow_options_t);
        // SAFETY: the pool is alive; httpd aborts when memory is out.
        let place: *mut sys::core_dir_config =
            unsafe { sys::apr_palloc(pool, size_of::<sys::core_dir_config>()) }.cast();
        // SAFETY: memory of this size, aligned for everything.
        unsafe { place.write(changed) };
        // SAFETY: this vector is ours alone, and the record is from the same pool.
        unsafe { sys::ap_set_core_module_config(own, place.cast()) };
        // SAFETY: the request is alive, and nothing else borrows it; the vector lives as long as it.
        unsafe { (*raw).per_dir_config = own };
    }

    /// Our configuration for this server outside all sections.
    #[must_use]
    pub fn default_dir_config(&self) -> &crate::config::DirConfig {
        // SAFETY: a request always has its server.
        let defaults = unsafe { (*self.rec().server).lookup_defaults };
        // SAFETY: the vector is alive and has our slot.
        let ours = unsafe { sys::ap_get_module_config(defaults, super::record::module()) };
        let ours: *const crate::config::DirConfig = ours.cast();
        // SAFETY: NULL or made by `create_dir_config` or `merge_dir_config`, with the configuration.
        unsafe { ours.as_ref() }.unwrap_or(&crate::config::DirConfig::EMPTY)
    }

    /// `Satisfy Any`: is a known user enough where the address rules say no?
    #[must_use]
    pub fn satisfies_any(&self) -> bool {
        // SAFETY: the request is alive.
        let satisfies = unsafe { sys::ap_satisfies(self.raw()) };
        u32::try_from(satisfies) == Ok(sys::SATISFY_ANY)
    }

    /// Which kind of method.
    #[must_use]
    pub fn method_kind(&self) -> Method {
        match u32::try_from(self.rec().method_number) {
            Ok(sys::M_GET) => Method::Get,
            Ok(sys::M_OPTIONS) => Method::Options,
            Ok(sys::M_INVALID) => Method::Unknown,
            _ => Method::Other,
        }
    }

    /// Answers OPTIONS with the allowed methods.
    pub fn send_options(&mut self) -> Status {
        // SAFETY: the request is alive and in its handler.
        Status::from_code(unsafe { sys::ap_send_http_options(self.raw()) })
    }

    /// May what lies behind the name of a file be ignored (`AcceptPathInfo On`)?
    #[must_use]
    pub fn accepts_path_info(&self) -> bool {
        u32::try_from(self.rec().used_path_info) == Ok(sys::AP_REQ_ACCEPT_PATH_INFO)
    }

    /// Is an output filter of this name (in lower case) in the way of the answer, or may it be put there by
    /// AddOutputFilterByType?
    #[must_use]
    pub fn has_output_filter(&self, name: &CStr) -> bool {
        let mut at = self.rec().output_filters;
        while let Some(filter) = ptr::NonNull::new(at) {
            // SAFETY: filters of a request live as long as it.
            let filter = unsafe { filter.as_ref() };
            // SAFETY: every filter has its record.
            let its_name = unsafe { (*filter.frec).name };
            if !its_name.is_null() {
                // SAFETY: a registered filter's name is a string.
                let its_name = unsafe { CStr::from_ptr(its_name) }.to_bytes().to_ascii_lowercase();
                if its_name.strip_prefix(b"bytype:").unwrap_or(&its_name) == name.to_bytes() {
                    return true;
                }
            }
            at = filter.next;
        }
        false
    }

    /// Forgets what httpd knows of the file.
    pub fn forget_file(&mut self) {
        let mut info = self.file_info();
        info.kind = FileKind::None;
        self.set_file_info(&info);
    }

    /// Lets httpd's modules find neither a directory nor that nothing is there.
    pub fn hide_kind(&mut self) {
        let mut info = self.file_info();
        info.kind = FileKind::Other;
        self.set_file_info(&info);
    }
}
