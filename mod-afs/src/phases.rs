//! What the module does in each of httpd's phases; safe code only.

use crate::httpd::Phases;

/// The module.
#[derive(Debug)]
pub struct Module;

impl Phases for Module {}
