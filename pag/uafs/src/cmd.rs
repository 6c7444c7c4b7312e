#![allow(unsafe_code, reason = "the archive calls these functions from C")]
//! The command line functions that libuafs's start-up code calls. Debian's libcmd.a has them, but is not
//! position-independent, so it cannot be part of a shared object.
//!
//! Only what is called is here: a table of options by number, filled by `cmd_AddParmAtOffset`, a parser for the
//! arguments that `start` makes, and getters. Interface: `/usr/include/afs/cmd.h` (libopenafs-dev).
//!
//! # Safety
//! The archive passes NUL-terminated texts, and of a syntax or parse only what it got from here.
//! It runs these functions in one thread, before any other of its threads exists.

use core::ffi::{CStr, c_char, c_int, c_void};
use std::collections::BTreeMap;

/// The option takes no value (`CMD_FLAG`).
const FLAG: c_int = 1;
/// `CMD_UNKNOWNSWITCH`.
const UNKNOWN_SWITCH: c_int = 3_359_750;
/// `CMD_TOOFEW`.
const TOO_FEW: c_int = 3_359_752;
/// `CMD_MISSING`.
const MISSING: c_int = 3_359_754;
/// `CMD_BADFORMAT`.
const BAD_FORMAT: c_int = 3_359_755;

/// What the archive takes for a `struct cmd_syndesc`: it only looks inside after an option that we never pass.
struct Syntax {
    /// Name, number and whether it takes a value, of each option.
    known: Vec<(Vec<u8>, c_int, bool)>,
    /// Options that were given.
    given: BTreeMap<c_int, Vec<u8>>,
}

/// The one syntax of the process; afsd makes it in `uafs_Setup` and asks for it again in `uafs_ParseArgs`.
static SYNTAX: std::sync::Mutex<Option<usize>> = std::sync::Mutex::new(None);

/// The syntax behind a pointer.
fn syntax<'a>(at: *mut c_void) -> Option<&'a mut Syntax> {
    // SAFETY: the archive only passes what `afsweb_cmd_CreateSyntax` leaked, from one thread.
    unsafe { at.cast::<Syntax>().as_mut() }
}

/// Makes the syntax.
#[unsafe(no_mangle)]
extern "C" fn afsweb_cmd_CreateSyntax(
    _name: *const c_char,
    _run: *const c_void,
    _rock: *mut c_void,
    _flags: u32,
    _help: *const c_char,
) -> *mut c_void {
    let made: *mut Syntax = Box::into_raw(Box::new(Syntax { known: Vec::new(), given: BTreeMap::new() }));
    if let Ok(mut slot) = SYNTAX.lock() {
        *slot = Some(made.expose_provenance());
    }
    made.cast()
}

/// Declares an option.
#[unsafe(no_mangle)]
extern "C" fn afsweb_cmd_AddParmAtOffset(
    syn: *mut c_void,
    at: c_int,
    name: *const c_char,
    kind: c_int,
    _flags: i32,
    _help: *const c_char,
) -> c_int {
    if let Some(s) = syntax(syn)
        && !name.is_null()
    {
        // SAFETY: an option's name is a literal of the archive.
        let name = unsafe { CStr::from_ptr(name) }.to_bytes().to_vec();
        s.known.push((name, at, kind != FLAG));
    }
    0
}

/// Parses what `start` passes; full names only.
#[unsafe(no_mangle)]
extern "C" fn afsweb_cmd_Parse(argc: c_int, argv: *const *const c_char, out: *mut *mut c_void) -> c_int {
    let made = SYNTAX.lock().ok().and_then(|s| *s).map(core::ptr::with_exposed_provenance_mut::<c_void>);
    let (Some(made), Ok(argc)) = (made, usize::try_from(argc)) else { return MISSING };
    let Some(s) = syntax(made) else { return MISSING };
    // SAFETY: `start` passes `argc` texts.
    let args = unsafe { core::slice::from_raw_parts(argv, argc) };
    // SAFETY: each is NUL-terminated.
    let mut args = args.iter().skip(1).map(|a| unsafe { CStr::from_ptr(*a) }.to_bytes());
    while let Some(arg) = args.next() {
        let Some((_, at, valued)) = s.known.iter().find(|k| k.0 == arg) else { return UNKNOWN_SWITCH };
        let value = match (valued, args.next_if_valued(*valued)) {
            (true, None) => return TOO_FEW,
            (_, v) => v.unwrap_or_default().to_vec(),
        };
        s.given.insert(*at, value);
    }
    if !out.is_null() {
        // SAFETY: the caller's own variable.
        unsafe { *out = made };
    }
    0
}

/// Takes an option's value, if it has one.
trait NextIfValued<'a>: Iterator<Item = &'a [u8]> {
    /// The next argument if the option takes a value.
    fn next_if_valued(&mut self, valued: bool) -> Option<&'a [u8]> {
        if valued { self.next() } else { None }
    }
}

impl<'a, I: Iterator<Item = &'a [u8]>> NextIfValued<'a> for I {}

/// Whether an option was given.
#[unsafe(no_mangle)]
extern "C" fn afsweb_cmd_OptionPresent(syn: *mut c_void, at: c_int) -> c_int {
    c_int::from(syntax(syn).is_some_and(|s| s.given.contains_key(&at)))
}

/// An option's value as a number; `*value` stays as it is where there is none.
#[unsafe(no_mangle)]
extern "C" fn afsweb_cmd_OptionAsInt(syn: *mut c_void, at: c_int, value: *mut c_int) -> c_int {
    let Some(text) = syntax(syn).and_then(|s| s.given.get(&at)) else { return MISSING };
    let Some(n) = core::str::from_utf8(text).ok().and_then(|t| t.parse::<c_int>().ok()) else {
        return BAD_FORMAT;
    };
    // SAFETY: the caller's own variable.
    unsafe { *value = n };
    0
}

/// An option's value as a copy from malloc(3); `*value` stays as it is where there is none.
#[unsafe(no_mangle)]
extern "C" fn afsweb_cmd_OptionAsString(syn: *mut c_void, at: c_int, value: *mut *mut c_char) -> c_int {
    let Some(text) = syntax(syn).and_then(|s| s.given.get(&at)) else { return MISSING };
    let Ok(text) = std::ffi::CString::new(text.as_slice()) else { return BAD_FORMAT };
    // SAFETY: a NUL-terminated text.
    let copy = unsafe { libc::strdup(text.as_ptr()) };
    if copy.is_null() {
        return BAD_FORMAT;
    }
    // SAFETY: the caller's own variable. What it pointed to before may be a literal and is left alone.
    unsafe { *value = copy };
    0
}

/// Names the command in messages of libcmd; there are none.
#[unsafe(no_mangle)]
extern "C" fn afsweb_cmd_SetCommandName(_name: *const c_char) {}

/// Opens afs.conf, from which options would be taken; all of ours are arguments.
#[unsafe(no_mangle)]
extern "C" fn afsweb_cmd_OpenConfigFile(_name: *const c_char) -> c_int {
    0
}

/// Forgets what was parsed.
#[unsafe(no_mangle)]
extern "C" fn afsweb_cmd_FreeOptions(syn: *mut *mut c_void) {
    if syn.is_null() {
        return;
    }
    // SAFETY: the caller's own variable.
    let at = unsafe { *syn };
    if let Some(s) = syntax(at) {
        s.given.clear();
    }
    // SAFETY: as above.
    unsafe { *syn = core::ptr::null_mut() };
}
