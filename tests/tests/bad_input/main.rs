//! Bad input of every kind, and the answer that each must give: exit code, error code, message; and a host that is as
//! it was. One row a case. Clocks for which certificates are not yet valid are in `agent/src/link`: this machine has one.

mod damage;
mod desk;
mod enrolling;
mod files;
mod hostile;
mod identity;
mod leaks;
mod liar;
mod names;
mod policy;
mod site;

use longshore_tests::Output;
use site::Site;

/// What a refusal has to say.
pub struct Answer {
    pub exit: i32,
    /// Empty for what the command line itself refuses.
    pub code: &'static str,
    pub says: &'static str,
}

/// Holds an answer to what was expected, and the host to what it was.
pub fn refused(site: &Site, what: &str, answer: &Answer, act: impl FnOnce() -> Output) {
    let before = site.snapshot();
    let output = act();
    check(what, answer, &output);
    assert_eq!(site.snapshot(), before, "{what} changed the host: {output}");
}

pub fn check(what: &str, Answer { exit, code, says }: &Answer, output: &Output) {
    let said = output.everything();
    assert_eq!(output.code, Some(*exit), "{what}: {output}");
    assert!(said.contains(code), "{what}: no {code} in {output}");
    assert!(said.contains(says), "{what}: no {says:?} in {output}");
    assert!(!said.contains('\u{1b}'), "{what}: a raw escape in {output:#}");
}
