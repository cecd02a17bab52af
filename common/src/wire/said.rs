//! What a status says with what lies below it.

use std::error::Error;

use tonic::Status;

/// Its message and, of a call that broke off on the way, every cause: the first words say only that it did.
/// Not yet safe to show.
pub fn said(status: &Status) -> String {
    let mut said = vec![status.message().to_owned()];
    let mut next = status.source();
    while let Some(cause) = next {
        // What a status shows of itself is its own code and its causes once more.
        let words = match cause.downcast_ref::<Status>() {
            Some(status) => status.message().to_owned(),
            None => cause.to_string(),
        };
        // Each layer may repeat the words of the one below.
        if said.last().is_some_and(|last| *last != words) {
            said.push(words);
        }
        next = cause.source();
    }
    said.retain(|words| !words.is_empty());
    said.join(": ")
}

#[cfg(test)]
mod tests {
    use std::{fmt, io};

    use super::*;
    use crate::{
        code::{Code, Coded},
        wire::{from_status, to_status},
    };

    #[derive(Debug)]
    struct Transport(io::Error);

    impl fmt::Display for Transport {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("transport error")
        }
    }
    impl Error for Transport {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn a_call_that_broke_off_says_why() {
        let broken = Status::from_error(Box::new(Transport(io::Error::other("broken\u{1b} pipe"))));
        assert_eq!(said(&broken), "transport error: broken\u{1b} pipe");
        let coded = from_status(&broken);
        assert_eq!((coded.code, coded.message.as_str()), (Code::C01, "transport error: broken\\x1b pipe"));
        let told = to_status(&Coded::new(Code::R02, "production is held by 0192"));
        assert_eq!(from_status(&told).message, "production is held by 0192");
    }
}
