//! What TOML values can be read as.

use std::str::FromStr;

use toml::de::DeValue;

use crate::text::visible;

/// A type that a TOML value can be read as.
pub trait Read: Sized {
    /// What a reader of the message should write instead.
    const EXPECTED: &'static str;
    /// `Err(None)`: the wrong type; `Err(Some(why))`: the right type with an impossible value.
    fn read(value: &DeValue<'_>) -> Result<Self, Option<String>>;
}

impl Read for String {
    const EXPECTED: &'static str = "text in quotes";
    fn read(value: &DeValue<'_>) -> Result<Self, Option<String>> {
        value.as_str().map(str::to_owned).ok_or(None)
    }
}

impl Read for bool {
    const EXPECTED: &'static str = "true or false";
    fn read(value: &DeValue<'_>) -> Result<Self, Option<String>> {
        value.as_bool().ok_or(None)
    }
}

macro_rules! whole_number {
    ($($type:ty),*) => {$(
        impl Read for $type {
            const EXPECTED: &'static str = "a whole number";
            fn read(value: &DeValue<'_>) -> Result<Self, Option<String>> {
                let number = value.as_integer().ok_or(None)?;
                <$type>::from_str_radix(number.as_str(), number.radix())
                    .map_err(|_| Some(format!("expected a whole number from 0 to {}", <$type>::MAX)))
            }
        }
    )*};
}
whole_number!(u16, u32, u64);

/// Text, or a number or boolean taken as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scalar(pub String);

impl Read for Scalar {
    const EXPECTED: &'static str = "text, a number or a boolean";
    fn read(value: &DeValue<'_>) -> Result<Self, Option<String>> {
        match value {
            DeValue::String(text) => Ok(Scalar(text.to_string())),
            DeValue::Integer(number) if number.radix() == 10 => Ok(Scalar(number.as_str().to_owned())),
            DeValue::Float(number) => Ok(Scalar(number.as_str().to_owned())),
            DeValue::Boolean(truth) => Ok(Scalar(truth.to_string())),
            _ => Err(None),
        }
    }
}

/// Bytes: a whole number, or text like `500MiB`, `2GiB`, `64KB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl Read for Bytes {
    const EXPECTED: &'static str = "a size like \"500MiB\"";
    fn read(value: &DeValue<'_>) -> Result<Self, Option<String>> {
        if value.is_integer() {
            return u64::read(value).map(Bytes);
        }
        let text = value.as_str().ok_or(None)?;
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let factor: u64 = match text[digits..].trim() {
            "" | "B" => 1,
            "KB" => 1000,
            "MB" => 1000_u64.pow(2),
            "GB" => 1000_u64.pow(3),
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            _ => 0,
        };
        let bytes = text[..digits].parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
        let sound = bytes.filter(|_| factor > 0);
        sound
            .map(Bytes)
            .ok_or_else(|| Some(format!("\"{}\" is not a size: write 500MiB, 2GiB or 64KB", visible(text))))
    }
}

/// For types whose `FromStr` explains itself: names, versions, selectors, lengths of time.
macro_rules! by_from_str {
    ($($type:ty => $expected:literal),* $(,)?) => {$(
        impl Read for $type {
            const EXPECTED: &'static str = $expected;
            fn read(value: &DeValue<'_>) -> Result<Self, Option<String>> {
                let text = value.as_str().ok_or(None)?;
                <$type>::from_str(text).map_err(|e| Some(e.message))
            }
        }
    )*};
}
by_from_str! {
    crate::manifest::AttestationKind => "\"sbom\" or \"provenance\"",
    crate::ids::AppName => "an app name in quotes",
    crate::ids::EnvName => "an environment name in quotes",
    crate::ids::HostName => "a host name in quotes",
    crate::ids::Version => "a version in quotes",
    crate::label::Selector => "a selector in quotes, like \"env=prod\"",
    crate::time::Span => "a length of time in quotes, like \"30s\"",
}
