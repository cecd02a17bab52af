//! Prints an error with its causes, once, on one line.

use std::{error::Error, fmt};

/// `outer: cause: cause of the cause`. An error's own `Display` never repeats its cause.
pub struct Chain<'a>(pub &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = in_words(self.0.to_string());
        f.write_str(&said)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            let next = in_words(cause.to_string());
            if next != said {
                write!(f, ": {next}")?;
            }
            said = next;
            source = cause.source();
        }
        Ok(())
    }
}

/// What TLS says in the names of its own code, for people.
fn in_words(said: String) -> String {
    if said.contains("CaUsedAsEndEntity") {
        return "the server shows the certificate of a CA, such as one that signed itself, as its own: it has to show one \
                that a CA has signed for it"
            .to_owned();
    }
    if said.contains("without sending TLS close_notify") {
        return "the other side closed the connection in the middle, without a word".to_owned();
    }
    said
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("speak TLS with https://a:443")]
    struct Outer(#[source] io::Error);

    #[test]
    fn what_tls_says_is_put_in_words_once() {
        let said = |inner: &str| Chain(&Outer(io::Error::other(inner.to_owned()))).to_string();
        assert_eq!(
            said("invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))"),
            "speak TLS with https://a:443: the server shows the certificate of a CA, such as one that signed itself, as \
             its own: it has to show one that a CA has signed for it"
        );
        assert_eq!(
            said("peer closed connection without sending TLS close_notify: https://docs.rs/rustls/latest"),
            "speak TLS with https://a:443: the other side closed the connection in the middle, without a word"
        );
        assert_eq!(said("connection refused"), "speak TLS with https://a:443: connection refused");
    }
}
