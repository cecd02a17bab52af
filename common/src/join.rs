//! The join token: what an operator copies to a host so that it may enrol.
//!
//! `lsj1.<id>.<secret>.<ca>[.<root>]`: the id is public and names the token in lists and logs; the secret is 32 random bytes;
//! `ca` is the SHA-256 of the controller CA's public key, by which the host knows the controller before it says a
//! word; `root`, which the operator's own machine adds, is the SHA-256 of the first root of the fleet's signed
//! documents, by which the host will know what may run, whoever the controller is then. All three are base64url
//! without padding.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::code::{Code, Coded};

const SCHEME: &str = "lsj1";

/// Longest text that is looked at.
pub const TOKEN_BYTES: usize = 256;

#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// 1-64 of a-z, 0-9, `-` and `_`.
    pub id: String,
    pub secret: [u8; 32],
    /// SHA-256 of the CA's SubjectPublicKeyInfo, DER.
    pub ca: [u8; 32],
    /// None: the host will pin nothing.
    pub root: Option<[u8; 32]>,
}

impl fmt::Display for JoinToken {
    /// The whole token, secret included: print it once, to the operator who asked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [secret, ca] = [self.secret, self.ca].map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
        write!(f, "{SCHEME}.{}.{secret}.{ca}", self.id)?;
        match self.root {
            Some(root) => write!(f, ".{}", URL_SAFE_NO_PAD.encode(root)),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({})", self.id)
    }
}

impl FromStr for JoinToken {
    type Err = Coded;

    /// The message never repeats the token.
    fn from_str(text: &str) -> Result<Self, Coded> {
        let bad = || {
            Coded::new(
                Code::V01,
                "this is not a join token: expected lsj1.<id>.<secret>.<ca>[.<root>], whole and on one line. \
                 Make one: longshore token create",
            )
        };
        let text = text.trim();
        if text.len() > TOKEN_BYTES {
            return Err(bad());
        }
        let parts: Vec<&str> = text.split('.').collect();
        let (id, secret, ca, root) = match parts[..] {
            [SCHEME, id, secret, ca] => (id, secret, ca, None),
            [SCHEME, id, secret, ca, root] => (id, secret, ca, Some(bytes(root).ok_or_else(bad)?)),
            _ => return Err(bad()),
        };
        let sound = (1..=64).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'));
        if !sound {
            return Err(bad());
        }
        let (secret, ca) = (bytes(secret).ok_or_else(bad)?, bytes(ca).ok_or_else(bad)?);
        Ok(Self { id: id.to_owned(), secret, ca, root })
    }
}

fn bytes(text: &str) -> Option<[u8; 32]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_read_as_they_print_and_hide_their_secret_elsewhere() {
        let mut token = JoinToken { id: "tk_7d".into(), secret: [7; 32], ca: [200; 32], root: None };
        assert_eq!(token.to_string().parse::<JoinToken>().unwrap(), token);
        token.root = Some([9; 32]);
        assert_eq!(token.to_string().parse::<JoinToken>().unwrap(), token);
        assert_eq!(format!("{token:?}"), "JoinToken(tk_7d)");
    }

    #[test]
    fn anything_else_is_refused_without_repeating_it() {
        let whole = JoinToken { id: "tk_7d".into(), secret: [7; 32], ca: [200; 32], root: None }.to_string();
        let other_scheme = whole.replace("lsj1", "lsj2");
        let cut = &whole[..whole.len() - 1];
        let called = |id: &str| whole.replace("tk_7d", id);
        let [shouted, odd, nameless, long] =
            [called("TK"), called("tk/7d"), called(""), called(&"t".repeat(65))];
        called(&"t".repeat(64)).parse::<JoinToken>().unwrap();
        let extra = format!("{whole}.x");
        let endless = "x".repeat(10_000);
        for text in ["", "lsj1", &other_scheme, cut, &shouted, &odd, &nameless, &long, &extra, &endless] {
            let error = text.parse::<JoinToken>().unwrap_err();
            assert_eq!(error.code, Code::V01);
            assert!(text.is_empty() || text == "lsj1" || !error.message.contains(text));
        }
    }
}
