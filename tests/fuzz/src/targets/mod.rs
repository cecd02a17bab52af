//! The targets, by where their bytes come from.

pub mod bundle;
pub mod files;
pub mod local;
pub mod replies;
pub mod trust;
pub mod wire;
pub mod words;

/// Text, or nothing: what is no UTF-8 is refused before our readers are asked.
fn text(input: &[u8]) -> &str {
    std::str::from_utf8(input).unwrap_or_default()
}
