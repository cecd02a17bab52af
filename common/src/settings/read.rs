//! `[values]` and `[secrets]`, as people write them.

use super::{Reference, Secrets, Settings, check_name};
use crate::{
    code::Coded,
    digest::SealedDigest,
    strict::{Read, Table},
};

/// `[values]` and `[secrets]` below this table.
pub fn read_settings(table: &Table<'_>) -> Settings {
    let values = table.texts("values");
    for name in values.keys() {
        if let Err(error) = check_name("value", name) {
            table.problem_at("values", format!("values: {}", error.message));
        }
    }
    let mut secrets = Secrets::new();
    for (name, reference) in table.named_tables("secrets") {
        if let Err(error) = check_name("secret", &name) {
            table.problem_at("secrets", format!("secrets: {}", error.message));
        }
        secrets.extend(secret(&reference).map(|read| (name, read)));
    }
    Settings { values, secrets }
}

fn secret(table: &Table<'_>) -> Option<Reference> {
    let rev = table.optional("rev");
    let kind = table.one_of(&["credential", "file", "sealed"]);
    let reference = match kind? {
        "credential" => Reference::Credential { name: table.optional("credential")?, rev: rev.unwrap_or(0) },
        "file" => Reference::File { path: table.optional("file")?, rev: rev.unwrap_or(0) },
        _ => {
            let Sealed(digest) = table.optional("sealed")?;
            if rev.is_some() {
                table.problem_at("rev", "a sealed secret has no rev: its digest changes with it");
            }
            Reference::Sealed { digest }
        }
    };
    match reference.check() {
        Ok(()) => Some(reference),
        Err(Coded { message, .. }) => {
            table.problem_at(kind?, message);
            None
        }
    }
}

struct Sealed(SealedDigest);

impl Read for Sealed {
    const EXPECTED: &'static str = "what `longshore secret encrypt` printed";
    fn read(value: &toml::de::DeValue<'_>) -> Result<Self, Option<String>> {
        let text = value.as_str().ok_or(None)?;
        // What is not a digest may be the secret itself, so it is not repeated.
        let bad =
            |_| Some("not a digest: write the 64 digits that `longshore secret encrypt` printed".into());
        text.parse().map(Self).map_err(bad)
    }
}
