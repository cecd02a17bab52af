//! What there is against releases that hosts run: whoever plans to leave one should know whether it is a way back.

use std::collections::{BTreeMap, BTreeSet};

use longshore_common::{
    ids::{AppName, Version},
    text::visible,
    wire,
};

use super::Planner;
use crate::{
    bundle::{self, Withdrawal},
    plan::{Against, Candidate},
    rollout::Target,
    trouble::Trouble,
    trust::{Asked, Signed, TrustCheck},
};

/// Releases that are looked at; hosts of an environment rarely run more than two.
const MOST: usize = 100;
/// Of why a release was withdrawn or revoked.
const WHY_BYTES: usize = 200;

impl Planner {
    pub(super) async fn against(
        &self,
        app: &AppName,
        hosts: &[Candidate],
    ) -> Result<BTreeMap<Version, Against>, Trouble> {
        let run: BTreeSet<_> = hosts
            .iter()
            .filter_map(|host| host.member.previous.as_ref())
            .map(|target| (target.version.clone(), target.release))
            .collect();
        let mut asked = vec![];
        let mut reasons = vec![];
        for (version, release) in run.into_iter().take(MOST) {
            let published = bundle::load(&*self.store, app, &version).await?;
            let withdrawal = published.and_then(|(published, _)| published.withdrawn);
            asked.push(Asked { version, release, withdrawn: withdrawal.is_some() });
            reasons.push(withdrawal.as_ref().map(withdrawn));
        }
        let signed = self.signed.signed(app, asked.clone()).await?;
        let found = asked.into_iter().zip(reasons).zip(signed);
        Ok(found
            .filter_map(|((asked, reason), signed)| Some((asked.version, of(reason, &signed)?)))
            .collect())
    }
}

/// Why nobody should start the release once more (`is revoked …`), if somebody has said so.
pub async fn against_live(
    check: &TrustCheck,
    app: &AppName,
    live: &Target,
) -> Result<Option<String>, Trouble> {
    let published = bundle::load(&*check.store, app, &live.version).await?;
    let withdrawal = published.and_then(|(published, _)| published.withdrawn);
    let withdrawn_for = withdrawal.as_ref().map(withdrawn);
    let (version, release) = (live.version.clone(), live.release);
    let asked = Asked { version, release, withdrawn: withdrawal.is_some() };
    let signed = check.signed(app, vec![asked]).await?;
    Ok(signed.first().and_then(|signed| of(withdrawn_for, signed)).map(|against| match against {
        Against::Withdrawn(why) | Against::Refused(why) => why,
    }))
}

/// Of releases that were live before: those that hosts would refuse by what is signed, and why.
pub async fn refused_on_the_way_back(
    check: &TrustCheck,
    app: &AppName,
    before: &[Target],
) -> Result<BTreeMap<Version, String>, Trouble> {
    let asked = before.iter().map(|target| Asked {
        version: target.version.clone(),
        release: target.release,
        withdrawn: false,
    });
    let signed = check.signed(app, asked.collect()).await?;
    let found = before.iter().zip(signed).filter_map(|(target, signed)| match of(None, &signed) {
        Some(Against::Refused(why)) => Some((target.version.clone(), why)),
        Some(Against::Withdrawn(_)) | None => None,
    });
    Ok(found.collect())
}

fn withdrawn(withdrawal: &Withdrawal) -> String {
    let Withdrawal { by, reason, at_ms: _ } = withdrawal;
    format!("was withdrawn by {by}: {}", visible(&wire::cut(reason, WHY_BYTES)))
}

/// `reason`: that it was withdrawn, by whom and why.
fn of(reason: Option<String>, signed: &Signed) -> Option<Against> {
    match signed {
        Signed::Unneeded | Signed::Listed | Signed::Waits { delisting: true, .. } => {
            reason.map(Against::Withdrawn)
        }
        Signed::Revoked(why) => {
            let why = visible(&wire::cut(why, WHY_BYTES));
            Some(Against::Refused(format!("is revoked by the organisation: {why}")))
        }
        Signed::BelowFloor => Some(Against::Refused("is below the floor that was signed".to_owned())),
        Signed::Delisted
        | Signed::Never
        | Signed::Overtaken { .. }
        | Signed::Waits { delisting: false, .. } => {
            let why = reason
                .map_or("is not signed".to_owned(), |reason| format!("{reason}. It is not signed any more"));
            Some(Against::Refused(why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_and_was_withdrawn_still_comes_back() {
        let reason = || Some("was withdrawn by ada: loses orders".to_owned());
        assert_eq!(of(None, &Signed::Listed), None);
        assert_eq!(of(None, &Signed::Unneeded), None);
        let comes_back = Some(Against::Withdrawn("was withdrawn by ada: loses orders".to_owned()));
        assert_eq!(of(reason(), &Signed::Unneeded), comes_back);
        assert_eq!(of(reason(), &Signed::Listed), comes_back);
    }

    #[test]
    fn what_hosts_refuse_is_told_with_its_reason() {
        let refused = |why: &str| Some(Against::Refused(why.to_owned()));
        let reason = Some("was withdrawn by ada: loses orders".to_owned());
        let told = refused("was withdrawn by ada: loses orders. It is not signed any more");
        assert_eq!(of(reason, &Signed::Delisted), told);
        assert_eq!(of(None, &Signed::Never), refused("is not signed"));
        assert_eq!(of(None, &Signed::BelowFloor), refused("is below the floor that was signed"));
        let revoked = Signed::Revoked("built by a thief".to_owned());
        assert_eq!(of(None, &revoked), refused("is revoked by the organisation: built by a thief"));
    }
}
