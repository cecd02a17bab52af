//! Tests that need real hosts: where no lab can be raised they are reported as ignored, with the reason; with
//! `LONGSHORE_REQUIRE_LAB=1`, which `.ci/run` sets, they fail instead.

use std::env;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::lab::Lab;
use crate::{Result, Trouble};

/// A test by its name.
pub type Case = (&'static str, fn() -> Result<()>);

/// The `main` of a test binary whose every test needs real hosts. One runs at a time: each has the machine's cores.
pub fn main(cases: Vec<Case>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(1);
    let trials =
        cases.into_iter().map(|(name, case)| Trial::ignorable_test(name, move || on_real_hosts(case)));
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn on_real_hosts(case: fn() -> Result<()>) -> Result<Completion, Failed> {
    match Lab::available() {
        Ok(()) => case().map(|()| Completion::Completed).map_err(Failed::from),
        Err(reason) if env::var_os("LONGSHORE_REQUIRE_LAB").is_some_and(|value| value == "1") => {
            Err(Trouble::new(format!("LONGSHORE_REQUIRE_LAB is set, but a lab {reason}")).into())
        }
        Err(reason) => Ok(Completion::ignored_with(format!("a lab {reason}"))),
    }
}
