//! libFuzzer over the target that `FUZZ_TARGET` names.

#![no_main]

use std::sync::OnceLock;

use longshore_fuzz::{Target, named};

/// Looked up once: a fuzzer calls some ten thousand times a second.
static CHOSEN: OnceLock<Target> = OnceLock::new();

fn chosen() -> Target {
    let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names the target");
    named(&name).unwrap_or_else(|| panic!("there is no target {name}"))
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| (CHOSEN.get_or_init(chosen).run)(input));
