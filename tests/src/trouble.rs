//! One error for all of the harness: a sentence for whoever reads the test's output. Nothing branches on it.

use std::fmt;

pub type Result<T, E = Trouble> = std::result::Result<T, E>;

pub struct Trouble(String);

impl Trouble {
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The same text: an `expect` or a test's failure shows lines instead of escapes.
impl fmt::Debug for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Trouble {}

/// Says what was being done when something else failed.
pub trait Within<T> {
    fn within(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: fmt::Display> Within<T> for std::result::Result<T, E> {
    fn within(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|cause| Trouble(format!("{}: {cause}", doing())))
    }
}

impl<T> Within<T> for Option<T> {
    fn within(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.ok_or_else(|| Trouble(doing()))
    }
}
