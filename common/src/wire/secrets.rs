//! References to secrets as messages.

use longshore_proto::v1::{self as pb, secret_reference::From};

use super::Invalid;
use crate::{
    code::Coded,
    digest::SealedDigest,
    settings::{Reference, Secrets, check_name},
};

pub fn to_messages(secrets: &Secrets) -> std::collections::BTreeMap<String, pb::SecretReference> {
    secrets.iter().map(|(name, reference)| (name.clone(), to_message(reference))).collect()
}

fn to_message(reference: &Reference) -> pb::SecretReference {
    let (from, rev) = match reference {
        Reference::File { path, rev } => (From::File(path.clone()), *rev),
        Reference::Credential { name, rev } => (From::Credential(name.clone()), *rev),
        Reference::Sealed { digest } => (From::Sealed(digest.as_bytes().to_vec().into()), 0),
    };
    pb::SecretReference { from: Some(from), rev }
}

pub fn from_messages(
    messages: std::collections::BTreeMap<String, pb::SecretReference>,
) -> Result<Secrets, Invalid> {
    let malformed = |e: Coded| Invalid::Malformed { field: "assignment.secrets", why: e.message };
    let mut secrets = Secrets::new();
    for (name, message) in messages {
        check_name("secret", &name).map_err(malformed)?;
        let pb::SecretReference { from, rev } = message;
        let reference = match from.ok_or(Invalid::Missing { field: "assignment.secrets.from" })? {
            From::File(path) => Reference::File { path, rev },
            From::Credential(name) => Reference::Credential { name, rev },
            From::Sealed(digest) => {
                Reference::Sealed { digest: SealedDigest::try_from(digest.as_ref()).map_err(malformed)? }
            }
        };
        reference.check().map_err(malformed)?;
        secrets.insert(name, reference);
    }
    Ok(secrets)
}
