//! The host's twin in memory: written with the crash tests.
