//! `longshore`, the operator's command line: a client of `fleet.proto`.
//!
//! `args` is what may be typed, `command` does it, `view` holds the words that are printed (our own structs, also the
//! shape of the JSON), `paint` turns them into lines as pure functions. Nothing of the controller is used here but
//! its API, so what a command can do, any client can do.

pub mod exit;
pub mod operator;
