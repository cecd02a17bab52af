//! What was encrypted, in a file. Where two people decide what is sealed they agree to one ciphertext, and to
//! encrypt again makes another; so what was sent is kept here, and sent once more. Nobody but the hosts can
//! open it.

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use longshore_common::{
    chain::Chain,
    code::Code,
    digest::{hex, sha256},
    durable::write_atomic,
    regular::{self, Links},
    text::visible,
};
use longshore_proto::v1::{self as pb, seal_piece::Piece};
use serde::{Deserialize, Serialize};

use crate::{
    cli::failure::Failure,
    sealed::{NO_ENV, ROWS_MAX, TEXT_BYTES},
};

const SCHEMA: &str = "longshore.sealed/1";
/// Every host with the longest ciphertext, in base64, and as much again around it as its names and keys can
/// be.
const FILE_BYTES: usize = ROWS_MAX * (TEXT_BYTES * 4 / 3 + 1024);

/// One secret, for all the hosts that can open it.
#[derive(Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parcel {
    schema: String,
    pub name: String,
    pub env: Option<String>,
    /// The one that it is for, as it was asked for; absent: all of the environment.
    pub host: Option<String>,
    hosts: Vec<Part>,
}

/// What is for one of them.
#[derive(Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Part {
    id: String,
    name: String,
    recipient: String,
    /// An age file, in base64.
    text: String,
}

impl Parcel {
    /// Of ciphertexts in the order of their hosts.
    pub fn new(
        (name, env, host): (String, Option<String>, Option<String>),
        hosts: &[pb::Recipient],
        rows: Vec<pb::SealedFor>,
    ) -> Self {
        let part = |(known, row): (&pb::Recipient, pb::SealedFor)| {
            let pb::SealedFor { host: id, recipient, text } = row;
            Part { id, name: known.name.clone(), recipient, text: STANDARD.encode(text) }
        };
        let hosts = hosts.iter().zip(rows).map(part).collect();
        Self { schema: SCHEMA.to_owned(), name, env, host, hosts }
    }

    /// What is said on the command line has to be what it is.
    pub fn read(path: &Path, name: &str, env: Option<&str>, host: Option<&str>) -> Result<Self, Failure> {
        let at = visible(&path.to_string_lossy());
        let text = regular::read(path, FILE_BYTES, Links::Followed)
            .map_err(|error| Failure::usage(format!("read `{at}`: {error}")))?;
        // Not what the error quotes: somebody may have named the file with the value.
        let parcel: Self = serde_json::from_slice(&text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            Failure::usage(format!("`{at}` holds nothing that was encrypted (line {line}, column {column})"))
        })?;
        if parcel.schema != SCHEMA {
            return Err(Failure::usage(format!("`{at}` is of another version of longshore")));
        }
        if (parcel.name.as_str(), parcel.env.as_deref(), parcel.host.as_deref()) != (name, env, host) {
            return Err(Failure::usage(format!(
                "`{at}` is {}, and not what this command names; nothing was sent",
                parcel.words()
            )));
        }
        Ok(parcel)
    }

    /// Where it is kept: one file for each ciphertext, so that none takes another's place.
    pub fn keep(&self, folder: &Path) -> Result<PathBuf, Failure> {
        let json = serde_json::to_vec_pretty(self).expect("text is JSON");
        let path = folder.join(format!("{}-{}.sealed", self.name, hex(&sha256(&json)[..4])));
        match write_atomic(&path, &json, 0o600) {
            Ok(()) => Ok(path),
            Err(error) => Err(Failure::usage(Chain(&error).to_string())),
        }
    }

    /// `secret db_password for environment production`
    fn words(&self) -> String {
        let of = |word: &str, name: &Option<String>| {
            name.as_ref().map(|name| format!(" {word} {}", visible(name))).unwrap_or_default()
        };
        format!(
            "secret {} for{}{}",
            visible(&self.name),
            of("environment", &self.env),
            of("host", &self.host)
        )
    }

    pub fn host_names(&self) -> Vec<String> {
        self.hosts.iter().map(|part| part.name.clone()).collect()
    }

    /// As they go over the wire.
    pub fn pieces(&self) -> Result<Vec<pb::SealPiece>, Failure> {
        let env = self.env.clone().unwrap_or_else(|| NO_ENV.to_owned());
        let head = Piece::Head(pb::SealHead { env, name: self.name.clone() });
        let row = |part: &Part| -> Result<Piece, Failure> {
            let text = STANDARD.decode(&part.text).map_err(|error| {
                let (name, host) = (visible(&self.name), visible(&part.name));
                let why = format!("what was encrypted of {name} for {host} is damaged: {error}");
                Failure::coded(Code::A05, why).next("encrypt it again")
            })?;
            let (host, recipient) = (part.id.clone(), part.recipient.clone());
            Ok(Piece::Row(pb::SealedFor { host, recipient, text: text.into() }))
        };
        let pieces = std::iter::once(Ok(head)).chain(self.hosts.iter().map(row));
        pieces.map(|piece| Ok(pb::SealPiece { piece: Some(piece?) })).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel(text: &[u8]) -> Parcel {
        let (host, recipient) = ("6f3c5a52".to_owned(), "age1qqq".to_owned());
        let hosts =
            [pb::Recipient { host: host.clone(), name: "web-1".into(), recipient: recipient.clone() }];
        let rows = vec![pb::SealedFor { host, recipient, text: text.to_vec().into() }];
        Parcel::new(("db".into(), Some("production".into()), None), &hosts, rows)
    }

    #[test]
    fn what_was_kept_is_sent_again_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (parcel(b"one"), parcel(b"two"));
        let path = one.keep(folder.path()).unwrap();
        assert_ne!(path, other.keep(folder.path()).unwrap());
        let read = Parcel::read(&path, "db", Some("production"), None).unwrap();
        assert_eq!(read.pieces().unwrap(), one.pieces().unwrap());
        assert_eq!((read.host_names(), read), (vec!["web-1".to_owned()], one));
        for (name, env, host) in
            [("key", Some("production"), None), ("db", Some("lab"), None), ("db", None, Some("web-1"))]
        {
            let refused = Parcel::read(&path, name, env, host).unwrap_err();
            let said = "secret db for environment production, and not what this command names";
            assert!(refused.message.contains(said), "{}", refused.message);
        }
    }

    #[test]
    fn what_is_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let read = |path: &Path| Parcel::read(path, "db", None, None).unwrap_err().message;
        assert!(read(folder.path()).contains("it is a folder"));
        let path = folder.path().join("other");
        write_atomic(&path, b"\"hunter2\"", 0o600).unwrap();
        let said = read(&path);
        assert!(said.contains("holds nothing that was encrypted") && !said.contains("hunter2"), "{said}");
    }
}
