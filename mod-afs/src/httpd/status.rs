//! What a phase answers httpd.

use core::ffi::c_int;

/// The answer of a phase: one of httpd's own, or an HTTP status.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Status(c_int);

impl Status {
    /// Done here; in phases that run the first module only, no other one is asked.
    pub const OK: Self = Self(0);
    /// Not ours.
    pub const DECLINED: Self = Self(-1);
    /// The whole request is done.
    pub const DONE: Self = Self(-2);
    /// 304.
    pub const NOT_MODIFIED: Self = Self(304);
    /// 400.
    pub const BAD_REQUEST: Self = Self(400);
    /// 401.
    pub const UNAUTHORIZED: Self = Self(401);
    /// 403.
    pub const FORBIDDEN: Self = Self(403);
    /// 404.
    pub const NOT_FOUND: Self = Self(404);
    /// 405.
    pub const METHOD_NOT_ALLOWED: Self = Self(405);
    /// 500.
    pub const INTERNAL_SERVER_ERROR: Self = Self(500);
    /// 502.
    pub const BAD_GATEWAY: Self = Self(502);
    /// 503.
    pub const SERVICE_UNAVAILABLE: Self = Self(503);

    /// An HTTP status.
    #[must_use]
    pub fn http(code: u16) -> Self {
        Self(c_int::from(code))
    }

    /// httpd's number.
    #[must_use]
    pub fn code(self) -> i32 {
        self.0
    }

    /// From httpd's number.
    pub(super) fn from_code(code: c_int) -> Self {
        Self(code)
    }

    /// Is it an HTTP status of an error (400 and above)?
    #[must_use]
    pub fn is_error(self) -> bool {
        self.0 >= 400
    }
}

impl core::fmt::Debug for Status {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match *self {
            Self::OK => f.write_str("OK"),
            Self::DECLINED => f.write_str("DECLINED"),
            Self::DONE => f.write_str("DONE"),
            Self(n) => write!(f, "Status({n})"),
        }
    }
}
