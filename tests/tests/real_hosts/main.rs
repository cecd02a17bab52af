//! Longshore on real Debian hosts with systemd.

use std::process::ExitCode;
use std::time::Duration;

use longshore_tests::lab::Lab;
use longshore_tests::{Result, trial, until};

mod balanced;
mod bundle;
mod driver;
mod esbuild;
mod helper;
mod journey;
mod packages;
mod secrets;
mod shop;
mod sides;
mod units;

fn main() -> ExitCode {
    trial::main(vec![
        ("the_lab_raises_cuts_and_brings_back_hosts", the_lab_raises_cuts_and_brings_back_hosts),
        ("the_agent_drives_a_real_systemd", driver::drives_a_real_systemd),
        ("the_agent_and_its_helper_work_under_their_hardening", helper::works_under_its_hardening),
        ("a_host_goes_from_one_process_to_two_and_back", helper::is_divided_and_united),
        ("the_units_leave_the_daemons_only_what_they_need", units::leave_only_what_is_needed),
        ("packages_install_and_what_they_leave_is_said", packages::install_and_leave),
        ("a_release_reaches_production_by_way_of_staging", journey::reaches_production_by_way_of_staging),
        ("hosts_behind_a_load_balancer_lose_no_request", balanced::loses_no_request),
        ("an_app_runs_beside_itself_and_its_host_is_drained", sides::run_under_systemd),
        ("esbuild_rolls_over_five_hosts_and_a_broken_release_is_undone", esbuild::rolls_over_five_hosts),
    ])
}

/// The lab itself: what the other tests stand on.
fn the_lab_raises_cuts_and_brings_back_hosts() -> Result<()> {
    let lab = Lab::new(5)?;
    lab.together(|host| {
        assert_eq!(host.exec(["hostname"])?.success()?.trim(), host.name());
        host.exec(["systemctl", "is-active", "dbus.service"])?.success()
    })?;
    let [first, second] = [lab.host(1), lab.host(2)];
    let knock = format!("timeout 2 bash -c 'exec 3<>/dev/tcp/{}/1'", second.ip());
    // Nobody listens there: a host that is up and reachable says so at once.
    let refused = || Ok(first.shell(&knock)?.stderr.contains("refused").then_some(()));
    let answers = |when: &str| until(Duration::from_secs(180), format!("an answer {when}"), refused);
    answers("at the start")?;

    second.write("/var/lib/kept", "on the disk", 0o644)?;
    second.exec(["systemd-run", "--unit=endless", "sleep", "1000"])?.success()?;
    second.power_off()?;
    assert!(second.exec(["true"]).is_err());
    assert_eq!(second.read("/var/lib/kept")?, "on the disk");
    second.power_on()?;
    assert_eq!(second.read("/var/lib/kept")?, "on the disk");
    second.exec(["systemctl", "is-active", "endless"])?.code_is(3)?;
    answers("after the power cut")?;

    second.partition()?;
    assert!(refused()?.is_none(), "a host without its wire still answers");
    second.heal()?;
    answers("after the wire was mended")
}
