//! Strict reading of TOML files.
