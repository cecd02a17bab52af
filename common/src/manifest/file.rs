//! `longshore.toml`, the app's own file.
