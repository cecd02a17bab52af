//! A secret in plain: wiped when dropped, never shown.

use std::fmt;

use age::secrecy::{ExposeSecret as _, SecretString};

use crate::identity::PLAIN_BYTES;

/// One line or more of text; never empty.
#[derive(Clone)]
pub struct Plain(SecretString);

impl Plain {
    /// One newline at the end is the editor's and goes.
    pub fn new(bytes: Vec<u8>) -> Result<Self, String> {
        if bytes.len() > PLAIN_BYTES {
            return Err(format!("it is larger than {PLAIN_BYTES} bytes"));
        }
        let Ok(mut text) = String::from_utf8(bytes) else {
            return Err(
                "it is no UTF-8 text, which is all that a template can hold; encode it, as base64 say".into(),
            );
        };
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        match text.is_empty() || text.contains('\0') {
            true => Err("it is empty, or has a zero byte in it".into()),
            false => Ok(Self(text.into())),
        }
    }

    pub fn text(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plain(…)")
    }
}
