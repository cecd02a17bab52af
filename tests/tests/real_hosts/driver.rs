//! The agent's systemd driver, by its own tests, inside a host: `agent/tests/systemd_host.rs`.

use std::time::Duration;

use longshore_tests::Result;
use longshore_tests::lab::Lab;
use longshore_tests::programs::{program, test_program};

/// All of them take less than a minute on a quiet machine.
const TESTS: Duration = Duration::from_secs(1800);

pub fn drives_a_real_systemd() -> Result<()> {
    let tests = test_program("longshore-agent", "systemd_host")?;
    let lab = Lab::new(1)?;
    let host = lab.host(1);
    host.put(&program("longshore-agent")?, "/usr/bin/longshore-agent")?;
    host.put(&tests, "/usr/bin/systemd-host-tests")?;
    let run =
        "LONGSHORE_AGENT_BIN=/usr/bin/longshore-agent systemd-host-tests --include-ignored --test-threads=1";
    host.exec_within(TESTS, ["sh", "-c", run])?.success()?;
    Ok(())
}
